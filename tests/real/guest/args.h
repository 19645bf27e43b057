/* The parameters on the command line; README.md says what each means. */
#ifndef QF_TESTS_REAL_GUEST_ARGS_H
#define QF_TESTS_REAL_GUEST_ARGS_H

#include <stdbool.h>
#include <stdint.h>

enum {
    ARGS_RATE_MAX = 10000000, /* pages per second; more cannot be reached anyway */
    ARGS_RATE_FLAT = UINT32_MAX,
};

struct args {
    uint32_t ws_mib;
    uint32_t hot_mib; /* 0: no hot set */
    uint32_t hot_share_percent;
    uint32_t cold_mib;
    uint32_t rate_pages_per_s; /* 0: idle; ARGS_RATE_FLAT: as fast as it goes */
    uint32_t burst_on_ms;      /* both 0: no windows */
    uint32_t burst_off_ms;
    uint32_t tick_ms;
    bool fill_page;    /* a write renews all 4 KiB, not only the stamps */
    bool order_random; /* pages in random order, not in turn */
};

/* Read a command line whose first word is the kernel's path. Returns NULL, or the offending word
 * in `bad` (cut to size) and a sentence why. */
const char *args_parse(const char *text, struct args *a, char *bad, uint32_t bad_size);

#endif

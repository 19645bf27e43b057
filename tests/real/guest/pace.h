/* How many pages are due now, and which one is next. */
#ifndef QF_TESTS_REAL_GUEST_PACE_H
#define QF_TESTS_REAL_GUEST_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "args.h"

enum { PACE_BATCH = 256 };

/* `now_ms` is the guest's clock. Burst windows start with "on". */
void pace_init(const struct args *a, uint32_t now_ms);

/* A new rate in pages per second, or ARGS_RATE_FLAT. */
void pace_set_rate(uint32_t pages_per_s);
uint32_t pace_rate(void);

/* Pages to write before asking again, at most PACE_BATCH; 0: sleep until the next tick. */
uint32_t pace_due(uint32_t now_ms);

/* The page to write next. */
uint32_t pace_next_page(void);

#endif

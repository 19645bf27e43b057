/* How many connections carry the memory (QEMU's multifd), where nobody has said it. Core. */
#ifndef QF_ENGINE_CHANNELS_H
#define QF_ENGINE_CHANNELS_H

#include <stddef.h>
#include <stdint.h>

enum {
    CHANNELS_DEFAULT_MAX = 8, /* more are taken only where they are asked for */
    /* Of a method that only channels have (compression, zero-copy), nobody having said how many:
     * QEMU's own default of multifd-channels. */
    CHANNELS_OF_A_METHOD = 2
};

/* What one stream carries, with something in hand: one thread of QEMU reads, copies and sends.
 * 265 to 607 MB/s on two slow cores under TCG (tools/bench-throughput); oVirt counts on 8 to 16
 * connections for 100 Gbit/s. 3 Gbit/s. */
#define CHANNELS_STREAM_BYTES_PER_S UINT64_C(375000000)

struct channels_facts {
    uint64_t link_bytes_per_s;  /* 0: not known */
    uint64_t limit_bytes_per_s; /* what a migration may take of it; 0: all */
    unsigned cores;             /* of the source's host; 0: not known */
};

/* 0: one stream. As many streams as the link takes, at most one for two cores (the guest needs
 * the others) and CHANNELS_DEFAULT_MAX; fewer than two are none. why: the reason, a clause with
 * the numbers; always filled. Pure, cannot fail. */
unsigned channels_choose(const struct channels_facts *f, char *why, size_t size);

#endif

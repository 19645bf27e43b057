/* What a series of samples means: the passes seen, how fast the link is, how fast the guest
 * dirties, how long what is left would take, and whether passes still shrink.
 *
 * A pass here is one real walk over what was dirty, not one bitmap sync of QEMU's: newer QEMU
 * syncs far more often than it walks (the reasoning is at the top of trend.c). In a plain
 * migration of an older QEMU both are the same.
 *
 * Integers only, so that a replay agrees on every CPU. Core; fixed size; cannot fail. */
#ifndef QF_POLICY_TREND_H
#define QF_POLICY_TREND_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/sample.h"

enum {
    POLICY_PASSES_KEPT = 16, /* older passes are forgotten; the totals stay */
    POLICY_PASS_MIN_MS =
        100, /* QEMU decides in windows of 100 ms: a pass that is over sooner
                                 cannot show what any setting did, and is not counted */
    POLICY_SHRINK_PERMILLE = 950
    /* A pass boundary is a stall when what is left over is not below 95 % of the least that any
     * earlier boundary left: noise of a few pages is not progress. */
};

/* One pass over dirty memory, as seen at the bitmap sync that began it. */
struct policy_pass {
    uint64_t number; /* QEMU's own: ram.dirty-sync-count */
    int64_t t_ns;
    uint64_t remaining_bytes; /* what the sync found dirty: what this pass has to send */
    uint64_t handled_bytes;   /* greater of walked and transferred at its beginning */
};

struct policy_trend {
    struct policy_pass
        passes[POLICY_PASSES_KEPT];  /* ring; newest at (n_passes - 1) % KEPT */
    uint64_t n_passes;               /* counted boundaries, the first pass included */
    uint64_t stalled_passes;         /* boundaries that left no less, since start */
    uint64_t least_remaining_bytes;  /* smallest at any boundary so far */
    uint64_t least_before_bytes;     /* the same before the newest boundary */
    uint64_t dip_bytes;              /* least remaining of any sample since that boundary */
    uint64_t extra_syncs;            /* of QEMU's count: within walks, no passes */
    uint64_t walk_extra_syncs;       /* ... within the walk under way */
    bool syncs_always;               /* this QEMU syncs in every turn, about every 100 ms */
    struct policy_sample last;       /* the newest sample */
    int64_t moved_t_ns;              /* when transferred last changed */
    int64_t rate_t_ns;               /* the running measure of bandwidth began then ... */
    uint64_t rate_transferred_bytes; /* ... at this counter */
    int64_t rate_seen_ns;            /* how much time the measure is made of so far */
    /* measured by us between samples, smoothed; 0 = unknown */
    uint64_t bandwidth_bytes_per_s;
    uint64_t dirty_bytes_per_s; /* what passes left over, by time; 0 = unknown */
};

/* Begin at nothing. */
void policy_trend_init(struct policy_trend *t);

/* Take one more sample in; s is lent. A repeated one measures nothing. Returns true when it showed a new pass: the first one, or
 * the end of a real walk. */
bool policy_trend_feed(struct policy_trend *t, const struct policy_sample *s);

/* How long the bytes now left would take at the measured bandwidth, in ms. POLICY_UNKNOWN
 * before the first measure. This is also the downtime that stopping the guest now would cost:
 * device state is not counted (it is not known before the stop). */
uint64_t policy_trend_time_left_ms(const struct policy_trend *t);

/* The downtime that a stop at the end of this pass would cost, in ms, from what the last passes
 * left over: the smaller of the last two boundaries' leftover, at the measured bandwidth.
 * POLICY_UNKNOWN before the second boundary. */
uint64_t policy_trend_implied_downtime_ms(const struct policy_trend *t);

/* Passes that are complete: the counted boundaries without the first. */
uint64_t policy_trend_complete(const struct policy_trend *t);

/* The boundary so many before the newest; back is below n_passes and POLICY_PASSES_KEPT. */
const struct policy_pass *policy_trend_boundary(const struct policy_trend *t,
                                                uint64_t back);

/* What the newest boundary left over, in bytes; 0 before the first. */
uint64_t policy_trend_left_over(const struct policy_trend *t);

#endif

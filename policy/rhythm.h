/* Does the guest pause? What passes leave over tells what it dirties on the average of a pass; a
 * guest that rests for seconds within a pass that takes minutes does not show there, and one that
 * rests between two passes looks as if it never did. Measured every few seconds, beside the
 * passes, it does: QEMU hashes some of its pages twice, a second apart (calc-dirty-rate, asked by
 * engine/mig_beat.c).
 *
 *   measured |  * *   *  *            *  *  * *
 *   rate     |*   * *   *    rest   *  *  *       level ----
 *            |             |       |
 *            |              * * * *
 *            +---------------------------------- time
 *              busy          quiet     busy       a rest was seen when it is busy again
 *
 * A rest begins with two measures in a row that are well below the level of the busy ones, and is
 * over at the first that is near it again. One measure alone means little: few pages are sampled.
 * A guest that was quiet first and then busy has not rested but begun; one that stays quiet for
 * longer than STALE_MS has a new level.
 *
 * Integers only. Core; fixed size; cannot fail. */
#ifndef QF_POLICY_RHYTHM_H
#define QF_POLICY_RHYTHM_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/sample.h"

struct policy_rhythm {
    uint64_t measures;          /* taken in */
    uint64_t level_bytes_per_s; /* of the busy ones; 0 = none yet */
    bool quiet;                 /* it rests now ... */
    int64_t quiet_from_ns;      /* ... or did last: since then */
    int64_t low_ns;             /* first of the measures in a row that are low; 0 = none */
    int64_t low_last_ns;        /* the newest of them all */
    uint64_t rests;             /* seen from their beginning to their end */
    int64_t rest_end_ns;        /* the newest of them */
    int64_t period_ns;          /* from one rest's beginning to the next's; 0 = not known */
};

/* Begin at nothing. */
void policy_rhythm_init(struct policy_rhythm *r);

/* Take in what a sample tells of it, if it tells anything new. A guest that is throttled, or
 * stopped, tells nothing of itself. s is lent. */
void policy_rhythm_feed(struct policy_rhythm *r, const struct policy_sample *s);

/* It rests, and has done so all the time since then, for all that was measured: one measure that was begun
 * after that says so. Measures come every few seconds; a shorter pass may have none. */
bool policy_rhythm_has_rested_since(const struct policy_rhythm *r, int64_t t_ns);

/* It is busy and has rested before: until when is it worth to wait for the next rest? 0: it has
 * not rested, or rests now. The time of a cycle that was not seen twice is not known: then it is a
 * minute after the rest. */
int64_t policy_rhythm_until_ns(const struct policy_rhythm *r);

#endif

/* What will become of this migration: from the passes seen so far, how much memory the guest
 * dirties in an interval of a given length, and hence whether passes shrink, to what floor they
 * sink, when they are through, and what each way to end it would cost from here.
 *
 * The guest is a curve: dirty(T), the distinct bytes that it dirties in T. Whatever a steady guest
 * does, that curve starts at 0, never falls, and grows ever more slowly, because what is dirty
 * already cannot become dirty again. From the points that pass boundaries show, that alone gives
 * bounds between and beyond them (the reasoning is at the top of forecast.c).
 *
 * Integers only, so that a replay agrees on every CPU. Core; fixed size; cannot fail. */
#ifndef QF_POLICY_FORECAST_H
#define QF_POLICY_FORECAST_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/sample.h"
#include "policy/trend.h"

enum { POLICY_POINTS_KEPT = 16 };

/* Verdict, its name in JSON lines. */
#define POLICY_VERDICTS(X)                       \
    X(CONVERGES, "converges")                    \
    X(NEEDS_MORE_DOWNTIME, "needs-more-downtime") \
    X(NEEDS_THROTTLE, "needs-throttle")          \
    X(NEVER, "never")

enum policy_verdict {
#define POLICY_VERDICT_ENUM(id, name) POLICY_VERDICT_##id,
    POLICY_VERDICTS(POLICY_VERDICT_ENUM)
#undef POLICY_VERDICT_ENUM
};

/* An estimate and how far it may be off. POLICY_UNKNOWN: no end to it. */
struct policy_range {
    uint64_t best;
    uint64_t low;
    uint64_t high;
};

/* What is expected of the whole move, from `migrate` to its end. */
struct policy_forecast {
    bool known; /* false: nothing below means anything */
    enum policy_verdict verdict;
    struct policy_range total_ms;
    struct policy_range downtime_ms;
    struct policy_range transferred_bytes;
};

/* One pass boundary: in took_ms of guest time the guest dirtied dirty_bytes. Time in which a
 * throttle held the guest back counts for as little as the guest ran. */
struct policy_point {
    uint64_t guest_ms;
    uint64_t dirty_bytes;
};

/* What is known of the guest's curve. */
struct policy_curve {
    struct policy_point point[POLICY_POINTS_KEPT]; /* ring, newest at (n - 1) % KEPT */
    uint64_t n;
};

#endif

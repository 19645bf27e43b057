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
#define POLICY_VERDICTS(X)                        \
    X(CONVERGES, "converges")                     \
    X(NEEDS_MORE_DOWNTIME, "needs-more-downtime") \
    X(NEEDS_THROTTLE, "needs-throttle")           \
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

/* One pass boundary: while the guest ran for took_us at this throttle, it left left_bytes dirty. */
struct policy_point {
    uint64_t took_us;
    uint64_t left_bytes;
    uint32_t throttle_percent;
};

/* What is known of the guest's curve. */
struct policy_curve {
    struct policy_point point[POLICY_POINTS_KEPT]; /* ring, newest at (n - 1) % KEPT */
    uint64_t n;
    uint64_t from;    /* points before this one show another behaviour of the guest */
    uint64_t changes; /* so often it changed */
    int64_t changed_t_ns;
    uint64_t rate_changes; /* so often the link became slower or faster */
    int64_t rate_changed_t_ns;
    uint64_t rate_bytes_per_s; /* of the newest pass */
    uint32_t throttle_percent; /* of the newest sample */
    /* guest memory handled per byte on the wire, in permille: more than 1000 where pages are
     * compressed, or zero */
    uint64_t raw_permille;
    uint64_t sent_bytes;    /* transferred at the newest boundary ... */
    uint64_t handled_bytes; /* ... and handled */
};

/* Which reading of the curve: what is most likely, the least that the guest can be dirtying, and
 * the most. */
enum forecast_bound { FORECAST_BEST, FORECAST_LOW, FORECAST_HIGH };

/* What a policy might do, to be tried out on the curve. */
struct forecast_plan {
    uint64_t downtime_ms;      /* the limit */
    uint32_t throttle_percent; /* of the guest's CPU time */
    uint32_t throttle_delay;   /* passes until the throttle is in force */
    enum forecast_bound bound;
    uint64_t most_ms; /* what takes longer is not followed to its end; 0 = no bound */
};

/* How it would go from the newest sample on. */
struct forecast_course {
    bool ends;           /* what is left gets below the limit; else: to the floor */
    uint64_t ms;         /* until the guest runs on the destination, or until the floor */
    uint64_t bytes;      /* to be sent until then */
    uint64_t passes;     /* whole ones */
    uint64_t left_bytes; /* what is left when the guest is stopped, or the floor */
};

/* Begin at nothing. */
void policy_curve_init(struct policy_curve *c);

/* Take in what a sample showed. t: after policy_trend_feed of the same sample, which returned
 * new_pass. Lent. */
void policy_curve_feed(struct policy_curve *c, const struct policy_trend *t, bool new_pass);

/* Try a plan out. False: nothing is known yet (no pass is complete, or no bandwidth). */
bool forecast_try(const struct policy_curve *c,
                  const struct policy_trend *t,
                  const struct forecast_plan *plan,
                  struct forecast_course *out);

/* Guest memory that the link carries, bytes per second; 0 = unknown. */
uint64_t forecast_bandwidth(const struct policy_curve *c, const struct policy_trend *t);

/* How long so many bytes of guest memory take at that rate; POLICY_UNKNOWN without one. */
uint64_t forecast_time_ms(const struct policy_curve *c,
                          const struct policy_trend *t,
                          uint64_t bytes);

/* Distinct bytes that the guest dirties in took_us of running under a throttle; POLICY_UNKNOWN
 * while nothing is known. */
uint64_t forecast_dirty(const struct policy_curve *c,
                        const struct policy_trend *t,
                        uint64_t took_us,
                        uint32_t throttle_percent,
                        enum forecast_bound bound);

/* Points that the current behaviour of the guest has shown under its present throttle. */
uint64_t forecast_points(const struct policy_curve *c);

/* "converges", "needs-more-downtime", ...; for ever. */
const char *policy_verdict_name(enum policy_verdict v);

#endif

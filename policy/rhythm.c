#include "policy/rhythm.h"

#include "engine/base/units.h"

enum {
    /* of the level of the busy measures: below this a measure is low, */
    LOW_PERMILLE = 400,
    /* from this on it is busy again, */
    BUSY_PERMILLE = 700,
    /* and above this what was before was no level of a busy guest */
    LEAP_PERMILLE = 2500,
    /* one measure in so many */
    SMOOTH = 8,
    STALE_MS = 60000,
    PATIENCE_MS = 60000,
    MEASURE_MS = 1000, /* it takes so long (engine/mig_rhythm.c) */
    PERIOD_MARGIN_PERMILLE = 1250
};

void policy_rhythm_init(struct policy_rhythm *r)
{
    *r = (struct policy_rhythm){.measures = 0};
}

static void begin(struct policy_rhythm *r, uint64_t rate)
{
    r->level_bytes_per_s = rate;
    r->quiet = false;
    r->low_ns = 0;
}

static void rest(struct policy_rhythm *r)
{
    if (r->rests > 0)
        r->period_ns = r->low_ns - r->quiet_from_ns;
    r->quiet = true;
    r->quiet_from_ns = r->low_ns;
}

static void end_rest(struct policy_rhythm *r, int64_t t_ns)
{
    r->quiet = false;
    r->rests++;
    r->rest_end_ns = t_ns;
}

void policy_rhythm_feed(struct policy_rhythm *r, const struct policy_sample *s)
{
    const uint64_t rate = s->measured_bytes_per_s;
    const uint64_t level = r->level_bytes_per_s;
    if (s->measures <= r->measures || s->guest_stopped || s->throttle_percent > 1)
        return;
    r->measures = s->measures;
    if (rate > qf_mul_div(level, LEAP_PERMILLE, 1000)) {
        begin(r, rate);
        return;
    }
    const bool is_low = rate < qf_mul_div(level, LOW_PERMILLE, 1000);
    if (is_low)
        r->low_last_ns = s->t_ns;
    if (is_low && r->low_ns == 0) {
        r->low_ns = s->t_ns;
        return;
    }
    if (is_low && !r->quiet)
        rest(r);
    if (r->quiet && s->t_ns - r->quiet_from_ns > STALE_MS * QF_NS_PER_MS)
        begin(r, rate);
    if (is_low)
        return;
    if (r->quiet && rate >= qf_mul_div(level, BUSY_PERMILLE, 1000))
        end_rest(r, s->t_ns);
    if (r->quiet)
        return;
    r->low_ns = 0;
    r->level_bytes_per_s = level - level / SMOOTH + rate / SMOOTH;
}

bool policy_rhythm_has_rested_since(const struct policy_rhythm *r, int64_t t_ns)
{
    return r->quiet && r->quiet_from_ns <= t_ns &&
           r->low_last_ns - MEASURE_MS * QF_NS_PER_MS >= t_ns;
}

int64_t policy_rhythm_until_ns(const struct policy_rhythm *r)
{
    if (r->quiet || r->rests == 0)
        return 0;
    if (r->period_ns > 0)
        return r->quiet_from_ns +
               (int64_t)qf_mul_div((uint64_t)r->period_ns, PERIOD_MARGIN_PERMILLE, 1000);
    return r->rest_end_ns + PATIENCE_MS * QF_NS_PER_MS;
}

/* Trying things out: would it end, and before long, with another limit, another throttle, a faster link? By the
 * forecast alone, nothing is done. */
#include "engine/base/units.h"
#include "policy/pace_priv.h"

enum {
    /* Waiting longer than so many times of what would send what is left now, and than this, is not
     * converging; where post-copy is allowed there is less to be gained by it. */
    WAIT_FACTOR = 12,
    WAIT_FACTOR_POSTCOPY = 4,
    WAIT_LEAST_MS = 5000,
    /* What a throttle has to bring it down to, of the limit. */
    FLOOR_PERMILLE = 800,
    /* what a throttle leaves to the guest, of what would just do */
    THROTTLE_MARGIN_PERCENT = 75,
    /* Passes until a throttle is in force. */
    THROTTLE_DELAY = 2
};

uint64_t pace_left_ms(const struct view *v)
{
    return forecast_time_ms(&v->run->curve, &v->run->trend, v->s->remaining_bytes);
}

/* What takes longer is not converging. */
static uint64_t most_wait_ms(const struct view *v)
{
    const bool has_way_out = v->p->postcopy_allowed && !v->run->postcopy_refused;
    const uint64_t most_ms =
        qf_mul_sat(pace_left_ms(v), has_way_out ? WAIT_FACTOR_POSTCOPY : WAIT_FACTOR);
    return most_ms > WAIT_LEAST_MS ? most_ms : WAIT_LEAST_MS;
}

static struct forecast_plan plan_of(const struct view *v,
                                    uint64_t downtime_ms,
                                    uint32_t throttle_percent,
                                    enum forecast_bound bound)
{
    const bool is_more = throttle_percent > v->run->curve.throttle_percent + 2;
    return (struct forecast_plan){
        .downtime_ms = downtime_ms,
        .throttle_percent = throttle_percent,
        .throttle_delay = is_more ? THROTTLE_DELAY : 0,
        .bound = bound,
    };
}

bool pace_attempt(const struct view *v,
                  uint64_t downtime_ms,
                  uint32_t throttle_percent,
                  enum forecast_bound bound,
                  struct forecast_course *out)
{
    struct forecast_plan plan = plan_of(v, downtime_ms, throttle_percent, bound);
    plan.most_ms = most_wait_ms(v);
    return forecast_try(&v->run->curve, &v->run->trend, &plan, out);
}

bool pace_attempt_faster(const struct view *v,
                         uint64_t downtime_ms,
                         uint32_t throttle_percent,
                         uint64_t faster_permille,
                         struct forecast_course *out)
{
    const struct forecast_plan plan =
        plan_of(v, downtime_ms, throttle_percent, FORECAST_BEST);
    struct policy_trend faster = v->run->trend;
    faster.bandwidth_bytes_per_s =
        qf_mul_div(faster.bandwidth_bytes_per_s, faster_permille, 1000);
    return forecast_try(&v->run->curve, &faster, &plan, out);
}

/* Does it end, and before long? */
bool pace_ends_soon(const struct view *v, const struct forecast_course *c)
{
    return c->ends && c->ms <= most_wait_ms(v);
}

bool pace_would_end(const struct view *v,
                    uint64_t downtime_ms,
                    uint32_t throttle_percent,
                    enum forecast_bound bound)
{
    struct forecast_course c;
    return pace_attempt(v, downtime_ms, throttle_percent, bound, &c) &&
           pace_ends_soon(v, &c);
}

uint32_t pace_throttle_cap(const struct policy *p)
{
    const uint32_t goal = p->slowdown_max_percent;
    return goal > 0 && goal < p->throttle_max_percent ? goal : p->throttle_max_percent;
}

/* The smallest throttle that gets it below so much downtime; 0 = none does. How fast a guest writes
 * beyond what the link carries does not show in what passes leave, and every step that was too small
 * takes passes: so somewhat more is taken than seems to be needed, and a good deal more after one that
 * did not do. */
uint32_t pace_needed_throttle(const struct view *v, uint64_t downtime_ms)
{
    const uint32_t cap = pace_throttle_cap(v->p);
    const uint64_t floor_ms = qf_mul_div(downtime_ms, FLOOR_PERMILLE, 1000);
    const uint32_t now = v->run->curve.throttle_percent;
    uint32_t percent = v->run->pace.throttle_percent > 0 ? now + (100 - now) / 3 : now + 1;
    percent += THROTTLE_STEP_PERCENT - percent % THROTTLE_STEP_PERCENT;
    if (percent < v->p->throttle_initial_percent)
        percent = v->p->throttle_initial_percent;
    for (; percent < cap; percent += THROTTLE_STEP_PERCENT)
        if (pace_would_end(v, floor_ms, percent, FORECAST_BEST)) {
            percent = 100 - (100 - percent) * THROTTLE_MARGIN_PERCENT / 100;
            return percent < cap ? percent : cap;
        }
    return cap > now && pace_would_end(v, downtime_ms, cap, FORECAST_BEST) ? cap : 0;
}

/* What is expected, for the record: how long the move takes in all, how long the guest stands still, what goes
 * over, and whether it converges; by the forecast, and by what the policy may still do. */
#include <stdio.h>
#include <string.h>

#include "engine/base/units.h"
#include "policy/pace_priv.h"

/* The way it would end: by itself, or by what the policy may still do. */
struct ending {
    bool ends;
    uint64_t ms;
    uint64_t bytes;
    uint64_t downtime_ms;
};

static struct ending by_course(const struct view *v, const struct forecast_course *c)
{
    return (struct ending){
        .ends = true,
        .ms = c->ms,
        .bytes = c->bytes,
        .downtime_ms = forecast_time_ms(&v->run->curve, &v->run->trend, c->left_bytes),
    };
}

/* Before the first pass: it and the second are walked first (do_something). */
static struct ending after_two_passes(const struct view *v,
                                      bool stopped,
                                      enum forecast_bound bound)
{
    const struct policy_curve *c = &v->run->curve;
    const struct policy_trend *t = &v->run->trend;
    struct ending e = {.ends = true, .bytes = v->s->remaining_bytes};
    uint64_t left = v->s->remaining_bytes;
    for (unsigned i = 0; i < 2; i++) {
        e.ms += forecast_time_ms(c, t, left);
        left =
            forecast_dirty(c, t, qf_mul_sat(forecast_time_ms(c, t, left), 1000), 0, bound);
        e.bytes = qf_add_sat(e.bytes, left);
    }
    e.ms += forecast_time_ms(c, t, left);
    e.downtime_ms = stopped ? forecast_time_ms(c, t, left) : 0;
    return e;
}

/* Everything that is left goes across now, the guest stopped or in post-copy. */
static struct ending by_rest(const struct view *v, bool stopped, enum forecast_bound bound)
{
    if (policy_trend_complete(&v->run->trend) == 0)
        return after_two_passes(v, stopped, bound);
    const uint64_t ms = pace_left_ms(v);
    return (struct ending){
        .ends = ms != POLICY_UNKNOWN,
        .ms = ms,
        .bytes = v->s->remaining_bytes,
        .downtime_ms = stopped ? ms : 0,
    };
}

static struct ending find_ending(const struct view *v, enum forecast_bound bound)
{
    const struct policy *p = v->p;
    struct forecast_course c;
    const uint32_t slow = v->run->curve.throttle_percent;
    const uint32_t cap = pace_throttle_cap(p);
    uint64_t limit = v->s->downtime_limit_ms;
    uint32_t wanted = slow;
    switch (v->out->action) {
    case POLICY_POSTCOPY:
    case POLICY_PAUSE:
        return by_rest(v, v->out->action == POLICY_PAUSE, bound);
    case POLICY_ABORT:
        return (struct ending){.ends = false};
    case POLICY_SET_DOWNTIME:
        limit = v->out->value;
        break;
    case POLICY_THROTTLE:
        wanted = (uint32_t)v->out->value;
        break;
    case POLICY_WAIT:
    case POLICY_SET_BANDWIDTH:
    case POLICY_RECOVER:
    case POLICY_CONTINUE:
        break;
    }
    if (v->run->pace.next_downtime_ms > limit)
        limit = v->run->pace.next_downtime_ms;
    if (v->run->pace.throttle_percent > wanted && !v->run->pace.throttle_failed)
        wanted = v->run->pace.throttle_percent;
    if (v->run->paused || v->s->guest_stopped)
        return by_rest(v, true, bound);
    if (pace_attempt(v, limit, wanted, bound, &c) && pace_ends_soon(v, &c))
        return by_course(v, &c);
    if (p->pacing != POLICY_PACING_FORECAST) /* its steps do not look ahead */
        return (struct ending){.ends = false};
    if (pace_attempt(v, p->downtime_max_ms, wanted, bound, &c) && pace_ends_soon(v, &c))
        return by_course(v, &c);
    if (p->throttle_allowed && cap > wanted &&
        pace_attempt(v, p->downtime_max_ms, cap, bound, &c) && pace_ends_soon(v, &c))
        return by_course(v, &c);
    if (p->postcopy_allowed && !v->run->postcopy_refused)
        return by_rest(v, false, bound);
    if (pace_may_stop(v) && (p->stop_max_ms == 0 || pace_left_ms(v) < p->stop_max_ms))
        return by_rest(v, true, bound);
    return (struct ending){.ends = false};
}

static enum policy_verdict find_verdict(const struct view *v)
{
    const struct policy *p = v->p;
    const uint32_t slow = v->run->curve.throttle_percent;
    if (v->run->paused || v->s->guest_stopped ||
        pace_would_end(v, v->s->downtime_limit_ms, slow, FORECAST_BEST))
        return POLICY_VERDICT_CONVERGES;
    if (pace_would_end(v, p->downtime_max_ms, slow, FORECAST_BEST))
        return POLICY_VERDICT_NEEDS_MORE_DOWNTIME;
    const uint32_t cap = pace_throttle_cap(p);
    if (cap > slow && pace_would_end(v, p->downtime_max_ms, cap, FORECAST_BEST))
        return POLICY_VERDICT_NEEDS_THROTTLE;
    return POLICY_VERDICT_NEVER;
}

static void order(struct policy_range *r)
{
    if (r->low > r->best)
        r->low = r->best;
    if (r->high < r->best)
        r->high = r->best;
}

void forecast_fill(const struct view *v)
{
    struct policy_forecast *f = &v->out->forecast;
    struct forecast_course c;
    if (!pace_attempt(v, v->s->downtime_limit_ms, v->run->curve.throttle_percent,
                      FORECAST_BEST, &c))
        return;
    struct ending best = find_ending(v, FORECAST_BEST);
    const struct ending low = find_ending(v, FORECAST_LOW);
    /* It goes on although it probably leads nowhere: then this is how it ends if it does. */
    if (!best.ends && v->out->action != POLICY_ABORT)
        best = low;
    const struct ending high = find_ending(v, FORECAST_HIGH);
    const uint64_t so_far_ms = view_elapsed_ms(v->s);
    const uint64_t sent = v->s->transferred_bytes;
    const struct ending *const all[] = {&best, &low, &high};
    uint64_t value[3][3];
    for (unsigned i = 0; i < 3; i++) {
        value[0][i] = all[i]->ends ? qf_add_sat(so_far_ms, all[i]->ms) : POLICY_UNKNOWN;
        value[1][i] = all[i]->ends ? all[i]->downtime_ms : POLICY_UNKNOWN;
        value[2][i] = all[i]->ends ? qf_add_sat(sent, all[i]->bytes) : POLICY_UNKNOWN;
    }
    f->total_ms = (struct policy_range){value[0][0], value[0][1], value[0][2]};
    f->downtime_ms = (struct policy_range){value[1][0], value[1][1], value[1][2]};
    f->transferred_bytes = (struct policy_range){value[2][0], value[2][1], value[2][2]};
    order(&f->total_ms);
    order(&f->downtime_ms);
    order(&f->transferred_bytes);
    f->verdict = find_verdict(v);
    f->known = true;
}

void policy_foresee(const struct policy *p,
                    const struct policy_point *points,
                    unsigned n,
                    uint64_t total_bytes,
                    uint64_t bandwidth_bytes_per_s,
                    struct policy_decision *out)
{
    struct policy_run run;
    const struct policy_sample s = {
        .started = true,
        .pass = 1,
        .total_bytes = total_bytes,
        .remaining_bytes = total_bytes,
        .downtime_limit_ms = p->downtime_start_ms,
        .bandwidth_limit_bytes_per_s = bandwidth_bytes_per_s,
    };
    const struct view v = {.p = p, .s = &s, .run = &run, .out = out};
    char a[SAY_WORD];
    char b[SAY_WORD];
    *out = (struct policy_decision){.action = POLICY_WAIT, .rule = pace_rule_name};
    policy_run_init(&run);
    (void)policy_trend_feed(&run.trend, &s);
    run.trend.bandwidth_bytes_per_s = bandwidth_bytes_per_s;
    say_more(&v, "the guest dirties");
    for (unsigned i = 0; i < n && i < POLICY_POINTS_KEPT; i++) {
        char part[96];
        run.curve.point[run.curve.n++] = points[i];
        (void)snprintf(part, sizeof(part), "%s %s in %s", i > 0 ? "," : "",
                       say_bytes(points[i].left_bytes, a),
                       say_ms(points[i].took_us / 1000, b));
        say_more(&v, part);
    }
    (void)snprintf(out->because + strlen(out->because),
                   sizeof(out->because) - strlen(out->because), "; %s over %s/s",
                   say_bytes(total_bytes, a), say_bytes(bandwidth_bytes_per_s, b));
    forecast_fill(&v);
}

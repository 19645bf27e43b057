/* When to do what, by forecast.
 *
 * Asked at every sample, it decides at pass boundaries, where the least is left of a pass and the
 * curve has just got a new point:
 *
 *   it gets below the limit by itself, before long        wait
 *   ... below a limit that the policy allows              raise the limit to just above that
 *   the bounds do not agree, and passes still shrink      wait for one more pass, and say so
 *   the guest has just changed what it does               wait for a low point, for a while
 *   ... or was seen to rest for seconds                   wait for its next rest, for a cycle
 *   certain that it does not converge:
 *      a throttle within bounds brings it down            throttle, by as much as is needed,
 *                                                         unless a stop takes less of the guest's time
 *      post-copy is allowed                               switch now: waiting leaves no less
 *      the stop is allowed, and short enough              stop the guest
 *      a throttle makes the stop short enough             throttle
 *      else                                               give up
 *
 * With post-copy allowed, a throttle is tried first only if it is a mild one: a guest that is held
 * back for long is worse off than one that waits for pages for a moment.
 *
 * Throttling goes through auto-converge, which QEMU steps at bitmap syncs only, at every second one
 * that shows too much dirt (migration/ram.c): two passes go by until it is in force, and the next
 * shows what it did. Until then nothing else is decided, but for the limit. */
#include "policy/pace.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/units.h"
#include "policy/policy_priv.h"

enum {
    /* Waiting longer than so many times of what would send what is left now, and than this, is not
     * converging; where post-copy is allowed there is less to be gained by it. */
    WAIT_FACTOR = 12,
    WAIT_FACTOR_POSTCOPY = 4,
    WAIT_LEAST_MS = 5000,
    /* A limit is raised when what is left is no more than so many times the greatest ... */
    SOON = 2,
    /* ... or when a pass leaves this much of what it had: then it hardly shrinks. */
    HARDLY_PERMILLE = 850,
    /* ... and like this it does not, or when the floor is so many times above the limit. */
    PROOF_PERMILLE = 960,
    FAR_FACTOR = 2,
    /* A floor so little above the limit may be below it. */
    NEARLY_PERMILLE = 1100,
    /* What is left would take so little more than the limit: noise may do it, so many passes. */
    CLOSE_PERMILLE = 1300,
    CLOSE_PASSES = 6,
    /* A limit is set so much above the floor. */
    LIMIT_MARGIN_PERMILLE = 1150,
    LIMIT_MARGIN_MS = 10,
    /* What a throttle has to bring it down to, of the limit. */
    FLOOR_PERMILLE = 800,
    THROTTLE_MILD_PERCENT = 40,
    THROTTLE_STEP_PERCENT = 5,
    /* what a throttle leaves to the guest, of what would just do */
    THROTTLE_MARGIN_PERCENT = 75,
    /* Passes until a throttle is in force; after so many more QEMU will not do it any more. */
    THROTTLE_DELAY = 2,
    THROTTLE_PASSES = 5,
    /* ... and so long: it looks at syncs that are more than a second apart */
    THROTTLE_MS = 6000,
    PATIENCE_PASSES = 5,
    PATIENCE_MS = 60000,
    LOW_POINT_PERMILLE = 1250,
    /* For rests so long, or for two of its cycles if that is longer. */
    REST_MS = 90000,
    GOAL_PERMILLE = 950,
    /* So long a bandwidth is measured before a goal is judged by it. */
    GOAL_SEEN_MS = 1000,
    /* For a goal a limit of bandwidth is raised, so often, to that much of what is needed. */
    HURRY_TIMES = 3,
    HURRY_PERMILLE = 1500,
    HURRY_MOST_PERMILLE = 20000,
    AT_LIMIT_PERMILLE = 850
};

static const char rule[] = "forecast";
static const char goal_rule_name[] = "finish-within";

/* ---- trying things out ---- */

static bool attempt_faster(const struct view *v,
                           uint64_t downtime_ms,
                           uint32_t throttle_percent,
                           uint64_t faster_permille,
                           struct forecast_course *out)
{
    struct policy_trend faster = v->run->trend;
    faster.bandwidth_bytes_per_s =
        qf_mul_div(faster.bandwidth_bytes_per_s, faster_permille, 1000);
    const struct policy_curve *c = &v->run->curve;
    const struct forecast_plan plan = {
        .downtime_ms = downtime_ms,
        .throttle_percent = throttle_percent,
        .throttle_delay = throttle_percent > c->throttle_percent + 2 ? THROTTLE_DELAY : 0,
        .bound = FORECAST_BEST,
    };
    return forecast_try(c, &faster, &plan, out);
}

static uint64_t left_ms(const struct view *v)
{
    return forecast_time_ms(&v->run->curve, &v->run->trend, v->s->remaining_bytes);
}

/* What takes longer is not converging. */
static uint64_t most_wait_ms(const struct view *v)
{
    const bool has_way_out = v->p->postcopy_allowed && !v->run->postcopy_refused;
    const uint64_t most_ms =
        qf_mul_sat(left_ms(v), has_way_out ? WAIT_FACTOR_POSTCOPY : WAIT_FACTOR);
    return most_ms > WAIT_LEAST_MS ? most_ms : WAIT_LEAST_MS;
}

static bool attempt(const struct view *v,
                    uint64_t downtime_ms,
                    uint32_t throttle_percent,
                    enum forecast_bound bound,
                    struct forecast_course *out)
{
    const struct policy_curve *c = &v->run->curve;
    const struct forecast_plan plan = {
        .downtime_ms = downtime_ms,
        .throttle_percent = throttle_percent,
        .throttle_delay = throttle_percent > c->throttle_percent + 2 ? THROTTLE_DELAY : 0,
        .bound = bound,
        .most_ms = most_wait_ms(v),
    };
    return forecast_try(c, &v->run->trend, &plan, out);
}

/* Does it end, and before long? */
static bool is_good(const struct view *v, const struct forecast_course *c)
{
    return c->ends && c->ms <= most_wait_ms(v);
}

static bool would_end(const struct view *v,
                      uint64_t downtime_ms,
                      uint32_t throttle_percent,
                      enum forecast_bound bound)
{
    struct forecast_course c;
    return attempt(v, downtime_ms, throttle_percent, bound, &c) && is_good(v, &c);
}

static uint32_t throttle_cap(const struct policy *p)
{
    const uint32_t goal = p->slowdown_max_percent;
    return goal > 0 && goal < p->throttle_max_percent ? goal : p->throttle_max_percent;
}

/* The smallest throttle that gets it below so much downtime; 0 = none does. How fast a guest writes
 * beyond what the link carries does not show in what passes leave, and every step that was too small
 * takes passes: so somewhat more is taken than seems to be needed, and a good deal more after one that
 * did not do. */
static uint32_t needed_throttle(const struct view *v, uint64_t downtime_ms)
{
    const uint32_t cap = throttle_cap(v->p);
    const uint64_t floor_ms = qf_mul_div(downtime_ms, FLOOR_PERMILLE, 1000);
    const uint32_t now = v->run->curve.throttle_percent;
    uint32_t percent = v->run->pace.throttle_percent > 0 ? now + (100 - now) / 3 : now + 1;
    percent += THROTTLE_STEP_PERCENT - percent % THROTTLE_STEP_PERCENT;
    if (percent < v->p->throttle_initial_percent)
        percent = v->p->throttle_initial_percent;
    for (; percent < cap; percent += THROTTLE_STEP_PERCENT)
        if (would_end(v, floor_ms, percent, FORECAST_BEST)) {
            percent = 100 - (100 - percent) * THROTTLE_MARGIN_PERCENT / 100;
            return percent < cap ? percent : cap;
        }
    return cap > now && would_end(v, downtime_ms, cap, FORECAST_BEST) ? cap : 0;
}

/* ---- sentences ---- */

static void more(const struct view *v, const char *text)
{
    say_add(v->out->because, sizeof(v->out->because), text);
}

static void say_floor(const struct view *v)
{
    struct forecast_course c;
    char a[SAY_WORD];
    char b[SAY_WORD];
    char d[SAY_WORD];
    char e[SAY_WORD];
    const struct policy_trend *t = &v->run->trend;
    const uint64_t rate = forecast_bandwidth(&v->run->curve, t);
    const struct policy_pass *before = policy_trend_boundary(t, 1);
    (void)snprintf(v->out->because, sizeof(v->out->because),
                   "pass %llu left %s of %s, at %s/s",
                   (unsigned long long)policy_trend_complete(t),
                   say_bytes(policy_trend_left_over(t), a),
                   say_bytes(before->remaining_bytes, b), say_bytes(rate, d));
    const struct forecast_plan plan = {.downtime_ms = v->p->downtime_max_ms,
                                       .throttle_percent = v->run->curve.throttle_percent};
    if (forecast_try(&v->run->curve, t, &plan, &c) && !c.ends) {
        more(v, ", and does not sink below ");
        more(v, say_ms(forecast_time_ms(&v->run->curve, t, c.left_bytes), e));
    }
}

static bool wait_for(const struct view *v, const char *why)
{
    say_floor(v);
    more(v, ": ");
    more(v, why);
    return view_decide(v, POLICY_WAIT, 0, rule);
}

/* ---- actions ---- */

static bool set_downtime(const struct view *v, uint64_t ms)
{
    if (ms > v->p->downtime_max_ms)
        ms = v->p->downtime_max_ms;
    v->run->pace.next_downtime_ms = 0;
    if (ms <= v->s->downtime_limit_ms)
        return false;
    v->run->pace.stalls = v->run->trend.stalled_passes;
    return view_decide(v, POLICY_SET_DOWNTIME, ms, rule);
}

/* What the newest pass left, of what it had to send, in permille; of what it could have sent at the
 * present rate, if that is more: a pass during which the link was slow says little. */
static uint64_t shrinks_to_permille(const struct view *v)
{
    const struct policy_trend *t = &v->run->trend;
    const struct policy_pass *began = policy_trend_boundary(t, 1);
    const uint64_t took_us =
        (uint64_t)(policy_trend_boundary(t, 0)->t_ns - began->t_ns) / 1000;
    const uint64_t could =
        qf_mul_div(forecast_bandwidth(&v->run->curve, t), took_us, 1000000);
    const uint64_t had = began->remaining_bytes;
    return qf_mul_div(policy_trend_left_over(t), 1000, could > had ? could : had);
}

/* To the least limit that probably lets it end, and a little above: the floor moves. There is no
 * hurry as long as passes shrink and much is left: the limit matters at the end of the last one, and
 * by then more is known. */
static bool raise_downtime(const struct view *v)
{
    const uint64_t most = v->p->downtime_max_ms;
    const uint32_t slow = v->run->curve.throttle_percent;
    const uint64_t now_ms = forecast_time_ms(&v->run->curve, &v->run->trend,
                                             policy_trend_left_over(&v->run->trend));
    const bool is_stuck = shrinks_to_permille(v) >= HARDLY_PERMILLE;
    uint64_t ms = v->s->downtime_limit_ms;
    if (!is_stuck && now_ms > qf_mul_sat(most, SOON))
        return wait_for(v, "it still shrinks");
    while (ms < most && !would_end(v, ms, slow, FORECAST_BEST))
        ms = ms + ms / 16 + 1;
    if (is_stuck && ms < now_ms)
        ms = now_ms;
    ms = qf_mul_div(ms, LIMIT_MARGIN_PERMILLE, 1000) + LIMIT_MARGIN_MS;
    say_floor(v);
    return set_downtime(v, ms);
}

static bool throttle(const struct view *v, uint32_t percent)
{
    struct pace_run *r = &v->run->pace;
    say_floor(v);
    r->throttle_percent = percent;
    r->throttle_pass = policy_trend_complete(&v->run->trend);
    r->throttle_t_ns = v->s->t_ns;
    r->stalls = v->run->trend.stalled_passes;
    if (v->s->downtime_limit_ms < v->p->downtime_max_ms)
        r->next_downtime_ms = v->p->downtime_max_ms;
    v->out->throttle_first_percent = percent;
    return view_decide(v, POLICY_THROTTLE, percent, rule);
}

static bool act(const struct view *v, enum policy_action action)
{
    say_floor(v);
    return view_decide(v, action, 0, rule);
}

/* ---- the rule ---- */

/* A throttle was decided: is it too early to judge it? */
static bool is_throttle_pending(const struct view *v)
{
    struct pace_run *r = &v->run->pace;
    if (r->throttle_percent == 0 || r->throttle_failed)
        return false;
    const uint64_t passes = policy_trend_complete(&v->run->trend) - r->throttle_pass;
    const bool in_force = v->s->throttle_percent + 2 >= r->throttle_percent;
    const bool is_time = v->s->t_ns - r->throttle_t_ns >= THROTTLE_MS * QF_NS_PER_MS;
    if (!in_force && passes >= THROTTLE_PASSES && is_time)
        r->throttle_failed = true; /* it never came */
    if (r->throttle_failed)
        return false;
    return !in_force || forecast_points(&v->run->curve) == 0;
}

static bool is_low_point(const struct policy_trend *t)
{
    return policy_trend_left_over(t) <=
           qf_mul_div(t->least_remaining_bytes, LOW_POINT_PERMILLE, 1000);
}

/* The guest does not always do the same: wait until it does less, but not for ever. Or the link
 * does not always carry the same. */
static bool is_worth_patience(const struct view *v)
{
    const struct policy_curve *c = &v->run->curve;
    struct pace_run *r = &v->run->pace;
    const uint64_t complete = policy_trend_complete(&v->run->trend);
    const bool guest_changed = c->changes > 0 && !is_low_point(&v->run->trend);
    if (!guest_changed && c->rate_changes == 0)
        return false;
    if (r->patience_from == 0)
        r->patience_from = complete;
    const int64_t changed_t_ns =
        c->rate_changed_t_ns > c->changed_t_ns ? c->rate_changed_t_ns : c->changed_t_ns;
    const int64_t since_ns = v->s->t_ns - changed_t_ns;
    return complete - r->patience_from < PATIENCE_PASSES &&
           since_ns < PATIENCE_MS * QF_NS_PER_MS;
}

/* It was seen to rest (rhythm.h): nothing costly is done while it is busy and will rest again, nor
 * in a rest by what a pass from before the rest has left. What the first whole pass of a rest leaves
 * is as low as it gets. */
static bool is_rest_worth_waiting(const struct view *v)
{
    const struct policy_rhythm *h = &v->run->rhythm;
    int64_t *from_ns = &v->run->pace.rest_from_ns;
    if (h->rests == 0 && !h->quiet)
        return false;
    if (*from_ns == 0)
        *from_ns = v->s->t_ns;
    const int64_t two_ns = 2 * h->period_ns;
    const int64_t most_ns =
        two_ns > REST_MS * QF_NS_PER_MS ? two_ns : REST_MS * QF_NS_PER_MS;
    if (v->s->t_ns - *from_ns >= most_ns)
        return false;
    if (h->quiet)
        return policy_trend_boundary(&v->run->trend, 1)->t_ns < h->quiet_from_ns;
    return v->s->t_ns < policy_rhythm_until_ns(h);
}

static bool may_stop(const struct view *v)
{
    return v->p->stop_allowed && !v->run->pause_refused && !v->s->guest_stopped;
}

static uint64_t stop_bound_ms(const struct policy *p)
{
    return p->stop_max_ms == 0
               ? POLICY_UNKNOWN
               : qf_mul_div(p->stop_max_ms, POLICY_STOP_MARGIN_PERMILLE, 1000);
}

/* Is it QEMU's own limit that holds it back, and may that be raised? */
static bool may_hurry(const struct view *v)
{
    const uint64_t limit = v->s->bandwidth_limit_bytes_per_s;
    return !v->s->bandwidth_is_fixed && v->run->pace.bandwidth_raises < HURRY_TIMES &&
           limit > 0 && limit != POLICY_UNKNOWN &&
           v->run->trend.bandwidth_bytes_per_s >=
               qf_mul_div(limit, AT_LIMIT_PERMILLE, 1000);
}

/* That it does not converge is certain, and not by a little. */
static bool is_proven(const struct view *v)
{
    const uint32_t slow = v->run->curve.throttle_percent;
    const uint64_t most = v->p->downtime_max_ms;
    if (!would_end(v, qf_mul_div(most, NEARLY_PERMILLE, 1000), slow, FORECAST_LOW) ||
        shrinks_to_permille(v) >= PROOF_PERMILLE)
        return true;
    return shrinks_to_permille(v) >= HARDLY_PERMILLE &&
           !would_end(v, qf_mul_sat(most, FAR_FACTOR), slow, FORECAST_BEST);
}

/* What a stop would take from the guest, against what a throttle would: guest time either way. */
static bool is_stop_cheaper(const struct view *v, uint32_t throttle_percent)
{
    struct forecast_course c;
    const uint64_t stop_ms = left_ms(v);
    return may_stop(v) && stop_ms < stop_bound_ms(v->p) &&
           attempt(v, v->p->downtime_max_ms, throttle_percent, FORECAST_BEST, &c) &&
           stop_ms <= qf_mul_div(c.ms, throttle_percent, 100);
}

/* What the last pass left is so little above the greatest limit that the next may be below. */
static bool is_close(const struct view *v)
{
    const struct policy_trend *t = &v->run->trend;
    const uint64_t ms = forecast_time_ms(&v->run->curve, t, policy_trend_left_over(t));
    return ms <= qf_mul_div(v->p->downtime_max_ms, CLOSE_PERMILLE, 1000) &&
           v->run->pace.close_passes++ < CLOSE_PASSES;
}

/* Waiting is over. */
static bool do_something(const struct view *v)
{
    struct pace_run *r = &v->run->pace;
    const struct policy *p = v->p;
    const bool may_postcopy = p->postcopy_allowed && !v->run->postcopy_refused;
    const bool may_throttle = p->throttle_allowed && !r->throttle_failed &&
                              v->run->curve.throttle_percent < throttle_cap(p);
    const uint64_t stop_ms = stop_bound_ms(p);
    if (may_throttle) {
        const uint32_t percent = needed_throttle(v, p->downtime_max_ms);
        const bool is_better =
            may_postcopy ? percent <= THROTTLE_MILD_PERCENT : !is_stop_cheaper(v, percent);
        if (percent > 0 && is_better)
            return throttle(v, percent);
    }
    if (policy_trend_complete(&v->run->trend) < 2)
        return wait_for(v, "one more pass, to be certain");
    if (may_postcopy)
        return act(v, POLICY_POSTCOPY);
    if (may_stop(v) && left_ms(v) < stop_ms)
        return act(v, POLICY_PAUSE);
    if (may_throttle && may_stop(v) && stop_ms != POLICY_UNKNOWN) {
        const uint32_t percent = needed_throttle(v, stop_ms);
        if (percent > 0)
            return throttle(v, percent);
    }
    if (may_throttle && would_end(v, p->downtime_max_ms, throttle_cap(p), FORECAST_LOW))
        return throttle(v, throttle_cap(p));
    /* What throws away everything that was done is done on proof only. */
    return is_proven(v) ? act(v, POLICY_ABORT)
                        : wait_for(v, "it may still converge, one more pass");
}

/* The limit as far as it goes, and then a few passes. */
static bool set_close(const struct view *v)
{
    say_floor(v);
    return set_downtime(v, v->p->downtime_max_ms);
}

static bool at_boundary(const struct view *v)
{
    const uint64_t limit = v->s->downtime_limit_ms;
    const uint64_t most = v->p->downtime_max_ms;
    const uint32_t slow = v->run->curve.throttle_percent;
    const uint64_t complete = policy_trend_complete(&v->run->trend);
    const uint64_t stalls = v->run->trend.stalled_passes - v->run->pace.stalls;
    if (would_end(v, limit, slow, FORECAST_BEST)) {
        /* It says so, and yet it does not get there: the floor is nearer than it seems. */
        if (stalls < 3 || limit >= most)
            return stalls >= 6 && limit >= most && !is_throttle_pending(v) &&
                   do_something(v);
        say_floor(v);
        return set_downtime(v, limit + limit / 4 + LIMIT_MARGIN_MS);
    }
    if (limit < most && would_end(v, most, slow, FORECAST_BEST)) {
        if (complete < 2 && would_end(v, limit, slow, FORECAST_LOW))
            return wait_for(v, "too early to say, one more pass");
        return raise_downtime(v);
    }
    if (is_throttle_pending(v))
        return wait_for(v, "the throttle is not in force yet");
    const bool certain =
        !would_end(v, qf_mul_div(most, NEARLY_PERMILLE, 1000), slow, FORECAST_LOW) ||
        (complete >= 2 && shrinks_to_permille(v) >= HARDLY_PERMILLE);
    if (!certain)
        return wait_for(v, "it may still converge, one more pass");
    if (is_worth_patience(v))
        return wait_for(v, "the guest or the link has changed, waiting for a low point");
    v->run->pace.patience_from = 0;
    if (is_rest_worth_waiting(v))
        return wait_for(v, v->run->rhythm.quiet
                               ? "the guest has begun to rest, one more pass"
                               : "the guest rests now and then, waiting for its next rest");
    if (limit >= most && is_close(v))
        return wait_for(v, "it is close");
    return limit < most && is_close(v) ? set_close(v) : do_something(v);
}

/* ---- a goal instead of knobs ---- */

/* In the first pass nothing is known but the size of it and the link. */
static bool judge_first_pass(const struct view *v)
{
    char a[SAY_WORD];
    char b[SAY_WORD];
    char c[SAY_WORD];
    struct pace_run *r = &v->run->pace;
    const uint64_t elapsed_ms = view_elapsed_ms(v->s);
    const uint64_t goal_ms = v->p->finish_within_ms;
    const uint64_t need_ms = left_ms(v);
    if (need_ms == POLICY_UNKNOWN ||
        v->run->trend.rate_seen_ns < GOAL_SEEN_MS * QF_NS_PER_MS ||
        qf_add_sat(elapsed_ms, need_ms) <= goal_ms)
        return false;
    const uint64_t rest_ms = goal_ms > elapsed_ms ? goal_ms - elapsed_ms : 1;
    const uint64_t rate = qf_mul_div(v->s->remaining_bytes, 1000, rest_ms);
    const uint64_t most =
        qf_mul_div(v->run->trend.bandwidth_bytes_per_s, HURRY_MOST_PERMILLE, 1000);
    if (may_hurry(v) && rate <= most) {
        r->bandwidth_raises++;
        (void)snprintf(v->out->because, sizeof(v->out->because),
                       "the first pass alone takes %s more, %s is the goal",
                       say_ms(need_ms, a), say_ms(goal_ms, b));
        return view_decide(v, POLICY_SET_BANDWIDTH, qf_mul_div(rate, HURRY_PERMILLE, 1000),
                           goal_rule_name);
    }
    if (r->goal_missed)
        return false;
    r->goal_missed = true;
    v->out->is_notable = true;
    (void)snprintf(
        v->out->because, sizeof(v->out->because),
        "%s cannot be met: the first pass alone takes %s more; it would take %s/s and "
        "a guest that writes little",
        say_ms(goal_ms, a), say_ms(need_ms, b), say_bytes(rate, c));
    return view_decide(v, POLICY_WAIT, 0, goal_rule_name);
}

/* Would it be over in time that way? */
static bool is_in_time(const struct view *v,
                       uint64_t downtime_ms,
                       uint32_t throttle_percent,
                       uint64_t faster_permille)
{
    struct forecast_course c;
    const uint64_t goal_ms = qf_mul_div(v->p->finish_within_ms, GOAL_PERMILLE, 1000);
    const uint64_t elapsed_ms = view_elapsed_ms(v->s);
    return attempt_faster(v, downtime_ms, throttle_percent, faster_permille, &c) &&
           c.ends && qf_add_sat(elapsed_ms, c.ms) <= goal_ms;
}

/* Nothing that is allowed gets it through in time: said once, with what would. */
static void say_missed(const struct view *v)
{
    char a[SAY_WORD];
    const struct policy *p = v->p;
    v->run->pace.goal_missed = true;
    v->out->is_notable = true;
    more(v, "; ");
    more(v, say_ms(p->finish_within_ms, a));
    more(v, " cannot be met, what would help is ");
    if (!p->postcopy_allowed)
        more(v, "post-copy (postcopy.allowed)");
    else if (!p->throttle_allowed)
        more(v, "a throttle (throttle.allowed)");
    else
        more(v, "a faster link");
}

/* At a pass boundary: the cheapest thing that gets it through in time. False: it is in time anyhow,
 * or nothing helps (missed). */
static bool goal_rule(const struct view *v, bool *missed)
{
    const struct policy *p = v->p;
    struct pace_run *r = &v->run->pace;
    const uint32_t slow = r->throttle_percent > v->run->curve.throttle_percent
                              ? r->throttle_percent
                              : v->run->curve.throttle_percent;
    const uint64_t limit = r->next_downtime_ms > v->s->downtime_limit_ms
                               ? r->next_downtime_ms
                               : v->s->downtime_limit_ms;
    *missed = false;
    if (is_in_time(v, limit, slow, 1000))
        return false;
    if (limit < p->downtime_max_ms && is_in_time(v, p->downtime_max_ms, slow, 1000)) {
        say_floor(v);
        return set_downtime(v, p->downtime_max_ms);
    }
    if (may_hurry(v) && is_in_time(v, p->downtime_max_ms, slow, HURRY_MOST_PERMILLE)) {
        uint64_t faster = 1000;
        while (!is_in_time(v, p->downtime_max_ms, slow, faster))
            faster += 250;
        r->bandwidth_raises++;
        say_floor(v);
        return view_decide(v, POLICY_SET_BANDWIDTH,
                           qf_mul_div(v->run->trend.bandwidth_bytes_per_s, faster, 1000),
                           goal_rule_name);
    }
    if (p->throttle_allowed && !r->throttle_failed && !is_throttle_pending(v))
        for (uint32_t percent = slow + THROTTLE_STEP_PERCENT; percent <= throttle_cap(p);
             percent += THROTTLE_STEP_PERCENT)
            if (is_in_time(v, p->downtime_max_ms, percent, 1000))
                return throttle(v, percent);
    if (policy_trend_complete(&v->run->trend) < 2 || is_throttle_pending(v))
        return false;
    const bool rest_is_in_time =
        qf_add_sat(view_elapsed_ms(v->s), left_ms(v)) <= p->finish_within_ms;
    if (p->postcopy_allowed && !v->run->postcopy_refused && rest_is_in_time)
        return act(v, POLICY_POSTCOPY);
    if (may_stop(v) && rest_is_in_time &&
        (p->stop_max_ms == 0 || left_ms(v) < stop_bound_ms(p)))
        return act(v, POLICY_PAUSE);
    *missed = !rest_is_in_time;
    return false;
}

bool pace_rule(const struct view *v)
{
    struct forecast_course c;
    if (!v->s->started || v->run->paused || v->s->guest_stopped)
        return false;
    if (v->run->pace.next_downtime_ms > 0 && !v->out->new_pass) {
        say_floor(v);
        return set_downtime(v, v->run->pace.next_downtime_ms);
    }
    if (v->p->finish_within_ms > 0 && policy_trend_complete(&v->run->trend) == 0)
        return judge_first_pass(v);
    if (!v->out->new_pass || !attempt(v, v->s->downtime_limit_ms,
                                      v->run->curve.throttle_percent, FORECAST_BEST, &c))
        return false;
    bool missed = false;
    if (v->p->finish_within_ms > 0 && goal_rule(v, &missed))
        return true;
    bool decided = at_boundary(v);
    if (!missed || v->run->pace.goal_missed)
        return decided;
    if (!decided) {
        say_floor(v);
        decided = view_decide(v, POLICY_WAIT, 0, goal_rule_name);
    }
    say_missed(v);
    return decided;
}

/* ---- what is expected, for the record ---- */

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
    const uint64_t ms = left_ms(v);
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
    const uint32_t cap = throttle_cap(p);
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
    if (attempt(v, limit, wanted, bound, &c) && is_good(v, &c))
        return by_course(v, &c);
    if (p->pacing != POLICY_PACING_FORECAST) /* its steps do not look ahead */
        return (struct ending){.ends = false};
    if (attempt(v, p->downtime_max_ms, wanted, bound, &c) && is_good(v, &c))
        return by_course(v, &c);
    if (p->throttle_allowed && cap > wanted &&
        attempt(v, p->downtime_max_ms, cap, bound, &c) && is_good(v, &c))
        return by_course(v, &c);
    if (p->postcopy_allowed && !v->run->postcopy_refused)
        return by_rest(v, false, bound);
    if (may_stop(v) && (p->stop_max_ms == 0 || left_ms(v) < p->stop_max_ms))
        return by_rest(v, true, bound);
    return (struct ending){.ends = false};
}

static enum policy_verdict find_verdict(const struct view *v)
{
    const struct policy *p = v->p;
    const uint32_t slow = v->run->curve.throttle_percent;
    if (v->run->paused || v->s->guest_stopped ||
        would_end(v, v->s->downtime_limit_ms, slow, FORECAST_BEST))
        return POLICY_VERDICT_CONVERGES;
    if (would_end(v, p->downtime_max_ms, slow, FORECAST_BEST))
        return POLICY_VERDICT_NEEDS_MORE_DOWNTIME;
    const uint32_t cap = throttle_cap(p);
    if (cap > slow && would_end(v, p->downtime_max_ms, cap, FORECAST_BEST))
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
    if (!attempt(v, v->s->downtime_limit_ms, v->run->curve.throttle_percent, FORECAST_BEST,
                 &c))
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
    *out = (struct policy_decision){.action = POLICY_WAIT, .rule = rule};
    policy_run_init(&run);
    (void)policy_trend_feed(&run.trend, &s);
    run.trend.bandwidth_bytes_per_s = bandwidth_bytes_per_s;
    more(&v, "the guest dirties");
    for (unsigned i = 0; i < n && i < POLICY_POINTS_KEPT; i++) {
        char part[96];
        run.curve.point[run.curve.n++] = points[i];
        (void)snprintf(part, sizeof(part), "%s %s in %s", i > 0 ? "," : "",
                       say_bytes(points[i].left_bytes, a),
                       say_ms(points[i].took_us / 1000, b));
        more(&v, part);
    }
    (void)snprintf(out->because + strlen(out->because),
                   sizeof(out->because) - strlen(out->because), "; %s over %s/s",
                   say_bytes(total_bytes, a), say_bytes(bandwidth_bytes_per_s, b));
    forecast_fill(&v);
}

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

#include "engine/base/units.h"
#include "policy/pace_priv.h"

enum {
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
    THROTTLE_MILD_PERCENT = 40,
    /* After so many passes QEMU will not do it any more ... */
    THROTTLE_PASSES = 5,
    /* ... and so long: it looks at syncs that are more than a second apart */
    THROTTLE_MS = 6000,
    PATIENCE_PASSES = 5,
    PATIENCE_MS = 60000,
    LOW_POINT_PERMILLE = 1250,
    /* For rests so long, or for two of its cycles if that is longer. */
    REST_MS = 90000
};

const char pace_rule_name[] = "forecast";

/* ---- sentences ---- */

void pace_say_floor(const struct view *v)
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
        say_more(v, ", and does not sink below ");
        say_more(v, say_ms(forecast_time_ms(&v->run->curve, t, c.left_bytes), e));
    }
}

static bool wait_for(const struct view *v, const char *why)
{
    pace_say_floor(v);
    say_more(v, ": ");
    say_more(v, why);
    return view_decide(v, POLICY_WAIT, 0, pace_rule_name);
}

/* ---- actions ---- */

bool pace_set_downtime(const struct view *v, uint64_t ms)
{
    if (ms > v->p->downtime_max_ms)
        ms = v->p->downtime_max_ms;
    v->run->pace.next_downtime_ms = 0;
    if (ms <= v->s->downtime_limit_ms)
        return false;
    v->run->pace.stalls = v->run->trend.stalled_passes;
    return view_decide(v, POLICY_SET_DOWNTIME, ms, pace_rule_name);
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
    while (ms < most && !pace_would_end(v, ms, slow, FORECAST_BEST))
        ms = ms + ms / 16 + 1;
    if (is_stuck && ms < now_ms)
        ms = now_ms;
    ms = qf_mul_div(ms, LIMIT_MARGIN_PERMILLE, 1000) + LIMIT_MARGIN_MS;
    pace_say_floor(v);
    return pace_set_downtime(v, ms);
}

bool pace_throttle(const struct view *v, uint32_t percent)
{
    struct pace_run *r = &v->run->pace;
    pace_say_floor(v);
    r->throttle_percent = percent;
    r->throttle_pass = policy_trend_complete(&v->run->trend);
    r->throttle_t_ns = v->s->t_ns;
    r->stalls = v->run->trend.stalled_passes;
    if (v->s->downtime_limit_ms < v->p->downtime_max_ms)
        r->next_downtime_ms = v->p->downtime_max_ms;
    v->out->throttle_first_percent = percent;
    return view_decide(v, POLICY_THROTTLE, percent, pace_rule_name);
}

bool pace_act(const struct view *v, enum policy_action action)
{
    pace_say_floor(v);
    return view_decide(v, action, 0, pace_rule_name);
}

/* ---- the rule ---- */

/* A throttle was decided: is it too early to judge it? */
bool pace_is_throttle_pending(const struct view *v)
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
        return !policy_rhythm_has_rested_since(
            h, policy_trend_boundary(&v->run->trend, 1)->t_ns);
    return v->s->t_ns < policy_rhythm_until_ns(h);
}

bool pace_may_stop(const struct view *v)
{
    return v->p->stop_allowed && !v->run->pause_refused && !v->s->guest_stopped;
}

uint64_t pace_stop_bound_ms(const struct policy *p)
{
    return p->stop_max_ms == 0
               ? POLICY_UNKNOWN
               : qf_mul_div(p->stop_max_ms, POLICY_STOP_MARGIN_PERMILLE, 1000);
}

/* That it does not converge is certain, and not by a little. */
static bool is_proven(const struct view *v)
{
    const uint32_t slow = v->run->curve.throttle_percent;
    const uint64_t most = v->p->downtime_max_ms;
    if (!pace_would_end(v, qf_mul_div(most, NEARLY_PERMILLE, 1000), slow, FORECAST_LOW) ||
        shrinks_to_permille(v) >= PROOF_PERMILLE)
        return true;
    return shrinks_to_permille(v) >= HARDLY_PERMILLE &&
           !pace_would_end(v, qf_mul_sat(most, FAR_FACTOR), slow, FORECAST_BEST);
}

/* What a stop would take from the guest, against what a throttle would: guest time either way. */
static bool is_stop_cheaper(const struct view *v, uint32_t throttle_percent)
{
    struct forecast_course c;
    const uint64_t stop_ms = pace_left_ms(v);
    return pace_may_stop(v) && stop_ms < pace_stop_bound_ms(v->p) &&
           pace_attempt(v, v->p->downtime_max_ms, throttle_percent, FORECAST_BEST, &c) &&
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
                              v->run->curve.throttle_percent < pace_throttle_cap(p);
    const uint64_t stop_ms = pace_stop_bound_ms(p);
    if (may_throttle) {
        const uint32_t percent = pace_needed_throttle(v, p->downtime_max_ms);
        const bool is_better =
            may_postcopy ? percent <= THROTTLE_MILD_PERCENT : !is_stop_cheaper(v, percent);
        if (percent > 0 && is_better)
            return pace_throttle(v, percent);
    }
    if (policy_trend_complete(&v->run->trend) < 2)
        return wait_for(v, "one more pass, to be certain");
    if (may_postcopy)
        return pace_act(v, POLICY_POSTCOPY);
    if (pace_may_stop(v) && pace_left_ms(v) < stop_ms)
        return pace_act(v, POLICY_PAUSE);
    if (may_throttle && pace_may_stop(v) && stop_ms != POLICY_UNKNOWN) {
        const uint32_t percent = pace_needed_throttle(v, stop_ms);
        if (percent > 0)
            return pace_throttle(v, percent);
    }
    if (may_throttle &&
        pace_would_end(v, p->downtime_max_ms, pace_throttle_cap(p), FORECAST_LOW))
        return pace_throttle(v, pace_throttle_cap(p));
    /* What throws away everything that was done is done on proof only. */
    return is_proven(v) ? pace_act(v, POLICY_ABORT)
                        : wait_for(v, "it may still converge, one more pass");
}

/* The limit as far as it goes, and then a few passes. */
static bool set_close(const struct view *v)
{
    pace_say_floor(v);
    return pace_set_downtime(v, v->p->downtime_max_ms);
}

static bool at_boundary(const struct view *v)
{
    const uint64_t limit = v->s->downtime_limit_ms;
    const uint64_t most = v->p->downtime_max_ms;
    const uint32_t slow = v->run->curve.throttle_percent;
    const uint64_t complete = policy_trend_complete(&v->run->trend);
    const uint64_t stalls = v->run->trend.stalled_passes - v->run->pace.stalls;
    if (pace_would_end(v, limit, slow, FORECAST_BEST)) {
        /* It says so, and yet it does not get there: the floor is nearer than it seems. */
        if (stalls < 3 || limit >= most)
            return stalls >= 6 && limit >= most && !pace_is_throttle_pending(v) &&
                   do_something(v);
        pace_say_floor(v);
        return pace_set_downtime(v, limit + limit / 4 + LIMIT_MARGIN_MS);
    }
    if (limit < most && pace_would_end(v, most, slow, FORECAST_BEST)) {
        if (complete < 2 && pace_would_end(v, limit, slow, FORECAST_LOW))
            return wait_for(v, "too early to say, one more pass");
        return raise_downtime(v);
    }
    if (pace_is_throttle_pending(v))
        return wait_for(v, "the throttle is not in force yet");
    const bool certain =
        !pace_would_end(v, qf_mul_div(most, NEARLY_PERMILLE, 1000), slow, FORECAST_LOW) ||
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

bool pace_rule(const struct view *v)
{
    struct forecast_course c;
    if (!v->s->started || v->run->paused || v->s->guest_stopped)
        return false;
    if (v->run->pace.next_downtime_ms > 0 && !v->out->new_pass) {
        pace_say_floor(v);
        return pace_set_downtime(v, v->run->pace.next_downtime_ms);
    }
    if (v->p->finish_within_ms > 0 && policy_trend_complete(&v->run->trend) == 0)
        return pace_goal_first_pass(v);
    if (!v->out->new_pass ||
        !pace_attempt(v, v->s->downtime_limit_ms, v->run->curve.throttle_percent,
                      FORECAST_BEST, &c))
        return false;
    bool missed = false;
    if (v->p->finish_within_ms > 0 && pace_goal(v, &missed))
        return true;
    const bool decided = at_boundary(v);
    return missed && !v->run->pace.goal_missed ? pace_goal_missed(v, decided) : decided;
}

/* A goal instead of knobs, `finish-within`: is it met, what is the cheapest thing that meets it, and what is
 * said, once, where nothing does. */
#include <stdio.h>

#include "engine/base/units.h"
#include "policy/pace_priv.h"

enum {
    GOAL_PERMILLE = 950,
    /* So long a bandwidth is measured before a goal is judged by it. */
    GOAL_SEEN_MS = 1000,
    /* For a goal a limit of bandwidth is raised, so often, to that much of what is needed. */
    HURRY_TIMES = 3,
    HURRY_PERMILLE = 1500,
    HURRY_MOST_PERMILLE = 20000,
    AT_LIMIT_PERMILLE = 850
};

static const char goal_rule_name[] = "finish-within";

/* Is it QEMU's own limit that holds it back, and may that be raised? */
static bool may_hurry(const struct view *v)
{
    const uint64_t limit = v->s->bandwidth_limit_bytes_per_s;
    return !v->s->bandwidth_is_fixed && v->run->pace.bandwidth_raises < HURRY_TIMES &&
           limit > 0 && limit != POLICY_UNKNOWN &&
           v->run->trend.bandwidth_bytes_per_s >=
               qf_mul_div(limit, AT_LIMIT_PERMILLE, 1000);
}

/* In the first pass nothing is known but the size of it and the link. */
bool pace_goal_first_pass(const struct view *v)
{
    char a[SAY_WORD];
    char b[SAY_WORD];
    char c[SAY_WORD];
    struct pace_run *r = &v->run->pace;
    const uint64_t elapsed_ms = view_elapsed_ms(v->s);
    const uint64_t goal_ms = v->p->finish_within_ms;
    const uint64_t need_ms = pace_left_ms(v);
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
    return pace_attempt_faster(v, downtime_ms, throttle_percent, faster_permille, &c) &&
           c.ends && qf_add_sat(elapsed_ms, c.ms) <= goal_ms;
}

/* Nothing that is allowed gets it through in time: said once, with what would. */
bool pace_goal_missed(const struct view *v, bool decided)
{
    char a[SAY_WORD];
    const struct policy *p = v->p;
    if (!decided) {
        pace_say_floor(v);
        decided = view_decide(v, POLICY_WAIT, 0, goal_rule_name);
    }
    v->run->pace.goal_missed = true;
    v->out->is_notable = true;
    say_more(v, "; ");
    say_more(v, say_ms(p->finish_within_ms, a));
    say_more(v, " cannot be met, what would help is ");
    if (!p->postcopy_allowed)
        say_more(v, "post-copy (postcopy.allowed)");
    else if (!p->throttle_allowed)
        say_more(v, "a throttle (throttle.allowed)");
    else
        say_more(v, "a faster link");
    return decided;
}

/* At a pass boundary: the cheapest thing that gets it through in time. False: it is in time anyhow,
 * or nothing helps (missed). */
bool pace_goal(const struct view *v, bool *missed)
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
        pace_say_floor(v);
        return pace_set_downtime(v, p->downtime_max_ms);
    }
    if (may_hurry(v) && is_in_time(v, p->downtime_max_ms, slow, HURRY_MOST_PERMILLE)) {
        uint64_t faster = 1000;
        while (!is_in_time(v, p->downtime_max_ms, slow, faster))
            faster += 250;
        r->bandwidth_raises++;
        pace_say_floor(v);
        return view_decide(v, POLICY_SET_BANDWIDTH,
                           qf_mul_div(v->run->trend.bandwidth_bytes_per_s, faster, 1000),
                           goal_rule_name);
    }
    if (p->throttle_allowed && !r->throttle_failed && !pace_is_throttle_pending(v))
        for (uint32_t percent = slow + THROTTLE_STEP_PERCENT;
             percent <= pace_throttle_cap(p); percent += THROTTLE_STEP_PERCENT)
            if (is_in_time(v, p->downtime_max_ms, percent, 1000))
                return pace_throttle(v, percent);
    if (policy_trend_complete(&v->run->trend) < 2 || pace_is_throttle_pending(v))
        return false;
    const bool rest_is_in_time =
        qf_add_sat(view_elapsed_ms(v->s), pace_left_ms(v)) <= p->finish_within_ms;
    if (p->postcopy_allowed && !v->run->postcopy_refused && rest_is_in_time)
        return pace_act(v, POLICY_POSTCOPY);
    if (pace_may_stop(v) && rest_is_in_time &&
        (p->stop_max_ms == 0 || pace_left_ms(v) < pace_stop_bound_ms(p)))
        return pace_act(v, POLICY_PAUSE);
    *missed = !rest_is_in_time;
    return false;
}

/* Pacing `schedule`: the steps of a policy, which of them is due. */
#include "engine/base/units.h"
#include "policy/policy_priv.h"

/* Names that live for ever: a decision may outlive the policy that it came from. */
static const char *const step_rules[POLICY_STEPS_MAX] = {
    "step 1",  "step 2",  "step 3",  "step 4",  "step 5",  "step 6",  "step 7",  "step 8",
    "step 9",  "step 10", "step 11", "step 12", "step 13", "step 14", "step 15", "step 16",
    "step 17", "step 18", "step 19", "step 20", "step 21", "step 22", "step 23", "step 24",
    "step 25", "step 26", "step 27", "step 28", "step 29", "step 30", "step 31", "step 32",
};

static bool is_due(const struct view *v, const struct policy_trigger *t)
{
    const struct policy_trend *trend = &v->run->trend;
    if (t->before_start != !v->s->started)
        return false;
    if (policy_trend_complete(trend) < t->passes ||
        trend->stalled_passes < t->stalled_passes || view_elapsed_ms(v->s) < t->elapsed_ms)
        return false;
    const uint64_t implied_ms = policy_trend_implied_downtime_ms(trend);
    if (t->implied_downtime_below_ms > 0 && implied_ms >= t->implied_downtime_below_ms)
        return false;
    if (!t->implied_downtime_below_stop_max)
        return true;
    const uint64_t bound_ms =
        v->p->stop_max_ms == 0
            ? POLICY_UNKNOWN
            : qf_mul_div(v->p->stop_max_ms, POLICY_STOP_MARGIN_PERMILLE, 1000);
    return implied_ms < bound_ms;
}

/* The limit that a SET_DOWNTIME step asks for, never above downtime.max. */
static uint64_t step_downtime_ms(const struct policy *p, const struct policy_step *step)
{
    const uint64_t asked_ms =
        step->value_permille > 0
            ? qf_mul_div(p->downtime_max_ms, step->value_permille, 1000)
            : step->value_ms;
    return asked_ms < p->downtime_max_ms ? asked_ms : p->downtime_max_ms;
}

/* Does the policy allow the step now, and QEMU, as far as we know? */
static bool is_possible(const struct view *v, const struct policy_step *step)
{
    switch (step->action) {
    case POLICY_WAIT:
    case POLICY_SET_DOWNTIME:
    case POLICY_SET_BANDWIDTH:
    case POLICY_ABORT:
        return true;
    case POLICY_THROTTLE:
        return v->p->throttle_allowed;
    case POLICY_POSTCOPY:
        return v->p->postcopy_allowed && !v->run->postcopy_refused;
    case POLICY_PAUSE:
        return v->p->stop_allowed && !v->run->pause_refused && !v->s->guest_stopped;
    }
    return false;
}

bool schedule_rule(const struct view *v)
{
    for (uint32_t i = 0; i < v->p->n_steps && i < POLICY_STEPS_MAX; i++) {
        const struct policy_step *step = &v->p->steps[i];
        const uint32_t bit = UINT32_C(1) << i;
        if ((v->run->steps_done & bit) || !is_possible(v, step) ||
            !is_due(v, &step->trigger))
            continue;
        v->run->steps_done |= bit;
        uint64_t value = 0;
        if (step->action == POLICY_SET_DOWNTIME)
            value = step_downtime_ms(v->p, step);
        else if (step->action == POLICY_SET_BANDWIDTH)
            value = step->value_bytes_per_s;
        else if (step->action == POLICY_THROTTLE)
            value = v->p->throttle_max_percent;
        else if (step->action == POLICY_WAIT)
            continue;
        if (step->action == POLICY_SET_DOWNTIME && value <= v->s->downtime_limit_ms)
            continue;
        if (step->action == POLICY_THROTTLE)
            v->out->throttle_first_percent = v->p->throttle_initial_percent;
        say_trigger(v, &step->trigger);
        return view_decide(v, step->action, value, step_rules[i]);
    }
    return false;
}

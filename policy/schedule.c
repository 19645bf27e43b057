/* Pacing `schedule`: when the policy looks, and which of its steps is due.
 *
 * The systems that step by a schedule poll, and count what they see from one look to the next; a
 * step that depends on that must be looked at as rarely as they do. What each of them needs:
 *
 *   vdsm       every 10 s, in-order, qemu-passes: one step at a look with a moved pass counter
 *   kubevirt   every 400 ms; timeout-per-gib in GB, progress by remaining, force-complete, then
 *              twice the time limit also while the guest is stopped
 *   proxmox    every 1 s, near-end 100 ms; remaining-rises, set-downtime x2, repeat
 *   nova       every 500 ms; elapsed-per-gib, size rounded down, at least 2
 *   libvirt    the time limit alone */
#include "engine/base/units.h"
#include "policy/policy_priv.h"

/* Names that live for ever: a decision may outlive the policy that it came from. */
static const char *const step_rules[POLICY_STEPS_MAX] = {
    "step 1",  "step 2",  "step 3",  "step 4",  "step 5",  "step 6",  "step 7",  "step 8",
    "step 9",  "step 10", "step 11", "step 12", "step 13", "step 14", "step 15", "step 16",
    "step 17", "step 18", "step 19", "step 20", "step 21", "step 22", "step 23", "step 24",
    "step 25", "step 26", "step 27", "step 28", "step 29", "step 30", "step 31", "step 32",
};

/* --- looks --- */

static void take_in(struct policy_look *l, const struct policy_sample *s)
{
    const uint64_t left = s->remaining_bytes;
    if (l->n++ == 0)
        l->fell_t_ns = s->t_ns;
    l->passes_move = l->first_pass > 0 && s->pass > l->pass;
    if (l->first_pass == 0)
        l->first_pass = l->pass = s->pass; /* again, as long as QEMU has none */
    else if (l->passes_move)
        l->pass = s->pass;
    if (l->remaining_bytes == 0 || left < l->remaining_bytes)
        l->fell_t_ns = s->t_ns;
    l->remaining_bytes = left;
    if (s->transferred_bytes == l->transferred_bytes)
        return;
    const uint64_t average = l->transferred_bytes / l->n;
    l->near_end |= average > 0 && left < average;
    if (left == 0 || (l->moved_bytes > 0 && left > l->moved_bytes))
        l->rises++;
    l->moved_bytes = left;
    l->transferred_bytes = s->transferred_bytes;
}

bool schedule_looks(const struct view *v)
{
    const struct policy *p = v->p;
    const struct policy_sample *s = v->s;
    struct policy_look *l = &v->run->look;
    if (!s->started)
        return true;
    if (p->pacing == POLICY_PACING_SCHEDULE && p->every_ms > 0) {
        if (l->next_ns == 0)
            l->next_ns = add_ns(s->t_ns - s->elapsed_ns, qf_ms_to_ns(p->every_ms));
        if (s->t_ns < l->next_ns)
            return false;
    }
    take_in(l, s);
    l->next_ns =
        add_ns(s->t_ns, qf_ms_to_ns(l->near_end && p->near_end_ms > 0 ? p->near_end_ms
                                                                      : p->every_ms));
    return true;
}

/* --- steps --- */

static bool is_due(const struct view *v, const struct policy_trigger *t)
{
    const struct policy_trend *trend = &v->run->trend;
    const struct policy_look *look = &v->run->look;
    const uint64_t elapsed_ms = view_elapsed_ms(v->s);
    const char *rule = NULL;
    if (t->before_start != !v->s->started)
        return false;
    if (policy_trend_complete(trend) < t->passes ||
        trend->stalled_passes < t->stalled_passes || elapsed_ms < t->elapsed_ms ||
        look->rises < t->remaining_rises)
        return false;
    if (t->qemu_passes > 0 &&
        (!look->passes_move || look->pass - look->first_pass < t->qemu_passes))
        return false;
    if (t->elapsed_per_gib_ms > 0 &&
        (v->s->total_bytes == 0 ||
         elapsed_ms < view_by_size_ms(v->p, v->s, t->elapsed_per_gib_ms)))
        return false;
    if (t->timeouts > 0) {
        const uint64_t limit_ms = view_time_limit_ms(v->p, v->s, &rule);
        if (limit_ms == 0 || elapsed_ms < qf_mul_sat(limit_ms, t->timeouts))
            return false;
    }
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

uint64_t policy_step_downtime_ms(const struct policy *p,
                                 const struct policy_step *step,
                                 uint64_t in_force_ms)
{
    uint64_t asked_ms = step->value_ms;
    if (step->value_permille > 0)
        asked_ms = qf_mul_div(p->downtime_max_ms, step->value_permille, 1000);
    else if (step->value_times > 0)
        asked_ms = qf_mul_sat(in_force_ms, step->value_times);
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
    case POLICY_RECOVER:
    case POLICY_CONTINUE:
        return false;
    case POLICY_THROTTLE:
        return v->p->throttle_allowed;
    case POLICY_POSTCOPY:
        return v->p->postcopy_allowed && !v->run->postcopy_refused && !v->s->guest_stopped;
    case POLICY_PAUSE:
        return v->p->stop_allowed && !v->run->pause_refused && !v->s->guest_stopped;
    }
    return false;
}

/* Is this step one that can have its turn at all now? */
static bool is_open(const struct view *v, uint32_t i)
{
    const struct policy_step *step = &v->p->steps[i];
    return !(v->run->steps_done & (UINT32_C(1) << i)) &&
           step->trigger.before_start == !v->s->started &&
           (!v->run->paused || step->also_stopped) && is_possible(v, step);
}

static uint64_t value_of(const struct view *v, const struct policy_step *step)
{
    switch (step->action) {
    case POLICY_SET_DOWNTIME:
        return policy_step_downtime_ms(v->p, step, v->s->downtime_limit_ms);
    case POLICY_SET_BANDWIDTH:
        return step->value_bytes_per_s;
    case POLICY_THROTTLE:
        return v->p->throttle_max_percent;
    case POLICY_WAIT:
    case POLICY_POSTCOPY:
    case POLICY_PAUSE:
    case POLICY_ABORT:
    case POLICY_RECOVER:
    case POLICY_CONTINUE:
        break;
    }
    return 0;
}

bool schedule_rule(const struct view *v)
{
    for (uint32_t i = 0; i < v->p->n_steps && i < POLICY_STEPS_MAX; i++) {
        const struct policy_step *step = &v->p->steps[i];
        if (!is_open(v, i))
            continue;
        if (!is_due(v, &step->trigger)) {
            if (v->p->in_order)
                return false;
            continue;
        }
        const uint64_t value = value_of(v, step);
        const bool changes =
            step->action != POLICY_WAIT &&
            (step->action != POLICY_SET_DOWNTIME || value > v->s->downtime_limit_ms);
        if (changes)
            say_trigger(v, &step->trigger);
        if (step->repeat)
            v->run->look.rises = 0;
        else
            v->run->steps_done |= UINT32_C(1) << i;
        if (!changes && v->p->in_order)
            return false; /* this was its turn */
        if (!changes)
            continue;
        if (step->action == POLICY_THROTTLE)
            v->out->throttle_first_percent = v->p->throttle_initial_percent;
        return view_decide(v, step->action, value, step_rules[i]);
    }
    return false;
}

void schedule_wake(const struct view *v, int64_t *wake_ns)
{
    const struct policy_sample *s = v->s;
    const int64_t start_ns = s->t_ns - s->elapsed_ns;
    const char *rule = NULL;
    const uint64_t limit_ms = view_time_limit_ms(v->p, s, &rule);
    for (uint32_t i = 0; i < v->p->n_steps && i < POLICY_STEPS_MAX; i++) {
        const struct policy_trigger *t = &v->p->steps[i].trigger;
        if (!is_open(v, i))
            continue;
        if (t->elapsed_ms > 0)
            sooner(wake_ns, s->t_ns, add_ns(start_ns, qf_ms_to_ns(t->elapsed_ms)));
        if (t->elapsed_per_gib_ms > 0 && s->total_bytes > 0)
            sooner(wake_ns, s->t_ns,
                   add_ns(start_ns,
                          qf_ms_to_ns(view_by_size_ms(v->p, s, t->elapsed_per_gib_ms))));
        if (t->timeouts > 0 && limit_ms > 0)
            sooner(wake_ns, s->t_ns,
                   add_ns(start_ns, qf_ms_to_ns(qf_mul_sat(limit_ms, t->timeouts))));
    }
}

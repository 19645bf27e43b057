/* What a policy has in it that cannot be meant, although no two fields contradict each other: steps
 * that are never taken or change nothing, fields without effect. Each is worth a warning and none
 * a refusal: they do no harm, and --set may make sense of them. */
#include <stdarg.h>
#include <stdio.h>

#include "engine/base/fault.h"
#include "engine/base/units.h"
#include "policy/policy_json.h"

enum { WORD = 32 };

struct lint {
    const struct policy *p;
    struct fault_source src;
    struct qf_err err;
    void (*warn)(void *arg, const char *warning);
    void *arg;
    size_t n;
};

static void say(struct lint *l, const char *name, const char *fmt, ...) QF_PRINTF(3, 4);

static void say(struct lint *l, const char *name, const char *fmt, ...)
{
    char what[QF_ERR_TEXT];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    (void)fault_report(&l->src, name, "%s", what);
    l->warn(l->arg, l->err.text);
    l->n++;
}

/* --- fields --- */

static void lint_times(struct lint *l)
{
    const struct policy *p = l->p;
    const bool limited = p->timeout_ms > 0 || p->timeout_per_gib_ms > 0;
    char a[WORD];
    char b[WORD];
    if (p->on_timeout != POLICY_ON_TIMEOUT_ABORT && !limited)
        say(l, "on-timeout",
            "never happens: there is neither timeout nor timeout-per-gib; set one of them");
    if (p->finish_within_ms > 0 && p->timeout_ms > 0 &&
        p->on_timeout == POLICY_ON_TIMEOUT_ABORT && p->finish_within_ms >= p->timeout_ms)
        say(l, "finish-within", "%s, but the move is given up at timeout, %s",
            qf_format_ms(p->finish_within_ms, a, WORD),
            qf_format_ms(p->timeout_ms, b, WORD));
    if (p->stop_allowed && p->stop_max_ms > 0 && p->stop_max_ms < p->downtime_max_ms)
        say(l, "stop.max",
            "%s is less than downtime.max, %s, which the guest may be stopped for anyway",
            qf_format_ms(p->stop_max_ms, a, WORD),
            qf_format_ms(p->downtime_max_ms, b, WORD));
}

/* QEMU's capabilities: 7.2 takes both and its destination aborts after the switch, 10.0 refuses
 * the pair, from 10.1 on it works (qapi/migration.json; verified 7.2, 10.0, 11.1). */
static void lint_channels(struct lint *l)
{
    if (l->p->channels > 0 && l->p->postcopy_allowed)
        say(l, "channels",
            "%u, but postcopy.allowed is true: QEMU before 10.1 cannot do both; set one of "
            "them to 0 or false",
            l->p->channels);
}

static void lint_pacing(struct lint *l)
{
    const struct policy *p = l->p;
    bool throttles = p->throttle_from_start || p->pacing == POLICY_PACING_FORECAST;
    for (uint32_t i = 0; i < p->n_steps; i++)
        throttles |= p->steps[i].action == POLICY_THROTTLE;
    if (p->throttle_allowed && !throttles)
        say(l, "throttle.allowed",
            "true, but no step throttles; add one, or set throttle.from-start");
    if (p->pacing == POLICY_PACING_FORECAST && p->every_ms > 0)
        say(l, "schedule.every", "has no effect: pacing is forecast");
    if (p->pacing == POLICY_PACING_FORECAST && p->in_order)
        say(l, "schedule.in-order", "has no effect: pacing is forecast");
    if (p->near_end_ms > 0 && p->every_ms <= p->near_end_ms)
        say(l, "schedule.near-end", "has no effect: it is not below schedule.every");
}

/* --- steps --- */

/* Does `later` hold only when `sooner` does? strictly: and not always at the same time. */
static bool implies(const struct policy_trigger *later,
                    const struct policy_trigger *sooner,
                    bool strictly)
{
    const uint64_t a[] = {later->before_start,       later->passes,
                          later->stalled_passes,     later->qemu_passes,
                          later->remaining_rises,    later->elapsed_ms,
                          later->elapsed_per_gib_ms, later->timeouts};
    const uint64_t b[] = {sooner->before_start,       sooner->passes,
                          sooner->stalled_passes,     sooner->qemu_passes,
                          sooner->remaining_rises,    sooner->elapsed_ms,
                          sooner->elapsed_per_gib_ms, sooner->timeouts};
    bool differs = false;
    for (size_t i = 0; i < sizeof(a) / sizeof(a[0]); i++) {
        if (a[i] < b[i] || (i == 0 && a[i] != b[i]))
            return false;
        differs |= a[i] > b[i];
    }
    /* less is later */
    if (sooner->implied_downtime_below_ms > 0 &&
        (later->implied_downtime_below_ms == 0 ||
         later->implied_downtime_below_ms > sooner->implied_downtime_below_ms))
        return false;
    if (sooner->implied_downtime_below_stop_max && !later->implied_downtime_below_stop_max)
        return false;
    return differs || !strictly;
}

/* Is step i never due before step j was taken? */
static bool comes_after(const struct policy *p, uint32_t i, uint32_t j)
{
    if (i == j || p->steps[i].also_stopped != p->steps[j].also_stopped)
        return false;
    if (p->in_order)
        return j < i &&
               !p->steps[i].trigger.before_start == !p->steps[j].trigger.before_start;
    return implies(&p->steps[i].trigger, &p->steps[j].trigger, j > i);
}

/* The step that ends the move before step i can be taken; n_steps when there is none. */
static uint32_t ended_by(const struct policy *p, uint32_t i)
{
    const struct policy_step *step = &p->steps[i];
    for (uint32_t j = 0; j < p->n_steps; j++)
        if ((p->steps[j].action == POLICY_ABORT && comes_after(p, i, j)) ||
            (p->steps[j].trigger.before_start && !step->trigger.before_start &&
             !step->also_stopped))
            return j;
    return p->n_steps;
}

static bool times_out_first(const struct policy *p, const struct policy_step *step)
{
    const struct policy_trigger *t = &step->trigger;
    if (p->on_timeout != POLICY_ON_TIMEOUT_ABORT || step->also_stopped)
        return false;
    return (p->timeout_ms > 0 && t->elapsed_ms >= p->timeout_ms) ||
           (p->timeout_per_gib_ms > 0 && t->elapsed_per_gib_ms >= p->timeout_per_gib_ms) ||
           t->timeouts > 0;
}

/* The least that the downtime limit can be when step i is due, and the step that set it; n_steps
 * for downtime.start. */
static uint64_t limit_before(const struct policy *p, uint32_t i, uint32_t *by)
{
    uint64_t limit_ms = p->downtime_start_ms;
    *by = p->n_steps;
    for (uint32_t j = 0; j < p->n_steps; j++) {
        const struct policy_step *step = &p->steps[j];
        if (step->action != POLICY_SET_DOWNTIME || step->value_times > 0 ||
            !comes_after(p, i, j))
            continue;
        const uint64_t ms = policy_step_downtime_ms(p, step, 0);
        if (ms > limit_ms) {
            limit_ms = ms;
            *by = j;
        }
    }
    return limit_ms;
}

static void lint_downtime(struct lint *l, uint32_t i, const char *name)
{
    const struct policy *p = l->p;
    char a[WORD];
    char b[WORD];
    uint32_t by = 0;
    const uint64_t before_ms = limit_before(p, i, &by);
    const uint64_t ms = policy_step_downtime_ms(p, &p->steps[i], before_ms);
    if (ms > before_ms)
        return;
    if (by < p->n_steps)
        say(l, name, "changes nothing: %s is not above the %s that steps[%u] sets before",
            qf_format_ms(ms, a, WORD), qf_format_ms(before_ms, b, WORD), by);
    else
        say(l, name, "changes nothing: %s is not above downtime.start, which is %s",
            qf_format_ms(ms, a, WORD), qf_format_ms(before_ms, b, WORD));
}

static void lint_pause(struct lint *l, uint32_t i, const char *name)
{
    const struct policy *p = l->p;
    const uint64_t below_ms = p->steps[i].trigger.implied_downtime_below_ms;
    char a[WORD];
    char b[WORD];
    if (p->stop_max_ms > 0 && below_ms > p->stop_max_ms)
        say(l, name,
            "may stop the guest for nothing: for what takes %s, and stop.max gives up after %s",
            qf_format_ms(below_ms, a, WORD), qf_format_ms(p->stop_max_ms, b, WORD));
    if (below_ms > 0 && below_ms <= p->downtime_start_ms)
        say(l, name, "never needed: what takes less than %s fits into downtime.start, %s",
            qf_format_ms(below_ms, a, WORD), qf_format_ms(p->downtime_start_ms, b, WORD));
}

static void lint_step(struct lint *l, uint32_t i)
{
    const struct policy *p = l->p;
    const struct policy_step *step = &p->steps[i];
    char name[FAULT_NAME_SIZE];
    char a[WORD];
    (void)snprintf(name, sizeof(name), "steps[%u]", i);
    const uint32_t end = ended_by(p, i);
    if (end < p->n_steps) {
        say(l, name, "never taken: steps[%u] %s first", end,
            p->steps[end].action == POLICY_ABORT ? "gives up" : "stops the guest");
        return;
    }
    if (step->trigger.timeouts > 0 && p->timeout_ms == 0 && p->timeout_per_gib_ms == 0) {
        say(l, name, "never taken: there is neither timeout nor timeout-per-gib");
        return;
    }
    if (times_out_first(p, step)) {
        say(l, name, "never taken: the move is given up at the time limit first");
        return;
    }
    if (step->action == POLICY_SET_DOWNTIME)
        lint_downtime(l, i, name);
    if (step->action == POLICY_PAUSE)
        lint_pause(l, i, name);
    if (step->action == POLICY_THROTTLE && p->throttle_from_start)
        say(l, name, "changes nothing: throttle.from-start is true");
    if (step->action == POLICY_SET_BANDWIDTH && p->bandwidth_bytes_per_s > 0 &&
        step->value_bytes_per_s > p->bandwidth_bytes_per_s)
        say(l, name, "allows more than bandwidth, which is %s/s",
            qf_format_bytes(p->bandwidth_bytes_per_s, a, WORD));
    for (uint32_t j = 0; j < i; j++)
        if (step->action == p->steps[j].action && step->action != POLICY_SET_DOWNTIME &&
            step->action != POLICY_SET_BANDWIDTH && comes_after(p, i, j)) {
            say(l, name, "the same as steps[%u], which is taken before", j);
            break;
        }
}

size_t policy_check_warnings(const char *origin,
                             const char *text,
                             size_t len,
                             void (*warn)(void *arg, const char *warning),
                             void *arg)
{
    struct policy p;
    struct lint l = {.p = &p, .warn = warn, .arg = arg};
    l.src =
        (struct fault_source){.origin = origin, .text = text, .len = len, .err = &l.err};
    if (policy_load(origin, text, len, &p, &l.err) != 0)
        return 0;
    lint_times(&l);
    lint_pacing(&l);
    lint_channels(&l);
    for (uint32_t i = 0; i < p.n_steps; i++)
        lint_step(&l, i);
    return l.n;
}

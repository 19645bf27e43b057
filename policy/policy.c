#include "policy/policy.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/units.h"

enum {
    WORD = 32 /* one formatted number */
};

/* Names that live for ever: a decision may outlive the policy that it came from. */
static const char *const step_rules[POLICY_STEPS_MAX] = {
    "step 1",  "step 2",  "step 3",  "step 4",  "step 5",  "step 6",  "step 7",  "step 8",
    "step 9",  "step 10", "step 11", "step 12", "step 13", "step 14", "step 15", "step 16",
    "step 17", "step 18", "step 19", "step 20", "step 21", "step 22", "step 23", "step 24",
    "step 25", "step 26", "step 27", "step 28", "step 29", "step 30", "step 31", "step 32",
};

/* What every rule sees. */
struct view {
    const struct policy *p;
    const struct policy_sample *s;
    struct policy_run *run;
    struct policy_decision *out;
};

void policy_run_init(struct policy_run *run)
{
    *run = (struct policy_run){.steps_done = 0};
    policy_trend_init(&run->trend);
}

void policy_refused(struct policy_run *run, enum policy_action action)
{
    if (action != POLICY_POSTCOPY && action != POLICY_PAUSE)
        return;
    if (action == POLICY_POSTCOPY) {
        run->postcopy_refused = true;
    } else {
        run->pause_refused = true;
        run->paused = false;
        run->paused_seen = false;
    }
    run->timeout_used = false; /* the time limit still has to end this somehow */
}

void policy_stopped(struct policy_run *run, int64_t t_ns)
{
    run->paused = true;
    run->paused_seen = false;
    run->paused_t_ns = t_ns;
}

const char *policy_action_name(enum policy_action action)
{
    switch (action) {
#define POLICY_ACTION_NAME(id, name) \
    case POLICY_##id:                \
        return name;
        POLICY_ACTIONS(POLICY_ACTION_NAME)
#undef POLICY_ACTION_NAME
    }
    return "unknown";
}

/* --- time --- */

static int64_t add_ns(int64_t a, int64_t b)
{
    return b > 0 && a > INT64_MAX - b ? INT64_MAX : a + b;
}

static uint64_t elapsed_ms(const struct policy_sample *s)
{
    return s->elapsed_ns > 0 ? (uint64_t)(s->elapsed_ns / QF_NS_PER_MS) : 0;
}

static uint64_t since_ms(int64_t now_ns, int64_t then_ns)
{
    return now_ns > then_ns ? (uint64_t)((now_ns - then_ns) / QF_NS_PER_MS) : 0;
}

/* The sooner of the two limits on the whole move; 0 = none. */
static uint64_t time_limit_ms(const struct policy *p,
                              const struct policy_sample *s,
                              const char **rule)
{
    const uint64_t gib = s->total_bytes / QF_GIB + (s->total_bytes % QF_GIB ? 1 : 0);
    const uint64_t by_size = qf_mul_sat(p->timeout_per_gib_ms, gib);
    const bool sized = by_size > 0 && (p->timeout_ms == 0 || by_size < p->timeout_ms);
    *rule = sized ? "timeout-per-gib" : "timeout";
    return sized ? by_size : p->timeout_ms;
}

static bool stop_is_guarded(const struct view *v)
{
    return v->run->paused && v->p->stop_max_ms > 0;
}

/* --- sentences --- */

static void add(char *text, size_t size, const char *more)
{
    const size_t n = strlen(text);
    if (n + 1 < size)
        (void)snprintf(text + n, size - n, "%s", more);
}

/* "60.9 MiB" and so on, into one of the caller's words. */
static const char *bytes(uint64_t n, char word[WORD])
{
    return qf_format_bytes(n, word, WORD);
}

static const char *ms(uint64_t n, char word[WORD])
{
    return qf_format_ms(n, word, WORD);
}

/* "pass 4 left 61.2 MiB, no less than 60.9 MiB before" */
static void say_last_pass(const struct policy_trend *t, char *text, size_t size)
{
    char a[WORD];
    char b[WORD];
    const uint64_t left = policy_trend_left_over(t);
    const uint64_t before = t->least_before_bytes;
    const char *how = "less than";
    if (left >= before)
        how = "no less than";
    else if (left >= qf_mul_div(before, POLICY_SHRINK_PERMILLE, 1000))
        how = "hardly less than";
    (void)snprintf(text, size, "pass %llu left %s, %s %s before",
                   (unsigned long long)policy_trend_complete(t), bytes(left, a), how,
                   bytes(before, b));
}

static void say_trigger(const struct view *v, const struct policy_trigger *t)
{
    char *out = v->out->because;
    const size_t size = sizeof(v->out->because);
    const struct policy_trend *trend = &v->run->trend;
    char part[160];
    char word[WORD];
    if (t->before_start)
        add(out, size, "before memory moves");
    if (t->stalled_passes > 0) {
        say_last_pass(trend, part, sizeof(part));
        add(out, size, part);
        (void)snprintf(part, sizeof(part), " (stalled %llu time%s)",
                       (unsigned long long)trend->stalled_passes,
                       trend->stalled_passes == 1 ? "" : "s");
        add(out, size, part);
    }
    if (t->passes > 0) {
        const uint64_t n = policy_trend_complete(trend);
        (void)snprintf(part, sizeof(part), "%s%llu pass%s complete", *out ? ", " : "",
                       (unsigned long long)n, n == 1 ? " is" : "es are");
        add(out, size, part);
    }
    if (t->elapsed_ms > 0) {
        (void)snprintf(part, sizeof(part), "%s%s after the start", *out ? ", " : "",
                       ms(elapsed_ms(v->s), word));
        add(out, size, part);
    }
    if (t->implied_downtime_below_ms > 0 || t->implied_downtime_below_stop_max) {
        (void)snprintf(part, sizeof(part), "%sa stop would cost about %s", *out ? ", " : "",
                       ms(policy_trend_implied_downtime_ms(trend), word));
        add(out, size, part);
    }
}

static void say_action(const struct view *v)
{
    char *out = v->out->because;
    const size_t size = sizeof(v->out->because);
    char part[96] = "";
    char a[WORD];
    char b[WORD];
    switch (v->out->action) {
    case POLICY_WAIT:
        break;
    case POLICY_SET_DOWNTIME:
        (void)snprintf(part, sizeof(part), ": downtime limit %s -> %s",
                       ms(v->s->downtime_limit_ms, a), ms(v->out->value, b));
        break;
    case POLICY_SET_BANDWIDTH:
        (void)snprintf(part, sizeof(part), ": bandwidth limit %s/s",
                       bytes(v->out->value, a));
        break;
    case POLICY_THROTTLE:
        (void)snprintf(part, sizeof(part), ": slow the guest down, by at most %llu %%",
                       (unsigned long long)v->out->value);
        break;
    case POLICY_POSTCOPY:
        add(out, size, ": switch to post-copy");
        break;
    case POLICY_PAUSE:
        if (v->p->stop_max_ms > 0)
            (void)snprintf(part, sizeof(part), ": stop the guest, for at most %s",
                           ms(v->p->stop_max_ms, a));
        else
            add(out, size, ": stop the guest");
        break;
    case POLICY_ABORT:
        add(out, size, ": give up");
        break;
    }
    add(out, size, part);
}

/* Nothing is due: say how it goes. */
static void say_wait(const struct view *v)
{
    char *out = v->out->because;
    const size_t size = sizeof(v->out->because);
    const struct policy_trend *t = &v->run->trend;
    char a[WORD];
    char b[WORD];
    char c[WORD];
    if (!v->s->started) {
        (void)snprintf(out, size, "nothing to do before memory moves");
    } else if (v->s->postcopy) {
        (void)snprintf(out, size, "post-copy: %s left, no way back",
                       bytes(v->s->remaining_bytes, a));
    } else if (v->run->paused) {
        (void)snprintf(out, size, "the guest is stopped for %s, %s left",
                       ms(since_ms(v->s->t_ns, v->run->paused_t_ns), a),
                       bytes(v->s->remaining_bytes, b));
    } else {
        if (t->n_passes == 0)
            (void)snprintf(out, size, "no memory moved yet");
        else if (t->n_passes == 1)
            (void)snprintf(out, size, "first pass: %s of %s left",
                           bytes(v->s->remaining_bytes, a), bytes(v->s->total_bytes, b));
        else
            say_last_pass(t, out, size);
        if (t->bandwidth_bytes_per_s > 0) {
            char part[96];
            (void)snprintf(
                part, sizeof(part), "; at %s/s a downtime of %s takes %s",
                bytes(t->bandwidth_bytes_per_s, a), ms(v->s->downtime_limit_ms, b),
                bytes(qf_mul_div(t->bandwidth_bytes_per_s, v->s->downtime_limit_ms, 1000),
                      c));
            add(out, size, part);
        }
    }
}

/* --- rules; each returns whether it decided --- */

static bool decide(const struct view *v,
                   enum policy_action action,
                   uint64_t value,
                   const char *rule)
{
    v->out->action = action;
    v->out->value = value;
    v->out->rule = rule;
    if (action == POLICY_PAUSE)
        policy_stopped(v->run, v->s->t_ns);
    say_action(v);
    return true;
}

/* The stop that we decided costs more than the policy allows. */
static bool stop_rule(const struct view *v)
{
    char a[WORD];
    char b[WORD];
    char c[WORD];
    const uint64_t stopped_ms = since_ms(v->s->t_ns, v->run->paused_t_ns);
    if (!stop_is_guarded(v) || stopped_ms < v->p->stop_max_ms)
        return false;
    (void)snprintf(v->out->because, sizeof(v->out->because),
                   "the guest is stopped for %s, stop.max is %s, %s left",
                   ms(stopped_ms, a), ms(v->p->stop_max_ms, b),
                   bytes(v->s->remaining_bytes, c));
    return decide(v, POLICY_ABORT, 0, "stop.max");
}

/* What the time limit does now; WAIT = nothing. A guest that is stopped finishes by itself:
 * stopping or switching it would gain nothing. */
static enum policy_action on_timeout(const struct view *v)
{
    switch (v->p->on_timeout) {
    case POLICY_ON_TIMEOUT_ABORT:
        return POLICY_ABORT;
    case POLICY_ON_TIMEOUT_POSTCOPY:
        if (v->s->guest_stopped || v->run->paused)
            return POLICY_WAIT;
        return v->p->postcopy_allowed && !v->run->postcopy_refused ? POLICY_POSTCOPY
                                                                   : POLICY_ABORT;
    case POLICY_ON_TIMEOUT_STOP:
        if (v->s->guest_stopped || v->run->paused)
            return POLICY_WAIT;
        return v->p->stop_allowed && !v->run->pause_refused ? POLICY_PAUSE : POLICY_ABORT;
    }
    return POLICY_ABORT;
}

static bool timeout_rule(const struct view *v)
{
    const char *rule = NULL;
    const uint64_t limit_ms = time_limit_ms(v->p, v->s, &rule);
    if (limit_ms == 0 || elapsed_ms(v->s) < limit_ms || v->run->timeout_used ||
        stop_is_guarded(v))
        return false;
    const enum policy_action action = on_timeout(v);
    if (action == POLICY_WAIT)
        return false;
    char a[WORD];
    char b[WORD];
    v->run->timeout_used = true;
    (void)snprintf(v->out->because, sizeof(v->out->because),
                   "not finished after %s, the time limit, %s left", ms(limit_ms, a),
                   bytes(v->s->remaining_bytes, b));
    return decide(v, action, 0, rule);
}

static bool progress_rule(const struct view *v)
{
    const uint64_t limit_ms = v->p->progress_timeout_ms;
    const uint64_t still_ms = since_ms(v->s->t_ns, v->run->trend.moved_t_ns);
    if (limit_ms == 0 || still_ms < limit_ms)
        return false;
    char a[WORD];
    char b[WORD];
    (void)snprintf(v->out->because, sizeof(v->out->because),
                   "not one byte moved for %s, %s left", ms(still_ms, a),
                   bytes(v->s->remaining_bytes, b));
    return decide(v, POLICY_ABORT, 0, "progress-timeout");
}

static bool is_due(const struct view *v, const struct policy_trigger *t)
{
    const struct policy_trend *trend = &v->run->trend;
    if (t->before_start != !v->s->started)
        return false;
    if (policy_trend_complete(trend) < t->passes ||
        trend->stalled_passes < t->stalled_passes || elapsed_ms(v->s) < t->elapsed_ms)
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

static bool step_rule(const struct view *v)
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
        say_trigger(v, &step->trigger);
        return decide(v, step->action, value, step_rules[i]);
    }
    return false;
}

/* --- when to look again --- */

static void sooner(int64_t *wake_ns, int64_t now_ns, int64_t then_ns)
{
    if (then_ns > now_ns && then_ns < *wake_ns)
        *wake_ns = then_ns;
}

/* The next moment at which a rule could apply although no sample shows anything new. What is
 * due already waits for something else than time. */
static int64_t next_wake_ns(const struct view *v)
{
    const struct policy_sample *s = v->s;
    int64_t wake_ns = INT64_MAX;
    if (!s->started || s->postcopy)
        return wake_ns;
    const int64_t start_ns = s->t_ns - s->elapsed_ns;
    const char *rule = NULL;
    const uint64_t limit_ms = time_limit_ms(v->p, s, &rule);
    if (stop_is_guarded(v))
        sooner(&wake_ns, s->t_ns,
               add_ns(v->run->paused_t_ns, qf_ms_to_ns(v->p->stop_max_ms)));
    else if (limit_ms > 0 && !v->run->timeout_used)
        sooner(&wake_ns, s->t_ns, add_ns(start_ns, qf_ms_to_ns(limit_ms)));
    if (v->p->progress_timeout_ms > 0)
        sooner(&wake_ns, s->t_ns,
               add_ns(v->run->trend.moved_t_ns, qf_ms_to_ns(v->p->progress_timeout_ms)));
    for (uint32_t i = 0; i < v->p->n_steps && i < POLICY_STEPS_MAX && !v->run->paused; i++)
        if (!(v->run->steps_done & (UINT32_C(1) << i)) &&
            v->p->steps[i].trigger.elapsed_ms > 0)
            sooner(&wake_ns, s->t_ns,
                   add_ns(start_ns, qf_ms_to_ns(v->p->steps[i].trigger.elapsed_ms)));
    return wake_ns;
}

/* The guest that we stopped runs again: somebody else continued it, the rules apply again. */
static void watch_stop(struct policy_run *run, const struct policy_sample *s)
{
    if (!run->paused)
        return;
    if (s->guest_stopped)
        run->paused_seen = true;
    else if (run->paused_seen)
        run->paused = false;
}

void policy_decide(const struct policy *p,
                   struct policy_run *run,
                   const struct policy_sample *s,
                   struct policy_decision *out)
{
    const struct view v = {.p = p, .s = s, .run = run, .out = out};
    *out = (struct policy_decision){.action = POLICY_WAIT, .rule = "none"};
    out->new_pass = policy_trend_feed(&run->trend, s);
    watch_stop(run, s);
    const bool over = s->postcopy;
    const bool decided =
        !over &&
        ((s->started && (stop_rule(&v) || timeout_rule(&v) || progress_rule(&v))) ||
         (!run->paused && step_rule(&v)));
    if (!decided)
        say_wait(&v);
    out->wake_ns = next_wake_ns(&v);
}

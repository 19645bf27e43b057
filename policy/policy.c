#include "policy/policy.h"

#include <stdio.h>

#include "engine/base/units.h"
#include "policy/policy_priv.h"

void policy_run_init(struct policy_run *run)
{
    *run = (struct policy_run){.steps_done = 0};
    policy_trend_init(&run->trend);
    policy_curve_init(&run->curve);
    policy_rhythm_init(&run->rhythm);
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

void policy_stop_lost(struct policy_run *run)
{
    run->paused = false;
    run->paused_seen = false;
    run->paused_t_ns = 0;
    run->steps_done = 0;
    run->timeout_used = false;
}

void policy_past_of(const struct policy_run *run, struct policy_past *past)
{
    *past = (struct policy_past){
        .steps_done = run->steps_done,
        .timeout_used = run->timeout_used,
        .postcopy_refused = run->postcopy_refused,
        .pause_refused = run->pause_refused,
        .paused_t_ns = run->paused ? run->paused_t_ns : 0,
        .moved_t_ns = run->trend.moved_t_ns,
        .moved_bytes = run->trend.last.transferred_bytes,
        .fell_t_ns = run->look.fell_t_ns,
        .least_bytes = run->look.remaining_bytes,
    };
}

/* The sample and the look of which the times are told count as the first ones. */
void policy_resume(struct policy_run *run, const struct policy_past *past)
{
    run->steps_done = past->steps_done;
    run->timeout_used = past->timeout_used;
    run->postcopy_refused = past->postcopy_refused;
    run->pause_refused = past->pause_refused;
    if (past->paused_t_ns != 0)
        policy_stopped(run, past->paused_t_ns);
    if (past->moved_t_ns != 0) {
        run->trend.last.started = true;
        run->trend.last.t_ns = past->moved_t_ns;
        run->trend.last.transferred_bytes = past->moved_bytes;
        run->trend.moved_t_ns = past->moved_t_ns;
        run->trend.rate_t_ns = past->moved_t_ns;
        run->trend.rate_transferred_bytes = past->moved_bytes;
    }
    if (past->fell_t_ns != 0) {
        run->look.n = 1;
        run->look.fell_t_ns = past->fell_t_ns;
        run->look.remaining_bytes = past->least_bytes;
    }
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

bool policy_throttles_from_start(const struct policy *p)
{
    return p->throttle_allowed && p->throttle_from_start;
}

/* --- time --- */

uint64_t view_elapsed_ms(const struct policy_sample *s)
{
    return s->elapsed_ns > 0 ? (uint64_t)(s->elapsed_ns / QF_NS_PER_MS) : 0;
}

uint64_t view_since_ms(int64_t now_ns, int64_t then_ns)
{
    return now_ns > then_ns ? (uint64_t)((now_ns - then_ns) / QF_NS_PER_MS) : 0;
}

uint64_t view_by_size_ms(const struct policy *p,
                         const struct policy_sample *s,
                         uint64_t per_unit_ms)
{
    const uint64_t unit = p->size_unit == POLICY_SIZE_GB ? 1000000000 : QF_GIB;
    const bool begun = p->size_round == POLICY_SIZE_UP && s->total_bytes % unit > 0;
    uint64_t units = s->total_bytes / unit + (begun ? 1 : 0);
    if (units < p->size_least)
        units = p->size_least;
    return qf_mul_sat(per_unit_ms, units);
}

uint64_t view_time_limit_ms(const struct policy *p,
                            const struct policy_sample *s,
                            const char **rule)
{
    const uint64_t by_size =
        s->total_bytes > 0 ? view_by_size_ms(p, s, p->timeout_per_gib_ms) : 0;
    const bool sized = by_size > 0 && (p->timeout_ms == 0 || by_size < p->timeout_ms);
    *rule = sized ? "timeout-per-gib" : "timeout";
    return sized ? by_size : p->timeout_ms;
}

static bool stop_is_guarded(const struct view *v)
{
    return v->run->paused && v->p->stop_max_ms > 0;
}

/* --- rules; each returns whether it decided --- */

bool view_decide(const struct view *v,
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
    char a[SAY_WORD];
    char b[SAY_WORD];
    char c[SAY_WORD];
    const uint64_t stopped_ms = view_since_ms(v->s->t_ns, v->run->paused_t_ns);
    if (!stop_is_guarded(v) || stopped_ms < v->p->stop_max_ms)
        return false;
    (void)snprintf(v->out->because, sizeof(v->out->because),
                   "the guest is stopped for %s, stop.max is %s, %s left",
                   say_ms(stopped_ms, a), say_ms(v->p->stop_max_ms, b),
                   say_bytes(v->s->remaining_bytes, c));
    return view_decide(v, POLICY_ABORT, 0, "stop.max");
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
    case POLICY_ON_TIMEOUT_FORCE_COMPLETE:
        if (!v->p->postcopy_allowed && !v->p->stop_allowed)
            return POLICY_ABORT;
        if (v->s->guest_stopped || v->run->paused)
            return POLICY_WAIT;
        if (v->p->postcopy_allowed && !v->run->postcopy_refused)
            return POLICY_POSTCOPY;
        return v->p->stop_allowed && !v->run->pause_refused ? POLICY_PAUSE : POLICY_ABORT;
    }
    return POLICY_ABORT;
}

static bool timeout_rule(const struct view *v)
{
    const char *rule = NULL;
    const uint64_t limit_ms = view_time_limit_ms(v->p, v->s, &rule);
    if (limit_ms == 0 || view_elapsed_ms(v->s) < limit_ms || v->run->timeout_used ||
        stop_is_guarded(v))
        return false;
    const enum policy_action action = on_timeout(v);
    if (action == POLICY_WAIT)
        return false;
    char a[SAY_WORD];
    char b[SAY_WORD];
    v->run->timeout_used = true;
    (void)snprintf(v->out->because, sizeof(v->out->because),
                   "not finished after %s, the time limit, %s left", say_ms(limit_ms, a),
                   say_bytes(v->s->remaining_bytes, b));
    return view_decide(v, action, 0, rule);
}

/* When there was progress last, as the policy understands it. */
static int64_t progress_t_ns(const struct view *v)
{
    return v->p->progress == POLICY_PROGRESS_REMAINING ? v->run->look.fell_t_ns
                                                       : v->run->trend.moved_t_ns;
}

static bool progress_rule(const struct view *v)
{
    const uint64_t limit_ms = v->p->progress_timeout_ms;
    const uint64_t still_ms = view_since_ms(v->s->t_ns, progress_t_ns(v));
    if (limit_ms == 0 || still_ms < limit_ms)
        return false;
    char a[SAY_WORD];
    char b[SAY_WORD];
    if (v->p->progress == POLICY_PROGRESS_REMAINING)
        (void)snprintf(v->out->because, sizeof(v->out->because),
                       "for %s no look saw less left than the one before, %s left",
                       say_ms(still_ms, a), say_bytes(v->s->remaining_bytes, b));
    else
        (void)snprintf(v->out->because, sizeof(v->out->because),
                       "not one byte moved for %s, %s left", say_ms(still_ms, a),
                       say_bytes(v->s->remaining_bytes, b));
    return view_decide(v, POLICY_ABORT, 0, "progress-timeout");
}

/* --- when to look again --- */

/* The next moment at which a rule could apply although no sample shows anything new. What is
 * due already waits for something else than time. */
static int64_t next_wake_ns(const struct view *v)
{
    const struct policy_sample *s = v->s;
    int64_t wake_ns = INT64_MAX;
    if (!s->started || s->postcopy)
        return wake_ns;
    sooner(&wake_ns, s->t_ns, v->out->wake_ns);
    const int64_t start_ns = s->t_ns - s->elapsed_ns;
    const char *rule = NULL;
    const uint64_t limit_ms = view_time_limit_ms(v->p, s, &rule);
    if (stop_is_guarded(v))
        sooner(&wake_ns, s->t_ns,
               add_ns(v->run->paused_t_ns, qf_ms_to_ns(v->p->stop_max_ms)));
    if (v->p->pacing == POLICY_PACING_SCHEDULE && v->p->every_ms > 0) {
        sooner(&wake_ns, s->t_ns, v->run->look.next_ns);
        return wake_ns;
    }
    if (!stop_is_guarded(v) && limit_ms > 0 && !v->run->timeout_used)
        sooner(&wake_ns, s->t_ns, add_ns(start_ns, qf_ms_to_ns(limit_ms)));
    if (v->p->progress_timeout_ms > 0)
        sooner(&wake_ns, s->t_ns,
               add_ns(progress_t_ns(v), qf_ms_to_ns(v->p->progress_timeout_ms)));
    if (v->p->pacing == POLICY_PACING_SCHEDULE)
        schedule_wake(v, &wake_ns);
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

static bool pacing_rule(const struct view *v)
{
    switch (v->p->pacing) {
    case POLICY_PACING_SCHEDULE:
        return schedule_rule(v);
    case POLICY_PACING_FORECAST:
        return !v->run->paused && pace_rule(v);
    }
    return false;
}

void policy_decide(const struct policy *p,
                   struct policy_run *run,
                   const struct policy_sample *s,
                   struct policy_decision *out)
{
    const struct view v = {.p = p, .s = s, .run = run, .out = out};
    *out = (struct policy_decision){
        .action = POLICY_WAIT, .rule = "none", .wake_ns = INT64_MAX};
    out->new_pass = policy_trend_feed(&run->trend, s);
    policy_curve_feed(&run->curve, &run->trend, out->new_pass);
    policy_rhythm_feed(&run->rhythm, s);
    watch_stop(run, s);
    const bool over = s->postcopy;
    const bool looks = !over && schedule_looks(&v);
    const bool decided =
        !over && ((s->started &&
                   (stop_rule(&v) || (looks && (timeout_rule(&v) || progress_rule(&v))))) ||
                  (looks && pacing_rule(&v)));
    if (!decided && out->because[0] == '\0')
        say_wait(&v);
    if (out->new_pass || out->action != POLICY_WAIT)
        forecast_fill(&v);
    out->wake_ns = next_wake_ns(&v);
}

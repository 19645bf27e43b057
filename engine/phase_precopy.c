/* PRECOPY: watch the passes, ask the policy, do what it decides.
 *
 * A sample (query-migrate) is taken at every pass event and, between passes, at times that adapt
 * to how near the end is: a quarter of the time that what is left would take. Events are hints:
 * every sample also carries the status, so a lost event delays nothing for long. */
#include <stdio.h>

#include "engine/base/units.h"
#include "engine/mig_priv.h"

enum {
    SAMPLE_MIN_MS = 50,
    SAMPLE_MAX_MS = 1000,
    DESTINATION_MS = 900,  /* so often the destination is asked, with the samples */
    UNANSWERED_MS = 5000,  /* then the policy is asked without an answer */
    SAMPLE_FIRST_MS = 100, /* until a bandwidth is known */
    HELD_MS = 1000,   /* post-copy waits no longer for the source's measure of its link */
    SWITCH_MS = 2000, /* a guest that was stopped for the switch waits no longer for it */
    THROTTLE_TRIGGER_PERCENT = 10,
    FORECAST_PASS = 2 /* the forecast whose outcome is told */
};

static uint64_t next_sample_ms(const struct mig *m)
{
    const uint64_t left = policy_trend_time_left_ms(&m->policy_run.trend);
    if (left == POLICY_UNKNOWN)
        return SAMPLE_FIRST_MS;
    const uint64_t ms = left / 4;
    return ms < SAMPLE_MIN_MS ? SAMPLE_MIN_MS : ms > SAMPLE_MAX_MS ? SAMPLE_MAX_MS : ms;
}

/* Does its main loop live? SWITCHOVER then need not ask while the guest is stopped. */
static void ask_destination(struct mig *m, struct mig_todo *todo)
{
    const struct mig_side *dst = &m->side[MIG_DST];
    if (dst->link == MIG_LINK_UP && mig_is_past(m, dst->heard_ns, DESTINATION_MS) &&
        !mig_is_asked(m, MIG_DST, QAPI_QUERY_STATUS))
        (void)mig_ask0(m, todo, MIG_DST, QAPI_QUERY_STATUS);
}

static void ask_sample(struct mig *m, struct mig_todo *todo)
{
    if (mig_is_asked(m, MIG_SRC, QAPI_QUERY_MIGRATE)) {
        m->sample_again = true;
        return;
    }
    m->sample_again = false;
    m->sample_ns = m->now_ns;
    (void)mig_ask0(m, todo, MIG_SRC, QAPI_QUERY_MIGRATE);
}

static void fill_sample(const struct mig *m, struct policy_sample *s)
{
    const struct qapi_migrate *q = &m->side[MIG_SRC].migrate;
    *s = (struct policy_sample){
        .t_ns = m->now_ns,
        .elapsed_ns = m->now_ns - m->migrate_ns,
        .started = true,
        .guest_stopped = mig_src_stopped(m),
        .postcopy = m->postcopy_asked || m->postcopy_held,
        .pass = q->dirty_sync_count,
        .total_bytes = q->total_bytes,
        .remaining_bytes = q->remaining_bytes,
        .transferred_bytes = q->transferred_bytes,
        .walked_bytes = q->walked_bytes,
        .dirty_bytes_per_s = qf_mul_sat(q->dirty_pages_per_s, q->page_bytes),
        .bandwidth_bytes_per_s = q->bandwidth_bytes_per_s,
        .expected_downtime_ms = q->expected_downtime_ms,
        .downtime_limit_ms = m->downtime_limit_ms,
        .bandwidth_limit_bytes_per_s = m->bandwidth_limit,
        .bandwidth_is_fixed = m->spec.bandwidth_bytes_per_s != SPEC_BANDWIDTH_HYPERVISOR ||
                              m->policy.bandwidth_bytes_per_s != 0,
        .throttle_percent = q->throttle_percent,
        .measures = m->rhythm.measures,
        .measured_bytes_per_s = m->rhythm.bytes_per_s,
    };
}

/* ---- what a decision does ---- */

static void set_one(struct mig *m,
                    struct mig_todo *todo,
                    enum qapi_param which,
                    uint64_t value)
{
    struct qapi_cmd cmd = {.command = QAPI_SET_PARAMS};
    cmd.u.params.has = 1U << (unsigned)which;
    cmd.u.params.value[which] = value;
    m->side[MIG_SRC].params_changed |= cmd.u.params.has;
    (void)mig_ask(m, todo, MIG_SRC, &cmd);
}

/* QEMU steps at bitmap syncs, by cpu-throttle-increment, up to max-cpu-throttle; the very first
 * step is to cpu-throttle-initial, and one percent is what phase_configure.c holds it at. So the
 * increment that leads from what is in force to the first step wanted is set here, and the policy's
 * own once that is reached (follow_throttle). A step is made only where a pass leaves more than
 * throttle-trigger-threshold: what a forecast decides is to be carried out by any. */
static void let_throttle_loose(struct mig *m,
                               const struct policy_decision *d,
                               struct mig_todo *todo)
{
    struct qapi_cmd cmd = {.command = QAPI_SET_PARAMS};
    struct qapi_params *p = &cmd.u.params;
    const uint32_t now = m->policy_run.curve.throttle_percent;
    const uint32_t first = d->throttle_first_percent;
    const uint32_t from = now > 0 ? now : 1;
    p->has = 1U << QAPI_PARAM_CPU_THROTTLE_INITIAL |
             1U << QAPI_PARAM_CPU_THROTTLE_INCREMENT | 1U << QAPI_PARAM_MAX_CPU_THROTTLE;
    if (m->policy.pacing == POLICY_PACING_FORECAST)
        p->has |= 1U << QAPI_PARAM_THROTTLE_TRIGGER_THRESHOLD;
    p->value[QAPI_PARAM_CPU_THROTTLE_INITIAL] = first;
    p->value[QAPI_PARAM_CPU_THROTTLE_INCREMENT] = first > from ? first - from : 1;
    p->value[QAPI_PARAM_MAX_CPU_THROTTLE] = d->value;
    p->value[QAPI_PARAM_THROTTLE_TRIGGER_THRESHOLD] = THROTTLE_TRIGGER_PERCENT;
    p->has &= m->side[MIG_SRC].params_found.has;
    m->side[MIG_SRC].params_changed |= p->has;
    m->throttling = true;
    m->throttle_first = first;
    (void)mig_ask(m, todo, MIG_SRC, &cmd);
}

static void follow_throttle(struct mig *m, uint32_t percent, struct mig_todo *todo)
{
    if (m->throttle_first == 0 || percent < m->throttle_first)
        return;
    m->throttle_first = 0;
    set_one(m, todo, QAPI_PARAM_CPU_THROTTLE_INCREMENT,
            m->policy.throttle_increment_percent);
}

/* Within the first 100 ms of a migration, before it has measured its link for the first time, QEMU
 * 11.1 must not be told to switch to post-copy: of 16 guests of tests/real 9 lost writes then (TCG;
 * tests/facts; none of 80 later than that, none on 7.2 and 10.0). No policy wants to switch so early,
 * an operator may. */
static bool can_start_postcopy(const struct mig *m)
{
    return m->memory_ns != 0 && (m->side[MIG_SRC].migrate.bandwidth_bytes_per_s > 0 ||
                                 mig_is_past(m, m->memory_ns, HELD_MS));
}

/* A source that has sent everything, and loses its connection before the last word, gives its guest the run
 * state from before the switch (10.0 on, tests/facts): one that ran then would run beside the destination. So
 * the guest is stopped first. Not where the destination starts by itself (--self-start): it would take over that
 * the guest is stopped. */
static bool must_stop_first(const struct mig *m)
{
    struct owner_view v;
    mig_view(m, &v);
    return !m->self_start && mig_may_source_rise(m) && (v.may & MAY_POSTCOPY) &&
           m->side[MIG_SRC].link == MIG_LINK_UP;
}

/* Later? Then it is looked at again with the next sample. Not where it was said already, and may have arrived. */
static bool is_too_early(struct mig *m)
{
    if (can_start_postcopy(m))
        return must_stop_first(m) && !m->postcopy_asked && mig_waits_for_round(m);
    mig_wake_in(m, SAMPLE_FIRST_MS);
    return true;
}

bool mig_start_postcopy(struct mig *m, struct mig_todo *todo)
{
    m->postcopy_held = is_too_early(m);
    if (m->postcopy_held)
        return true;
    if (must_stop_first(m))
        mig_stop_guest(m, todo);
    m->round = (struct mig_round){0};
    m->switch_ns = 0;
    m->postcopy_asked = mig_act(m, todo, MIG_SRC, QAPI_MIGRATE_START_POSTCOPY);
    return m->postcopy_asked;
}

static void carry_out(struct mig *m, const struct policy_decision *d, struct mig_todo *todo)
{
    switch (d->action) {
    case POLICY_WAIT:
        break;
    case POLICY_SET_DOWNTIME:
        m->downtime_limit_ms = d->value;
        set_one(m, todo, QAPI_PARAM_DOWNTIME_LIMIT, d->value);
        break;
    case POLICY_SET_BANDWIDTH:
        m->bandwidth_limit = d->value;
        set_one(m, todo, QAPI_PARAM_MAX_BANDWIDTH, d->value);
        break;
    case POLICY_THROTTLE:
        let_throttle_loose(m, d, todo);
        break;
    case POLICY_POSTCOPY:
        if (!mig_start_postcopy(m, todo))
            policy_refused(&m->policy_run, POLICY_POSTCOPY);
        break;
    case POLICY_PAUSE:
        mig_stop_guest(m, todo);
        break;
    case POLICY_ABORT:
        mig_fail(m, OUTCOME_ABORTED, QF_E_GAVE_UP, "%s", d->because);
        mig_go(m, MIG_ROLLBACK);
        break;
    case POLICY_RECOVER:
    case POLICY_CONTINUE:
        break;
    }
}

static void tell(struct mig *m, const struct policy_decision *d, struct mig_todo *todo)
{
    const uint64_t complete = policy_trend_complete(&m->policy_run.trend);
    if (d->forecast.known) {
        mig_record(todo, RECORD_FORECAST)->u.forecast = d->forecast;
        if (m->forecast_pass < FORECAST_PASS && complete > m->forecast_pass) {
            m->forecast = d->forecast;
            m->forecast_pass = complete;
        }
    }
    if (d->action != POLICY_WAIT || d->new_pass || d->is_notable)
        mig_record(todo, RECORD_DECISION)->u.decision = *d;
}

static void tell_switchover_rate(struct mig *m, struct mig_todo *todo)
{
    const uint64_t rate = mig_switchover_rate(m);
    if (rate == 0)
        return;
    m->switchover_bytes_per_s = rate;
    set_one(m, todo, QAPI_PARAM_AVAIL_SWITCHOVER_BANDWIDTH, rate);
}

/* Also without a new answer (is_new false): time limits hold although QEMU does not answer. */
static void take_sample(struct mig *m, bool is_new, struct mig_todo *todo)
{
    struct policy_sample s;
    struct policy_decision d;
    fill_sample(m, &s);
    s.is_repeated = !is_new;
    if (is_new) {
        if (m->memory_ns == 0)
            m->memory_ns = m->now_ns;
        if (m->round.since_ns == 0) /* they come every few milliseconds */
            mig_record(todo, RECORD_SAMPLE)->u.sample = s;
        follow_throttle(m, s.throttle_percent, todo);
    }
    mig_uncompress(m, &s);
    policy_decide(&m->policy, &m->policy_run, &s, &d);
    tell_switchover_rate(m, todo);
    tell(m, &d, todo);
    mig_wake_at(m, d.wake_ns);
    mig_wake_in(m, next_sample_ms(m));
    carry_out(m, &d, todo);
    if (m->postcopy_held && !m->going && !mig_start_postcopy(m, todo))
        policy_refused(&m->policy_run, POLICY_POSTCOPY);
}

/* ---- events ---- */

/* What the source's status says of the phase. True: it is not precopy any more. */
static bool follow_status(struct mig *m)
{
    switch (m->side[MIG_SRC].migrate.status) {
    case QAPI_MIG_PRE_SWITCHOVER:
    case QAPI_MIG_DEVICE:
    case QAPI_MIG_POSTCOPY_DEVICE:
    case QAPI_MIG_POSTCOPY_ACTIVE:
    case QAPI_MIG_POSTCOPY_PAUSED:
    case QAPI_MIG_POSTCOPY_RECOVER_SETUP:
    case QAPI_MIG_POSTCOPY_RECOVER:
    case QAPI_MIG_COMPLETED:
        mig_go(m, MIG_SWITCHOVER);
        return true;
    case QAPI_MIG_FAILING:
    case QAPI_MIG_FAILED:
        mig_fail_desc(m, "the source's QEMU reports a failed migration");
        mig_go(m, MIG_ROLLBACK);
        return true;
    case QAPI_MIG_CANCELLING:
    case QAPI_MIG_CANCELLED:
        mig_fail_cancelled(m);
        mig_go(m, MIG_ROLLBACK);
        return true;
    case QAPI_MIG_UNKNOWN:
    case QAPI_MIG_NONE:
    case QAPI_MIG_SETUP:
    case QAPI_MIG_WAIT_UNPLUG:
    case QAPI_MIG_ACTIVE:
    case QAPI_MIG_COLO:
        break;
    }
    return false;
}

/* The guest, or somebody else, does something to it on the way. What it means for the end: a
 * guest that was stopped by another hand, by an I/O error or by its own panic is not continued on
 * the destination; QEMU carries that state over. */
static void follow_guest(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    /* The answer to a stop comes behind all that was before it. */
    const bool is_before_stop = mig_is_asked(m, MIG_SRC, QAPI_STOP);
    if (ev->kind == MIG_EV_QMP && ev->side == MIG_SRC) {
        switch (ev->u.qmp.kind) {
        case QAPI_EVENT_STOP:
            if (!m->guest_paused && /* or the switch itself: the state tells */
                !mig_is_asked(m, MIG_SRC, QAPI_QUERY_STATUS))
                (void)mig_ask0(m, todo, MIG_SRC, QAPI_QUERY_STATUS);
            if (m->guest_paused && m->src_stop_ns == 0)
                m->src_stop_ns = m->now_ns;
            break;
        case QAPI_EVENT_RESUME:
            m->guest_ran = true;
            m->guest_paused = is_before_stop;
            m->src_stop_ns = 0;
            break;
        case QAPI_EVENT_SHUTDOWN:
            mig_warn(todo, "the source's QEMU is being shut down (%s)", ev->u.qmp.reason);
            break;
        case QAPI_EVENT_RESET:
            mig_warn(todo, "the guest was reset (%s); the migration goes on",
                     ev->u.qmp.reason);
            break;
        case QAPI_EVENT_GUEST_PANICKED:
            mig_warn(todo, "the guest panicked; the migration goes on");
            break;
        case QAPI_EVENT_BLOCK_IO_ERROR:
            mig_warn(todo,
                     "a disk of the guest reports an I/O error; the migration goes on");
            break;
        case QAPI_EVENT_SUSPEND:
        case QAPI_EVENT_SUSPEND_DISK:
            mig_warn(todo, "the guest suspended itself; the migration goes on");
            break;
        case QAPI_EVENT_OTHER:
        case QAPI_EVENT_MIGRATION:
        case QAPI_EVENT_MIGRATION_PASS:
        case QAPI_EVENT_WAKEUP:
        case QAPI_EVENT_DEVICE_DELETED:
            break;
        }
    }
    if (mig_heard(ev, MIG_SRC, QAPI_QUERY_STATUS) && !ev->u.reply.refused &&
        (!m->guest_paused || is_before_stop)) {
        switch (ev->u.reply.u.run) {
        case QAPI_RUN_PAUSED:
        case QAPI_RUN_IO_ERROR:
        case QAPI_RUN_GUEST_PANICKED:
        case QAPI_RUN_WATCHDOG:
        case QAPI_RUN_INTERNAL_ERROR:
        case QAPI_RUN_SHUTDOWN:
            if (m->guest_ran)
                mig_warn(
                    todo,
                    "the guest was stopped on the source (%s%s), not by qferry: it will "
                    "stay stopped on the destination",
                    ev->u.reply.u.run == QAPI_RUN_IO_ERROR ? "by a disk: " : "",
                    qapi_run_name(ev->u.reply.u.run));
            m->guest_ran = false;
            m->guest_paused = false;
            break;
        case QAPI_RUN_RUNNING:
            m->guest_ran = true;
            break;
        case QAPI_RUN_UNKNOWN:
        case QAPI_RUN_DEBUG:
        case QAPI_RUN_INMIGRATE:
        case QAPI_RUN_POSTMIGRATE:
        case QAPI_RUN_PRELAUNCH:
        case QAPI_RUN_FINISH_MIGRATE:
        case QAPI_RUN_RESTORE_VM:
        case QAPI_RUN_SAVE_VM:
        case QAPI_RUN_SUSPENDED:
        case QAPI_RUN_COLO:
            break;
        }
    }
}

/* Post-copy was refused, for which the guest was stopped; or does not come. */
static void let_run(struct mig *m, struct mig_todo *todo)
{
    if (m->guest_paused && !mig_is_asked(m, MIG_SRC, QAPI_CONT))
        (void)mig_act(m, todo, MIG_SRC, QAPI_CONT);
}

/* QEMU switches at the end of its round of pages. That does not come where the network swallows everything, until
 * TCP gives up, and nothing can be cancelled meanwhile; nor where a device has more to send before the switch than
 * the downtime limit allows. The guest runs on then, and the switch comes, if it does, as it would have come without
 * the stop. */
static void watch_switch(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    if (mig_heard(ev, MIG_SRC, QAPI_MIGRATE_START_POSTCOPY) && !ev->u.reply.refused)
        m->switch_ns = m->now_ns;
    if (!m->guest_paused || !m->postcopy_asked || m->switch_ns == 0 ||
        !mig_is_past(m, m->switch_ns, SWITCH_MS))
        return;
    m->switch_ns = m->now_ns; /* or it is said again */
    mig_warn(todo,
             "the source does not switch to post-copy: its guest, which was stopped for "
             "that, runs on until it does");
    let_run(m, todo);
}

static void hear_refusal(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    if (ev->kind != MIG_EV_REPLY || ev->side != MIG_SRC || !ev->u.reply.refused)
        return;
    const struct qapi_reply *r = &ev->u.reply;
    if (r->command == QAPI_CALC_DIRTY_RATE || r->command == QAPI_QUERY_DIRTY_RATE)
        return; /* a help, no more */
    mig_warn(todo, "source: %s: %s", qapi_command_name(r->command), r->error_desc);
    if (r->command == QAPI_MIGRATE_START_POSTCOPY) {
        m->postcopy_asked = false;
        policy_refused(&m->policy_run, POLICY_POSTCOPY);
        let_run(m, todo);
    } else if (r->command == QAPI_STOP) {
        m->guest_paused = false;
        policy_refused(&m->policy_run, POLICY_PAUSE);
    }
}

/* In doubt, and looked at again: what was sent may not have arrived before the link broke. Or it was stopped, and
 * somebody has continued it meanwhile. */
static void say_again(struct mig *m, struct mig_todo *todo)
{
    const struct mig_side *src = &m->side[MIG_SRC];
    if (m->guest_paused && src->fresh && !src->look_refused && mig_guest_runs(src->run)) {
        m->guest_paused = false;
        m->src_stop_ns = 0;
        if (src->stop_t_ns == 0)
            policy_stop_lost(&m->policy_run);
    }
    if (m->postcopy_asked && !mig_is_asked(m, MIG_SRC, QAPI_MIGRATE_START_POSTCOPY))
        (void)mig_start_postcopy(m, todo); /* said twice it does no harm */
}

/* A cancel is carried out unless post-copy was asked for: then QEMU 7.2 would destroy the guest if
 * it crossed the switch (rule 5), and pre-switchover, where it is safe again, is near. */
static bool follow_cancel(struct mig *m)
{
    if (!m->cancel_wanted || m->postcopy_asked)
        return false;
    mig_fail(m, OUTCOME_CANCELLED, QF_E_CANCELLED, "cancelled by the user");
    mig_go(m, MIG_ROLLBACK);
    return true;
}

void phase_precopy(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    if (ev->kind == MIG_EV_DOWN) {
        mig_go(m, MIG_RECONCILE);
        return;
    }
    mig_rhythm_step(m, ev, todo);
    mig_stall_watch(m, ev, todo);
    mig_settings_watch(m, ev, todo);
    hear_refusal(m, ev, todo);
    follow_guest(m, ev, todo);
    if (follow_status(m) || follow_cancel(m))
        return;
    watch_switch(m, ev, todo);
    if (!m->postcopy_asked && mig_is_unplugged(m)) {
        mig_go(m, MIG_ROLLBACK);
        return;
    }
    if (ev->kind == MIG_EV_OPERATOR && m->side[MIG_SRC].migrate.has_ram) {
        take_sample(m, false, todo); /* the policy may be another one now */
        return;
    }
    if (mig_heard(ev, MIG_SRC, QAPI_QUERY_MIGRATE) && !ev->u.reply.refused) {
        /* In setup the counters are empty, and worth no record; time limits hold all the same. */
        take_sample(m, m->side[MIG_SRC].migrate.total_bytes > 0, todo);
        if (m->going || again_watch(m, todo))
            return;
        if (m->sample_again)
            ask_sample(m, todo);
        return;
    }
    if (ev->kind == MIG_EV_NETWORK && again_watch(m, todo))
        return;
    if (ev->kind == MIG_EV_QMP && ev->side == MIG_DST &&
        ev->u.qmp.kind == QAPI_EVENT_SHUTDOWN)
        mig_warn(todo, "the destination's QEMU is being shut down (%s)", ev->u.qmp.reason);
    if (ev->kind == MIG_EV_TIMER && m->side[MIG_SRC].migrate.has_ram &&
        mig_is_asked(m, MIG_SRC, QAPI_QUERY_MIGRATE) &&
        mig_is_past(m, m->sample_ns, UNANSWERED_MS)) {
        take_sample(m, false, todo);
        if (m->going)
            return;
    }
    if (mig_late(ev, MIG_SRC, QAPI_MIGRATE_START_POSTCOPY)) {
        mig_go(m, MIG_RECONCILE);
        return;
    }
    if (ev->kind == MIG_EV_ENTER)
        say_again(m, todo);
    if (ev->kind == MIG_EV_ENTER &&
        !m->guest_paused) /* who stopped it since it was asked? */
        (void)mig_ask0(m, todo, MIG_SRC, QAPI_QUERY_STATUS);
    if (ev->kind == MIG_EV_ENTER || ev->kind == MIG_EV_TIMER ||
        (ev->kind == MIG_EV_QMP && ev->side == MIG_SRC &&
         ev->u.qmp.kind == QAPI_EVENT_MIGRATION_PASS))
        ask_sample(m, todo);
    if (ev->kind == MIG_EV_TIMER)
        ask_destination(m, todo);
    mig_wake_in(m, SAMPLE_MAX_MS);
}

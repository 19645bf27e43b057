#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/units.h"
#include "engine/mig_priv.h"

/* ---- phases: name, handler, legal next phases, deadline ---- */

#define TO(p) (1U << (unsigned)MIG_##p)

struct phase_row {
    mig_handler *handler; /* NULL: terminal */
    unsigned next;
};

/* clang-format off */
static const struct phase_row phases[] = {
    [MIG_NEW]        = {NULL,             TO(CONNECT)},
    [MIG_CONNECT]    = {phase_connect,    TO(PREFLIGHT) | TO(FAILED)},
    [MIG_PREFLIGHT]  = {phase_preflight,  TO(CONFIGURE) | TO(RECONCILE) | TO(RECOVER) |
                                          TO(MEASURE) | TO(FAILED) | TO(ROLLBACK)},
    [MIG_MEASURE]    = {phase_measure,    TO(DONE) | TO(FAILED)},
    [MIG_CONFIGURE]  = {phase_configure,  TO(START) | TO(ROLLBACK)},
    [MIG_START]      = {phase_start,      TO(PRECOPY) | TO(ROLLBACK) | TO(RECONCILE)},
    [MIG_PRECOPY]    = {phase_precopy,    TO(SWITCHOVER) | TO(ROLLBACK) | TO(RECONCILE)},
    [MIG_SWITCHOVER] = {phase_switchover, TO(POSTCOPY) | TO(FINISH) | TO(ROLLBACK) | TO(RECONCILE) |
                                          TO(HELD)},
    [MIG_POSTCOPY]   = {phase_postcopy,   TO(FINISH) | TO(ROLLBACK) | TO(RECONCILE) | TO(RECOVER) |
                                          TO(HELD)},
    [MIG_RECOVER]    = {phase_recover,    TO(POSTCOPY) | TO(FINISH) | TO(RECONCILE) | TO(HELD)},
    [MIG_FINISH]     = {phase_finish,     TO(DONE) | TO(ROLLBACK) | TO(RECONCILE) | TO(HELD)},
    [MIG_ROLLBACK]   = {phase_rollback,   TO(FAILED) | TO(FINISH) | TO(RECONCILE) | TO(HELD) |
                                          TO(AGAIN)},
    [MIG_AGAIN]      = {phase_again,      TO(CONNECT) | TO(FAILED) | TO(RECONCILE)},
    [MIG_RECONCILE]  = {phase_reconcile,  TO(PRECOPY) | TO(SWITCHOVER) | TO(POSTCOPY) | TO(RECOVER) |
                                          TO(FINISH) | TO(ROLLBACK) | TO(FAILED) | TO(HELD)},
    [MIG_DONE]       = {NULL, 0},
    [MIG_FAILED]     = {NULL, 0},
    [MIG_HELD]       = {NULL, 0},
};

/* ---- small things ---- */

const char *mig_phase_name(enum mig_phase p)
{
    switch (p) {
#define PHASE_NAME(id, name, public) \
    case MIG_##id:                   \
        return name;
        MIG_PHASES(PHASE_NAME)
#undef PHASE_NAME
    }
    return "?";
}

const char *mig_phase_public(enum mig_phase p)
{
    switch (p) {
#define PHASE_PUBLIC(id, name, public) \
    case MIG_##id:                     \
        return public;
        MIG_PHASES(PHASE_PUBLIC)
#undef PHASE_PUBLIC
    }
    return "?";
}

const char *mig_side_name(enum mig_side_id s)
{
    return s == MIG_SRC ? "source" : "destination";
}

struct mig_do *mig_todo_add(struct mig_todo *todo, enum mig_do_kind kind, enum mig_side_id side)
{
    assert(todo->n < MIG_TODO_MAX);
    struct mig_do *d = &todo->item[todo->n++];
    d->kind = kind;
    d->side = side;
    return d;
}

struct record *mig_record(struct mig_todo *todo, enum record_kind kind)
{
    struct mig_do *d = mig_todo_add(todo, MIG_DO_RECORD, MIG_SRC);
    memset(&d->u.record, 0, sizeof(d->u.record));
    d->u.record.kind = kind;
    return &d->u.record;
}

void mig_note(struct mig_todo *todo, const char *fmt, ...)
{
    struct record *r = mig_record(todo, RECORD_NOTE);
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(r->u.text, sizeof(r->u.text), fmt, ap);
    va_end(ap);
}

void mig_warn(struct mig_todo *todo, const char *fmt, ...)
{
    struct record *r = mig_record(todo, RECORD_WARNING);
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(r->u.text, sizeof(r->u.text), fmt, ap);
    va_end(ap);
}

void mig_fail(
    struct mig *m, enum record_outcome outcome, enum qf_code code, const char *fmt, ...)
{
    if (m->has_reason)
        return;
    /* Nothing touched, nobody reached: a later attempt cannot say that any more. */
    if (m->attempt > 1 && code == QF_E_REFUSED) {
        outcome = OUTCOME_FAILED;
        code = QF_E_GAVE_UP;
    }
    m->has_reason = true;
    m->outcome = outcome;
    m->code = code;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(m->reason, sizeof(m->reason), fmt, ap);
    va_end(ap);
}

void mig_hold(struct mig *m, const char *fmt, ...)
{
    char text[RECORD_TEXT_MAX];
    char was[RECORD_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    (void)snprintf(was, sizeof(was), "%s%s", m->has_reason ? m->reason : "",
                   m->has_reason ? "; " : "");
    m->has_reason = false;
    m->wants_desc = false;
    m->wants_dst_desc = false;
    mig_fail(m, OUTCOME_LOST, QF_E_HELD, "%s%s", was, text);
    mig_go(m, MIG_HELD);
}

void mig_fail_cancelled(struct mig *m)
{
    mig_fail(m, OUTCOME_FAILED, QF_E_GAVE_UP, "%s",
             m->side[MIG_SRC].shutdown_seen ? "the source's QEMU is being shut down"
                                            : "another client cancelled the migration");
}

void mig_fail_desc(struct mig *m, const char *what)
{
    if (m->has_reason)
        return;
    mig_fail(m, OUTCOME_FAILED, QF_E_QMP, "%s", what);
    m->wants_desc = true;
    m->wants_dst_desc = true;
}

void mig_wake_at(struct mig *m, int64_t t_ns)
{
    if (t_ns < m->wake_ns)
        m->wake_ns = t_ns;
}

void mig_wake_in(struct mig *m, uint64_t ms)
{
    mig_wake_at(m, m->now_ns + qf_ms_to_ns(ms));
}

bool mig_is_past(const struct mig *m, int64_t since_ns, uint64_t ms)
{
    return m->now_ns - since_ns >= qf_ms_to_ns(ms);
}

enum qf_code mig_unreachable(const struct mig *m, enum mig_side_id side, enum qf_code code)
{
    return m->attempt > 1 && side == MIG_DST ? QF_E_LOST : code;
}

bool mig_heard(const struct mig_event *ev, enum mig_side_id side, enum qapi_command c)
{
    return ev->kind == MIG_EV_REPLY && ev->side == side && ev->u.reply.command == c;
}

bool mig_late(const struct mig_event *ev, enum mig_side_id side, enum qapi_command c)
{
    return ev->kind == MIG_EV_LATE && ev->side == side && ev->u.late == c;
}

void mig_sync(struct mig *m, struct mig_todo *todo)
{
    if (m->sync_asked)
        return;
    m->sync_asked = true;
    (void)mig_todo_add(todo, MIG_DO_SYNC, MIG_SRC);
}

bool mig_is_written(const struct mig *m)
{
    enum { SYNC_MS = 2000 };
    return !m->sync_asked || m->synced || mig_is_past(m, m->phase_ns, SYNC_MS);
}

void mig_stop_guest(struct mig *m, struct mig_todo *todo)
{
    struct qapi_cmd cmd = {.command = QAPI_SET_PARAMS};
    m->guest_paused = true;
    /* Marked first: a qferry that is killed in between has stopped nobody whom the next one does not know. */
    if (mig_can_mark(m, MIG_MARK_STOPPED)) {
        mig_put_mark(&cmd.u.params, MIG_MARK_STOPPED);
        m->side[MIG_SRC].params_changed |= cmd.u.params.has;
        (void)mig_ask(m, todo, MIG_SRC, &cmd);
    }
    (void)mig_ask0(m, todo, MIG_SRC, QAPI_STOP);
}

bool mig_src_stopped(const struct mig *m)
{
    const enum qapi_run_state run = m->side[MIG_SRC].run;
    return m->guest_paused || (!mig_guest_runs(run) && run != QAPI_RUN_UNKNOWN);
}

/* ---- moving ---- */

void mig_go(struct mig *m, enum mig_phase to)
{
    assert(!m->going);
    assert(phases[m->phase].next & (1U << (unsigned)to));
    m->going = true;
    m->go_to = to;
}

void mig_to_stage(struct mig *m, unsigned stage)
{
    m->stage = stage;
    m->stage_ns = m->now_ns;
}

/* What must hold at every move. Our own bugs, never a peer's doing. */
static void mig_invariant(const struct mig *m)
{
    assert(!(m->handed_over && m->phase == MIG_ROLLBACK) || m->cont_refused);
    assert(m->phase != MIG_HELD || m->code == QF_E_HELD);
    assert(!m->continued || m->started);
    assert(m->phase != MIG_DONE || m->spec.dry_run || m->handed_over);
    assert(m->phase != MIG_AGAIN || ((m->started || m->stream_asked) && !m->handed_over));
    assert(m->phase != MIG_CONNECT || !m->started);
}

static uint64_t ms_between(int64_t from_ns, int64_t to_ns)
{
    return from_ns != 0 && to_ns >= from_ns ? (uint64_t)(to_ns - from_ns) / 1000000U
                                           : POLICY_UNKNOWN;
}

static enum record_place where_it_runs(const struct mig *m)
{
    struct owner_view v;
    mig_view(m, &v);
    /* Until `migrate` was sent the guest is where it was: on the source, unless somebody's migration has
     * stopped it there to take it away. */
    if (!m->started && !m->taken_up) {
        const enum qapi_run_state run = m->side[MIG_SRC].run;
        const bool there = run != QAPI_RUN_UNKNOWN && run != QAPI_RUN_INMIGRATE &&
                           run != QAPI_RUN_POSTMIGRATE && run != QAPI_RUN_FINISH_MIGRATE &&
                           run != QAPI_RUN_PRELAUNCH;
        const bool seen = m->side[MIG_SRC].link == MIG_LINK_UP || m->attempt > 1;
        return there && seen ? PLACE_SOURCE : PLACE_UNKNOWN;
    }
    switch (v.owner) {
    case OWNER_SRC:
        return PLACE_SOURCE;
    case OWNER_DST:
        return m->handed_over ? PLACE_DESTINATION : PLACE_NONE;
    case OWNER_BETWEEN:
    case OWNER_UNKNOWN:
        return PLACE_UNKNOWN;
    case OWNER_NONE:
        return PLACE_NONE;
    }
    return PLACE_UNKNOWN;
}

static void tell_outcome(const struct mig *m,
                         const struct record_result *result,
                         struct record_outcome_of *r)
{
    r->pass = m->forecast_pass;
    r->forecast = m->forecast;
    /* that of the attempt for which it was made */
    r->total_ms = m->started ? ms_between(m->migrate_ns, m->now_ns) : POLICY_UNKNOWN;
    r->downtime_ms = result->downtime_ms;
    r->transferred_bytes = result->transferred_bytes;
}

/* QEMU counts bitmap syncs. Those that ended no walk over memory are no passes: with post-copy allowed
 * 11.1 makes ten a second (trend.c). */
static uint64_t passes_made(const struct mig *m, uint64_t syncs)
{
    const uint64_t extra = m->policy_run.trend.extra_syncs;
    return syncs > extra ? syncs - extra : syncs;
}

static void end(struct mig *m, struct mig_todo *todo)
{
    const struct mig_side *src = &m->side[MIG_SRC];
    const struct qapi_migrate *ram = &src->last_ram;
    struct record *told =
        m->forecast_pass > 0 ? mig_record(todo, RECORD_OUTCOME) : NULL;
    struct record_result *r = &mig_record(todo, RECORD_RESULT)->u.result;
    r->outcome = m->outcome;
    r->code = m->code;
    r->running_on = where_it_runs(m);
    if (m->phase == MIG_DONE && !m->spec.dry_run)
        r->running_on = PLACE_DESTINATION;
    if (m->attempt > 1 && m->outcome != OUTCOME_COMPLETED)
        (void)snprintf(r->reason, sizeof(r->reason), "attempt %u: %.480s", m->attempt,
                       m->reason);
    else
        (void)snprintf(r->reason, sizeof(r->reason), "%s", m->reason);
    const bool was_stopped = (m->guest_paused && !m->postcopy_asked) || m->paused_at_start;
    r->mode = m->was_postcopy ? MODE_POSTCOPY
              : was_stopped   ? MODE_STOP_AND_COPY
                              : MODE_PRECOPY;
    const int64_t began_ns = m->first_migrate_ns ? m->first_migrate_ns : m->migrate_ns;
    r->total_ms = m->started ? ms_between(began_ns, m->now_ns) : POLICY_UNKNOWN;
    r->downtime_ms = src->migrate.downtime_ms == QAPI_UNKNOWN_U64
                         ? POLICY_UNKNOWN
                         : src->migrate.downtime_ms;
    if (!m->started && !m->taken_up)
        r->downtime_ms = POLICY_UNKNOWN;
    r->blackout_ms = ms_between(m->src_stop_ns, m->dst_resume_ns);
    if (src->has_last_ram && (m->started || m->taken_up)) {
        r->transferred_bytes = ram->transferred_bytes;
        r->passes = passes_made(m, ram->dirty_sync_count);
    }
    if (told)
        tell_outcome(m, r, &told->u.outcome);
    mig_sync(m, todo);
    if (m->secure_asked)
        (void)mig_todo_add(todo, MIG_DO_UNSECURE, MIG_SRC);
    for (unsigned i = 0; i < MIG_SIDES; i++)
        if (m->side[i].link == MIG_LINK_UP || m->side[i].link == MIG_LINK_OPENING)
            (void)mig_todo_add(todo, MIG_DO_CLOSE, (enum mig_side_id)i);
    (void)mig_todo_add(todo, MIG_DO_END, MIG_SRC);
    m->ended = true;
}

static void enter(struct mig *m, struct mig_todo *todo)
{
    const enum mig_phase from = m->phase;
    m->going = false;
    m->phase = m->go_to;
    m->phase_ns = m->now_ns;
    m->wake_ns = INT64_MAX;
    mig_to_stage(m, 0);
    mig_invariant(m);
    if (strcmp(mig_phase_name(from), mig_phase_name(m->phase)) != 0) {
        struct record *r = mig_record(todo, RECORD_PHASE);
        r->u.phase.name = mig_phase_name(m->phase);
        r->u.phase.public = mig_phase_public(m->phase);
    }
    if (!phases[m->phase].handler)
        end(m, todo);
}

static void handle(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    if (phases[m->phase].handler)
        phases[m->phase].handler(m, ev, todo);
    /* Chains of moves are short: the phases are few and every cycle among them waits for an
     * answer or a time. */
    for (unsigned i = 0; m->going; i++) {
        assert(i < 16);
        enter(m, todo);
        const struct mig_event ev_enter = {.kind = MIG_EV_ENTER, .t_ns = m->now_ns};
        if (phases[m->phase].handler)
            phases[m->phase].handler(m, &ev_enter, todo);
    }
}

/* One command is past its deadline. */
static void late(struct mig *m, const struct mig_ask *a, struct mig_todo *todo)
{
    const struct mig_event ev = {
        .kind = MIG_EV_LATE,
        .t_ns = m->now_ns,
        .side = a->side,
        .id = a->id,
        .u.late = a->command,
    };
    struct mig_side *s = &m->side[a->side];
    m->heard_row = a->row;
    mig_warn(todo, "the %s has not answered %s for %u s", mig_side_name(a->side),
             qapi_command_name(a->command), mig_ask_deadline_ms(a->command) / 1000U);
    switch (mig_ask_late(a->command)) {
    case LATE_GIVE_UP:
        if (m->phase == MIG_PREFLIGHT || m->phase == MIG_CONFIGURE)
            mig_fail(m, OUTCOME_FAILED,
                     m->phase == MIG_PREFLIGHT
                         ? mig_unreachable(m, a->side, QF_E_UNREACHABLE)
                         : QF_E_TIMEOUT,
                     "the %s does not answer %s", mig_side_name(a->side),
                     qapi_command_name(a->command));
        break;
    case LATE_SILENT:
        s->silent = true;
        break;
    case LATE_DOUBT:
    case LATE_PHASE:
        break;
    }
    handle(m, &ev, todo);
}

/* What is late hinders the next one no longer. */
static bool can_be_said_again(const struct mig *m, enum qapi_command c)
{
    return c == QAPI_MIGRATE_START_POSTCOPY || c == QAPI_MIGRATE_PAUSE ||
           c == QAPI_MIGRATE_RECOVER || c == QAPI_MIGRATE_RESUME ||
           (c == QAPI_QUERY_YANK && (m->phase == MIG_PRECOPY || m->phase == MIG_SWITCHOVER ||
                                     m->phase == MIG_POSTCOPY || m->phase == MIG_RECOVER));
}

static void check_deadlines(struct mig *m, struct mig_todo *todo)
{
    for (unsigned i = 0; i < MIG_ASKS_MAX && !m->ended; i++) {
        struct mig_ask *a = &m->ask[i];
        if (a->id == 0 || a->late || m->now_ns < a->deadline_ns)
            continue;
        a->late = true;
        const struct mig_ask copy = *a;
        late(m, &copy, todo);
        if ((mig_ask_late(copy.command) == LATE_SILENT || can_be_said_again(m, copy.command)) &&
            !m->ended)
            mig_give_up_asking(m, &copy);
    }
}

static int64_t next_wake(const struct mig *m)
{
    int64_t wake = m->wake_ns;
    for (const struct mig_ask *a = m->ask; a < m->ask + MIG_ASKS_MAX; a++)
        if (a->id != 0 && !a->late && a->deadline_ns < wake)
            wake = a->deadline_ns;
    /* No waiting without a deadline: a lost event must never leave a phase asleep. */
    const int64_t longest = m->now_ns + 10 * QF_NS_PER_S;
    return wake < longest ? wake : longest;
}

/* ---- the machine ---- */

void mig_init(struct mig *m, const struct mig_spec *spec, const struct policy *policy)
{
    memset(m, 0, sizeof(*m));
    m->spec = *spec;
    m->policy = *policy;
    m->attempt = 1;
    policy_run_init(&m->policy_run);
    m->wake_ns = INT64_MAX;
    for (unsigned i = 0; i < MIG_ASKS_MAX; i++)
        m->ask[i].row = -1;
}

void mig_step(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    todo->n = 0;
    todo->wake_ns = INT64_MAX;
    if (m->ended)
        return;
    assert(ev->t_ns >= m->now_ns);
    assert(ev->kind < MIG_EV_ENTER);
    m->now_ns = ev->t_ns;
    if (m->wake_ns <= m->now_ns)
        m->wake_ns = INT64_MAX; /* it has come; the phase asks again */
    if (ev->kind == MIG_EV_REPLY) {
        enum qapi_command c;
        if (!mig_asked(m, ev->side, ev->id, &c)) {
            todo->wake_ns = next_wake(m);
            return; /* to a command that was given up, or of a link that was lost */
        }
    }
    mig_take_facts(m, ev);
    if (ev->kind == MIG_EV_MEMORY)
        mig_take_memory(m, ev->u.memory);
    if (ev->kind == MIG_EV_BEGIN)
        mig_go(m, MIG_CONNECT);
    mig_release_ask(m, ev);
    if (ev->kind == MIG_EV_NETWORK)
        mig_take_network(m, ev->u.network);
    if (ev->kind == MIG_EV_SECURED)
        mig_take_secured(m, ev->u.secured, todo);
    if (ev->kind == MIG_EV_RECEIVER)
        mig_take_receiver(m, ev->u.receiver);
    if (ev->kind == MIG_EV_RUNNING)
        mig_take_others(m, ev->u.others);
    if (ev->kind == MIG_EV_OPERATOR)
        mig_operate(m, &ev->u.op, todo);
    handle(m, ev, todo);
    if (!m->ended)
        check_deadlines(m, todo);
    mig_share_step(m, todo);
    if (!m->ended)
        todo->wake_ns = next_wake(m);
}

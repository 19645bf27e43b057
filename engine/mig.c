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
    [MIG_PREFLIGHT]  = {phase_preflight,  TO(CONFIGURE) | TO(RECONCILE) | TO(DONE) | TO(FAILED)},
    [MIG_CONFIGURE]  = {phase_configure,  TO(START) | TO(ROLLBACK)},
    [MIG_START]      = {phase_start,      TO(PRECOPY) | TO(ROLLBACK) | TO(RECONCILE)},
    [MIG_PRECOPY]    = {phase_precopy,    TO(SWITCHOVER) | TO(ROLLBACK) | TO(RECONCILE)},
    [MIG_SWITCHOVER] = {phase_switchover, TO(POSTCOPY) | TO(FINISH) | TO(ROLLBACK) | TO(RECONCILE) |
                                          TO(HELD)},
    [MIG_POSTCOPY]   = {phase_postcopy,   TO(FINISH) | TO(ROLLBACK) | TO(RECONCILE) | TO(HELD)},
    [MIG_FINISH]     = {phase_finish,     TO(DONE) | TO(ROLLBACK) | TO(RECONCILE) | TO(HELD)},
    [MIG_ROLLBACK]   = {phase_rollback,   TO(FAILED) | TO(FINISH) | TO(RECONCILE) | TO(HELD)},
    [MIG_RECONCILE]  = {phase_reconcile,  TO(PRECOPY) | TO(SWITCHOVER) | TO(POSTCOPY) | TO(FINISH) |
                                          TO(ROLLBACK) | TO(FAILED) | TO(HELD)},
    [MIG_DONE]       = {NULL, 0},
    [MIG_FAILED]     = {NULL, 0},
    [MIG_HELD]       = {NULL, 0},
};

/* ---- commands: how long an answer may take, and what its absence means ----
 *
 * QEMU's main loop can stall for seconds around the switchover, and in-band commands can hang for
 * good while out-of-band ones and events still flow: so a late answer is never taken for a death.
 * The consequence is carried out in late() below, or by the phase that asked. */
enum late {
    LATE_GIVE_UP, /* before anything has started: end, or roll back */
    LATE_DOUBT,   /* it may or may not have happened: reconcile */
    LATE_SILENT,  /* a look: this side counts as silent until it answers */
    LATE_PHASE,   /* the phase knows: it gets MIG_EV_LATE */
    LATE_GO_ON    /* a courtesy: go on without it */
};

static const struct {
    uint32_t deadline_ms;
    enum late late;
} asks[QAPI_COMMAND_COUNT] = {
    [QAPI_QUERY_STATUS]           = {30000, LATE_SILENT},
    [QAPI_QUERY_MIGRATE]          = {30000, LATE_SILENT},
    [QAPI_QUERY_TARGET]           = {30000, LATE_GIVE_UP},
    [QAPI_QUERY_MACHINE]          = {30000, LATE_GIVE_UP},
    [QAPI_QUERY_MEMORY]           = {30000, LATE_GIVE_UP},
    [QAPI_QUERY_CPUS]             = {30000, LATE_GIVE_UP},
    [QAPI_QUERY_CPU_TYPE]         = {30000, LATE_GIVE_UP},
    [QAPI_QUERY_UUID]             = {30000, LATE_GIVE_UP},
    [QAPI_QUERY_PCI]              = {30000, LATE_GIVE_UP},
    [QAPI_QUERY_CAPS]             = {30000, LATE_GIVE_UP},
    [QAPI_QUERY_PARAMS]           = {30000, LATE_GIVE_UP},
    [QAPI_QUERY_YANK]             = {30000, LATE_PHASE},
    [QAPI_SET_CAPS]               = {30000, LATE_GIVE_UP},
    [QAPI_SET_PARAMS]             = {30000, LATE_GIVE_UP},
    [QAPI_STOP]                   = {30000, LATE_PHASE},
    [QAPI_CONT]                   = {60000, LATE_PHASE},
    [QAPI_QUIT]                   = {10000, LATE_PHASE},
    [QAPI_MIGRATE_INCOMING]       = {30000, LATE_GIVE_UP},
    [QAPI_MIGRATE]                = {60000, LATE_DOUBT},
    [QAPI_MIGRATE_CANCEL]         = {10000, LATE_PHASE}, /* yank follows */
    [QAPI_MIGRATE_CONTINUE]       = {60000, LATE_PHASE}, /* the source's status tells */
    [QAPI_MIGRATE_START_POSTCOPY] = {60000, LATE_DOUBT},
    [QAPI_YANK]                   = {10000, LATE_PHASE},
};

/* Which commands need the owner's leave, by side. */
static unsigned leave_for(enum mig_side_id side, enum qapi_command c)
{
    switch (c) {
    case QAPI_CONT:
        return side == MIG_SRC ? MAY_CONT_SRC : MAY_CONT_DST;
    case QAPI_QUIT:
        return side == MIG_SRC ? MAY_QUIT_SRC : MAY_QUIT_DST;
    case QAPI_MIGRATE:
        return MAY_MIGRATE;
    case QAPI_MIGRATE_CANCEL:
        return MAY_CANCEL;
    case QAPI_MIGRATE_CONTINUE:
        return MAY_CONTINUE;
    case QAPI_MIGRATE_START_POSTCOPY:
        return MAY_POSTCOPY;
    case QAPI_YANK:
        return side == MIG_SRC ? MAY_YANK : MAY_QUIT_DST;
    case QAPI_QUERY_STATUS:
    case QAPI_QUERY_MIGRATE:
    case QAPI_QUERY_TARGET:
    case QAPI_QUERY_MACHINE:
    case QAPI_QUERY_MEMORY:
    case QAPI_QUERY_CPUS:
    case QAPI_QUERY_CPU_TYPE:
    case QAPI_QUERY_UUID:
    case QAPI_QUERY_PCI:
    case QAPI_QUERY_CAPS:
    case QAPI_QUERY_PARAMS:
    case QAPI_QUERY_YANK:
    case QAPI_SET_CAPS:
    case QAPI_SET_PARAMS:
    case QAPI_STOP:
    case QAPI_MIGRATE_INCOMING:
    case QAPI_COMMAND_COUNT:
        break;
    }
    return 0;
}
/* clang-format on */

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

static struct mig_do *add(struct mig_todo *todo,
                          enum mig_do_kind kind,
                          enum mig_side_id side)
{
    assert(todo->n < MIG_TODO_MAX);
    struct mig_do *d = &todo->item[todo->n++];
    d->kind = kind;
    d->side = side;
    return d;
}

void mig_todo_add(struct mig_todo *todo, enum mig_do_kind kind, enum mig_side_id side)
{
    (void)add(todo, kind, side);
}

struct record *mig_record(struct mig_todo *todo, enum record_kind kind)
{
    struct mig_do *d = add(todo, MIG_DO_RECORD, MIG_SRC);
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
    mig_fail(m, OUTCOME_LOST, QF_E_HELD, "%s%s", was, text);
    mig_go(m, MIG_HELD);
}

void mig_fail_desc(struct mig *m, const char *what)
{
    if (m->has_reason)
        return;
    mig_fail(m, OUTCOME_FAILED, QF_E_QMP, "%s", what);
    m->wants_desc = true;
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
    mig_todo_add(todo, MIG_DO_SYNC, MIG_SRC);
}

bool mig_is_written(const struct mig *m)
{
    enum { SYNC_MS = 2000 };
    return !m->sync_asked || m->synced || mig_is_past(m, m->phase_ns, SYNC_MS);
}

bool mig_src_stopped(const struct mig *m)
{
    const struct mig_side *src = &m->side[MIG_SRC];
    return m->guest_paused ||
           (src->run != QAPI_RUN_RUNNING && src->run != QAPI_RUN_UNKNOWN &&
            src->run != QAPI_RUN_SUSPENDED);
}

static struct owner_side owner_side(const struct mig_side *s)
{
    struct owner_side o = {.run = s->run, .status = s->migrate.status};
    if (s->gone)
        o.reach = OWNER_DEAD;
    else if (s->silent || s->link != MIG_LINK_UP)
        o.reach = OWNER_SILENT;
    return o;
}

void mig_view(const struct mig *m, struct owner_view *v)
{
    const struct owner_facts f = {
        .src = owner_side(&m->side[MIG_SRC]),
        .dst = owner_side(&m->side[MIG_DST]),
        .continued = m->continued,
        .cont_refused = m->cont_refused,
        .handed_over = m->handed_over,
    };
    owner_of(&f, v);
}

/* ---- asking ---- */

static struct mig_ask *find_ask(struct mig *m, uint64_t id)
{
    for (struct mig_ask *a = m->ask; a < m->ask + MIG_ASKS_MAX; a++)
        if (a->id == id && id != 0)
            return a;
    return NULL;
}

static uint64_t send(struct mig *m,
                     struct mig_todo *todo,
                     enum mig_side_id side,
                     const struct qapi_cmd *cmd,
                     int row)
{
    assert(m->side[side].link == MIG_LINK_UP);
    struct mig_ask *a = m->ask;
    while (a < m->ask + MIG_ASKS_MAX && a->id != 0)
        a++;
    assert(a < m->ask + MIG_ASKS_MAX);
    *a = (struct mig_ask){
        .id = ++m->next_id,
        .side = side,
        .command = cmd->command,
        .deadline_ns = m->now_ns + qf_ms_to_ns(asks[cmd->command].deadline_ms),
        .row = row,
    };
    struct mig_do *d = add(todo, MIG_DO_SEND, side);
    d->u.send.id = a->id;
    d->u.send.cmd = *cmd;
    return a->id;
}

uint64_t mig_ask(struct mig *m,
                 struct mig_todo *todo,
                 enum mig_side_id side,
                 const struct qapi_cmd *cmd)
{
    assert(leave_for(side, cmd->command) == 0);
    return send(m, todo, side, cmd, -1);
}

uint64_t mig_ask0(struct mig *m,
                  struct mig_todo *todo,
                  enum mig_side_id side,
                  enum qapi_command c)
{
    const struct qapi_cmd cmd = {.command = c};
    return mig_ask(m, todo, side, &cmd);
}

bool mig_act(struct mig *m,
             struct mig_todo *todo,
             enum mig_side_id side,
             enum qapi_command c)
{
    struct owner_view v;
    mig_view(m, &v);
    const unsigned leave = leave_for(side, c);
    assert(leave != 0);
    if (m->side[side].link != MIG_LINK_UP || !(v.may & leave)) {
        mig_note(
            todo, "%s is not sent to the %s: %s", qapi_command_name(c), mig_side_name(side),
            m->side[side].link != MIG_LINK_UP ? "its monitor is not connected" : v.why);
        return false;
    }
    struct qapi_cmd cmd = {.command = c};
    if (c == QAPI_MIGRATE)
        (void)snprintf(cmd.u.migrate.uri, sizeof(cmd.u.migrate.uri), "%s", m->migrate_uri);
    (void)send(m, todo, side, &cmd, -1);
    return true;
}

bool mig_is_asked(const struct mig *m, enum mig_side_id side, enum qapi_command c)
{
    for (const struct mig_ask *a = m->ask; a < m->ask + MIG_ASKS_MAX; a++)
        if (a->id != 0 && a->side == side && a->command == c)
            return true;
    return false;
}

bool mig_asked(const struct mig *m,
               enum mig_side_id side,
               uint64_t id,
               enum qapi_command *out)
{
    for (const struct mig_ask *a = m->ask; a < m->ask + MIG_ASKS_MAX; a++) {
        if (a->id == id && id != 0 && a->side == side) {
            *out = a->command;
            return true;
        }
    }
    return false;
}

void mig_look(struct mig *m, struct mig_todo *todo, enum mig_side_id side)
{
    struct mig_side *s = &m->side[side];
    if (s->link != MIG_LINK_UP || s->looking > 0)
        return;
    s->fresh = false;
    s->hinted = false;
    s->looking = 2;
    static const enum qapi_command questions[] = {QAPI_QUERY_STATUS, QAPI_QUERY_MIGRATE};
    for (unsigned i = 0; i < 2; i++) {
        struct mig_ask *a = find_ask(m, mig_ask0(m, todo, side, questions[i]));
        assert(a);
        a->look = true;
    }
}

void mig_look_stale(struct mig *m, struct mig_todo *todo)
{
    for (unsigned i = 0; i < MIG_SIDES; i++)
        if (!m->side[i].fresh)
            mig_look(m, todo, (enum mig_side_id)i);
}

/* ---- recipes ---- */

#define BIT(i) (UINT32_C(1) << (i))

void recipe_begin(struct mig *m, const struct step *steps, unsigned n)
{
    assert(n <= 32);
    m->recipe = (struct recipe_run){.steps = steps, .n = n};
    for (struct mig_ask *a = m->ask; a < m->ask + MIG_ASKS_MAX; a++)
        a->row = -1;
}

void recipe_unwind(struct mig *m)
{
    m->recipe.unwinding = true;
    m->recipe.next = m->recipe.n;
    m->recipe.open = 0; /* answers to what was asked before are of no interest any more */
    for (struct mig_ask *a = m->ask; a < m->ask + MIG_ASKS_MAX; a++)
        a->row = -1;
}

static int row_of(const struct mig *m, const struct mig_event *ev)
{
    return ev->kind == MIG_EV_REPLY || ev->kind == MIG_EV_LATE ? m->heard_row : -1;
}

static int hear(struct mig *m,
                const struct step *s,
                const struct mig_event *ev,
                struct mig_todo *todo)
{
    if (s->heard)
        return s->heard(m, s->side, &ev->u.reply, todo);
    if (!ev->u.reply.refused)
        return 0;
    mig_fail(m, OUTCOME_FAILED, QF_E_QMP, "%s: %s: %s", mig_side_name(s->side),
             qapi_command_name(ev->u.reply.command), ev->u.reply.error_desc);
    return -1;
}

static void run_forwards(struct mig *m, struct mig_todo *todo)
{
    struct recipe_run *r = &m->recipe;
    while (r->next < r->n) {
        const struct step *s = &r->steps[r->next];
        if (s->after && r->open != 0)
            return;
        struct qapi_cmd cmd = {.command = QAPI_COMMAND_COUNT};
        if ((!s->when || s->when(m, s->side)) && s->ask(m, s->side, &cmd)) {
            r->open |= BIT(r->next);
            r->begun |= BIT(r->next);
            (void)send(m, todo, s->side, &cmd, (int)r->next);
        }
        r->next++;
    }
}

static void run_backwards(struct mig *m, struct mig_todo *todo)
{
    struct recipe_run *r = &m->recipe;
    while (r->next > 0) {
        const struct step *s = &r->steps[--r->next];
        struct qapi_cmd cmd = {.command = QAPI_COMMAND_COUNT};
        const struct mig_side *side = &m->side[s->side];
        if (!(r->begun & BIT(r->next)) || !s->undo || side->link != MIG_LINK_UP ||
            side->silent ||
            !s->undo(m, s->side, &cmd)) /* silent: would be waited for again */
            continue;
        r->open |= BIT(r->next);
        (void)send(m, todo, s->side, &cmd, (int)r->next);
    }
}

/* A source that goes on with settings that are not its own is worth a warning. A destination
 * that was listened on is of no use any more: a note. */
static void tell_not_undone(const struct step *s,
                            const struct mig_event *ev,
                            struct mig_todo *todo)
{
    const char *why = ev->kind == MIG_EV_LATE ? "no answer" : ev->u.reply.error_desc;
    if (s->side == MIG_SRC)
        mig_warn(todo, "source: %s could not be put back: %s", s->name, why);
    else
        mig_note(todo, "destination: %s could not be put back: %s", s->name, why);
}

enum recipe_state recipe_run(struct mig *m,
                             const struct mig_event *ev,
                             struct mig_todo *todo)
{
    struct recipe_run *r = &m->recipe;
    const int row = row_of(m, ev);
    if (row >= 0 && (r->open & BIT((unsigned)row))) {
        const struct step *s = &r->steps[row];
        r->open &= ~BIT((unsigned)row);
        if (r->unwinding) {
            if (ev->kind == MIG_EV_LATE || ev->u.reply.refused)
                tell_not_undone(s, ev, todo);
        } else if (ev->kind == MIG_EV_REPLY && hear(m, s, ev, todo) != 0) {
            r->failed = true;
        }
    }
    if (r->failed && !r->unwinding)
        return RECIPE_FAILED;
    /* A side whose link went down answers nothing more. */
    for (unsigned i = 0; i < r->n && r->unwinding; i++)
        if ((r->open & BIT(i)) && m->side[r->steps[i].side].link != MIG_LINK_UP)
            r->open &= ~BIT(i);
    if (r->unwinding)
        run_backwards(m, todo);
    else
        run_forwards(m, todo);
    const bool at_end = r->unwinding ? r->next == 0 : r->next == r->n;
    return at_end && r->open == 0 ? RECIPE_DONE : RECIPE_RUNNING;
}

/* ---- facts ---- */

static void hint(struct mig_side *s)
{
    s->fresh = false;
    s->hinted = true;
}

/* A reply can be older than an event that was received before it: QEMU looks, another of its threads
 * moves on and sends the event, then the reply is written (seen on 7.2: `active` behind the event
 * pre-switchover). So what an event has said since the question was sent is not taken back by the
 * answer; the counters in it are good all the same. */
static void hear_look(struct mig *m,
                      struct mig_side *s,
                      uint64_t id,
                      const struct qapi_reply *r)
{
    s->silent = false;
    if (r->refused)
        return;
    if (r->command == QAPI_QUERY_STATUS) {
        if (id > s->run_told_id)
            s->run = r->u.run;
        return;
    }
    const enum qapi_mig_status told = s->migrate.status;
    s->migrate = r->u.migrate;
    if (id <= s->status_told_id)
        s->migrate.status = told;
    if (s->migrate.has_ram) {
        s->last_ram = s->migrate;
        s->has_last_ram = true;
    }
    if (s == &m->side[MIG_SRC] && m->wants_desc && s->migrate.error_desc[0] != '\0') {
        m->wants_desc = false;
        (void)snprintf(m->reason, sizeof(m->reason), "source: %s", s->migrate.error_desc);
    }
}

/* A look is complete when both of its own questions were answered; other queries that cross it
 * count for nothing. What was hinted at after the first answer makes it stale again. */
static void count_look(struct mig *m, struct mig_side *s, uint64_t id)
{
    const struct mig_ask *a = find_ask(m, id);
    if (a && a->look && s->looking > 0 && --s->looking == 0)
        s->fresh = !s->hinted;
}

static void hear_event(struct mig *m, enum mig_side_id side, const struct qapi_event *e)
{
    struct mig_side *s = &m->side[side];
    switch (e->kind) {
    case QAPI_EVENT_MIGRATION:
        s->migrate.status = e->status;
        s->status_told_id = m->next_id;
        hint(s);
        break;
    case QAPI_EVENT_STOP:
        s->stop_t_ns = m->now_ns;
        hint(s);
        break;
    case QAPI_EVENT_RESUME:
        s->stop_t_ns = 0;
        s->resume_t_ns = m->now_ns;
        s->run = QAPI_RUN_RUNNING;
        s->run_told_id = m->next_id;
        hint(s);
        break;
    case QAPI_EVENT_SHUTDOWN:
        s->shutdown_seen = true;
        s->shutdown_by_guest = e->guest;
        memcpy(s->shutdown_reason, e->reason, sizeof(s->shutdown_reason));
        hint(s);
        break;
    case QAPI_EVENT_SUSPEND:
    case QAPI_EVENT_SUSPEND_DISK:
    case QAPI_EVENT_WAKEUP:
    case QAPI_EVENT_GUEST_PANICKED:
    case QAPI_EVENT_BLOCK_IO_ERROR:
        hint(s);
        break;
    case QAPI_EVENT_MIGRATION_PASS:
    case QAPI_EVENT_RESET:
    case QAPI_EVENT_OTHER:
        break;
    }
}

/* QEMU said that it exits, and by a cause that no -no-shutdown holds up (softmmu/runstate.c:
 * quit and signals set the action to poweroff): then the end of its monitor is its end. */
static bool is_exiting(const struct mig_side *s)
{
    return s->shutdown_seen && (strcmp(s->shutdown_reason, "host-qmp-quit") == 0 ||
                                strcmp(s->shutdown_reason, "host-signal") == 0);
}

/* A link that went down takes its unanswered commands with it. */
static void forget_asks(struct mig *m, enum mig_side_id side)
{
    for (struct mig_ask *a = m->ask; a < m->ask + MIG_ASKS_MAX; a++)
        if (a->id != 0 && a->side == side)
            *a = (struct mig_ask){.row = -1};
    m->side[side].looking = 0;
}

static void take_facts(struct mig *m, const struct mig_event *ev)
{
    struct mig_side *s = &m->side[ev->side];
    switch (ev->kind) {
    case MIG_EV_UP:
        s->link = MIG_LINK_UP;
        s->gone = false;
        s->oob = ev->u.up.oob;
        s->is_qemu = ev->u.up.is_qemu;
        s->version = ev->u.up.version;
        break;
    case MIG_EV_DOWN:
        if (s->link == MIG_LINK_UP) /* why it was lost, not why it cannot be opened again */
            memcpy(s->down_text, ev->u.down.err.text, sizeof(s->down_text));
        s->link = MIG_LINK_DOWN;
        s->gone = ev->u.down.gone || is_exiting(s);
        s->fresh = false;
        forget_asks(m, ev->side);
        break;
    case MIG_EV_REPLY:
        if (!qapi_command_oob(ev->u.reply.command))
            s->heard_ns = m->now_ns;
        if (ev->u.reply.command == QAPI_QUERY_STATUS ||
            ev->u.reply.command == QAPI_QUERY_MIGRATE) {
            hear_look(m, s, ev->id, &ev->u.reply);
            count_look(m, s, ev->id);
        }
        break;
    case MIG_EV_QMP:
        hear_event(m, ev->side, &ev->u.qmp);
        break;
    case MIG_EV_CANCEL:
        m->cancel_wanted = true;
        break;
    case MIG_EV_SYNCED:
        m->synced = true;
        break;
    case MIG_EV_BEGIN:
    case MIG_EV_TIMER:
    case MIG_EV_ENTER:
    case MIG_EV_LATE:
        break;
    }
}

/* The answer has come: its place is free while it is handled, so that it can be asked again. */
static void release_ask(struct mig *m, const struct mig_event *ev)
{
    struct mig_ask *a = ev->kind == MIG_EV_REPLY ? find_ask(m, ev->id) : NULL;
    if (!a)
        return;
    m->heard_row = a->row;
    *a = (struct mig_ask){.row = -1};
}

/* ---- moving ---- */

void mig_go(struct mig *m, enum mig_phase to)
{
    assert(!m->going);
    assert(phases[m->phase].next & (1U << (unsigned)to));
    m->going = true;
    m->go_to = to;
}

/* What must hold at every move. Our own bugs, never a peer's doing. */
static void mig_invariant(const struct mig *m)
{
    assert(!(m->handed_over && m->phase == MIG_ROLLBACK) || m->cont_refused);
    assert(m->phase != MIG_HELD || m->code == QF_E_HELD);
    assert(!m->continued || m->started);
    assert(m->phase != MIG_DONE || m->spec.dry_run || m->handed_over);
}

static uint64_t ms_between(int64_t from_ns, int64_t to_ns)
{
    return from_ns > 0 && to_ns >= from_ns ? (uint64_t)(to_ns - from_ns) / 1000000U
                                           : POLICY_UNKNOWN;
}

static enum record_place where_it_runs(const struct mig *m)
{
    struct owner_view v;
    mig_view(m, &v);
    /* Until `migrate` was sent the guest is where it was. */
    if (!m->started && !m->taken_up) {
        const enum qapi_run_state run = m->side[MIG_SRC].run;
        const bool there = run != QAPI_RUN_UNKNOWN && run != QAPI_RUN_INMIGRATE &&
                           run != QAPI_RUN_POSTMIGRATE && run != QAPI_RUN_PRELAUNCH;
        const bool seen = m->side[MIG_SRC].link == MIG_LINK_UP;
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

static void end(struct mig *m, struct mig_todo *todo)
{
    const struct mig_side *src = &m->side[MIG_SRC];
    const struct qapi_migrate *ram = &src->last_ram;
    struct record_result *r = &mig_record(todo, RECORD_RESULT)->u.result;
    r->outcome = m->outcome;
    r->code = m->code;
    r->running_on = where_it_runs(m);
    if (m->phase == MIG_DONE && !m->spec.dry_run)
        r->running_on = PLACE_DESTINATION;
    (void)snprintf(r->reason, sizeof(r->reason), "%s", m->reason);
    r->mode = m->was_postcopy      ? MODE_POSTCOPY
              : m->paused_at_start ? MODE_STOP_AND_COPY
                                   : MODE_PRECOPY;
    r->total_ms = m->started ? ms_between(m->migrate_ns, m->now_ns) : POLICY_UNKNOWN;
    r->downtime_ms = src->migrate.downtime_ms == QAPI_UNKNOWN_U64
                         ? POLICY_UNKNOWN
                         : src->migrate.downtime_ms;
    if (!m->started && !m->taken_up)
        r->downtime_ms = POLICY_UNKNOWN;
    r->blackout_ms = ms_between(m->src_stop_ns, m->dst_resume_ns);
    if (src->has_last_ram && (m->started || m->taken_up)) {
        r->transferred_bytes = ram->transferred_bytes;
        r->passes = ram->dirty_sync_count;
    }
    mig_sync(m, todo);
    for (unsigned i = 0; i < MIG_SIDES; i++)
        if (m->side[i].link == MIG_LINK_UP || m->side[i].link == MIG_LINK_OPENING)
            mig_todo_add(todo, MIG_DO_CLOSE, (enum mig_side_id)i);
    mig_todo_add(todo, MIG_DO_END, MIG_SRC);
    m->ended = true;
}

static void enter(struct mig *m, struct mig_todo *todo)
{
    const enum mig_phase from = m->phase;
    m->going = false;
    m->phase = m->go_to;
    m->phase_ns = m->now_ns;
    m->wake_ns = INT64_MAX;
    m->stage = 0;
    m->stage_ns = m->now_ns;
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
             qapi_command_name(a->command), asks[a->command].deadline_ms / 1000U);
    switch (asks[a->command].late) {
    case LATE_GIVE_UP:
        if (m->phase == MIG_PREFLIGHT || m->phase == MIG_CONFIGURE)
            mig_fail(m, OUTCOME_FAILED,
                     m->phase == MIG_PREFLIGHT ? QF_E_UNREACHABLE : QF_E_TIMEOUT,
                     "the %s does not answer %s", mig_side_name(a->side),
                     qapi_command_name(a->command));
        break;
    case LATE_SILENT:
        s->silent = true;
        break;
    case LATE_DOUBT:
    case LATE_PHASE:
    case LATE_GO_ON:
        break;
    }
    handle(m, &ev, todo);
}

/* A question (or what can be said twice) that is late hinders the next one no longer. Should its answer still come, it is
 * passed over: by then there is a newer one. */
static void give_up_asking(struct mig *m, const struct mig_ask *late_one)
{
    struct mig_ask *asked = find_ask(m, late_one->id);
    if (!asked)
        return; /* its link went down meanwhile */
    *asked = (struct mig_ask){.row = -1};
    if (!late_one->look)
        return;
    m->side[late_one->side].looking = 0;
    for (struct mig_ask *a = m->ask; a < m->ask + MIG_ASKS_MAX; a++)
        if (a->side == late_one->side)
            a->look = false;
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
        if ((asks[copy.command].late == LATE_SILENT ||
             copy.command == QAPI_MIGRATE_START_POSTCOPY) &&
            !m->ended)
            give_up_asking(m, &copy);
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
    assert(ev->kind <= MIG_EV_SYNCED);
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
    take_facts(m, ev);
    if (ev->kind == MIG_EV_BEGIN)
        mig_go(m, MIG_CONNECT);
    release_ask(m, ev);
    handle(m, ev, todo);
    if (!m->ended)
        check_deadlines(m, todo);
    if (!m->ended)
        todo->wake_ns = next_wake(m);
}

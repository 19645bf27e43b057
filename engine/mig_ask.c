/* Commands in flight: what may be sent, how long its answer may take, and whose answer has come. */
#include <assert.h>
#include <stdio.h>

#include "engine/base/units.h"
#include "engine/mig_priv.h"

/* ---- commands: how long an answer may take, and what its absence means ----
 *
 * QEMU's main loop can stall for seconds around the switchover, and in-band commands can hang for
 * good while out-of-band ones and events still flow: so a late answer is never taken for a death.
 * The consequence is carried out in late() in mig.c, or by the phase that asked. */

/* clang-format off */
static const struct {
    uint32_t deadline_ms;
    enum ask_late late;
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
    [QAPI_QUERY_NVME]             = {30000, LATE_GIVE_UP},
    [QAPI_QUERY_DRIVE]            = {30000, LATE_GIVE_UP},
    [QAPI_QUERY_CAPS]             = {30000, LATE_GIVE_UP},
    [QAPI_QUERY_PARAMS]           = {30000, LATE_GIVE_UP},
    [QAPI_QUERY_YANK]             = {30000, LATE_PHASE},
    [QAPI_CALC_DIRTY_RATE]        = {30000, LATE_PHASE},
    [QAPI_QUERY_DIRTY_RATE]       = {30000, LATE_PHASE},
    [QAPI_SET_CAPS]               = {30000, LATE_GIVE_UP},
    [QAPI_SET_PARAMS]             = {30000, LATE_GIVE_UP},
    [QAPI_OBJECT_ADD]             = {30000, LATE_GIVE_UP},
    [QAPI_OBJECT_DEL]             = {30000, LATE_GIVE_UP},
    [QAPI_STOP]                   = {30000, LATE_PHASE},
    [QAPI_CONT]                   = {60000, LATE_PHASE},
    [QAPI_QUIT]                   = {10000, LATE_PHASE},
    [QAPI_MIGRATE_INCOMING]       = {30000, LATE_GIVE_UP},
    [QAPI_MIGRATE]                = {60000, LATE_DOUBT},
    [QAPI_MIGRATE_CANCEL]         = {10000, LATE_PHASE}, /* yank follows */
    [QAPI_MIGRATE_CONTINUE]       = {60000, LATE_PHASE}, /* the source's status tells */
    [QAPI_MIGRATE_START_POSTCOPY] = {60000, LATE_DOUBT},
    [QAPI_MIGRATE_PAUSE]          = {10000, LATE_PHASE},
    [QAPI_MIGRATE_RECOVER]        = {10000, LATE_PHASE},
    [QAPI_MIGRATE_RESUME]         = {10000, LATE_PHASE},
    [QAPI_YANK]                   = {10000, LATE_PHASE},
    [QAPI_GETFD]                  = {30000, LATE_PHASE},
    [QAPI_CLOSEFD]                = {30000, LATE_PHASE},
};
/* clang-format on */

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
    case QAPI_MIGRATE_PAUSE:
        return side == MIG_SRC ? MAY_PAUSE_SRC : MAY_PAUSE_DST;
    case QAPI_MIGRATE_RECOVER:
        return MAY_RECOVER;
    case QAPI_MIGRATE_RESUME:
        return MAY_RESUME;
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
    case QAPI_QUERY_NVME:
    case QAPI_QUERY_DRIVE:
    case QAPI_QUERY_CAPS:
    case QAPI_QUERY_PARAMS:
    case QAPI_QUERY_YANK:
    case QAPI_CALC_DIRTY_RATE:
    case QAPI_QUERY_DIRTY_RATE:
    case QAPI_SET_CAPS:
    case QAPI_SET_PARAMS:
    case QAPI_OBJECT_ADD:
    case QAPI_OBJECT_DEL:
    case QAPI_STOP:
    case QAPI_MIGRATE_INCOMING:
    case QAPI_GETFD:
    case QAPI_CLOSEFD:
    case QAPI_COMMAND_COUNT:
        break;
    }
    return 0;
}
/* clang-format on */

/* ---- asking ---- */

struct mig_ask *mig_find_ask(struct mig *m, uint64_t id)
{
    for (struct mig_ask *a = m->ask; a < m->ask + MIG_ASKS_MAX; a++)
        if (a->id == id && id != 0)
            return a;
    return NULL;
}

uint64_t mig_send(struct mig *m,
                  struct mig_todo *todo,
                  enum mig_side_id side,
                  const struct qapi_cmd *cmd,
                  int row)
{
    assert(m->side[side].link == MIG_LINK_UP);
    assert(row < 0 || leave_for(side, cmd->command) == 0); /* recipes ask for no leave */
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
    if (side == MIG_SRC && cmd->command == QAPI_SET_PARAMS)
        mig_settings_sent(m, &cmd->u.params);
    /* What is put back may not arrive: then it is found as it was set before. */
    const bool sets = cmd->command == QAPI_SET_PARAMS && !(row >= 0 && m->recipe.unwinding);
    for (unsigned i = 0; sets && i < QAPI_PARAM_COUNT; i++)
        if (cmd->u.params.has & (1U << i))
            m->side[side].param_set[i] = cmd->u.params.value[i];
    struct mig_do *d = mig_todo_add(todo, MIG_DO_SEND, side);
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
    return mig_send(m, todo, side, cmd, -1);
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
    if (c == QAPI_MIGRATE || c == QAPI_MIGRATE_RECOVER || c == QAPI_MIGRATE_RESUME)
        (void)snprintf(cmd.u.migrate.uri, sizeof(cmd.u.migrate.uri), "%s",
                       c == QAPI_MIGRATE && m->stream_given ? "fd:" QAPI_STREAM_NAME
                                                            : m->migrate_uri);
    if (c == QAPI_CONT && side == MIG_DST)
        m->dst_conts++;
    (void)mig_send(m, todo, side, &cmd, -1);
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
    s->look_refused = false;
    s->looking = 2;
    static const enum qapi_command questions[] = {QAPI_QUERY_STATUS, QAPI_QUERY_MIGRATE};
    for (unsigned i = 0; i < 2; i++) {
        struct mig_ask *a = mig_find_ask(m, mig_ask0(m, todo, side, questions[i]));
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

/* The answer has come: its place is free while it is handled, so that it can be asked again. */
void mig_release_ask(struct mig *m, const struct mig_event *ev)
{
    struct mig_ask *a = ev->kind == MIG_EV_REPLY ? mig_find_ask(m, ev->id) : NULL;
    if (!a)
        return;
    m->heard_row = a->row;
    *a = (struct mig_ask){.row = -1};
}

enum ask_late mig_ask_late(enum qapi_command c)
{
    return asks[c].late;
}

uint32_t mig_ask_deadline_ms(enum qapi_command c)
{
    return asks[c].deadline_ms;
}

/* A question (or what can be said twice) that is late hinders the next one no longer. Should its answer still come, it is
 * passed over: by then there is a newer one. */
void mig_give_up_asking(struct mig *m, const struct mig_ask *late_one)
{
    struct mig_ask *asked = mig_find_ask(m, late_one->id);
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

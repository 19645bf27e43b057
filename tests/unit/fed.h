/* The machine fed by hand: events go in one at a time, what it sends is remembered. For tests of single rules. */
#ifndef QF_TESTS_UNIT_FED_H
#define QF_TESTS_UNIT_FED_H

#include "engine/base/units.h"
#include "engine/mig.h"

static struct fixture {
    struct mig m;
    struct mig_todo todo;
    uint64_t id[MIG_SIDES][QAPI_COMMAND_COUNT]; /* of what was sent last; 0: nothing was */
} f;

/* A millisecond later. */
static void step(struct mig_event *ev)
{
    ev->t_ns = f.m.now_ns + QF_NS_PER_MS;
    mig_step(&f.m, ev, &f.todo);
    for (unsigned i = 0; i < f.todo.n; i++)
        if (f.todo.item[i].kind == MIG_DO_SEND)
            f.id[f.todo.item[i].side][f.todo.item[i].u.send.cmd.command] =
                f.todo.item[i].u.send.id;
}

static void pass_time(void)
{
    step(&(struct mig_event){.kind = MIG_EV_TIMER});
}

/* That side says so, by event. */
static void become(enum mig_side_id side, enum qapi_mig_status status)
{
    struct mig_event ev = {.kind = MIG_EV_QMP, .side = side};
    ev.u.qmp.kind = QAPI_EVENT_MIGRATION;
    ev.u.qmp.status = status;
    step(&ev);
}

#endif

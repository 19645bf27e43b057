/* CONNECT: open both monitors. Nothing is asked of QEMU yet.
 *
 * A monitor serves one client at a time: a second one is accepted by the kernel, gets no
 * greeting, and what it has sent runs once the first leaves (QEMU, verified 7.2 and 11.1). So
 * nothing is sent before the greeting, and no greeting in time means that somebody else holds
 * the monitor, or that this is something else.
 *
 * In a later attempt (phase_again.c) the source's monitor is open already, and the destination's QEMU
 * has just been started: it gets the same time to open its monitor. */
#include "engine/mig_priv.h"

enum { GREETING_MS = 10000, REOPEN_MS = 100 };

static const char *address(const struct mig *m, enum mig_side_id side)
{
    return side == MIG_SRC ? m->spec.source : m->spec.destination;
}

static void open_monitor(struct mig *m, struct mig_todo *todo, enum mig_side_id side)
{
    m->side[side].link = MIG_LINK_OPENING;
    m->reopen_ns[side] = m->now_ns + REOPEN_MS * INT64_C(1000000);
    (void)mig_todo_add(todo, MIG_DO_OPEN, side);
}

/* A destination that was started a moment ago may not listen yet. True: it is tried again. */
static bool open_again(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    const struct mig_side *dst = &m->side[MIG_DST];
    if (m->attempt == 1 || mig_is_past(m, m->phase_ns, GREETING_MS) ||
        (ev->kind == MIG_EV_DOWN && ev->side == MIG_SRC) || dst->link != MIG_LINK_DOWN)
        return false;
    if (m->now_ns >= m->reopen_ns[MIG_DST])
        open_monitor(m, todo, MIG_DST);
    else
        mig_wake_at(m, m->reopen_ns[MIG_DST]);
    return true;
}

/* Open, or not to be opened, and it goes on all the same (mig_memory.c). */
static bool is_settled(const struct mig *m, enum mig_side_id side)
{
    return m->side[side].link == MIG_LINK_UP ||
           (m->memory.known && m->side[side].link == MIG_LINK_DOWN);
}

void phase_connect(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    if (ev->kind == MIG_EV_ENTER) {
        /* Meanwhile; PREFLIGHT waits for it. Without networks it is whether there is a way at all. */
        if (m->spec.networks.n > 0 || (m->spec.n_given > 0 && mig_is_source_here(m)))
            mig_probe(m, todo, false);
        for (unsigned i = 0; i < MIG_SIDES; i++)
            if (m->side[i].link != MIG_LINK_UP)
                open_monitor(m, todo, (enum mig_side_id)i);
    }
    if (m->cancel_wanted &&
        !m->memory.known) { /* or PREFLIGHT finds out what there is to cancel */
        mig_fail(m, OUTCOME_CANCELLED, QF_E_CANCELLED,
                 "cancelled before anything was touched");
        mig_go(m, MIG_FAILED);
        return;
    }
    if (open_again(m, ev, todo))
        return;
    const bool without = ev->kind == MIG_EV_DOWN && mig_memory_does_without(m, ev);
    if (ev->kind == MIG_EV_DOWN && !without) { /* the sentence begins with the address */
        const bool is_other = ev->u.down.err.code == QF_E_PROTO;
        mig_fail(m, OUTCOME_FAILED,
                 mig_unreachable(m, ev->side, is_other ? QF_E_PROTO : QF_E_UNREACHABLE),
                 "%s: %s", mig_side_name(ev->side), ev->u.down.err.text);
        mig_go(m, MIG_FAILED);
        return;
    }
    if (ev->kind == MIG_EV_UP && !ev->u.up.is_qemu) {
        mig_fail(
            m, OUTCOME_FAILED, mig_unreachable(m, ev->side, QF_E_PROTO),
            "%s: %s: speaks QMP but is not a QEMU (its greeting names no QEMU version)",
            mig_side_name(ev->side), address(m, ev->side));
        mig_go(m, MIG_FAILED);
        return;
    }
    if (is_settled(m, MIG_SRC) && is_settled(m, MIG_DST)) {
        mig_go(m, MIG_PREFLIGHT);
        return;
    }
    if (mig_is_past(m, m->phase_ns, GREETING_MS)) {
        const enum mig_side_id side =
            m->side[MIG_SRC].link == MIG_LINK_UP ? MIG_DST : MIG_SRC;
        mig_fail(m, OUTCOME_FAILED, mig_unreachable(m, side, QF_E_UNREACHABLE),
                 "%s: %s: no QMP greeting within %d s: another client is connected to this "
                 "monitor (QEMU serves one at a time), or it is not a QMP monitor",
                 mig_side_name(side), address(m, side), GREETING_MS / 1000);
        mig_go(m, MIG_FAILED);
        return;
    }
    mig_wake_at(m, m->phase_ns + GREETING_MS * INT64_C(1000000));
}

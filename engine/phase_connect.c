/* CONNECT: open both monitors. Nothing is asked of QEMU yet.
 *
 * A monitor serves one client at a time: a second one is accepted by the kernel, gets no
 * greeting, and what it has sent runs once the first leaves (QEMU, verified 7.2 and 11.1). So
 * nothing is sent before the greeting, and no greeting in time means that somebody else holds
 * the monitor, or that this is something else. */
#include "engine/mig_priv.h"

enum { GREETING_MS = 10000 };

static const char *address(const struct mig *m, enum mig_side_id side)
{
    return side == MIG_SRC ? m->spec.source : m->spec.destination;
}

void phase_connect(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    if (ev->kind == MIG_EV_ENTER) {
        if (m->spec.networks.n > 0) /* meanwhile: PREFLIGHT waits for it */
            mig_probe(m, todo);
        for (unsigned i = 0; i < MIG_SIDES; i++) {
            m->side[i].link = MIG_LINK_OPENING;
            (void)mig_todo_add(todo, MIG_DO_OPEN, (enum mig_side_id)i);
        }
    }
    if (m->cancel_wanted) {
        mig_fail(m, OUTCOME_CANCELLED, QF_E_CANCELLED,
                 "cancelled before anything was touched");
        mig_go(m, MIG_FAILED);
        return;
    }
    if (ev->kind == MIG_EV_DOWN) { /* the sentence begins with the address */
        const bool is_other = ev->u.down.err.code == QF_E_PROTO;
        mig_fail(m, OUTCOME_FAILED, is_other ? QF_E_PROTO : QF_E_UNREACHABLE, "%s: %s",
                 mig_side_name(ev->side), ev->u.down.err.text);
        mig_go(m, MIG_FAILED);
        return;
    }
    if (ev->kind == MIG_EV_UP && !ev->u.up.is_qemu) {
        mig_fail(
            m, OUTCOME_FAILED, QF_E_PROTO,
            "%s: %s: speaks QMP but is not a QEMU (its greeting names no QEMU version)",
            mig_side_name(ev->side), address(m, ev->side));
        mig_go(m, MIG_FAILED);
        return;
    }
    if (m->side[MIG_SRC].link == MIG_LINK_UP && m->side[MIG_DST].link == MIG_LINK_UP) {
        mig_go(m, MIG_PREFLIGHT);
        return;
    }
    if (mig_is_past(m, m->phase_ns, GREETING_MS)) {
        const enum mig_side_id side =
            m->side[MIG_SRC].link == MIG_LINK_UP ? MIG_DST : MIG_SRC;
        mig_fail(m, OUTCOME_FAILED, QF_E_UNREACHABLE,
                 "%s: %s: no QMP greeting within %d s: another client is connected to this "
                 "monitor (QEMU serves one at a time), or it is not a QMP monitor",
                 mig_side_name(side), address(m, side), GREETING_MS / 1000);
        mig_go(m, MIG_FAILED);
        return;
    }
    mig_wake_at(m, m->phase_ns + GREETING_MS * INT64_C(1000000));
}

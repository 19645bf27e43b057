/* START: the memory's connection, where qferry opens it; the last question to the policy before memory
 * moves; then `migrate`.
 *
 * MIGRATION `setup` may arrive before the reply to `migrate` (seen): the reply alone moves on,
 * the status is a fact by then. */
#include <stdio.h>

#include "engine/mig_priv.h"

static void send_migrate(struct mig *m, struct mig_todo *todo)
{
    m->migrate_ns = m->now_ns;
    if (m->first_migrate_ns == 0)
        m->first_migrate_ns = m->now_ns;
    mig_note(todo, "migrate to %s%s%s", m->migrate_uri, m->stream_given ? " from " : "",
             m->stream_given ? m->spec.bind : "");
    if (!mig_act(m, todo, MIG_SRC,
                 QAPI_MIGRATE)) { /* since PREFLIGHT somebody has been at it */
        mig_fail(
            m, OUTCOME_FAILED, QF_E_GAVE_UP,
            "not begun: source %s, its migration %s; destination %s, its migration %s: "
            "another client has changed that since it was checked",
            qapi_run_name(m->side[MIG_SRC].run),
            qapi_mig_name(m->side[MIG_SRC].migrate.status),
            qapi_run_name(m->side[MIG_DST].run),
            qapi_mig_name(m->side[MIG_DST].migrate.status));
        mig_go(m, MIG_ROLLBACK);
    }
    m->started =
        true; /* also when it was not allowed: what is wrong then is to be found out */
    /* What is known is of an earlier migration; the event of this one may come late. */
    m->side[MIG_SRC].migrate.status = QAPI_MIG_SETUP;
}

/* `stop-and-copy` stops the guest first. A guest that does not run needs no stop. */
static void ask_policy(struct mig *m, struct mig_todo *todo)
{
    const struct policy_sample s = {.t_ns = m->now_ns, .guest_stopped = !m->guest_ran};
    struct policy_decision d;
    policy_decide(&m->policy, &m->policy_run, &s, &d);
    if (d.action != POLICY_PAUSE || !m->guest_ran) {
        send_migrate(m, todo);
        return;
    }
    mig_record(todo, RECORD_DECISION)->u.decision = d;
    m->paused_at_start = true;
    mig_stop_guest(m, todo);
}

void phase_start(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    if (ev->kind == MIG_EV_DOWN) {
        mig_fail(m, OUTCOME_FAILED, QF_E_LOST, "%s: %s", mig_side_name(ev->side),
                 ev->u.down.err.text);
        mig_go(m,
               MIG_RECONCILE); /* dead or only not to be seen: the way back depends on it */
    } else if (m->cancel_wanted) {
        mig_fail(m, OUTCOME_CANCELLED, QF_E_CANCELLED, "cancelled by the user");
        mig_go(m, MIG_ROLLBACK);
    } else if (ev->kind == MIG_EV_ENTER && mig_has_stream(m)) {
        mig_open_stream(m, todo); /* the guest need not be stopped for it */
    } else if (ev->kind == MIG_EV_ENTER) {
        ask_policy(m, todo);
    } else if (mig_late(ev, MIG_SRC, QAPI_MIGRATE)) {
        mig_go(m, MIG_RECONCILE);
    } else if (mig_late(ev, MIG_SRC, QAPI_STOP)) {
        mig_fail(m, OUTCOME_FAILED, QF_E_TIMEOUT, "the source does not answer stop");
        mig_go(m, MIG_ROLLBACK);
    } else if (mig_heard(ev, MIG_SRC, QAPI_STOP)) {
        if (!ev->u.reply.refused) {
            send_migrate(m, todo);
            return;
        }
        mig_fail(m, OUTCOME_FAILED, QF_E_QMP, "source: stop: %s", ev->u.reply.error_desc);
        mig_go(m, MIG_ROLLBACK);
    } else if (mig_heard(ev, MIG_SRC, QAPI_MIGRATE)) {
        if (!ev->u.reply.refused) {
            m->stream_lent = false; /* it is the migration's now */
            mig_go(m, MIG_PRECOPY);
            return;
        }
        mig_fail(m, OUTCOME_FAILED, QF_E_QMP, "source: migrate: %s",
                 ev->u.reply.error_desc);
        mig_go(m, MIG_ROLLBACK);
    } else if (mig_has_stream(m) && !m->stream_given) {
        switch (mig_follow_stream(m, ev, todo)) {
        case RECIPE_RUNNING:
            return;
        case RECIPE_DONE:
            ask_policy(m, todo);
            return;
        case RECIPE_FAILED:
            mig_go(m, MIG_ROLLBACK);
            return;
        }
    }
}

/* SWITCHOVER: the source's guest is stopped; from pre-switchover to the far side.
 *
 *   pre-switchover --(destination alive? no cancel?)--> migrate-continue --> device
 *        |                                                   |--> completed        FINISH
 *        v  otherwise                                        |--> postcopy-active  POSTCOPY
 *      ROLLBACK                                              `--> failed           ROLLBACK
 *
 * The source waits in pre-switchover for ever and is not told when the destination dies (fact
 * sheet 3.3), so the destination is looked at before the source is sent on. The journal is put
 * on the disk meanwhile: that must be done before the destination may be continued (FINISH).
 *
 * Everything here is blackout: nothing is asked that is not needed. */
#include "engine/mig_priv.h"

enum {
    POLL_MS = 200, /* in case an event got lost */
    LOOK_MS =
        10 * 1000, /* the guest is stopped: no longer for a destination that is silent */
    STUCK_MS = 60 * 1000, /* in `device`: break loose; plus twice the downtime limit */
    AGAIN_MS = 5
};

static void go_on(struct mig *m, struct mig_todo *todo)
{
    struct owner_view v;
    mig_view(m, &v);
    if (m->cancel_wanted) {
        mig_fail(m, OUTCOME_CANCELLED, QF_E_CANCELLED, "cancelled by the user");
        mig_go(m, MIG_ROLLBACK);
        return;
    }
    const bool in_time = !mig_is_past(m, m->phase_ns, LOOK_MS);
    if (in_time && (!m->side[MIG_SRC].fresh || !m->side[MIG_DST].fresh)) {
        mig_look_stale(m, todo);
        return;
    }
    if (m->has_reason) { /* it was refused, and the source waits still */
        mig_go(m, MIG_ROLLBACK);
        return;
    }
    if (in_time && (v.may & MAY_CONTINUE)) {
        mig_note(todo, "the destination is ready: once both sides have completed it is %s",
                 m->guest_ran ? "continued" : "left paused, as the source was found");
        m->continued = mig_act(m, todo, MIG_SRC, QAPI_MIGRATE_CONTINUE);
        return;
    }
    mig_fail(m, OUTCOME_FAILED, QF_E_GAVE_UP,
             "the destination is not there to take the guest: %s %s, its migration %s",
             m->side[MIG_DST].fresh ? "it is" : "it does not answer; last seen",
             qapi_run_name(m->side[MIG_DST].run),
             qapi_mig_name(m->side[MIG_DST].migrate.status));
    mig_go(m, MIG_ROLLBACK);
}

/* In `device` the source's main loop may hang in a write to a silent network for as long as TCP
 * waits; yank, out of band, makes it fail and take its guest back (lab, finding 2 and 3). */
static void break_loose(struct mig *m, struct mig_todo *todo)
{
    const uint64_t stuck_ms = STUCK_MS + 2 * m->downtime_limit_ms;
    if (m->yank_sent && mig_is_past(m, m->phase_ns, stuck_ms + STUCK_MS)) {
        m->stuck = true;
        mig_go(m, MIG_RECONCILE);
    }
    if (m->yank_sent || !mig_is_past(m, m->phase_ns, stuck_ms))
        return;
    m->yank_sent = true;
    mig_warn(
        todo,
        "the switchover does not get on for %u s: breaking the connection, so that the "
        "source takes its guest back",
        (unsigned)(STUCK_MS / 1000));
    mig_fail(m, OUTCOME_FAILED, QF_E_TIMEOUT, "the switchover got stuck");
    (void)mig_act(m, todo, MIG_SRC, QAPI_YANK);
}

/* Cancelled after migrate-continue: in precopy QEMU still takes it, and whatever it then decides
 * is the outcome; towards post-copy never (rule 5). */
static void cancel_late(struct mig *m, struct mig_todo *todo)
{
    if (m->postcopy_asked) {
        mig_warn(todo, "not cancelled: the guest is being handed over to the destination "
                       "(post-copy); this cannot be taken back");
        m->cancel_wanted = false;
        return;
    }
    mig_fail(m, OUTCOME_CANCELLED, QF_E_CANCELLED, "cancelled by the user");
    mig_go(m, MIG_ROLLBACK);
}

static void follow(struct mig *m, struct mig_todo *todo)
{
    switch (m->side[MIG_SRC].migrate.status) {
    case QAPI_MIG_PRE_SWITCHOVER:
        if (!m->continued)
            go_on(m, todo);
        else if (m->cancel_wanted)
            cancel_late(m, todo);
        break;
    case QAPI_MIG_DEVICE:
    case QAPI_MIG_POSTCOPY_DEVICE:
        m->continued = true;
        if (m->cancel_wanted)
            cancel_late(m, todo);
        break;
    case QAPI_MIG_COMPLETED:
        m->continued = true;
        mig_go(m, MIG_FINISH);
        break;
    case QAPI_MIG_POSTCOPY_ACTIVE:
    case QAPI_MIG_POSTCOPY_PAUSED:
    case QAPI_MIG_POSTCOPY_RECOVER_SETUP:
    case QAPI_MIG_POSTCOPY_RECOVER:
        m->continued = true;
        mig_go(m, MIG_POSTCOPY);
        break;
    case QAPI_MIG_FAILING:
    case QAPI_MIG_FAILED:
        mig_fail_desc(m, "the source's QEMU reports a failed migration");
        mig_go(m, MIG_ROLLBACK);
        break;
    case QAPI_MIG_CANCELLING:
    case QAPI_MIG_CANCELLED:
        mig_fail(m, OUTCOME_FAILED, QF_E_GAVE_UP, "another client cancelled the migration");
        mig_go(m, MIG_ROLLBACK);
        break;
    case QAPI_MIG_ACTIVE: /* without pre-switchover, on the way to post-copy (7.2) */
    case QAPI_MIG_UNKNOWN:
    case QAPI_MIG_NONE:
    case QAPI_MIG_SETUP:
    case QAPI_MIG_WAIT_UNPLUG:
    case QAPI_MIG_COLO:
        break;
    }
}

/* The source died in the switch. Either everything was on its way, and the destination loads it
 * to the end; or it fails. */
static void follow_destination(struct mig *m,
                               const struct mig_event *ev,
                               struct mig_todo *todo)
{
    struct owner_view v;
    if (ev->kind == MIG_EV_TIMER)
        m->side[MIG_DST].fresh = false;
    mig_look_stale(m, todo);
    mig_wake_in(m, POLL_MS);
    mig_view(m, &v);
    if (m->side[MIG_DST].fresh && v.stage != STAGE_SWITCHING) {
        mig_go(m, MIG_RECONCILE);
    } else if (mig_is_past(m, m->phase_ns, STUCK_MS)) {
        mig_fail(
            m, OUTCOME_LOST, QF_E_HELD,
            "the source died in the switchover, and the destination neither completes nor "
            "fails");
        mig_go(m, MIG_HELD);
    }
}

void phase_switchover(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    if (ev->kind == MIG_EV_DOWN) {
        mig_go(m, MIG_RECONCILE);
        return;
    }
    if (ev->kind == MIG_EV_ENTER) {
        if (m->src_stop_ns == 0)
            m->src_stop_ns = m->side[MIG_SRC].stop_t_ns;
        mig_sync(m, todo);
        mig_look_stale(m, todo);
    }
    if (mig_heard(ev, MIG_SRC, QAPI_MIGRATE_CONTINUE) && ev->u.reply.refused) {
        /* It has moved on, or was cancelled, in the very moment: the status tells. */
        mig_note(todo, "source: migrate-continue: %s", ev->u.reply.error_desc);
        mig_fail(m, OUTCOME_FAILED, QF_E_QMP, "source: migrate-continue: %s",
                 ev->u.reply.error_desc);
        m->continued = false;
        m->side[MIG_SRC].fresh = false;
        mig_look(m, todo, MIG_SRC);
    }
    follow(m, todo);
    if (m->going)
        return;
    if (m->side[MIG_SRC].gone) {
        follow_destination(m, ev, todo);
        return;
    }
    if (m->continued)
        break_loose(m, todo);
    if (m->going)
        return;
    if (ev->kind == MIG_EV_TIMER && m->continued && m->side[MIG_SRC].link == MIG_LINK_UP &&
        !mig_is_asked(m, MIG_SRC, QAPI_QUERY_MIGRATE))
        (void)mig_ask0(m, todo, MIG_SRC, QAPI_QUERY_MIGRATE);
    mig_wake_in(m, m->continued ? POLL_MS : AGAIN_MS + POLL_MS);
}

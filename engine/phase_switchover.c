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
    HEARD_MS = 3000, /* a main loop that answered so lately is taken to live */
    POLL_MS = 200,   /* in case an event got lost */
    LOOK_MS =
        10 * 1000, /* the guest is stopped: no longer for a destination that is silent */
    STUCK_MS = 60 * 1000 /* in `device`: break loose; plus twice the downtime limit */
};

/* PRECOPY asks the destination something in band about every second. */
static bool is_main_loop_alive(const struct mig *m)
{
    return !mig_is_past(m, m->side[MIG_DST].heard_ns, HEARD_MS) &&
           !mig_is_asked(m, MIG_DST, QAPI_QUERY_STATUS);
}

/* Is the destination there, and still taking the stream in? It has said `active` by event, and
 * nothing since; query-yank goes out of band, past its main loop, which is busy loading what is
 * in the socket: measured up to 4 ms less of blackout. Without out-of-band, or
 * without the event, both are asked in band. The source itself need not be asked:
 * migrate-continue names the state that it expects. */
static bool is_destination_there(const struct mig *m)
{
    const struct mig_side *dst = &m->side[MIG_DST];
    return m->dst_alive && is_main_loop_alive(m) && dst->link == MIG_LINK_UP &&
           !dst->shutdown_seen && dst->run == QAPI_RUN_INMIGRATE &&
           dst->migrate.status == QAPI_MIG_ACTIVE;
}

static void ask_destination(struct mig *m, struct mig_todo *todo)
{
    const struct mig_side *dst = &m->side[MIG_DST];
    if (dst->link == MIG_LINK_UP && dst->oob && is_main_loop_alive(m) &&
        dst->run == QAPI_RUN_INMIGRATE && dst->migrate.status == QAPI_MIG_ACTIVE) {
        if (!mig_is_asked(m, MIG_DST, QAPI_QUERY_YANK))
            (void)mig_ask0(m, todo, MIG_DST, QAPI_QUERY_YANK);
        return;
    }
    mig_look_stale(m, todo);
}

static void go_on(struct mig *m, struct mig_todo *todo)
{
    struct owner_view v;
    mig_view(m, &v);
    if (m->cancel_wanted) {
        mig_fail(m, OUTCOME_CANCELLED, QF_E_CANCELLED, "cancelled by the user");
        mig_go(m, MIG_ROLLBACK);
        return;
    }
    if (mig_is_unplugged(m)) {
        mig_go(m, MIG_ROLLBACK);
        return;
    }
    const bool both_fresh = m->side[MIG_SRC].fresh && m->side[MIG_DST].fresh;
    const bool in_time = !mig_is_past(m, m->phase_ns, LOOK_MS);
    if (in_time && !both_fresh && !is_destination_there(m) &&
        m->side[MIG_DST].link == MIG_LINK_UP) {
        ask_destination(m, todo);
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
 * waits, and in `postcopy-device` its migration waits for the destination's word as long; yank, out of
 * band, makes it fail and take its guest back (lab, finding 2 and 3; tests/facts). */
static void break_loose(struct mig *m, struct mig_todo *todo)
{
    const uint64_t stuck_ms = STUCK_MS + 2 * m->downtime_limit_ms;
    struct owner_view v;
    mig_view(m, &v);
    if (m->self_start && !(v.may & MAY_YANK)) {
        if (mig_is_past(m, m->phase_ns, stuck_ms))
            mig_hold(
                m,
                "the switchover does not get on, and the destination starts the guest by "
                "itself: the source may not be told to take it back before it is known "
                "that the destination does not run; look at both");
        return;
    }
    if (!mig_is_past(m, m->phase_ns, stuck_ms))
        return;
    const bool may_yank = !m->yank_sent && (v.may & MAY_YANK);
    if (!may_yank && mig_is_past(m, m->phase_ns, stuck_ms + STUCK_MS)) {
        mig_fail(m, OUTCOME_FAILED, QF_E_TIMEOUT, "the switchover got stuck");
        m->stuck = true;
        mig_go(m, MIG_RECONCILE);
        return;
    }
    if (!may_yank)
        return;
    mig_warn(
        todo,
        "the switchover does not get on for %u s: breaking the connection, so that the "
        "source takes its guest back",
        (unsigned)(STUCK_MS / 1000));
    mig_fail(m, OUTCOME_FAILED, QF_E_TIMEOUT, "the switchover got stuck");
    m->yank_sent = mig_act(m, todo, MIG_SRC, QAPI_YANK);
}

/* Cancelled after migrate-continue: in precopy QEMU still takes it, and whatever it then decides
 * is the outcome; towards post-copy never (rule 5). */
static void cancel_late(struct mig *m, struct mig_todo *todo)
{
    if (m->postcopy_asked || m->self_start) {
        mig_warn(todo,
                 "not cancelled: the guest is being handed over to the destination (%s); "
                 "this cannot be taken back",
                 m->self_start ? "which starts it by itself" : "post-copy");
        m->cancel_wanted = false;
        return;
    }
    mig_fail(m, OUTCOME_CANCELLED, QF_E_CANCELLED, "cancelled by the user");
    mig_go(m, MIG_ROLLBACK);
}

/* It waits still: what was sent got lost with a monitor. Towards a destination that starts by itself
 * the only way is forward; said twice it does no harm, since the command names the state. */
static void go_on_again(struct mig *m, struct mig_todo *todo)
{
    struct owner_view v;
    mig_view(m, &v);
    if (m->self_start && m->side[MIG_SRC].fresh && !m->continue_heard &&
        (v.may & MAY_CONTINUE) && !mig_is_asked(m, MIG_SRC, QAPI_MIGRATE_CONTINUE))
        m->continue_again = mig_act(m, todo, MIG_SRC, QAPI_MIGRATE_CONTINUE);
}

static void follow(struct mig *m, struct mig_todo *todo)
{
    switch (m->side[MIG_SRC].migrate.status) {
    case QAPI_MIG_PRE_SWITCHOVER:
        if (!m->continued)
            go_on(m, todo);
        else if (m->cancel_wanted)
            cancel_late(m, todo);
        else
            go_on_again(m, todo);
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
        mig_fail_cancelled(m);
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
        mig_hold(
            m,
            "the source died in the switchover, and the destination neither completes nor "
            "fails");
    }
}

void phase_switchover(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    if (ev->kind == MIG_EV_DOWN) {
        mig_go(m, MIG_RECONCILE);
        return;
    }
    mig_stall_watch(m, ev, todo);
    if (ev->kind == MIG_EV_ENTER) {
        if (m->src_stop_ns == 0)
            m->src_stop_ns = m->side[MIG_SRC].stop_t_ns;
        m->dst_alive = false;
        m->side[MIG_DST].fresh = false; /* however lately it was looked at, before now */
        ask_destination(m, todo);
        mig_sync(m, todo);
    }
    if (mig_heard(ev, MIG_DST, QAPI_QUERY_YANK)) {
        if (!ev->u.reply.refused && ev->u.reply.u.yank_migration)
            m->dst_alive = true;
        else
            mig_look_stale(m, todo);
    }
    if (mig_heard(ev, MIG_SRC, QAPI_MIGRATE_CONTINUE) && !ev->u.reply.refused)
        m->continue_heard = true;
    if (mig_heard(ev, MIG_SRC, QAPI_MIGRATE_CONTINUE) && ev->u.reply.refused) {
        /* It has moved on, or was cancelled, in the very moment: the status tells. */
        mig_note(todo, "source: migrate-continue: %s", ev->u.reply.error_desc);
        if (!m->continue_again) {
            mig_fail(m, OUTCOME_FAILED, QF_E_QMP, "source: migrate-continue: %s",
                     ev->u.reply.error_desc);
            m->continued = false;
        }
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
    if (ev->kind == MIG_EV_TIMER && m->continued && m->self_start)
        mig_look(m, todo, MIG_SRC);
    else if (ev->kind == MIG_EV_TIMER && m->continued &&
             m->side[MIG_SRC].link == MIG_LINK_UP &&
             !mig_is_asked(m, MIG_SRC, QAPI_QUERY_MIGRATE))
        (void)mig_ask0(m, todo, MIG_SRC, QAPI_QUERY_MIGRATE);
    else if (ev->kind == MIG_EV_TIMER && !m->continued)
        mig_look(m, todo, MIG_SRC);
    mig_wake_in(m, POLL_MS);
}

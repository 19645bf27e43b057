/* POSTCOPY: the memory is split between both sides; there is no way back.
 *
 *   source postcopy-active, destination loaded and stopped --cont--> runs --> both completed
 *
 * The destination is continued as soon as it has loaded the device state (it leaves inmigrate)
 * and the source says postcopy-active: until then, from QEMU 10.2 on, the source may still take
 * the guest back (fact sheet 3.4). Nothing is cancelled, quit or continued on the source here.
 * An interrupted post-copy is not yet recovered: it is HELD, both QEMUs are left as they are. */
#include "engine/mig_priv.h"

enum {
    LOADED_POLL_MS = 2, /* the guest is down until the destination is continued */
    SLOW_POLL_MS = 20,  /* ... and it takes long */
    POLL_MS = 500,
    STILL_MS = 30 * 1000,
    HANDOVER_MS = 120 * 1000
};

static void record_sample(struct mig *m, struct mig_todo *todo)
{
    const struct qapi_migrate *q = &m->side[MIG_SRC].migrate;
    struct policy_sample *s = &mig_record(todo, RECORD_SAMPLE)->u.sample;
    *s = (struct policy_sample){
        .t_ns = m->now_ns,
        .elapsed_ns = m->now_ns - m->migrate_ns,
        .started = true,
        .postcopy = true,
        .pass = q->dirty_sync_count,
        .total_bytes = q->total_bytes,
        .remaining_bytes = q->remaining_bytes,
        .transferred_bytes = q->transferred_bytes,
        .bandwidth_bytes_per_s = q->bandwidth_bytes_per_s,
        .expected_downtime_ms = POLICY_UNKNOWN,
        .downtime_limit_ms = m->downtime_limit_ms,
    };
}

static void hand_over(struct mig *m, struct mig_todo *todo)
{
    struct owner_view v;
    mig_view(m, &v);
    if (!m->side[MIG_DST].fresh || !(v.may & MAY_CONT_DST) || !mig_is_written(m))
        return;
    if (m->guest_ran) {
        m->handed_over = mig_act(m, todo, MIG_DST, QAPI_CONT);
    } else {
        mig_note(todo, "the guest was found stopped: it stays stopped on the destination");
        m->handed_over = true;
    }
}

/* The link broke at cont, and the destination is paused still: it has not got it. */
static void hand_over_again(struct mig *m, struct mig_todo *todo)
{
    const struct mig_side *dst = &m->side[MIG_DST];
    if (m->cont_again || !m->guest_ran || !dst->fresh || dst->run != QAPI_RUN_PAUSED)
        return;
    m->cont_again = mig_act(m, todo, MIG_DST, QAPI_CONT);
}

/* A black hole gives no error at all (lab, 4): say that nothing moves. Nothing can be given up. */
static void watch_progress(struct mig *m, struct mig_todo *todo)
{
    const uint64_t bytes = m->side[MIG_SRC].migrate.transferred_bytes;
    if (bytes != m->moved_bytes || m->moved_ns == 0) {
        m->moved_bytes = bytes;
        m->moved_ns = m->now_ns;
    } else if (mig_is_past(m, m->moved_ns, STILL_MS)) {
        m->moved_ns = m->now_ns;
        mig_warn(
            todo,
            "post-copy: not one byte moved for %d s: the guest hangs on every page that "
            "has not arrived; look at the network and at both QEMUs",
            STILL_MS / 1000);
    }
}

static bool follow(struct mig *m)
{
    switch (m->side[MIG_SRC].migrate.status) {
    case QAPI_MIG_COMPLETED:
        mig_go(m, MIG_FINISH);
        return true;
    case QAPI_MIG_POSTCOPY_PAUSED:
    case QAPI_MIG_POSTCOPY_RECOVER_SETUP:
    case QAPI_MIG_POSTCOPY_RECOVER:
    case QAPI_MIG_FAILING:
    case QAPI_MIG_FAILED:
    case QAPI_MIG_CANCELLING:
    case QAPI_MIG_CANCELLED:
        mig_go(m, MIG_RECONCILE);
        return true;
    case QAPI_MIG_UNKNOWN:
    case QAPI_MIG_NONE:
    case QAPI_MIG_SETUP:
    case QAPI_MIG_WAIT_UNPLUG:
    case QAPI_MIG_ACTIVE:
    case QAPI_MIG_PRE_SWITCHOVER:
    case QAPI_MIG_DEVICE:
    case QAPI_MIG_POSTCOPY_DEVICE:
    case QAPI_MIG_POSTCOPY_ACTIVE:
    case QAPI_MIG_COLO:
        break;
    }
    return false;
}

void phase_postcopy(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    struct mig_side *src = &m->side[MIG_SRC];
    struct mig_side *dst = &m->side[MIG_DST];
    m->was_postcopy = true;
    if (m->cancel_wanted) {
        mig_warn(todo, "not cancelled: the guest's memory is split between both sides "
                       "(post-copy); the only way is forward");
        m->cancel_wanted = false;
    }
    if (ev->kind == MIG_EV_DOWN) {
        mig_go(m, MIG_RECONCILE);
        return;
    }
    if (mig_heard(ev, MIG_DST, QAPI_CONT) && ev->u.reply.refused) {
        mig_warn(todo, "destination: cont: %s", ev->u.reply.error_desc);
        mig_hold(
            m,
            "the destination refuses to run the guest (%s); its memory is split between "
            "both sides: leave both running, mend the cause, and send cont to the "
            "destination",
            ev->u.reply.error_desc);
        return;
    }
    if (ev->kind == MIG_EV_QMP && ev->side == MIG_DST &&
        ev->u.qmp.kind == QAPI_EVENT_RESUME && m->dst_resume_ns == 0)
        m->dst_resume_ns = m->now_ns;
    if (follow(m))
        return;
    if (!m->handed_over)
        hand_over(m, todo);
    else if (ev->kind == MIG_EV_ENTER)
        hand_over_again(m, todo);
    if (mig_heard(ev, MIG_SRC, QAPI_QUERY_MIGRATE) && m->handed_over &&
        src->migrate.has_ram)
        record_sample(m, todo);
    if (!m->handed_over) {
        if (ev->kind == MIG_EV_ENTER || ev->kind == MIG_EV_TIMER || ev->kind == MIG_EV_QMP)
            mig_look(m, todo, MIG_DST);
        if (ev->kind == MIG_EV_ENTER)
            mig_look(m, todo, MIG_SRC);
        mig_wake_in(m, mig_is_past(m, m->phase_ns, 500) ? SLOW_POLL_MS : LOADED_POLL_MS);
        if (mig_is_past(m, m->phase_ns, HANDOVER_MS)) {
            mig_hold(
                m,
                "the destination does not finish loading the device state (%s, its migration "
                "%s): once it is paused, send cont to it",
                qapi_run_name(dst->run), qapi_mig_name(dst->migrate.status));
        }
        return;
    }
    if (ev->kind == MIG_EV_TIMER && !mig_is_asked(m, MIG_SRC, QAPI_QUERY_MIGRATE))
        (void)mig_ask0(m, todo, MIG_SRC, QAPI_QUERY_MIGRATE);
    watch_progress(m, todo);
    mig_wake_in(m, POLL_MS);
}

/* POSTCOPY: the memory is split between both sides; there is no way back.
 *
 *   source postcopy-active, destination loaded and stopped --cont--> runs --> both completed
 *
 * The destination is continued as soon as it has loaded the device state (it leaves inmigrate)
 * and the source says postcopy-active: until then, from QEMU 10.2 on, the source may still take
 * the guest back (fact sheet 3.4). Nothing is cancelled, quit or continued on the source here.
 *
 * What ends it otherwise, and how that is noticed:
 *   the kernel tells a QEMU           its postcopy-paused, at once                    RECOVER
 *   the network is dead, another one  it is probed every 300 ms: dead twice in a row  RECOVER
 *   is not
 *   packets are swallowed             not one byte moves (no QEMU ever tells, 3.5):
 *                                     then both are asked out of band and the network is probed.
 *                                     Both live and the network is dead               RECOVER
 *                                     ... it answers: a connection alone may be dead,
 *                                     or a machine be slow: some more patience        RECOVER
 *                                     a side is silent: it is stopped, or its host
 *                                     is; a pause would not reach it                  wait
 *   ... but the destination has not got the device state yet                          wait
 *   a monitor is lost                                                                 RECONCILE
 *   the source never hears that the destination has everything: after a while the
 *                                     destination's word is enough                    FINISH
 *   ... and its connection breaks     it fails (from 8.0 on). Its guest was stopped before the
 *                                     switch, so it stays down, and the destination's word
 *                                     counts: everything has arrived                  RECONCILE > FINISH
 *                                     ... or not: nobody can send it again            RECONCILE > lost
 *
 * A pause that was not needed costs the guest some hundred milliseconds of waiting for pages, and
 * nothing else. Not so once the source has sent everything: 7.2 cannot be paused then any more, and
 * waits for the destination's last word for ever if that is lost; hence the patience there. */
#include <stdio.h>
#include <string.h>

#include "engine/mig_priv.h"

enum {
    LOADED_POLL_MS = 2, /* the guest is down until the destination is continued */
    SLOW_POLL_MS = 20,  /* ... and it takes long */
    POLL_MS = 200,
    PROBE_MS = 300,
    STILL_MS = 600,    /* nothing moves: ask why. QEMU sends a page each 100 ms whatever its
                             limit is (BUFFER_DELAY in migration.c) */
    ALIVE_MS = 500,    /* an answer out of band takes no longer, unless QEMU stands still */
    STUCK_MS = 2000,   /* nothing moves, and nothing explains it */
    ANSWERS_MS = 3000, /* ... although the network answers */
    LAST_MS = 10 * 1000, /* ... once everything was sent */
    HANDOVER_MS = 120 * 1000,
    REST_MS = 200 * 1000 /* TCP has given up by then (RECOVER_SYN_MS) */
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

void mig_hand_over(struct mig *m, struct mig_todo *todo)
{
    struct owner_view v;
    mig_view(m, &v);
    if (!m->side[MIG_DST].fresh || !(v.may & MAY_CONT_DST) || !mig_is_written(m) ||
        mig_is_asked(m, MIG_DST, QAPI_CONT))
        return;
    if (m->self_start &&
        (m->side[MIG_DST].run == QAPI_RUN_RUNNING || m->side[MIG_DST].resume_t_ns != 0)) {
        m->handed_over = true;
    } else if (m->guest_ran) {
        m->handed_over = mig_act(m, todo, MIG_DST, QAPI_CONT);
    } else {
        mig_note(todo, "the guest was found stopped: it stays stopped on the destination");
        m->handed_over = true;
    }
}

bool mig_refuse_cancel(struct mig *m, struct mig_todo *todo)
{
    if (!m->cancel_wanted)
        return false;
    m->cancel_wanted = false;
    if (m->recover.cancels++ == 0 ||
        (m->phase == MIG_POSTCOPY && !m->handed_over && !m->recover.waits)) {
        mig_warn(todo,
                 "not cancelled: the guest's memory is split between both sides "
                 "(post-copy); the only way is forward. A second signal ends qferry and "
                 "leaves both QEMUs as they are");
        return false;
    }
    mig_hold(m,
             "told to end in %s post-copy: both QEMUs are left as they are and both are "
             "needed still: qferry attach, or the same command again, takes it up",
             m->phase == MIG_RECOVER ? "an interrupted" : "the middle of");
    return true;
}

/* The link broke at cont, and the destination is paused still: it has not got it. */
static void hand_over_again(struct mig *m, struct mig_todo *todo)
{
    const struct mig_side *dst = &m->side[MIG_DST];
    if (m->cont_again || !m->guest_ran || !dst->fresh || dst->run != QAPI_RUN_PAUSED)
        return;
    m->cont_again = mig_act(m, todo, MIG_DST, QAPI_CONT);
}

/* ---- does it move? ---- */

/* From now on it may stand still. */
static void begin_anew(struct mig *m)
{
    m->recover.dead = 0;
    mig_stall_restart(m);
}

/* So long nothing may move before the connection counts as dead. */
static uint64_t patience_ms(const struct mig *m)
{
    const struct netsel_choice *was = &m->network;
    const struct netsel_choice *is = &m->recover.network;
    if (m->side[MIG_SRC].migrate.remaining_bytes == 0)
        return LAST_MS;
    if (m->spec.networks.n == 0 || !m->network_known || was->chosen < 0)
        return STUCK_MS;
    if (m->recover.network_ns < m->stall.round_ns) /* its answer is to come */
        return ANSWERS_MS;
    for (unsigned i = 0; i < is->n; i++)
        if (strcmp(is->candidate[i].name, was->candidate[was->chosen].name) == 0)
            return is->candidate[i].usable ? ANSWERS_MS : STILL_MS;
    return ANSWERS_MS;
}

static bool is_stuck(const struct mig *m)
{
    return m->side[MIG_DST].migrate.status != QAPI_MIG_COMPLETED &&
           m->stall.round_ns != 0 && m->stall.oob[MIG_SRC] && m->stall.oob[MIG_DST] &&
           mig_is_past(m, m->stall.since_ns, patience_ms(m));
}

/* Another answer of the source's. */
static void watch_progress(struct mig *m, struct mig_todo *todo)
{
    if (m->stall.round_ns == 0 && mig_is_past(m, m->stall.since_ns, STILL_MS))
        mig_stall_ask(m, todo);
}

/* What is sent may go into the socket's buffer for seconds although nothing arrives: where there
 * is another network to go to, the one in use is probed all the time. Twice in a row, since a probe
 * may get lost, too. */
static bool is_network_dead(struct mig *m,
                            const struct mig_event *ev,
                            struct mig_todo *todo)
{
    struct mig_recover *r = &m->recover;
    if (m->spec.networks.n < 2 || !m->network_known || m->network.chosen < 0)
        return false;
    if (r->dead >= 2 && m->side[MIG_SRC].migrate.remaining_bytes > 0 &&
        m->side[MIG_DST].migrate.status != QAPI_MIG_COMPLETED)
        return true;
    if ((ev->kind == MIG_EV_NETWORK && r->dead == 1) ||
        (ev->kind != MIG_EV_NETWORK &&
         (r->network_ns == 0 || mig_is_past(m, r->network_ns, PROBE_MS))))
        mig_probe(m, todo, false);
    return false;
}

static void hear_alive(struct mig *m, const struct mig_event *ev)
{
    if (ev->kind != MIG_EV_REPLY || ev->u.reply.command != QAPI_QUERY_YANK ||
        m->stall.round_ns == 0 || !mig_is_past(m, m->stall.round_ns, ALIVE_MS))
        return;
    begin_anew(m); /* it stood still itself: from now on it may move */
}

/* The destination has everything, and the source was not told: it never will be. */
static void watch_source(struct mig *m)
{
    if (m->side[MIG_DST].migrate.status != QAPI_MIG_COMPLETED) {
        m->recover.complete_ns = 0;
    } else if (m->recover.complete_ns == 0) {
        m->recover.complete_ns = m->now_ns;
    } else if (m->handed_over && mig_is_past(m, m->recover.complete_ns, LAST_MS)) {
        m->src_left = true;
        mig_go(m, MIG_FINISH);
    }
}

/* Has the destination got what post-copy begins with, the device state in one piece? Until it has,
 * that is in the connection and nowhere else: who breaks the connection then loses the guest, since
 * no source before 10.2 can take it back (rule 11), and there is nothing at the destination that
 * could be recovered. TCP still delivers it when the network comes back. */
static bool is_dst_in(const struct mig *m)
{
    const enum qapi_mig_status s = m->side[MIG_DST].migrate.status;
    return m->handed_over || mig_is_split(s) || s == QAPI_MIG_COMPLETED;
}

static void wait_for_dst(struct mig *m, struct mig_todo *todo)
{
    if (!m->recover.waits)
        mig_warn(
            todo,
            "nothing moves, and the destination has not got the device state yet: it is on "
            "its way in this connection only, so nothing is broken or begun anew; the guest "
            "stands still until the network is back");
    m->recover.waits = true;
}

/* The source has sent everything, failed at the last word, and stands still. What it has sent may be in the
 * network still; nobody could send it again. */
static void wait_for_rest(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    if (mig_is_past(m, m->phase_ns, REST_MS)) {
        mig_hold(
            m,
            "the source has sent all memory, and failed at the last word; the destination "
            "does not say that it has got everything (%s, its migration %s): while it runs, "
            "leave it; what the source holds is old",
            qapi_run_name(m->side[MIG_DST].run),
            qapi_mig_name(m->side[MIG_DST].migrate.status));
        return;
    }
    if (ev->kind == MIG_EV_ENTER || ev->kind == MIG_EV_TIMER)
        mig_look(m, todo, MIG_DST);
    mig_wake_in(m, POLL_MS);
}

/* Said just now, and by itself: nobody asks a source that has failed. */
static bool is_source_news(const struct mig_event *ev)
{
    return mig_heard(ev, MIG_SRC, QAPI_QUERY_MIGRATE) ||
           (ev->kind == MIG_EV_QMP && ev->side == MIG_SRC &&
            ev->u.qmp.kind == QAPI_EVENT_MIGRATION);
}

/* True: something else is done than to watch. */
static bool follow(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    struct owner_view v;
    switch (m->side[MIG_SRC].migrate.status) {
    case QAPI_MIG_COMPLETED:
        mig_go(m, MIG_FINISH);
        return true;
    case QAPI_MIG_POSTCOPY_PAUSED:
    case QAPI_MIG_POSTCOPY_RECOVER_SETUP:
    case QAPI_MIG_POSTCOPY_RECOVER:
        mig_go(m, MIG_RECOVER);
        return true;
    case QAPI_MIG_FAILING:
    case QAPI_MIG_FAILED:
    case QAPI_MIG_CANCELLING:
    case QAPI_MIG_CANCELLED:
        mig_view(m, &v);
        /* RECONCILE asks the source, and comes back if nothing else is to be done: the wait begins then. */
        if (v.stage != STAGE_POSTCOPY || is_source_news(ev))
            mig_go(m, MIG_RECONCILE);
        else
            wait_for_rest(m, ev, todo);
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
    /* Only the destination was told. What it says of its recovery may come behind the source's. */
    if (m->side[MIG_DST].migrate.status == QAPI_MIG_POSTCOPY_PAUSED) {
        mig_go(m, MIG_RECOVER);
        return true;
    }
    return false;
}

void phase_postcopy(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    struct mig_side *src = &m->side[MIG_SRC];
    struct mig_side *dst = &m->side[MIG_DST];
    m->was_postcopy = true;
    if (mig_refuse_cancel(m, todo))
        return;
    if (ev->kind == MIG_EV_DOWN) {
        mig_go(m, MIG_RECONCILE);
        return;
    }
    if (mig_heard(ev, MIG_DST, QAPI_CONT) && ev->u.reply.refused) {
        mig_warn(todo, "destination: cont: %s", ev->u.reply.error_desc);
        /* It never ran there, and the source holds the whole of it. */
        if (mig_is_undone(src->migrate.status) && dst->resume_t_ns == 0 &&
            mig_refusal_is_proof(m)) {
            (void)mig_take_refused_cont(m, ev);
            mig_go(m, MIG_RECONCILE);
            return;
        }
        mig_hold(
            m,
            "the destination refuses to run the guest (%s); its memory is split between "
            "both sides: leave both running, mend the cause, and send cont to the "
            "destination",
            ev->u.reply.error_desc);
        return;
    }
    if (ev->kind == MIG_EV_ENTER) {
        m->sample_ns = m->now_ns;
        m->recover.dead = 0;
    }
    mig_stall_watch(m, ev, todo);
    if (follow(m, ev, todo))
        return;
    hear_alive(m, ev);
    if (mig_heard(ev, MIG_SRC, QAPI_QUERY_MIGRATE) && src->migrate.has_ram) {
        watch_progress(m, todo);
        if (m->handed_over)
            record_sample(m, todo);
    }
    if (m->recover.waits && is_dst_in(m)) { /* it has arrived: that is progress */
        m->recover.waits = false;
        begin_anew(m);
    }
    if (is_network_dead(m, ev, todo) || is_stuck(m)) {
        if (is_dst_in(m)) {
            m->recover.stalled = true;
            mig_go(m, MIG_RECOVER);
            return;
        }
        wait_for_dst(m, todo);
    }
    if (!m->handed_over)
        mig_hand_over(m, todo);
    else if (ev->kind == MIG_EV_ENTER)
        hand_over_again(m, todo);
    if (ev->kind == MIG_EV_TIMER && mig_is_past(m, m->sample_ns, POLL_MS) &&
        !mig_is_asked(m, MIG_SRC, QAPI_QUERY_MIGRATE)) {
        m->sample_ns = m->now_ns;
        (void)mig_ask0(m, todo, MIG_SRC, QAPI_QUERY_MIGRATE);
    }
    mig_wake_in(m, POLL_MS);
    if (m->handed_over) {
        watch_source(m);
        return;
    }
    if (ev->kind == MIG_EV_ENTER || ev->kind == MIG_EV_TIMER || ev->kind == MIG_EV_QMP)
        mig_look(m, todo, MIG_DST);
    if (ev->kind == MIG_EV_ENTER)
        mig_look(m, todo, MIG_SRC);
    if (!m->recover.waits)
        mig_wake_in(m, mig_is_past(m, m->phase_ns, 500) ? SLOW_POLL_MS : LOADED_POLL_MS);
    if (mig_is_past(m, m->phase_ns, HANDOVER_MS) && !m->recover.waits) {
        mig_hold(
            m,
            "the destination does not finish loading the device state (%s, its migration "
            "%s): once it is paused, send cont to it",
            qapi_run_name(dst->run), qapi_mig_name(dst->migrate.status));
    }
}

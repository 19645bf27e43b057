/* RECONCILE: in doubt (a monitor was lost, an answer did not come, a move was found under way):
 * look at both sides again, then go where the facts say.
 *
 * A monitor that was lost is opened again. Refused by the kernel (nobody listens on that socket)
 * means that the process is dead; anything else that lasts means silent, which is not dead: then
 * nothing is done that could be wrong, and the outcome is HELD. */
#include <stdio.h>
#include <string.h>

#include "engine/base/units.h"
#include "engine/mig_priv.h"

enum {
    REOPEN_MS = 50,
    OPENING_MS = 5000,     /* no greeting by then: a network that swallows everything */
    SETTLE_MS = 30 * 1000, /* a side that has not answered by then is silent */
    SOON_MS = 2000,
    DEAF_MS =
        500, /* of a destination that may wait for a page, in an interrupted post-copy */
    RISE_MS = 10 * 1000, /* a source that has failed takes its disks back before it runs */
    RISE_POLL_MS = 5,
    POLL_MS = 50
};

void mig_reopen(struct mig *m, struct mig_todo *todo, enum mig_side_id side)
{
    struct mig_side *s = &m->side[side];
    const uint64_t every_ms =
        m->phase == MIG_RECOVER && mig_is_past(m, m->phase_ns, 2000) ? 1000 : REOPEN_MS;
    if (s->gone || s->link == MIG_LINK_UP)
        return;
    if (s->link == MIG_LINK_OPENING) { /* RECONCILE has an end of its own */
        if (m->phase == MIG_RECOVER && mig_is_past(m, m->reopen_ns[side], OPENING_MS)) {
            s->link = MIG_LINK_DOWN;
            (void)mig_todo_add(todo, MIG_DO_CLOSE, side);
        }
        return;
    }
    if (m->now_ns >= m->reopen_ns[side]) {
        m->reopen_ns[side] = m->now_ns + qf_ms_to_ns(every_ms);
        s->link = MIG_LINK_OPENING;
        (void)mig_todo_add(todo, MIG_DO_OPEN, side);
    }
}

/* The source is, or at a word has, the guest back: what became of the destination need not be
 * known for that, and must not keep it waiting (a TCP monitor never tells a death). */
static bool is_source_enough(const struct mig *m)
{
    const struct mig_side *src = &m->side[MIG_SRC];
    if (!src->fresh || (m->self_start && m->continued))
        return false; /* or the destination may have it already */
    const enum qapi_mig_status status = src->migrate.status;
    return status == QAPI_MIG_PRE_SWITCHOVER ||
           (src->run == QAPI_RUN_RUNNING &&
            (status == QAPI_MIG_CANCELLED || status == QAPI_MIG_FAILED));
}

/* Known as well as it will be? */
static bool is_settled(const struct mig *m, enum mig_side_id side)
{
    const struct mig_side *s = &m->side[side];
    const struct mig_side *src = &m->side[MIG_SRC];
    const bool split = src->fresh && mig_is_split(src->migrate.status);
    uint64_t ms = SETTLE_MS;
    if (side == MIG_DST && split && s->link == MIG_LINK_UP)
        ms = DEAF_MS;
    else if (side == MIG_DST && (split || is_source_enough(m)))
        ms = SOON_MS;
    return s->gone || s->fresh || mig_is_past(m, m->phase_ns, ms);
}

static void lost(struct mig *m, const char *what)
{
    const struct mig_side *src = &m->side[MIG_SRC];
    if (src->shutdown_by_guest) {
        m->has_reason = false;
        mig_fail(
            m, OUTCOME_ABORTED, QF_E_HELD,
            "the guest powered itself off (%s) while it was being moved: it runs nowhere, as "
            "it wished",
            src->shutdown_reason);
        mig_go(m, MIG_HELD);
        return;
    }
    mig_hold(m, "%s%s%s%s", what,
             src->shutdown_seen ? " (the source's QEMU was shut down: " : "",
             src->shutdown_seen ? src->shutdown_reason : "", src->shutdown_seen ? ")" : "");
}

static const char *reach(const struct mig_side *s)
{
    return s->gone                  ? " (gone)"
           : s->link != MIG_LINK_UP ? " (unreachable)"
           : s->silent              ? " (does not answer)"
                                    : "";
}

static void held(struct mig *m, const struct owner_view *v)
{
    const struct mig_side *src = &m->side[MIG_SRC];
    const struct mig_side *dst = &m->side[MIG_DST];
    if (m->src_stopped_again)
        mig_hold(
            m,
            "the source ran again although the guest had been handed over (its "
            "migration failed at the last word), and was told to stop: source %s/%s%s, "
            "destination %s/%s%s; do not continue the source, it is old; a person must "
            "look at what both have written",
            qapi_run_name(src->run), qapi_mig_name(src->migrate.status), reach(src),
            qapi_run_name(dst->run), qapi_mig_name(dst->migrate.status), reach(dst));
    else
        mig_hold(
            m,
            "%s: source %s/%s%s, destination %s/%s%s; nothing was touched, a person must look",
            v->why, qapi_run_name(src->run), qapi_mig_name(src->migrate.status), reach(src),
            qapi_run_name(dst->run), qapi_mig_name(dst->migrate.status), reach(dst));
}

/* Why the move does not go on, unless a reason was given already. */
static void blame(struct mig *m)
{
    const struct mig_side *dst = &m->side[MIG_DST];
    const enum qapi_mig_status status = m->side[MIG_SRC].migrate.status;
    /* QEMU breaks the connection before it tells of a cancel: the destination's end is the effect,
     * and may be heard of first (migrate_fd_cancel, 7.2). */
    if (m->started && m->cancel_ns == 0 &&
        (status == QAPI_MIG_CANCELLING || status == QAPI_MIG_CANCELLED))
        mig_fail_cancelled(m);
    else if (dst->shutdown_seen)
        mig_fail(m, OUTCOME_FAILED, QF_E_LOST, "the destination's QEMU was shut down (%s)",
                 dst->shutdown_reason);
    else if (dst->link != MIG_LINK_UP)
        mig_fail(m, OUTCOME_FAILED, QF_E_LOST, "the destination's QEMU is %s: %s",
                 dst->gone ? "gone" : "not to be reached", dst->down_text);
    else
        mig_fail_desc(m, "the source's QEMU reports a failed migration");
}

/* A move under way before we have sent `migrate`: somebody else's, between the questions. */
static bool is_anothers(const struct mig *m, enum owner_stage stage)
{
    return !m->started &&
           (stage == STAGE_COPYING || stage == STAGE_AT_SWITCH ||
            stage == STAGE_SWITCHING || stage == STAGE_LOADED || stage == STAGE_MOVED ||
            stage == STAGE_POSTCOPY || stage == STAGE_BROKEN);
}

/* What cannot be once the guest was handed over: the facts conflict. */
static bool is_before_handover(enum owner_stage stage)
{
    return stage == STAGE_IDLE || stage == STAGE_COPYING || stage == STAGE_AT_SWITCH ||
           stage == STAGE_SWITCHING || stage == STAGE_UNWINDING || stage == STAGE_STOPPED;
}

static void go_where_facts_say(struct mig *m, struct mig_todo *todo)
{
    struct owner_view v;
    mig_view(m, &v);
    if (is_anothers(m, v.stage) || (m->handed_over && is_before_handover(v.stage)) ||
        (m->handed_over && m->src_stopped_again)) {
        held(m, &v);
        return;
    }
    const bool dst_lost = m->side[MIG_DST].link != MIG_LINK_UP;
    switch (v.stage) {
    case STAGE_COPYING:
        if (dst_lost || m->has_reason) {
            blame(m);
            mig_go(m, MIG_ROLLBACK);
        } else {
            mig_go(m, MIG_PRECOPY);
        }
        return;
    case STAGE_AT_SWITCH:
        /* It waits still, so what was sent was lost; but not if it was accepted: QEMU may say
         * pre-switchover for a moment after that. */
        m->continued = m->continue_heard;
        if (dst_lost || m->has_reason) {
            blame(m);
            mig_go(m, MIG_ROLLBACK);
        } else {
            mig_go(m, MIG_SWITCHOVER);
        }
        return;
    case STAGE_SWITCHING:
        if (m->stuck) {
            held(m, &v);
        } else if ((v.may & MAY_CANCEL) &&
                   m->side[MIG_SRC].migrate.status == QAPI_MIG_PRE_SWITCHOVER) {
            blame(m); /* a source that still waits, and nobody to go to */
            mig_go(m, MIG_ROLLBACK);
        } else {
            mig_go(m, MIG_SWITCHOVER);
        }
        return;
    case STAGE_LOADED:
    case STAGE_MOVED:
        mig_go(m, MIG_FINISH);
        return;
    case STAGE_POSTCOPY:
        /* Without a destination's monitor it can neither be followed nor mended. */
        mig_go(m, dst_lost || m->side[MIG_DST].silent ? MIG_RECOVER : MIG_POSTCOPY);
        return;
    case STAGE_UNWINDING:
    case STAGE_IDLE:
    case STAGE_STOPPED:
        blame(m);
        mig_go(m, MIG_ROLLBACK);
        return;
    case STAGE_LOST:
        lost(m, v.why);
        return;
    case STAGE_CONFLICT:
        /* A source that hangs in a write: out of band it can still be freed. Then look again. */
        if ((v.may & MAY_YANK) && !m->yank_sent && !(m->postcopy_asked && m->continued) &&
            mig_act(m, todo, MIG_SRC, QAPI_YANK)) {
            m->yank_sent = true;
            m->phase_ns = m->now_ns;
            mig_wake_in(m, POLL_MS);
            return;
        }
        held(m, &v);
        return;
    case STAGE_BROKEN:
        mig_go(m, MIG_RECOVER);
        return;
    }
}

/* The answer to a cont that was under way when the source's migration failed. */
static void hear_cont(struct mig *m, const struct mig_event *ev)
{
    if (mig_heard(ev, MIG_DST, QAPI_CONT) && ev->u.reply.refused &&
        mig_refusal_is_proof(m) && m->side[MIG_DST].resume_t_ns == 0 &&
        mig_is_undone(m->side[MIG_SRC].migrate.status))
        (void)mig_take_refused_cont(m, ev);
}

/* Beside a destination that was told to run the guest no source runs: whatever that destination says, and as
 * soon as it does run. False: there is nothing to stop, or not any more. */
static bool stop_risen_source(struct mig *m, struct mig_todo *todo)
{
    struct mig_side *src = &m->side[MIG_SRC];
    struct owner_view v;
    if (!src->fresh || m->src_stopped_again || !mig_has_source_risen(m))
        return false;
    mig_view(m, &v);
    if (v.may & MAY_STOP_SRC) {
        m->src_stopped_again = true;
        (void)mig_ask0(m, todo, MIG_SRC, QAPI_STOP);
        m->phase_ns = m->now_ns;
    } else if (mig_is_past(m, m->phase_ns, RISE_MS)) {
        return false;
    }
    src->fresh = false; /* what is known is from before */
    mig_wake_in(m, RISE_POLL_MS);
    return true;
}

void phase_reconcile(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    if (ev->kind == MIG_EV_ENTER) {
        memset(m->reopen_ns, 0, sizeof(m->reopen_ns));
        m->side[MIG_SRC].fresh = false;
        m->side[MIG_DST].fresh = false;
    }
    for (unsigned i = 0; i < MIG_SIDES; i++)
        mig_reopen(m, todo, (enum mig_side_id)i);
    hear_cont(m, ev);
    mig_look_stale(m, todo);
    if (stop_risen_source(m, todo))
        return;
    if (!is_settled(m, MIG_SRC) || !is_settled(m, MIG_DST)) {
        mig_wake_in(m, POLL_MS);
        return;
    }
    for (unsigned i = 0; i < MIG_SIDES; i++) {
        if (!m->side[i].gone && !m->side[i].fresh)
            m->side[i].silent = true; /* what is known of it is from before the doubt */
        if (m->side[i].link != MIG_LINK_OPENING)
            continue;
        m->side[i].link = MIG_LINK_DOWN; /* no news of it is wanted any more */
        (void)mig_todo_add(todo, MIG_DO_CLOSE, (enum mig_side_id)i);
    }
    go_where_facts_say(m, todo);
}

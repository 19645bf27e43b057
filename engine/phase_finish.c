/* FINISH: the source says completed. Make sure that both sides mean it, continue the guest on the
 * destination, tidy up.
 *
 *   VERIFY  both sides by query: source completed and stopped for good, destination completed and
 *           stopped; the journal is on the disk
 *   CONT    `cont` to the destination: the line of no return
 *   GATE    a source that failed at the last word of a post-copy cleans up (mig_gate.c)
 *   TIDY    settings put back on both sides
 *   LOOK    the destination once more: what is reported is what it says of itself
 *   QUIT    the source told to quit, if so wished; or if it has not heard the end of a post-copy: when its
 *           connection ends, it would run again (10.0 on, tests/facts)
 *
 * A destination whose `cont` is refused while it never ran is no destination: ROLLBACK, the
 * source holds the whole guest still. */
#include <stdio.h>

#include "engine/mig_priv.h"

enum { VERIFY, CONT, GATE, TIDY, LOOK, QUIT_SOURCE };

enum {
    POLL_MS = 5,
    SLOW_POLL_MS = 50,
    VERIFY_MS = 120 * 1000,
    LOOK_MS = 5000,
    QUIT_MS = 10 * 1000
};

static void tidy(struct mig *m)
{
    mig_to_stage(m, GATE);
}

/* Nothing is set on a source that has failed before the gate behind it is open. */
static void do_gate(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    const struct mig_side *src = &m->side[MIG_SRC];
    const bool failed = mig_is_undone(src->migrate.status) && src->link == MIG_LINK_UP;
    if (failed && mig_gate_stays_shut(m, m->stage_ns)) {
        mig_warn(todo, "the source's QEMU does not clean up after the migration: what was "
                       "changed there stays");
        mig_to_stage(m, LOOK);
        return;
    }
    if (failed && !mig_gate_opens(ev)) {
        mig_gate_ask(m, ev, todo);
        return;
    }
    if (failed)
        mig_warn(todo,
                 "the source failed at the last word of the move, when everything had "
                 "arrived: its guest is old, and stopped; do not continue it");
    mig_to_stage(m, TIDY);
    configure_unwind(m);
}

static void held_paused(struct mig *m)
{
    mig_hold(
        m, "the destination has the whole guest, but is paused although it was continued: "
           "send cont to it");
}

/* The link broke at cont, and the destination is paused still: it has not got it. Said twice it
 * does no harm, the source is done for good. */
static bool cont_got_lost(struct mig *m, struct mig_todo *todo)
{
    const bool ran_by_itself = m->self_start && m->side[MIG_DST].resume_t_ns != 0;
    if (!m->guest_ran || ran_by_itself || m->side[MIG_DST].run != QAPI_RUN_PAUSED)
        return false;
    if (m->cont_again || !mig_act(m, todo, MIG_DST, QAPI_CONT)) {
        held_paused(m);
        return true;
    }
    m->cont_again = true;
    mig_to_stage(m, CONT);
    return true;
}

/* A source that does not answer, and was last seen in post-copy: it never runs again, whatever it
 * would say (owner.c), and the destination's word is enough. */
static bool is_left_behind(const struct mig *m, enum mig_side_id side)
{
    const struct mig_side *s = &m->side[side];
    return side == MIG_SRC && (s->silent || s->link != MIG_LINK_UP) &&
           mig_is_split(s->migrate.status);
}

/* May the destination be continued, is it done already, or is it to be waited for? */
static void verify(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    struct owner_view v;
    if (ev->kind == MIG_EV_TIMER &&
        m->side[MIG_SRC].looking + m->side[MIG_DST].looking == 0) {
        m->side[MIG_SRC].fresh = false;
        m->side[MIG_DST].fresh = false;
    }
    mig_look_stale(m, todo);
    mig_wake_in(m, mig_is_past(m, m->stage_ns, 1000) ? SLOW_POLL_MS : POLL_MS);
    if (mig_is_past(m, m->stage_ns, VERIFY_MS)) {
        mig_hold(
            m,
            "the source is done, but the destination does not say that it has the whole guest "
            "(%s, its migration %s): once it is paused and completed, send cont to it",
            qapi_run_name(m->side[MIG_DST].run),
            qapi_mig_name(m->side[MIG_DST].migrate.status));
        return;
    }
    for (unsigned i = 0; i < MIG_SIDES; i++)
        if (!m->side[i].fresh && !m->side[i].gone &&
            !is_left_behind(m, (enum mig_side_id)i))
            return;
    mig_view(m, &v);
    switch (v.stage) {
    case STAGE_LOADED:
        /* QEMU carries over a state like io-error or guest-panicked: that is not ours to end. */
        if (!m->guest_ran || m->side[MIG_DST].run != QAPI_RUN_PAUSED) {
            mig_note(todo, "the guest stays as it is on the destination: %s",
                     qapi_run_name(m->side[MIG_DST].run));
            m->guest_ran = false;
            m->handed_over = true;
            tidy(m);
            return;
        }
        if (!mig_is_written(m))
            return;
        if (mig_act(m, todo, MIG_DST, QAPI_CONT)) {
            m->handed_over = true;
            mig_to_stage(m, CONT);
        }
        return;
    case STAGE_MOVED:
        m->handed_over = true;
        if (m->side[MIG_DST].run == QAPI_RUN_PAUSED && !mig_is_written(m))
            return;
        if (!cont_got_lost(m, todo))
            tidy(m);
        return;
    case STAGE_SWITCHING:
        return; /* the destination's own completed is a moment behind */
    case STAGE_POSTCOPY:
        /* Handed over already: its own completed is a moment behind. What stopped the guest there
         * since is not ours to end, and a second cont that is refused would prove nothing. */
        if (m->handed_over || !(v.may & MAY_CONT_DST))
            return;
        if (m->guest_ran && mig_act(m, todo, MIG_DST, QAPI_CONT))
            mig_to_stage(m, CONT);
        m->handed_over = true;
        return;
    case STAGE_IDLE:
    case STAGE_COPYING:
    case STAGE_AT_SWITCH:
    case STAGE_BROKEN:
    case STAGE_UNWINDING:
    case STAGE_STOPPED:
    case STAGE_LOST:
    case STAGE_CONFLICT:
        mig_go(m, MIG_RECONCILE);
        return;
    }
}

static void hear_cont(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    mig_wake_in(m, SLOW_POLL_MS);
    if (ev->kind == MIG_EV_TIMER && m->side[MIG_DST].run != QAPI_RUN_RUNNING)
        mig_look(m, todo, MIG_DST);
    if (mig_late(ev, MIG_DST, QAPI_CONT)) {
        mig_go(m, MIG_RECONCILE);
    } else if (mig_heard(ev, MIG_DST, QAPI_CONT)) {
        if (!ev->u.reply.refused) {
            m->side[MIG_DST].run = QAPI_RUN_RUNNING;
            if (m->dst_resume_ns == 0)
                m->dst_resume_ns = m->now_ns;
            tidy(m);
            return;
        }
        if (!mig_take_refused_cont(m, ev)) {
            held_paused(m);
            return;
        }
        mig_go(m, m->was_postcopy ? MIG_RECONCILE : MIG_ROLLBACK);
    }
}

static void finished(struct mig *m)
{
    const struct mig_side *dst = &m->side[MIG_DST];
    m->outcome = OUTCOME_COMPLETED;
    m->code = QF_E_OK;
    if (dst->run == QAPI_RUN_RUNNING)
        (void)snprintf(m->reason, sizeof(m->reason), "the guest runs on the destination");
    else if (!m->guest_ran)
        (void)snprintf(m->reason, sizeof(m->reason),
                       "the guest is on the destination, stopped as it was found (%s)",
                       qapi_run_name(dst->run));
    else
        (void)snprintf(m->reason, sizeof(m->reason), "the guest is on the destination (%s)",
                       qapi_run_name(dst->run));
    mig_go(m, MIG_DONE);
}

/* One that was never told that everything has arrived runs its old guest again when its connection breaks
 * (10.0 and 11.1; 7.2 waits for ever), and nobody would be there to stop it: it is not left so. */
static bool must_source_quit(const struct mig *m, struct mig_todo *todo)
{
    const struct mig_side *src = &m->side[MIG_SRC];
    if (m->spec.quit_source)
        return true;
    if (src->gone || src->migrate.status != QAPI_MIG_POSTCOPY_ACTIVE)
        return false;
    if (!mig_may_source_rise(m)) {
        if (src->link == MIG_LINK_UP)
            mig_warn(todo,
                     "the source was never told that its guest has arrived: it waits for "
                     "that, stopped, with what was set for the move; nobody needs it any "
                     "more");
        return false;
    }
    mig_warn(
        todo,
        src->link == MIG_LINK_UP
            ? "the source was never told that its guest has arrived, and would run it "
              "again beside the destination when its connection breaks: it is told to "
              "quit"
            : "the source cannot be reached, and may not know that its guest has arrived: "
              "it would run it again beside the destination when its connection breaks; "
              "make sure that its QEMU is gone");
    return true;
}

static void quit_source(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    if (m->side[MIG_SRC].link != MIG_LINK_UP || mig_is_past(m, m->stage_ns, QUIT_MS) ||
        (mig_heard(ev, MIG_SRC, QAPI_QUIT) && ev->u.reply.refused)) {
        if (m->side[MIG_SRC].link == MIG_LINK_UP)
            mig_warn(todo, "the source's QEMU was told to quit but has not gone");
        finished(m);
    }
}

void phase_finish(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    if (m->cancel_wanted) {
        mig_warn(todo, "not cancelled: the destination has the whole guest, it is being %s",
                 m->stage == VERIFY ? "continued there" : "tidied up after");
        m->cancel_wanted = false;
    }
    if (mig_has_source_risen(m) && !m->side[MIG_SRC].shutdown_seen) {
        mig_go(m, MIG_RECONCILE); /* that stops it */
        return;
    }
    if (ev->kind == MIG_EV_DOWN && (ev->side == MIG_DST || m->stage <= CONT)) {
        /* A stopped guest that was only left there has not run: the source still holds it. */
        const struct mig_side *dst = &m->side[MIG_DST];
        if (ev->side == MIG_DST && m->dst_conts == 0 && !m->taken_up && !m->dst_unwatched &&
            dst->resume_t_ns == 0 && dst->run != QAPI_RUN_RUNNING)
            m->handed_over = false;
        mig_go(m, MIG_RECONCILE);
        return;
    }
    if (ev->kind == MIG_EV_ENTER && m->side[MIG_DST].link != MIG_LINK_UP) {
        mig_go(m, MIG_RECONCILE); /* that opens it again */
        return;
    }
    if (ev->kind == MIG_EV_ENTER)
        mig_sync(m, todo);
    if (m->stage == VERIFY)
        verify(m, ev, todo);
    else if (m->stage == CONT)
        hear_cont(m, ev, todo);
    if (!m->going && m->stage == GATE)
        do_gate(m, ev, todo);
    if (m->going || m->stage < TIDY)
        return;
    mig_wake_in(m, SLOW_POLL_MS);
    if (m->stage == TIDY) {
        if (recipe_run(m, ev, todo) == RECIPE_RUNNING)
            return;
        mig_to_stage(m, LOOK);
        m->side[MIG_DST].fresh = false;
        /* 7.2 may not yet have the downtime right after the end (lab, 12): it is asked again */
        m->side[MIG_SRC].fresh = m->side[MIG_SRC].migrate.downtime_ms != QAPI_UNKNOWN_U64;
    }
    if (m->stage == LOOK) {
        const bool src_known =
            m->side[MIG_SRC].fresh || m->side[MIG_SRC].link != MIG_LINK_UP;
        if ((!m->side[MIG_DST].fresh || !src_known) &&
            !mig_is_past(m, m->stage_ns, LOOK_MS)) {
            mig_look_stale(m, todo);
            return;
        }
        mig_to_stage(m, QUIT_SOURCE);
        if (!must_source_quit(m, todo) || m->side[MIG_SRC].link != MIG_LINK_UP ||
            !mig_act(m, todo, MIG_SRC, QAPI_QUIT)) {
            finished(m);
            return;
        }
    }
    quit_source(m, ev, todo);
}

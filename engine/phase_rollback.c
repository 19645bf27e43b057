/* ROLLBACK: before the line of no return: the source gets its guest back, the destination can
 * never run it, and what was changed is put back.
 *
 *   END     make the source's migration end: migrate_cancel, and yank if that hangs
 *   GATE    wait until QEMU has cleaned up (mig_gate.c); a guest that stands still is not kept waiting
 *           for that (cont is neither a setting nor a migration): GUEST, and back
 *   GUEST   does the guest run as it ran? Otherwise: the destination quits first, then cont
 *   PUT     settings back, the destination quit if so wished
 *   CHECK   one last look: the exit status is a promise
 *
 * A cancel that crosses the completion: whatever QEMU decided is followed (FINISH). */
#include <stdio.h>

#include "engine/mig_priv.h"

enum { END, GATE, GUEST, PUT, CHECK };

enum {
    POLL_MS = 50,
    DST_MS = 1000, /* so long the destination may think before the cancel */
    AGAIN_MS = 1000,
    CANCEL_MS = 10 * 1000, /* then yank */
    /* with channels, which hang in `cancelling` when the network is silent (lab, 5) */
    CANCEL_CHANNELS_MS = 2000,
    STUCK_CHANNELS_MS = 10 * 1000, /* ... and does not help */
    /* A connect() into a black hole holds up a cancel until TCP gives up, and yank does not reach it
     * (7.2: 135 s with Linux' six SYN retries, measured); the guest runs meanwhile. */
    CONNECT_MS = 200 * 1000,
    END_MS = 240 * 1000,
    GATE_CHANNELS_MS = 15 * 1000,
    GATE_GUEST_MS = 1000, /* so long a guest that stands still waits for it */
    QUIT_MS = 15 * 1000,
    GUEST_MS = 60 * 1000,
    LOAD_MS = 3000,
    SILENT_MS = 5000
};

static void next_stage(struct mig *m, unsigned stage)
{
    mig_to_stage(m, stage);
    m->side[MIG_SRC].fresh = false;
}

/* Both sides' facts, as far as they answer. True when they are there. */
static bool know_both(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    bool known = true;
    for (unsigned i = 0; i < MIG_SIDES; i++) {
        struct mig_side *s = &m->side[i];
        if (s->link != MIG_LINK_UP || s->silent)
            continue;
        if (ev->kind == MIG_EV_TIMER)
            s->fresh = false;
        if (s->fresh)
            continue;
        mig_look(m, todo, (enum mig_side_id)i);
        /* To end the source's migration the destination need not answer, and the guest may be
         * stopped meanwhile. */
        if (i == MIG_SRC || m->stage != END || !mig_is_past(m, m->stage_ns, DST_MS))
            known = false;
    }
    return known;
}

/* A cancel that does not get through: in-band commands hang while the main loop is stuck in a
 * write; out of band, yank breaks the connection and the migration with it. Also the way out of
 * multifd's endless `cancelling` (lab, 5). The facts may be as old as the hang. */
static void break_loose(struct mig *m, struct mig_todo *todo)
{
    const uint64_t patience_ms = m->channels > 0 ? CANCEL_CHANNELS_MS : CANCEL_MS;
    if (m->yank_sent || !mig_is_past(m, m->stage_ns, patience_ms) ||
        (m->postcopy_asked && m->continued))
        return;
    struct owner_view v;
    mig_view(m, &v);
    if (v.may & MAY_YANK)
        m->yank_sent = mig_act(m, todo, MIG_SRC, QAPI_YANK);
}

/* The migration thread of QEMU 7.2 can wait for ever for a channel whose thread has ended
 * (multifd_send_sync_main; seen once in some ten runs when the destination dies, now and then at a
 * cancel): neither cancel nor yank wakes it. The guest runs on, and since the status is
 * `cancelling` before the switch, nothing that this migration does can hand it over any more. Its
 * capabilities cannot be set while it lasts, and nothing else is touched. What has not sent a byte may
 * still be in connect(), and that ends. */
static bool is_stuck_for_good(const struct mig *m)
{
    const uint32_t patience_ms = m->side[MIG_SRC].migrate.transferred_bytes > 0
                                     ? CANCEL_CHANNELS_MS + STUCK_CHANNELS_MS
                                     : CONNECT_MS;
    return m->channels > 0 && m->yank_sent && !m->continued && m->guest_ran &&
           m->side[MIG_SRC].migrate.status == QAPI_MIG_CANCELLING &&
           m->side[MIG_SRC].run == QAPI_RUN_RUNNING &&
           mig_is_past(m, m->stage_ns, patience_ms);
}

static void leave_stuck(struct mig *m, struct mig_todo *todo)
{
    mig_warn(
        todo,
        "the guest runs on the source, but its QEMU does not end the migration that was "
        "given up (a bug of QEMU with channels): its settings could not be put back, and "
        "it cannot be moved again before it is started anew");
    m->no_again = true; /* it migrates still, for all that is known */
    next_stage(m, CHECK);
}

static void do_end(struct mig *m, const struct owner_view *v, struct mig_todo *todo)
{
    if (mig_is_past(m, m->stage_ns, END_MS)) {
        mig_hold(m, "the source's migration does not end");
        return;
    }
    switch (v->stage) {
    case STAGE_COPYING:
    case STAGE_AT_SWITCH:
    case STAGE_SWITCHING:
    case STAGE_UNWINDING:
        if (is_stuck_for_good(m)) {
            leave_stuck(m, todo);
            return;
        }
        /* Said again after a while: it may have been lost with a connection, and it does no harm. */
        if ((v->may & MAY_CANCEL) && !mig_is_asked(m, MIG_SRC, QAPI_MIGRATE_CANCEL) &&
            (m->cancel_ns == 0 || mig_is_past(m, m->cancel_ns, AGAIN_MS)) &&
            mig_act(m, todo, MIG_SRC, QAPI_MIGRATE_CANCEL))
            m->cancel_ns = m->now_ns;
        return;
    case STAGE_IDLE:
    case STAGE_STOPPED:
        next_stage(m, GATE);
        return;
    case STAGE_LOADED:
    case STAGE_MOVED:
        mig_go(m, MIG_FINISH);
        return;
    case STAGE_CONFLICT:
        if ((v->may & MAY_YANK) && !m->yank_sent)
            return; /* break_loose will */
        mig_go(m, MIG_RECONCILE);
        return;
    case STAGE_POSTCOPY:
    case STAGE_BROKEN:
    case STAGE_LOST:
        mig_go(m, MIG_RECONCILE);
        return;
    }
}

/* Tell the destination to go, once. True when it is gone, or will not. */
static bool quit_destination(struct mig *m, struct mig_todo *todo)
{
    const struct mig_side *dst = &m->side[MIG_DST];
    if (dst->link != MIG_LINK_UP)
        return true;
    if (m->dst_quit || dst->shutdown_seen)
        return mig_is_past(m, m->stage_ns, QUIT_MS);
    m->dst_quit = mig_act(m, todo, MIG_DST, QAPI_QUIT);
    return !m->dst_quit;
}

/* One that does not answer keeps what it has: it cannot be made sure that it never runs (rule 4). */
static bool can_be_told(const struct mig_side *dst)
{
    return dst->link == MIG_LINK_UP && !dst->silent;
}

/* It holds a whole stopped copy, which must not be left to be continued by mistake. */
static bool holds_a_copy(const struct mig *m)
{
    const struct mig_side *dst = &m->side[MIG_DST];
    return can_be_told(dst) && m->incoming_asked && dst->run != QAPI_RUN_INMIGRATE &&
           dst->run != QAPI_RUN_UNKNOWN;
}

/* It may come to hold one: everything may have been on its way when the source took the guest
 * back (fact sheet 3.9). */
static bool may_still_load(const struct mig *m)
{
    const struct mig_side *dst = &m->side[MIG_DST];
    const enum qapi_mig_status status = dst->migrate.status;
    return can_be_told(dst) && m->continued && dst->run == QAPI_RUN_INMIGRATE &&
           (status == QAPI_MIG_ACTIVE || status == QAPI_MIG_COMPLETED ||
            status == QAPI_MIG_POSTCOPY_ACTIVE || status == QAPI_MIG_POSTCOPY_DEVICE);
}

static bool is_back(const struct mig *m)
{
    const enum qapi_run_state run = m->side[MIG_SRC].run;
    if (!m->guest_ran)
        return run != QAPI_RUN_FINISH_MIGRATE;
    return mig_guest_runs(run);
}

/* The guest stopped for a reason of its own, or by another hand: not ours to continue. */
static bool is_others_stop(const struct mig *m)
{
    switch (m->side[MIG_SRC].run) {
    case QAPI_RUN_IO_ERROR:
    case QAPI_RUN_GUEST_PANICKED:
    case QAPI_RUN_WATCHDOG:
    case QAPI_RUN_INTERNAL_ERROR:
    case QAPI_RUN_SHUTDOWN:
        return true;
    case QAPI_RUN_UNKNOWN:
    case QAPI_RUN_DEBUG:
    case QAPI_RUN_INMIGRATE:
    case QAPI_RUN_PAUSED:
    case QAPI_RUN_POSTMIGRATE:
    case QAPI_RUN_PRELAUNCH:
    case QAPI_RUN_FINISH_MIGRATE:
    case QAPI_RUN_RESTORE_VM:
    case QAPI_RUN_RUNNING:
    case QAPI_RUN_SAVE_VM:
    case QAPI_RUN_SUSPENDED:
    case QAPI_RUN_COLO:
        break;
    }
    return false;
}

/* Until memory moves the source may be in connect(). 10.0 says cancelled at once, and query-yank lists the
 * migration until that has ended. */
static bool may_be_connecting(const struct mig *m)
{
    return m->memory_ns == 0 && !m->continued && !mig_is_past(m, m->stage_ns, CONNECT_MS);
}

static void do_gate(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    if (mig_gate_opens(ev)) {
        m->gate_open = true;
        next_stage(m, GUEST);
        return;
    }
    if (!is_back(m) && !is_others_stop(m) && mig_is_past(m, m->stage_ns, GATE_GUEST_MS)) {
        next_stage(m, GUEST);
        return;
    }
    /* The same bug, a step later: the status has ended, a channel's thread has not. */
    if (m->channels > 0 && !m->continued && m->guest_ran &&
        m->side[MIG_SRC].run == QAPI_RUN_RUNNING &&
        mig_is_past(m, m->stage_ns, GATE_CHANNELS_MS) && !may_be_connecting(m)) {
        leave_stuck(m, todo);
        return;
    }
    if (mig_gate_stays_shut(m, m->stage_ns) && !may_be_connecting(m)) {
        mig_hold(
            m,
            "the source's QEMU does not clean up after the migration: its settings were left "
            "alone, and its guest is %s",
            qapi_run_name(m->side[MIG_SRC].run));
        return;
    }
    mig_gate_ask(m, ev, todo);
}

static void do_guest(struct mig *m, const struct owner_view *v, struct mig_todo *todo)
{
    if (may_still_load(m) && !m->self_start && !mig_is_past(m, m->stage_ns, LOAD_MS))
        return; /* mostly it fails within milliseconds */
    if (holds_a_copy(m) || may_still_load(m)) {
        if (quit_destination(m, todo))
            mig_hold(m, "the destination holds a copy of the guest and does not quit");
        return;
    }
    if (is_back(m) || is_others_stop(m)) {
        if (!m->gate_open) {
            next_stage(m, GATE);
            return;
        }
        configure_unwind(m);
        next_stage(m, PUT);
        return;
    }
    const struct mig_side *dst = &m->side[MIG_DST];
    if (!can_be_told(dst) && !dst->gone && !(v->may & MAY_CONT_SRC)) {
        mig_hold(m, "the guest stands still on the source, and the destination, which may "
                    "hold the whole of it, cannot be reached: make sure that its QEMU is "
                    "gone, and then continue the guest on the source");
        return;
    }
    if (mig_is_past(m, m->stage_ns, GUEST_MS)) {
        mig_hold(
            m,
            "the guest does not run on the source again: look at the source, and continue it "
            "there once the destination is gone");
        return;
    }
    if (mig_is_asked(m, MIG_SRC, QAPI_CONT))
        return;
    if (v->may & MAY_CONT_SRC)
        (void)mig_act(m, todo, MIG_SRC, QAPI_CONT);
    else if (v->may & MAY_QUIT_DST)
        (void)quit_destination(m, todo);
}

static void do_put(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    if (recipe_run(m, ev, todo) == RECIPE_RUNNING)
        return;
    if (m->spec.quit_destination && !quit_destination(m, todo))
        return;
    next_stage(m, CHECK);
}

/* Nothing came to it: it can be moved to as it is (preflight_check_listening). */
static void tell_destination(const struct mig *m, struct mig_todo *todo)
{
    const struct qapi_migrate *q = &m->side[MIG_DST].migrate;
    const bool wants_channels = m->channels > 0 && m->channels_asked;
    if (m->incoming_asked && !m->dst_quit && !m->no_again && mig_is_listening(m))
        mig_note(todo, "the destination goes on waiting (%s:%s): %s", q->listen_host,
                 q->listen_port,
                 wants_channels ? "move to it without channels, or start it anew with "
                                  "-incoming defer"
                                : "the same command may be given again");
}

static void do_check(struct mig *m, const struct owner_view *v, struct mig_todo *todo)
{
    if (holds_a_copy(m) || may_still_load(m)) {
        next_stage(m, GUEST);
        return;
    }
    const struct mig_side *dst = &m->side[MIG_DST];
    if (m->continued && !dst->gone && (dst->link != MIG_LINK_UP || dst->silent)) {
        /* It may hold the whole guest, stopped. Nobody continues it, but that is not a promise. */
        if (mig_is_past(m, m->stage_ns, SILENT_MS))
            mig_hold(
                m, "the guest is back on the source, but the destination, which may hold a "
                   "stopped copy, cannot be reached: make sure that its QEMU is gone");
        return;
    }
    if (is_back(m) && v->owner == OWNER_SRC) {
        if (m->side[MIG_SRC].run == QAPI_RUN_POSTMIGRATE) {
            m->no_again = true;
            mig_warn(todo,
                     "the source's guest is stopped, as it was found, but QEMU calls it "
                     "postmigrate: before it can be moved again it needs cont and stop");
        }
        if (again_is_possible(m)) {
            mig_go(m, MIG_AGAIN);
            return;
        }
        tell_destination(m, todo);
        mig_go(m, MIG_FAILED);
        return;
    }
    if (is_others_stop(m) && v->owner == OWNER_SRC) {
        mig_warn(todo, "the guest on the source is %s, by itself or by another hand",
                 qapi_run_name(m->side[MIG_SRC].run));
        mig_go(m, MIG_FAILED);
        return;
    }
    if (mig_is_past(m, m->stage_ns, GUEST_MS))
        mig_hold(m, "%s", v->why);
}

void phase_rollback(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    struct owner_view v;
    if (ev->kind == MIG_EV_ENTER) {
        mig_drop_stream(m, todo);
        if (!again_is_possible(m)) /* or it is heeded in AGAIN */
            m->cancel_wanted = false;
        m->cancel_ns = 0;
        m->gate_open = false;
        m->side[MIG_SRC].fresh = false;
        m->side[MIG_DST].fresh = false;
    }
    /* A lost monitor is opened again, to learn whether its QEMU is dead or only not to be seen. */
    if ((ev->kind == MIG_EV_DOWN && !m->side[ev->side].gone) ||
        m->side[MIG_SRC].link != MIG_LINK_UP) {
        mig_go(m, MIG_RECONCILE);
        return;
    }
    if (mig_heard(ev, MIG_SRC, QAPI_CONT)) /* what is known is from before */
        m->side[MIG_SRC].fresh = false;
    mig_wake_in(m, POLL_MS);
    if (m->stage == GATE) {
        do_gate(m, ev, todo);
        return;
    }
    if (m->stage == PUT) {
        do_put(m, ev, todo);
        if (m->stage == PUT || m->going)
            return;
    }
    if (m->stage == END)
        break_loose(m, todo);
    if (!know_both(m, ev, todo))
        return;
    mig_view(m, &v);
    if (m->stage == END)
        do_end(m, &v, todo);
    else if (m->stage == GUEST)
        do_guest(m, &v, todo);
    else if (m->stage == CHECK)
        do_check(m, &v, todo);
}

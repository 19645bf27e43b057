/* RECOVER: a post-copy that is interrupted is mended. The guest waits for each page that has not
 * arrived, so this is done as fast as it can be, and for as long as both QEMUs live: to give up
 * would be to lose the guest.
 *
 *   REACH   both monitors, opened again if need be; the source by query, the destination out of
 *           band: its main loop may itself wait for a page, and hang until all this is over
 *   BREAK   migrate-pause, out of band, to the side that has not noticed
 *   WAY     the networks are probed again: the same one if it is usable, otherwise the next;
 *           after two attempts in vain the other ones have their turn
 *   LISTEN  migrate-recover: the destination listens, on a port that is said beforehand, since
 *           it could not be asked which one it took
 *   SETTLE  sides that have just paused are left alone for a moment: before 8.2 a thread of theirs may
 *           not have seen yet that the connection is gone, takes the new one for it, and the QEMU
 *           crashes with a part of the guest's memory in it (7.2, on a machine with too much to do:
 *           both sides, SIGSEGV, once in some 1000 that were resumed within 5 ms; see QEMU's commit
 *           "migration: Replace the return path retry logic")
 *   RESUME  `migrate` with resume: the source connects; postcopy-active: it goes on
 *   WAIT    what failed is tried again, after 50 ms, then twice as long, up to 5 s
 *
 * What can fail, and what becomes of it:
 *   a monitor is lost, or does not answer        REACH, for as long as it takes
 *   a QEMU is dead                               the guest is lost: RECONCILE says so
 *   a side is paused already                     it refuses migrate-pause: as good
 *   no network is usable                         WAIT
 *   the memory went through a tunnel             through it again, whatever the networks are; no
 *                                                port is opened. Where it is gone: HELD, and nothing
 *                                                is broken, since nothing may go in the clear
 *   the port is taken, the address is not there  the next port at once, four times; then WAIT
 *   the source cannot connect                    10.0 on says postcopy-paused again: WAIT. 7.2 says
 *                                                nothing at all, and must not be asked twice at a
 *                                                time: it aborts when the first fails after the
 *                                                second. So until its kernel has given up, then WAIT
 *   ... and connects later, to an old port       nobody listens there: each attempt has a new port,
 *                                                and none is used again before the kernel must have
 *                                                given up. Two connections would be the end of it:
 *                                                7.2 would take the second for a new migration
 *   the connection hangs in the handshake        migrate-pause to the destination: where it takes that
 *                                                (10.0 on), yank; where not, it would die: wait
 *   nobody notices that it goes on               the source is asked, too
 *   the destination was not continued yet        that is done meanwhile, it need not wait
 *   the source lost its connection before the    nothing can be recovered before QEMU 10.2: HELD,
 *   destination had the device state             once nothing can be on its way any more
 *   a signal                                     refused; the second one ends qferry, HELD
 *
 * Sources: fact sheet 3.5; lab 4 and 6; migration/migration.c of 7.2 (migrate_prepare,
 * migrate_fd_connect, qmp_migrate_recover, qmp_migrate_pause) and 10.0. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/units.h"
#include "engine/recover_priv.h"

enum {
    LOADED_POLL_MS = 5, /* the guest stands still until the destination is continued */
    POLL_MS = 100,
    IDLE_POLL_MS = 500,
    DEAF_MS = 250,     /* a destination that answers out of band, and not in band */
    BREAK_MS = 10000,  /* a source that was told to pause */
    TOLD_MS = 300,     /* a destination that was told to pause says so by event */
    SETTLE_MS = 300,   /* far beyond what waking a thread takes */
    CONNECT_MS = 2000, /* to connect, beyond what answers a probe in 250 ms */
    SHAKE_MS = 30000,  /* the handshake: a bit for each page has to come across */
    SETUP_MS = 180000, /* longer than connect() can take, below */
    BACKOFF_MS = 50,
    BACKOFF_MAX_MS = 5000,
    AGAIN_MS = 5000, /* interrupted so soon after it went on: the wait is not begun anew */
    /* what a closed connection has not delivered yet is given up by the kernel before that (Linux,
     * tcp_orphan_retries: some 100 s) */
    NOT_IN_MS = 200 * 1000,
    REFUSALS = 4
};

void recover_decide(struct mig_todo *todo, enum policy_action action, const char *fmt, ...)
{
    struct policy_decision *d = &mig_record(todo, RECORD_DECISION)->u.decision;
    va_list ap;
    d->action = action;
    d->rule = "recover";
    d->wake_ns = INT64_MAX;
    va_start(ap, fmt);
    (void)vsnprintf(d->because, sizeof(d->because), fmt, ap);
    va_end(ap);
}

uint64_t recover_since_ms(const struct mig *m)
{
    return (uint64_t)(m->now_ns - m->recover.since_ns) / 1000000U;
}

void recover_wait(struct mig *m)
{
    struct mig_recover *r = &m->recover;
    if (r->backoff_ms == 0)
        r->backoff_ms = BACKOFF_MS;
    r->next_ns = m->now_ns + qf_ms_to_ns(r->backoff_ms);
    r->backoff_ms = r->backoff_ms < BACKOFF_MAX_MS / 2 ? r->backoff_ms * 2 : BACKOFF_MAX_MS;
    r->refused = 0;
    mig_to_stage(m, WAIT);
}

/* ---- it begins ---- */

static const char *who_noticed(const struct mig *m)
{
    const bool src = mig_is_broken(m->side[MIG_SRC].migrate.status);
    const bool dst = mig_is_broken(m->side[MIG_DST].migrate.status);
    if (m->recover.stalled && !src && !dst)
        return m->recover.dead > 0 ? "the network is dead" : "not one byte moves";
    if (src && dst)
        return "both sides have noticed";
    return src   ? "the source has noticed"
           : dst ? "the destination has noticed"
                 : "a side cannot be reached";
}

static bool is_interrupted(const struct mig *m)
{
    return m->recover.stalled || mig_is_broken(m->side[MIG_SRC].migrate.status) ||
           mig_is_broken(m->side[MIG_DST].migrate.status);
}

static bool are_both_connected(const struct mig *m)
{
    return m->side[MIG_SRC].link == MIG_LINK_UP && m->side[MIG_DST].link == MIG_LINK_UP;
}

static void begin_break(struct mig *m, struct mig_todo *todo)
{
    struct mig_recover *r = &m->recover;
    if (!r->told)
        mig_warn(
            todo,
            "post-copy is interrupted (%s): recovering it; meanwhile the guest waits for "
            "every page that has not arrived",
            who_noticed(m));
    r->told = true;
    r->src_asked = r->dst_asked = r->dst_broke = false;
    mig_to_stage(m, BREAK);
}

static void begin(struct mig *m, struct mig_todo *todo)
{
    struct mig_recover *r = &m->recover;
    const bool again = r->mended_ns != 0 && !mig_is_past(m, r->mended_ns, AGAIN_MS);
    m->was_postcopy = true;
    m->postcopy_asked = true;
    m->continued = true;
    memset(m->reopen_ns, 0, sizeof(m->reopen_ns));
    r->attempt = 0;
    r->refused = 0;
    r->src_paused = false;
    memset(r->was, 0, sizeof(r->was)); /* QAPI_MIG_UNKNOWN */
    r->dst_unsure = false;
    r->cont_refused = false;
    r->since_ns = m->now_ns;
    if (r->dead > 0)
        r->since_ns = r->dead_ns;
    else if (r->stalled || m->stall.round_ns != 0) /* when it stood still first */
        r->since_ns = m->stall.since_ns;
    if (!again) {
        r->failed = 0;
        r->backoff_ms = 0;
    }
    r->dst_heard = false;
    r->told = false;
    mig_to_stage(m, REACH);
    if (is_interrupted(m) && are_both_connected(m))
        begin_break(m, todo);
    if (again)
        recover_wait(m);
}

/* An attempt is under way: nothing is known yet of what becomes of it. */
static void begin_following(struct mig *m)
{
    struct mig_recover *r = &m->recover;
    r->seen_connecting = r->connecting = r->yanked = r->fragile = false;
    mig_to_stage(m, RESUME);
}

/* ---- REACH ---- */

static void reach(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    struct mig_side *dst = &m->side[MIG_DST];
    mig_wake_in(m, POLL_MS);
    if (!are_both_connected(m))
        return;
    mig_look_stale(m, todo);
    if (mig_heard(ev, MIG_DST, QAPI_QUERY_YANK))
        m->recover.dst_heard = true;
    else if (!m->recover.dst_heard && !mig_is_asked(m, MIG_DST, QAPI_QUERY_YANK))
        (void)mig_ask0(m, todo, MIG_DST, QAPI_QUERY_YANK);
    const bool deaf = m->recover.dst_heard && mig_is_past(m, m->stage_ns, DEAF_MS);
    if (!m->side[MIG_SRC].fresh || !(dst->fresh || deaf))
        return;
    if (is_interrupted(m))
        begin_break(m, todo);
    else
        mig_go(m, MIG_POSTCOPY); /* only a monitor was lost */
}

/* ---- BREAK ---- */

static void ask_pause(struct mig *m,
                      struct mig_todo *todo,
                      enum mig_side_id side,
                      bool *asked)
{
    if (*asked || mig_is_asked(m, side, QAPI_MIGRATE_PAUSE))
        return;
    *asked = mig_act(m, todo, side, QAPI_MIGRATE_PAUSE);
}

static bool is_src_broken(struct mig *m, struct mig_todo *todo)
{
    switch (m->side[MIG_SRC].migrate.status) {
    case QAPI_MIG_POSTCOPY_PAUSED:
        return true;
    case QAPI_MIG_POSTCOPY_ACTIVE:
        ask_pause(m, todo, MIG_SRC, &m->recover.src_asked);
        break;
    case QAPI_MIG_POSTCOPY_RECOVER_SETUP:
    case QAPI_MIG_POSTCOPY_RECOVER: /* somebody's attempt is under way: see what comes of it */
        begin_following(m);
        m->recover.seen_connecting = true;
        break;
    case QAPI_MIG_UNKNOWN:
    case QAPI_MIG_NONE:
    case QAPI_MIG_SETUP:
    case QAPI_MIG_WAIT_UNPLUG:
    case QAPI_MIG_ACTIVE:
    case QAPI_MIG_PRE_SWITCHOVER:
    case QAPI_MIG_DEVICE:
    case QAPI_MIG_POSTCOPY_DEVICE:
    case QAPI_MIG_COMPLETED:
    case QAPI_MIG_CANCELLING:
    case QAPI_MIG_CANCELLED:
    case QAPI_MIG_FAILING:
    case QAPI_MIG_FAILED:
    case QAPI_MIG_COLO:
        break;
    }
    return false;
}

static bool is_dst_broken(struct mig *m, struct mig_todo *todo)
{
    const struct mig_recover *r = &m->recover;
    if (m->side[MIG_DST].migrate.status == QAPI_MIG_POSTCOPY_PAUSED && !r->dst_unsure)
        return true;
    ask_pause(m, todo, MIG_DST, &m->recover.dst_asked);
    if (!r->dst_asked || mig_is_asked(m, MIG_DST, QAPI_MIGRATE_PAUSE))
        return false;
    /* It refuses when it is paused already; then only its answer to migrate-recover tells. */
    return !r->dst_broke || mig_is_past(m, m->stage_ns, TOLD_MS);
}

static void do_break(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    struct mig_recover *r = &m->recover;
    if (mig_heard(ev, MIG_DST, QAPI_MIGRATE_PAUSE)) {
        r->dst_broke = !ev->u.reply.refused;
        if (r->dst_broke)
            r->paused_ns = m->now_ns;
    }
    mig_wake_in(m, POLL_MS);
    const bool src = is_src_broken(m, todo);
    if (m->stage != BREAK)
        return;
    const bool dst = is_dst_broken(m, todo);
    if (src && dst) {
        r->dst_unsure = false;
        mig_to_stage(m, WAY);
    } else if (mig_is_past(m, m->stage_ns, BREAK_MS)) {
        mig_warn(todo, "post-copy: the %s does not pause, although it was told to",
                 src ? "destination" : "source");
        recover_wait(m);
    }
}

/* ---- LISTEN, SETTLE ---- */

static void begin_resume(struct mig *m, struct mig_todo *todo)
{
    struct mig_recover *r = &m->recover;
    const char *tunnel = mig_secure_uri(m, MIG_SRC);
    r->refused = 0;
    if (tunnel)
        (void)snprintf(m->migrate_uri, sizeof(m->migrate_uri), "%s", tunnel);
    if (!mig_act(m, todo, MIG_SRC, QAPI_MIGRATE_RESUME)) {
        recover_wait(m);
        return;
    }
    if (!tunnel)
        recover_expect_connection(m);
    begin_following(m);
}

static void settle(struct mig *m, struct mig_todo *todo)
{
    const int64_t settled_ns = m->recover.paused_ns + SETTLE_MS * QF_NS_PER_MS;
    if (m->now_ns < settled_ns)
        mig_wake_at(m, settled_ns);
    else
        begin_resume(m, todo);
}

static void listen_there(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    mig_wake_in(m, POLL_MS);
    if (mig_late(ev, MIG_DST, QAPI_MIGRATE_RECOVER)) {
        recover_wait(m);
    } else if (mig_heard(ev, MIG_DST, QAPI_MIGRATE_RECOVER)) {
        if (!ev->u.reply.refused) {
            mig_to_stage(m, SETTLE);
            return;
        }
        mig_note(todo, "destination: migrate-recover: %s", ev->u.reply.error_desc);
        m->recover.dst_unsure = true;
        if (++m->recover.refused == REFUSALS) {
            recover_wait(m);
            return;
        }
        begin_break(m, todo);
        do_break(m, ev, todo);
    } else if (!mig_is_asked(m, MIG_DST, QAPI_MIGRATE_RECOVER)) {
        recover_listen(m, todo);
    }
}

/* ---- RESUME ---- */

static void failed(struct mig *m, struct mig_todo *todo, const char *why)
{
    mig_note(todo, "attempt %u has failed: %.300s", m->recover.attempt, why);
    m->recover.failed++;
    recover_wait(m);
}

static void yank(struct mig *m, struct mig_todo *todo)
{
    m->recover.yanked = true;
    m->stage_ns = m->now_ns;
    (void)mig_act(m, todo, MIG_SRC, QAPI_YANK);
}

/* It does not get on. The destination first: one that takes migrate-pause in the handshake (10.0 on)
 * lives on when its connection breaks. An older one dies of that, and the guest with it (7.2: SIGSEGV,
 * lab 2026-11-22): then there is nothing but to wait for the network. */
static void break_loose(struct mig *m, struct mig_todo *todo)
{
    struct mig_recover *r = &m->recover;
    m->stage_ns = m->now_ns;
    if (r->yanked) {
        failed(m, todo, "the source hangs in the handshake");
    } else if (!r->fragile && !mig_is_asked(m, MIG_DST, QAPI_MIGRATE_PAUSE) &&
               mig_act(m, todo, MIG_DST, QAPI_MIGRATE_PAUSE)) {
        mig_warn(todo, "post-copy: the recovery does not get on for %u s",
                 (unsigned)(SHAKE_MS / 1000));
    }
}

static void hear_break(struct mig *m, const struct qapi_reply *reply, struct mig_todo *todo)
{
    if (!reply->refused) {
        yank(m, todo);
    } else if (!m->recover.fragile) {
        m->recover.fragile = true;
        mig_warn(
            todo,
            "post-copy: the connection is left as it is until the network is back: the "
            "destination's QEMU cannot lose it now (before 10.0 it would die)");
    }
}

/* A QEMU that does not tell that it is connecting (before 9.1: postcopy-recover-setup) takes another
 * resume meanwhile, and aborts when the first connect() fails after the second went well (7.2:
 * migrate_fd_connect, assertion on cleanup_bh; lab 2026-11-22). So its kernel has to give up first;
 * and as long as it has not, it may still get through. */
static void wait_for_connect(struct mig *m, struct mig_todo *todo)
{
    struct mig_recover *r = &m->recover;
    if (!r->connecting)
        mig_note(
            todo,
            "attempt %u: the source does not say that it is connected, and must not be asked "
            "again before its kernel has given up (%d s)",
            r->attempt, RECOVER_SYN_MS / 1000);
    r->connecting = true;
}

static void resume(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    struct mig_recover *r = &m->recover;
    const struct mig_side *src = &m->side[MIG_SRC];
    const enum qapi_mig_status status = src->migrate.status;
    mig_wake_in(m, POLL_MS);
    if (mig_heard(ev, MIG_DST, QAPI_MIGRATE_PAUSE) && status == QAPI_MIG_POSTCOPY_RECOVER &&
        !r->yanked)
        hear_break(m, &ev->u.reply, todo);
    if (mig_heard(ev, MIG_SRC, QAPI_MIGRATE_RESUME) && ev->u.reply.refused) {
        recover_free_port(m);
        m->side[MIG_SRC].fresh = false;
        failed(m, todo, ev->u.reply.error_desc);
    } else if (mig_late(ev, MIG_SRC, QAPI_MIGRATE_RESUME)) {
        failed(m, todo, "the source does not answer");
    } else if (status == QAPI_MIG_POSTCOPY_RECOVER) {
        recover_free_port(m); /* it is connected */
        r->seen_connecting = true;
        if (mig_is_past(m, m->stage_ns, SHAKE_MS))
            break_loose(m, todo);
    } else if (status == QAPI_MIG_POSTCOPY_RECOVER_SETUP) {
        r->seen_connecting =
            true; /* until then resume is refused: nothing else can be done */
        if (mig_is_past(m, m->stage_ns, SETUP_MS) && r->yanked)
            failed(m, todo, "the source hangs while it connects");
        else if (mig_is_past(m, m->stage_ns, SETUP_MS))
            yank(m, todo);
    } else if (r->seen_connecting) {
        recover_free_port(m);
        failed(m, todo,
               src->migrate.error_desc[0] ? src->migrate.error_desc
                                          : "the source is paused again");
    } else if (mig_is_past(m, m->stage_ns, RECOVER_SYN_MS)) {
        failed(m, todo, "the source has not connected");
    } else if (mig_is_past(m, m->stage_ns, CONNECT_MS)) {
        wait_for_connect(m, todo);
    }
}

/* ---- it ends ---- */

static void mended(struct mig *m, struct mig_todo *todo)
{
    struct mig_recover *r = &m->recover;
    const char *name = recover_network(m);
    recover_free_port(m);
    r->mended_ns = m->now_ns;
    r->stalled = false;
    r->dead = 0;
    r->failed = 0;
    /* The source goes on when the destination has said that it does (RESUME_ACK); the event of
     * the latter may come later. */
    if (mig_is_broken(m->side[MIG_DST].migrate.status))
        m->side[MIG_DST].migrate.status = QAPI_MIG_POSTCOPY_ACTIVE;
    recover_decide(todo, POLICY_CONTINUE,
                   "post-copy goes on %llu ms after the interruption, at attempt %u%s%s",
                   (unsigned long long)recover_since_ms(m), r->attempt,
                   *name ? ", over " : "", name);
    mig_go(m, MIG_POSTCOPY);
}

/* Where the facts say that this phase is over. */
static bool leave(struct mig *m, struct mig_todo *todo)
{
    struct owner_view v;
    const enum qapi_mig_status status = m->side[MIG_SRC].migrate.status;
    const bool src_answers = m->side[MIG_SRC].link == MIG_LINK_UP;
    mig_view(m, &v);
    if (status == QAPI_MIG_POSTCOPY_PAUSED)
        m->recover.src_paused = true;
    for (unsigned i = 0; i < MIG_SIDES; i++) {
        const enum qapi_mig_status is = m->side[i].migrate.status;
        if (is == QAPI_MIG_POSTCOPY_PAUSED && m->recover.was[i] != is)
            m->recover.paused_ns = m->now_ns;
        m->recover.was[i] = is;
    }
    switch (v.stage) {
    case STAGE_LOADED:
    case STAGE_MOVED:
        /* A source that is only not to be seen may be back in a moment. */
        mig_go(m, src_answers || m->side[MIG_SRC].gone ? MIG_FINISH : MIG_RECONCILE);
        return true;
    case STAGE_POSTCOPY:
        if (status == QAPI_MIG_COMPLETED && src_answers)
            mig_go(m, MIG_FINISH);
        else if (m->side[MIG_DST].migrate.status == QAPI_MIG_COMPLETED &&
                 are_both_connected(m)) {
            m->recover.stalled = false; /* that waits for the source to hear of it */
            mig_go(m, MIG_POSTCOPY);
        }
        break;
    case STAGE_BROKEN:
        break;
    case STAGE_IDLE:
    case STAGE_COPYING:
    case STAGE_AT_SWITCH:
    case STAGE_SWITCHING:
    case STAGE_UNWINDING:
    case STAGE_STOPPED:
    case STAGE_LOST:
    case STAGE_CONFLICT:
        mig_go(m, MIG_RECONCILE);
        return true;
    }
    if (!m->going && status == QAPI_MIG_POSTCOPY_ACTIVE && m->recover.src_paused &&
        are_both_connected(m))
        mended(m, todo);
    return m->going;
}

/* ---- all the time ---- */

static void hear_destination(struct mig *m,
                             const struct mig_event *ev,
                             struct mig_todo *todo)
{
    if (!mig_heard(ev, MIG_DST, QAPI_CONT) || !ev->u.reply.refused)
        return;
    mig_warn(todo, "destination: cont: %s", ev->u.reply.error_desc);
    m->handed_over = m->cont_again; /* POSTCOPY says it again, once */
    m->recover.cont_refused = true;
}

static void keep_looking(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    const uint64_t every_ms =
        m->stage == WAIT || m->stage == REACH ? IDLE_POLL_MS : POLL_MS;
    if (ev->kind == MIG_EV_TIMER && m->side[MIG_SRC].link == MIG_LINK_UP &&
        mig_is_past(m, m->sample_ns, every_ms) &&
        !mig_is_asked(m, MIG_SRC, QAPI_QUERY_MIGRATE)) {
        m->sample_ns = m->now_ns;
        mig_look(m, todo, MIG_SRC);
    }
    if (m->handed_over || m->recover.cont_refused)
        return;
    if (ev->kind == MIG_EV_TIMER &&
        m->side[MIG_DST].looking == 0) /* it says no word of it */
        m->side[MIG_DST].fresh = false;
    mig_look_stale(m, todo);
    mig_wake_in(m, mig_is_past(m, m->phase_ns, 5000) ? POLL_MS : LOADED_POLL_MS);
    mig_hand_over(m, todo);
}

/* Its connection was the only place where the device state was. It answers, and waits for the rest. */
static bool is_dst_without_state(const struct mig *m)
{
    const struct mig_side *dst = &m->side[MIG_DST];
    return m->side[MIG_SRC].migrate.status == QAPI_MIG_POSTCOPY_PAUSED && dst->fresh &&
           dst->link == MIG_LINK_UP && dst->run == QAPI_RUN_INMIGRATE &&
           dst->migrate.status == QAPI_MIG_ACTIVE && mig_is_past(m, m->phase_ns, NOT_IN_MS);
}

/* Before anything is broken: what stands still may yet flow on. */
static bool must_hold(struct mig *m)
{
    const char *why = mig_secure_blocks(m);
    if (is_dst_without_state(m)) {
        mig_hold(
            m,
            "the connection was lost before the destination had the device state, and the "
            "source's QEMU takes nothing back from there (before 10.2): the guest is "
            "lost, unless a person finds a way; the source has all of its memory, stopped");
        return true;
    }
    if (!why || !is_interrupted(m))
        return false;
    mig_hold(
        m,
        "post-copy is interrupted and not recovered: %s, and the guest's memory would go "
        "in the clear (--encrypt ssh); leave both QEMUs running: put up a tunnel between "
        "two UNIX sockets (ssh -L), then migrate-recover unix:PATH to the destination, "
        "migrate with resume to unix:PATH to the source",
        why);
    return true;
}

void phase_recover(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    if (ev->kind == MIG_EV_ENTER)
        begin(m, todo);
    if (mig_refuse_cancel(m, todo))
        return;
    if (ev->kind == MIG_EV_DOWN) {
        m->recover.dst_heard = false;
        mig_to_stage(m, REACH);
    }
    for (unsigned i = 0; i < MIG_SIDES; i++)
        mig_reopen(m, todo, (enum mig_side_id)i);
    hear_destination(m, ev, todo);
    if (leave(m, todo) || must_hold(m))
        return;
    keep_looking(m, ev, todo);
    if (m->stage == WAIT && m->now_ns >= m->recover.next_ns) {
        m->recover.dst_heard = false;
        m->side[MIG_SRC].fresh = false;
        mig_to_stage(m, REACH);
    }
    if (m->stage == WAIT) {
        mig_wake_at(m, m->recover.next_ns);
        mig_wake_in(m, IDLE_POLL_MS);
    }
    /* Each of them may end in the next one, which need not wait for another event. */
    if (m->stage == REACH)
        reach(m, ev, todo);
    if (!m->going && m->stage == BREAK)
        do_break(m, ev, todo);
    if (!m->going && m->stage == WAY)
        recover_find_way(m, todo);
    if (!m->going && m->stage == LISTEN)
        listen_there(m, ev, todo);
    if (!m->going && m->stage == SETTLE)
        settle(m, todo);
    else if (!m->going && m->stage == RESUME)
        resume(m, ev, todo);
}

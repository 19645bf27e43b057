/* What is known of the two sides: taken from answers (facts) and events (hints). */
#include <stdio.h>
#include <string.h>

#include "engine/mig_priv.h"

#define DST_SAYS "; destination: "

static void hint(struct mig_side *s)
{
    s->fresh = false;
    s->hinted = true;
}

/* What QEMU itself says of the failure: the source's text is the reason, that of a destination that
 * has failed is put behind it. In whichever order they come. */
static void take_desc(struct mig *m, bool is_src, const struct qapi_migrate *q)
{
    char rest[RECORD_TEXT_MAX];
    if (is_src && m->wants_desc) {
        const char *dst = strstr(m->reason, DST_SAYS);
        m->wants_desc = false;
        (void)snprintf(rest, sizeof(rest), "%s", dst ? dst : "");
        (void)snprintf(m->reason, sizeof(m->reason), "source: %s%s", q->error_desc, rest);
    } else if (!is_src && m->wants_dst_desc && q->status == QAPI_MIG_FAILED) {
        const size_t n = strlen(m->reason);
        m->wants_dst_desc = false;
        (void)snprintf(m->reason + n, sizeof(m->reason) - n, DST_SAYS "%s", q->error_desc);
    }
}

/* A reply can be older than an event that was received before it: QEMU looks, another of its threads
 * moves on and sends the event, then the reply is written (seen on 7.2: `active` behind the event
 * pre-switchover). So what an event has said since the question was sent is not taken back by the
 * answer; the counters in it are good all the same. */
static void hear_look(struct mig *m,
                      struct mig_side *s,
                      uint64_t id,
                      const struct qapi_reply *r)
{
    s->silent = false;
    if (r->refused) {
        s->look_refused = true;
        return;
    }
    if (r->command == QAPI_QUERY_STATUS) {
        if (id > s->run_told_id)
            s->run = r->u.run;
        return;
    }
    const enum qapi_mig_status told = s->migrate.status;
    s->migrate = r->u.migrate;
    if (id <= s->status_told_id)
        s->migrate.status = told;
    if (s->migrate.has_ram) {
        s->last_ram = s->migrate;
        s->has_last_ram = true;
    }
    if (s->migrate.error_desc[0] != '\0')
        take_desc(m, s == &m->side[MIG_SRC], &s->migrate);
}

/* A look is complete when both of its own questions were answered; other queries that cross it
 * count for nothing. What was hinted at after the first answer makes it stale again. */
static void count_look(struct mig *m, struct mig_side *s, uint64_t id)
{
    const struct mig_ask *a = mig_find_ask(m, id);
    if (!a || !a->look || s->looking == 0 || --s->looking > 0)
        return;
    s->fresh = !s->hinted;
    if (s == &m->side[MIG_DST] && s->fresh && s->run == QAPI_RUN_INMIGRATE)
        m->dst_unwatched = false;
}

bool mig_guest_runs(enum qapi_run_state run)
{
    return run == QAPI_RUN_RUNNING || run == QAPI_RUN_SUSPENDED;
}

bool mig_is_undone(enum qapi_mig_status s)
{
    return s == QAPI_MIG_CANCELLING || s == QAPI_MIG_CANCELLED || s == QAPI_MIG_FAILING ||
           s == QAPI_MIG_FAILED;
}

/* Whatever the source runs from here on is old: its guest was continued elsewhere while it was stopped. */
static bool is_source_old(const struct mig *m)
{
    return m->handed_over &&
           (m->dst_conts > 0 || (m->was_postcopy && mig_guest_runs(m->side[MIG_DST].run)));
}

bool mig_may_source_rise(const struct mig *m)
{
    enum { FIRST_MAJOR = 8 }; /* what lies between 7.2 and 10.0 is not known */
    return m->side[MIG_SRC].version.major >= FIRST_MAJOR && m->guest_ran &&
           !m->guest_paused;
}

bool mig_refusal_is_proof(const struct mig *m)
{
    return m->dst_conts <= 1 && !m->taken_up && !m->dst_unwatched;
}

bool mig_take_refused_cont(struct mig *m, const struct mig_event *ev)
{
    mig_fail(m, OUTCOME_FAILED, QF_E_QMP, "destination: cont: %s", ev->u.reply.error_desc);
    if (!mig_refusal_is_proof(m))
        return false;
    m->cont_refused = true;
    m->handed_over = false;
    m->side[MIG_DST].fresh = false;
    return true;
}

bool mig_has_source_risen(const struct mig *m)
{
    const struct mig_side *src = &m->side[MIG_SRC];
    return is_source_old(m) && mig_is_undone(src->migrate.status) &&
           (src->run == QAPI_RUN_FINISH_MIGRATE || mig_guest_runs(src->run));
}

bool mig_is_broken(enum qapi_mig_status s)
{
    return s == QAPI_MIG_POSTCOPY_PAUSED || s == QAPI_MIG_POSTCOPY_RECOVER_SETUP ||
           s == QAPI_MIG_POSTCOPY_RECOVER;
}

bool mig_is_split(enum qapi_mig_status s)
{
    return s == QAPI_MIG_POSTCOPY_ACTIVE || mig_is_broken(s);
}

static void hear_event(struct mig *m, enum mig_side_id side, const struct qapi_event *e)
{
    struct mig_side *s = &m->side[side];
    switch (e->kind) {
    case QAPI_EVENT_MIGRATION:
        /* 7.2's destination says `setup` at migrate-recover, and stays postcopy-paused (2.3). */
        if (side == MIG_DST && e->status == QAPI_MIG_SETUP &&
            mig_is_split(s->migrate.status)) {
            hint(s);
            break;
        }
        s->migrate.status = e->status;
        s->status_told_id = m->next_id;
        hint(s);
        break;
    case QAPI_EVENT_STOP:
        s->stop_t_ns = m->now_ns;
        hint(s);
        break;
    case QAPI_EVENT_RESUME:
        s->stop_t_ns = 0;
        s->resume_t_ns = m->now_ns;
        s->run = QAPI_RUN_RUNNING;
        s->run_told_id = m->next_id;
        if (side == MIG_DST && m->continued && m->dst_resume_ns == 0)
            m->dst_resume_ns = m->now_ns;
        hint(s);
        break;
    case QAPI_EVENT_SHUTDOWN:
        s->shutdown_seen = true;
        s->shutdown_by_guest = e->guest;
        memcpy(s->shutdown_reason, e->reason, sizeof(s->shutdown_reason));
        hint(s);
        break;
    case QAPI_EVENT_SUSPEND:
    case QAPI_EVENT_SUSPEND_DISK:
    case QAPI_EVENT_WAKEUP:
    case QAPI_EVENT_GUEST_PANICKED:
    case QAPI_EVENT_BLOCK_IO_ERROR:
        hint(s);
        break;
    case QAPI_EVENT_DEVICE_DELETED:
        memcpy(s->unplugged, e->reason, sizeof(s->unplugged));
        break;
    case QAPI_EVENT_MIGRATION_PASS:
    case QAPI_EVENT_RESET:
    case QAPI_EVENT_OTHER:
        break;
    }
}

/* QEMU refuses device_del while it migrates, but the guest may give a device away that it was asked
 * for before, and a reset takes it. What is sent then has no part for it, and QEMU's destination says
 * nothing about a device that it alone has (fact sheet 7.3). */
bool mig_is_unplugged(struct mig *m)
{
    for (unsigned i = 0; i < MIG_SIDES; i++) {
        if (m->side[i].unplugged[0] == '\0')
            continue;
        mig_fail(
            m, OUTCOME_FAILED, QF_E_GAVE_UP,
            "the device %s was unplugged on the %s on the way: both sides have the same "
            "devices no more; start the destination anew, without it",
            m->side[i].unplugged, mig_side_name((enum mig_side_id)i));
        return true;
    }
    return false;
}

/* QEMU said that it exits, and by a cause that no -no-shutdown holds up (softmmu/runstate.c:
 * quit and signals set the action to poweroff): then the end of its monitor is its end. */
static bool is_exiting(const struct mig_side *s)
{
    return s->shutdown_seen && (strcmp(s->shutdown_reason, "host-qmp-quit") == 0 ||
                                strcmp(s->shutdown_reason, "host-signal") == 0);
}

void mig_forget_asks(struct mig *m, enum mig_side_id side)
{
    for (struct mig_ask *a = m->ask; a < m->ask + MIG_ASKS_MAX; a++)
        if (a->id != 0 && a->side == side)
            *a = (struct mig_ask){.row = -1};
    m->side[side].looking = 0;
}

/* Beyond pre-switchover the destination may get the device state. */
static bool is_beyond_switch(enum qapi_mig_status status)
{
    switch (status) {
    case QAPI_MIG_DEVICE:
    case QAPI_MIG_POSTCOPY_DEVICE:
    case QAPI_MIG_POSTCOPY_ACTIVE:
    case QAPI_MIG_POSTCOPY_PAUSED:
    case QAPI_MIG_POSTCOPY_RECOVER_SETUP:
    case QAPI_MIG_POSTCOPY_RECOVER:
    case QAPI_MIG_COMPLETED:
        return true;
    case QAPI_MIG_UNKNOWN:
    case QAPI_MIG_NONE:
    case QAPI_MIG_SETUP:
    case QAPI_MIG_WAIT_UNPLUG:
    case QAPI_MIG_ACTIVE:
    case QAPI_MIG_PRE_SWITCHOVER:
    case QAPI_MIG_CANCELLING:
    case QAPI_MIG_CANCELLED:
    case QAPI_MIG_FAILING:
    case QAPI_MIG_FAILED:
    case QAPI_MIG_COLO:
        break;
    }
    return false;
}

/* Should the destination run, its RESUME comes first (softmmu/cpus.c, vm_prepare_start: it is written
 * before the CPUs run). So who has heard everything until its end has seen whether it ran. A process
 * that ends closes its sockets one by one, so its monitor may end a moment before anybody is refused;
 * a connection that was cut proves nothing. */
static void watch_destination(struct mig *m, const struct mig_event *ev, bool was_up)
{
    enum { ENDS_MS = 250 };
    const bool gone = m->side[MIG_DST].gone;
    if (was_up) {
        m->dst_closed_ns = ev->u.down.heard && !m->dst_unwatched ? m->now_ns : 0;
        if (!gone || !ev->u.down.heard)
            m->dst_unwatched = true;
    } else if (gone && m->dst_closed_ns != 0 &&
               !mig_is_past(m, m->dst_closed_ns, ENDS_MS)) {
        m->dst_unwatched = false;
    }
}

bool mig_is_waiting(const struct mig *m)
{
    const struct mig_side *dst = &m->side[MIG_DST];
    return dst->link == MIG_LINK_UP && dst->run == QAPI_RUN_INMIGRATE &&
           (dst->migrate.status == QAPI_MIG_NONE || dst->migrate.status == QAPI_MIG_SETUP);
}

bool mig_is_listening(const struct mig *m)
{
    return mig_is_waiting(m) && m->side[MIG_DST].migrate.listen_port[0] != '\0';
}

void mig_take_facts(struct mig *m, const struct mig_event *ev)
{
    struct mig_side *s = &m->side[ev->side];
    const bool was_up = s->link == MIG_LINK_UP;
    switch (ev->kind) {
    case MIG_EV_UP:
        s->link = MIG_LINK_UP;
        s->gone = false;
        s->oob = ev->u.up.oob;
        s->is_qemu = ev->u.up.is_qemu;
        s->version = ev->u.up.version;
        break;
    case MIG_EV_DOWN:
        if (was_up) /* why it was lost, not why it cannot be opened again */
            memcpy(s->down_text, ev->u.down.err.text, sizeof(s->down_text));
        s->link = MIG_LINK_DOWN;
        s->gone = ev->u.down.gone || is_exiting(s);
        s->fresh = false;
        if (ev->side == MIG_DST && m->self_start && m->continued)
            watch_destination(m, ev, was_up);
        if (ev->side == MIG_SRC && !m->yank_lost && mig_is_asked(m, MIG_SRC, QAPI_YANK)) {
            m->yank_lost =
                true; /* whether it has arrived is not known; twice it does no harm */
            m->yank_sent = false;
        }
        mig_forget_asks(m, ev->side);
        break;
    case MIG_EV_REPLY:
        if (!qapi_command_oob(ev->u.reply.command))
            s->heard_ns = m->now_ns;
        if (ev->u.reply.command == QAPI_QUERY_STATUS ||
            ev->u.reply.command == QAPI_QUERY_MIGRATE) {
            hear_look(m, s, ev->id, &ev->u.reply);
            count_look(m, s, ev->id);
        }
        break;
    case MIG_EV_QMP:
        hear_event(m, ev->side, &ev->u.qmp);
        break;
    case MIG_EV_CANCEL:
        m->cancel_wanted = true;
        break;
    case MIG_EV_SYNCED:
        m->synced = true;
        break;
    case MIG_EV_HOST:
        m->process = ev->u.host;
        break;
    case MIG_EV_NETWORK:
        m->probing = false;
        break;
    case MIG_EV_BEGIN:
    case MIG_EV_TIMER:
    case MIG_EV_OPERATOR:
    case MIG_EV_RESTARTED:
    case MIG_EV_SECURED:
    case MIG_EV_RUNNING:
    case MIG_EV_RECEIVER:
    case MIG_EV_MEMORY:
    case MIG_EV_STREAM:
    case MIG_EV_ENTER:
    case MIG_EV_LATE:
        break;
    }
    if (m->started && is_beyond_switch(m->side[MIG_SRC].migrate.status))
        m->continued = true;
}

/* ---- as the owner table wants them ---- */

static struct owner_side owner_side(const struct mig_side *s)
{
    struct owner_side o = {.run = s->run, .status = s->migrate.status};
    if (s->gone)
        o.reach = OWNER_DEAD;
    else if (s->silent || s->link != MIG_LINK_UP)
        o.reach = OWNER_SILENT;
    return o;
}

/* Has the destination run the guest without a cont of this qferry? By itself, or by that of one before, or by
 * another hand: what it was seen to do it may do still when it does not answer any more.
 * Where its start is left to it, it need not have said so: one that was not watched may have run, and have
 * been stopped since. */
static bool has_run_unasked(const struct mig *m)
{
    const struct mig_side *dst = &m->side[MIG_DST];
    if (dst->resume_t_ns != 0 ||
        ((m->continued || m->self_start) && mig_guest_runs(dst->run)))
        return true;
    return m->self_start && m->dst_unwatched && dst->run != QAPI_RUN_INMIGRATE &&
           dst->run != QAPI_RUN_UNKNOWN;
}

void mig_view(const struct mig *m, struct owner_view *v)
{
    const struct owner_facts f = {
        .src = owner_side(&m->side[MIG_SRC]),
        .dst = owner_side(&m->side[MIG_DST]),
        .only_connected = m->stream_open && !m->started,
        .postcopy_asked = m->postcopy_asked,
        .continued = m->continued,
        .cont_refused = m->cont_refused,
        .cont_sent = is_source_old(m),
        .src_was_stopped = m->was_postcopy && (m->guest_paused || !m->guest_ran),
        .handed_over = m->handed_over || has_run_unasked(m),
        .self_start = m->self_start && m->continued,
        .unwatched = m->dst_unwatched,
        .src_left = m->src_left,
        .done_before = m->done_before,
    };
    owner_of(&f, v);
}

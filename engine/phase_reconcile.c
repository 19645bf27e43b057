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
    SETTLE_MS = 30 * 1000, /* a side that has not answered by then is silent */
    POLL_MS = 50
};

static void open_again(struct mig *m, struct mig_todo *todo, enum mig_side_id side)
{
    struct mig_side *s = &m->side[side];
    if (s->gone || s->link == MIG_LINK_UP || s->link == MIG_LINK_OPENING)
        return;
    if (m->now_ns >= m->reopen_ns[side]) {
        m->reopen_ns[side] = m->now_ns + REOPEN_MS * QF_NS_PER_MS;
        s->link = MIG_LINK_OPENING;
        mig_todo_add(todo, MIG_DO_OPEN, side);
    }
}

/* Known as well as it will be? */
static bool is_settled(const struct mig *m, enum mig_side_id side)
{
    const struct mig_side *s = &m->side[side];
    return s->gone || s->fresh || mig_is_past(m, m->phase_ns, SETTLE_MS);
}

/* What was given as the reason before is kept in the sentence, not in the status. */
static void lost(struct mig *m, const char *what)
{
    const struct mig_side *src = &m->side[MIG_SRC];
    char was[RECORD_TEXT_MAX];
    (void)snprintf(was, sizeof(was), "%s%s", m->has_reason ? m->reason : "",
                   m->has_reason ? "; " : "");
    m->has_reason = false;
    if (src->shutdown_by_guest)
        mig_fail(
            m, OUTCOME_ABORTED, QF_E_HELD,
            "the guest powered itself off (%s) while it was being moved: it runs nowhere, as "
            "it wished",
            src->shutdown_reason);
    else
        mig_fail(m, OUTCOME_LOST, QF_E_HELD, "%s%s%s%s%s", was, what,
                 src->shutdown_seen ? " (the source's QEMU was shut down: " : "",
                 src->shutdown_seen ? src->shutdown_reason : "",
                 src->shutdown_seen ? ")" : "");
}

static void held(struct mig *m, const struct owner_view *v)
{
    const struct mig_side *src = &m->side[MIG_SRC];
    const struct mig_side *dst = &m->side[MIG_DST];
    char why[RECORD_TEXT_MAX];
    (void)snprintf(why, sizeof(why), "%s%s%s", m->has_reason ? m->reason : "",
                   m->has_reason ? "; " : "", v->why);
    m->has_reason = false;
    mig_fail(m, OUTCOME_LOST, QF_E_HELD,
             "%s: source %s/%s%s, destination %s/%s%s; nothing was "
             "touched, a person must look",
             why, qapi_run_name(src->run), qapi_mig_name(src->migrate.status),
             src->gone                  ? " (gone)"
             : src->link != MIG_LINK_UP ? " (unreachable)"
                                        : "",
             qapi_run_name(dst->run), qapi_mig_name(dst->migrate.status),
             dst->gone                  ? " (gone)"
             : dst->link != MIG_LINK_UP ? " (unreachable)"
                                        : "");
    mig_go(m, MIG_HELD);
}

/* Why the move does not go on, unless a reason was given already. */
static void blame(struct mig *m)
{
    const struct mig_side *dst = &m->side[MIG_DST];
    if (dst->shutdown_seen)
        mig_fail(m, OUTCOME_FAILED, QF_E_LOST, "the destination's QEMU was shut down (%s)",
                 dst->shutdown_reason);
    else if (dst->link != MIG_LINK_UP)
        mig_fail(m, OUTCOME_FAILED, QF_E_LOST, "the destination's QEMU is %s: %s",
                 dst->gone ? "gone" : "not to be reached", dst->down_text);
    else
        mig_fail_desc(m, "the source's QEMU reports a failed migration");
}

static void go_where_facts_say(struct mig *m)
{
    struct owner_view v;
    mig_view(m, &v);
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
        if (dst_lost || m->has_reason) {
            blame(m);
            mig_go(m, MIG_ROLLBACK);
        } else {
            mig_go(m, MIG_SWITCHOVER);
        }
        return;
    case STAGE_SWITCHING:
        if (m->stuck)
            held(m, &v);
        else
            mig_go(m, MIG_SWITCHOVER);
        return;
    case STAGE_LOADED:
    case STAGE_MOVED:
        mig_go(m, MIG_FINISH);
        return;
    case STAGE_POSTCOPY:
        mig_go(m, MIG_POSTCOPY);
        return;
    case STAGE_UNWINDING:
    case STAGE_IDLE:
    case STAGE_STOPPED:
        blame(m);
        mig_go(m, MIG_ROLLBACK);
        return;
    case STAGE_LOST:
        lost(m, v.why);
        mig_go(m, MIG_HELD);
        return;
    case STAGE_BROKEN:
    case STAGE_CONFLICT:
        held(m, &v);
        return;
    }
}

void phase_reconcile(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    if (ev->kind == MIG_EV_ENTER) {
        memset(m->reopen_ns, 0, sizeof(m->reopen_ns));
        m->side[MIG_SRC].fresh = false;
        m->side[MIG_DST].fresh = false;
    }
    for (unsigned i = 0; i < MIG_SIDES; i++)
        open_again(m, todo, (enum mig_side_id)i);
    mig_look_stale(m, todo);
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
        mig_todo_add(todo, MIG_DO_CLOSE, (enum mig_side_id)i);
    }
    go_where_facts_say(m);
}

/* AGAIN: the migration was undone (ROLLBACK is through, the source runs its guest). Was it the
 * network, and is there another one? Then start over there.
 *
 *   JUDGE    every network is probed to the end, the lost one with them
 *   QUIT     the old destination is told to quit, if it still answers
 *   COMMAND  the user's command starts a fresh destination at the same monitor address
 *   ...      CONNECT, with everything that was known of the old destination forgotten
 *
 * Why a fresh destination: a QEMU takes migrate-incoming once ("The incoming migration has already
 * been started", 7.2, verified; with exit-on-error=false, too), and the one address on which it
 * listens is in the network that was lost; 7.2 exits when its stream breaks. Listening on all
 * addresses at once would help only where nobody had connected yet, and would open a port that takes
 * guest memory from anybody, and dies of one connection, to every network: not done.
 *
 * The promise: the command is run only when the source was seen with its migration ended and its
 * clean-up done (ROLLBACK's stages), and the old destination cannot run the guest: its process is
 * dead by the kernel's or its own word, or it cannot have got the device state, since
 * migrate-continue was never sent. The command is to end what is left of it.
 *
 * What can go wrong, and what becomes of it:
 *   the network still answers, or no other does     FAILED, and the reason says so
 *   no command was given                            FAILED: start the destination anew
 *   the old destination does not quit               FAILED
 *   the command fails, or takes too long            FAILED
 *   a cancel                                        FAILED, exit status 5
 *   the source's monitor is lost                    RECONCILE, and no further attempt */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/units.h"
#include "engine/mig_priv.h"

enum { JUDGE, QUIT, COMMAND };

enum {
    /* without one byte, and its network does not answer: then it is given up (the networks are
     * probed from the fifth second on, mig_stall.c) */
    STILL_MS = 10 * 1000,
    JUDGE_MS = 10 * 1000, /* far beyond what a probe takes */
    QUIT_MS = 15 * 1000,
    POLL_MS = 100
};

/* ---- was it the network? ---- */

static bool may_start_again(const struct mig *m)
{
    return !m->taken_up && !m->no_again && !(m->self_start && m->continued) &&
           m->attempt <= m->spec.retries && m->network_known && m->network.chosen >= 0;
}

bool again_is_possible(const struct mig *m)
{
    return (m->started || m->stream_asked) && may_start_again(m) && !m->handed_over &&
           !m->cont_refused && m->dst_conts == 0 && m->has_reason &&
           m->outcome == OUTCOME_FAILED &&
           (m->code == QF_E_QMP || m->code == QF_E_LOST || m->code == QF_E_TIMEOUT);
}

static unsigned network_in_use(const struct mig *m)
{
    return m->network.candidate[m->network.chosen].network;
}

static const char *name_of(const struct netsel_choice *c)
{
    return c->candidate[c->chosen].name;
}

static void probe(struct mig *m, struct mig_todo *todo)
{
    if (m->probing)
        return;
    m->next_known = false;
    mig_probe(m, todo, true);
}

void again_take_network(struct mig *m, const struct netsel_facts *f)
{
    struct netsel_wish wish = m->spec.networks;
    if (!m->network_known || m->network.chosen < 0)
        return;
    wish.network[network_in_use(m)].is_last = true;
    netsel_choose(&wish, f, &m->next);
    m->next_known = true;
}

static bool is_network_lost(const struct mig *m, const char **why)
{
    const struct netsel_candidate *c =
        m->next_known ? netsel_candidate_of(&m->next, network_in_use(m)) : NULL;
    if (!c || c->usable)
        return false;
    *why = c->why;
    return true;
}

static bool has_next(const struct mig *m)
{
    return m->next_known && m->next.chosen >= 0 &&
           m->next.candidate[m->next.chosen].network != network_in_use(m);
}

/* The way to the migration's port leads nowhere, though others may be open: nobody has come there.
 * The state is that of a source which is connecting or has failed to. */
static bool was_never_reached(const struct mig *m)
{
    const struct mig_side *dst = &m->side[MIG_DST];
    const struct qapi_migrate *q = &m->side[MIG_SRC].migrate;
    return dst->link == MIG_LINK_UP && dst->run == QAPI_RUN_INMIGRATE && !m->continued &&
           q->status != QAPI_MIG_ACTIVE &&
           (dst->migrate.status == QAPI_MIG_NONE || dst->migrate.status == QAPI_MIG_SETUP);
}

/* Nothing tells a source that its network has become a black hole: QEMU sets no user timeout, and
 * TCP gives up after a quarter of an hour. So: bytes that stand still, and then a network that does
 * not answer a probe on another port. Bytes alone prove nothing: the destination may be busy. */
bool again_watch(struct mig *m, struct mig_todo *todo)
{
    const char *why = "its port for the migration is not reached";
    if (!may_start_again(m) || m->spec.networks.n < 2 || m->postcopy_asked)
        return false; /* towards post-copy nothing may be cancelled */
    if (m->stall.moved_ns == m->now_ns) {
        m->next_known = m->still_told = false;
        return false;
    }
    const bool lost = is_network_lost(m, &why) || was_never_reached(m);
    if (!m->next_known || !lost || !has_next(m) ||
        !mig_is_past(m, m->stall.moved_ns, STILL_MS) || m->still_told)
        return false;
    if (!m->spec.restarts) {
        m->still_told = true;
        mig_warn(todo,
                 "no byte has moved over %s for %d s (%s); %s is usable, but would need "
                 "--restart-destination",
                 name_of(&m->network), STILL_MS / 1000, why, name_of(&m->next));
        return false;
    }
    mig_fail(m, OUTCOME_FAILED, QF_E_LOST, "%s is lost: no byte has moved for %d s, and %s",
             name_of(&m->network), STILL_MS / 1000, why);
    mig_go(m, MIG_ROLLBACK);
    return true;
}

/* ---- giving up, and starting over ---- */

/* The reason for the failure stays, with what was found out about starting again. */
static void QF_PRINTF(2, 3) give_up(struct mig *m, const char *fmt, ...)
{
    char was[RECORD_TEXT_MAX];
    char text[RECORD_TEXT_MAX];
    const enum qf_code code = m->code;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    memcpy(was, m->reason, sizeof(was));
    m->has_reason = false;
    m->wants_desc = false;
    mig_fail(m, OUTCOME_FAILED, code, "%s; %s", was, text);
    mig_go(m, MIG_FAILED);
}

/* Of the source stay its link and what it is; what was found there, or changed, was of the attempt. */
static void forget_attempt_of(struct mig_side *src)
{
    src->caps_changed = 0;
    src->params_changed = 0;
    src->texts_changed = 0;
    src->caps_left = 0;
    src->params_left = 0;
    src->creds_left[0] = src->creds_id[0] = '\0';
    src->has_last_ram = false;
    src->stop_t_ns = src->resume_t_ns = 0;
    src->fresh = false;
    src->unplugged[0] = '\0';
}

/* The limit that the lost network set is not that of the next one; but an operator's stays. */
static void forget_bandwidth(struct mig *m)
{
    if (m->spec.bandwidth_auto)
        m->spec.bandwidth_bytes_per_s = SPEC_BANDWIDTH_HYPERVISOR;
    else if (m->operator_fields & (UINT32_C(1) << MIG_FIELD_BANDWIDTH))
        m->spec.bandwidth_bytes_per_s = m->policy.bandwidth_bytes_per_s != 0
                                            ? m->policy.bandwidth_bytes_per_s
                                            : SPEC_BANDWIDTH_HYPERVISOR;
}

/* As in the beginning, but for what is listed here: the source, what an operator has said, what the
 * edge still owes an answer to, and what the end has to tell of both attempts. */
static void start_over(struct mig *m, struct mig_todo *todo)
{
    mig_warn(todo, "attempt %u, over %s, was lost (%s); starting again", m->attempt,
             name_of(&m->network), m->reason);
    if (m->secure_asked) /* a certificate is for an address, a tunnel for a network */
        (void)mig_todo_add(todo, MIG_DO_UNSECURE, MIG_SRC);
    m->spec.networks.network[network_in_use(m)].is_last = true;
    mig_forget_asks(m, MIG_DST);
    forget_bandwidth(m);
    forget_attempt_of(&m->side[MIG_SRC]);
    const struct mig was = *m;
    mig_init(m, &was.spec, &was.policy);
    m->attempt = was.attempt + 1;
    m->phase = was.phase;
    m->now_ns = was.now_ns;
    m->phase_ns = was.phase_ns;
    m->next_id = was.next_id;
    memcpy(m->ask, was.ask, sizeof(m->ask));
    m->side[MIG_SRC] = was.side[MIG_SRC];
    m->process = was.process;
    m->guest_ran = was.guest_ran;
    m->operator_fields = was.operator_fields;
    m->policy_changes = was.policy_changes;
    /* what the lost destination could not do, the next one may */
    if (was.postcopy_denied && !(was.operator_fields & MIG_FIELD_BIT(POSTCOPY_ALLOWED)))
        m->policy.postcopy_allowed = true;
    m->probing = was.probing;
    m->share.others = was.share.others;
    m->receiver = was.receiver;
    m->stream_lent = was.stream_lent;
    m->first_migrate_ns = was.first_migrate_ns;
    mig_go(m, MIG_CONNECT);
}

/* ---- the stages ---- */

static void run_command(struct mig *m, struct mig_todo *todo)
{
    struct mig_do *d = mig_todo_add(todo, MIG_DO_RESTART, MIG_DST);
    const struct netsel_candidate *c = &m->next.candidate[m->next.chosen];
    d->u.restart.attempt = m->attempt + 1;
    memcpy(d->u.restart.network, c->name, sizeof(d->u.restart.network));
    memcpy(d->u.restart.address, c->address, sizeof(d->u.restart.address));
    memcpy(d->u.restart.reason, m->reason, sizeof(d->u.restart.reason));
    mig_to_stage(m, COMMAND);
}

static void judge(struct mig *m)
{
    const char *why = "its port for the migration is not reached";
    const char *name = name_of(&m->network);
    if (!m->next_known) {
        if (mig_is_past(m, m->stage_ns, JUDGE_MS))
            give_up(m, "whether %s is still there was not found out", name);
        return;
    }
    const bool lost = is_network_lost(m, &why);
    if (!lost && !was_never_reached(m)) {
        give_up(m, "not started again: %s still answers, so it was not the network", name);
    } else if (!has_next(m)) {
        give_up(m, "%s: %s; no other network is usable", name, why);
    } else if (!m->spec.restarts) {
        give_up(
            m,
            "%s is lost (%s), %s is usable, but this destination's QEMU takes no second "
            "migration: start it anew and migrate again, or let --restart-destination do "
            "that",
            name, why, name_of(&m->next));
    } else {
        mig_to_stage(m, QUIT);
    }
}

static void quit_old(struct mig *m, struct mig_todo *todo)
{
    struct mig_side *dst = &m->side[MIG_DST];
    struct owner_view v;
    mig_view(m, &v);
    const bool is_first = m->stage_ns == m->now_ns; /* a refusal is said once */
    if (dst->link == MIG_LINK_UP && !m->dst_quit && !dst->shutdown_seen &&
        ((v.may & MAY_QUIT_DST) || is_first))
        m->dst_quit = mig_act(m, todo, MIG_DST, QAPI_QUIT);
    if (dst->link != MIG_LINK_UP && (dst->gone || !m->continued))
        run_command(m, todo);
    else if (mig_is_past(m, m->stage_ns, QUIT_MS))
        give_up(m, "not started again: the old destination does not quit");
}

static void hear_command(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    if (ev->kind == MIG_EV_RESTARTED) {
        if (ev->u.outcome.failed)
            give_up(m, "not started again: --restart-destination: %s", ev->u.outcome.text);
        else
            start_over(m, todo);
    } else if (mig_is_past(m, m->stage_ns, MIG_RESTART_MS + JUDGE_MS)) {
        give_up(m, "not started again: --restart-destination does not end");
    }
}

void phase_again(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    mig_wake_in(m, POLL_MS);
    const char *why;
    /* What was found out while it stood still holds; that it still answered then does not. */
    if (ev->kind == MIG_EV_ENTER && !is_network_lost(m, &why))
        probe(m, todo);
    if (m->side[MIG_SRC].link != MIG_LINK_UP) {
        m->no_again = true;
        mig_go(m, MIG_RECONCILE);
        return;
    }
    if (m->cancel_wanted) {
        char was[RECORD_TEXT_MAX];
        memcpy(was, m->reason, sizeof(was));
        m->has_reason = m->wants_desc = false;
        mig_fail(m, OUTCOME_CANCELLED, QF_E_CANCELLED,
                 "cancelled before it was started again; %s", was);
        mig_go(m, MIG_FAILED);
        return;
    }
    if (m->stage == JUDGE)
        judge(m);
    if (m->stage == QUIT && !m->going)
        quit_old(m, todo);
    else if (m->stage == COMMAND && !m->going)
        hear_command(m, ev, todo);
}

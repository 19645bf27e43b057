/* PREFLIGHT: a move that is under way already, between just these two, is taken up instead of another being
 * begun. What QEMU itself shows of it decides; what a killed qferry's journal tells is added. */
#include <stdio.h>
#include <string.h>

#include "engine/mig_priv.h"

/* In an interrupted post-copy the destination's main loop may wait for a page, and then it answers
 * nothing in band until the recovery (3.5): no question of ours either. That its memory is the
 * other part of this guest's is left to QEMU, whose handshake compares the memory's layout. */
bool preflight_is_deaf(const struct mig *m)
{
    const struct mig_side *src = &m->side[MIG_SRC];
    const struct mig_side *dst = &m->side[MIG_DST];
    return mig_is_split(src->migrate.status) && src->params_found.has != 0 &&
           dst->link == MIG_LINK_UP && dst->oob && dst->heard_ns == 0 &&
           mig_is_past(m, m->phase_ns, PREFLIGHT_DEAF_MS);
}

void preflight_forget_questions(struct mig *m, struct mig_todo *todo)
{
    mig_warn(todo,
             "the destination's QEMU does not answer in band: it waits for memory; whether "
             "it is the other half of this guest could not be asked");
    for (const struct mig_ask *a = m->ask; a < m->ask + MIG_ASKS_MAX; a++) {
        const struct mig_ask copy = *a; /* its place is cleared */
        if (copy.id != 0 && copy.side == MIG_DST)
            mig_give_up_asking(m, &copy);
    }
    m->side[MIG_DST].silent = true;
}

bool preflight_knows_old_source(const struct mig *m)
{
    const struct mig_memory *mem = &m->memory;
    const struct mig_side *src = &m->side[MIG_SRC];
    const struct mig_side *dst = &m->side[MIG_DST];
    const bool remembered = mem->known && mem->handed_over && mem->was_postcopy &&
                            (mem->guest_paused || !mem->guest_ran);
    const bool marked = mig_has_mark(&src->params_found, MIG_MARK_STOPPED) &&
                        dst->migrate.status == QAPI_MIG_COMPLETED;
    return (remembered || marked) && mig_is_undone(src->migrate.status) &&
           src->run == QAPI_RUN_PAUSED && dst->link == MIG_LINK_UP && !dst->silent &&
           mig_guest_runs(dst->run);
}

bool preflight_is_ours(const struct mig *m)
{
    struct owner_view v;
    mig_view(m, &v);
    const enum qapi_mig_status dst = m->side[MIG_DST].migrate.status;
    if (v.stage != STAGE_MOVED &&
        (m->side[MIG_SRC].caps_found.on & PREFLIGHT_NEEDED) != PREFLIGHT_NEEDED)
        return false; /* somebody else's, without what makes a switch safe */
    if (!preflight_is_same_machine(m))
        return false; /* a destination of another VM */
    switch (v.stage) {
    case STAGE_COPYING:
    case STAGE_AT_SWITCH:
    case STAGE_SWITCHING:
        /* that the destination has failed is not known in pre-switchover (3.3) */
        if (v.stage == STAGE_AT_SWITCH && dst == QAPI_MIG_FAILED &&
            m->side[MIG_DST].run == QAPI_RUN_INMIGRATE)
            return true;
        return dst == QAPI_MIG_ACTIVE || dst == QAPI_MIG_COMPLETED ||
               dst == QAPI_MIG_POSTCOPY_ACTIVE || dst == QAPI_MIG_POSTCOPY_DEVICE;
    case STAGE_LOADED:
    case STAGE_POSTCOPY:
    case STAGE_BROKEN:
        return true;
    case STAGE_MOVED: /* finished by somebody; say so instead of complaining of each state. */
        /* The source says completed a moment before it is postmigrate. */
        return m->side[MIG_SRC].run == QAPI_RUN_POSTMIGRATE ||
               m->side[MIG_SRC].run == QAPI_RUN_FINISH_MIGRATE;
    case STAGE_CONFLICT:
        return preflight_knows_old_source(m);
    case STAGE_IDLE:
    case STAGE_UNWINDING:
    case STAGE_STOPPED:
    case STAGE_LOST:
        break;
    }
    return false;
}

/* Whose migration is being undone there cannot be told: it is looked at again when it is. */
bool preflight_is_unwinding(const struct mig *m)
{
    enum { UNWIND_MS = 10000 };
    struct owner_view v;
    mig_view(m, &v);
    return v.stage == STAGE_UNWINDING && !mig_is_past(m, m->phase_ns, UNWIND_MS);
}

/* Has the destination been continued, as far as it can be seen? It may have run there, and have been
 * stopped by another hand: so this source is not its copy any more; a cont that is said twice does
 * no harm. While post-copy is interrupted, a destination that is paused is taken to wait for its
 * first cont, and one that does not answer is asked once it does. */
static bool is_handed_over(const struct mig *m)
{
    const struct mig_side *dst = &m->side[MIG_DST];
    struct owner_view v;
    mig_view(m, &v);
    if (dst->silent)
        return false;
    if (v.stage == STAGE_BROKEN)
        return dst->run == QAPI_RUN_RUNNING;
    /* MOVED: it runs there. Should it die before the next look, what the source has is old. */
    return v.stage == STAGE_MOVED ||
           ((v.stage == STAGE_LOADED || v.stage == STAGE_POSTCOPY) &&
            dst->run != QAPI_RUN_INMIGRATE);
}

/* It was begun without the encryption that is asked for now. While the source can have its guest
 * back it gets it, and nothing more goes over; later, stopping would lose the guest. */
static void take_back_in_the_clear(struct mig *m,
                                   enum owner_stage stage,
                                   struct mig_todo *todo)
{
    const char *how = mig_secure_is_other(m) ? "encrypted in another way" : "not encrypted";
    if (stage == STAGE_COPYING || stage == STAGE_AT_SWITCH)
        mig_fail(m, OUTCOME_ABORTED, QF_E_GAVE_UP,
                 "the move that was under way is %s, and --encrypt %s was asked "
                 "for: given up, the same command begins anew",
                 how, spec_encrypt_name(m->spec.encrypt));
    else if (stage != STAGE_MOVED)
        mig_warn(todo, "the move that is taken up is %s", how);
}

void preflight_take_up(struct mig *m, struct mig_todo *todo)
{
    const struct mig_side *src = &m->side[MIG_SRC];
    const bool old = preflight_knows_old_source(m);
    m->taken_up = true;
    m->done_before = src->migrate.status == QAPI_MIG_COMPLETED;
    m->incoming_asked = true;
    configure_adopt(m);
    mig_secure_adopt(m);
    m->started = true;
    m->migrate_ns = m->now_ns;
    /* What it was before the switch cannot be asked any more. A paused source is seen to be
     * paused; after the switch a move is taken to be that of a running guest. */
    m->guest_ran = mig_guest_runs(src->run) || src->run == QAPI_RUN_FINISH_MIGRATE ||
                   src->run == QAPI_RUN_POSTMIGRATE;
    if (mig_take_mark(m, MIG_MARK_STOPPED) && !mig_guest_runs(src->run)) {
        /* an earlier qferry stopped it, to finish */
        m->guest_paused = m->guest_ran || src->run == QAPI_RUN_PAUSED;
        m->guest_ran = m->guest_paused;
        if (src->run == QAPI_RUN_PAUSED)
            policy_stopped(&m->policy_run, m->now_ns);
    }
    m->self_start = mig_take_mark(m, MIG_MARK_SELF_START);
    m->dst_unwatched = m->self_start && m->side[MIG_DST].run != QAPI_RUN_INMIGRATE;
    if (m->spec.self_start && !m->self_start)
        mig_warn(todo,
                 "--self-start: the move that is taken up leaves the start to qferry");
    /* Whoever began it may have left the start to QEMU without a mark: no longer. */
    if (!m->self_start && m->side[MIG_DST].link == MIG_LINK_UP &&
        !m->side[MIG_DST].silent && m->side[MIG_DST].run == QAPI_RUN_INMIGRATE)
        (void)mig_ask0(m, todo, MIG_DST, QAPI_STOP);
    const bool remembered = m->memory.known;
    m->handed_over =
        old || is_handed_over(m) || (remembered && m->done_before && m->memory.handed_over);
    if (remembered)
        mig_memory_apply(m);
    m->downtime_limit_ms = src->params_found.value[QAPI_PARAM_DOWNTIME_LIMIT];
    m->bandwidth_limit = src->params_found.value[QAPI_PARAM_MAX_BANDWIDTH];
    /* What was not prepared cannot be had any more. */
    if (!(src->caps_found.on & QAPI_CAP_BIT(POSTCOPY_RAM)))
        mig_deny_postcopy(m);
    if (!(src->caps_found.on & QAPI_CAP_BIT(AUTO_CONVERGE)))
        m->policy.throttle_allowed = false;
    if (src->caps_found.on & QAPI_CAP_BIT(MULTIFD)) {
        m->channels = (unsigned)src->params_found.value[QAPI_PARAM_MULTIFD_CHANNELS];
        m->compression =
            (enum qapi_compression)src->params_found.value[QAPI_PARAM_MULTIFD_COMPRESSION];
    }
    if (old || mig_is_split(src->migrate.status)) {
        m->postcopy_asked = true;
        m->was_postcopy = true;
    }
    if (src->migrate.status != QAPI_MIG_SETUP && src->migrate.status != QAPI_MIG_ACTIVE &&
        src->migrate.status != QAPI_MIG_PRE_SWITCHOVER)
        m->continued = true;
    if (src->run == QAPI_RUN_PAUSED && !m->guest_ran)
        mig_warn(
            todo,
            "the guest is stopped on the source: whether by an earlier qferry, to finish "
            "sooner, or by somebody else is not known; it stays stopped: if it is to "
            "run, send cont to the destination afterwards");
    mig_warn(todo,
             "a migration between these two is under way (source %s, destination %s): "
             "taking it up%s",
             qapi_mig_name(src->migrate.status),
             qapi_mig_name(m->side[MIG_DST].migrate.status),
             remembered
                 ? "; what was changed for it, its policy and its times are known from its "
                   "journal"
                 : "; settings that were changed for it before are not known and stay");
    if (remembered)
        mig_memory_apply_settings(m);
    struct owner_view v;
    mig_view(m, &v);
    if ((v.stage == STAGE_COPYING || v.stage == STAGE_AT_SWITCH) && m->spec.unsafe == 0 &&
        m->side[MIG_DST].link == MIG_LINK_UP && !m->side[MIG_DST].silent &&
        !preflight_is_same_machine(m)) /* a device was taken away meanwhile */
        mig_fail(
            m, OUTCOME_ABORTED, QF_E_GAVE_UP,
            "the move that was under way is given up: source and destination are not the "
            "same machine any more");
    if (!mig_secure_is_kept(m))
        take_back_in_the_clear(m, v.stage, todo);
    const bool broken = mig_is_broken(src->migrate.status) ||
                        mig_is_broken(m->side[MIG_DST].migrate.status);
    mig_go(m, m->side[MIG_DST].silent || broken ? MIG_RECOVER : MIG_RECONCILE);
}

void preflight_refuse_attach(struct mig *m)
{
    const struct mig_side *src = &m->side[MIG_SRC];
    const struct mig_side *dst = &m->side[MIG_DST];
    mig_fail(
        m, OUTCOME_REFUSED, QF_E_REFUSED,
        "no move between these two is under way that could be taken up: source %s, its "
        "migration %s, destination %s, its migration %s; qferry migrate begins one",
        qapi_run_name(src->run), qapi_mig_name(src->migrate.status),
        qapi_run_name(dst->run), qapi_mig_name(dst->migrate.status));
}

/* PREFLIGHT: look, compare, judge. Changes nothing on either side.
 *
 * All queries go out at once (QEMU answers in order, a few at a time); then preflight_judge
 * (preflight_checks.c) judges them. What QEMU itself does not compare is compared here:
 * the number and type of the CPUs, the PCI devices (fact sheet 7.3: an extra device on the
 * destination completes silently; a missing one fails after the guest was stopped, and kills it
 * in post-copy before 10.2).
 *
 * Which network the memory takes was asked for in CONNECT and is decided here, since nothing may be
 * touched when there is none.
 *
 * query-qmp-schema is not asked: 207 KB that keep QEMU 7.2's main loop busy for 20 to 27 ms,
 * measured, while the guest wants it. What exists is learnt from query-migrate-capabilities and
 * query-migrate-parameters, and for the one argument that these do not tell (exit-on-error of
 * migrate-incoming) from QEMU's own answer, see phase_configure.c. */
#include <stdio.h>
#include <string.h>

#include "engine/mig_priv.h"

/* ---- the questions ---- */

#define ASK(command_)                                                                      \
    static bool ask_##command_(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd) \
    {                                                                                      \
        (void)m;                                                                           \
        (void)side;                                                                        \
        cmd->command = QAPI_##command_;                                                    \
        return true;                                                                       \
    }

ASK(QUERY_STATUS)
ASK(QUERY_MIGRATE)
ASK(QUERY_TARGET)
ASK(QUERY_MACHINE)
ASK(QUERY_MEMORY)
ASK(QUERY_CPUS)
ASK(QUERY_UUID)
ASK(QUERY_PCI)
ASK(QUERY_CAPS)
ASK(QUERY_PARAMS)

static bool ask_cpu_type(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    cmd->command = QAPI_QUERY_CPU_TYPE;
    memcpy(cmd->u.path, m->side[side].cpu_path, sizeof(cmd->u.path));
    return m->side[side].cpu_path[0] != '\0';
}

/* What one side is. A refused query leaves its fact empty: the check says "unknown". Only
 * query-status and query-migrate must work: what has none is not a system emulator (qemu-storage-daemon speaks
 * QMP, too). */
static int hear_fact(struct mig *m,
                     enum mig_side_id side,
                     const struct qapi_reply *r,
                     struct mig_todo *todo)
{
    (void)todo;
    struct mig_side *s = &m->side[side];
    if (r->refused) {
        if (r->command == QAPI_QUERY_STATUS || r->command == QAPI_QUERY_MIGRATE) {
            mig_fail(m, OUTCOME_FAILED, mig_unreachable(m, side, QF_E_PROTO),
                     "%s: not a QEMU system emulator: %s: %s", mig_side_name(side),
                     qapi_command_name(r->command), r->error_desc);
            return -1;
        }
        return 0;
    }
    switch (r->command) {
    case QAPI_QUERY_TARGET:
        memcpy(s->target, r->u.text, sizeof(s->target));
        break;
    case QAPI_QUERY_MACHINE:
        memcpy(s->machine, r->u.text, sizeof(s->machine));
        break;
    case QAPI_QUERY_CPU_TYPE:
        memcpy(s->cpu_type, r->u.text, sizeof(s->cpu_type));
        break;
    case QAPI_QUERY_UUID:
        memcpy(s->uuid, r->u.text, sizeof(s->uuid));
        break;
    case QAPI_QUERY_MEMORY:
        s->memory_bytes = r->u.memory_bytes;
        break;
    case QAPI_QUERY_CPUS:
        s->cpus = r->u.cpus.count;
        memcpy(s->cpu_path, r->u.cpus.path, sizeof(s->cpu_path));
        break;
    case QAPI_QUERY_PCI:
        s->pci = r->u.pci;
        break;
    case QAPI_QUERY_CAPS:
        s->caps_found = r->u.caps;
        break;
    case QAPI_QUERY_PARAMS:
        s->params_found = r->u.params;
        break;
    case QAPI_QUERY_STATUS:
    case QAPI_QUERY_MIGRATE: /* taken by the machine itself */
    case QAPI_QUERY_YANK:
    case QAPI_SET_CAPS:
    case QAPI_SET_PARAMS:
    case QAPI_CALC_DIRTY_RATE:
    case QAPI_QUERY_DIRTY_RATE:
    case QAPI_STOP:
    case QAPI_CONT:
    case QAPI_QUIT:
    case QAPI_MIGRATE_INCOMING:
    case QAPI_MIGRATE:
    case QAPI_MIGRATE_CANCEL:
    case QAPI_MIGRATE_CONTINUE:
    case QAPI_MIGRATE_START_POSTCOPY:
    case QAPI_YANK:
    case QAPI_GETFD:
    case QAPI_CLOSEFD:
    case QAPI_COMMAND_COUNT:
        break;
    }
    return 0;
}

/* clang-format off */
#define BOTH(name, ask) {name, MIG_SRC, false, NULL, ask, hear_fact, NULL}, \
                        {name, MIG_DST, false, NULL, ask, hear_fact, NULL}

static const struct step questions[] = {
    /* name      side     after  when  ask  heard  undo */
    BOTH("status",       ask_QUERY_STATUS),
    BOTH("migration",    ask_QUERY_MIGRATE),
    BOTH("cpus",         ask_QUERY_CPUS),
    BOTH("target",       ask_QUERY_TARGET),
    BOTH("machine",      ask_QUERY_MACHINE),
    BOTH("memory",       ask_QUERY_MEMORY),
    BOTH("uuid",         ask_QUERY_UUID),
    BOTH("capabilities", ask_QUERY_CAPS),
    BOTH("parameters",   ask_QUERY_PARAMS),
    BOTH("pci",          ask_QUERY_PCI),
    {"cpu type", MIG_SRC, true,  NULL, ask_cpu_type, hear_fact, NULL},
    {"cpu type", MIG_DST, false, NULL, ask_cpu_type, hear_fact, NULL},
};
/* clang-format on */

/* ---- a move that is under way already, between just these two ---- */

static bool is_course_of_ours(const struct mig *m)
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
        return dst == QAPI_MIG_ACTIVE || dst == QAPI_MIG_COMPLETED ||
               dst == QAPI_MIG_POSTCOPY_ACTIVE || dst == QAPI_MIG_POSTCOPY_DEVICE;
    case STAGE_LOADED:
    case STAGE_POSTCOPY:
        return true;
    case STAGE_MOVED: /* finished by somebody; say so instead of complaining of each state */
        return m->side[MIG_SRC].run == QAPI_RUN_POSTMIGRATE;
    case STAGE_IDLE:
    case STAGE_BROKEN:
    case STAGE_UNWINDING:
    case STAGE_STOPPED:
    case STAGE_LOST:
    case STAGE_CONFLICT:
        break;
    }
    return false;
}

enum { TRIGGER_DEFAULT_PERCENT = 50 /* QEMU's own (migration/options.c) */ };

static void take_up(struct mig *m, struct mig_todo *todo)
{
    const struct mig_side *src = &m->side[MIG_SRC];
    m->taken_up = true;
    m->incoming_asked = true;
    configure_adopt(m);
    m->started = true;
    m->migrate_ns = m->now_ns;
    /* What it was before the switch cannot be asked any more. A paused source is seen to be
     * paused; after the switch a move is taken to be that of a running guest. */
    m->guest_ran = src->run == QAPI_RUN_RUNNING || src->run == QAPI_RUN_SUSPENDED ||
                   src->run == QAPI_RUN_FINISH_MIGRATE || src->run == QAPI_RUN_POSTMIGRATE;
    if (src->run == QAPI_RUN_PAUSED && mig_is_stop_marked(m)) {
        m->guest_ran = true; /* an earlier qferry stopped it, to finish */
        m->guest_paused = true;
        m->side[MIG_SRC].params_found.value[QAPI_PARAM_THROTTLE_TRIGGER_THRESHOLD] =
            TRIGGER_DEFAULT_PERCENT;
        m->side[MIG_SRC].params_changed |= 1U << QAPI_PARAM_THROTTLE_TRIGGER_THRESHOLD;
        policy_stopped(&m->policy_run, m->now_ns);
    }
    struct owner_view v;
    mig_view(m, &v);
    /* It may have run there already, and have been stopped by another hand: so this source is not
     * its copy any more. A cont that is said twice does no harm. */
    m->handed_over = (v.stage == STAGE_LOADED || v.stage == STAGE_POSTCOPY) &&
                     m->side[MIG_DST].run != QAPI_RUN_INMIGRATE;
    m->downtime_limit_ms = src->params_found.value[QAPI_PARAM_DOWNTIME_LIMIT];
    m->bandwidth_limit = src->params_found.value[QAPI_PARAM_MAX_BANDWIDTH];
    /* What was not prepared cannot be had any more. */
    if (!(src->caps_found.on & QAPI_CAP_BIT(POSTCOPY_RAM)))
        m->policy.postcopy_allowed = false;
    if (!(src->caps_found.on & QAPI_CAP_BIT(AUTO_CONVERGE)))
        m->policy.throttle_allowed = false;
    if (src->migrate.status == QAPI_MIG_POSTCOPY_ACTIVE) {
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
    mig_warn(
        todo,
        "a migration between these two is under way (source %s, destination %s): "
        "taking it up; settings that were changed for it before are not known and stay",
        qapi_mig_name(src->migrate.status), qapi_mig_name(m->side[MIG_DST].migrate.status));
    mig_go(m, MIG_RECONCILE);
}

void phase_preflight(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    if (ev->kind == MIG_EV_ENTER)
        recipe_begin(m, questions, sizeof(questions) / sizeof(questions[0]));
    if (ev->kind == MIG_EV_DOWN)
        mig_fail(m, OUTCOME_FAILED, mig_unreachable(m, ev->side, QF_E_UNREACHABLE),
                 "%s: %s", mig_side_name(ev->side), ev->u.down.err.text);
    if (m->cancel_wanted)
        mig_fail(m, OUTCOME_CANCELLED, QF_E_CANCELLED,
                 "cancelled before anything was touched");
    if (ev->kind == MIG_EV_LATE)
        mig_fail(m, OUTCOME_FAILED, mig_unreachable(m, ev->side, QF_E_UNREACHABLE),
                 "the %s does not answer %s", mig_side_name(ev->side),
                 qapi_command_name(ev->u.late));
    if (m->has_reason) {
        mig_go(m, MIG_FAILED);
        return;
    }
    switch (recipe_run(m, ev, todo)) {
    case RECIPE_RUNNING:
        return;
    case RECIPE_FAILED:
        mig_go(m, MIG_FAILED);
        return;
    case RECIPE_DONE:
        break;
    }
    if (!m->spec.dry_run && is_course_of_ours(m)) {
        take_up(m, todo); /* its way is chosen already */
        return;
    }
    if (!mig_knows_network(m))
        return;
    m->guest_ran = m->side[MIG_SRC].run == QAPI_RUN_RUNNING ||
                   m->side[MIG_SRC].run == QAPI_RUN_SUSPENDED;
    preflight_judge(m, todo);
    mig_use_network(m, todo);
    if (m->has_reason) {
        mig_go(m, MIG_FAILED);
    } else if (m->spec.dry_run) {
        mig_go(m, MIG_MEASURE);
    } else {
        mig_go(m, MIG_CONFIGURE);
    }
}

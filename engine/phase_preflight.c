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

enum {
    UNWIND_POLL_MS = 50,
    DEAF_MS = 500 /* a main loop that has not answered one of twenty questions by then */
};

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
    case QAPI_QUERY_NVME:
    case QAPI_QUERY_DRIVE:
    case QAPI_QUERY_STATUS:
    case QAPI_QUERY_MIGRATE: /* taken by the machine itself */
    case QAPI_QUERY_YANK:
    case QAPI_SET_CAPS:
    case QAPI_SET_PARAMS:
    case QAPI_OBJECT_ADD:
    case QAPI_OBJECT_DEL:
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
    case QAPI_MIGRATE_PAUSE:
    case QAPI_MIGRATE_RECOVER:
    case QAPI_MIGRATE_RESUME:
    case QAPI_YANK:
    case QAPI_GETFD:
    case QAPI_CLOSEFD:
    case QAPI_COMMAND_COUNT:
        break;
    }
    return 0;
}

/* ---- NVMe controllers: rare, so they cost a question only where query-pci shows one ---- */

static const char *const device_folders[] = {"/machine/peripheral", /* with an id */
                                             "/machine/peripheral-anon"};

static bool has_nvme(const struct mig *m, enum mig_side_id side)
{
    return m->side[side].pci.nvme > 0;
}

static bool ask_with_id(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    (void)m;
    (void)side;
    cmd->command = QAPI_QUERY_NVME;
    (void)snprintf(cmd->u.path, sizeof(cmd->u.path), "%s", device_folders[0]);
    return true;
}

static bool ask_without_id(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    (void)m;
    (void)side;
    cmd->command = QAPI_QUERY_NVME;
    (void)snprintf(cmd->u.path, sizeof(cmd->u.path), "%s", device_folders[1]);
    return true;
}

/* QEMU answers in order, so it is known which folder it is. */
static int hear_nvme(struct mig *m,
                     enum mig_side_id side,
                     const struct qapi_reply *r,
                     struct mig_todo *todo)
{
    (void)side;
    (void)todo;
    struct mig_nvme *v = &m->nvme;
    const char *folder = device_folders[v->folders++ > 0];
    for (unsigned i = 0; !r->refused && i < r->u.nvme.count && i < QAPI_NVME_MAX; i++) {
        if (v->n == QAPI_NVME_MAX)
            break;
        const int n =
            snprintf(v->path[v->n], sizeof(v->path[0]), "%s/%s", folder, r->u.nvme.name[i]);
        if (r->u.nvme.name[i][0] != '\0' && n > 0 && (size_t)n < sizeof(v->path[0]))
            v->n++;
    }
    return 0;
}

static bool ask_drive(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    (void)side;
    if (m->nvme.asked == m->nvme.n)
        return false;
    cmd->command = QAPI_QUERY_DRIVE;
    memcpy(cmd->u.path, m->nvme.path[m->nvme.asked++], sizeof(cmd->u.path));
    return true;
}

static int hear_drive(struct mig *m,
                      enum mig_side_id side,
                      const struct qapi_reply *r,
                      struct mig_todo *todo)
{
    (void)side;
    (void)todo;
    struct mig_nvme *v = &m->nvme;
    const char *path = v->heard < v->n ? v->path[v->heard] : "";
    v->heard++;
    if (!r->refused && r->u.text[0] == '\0' && v->empty[0] == '\0')
        (void)snprintf(v->empty, sizeof(v->empty), "%s", path);
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
    {"nvme",     MIG_SRC, false, has_nvme, ask_with_id,    hear_nvme, NULL},
    {"nvme",     MIG_SRC, false, has_nvme, ask_without_id, hear_nvme, NULL},
    {"drive",    MIG_SRC, true,  has_nvme, ask_drive, hear_drive, NULL},
    {"drive",    MIG_SRC, false, has_nvme, ask_drive, hear_drive, NULL},
    {"drive",    MIG_SRC, false, has_nvme, ask_drive, hear_drive, NULL},
    {"drive",    MIG_SRC, false, has_nvme, ask_drive, hear_drive, NULL}, /* QAPI_NVME_MAX */
};
/* clang-format on */

/* ---- a move that is under way already, between just these two ---- */

/* In an interrupted post-copy the destination's main loop may wait for a page, and then it answers
 * nothing in band until the recovery (3.5): no question of ours either. That its memory is the
 * other part of this guest's is left to QEMU, whose handshake compares the memory's layout. */
static bool is_deaf(const struct mig *m)
{
    const struct mig_side *src = &m->side[MIG_SRC];
    const struct mig_side *dst = &m->side[MIG_DST];
    return mig_is_split(src->migrate.status) && src->params_found.has != 0 &&
           dst->link == MIG_LINK_UP && dst->oob && dst->heard_ns == 0 &&
           mig_is_past(m, m->phase_ns, DEAF_MS);
}

static void forget_questions(struct mig *m, struct mig_todo *todo)
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
    case STAGE_AT_SWITCH: /* that the destination has failed is not known there (3.3) */
        if (dst == QAPI_MIG_FAILED && m->side[MIG_DST].run == QAPI_RUN_INMIGRATE)
            return true;
        /* fallthrough */
    case STAGE_COPYING:
    case STAGE_SWITCHING:
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
    case STAGE_IDLE:
    case STAGE_UNWINDING:
    case STAGE_STOPPED:
    case STAGE_LOST:
    case STAGE_CONFLICT:
        break;
    }
    return false;
}

/* Whose migration is being undone there cannot be told: it is looked at again when it is. */
static bool is_unwinding(const struct mig *m)
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

enum { TRIGGER_DEFAULT_PERCENT = 50 /* QEMU's own (migration/options.c) */ };

/* The mark of a self-start is taken out in the end, also one that an earlier qferry has left. */
static bool take_self_mark(struct mig *m)
{
    struct mig_side *src = &m->side[MIG_SRC];
    if (!mig_is_self_marked(m))
        return false;
    src->params_found.value[QAPI_PARAM_X_CHECKPOINT_DELAY] = MIG_SELF_MARK_DEFAULT_MS;
    src->params_changed |= 1U << QAPI_PARAM_X_CHECKPOINT_DELAY;
    return true;
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

static void take_up(struct mig *m, struct mig_todo *todo)
{
    const struct mig_side *src = &m->side[MIG_SRC];
    m->taken_up = true;
    m->incoming_asked = true;
    configure_adopt(m);
    mig_secure_adopt(m);
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
    m->self_start = take_self_mark(m);
    m->dst_unwatched = m->self_start && m->side[MIG_DST].run != QAPI_RUN_INMIGRATE;
    if (m->spec.self_start && !m->self_start)
        mig_warn(todo,
                 "--self-start: the move that is taken up leaves the start to qferry");
    /* Whoever began it may have left the start to QEMU without a mark: no longer. */
    if (!m->self_start && m->side[MIG_DST].link == MIG_LINK_UP &&
        !m->side[MIG_DST].silent && m->side[MIG_DST].run == QAPI_RUN_INMIGRATE)
        (void)mig_ask0(m, todo, MIG_DST, QAPI_STOP);
    m->handed_over = is_handed_over(m);
    const bool remembered = m->memory.known;
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
    if (mig_is_split(src->migrate.status)) {
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
    if (!mig_secure_is_kept(m))
        take_back_in_the_clear(m, v.stage, todo);
    const bool broken = mig_is_broken(src->migrate.status) ||
                        mig_is_broken(m->side[MIG_DST].migrate.status);
    mig_go(m, m->side[MIG_DST].silent || broken ? MIG_RECOVER : MIG_RECONCILE);
}

/* Nothing is begun. What a killed qferry has left is put back, if the source is idle: ROLLBACK does
 * that. */
static void give_up(struct mig *m)
{
    struct owner_view v;
    mig_view(m, &v);
    if (!m->has_leftovers || v.stage != STAGE_IDLE) {
        mig_go(m, MIG_FAILED);
        return;
    }
    configure_adopt(m);
    mig_go(m, MIG_ROLLBACK);
}

static void refuse_attach(struct mig *m)
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

void phase_preflight(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    if (ev->kind == MIG_EV_ENTER)
        recipe_begin(m, questions, sizeof(questions) / sizeof(questions[0]));
    if (ev->kind == MIG_EV_DOWN)
        mig_fail(m, OUTCOME_FAILED, mig_unreachable(m, ev->side, QF_E_UNREACHABLE),
                 "%s: %s", mig_side_name(ev->side), ev->u.down.err.text);
    if (m->cancel_wanted && (!m->memory.known || m->memory_heeded))
        mig_fail(m, OUTCOME_CANCELLED, QF_E_CANCELLED,
                 "cancelled before anything was touched");
    if (ev->kind == MIG_EV_LATE)
        mig_fail(m, OUTCOME_FAILED, mig_unreachable(m, ev->side, QF_E_UNREACHABLE),
                 "the %s does not answer %s", mig_side_name(ev->side),
                 qapi_command_name(ev->u.late));
    if (m->has_reason) {
        give_up(m);
        return;
    }
    if (mig_is_split(m->side[MIG_SRC].migrate.status))
        mig_wake_in(m, DEAF_MS);
    switch (recipe_run(m, ev, todo)) {
    case RECIPE_RUNNING:
        if (m->spec.dry_run || !is_deaf(m))
            return;
        forget_questions(m, todo);
        if (m->memory.known)
            mig_memory_judge(m, todo);
        take_up(m, todo);
        return;
    case RECIPE_FAILED:
        mig_go(m, MIG_FAILED);
        return;
    case RECIPE_DONE:
        break;
    }
    if (m->memory.known && !m->memory_heeded)
        mig_memory_judge(m, todo);
    if (!(m->memory.known && m->memory_heeded) && !m->spec.dry_run &&
        (is_course_of_ours(m) || mig_memory_is_ours(m))) {
        take_up(m, todo); /* its way is chosen already */
        return;
    }
    if (m->memory.known && !m->memory_heeded) {
        mig_secure_adopt(m);
        mig_memory_adopt_leftovers(m, todo);
    }
    m->memory_heeded = true;
    if (!m->spec.dry_run && is_unwinding(m)) {
        if (ev->kind == MIG_EV_TIMER || m->side[MIG_SRC].fresh)
            mig_look(m, todo, MIG_SRC);
        mig_wake_in(m, UNWIND_POLL_MS);
        return;
    }
    if (m->cancel_wanted)
        mig_fail(m, OUTCOME_CANCELLED, QF_E_CANCELLED, "cancelled before memory moved");
    for (unsigned i = 0; i < MIG_SIDES; i++)
        if (m->side[i].link != MIG_LINK_UP) /* CONNECT would have ended there */
            mig_fail(m, OUTCOME_FAILED, QF_E_UNREACHABLE, "%s: %s",
                     mig_side_name((enum mig_side_id)i), m->side[i].down_text);
    if (m->spec.attach)
        refuse_attach(m);
    if (m->has_reason) {
        give_up(m);
        return;
    }
    if (!mig_knows_network(m))
        return;
    if (!m->judged) {
        m->judged = true;
        if (!m->has_leftovers)
            mig_secure_adopt(m);
        m->guest_ran = m->side[MIG_SRC].run == QAPI_RUN_RUNNING ||
                       m->side[MIG_SRC].run == QAPI_RUN_SUSPENDED ||
                       (m->has_leftovers && m->memory.guest_paused && m->memory.guest_ran);
        (void)take_self_mark(m);
        preflight_judge(m, todo);
        mig_use_network(m, todo);
        if (m->listens && strcmp(m->memory.address, m->spec.address) != 0)
            mig_fail(
                m, OUTCOME_REFUSED, QF_E_REFUSED,
                "the destination listens already, on %s and not on %s; start it anew with "
                "-incoming defer",
                m->memory.address, m->spec.address);
    }
    if (!m->has_reason && !mig_is_secured(m, todo))
        return;
    if (m->has_reason) {
        give_up(m);
    } else if (m->spec.dry_run) {
        mig_go(m, MIG_MEASURE);
    } else {
        mig_go(m, MIG_CONFIGURE);
    }
}

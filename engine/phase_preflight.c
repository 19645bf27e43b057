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

enum { UNWIND_POLL_MS = 50 };

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

/* Where an earlier migration has failed or was cancelled the gate behind it must be open (mig_gate.c). */
static bool is_cleaned_up(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    const enum qapi_mig_status s = m->side[MIG_SRC].migrate.status;
    if (!mig_is_undone(s) || mig_gate_opens(ev))
        return true;
    if (mig_gate_stays_shut(m, m->phase_ns)) {
        mig_fail(
            m, OUTCOME_REFUSED, QF_E_REFUSED,
            "the source's QEMU does not clean up after an earlier migration (%s): nothing "
            "may be set there meanwhile",
            qapi_mig_name(s));
        give_up(m);
        return false;
    }
    mig_gate_ask(m, ev, todo);
    return false;
}

/* ... by a qferry that stopped it, and came to nothing before `migrate`: no migration has ended since, with
 * which somebody might have left it stopped. */
static bool is_stopped_by_another(const struct mig *m)
{
    const struct mig_side *src = &m->side[MIG_SRC];
    return src->run == QAPI_RUN_PAUSED && src->migrate.status == QAPI_MIG_NONE;
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
        mig_wake_in(m, PREFLIGHT_DEAF_MS);
    switch (recipe_run(m, ev, todo)) {
    case RECIPE_RUNNING:
        if (m->spec.dry_run || !preflight_is_deaf(m))
            return;
        preflight_forget_questions(m, todo);
        if (m->memory.known)
            mig_memory_judge(m, todo);
        preflight_take_up(m, todo);
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
        (preflight_is_ours(m) || mig_memory_is_ours(m))) {
        preflight_take_up(m, todo); /* its way is chosen already */
        return;
    }
    if (m->memory.known && !m->memory_heeded) {
        mig_secure_adopt(m);
        mig_memory_adopt_leftovers(m, todo);
    }
    m->memory_heeded = true;
    if (!m->spec.dry_run && preflight_is_unwinding(m)) {
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
        preflight_refuse_attach(m);
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
        (void)mig_take_mark(m, MIG_MARK_SELF_START);
        m->guest_ran = mig_guest_runs(m->side[MIG_SRC].run) ||
                       (m->has_leftovers && mig_memory_stopped_it(m));
        if (mig_take_mark(m, MIG_MARK_STOPPED) && is_stopped_by_another(m)) {
            m->guest_ran = true;
            mig_note(todo,
                     "the guest was stopped to be moved, by a qferry that was killed: "
                     "it is to run in the end");
        }
        m->listens = mig_is_listening(m);
        preflight_judge(m, todo);
        mig_use_network(m, todo);
        preflight_check_listening(m);
    }
    if (!m->has_reason && !mig_is_secured(m, todo))
        return;
    if (m->has_reason) {
        give_up(m);
    } else if (m->spec.dry_run) {
        mig_go(m, MIG_MEASURE);
    } else if (is_cleaned_up(m, ev, todo)) {
        mig_go(m, MIG_CONFIGURE);
    }
}

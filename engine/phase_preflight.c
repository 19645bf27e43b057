/* PREFLIGHT: look, compare, judge. Changes nothing on either side.
 *
 * All queries go out at once (QEMU answers in order, eight at a time); then the checks are
 * judged one by one, each leaves a record. What QEMU itself does not compare is compared here:
 * the number and type of the CPUs, the PCI devices (fact sheet 7.3: an extra device on the
 * destination completes silently; a missing one fails after the guest was stopped, and kills it
 * in post-copy before 10.2).
 *
 * query-qmp-schema is not asked: 207 KB that keep QEMU 7.2's main loop busy for 20 to 27 ms,
 * measured, while the guest wants it. What exists is learnt from query-migrate-capabilities and
 * query-migrate-parameters, and for the one argument that these do not tell (exit-on-error of
 * migrate-incoming) from QEMU's own answer, see phase_configure.c. */
#include <inttypes.h>
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
            mig_fail(m, OUTCOME_FAILED, QF_E_PROTO,
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
    case QAPI_STOP:
    case QAPI_CONT:
    case QAPI_QUIT:
    case QAPI_MIGRATE_INCOMING:
    case QAPI_MIGRATE:
    case QAPI_MIGRATE_CANCEL:
    case QAPI_MIGRATE_CONTINUE:
    case QAPI_MIGRATE_START_POSTCOPY:
    case QAPI_YANK:
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

/* ---- the checks ---- */

struct verdict {
    unsigned refused;
    char first[RECORD_TEXT_MAX];
};

static struct record_check *begin_check(struct mig *m,
                                        struct mig_todo *todo,
                                        enum spec_check check)
{
    (void)m;
    struct record_check *c = &mig_record(todo, RECORD_CHECK)->u.check;
    c->name = spec_check_name(check);
    c->verdict = CHECK_OK;
    return c;
}

/* The check does not hold: refused, or a warning where --unsafe says so. */
static void object(const struct mig *m,
                   enum spec_check check,
                   struct record_check *c,
                   struct verdict *v)
{
    if (m->spec.unsafe & (1U << (unsigned)check)) {
        c->verdict = CHECK_WARNING;
        return;
    }
    c->verdict = CHECK_REFUSED;
    if (v->refused++ == 0)
        (void)snprintf(v->first, sizeof(v->first), "%s: %s", c->name, c->message);
}

static void check_source_state(struct mig *m, struct mig_todo *todo, struct verdict *v)
{
    struct record_check *c = begin_check(m, todo, SPEC_CHECK_SOURCE_STATE);
    const struct mig_side *src = &m->side[MIG_SRC];
    (void)snprintf(c->source, sizeof(c->source), "%s", qapi_run_name(src->run));
    switch (src->run) {
    case QAPI_RUN_RUNNING:
    case QAPI_RUN_PAUSED:
    case QAPI_RUN_SUSPENDED:
    case QAPI_RUN_IO_ERROR:
    case QAPI_RUN_GUEST_PANICKED:
    case QAPI_RUN_WATCHDOG:
    case QAPI_RUN_PRELAUNCH:
    case QAPI_RUN_SHUTDOWN:
        (void)snprintf(c->message, sizeof(c->message), "the source is %s",
                       qapi_run_name(src->run));
        return;
    case QAPI_RUN_INMIGRATE:
        (void)snprintf(c->message, sizeof(c->message),
                       "the source itself waits for an incoming migration; are source and "
                       "destination exchanged?");
        break;
    case QAPI_RUN_POSTMIGRATE:
        (void)snprintf(
            c->message, sizeof(c->message),
            "the source was migrated away before (postmigrate): its guest runs "
            "elsewhere, or was given up; if it runs nowhere, `cont` takes it back");
        break;
    case QAPI_RUN_UNKNOWN:
    case QAPI_RUN_DEBUG:
    case QAPI_RUN_INTERNAL_ERROR:
    case QAPI_RUN_FINISH_MIGRATE:
    case QAPI_RUN_RESTORE_VM:
    case QAPI_RUN_SAVE_VM:
    case QAPI_RUN_COLO:
        (void)snprintf(c->message, sizeof(c->message),
                       "the source is in state %s, it must be running or paused",
                       qapi_run_name(src->run));
        break;
    }
    object(m, SPEC_CHECK_SOURCE_STATE, c, v);
}

static void check_destination_state(struct mig *m, struct mig_todo *todo, struct verdict *v)
{
    struct record_check *c = begin_check(m, todo, SPEC_CHECK_DESTINATION_STATE);
    const struct mig_side *dst = &m->side[MIG_DST];
    const enum qapi_mig_status status = dst->migrate.status;
    (void)snprintf(c->destination, sizeof(c->destination), "%s", qapi_run_name(dst->run));
    if (dst->run != QAPI_RUN_INMIGRATE)
        (void)snprintf(c->message, sizeof(c->message),
                       "the destination is %s, it must wait for a migration: start it with "
                       "-incoming defer -S",
                       qapi_run_name(dst->run));
    else if (status == QAPI_MIG_NONE && dst->migrate.listen_port[0] == '\0') {
        (void)snprintf(c->message, sizeof(c->message), "the destination waits (inmigrate)");
        return;
    } else if (status == QAPI_MIG_NONE || status == QAPI_MIG_SETUP)
        (void)snprintf(c->message, sizeof(c->message),
                       "the destination listens already (%s:%s); start it anew with "
                       "-incoming defer",
                       dst->migrate.listen_host, dst->migrate.listen_port);
    else
        (void)snprintf(
            c->message, sizeof(c->message),
            "the destination has been used for an incoming migration before (%s); "
            "start it anew with -incoming defer -S",
            qapi_mig_name(status));
    object(m, SPEC_CHECK_DESTINATION_STATE, c, v);
}

static void check_under_way(struct mig *m, struct mig_todo *todo, struct verdict *v)
{
    struct record_check *c = begin_check(m, todo, SPEC_CHECK_UNDER_WAY);
    struct owner_view view;
    mig_view(m, &view);
    const enum qapi_mig_status status = m->side[MIG_SRC].migrate.status;
    (void)snprintf(c->source, sizeof(c->source), "%s", qapi_mig_name(status));
    (void)snprintf(c->message, sizeof(c->message),
                   "no migration is under way on the source");
    switch (view.stage) {
    case STAGE_COPYING:
    case STAGE_AT_SWITCH:
    case STAGE_SWITCHING:
    case STAGE_POSTCOPY:
    case STAGE_BROKEN:
    case STAGE_UNWINDING:
        (void)snprintf(
            c->message, sizeof(c->message),
            "the source is migrating already (%s), not to this destination; wait for "
            "its end or cancel it",
            qapi_mig_name(status));
        object(m, SPEC_CHECK_UNDER_WAY, c, v);
        break;
    case STAGE_IDLE:
    case STAGE_LOADED:
    case STAGE_MOVED:
    case STAGE_STOPPED:
    case STAGE_LOST:
    case STAGE_CONFLICT:
        break;
    }
}

static void check_blocked(struct mig *m, struct mig_todo *todo, struct verdict *v)
{
    struct record_check *c = begin_check(m, todo, SPEC_CHECK_BLOCKED);
    const struct qapi_migrate *q = &m->side[MIG_SRC].migrate;
    if (!q->blocked) {
        (void)snprintf(c->message, sizeof(c->message), "nothing blocks the migration");
        return;
    }
    (void)snprintf(c->message, sizeof(c->message), "the source cannot be migrated: %s",
                   q->blocked_reason);
    object(m, SPEC_CHECK_BLOCKED, c, v);
}

/* Without these the promise cannot be kept: a switch that qferry decides, and an acknowledgement
 * of the destination's load (fact sheet 0, rules 2 and 3). */
#define NEEDED_SRC                                                       \
    (QAPI_CAP_BIT(RETURN_PATH) | QAPI_CAP_BIT(PAUSE_BEFORE_SWITCHOVER) | \
     QAPI_CAP_BIT(EVENTS))

static void check_capabilities(struct mig *m, struct mig_todo *todo, struct verdict *v)
{
    struct record_check *c = begin_check(m, todo, SPEC_CHECK_CAPABILITIES);
    const uint64_t missing = NEEDED_SRC & ~m->side[MIG_SRC].caps_found.offered;
    const uint64_t lacks = QAPI_CAP_BIT(EVENTS) & ~m->side[MIG_DST].caps_found.offered;
    if (missing == 0 && lacks == 0) {
        (void)snprintf(c->message, sizeof(c->message),
                       "what a safe switch needs is offered");
        return;
    }
    (void)snprintf(c->message, sizeof(c->message),
                   "the %s does not offer the capability %s, which a safe switch needs",
                   mig_side_name(missing ? MIG_SRC : MIG_DST),
                   missing & QAPI_CAP_BIT(RETURN_PATH) ? "return-path"
                   : missing & QAPI_CAP_BIT(PAUSE_BEFORE_SWITCHOVER)
                       ? "pause-before-switchover"
                       : "events");
    object(m, SPEC_CHECK_CAPABILITIES, c, v);
}

static void check_same_text(struct mig *m,
                            struct mig_todo *todo,
                            struct verdict *v,
                            enum spec_check check,
                            const char *what,
                            const char *src,
                            const char *dst,
                            const char *advice)
{
    struct record_check *c = begin_check(m, todo, check);
    (void)snprintf(c->source, sizeof(c->source), "%s", src);
    (void)snprintf(c->destination, sizeof(c->destination), "%s", dst);
    if (src[0] != '\0' && strcmp(src, dst) == 0) {
        (void)snprintf(c->message, sizeof(c->message), "both sides: %s", src);
        return;
    }
    (void)snprintf(c->message, sizeof(c->message),
                   "%s differs: source %s, destination %s%s", what,
                   src[0] ? src : "(not told)", dst[0] ? dst : "(not told)", advice);
    object(m, check, c, v);
}

static void check_same_number(struct mig *m,
                              struct mig_todo *todo,
                              struct verdict *v,
                              enum spec_check check,
                              const char *what,
                              uint64_t src,
                              uint64_t dst)
{
    struct record_check *c = begin_check(m, todo, check);
    (void)snprintf(c->source, sizeof(c->source), "%" PRIu64, src);
    (void)snprintf(c->destination, sizeof(c->destination), "%" PRIu64, dst);
    if (src == dst && src != 0) {
        (void)snprintf(c->message, sizeof(c->message), "both sides: %" PRIu64 " %s", src,
                       what);
        return;
    }
    (void)snprintf(c->message, sizeof(c->message),
                   "source has %" PRIu64 " %s, destination %" PRIu64, src, what, dst);
    object(m, check, c, v);
}

static int compare_address(const struct qapi_pci_dev *a, const struct qapi_pci_dev *b)
{
    const uint64_t x = ((uint64_t)a->bus << 32) + ((uint64_t)a->slot << 8) + a->function;
    const uint64_t y = ((uint64_t)b->bus << 32) + ((uint64_t)b->slot << 8) + b->function;
    return x < y ? -1 : x > y;
}

static void name_device(char *buf, size_t size, const struct qapi_pci_dev *d)
{
    (void)snprintf(buf, size, "%02x:%02x.%x %04x:%04x", d->bus, d->slot, d->function,
                   d->vendor, d->device);
}

/* The first difference, both lists sorted by address. False: none. */
static bool first_pci_difference(const struct qapi_pci *src,
                                 const struct qapi_pci *dst,
                                 char *text,
                                 size_t size)
{
    const uint32_t n = src->count < QAPI_PCI_MAX ? src->count : QAPI_PCI_MAX;
    const uint32_t k = dst->count < QAPI_PCI_MAX ? dst->count : QAPI_PCI_MAX;
    char one[64];
    char other[64];
    for (uint32_t i = 0; i < n || i < k; i++) {
        const int order = i >= n   ? 1
                          : i >= k ? -1
                                   : compare_address(&src->dev[i], &dst->dev[i]);
        if (order != 0) {
            name_device(one, sizeof(one), order < 0 ? &src->dev[i] : &dst->dev[i]);
            (void)snprintf(text, size, "only the %s has the PCI device %s",
                           order < 0 ? "source" : "destination", one);
            return true;
        }
        const struct qapi_pci_dev *a = &src->dev[i];
        const struct qapi_pci_dev *b = &dst->dev[i];
        if (a->vendor != b->vendor || a->device != b->device ||
            a->subsystem != b->subsystem) {
            name_device(one, sizeof(one), a);
            name_device(other, sizeof(other), b);
            (void)snprintf(text, size, "PCI devices differ: source %s, destination %s", one,
                           other);
            return true;
        }
    }
    if (src->count != dst->count) {
        (void)snprintf(text, size, "source has %u PCI devices, destination %u", src->count,
                       dst->count);
        return true;
    }
    return false;
}

static void check_pci(struct mig *m, struct mig_todo *todo, struct verdict *v)
{
    struct record_check *c = begin_check(m, todo, SPEC_CHECK_PCI_DEVICES);
    const struct qapi_pci *src = &m->side[MIG_SRC].pci;
    const struct qapi_pci *dst = &m->side[MIG_DST].pci;
    (void)snprintf(c->source, sizeof(c->source), "%u", src->count);
    (void)snprintf(c->destination, sizeof(c->destination), "%u", dst->count);
    if (first_pci_difference(src, dst, c->message, sizeof(c->message))) {
        object(m, SPEC_CHECK_PCI_DEVICES, c, v);
        return;
    }
    (void)snprintf(c->message, sizeof(c->message), "both sides: the same %u PCI devices%s",
                   src->count, src->count > QAPI_PCI_MAX ? " (the first 64 compared)" : "");
}

/* A policy that may use post-copy where QEMU does not offer it goes on without. */
static void check_postcopy(struct mig *m, struct mig_todo *todo)
{
    if (!m->policy.postcopy_allowed)
        return;
    struct record_check *c = begin_check(m, todo, SPEC_CHECK_POSTCOPY);
    const uint64_t bit = QAPI_CAP_BIT(POSTCOPY_RAM);
    if (m->side[MIG_SRC].caps_found.offered & m->side[MIG_DST].caps_found.offered & bit) {
        (void)snprintf(c->message, sizeof(c->message), "both sides offer post-copy");
        return;
    }
    c->verdict = CHECK_WARNING;
    (void)snprintf(
        c->message, sizeof(c->message),
        "the policy may switch to post-copy, but the %s does not offer it: it will not",
        m->side[MIG_SRC].caps_found.offered & bit ? "destination" : "source");
    m->policy.postcopy_allowed = false;
}

static void judge(struct mig *m, struct mig_todo *todo)
{
    const struct mig_side *src = &m->side[MIG_SRC];
    const struct mig_side *dst = &m->side[MIG_DST];
    struct verdict v = {.refused = 0};
    check_source_state(m, todo, &v);
    check_destination_state(m, todo, &v);
    check_under_way(m, todo, &v);
    check_blocked(m, todo, &v);
    check_capabilities(m, todo, &v);
    check_same_text(m, todo, &v, SPEC_CHECK_ARCHITECTURE, "architecture", src->target,
                    dst->target, "");
    check_same_text(
        m, todo, &v, SPEC_CHECK_MACHINE_TYPE, "machine type", src->machine, dst->machine,
        "; start the destination with the source's (plain pc or q35 mean another "
        "machine in each QEMU version)");
    check_same_number(m, todo, &v, SPEC_CHECK_MEMORY, "bytes of memory", src->memory_bytes,
                      dst->memory_bytes);
    check_same_number(m, todo, &v, SPEC_CHECK_CPUS, "CPUs", src->cpus, dst->cpus);
    check_same_text(m, todo, &v, SPEC_CHECK_CPU_TYPE, "CPU type", src->cpu_type,
                    dst->cpu_type, "");
    check_pci(m, todo, &v);
    check_same_text(m, todo, &v, SPEC_CHECK_UUID, "UUID", src->uuid, dst->uuid, "");
    check_postcopy(m, todo);
    if (v.refused > 1)
        mig_fail(m, OUTCOME_REFUSED, QF_E_REFUSED, "%s (and %u more)", v.first,
                 v.refused - 1);
    else if (v.refused == 1)
        mig_fail(m, OUTCOME_REFUSED, QF_E_REFUSED, "%s", v.first);
}

/* ---- a move that is under way already, between just these two ---- */

static bool is_course_of_ours(const struct mig *m)
{
    struct owner_view v;
    mig_view(m, &v);
    const enum qapi_mig_status dst = m->side[MIG_DST].migrate.status;
    if (v.stage != STAGE_MOVED &&
        (m->side[MIG_SRC].caps_found.on & NEEDED_SRC) != NEEDED_SRC)
        return false; /* somebody else's, without what makes a switch safe */
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

static void take_up(struct mig *m, struct mig_todo *todo)
{
    const struct mig_side *src = &m->side[MIG_SRC];
    m->taken_up = true;
    m->incoming_asked = true;
    m->started = true;
    m->migrate_ns = m->now_ns;
    /* What it was before the switch cannot be asked any more. A paused source is seen to be
     * paused; after the switch a move is taken to be that of a running guest. */
    m->guest_ran = src->run != QAPI_RUN_PAUSED;
    m->downtime_limit_ms = src->params_found.value[QAPI_PARAM_DOWNTIME_LIMIT];
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
    mig_warn(todo,
             "a migration between these two is under way (source %s, destination %s): "
             "taking it up",
             qapi_mig_name(src->migrate.status),
             qapi_mig_name(m->side[MIG_DST].migrate.status));
    mig_go(m, MIG_RECONCILE);
}

void phase_preflight(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    if (ev->kind == MIG_EV_ENTER)
        recipe_begin(m, questions, sizeof(questions) / sizeof(questions[0]));
    if (ev->kind == MIG_EV_DOWN)
        mig_fail(m, OUTCOME_FAILED, QF_E_UNREACHABLE, "%s: %s", mig_side_name(ev->side),
                 ev->u.down.err.text);
    if (m->cancel_wanted)
        mig_fail(m, OUTCOME_CANCELLED, QF_E_CANCELLED,
                 "cancelled before anything was touched");
    if (ev->kind == MIG_EV_LATE)
        mig_fail(m, OUTCOME_FAILED, QF_E_UNREACHABLE, "the %s does not answer %s",
                 mig_side_name(ev->side), qapi_command_name(ev->u.late));
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
        take_up(m, todo);
        return;
    }
    m->guest_ran = m->side[MIG_SRC].run == QAPI_RUN_RUNNING ||
                   m->side[MIG_SRC].run == QAPI_RUN_SUSPENDED;
    judge(m, todo);
    if (m->has_reason) {
        mig_go(m, MIG_FAILED);
    } else if (m->spec.dry_run) {
        m->outcome = OUTCOME_COMPLETED;
        (void)snprintf(m->reason, sizeof(m->reason),
                       "every check passed; nothing was changed");
        mig_go(m, MIG_DONE);
    } else {
        mig_go(m, MIG_CONFIGURE);
    }
}

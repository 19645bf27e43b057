/* The checks of PREFLIGHT, one by one; each leaves a record with the values that it compared.
 *
 * What QEMU itself does not compare, or only when it is too late, is compared here. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/units.h"
#include "engine/mig_priv.h"

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
    } else if (m->listens && !preflight_listens_for_channels(m)) {
        (void)snprintf(c->message, sizeof(c->message),
                       "the destination listens already (%s:%s)", dst->migrate.listen_host,
                       dst->migrate.listen_port);
        return;
    } else if (m->listens)
        (void)snprintf(
            c->message, sizeof(c->message),
            "the destination listens already (%s:%s), for several channels; start "
            "it anew with -incoming defer",
            dst->migrate.listen_host, dst->migrate.listen_port);
    else if (status == QAPI_MIG_SETUP)
        /* On a UNIX socket, or nowhere: an attempt that fails uses a QEMU up (10.0 and 11.1; 7.2 may
         * be told again). */
        (void)snprintf(c->message, sizeof(c->message),
                       "the destination was told to listen before (setup, but on no TCP "
                       "port); start it anew with -incoming defer");
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

static void check_capabilities(struct mig *m, struct mig_todo *todo, struct verdict *v)
{
    struct record_check *c = begin_check(m, todo, SPEC_CHECK_CAPABILITIES);
    const uint64_t missing = PREFLIGHT_NEEDED & ~m->side[MIG_SRC].caps_found.offered;
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

/* QEMU 11.1, the first that can move an NVMe controller, dies of SIGSEGV at `migrate` when one has no
 * drive of its own; also one whose namespaces are devices apart, nvme-ns (11.1.3, verified). Older ones
 * refuse every controller (blocked-reasons). */
static void check_nvme(struct mig *m, struct mig_todo *todo, struct verdict *v)
{
    const struct mig_side *src = &m->side[MIG_SRC];
    if (src->pci.nvme == 0 || src->migrate.blocked)
        return;
    struct record_check *c = begin_check(m, todo, SPEC_CHECK_NVME_DRIVE);
    if (m->nvme.empty[0] != '\0') {
        (void)snprintf(
            c->message, sizeof(c->message),
            "the NVMe controller %s has no drive of its own (drive=): the source's "
            "QEMU would die when it is migrated, and the guest with it; give it "
            "one, or take it out",
            m->nvme.empty);
        object(m, SPEC_CHECK_NVME_DRIVE, c, v);
    } else if (m->nvme.heard < src->pci.nvme) {
        c->verdict = CHECK_SKIPPED;
        (void)snprintf(c->message, sizeof(c->message),
                       "of %u NVMe controllers %u could be looked at, and have drives",
                       src->pci.nvme, m->nvme.heard);
    } else {
        (void)snprintf(c->message, sizeof(c->message), "%u NVMe controller%s, with drive",
                       src->pci.nvme, src->pci.nvme == 1 ? "" : "s");
    }
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
    mig_deny_postcopy(m);
}

static void name_channels(char *buf, size_t size, const struct mig *m)
{
    if (m->channels == 0)
        (void)snprintf(buf, size, "one stream");
    else
        (void)snprintf(
            buf, size, "%u channel%s%s%s%s", m->channels, m->channels == 1 ? "" : "s",
            m->compression == QAPI_COMPRESSION_NONE ? "" : ", ",
            m->compression == QAPI_COMPRESSION_NONE ? ""
                                                    : qapi_compression_name(m->compression),
            m->zero_copy ? ", zero-copy" : "");
}

/* Why the channels that are wanted cannot be had; false: they can. */
static bool first_channels_conflict(const struct mig *m, char *text, size_t size)
{
    if (m->listens && !preflight_listens_for_these(m)) {
        (void)snprintf(
            text, size,
            "the destination listens already, and must know of them before that");
        return true;
    }
    for (unsigned i = 0; i < MIG_SIDES; i++) {
        const struct mig_side *s = &m->side[i];
        const char *lacks = NULL;
        if (!(s->caps_found.offered & QAPI_CAP_BIT(MULTIFD)) ||
            !(s->params_found.has & 1U << QAPI_PARAM_MULTIFD_CHANNELS))
            lacks = "channels (multifd)";
        else if (m->compression != QAPI_COMPRESSION_NONE &&
                 !(s->params_found.has & 1U << QAPI_PARAM_MULTIFD_COMPRESSION))
            lacks = "compression of channels";
        if (lacks) {
            (void)snprintf(text, size, "the %s's QEMU does not offer %s",
                           mig_side_name((enum mig_side_id)i), lacks);
            return true;
        }
    }
    if (m->policy.postcopy_allowed && !mig_is_pair_answered(m)) {
        const bool src = m->side[MIG_SRC].caps_found.offered & QAPI_CAP_BIT(MAPPED_RAM);
        (void)snprintf(
            text, size,
            "the policy may switch to post-copy, and the %s's QEMU is too old to be "
            "trusted with both (7.2 loses the guest)",
            mig_side_name(src ? MIG_DST : MIG_SRC));
        return true;
    }
    return false;
}

/* What was asked for by an option is refused when it cannot be had; a policy, or the default, goes
 * on with one stream, and a policy that may switch to post-copy keeps that: it is its way out. */
static void check_channels(struct mig *m, struct mig_todo *todo, struct verdict *v)
{
    char why[RECORD_VALUE_MAX];
    char what[64];
    char conflict[RECORD_VALUE_MAX * 2];
    mig_choose_channels(m, why, sizeof(why));
    struct record_check *c = begin_check(m, todo, SPEC_CHECK_CHANNELS);
    name_channels(what, sizeof(what), m);
    if (m->channels == 0 || !first_channels_conflict(m, conflict, sizeof(conflict))) {
        (void)snprintf(
            c->message, sizeof(c->message), "%s: %s%s%s", what, why,
            m->channels > 0 && m->policy.postcopy_allowed
                ? "; if QEMU takes them together with post-copy"
                : "",
            m->channels > 0 && !mig_may_choose_channels(m)
                ? "; a QEMU older than 11 can hang with them when the destination dies"
                : "");
        return;
    }
    if (m->channels_asked) {
        (void)snprintf(c->message, sizeof(c->message), "%s (%s): %s; %s", what, why,
                       conflict,
                       m->policy.postcopy_allowed && !mig_is_pair_answered(m)
                           ? "leave them out, or add --set postcopy.allowed=false"
                           : "leave them out");
        object(m, SPEC_CHECK_CHANNELS, c, v);
        return;
    }
    if (m->policy.channels > 0)
        c->verdict = CHECK_WARNING;
    (void)snprintf(c->message, sizeof(c->message), "one stream, not %s (%s): %s", what, why,
                   conflict);
    mig_one_stream(m);
}

/* A page that is sent without a copy is locked until the network has done with it: in the worst
 * case all of them at once, and QEMU's migration fails where they are too many (sendmsg: ENOBUFS;
 * qapi/migration.json, zero-copy-send; libvirt raises the limit to all of the memory). */
static void check_zero_copy(struct mig *m, struct mig_todo *todo, struct verdict *v)
{
    if (!m->spec.zero_copy)
        return;
    struct record_check *c = begin_check(m, todo, SPEC_CHECK_ZERO_COPY);
    const struct mig_side *src = &m->side[MIG_SRC];
    const struct mig_process *p = &m->process;
    char may[32];
    char needs[32];
    if (!(src->caps_found.offered & QAPI_CAP_BIT(ZERO_COPY_SEND))) {
        (void)snprintf(c->message, sizeof(c->message),
                       "the source's QEMU does not offer zero-copy-send");
        object(m, SPEC_CHECK_ZERO_COPY, c, v);
        return;
    }
    if (!p->known || p->memory_bytes < src->memory_bytes) {
        c->verdict = CHECK_SKIPPED;
        (void)snprintf(c->message, sizeof(c->message),
                       "how much memory the source's QEMU may lock cannot be seen: %s",
                       p->known
                           ? "its monitor was opened by another process"
                           : "its monitor is no UNIX socket of a process on this host");
        return;
    }
    (void)qf_format_bytes(src->memory_bytes, needs, sizeof(needs));
    (void)qf_format_bytes(p->lockable_bytes, may, sizeof(may));
    if (p->lockable_bytes >= src->memory_bytes) {
        (void)snprintf(c->message, sizeof(c->message), "the source's QEMU may lock %s",
                       p->lockable_bytes == UINT64_MAX ? "all memory" : may);
        return;
    }
    (void)snprintf(
        c->message, sizeof(c->message),
        "the source's QEMU may lock %s of memory, and may need all of its %s: prlimit "
        "--pid %" PRId64 " --memlock=%" PRIu64,
        may, needs, p->pid, src->memory_bytes);
    object(m, SPEC_CHECK_ZERO_COPY, c, v);
}

/* That what is asked for is ready is told later (mig_secure.c): it is made ready only for a move
 * that nothing else speaks against. */
static void check_encryption(struct mig *m, struct mig_todo *todo, struct verdict *v)
{
    char text[RECORD_TEXT_MAX];
    char warn[RECORD_TEXT_MAX];
    const char *refused = mig_secure_refuses(m, text, warn);
    if (!refused && warn[0] == '\0')
        return;
    struct record_check *c = begin_check(m, todo, SPEC_CHECK_ENCRYPTION);
    (void)snprintf(c->message, sizeof(c->message), "%s", refused ? refused : warn);
    (void)snprintf(c->source, sizeof(c->source), "%.100s",
                   m->side[MIG_SRC].params_found.text[QAPI_TEXT_PARAM_TLS_CREDS]);
    (void)snprintf(c->destination, sizeof(c->destination), "%.100s",
                   m->side[MIG_DST].params_found.text[QAPI_TEXT_PARAM_TLS_CREDS]);
    if (refused)
        object(m, SPEC_CHECK_ENCRYPTION, c, v);
    else
        c->verdict = CHECK_WARNING;
}

/* What it costs: a last word of the destination's that is lost makes QEMU itself run both (fact sheet 3.9,
 * verified on 7.2, 10.0 and 11.1). */
static void check_self_start(struct mig *m, struct mig_todo *todo, struct verdict *v)
{
    m->self_start = m->spec.self_start && m->guest_ran;
    if (!m->spec.self_start)
        return;
    struct record_check *c = begin_check(m, todo, SPEC_CHECK_SELF_START);
    if (!m->guest_ran) {
        (void)snprintf(c->message, sizeof(c->message),
                       "the guest does not run: there is nothing to start");
        return;
    }
    if (!mig_can_mark(m, MIG_MARK_SELF_START)) {
        (void)snprintf(
            c->message, sizeof(c->message),
            "the source's QEMU has no x-checkpoint-delay, in which a mark is left "
            "for a qferry that has to take the move up; leave --self-start out");
        object(m, SPEC_CHECK_SELF_START, c, v);
        return;
    }
    c->verdict = CHECK_WARNING;
    (void)snprintf(
        c->message, sizeof(c->message),
        "a destination without -S starts the guest by itself: if its last word is lost in the switch, QEMU lets the source run on, too");
}

void preflight_judge(struct mig *m, struct mig_todo *todo)
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
    check_nvme(m, todo, &v);
    check_same_text(m, todo, &v, SPEC_CHECK_UUID, "UUID", src->uuid, dst->uuid, "");
    check_postcopy(m, todo);
    check_channels(m, todo, &v);
    check_zero_copy(m, todo, &v);
    check_encryption(m, todo, &v);
    check_self_start(m, todo, &v);
    if (v.refused > 1)
        mig_fail(m, OUTCOME_REFUSED, QF_E_REFUSED, "%s (and %u more)", v.first,
                 v.refused - 1);
    else if (v.refused == 1)
        mig_fail(m, OUTCOME_REFUSED, QF_E_REFUSED, "%s", v.first);
}

bool preflight_is_same_machine(const struct mig *m)
{
    const struct mig_side *src = &m->side[MIG_SRC];
    const struct mig_side *dst = &m->side[MIG_DST];
    char difference[RECORD_TEXT_MAX];
    return strcmp(src->target, dst->target) == 0 &&
           strcmp(src->machine, dst->machine) == 0 &&
           src->memory_bytes == dst->memory_bytes && src->cpus == dst->cpus &&
           strcmp(src->cpu_type, dst->cpu_type) == 0 && strcmp(src->uuid, dst->uuid) == 0 &&
           !first_pci_difference(&src->pci, &dst->pci, difference, sizeof(difference));
}

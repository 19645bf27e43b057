/* What a killed qferry knew of this move: to be written down, and to be made use of.
 *
 * It is heeded in PREFLIGHT, when QEMU's own state is known: a move that is under way, or that was
 * undone meanwhile, is taken up with it; one that had only been prepared begins anew, and what was
 * changed for it is put back in the end. QEMU's word wins: what contradicts it is dropped.
 *
 * The lines are written ahead of what they announce, so what they say may not have happened: a stop,
 * a `migrate` or a switch to post-copy that never left. Each is dealt with below. */
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/units.h"
#include "engine/mig_priv.h"
#include "engine/recover_priv.h"

enum { SAME_MS = 3000 /* by so much QEMU's own count of its time may differ */ };

/* ---- written ---- */

static void copy(char *dst, size_t size, const char *src)
{
    (void)snprintf(dst, size, "%s", src);
}

static void side_of(const struct mig_side *s, struct mig_memory_side *out)
{
    copy(out->uuid, sizeof(out->uuid), s->uuid);
    out->run = s->run;
    out->status = s->migrate.status;
    out->caps_on = s->caps_found.on;
    out->caps_changed = s->caps_changed | s->caps_left;
    out->params_changed = s->params_changed | s->params_left;
    out->texts_changed = s->texts_changed;
    for (unsigned i = 0; i < QAPI_PARAM_COUNT; i++) {
        if (!(out->params_changed & (1U << i)))
            continue;
        out->param[i] = s->params_found.value[i];
        out->param_set[i] = s->param_set[i];
    }
    for (unsigned i = 0; i < QAPI_TEXT_PARAM_COUNT; i++)
        if (out->texts_changed & (1U << i))
            copy(out->text[i], sizeof(out->text[i]), s->params_found.text[i]);
}

static void ports_of(const struct mig *m, struct mig_memory *out)
{
    const uint16_t first = recover_port(m, 0);
    out->port = m->recover.port;
    out->recovering = m->phase == MIG_RECOVER && m->recover.port != 0;
    for (unsigned i = 0; i < MIG_RECOVER_PORTS; i++) {
        if (m->recover.port_ns[i] <=
            m->phase_ns) /* not now_ns: that would be news in itself */
            continue;
        out->pending[out->n_pending].port = (uint16_t)(first + i);
        out->pending[out->n_pending++].until_ns = m->recover.port_ns[i];
    }
}

/* Has anything been touched, by this qferry or the one before it? */
static bool is_worth_it(const struct mig *m)
{
    return !m->spec.dry_run && !m->ended && m->phase != MIG_NEW &&
           m->phase != MIG_CONNECT && m->phase != MIG_PREFLIGHT && m->phase != MIG_MEASURE;
}

void mig_memory_of(const struct mig *m, struct mig_memory *out)
{
    memset(out, 0, sizeof(*out));
    out->known = is_worth_it(m);
    if (!out->known)
        return;
    out->policy = m->policy;
    if (m->postcopy_denied)
        out->policy.postcopy_allowed = true;
    out->networks = m->spec.networks;
    policy_past_of(&m->policy_run, &out->past);
    out->has_policy = m->policy_changes > 0; /* otherwise it is that of the first line */
    out->policy_changes = m->policy_changes;
    out->operator_fields = m->operator_fields;
    out->steps_done = out->past.steps_done;
    out->attempt = m->attempt;
    copy(out->phase, sizeof(out->phase), mig_phase_name(m->phase));
    out->incoming_asked = m->incoming_asked;
    out->started = m->started;
    out->handed_over = m->handed_over;
    out->guest_ran = m->guest_ran;
    out->guest_paused = m->guest_paused;
    out->paused_at_start = m->paused_at_start;
    out->was_postcopy = m->was_postcopy;
    out->postcopy_asked = m->postcopy_asked || m->postcopy_held;
    out->throttling = m->throttling;
    out->quit_source = m->spec.quit_source;
    out->quit_destination = m->spec.quit_destination;
    out->throttle_first = m->throttle_first;
    out->downtime_limit_ms = m->downtime_limit_ms;
    out->bandwidth_bytes_per_s = m->spec.bandwidth_bytes_per_s;
    out->migrate_ns = m->migrate_ns;
    out->first_migrate_ns = m->first_migrate_ns;
    out->memory_ns = m->memory_ns;
    out->src_stop_ns = m->src_stop_ns;
    copy(out->network, sizeof(out->network), recover_network(m));
    copy(out->address, sizeof(out->address), m->spec.address);
    out->network_bytes_per_s = m->network_bytes_per_s;
    out->rate_is_configured = m->network.rate_is_configured;
    ports_of(m, out);
    out->has_reason = m->has_reason;
    out->outcome = m->outcome;
    out->code = m->code;
    copy(out->reason, sizeof(out->reason), m->reason);
    /* Held is no end of the move: what it was before does not matter to who takes it up. */
    if (m->code == QF_E_HELD)
        out->has_reason = false;
    for (unsigned i = 0; i < MIG_SIDES; i++)
        side_of(&m->side[i], &out->side[i]);
}

bool mig_memory_is_news(const struct mig_memory *a, const struct mig_memory *b)
{
    const size_t from = offsetof(struct mig_memory, has_policy);
    return b->known && (!a->known || memcmp((const char *)a + from, (const char *)b + from,
                                            sizeof(*a) - from) != 0);
}

static void shift(int64_t *t_ns, int64_t by_ns)
{
    if (*t_ns == 0)
        return;
    *t_ns += by_ns;
    if (*t_ns == 0) /* which means something else */
        *t_ns = -1;
}

void mig_memory_shift(struct mig_memory *mem, int64_t by_ns)
{
    shift(&mem->migrate_ns, by_ns);
    shift(&mem->first_migrate_ns, by_ns);
    shift(&mem->memory_ns, by_ns);
    shift(&mem->src_stop_ns, by_ns);
    shift(&mem->past.paused_t_ns, by_ns);
    shift(&mem->past.moved_t_ns, by_ns);
    shift(&mem->past.fell_t_ns, by_ns);
    for (unsigned i = 0; i < mem->n_pending; i++)
        shift(&mem->pending[i].until_ns, by_ns);
}

/* ---- taken in ---- */

static void not_after(int64_t *t_ns, int64_t now_ns)
{
    if (*t_ns > now_ns)
        *t_ns = now_ns;
}

/* Clocks that were set, and journals that were edited. */
void mig_take_memory(struct mig *m, const struct mig_memory *mem)
{
    struct mig_memory *own = &m->memory;
    if (m->phase != MIG_NEW || m->spec.dry_run)
        return;
    *own = *mem;
    not_after(&own->migrate_ns, m->now_ns);
    not_after(&own->first_migrate_ns, m->now_ns);
    not_after(&own->memory_ns, m->now_ns);
    not_after(&own->src_stop_ns, m->now_ns);
    not_after(&own->past.paused_t_ns, m->now_ns);
    not_after(&own->past.moved_t_ns, m->now_ns);
    not_after(&own->past.fell_t_ns, m->now_ns);
    for (unsigned i = 0; i < own->n_pending; i++)
        not_after(&own->pending[i].until_ns, m->now_ns + qf_ms_to_ns(RECOVER_SYN_MS));
    if (own->outcome == OUTCOME_COMPLETED || own->code == QF_E_OK || own->code == QF_E_HELD)
        own->has_reason = false;
}

/* Its source was told to quit, when all else was done. */
static bool is_source_done(const struct mig_memory *mem)
{
    return mem->handed_over && mem->side[MIG_SRC].status == QAPI_MIG_COMPLETED;
}

bool mig_memory_does_without(struct mig *m, const struct mig_event *ev)
{
    struct mig_side *s = &m->side[ev->side];
    const enum qf_code code = ev->u.down.err.code;
    if (!m->memory.known || code == QF_E_PROTO ||
        (ev->side == MIG_SRC && (!ev->u.down.gone || !is_source_done(&m->memory))))
        return false;
    memcpy(s->down_text, ev->u.down.err.text, sizeof(s->down_text));
    if (ev->side == MIG_SRC) {
        s->migrate.status = QAPI_MIG_COMPLETED;
        s->run = QAPI_RUN_POSTMIGRATE;
    }
    return true;
}

/* ---- judged ---- */

static void QF_PRINTF(3, 4) drop(struct mig *m, struct mig_todo *todo, const char *fmt, ...)
{
    char why[RECORD_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    m->memory.known = false;
    mig_warn(todo,
             "the journal of an earlier qferry does not fit what is found: %.300s; it is "
             "passed over",
             why);
}

static bool is_source_busy(const struct mig *m)
{
    const enum qapi_mig_status s = m->side[MIG_SRC].migrate.status;
    return s == QAPI_MIG_ACTIVE || s == QAPI_MIG_PRE_SWITCHOVER || s == QAPI_MIG_DEVICE;
}

void mig_memory_judge(struct mig *m, struct mig_todo *todo)
{
    const struct mig_memory *mem = &m->memory;
    const struct qapi_migrate *q = &m->side[MIG_SRC].migrate;
    for (unsigned i = 0; i < MIG_SIDES; i++) {
        const char *is = m->side[i].uuid;
        const char *was = mem->side[i].uuid;
        if (is[0] != '\0' && was[0] != '\0' && strcmp(is, was) != 0) {
            drop(m, todo, "the %s's UUID was %s and is %s",
                 mig_side_name((enum mig_side_id)i), was, is);
            return;
        }
    }
    if (is_source_busy(m) && mem->handed_over) {
        drop(m, todo, "its guest was handed over, and the source's migration is %s",
             qapi_mig_name(q->status));
    } else if (is_source_busy(m) && q->total_ms != QAPI_UNKNOWN_U64 && mem->started) {
        const int64_t age_ms = (m->now_ns - mem->migrate_ns) / QF_NS_PER_MS;
        const int64_t total_ms = (int64_t)(q->total_ms % INT64_MAX);
        if (age_ms - total_ms > SAME_MS || total_ms - age_ms > SAME_MS)
            drop(m, todo,
                 "its migration began %lld s ago, the one that is under way %lld s ago",
                 (long long)age_ms / 1000, (long long)total_ms / 1000);
    }
}

/* Another process than the one that was told to listen. */
static bool is_fresh_destination(const struct mig *m)
{
    return mig_is_waiting(m) && m->side[MIG_DST].migrate.status == QAPI_MIG_NONE &&
           !mig_is_listening(m);
}

static bool is_over(enum qapi_mig_status s)
{
    return mig_is_undone(s) || s == QAPI_MIG_COMPLETED;
}

bool mig_memory_is_ours(const struct mig *m)
{
    const struct mig_memory *mem = &m->memory;
    const struct mig_side *src = &m->side[MIG_SRC];
    struct owner_view v;
    if (!mem->known || !mem->started)
        return false;
    mig_view(m, &v);
    if (src->link != MIG_LINK_UP)
        return v.stage == STAGE_MOVED;
    if ((src->caps_found.on & PREFLIGHT_NEEDED) != PREFLIGHT_NEEDED &&
        !(v.stage == STAGE_IDLE && mem->has_reason)) /* put back already */
        return false;
    switch (v.stage) {
    case STAGE_COPYING:
    case STAGE_AT_SWITCH:
    case STAGE_SWITCHING:
    case STAGE_UNWINDING:
        return !is_fresh_destination(m); /* or it is a move to somewhere else */
    case STAGE_POSTCOPY:
    case STAGE_BROKEN:
    case STAGE_LOST:
        return true;
    case STAGE_IDLE:
        /* A destination that waits, for this or for another move, can be moved to: that is
         * begun anew, unless it was being given up. */
        return is_over(src->migrate.status) && !is_fresh_destination(m) &&
               (mem->has_reason || !mig_is_waiting(m));
    case STAGE_STOPPED:
        return is_over(src->migrate.status) && !is_fresh_destination(m);
    case STAGE_LOADED:
    case STAGE_MOVED:
    case STAGE_CONFLICT:
        break;
    }
    return false;
}

/* ---- a move that is taken up ---- */

static void apply_policy(struct mig *m)
{
    const struct mig_memory *mem = &m->memory;
    if (!mem->has_policy)
        return;
    m->policy = mem->policy;
    m->operator_fields = mem->operator_fields;
    m->policy_changes++;
}

/* The stop was decided, and never left? Then it is decided again. */
static bool is_stop_lost(const struct mig *m)
{
    return m->memory.guest_paused && m->side[MIG_SRC].run == QAPI_RUN_RUNNING;
}

/* Undone, and not by that qferry. */
static bool is_ended_by_hand(const struct mig *m)
{
    const enum qapi_mig_status s = m->side[MIG_SRC].migrate.status;
    return !m->memory.has_reason && (s == QAPI_MIG_CANCELLED || s == QAPI_MIG_FAILED) &&
           !preflight_knows_old_source(m);
}

static void apply_guest(struct mig *m)
{
    const struct mig_memory *mem = &m->memory;
    const uint64_t limit_ms =
        m->side[MIG_SRC].params_found.value[QAPI_PARAM_DOWNTIME_LIMIT];
    struct policy_past past = mem->past;
    /* whoever else has stopped it since; also where somebody has ended the migration by hand, and may
     * have continued and stopped it then */
    const bool ours = mem->guest_paused && !is_ended_by_hand(m);
    m->guest_ran = mem->guest_ran && (m->guest_ran || ours);
    m->guest_paused = ours && !is_stop_lost(m);
    m->paused_at_start = mem->paused_at_start;
    if (is_stop_lost(m))
        past.paused_t_ns = 0;
    /* A step that was written down and not carried out is taken again. */
    if (is_stop_lost(m) || (limit_ms != mem->downtime_limit_ms && mem->has_policy)) {
        past.steps_done = 0;
        past.timeout_used = false;
    }
    if (mem->has_policy)
        policy_resume(&m->policy_run, &past);
    else if (m->guest_paused)
        policy_stopped(&m->policy_run, past.paused_t_ns ? past.paused_t_ns : m->now_ns);
    m->throttling = mem->throttling;
    m->throttle_first = mem->throttle_first;
}

static void apply_network(struct mig *m)
{
    const struct mig_memory *mem = &m->memory;
    struct netsel_choice *c = &m->network;
    if (m->spec.address_from != SPEC_ADDRESS_GIVEN || mem->network[0] != '\0')
        memcpy(m->spec.address, mem->address, sizeof(m->spec.address));
    if (m->spec.bandwidth_auto) {
        m->spec.bandwidth_bytes_per_s = mem->bandwidth_bytes_per_s;
        m->network_bytes_per_s = mem->network_bytes_per_s;
    }
    if (mem->network[0] == '\0')
        return;
    if (m->spec.networks.n == 0)
        m->spec.networks = mem->networks;
    memset(c, 0, sizeof(*c));
    c->is_decided = true;
    c->n = 1;
    c->candidate[0].usable = true;
    c->rate_is_configured = mem->rate_is_configured;
    c->bandwidth_bytes_per_s = mem->network_bytes_per_s;
    copy(c->reason, sizeof(c->reason), "it is in use");
    copy(c->candidate[0].name, sizeof(c->candidate[0].name), mem->network);
    copy(c->candidate[0].address, sizeof(c->candidate[0].address), mem->address);
    for (unsigned i = 0; i < m->spec.networks.n; i++)
        if (strcmp(m->spec.networks.network[i].name, mem->network) == 0)
            c->candidate[0].network = i;
    m->network_known = true;
}

static void expect_at(struct mig *m, uint16_t port, int64_t until_ns)
{
    const unsigned i = (unsigned)(port - recover_port(m, 0));
    if (port >= recover_port(m, 0) && i < MIG_RECOVER_PORTS &&
        m->recover.port_ns[i] < until_ns)
        m->recover.port_ns[i] = until_ns;
}

static void apply_ports(struct mig *m)
{
    const struct mig_memory *mem = &m->memory;
    for (unsigned i = 0; i < mem->n_pending; i++)
        expect_at(m, mem->pending[i].port, mem->pending[i].until_ns);
    if (mem->recovering)
        expect_at(m, mem->port, m->now_ns + qf_ms_to_ns(RECOVER_SYN_MS));
}

static void apply_reason(struct mig *m)
{
    const struct mig_memory *mem = &m->memory;
    if (!mem->has_reason)
        return;
    m->has_reason = true;
    m->outcome = mem->outcome;
    m->code = mem->code;
    memcpy(m->reason, mem->reason, sizeof(m->reason));
}

void mig_memory_apply(struct mig *m)
{
    const struct mig_memory *mem = &m->memory;
    m->memory_heeded = true;
    apply_policy(m);
    apply_guest(m);
    apply_network(m);
    apply_ports(m);
    m->attempt = mem->attempt > 0 ? mem->attempt : 1;
    if (mem->migrate_ns != 0 && mem->migrate_ns <= m->now_ns) {
        m->migrate_ns = mem->migrate_ns;
        m->first_migrate_ns = mem->first_migrate_ns;
        m->memory_ns = mem->memory_ns;
        m->src_stop_ns = mem->src_stop_ns;
    }
    m->was_postcopy = mem->was_postcopy;
    /* Whether it left is not known; said again it does no harm, and until then nothing may be
     * cancelled (phase_precopy.c). */
    m->postcopy_asked = mem->postcopy_asked;
    if (m->spec.attach) {
        m->spec.quit_source = m->spec.quit_source || mem->quit_source;
        m->spec.quit_destination = m->spec.quit_destination || mem->quit_destination;
    }
    apply_reason(m);
}

static void settings_of(struct mig_side *s, const struct mig_memory_side *was)
{
    s->caps_changed = was->caps_changed & s->caps_found.offered;
    s->caps_found.on =
        (s->caps_found.on & ~s->caps_changed) | (was->caps_on & s->caps_changed);
    for (unsigned i = 0; i < QAPI_PARAM_COUNT; i++)
        if (was->params_changed & s->params_found.has & (1U << i)) {
            s->param_set[i] = s->params_found.value[i];
            s->params_found.value[i] = was->param[i];
            s->params_changed |= 1U << i;
        }
    for (unsigned i = 0; i < QAPI_TEXT_PARAM_COUNT; i++)
        if (was->texts_changed & s->params_found.has_text & (1U << i)) {
            memcpy(s->params_found.text[i], was->text[i], sizeof(was->text[i]));
            s->texts_changed |= 1U << i;
        }
}

void mig_memory_apply_settings(struct mig *m)
{
    for (unsigned i = 0; i < MIG_SIDES; i++)
        settings_of(&m->side[i], &m->memory.side[i]);
}

/* ---- one that had only been prepared, or whose QEMUs can be used again ---- */

/* What is there still as that qferry has set it. */
static bool find_leftovers(struct mig_side *s, const struct mig_memory_side *was)
{
    s->caps_left =
        was->caps_changed & s->caps_found.offered & (was->caps_on ^ s->caps_found.on);
    s->caps_found.on ^= s->caps_left;
    for (unsigned i = 0; i < QAPI_PARAM_COUNT; i++)
        if ((was->params_changed & s->params_found.has & (1U << i)) &&
            s->params_found.value[i] == was->param_set[i] &&
            was->param_set[i] != was->param[i]) {
            s->params_found.value[i] = was->param[i];
            s->param_set[i] = was->param_set[i];
            s->params_left |= 1U << i;
        }
    /* mig_secure_adopt has seen whose they are */
    for (unsigned i = 0; i < QAPI_TEXT_PARAM_COUNT; i++)
        if (was->texts_changed & s->texts_changed & (1U << i))
            memcpy(s->params_found.text[i], was->text[i], sizeof(was->text[i]));
    return s->caps_left != 0 || s->params_left != 0 || s->texts_changed != 0;
}

bool mig_memory_stopped_it(const struct mig *m)
{
    const struct mig_memory *mem = &m->memory;
    return mem->known && mem->guest_ran && mem->guest_paused && !is_ended_by_hand(m);
}

void mig_memory_adopt_leftovers(struct mig *m, struct mig_todo *todo)
{
    const struct mig_memory *mem = &m->memory;
    for (unsigned i = 0; i < MIG_SIDES; i++)
        if (m->side[i].link == MIG_LINK_UP && find_leftovers(&m->side[i], &mem->side[i]))
            m->has_leftovers = true;
    const bool listens = mem->incoming_asked && mig_is_listening(m);
    if (!m->has_leftovers && !listens)
        return;
    mig_note(todo,
             "a qferry that was killed had prepared this move%s: what it changed is put "
             "back in the end",
             listens ? ", and the destination listens" : "");
    m->guest_ran = mig_guest_runs(m->side[MIG_SRC].run) || mig_memory_stopped_it(m);
    m->has_leftovers = true;
    m->incoming_asked = listens;
    apply_policy(m);
    if (!is_fresh_destination(m))
        apply_reason(m);
}

void mig_deny_postcopy(struct mig *m)
{
    m->postcopy_denied = m->postcopy_denied || m->policy.postcopy_allowed;
    m->policy.postcopy_allowed = false;
}

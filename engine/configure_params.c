/* CONFIGURE: the parameters of both sides, of which each that is changed is remembered as it was. */
#include <string.h>

#include "engine/configure_priv.h"

static void want_param(const struct mig_side *s,
                       struct qapi_params *p,
                       enum qapi_param which,
                       uint64_t value)
{
    const uint32_t bit = 1U << (unsigned)which;
    if (!(s->params_found.has & bit))
        return;
    p->has |= bit;
    p->value[which] = value;
}

/* Auto-converge is a capability and cannot be turned on once the migration runs, so it is on from
 * the start where the policy allows it. A policy may leave the pace to QEMU from there; otherwise
 * it is held at one percent and let loose by the decision to throttle: from one percent the first
 * step then leads to throttle.initial, and phase_precopy.c sets the policy's own increment once
 * that is reached (1.1; 1.2: max-cpu-throttle is not below cpu-throttle-initial). */
static void want_throttle(const struct mig *m,
                          const struct mig_side *s,
                          struct qapi_params *p)
{
    const struct policy *policy = &m->policy;
    if (!policy->throttle_allowed)
        return;
    const bool held = !policy_throttles_from_start(policy);
    const uint64_t initial = policy->throttle_initial_percent;
    want_param(s, p, QAPI_PARAM_CPU_THROTTLE_INITIAL, held ? 1 : initial);
    want_param(s, p, QAPI_PARAM_CPU_THROTTLE_INCREMENT,
               !held         ? policy->throttle_increment_percent
               : initial > 1 ? initial - 1
                             : 1);
    want_param(s, p, QAPI_PARAM_MAX_CPU_THROTTLE, held ? 1 : policy->throttle_max_percent);
}

/* What QEMU may count on when it decides whether what is left fits into the downtime limit (since 8.2;
 * the switch itself has no limit): only a rate that somebody has configured, since a link's speed says
 * nothing of what is between, and a downtime limit is to hold. */
static void want_hint(const struct mig *m, const struct mig_side *s, struct qapi_params *p)
{
    if (m->network_bytes_per_s != 0 && m->network.rate_is_configured)
        want_param(s, p, QAPI_PARAM_AVAIL_SWITCHOVER_BANDWIDTH, m->network_bytes_per_s);
}

static uint64_t wanted_bandwidth(const struct mig *m)
{
    if (m->spec.bandwidth_bytes_per_s != SPEC_BANDWIDTH_HYPERVISOR)
        return m->spec.bandwidth_bytes_per_s;
    if (m->policy.bandwidth_bytes_per_s != 0)
        return m->policy.bandwidth_bytes_per_s;
    return SPEC_BANDWIDTH_HYPERVISOR;
}

/* What differs from what is there is sent, and remembered; what was left there by an earlier
 * qferry differs (mig_secure.c). */
static bool fill_texts(struct mig *m, enum mig_side_id side, struct qapi_params *p)
{
    struct mig_side *s = &m->side[side];
    mig_secure_texts(m, side, p);
    for (unsigned i = 0; i < QAPI_TEXT_PARAM_COUNT; i++)
        if ((p->has_text & (1U << i)) && !(s->texts_changed & (1U << i)) &&
            strcmp(p->text[i], s->params_found.text[i]) == 0)
            p->has_text &= ~(1U << i);
    s->texts_changed |= p->has_text;
    return p->has_text != 0;
}

/* The same on both sides, or the destination hangs (fact sheet 3.6). */
static void want_channels(const struct mig *m,
                          const struct mig_side *s,
                          struct qapi_params *p)
{
    if (m->channels == 0)
        return;
    want_param(s, p, QAPI_PARAM_MULTIFD_CHANNELS, m->channels);
    want_param(s, p, QAPI_PARAM_MULTIFD_COMPRESSION, m->compression);
}

/* What a killed qferry has left is said again, or put back. */
static void leave_out_what_is(const struct mig_side *s, struct qapi_params *p)
{
    for (unsigned i = 0; i < QAPI_PARAM_COUNT; i++) {
        const uint32_t bit = 1U << i;
        if ((s->params_left & bit) && !(p->has & bit))
            p->value[i] = s->params_found.value[i];
        else if (!(s->params_left & bit) && p->value[i] == s->params_found.value[i])
            p->has &= ~bit;
        p->has |= s->params_left & bit;
    }
}

bool configure_ask_dst_params(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    struct mig_side *s = &m->side[side];
    cmd->command = QAPI_SET_PARAMS;
    cmd->u.params = (struct qapi_params){.has = 0};
    want_channels(m, s, &cmd->u.params);
    leave_out_what_is(s, &cmd->u.params);
    s->params_changed = cmd->u.params.has;
    return fill_texts(m, side, &cmd->u.params) || cmd->u.params.has != 0;
}

/* Which methods a QEMU was built with only its schema would tell, and that costs the guest (see
 * phase_preflight.c). An unknown one is refused before anything is set, and the destination, where
 * nobody runs, is asked first. */
int configure_hear_params(struct mig *m,
                          enum mig_side_id side,
                          const struct qapi_reply *r,
                          struct mig_todo *todo)
{
    (void)todo;
    if (!r->refused)
        return 0;
    if (m->compression != QAPI_COMPRESSION_NONE &&
        strstr(r->error_desc, qapi_compression_name(m->compression)))
        mig_fail(m, OUTCOME_REFUSED, QF_E_REFUSED,
                 "%s: QEMU does not offer --compression %s: %s", mig_side_name(side),
                 qapi_compression_name(m->compression), r->error_desc);
    else
        mig_fail(m, OUTCOME_FAILED, QF_E_QMP, "%s: migrate-set-parameters: %s",
                 mig_side_name(side), r->error_desc);
    return -1;
}

bool configure_ask_params(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    struct mig_side *s = &m->side[side];
    struct qapi_params *p = &cmd->u.params;
    cmd->command = QAPI_SET_PARAMS;
    *p = (struct qapi_params){.has = 0};
    want_param(s, p, QAPI_PARAM_DOWNTIME_LIMIT, m->policy.downtime_start_ms);
    if (wanted_bandwidth(m) != SPEC_BANDWIDTH_HYPERVISOR)
        want_param(s, p, QAPI_PARAM_MAX_BANDWIDTH, wanted_bandwidth(m));
    if (m->policy.postcopy_allowed) /* what the network sets is no less true then */
        want_param(s, p, QAPI_PARAM_MAX_POSTCOPY_BANDWIDTH,
                   m->policy.postcopy_bandwidth_bytes_per_s != 0
                       ? m->policy.postcopy_bandwidth_bytes_per_s
                       : m->network_bytes_per_s);
    if (m->self_start && mig_can_mark(m, MIG_MARK_SELF_START))
        mig_put_mark(p, MIG_MARK_SELF_START);
    want_throttle(m, s, p);
    want_hint(m, s, p);
    want_channels(m, s, p);
    leave_out_what_is(s, p);
    /* A mark that was left is taken out before memory moves: who takes this move up must not be misled. */
    if (!m->self_start)
        mig_clear_taken_mark(m, p, MIG_MARK_SELF_START);
    s->params_changed |= p->has;
    m->downtime_limit_ms = m->policy.downtime_start_ms;
    const struct qapi_params *limits =
        p->has & (1U << QAPI_PARAM_MAX_BANDWIDTH) ? p : &s->params_found;
    m->bandwidth_limit = limits->has & (1U << QAPI_PARAM_MAX_BANDWIDTH)
                             ? limits->value[QAPI_PARAM_MAX_BANDWIDTH]
                             : POLICY_UNKNOWN;
    const bool texts = fill_texts(m, side, p);
    return p->has != 0 || texts;
}

bool configure_undo_params(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    struct mig_side *s = &m->side[side];
    cmd->command = QAPI_SET_PARAMS;
    cmd->u.params = s->params_found;
    cmd->u.params.has &= s->params_changed | s->params_left;
    cmd->u.params.has_text &= s->texts_changed;
    return (cmd->u.params.has | cmd->u.params.has_text) != 0;
}

bool configure_ask_read_params(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    (void)m;
    (void)side;
    cmd->command = QAPI_QUERY_PARAMS;
    return true;
}

/* What decides whether the memory is encrypted. */
static int hear_read_texts(struct mig *m,
                           enum mig_side_id side,
                           const struct qapi_reply *r,
                           struct mig_todo *todo)
{
    struct qapi_params want = {.has = 0};
    (void)todo;
    mig_secure_texts(m, side, &want);
    for (unsigned i = 0; i < QAPI_TEXT_PARAM_COUNT; i++) {
        if (!(want.has_text & (1U << i)) ||
            (!r->refused && strcmp(want.text[i], r->u.params.text[i]) == 0))
            continue;
        mig_fail(m, OUTCOME_FAILED, QF_E_QMP,
                 "%s: %s was set but reads back otherwise: does another client change it?",
                 mig_side_name(side), qapi_text_param_name((enum qapi_text_param)i));
        return -1;
    }
    return 0;
}

int configure_hear_read_params(struct mig *m,
                               enum mig_side_id side,
                               const struct qapi_reply *r,
                               struct mig_todo *todo)
{
    const uint64_t *is = r->u.params.value;
    const char *wrong = NULL;
    if (side == MIG_SRC && is[QAPI_PARAM_DOWNTIME_LIMIT] != m->downtime_limit_ms)
        wrong = qapi_param_name(QAPI_PARAM_DOWNTIME_LIMIT);
    if (side == MIG_SRC && m->self_start != mig_has_mark(&r->u.params, MIG_MARK_SELF_START))
        wrong = qapi_param_name(mig_mark_param(MIG_MARK_SELF_START));
    if (m->channels > 0 && is[QAPI_PARAM_MULTIFD_CHANNELS] != m->channels)
        wrong = qapi_param_name(QAPI_PARAM_MULTIFD_CHANNELS);
    if (m->channels > 0 && is[QAPI_PARAM_MULTIFD_COMPRESSION] != m->compression)
        wrong = qapi_param_name(QAPI_PARAM_MULTIFD_COMPRESSION);
    if (r->refused)
        wrong = side == MIG_SRC ? qapi_param_name(QAPI_PARAM_DOWNTIME_LIMIT)
                                : qapi_param_name(QAPI_PARAM_MULTIFD_CHANNELS);
    if (!wrong)
        return hear_read_texts(m, side, r, todo);
    mig_fail(m, OUTCOME_FAILED, QF_E_QMP,
             "%s: %s was set but reads back otherwise: does another client change it?",
             mig_side_name(side), wrong);
    return -1;
}

bool configure_ask_read_dst_params(struct mig *m,
                                   enum mig_side_id side,
                                   struct qapi_cmd *cmd)
{
    return (m->channels > 0 || m->spec.encrypt != SPEC_ENCRYPT_OFF) &&
           configure_ask_read_params(m, side, cmd);
}

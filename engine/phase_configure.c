/* CONFIGURE: both ends agree before guest memory moves. Destination first: it must be ready for
 * what comes. Every value that is changed is remembered as it was found, and put back when the
 * migration is rolled back, and on both sides after its end.
 *
 * The destination is told to `stop` while it is still in inmigrate: a destination without -S
 * would otherwise start by itself at the end of the load, and a lost acknowledgement would then
 * make two running guests (fact sheet 0, rule 1). With -S it changes nothing. It cannot be asked
 * which of both it was, so it is not taken back: a destination that was touched by qferry starts
 * the guest on nobody's word but qferry's. */
#include <stdio.h>
#include <string.h>

#include "engine/base/units.h"
#include "engine/mig_priv.h"

static bool wants_postcopy(const struct mig *m)
{
    return m->policy.postcopy_allowed;
}

/* ---- capabilities ---- */

/* Left over from somebody else, these would change what the stream is, on one side only or with
 * nobody to tend to them (fact sheet 1.4, 3.6: a mismatch can hang the destination's monitor).
 * multifd and zero-copy-send are on only where qferry wants them. */
#define FOREIGN                                                                      \
    (QAPI_CAP_BIT(MULTIFD) | QAPI_CAP_BIT(POSTCOPY_PREEMPT) | QAPI_CAP_BIT(X_COLO) | \
     QAPI_CAP_BIT(BACKGROUND_SNAPSHOT) | QAPI_CAP_BIT(RELEASE_RAM) |                 \
     QAPI_CAP_BIT(RDMA_PIN_ALL) | QAPI_CAP_BIT(ZERO_COPY_SEND) |                     \
     QAPI_CAP_BIT(MAPPED_RAM) | QAPI_CAP_BIT(COMPRESS) | QAPI_CAP_BIT(BLOCK) |       \
     QAPI_CAP_BIT(DIRTY_LIMIT) | QAPI_CAP_BIT(SWITCHOVER_ACK))

static bool is_nil_uuid(const char *uuid)
{
    return strspn(uuid, "0-") == strlen(uuid);
}

/* What shall be on, of those that qferry decides about (mask). */
static void wanted_caps(const struct mig *m,
                        enum mig_side_id side,
                        uint64_t *mask,
                        uint64_t *on)
{
    *mask = QAPI_CAP_BIT(EVENTS) | QAPI_CAP_BIT(POSTCOPY_RAM) | FOREIGN;
    *on = QAPI_CAP_BIT(EVENTS);
    /* Never both where QEMU's word does not count (rule 7), however it came to that. */
    if (wants_postcopy(m) && (m->channels == 0 || mig_is_pair_answered(m)))
        *on |= QAPI_CAP_BIT(POSTCOPY_RAM);
    if (m->channels > 0)
        *on |= QAPI_CAP_BIT(MULTIFD);
    if (side == MIG_DST) {
        *mask |= QAPI_CAP_BIT(LATE_BLOCK_ACTIVATE);
        *on |= QAPI_CAP_BIT(LATE_BLOCK_ACTIVATE);
        return;
    }
    *mask |= QAPI_CAP_BIT(RETURN_PATH) | QAPI_CAP_BIT(PAUSE_BEFORE_SWITCHOVER) |
             QAPI_CAP_BIT(VALIDATE_UUID) | QAPI_CAP_BIT(AUTO_CONVERGE);
    *on |= QAPI_CAP_BIT(RETURN_PATH) | QAPI_CAP_BIT(PAUSE_BEFORE_SWITCHOVER);
    /* Only where both have one and it is the same: --unsafe uuid lets others pass. */
    if (!is_nil_uuid(m->side[MIG_SRC].uuid) &&
        strcmp(m->side[MIG_SRC].uuid, m->side[MIG_DST].uuid) == 0)
        *on |= QAPI_CAP_BIT(VALIDATE_UUID);
    if (m->policy.throttle_allowed)
        *on |= QAPI_CAP_BIT(AUTO_CONVERGE);
    if (m->zero_copy)
        *on |= QAPI_CAP_BIT(ZERO_COPY_SEND);
}

static bool ask_caps(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    struct mig_side *s = &m->side[side];
    uint64_t mask;
    uint64_t on;
    wanted_caps(m, side, &mask, &on);
    mask &= s->caps_found.offered;
    s->caps_changed = mask & (on ^ s->caps_found.on);
    cmd->command = QAPI_SET_CAPS;
    cmd->u.caps.mask = s->caps_changed;
    cmd->u.caps.on = on;
    return s->caps_changed != 0;
}

/* Multifd and post-copy together: some QEMUs take it, some refuse it, and some only know when they
 * are asked (mig_is_pair_answered). What an option has asked for is not given up without a word;
 * otherwise the policy's way out comes first. */
static int without_channels(struct mig *m, enum mig_side_id side, struct mig_todo *todo)
{
    if (m->channels_asked) {
        mig_fail(
            m, OUTCOME_REFUSED, QF_E_REFUSED,
            "%s: QEMU does not take channels together with post-copy: %.120s; leave the "
            "channels out, or add --set postcopy.allowed=false",
            mig_side_name(side), m->channels_refusal);
        return -1;
    }
    mig_warn(todo,
             "%s: QEMU does not take channels together with post-copy, going on in one "
             "stream: %s",
             mig_side_name(side), m->channels_refusal);
    mig_one_stream(m);
    return 0;
}

/* Post-copy may be offered and yet not be possible on this host (userfaultfd, kind of memory):
 * QEMU says so here (3.4). The policy then does without, on both sides. With channels the refusal
 * may be meant for the pair of them: the second try, without channels, tells. */
static int hear_dst_caps(struct mig *m,
                         enum mig_side_id side,
                         const struct qapi_reply *r,
                         struct mig_todo *todo)
{
    const unsigned doubted = m->channels_doubted;
    m->channels_doubted = 0;
    if (!r->refused) {
        if (doubted == 0)
            return 0;
        return without_channels(m, side, todo);
    }
    if (wants_postcopy(m) && m->channels > 0) {
        m->channels_doubted = m->channels;
        m->channels = 0;
        memcpy(m->channels_refusal, r->error_desc, sizeof(m->channels_refusal));
        m->caps_again = true;
        return 0;
    }
    if (wants_postcopy(m)) {
        mig_warn(todo, "destination: post-copy is not possible, going on without it: %s",
                 r->error_desc);
        m->policy.postcopy_allowed = false;
        m->channels = doubted;
        m->caps_again = true;
        return 0;
    }
    mig_fail(m, OUTCOME_FAILED, QF_E_QMP, "%s: migrate-set-capabilities: %s",
             mig_side_name(side), r->error_desc);
    return -1;
}

/* The destination has taken both, the source refuses: then neither has them. */
static int hear_src_caps(struct mig *m,
                         enum mig_side_id side,
                         const struct qapi_reply *r,
                         struct mig_todo *todo)
{
    if (!r->refused)
        return 0;
    if (wants_postcopy(m) && m->channels > 0) {
        m->side[side].caps_changed = 0; /* nothing of it was done: so it reads back */
        memcpy(m->channels_refusal, r->error_desc, sizeof(m->channels_refusal));
        m->caps_again = true;
        return without_channels(m, side, todo);
    }
    mig_fail(m, OUTCOME_FAILED, QF_E_QMP, "%s: migrate-set-capabilities: %s",
             mig_side_name(side), r->error_desc);
    return -1;
}

static bool ask_dst_caps_again(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    const bool again = m->caps_again;
    m->caps_again = false;
    return again && ask_caps(m, side, cmd);
}

static bool ask_caps_once_more(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    return m->caps_again && ask_caps(m, side, cmd);
}

/* What the destination took before the source refused is turned off again. */
static bool ask_dst_caps_less(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    const uint64_t set = m->side[side].caps_changed;
    if (!m->caps_again)
        return false;
    (void)ask_caps(m, side, cmd);
    cmd->u.caps.mask |= set;
    return cmd->u.caps.mask != 0;
}

static bool undo_caps(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    struct mig_side *s = &m->side[side];
    cmd->command = QAPI_SET_CAPS;
    cmd->u.caps.mask = s->caps_changed;
    cmd->u.caps.on = s->caps_found.on;
    return s->caps_changed != 0;
}

/* What was set must read back: nothing is started on settings that are only hoped for. */
static bool ask_read_caps(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    (void)m;
    (void)side;
    cmd->command = QAPI_QUERY_CAPS;
    return true;
}

static bool ask_read_caps_again(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    return m->caps_again && ask_read_caps(m, side, cmd);
}

static int hear_read_caps(struct mig *m,
                          enum mig_side_id side,
                          const struct qapi_reply *r,
                          struct mig_todo *todo)
{
    (void)todo;
    const struct mig_side *s = &m->side[side];
    const uint64_t want = s->caps_found.on ^ s->caps_changed;
    const uint64_t wrong = r->refused ? s->caps_changed : (want ^ r->u.caps.on);
    if (wrong == 0)
        return 0;
    for (unsigned i = 0; i < QAPI_CAP_COUNT; i++)
        if (wrong & (UINT64_C(1) << i)) {
            mig_fail(m, OUTCOME_FAILED, QF_E_QMP,
                     "%s: the capability %s was set but reads back otherwise: does another "
                     "client change it?",
                     mig_side_name(side), qapi_cap_name((enum qapi_cap)i));
            break;
        }
    return -1;
}

/* ---- parameters ---- */

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

static void leave_out_what_is(const struct mig_side *s, struct qapi_params *p)
{
    for (unsigned i = 0; i < QAPI_PARAM_COUNT; i++)
        if ((p->has & (1U << i)) && p->value[i] == s->params_found.value[i])
            p->has &= ~(1U << i);
}

static bool ask_dst_params(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
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
static int hear_params(struct mig *m,
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

static bool ask_params(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    struct mig_side *s = &m->side[side];
    struct qapi_params *p = &cmd->u.params;
    cmd->command = QAPI_SET_PARAMS;
    *p = (struct qapi_params){.has = 0};
    want_param(s, p, QAPI_PARAM_DOWNTIME_LIMIT, m->policy.downtime_start_ms);
    if (wanted_bandwidth(m) != SPEC_BANDWIDTH_HYPERVISOR)
        want_param(s, p, QAPI_PARAM_MAX_BANDWIDTH, wanted_bandwidth(m));
    if (wants_postcopy(m)) /* what the network sets is no less true then */
        want_param(s, p, QAPI_PARAM_MAX_POSTCOPY_BANDWIDTH,
                   m->policy.postcopy_bandwidth_bytes_per_s != 0
                       ? m->policy.postcopy_bandwidth_bytes_per_s
                       : m->network_bytes_per_s);
    want_throttle(m, s, p);
    want_hint(m, s, p);
    want_channels(m, s, p);
    leave_out_what_is(s, p);
    s->params_changed = p->has;
    m->downtime_limit_ms = m->policy.downtime_start_ms;
    const struct qapi_params *limits =
        p->has & (1U << QAPI_PARAM_MAX_BANDWIDTH) ? p : &s->params_found;
    m->bandwidth_limit = limits->has & (1U << QAPI_PARAM_MAX_BANDWIDTH)
                             ? limits->value[QAPI_PARAM_MAX_BANDWIDTH]
                             : POLICY_UNKNOWN;
    const bool texts = fill_texts(m, side, p);
    return p->has != 0 || texts;
}

static bool undo_params(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    struct mig_side *s = &m->side[side];
    cmd->command = QAPI_SET_PARAMS;
    cmd->u.params = s->params_found;
    cmd->u.params.has &= s->params_changed;
    cmd->u.params.has_text &= s->texts_changed;
    return (cmd->u.params.has | cmd->u.params.has_text) != 0;
}

static bool ask_read_params(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
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

static int hear_read_params(struct mig *m,
                            enum mig_side_id side,
                            const struct qapi_reply *r,
                            struct mig_todo *todo)
{
    const uint64_t *is = r->u.params.value;
    const char *wrong = NULL;
    if (side == MIG_SRC && is[QAPI_PARAM_DOWNTIME_LIMIT] != m->downtime_limit_ms)
        wrong = qapi_param_name(QAPI_PARAM_DOWNTIME_LIMIT);
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

static bool ask_read_dst_params(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    return (m->channels > 0 || m->spec.encrypt != SPEC_ENCRYPT_OFF) &&
           ask_read_params(m, side, cmd);
}

/* ---- the destination ---- */

static bool ask_stop(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    (void)m;
    (void)side;
    cmd->command = QAPI_STOP;
    return true;
}

static bool ask_listen(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    (void)side;
    const struct mig_spec *spec = &m->spec;
    const char *tunnel = mig_secure_uri(m, MIG_DST);
    char *uri = cmd->u.migrate.uri;
    char port[24];
    cmd->command = QAPI_MIGRATE_INCOMING;
    cmd->u.migrate.stay_on_error = !m->incoming_plain;
    if (tunnel)
        (void)snprintf(uri, sizeof(cmd->u.migrate.uri), "%s", tunnel);
    else if (spec->port_last > spec->port_first)
        (void)snprintf(port, sizeof(port), "%u,to=%u", spec->port_first, spec->port_last);
    else
        (void)snprintf(port, sizeof(port), "%u", spec->port_first);
    if (!tunnel)
        mig_write_tcp(uri, spec->address, port);
    m->incoming_asked = true;
    return true;
}

/* exit-on-error (since 9.1) lets a failed destination live on, to be asked why. An older QEMU
 * refuses the argument before it does anything ("Parameter 'exit-on-error' is unexpected",
 * verified 7.2), so asking is the detection. */
static int hear_listen(struct mig *m,
                       enum mig_side_id side,
                       const struct qapi_reply *r,
                       struct mig_todo *todo)
{
    (void)todo;
    if (!r->refused)
        return 0;
    if (!m->incoming_plain && strstr(r->error_desc, "exit-on-error")) {
        m->incoming_plain = true;
        return 0;
    }
    /* No such address there, no free port: what was asked for cannot be had, and what was set is put
     * back. A refused listen leaves the destination as it was (7.2). */
    char ports[32] = "";
    if (m->spec.port_last > m->spec.port_first)
        (void)snprintf(ports, sizeof(ports), ", ports %u to %u", m->spec.port_first,
                       m->spec.port_last);
    else if (m->spec.port_first != 0)
        (void)snprintf(ports, sizeof(ports), ", port %u", m->spec.port_first);
    const char *tunnel = mig_secure_uri(m, MIG_DST);
    mig_fail(m, OUTCOME_REFUSED, QF_E_REFUSED, "%s: migrate-incoming on %s%s: %s",
             mig_side_name(side), tunnel ? tunnel : m->spec.address, tunnel ? "" : ports,
             r->error_desc);
    return -1;
}

static bool ask_listen_plain(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    return m->incoming_plain && ask_listen(m, side, cmd);
}

static bool ask_port(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    (void)m;
    (void)side;
    cmd->command = QAPI_QUERY_MIGRATE;
    return true;
}

static int hear_port(struct mig *m,
                     enum mig_side_id side,
                     const struct qapi_reply *r,
                     struct mig_todo *todo)
{
    (void)todo;
    const struct qapi_migrate *q = &r->u.migrate;
    const char *tunnel = mig_secure_uri(m, MIG_SRC);
    if (tunnel) {
        (void)snprintf(m->migrate_uri, sizeof(m->migrate_uri), "%s", tunnel);
        return 0;
    }
    if (r->refused || q->listen_port[0] == '\0') {
        mig_fail(m, OUTCOME_FAILED, QF_E_QMP,
                 "%s: does not say on which port it listens%s%s", mig_side_name(side),
                 r->refused ? ": " : "", r->refused ? r->error_desc : "");
        return -1;
    }
    memcpy(m->listen_port, q->listen_port, sizeof(m->listen_port));
    mig_write_tcp(m->migrate_uri, m->spec.address, q->listen_port);
    return 0;
}

/* clang-format off */
static const struct step configure[] = {
    /* name               side     after  when  ask                  heard             undo        */
    {"stop",              MIG_DST, false, NULL, ask_stop,            NULL,             NULL        },
    {"capabilities",      MIG_DST, false, NULL, ask_caps,            hear_dst_caps,    undo_caps   },
    {"capabilities",      MIG_DST, true,  NULL, ask_dst_caps_again,  hear_dst_caps,    NULL        },
    {"capabilities",      MIG_DST, true,  NULL, ask_dst_caps_again,  hear_dst_caps,    NULL        },
    {"old credentials",   MIG_DST, false, NULL, mig_ask_left_creds,  mig_hear_left_creds, NULL     },
    {"parameters",        MIG_DST, true,  NULL, ask_dst_params,      hear_params,      undo_params },
    {"credentials",       MIG_DST, false, NULL, mig_ask_creds,       mig_hear_creds,   mig_undo_creds},
    {"read capabilities", MIG_DST, true,  NULL, ask_read_caps,       hear_read_caps,   NULL        },
    {"read parameters",   MIG_DST, false, NULL, ask_read_dst_params, hear_read_params, NULL        },
    {"capabilities",      MIG_SRC, false, NULL, ask_caps,            hear_src_caps,    undo_caps   },
    {"old credentials",   MIG_SRC, false, NULL, mig_ask_left_creds,  mig_hear_left_creds, NULL     },
    {"parameters",        MIG_SRC, false, NULL, ask_params,          hear_params,      undo_params },
    {"credentials",       MIG_SRC, false, NULL, mig_ask_creds,       mig_hear_creds,   mig_undo_creds},
    {"read capabilities", MIG_SRC, false, NULL, ask_read_caps,       hear_read_caps,   NULL        },
    {"read parameters",   MIG_SRC, false, NULL, ask_read_params,     hear_read_params, NULL        },
    /* Only if the source has refused channels that the destination took: */
    {"capabilities",      MIG_DST, true,  NULL, ask_dst_caps_less,   NULL,             NULL        },
    {"capabilities",      MIG_SRC, false, NULL, ask_caps_once_more,  NULL,             NULL        },
    {"read capabilities", MIG_DST, false, NULL, ask_read_caps_again, hear_read_caps,   NULL        },
    {"read capabilities", MIG_SRC, false, NULL, ask_read_caps_again, hear_read_caps,   NULL        },
    {"listen",            MIG_DST, true,  NULL, ask_listen,          hear_listen,      NULL        },
    {"listen",            MIG_DST, true,  NULL, ask_listen_plain,    hear_listen,      NULL        },
    {"port",              MIG_DST, true,  NULL, ask_port,            hear_port,        NULL        },
};
/* clang-format on */

void configure_adopt(struct mig *m)
{
    recipe_begin(m, configure, sizeof(configure) / sizeof(configure[0]));
    m->recipe.next = m->recipe.n;
    m->recipe.begun = UINT32_MAX;
}

void configure_unwind(struct mig *m)
{
    recipe_unwind(m);
}

void phase_configure(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    if (ev->kind == MIG_EV_ENTER)
        recipe_begin(m, configure, sizeof(configure) / sizeof(configure[0]));
    if (ev->kind == MIG_EV_DOWN)
        mig_fail(m, OUTCOME_FAILED, QF_E_LOST, "%s: %s", mig_side_name(ev->side),
                 ev->u.down.err.text);
    if (ev->kind == MIG_EV_LATE)
        mig_fail(m, OUTCOME_FAILED, QF_E_TIMEOUT, "the %s does not answer %s",
                 mig_side_name(ev->side), qapi_command_name(ev->u.late));
    if (m->cancel_wanted)
        mig_fail(m, OUTCOME_CANCELLED, QF_E_CANCELLED, "cancelled before memory moved");
    if (m->has_reason) {
        mig_go(m, MIG_ROLLBACK);
        return;
    }
    switch (recipe_run(m, ev, todo)) {
    case RECIPE_RUNNING:
        return;
    case RECIPE_FAILED:
        mig_go(m, MIG_ROLLBACK);
        return;
    case RECIPE_DONE:
        mig_go(m, MIG_START);
        return;
    }
}

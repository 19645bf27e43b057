/* CONFIGURE: the capabilities of both sides, and what becomes of those that a QEMU refuses. */
#include <string.h>

#include "engine/configure_priv.h"

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
    if (m->policy.postcopy_allowed && (m->channels == 0 || mig_is_pair_answered(m)))
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

bool configure_ask_caps(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    struct mig_side *s = &m->side[side];
    uint64_t mask;
    uint64_t on;
    wanted_caps(m, side, &mask, &on);
    mask &= s->caps_found.offered;
    s->caps_changed = mask & (on ^ s->caps_found.on);
    cmd->command = QAPI_SET_CAPS;
    /* What a killed qferry has left as it is wanted now, is there already. */
    cmd->u.caps.mask = s->caps_changed ^ s->caps_left;
    cmd->u.caps.on = s->caps_found.on ^ s->caps_changed;
    return cmd->u.caps.mask != 0;
}

static int refused(struct mig *m, enum mig_side_id side, const struct qapi_reply *r)
{
    mig_fail(m, OUTCOME_FAILED, QF_E_QMP, "%s: migrate-set-capabilities: %s",
             mig_side_name(side), r->error_desc);
    return -1;
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
int configure_hear_dst_caps(struct mig *m,
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
    if (m->policy.postcopy_allowed && m->channels > 0) {
        m->channels_doubted = m->channels;
        m->channels = 0;
        memcpy(m->channels_refusal, r->error_desc, sizeof(m->channels_refusal));
        m->caps_again = true;
        return 0;
    }
    if (m->policy.postcopy_allowed) {
        mig_warn(todo, "destination: post-copy is not possible, going on without it: %s",
                 r->error_desc);
        mig_deny_postcopy(m);
        m->channels = doubted;
        m->caps_again = true;
        return 0;
    }
    return refused(m, side, r);
}

/* The destination has taken both, the source refuses: then neither has them. */
int configure_hear_src_caps(struct mig *m,
                            enum mig_side_id side,
                            const struct qapi_reply *r,
                            struct mig_todo *todo)
{
    if (!r->refused)
        return 0;
    if (m->policy.postcopy_allowed && m->channels > 0) {
        m->side[side].caps_changed = 0; /* nothing of it was done: so it reads back */
        memcpy(m->channels_refusal, r->error_desc, sizeof(m->channels_refusal));
        m->caps_again = true;
        return without_channels(m, side, todo);
    }
    return refused(m, side, r);
}

bool configure_ask_dst_caps_again(struct mig *m,
                                  enum mig_side_id side,
                                  struct qapi_cmd *cmd)
{
    const bool again = m->caps_again;
    m->caps_again = false;
    return again && configure_ask_caps(m, side, cmd);
}

bool configure_ask_caps_once_more(struct mig *m,
                                  enum mig_side_id side,
                                  struct qapi_cmd *cmd)
{
    return m->caps_again && configure_ask_caps(m, side, cmd);
}

/* What the destination took before the source refused is turned off again. */
bool configure_ask_dst_caps_less(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    const uint64_t set = m->side[side].caps_changed;
    if (!m->caps_again)
        return false;
    (void)configure_ask_caps(m, side, cmd);
    cmd->u.caps.mask |= set;
    return cmd->u.caps.mask != 0;
}

bool configure_undo_caps(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    struct mig_side *s = &m->side[side];
    cmd->command = QAPI_SET_CAPS;
    cmd->u.caps.mask = s->caps_changed | s->caps_left;
    cmd->u.caps.on = s->caps_found.on;
    return cmd->u.caps.mask != 0;
}

/* What was set must read back: nothing is started on settings that are only hoped for. */
bool configure_ask_read_caps(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    (void)m;
    (void)side;
    cmd->command = QAPI_QUERY_CAPS;
    return true;
}

bool configure_ask_read_caps_again(struct mig *m,
                                   enum mig_side_id side,
                                   struct qapi_cmd *cmd)
{
    return m->caps_again && configure_ask_read_caps(m, side, cmd);
}

int configure_hear_read_caps(struct mig *m,
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

/* Encryption of the memory on its way, as far as the migration itself has to do with it: what QEMU
 * is told, in which order, and what is put back.
 *
 * The parameter names the credentials before they are there, and goes after them: a QEMU whose
 * qferry was killed in between always shows by its parameters that something of ours is left, and
 * what (QEMU looks the name up at `migrate`, not before). What an earlier qferry has left is
 * removed, and never put back as if it had been somebody's setting.
 *
 * With credentials set the source makes a TLS connection or none (QEMU, migration/tls.c); what was
 * set is read back on both sides before anything starts. Through a tunnel both ends are UNIX
 * sockets: no address is named that could be reached around it. */
#include <stdio.h>
#include <string.h>

#include "engine/mig_priv.h"

#define CREDS    QAPI_TEXT_PARAM_TLS_CREDS
#define HOSTNAME QAPI_TEXT_PARAM_TLS_HOSTNAME
#define BIT(p)   (1U << (unsigned)(p))

enum { SECURE_MS = 30000 /* beyond what the edge itself waits for */ };

static const char prefix[] = "qferry-";
/* Without credentials tls-hostname means nothing to QEMU: so it says to the next qferry that the
 * memory goes through a tunnel. */
static const char tunnel[] = "qferry-ssh";

static bool is_ours(const char *text)
{
    return strncmp(text, prefix, sizeof(prefix) - 1) == 0;
}

static bool has_creds(const struct mig *m)
{
    return m->spec.encrypt == SPEC_ENCRYPT_PSK || m->spec.encrypt == SPEC_ENCRYPT_X509;
}

/* ---- before anything is touched ---- */

const char *mig_secure_refuses(const struct mig *m, char text[RECORD_TEXT_MAX], char *warn)
{
    const struct qapi_params *src = &m->side[MIG_SRC].params_found;
    const struct qapi_params *dst = &m->side[MIG_DST].params_found;
    const uint32_t need =
        BIT(CREDS) | (m->spec.encrypt == SPEC_ENCRYPT_X509 ? BIT(HOSTNAME) : 0);
    const char *const a = src->text[CREDS];
    const char *const b = dst->text[CREDS];
    warn[0] = '\0';
    if (has_creds(m)) {
        if ((src->has_text & dst->has_text & need) == need)
            return NULL;
        (void)snprintf(text, RECORD_TEXT_MAX,
                       "the %s's QEMU has no tls-creds for migrations: --encrypt %s is not "
                       "possible with it",
                       (src->has_text & need) == need ? "destination" : "source",
                       spec_encrypt_name(m->spec.encrypt));
        return text;
    }
    if (m->spec.encrypt == SPEC_ENCRYPT_SSH || (a[0] == '\0' && b[0] == '\0'))
        return NULL;
    if (a[0] == '\0' || b[0] == '\0') {
        (void)snprintf(
            text, RECORD_TEXT_MAX,
            "tls-creds is set on the %s only ('%.64s'): such a migration fails; set "
            "it on both sides or on none, or use --encrypt",
            a[0] ? "source" : "destination", a[0] ? a : b);
        return text;
    }
    if (m->policy.encrypt == POLICY_ENCRYPT_FORBIDDEN) {
        (void)snprintf(text, RECORD_TEXT_MAX,
                       "the policy forbids encryption, and QEMU's own tls-creds is set "
                       "('%.64s', '%.64s'); clear it, or --set encrypt=allowed",
                       a, b);
        return text;
    }
    (void)snprintf(
        warn, RECORD_TEXT_MAX,
        "QEMU's own tls-creds is set (source '%.64s', destination '%.64s') and left "
        "as it is: it decides how the memory is encrypted",
        a, b);
    return NULL;
}

static void tell(struct mig *m, struct mig_todo *todo)
{
    const struct mig_secured *s = &m->secured;
    struct record_check *c = &mig_record(todo, RECORD_CHECK)->u.check;
    c->name = spec_check_name(SPEC_CHECK_ENCRYPTION);
    if (s->err.code != QF_E_OK) {
        c->verdict = CHECK_REFUSED;
        (void)snprintf(c->message, sizeof(c->message), "%s", s->err.text);
        mig_fail(m, OUTCOME_REFUSED, s->err.code, "%s: %.480s", c->name, s->err.text);
        return;
    }
    /* A new connection needs the key again; without post-copy there is none. */
    const bool warn = s->warns[0] != '\0' &&
                      (m->spec.encrypt != SPEC_ENCRYPT_PSK || m->policy.postcopy_allowed);
    c->verdict = warn ? CHECK_WARNING : CHECK_OK;
    if (warn)
        (void)snprintf(c->message, sizeof(c->message), "%s", s->warns);
    else
        (void)snprintf(
            c->message, sizeof(c->message), "%s%s", s->says,
            m->spec.encrypt_by_policy ? "; because the policy requires encryption" : "");
}

bool mig_is_secured(struct mig *m, struct mig_todo *todo)
{
    if (m->spec.encrypt == SPEC_ENCRYPT_OFF)
        return true;
    if (!m->secure_asked) {
        m->secure_asked = true;
        m->secure_ns = m->now_ns;
        (void)mig_todo_add(todo, MIG_DO_SECURE, MIG_SRC);
    }
    if (!m->secure_known && mig_is_past(m, m->secure_ns, SECURE_MS)) {
        (void)qf_fail(&m->secured.err, QF_E_REFUSED,
                      "--encrypt %s was not ready within %d s",
                      spec_encrypt_name(m->spec.encrypt), SECURE_MS / 1000);
        m->secure_known = true;
    }
    if (m->secure_known)
        tell(m, todo);
    else
        mig_wake_at(m, m->secure_ns + SECURE_MS * INT64_C(1000000));
    return m->secure_known;
}

void mig_take_secured(struct mig *m, const struct mig_secured *s, struct mig_todo *todo)
{
    if (!m->secure_asked)
        return;
    if (!m->secure_known) {
        m->secured = *s;
        m->secure_known = true;
    } else if (s->err.code != QF_E_OK) {
        m->secure_lost = true;
        mig_warn(todo, "%s", s->err.text);
    }
}

/* ---- what is set ---- */

static void want(struct qapi_params *p, enum qapi_text_param which, const char *text)
{
    p->has_text |= BIT(which);
    (void)snprintf(p->text[which], sizeof(p->text[which]), "%s", text);
}

void mig_secure_texts(const struct mig *m, enum mig_side_id side, struct qapi_params *p)
{
    const struct mig_side *s = &m->side[side];
    switch (m->spec.encrypt) {
    case SPEC_ENCRYPT_OFF:
    case SPEC_ENCRYPT_COUNT:
        break;
    case SPEC_ENCRYPT_X509:
        /* Always said: of a connection that it is handed QEMU does not know whose it is, and one
         * that mends a post-copy may go to another address. */
        if (side == MIG_SRC)
            want(p, HOSTNAME,
                 m->secured.hostname[0] == '\0' ? m->spec.address : m->secured.hostname);
        want(p, CREDS, m->secured.id);
        break;
    case SPEC_ENCRYPT_PSK:
        want(p, CREDS, m->secured.id);
        break;
    case SPEC_ENCRYPT_SSH:
        want(p, CREDS, "");
        if (side == MIG_SRC)
            want(p, HOSTNAME, tunnel);
        break;
    }
    /* What was left there counts as what it was before, and that still has to be said to QEMU. */
    for (unsigned i = 0; i < QAPI_TEXT_PARAM_COUNT; i++)
        if ((s->texts_changed & BIT(i)) && !(p->has_text & BIT(i)))
            want(p, (enum qapi_text_param)i, s->params_found.text[i]);
    p->has_text &= s->params_found.has_text;
}

void mig_secure_adopt(struct mig *m)
{
    for (struct mig_side *s = m->side; s < m->side + MIG_SIDES; s++) {
        char(*found)[QAPI_TEXT_MAX] = s->params_found.text;
        const bool ours = is_ours(found[CREDS]);
        if (s == &m->side[MIG_SRC] && !ours && strcmp(found[HOSTNAME], tunnel) == 0)
            m->tunnel_left = true;
        if (ours) {
            memcpy(s->creds_left, found[CREDS], sizeof(s->creds_left));
            found[CREDS][0] = '\0';
            s->texts_changed |= BIT(CREDS);
        }
        if (found[HOSTNAME][0] != '\0' && (ours || is_ours(found[HOSTNAME]))) {
            found[HOSTNAME][0] = '\0';
            s->texts_changed |= BIT(HOSTNAME);
        }
    }
}

/* Asked after mig_secure_adopt, of a move that runs. */
bool mig_secure_is_kept(const struct mig *m)
{
    const struct mig_side *src = &m->side[MIG_SRC];
    if (m->spec.encrypt == SPEC_ENCRYPT_OFF)
        return true;
    if (m->spec.encrypt == SPEC_ENCRYPT_SSH)
        return m->tunnel_left;
    return src->creds_left[0] != '\0' || src->params_found.text[CREDS][0] != '\0';
}

bool mig_secure_is_other(const struct mig *m)
{
    const struct mig_side *src = &m->side[MIG_SRC];
    return m->tunnel_left || src->creds_left[0] != '\0' ||
           src->params_found.text[CREDS][0] != '\0';
}

const char *mig_secure_uri(const struct mig *m, enum mig_side_id side)
{
    if (m->taken_up || m->spec.encrypt != SPEC_ENCRYPT_SSH)
        return NULL;
    return m->secured.uri[side];
}

/* Of a move that was taken up the tunnel was another qferry's: where its ends are is not known, and
 * it ends with the connection that it carries. */
const char *mig_secure_blocks(const struct mig *m)
{
    if (m->taken_up)
        return m->tunnel_left ? "its tunnel was that of a qferry which is gone" : NULL;
    if (m->spec.encrypt != SPEC_ENCRYPT_SSH)
        return NULL;
    return m->secure_lost || m->secured.uri[MIG_SRC][0] == '\0' ||
                   m->secured.uri[MIG_DST][0] == '\0'
               ? "its tunnel has ended"
               : NULL;
}

/* ---- the objects ---- */

static void set_id(struct qapi_cmd *cmd, const char *id)
{
    (void)snprintf(cmd->u.object.id, sizeof(cmd->u.object.id), "%s", id);
}

bool mig_ask_left_creds(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    cmd->command = QAPI_OBJECT_DEL;
    set_id(cmd, m->side[side].creds_left);
    return m->side[side].creds_left[0] != '\0';
}

/* The qferry that named them may have been killed before they were there, or after they were
 * gone: a refusal is fine. */
int mig_hear_left_creds(struct mig *m,
                        enum mig_side_id side,
                        const struct qapi_reply *r,
                        struct mig_todo *todo)
{
    mig_note(todo, "%s: credentials %s that an earlier qferry has left: %s",
             mig_side_name(side), m->side[side].creds_left,
             r->refused ? r->error_desc : "removed");
    m->side[side].creds_left[0] = '\0';
    return 0;
}

bool mig_ask_creds(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    if (!has_creds(m))
        return false;
    cmd->command = QAPI_OBJECT_ADD;
    set_id(cmd, m->secured.id);
    cmd->u.object.kind =
        m->spec.encrypt == SPEC_ENCRYPT_PSK ? QAPI_CREDS_PSK : QAPI_CREDS_X509;
    cmd->u.object.server = side == MIG_DST;
    (void)snprintf(cmd->u.object.dir, sizeof(cmd->u.object.dir), "%s",
                   m->secured.dir[side]);
    (void)snprintf(m->side[side].creds_id, sizeof(m->side[side].creds_id), "%s",
                   m->secured.id);
    return true;
}

int mig_hear_creds(struct mig *m,
                   enum mig_side_id side,
                   const struct qapi_reply *r,
                   struct mig_todo *todo)
{
    (void)todo;
    if (!r->refused)
        return 0;
    m->side[side].creds_id[0] = '\0';
    mig_fail(
        m, OUTCOME_FAILED, QF_E_QMP,
        "the %s's QEMU does not take the credentials in %s: %s; may it read that folder, "
        "and does it see the same files?",
        mig_side_name(side), m->secured.dir[side], r->error_desc);
    return -1;
}

bool mig_undo_creds(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    struct mig_side *s = &m->side[side];
    /* of this move; or of the move that was taken up */
    const char *id = s->creds_id[0] != '\0' ? s->creds_id : s->creds_left;
    cmd->command = QAPI_OBJECT_DEL;
    set_id(cmd, id);
    return id[0] != '\0';
}

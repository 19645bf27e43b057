/* Happy path: start -> files are written, commands started over there -> on_timer sees that all is
 * there -> on_event -> ... -> close: files are removed, commands end, and clean up -> cb.
 *
 * What can fail, and what becomes of it:
 *   a QEMU that cannot be given a key      refused, and what to do instead
 *   no folder, no file, no random bytes    refused
 *   certificates that are no good          refused (creds_uv.c)
 *   ssh does not get there                 refused, with its words
 *   ssh takes too long                     refused after READY_MS
 *   ssh ends later                         on_event again: the migration warns of it, and QEMU ends
 *                                          what went through
 *   what was made there stays there        told at the close */
#include "engine/secure_uv.h"

#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/mig.h"
#include "qmp/creds_uv.h"
#include "qmp/dh.h"
#include "qmp/qapi.h"
#include "qmp/remote_uv.h"
#include "qmp/rundir_uv.h"

enum {
    KEY_BYTES = 32,
    KEY_LINE = 2 * KEY_BYTES + sizeof(QAPI_CREDS_USER) + 2,
    LOOK_MS = 10,
    READY_MS = 20000 /* two logins by ssh, each of which gives up sooner */
};

/* Something over there. */
struct far {
    struct qmp_remote remote;
    struct secure *secure;
    enum mig_side_id side; /* PSK: whose key. SSH: DST has the folder, SRC is the tunnel */
    bool open;
    bool has_folder;
};

struct secure {
    struct mig_secured out;
    const struct mig_spec *spec;
    const struct qmp_addr *addr;
    struct secure_peer peer[MIG_SIDES];
    secure_cb *on_event;
    void *arg;
    void (*on_close)(const char *left, void *arg);
    uv_loop_t *loop;
    uv_timer_t timer;
    uint64_t begun_ms;
    struct qmp_rundir dir[MIG_SIDES];
    struct far far[MIG_SIDES];
    struct qmp_addr host; /* SSH */
    unsigned pending;     /* what is still to close */
    bool told;
    char left[QF_ERR_TEXT];
};

/* The first fault stays. */
static void fail(struct secure *s, const struct qf_err *err)
{
    if (s->out.err.code == QF_E_OK)
        s->out.err = *err;
}

static void refuse(struct secure *s, const char *fmt, ...) QF_PRINTF(2, 3);

static void refuse(struct secure *s, const char *fmt, ...)
{
    struct qf_err err = {.code = QF_E_REFUSED};
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(err.text, sizeof(err.text), fmt, ap);
    va_end(ap);
    fail(s, &err);
}

/* ---- over there ---- */

static void open_tunnel(struct secure *s);

static void on_line(struct qmp_remote *r, const char *line, void *arg)
{
    struct far *far = arg;
    struct secure *s = far->secure;
    const char *folder = qmp_remote_folder(line);
    (void)r;
    if (!folder || far->has_folder)
        return; /* a word of the login's */
    far->has_folder = true;
    if (s->spec->encrypt == SPEC_ENCRYPT_PSK) {
        (void)snprintf(s->out.dir[far->side], sizeof(s->out.dir[0]), "%s", folder);
        return;
    }
    (void)snprintf(s->out.uri[MIG_DST], sizeof(s->out.uri[0]), "unix:%.250s/m", folder);
    open_tunnel(s);
}

static void on_far_end(struct qmp_remote *r, const struct qf_err *err, void *arg)
{
    struct far *far = arg;
    struct secure *s = far->secure;
    (void)r;
    if (!s->told) {
        fail(s, err);
        return; /* the timer tells it */
    }
    struct mig_secured later = s->out;
    later.err = *err;
    if (s->spec->encrypt == SPEC_ENCRYPT_SSH && far->side == MIG_SRC)
        (void)qf_wrap(&later.err, "the tunnel for the memory has ended");
    else
        (void)qf_wrap(&later.err, "the folder for this move on the %s's host is gone",
                      mig_side_name(far->side));
    s->on_event(s, &later, s->arg);
}

static void open_far(struct secure *s,
                     enum mig_side_id side,
                     const struct qmp_remote_opts *opts)
{
    static const struct qmp_remote_ops ops = {.on_line = on_line, .on_end = on_far_end};
    struct far *far = &s->far[side];
    struct qf_err err;
    far->secure = s;
    far->side = side;
    far->open = qmp_remote_open(&far->remote, s->loop, opts, &ops, far, &err) == 0;
    if (!far->open)
        fail(s, &err);
}

/* ---- psk ---- */

static bool make_key(char line[KEY_LINE])
{
    unsigned char key[KEY_BYTES];
    if (RAND_bytes(key, sizeof(key)) != 1)
        return false;
    int n = snprintf(line, KEY_LINE, "%s:", QAPI_CREDS_USER);
    for (size_t i = 0; i < sizeof(key); i++)
        n += snprintf(line + n, KEY_LINE - (size_t)n, "%02x", key[i]);
    OPENSSL_cleanse(key, sizeof(key));
    return true;
}

static void make_id(struct secure *s)
{
    unsigned char word[4];
    if (RAND_bytes(word, sizeof(word)) != 1) {
        refuse(s, "no random numbers are to be had");
        return;
    }
    (void)snprintf(s->out.id, sizeof(s->out.id), "qferry-tls-%02x%02x%02x%02x", word[0],
                   word[1], word[2], word[3]);
}

/* A folder that the QEMU of that side may use. */
static int make_folder(struct secure *s,
                       enum mig_side_id side,
                       const char *key,
                       struct qf_err *err)
{
    struct qmp_rundir *d = &s->dir[side];
    const struct secure_peer *peer = &s->peer[side];
    int rc = qmp_rundir_make(d, "tls-", err);
    if (rc == 0)
        rc = qmp_rundir_write(d, "keys.psk", key, strlen(key), err);
    if (rc == 0 && side == MIG_DST)
        rc =
            qmp_rundir_write(d, QMP_DH_FILE, qmp_dh_params(), strlen(qmp_dh_params()), err);
    if (rc == 0)
        rc = qmp_rundir_need(d, &peer->qemu, err);
    if (rc == 0 && peer->known && qmp_rundir_give(d, peer->uid, peer->gid, err) != 0)
        rc = qf_wrap(err, "the %s's QEMU runs as another user", mig_side_name(side));
    if (rc != 0 && err)
        err->code = QF_E_REFUSED;
    return rc;
}

static void place_key(struct secure *s, enum mig_side_id side, const char *line)
{
    const struct qmp_addr *addr = &s->addr[side];
    char command[QMP_REMOTE_KEEP];
    char text[KEY_LINE + 1];
    struct qf_err err;
    switch (addr->kind) {
    case QMP_ADDR_UNIX:
        (void)snprintf(text, sizeof(text), "%s\n", line);
        if (make_folder(s, side, text, &err) != 0)
            fail(s, &err);
        OPENSSL_cleanse(text, sizeof(text));
        memcpy(s->out.dir[side], s->dir[side].path, sizeof(s->dir[side].path));
        return;
    case QMP_ADDR_SSH:
        open_far(s, side,
                 &(struct qmp_remote_opts){
                     .addr = addr,
                     .command = qmp_remote_keep(command, addr->path),
                     .input = line,
                 });
        return;
    case QMP_ADDR_TCP:
    case QMP_ADDR_TLS:
        refuse(
            s,
            "--encrypt psk: qferry cannot put a key on the %s's host through a %s monitor: "
            "name the monitor as ssh:[USER@]%s/PATH, or use --encrypt x509:DIR with "
            "certificates that are there",
            mig_side_name(side), addr->kind == QMP_ADDR_TLS ? "tls:" : "tcp:", addr->host);
        return;
    }
}

static void begin_psk(struct secure *s)
{
    char line[KEY_LINE];
    (void)snprintf(s->out.says, sizeof(s->out.says),
                   "the memory goes through TLS with a key made for this move");
    make_id(s);
    /* before anything is written: nothing is done where one side cannot have it */
    for (unsigned i = 0; i < MIG_SIDES; i++)
        if (s->addr[i].kind == QMP_ADDR_TCP || s->addr[i].kind == QMP_ADDR_TLS)
            place_key(s, (enum mig_side_id)i, "");
    if (s->out.err.code == QF_E_OK && !make_key(line))
        refuse(s, "no random numbers are to be had");
    for (unsigned i = 0; i < MIG_SIDES && s->out.err.code == QF_E_OK; i++)
        place_key(s, (enum mig_side_id)i, line);
    OPENSSL_cleanse(line, sizeof(line));
    /* for a post-copy: mig_secure.c */
    for (unsigned i = 0; i < MIG_SIDES; i++)
        if (s->addr[i].kind == QMP_ADDR_SSH)
            (void)snprintf(s->out.warns, sizeof(s->out.warns),
                           "the key on the %s's host goes when qferry is killed: a "
                           "post-copy that is interrupted then cannot be recovered",
                           mig_side_name((enum mig_side_id)i));
}

/* ---- x509 ---- */

/* The folder on this host is the folder of a QEMU of this host. */
static bool is_here(const struct secure *s, enum mig_side_id side)
{
    return s->addr[side].kind == QMP_ADDR_UNIX;
}

static void check_source(struct secure *s)
{
    struct qf_err err;
    if (is_here(s, MIG_SRC) &&
        qmp_creds_check(s->spec->encrypt_with, QMP_CERT_CLIENT, NULL, 0, NULL, &err) != 0)
        fail(s, &err);
}

static bool is_name(const char *host)
{
    struct in6_addr ip;
    return host[0] != '\0' && inet_pton(AF_INET, host, &ip) != 1 && !strchr(host, ':');
}

/* The certificate must be for where the memory goes, for another address of the destination's host,
 * or for its monitor's host. tls-hostname says which, always: a post-copy that is interrupted may go
 * on by another address, for which this certificate is as good. What is in a certificate of another host
 * is not known here: an address that was chosen by number is then looked for under the name that
 * the host was given. */
static void check_destination(struct secure *s)
{
    const struct mig_spec *spec = s->spec;
    const char *hosts[SPEC_ADDRESSES_MAX + 2];
    struct qf_err err;
    unsigned n = 0;
    unsigned at = 0;
    hosts[n++] = spec->address;
    for (unsigned i = 0; i < spec->n_given; i++)
        hosts[n++] = spec->given[i];
    if (spec->monitor_host[0] != '\0')
        hosts[n++] = spec->monitor_host;
    if (is_here(s, MIG_DST)) {
        if (qmp_creds_check(spec->encrypt_with, QMP_CERT_SERVER, hosts, n, &at, &err) != 0)
            fail(s, &err);
    } else if (!is_name(spec->address)) {
        for (at = 0; at < n && !is_name(hosts[at]);)
            at++;
        at = at < n ? at : 0;
    }
    if (hosts[at][0] != '\0')
        (void)snprintf(s->out.hostname, sizeof(s->out.hostname), "%s", hosts[at]);
    if (!is_here(s, MIG_DST) || !is_here(s, MIG_SRC))
        (void)snprintf(
            s->out.warns, sizeof(s->out.warns),
            "%.200s: what is in it on the %s's host cannot be checked from here; QEMU "
            "reads it, and expects a certificate for %.160s",
            spec->encrypt_with, is_here(s, MIG_DST) ? "source" : "destination", hosts[at]);
}

static void begin_x509(struct secure *s)
{
    make_id(s);
    (void)snprintf(s->out.says, sizeof(s->out.says),
                   "the memory goes through TLS with the certificates in %.200s",
                   s->spec->encrypt_with);
    for (unsigned i = 0; i < MIG_SIDES; i++)
        (void)snprintf(s->out.dir[i], sizeof(s->out.dir[0]), "%s", s->spec->encrypt_with);
    check_source(s);
    check_destination(s);
}

/* ---- ssh ---- */

static void begin_ssh(struct secure *s)
{
    char text[SPEC_TEXT_MAX + 8];
    char command[QMP_REMOTE_KEEP];
    const struct qmp_addr *dst = &s->addr[MIG_DST];
    struct qf_err err;
    const char *monitor =
        dst->kind == QMP_ADDR_UNIX || dst->kind == QMP_ADDR_SSH ? dst->path : "";
    (void)snprintf(s->out.says, sizeof(s->out.says),
                   "the memory goes through ssh to %.200s", s->spec->encrypt_with);
    if (s->addr[MIG_SRC].kind != QMP_ADDR_UNIX) {
        refuse(
            s,
            "--encrypt ssh: the tunnel begins on this host, and the source's monitor is on "
            "another one, as far as is known; run qferry on the source's host");
        return;
    }
    (void)snprintf(text, sizeof(text), "ssh:%s/-", s->spec->encrypt_with);
    if (qmp_addr_parse(text, &s->host, &err) != 0) {
        fail(s, &err);
        return;
    }
    open_far(s, MIG_DST,
             &(struct qmp_remote_opts){.addr = &s->host,
                                       .command = qmp_remote_keep(command, monitor),
                                       .input = ""});
}

static const char *tunnel_path(const struct secure *s, char out[QMP_RUNDIR_PATH + 4])
{
    (void)snprintf(out, QMP_RUNDIR_PATH + 4, "%s/s", s->dir[MIG_SRC].path);
    return out;
}

static void open_tunnel(struct secure *s)
{
    struct qf_err err;
    char here[QMP_RUNDIR_PATH + 4];
    if (qmp_rundir_make(&s->dir[MIG_SRC], "tls-", &err) != 0) {
        err.code = QF_E_REFUSED;
        fail(s, &err);
        return;
    }
    (void)snprintf(s->out.uri[MIG_SRC], sizeof(s->out.uri[0]), "unix:%s",
                   tunnel_path(s, here));
    open_far(s, MIG_SRC,
             &(struct qmp_remote_opts){
                 .addr = &s->host,
                 .command = QMP_REMOTE_WAIT,
                 .here = here,
                 .there = s->out.uri[MIG_DST] + strlen("unix:"),
             });
}

/* ssh makes its socket once it is let in. */
static bool is_tunnel_there(struct secure *s)
{
    const struct secure_peer *peer = &s->peer[MIG_SRC];
    char here[QMP_RUNDIR_PATH + 4];
    struct stat st;
    struct qf_err err;
    if (!s->far[MIG_SRC].open || lstat(tunnel_path(s, here), &st) != 0)
        return false;
    if (peer->known && qmp_rundir_give(&s->dir[MIG_SRC], peer->uid, peer->gid, &err) != 0)
        refuse(s, "the source's QEMU runs as another user: %s", err.text);
    return true;
}

/* ---- the end of the beginning ---- */

static bool is_ready(struct secure *s)
{
    if (s->out.err.code != QF_E_OK)
        return true;
    if (s->spec->encrypt == SPEC_ENCRYPT_SSH)
        return is_tunnel_there(s);
    for (unsigned i = 0; i < MIG_SIDES; i++)
        if (s->far[i].open && !s->far[i].has_folder)
            return false;
    return true;
}

static void on_timer(uv_timer_t *timer)
{
    struct secure *s = timer->data;
    if (!is_ready(s)) {
        if (uv_now(s->loop) - s->begun_ms < READY_MS)
            return;
        refuse(s, "--encrypt %s: ssh was not ready within %d s",
               spec_encrypt_name(s->spec->encrypt), READY_MS / 1000);
    }
    (void)uv_timer_stop(timer);
    s->told = true;
    s->on_event(s, &s->out, s->arg);
}

int secure_start(struct secure **out,
                 uv_loop_t *loop,
                 const struct mig_spec *spec,
                 const struct qmp_addr addr[MIG_SIDES],
                 const struct secure_peer peer[MIG_SIDES],
                 secure_cb *on_event,
                 void *arg,
                 struct qf_err *err)
{
    struct secure *s = calloc(1, sizeof(*s));
    if (!s)
        return qf_fail(err, QF_E_NOMEM, "no memory for the encryption");
    s->spec = spec;
    s->addr = addr;
    memcpy(s->peer, peer, sizeof(s->peer));
    s->on_event = on_event;
    s->arg = arg;
    s->loop = loop;
    s->dir[MIG_SRC].lock = s->dir[MIG_DST].lock = -1;
    (void)uv_timer_init(loop, &s->timer); /* cannot fail */
    s->timer.data = s;
    uv_update_time(loop);
    s->begun_ms = uv_now(loop);
    switch (spec->encrypt) {
    case SPEC_ENCRYPT_PSK:
        begin_psk(s);
        break;
    case SPEC_ENCRYPT_SSH:
        begin_ssh(s);
        break;
    case SPEC_ENCRYPT_X509:
        begin_x509(s);
        break;
    case SPEC_ENCRYPT_OFF:
    case SPEC_ENCRYPT_COUNT:
        break;
    }
    (void)uv_timer_start(&s->timer, on_timer, 0, LOOK_MS);
    *out = s;
    return 0;
}

/* ---- its end ---- */

static void closed(struct secure *s)
{
    if (--s->pending > 0)
        return;
    s->on_close(s->left[0] ? s->left : NULL, s->arg);
    free(s);
}

static void on_timer_closed(uv_handle_t *handle)
{
    closed(handle->data);
}

static void on_far_closed(struct qmp_remote *r, bool tidy, void *arg)
{
    struct far *far = arg;
    struct secure *s = far->secure;
    if (!tidy && far->has_folder)
        (void)snprintf(
            s->left, sizeof(s->left),
            "%s: whether the folder of this move was removed there is not known: %s",
            r->host,
            s->spec->encrypt == SPEC_ENCRYPT_PSK ? s->out.dir[far->side]
                                                 : s->out.uri[MIG_DST]);
    closed(s);
}

void secure_close(struct secure *s, bool leave, void (*cb)(const char *left, void *arg))
{
    s->on_close = cb;
    s->pending = 1;
    const bool keys = leave && s->spec->encrypt == SPEC_ENCRYPT_PSK;
    for (unsigned i = 0; i < MIG_SIDES; i++)
        if (keys)
            qmp_rundir_leave(&s->dir[i]);
        else
            qmp_rundir_drop(&s->dir[i]);
    for (unsigned i = 0; i < MIG_SIDES; i++) {
        struct far *far = &s->far[i];
        if (!far->open)
            continue;
        s->pending++;
        if (keys)
            qmp_remote_stay(&far->remote);
        qmp_remote_close(&far->remote,
                         leave && s->spec->encrypt == SPEC_ENCRYPT_SSH && i == MIG_SRC,
                         on_far_closed);
    }
    uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}

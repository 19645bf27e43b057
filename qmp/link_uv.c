/* A QMP monitor over a socket.
 *
 * Happy path:
 *   qmp_link_open     UNIX: uv_pipe_connect      TCP, TLS: uv_getaddrinfo -> on_resolved
 *                     SSH: qmp_ssh_open -> on_ssh_socket -> uv_pipe_connect
 *   on_connected      keepalive, no delay; TLS: its first bytes; uv_read_start
 *   on_read           bytes -> (TLS ->) client -> on_msg; what the client wants to say -> flush
 *   flush             (TLS <-) what the client wants to say; uv_try_write; what did not fit -> uv_write -> on_written -> flush
 *   qmp_link_close    uv_close of everything -> released ... on_close
 *
 * What can fail, and what becomes of it:
 *   no such host, resolver failed               on_resolved      down, UNREACHABLE
 *   refused, no such file                       on_connected     next address; down, UNREACHABLE
 *   (no socket, no route, no permission,
 *    too many clients already wait)             try_next/on_connected: the same, not gone
 *   ssh ends before there is a connection       on_ssh_end       down, UNREACHABLE
 *   no trust, no TLS                            on_tls           down, UNREACHABLE or PROTO
 *   end of file, reset                          on_read          down, LOST; ssh's last words
 *   not a monitor, broken rules, no memory      on_read          down, PROTO or NOMEM
 *   write fails                                 on_written       down, LOST
 *   write refused before it starts              flush            later -> on_later: down, LOST
 *   close at any time                           callbacks see CLOSING, account and return
 *
 * Every callback of libuv that ends the use of this memory goes through released(); link->pending
 * counts them. */
#include "qmp/link_uv.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    KEEPALIVE_S = 10 /* a silent TCP connection is probed after this */
};

/* ---- going down, closing ---- */

/* One more thing that libuv does not hold any longer. */
static void released(struct qmp_link *link)
{
    assert(link->pending > 0);
    if (--link->pending > 0 || link->state != QMP_LINK_CLOSING)
        return;
    qmp_client_fini(&link->client);
    qmp_tls_fini(&link->tls);
    qf_buf_fini(&link->writing);
    uv_freeaddrinfo(link->found);
    link->found = NULL;
    link->state = QMP_LINK_CLOSED;
    if (link->on_close)
        link->on_close(link, link->arg);
}

static void on_closed(uv_handle_t *handle)
{
    released(handle->data);
}

static void on_ssh_closed(struct qmp_ssh *ssh, void *arg)
{
    (void)ssh;
    released(arg);
}

static void close_socket(struct qmp_link *link, uv_close_cb cb)
{
    if (!link->has_socket)
        return;
    link->has_socket = false;
    uv_close(&link->h.handle, cb);
}

/* Tell the owner, once. Only from the loop. */
static void tell_down(struct qmp_link *link, bool gone)
{
    char addr[QMP_ADDR_TEXT];
    struct qf_err err = link->why; /* the owner may close, or look at the link */
    (void)qf_wrap(&err, "%s", qmp_addr_format(&link->addr, addr));
    link->state = QMP_LINK_DOWN;
    if (link->has_socket)
        (void)uv_read_stop(&link->h.stream);
    link->ops->on_down(link, &err, gone, link->arg);
}

static void on_later(uv_idle_t *later)
{
    struct qmp_link *link = later->data;
    (void)uv_idle_stop(later);
    if (link->state == QMP_LINK_UP)
        tell_down(link, false);
}

/* The file system's user and group of a process, the last of four numbers each (proc(5)). */
static void read_proc(pid_t pid, uid_t *uid, gid_t *gid)
{
    char path[64];
    char line[256];
    unsigned long id;
    (void)snprintf(path, sizeof(path), "/proc/%ld/status", (long)pid);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof(line), file)) {
        if (sscanf(line, "Uid: %*u %*u %*u %lu", &id) == 1)
            *uid = (uid_t)id;
        else if (sscanf(line, "Gid: %*u %*u %*u %lu", &id) == 1)
            *gid = (gid_t)id;
    }
    if (file)
        (void)fclose(file);
}

bool qmp_link_peer(const struct qmp_link *link, pid_t *pid, uid_t *uid, gid_t *gid)
{
    struct ucred who;
    socklen_t len = sizeof(who);
    uv_os_fd_t fd;
    if (link->state != QMP_LINK_UP || link->addr.kind != QMP_ADDR_UNIX ||
        uv_fileno(&link->h.handle, &fd) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) != 0 || who.pid <= 0)
        return false;
    *pid = who.pid;
    *uid = who.uid;
    *gid = who.gid;
    read_proc(who.pid, uid, gid);
    return true;
}

void qmp_link_close(struct qmp_link *link, void (*cb)(struct qmp_link *link, void *arg))
{
    if (link->state == QMP_LINK_UNUSED) {
        if (cb)
            cb(link, link->arg); /* the last use of link */
        return;
    }
    if (link->state == QMP_LINK_CLOSING || link->state == QMP_LINK_CLOSED)
        return;
    if (link->state == QMP_LINK_RESOLVING)
        (void)uv_cancel((uv_req_t *)&link->resolve); /* on_resolved comes in any case */
    link->state = QMP_LINK_CLOSING;
    link->on_close = cb;
    close_socket(link, on_closed);
    if (link->addr.kind == QMP_ADDR_SSH)
        qmp_ssh_close(&link->ssh, on_ssh_closed);
    uv_close((uv_handle_t *)&link->later, on_closed);
}

/* ---- writing ---- */

static void on_written(uv_write_t *req, int status);

/* The link cannot be used any more, found out where on_down may not be called: why is told by
 * the loop. */
static void go_down_later(struct qmp_link *link)
{
    (void)uv_idle_start(&link->later, on_later);
}

/* What is to be sent: the client's bytes, or what TLS makes of them. NULL: TLS is at its end. */
static struct qf_buf *outgoing(struct qmp_link *link)
{
    struct qf_buf *const text = &link->client.out;
    if (link->addr.kind != QMP_ADDR_TLS)
        return text;
    if (qmp_tls_is_up(&link->tls) && text->len > 0) {
        if (qmp_tls_write(&link->tls, text->data, text->len, &link->why) != 0)
            return NULL;
        qf_buf_drop(text, text->len);
    }
    return &link->tls.out;
}

/* Write what there is to say. One uv_write at a time: the buffer moves to link->writing and a
 * fresh one collects what comes meanwhile. */
static void flush(struct qmp_link *link)
{
    if (link->state != QMP_LINK_UP || link->writing.len > 0)
        return;
    struct qf_buf *const out = outgoing(link);
    if (!out) {
        go_down_later(link);
        return;
    }
    while (out->len > 0) {
        const uv_buf_t b = uv_buf_init(out->data, (unsigned)out->len);
        const int n = uv_try_write(&link->h.stream, &b, 1);
        if (n <= 0) /* full, or broken: then uv_write will tell, and from the loop */
            break;
        qf_buf_drop(out, (size_t)n);
    }
    if (out->len == 0)
        return;
    const size_t cap = out->cap;
    link->writing = *out; /* moves */
    qf_buf_init(out, cap);
    const uv_buf_t b = uv_buf_init(link->writing.data, (unsigned)link->writing.len);
    const int rc = uv_write(&link->write, &link->h.stream, &b, 1, on_written);
    if (rc != 0) {
        (void)qf_fail(&link->why, QF_E_LOST, "cannot write: %s", uv_strerror(rc));
        go_down_later(link);
    }
}

static void on_written(uv_write_t *req, int status)
{
    struct qmp_link *link = req->data;
    qf_buf_fini(&link->writing);
    if (link->state != QMP_LINK_UP)
        return;
    if (status != 0) {
        (void)qf_fail(&link->why, QF_E_LOST, "cannot write: %s", uv_strerror(status));
        tell_down(link, false);
        return;
    }
    flush(link);
}

int qmp_link_send(struct qmp_link *link,
                  const char *command,
                  const json_t *args,
                  uint64_t id,
                  bool oob,
                  struct qf_err *err)
{
    if (link->state != QMP_LINK_RESOLVING && link->state != QMP_LINK_CONNECTING &&
        link->state != QMP_LINK_UP)
        return qf_fail(err, QF_E_LOST, "%s: there is no connection to the monitor",
                       command);
    const int rc = qmp_client_send(&link->client, command, args, id, oob, err);
    flush(link);
    return rc;
}

/* Past libuv, whose own way needs a handle of its kind and a pipe made for it: nothing of ours is
 * being written then, so nothing gets out of order. */
int qmp_link_pass(struct qmp_link *link, int fd, struct qf_err *err)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    char blank[] = " ";
    struct iovec iov = {.iov_base = blank, .iov_len = 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.room,
                         .msg_controllen = sizeof(control.room)};
    uv_os_fd_t to;
    if (link->state != QMP_LINK_UP || link->addr.kind != QMP_ADDR_UNIX ||
        link->writing.len > 0 || uv_fileno(&link->h.handle, &to) != 0)
        return qf_fail(err, QF_E_LOST, "the monitor does not take a descriptor now");
    memset(&control, 0, sizeof(control));
    control.head.cmsg_level = SOL_SOCKET;
    control.head.cmsg_type = SCM_RIGHTS;
    control.head.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
    ssize_t n;
    do
        n = sendmsg(to, &msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n == 1 ? 0 : qf_fail(err, QF_E_LOST, "a descriptor: %s", strerror(errno));
}

/* ---- reading ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct qmp_link *link = handle->data;
    (void)suggested;
    *buf = uv_buf_init(link->rbuf, sizeof(link->rbuf));
}

/* End of file or a read error: say how far the peer got. */
static void say_lost(struct qmp_link *link, int status)
{
    link->ended = status == UV_EOF || status == UV_ECONNRESET;
    const size_t half = qmp_frame_pending(&link->client.frame);
    const char *const cause =
        status == UV_EOF ? "the monitor closed the connection" : uv_strerror(status);
    char words[QF_ERR_TEXT];
    if (link->addr.kind == QMP_ADDR_SSH &&
        qmp_ssh_last_words(&link->ssh, words, sizeof(words)))
        (void)qf_fail(&link->why, QF_E_LOST, "%s", words);
    else if (half > 0)
        (void)qf_fail(&link->why, QF_E_LOST,
                      "%s in the middle of a message (%zu bytes of it came)", cause, half);
    else if (link->client.state == QMP_GREETING && link->addr.kind == QMP_ADDR_TLS)
        (void)qf_fail(&link->why, QF_E_LOST, "%s %s", cause, qmp_tls_how_far(&link->tls));
    else if (link->client.state == QMP_GREETING)
        (void)qf_fail(&link->why, QF_E_LOST, "%s before it greeted", cause);
    else
        (void)qf_fail(&link->why, QF_E_LOST, "%s", cause);
}

/* Text from the monitor. 0, or negative: the link is of no use (why), or was closed by its owner
 * (then its state says so). */
static int on_text(struct qmp_link *link, const char *text, size_t len)
{
    struct qmp_msg msg;
    int rc = qmp_client_feed(&link->client, text, len, &link->why);
    while (rc >= 0 && (rc = qmp_client_next(&link->client, &msg, &link->why)) > 0) {
        link->ops->on_msg(link, &msg, link->arg);
        if (link->state != QMP_LINK_UP)
            return -1;
    }
    return rc;
}

/* Bytes with text in them. What TLS itself has to say goes out, also when it is the last. */
static int on_tls(struct qmp_link *link, const char *data, size_t len)
{
    char text[QMP_LINK_READ];
    int rc = qmp_tls_feed(&link->tls, data, len, &link->why);
    while (rc >= 0 && (rc = qmp_tls_read(&link->tls, text, sizeof(text), &link->why)) > 0)
        rc = on_text(link, text, (size_t)rc);
    if (rc < 0 && link->state == QMP_LINK_UP && link->writing.len == 0 &&
        link->tls.out.len > 0) {
        const uv_buf_t b = uv_buf_init(link->tls.out.data, (unsigned)link->tls.out.len);
        (void)uv_try_write(&link->h.stream, &b, 1);
    }
    return rc;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct qmp_link *link = stream->data;
    if (link->state != QMP_LINK_UP || n == 0)
        return;
    if (n < 0) {
        say_lost(link, (int)n);
        tell_down(link, false);
        return;
    }
    const int rc = link->addr.kind == QMP_ADDR_TLS ? on_tls(link, buf->base, (size_t)n)
                                                   : on_text(link, buf->base, (size_t)n);
    if (link->state != QMP_LINK_UP) /* closed by its owner just now */
        return;
    if (rc < 0)
        tell_down(link, false);
    else
        flush(link);
}

/* ---- connecting ---- */

static void on_connected(uv_connect_t *req, int status);

/* Why an attempt failed. The kernel's EAGAIN here means a full queue of waiting clients. */
static void note_failure(struct qmp_link *link, int status, const struct addrinfo *at)
{
    char ip[64] = "";
    const char *cause = uv_strerror(status);
    if (status == UV_EAGAIN)
        cause = "the monitor is busy: other clients already wait for it";
    if (at &&
        (uv_ip_name(at->ai_addr, ip, sizeof(ip)) != 0 || strcmp(ip, link->addr.host) == 0))
        ip[0] = '\0';
    if (ip[0])
        (void)qf_fail(&link->why, QF_E_UNREACHABLE, "%s: %s", ip, cause);
    else
        (void)qf_fail(&link->why, QF_E_UNREACHABLE, "%s", cause);
    if (status != UV_ECONNREFUSED &&
        !(status == UV_ENOENT && link->addr.kind == QMP_ADDR_UNIX))
        link->all_refused = false;
}

static void on_attempt_closed(uv_handle_t *handle);

/* Try the next address, or go down with what the last one said. */
static void try_next(struct qmp_link *link)
{
    link->trying = link->next;
    if (!link->trying) {
        tell_down(link, link->all_refused);
        return;
    }
    link->next = link->trying->ai_next;
    (void)uv_tcp_init(link->loop,
                      &link->h.tcp); /* no flags: makes no socket, cannot fail */
    link->h.tcp.data = link;
    link->has_socket = true;
    link->pending++;
    const int rc =
        uv_tcp_connect(&link->connect, &link->h.tcp, link->trying->ai_addr, on_connected);
    if (rc != 0) {
        note_failure(link, rc, link->trying);
        close_socket(link, on_attempt_closed);
    }
}

static void on_attempt_closed(uv_handle_t *handle)
{
    struct qmp_link *link = handle->data;
    if (link->state != QMP_LINK_CONNECTING) { /* closed meanwhile; the last use of link */
        released(link);
        return;
    }
    link->pending--;
    if (link->addr.kind == QMP_ADDR_SSH)
        qmp_ssh_again(&link->ssh);
    else
        try_next(link);
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    struct qmp_link *link = req->data;
    link->found = found;
    if (link->state == QMP_LINK_RESOLVING) {
        link->state = QMP_LINK_CONNECTING;
        link->next = found;
        link->all_refused = status == 0;
        if (status != 0)
            (void)qf_fail(&link->why, QF_E_UNREACHABLE, "%s", uv_strerror(status));
        try_next(link);
    }
    released(link);
}

/* The attempt has failed: the next address, another look at ssh's socket, or the end. */
static void attempt_failed(struct qmp_link *link, int status)
{
    note_failure(link, status, link->trying);
    if (link->trying || link->addr.kind == QMP_ADDR_SSH)
        close_socket(link, on_attempt_closed);
    else
        tell_down(link, link->all_refused);
}

static void on_connected(uv_connect_t *req, int status)
{
    struct qmp_link *link = req->data;
    if (link->state != QMP_LINK_CONNECTING)
        return;
    if (status != 0) {
        attempt_failed(link, status);
        return;
    }
    link->state = QMP_LINK_UP;
    if (link->trying) { /* TCP; without these it is slower or blinder, no worse */
        (void)uv_tcp_nodelay(&link->h.tcp, 1);
        (void)uv_tcp_keepalive(&link->h.tcp, 1, KEEPALIVE_S);
    }
    if (link->addr.kind == QMP_ADDR_SSH)
        qmp_ssh_connected(&link->ssh);
    if (link->addr.kind == QMP_ADDR_TLS &&
        qmp_tls_init(&link->tls, link->addr.creds, link->addr.host, &link->why) != 0) {
        tell_down(link, false);
        return;
    }
    const int rc = uv_read_start(&link->h.stream, on_alloc, on_read);
    if (rc != 0) {
        (void)qf_fail(&link->why, QF_E_LOST, "cannot read: %s", uv_strerror(rc));
        tell_down(link, false);
        return;
    }
    flush(link);
}

/* ---- ssh ---- */

/* 0, or libuv's status. */
static int connect_pipe(struct qmp_link *link, const char *path)
{
    const int rc = uv_pipe_init(link->loop, &link->h.pipe, 0);
    if (rc != 0)
        return rc;
    link->has_socket = true;
    link->pending++;
    link->h.pipe.data = link;
    uv_pipe_connect(&link->connect, &link->h.pipe, path, on_connected);
    return 0;
}

static void on_ssh_socket(struct qmp_ssh *ssh, void *arg)
{
    struct qmp_link *link = arg;
    if (link->state != QMP_LINK_CONNECTING || link->has_socket)
        return;
    const int rc = connect_pipe(link, ssh->path);
    if (rc != 0) {
        note_failure(link, rc, NULL);
        tell_down(link, false);
    }
}

static void on_ssh_end(struct qmp_ssh *ssh, const struct qf_err *err, void *arg)
{
    struct qmp_link *link = arg;
    (void)ssh;
    if (link->state != QMP_LINK_CONNECTING)
        return;
    link->why = *err;
    tell_down(link, false);
}

/* ---- opening ---- */

static int start_tcp(struct qmp_link *link)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    link->state = QMP_LINK_RESOLVING;
    link->pending++;
    return uv_getaddrinfo(link->loop, &link->resolve, on_resolved, link->addr.host,
                          link->addr.port, &hints);
}

/* Start what this kind of address starts with; on an error nothing was started. */
static int start(struct qmp_link *link, struct qf_err *err)
{
    static const struct qmp_ssh_ops ssh_ops = {on_ssh_socket, on_ssh_end};
    int rc = 0;
    link->state = QMP_LINK_CONNECTING;
    switch (link->addr.kind) {
    case QMP_ADDR_UNIX:
        link->all_refused = true;
        rc = connect_pipe(link, link->addr.path);
        break;
    case QMP_ADDR_TLS:
        if (!link->addr.creds)
            return qf_fail(err, QF_E_INTERNAL, "TLS without credentials");
        rc = start_tcp(link);
        break;
    case QMP_ADDR_TCP:
        rc = start_tcp(link);
        break;
    case QMP_ADDR_SSH:
        link->pending++;
        return qmp_ssh_open(&link->ssh, link->loop, &link->addr, &ssh_ops, link, err);
    }
    return rc == 0 ? 0 : qf_fail(err, QF_E_UNREACHABLE, "%s", uv_strerror(rc));
}

int qmp_link_open(struct qmp_link *link,
                  uv_loop_t *loop,
                  const struct qmp_addr *addr,
                  const struct qmp_link_ops *ops,
                  void *arg,
                  struct qf_err *err)
{
    char text[QMP_ADDR_TEXT];
    memset(link, 0, sizeof(*link));
    link->addr = *addr;
    link->loop = loop;
    link->ops = ops;
    link->arg = arg;
    link->connect.data = link;
    link->resolve.data = link;
    link->write.data = link;
    if (start(link, err) != 0) {
        link->state = QMP_LINK_UNUSED;
        return qf_wrap(err, "%s", qmp_addr_format(addr, text));
    }
    qmp_client_init(&link->client);
    (void)uv_idle_init(loop, &link->later); /* cannot fail */
    link->later.data = link;
    link->pending++; /* later; start has counted the resolver, the socket, or ssh */
    return 0;
}

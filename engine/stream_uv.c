/* Happy path: start -> name resolved -> socket, bound, options -> connect -> a copy of the
 * descriptor -> on_done -> close.
 *
 * What can fail, and what becomes of it:
 *   the name is not resolved            on_done
 *   the address is not ours any more    on_done: the kernel's word
 *   the interface may not be bound to   the same (SO_BINDTODEVICE)
 *   nobody is there, no route           the same; every address of a name is tried
 *   a black hole                        on_done after STREAM_CONNECT_MS in all */
#include "engine/stream_uv.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "netsel/ip.h"
#include "netsel/links_uv.h"

struct stream {
    uv_loop_t *loop;
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_getaddrinfo_t resolve;
    uv_timer_t timer;
    char bind[SPEC_TEXT_MAX];
    char host[SPEC_TEXT_MAX];
    char port[8];
    struct addrinfo *found;
    const struct addrinfo *next;
    stream_cb *on_done;
    void *arg;
    void (*on_closed)(void *arg);
    void *closed_arg;
    unsigned refs; /* the timer's, the socket's, the resolver's */
    bool has_socket;
    bool resolving;
    bool done;
    bool closing;
    char why[QF_ERR_TEXT];
};

/* ---- the socket ---- */

static socklen_t size_of(const struct sockaddr_storage *sa)
{
    return sa->ss_family == AF_INET ? sizeof(struct sockaddr_in)
                                    : sizeof(struct sockaddr_in6);
}

/* 0, or negative errno. The address or the interface. */
static int bind_socket(int fd, const char *where)
{
    struct netsel_ip ip;
    struct sockaddr_storage sa;
    if (!netsel_ip_parse(where, &ip))
        return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, where,
                          (socklen_t)strlen(where) + 1) == 0
                   ? 0
                   : -errno;
    netsel_to_sockaddr(&ip, 0, &sa);
    return bind(fd, (const struct sockaddr *)&sa, size_of(&sa)) == 0 ? 0 : -errno;
}

static int set_number(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value)) == 0 ? 0 : -errno;
}

/* A third of the time idle, then a probe each second until the time is over. */
static int set_limits(int fd)
{
    const int idle_s = STREAM_TIMEOUT_MS / 3000;
    int rc = set_number(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    if (rc == 0)
        rc = set_number(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_s);
    if (rc == 0)
        rc = set_number(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
    if (rc == 0)
        rc = set_number(fd, IPPROTO_TCP, TCP_KEEPCNT, STREAM_TIMEOUT_MS / 1000 - idle_s);
    if (rc == 0)
        rc = set_number(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, STREAM_TIMEOUT_MS);
    return rc;
}

int stream_check(const char *where, struct qf_err *err)
{
    struct netsel_ip ip;
    const bool is_ip = netsel_ip_parse(where, &ip);
    if (!is_ip && if_nametoindex(where) == 0)
        return qf_fail(err, QF_E_USAGE,
                       "--bind: '%s' is neither an address nor an interface of this host",
                       where);
    const int fd = socket(is_ip && ip.family == NETSEL_V4 ? AF_INET : AF_INET6,
                          SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int rc = fd < 0 ? -errno : bind_socket(fd, where);
    if (fd >= 0)
        (void)close(fd);
    if (rc == -EADDRNOTAVAIL)
        return qf_fail(err, QF_E_USAGE, "--bind: %s is no address of this host", where);
    return rc == 0 ? 0 : qf_fail(err, QF_E_USAGE, "--bind: %s: %s", where, strerror(-rc));
}

/* ---- the end of it ---- */

static void unref(struct stream *s)
{
    if (--s->refs > 0)
        return;
    void (*cb)(void *arg) = s->on_closed;
    void *arg = s->closed_arg;
    uv_freeaddrinfo(s->found);
    free(s);
    if (cb)
        cb(arg);
}

static void tell(struct stream *s, int fd)
{
    if (s->done)
        return;
    s->done = true;
    (void)uv_timer_stop(&s->timer);
    s->on_done(s, fd, fd < 0 ? s->why : NULL, s->arg);
}

static void note(struct stream *s, int rc)
{
    (void)snprintf(s->why, sizeof(s->why), "%s", uv_strerror(rc));
}

static void on_timer(uv_timer_t *timer)
{
    struct stream *s = timer->data;
    (void)snprintf(s->why, sizeof(s->why), "no answer within %d s",
                   STREAM_CONNECT_MS / 1000);
    tell(s, -1);
}

static void on_timer_closed(uv_handle_t *handle)
{
    unref(handle->data);
}

/* ---- connecting ---- */

static void try_next(struct stream *s);

static void on_socket_closed(uv_handle_t *handle)
{
    struct stream *s = handle->data;
    if (!s->done && !s->closing)
        try_next(s);
    unref(s);
}

static void close_socket(struct stream *s)
{
    if (!s->has_socket)
        return;
    s->has_socket = false;
    uv_close((uv_handle_t *)&s->tcp, on_socket_closed);
}

/* QEMU gets a copy, as it would have opened it itself: libuv's is not blocking. */
static int copy_of(struct stream *s)
{
    uv_os_fd_t fd;
    int rc = uv_fileno((uv_handle_t *)&s->tcp, &fd);
    const int copy = rc == 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
    if (rc == 0 && copy < 0)
        rc = -errno;
    const int flags = copy >= 0 ? fcntl(copy, F_GETFL) : -1;
    if (flags >= 0)
        (void)fcntl(copy, F_SETFL, flags & ~O_NONBLOCK);
    if (rc != 0)
        note(s, rc);
    return copy;
}

static void on_connect(uv_connect_t *req, int status)
{
    struct stream *s = req->data;
    if (s->done || s->closing)
        return;
    if (status == 0) {
        const int fd = copy_of(s);
        close_socket(s);
        tell(s, fd);
        return;
    }
    note(s, status);
    close_socket(s); /* the next address follows */
}

static void try_next(struct stream *s)
{
    uv_os_fd_t fd;
    const struct addrinfo *a = s->next;
    if (!a) {
        tell(s, -1);
        return;
    }
    s->next = a->ai_next;
    int rc = uv_tcp_init_ex(s->loop, &s->tcp, (unsigned)a->ai_family);
    if (rc != 0) {
        note(s, rc);
        try_next(s); /* as many as there are addresses */
        return;
    }
    s->has_socket = true;
    s->refs++;
    rc = uv_fileno((uv_handle_t *)&s->tcp, &fd);
    if (rc == 0)
        rc = bind_socket(fd, s->bind);
    if (rc == 0)
        rc = set_limits(fd);
    if (rc == 0)
        rc = uv_tcp_connect(&s->connect, &s->tcp, a->ai_addr, on_connect);
    if (rc != 0) {
        note(s, rc);
        close_socket(s);
    }
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    struct stream *s = req->data;
    s->resolving = false;
    s->found = s->found ? s->found : found;
    if (!s->done && !s->closing) {
        s->next = found;
        if (status != 0)
            note(s, status);
        try_next(s);
    }
    unref(s);
}

int stream_start(struct stream **out,
                 uv_loop_t *loop,
                 const struct mig_do *what,
                 const char *where,
                 stream_cb *on_done,
                 void *arg,
                 struct qf_err *err)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct stream *s = calloc(1, sizeof(*s));
    if (!s)
        return qf_fail(err, QF_E_NOMEM, "no memory for a connection");
    s->loop = loop;
    s->on_done = on_done;
    s->arg = arg;
    s->timer.data = s->tcp.data = s->connect.data = s->resolve.data = s;
    (void)snprintf(s->bind, sizeof(s->bind), "%s", where);
    (void)snprintf(s->host, sizeof(s->host), "%s", what->u.stream.host);
    (void)snprintf(s->port, sizeof(s->port), "%s", what->u.stream.port);
    int rc = uv_getaddrinfo(loop, &s->resolve, on_resolved, s->host, s->port, &hints);
    if (rc != 0) {
        free(s);
        return qf_fail(err, QF_E_INTERNAL, "%s", uv_strerror(rc));
    }
    s->resolving = true;
    s->refs = 2;
    (void)uv_timer_init(loop, &s->timer); /* cannot fail on Unix */
    (void)uv_timer_start(&s->timer, on_timer, STREAM_CONNECT_MS, 0);
    *out = s;
    return 0;
}

void stream_close(struct stream *s, void (*on_closed)(void *arg), void *arg)
{
    if (!s)
        return;
    s->closing = true;
    s->on_closed = on_closed;
    s->closed_arg = arg;
    if (s->resolving)
        (void)uv_cancel((uv_req_t *)&s->resolve); /* on_resolved comes in any case */
    close_socket(s);
    uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}

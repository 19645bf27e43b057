/* A link on real sockets, its peer on the same loop. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

/* link_uv.c is built into this test, so that the resolver and writes can misbehave. */
static int stub_getaddrinfo(uv_loop_t *loop,
                            uv_getaddrinfo_t *req,
                            uv_getaddrinfo_cb cb,
                            const char *host,
                            const char *port,
                            const struct addrinfo *hints);
static int stub_try_write(uv_stream_t *stream, const uv_buf_t bufs[], unsigned n);
static int stub_write(uv_write_t *req,
                      uv_stream_t *stream,
                      const uv_buf_t bufs[],
                      unsigned n,
                      uv_write_cb cb);

#define uv_getaddrinfo stub_getaddrinfo
#define uv_try_write   stub_try_write
#define uv_write       stub_write
#include "qmp/link_uv.c"
#undef uv_getaddrinfo
#undef uv_try_write
#undef uv_write

#include "qmp/server.h"
#include "tests/lib/certs.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

enum transport { OVER_UNIX, OVER_TCP4, OVER_TCP6, OVER_TLS, TRANSPORTS };

union socket {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_pipe_t pipe;
    uv_tcp_t tcp;
};

/* Who listens: a QMP server, or somebody who says raw. Says budget bytes in all, then hangs up. */
struct peer {
    union socket listener;
    union socket conn;
    bool listens;
    bool connected;
    struct qmp_server server;
    const char *raw;
    size_t raw_len;
    size_t budget;
    bool silent; /* the kernel accepts, the peer does nothing */
    bool event_first;
    struct tls_peer tls;
    bool has_tls;      /* it speaks TLS */
    size_t record;     /* most text in a record */
    size_t large;      /* the reply to "large" is as long as this */
    unsigned together; /* the most commands that were unanswered at a time */
};

/* Made once: the credentials of the tests with TLS. */
static struct {
    struct cert ca;
    struct cert server; /* for 127.0.0.1 */
    struct cert other;  /* for another host */
    struct qmp_tls_creds *creds;
} keys;

static struct fixture {
    uv_loop_t loop;
    char dir[64];
    char path[96];
    struct qmp_addr addr;
    struct peer peer;
    struct qmp_link *link; /* on the heap, so that the sanitizer sees a late access */
    bool inside;           /* of open, send or close: no callback may come now */
    bool closed;
    char trace[8192];
    struct qf_err err;
    enum qmp_msg_kind close_at; /* with close_at_msg: close from inside this message */
    bool close_at_msg;
    bool close_at_down;
    unsigned replies;
    unsigned commands_left; /* send one more with each reply */
    uint64_t last_id;
    /* How the stubs misbehave. */
    int resolve_rc;     /* refused at once */
    int resolve_status; /* fails later */
    const char *before; /* another address before the right one */
    uv_getaddrinfo_cb resolve_cb;
    size_t try_write_max;
    int write_rc;
} f;

static void note(const char *fmt, ...) QF_PRINTF(1, 2);
static void note(const char *fmt, ...)
{
    const size_t n = strlen(f.trace);
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(f.trace + n, sizeof(f.trace) - n, fmt, ap);
    va_end(ap);
}

/* ---- stubs ---- */

static void on_stub_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    if (status == 0 && f.before) { /* freeaddrinfo takes the list node by node */
        const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
        struct addrinfo *first = NULL;
        ck_assert_int_eq(getaddrinfo(f.before, f.addr.port, &hints, &first), 0);
        first->ai_next = found;
        found = first;
    }
    if (status == 0 && f.resolve_status != 0) {
        uv_freeaddrinfo(found);
        found = NULL;
        status = f.resolve_status;
    }
    f.resolve_cb(req, status, found);
}

static int stub_getaddrinfo(uv_loop_t *loop,
                            uv_getaddrinfo_t *req,
                            uv_getaddrinfo_cb cb,
                            const char *host,
                            const char *port,
                            const struct addrinfo *hints)
{
    f.resolve_cb = cb;
    if (f.resolve_rc != 0)
        return f.resolve_rc;
    return uv_getaddrinfo(loop, req, on_stub_resolved, host, port, hints);
}

static int stub_try_write(uv_stream_t *stream, const uv_buf_t bufs[], unsigned n)
{
    uv_buf_t some = bufs[0];
    ck_assert_uint_eq(n, 1);
    if (f.try_write_max == 0)
        return UV_EAGAIN;
    if (some.len > f.try_write_max)
        some.len = f.try_write_max;
    return uv_try_write(stream, &some, 1);
}

static int stub_write(
    uv_write_t *req, uv_stream_t *stream, const uv_buf_t bufs[], unsigned n, uv_write_cb cb)
{
    return f.write_rc != 0 ? f.write_rc : uv_write(req, stream, bufs, n, cb);
}

/* ---- the peer ---- */

struct saying {
    uv_write_t req;
    char *text;
};

static void peer_hang_up(void)
{
    if (f.peer.connected && !uv_is_closing(&f.peer.conn.handle))
        uv_close(&f.peer.conn.handle, NULL);
}

static void on_said(uv_write_t *req, int status)
{
    struct saying *say = (struct saying *)req;
    (void)status; /* the link may have closed */
    if (f.peer.budget == 0)
        peer_hang_up();
    free(say->text);
    free(say);
}

static void peer_say(const char *text, size_t len)
{
    if (len > f.peer.budget)
        len = f.peer.budget;
    f.peer.budget -= len;
    struct saying *say = malloc(sizeof(*say));
    ck_assert_ptr_nonnull(say);
    say->text = malloc(len + 1);
    ck_assert_ptr_nonnull(say->text);
    if (len)
        memcpy(say->text, text, len);
    const uv_buf_t b = uv_buf_init(say->text, (unsigned)len);
    if (uv_write(&say->req, &f.peer.conn.stream, &b, 1, on_said) != 0) {
        free(say->text);
        free(say);
    }
}

/* What TLS has to say, in pieces of any size. */
static void peer_say_tls(void)
{
    char wire[4096];
    size_t n;
    while ((n = tls_peer_take(&f.peer.tls, wire, sizeof(wire))) > 0)
        peer_say(wire, n);
}

static void peer_say_text(const char *text, size_t len)
{
    if (!f.peer.has_tls) {
        peer_say(text, len);
        return;
    }
    for (size_t i = 0; i < len; i += f.peer.record)
        tls_peer_write(&f.peer.tls, text + i,
                       len - i < f.peer.record ? len - i : f.peer.record);
    peer_say_tls();
}

static void peer_flush(void)
{
    if (f.peer.server.out.len == 0)
        return;
    if (f.peer.has_tls && !SSL_is_init_finished(f.peer.tls.ssl))
        return;
    peer_say_text(f.peer.server.out.data, f.peer.server.out.len);
    qf_buf_drop(&f.peer.server.out, f.peer.server.out.len);
}

/* Take all commands that came, then answer them. */
static void peer_answer(void)
{
    struct qmp_server *s = &f.peer.server;
    struct qmp_command cmd;
    json_t *ids[256];
    bool large[256];
    unsigned n = 0;
    while (n < 256 && qmp_server_next(s, &cmd, &f.err) == 1) {
        large[n] = strcmp(cmd.name, "large") == 0;
        if (strcmp(cmd.name, "stop") == 0)
            ck_assert_int_eq(qmp_server_event(s, "STOP", NULL, 1, &f.err), 0);
        ids[n++] = json_incref(cmd.id);
    }
    if (n > f.peer.together)
        f.peer.together = n;
    for (unsigned i = 0; i < n; i++) {
        json_t *value = NULL;
        if (large[i]) {
            char *text = malloc(f.peer.large + 1);
            ck_assert_ptr_nonnull(text);
            memset(text, 'x', f.peer.large);
            text[f.peer.large] = '\0';
            value = json_string(text);
            free(text);
        }
        ck_assert_int_eq(qmp_server_reply(s, ids[i], value, &f.err), 0);
        json_decref(value);
        json_decref(ids[i]);
    }
}

static void on_peer_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    static char room[65536];
    (void)handle;
    (void)suggested;
    *buf = uv_buf_init(room, sizeof(room));
}

static void on_peer_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)stream;
    if (n < 0) {
        peer_hang_up();
        return;
    }
    if (f.peer.raw)
        return;
    if (!f.peer.has_tls) {
        ck_assert_int_eq(qmp_server_feed(&f.peer.server, buf->base, (size_t)n, &f.err), 0);
        peer_answer();
        peer_flush();
        return;
    }
    char text[16384];
    int len;
    tls_peer_feed(&f.peer.tls, buf->base, (size_t)n);
    while ((len = tls_peer_read(&f.peer.tls, text, sizeof(text))) > 0)
        ck_assert_int_eq(qmp_server_feed(&f.peer.server, text, (size_t)len, &f.err), 0);
    peer_say_tls();
    if (len < 0) {
        note("refused by the client|");
        peer_hang_up();
        return;
    }
    peer_answer();
    peer_flush();
}

static void socket_init(union socket *s)
{
    if (f.addr.kind == QMP_ADDR_UNIX || f.addr.kind == QMP_ADDR_SSH)
        ck_assert_int_eq(uv_pipe_init(&f.loop, &s->pipe, 0), 0);
    else
        ck_assert_int_eq(uv_tcp_init(&f.loop, &s->tcp), 0);
}

static void on_peer_connection(uv_stream_t *listener, int status)
{
    ck_assert_int_eq(status, 0);
    if (f.peer.silent)
        return; /* as a monitor that serves somebody else */
    socket_init(&f.peer.conn);
    ck_assert_int_eq(uv_accept(listener, &f.peer.conn.stream), 0);
    f.peer.connected = true;
    ck_assert_int_eq(uv_read_start(&f.peer.conn.stream, on_peer_alloc, on_peer_read), 0);
    if (f.peer.raw) {
        peer_say(f.peer.raw, f.peer.raw_len);
        return;
    }
    json_t *version = json_pack("{s:{s:i}}", "qemu", "major", 7);
    if (f.peer.event_first)
        ck_assert_int_eq(qmp_server_event(&f.peer.server, "RESUME", NULL, 1, &f.err), 0);
    ck_assert_int_eq(qmp_server_greet(&f.peer.server, version, &f.err), 0);
    json_decref(version);
    peer_flush();
}

/* Bind, and listen if that is asked for. False: this machine does not have that transport. */
static bool peer_start(enum transport over, bool listens)
{
    char text[QMP_ADDR_TEXT];
    if (over == OVER_UNIX) {
        (void)snprintf(text, sizeof(text), "unix:%s", f.path);
        ck_assert_int_eq(qmp_addr_parse(text, &f.addr, &f.err), 0);
        socket_init(&f.peer.listener);
        ck_assert_int_eq(uv_pipe_bind(&f.peer.listener.pipe, f.path), 0);
    } else {
        struct sockaddr_storage at;
        struct sockaddr *const any = (struct sockaddr *)&at;
        int len = sizeof(at);
        f.addr.kind = QMP_ADDR_TCP;
        if (over != OVER_TCP6)
            ck_assert_int_eq(uv_ip4_addr("127.0.0.1", 0, (struct sockaddr_in *)&at), 0);
        else
            ck_assert_int_eq(uv_ip6_addr("::1", 0, (struct sockaddr_in6 *)&at), 0);
        socket_init(&f.peer.listener);
        if (uv_tcp_bind(&f.peer.listener.tcp, any, 0) != 0) {
            f.peer.listens = true;
            return false;
        }
        ck_assert_int_eq(uv_tcp_getsockname(&f.peer.listener.tcp, any, &len), 0);
        const int port = ntohs(over != OVER_TCP6 ? ((struct sockaddr_in *)&at)->sin_port
                                                 : ((struct sockaddr_in6 *)&at)->sin6_port);
        (void)snprintf(text, sizeof(text),
                       over == OVER_TCP4  ? "tcp:127.0.0.1:%d"
                       : over == OVER_TLS ? "tls:127.0.0.1:%d"
                                          : "tcp:[::1]:%d",
                       port);
        ck_assert_int_eq(qmp_addr_parse(text, &f.addr, &f.err), 0);
        f.addr.creds = keys.creds;
        f.peer.has_tls = over == OVER_TLS;
        if (f.peer.has_tls)
            tls_peer_init(&f.peer.tls, &(struct tls_peer_opts){.cert = &keys.server});
    }
    f.peer.listens = true;
    if (listens && uv_listen(&f.peer.listener.stream, 8, on_peer_connection) != 0)
        return false;
    return true;
}

static void on_conn_closed(uv_handle_t *handle)
{
    (void)handle;
}

static void peer_stop(void)
{
    if (f.peer.listens)
        uv_close(&f.peer.listener.handle, on_conn_closed);
    peer_hang_up();
    (void)uv_run(&f.loop, UV_RUN_DEFAULT);
    qmp_server_fini(&f.peer.server);
    tls_peer_fini(&f.peer.tls);
    memset(&f.peer, 0, sizeof(f.peer));
}

/* ---- the link's owner ---- */

static void on_link_closed(struct qmp_link *link, void *arg)
{
    ck_assert_ptr_eq(arg, &f);
    ck_assert_ptr_eq(link, f.link);
    ck_assert(!f.inside && !f.closed);
    f.closed = true;
    free(link);
    f.link = NULL;
}

static void close_link(void)
{
    f.inside = true;
    qmp_link_close(f.link, on_link_closed);
    qmp_link_close(f.link, on_link_closed);
    f.inside = false;
}

static int ask(const char *command)
{
    f.inside = true;
    const int rc = qmp_link_send(f.link, command, NULL, ++f.last_id, false, &f.err);
    f.inside = false;
    return rc;
}

static void on_msg(struct qmp_link *link, const struct qmp_msg *msg, void *arg)
{
    ck_assert_ptr_eq(arg, &f);
    ck_assert_ptr_eq(link, f.link);
    ck_assert(!f.inside && !f.closed);
    ck_assert_int_eq(link->state, QMP_LINK_UP);
    switch (msg->kind) {
    case QMP_MSG_UP:
        note("up%s|", link->client.oob ? " oob" : "");
        break;
    case QMP_MSG_REPLY:
        f.replies++;
        if (json_is_string(msg->body))
            note("%" PRIu64 " %zu|", msg->id, json_string_length(msg->body));
        else
            note("%" PRIu64 "|", msg->id);
        if (f.commands_left > 0) {
            f.commands_left--;
            ck_assert_int_eq(ask("more"), 0);
        }
        break;
    case QMP_MSG_EVENT:
        note("event %s|", msg->name);
        break;
    }
    if (f.close_at_msg && f.close_at == msg->kind)
        close_link();
}

static void on_down(struct qmp_link *link, const struct qf_err *err, bool gone, void *arg)
{
    ck_assert_ptr_eq(arg, &f);
    ck_assert_ptr_eq(link, f.link);
    ck_assert(!f.inside && !f.closed);
    char addr[QMP_ADDR_TEXT];
    const size_t n = strlen(qmp_addr_format(&f.addr, addr));
    ck_assert_msg(strncmp(err->text, addr, n) == 0, "%s", err->text);
    note("%s%s%s|",
         err->code == QF_E_UNREACHABLE ? "unreachable"
         : err->code == QF_E_PROTO     ? "proto"
         : err->code == QF_E_LOST      ? "lost"
                                       : "?",
         gone ? " gone" : "", err->text + n);
    ck_assert_int_eq(ask("x"), -(int)QF_E_LOST);
    if (f.close_at_down)
        close_link();
}

static int open_link(void)
{
    static const struct qmp_link_ops ops = {on_msg, on_down};
    f.closed = false;
    f.link = malloc(sizeof(*f.link));
    ck_assert_ptr_nonnull(f.link);
    memset(f.link, 0xA5, sizeof(*f.link)); /* open does not rely on zeroes */
    f.inside = true;
    const int rc = qmp_link_open(f.link, &f.loop, &f.addr, &ops, &f, &f.err);
    f.inside = false;
    return rc;
}

/* Run until the trace holds text. */
static void run_to(const char *text)
{
    int more = 1;
    while (!strstr(f.trace, text)) {
        ck_assert_msg(more != 0, "no '%s' in '%s'", text, f.trace);
        more = uv_run(&f.loop, UV_RUN_ONCE);
    }
}

static void run_until_closed(void)
{
    int more = 1;
    while (!f.closed) {
        ck_assert_msg(more != 0, "not closed after '%s'", f.trace);
        more = uv_run(&f.loop, UV_RUN_ONCE);
    }
}

static void run_closed(void)
{
    close_link();
    run_until_closed();
}

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    f.try_write_max = SIZE_MAX;
    ck_assert_int_eq(uv_loop_init(&f.loop), 0);
    (void)snprintf(f.dir, sizeof(f.dir), "/tmp/qferry-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(f.dir));
    (void)snprintf(f.path, sizeof(f.path), "%s/qmp", f.dir);
    ck_assert_int_eq(setenv("RUNTIME_DIRECTORY", f.dir, 1), 0);
    qmp_server_init(&f.peer.server, true);
    f.peer.budget = SIZE_MAX;
    f.peer.record = SIZE_MAX;
}

static void teardown(void)
{
    if (f.link)
        run_closed();
    peer_stop();
    ck_assert_int_eq(uv_loop_close(&f.loop), 0);
    (void)unlink(f.path);
    ck_assert_int_eq(rmdir(f.dir), 0); /* nor is anything of ssh's left */
}

static void again(void)
{
    teardown();
    setup();
}

/* ---- tests ---- */

START_TEST(talks_to_a_monitor)
{
    if (!peer_start((enum transport)_i, true))
        return;
    f.peer.event_first = true;
    ck_assert_int_eq(open_link(), 0);
    ck_assert_int_eq(ask("early"), 0); /* waits for the monitor */
    run_to("1|");
    ck_assert_int_eq(ask("stop"), 0);
    run_to("2|");
    ck_assert_str_eq(f.trace, "event RESUME|up oob|1|event STOP|2|");
    run_closed();
    ck_assert_str_eq(f.trace, "event RESUME|up oob|1|event STOP|2|");
}
END_TEST

START_TEST(carries_large_replies)
{
    if (!peer_start((enum transport)_i, true))
        return;
    f.peer.large = 300 * 1024;
    ck_assert_int_eq(open_link(), 0);
    ck_assert_int_eq(ask("large"), 0);
    ck_assert_int_eq(ask("x"), 0);
    run_to("2|");
    ck_assert_str_eq(f.trace, "up oob|1 307200|2|");
}
END_TEST

/* However much the socket takes at a time. */
START_TEST(carries_many_commands_a_few_at_a_time)
{
    static const size_t takes[] = {SIZE_MAX, 7, 0};
    ck_assert(peer_start(_i % 2 ? OVER_TCP4 : OVER_UNIX, true));
    f.try_write_max = takes[_i / 2];
    ck_assert_int_eq(open_link(), 0);
    for (unsigned i = 0; i < QMP_WAITING_MAX; i++)
        ck_assert_int_eq(ask("x"), 0);
    ck_assert_int_eq(ask("x"), -(int)QF_E_INTERNAL);
    f.last_id--;
    f.commands_left = 200 - QMP_WAITING_MAX;
    run_to("|200|");
    ck_assert_uint_eq(f.replies, 200);
    ck_assert_uint_le(f.peer.together, QMP_IN_BAND_MAX);
}
END_TEST

/* The peer says n bytes and is gone, for every n of a whole conversation. */
START_TEST(a_monitor_may_die_at_any_byte)
{
    size_t n = 0;
    /* with TLS there are more bytes, and every try costs a handshake */
    const size_t step = _i == OVER_TLS ? 5 : 1;
    for (bool whole = false; !whole; n += step) {
        if (!peer_start((enum transport)_i, true))
            return;
        f.peer.budget = n;
        f.peer.event_first = true;
        ck_assert_int_eq(open_link(), 0);
        ck_assert_int_eq(ask("stop"), 0);
        while (!strstr(f.trace, "lost: ") &&
               !(whole = strstr(f.trace, "|1|") && f.peer.budget > 0))
            ck_assert_int_ne(uv_run(&f.loop, UV_RUN_ONCE), 0);
        ck_assert_ptr_null(strstr(f.trace, "gone"));
        run_closed();
        again();
    }
    ck_assert_uint_gt(n, 200);
}
END_TEST

START_TEST(says_how_far_a_dying_monitor_got)
{
    static const char hello[] = "{\"QMP\": {}}\r\n";
    for (size_t n = 0; n < sizeof(hello) - 1; n++) {
        ck_assert(peer_start((enum transport)_i, true));
        f.peer.raw = hello;
        f.peer.raw_len = f.peer.budget = n;
        ck_assert_int_eq(open_link(), 0);
        run_to("lost: ");
        char want[128];
        if (n == 0)
            (void)snprintf(want, sizeof(want),
                           "lost: the monitor closed the connection before it greeted|");
        else
            (void)snprintf(want, sizeof(want),
                           "lost: the monitor closed the connection in the "
                           "middle of a message (%zu bytes of it came)|",
                           n);
        if (n < 11)
            ck_assert_str_eq(f.trace, want);
        again();
    }
}
END_TEST

static const struct {
    const char *says;
    const char *trace;
} strangers[] = {
    {"SSH-2.0-OpenSSH_9.2p1\r\n",
     "proto: this is not a QMP monitor: it says 'SSH-2.0-OpenSSH_9.2p1'|"},
    {"HTTP/1.1 400 Bad Request\r\n\r\n",
     "proto: this is not a QMP monitor: it says 'HTTP/1.1 400 Bad Request'|"},
    {"\x80\x81\x82\x01", "proto: this is not a QMP monitor: it says '....'|"},
    {"{\"hello\": 1}", "proto: this is not a QMP monitor: it does not greet|"},
    {"{\"return\": {}}\n", "proto: this is not a QMP monitor: it does not greet|"},
    {"{\"QMP\": {}}{\"error\": {\"class\": \"GenericError\", \"desc\": \"x\"}}",
     "proto: the monitor could not read a command: x|"},
};

START_TEST(names_a_peer_that_is_no_monitor)
{
    ck_assert(peer_start(OVER_UNIX, true));
    f.peer.raw = strangers[_i].says;
    f.peer.raw_len = strlen(f.peer.raw);
    ck_assert_int_eq(open_link(), 0);
    run_to("proto");
    ck_assert_str_eq(f.trace, strangers[_i].trace);
}
END_TEST

/* A second client of a monitor, a guest agent: accepted by the kernel, and nothing comes. There is
 * nothing to tell; the owner's deadline closes. */
START_TEST(waits_for_a_silent_peer_until_its_owner_closes)
{
    if (!peer_start((enum transport)_i, true))
        return;
    f.peer.silent = true;
    ck_assert_int_eq(open_link(), 0);
    while (f.link->state != QMP_LINK_UP)
        ck_assert_int_ne(uv_run(&f.loop, UV_RUN_ONCE), 0);
    for (int i = 0; i < 20; i++)
        (void)uv_run(&f.loop, UV_RUN_NOWAIT);
    run_closed();
    ck_assert_str_eq(f.trace, "");
}
END_TEST

START_TEST(refused_is_gone)
{
    if (!peer_start((enum transport)_i, false))
        return;
    ck_assert_int_eq(open_link(), 0);
    run_to("unreachable");
    ck_assert_str_eq(f.trace, "unreachable gone: connection refused|");
}
END_TEST

START_TEST(a_missing_file_is_gone)
{
    ck_assert_int_eq(qmp_addr_parse(f.path, &f.addr, &f.err), 0);
    ck_assert_int_eq(open_link(), 0);
    run_to("unreachable");
    ck_assert_str_eq(f.trace, "unreachable gone: no such file or directory|");
}
END_TEST

START_TEST(a_strange_path_is_unreachable_but_not_gone)
{
    (void)snprintf(f.addr.path, sizeof(f.addr.path), "/dev/null/qmp");
    ck_assert_int_eq(open_link(), 0);
    run_to("unreachable");
    ck_assert_str_eq(f.trace, "unreachable: not a directory|");
}
END_TEST

START_TEST(a_full_queue_of_clients_is_named)
{
    int fds[64];
    int n = 0;
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    memcpy(at.sun_path, f.path, strlen(f.path) + 1);
    ck_assert_int_eq(qmp_addr_parse(f.path, &f.addr, &f.err), 0);
    const int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&at, sizeof(at)), 0);
    ck_assert_int_eq(listen(listener, 0), 0);
    for (int rc = 0; n < 64 && rc == 0; n++) {
        fds[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        rc = connect(fds[n], (struct sockaddr *)&at, sizeof(at));
    }
    ck_assert_int_lt(n, 64);
    ck_assert_int_eq(open_link(), 0);
    run_to("unreachable");
    ck_assert_str_eq(
        f.trace, "unreachable: the monitor is busy: other clients already wait for it|");
    while (n > 0)
        (void)close(fds[--n]);
    (void)close(listener);
}
END_TEST

START_TEST(an_unknown_host_is_unreachable)
{
    ck_assert_int_eq(qmp_addr_parse("tcp:127.0.0.1:1", &f.addr, &f.err), 0);
    f.resolve_status = UV_EAI_NONAME;
    ck_assert_int_eq(open_link(), 0);
    run_to("unreachable");
    ck_assert_str_eq(f.trace, "unreachable: unknown node or service|");
}
END_TEST

START_TEST(what_fails_at_once_starts_nothing)
{
    ck_assert_int_eq(qmp_addr_parse("tcp:127.0.0.1:1", &f.addr, &f.err), 0);
    f.resolve_rc = UV_ENOMEM;
    ck_assert_int_eq(open_link(), -(int)QF_E_UNREACHABLE);
    ck_assert_str_eq(f.err.text, "tcp:127.0.0.1:1: not enough memory");
    ck_assert_int_eq(uv_run(&f.loop, UV_RUN_NOWAIT), 0);
    ck_assert_int_eq(ask("x"), -(int)QF_E_LOST);
    qmp_link_close(f.link, on_link_closed); /* nothing to wait for */
    ck_assert(f.closed);
}
END_TEST

START_TEST(tries_every_address)
{
    ck_assert(peer_start(OVER_TCP4, true));
    f.before = "127.0.0.2"; /* nobody listens there */
    ck_assert_int_eq(open_link(), 0);
    ck_assert_int_eq(ask("x"), 0);
    run_to("1|");
    ck_assert_str_eq(f.trace, "up oob|1|");
}
END_TEST

/* 255.255.255.255 is refused by the kernel at once, and not with "refused". */
START_TEST(tells_the_last_error_and_is_gone_only_if_refused_everywhere)
{
    static const struct {
        const char *before;
        const char *trace;
    } cases[] = {
        {NULL, "unreachable gone: connection refused|"},
        {"127.0.0.2", "unreachable gone: connection refused|"},
        {"255.255.255.255", "unreachable: connection refused|"},
    };
    for (int i = 0; i < COUNT(cases); i++) {
        ck_assert(peer_start(OVER_TCP4, false));
        f.before = cases[i].before;
        ck_assert_int_eq(open_link(), 0);
        run_to("unreachable");
        ck_assert_str_eq(f.trace, cases[i].trace);
        again();
    }
}
END_TEST

/* Close after every number of turns of the loop. */
START_TEST(closes_at_any_moment)
{
    for (int over = 0; over < TRANSPORTS; over++)
        for (int turns = 0; turns < 40; turns++) {
            if (!peer_start((enum transport)over, _i != 1))
                return;
            f.before = _i == 2 ? "127.0.0.2" : NULL;
            f.try_write_max = _i == 3 ? 0 : SIZE_MAX;
            ck_assert_int_eq(open_link(), 0);
            ck_assert_int_eq(ask("stop"), 0);
            for (int i = 0; i < turns; i++)
                (void)uv_run(&f.loop, UV_RUN_NOWAIT);
            run_closed();
            char before[sizeof(f.trace)];
            memcpy(before, f.trace, sizeof(before));
            for (int i = 0; i < 10; i++)
                (void)uv_run(&f.loop, UV_RUN_NOWAIT);
            ck_assert_str_eq(f.trace, before);
            again();
        }
}
END_TEST

/* From somebody else's callback, in the turn in which a failed attempt is being closed. */
static void on_check(uv_check_t *check)
{
    if (!f.closed && f.link->state == QMP_LINK_CONNECTING && !f.link->has_socket) {
        close_link();
        uv_close((uv_handle_t *)check, NULL);
    }
}

START_TEST(closes_between_two_addresses)
{
    uv_check_t check;
    ck_assert(peer_start(OVER_TCP4, true));
    f.before = "127.0.0.2";
    ck_assert_int_eq(open_link(), 0);
    ck_assert_int_eq(uv_check_init(&f.loop, &check), 0);
    ck_assert_int_eq(uv_check_start(&check, on_check), 0);
    run_until_closed();
    ck_assert_str_eq(f.trace, "");
}
END_TEST

START_TEST(closes_while_a_write_is_under_way)
{
    char *text = malloc(4 * 1024 * 1024);
    ck_assert_ptr_nonnull(text);
    memset(text, 'x', 4 * 1024 * 1024 - 1);
    text[4 * 1024 * 1024 - 1] = '\0';
    json_t *args = json_pack("{s:s}", "a", text);
    free(text);
    if (!peer_start((enum transport)_i, true)) {
        json_decref(args);
        return;
    }
    ck_assert_int_eq(open_link(), 0);
    run_to("up oob|");
    ck_assert_int_eq(uv_read_stop(&f.peer.conn.stream), 0);
    ck_assert_int_eq(qmp_link_send(f.link, "x", args, 1, false, &f.err), 0);
    json_decref(args);
    for (int i = 0; i < 10; i++)
        (void)uv_run(&f.loop, UV_RUN_NOWAIT);
    ck_assert_uint_gt(f.link->writing.len, 0);
    run_closed();
    ck_assert_str_eq(f.trace, "up oob|");
}
END_TEST

START_TEST(closes_from_inside_a_message)
{
    static const char *const traces[] = {
        "event RESUME|up oob|", "event RESUME|up oob|event STOP|1|", "event RESUME|"};
    ck_assert(peer_start(OVER_UNIX, true));
    f.peer.event_first = true;
    f.close_at_msg = true;
    f.close_at = (enum qmp_msg_kind)_i;
    ck_assert_int_eq(open_link(), 0);
    ck_assert_int_eq(ask("stop"), 0);
    run_until_closed();
    ck_assert_str_eq(f.trace, traces[_i]);
}
END_TEST

/* More messages of the same read are not told. */
START_TEST(is_quiet_after_a_close_inside_a_message)
{
    ck_assert(peer_start(OVER_UNIX, true));
    f.peer.raw = "{\"event\": \"A\"}{\"event\": \"B\"} and what is no QMP";
    f.peer.raw_len = strlen(f.peer.raw);
    f.close_at_msg = true;
    f.close_at = QMP_MSG_EVENT;
    ck_assert_int_eq(open_link(), 0);
    run_until_closed();
    ck_assert_str_eq(f.trace, "event A|");
}
END_TEST

START_TEST(closes_from_inside_on_down)
{
    ck_assert(peer_start(_i % 2 ? OVER_TCP4 : OVER_UNIX, _i < 2));
    f.close_at_down = true;
    f.peer.budget = 5;
    ck_assert_int_eq(open_link(), 0);
    run_until_closed();
    ck_assert_ptr_nonnull(strstr(f.trace, _i < 2 ? "lost" : "unreachable"));
}
END_TEST

/* A link that is down stays quiet until it is closed. */
START_TEST(tells_down_once)
{
    ck_assert(peer_start(OVER_UNIX, true));
    f.peer.raw = "x";
    f.peer.raw_len = 1;
    ck_assert_int_eq(open_link(), 0);
    run_to("proto");
    ck_assert(!uv_is_active(&f.link->h.handle)); /* reads no more */
    char before[sizeof(f.trace)];
    memcpy(before, f.trace, sizeof(before));
    peer_say("{\"QMP\": {}}", 11);
    peer_hang_up();
    for (int i = 0; i < 20; i++)
        (void)uv_run(&f.loop, UV_RUN_NOWAIT);
    run_closed();
    ck_assert_str_eq(f.trace, before);
}
END_TEST

START_TEST(a_write_that_cannot_start_is_told_from_the_loop)
{
    ck_assert(peer_start(OVER_UNIX, true));
    ck_assert_int_eq(open_link(), 0);
    run_to("up oob|");
    f.try_write_max = 0;
    f.write_rc = UV_EPIPE;
    ck_assert_int_eq(ask("x"), 0);
    ck_assert_int_eq(ask("y"), 0);
    run_to("lost");
    ck_assert_str_eq(f.trace, "up oob|lost: cannot write: broken pipe|");
    run_closed();
    ck_assert_str_eq(f.trace, "up oob|lost: cannot write: broken pipe|");
}
END_TEST

/* The peer's end of a socket does not read any more, but is not closed either. */
START_TEST(a_write_that_fails_is_told)
{
    uv_os_fd_t fd;
    ck_assert(peer_start(OVER_UNIX, true));
    ck_assert_int_eq(open_link(), 0);
    run_to("up oob|");
    ck_assert_int_eq(uv_fileno(&f.peer.conn.handle, &fd), 0);
    ck_assert_int_eq(uv_read_stop(&f.peer.conn.stream), 0);
    ck_assert_int_eq(shutdown(fd, SHUT_RD), 0);
    ck_assert_int_eq(ask("x"), 0);
    run_to("lost");
    ck_assert_str_eq(f.trace, "up oob|lost: cannot write: broken pipe|");
}
END_TEST

/* ---- TLS ---- */

START_TEST(text_comes_in_records_of_any_size)
{
    static const size_t records[] = {1, 2, 100, 16384};
    ck_assert(peer_start(OVER_TLS, true));
    f.peer.record = records[_i % COUNT(records)];
    f.try_write_max = _i < COUNT(records) ? SIZE_MAX : 0;
    f.peer.large = 20000;
    ck_assert_int_eq(open_link(), 0);
    ck_assert_int_eq(ask("large"), 0);
    ck_assert_int_eq(ask("x"), 0);
    run_to("2|");
    ck_assert_str_eq(f.trace, "up oob|1 20000|2|");
}
END_TEST

START_TEST(a_certificate_for_another_host_is_refused_and_the_peer_is_told)
{
    ck_assert(peer_start(OVER_TLS, true));
    tls_peer_fini(&f.peer.tls);
    tls_peer_init(&f.peer.tls, &(struct tls_peer_opts){.cert = &keys.other});
    ck_assert_int_eq(open_link(), 0);
    ck_assert_int_eq(ask("x"), 0); /* never leaves */
    run_to("refused by the client|");
    ck_assert_str_eq(f.trace,
                     "unreachable: TLS: the monitor's certificate is for elsewhere, "
                     "not for 127.0.0.1|refused by the client|");
}
END_TEST

START_TEST(a_peer_without_tls_is_named)
{
    static const struct {
        const char *says;
        const char *trace;
    } cases[] = {
        {"{\"QMP\": {}}\r\n",
         "proto: the peer does not speak TLS (a plain monitor is tcp:HOST:PORT)|"},
        {"HTTP/1.1 400 Bad Request\r\n\r\n",
         "proto: the peer does not speak TLS (a plain monitor is tcp:HOST:PORT)|"},
        /* closed, or reset */
        {"\x16\x03\x03\xff", " in the TLS handshake|"},
        {"", " at the start of the TLS handshake; does it speak TLS?|"},
    };
    for (int i = 0; i < COUNT(cases); i++) {
        ck_assert(peer_start(OVER_TLS, true));
        f.peer.raw = cases[i].says;
        f.peer.raw_len = f.peer.budget = strlen(f.peer.raw);
        ck_assert_int_eq(open_link(), 0);
        run_to("|");
        ck_assert_msg(strstr(f.trace, cases[i].trace) != NULL, "%s", f.trace);
        again();
    }
}
END_TEST

START_TEST(tls_without_credentials_starts_nothing)
{
    ck_assert_int_eq(qmp_addr_parse("tls:127.0.0.1:1", &f.addr, &f.err), 0);
    ck_assert_int_eq(open_link(), -(int)QF_E_INTERNAL);
    qmp_link_close(f.link, on_link_closed);
    ck_assert(f.closed);
}
END_TEST

/* ---- ssh ----
 *
 * This program plays ssh, too: QFERRY_SSH has it run as `test_link_uv --as-ssh HOW`, and HOW says
 * what becomes of it. The real one is tests/real/test_remote.c's. */

static char self[256];

/* Carry bytes both ways until one side ends; with limit, no more than so many. */
static void carry(int here, int there, size_t limit)
{
    char bytes[4096];
    struct pollfd p[2] = {{.fd = here, .events = POLLIN}, {.fd = there, .events = POLLIN}};
    size_t sum = 0;
    while (sum < limit && poll(p, 2, -1) > 0)
        for (int i = 0; i < 2; i++) {
            if (p[i].revents == 0)
                continue;
            const ssize_t n = read(p[i].fd, bytes, sizeof(bytes));
            if (n <= 0 || write(p[1 - i].fd, bytes, (size_t)n) != n)
                return;
            sum += (size_t)n;
        }
}

static int unix_socket(const char *path, struct sockaddr_un *at)
{
    *at = (struct sockaddr_un){.sun_family = AF_UNIX};
    (void)snprintf(at->sun_path, sizeof(at->sun_path), "%s", path);
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int as_ssh(int argc, char **argv)
{
    struct sockaddr_un at;
    const char *const how = argv[2];
    char *local = NULL;
    for (int i = 3; i + 1 < argc; i++)
        if (strcmp(argv[i], "-L") == 0)
            local = argv[i + 1];
    if (strcmp(how, "refuses") == 0) {
        (void)fputs("Welcome.\r\nHost key for hv has changed and you have requested strict "
                    "checking.\r\nHost key verification failed.\r\n",
                    stderr);
        return 255;
    }
    if (strcmp(how, "mumbles") == 0) {
        (void)fputs("ssh: \x1b[1mno line end", stderr);
        return 255;
    }
    if (strcmp(how, "silent") == 0)
        return 7;
    if (strcmp(how, "stubborn") == 0)
        (void)signal(SIGTERM, SIG_IGN);
    char *const remote = strchr(local, ':');
    *remote = '\0';
    (void)fputs("Welcome to hv.\n", stderr);
    const int listener = unix_socket(local, &at);
    if (bind(listener, (struct sockaddr *)&at, sizeof(at)) != 0)
        return 1;
    if (strcmp(how, "slow") == 0)
        (void)poll(NULL, 0, 100);
    if (strcmp(how, "hangs") == 0)
        (void)pause();
    if (listen(listener, 1) != 0)
        return 1;
    const int here = accept(listener, NULL, NULL);
    const int there = unix_socket(remote + 1, &at);
    if (connect(there, (struct sockaddr *)&at, sizeof(at)) != 0) {
        (void)fputs("channel 1: open failed: connect failed: open failed\r\n", stderr);
        (void)close(here);
        (void)pause();
    }
    carry(here, there, strcmp(how, "dies") == 0 ? 100 : SIZE_MAX);
    if (strcmp(how, "dies") == 0) {
        (void)fputs("Timeout, server hv not responding.\r\n", stderr);
        return 255;
    }
    (void)close(here);
    (void)pause();
    return 0;
}

/* A peer on a UNIX socket, and the way to it. */
static void ssh_start(const char *how)
{
    char text[QMP_ADDR_TEXT];
    char program[sizeof(self) + 32];
    ck_assert(peer_start(OVER_UNIX, true));
    (void)snprintf(program, sizeof(program), "%s --as-ssh %s", self, how);
    ck_assert_int_eq(setenv("QFERRY_SSH", program, 1), 0);
    (void)snprintf(text, sizeof(text), "ssh:root@hv:22%s", f.path);
    ck_assert_int_eq(qmp_addr_parse(text, &f.addr, &f.err), 0);
}

/* Not even one that nobody has waited for. */
static void expect_no_process(void)
{
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
    ck_assert_int_eq(errno, ECHILD);
}

START_TEST(talks_through_ssh)
{
    static const char *const how[] = {"works", "slow", "stubborn"};
    ssh_start(how[_i]);
    f.peer.large = 300 * 1024;
    ck_assert_int_eq(open_link(), 0);
    ck_assert_int_eq(ask("large"), 0);
    run_to("1 307200|");
    ck_assert_int_ne(access(f.link->ssh.dir.path, F_OK), 0); /* gone already */
    ck_assert_int_eq(ask("stop"), 0);
    run_to("2|");
    ck_assert_str_eq(f.trace, "up oob|1 307200|event STOP|2|");
    run_closed();
    expect_no_process();
}
END_TEST

START_TEST(says_what_ssh_says)
{
    static const struct {
        const char *how;
        const char *trace;
    } cases[] = {
        {"refuses",
         "unreachable: ssh: Host key for hv has changed and you have requested strict "
         "checking. Host key verification failed|"},
        {"mumbles", "unreachable: ssh: .[1mno line end|"},
        {"silent", "unreachable: ssh: ended with status 7|"},
        {"dies", "lost: ssh: Timeout, server hv not responding|"},
    };
    ssh_start(cases[_i].how);
    ck_assert_int_eq(open_link(), 0);
    run_to(": ssh: ");
    const char *const at = strstr(f.trace, _i < 3 ? "unreachable" : "lost");
    ck_assert_ptr_nonnull(at);
    ck_assert_str_eq(at, cases[_i].trace);
    run_closed();
    expect_no_process();
}
END_TEST

START_TEST(a_program_that_is_no_ssh_is_named)
{
    ssh_start("works");
    ck_assert_int_eq(setenv("QFERRY_SSH", "  /nonexistent/ssh\t-4 ", 1), 0);
    ck_assert_int_eq(open_link(), 0);
    run_to("unreachable");
    ck_assert_ptr_nonnull(strstr(f.trace, "/nonexistent/ssh: not found|"));
}
END_TEST

/* The kernel of the other host may say gone; through ssh nobody hears it. */
START_TEST(nobody_at_the_other_end_is_not_gone)
{
    ssh_start("works");
    (void)strcat(f.addr.path, "x");
    ck_assert_int_eq(open_link(), 0);
    run_to("lost");
    ck_assert_msg(strstr(f.trace, "lost: ssh: that host cannot or may not connect to "),
                  "%s", f.trace);
    ck_assert_ptr_null(strstr(f.trace, "gone"));
}
END_TEST

START_TEST(a_monitor_that_ends_behind_ssh_is_lost)
{
    ssh_start("works");
    f.peer.budget = 20;
    ck_assert_int_eq(open_link(), 0);
    run_to("lost");
    ck_assert_str_eq(f.trace, "lost: the monitor closed the connection in the middle of a "
                              "message (20 bytes of it came)|");
}
END_TEST

/* After so many milliseconds, and from inside the callbacks. */
static void on_close_time(uv_timer_t *timer)
{
    uv_close((uv_handle_t *)timer, NULL);
    close_link();
}

START_TEST(closes_ssh_at_any_moment)
{
    static const char *const how[] = {"works", "refuses", "hangs", "dies"};
    for (uint64_t ms = 0; ms < 200; ms += 13) {
        uv_timer_t timer;
        ssh_start(how[_i]);
        ck_assert_int_eq(open_link(), 0);
        ck_assert_int_eq(ask("stop"), 0);
        ck_assert_int_eq(uv_timer_init(&f.loop, &timer), 0);
        ck_assert_int_eq(uv_timer_start(&timer, on_close_time, ms, 0), 0);
        run_until_closed();
        expect_no_process();
        again();
    }
}
END_TEST

START_TEST(ssh_that_cannot_start_starts_nothing)
{
    char words[1100];
    ssh_start("works");
    ck_assert_int_eq(setenv("RUNTIME_DIRECTORY", "/nonexistent/qferry", 1), 0);
    ck_assert_int_eq(open_link(), -(int)QF_E_UNREACHABLE);
    ck_assert_ptr_nonnull(strstr(f.err.text, "/nonexistent/qferry: No such file"));
    qmp_link_close(f.link, on_link_closed);
    ck_assert_int_eq(setenv("RUNTIME_DIRECTORY", f.dir, 1), 0);
    for (size_t i = 0; i < 80; i += 2)
        memcpy(words + i, "x ", 3);
    ck_assert_int_eq(setenv("QFERRY_SSH", words, 1), 0);
    ck_assert_int_eq(open_link(), -(int)QF_E_UNREACHABLE);
    ck_assert_ptr_nonnull(strstr(f.err.text, "QFERRY_SSH: more than 32 words"));
    qmp_link_close(f.link, on_link_closed);
    memset(words, 'x', sizeof(words) - 1);
    words[sizeof(words) - 1] = '\0';
    ck_assert_int_eq(setenv("QFERRY_SSH", words, 1), 0);
    ck_assert_int_eq(open_link(), -(int)QF_E_UNREACHABLE);
    qmp_link_close(f.link, on_link_closed);
}
END_TEST

/* As one that was killed while ssh connected has left it; one that is in use stays. */
START_TEST(stale_folders_are_removed)
{
    char stale[128];
    char used[128];
    char file[160];
    (void)snprintf(stale, sizeof(stale), "%s/ssh-aaaaaa", f.dir);
    (void)snprintf(used, sizeof(used), "%s/ssh-bbbbbb", f.dir);
    (void)snprintf(file, sizeof(file), "%s/s", stale);
    ck_assert_int_eq(mkdir(stale, 0700), 0);
    ck_assert_int_eq(mkdir(used, 0700), 0);
    ck_assert_int_eq(close(open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)), 0);
    const int lock = open(used, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_eq(flock(lock, LOCK_EX), 0);
    ssh_start("works");
    ck_assert_int_eq(open_link(), 0);
    run_to("up");
    ck_assert_int_ne(access(stale, F_OK), 0);
    ck_assert_int_eq(rmdir(used), 0);
    (void)close(lock);
}
END_TEST

static void make_keys(void)
{
    const struct cert_opts ca = {.cn = "ca", .ca = true};
    const struct cert_opts server = {.cn = "fake", .san = "IP:127.0.0.1"};
    const struct cert_opts other = {.cn = "fake", .san = "DNS:elsewhere"};
    const struct qmp_tls_pem none = {.name = "none"};
    cert_make(&keys.ca, NULL, &ca);
    cert_make(&keys.server, &keys.ca, &server);
    cert_make(&keys.other, &keys.ca, &other);
    char *pem = cert_pem(&keys.ca);
    const struct qmp_tls_pem trusted = {.name = "ca", .text = pem, .len = strlen(pem)};
    struct qf_err err;
    if (qmp_tls_creds_new(&trusted, &none, &none, &keys.creds, &err) != 0)
        abort();
    free(pem);
}

int main(int argc, char **argv)
{
    (void)signal(SIGPIPE, SIG_IGN);
    if (argc > 2 && strcmp(argv[1], "--as-ssh") == 0)
        return as_ssh(argc, argv);
    const ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (len < 0)
        return EXIT_FAILURE;
    make_keys();
    Suite *s = suite_create("link_uv");
    TCase *tc = tcase_create("link_uv");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, talks_to_a_monitor, 0, TRANSPORTS);
    tcase_add_loop_test(tc, carries_large_replies, 0, TRANSPORTS);
    tcase_add_loop_test(tc, carries_many_commands_a_few_at_a_time, 0, 6);
    tcase_add_loop_test(tc, a_monitor_may_die_at_any_byte, 0, TRANSPORTS);
    tcase_add_loop_test(tc, says_how_far_a_dying_monitor_got, 0, 2);
    tcase_add_loop_test(tc, names_a_peer_that_is_no_monitor, 0, COUNT(strangers));
    tcase_add_loop_test(tc, waits_for_a_silent_peer_until_its_owner_closes, 0, TRANSPORTS);
    tcase_add_loop_test(tc, refused_is_gone, 0, TRANSPORTS);
    tcase_add_test(tc, a_missing_file_is_gone);
    tcase_add_test(tc, a_strange_path_is_unreachable_but_not_gone);
    tcase_add_test(tc, a_full_queue_of_clients_is_named);
    tcase_add_test(tc, an_unknown_host_is_unreachable);
    tcase_add_test(tc, what_fails_at_once_starts_nothing);
    tcase_add_test(tc, tries_every_address);
    tcase_add_test(tc, tells_the_last_error_and_is_gone_only_if_refused_everywhere);
    tcase_add_loop_test(tc, closes_at_any_moment, 0, 4);
    tcase_add_test(tc, closes_between_two_addresses);
    tcase_add_loop_test(tc, closes_while_a_write_is_under_way, 0, TRANSPORTS);
    tcase_add_loop_test(tc, closes_from_inside_a_message, 0, 3);
    tcase_add_test(tc, is_quiet_after_a_close_inside_a_message);
    tcase_add_loop_test(tc, closes_from_inside_on_down, 0, 4);
    tcase_add_test(tc, tells_down_once);
    tcase_add_test(tc, a_write_that_cannot_start_is_told_from_the_loop);
    tcase_add_test(tc, a_write_that_fails_is_told);
    tcase_add_loop_test(tc, text_comes_in_records_of_any_size, 0, 8);
    tcase_add_test(tc, a_certificate_for_another_host_is_refused_and_the_peer_is_told);
    tcase_add_test(tc, a_peer_without_tls_is_named);
    tcase_add_test(tc, tls_without_credentials_starts_nothing);
    tcase_add_loop_test(tc, talks_through_ssh, 0, 3);
    tcase_add_loop_test(tc, says_what_ssh_says, 0, 4);
    tcase_add_test(tc, a_program_that_is_no_ssh_is_named);
    tcase_add_test(tc, nobody_at_the_other_end_is_not_gone);
    tcase_add_test(tc, a_monitor_that_ends_behind_ssh_is_lost);
    tcase_add_loop_test(tc, closes_ssh_at_any_moment, 0, 4);
    tcase_add_test(tc, ssh_that_cannot_start_starts_nothing);
    tcase_add_test(tc, stale_folders_are_removed);
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    qmp_tls_creds_free(keys.creds);
    cert_free(&keys.ca);
    cert_free(&keys.server);
    cert_free(&keys.other);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

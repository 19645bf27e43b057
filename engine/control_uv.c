/* Happy path: open -> listen -> accept -> greet -> commands, answers, events -> close -> gone.
 *
 * What can fail, and what becomes of it:
 *   the path is taken, or cannot be made     control_open says so; nothing is open
 *   accept, or no memory for a client        that client is closed
 *   more clients than CONTROL_CLIENTS_MAX    an error says so, then it is closed
 *   a client breaks the protocol             the answer is written, then it is closed
 *   a client is gone, or a write fails       it is closed
 *   a client does not read                   its events are dropped, or it is closed (see .h)
 *   a client ends its side                   it gets the answers to what it asked, then is closed
 *   a client asks faster than all others     TURN_COMMANDS of it a turn; it is not read meanwhile
 *   no memory for a line                     counted with the events that were dropped
 *
 * One turn of the loop: the migration's own callbacks; then, from the idle handle, lines become
 * events and what clients have asked is answered. */
#include "engine/control_uv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    BACKLOG = 16,
    READ_BYTES = 4096,
    TURN_COMMANDS =
        4, /* and lines: a reply of QEMU's that comes meanwhile waits for no more */
    TURN_LINES = 1,
    LINES_CAP = 4 * 1024 * 1024, /* of one turn: many times what a machine says in one */
    HURRY_MS = 200
};

struct control_client {
    struct control_server *owner;
    struct control_client *next;
    uv_pipe_t pipe;
    uv_write_t write;
    struct qmp_server server;
    struct qf_buf writing; /* empty: no write is under way */
    unsigned long dropped; /* events, since the last that was told */
    bool more;             /* commands have come that are not answered yet */
    bool ending;           /* said all that is to be said: close it when it is written */
    bool closing;
    char in[READ_BYTES];
};

/* ---- a client goes ---- */

static void finish_if_closed(struct control_server *s)
{
    if (!s->closing || s->handles_open > 0)
        return;
    qf_buf_fini(&s->lines);
    control_fini(&s->control);
    if (s->on_close)
        s->on_close(s, s->close_arg);
}

static void on_client_closed(uv_handle_t *handle)
{
    struct control_client *c = handle->data;
    struct control_server *s = c->owner;
    qmp_server_fini(&c->server);
    qf_buf_fini(&c->writing);
    free(c);
    s->handles_open--;
    finish_if_closed(s);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct control_server *s = handle->data;
    s->handles_open--;
    finish_if_closed(s);
}

/* The last client has gone: there is nothing left to be waited for. */
static void stop_hurrying(struct control_server *s)
{
    if (s->closing && !s->clients && !uv_is_closing((uv_handle_t *)&s->hurry))
        uv_close((uv_handle_t *)&s->hurry, on_handle_closed);
}

static void drop_client(struct control_client *c)
{
    struct control_server *s = c->owner;
    if (c->closing)
        return;
    c->closing = true;
    for (struct control_client **at = &s->clients; *at; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            s->n_clients--;
            break;
        }
    uv_close((uv_handle_t *)&c->pipe, on_client_closed);
    stop_hurrying(s);
}

/* ---- writing ---- */

static size_t queued(const struct control_client *c)
{
    return c->server.out.len + c->writing.len;
}

static int64_t wall_us(void)
{
    uv_timeval64_t tv;
    return uv_gettimeofday(&tv) == 0 ? tv.tv_sec * 1000000 + tv.tv_usec : 0;
}

/* It reads again, or this is the last that it gets. */
static void tell_dropped(struct control_client *c)
{
    json_t *data = json_pack("{s:I}", "dropped", (json_int_t)c->dropped);
    if (data && qmp_server_event(&c->server, "EVENTS_DROPPED", data, wall_us(), NULL) == 0)
        c->dropped = 0;
    json_decref(data);
}

static void flush(struct control_client *c);

static void on_written(uv_write_t *req, int status)
{
    struct control_client *c = req->data;
    qf_buf_drop(&c->writing, c->writing.len);
    if (c->closing)
        return;
    if (status != 0) {
        drop_client(c);
        return;
    }
    if (c->dropped > 0 && queued(c) < CONTROL_QUEUE_MAX / 2)
        tell_dropped(c);
    flush(c);
}

static void flush(struct control_client *c)
{
    if (c->closing || c->writing.len > 0)
        return;
    if (c->server.out.len == 0) {
        if (c->ending)
            drop_client(c);
        return;
    }
    const struct qf_buf out = c->server.out;
    c->server.out = c->writing;
    c->writing = out;
    const uv_buf_t buf = uv_buf_init(c->writing.data, (unsigned)c->writing.len);
    if (uv_write(&c->write, (uv_stream_t *)&c->pipe, &buf, 1, on_written) != 0) {
        qf_buf_drop(&c->writing, c->writing.len);
        drop_client(c);
    }
}

/* ---- events ---- */

static void tell(struct control_client *c,
                 const char *name,
                 const json_t *data,
                 bool is_last)
{
    if (c->server.state != QMP_SERVER_SERVING || c->ending || c->closing)
        return;
    if (!is_last && (c->dropped > 0 || queued(c) > CONTROL_QUEUE_MAX)) {
        c->dropped++;
        return;
    }
    if (c->dropped > 0)
        tell_dropped(c);
    if (qmp_server_event(&c->server, name, data, wall_us(), NULL) != 0)
        c->dropped++;
}

static void publish(struct control_server *s, const char *line, size_t len)
{
    char uid[CONTROL_UID_MAX];
    char name[CONTROL_NAME_MAX];
    const char *space = memchr(line, ' ', len);
    const size_t n = space ? (size_t)(space - line) : 0;
    if (n == 0 || n >= sizeof(uid))
        return;
    memcpy(uid, line, n);
    uid[n] = '\0';
    json_t *data = control_feed(&s->control, uid, space + 1, len - n - 1, name);
    const bool is_last = data && strcmp(name, "MIGRATION_RESULT") == 0;
    for (struct control_client *c = s->clients; c; c = c->next) {
        if (data)
            tell(c, name, data, is_last);
        else
            c->dropped++;
    }
    json_decref(data);
}

/* At most n lines. */
static void publish_lines(struct control_server *s, size_t n)
{
    size_t at = 0;
    for (; at < s->lines.len && n > 0; n--) {
        const char *line = s->lines.data + at;
        const char *end = memchr(line, '\n', s->lines.len - at);
        const size_t len = end ? (size_t)(end - line) : s->lines.len - at - 1;
        publish(s, line, len);
        at += len + 1;
    }
    qf_buf_drop(&s->lines, at);
    if (s->lines.len > 0)
        return;
    for (struct control_client *c = s->clients; c; c = c->next)
        c->dropped += s->lost;
    s->lost = 0;
}

/* ---- commands ---- */

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

static void on_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *buf)
{
    struct control_client *c = handle->data;
    (void)hint;
    *buf = uv_buf_init(c->in, sizeof(c->in));
}

static void answer(struct control_client *c, const struct qmp_command *cmd)
{
    struct qf_err err = {.text = ""};
    const char *error_class = "GenericError";
    json_t *value = NULL;
    json_t *id = json_incref(cmd->id);
    int rc = control_execute(&c->owner->control, cmd, &value, &error_class, &err);
    if (rc == 0)
        rc = qmp_server_reply(&c->server, id, value, NULL);
    else
        rc = qmp_server_error(&c->server, id, error_class, err.text, NULL);
    json_decref(value);
    json_decref(id);
    if (rc != 0 || queued(c) > CONTROL_REPLIES_MAX)
        drop_client(c);
}

static void wake(struct control_server *s);

/* As many as one turn may have. */
static void answer_some(struct control_client *c)
{
    struct qmp_command cmd;
    c->more = false;
    for (unsigned i = 0; i < TURN_COMMANDS && !c->closing; i++) {
        const int rc = qmp_server_next(&c->server, &cmd, NULL);
        if (rc < 0)
            c->ending = true;
        if (rc <= 0)
            break;
        answer(c, &cmd);
        c->more = i + 1 == TURN_COMMANDS;
    }
    if (c->closing)
        return;
    if (c->ending || c->more)
        (void)uv_read_stop((uv_stream_t *)&c->pipe);
    else
        (void)uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read);
    if (c->more)
        wake(c->owner);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct control_client *c = stream->data;
    if (c->closing || n == 0)
        return;
    if (n == UV_EOF) { /* `... | socat - UNIX:...`: it still wants its answers */
        c->ending = true;
        (void)uv_read_stop(stream);
        flush(c);
        return;
    }
    if (n < 0) {
        drop_client(c);
        return;
    }
    publish_lines(c->owner, SIZE_MAX); /* what it is told is as of now */
    if (qmp_server_feed(&c->server, buf->base, (size_t)n, NULL) != 0) {
        (void)qmp_server_error(&c->server, NULL, "GenericError", "the command is too long",
                               NULL);
        c->ending = true;
        (void)uv_read_stop(stream);
    } else {
        answer_some(c);
    }
    flush(c);
}

/* The next turn: what was left of the last one. */
static void on_later(uv_idle_t *idle)
{
    struct control_server *s = idle->data;
    struct control_client *next;
    (void)uv_idle_stop(idle);
    publish_lines(s, TURN_LINES);
    if (s->lines.len > 0)
        wake(s);
    for (struct control_client *c = s->clients; c; c = next) {
        next = c->next;
        if (c->more)
            answer_some(c);
        flush(c);
    }
}

static void wake(struct control_server *s)
{
    if (!s->closing)
        (void)uv_idle_start(&s->later, on_later);
}

/* ---- a client comes ---- */

static void refuse_client(struct control_client *c)
{
    struct qf_err text;
    (void)qf_fail(&text, QF_E_REFUSED,
                  "%d clients are connected, which is all that are taken",
                  CONTROL_CLIENTS_MAX);
    (void)qmp_server_error(&c->server, NULL, "GenericError", text.text, NULL);
    c->ending = true;
    flush(c);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct control_server *s = listener->data;
    if (status != 0 || s->closing)
        return;
    struct control_client *c = calloc(1, sizeof(*c));
    if (!c)
        return; /* it waits until there is memory, or goes */
    if (uv_pipe_init(s->loop, &c->pipe, 0) != 0) {
        free(c);
        return;
    }
    c->owner = s;
    c->pipe.data = c;
    c->write.data = c;
    qmp_server_init(&c->server, false);
    qf_buf_init(&c->writing, QMP_MESSAGE_MAX);
    s->handles_open++;
    c->next = s->clients;
    s->clients = c;
    s->n_clients++;
    if (uv_accept(listener, (uv_stream_t *)&c->pipe) != 0)
        drop_client(c);
    else if (s->n_clients > CONTROL_CLIENTS_MAX)
        refuse_client(c);
    else if (qmp_server_greet(&c->server, s->control.version, NULL) != 0 ||
             uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read) != 0)
        drop_client(c);
    else
        flush(c);
}

/* ---- the socket's file ---- */

/* Does anybody listen there? */
static bool is_alive(const struct sockaddr_un *at)
{
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return true; /* not known: not to be replaced */
    const int rc = connect(fd, (const struct sockaddr *)at, sizeof(*at));
    const bool refused = rc != 0 && errno == ECONNREFUSED;
    (void)close(fd);
    return !refused;
}

/* Make way where a server has died without removing its socket. */
static int make_way(const struct sockaddr_un *at, const char *path, struct qf_err *err)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return errno == ENOENT ? 0
                               : qf_fail(err, QF_E_USAGE, "%s: %s", path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return qf_fail(err, QF_E_USAGE, "%s: exists and is no socket", path);
    if (is_alive(at))
        return qf_fail(err, QF_E_USAGE, "%s: in use: another program listens there", path);
    if (unlink(path) != 0 && errno != ENOENT)
        return qf_fail(err, QF_E_USAGE, "%s: %s", path, strerror(errno));
    return 0;
}

/* A listening socket, of mode 0600 from the moment at which its file exists: on Linux the file
 * gets the mode of the descriptor (unix_bind in net/unix/af_unix.c); elsewhere nobody can connect
 * before listen(). */
static int listen_at(const char *path, struct stat *st, struct qf_err *err)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int rc = 0;
    memcpy(at.sun_path, path,
           strlen(path) + 1); /* qmp_addr_parse has looked at its length */
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return qf_fail(err, QF_E_INTERNAL, "%s: %s", path, strerror(errno));
    (void)fchmod(fd, 0600);
    if (bind(fd, (const struct sockaddr *)&at, sizeof(at)) != 0) {
        rc = errno == EADDRINUSE
                 ? make_way(&at, path, err)
                 : qf_fail(err, QF_E_USAGE, "%s: %s", path, strerror(errno));
        if (rc == 0 && bind(fd, (const struct sockaddr *)&at, sizeof(at)) != 0)
            rc = qf_fail(err, QF_E_USAGE, "%s: %s", path, strerror(errno));
    }
    if (rc == 0 && (chmod(path, 0600) != 0 || lstat(path, st) != 0)) {
        rc = qf_fail(err, QF_E_USAGE, "%s: %s", path, strerror(errno));
        (void)unlink(path);
    }
    if (rc == 0)
        return fd;
    (void)close(fd);
    return rc;
}

static void remove_file(const struct control_server *s)
{
    struct stat st;
    if (lstat(s->path, &st) == 0 && st.st_dev == s->device && st.st_ino == s->inode)
        (void)unlink(s->path);
}

/* ---- outside ---- */

int control_open(struct control_server *s,
                 uv_loop_t *loop,
                 const char *address,
                 const char *version,
                 const struct control_ops *ops,
                 void *arg,
                 struct qf_err *err)
{
    struct qmp_addr addr;
    struct stat st;
    memset(s, 0, sizeof(*s));
    if (qmp_addr_parse(address, &addr, err) != 0)
        return -(int)QF_E_USAGE;
    if (addr.kind != QMP_ADDR_UNIX)
        return qf_fail(
            err, QF_E_USAGE,
            "'%s': whoever reaches this socket commands the migration: only a UNIX "
            "socket can be it; write /path or unix:/path",
            address);
    int rc = control_init(&s->control, version, ops, arg, err);
    if (rc != 0)
        return rc;
    const int fd = listen_at(addr.path, &st, err);
    if (fd < 0) {
        control_fini(&s->control);
        return fd;
    }
    memcpy(s->path, addr.path, sizeof(s->path));
    s->device = st.st_dev;
    s->inode = st.st_ino;
    s->loop = loop;
    s->open = true;
    qf_buf_init(&s->lines, LINES_CAP);
    (void)uv_idle_init(loop, &s->later); /* these two cannot fail */
    (void)uv_timer_init(loop, &s->hurry);
    rc = uv_pipe_init(loop, &s->listener, 0);
    s->later.data = s->hurry.data = s->listener.data = s;
    s->handles_open = 3;
    if (rc == 0)
        rc = uv_pipe_open(&s->listener, fd);
    if (rc != 0)
        (void)close(fd);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&s->listener, BACKLOG, on_connection);
    if (rc == 0)
        return 0;
    (void)qf_fail(err, QF_E_INTERNAL, "%s: %s", s->path, uv_strerror(rc));
    control_close(s, NULL, NULL);
    (void)uv_run(loop, UV_RUN_DEFAULT);
    s->open = false;
    return -(int)QF_E_INTERNAL;
}

void control_publish(struct control_server *s, const char *uid, const char *line)
{
    const size_t before = s->lines.len;
    if (!s->open || s->closing)
        return;
    if (qf_buf_append(&s->lines, uid, strlen(uid), NULL) != 0 ||
        qf_buf_append(&s->lines, " ", 1, NULL) != 0 ||
        qf_buf_append(&s->lines, line, strlen(line), NULL) != 0) {
        s->lines.len = before;
        s->lost++;
    }
    wake(s);
}

static void on_hurry(uv_timer_t *timer)
{
    struct control_server *s = timer->data;
    while (s->clients)
        drop_client(s->clients);
}

void control_close(struct control_server *s,
                   void (*on_close)(struct control_server *s, void *arg),
                   void *arg)
{
    struct control_client *next;
    if (s->closing)
        return;
    if (!s->open) {
        if (on_close)
            on_close(s, arg);
        return;
    }
    publish_lines(s, SIZE_MAX);
    s->closing = true;
    s->on_close = on_close;
    s->close_arg = arg;
    remove_file(s);
    uv_close((uv_handle_t *)&s->listener, on_handle_closed);
    uv_close((uv_handle_t *)&s->later, on_handle_closed);
    (void)uv_timer_start(&s->hurry, on_hurry, HURRY_MS, 0);
    for (struct control_client *c = s->clients; c; c = next) {
        next = c->next;
        (void)uv_read_stop((uv_stream_t *)&c->pipe);
        c->ending = true;
        flush(c);
    }
    stop_hurrying(s);
}

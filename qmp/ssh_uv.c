/* Happy path:
 *   qmp_ssh_open       stale folders go, a fresh one with a lock; uv_spawn; the timer looks
 *   on_look            the socket's file is there -> on_socket -> the owner connects
 *   qmp_ssh_connected  the file and the folder go
 *   qmp_ssh_close      the tie -> the shell ends ssh -> on_exit -> uv_close of everything
 *
 * What can fail, and what becomes of it:
 *   no folder can be made, no process      open: UNREACHABLE
 *   no ssh, wrong key, no such host, ...   stderr ends: the tie; on_exit: on_end, last words
 *   ssh hangs                              the owner's deadline; close
 *   the far socket is not there            the connection ends at once; last_words tells
 *   the far host dies                      ssh gives up after 15 s; the connection ends
 *   ssh does not heed SIGTERM              SIGKILL to its process group after a second
 *   qferry is killed                       the kernel closes the tie; the shell ends ssh */
#include "qmp/ssh_uv.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    LOOK_MS = 10, /* how often the socket's file is looked for */
    PATIENCE_MS = 1000
};

/* The shell waits for the end of the tie (fd 3), ends ssh and takes its exit status. Only ssh
 * holds the pipe of stderr: when that ends, so has ssh. */
static const char script[] =
    "\"$@\" 3<&- & p=$!; exec 2>/dev/null; read x <&3; kill $p; wait $p";

/* ---- what it says ---- */

/* "channel 0: open failed: connect failed: open failed" */
static bool is_refusal(const char *line)
{
    return strncmp(line, "channel ", 8) == 0 && strstr(line, "open failed");
}

static bool is_noise(const char *line)
{
    return line[0] == '\0' || strncmp(line, "Warning: Permanently added", 26) == 0;
}

void qmp_ssh_hear(struct qmp_ssh_said *s, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        const char c = data[i];
        if (c == '\n' || c == '\r') {
            s->part[s->part_len] = '\0';
            s->part_len = 0;
            if (is_noise(s->part))
                continue;
            memcpy(s->line[0], s->line[1], QMP_SSH_LINE);
            memcpy(s->line[1], s->part, QMP_SSH_LINE);
        } else if (s->part_len + 1 < QMP_SSH_LINE)
            s->part[s->part_len++] = (c >= ' ' && c < 127) ? c : '.';
    }
}

static void on_closed(uv_handle_t *handle);

static void untie(struct qmp_ssh *s)
{
    if (!s->tied)
        return;
    s->tied = false;
    uv_close((uv_handle_t *)&s->tie, on_closed);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct qmp_ssh *s = handle->data;
    (void)suggested;
    *buf = uv_buf_init(s->rbuf, sizeof(s->rbuf));
}

static void on_said(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct qmp_ssh *s = stream->data;
    if (n > 0) {
        qmp_ssh_hear(&s->said, buf->base, (size_t)n);
    } else if (n < 0) {
        (void)uv_read_stop(stream);
        untie(s);
    }
}

/* Take what is in the pipe now: its end and ours are seen in any order. */
void qmp_ssh_hear_all(struct qmp_ssh_said *s, const uv_pipe_t *pipe)
{
    uv_os_fd_t fd;
    char some[512];
    ssize_t n;
    if (uv_is_closing((const uv_handle_t *)pipe) ||
        uv_fileno((const uv_handle_t *)pipe, &fd) != 0)
        return;
    while ((n = read(fd, some, sizeof(some))) > 0 || (n < 0 && errno == EINTR))
        if (n > 0)
            qmp_ssh_hear(s, some, (size_t)n);
    if (s->part_len > 0)
        qmp_ssh_hear(s, "\n", 1);
}

const char *qmp_ssh_words(const struct qmp_ssh_said *s,
                          const char *path,
                          char *out,
                          size_t size)
{
    const char *const last = s->line[1];
    if (last[0] == '\0')
        return NULL;
    if (is_refusal(last)) /* not for everybody */
        (void)snprintf(
            out, size,
            "ssh: that host cannot or may not connect to %s (%s); is QEMU there, "
            "and may this user open it?",
            path, last);
    /* why it failed stands in the line before */
    else if (strncmp(last, "Host key verification failed", 28) == 0 &&
             s->line[0][0] != '\0' && strstr(s->line[0], "ost key"))
        (void)snprintf(out, size, "ssh: %s %s", s->line[0], last);
    else
        (void)snprintf(out, size, "%s%s",
                       strncmp(last, "ssh:", 4) == 0 ? "" : "ssh: ", last);
    const size_t n = strlen(out);
    if (n > 0 && out[n - 1] == '.')
        out[n - 1] = '\0';
    return out;
}

const char *qmp_ssh_last_words(struct qmp_ssh *s, char *out, size_t size)
{
    qmp_ssh_hear_all(&s->said, &s->says);
    return qmp_ssh_words(&s->said, s->host_path, out, size);
}

/* ---- its end ---- */

static void on_closed(uv_handle_t *handle)
{
    struct qmp_ssh *s = handle->data;
    if (--s->pending > 0)
        return;
    qmp_rundir_drop(&s->dir);
    if (s->on_close)
        s->on_close(s, s->arg);
}

static void close_all(struct qmp_ssh *s)
{
    untie(s);
    uv_close((uv_handle_t *)&s->process, on_closed);
    uv_close((uv_handle_t *)&s->says, on_closed);
    uv_close((uv_handle_t *)&s->timer, on_closed);
}

static void on_exit_of_ssh(uv_process_t *process, int64_t status, int term_signal)
{
    struct qmp_ssh *s = process->data;
    struct qf_err err;
    char words[2 * QMP_SSH_LINE + 64];
    s->runs = false;
    (void)uv_timer_stop(&s->timer);
    if (s->closing) {
        close_all(s);
        return;
    }
    if (s->connected)
        return;
    qmp_rundir_drop(&s->dir);
    if (qmp_ssh_last_words(s, words, sizeof(words)))
        (void)qf_fail(&err, QF_E_UNREACHABLE, "%s", words);
    else if (term_signal != 0)
        (void)qf_fail(&err, QF_E_UNREACHABLE, "ssh: ended by signal %d", term_signal);
    else
        (void)qf_fail(&err, QF_E_UNREACHABLE, "ssh: ended with status %d", (int)status);
    s->ops->on_end(s, &err, s->arg);
}

static void on_impatient(uv_timer_t *timer)
{
    struct qmp_ssh *s = timer->data;
    (void)uv_kill(-s->process.pid, SIGKILL);
}

void qmp_ssh_close(struct qmp_ssh *s, void (*cb)(struct qmp_ssh *s, void *arg))
{
    s->on_close = cb;
    s->closing = true;
    if (!s->runs) {
        close_all(s);
        return;
    }
    untie(s);
    (void)uv_timer_start(&s->timer, on_impatient, PATIENCE_MS, PATIENCE_MS);
}

/* ---- its start ---- */

static void on_look(uv_timer_t *timer)
{
    struct qmp_ssh *s = timer->data;
    struct stat st;
    if (lstat(s->path, &st) != 0)
        return;
    (void)uv_timer_stop(timer);
    s->ops->on_socket(s, s->arg);
}

void qmp_ssh_again(struct qmp_ssh *s)
{
    if (s->runs && !s->closing)
        (void)uv_timer_start(&s->timer, on_look, LOOK_MS, LOOK_MS);
}

void qmp_ssh_connected(struct qmp_ssh *s)
{
    s->connected = true;
    /* What it said so far, a banner say, was no error; but it may have accepted, and failed, before
     * this is known here. */
    if (!is_refusal(s->said.line[1]))
        memset(s->said.line, 0, sizeof(s->said.line));
    qmp_rundir_drop(&s->dir);
}

/* In -L a colon separates. */
static void add_path(char *out, size_t size, const char *path)
{
    size_t n = strlen(out);
    for (; *path && n + 2 < size; path++) {
        if (*path == ':')
            out[n++] = '\\';
        out[n++] = *path;
    }
    out[n] = '\0';
}

size_t qmp_ssh_argv(const struct qmp_addr *addr,
                    char words[QMP_SSH_TEXT],
                    const char *argv[QMP_SSH_ARGS],
                    struct qf_err *err)
{
    /* Each is the last word over what the user's configuration says, and each has a reason:
     * nobody can be asked; a hung peer is noticed; the deadline is ssh's, too, and it has the
     * better sentence; the tunnel is ours alone and ends with us; forwards of the user's that
     * fail are no concern of ours; errors are to be heard. */
    static const char *const fixed[] = {"-T",
                                        "-o",
                                        "BatchMode=yes",
                                        "-o",
                                        "ConnectTimeout=8",
                                        "-o",
                                        "ServerAliveInterval=5",
                                        "-o",
                                        "ServerAliveCountMax=3",
                                        "-o",
                                        "ControlMaster=no",
                                        "-o",
                                        "ControlPath=none",
                                        "-o",
                                        "ExitOnForwardFailure=no",
                                        "-o",
                                        "StreamLocalBindMask=0177",
                                        "-o",
                                        "ForwardAgent=no",
                                        "-o",
                                        "ForwardX11=no",
                                        "-o",
                                        "PermitLocalCommand=no",
                                        "-o",
                                        "LogLevel=INFO"};
    const char *how = getenv("QFERRY_SSH");
    size_t n = 0;
    char *at = NULL;
    if ((size_t)snprintf(words, QMP_SSH_TEXT, "%s", how ? how : "") >= QMP_SSH_TEXT) {
        (void)qf_fail(err, QF_E_UNREACHABLE, "QFERRY_SSH: longer than %d bytes",
                      QMP_SSH_TEXT - 1);
        return 0;
    }
    for (char *word = strtok_r(words, " \t", &at); word;
         word = strtok_r(NULL, " \t", &at)) {
        if (n == QMP_SSH_WORDS) {
            (void)qf_fail(err, QF_E_UNREACHABLE, "QFERRY_SSH: more than %d words",
                          QMP_SSH_WORDS);
            return 0;
        }
        argv[n++] = word;
    }
    if (n == 0)
        argv[n++] = "ssh";
    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
        argv[n++] = fixed[i];
    if (addr->user[0]) {
        argv[n++] = "-l";
        argv[n++] = addr->user;
    }
    if (addr->port[0]) {
        argv[n++] = "-p";
        argv[n++] = addr->port;
    }
    return n;
}

void qmp_ssh_forward(char out[QMP_SSH_FORWARD], const char *here, const char *there)
{
    out[0] = '\0';
    add_path(out, QMP_SSH_FORWARD, here);
    (void)strcat(out, ":");
    add_path(out, QMP_SSH_FORWARD, there);
}

/* The command line: a shell, then ssh's. */
static int command_line(const struct qmp_ssh *s,
                        const struct qmp_addr *addr,
                        char *text,
                        char *forward,
                        const char **argv,
                        struct qf_err *err)
{
    size_t n = 0;
    argv[n++] = "sh";
    argv[n++] = "-c";
    argv[n++] = script;
    argv[n++] = "ssh"; /* in messages of the shell */
    const size_t words = qmp_ssh_argv(addr, text, argv + n, err);
    if (words == 0)
        return -(int)err->code;
    n += words;
    qmp_ssh_forward(forward, s->path, addr->path);
    argv[n++] = "-N";
    argv[n++] = "-L";
    argv[n++] = forward;
    argv[n++] = addr->host;
    argv[n] = NULL;
    return 0;
}

static int spawn(struct qmp_ssh *s, uv_loop_t *loop, const char *const *argv)
{
    uv_stdio_container_t stdio[4] = {{.flags = UV_IGNORE},
                                     {.flags = UV_IGNORE},
                                     {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
                                      .data.stream = (uv_stream_t *)&s->says},
                                     {.flags = UV_CREATE_PIPE | UV_READABLE_PIPE,
                                      .data.stream = (uv_stream_t *)&s->tie}};
    const uv_process_options_t options = {
        .exit_cb = on_exit_of_ssh,
        .file = "/bin/sh",
        .args = (char **)(uintptr_t)argv, /* libuv does not change them */
        .flags = UV_PROCESS_DETACHED,
        .stdio_count = 4,
        .stdio = stdio};
    return uv_spawn(loop, &s->process, &options);
}

static void on_no_process(uv_timer_t *timer)
{
    struct qmp_ssh *s = timer->data;
    struct qf_err err;
    qmp_rundir_drop(&s->dir);
    (void)qf_fail(&err, QF_E_UNREACHABLE, "cannot start ssh: %s", uv_strerror(s->spawn_rc));
    s->ops->on_end(s, &err, s->arg);
}

int qmp_ssh_open(struct qmp_ssh *s,
                 uv_loop_t *loop,
                 const struct qmp_addr *addr,
                 const struct qmp_ssh_ops *ops,
                 void *arg,
                 struct qf_err *err)
{
    char text[QMP_SSH_TEXT];
    char forward[QMP_SSH_FORWARD];
    const char *argv[QMP_SSH_ARGS + 12];
    memset(s, 0, sizeof(*s));
    s->ops = ops;
    s->arg = arg;
    memcpy(s->host_path, addr->path, sizeof(s->host_path));
    if (qmp_rundir_make(&s->dir, "ssh-", err) != 0)
        return -(int)err->code;
    (void)snprintf(s->path, sizeof(s->path), "%s/s", s->dir.path);
    if (command_line(s, addr, text, forward, argv, err) != 0) {
        qmp_rundir_drop(&s->dir);
        return -(int)err->code;
    }
    (void)uv_pipe_init(loop, &s->tie, 0); /* neither makes a descriptor, nor can fail */
    (void)uv_pipe_init(loop, &s->says, 0);
    (void)uv_timer_init(loop, &s->timer);
    s->tie.data = s->says.data = s->timer.data = s->process.data = s;
    s->pending = 4;
    s->spawn_rc = spawn(s, loop, argv);
    s->runs = s->spawn_rc == 0;
    s->tied = true;
    if (s->runs) {
        (void)uv_read_start((uv_stream_t *)&s->says, on_alloc, on_said);
        (void)uv_timer_start(&s->timer, on_look, LOOK_MS, LOOK_MS);
    } else
        (void)uv_timer_start(&s->timer, on_no_process, 0, 0);
    return 0;
}

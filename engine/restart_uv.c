/* Happy path: start -> pipe, process, timer -> on_exit -> on_done -> close.
 *
 * What can fail, and what becomes of it:
 *   no pipe, no memory               start says so, nothing was begun
 *   no process                       on_done, in the loop's next turn
 *   what it says cannot be read      SIGKILL to its session; on_done
 *   it ends with another status      on_done, with its last words
 *   it does not end                  SIGTERM to its session, SIGKILL a second later; on_done
 *   it leaves processes behind       they keep the pipe: only the command's end counts
 *   the owner closes while it runs   SIGTERM, SIGKILL; on_closed when it has ended */
#include "engine/restart_uv.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATIENCE_MS = 1000, LINE_MAX_BYTES = 200, VARIABLE_MAX = 1024, OURS = 6 };

struct restart {
    uv_process_t process;
    uv_pipe_t says;
    uv_timer_t timer;
    unsigned handles_open;
    restart_cb *on_done;
    void *arg;
    void (*on_closed)(void *arg);
    void *closed_arg;
    uint64_t limit_ms;
    int rc; /* libuv's, of uv_spawn and what comes after it; 0: it was begun */
    bool runs;
    bool ended_by_us;
    bool killed;
    bool closing;
    char line[LINE_MAX_BYTES]; /* its last whole line */
    char part[LINE_MAX_BYTES]; /* of the next one */
    size_t part_len;
    char rbuf[512];
};

/* ---- what it says ---- */

static void end_line(struct restart *r)
{
    if (r->part_len == 0)
        return;
    r->part[r->part_len] = '\0';
    r->part_len = 0;
    memcpy(r->line, r->part, sizeof(r->line));
}

static void hear(struct restart *r, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        const char c = data[i];
        if (c == '\n' || c == '\r')
            end_line(r);
        else if (r->part_len + 1 < sizeof(r->part))
            r->part[r->part_len++] = (c >= ' ' && c < 127) ? c : '.';
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct restart *r = handle->data;
    (void)suggested;
    *buf = uv_buf_init(r->rbuf, sizeof(r->rbuf));
}

static void on_said(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    if (n > 0)
        hear(stream->data, buf->base, (size_t)n);
    else if (n < 0)
        (void)uv_read_stop(stream);
}

/* Its end and its last words are seen in any order: take what is there, but not for ever. */
static void hear_the_rest(struct restart *r)
{
    uv_os_fd_t fd;
    char some[512];
    if (uv_fileno((uv_handle_t *)&r->says, &fd) != 0)
        return;
    for (unsigned i = 0; i < 128; i++) {
        const ssize_t n = read(fd, some, sizeof(some));
        if (n > 0)
            hear(r, some, (size_t)n);
        else if (n == 0 || errno != EINTR)
            break;
    }
    end_line(r);
}

/* ---- the end of it ---- */

static void on_closed(uv_handle_t *handle)
{
    struct restart *r = handle->data;
    if (--r->handles_open > 0)
        return;
    void (*cb)(void *arg) = r->on_closed;
    void *arg = r->closed_arg;
    free(r);
    if (cb)
        cb(arg);
}

static void close_handles(struct restart *r)
{
    uv_close((uv_handle_t *)&r->process, on_closed);
    uv_close((uv_handle_t *)&r->says, on_closed);
    uv_close((uv_handle_t *)&r->timer, on_closed);
}

static void on_exit_status(uv_process_t *process, int64_t status, int signal)
{
    struct restart *r = process->data;
    char why[LINE_MAX_BYTES + 96];
    r->runs = false;
    (void)uv_timer_stop(&r->timer);
    if (r->closing) {
        close_handles(r);
        return;
    }
    hear_the_rest(r);
    if (r->rc != 0)
        (void)snprintf(why, sizeof(why),
                       "what it says could not be read (%s), and it was ended",
                       uv_strerror(r->rc));
    else if (r->ended_by_us)
        (void)snprintf(why, sizeof(why), "still ran after %llu s, and was ended",
                       (unsigned long long)(r->limit_ms / 1000));
    else if (signal != 0)
        (void)snprintf(why, sizeof(why), "was ended by signal %d", signal);
    else
        (void)snprintf(why, sizeof(why), "ended with status %lld", (long long)status);
    if (r->line[0] != '\0')
        (void)snprintf(why + strlen(why), sizeof(why) - strlen(why), ": %s", r->line);
    const bool well = r->rc == 0 && status == 0 && signal == 0 && !r->ended_by_us;
    r->on_done(r, well ? NULL : why, r->arg);
}

static void tell_no_process(struct restart *r)
{
    char why[LINE_MAX_BYTES];
    (void)snprintf(why, sizeof(why), "/bin/sh: %s", uv_strerror(r->rc));
    r->on_done(r, why, r->arg);
}

/* What it has started and put into sessions of their own lives on. */
static void on_timer(uv_timer_t *timer)
{
    struct restart *r = timer->data;
    if (!r->runs) {
        tell_no_process(r);
        return;
    }
    (void)kill(-r->process.pid, r->killed ? SIGKILL : SIGTERM);
    r->ended_by_us = r->killed = true;
    (void)uv_timer_start(timer, on_timer, PATIENCE_MS, 0);
}

/* ---- the beginning ---- */

extern char **environ;

static char **make_environment(const struct mig_spec *spec,
                               const struct mig_do *what,
                               char text[OURS][VARIABLE_MAX])
{
    const char *const value[OURS][2] = {
        {"SOURCE", spec->source},
        {"DESTINATION", spec->destination},
        {"NETWORK", what->u.restart.network},
        {"ADDRESS", what->u.restart.address},
        {"REASON", what->u.restart.reason},
        {"ATTEMPT", NULL},
    };
    size_t n = 0;
    while (environ && environ[n])
        n++;
    char **env = calloc(n + OURS + 1, sizeof(*env));
    if (!env)
        return NULL;
    size_t k = 0;
    for (unsigned i = 0; i < OURS; i++) {
        (void)snprintf(text[i], VARIABLE_MAX, "QFERRY_%s=", value[i][0]);
        const size_t len = strlen(text[i]);
        if (value[i][1])
            (void)snprintf(text[i] + len, VARIABLE_MAX - len, "%s", value[i][1]);
        else
            (void)snprintf(text[i] + len, VARIABLE_MAX - len, "%u",
                           what->u.restart.attempt);
        env[k++] = text[i];
    }
    for (size_t i = 0; i < n; i++) {
        bool is_ours = false;
        for (unsigned j = 0; j < OURS; j++) {
            const size_t len = strcspn(text[j], "=") + 1;
            is_ours = is_ours || strncmp(environ[i], text[j], len) == 0;
        }
        if (!is_ours)
            env[k++] = environ[i];
    }
    return env;
}

/* fds: the pipe's reading end, and the one that is the command's. Both are taken over. */
static void spawn(
    struct restart *r, uv_loop_t *loop, char *command, char **env, uv_file fds[2])
{
    char sh[] = "/bin/sh";
    char c[] = "-c";
    char *args[] = {sh, c, command, NULL};
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_IGNORE},
        {.flags = UV_INHERIT_FD, .data.fd = fds[1]},
        {.flags = UV_INHERIT_FD, .data.fd = fds[1]},
    };
    const uv_process_options_t options = {
        .exit_cb = on_exit_status,
        .file = sh,
        .args = args,
        .env = env,
        .flags = UV_PROCESS_DETACHED,
        .stdio_count = 3,
        .stdio = stdio,
    };
    r->process.data = r->says.data = r->timer.data = r;
    (void)uv_pipe_init(loop, &r->says, 0); /* cannot fail on Unix, nor can the timer */
    (void)uv_timer_init(loop, &r->timer);
    /* libuv initialises the process handle whatever becomes of the process. */
    r->rc = uv_spawn(loop, &r->process, &options);
    r->handles_open = 3;
    r->runs = r->rc == 0;
    (void)close(fds[1]);
    if (r->rc == 0)
        r->rc = uv_pipe_open(&r->says, fds[0]);
    if (r->rc != 0)
        (void)close(fds[0]);
    else
        r->rc = uv_read_start((uv_stream_t *)&r->says, on_alloc, on_said);
    if (r->runs && r->rc != 0)
        (void)kill(-r->process.pid, SIGKILL);
    (void)uv_timer_start(&r->timer, on_timer, r->runs ? r->limit_ms : 0, 0);
}

int restart_start(struct restart **out,
                  uv_loop_t *loop,
                  const char *command,
                  const struct mig_spec *spec,
                  const struct mig_do *what,
                  uint64_t limit_ms,
                  restart_cb *on_done,
                  void *arg,
                  struct qf_err *err)
{
    char text[OURS][VARIABLE_MAX];
    uv_file fds[2];
    int rc;
    struct restart *r = calloc(1, sizeof(*r));
    char **env = make_environment(spec, what, text);
    char *copy = strdup(command);
    if (!r || !env || !copy) {
        rc = qf_fail(err, QF_E_NOMEM, "no memory to run it");
        goto out;
    }
    rc = uv_pipe(fds, UV_NONBLOCK_PIPE, 0);
    if (rc != 0) {
        rc = qf_fail(err, QF_E_INTERNAL, "no pipe to /bin/sh: %s", uv_strerror(rc));
        goto out;
    }
    r->on_done = on_done;
    r->arg = arg;
    r->limit_ms = limit_ms;
    spawn(r, loop, copy, env, fds);
    *out = r;
    r = NULL;
out:
    free(copy);
    free((void *)env);
    free(r);
    return rc;
}

void restart_close(struct restart *r, void (*on_closed_cb)(void *arg), void *arg)
{
    if (!r)
        return;
    r->closing = true;
    r->on_closed = on_closed_cb;
    r->closed_arg = arg;
    if (r->runs)
        on_timer(&r->timer);
    else
        close_handles(r);
}

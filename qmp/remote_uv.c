/* Happy path:
 *   qmp_remote_open    uv_spawn; the line is written to its stdin, and wiped
 *   on_out             lines of its stdout -> on_line
 *   qmp_remote_close   the end of stdin -> the command cleans up -> on_exit -> uv_close of everything
 *
 * What can fail, and what becomes of it:
 *   no ssh, wrong key, no such host, ...   on_exit: on_end with its last words
 *   the command fails over there           the same
 *   the connection breaks                  ssh gives up after 15 s: on_end; over there stdin ends
 *   it does not end when it is closed      SIGKILL after three seconds: not tidy
 *   qferry is killed                       the kernel closes the pipe: the command cleans up */
#include "qmp/remote_uv.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "qmp/dh.h"

enum { PATIENCE_MS = 3000 };

/* The folder has no lock, and so another name than those that rundir_uv.c sweeps.
 * $1: the monitor's socket; $2: the text of dh.h with a blank for each newline and an underscore for
 * each blank. No single quote and no newline in it: it goes in single quotes through shells of any kind. printf
 * is the shell's own, so that the key is on no command line. */
static const char keeper[] =
    "umask 077; u=$(id -u); o=; d=; "
    "if [ -n \"$1\" ]; then o=$(stat -L -c %u:%g \"$1\" 2>/dev/null); fi; "
    "if [ -n \"$QFERRY_RUN_DIR\" ]; then b=$QFERRY_RUN_DIR; "
    "elif [ \"$u\" = 0 ]; then b=/run/qferry; "
    "elif [ -n \"$XDG_RUNTIME_DIR\" ]; then b=$XDG_RUNTIME_DIR/qferry; "
    "else b=/tmp/qferry-$u; fi; "
    "mkdir -p \"$b\" && [ -O \"$b\" ] && d=$(mktemp -d \"$b/far-XXXXXX\") || exit 1; "
    "m=$1; s() { sed \"s,^[^/]* /,/,\" /proc/net/unix 2>/dev/null | grep -qxF -e \"$m\"; }; "
    "c() { rm -rf \"$d\"; }; trap c EXIT; trap \"exit 1\" HUP INT TERM; "
    "IFS= read -r k || exit 1; "
    "if [ -n \"$k\" ]; then printf \"%s\\n\" \"$k\" >\"$d/keys.psk\" || exit 1; "
    "echo \"$2\" | tr \" \" \"\\n\" | sed s/_/\\ /g >\"$d/" QMP_DH_FILE "\" || exit 1; fi; "
    "case $u,$o in 0,|0,0:*) ;; 0,*) chmod a+x \"$b\"; chown -R \"$o\" \"$d\";; esac; "
    "printf \"qferry-folder %s\\n\" \"$d\"; "
    "w=; IFS= read -r w; if [ \"$w\" = stay ] && [ -n \"$m\" ] && s; then trap - EXIT; "
    "(trap \"\" HUP; trap c EXIT; trap \"exit 1\" INT TERM; while s; do sleep 5; done) "
    "</dev/null >/dev/null 2>&1 & "
    "fi; exit 0";

const char *qmp_remote_keep(char out[QMP_REMOTE_KEEP], const char *monitor)
{
    const char *p;
    int n = snprintf(out, QMP_REMOTE_KEEP, "exec sh -c '%s' qferry '", keeper);
    for (p = monitor; *p && n + 8 < QMP_REMOTE_KEEP; p++)
        n +=
            snprintf(out + n, QMP_REMOTE_KEEP - (size_t)n, *p == '\'' ? "'\\''" : "%c", *p);
    n += snprintf(out + n, QMP_REMOTE_KEEP - (size_t)n, "' '");
    for (p = qmp_dh_params(); *p && n + 4 < QMP_REMOTE_KEEP;
         p++) /* one line, see the keeper */
        out[n++] = (char)(*p == ' ' ? '_' : *p == '\n' ? ' ' : *p);
    (void)snprintf(out + n, QMP_REMOTE_KEEP - (size_t)n, "'");
    return out;
}

const char *qmp_remote_folder(const char *line)
{
    static const char word[] = "qferry-folder ";
    const size_t n = sizeof(word) - 1;
    return strncmp(line, word, n) == 0 && line[n] == '/' ? line + n : NULL;
}

/* ---- its end ---- */

static void on_closed(uv_handle_t *handle)
{
    struct qmp_remote *r = handle->data;
    if (--r->pending == 0 && r->on_close)
        r->on_close(r, r->tidy, r->arg);
}

static void end_input(struct qmp_remote *r)
{
    if (r->in_closed)
        return;
    r->in_closed = true;
    uv_close((uv_handle_t *)&r->in, on_closed);
}

static void close_all(struct qmp_remote *r)
{
    end_input(r);
    uv_close((uv_handle_t *)&r->process, on_closed);
    uv_close((uv_handle_t *)&r->out, on_closed);
    uv_close((uv_handle_t *)&r->says, on_closed);
    uv_close((uv_handle_t *)&r->timer, on_closed);
}

static void on_exit_of_ssh(uv_process_t *process, int64_t status, int term_signal)
{
    struct qmp_remote *r = process->data;
    struct qf_err err;
    char words[2 * QMP_SSH_LINE + 64];
    if (uv_is_closing((uv_handle_t *)process))
        return; /* two ended at once, and what came of the other's end has closed this one */
    r->runs = false;
    r->tidy = status == 0 && term_signal == 0;
    (void)uv_timer_stop(&r->timer);
    if (r->closing) {
        close_all(r);
        return;
    }
    qmp_ssh_hear_all(&r->said, &r->says);
    if (qmp_ssh_words(&r->said, r->path, words, sizeof(words)))
        (void)qf_fail(&err, QF_E_REFUSED, "%s: %s", r->host, words);
    else if (term_signal != 0)
        (void)qf_fail(&err, QF_E_REFUSED, "%s: ssh: ended by signal %d", r->host,
                      term_signal);
    else
        (void)qf_fail(&err, QF_E_REFUSED, "%s: ssh: ended with status %d", r->host,
                      (int)status);
    r->ops->on_end(r, &err, r->arg);
}

static void on_impatient(uv_timer_t *timer)
{
    struct qmp_remote *r = timer->data;
    (void)uv_kill(-r->process.pid, SIGKILL);
}

void qmp_remote_stay(struct qmp_remote *r)
{
    char word[] = "stay\n";
    uv_buf_t buf = uv_buf_init(word, sizeof(word) - 1);
    if (r->runs && !r->in_closed)
        (void)uv_try_write((uv_stream_t *)&r->in, &buf, 1); /* in vain: it is removed */
}

void qmp_remote_close(struct qmp_remote *r,
                      bool leave,
                      void (*cb)(struct qmp_remote *r, bool tidy, void *arg))
{
    r->on_close = cb;
    r->closing = true;
    if (!r->runs || leave) {
        close_all(r);
        return;
    }
    end_input(r);
    (void)uv_timer_start(&r->timer, on_impatient, PATIENCE_MS, PATIENCE_MS);
}

/* ---- its start ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct qmp_remote *r = handle->data;
    (void)suggested;
    *buf = uv_buf_init(r->rbuf, sizeof(r->rbuf));
}

static void on_said(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct qmp_remote *r = stream->data;
    if (n > 0)
        qmp_ssh_hear(&r->said, buf->base, (size_t)n);
    else if (n < 0)
        (void)uv_read_stop(stream);
}

/* A line that is too long is passed over whole. */
static void on_out(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct qmp_remote *r = stream->data;
    if (n < 0)
        (void)uv_read_stop(stream);
    for (ssize_t i = 0; i < n && !r->closing; i++) {
        const char c = buf->base[i];
        if (c == '\n') {
            const bool whole = r->line_len < sizeof(r->line);
            if (whole)
                r->line[r->line_len] = '\0';
            r->line_len = 0;
            if (whole)
                r->ops->on_line(r, r->line, r->arg);
        } else if (r->line_len + 1 < sizeof(r->line)) {
            r->line[r->line_len++] = c;
        } else {
            r->line_len = sizeof(r->line);
        }
    }
}

static void on_no_process(uv_timer_t *timer)
{
    struct qmp_remote *r = timer->data;
    struct qf_err err;
    (void)qf_fail(&err, QF_E_REFUSED, "cannot start ssh: %s", uv_strerror(r->spawn_rc));
    r->ops->on_end(r, &err, r->arg);
}

static void on_written(uv_write_t *req, int status)
{
    struct qmp_remote *r = req->data;
    (void)status; /* its end tells */
    explicit_bzero(r->input, sizeof(r->input));
}

static void write_input(struct qmp_remote *r, const char *input)
{
    const int n = snprintf(r->input, sizeof(r->input), "%s\n", input);
    uv_buf_t buf = uv_buf_init(r->input, (unsigned)n);
    r->write.data = r;
    if (uv_write(&r->write, (uv_stream_t *)&r->in, &buf, 1, on_written) != 0) {
        explicit_bzero(r->input, sizeof(r->input));
        end_input(r); /* then the command fails, and says so */
    }
}

static int spawn(struct qmp_remote *r, uv_loop_t *loop, const char *const *argv)
{
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_CREATE_PIPE | UV_READABLE_PIPE, .data.stream = (uv_stream_t *)&r->in},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&r->out},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
         .data.stream = (uv_stream_t *)&r->says}};
    const uv_process_options_t options = {
        .exit_cb = on_exit_of_ssh,
        .file = argv[0],
        .args = (char **)(uintptr_t)argv, /* libuv does not change them */
        .flags = UV_PROCESS_DETACHED,
        .stdio_count = 3,
        .stdio = stdio};
    return uv_spawn(loop, &r->process, &options);
}

int qmp_remote_open(struct qmp_remote *r,
                    uv_loop_t *loop,
                    const struct qmp_remote_opts *opts,
                    const struct qmp_remote_ops *ops,
                    void *arg,
                    struct qf_err *err)
{
    char words[QMP_SSH_TEXT];
    char forward[QMP_SSH_FORWARD];
    const char *argv[QMP_SSH_ARGS + 6];
    memset(r, 0, sizeof(*r));
    r->ops = ops;
    r->arg = arg;
    memcpy(r->host, opts->addr->host, sizeof(r->host));
    (void)snprintf(r->path, sizeof(r->path), "%s",
                   opts->there ? opts->there : opts->addr->path);
    size_t n = qmp_ssh_argv(opts->addr, words, argv, err);
    if (n == 0) {
        if (err)
            err->code = QF_E_REFUSED;
        return -(int)QF_E_REFUSED;
    }
    if (opts->here) {
        qmp_ssh_forward(forward, opts->here, opts->there);
        argv[n++] = "-L";
        argv[n++] = forward;
    }
    argv[n++] = opts->addr->host;
    argv[n++] = opts->command;
    argv[n] = NULL;
    (void)uv_pipe_init(loop, &r->in, 0); /* none makes a descriptor, nor can fail */
    (void)uv_pipe_init(loop, &r->out, 0);
    (void)uv_pipe_init(loop, &r->says, 0);
    (void)uv_timer_init(loop, &r->timer);
    r->in.data = r->out.data = r->says.data = r->timer.data = r->process.data = r;
    r->pending = 5;
    r->spawn_rc = spawn(r, loop, argv);
    r->runs = r->spawn_rc == 0;
    if (!r->runs) {
        (void)uv_timer_start(&r->timer, on_no_process, 0, 0);
        return 0;
    }
    (void)uv_read_start((uv_stream_t *)&r->out, on_alloc, on_out);
    (void)uv_read_start((uv_stream_t *)&r->says, on_alloc, on_said);
    if (opts->input)
        write_input(r, opts->input);
    return 0;
}

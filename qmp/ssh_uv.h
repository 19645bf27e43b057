/* A UNIX socket of another host, brought here by the system's ssh. Edge.
 *
 * ssh runs as a child with -L: it listens on a socket of its own in a private folder and carries
 * whoever connects there to the path on the other host. There is no other way that works with
 * every OpenSSH: -W reaches TCP ports only.
 *
 *   open -> on_socket: the socket file is there, connect to s->path
 *        -> connect refused (ssh has bound it, but does not listen yet): again -> on_socket ...
 *        -> connected: the folder is removed, nobody else can come
 *        -> close
 *
 * ssh's own configuration is honoured, and its check of host keys is left as it is. It asks
 * nothing (BatchMode). What it writes to stderr is kept, the last line of it for messages. A
 * terminal's Ctrl-C does not reach it: qferry still has to talk to the other host then. It ends
 * with s, and with qferry however that ends: its parent is a shell that reads a pipe from here, and
 * ends ssh when that closes.
 *
 * Folders that were left behind by a qferry that was killed while ssh connected are removed by
 * the next one. Whoever opens s holds the deadline. */
#ifndef QF_QMP_SSH_UV_H
#define QF_QMP_SSH_UV_H

#include <stdbool.h>
#include <uv.h>

#include "engine/base/err.h"
#include "qmp/addr.h"
#include "qmp/rundir_uv.h"

enum {
    QMP_SSH_LINE = 200,  /* of its stderr; a longer one is cut */
    QMP_SSH_WORDS = 32,  /* arguments in QFERRY_SSH ... */
    QMP_SSH_TEXT = 1024, /* ... and bytes */
    QMP_SSH_ARGS = QMP_SSH_WORDS + 36,
    QMP_SSH_FORWARD = 4 * QMP_ADDR_MAX
};

/* ---- what every use of ssh has in common (also remote_uv.c) ---- */

/* What it wrote to stderr. */
struct qmp_ssh_said {
    char line[2][QMP_SSH_LINE]; /* its last two whole lines */
    char part[QMP_SSH_LINE];    /* of the next one */
    size_t part_len;
};

void qmp_ssh_hear(struct qmp_ssh_said *s, const char *data, size_t len);

/* What is in the pipe of its stderr now, without waiting. */
void qmp_ssh_hear_all(struct qmp_ssh_said *s, const uv_pipe_t *pipe);

/* What it said last, a sentence in out, or NULL. path: what was to be reached on the other host. */
const char *qmp_ssh_words(const struct qmp_ssh_said *s,
                          const char *path,
                          char *out,
                          size_t size);

/* The beginning of its command line: QFERRY_SSH's words (kept in words), our options, user and port;
 * the host is not in it yet. How many arguments; 0: QF_E_UNREACHABLE. */
size_t qmp_ssh_argv(const struct qmp_addr *addr,
                    char words[QMP_SSH_TEXT],
                    const char *argv[QMP_SSH_ARGS],
                    struct qf_err *err);

/* The argument of -L for two UNIX sockets. */
void qmp_ssh_forward(char out[QMP_SSH_FORWARD], const char *here, const char *there);

/* ---- a monitor through ssh ---- */

struct qmp_ssh;

struct qmp_ssh_ops {
    /* s->path may be connected to. From the loop. */
    void (*on_socket)(struct qmp_ssh *s, void *arg);
    /* ssh has ended, and nothing was connected yet; once. err: QF_E_UNREACHABLE and its last
     * words. After `connected` the end is told by the connection's own end alone. */
    void (*on_end)(struct qmp_ssh *s, const struct qf_err *err, void *arg);
};

struct qmp_ssh {
    char path[108]; /* the socket on this host */
    /* Private. */
    const struct qmp_ssh_ops *ops;
    void *arg;
    void (*on_close)(struct qmp_ssh *s, void *arg);
    uv_process_t process;
    uv_pipe_t tie;    /* its end ends ssh */
    uv_pipe_t says;   /* its stderr */
    uv_timer_t timer; /* looks for the socket; when closing: patience */
    unsigned pending; /* handles that libuv still holds */
    int spawn_rc;
    bool runs;
    bool tied;
    bool connected;
    bool closing;
    struct qmp_rundir dir;
    struct qmp_ssh_said said;
    char host_path[QMP_ADDR_MAX];
    char rbuf[512];
};

/* Start ssh. The environment variable QFERRY_SSH may say how: a program and its arguments,
 * separated by blanks (`ssh -F /etc/qferry/ssh_config`); default: ssh. QF_E_UNREACHABLE: no
 * folder, no process; nothing was started and s needs no close. Nothing is called back before
 * this has returned. */
int qmp_ssh_open(struct qmp_ssh *s,
                 uv_loop_t *loop,
                 const struct qmp_addr *addr,
                 const struct qmp_ssh_ops *ops,
                 void *arg,
                 struct qf_err *err);

/* The connect was refused: on_socket comes again in a moment, or on_end. */
void qmp_ssh_again(struct qmp_ssh *s);

/* The connection stands. */
void qmp_ssh_connected(struct qmp_ssh *s);

/* The connection has ended: what ssh said about it, a sentence, or NULL. Lent until the next call.
 * Reads what ssh has written so far without waiting. */
const char *qmp_ssh_last_words(struct qmp_ssh *s, char *out, size_t size);

/* End ssh, remove what is there; cb once, from the loop, when the memory may be freed. Call it
 * once. */
void qmp_ssh_close(struct qmp_ssh *s, void (*cb)(struct qmp_ssh *s, void *arg));

#endif

/* A command on another host that lasts as long as we want it to, through the system's ssh. Edge.
 *
 * The command's stdin is a pipe from here, and its end is the sign to clean up and end: it comes
 * when we close it, when this process is killed, and when the connection breaks. So what the command
 * has made over there (a folder with a key, see qmp_remote_keep) goes whatever happens here.
 *
 * ssh may forward a UNIX socket meanwhile. When the command has ended, ssh itself stays until what
 * goes through the forwarded socket has ended, too: a stream outlives this process.
 *
 * As in ssh_uv.h: ssh's own configuration is honoured, its check of host keys left as it is, nothing
 * is asked, QFERRY_SSH says how it is run, and a terminal's Ctrl-C does not reach it. */
#ifndef QF_QMP_REMOTE_UV_H
#define QF_QMP_REMOTE_UV_H

#include <stdbool.h>
#include <uv.h>

#include "engine/base/err.h"
#include "qmp/addr.h"
#include "qmp/ssh_uv.h"

enum { QMP_REMOTE_LINE = 320, QMP_REMOTE_INPUT = 160 };

struct qmp_remote;

struct qmp_remote_ops {
    /* A line of the command's stdout, lent. From the loop. */
    void (*on_line)(struct qmp_remote *r, const char *line, void *arg);
    /* It has ended, and nobody had asked for that; once. err: QF_E_REFUSED and its last words. */
    void (*on_end)(struct qmp_remote *r, const struct qf_err *err, void *arg);
};

struct qmp_remote_opts {
    const struct qmp_addr *addr; /* kind SSH; path: what is to be reached, for messages */
    const char *command;         /* for the user's shell over there */
    const char *input;           /* a line for its stdin, without the newline; copied */
    const char *here;            /* forward this socket ... */
    const char *there;           /* ... to that one; NULL: none */
};

struct qmp_remote {
    /* Private. */
    const struct qmp_remote_ops *ops;
    void *arg;
    void (*on_close)(struct qmp_remote *r, bool tidy, void *arg);
    uv_process_t process;
    uv_pipe_t in;
    uv_pipe_t out;
    uv_pipe_t says; /* its stderr */
    uv_timer_t timer;
    uv_write_t write;
    unsigned pending; /* handles that libuv still holds */
    int spawn_rc;
    bool runs;
    bool closing;
    bool in_closed;
    bool tidy; /* the command has ended by itself, with status 0 */
    struct qmp_ssh_said said;
    char path[QMP_ADDR_MAX];
    char host[QMP_ADDR_MAX];
    char input[QMP_REMOTE_INPUT]; /* wiped as soon as it is written */
    char line[QMP_REMOTE_LINE];
    size_t line_len;
    char rbuf[512];
};

/* Start it. QF_E_REFUSED: nothing was started, r needs no close. Nothing is called back before this
 * has returned. */
int qmp_remote_open(struct qmp_remote *r,
                    uv_loop_t *loop,
                    const struct qmp_remote_opts *opts,
                    const struct qmp_remote_ops *ops,
                    void *arg,
                    struct qf_err *err);

/* End it; cb once, from the loop, when the memory may be freed. tidy: the command said that it has
 * cleaned up. leave: what ssh still forwards goes on without us. Call it once; cb may be NULL. */
void qmp_remote_close(struct qmp_remote *r,
                      bool leave,
                      void (*cb)(struct qmp_remote *r, bool tidy, void *arg));

/* Before the close: what qmp_remote_keep has made there stays, as long as the socket `monitor` is
 * listened on. */
void qmp_remote_stay(struct qmp_remote *r);

/* A command that makes a private folder, writes the line that it gets to keys.psk in it, and
 * dh-params.pem (dh.h) beside it, unless that line is empty, gives both to whoever owns the socket `monitor` ("": nobody) where it may, says
 * "qferry-folder PATH", and removes it all at the end of its stdin; after the line "stay" only when
 * nobody listens on `monitor` any more (/proc/net/unix). out holds QMP_REMOTE_KEEP. */
enum { QMP_REMOTE_KEEP = 5120 };
const char *qmp_remote_keep(char out[QMP_REMOTE_KEEP], const char *monitor);

/* The path in such a line; NULL: it is another line. */
const char *qmp_remote_folder(const char *line);

/* A command that does nothing until its end. */
#define QMP_REMOTE_WAIT "exec cat >/dev/null"

#endif

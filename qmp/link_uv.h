/* One connection to a QMP monitor over libuv: UNIX socket, TCP, TLS over TCP, or a UNIX socket of
 * another host through ssh. Edge: it decides nothing.
 *
 * Happy path: open -> (resolve, or ssh ->) connect -> (handshake ->) read ... QMP_MSG_UP -> messages ... -> close.
 * What can fail is listed in link_uv.c. There is no timer here: whoever opened the link
 * watches the clock and closes it when it takes too long. That is also how a monitor shows which
 * serves somebody else: the kernel accepts, and no greeting comes.
 *
 * The process must ignore SIGPIPE: libuv writes with write(2). */
#ifndef QF_QMP_LINK_UV_H
#define QF_QMP_LINK_UV_H

#include <stdbool.h>
#include <sys/types.h>
#include <uv.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "qmp/addr.h"
#include "qmp/client.h"
#include "qmp/ssh_uv.h"
#include "qmp/tls.h"

enum {
    QMP_LINK_READ = 16 * 1024 /* bytes of one read */
};

struct qmp_link;

struct qmp_link_ops {
    /* A message; lent for the call. Never called from inside open, send or close. */
    void (*on_msg)(struct qmp_link *link, const struct qmp_msg *msg, void *arg);
    /* The link is of no use any more; called once, never after close, never from inside open,
     * send or close. The link still has to be closed. err is lent; its sentence begins with the
     * address. err->code:
     *   QF_E_UNREACHABLE  connect failed (no such file, refused, unknown host, a certificate
     *                     that is not accepted, what ssh says, ...)
     *   QF_E_PROTO        the peer is not a QMP monitor, or broke the protocol
     *   QF_E_LOST         end of file or a read or write error after the connection stood, also
     *                     before the greeting (a monitor that closes at once)
     *   QF_E_NOMEM        no memory for a message
     * gone: the kernel says that nobody listens there (refused at every address, or no such file
     * on a UNIX path): not merely a broken connection. Never through ssh: what is there is only
     * known to the other host. */
    void (*on_down)(struct qmp_link *link, const struct qf_err *err, bool gone, void *arg);
};

/* UNUSED is what memory full of zeros says. UP does not mean that QMP_MSG_UP has come, only that
 * the socket is connected; with TLS the handshake is made in this state. */
enum qmp_link_state {
    QMP_LINK_UNUSED,
    QMP_LINK_RESOLVING,
    QMP_LINK_CONNECTING,
    QMP_LINK_UP,
    QMP_LINK_DOWN,
    QMP_LINK_CLOSING,
    QMP_LINK_CLOSED
};

struct qmp_link {
    bool
        ended; /* in on_down: reading came to the end of the connection; nothing was left to be read */
    struct qmp_client client;
    struct qmp_addr addr;
    const struct qmp_link_ops *ops;
    void *arg;
    void (*on_close)(struct qmp_link *link, void *arg);
    uv_loop_t *loop;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_pipe_t pipe;
        uv_tcp_t tcp;
    } h;
    uv_connect_t connect;
    uv_getaddrinfo_t resolve;
    /* Private from here on. */
    enum qmp_link_state state;
    uv_idle_t later;        /* tells on_down from the loop when a send found it out */
    unsigned pending;       /* handles and requests that libuv still holds */
    bool has_socket;        /* h is open */
    struct addrinfo *found; /* owned: what the resolver said */
    const struct addrinfo *trying; /* in found: being tried; NULL on a UNIX socket */
    const struct addrinfo *next;   /* in found: to try after that */
    bool all_refused;              /* so far every attempt was refused */
    uv_write_t write;
    struct qf_buf writing; /* the bytes of a write that is under way; empty: none is */
    struct qf_err why;     /* DOWN by later: what to tell */
    struct qmp_tls tls;    /* TLS: from UP on */
    struct qmp_ssh ssh;    /* SSH: from CONNECTING on */
    char rbuf[QMP_LINK_READ];
};

/* Start to connect; with TLS addr->creds must be there and stay as long as the link. Errors that can be told at once are returned and nothing was started: the
 * link is UNUSED and needs no close. Everything later comes by on_down. link is the caller's
 * memory (whatever is in it) and stays until close's cb. ops stays as long as the link. */
int qmp_link_open(struct qmp_link *link,
                  uv_loop_t *loop,
                  const struct qmp_addr *addr,
                  const struct qmp_link_ops *ops,
                  void *arg,
                  struct qf_err *err);

/* Send one command; see qmp_client_send. Bytes that the socket does not take are kept. Before the
 * monitor is up the command waits; QF_E_LOST on a link that is down or closed. */
int qmp_link_send(struct qmp_link *link,
                  const char *command,
                  const json_t *args,
                  uint64_t id,
                  bool oob,
                  struct qf_err *err);

/* Who listens at the other end of a UNIX socket (SO_PEERCRED): the process, the user and group that this process
 * works as now, where /proc tells; QEMU may have changed them since it began to listen. False: not
 * a UNIX socket, or not connected. */
bool qmp_link_peer(const struct qmp_link *link, pid_t *pid, uid_t *uid, gid_t *gid);

/* Pass a descriptor to the monitor, for the getfd that is sent next (SCM_RIGHTS, unix(7)): with a
 * blank, which JSON does not mind; QEMU keeps it until the command comes. fd stays the caller's.
 * QF_E_LOST: the link is no UNIX socket, is not up, or does not take anything now. */
int qmp_link_pass(struct qmp_link *link, int fd, struct qf_err *err);

/* Close; idempotent (the first cb counts); cb once, from the loop, when the memory may be freed.
 * No on_msg or on_down after this call. On an UNUSED link (zeroed memory, a failed open) there is
 * nothing to wait for: cb is called at once. cb may be NULL. */
void qmp_link_close(struct qmp_link *link, void (*cb)(struct qmp_link *link, void *arg));

#endif

/* Opens the connection that the memory takes (--bind), from an address or an interface of this host,
 * for the source's QEMU to be handed. Edge.
 *
 * It is the migration's own connection: the destination's QEMU takes one, and ends when that is
 * closed. So it is opened once, when all is ready for `migrate`. */
#ifndef QF_ENGINE_STREAM_UV_H
#define QF_ENGINE_STREAM_UV_H

#include <uv.h>

#include "engine/base/err.h"
#include "engine/mig_todo.h"

enum {
    STREAM_CONNECT_MS = 10 * 1000,
    /* What was sent and is not acknowledged for so long breaks the connection (TCP_USER_TIMEOUT);
     * one that is idle is probed, and breaks after as long. */
    STREAM_TIMEOUT_MS = 10 * 1000
};

struct stream;

/* Called once, from the loop. fd: a connected, blocking socket, the callee's; -1: why says what went
 * wrong (lent). The stream is still the owner's, who gives it back by stream_close. */
typedef void stream_cb(struct stream *s, int fd, const char *why, void *arg);

/* Can this host bind a connection there? QF_E_USAGE: there is no such interface or address, or it is
 * not allowed. Sends nothing. */
int stream_check(const char *bind, struct qf_err *err);

/* Begin; names are resolved. QF_E_NOMEM, QF_E_INTERNAL: nothing was begun. */
int stream_start(struct stream **out,
                 uv_loop_t *loop,
                 const struct mig_do *what,
                 const char *bind,
                 stream_cb *on_done,
                 void *arg,
                 struct qf_err *err);

/* Give it back, also from inside of on_done; a connection that is not made yet is given up.
 * on_closed is called from the loop once nothing of it is left there. NULL is fine: on_closed is
 * then not called. */
void stream_close(struct stream *s, void (*on_closed)(void *arg), void *arg);

#endif

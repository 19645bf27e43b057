/* Make ready, on the hosts, what `--encrypt` asks for, and remove it again: keys and certificates as
 * files, tunnels. What QEMU is told of it is the migration's own affair (mig_secure.c). Edge.
 *
 *   psk   a fresh key in a private folder for each QEMU: on this host (rundir_uv.h), or through
 *         ssh where its monitor is reached through ssh (remote_uv.h)
 *   x509  the files are there; they are checked
 *   ssh   a private folder on the destination's host, for the socket that its QEMU listens on, and a
 *         tunnel to that from a socket on this host
 *
 * No secret leaves this file but to the files and into ssh's stdin. */
#ifndef QF_ENGINE_SECURE_UV_H
#define QF_ENGINE_SECURE_UV_H

#include <stdbool.h>
#include <sys/types.h>
#include <uv.h>

#include "engine/base/err.h"
#include "engine/mig_event.h"
#include "engine/spec.h"
#include "qmp/addr.h"
#include "qmp/rundir_uv.h"

struct secure;

/* Who runs a QEMU of this host, from its UNIX monitor. */
struct secure_peer {
    bool known;
    uid_t uid;
    gid_t gid;
    struct qmp_rundir_user qemu; /* pid 0: not known */
};

/* It is ready, or cannot be (out->err); lent. From the loop. Again later, with an error: what was
 * ready has failed. */
typedef void secure_cb(struct secure *s, const struct mig_secured *out, void *arg);

/* Begin. spec (with the address that was chosen) and addr are lent until the close. Never calls
 * back before it has returned. QF_E_NOMEM, QF_E_INTERNAL: nothing was begun. */
int secure_start(struct secure **out,
                 uv_loop_t *loop,
                 const struct mig_spec *spec,
                 const struct qmp_addr addr[MIG_SIDES],
                 const struct secure_peer peer[MIG_SIDES],
                 secure_cb *on_event,
                 void *arg,
                 struct qf_err *err);

/* Remove everything; cb once, from the loop, s is freed then. No on_event any more. leave: a tunnel
 * is left to end with the connection that it carries, and a key for as long as its QEMU lives. left: what could not be removed, a sentence,
 * or NULL. */
void secure_close(struct secure *s, bool leave, void (*cb)(const char *left, void *arg));

#endif

/* Finds out what netsel_choose needs: addresses of this host, names of the destination, and
 * whether each path answers, all at once. Edge.
 *
 * A path is probed by a TCP connection from the address that the kernel would send from, to a port
 * on which no QEMU waits for a migration (netsel_probe_port). It proves the path whether it is
 * accepted or refused; it is closed at once. */
#ifndef QF_NETSEL_PROBE_UV_H
#define QF_NETSEL_PROBE_UV_H

#include <stdbool.h>
#include <uv.h>

#include "engine/base/err.h"
#include "netsel/netsel.h"

/* A host that the destination is known by. */
struct netsel_target {
    const char *host; /* name or address, lent for netsel_probe_start */
    bool is_monitor;  /* it is the monitor's host */
};

enum {
    NETSEL_TARGETS_MAX = 9 /* --destination-address, 8 of them, and the monitor's host */
};

struct netsel_probe;

/* Called once, from the loop; facts are lent. Everything is closed afterwards by itself but for the
 * probe's memory, which is freed by netsel_probe_close. */
typedef void netsel_probe_cb(struct netsel_probe *p,
                             const struct netsel_facts *facts,
                             void *arg);

/* Begin. w is copied. to_the_end: wait until everything has answered or had its time, for a table
 * for people; otherwise until the choice is decided. Nothing is called back before this has
 * returned. QF_E_NOMEM, QF_E_INTERNAL: nothing was begun. Faults of single networks are facts. */
int netsel_probe_start(struct netsel_probe **out,
                       uv_loop_t *loop,
                       const struct netsel_wish *w,
                       const struct netsel_target *targets,
                       unsigned n_targets,
                       bool to_the_end,
                       netsel_probe_cb *on_done,
                       void *arg,
                       struct qf_err *err);

/* Give it up, or back after on_done (also from inside of it): on_done is not called any more.
 * Frees p once the loop has let go of its handles; nobody needs to wait for that, but the loop
 * runs until then. A name that is being resolved cannot be called back: the loop goes on until the
 * resolver gives up. NULL is fine. */
void netsel_probe_close(struct netsel_probe *p);

#endif

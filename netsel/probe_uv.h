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

/* Called once, from the loop; facts are lent. Then everything is closed, but the probe is still the
 * owner's, who gives it back by netsel_probe_close. */
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

/* Give it up, or back after on_done (also from inside of it): on_done is not called any more. p is
 * not to be touched afterwards; on_closed (may be NULL) is called from the loop once nothing of it
 * is left there. A name that is being resolved cannot be called back: that takes until the resolver
 * gives up. NULL is fine: on_closed is then not called. */
void netsel_probe_close(struct netsel_probe *p, void (*on_closed)(void *arg), void *arg);

#endif

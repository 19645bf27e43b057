/* What the destination's host says of its interfaces, asked through ssh: which one has which address,
 * and how fast it is. Edge.
 *
 * A help, no more: nobody waits for it, and where it does not come the speed of the receiving interface
 * is not known. Asked only where it may count. */
#ifndef QF_ENGINE_RECEIVER_UV_H
#define QF_ENGINE_RECEIVER_UV_H

#include <uv.h>

#include "engine/base/err.h"
#include "engine/mig_event.h"
#include "engine/spec.h"
#include "qmp/addr.h"

struct receiver;

/* Once, from the loop; links are lent. Not called when nothing was found out within ten seconds. The
 * receiver is still its owner's, who closes it. */
typedef void receiver_cb(struct receiver *r, const struct mig_links *links, void *arg);

/* Can a link's speed be the limit, and can the destination's host be asked for it? */
bool receiver_counts(const struct mig_spec *spec, const struct qmp_addr *destination);

/* Ask. QF_E_...: nothing was started. Nothing is called back before this has returned. */
int receiver_start(struct receiver **out,
                   uv_loop_t *loop,
                   const struct qmp_addr *destination,
                   receiver_cb *on_links,
                   void *arg,
                   struct qf_err *err);

/* Give it up, or back; on_closed from the loop when nothing of it is left there. NULL is fine:
 * on_closed is then not called. */
void receiver_close(struct receiver *r, void (*on_closed)(void *arg), void *arg);

#endif

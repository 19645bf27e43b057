/* Find out about the networks of a request, for the driver and for `qferry networks`. Edge. */
#ifndef QF_ENGINE_NETWORK_UV_H
#define QF_ENGINE_NETWORK_UV_H

#include "engine/record.h"
#include "engine/spec.h"
#include "netsel/probe_uv.h"
#include "policy/policy.h"

/* netsel_probe_start for what the spec names. */
int network_probe(struct netsel_probe **out,
                  uv_loop_t *loop,
                  const struct mig_spec *spec,
                  bool to_the_end,
                  netsel_probe_cb *on_done,
                  void *arg,
                  struct qf_err *err);

/* What a migration would choose now: every network probed to the end, on a loop of its own.
 * r->u.network lends *c. Blocks for NETSEL_NAMES_MS at most, longer only for a resolver that does
 * not give up. QF_E_REFUSED: none is usable; c and r are filled. */
int network_survey(const struct mig_spec *spec,
                   const struct policy *p,
                   struct netsel_choice *c,
                   struct record *r,
                   struct qf_err *err);

#endif

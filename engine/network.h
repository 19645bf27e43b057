/* What a request makes of the choice of a network: where the destination listens, and how fast it
 * may go. Core. */
#ifndef QF_ENGINE_NETWORK_H
#define QF_ENGINE_NETWORK_H

#include "engine/record.h"
#include "engine/spec.h"
#include "policy/policy.h"

/* Fill the record. c: the choice, which the record lends on; NULL when the spec has no networks:
 * then the spec's own address is taken, and the reason says where that is from. */
void network_tell(const struct mig_spec *spec,
                  const struct policy *p,
                  const struct netsel_choice *c,
                  struct record_network *r);

/* The way to the spec's address as networks to be probed, where none are given: all of IPv4, and of
 * IPv6. For a migration that is under way; nothing is chosen by it. */
void network_path_wish(const struct mig_spec *spec, struct netsel_wish *w);

#endif

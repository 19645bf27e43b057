/* What netsel works on and finds, as JSON: the wish and the facts for the journal, which reads
 * them back, the choice for the `network` record. Not the file that people write: that is
 * networks_json.h. Data. */
#ifndef QF_NETSEL_NETSEL_JSON_H
#define QF_NETSEL_NETSEL_JSON_H

#include <jansson.h>
#include <stdbool.h>

#include "netsel/netsel.h"

/* New; NULL only without memory. */
json_t *netsel_dump_wish(const struct netsel_wish *w);
json_t *netsel_dump_facts(const struct netsel_facts *f);

/* [{"name", "address", "usable", "why", "link_rate"}]; what is not known is null. */
json_t *netsel_dump_candidates(const struct netsel_choice *c);

/* False: not what was dumped. Then the out parameter is not written. */
bool netsel_load_wish(const json_t *json, struct netsel_wish *w);
bool netsel_load_facts(const json_t *json, struct netsel_facts *f);

#endif

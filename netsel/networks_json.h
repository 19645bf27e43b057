/* The networks that a person has given: a networks file, or one CIDR from the command line. The
 * format is described in qferry-networks(5). Data. */
#ifndef QF_NETSEL_NETWORKS_JSON_H
#define QF_NETSEL_NETWORKS_JSON_H

#include <stddef.h>

#include "engine/base/err.h"
#include "netsel/netsel.h"

enum { NETSEL_FILE_MAX = 64 * 1024 /* bytes; a longer text is refused */ };

/* Add the networks of a file behind those that are there; "fallback": false of any file holds.
 * origin names the text in messages. *w is written on success only. QF_E_USAGE:
 * `nets.json:3: networks[0].cidr: ...`. */
int networks_load(const char *origin,
                  const char *text,
                  size_t len,
                  struct netsel_wish *w,
                  struct qf_err *err);

/* Add one network for migrations, called as its CIDR. QF_E_USAGE: not one, or it is there. */
int networks_add(const char *cidr, struct netsel_wish *w, struct qf_err *err);

#endif

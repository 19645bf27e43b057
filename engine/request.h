/* A request for a migration as people and programs write it: option names and texts in, a checked
 * request out. The same names serve the command line and, later, the control socket. Data. */
#ifndef QF_ENGINE_REQUEST_H
#define QF_ENGINE_REQUEST_H

#include <stdbool.h>

#include "engine/base/err.h"
#include "engine/mig_event.h"
#include "engine/spec.h"
#include "policy/policy.h"
#include "qmp/addr.h"

enum {
    REQUEST_SETS_MAX = 32, /* --set and its short forms; one more is refused */
    REQUEST_NETWORKS_FILE_MAX = 64 * 1024 /* bytes of a networks file */
};

struct request {
    struct mig_spec spec;
    struct policy policy;
    struct qmp_addr addr[MIG_SIDES];
    /* Private: applied by request_finish, after the policy is known. */
    struct {
        const char *option; /* "set", or one that is short for it */
        const char *value;
    } sets[REQUEST_SETS_MAX];
    unsigned n_sets;
    const char *tls_dir;
    const char *restart_command; /* --restart-destination; NULL: none; lent */
    bool has_encrypt;            /* --encrypt was given */
};

/* The default policy, the default of everything else. */
void request_init(struct request *r);

/* The policy for a move that is taken up, where it was not chosen anew: what is remembered stays as it
 * is if this is the same request as the one of then (given: its policy), and gets what --set and the
 * like say otherwise. has_policy: this one names a policy (-p, or by labels); then a remembered one
 * counts only if the request is the same. False: this request's own holds. After request_finish. */
bool request_remember_policy(const struct request *r,
                             bool has_policy,
                             const struct policy *given,
                             struct policy *remembered);

/* The two monitors. QF_E_USAGE: not an address, or both the same. */
int request_sides(struct request *r,
                  const char *source,
                  const char *destination,
                  struct qf_err *err);

/* One option by its long name without dashes; value NULL for flags. Known: set, max-downtime,
 * timeout, network, destination-address, tls-dir, port, encrypt, bandwidth, channels, compression,
 * zero-copy, unsafe, retries, bind, restart-destination, dry-run, self-start, quit-source, quit-destination,
 * policy (a built-in's name). value must live until request_finish.
 * QF_E_USAGE names the option and what was wrong with it. */
int request_option(struct request *r,
                   const char *name,
                   const char *value,
                   struct qf_err *err);

/* A policy from the text of a file. */
int request_policy_text(struct request *r,
                        const char *origin,
                        const char *text,
                        size_t len,
                        struct qf_err *err);

/* More networks to choose from, from the text of a file. QF_E_USAGE: file, line, field. */
int request_networks_text(struct request *r,
                          const char *origin,
                          const char *text,
                          size_t len,
                          struct qf_err *err);

/* Everything was given: apply the overrides to the policy, fill in what follows from the rest. */
int request_finish(struct request *r, struct qf_err *err);

#endif

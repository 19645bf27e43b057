/* What an operator says, as text, made into what the machine understands. Data. */
#ifndef QF_ENGINE_OPERATOR_H
#define QF_ENGINE_OPERATOR_H

#include <stdbool.h>

#include "engine/base/err.h"
#include "engine/mig_event.h"
#include "policy/policy.h"

enum { OPERATOR_SETS_MAX = 32 /* of one command; one more is refused */ };

struct operator_command {
    enum mig_operator_kind kind;
    unsigned n;                         /* SET: so many */
    const char *set[OPERATOR_SETS_MAX]; /* "downtime.max=300ms"; the caller's */
};

/* "cancel", "postcopy", "pause", "set". False: none of these. */
bool operator_kind(const char *name, enum mig_operator_kind *kind);

/* Make op of c. now: the policy that is to be changed; changed: the caller's memory, where
 * op->policy then points; written also on failure. All assignments or none. QF_E_USAGE names the
 * field and what was wrong with it: unknown, a bad value, not to be changed while a move runs. */
int operator_read(const struct operator_command *c,
                  const struct policy *now,
                  struct policy *changed,
                  struct mig_operator *op,
                  struct qf_err *err);

#endif

/* Which policy a VM is moved by, from its labels and those of its namespace, as KubeVirt does it
 * with MigrationPolicy objects. Texts of policy files and labels in, a choice and its explanation
 * out. Data: no file is opened here.
 *
 * A policy matches when every label of its selectors is there with the same value. One whose
 * selectors ask for nothing matches every VM; one without selectors matches none. Of those that
 * match, the one with the most labels wins; then the one whose keys, sorted, come first byte by
 * byte; then the one whose name comes first. Names are unique, so the order in which policies
 * were added does not matter.
 *
 * KubeVirt (pkg/virt-controller/watch/migration/migrationpolicy.go) documents that keys decide a
 * tie, but takes the policy with more VM labels, then the first name; and of a VM that has no
 * labels at all it asks for none. Here the documented order holds, and a VM without labels has
 * none of those that are asked for. */
#ifndef QF_POLICY_SELECT_H
#define QF_POLICY_SELECT_H

#include <stddef.h>

#include "engine/base/err.h"
#include "policy/labels.h"
#include "policy/policy.h"

enum { SELECT_POLICIES_MAX = 256 /* one more is refused */ };

struct select;

/* No labels, no policies. NULL without memory. */
struct select *select_new(void);
void select_free(struct select *s); /* NULL is fine */

/* A label that the VM or its namespace has, as "KEY=VALUE"; copied. The value ends with the text
 * and may be empty. Given twice with one value it counts once.
 * QF_E_USAGE: not a label, another value than before, too many. */
int select_label(struct select *s, enum label_of of, const char *text, struct qf_err *err);

/* One policy from the text of its file; all copied. origin names the file in messages.
 * QF_E_USAGE: what policy_load says, or a name that another policy has; QF_E_NOMEM. */
int select_policy(
    struct select *s, const char *origin, const char *text, size_t len, struct qf_err *err);

/* The policy that wins; NULL when none matches. Lives as long as s. */
const struct policy *select_choose(const struct select *s);

/* Why: lines of text, handed over in pieces; a line for each policy in the order in which they
 * were added, then one for the choice. fallback is what is used when none matches, why says where that
 * comes from ("the default"). */
void select_explain(const struct select *s,
                    const struct policy *fallback,
                    const char *why,
                    void (*on_text)(const char *text, void *arg),
                    void *arg);

#endif

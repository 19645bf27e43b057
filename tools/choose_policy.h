/* The options --policies, --label, --namespace-label and --explain: reads a folder of policy files
 * and lets policy/select.h choose. For every command that takes a policy. Only tools/ includes
 * it. */
#ifndef QF_TOOLS_CHOOSE_POLICY_H
#define QF_TOOLS_CHOOSE_POLICY_H

#include <stdbool.h>
#include <stdio.h>

#include "engine/base/err.h"
#include "policy/labels.h"
#include "policy/policy.h"

/* Begins zeroed, is freed by nobody: all texts are those of the command line. */
struct choose {
    const char *dir;  /* NULL: nothing to choose from */
    bool explain;     /* --explain */
    bool has_policy;  /* --policy was given; set by the command, said in the explanation */
    unsigned n_label; /* below: --label and --namespace-label, in order */
    struct {
        enum label_of of;
        const char *text;
    } label[LABEL_OWNERS * LABELS_MAX];
};

/* One of these options by its long name without dashes; value NULL for --explain. value must live
 * until choose_policy. QF_E_USAGE names the option. */
int choose_option(struct choose *c,
                  const char *name,
                  const char *value,
                  struct qf_err *err);

/* All options were seen: replace *p by the policy that wins. *p stays as it is when none matches
 * or no folder was given. Afterwards overrides of single fields may be applied.
 * Every `*.json` in the folder is read, in byte order of names, but for those that begin with a
 * dot and for folders. QF_E_USAGE: one that cannot be read or is faulty, even if another would
 * have won; labels that are none, or without a folder.
 * With --explain the choice and its reasons are written to `out`. */
int choose_policy(const struct choose *c, struct policy *p, FILE *out, struct qf_err *err);

#endif

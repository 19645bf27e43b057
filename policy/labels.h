/* Labels of virtual machines and of their namespaces, and the selectors of a policy file that ask
 * for them. Keys and values are those of Kubernetes (its "Labels and Selectors" page).
 *
 *     "selectors": {"vm": {"matchLabels": {"size": "large"}},
 *                   "namespace": {"matchLabels": {"zone": "a"}}}
 *
 * Taken as well, so that the selectors of a KubeVirt MigrationPolicy can stay as they are: its
 * names virtualMachineInstanceSelector and namespaceSelector, and labels without matchLabels around
 * them. Reading them is for policy_json.c and select.c alone. Data. */
#ifndef QF_POLICY_LABELS_H
#define QF_POLICY_LABELS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "engine/base/fault.h"

enum {
    LABEL_KEY_MAX = 317,  /* bytes: a prefix of 253, a slash, a name of 63 */
    LABEL_VALUE_MAX = 63, /* bytes */
    LABELS_MAX = 64 /* of one selector, of one VM, of one namespace; more are refused */
};

/* Whose label it is. */
enum label_of { LABEL_VM, LABEL_NAMESPACE };
enum { LABEL_OWNERS = 2 };

struct label {
    enum label_of of;
    const char *key;   /* lent by the JSON that it was read from; so is value */
    const char *value; /* may be empty */
};

/* What a policy asks for: all of it must be there. Sorted by key, byte by byte; of two with one
 * key the VM's comes first. */
struct selectors {
    bool given; /* false: the file has none, and matches nothing */
    size_t n;   /* 0 although given: matches everything */
    struct label label[LABEL_OWNERS * LABELS_MAX];
};

/* Read the member `selectors` of a policy. out may be NULL where only its faults count; else it
 * is written on success only and its texts live as long as value. */
int selectors_load(const struct fault_source *src,
                   const json_t *value,
                   struct selectors *out);

/* What is wrong with n bytes as the key or as the value of a label, to follow "not a label's key: "
 * or "not a label's value: "; NULL when nothing is. */
const char *label_key_fault(const char *key, size_t n);
const char *label_value_fault(const char *value, size_t n);

/* "VM" or "namespace", for sentences. */
const char *label_of_name(enum label_of of);

#endif

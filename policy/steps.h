/* The steps of a policy, from JSON and back. For policy_json.c alone. Data. */
#ifndef QF_POLICY_STEPS_H
#define QF_POLICY_STEPS_H

#include <jansson.h>

#include "engine/base/fault.h"
#include "policy/policy.h"

/* Read the list into p->steps and p->n_steps. Whether p allows them is not asked here. */
int steps_load(const struct fault_source *src, const json_t *value, struct policy *p);

/* The list as JSON, which steps_load reads back. New; NULL only without memory. */
json_t *steps_dump(const struct policy *p);

#endif

/* Policies with steps, kept beside the tests: the built-in policies of qferry's own decide by
 * forecast, and tests of other things want decisions that stay as they are. */
#ifndef QF_TESTS_UNIT_SCHEDULES_H
#define QF_TESTS_UNIT_SCHEDULES_H

#include <check.h>
#include <stdio.h>

#include "policy/policy_json.h"

/* The one of that name in tests/unit/schedules; false: there is none. */
static inline bool schedule_find(const char *name, struct policy *p)
{
    static char text[8192];
    char path[256];
    struct qf_err err;
    (void)snprintf(path, sizeof(path), "%s/tests/unit/schedules/%s.json", QFERRY_SOURCE_DIR,
                   name);
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    const size_t n = fread(text, 1, sizeof(text), file);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_msg(policy_load(path, text, n, p, &err) == 0, "%s", err.text);
    return true;
}

/* ... else the built-in one. */
static inline void schedule_load(const char *name, struct policy *p)
{
    struct qf_err err;
    if (!schedule_find(name, p))
        ck_assert_msg(policy_preset_load(name, p, &err) == 0, "%s", err.text);
}

#endif

#include "engine/operator.h"

#include <string.h>

#include "engine/mig.h"
#include "policy/policy_json.h"

bool operator_kind(const char *name, enum mig_operator_kind *kind)
{
    static const enum mig_operator_kind kinds[] = {
#define OPERATOR_KIND(id, text) MIG_OPERATOR_##id,
        MIG_OPERATOR_KINDS(OPERATOR_KIND)
#undef OPERATOR_KIND
    };
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(mig_operator_name(kinds[i]), name) == 0) {
            *kind = kinds[i];
            return true;
        }
    return false;
}

/* n characters as a field that can be changed; MIG_FIELD_COUNT: none. */
static enum mig_field find(const char *name, size_t n)
{
    for (unsigned i = 0; i < MIG_FIELD_COUNT; i++) {
        const char *field = mig_field_name((enum mig_field)i);
        if (strlen(field) == n && memcmp(field, name, n) == 0)
            return (enum mig_field)i;
    }
    return MIG_FIELD_COUNT;
}

/* Fields that a policy has, and that are settled once the move has begun. */
static bool is_settled(const char *name, size_t n)
{
    static const char *const settled[] = {
        "name",     "description", "pacing",           "downtime.start",
        "channels", "encrypt",     "throttle.initial", "throttle.increment",
        "steps",
    };
    for (size_t i = 0; i < sizeof(settled) / sizeof(settled[0]); i++)
        if (strlen(settled[i]) == n && memcmp(settled[i], name, n) == 0)
            return true;
    return false;
}

static int read_one(const char *text,
                    struct policy *changed,
                    uint32_t *fields,
                    struct qf_err *err)
{
    const size_t n = strcspn(text, "=");
    const enum mig_field f = text[n] == '=' ? find(text, n) : MIG_FIELD_COUNT;
    if (text[n] == '=' && is_settled(text, n))
        return qf_fail(err, QF_E_USAGE, "%.*s: cannot be changed while a migration runs",
                       (int)n, text);
    if (policy_set(changed, text, err) != 0)
        return err ? -(int)err->code : -(int)QF_E_USAGE;
    if (f == MIG_FIELD_COUNT) /* one that is newer than the table */
        return qf_fail(err, QF_E_USAGE, "%.*s: cannot be changed while a migration runs",
                       (int)n, text);
    *fields |= UINT32_C(1) << (unsigned)f;
    return 0;
}

int operator_read(const struct operator_command *c,
                  const struct policy *now,
                  struct policy *changed,
                  struct mig_operator *op,
                  struct qf_err *err)
{
    uint32_t fields = 0;
    *changed = *now;
    if (c->kind == MIG_OPERATOR_SET && c->n == 0)
        return qf_fail(err, QF_E_USAGE, "no field is given; write downtime.max=300ms");
    for (unsigned i = 0; c->kind == MIG_OPERATOR_SET && i < c->n; i++) {
        const int rc = read_one(c->set[i], changed, &fields, err);
        if (rc != 0)
            return rc;
    }
    *op = (struct mig_operator){.kind = c->kind, .fields = fields};
    if (c->kind == MIG_OPERATOR_SET)
        op->policy = changed;
    return 0;
}

/* The fields of a policy file but for `steps`: one table of names, kinds and places, and each
 * kind's two directions. For policy_json.c and steps.c alone. Data. */
#ifndef QF_POLICY_FIELDS_H
#define QF_POLICY_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/fault.h"
#include "policy/policy.h"

enum field_kind {
    FIELD_NAME,
    FIELD_TEXT,
    FIELD_PACING,
    FIELD_DURATION,
    FIELD_PERCENT,
    FIELD_BOOLEAN,
    FIELD_RATE,
    FIELD_ON_TIMEOUT,
    FIELD_CHANNELS,
    FIELD_ENCRYPT,
    FIELD_GOAL_PERCENT, /* as FIELD_PERCENT, or 0 = none */
    FIELD_SIZE_UNIT,
    FIELD_SIZE_ROUND,
    FIELD_UNITS,
    FIELD_PROGRESS
};

struct field {
    const char *name; /* in full, with dots */
    enum field_kind kind;
    size_t offset; /* in struct policy */
};

enum { FIELDS_MAX = 64 }; /* a bit each while a file is read */

/* In the order of qferry-policy(5); members of one group stand together. */
extern const struct field fields[];
extern const size_t fields_count;

/* By full name; NULL when there is none. */
const struct field *field_find(const char *name);

/* Is this the name of a group of fields ("downtime")? The first member's name without the group,
 * or NULL. */
const char *field_of_group(const char *name);

/* Report that there is no such field, with the nearest name or the names of its group. */
int field_unknown(const struct fault_source *src, const char *name);

/* Read the value of f into p. Reports what is wrong with it by its name. */
int field_put(const struct fault_source *src,
              const struct field *f,
              const json_t *value,
              struct policy *p);

/* The value of f as JSON, which field_put reads back. New; NULL only without memory. */
json_t *field_dump(const struct field *f, const struct policy *p);

/* Single kinds, for steps. *out is written on success only. */
int field_duration(const struct fault_source *src,
                   const char *name,
                   const json_t *value,
                   uint64_t *out);
int field_rate(const struct fault_source *src,
               const char *name,
               const json_t *value,
               uint64_t *out);
int field_boolean(const struct fault_source *src,
                  const char *name,
                  const json_t *value,
                  bool *out);
json_t *field_dump_duration(uint64_t ms);
json_t *field_dump_rate(uint64_t bytes_per_s);

/* n characters as a number: digits and nothing else, at most nine. */
bool field_parse_count(const char *text, size_t n, uint32_t *out);

#endif

/* What a QEMU accepts: a recorded answer to query-qmp-schema, and a check of commands against it.
 *
 * It refuses in the words of QEMU (compared with a real 7.2 in test_schema.c), except where the
 * schema does not know them: the kind of an integer, the name of an alternate. In one thing it is
 * milder: commands that QEMU parses by hand (device_add) may take more than their schema says.
 *
 * Data. The values are not judged beyond their type: a negative size passes. */
#ifndef QF_TESTS_FAKE_SCHEMA_H
#define QF_TESTS_FAKE_SCHEMA_H

#include <jansson.h>
#include <stdbool.h>

struct schema;

struct schema_fault {
    const char *error_class; /* static */
    char desc[256];
};

/* From the reply's text, or from its "return" (borrowed). NULL: not a schema, or no memory. */
struct schema *schema_load(const char *path);
struct schema *schema_new(json_t *entities);
void schema_free(struct schema *s); /* NULL too */

/* May this command be sent so? args: borrowed, NULL is {}. False: fault says why not. */
bool schema_check(const struct schema *s,
                  const char *command,
                  json_t *args,
                  bool oob,
                  struct schema_fault *fault);

/* The members of a command's arguments: a borrowed array, to look at or to add to. NULL: there is
 * no such command. */
json_t *schema_members(const struct schema *s, const char *command);

#endif

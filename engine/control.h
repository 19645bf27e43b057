/* The control protocol without its sockets: which commands there are, what they answer, what
 * events are made of records, and what is known of each migration.
 *
 *   line of a record --control_feed--> event, and query-migrations is up to date
 *   command --control_execute--> answer; what an operator wants is handed to the owner (ops)
 *
 * It knows any number of migrations by their uid; a `qferry migrate` has one. The commands and
 * events are described in qferry(1). Data: no socket, no clock. */
#ifndef QF_ENGINE_CONTROL_H
#define QF_ENGINE_CONTROL_H

#include <jansson.h>
#include <stdbool.h>

#include "engine/base/err.h"
#include "engine/operator.h"
#include "engine/spec.h"
#include "qmp/server.h"

enum {
    CONTROL_UID_MAX = 64,  /* with its NUL; a longer one is refused */
    CONTROL_SET_MAX = 256, /* "field=value" with its NUL; likewise */
    CONTROL_NAME_MAX = 48  /* an event's name with its NUL */
};

struct control_ops {
    /* Carry it out on the migration of that uid, or refuse: QF_E_REFUSED (not now), QF_E_USAGE. */
    int (*on_operator)(const char *uid,
                       const struct operator_command *c,
                       void *arg,
                       struct qf_err *err);
};

struct control {
    json_t *migrations; /* owned: array of what query-migrations returns, oldest first */
    /* owned: array of the last `network` record of each, with its uid: what query-networks returns */
    json_t *networks;
    json_t *version; /* owned: the greeting's */
    const struct control_ops *ops;
    void *arg;
};

/* version: "0.1.0". ops stays as long as the control. QF_E_NOMEM. */
int control_init(struct control *c,
                 const char *version,
                 const struct control_ops *ops,
                 void *arg,
                 struct qf_err *err);
void control_fini(struct control *c); /* safe on a zeroed struct */

/* One more migration, which runs from now on. QF_E_USAGE: a uid that is empty, too long, not
 * made of letters, digits, '.', '_' and '-', or in use; QF_E_NOMEM. */
int control_add(struct control *c,
                const char *uid,
                const struct mig_spec *spec,
                const char *policy,
                struct qf_err *err);

/* A public record's line of that migration. Returns the event's data, new (NULL: no memory, or
 * not such a line), and its name: "MIGRATION_PHASE" and so on by the line's type. */
json_t *control_feed(struct control *c,
                     const char *uid,
                     const char *line,
                     size_t len,
                     char name[CONTROL_NAME_MAX]);

/* Carry out a command. 0: *value is the answer, new, NULL for {}. Otherwise err has the sentence
 * and *error_class its class, static: CommandNotFound; DeviceNotFound: no such migration;
 * DeviceNotActive: refused, as things are now; GenericError: wrong arguments. */
int control_execute(struct control *c,
                    const struct qmp_command *cmd,
                    json_t **value,
                    const char **error_class,
                    struct qf_err *err);

#endif

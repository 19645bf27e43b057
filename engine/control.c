#include "engine/control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "engine/mig.h"
#include "policy/policy_json.h"
#include "qmp/client.h"

/* ---- what is known of each migration ---- */

static bool is_uid(const char *uid)
{
    static const char fine[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
        "._-";
    const size_t n = strlen(uid);
    return n > 0 && n < CONTROL_UID_MAX && strspn(uid, fine) == n;
}

/* Where in a list; -1: it is not. */
static int place_of(const json_t *list, const char *uid)
{
    size_t i;
    json_t *m;
    json_array_foreach (list, i, m) {
        const char *its = json_string_value(json_object_get(m, "uid"));
        if (its && strcmp(its, uid) == 0)
            return (int)i;
    }
    return -1;
}

/* Borrowed; NULL when there is none. */
static json_t *find(const struct control *c, const char *uid)
{
    const int i = place_of(c->migrations, uid);
    return i < 0 ? NULL : json_array_get(c->migrations, (size_t)i);
}

/* QEMU's own form ("qemu" with three numbers), since stock clients read it; the package says whose
 * numbers they are. */
static json_t *version_of(const char *version)
{
    json_int_t part[3] = {0, 0, 0};
    char package[CONTROL_NAME_MAX];
    const char *at = version;
    for (unsigned i = 0; i < 3 && at; i++) {
        for (; *at >= '0' && *at <= '9' && part[i] < 100000; at++)
            part[i] = part[i] * 10 + (*at - '0');
        at = *at == '.' ? at + 1 : NULL;
    }
    (void)snprintf(package, sizeof(package), "qferry-%s", version);
    return json_pack("{s:{s:I,s:I,s:I},s:s}", "qemu", "major", part[0], "minor", part[1],
                     "micro", part[2], "package", package);
}

int control_init(struct control *c,
                 const char *version,
                 const struct control_ops *ops,
                 void *arg,
                 struct qf_err *err)
{
    *c = (struct control){.migrations = json_array(),
                          .networks = json_array(),
                          .version = version_of(version),
                          .ops = ops,
                          .arg = arg};
    if (c->migrations && c->networks && c->version)
        return 0;
    control_fini(c);
    return qf_fail(err, QF_E_NOMEM, "no memory for a control socket");
}

void control_fini(struct control *c)
{
    json_decref(c->migrations);
    json_decref(c->networks);
    json_decref(c->version);
    *c = (struct control){.migrations = NULL};
}

/* What people typed may not be UTF-8. */
static json_t *text(const char *s)
{
    json_t *v = json_string(s);
    return v ? v : json_string("(not UTF-8)");
}

int control_add(struct control *c,
                const char *uid,
                const struct mig_spec *spec,
                const char *policy,
                struct qf_err *err)
{
    if (!is_uid(uid))
        return qf_fail(err, QF_E_USAGE,
                       "'%.80s' is not a uid: at most %d letters, digits, '.', '_' and '-'",
                       uid, CONTROL_UID_MAX - 1);
    if (find(c, uid))
        return qf_fail(err, QF_E_USAGE, "the uid %s is in use", uid);
    json_t *m =
        json_pack("{s:s,s:s,s:s,s:n,s:n,s:n,s:o,s:o,s:o,s:o,s:n}", "uid", uid, "state",
                  "running", "phase", "connect", "start", "end", "reason", "source",
                  text(spec->source), "destination", text(spec->destination),
                  "target_address", text(spec->address), "policy", text(policy), "sample");
    if (!m || json_array_append_new(c->migrations, m) != 0)
        return qf_fail(err, QF_E_NOMEM, "no memory for one more migration");
    return 0;
}

static void copy(json_t *m, const char *key, const json_t *line, const char *from)
{
    json_t *v = json_object_get(line, from);
    if (v)
        (void)json_object_set(m, key, v);
}

static void update(json_t *m, const json_t *line, const char *type)
{
    if (json_is_null(json_object_get(m, "start"))) {
        copy(m, "start", line, "time");
        copy(m, "start_ns", line, "t_ns");
    }
    if (strcmp(type, "phase") == 0) {
        copy(m, "phase", line, "phase");
    } else if (strcmp(type, "network") == 0) {
        copy(m, "target_address", line, "address");
    } else if (strcmp(type, "sample") == 0) {
        (void)json_object_set(m, "sample", (json_t *)line);
    } else if (strcmp(type, "result") == 0) {
        copy(m, "state", line, "outcome");
        copy(m, "end", line, "time");
        copy(m, "reason", line, "reason");
    }
}

/* A later one takes its place: of another attempt. Without memory the old one stays. */
static void keep_network(struct control *c, const char *uid, json_t *line)
{
    const int i = place_of(c->networks, uid);
    if (i >= 0)
        (void)json_array_set(c->networks, (size_t)i, line);
    else
        (void)json_array_append(c->networks, line);
}

json_t *control_feed(struct control *c,
                     const char *uid,
                     const char *line,
                     size_t len,
                     char name[CONTROL_NAME_MAX])
{
    json_t *m = find(c, uid);
    json_t *o = m ? qmp_json_parse(line, len, NULL) : NULL;
    const char *type = json_string_value(json_object_get(o, "type"));
    json_t *id = json_string(uid);
    if (!type || !id || json_object_set(o, "uid", id) != 0) {
        json_decref(id);
        json_decref(o);
        return NULL;
    }
    json_decref(id);
    (void)snprintf(name, CONTROL_NAME_MAX, "MIGRATION_%s", type);
    for (char *p = name; *p; p++)
        if (*p >= 'a' && *p <= 'z')
            *p = (char)(*p - 'a' + 'A');
    update(m, o, type);
    if (strcmp(type, "network") == 0)
        keep_network(c, uid, o);
    return o;
}

/* ---- arguments ---- */

struct call {
    struct control *control;
    const json_t *args; /* an object, or NULL */
    json_t *value;      /* the answer */
    const char *error_class;
};

static int wrong(struct qf_err *err, const char *key, const char *expected)
{
    return qf_fail(err, QF_E_USAGE, "Invalid parameter type for '%.80s', expected: %s", key,
                   expected);
}

/* No arguments but uid, and that where it is allowed. */
static int check_args(const json_t *args, bool uid_too, struct qf_err *err)
{
    const char *key;
    json_t *v;
    json_object_foreach ((json_t *)args, key, v) {
        if (!uid_too || strcmp(key, "uid") != 0)
            return qf_fail(err, QF_E_USAGE, "Parameter '%.80s' is unexpected", key);
        if (!json_is_string(v))
            return wrong(err, key, "string");
    }
    return 0;
}

/* The migration that is meant; NULL with err. */
static const char *which(struct call *call, struct qf_err *err)
{
    const json_t *all = call->control->migrations;
    const json_t *given = json_object_get(call->args, "uid");
    const size_t n = json_array_size(all);
    if (given && !json_is_string(given)) {
        (void)wrong(err, "uid", "string");
        return NULL;
    }
    if (!given && n == 1)
        return json_string_value(json_object_get(json_array_get(all, 0), "uid"));
    if (!given && n > 1) {
        (void)qf_fail(err, QF_E_USAGE,
                      "Parameter 'uid' is missing: there are %zu migrations", n);
        return NULL;
    }
    const json_t *m = given ? find(call->control, json_string_value(given)) : NULL;
    if (m)
        return json_string_value(json_object_get(m, "uid"));
    call->error_class = "DeviceNotFound";
    if (given)
        (void)qf_fail(err, QF_E_USAGE, "there is no migration with the uid '%.80s'",
                      json_string_value(given));
    else
        (void)qf_fail(err, QF_E_USAGE, "there is no migration");
    return NULL;
}

/* "field=value" strings in one piece of memory. */
struct sets {
    struct operator_command cmd;
    char text[OPERATOR_SETS_MAX][CONTROL_SET_MAX];
};

static int add_value(struct sets *s, const char *name, const json_t *v, struct qf_err *err)
{
    char number[64];
    const char *value = json_string_value(v);
    if (strchr(name, '='))
        return qf_fail(err, QF_E_USAGE, "Parameter '%.80s' is unexpected", name);
    if (json_is_boolean(v)) {
        value = json_is_true(v) ? "true" : "false";
    } else if (json_is_integer(v)) {
        (void)snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT,
                       json_integer_value(v));
        value = number;
    } else if (json_is_real(v)) { /* not printf: its decimal point depends on the locale */
        const size_t n = json_dumpb(v, number, sizeof(number) - 1,
                                    JSON_ENCODE_ANY | JSON_REAL_PRECISION(12));
        number[n < sizeof(number) ? n : 0] = '\0';
        value = number;
    }
    if (!value)
        return wrong(err, name, "string, number or boolean");
    if (s->cmd.n == OPERATOR_SETS_MAX)
        return qf_fail(err, QF_E_USAGE, "more than %d fields", OPERATOR_SETS_MAX);
    char *out = s->text[s->cmd.n];
    const int n = snprintf(out, CONTROL_SET_MAX, "%s=%s", name, value);
    if (n < 0 || n >= CONTROL_SET_MAX)
        return qf_fail(err, QF_E_USAGE, "%.80s: the value is too long", name);
    s->cmd.set[s->cmd.n++] = out;
    return 0;
}

/* Fields with dots, or in groups as in a policy file. */
static int add_fields(struct sets *s, const json_t *fields, bool top, struct qf_err *err)
{
    const char *key;
    json_t *v;
    json_object_foreach ((json_t *)fields, key, v) {
        int rc = 0;
        const char *inner;
        json_t *item;
        if (top && (strcmp(key, "uid") == 0 || strcmp(key, "fields") == 0))
            continue;
        if (!json_is_object(v)) {
            rc = add_value(s, key, v, err);
        } else {
            json_object_foreach (v, inner, item) {
                char name[CONTROL_SET_MAX];
                if (snprintf(name, sizeof(name), "%s.%s", key, inner) >= (int)sizeof(name))
                    return qf_fail(err, QF_E_USAGE, "%.80s: unknown field", key);
                rc = add_value(s, name, item, err);
                if (rc != 0)
                    return rc;
            }
        }
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* ---- commands ---- */

static int hand_over(struct call *call,
                     const struct operator_command *c,
                     struct qf_err *err)
{
    const char *uid = which(call, err);
    if (!uid)
        return -(int)QF_E_USAGE;
    struct qf_err why = {.code = QF_E_REFUSED, .text = "refused"};
    const int rc = call->control->ops->on_operator(uid, c, call->control->arg, &why);
    if (rc == 0)
        return 0;
    if (why.code == QF_E_REFUSED)
        call->error_class = "DeviceNotActive";
    return qf_fail(err, why.code, "%s", why.text);
}

static int simple(struct call *call, enum mig_operator_kind kind, struct qf_err *err)
{
    const struct operator_command c = {.kind = kind};
    const int rc = check_args(call->args, true, err);
    return rc != 0 ? rc : hand_over(call, &c, err);
}

static int migration_cancel(struct call *call, struct qf_err *err)
{
    return simple(call, MIG_OPERATOR_CANCEL, err);
}

static int migration_postcopy(struct call *call, struct qf_err *err)
{
    return simple(call, MIG_OPERATOR_POSTCOPY, err);
}

static int migration_pause(struct call *call, struct qf_err *err)
{
    return simple(call, MIG_OPERATOR_PAUSE, err);
}

static int migration_set(struct call *call, struct qf_err *err)
{
    struct sets *s = calloc(1, sizeof(*s));
    const json_t *fields = json_object_get(call->args, "fields");
    if (!s)
        return qf_fail(err, QF_E_NOMEM, "no memory");
    s->cmd.kind = MIG_OPERATOR_SET;
    int rc = fields && !json_is_object(fields) ? wrong(err, "fields", "object") : 0;
    if (rc == 0)
        rc = add_fields(s, call->args, true, err);
    if (rc == 0)
        rc = add_fields(s, fields, false, err);
    if (rc == 0)
        rc = hand_over(call, &s->cmd, err);
    free(s);
    return rc;
}

/* Of all migrations, or of the one that is named: a list in any case. */
static int query_list(struct call *call, json_t *list, struct qf_err *err)
{
    const int rc = check_args(call->args, true, err);
    if (rc != 0)
        return rc;
    if (!json_object_get(call->args, "uid")) {
        call->value = json_incref(list);
        return 0;
    }
    const char *uid = which(call, err);
    if (!uid)
        return -(int)QF_E_USAGE;
    const int i = place_of(list, uid);
    call->value = i < 0 ? json_array() : json_pack("[O]", json_array_get(list, (size_t)i));
    return call->value ? 0 : qf_fail(err, QF_E_NOMEM, "no memory");
}

static int query_migrations(struct call *call, struct qf_err *err)
{
    return query_list(call, call->control->migrations, err);
}

static int query_networks(struct call *call, struct qf_err *err)
{
    return query_list(call, call->control->networks, err);
}

static int query_policies(struct call *call, struct qf_err *err)
{
    int rc = check_args(call->args, false, err);
    if (rc != 0)
        return rc;
    call->value = json_array();
    for (size_t i = 0; rc == 0 && i < policy_preset_count(); i++) {
        struct policy p;
        rc = policy_preset_load(policy_preset_name(i), &p, err);
        if (rc == 0 && json_array_append_new(
                           call->value, json_pack("{s:s,s:s,s:b,s:o}", "name", p.name,
                                                  "description", p.description, "default",
                                                  i == 0, "policy", policy_dump(&p))) != 0)
            rc = qf_fail(err, QF_E_NOMEM, "no memory");
    }
    return rc;
}

static int query_version(struct call *call, struct qf_err *err)
{
    const int rc = check_args(call->args, false, err);
    if (rc == 0)
        call->value = json_incref(call->control->version);
    return rc;
}

static int query_commands(struct call *call, struct qf_err *err);

static const struct {
    const char *name;
    int (*run)(struct call *call, struct qf_err *err);
} commands[] = {
    {"query-migrations", query_migrations},     {"migration-cancel", migration_cancel},
    {"migration-postcopy", migration_postcopy}, {"migration-pause", migration_pause},
    {"migration-set", migration_set},           {"query-policies", query_policies},
    {"query-networks", query_networks},         {"query-version", query_version},
    {"query-commands", query_commands},
};
enum { N_COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static int query_commands(struct call *call, struct qf_err *err)
{
    int rc = check_args(call->args, false, err);
    if (rc != 0)
        return rc;
    call->value = json_pack("[{s:s}]", "name", "qmp_capabilities");
    for (size_t i = 0; rc == 0 && i < N_COMMANDS; i++)
        rc = json_array_append_new(call->value,
                                   json_pack("{s:s}", "name", commands[i].name));
    return rc == 0 ? 0 : qf_fail(err, QF_E_NOMEM, "no memory");
}

int control_execute(struct control *c,
                    const struct qmp_command *cmd,
                    json_t **value,
                    const char **error_class,
                    struct qf_err *err)
{
    struct call call = {.control = c, .args = cmd->args, .error_class = "GenericError"};
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(commands[i].name, cmd->name) != 0)
            continue;
        const int rc = commands[i].run(&call, err);
        if (rc == 0) {
            *value = call.value;
            return 0;
        }
        json_decref(call.value);
        *error_class = call.error_class;
        return rc;
    }
    *error_class = "CommandNotFound";
    return qf_fail(err, QF_E_USAGE, "The command %.80s has not been found", cmd->name);
}

#include "tests/fake/schema.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/err.h"

enum { PATH_MAX_BYTES = 128 };

struct schema {
    json_t *by_name; /* owned: entities */
};

/* One value that is looked at. */
struct at {
    const struct schema *schema;
    char path[PATH_MAX_BYTES]; /* "capabilities[0].state" */
    const char *name;          /* its last part; NULL for an element of an array */
    struct schema_fault *fault;
};

static bool check_value(const struct at *at, const char *type_name, json_t *v);

/* ---- loading ---- */

struct schema *schema_new(json_t *entities)
{
    size_t i;
    json_t *e;
    struct schema *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->by_name = json_object();
    json_array_foreach (entities, i, e) {
        const char *name = json_string_value(json_object_get(e, "name"));
        if (!name || json_object_set(s->by_name, name, e) != 0)
            break;
    }
    if (i == 0 || i < json_array_size(entities)) {
        schema_free(s);
        return NULL;
    }
    return s;
}

struct schema *schema_load(const char *path)
{
    json_t *whole = json_load_file(path, 0, NULL);
    struct schema *s = schema_new(json_object_get(whole, "return"));
    json_decref(whole);
    return s;
}

void schema_free(struct schema *s)
{
    if (s)
        json_decref(s->by_name);
    free(s);
}

/* ---- looking up ---- */

static const char *text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static const json_t *entity(const struct schema *s, const char *name)
{
    return json_object_get(s->by_name, name);
}

static bool is_meta(const json_t *e, const char *meta)
{
    return strcmp(text(e, "meta-type"), meta) == 0;
}

static const json_t *find(const json_t *list, const char *key, const char *value)
{
    size_t i;
    const json_t *e;
    json_array_foreach (list, i, e)
        if (strcmp(text(e, key), value) == 0)
            return e;
    return NULL;
}

/* ---- refusing ---- */

static bool refuse(struct schema_fault *f, const char *error_class, const char *fmt, ...)
    QF_PRINTF(3, 4);

static bool refuse(struct schema_fault *f, const char *error_class, const char *fmt, ...)
{
    va_list ap;
    f->error_class = error_class;
    va_start(ap, fmt);
    (void)vsnprintf(f->desc, sizeof(f->desc), fmt, ap);
    va_end(ap);
    return false;
}

static bool refuse_type(const struct at *at, const char *expected)
{
    return refuse(at->fault, "GenericError",
                  "Invalid parameter type for '%s', expected: %s", at->path, expected);
}

static struct at below(const struct at *at, const char *name)
{
    struct at b = {.schema = at->schema, .name = name, .fault = at->fault};
    (void)snprintf(b.path, sizeof(b.path), "%s%s%s", at->path, at->path[0] ? "." : "",
                   name);
    return b;
}

static struct at element(const struct at *at, size_t i)
{
    struct at b = {.schema = at->schema, .fault = at->fault};
    (void)snprintf(b.path, sizeof(b.path), "%s[%zu]", at->path, i);
    return b;
}

/* ---- types ---- */

/* json-type of a builtin, "array", "object", "string" for an enum; "" for an alternate. */
static const char *name_of_json(const json_t *type)
{
    if (is_meta(type, "builtin"))
        return text(type, "json-type");
    return is_meta(type, "array")    ? "array"
           : is_meta(type, "object") ? "object"
           : is_meta(type, "enum")   ? "string"
                                     : "";
}

/* As qmp/client.h says: an integer that jansson cannot hold arrives as a string of its digits. */
static bool is_large(json_t *v)
{
    const char *s = json_string_value(v);
    return s && strlen(s) >= 19 && strspn(s, "0123456789") == strlen(s);
}

static bool is_of(const char *json, json_t *v)
{
    return strcmp(json, "value") == 0     ? true
           : strcmp(json, "string") == 0  ? json_is_string(v)
           : strcmp(json, "boolean") == 0 ? json_is_boolean(v)
           : strcmp(json, "null") == 0    ? json_is_null(v)
           : strcmp(json, "int") == 0     ? json_is_integer(v) || is_large(v)
           : strcmp(json, "number") == 0  ? json_is_number(v) || is_large(v)
           : strcmp(json, "array") == 0   ? json_is_array(v)
           : strcmp(json, "object") == 0  ? json_is_object(v)
                                          : false;
}

static bool check_enum(const struct at *at, const json_t *type, json_t *v)
{
    size_t i;
    const json_t *known;
    if (!json_is_string(v))
        return refuse_type(at, "string");
    json_array_foreach (json_object_get(type, "values"), i, known)
        if (json_equal(known, v))
            return true;
    return refuse(at->fault, "GenericError", "Parameter '%s' does not accept value '%s'",
                  at->name ? at->name : "null", json_string_value(v));
}

static bool check_array(const struct at *at, const json_t *type, json_t *v)
{
    size_t i;
    json_t *e;
    if (!json_is_array(v))
        return refuse_type(at, "array");
    json_array_foreach (v, i, e) {
        const struct at b = element(at, i);
        if (!check_value(&b, text(type, "element-type"), e))
            return false;
    }
    return true;
}

/* The alternative that takes this JSON type: at most one does. */
static bool check_alternate(const struct at *at, const json_t *type, json_t *v)
{
    size_t i;
    const json_t *m;
    json_array_foreach (json_object_get(type, "members"), i, m)
        if (is_of(name_of_json(entity(at->schema, text(m, "type"))), v))
            return check_value(at, text(m, "type"), v);
    return refuse_type(at, "alternate");
}

static bool check_members(const struct at *at, const json_t *members, json_t *v)
{
    size_t i;
    const json_t *m;
    json_array_foreach (members, i, m) {
        const struct at b = below(at, text(m, "name"));
        json_t *value = json_object_get(v, text(m, "name"));
        if (!value && !json_object_get(m, "default"))
            return refuse(at->fault, "GenericError", "Parameter '%s' is missing", b.path);
        if (value && !check_value(&b, text(m, "type"), value))
            return false;
    }
    return true;
}

/* First what must be and may be there, in the schema's order; then what may not. */
static bool check_object(const struct at *at, const json_t *type, json_t *v)
{
    const char *key;
    json_t *value;
    if (!json_is_object(v))
        return refuse_type(at, "object");
    if (!check_members(at, json_object_get(type, "members"), v))
        return false;
    const json_t *variant =
        find(json_object_get(type, "variants"), "case", text(v, text(type, "tag")));
    const json_t *more = entity(at->schema, text(variant, "type"));
    if (!check_members(at, json_object_get(more, "members"), v))
        return false;
    json_object_foreach (v, key, value) {
        const struct at b = below(at, key);
        if (!find(json_object_get(type, "members"), "name", key) &&
            !find(json_object_get(more, "members"), "name", key))
            return refuse(at->fault, "GenericError", "Parameter '%s' is unexpected",
                          b.path);
    }
    return true;
}

static bool check_value(const struct at *at, const char *type_name, json_t *v)
{
    const json_t *type = entity(at->schema, type_name);
    if (is_meta(type, "object"))
        return check_object(at, type, v);
    if (is_meta(type, "array"))
        return check_array(at, type, v);
    if (is_meta(type, "enum"))
        return check_enum(at, type, v);
    if (is_meta(type, "alternate"))
        return check_alternate(at, type, v);
    const char *json = text(type, "json-type");
    return is_of(json, v) || refuse_type(at, strcmp(json, "int") == 0 ? "integer" : json);
}

/* ---- commands ---- */

static const json_t *find_command(const struct schema *s, const char *name)
{
    const json_t *c = entity(s, name);
    return is_meta(c, "command") ? c : NULL;
}

bool schema_check(const struct schema *s,
                  const char *command,
                  json_t *args,
                  bool oob,
                  struct schema_fault *fault)
{
    const json_t *c = find_command(s, command);
    if (!c)
        return refuse(fault, "CommandNotFound", "The command %s has not been found",
                      command);
    if (oob && !json_is_true(json_object_get(c, "allow-oob")))
        return refuse(fault, "GenericError", "The command %s does not support OOB",
                      command);
    json_t *none = args ? NULL : json_object();
    const struct at at = {.schema = s, .fault = fault};
    const bool fine = check_object(&at, entity(s, text(c, "arg-type")), args ? args : none);
    json_decref(none);
    return fine;
}

json_t *schema_members(const struct schema *s, const char *command)
{
    const json_t *c = find_command(s, command);
    return c ? json_object_get(entity(s, text(c, "arg-type")), "members") : NULL;
}

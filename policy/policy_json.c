/* The JSON form of a policy. Reading goes member by member: each is looked up by its full dotted
 * name in `fields`, so that a file may nest ({"downtime": {"max": ...}}) or not
 * ({"downtime.max": ...}), and --set uses the same table. jansson does not say where in the text
 * a value stood; fault_line does, and only when something is wrong. */
#include "policy/policy_json.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/fault.h"
#include "engine/base/units.h"
#include "policy/fields.h"
#include "policy/labels.h"
#include "policy/presets.h"
#include "policy/steps.h"

static const struct policy defaults = {
    .downtime_start_ms = 100,
    .downtime_max_ms = 500,
    .throttle_initial_percent = 20,
    .throttle_increment_percent = 10,
    .throttle_max_percent = 80,
    .stop_max_ms = 5000,
    .progress_timeout_ms = 150000,
    .on_timeout = POLICY_ON_TIMEOUT_ABORT,
};

/* --- contradictions --- */

static int check_downtime(const struct fault_source *src, const struct policy *p)
{
    char a[FAULT_WORD_SIZE];
    char b[FAULT_WORD_SIZE];
    if (p->downtime_max_ms < 1 || p->downtime_max_ms > POLICY_DOWNTIME_MAX_MS)
        return fault_report(src, "downtime.max",
                            "%s is outside of what QEMU takes; write 1ms to 2000s",
                            qf_format_ms(p->downtime_max_ms, a, sizeof(a)));
    if (p->downtime_start_ms < 1)
        return fault_report(src, "downtime.start", "0 never finishes; write 1ms or more");
    if (p->downtime_start_ms > p->downtime_max_ms)
        return fault_report(src, "downtime.start",
                            "%s is above downtime.max, which is %s; lower it or raise "
                            "downtime.max",
                            qf_format_ms(p->downtime_start_ms, a, sizeof(a)),
                            qf_format_ms(p->downtime_max_ms, b, sizeof(b)));
    return 0;
}

/* Which permission does the action need, and is it missing? NULL = it may. */
static const char *missing_permission(const struct policy *p, enum policy_action action)
{
    if (action == POLICY_THROTTLE && !p->throttle_allowed)
        return "throttle.allowed";
    if (action == POLICY_POSTCOPY && !p->postcopy_allowed)
        return "postcopy.allowed";
    if (action == POLICY_PAUSE && !p->stop_allowed)
        return "stop.allowed";
    return NULL;
}

/* Pacing, steps and goals belong together. */
static int check_pacing(const struct fault_source *src, const struct policy *p)
{
    const char *goal = p->finish_within_ms > 0       ? "finish-within"
                       : p->slowdown_max_percent > 0 ? "slowdown-max"
                                                     : NULL;
    if (p->pacing == POLICY_PACING_FORECAST && p->n_steps > 0)
        return fault_report(src, "pacing",
                            "forecast decides by itself, but there are steps; drop them or "
                            "write \"schedule\"");
    if (p->pacing == POLICY_PACING_SCHEDULE && goal)
        return fault_report(
            src, goal,
            "a goal, but pacing is schedule, whose steps do not look at it; "
            "drop the steps and write pacing \"forecast\", or drop the goal");
    if (p->pacing == POLICY_PACING_FORECAST && p->throttle_from_start)
        return fault_report(src, "throttle.from-start",
                            "true, but pacing is forecast, which decides itself when to "
                            "throttle; drop it or write pacing \"schedule\"");
    if (p->slowdown_max_percent > 0 && !p->throttle_allowed)
        return fault_report(
            src, "slowdown-max",
            "%u, but throttle.allowed is false, so the guest is never slowed "
            "down; set that to true first or drop the goal",
            p->slowdown_max_percent);
    return 0;
}

static int check_step(const struct fault_source *src, const struct policy *p, size_t i)
{
    char name[FAULT_NAME_SIZE];
    char a[FAULT_WORD_SIZE];
    char b[FAULT_WORD_SIZE];
    const struct policy_step *step = &p->steps[i];
    (void)snprintf(name, sizeof(name), "steps[%zu].action", i);
    const char *missing = missing_permission(p, step->action);
    if (missing)
        return fault_report(src, name,
                            "%s, but %s is false; set it to true or drop the step",
                            policy_action_name(step->action), missing);
    if (step->trigger.before_start && step->action != POLICY_PAUSE)
        return fault_report(src, name, "before-start knows no action but \"pause\"");
    if (step->action == POLICY_SET_DOWNTIME && step->value_ms > p->downtime_max_ms)
        return fault_report(src, name,
                            "%s is above downtime.max, which is %s; raise that or "
                            "write a percentage",
                            qf_format_ms(step->value_ms, a, sizeof(a)),
                            qf_format_ms(p->downtime_max_ms, b, sizeof(b)));
    return 0;
}

/* The fields by themselves are good; do they agree? Steps are checked in files only: a single
 * field that is overridden may well make a step pointless, which is then passed over. */
static int check(const struct fault_source *src, const struct policy *p, bool steps_too)
{
    int rc = check_downtime(src, p);
    if (rc == 0)
        rc = check_pacing(src, p);
    if (rc != 0)
        return rc;
    if (p->throttle_initial_percent > p->throttle_max_percent)
        return fault_report(src, "throttle.initial",
                            "%u is above throttle.max, which is %u; lower it or raise "
                            "throttle.max",
                            p->throttle_initial_percent, p->throttle_max_percent);
    if (p->on_timeout == POLICY_ON_TIMEOUT_POSTCOPY && !p->postcopy_allowed)
        return fault_report(
            src, "on-timeout",
            "postcopy, but postcopy.allowed is false; set that to true first");
    if (p->on_timeout == POLICY_ON_TIMEOUT_STOP && !p->stop_allowed)
        return fault_report(src, "on-timeout",
                            "stop, but stop.allowed is false; set that to true first");
    for (size_t i = 0; steps_too && i < p->n_steps && rc == 0; i++)
        rc = check_step(src, p, i);
    return rc;
}

static uint64_t field_bit(const struct field *f)
{
    return UINT64_C(1) << (f - fields);
}

/* One member whose full name is `name`. seen: a bit for each field, since a file may give one
 * both ways, nested and with a dot. */
static int load_member(const struct fault_source *src,
                       const char *name,
                       const json_t *value,
                       struct policy *p,
                       uint64_t *seen)
{
    const struct field *f = field_find(name);
    if (!f)
        return field_unknown(src, name);
    if (*seen & field_bit(f))
        return fault_report(src, name, "given twice; drop one of them");
    *seen |= field_bit(f);
    return field_put(src, f, value, p);
}

static int load_group(const struct fault_source *src,
                      const char *group,
                      const json_t *value,
                      struct policy *p,
                      uint64_t *seen)
{
    char word[FAULT_WORD_SIZE];
    char name[FAULT_NAME_SIZE];
    const char *key;
    json_t *item;
    if (!json_is_object(value))
        return fault_report(src, group, "%s is not a group of fields; write {\"%s\": ...}",
                            fault_show(value, word), field_of_group(group));
    json_object_foreach ((json_t *)value, key, item) {
        const int rc = load_member(src, fault_join(group, key, name), item, p, seen);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* "my" for "/etc/qferry/my.json" */
static void name_after(const char *origin, char *name, size_t size)
{
    const char *slash = strrchr(origin, '/');
    const char *base = slash ? slash + 1 : origin;
    size_t n = strlen(base);
    if (n > 5 && strcmp(base + n - 5, ".json") == 0)
        n -= 5;
    if (n >= size)
        n = size - 1;
    memcpy(name, base, n);
    name[n] = '\0';
    fault_one_line(name);
}

static int load_root(const struct fault_source *src,
                     const json_t *root,
                     bool steps_too,
                     struct policy *p)
{
    char word[FAULT_WORD_SIZE];
    const char *key;
    json_t *item;
    uint64_t seen = 0;
    if (!json_is_object(root))
        return fault_report(src, "", "%s is not a policy; write an object in braces",
                            fault_show(root, word));
    json_object_foreach ((json_t *)root, key, item) {
        int rc = 0;
        if (strcmp(key, "steps") == 0)
            rc = steps_load(src, item, p);
        else if (strcmp(key, "selectors") == 0)
            rc = selectors_load(src, item, NULL); /* whom it is for is select.h's matter */
        else if (field_of_group(key))
            rc = load_group(src, key, item, p, &seen);
        else
            rc = load_member(src, key, item, p, &seen);
        if (rc != 0)
            return rc;
    }
    if (!(seen & field_bit(field_find("pacing"))))
        p->pacing = p->n_steps > 0 ? POLICY_PACING_SCHEDULE : POLICY_PACING_FORECAST;
    return check(src, p, steps_too);
}

static int load(const char *origin,
                const char *text,
                size_t len,
                bool steps_too,
                struct policy *p,
                struct qf_err *err)
{
    const struct fault_source src = {
        .origin = origin, .text = text, .len = len, .err = err};
    if (len > POLICY_FILE_MAX)
        return qf_fail(err, QF_E_USAGE, "%s:1: %zu bytes; a policy has at most %d", origin,
                       len, POLICY_FILE_MAX);
    json_t *root;
    int rc = fault_parse(&src, &root);
    if (rc != 0)
        return rc;
    struct policy loaded = defaults;
    name_after(origin, loaded.name, sizeof(loaded.name));
    rc = load_root(&src, root, steps_too, &loaded);
    json_decref(root);
    if (rc == 0)
        *p = loaded;
    return rc;
}

int policy_load(
    const char *origin, const char *text, size_t len, struct policy *p, struct qf_err *err)
{
    return load(origin, text, len, true, p, err);
}

int policy_restore(
    const char *origin, const char *text, size_t len, struct policy *p, struct qf_err *err)
{
    return load(origin, text, len, false, p, err);
}

/* A bound that is lowered takes along what it bounds; see policy_json.h. */
static void follow(struct policy *p, const char *name)
{
    if (strcmp(name, "downtime.max") == 0 && p->downtime_start_ms > p->downtime_max_ms)
        p->downtime_start_ms = p->downtime_max_ms;
    if (strcmp(name, "throttle.max") == 0 &&
        p->throttle_initial_percent > p->throttle_max_percent)
        p->throttle_initial_percent = p->throttle_max_percent;
    if (strcmp(name, "throttle.allowed") == 0 && !p->throttle_allowed)
        p->slowdown_max_percent = 0;
    if (strcmp(name, "postcopy.allowed") == 0 && !p->postcopy_allowed &&
        p->on_timeout == POLICY_ON_TIMEOUT_POSTCOPY)
        p->on_timeout = POLICY_ON_TIMEOUT_ABORT;
    if (strcmp(name, "stop.allowed") == 0 && !p->stop_allowed &&
        p->on_timeout == POLICY_ON_TIMEOUT_STOP)
        p->on_timeout = POLICY_ON_TIMEOUT_ABORT;
}

int policy_set(struct policy *p, const char *assignment, struct qf_err *err)
{
    const struct fault_source src = {.err = err};
    char name[FAULT_NAME_SIZE];
    const char *equals = strchr(assignment, '=');
    const size_t n = equals ? (size_t)(equals - assignment) : 0;
    if (n == 0 || n >= sizeof(name))
        return fault_report(&src, "--set",
                            "\"%.40s\" is not FIELD=VALUE; write downtime.max=300ms",
                            assignment);
    memcpy(name, assignment, n);
    name[n] = '\0';
    if (strcmp(name, "name") == 0)
        return fault_report(
            &src, name,
            "cannot be set: it says which policy this was; write a policy file");
    if (strcmp(name, "steps") == 0 || strncmp(name, "steps[", 6) == 0)
        return fault_report(&src, name, "cannot be set one by one; write a policy file");
    if (strcmp(name, "selectors") == 0 || strncmp(name, "selectors.", 10) == 0)
        return fault_report(&src, name,
                            "cannot be set: it says whom a policy file is for; write a "
                            "policy file");
    const struct field *f = field_find(name);
    if (!f && field_of_group(name))
        return fault_report(&src, name, "a group; set one of its fields, such as %s.%s",
                            name, field_of_group(name));
    if (!f)
        return field_unknown(&src, name);
    json_t *value = json_string(equals + 1); /* new */
    if (!value)
        return fault_report(&src, name, "not UTF-8");
    struct policy changed = *p;
    int rc = field_put(&src, f, value, &changed);
    json_decref(value);
    if (rc != 0)
        return rc;
    follow(&changed, name);
    rc = check(&src, &changed, false);
    if (rc == 0)
        *p = changed;
    return rc;
}

/* --- back to JSON --- */

/* Into the object of its group, which is made when its first field comes. */
static int dump_into(json_t *root, const struct policy *p, const struct field *f)
{
    char group[FAULT_NAME_SIZE];
    const char *dot = strchr(f->name, '.');
    if (!dot)
        return json_object_set_new(root, f->name, field_dump(f, p));
    (void)snprintf(group, sizeof(group), "%.*s", (int)(dot - f->name), f->name);
    if (!json_object_get(root, group) &&
        json_object_set_new(root, group, json_object()) != 0)
        return -1;
    return json_object_set_new(json_object_get(root, group), dot + 1, field_dump(f, p));
}

json_t *policy_dump(const struct policy *p)
{
    json_t *root = json_object();
    int rc = root ? 0 : -1;
    for (size_t i = 0; i < fields_count && rc == 0; i++)
        rc = dump_into(root, p, &fields[i]);
    if (rc == 0)
        rc = json_object_set_new(root, "steps", steps_dump(p));
    if (rc == 0)
        return root;
    json_decref(root);
    return NULL;
}

/* --- built-in policies --- */

size_t policy_preset_count(void)
{
    return policy_presets_count;
}

const char *policy_preset_name(size_t i)
{
    return i < policy_presets_count ? policy_presets[i].name : NULL;
}

const char *policy_preset_text(size_t i)
{
    return i < policy_presets_count ? policy_presets[i].text : NULL;
}

int policy_preset_load(const char *name, struct policy *p, struct qf_err *err)
{
    char all[QF_ERR_TEXT / 2] = "";
    size_t n = 0;
    for (size_t i = 0; i < policy_presets_count; i++) {
        const struct policy_preset *preset = &policy_presets[i];
        if (strcmp(preset->name, name) == 0)
            return policy_load(name, preset->text, strlen(preset->text), p, err);
        if (n < sizeof(all))
            n += (size_t)snprintf(all + n, sizeof(all) - n, "%s%s", i ? ", " : "",
                                  preset->name);
    }
    char shown[FAULT_NAME_SIZE];
    (void)snprintf(shown, sizeof(shown), "%.80s", name);
    fault_one_line(shown);
    return qf_fail(err, QF_E_USAGE, "%s: no such policy; there are %s", shown, all);
}

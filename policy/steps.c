#include "policy/steps.h"

#include <stdio.h>
#include <string.h>

#include "policy/fields.h"

static const char *const step_fields[] = {"trigger", "action", "repeat", "also-stopped",
                                          NULL};
static const char *const needed_fields[] = {"trigger", "action", NULL};
static const char *const trigger_fields[] = {
    "before-start",           "passes",  "stalled-passes",  "qemu-passes",
    "remaining-rises",        "elapsed", "elapsed-per-gib", "timeouts",
    "implied-downtime-below", NULL};
static const char *const value_actions[] = {"set-downtime", "set-bandwidth", NULL};
static const char *const word_actions[] = {"throttle", "postcopy", "pause", "abort", NULL};

/* --- from JSON --- */

/* "12.5%" in permille; false when it is not that. */
static bool parse_permille(const char *text, uint32_t *out)
{
    const size_t len = strlen(text);
    if (len < 2 || text[len - 1] != '%')
        return false;
    const char *dot = memchr(text, '.', len);
    const size_t whole_len = dot ? (size_t)(dot - text) : len - 1;
    uint32_t whole = 0;
    uint32_t tenth = 0;
    if (whole_len > 3 || !field_parse_count(text, whole_len, &whole))
        return false;
    if (dot && (len - 2 - whole_len != 1 || !field_parse_count(dot + 1, 1, &tenth)))
        return false;
    *out = whole * 10 + tenth;
    return true;
}

static int count(const struct fault_source *src,
                 const char *name,
                 const char *of,
                 const json_t *value,
                 uint32_t *out)
{
    char word[FAULT_WORD_SIZE];
    const json_int_t n = json_integer_value(value);
    if (!json_is_integer(value) || n < 1 || n > 1000000)
        return fault_report(src, name, "%s is not a number of %s, 1 or more",
                            fault_show(value, word), of);
    *out = (uint32_t)n;
    return 0;
}

static int positive_duration(const struct fault_source *src,
                             const char *name,
                             const json_t *value,
                             uint64_t *out)
{
    const int rc = field_duration(src, name, value, out);
    if (rc == 0 && *out == 0)
        return fault_report(src, name, "0 is no time at all; write 1ms or more");
    return rc;
}

static int put_trigger(const struct fault_source *src,
                       const char *name,
                       const char *key,
                       const json_t *value,
                       struct policy_trigger *t)
{
    if (strcmp(key, "before-start") == 0)
        return field_boolean(src, name, value, &t->before_start);
    if (strcmp(key, "passes") == 0)
        return count(src, name, "passes", value, &t->passes);
    if (strcmp(key, "stalled-passes") == 0)
        return count(src, name, "passes", value, &t->stalled_passes);
    if (strcmp(key, "qemu-passes") == 0)
        return count(src, name, "passes", value, &t->qemu_passes);
    if (strcmp(key, "remaining-rises") == 0)
        return count(src, name, "rises", value, &t->remaining_rises);
    if (strcmp(key, "timeouts") == 0)
        return count(src, name, "times", value, &t->timeouts);
    if (strcmp(key, "elapsed-per-gib") == 0)
        return positive_duration(src, name, value, &t->elapsed_per_gib_ms);
    if (strcmp(key, "elapsed") == 0)
        return positive_duration(src, name, value, &t->elapsed_ms);
    if (strcmp(key, "implied-downtime-below") != 0)
        return fault_unknown(src, name, key, trigger_fields);
    if (json_is_string(value) && strcmp(json_string_value(value), "stop.max") == 0) {
        t->implied_downtime_below_stop_max = true;
        return 0;
    }
    return positive_duration(src, name, value, &t->implied_downtime_below_ms);
}

static int load_trigger(const struct fault_source *src,
                        const char *name,
                        const json_t *value,
                        struct policy_trigger *t)
{
    char word[FAULT_WORD_SIZE];
    char member[FAULT_NAME_SIZE];
    const char *key;
    json_t *item;
    if (!json_is_object(value))
        return fault_report(src, name, "%s is not a trigger; write {\"stalled-passes\": 3}",
                            fault_show(value, word));
    json_object_foreach ((json_t *)value, key, item) {
        const int rc = put_trigger(src, fault_join(name, key, member), key, item, t);
        if (rc != 0)
            return rc;
    }
    const bool running = t->passes > 0 || t->stalled_passes > 0 || t->elapsed_ms > 0 ||
                         t->implied_downtime_below_ms > 0 || t->qemu_passes > 0 ||
                         t->remaining_rises > 0 || t->elapsed_per_gib_ms > 0 ||
                         t->timeouts > 0 || t->implied_downtime_below_stop_max;
    if (t->before_start && running)
        return fault_report(src, name,
                            "before-start never holds together with the others; "
                            "write it alone");
    if (!t->before_start && !running)
        return fault_report(src, name,
                            "says nothing; write {\"stalled-passes\": 3} or another");
    return 0;
}

static int set_downtime(const struct fault_source *src,
                        const char *name,
                        const json_t *value,
                        struct policy_step *step)
{
    char word[FAULT_WORD_SIZE];
    const char *text = json_string_value(value);
    if (text && text[0] == 'x') {
        if (!field_parse_count(text + 1, strlen(text + 1), &step->value_times) ||
            step->value_times < 2 || step->value_times > 1000)
            return fault_report(src, name,
                                "%s is not a multiple of the limit in force; write \"x2\"",
                                fault_show(value, word));
        return 0;
    }
    if (!text || !strchr(text, '%'))
        return positive_duration(src, name, value, &step->value_ms);
    if (!parse_permille(text, &step->value_permille) || step->value_permille < 1 ||
        step->value_permille > 1000)
        return fault_report(src, name,
                            "%s is not a part of downtime.max; write at most \"100%%\"",
                            fault_show(value, word));
    return 0;
}

/* An action that stands for itself. */
static int word_action(const struct fault_source *src,
                       const char *name,
                       const json_t *value,
                       struct policy_step *step)
{
    char word[FAULT_WORD_SIZE];
    char all[FAULT_LIST_SIZE];
    const char *text = json_string_value(value);
    for (int i = POLICY_THROTTLE; i <= POLICY_ABORT; i++)
        if (strcmp(text, policy_action_name((enum policy_action)i)) == 0) {
            step->action = (enum policy_action)i;
            return 0;
        }
    for (size_t i = 0; value_actions[i]; i++)
        if (strcmp(text, value_actions[i]) == 0)
            return fault_report(src, name, "%s needs a value; write {\"%s\": ...}", text,
                                text);
    const char *hint = fault_nearest(text, word_actions);
    if (hint)
        return fault_report(src, name, "%s is not an action; did you mean \"%s\"?",
                            fault_show(value, word), hint);
    return fault_report(
        src, name,
        "%s is not an action; there are %s, and with a value set-downtime, set-bandwidth",
        fault_show(value, word), fault_list(word_actions, all));
}

static int load_action(const struct fault_source *src,
                       const char *name,
                       const json_t *value,
                       struct policy_step *step)
{
    char word[FAULT_WORD_SIZE];
    char member[FAULT_NAME_SIZE];
    if (json_is_string(value))
        return word_action(src, name, value, step);
    if (!json_is_object(value) || json_object_size(value) != 1)
        return fault_report(
            src, name,
            "%s is not one action; write \"postcopy\" or {\"set-downtime\": \"60%%\"}",
            json_is_object(value) ? "an object without exactly one member"
                                  : fault_show(value, word));
    void *it = json_object_iter((json_t *)value);
    const char *key = json_object_iter_key(it);
    const json_t *item = json_object_iter_value(it);
    fault_join(name, key, member);
    if (strcmp(key, "set-downtime") == 0) {
        step->action = POLICY_SET_DOWNTIME;
        return set_downtime(src, member, item, step);
    }
    if (strcmp(key, "set-bandwidth") == 0) {
        step->action = POLICY_SET_BANDWIDTH;
        const int rc = field_rate(src, member, item, &step->value_bytes_per_s);
        if (rc == 0 && step->value_bytes_per_s == 0)
            return fault_report(src, member, "0 is no bandwidth at all; write 1 or more");
        return rc;
    }
    for (size_t i = 0; word_actions[i]; i++)
        if (strcmp(key, word_actions[i]) == 0)
            return fault_report(src, member, "takes no value; write \"%s\" alone", key);
    return fault_unknown(src, member, key, value_actions);
}

static int load_step(const struct fault_source *src,
                     const char *name,
                     const json_t *value,
                     struct policy_step *step)
{
    char word[FAULT_WORD_SIZE];
    char member[FAULT_NAME_SIZE];
    const char *key;
    json_t *item;
    if (!json_is_object(value))
        return fault_report(src, name,
                            "%s is not a step; write {\"trigger\": ..., \"action\": ...}",
                            fault_show(value, word));
    json_object_foreach ((json_t *)value, key, item) {
        int rc = 0;
        fault_join(name, key, member);
        if (strcmp(key, "trigger") == 0)
            rc = load_trigger(src, member, item, &step->trigger);
        else if (strcmp(key, "action") == 0)
            rc = load_action(src, member, item, step);
        else if (strcmp(key, "repeat") == 0)
            rc = field_boolean(src, member, item, &step->repeat);
        else if (strcmp(key, "also-stopped") == 0)
            rc = field_boolean(src, member, item, &step->also_stopped);
        else
            rc = fault_unknown(src, member, key, step_fields);
        if (rc != 0)
            return rc;
    }
    for (size_t i = 0; needed_fields[i]; i++)
        if (!json_object_get(value, needed_fields[i]))
            return fault_report(src, name,
                                "has no %s; write {\"trigger\": ..., \"action\": ...}",
                                needed_fields[i]);
    if (step->repeat && step->trigger.remaining_rises == 0)
        return fault_report(src, fault_join(name, "repeat", member),
                            "needs the trigger remaining-rises, which then begins anew");
    return 0;
}

int steps_load(const struct fault_source *src, const json_t *value, struct policy *p)
{
    char word[FAULT_WORD_SIZE];
    char name[FAULT_NAME_SIZE];
    if (!json_is_array(value))
        return fault_report(src, "steps",
                            "%s is not a list; write [{\"trigger\": ..., \"action\": ...}]",
                            fault_show(value, word));
    const size_t n = json_array_size(value);
    if (n > POLICY_STEPS_MAX)
        return fault_report(src, "steps", "%zu steps; write at most %d", n,
                            POLICY_STEPS_MAX);
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(name, sizeof(name), "steps[%zu]", i);
        const int rc = load_step(src, name, json_array_get(value, i), &p->steps[i]);
        if (rc != 0)
            return rc;
    }
    p->n_steps = (uint32_t)n;
    return 0;
}

/* --- to JSON --- */

static json_t *dump_permille(uint32_t n)
{
    char word[FAULT_WORD_SIZE];
    if (n % 10 == 0)
        (void)snprintf(word, sizeof(word), "%u%%", n / 10);
    else
        (void)snprintf(word, sizeof(word), "%u.%u%%", n / 10, n % 10);
    return json_string(word);
}

static json_t *dump_downtime(const struct policy_step *step)
{
    char word[FAULT_WORD_SIZE];
    if (step->value_permille > 0)
        return dump_permille(step->value_permille);
    if (step->value_times == 0)
        return field_dump_duration(step->value_ms);
    (void)snprintf(word, sizeof(word), "x%u", step->value_times);
    return json_string(word);
}

static json_t *dump_action(const struct policy_step *step)
{
    const char *name = policy_action_name(step->action);
    if (step->action == POLICY_SET_DOWNTIME)
        return json_pack("{s:o}", name, dump_downtime(step));
    if (step->action == POLICY_SET_BANDWIDTH)
        return json_pack("{s:o}", name, field_dump_rate(step->value_bytes_per_s));
    return json_string(name);
}

static json_t *dump_trigger(const struct policy_trigger *t)
{
    json_t *o = json_object();
    int rc = o ? 0 : -1;
    if (t->before_start)
        rc |= json_object_set_new(o, "before-start", json_true());
    if (t->passes > 0)
        rc |= json_object_set_new(o, "passes", json_integer(t->passes));
    if (t->stalled_passes > 0)
        rc |= json_object_set_new(o, "stalled-passes", json_integer(t->stalled_passes));
    if (t->qemu_passes > 0)
        rc |= json_object_set_new(o, "qemu-passes", json_integer(t->qemu_passes));
    if (t->remaining_rises > 0)
        rc |= json_object_set_new(o, "remaining-rises", json_integer(t->remaining_rises));
    if (t->elapsed_per_gib_ms > 0)
        rc |= json_object_set_new(o, "elapsed-per-gib",
                                  field_dump_duration(t->elapsed_per_gib_ms));
    if (t->timeouts > 0)
        rc |= json_object_set_new(o, "timeouts", json_integer(t->timeouts));
    if (t->elapsed_ms > 0)
        rc |= json_object_set_new(o, "elapsed", field_dump_duration(t->elapsed_ms));
    if (t->implied_downtime_below_stop_max)
        rc |= json_object_set_new(o, "implied-downtime-below", json_string("stop.max"));
    else if (t->implied_downtime_below_ms > 0)
        rc |= json_object_set_new(o, "implied-downtime-below",
                                  field_dump_duration(t->implied_downtime_below_ms));
    if (rc == 0)
        return o;
    json_decref(o);
    return NULL;
}

static json_t *dump_step(const struct policy_step *step)
{
    json_t *o = json_pack("{s:o, s:o}", "trigger", dump_trigger(&step->trigger), "action",
                          dump_action(step));
    int rc = o ? 0 : -1;
    if (rc == 0 && step->repeat)
        rc |= json_object_set_new(o, "repeat", json_true());
    if (rc == 0 && step->also_stopped)
        rc |= json_object_set_new(o, "also-stopped", json_true());
    if (rc == 0)
        return o;
    json_decref(o);
    return NULL;
}

json_t *steps_dump(const struct policy *p)
{
    json_t *list = json_array();
    for (uint32_t i = 0; list && i < p->n_steps; i++)
        if (json_array_append_new(list, dump_step(&p->steps[i])) != 0) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

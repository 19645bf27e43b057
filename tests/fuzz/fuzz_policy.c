/* Any text as a policy: it is refused in one line, or it is a policy that writes back to itself
 * and decides without harm on samples made of the same bytes. */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/fault.h"
#include "engine/base/units.h"
#include "policy/policy_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds)
        abort();
}

/* is_set: fields were overridden, so that it may have steps that it does not allow. */
static void writes_back(const struct policy *p, bool is_set)
{
    struct policy again;
    struct qf_err err;
    json_t *json = policy_dump(p);
    must(json != NULL);
    char *text = json_dumps(json, 0);
    must(text && (is_set ? policy_restore : policy_load)("again", text, strlen(text),
                                                         &again, &err) == 0);
    json_t *second = policy_dump(&again);
    must(second && json_equal(json, second));
    free(text);
    json_decref(json);
    json_decref(second);
}

/* Deterministic samples from the bytes; time never goes backwards. */
static void decides(const struct policy *p, const uint8_t *data, size_t size)
{
    struct policy_run run;
    struct policy_decision d;
    struct policy_sample s = {.started = size % 7 != 0, .downtime_limit_ms = 100};
    policy_run_init(&run);
    for (size_t i = 0; i + 2 < size && i < 600; i += 3) {
        s.t_ns += qf_ms_to_ns((uint64_t)data[i] * 100);
        s.elapsed_ns = s.started ? s.t_ns : 0;
        s.pass += data[i + 1] & 3;
        s.total_bytes = QF_GIB;
        s.remaining_bytes = (uint64_t)data[i + 2] << (data[i + 1] >> 3);
        s.transferred_bytes += (uint64_t)data[i] * 1000000;
        policy_decide(p, &run, &s, &d);
        must(d.because[0] != '\0' && d.rule && d.wake_ns > s.t_ns);
        must(d.action != POLICY_SET_DOWNTIME ||
             (d.value > s.downtime_limit_ms && d.value <= p->downtime_max_ms));
        must(d.action != POLICY_POSTCOPY || p->postcopy_allowed);
        must(d.action != POLICY_PAUSE || p->stop_allowed);
        must(d.action != POLICY_THROTTLE || p->throttle_allowed);
        if (d.action == POLICY_SET_DOWNTIME)
            s.downtime_limit_ms = d.value;
        else if (d.action == POLICY_PAUSE)
            s.guest_stopped = data[i] & 1;
        else if (d.action == POLICY_POSTCOPY)
            policy_refused(&run, POLICY_POSTCOPY);
        s.started = true;
    }
}

/* The whole input as one --set, over each built-in policy. */
static void sets(const char *text, size_t size, const char *preset)
{
    char assignment[200];
    struct policy p;
    struct qf_err err = {.text = ""};
    if (size >= sizeof(assignment))
        return;
    must(policy_preset_load(preset, &p, &err) == 0);
    memcpy(assignment, text, size);
    assignment[size] = '\0';
    if (policy_set(&p, assignment, &err) == 0)
        writes_back(&p, true);
    else
        must(err.text[0] != '\0' && !strchr(err.text, '\n'));
}

static void one_line(void *arg, const char *warning)
{
    (*(size_t *)arg)++;
    must(strncmp(warning, "fuzz.json:", 10) == 0 && !strchr(warning, '\n'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t warnings = 0;
    struct policy p;
    struct qf_err err = {.text = ""};
    json_object_seed(1); /* the same run for the same input */
    /* A copy that ends where the text ends, so that reading on is seen. */
    char *text = malloc(size > 0 ? size : 1);
    must(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    if (policy_load("fuzz.json", text, size, &p, &err) == 0) {
        writes_back(&p, false);
        decides(&p, data, size);
        must(policy_check_warnings("fuzz.json", text, size, one_line, &warnings) ==
             warnings);
    } else {
        must(strncmp(err.text, "fuzz.json:", 10) == 0 && !strchr(err.text, '\n'));
        json_t *utf8 = json_string(err.text);
        must(utf8 != NULL);
        json_decref(utf8);
    }
    (void)fault_line(text, size, "steps[2].trigger.passes");
    const size_t presets = size > 0 && memchr(text, '=', size) ? policy_preset_count() : 1;
    for (size_t i = 0; i < presets; i++)
        sets(text, size, policy_preset_name(i));
    free(text);
    return 0;
}

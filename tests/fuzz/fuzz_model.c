/* Any text as a MODEL, or as a journal to simulate from: it is refused in one line, or it is run
 * to its end, twice the same, whatever its numbers are. */
#include "fuzz.h"

#include <string.h>

#include "engine/curve.h"
#include "policy/model_json.h"
#include "policy/policy_json.h"
#include "policy/simulate.h"

/* A fraction of a day is enough to see nothing break; a run over it all takes a second. */
enum { STEPS_MAX = 2000 };

static void one_line(const struct qf_err *err)
{
    MUST(err->text[0] != '\0' && !strchr(err->text, '\n'));
}

static void sane(const struct policy_model *m)
{
    for (uint32_t i = 0; i < m->spec->guest.n_sets; i++) {
        MUST(m->pending[i] >= 0 && m->pending[i] <= 1);
        MUST(m->written[i] >= 0 && m->written[i] <= 1);
    }
    MUST(m->cold_pending >= 0 && m->cold_pending <= 1);
    MUST(m->wire >= 0 && m->bandwidth >= 0 && m->throttle_percent <= 99);
}

static void steps(const struct policy_model_spec *spec)
{
    const struct policy_model_options options = {
        .downtime_limit_ms = 100,
        .bandwidth_bytes_per_s = POLICY_UNKNOWN,
        .auto_converge = true,
        .postcopy = true,
    };
    static struct policy_model m;
    int64_t last_ns = 0;
    policy_model_init(&m, spec, &options, 1);
    policy_model_throttle(&m, 20, 10, 80);
    for (int i = 0; i < STEPS_MAX; i++) {
        struct policy_sample s;
        if (i == STEPS_MAX / 2)
            policy_model_postcopy(&m);
        const enum policy_model_event event = policy_model_step(&m, m.now_ns + 200000000);
        MUST(m.now_ns >= last_ns);
        last_ns = m.now_ns;
        sane(&m);
        policy_model_sample(&m, 0, &s);
        if (event == POLICY_MODEL_ENDED)
            return;
    }
}

static void model(const char *text, size_t size)
{
    static struct policy_model_spec spec;
    struct qf_err err = {.text = ""};
    if (policy_model_load("fuzz.json", text, size, &spec, &err) == 0)
        steps(&spec);
    else
        one_line(&err);
}

static void journal(const char *text, size_t size)
{
    static struct simulate sim;
    static struct curve_outcome a;
    static struct curve_outcome b;
    struct curve c;
    struct policy p;
    struct qf_err err = {.text = ""};
    (void)curve_is_journal(text, size);
    if (curve_load(&c, text, size, &err) != 0) {
        one_line(&err);
        return;
    }
    MUST(policy_preset_load("post-copy", &p, &err) == 0);
    p.timeout_ms = 120000;
    curve_simulate(&c, &p, 1, NULL, NULL, &sim, &a);
    curve_simulate(&c, &p, 1, NULL, NULL, &sim, &b);
    MUST(a.as_recorded == b.as_recorded && a.until_ms == b.until_ms);
    MUST(a.result.total_ms == b.result.total_ms && a.result.outcome == b.result.outcome);
    curve_fini(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* A copy that ends where the text ends, so that reading on is seen. */
    char *text = malloc(size > 0 ? size : 1);
    MUST(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    model(text, size);
    journal(text, size);
    free(text);
    return 0;
}

/* Samples are taken as engine/phase_precopy.c takes them: at each pass event, between passes
 * after a quarter of the time that what is left would take (50 to 1000 ms), and when the policy
 * asked to be woken. */
#include "policy/simulate.h"

#include <stdio.h>

#include "engine/base/units.h"

enum {
    SAMPLE_MIN_MS = 50,
    SAMPLE_MAX_MS = 1000,
    SAMPLE_FIRST_MS = 100, /* until a bandwidth is known */
    MEASURE_MS = 3000,     /* a second, until it is heard, and the gap */
    FORECAST_WALKS = 2
};

const char *simulate_outcome_name(enum simulate_outcome o)
{
    switch (o) {
#define SIMULATE_OUTCOME_NAME(id, name) \
    case SIMULATE_##id:                 \
        return name;
        SIMULATE_OUTCOMES(SIMULATE_OUTCOME_NAME)
#undef SIMULATE_OUTCOME_NAME
    }
    return "?";
}

const char *simulate_mode_name(enum simulate_mode mode)
{
    switch (mode) {
#define SIMULATE_MODE_NAME(id, name) \
    case SIMULATE_MODE_##id:         \
        return name;
        SIMULATE_MODES(SIMULATE_MODE_NAME)
#undef SIMULATE_MODE_NAME
    }
    return "?";
}

static bool is_costly(enum policy_action action)
{
    switch (action) {
    case POLICY_THROTTLE:
    case POLICY_POSTCOPY:
    case POLICY_PAUSE:
    case POLICY_ABORT:
        return true;
    case POLICY_WAIT:
    case POLICY_SET_DOWNTIME:
    case POLICY_SET_BANDWIDTH:
    case POLICY_RECOVER:
    case POLICY_CONTINUE:
        return false;
    }
    return false;
}

static void count(struct simulate *sim,
                  const struct policy_sample *s,
                  const struct policy_decision *d)
{
    struct simulate_result *r = &sim->result;
    const uint64_t now_ms = (uint64_t)(s->elapsed_ns / QF_NS_PER_MS);
    const uint64_t walks = policy_trend_complete(&sim->run.trend);
    if (d->new_pass && walks == FORECAST_WALKS && d->forecast.known && !r->forecast.known) {
        r->forecast = d->forecast;
        r->forecast_ms = now_ms;
    }
    if (d->action == POLICY_WAIT)
        return;
    r->decisions++;
    (void)snprintf(r->reason, sizeof(r->reason), "%s", d->because);
    if (r->costly || !is_costly(d->action))
        return;
    r->costly = true;
    r->costly_action = d->action;
    r->costly_ms = now_ms;
    r->costly_walks = walks;
}

void simulate_carry_out(struct simulate *sim,
                        const struct policy_sample *s,
                        const struct policy_decision *d)
{
    const struct policy *p = sim->policy;
    struct policy_model *m = &sim->model;
    count(sim, s, d);
    switch (d->action) {
    case POLICY_WAIT:
        break;
    case POLICY_SET_DOWNTIME:
        policy_model_set_downtime(m, d->value);
        break;
    case POLICY_SET_BANDWIDTH:
        policy_model_set_bandwidth(m, d->value);
        break;
    case POLICY_THROTTLE:
        policy_model_throttle(m,
                              d->throttle_first_percent > 0 ? d->throttle_first_percent
                                                            : p->throttle_initial_percent,
                              p->throttle_increment_percent, (uint32_t)d->value);
        break;
    case POLICY_POSTCOPY:
        policy_model_postcopy(m);
        if (!m->postcopy_asked)
            policy_refused(&sim->run, POLICY_POSTCOPY);
        break;
    case POLICY_PAUSE:
        policy_model_stop_guest(m);
        break;
    case POLICY_ABORT:
        sim->aborted = true;
        break;
    case POLICY_RECOVER:
    case POLICY_CONTINUE:
        break;
    }
}

static void tell(const struct simulate *sim,
                 const struct policy_sample *s,
                 const struct policy_decision *d)
{
    if (sim->ops && sim->ops->on_decision)
        sim->ops->on_decision(sim->arg, s, d);
}

void simulate_hold_throttle(struct policy_model *m, const struct policy *p)
{
    const uint32_t initial = p->throttle_initial_percent;
    if (policy_throttles_from_start(p))
        policy_model_throttle(m, initial, p->throttle_increment_percent,
                              p->throttle_max_percent);
    else
        policy_model_throttle(m, 1, initial > 1 ? initial - 1 : 1, 1);
}

void simulate_init(struct simulate *sim,
                   const struct policy *policy,
                   const struct policy_model_spec *spec,
                   uint64_t seed,
                   const struct simulate_ops *ops,
                   void *arg)
{
    const struct policy_model_options options = {
        .downtime_limit_ms = policy->downtime_start_ms,
        .bandwidth_bytes_per_s = policy->bandwidth_bytes_per_s > 0
                                     ? policy->bandwidth_bytes_per_s
                                     : POLICY_UNKNOWN,
        .postcopy_bandwidth_bytes_per_s = policy->postcopy_bandwidth_bytes_per_s,
        .auto_converge = policy->throttle_allowed,
        .postcopy = policy->postcopy_allowed,
    };
    *sim = (struct simulate){.policy = policy, .ops = ops, .arg = arg};
    sim->t0_ns = qf_ms_to_ns(SIMULATE_T0_MS);
    policy_run_init(&sim->run);
    const struct policy_sample s = {.t_ns = sim->t0_ns};
    struct policy_decision d;
    policy_decide(policy, &sim->run, &s, &d);
    policy_model_init(&sim->model, spec, &options, seed);
    simulate_hold_throttle(&sim->model, policy);
    sim->stopped_first = d.action == POLICY_PAUSE;
    tell(sim, &s, &d);
    simulate_carry_out(sim, &s, &d);
}

static uint64_t next_sample_ms(const struct policy_trend *t)
{
    const uint64_t left = policy_trend_time_left_ms(t);
    if (left == POLICY_UNKNOWN)
        return SAMPLE_FIRST_MS;
    const uint64_t ms = left / 4;
    return ms < SAMPLE_MIN_MS ? SAMPLE_MIN_MS : ms > SAMPLE_MAX_MS ? SAMPLE_MAX_MS : ms;
}

/* As engine/mig_rhythm.c does. */
static void measure(struct simulate *sim, struct policy_sample *s)
{
    if (sim->policy->pacing == POLICY_PACING_FORECAST &&
        s->elapsed_ns - sim->measured_ns >= MEASURE_MS * QF_NS_PER_MS) {
        sim->measures++;
        sim->measured_ns = s->elapsed_ns;
        sim->measured_bytes_per_s = policy_model_measure(&sim->model);
    }
    s->measures = sim->measures;
    s->measured_bytes_per_s = sim->measured_bytes_per_s;
}

/* Ask the policy; returns when to ask again, since `migrate`. */
static int64_t sample(struct simulate *sim)
{
    struct policy_sample s;
    struct policy_decision d;
    const int64_t now_ns = sim->model.now_ns;
    policy_model_sample(&sim->model, sim->t0_ns, &s);
    measure(sim, &s);
    policy_decide(sim->policy, &sim->run, &s, &d);
    tell(sim, &s, &d);
    simulate_carry_out(sim, &s, &d);
    const int64_t again_ns = now_ns + qf_ms_to_ns(next_sample_ms(&sim->run.trend));
    const int64_t wake_ns = d.wake_ns == INT64_MAX ? INT64_MAX : d.wake_ns - sim->t0_ns;
    return wake_ns > now_ns && wake_ns < again_ns ? wake_ns : again_ns;
}

static void conclude(struct simulate *sim)
{
    const struct policy_model *m = &sim->model;
    struct simulate_result *r = &sim->result;
    r->outcome = sim->aborted                         ? SIMULATE_ABORTED
                 : m->stage == POLICY_MODEL_COMPLETED ? SIMULATE_COMPLETED
                 : m->stage == POLICY_MODEL_LOST      ? SIMULATE_LOST
                                                      : SIMULATE_UNFINISHED;
    r->mode = m->postcopy_ns > 0   ? SIMULATE_MODE_POSTCOPY
              : sim->stopped_first ? SIMULATE_MODE_STOP
                                   : SIMULATE_MODE_PRECOPY;
    r->total_ms = (uint64_t)(m->now_ns / QF_NS_PER_MS);
    r->downtime_ms = (uint64_t)(m->downtime_ns / QF_NS_PER_MS);
    r->blackout_ms = (uint64_t)(m->blackout_ns / QF_NS_PER_MS);
    if (sim->aborted && m->stopped) /* stopped for nothing */
        r->blackout_ms = (uint64_t)((m->now_ns - m->stopped_ns) / QF_NS_PER_MS);
    r->transferred_bytes = (uint64_t)m->wire;
    r->passes = m->passes;
    r->walks = policy_trend_complete(&sim->run.trend);
    r->throttle_percent_ms = (uint64_t)(m->throttle_percent_ns / 1e6);
    r->postcopy_ms = (uint64_t)(m->postcopy_time_ns / QF_NS_PER_MS);
    r->degraded_ms = (uint64_t)(m->degraded_ns / 1e6);
}

void simulate_run(struct simulate *sim)
{
    const int64_t cap_ns = qf_ms_to_ns(SIMULATE_CAP_MS);
    int64_t wake_ns = sim->model.now_ns + qf_ms_to_ns(SAMPLE_FIRST_MS);
    while (!sim->aborted && sim->model.now_ns < cap_ns) {
        const enum policy_model_event event = policy_model_step(&sim->model, wake_ns);
        if (event == POLICY_MODEL_ENDED)
            break;
        /* In setup the counters are empty; after the switch there is nothing to decide, but the
         * samples are told. */
        wake_ns = sim->model.stage == POLICY_MODEL_SETUP
                      ? sim->model.now_ns + qf_ms_to_ns(SAMPLE_FIRST_MS)
                      : sample(sim);
    }
    conclude(sim);
}

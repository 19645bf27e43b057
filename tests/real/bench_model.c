/* Runs in virtual time. */
#include <stdio.h>
#include <string.h>

#include "bench_policies.h"
#include "policy/simulate.h"

enum { CAP_TIMES = 60, CAP_LEAST_MS = 3600 * 1000 };

static void note_rule(void *arg,
                      const struct policy_sample *s,
                      const struct policy_decision *d)
{
    struct bench_run *out = arg;

    (void)s;
    if (d->action != POLICY_WAIT)
        snprintf(out->rule, sizeof(out->rule), "%s", d->rule);
    if (d->action == POLICY_THROTTLE || d->action == POLICY_POSTCOPY ||
        d->action == POLICY_PAUSE || d->action == POLICY_ABORT)
        snprintf(out->last_costly, sizeof(out->last_costly), "%s",
                 policy_action_name(d->action));
}

static enum bench_end end_of(enum simulate_outcome o)
{
    switch (o) {
    case SIMULATE_COMPLETED:
        return BENCH_COMPLETED;
    case SIMULATE_ABORTED:
        return BENCH_GAVE_UP;
    case SIMULATE_LOST:
        return BENCH_LOST;
    case SIMULATE_UNFINISHED:
        return BENCH_TOO_LONG;
    }
    return BENCH_LOST;
}

/* A policy that never gives up is given so long; what goes on for longer will not end. */
static uint64_t cap_ms(const struct bench_guest *g)
{
    const uint64_t times_ms = (uint64_t)(CAP_TIMES * g->once_ms);

    return times_ms > CAP_LEAST_MS ? times_ms : CAP_LEAST_MS;
}

void bench_model_run(const struct bench_guest *g,
                     const struct policy *p,
                     uint64_t seed,
                     struct bench_run *out)
{
    static const struct simulate_ops ops = {.on_decision = note_rule};
    static struct simulate sim;
    const struct simulate_result *r = &sim.result;
    const bool for_ever = p->timeout_ms == 0 && p->timeout_per_gib_ms == 0;
    struct policy capped = *p;

    *out = (struct bench_run){0};
    if (for_ever) {
        capped.timeout_ms = cap_ms(g);
        capped.on_timeout = POLICY_ON_TIMEOUT_ABORT;
    }
    simulate_init(&sim, &capped, &g->spec, seed, &ops, out);
    simulate_run(&sim);
    out->end = end_of(r->outcome);
    if (for_ever && strcmp(out->rule, "timeout") == 0) {
        out->end = BENCH_TOO_LONG;
        out->rule[0] = '\0';
    }
    snprintf(out->mode, sizeof(out->mode), "%s", simulate_mode_name(r->mode));
    snprintf(out->reason, sizeof(out->reason), "%s", r->reason);
    out->total_ms = (double)r->total_ms;
    out->blackout_ms = (double)r->blackout_ms;
    out->bytes = (double)r->transferred_bytes;
    out->throttle_s = (double)r->throttle_percent_ms / 100 / 1000;
    out->passes = r->walks;
    out->costly =
        r->costly && !(out->end == BENCH_TOO_LONG && r->costly_action == POLICY_ABORT);
    if (out->costly) {
        snprintf(out->costly_action, sizeof(out->costly_action), "%s",
                 policy_action_name(r->costly_action));
        out->costly_ms = (double)r->costly_ms;
        out->costly_passes = r->costly_walks;
    }
    out->forecast = r->forecast.known;
    out->forecast_never = r->forecast.known && r->forecast.total_ms.best == POLICY_UNKNOWN;
    if (r->forecast.known && !out->forecast_never)
        out->forecast_ms = (double)r->forecast.total_ms.best;
}

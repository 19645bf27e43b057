/* The policy against the journal, for as long as it decides what was decided then, and the model from there
 * on. */
#include "engine/curve.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/units.h"
#include "engine/curve_priv.h"

static void describe(const struct policy_model_spec *spec,
                     bool known,
                     char *text,
                     size_t size)
{
    char a[32];
    char b[32];
    size_t n =
        (size_t)snprintf(text, size, "%s",
                         known ? "fitted to its pass boundaries:"
                               : "no pass ended, so nothing is known of what it writes");
    for (uint32_t i = 0; i < spec->guest.n_sets && n < size; i++) {
        const struct policy_model_set *set = &spec->guest.sets[i];
        n += (size_t)snprintf(text + n, size - n, "%s %s at %s/s", i > 0 ? " and" : "",
                              qf_format_bytes(set->bytes, a, sizeof(a)),
                              qf_format_bytes(set->writes_bytes_per_s, b, sizeof(b)));
    }
    if (n < size)
        (void)snprintf(text + n, size - n, "; link %s/s",
                       qf_format_bytes(spec->link.rate_bytes_per_s, a, sizeof(a)));
}

/* Where the migration stood at moment i. */
static struct policy_model_state state_at(const struct curve *c, size_t i)
{
    const struct policy_sample *s = &c->moments[i].s;
    struct policy_model_state state = {
        .now_ns = s->elapsed_ns,
        .passes = s->pass,
        .remaining_bytes = s->remaining_bytes,
        .transferred_bytes = s->transferred_bytes,
        .walked_bytes = s->walked_bytes == POLICY_UNKNOWN ? 0 : s->walked_bytes,
        .bandwidth_bytes_per_s = s->bandwidth_bytes_per_s,
        .dirty_bytes_per_s = s->dirty_bytes_per_s,
        .throttle_percent = s->throttle_percent,
        .guest_stopped = s->guest_stopped,
    };
    double before_ms = 0; /* guest time of the pass before this one */
    double ms = 0;
    for (size_t k = 1; k <= i; k++) {
        ms += curve_guest_ms(&c->moments[k - 1].s, &c->moments[k].s);
        if (c->moments[k].s.pass == c->moments[k - 1].s.pass)
            continue;
        before_ms = ms;
        ms = 0;
        state.synced_ns = c->moments[k].s.elapsed_ns;
    }
    state.written_ns = (int64_t)(before_ms * 1e6);
    return state;
}

/* "wait", "set-downtime 300" */
static const char *action_text(enum policy_action action, uint64_t value, char word[48])
{
    if (value == 0)
        return policy_action_name(action);
    (void)snprintf(word, 48, "%s %llu", policy_action_name(action),
                   (unsigned long long)value);
    return word;
}

static void differs(struct curve_outcome *out,
                    const struct curve_moment *m,
                    const struct policy_decision *d)
{
    char a[48];
    char b[48];
    (void)snprintf(
        out->because, sizeof(out->because), "recorded was %s, this policy says %s",
        action_text(m->action, m->value, a), action_text(d->action, d->value, b));
}

/* What this policy sets before `migrate` and the journal's did not, as far as the course of
 * moment i would not have been the same. A downtime limit matters from the end of the first pass
 * on. */
static bool began_otherwise(const struct curve *c,
                            const struct policy *p,
                            size_t i,
                            struct curve_outcome *out)
{
    char a[32];
    char b[32];
    if (p->bandwidth_bytes_per_s != c->policy.bandwidth_bytes_per_s) {
        (void)snprintf(out->because, sizeof(out->because),
                       "another bandwidth from the start");
        return true;
    }
    if (c->moments[i].s.pass > 1 && p->downtime_start_ms != c->policy.downtime_start_ms) {
        (void)snprintf(out->because, sizeof(out->because),
                       "recorded began with a downtime limit of %s, this policy with %s",
                       qf_format_ms(c->policy.downtime_start_ms, a, sizeof(a)),
                       qf_format_ms(p->downtime_start_ms, b, sizeof(b)));
        return true;
    }
    return false;
}

/* The model takes over at moment i, on which the policy decided d; its downtime limit was limit_ms. */
static void take_over(const struct curve *c,
                      const struct policy *p,
                      size_t i,
                      uint64_t limit_ms,
                      const struct policy_decision *d,
                      struct simulate *sim,
                      struct curve_outcome *out)
{
    const struct policy_sample *s = &c->moments[i].s;
    struct policy_model_spec *spec = &out->spec;
    const struct policy_model_state state = state_at(c, i);
    const struct policy_model_options options = {
        .downtime_limit_ms = limit_ms,
        .bandwidth_bytes_per_s = 0, /* the recorded rate has it in it */
        .postcopy_bandwidth_bytes_per_s = p->postcopy_bandwidth_bytes_per_s,
        .auto_converge = p->throttle_allowed,
        .postcopy = p->postcopy_allowed,
        .guest_stopped = s->guest_stopped,
    };
    const bool known = curve_fit(c, s->elapsed_ns, spec);
    describe(spec, known, out->guest, sizeof(out->guest));
    policy_model_init(&sim->model, spec, &options, sim->model.random);
    simulate_hold_throttle(&sim->model, p);
    if (s->throttle_percent > 1)
        policy_model_throttle(&sim->model, s->throttle_percent,
                              p->throttle_increment_percent, p->throttle_max_percent);
    policy_model_adopt(&sim->model, &state);
    sim->t0_ns = s->t_ns - s->elapsed_ns;
    simulate_carry_out(sim, s, d);
    simulate_run(sim);
    out->until_ms = (uint64_t)(s->elapsed_ns / QF_NS_PER_MS);
    out->result = sim->result;
}

static enum simulate_outcome outcome_of(const char *name)
{
    if (strcmp(name, "completed") == 0)
        return SIMULATE_COMPLETED;
    if (strcmp(name, "lost") == 0)
        return SIMULATE_LOST;
    return strcmp(name, "") == 0 ? SIMULATE_UNFINISHED : SIMULATE_ABORTED;
}

static uint64_t known(uint64_t n)
{
    return n == POLICY_UNKNOWN ? 0 : n;
}

/* The journal's own end. */
static void as_recorded(const struct curve *c,
                        struct simulate *sim,
                        struct curve_outcome *out)
{
    const struct policy_sample *last = &c->moments[c->n - 1].s;
    struct simulate_result *r = &sim->result;
    const uint64_t last_ms = (uint64_t)(last->elapsed_ns / QF_NS_PER_MS);
    r->outcome = outcome_of(c->end.outcome);
    r->mode = strcmp(c->end.mode, "postcopy") == 0        ? SIMULATE_MODE_POSTCOPY
              : strcmp(c->end.mode, "stop-and-copy") == 0 ? SIMULATE_MODE_STOP
                                                          : SIMULATE_MODE_PRECOPY;
    r->total_ms =
        c->end.known && c->end.total_ms != POLICY_UNKNOWN ? c->end.total_ms : last_ms;
    r->downtime_ms = c->end.known ? known(c->end.downtime_ms) : 0;
    r->blackout_ms = c->end.known ? known(c->end.blackout_ms) : 0;
    r->transferred_bytes = c->end.known && c->end.transferred_bytes != POLICY_UNKNOWN
                               ? c->end.transferred_bytes
                               : last->transferred_bytes;
    r->passes =
        c->end.known && c->end.passes != POLICY_UNKNOWN ? c->end.passes : last->pass;
    r->walks = policy_trend_complete(&sim->run.trend);
    for (size_t i = 1; i < c->n; i++)
        r->throttle_percent_ms +=
            (uint64_t)((c->moments[i].s.t_ns - c->moments[i - 1].s.t_ns) / QF_NS_PER_MS) *
            c->moments[i - 1].s.throttle_percent;
    if (r->reason[0] == '\0')
        (void)snprintf(r->reason, sizeof(r->reason), "%s", c->end.reason);
    out->as_recorded = true;
    out->until_ms = last_ms;
    out->result = *r;
}

/* The one question before `migrate`; true: answered otherwise than then, and the whole is
 * modelled. */
static bool start_differs(const struct curve *c,
                          const struct policy *p,
                          uint64_t seed,
                          const struct simulate_ops *ops,
                          void *arg,
                          struct simulate *sim,
                          struct curve_outcome *out)
{
    const bool known = curve_fit(c, 0, &out->spec);
    simulate_init(sim, p, &out->spec, seed, ops, arg);
    if (sim->stopped_first == c->stopped_first)
        return false;
    describe(&out->spec, known, out->guest, sizeof(out->guest));
    (void)snprintf(out->because, sizeof(out->because), "%s",
                   sim->stopped_first
                       ? "this policy stops the guest before memory moves"
                       : "recorded was a guest stopped before memory moved, this policy "
                         "lets it run");
    simulate_run(sim);
    out->result = sim->result;
    return true;
}

void curve_simulate(const struct curve *c,
                    const struct policy *p,
                    uint64_t seed,
                    const struct simulate_ops *ops,
                    void *arg,
                    struct simulate *sim,
                    struct curve_outcome *out)
{
    uint64_t limit_ms = p->downtime_start_ms;
    memset(out, 0, sizeof(*out));
    if (start_differs(c, p, seed, ops, arg, sim, out))
        return;
    for (size_t i = 0; i < c->n; i++) {
        const struct curve_moment *m = &c->moments[i];
        struct policy_sample s = m->s;
        struct policy_decision d;
        s.downtime_limit_ms = limit_ms;
        policy_decide(p, &sim->run, &s, &d);
        if (ops && ops->on_decision)
            ops->on_decision(arg, &s, &d);
        const bool other = d.action != m->action || d.value != m->value;
        if (other)
            differs(out, m, &d);
        if (other || began_otherwise(c, p, i, out)) {
            sim->model.random = seed;
            take_over(c, p, i, limit_ms, &d, sim, out);
            return;
        }
        if (d.action == POLICY_SET_DOWNTIME)
            limit_ms = d.value;
        simulate_carry_out(sim, &s, &d);
    }
    as_recorded(c, sim, out);
}

/* The tables: as text, and as JSON. */
#include <stdio.h>
#include <string.h>

#include "bench_policies.h"
#include "engine/base/units.h"

const char *bench_intent_name(enum bench_intent intent)
{
    static const char *const names[] = {
#define BENCH_INTENT_NAME(id, name) name,
        BENCH_INTENTS(BENCH_INTENT_NAME)
#undef BENCH_INTENT_NAME
    };
    return names[intent];
}

const char *bench_time(double ms, char out[32])
{
    if (ms < 1000)
        snprintf(out, 32, "%.0f ms", ms);
    else if (ms < 100 * 1000)
        snprintf(out, 32, "%.1f s", ms / 1000);
    else if (ms < 10000 * 1000.0)
        snprintf(out, 32, "%.0f s", ms / 1000);
    else
        snprintf(out, 32, "%.1f h", ms / 3600 / 1000);
    return out;
}

static const char *bytes(double n, char out[32])
{
    return qf_format_bytes((uint64_t)n, out, 32);
}

static const char *end_name(enum bench_end end)
{
    switch (end) {
    case BENCH_COMPLETED:
        return "completed";
    case BENCH_GAVE_UP:
        return "gave up";
    case BENCH_TOO_LONG:
        return "too long";
    case BENCH_LOST:
        return "lost";
    }
    return "?";
}

static const char *verdict_name(enum bench_verdict v)
{
    switch (v) {
    case BENCH_NO_VERDICT:
        return "nothing to compare with";
    case BENCH_RATIO:
        return "completed as a reference did";
    case BENCH_ALONE:
        return "no reference completed";
    case BENCH_BOTH_GAVE_UP:
        return "gave up as all references did";
    case BENCH_WORSE:
        return "a reference completed";
    }
    return "?";
}

/* ---- text ---- */

enum { CELL = 80 };

static const char *outcome_cell(const struct bench_entry *e,
                                const struct bench_summary *s,
                                char out[CELL])
{
    const struct bench_run *r = &e->runs[s->representative];
    size_t same = 0;

    for (size_t i = 0; i < e->n; i++)
        same += e->runs[i].end == r->end;
    if (same == e->n)
        snprintf(out, CELL, "%s", end_name(r->end));
    else
        snprintf(out, CELL, "%s %zu/%zu", end_name(r->end), same, e->n);
    return out;
}

static const char *total_cell(const struct bench_run *r, char out[CELL])
{
    char t[32];

    snprintf(out, CELL, "%s%s", r->end == BENCH_TOO_LONG ? "> " : "",
             bench_time(r->total_ms, t));
    return out;
}

static const char *costly_cell(const struct bench_run *r, char out[CELL])
{
    char t[32];

    if (r->costly)
        snprintf(out, CELL, "%s at %s, %llu pass%s", r->costly_action,
                 bench_time(r->costly_ms, t), (unsigned long long)r->costly_passes,
                 r->costly_passes == 1 ? "" : "es");
    else
        snprintf(out, CELL, "%s", r->throttle_s > 0.05 ? "(auto-converge)" : "-");
    return out;
}

static const char *forecast_cell(const struct bench_entry *e,
                                 const struct bench_run *r,
                                 char out[CELL])
{
    char t[32];

    if (e->contender->role != BENCH_OURS || !r->forecast)
        snprintf(out, CELL, "-");
    else if (r->forecast_never)
        snprintf(out, CELL, "never");
    else if (r->end != BENCH_COMPLETED)
        snprintf(out, CELL, "%s", bench_time(r->forecast_ms, t));
    else
        snprintf(out, CELL, "%s %+.0f %%", bench_time(r->forecast_ms, t),
                 (r->forecast_ms - r->total_ms) * 100 / r->total_ms);
    return out;
}

static const char *ratio_cell(const struct bench_entry *e,
                              const struct bench_summary *s,
                              char out[CELL])
{
    const struct bench_entry *against = s->ratio.against;

    if (e->contender->role != BENCH_OURS || e->contender->intent == BENCH_OTHER) {
        snprintf(out, CELL, "%s", e->contender->role == BENCH_TUNED ? "(not counted)" : "");
        return out;
    }
    switch (s->ratio.verdict) {
    case BENCH_NO_VERDICT:
        snprintf(out, CELL, "-");
        break;
    case BENCH_RATIO:
        snprintf(out, CELL, "%.2f (worst %.2f) of %s", s->ratio.value, s->worst,
                 against->contender->label);
        break;
    case BENCH_ALONE:
        snprintf(out, CELL, "no reference completed");
        break;
    case BENCH_BOTH_GAVE_UP:
        snprintf(out, CELL, "%s%.2f of %s, until it gives up",
                 s->ratio.value < 0.01 ? "< " : "",
                 s->ratio.value < 0.01 ? 0.01 : s->ratio.value, against->contender->label);
        break;
    case BENCH_WORSE:
        snprintf(out, CELL, "WORSE: %s completed", against->contender->label);
        break;
    }
    return out;
}

static void print_entry(const struct bench_case *c, const struct bench_entry *e)
{
    const struct bench_summary s = bench_summary_of(c, e);
    const struct bench_run *r = &e->runs[s.representative];
    char outcome[CELL];
    char total[CELL];
    char blackout[32];
    char sent[32];
    char costly[CELL];
    char forecast[CELL];
    char ratio[CELL];
    const char *indent = e->contender->role == BENCH_OURS ? "" : "  ";

    printf("%s%-*s %-14s %-13s %9s %9s %10s %10.1f  %-30s %-15s %s\n", indent,
           (int)(26 - strlen(indent)), e->contender->label, outcome_cell(e, &s, outcome),
           r->mode, total_cell(r, total), bench_time(r->blackout_ms, blackout),
           bytes(r->bytes, sent), r->throttle_s, costly_cell(r, costly),
           forecast_cell(e, r, forecast), ratio_cell(e, &s, ratio));
}

static size_t converging(const struct bench_entry *e)
{
    size_t n = 0;

    for (size_t i = 0; i < e->n; i++)
        n += bench_converges(e, i);
    return n;
}

static void print_waiting(const struct bench_case *c)
{
    const struct bench_entry *before = NULL;
    char limit[32];
    char time[32];

    for (size_t i = 0; i < c->n; i++) {
        const struct bench_entry *e = &c->entries[i];
        size_t n;

        if (!e->waiting ||
            (before && before->policy.downtime_max_ms == e->policy.downtime_max_ms))
            continue;
        before = e;
        n = converging(e);
        printf("  by waiting, downtime limit %s: ",
               bench_time((double)e->policy.downtime_max_ms, limit));
        if (n == 0)
            printf("does not converge\n");
        else if (n < e->n)
            printf("converges in %zu of %zu runs\n", n, e->n);
        else
            printf("converges, %s\n", bench_time(e->waiting[0].total_ms, time));
    }
}

void bench_print_case(const struct bench_case *c)
{
    char memory[32];
    char link[32];
    char once[32];

    printf("\n== %s (%s): %s over %s/s, once over the link in %s\n  %s\n", c->guest.name,
           c->guest.is_real ? "real" : "model",
           bytes((double)c->guest.memory_bytes, memory),
           bytes((double)c->guest.link_bytes_per_s, link),
           bench_time(c->guest.once_ms, once), c->guest.text);
    print_waiting(c);
    printf("%-26s %-14s %-13s %9s %9s %10s %10s  %-30s %-15s %s\n", "policy", "outcome",
           "mode", "total", "blackout", "bytes", "throttle-s", "first costly decision",
           "forecast", "total, to the best reference's");
    for (size_t i = 0; i < c->n; i++)
        print_entry(c, &c->entries[i]);
}

void bench_print_criteria(const char *what,
                          const struct bench_criterion criteria[BENCH_CRITERIA])
{
    printf("\n== criteria, %s\n", what);
    for (size_t i = 0; i < BENCH_CRITERIA; i++)
        printf("%zu. %s: %s\n%s\n", i + 1, criteria[i].title,
               !criteria[i].judged ? "nothing to judge"
               : criteria[i].met   ? "MET"
                                   : "NOT MET",
               criteria[i].text);
}

/* ---- JSON ---- */

static json_t *real_or_null(bool known, double value)
{
    return known ? json_real(value) : json_null();
}

static json_t *run_json(const struct bench_case *c, const struct bench_entry *e, size_t i)
{
    const struct bench_run *r = &e->runs[i];
    const bool ours = e->contender->role == BENCH_OURS && e->waiting;
    const struct bench_ratio ratio =
        ours ? bench_ratio_of(c, e, i, false) : (struct bench_ratio){0};
    json_t *costly = r->costly
                         ? json_pack("{s:s, s:f, s:I}", "action", r->costly_action, "at_ms",
                                     r->costly_ms, "passes", (json_int_t)r->costly_passes)
                         : json_null();
    json_t *o = json_pack("{s:s, s:s, s:f, s:f, s:f, s:f, s:I, s:o, s:s, s:s}", "outcome",
                          end_name(r->end), "mode", r->mode, "total_ms", r->total_ms,
                          "blackout_ms", r->blackout_ms, "transferred", r->bytes,
                          "throttle_s", r->throttle_s, "passes", (json_int_t)r->passes,
                          "costly", costly, "rule", r->rule, "reason", r->reason);

    if (!ours || !o)
        return o;
    json_object_set_new(o, "converges_by_waiting", json_boolean(bench_converges(e, i)));
    json_object_set_new(o, "forecast_never",
                        json_boolean(r->forecast && r->forecast_never));
    json_object_set_new(o, "forecast_total_ms",
                        real_or_null(r->forecast && !r->forecast_never, r->forecast_ms));
    json_object_set_new(o, "verdict", json_string(verdict_name(ratio.verdict)));
    json_object_set_new(
        o, "ratio",
        real_or_null(ratio.verdict == BENCH_RATIO || ratio.verdict == BENCH_BOTH_GAVE_UP,
                     ratio.value));
    json_object_set_new(o, "best_reference",
                        ratio.against ? json_string(ratio.against->contender->label)
                                      : json_null());
    return o;
}

json_t *bench_case_json(const struct bench_case *c)
{
    static const char *const roles[] = {"own", "reference", "tuned reference"};
    json_t *policies = json_array();

    for (size_t k = 0; k < c->n; k++) {
        const struct bench_entry *e = &c->entries[k];
        json_t *runs = json_array();

        for (size_t i = 0; i < e->n; i++)
            json_array_append_new(runs, run_json(c, e, i));
        json_array_append_new(
            policies, json_pack("{s:s, s:s, s:s, s:o}", "policy", e->contender->label,
                                "intent", bench_intent_name(e->contender->intent), "role",
                                roles[e->contender->role], "runs", runs));
    }
    return json_pack("{s:s, s:s, s:I, s:I, s:f, s:o}", "guest", c->guest.name, "kind",
                     c->guest.is_real ? "real" : "model", "memory",
                     (json_int_t)c->guest.memory_bytes, "link_bytes_per_s",
                     (json_int_t)c->guest.link_bytes_per_s, "once_ms", c->guest.once_ms,
                     "policies", policies);
}

json_t *bench_criteria_json(const struct bench_criterion criteria[BENCH_CRITERIA])
{
    json_t *all = json_array();

    for (size_t i = 0; i < BENCH_CRITERIA; i++)
        json_array_append_new(
            all, json_pack("{s:s, s:o, s:s}", "criterion", criteria[i].title, "met",
                           criteria[i].judged ? json_boolean(criteria[i].met) : json_null(),
                           "text", criteria[i].text));
    return all;
}

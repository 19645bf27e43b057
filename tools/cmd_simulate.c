/* qferry simulate: policies against a modelled migration, or against one that a journal shows. */
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "engine/curve.h"
#include "policy/model_json.h"
#include "policy/policy_json.h"
#include "policy/simulate.h"
#include "tools/tool.h"

static const char usage[] =
    "usage: qferry simulate (MODEL|JOURNAL) [--policy NAME|FILE]... [options]\n"
    "       qferry simulate list            the built-in models\n"
    "\n"
    "What would these policies do? In virtual time and without QEMU: against a modelled guest,\n"
    "link and QEMU (MODEL: a built-in name, or a file; see qferry-model(5)), or against a real\n"
    "migration (JOURNAL: of qferry migrate), which holds until a policy decides otherwise.\n"
    "\n"
    "  -p, --policy NAME|FILE      repeatable; several are compared (minimal-downtime)\n"
    "      --set FIELD=VALUE       override one field of every policy; repeatable\n"
    "      --seed N                of the model's noise; the same seed gives the same run (1)\n"
    "      --runs N                so many runs, with seeds SEED, SEED+1, ...: medians\n"
    "      --json                  one JSON object a line for each run\n"
    "  -v, --verbose               what the policy says at each pass, also when it waits\n";

enum { POLICIES_MAX = 32, SETS_MAX = 64, RUNS_MAX = 100000, COLUMNS = 10, CELL = 64 };

/* What is simulated: a model, or a journal. */
struct subject {
    const char *name;
    bool is_journal;
    struct policy_model_spec spec;
    struct curve curve;
};

struct job {
    struct subject subject;
    struct policy policies[POLICIES_MAX];
    const char *policy_args[POLICIES_MAX];
    size_t n_policies;
    const char *sets[SETS_MAX];
    size_t n_sets;
    uint64_t seed;
    uint64_t runs;
    bool json;
    bool verbose;
};

/* One run, over. */
struct run {
    struct simulate_result r;
    const struct curve_outcome *curve; /* of a journal; good until the next run */
};

/* ---- what is simulated ---- */

static int load_subject(struct subject *s, const char *arg, struct qf_err *err)
{
    size_t len;
    s->name = arg;
    if (!tool_is_file_name(arg))
        return policy_model_builtin(arg, &s->spec, err);
    char *text = tool_read_file(arg, &len, err);
    if (!text)
        return -(int)err->code;
    s->is_journal = curve_is_journal(text, len);
    int rc;
    if (!s->is_journal) {
        rc = policy_model_load(arg, text, len, &s->spec, err);
    } else {
        rc = curve_load(&s->curve, text, len, err);
        if (rc != 0)
            (void)qf_wrap(err, "%s", arg);
        else if (s->curve.cut)
            (void)fprintf(stderr,
                          "qferry: warning: %s: line %" PRIu64
                          " is cut short: using what is before it\n",
                          arg, s->curve.lines);
    }
    free(text);
    return rc;
}

static int load_policy(struct policy *p, const char *arg, struct qf_err *err)
{
    size_t len;
    char origin[TOOL_ORIGIN_SIZE];
    if (!tool_is_file_name(arg))
        return policy_preset_load(arg, p, err);
    char *text = tool_read_policy(arg, origin, &len, err);
    if (!text)
        return qf_wrap(err, "--policy");
    const int rc = policy_load(origin, text, len, p, err);
    free(text);
    return rc;
}

static int load_policies(struct job *job, struct qf_err *err)
{
    if (job->n_policies == 0)
        job->policy_args[job->n_policies++] = policy_preset_name(0);
    for (size_t i = 0; i < job->n_policies; i++) {
        struct policy *p = &job->policies[i];
        int rc = load_policy(p, job->policy_args[i], err);
        for (size_t k = 0; k < job->n_sets && rc == 0; k++)
            rc = policy_set(p, job->sets[k], err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* ---- a run ---- */

struct teller {
    const struct job *job;
    FILE *out;
};

static void tell(void *arg, const struct policy_sample *s, const struct policy_decision *d)
{
    const struct teller *t = arg;
    const bool wait = d->action == POLICY_WAIT;
    if (wait && !(t->job->verbose && d->new_pass))
        return;
    (void)fprintf(t->out, "[%9.3f] pass %-4" PRIu64 " %s", (double)s->elapsed_ns / 1e9,
                  s->pass, policy_action_name(d->action));
    if (d->action == POLICY_SET_DOWNTIME)
        (void)fprintf(t->out, " %" PRIu64 " ms", d->value);
    else if (d->action == POLICY_THROTTLE)
        (void)fprintf(t->out, " %" PRIu64 " %%", d->value);
    else if (d->action == POLICY_SET_BANDWIDTH)
        (void)fprintf(t->out, " %" PRIu64 " B/s", d->value);
    (void)fprintf(t->out, " (%s): %s\n", d->rule, d->because);
}

static void run_one(const struct job *job,
                    const struct policy *p,
                    uint64_t seed,
                    bool told,
                    struct run *run)
{
    static struct simulate sim; /* large */
    static struct curve_outcome outcome;
    static const struct simulate_ops ops = {.on_decision = tell};
    struct teller teller = {.job = job, .out = stdout};
    const struct simulate_ops *o = told ? &ops : NULL;
    if (job->subject.is_journal) {
        curve_simulate(&job->subject.curve, p, seed, o, &teller, &sim, &outcome);
        run->r = outcome.result;
        run->curve = &outcome;
        return;
    }
    simulate_init(&sim, p, &job->subject.spec, seed, o, &teller);
    simulate_run(&sim);
    run->r = sim.result;
}

/* ---- JSON ---- */

static json_t *range(const struct policy_range *r, const char *name, json_t *o)
{
    const struct {
        const char *suffix;
        uint64_t value;
    } all[] = {{"", r->best}, {"_low", r->low}, {"_high", r->high}};
    for (size_t i = 0; i < 3; i++) {
        char key[64];
        (void)snprintf(key, sizeof(key), "%s%s", name, all[i].suffix);
        (void)json_object_set_new(o, key,
                                  all[i].value == POLICY_UNKNOWN
                                      ? json_null()
                                      : json_integer((json_int_t)all[i].value));
    }
    return o;
}

static json_t *forecast_json(const struct simulate_result *r)
{
    if (!r->forecast.known)
        return json_null();
    json_t *o = json_pack("{s:I, s:s}", "at_ms", (json_int_t)r->forecast_ms, "verdict",
                          policy_verdict_name(r->forecast.verdict));
    (void)range(&r->forecast.total_ms, "total_ms", o);
    (void)range(&r->forecast.downtime_ms, "downtime_ms", o);
    return range(&r->forecast.transferred_bytes, "transferred", o);
}

static json_t *first_json(const struct simulate_result *r)
{
    if (!r->costly)
        return json_null();
    return json_pack("{s:s, s:I, s:I}", "action", policy_action_name(r->costly_action),
                     "at_ms", (json_int_t)r->costly_ms, "walks",
                     (json_int_t)r->costly_walks);
}

static int print_json(const struct job *job,
                      const struct policy *p,
                      uint64_t seed,
                      const struct run *run)
{
    const struct simulate_result *r = &run->r;
    json_t *o = json_pack(
        "{s:s, s:s, s:s, s:I, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:I, s:I, s:i, "
        "s:o, s:s, s:o}",
        "type", "simulation", job->subject.is_journal ? "journal" : "model",
        job->subject.is_journal ? job->subject.name : job->subject.spec.name, "policy",
        p->name, "seed", (json_int_t)seed, "outcome", simulate_outcome_name(r->outcome),
        "mode", simulate_mode_name(r->mode), "total_ms", (json_int_t)r->total_ms,
        "downtime_ms", (json_int_t)r->downtime_ms, "blackout_ms",
        (json_int_t)r->blackout_ms, "transferred", (json_int_t)r->transferred_bytes,
        "passes", (json_int_t)r->passes, "walks", (json_int_t)r->walks, "throttle_s",
        (double)r->throttle_percent_ms / 100000, "postcopy_ms", (json_int_t)r->postcopy_ms,
        "degraded_ms", (json_int_t)r->degraded_ms, "decisions", (int)r->decisions, "first",
        first_json(r), "reason", r->reason, "forecast", forecast_json(r));
    if (o && job->subject.is_journal) {
        const struct curve_outcome *c = run->curve;
        (void)json_object_set_new(o, "recorded_until_ms",
                                  json_integer((json_int_t)c->until_ms));
        (void)json_object_set_new(o, "as_recorded", json_boolean(c->as_recorded));
        (void)json_object_set_new(o, "differs", json_string(c->because));
        (void)json_object_set_new(o, "guest", json_string(c->guest));
    }
    char *text = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
    json_decref(o);
    if (!text)
        return -1;
    (void)puts(text);
    free(text);
    return 0;
}

/* ---- text ---- */

static void say_result(const struct run *run)
{
    const struct simulate_result *r = &run->r;
    char a[32];
    char b[32];
    char c[32];
    char d[32];
    (void)printf("%s (%s): total %s, downtime %s, blackout %s, %s, %" PRIu64 " passes",
                 simulate_outcome_name(r->outcome), simulate_mode_name(r->mode),
                 qf_format_ms(r->total_ms, a, sizeof(a)),
                 qf_format_ms(r->downtime_ms, b, sizeof(b)),
                 qf_format_ms(r->blackout_ms, c, sizeof(c)),
                 qf_format_bytes(r->transferred_bytes, d, sizeof(d)), r->passes);
    if (r->throttle_percent_ms > 0)
        (void)printf(", throttled by %.1f s of CPU time",
                     (double)r->throttle_percent_ms / 100000);
    if (r->postcopy_ms > 0)
        (void)printf(", post-copy for %s with %s lost in page faults",
                     qf_format_ms(r->postcopy_ms, a, sizeof(a)),
                     qf_format_ms(r->degraded_ms, b, sizeof(b)));
    (void)putchar('\n');
    const uint64_t best = r->forecast.total_ms.best;
    if (r->forecast.known && best != POLICY_UNKNOWN && r->total_ms > 0)
        (void)printf(
            "forecast after the second pass (at %s): total %s, %+.0f %% of what came\n",
            qf_format_ms(r->forecast_ms, a, sizeof(a)), qf_format_ms(best, b, sizeof(b)),
            ((double)best / (double)r->total_ms - 1) * 100);
}

static void say_journal(const struct job *job,
                        const struct policy *p,
                        const struct run *run)
{
    const struct curve *c = &job->subject.curve;
    const struct curve_outcome *o = run->curve;
    char a[32];
    (void)printf("made with policy %s: %s%s\n", c->policy.name,
                 c->end.known ? c->end.outcome : "its end is missing",
                 c->end.known ? "" : ", qferry was killed or is still at work");
    if (o->as_recorded)
        (void)printf("policy %s: as recorded to the end\n", p->name);
    else
        (void)printf("policy %s: to %s as recorded, from there modelled: %s\n"
                     "the guest: %s\n",
                     p->name, qf_format_ms(o->until_ms, a, sizeof(a)), o->because,
                     o->guest);
}

static void say_subject(const struct job *job)
{
    const struct policy_model_spec *s = &job->subject.spec;
    char a[32];
    char b[32];
    if (job->subject.is_journal)
        (void)printf("%s: %zu samples\n", job->subject.name, job->subject.curve.n);
    else
        (void)printf("%s: %s of memory over %s/s\n", s->name,
                     qf_format_bytes(s->guest.memory_bytes, a, sizeof(a)),
                     qf_format_bytes(s->link.rate_bytes_per_s, b, sizeof(b)));
}

/* ---- tables ---- */

static const char *const heads[COLUMNS] = {"policy",     "outcome",       "mode",  "total",
                                           "downtime",   "blackout",      "bytes", "passes",
                                           "throttle-s", "first decision"};

typedef char row[COLUMNS][CELL];

static void print_rows(row rows[], size_t n)
{
    int width[COLUMNS];
    for (size_t c = 0; c < COLUMNS; c++) {
        width[c] = (int)strlen(heads[c]);
        for (size_t i = 0; i < n; i++)
            if ((int)strlen(rows[i][c]) > width[c])
                width[c] = (int)strlen(rows[i][c]);
    }
    for (size_t i = 0; i <= n; i++) {
        for (size_t c = 0; c + 1 < COLUMNS; c++)
            (void)printf("%-*s  ", width[c], i == 0 ? heads[c] : rows[i - 1][c]);
        (void)printf("%s\n", i == 0 ? heads[COLUMNS - 1] : rows[i - 1][COLUMNS - 1]);
    }
}

static int compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a;
    const uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Median, and with several runs the smallest and the largest. */
static void spread(uint64_t *values,
                   size_t n,
                   const char *(*format)(uint64_t, char *, size_t),
                   char cell[CELL])
{
    char a[24];
    char b[24];
    char c[24];
    qsort(values, n, sizeof(*values), compare);
    if (n == 1)
        (void)snprintf(cell, CELL, "%s", format(values[0], a, sizeof(a)));
    else
        (void)snprintf(cell, CELL, "%s (%s - %s)", format(values[n / 2], a, sizeof(a)),
                       format(values[0], b, sizeof(b)),
                       format(values[n - 1], c, sizeof(c)));
}

static const char *format_count(uint64_t n, char *buf, size_t size)
{
    (void)snprintf(buf, size, "%" PRIu64, n);
    return buf;
}

static const char *format_throttle(uint64_t percent_ms, char *buf, size_t size)
{
    (void)snprintf(buf, size, "%.1f", (double)percent_ms / 100000);
    return buf;
}

/* The commonest of a few names: "completed", or "completed 93 %". */
static void commonest(const struct run *runs,
                      size_t n,
                      const char *(*name)(const struct simulate_result *),
                      char cell[CELL])
{
    const char *best = name(&runs[0].r);
    size_t most = 0;
    for (size_t i = 0; i < n; i++) {
        size_t same = 0;
        for (size_t k = 0; k < n; k++)
            same += strcmp(name(&runs[k].r), name(&runs[i].r)) == 0;
        if (same > most) {
            most = same;
            best = name(&runs[i].r);
        }
        if (most * 2 > n)
            break;
    }
    if (most == n)
        (void)snprintf(cell, CELL, "%s", best);
    else
        (void)snprintf(cell, CELL, "%s %zu %%", best, most * 100 / n);
}

static const char *outcome_name(const struct simulate_result *r)
{
    return simulate_outcome_name(r->outcome);
}

static const char *mode_name(const struct simulate_result *r)
{
    return simulate_mode_name(r->mode);
}

static const char *first_name(const struct simulate_result *r)
{
    return r->costly ? policy_action_name(r->costly_action) : "-";
}

static uint64_t *numbers(const struct run *runs, size_t n, size_t offset, uint64_t *values)
{
    for (size_t i = 0; i < n; i++)
        values[i] = *(const uint64_t *)((const char *)&runs[i].r + offset);
    return values;
}

#define RESULT(member) offsetof(struct simulate_result, member)

static void fill_row(
    row out, const struct policy *p, const struct run *runs, size_t n, uint64_t *v)
{
    char word[24];
    (void)snprintf(out[0], CELL, "%s", p->name);
    commonest(runs, n, outcome_name, out[1]);
    commonest(runs, n, mode_name, out[2]);
    spread(numbers(runs, n, RESULT(total_ms), v), n, qf_format_ms, out[3]);
    spread(numbers(runs, n, RESULT(downtime_ms), v), n, qf_format_ms, out[4]);
    spread(numbers(runs, n, RESULT(blackout_ms), v), n, qf_format_ms, out[5]);
    spread(numbers(runs, n, RESULT(transferred_bytes), v), n, qf_format_bytes, out[6]);
    spread(numbers(runs, n, RESULT(passes), v), n, format_count, out[7]);
    spread(numbers(runs, n, RESULT(throttle_percent_ms), v), n, format_throttle, out[8]);
    commonest(runs, n, first_name, out[9]);
    if (n == 1 && runs[0].r.costly)
        (void)snprintf(out[9], CELL, "%s at %s, pass %" PRIu64,
                       policy_action_name(runs[0].r.costly_action),
                       qf_format_ms(runs[0].r.costly_ms, word, sizeof(word)),
                       runs[0].r.costly_walks);
}

/* ---- all of it ---- */

static int no_memory(void)
{
    struct qf_err err;
    (void)qf_fail(&err, QF_E_NOMEM, "no memory");
    return tool_fail(&err);
}

static int run_policy(const struct job *job, const struct policy *p, struct run *runs)
{
    const bool told = !job->json && job->n_policies == 1 && job->runs == 1;
    for (uint64_t i = 0; i < job->runs; i++) {
        const uint64_t seed = job->seed + i;
        run_one(job, p, seed, told, &runs[i]);
        if (job->json && print_json(job, p, seed, &runs[i]) != 0)
            return -1;
    }
    if (told && job->subject.is_journal)
        say_journal(job, p, &runs[0]);
    if (told)
        say_result(&runs[0]);
    return 0;
}

static int run_all(const struct job *job)
{
    struct run *runs = calloc(job->runs, sizeof(*runs));
    uint64_t *values = calloc(job->runs, sizeof(*values));
    row *rows = calloc(job->n_policies, sizeof(*rows));
    int rc = runs && values && rows ? 0 : -1;
    if (rc == 0 && !job->json)
        say_subject(job);
    for (size_t i = 0; i < job->n_policies && rc == 0; i++) {
        rc = run_policy(job, &job->policies[i], runs);
        if (rc == 0)
            fill_row(rows[i], &job->policies[i], runs, job->runs, values);
    }
    if (rc == 0 && !job->json && (job->n_policies > 1 || job->runs > 1)) {
        if (job->runs > 1)
            (void)printf("%" PRIu64 " runs: medians (smallest - largest)\n", job->runs);
        print_rows(rows, job->n_policies);
    }
    free(rows);
    free(values);
    free(runs);
    return rc == 0 ? 0 : no_memory();
}

static int list(void)
{
    for (size_t i = 0; i < policy_model_count(); i++) {
        struct policy_model_spec s;
        struct qf_err err;
        if (policy_model_builtin(policy_model_name(i), &s, &err) != 0)
            return tool_fail(&err);
        (void)printf("%-20s %s\n", s.name, s.description);
    }
    return 0;
}

/* Digits and nothing else. */
static bool parse_number(const char *text, uint64_t most, uint64_t *out)
{
    uint64_t n = 0;
    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9' || n > (most - (uint64_t)(*p - '0')) / 10)
            return false;
        n = n * 10 + (uint64_t)(*p - '0');
    }
    *out = n;
    return *text != '\0';
}

enum { OPT_SET = 256, OPT_SEED, OPT_RUNS, OPT_JSON, OPT_LIST };

static const struct option options[] = {
    {"policy", required_argument, NULL, 'p'},
    {"set", required_argument, NULL, OPT_SET},
    {"seed", required_argument, NULL, OPT_SEED},
    {"runs", required_argument, NULL, OPT_RUNS},
    {"json", no_argument, NULL, OPT_JSON},
    {"list", no_argument, NULL, OPT_LIST},
    {"verbose", no_argument, NULL, 'v'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

int cmd_simulate(int argc, char **argv)
{
    static struct job job = {.seed = 1, .runs = 1}; /* large; one per process */
    struct qf_err err;
    int c;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":p:vh", options, NULL)) != -1) {
        switch (c) {
        case 'p':
            if (job.n_policies == POLICIES_MAX)
                return tool_usage("simulate", "--policy: at most %d", POLICIES_MAX);
            job.policy_args[job.n_policies++] = optarg;
            break;
        case OPT_SET:
            if (job.n_sets == SETS_MAX)
                return tool_usage("simulate", "--set: at most %d", SETS_MAX);
            job.sets[job.n_sets++] = optarg;
            break;
        case OPT_SEED:
            if (!parse_number(optarg, INT64_MAX, &job.seed))
                return tool_usage("simulate", "--seed: '%s' is not a number", optarg);
            break;
        case OPT_RUNS:
            if (!parse_number(optarg, RUNS_MAX, &job.runs) || job.runs == 0)
                return tool_usage("simulate", "--runs: '%s' is not a number from 1 to %d",
                                  optarg, RUNS_MAX);
            break;
        case OPT_JSON:
            job.json = true;
            break;
        case OPT_LIST:
            return list();
        case 'v':
            job.verbose = true;
            break;
        case 'h':
            (void)fputs(usage, stdout);
            return 0;
        default:
            return tool_bad_option("simulate", c, argv);
        }
    }
    if (argc - optind != 1)
        return tool_usage("simulate", "simulate takes one model or one journal");
    if (strcmp(argv[optind], "list") == 0)
        return list();
    if (load_subject(&job.subject, argv[optind], &err) != 0 ||
        load_policies(&job, &err) != 0) {
        curve_fini(&job.subject.curve);
        return tool_fail(&err);
    }
    const int status = run_all(&job);
    curve_fini(&job.subject.curve);
    return status;
}

/* The benchmark behind tools/bench-policies: every built-in policy with every model and with real
 * guests, and how qferry's own compare with those of other systems. bench_policies.h is the map.
 *
 * Runs are paired: run i of one of ours is compared with run i of the references, which in a model
 * means the same seed. */
#include "bench_policies.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/units.h"
#include "lab.h"
#include "policy/model_json.h"
#include "policy/model_world.h"
#include "policy/policy_json.h"

enum { MODEL_RUNS = 9, GUEST_RUNS = 1, CAP_S = 180, LIBVIRT_TIMES = 2 };

/* What libvirt's timeout is where nobody knows better; it has none of its own. */
#define LIBVIRT_TIMEOUT "timeout=300s"

/* clang-format off */
#define OURS(intent, name, on_real) \
    {BENCH_##intent, BENCH_OURS, name, name, {0}, false, on_real}
#define SAME(intent, name, on_real) \
    {BENCH_##intent, BENCH_REFERENCE, name, name, {0}, false, on_real}
#define WITH(intent, label, name, ...) \
    {BENCH_##intent, BENCH_REFERENCE, label, name, {__VA_ARGS__}, false, false}
#define OURS_WITH(intent, label, name, ...) \
    {BENCH_##intent, BENCH_OURS, label, name, {__VA_ARGS__}, false, true}
#define TUNED(intent, label, name, ...) \
    {BENCH_##intent, BENCH_TUNED, label, name, {__VA_ARGS__}, true, false}
const struct bench_contender bench_contenders[] = {
    OURS(PRECOPY, "minimal-downtime", true),
    SAME(PRECOPY, "vdsm-minimal-downtime", true),
    SAME(PRECOPY, "proxmox", true),
    SAME(PRECOPY, "nova", false),
    SAME(PRECOPY, "kubevirt", false),
    SAME(PRECOPY, "legacy", false),
    SAME(PRECOPY, "libvirt", false),

    OURS_WITH(GENTLE, "minimal-downtime, gentle", "minimal-downtime", "throttle.allowed=false"),
    SAME(GENTLE, "legacy", true),
    SAME(GENTLE, "nova", false),
    SAME(GENTLE, "kubevirt", false),
    SAME(GENTLE, "libvirt", false),

    OURS(POSTCOPY, "post-copy", true),
    SAME(POSTCOPY, "vdsm-post-copy", true),
    WITH(POSTCOPY, "kubevirt, post-copy", "kubevirt", "postcopy.allowed=true"),
    WITH(POSTCOPY, "nova, post-copy", "nova", "postcopy.allowed=true", "on-timeout=force-complete"),
    WITH(POSTCOPY, "libvirt, post-copy 300s", "libvirt", "postcopy.allowed=true", LIBVIRT_TIMEOUT,
         "on-timeout=postcopy"),
    TUNED(POSTCOPY, "libvirt, post-copy 2x", "libvirt", "postcopy.allowed=true", "timeout=1s",
          "on-timeout=postcopy"),

    OURS(STOP, "suspend-if-needed", true),
    SAME(STOP, "vdsm-suspend-if-needed", true),
    WITH(STOP, "kubevirt, stop", "kubevirt", "stop.allowed=true"),
    WITH(STOP, "nova, stop", "nova", "stop.allowed=true", "on-timeout=force-complete"),
    WITH(STOP, "libvirt, stop 300s", "libvirt", LIBVIRT_TIMEOUT),
    TUNED(STOP, "libvirt, stop 2x", "libvirt", "timeout=1s"),

    OURS(LARGE, "very-large-vm", true),
    SAME(LARGE, "vdsm-very-large-vm", true),

    OURS(OTHER, "stop-and-copy", true),
};
/* clang-format on */
const size_t bench_contenders_count =
    sizeof(bench_contenders) / sizeof(bench_contenders[0]);

static const char usage[] =
    "usage: bench_policies [--simulated] [--real] [--runs N] [--guest NAME] [--policy NAME]\n"
    "                      [--use NAME=FILE]... [--cap SECONDS] [--all-references] [--json]\n"
    "tools/bench-policies calls it and explains\n";

/* ---- policies ---- */

const char *bench_use(const struct bench_options *o, const char *preset)
{
    for (size_t i = 0; i < o->n_uses; i++)
        if (strcmp(o->uses[i].name, preset) == 0)
            return o->uses[i].path;
    return NULL;
}

static int load_file(const char *path, struct policy *p, struct qf_err *err)
{
    static char text[POLICY_FILE_MAX];
    FILE *f = fopen(path, "r");
    size_t n;

    if (!f)
        return qf_fail(err, QF_E_USAGE, "%s: %s", path, strerror(errno));
    n = fread(text, 1, sizeof(text), f);
    (void)fclose(f);
    return policy_load(path, text, n, p, err);
}

static bool is_built_in(const char *name)
{
    for (size_t i = 0; i < policy_preset_count(); i++)
        if (strcmp(policy_preset_name(i), name) == 0)
            return true;
    return false;
}

static int load(const struct bench_options *o,
                const struct bench_contender *c,
                const struct bench_guest *g,
                struct policy *p)
{
    const char *file = bench_use(o, c->preset);
    struct qf_err err;
    char timeout[48];
    int rc = file ? load_file(file, p, &err) : policy_preset_load(c->preset, p, &err);

    for (size_t i = 0; rc == 0 && i < BENCH_SETS_MAX && c->sets[i]; i++)
        rc = policy_set(p, c->sets[i], &err);
    if (rc == 0 && c->timeout_by_memory) {
        snprintf(timeout, sizeof(timeout), "timeout=%.0fms", LIBVIRT_TIMES * g->once_ms);
        rc = policy_set(p, timeout, &err);
    }
    if (rc != 0)
        fprintf(stderr, "bench-policies: %s: %s\n", c->label, err.text);
    return rc == 0 ? 0 : -1;
}

/* What QEMU, or the forecast, may be off by: a tenth. */
static double allowed_ms(const struct policy *p, const struct bench_guest *g)
{
    uint64_t most = p->downtime_max_ms;

    if (p->stop_allowed && p->stop_max_ms == 0)
        return 1e300;
    if (p->stop_allowed && p->stop_max_ms > most)
        most = p->stop_max_ms;
    return (double)most * 1.1 + g->overhead_ms;
}

void bench_waiting(const struct policy *p, const struct bench_guest *g, struct policy *out)
{
    *out = (struct policy){
        .name = "waiting",
        .pacing = POLICY_PACING_SCHEDULE,
        .downtime_start_ms = p->downtime_max_ms,
        .downtime_max_ms = p->downtime_max_ms,
        .timeout_ms = (uint64_t)(BENCH_WAIT_TIMES * g->once_ms + g->cycle_ms),
        .on_timeout = POLICY_ON_TIMEOUT_ABORT,
    };
}

/* ---- guests ---- */

/* What the link carries of TCP at the start, losses considered. */
static double link_rate(const struct policy_model_spec *s)
{
    static struct policy_model m;
    const struct policy_model_options options = {.bandwidth_bytes_per_s = POLICY_UNKNOWN};
    double rate;

    policy_model_init(&m, s, &options, 1);
    rate = policy_model_link_rate(&m);
    return rate > 0 ? rate : (double)s->link.rate_bytes_per_s;
}

/* What waits in sockets when the guest stops, unless QEMU is slower than the link. */
static double queue_ms(const struct policy_model_spec *s, double rate)
{
    const double limit = (double)s->qemu.max_bandwidth_bytes_per_s;

    return limit > 0 && limit < rate ? 0 : (double)s->link.buffer_bytes * 1000 / rate;
}

/* The last sync and the device state, or the switch; then the guest's resume. */
static double overhead_ms(const struct policy_model_qemu *q, uint64_t memory_bytes)
{
    const double sync =
        (double)q->sync_per_tib_ms * (double)memory_bytes / (1024 * (double)QF_GIB);
    const double switchover = (double)q->switchover_ms + sync;
    const double postcopy = (double)q->postcopy_switch_ms;

    return (switchover > postcopy ? switchover : postcopy) + (double)q->resume_ms;
}

static int model_get(size_t i, struct bench_guest *out)
{
    struct qf_err err;
    double rate;
    double limit;

    *out = (struct bench_guest){0};
    if (policy_model_builtin(policy_model_name(i), &out->spec, &err) != 0) {
        fprintf(stderr, "bench-policies: %s\n", err.text);
        return -1;
    }
    snprintf(out->name, sizeof(out->name), "%s", out->spec.name);
    snprintf(out->text, sizeof(out->text), "%s", out->spec.description);
    out->memory_bytes = out->spec.guest.memory_bytes;
    rate = link_rate(&out->spec);
    limit = (double)out->spec.qemu.max_bandwidth_bytes_per_s;
    out->link_bytes_per_s = (uint64_t)(limit > 0 && limit < rate ? limit : rate);
    out->once_ms = (double)(out->memory_bytes - out->spec.guest.zero_bytes) * 1000 /
                   (double)out->link_bytes_per_s;
    for (uint32_t k = 0; k < out->spec.guest.n_phases; k++)
        out->cycle_ms += (double)out->spec.guest.phases[k].for_ms;
    out->overhead_ms = overhead_ms(&out->spec.qemu, out->memory_bytes) +
                       queue_ms(&out->spec, rate) + (double)out->spec.link.latency_ns / 1e6;
    return 0;
}

/* ---- runs ---- */

static bool takes_part(const struct bench_options *o, const struct bench_contender *c)
{
    if (!o->policy)
        return true;
    for (size_t i = 0; i < bench_contenders_count; i++)
        if (bench_contenders[i].intent == c->intent &&
            strcmp(bench_contenders[i].preset, o->policy) == 0)
            return true;
    return false;
}

static void *zeroed(size_t n, size_t each)
{
    void *p = calloc(n, each);

    if (!p)
        abort();
    return p;
}

static int run_entry(const struct bench_options *o,
                     const struct bench_guest *g,
                     const struct bench_contender *c,
                     const struct policy *p,
                     struct bench_run *runs,
                     size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char time[32];

        if (!g->is_real) {
            bench_model_run(g, p, i + 1, &runs[i]);
            continue;
        }
        if (bench_guest_run(o, g, c, p, &runs[i]) < 0)
            return -1;
        fprintf(stderr, "%s, %s, run %zu of %zu: %s\n", g->name, c ? c->label : p->name,
                i + 1, n, bench_time(runs[i].total_ms, time));
    }
    return 0;
}

static struct bench_run *same_waiting(const struct bench_case *c, const struct policy *p)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->entries[i].waiting &&
            c->entries[i].policy.downtime_max_ms == p->downtime_max_ms)
            return c->entries[i].waiting;
    return NULL;
}

static int run_waiting(const struct bench_options *o,
                       const struct bench_case *c,
                       struct bench_entry *e)
{
    struct bench_run *before = same_waiting(c, &e->policy);
    struct bench_run *runs = zeroed(e->n, sizeof(*runs));
    struct policy waiting;

    bench_waiting(&e->policy, &c->guest, &waiting);
    if (before)
        memcpy(runs, before, e->n * sizeof(*runs));
    else if (run_entry(o, &c->guest, NULL, &waiting, runs, e->n) < 0) {
        free(runs);
        return -1;
    }
    e->waiting = runs;
    return 0;
}

static int run_case(const struct bench_options *o, struct bench_case *c)
{
    const size_t n = o->runs > 0 ? o->runs : c->guest.is_real ? GUEST_RUNS : MODEL_RUNS;

    for (size_t i = 0; i < bench_contenders_count; i++) {
        const struct bench_contender *k = &bench_contenders[i];
        struct bench_entry *e = &c->entries[c->n];

        if (!takes_part(o, k) || (!is_built_in(k->preset) && !bench_use(o, k->preset)) ||
            (c->guest.is_real && !k->real && !o->all_references))
            continue;
        *e = (struct bench_entry){.contender = k, .n = n};
        if (load(o, k, &c->guest, &e->policy) < 0)
            return -1;
        e->allowed_ms = allowed_ms(&e->policy, &c->guest);
        e->runs = zeroed(n, sizeof(*e->runs));
        c->n++;
        if (run_entry(o, &c->guest, k, &e->policy, e->runs, n) < 0)
            return -1;
        if (k->role == BENCH_OURS && k->intent != BENCH_OTHER && run_waiting(o, c, e) < 0)
            return -1;
    }
    return 0;
}

static void free_case(struct bench_case *c)
{
    for (size_t i = 0; i < c->n; i++) {
        free(c->entries[i].runs);
        free(c->entries[i].waiting);
    }
}

/* ---- all of it ---- */

static json_t *setting(void)
{
    const time_t now = time(NULL);
    const double gib =
        (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / (double)QF_GIB;
    double load[3] = {0};
    struct tm tm;
    char text[32];

    gmtime_r(&now, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    (void)getloadavg(load, 3);
    return json_pack("{s:s, s:i, s:f, s:f}", "date", text, "cores",
                     (int)sysconf(_SC_NPROCESSORS_ONLN), "memory_gib", gib, "load_before",
                     load[0]);
}

static void say_missing(void)
{
    const char *said = "";

    for (size_t i = 0; i < bench_contenders_count; i++) {
        const char *name = bench_contenders[i].preset;

        if (is_built_in(name) || strcmp(said, name) == 0)
            continue;
        fprintf(stderr, "bench-policies: left out, not built in: %s\n", name);
        said = name;
    }
}

static int run_kind(const struct bench_options *o, bool is_real, json_t *out)
{
    static struct bench_case cases[BENCH_GUESTS_MAX];
    static struct bench_criterion criteria[BENCH_CRITERIA];
    const size_t count = is_real ? bench_guest_count() : policy_model_count();
    json_t *guests = json_array();
    size_t n = 0;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < count && n < BENCH_GUESTS_MAX; i++) {
        struct bench_case *c = &cases[n];

        *c = (struct bench_case){0};
        if (is_real)
            bench_guest_get(i, &c->guest);
        else
            rc = model_get(i, &c->guest);
        if (rc < 0 || (o->guest && strcmp(o->guest, c->guest.name) != 0))
            continue;
        n++;
        rc = run_case(o, c);
        if (rc == 0 && o->json)
            json_array_append_new(guests, bench_case_json(c));
        else if (rc == 0)
            bench_print_case(c);
        (void)fflush(stdout);
    }
    if (rc == 0 && n > 0) {
        bench_judge(cases, n, is_real, criteria);
        if (o->json)
            json_object_set_new(out, is_real ? "real" : "simulated",
                                json_pack("{s:O, s:o}", "guests", guests, "criteria",
                                          bench_criteria_json(criteria)));
        else
            bench_print_criteria(is_real ? "real guests" : "models", criteria);
    }
    json_decref(guests);
    for (size_t i = 0; i < n; i++)
        free_case(&cases[i]);
    return rc < 0 ? -1 : n > 0 ? 1 : 0;
}

static int parse_use(struct bench_options *o, const char *arg)
{
    const char *equals = strchr(arg, '=');
    struct bench_use *u = &o->uses[o->n_uses];

    if (!equals || o->n_uses == BENCH_USES_MAX || (size_t)(equals - arg) >= sizeof(u->name))
        return -1;
    memcpy(u->name, arg, (size_t)(equals - arg));
    u->path = equals + 1;
    o->n_uses++;
    return 0;
}

static int parse(int argc, char **argv, struct bench_options *o)
{
    enum { SIMULATED, REAL, RUNS, GUEST, POLICY, USE, CAP, ALL, JSON };
    static const struct option options[] = {
        {"simulated", no_argument, NULL, SIMULATED},
        {"real", no_argument, NULL, REAL},
        {"runs", required_argument, NULL, RUNS},
        {"guest", required_argument, NULL, GUEST},
        {"policy", required_argument, NULL, POLICY},
        {"use", required_argument, NULL, USE},
        {"cap", required_argument, NULL, CAP},
        {"all-references", no_argument, NULL, ALL},
        {"json", no_argument, NULL, JSON},
        {0},
    };
    int c;

    *o = (struct bench_options){.cap_ms = CAP_S * 1000.0};
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == SIMULATED)
            o->simulated = true;
        else if (c == REAL)
            o->real = true;
        else if (c == RUNS)
            o->runs = (size_t)strtoul(optarg, NULL, 10);
        else if (c == GUEST)
            o->guest = optarg;
        else if (c == POLICY)
            o->policy = optarg;
        else if (c == USE && parse_use(o, optarg) == 0)
            continue;
        else if (c == CAP)
            o->cap_ms = strtod(optarg, NULL) * 1000;
        else if (c == ALL)
            o->all_references = true;
        else if (c == JSON)
            o->json = true;
        else
            return -1;
    }
    if (!o->simulated && !o->real)
        o->simulated = o->real = true;
    return optind == argc && o->runs <= BENCH_RUNS_MAX && o->cap_ms >= 1000 ? 0 : -1;
}

static int run_all(const struct bench_options *o, json_t *out)
{
    int found = 0;
    int rc = 0;

    if (o->simulated)
        found = rc = run_kind(o, false, out);
    if (rc >= 0 && o->real) {
        const char *missing = lab_missing();

        if (missing) {
            fprintf(stderr, "bench-policies: no real guests: %s\n", missing);
            return -1;
        }
        rc = run_kind(o, true, out);
        found = found > 0 || rc > 0;
    }
    if (rc >= 0 && found == 0) {
        fprintf(stderr, "bench-policies: no guest is called %s\n", o->guest);
        return -1;
    }
    return rc < 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
    struct bench_options o;
    json_t *out;
    int rc;

    if (parse(argc, argv, &o) < 0) {
        (void)fputs(usage, stderr);
        return 2;
    }
    say_missing();
    out = json_pack("{s:o}", "setting", setting());
    if (!out)
        abort();
    rc = run_all(&o, out);
    if (rc == 0 && o.json) {
        json_dumpf(out, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        putchar('\n');
    }
    json_decref(out);
    return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* The benchmark behind tools/bench-model: real guests moved between real QEMUs by qferry, and the
 * same guests simulated by qferry, side by side.
 *
 * A guest is described once, in numbers; its parameters for the real one and its MODEL file are
 * made from them. What belongs to the laboratory (loopback, QEMU under TCG) is the same for all:
 * LAB_QEMU and LAB_LINK below. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lab.h"

enum {
    RUNS = 3,
    RUNS_MAX = 100,
    SETTLE_TICKS = 50,
    PATIENCE_MS = 300000,
    SETS_MAX = 4,
    MEASURES = 3
};

#define PAGE        4096
#define MIB         1048576.0
#define TOLERANCE   0.25
#define RESULT_TYPE "\"type\":\"result\""

/* The laboratory: a link of 40 MB/s (tools/bench-model makes it), and QEMU 7.2 under TCG with a
 * small machine. The same figures for every guest; they were settled on in rounds with these very
 * guests, so the comparison shows that one model serves them all, not that it foresees others. */
#define LAB_LINK \
    "{\"rate\": \"320Mbit\", \"latency\": \"100us\", \"buffer\": \"2MiB\", \"noise\": 0}"
#define LAB_QEMU                                                                    \
    "{\"setup\": \"5ms\", \"switchover\": \"10ms\", \"postcopy-switch\": \"8ms\", " \
    "\"resume\": \"2ms\"}"

struct guest {
    const char *name;
    unsigned mem_mib;
    unsigned ws_mib;
    unsigned hot_mib;
    unsigned hot_share;
    unsigned cold_mib;
    unsigned rate; /* pages a second */
    bool random;
    unsigned burst_on_ms;
    unsigned burst_off_ms;
    const char *policy;
    const char *sets[SETS_MAX];
    unsigned bandwidth; /* bytes a second */
};

/* Downtime limits of several windows (100 ms of QEMU's): what is left at the end is known to within
 * one window only. */
/* clang-format off */
static const struct guest guests[] = {
    {.name = "idle", .mem_mib = 88, .ws_mib = 64, .cold_mib = 16, .rate = 0,
     .policy = "minimal-downtime", .sets = {"downtime.max=1s", "downtime.start=1s"}, .bandwidth = 20000000},
    {.name = "converging", .mem_mib = 100, .ws_mib = 64, .cold_mib = 16, .rate = 1500,
     .policy = "minimal-downtime", .sets = {"downtime.start=400ms"}, .bandwidth = 20000000},
    {.name = "slowly converging", .mem_mib = 90, .ws_mib = 64, .rate = 3600, .random = true,
     .policy = "minimal-downtime", .sets = {"throttle.allowed=false", "downtime.start=300ms"},
     .bandwidth = 20000000},
    {.name = "never, post-copy", .mem_mib = 100, .ws_mib = 48, .cold_mib = 32, .rate = 20000,
     .policy = "post-copy", .bandwidth = 20000000},
    {.name = "never, stop", .mem_mib = 72, .ws_mib = 40, .cold_mib = 16, .rate = 15000, .random = true,
     .policy = "suspend-if-needed", .sets = {"throttle.allowed=false"}, .bandwidth = 20000000},
    {.name = "bursty", .mem_mib = 88, .ws_mib = 32, .cold_mib = 48, .rate = 10000,
     .burst_on_ms = 2000, .burst_off_ms = 4000,
     .policy = "minimal-downtime", .sets = {"throttle.allowed=false", "downtime.max=800ms",
     "downtime.start=800ms"}, .bandwidth = 20000000},
    {.name = "hot and cold", .mem_mib = 100, .ws_mib = 64, .hot_mib = 4, .hot_share = 90,
     .cold_mib = 16, .rate = 8000, .random = true,
     .policy = "minimal-downtime", .sets = {"throttle.allowed=false", "downtime.start=300ms"},
     .bandwidth = 20000000},
    {.name = "hot set fits", .mem_mib = 64, .ws_mib = 8, .cold_mib = 40, .rate = 20000, .random = true,
     .policy = "minimal-downtime", .sets = {"downtime.start=500ms"}, .bandwidth = 30000000},
    {.name = "bound by the link", .mem_mib = 100, .ws_mib = 80, .rate = 4000,
     .policy = "minimal-downtime", .sets = {"downtime.start=300ms"}, .bandwidth = 1000000000},
};
/* clang-format on */
enum { N_GUESTS = sizeof(guests) / sizeof(guests[0]) };

enum { TOTAL, PASSES, DOWNTIME };
static const char *const members[MEASURES] = {"total_ms", "passes", "downtime_ms"};
static const char *const titles[MEASURES] = {"total ms", "passes", "downtime ms"};

struct figures {
    double value[MEASURES];
    char outcome[32];
};

/* ---- the same guest, twice ---- */

static void guest_parameters(const struct guest *g, char *text, size_t size)
{
    int n = snprintf(text, size, "ws=%u cold=%u rate=%u order=%s", g->ws_mib, g->cold_mib,
                     g->rate, g->random ? "random" : "turn");

    if (g->hot_mib > 0) {
        n += snprintf(text + n, size - (size_t)n, " hot=%u hot-share=%u", g->hot_mib,
                      g->hot_share);
    }
    if (g->burst_on_ms > 0) {
        snprintf(text + n, size - (size_t)n, " burst-on=%u burst-off=%u", g->burst_on_ms,
                 g->burst_off_ms);
    }
}

static json_t *set(const char *name, double mib, double pages_per_s, bool random)
{
    return json_pack("{s:s, s:I, s:I, s:s}", "name", name, "size", (json_int_t)(mib * MIB),
                     "writes", (json_int_t)(pages_per_s * PAGE), "pattern",
                     random ? "random" : "sweep");
}

/* Besides the pages, each write dirties a page of their table (one for 512 pages) and a page of
 * counters; see guest/README.md. */
static json_t *guest_sets(const struct guest *g)
{
    json_t *sets = json_array();
    const double hot = g->hot_mib > 0 ? g->rate * g->hot_share / 100.0 : 0;
    const double table_mib = g->ws_mib / 512.0;

    if (g->rate == 0) {
        return sets;
    }
    if (g->hot_mib > 0) {
        json_array_append_new(sets, set("hot", g->hot_mib, hot, g->random));
    }
    json_array_append_new(sets,
                          set("others", g->ws_mib - g->hot_mib, g->rate - hot, g->random));
    json_array_append_new(
        sets, set("table", table_mib, g->random ? g->rate : g->rate / 512.0, g->random));
    json_array_append_new(sets, set("counters", PAGE / MIB, g->rate, true));
    return sets;
}

/* start_ms: where in its bursts the guest was when memory began to move. */
static int write_model(const struct guest *g, uint64_t start_ms, const char *path)
{
    const double used = g->ws_mib + g->ws_mib / 512.0 + PAGE / MIB + g->cold_mib;
    const double zero = g->mem_mib - used;
    json_t *guest =
        json_pack("{s:I, s:i, s:o}", "memory", (json_int_t)(g->mem_mib * MIB) + 8192,
                  "noise", 0, "sets", guest_sets(g));
    json_t *model;
    char size[32];
    int rc;

    snprintf(size, sizeof(size), "%" PRId64, (int64_t)(zero * MIB));
    json_object_set_new(guest, "zero", json_string(size));
    json_object_set_new(guest, "zero-last", json_true()); /* see guest/ram.c */
    if (g->burst_on_ms > 0) {
        json_object_set_new(guest, "phases",
                            json_pack("[{s:f, s:i}, {s:f, s:i}]", "for",
                                      g->burst_on_ms / 1e3, "writes", 1, "for",
                                      g->burst_off_ms / 1e3, "writes", 0));
        json_object_set_new(guest, "start", json_real((double)start_ms / 1e3));
    }
    model = json_pack("{s:s, s:o, s:o, s:o}", "name", g->name, "guest", guest, "link",
                      json_loads(LAB_LINK, 0, NULL), "qemu", json_loads(LAB_QEMU, 0, NULL));
    rc = model ? json_dump_file(model, path, JSON_INDENT(2)) : -1;
    json_decref(model);
    return rc;
}

/* ---- one run of each ---- */

static int read_figures(const char *line, struct figures *f)
{
    json_t *o = json_loads(line, 0, NULL);
    const char *outcome = json_string_value(json_object_get(o, "outcome"));

    snprintf(f->outcome, sizeof(f->outcome), "%s", outcome ? outcome : "?");
    for (int i = 0; i < MEASURES; i++) {
        f->value[i] = json_number_value(json_object_get(o, members[i]));
    }
    if (!json_is_number(
            json_object_get(o, members[DOWNTIME]))) { /* 7.2 forgets it at times */
        f->value[DOWNTIME] = json_number_value(json_object_get(o, "blackout_ms"));
    }
    json_decref(o);
    return outcome ? 0 : -1;
}

static size_t policy_options(const struct guest *g, const char **argv, size_t n)
{
    argv[n++] = "--policy";
    argv[n++] = g->policy;
    for (size_t i = 0; i < SETS_MAX && g->sets[i]; i++) {
        argv[n++] = "--set";
        argv[n++] = g->sets[i];
    }
    return n;
}

static int simulate(struct lab *lab,
                    const struct guest *g,
                    uint64_t start_ms,
                    struct figures *f)
{
    char model[LAB_PATH_MAX];
    char bandwidth[64];
    char line[8192];
    const char *argv[32] = {CHECK_QFERRY, "simulate", lab_path(lab, "model.json", model),
                            "--json"};
    size_t n = policy_options(g, argv, 4);
    struct lab_proc *proc;

    snprintf(bandwidth, sizeof(bandwidth), "bandwidth=%u", g->bandwidth);
    argv[n++] = "--set";
    argv[n++] = bandwidth;
    argv[n] = NULL;
    if (write_model(g, start_ms, model) < 0) {
        return -1;
    }
    proc = lab_spawn(lab, argv);
    if (!proc ||
        lab_proc_line(proc, "\"type\":\"simulation\"", line, sizeof(line), 0) < 0) {
        if (proc) {
            lab_proc_dump(proc);
        }
        return -1;
    }
    return read_figures(line, f);
}

/* QFERRY_KEEP_JOURNALS=DIR: the last journal of each guest stays there. */
static void keep(const struct guest *g, const char *journal)
{
    const char *dir = getenv("QFERRY_KEEP_JOURNALS");
    char path[4096];
    char buf[65536];
    size_t n;
    FILE *in = dir ? fopen(journal, "r") : NULL;

    snprintf(path, sizeof(path), "%s/%s.jsonl", dir ? dir : "", g->name);
    FILE *out = in ? fopen(path, "w") : NULL;
    while (out && (n = fread(buf, 1, sizeof(buf), in)) > 0) {
        fwrite(buf, 1, n, out);
    }
    if (out) {
        fclose(out);
    }
    if (in) {
        fclose(in);
    }
}

static int migrate(struct lab *lab,
                   const struct guest *g,
                   uint64_t *start_ms,
                   struct figures *f)
{
    char append[256];
    char bandwidth[32];
    char line[8192];
    char journal[LAB_PATH_MAX];
    struct lab_guest_status status;
    struct lab_vm *src;
    struct lab_vm *dst;
    struct lab_proc *proc;
    const char *argv[32] = {CHECK_QFERRY, "migrate",   NULL,
                            NULL,         "--json",    "--bandwidth",
                            bandwidth,    "--journal", lab_path(lab, "journal", journal)};
    const size_t n = policy_options(g, argv, 9);

    argv[n] = NULL;
    guest_parameters(g, append, sizeof(append));
    snprintf(bandwidth, sizeof(bandwidth), "%u", g->bandwidth);
    src = lab_vm_start(
        lab, &(struct lab_vm_opts){.name = "src", .mem_mib = g->mem_mib, .append = append});
    dst = src ? lab_vm_start(lab, &(struct lab_vm_opts){.name = "dst",
                                                        .mem_mib = g->mem_mib,
                                                        .append = append,
                                                        .incoming = true,
                                                        .paused = true})
              : NULL;
    if (!dst || lab_guest_ready(src) < 0 || lab_ticks_start(src, dst) < 0 ||
        lab_ticks_wait(src, SETTLE_TICKS, 0) < 0 || lab_ticks_stop(src) < 0 ||
        lab_guest_status(src, &status) < 0) {
        return -1;
    }
    argv[2] = lab_vm_qmp_path(src);
    argv[3] = lab_vm_qmp_path(dst);
    const int64_t asked_ns = lab_now_ns();
    proc = lab_spawn(lab, argv);
    if (!proc || lab_proc_line(proc, RESULT_TYPE, line, sizeof(line), PATIENCE_MS) < 0) {
        if (proc) {
            lab_proc_dump(proc);
        }
        return -1;
    }
    keep(g, journal);
    const struct lab_event *setup = lab_event_find(src, "MIGRATION", "status", "setup");
    *start_ms = status.ms + (setup ? (uint64_t)(setup->t_ns - asked_ns) / 1000000 : 0);
    return read_figures(line, f);
}

static int run(const struct guest *g, struct figures *measured, struct figures *simulated)
{
    struct lab *lab = lab_open();
    uint64_t start_ms = 0;
    int rc = lab ? migrate(lab, g, &start_ms, measured) : -1;

    if (rc == 0) {
        rc = simulate(lab, g, start_ms, simulated);
    }
    lab_close(lab);
    return rc;
}

/* ---- figures ---- */

static int compare(const void *a, const void *b)
{
    const double *x = a;
    const double *y = b;

    return (*x > *y) - (*x < *y);
}

static double median(const struct figures *f, size_t n, int measure)
{
    double v[RUNS_MAX];

    for (size_t i = 0; i < n; i++) {
        v[i] = f[i].value[measure];
    }
    qsort(v, n, sizeof(*v), compare);
    return (v[(n - 1) / 2] + v[n / 2]) / 2;
}

static unsigned show(const struct guest *g,
                     const struct figures *measured,
                     const struct figures *simulated,
                     size_t n)
{
    unsigned good = 0;

    printf("%-18s", g->name);
    for (int i = 0; i < MEASURES; i++) {
        const double m = median(measured, n, i);
        const double s = median(simulated, n, i);
        const double ratio = m > 0 ? s / m : 0;
        const bool near = ratio >= 1 - TOLERANCE && ratio <= 1 + TOLERANCE;

        printf("  %8.0f %8.0f %5.2f%c", m, s, ratio, near ? ' ' : '!');
        good += near;
    }
    printf("  %s", measured[0].outcome);
    if (strcmp(measured[0].outcome, simulated[0].outcome) != 0) {
        printf(", simulated %s", simulated[0].outcome);
    }
    printf("\n");
    fflush(stdout);
    return good;
}

int main(int argc, char **argv)
{
    static struct figures measured[RUNS_MAX];
    static struct figures simulated[RUNS_MAX];
    const int n = argc > 1 ? atoi(argv[1]) : RUNS;
    const char *only = argc > 2 ? argv[2] : NULL;
    const char *missing = lab_missing();
    unsigned good = 0;
    unsigned all = 0;

    if (n < 1 || n > RUNS_MAX || argc > 3) {
        fprintf(stderr, "usage: modelcheck [RUNS [GUEST]]; tools/bench-model calls it\n");
        return 2;
    }
    if (missing) {
        fprintf(stderr, "modelcheck: %s\n", missing);
        return EXIT_FAILURE;
    }
    printf("%-18s", "guest");
    for (int i = 0; i < MEASURES; i++) {
        printf("  %-24s", titles[i]);
    }
    printf("\n%-18s", "");
    for (int i = 0; i < MEASURES; i++) {
        printf("  %8s %8s %5s ", "measured", "model", "ratio");
    }
    printf("\n");
    for (size_t k = 0; k < N_GUESTS; k++) {
        if (only && strcmp(only, guests[k].name) != 0) {
            continue;
        }
        for (int i = 0; i < n; i++) {
            if (run(&guests[k], &measured[i], &simulated[i]) < 0) {
                return EXIT_FAILURE;
            }
            fprintf(stderr, "%s, run %d: total %.0f ms, passes %.0f, downtime %.0f ms\n",
                    guests[k].name, i + 1, measured[i].value[TOTAL],
                    measured[i].value[PASSES], measured[i].value[DOWNTIME]);
        }
        good += show(&guests[k], measured, simulated, (size_t)n);
        all += MEASURES;
    }
    printf("%u of %u within %.0f %% (medians of %d runs)\n", good, all, TOLERANCE * 100, n);
    return EXIT_SUCCESS;
}

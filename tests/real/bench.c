/* The benchmark behind tools/bench: the same migration again and again, by qferry and by the plain
 * client in turns, each time of a fresh guest between two fresh QEMUs.
 *
 * Blackouts are compared in pairs, one run of each kind right after the other, and the order within
 * the pair changes every time: what else the machine does then hits both alike. Everything is
 * measured from outside: ticks of the guest, events on a monitor of our own, the clock around the
 * process. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lab.h"

enum {
    RUNS = 20,
    RUNS_MAX = 1000,
    SETTLE_TICKS = 100, /* before the move, and after it */
    PATIENCE_MS = 120000,
};

/* At 20 MB/s one migration takes some 4.5 s and 3 to 4 passes. The downtime limit is the one that
 * qferry starts with. */
#define GUEST_MIB      96
#define GUEST_APPEND   "ws=64 cold=16 rate=500"
#define LINK_BYTES     "20000000" /* per second, unless told otherwise */
#define DOWNTIME_MS    "100"
#define DOWNTIME_FIELD "downtime.start=" DOWNTIME_MS "ms"

/* The targets. */
#define MAX_ACCEPT_MS        20.0
#define MAX_EXIT_MS          20.0
#define MAX_RSS_MIB          12.0
#define MAX_CPU_MS           30.0
#define MAX_BLACKOUT_MS      2.0
#define MAX_BLACKOUT_PERCENT 5.0

#define NS_PER_MS 1e6

enum kind { QFERRY, PLAIN, KINDS };
static const char *const kind_name[KINDS] = {"qferry", "plain"};

enum measure {
    ACCEPT,
    EXIT,
    BLACKOUT,
    TO_ASKED,
    TO_DEVICE,
    TO_COMPLETED,
    TO_RESUME,
    SHARE,
    SILENCE,
    TOTAL,
    RSS,
    CPU,
    MEASURES
};
static const char *const measure_name[MEASURES] = {
    [ACCEPT] = "start_to_migrate_ms", /* process start to QEMU's MIGRATION setup */
    [EXIT] = "resume_to_exit_ms", /* RESUME of the destination to the end of the process */
    [BLACKOUT] = "blackout_ms",   /* last tick on the source to first on the destination */
    /* The same by events: STOP, pre-switchover, device, completed on both sides, RESUME. */
    [TO_ASKED] = "stop_to_pre_switchover_ms",
    [TO_DEVICE] = "pre_switchover_to_device_ms",
    [TO_COMPLETED] = "device_to_completed_ms",
    [TO_RESUME] = "completed_to_resume_ms",
    /* What QEMU waits for the client of it: the second and the last. QEMU's own part varies more
     * than that (now and then 40 ms more on loopback), so this is the figure to work on. */
    [SHARE] = "client_share_ms",
    [SILENCE] = "longest_silence_ms", /* largest gap between ticks of the whole move */
    [TOTAL] = "total_ms",             /* start to end of the process */
    [RSS] = "peak_rss_mib",
    [CPU] = "cpu_ms", /* user and system */
};

struct sample {
    double value[MEASURES];
};

static const char *link_bytes = LINK_BYTES;

/* ---- one run ---- */

static struct lab_vm *start_vm(struct lab *lab, const char *name, bool incoming)
{
    return lab_vm_start(lab, &(struct lab_vm_opts){.name = name,
                                                   .mem_mib = GUEST_MIB,
                                                   .append = GUEST_APPEND,
                                                   .incoming = incoming,
                                                   .paused = incoming});
}

static struct lab_proc *launch(struct lab *lab,
                               enum kind kind,
                               struct lab_vm *src,
                               struct lab_vm *dst)
{
    char journal[LAB_PATH_MAX];
    const char *const qferry[] = {
        BENCH_LAUNCH,
        BENCH_QFERRY,
        "migrate",
        lab_vm_qmp_path(src),
        lab_vm_qmp_path(dst),
        "--bandwidth",
        link_bytes,
        "--set",
        DOWNTIME_FIELD,
        "--journal",
        lab_path(lab, "journal", journal),
        NULL,
    };
    const char *const plain[] = {
        BENCH_LAUNCH, BENCH_PLAIN, lab_vm_qmp_path(src), lab_vm_qmp_path(dst), link_bytes,
        DOWNTIME_MS,  NULL,
    };

    return lab_spawn(lab, kind == QFERRY ? qferry : plain);
}

/* When `vm` said so, or -1. */
static int64_t event_ns(struct lab_vm *vm,
                        const char *name,
                        const char *key,
                        const char *value)
{
    const struct lab_event *e = lab_event_find(vm, name, key, value);

    return e ? e->t_ns : -1;
}

static int64_t status_ns(struct lab_vm *vm, const char *status)
{
    return event_ns(vm, "MIGRATION", "status", status);
}

static double ms_between(int64_t a_ns, int64_t b_ns)
{
    return (double)(b_ns - a_ns) / NS_PER_MS;
}

static int measure(struct lab_proc *proc,
                   struct lab_vm *src,
                   struct lab_vm *dst,
                   struct sample *s)
{
    const int64_t setup_ns = status_ns(src, "setup");
    const int64_t stop_ns = event_ns(src, "STOP", NULL, NULL);
    const int64_t asked_ns = status_ns(src, "pre-switchover");
    const int64_t device_ns = status_ns(src, "device");
    const int64_t src_done_ns = status_ns(src, "completed");
    const int64_t dst_done_ns = status_ns(dst, "completed");
    const int64_t done_ns = src_done_ns > dst_done_ns ? src_done_ns : dst_done_ns;
    const int64_t resume_ns = event_ns(dst, "RESUME", NULL, NULL);
    int64_t start_ns;
    int64_t end_ns;
    int64_t user_us;
    int64_t system_us;
    int64_t rss_kib;
    int status;
    struct lab_blackout gap;

    if (sscanf(lab_proc_stdout(proc),
               "%" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %d", &start_ns,
               &end_ns, &rss_kib, &user_us, &system_us, &status) != 6 ||
        status != 0 || setup_ns < 0 || stop_ns < 0 || asked_ns < 0 || device_ns < 0 ||
        src_done_ns < 0 || dst_done_ns < 0 || resume_ns < 0) {
        lab_proc_dump(proc);
        return -1;
    }
    lab_blackout(src, dst, &gap);
    s->value[ACCEPT] = ms_between(start_ns, setup_ns);
    s->value[EXIT] = ms_between(resume_ns, end_ns);
    s->value[BLACKOUT] = gap.handover_ms;
    s->value[TO_ASKED] = ms_between(stop_ns, asked_ns);
    s->value[TO_DEVICE] = ms_between(asked_ns, device_ns);
    s->value[TO_COMPLETED] = ms_between(device_ns, done_ns);
    s->value[TO_RESUME] = ms_between(done_ns, resume_ns);
    s->value[SHARE] = s->value[TO_DEVICE] + s->value[TO_RESUME];
    s->value[SILENCE] = gap.largest_ms;
    s->value[TOTAL] = ms_between(start_ns, end_ns);
    s->value[RSS] = (double)rss_kib / 1024;
    s->value[CPU] = (double)(user_us + system_us) / 1000;
    return 0;
}

static int run_in(struct lab *lab, enum kind kind, struct sample *s)
{
    struct lab_vm *src = start_vm(lab, "src", false);
    struct lab_vm *dst = src ? start_vm(lab, "dst", true) : NULL;
    struct lab_proc *proc;

    if (!dst || lab_guest_ready(src) < 0 || lab_ticks_start(src, dst) < 0 ||
        lab_ticks_wait(src, SETTLE_TICKS, 0) < 0) {
        return -1;
    }
    proc = launch(lab, kind, src, dst);
    if (!proc || lab_proc_wait(proc, PATIENCE_MS, NULL) < 0 ||
        lab_ticks_wait(dst, SETTLE_TICKS, 0) < 0 || measure(proc, src, dst, s) < 0) {
        return -1;
    }
    if (lab_guest_verify(dst) != 1) {
        fprintf(stderr, "bench: %s: the guest's memory is damaged\n", kind_name[kind]);
        return -1;
    }
    return 0;
}

static int run(enum kind kind, struct sample *s)
{
    struct lab *lab = lab_open();
    const int rc = lab ? run_in(lab, kind, s) : -1;

    lab_close(lab);
    return rc;
}

/* ---- figures ---- */

struct figures {
    double median, min, max;
    double low, high; /* 95 % of the ways to draw this many runs have the median in here */
};

static int compare(const void *a, const void *b)
{
    const double *x = a;
    const double *y = b;

    return (*x > *y) - (*x < *y);
}

/* The interval is the one of the sign test: no assumption about how the values are spread. */
static struct figures figures_of(const double *values, size_t n)
{
    double v[RUNS_MAX];
    const double half = 1.96 * sqrt((double)n) / 2;
    const double first = floor((double)n / 2 - half);
    const size_t low = first < 0 ? 0 : (size_t)first;

    memcpy(v, values, n * sizeof(*v));
    qsort(v, n, sizeof(*v), compare);
    return (struct figures){.median = (v[(n - 1) / 2] + v[n / 2]) / 2,
                            .min = v[0],
                            .max = v[n - 1],
                            .low = v[low],
                            .high = v[n - 1 - low]};
}

static json_t *as_json(const struct figures *f)
{
    return json_pack("{s:f, s:f, s:f}", "median", f->median, "min", f->min, "max", f->max);
}

static struct figures figures_for(const struct sample *s, size_t n, enum measure m)
{
    double v[RUNS_MAX];

    for (size_t i = 0; i < n; i++) {
        v[i] = s[i].value[m];
    }
    return figures_of(v, n);
}

static json_t *measures(const struct sample *s, size_t n)
{
    json_t *all = json_object();

    for (int m = 0; m < MEASURES; m++) {
        const struct figures f = figures_for(s, n, (enum measure)m);

        json_object_set_new(all, measure_name[m], as_json(&f));
    }
    return all;
}

/* qferry's minus the plain client's, pair by pair. */
static struct figures difference(struct sample *const samples[KINDS],
                                 size_t n,
                                 enum measure m)
{
    double v[RUNS_MAX];

    for (size_t i = 0; i < n; i++) {
        v[i] = samples[QFERRY][i].value[m] - samples[PLAIN][i].value[m];
    }
    return figures_of(v, n);
}

static json_t *difference_json(struct sample *const samples[KINDS],
                               size_t n,
                               enum measure m)
{
    const struct figures d = difference(samples, n, m);
    json_t *out = as_json(&d);

    json_object_set_new(out, "ci95_low", json_real(d.low));
    json_object_set_new(out, "ci95_high", json_real(d.high));
    return out;
}

static json_t *target(double limit, double value)
{
    return json_pack("{s:f, s:f, s:b}", "limit", limit, "value", value, "met",
                     value <= limit);
}

static json_t *targets(struct sample *const samples[KINDS], size_t n)
{
    const struct sample *q = samples[QFERRY];
    const double plain = figures_for(samples[PLAIN], n, BLACKOUT).median;
    const double share = plain * MAX_BLACKOUT_PERCENT / 100;

    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o}", measure_name[ACCEPT],
        target(MAX_ACCEPT_MS, figures_for(q, n, ACCEPT).median), measure_name[EXIT],
        target(MAX_EXIT_MS, figures_for(q, n, EXIT).median), "blackout_difference_ms",
        target(share > MAX_BLACKOUT_MS ? share : MAX_BLACKOUT_MS,
               difference(samples, n, BLACKOUT).median),
        measure_name[RSS], target(MAX_RSS_MIB, figures_for(q, n, RSS).max),
        measure_name[CPU], target(MAX_CPU_MS, figures_for(q, n, CPU).median));
}

static json_t *ratios(struct sample *const samples[KINDS], size_t n)
{
    json_t *all = json_object();

    for (int m = 0; m < MEASURES; m++) {
        json_object_set_new(
            all, measure_name[m],
            json_real(figures_for(samples[QFERRY], n, (enum measure)m).median /
                      figures_for(samples[PLAIN], n, (enum measure)m).median));
    }
    return all;
}

/* ---- the setting ---- */

static json_t *machine(void)
{
    double load[3] = {0};
    const int64_t pages = sysconf(_SC_PHYS_PAGES);

    (void)getloadavg(load, 3);
    return json_pack("{s:i, s:I, s:f}", "cores", (int)sysconf(_SC_NPROCESSORS_ONLN),
                     "memory_mib",
                     (json_int_t)(pages * sysconf(_SC_PAGESIZE) / (1024 * 1024)),
                     "load_before", load[0]);
}

static json_t *qemu_version(void)
{
    struct lab *lab = lab_open();
    struct lab_vm *vm =
        lab ? lab_vm_start(lab, &(struct lab_vm_opts){.paused = true}) : NULL;
    json_t *answer = vm ? lab_qmp(vm, "query-version", NULL) : NULL;
    json_t *version = NULL;
    int major;
    int minor;
    int micro;

    if (json_unpack(answer, "{s:{s:i, s:i, s:i}}", "qemu", "major", &major, "minor", &minor,
                    "micro", &micro) == 0) {
        version = json_sprintf("%d.%d.%d", major, minor, micro);
    }
    json_decref(answer);
    lab_close(lab);
    return version;
}

static json_t *date(void)
{
    const time_t now = time(NULL);
    struct tm tm;
    char text[32];

    gmtime_r(&now, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    return json_string(text);
}

/* ---- all of it ---- */

static int run_pairs(struct sample *const samples[KINDS], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const enum kind first = i % 2 == 0 ? QFERRY : PLAIN;
        const enum kind second = first == QFERRY ? PLAIN : QFERRY;

        if (run(first, &samples[first][i]) < 0 || run(second, &samples[second][i]) < 0) {
            return -1;
        }
        fprintf(stderr, "pair %zu of %zu: blackout %.1f ms, plain client %.1f ms\n", i + 1,
                n, samples[QFERRY][i].value[BLACKOUT], samples[PLAIN][i].value[BLACKOUT]);
    }
    return 0;
}

static void report(json_t *setting, struct sample *const samples[KINDS], size_t n)
{
    json_t *all = json_pack(
        "{s:o, s:I, s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "setting", setting, "pairs",
        (json_int_t)n, "guest", GUEST_APPEND ", downtime limit " DOWNTIME_MS " ms",
        "link_bytes_per_s", (json_int_t)atoll(link_bytes), "qferry",
        measures(samples[QFERRY], n), "plain", measures(samples[PLAIN], n),
        "blackout_difference_ms", difference_json(samples, n, BLACKOUT),
        "client_share_difference_ms", difference_json(samples, n, SHARE), "ratio",
        ratios(samples, n), "targets", targets(samples, n));

    json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(4));
    putchar('\n');
    json_decref(all);
}

int main(int argc, char **argv)
{
    static struct sample results[KINDS][RUNS_MAX];
    struct sample *const samples[KINDS] = {results[QFERRY], results[PLAIN]};
    const char *missing = lab_missing();
    const int n = argc > 1 ? atoi(argv[1]) : RUNS;
    json_t *setting;

    if (n < 1 || n > RUNS_MAX || argc > 3 || (argc > 2 && atoll(argv[2]) <= 0)) {
        fprintf(stderr, "usage: bench [PAIRS [BYTES_PER_S]]; tools/bench calls it\n");
        return 2;
    }
    if (argc > 2) {
        link_bytes = argv[2];
    }
    if (missing) {
        fprintf(stderr, "bench: %s\n", missing);
        return EXIT_FAILURE;
    }
    setting = json_pack("{s:o, s:o, s:o, s:s}", "date", date(), "machine", machine(),
                        "qemu", qemu_version(), "accelerator", "tcg");
    if (!setting || run_pairs(samples, (size_t)n) < 0) {
        json_decref(setting);
        return EXIT_FAILURE;
    }
    report(setting, samples, (size_t)n);
    return EXIT_SUCCESS;
}

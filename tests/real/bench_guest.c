/* Runs of the real qferry between two real QEMUs, each of a fresh guest. What is told here comes
 * from qferry's journals; that the guest's memory is sound afterwards is checked in each run. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "bench_policies.h"
#include "lab.h"

#define LINK_BYTES 20000000

enum {
    MIB = 1024 * 1024,
    OWN_MIB = 8,     /* what the guest needs beside its pages */
    SETTLE_MS = 700, /* from READY to the move */
    PUMP_MS = 100,
    OVERHEAD_MS = 100, /* of a blackout: TCG, a shared machine */
    ARGS_MAX = 40,
    JOURNAL_PATH_MAX = 512,
    CANCEL_MS = 60000
};

static const struct {
    const char *name, *append, *text;
    unsigned pages_mib;
    double cycle_ms;
} kinds[] = {
    {"idle", "ws=16 cold=64 rate=0", "writes nothing.", 80, 0},
    {"converging", "ws=64 cold=16 rate=500",
     "500 pages a second over 64 MiB: a tenth of the link.", 80, 0},
    {"nearly", "ws=48 cold=24 rate=3500",
     "3500 pages a second over 48 MiB: seven tenths of the link.", 72, 0},
    {"hot-set", "ws=64 cold=8 rate=20000",
     "20000 pages a second over 64 MiB: four times the link.", 72, 0},
    {"hot-and-cold", "ws=64 hot=4 hot-share=95 cold=8 rate=8000",
     "7600 pages a second over 4 MiB, which the link carries in 210 ms, and 400 over 60 MiB.",
     72, 0},
    {"bursty", "ws=32 cold=32 rate=20000 burst-on=1000 burst-off=4000",
     "20000 pages a second over 32 MiB for one second in five, nothing in between.", 64,
     5000},
};

size_t bench_guest_count(void)
{
    return sizeof(kinds) / sizeof(kinds[0]);
}

void bench_guest_get(size_t i, struct bench_guest *out)
{
    *out = (struct bench_guest){
        .is_real = true,
        .append = kinds[i].append,
        .mem_mib = kinds[i].pages_mib + OWN_MIB,
        .memory_bytes = (uint64_t)(kinds[i].pages_mib + OWN_MIB) * MIB,
        .link_bytes_per_s = LINK_BYTES,
        .cycle_ms = kinds[i].cycle_ms,
        .overhead_ms = OVERHEAD_MS,
    };
    snprintf(out->name, sizeof(out->name), "%s", kinds[i].name);
    snprintf(out->text, sizeof(out->text), "%s", kinds[i].text);
    out->once_ms = (double)kinds[i].pages_mib * MIB * 1000 / LINK_BYTES;
}

/* ---- what qferry said ---- */

static const char *text_of(const json_t *line, const char *key)
{
    const char *text = json_string_value(json_object_get(line, key));

    return text ? text : "";
}

static double number_of(const json_t *line, const char *key)
{
    return json_number_value(json_object_get(line, key));
}

static double time_ms(const json_t *line)
{
    struct tm tm = {0};
    double seconds;

    if (sscanf(text_of(line, "time"), "%d-%d-%dT%d:%d:%lfZ", &tm.tm_year, &tm.tm_mon,
               &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &seconds) != 6)
        return 0;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    return ((double)timegm(&tm) + seconds) * 1000;
}

struct reading {
    struct bench_run *out;
    double start_ms;  /* of pre-copy */
    double sample_ms; /* the newest sample: when, and the throttle that it showed */
    double throttle;
    uint64_t passes;
    char outcome[16];
};

static void read_sample(struct reading *r, const json_t *line)
{
    const double now_ms = time_ms(line);
    const double pass = number_of(line, "pass");

    if (r->sample_ms > 0)
        r->out->throttle_s += r->throttle / 100 * (now_ms - r->sample_ms) / 1000;
    r->sample_ms = now_ms;
    r->throttle = number_of(line, "throttle");
    if (pass >= 1)
        r->passes = (uint64_t)pass - 1;
}

static bool is_costly(const char *action)
{
    return strcmp(action, "throttle") == 0 || strcmp(action, "postcopy") == 0 ||
           strcmp(action, "pause") == 0 || strcmp(action, "abort") == 0;
}

static void read_decision(struct reading *r, const json_t *line)
{
    struct bench_run *out = r->out;
    const char *action = text_of(line, "action");

    if (strcmp(action, "wait") == 0)
        return;
    snprintf(out->rule, sizeof(out->rule), "%s", text_of(line, "rule"));
    if (!is_costly(action))
        return;
    snprintf(out->last_costly, sizeof(out->last_costly), "%s", action);
    if (out->costly)
        return;
    out->costly = true;
    snprintf(out->costly_action, sizeof(out->costly_action), "%s", action);
    out->costly_ms = r->start_ms > 0 ? time_ms(line) - r->start_ms : 0;
    out->costly_passes = r->passes;
}

static void read_result(struct reading *r, const json_t *line)
{
    snprintf(r->outcome, sizeof(r->outcome), "%s", text_of(line, "outcome"));
    snprintf(r->out->mode, sizeof(r->out->mode), "%s", text_of(line, "mode"));
    snprintf(r->out->reason, sizeof(r->out->reason), "%s", text_of(line, "reason"));
    r->out->total_ms = number_of(line, "total_ms");
    r->out->blackout_ms = number_of(line, "blackout_ms");
    r->out->bytes = number_of(line, "transferred");
    r->out->passes = r->passes;
}

static void read_line(struct reading *r, const json_t *line)
{
    const char *type = text_of(line, "type");
    const json_t *total = json_object_get(line, "total_ms");

    if (strcmp(type, "phase") == 0 && strcmp(text_of(line, "phase"), "precopy") == 0 &&
        r->start_ms <= 0)
        r->start_ms = time_ms(line);
    else if (strcmp(type, "sample") == 0)
        read_sample(r, line);
    else if (strcmp(type, "decision") == 0)
        read_decision(r, line);
    else if (strcmp(type, "result") == 0)
        read_result(r, line);
    else if (strcmp(type, "forecast-outcome") == 0 &&
             (int)number_of(line, "pass") == BENCH_FORECAST_PASS) {
        r->out->forecast = true;
        r->out->forecast_never = !json_is_number(total);
        r->out->forecast_ms = json_number_value(total);
    }
}

/* From the journal: it has more than --json, and the outcome of the forecast. */
static int read_journal(struct lab_proc *p,
                        const char *path,
                        bool too_long,
                        struct bench_run *out)
{
    struct reading r = {.out = out};
    FILE *f = fopen(path, "r");
    char *text = NULL;
    size_t size = 0;

    while (f && getline(&text, &size, f) > 0) {
        json_t *line = json_loads(text, 0, NULL);

        if (line)
            read_line(&r, line);
        json_decref(line);
    }
    free(text);
    if (f)
        (void)fclose(f);
    if (strcmp(r.outcome, "completed") == 0)
        out->end = BENCH_COMPLETED;
    else if (strcmp(r.outcome, "aborted") == 0)
        out->end = BENCH_GAVE_UP;
    else if (strcmp(r.outcome, "cancelled") == 0 && too_long)
        out->end = BENCH_TOO_LONG;
    else {
        lab_proc_dump(p);
        return -1;
    }
    return 0;
}

/* ---- one run ---- */

static struct lab_vm *start(struct lab *lab, const struct bench_guest *g, bool incoming)
{
    return lab_vm_start(lab, &(struct lab_vm_opts){.name = incoming ? "dst" : "src",
                                                   .mem_mib = g->mem_mib,
                                                   .append = g->append,
                                                   .incoming = incoming,
                                                   .paused = incoming});
}

/* The policy as a file: what was judged is what runs, whatever made it. */
static const char *write_policy(struct lab *lab,
                                const struct policy *p,
                                char path[LAB_PATH_MAX]);

static struct lab_proc *launch(struct lab *lab,
                               struct lab_vm *src,
                               struct lab_vm *dst,
                               const struct bench_options *o,
                               const struct bench_contender *c,
                               const struct policy *p,
                               const char *journal)
{
    char file[LAB_PATH_MAX];
    char link[32];
    char postcopy[64];
    char timeout[64];
    const char *argv[ARGS_MAX] = {BENCH_QFERRY, "migrate", lab_vm_qmp_path(src),
                                  lab_vm_qmp_path(dst), "--json"};
    unsigned n = 5;

    snprintf(link, sizeof(link), "%d", LINK_BYTES);
    snprintf(postcopy, sizeof(postcopy), "postcopy.bandwidth=%d", LINK_BYTES);
    argv[n++] = "--journal";
    argv[n++] = journal;
    argv[n++] = "--bandwidth";
    argv[n++] = link;
    argv[n++] = "--set";
    argv[n++] = postcopy;
    argv[n++] = "--policy";
    if (!c)
        argv[n++] = write_policy(lab, p, file);
    else
        argv[n++] = bench_use(o, c->preset) ? bench_use(o, c->preset) : c->preset;
    for (unsigned i = 0; c && i < BENCH_SETS_MAX && c->sets[i]; i++) {
        argv[n++] = "--set";
        argv[n++] = c->sets[i];
    }
    if (c && c->timeout_by_memory) {
        snprintf(timeout, sizeof(timeout), "timeout=%" PRIu64 "ms", p->timeout_ms);
        argv[n++] = "--set";
        argv[n++] = timeout;
    }
    return lab_spawn(lab, argv);
}

static const char *write_policy(struct lab *lab,
                                const struct policy *p,
                                char path[LAB_PATH_MAX])
{
    FILE *f = fopen(lab_path(lab, "waiting.json", path), "w");

    if (!f)
        return "minimal-downtime";
    fprintf(f,
            "{\"name\": \"waiting\", \"pacing\": \"schedule\", \"downtime\": "
            "{\"start\": \"%" PRIu64 "ms\", \"max\": \"%" PRIu64 "ms\"}, "
            "\"timeout\": \"%" PRIu64 "ms\", \"on-timeout\": \"abort\"}\n",
            p->downtime_max_ms, p->downtime_max_ms, p->timeout_ms);
    (void)fclose(f);
    return path;
}

static int check_guest(struct lab_vm *src, struct lab_vm *dst, const struct bench_run *out)
{
    if (lab_guest_verify(out->end == BENCH_COMPLETED ? dst : src) == 1)
        return 0;
    fprintf(stderr, "bench-policies: the guest's memory is damaged\n");
    return -1;
}

/* In the lab's folder, or kept: $QFERRY_KEEP_JOURNALS/GUEST-POLICY.jsonl, the last run's. */
static const char *journal_path(struct lab *lab,
                                const struct bench_guest *g,
                                const struct bench_contender *c,
                                char out[JOURNAL_PATH_MAX])
{
    const char *dir = getenv("QFERRY_KEEP_JOURNALS");
    char path[LAB_PATH_MAX];

    if (dir)
        snprintf(out, JOURNAL_PATH_MAX, "%s/%s-%s.jsonl", dir, g->name,
                 c ? c->label : "waiting");
    else
        snprintf(out, JOURNAL_PATH_MAX, "%s", lab_path(lab, "journal", path));
    (void)remove(out);
    return out;
}

static int run_in(struct lab *lab,
                  const struct bench_options *o,
                  const struct bench_guest *g,
                  const struct bench_contender *c,
                  const struct policy *p,
                  struct bench_run *out)
{
    struct lab_vm *src = start(lab, g, false);
    struct lab_vm *dst = src ? start(lab, g, true) : NULL;
    struct lab_proc *proc;
    char journal[JOURNAL_PATH_MAX];
    int64_t until_ns;
    bool too_long;

    if (!dst || lab_guest_ready(src) < 0)
        return -1;
    lab_pump(lab, SETTLE_MS);
    proc = launch(lab, src, dst, o, c, p, journal_path(lab, g, c, journal));
    if (!proc)
        return -1;
    until_ns = lab_now_ns() + (int64_t)(o->cap_ms * 1e6);
    while (lab_proc_alive(proc) && lab_now_ns() < until_ns)
        lab_pump(lab, PUMP_MS);
    too_long = lab_proc_alive(proc);
    if (too_long)
        lab_proc_signal(proc, SIGINT);
    if (lab_proc_wait(proc, CANCEL_MS, NULL) < 0 ||
        read_journal(proc, journal, too_long, out) < 0)
        return -1;
    return check_guest(src, dst, out);
}

int bench_guest_run(const struct bench_options *o,
                    const struct bench_guest *g,
                    const struct bench_contender *c,
                    const struct policy *p,
                    struct bench_run *out)
{
    struct lab *lab = lab_open();
    int rc;

    *out = (struct bench_run){0};
    rc = lab ? run_in(lab, o, g, c, p, out) : -1;
    lab_close(lab);
    return rc;
}

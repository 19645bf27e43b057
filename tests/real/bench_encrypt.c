/* What encryption adds to the start of a move: `qferry migrate` with --encrypt psk and with off, in
 * turns, each between two fresh QEMUs. Measured from outside: from the start of the process to
 * QEMU's MIGRATION setup. Pairs, one run of each kind right after the other, the order within the
 * pair changing, so that what else the machine does hits both alike. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lab.h"

enum { RUNS_MAX = 200, PATIENCE_MS = 60000 };

#define TARGET_MS 10.0
#define NS_PER_MS 1e6

static const char *const kinds[] = {"off", "psk"};

static struct lab_vm *start_vm(struct lab *lab, const char *name, bool incoming)
{
    return lab_vm_start(lab, &(struct lab_vm_opts){.name = name,
                                                   .mem_mib = 32,
                                                   .append = "ws=4 cold=0 rate=10",
                                                   .incoming = incoming,
                                                   .paused = incoming});
}

static int run_in(struct lab *lab, const char *encrypt, double *ms)
{
    struct lab_vm *src = start_vm(lab, "src", false);
    struct lab_vm *dst = src ? start_vm(lab, "dst", true) : NULL;
    int status;
    if (!dst || lab_guest_ready(src) < 0)
        return -1;
    const char *const argv[] = {BENCH_QFERRY,         "migrate",   lab_vm_qmp_path(src),
                                lab_vm_qmp_path(dst), "--encrypt", encrypt,
                                "--journal",          "none",      NULL};
    const int64_t start_ns = lab_now_ns();
    struct lab_proc *proc = lab_spawn(lab, argv);
    if (!proc || lab_proc_wait(proc, PATIENCE_MS, &status) < 0 || status != 0) {
        if (proc)
            lab_proc_dump(proc);
        return -1;
    }
    const struct lab_event *e = lab_event_find(src, "MIGRATION", "status", "setup");
    if (!e || lab_guest_verify(dst) != 1)
        return -1;
    *ms = (double)(e->t_ns - start_ns) / NS_PER_MS;
    return 0;
}

static int run(const char *encrypt, double *ms)
{
    struct lab *lab = lab_open();
    const int rc = lab ? run_in(lab, encrypt, ms) : -1;
    lab_close(lab);
    return rc;
}

static int compare(const void *a, const void *b)
{
    const double *x = a;
    const double *y = b;
    return (*x > *y) - (*x < *y);
}

static json_t *figures(const double *values, size_t n, double *median)
{
    double v[RUNS_MAX];
    memcpy(v, values, n * sizeof(*v));
    qsort(v, n, sizeof(*v), compare);
    *median = (v[(n - 1) / 2] + v[n / 2]) / 2;
    return json_pack("{s:f, s:f, s:f}", "median", *median, "min", v[0], "max", v[n - 1]);
}

int main(int argc, char **argv)
{
    static double ms[2][RUNS_MAX];
    static double more[RUNS_MAX];
    double median;
    const char *missing = lab_missing();
    const long n = argc > 1 ? strtol(argv[1], NULL, 10) : 20;
    if (missing || n < 1 || n > RUNS_MAX) {
        (void)fprintf(stderr, "bench-encrypt: %s\n", missing ? missing : "1 to 200 pairs");
        return 2;
    }
    for (size_t i = 0; i < (size_t)n; i++) {
        for (size_t k = 0; k < 2; k++) {
            const size_t kind = (k + i) % 2;
            if (run(kinds[kind], &ms[kind][i]) < 0)
                return 1;
        }
        more[i] = ms[1][i] - ms[0][i];
        (void)fprintf(stderr, "pair %zu of %ld: off %.1f ms, psk %.1f ms\n", i + 1, n,
                      ms[0][i], ms[1][i]);
    }
    json_t *off = figures(ms[0], (size_t)n, &median);
    json_t *psk = figures(ms[1], (size_t)n, &median);
    json_t *difference = figures(more, (size_t)n, &median);
    json_t *all = json_pack("{s:I, s:{s:o, s:o}, s:o, s:{s:f, s:f, s:b}}", "pairs",
                            (json_int_t)n, "start_to_migrate_ms", "off", off, "psk", psk,
                            "difference_ms", difference, "target", "limit", TARGET_MS,
                            "value", median, "met", median <= TARGET_MS);
    (void)json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(4));
    (void)putchar('\n');
    json_decref(all);
    return 0;
}

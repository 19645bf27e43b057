/* The benchmark behind tools/bench-throughput: one guest of 1 GiB, moved again and again, in one
 * stream and in several channels, plain and encrypted.
 *
 *   bench_throughput RUNS                       over loopback, as fast as it goes
 *   bench_throughput RUNS SRC_NS DST_NS ADDRESS CIDR
 *                                               over a link of 1 Gbit/s between two network
 *                                               namespaces, where the destination has ADDRESS
 *
 * The guest writes nothing meanwhile: what is measured is how quickly its memory goes across, from
 * MIGRATION `active` to `completed` on the source, seen on a monitor of our own. Kinds take turns
 * within a run, so that what else the machine does hits all alike, and each is compared with the
 * plain stream of its run. Rows of what this qferry cannot do are left out. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lab.h"

enum { RUNS_MAX = 100, ARGS_MAX = 6, PATIENCE_MS = 300000, NAME_WIDTH = 24 };

#define GUEST_MIB      1024
#define GUEST_APPEND   "ws=16 cold=1000"
#define LINK_BYTES     125000000.0
#define LINK_RATE      "1Gbit"
#define TARGET_PERCENT 90.0
#define NETWORKS       "NETWORKS" /* put in: the path of a file with the network */
#define UNLIMITED      "--bandwidth", "100Gbit"

static const struct kind {
    const char *name;
    bool on_link_only;
    bool encrypted;
    bool is_default;
    const char *args[ARGS_MAX];
} kinds[] = {
    {"plain", false, false, false, {UNLIMITED, "--channels", "0"}},
    {"2 channels", false, false, false, {UNLIMITED, "--channels", "2"}},
    {"4 channels", false, false, false, {UNLIMITED, "--channels", "4"}},
    {"8 channels", false, false, false, {UNLIMITED, "--channels", "8"}},
    {"TLS", false, true, false, {UNLIMITED, "--channels", "0", "--encrypt", "psk"}},
    {"TLS, 2 channels",
     false,
     true,
     false,
     {UNLIMITED, "--channels", "2", "--encrypt", "psk"}},
    {"TLS, 4 channels",
     false,
     true,
     false,
     {UNLIMITED, "--channels", "4", "--encrypt", "psk"}},
    {"TLS, 8 channels",
     false,
     true,
     false,
     {UNLIMITED, "--channels", "8", "--encrypt", "psk"}},
    {"defaults", true, false, true, {NULL}},
    {"defaults, a network", true, false, true, {"-n", NETWORKS}},
    {"defaults, TLS", true, true, true, {"--encrypt", "psk"}},
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static struct place {
    const char *src_ns; /* NULL: loopback */
    const char *dst_ns;
    const char *address;
    const char *cidr;
    bool encrypts; /* this qferry can */
} place;

static double rates[KINDS][RUNS_MAX];

static bool is_run(const struct kind *k)
{
    return (place.src_ns || !k->on_link_only) && (place.encrypts || !k->encrypted);
}

/* ---- one run ---- */

__attribute__((format(printf, 3, 4))) static int write_file(const char *path,
                                                            mode_t mode,
                                                            const char *format,
                                                            ...)
{
    FILE *file = fopen(path, "w");
    va_list ap;

    if (!file) {
        fprintf(stderr, "bench-throughput: %s: %s\n", path, strerror(errno));
        return -1;
    }
    va_start(ap, format);
    vfprintf(file, format, ap);
    va_end(ap);
    return fclose(file) == 0 && chmod(path, mode) == 0 ? 0 : -1;
}

/* "exec ip netns exec NS qemu ...": the process is QEMU's. */
static const char *starter(struct lab *lab,
                           const char *name,
                           const char *ns,
                           char path[LAB_PATH_MAX])
{
    const char *qemu = getenv("QFERRY_QEMU");

    qemu = qemu && *qemu ? qemu : "qemu-system-x86_64";
    if (!ns) {
        return NULL;
    }
    return write_file(lab_path(lab, name, path), 0700,
                      "#!/bin/sh\nexec ip netns exec %s %s \"$@\"\n", ns, qemu) == 0
               ? path
               : NULL;
}

static struct lab_vm *start_vm(struct lab *lab,
                               const char *name,
                               const char *ns,
                               bool incoming)
{
    char path[LAB_PATH_MAX];
    char script[32];

    snprintf(script, sizeof(script), "%s-qemu", name);
    return lab_vm_start(lab, &(struct lab_vm_opts){.name = name,
                                                   .qemu = starter(lab, script, ns, path),
                                                   .mem_mib = GUEST_MIB,
                                                   .append = GUEST_APPEND,
                                                   .incoming = incoming,
                                                   .paused = incoming});
}

static struct lab_proc *launch(struct lab *lab,
                               const struct kind *k,
                               struct lab_vm *src,
                               struct lab_vm *dst)
{
    const char *argv[32];
    char networks[LAB_PATH_MAX];
    size_t n = 0;

    if (place.src_ns) {
        argv[n++] = "ip";
        argv[n++] = "netns";
        argv[n++] = "exec";
        argv[n++] = place.src_ns;
    }
    argv[n++] = BENCH_QFERRY;
    argv[n++] = "migrate";
    argv[n++] = lab_vm_qmp_path(src);
    argv[n++] = lab_vm_qmp_path(dst);
    argv[n++] = "--json";
    argv[n++] = "--journal";
    argv[n++] = "none";
    if (place.src_ns) {
        argv[n++] = "--destination-address";
        argv[n++] = place.address;
    }
    for (size_t i = 0; i < ARGS_MAX && k->args[i]; i++) {
        const bool file = strcmp(k->args[i], NETWORKS) == 0;

        if (file &&
            write_file(lab_path(lab, "networks.json", networks), 0600,
                       "{\"networks\": [{\"name\": \"migration\", \"cidr\": \"%s\", "
                       "\"rate\": \"%s\"}]}\n",
                       place.cidr, LINK_RATE) < 0) {
            return NULL;
        }
        argv[n++] = file ? networks : k->args[i];
    }
    argv[n] = NULL;
    return lab_spawn(lab, argv);
}

static int64_t status_ns(struct lab_vm *vm, const char *status)
{
    const struct lab_event *e = lab_event_find(vm, "MIGRATION", "status", status);

    return e ? e->t_ns : -1;
}

/* The bytes that went across, of the last line; -1. */
static double transferred(struct lab_proc *proc)
{
    const char *at = strstr(lab_proc_stdout(proc), "\"type\":\"result\"");
    const char *field = at ? strstr(at, "\"transferred\":") : NULL;

    return field ? strtod(field + strlen("\"transferred\":"), NULL) : -1;
}

static int measure(struct lab *lab, const struct kind *k, double *bytes_per_s)
{
    struct lab_vm *src = start_vm(lab, "src", place.src_ns, false);
    struct lab_vm *dst = src ? start_vm(lab, "dst", place.dst_ns, true) : NULL;
    struct lab_proc *proc;
    int status = -1;

    if (!dst || lab_guest_ready(src) < 0) {
        return -1;
    }
    proc = launch(lab, k, src, dst);
    if (!proc || lab_proc_wait(proc, PATIENCE_MS, &status) < 0) {
        return -1;
    }
    const int64_t from = status_ns(src, "active");
    const int64_t to = status_ns(src, "completed");
    const double bytes = transferred(proc);
    if (status != 0 || from < 0 || to <= from || bytes <= 0) {
        lab_proc_dump(proc);
        return -1;
    }
    *bytes_per_s = bytes * 1e9 / (double)(to - from);
    if (lab_guest_verify(dst) != 1) {
        fprintf(stderr, "bench-throughput: %s: the guest's memory is damaged\n", k->name);
        return -1;
    }
    return 0;
}

static int run_all(size_t runs)
{
    for (size_t r = 0; r < runs; r++) {
        for (size_t k = 0; k < KINDS; k++) {
            if (!is_run(&kinds[k])) {
                continue;
            }
            struct lab *lab = lab_open();
            const int rc = lab ? measure(lab, &kinds[k], &rates[k][r]) : -1;

            lab_close(lab);
            if (rc < 0) {
                fprintf(stderr, "bench-throughput: %s: failed\n", kinds[k].name);
                return -1;
            }
            fprintf(stderr, "run %zu of %zu: %s: %.0f MB/s\n", r + 1, runs, kinds[k].name,
                    rates[k][r] / 1e6);
        }
    }
    return 0;
}

/* ---- figures ---- */

static int compare(const void *a, const void *b)
{
    const double *x = a;
    const double *y = b;

    return (*x > *y) - (*x < *y);
}

static double median(const double *values, size_t n)
{
    double v[RUNS_MAX];

    memcpy(v, values, n * sizeof(*v));
    qsort(v, n, sizeof(*v), compare);
    return (v[(n - 1) / 2] + v[n / 2]) / 2;
}

static void report(size_t runs)
{
    bool met = true;

    printf("%s, 1 GiB, %zu run%s, medians\n\n%-*s %8s %9s%s\n",
           place.src_ns ? "a link of 1 Gbit/s" : "loopback", runs, runs == 1 ? "" : "s",
           NAME_WIDTH, "", "MB/s", "to plain", place.src_ns ? "     link" : "");
    for (size_t k = 0; k < KINDS; k++) {
        double ratio[RUNS_MAX];

        if (!is_run(&kinds[k])) {
            continue;
        }
        for (size_t r = 0; r < runs; r++) {
            ratio[r] = rates[k][r] / rates[0][r];
        }
        const double rate = median(rates[k], runs);
        const double share = 100 * rate / LINK_BYTES;
        printf("%-*s %8.1f %9.2f", NAME_WIDTH, kinds[k].name, rate / 1e6,
               median(ratio, runs));
        if (place.src_ns) {
            printf(" %6.1f %%", share);
        }
        if (kinds[k].is_default && !kinds[k].encrypted) {
            printf("  %s", share >= TARGET_PERCENT ? "met" : "NOT MET");
            met &= share >= TARGET_PERCENT;
        }
        putchar('\n');
    }
    if (place.src_ns) {
        printf("\ntarget: the defaults reach %.0f %% of the link: %s\n", TARGET_PERCENT,
               met ? "met" : "NOT MET");
    }
}

/* Does this qferry know --encrypt? */
static bool can_encrypt(void)
{
    return system(BENCH_QFERRY " migrate --help | grep -q -e '--encrypt'") == 0;
}

int main(int argc, char **argv)
{
    const char *missing = lab_missing();
    const long runs = argc > 1 ? strtol(argv[1], NULL, 10) : 0;

    if (missing) {
        fprintf(stderr, "bench-throughput: %s\n", missing);
        return 77;
    }
    if ((argc != 2 && argc != 6) || runs < 1 || runs > RUNS_MAX) {
        fprintf(stderr, "usage: bench_throughput RUNS [SRC_NS DST_NS ADDRESS CIDR]\n");
        return 2;
    }
    if (argc == 6) {
        place.src_ns = argv[2];
        place.dst_ns = argv[3];
        place.address = argv[4];
        place.cidr = argv[5];
    }
    place.encrypts = can_encrypt();
    if (run_all((size_t)runs) < 0) {
        return 1;
    }
    report((size_t)runs);
    return 0;
}

/* The demonstration behind tools/demo: one guest, two QEMUs, one qferry in the foreground, and
 * what the guest says about it afterwards. Plain words: whoever runs it may see a live migration
 * for the first time.
 *
 * tools/demo has checked the arguments; this says so only in short. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "engine/base/units.h"
#include "lab.h"

enum {
    PAGE_BYTES = 4096,
    OWN_MIB = 8,        /* what the guest needs beside its pages */
    AFTER_TICKS = 300,  /* and after: in its own milliseconds */
    QFERRY_MS = 300000, /* a slower move than that is none to look at */
    KILLED = 128,       /* exit status of a program that died of signal n: 128 + n */
    LONG_STOP_MS = 500, /* downtime.max of the built-in policies */
};

struct demo {
    const char *policy;
    uint64_t memory_mib;
    uint64_t busy_mib;
    uint64_t pages_per_s;
    uint64_t link_bytes_per_s;

    struct lab *lab;
    struct lab_vm *src, *dst;
    struct lab_guest_status before;
    int64_t start_ns; /* of qferry */
    int status;       /* qferry's exit status */
};

/* ---- words ---- */

/* "1,234,567" */
static const char *grouped(uint64_t n, char out[32])
{
    char digits[24];
    const int len = snprintf(digits, sizeof(digits), "%" PRIu64, n);
    size_t at = 0;

    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0) {
            out[at++] = ',';
        }
        out[at++] = digits[i];
    }
    out[at] = '\0';
    return out;
}

/* "32 MiB", "1.5 MiB": like qf_format_bytes, without ".0". */
static const char *amount(uint64_t bytes, char out[32])
{
    char *dot;

    qf_format_bytes(bytes, out, 32);
    dot = strstr(out, ".0 ");
    if (dot) {
        memmove(dot, dot + 2, strlen(dot + 2) + 1);
    }
    return out;
}

static void explain(const struct demo *d)
{
    const uint64_t busy_bytes = d->busy_mib * QF_MIB;
    const uint64_t rewritten = d->pages_per_s * PAGE_BYTES;
    const uint64_t rest_ms = qf_mul_div(rewritten < busy_bytes ? rewritten : busy_bytes,
                                        1000, d->link_bytes_per_s);
    char writes[32];
    char link[32];

    printf("A guest of %" PRIu64 " MiB rewrites %s of its memory every second, all over a "
           "part of %" PRIu64 " MiB.\n"
           "It moves to another QEMU over a link limited to %s a second",
           d->memory_mib, amount(rewritten, writes), d->busy_mib,
           amount(d->link_bytes_per_s, link));
    if (rewritten >= d->link_bytes_per_s && rest_ms > LONG_STOP_MS) {
        printf(": plain pre-copy could never finish,\n"
               "because memory becomes old faster than the link can carry it.\n");
    } else {
        printf(".\nThe link is quick enough for it: plain pre-copy can finish.\n");
    }
}

/* ---- the set-up ---- */

static struct lab_vm *start(const struct demo *d, const char *name, bool incoming)
{
    char append[128];

    snprintf(append, sizeof(append),
             "ws=%" PRIu64 " cold=%" PRIu64 " rate=%" PRIu64 " order=random", d->busy_mib,
             d->memory_mib - d->busy_mib - OWN_MIB, d->pages_per_s);
    return lab_vm_start(d->lab, &(struct lab_vm_opts){.name = name,
                                                      .mem_mib = (unsigned)d->memory_mib,
                                                      .append = append,
                                                      .incoming = incoming,
                                                      .paused = incoming});
}

static int set_up(struct demo *d)
{
    printf("\nStarting two QEMU processes ...\n");
    d->src = start(d, "source", false);
    if (!d->src) {
        return -1;
    }
    d->dst = start(d, "destination", true);
    if (!d->dst || lab_guest_ready(d->src) < 0 ||
        lab_guest_status(d->src, &d->before) < 0 || lab_ticks_start(d->src, d->dst) < 0) {
        return -1;
    }
    return 0;
}

/* ---- the move ---- */

static int status_of(int status)
{
    return WIFSIGNALED(status) ? KILLED + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Wait for qferry. The first Ctrl-C is qferry's to answer; at the second nobody waits any more. */
static int wait_for(struct demo *d, struct lab_proc *qferry)
{
    bool asked = false;
    int status;

    while (lab_proc_wait(qferry, QFERRY_MS, &status) < 0) {
        bool heard;
        const int sig = lab_take_signal(d->lab, &heard);

        if (sig == 0 || asked) {
            return -1;
        }
        asked = true;
        if (!heard) {
            lab_proc_signal(qferry, SIGTERM);
        }
    }
    lab_take_signal(d->lab, NULL); /* it came with the last breath of qferry */
    d->status = status_of(status);
    return 0;
}

static int move(struct demo *d)
{
    struct lab_proc *qferry;
    char journal[LAB_PATH_MAX];
    char link[32];
    char set[64];

    if (d->link_bytes_per_s % QF_MIB == 0) {
        snprintf(link, sizeof(link), "%" PRIu64 "MiB", d->link_bytes_per_s / QF_MIB);
    } else {
        snprintf(link, sizeof(link), "%" PRIu64, d->link_bytes_per_s);
    }
    snprintf(set, sizeof(set), "postcopy.bandwidth=%s", link);
    const char *const argv[] = {
        DEMO_QFERRY,
        "migrate",
        lab_vm_qmp_path(d->src),
        lab_vm_qmp_path(d->dst),
        "--policy",
        d->policy,
        "--bandwidth",
        link,
        "--set",
        set,
        "--journal",
        lab_path(d->lab, "journal", journal),
        NULL,
    };

    printf("$ qferry migrate source.qmp destination.qmp --policy %s --bandwidth %s \\\n"
           "      --set %s\n\n",
           d->policy, link, set);
    fflush(stdout);
    d->start_ns = lab_now_ns();
    qferry = lab_spawn_shown(d->lab, argv);
    return qferry ? wait_for(d, qferry) : -1;
}

/* ---- what the guest noticed ---- */

/* The machine whose guest runs, or NULL. */
static struct lab_vm *who_runs(const struct demo *d)
{
    struct lab_vm *const both[] = {d->src, d->dst};
    struct lab_vm *running = NULL;

    for (size_t i = 0; i < sizeof(both) / sizeof(both[0]); i++) {
        char state[LAB_STATE_MAX];

        if (!lab_vm_alive(both[i]) || lab_run_state(both[i], state) < 0 ||
            strcmp(state, "running") != 0) {
            continue;
        }
        if (running) {
            printf("  runs on            both sides: this must never happen\n");
            return NULL;
        }
        running = both[i];
    }
    if (!running) {
        printf("  runs on            neither side\n");
    }
    return running;
}

/* 0 when the guest is well. */
static int show_guest(const struct demo *d)
{
    struct lab_guest_status after;
    struct lab_blackout gap;
    struct lab_vm *vm;
    char line[LAB_LINE_MAX];
    char number[32];
    uint64_t pages = 0;

    printf("\nWhat the guest noticed of it:\n");
    vm = who_runs(d);
    if (!vm || lab_ticks_wait(vm, AFTER_TICKS, 0) < 0 || lab_ticks_stop(vm) < 0 ||
        lab_guest_status(vm, &after) < 0) {
        return -1;
    }
    lab_blackout(d->src, d->dst, &gap);
    printf("  runs on            the %s\n", lab_vm_name(vm));
    printf("  longest silence    %s, %.1f s after the start; it says something every "
           "millisecond\n",
           qf_format_ms((uint64_t)gap.largest_ms, number, sizeof(number)),
           (double)(gap.largest_ns - d->start_ns) / (double)QF_NS_PER_S);
    if (vm == d->dst) {
        printf("  at the hand-over   %s of silence\n",
               qf_format_ms((uint64_t)gap.handover_ms, number, sizeof(number)));
    }
    printf("  pages written      %s meanwhile\n",
           grouped(after.writes - d->before.writes, number));
    if (lab_guest_ask(vm, "v", "VERIFY", line, sizeof(line)) < 0) {
        return -1;
    }
    if (sscanf(line, "VERIFY ok pages=%" SCNu64, &pages) != 1 ||
        lab_guest_bad_lines(vm) > 0) {
        printf("  memory             damaged: %s\n", line);
        return -1;
    }
    printf("  memory             all %s pages checked, every one as it was written\n",
           grouped(pages, number));
    return 0;
}

static int run(struct demo *d)
{
    int rc;

    explain(d);
    if (set_up(d) < 0 || move(d) < 0) {
        return EXIT_FAILURE;
    }
    rc = show_guest(d);
    return d->status == 0 && rc < 0 ? EXIT_FAILURE : d->status;
}

static int finish(struct demo *d, int status)
{
    const int sig = lab_take_signal(d->lab, NULL);

    lab_close(d->lab);
    printf("%sBoth QEMU processes are stopped, their folder is removed.\n",
           sig != 0 ? "\nInterrupted. " : "\n");
    return sig != 0 ? KILLED + sig : status;
}

static int number(const char *text, uint64_t *out)
{
    char *end;

    errno = 0;
    *out = strtoull(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *out > 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
    struct demo d = {0};
    const char *missing = lab_missing();

    if (argc != 5 || number(argv[2], &d.memory_mib) < 0 ||
        number(argv[3], &d.pages_per_s) < 0 || number(argv[4], &d.link_bytes_per_s) < 0 ||
        d.memory_mib < 2 * OWN_MIB) {
        fprintf(stderr, "usage: demo POLICY MEMORY_MIB PAGES_PER_S BYTES_PER_S; tools/demo "
                        "calls it\n");
        return 2;
    }
    if (missing) {
        fprintf(stderr, "demo: %s\n", missing);
        return EXIT_FAILURE;
    }
    d.policy = argv[1];
    d.busy_mib = d.memory_mib / 4;
    setvbuf(stdout, NULL, _IOLBF, 0);
    d.lab = lab_open();
    if (!d.lab || lab_catch_signals(d.lab) < 0) {
        lab_close(d.lab);
        return EXIT_FAILURE;
    }
    return finish(&d, run(&d));
}

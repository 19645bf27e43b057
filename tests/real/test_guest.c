/* The guest and the lab themselves, on a real QEMU: before a test may say "memory arrived whole",
 * the guest must be known to write as told and to see every kind of damage, and the lab to leave
 * nothing behind. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "lab.h"

#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    TEST_TIMEOUT_S = 300,
    SKIPPED = 77, /* what ctest takes for "not run" */
};

static struct fixture {
    struct lab *lab;
} f;

static void setup(void)
{
    f.lab = lab_open();
    ck_assert_ptr_nonnull(f.lab);
}

static void teardown(void)
{
    lab_close(f.lab);
    f.lab = NULL;
}

static struct lab_vm *start(const struct lab_vm_opts *opts)
{
    struct lab_vm *vm = lab_vm_start(f.lab, opts);

    ck_assert_ptr_nonnull(vm);
    return vm;
}

static struct lab_vm *boot_on(const char *machine, const char *append)
{
    struct lab_vm *vm = start(&(struct lab_vm_opts){.machine = machine, .append = append});

    ck_assert_int_eq(lab_guest_ready(vm), 0);
    return vm;
}

static struct lab_vm *boot(const char *append)
{
    return boot_on(NULL, append);
}

static struct lab_guest_status status_of(struct lab_vm *vm)
{
    struct lab_guest_status s;

    ck_assert_int_eq(lab_guest_status(vm, &s), 0);
    return s;
}

/* Pages written in about `ms` of guest time, scaled to exactly `ms`. */
static uint64_t writes_in(struct lab_vm *vm, uint64_t ms)
{
    struct lab_guest_status a = status_of(vm);
    struct lab_guest_status b;

    do {
        lab_pump(f.lab, 50);
        b = status_of(vm);
    } while (b.ms - a.ms < ms);
    return (b.writes - a.writes) * ms / (b.ms - a.ms);
}

static void check_near(uint64_t is, uint64_t want, unsigned percent)
{
    ck_assert_uint_ge(is * 100, want * (100 - percent));
    ck_assert_uint_le(is * 100, want * (100 + percent));
}

/* ---- workloads ---- */

static const char *const machines[] = {"pc-i440fx-7.2", "pc-q35-7.2"};

static const struct workload {
    const char *machine;
    const char *append;
    const char *ready;
    uint64_t writes; /* to wait for */
} workloads[] = {
    {NULL, NULL, "READY ws=16 hot=0 cold=0 rate=0 fill=word order=turn pages=4096", 0},
    {NULL, "ws=0 cold=8", "READY ws=0 hot=0 cold=8 rate=0 fill=word order=turn pages=2048",
     0},
    {NULL, "ws=32 rate=500", "READY ws=32 hot=0 cold=0 rate=500 ", 200},
    {NULL, "ws=64 cold=16 rate=20000", "READY ws=64 hot=0 cold=16 rate=20000 ", 40000},
    {NULL, "ws=16 rate=3500 tick=50", "READY ws=16 hot=0 cold=0 rate=3500 ", 4000},
    {NULL, "ws=32 hot=4 rate=20000", "READY ws=32 hot=4 cold=0 rate=20000 ", 20000},
    {NULL, "ws=8 hot=8 rate=20000", "READY ws=8 hot=8 cold=0 rate=20000 ", 20000},
    {NULL, "ws=16 rate=9000 order=random", "READY ws=16 hot=0 cold=0 rate=9000 ", 9000},
    {NULL, "ws=32 flat", "READY ws=32 hot=0 cold=0 rate=flat ", 1000000},
    {NULL, "ws=16 rate=flat fill=page order=random", "READY ws=16 hot=0 cold=0 rate=flat ",
     30000},
    {NULL, "ws=8 rate=2000 burst-on=100 burst-off=200",
     "READY ws=8 hot=0 cold=0 rate=2000 ", 400},
    {"pc-q35-7.2", "ws=48 cold=8 rate=5000 fill=page",
     "READY ws=48 hot=0 cold=8 rate=5000 ", 9000},
};
enum { N_WORKLOADS = sizeof(workloads) / sizeof(workloads[0]) };

START_TEST(every_workload_reports_and_verifies_clean)
{
    const struct workload *w = &workloads[_i];
    struct lab_vm *vm =
        start(&(struct lab_vm_opts){.machine = w->machine, .append = w->append});
    char line[LAB_LINE_MAX];

    ck_assert_int_eq(lab_guest_line(vm, "READY", line, sizeof(line), 0), 0);
    ck_assert_int_eq(strncmp(line, w->ready, strlen(w->ready)), 0);
    ck_assert_int_eq(lab_guest_wait_writes(vm, w->writes, 0), 0);
    ck_assert_int_eq(lab_guest_verify(vm), 1);
    ck_assert_uint_eq(status_of(vm).bad, 0);
}
END_TEST

START_TEST(the_rate_holds_and_can_be_changed)
{
    struct lab_vm *vm = boot("ws=32 rate=2000");
    char line[LAB_LINE_MAX];
    uint64_t writes;

    check_near(writes_in(vm, 1500), 3000, 20);
    ck_assert_int_eq(lab_guest_ask(vm, "r500\n", "RATE", line, sizeof(line)), 0);
    ck_assert_str_eq(line, "RATE rate=500");
    check_near(writes_in(vm, 1500), 750, 20);

    ck_assert_int_eq(lab_guest_ask(vm, "p", "RATE", line, sizeof(line)), 0);
    writes = status_of(vm).writes;
    ck_assert_uint_eq(writes_in(vm, 300), 0);
    ck_assert_int_eq(lab_guest_ask(vm, "rf\n", "RATE", line, sizeof(line)), 0);
    ck_assert_str_eq(line, "RATE rate=flat");
    ck_assert_int_eq(lab_guest_wait_writes(vm, writes + 100000, 0), 0);
    ck_assert_int_eq(lab_guest_verify(vm), 1);
}
END_TEST

START_TEST(bursts_leave_quiet_windows)
{
    struct lab_vm *vm = boot("ws=16 rate=10000 burst-on=100 burst-off=300");

    check_near(writes_in(vm, 4000), 10000, 25); /* on for a quarter of the time */
}
END_TEST

/* A page tells its generation when it is found stale. */
static unsigned generation_of(struct lab_vm *vm, unsigned page)
{
    char text[LAB_LINE_MAX];
    unsigned seen;
    unsigned want;

    snprintf(text, sizeof(text), "cs%u\n", page);
    ck_assert_int_eq(lab_guest_ask(vm, text, "BAD stale", text, sizeof(text)), 0);
    ck_assert_int_eq(sscanf(text, "BAD stale page=%u want=%u", &seen, &want), 2);
    ck_assert_uint_eq(seen, page);
    return want;
}

START_TEST(hot_pages_get_their_share)
{
    struct lab_vm *vm = boot("ws=5 hot=1 hot-share=60 rate=8000");
    unsigned hot;
    unsigned rest;

    ck_assert_int_eq(lab_guest_wait_writes(vm, 20000, 0), 0);
    hot = generation_of(vm, 0);
    rest = generation_of(vm, 256);
    ck_assert_uint_ge(hot, 40);       /* 60 % of 20000 over 256 pages: 46 */
    ck_assert_uint_ge(hot, 3 * rest); /* 40 % over 1024 pages: 7 */
    ck_assert_uint_ge(rest, 5);
}
END_TEST

START_TEST(parameters_that_make_no_sense_are_refused)
{
    static const char *const appends[] = {
        "ws=90 cold=16",    /* more than there is */
        "ws=0 cold=0",      /* nothing to vouch for */
        "sw=16",            /* unknown */
        "ws=sixteen",       /* not a number */
        "ws=8 hot=9",       /* hot is a part of ws */
        "ws=8 burst-on=10", /* half a window */
        "ws=8 tick=0",
        "ws=8 tick=51",
        "fill=half",
        "rate=10000001",
        "rate",
    };

    for (size_t i = 0; i < sizeof(appends) / sizeof(appends[0]); i++) {
        struct lab_vm *vm = start(&(struct lab_vm_opts){.append = appends[i]});
        char line[LAB_LINE_MAX];

        ck_assert_int_eq(lab_guest_line(vm, "ERROR", line, sizeof(line), 0), 0);
        ck_assert_int_eq(lab_vm_kill(vm, SIGKILL), 0);
        ck_assert_int_eq(lab_vm_wait_exit(vm, 0, NULL), 0);
    }
}
END_TEST

/* ---- damage ---- */

/* Pages of "ws=8 hot=1 cold=2": 0 hot, 256 rest, 2048 cold. */
static const struct damage {
    const char *append;
    const char *command;
    const char *verdict;
} damages[] = {
    {"", "cs0\n", "stale=1 lost=0 torn=0 table=0 seen=0 first=0"},
    {"", "cs300\n", "stale=1 lost=0 torn=0 table=0 seen=0 first=300"},
    {"", "cs2559\n", "stale=1 lost=0 torn=0 table=0 seen=0 first=2559"},
    {"", "cl0\n", "stale=0 lost=1 torn=0 table=0 seen=0 first=0"},
    {"", "cl300\n", "stale=0 lost=1 torn=0 table=0 seen=0 first=300"},
    {"", "cl2559\n", "stale=0 lost=1 torn=0 table=0 seen=0 first=2559"},
    {"", "ct0\n", "stale=0 lost=0 torn=1 table=0 seen=0 first=0"},
    {"", "ct2559\n", "stale=0 lost=0 torn=1 table=0 seen=0 first=2559"},
    {"", "cf300\n", "stale=0 lost=0 torn=1 table=0 seen=0 first=300"},
    {"", "cf2559\n", "stale=0 lost=0 torn=1 table=0 seen=0 first=2559"},
    {" fill=page", "cs300\n", "stale=1 lost=0 torn=0 table=0 seen=0 first=300"},
    {" fill=page", "cl300\n", "stale=0 lost=1 torn=0 table=0 seen=0 first=300"},
    {" fill=page", "ct300\n", "stale=0 lost=0 torn=1 table=0 seen=0 first=300"},
    /* The entry itself, the sum over its neighbours, and the sum over all. */
    {"", "ce300\n", "stale=0 lost=0 torn=0 table=3 seen=0 first=300"},
};
enum { N_DAMAGES = sizeof(damages) / sizeof(damages[0]) };

START_TEST(verify_sees_damage_and_tells_its_kind)
{
    const struct damage *d = &damages[_i];
    char append[LAB_LINE_MAX];
    char line[LAB_LINE_MAX];
    struct lab_vm *vm;

    snprintf(append, sizeof(append), "ws=8 hot=1 cold=2 rate=200000%s", d->append);
    vm = boot(append);
    ck_assert_int_eq(lab_guest_wait_writes(vm, 20000, 0), 0); /* every page of ws twice */
    ck_assert_int_eq(lab_guest_ask(vm, "p", "RATE", line, sizeof(line)), 0);
    ck_assert_int_eq(lab_guest_verify(vm), 1);
    ck_assert_int_eq(lab_guest_ask(vm, d->command, "DAMAGED", line, sizeof(line)), 0);
    ck_assert_int_eq(lab_guest_ask(vm, "v", "VERIFY", line, sizeof(line)), 0);
    ck_assert_int_eq(strncmp(line, "VERIFY BAD ", 11), 0);
    ck_assert_str_eq(line + 11, d->verdict);
    ck_assert_int_eq(lab_guest_verify(vm), 0);
}
END_TEST

START_TEST(damage_is_told_before_a_write_and_not_forgotten)
{
    struct lab_vm *vm = boot("ws=8");
    char line[LAB_LINE_MAX];

    ck_assert_int_eq(lab_guest_ask(vm, "cs77\n", "DAMAGED", line, sizeof(line)), 0);
    ck_assert_int_eq(lab_guest_cmd(vm, "r9000\n"), 0);
    ck_assert_int_eq(lab_guest_line(vm, "BAD", line, sizeof(line), 0), 0);
    ck_assert_str_eq(line, "BAD stale page=77 want=1 head=0 tail=0");
    ck_assert_uint_eq(lab_guest_bad_lines(vm), 1);
    ck_assert_uint_eq(status_of(vm).bad, 1);
    ck_assert_int_eq(lab_guest_ask(vm, "v", "VERIFY", line, sizeof(line)), 0);
    ck_assert_str_eq(line, "VERIFY BAD stale=0 lost=0 torn=0 table=0 seen=1 first=77");
}
END_TEST

/* ---- commands ---- */

START_TEST(reset_boots_again)
{
    struct lab_vm *vm = boot_on(machines[_i], "ws=16 cold=4 rate=5000");

    ck_assert_int_eq(lab_guest_wait_writes(vm, 2000, 0), 0);
    ck_assert_int_eq(lab_guest_cmd(vm, "b"), 0);
    ck_assert_int_eq(lab_wait_event(vm, "RESET", NULL, NULL, 0), 0);
    ck_assert_int_eq(lab_guest_ready(vm), 0);
    ck_assert_int_eq(lab_guest_wait_writes(vm, 2000, 0), 0);
    ck_assert_int_eq(lab_guest_verify(vm), 1);
    ck_assert_int_eq(lab_qmp_ok(vm, "system_reset", "{}"), 0);
    ck_assert_int_eq(lab_guest_ready(vm), 0);
    ck_assert_int_eq(lab_guest_verify(vm), 1);
}
END_TEST

START_TEST(power_off_ends_the_machine)
{
    struct lab_vm *vm = boot_on(machines[_i], "ws=4 flat");
    int status = -1;

    ck_assert_int_eq(lab_guest_cmd(vm, "h"), 0);
    ck_assert_int_eq(lab_vm_wait_exit(vm, 0, &status), 0);
    ck_assert_int_eq(status, 0);
    ck_assert_ptr_nonnull(lab_event_find(vm, "SHUTDOWN", "reason", "guest-shutdown"));
    ck_assert(!lab_vm_alive(vm));
}
END_TEST

START_TEST(power_off_with_no_shutdown_leaves_it_stopped)
{
    struct lab_vm *vm = start(&(struct lab_vm_opts){.append = "ws=4", .no_shutdown = true});
    char state[LAB_STATE_MAX];

    ck_assert_int_eq(lab_guest_ready(vm), 0);
    ck_assert_int_eq(lab_guest_cmd(vm, "h"), 0);
    ck_assert_int_eq(lab_wait_run_state(vm, "shutdown", 0), 0);
    ck_assert_int_eq(lab_run_state(vm, state), 0);
    ck_assert_str_eq(state, "shutdown");
    ck_assert_int_eq(lab_running_count(f.lab), 0);
}
END_TEST

START_TEST(panic_needs_its_device)
{
    static const char *const device[] = {"-device", "pvpanic", "-action", "panic=pause",
                                         NULL};
    struct lab_vm *vm = start(&(struct lab_vm_opts){.append = "ws=4", .extra = device});
    struct lab_vm *bare = boot("ws=4");
    char line[LAB_LINE_MAX];

    ck_assert_int_eq(lab_guest_ready(vm), 0);
    ck_assert_int_eq(lab_guest_cmd(vm, "x"), 0);
    ck_assert_int_eq(lab_wait_event(vm, "GUEST_PANICKED", NULL, NULL, 0), 0);
    ck_assert_int_eq(lab_wait_run_state(vm, "guest-panicked", 0), 0);
    ck_assert_int_eq(lab_guest_ask(bare, "x", "ERROR", line, sizeof(line)), 0);
    ck_assert_str_eq(line, "ERROR no pvpanic device");
}
END_TEST

START_TEST(wrong_commands_are_refused_and_harmless)
{
    struct lab_vm *vm = boot("ws=4");
    static const char *const wrong[] = {"?", "r12x\n", "r\n", "c\n", "cs1024\n", "cz1\n"};
    char line[LAB_LINE_MAX];

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        ck_assert_int_eq(lab_guest_ask(vm, wrong[i], "ERROR", line, sizeof(line)), 0);
    }
    ck_assert_int_eq(lab_guest_cmd(vm, "\n\r\n"), 0);
    ck_assert_int_eq(lab_guest_verify(vm), 1);
}
END_TEST

/* ---- ticks ---- */

/* The clock counts 10 ms a tick, and 1 ms while ticks are sent: two sums tell how many of each
 * there were, exactly, however slow this machine is. */
START_TEST(ticks_are_not_lost_and_never_break_lines)
{
    struct lab_vm *vm = boot("ws=16 flat");
    struct lab_guest_status a = status_of(vm);
    struct lab_guest_status b;
    size_t seen;

    ck_assert_int_eq(lab_ticks_start(vm, NULL), 0);
    for (int i = 0; i < 200; i++) {
        ck_assert_uint_eq(status_of(vm).bad, 0);
    }
    ck_assert_int_eq(lab_ticks_wait(vm, 500, 0), 0);
    ck_assert_int_eq(lab_guest_verify(vm), 1);
    ck_assert_int_eq(lab_ticks_stop(vm), 0);
    seen = lab_ticks_count(vm);
    b = status_of(vm);
    ck_assert_uint_ge(seen, 500);
    ck_assert_uint_eq(9 * seen, 10 * (b.ticks - a.ticks) - (b.ms - a.ms));

    do {
        a = status_of(vm);
    } while (a.ticks - b.ticks < 10);
    ck_assert_uint_eq(a.ms - b.ms, 10 * (a.ticks - b.ticks));
    ck_assert_uint_eq(lab_ticks_count(vm), seen);
}
END_TEST

START_TEST(a_stopped_guest_shows_as_a_blackout)
{
    struct lab_vm *vm = boot("ws=4 rate=100");
    struct lab_blackout b;

    ck_assert_int_eq(lab_ticks_start(vm, NULL), 0);
    ck_assert_int_eq(lab_ticks_wait(vm, 100, 0), 0);
    ck_assert_int_eq(lab_qmp_ok(vm, "stop", "{}"), 0);
    lab_pump(f.lab, 2000);
    ck_assert_int_eq(lab_qmp_ok(vm, "cont", "{}"), 0);
    ck_assert_int_eq(lab_ticks_wait(vm, 100, 0), 0);
    lab_blackout(vm, NULL, &b);
    ck_assert_double_ge(b.largest_ms, 1990.0);
    ck_assert_double_eq(b.handover_ms, 0.0);
    ck_assert_uint_eq(b.overlap, 0);
    ck_assert_double_eq(lab_blackout_ms(vm, NULL), b.largest_ms);
}
END_TEST

/* ---- one migration, by hand ---- */

static void take_capabilities(struct lab_vm *vm, bool source)
{
    ck_assert_int_eq(
        lab_qmp_ok(vm, "migrate-set-capabilities",
                   "{\"capabilities\": ["
                   "{\"capability\": \"events\", \"state\": true},"
                   "{\"capability\": \"return-path\", \"state\": true},"
                   "{\"capability\": \"pause-before-switchover\", \"state\": %s}]}",
                   source ? "true" : "false"),
        0);
}

static const char *const moving[] = {
    "ws=48 cold=8 rate=3000",
    "ws=32 hot=1 rate=20000 fill=page order=random",
    "ws=24 flat",
};
enum { N_MOVING = sizeof(moving) / sizeof(moving[0]) };

START_TEST(memory_arrives_whole)
{
    struct lab_vm *src = start(&(struct lab_vm_opts){
        .name = "src", .machine = machines[_i % 2], .append = moving[_i]});
    struct lab_vm *dst = start(&(struct lab_vm_opts){.name = "dst",
                                                     .machine = machines[_i % 2],
                                                     .append = moving[_i],
                                                     .incoming = true,
                                                     .paused = true});
    struct lab_guest_status before;
    struct lab_guest_status after;
    struct lab_blackout b;
    char state[LAB_STATE_MAX];
    char uri[64];

    ck_assert_int_eq(lab_guest_ready(src), 0);
    ck_assert_int_eq(lab_ticks_start(src, dst), 0);
    ck_assert_int_eq(lab_guest_wait_writes(src, 2000, 0), 0);
    take_capabilities(src, true);
    take_capabilities(dst, false);
    ck_assert_int_eq(
        lab_qmp_ok(src, "migrate-set-parameters", "{\"downtime-limit\": 2000}"), 0);
    ck_assert_int_eq(lab_vm_listen(dst, uri, sizeof(uri)), 0);
    before = status_of(src);

    ck_assert_int_eq(lab_qmp_ok(src, "migrate", "{\"uri\": \"%s\"}", uri), 0);
    ck_assert_int_eq(lab_wait_event(src, "MIGRATION", "status", "pre-switchover", 0), 0);
    ck_assert_int_eq(lab_running_count(f.lab), 0);
    ck_assert_int_eq(lab_run_state(dst, state), 0);
    ck_assert_str_eq(state, "inmigrate");
    ck_assert_int_eq(lab_qmp_ok(src, "migrate-continue", "{\"state\": \"pre-switchover\"}"),
                     0);
    ck_assert_int_eq(lab_wait_event(src, "MIGRATION", "status", "completed", 0), 0);
    ck_assert_int_eq(lab_wait_event(dst, "MIGRATION", "status", "completed", 0), 0);
    ck_assert_int_eq(lab_wait_mig_status(src, "completed", 0), 0);
    ck_assert_int_eq(lab_wait_run_state(src, "postmigrate", 0), 0);
    ck_assert_int_eq(lab_wait_run_state(dst, "paused", 0), 0);
    ck_assert_int_eq(lab_qmp_ok(dst, "cont", "{}"), 0);
    ck_assert_int_eq(lab_wait_run_state(dst, "running", 0), 0);

    ck_assert_int_eq(lab_running_count(f.lab), 1);
    ck_assert_int_eq(lab_ticks_wait(dst, 200, 0), 0);
    after = status_of(dst);
    ck_assert_uint_ge(after.writes, before.writes);
    ck_assert_int_eq(lab_guest_wait_writes(dst, after.writes + 10000, 0), 0);
    ck_assert_int_eq(lab_guest_verify(dst), 1);
    ck_assert_uint_eq(lab_guest_bad_lines(src), 0);

    lab_blackout(src, dst, &b);
    ck_assert_uint_gt(b.src_ticks, 0);
    ck_assert_uint_gt(b.dst_ticks, 0);
    ck_assert_uint_eq(b.overlap, 0);
    ck_assert_double_gt(b.handover_ms, 0.0);
    ck_assert_double_ge(b.largest_ms, b.handover_ms);
    printf("%s: blackout %.1f ms, handover %.1f ms\n", moving[_i], b.largest_ms,
           b.handover_ms);
}
END_TEST

/* ---- the lab ---- */

START_TEST(the_witness_tells_refusals_from_silence)
{
    struct lab_vm *vm = boot("ws=4");
    char why[256];
    json_t *result;

    ck_assert_ptr_null(lab_qmp_try(vm, "no-such-command", NULL, 0, why, sizeof(why)));
    ck_assert_int_eq(strncmp(why, "CommandNotFound: ", 17), 0);
    result = lab_qmp_oob(vm, "query-yank", NULL);
    ck_assert(json_is_array(result));
    json_decref(result);

    ck_assert_int_eq(lab_vm_kill(vm, SIGSTOP), 0);
    ck_assert_ptr_null(lab_qmp_try(vm, "query-status", NULL, 200, why, sizeof(why)));
    ck_assert_str_eq(why, "no answer");
    ck_assert_int_eq(lab_vm_kill(vm, SIGCONT), 0);
    ck_assert_int_eq(lab_wait_run_state(vm, "running", 0),
                     0); /* the late answer is no trouble */

    ck_assert_int_eq(lab_vm_kill(vm, SIGKILL), 0);
    ck_assert_int_eq(lab_vm_wait_exit(vm, 0, NULL), 0);
    ck_assert_ptr_null(lab_qmp_try(vm, "query-status", NULL, 0, why, sizeof(why)));
    ck_assert_str_eq(why, "monitor closed");
}
END_TEST

START_TEST(integers_beyond_64_signed_bits_come_as_text)
{
    struct lab_vm *vm = boot("ws=4");
    json_t *result;

    ck_assert_int_eq(lab_qmp_ok(vm, "migrate-set-parameters",
                                "{\"tls-hostname\": \"a\\\"9999999999999999999\"}"),
                     0);
    ck_assert_int_eq(lab_qmp_ok(vm, "migrate-set-parameters", "{\"max-bandwidth\": %s}",
                                "9223372036854775808"),
                     0);
    result = lab_qmp(vm, "query-migrate-parameters", NULL);
    ck_assert_str_eq(json_string_value(json_object_get(result, "max-bandwidth")),
                     "9223372036854775808");
    ck_assert_str_eq(json_string_value(json_object_get(result, "tls-hostname")),
                     "a\"9999999999999999999");
    json_decref(result);
}
END_TEST

START_TEST(a_qemu_that_does_not_start_is_an_answer)
{
    static const char *const extra[] = {"-no-such-option", NULL};

    ck_assert_ptr_null(lab_vm_start(f.lab, &(struct lab_vm_opts){.extra = extra}));
    ck_assert_ptr_null(lab_vm_start(f.lab, &(struct lab_vm_opts){.qemu = "/no/such/qemu"}));
    ck_assert_int_eq(lab_running_count(f.lab), 0);
}
END_TEST

START_TEST(programs_are_watched)
{
    const char *const argv[] = {
        "sh", "-c", "echo one; echo two >&2; echo three; read x || exit 5", NULL};
    const char *const sleeper[] = {"sleep", "1000", NULL};
    struct lab_proc *p = lab_spawn(f.lab, argv);
    struct lab_proc *q = lab_spawn(f.lab, sleeper);
    char line[LAB_LINE_MAX];
    int status;

    ck_assert_ptr_nonnull(p);
    ck_assert_ptr_nonnull(q);
    ck_assert_int_eq(lab_proc_line(p, "re", line, sizeof(line), 0), 0);
    ck_assert_str_eq(line, "three");
    ck_assert_int_eq(lab_proc_wait(p, 0, &status), 0);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 5);
    ck_assert_str_eq(lab_proc_stdout(p), "one\nthree\n");
    ck_assert_str_eq(lab_proc_stderr(p), "two\n");
    ck_assert_int_gt(lab_proc_rusage(p)->ru_maxrss, 0);
    ck_assert_int_eq(lab_proc_line(p, "one", NULL, 0, 0), -1); /* used up */

    ck_assert(lab_proc_alive(q));
    ck_assert_int_eq(lab_proc_wait(q, 20, NULL), -1);
    ck_assert_int_eq(lab_proc_signal(q, SIGTERM), 0);
    ck_assert_int_eq(lab_proc_wait(q, 0, &status), 0);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}
END_TEST

/* Wait until the process behind a pidfd has ended and the folder is gone. */
static void wait_until_gone(int pidfd, const char *dir)
{
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};

    ck_assert_int_eq(poll(&ended, 1, LAB_WAIT_MS), 1);
    close(pidfd);
    for (int ms = 0; ms < LAB_WAIT_MS && access(dir, F_OK) == 0; ms += 10) {
        lab_pump(f.lab, 10);
    }
    ck_assert_int_ne(access(dir, F_OK), 0);
}

START_TEST(closing_the_lab_leaves_nothing)
{
    struct lab *other = lab_open();
    char dir[LAB_PATH_MAX];
    struct lab_vm *vm;
    int pidfd;

    ck_assert_ptr_nonnull(other);
    vm = lab_vm_start(other, &(struct lab_vm_opts){.append = "ws=4"});
    ck_assert_ptr_nonnull(vm);
    pidfd = pidfd_open(lab_vm_pid(vm), 0);
    ck_assert_int_ge(pidfd, 0);
    snprintf(dir, sizeof(dir), "%s", lab_dir(other));
    ck_assert_int_eq(access(lab_vm_qmp_path(vm), F_OK), 0);
    lab_close(other);
    ck_assert_int_ne(access(dir, F_OK), 0);
    wait_until_gone(pidfd, dir);
}
END_TEST

struct left {
    pid_t qemu;
    char dir[LAB_PATH_MAX];
};

/* What a test does that is killed in the middle. */
static void open_and_hang(int report_fd)
{
    struct lab *lab = lab_open();
    struct lab_vm *vm =
        lab ? lab_vm_start(lab, &(struct lab_vm_opts){.append = "ws=4"}) : NULL;
    struct left left = {.qemu = vm ? lab_vm_pid(vm) : -1};

    if (!vm) {
        _exit(1);
    }
    snprintf(left.dir, sizeof(left.dir), "%s", lab_dir(lab));
    if (write(report_fd, &left, sizeof(left)) != sizeof(left)) {
        _exit(1);
    }
    for (;;) {
        pause();
    }
}

START_TEST(a_killed_test_leaves_nothing)
{
    struct left left;
    int report[2];
    int pidfd;
    pid_t test;

    ck_assert_int_eq(pipe(report), 0);
    test = fork();
    ck_assert_int_ge(test, 0);
    if (test == 0) {
        open_and_hang(report[1]);
    }
    close(report[1]);
    ck_assert_int_eq(read(report[0], &left, sizeof(left)), sizeof(left));
    close(report[0]);
    pidfd = pidfd_open(left.qemu, 0);
    ck_assert_int_ge(pidfd, 0);
    ck_assert_int_eq(access(left.dir, F_OK), 0);
    ck_assert_int_eq(kill(test, SIGKILL), 0);
    ck_assert_int_eq(waitpid(test, NULL, 0), test);
    wait_until_gone(pidfd, left.dir);
}
END_TEST

static TCase *new_case(Suite *s, const char *name)
{
    TCase *tc = tcase_create(name);

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, TEST_TIMEOUT_S);
    suite_add_tcase(s, tc);
    return tc;
}

static Suite *guest_suite(void)
{
    Suite *s = suite_create("guest");
    TCase *tc = new_case(s, "workloads");

    tcase_add_loop_test(tc, every_workload_reports_and_verifies_clean, 0, N_WORKLOADS);
    tcase_add_test(tc, the_rate_holds_and_can_be_changed);
    tcase_add_test(tc, bursts_leave_quiet_windows);
    tcase_add_test(tc, hot_pages_get_their_share);
    tcase_add_test(tc, parameters_that_make_no_sense_are_refused);

    tc = new_case(s, "damage");
    tcase_add_loop_test(tc, verify_sees_damage_and_tells_its_kind, 0, N_DAMAGES);
    tcase_add_test(tc, damage_is_told_before_a_write_and_not_forgotten);

    tc = new_case(s, "commands");
    tcase_add_loop_test(tc, reset_boots_again, 0, 2);
    tcase_add_loop_test(tc, power_off_ends_the_machine, 0, 2);
    tcase_add_test(tc, power_off_with_no_shutdown_leaves_it_stopped);
    tcase_add_test(tc, panic_needs_its_device);
    tcase_add_test(tc, wrong_commands_are_refused_and_harmless);

    tc = new_case(s, "ticks");
    tcase_add_test(tc, ticks_are_not_lost_and_never_break_lines);
    tcase_add_test(tc, a_stopped_guest_shows_as_a_blackout);

    tc = new_case(s, "migration");
    tcase_add_loop_test(tc, memory_arrives_whole, 0, N_MOVING);

    tc = new_case(s, "lab");
    tcase_add_test(tc, the_witness_tells_refusals_from_silence);
    tcase_add_test(tc, integers_beyond_64_signed_bits_come_as_text);
    tcase_add_test(tc, a_qemu_that_does_not_start_is_an_answer);
    tcase_add_test(tc, programs_are_watched);
    tcase_add_test(tc, closing_the_lab_leaves_nothing);
    tcase_add_test(tc, a_killed_test_leaves_nothing);
    return s;
}

int main(void)
{
    const char *missing = lab_missing();
    SRunner *runner;
    int failed;

    if (missing) {
        printf("skipped: %s\n", missing);
        return SKIPPED;
    }
    runner = srunner_create(guest_suite());
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

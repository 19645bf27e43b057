/* Channels (multifd) between real QEMUs, TCG: moves with them, compressed, without a copy, together
 * with post-copy where QEMU can, cancelled and killed. QEMU 7.2, or what QFERRY_QEMU names.
 *
 * The silent network is between two hosts (hosts.h), and needs root and iproute2. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/real/hosts.h"

#define SLOWLY "--bandwidth", "40MiB"

static struct fixture {
    struct world w;
} f;

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    world_open(&f.w);
}

static void teardown(void)
{
    world_close(&f.w);
    hosts_close();
}

/* ---- what QEMU says ---- */

static bool is_on(struct lab_vm *vm, const char *capability, bool *offered)
{
    json_t *list = lab_qmp(vm, "query-migrate-capabilities", NULL);
    const json_t *one;
    size_t i;
    bool on = false;

    ck_assert_ptr_nonnull(list);
    *offered = false;
    json_array_foreach (list, i, one) {
        if (strcmp(json_string_value(json_object_get(one, "capability")), capability) != 0)
            continue;
        *offered = true;
        on = json_is_true(json_object_get(one, "state"));
    }
    json_decref(list);
    return on;
}

static void expect_on(struct lab_vm *vm, const char *capability, bool want)
{
    bool offered;

    ck_assert_msg(is_on(vm, capability, &offered) == want, "%s: %s is %s", lab_vm_name(vm),
                  capability, want ? "off" : "on");
}

static void expect_parameter(struct lab_vm *vm, const char *name, json_t *want)
{
    json_t *parameters = lab_qmp(vm, "query-migrate-parameters", NULL);

    ck_assert_msg(json_equal(json_object_get(parameters, name), want), "%s: %s",
                  lab_vm_name(vm), name);
    json_decref(parameters);
    json_decref(want);
}

/* Does this QEMU know of the conflict with post-copy? */
static bool is_new(void)
{
    bool offered;

    (void)is_on(f.w.dst, "mapped-ram", &offered);
    return offered;
}

static void expect_both_put_back(void)
{
    expect_settings(f.w.src, f.w.src_settings);
    expect_settings(f.w.dst, f.w.dst_settings);
}

/* While memory moves. */
static void expect_channels(int n, const char *method)
{
    struct lab_vm *const vms[] = {f.w.src, f.w.dst};

    for (unsigned i = 0; i < 2; i++) {
        expect_on(vms[i], "multifd", n > 0);
        if (n == 0)
            continue;
        expect_parameter(vms[i], "multifd-channels", json_integer(n));
        expect_parameter(vms[i], "multifd-compression", json_string(method));
    }
}

static void expect_moved(struct move *m)
{
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    expect_guest_on(&f.w, f.w.dst);
    expect_both_put_back();
}

static long long number(const struct move *m, const char *key)
{
    return json_integer_value(json_object_get(m->result, key));
}

/* QEMU 7.2 can wait for ever for a channel that has ended, seen once in some ten runs. Then
 * nothing can be set any more, and that is said. */
static bool expect_put_back_unless_stuck(const struct move *m)
{
    char status[LAB_STATE_MAX];

    ck_assert_int_eq(lab_mig_status(f.w.src, status), 0);
    if (strcmp(status, "cancelling") == 0 ||
        move_has(m, "warning", "message", "cannot be moved again")) {
        ck_assert(move_has(m, "warning", "message", "cannot be moved again"));
        return false;
    }
    expect_settings(f.w.src, f.w.src_settings);
    return true;
}

/* ---- moves ---- */

static const struct {
    const char *n;
    int channels;
    const char *method;
} moves[] = {
    {"0", 0, "none"}, {"1", 1, "none"}, {"2", 2, "none"},
    {"4", 4, "none"}, {"3", 3, "zlib"}, {"2", 2, "zstd"},
};

/* Some passes over a guest that writes: what was sent by one channel and is sent again by another
 * must not arrive in the wrong order. */
START_TEST(all_of_the_memory_arrives)
{
    world_pair(&f.w, "ws=32 cold=32 rate=1500");
    struct move *m = move_begin(
        &f.w, ARGS(SLOWLY, "--channels", moves[_i].n, "--compression", moves[_i].method));
    move_wait_memory(m);
    expect_channels(moves[_i].channels, moves[_i].method);
    expect_moved(m);
    ck_assert_str_eq(move_verdict(m, "channels"), "ok");
    const bool may_hang = moves[_i].channels > 0 && !lab_vm_is(f.w.src, 11, 0);
    ck_assert(move_has(m, "check", "message", "a QEMU older than 11 can hang") == may_hang);
    ck_assert_int_ge(number(m, "passes"), 2);
    ck_assert_int_ge(number(m, "transferred"), 64 << 20);
    ck_assert(move_has(m, "forecast", "verdict", "converges"));
}
END_TEST

/* The rate that QEMU is told from 8.2 on (avail-switchover-bandwidth) is what it decides by, and is put
 * back. What it is for, memory that compresses well, this guest has not: tests/sim has. */
START_TEST(compressed_passes_converge)
{
    world_pair(&f.w, "ws=64 rate=20000");
    struct move *m =
        move_run(&f.w, ARGS("--bandwidth", "100MiB", "--channels", "2", "--compression",
                            "zstd", "--timeout", "60s", "--set", "throttle.allowed=false"));
    move_expect(m, 0, "completed", "destination");
    expect_guest_on(&f.w, f.w.dst);
    expect_both_put_back();
}
END_TEST

START_TEST(a_policy_gets_its_channels)
{
    world_pair(&f.w, "ws=16 rate=500");
    struct move *m = move_begin(&f.w, ARGS(SLOWLY, "-p", "very-large-vm"));
    move_wait_memory(m);
    expect_channels(8, "none");
    expect_moved(m);
}
END_TEST

START_TEST(nobody_asked_for_channels)
{
    world_pair(&f.w, "ws=16 rate=500");
    struct move *m = move_begin(&f.w, ARGS(SLOWLY));
    move_wait_memory(m);
    expect_channels(0, "none");
    expect_moved(m);
    ck_assert(move_has(m, "check", "message", "the speed of the link is not known"));
}
END_TEST

/* Somebody left them on, on one side: a mismatch would hang the destination. */
START_TEST(what_others_left_on_is_none_of_ours)
{
    world_pair(&f.w, "ws=16 rate=500");
    ck_assert_int_eq(
        lab_qmp_ok(f.w.src, "migrate-set-parameters", "%s",
                   "{\"multifd-channels\": 7, \"multifd-compression\": \"zlib\"}"),
        0);
    ck_assert_int_eq(
        lab_qmp_ok(f.w.src, "migrate-set-capabilities", "%s",
                   "{\"capabilities\": [{\"capability\": \"multifd\", \"state\": "
                   "true}]}"),
        0);
    json_decref(f.w.src_settings);
    f.w.src_settings = settings_of(f.w.src);
    struct move *m =
        _i == 0
            ? move_begin(&f.w, ARGS(SLOWLY))
            : move_begin(&f.w, ARGS(SLOWLY, "--channels", "2", "--compression", "none"));
    move_wait_memory(m);
    expect_channels(_i == 0 ? 0 : 2, "none");
    expect_moved(m);
}
END_TEST

START_TEST(a_guest_that_never_converges_stays)
{
    world_pair(&f.w, "ws=64 rate=flat");
    struct move *m = move_run(&f.w, ARGS(SLOWLY, "--channels", "4", "--timeout", "6s",
                                         "--set", "throttle.allowed=false"));
    move_expect(m, 4, "aborted", "source");
    expect_guest_on(&f.w, f.w.src);
    (void)expect_put_back_unless_stuck(m);
    ck_assert_int_ge(number(m, "passes"), 2);
}
END_TEST

/* ---- with post-copy ---- */

#define BUSY "ws=64 rate=flat"

/* 7.2 takes both and its destination dies with the guest: it must not come to that. 8.0 to 10.0
 * refuse, 10.1 can: where QEMU knows of it, its word counts. */
START_TEST(channels_and_postcopy_by_option)
{
    world_pair(&f.w, BUSY);
    struct move *m = move_run(&f.w, ARGS(SLOWLY, "-p", "post-copy", "--set",
                                         "postcopy.bandwidth=200MiB", "--channels", "4"));
    if (is_new() && m->exit == 0) {
        ck_assert_str_eq(move_result(m, "mode"), "postcopy");
        expect_guest_on(&f.w, f.w.dst);
    } else {
        move_expect(m, 3, "refused", "source");
        move_expect_reason(m, "postcopy.allowed=false");
        expect_guest_on(&f.w, f.w.src);
    }
    expect_both_put_back();
}
END_TEST

START_TEST(channels_and_postcopy_by_policy)
{
    world_pair(&f.w, BUSY);
    struct move *m =
        move_run(&f.w, ARGS(SLOWLY, "-p", "post-copy", "--set", "postcopy.bandwidth=200MiB",
                            "--set", "channels=4"));
    move_expect(m, 0, "completed", "destination");
    ck_assert_str_eq(move_result(m, "mode"), "postcopy");
    expect_guest_on(&f.w, f.w.dst);
    expect_both_put_back();
    if (!is_new())
        ck_assert_str_eq(move_verdict(m, "channels"), "warning");
}
END_TEST

/* ---- without a copy ---- */

START_TEST(zero_copy_moves)
{
    world_pair(&f.w, "ws=16 cold=32 rate=1000");
    struct move *m = move_begin(&f.w, ARGS(SLOWLY, "--zero-copy"));
    move_wait_memory(m);
    expect_channels(2, "none");
    expect_on(f.w.src, "zero-copy-send", true);
    expect_moved(m);
    ck_assert_str_eq(move_verdict(m, "zero-copy"), "ok");
}
END_TEST

/* A QEMU that may lock 1 MiB, whoever starts it: refused; raised, where we may do that, moved. */
START_TEST(zero_copy_needs_memory_that_may_be_locked)
{
    char script[LAB_PATH_MAX];
    char command[256];
    FILE *file = fopen(lab_path(f.w.lab, "limited-qemu", script), "w");

    ck_assert_ptr_nonnull(file);
    fprintf(
        file,
        "#!/bin/sh\nexec prlimit --memlock=1048576: setpriv --bounding-set=-ipc_lock %s "
        "\"$@\"\n",
        lab_qemu(false));
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(chmod(script, 0700), 0);
    world_pair_of(&f.w, &(struct lab_vm_opts){.qemu = script, .append = "ws=16 rate=500"});
    struct move *m = move_run(&f.w, ARGS(SLOWLY, "--zero-copy"));
    move_expect(m, 3, "refused", "source");
    move_expect_reason(m, "zero-copy: the source's QEMU may lock 1.0 MiB of memory");
    expect_guest_on(&f.w, f.w.src);
    expect_both_put_back();

    const char *advice = strstr(move_result(m, "reason"), "prlimit --pid ");
    ck_assert_ptr_nonnull(advice);
    snprintf(command, sizeof(command), "%s", advice);
    if (system(command) != 0) {
        printf(
            "not tried: zero-copy with memory that may be locked: needs CAP_SYS_RESOURCE\n");
        return;
    }
    m = move_run(&f.w, ARGS(SLOWLY, "--zero-copy"));
    move_expect(m, 0, "completed", "destination");
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

/* ---- trouble ---- */

static bool expect_cancelled(const struct move *m)
{
    move_expect(m, 5, "cancelled", "source");
    expect_guest_on(&f.w, f.w.src);
    return expect_put_back_unless_stuck(m);
}

START_TEST(a_cancel_gives_the_guest_back)
{
    world_pair(&f.w, BUSY);
    struct move *m = move_begin(&f.w, ARGS(SLOWLY, "--channels", "4"));
    move_wait_memory(m);
    ck_assert_int_eq(lab_proc_signal(m->proc, SIGINT), 0);
    move_end(m);
    if (!expect_cancelled(m))
        return;

    world_new_destination(&f.w);
    move_expect(move_run(&f.w, ARGS("--channels", "2", "-p", "stop-and-copy")), 0,
                "completed", "destination");
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

START_TEST(a_cancel_needs_no_destination)
{
    world_pair(&f.w, BUSY);
    struct move *m = move_begin(&f.w, ARGS(SLOWLY, "--channels", "4"));
    move_wait_memory(m);
    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGSTOP), 0);
    ck_assert_int_eq(lab_proc_signal(m->proc, SIGINT), 0);
    move_end(m);
    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGKILL), 0);
    ck_assert_int_eq(lab_vm_wait_exit(f.w.dst, 0, NULL), 0);
    (void)expect_cancelled(m);
}
END_TEST

START_TEST(a_dead_destination_costs_nothing)
{
    world_pair(&f.w, BUSY);
    struct move *m = move_begin(&f.w, ARGS(SLOWLY, "--channels", "4"));
    move_wait_memory(m);
    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGKILL), 0);
    move_end(m);
    ck_assert_msg(m->exit == 4, "exit %d: %s", m->exit, move_result(m, "reason"));
    ck_assert_str_eq(move_result(m, "running_on"), "source");
    expect_guest_on(&f.w, f.w.src);
    (void)expect_put_back_unless_stuck(m);
}
END_TEST

/* ---- a network that says nothing any more ---- */

/* QEMU then stays in `cancelling` (7.2, 11.1) until it is yanked. */
START_TEST(a_cancel_works_in_a_silent_network)
{
    hosts_open(&f.w);
    hosts_pair(&f.w, BUSY);
    struct move *m = move_begin(
        &f.w, ARGS(SLOWLY, "--channels", "4", "--destination-address", "10.77.1.2"));
    move_wait_memory(m);
    hosts_make_black_hole("mig0", 1);
    /* Until nothing moves: the buffers of the kernel are full. */
    for (long long before = -1, now = 0; before != now;) {
        lab_pump(f.w.lab, 300);
        json_t *q = lab_qmp(f.w.src, "query-migrate", NULL);
        before = now;
        now = json_integer_value(json_object_get(json_object_get(q, "ram"), "transferred"));
        json_decref(q);
    }
    ck_assert_int_eq(lab_proc_signal(m->proc, SIGINT), 0);
    move_end(m);
    (void)expect_cancelled(m);
}
END_TEST

static Suite *channels_suite(void)
{
    const char *no_hosts = hosts_missing();
    Suite *s = suite_create("channels");
    TCase *t = tcase_create("moves");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_loop_test(t, all_of_the_memory_arrives, 0, sizeof(moves) / sizeof(moves[0]));
    tcase_add_test(t, compressed_passes_converge);
    tcase_add_test(t, a_policy_gets_its_channels);
    tcase_add_test(t, nobody_asked_for_channels);
    tcase_add_loop_test(t, what_others_left_on_is_none_of_ours, 0, 2);
    tcase_add_test(t, a_guest_that_never_converges_stays);
    suite_add_tcase(s, t);

    t = tcase_create("post-copy");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, channels_and_postcopy_by_option);
    tcase_add_test(t, channels_and_postcopy_by_policy);
    suite_add_tcase(s, t);

    t = tcase_create("zero-copy");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    if (geteuid() == 0) { /* who may lock memory, and who may raise the limit of another */
        tcase_add_test(t, zero_copy_moves);
        tcase_add_test(t, zero_copy_needs_memory_that_may_be_locked);
    }
    suite_add_tcase(s, t);

    t = tcase_create("cancel");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, a_cancel_gives_the_guest_back);
    suite_add_tcase(s, t);

    t = tcase_create("trouble");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, a_cancel_needs_no_destination);
    tcase_add_test(t, a_dead_destination_costs_nothing);
    if (no_hosts)
        printf("skipped in part: %s\n", no_hosts);
    else
        tcase_add_test(t, a_cancel_works_in_a_silent_network);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return hosts_main_partly(channels_suite);
}

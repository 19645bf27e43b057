/* SIGINT in every phase: exit 5 and the guest on the source while that can be, forward where it
 * cannot. QEMU 7.2, TCG. */
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/real/move.h"

enum { SOON_MS = 10 * 1000 /* no measurement: what a guest would not forgive */ };

static struct fixture {
    struct world w;
    int fd; /* a client on somebody's monitor; -1: none */
} f;

static void setup(void)
{
    f.fd = -1;
    world_open(&f.w);
}

static void teardown(void)
{
    if (f.fd >= 0)
        (void)close(f.fd);
    f.fd = -1;
    world_close(&f.w);
}

static void cancel(struct move *m)
{
    ck_assert_int_eq(lab_proc_signal(m->proc, SIGINT), 0);
}

static void expect_cancelled(struct move *m)
{
    move_end(m);
    move_expect(m, 5, "cancelled", "source");
    expect_guest_on(&f.w, f.w.src);
    expect_settings(f.w.src, f.w.src_settings);
}

static void expect_source_stopped(void)
{
    char state[LAB_STATE_MAX];

    ck_assert_int_eq(lab_run_state(f.w.src, state), 0);
    ck_assert_str_ne(state, "running");
}

/* Cancelled; or failed: the cancel shuts the socket first, and a thread that waits in it may be
 * sooner to say so (7.2). */
static void wait_for_the_end_on_source(const struct move *m)
{
    const int64_t until_ns = lab_now_ns() + SOON_MS * INT64_C(1000000);
    char status[LAB_STATE_MAX];

    do {
        lab_pump(f.w.lab, 20);
        ck_assert_int_eq(lab_mig_status(f.w.src, status), 0);
        if (strcmp(status, "cancelled") == 0 || strcmp(status, "failed") == 0)
            return;
    } while (lab_now_ns() < until_ns);
    move_dump(m);
    ck_abort_msg("the source's migration is still %s", status);
}

/* The source is as good as new. */
static void expect_next_attempt_moves(void)
{
    world_new_destination(&f.w);
    move_expect(move_run(&f.w, ARGS("--bandwidth", "40MiB")), 0, "completed",
                "destination");
    expect_guest_on(&f.w, f.w.dst);
}

/* Be the one client that a monitor serves. */
static void occupy(struct lab_vm *vm)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    strncpy(a.sun_path, lab_vm_qmp_path(vm), sizeof(a.sun_path) - 1);
    f.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(f.fd, 0);
    ck_assert_int_eq(connect(f.fd, (struct sockaddr *)&a, sizeof(a)), 0);
}

/* ---- connect ---- */

START_TEST(cancel_while_a_monitor_is_busy)
{
    world_pair(&f.w, "ws=16 rate=1000");
    occupy(_i == 0 ? f.w.src : f.w.dst);
    struct move *m = move_begin(&f.w, NO_ARGS);
    move_wait_phase(m, "connect");
    cancel(m);
    move_end(m);
    ck_assert_int_eq(m->exit, 5);
    ck_assert_str_eq(move_result(m, "outcome"), "cancelled");
    expect_guest_on(&f.w, f.w.src);
    expect_settings(f.w.src, f.w.src_settings);
    expect_settings(f.w.dst, f.w.dst_settings);

    /* Nobody is in the way any more, and nothing that was sent meanwhile runs late. */
    (void)close(f.fd);
    f.fd = -1;
    move_expect(move_run(&f.w, ARGS("--bandwidth", "40MiB")), 0, "completed",
                "destination");
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

START_TEST(a_busy_monitor_is_named)
{
    world_pair(&f.w, "ws=16");
    occupy(f.w.dst);
    struct move *m = move_run(&f.w, NO_ARGS);
    ck_assert_int_eq(m->exit, 6);
    ck_assert_str_eq(move_result(m, "outcome"), "failed");
    move_expect_reason(m, lab_vm_qmp_path(f.w.dst));
    move_expect_reason(m, "another client");
    expect_guest_on(&f.w, f.w.src);
    expect_settings(f.w.src, f.w.src_settings);
    expect_settings(f.w.dst, f.w.dst_settings);
}
END_TEST

/* ---- before and while memory moves ---- */

static const char *const marks[] = {
    "\"phase\":\"connect\"",       "\"phase\":\"preflight\"", "\"step\":\"configure\"",
    "\"step\":\"start\"",          "\"phase\":\"precopy\"",   "\"pass\":1",
    "\"action\":\"set-downtime\"",
};
enum { N_MARKS = sizeof(marks) / sizeof(marks[0]) };

/* A guest that never converges gives the signal all the time it needs. */
START_TEST(cancel_at_any_line)
{
    world_pair(&f.w, "ws=24 flat");
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "40MiB"));
    move_wait_line(m, marks[_i]);
    cancel(m);
    move_end(m);
    ck_assert_int_eq(m->exit, 5);
    ck_assert_str_eq(move_result(m, "outcome"), "cancelled");
    expect_guest_on(&f.w, f.w.src);
    expect_settings(f.w.src, f.w.src_settings);
}
END_TEST

START_TEST(a_cancelled_guest_can_be_moved_again)
{
    world_pair(&f.w, "ws=24 rate=1000");
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "10MiB"));
    move_wait_memory(m);
    cancel(m);
    expect_cancelled(m);
    expect_next_attempt_moves();
}
END_TEST

/* From 9.1 on a destination that failed stays, to be asked why; before that it ends by itself. */
START_TEST(quit_destination_ends_the_one_that_is_used_up)
{
    world_pair(&f.w, "ws=24 rate=1000");
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "10MiB", "--quit-destination"));
    move_wait_memory(m);
    cancel(m);
    expect_cancelled(m);
    ck_assert_int_eq(lab_vm_wait_exit(f.w.dst, 0, NULL), 0);
}
END_TEST

START_TEST(sigterm_cancels_too_and_a_second_signal_changes_nothing)
{
    world_pair(&f.w, "ws=24 rate=1000");
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "10MiB"));
    move_wait_memory(m);
    ck_assert_int_eq(lab_proc_signal(m->proc, SIGTERM), 0);
    (void)lab_proc_signal(m->proc, SIGTERM);
    (void)lab_proc_signal(m->proc, SIGINT);
    expect_cancelled(m);
}
END_TEST

START_TEST(cancel_while_the_guest_is_throttled)
{
    world_pair(&f.w, "ws=24 flat");
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "40MiB"));
    move_wait_line(m, "\"action\":\"throttle\"");
    cancel(m);
    expect_cancelled(m);
}
END_TEST

START_TEST(cancel_while_qferry_has_stopped_the_guest)
{
    world_pair(&f.w, "ws=32 rate=1000");
    struct move *m = move_begin(&f.w, ARGS("-p", "stop-and-copy", "--bandwidth", "10MiB"));
    move_wait_memory(m);
    expect_nobody_runs(&f.w);
    cancel(m);
    expect_cancelled(m);
    expect_next_attempt_moves();
}
END_TEST

START_TEST(a_paused_guest_stays_paused_when_cancelled)
{
    char state[LAB_STATE_MAX];

    world_pair(&f.w, "ws=24 rate=1000");
    ck_assert_int_eq(lab_qmp_ok(f.w.src, "stop", "{}"), 0);
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "10MiB"));
    move_wait_memory(m);
    cancel(m);
    move_end(m);
    move_expect(m, 5, "cancelled", "source");
    ck_assert_int_eq(lab_run_state(f.w.src, state), 0);
    ck_assert_str_eq(state, "paused");
    expect_settings(f.w.src, f.w.src_settings);
    ck_assert_int_eq(lab_qmp_ok(f.w.src, "cont", "{}"), 0);
    expect_guest_on(&f.w, f.w.src);
}
END_TEST

/* The destination takes nothing, the source's sockets are full. */
START_TEST(cancel_while_the_destination_hangs)
{
    world_pair(&f.w, "ws=48 rate=1000");
    struct move *m = move_begin(&f.w, NO_ARGS);
    move_wait_phase(m, "precopy");
    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGSTOP), 0);
    move_wait_line(m, "\"type\":\"sample\"");
    cancel(m);
    wait_for_the_end_on_source(m);
    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGCONT), 0);
    expect_cancelled(m);
    expect_used_up(f.w.dst);
}
END_TEST

/* ---- at the switch ---- */

/* All that is left fits into the sockets, so the source gets to the switch alone. */
static struct move *begin_towards_frozen(void)
{
    world_pair(&f.w, "ws=2");
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "2MiB"));
    move_wait_phase(m, "precopy");
    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGSTOP), 0);
    move_wait_phase(m, "switchover");
    expect_source_stopped();
    return m;
}

/* The guest is not made to wait for a destination that may never answer. */
START_TEST(cancel_at_the_switch_does_not_need_the_destination)
{
    struct move *m = begin_towards_frozen();

    cancel(m);
    ck_assert_int_eq(lab_wait_event(f.w.src, "RESUME", NULL, NULL, SOON_MS), 0);
    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGCONT), 0);
    expect_cancelled(m);
    expect_used_up(f.w.dst);
    expect_next_attempt_moves();
}
END_TEST

START_TEST(a_destination_that_hangs_at_the_switch_does_not_get_the_guest)
{
    struct move *m = begin_towards_frozen();

    move_wait_phase(m, "cancel");
    ck_assert_int_eq(lab_wait_event(f.w.src, "RESUME", NULL, NULL, SOON_MS), 0);
    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGCONT), 0);
    move_end(m);
    move_expect(m, 4, "failed", "source");
    move_expect_reason(m, "does not answer");
    expect_used_up(f.w.dst);
    expect_guest_on(&f.w, f.w.src);
    expect_settings(f.w.src, f.w.src_settings);
}
END_TEST

/* ... not even when it never comes back. */
START_TEST(a_destination_that_hangs_for_ever_ends_the_move)
{
    struct move *m = begin_towards_frozen();

    cancel(m);
    move_end(m);
    /* A cancel in pre-switchover wakes QEMU's migration thread first, and that may be in `device` before
     * the cancel is (migrate_fd_cancel, 7.2): then the frozen destination may have everything in its
     * socket, and a person must make sure of it. */
    if (m->exit == 7 && lab_event_find(f.w.src, "MIGRATION", "status", "device"))
        move_expect_reason(m, "make sure that its QEMU is gone");
    else
        move_expect(m, 5, "cancelled", "source");
    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGKILL), 0);
    ck_assert_int_eq(lab_vm_wait_exit(f.w.dst, 0, NULL), 0);
    expect_guest_on(&f.w, f.w.src);
    expect_settings(f.w.src, f.w.src_settings);
}
END_TEST

/* ---- by command ---- */

static struct lab_proc *command_cancel(const char *sock, int exit)
{
    struct lab_proc *p;
    const int got = world_run(&f.w, ARGS(QFERRY, "cancel", "--control", sock), &p);

    if (got != exit)
        lab_proc_dump(p);
    ck_assert_int_eq(got, exit);
    return p;
}

START_TEST(cancel_by_command_at_any_line)
{
    char sock[LAB_PATH_MAX];

    world_pair(&f.w, "ws=24 flat");
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "40MiB", "--control",
                                           lab_path(f.w.lab, "control", sock)));
    move_wait_line(m, marks[_i]);
    (void)command_cancel(sock, 0);
    move_end(m);
    ck_assert_int_eq(m->exit, 5);
    ck_assert_str_eq(move_result(m, "outcome"), "cancelled");
    expect_guest_on(&f.w, f.w.src);
    expect_settings(f.w.src, f.w.src_settings);
}
END_TEST

START_TEST(cancel_by_command_while_a_monitor_is_busy)
{
    char sock[LAB_PATH_MAX];

    world_pair(&f.w, "ws=16 rate=1000");
    occupy(f.w.dst);
    struct move *m =
        move_begin(&f.w, ARGS("--control", lab_path(f.w.lab, "control", sock)));
    move_wait_phase(m, "connect");
    (void)command_cancel(sock, 0);
    move_end(m);
    ck_assert_int_eq(m->exit, 5);
    ck_assert_str_eq(move_result(m, "outcome"), "cancelled");
    expect_guest_on(&f.w, f.w.src);
}
END_TEST

START_TEST(post_copy_is_not_cancelled_by_command)
{
    char sock[LAB_PATH_MAX];

    world_pair(&f.w, "ws=24 flat");
    struct move *m = move_begin(
        &f.w, ARGS("-p", "post-copy", "--set", "postcopy.bandwidth=4MiB", "--bandwidth",
                   "40MiB", "--control", lab_path(f.w.lab, "control", sock)));
    ck_assert_int_eq(lab_wait_event(f.w.dst, "RESUME", NULL, NULL, 0), 0);
    struct lab_proc *p = command_cancel(sock, 3);
    ck_assert_ptr_nonnull(strstr(lab_proc_stderr(p), "post-copy"));
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

/* Both cross: the signal and QEMU's completion, at every moment of the last pass and the switch. What
 * QEMU decided is what is told. */
START_TEST(a_cancel_that_crosses_the_completion_tells_what_became_of_it)
{
    world_pair(&f.w, "ws=16 rate=1000");
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "40MiB"));
    if (_i % 2 == 0)
        ck_assert_int_eq(
            lab_wait_event(f.w.src, "MIGRATION", "status", "pre-switchover", 0), 0);
    else
        ck_assert_int_eq(lab_wait_event(f.w.src, "MIGRATION", "status", "device", 0), 0);
    (void)lab_proc_signal(m->proc, SIGINT); /* it may have ended */
    (void)lab_proc_signal(m->proc, SIGINT);
    move_end(m);
    if (m->exit == 5) {
        move_expect(m, 5, "cancelled", "source");
        expect_guest_on(&f.w,
                        f.w.src); /* the other one failed, or had all of it and was ended */
    } else {
        move_expect(m, 0, "completed", "destination");
        expect_guest_on(&f.w, f.w.dst);
    }
    expect_settings(f.w.src, f.w.src_settings);
}
END_TEST

/* ---- too late ---- */

START_TEST(post_copy_is_not_cancelled)
{
    world_pair(&f.w, "ws=24 flat");
    struct move *m =
        move_begin(&f.w, ARGS("-p", "post-copy", "--set", "postcopy.bandwidth=4MiB",
                              "--bandwidth", "40MiB"));
    move_wait_phase(m, "postcopy");
    cancel(m);
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    ck_assert_str_eq(move_result(m, "mode"), "postcopy");
    ck_assert_uint_eq(move_count(m, "warning", "message", "not cancelled"), 1);
    ck_assert(move_has(m, "warning", "message", "post-copy"));
    expect_guest_on(&f.w, f.w.dst);
    expect_settings(f.w.src, f.w.src_settings);
    expect_settings(f.w.dst, f.w.dst_settings);
}
END_TEST

/* At the line of the switch the signal may win or lose; at that of the finish it has lost. */
START_TEST(a_cancel_that_races_with_the_switch_leaves_one_guest)
{
    world_pair(&f.w, "ws=16 rate=1000");
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "40MiB"));
    move_wait_phase(m, "switchover");
    cancel(m);
    move_end(m);
    if (m->exit == 5) {
        move_expect(m, 5, "cancelled", "source");
        expect_guest_on(&f.w, f.w.src);
    } else {
        move_expect(m, 0, "completed", "destination");
        expect_guest_on(&f.w, f.w.dst);
    }
    expect_settings(f.w.src, f.w.src_settings);
}
END_TEST

START_TEST(the_finish_is_not_cancelled)
{
    world_pair(&f.w, "ws=16 rate=1000");
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "40MiB"));
    move_wait_phase(m, "finish");
    (void)lab_proc_signal(m->proc, SIGINT); /* may have ended */
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    expect_guest_on(&f.w, f.w.dst);
    expect_settings(f.w.src, f.w.src_settings);
    expect_settings(f.w.dst, f.w.dst_settings);
}
END_TEST

static Suite *cancel_suite(void)
{
    Suite *s = suite_create("cancel");
    TCase *t = tcase_create("connect");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_loop_test(t, cancel_while_a_monitor_is_busy, 0, 2);
    tcase_add_test(t, a_busy_monitor_is_named);
    suite_add_tcase(s, t);

    t = tcase_create("precopy");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_loop_test(t, cancel_at_any_line, 0, N_MARKS);
    tcase_add_test(t, a_cancelled_guest_can_be_moved_again);
    tcase_add_test(t, quit_destination_ends_the_one_that_is_used_up);
    tcase_add_test(t, sigterm_cancels_too_and_a_second_signal_changes_nothing);
    tcase_add_test(t, cancel_while_the_guest_is_throttled);
    tcase_add_test(t, cancel_while_qferry_has_stopped_the_guest);
    tcase_add_test(t, a_paused_guest_stays_paused_when_cancelled);
    tcase_add_test(t, cancel_while_the_destination_hangs);
    suite_add_tcase(s, t);

    t = tcase_create("switch");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, cancel_at_the_switch_does_not_need_the_destination);
    tcase_add_test(t, a_destination_that_hangs_at_the_switch_does_not_get_the_guest);
    tcase_add_test(t, a_destination_that_hangs_for_ever_ends_the_move);
    tcase_add_test(t, a_cancel_that_races_with_the_switch_leaves_one_guest);
    suite_add_tcase(s, t);

    t = tcase_create("command");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_loop_test(t, cancel_by_command_at_any_line, 0, N_MARKS);
    tcase_add_test(t, cancel_by_command_while_a_monitor_is_busy);
    tcase_add_test(t, post_copy_is_not_cancelled_by_command);
    suite_add_tcase(s, t);

    t = tcase_create("cross");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_loop_test(t, a_cancel_that_crosses_the_completion_tells_what_became_of_it, 0,
                        6);
    suite_add_tcase(s, t);

    t = tcase_create("late");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, post_copy_is_not_cancelled);
    tcase_add_test(t, the_finish_is_not_cancelled);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return real_main(cancel_suite());
}

/* Everything that can die, dies: destination, source, qferry itself. What is left of the guest
 * must be whole, in one place, and the exit status must say where. QEMU 7.2, TCG. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/real/postcopy.h"

/* About two seconds of memory. */
#define SLOWLY "--bandwidth", "10MiB"

static struct fixture {
    struct world w;
} f;

static void setup(void)
{
    world_open(&f.w);
}

static void teardown(void)
{
    world_close(&f.w);
}

static void expect_gone(struct lab_vm *vm)
{
    ck_assert_int_eq(lab_vm_wait_exit(vm, 0, NULL), 0);
}

/* A source that was given its guest back is as good as new. */
static void expect_next_attempt_moves(void)
{
    world_new_destination(&f.w);
    struct move *m = move_run(&f.w, ARGS("--bandwidth", "40MiB"));
    move_expect(m, 0, "completed", "destination");
    expect_guest_on(&f.w, f.w.dst);
    expect_settings(f.w.src, f.w.src_settings);
}

/* ---- QEMU ---- */

START_TEST(the_guest_survives_its_destination)
{
    world_pair(&f.w, "ws=24 rate=1000");
    struct move *m = move_begin(&f.w, ARGS(SLOWLY));
    move_wait_memory(m);
    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGKILL), 0);
    move_end(m);
    move_expect(m, 4, "failed", "source");
    expect_guest_on(&f.w, f.w.src);
    expect_settings(f.w.src, f.w.src_settings);
    expect_next_attempt_moves();
}
END_TEST

START_TEST(a_destination_that_is_told_to_end_is_named)
{
    world_pair(&f.w, "ws=24 rate=1000");
    struct move *m = move_begin(&f.w, ARGS(SLOWLY));
    move_wait_memory(m);
    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGTERM), 0);
    move_end(m);
    move_expect(m, 4, "failed", "source");
    ck_assert(move_has(m, "warning", "message", "destination's QEMU is being shut down"));
    expect_guest_on(&f.w, f.w.src);
    expect_settings(f.w.src, f.w.src_settings);
}
END_TEST

START_TEST(a_guest_whose_source_is_killed_is_lost)
{
    world_pair(&f.w, "ws=24 rate=1000");
    struct move *m = move_begin(&f.w, ARGS(SLOWLY));
    move_wait_memory(m);
    ck_assert_int_eq(lab_vm_kill(f.w.src, SIGKILL), 0);
    move_end(m);
    move_expect(m, 7, "lost", "none");
    move_expect_reason(m, "source died");
    expect_nobody_runs(&f.w);
}
END_TEST

START_TEST(a_source_that_is_told_to_end_is_named)
{
    world_pair(&f.w, "ws=24 rate=1000");
    struct move *m = move_begin(&f.w, ARGS(SLOWLY));
    move_wait_memory(m);
    ck_assert_int_eq(lab_qmp_ok(f.w.src, "quit", "{}"), 0);
    move_end(m);
    move_expect(m, 7, "lost", "none");
    move_expect_reason(m, "host-qmp-quit");
    expect_exit(f.w.src, 0);
    expect_nobody_runs(&f.w);
}
END_TEST

START_TEST(both_killed_is_said_so)
{
    world_pair(&f.w, "ws=24 rate=1000");
    struct move *m = move_begin(&f.w, ARGS(SLOWLY));
    move_wait_memory(m);
    ck_assert_int_eq(lab_vm_kill(f.w.src, SIGKILL), 0);
    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGKILL), 0);
    move_end(m);
    move_expect(m, 7, "lost", "none");
    expect_nobody_runs(&f.w);
}
END_TEST

START_TEST(post_copy_does_not_survive_its_source)
{
    struct move *m = postcopy_begin(&f.w);

    ck_assert_int_eq(lab_vm_kill(f.w.src, SIGKILL), 0);
    move_end(m);
    move_expect(m, 7, "lost", "none");
    expect_gone(f.w.src);
}
END_TEST

START_TEST(post_copy_does_not_survive_its_destination)
{
    struct move *m = postcopy_begin(&f.w);
    char state[LAB_STATE_MAX];

    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGKILL), 0);
    move_end(m);
    move_expect(m, 7, "lost", "none");
    ck_assert_int_eq(lab_run_state(f.w.src, state), 0);
    ck_assert_str_ne(state, "running");
    expect_nobody_runs(&f.w);
}
END_TEST

/* ---- qferry ---- */

static void expect_taken_up(struct move *m, const char *mode)
{
    move_expect(m, 0, "completed", "destination");
    ck_assert_str_eq(move_result(m, "mode"), mode);
    ck_assert(move_has(m, "warning", "message", "taking it up"));
    expect_guest_on(&f.w, f.w.dst);
}

START_TEST(the_same_command_takes_up_a_move_whose_qferry_was_killed)
{
    world_pair(&f.w, "ws=24 rate=1000");
    struct move *m = move_begin(&f.w, ARGS(SLOWLY));
    move_wait_memory(m);
    move_kill(m);
    expect_taken_up(move_run(&f.w, ARGS(SLOWLY)), "precopy");
}
END_TEST

START_TEST(a_move_that_came_to_the_switch_without_qferry_is_taken_up)
{
    world_pair(&f.w, "ws=24 rate=1000");
    struct move *m = move_begin(&f.w, ARGS(SLOWLY));
    move_wait_memory(m);
    move_kill(m);
    ck_assert_int_eq(lab_wait_mig_status(f.w.src, "pre-switchover", 0), 0);
    expect_nobody_runs(&f.w);
    expect_taken_up(move_run(&f.w, ARGS(SLOWLY)), "precopy");
}
END_TEST

START_TEST(a_move_can_be_taken_up_again_and_again)
{
    world_pair(&f.w, "ws=32 rate=500");
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "10MiB"));
    for (unsigned i = 0; i < 4; i++) {
        move_wait_memory(m);
        move_kill(m);
        m = move_begin(&f.w, ARGS("--bandwidth", "10MiB"));
    }
    move_end(m);
    expect_taken_up(m, "precopy");
}
END_TEST

START_TEST(a_move_that_was_taken_up_can_be_cancelled)
{
    world_pair(&f.w, "ws=32 rate=500");
    struct move *m = move_begin(&f.w, ARGS(SLOWLY));
    move_wait_memory(m);
    move_kill(m);
    m = move_begin(&f.w, ARGS(SLOWLY));
    move_wait_line(m, "taking it up");
    move_wait_line(m, "\"type\":\"sample\"");
    ck_assert_int_eq(lab_proc_signal(m->proc, SIGINT), 0);
    move_end(m);
    move_expect(m, 5, "cancelled", "source");
    expect_guest_on(&f.w, f.w.src);
}
END_TEST

START_TEST(a_post_copy_whose_qferry_was_killed_is_taken_up)
{
    struct move *m = postcopy_begin(&f.w);

    move_kill(m);
    m = move_begin(&f.w, ARGS("-p", "post-copy"));
    move_wait_line(m, "taking it up");
    postcopy_let_loose(&f.w);
    move_end(m);
    expect_taken_up(m, "postcopy");
}
END_TEST

/* ---- ... whose journal is there ---- */

/* The next run gets the same --journal FILE: its path is another one in these tests. */
static void leave_journal(const struct move *m)
{
    char name[24];
    char next[LAB_PATH_MAX];

    snprintf(name, sizeof(name), "%u.jsonl", f.w.n_moves + 1);
    ck_assert_int_eq(rename(m->journal, lab_path(f.w.lab, name, next)), 0);
}

/* False: it was done before the kill came. */
static bool killed(struct move *m)
{
    int status;

    (void)lab_proc_signal(m->proc, SIGKILL);
    ck_assert_int_eq(lab_proc_wait(m->proc, 0, &status), 0);
    if (!WIFSIGNALED(status))
        return false;
    leave_journal(m);
    return true;
}

static void expect_all_put_back(void)
{
    expect_settings(f.w.src, f.w.src_settings);
    expect_settings(f.w.dst, f.w.dst_settings);
}

START_TEST(what_was_changed_is_put_back_by_the_next)
{
    world_pair(&f.w, "ws=24 rate=1000");
    struct move *m = move_begin(&f.w, ARGS(SLOWLY));
    move_wait_memory(m);
    ck_assert(killed(m));
    expect_taken_up(move_run(&f.w, ARGS(SLOWLY)), "precopy");
    expect_all_put_back();
}
END_TEST

/* Wherever it is: the same command completes it, and nothing is left. */
START_TEST(killed_in_a_phase_the_same_command_completes_it)
{
    static const char *const phases[] = {"connect", "preflight",  "prepare", "prepare",
                                         "precopy", "switchover", "finish"};

    world_pair(&f.w, "ws=8 rate=200");
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "100MiB"));
    move_wait_phase(m, phases[_i]);
    if (_i == 3) /* later in it: the destination listens, as a rule */
        lab_pump(f.w.lab, 4);
    if (killed(m)) {
        m = move_run(&f.w, ARGS("--bandwidth", "100MiB"));
        move_expect(m, 0, "completed", "destination");
    }
    expect_guest_on(&f.w, f.w.dst);
    expect_all_put_back();
}
END_TEST

START_TEST(the_time_limit_counts_from_the_first_start)
{
#define NEVER "--set", "downtime.max=1ms", "--timeout", "6s", "--bandwidth", "10MiB"
    world_pair(&f.w, "ws=32 flat");
    struct move *m = move_begin(&f.w, ARGS(NEVER));
    move_wait_memory(m);
    const int64_t began_ns = lab_now_ns();
    ck_assert(killed(m));
    while (lab_now_ns() - began_ns < 4 * INT64_C(1000000000))
        lab_pump(f.w.lab, 50); /* the time that passes is what is tested */
    const int64_t again_ns = lab_now_ns();
    m = move_run(&f.w, ARGS(NEVER));
    move_expect(m, 4, "aborted", "source");
    ck_assert_int_lt(lab_now_ns() - again_ns, 5 * INT64_C(1000000000));
    ck_assert_int_ge(json_integer_value(json_object_get(m->result, "total_ms")), 6000);
    expect_guest_on(&f.w, f.w.src);
    expect_settings(f.w.src, f.w.src_settings);
}
END_TEST

START_TEST(a_cancel_that_was_under_way_ends_as_one)
{
    world_pair(&f.w, "ws=24 rate=1000");
    struct move *m = move_begin(&f.w, ARGS(SLOWLY));
    move_wait_memory(m);
    ck_assert_int_eq(lab_proc_signal(m->proc, SIGINT), 0);
    move_wait_phase(m, "cancel");
    if (killed(m)) {
        m = move_run(&f.w, ARGS(SLOWLY));
        move_expect(m, 5, "cancelled", "source");
    }
    expect_guest_on(&f.w, f.w.src);
    expect_settings(f.w.src, f.w.src_settings);
}
END_TEST

START_TEST(attach_goes_on_with_the_policy_and_undoes_all)
{
    world_pair(&f.w, "ws=24 flat");
    struct move *m =
        move_begin(&f.w, ARGS("-p", "post-copy", "--set", "timeout=3s", "--set",
                              "on-timeout=postcopy", "--bandwidth", "10MiB"));
    move_wait_memory(m);
    ck_assert(killed(m));
    m = move_begin_at(&f.w, "attach", lab_vm_qmp_path(f.w.src), lab_vm_qmp_path(f.w.dst),
                      NO_ARGS);
    move_end(m);
    expect_taken_up(m, "postcopy");
    ck_assert_str_eq(move_result(m, "policy"), "post-copy");
    expect_all_put_back();
}
END_TEST

START_TEST(the_destination_dies_while_no_qferry_looks)
{
    world_pair(&f.w, "ws=24 rate=1000");
    struct move *m = move_begin(&f.w, ARGS(SLOWLY));
    move_wait_memory(m);
    ck_assert(killed(m));
    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGKILL), 0);
    m = move_run(&f.w, ARGS(SLOWLY));
    move_expect(m, 4, "failed", "source");
    expect_guest_on(&f.w, f.w.src);
    expect_settings(f.w.src, f.w.src_settings);
}
END_TEST

/* It ran on the destination, which dies before the next qferry looks: what the source holds is old. */
START_TEST(a_guest_that_ran_over_there_is_not_begun_again_here)
{
    struct move *m = postcopy_begin(&f.w);

    ck_assert(killed(m));
    postcopy_let_loose(&f.w);
    ck_assert_int_eq(lab_wait_mig_status(f.w.src, "completed", 0), 0);
    ck_assert_int_eq(lab_wait_mig_status(f.w.dst, "completed", 0), 0);
    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGKILL), 0);
    expect_gone(f.w.dst);
    m = _i == 0 ? move_run(&f.w, NO_ARGS)
                : move_begin_at(&f.w, "attach", lab_vm_qmp_path(f.w.src),
                                lab_vm_qmp_path(f.w.dst), NO_ARGS);
    if (!m->ended)
        move_end(m);
    ck_assert_int_eq(m->exit, 7);
    expect_nobody_runs(&f.w);
}
END_TEST

/* The source has gone elsewhere since: an old journal, of a move that was never finished, knows nothing
 * of that. */
START_TEST(a_journal_from_before_the_last_move_is_no_memory)
{
    char old[LAB_PATH_MAX];
    char later[LAB_PATH_MAX];
    char first[LAB_PATH_MAX];
    struct lab_proc *p;

    world_pair(&f.w, "ws=16 rate=500");
    struct move *m = move_begin(&f.w, ARGS(SLOWLY));
    move_wait_memory(m);
    ck_assert(killed(m));
    ck_assert_int_eq(world_run(&f.w,
                               ARGS("cp", lab_path(f.w.lab, "2.jsonl", old),
                                    lab_path(f.w.lab, "3.jsonl", later)),
                               &p),
                     0);
    (void)snprintf(first, sizeof(first), "%s", lab_vm_qmp_path(f.w.dst));
    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGKILL), 0);
    expect_gone(f.w.dst);
    ck_assert_int_eq(lab_wait_mig_status(f.w.src, "failed", 0), 0);
    world_new_destination(&f.w);
    m = move_run(&f.w, ARGS("--bandwidth", "100MiB"));
    move_expect(m, 0, "completed", "destination");
    m = move_begin_at(&f.w, _i == 0 ? "migrate" : "attach", lab_vm_qmp_path(f.w.src), first,
                      NO_ARGS);
    move_end(m);
    ck_assert_msg(m->exit == 7 || m->exit == 6 || m->exit == 3, "exit %d", m->exit);
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

static Suite *kill_suite(void)
{
    Suite *s = suite_create("kill");
    TCase *t = tcase_create("qemu");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, the_guest_survives_its_destination);
    tcase_add_test(t, a_destination_that_is_told_to_end_is_named);
    tcase_add_test(t, a_guest_whose_source_is_killed_is_lost);
    tcase_add_test(t, a_source_that_is_told_to_end_is_named);
    tcase_add_test(t, both_killed_is_said_so);
    tcase_add_test(t, post_copy_does_not_survive_its_source);
    tcase_add_test(t, post_copy_does_not_survive_its_destination);
    suite_add_tcase(s, t);

    t = tcase_create("qferry");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, the_same_command_takes_up_a_move_whose_qferry_was_killed);
    tcase_add_test(t, a_move_that_came_to_the_switch_without_qferry_is_taken_up);
    tcase_add_test(t, a_move_can_be_taken_up_again_and_again);
    tcase_add_test(t, a_move_that_was_taken_up_can_be_cancelled);
    tcase_add_test(t, a_post_copy_whose_qferry_was_killed_is_taken_up);
    suite_add_tcase(s, t);

    t = tcase_create("memory");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, what_was_changed_is_put_back_by_the_next);
    tcase_add_loop_test(t, killed_in_a_phase_the_same_command_completes_it, 0, 7);
    tcase_add_test(t, the_time_limit_counts_from_the_first_start);
    tcase_add_test(t, a_cancel_that_was_under_way_ends_as_one);
    tcase_add_test(t, attach_goes_on_with_the_policy_and_undoes_all);
    tcase_add_test(t, the_destination_dies_while_no_qferry_looks);
    tcase_add_loop_test(t, a_guest_that_ran_over_there_is_not_begun_again_here, 0, 2);
    tcase_add_loop_test(t, a_journal_from_before_the_last_move_is_no_memory, 0, 2);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return real_main(kill_suite());
}

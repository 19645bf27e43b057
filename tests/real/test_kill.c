/* Everything that can die, dies: destination, source, qferry itself. What is left of the guest
 * must be whole, in one place, and the exit status must say where. QEMU 7.2, TCG. */
#include <signal.h>
#include <string.h>

#include "tests/real/move.h"

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

/* Post-copy that lasts: 2 MiB/s until it is let loose. */
static struct move *begin_postcopy(void)
{
    world_pair(&f.w, "ws=24 flat");
    struct move *m =
        move_begin(&f.w, ARGS("-p", "post-copy", "--set", "postcopy.bandwidth=2MiB",
                              "--bandwidth", "40MiB"));
    move_wait_phase(m, "postcopy");
    ck_assert_int_eq(lab_wait_event(f.w.dst, "RESUME", NULL, NULL, 0), 0);
    return m;
}

START_TEST(post_copy_does_not_survive_its_source)
{
    struct move *m = begin_postcopy();

    ck_assert_int_eq(lab_vm_kill(f.w.src, SIGKILL), 0);
    move_end(m);
    move_expect(m, 7, "lost", "none");
    expect_gone(f.w.src);
}
END_TEST

START_TEST(post_copy_does_not_survive_its_destination)
{
    struct move *m = begin_postcopy();
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

/* A qferry that cannot say a word any more. */
static void kill_qferry(struct move *m)
{
    ck_assert_int_eq(lab_proc_signal(m->proc, SIGKILL), 0);
    ck_assert_int_eq(lab_proc_wait(m->proc, 0, NULL), 0);
}

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
    kill_qferry(m);
    expect_taken_up(move_run(&f.w, ARGS(SLOWLY)), "precopy");
}
END_TEST

START_TEST(a_move_that_came_to_the_switch_without_qferry_is_taken_up)
{
    world_pair(&f.w, "ws=24 rate=1000");
    struct move *m = move_begin(&f.w, ARGS(SLOWLY));
    move_wait_memory(m);
    kill_qferry(m);
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
        kill_qferry(m);
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
    kill_qferry(m);
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
    struct move *m = begin_postcopy();

    kill_qferry(m);
    m = move_begin(&f.w, ARGS("-p", "post-copy"));
    move_wait_line(m, "taking it up");
    ck_assert_int_eq(
        lab_qmp_ok(f.w.src, "migrate-set-parameters", "{\"max-postcopy-bandwidth\": 0}"),
        0);
    move_end(m);
    expect_taken_up(m, "postcopy");
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
    return s;
}

int main(void)
{
    return real_main(kill_suite());
}

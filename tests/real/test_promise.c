/* Ways in which a move could lose a guest, or run it twice, although every QEMU behaves: who reads
 * the output, who closes the terminal, who asks for the same move again, or for another one. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/real/move.h"

#define SLOWLY "--bandwidth", "20MiB"

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

/* Everything that still comes out of the pipe; its writer then can end. */
static void drain(struct world *w, int fd, struct lab_proc *p)
{
    char buf[4096];
    while (lab_proc_alive(p)) {
        while (read(fd, buf, sizeof(buf)) > 0) {
        }
        lab_pump(w->lab, 20);
    }
}

START_TEST(output_that_nobody_reads_does_not_hold_up_the_guest)
{
    char path[LAB_PATH_MAX];
    char command[4 * LAB_PATH_MAX];

    world_pair(&f.w, "ws=32 rate=20000");
    lab_path(f.w.lab, "out", path);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    const int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    (void)snprintf(command, sizeof(command),
                   "exec '" QFERRY "' migrate '%s' '%s' --json --journal none -p post-copy "
                   "--bandwidth 40MiB > '%s'",
                   lab_vm_qmp_path(f.w.src), lab_vm_qmp_path(f.w.dst), path);
    /* The smallest pipe that Linux makes: it is full before the switch. */
    ck_assert_int_ge(fcntl(fd, F_SETPIPE_SZ, 4096), 0);
    struct lab_proc *p = lab_spawn(f.w.lab, ARGS("/bin/sh", "-c", command));
    ck_assert_ptr_nonnull(p);
    ck_assert_int_eq(lab_wait_event(f.w.dst, "RESUME", NULL, NULL, 0), 0);
    drain(&f.w, fd, p);
    int status = -1;
    ck_assert_int_eq(lab_proc_wait(p, 0, &status), 0);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    (void)close(fd);
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

START_TEST(a_closed_terminal_cancels)
{
    world_pair(&f.w, "ws=32 rate=20000");
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "10MiB"));
    move_wait_memory(m);
    ck_assert_int_eq(lab_proc_signal(m->proc, SIGHUP), 0);
    move_end(m);
    move_expect(m, 5, "cancelled", "source");
    expect_guest_on(&f.w, f.w.src);
}
END_TEST

/* The guest ran on the destination and powered itself off there. The source still has what it was
 * before: the same command must not bring that back. */
START_TEST(the_same_command_never_brings_back_an_old_guest)
{
    char state[LAB_STATE_MAX];

    world_pair_of(&f.w,
                  &(struct lab_vm_opts){.append = "ws=16 rate=1000", .no_shutdown = true});
    move_expect(move_run(&f.w, ARGS(SLOWLY)), 0, "completed", "destination");
    ck_assert_int_eq(lab_guest_cmd(f.w.dst, "h"), 0);
    ck_assert_int_eq(lab_wait_run_state(f.w.dst, "shutdown", 0), 0);
    struct move *m = move_run(&f.w, ARGS(SLOWLY));
    ck_assert_int_eq(m->exit, 3);
    move_expect_reason(m, "postmigrate");
    expect_nobody_runs(&f.w);
    ck_assert(lab_vm_alive(f.w.src) && lab_vm_alive(f.w.dst));
    ck_assert_int_eq(lab_run_state(f.w.src, state), 0);
    ck_assert_str_eq(state, "postmigrate");
}
END_TEST

/* It powered itself off on the destination while its memory still came over. */
START_TEST(a_guest_that_ends_in_post_copy_is_never_brought_back)
{
    char state[LAB_STATE_MAX];

    world_pair_of(&f.w,
                  &(struct lab_vm_opts){.append = "ws=32 rate=20000", .no_shutdown = true});
    struct move *m = move_begin(&f.w, ARGS("-p", "post-copy", "--bandwidth", "40MiB",
                                           "--set", "postcopy.bandwidth=5MiB"));
    ck_assert_int_eq(lab_wait_event(f.w.dst, "RESUME", NULL, NULL, 0), 0);
    ck_assert_int_eq(lab_guest_cmd(f.w.dst, "h"), 0);
    ck_assert_int_eq(lab_wait_run_state(f.w.dst, "shutdown", 0), 0);
    move_end(m);
    ck_assert_int_eq(m->exit, 0);
    move_expect_reason(m, "shutdown");
    expect_nobody_runs(&f.w);
    ck_assert_int_eq(lab_run_state(f.w.src, state), 0);
    ck_assert_str_eq(state, "postmigrate");
}
END_TEST

/* A source that was moved away, and a destination that holds another VM: nothing is touched. */
START_TEST(a_move_is_not_taken_up_with_a_stranger)
{
    char state[LAB_STATE_MAX];

    world_pair_of(&f.w,
                  &(struct lab_vm_opts){.append = "ws=16 rate=1000",
                                        .uuid = "11111111-1111-1111-1111-111111111111"});
    move_expect(move_run(&f.w, ARGS(SLOWLY)), 0, "completed", "destination");
    struct lab_vm *moved_away = f.w.src;
    world_pair_of(&f.w,
                  &(struct lab_vm_opts){.append = "ws=16 rate=1000",
                                        .uuid = "22222222-2222-2222-2222-222222222222"});
    move_expect(move_run(&f.w, ARGS(SLOWLY)), 0, "completed", "destination");
    ck_assert_int_eq(lab_qmp_ok(f.w.dst, "stop", "{}"), 0);
    struct move *m = move_begin_at(&f.w, "migrate", lab_vm_qmp_path(moved_away),
                                   lab_vm_qmp_path(f.w.dst), ARGS("--quit-source"));
    move_end(m);
    ck_assert_int_eq(m->exit, 3);
    ck_assert(lab_vm_alive(moved_away));
    ck_assert_int_eq(lab_run_state(f.w.dst, state), 0);
    ck_assert_str_eq(state, "paused");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("promise");
    TCase *t = tcase_create("promise");

    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, output_that_nobody_reads_does_not_hold_up_the_guest);
    tcase_add_test(t, a_closed_terminal_cancels);
    tcase_add_test(t, the_same_command_never_brings_back_an_old_guest);
    tcase_add_test(t, a_guest_that_ends_in_post_copy_is_never_brought_back);
    tcase_add_test(t, a_move_is_not_taken_up_with_a_stranger);
    suite_add_tcase(suite, t);
    return real_main(suite);
}

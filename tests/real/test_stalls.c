/* Nothing moves: what qferry says of it, and that it takes nobody for dead who is not. Networks that
 * stall are in test_across.c. TCG. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/real/move.h"

enum { THIRTY_S = 31 * 1000 };

#define SLOWLY "--bandwidth", "5MiB"

static struct fixture {
    struct world w;
    int hold;     /* its end lets the main loop go on; -1: none is held */
    pid_t holder; /* traces it */
} f;

/* Let it go on. */
static void thaw(void)
{
    if (f.hold < 0)
        return;
    (void)close(f.hold);
    f.hold = -1;
    (void)waitpid(f.holder, NULL, 0);
}

static void setup(void)
{
    f.hold = -1;
    world_open(&f.w);
}

static void teardown(void)
{
    thaw();
    world_close(&f.w);
}

/* Does it wait for something to do? Anywhere else it may hold a lock that the other threads want, and then they
 * stand still as well. */
static bool is_in_poll(pid_t tid)
{
    char path[64];
    char text[32] = "";
    snprintf(path, sizeof(path), "/proc/%d/syscall", (int)tid);
    FILE *file = fopen(path, "re");
    if (!file)
        return true; /* not to be known here */
    const bool known = fgets(text, sizeof(text), file) != NULL;
    (void)fclose(file);
    return !known || strtol(text, NULL, 10) == SYS_ppoll;
}

/* In a process of its own: for its tracer alone the stopped thread has "changed state". */
static _Noreturn void hold_thread(pid_t tid, int ready, int release)
{
    enum { TRIES = 2000 };
    char byte = ptrace(PTRACE_SEIZE, tid, NULL, NULL) == 0 ? 'x' : 'n';

    for (unsigned i = 0; byte == 'x' && i < TRIES; i++) {
        if (ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) != 0 ||
            waitpid(tid, NULL, __WALL) != tid)
            byte = 'n';
        else if (is_in_poll(tid))
            break;
        else if (ptrace(PTRACE_CONT, tid, NULL, NULL) != 0)
            byte = 'n';
    }
    (void)!write(ready, &byte, 1);
    (void)!read(release, &byte, 1);
    (void)ptrace(PTRACE_DETACH, tid, NULL, NULL);
    _exit(0);
}

/* Stop QEMU's main loop, its first thread, and no other: the guest, the migration's own threads and
 * the monitor's (out of band) go on. False: the kernel does not allow it. */
static bool freeze_main_loop(struct lab_vm *vm)
{
    int ready[2];
    int release[2];
    char byte = 'n';

    ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
    ck_assert_int_eq(pipe2(release, O_CLOEXEC), 0);
    f.holder = fork();
    ck_assert_int_ge(f.holder, 0);
    if (f.holder == 0) {
        (void)close(release[1]);
        hold_thread(lab_vm_pid(vm), ready[1], release[0]);
    }
    (void)close(ready[1]);
    (void)close(release[0]);
    f.hold = release[1];
    f.w.own[f.w.n_own++] = f.holder;
    (void)!read(ready[0], &byte, 1);
    (void)close(ready[0]);
    if (byte != 'x')
        printf(
            "not tried: stalls of the main loop alone: this system lets no process be traced\n");
    return byte == 'x';
}

static void expect_moved(const struct move *m, const char *mode)
{
    move_expect(m, 0, "completed", "destination");
    ck_assert_str_eq(move_result(m, "mode"), mode);
    expect_guest_on(&f.w, f.w.dst);
    expect_settings(f.w.src, f.w.src_settings);
    expect_settings(f.w.dst, f.w.dst_settings);
}

/* The journal says that it went on. */
static bool has_gone_on(const struct move *m)
{
    char line[4096];
    bool found = false;
    FILE *file = fopen(m->journal, "r");

    ck_assert_ptr_nonnull(file);
    while (!found && fgets(line, sizeof(line), file))
        found = strstr(line, "it moves again, after ") != NULL;
    (void)fclose(file);
    return found;
}

/* ---- a process that stands still ---- */

START_TEST(a_qemu_that_is_stopped_is_named_and_waited_for)
{
    struct lab_vm *vm;
    char part[80];

    world_pair(&f.w, "ws=48 rate=1000");
    vm = _i == 0 ? f.w.src : f.w.dst;
    struct move *m = move_begin(&f.w, ARGS(SLOWLY));
    move_wait_memory(m);
    ck_assert_int_eq(lab_vm_kill(vm, SIGSTOP), 0);
    snprintf(part, sizeof(part), "the %s's QEMU answers neither in band nor out of band",
             _i == 0 ? "source" : "destination");
    move_wait_line(m, part);
    ck_assert_int_eq(lab_vm_kill(vm, SIGCONT), 0);
    move_end(m);
    expect_moved(m, "precopy");
    ck_assert(move_has(m, "warning", "message", "not known to be dead"));
    ck_assert(move_has(m, "warning", "message", "127.0.0.1 answers"));
    ck_assert(!move_has(m, "warning", "message", "main loop"));
    ck_assert(has_gone_on(m));
}
END_TEST

/* ---- a main loop ---- */

START_TEST(a_main_loop_that_stalls_for_30_s_is_no_death)
{
    char part[80];

    world_pair(&f.w, "ws=48 rate=1000");
    struct move *m = move_begin(&f.w, ARGS(SLOWLY));
    move_wait_memory(m);
    if (!freeze_main_loop(_i == 0 ? f.w.src : f.w.dst)) {
        ck_assert_int_eq(lab_proc_signal(m->proc, SIGINT), 0);
        move_end(m);
        return;
    }
    const int64_t until_ns = lab_now_ns() + THIRTY_S * INT64_C(1000000);
    snprintf(part, sizeof(part), "the main loop of the %s's QEMU is stalled",
             _i == 0 ? "source" : "destination");
    move_wait_line(m, part);
    move_wait_line(m, part); /* twice as long */
    lab_pump(f.w.lab, (int)((until_ns - lab_now_ns()) / 1000000));
    thaw();
    move_end(m);
    expect_moved(m, "precopy");
    ck_assert(move_count(m, "warning", "message", part) <= 4);
    ck_assert(move_has(m, "warning", "message", "no death"));
    ck_assert(!move_has(m, "warning", "message", "neither in band nor"));
    ck_assert(has_gone_on(m));
}
END_TEST

START_TEST(nor_in_post_copy)
{
    world_pair(&f.w, "ws=48 flat");
    struct move *m = move_begin(&f.w, ARGS("-p", "post-copy", "--bandwidth", "40MiB",
                                           "--set", "postcopy.bandwidth=1MiB"));
    ck_assert_int_eq(lab_wait_event(f.w.dst, "RESUME", NULL, NULL, 0), 0);
    if (freeze_main_loop(_i == 0 ? f.w.src : f.w.dst)) {
        lab_pump(f.w.lab, THIRTY_S);
        thaw();
    }
    move_end(m);
    expect_moved(m, "postcopy");
}
END_TEST

static Suite *stalls_suite(void)
{
    Suite *s = suite_create("stalls");
    TCase *t = tcase_create("process");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_loop_test(t, a_qemu_that_is_stopped_is_named_and_waited_for, 0, 2);
    suite_add_tcase(s, t);

    t = tcase_create("mainloop");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_loop_test(t, a_main_loop_that_stalls_for_30_s_is_no_death, 0, 2);
    tcase_add_loop_test(t, nor_in_post_copy, 0, 2);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return real_main(stalls_suite());
}

/* The moves that run now: one of a VM at a time, whoever is killed holds nothing, and what the others
 * use. Other processes are children. */
#include <check.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/running_uv.h"
#include "qmp/rundir_uv.h"

enum { CHILDREN_MAX = 4 };

static struct fixture {
    char dir[64];
    struct mig_spec spec;
    struct qmp_addr addr;
    struct running_wish wish;
    struct running own;
    struct qf_err err;
    pid_t child[CHILDREN_MAX];
    unsigned n;
} f;

static const struct mig_use eth = {.interface = "e0", .network = "10.0.0.0/24"};

static void name_source(const char *text)
{
    (void)snprintf(f.spec.source, sizeof(f.spec.source), "%s", text);
    ck_assert_int_eq(qmp_addr_parse(text, &f.addr, NULL), 0);
}

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    (void)strcpy(f.dir, "/tmp/qf-running-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(f.dir));
    ck_assert_int_eq(setenv("QFERRY_RUN_DIR", f.dir, 1), 0);
    f.wish = (struct running_wish){.source = &f.addr, .spec = &f.spec};
    name_source("/run/vm.qmp");
}

static void end_child(unsigned i)
{
    if (f.child[i] == 0)
        return;
    (void)kill(f.child[i], SIGKILL);
    (void)waitpid(f.child[i], NULL, 0);
    f.child[i] = 0;
}

static void teardown(void)
{
    char command[96];
    for (unsigned i = 0; i < f.n; i++)
        end_child(i);
    running_drop(&f.own);
    (void)snprintf(command, sizeof(command), "rm -rf %s", f.dir);
    ck_assert_int_eq(system(command), 0);
    (void)unsetenv("QFERRY_RUN_DIR");
}

/* Another process that moves the same VM; without `use` it only sleeps. Returns when it does. */
static unsigned start_child(const struct mig_use *use)
{
    int fds[2];
    char byte;
    ck_assert_uint_lt(f.n, CHILDREN_MAX);
    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    const pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (use && running_take(&f.own, &f.wish, NULL, NULL) != 0)
            _exit(1);
        if (use)
            running_use(&f.own, use);
        (void)!write(fds[1], "", 1);
        for (;;)
            (void)pause();
    }
    (void)close(fds[1]);
    ck_assert_int_eq(read(fds[0], &byte, 1), 1);
    (void)close(fds[0]);
    f.child[f.n] = pid;
    return f.n++;
}

static int take(void)
{
    return running_take(&f.own, &f.wish, NULL, &f.err);
}

static void expect_taken(void)
{
    ck_assert_msg(take() == 0, "%s", f.err.text);
}

static void expect_refused(const char *part)
{
    ck_assert_int_eq(take(), -(int)QF_E_UNREACHABLE);
    ck_assert_msg(strstr(f.err.text, part) != NULL, "%s", f.err.text);
}

static void name_of_child(unsigned i, char out[32])
{
    (void)snprintf(out, 32, "process %ld,", (long)f.child[i]);
}

/* The one file there is. */
static void path_of_file(char out[256])
{
    char command[96];
    (void)snprintf(command, sizeof(command), "ls -d %s/move-*", f.dir);
    FILE *p = popen(command, "r");
    ck_assert_ptr_nonnull(p);
    ck_assert_int_eq(fscanf(p, "%255s", out), 1);
    (void)pclose(p);
}

START_TEST(one_at_a_time)
{
    struct running other;
    expect_taken();
    ck_assert_int_ne(running_take(&other, &f.wish, NULL, &f.err), 0);
    ck_assert_ptr_nonnull(strstr(f.err.text, "this process moves this VM already"));
    f.wish.takeover = true; /* but not itself */
    ck_assert_int_ne(running_take(&other, &f.wish, NULL, &f.err), 0);
    running_drop(&f.own);
    ck_assert_int_eq(rmdir(f.dir), 0); /* nothing is left */
    expect_taken();
}
END_TEST

START_TEST(the_same_monitor_by_any_name)
{
    char link[80];
    char text[128];
    (void)snprintf(link, sizeof(link), "%s/l", f.dir);
    ck_assert_int_eq(symlink("/tmp", link), 0);
    name_source("/tmp/vm.qmp");
    (void)start_child(&eth);
    (void)snprintf(text, sizeof(text), "unix:%s/vm.qmp", link);
    name_source(text);
    expect_refused("another qferry, process ");
    name_source("tcp:127.0.0.1:4444");
    expect_taken();
}
END_TEST

START_TEST(who_is_killed_holds_nothing)
{
    char name[32];
    const unsigned i = start_child(&eth);
    name_of_child(i, name);
    expect_refused(name);
    end_child(i);
    expect_taken();
    /* its memory may still go that way */
    ck_assert_str_eq(f.own.use.network, eth.network);
}
END_TEST

START_TEST(what_others_have_left_is_swept)
{
    end_child(start_child(&eth));
    name_source("/run/other.qmp");
    expect_taken();
    running_drop(&f.own);
    ck_assert_int_eq(rmdir(f.dir), 0);
    ck_assert_int_eq(mkdir(f.dir, 0700), 0);
}
END_TEST

START_TEST(one_that_hangs_is_ended)
{
    pid_t ended;
    int status;
    const unsigned i = start_child(&eth);
    ck_assert_int_eq(kill(f.child[i], SIGSTOP), 0);
    expect_refused("--takeover");
    f.wish.takeover = true;
    ck_assert_msg(running_take(&f.own, &f.wish, &ended, &f.err) == 0, "%s", f.err.text);
    ck_assert_int_eq(ended, f.child[i]);
    ck_assert_int_eq(waitpid(f.child[i], &status, 0), f.child[i]);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    f.child[i] = 0;
    running_drop(&f.own);
    ck_assert_int_eq(running_take(&f.own, &f.wish, &ended, &f.err), 0);
    ck_assert_int_eq(ended, 0); /* nobody */
}
END_TEST

/* Say in the file of `holder` that it is of another process. */
static void claim(pid_t pid, unsigned long long start)
{
    char path[256];
    char text[160];
    const int n =
        snprintf(text, sizeof(text), "{\"pid\":%ld,\"start\":%llu}", (long)pid, start);
    path_of_file(path);
    ck_assert_int_eq(truncate(path, 0), 0);
    const int fd = open(path, O_WRONLY);
    ck_assert_int_eq(write(fd, text, (size_t)n), n);
    (void)close(fd);
}

/* A number that another process has got meanwhile. */
START_TEST(another_process_is_not_ended)
{
    (void)start_child(&eth);
    const unsigned bystander = start_child(NULL);
    claim(f.child[bystander], 1);
    f.wish.takeover = true;
    expect_refused("cannot be seen");
    ck_assert_int_eq(waitpid(f.child[bystander], NULL, WNOHANG), 0);
    claim(0, 0);
    expect_refused("cannot be seen");
}
END_TEST

/* As one that hangs in the kernel: killed, and the lock is held still. */
START_TEST(a_lock_that_stays_is_not_waited_for_for_ever)
{
    (void)start_child(&eth);
    const unsigned other = start_child(NULL);
    const struct qmp_rundir_user user = qmp_rundir_user_of(f.child[other]);
    claim(user.pid, user.start);
    f.wish.takeover = true;
    expect_refused("does not end within 10 s");
}
END_TEST

START_TEST(what_the_others_use)
{
    struct mig_others o;
    ck_assert(!running_look(&f.own, &o)); /* nobody */
    const unsigned a = start_child(&eth);
    name_source("/run/other.qmp");
    const unsigned b = start_child(&eth);
    ck_assert(running_look(&f.own, &o));
    ck_assert_uint_eq(o.n, 1);
    ck_assert_uint_eq(o.way[0].moves, 2);
    ck_assert_str_eq(o.way[0].use.interface, "e0");
    ck_assert_str_eq(o.way[0].use.network, "10.0.0.0/24");
    ck_assert(!running_look(&f.own, &o)); /* no news */
    end_child(a);
    ck_assert(running_look(&f.own, &o));
    ck_assert_uint_eq(o.way[0].moves, 1);
    end_child(b);
    expect_taken();
    running_use(&f.own, &eth);
    (void)running_look(&f.own, &o);
    ck_assert_uint_eq(o.n, 0); /* our own does not count */
}
END_TEST

/* The same names are something else there. */
START_TEST(another_network_namespace_is_no_neighbour)
{
    struct mig_others o;
    (void)start_child(&eth);
    if (unshare(CLONE_NEWNET) != 0)
        return; /* needs root */
    (void)running_look(&f.own, &o);
    ck_assert_uint_eq(o.n, 0);
}
END_TEST

/* A path is bytes; the file must be read all the same. */
START_TEST(a_name_that_is_no_text)
{
    char name[32];
    name_source("/tmp/\xff.qmp");
    name_of_child(start_child(&eth), name);
    expect_refused(name);
}
END_TEST

START_TEST(without_a_place_it_is_said)
{
    ck_assert_int_eq(setenv("QFERRY_RUN_DIR", "/dev/null/x", 1), 0);
    ck_assert_int_eq(take(), -(int)QF_E_IO);
    running_drop(&f.own);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("running_uv");
    TCase *t = tcase_create("running");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, one_at_a_time);
    tcase_add_test(t, the_same_monitor_by_any_name);
    tcase_add_test(t, who_is_killed_holds_nothing);
    tcase_add_test(t, what_others_have_left_is_swept);
    tcase_add_test(t, one_that_hangs_is_ended);
    tcase_add_test(t, another_process_is_not_ended);
    tcase_add_test(t, a_lock_that_stays_is_not_waited_for_for_ever);
    tcase_add_test(t, what_the_others_use);
    tcase_add_test(t, a_name_that_is_no_text);
    tcase_add_test(t, without_a_place_it_is_said);
    /* last: without forks it is the rest of the program that is elsewhere */
    tcase_add_test(t, another_network_namespace_is_no_neighbour);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

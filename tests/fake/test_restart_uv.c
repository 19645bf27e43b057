/* The command that starts a fresh destination: its end, and what fails before it has one. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#include "engine/restart_uv.h"

int __real_uv_read_start(uv_stream_t *stream, uv_alloc_cb alloc, uv_read_cb read);
int __wrap_uv_read_start(uv_stream_t *stream, uv_alloc_cb alloc, uv_read_cb read);

enum { FDS_MAX = 256, FDS = 64 };

static uv_loop_t loop;
static struct mig_spec spec;
static struct mig_do what;
static struct qf_err err;
static struct restart *restart;
static bool no_reading;
static unsigned n_done;
static unsigned n_closed;
static char why[256];
static int hog[FDS_MAX];
static unsigned n_hogs;
static struct rlimit limit;

int __wrap_uv_read_start(uv_stream_t *stream, uv_alloc_cb alloc, uv_read_cb read)
{
    return no_reading ? UV_ENOMEM : __real_uv_read_start(stream, alloc, read);
}

static void setup(void)
{
    memset(&spec, 0, sizeof(spec));
    memset(&what, 0, sizeof(what));
    what.kind = MIG_DO_RESTART;
    restart = NULL;
    no_reading = false;
    n_done = n_closed = n_hogs = 0;
    why[0] = '\0';
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void free_descriptors(unsigned n)
{
    while (n-- > 0 && n_hogs > 0)
        (void)close(hog[--n_hogs]);
}

static void teardown(void)
{
    free_descriptors(FDS_MAX);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert_int_eq(uv_loop_close(&loop), 0); /* nothing is left in it */
}

/* All descriptors but so many are in use. */
static void leave_descriptors(unsigned n)
{
    const struct rlimit few = {.rlim_cur = FDS, .rlim_max = limit.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    int fd;
    while (n_hogs < FDS_MAX && (fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        hog[n_hogs++] = fd;
    free_descriptors(n);
}

static void on_closed(void *arg)
{
    (void)arg;
    n_closed++;
}

static void on_done(struct restart *r, const char *because, void *arg)
{
    (void)arg;
    n_done++;
    (void)snprintf(why, sizeof(why), "%s", because ? because : "");
    free_descriptors(FDS_MAX);
    restart_close(r, on_closed, NULL);
}

static int run(const char *command)
{
    const int rc = restart_start(&restart, &loop, command, &spec, &what, 10 * 1000, on_done,
                                 NULL, &err);
    ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
    ck_assert_uint_eq(n_done, rc == 0);
    ck_assert_uint_eq(n_closed, n_done);
    return rc;
}

START_TEST(it_ends)
{
    ck_assert_int_eq(run("echo well"), 0);
    ck_assert_str_eq(why, "");
}
END_TEST

START_TEST(it_fails)
{
    ck_assert_int_eq(run("echo one; echo no such host >&2; exit 3"), 0);
    ck_assert_str_eq(why, "ended with status 3: no such host");
}
END_TEST

START_TEST(without_a_pipe_nothing_is_begun)
{
    leave_descriptors((unsigned)_i);
    ck_assert_int_eq(run("true"), -(int)QF_E_INTERNAL);
    ck_assert_msg(strstr(err.text, "too many open files"), "%s", err.text);
    ck_assert_ptr_null(restart);
}
END_TEST

START_TEST(without_a_process_it_is_told)
{
    leave_descriptors(2);
    ck_assert_int_eq(run("true"), 0);
    ck_assert_str_eq(why, "/bin/sh: too many open files");
}
END_TEST

/* Its destination must not come up behind the back of a migration that has failed. */
START_TEST(what_cannot_be_listened_to_is_ended)
{
    no_reading = true;
    ck_assert_int_eq(run("sleep 100"), 0);
    ck_assert_msg(strstr(why, "could not be read"), "%s", why);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("fake/restart");
    TCase *t = tcase_create("command");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, it_ends);
    tcase_add_test(t, it_fails);
    tcase_add_loop_test(t, without_a_pipe_nothing_is_begun, 0, 2);
    tcase_add_test(t, without_a_process_it_is_told);
    tcase_add_test(t, what_cannot_be_listened_to_is_ended);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* The control socket as clients see it: its file, who gets in, what becomes of odd ones, and that
 * nobody who does not read holds up anybody. Clients are plain sockets of this process, driven on
 * the same thread: the loop turns while one waits. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include "engine/control_client_uv.h"
#include "engine/control_uv.h"

enum { FDS_MAX = CONTROL_CLIENTS_MAX + 4, TEXT_MAX = 64 * 1024, WAIT_S = 60 };

static struct fixture {
    uv_loop_t loop;
    struct control_server s;
    bool open;
    bool closed;
    char dir[64];
    char path[128];
    int fd[FDS_MAX];
    unsigned n_fds;
    char text[TEXT_MAX]; /* the last line that was read */
    struct qf_err err;
    struct operator_command said;
    unsigned calls;
} f;

static int on_operator(const char *uid,
                       const struct operator_command *c,
                       void *arg,
                       struct qf_err *err)
{
    (void)uid;
    (void)arg;
    (void)err;
    f.said = *c;
    f.calls++;
    return 0;
}

static const struct control_ops ops = {.on_operator = on_operator};

static int open_at(struct control_server *s, const char *address)
{
    return control_open(s, &f.loop, address, "0.1.0", &ops, NULL, &f.err);
}

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    (void)signal(SIGPIPE, SIG_IGN);
    (void)snprintf(f.dir, sizeof(f.dir), "/tmp/qferry-control-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(f.dir));
    (void)snprintf(f.path, sizeof(f.path), "%s/control", f.dir);
    ck_assert_int_eq(uv_loop_init(&f.loop), 0);
}

static void on_close(struct control_server *s, void *arg)
{
    (void)s;
    (void)arg;
    f.closed = true;
}

static void stop(void)
{
    if (f.open)
        control_close(&f.s, on_close, NULL);
    f.open = false;
    (void)uv_run(&f.loop, UV_RUN_DEFAULT);
}

static void teardown(void)
{
    stop();
    for (unsigned i = 0; i < f.n_fds; i++)
        if (f.fd[i] >= 0)
            (void)close(f.fd[i]);
    ck_assert_int_eq(uv_loop_close(&f.loop), 0);
    (void)unlink(f.path);
    ck_assert_int_eq(rmdir(f.dir), 0); /* nothing else was left behind */
}

static void serve(void)
{
    const struct mig_spec spec = {.source = "/s", .destination = "/d", .address = "h"};
    const int rc = open_at(&f.s, f.path);
    ck_assert_msg(rc == 0, "%s", f.err.text);
    f.open = true;
    ck_assert_int_eq(control_add(&f.s.control, "a", &spec, "p", &f.err), 0);
}

/* ---- clients ---- */

static unsigned dial(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    (void)snprintf(at.sun_path, sizeof(at.sun_path), "%s", f.path);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    ck_assert_uint_lt(f.n_fds, FDS_MAX);
    f.fd[f.n_fds] = fd;
    return f.n_fds++;
}

static void turn(void)
{
    (void)uv_run(&f.loop, UV_RUN_NOWAIT);
}

static uint64_t deadline(void)
{
    return uv_hrtime() + WAIT_S * UINT64_C(1000000000);
}

static void put(unsigned c, const char *text)
{
    const uint64_t until = deadline();
    size_t at = 0;
    const size_t len = strlen(text);
    while (at < len) {
        const ssize_t n = write(f.fd[c], text + at, len - at);
        if (n > 0)
            at += (size_t)n;
        else
            ck_assert(errno == EAGAIN && uv_hrtime() < until);
        turn();
    }
}

/* The next line; NULL: the server has closed the connection. */
static const char *line(unsigned c)
{
    const uint64_t until = deadline();
    size_t len = 0;
    for (;;) {
        char *at = f.text + len;
        ssize_t n = recv(f.fd[c], at, TEXT_MAX - 1 - len, MSG_PEEK);
        if (n == 0 || (n < 0 && errno == ECONNRESET))
            return NULL;
        if (n < 0) {
            ck_assert(errno == EAGAIN);
            ck_assert_msg(uv_hrtime() < until, "nothing more after: %.*s", (int)len,
                          f.text);
            turn();
            continue;
        }
        const char *end = memchr(at, '\n', (size_t)n);
        if (end)
            n = end - at + 1;
        ck_assert_int_eq(read(f.fd[c], at, (size_t)n), n); /* no more than the line */
        len += (size_t)n;
        if (end) {
            f.text[len - 1] = '\0';
            return f.text;
        }
        ck_assert_uint_lt(len, TEXT_MAX - 1);
    }
}

static void expect_line(unsigned c, const char *part)
{
    const char *text = line(c);
    ck_assert_msg(text && strstr(text, part), "no '%s' in: %s", part,
                  text ? text : "(end)");
}

static unsigned ready(void)
{
    const unsigned c = dial();
    expect_line(c, "\"QMP\"");
    put(c, "{\"execute\": \"qmp_capabilities\"}");
    expect_line(c, "{\"return\": {}}");
    return c;
}

static void publish(const char *type, unsigned n)
{
    char text[256];
    (void)snprintf(
        text, sizeof(text),
        "{\"type\":\"%s\",\"time\":\"T\",\"t_ns\":1,\"n\":%u,\"outcome\":\"failed\","
        "\"reason\":\"%0128d\"}\n",
        type, n, 0);
    control_publish(&f.s, "a", text);
}

/* ---- the socket's file ---- */

START_TEST(the_file_is_the_owner_s_alone_and_goes_in_the_end)
{
    struct stat st;
    const mode_t mask = umask(0);
    serve();
    (void)umask(mask);
    ck_assert_int_eq(lstat(f.path, &st), 0);
    ck_assert(S_ISSOCK(st.st_mode));
    ck_assert_int_eq(st.st_mode & 07777, 0600);
    stop();
    ck_assert(f.closed);
    ck_assert_int_ne(access(f.path, F_OK), 0);
}
END_TEST

START_TEST(the_address_may_say_unix)
{
    char address[160];
    (void)snprintf(address, sizeof(address), "unix:%s", f.path);
    ck_assert_int_eq(open_at(&f.s, address), 0);
    f.open = true;
    (void)dial();
}
END_TEST

START_TEST(a_socket_that_nobody_serves_is_replaced)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    (void)snprintf(at.sun_path, sizeof(at.sun_path), "%s", f.path);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    (void)close(fd);
    serve();
    (void)ready();
}
END_TEST

START_TEST(a_socket_in_use_is_left_alone)
{
    static struct control_server other;
    serve();
    ck_assert_int_eq(open_at(&other, f.path), -QF_E_USAGE);
    ck_assert_ptr_nonnull(strstr(f.err.text, "in use"));
    control_close(&other, NULL, NULL);
    (void)ready();
}
END_TEST

START_TEST(a_file_is_not_replaced)
{
    const int fd = open(f.path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    (void)close(fd);
    ck_assert_int_eq(open_at(&f.s, f.path), -QF_E_USAGE);
    ck_assert_ptr_nonnull(strstr(f.err.text, "is no socket"));
    ck_assert_int_eq(access(f.path, F_OK), 0);
}
END_TEST

/* Somebody else took the place meanwhile: theirs is not removed. */
START_TEST(a_file_of_somebody_else_stays)
{
    serve();
    ck_assert_int_eq(unlink(f.path), 0);
    const int fd = open(f.path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    (void)close(fd);
    stop();
    ck_assert_int_eq(access(f.path, F_OK), 0);
}
END_TEST

START_TEST(odd_addresses_are_refused)
{
    static const char *const odd[] = {
        "tcp:127.0.0.1:4444", "control", "", "unix:", "/nonexistent/dir/control", "/"};
    char longer[200];
    for (unsigned i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
        ck_assert_msg(open_at(&f.s, odd[i]) == -QF_E_USAGE, "%s", odd[i]);
    memset(longer, 'x', sizeof(longer));
    longer[0] = '/';
    longer[sizeof(longer) - 1] = '\0';
    ck_assert_int_eq(open_at(&f.s, longer), -QF_E_USAGE);
    ck_assert_ptr_nonnull(strstr(f.err.text, "allows"));
}
END_TEST

/* ---- clients ---- */

START_TEST(a_command_comes_in_pieces)
{
    static const char text[] = "{\"execute\": \"migration-pause\", \"id\": 7}";
    serve();
    const unsigned c = ready();
    for (size_t i = 0; i + 1 < sizeof(text); i++) {
        const char one[2] = {text[i], '\0'};
        put(c, one);
    }
    expect_line(c, "{\"return\": {}, \"id\": 7}");
    ck_assert_uint_eq(f.calls, 1);
    ck_assert_int_eq(f.said.kind, MIG_OPERATOR_PAUSE);
}
END_TEST

START_TEST(commands_that_come_together_are_answered_in_order)
{
    enum { N = 50 };
    serve();
    const unsigned c = ready();
    for (unsigned i = 0; i < N; i++) {
        char text[80];
        (void)snprintf(text, sizeof(text), "{\"execute\": \"migration-pause\", \"id\": %u}",
                       i);
        ck_assert_int_eq(write(f.fd[c], text, strlen(text)), (ssize_t)strlen(text));
    }
    for (unsigned i = 0; i < N; i++) {
        char text[80];
        (void)snprintf(text, sizeof(text), "\"id\": %u}", i);
        expect_line(c, text);
    }
    ck_assert_uint_eq(f.calls, N);
}
END_TEST

/* As `echo ... | socat` does. */
START_TEST(who_ends_its_side_gets_its_answers)
{
    serve();
    const unsigned c = dial();
    static const char text[] = "{\"execute\": \"qmp_capabilities\"}"
                               "{\"execute\": \"query-commands\", \"id\": 1}"
                               "{\"execute\": \"query-policies\", \"id\": 2}"
                               "{\"execute\": \"query-version\", \"id\": 3}"
                               "{\"execute\": \"query-migrations\", \"id\": 4}"
                               "{\"execute\": \"nosuch\", \"id\": 5}"
                               "{\"execute\": \"migration-set\", \"id\": 6}";
    ck_assert_int_eq(write(f.fd[c], text, sizeof(text) - 1), (ssize_t)sizeof(text) - 1);
    ck_assert_int_eq(shutdown(f.fd[c], SHUT_WR), 0);
    expect_line(c, "QMP");
    expect_line(c, "return");
    for (unsigned i = 1; i <= 6; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "\"id\": %u}", i);
        expect_line(c, id);
    }
    ck_assert_ptr_null(line(c));
}
END_TEST

START_TEST(garbage_ends_its_own_connection_only)
{
    static const char *const garbage[] = {"GET / HTTP/1.1\r\n\r\n", "]", "{\"execute\": }",
                                          "\x01\xff\xfe"};
    serve();
    const unsigned good = ready();
    for (unsigned i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
        const unsigned c = dial();
        expect_line(c, "QMP");
        put(c, garbage[i]);
        expect_line(c, "\"error\"");
        if (i != 2) /* an object that is not JSON is only refused */
            ck_assert_ptr_null(line(c));
    }
    put(good, "{\"execute\": \"query-version\"}");
    expect_line(good, "qferry-0.1.0");
}
END_TEST

START_TEST(a_command_without_end_is_cut_off)
{
    static char text[64 * 1024 + 1];
    serve();
    const unsigned c = ready();
    const uint64_t until = deadline();
    memset(text, 'a', sizeof(text) - 1);
    bool cut = false;
    put(c, "{\"execute\": \"");
    while (!cut) {
        const ssize_t n = write(f.fd[c], text, sizeof(text) - 1);
        cut = n < 0 && errno != EAGAIN;
        ck_assert(uv_hrtime() < until);
        turn();
    }
    ck_assert_uint_eq(f.s.n_clients, 0);
    (void)ready();
}
END_TEST

START_TEST(a_client_may_go_at_any_moment)
{
    static const char text[] = "{\"execute\": \"qmp_capabilities\"}"
                               "{\"execute\": \"query-policies\"}"
                               "{\"execute\": \"migration-pause\"}";
    serve();
    for (size_t n = 0; n < sizeof(text); n += 7) {
        f.n_fds = 0;
        const unsigned c = dial();
        for (unsigned i = 0; i < n % 3; i++)
            turn();
        ck_assert_int_eq(write(f.fd[c], text, n), (ssize_t)n);
        for (unsigned i = 0; i < n % 4; i++)
            turn();
        publish("sample", (unsigned)n);
        (void)close(f.fd[c]);
        f.fd[c] = -1;
    }
    const uint64_t until = deadline();
    while (f.s.n_clients > 0 && uv_hrtime() < until)
        turn();
    ck_assert_uint_eq(f.s.n_clients, 0);
}
END_TEST

START_TEST(more_clients_than_places_are_told_so)
{
    serve();
    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
        (void)ready();
    const unsigned c = dial();
    expect_line(c, "16 clients are connected");
    ck_assert_ptr_null(line(c));
    publish("phase", 1);
    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
        expect_line(i, "MIGRATION_PHASE");
    (void)close(f.fd[3]);
    f.fd[3] = -1;
    while (f.s.n_clients == CONTROL_CLIENTS_MAX)
        turn();
    (void)ready();
}
END_TEST

/* ---- events ---- */

START_TEST(events_come_after_negotiation_and_with_the_uid)
{
    serve();
    const unsigned early = dial();
    expect_line(early, "QMP");
    const unsigned c = ready();
    publish("phase", 1);
    expect_line(c, "\"event\": \"MIGRATION_PHASE\"");
    ck_assert_ptr_nonnull(strstr(f.text, "\"uid\": \"a\""));
    ck_assert_ptr_nonnull(strstr(f.text, "\"timestamp\": {\"seconds\": "));
    put(early, "{\"execute\": \"qmp_capabilities\"}");
    expect_line(early, "{\"return\": {}}");
    publish("decision", 1);
    expect_line(early, "MIGRATION_DECISION");
}
END_TEST

/* An answer is as of now: what was published before the question is in it. */
START_TEST(an_answer_knows_what_was_published)
{
    serve();
    const unsigned c = ready();
    static const char text[] = "{\"execute\": \"query-migrations\", \"id\": 1}";
    ck_assert_int_eq(write(f.fd[c], text, sizeof(text) - 1), (ssize_t)sizeof(text) - 1);
    publish("sample", 77);
    expect_line(c, "MIGRATION_SAMPLE");
    expect_line(c, "\"id\": 1}");
    ck_assert_ptr_nonnull(strstr(f.text, "\"n\": 77"));
}
END_TEST

/* One does not read, one does: the one that does misses nothing, and the other is told how much it
 * has missed, and gets the result. */
START_TEST(who_does_not_read_misses_events_and_nothing_else_happens)
{
    enum { N = 5000 };
    serve();
    const unsigned slow = ready();
    const unsigned fast = ready();
    for (unsigned i = 0; i < N; i++) {
        char n[32];
        publish("sample", i);
        (void)snprintf(n, sizeof(n), "\"n\": %u,", i);
        expect_line(fast, n);
    }
    ck_assert_uint_eq(f.s.n_clients, 2);
    publish("result", N);
    expect_line(fast, "MIGRATION_RESULT");
    unsigned seen = 0;
    json_int_t dropped = 0;
    for (;;) {
        ck_assert_ptr_nonnull(line(slow));
        if (strstr(f.text, "MIGRATION_RESULT"))
            break;
        if (strstr(f.text, "EVENTS_DROPPED")) {
            json_t *event = json_loads(f.text, 0, NULL);
            dropped += json_integer_value(
                json_object_get(json_object_get(event, "data"), "dropped"));
            json_decref(event);
        } else {
            ck_assert_ptr_nonnull(strstr(f.text, "MIGRATION_SAMPLE"));
            seen++;
        }
    }
    ck_assert_int_gt(dropped, 0);
    ck_assert_int_eq((json_int_t)seen + dropped, N);
    publish("phase", 1); /* it reads again: events come again */
    expect_line(slow, "MIGRATION_PHASE");
}
END_TEST

START_TEST(who_leaves_answers_unread_is_disconnected)
{
    static const char text[] = "{\"execute\": \"query-policies\"}";
    const uint64_t until = deadline();
    serve();
    const unsigned c = ready();
    const unsigned good = ready();
    while (f.s.n_clients == 2) {
        (void)!write(f.fd[c], text, sizeof(text) - 1);
        ck_assert(uv_hrtime() < until);
        turn();
    }
    put(good, "{\"execute\": \"query-version\"}");
    expect_line(good, "qferry-0.1.0");
}
END_TEST

/* ---- the end ---- */

START_TEST(the_result_is_delivered_although_the_end_is_near)
{
    serve();
    const unsigned c = ready();
    publish("result", 1);
    stop();
    ck_assert(f.closed);
    expect_line(c, "MIGRATION_RESULT");
    ck_assert_ptr_null(line(c));
}
END_TEST

START_TEST(who_does_not_read_does_not_hold_up_the_end)
{
    serve();
    const unsigned c = ready();
    (void)ready();
    for (unsigned i = 0; i < 5000; i++) {
        publish("sample", i);
        turn();
    }
    publish("result", 1);
    stop();
    ck_assert(f.closed);
    /* Not all of it was taken, and the end has come all the same. */
    for (const char *text = line(c); text; text = line(c))
        ck_assert_ptr_null(strstr(text, "MIGRATION_RESULT"));
}
END_TEST

START_TEST(a_server_that_was_never_open_is_closed_at_once)
{
    control_publish(&f.s, "a", "{}");
    control_close(&f.s, on_close, NULL);
    ck_assert(f.closed);
}
END_TEST

/* ---- qferry's own client ---- */

static atomic_bool called;

static void call(void *arg)
{
    struct control_call *c = arg;
    int *rc = c->arg;
    *rc = control_call(c, &f.err);
    atomic_store(&called, true);
}

/* It blocks, so it has a thread of its own; the server turns on this one. */
static int call_from_outside(const char *command)
{
    int rc = 1;
    uv_thread_t thread;
    struct control_call c = {.address = f.path, .command = command, .arg = &rc};
    atomic_store(&called, false);
    ck_assert_int_eq(uv_thread_create(&thread, call, &c), 0);
    while (!atomic_load(&called)) /* control_call has a deadline */
        turn();
    ck_assert_int_eq(uv_thread_join(&thread), 0);
    return rc;
}

START_TEST(a_monitor_of_something_else_is_told_apart)
{
    serve();
    ck_assert_int_eq(call_from_outside("migrate"), -QF_E_PROTO);
    ck_assert_ptr_nonnull(strstr(f.err.text, "not a qferry"));
    ck_assert_int_eq(call_from_outside("migration-pause"), 0);
    ck_assert_uint_eq(f.calls, 1);
}
END_TEST

START_TEST(a_full_server_says_so_to_qferry_too)
{
    serve();
    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
        (void)ready();
    ck_assert_int_eq(call_from_outside("query-version"), -QF_E_PROTO);
    ck_assert_ptr_nonnull(strstr(f.err.text, "16 clients are connected"));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("control_uv");
    TCase *t = tcase_create("file");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, the_file_is_the_owner_s_alone_and_goes_in_the_end);
    tcase_add_test(t, the_address_may_say_unix);
    tcase_add_test(t, a_socket_that_nobody_serves_is_replaced);
    tcase_add_test(t, a_socket_in_use_is_left_alone);
    tcase_add_test(t, a_file_is_not_replaced);
    tcase_add_test(t, a_file_of_somebody_else_stays);
    tcase_add_test(t, odd_addresses_are_refused);
    suite_add_tcase(s, t);
    t = tcase_create("clients");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_command_comes_in_pieces);
    tcase_add_test(t, commands_that_come_together_are_answered_in_order);
    tcase_add_test(t, who_ends_its_side_gets_its_answers);
    tcase_add_test(t, garbage_ends_its_own_connection_only);
    tcase_add_test(t, a_command_without_end_is_cut_off);
    tcase_add_test(t, a_client_may_go_at_any_moment);
    tcase_add_test(t, more_clients_than_places_are_told_so);
    suite_add_tcase(s, t);
    t = tcase_create("events");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, events_come_after_negotiation_and_with_the_uid);
    tcase_add_test(t, an_answer_knows_what_was_published);
    tcase_add_test(t, who_does_not_read_misses_events_and_nothing_else_happens);
    tcase_add_test(t, who_leaves_answers_unread_is_disconnected);
    suite_add_tcase(s, t);
    t = tcase_create("end");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, the_result_is_delivered_although_the_end_is_near);
    tcase_add_test(t, who_does_not_read_does_not_hold_up_the_end);
    tcase_add_test(t, a_server_that_was_never_open_is_closed_at_once);
    tcase_add_test(t, a_monitor_of_something_else_is_told_apart);
    tcase_add_test(t, a_full_server_says_so_to_qferry_too);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *r = srunner_create(suite());
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

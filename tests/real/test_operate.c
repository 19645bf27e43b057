/* A hand on the running move: the operator's commands against real QEMUs, from qferry's own
 * commands and from clients that know nothing of it. QEMU 7.2, TCG. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/real/move.h"

/* Decides nothing by itself: what happens is the operator's doing. */
#define LEAVE_IT                                                                       \
    "{\"name\": \"leave-it\", \"pacing\": \"schedule\","                               \
    " \"downtime\": {\"start\": \"20ms\", \"max\": \"20ms\"},"                         \
    " \"throttle\": {\"allowed\": false}, \"stop\": {\"allowed\": false, \"max\": 0}," \
    " \"timeout\": 0, \"progress-timeout\": 0, \"steps\": []}"

/* Writes all of 24 MiB faster than 40 MiB/s. */
#define NEVER_CONVERGES "ws=24 flat"
#define SLOWLY          "--bandwidth", "40MiB"

static struct fixture {
    struct world w;
    char policy[LAB_PATH_MAX];
    char sock[LAB_PATH_MAX];
} f;

static void setup(void)
{
    world_open(&f.w);
    FILE *file = fopen(lab_path(f.w.lab, "leave-it.json", f.policy), "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(LEAVE_IT, file), 0);
    ck_assert_int_eq(fclose(file), 0);
    lab_path(f.w.lab, "control", f.sock);
}

static void teardown(void)
{
    world_close(&f.w);
}

/* ---- helpers ---- */

/* With the policy above and a control socket; returns when memory moves. */
static struct move *begin(const char *const *extra)
{
    const char *argv[16] = {"-p", f.policy, "--control", f.sock};
    unsigned n = 4;

    for (unsigned i = 0; extra[i]; i++)
        argv[n++] = extra[i];
    argv[n] = NULL;
    struct move *m = move_begin(&f.w, argv);
    move_wait_memory(m);
    return m;
}

/* `qferry COMMAND --control SOCKET ARG`; its output. */
static struct lab_proc *ask(int exit, const char *command, const char *const *args)
{
    const char *argv[16] = {QFERRY, command, "--control", f.sock};
    unsigned n = 4;
    struct lab_proc *p;

    for (unsigned i = 0; args[i]; i++)
        argv[n++] = args[i];
    argv[n] = NULL;
    const int got = world_run(&f.w, argv, &p);
    if (got != exit)
        lab_proc_dump(p);
    ck_assert_int_eq(got, exit);
    return p;
}

static void expect_refused(const char *command, const char *const *args, const char *part)
{
    const char *text = lab_proc_stderr(ask(3, command, args));

    ck_assert_msg(strstr(text, part), "no '%s' in: %s", part, text);
}

static void expect_completed(struct move *m, const char *mode, const char *because)
{
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    ck_assert_str_eq(move_result(m, "mode"), mode);
    ck_assert_msg(move_has(m, "decision", "because", because), "no decision with %s",
                  because);
    ck_assert_uint_ge(move_count(m, "decision", "rule", "operator"), 1);
    expect_guest_on(&f.w, f.w.dst);
    expect_settings(f.w.src, f.w.src_settings);
    expect_settings(f.w.dst, f.w.dst_settings);
    ck_assert_int_ne(access(f.sock, F_OK), 0); /* removed */
}

/* ---- a guest that never converges, and what an operator can do about it ---- */

START_TEST(postcopy_finishes_it)
{
    world_pair(&f.w, NEVER_CONVERGES);
    struct move *m = begin(ARGS(SLOWLY, "--set", "postcopy.allowed=true"));
    ask(0, "postcopy", NO_ARGS);
    expect_completed(m, "postcopy", "asked for by the operator: switch to post-copy now");
}
END_TEST

START_TEST(pause_finishes_it)
{
    world_pair(&f.w, NEVER_CONVERGES);
    struct move *m = begin(ARGS(SLOWLY));
    ask(0, "pause", NO_ARGS);
    expect_completed(m, "stop-and-copy", "asked for by the operator: stop the guest");
}
END_TEST

/* The bound of a policy that allows a stop holds for the operator's, too. */
START_TEST(stop_max_guards_a_pause)
{
    world_pair(&f.w, NEVER_CONVERGES);
    struct move *m = begin(ARGS("--bandwidth", "4MiB", "--set", "stop.max=300ms", "--set",
                                "stop.allowed=true"));
    ask(0, "pause", NO_ARGS);
    move_end(m);
    move_expect(m, 4, "aborted", "source");
    move_expect_reason(m, "stop.max is 300 ms");
    expect_guest_on(&f.w, f.w.src);
}
END_TEST

START_TEST(a_longer_downtime_finishes_it)
{
    world_pair(&f.w, NEVER_CONVERGES);
    struct move *m = begin(ARGS(SLOWLY));
    ask(0, "set", ARGS("downtime.max=10s", "timeout=1h"));
    expect_completed(m, "precopy", "downtime.max 20 ms -> 10");
    ck_assert(move_has(m, "decision", "because", "timeout none -> "));
    ck_assert(move_has(m, "decision", "action", "set-downtime"));
}
END_TEST

START_TEST(more_bandwidth_finishes_it)
{
    world_pair(&f.w, "ws=16 rate=2000");
    struct move *m = begin(ARGS("--bandwidth", "4MiB", "--set", "downtime.max=500ms"));
    ask(0, "set", ARGS("bandwidth=400MiB"));
    move_wait_line(m, "\"action\":\"set-bandwidth\"");
    expect_completed(m, "precopy", "bandwidth ");
}
END_TEST

START_TEST(a_time_limit_ends_it)
{
    world_pair(&f.w, NEVER_CONVERGES);
    struct move *m = begin(ARGS(SLOWLY));
    ask(0, "set", ARGS("timeout=100ms"));
    move_end(m);
    move_expect(m, 4, "aborted", "source");
    move_expect_reason(m, "the time limit");
    expect_guest_on(&f.w, f.w.src);
    expect_settings(f.w.src, f.w.src_settings);
}
END_TEST

START_TEST(cancel_takes_it_back)
{
    world_pair(&f.w, NEVER_CONVERGES);
    struct move *m = begin(ARGS(SLOWLY));
    ask(0, "cancel", NO_ARGS);
    move_end(m);
    move_expect(m, 5, "cancelled", "source");
    ck_assert(move_has(m, "decision", "because", "asked for by the operator: cancel"));
    expect_guest_on(&f.w, f.w.src);
    expect_settings(f.w.src, f.w.src_settings);
    ask(6, "cancel", NO_ARGS); /* nobody is there any more */
}
END_TEST

/* ---- what is refused ---- */

START_TEST(what_cannot_be_is_refused_with_the_reason)
{
    world_pair(&f.w, NEVER_CONVERGES);
    struct move *m = begin(ARGS(SLOWLY));
    expect_refused("postcopy", NO_ARGS, "only before the start");
    expect_refused("set", ARGS("postcopy.allowed=true"), "only before the start");
    expect_refused("set", ARGS("downtime.max=10s", "throttle.allowed=true"),
                   "only before the start");
    ck_assert_ptr_nonnull(
        strstr(lab_proc_stderr(ask(2, "set", ARGS("downtime.maxx=1s"))), "downtime.max?"));
    ck_assert_ptr_nonnull(
        strstr(lab_proc_stderr(ask(2, "set", ARGS("timeout=5s", "timeout=soon"))), "soon"));
    ck_assert_ptr_nonnull(strstr(lab_proc_stderr(ask(2, "set", ARGS("channels=4"))),
                                 "while a migration runs"));
    expect_refused("cancel", ARGS("--uid", "another"), "another");
    ask(0, "pause", NO_ARGS);
    expect_completed(m, "stop-and-copy", "stop the guest");
    ck_assert(!move_has(m, "decision", "because", "downtime.max")); /* all or none */
}
END_TEST

START_TEST(in_postcopy_only_forward)
{
    world_pair(&f.w, "ws=48 rate=300");
    struct move *m = begin(ARGS("--bandwidth", "8MiB", "--set", "postcopy.allowed=true",
                                "--set", "postcopy.bandwidth=1MiB"));
    ask(0, "postcopy", NO_ARGS);
    move_wait_line(m, "\"phase\":\"postcopy\"");
    expect_refused("cancel", NO_ARGS, "the only way is forward");
    expect_refused("postcopy", NO_ARGS, "already");
    expect_refused("pause", NO_ARGS, "post-copy");
    expect_refused("set", ARGS("downtime.max=10s"), "no meaning any more in post-copy");
    ask(0, "set", ARGS("bandwidth=1GiB"));
    expect_completed(m, "postcopy", "bandwidth ");
}
END_TEST

/* ---- looking on ---- */

START_TEST(status_tells_where_it_is)
{
    struct stat st;

    world_pair(&f.w, NEVER_CONVERGES);
    struct move *m = begin(ARGS(SLOWLY));
    ck_assert_int_eq(stat(f.sock, &st), 0);
    ck_assert_int_eq(st.st_mode & 07777, 0600);
    move_wait_line(m, "\"type\":\"sample\"");
    const char *text = lab_proc_stdout(ask(0, "status", NO_ARGS));
    ck_assert_ptr_nonnull(strstr(text, "running"));
    ck_assert_ptr_nonnull(strstr(text, "precopy"));
    ck_assert_ptr_nonnull(strstr(text, lab_vm_qmp_path(f.w.src)));
    json_t *list = json_loads(lab_proc_stdout(ask(0, "status", ARGS("--json"))), 0, NULL);
    const json_t *one = json_array_get(list, 0);
    ck_assert_uint_eq(json_array_size(list), 1);
    ck_assert_str_eq(json_string_value(json_object_get(one, "state")), "running");
    ck_assert_str_eq(json_string_value(json_object_get(one, "phase")), "precopy");
    ck_assert_str_eq(json_string_value(json_object_get(one, "target_address")),
                     "127.0.0.1");
    ck_assert(json_is_string(json_object_get(one, "start")));
    ck_assert(json_is_null(json_object_get(one, "end")));
    ck_assert(json_is_object(json_object_get(one, "sample")));
    char uid[80];
    snprintf(uid, sizeof(uid), "%s", json_string_value(json_object_get(one, "uid")));
    json_decref(list);
    ask(0, "pause", ARGS("--uid", uid));
    expect_completed(m, "stop-and-copy", "stop the guest");
}
END_TEST

START_TEST(watch_ends_with_the_migration_and_its_exit_status)
{
    int status;

    world_pair(&f.w, NEVER_CONVERGES);
    struct move *m = begin(ARGS(SLOWLY));
    struct lab_proc *text = lab_spawn(f.w.lab, ARGS(QFERRY, "watch", "--control", f.sock));
    struct lab_proc *json =
        lab_spawn(f.w.lab, ARGS(QFERRY, "watch", "--control", f.sock, "--json"));
    ck_assert_int_eq(lab_proc_line(text, "pass ", NULL, 0, 0), 0);
    ck_assert_int_eq(lab_proc_line(json, "\"type\":\"sample\"", NULL, 0, 0), 0);
    ask(0, _i == 0 ? "cancel" : "pause", NO_ARGS);
    move_end(m);
    ck_assert_int_eq(lab_proc_wait(text, 0, &status), 0);
    ck_assert_int_eq(WEXITSTATUS(status), m->exit);
    ck_assert_int_eq(lab_proc_wait(json, 0, &status), 0);
    ck_assert_int_eq(WEXITSTATUS(status), m->exit);
    ck_assert_int_eq(m->exit, _i == 0 ? 5 : 0);
    ck_assert_ptr_nonnull(strstr(lab_proc_stdout(text), "-> "));
    ck_assert_ptr_nonnull(strstr(_i == 0 ? lab_proc_stderr(text) : lab_proc_stdout(text),
                                 _i == 0 ? "cancelled: " : "completed: "));
    const char *last = strstr(lab_proc_stdout(json), "\"type\":\"result\"");
    ck_assert_ptr_nonnull(last);
    ck_assert_ptr_nonnull(strstr(last, "\"uid\":\""));
    ck_assert_uint_eq(strcspn(last, "\n") + 1, strlen(last));
}
END_TEST

START_TEST(a_watch_that_loses_its_qferry_says_so)
{
    int status;

    world_pair(&f.w, NEVER_CONVERGES);
    struct move *m = begin(ARGS(SLOWLY));
    struct lab_proc *p = lab_spawn(f.w.lab, ARGS(QFERRY, "watch", "--control", f.sock));
    ck_assert_int_eq(lab_proc_line(p, "pass ", NULL, 0, 0), 0);
    ck_assert_int_eq(lab_proc_signal(m->proc, SIGKILL), 0);
    ck_assert_int_eq(lab_proc_wait(p, 0, &status), 0);
    ck_assert_int_eq(WEXITSTATUS(status), 7);
    ck_assert_int_eq(lab_proc_wait(m->proc, 0, NULL), 0);

    /* The same command takes it up, over the socket file that was left behind. */
    ck_assert_int_eq(access(f.sock, F_OK), 0);
    m = begin(ARGS(SLOWLY));
    ask(0, "cancel", NO_ARGS);
    move_end(m);
    move_expect(m, 5, "cancelled", "source");
    expect_guest_on(&f.w, f.w.src);
}
END_TEST

START_TEST(a_socket_in_use_is_not_taken_over)
{
    struct lab_proc *p;

    world_pair(&f.w, NEVER_CONVERGES);
    struct move *m = begin(ARGS(SLOWLY));
    ck_assert_int_eq(world_run(&f.w,
                               ARGS(QFERRY, "migrate", "/nonexistent/a", "/nonexistent/b",
                                    "--journal", "none", "--control", f.sock),
                               &p),
                     2);
    ck_assert_ptr_nonnull(strstr(lab_proc_stderr(p), "in use"));
    ask(0, "pause", NO_ARGS);
    expect_completed(m, "stop-and-copy", "stop the guest");
}
END_TEST

/* ---- clients that know nothing of qferry ---- */

static bool is_there(const char *const *argv)
{
    struct lab_proc *p;

    return world_run(&f.w, argv, &p) == 0;
}

START_TEST(socat_is_client_enough)
{
    char unix_addr[LAB_PATH_MAX + 32];
    struct lab_proc *p;

    if (!is_there(ARGS("socat", "-V"))) {
        printf("not tried: no socat\n");
        return;
    }
    world_pair(&f.w, NEVER_CONVERGES);
    struct move *m = begin(ARGS(SLOWLY));
    snprintf(unix_addr, sizeof(unix_addr), "UNIX-CONNECT:%s", f.sock);
    const char *shell = "printf '%s\\n' '{\"execute\": \"qmp_capabilities\"}'"
                        " '{\"execute\": \"query-commands\", \"id\": 1}'"
                        " '{\"execute\": \"query-migrations\", \"id\": \"two\"}'"
                        " '{\"execute\": \"query-networks\", \"id\": 5}'"
                        " '{\"execute\": \"migration-start\", \"id\": 3}'"
                        " '{\"execute\": \"migration-set\", \"id\": 4,"
                        "   \"arguments\": {\"downtime\": {\"max\": 10}}}'"
                        " | socat -t 20 - \"$0\"";
    ck_assert_int_eq(world_run(&f.w, ARGS("sh", "-c", shell, unix_addr), &p), 0);
    const char *text = lab_proc_stdout(p);
    static const char *const parts[] = {
        "{\"QMP\": {\"version\": {\"qemu\": {\"major\": ",
        "{\"name\": \"migration-postcopy\"}",
        "\"id\": 1}",
        "\"state\": \"running\"",
        "\"id\": \"two\"}",
        "\"CommandNotFound\"",
        "\"candidates\": []",
        "\"id\": 5}",
        "{\"return\": {}, \"id\": 4}",
    };
    for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        ck_assert_msg(strstr(text, parts[i]), "no %s in: %s", parts[i], text);
    expect_completed(m, "precopy", "downtime.max 20 ms -> 10");
}
END_TEST

/* QEMU's own Python library, where somebody has installed it. */
START_TEST(the_qmp_library_of_qemu_drives_it)
{
    /* what it is today, and what came with QEMU before 7.1 */
    static const char script[] =
        "import asyncio, sys\n"
        "import qemu.qmp\n"
        "def see(name, data, uid):\n"
        "    assert data['uid'] == uid\n"
        "    print(name, data.get('outcome', ''), flush=True)\n"
        "    return name == 'MIGRATION_RESULT'\n"
        "async def today():\n"
        "    qmp = qemu.qmp.QMPClient('test')\n"
        "    with qmp.listener() as events:\n"
        "        await qmp.connect(sys.argv[1])\n"
        "        (one,) = await qmp.execute('query-migrations')\n"
        "        await qmp.execute('migration-pause', {'uid': one['uid']})\n"
        "        async for e in events:\n"
        "            if see(e['event'], e['data'], one['uid']):\n"
        "                break\n"
        "    await qmp.disconnect()\n"
        "def then():\n"
        "    qmp = qemu.qmp.QEMUMonitorProtocol(sys.argv[1])\n"
        "    qmp.connect()\n"
        "    (one,) = qmp.command('query-migrations')\n"
        "    qmp.command('migration-pause', uid=one['uid'])\n"
        "    while True:\n"
        "        e = qmp.pull_event(wait=60)\n"
        "        if see(e['event'], e['data'], one['uid']):\n"
        "            break\n"
        "asyncio.run(today()) if hasattr(qemu.qmp, 'QMPClient') else then()\n";
    struct lab_proc *p;

    if (!is_there(ARGS("python3", "-c", "import qemu.qmp"))) {
        printf("not tried: no Python library qemu.qmp\n");
        return;
    }
    world_pair(&f.w, NEVER_CONVERGES);
    struct move *m = begin(ARGS(SLOWLY));
    const int rc = world_run(&f.w, ARGS("python3", "-c", script, f.sock), &p);
    if (rc != 0)
        lab_proc_dump(p);
    ck_assert_int_eq(rc, 0);
    ck_assert_ptr_nonnull(strstr(lab_proc_stdout(p), "MIGRATION_DECISION"));
    ck_assert_ptr_nonnull(strstr(lab_proc_stdout(p), "completed"));
    expect_completed(m, "stop-and-copy", "stop the guest");
}
END_TEST

static Suite *control_suite(void)
{
    Suite *s = suite_create("control");
    TCase *t = tcase_create("operator");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, postcopy_finishes_it);
    tcase_add_test(t, pause_finishes_it);
    tcase_add_test(t, stop_max_guards_a_pause);
    tcase_add_test(t, a_longer_downtime_finishes_it);
    tcase_add_test(t, more_bandwidth_finishes_it);
    tcase_add_test(t, a_time_limit_ends_it);
    tcase_add_test(t, cancel_takes_it_back);
    suite_add_tcase(s, t);

    t = tcase_create("refused");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, what_cannot_be_is_refused_with_the_reason);
    tcase_add_test(t, in_postcopy_only_forward);
    suite_add_tcase(s, t);

    t = tcase_create("watch");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, status_tells_where_it_is);
    tcase_add_loop_test(t, watch_ends_with_the_migration_and_its_exit_status, 0, 2);
    tcase_add_test(t, a_watch_that_loses_its_qferry_says_so);
    tcase_add_test(t, a_socket_in_use_is_not_taken_over);
    suite_add_tcase(s, t);

    t = tcase_create("stock");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, socat_is_client_enough);
    tcase_add_test(t, the_qmp_library_of_qemu_drives_it);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return real_main(control_suite());
}

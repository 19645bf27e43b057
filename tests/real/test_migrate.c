/* A guest moves: the moves that complete, those that a policy gives up, and what a guest or
 * another client may do meanwhile. TCG. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/real/move.h"

enum { SANE_BLACKOUT_MS = 5000 /* no measurement: seconds would be absurd */ };

/* Passes and downtime limits in a relation that does not depend on the machine: 40 MiB/s. */
#define SLOWLY "--bandwidth", "40MiB"

/* Writes all of 24 MiB faster than that; 500 ms take 20. */
#define NEVER_CONVERGES "ws=24 flat"

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

static void expect_source_is_done(void)
{
    char state[LAB_STATE_MAX];

    ck_assert_int_eq(lab_run_state(f.w.src, state), 0);
    ck_assert_str_eq(state, "postmigrate");
}

/* The move is complete, the guest whole and on the destination, both QEMUs set as found. */
static void expect_moved(const struct move *m, const char *mode)
{
    move_expect(m, 0, "completed", "destination");
    ck_assert_str_eq(move_result(m, "mode"), mode);
    expect_guest_on(&f.w, f.w.dst);
    expect_source_is_done();
    expect_settings(f.w.src, f.w.src_settings);
    expect_settings(f.w.dst, f.w.dst_settings);
}

static void expect_stayed(void)
{
    expect_guest_on(&f.w, f.w.src);
    expect_settings(f.w.src, f.w.src_settings);
}

/* ---- moves ---- */

static const struct guest {
    const char *machine;
    const char *append;
    unsigned smp;
} guests[] = {
    {NULL, "ws=16", 1},
    {"pc-q35-7.2", "ws=16", 1},
    {NULL, "ws=16", 4},
    {NULL, "ws=16 rate=1000", 1},
    {NULL, "ws=48 cold=16 rate=2000 order=random fill=page", 1},
    {NULL, "ws=32 hot=4 flat hot-share=95 rate=3000", 1},
};
enum { N_GUESTS = sizeof(guests) / sizeof(guests[0]) };

START_TEST(a_guest_that_converges_moves)
{
    const struct guest *g = &guests[_i];

    world_pair_of(&f.w, &(struct lab_vm_opts){
                            .machine = g->machine, .append = g->append, .smp = g->smp});
    expect_moved(move_run(&f.w, ARGS(SLOWLY)), "precopy");
}
END_TEST

START_TEST(nothing_but_monitors_is_needed)
{
    world_pair(&f.w, "ws=16 rate=1000");
    expect_moved(move_run(&f.w, NO_ARGS), "precopy");
}
END_TEST

START_TEST(the_guest_notices_a_pause_and_never_runs_twice)
{
    struct lab_blackout b;

    world_pair(&f.w, "ws=16 rate=1000");
    ck_assert_int_eq(lab_ticks_start(f.w.src, f.w.dst), 0);
    struct move *m = move_run(&f.w, ARGS(SLOWLY));
    ck_assert_int_eq(lab_ticks_wait(f.w.dst, 100, 0), 0);
    ck_assert_int_eq(lab_ticks_stop(f.w.dst), 0);
    lab_blackout(f.w.src, f.w.dst, &b);
    ck_assert_uint_eq(b.overlap, 0);
    ck_assert_uint_gt(b.src_ticks, 0);
    ck_assert(b.handover_ms > 0 && b.handover_ms < SANE_BLACKOUT_MS);
    expect_moved(m, "precopy");
    ck_assert_int_lt(json_integer_value(json_object_get(m->result, "blackout_ms")),
                     SANE_BLACKOUT_MS);
    ck_assert_int_gt(json_integer_value(json_object_get(m->result, "transferred")),
                     INT64_C(16) << 20);
}
END_TEST

START_TEST(a_guest_can_be_moved_on)
{
    world_pair(&f.w, "ws=16 rate=1000");
    expect_moved(move_run(&f.w, ARGS(SLOWLY)), "precopy");
    expect_exit((lab_vm_kill(f.w.src, SIGTERM), f.w.src), 0);
    f.w.src = f.w.dst;
    json_decref(f.w.src_settings);
    f.w.src_settings = json_incref(f.w.dst_settings);
    world_new_destination(&f.w);
    expect_moved(move_run(&f.w, ARGS(SLOWLY)), "precopy");
}
END_TEST

START_TEST(the_same_command_after_the_end_says_so)
{
    world_pair(&f.w, "ws=16 rate=1000");
    expect_moved(move_run(&f.w, ARGS(SLOWLY)), "precopy");
    struct move *m = move_run(&f.w, ARGS(SLOWLY));
    expect_moved(m, "precopy");
    ck_assert(move_has(m, "warning", "message", "taking it up"));
}
END_TEST

static void move_side_by_side(unsigned n)
{
    struct lab_vm *src[WORLD_VMS_MAX];
    struct lab_vm *dst[WORLD_VMS_MAX];
    struct move *m[WORLD_VMS_MAX];

    for (unsigned i = 0; i < n; i++) {
        world_pair(&f.w, "ws=16 rate=1000");
        src[i] = f.w.src;
        dst[i] = f.w.dst;
    }
    for (unsigned i = 0; i < n; i++)
        m[i] = move_begin_at(&f.w, "migrate", lab_vm_qmp_path(src[i]),
                             lab_vm_qmp_path(dst[i]), ARGS("--bandwidth", "20MiB"));
    for (unsigned i = 0; i < n; i++)
        move_end(m[i]);
    for (unsigned i = 0; i < n; i++) {
        move_expect(m[i], 0, "completed", "destination");
        expect_guest_on_at(&f.w, dst[i], (int)n, __FILE__, __LINE__);
    }
}

START_TEST(two_move_at_the_same_time)
{
    move_side_by_side(2);
}
END_TEST

START_TEST(four_move_at_the_same_time)
{
    move_side_by_side(4);
}
END_TEST

/* ---- a guest that never converges, under each policy ---- */

START_TEST(minimal_downtime_gives_up)
{
    /* Twice what the limit takes: a throttle of 99 % does not do on a busy machine, either. */
    world_pair(&f.w, "ws=48 flat");
    struct move *m = move_run(&f.w, ARGS("-p", "minimal-downtime", SLOWLY));
    move_expect(m, 4, "aborted", "source");
    ck_assert(move_has(m, "decision", "action", "set-downtime"));
    ck_assert(move_has(m, "decision", "action", "throttle"));
    ck_assert(move_has(m, "decision", "action", "abort"));
    expect_stayed();
}
END_TEST

START_TEST(post_copy_switches)
{
    world_pair(&f.w, NEVER_CONVERGES);
    struct move *m = move_run(&f.w, ARGS("-p", "post-copy", SLOWLY));
    ck_assert(move_has(m, "decision", "action", "postcopy"));
    expect_moved(m, "postcopy");
}
END_TEST

START_TEST(suspend_if_needed_stops_the_guest)
{
    world_pair(&f.w, NEVER_CONVERGES);
    struct move *m = move_run(&f.w, ARGS("-p", "suspend-if-needed", SLOWLY));
    ck_assert(move_has(m, "decision", "action", "pause"));
    expect_moved(m, "stop-and-copy");
}
END_TEST

START_TEST(stop_and_copy_stops_the_guest_first)
{
    world_pair(&f.w, NEVER_CONVERGES);
    struct move *m = move_run(&f.w, ARGS("-p", "stop-and-copy", SLOWLY));
    ck_assert(move_has(m, "decision", "action", "pause"));
    expect_moved(m, "stop-and-copy");
}
END_TEST

START_TEST(the_time_limit_ends_it)
{
    world_pair(&f.w, NEVER_CONVERGES);
    move_expect(move_run(&f.w, ARGS("--timeout", "2s", SLOWLY)), 4, "aborted", "source");
    expect_stayed();

    /* ... and the next attempt is as good as the first. */
    world_new_destination(&f.w);
    struct move *m =
        move_run(&f.w, ARGS("--timeout", "2s", "--set", "stop.allowed=true", "--set",
                            "on-timeout=stop", "--set", "stop.max=20s", SLOWLY));
    expect_moved(m, "stop-and-copy");
}
END_TEST

START_TEST(post_copy_of_a_busy_guest_keeps_its_memory)
{
    world_pair(&f.w, "ws=32 flat order=random");
    struct move *m =
        move_run(&f.w, ARGS("-p", "post-copy", "--set", "postcopy.bandwidth=20MiB",
                            "--bandwidth", "20MiB"));
    expect_moved(m, "postcopy");
}
END_TEST

/* ---- states of the guest ---- */

START_TEST(a_paused_guest_stays_paused)
{
    world_pair(&f.w, "ws=16 rate=1000");
    ck_assert_int_eq(lab_qmp_ok(f.w.src, "stop", "{}"), 0);
    struct move *m = move_run(&f.w, ARGS(SLOWLY));
    move_expect(m, 0, "completed", "destination");
    expect_nobody_runs(&f.w);
    expect_source_is_done();
    expect_settings(f.w.src, f.w.src_settings);
    ck_assert_int_eq(lab_qmp_ok(f.w.dst, "cont", "{}"), 0);
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

/* Where in the course of events is it? */
static size_t place_of(struct lab_vm *vm, const char *name, const char *status)
{
    for (size_t i = 0; i < lab_event_count(vm); i++) {
        const struct lab_event *e = lab_event_at(vm, i);
        const char *is = json_string_value(json_object_get(e->data, "status"));

        if (strcmp(e->name, name) == 0 && (!status || (is && strcmp(is, status) == 0)))
            return i;
    }
    ck_abort_msg("no %s on %s", name, lab_vm_name(vm));
    return 0;
}

/* By itself it would run as soon as it has loaded, before it says so. */
START_TEST(a_destination_without_S_waits_for_its_order)
{
    world_pair(&f.w, "ws=16 rate=1000");
    f.w.dst = world_vm(&f.w, &(struct lab_vm_opts){.incoming = true});
    expect_moved(move_run(&f.w, ARGS(SLOWLY)), "precopy");
    ck_assert_uint_gt(place_of(f.w.dst, "RESUME", NULL),
                      place_of(f.w.dst, "MIGRATION", "completed"));
}
END_TEST

START_TEST(a_guest_that_resets_moves_on)
{
    world_pair(&f.w, "ws=16 rate=1000");
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "20MiB"));
    move_wait_memory(m);
    ck_assert_int_eq(lab_guest_cmd(f.w.src, "b"), 0);
    ck_assert_int_eq(lab_wait_event(f.w.src, "RESET", NULL, NULL, 0), 0);
    move_end(m);
    ck_assert(move_has(m, "warning", "message", "was reset"));
    expect_moved(m, "precopy");
}
END_TEST

START_TEST(a_guest_that_powers_off_runs_nowhere)
{
    world_pair(&f.w, "ws=16 rate=1000");
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "10MiB"));
    move_wait_memory(m);
    ck_assert_int_eq(lab_guest_cmd(f.w.src, "h"), 0);
    move_end(m);
    move_expect(m, 7, "aborted", "none");
    move_expect_reason(m, "powered itself off");
    expect_exit(f.w.src, 0);
    expect_nobody_runs(&f.w);
}
END_TEST

START_TEST(a_guest_that_powers_off_and_is_kept_moves_as_it_is)
{
    char state[LAB_STATE_MAX];

    world_pair_of(&f.w,
                  &(struct lab_vm_opts){.append = "ws=16 rate=1000", .no_shutdown = true});
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "10MiB"));
    move_wait_memory(m);
    ck_assert_int_eq(lab_guest_cmd(f.w.src, "h"), 0);
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    expect_nobody_runs(&f.w);
    ck_assert_int_eq(lab_run_state(f.w.dst, state), 0);
    ck_assert_str_eq(state, "shutdown");
}
END_TEST

START_TEST(a_guest_that_panics_moves_as_it_is)
{
    char state[LAB_STATE_MAX];

    world_pair_of(&f.w, &(struct lab_vm_opts){
                            .append = "ws=16 rate=1000",
                            .extra = ARGS("-device", "pvpanic", "-action", "panic=pause")});
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "10MiB"));
    move_wait_memory(m);
    ck_assert_int_eq(lab_guest_cmd(f.w.src, "x"), 0);
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    ck_assert(move_has(m, "warning", "message", "panicked"));
    expect_nobody_runs(&f.w);
    ck_assert_int_eq(lab_run_state(f.w.dst, state), 0);
    ck_assert_str_eq(state, "guest-panicked");
}
END_TEST

START_TEST(a_guest_that_panics_and_ends_runs_nowhere)
{
    world_pair_of(&f.w, &(struct lab_vm_opts){.append = "ws=16 rate=1000",
                                              .extra = ARGS("-device", "pvpanic")});
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "10MiB"));
    move_wait_memory(m);
    ck_assert_int_eq(lab_guest_cmd(f.w.src, "x"), 0);
    move_end(m);
    move_expect(m, 7, "aborted", "none");
    expect_exit(f.w.src, 0);
    expect_nobody_runs(&f.w);
}
END_TEST

/* ---- other clients ---- */

START_TEST(a_guest_stopped_by_another_client_stays_stopped)
{
    world_pair(&f.w, "ws=16 rate=1000");
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "10MiB"));
    move_wait_memory(m);
    ck_assert_int_eq(lab_qmp_ok(f.w.src, "stop", "{}"), 0);
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    ck_assert(move_has(m, "warning", "message", "not by qferry"));
    expect_nobody_runs(&f.w);
    ck_assert_int_eq(lab_qmp_ok(f.w.dst, "cont", "{}"), 0);
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

START_TEST(a_guest_stopped_and_continued_by_another_client_runs_in_the_end)
{
    world_pair(&f.w, "ws=16 rate=1000");
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "10MiB"));
    move_wait_memory(m);
    ck_assert_int_eq(lab_qmp_ok(f.w.src, "stop", "{}"), 0);
    move_wait_memory(m);
    ck_assert_int_eq(lab_qmp_ok(f.w.src, "cont", "{}"), 0);
    move_end(m);
    expect_moved(m, "precopy");
}
END_TEST

START_TEST(a_move_that_another_client_cancels_is_given_up)
{
    world_pair(&f.w, "ws=16 rate=1000");
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "10MiB"));
    move_wait_memory(m);
    ck_assert_int_eq(lab_qmp_ok(f.w.src, "migrate_cancel", "{}"), 0);
    move_end(m);
    move_expect(m, 4, "failed", "source");
    /* The cancel shuts the socket first, and the thread that writes to it may be sooner to call
     * that a failure (7.2). */
    if (!strstr(move_result(m, "reason"), "source: Unable to write to socket: Broken pipe"))
        move_expect_reason(m, "another client");
    expect_stayed();
}
END_TEST

/* Close the connection of the monitor that qferry uses, without a word. */
static void yank_monitor(struct lab_vm *vm)
{
    json_t *done = lab_qmp_oob(
        vm, "yank", "{\"instances\": [{\"type\": \"chardev\", \"id\": \"qmp\"}]}");

    ck_assert_ptr_nonnull(done);
    json_decref(done);
}

static void move_with_a_lost_monitor(bool src, bool dst)
{
    world_pair(&f.w, "ws=16 rate=1000");
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "10MiB"));
    move_wait_memory(m);
    if (src)
        yank_monitor(f.w.src);
    if (dst)
        yank_monitor(f.w.dst);
    move_wait_phase(m, "recover");
    move_end(m);
    expect_moved(m, "precopy");
}

START_TEST(a_lost_monitor_of_the_source_is_opened_again)
{
    move_with_a_lost_monitor(true, false);
}
END_TEST

START_TEST(a_lost_monitor_of_the_destination_is_opened_again)
{
    move_with_a_lost_monitor(false, true);
}
END_TEST

START_TEST(two_lost_monitors_are_opened_again)
{
    move_with_a_lost_monitor(true, true);
}
END_TEST

START_TEST(a_destination_that_hangs_for_a_while_is_waited_for)
{
    world_pair(&f.w, "ws=16 rate=1000");
    ck_assert_int_eq(lab_ticks_start(f.w.src, f.w.dst), 0);
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "10MiB"));
    move_wait_memory(m);
    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGSTOP), 0);
    ck_assert_int_eq(lab_ticks_wait(f.w.src, 5000, 0), 0); /* 5 s of the guest's time */
    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGCONT), 0);
    move_end(m);
    ck_assert_int_eq(lab_ticks_stop(f.w.dst), 0);
    expect_moved(m, "precopy");
}
END_TEST

/* ---- options ---- */

START_TEST(quit_source_ends_the_source)
{
    world_pair(&f.w, "ws=16 rate=1000");
    struct move *m = move_run(&f.w, ARGS("--quit-source", "--quit-destination", SLOWLY));
    move_expect(m, 0, "completed", "destination");
    expect_exit(f.w.src, 0);
    expect_guest_on(&f.w, f.w.dst);
    expect_settings(f.w.dst, f.w.dst_settings);
}
END_TEST

/* A port that is taken, by a QEMU that listens there. */
static const char *taken_port(void)
{
    struct lab_vm *other =
        world_vm(&f.w, &(struct lab_vm_opts){.incoming = true, .paused = true});
    static char uri[64];

    ck_assert_int_eq(lab_vm_listen(other, uri, sizeof(uri)), 0);
    return strrchr(uri, ':') + 1;
}

START_TEST(a_taken_port_ends_it_before_it_began)
{
    world_pair(&f.w, "ws=16 rate=1000");
    struct move *m = move_run(&f.w, ARGS("--port", taken_port(), SLOWLY));
    move_expect(m, 3, "refused", "source");
    move_expect_reason(m, "destination: migrate-incoming");
    expect_stayed();
    expect_settings(f.w.dst, f.w.dst_settings);

    /* Nothing was spoilt; only that a QEMU from 10.0 on cannot be told twice to listen. */
    if (lab_vm_is(f.w.dst, 10, 0)) {
        struct move *again = move_run(&f.w, ARGS(SLOWLY));

        move_expect(again, 3, "refused", "source");
        move_expect_reason(again, "was told to listen before");
        world_new_destination(&f.w);
    }
    expect_moved(move_run(&f.w, ARGS(SLOWLY)), "precopy");
}
END_TEST

START_TEST(quit_destination_ends_a_destination_that_is_not_needed)
{
    world_pair(&f.w, "ws=16 rate=1000");
    struct move *m = move_run(
        &f.w, ARGS("--port", taken_port(), "--quit-destination", "--quit-source", SLOWLY));
    move_expect(m, 3, "refused", "source");
    expect_exit(f.w.dst, 0);
    expect_stayed();
}
END_TEST

START_TEST(a_range_of_ports_is_tried)
{
    char range[32];

    world_pair(&f.w, "ws=16 rate=1000");
    const char *port = taken_port();
    const int first = atoi(port);

    snprintf(range, sizeof(range), "%d-%d", first, first < 65000 ? first + 400 : 65535);
    expect_moved(move_run(&f.w, ARGS("--port", range, SLOWLY)), "precopy");
}
END_TEST

/* The address of a machine's TCP monitor with the id "tcp". */
static void tcp_monitor(struct lab_vm *vm, char *out, size_t size)
{
    json_t *chardevs = lab_qmp(vm, "query-chardev", NULL);
    json_t *c;
    size_t i;

    out[0] = '\0';
    json_array_foreach (chardevs, i, c) {
        const char *file = json_string_value(json_object_get(c, "filename"));
        int port;

        if (strcmp(json_string_value(json_object_get(c, "label")), "tcp") == 0 &&
            sscanf(file, "disconnected:tcp:127.0.0.1:%d", &port) == 1)
            snprintf(out, size, "tcp:127.0.0.1:%d", port);
    }
    json_decref(chardevs);
    ck_assert_str_ne(out, "");
}

START_TEST(monitors_over_tcp_work)
{
    char src[64];
    char dst[64];

    world_pair_of(&f.w, &(struct lab_vm_opts){
                            .append = "ws=16 rate=1000",
                            .extra = ARGS("-chardev",
                                          "socket,id=tcp,host=127.0.0.1,port=0,server=on,"
                                          "wait=off",
                                          "-mon", "chardev=tcp,mode=control")});
    tcp_monitor(f.w.src, src, sizeof(src));
    tcp_monitor(f.w.dst, dst, sizeof(dst));
    struct move *m = move_begin_at(&f.w, "migrate", src, dst, ARGS(SLOWLY));
    move_end(m);
    expect_moved(m, "precopy");
}
END_TEST

static Suite *migrate_suite(void)
{
    Suite *s = suite_create("migrate");
    TCase *t = tcase_create("moves");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_loop_test(t, a_guest_that_converges_moves, 0, N_GUESTS);
    tcase_add_test(t, nothing_but_monitors_is_needed);
    tcase_add_test(t, the_guest_notices_a_pause_and_never_runs_twice);
    tcase_add_test(t, a_guest_can_be_moved_on);
    tcase_add_test(t, the_same_command_after_the_end_says_so);
    tcase_add_test(t, two_move_at_the_same_time);
    tcase_add_test(t, four_move_at_the_same_time);
    suite_add_tcase(s, t);

    t = tcase_create("policies");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, minimal_downtime_gives_up);
    tcase_add_test(t, post_copy_switches);
    tcase_add_test(t, suspend_if_needed_stops_the_guest);
    tcase_add_test(t, stop_and_copy_stops_the_guest_first);
    tcase_add_test(t, the_time_limit_ends_it);
    tcase_add_test(t, post_copy_of_a_busy_guest_keeps_its_memory);
    suite_add_tcase(s, t);

    t = tcase_create("guest");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, a_paused_guest_stays_paused);
    tcase_add_test(t, a_destination_without_S_waits_for_its_order);
    tcase_add_test(t, a_guest_that_resets_moves_on);
    tcase_add_test(t, a_guest_that_powers_off_runs_nowhere);
    tcase_add_test(t, a_guest_that_powers_off_and_is_kept_moves_as_it_is);
    tcase_add_test(t, a_guest_that_panics_moves_as_it_is);
    tcase_add_test(t, a_guest_that_panics_and_ends_runs_nowhere);
    suite_add_tcase(s, t);

    t = tcase_create("others");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, a_guest_stopped_by_another_client_stays_stopped);
    tcase_add_test(t, a_guest_stopped_and_continued_by_another_client_runs_in_the_end);
    tcase_add_test(t, a_move_that_another_client_cancels_is_given_up);
    tcase_add_test(t, a_lost_monitor_of_the_source_is_opened_again);
    tcase_add_test(t, a_lost_monitor_of_the_destination_is_opened_again);
    tcase_add_test(t, two_lost_monitors_are_opened_again);
    tcase_add_test(t, a_destination_that_hangs_for_a_while_is_waited_for);
    suite_add_tcase(s, t);

    t = tcase_create("options");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, quit_source_ends_the_source);
    tcase_add_test(t, a_taken_port_ends_it_before_it_began);
    tcase_add_test(t, quit_destination_ends_a_destination_that_is_not_needed);
    tcase_add_test(t, a_range_of_ports_is_tried);
    tcase_add_test(t, monitors_over_tcp_work);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return real_main(migrate_suite());
}

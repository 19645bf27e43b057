/* What happens to a guest on its way: each row of the table WHAT HAPPENS ON THE WAY in qferry(1) that
 * test_migrate.c does not have. TCG. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/real/move.h"

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

static void expect_state(struct lab_vm *vm, const char *want)
{
    char state[LAB_STATE_MAX];

    ck_assert_int_eq(lab_run_state(vm, state), 0);
    ck_assert_str_eq(state, want);
}

/* ---- a disk ---- */

/* Its reads fail, and that stops the guest. */
#define DISK(file)                                                                   \
    "-blockdev", "{\"driver\": \"raw\", \"node-name\": \"d0\", \"file\": " file "}", \
        "-device", "ide-hd,bus=ide.0,drive=d0,rerror=stop,werror=stop"
#define GOOD_FILE "{\"driver\": \"null-co\", \"size\": 1048576, \"read-zeroes\": true}"
#define BAD_FILE                                                               \
    "{\"driver\": \"blkdebug\", \"inject-error\": [{\"event\": \"read_aio\", " \
    "\"errno\": 5}], \"image\": " GOOD_FILE "}"

static void pair_with_a_bad_disk(void)
{
    world_pair_of(&f.w, &(struct lab_vm_opts){.append = "ws=16 rate=1000",
                                              .extra = ARGS(DISK(BAD_FILE))});
}

START_TEST(a_guest_that_a_disk_stops_moves_as_it_is)
{
    pair_with_a_bad_disk();
    f.w.dst = world_vm(&f.w, &(struct lab_vm_opts){.incoming = true,
                                                   .paused = true,
                                                   .extra = ARGS(DISK(GOOD_FILE))});
    struct move *m = move_begin(&f.w, ARGS(SLOWLY));
    move_wait_memory(m);
    ck_assert_int_eq(lab_guest_cmd(f.w.src, "d"), 0);
    ck_assert_int_eq(lab_wait_event(f.w.src, "BLOCK_IO_ERROR", NULL, NULL, 0), 0);
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    ck_assert(move_has(m, "warning", "message", "I/O error"));
    ck_assert(move_has(m, "warning", "message", "by a disk: io-error"));
    expect_nobody_runs(&f.w);
    expect_state(f.w.dst, "io-error");
    expect_settings(f.w.src, f.w.src_settings);

    /* Where the disk is good it goes on: QEMU asks it once more. */
    ck_assert_int_eq(lab_qmp_ok(f.w.dst, "cont", "{}"), 0);
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

START_TEST(a_guest_that_a_disk_has_stopped_and_that_is_cancelled_stays_so)
{
    pair_with_a_bad_disk();
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "2MiB"));
    move_wait_memory(m);
    ck_assert_int_eq(lab_guest_cmd(f.w.src, "d"), 0);
    move_wait_line(m, "by a disk: io-error");
    ck_assert_int_eq(lab_proc_signal(m->proc, SIGINT), 0);
    move_end(m);
    move_expect(m, 5, "cancelled", "source");
    expect_state(f.w.src, "io-error");
    expect_settings(f.w.src, f.w.src_settings);
}
END_TEST

/* ---- sleep ---- */

START_TEST(a_guest_that_suspends_itself_moves)
{
    world_pair(&f.w, "ws=16 rate=1000");
    struct move *m = move_begin(&f.w, ARGS(SLOWLY));
    move_wait_memory(m);
    ck_assert_int_eq(lab_guest_cmd(f.w.src, "z"), 0);
    ck_assert_int_eq(lab_wait_event(f.w.src, "SUSPEND", NULL, NULL, 0), 0);
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    ck_assert(move_has(m, "warning", "message", "suspended itself"));
    if (lab_vm_is(f.w.src, 9, 0) && lab_vm_is(f.w.dst, 9, 0)) {
        ck_assert_int_eq(lab_wait_run_state(f.w.dst, "suspended", 0), 0);
        ck_assert_int_eq(lab_qmp_ok(f.w.dst, "system_wakeup", "{}"), 0);
    }
    /* Before 9.0 QEMU wakes it up to move it. Either way it begins anew, having no way to resume. */
    ck_assert_int_eq(lab_wait_run_state(f.w.dst, "running", 0), 0);
    ck_assert_int_eq(lab_guest_ready(f.w.dst), 0);
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

START_TEST(a_guest_that_wakes_up_again_moves)
{
    world_pair(&f.w, "ws=16 rate=1000");
    struct move *m = move_begin(&f.w, ARGS(SLOWLY));
    move_wait_memory(m);
    ck_assert_int_eq(lab_guest_cmd(f.w.src, "z"), 0);
    ck_assert_int_eq(lab_wait_event(f.w.src, "SUSPEND", NULL, NULL, 0), 0);
    ck_assert_int_eq(lab_qmp_ok(f.w.src, "system_wakeup", "{}"), 0);
    ck_assert_int_eq(lab_wait_event(f.w.src, "WAKEUP", NULL, NULL, 0), 0);
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    expect_state(f.w.dst, "running");
    ck_assert_int_eq(lab_running_count(f.w.lab), 1);
}
END_TEST

/* ---- devices ---- */

#define EXTRA_DEVICE "-device", "virtio-rng-pci,id=extra"

START_TEST(qemu_takes_no_device_away_on_the_way)
{
    char why[256];

    world_pair_of(&f.w, &(struct lab_vm_opts){.append = "ws=16 rate=1000",
                                              .extra = ARGS(EXTRA_DEVICE)});
    struct move *m = move_begin(&f.w, ARGS(SLOWLY));
    move_wait_memory(m);
    ck_assert_ptr_null(
        lab_qmp_try(f.w.src, "device_del", "{\"id\": \"extra\"}", 0, why, sizeof(why)));
    ck_assert_ptr_nonnull(strstr(why, "not allowed while migrating"));
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

/* The guest was asked for it before, and does not answer; its reset is an answer. */
START_TEST(a_device_that_goes_on_the_way_ends_it)
{
    world_pair_of(&f.w, &(struct lab_vm_opts){.append = "ws=16 rate=1000",
                                              .extra = ARGS(EXTRA_DEVICE)});
    ck_assert_int_eq(lab_qmp_ok(f.w.src, "device_del", "{\"id\": \"extra\"}"), 0);
    struct move *m = move_begin(&f.w, ARGS(SLOWLY));
    move_wait_memory(m);
    ck_assert_int_eq(lab_guest_cmd(f.w.src, "b"), 0);
    move_end(m);
    ck_assert_ptr_nonnull(lab_event_find(f.w.src, "DEVICE_DELETED", "device", "extra"));
    move_expect(m, 4, "failed", "source");
    move_expect_reason(m, "device extra was unplugged on the source");
    ck_assert_int_eq(lab_guest_ready(f.w.src), 0);
    expect_guest_on(&f.w, f.w.src);
    expect_settings(f.w.src, f.w.src_settings);
}
END_TEST

/* ... and one that stays is none of our business. */
START_TEST(an_unplug_that_the_guest_leaves_lying_does_not_matter)
{
    world_pair_of(&f.w, &(struct lab_vm_opts){.append = "ws=16 rate=1000",
                                              .extra = ARGS(EXTRA_DEVICE)});
    ck_assert_int_eq(lab_qmp_ok(f.w.src, "device_del", "{\"id\": \"extra\"}"), 0);
    struct move *m = move_run(&f.w, ARGS(SLOWLY));
    move_expect(m, 0, "completed", "destination");
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

/* ---- another client ---- */

START_TEST(a_parameter_that_another_client_sets_is_said_and_left)
{
    world_pair(&f.w, "ws=24 flat");
    struct move *m = move_begin(&f.w, ARGS("-p", "legacy", "--bandwidth", "40MiB"));
    move_wait_line(m, "\"pass\":2");
    ck_assert_int_eq(
        lab_qmp_ok(f.w.src, "migrate-set-parameters", "{\"downtime-limit\": 77}"), 0);
    move_wait_line(m, "another client has set the source's downtime-limit to 77");
    /* It would never converge: 20 s is what lets it, whoever says so. */
    ck_assert_int_eq(
        lab_qmp_ok(f.w.src, "migrate-set-parameters", "{\"downtime-limit\": 20000}"), 0);
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    expect_guest_on(&f.w, f.w.dst);
    expect_settings(f.w.src, f.w.src_settings); /* as it was found */
}
END_TEST

START_TEST(what_another_client_alone_has_set_stays)
{
    world_pair(&f.w, "ws=48 rate=1000");
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "5MiB"));
    move_wait_line(m, "\"type\":\"sample\"");
    lab_pump(f.w.lab, 500); /* what is set is compared with what was read before */
    ck_assert_int_eq(lab_qmp_ok(f.w.src, "migrate-set-parameters",
                                "{\"max-postcopy-bandwidth\": 7654321}"),
                     0);
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    ck_assert_uint_eq(move_count(m, "warning", "message", "another client has set"), 1);
    ck_assert(move_has(m, "warning", "message", "max-postcopy-bandwidth to 7654321"));
    json_t *now = lab_qmp(f.w.src, "query-migrate-parameters", NULL);
    ck_assert_int_eq(json_integer_value(json_object_get(now, "max-postcopy-bandwidth")),
                     7654321);
    json_decref(now);
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

START_TEST(what_qferry_sets_is_not_taken_for_another_clients)
{
    world_pair(&f.w, "ws=24 flat");
    struct move *m =
        move_run(&f.w, ARGS("-p", "suspend-if-needed", "--bandwidth", "40MiB"));
    move_expect(m, 0, "completed", "destination");
    ck_assert(move_has(m, "decision", "action", "set-downtime") ||
              move_has(m, "decision", "action", "throttle") ||
              move_has(m, "decision", "action", "pause")); /* each of them sets something */
    ck_assert(!move_has(m, "warning", "message", "another client"));
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

static Suite *events_suite(void)
{
    Suite *s = suite_create("events");
    TCase *t = tcase_create("guest");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, a_guest_that_a_disk_stops_moves_as_it_is);
    tcase_add_test(t, a_guest_that_a_disk_has_stopped_and_that_is_cancelled_stays_so);
    tcase_add_test(t, a_guest_that_suspends_itself_moves);
    tcase_add_test(t, a_guest_that_wakes_up_again_moves);
    suite_add_tcase(s, t);

    t = tcase_create("devices");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, qemu_takes_no_device_away_on_the_way);
    tcase_add_test(t, a_device_that_goes_on_the_way_ends_it);
    tcase_add_test(t, an_unplug_that_the_guest_leaves_lying_does_not_matter);
    suite_add_tcase(s, t);

    t = tcase_create("parameters");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, a_parameter_that_another_client_sets_is_said_and_left);
    tcase_add_test(t, what_another_client_alone_has_set_stays);
    tcase_add_test(t, what_qferry_sets_is_not_taken_for_another_clients);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return real_main(events_suite());
}

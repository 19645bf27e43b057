/* --self-start: QEMU starts the guest on the destination. Real QEMUs, TCG.
 *
 * `test_self_start bench N` measures instead: the blackout of N moves of each kind, with qferry there
 * all the time, killed when the switch begins and run again at once, and with --self-start. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/real/move.h"

#define SLOWLY "--bandwidth", "20MiB"

static struct fixture {
    struct world w;
} f;

static void setup(void)
{
    world_open(&f.w);
    f.w.dst_starts = true;
}

static void teardown(void)
{
    world_close(&f.w);
}

static void wait_device(void)
{
    ck_assert_int_eq(lab_wait_event(f.w.src, "MIGRATION", "status", "device", 0), 0);
}

static void expect_no_mark(void)
{
    json_t *p = lab_qmp(f.w.src, "query-migrate-parameters", "{}");
    ck_assert_ptr_nonnull(p);
    ck_assert_int_eq(json_integer_value(json_object_get(p, "x-checkpoint-delay")), 20000);
    json_decref(p);
}

START_TEST(qemu_starts_the_guest_and_qferry_says_so)
{
    static const char *const policies[] = {"minimal-downtime", "post-copy"};
    world_pair(&f.w, _i == 0 ? "ws=16 rate=1000" : "ws=24 flat");
    struct move *m =
        move_run(&f.w, ARGS("--self-start", "-p", policies[_i], "--bandwidth", "40MiB"));
    move_expect(m, 0, "completed", "destination");
    ck_assert_str_eq(move_verdict(m, "self-start"), "warning");
    ck_assert_str_eq(move_result(m, "mode"), _i == 0 ? "precopy" : "postcopy");
    ck_assert(json_is_integer(json_object_get(m->result, "blackout_ms")));
    expect_guest_on(&f.w, f.w.dst);
    expect_settings(f.w.src, f.w.src_settings);
    expect_settings(f.w.dst, f.w.dst_settings);
}
END_TEST

/* Nobody is there to continue it; and who comes later, without the option, finds the mark. */
START_TEST(the_guest_runs_without_qferry)
{
    world_pair(&f.w, "ws=16 rate=1000");
    struct move *m = move_begin(&f.w, ARGS("--self-start", SLOWLY));
    wait_device();
    move_kill(m);
    ck_assert_int_eq(lab_wait_event(f.w.dst, "RESUME", NULL, NULL, 0), 0);
    ck_assert_int_eq(lab_wait_mig_status(f.w.src, "completed", 0), 0);
    struct move *again = move_begin_at(&f.w, "attach", lab_vm_qmp_path(f.w.src),
                                       lab_vm_qmp_path(f.w.dst), NO_ARGS);
    move_end(again);
    move_expect(again, 0, "completed", "destination");
    expect_guest_on(&f.w, f.w.dst);
    expect_no_mark();
}
END_TEST

/* As ever. */
START_TEST(a_destination_that_does_not_start_by_itself_is_continued)
{
    f.w.dst_starts = false;
    world_pair(&f.w, "ws=16 rate=1000");
    struct move *m = move_run(&f.w, ARGS("--self-start", "--bandwidth", "40MiB"));
    move_expect(m, 0, "completed", "destination");
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

/* One image for both, with and without locks that could forbid what must not be: what the guest's side
 * writes while memory moves is there afterwards. The first byte is written by the monitor, as a guest's
 * disk would, through the source's own block layer. */
START_TEST(a_shared_disk_is_opened_when_its_guest_comes)
{
    char image[LAB_PATH_MAX];
    char drive[2 * LAB_PATH_MAX];
    char line[128];
    struct lab_proc *p;
    lab_path(f.w.lab, "disk.qcow2", image);
    ck_assert_int_eq(
        world_run(&f.w, ARGS("qemu-img", "create", "-q", "-f", "qcow2", image, "64M"), &p),
        0);
    snprintf(drive, sizeof(drive), "file=%s,format=qcow2,if=none,id=d%s", image,
             _i == 0 ? "" : ",file.locking=off");
    world_pair_of(&f.w, &(struct lab_vm_opts){.append = "ws=24 rate=1000",
                                              .extra = ARGS("-drive", drive, "-device",
                                                            "virtio-blk-pci,drive=d")});
    struct move *m = move_begin(&f.w, ARGS("--self-start", SLOWLY));
    move_wait_memory(m);
    json_t *r = lab_qmp(f.w.src, "human-monitor-command",
                        "{\"command-line\": \"qemu-io d \\\"write -P 90 1M 1M\\\"\"}");
    ck_assert_ptr_nonnull(r);
    json_decref(r);
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    r = lab_qmp(f.w.dst, "human-monitor-command",
                "{\"command-line\": \"qemu-io d \\\"read -P 90 1M 1M\\\"\"}");
    ck_assert_ptr_nonnull(r);
    snprintf(line, sizeof(line), "%.100s", json_string_value(r));
    json_decref(r);
    ck_assert_msg(!strstr(line, "fail"), "%s", line);
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

START_TEST(a_guest_that_is_stopped_first_is_continued)
{
    world_pair(&f.w, "ws=16 rate=1000");
    struct move *m = move_run(&f.w, ARGS("--self-start", "-p", "stop-and-copy"));
    move_expect(m, 0, "completed", "destination");
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

START_TEST(a_paused_guest_stays_paused)
{
    world_pair(&f.w, "ws=16 rate=1000");
    ck_assert_int_eq(lab_qmp_ok(f.w.src, "stop", "{}"), 0);
    struct move *m = move_run(&f.w, ARGS("--self-start"));
    move_expect(m, 0, "completed", "destination");
    expect_nobody_runs(&f.w);
    ck_assert_int_eq(lab_qmp_ok(f.w.dst, "cont", "{}"), 0);
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

START_TEST(a_move_that_is_given_up_leaves_no_mark)
{
    world_pair(&f.w, "ws=16 rate=1000");
    struct move *m = move_begin(&f.w, ARGS("--self-start", SLOWLY));
    move_wait_memory(m);
    ck_assert_int_eq(lab_proc_signal(m->proc, SIGINT), 0);
    move_end(m);
    move_expect(m, 5, "cancelled", "source");
    expect_guest_on(&f.w, f.w.src);
    expect_settings(f.w.src, f.w.src_settings);
}
END_TEST

/* What a killed qferry has left is taken out by the next one, which leaves nothing to QEMU. */
START_TEST(a_mark_that_was_left_is_taken_out)
{
    world_pair(&f.w, "ws=16 rate=1000");
    ck_assert_int_eq(
        lab_qmp_ok(f.w.src, "migrate-set-parameters", "{\"x-checkpoint-delay\": 19937}"),
        0);
    struct move *m = move_run(&f.w, ARGS("--bandwidth", "40MiB"));
    move_expect(m, 0, "completed", "destination");
    expect_guest_on(&f.w, f.w.dst);
    expect_settings(f.w.src, f.w.src_settings);
}
END_TEST

/* ---- bench ---- */

enum kind { USUAL, KILLED, SELF_START, KINDS };
enum { RUNS_MAX = 100 };
static const char *const kinds[] = {"qferry is there", "killed and run again",
                                    "--self-start, killed"};
static int runs;

static double blackout_ms(enum kind kind)
{
    struct lab_blackout b;
    world_pair(&f.w, "ws=16 rate=1000");
    ck_assert_int_eq(lab_ticks_start(f.w.src, f.w.dst), 0);
    struct move *m = move_begin(
        &f.w, ARGS("--bandwidth", "40MiB", kind == SELF_START ? "--self-start" : "--json"));
    if (kind != USUAL) {
        wait_device();
        move_kill(m);
        m = move_begin_at(&f.w, "attach", lab_vm_qmp_path(f.w.src),
                          lab_vm_qmp_path(f.w.dst), NO_ARGS);
    }
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    ck_assert_int_eq(lab_ticks_wait(f.w.dst, 100, 0), 0);
    lab_blackout(f.w.src, f.w.dst, &b);
    ck_assert_uint_eq(b.overlap, 0);
    return b.handover_ms;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

START_TEST(bench)
{
    static double ms[KINDS][RUNS_MAX];
    for (int i = 0; i < runs; i++)
        for (int k = 0; k < KINDS; k++) {
            ms[k][i] = blackout_ms((enum kind)k);
            world_close(&f.w);
            setup();
        }
    for (int k = 0; k < KINDS; k++) {
        qsort(ms[k], (size_t)runs, sizeof(double), compare);
        printf("%-22s blackout %7.1f ms in the median of %d (%.1f to %.1f), %.2f times\n",
               kinds[k], ms[k][runs / 2], runs, ms[k][0], ms[k][runs - 1],
               ms[k][runs / 2] / ms[USUAL][runs / 2]);
    }
}
END_TEST

int main(int argc, char **argv)
{
    const bool is_bench = argc == 3 && strcmp(argv[1], "bench") == 0;
    Suite *suite = suite_create("self-start");
    TCase *t = tcase_create("self-start");
    runs = is_bench ? atoi(argv[2]) : 0;
    if (is_bench && (runs < 1 || runs > RUNS_MAX)) {
        fprintf(stderr, "usage: test_self_start [bench N]\n");
        return 2;
    }
    tcase_set_timeout(t, is_bench ? 3600 : REAL_TIMEOUT_S);
    tcase_add_checked_fixture(t, setup, teardown);
    if (is_bench) {
        tcase_add_test(t, bench);
    } else {
        tcase_add_loop_test(t, qemu_starts_the_guest_and_qferry_says_so, 0, 2);
        tcase_add_test(t, the_guest_runs_without_qferry);
        tcase_add_test(t, a_destination_that_does_not_start_by_itself_is_continued);
        tcase_add_loop_test(t, a_shared_disk_is_opened_when_its_guest_comes, 0, 2);
        tcase_add_test(t, a_guest_that_is_stopped_first_is_continued);
        tcase_add_test(t, a_paused_guest_stays_paused);
        tcase_add_test(t, a_move_that_is_given_up_leaves_no_mark);
        tcase_add_test(t, a_mark_that_was_left_is_taken_out);
    }
    suite_add_tcase(suite, t);
    return real_main(suite);
}

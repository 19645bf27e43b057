/* The few moves that every pair of QEMU versions must make: what tools/test runs on each of them.
 * The whole suite runs on a pair with tools/test --qemu. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tests/real/move.h"

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

/* Writes all of 48 MiB faster than 40 MiB/s carry it. */
#define NEVER_CONVERGES "ws=48 flat"
#define SLOWLY          "--bandwidth", "40MiB"

static void expect_moved(const struct move *m, const char *mode)
{
    move_expect(m, 0, "completed", "destination");
    ck_assert_str_eq(move_result(m, "mode"), mode);
    expect_guest_on(&f.w, f.w.dst);
    expect_settings(f.w.src, f.w.src_settings);
    expect_settings(f.w.dst, f.w.dst_settings);
}

START_TEST(precopy_moves_a_guest)
{
    struct lab_blackout b;

    world_pair(&f.w, "ws=16 rate=1000");
    ck_assert_int_eq(lab_ticks_start(f.w.src, f.w.dst), 0);
    struct move *m = move_run(&f.w, ARGS(SLOWLY));
    ck_assert_int_eq(lab_ticks_wait(f.w.dst, 50, 0), 0);
    ck_assert_int_eq(lab_ticks_stop(f.w.dst), 0);
    lab_blackout(f.w.src, f.w.dst, &b);
    ck_assert_uint_eq(b.overlap, 0);
    expect_moved(m, "precopy");
}
END_TEST

/* 48 MiB at 40 MiB/s: after the first walk over 96 MiB (2.4 s) one of the working set takes 1.2 s.
 * With post-copy allowed 11.1 counts ten passes a second, and what it calls `remaining` does not
 * shrink: neither may make the policy impatient, nor blind. */
static json_int_t number(const json_t *line, const char *key)
{
    return json_integer_value(json_object_get(line, key));
}

static bool is_type(const json_t *line, const char *type)
{
    return strcmp(json_string_value(json_object_get(line, "type")), type) == 0;
}

/* The first decision for that action; counted up to it: the last forecast, and what was sent. */
static const json_t *first_decision(const struct move *m,
                                    const char *action,
                                    const char **verdict,
                                    json_int_t *transferred)
{
    json_t *line;
    size_t i;

    *verdict = "none";
    *transferred = 0;
    json_array_foreach (m->lines, i, line) {
        if (is_type(line, "forecast"))
            *verdict = json_string_value(json_object_get(line, "verdict"));
        else if (is_type(line, "sample"))
            *transferred = number(line, "transferred");
        else if (is_type(line, "decision") &&
                 strcmp(json_string_value(json_object_get(line, "action")), action) == 0)
            return line;
    }
    move_dump(m);
    ck_abort_msg("no decision: %s", action);
    return NULL;
}

/* Some 100 MiB have been seen once (some of them zeroes), and 48 MiB a second time: what is sent up to
 * a right decision is at most two walks over the working set and a part of one beyond the first. */
enum { WALK = 48 << 20, SOURCE_MEMORY = 96 << 20 };

/* A machine with other work on it changes the link and the guest's rate; the policy sees it, and waits for a low
 * point: for so many passes at most (policy/pace.c). */
enum { PATIENCE_PASSES = 5 };

static int patience(const struct move *m)
{
    return move_has(m, "decision", "because", "has changed, waiting for a low point")
               ? PATIENCE_PASSES
               : 0;
}

static void expect_decided_in_time(const struct move *m, const char *action)
{
    const char *verdict;
    json_int_t transferred;
    const json_t *d = first_decision(m, action, &verdict, &transferred);

    if (transferred > SOURCE_MEMORY + (2 + patience(m)) * WALK ||
        strcmp(verdict, "converges") == 0) {
        move_dump(m);
        ck_abort_msg("%s after %lld bytes, forecast %s: %s", action, (long long)transferred,
                     verdict, json_string_value(json_object_get(d, "because")));
    }
}

START_TEST(post_copy_is_switched_to_in_time)
{
    world_pair(&f.w, NEVER_CONVERGES);
    struct move *m = move_run(&f.w, ARGS("-p", "post-copy", SLOWLY));
    expect_decided_in_time(m, "postcopy");
    expect_moved(m, "postcopy");
    /* Two walks, the one that was begun, the last one; not the syncs of 11.1 (more than 20). */
    ck_assert_int_ge(number(m->result, "passes"), 3);
    ck_assert_int_le(number(m->result, "passes"), 6 + patience(m));
}
END_TEST

START_TEST(minimal_downtime_sees_that_it_does_not_converge)
{
    world_pair(&f.w, NEVER_CONVERGES);
    struct move *m = move_run(
        &f.w, ARGS("-p", "minimal-downtime", "--set", "postcopy.allowed=false", SLOWLY));
    expect_decided_in_time(m, "set-downtime");
    if (m->exit == 0) { /* a throttle of 99 % may do on a busy machine */
        expect_moved(m, "precopy");
        return;
    }
    move_expect(m, 4, "aborted", "source");
    expect_guest_on(&f.w, f.w.src);
    expect_settings(f.w.src, f.w.src_settings);
}
END_TEST

START_TEST(a_cancelled_guest_stays_and_can_be_moved)
{
    world_pair(&f.w, "ws=24 rate=1000");
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "10MiB"));
    move_wait_memory(m);
    ck_assert_int_eq(lab_proc_signal(m->proc, SIGINT), 0);
    move_end(m);
    move_expect(m, 5, "cancelled", "source");
    expect_guest_on(&f.w, f.w.src);
    expect_settings(f.w.src, f.w.src_settings);
    expect_used_up(f.w.dst);

    world_new_destination(&f.w);
    f.w.dst_settings = (json_decref(f.w.dst_settings), settings_of(f.w.dst));
    expect_moved(move_run(&f.w, ARGS(SLOWLY)), "precopy");
}
END_TEST

START_TEST(the_guest_survives_its_destination)
{
    world_pair(&f.w, "ws=24 rate=1000");
    struct move *m = move_begin(&f.w, ARGS("--bandwidth", "10MiB"));
    move_wait_memory(m);
    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGKILL), 0);
    move_end(m);
    move_expect(m, 4, "failed", "source");
    expect_guest_on(&f.w, f.w.src);
    expect_settings(f.w.src, f.w.src_settings);
}
END_TEST

#define NULL_DISK "-blockdev", "null-co,node-name=d0,size=1048576,read-zeroes=on", "-device"

static const struct nvme {
    const char *extra[8];
    bool dies; /* QEMU, where it takes it at all */
} nvmes[] = {
    {{"-device", "nvme,serial=x"}, true},
    {{"-device", "nvme,serial=x,id=disk"}, true},
    {{NULL_DISK, "nvme,serial=x", "-device", "nvme-ns,drive=d0"}, true},
    {{NULL_DISK, "nvme,serial=x,drive=d0"}, false},
};
enum { N_NVMES = sizeof(nvmes) / sizeof(nvmes[0]) };

/* QEMU 11.1 dies of the first three when it is told to migrate. */
START_TEST(an_nvme_controller_without_a_drive_is_refused)
{
    const struct nvme *n = &nvmes[_i];

    world_pair_of(&f.w,
                  &(struct lab_vm_opts){.append = "ws=16 rate=1000", .extra = n->extra});
    struct move *m = move_begin(&f.w, ARGS(SLOWLY));
    move_end(m);
    if (strcmp(move_verdict(m, "blocked-reasons"), "refused") == 0) {
        move_expect(m, 3, "refused", "source");
        ck_assert_str_eq(move_verdict(m, "nvme-drive"), ""); /* QEMU takes none at all */
    } else if (n->dies) {
        move_expect(m, 3, "refused", "source");
        ck_assert_str_eq(move_verdict(m, "nvme-drive"), "refused");
        move_expect_reason(m, "has no drive");
    } else {
        ck_assert_str_eq(move_verdict(m, "nvme-drive"), "ok");
        expect_moved(m, "precopy");
        return;
    }
    expect_guest_on(&f.w, f.w.src);
    expect_settings(f.w.src, f.w.src_settings);
}
END_TEST

static Suite *versions_suite(void)
{
    Suite *s = suite_create("versions");
    TCase *t = tcase_create("moves");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, precopy_moves_a_guest);
    tcase_add_test(t, post_copy_is_switched_to_in_time);
    tcase_add_test(t, a_cancelled_guest_stays_and_can_be_moved);
    tcase_add_test(t, the_guest_survives_its_destination);
    tcase_add_loop_test(t, an_nvme_controller_without_a_drive_is_refused, 0, N_NVMES);
    suite_add_tcase(s, t);

    t = tcase_create("policy");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, minimal_downtime_sees_that_it_does_not_converge);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return real_main(versions_suite());
}

/* Policies with pacing `forecast` on real guests: what is foreseen before anything moves, what is
 * decided when, and how near it comes. QEMU 7.2, TCG; 20 MB/s (4,880 pages a second). */
#include <stdio.h>
#include <string.h>

#include "tests/real/move.h"

#define SLOWLY "--bandwidth", "20000000"

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

/* The n-th line of that type, from 0; NULL = there are fewer. Borrowed. */
static const json_t *nth(const struct move *m, const char *type, unsigned n)
{
    size_t i;
    json_t *line;
    json_array_foreach (m->lines, i, line)
        if (strcmp(json_string_value(json_object_get(line, "type")), type) == 0 && n-- == 0)
            return line;
    return NULL;
}

static json_int_t number(const json_t *line, const char *key)
{
    const json_t *v = json_object_get(line, key);
    ck_assert_msg(json_is_integer(v), "%s is not a number", key);
    return json_integer_value(v);
}

static const char *text(const json_t *line, const char *key)
{
    const char *s = json_string_value(json_object_get(line, key));
    return s ? s : "";
}

static bool was_decided(const struct move *m, const char *action)
{
    return move_has(m, "decision", "action", action);
}

/* How many passes were complete when this was first decided: a forecast goes with each. */
static unsigned passes_before(const struct move *m, const char *action)
{
    unsigned n = 0;
    size_t i;
    json_t *line;
    json_array_foreach (m->lines, i, line) {
        if (strcmp(text(line, "type"), "decision") != 0)
            continue;
        n += strstr(text(line, "because"), "pass ") != NULL &&
             strstr(text(line, "because"), " left ") != NULL;
        if (strcmp(text(line, "action"), action) == 0)
            return n;
    }
    return 0;
}

/* ---- before anything moves ---- */

static struct move *preflight(const char *policy)
{
    struct move *m = move_begin_at(&f.w, "preflight", lab_vm_qmp_path(f.w.src),
                                   lab_vm_qmp_path(f.w.dst), ARGS("-p", policy, SLOWLY));
    move_end(m);
    move_expect(m, 0, "completed", "source");
    return m;
}

START_TEST(preflight_foresees_a_guest_that_converges)
{
    world_pair(&f.w, "ws=32 rate=500 cold=32");
    const json_t *line = nth(preflight("minimal-downtime"), "forecast", 0);
    ck_assert_ptr_nonnull(line);
    ck_assert_str_eq(text(line, "verdict"), "converges");
    const json_int_t foreseen = number(line, "total_ms");

    struct move *m = move_run(&f.w, ARGS(SLOWLY));
    move_expect(m, 0, "completed", "destination");
    const json_int_t took = number(m->result, "total_ms");
    ck_assert_msg(foreseen > took / 2 && foreseen < took * 2, "%d against %d ms",
                  (int)foreseen, (int)took);
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

START_TEST(preflight_foresees_a_guest_that_does_not)
{
    world_pair(&f.w, "ws=64 rate=20000 cold=16");
    const json_t *line = nth(preflight("post-copy"), "forecast", 0);
    ck_assert_ptr_nonnull(line);
    ck_assert_str_ne(text(line, "verdict"), "converges");
    ck_assert_str_ne(text(line, "verdict"), "needs-more-downtime");
    const json_int_t foreseen = number(line, "total_ms");

    struct move *m = move_run(
        &f.w, ARGS("-p", "post-copy", SLOWLY, "--set", "postcopy.bandwidth=20000000"));
    move_expect(m, 0, "completed", "destination");
    ck_assert_str_eq(move_result(m, "mode"), "postcopy");
    const json_int_t took = number(m->result, "total_ms");
    ck_assert_msg(foreseen > took / 2 && foreseen < took * 2, "%d against %d ms",
                  (int)foreseen, (int)took);
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

/* ---- a guest that converges ---- */

static const char *const own[] = {"minimal-downtime", "post-copy", "suspend-if-needed"};

START_TEST(a_guest_that_converges_is_left_alone)
{
    world_pair(&f.w, "ws=64 rate=1500");
    struct move *m = move_run(&f.w, ARGS("-p", own[_i], SLOWLY));
    move_expect(m, 0, "completed", "destination");
    ck_assert(!was_decided(m, "throttle"));
    ck_assert(!was_decided(m, "postcopy"));
    ck_assert(!was_decided(m, "pause"));
    ck_assert_str_eq(move_result(m, "mode"), "precopy");
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

/* ---- a guest that writes four times what the link carries ---- */

START_TEST(post_copy_is_switched_to_no_later_than_after_the_second_pass)
{
    world_pair(&f.w, "ws=64 rate=20000");
    struct move *m = move_run(
        &f.w, ARGS("-p", "post-copy", SLOWLY, "--set", "postcopy.bandwidth=20000000"));
    move_expect(m, 0, "completed", "destination");
    ck_assert_uint_ge(passes_before(m, "postcopy"), 1);
    ck_assert_uint_le(passes_before(m, "postcopy"), 2);
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

START_TEST(minimal_downtime_slows_it_down_and_keeps_the_pause_short)
{
    world_pair(&f.w, "ws=64 rate=12000");
    struct move *m = move_run(&f.w, ARGS("-p", "minimal-downtime", SLOWLY));
    move_expect(m, 0, "completed", "destination");
    ck_assert_uint_le(passes_before(m, "throttle"), 2);
    ck_assert_int_le(number(m->result, "downtime_ms"),
                     1000); /* the limit, and device state */
    expect_settings(f.w.src, f.w.src_settings);
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

START_TEST(what_cannot_be_finished_is_given_up_after_the_second_pass)
{
    world_pair(&f.w, "ws=64 rate=20000");
    struct move *m = move_run(
        &f.w, ARGS("-p", "minimal-downtime", SLOWLY, "--set", "throttle.allowed=false"));
    move_expect(m, 4, "aborted", "source");
    ck_assert_uint_eq(passes_before(m, "abort"), 2);
    ck_assert(was_decided(m, "wait")); /* with the forecast of the first pass */
    expect_guest_on(&f.w, f.w.src);
    expect_settings(f.w.src, f.w.src_settings);
}
END_TEST

START_TEST(the_guest_is_stopped_when_that_is_short_enough)
{
    world_pair(&f.w, "ws=48 rate=20000");
    struct move *m = move_run(
        &f.w, ARGS("-p", "suspend-if-needed", SLOWLY, "--set", "throttle.allowed=false"));
    move_expect(m, 0, "completed", "destination");
    ck_assert(was_decided(m, "pause"));
    ck_assert_int_le(number(m->result, "blackout_ms"), 5000);
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

/* ---- a guest that rests ---- */

START_TEST(a_guest_that_was_seen_to_rest_is_waited_for)
{
    /* The first pass, of 42 s, sees a rest from its beginning to its end, long enough for two measures also on
     * a busy machine (policy/rhythm.h); the second is walked while the guest is busy, two seconds into its
     * cycle, and leaves all of it. The rest after that lets it through. */
    world_pair(&f.w, "ws=6 cold=74 rate=20000 burst-on=10000 burst-off=10000");
    struct move *m = move_run(&f.w, ARGS("-p", "post-copy", "--bandwidth", "2000000"));
    move_expect(m, 0, "completed", "destination");
    ck_assert_str_eq(move_result(m, "mode"), "precopy");
    ck_assert(!was_decided(m, "postcopy") && !was_decided(m, "throttle"));
    ck_assert(move_has(m, "decision", "because", "the guest "));
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

/* ---- a goal ---- */

START_TEST(a_goal_out_of_reach_is_said_at_once)
{
    world_pair(&f.w, "ws=64 rate=1500");
    struct move *m = move_run(&f.w, ARGS(SLOWLY, "--set", "finish-within=2s"));
    move_expect(m, 0, "completed", "destination");
    ck_assert(move_has(m, "decision", "because", "2.0 s cannot be met"));
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

START_TEST(a_goal_is_met_by_what_is_allowed)
{
    world_pair(&f.w, "ws=64 rate=20000");
    struct move *m =
        move_run(&f.w, ARGS("-p", "post-copy", SLOWLY, "--set", "finish-within=30s",
                            "--set", "downtime.max=300ms"));
    move_expect(m, 0, "completed", "destination");
    ck_assert_int_le(number(m->result, "total_ms"), 30000);
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

/* ---- records ---- */

START_TEST(each_pass_has_a_forecast_and_the_journal_its_outcome)
{
    json_t *line = NULL;
    json_t *outcome = NULL;
    char row[65536];

    world_pair(&f.w, "ws=48 rate=2500");
    struct move *m = move_run(&f.w, ARGS(SLOWLY));
    move_expect(m, 0, "completed", "destination");
    ck_assert_ptr_nonnull(nth(m, "forecast", 1));
    for (unsigned i = 0; nth(m, "forecast", i); i++) {
        const json_t *one = nth(m, "forecast", i);
        const json_int_t best = number(one, "total_ms");
        ck_assert_int_le(number(one, "total_ms_low"), best);
        ck_assert(json_is_null(json_object_get(one, "total_ms_high")) ||
                  number(one, "total_ms_high") >= best);
    }
    ck_assert_ptr_null(nth(m, "forecast-outcome", 0)); /* the journal's own */

    FILE *file = fopen(m->journal, "r");
    ck_assert_ptr_nonnull(file);
    while (fgets(row, sizeof(row), file)) {
        line = json_loads(row, 0, NULL);
        if (line && strcmp(text(line, "type"), "forecast-outcome") == 0)
            outcome = json_incref(line);
        json_decref(line);
    }
    (void)fclose(file);
    ck_assert_ptr_nonnull(outcome);
    ck_assert_int_eq(number(outcome, "actual_total_ms"), number(m->result, "total_ms"));
    ck_assert_int_ge(number(outcome, "total_error_permille"), 0);
    json_decref(outcome);
}
END_TEST

static Suite *forecast_suite(void)
{
    Suite *s = suite_create("forecast");
    TCase *t = tcase_create("forecast");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, preflight_foresees_a_guest_that_converges);
    tcase_add_test(t, preflight_foresees_a_guest_that_does_not);
    tcase_add_loop_test(t, a_guest_that_converges_is_left_alone, 0, 3);
    tcase_add_test(t, post_copy_is_switched_to_no_later_than_after_the_second_pass);
    tcase_add_test(t, minimal_downtime_slows_it_down_and_keeps_the_pause_short);
    tcase_add_test(t, what_cannot_be_finished_is_given_up_after_the_second_pass);
    tcase_add_test(t, the_guest_is_stopped_when_that_is_short_enough);
    tcase_add_test(t, a_goal_out_of_reach_is_said_at_once);
    tcase_add_test(t, a_goal_is_met_by_what_is_allowed);
    tcase_add_test(t, each_pass_has_a_forecast_and_the_journal_its_outcome);
    suite_add_tcase(s, t);

    t = tcase_create("rests");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, a_guest_that_was_seen_to_rest_is_waited_for);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return real_main(forecast_suite());
}

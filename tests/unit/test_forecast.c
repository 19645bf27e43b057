/* What a few pass boundaries say of the passes to come. The guests here are curves written down in
 * closed form: dirty(T) = what they dirty in T. */
#include <check.h>
#include <stdlib.h>

#include "engine/base/units.h"
#include "policy/forecast.h"

enum { MIB = 1024 * 1024 };

typedef uint64_t guest(uint64_t us);

static struct fixture {
    struct policy_trend t;
    struct policy_curve c;
    struct policy_sample s;
    uint64_t rate; /* bytes a second */
} f;

static void feed(void)
{
    const bool new_pass = policy_trend_feed(&f.t, &f.s);
    policy_curve_feed(&f.c, &f.t, new_pass);
}

static void start(uint64_t total, uint64_t rate)
{
    policy_trend_init(&f.t);
    policy_curve_init(&f.c);
    f.rate = rate;
    f.s = (struct policy_sample){
        .t_ns = QF_NS_PER_S,
        .started = true,
        .pass = 1,
        .total_bytes = total,
        .remaining_bytes = total,
        .downtime_limit_ms = 100,
    };
    feed();
}

/* One pass over what is left; then the sync that shows what the guest dirtied meanwhile. */
static void pass(guest *dirty)
{
    const uint64_t left = f.s.remaining_bytes;
    const uint64_t us = qf_mul_div(left, 1000000, f.rate);
    for (unsigned i = 0; i < 4; i++) {
        f.s.t_ns += (int64_t)us * 1000 / 4;
        f.s.transferred_bytes += left / 4;
        f.s.remaining_bytes = i < 3 ? f.s.remaining_bytes - left / 4 : 1;
        if (i < 3)
            feed();
    }
    feed();
    f.s.pass++;
    f.s.remaining_bytes = dirty(us);
    feed();
}

static struct forecast_course try(uint64_t limit_ms,
                                  uint32_t throttle,
                                  enum forecast_bound bound)
{
    struct forecast_course c;
    const struct forecast_plan plan = {
        .downtime_ms = limit_ms, .throttle_percent = throttle, .bound = bound};
    ck_assert(forecast_try(&f.c, &f.t, &plan, &c));
    return c;
}

static void setup(void)
{
    start(1000 * (uint64_t)MIB, 100 * (uint64_t)MIB);
}

/* ---- guests ---- */

/* 64 MiB a second, one page after the other, through 400 MiB */
static uint64_t sweeps(uint64_t us)
{
    const uint64_t n = qf_mul_div(70 * (uint64_t)MIB, us, 1000000);
    return n < 400 * (uint64_t)MIB ? n : 400 * (uint64_t)MIB;
}

/* 400 MiB a second into 300 MiB */
static uint64_t too_fast(uint64_t us)
{
    const uint64_t n = qf_mul_div(400 * (uint64_t)MIB, us, 1000000);
    return n < 300 * (uint64_t)MIB ? n : 300 * (uint64_t)MIB;
}

/* 40 MiB that are always dirty, and 20 MiB a second of others */
static uint64_t hot_and_cold(uint64_t us)
{
    return 40 * (uint64_t)MIB + qf_mul_div(20 * (uint64_t)MIB, us, 1000000);
}

static uint64_t idle(uint64_t us)
{
    (void)us;
    return 0;
}

/* ---- tests ---- */

START_TEST(nothing_is_known_before_the_first_boundary)
{
    struct forecast_course c;
    const struct forecast_plan plan = {.downtime_ms = 100};
    ck_assert(!forecast_try(&f.c, &f.t, &plan, &c));
    ck_assert(forecast_dirty(&f.c, &f.t, 1000000, 0, FORECAST_BEST) == POLICY_UNKNOWN);
    ck_assert(forecast_points(&f.c) == 0);
}
END_TEST

START_TEST(an_idle_guest_is_through)
{
    pass(idle);
    const struct forecast_course c = try(100, 0, FORECAST_HIGH);
    ck_assert(c.ends);
    ck_assert_uint_eq(c.left_bytes, 0);
}
END_TEST

START_TEST(a_pass_that_leaves_what_it_sent_is_proof)
{
    pass(too_fast);
    pass(too_fast);
    for (int bound = FORECAST_BEST; bound <= FORECAST_HIGH; bound++) {
        const struct forecast_course c = try(500, 0, (enum forecast_bound)bound);
        ck_assert(!c.ends);
        ck_assert_uint_ge(c.left_bytes, 295 * (uint64_t)MIB);
    }
}
END_TEST

START_TEST(bounds_hold_the_truth_between_them)
{
    static guest *const guests[] = {sweeps, too_fast, hot_and_cold};
    guest *g = guests[_i];
    pass(g);
    pass(g);
    for (uint64_t us = 50000; us < 10000000; us = us * 3 / 2) {
        const uint64_t low = forecast_dirty(&f.c, &f.t, us, 0, FORECAST_LOW);
        const uint64_t high = forecast_dirty(&f.c, &f.t, us, 0, FORECAST_HIGH);
        ck_assert_uint_le(low, g(us) + g(us) / 50);
        ck_assert_uint_ge(high + high / 50, g(us));
        ck_assert_uint_ge(forecast_dirty(&f.c, &f.t, us, 0, FORECAST_BEST), low);
        ck_assert_uint_le(forecast_dirty(&f.c, &f.t, us, 0, FORECAST_BEST), high);
    }
}
END_TEST

START_TEST(a_sweep_converges_in_the_time_that_its_series_takes)
{
    pass(sweeps);
    pass(sweeps);
    pass(sweeps);
    const struct forecast_course c = try(100, 0, FORECAST_BEST);
    ck_assert(c.ends);
    /* 196 MiB are left; each pass leaves 0.7 of it: the sum is 196 / 0.3 MiB at 100 MiB/s */
    ck_assert_uint_ge(c.ms, 5300);
    ck_assert_uint_le(c.ms, 7200);
}
END_TEST

START_TEST(a_hot_set_is_the_floor)
{
    pass(hot_and_cold);
    pass(hot_and_cold);
    pass(hot_and_cold);
    /* 40 / (100 - 20) s of passes leave 50 MiB */
    const struct forecast_course c = try(100, 0, FORECAST_BEST);
    ck_assert(!c.ends);
    ck_assert_uint_ge(c.left_bytes, 40 * (uint64_t)MIB);
    ck_assert_uint_le(c.left_bytes, 53 * (uint64_t)MIB);
    ck_assert(try(600, 0, FORECAST_BEST).ends);
}
END_TEST

START_TEST(a_throttle_stretches_the_curve)
{
    pass(too_fast);
    pass(too_fast);
    /* How fast it is beyond the link's rate nobody knows: the bounds disagree. */
    ck_assert(try(500, 60, FORECAST_LOW).ends);
    ck_assert(!try(500, 60, FORECAST_HIGH).ends);
    ck_assert_uint_eq(forecast_dirty(&f.c, &f.t, 6000000, 50, FORECAST_BEST),
                      forecast_dirty(&f.c, &f.t, 3000000, 0, FORECAST_BEST));
}
END_TEST

START_TEST(what_was_seen_under_a_throttle_counts_more_than_a_guess)
{
    pass(too_fast);
    pass(too_fast);
    f.s.throttle_percent = 90;
    feed();
    pass(too_fast); /* it did nothing */
    pass(too_fast);
    ck_assert(!try(500, 90, FORECAST_LOW).ends);
    ck_assert_uint_eq(forecast_points(&f.c), 2);
}
END_TEST

START_TEST(a_guest_that_changes_is_looked_at_anew)
{
    pass(idle);
    f.s.remaining_bytes = 100 * (uint64_t)MIB;
    pass(too_fast);
    ck_assert_uint_eq(f.c.changes, 1);
    ck_assert_uint_eq(f.c.n - f.c.from, 1);
    pass(too_fast);
    ck_assert_uint_eq(f.c.changes, 1);
    ck_assert(!try(500, 0, FORECAST_LOW).ends);
    pass(idle);
    ck_assert_uint_eq(f.c.changes, 2);
}
END_TEST

START_TEST(a_steady_guest_never_counts_as_changed)
{
    static guest *const guests[] = {sweeps, too_fast, hot_and_cold};
    for (int i = 0; i < 8; i++)
        pass(guests[_i]);
    ck_assert_uint_eq(f.c.changes, 0);
}
END_TEST

START_TEST(compressed_pages_are_counted_by_what_they_hold)
{
    for (int i = 0; i < 3; i++) {
        const uint64_t left = f.s.remaining_bytes;
        f.s.t_ns += 4 * QF_NS_PER_S;
        f.s.transferred_bytes += left / 4;
        f.s.walked_bytes += left;
        f.s.remaining_bytes = 1;
        feed();
        f.s.pass++;
        f.s.remaining_bytes = 800 * (uint64_t)MIB;
        feed();
    }
    ck_assert_uint_ge(f.c.raw_permille, 3900);
    ck_assert_uint_le(f.c.raw_permille, 4100);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("forecast");
    TCase *tc = tcase_create("forecast");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, nothing_is_known_before_the_first_boundary);
    tcase_add_test(tc, an_idle_guest_is_through);
    tcase_add_test(tc, a_pass_that_leaves_what_it_sent_is_proof);
    tcase_add_loop_test(tc, bounds_hold_the_truth_between_them, 0, 3);
    tcase_add_test(tc, a_sweep_converges_in_the_time_that_its_series_takes);
    tcase_add_test(tc, a_hot_set_is_the_floor);
    tcase_add_test(tc, a_throttle_stretches_the_curve);
    tcase_add_test(tc, what_was_seen_under_a_throttle_counts_more_than_a_guess);
    tcase_add_test(tc, a_guest_that_changes_is_looked_at_anew);
    tcase_add_loop_test(tc, a_steady_guest_never_counts_as_changed, 0, 3);
    tcase_add_test(tc, compressed_pages_are_counted_by_what_they_hold);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    SRunner *sr = srunner_create(suite());
    srunner_run_all(sr, CK_ENV);
    const int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

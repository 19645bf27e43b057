/* What measures beside the passes tell of a guest that pauses, and what they do not. */
#include <check.h>
#include <stdlib.h>

#include "engine/base/units.h"
#include "policy/rhythm.h"

static struct fixture {
    struct policy_rhythm r;
    struct policy_sample s; /* edited and fed again and again */
} f;

static void setup(void)
{
    policy_rhythm_init(&f.r);
    f.s = (struct policy_sample){.t_ns = 1000 * QF_NS_PER_S, .started = true};
}

/* One measure, two seconds after the one before. */
static void measure(uint64_t mib_per_s)
{
    f.s.t_ns += 2 * QF_NS_PER_S;
    f.s.measures++;
    f.s.measured_bytes_per_s = mib_per_s * QF_MIB;
    policy_rhythm_feed(&f.r, &f.s);
}

static void measures(unsigned n, uint64_t mib_per_s)
{
    while (n-- > 0)
        measure(mib_per_s);
}

START_TEST(a_rest_between_two_busy_times_was_seen)
{
    measures(10, 100);
    const int64_t busy_ns = f.s.t_ns;
    measures(4, 2);
    ck_assert(f.r.quiet);
    ck_assert_int_eq(f.r.quiet_from_ns, busy_ns + 2 * QF_NS_PER_S);
    ck_assert_int_eq(policy_rhythm_until_ns(&f.r), 0);
    measure(90);
    ck_assert(!f.r.quiet);
    ck_assert_uint_eq(f.r.rests, 1);
    ck_assert_int_eq(f.r.rest_end_ns, f.s.t_ns);
    /* its cycle is not known: a minute */
    ck_assert_int_eq(policy_rhythm_until_ns(&f.r), f.s.t_ns + 60 * QF_NS_PER_S);
}
END_TEST

/* A pass that is shorter than the time between two measures may have been busy, unseen. */
START_TEST(that_it_rests_is_known_only_as_far_as_it_was_measured)
{
    measures(10, 100);
    measures(4, 2);
    const int64_t newest_ns = f.s.t_ns; /* begun a second before */
    ck_assert(policy_rhythm_has_rested_since(&f.r, newest_ns - 4 * QF_NS_PER_S));
    ck_assert(policy_rhythm_has_rested_since(&f.r, newest_ns - QF_NS_PER_S));
    ck_assert(!policy_rhythm_has_rested_since(&f.r, newest_ns));
    ck_assert(!policy_rhythm_has_rested_since(&f.r, newest_ns - 8 * QF_NS_PER_S));
    measure(60); /* neither: it ends no rest, and shows none */
    ck_assert(f.r.quiet);
    ck_assert(!policy_rhythm_has_rested_since(&f.r, newest_ns));
    measure(90);
    ck_assert(!policy_rhythm_has_rested_since(&f.r, newest_ns - 4 * QF_NS_PER_S));
}
END_TEST

START_TEST(two_rests_tell_the_cycle)
{
    measures(5, 100);
    measures(3, 0);
    measures(7, 100);
    measures(3, 0);
    measures(2, 100);
    ck_assert_uint_eq(f.r.rests, 2);
    ck_assert_int_eq(f.r.period_ns, 20 * QF_NS_PER_S);
    ck_assert_int_eq(policy_rhythm_until_ns(&f.r), f.r.quiet_from_ns + 25 * QF_NS_PER_S);
}
END_TEST

START_TEST(noise_is_no_rest)
{
    static const uint64_t seen[] = {100, 70, 130, 60, 30, 110, 45, 90, 35, 60, 120, 39, 80};
    for (size_t i = 0; i < sizeof(seen) / sizeof(seen[0]); i++)
        measure(seen[i]);
    ck_assert_uint_eq(f.r.rests, 0);
    ck_assert(!f.r.quiet);
}
END_TEST

START_TEST(who_was_quiet_and_becomes_busy_has_begun_and_not_rested)
{
    measures(5, _i == 0 ? 0 : 3);
    measures(20, 500);
    ck_assert_uint_eq(f.r.rests, 0);
    ck_assert_int_eq(policy_rhythm_until_ns(&f.r), 0);
    measures(3, 1); /* but now it has */
    measures(2, 500);
    ck_assert_uint_eq(f.r.rests, 1);
}
END_TEST

START_TEST(who_stays_quiet_is_not_resting)
{
    measures(5, 100);
    measures(40, 2);
    ck_assert(!f.r.quiet);
    ck_assert_uint_eq(f.r.rests, 0);
    ck_assert_uint_eq(f.r.level_bytes_per_s, 2 * QF_MIB);
}
END_TEST

START_TEST(a_throttled_or_stopped_guest_tells_nothing)
{
    measures(5, 100);
    f.s.throttle_percent = _i == 0 ? 20 : 1;
    f.s.guest_stopped = _i == 1;
    measures(5, 10);
    f.s.throttle_percent = 0;
    f.s.guest_stopped = false;
    measures(5, 100);
    ck_assert_uint_eq(f.r.rests, 0);
    ck_assert(!f.r.quiet);
}
END_TEST

START_TEST(the_same_measure_counts_once)
{
    measures(5, 100);
    measure(5);
    f.s.t_ns += QF_NS_PER_S;
    policy_rhythm_feed(&f.r, &f.s); /* a sample between two measures */
    ck_assert(!f.r.quiet);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("rhythm");
    TCase *c = tcase_create("rhythm");
    tcase_add_checked_fixture(c, setup, NULL);
    tcase_add_test(c, a_rest_between_two_busy_times_was_seen);
    tcase_add_test(c, that_it_rests_is_known_only_as_far_as_it_was_measured);
    tcase_add_test(c, two_rests_tell_the_cycle);
    tcase_add_test(c, noise_is_no_rest);
    tcase_add_loop_test(c, who_was_quiet_and_becomes_busy_has_begun_and_not_rested, 0, 2);
    tcase_add_test(c, who_stays_quiet_is_not_resting);
    tcase_add_loop_test(c, a_throttled_or_stopped_guest_tells_nothing, 0, 2);
    tcase_add_test(c, the_same_measure_counts_once);
    suite_add_tcase(s, c);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

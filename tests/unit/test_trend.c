/* What counts as a pass and as a stall, on the QEMUs that exist, and the measures. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "policy/trend.h"
#include "policy_model.h"

static struct fixture {
    struct policy_trend t;
    struct policy_sample s; /* edited and fed again and again */
} f;

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    policy_trend_init(&f.t);
    f.s = (struct policy_sample){.t_ns = 1000 * QF_NS_PER_MS,
                                 .started = true,
                                 .pass = 1,
                                 .total_bytes = 100 * QF_MIB,
                                 .remaining_bytes = 100 * QF_MIB};
}

/* So many ms later this much is left and this much was sent. */
static bool feed(uint64_t ms, uint64_t pass, uint64_t left_mib, uint64_t sent_mib)
{
    f.s.t_ns += qf_ms_to_ns(ms);
    f.s.elapsed_ns += qf_ms_to_ns(ms);
    f.s.pass = pass;
    f.s.remaining_bytes = left_mib * QF_MIB;
    f.s.transferred_bytes = sent_mib * QF_MIB;
    return policy_trend_feed(&f.t, &f.s);
}

static void watch(struct model *m, uint64_t ms)
{
    model_start(m);
    for (uint64_t t = 0; t < ms && !m->done; t += 100) {
        const struct policy_sample s = model_sample(m);
        policy_trend_feed(&f.t, &s);
        model_run(m, 100);
    }
}

START_TEST(steady_guest_stalls_once_a_walk_on_any_qemu)
{
    struct model m = {.total = 400 * QF_MIB,
                      .working_set = 100 * QF_MIB,
                      .dirty_rate = 2048 * QF_MIB,
                      .link = 40 * QF_MIB,
                      .syncs_always = _i == 1};
    watch(&m, 40000);
    /* 10 s for the first walk, which leaves less than all; then one of 2.5 s (less the last
     * 100 ms, that the downtime limit would take) after the other. */
    ck_assert(!m.done);
    ck_assert_uint_ge(f.t.stalled_passes, 10);
    ck_assert_uint_le(f.t.stalled_passes, 14); /* nine tenths of a walk are one */
    ck_assert_uint_eq(policy_trend_complete(&f.t), f.t.stalled_passes + 1);
    if (_i == 1)
        ck_assert_uint_gt(m.pass, 350); /* what QEMU itself counts */
    ck_assert_uint_ge(policy_trend_left_over(&f.t), 96 * QF_MIB);
    ck_assert_uint_le(policy_trend_left_over(&f.t), 100 * QF_MIB);
    ck_assert_uint_ge(f.t.bandwidth_bytes_per_s, 39 * QF_MIB);
    ck_assert_uint_le(f.t.bandwidth_bytes_per_s, 40 * QF_MIB);
}
END_TEST

START_TEST(converging_guest_never_stalls_on_any_qemu)
{
    struct model m = {.total = 400 * QF_MIB,
                      .working_set = 200 * QF_MIB,
                      .dirty_rate = 15 * QF_MIB,
                      .link = 40 * QF_MIB,
                      .syncs_always = _i == 1};
    watch(&m, 60000);
    ck_assert(m.done);
    ck_assert_uint_eq(f.t.stalled_passes, 0);
}
END_TEST

START_TEST(growing_leftover_is_a_stall)
{
    feed(0, 1, 100, 0);
    feed(1000, 1, 1, 99);
    ck_assert(feed(100, 2, 40, 100));
    ck_assert_uint_eq(f.t.stalled_passes, 0);
    feed(400, 2, 1, 139);
    ck_assert(feed(100, 3, 44, 140));
    ck_assert_uint_eq(f.t.stalled_passes, 1);
    /* below the last one, but not below the least: still no progress */
    feed(400, 3, 1, 183);
    ck_assert(feed(100, 4, 42, 184));
    ck_assert_uint_eq(f.t.stalled_passes, 2);
    ck_assert_uint_eq(f.t.least_before_bytes, 40 * QF_MIB);
    feed(400, 4, 1, 225);
    ck_assert(feed(100, 5, 30, 226));
    ck_assert_uint_eq(f.t.stalled_passes, 2);
    ck_assert_uint_eq(f.t.least_remaining_bytes, 30 * QF_MIB);
}
END_TEST

START_TEST(noise_below_five_percent_is_no_progress)
{
    static const struct {
        uint64_t left_mib;
        uint64_t stalls;
    } table[] = {{80, 1}, {77, 1}, {76, 1}, {75, 0}, {60, 0}};
    f.s.total_bytes = 1000 * QF_MIB;
    feed(0, 1, 1000, 0);
    ck_assert(feed(10000, 2, 80, 1000));
    ck_assert(feed(1000, 3, table[_i].left_mib, 1080));
    ck_assert_uint_eq(f.t.stalled_passes, table[_i].stalls);
}
END_TEST

START_TEST(nothing_left_is_no_stall)
{
    feed(0, 1, 100, 0);
    ck_assert(feed(1000, 2, 0, 100));
    ck_assert(feed(1000, 3, 0, 100));
    ck_assert_uint_eq(f.t.stalled_passes, 0);
}
END_TEST

/* 9.2 with auto-converge: every 5 s, in the midst of a walk of 20 s. */
START_TEST(extra_sync_within_a_walk_is_no_pass)
{
    f.s.total_bytes = 800 * QF_MIB;
    feed(0, 1, 800, 0);
    feed(19000, 1, 40, 760);
    ck_assert(feed(1000, 2, 700, 800));
    ck_assert(!feed(5000, 3, 680, 1000));
    ck_assert(!feed(5000, 4, 690, 1200));
    ck_assert(!feed(5000, 5, 690, 1400));
    ck_assert(feed(5000, 6, 690, 1600));
    ck_assert_uint_eq(f.t.stalled_passes, 1);
    ck_assert_uint_eq(policy_trend_complete(&f.t), 2);
}
END_TEST

START_TEST(hundred_passes_within_100_ms_do_not_count)
{
    f.s.total_bytes = 2 * QF_MIB;
    feed(0, 1, 2, 0);
    for (uint64_t pass = 2; pass < 100; pass++)
        ck_assert(!feed(1, pass, 2, pass * 2));
    ck_assert_uint_eq(f.t.stalled_passes, 0);
    ck_assert(feed(50, 101, 2, 300));
    ck_assert_uint_eq(f.t.stalled_passes, 1);
}
END_TEST

/* An idle guest: nine tenths zero pages, which cost almost nothing on the wire. */
START_TEST(zero_pages_count_as_walked)
{
    feed(0, 1, 100, 0);
    f.s.walked_bytes = _i == 0 ? 60 * QF_MIB : POLICY_UNKNOWN;
    feed(100, 1, 40, 5);
    if (_i == 1) /* without the counter: seen close to the end instead */
        feed(30, 1, 8, 9);
    f.s.walked_bytes = _i == 0 ? 100 * QF_MIB : POLICY_UNKNOWN;
    ck_assert(feed(100, 2, 5, 10));
    ck_assert_uint_eq(policy_trend_complete(&f.t), 1);
}
END_TEST

START_TEST(zero_pages_without_any_sign_count_one_pass_later)
{
    f.s.walked_bytes = POLICY_UNKNOWN;
    feed(0, 1, 100, 0);
    feed(100, 1, 40, 5);
    ck_assert(!feed(100, 2, 5, 10));
    ck_assert(feed(100, 3, 4, 15));
}
END_TEST

START_TEST(bytes_sent_since_the_sync_are_added_back)
{
    feed(0, 1, 100, 0);
    feed(950, 1, 5, 95);
    ck_assert(feed(100, 2, 35, 105)); /* 5 of the old pass, 5 of the new one */
    ck_assert_uint_eq(policy_trend_left_over(&f.t), 40 * QF_MIB);
    /* never more than there is */
    feed(300, 2, 1, 139);
    ck_assert(feed(1000, 3, 90, 200));
    ck_assert_uint_eq(policy_trend_left_over(&f.t), 100 * QF_MIB);
}
END_TEST

/* As QEMU 11.1 does with post-copy allowed: 24 MiB are dirty at every sync, 40 MiB/s; 4 MiB of them
 * are sent before anybody can look. */
static void feed_slices(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        feed(100, f.s.pass + 1, 20, f.s.transferred_bytes / QF_MIB + 4);
}

START_TEST(a_slice_is_added_back_where_every_turn_syncs)
{
    f.s.bandwidth_limit_bytes_per_s = 40 * QF_MIB;
    feed(0, 2, 96, 4);
    feed_slices(40);
    ck_assert_uint_ge(f.t.n_passes, 3);
    ck_assert_uint_eq(policy_trend_left_over(&f.t), 24 * QF_MIB);
}
END_TEST

START_TEST(without_a_limit_no_slice_is_known)
{
    f.s.bandwidth_limit_bytes_per_s = 0;
    feed(0, 2, 96, 4);
    feed_slices(40);
    ck_assert_uint_eq(policy_trend_left_over(&f.t), 20 * QF_MIB);

    /* ... nor where the link is slower than the limit. */
    f.s.bandwidth_limit_bytes_per_s = 1000 * QF_MIB;
    feed_slices(10);
    ck_assert_uint_eq(policy_trend_left_over(&f.t), 20 * QF_MIB);
}
END_TEST

START_TEST(taken_up_in_the_middle_counts_from_there)
{
    ck_assert(feed(0, 7, 40, 900));
    ck_assert_uint_eq(policy_trend_complete(&f.t), 0);
    ck_assert_uint_eq(policy_trend_left_over(&f.t), 40 * QF_MIB);
    ck_assert(feed(400, 8, 40, 940));
    ck_assert_uint_eq(f.t.stalled_passes, 1);
}
END_TEST

START_TEST(postcopy_has_no_passes)
{
    feed(0, 1, 100, 0);
    f.s.postcopy = true;
    ck_assert(!feed(1000, 2, 100, 100));
    ck_assert(!feed(1000, 3, 100, 200));
    ck_assert_uint_eq(f.t.stalled_passes, 0);
}
END_TEST

START_TEST(before_the_start_nothing_is_learnt)
{
    f.s.started = false;
    f.s.pass = 0;
    ck_assert(!policy_trend_feed(&f.t, &f.s));
    ck_assert_uint_eq(f.t.n_passes, 0);
    ck_assert_uint_eq(policy_trend_time_left_ms(&f.t), POLICY_UNKNOWN);
}
END_TEST

START_TEST(more_passes_than_are_kept_are_still_counted)
{
    feed(0, 1, 100, 0);
    for (uint64_t i = 1; i <= 3 * POLICY_PASSES_KEPT; i++)
        ck_assert(feed(1000, 1 + i, 50, 100 + 50 * (i - 1)));
    ck_assert_uint_eq(policy_trend_complete(&f.t), 3 * POLICY_PASSES_KEPT);
    ck_assert_uint_eq(f.t.stalled_passes, 3 * POLICY_PASSES_KEPT - 1);
}
END_TEST

START_TEST(bandwidth_does_not_depend_on_how_often_one_asks)
{
    static const uint64_t every_ms[] = {10, 100, 250, 1000};
    f.s.total_bytes = 1000 * QF_MIB;
    for (uint64_t t = 0; t <= 10000; t += every_ms[_i])
        feed(t ? every_ms[_i] : 0, 1, 1000 - t / 100, t / 100); /* 10 MiB/s */
    ck_assert_uint_ge(f.t.bandwidth_bytes_per_s, 10 * QF_MIB * 95 / 100);
    ck_assert_uint_le(f.t.bandwidth_bytes_per_s, 10 * QF_MIB * 105 / 100);
    ck_assert_uint_ge(policy_trend_time_left_ms(&f.t), 85000);
    ck_assert_uint_le(policy_trend_time_left_ms(&f.t), 95000);
}
END_TEST

START_TEST(set_up_does_not_slow_the_measure)
{
    feed(0, 0, 0, 0);
    feed(9000, 1, 100, 0);
    ck_assert_uint_eq(policy_trend_time_left_ms(&f.t), POLICY_UNKNOWN);
    feed(1000, 1, 90, 10);
    ck_assert_uint_eq(f.t.bandwidth_bytes_per_s, 10 * QF_MIB);
}
END_TEST

START_TEST(bandwidth_follows_a_change_within_seconds)
{
    feed(0, 1, 100, 0);
    for (uint64_t i = 1; i <= 100; i++)
        feed(100, 1, 100, i * 10); /* 100 MiB/s */
    for (uint64_t i = 1; i <= 60; i++)
        feed(100, 1, 100, 1000 + i); /* 10 MiB/s */
    ck_assert_uint_le(f.t.bandwidth_bytes_per_s, 16 * QF_MIB);
    ck_assert_uint_ge(f.t.bandwidth_bytes_per_s, 10 * QF_MIB - 1000);
}
END_TEST

START_TEST(link_that_stands_still_is_slow_and_never_infinite)
{
    feed(0, 1, 100, 0);
    feed(1000, 1, 90, 10);
    const int64_t moved = f.t.moved_t_ns;
    uint64_t before = policy_trend_time_left_ms(&f.t);
    for (int i = 0; i < 1000; i++) {
        feed(1000, 1, 90, 10);
        const uint64_t now = policy_trend_time_left_ms(&f.t);
        ck_assert_uint_ge(now, before);
        before = now;
    }
    ck_assert_int_eq(f.t.moved_t_ns, moved);
}
END_TEST

START_TEST(counter_that_falls_back_starts_a_new_measure)
{
    feed(0, 1, 100, 0);
    feed(1000, 1, 50, 50);
    feed(1000, 1, 50, 0);
    ck_assert_uint_eq(f.t.bandwidth_bytes_per_s, 50 * QF_MIB);
    ck_assert_int_eq(f.t.moved_t_ns, f.s.t_ns);
}
END_TEST

START_TEST(implied_downtime_is_the_smaller_of_the_last_two)
{
    feed(0, 1, 100, 0);
    feed(1000, 1, 1, 99);
    ck_assert_uint_eq(policy_trend_implied_downtime_ms(&f.t), POLICY_UNKNOWN);
    feed(10, 2, 60, 100);
    const uint64_t at_60 = policy_trend_implied_downtime_ms(&f.t);
    ck_assert_uint_ge(at_60, 590);
    ck_assert_uint_le(at_60, 620);
    feed(590, 2, 1, 159);
    feed(10, 3, 90, 160);
    ck_assert_uint_ge(policy_trend_implied_downtime_ms(&f.t), 590);
    ck_assert_uint_le(policy_trend_implied_downtime_ms(&f.t), 620);
    ck_assert_uint_eq(f.t.dirty_bytes_per_s, 150 * QF_MIB);
}
END_TEST

START_TEST(silly_numbers_do_no_harm)
{
    f.s.total_bytes = UINT64_MAX;
    f.s.remaining_bytes = UINT64_MAX;
    f.s.transferred_bytes = 0;
    policy_trend_feed(&f.t, &f.s);
    f.s.t_ns += 200 * QF_NS_PER_MS;
    f.s.pass = UINT64_MAX;
    f.s.transferred_bytes = UINT64_MAX;
    policy_trend_feed(&f.t, &f.s);
    f.s.t_ns = INT64_MAX;
    f.s.remaining_bytes = 0;
    policy_trend_feed(&f.t, &f.s);
    ck_assert_uint_eq(policy_trend_time_left_ms(&f.t), 0);
}
END_TEST

START_TEST(a_repeated_sample_measures_nothing)
{
    (void)feed(0, 1, 100, 0);
    for (unsigned i = 1; i <= 20; i++) {
        (void)feed(100, 1, 100 - i, i);
        const uint64_t rate = f.t.bandwidth_bytes_per_s;
        const int64_t moved_t_ns = f.t.moved_t_ns;
        f.s.is_repeated = true;
        f.s.t_ns += 60 * QF_NS_PER_MS;
        ck_assert(!policy_trend_feed(&f.t, &f.s));
        f.s.t_ns -= 60 * QF_NS_PER_MS;
        f.s.is_repeated = false;
        ck_assert_uint_eq(f.t.bandwidth_bytes_per_s, rate);
        ck_assert_int_eq(f.t.moved_t_ns, moved_t_ns);
    }
    ck_assert_uint_eq(f.t.bandwidth_bytes_per_s, 10 * QF_MIB);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("trend");
    TCase *passes = tcase_create("passes");
    tcase_add_checked_fixture(passes, setup, NULL);
    tcase_add_loop_test(passes, steady_guest_stalls_once_a_walk_on_any_qemu, 0, 2);
    tcase_add_loop_test(passes, converging_guest_never_stalls_on_any_qemu, 0, 2);
    tcase_add_test(passes, growing_leftover_is_a_stall);
    tcase_add_loop_test(passes, noise_below_five_percent_is_no_progress, 0, 5);
    tcase_add_test(passes, nothing_left_is_no_stall);
    tcase_add_test(passes, extra_sync_within_a_walk_is_no_pass);
    tcase_add_test(passes, hundred_passes_within_100_ms_do_not_count);
    tcase_add_loop_test(passes, zero_pages_count_as_walked, 0, 2);
    tcase_add_test(passes, zero_pages_without_any_sign_count_one_pass_later);
    tcase_add_test(passes, bytes_sent_since_the_sync_are_added_back);
    tcase_add_test(passes, a_slice_is_added_back_where_every_turn_syncs);
    tcase_add_test(passes, without_a_limit_no_slice_is_known);
    tcase_add_test(passes, taken_up_in_the_middle_counts_from_there);
    tcase_add_test(passes, postcopy_has_no_passes);
    tcase_add_test(passes, before_the_start_nothing_is_learnt);
    tcase_add_test(passes, more_passes_than_are_kept_are_still_counted);
    suite_add_tcase(suite, passes);
    TCase *measures = tcase_create("measures");
    tcase_add_checked_fixture(measures, setup, NULL);
    tcase_add_loop_test(measures, bandwidth_does_not_depend_on_how_often_one_asks, 0, 4);
    tcase_add_test(measures, set_up_does_not_slow_the_measure);
    tcase_add_test(measures, bandwidth_follows_a_change_within_seconds);
    tcase_add_test(measures, link_that_stands_still_is_slow_and_never_infinite);
    tcase_add_test(measures, counter_that_falls_back_starts_a_new_measure);
    tcase_add_test(measures, implied_downtime_is_the_smaller_of_the_last_two);
    tcase_add_test(measures, a_repeated_sample_measures_nothing);
    tcase_add_test(measures, silly_numbers_do_no_harm);
    suite_add_tcase(suite, measures);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Pacing by forecast, in whole modelled moves: what is done, when, and what is not. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "policy/simulate.h"

enum { SEEN_MAX = 256 };

static struct fixture {
    struct policy p;
    struct policy_model_spec m;
    struct simulate sim;
    struct policy_decision seen[SEEN_MAX]; /* but for silent waits */
    uint64_t walks[SEEN_MAX];
    unsigned n;
} f;

static void on_decision(void *arg,
                        const struct policy_sample *s,
                        const struct policy_decision *d)
{
    (void)arg;
    (void)s;
    if ((d->action == POLICY_WAIT && !d->new_pass && !d->is_notable) || f.n == SEEN_MAX)
        return;
    f.walks[f.n] = policy_trend_complete(&f.sim.run.trend);
    f.seen[f.n++] = *d;
}

static const struct simulate_ops ops = {.on_decision = on_decision};

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    f.p = (struct policy){
        .name = "test",
        .pacing = POLICY_PACING_FORECAST,
        .downtime_start_ms = 100,
        .downtime_max_ms = 500,
        .throttle_initial_percent = 20,
        .throttle_increment_percent = 10,
        .throttle_max_percent = 80,
        .stop_max_ms = 5000,
    };
    f.m = (struct policy_model_spec){
        .name = "test",
        .guest = {.memory_bytes = 1024 * QF_MIB, .busy_percent = 100, .cpus = 1},
        .link = {.rate_bytes_per_s = 100 * QF_MIB},
        .qemu = {.scan_bytes_per_s = 4 * QF_GIB,
                 .postcopy_switch_ms = 30,
                 .switchover_ms = 10,
                 .throttle_trigger_percent = 50},
    };
}

static void writes(uint64_t set_mib, uint64_t mib_per_s, enum policy_model_pattern pattern)
{
    struct policy_model_set *s = &f.m.guest.sets[f.m.guest.n_sets++];
    s->bytes = set_mib * QF_MIB;
    s->writes_bytes_per_s = mib_per_s * QF_MIB;
    s->pattern = pattern;
}

static const struct simulate_result *run(void)
{
    f.n = 0;
    simulate_init(&f.sim, &f.p, &f.m, 1, &ops, NULL);
    simulate_run(&f.sim);
    return &f.sim.result;
}

/* The last limit that was set; 0 = none. */
static uint64_t last_limit(void)
{
    uint64_t ms = 0;
    for (unsigned i = 0; i < f.n; i++)
        if (f.seen[i].action == POLICY_SET_DOWNTIME)
            ms = f.seen[i].value;
    return ms;
}

/* The first decision of that kind; NULL = none. */
static const struct policy_decision *first(enum policy_action action)
{
    for (unsigned i = 0; i < f.n; i++)
        if (f.seen[i].action == action)
            return &f.seen[i];
    return NULL;
}

static bool was_said(const char *text)
{
    for (unsigned i = 0; i < f.n; i++)
        if (strstr(f.seen[i].because, text))
            return true;
    return false;
}

static void allow_everything(void)
{
    f.p.throttle_allowed = true;
    f.p.postcopy_allowed = true;
    f.p.stop_allowed = true;
}

/* ---- a guest that converges ---- */

START_TEST(a_guest_that_converges_is_left_alone)
{
    static const struct {
        uint64_t set, rate;
        enum policy_model_pattern pattern;
    } guests[] = {
        {0, 0, POLICY_MODEL_SWEEP},     {600, 20, POLICY_MODEL_SWEEP},
        {600, 65, POLICY_MODEL_SWEEP},  {400, 50, POLICY_MODEL_RANDOM},
        {8, 400, POLICY_MODEL_RANDOM},  {800, 70, POLICY_MODEL_SWEEP},
        {200, 30, POLICY_MODEL_RANDOM}, {4, 4000, POLICY_MODEL_SWEEP},
    };
    allow_everything();
    writes(guests[_i].set, guests[_i].rate, guests[_i].pattern);
    const struct simulate_result *r = run();
    ck_assert_int_eq(r->outcome, SIMULATE_COMPLETED);
    ck_assert_int_eq(r->mode, SIMULATE_MODE_PRECOPY);
    ck_assert_msg(!r->costly, "%s: %s", policy_action_name(r->costly_action), r->reason);
    ck_assert_uint_le(r->downtime_ms, 600);
}
END_TEST

START_TEST(a_floor_above_the_limit_raises_the_limit_to_just_above_it)
{
    writes(25, 4000, POLICY_MODEL_RANDOM); /* 250 ms of the link */
    const struct simulate_result *r = run();
    ck_assert_int_eq(r->outcome, SIMULATE_COMPLETED);
    ck_assert_uint_ge(last_limit(), 250);
    ck_assert_uint_le(last_limit(), 350);
    ck_assert_str_eq(first(POLICY_SET_DOWNTIME)->rule, "forecast");
}
END_TEST

START_TEST(the_limit_is_never_raised_above_what_is_allowed)
{
    f.p.downtime_max_ms = 200;
    writes(25, 4000, POLICY_MODEL_RANDOM);
    const struct simulate_result *r = run();
    ck_assert_int_eq(r->outcome, SIMULATE_ABORTED);
    for (unsigned i = 0; i < f.n; i++)
        if (f.seen[i].action == POLICY_SET_DOWNTIME)
            ck_assert_uint_le(f.seen[i].value, 200);
}
END_TEST

/* ---- a guest that does not ---- */

START_TEST(postcopy_no_later_than_after_the_second_pass)
{
    static const struct {
        uint64_t set, rate;
        enum policy_model_pattern pattern;
    } guests[] = {
        {600, 500, POLICY_MODEL_SWEEP},
        {600, 500, POLICY_MODEL_RANDOM},
        {1000, 3000, POLICY_MODEL_RANDOM},
        {300, 1000, POLICY_MODEL_SWEEP},
    };
    f.p.postcopy_allowed = true;
    writes(guests[_i].set, guests[_i].rate, guests[_i].pattern);
    const struct simulate_result *r = run();
    ck_assert_int_eq(r->outcome, SIMULATE_COMPLETED);
    ck_assert_int_eq(r->mode, SIMULATE_MODE_POSTCOPY);
    ck_assert_uint_le(r->costly_walks, 2);
}
END_TEST

START_TEST(a_throttle_is_computed_and_brings_it_through)
{
    f.p.throttle_allowed = true;
    writes(600, 150, POLICY_MODEL_SWEEP);
    const struct simulate_result *r = run();
    ck_assert_int_eq(r->outcome, SIMULATE_COMPLETED);
    ck_assert_int_eq(r->costly_action, POLICY_THROTTLE);
    const struct policy_decision *d = first(POLICY_THROTTLE);
    ck_assert_uint_ge(d->value, 40);
    ck_assert_uint_le(d->value, 80);
    ck_assert_uint_eq(d->throttle_first_percent, d->value); /* in one step */
    ck_assert_uint_le(r->downtime_ms, 600);
}
END_TEST

START_TEST(throttled_no_more_than_allowed_and_then_given_up)
{
    f.p.throttle_allowed = true;
    f.p.throttle_max_percent = 30;
    writes(900, 900, POLICY_MODEL_SWEEP);
    const struct simulate_result *r = run();
    ck_assert_int_eq(r->outcome, SIMULATE_ABORTED);
    for (unsigned i = 0; i < f.n; i++)
        if (f.seen[i].action == POLICY_THROTTLE)
            ck_assert_uint_le(f.seen[i].value, 30);
}
END_TEST

START_TEST(nothing_allowed_gives_up_after_the_second_pass)
{
    writes(900, 900, POLICY_MODEL_SWEEP);
    const struct simulate_result *r = run();
    ck_assert_int_eq(r->outcome, SIMULATE_ABORTED);
    ck_assert_uint_eq(r->costly_walks, 2);
    ck_assert_msg(strstr(r->reason, "pass 2 left 900.0 MiB of ") != NULL, "%s", r->reason);
    ck_assert(strstr(r->reason, "give up") != NULL);
}
END_TEST

START_TEST(the_guest_is_stopped_only_if_that_is_short_enough)
{
    f.p.stop_allowed = true;
    writes((uint64_t)_i, 900, POLICY_MODEL_SWEEP);
    const struct simulate_result *r = run();
    if (_i == 300) { /* 3 s of the link */
        ck_assert_int_eq(r->outcome, SIMULATE_COMPLETED);
        ck_assert_int_eq(r->costly_action, POLICY_PAUSE);
        ck_assert_uint_le(r->blackout_ms, 5000);
    } else { /* 6 s */
        ck_assert_int_eq(r->outcome, SIMULATE_ABORTED);
    }
}
END_TEST

START_TEST(a_throttle_may_make_the_stop_short_enough)
{
    f.p.stop_allowed = true;
    f.p.throttle_allowed = true;
    f.p.throttle_max_percent = 60;
    /* 4.3 s without, 3.4 s with it */
    writes(300, 4000, POLICY_MODEL_RANDOM);
    writes(600, 30, POLICY_MODEL_SWEEP);
    const struct simulate_result *r = run();
    ck_assert_msg(r->outcome == SIMULATE_COMPLETED, "%s", r->reason);
    ck_assert(first(POLICY_THROTTLE) != NULL);
    ck_assert_uint_le(r->blackout_ms, 5000);
}
END_TEST

START_TEST(refused_postcopy_is_not_asked_for_again)
{
    struct policy_decision d;
    struct policy_run r;
    f.p.postcopy_allowed = true;
    policy_run_init(&r);
    struct policy_sample s = {
        .t_ns = QF_NS_PER_S,
        .started = true,
        .pass = 1,
        .total_bytes = 900 * QF_MIB,
        .remaining_bytes = 900 * QF_MIB,
        .downtime_limit_ms = 500,
    };
    unsigned postcopies = 0;
    unsigned aborts = 0;
    for (unsigned i = 0; i < 60; i++) { /* every tenth sample a pass that left everything */
        policy_decide(&f.p, &r, &s, &d);
        if (d.action == POLICY_POSTCOPY) {
            postcopies++;
            policy_refused(&r, POLICY_POSTCOPY);
        }
        aborts += d.action == POLICY_ABORT;
        s.t_ns += QF_NS_PER_S;
        s.elapsed_ns += QF_NS_PER_S;
        s.transferred_bytes += 90 * QF_MIB;
        s.remaining_bytes -= 90 * QF_MIB;
        if (s.remaining_bytes == 0) {
            s.pass++;
            s.remaining_bytes = 900 * QF_MIB;
        }
    }
    ck_assert_uint_eq(postcopies, 1);
    ck_assert_uint_ge(aborts, 1);
}
END_TEST

/* ---- doubt, and change ---- */

START_TEST(bounds_too_wide_wait_for_one_more_pass_and_say_so)
{
    f.p.postcopy_allowed = true;
    writes(900, 95, POLICY_MODEL_RANDOM);
    run();
    ck_assert(was_said("one more pass"));
}
END_TEST

START_TEST(a_guest_that_becomes_busy_is_judged_by_what_it_does_now)
{
    f.p.postcopy_allowed = true;
    writes(300, 600, POLICY_MODEL_RANDOM);
    f.m.guest.n_phases = 2;
    f.m.guest.phases[0] = (struct policy_model_phase){.for_ms = 8000};
    f.m.guest.phases[1] =
        (struct policy_model_phase){.for_ms = 1000, .factor_permille = {1000}};
    const struct simulate_result *r = run();
    ck_assert_int_eq(r->outcome, SIMULATE_COMPLETED);
    ck_assert_int_eq(r->mode, SIMULATE_MODE_POSTCOPY);
}
END_TEST

START_TEST(nothing_costly_is_done_to_a_guest_whose_quiet_time_was_seen)
{
    /* the second pass leaves more than the longer first one did */
    allow_everything();
    writes(300, 600, POLICY_MODEL_RANDOM);
    f.m.guest.n_phases = 3;
    f.m.guest.phases[0] = (struct policy_model_phase){.for_ms = 9500};
    f.m.guest.phases[1] =
        (struct policy_model_phase){.for_ms = 3500, .factor_permille = {1000}};
    f.m.guest.phases[2] = (struct policy_model_phase){.for_ms = 8000};
    const struct simulate_result *r = run();
    ck_assert_int_eq(r->outcome, SIMULATE_COMPLETED);
    ck_assert_msg(!r->costly, "%s", r->reason);
}
END_TEST

/* Ten seconds for the first pass, three and more for each that follows; it rests for six seconds in
 * every so many. */
static void rests(uint64_t from_ms, uint64_t cycle_ms)
{
    writes(300, 600, POLICY_MODEL_RANDOM);
    f.m.guest.repeats = true;
    f.m.guest.n_phases = 3;
    f.m.guest.phases[0] =
        (struct policy_model_phase){.for_ms = from_ms, .factor_permille = {1000}};
    f.m.guest.phases[1] = (struct policy_model_phase){.for_ms = 6500};
    f.m.guest.phases[2] = (struct policy_model_phase){.for_ms = cycle_ms - from_ms - 6500,
                                                      .factor_permille = {1000}};
}

START_TEST(a_rest_seen_in_the_first_pass_is_waited_for)
{
    if (_i == 0)
        allow_everything(); /* with nothing allowed it would be given up */
    rests(3500, 40000);     /* 3.5 to 10 s: the first pass alone; 43.5 to 50 s */
    const struct simulate_result *r = run();
    ck_assert_int_eq(r->outcome, SIMULATE_COMPLETED);
    ck_assert_int_eq(r->mode, SIMULATE_MODE_PRECOPY);
    ck_assert_msg(!r->costly, "%s", r->reason);
    ck_assert(was_said("waiting for its next rest"));
    ck_assert_uint_ge(r->total_ms, 43500);
}
END_TEST

/* Passes of a second, and measures more seldom: it is busy again, and nobody has seen it yet. */
START_TEST(a_pass_right_behind_the_rest_is_none_of_it)
{
    f.p.postcopy_allowed = true;
    rests(3500, 40000);
    f.m.guest.phases[1].for_ms = (uint64_t)_i;
    f.m.guest.sets[0].bytes = 120 * QF_MIB;
    const struct simulate_result *r = run();
    ck_assert_int_eq(r->outcome, SIMULATE_COMPLETED);
    ck_assert_msg(r->mode == SIMULATE_MODE_PRECOPY, "rest of %d ms: %s", _i, r->reason);
}
END_TEST

START_TEST(a_rest_that_is_too_busy_is_still_the_moment_to_switch)
{
    f.p.postcopy_allowed = true;
    f.m.guest.memory_bytes = 3072 * QF_MIB; /* half a minute, then four seconds a pass */
    writes(450, 900, POLICY_MODEL_RANDOM);
    f.m.guest.repeats = true;
    f.m.guest.n_phases = 3;
    f.m.guest.phases[0] =
        (struct policy_model_phase){.for_ms = 6000, .factor_permille = {1000}};
    f.m.guest.phases[1] = /* 135 MiB/s of 100: not to the limit */
        (struct policy_model_phase){.for_ms = 12000, .factor_permille = {150}};
    f.m.guest.phases[2] =
        (struct policy_model_phase){.for_ms = 32000, .factor_permille = {1000}};
    const struct simulate_result *r = run();
    ck_assert_int_eq(r->outcome, SIMULATE_COMPLETED);
    ck_assert_int_eq(r->mode, SIMULATE_MODE_POSTCOPY);
    ck_assert_uint_ge(r->costly_ms, 56000);
    ck_assert_uint_le(r->costly_ms, 68000);
}
END_TEST

START_TEST(a_rest_that_does_not_come_again_is_not_waited_for_for_ever)
{
    f.p.postcopy_allowed = true;
    rests(3500, 3600 * 1000);
    const struct simulate_result *r = run();
    ck_assert_int_eq(r->outcome, SIMULATE_COMPLETED);
    ck_assert_int_eq(r->mode, SIMULATE_MODE_POSTCOPY);
    ck_assert_uint_le(r->costly_ms, 10000 + 60000 + 5000);
}
END_TEST

/* ---- a forecast ---- */

START_TEST(the_forecast_after_the_second_pass_is_near)
{
    static const struct {
        uint64_t set, rate;
    } guests[] = {{600, 20}, {600, 500}, {8, 400}, {1000, 3000}};
    f.p.postcopy_allowed = true;
    writes(guests[_i].set, guests[_i].rate, POLICY_MODEL_SWEEP);
    const struct simulate_result *r = run();
    if (!r->forecast.known) /* it was over before */
        return;
    const uint64_t told = r->forecast.total_ms.best;
    ck_assert_uint_ge(told, r->total_ms * 8 / 10);
    ck_assert_uint_le(told, r->total_ms * 12 / 10);
    ck_assert_uint_le(r->forecast.total_ms.low, told);
    ck_assert_uint_ge(r->forecast.total_ms.high, told);
}
END_TEST

START_TEST(schedules_get_a_forecast_too)
{
    f.p.pacing = POLICY_PACING_SCHEDULE;
    writes(600, 20, POLICY_MODEL_SWEEP);
    run();
    ck_assert_uint_ge(f.n, 1);
    for (unsigned i = 0; i < f.n; i++)
        if (f.walks[i] > 0)
            ck_assert(f.seen[i].forecast.known);
}
END_TEST

/* ---- a goal ---- */

START_TEST(a_goal_that_is_met_changes_nothing)
{
    allow_everything();
    f.p.finish_within_ms = 60000;
    writes(600, 20, POLICY_MODEL_SWEEP);
    const struct simulate_result *r = run();
    ck_assert(!r->costly);
    ck_assert_uint_le(r->total_ms, 60000);
}
END_TEST

START_TEST(a_goal_takes_the_cheapest_thing_that_meets_it)
{
    allow_everything();
    f.p.slowdown_max_percent = 30;
    f.p.finish_within_ms = 30000;
    writes(900, 85, POLICY_MODEL_SWEEP); /* would take a minute */
    const struct simulate_result *r = run();
    ck_assert_int_eq(r->outcome, SIMULATE_COMPLETED);
    ck_assert_uint_le(r->total_ms, 30000);
    for (unsigned i = 0; i < f.n; i++)
        if (f.seen[i].action == POLICY_THROTTLE)
            ck_assert_uint_le(f.seen[i].value, 30);
}
END_TEST

START_TEST(a_limit_of_bandwidth_that_hinders_a_goal_is_raised)
{
    f.p.finish_within_ms = 15000;
    f.m.qemu.max_bandwidth_bytes_per_s = 40 * QF_MIB;
    const struct simulate_result *r = run();
    ck_assert(first(POLICY_SET_BANDWIDTH) != NULL);
    ck_assert_uint_gt(first(POLICY_SET_BANDWIDTH)->value, 60 * QF_MIB);
    ck_assert_uint_le(r->total_ms, 15000);
}
END_TEST

START_TEST(a_goal_out_of_reach_is_said_once_and_at_once)
{
    f.p.finish_within_ms = 5000;
    run();
    unsigned told = 0;
    for (unsigned i = 0; i < f.n; i++)
        if (strstr(f.seen[i].because, "5.0 s cannot be met") != NULL) {
            ck_assert(f.seen[i].is_notable);
            ck_assert_uint_eq(f.walks[i], 0); /* in the first pass */
            told++;
        }
    ck_assert_uint_eq(told, 1);
}
END_TEST

START_TEST(no_limit_is_lifted_for_a_goal_that_has_passed)
{
    struct policy_decision d;
    struct policy_run r;
    policy_run_init(&r);
    struct policy_sample s = {
        .started = true,
        .pass = 1,
        .total_bytes = 4096 * QF_MIB,
        .remaining_bytes = 4096 * QF_MIB,
        .downtime_limit_ms = 100,
        .bandwidth_limit_bytes_per_s = 40 * QF_MIB,
    };
    for (unsigned i = 0; i < 100; i++) {
        s.t_ns += 100 * QF_NS_PER_MS;
        s.elapsed_ns += 100 * QF_NS_PER_MS;
        s.transferred_bytes += 4 * QF_MIB;
        s.remaining_bytes -= 4 * QF_MIB;
        if (i == 80) /* an operator sets the goal when it is too late */
            f.p.finish_within_ms = 5000;
        policy_decide(&f.p, &r, &s, &d);
        ck_assert_int_ne(d.action, POLICY_SET_BANDWIDTH);
    }
    ck_assert(r.pace.goal_missed);
}
END_TEST

START_TEST(what_is_close_is_waited_for)
{
    /* 540 ms of the link is what is left over and over: a little noise, and it is below */
    allow_everything();
    f.p.throttle_allowed = false;
    writes(54, 4000, POLICY_MODEL_RANDOM);
    const struct simulate_result *r = run();
    ck_assert(was_said("it is close"));
    ck_assert_uint_ge(r->costly_walks, 3);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pace");
    TCase *tc = tcase_create("pace");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_loop_test(tc, a_guest_that_converges_is_left_alone, 0, 8);
    tcase_add_test(tc, a_floor_above_the_limit_raises_the_limit_to_just_above_it);
    tcase_add_test(tc, the_limit_is_never_raised_above_what_is_allowed);
    tcase_add_loop_test(tc, postcopy_no_later_than_after_the_second_pass, 0, 4);
    tcase_add_test(tc, a_throttle_is_computed_and_brings_it_through);
    tcase_add_test(tc, throttled_no_more_than_allowed_and_then_given_up);
    tcase_add_test(tc, nothing_allowed_gives_up_after_the_second_pass);
    tcase_add_loop_test(tc, the_guest_is_stopped_only_if_that_is_short_enough, 300, 301);
    tcase_add_loop_test(tc, the_guest_is_stopped_only_if_that_is_short_enough, 600, 601);
    tcase_add_test(tc, a_throttle_may_make_the_stop_short_enough);
    tcase_add_test(tc, refused_postcopy_is_not_asked_for_again);
    tcase_add_test(tc, bounds_too_wide_wait_for_one_more_pass_and_say_so);
    tcase_add_test(tc, a_guest_that_becomes_busy_is_judged_by_what_it_does_now);
    tcase_add_test(tc, nothing_costly_is_done_to_a_guest_whose_quiet_time_was_seen);
    tcase_add_loop_test(tc, a_rest_seen_in_the_first_pass_is_waited_for, 0, 2);
    for (int ms = 5800; ms <= 6500; ms += 100)
        tcase_add_loop_test(tc, a_pass_right_behind_the_rest_is_none_of_it, ms, ms + 1);
    tcase_add_test(tc, a_rest_that_is_too_busy_is_still_the_moment_to_switch);
    tcase_add_test(tc, a_rest_that_does_not_come_again_is_not_waited_for_for_ever);
    tcase_add_loop_test(tc, the_forecast_after_the_second_pass_is_near, 0, 4);
    tcase_add_test(tc, schedules_get_a_forecast_too);
    tcase_add_test(tc, a_goal_that_is_met_changes_nothing);
    tcase_add_test(tc, a_goal_takes_the_cheapest_thing_that_meets_it);
    tcase_add_test(tc, a_limit_of_bandwidth_that_hinders_a_goal_is_raised);
    tcase_add_test(tc, a_goal_out_of_reach_is_said_once_and_at_once);
    tcase_add_test(tc, no_limit_is_lifted_for_a_goal_that_has_passed);
    tcase_add_test(tc, what_is_close_is_waited_for);
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

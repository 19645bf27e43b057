/* Policies against models: how it is sampled, carried out, counted, and how it ends. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "policy/model_json.h"
#include "policy/policy_json.h"
#include "policy/simulate.h"
#include "schedules.h"

#define MIB (1024 * (uint64_t)1024)

enum { HEARD_MAX = 4096 };

static struct fixture {
    struct policy_model_spec spec;
    struct policy policy;
    struct simulate sim;
    struct policy_sample heard[HEARD_MAX]; /* of on_decision */
    struct policy_decision last;           /* other than WAIT */
    size_t n;
} f;

/* 1 GiB over 100 MiB/s; 200 MiB are written twice as fast as that. */
static void setup(void)
{
    memset(&f, 0, sizeof(f));
    policy_model_defaults(&f.spec);
    f.spec.guest.memory_bytes = QF_GIB;
    f.spec.guest.noise_percent = 0;
    f.spec.guest.n_sets = 1;
    f.spec.guest.sets[0] =
        (struct policy_model_set){"all", 200 * MIB, 200 * MIB, POLICY_MODEL_RANDOM};
    f.spec.link.rate_bytes_per_s = 100 * MIB;
    f.policy =
        (struct policy){.name = "own", .downtime_start_ms = 100, .downtime_max_ms = 500};
}

static void preset(const char *name)
{
    schedule_load(name, &f.policy);
}

static void hear(void *arg, const struct policy_sample *s, const struct policy_decision *d)
{
    ck_assert_ptr_eq(arg, &f);
    ck_assert_uint_lt(f.n, HEARD_MAX);
    f.heard[f.n++] = *s;
    if (d->action != POLICY_WAIT)
        f.last = *d;
}

static const struct simulate_result *run(void)
{
    static const struct simulate_ops ops = {.on_decision = hear};
    f.n = 0;
    simulate_init(&f.sim, &f.policy, &f.spec, 1, &ops, &f);
    simulate_run(&f.sim);
    return &f.sim.result;
}

START_TEST(an_idle_guest_completes_without_a_decision)
{
    f.spec.guest.sets[0].writes_bytes_per_s = 0;
    preset("minimal-downtime");
    const struct simulate_result *r = run();
    ck_assert_int_eq(r->outcome, SIMULATE_COMPLETED);
    ck_assert_int_eq(r->mode, SIMULATE_MODE_PRECOPY);
    ck_assert_uint_eq(r->decisions, 0);
    ck_assert(!r->costly);
    ck_assert_str_eq(r->reason, "");
    ck_assert(r->total_ms > 10000 && r->total_ms < 10600);
    ck_assert(r->transferred_bytes > QF_GIB && r->transferred_bytes < QF_GIB + 4 * MIB);
    ck_assert(r->blackout_ms >= r->downtime_ms);
}
END_TEST

START_TEST(samples_come_at_each_pass_and_in_between_as_the_engine_takes_them)
{
    preset("minimal-downtime");
    f.policy.throttle_allowed = false;
    (void)run();
    ck_assert(!f.heard[0].started);
    int64_t last_ns = f.heard[0].t_ns;
    ck_assert_int_eq(last_ns, qf_ms_to_ns(SIMULATE_T0_MS));
    for (size_t i = 1; i < f.n; i++) {
        const struct policy_sample *s = &f.heard[i];
        ck_assert(s->started && s->t_ns >= last_ns);
        ck_assert_int_le(s->t_ns - last_ns, qf_ms_to_ns(1000));
        if (i > 1 && s->pass == f.heard[i - 1].pass)
            ck_assert_int_ge(s->t_ns - last_ns, qf_ms_to_ns(50));
        if (i > 1)
            ck_assert_uint_le(s->pass, f.heard[i - 1].pass + 1); /* none is missed */
        last_ns = s->t_ns;
    }
    ck_assert_uint_ge(f.heard[f.n - 1].pass, 10);
}
END_TEST

START_TEST(postcopy_is_carried_out)
{
    preset("post-copy");
    const struct simulate_result *r = run();
    ck_assert_int_eq(r->outcome, SIMULATE_COMPLETED);
    ck_assert_int_eq(r->mode, SIMULATE_MODE_POSTCOPY);
    ck_assert(r->costly && r->costly_action == POLICY_POSTCOPY);
    ck_assert_uint_eq(r->costly_walks, 6);
    ck_assert(r->postcopy_ms > 1000 && r->postcopy_ms < 2500);
    ck_assert(r->degraded_ms > 0 && r->degraded_ms < r->postcopy_ms);
    ck_assert_uint_eq(r->decisions, 3); /* two downtime limits before */
    ck_assert_str_eq(r->reason, f.last.because);
    ck_assert_uint_eq(f.sim.model.downtime_limit_ms, 200);
}
END_TEST

START_TEST(postcopy_that_breaks_is_lost)
{
    f.spec.qemu.postcopy_breaks = true;
    f.spec.qemu.postcopy_breaks_after_ms = 300;
    preset("post-copy");
    ck_assert_int_eq(run()->outcome, SIMULATE_LOST);
}
END_TEST

START_TEST(a_throttle_slows_the_guest_until_it_fits)
{
    preset("minimal-downtime");
    f.policy.downtime_max_ms = 1000;
    f.policy.throttle_initial_percent = 80;
    f.policy.throttle_max_percent = 90;
    f.spec.guest.sets[0].writes_bytes_per_s = 400 * MIB;
    const struct simulate_result *r = run();
    ck_assert_int_eq(r->outcome, SIMULATE_COMPLETED);
    ck_assert_int_eq(r->costly_action, POLICY_THROTTLE);
    ck_assert(f.sim.model.throttle_percent >= 80 && f.sim.model.throttle_percent <= 90);
    ck_assert(r->throttle_percent_ms > 100000);
}
END_TEST

START_TEST(a_stop_before_memory_moves_is_a_blackout_of_all_of_it)
{
    preset("stop-and-copy");
    const struct simulate_result *r = run();
    ck_assert_int_eq(r->outcome, SIMULATE_COMPLETED);
    ck_assert_int_eq(r->mode, SIMULATE_MODE_STOP);
    ck_assert(r->total_ms < 10600);
    ck_assert(r->blackout_ms >= r->total_ms && r->blackout_ms < r->total_ms + 50);
    ck_assert(r->downtime_ms < 600);
    ck_assert_uint_eq(r->costly_ms, 0);
}
END_TEST

START_TEST(a_stop_on_the_way_ends_it)
{
    preset("suspend-if-needed");
    f.policy.throttle_allowed = false;
    const struct simulate_result *r = run();
    ck_assert_int_eq(r->outcome, SIMULATE_COMPLETED);
    ck_assert_int_eq(r->mode, SIMULATE_MODE_PRECOPY);
    ck_assert(r->blackout_ms > 1000 && r->blackout_ms < 3000);
    ck_assert_int_eq(r->costly_action, POLICY_PAUSE);
}
END_TEST

START_TEST(the_first_costly_decision_is_told_and_the_last_reason)
{
    preset("suspend-if-needed");
    const struct simulate_result *r = run();
    ck_assert_int_eq(r->mode, SIMULATE_MODE_PRECOPY);
    ck_assert_int_eq(r->costly_action, POLICY_THROTTLE);
    ck_assert_uint_lt(r->costly_ms, (uint64_t)(f.last.wake_ns / QF_NS_PER_MS));
    ck_assert_int_eq(f.last.action, POLICY_PAUSE);
    ck_assert_str_eq(r->reason, f.last.because);
}
END_TEST

START_TEST(giving_up_leaves_the_guest_where_it_is)
{
    preset("minimal-downtime");
    f.policy.throttle_allowed = false;
    const struct simulate_result *r = run();
    ck_assert_int_eq(r->outcome, SIMULATE_ABORTED);
    ck_assert_int_eq(r->costly_action, POLICY_ABORT);
    ck_assert_uint_eq(r->blackout_ms, 0);
    ck_assert_uint_eq(r->total_ms, r->costly_ms);
    ck_assert_str_eq(r->reason, f.last.because);
}
END_TEST

START_TEST(a_time_limit_is_met_to_the_millisecond)
{
    f.policy.timeout_ms = 23456;
    const struct simulate_result *r = run();
    ck_assert_int_eq(r->outcome, SIMULATE_ABORTED);
    ck_assert_uint_eq(r->total_ms, 23456);
}
END_TEST

START_TEST(without_limits_it_is_unfinished_after_a_day)
{
    f.spec.link.rate_bytes_per_s = MIB / 4; /* the first pass takes an hour */
    const struct simulate_result *r =
        (simulate_init(&f.sim, &f.policy, &f.spec, 1, NULL, NULL), simulate_run(&f.sim),
         &f.sim.result);
    ck_assert_int_eq(r->outcome, SIMULATE_UNFINISHED);
    ck_assert_uint_ge(r->total_ms, SIMULATE_CAP_MS);
    ck_assert_uint_lt(r->total_ms, SIMULATE_CAP_MS + 1001);
}
END_TEST

START_TEST(the_policys_bandwidth_is_set)
{
    f.policy.bandwidth_bytes_per_s = 10 * MIB;
    f.spec.guest.sets[0].writes_bytes_per_s = 0;
    const struct simulate_result *r = run();
    ck_assert(r->total_ms > 100000 && r->total_ms < 104000);
    ck_assert_uint_eq(f.heard[5].bandwidth_limit_bytes_per_s, 10 * MIB);
}
END_TEST

START_TEST(the_first_throttle_is_what_the_decision_says)
{
    const struct policy_sample s = {.started = true};
    struct policy_decision d = {
        .action = POLICY_THROTTLE, .value = 70, .throttle_first_percent = 55};
    preset("minimal-downtime");
    simulate_init(&f.sim, &f.policy, &f.spec, 1, NULL, NULL);
    ck_assert_uint_eq(f.sim.model.throttle_max, 1);
    simulate_carry_out(&f.sim, &s, &d);
    ck_assert_uint_eq(f.sim.model.throttle_first, 55);
    ck_assert_uint_eq(f.sim.model.throttle_increment, 10);
    ck_assert_uint_eq(f.sim.model.throttle_max, 70);
    d.throttle_first_percent = 0;
    simulate_carry_out(&f.sim, &s, &d);
    ck_assert_uint_eq(f.sim.model.throttle_first, 20); /* the policy's */
}
END_TEST

START_TEST(the_forecast_at_the_end_of_the_second_walk_is_kept)
{
    const struct policy_sample s = {.started = true, .elapsed_ns = qf_ms_to_ns(7000)};
    struct policy_decision d = {.new_pass = true, .forecast = {.known = true}};
    preset("minimal-downtime");
    simulate_init(&f.sim, &f.policy, &f.spec, 1, NULL, NULL);
    for (uint64_t i = 0; i < 5; i++) {
        f.sim.run.trend.n_passes = i; /* the first boundary is the beginning */
        d.forecast.total_ms.best = i * 100;
        simulate_carry_out(&f.sim, &s, &d);
    }
    ck_assert(f.sim.result.forecast.known);
    ck_assert_uint_eq(f.sim.result.forecast.total_ms.best, 300);
    ck_assert_uint_eq(f.sim.result.forecast_ms, 7000);
}
END_TEST

START_TEST(every_built_in_model_ends_under_every_policy)
{
    struct qf_err err;
    for (size_t i = 0; i < policy_preset_count(); i++) {
        const char *model = policy_model_name((size_t)_i);
        ck_assert(policy_model_builtin(model, &f.spec, &err) == 0);
        ck_assert(policy_preset_load(policy_preset_name(i), &f.policy, &err) == 0);
        if (f.policy.timeout_ms == 0) /* or it would be a day */
            f.policy.timeout_ms = 1800 * 1000;
        simulate_init(&f.sim, &f.policy, &f.spec, 7, NULL, NULL);
        simulate_run(&f.sim);
        const struct simulate_result one = f.sim.result;
        ck_assert_msg(one.outcome == SIMULATE_COMPLETED ||
                          one.outcome == SIMULATE_ABORTED ||
                          one.outcome == SIMULATE_UNFINISHED,
                      "%s, %s", model, f.policy.name);
        simulate_init(&f.sim, &f.policy, &f.spec, 7, NULL, NULL);
        simulate_run(&f.sim);
        ck_assert(memcmp(&one, &f.sim.result, sizeof(one)) == 0); /* repeatable */
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("simulate");
    tcase_set_timeout(tc, 300);
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, an_idle_guest_completes_without_a_decision);
    tcase_add_test(tc, samples_come_at_each_pass_and_in_between_as_the_engine_takes_them);
    tcase_add_test(tc, postcopy_is_carried_out);
    tcase_add_test(tc, postcopy_that_breaks_is_lost);
    tcase_add_test(tc, a_throttle_slows_the_guest_until_it_fits);
    tcase_add_test(tc, a_stop_before_memory_moves_is_a_blackout_of_all_of_it);
    tcase_add_test(tc, a_stop_on_the_way_ends_it);
    tcase_add_test(tc, the_first_costly_decision_is_told_and_the_last_reason);
    tcase_add_test(tc, giving_up_leaves_the_guest_where_it_is);
    tcase_add_test(tc, a_time_limit_is_met_to_the_millisecond);
    tcase_add_test(tc, without_limits_it_is_unfinished_after_a_day);
    tcase_add_test(tc, the_policys_bandwidth_is_set);
    tcase_add_test(tc, the_first_throttle_is_what_the_decision_says);
    tcase_add_test(tc, the_forecast_at_the_end_of_the_second_walk_is_kept);
    tcase_add_loop_test(tc, every_built_in_model_ends_under_every_policy, 0,
                        (int)policy_model_count());
    Suite *suite = suite_create("policy/simulate");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

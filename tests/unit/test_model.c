/* The model, mechanism by mechanism, each against what it must come to on paper. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "policy/model.h"
#include "policy/model_world.h"

#define MIB (1024 * 1024)

static struct fixture {
    struct policy_model_spec spec;
    struct policy_model_options options;
    struct policy_model m;
} f;

/* 1 GiB over 100 MiB/s, one set of 200 MiB written in order at 25 MiB/s, nothing random. */
static void setup(void)
{
    memset(&f, 0, sizeof(f));
    f.spec.guest = (struct policy_model_guest){
        .memory_bytes = QF_GIB,
        .busy_percent = 100,
        .cpus = 1,
        .n_sets = 1,
        .sets = {{"all", 200 * MIB, 25 * MIB, POLICY_MODEL_SWEEP}},
        .repeats = true,
    };
    f.spec.link.rate_bytes_per_s = 100 * MIB;
    f.spec.qemu.throttle_trigger_percent = 50;
    f.options = (struct policy_model_options){
        .downtime_limit_ms = 100,
        .bandwidth_bytes_per_s = POLICY_UNKNOWN,
    };
}

static void start(void)
{
    policy_model_init(&f.m, &f.spec, &f.options, 1);
}

static double seconds(void)
{
    return (double)f.m.now_ns / 1e9;
}

/* To the next pass boundary; what it left over, in MiB. */
static double next_pass(void)
{
    enum policy_model_event event;
    do
        event = policy_model_step(&f.m, f.m.now_ns + 1000 * QF_NS_PER_MS);
    while (event == POLICY_MODEL_TIME);
    ck_assert_int_eq(event, POLICY_MODEL_PASS);
    return policy_model_remaining(&f.m) / MIB;
}

/* To the end, at most 1000 passes. */
static void run(void)
{
    for (int i = 0; i < 1000000; i++)
        if (policy_model_step(&f.m, f.m.now_ns + 1000 * QF_NS_PER_MS) == POLICY_MODEL_ENDED)
            return;
    ck_abort_msg("it does not end");
}

static void run_to(double s)
{
    const int64_t until_ns = (int64_t)(s * 1e9);
    while (f.m.now_ns < until_ns)
        ck_assert_int_ne(policy_model_step(&f.m, until_ns), POLICY_MODEL_ENDED);
}

static void near(double value, double expected, double percent)
{
    ck_assert_msg(fabs(value - expected) <= fabs(expected) * percent / 100 + 1e-9,
                  "%g, expected %g within %g %%", value, expected, percent);
}

/* --- arithmetic --- */

START_TEST(decay_is_the_exponential_function)
{
    for (double x = 0; x < 50; x += 0.037)
        near(policy_model_decay(x), exp(-x), 1e-8);
    ck_assert(policy_model_decay(1e6) == 0);
}
END_TEST

/* --- passes --- */

START_TEST(a_steady_guest_shrinks_by_the_ratio_of_its_rate_to_the_link)
{
    start();
    ck_assert(next_pass() == 1024);
    double left = next_pass();
    near(left, 200 + 10, 3); /* all of the set, and what was not yet sent: less than 10 */
    for (int i = 0; i < 2; i++) {
        const double began = left;
        left = next_pass();
        /* a pass ends one threshold early (10 MiB), which is then found still pending */
        near(left, (began - 10) / 4 + 10, 12);
    }
}
END_TEST

START_TEST(random_writes_saturate_exponentially)
{
    f.spec.guest.sets[0].pattern = POLICY_MODEL_RANDOM;
    f.spec.guest.sets[0].writes_bytes_per_s = 100 * MIB;
    start();
    (void)next_pass();
    (void)next_pass();
    const double began_s = seconds();
    (void)next_pass();
    const double t = seconds() - began_s;
    near(policy_model_remaining(&f.m) / MIB, 200 * (1 - exp(-t / 2)), 8);
}
END_TEST

START_TEST(a_guest_that_writes_nothing_needs_one_pass)
{
    f.spec.guest.sets[0].writes_bytes_per_s = 0;
    start();
    run();
    ck_assert_int_eq(f.m.stage, POLICY_MODEL_COMPLETED);
    near(seconds(), 10.24, 1);
    ck_assert_uint_eq(f.m.passes, 3); /* setup, the end of the pass, the stopped guest */
    near(f.m.wire, 1024.0 * MIB * 4104 / 4096, 0.01);
}
END_TEST

START_TEST(it_switches_when_what_is_pending_fits_the_downtime_limit)
{
    start();
    run();
    ck_assert(f.m.downtime_ns <= 100 * QF_NS_PER_MS);
    setup();
    f.spec.guest.sets[0].writes_bytes_per_s = 3000 * (uint64_t)MIB; /* all, in 70 ms */
    f.options.downtime_limit_ms = 1900;                             /* 190 MiB: not quite */
    start();
    run_to(60);
    ck_assert_int_eq(f.m.stage, POLICY_MODEL_ACTIVE);
    policy_model_set_downtime(&f.m, 2100);
    run();
    near((double)f.m.downtime_ns / 1e9, 2.0, 5);
}
END_TEST

START_TEST(the_switchover_ignores_max_bandwidth)
{
    f.options.bandwidth_bytes_per_s = 20 * MIB;
    f.spec.guest.sets[0].writes_bytes_per_s = 10 * MIB;
    f.spec.qemu.switchover_ms = 30;
    f.options.downtime_limit_ms = 1000;
    f.spec.qemu.resume_ms = 11;
    start();
    run();
    near(seconds(), 68, 12);
    ck_assert_int_eq(f.m.blackout_ns - f.m.downtime_ns, 11 * QF_NS_PER_MS);
    ck_assert(f.m.downtime_ns < (30 + 210) * QF_NS_PER_MS); /* 20 MiB at 100, not at 20 */
    ck_assert(f.m.downtime_ns > 30 * QF_NS_PER_MS);
}
END_TEST

START_TEST(what_waits_in_sockets_is_sent_while_the_guest_is_stopped)
{
    f.spec.guest.sets[0].writes_bytes_per_s = 0;
    f.spec.link.buffer_bytes = 5 * MIB;
    start();
    run();
    /* and what fits the limit: 0 to 10 MiB */
    ck_assert(f.m.downtime_ns >= 50 * QF_NS_PER_MS &&
              f.m.downtime_ns <= 150 * QF_NS_PER_MS);
    f.options.bandwidth_bytes_per_s = 90 * MIB; /* holds QEMU back: nothing waits */
    f.options.downtime_limit_ms = 1;
    start();
    run();
    ck_assert(f.m.downtime_ns < 5 * QF_NS_PER_MS);
}
END_TEST

START_TEST(max_bandwidth_is_kept)
{
    f.options.bandwidth_bytes_per_s = 20 * MIB;
    start();
    run_to(10);
    near(f.m.wire / MIB, 200, 2);
    policy_model_set_bandwidth(&f.m, 0);
    const double before = f.m.wire;
    run_to(12);
    near((f.m.wire - before) / MIB, 200, 5);
}
END_TEST

START_TEST(measured_bandwidth_is_the_links)
{
    struct policy_sample s;
    start();
    run_to(5);
    policy_model_sample(&f.m, 1000, &s);
    near((double)s.bandwidth_bytes_per_s, 100 * MIB, 1);
    ck_assert_uint_eq(s.pass, 1);
    ck_assert_int_eq(s.t_ns, f.m.now_ns + 1000);
    near((double)s.walked_bytes, 500 * MIB, 1);
    near((double)s.remaining_bytes, 524 * MIB, 1);
}
END_TEST

START_TEST(zero_pages_cost_time_to_look_at_and_nine_bytes)
{
    f.spec.guest.sets[0].writes_bytes_per_s = 0;
    f.spec.guest.zero_bytes = 512 * MIB;
    f.spec.qemu.scan_bytes_per_s = 256 * MIB;
    start();
    run();
    near(seconds(), 5.12 + 2, 2);
    near(f.m.wire, 512.0 * MIB * 4104 / 4096 + 512.0 * MIB * 9 / 4096, 0.01);
    near(f.m.walked, 1024.0 * MIB, 0.01);
}
END_TEST

START_TEST(zero_pages_may_lie_behind_the_others)
{
    f.spec.guest.sets[0].writes_bytes_per_s = 0;
    f.spec.guest.zero_bytes = 512 * MIB;
    f.spec.guest.zero_last = true;
    f.spec.qemu.scan_bytes_per_s = 256 * MIB;
    start();
    run_to(3);
    near(policy_model_remaining(&f.m) / MIB, 1024 - 300, 1); /* nothing for free yet */
    ck_assert(f.m.zero_pending == 1);
    run();
    near(seconds(), 5.12 + 2, 3);
    ck_assert(f.m.downtime_ns <=
              40 * QF_NS_PER_MS + 1); /* the rest is zero: looked at only */
    near(f.m.walked, 1024.0 * MIB, 0.01);
}
END_TEST

START_TEST(nothing_is_lost_on_the_way)
{
    struct policy_sample s;
    start();
    for (int i = 0; i < 100; i++) {
        run_to(i / 10.0);
        if (f.m.passes > 1)
            break;
        policy_model_sample(&f.m, 0, &s);
        near((double)(s.walked_bytes + s.remaining_bytes), QF_GIB, 0.001);
    }
    ck_assert(f.m.pending[0] >= 0 && f.m.pending[0] <= 1);
}
END_TEST

START_TEST(a_sync_takes_time_by_the_size_of_memory)
{
    f.spec.guest.sets[0].writes_bytes_per_s = 0;
    f.spec.qemu.sync_per_tib_ms = 1024 * 500; /* half a second here */
    start();
    run();
    near(seconds(), 10.24 + 0.5 + 0.5, 1);
}
END_TEST

START_TEST(always_syncing_runs_the_counter_away)
{
    f.spec.qemu.syncs_always = true;
    f.options.postcopy = true;
    f.options.bandwidth_bytes_per_s = 50 * MIB;
    f.spec.guest.sets[0].writes_bytes_per_s = 500 * MIB;
    start();
    run_to(60);
    ck_assert(f.m.passes > 500);
    ck_assert(policy_model_remaining(&f.m) > 150.0 * MIB); /* hovers at the set */
    setup();
    f.spec.qemu.syncs_always = true; /* but the capability is off */
    f.spec.guest.sets[0].writes_bytes_per_s = 500 * MIB;
    start();
    run_to(60);
    ck_assert(f.m.passes < 30);
}
END_TEST

/* --- the guest --- */

START_TEST(phases_change_what_is_written)
{
    f.spec.guest.n_phases = 2;
    f.spec.guest.phases[0] = (struct policy_model_phase){10000, {2000}};
    f.spec.guest.phases[1] = (struct policy_model_phase){5000, {0}};
    start();
    ck_assert(policy_model_write_rate(&f.m, 0) == 50.0 * MIB);
    f.m.now_ns = qf_ms_to_ns(14999);
    ck_assert(policy_model_write_rate(&f.m, 0) == 0);
    ck_assert_int_eq(policy_model_world_change(&f.m), qf_ms_to_ns(15000));
    f.m.now_ns = qf_ms_to_ns(15000);
    ck_assert(policy_model_write_rate(&f.m, 0) == 50.0 * MIB);
    f.spec.guest.repeats = false;
    ck_assert(policy_model_write_rate(&f.m, 0) == 0);
    f.m.now_ns = qf_ms_to_ns(1000000);
    ck_assert(policy_model_write_rate(&f.m, 0) == 0);
}
END_TEST

START_TEST(a_cycle_can_start_anywhere)
{
    f.spec.guest.n_phases = 1;
    f.spec.guest.phases[0] = (struct policy_model_phase){60000, {1000}};
    f.spec.guest.start_ms = 7000;
    start();
    ck_assert_int_eq(f.m.offset_ns, qf_ms_to_ns(7000));
    f.spec.guest.starts_anywhere = true;
    int64_t seen[4];
    for (uint64_t seed = 0; seed < 4; seed++) {
        policy_model_init(&f.m, &f.spec, &f.options, seed);
        seen[seed] = f.m.offset_ns;
        ck_assert(seen[seed] >= 0 && seen[seed] < qf_ms_to_ns(60000));
    }
    ck_assert(seen[0] != seen[1] && seen[1] != seen[2] && seen[2] != seen[3]);
}
END_TEST

START_TEST(a_throttle_takes_only_what_the_guest_uses)
{
    start();
    f.m.throttle_percent = 40;
    ck_assert(policy_model_speed(&f.m) == 0.6);
    f.spec.guest.busy_percent = 50;
    ck_assert(policy_model_speed(&f.m) == 1);
    f.m.throttle_percent = 75;
    ck_assert(policy_model_speed(&f.m) == 0.5);
    policy_model_stop_guest(&f.m);
    ck_assert(policy_model_speed(&f.m) == 0);
}
END_TEST

START_TEST(a_stopped_guest_is_done_after_what_is_pending)
{
    f.spec.guest.sets[0].writes_bytes_per_s = 1000 * MIB;
    f.spec.qemu.resume_ms = 7;
    start();
    run_to(30.05);
    const double left = policy_model_remaining(&f.m) + f.m.written[0] * 200 * MIB;
    policy_model_stop_guest(&f.m);
    run();
    near(seconds() - 30.05, left / (100.0 * MIB), 12);
    near((double)f.m.blackout_ns / 1e9, seconds() - 30.05 + 0.007, 1);
    ck_assert(f.m.downtime_ns < f.m.blackout_ns);
}
END_TEST

/* --- auto-converge --- */

/* 200 MiB again and again, at 100 MiB/s: a pass each 2 s, in which all is dirtied. */
static void never_converges(void)
{
    f.spec.guest.sets[0].writes_bytes_per_s = 400 * MIB;
    f.options.auto_converge = true;
    start();
}

START_TEST(auto_converge_is_held_at_one_percent)
{
    never_converges();
    run_to(40);
    ck_assert_uint_eq(f.m.throttle_percent, 1);
}
END_TEST

START_TEST(throttle_steps_come_with_every_second_pass)
{
    never_converges();
    policy_model_throttle(&f.m, 20, 10, 45);
    (void)next_pass();
    /* after the first pass, of which a fifth was dirtied again, nothing */
    static const uint32_t expected[] = {0, 0, 20, 20, 30, 30, 40, 40, 45, 45};
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        (void)next_pass();
        ck_assert_uint_eq(f.m.throttle_percent, expected[i]);
    }
}
END_TEST

START_TEST(passes_of_less_than_a_second_do_not_count)
{
    f.spec.guest.sets[0].bytes = 50 * MIB; /* half a second */
    never_converges();
    policy_model_throttle(&f.m, 20, 10, 80);
    run_to(12.2); /* looked at after 10.3 s (no), 11.5 s (once) */
    ck_assert_uint_eq(f.m.throttle_percent, 0);
    run_to(13.2); /* 12.7 s (twice) */
    ck_assert_uint_eq(f.m.throttle_percent, 20);
}
END_TEST

START_TEST(a_guest_below_the_trigger_is_not_throttled)
{
    f.spec.guest.memory_bytes = 400 * MIB;
    f.spec.guest.sets[0].writes_bytes_per_s = 40 * MIB; /* 40 %, the trigger is at 50 */
    f.options.auto_converge = true;
    f.options.downtime_limit_ms = 1;
    start();
    policy_model_throttle(&f.m, 20, 10, 80);
    run();
    ck_assert(f.m.throttle_percent_ns == 0);
}
END_TEST

START_TEST(throttle_percent_adds_up_over_time)
{
    never_converges();
    policy_model_throttle(&f.m, 30, 10, 30);
    while (f.m.throttle_percent == 0)
        (void)next_pass();
    const double from_s = seconds();
    run_to(from_s + 10);
    near(f.m.throttle_percent_ns / 1e9, 30 * 10, 0.1);
}
END_TEST

/* --- the link --- */

START_TEST(a_drop_stops_everything_for_its_time)
{
    f.spec.guest.sets[0].writes_bytes_per_s = 0;
    f.spec.link.n_drops = 1;
    f.spec.link.drops[0] = (struct policy_model_drop){5000, 3000};
    start();
    run_to(5.0);
    const double sent = f.m.wire;
    run_to(7.9);
    ck_assert(f.m.wire == sent);
    run();
    near(seconds(), 13.24, 1);
}
END_TEST

START_TEST(changes_come_again_with_the_cycle)
{
    f.spec.link.n_changes = 1;
    f.spec.link.changes[0] = (struct policy_model_change){2000, 10 * MIB};
    f.spec.link.repeat_ms = 3000;
    start();
    const double expected[] = {100, 100, 10, 100, 100, 10};
    for (size_t i = 0; i < 6; i++) {
        f.m.now_ns = qf_ms_to_ns(i * 1000 + 500);
        ck_assert(policy_model_link_rate(&f.m) == expected[i] * MIB);
    }
    ck_assert_int_eq(policy_model_world_change(&f.m), qf_ms_to_ns(6000));
}
END_TEST

START_TEST(loss_and_latency_bound_tcp)
{
    f.spec.link.loss_ppm = 100;
    f.spec.link.latency_ns = 40000000;
    start();
    near(policy_model_link_rate(&f.m), 1.22 * 1460 / 0.04 / 0.01, 0.1);
    f.spec.link.latency_ns = 100000; /* no bound any more */
    ck_assert(policy_model_link_rate(&f.m) == 100.0 * MIB);
}
END_TEST

/* --- post-copy --- */

START_TEST(postcopy_ends_what_does_not_converge)
{
    f.spec.guest.sets[0].writes_bytes_per_s = 400 * MIB;
    f.spec.qemu.postcopy_switch_ms = 40;
    f.options.postcopy = true;
    start();
    run_to(30);
    const double left = policy_model_remaining(&f.m);
    policy_model_postcopy(&f.m);
    enum policy_model_event event;
    do
        event = policy_model_step(&f.m, f.m.now_ns + qf_ms_to_ns(1000));
    while (event == POLICY_MODEL_TIME || event == POLICY_MODEL_PASS);
    ck_assert_int_eq(event, POLICY_MODEL_SWITCHED);
    ck_assert(seconds() < 30.2);
    near((double)f.m.downtime_ns / 1e6, 40, 1);
    ck_assert(policy_model_remaining(&f.m) >= left * 0.9);
    run();
    ck_assert_int_eq(f.m.stage, POLICY_MODEL_COMPLETED);
    near((double)f.m.postcopy_time_ns / 1e9, 2, 10); /* 200 MiB at most */
    ck_assert(f.m.degraded_ns > 0 && f.m.degraded_ns < (double)f.m.postcopy_time_ns);
}
END_TEST

START_TEST(postcopy_needs_its_capability)
{
    start();
    policy_model_postcopy(&f.m);
    ck_assert(!f.m.postcopy_asked);
}
END_TEST

START_TEST(postcopy_keeps_to_its_own_bandwidth)
{
    f.spec.guest.sets[0].writes_bytes_per_s = 0;
    f.options.postcopy = true;
    f.options.postcopy_bandwidth_bytes_per_s = 10 * MIB;
    start();
    run_to(5);
    policy_model_postcopy(&f.m);
    run();
    near((double)f.m.postcopy_time_ns / 1e9, 52.4, 2);
}
END_TEST

START_TEST(faults_slow_the_guest_by_the_round_trip)
{
    f.spec.guest.sets[0].writes_bytes_per_s = 400 * MIB;
    f.options.postcopy = true;
    double degraded[2];
    for (int i = 0; i < 2; i++) {
        f.spec.link.latency_ns = i == 0 ? 100000 : 20000000;
        start();
        run_to(15);
        policy_model_postcopy(&f.m);
        run();
        degraded[i] = f.m.degraded_ns;
    }
    ck_assert(degraded[1] > degraded[0]);
}
END_TEST

START_TEST(a_break_in_postcopy_loses_the_guest)
{
    f.options.postcopy = true;
    f.spec.qemu.postcopy_breaks = true;
    f.spec.qemu.postcopy_breaks_after_ms = 500;
    f.spec.guest.sets[0].writes_bytes_per_s = 400 * MIB;
    start();
    run_to(30);
    policy_model_postcopy(&f.m);
    run();
    ck_assert_int_eq(f.m.stage, POLICY_MODEL_LOST);
    ck_assert_int_eq(policy_model_step(&f.m, INT64_MAX), POLICY_MODEL_ENDED);
}
END_TEST

/* --- noise and seeds --- */

static double total_with(uint64_t seed)
{
    policy_model_init(&f.m, &f.spec, &f.options, seed);
    run();
    return seconds();
}

START_TEST(the_same_seed_gives_the_same_run_and_another_does_not)
{
    f.spec.guest.noise_percent = 5;
    f.spec.link.noise_percent = 5;
    const double one = total_with(1);
    ck_assert(total_with(1) == one);
    ck_assert(total_with(2) != one);
    double sum = 0;
    for (uint64_t seed = 0; seed < 50; seed++)
        sum += total_with(seed);
    f.spec.guest.noise_percent = 0;
    f.spec.link.noise_percent = 0;
    near(sum / 50, total_with(1), 3); /* noise, no bias */
}
END_TEST

START_TEST(how_often_one_looks_changes_nothing)
{
    start();
    run();
    const double once = seconds();
    start();
    while (policy_model_step(&f.m, f.m.now_ns + 7 * QF_NS_PER_MS) != POLICY_MODEL_ENDED)
        ck_assert(seconds() < 1000);
    near(seconds(), once, 2);
}
END_TEST

START_TEST(a_terabyte_ends)
{
    f.spec.guest.memory_bytes = QF_GIB * 1024;
    f.spec.link.rate_bytes_per_s = 12500000000;
    start();
    run();
    near(seconds(), 1024.0 * 1024 * 1024 * 1024 * 4104 / 4096 / 12.5e9, 1);
}
END_TEST

/* --- taking over --- */

START_TEST(it_takes_over_where_a_migration_stood)
{
    struct policy_model_state state = {
        .now_ns = qf_ms_to_ns(20000),
        .passes = 4,
        .remaining_bytes = 30 * MIB,
        .transferred_bytes = 1300 * (uint64_t)MIB,
        .walked_bytes = 1299 * (uint64_t)MIB,
        .bandwidth_bytes_per_s = 100 * MIB,
        .synced_ns = qf_ms_to_ns(19500),
        .written_ns = qf_ms_to_ns(2000),
    };
    struct policy_sample s;
    start();
    policy_model_adopt(&f.m, &state);
    policy_model_sample(&f.m, 0, &s);
    ck_assert_uint_eq(s.pass, 4);
    ck_assert_uint_eq(s.transferred_bytes, state.transferred_bytes);
    near((double)s.remaining_bytes, 30 * MIB, 0.1);
    near(f.m.written[0] * 200, 12.5, 0.1);
    run();
    ck_assert(seconds() > 20 && seconds() < 21.5);
}
END_TEST

START_TEST(in_the_first_pass_all_kinds_are_pending_alike)
{
    const struct policy_model_state state = {
        .now_ns = qf_ms_to_ns(5000), .passes = 1, .remaining_bytes = QF_GIB / 2};
    start();
    policy_model_adopt(&f.m, &state);
    near(f.m.pending[0], 0.5, 0.1);
    near(f.m.cold_pending, 0.5, 0.1);
    near(policy_model_remaining(&f.m), QF_GIB / 2.0, 0.1);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("model");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, decay_is_the_exponential_function);
    tcase_add_test(tc, a_steady_guest_shrinks_by_the_ratio_of_its_rate_to_the_link);
    tcase_add_test(tc, random_writes_saturate_exponentially);
    tcase_add_test(tc, a_guest_that_writes_nothing_needs_one_pass);
    tcase_add_test(tc, it_switches_when_what_is_pending_fits_the_downtime_limit);
    tcase_add_test(tc, the_switchover_ignores_max_bandwidth);
    tcase_add_test(tc, what_waits_in_sockets_is_sent_while_the_guest_is_stopped);
    tcase_add_test(tc, max_bandwidth_is_kept);
    tcase_add_test(tc, measured_bandwidth_is_the_links);
    tcase_add_test(tc, zero_pages_cost_time_to_look_at_and_nine_bytes);
    tcase_add_test(tc, zero_pages_may_lie_behind_the_others);
    tcase_add_test(tc, nothing_is_lost_on_the_way);
    tcase_add_test(tc, a_sync_takes_time_by_the_size_of_memory);
    tcase_add_test(tc, always_syncing_runs_the_counter_away);
    tcase_add_test(tc, phases_change_what_is_written);
    tcase_add_test(tc, a_cycle_can_start_anywhere);
    tcase_add_test(tc, a_throttle_takes_only_what_the_guest_uses);
    tcase_add_test(tc, a_stopped_guest_is_done_after_what_is_pending);
    tcase_add_test(tc, auto_converge_is_held_at_one_percent);
    tcase_add_test(tc, throttle_steps_come_with_every_second_pass);
    tcase_add_test(tc, passes_of_less_than_a_second_do_not_count);
    tcase_add_test(tc, a_guest_below_the_trigger_is_not_throttled);
    tcase_add_test(tc, throttle_percent_adds_up_over_time);
    tcase_add_test(tc, a_drop_stops_everything_for_its_time);
    tcase_add_test(tc, changes_come_again_with_the_cycle);
    tcase_add_test(tc, loss_and_latency_bound_tcp);
    tcase_add_test(tc, postcopy_ends_what_does_not_converge);
    tcase_add_test(tc, postcopy_needs_its_capability);
    tcase_add_test(tc, postcopy_keeps_to_its_own_bandwidth);
    tcase_add_test(tc, faults_slow_the_guest_by_the_round_trip);
    tcase_add_test(tc, a_break_in_postcopy_loses_the_guest);
    tcase_add_test(tc, the_same_seed_gives_the_same_run_and_another_does_not);
    tcase_add_test(tc, how_often_one_looks_changes_nothing);
    tcase_add_test(tc, a_terabyte_ends);
    tcase_add_test(tc, it_takes_over_where_a_migration_stood);
    tcase_add_test(tc, in_the_first_pass_all_kinds_are_pending_alike);
    Suite *s = suite_create("policy/model");
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

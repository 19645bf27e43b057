/* What is decided: whole moves of modelled guests under schedules, each rule by itself,
 * and the rules of other systems. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "policy/policy.h"
#include "policy/policy_json.h"
#include "policy_model.h"
#include "schedules.h"

enum { TRACE_MAX = 2048, SAMPLES_MAX = 8192 };

static struct fixture {
    struct policy p;
    struct policy_run run;
    struct policy_sample s;
    struct policy_decision out;
    struct policy_sample samples[SAMPLES_MAX];
    struct policy_decision decisions[SAMPLES_MAX];
    size_t n;
    char trace[TRACE_MAX];
} f;

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    policy_run_init(&f.run);
    f.p = (struct policy){.name = "test", .downtime_start_ms = 100, .downtime_max_ms = 500};
    f.s = (struct policy_sample){.t_ns = 5000 * QF_NS_PER_MS,
                                 .started = true,
                                 .pass = 1,
                                 .total_bytes = 1000 * QF_MIB,
                                 .remaining_bytes = 1000 * QF_MIB,
                                 .downtime_limit_ms = 100};
}

static void load(const char *preset)
{
    struct qf_err err;
    ck_assert_msg(policy_preset_load(preset, &f.p, &err) == 0, "%s", err.text);
}

static void load_schedule(const char *name)
{
    schedule_load(name, &f.p);
}

static void trace(const char *text)
{
    const size_t n = strlen(f.trace);
    (void)snprintf(f.trace + n, sizeof(f.trace) - n, "%s%s", n ? " " : "", text);
}

/* --- whole moves --- */

/* Decide on the model as it is and do what was decided, as an engine would. */
static enum policy_action look(struct model *m, bool postcopy_works)
{
    char text[64];
    const struct policy_sample s = model_sample(m);
    struct policy_decision d;
    policy_decide(&f.p, &f.run, &s, &d);
    ck_assert_uint_lt(f.n, SAMPLES_MAX);
    f.samples[f.n] = s;
    f.decisions[f.n++] = d;
    ck_assert_int_gt(d.wake_ns, s.t_ns);
    ck_assert_uint_gt(strlen(d.because), 0);
    if (d.action == POLICY_WAIT)
        return d.action;
    (void)snprintf(text, sizeof(text), "%s", policy_action_name(d.action));
    if (d.value > 0)
        (void)snprintf(text, sizeof(text), "%s=%llu", policy_action_name(d.action),
                       (unsigned long long)d.value);
    trace(text);
    if (d.action == POLICY_SET_DOWNTIME)
        m->downtime_ms = d.value;
    if (d.action == POLICY_THROTTLE)
        m->throttle_percent = 20;
    if (d.action == POLICY_PAUSE)
        m->stopped = true;
    if (d.action == POLICY_POSTCOPY && postcopy_works)
        m->postcopy = true;
    else if (d.action == POLICY_POSTCOPY)
        policy_refused(&f.run, POLICY_POSTCOPY);
    return d.action;
}

/* Move the guest; how it ended stands in the trace. */
static void move(struct model *m, bool postcopy_works)
{
    if (m->downtime_ms == 0)
        m->downtime_ms = f.p.downtime_start_ms;
    model_start(m);
    while (!m->done && f.n < SAMPLES_MAX) {
        if (look(m, postcopy_works) == POLICY_ABORT)
            return;
        model_run(m, 100);
    }
    trace(m->done ? "done" : "endless");
}

static struct model never_converges(bool syncs_always)
{
    return (struct model){.total = 400 * QF_MIB,
                          .working_set = 100 * QF_MIB,
                          .dirty_rate = 8192 * QF_MIB,
                          .link = 40 * QF_MIB,
                          .syncs_always = syncs_always};
}

static struct model converges(bool syncs_always)
{
    return (struct model){.total = 400 * QF_MIB,
                          .working_set = 100 * QF_MIB,
                          .dirty_rate = 8 * QF_MIB,
                          .link = 40 * QF_MIB,
                          .syncs_always = syncs_always};
}

/* Needs 300 ms: 12 MiB at 40 MiB/s. */
static struct model nearly_converges(bool syncs_always)
{
    return (struct model){.total = 400 * QF_MIB,
                          .working_set = 11 * QF_MIB,
                          .dirty_rate = 8192 * QF_MIB,
                          .link = 40 * QF_MIB,
                          .syncs_always = syncs_always};
}

#define RAMP "set-downtime=150 set-downtime=200 set-downtime=300"

static const struct {
    const char *policy;
    struct model (*guest)(bool);
    bool postcopy_works;
    const char *trace;
    uint64_t most_s; /* how long it may take */
} moves[] = {
    {"minimal-downtime", never_converges, true,
     RAMP " set-downtime=400 set-downtime=500 throttle=80 abort", 45},
    {"minimal-downtime", nearly_converges, true, RAMP " done", 15},
    {"minimal-downtime", converges, true, "done", 20},
    {"suspend-if-needed", never_converges, true,
     RAMP " set-downtime=400 set-downtime=500 throttle=80 pause done", 35},
    {"suspend-if-needed", converges, true, "done", 20},
    {"post-copy", never_converges, true, "set-downtime=150 set-downtime=200 postcopy done",
     25},
    {"post-copy", never_converges, false,
     "set-downtime=150 set-downtime=200 postcopy set-downtime=500 abort", 35},
    {"post-copy", converges, true, "done", 20},
};
enum { N_MOVES = sizeof(moves) / sizeof(moves[0]) };

START_TEST(schedule_ends_every_move)
{
    const size_t i = (size_t)_i / 2;
    struct model m = moves[i].guest(_i % 2 == 1);
    load_schedule(moves[i].policy);
    move(&m, moves[i].postcopy_works);
    ck_assert_str_eq(f.trace, moves[i].trace);
    ck_assert_uint_le(m.t_ms, moves[i].most_s * 1000 + 1000);
}
END_TEST

START_TEST(replayed_samples_give_the_same_decisions)
{
    struct model m = never_converges(true);
    load_schedule("suspend-if-needed");
    move(&m, true);
    policy_run_init(&f.run);
    for (size_t i = 0; i < f.n; i++) {
        policy_decide(&f.p, &f.run, &f.samples[i], &f.out);
        ck_assert_int_eq(f.out.action, f.decisions[i].action);
        ck_assert_uint_eq(f.out.value, f.decisions[i].value);
        ck_assert_int_eq(f.out.wake_ns, f.decisions[i].wake_ns);
        ck_assert_str_eq(f.out.because, f.decisions[i].because);
        ck_assert_str_eq(f.out.rule, f.decisions[i].rule);
    }
}
END_TEST

START_TEST(too_large_for_the_stop_is_given_up_not_stopped)
{
    struct model m = never_converges(false);
    m.working_set = 300 * QF_MIB; /* 7.5 s at 40 MiB/s */
    load_schedule("suspend-if-needed");
    move(&m, true);
    ck_assert_str_eq(f.trace, RAMP " set-downtime=400 set-downtime=500 throttle=80 abort");
}
END_TEST

START_TEST(never_converging_guest_ends_within_13_passes)
{
    struct model m = never_converges(_i == 1);
    load_schedule("minimal-downtime");
    move(&m, true);
    ck_assert_uint_le(policy_trend_complete(&f.run.trend), 13);
}
END_TEST

START_TEST(stop_and_copy_stops_first)
{
    load("stop-and-copy");
    f.s.started = false;
    f.s.pass = 0;
    policy_decide(&f.p, &f.run, &f.s, &f.out);
    ck_assert_int_eq(f.out.action, POLICY_PAUSE);
    ck_assert_str_eq(f.out.rule, "step 1");
    f.s.started = true;
    f.s.guest_stopped = true;
    for (int i = 0; i < 100; i++) { /* however long it takes */
        f.s.t_ns += QF_NS_PER_S * 100;
        f.s.elapsed_ns += QF_NS_PER_S * 100;
        f.s.transferred_bytes += 1;
        policy_decide(&f.p, &f.run, &f.s, &f.out);
        ck_assert_int_eq(f.out.action, POLICY_WAIT);
    }
}
END_TEST

START_TEST(stop_and_copy_leaves_a_stopped_guest_alone)
{
    load("stop-and-copy");
    f.s.started = false;
    f.s.guest_stopped = true;
    policy_decide(&f.p, &f.run, &f.s, &f.out);
    ck_assert_int_eq(f.out.action, POLICY_WAIT);
    ck_assert(!f.run.paused);
}
END_TEST

/* --- single rules --- */

static enum policy_action decide(void)
{
    policy_decide(&f.p, &f.run, &f.s, &f.out);
    return f.out.action;
}

/* So much later, with a byte moved so that it does not look stuck. */
static enum policy_action later(uint64_t ms)
{
    f.s.t_ns += qf_ms_to_ns(ms);
    f.s.elapsed_ns += qf_ms_to_ns(ms);
    f.s.transferred_bytes += 1;
    return decide();
}

/* One more pass that leaves so many MiB, sent at 100 MiB/s. */
static enum policy_action pass(uint64_t left_mib)
{
    const uint64_t sent = f.s.remaining_bytes;
    const uint64_t ms = sent * 10 / QF_MIB;
    f.s.t_ns += qf_ms_to_ns(ms);
    f.s.elapsed_ns += qf_ms_to_ns(ms);
    f.s.transferred_bytes += sent;
    f.s.remaining_bytes = left_mib * QF_MIB;
    f.s.pass++;
    return decide();
}

static void step(struct policy_trigger trigger, enum policy_action action)
{
    f.p.steps[f.p.n_steps++] = (struct policy_step){.trigger = trigger, .action = action};
}

static const struct policy_trigger at_once = {.elapsed_ms = 1};

START_TEST(sentence_has_the_numbers)
{
    load_schedule("minimal-downtime");
    decide();
    pass(61);
    ck_assert_int_eq(pass(62), POLICY_SET_DOWNTIME);
    ck_assert_str_eq(f.out.because,
                     "pass 2 left 62.0 MiB, no less than 61.0 MiB before (stalled 1 time): "
                     "downtime limit 100 ms -> 150 ms");
    ck_assert_str_eq(f.out.rule, "step 1");
    f.s.downtime_limit_ms = 150;
    ck_assert_int_eq(pass(60), POLICY_SET_DOWNTIME);
    ck_assert_str_eq(f.out.because,
                     "pass 3 left 60.0 MiB, hardly less than 61.0 MiB before (stalled 2 "
                     "times): downtime limit 150 ms -> 200 ms");
    ck_assert_int_eq(pass(40), POLICY_WAIT);
    ck_assert_str_eq(f.out.because,
                     "pass 4 left 40.0 MiB, less than 60.0 MiB before; at 100.0 MiB/s a "
                     "downtime of 150 ms takes 15.0 MiB");
    ck_assert_str_eq(f.out.rule, "none");
    ck_assert(f.out.new_pass);
}
END_TEST

START_TEST(all_triggers_must_hold)
{
    step((struct policy_trigger){.passes = 2, .elapsed_ms = 60000}, POLICY_ABORT);
    decide();
    ck_assert_int_eq(pass(100), POLICY_WAIT); /* at 10 s */
    ck_assert_int_eq(pass(50), POLICY_WAIT);  /* at 11 s */
    ck_assert_int_eq(later(48999), POLICY_WAIT);
    ck_assert_int_eq(later(1), POLICY_ABORT);
    ck_assert_str_eq(f.out.because,
                     "2 passes are complete, 60.0 s after the start: give up");
}
END_TEST

START_TEST(step_is_taken_once)
{
    step(at_once, POLICY_SET_BANDWIDTH);
    f.p.steps[0].value_bytes_per_s = 1000;
    decide();
    ck_assert_int_eq(later(10), POLICY_SET_BANDWIDTH);
    ck_assert_uint_eq(f.out.value, 1000);
    ck_assert_int_eq(later(10), POLICY_WAIT);
}
END_TEST

START_TEST(waiting_step_does_not_hold_up_the_next)
{
    f.p.postcopy_allowed = true;
    step((struct policy_trigger){.elapsed_ms = 60000}, POLICY_ABORT);
    step((struct policy_trigger){.elapsed_ms = 10}, POLICY_POSTCOPY);
    decide();
    ck_assert_int_eq(later(10), POLICY_POSTCOPY);
    ck_assert_str_eq(f.out.rule, "step 2");
    ck_assert_int_eq(later(60000), POLICY_ABORT);
}
END_TEST

START_TEST(due_steps_come_one_a_call_in_order)
{
    f.p.throttle_allowed = true;
    f.p.throttle_initial_percent = 30;
    f.p.throttle_max_percent = 70;
    step(at_once, POLICY_THROTTLE);
    step(at_once, POLICY_ABORT);
    decide();
    ck_assert_int_eq(later(10), POLICY_THROTTLE);
    ck_assert_uint_eq(f.out.value, 70);
    ck_assert_uint_eq(f.out.throttle_first_percent, 30);
    ck_assert_int_eq(later(10), POLICY_ABORT);
}
END_TEST

START_TEST(forbidden_steps_are_passed_over_within_one_call)
{
    step(at_once, POLICY_THROTTLE);
    step(at_once, POLICY_POSTCOPY);
    step(at_once, POLICY_PAUSE);
    step(at_once, POLICY_ABORT);
    decide();
    ck_assert_int_eq(later(10), POLICY_ABORT);
    ck_assert_str_eq(f.out.rule, "step 4");
}
END_TEST

START_TEST(step_becomes_possible_when_it_is_allowed_later)
{
    step(at_once, POLICY_POSTCOPY);
    decide();
    ck_assert_int_eq(later(10), POLICY_WAIT);
    f.p.postcopy_allowed = true;
    ck_assert_int_eq(later(10), POLICY_POSTCOPY);
}
END_TEST

START_TEST(downtime_that_is_not_above_the_limit_is_passed_over)
{
    static const struct {
        uint64_t in_force_ms;
        uint64_t value_ms;
        uint32_t value_permille;
        uint64_t answer_ms; /* 0 = passed over */
    } table[] = {
        {100, 150, 0, 150}, {150, 150, 0, 0},    {200, 150, 0, 0}, {100, 0, 600, 300},
        {300, 0, 600, 0},   {100, 900, 0, 500}, /* never above downtime.max */
        {500, 900, 0, 0},   {100, 0, 1000, 500},
    };
    step(at_once, POLICY_SET_DOWNTIME);
    f.p.steps[0].value_ms = table[_i].value_ms;
    f.p.steps[0].value_permille = table[_i].value_permille;
    f.s.downtime_limit_ms = table[_i].in_force_ms;
    decide();
    ck_assert_int_eq(later(10), table[_i].answer_ms ? POLICY_SET_DOWNTIME : POLICY_WAIT);
    ck_assert_uint_eq(f.out.value, table[_i].answer_ms);
}
END_TEST

START_TEST(refused_postcopy_is_passed_over)
{
    f.p.postcopy_allowed = true;
    step(at_once, POLICY_POSTCOPY);
    step((struct policy_trigger){.elapsed_ms = 30}, POLICY_POSTCOPY);
    step((struct policy_trigger){.elapsed_ms = 40}, POLICY_ABORT);
    decide();
    ck_assert_int_eq(later(10), POLICY_POSTCOPY);
    policy_refused(&f.run, POLICY_POSTCOPY);
    ck_assert_int_eq(later(20), POLICY_WAIT);
    ck_assert_int_eq(later(10), POLICY_ABORT);
}
END_TEST

START_TEST(implied_downtime_decides_on_the_stop)
{
    static const struct {
        uint64_t left_mib; /* at 100 MiB/s */
        bool by_stop_max;
        uint64_t below_ms;
        enum policy_action answer;
    } table[] = {
        {500, false, 5100, POLICY_PAUSE},
        {520, false, 5100, POLICY_WAIT},
        {390, true, 0, POLICY_PAUSE}, /* stop.max is 5 s, of which 4 s count */
        {410, true, 0, POLICY_WAIT},
    };
    f.p.stop_allowed = true;
    f.p.stop_max_ms = 5000;
    step((struct policy_trigger){.implied_downtime_below_ms = table[_i].below_ms,
                                 .implied_downtime_below_stop_max = table[_i].by_stop_max},
         POLICY_PAUSE);
    ck_assert_int_eq(decide(), POLICY_WAIT); /* nothing is known */
    ck_assert_int_eq(pass(table[_i].left_mib), table[_i].answer);
}
END_TEST

START_TEST(stop_without_bound_is_always_below_stop_max)
{
    f.p.stop_allowed = true;
    step((struct policy_trigger){.implied_downtime_below_stop_max = true}, POLICY_PAUSE);
    ck_assert_int_eq(decide(), POLICY_WAIT);
    ck_assert_int_eq(pass(900), POLICY_PAUSE);
}
END_TEST

START_TEST(stop_that_takes_too_long_is_given_up)
{
    f.p.stop_allowed = true;
    f.p.stop_max_ms = 5000;
    f.p.timeout_ms = 12; /* does not count any more: stop.max guards */
    step(at_once, POLICY_PAUSE);
    decide();
    ck_assert_int_eq(later(10), POLICY_PAUSE);
    ck_assert_int_eq(f.out.wake_ns, f.s.t_ns + qf_ms_to_ns(5000));
    f.s.guest_stopped = true;
    ck_assert_int_eq(later(4999), POLICY_WAIT);
    ck_assert_int_eq(f.out.wake_ns, f.s.t_ns + qf_ms_to_ns(1));
    ck_assert_int_eq(later(1), POLICY_ABORT);
    ck_assert_str_eq(f.out.rule, "stop.max");
    ck_assert_str_eq(
        f.out.because,
        "the guest is stopped for 5.0 s, stop.max is 5.0 s, 1000.0 MiB left: give up");
}
END_TEST

START_TEST(no_step_is_taken_once_we_stopped_the_guest)
{
    f.p.stop_allowed = true;
    step(at_once, POLICY_PAUSE);
    step(at_once, POLICY_ABORT);
    decide();
    ck_assert_int_eq(later(10), POLICY_PAUSE);
    ck_assert_int_eq(later(10), POLICY_WAIT); /* not seen stopped yet */
    f.s.guest_stopped = true;
    ck_assert_int_eq(later(10), POLICY_WAIT);
    f.s.guest_stopped = false; /* somebody continued it */
    ck_assert_int_eq(later(10), POLICY_ABORT);
}
END_TEST

START_TEST(refused_pause_is_forgotten)
{
    f.p.stop_allowed = true;
    f.p.stop_max_ms = 50;
    step(at_once, POLICY_PAUSE);
    decide();
    ck_assert_int_eq(later(10), POLICY_PAUSE);
    policy_refused(&f.run, POLICY_PAUSE);
    ck_assert_int_eq(later(1000), POLICY_WAIT);
}
END_TEST

START_TEST(nothing_is_decided_in_postcopy)
{
    f.p.timeout_ms = 10;
    f.p.progress_timeout_ms = 10;
    step(at_once, POLICY_ABORT);
    decide();
    f.s.postcopy = true;
    f.s.t_ns += QF_NS_PER_S * 3600;
    f.s.elapsed_ns += QF_NS_PER_S * 3600;
    ck_assert_int_eq(decide(), POLICY_WAIT);
    ck_assert_int_eq(f.out.wake_ns, INT64_MAX);
}
END_TEST

START_TEST(sooner_time_limit_wins)
{
    static const struct {
        uint64_t timeout_ms;
        uint64_t per_gib_ms;
        uint64_t total_mib;
        uint64_t limit_ms; /* 0 = none */
        const char *rule;
    } table[] = {
        {0, 0, 4096, 0, NULL},
        {9000, 0, 4096, 9000, "timeout"},
        {0, 1000, 4096, 4000, "timeout-per-gib"},
        {0, 1000, 4097, 5000, "timeout-per-gib"},
        {0, 1000, 1, 1000, "timeout-per-gib"},
        {0, 1000, 0, 0, NULL}, /* not known yet */
        {3000, 1000, 4096, 3000, "timeout"},
        {5000, 1000, 4096, 4000, "timeout-per-gib"},
    };
    f.p.timeout_ms = table[_i].timeout_ms;
    f.p.timeout_per_gib_ms = table[_i].per_gib_ms;
    f.s.total_bytes = table[_i].total_mib * QF_MIB;
    decide();
    if (table[_i].limit_ms == 0) {
        ck_assert_int_eq(f.out.wake_ns, INT64_MAX);
        ck_assert_int_eq(later(1000000), POLICY_WAIT);
        return;
    }
    ck_assert_int_eq(f.out.wake_ns, f.s.t_ns + qf_ms_to_ns(table[_i].limit_ms));
    ck_assert_int_eq(later(table[_i].limit_ms - 1), POLICY_WAIT);
    ck_assert_int_eq(later(1), POLICY_ABORT);
    ck_assert_str_eq(f.out.rule, table[_i].rule);
    ck_assert_int_eq(later(1), POLICY_WAIT); /* once */
}
END_TEST

START_TEST(on_timeout_does_what_is_possible)
{
    static const struct {
        enum policy_on_timeout wanted;
        bool allowed;
        bool stopped; /* the guest, by somebody else */
        enum policy_action answer;
    } table[] = {
        {POLICY_ON_TIMEOUT_ABORT, false, false, POLICY_ABORT},
        {POLICY_ON_TIMEOUT_ABORT, false, true, POLICY_ABORT},
        {POLICY_ON_TIMEOUT_POSTCOPY, true, false, POLICY_POSTCOPY},
        {POLICY_ON_TIMEOUT_POSTCOPY, false, false, POLICY_ABORT},
        {POLICY_ON_TIMEOUT_POSTCOPY, true, true, POLICY_WAIT},
        {POLICY_ON_TIMEOUT_STOP, true, false, POLICY_PAUSE},
        {POLICY_ON_TIMEOUT_STOP, false, false, POLICY_ABORT},
        {POLICY_ON_TIMEOUT_STOP, true, true, POLICY_WAIT},
    };
    f.p.timeout_ms = 1000;
    f.p.on_timeout = table[_i].wanted;
    f.p.postcopy_allowed = f.p.stop_allowed = table[_i].allowed;
    f.s.guest_stopped = table[_i].stopped;
    decide();
    ck_assert_int_eq(later(1000), table[_i].answer);
}
END_TEST

START_TEST(timeout_aborts_when_its_action_is_refused)
{
    f.p.timeout_ms = 1000;
    f.p.on_timeout = _i == 0 ? POLICY_ON_TIMEOUT_POSTCOPY : POLICY_ON_TIMEOUT_STOP;
    f.p.postcopy_allowed = f.p.stop_allowed = true;
    decide();
    ck_assert_int_eq(later(1000), _i == 0 ? POLICY_POSTCOPY : POLICY_PAUSE);
    policy_refused(&f.run, f.out.action);
    ck_assert_int_eq(later(10), POLICY_ABORT);
    ck_assert_str_eq(f.out.because,
                     "not finished after 1.0 s, the time limit, 1000.0 MiB left: give up");
}
END_TEST

START_TEST(stop_after_the_timeout_is_bounded_by_stop_max)
{
    f.p.timeout_ms = 1000;
    f.p.on_timeout = POLICY_ON_TIMEOUT_STOP;
    f.p.stop_allowed = true;
    f.p.stop_max_ms = 3000;
    decide();
    ck_assert_int_eq(later(1000), POLICY_PAUSE);
    f.s.guest_stopped = true;
    ck_assert_int_eq(later(2999), POLICY_WAIT);
    ck_assert_int_eq(later(1), POLICY_ABORT);
}
END_TEST

START_TEST(stuck_move_is_given_up)
{
    f.p.progress_timeout_ms = 150000;
    f.p.timeout_ms = 0;
    decide();
    ck_assert_int_eq(later(1000), POLICY_WAIT);
    ck_assert_int_eq(f.out.wake_ns, f.s.t_ns + qf_ms_to_ns(150000));
    f.s.t_ns += qf_ms_to_ns(149999);
    ck_assert_int_eq(decide(), POLICY_WAIT);
    ck_assert_int_eq(f.out.wake_ns, f.s.t_ns + qf_ms_to_ns(1));
    f.s.t_ns += qf_ms_to_ns(1);
    ck_assert_int_eq(decide(), POLICY_ABORT);
    ck_assert_str_eq(f.out.rule, "progress-timeout");
    ck_assert_str_eq(f.out.because,
                     "not one byte moved for 2 min 30 s, 1000.0 MiB left: give up");
}
END_TEST

START_TEST(wake_is_the_next_moment_at_which_time_alone_decides)
{
    f.p.timeout_ms = 60000;
    f.p.progress_timeout_ms = 30000;
    step((struct policy_trigger){.elapsed_ms = 20000, .passes = 9}, POLICY_ABORT);
    f.s.started = false;
    decide();
    ck_assert_int_eq(f.out.wake_ns, INT64_MAX);
    f.s.started = true;
    const int64_t start_ns = f.s.t_ns;
    decide();
    ck_assert_int_eq(f.out.wake_ns, start_ns + qf_ms_to_ns(20000));
    later(20000); /* waits for passes now, not for time */
    ck_assert_int_eq(f.out.wake_ns, start_ns + qf_ms_to_ns(50000));
    later(15000);
    ck_assert_int_eq(f.out.wake_ns, start_ns + qf_ms_to_ns(60000));
}
END_TEST

START_TEST(pacing_forecast_takes_no_steps_but_keeps_the_time_limits)
{
    f.p.pacing = POLICY_PACING_FORECAST;
    f.p.timeout_ms = 1000;
    step(at_once, POLICY_SET_BANDWIDTH);
    decide();
    ck_assert_int_eq(later(10), POLICY_WAIT);
    ck_assert_int_eq(later(990), POLICY_ABORT);
    ck_assert_str_eq(f.out.rule, "timeout");
}
END_TEST

/* --- the rules of other systems, with numbers worked out by hand --- */

/* One report of QEMU; every one moved some bytes. */
struct moment {
    uint64_t at_ms;
    uint64_t pass;
    enum policy_action action;
    uint64_t value;
};

static void set(const char *assignment)
{
    struct qf_err err;
    ck_assert_msg(policy_set(&f.p, assignment, &err) == 0, "%s", err.text);
}

/* Do what was decided, as an engine would. */
static void carry_out(void)
{
    if (f.out.action == POLICY_SET_DOWNTIME)
        f.s.downtime_limit_ms = f.out.value;
    if (f.out.action == POLICY_PAUSE)
        f.s.guest_stopped = true;
}

static void begin(const char *preset, uint64_t total_bytes)
{
    load(preset);
    f.s.total_bytes = f.s.remaining_bytes = total_bytes;
    f.s.downtime_limit_ms = f.p.downtime_start_ms;
    f.s.started = false;
    ck_assert_int_eq(decide(), POLICY_WAIT);
    f.s.started = true;
}

static void expect(const struct moment *m, size_t n)
{
    const int64_t start_ns = f.s.t_ns - f.s.elapsed_ns;
    for (size_t i = 0; i < n; i++) {
        f.s.elapsed_ns = qf_ms_to_ns(m[i].at_ms);
        f.s.t_ns = start_ns + f.s.elapsed_ns;
        f.s.pass = m[i].pass;
        f.s.transferred_bytes += QF_MIB;
        decide();
        ck_assert_msg(f.out.action == m[i].action && f.out.value == m[i].value,
                      "at %llu ms: %s %llu: %s", (unsigned long long)m[i].at_ms,
                      policy_action_name(f.out.action), (unsigned long long)f.out.value,
                      f.out.because);
        carry_out();
    }
}

/* Reports every so often until something is decided; what is left falls (-), grows (+) or stays
 * (=) by the signs of the pattern, again and again. Returns when it was decided, or until_ms. */
static uint64_t watch(uint64_t every_ms, uint64_t until_ms, const char *pattern)
{
    uint64_t at_ms = (uint64_t)(f.s.elapsed_ns / QF_NS_PER_MS);
    for (size_t i = 0; at_ms < until_ms; i++) {
        const char sign = pattern[i % strlen(pattern)];
        at_ms += every_ms;
        f.s.t_ns += qf_ms_to_ns(every_ms);
        f.s.elapsed_ns += qf_ms_to_ns(every_ms);
        f.s.transferred_bytes += 1000;
        f.s.remaining_bytes += sign == '+' ? 1000 : 0;
        f.s.remaining_bytes -= sign == '-' ? 1000 : 0;
        decide();
        carry_out();
        if (f.out.action != POLICY_WAIT)
            return at_ms;
    }
    return until_ms;
}

#define EXPECT(...)                                             \
    do {                                                        \
        const struct moment moments_[] = {__VA_ARGS__};         \
        expect(moments_, sizeof(moments_) / sizeof(*moments_)); \
    } while (0)
#define WAIT_AT(ms, pass)        \
    {                            \
        ms, pass, POLICY_WAIT, 0 \
    }
#define DOWNTIME_AT(ms, pass, d)         \
    {                                    \
        ms, pass, POLICY_SET_DOWNTIME, d \
    }

/* limit < n, n counted from the first look; one step a look, and only when the counter moved */
START_TEST(vdsm_takes_one_step_a_look_by_the_pass_counter)
{
    begin("vdsm-minimal-downtime", QF_GIB);
    ck_assert_uint_eq(f.p.downtime_start_ms, 100);
    EXPECT(WAIT_AT(1000, 2), WAIT_AT(9999, 5),
           WAIT_AT(10000, 5), /* the first look: 5 is where it begins */
           WAIT_AT(20000, 6), /* n = 1: 1 < 1 does not hold */
           WAIT_AT(29999, 9), /* no look */
           DOWNTIME_AT(30000, 9, 150) /* n = 4 */, WAIT_AT(40000, 9) /* not moved */,
           DOWNTIME_AT(50000, 10, 200), DOWNTIME_AT(60000, 11, 300),
           DOWNTIME_AT(70000, 12, 400), DOWNTIME_AT(80000, 13, 500), WAIT_AT(90000, 13),
           {100000, 14, POLICY_ABORT, 0});
    ck_assert_str_eq(f.out.rule, "step 6");
    ck_assert_str_eq(f.out.because,
                     "QEMU's pass counter is 9 above the first look's: give up");
}
END_TEST

START_TEST(vdsm_waits_for_the_head_of_the_list)
{
    begin("vdsm-minimal-downtime", QF_GIB);
    EXPECT(WAIT_AT(10000, 1), WAIT_AT(20000, 2), DOWNTIME_AT(30000, 3, 150),
           DOWNTIME_AT(40000, 4, 200), DOWNTIME_AT(50000, 5, 300),
           DOWNTIME_AT(60000, 6, 400), WAIT_AT(70000, 7) /* 6 < 6 */,
           DOWNTIME_AT(80000, 8, 500), {90000, 9, POLICY_ABORT, 0});
}
END_TEST

START_TEST(vdsm_looks_every_ten_seconds)
{
    begin("vdsm-minimal-downtime", QF_GIB);
    const int64_t start_ns = f.s.t_ns;
    EXPECT(WAIT_AT(0, 1));
    ck_assert_int_eq(f.out.wake_ns, start_ns + 10 * QF_NS_PER_S);
    EXPECT(WAIT_AT(10300, 1)); /* a little late; so is the next one */
    ck_assert_int_eq(f.out.wake_ns, start_ns + qf_ms_to_ns(20300));
    EXPECT(WAIT_AT(20299, 7), DOWNTIME_AT(20300, 7, 150));
}
END_TEST

START_TEST(vdsm_suspend_allows_five_seconds_before_the_end)
{
    begin("vdsm-suspend-if-needed", QF_GIB);
    EXPECT(WAIT_AT(10000, 1), DOWNTIME_AT(20000, 9, 150), DOWNTIME_AT(30000, 10, 200),
           DOWNTIME_AT(40000, 11, 300), DOWNTIME_AT(50000, 12, 400),
           DOWNTIME_AT(60000, 13, 500), DOWNTIME_AT(70000, 14, 5000), WAIT_AT(80000, 14),
           {90000, 15, POLICY_ABORT, 0});
}
END_TEST

START_TEST(vdsm_switches_to_postcopy_and_ends_if_that_is_refused)
{
    begin("vdsm-post-copy", QF_GIB);
    EXPECT(WAIT_AT(10000, 1), WAIT_AT(20000, 2), DOWNTIME_AT(30000, 3, 150),
           DOWNTIME_AT(40000, 4, 200), WAIT_AT(50000, 4), {60000, 5, POLICY_POSTCOPY, 0});
    if (_i == 0) {
        f.s.postcopy = true;
        EXPECT(WAIT_AT(70000, 6), WAIT_AT(3600000, 60));
        return;
    }
    policy_refused(&f.run, POLICY_POSTCOPY);
    EXPECT(WAIT_AT(70000, 5), {80000, 6, POLICY_ABORT, 0});
}
END_TEST

/* "If the VM is paused, every postcopy item is deleted"; likewise if it is forbidden. */
START_TEST(vdsm_does_without_postcopy_where_it_cannot_be)
{
    begin("vdsm-post-copy", QF_GIB);
    if (_i == 0)
        set("postcopy.allowed=false");
    else
        f.s.guest_stopped = true;
    EXPECT(WAIT_AT(10000, 1), DOWNTIME_AT(20000, 3, 150), DOWNTIME_AT(30000, 4, 200),
           {40000, 5, POLICY_ABORT, 0});
}
END_TEST

START_TEST(vdsm_lets_very_large_vms_stop_for_longer)
{
    begin("vdsm-very-large-vm", 1024 * QF_GIB);
    ck_assert_uint_eq(f.p.downtime_start_ms, 300);
    ck_assert_int_eq(f.p.encrypt, POLICY_ENCRYPT_FORBIDDEN);
    EXPECT(WAIT_AT(10000, 1), DOWNTIME_AT(20000, 3, 400), DOWNTIME_AT(30000, 4, 500),
           DOWNTIME_AT(40000, 5, 700), DOWNTIME_AT(50000, 6, 1000), WAIT_AT(60000, 7),
           DOWNTIME_AT(70000, 8, 1500), DOWNTIME_AT(80000, 9, 5000),
           {90000, 10, POLICY_ABORT, 0});
}
END_TEST

START_TEST(others_leave_the_throttle_to_qemu_from_the_start)
{
    static const struct {
        const char *policy;
        bool allowed;
    } table[] = {{"vdsm-minimal-downtime", true},
                 {"vdsm-post-copy", true},
                 {"vdsm-suspend-if-needed", true},
                 {"vdsm-very-large-vm", true},
                 {"proxmox", true},
                 {"kubevirt", false},
                 {"nova", false},
                 {"libvirt", false}};
    load(table[_i].policy);
    ck_assert(policy_throttles_from_start(&f.p) == table[_i].allowed);
    set("throttle.allowed=true");
    ck_assert(policy_throttles_from_start(&f.p));
    ck_assert_uint_eq(f.p.throttle_initial_percent, 20);
    ck_assert_uint_eq(f.p.throttle_increment_percent, 10);
    ck_assert_uint_eq(f.p.throttle_max_percent, 99);
}
END_TEST

/* 1 GiB is 1.07 GB, counted as 2: 300 s. What is left falls every other look: progress. */
START_TEST(kubevirt_counts_gigabytes_rounded_up)
{
    begin("kubevirt", QF_GIB);
    ck_assert_uint_eq(watch(400, 400000, "+-"), 300000);
    ck_assert_int_eq(f.out.action, POLICY_ABORT);
    ck_assert_str_eq(f.out.rule, "timeout-per-gib");
}
END_TEST

START_TEST(kubevirt_takes_the_completion_timeout_of_others)
{
    begin("kubevirt", 4 * QF_GIB); /* 4.29 GB: 5 */
    set(_i == 0 ? "timeout-per-gib=800s" : "timeout-per-gib=20s");
    ck_assert_uint_eq(watch(400, 9000000, "+-"), _i == 0 ? 4000000 : 100000);
}
END_TEST

START_TEST(kubevirt_forces_completion_as_it_may)
{
    static const struct {
        const char *allowed[2];
        bool postcopy_works;
        enum policy_action first;
        enum policy_action then;
    } table[] = {
        {{"stop.allowed=true", NULL}, true, POLICY_PAUSE, POLICY_WAIT},
        {{"postcopy.allowed=true", NULL}, true, POLICY_POSTCOPY, POLICY_WAIT},
        {{"postcopy.allowed=true", "stop.allowed=true"},
         true,
         POLICY_POSTCOPY,
         POLICY_WAIT},
        {{"postcopy.allowed=true", "stop.allowed=true"},
         false,
         POLICY_POSTCOPY,
         POLICY_PAUSE},
        {{"postcopy.allowed=true", NULL}, false, POLICY_POSTCOPY, POLICY_ABORT},
    };
    begin("kubevirt", QF_GIB);
    for (int i = 0; i < 2 && table[_i].allowed[i]; i++)
        set(table[_i].allowed[i]);
    ck_assert_uint_eq(watch(400, 900000, "+-"), 300000);
    ck_assert_int_eq(f.out.action, table[_i].first);
    if (f.out.action == POLICY_POSTCOPY && table[_i].postcopy_works)
        f.s.postcopy = true;
    else if (f.out.action == POLICY_POSTCOPY)
        policy_refused(&f.run, POLICY_POSTCOPY);
    (void)watch(400, 300400, "-");
    ck_assert_int_eq(f.out.action, table[_i].then);
}
END_TEST

START_TEST(kubevirt_ends_a_stop_at_twice_the_limit)
{
    begin("kubevirt", QF_GIB);
    set("stop.allowed=true");
    ck_assert_uint_eq(watch(400, 900000, "+-"), 300000);
    ck_assert_uint_eq(watch(400, 900000, "-"), 600000);
    ck_assert_int_eq(f.out.action, POLICY_ABORT);
    ck_assert_str_eq(f.out.because,
                     "10 min 0 s after the start, 2 times the time limit: give up");
}
END_TEST

/* Any fall since the look before is progress, no matter from where. */
START_TEST(kubevirt_ends_when_nothing_becomes_less_for_150_s)
{
    begin("kubevirt", 8 * QF_GIB);
    ck_assert_uint_eq(watch(400, 100000, "+++-"), 100000); /* the last fall is at 99.2 s */
    ck_assert_uint_eq(watch(400, 900000, "="), 249200);
    ck_assert_str_eq(f.out.rule, "progress-timeout");
    ck_assert_str_eq(f.out.because,
                     "for 2 min 30 s no look saw less left than the one before, "
                     "8.0 GiB left: give up");
}
END_TEST

START_TEST(proxmox_doubles_after_the_sixth_rise)
{
    begin("proxmox", QF_GIB);
    f.s.remaining_bytes = QF_GIB;
    /* grows at looks 3, 5, 7, 9, 11, 13: the first has none before it */
    ck_assert_uint_eq(watch(1000, 900000, "+-"), 13000);
    ck_assert_uint_eq(f.out.value, 200);
    ck_assert_str_eq(f.out.because, "6 looks saw what is left grow, now 1.0 GiB: downtime "
                                    "limit 100 ms -> 200 ms");
    /* look 14 is the first of this pattern and grows */
    ck_assert_uint_eq(watch(1000, 900000, "+-"), 24000);
    ck_assert_uint_eq(f.out.value, 400);
    ck_assert_uint_eq(watch(1000, 900000, "+"), 30000);
    ck_assert_uint_eq(f.out.value, 800);
    f.s.downtime_limit_ms = 1200000;
    ck_assert_uint_eq(watch(1000, 900000, "+"), 36000);
    ck_assert_uint_eq(f.out.value, 2000000);
    ck_assert_uint_eq(watch(1000, 90000000, "+"), 90000000); /* never ends */
}
END_TEST

START_TEST(proxmox_looks_more_often_near_the_end)
{
    begin("proxmox", QF_GIB);
    const int64_t start_ns = f.s.t_ns;
    EXPECT(WAIT_AT(1000, 1), WAIT_AT(2000, 1));
    ck_assert_int_eq(f.out.wake_ns, start_ns + qf_ms_to_ns(3000));
    f.s.remaining_bytes = 700000; /* 3 looks, 2 MiB at the one before: 0.67 MiB each */
    EXPECT(WAIT_AT(3000, 1));
    ck_assert_int_eq(f.out.wake_ns, start_ns + qf_ms_to_ns(4000));
    f.s.remaining_bytes = 690000;
    f.s.transferred_bytes = 3 * QF_MIB;
    EXPECT(WAIT_AT(4000, 1));
    ck_assert_int_eq(f.out.wake_ns, start_ns + qf_ms_to_ns(4100));
    f.s.remaining_bytes = QF_GIB; /* and stays at that; this is the first rise */
    EXPECT(WAIT_AT(4100, 2));
    ck_assert_int_eq(f.out.wake_ns, start_ns + qf_ms_to_ns(4200));
    f.s.remaining_bytes = 0; /* nothing left counts like a rise */
    EXPECT(WAIT_AT(4200, 2), WAIT_AT(4300, 2), WAIT_AT(4399, 2), WAIT_AT(4400, 2),
           WAIT_AT(4500, 2), DOWNTIME_AT(4600, 2, 200));
}
END_TEST

START_TEST(proxmox_does_not_count_while_nothing_moves)
{
    begin("proxmox", QF_GIB);
    (void)watch(1000, 12000, "+-"); /* five rises */
    f.s.remaining_bytes += QF_MIB;
    f.s.t_ns += QF_NS_PER_S;
    f.s.elapsed_ns += QF_NS_PER_S;
    ck_assert_int_eq(decide(), POLICY_WAIT);
    ck_assert_uint_eq(watch(1000, 90000, "="),
                      14000); /* more than at the last that counted */
}
END_TEST

/* delay = 75 s x 4; 50 + 45 i ms at i x delay; the end at 800 s x 4 */
START_TEST(nova_steps_by_time_and_size)
{
    begin("nova", 4 * QF_GIB + 17 * QF_MIB); /* firmware and video memory do not count */
    ck_assert_uint_eq(f.p.downtime_start_ms, 50);
    EXPECT(WAIT_AT(500, 1), WAIT_AT(299900, 2), DOWNTIME_AT(300400, 3, 95),
           WAIT_AT(300500, 3), WAIT_AT(599900, 9), DOWNTIME_AT(600400, 9, 140),
           DOWNTIME_AT(900400, 9, 185), DOWNTIME_AT(1200400, 9, 230),
           DOWNTIME_AT(1500400, 9, 275), DOWNTIME_AT(1800400, 9, 320),
           DOWNTIME_AT(2100400, 9, 365), DOWNTIME_AT(2400400, 9, 410),
           DOWNTIME_AT(2700400, 9, 455), DOWNTIME_AT(3000400, 9, 500), WAIT_AT(3199900, 9),
           {3200400, 9, POLICY_ABORT, 0});
    ck_assert_str_eq(f.out.rule, "timeout-per-gib");
}
END_TEST

START_TEST(nova_counts_at_least_two_gib)
{
    begin("nova", QF_GIB / 2);
    EXPECT(WAIT_AT(149500, 1), DOWNTIME_AT(150000, 1, 95));
    ck_assert_str_eq(f.out.because, "2 min 30 s after the start (75.0 s for each GiB): "
                                    "downtime limit 50 ms -> 95 ms");
    EXPECT({1600000, 1, POLICY_ABORT, 0});
}
END_TEST

START_TEST(nova_forces_completion_as_it_may)
{
    static const struct {
        const char *allowed;
        enum policy_action action;
    } table[] = {{"postcopy.allowed=true", POLICY_POSTCOPY},
                 {"stop.allowed=true", POLICY_PAUSE},
                 {"timeout=0", POLICY_ABORT},
                 {"timeout-per-gib=0", POLICY_SET_DOWNTIME}};
    begin("nova", 2 * QF_GIB);
    set("on-timeout=force-complete");
    set(table[_i].allowed);
    f.s.downtime_limit_ms = 60;
    EXPECT(WAIT_AT(100000, 1));
    f.s.elapsed_ns = qf_ms_to_ns(1600000);
    f.s.t_ns += qf_ms_to_ns(1500000);
    ck_assert_int_eq(decide(), table[_i].action);
}
END_TEST

START_TEST(libvirt_does_nothing_but_the_timeout)
{
    begin("libvirt", QF_GIB);
    ck_assert_uint_eq(f.p.downtime_start_ms, 300);
    ck_assert_uint_eq(watch(1000, 1000000, "+-"), 1000000);
    set("timeout=1200");
    if (_i == 1) {
        set("postcopy.allowed=true");
        set("on-timeout=postcopy");
    }
    ck_assert_uint_eq(watch(1000, 2000000, "+-"), 1200000);
    ck_assert_int_eq(f.out.action, _i == 1 ? POLICY_POSTCOPY : POLICY_PAUSE);
    if (_i == 0) /* as long as it takes */
        ck_assert_uint_eq(watch(1000, 9000000, "-"), 9000000);
}
END_TEST

START_TEST(legacy_gives_up_after_64_s_for_each_gib)
{
    begin("legacy", 4 * QF_GIB);
    ck_assert_uint_eq(f.p.downtime_start_ms, 500);
    ck_assert_uint_eq(watch(1000, 900000, "+-"), 256000);
    ck_assert_int_eq(f.out.action, POLICY_ABORT);
}
END_TEST

/* --- what they need, by itself --- */

START_TEST(in_order_a_step_waits_for_those_before_it)
{
    f.p.in_order = true;
    step((struct policy_trigger){.elapsed_ms = 60000}, POLICY_SET_BANDWIDTH);
    step(at_once, POLICY_POSTCOPY); /* not allowed: as if it were not there */
    step(at_once, POLICY_SET_DOWNTIME);
    step(at_once, POLICY_ABORT);
    f.p.steps[2].value_ms = 100; /* is so already: takes its turn all the same */
    decide();
    ck_assert_int_eq(later(50000), POLICY_WAIT);
    ck_assert_int_eq(later(10000), POLICY_SET_BANDWIDTH);
    ck_assert_int_eq(later(10), POLICY_WAIT);
    ck_assert_int_eq(later(10), POLICY_ABORT);
}
END_TEST

START_TEST(step_for_a_stopped_guest_is_looked_at_then_too)
{
    f.p.stop_allowed = true;
    step(at_once, POLICY_PAUSE);
    step((struct policy_trigger){.elapsed_ms = 50}, POLICY_ABORT);
    f.p.steps[1].also_stopped = _i == 0;
    decide();
    ck_assert_int_eq(later(10), POLICY_PAUSE);
    ck_assert_int_eq(f.out.wake_ns, _i == 0 ? f.s.t_ns + qf_ms_to_ns(40) : INT64_MAX);
    f.s.guest_stopped = true;
    ck_assert_int_eq(later(40), _i == 0 ? POLICY_ABORT : POLICY_WAIT);
}
END_TEST

START_TEST(stop_max_is_guarded_between_looks)
{
    f.p.stop_allowed = true;
    f.p.stop_max_ms = 1500;
    f.p.every_ms = 1000;
    step(at_once, POLICY_PAUSE);
    decide();
    ck_assert_int_eq(later(999), POLICY_WAIT);
    ck_assert_int_eq(later(1), POLICY_PAUSE);
    f.s.guest_stopped = true;
    ck_assert_int_eq(later(1000), POLICY_WAIT);
    ck_assert_int_eq(f.out.wake_ns, f.s.t_ns + qf_ms_to_ns(500));
    ck_assert_int_eq(later(500), POLICY_ABORT);
}
END_TEST

START_TEST(memory_is_counted_as_the_policy_says)
{
    static const struct {
        enum policy_size_unit unit;
        enum policy_size_round round;
        uint32_t least;
        uint64_t total_bytes;
        uint64_t limit_ms;
    } table[] = {
        {POLICY_SIZE_GIB, POLICY_SIZE_UP, 0, 4 * QF_GIB + 1, 5000},
        {POLICY_SIZE_GIB, POLICY_SIZE_DOWN, 0, 5 * QF_GIB - 1, 4000},
        {POLICY_SIZE_GIB, POLICY_SIZE_DOWN, 2, QF_GIB, 2000},
        {POLICY_SIZE_GB, POLICY_SIZE_UP, 0, 2000000000, 2000},
        {POLICY_SIZE_GB, POLICY_SIZE_UP, 0, 2000000001, 3000},
        {POLICY_SIZE_GIB, POLICY_SIZE_DOWN, 0, QF_GIB - 1, 0}, /* none at all */
    };
    f.p.size_unit = table[_i].unit;
    f.p.size_round = table[_i].round;
    f.p.size_least = table[_i].least;
    f.p.timeout_per_gib_ms = 1000;
    f.s.total_bytes = table[_i].total_bytes;
    decide();
    ck_assert_int_eq(f.out.wake_ns, table[_i].limit_ms
                                        ? f.s.t_ns + qf_ms_to_ns(table[_i].limit_ms)
                                        : INT64_MAX);
}
END_TEST

START_TEST(longest_sentence_fits)
{
    struct policy_trigger all = {.passes = 1,
                                 .stalled_passes = 1,
                                 .elapsed_ms = 1,
                                 .implied_downtime_below_ms = UINT64_MAX};
    step(all, POLICY_SET_DOWNTIME);
    f.p.downtime_max_ms = POLICY_DOWNTIME_MAX_MS;
    f.p.steps[0].value_permille = 1000;
    decide();
    ck_assert_int_eq(pass(999), POLICY_SET_DOWNTIME);
    ck_assert_ptr_nonnull(strstr(f.out.because, "-> 33 min 20 s"));
}
END_TEST

START_TEST(action_names_are_those_of_the_interface)
{
    static const char *const names[] = {
        "wait", "set-downtime", "set-bandwidth", "throttle", "postcopy", "pause", "abort"};
    ck_assert_str_eq(policy_action_name((enum policy_action)_i), names[_i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("policy");
    TCase *whole = tcase_create("moves");
    tcase_add_checked_fixture(whole, setup, NULL);
    tcase_add_loop_test(whole, schedule_ends_every_move, 0, 2 * N_MOVES);
    tcase_add_test(whole, replayed_samples_give_the_same_decisions);
    tcase_add_test(whole, too_large_for_the_stop_is_given_up_not_stopped);
    tcase_add_loop_test(whole, never_converging_guest_ends_within_13_passes, 0, 2);
    tcase_add_test(whole, stop_and_copy_stops_first);
    tcase_add_test(whole, stop_and_copy_leaves_a_stopped_guest_alone);
    suite_add_tcase(suite, whole);
    TCase *rules = tcase_create("rules");
    tcase_add_checked_fixture(rules, setup, NULL);
    tcase_add_test(rules, sentence_has_the_numbers);
    tcase_add_test(rules, all_triggers_must_hold);
    tcase_add_test(rules, step_is_taken_once);
    tcase_add_test(rules, waiting_step_does_not_hold_up_the_next);
    tcase_add_test(rules, due_steps_come_one_a_call_in_order);
    tcase_add_test(rules, forbidden_steps_are_passed_over_within_one_call);
    tcase_add_test(rules, step_becomes_possible_when_it_is_allowed_later);
    tcase_add_loop_test(rules, downtime_that_is_not_above_the_limit_is_passed_over, 0, 8);
    tcase_add_test(rules, refused_postcopy_is_passed_over);
    tcase_add_loop_test(rules, implied_downtime_decides_on_the_stop, 0, 4);
    tcase_add_test(rules, stop_without_bound_is_always_below_stop_max);
    tcase_add_test(rules, stop_that_takes_too_long_is_given_up);
    tcase_add_test(rules, no_step_is_taken_once_we_stopped_the_guest);
    tcase_add_test(rules, refused_pause_is_forgotten);
    tcase_add_test(rules, nothing_is_decided_in_postcopy);
    tcase_add_loop_test(rules, sooner_time_limit_wins, 0, 8);
    tcase_add_loop_test(rules, on_timeout_does_what_is_possible, 0, 8);
    tcase_add_loop_test(rules, timeout_aborts_when_its_action_is_refused, 0, 2);
    tcase_add_test(rules, stop_after_the_timeout_is_bounded_by_stop_max);
    tcase_add_test(rules, stuck_move_is_given_up);
    tcase_add_test(rules, wake_is_the_next_moment_at_which_time_alone_decides);
    tcase_add_test(rules, pacing_forecast_takes_no_steps_but_keeps_the_time_limits);
    tcase_add_test(rules, longest_sentence_fits);
    tcase_add_loop_test(rules, action_names_are_those_of_the_interface, 0,
                        POLICY_ABORT + 1);
    tcase_add_test(rules, in_order_a_step_waits_for_those_before_it);
    tcase_add_loop_test(rules, step_for_a_stopped_guest_is_looked_at_then_too, 0, 2);
    tcase_add_test(rules, stop_max_is_guarded_between_looks);
    tcase_add_loop_test(rules, memory_is_counted_as_the_policy_says, 0, 6);
    suite_add_tcase(suite, rules);
    TCase *others = tcase_create("others");
    tcase_add_checked_fixture(others, setup, NULL);
    tcase_add_test(others, vdsm_takes_one_step_a_look_by_the_pass_counter);
    tcase_add_test(others, vdsm_waits_for_the_head_of_the_list);
    tcase_add_test(others, vdsm_looks_every_ten_seconds);
    tcase_add_test(others, vdsm_suspend_allows_five_seconds_before_the_end);
    tcase_add_loop_test(others, vdsm_switches_to_postcopy_and_ends_if_that_is_refused, 0,
                        2);
    tcase_add_loop_test(others, vdsm_does_without_postcopy_where_it_cannot_be, 0, 2);
    tcase_add_test(others, vdsm_lets_very_large_vms_stop_for_longer);
    tcase_add_loop_test(others, others_leave_the_throttle_to_qemu_from_the_start, 0, 8);
    tcase_add_test(others, kubevirt_counts_gigabytes_rounded_up);
    tcase_add_loop_test(others, kubevirt_takes_the_completion_timeout_of_others, 0, 2);
    tcase_add_loop_test(others, kubevirt_forces_completion_as_it_may, 0, 5);
    tcase_add_test(others, kubevirt_ends_a_stop_at_twice_the_limit);
    tcase_add_test(others, kubevirt_ends_when_nothing_becomes_less_for_150_s);
    tcase_add_test(others, proxmox_doubles_after_the_sixth_rise);
    tcase_add_test(others, proxmox_looks_more_often_near_the_end);
    tcase_add_test(others, proxmox_does_not_count_while_nothing_moves);
    tcase_add_test(others, nova_steps_by_time_and_size);
    tcase_add_test(others, nova_counts_at_least_two_gib);
    tcase_add_loop_test(others, nova_forces_completion_as_it_may, 0, 4);
    tcase_add_loop_test(others, libvirt_does_nothing_but_the_timeout, 0, 2);
    tcase_add_test(others, legacy_gives_up_after_64_s_for_each_gib);
    suite_add_tcase(suite, others);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

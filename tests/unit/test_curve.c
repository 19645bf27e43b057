/* Journals as the beginning of a simulation. The journals are written here, by a simulated
 * migration: so it is known what another policy would really have done. */
#include <check.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "engine/curve.h"
#include "policy/model_json.h"
#include "policy/policy_json.h"
#include "schedules.h"

#define MIB (1024 * (uint64_t)1024)

enum { TEXT_MAX = 4 * 1024 * 1024 };

static struct fixture {
    struct policy_model_spec spec;
    struct policy policy;
    struct simulate sim;
    struct simulate other;
    struct curve curve;
    struct curve_outcome out;
    struct qf_err err;
    char *text;
    size_t len;
    unsigned seq;
} f;

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    f.text = malloc(TEXT_MAX);
    ck_assert_ptr_nonnull(f.text);
    f.text[0] = '\0';
    policy_model_defaults(&f.spec);
    f.spec.guest.memory_bytes = QF_GIB;
    f.spec.guest.zero_bytes = 256 * MIB;
    f.spec.guest.noise_percent = 0;
    f.spec.guest.n_sets = 2;
    f.spec.guest.sets[0] =
        (struct policy_model_set){"hot", 40 * MIB, 100 * MIB, POLICY_MODEL_RANDOM};
    f.spec.guest.sets[1] =
        (struct policy_model_set){"cold", 300 * MIB, 20 * MIB, POLICY_MODEL_RANDOM};
    f.spec.link.rate_bytes_per_s = 60 * MIB;
}

static void teardown(void)
{
    curve_fini(&f.curve);
    free(f.text);
}

/* ---- writing a journal ---- */

static void line(int64_t t_ns, const char *type, const char *fmt, ...) QF_PRINTF(3, 4);

static void line(int64_t t_ns, const char *type, const char *fmt, ...)
{
    va_list ap;
    f.len += (size_t)snprintf(f.text + f.len, TEXT_MAX - f.len,
                              "{\"time\":\"2026-01-01T00:00:00.000Z\",\"type\":\"%s\","
                              "\"seq\":%u,\"t_ns\":%lld",
                              type, ++f.seq, (long long)t_ns);
    va_start(ap, fmt);
    f.len += (size_t)vsnprintf(f.text + f.len, TEXT_MAX - f.len, fmt, ap);
    va_end(ap);
    f.len += (size_t)snprintf(f.text + f.len, TEXT_MAX - f.len, "}\n");
}

static void header(void)
{
    json_t *json = policy_dump(&f.policy);
    char *text = json_dumps(json, JSON_COMPACT);
    line(500000000, "journal", ",\"format\":1,\"wall_ms\":0,\"spec\":{},\"policy\":%s",
         text);
    free(text);
    json_decref(json);
}

static void record(void *arg,
                   const struct policy_sample *s,
                   const struct policy_decision *d)
{
    (void)arg;
    if (s->started) {
        line(s->t_ns, "event",
             ",\"kind\":\"reply\",\"side\":\"source\",\"qmp\":{\"return\":{\"ram\":{"
             "\"normal\":%llu,\"duplicate\":0,\"page-size\":4096}}}",
             (unsigned long long)(s->walked_bytes / 4096));
        line(s->t_ns, "sample",
             ",\"pass\":%llu,\"remaining\":%llu,\"transferred\":%llu,\"total\":%llu,"
             "\"dirty_rate\":%llu,\"bandwidth\":%llu,\"expected_downtime_ms\":null,"
             "\"throttle\":%u,\"mode\":\"%s\"",
             (unsigned long long)s->pass, (unsigned long long)s->remaining_bytes,
             (unsigned long long)s->transferred_bytes, (unsigned long long)s->total_bytes,
             (unsigned long long)s->dirty_bytes_per_s,
             (unsigned long long)s->bandwidth_bytes_per_s, s->throttle_percent,
             s->postcopy        ? "postcopy"
             : s->guest_stopped ? "stop-and-copy"
                                : "precopy");
    }
    if (d->action != POLICY_WAIT || d->new_pass)
        line(s->t_ns, "decision", ",\"action\":\"%s\",\"because\":\"x\",\"value\":%llu",
             policy_action_name(d->action), (unsigned long long)d->value);
    if (!s->started)
        line(s->t_ns, "do", ",\"do\":\"send\",\"qmp\":{\"execute\":\"migrate\"}");
}

static void preset(struct policy *p, const char *name)
{
    schedule_load(name, p);
}

/* A journal of this policy over the fixture's model. */
static const struct simulate_result *journal(const char *policy)
{
    static const struct simulate_ops ops = {.on_decision = record};
    preset(&f.policy, policy);
    f.policy.throttle_allowed = false;
    header();
    simulate_init(&f.sim, &f.policy, &f.spec, 1, &ops, NULL);
    simulate_run(&f.sim);
    const struct simulate_result *r = &f.sim.result;
    line(f.sim.t0_ns + f.sim.model.now_ns, "result",
         ",\"outcome\":\"%s\",\"mode\":\"%s\",\"total_ms\":%llu,\"downtime_ms\":%llu,"
         "\"blackout_ms\":%llu,\"transferred\":%llu,\"passes\":%llu,\"reason\":\"over\"",
         simulate_outcome_name(r->outcome), simulate_mode_name(r->mode),
         (unsigned long long)r->total_ms, (unsigned long long)r->downtime_ms,
         (unsigned long long)r->blackout_ms, (unsigned long long)r->transferred_bytes,
         (unsigned long long)r->passes);
    return r;
}

static void must_load(void)
{
    ck_assert_msg(curve_load(&f.curve, f.text, f.len, &f.err) == 0, "%s", f.err.text);
}

/* What this policy makes of the journal, and what it would really have done. */
static const struct simulate_result *ask(const char *policy, struct policy *p)
{
    preset(p, policy);
    p->throttle_allowed = false;
    curve_simulate(&f.curve, p, 1, NULL, NULL, &f.other, &f.out);
    simulate_init(&f.sim, p, &f.spec, 1, NULL, NULL);
    simulate_run(&f.sim);
    return &f.sim.result;
}

static void near(uint64_t value, uint64_t expected, uint64_t percent)
{
    const uint64_t off = value > expected ? value - expected : expected - value;
    ck_assert_msg(off * 100 <= expected * percent, "%llu, expected %llu within %llu %%",
                  (unsigned long long)value, (unsigned long long)expected,
                  (unsigned long long)percent);
}

/* --- what holds --- */

START_TEST(the_same_policy_ends_as_recorded)
{
    static const char *const policies[] = {"minimal-downtime", "post-copy",
                                           "suspend-if-needed", "stop-and-copy"};
    struct policy p;
    const struct simulate_result then = *journal(policies[_i]);
    must_load();
    (void)ask(policies[_i], &p);
    const struct simulate_result *r = &f.out.result;
    ck_assert_msg(f.out.as_recorded, "at %llu ms: %s", (unsigned long long)f.out.until_ms,
                  f.out.because);
    ck_assert_int_eq(r->outcome, then.outcome);
    ck_assert_int_eq(r->mode, then.mode);
    ck_assert_uint_eq(r->total_ms, then.total_ms);
    ck_assert_uint_eq(r->downtime_ms, then.downtime_ms);
    ck_assert_uint_eq(r->blackout_ms, then.blackout_ms);
    ck_assert_uint_eq(r->transferred_bytes, then.transferred_bytes);
    ck_assert_uint_eq(r->passes, then.passes);
    ck_assert_uint_eq(r->decisions, then.decisions);
    ck_assert_int_eq(r->costly, then.costly);
    ck_assert_uint_eq(r->costly_ms, then.costly_ms);
}
END_TEST

START_TEST(from_the_first_other_decision_a_model_takes_over)
{
    struct policy p;
    const struct simulate_result then = *journal("minimal-downtime");
    ck_assert_int_eq(then.outcome, SIMULATE_ABORTED);
    must_load();
    const struct simulate_result *truth = ask("post-copy", &p);
    ck_assert(!f.out.as_recorded);
    ck_assert_str_eq(f.out.because,
                     "recorded was set-downtime 300, this policy says postcopy");
    ck_assert_uint_eq(f.out.until_ms, truth->costly_ms);
    ck_assert_int_eq(f.out.result.outcome, SIMULATE_COMPLETED);
    ck_assert_int_eq(f.out.result.mode, SIMULATE_MODE_POSTCOPY);
    ck_assert_int_eq(f.out.result.costly_action, POLICY_POSTCOPY);
    near(f.out.result.total_ms, truth->total_ms, 5);
    near(f.out.result.transferred_bytes, truth->transferred_bytes, 5);
}
END_TEST

START_TEST(the_fitted_guest_behaves_like_the_recorded_one)
{
    struct policy p;
    (void)journal("minimal-downtime");
    must_load();
    const struct simulate_result *truth = ask("suspend-if-needed", &p);
    ck_assert(!f.out.as_recorded);
    ck_assert_int_eq(f.out.result.outcome, truth->outcome);
    near(f.out.result.total_ms, truth->total_ms, 20);
    near(f.out.result.blackout_ms, truth->blackout_ms, 30);
    ck_assert(strstr(f.out.guest, "fitted to its pass boundaries: ") == f.out.guest);
    /* another downtime from the start, over the whole curve */
    preset(&p, "minimal-downtime");
    p.downtime_start_ms = 1500;
    p.downtime_max_ms = 1500;
    curve_simulate(&f.curve, &p, 1, NULL, NULL, &f.other, &f.out);
    simulate_init(&f.sim, &p, &f.spec, 1, NULL, NULL);
    simulate_run(&f.sim);
    ck_assert_str_eq(
        f.out.because,
        "recorded began with a downtime limit of 100 ms, this policy with 1.5 s");
    ck_assert_int_eq(f.out.result.outcome, SIMULATE_COMPLETED);
    near(f.out.result.total_ms, f.sim.result.total_ms, 20);
}
END_TEST

START_TEST(curve_and_link_are_found_again)
{
    struct policy_model_spec spec;
    (void)journal("minimal-downtime");
    must_load();
    ck_assert(curve_fit(&f.curve, 0, &spec));
    ck_assert_uint_eq(spec.guest.memory_bytes, QF_GIB);
    near(spec.guest.zero_bytes, 256 * MIB, 5);
    near(spec.link.rate_bytes_per_s, 60 * MIB, 3);
    uint64_t all = 0;
    uint64_t writes = 0;
    for (uint32_t i = 0; i < spec.guest.n_sets; i++) {
        all += spec.guest.sets[i].bytes;
        writes += spec.guest.sets[i].writes_bytes_per_s;
    }
    ck_assert_uint_le(all, QF_GIB - spec.guest.zero_bytes);
    ck_assert(all > 100 * MIB && writes > 30 * MIB);
}
END_TEST

START_TEST(the_limit_in_force_is_known_at_each_sample)
{
    (void)journal("minimal-downtime");
    must_load();
    ck_assert_uint_eq(f.curve.moments[0].s.downtime_limit_ms, 100);
    ck_assert_uint_eq(f.curve.moments[f.curve.n - 1].s.downtime_limit_ms, 500);
}
END_TEST

START_TEST(no_more_is_fitted_than_there_is)
{
    struct policy_model_spec spec;
    f.spec.guest.n_sets =
        1; /* grows like a straight line: without end, as far as one can see */
    f.spec.guest.sets[0] =
        (struct policy_model_set){"line", 700 * MIB, 40 * MIB, POLICY_MODEL_SWEEP};
    (void)journal("minimal-downtime");
    must_load();
    ck_assert(curve_fit(&f.curve, 0, &spec));
    uint64_t all = spec.guest.zero_bytes;
    for (uint32_t i = 0; i < spec.guest.n_sets; i++)
        all += spec.guest.sets[i].bytes;
    ck_assert_uint_le(all, QF_GIB);
    ck_assert_uint_gt(all, QF_GIB / 2);
}
END_TEST

START_TEST(a_changing_link_is_carried_on)
{
    struct policy_model_spec spec;
    f.spec.link.n_changes = 1;
    f.spec.link.changes[0] = (struct policy_model_change){8000, 20 * MIB};
    f.spec.link.n_drops = 1;
    f.spec.link.drops[0] = (struct policy_model_drop){20000, 5000};
    (void)journal("minimal-downtime");
    must_load();
    ck_assert(curve_fit(&f.curve, qf_ms_to_ns(5000), &spec));
    near(spec.link.rate_bytes_per_s, 60 * MIB, 3);
    ck_assert_uint_gt(spec.link.n_changes, 2);
    near(spec.link.changes[spec.link.n_changes - 1].rate_bytes_per_s, 20 * MIB, 10);
    ck_assert_uint_ge(spec.link.n_drops, 1);
    ck_assert(spec.link.drops[0].at_ms >= 20000 && spec.link.drops[0].at_ms < 21100);
}
END_TEST

START_TEST(a_stop_before_the_start_models_it_all)
{
    struct policy p;
    (void)journal("minimal-downtime");
    must_load();
    const struct simulate_result *truth = ask("stop-and-copy", &p);
    ck_assert_str_eq(f.out.because, "this policy stops the guest before memory moves");
    ck_assert_uint_eq(f.out.until_ms, 0);
    near(f.out.result.total_ms, truth->total_ms, 10);
}
END_TEST

START_TEST(a_guest_that_never_ran_shows_nothing)
{
    struct policy p;
    (void)journal("stop-and-copy");
    must_load();
    (void)ask("post-copy", &p);
    ck_assert_str_eq(
        f.out.because,
        "recorded was a guest stopped before memory moved, this policy lets it run");
    ck_assert(strstr(f.out.guest, "nothing is known of what it writes") != NULL);
}
END_TEST

START_TEST(another_bandwidth_differs_at_once)
{
    struct policy p;
    (void)journal("minimal-downtime");
    must_load();
    preset(&p, "minimal-downtime");
    p.bandwidth_bytes_per_s = 30 * MIB;
    curve_simulate(&f.curve, &p, 1, NULL, NULL, &f.other, &f.out);
    ck_assert_str_eq(f.out.because, "another bandwidth from the start");
    ck_assert_uint_lt(f.out.until_ms, 200);
}
END_TEST

/* --- bad input --- */

START_TEST(what_is_no_journal_is_said_in_one_line)
{
    static const struct {
        const char *text;
        const char *says;
    } bad[] = {
        {"", "not a journal: it is empty"},
        {"hello\n", "line 1: not JSON: no journal of qferry's, or damaged"},
        {"{\"type\":\"sample\"}\n",
         "line 1: not a journal: its first line is not of type journal"},
        {"{\"type\":\"journal\",\"format\":2}\n",
         "line 1: a journal of format 2, this qferry reads format 1"},
    };
    ck_assert_int_eq(curve_load(&f.curve, bad[_i].text, strlen(bad[_i].text), &f.err),
                     -(int)QF_E_USAGE);
    ck_assert_str_eq(f.err.text, bad[_i].says);
}
END_TEST

START_TEST(damage_in_the_middle_names_its_line)
{
    preset(&f.policy, "post-copy");
    header();
    f.len += (size_t)snprintf(f.text + f.len, 64, "garbage\n");
    ck_assert(curve_load(&f.curve, f.text, f.len, &f.err) != 0);
    ck_assert_str_eq(f.err.text, "line 2: not JSON: no journal of qferry's, or damaged");
    f.len -= 8;
    f.len += (size_t)snprintf(f.text + f.len, 64, "{\"a\":1}\n");
    ck_assert(curve_load(&f.curve, f.text, f.len, &f.err) != 0);
    ck_assert_str_eq(f.err.text, "line 2: not a line of a journal: it has no type");
}
END_TEST

START_TEST(time_that_goes_back_names_its_line)
{
    (void)journal("post-copy");
    line(5, "sample", ",\"pass\":1");
    ck_assert(curve_load(&f.curve, f.text, f.len, &f.err) != 0);
    ck_assert(strstr(f.err.text, ": time goes backwards") != NULL);
}
END_TEST

START_TEST(a_journal_that_ends_too_early_is_refused)
{
    preset(&f.policy, "post-copy");
    header();
    line(600000000, "phase", ",\"phase\":\"connect\"");
    ck_assert(curve_load(&f.curve, f.text, f.len, &f.err) != 0);
    ck_assert_str_eq(f.err.text,
                     "line 2: the journal ends before memory moved: nothing to go by");
}
END_TEST

START_TEST(a_cut_last_line_is_left_out)
{
    struct policy p;
    (void)journal("post-copy");
    must_load();
    const size_t n = f.curve.n;
    curve_fini(&f.curve);
    f.len -= 10; /* in the result */
    must_load();
    ck_assert(f.curve.cut && !f.curve.end.known);
    ck_assert_uint_eq(f.curve.n, n);
    (void)ask("post-copy", &p);
    ck_assert(f.out.as_recorded);
    ck_assert_int_eq(f.out.result.outcome, SIMULATE_UNFINISHED);
}
END_TEST

START_TEST(a_model_is_no_journal)
{
    (void)journal("post-copy");
    ck_assert(curve_is_journal(f.text, f.len));
    ck_assert(!curve_is_journal("{\"guest\": {}}", 13));
    ck_assert(!curve_is_journal("{\n\"type\": \"journal\"}", 20));
    ck_assert(!curve_is_journal("", 0));
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("curve");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, the_same_policy_ends_as_recorded, 0, 4);
    tcase_add_test(tc, from_the_first_other_decision_a_model_takes_over);
    tcase_add_test(tc, the_fitted_guest_behaves_like_the_recorded_one);
    tcase_add_test(tc, curve_and_link_are_found_again);
    tcase_add_test(tc, the_limit_in_force_is_known_at_each_sample);
    tcase_add_test(tc, no_more_is_fitted_than_there_is);
    tcase_add_test(tc, a_changing_link_is_carried_on);
    tcase_add_test(tc, a_stop_before_the_start_models_it_all);
    tcase_add_test(tc, a_guest_that_never_ran_shows_nothing);
    tcase_add_test(tc, another_bandwidth_differs_at_once);
    tcase_add_loop_test(tc, what_is_no_journal_is_said_in_one_line, 0, 4);
    tcase_add_test(tc, damage_in_the_middle_names_its_line);
    tcase_add_test(tc, time_that_goes_back_names_its_line);
    tcase_add_test(tc, a_journal_that_ends_too_early_is_refused);
    tcase_add_test(tc, a_cut_last_line_is_left_out);
    tcase_add_test(tc, a_model_is_no_journal);
    Suite *suite = suite_create("engine/curve");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

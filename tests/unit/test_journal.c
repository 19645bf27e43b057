/* Journal lines: time, header there and back, each record. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "engine/journal.h"
#include "netsel/networks_json.h"
#include "policy/policy_json.h"

static struct fixture {
    struct journal_clock clock;
    struct mig_spec spec;
    struct policy policy;
    struct mig mig;
    struct record record;
    struct qf_err err;
    json_t *line;
    char *text;
} f;

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    f.clock = (struct journal_clock){
        .t0_ns = 5 * QF_NS_PER_S, .wall_ms = 1700000000000, .seq = 1};
    (void)strcpy(f.spec.source, "/run/a.qmp");
    (void)strcpy(f.spec.destination, "tcp:[::1]:4444");
    (void)strcpy(f.spec.address, "192.0.2.7");
    f.spec.port_first = 49152;
    f.spec.port_last = 49160;
    f.spec.bandwidth_bytes_per_s = 125000000;
    f.spec.unsafe = 5;
    f.spec.quit_source = true;
    f.spec.self_start = true;
    ck_assert_int_eq(policy_preset_load("suspend-if-needed", &f.policy, NULL), 0);
    mig_init(&f.mig, &f.spec, &f.policy);
}

static void teardown(void)
{
    json_decref(f.line);
    free(f.text);
}

static const char *dump(json_t *line)
{
    json_decref(f.line);
    free(f.text);
    f.line = line;
    f.text = journal_dump(line);
    ck_assert_ptr_nonnull(f.text);
    return f.text;
}

static const char *record(enum record_kind kind)
{
    f.record.kind = kind;
    return dump(journal_record(&f.clock, 6 * QF_NS_PER_S, &f.record, &f.mig));
}

#define LEAD "{\"time\":\"2023-11-14T22:13:21.000Z\",\"type\":"
#define AT   ",\"seq\":1,\"t_ns\":6000000000"

/* ---- time ---- */

static const struct {
    int64_t wall_ms;
    const char *time;
} times[] = {
    {0, "1970-01-01T00:00:00.000Z"},
    {1, "1970-01-01T00:00:00.001Z"},
    {-1, "1969-12-31T23:59:59.999Z"},
    {951782400000, "2000-02-29T00:00:00.000Z"},
    {951868799999, "2000-02-29T23:59:59.999Z"},
    {1700000000123, "2023-11-14T22:13:20.123Z"},
    {1709164800000, "2024-02-29T00:00:00.000Z"},
    {4107542400000, "2100-03-01T00:00:00.000Z"},
    {4107456000000, "2100-02-28T00:00:00.000Z"},
    {-62135596800000, "0001-01-01T00:00:00.000Z"},
};

START_TEST(wall_clock_is_written_as_rfc_3339)
{
    f.clock.wall_ms = times[_i].wall_ms;
    (void)dump(journal_line(&f.clock, "x", f.clock.t0_ns));
    ck_assert_str_eq(json_string_value(json_object_get(f.line, "time")), times[_i].time);
}
END_TEST

START_TEST(wall_clock_is_computed_from_the_monotonic_one)
{
    (void)dump(journal_line(&f.clock, "x", f.clock.t0_ns + 1500 * QF_NS_PER_MS + 999999));
    ck_assert_str_eq(json_string_value(json_object_get(f.line, "time")),
                     "2023-11-14T22:13:21.500Z");
}
END_TEST

START_TEST(lines_are_counted)
{
    for (json_int_t i = 1; i < 4; i++) {
        (void)dump(journal_line(&f.clock, "x", f.clock.t0_ns));
        ck_assert_int_eq(json_integer_value(json_object_get(f.line, "seq")), i);
    }
}
END_TEST

START_TEST(line_ends_in_one_newline)
{
    const char *text = dump(journal_line(&f.clock, "x", f.clock.t0_ns));
    ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
}
END_TEST

/* ---- header ---- */

START_TEST(header_is_read_as_it_was_written)
{
    struct journal_clock clock;
    struct mig_spec spec;
    struct policy policy;
    memset(&policy, 0, sizeof(policy));
    if (_i == 1)
        f.spec.bandwidth_bytes_per_s = SPEC_BANDWIDTH_HYPERVISOR;
    f.spec.bandwidth_auto = _i == 1;
    f.spec.address_from = SPEC_ADDRESS_GIVEN;
    f.spec.n_given = 2;
    (void)strcpy(f.spec.given[0], "192.0.2.7");
    (void)strcpy(f.spec.given[1], "hv2.example.org");
    (void)strcpy(f.spec.monitor_host, "::1");
    f.spec.encrypt = _i == 1 ? SPEC_ENCRYPT_SSH : SPEC_ENCRYPT_OFF;
    (void)strcpy(f.spec.encrypt_with, _i == 1 ? "root@hv2" : "");
    f.spec.encrypt_by_policy = _i == 1;
    if (_i == 1) {
        const char *text =
            "{\"fallback\": false, \"networks\": [{\"name\": \"m\", \"cidr\": "
            "\"fd00::/64\", \"rate\": \"1Gbit\"}]}";
        ck_assert_int_eq(networks_load("n", text, strlen(text), &f.spec.networks, &f.err),
                         0);
        f.spec.networks.port_last = 49160;
    }
    memset(&spec, 0, sizeof(spec));
    (void)dump(journal_header(&f.clock, &f.spec, &f.policy));
    ck_assert_int_eq(journal_read_header(f.line, &clock, &spec, &policy, &f.err), 0);
    ck_assert_str_eq(spec.source, f.spec.source);
    ck_assert_str_eq(spec.destination, f.spec.destination);
    ck_assert_str_eq(spec.address, f.spec.address);
    ck_assert_uint_eq(spec.port_first, f.spec.port_first);
    ck_assert_uint_eq(spec.port_last, f.spec.port_last);
    ck_assert_uint_eq(spec.bandwidth_bytes_per_s, f.spec.bandwidth_bytes_per_s);
    ck_assert_uint_eq(spec.unsafe, f.spec.unsafe);
    ck_assert_int_eq(spec.encrypt, f.spec.encrypt);
    ck_assert_str_eq(spec.encrypt_with, f.spec.encrypt_with);
    ck_assert_int_eq(spec.encrypt_by_policy, f.spec.encrypt_by_policy);
    ck_assert(spec.bandwidth_auto == (_i == 1));
    ck_assert_int_eq(spec.address_from, f.spec.address_from);
    ck_assert_uint_eq(spec.n_given, 2);
    ck_assert_str_eq(spec.given[1], "hv2.example.org");
    ck_assert_str_eq(spec.monitor_host, "::1");
    ck_assert_int_eq(memcmp(&spec.networks, &f.spec.networks, sizeof(spec.networks)), 0);
    ck_assert(spec.self_start);
    ck_assert(spec.quit_source && !spec.quit_destination && !spec.dry_run);
    ck_assert_int_eq(clock.t0_ns, f.clock.t0_ns);
    ck_assert_int_eq(clock.wall_ms, f.clock.wall_ms);
    ck_assert_uint_eq(clock.seq, 1);
    json_t *a = policy_dump(&policy);
    json_t *b = policy_dump(&f.policy);
    ck_assert(json_equal(a, b));
    json_decref(a);
    json_decref(b);
}
END_TEST

static const struct {
    const char *key;
    const char *value; /* JSON; NULL: taken away */
    const char *says;
} spoilt[] = {
    {"type", "\"event\"", "not a journal: its first line is not of type journal"},
    {"type", NULL, "not a journal: its first line is not of type journal"},
    {"format", "2", "a journal of format 2, this qferry reads format 1"},
    {"format", NULL, "a journal of format 0, this qferry reads format 1"},
    {"spec", NULL, "not a journal: no spec in its first line"},
    {"spec", "7", "not a journal: no spec in its first line"},
    {"policy", NULL, "not a journal: no policy in its first line"},
    {"t_ns", "-1", "not a journal: its first line has no time"},
    {"t_ns", "9223372036854775807", "not a journal: its first line has no time"},
    {"wall_ms", "-9223372036854775807", "not a journal: its first line has no time"},
};

START_TEST(header_that_is_none_is_refused)
{
    struct journal_clock clock;
    struct mig_spec spec;
    struct policy policy;
    (void)dump(journal_header(&f.clock, &f.spec, &f.policy));
    if (spoilt[_i].value)
        (void)json_object_set_new(f.line, spoilt[_i].key,
                                  json_loads(spoilt[_i].value, JSON_DECODE_ANY, NULL));
    else
        (void)json_object_del(f.line, spoilt[_i].key);
    ck_assert_int_eq(journal_read_header(f.line, &clock, &spec, &policy, &f.err),
                     -QF_E_USAGE);
    ck_assert_str_eq(f.err.text, spoilt[_i].says);
}
END_TEST

START_TEST(header_with_a_faulty_policy_says_where)
{
    struct journal_clock clock;
    struct mig_spec spec;
    struct policy policy;
    (void)dump(journal_header(&f.clock, &f.spec, &f.policy));
    (void)json_object_set_new(json_object_get(f.line, "policy"), "dawntime", json_true());
    ck_assert_int_lt(journal_read_header(f.line, &clock, &spec, &policy, &f.err), 0);
    ck_assert_ptr_nonnull(strstr(f.err.text, "policy of the journal"));
    ck_assert_ptr_nonnull(strstr(f.err.text, "dawntime"));
}
END_TEST

/* ---- records ---- */

START_TEST(phase_has_both_names)
{
    f.record.u.phase.name = "configure";
    f.record.u.phase.public = "prepare";
    ck_assert_str_eq(record(RECORD_PHASE), LEAD
                     "\"phase\"" AT ",\"phase\":\"prepare\",\"step\":\"configure\"}\n");
}
END_TEST

START_TEST(check_leaves_out_what_was_not_compared)
{
    struct record_check *c = &f.record.u.check;
    c->name = "cpus";
    c->verdict = CHECK_REFUSED;
    (void)strcpy(c->message, "differ");
    ck_assert_str_eq(record(RECORD_CHECK),
                     LEAD "\"check\"" AT ",\"name\":\"cpus\",\"verdict\":\"refused\","
                          "\"message\":\"differ\"}\n");
    (void)strcpy(c->source, "2");
    (void)strcpy(c->destination, "4");
    f.clock.seq = 1;
    ck_assert_ptr_nonnull(
        strstr(record(RECORD_CHECK), "\"source\":\"2\",\"destination\":\"4\"}"));
}
END_TEST

START_TEST(sample_says_null_for_what_is_unknown)
{
    f.record.u.sample = (struct policy_sample){.pass = 3,
                                               .remaining_bytes = 1,
                                               .transferred_bytes = 2,
                                               .total_bytes = UINT64_MAX - 1,
                                               .expected_downtime_ms = POLICY_UNKNOWN,
                                               .throttle_percent = 20};
    ck_assert_str_eq(record(RECORD_SAMPLE),
                     LEAD "\"sample\"" AT ",\"pass\":3,\"remaining\":1,\"transferred\":2,"
                          "\"total\":9223372036854775807,\"dirty_rate\":0,\"bandwidth\":0,"
                          "\"expected_downtime_ms\":null,\"throttle\":20,"
                          "\"mode\":\"precopy\"}\n");
    f.record.u.sample.guest_stopped = true;
    ck_assert_ptr_nonnull(strstr(record(RECORD_SAMPLE), "\"mode\":\"stop-and-copy\""));
    f.record.u.sample.postcopy = true;
    ck_assert_ptr_nonnull(strstr(record(RECORD_SAMPLE), "\"mode\":\"postcopy\""));
}
END_TEST

START_TEST(decision_names_policy_rule_and_reason)
{
    struct policy_decision *d = &f.record.u.decision;
    d->action = POLICY_SET_DOWNTIME;
    d->value = 150;
    d->rule = "step 1";
    (void)strcpy(d->because, "it stalled");
    ck_assert_str_eq(record(RECORD_DECISION),
                     LEAD "\"decision\"" AT
                          ",\"action\":\"set-downtime\",\"because\":\"it stalled\","
                          "\"policy\":\"suspend-if-needed\",\"value\":150,"
                          "\"rule\":\"step 1\"}\n");
}
END_TEST

START_TEST(text_that_is_not_utf_8_does_not_lose_the_line)
{
    (void)strcpy(f.record.u.text, "caf\xe9");
    ck_assert_str_eq(record(RECORD_WARNING),
                     LEAD "\"warning\"" AT ",\"message\":\"(not UTF-8)\"}\n");
    (void)strcpy(f.record.u.text, "caf\xc3\xa9 \"quoted\"");
    f.clock.seq = 1;
    ck_assert_str_eq(record(RECORD_NOTE),
                     LEAD "\"note\"" AT ",\"message\":\"caf\xc3\xa9 \\\"quoted\\\"\"}\n");
}
END_TEST

static const struct {
    enum record_outcome outcome;
    enum record_place place;
    enum qf_code code;
    enum record_mode mode;
    const char *says;
} results[] = {
    {OUTCOME_COMPLETED, PLACE_DESTINATION, QF_E_OK, MODE_PRECOPY,
     "\"outcome\":\"completed\",\"running_on\":\"destination\",\"exit\":0,\"reason\":\"so\","
     "\"mode\":\"precopy\""},
    {OUTCOME_ABORTED, PLACE_SOURCE, QF_E_GAVE_UP, MODE_STOP_AND_COPY,
     "\"outcome\":\"aborted\",\"running_on\":\"source\",\"exit\":4,\"reason\":\"so\","
     "\"mode\":\"stop-and-copy\""},
    {OUTCOME_CANCELLED, PLACE_SOURCE, QF_E_CANCELLED, MODE_PRECOPY,
     "\"outcome\":\"cancelled\",\"running_on\":\"source\",\"exit\":5"},
    {OUTCOME_FAILED, PLACE_UNKNOWN, QF_E_UNREACHABLE, MODE_PRECOPY,
     "\"outcome\":\"failed\",\"running_on\":\"unknown\",\"exit\":6"},
    {OUTCOME_REFUSED, PLACE_SOURCE, QF_E_REFUSED, MODE_PRECOPY,
     "\"outcome\":\"refused\",\"running_on\":\"source\",\"exit\":3"},
    {OUTCOME_LOST, PLACE_NONE, QF_E_HELD, MODE_POSTCOPY,
     "\"outcome\":\"lost\",\"running_on\":\"none\",\"exit\":7,\"reason\":\"so\","
     "\"mode\":\"postcopy\""},
};

START_TEST(result_has_the_exit_status_of_its_code)
{
    f.record.u.result = (struct record_result){.outcome = results[_i].outcome,
                                               .running_on = results[_i].place,
                                               .code = results[_i].code,
                                               .mode = results[_i].mode,
                                               .reason = "so",
                                               .blackout_ms = POLICY_UNKNOWN};
    const char *text = record(RECORD_RESULT);
    ck_assert_ptr_nonnull(strstr(text, results[_i].says));
    ck_assert_ptr_nonnull(strstr(text, "\"blackout_ms\":null"));
    ck_assert_ptr_nonnull(
        strstr(text, "\"policy\":\"suspend-if-needed\",\"network\":null"));
}
END_TEST

/* Null where there is nothing; the candidates are those of the choice. */
START_TEST(network_has_its_candidates)
{
    static struct netsel_choice choice = {.chosen = -1, .n = 1};
    struct record_network *n = &f.record.u.network;
    (void)strcpy(choice.candidate[0].name, "migration");
    (void)strcpy(choice.candidate[0].why, "mig0 is down");
    (void)strcpy(n->reason, "no usable network: migration: mig0 is down");
    (void)strcpy(n->bandwidth_reason, "no usable network");
    n->bandwidth_bytes_per_s = POLICY_UNKNOWN;
    n->choice = &choice;
    ck_assert_str_eq(
        record(RECORD_NETWORK),
        LEAD "\"network\"" AT
             ",\"chosen\":null,\"address\":null,\"reason\":\"no usable network: migration: "
             "mig0 is down\",\"candidates\":[{\"name\":\"migration\",\"address\":null,"
             "\"usable\":false,\"why\":\"mig0 is down\",\"link_rate\":null}],"
             "\"bandwidth\":null,\"bandwidth_reason\":\"no usable network\"}\n");
    choice = (struct netsel_choice){.chosen = 0, .n = 1};
    choice.candidate[0] = (struct netsel_candidate){
        .name = "a", .address = "fd00::2", .usable = true, .link_bytes_per_s = 125000000};
    f.mig.network_known = true;
    f.mig.network = choice;
    (void)strcpy(n->name, "a");
    (void)strcpy(n->address, "fd00::2");
    n->bandwidth_bytes_per_s = 100000000;
    const char *text = record(RECORD_NETWORK);
    ck_assert_ptr_nonnull(strstr(text, "\"chosen\":\"a\",\"address\":\"fd00::2\""));
    ck_assert_ptr_nonnull(
        strstr(text, "\"usable\":true,\"why\":\"\",\"link_rate\":125000000}]"));
    ck_assert_ptr_nonnull(strstr(text, "\"bandwidth\":100000000"));
    memset(&f.record, 0, sizeof(f.record));
    ck_assert_ptr_nonnull(strstr(record(RECORD_RESULT), "\"network\":\"a\"}"));
}
END_TEST

START_TEST(notes_alone_are_for_the_journal_only)
{
    static const enum record_kind kinds[] = {
        RECORD_PHASE,    RECORD_CHECK,   RECORD_SAMPLE,  RECORD_FORECAST,
        RECORD_DECISION, RECORD_WARNING, RECORD_NETWORK, RECORD_RESULT};
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        ck_assert(journal_is_public(kinds[i]));
    ck_assert(!journal_is_public(RECORD_NOTE));
    ck_assert(!journal_is_public(RECORD_OUTCOME));
}
END_TEST

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

START_TEST(the_outcome_of_a_forecast_has_its_error)
{
    f.record.u.outcome = (struct record_outcome_of){
        .pass = 2,
        .forecast = {.known = true,
                     .verdict = POLICY_VERDICT_CONVERGES,
                     .total_ms = {11000, 9000, 13000},
                     .transferred_bytes = {500, 500, 500}},
        .total_ms = 10000,
        .downtime_ms = POLICY_UNKNOWN,
        .transferred_bytes = 1000,
    };
    const char *text = record(RECORD_OUTCOME);
    ck_assert_ptr_nonnull(strstr(text, "\"type\":\"forecast-outcome\""));
    ck_assert_ptr_nonnull(strstr(text, "\"pass\":2,\"verdict\":\"converges\""));
    ck_assert_ptr_nonnull(strstr(text, "\"total_ms\":11000,\"total_ms_low\":9000,"
                                       "\"total_ms_high\":13000"));
    ck_assert_ptr_nonnull(strstr(text, "\"actual_total_ms\":10000"));
    ck_assert_ptr_nonnull(strstr(text, "\"actual_downtime_ms\":null"));
    ck_assert_ptr_nonnull(strstr(text, "\"total_error_permille\":100"));
    ck_assert_ptr_nonnull(strstr(text, "\"transferred_error_permille\":500"));
}
END_TEST

/* What another process makes of a line says the same. */
START_TEST(records_are_read_back)
{
    static const enum record_kind kinds[] = {
        RECORD_PHASE,    RECORD_CHECK,   RECORD_SAMPLE,  RECORD_FORECAST,
        RECORD_DECISION, RECORD_WARNING, RECORD_NETWORK, RECORD_RESULT};
    struct record r;
    memset(&f.record, 0, sizeof(f.record));
    switch (kinds[_i]) {
    case RECORD_PHASE:
        f.record.u.phase.public = f.record.u.phase.name = "precopy";
        break;
    case RECORD_CHECK:
        f.record.u.check.name = "uuid";
        f.record.u.check.verdict = CHECK_REFUSED;
        (void)strcpy(f.record.u.check.message, "another one");
        (void)strcpy(f.record.u.check.source, "a");
        break;
    case RECORD_SAMPLE:
        f.record.u.sample.pass = 3;
        f.record.u.sample.expected_downtime_ms = POLICY_UNKNOWN;
        f.record.u.sample.throttle_percent = 20;
        f.record.u.sample.guest_stopped = true;
        break;
    case RECORD_FORECAST:
        f.record.u.forecast = (struct policy_forecast){
            .known = true,
            .verdict = POLICY_VERDICT_NEEDS_THROTTLE,
            .total_ms = {9000, 8000, POLICY_UNKNOWN},
            .downtime_ms = {90, 80, 100},
        };
        break;
    case RECORD_DECISION:
        f.record.u.decision.action = POLICY_SET_DOWNTIME;
        f.record.u.decision.value = 300;
        f.record.u.decision.rule = "operator";
        (void)strcpy(f.record.u.decision.because, "so");
        break;
    case RECORD_NETWORK:
        (void)strcpy(f.record.u.network.name, "migration");
        (void)strcpy(f.record.u.network.address, "10.10.10.2");
        (void)strcpy(f.record.u.network.reason, "it answers");
        f.record.u.network.bandwidth_bytes_per_s = POLICY_UNKNOWN;
        (void)strcpy(f.record.u.network.bandwidth_reason, "not known");
        break;
    case RECORD_RESULT:
        f.record.u.result.outcome = OUTCOME_CANCELLED;
        f.record.u.result.code = QF_E_CANCELLED;
        f.record.u.result.running_on = PLACE_SOURCE;
        f.record.u.result.mode = MODE_POSTCOPY;
        f.record.u.result.blackout_ms = POLICY_UNKNOWN;
        break;
    case RECORD_WARNING:
    case RECORD_NOTE:
    case RECORD_OUTCOME:
        (void)strcpy(f.record.u.text, "beware");
        break;
    }
    (void)record(kinds[_i]);
    ck_assert(journal_read_record(f.line, &r));
    ck_assert_int_eq(r.kind, kinds[_i]);
    f.clock.seq--;
    json_t *again = journal_record(&f.clock, 6 * QF_NS_PER_S, &r, &f.mig);
    ck_assert(json_equal(f.line, again));
    json_decref(again);
}
END_TEST

START_TEST(what_is_no_public_line_is_not_read_back)
{
    struct record r;
    json_t *o = json_pack("{s:s}", "type", "event");
    ck_assert(!journal_read_record(o, &r));
    json_decref(o);
    ck_assert(!journal_read_record(NULL, &r));
    o = json_pack("{s:s,s:i,s:n}", "type", "decision", "action", 1, "rule");
    ck_assert(journal_read_record(o, &r));
    ck_assert_int_eq(r.u.decision.action, POLICY_WAIT);
    ck_assert_str_eq(r.u.decision.rule, "");
    json_decref(o);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("journal");
    TCase *t = tcase_create("journal");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, wall_clock_is_written_as_rfc_3339, 0, COUNT(times));
    tcase_add_test(t, wall_clock_is_computed_from_the_monotonic_one);
    tcase_add_test(t, lines_are_counted);
    tcase_add_test(t, line_ends_in_one_newline);
    tcase_add_loop_test(t, header_is_read_as_it_was_written, 0, 2);
    tcase_add_loop_test(t, header_that_is_none_is_refused, 0, COUNT(spoilt));
    tcase_add_test(t, header_with_a_faulty_policy_says_where);
    tcase_add_test(t, phase_has_both_names);
    tcase_add_test(t, check_leaves_out_what_was_not_compared);
    tcase_add_test(t, sample_says_null_for_what_is_unknown);
    tcase_add_test(t, decision_names_policy_rule_and_reason);
    tcase_add_test(t, text_that_is_not_utf_8_does_not_lose_the_line);
    tcase_add_loop_test(t, result_has_the_exit_status_of_its_code, 0, COUNT(results));
    tcase_add_test(t, the_outcome_of_a_forecast_has_its_error);
    tcase_add_loop_test(t, records_are_read_back, 0, 8);
    tcase_add_test(t, network_has_its_candidates);
    tcase_add_test(t, what_is_no_public_line_is_not_read_back);
    tcase_add_test(t, notes_alone_are_for_the_journal_only);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *r = srunner_create(suite());
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

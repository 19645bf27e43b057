/* Between JSON and the machine: what is journaled, in which order, and that a journal's events,
 * fed again, give the same text. Whole migrations are in tests/sim. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/units.h"
#include "engine/session.h"
#include "policy/policy_json.h"
#include "qmp/client.h"

enum { T0 = 1000000000, CAP = 1 << 20 };

struct side {
    struct session session;
    struct qf_buf lines;
    unsigned records;
};

static struct fixture {
    struct side a;
    struct side b; /* fed from a's journal */
    struct mig_spec spec;
    struct policy policy;
    struct qf_err err;
    json_t *greeting;
} f;

static void on_line(struct session *s,
                    const char *line,
                    const struct record *record,
                    void *arg)
{
    struct side *side = arg;
    ck_assert_ptr_eq(s, &side->session);
    ck_assert_int_eq(qf_buf_append(&side->lines, line, strlen(line), NULL), 0);
    if (record)
        side->records++;
}

static void begin(struct side *side)
{
    static const struct session_ops ops = {.on_line = on_line};
    qf_buf_init(&side->lines, CAP);
    session_init(&side->session, &f.spec, &f.policy, T0, 1700000000000, &ops, side);
}

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    (void)strcpy(f.spec.source, "/a");
    (void)strcpy(f.spec.destination, "/b");
    (void)strcpy(f.spec.address, "192.0.2.7");
    ck_assert_int_eq(policy_preset_load("minimal-downtime", &f.policy, NULL), 0);
    begin(&f.a);
    begin(&f.b);
    f.greeting = json_pack("{s:{s:{s:i, s:i, s:i}, s:s}}", "version", "qemu", "major", 7,
                           "minor", 2, "micro", 0, "package", "");
}

static void teardown(void)
{
    qf_buf_fini(&f.a.lines);
    qf_buf_fini(&f.b.lines);
    json_decref(f.greeting);
}

/* Line n of a, from 0; new reference. */
static json_t *line(unsigned n)
{
    const char *at = f.a.lines.data;
    const char *end = at + f.a.lines.len;
    for (; n > 0; n--)
        at = (const char *)memchr(at, '\n', (size_t)(end - at)) + 1;
    const size_t len = (size_t)((const char *)memchr(at, '\n', (size_t)(end - at)) - at);
    json_t *json = qmp_json_parse(at, len, NULL);
    ck_assert_ptr_nonnull(json);
    return json;
}

static unsigned n_lines(const struct side *side)
{
    unsigned n = 0;
    for (size_t i = 0; i < side->lines.len; i++)
        n += side->lines.data[i] == '\n';
    return n;
}

static bool says(unsigned n, const char *key, const char *value)
{
    json_t *json = line(n);
    const char *v = json_string_value(json_object_get(json, key));
    const bool same = v && strcmp(v, value) == 0;
    json_decref(json);
    return same;
}

static void up_both(int64_t t_ns)
{
    session_up(&f.a.session, t_ns, MIG_SRC, f.greeting, true);
    session_up(&f.a.session, t_ns, MIG_DST, f.greeting, false);
}

/* The id under which a command was sent in the last step; 0: it was not. */
static uint64_t sent(enum mig_side_id side, enum qapi_command c)
{
    const struct mig_todo *todo = &f.a.session.todo;
    for (unsigned i = 0; i < todo->n; i++)
        if (todo->item[i].kind == MIG_DO_SEND && todo->item[i].side == side &&
            todo->item[i].u.send.cmd.command == c)
            return todo->item[i].u.send.id;
    return 0;
}

START_TEST(beginning_is_header_event_phase_and_two_links)
{
    session_begin(&f.a.session, T0);
    ck_assert(says(0, "type", "journal"));
    ck_assert(says(1, "type", "event") && says(1, "kind", "begin"));
    ck_assert(says(2, "type", "phase") && says(2, "step", "connect"));
    ck_assert(says(3, "do", "open") && says(3, "side", "source"));
    ck_assert(says(4, "do", "open") && says(4, "side", "destination"));
    ck_assert_uint_eq(n_lines(&f.a), 5);
    ck_assert_uint_eq(f.a.records, 1);
    ck_assert_uint_eq(f.a.session.todo.n, 3); /* nothing of it has been done yet */
}
END_TEST

START_TEST(lines_are_numbered_and_never_go_back_in_time)
{
    session_begin(&f.a.session, T0);
    up_both(T0 + 5);
    session_timer(&f.a.session, T0 + 7);
    int64_t before = 0;
    for (unsigned i = 0; i < n_lines(&f.a); i++) {
        json_t *json = line(i);
        const int64_t t_ns = json_integer_value(json_object_get(json, "t_ns"));
        ck_assert_int_eq(json_integer_value(json_object_get(json, "seq")), i + 1);
        ck_assert_int_ge(t_ns, before);
        before = t_ns;
        json_decref(json);
    }
}
END_TEST

START_TEST(message_is_journaled_whole_before_what_comes_of_it)
{
    session_begin(&f.a.session, T0);
    up_both(T0 + 5);
    const unsigned before = n_lines(&f.a);
    json_t *whole = json_pack("{s:s, s:{s:s, s:i}, s:I}", "event", "MIGRATION", "data",
                              "status", "active", "x", 7, "y", (json_int_t)1 << 60);
    session_event(&f.a.session, T0 + 6, MIG_DST, whole);
    json_t *json = line(before);
    ck_assert_str_eq(json_string_value(json_object_get(json, "kind")), "qmp");
    ck_assert_str_eq(json_string_value(json_object_get(json, "side")), "destination");
    ck_assert(json_equal(json_object_get(json, "qmp"), whole));
    json_decref(json);
    json_decref(whole);
}
END_TEST

START_TEST(command_is_journaled_as_it_goes_out)
{
    session_begin(&f.a.session, T0);
    up_both(T0 + 5);
    const uint64_t id = sent(MIG_SRC, QAPI_QUERY_MACHINE);
    bool found = false;
    ck_assert_uint_ne(id, 0);
    for (unsigned i = 0; i < n_lines(&f.a); i++) {
        json_t *json = line(i);
        json_t *qmp = json_object_get(json, "qmp");
        if (says(i, "do", "send") &&
            json_integer_value(json_object_get(json, "id")) == (json_int_t)id) {
            found = true;
            ck_assert_str_eq(json_string_value(json_object_get(qmp, "execute")), "qom-get");
            ck_assert_str_eq(json_string_value(json_object_get(
                                 json_object_get(qmp, "arguments"), "path")),
                             "/machine");
        }
        json_decref(json);
    }
    ck_assert(found);
}
END_TEST

START_TEST(reply_that_nobody_waits_for_changes_nothing)
{
    session_begin(&f.a.session, T0);
    up_both(T0 + 5);
    json_t *whole = json_pack("{s:{}, s:i}", "return", "id", 4711);
    const unsigned before = n_lines(&f.a);
    session_reply(&f.a.session, T0 + 6, MIG_SRC, 4711, whole);
    session_reply(&f.a.session, T0 + 6, MIG_SRC, 0, whole);
    ck_assert_uint_eq(n_lines(&f.a), before + 2);
    ck_assert_uint_eq(f.a.session.todo.n, 0);
    ck_assert_int_eq(f.a.session.mig.phase, MIG_PREFLIGHT);
    json_decref(whole);
}
END_TEST

START_TEST(reply_of_one_side_is_not_taken_for_the_other_s)
{
    session_begin(&f.a.session, T0);
    up_both(T0 + 5);
    const uint64_t id = sent(MIG_SRC, QAPI_QUERY_STATUS);
    json_t *whole =
        json_pack("{s:{s:s, s:s}}", "error", "class", "GenericError", "desc", "x");
    session_reply(&f.a.session, T0 + 6, MIG_DST, id, whole);
    ck_assert_int_eq(f.a.session.mig.phase, MIG_PREFLIGHT);
    session_reply(&f.a.session, T0 + 7, MIG_SRC, id, whole);
    ck_assert_int_eq(f.a.session.mig.phase, MIG_FAILED);
    json_decref(whole);
}
END_TEST

START_TEST(end_is_the_last_line_and_comes_once)
{
    session_begin(&f.a.session, T0);
    ck_assert(!session_is_over(&f.a.session));
    session_cancel(&f.a.session, T0 + 1);
    ck_assert(session_is_over(&f.a.session));
    const unsigned n = n_lines(&f.a);
    ck_assert(says(n - 1, "type", "end"));
    session_timer(&f.a.session, T0 + 2);
    session_cancel(&f.a.session, T0 + 3);
    session_synced(&f.a.session, T0 + 4, false);
    ck_assert_uint_eq(f.a.session.todo.n, 0);
    ck_assert_uint_eq(n_lines(&f.a), n + 3); /* what came in, and nothing of it */
}
END_TEST

START_TEST(reason_that_is_not_utf_8_is_survived)
{
    const struct qf_err why = {.code = QF_E_LOST, .text = "caf\xe9"};
    session_begin(&f.a.session, T0);
    session_down(&f.a.session, T0 + 1, MIG_SRC, &why, false, false);
    ck_assert(!f.a.session.out_of_memory);
    ck_assert(session_is_over(&f.a.session));
}
END_TEST

START_TEST(events_of_a_journal_give_the_same_journal)
{
    const struct qf_err why = {.code = QF_E_PROTO, .text = "odd"};
    json_t *whole = json_pack("{s:{s:s}}", "return", "arch", "x86_64");
    json_t *stop = json_pack("{s:s}", "event", "STOP");
    session_begin(&f.a.session, T0);
    up_both(T0 + 5);
    session_reply(&f.a.session, T0 + 6, MIG_SRC, sent(MIG_SRC, QAPI_QUERY_TARGET), whole);
    session_event(&f.a.session, T0 + 7, MIG_SRC, stop);
    session_timer(&f.a.session, T0 + 8);
    session_synced(&f.a.session, T0 + 9, true);
    session_down(&f.a.session, T0 + 10, MIG_DST, &why, true, true);
    session_cancel(&f.a.session, T0 + 11);
    for (unsigned i = 0; i < n_lines(&f.a); i++) {
        json_t *json = line(i);
        if (says(i, "type", "event"))
            ck_assert_msg(session_feed_line(&f.b.session, json, &f.err) == 0, "line %u: %s",
                          i, f.err.text);
        json_decref(json);
    }
    ck_assert_uint_eq(f.a.lines.len, f.b.lines.len);
    ck_assert_int_eq(memcmp(f.a.lines.data, f.b.lines.data, f.a.lines.len), 0);
    json_decref(whole);
    json_decref(stop);
}
END_TEST

static const struct {
    const char *line;
    bool begun;
    const char *says;
} odd[] = {
    {"{}", true, "not an event of a journal"},
    {"{\"kind\":7,\"t_ns\":2000000000}", true, "not an event of a journal"},
    {"{\"kind\":\"timer\",\"t_ns\":1}", true, "not an event of a journal"},
    {"{\"kind\":\"timer\",\"t_ns\":9223372036854775807}", true,
     "not an event of a journal"},
    {"{\"kind\":\"timer\",\"t_ns\":2000000000}", false, "an event before the beginning"},
    {"{\"kind\":\"begin\",\"t_ns\":2000000000}", true, "an event of unknown kind 'begin'"},
    {"{\"kind\":\"dance\",\"t_ns\":2000000000}", true, "an event of unknown kind 'dance'"},
    {"{\"kind\":\"up\",\"t_ns\":2000000000}", true, "an event of unknown kind 'up'"},
    {"{\"kind\":\"up\",\"side\":\"source\",\"t_ns\":2000000000}", true,
     "an event of unknown kind 'up'"},
};

START_TEST(line_that_is_no_event_is_refused)
{
    json_t *json = qmp_json_parse(odd[_i].line, strlen(odd[_i].line), NULL);
    if (odd[_i].begun)
        session_begin(&f.a.session, T0);
    const unsigned before = n_lines(&f.a);
    ck_assert_int_eq(session_feed_line(&f.a.session, json, &f.err), -QF_E_USAGE);
    ck_assert_str_eq(f.err.text, odd[_i].says);
    ck_assert_uint_eq(n_lines(&f.a), before);
    json_decref(json);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("session");
    TCase *t = tcase_create("session");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, beginning_is_header_event_phase_and_two_links);
    tcase_add_test(t, lines_are_numbered_and_never_go_back_in_time);
    tcase_add_test(t, message_is_journaled_whole_before_what_comes_of_it);
    tcase_add_test(t, command_is_journaled_as_it_goes_out);
    tcase_add_test(t, reply_that_nobody_waits_for_changes_nothing);
    tcase_add_test(t, reply_of_one_side_is_not_taken_for_the_other_s);
    tcase_add_test(t, end_is_the_last_line_and_comes_once);
    tcase_add_test(t, reason_that_is_not_utf_8_is_survived);
    tcase_add_test(t, events_of_a_journal_give_the_same_journal);
    tcase_add_loop_test(t, line_that_is_no_event_is_refused, 0,
                        (int)(sizeof(odd) / sizeof(odd[0])));
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

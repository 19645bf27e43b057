/* Replay: the same journal replays, a changed one does not, and what is no journal is told so. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/replay.h"
#include "engine/session.h"
#include "policy/policy_json.h"

enum { T0 = 1000000000, CAP = 1 << 20 };

static struct fixture {
    struct session session;
    struct qf_buf text;
    struct replay_report report;
    struct qf_err err;
} f;

static void on_line(struct session *s,
                    const char *line,
                    const struct record *record,
                    void *arg)
{
    (void)s;
    (void)record;
    (void)arg;
    ck_assert_int_eq(qf_buf_append(&f.text, line, strlen(line), NULL), 0);
}

/* Up to preflight, then the destination goes away. */
static void setup(void)
{
    static const struct session_ops ops = {.on_line = on_line};
    const struct qf_err why = {.code = QF_E_LOST, .text = "gone"};
    struct mig_spec spec;
    struct policy policy;
    memset(&f, 0, sizeof(f));
    memset(&spec, 0, sizeof(spec));
    (void)strcpy(spec.source, "/a");
    (void)strcpy(spec.destination, "/b");
    qf_buf_init(&f.text, CAP);
    ck_assert_int_eq(policy_preset_load("minimal-downtime", &policy, NULL), 0);
    json_t *greeting = json_pack("{s:{s:{s:i}}}", "version", "qemu", "major", 7);
    session_init(&f.session, &spec, &policy, T0, 1700000000000, &ops, NULL);
    session_begin(&f.session, T0);
    session_up(&f.session, T0 + 1, MIG_SRC, greeting, true);
    session_up(&f.session, T0 + 2, MIG_DST, greeting, true);
    session_timer(&f.session, T0 + 3);
    session_down(&f.session, T0 + 4, MIG_DST, &why, false, false);
    json_decref(greeting);
}

static void teardown(void)
{
    qf_buf_fini(&f.text);
}

static int play(size_t len)
{
    return replay(f.text.data, len, &f.report, &f.err);
}

/* Where line n (from 1) begins. */
static size_t start_of(unsigned n)
{
    size_t at = 0;
    for (; n > 1; n--)
        at += strcspn(f.text.data + at, "\n") + 1;
    return at;
}

static unsigned n_lines(void)
{
    unsigned n = 0;
    for (size_t i = 0; i < f.text.len; i++)
        n += f.text.data[i] == '\n';
    return n;
}

START_TEST(unchanged_journal_replays)
{
    ck_assert_int_eq(play(f.text.len), 0);
    ck_assert_uint_eq(f.report.differs, 0);
    ck_assert_uint_eq(f.report.lines, n_lines());
}
END_TEST

START_TEST(journal_that_ends_early_replays_as_far_as_it_goes)
{
    for (unsigned n = 1; n <= n_lines(); n++) {
        ck_assert_int_eq(play(start_of(n + 1)), 0);
        ck_assert_uint_eq(f.report.differs, 0);
        ck_assert_uint_eq(f.report.lines, n);
    }
}
END_TEST

START_TEST(changed_line_is_found)
{
    unsigned found = 0;
    for (unsigned n = 2; n <= n_lines(); n++) {
        const size_t at = start_of(n);
        char *t = strstr(f.text.data + at, "\"seq\":");
        if (strncmp(f.text.data + at + 35, "\"type\":\"event\"", 14) == 0)
            continue;
        const char was = t[6];
        t[6] = was == '9' ? '8' : '9';
        ck_assert_int_eq(play(f.text.len), 0);
        ck_assert_uint_eq(f.report.differs, n);
        ck_assert_ptr_nonnull(strstr(f.report.expected, "\"seq\":"));
        ck_assert_str_ne(f.report.expected, f.report.got);
        t[6] = was;
        found++;
    }
    ck_assert_uint_gt(found, 10);
}
END_TEST

START_TEST(changed_event_leads_elsewhere)
{
    char *t = strstr(f.text.data, "\"kind\":\"down\"");
    ck_assert_ptr_nonnull(t);
    t = strstr(t, "gone");
    memcpy(t, "lost", 4);
    ck_assert_int_eq(play(f.text.len), 0);
    ck_assert_uint_gt(f.report.differs, 0);
    ck_assert_ptr_nonnull(strstr(f.report.got, "lost"));
}
END_TEST

START_TEST(missing_line_is_found)
{
    const size_t a = start_of(4);
    const size_t b = start_of(5);
    memmove(f.text.data + a, f.text.data + b, f.text.len - b);
    ck_assert_int_eq(play(f.text.len - (b - a)), 0);
    ck_assert_uint_eq(f.report.differs, 4);
}
END_TEST

START_TEST(surplus_line_is_found)
{
    const char more[] = "{\"time\":\"x\",\"type\":\"note\",\"seq\":1,\"t_ns\":1}\n";
    ck_assert_int_eq(qf_buf_append(&f.text, more, sizeof(more) - 1, NULL), 0);
    ck_assert_int_eq(play(f.text.len), 0);
    ck_assert_uint_eq(f.report.differs, n_lines());
    ck_assert_str_eq(f.report.got, "(nothing)");
}
END_TEST

START_TEST(journal_cut_within_a_line_names_the_line)
{
    char says[64];
    for (unsigned n = 1; n <= n_lines(); n++) {
        (void)snprintf(says, sizeof(says), "line %u: cut short", n);
        ck_assert_int_eq(play(start_of(n) + 20), -QF_E_USAGE);
        ck_assert_str_eq(f.err.text, says);
    }
}
END_TEST

static const struct {
    const char *text;
    const char *says;
} none[] = {
    {"", "not a journal: it is empty"},
    {"\n", "line 1: not JSON"},
    {"hello\n", "line 1: not JSON"},
    {"hello", "line 1: cut short"},
    {"{}\n", "line 1: not a journal: its first line is not of type journal"},
    {"[]\n", "line 1: not a journal: its first line is not of type journal"},
    {"7\n", "line 1: not a journal: its first line is not of type journal"},
};

START_TEST(what_is_no_journal_is_told_so)
{
    ck_assert_int_eq(replay(none[_i].text, strlen(none[_i].text), &f.report, &f.err),
                     -QF_E_USAGE);
    ck_assert_str_eq(f.err.text, none[_i].says);
}
END_TEST

START_TEST(event_that_cannot_be_is_told_with_its_line)
{
    char *t = strstr(f.text.data, "\"kind\":\"timer\"");
    ck_assert_ptr_nonnull(t);
    memcpy(t, "\"kind\":\"tumer\"", 14);
    ck_assert_int_eq(play(f.text.len), -QF_E_USAGE);
    ck_assert_ptr_nonnull(strstr(f.err.text, ": an event of unknown kind 'tumer'"));
    ck_assert_int_eq(strncmp(f.err.text, "line ", 5), 0);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("replay");
    TCase *t = tcase_create("replay");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, unchanged_journal_replays);
    tcase_add_test(t, journal_that_ends_early_replays_as_far_as_it_goes);
    tcase_add_test(t, changed_line_is_found);
    tcase_add_test(t, changed_event_leads_elsewhere);
    tcase_add_test(t, missing_line_is_found);
    tcase_add_test(t, surplus_line_is_found);
    tcase_add_test(t, journal_cut_within_a_line_names_the_line);
    tcase_add_loop_test(t, what_is_no_journal_is_told_so, 0,
                        (int)(sizeof(none) / sizeof(none[0])));
    tcase_add_test(t, event_that_cannot_be_is_told_with_its_line);
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

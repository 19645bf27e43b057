/* The control protocol without sockets: which migration is meant, what is handed on, what is
 * answered, and what records become. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/control.h"

static struct fixture {
    struct control c;
    struct qf_err err;
    json_t *value;
    const char *error_class;
    json_t *args;
    /* What on_operator was given, and what it says. */
    char uid[CONTROL_UID_MAX];
    enum mig_operator_kind kind;
    unsigned n;
    char set[OPERATOR_SETS_MAX][CONTROL_SET_MAX];
    unsigned calls;
    enum qf_code says;
} f;

static int on_operator(const char *uid,
                       const struct operator_command *c,
                       void *arg,
                       struct qf_err *err)
{
    ck_assert_ptr_eq(arg, &f);
    f.calls++;
    (void)strcpy(f.uid, uid);
    f.kind = c->kind;
    f.n = c->n;
    for (unsigned i = 0; i < c->n; i++)
        (void)strcpy(f.set[i], c->set[i]);
    return f.says == QF_E_OK ? 0 : qf_fail(err, f.says, "the reason");
}

static void add(const char *uid)
{
    const struct mig_spec spec = {.source = "/s", .destination = "/d", .address = "h"};
    const int rc = control_add(&f.c, uid, &spec, "minimal-downtime", &f.err);
    ck_assert_msg(rc == 0, "%s", f.err.text);
}

static void setup(void)
{
    static const struct control_ops ops = {.on_operator = on_operator};
    memset(&f, 0, sizeof(f));
    ck_assert_int_eq(control_init(&f.c, "1.22.3-rc4", &ops, &f, &f.err), 0);
}

static void teardown(void)
{
    json_decref(f.value);
    json_decref(f.args);
    control_fini(&f.c);
}

static int run(const char *name, const char *args)
{
    json_decref(f.value);
    json_decref(f.args);
    f.value = NULL;
    f.error_class = NULL;
    f.args = args ? json_loads(args, 0, NULL) : NULL;
    ck_assert(f.args || !args);
    const struct qmp_command cmd = {.name = name, .args = f.args};
    return control_execute(&f.c, &cmd, &f.value, &f.error_class, &f.err);
}

static void expect_error(const char *name,
                         const char *args,
                         const char *error_class,
                         const char *says)
{
    ck_assert_int_ne(run(name, args), 0);
    ck_assert_str_eq(f.error_class, error_class);
    ck_assert_msg(strstr(f.err.text, says), "no '%s' in: %s", says, f.err.text);
    ck_assert_ptr_null(f.value);
}

static const char *member(size_t i, const char *key)
{
    return json_string_value(json_object_get(json_array_get(f.value, i), key));
}

START_TEST(the_version_has_qemu_s_form)
{
    ck_assert_int_eq(run("query-version", NULL), 0);
    const json_t *v = json_object_get(f.value, "qemu");
    ck_assert_int_eq(json_integer_value(json_object_get(v, "major")), 1);
    ck_assert_int_eq(json_integer_value(json_object_get(v, "minor")), 22);
    ck_assert_int_eq(json_integer_value(json_object_get(v, "micro")), 3);
    ck_assert_str_eq(json_string_value(json_object_get(f.value, "package")),
                     "qferry-1.22.3-rc4");
}
END_TEST

START_TEST(commands_and_policies_are_listed)
{
    ck_assert_int_eq(run("query-commands", NULL), 0);
    ck_assert_uint_eq(json_array_size(f.value), 10);
    ck_assert_str_eq(member(0, "name"), "qmp_capabilities");
    ck_assert_int_eq(run("query-policies", "{}"), 0);
    ck_assert_str_eq(member(0, "name"), "minimal-downtime");
    ck_assert(json_is_object(json_object_get(json_array_get(f.value, 0), "policy")));
}
END_TEST

/* Not offered where there is one migration that somebody else started. */
START_TEST(what_there_is_not_is_not_found)
{
    static const char *const names[] = {"migration-start", "quit", "set-limits", "",
                                        "query"};
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        expect_error(names[i], NULL, "CommandNotFound", "has not been found");
}
END_TEST

START_TEST(the_uid_is_needed_where_there_are_several)
{
    expect_error("migration-pause", NULL, "DeviceNotFound", "there is no migration");
    ck_assert_int_eq(run("query-migrations", NULL), 0);
    ck_assert_uint_eq(json_array_size(f.value), 0);
    add("a");
    ck_assert_int_eq(run("migration-pause", NULL), 0);
    ck_assert_str_eq(f.uid, "a");
    add("b");
    expect_error("migration-pause", NULL, "GenericError", "'uid' is missing");
    ck_assert_int_eq(run("migration-pause", "{\"uid\": \"b\"}"), 0);
    ck_assert_str_eq(f.uid, "b");
    expect_error("migration-pause", "{\"uid\": \"c\"}", "DeviceNotFound", "'c'");
    ck_assert_int_eq(run("query-migrations", NULL), 0);
    ck_assert_uint_eq(json_array_size(f.value), 2);
    ck_assert_int_eq(run("query-migrations", "{\"uid\": \"b\"}"), 0);
    ck_assert_uint_eq(json_array_size(f.value), 1);
    ck_assert_str_eq(member(0, "uid"), "b");
    expect_error("query-migrations", "{\"uid\": \"c\"}", "DeviceNotFound", "'c'");
}
END_TEST

START_TEST(uids_are_checked)
{
    static const char *const wrong[] = {
        "", "a b", "a\nb", "\xC3\xA4",
        "0123456789012345678901234567890123456789012345678901234567890123"};
    const struct mig_spec spec = {.source = "/s"};
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        ck_assert_int_eq(control_add(&f.c, wrong[i], &spec, "p", &f.err), -QF_E_USAGE);
    add("0");
    ck_assert_int_eq(control_add(&f.c, "0", &spec, "p", &f.err), -QF_E_USAGE);
}
END_TEST

START_TEST(each_command_is_handed_on)
{
    static const struct {
        const char *name;
        enum mig_operator_kind kind;
    } all[] = {{"migration-cancel", MIG_OPERATOR_CANCEL},
               {"migration-postcopy", MIG_OPERATOR_POSTCOPY},
               {"migration-pause", MIG_OPERATOR_PAUSE}};
    add("a");
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(run(all[i].name, NULL), 0);
        ck_assert_int_eq(f.kind, all[i].kind);
        ck_assert_ptr_null(f.value);
        f.says = QF_E_REFUSED;
        expect_error(all[i].name, NULL, "DeviceNotActive", "the reason");
        f.says = QF_E_OK;
        expect_error(all[i].name, "{\"now\": 1}", "GenericError", "'now' is unexpected");
        expect_error(all[i].name, "{\"uid\": 1}", "GenericError", "expected: string");
    }
}
END_TEST

START_TEST(fields_are_taken_in_every_form)
{
    add("a");
    ck_assert_int_eq(
        run("migration-set",
            "{\"bandwidth\": \"1Gbit\", \"downtime.max\": 2, \"downtime\": {\"max\": 0.25},"
            " \"stop\": {\"allowed\": true}, \"uid\": \"a\","
            " \"fields\": {\"timeout\": \"1h\", \"throttle\": {\"max\": 30}}}"),
        0);
    static const char *const expected[] = {"bandwidth=1Gbit",   "downtime.max=2",
                                           "downtime.max=0.25", "stop.allowed=true",
                                           "timeout=1h",        "throttle.max=30"};
    ck_assert_int_eq(f.kind, MIG_OPERATOR_SET);
    ck_assert_uint_eq(f.n, 6);
    for (unsigned i = 0; i < 6; i++)
        ck_assert_str_eq(f.set[i], expected[i]);
}
END_TEST

static const struct {
    const char *args;
    const char *says;
} wrong_fields[] = {
    {"{\"fields\": 1}", "expected: object"},
    {"{\"timeout\": null}", "expected: string, number or boolean"},
    {"{\"timeout\": [1]}", "expected: string, number or boolean"},
    {"{\"downtime\": {\"max\": {\"a\": 1}}}", "expected: string, number or boolean"},
    {"{\"a=b\": 1}", "'a=b' is unexpected"},
};

START_TEST(fields_of_other_kinds_are_refused)
{
    add("a");
    expect_error("migration-set", wrong_fields[_i].args, "GenericError",
                 wrong_fields[_i].says);
    ck_assert_uint_eq(f.calls, 0);
}
END_TEST

START_TEST(fields_are_bounded)
{
    char args[2048] = "{";
    char value[400];
    add("a");
    for (unsigned i = 0; i <= OPERATOR_SETS_MAX; i++) {
        char one[32];
        (void)snprintf(one, sizeof(one), "%s\"f%u\": 1", i ? "," : "", i);
        (void)strcat(args, one);
    }
    (void)strcat(args, "}");
    expect_error("migration-set", args, "GenericError", "more than");
    memset(value, 'x', sizeof(value));
    value[sizeof(value) - 1] = '\0';
    (void)snprintf(args, sizeof(args), "{\"timeout\": \"%s\"}", value);
    expect_error("migration-set", args, "GenericError", "too long");
    ck_assert_uint_eq(f.calls, 0);
}
END_TEST

/* ---- records ---- */

static json_t *feed(const char *line, const char *name)
{
    char got[CONTROL_NAME_MAX] = "";
    json_t *data = control_feed(&f.c, "a", line, strlen(line), got);
    if (name)
        ck_assert_str_eq(got, name);
    return data;
}

/* The last one of each: another attempt chooses again. */
START_TEST(networks_are_kept_by_uid)
{
    static const char *const chosen[] = {"migration", "management"};
    add("a");
    add("b");
    ck_assert_int_eq(run("query-networks", NULL), 0);
    ck_assert_uint_eq(json_array_size(f.value), 0);
    for (unsigned i = 0; i < 2; i++) {
        char line[160];
        (void)snprintf(line, sizeof(line),
                       "{\"type\":\"network\",\"address\":\"10.0.0.2\",\"chosen\":\"%s\","
                       "\"candidates\":[{\"name\":\"migration\"}]}",
                       chosen[i]);
        json_decref(feed(line, "MIGRATION_NETWORK"));
        ck_assert_int_eq(run("query-networks", i == 0 ? NULL : "{\"uid\": \"a\"}"), 0);
        ck_assert_uint_eq(json_array_size(f.value), 1);
        ck_assert_str_eq(member(0, "uid"), "a");
        ck_assert_str_eq(member(0, "chosen"), chosen[i]);
        ck_assert_uint_eq(
            json_array_size(json_object_get(json_array_get(f.value, 0), "candidates")), 1);
    }
    ck_assert_int_eq(run("query-networks", "{\"uid\": \"b\"}"), 0);
    ck_assert_uint_eq(json_array_size(f.value), 0);
    expect_error("query-networks", "{\"uid\": \"c\"}", "DeviceNotFound", "'c'");
    expect_error("query-networks", "{\"name\": \"c\"}", "GenericError", "'name'");
}
END_TEST

START_TEST(records_become_events_and_what_is_known)
{
    add("a");
    ck_assert_int_eq(run("query-migrations", NULL), 0);
    ck_assert(json_is_null(json_object_get(json_array_get(f.value, 0), "start")));
    json_decref(
        feed("{\"type\":\"phase\",\"time\":\"T1\",\"t_ns\":5,\"phase\":\"precopy\"}",
             "MIGRATION_PHASE"));
    json_t *data =
        feed("{\"type\":\"sample\",\"time\":\"T2\",\"pass\":3}", "MIGRATION_SAMPLE");
    ck_assert_str_eq(json_string_value(json_object_get(data, "uid")), "a");
    json_decref(data);
    json_decref(feed("{\"type\":\"warning\",\"time\":\"T3\"}", "MIGRATION_WARNING"));
    ck_assert_int_eq(run("query-migrations", NULL), 0);
    ck_assert_str_eq(member(0, "phase"), "precopy");
    ck_assert_str_eq(member(0, "state"), "running");
    ck_assert_str_eq(member(0, "start"), "T1");
    const json_t *sample = json_object_get(json_array_get(f.value, 0), "sample");
    ck_assert_int_eq(json_integer_value(json_object_get(sample, "pass")), 3);
    json_decref(feed("{\"type\":\"result\",\"time\":\"T4\",\"outcome\":\"cancelled\","
                     "\"reason\":\"why\"}",
                     "MIGRATION_RESULT"));
    ck_assert_int_eq(run("query-migrations", NULL), 0);
    ck_assert_str_eq(member(0, "state"), "cancelled");
    ck_assert_str_eq(member(0, "end"), "T4");
    ck_assert_str_eq(member(0, "reason"), "why");
}
END_TEST

START_TEST(what_is_no_record_is_no_event)
{
    add("a");
    ck_assert_ptr_null(feed("", NULL));
    ck_assert_ptr_null(feed("{}", NULL));
    ck_assert_ptr_null(feed("[1]", NULL));
    ck_assert_ptr_null(feed("{\"type\":1}", NULL));
    char name[CONTROL_NAME_MAX];
    ck_assert_ptr_null(control_feed(&f.c, "b", "{\"type\":\"x\"}", 12, name));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("control");
    TCase *t = tcase_create("control");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, the_version_has_qemu_s_form);
    tcase_add_test(t, commands_and_policies_are_listed);
    tcase_add_test(t, what_there_is_not_is_not_found);
    tcase_add_test(t, the_uid_is_needed_where_there_are_several);
    tcase_add_test(t, uids_are_checked);
    tcase_add_test(t, each_command_is_handed_on);
    tcase_add_test(t, fields_are_taken_in_every_form);
    tcase_add_loop_test(t, fields_of_other_kinds_are_refused, 0,
                        (int)(sizeof(wrong_fields) / sizeof(wrong_fields[0])));
    tcase_add_test(t, fields_are_bounded);
    tcase_add_test(t, networks_are_kept_by_uid);
    tcase_add_test(t, records_become_events_and_what_is_known);
    tcase_add_test(t, what_is_no_record_is_no_event);
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

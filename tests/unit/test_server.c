#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* buf.c is built into this test, and jansson gets the same allocator, so that the n-th
 * allocation of anything can fail. */
static unsigned allocations_left = UINT32_MAX;

static void *scarce_malloc(size_t size)
{
    if (allocations_left == 0)
        return NULL;
    allocations_left--;
    return malloc(size);
}

static void *scarce_realloc(void *p, size_t size)
{
    if (allocations_left == 0)
        return NULL;
    allocations_left--;
    return realloc(p, size);
}

#define realloc scarce_realloc
#include "engine/base/buf.c"
#undef realloc

#include "qmp/client.h"
#include "qmp/server.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

#define OK(id)    "{\"return\": {}, \"id\": " id "}\r\n"
#define BAD(text) "{\"error\": {\"class\": \"GenericError\", \"desc\": \"" text "\"}}\r\n"
#define BAD_ID(id, text) \
    "{\"error\": {\"class\": \"GenericError\", \"desc\": \"" text "\"}, \"id\": " id "}\r\n"
#define NOT_FOUND(id, text)                                                             \
    "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"" text "\"}, \"id\": " id \
    "}\r\n"
#define CAPS "{\"execute\":\"qmp_capabilities\",\"id\":0}"
#define CAPS_OOB \
    "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]},\"id\":0}"

/* What a client says; the commands that the owner sees ("!" is out of band), each of which it
 * answers with {}; and all that the server says. It offers out-of-band. */
static const struct {
    const char *in;
    const char *commands;
    const char *out;
} talks[] = {
    {"{\"execute\":\"x\",\"id\":1}", "",
     NOT_FOUND("1", "Expecting capabilities negotiation with 'qmp_capabilities'")},
    {CAPS, "", OK("0")},
    {CAPS CAPS, "",
     OK("0")
         NOT_FOUND("0", "Capabilities negotiation is already complete, command ignored")},
    {CAPS
     "{\"execute\":\"x\",\"id\":1}{\"execute\":\"y\",\"arguments\":{\"a\":1},\"id\":2}",
     "x -|y {\"a\":1}|", OK("0") OK("1") OK("2")},
    {CAPS_OOB "{\"exec-oob\":\"x\",\"id\":1}{\"execute\":\"y\",\"id\":2}", "!x -|y -|",
     OK("0") OK("1") OK("2")},
    {CAPS "{\"exec-oob\":\"x\",\"id\":1}", "",
     OK("0") BAD_ID("1", "QMP input member 'exec-oob' is unexpected")},
    {CAPS_OOB "{\"exec-oob\":\"x\",\"execute\":\"y\",\"id\":1}", "",
     OK("0") BAD_ID("1", "QMP input member 'execute' clashes with 'exec-oob'")},
    {"{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"x\"]},\"id\":1}" CAPS,
     "", BAD_ID("1", "Parameter 'enable' does not accept this value") OK("0")},
    {"{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":7},\"id\":1}", "",
     BAD_ID("1", "Invalid parameter type for 'enable', expected: array")},
    {"{\"execute\":\"qmp_capabilities\",\"arguments\":{\"on\":[]},\"id\":1}", "",
     BAD_ID("1", "qmp_capabilities takes no argument but 'enable'")},
    {"{}", "", BAD("QMP input lacks member 'execute'")},
    {"{\"id\":[1]}", "", BAD_ID("[1]", "QMP input lacks member 'execute'")},
    {"{\"execute\":1,\"id\":1}", "",
     BAD_ID("1", "QMP input member 'execute' must be a string")},
    {CAPS_OOB "{\"exec-oob\":1,\"id\":1}", "",
     OK("0") BAD_ID("1", "QMP input member 'exec-oob' must be a string")},
    {"{\"execute\":\"x\",\"arguments\":[],\"id\":1}", "",
     BAD_ID("1", "QMP input member 'arguments' must be an object")},
    {"{\"execute\":\"x\",\"foo\":1,\"id\":1}", "",
     BAD_ID("1", "QMP input member 'foo' is unexpected")},
    {"{\"a\" 1}" CAPS, "", BAD("JSON parse error") OK("0")},
    {CAPS "[1]", "", OK("0") BAD("JSON parse error")},
    {"GET / HTTP/1.1\r\n", "", BAD("JSON parse error")},
    {CAPS "{\"execute\":\"x\"}", "x -|", OK("0") "{\"return\": {}}\r\n"},
    {CAPS "{\"execute\":\"x\",\"arguments\":{\"u\":18446744073709551615}}",
     "x {\"u\":\"18446744073709551615\"}|", OK("0") "{\"return\": {}}\r\n"},
};

/* Ids as clients write them: each comes back to the byte. */
static const char *const ids[] = {
    "1",
    "-0",
    "1.50",
    "1e2",
    "null",
    "true",
    "\"\"",
    "\"a\\u0062\\\"}\"",
    "[1, {\"id\": 2}]",
    "{\"id\": \"x\", \"a\": [\"id\", \"}\"]}",
    "9223372036854775808",
    "18446744073709551616",
    "[18446744073709551615]",
    "\"18446744073709551615\"",
};

static struct fixture {
    struct qmp_server s;
    struct qf_err err;
    char commands[1024];
    int last;
} f;

static void setup(void)
{
    allocations_left = UINT32_MAX;
    json_set_alloc_funcs(scarce_malloc, free);
    memset(&f, 0, sizeof(f));
    qmp_server_init(&f.s, true);
}

static void teardown(void)
{
    qmp_server_fini(&f.s);
}

static void again(void)
{
    teardown();
    setup();
}

static void note(const char *fmt, ...) QF_PRINTF(1, 2);
static void note(const char *fmt, ...)
{
    const size_t n = strlen(f.commands);
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(f.commands + n, sizeof(f.commands) - n, fmt, ap);
    va_end(ap);
}

/* Feed, note the commands, answer each at once. */
static void feed(const char *data, size_t len)
{
    struct qmp_command cmd;
    if (f.last < 0)
        return;
    f.last = qmp_server_feed(&f.s, data, len, &f.err);
    while (f.last >= 0 && (f.last = qmp_server_next(&f.s, &cmd, &f.err)) == 1) {
        char *args = cmd.args ? json_dumps(cmd.args, JSON_COMPACT) : NULL;
        note("%s%s %s|", cmd.oob ? "!" : "", cmd.name, args ? args : "-");
        free(args);
        ck_assert_int_eq(qmp_server_reply(&f.s, cmd.id, NULL, &f.err), 0);
    }
}

static const char *said(void)
{
    static char text[65536];
    ck_assert_uint_lt(f.s.out.len, sizeof(text));
    if (f.s.out.len)
        memcpy(text, f.s.out.data, f.s.out.len);
    text[f.s.out.len] = '\0';
    qf_buf_drop(&f.s.out, f.s.out.len);
    return text;
}

START_TEST(answers_as_qemu_wherever_a_read_ends)
{
    const char *in = talks[_i].in;
    const size_t len = strlen(in);
    feed(in, len);
    ck_assert_str_eq(f.commands, talks[_i].commands);
    ck_assert_str_eq(said(), talks[_i].out);
    again();
    for (size_t i = 0; i < len; i++)
        feed(in + i, 1);
    ck_assert_str_eq(f.commands, talks[_i].commands);
    ck_assert_str_eq(said(), talks[_i].out);
    for (size_t cut = 0; cut <= len; cut++) {
        again();
        feed(in, cut);
        feed(in + cut, len - cut);
        ck_assert_str_eq(f.commands, talks[_i].commands);
        ck_assert_str_eq(said(), talks[_i].out);
    }
}
END_TEST

START_TEST(ids_come_back_to_the_byte)
{
    static const char *const commands[] = {
        "{\"execute\": \"x\", \"id\": %s}",
        "{\"id\":%s,\"execute\":\"x\"}",
        "{ \"arguments\" : {\"id\": 5, \"a\": [{\"id\": 6}]} , \"id\" : %s, \"execute\":\"id\"}",
        "{\"id\":17,\"execute\":\"x\",\"id\":%s}",
    };
    feed(CAPS, strlen(CAPS));
    (void)said();
    for (int i = 0; i < COUNT(commands); i++) {
        const char *const at = strstr(commands[i], "%s");
        char text[256];
        char want[256];
        (void)snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - commands[i]), commands[i],
                       ids[_i], at + 2);
        (void)snprintf(want, sizeof(want), "{\"return\": {}, \"id\": %s}\r\n", ids[_i]);
        feed(text, strlen(text));
        ck_assert_str_eq(said(), want);
    }
}
END_TEST

START_TEST(an_id_that_is_kept_answers_later)
{
    static const char two[] =
        "{\"execute\":\"x\",\"id\":\"one\"}{\"execute\":\"y\",\"id\":2}";
    struct qmp_command cmd;
    feed(CAPS, strlen(CAPS));
    (void)said();
    ck_assert_int_eq(qmp_server_feed(&f.s, two, sizeof(two) - 1, &f.err), 0);
    ck_assert_int_eq(qmp_server_next(&f.s, &cmd, &f.err), 1);
    json_t *one = json_incref(cmd.id);
    ck_assert_int_eq(qmp_server_next(&f.s, &cmd, &f.err), 1);
    ck_assert_int_eq(qmp_server_error(&f.s, cmd.id, "CommandNotFound", "no y", &f.err), 0);
    json_t *value = json_pack("[i]", 7);
    ck_assert_int_eq(qmp_server_reply(&f.s, one, value, &f.err), 0);
    json_decref(value);
    json_decref(one);
    ck_assert_str_eq(said(),
                     NOT_FOUND("2", "no y") "{\"return\": [7], \"id\": \"one\"}\r\n");
}
END_TEST

START_TEST(greets_and_tells_events)
{
    json_t *version = json_pack("{s:s}", "package", "x");
    json_t *data = json_pack("{s:b}", "guest", 1);
    ck_assert_int_eq(qmp_server_greet(&f.s, version, &f.err), 0);
    ck_assert_str_eq(
        said(),
        "{\"QMP\": {\"version\": {\"package\": \"x\"}, \"capabilities\": [\"oob\"]}}\r\n");
    f.s.offers_oob = false;
    ck_assert_int_eq(qmp_server_greet(&f.s, version, &f.err), 0);
    ck_assert_str_eq(
        said(), "{\"QMP\": {\"version\": {\"package\": \"x\"}, \"capabilities\": []}}\r\n");
    ck_assert_int_eq(qmp_server_event(&f.s, "SHUTDOWN", data, 17000005, &f.err), 0);
    ck_assert_str_eq(said(), "{\"timestamp\": {\"seconds\": 17, \"microseconds\": 5}, "
                             "\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true}}\r\n");
    ck_assert_int_eq(qmp_server_event(&f.s, "STOP", NULL, 0, &f.err), 0);
    ck_assert_str_eq(
        said(),
        "{\"timestamp\": {\"seconds\": 0, \"microseconds\": 0}, \"event\": \"STOP\"}\r\n");
    json_decref(data);
    json_decref(version);
}
END_TEST

START_TEST(does_not_enable_what_it_does_not_offer)
{
    f.s.offers_oob = false;
    feed(CAPS_OOB, strlen(CAPS_OOB));
    ck_assert_str_eq(said(), BAD_ID("0", "Capability 'oob' is not available"));
    ck_assert_int_eq(f.s.state, QMP_SERVER_NEGOTIATING);
}
END_TEST

START_TEST(a_closed_server_stays_closed)
{
    struct qmp_command cmd;
    feed("x", 1);
    ck_assert_int_eq(f.last, -(int)QF_E_PROTO);
    ck_assert_int_eq(qmp_server_next(&f.s, &cmd, &f.err), -(int)QF_E_PROTO);
    ck_assert_str_eq(said(), BAD("JSON parse error"));
}
END_TEST

START_TEST(long_commands_are_refused)
{
    static char text[QMP_COMMAND_MAX + 1];
    memset(text, ' ', sizeof(text));
    text[0] = '{';
    feed(text, sizeof(text));
    ck_assert_int_eq(f.last, -(int)QF_E_PROTO);
}
END_TEST

START_TEST(a_client_that_does_not_read_is_lost)
{
    char *text = malloc(1024 * 1024);
    ck_assert_ptr_nonnull(text);
    memset(text, 'x', 1024 * 1024 - 1);
    text[1024 * 1024 - 1] = '\0';
    json_t *big = json_string(text);
    free(text);
    int rc = 0;
    size_t before = 0;
    for (int i = 0; i < 100 && rc == 0; i++) {
        before = f.s.out.len;
        rc = qmp_server_reply(&f.s, NULL, big, &f.err);
    }
    json_decref(big);
    ck_assert_int_eq(rc, -(int)QF_E_LOST);
    ck_assert_uint_eq(f.s.out.len, before);
}
END_TEST

/* {"return": {}} and CRLF are sixteen bytes. */
START_TEST(says_all_of_a_message_or_nothing)
{
    for (size_t room = 0; room < 16; room++) {
        f.s.out.cap = 16 + room;
        ck_assert_int_eq(qmp_server_reply(&f.s, NULL, NULL, &f.err), 0);
        ck_assert_int_eq(qmp_server_reply(&f.s, NULL, NULL, &f.err), -(int)QF_E_LOST);
        ck_assert_str_eq(said(), "{\"return\": {}}\r\n");
    }
}
END_TEST

/* Both ends of the wire, spread over lines or not, in reads of _i + 1 bytes. */
START_TEST(client_and_server_understand_each_other)
{
    for (int pretty = 0; pretty < 2; pretty++) {
        struct qmp_client c;
        struct qmp_msg m;
        uint64_t answered = 0;
        json_t *version = json_pack("{s:{s:i}}", "qemu", "major", 7);
        again();
        qmp_client_init(&c);
        f.s.pretty = pretty;
        ck_assert_int_eq(qmp_server_event(&f.s, "RESUME", NULL, 1, &f.err), 0);
        ck_assert_int_eq(qmp_server_greet(&f.s, version, &f.err), 0);
        for (uint64_t id = 1; id <= 20; id++)
            ck_assert_int_eq(qmp_client_send(&c, "x", version, id, false, &f.err), 0);
        const size_t step = (size_t)_i + 1;
        while (c.out.len || f.s.out.len) {
            const size_t to_client = f.s.out.len < step ? f.s.out.len : step;
            ck_assert_int_eq(qmp_client_feed(&c, f.s.out.data, to_client, &f.err), 0);
            qf_buf_drop(&f.s.out, to_client);
            while ((f.last = qmp_client_next(&c, &m, &f.err)) == 1)
                if (m.kind == QMP_MSG_REPLY && !m.is_error)
                    ck_assert_uint_eq(m.id, ++answered);
            ck_assert_int_eq(f.last, 0);
            const size_t to_server = c.out.len < step ? c.out.len : step;
            feed(c.out.data, to_server);
            qf_buf_drop(&c.out, to_server);
        }
        ck_assert_uint_eq(answered, 20);
        ck_assert(c.oob && f.s.oob);
        qmp_client_fini(&c);
        json_decref(version);
    }
}
END_TEST

/* A whole conversation; true when nothing failed. What fails says so, and what was said before
 * is still whole lines. */
static bool converse(json_t *version, unsigned allocations)
{
    static const char in[] = CAPS_OOB
        "{\"execute\":\"x\",\"arguments\":{\"u\":18446744073709551615},\"id\":[1]}{}";
    struct qmp_command cmd;
    bool failed = false;
    allocations_left = allocations;
    failed |= qmp_server_greet(&f.s, version, &f.err) != 0;
    failed |= qmp_server_event(&f.s, "STOP", version, 5, &f.err) != 0;
    int rc = qmp_server_feed(&f.s, in, sizeof(in) - 1, &f.err);
    while (rc >= 0 && (rc = qmp_server_next(&f.s, &cmd, &f.err)) == 1)
        failed |= qmp_server_reply(&f.s, cmd.id, version, &f.err) != 0;
    allocations_left = UINT32_MAX;
    if (f.s.out.len)
        ck_assert_mem_eq(f.s.out.data + f.s.out.len - 2, "\r\n", 2);
    if (failed || rc < 0)
        ck_assert_int_eq(f.err.code, QF_E_NOMEM);
    return !failed && rc >= 0 && !strstr(said(), "JSON parse error");
}

START_TEST(any_allocation_may_fail)
{
    json_t *version = json_pack("{s:i}", "major", 7);
    unsigned n = 0;
    while (!converse(version, n)) {
        again();
        ck_assert_uint_lt(++n, 10000);
    }
    ck_assert_uint_gt(n, 50);
    json_decref(version);
}
END_TEST

START_TEST(fini_is_safe_on_zeroes_and_twice)
{
    struct qmp_server zero;
    memset(&zero, 0, sizeof(zero));
    qmp_server_fini(&zero);
    qmp_server_fini(&f.s);
    qmp_server_fini(&f.s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("server");
    TCase *tc = tcase_create("server");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, answers_as_qemu_wherever_a_read_ends, 0, COUNT(talks));
    tcase_add_loop_test(tc, ids_come_back_to_the_byte, 0, COUNT(ids));
    tcase_add_test(tc, an_id_that_is_kept_answers_later);
    tcase_add_test(tc, greets_and_tells_events);
    tcase_add_test(tc, does_not_enable_what_it_does_not_offer);
    tcase_add_test(tc, a_closed_server_stays_closed);
    tcase_add_test(tc, long_commands_are_refused);
    tcase_add_test(tc, a_client_that_does_not_read_is_lost);
    tcase_add_test(tc, says_all_of_a_message_or_nothing);
    tcase_add_loop_test(tc, client_and_server_understand_each_other, 0, 40);
    tcase_add_test(tc, any_allocation_may_fail);
    tcase_add_test(tc, fini_is_safe_on_zeroes_and_twice);
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

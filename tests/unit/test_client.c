#include <check.h>
#include <inttypes.h>
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

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

#define GREETING       "{\"QMP\": {\"version\": {\"qemu\": {}}, \"capabilities\": [\"oob\"]}}\r\n"
#define GREETING_PLAIN "{\"QMP\": {\"version\": {\"qemu\": {}}, \"capabilities\": []}}\r\n"
#define CAPS_OK        "{\"return\": {}, \"id\": 0}\r\n"
#define CAPS           "{\"execute\":\"qmp_capabilities\",\"id\":0}\n"
#define CAPS_OOB \
    "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]},\"id\":0}\n"

/* What a monitor says, and what the client makes of it. Commands 1, 2 and 3 are unanswered. */
static const struct {
    const char *in;
    const char *trace;
} talks[] = {
    {GREETING CAPS_OK, "up oob|"},
    {GREETING_PLAIN CAPS_OK, "up|"},
    {"{\"QMP\":{\"version\":{}}}" CAPS_OK, "up|"},
    {"{\"event\":\"RESUME\",\"timestamp\":{}}" GREETING CAPS_OK, "event RESUME -|up oob|"},
    {GREETING "{\"event\":\"STOP\",\"data\":{\"a\":1}}" CAPS_OK,
     "event STOP {\"a\":1}|up oob|"},
    {GREETING "{\"return\":{},\"id\":\"old\"}{\"return\":{},\"id\":2}" CAPS_OK, "up oob|"},
    {GREETING CAPS_OK "{\"return\":{\"a\":[1,2]},\"id\":1}", "up oob|1 {\"a\":[1,2]}|"},
    {GREETING CAPS_OK
     "{\"return\":{},\"id\":2}{\"id\":1,\"return\":[]}{\"id\":3,\"return\":true}",
     "up oob|2 {}|1 []|3 true|"},
    {GREETING CAPS_OK
     "{\"event\":\"A\"}{\"id\":1,\"return\":{}}{\"event\":\"B\"}{\"id\":2,\"return\":{}}",
     "up oob|event A -|1 {}|event B -|2 {}|"},
    {GREETING CAPS_OK
     "{\"id\":1,\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"no \\\"x\\\"\"}}",
     "up oob|1 CommandNotFound: no \"x\"|"},
    {GREETING CAPS_OK "{\"id\":1,\"error\":{}}", "up oob|1 GenericError: no description|"},
    {GREETING CAPS_OK
     "{\"id\":9,\"return\":{}}{\"id\":1,\"return\":{}}{\"id\":1,\"return\":{}}",
     "up oob|1 {}|"},
    {GREETING CAPS_OK "{\"id\":\"1\",\"return\":{}}{\"id\":null,\"return\":{}}", "up oob|"},
    {GREETING CAPS_OK
     "{\r\n    \"return\": {\r\n        \"s\": \"}{\"\r\n    },\r\n    \"id\": 1\r\n}\r\n",
     "up oob|1 {\"s\":\"}{\"}|"},
    {GREETING CAPS_OK
     "{\"return\":{\"u\":18446744073709551615,\"s\":\"18446744073709551615\"},\"id\":1}",
     "up oob|1 {\"u\":\"18446744073709551615\",\"s\":\"18446744073709551615\"}|"},
    {"SSH-2.0-x\r\n", "12 this is not a QMP monitor"},
    {"{}", "12 this is not a QMP monitor: it does not greet|"},
    {"{\"error\":{\"class\":\"GenericError\",\"desc\":\"x\"}}",
     "12 it does not greet, but says: x|"},
    {"{\"return\":{}}", "12 this is not a QMP monitor: it does not greet|"},
    {"{\"QMP\":17}", "12 the monitor sent a strange greeting|"},
    {GREETING GREETING, "12 the monitor sent a strange greeting|"},
    {GREETING CAPS_OK GREETING, "up oob|12 the monitor sent a strange greeting|"},
    {GREETING "{\"id\":0,\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"done\"}}",
     "12 the monitor refused qmp_capabilities: done|"},
    {GREETING CAPS_OK
     "{\"error\":{\"class\":\"GenericError\",\"desc\":\"JSON parse error\"}}",
     "up oob|12 the monitor could not read a command: JSON parse error|"},
    {GREETING CAPS_OK "{\"return\":{}}",
     "up oob|12 the monitor sent a reply without an id|"},
    {GREETING CAPS_OK "{\"event\":7}",
     "up oob|12 the monitor sent an event without a name|"},
    {GREETING CAPS_OK "{\"id\":1}",
     "up oob|12 the monitor sent neither a reply nor an event|"},
    {GREETING CAPS_OK "{\"return\":{]}", "up oob|12 a message is not JSON: "},
    {GREETING CAPS_OK "{\"return\":\"\xff\",\"id\":1}",
     "up oob|12 a message is not JSON: "},
};

static struct fixture {
    struct qmp_client c;
    struct qf_err err;
    char trace[4096];
    int last; /* what feed or next said last */
} f;

static void setup(void)
{
    allocations_left = UINT32_MAX;
    json_set_alloc_funcs(scarce_malloc, free);
    memset(&f, 0, sizeof(f));
    qmp_client_init(&f.c);
}

static void teardown(void)
{
    qmp_client_fini(&f.c);
}

static void again(void)
{
    teardown();
    setup();
}

static void note(const char *fmt, ...) QF_PRINTF(1, 2);
static void note(const char *fmt, ...)
{
    const size_t n = strlen(f.trace);
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(f.trace + n, sizeof(f.trace) - n, fmt, ap);
    va_end(ap);
}

static void note_msg(const struct qmp_msg *m)
{
    char *body = m->body ? json_dumps(m->body, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    switch (m->kind) {
    case QMP_MSG_UP:
        note("up%s|", f.c.oob ? " oob" : "");
        ck_assert_int_eq(f.c.state, QMP_READY);
        ck_assert_ptr_nonnull(json_object_get(m->body, "version"));
        break;
    case QMP_MSG_REPLY:
        if (m->is_error)
            note("%" PRIu64 " %s: %s|", m->id, m->error_class, m->error_desc);
        else
            note("%" PRIu64 " %s|", m->id, body ? body : "-");
        break;
    case QMP_MSG_EVENT:
        note("event %s %s|", m->name, body ? body : "-");
        break;
    }
    ck_assert_ptr_nonnull(m->whole);
    free(body);
}

static void feed(const char *data, size_t len)
{
    struct qmp_msg m;
    if (f.last < 0)
        return;
    f.last = qmp_client_feed(&f.c, data, len, &f.err);
    while (f.last >= 0 && (f.last = qmp_client_next(&f.c, &m, &f.err)) == 1)
        note_msg(&m);
    if (f.last < 0)
        note("%d %s|", (int)f.err.code, f.err.text);
}

static void hear(const char *text)
{
    feed(text, strlen(text));
}

static int send(uint64_t id, bool oob)
{
    return qmp_client_send(&f.c, oob ? "query-yank" : "query-status", NULL, id, oob,
                           &f.err);
}

/* What the client wants written, and take it away. */
static const char *said(void)
{
    static char text[65536];
    ck_assert_uint_lt(f.c.out.len, sizeof(text));
    if (f.c.out.len)
        memcpy(text, f.c.out.data, f.c.out.len);
    text[f.c.out.len] = '\0';
    qf_buf_drop(&f.c.out, f.c.out.len);
    return text;
}

static void send_three(void)
{
    for (uint64_t id = 1; id <= 3; id++)
        ck_assert_int_eq(send(id, false), 0);
}

START_TEST(understands_a_monitor_wherever_a_read_ends)
{
    const char *in = talks[_i].in;
    const size_t len = strlen(in);
    /* The quote of what is no JSON depends on how much of it was there. */
    const size_t n = strlen(talks[_i].trace);
    send_three();
    hear(in);
    ck_assert_msg(strncmp(f.trace, talks[_i].trace, n) == 0, "%s", f.trace);
    again();
    send_three();
    for (size_t i = 0; i < len; i++)
        feed(in + i, 1);
    ck_assert_msg(strncmp(f.trace, talks[_i].trace, n) == 0, "%s", f.trace);
    for (size_t cut = 0; cut <= len; cut++) {
        again();
        send_three();
        feed(in, cut);
        feed(in + cut, len - cut);
        ck_assert_msg(strncmp(f.trace, talks[_i].trace, n) == 0, "%s", f.trace);
    }
    if (talks[_i].trace[n - 1] == '|')
        ck_assert_str_eq(f.trace, talks[_i].trace);
}
END_TEST

START_TEST(a_broken_client_stays_broken)
{
    struct qmp_msg m;
    hear(GREETING CAPS_OK "hello");
    ck_assert_int_eq(f.c.state, QMP_BROKEN);
    ck_assert_int_eq(qmp_client_feed(&f.c, "{}", 2, &f.err), -(int)QF_E_PROTO);
    ck_assert_int_eq(qmp_client_next(&f.c, &m, &f.err), -(int)QF_E_PROTO);
    ck_assert_int_eq(send(1, false), -(int)QF_E_LOST);
    ck_assert_str_eq(f.err.text, "query-status: the connection to the monitor is broken");
}
END_TEST

START_TEST(says_nothing_before_the_greeting)
{
    send_three();
    hear("{\"event\":\"RESUME\"}");
    ck_assert_str_eq(said(), "");
}
END_TEST

START_TEST(negotiates_what_is_offered_and_then_sends_what_waited)
{
    ck_assert_int_eq(send(7, false), 0);
    hear(GREETING);
    ck_assert_str_eq(said(), CAPS_OOB);
    hear(CAPS_OK);
    ck_assert_str_eq(said(), "{\"execute\":\"query-status\",\"id\":7}\n");
    again();
    ck_assert_int_eq(send(7, false), 0);
    hear(GREETING_PLAIN);
    ck_assert_str_eq(said(), CAPS);
    hear(CAPS_OK);
    ck_assert_str_eq(said(), "{\"execute\":\"query-status\",\"id\":7}\n");
}
END_TEST

START_TEST(writes_arguments_and_ids_as_they_are)
{
    json_t *args = json_pack("{s:s,s:I}", "a\n", "\xc3\xa4\"", "n", (json_int_t)INT64_MIN);
    hear(GREETING CAPS_OK);
    (void)said();
    ck_assert_int_eq(qmp_client_send(&f.c, "x-\"y\"", args, UINT64_MAX, false, &f.err), 0);
    ck_assert_str_eq(
        said(),
        "{\"execute\":\"x-\\\"y\\\"\",\"arguments\":{\"a\\n\":\"\xc3\xa4\\\"\",\"n\":"
        "-9223372036854775808},\"id\":18446744073709551615}\n");
    hear("{\"return\":{},\"id\":18446744073709551615}");
    ck_assert_str_eq(f.trace, "up oob|18446744073709551615 {}|");
    ck_assert_int_eq(qmp_client_send(&f.c, "yank", args, 2, true, &f.err), 0);
    ck_assert_ptr_nonnull(strstr(said(), "{\"exec-oob\":\"yank\",\"arguments\":{"));
    json_decref(args);
}
END_TEST

/* How many commands of 1, 2, 3, ... are in text, which holds nothing else, in this order. */
static unsigned commands(const char *text, uint64_t *next)
{
    unsigned n = 0;
    for (; *text; n++) {
        char want[64];
        (void)snprintf(want, sizeof(want),
                       "{\"execute\":\"query-status\",\"id\":%" PRIu64 "}\n", (*next)++);
        ck_assert_mem_eq(text, want, strlen(want));
        text += strlen(want);
    }
    return n;
}

START_TEST(keeps_order_and_at_most_seven_in_flight)
{
    uint64_t next = 1;
    uint64_t sent = 0;
    hear(GREETING CAPS_OK);
    (void)said();
    while (sent < QMP_IN_BAND_MAX + QMP_WAITING_MAX)
        ck_assert_int_eq(send(++sent, false), 0);
    ck_assert_uint_eq(commands(said(), &next), QMP_IN_BAND_MAX);
    for (uint64_t id = 1; id <= 200; id++) {
        char text[64];
        (void)snprintf(text, sizeof(text),
                       id % 3 ? "{\"return\":{},\"id\":%" PRIu64 "}"
                              : "{\"error\":{},\"id\":%" PRIu64 "}",
                       id);
        f.trace[0] = '\0';
        hear(text);
        ck_assert_int_eq(f.last, 0);
        ck_assert_uint_eq(f.c.n_in_flight,
                          200 - id < QMP_IN_BAND_MAX ? 200 - id : QMP_IN_BAND_MAX);
        ck_assert_uint_eq(commands(said(), &next), 200 - id < QMP_IN_BAND_MAX ? 0 : 1);
        if (sent < 200)
            ck_assert_int_eq(send(++sent, false), 0);
    }
    ck_assert_uint_eq(next, 201);
    ck_assert_uint_eq(f.c.strays, 0);
}
END_TEST

START_TEST(out_of_band_passes_a_full_queue)
{
    hear(GREETING CAPS_OK);
    for (uint64_t id = 1; id <= 20; id++)
        ck_assert_int_eq(send(id, false), 0);
    (void)said();
    ck_assert_int_eq(send(100, true), 0);
    ck_assert_str_eq(said(), "{\"exec-oob\":\"query-yank\",\"id\":100}\n");
    f.trace[0] = '\0';
    hear("{\"return\":[],\"id\":100}");
    ck_assert_str_eq(f.trace, "100 []|");
    ck_assert_str_eq(said(), "");
    ck_assert_uint_eq(f.c.n_in_flight, QMP_IN_BAND_MAX);
}
END_TEST

/* What the caller may not do; nothing is queued and the client works on. */
START_TEST(refuses_what_breaks_its_rules)
{
    json_t *list = json_array();
    ck_assert_int_eq(send(1, true), -(int)QF_E_INTERNAL); /* before the greeting */
    hear(GREETING_PLAIN CAPS_OK);
    (void)said();
    ck_assert_int_eq(send(1, true), -(int)QF_E_INTERNAL);
    ck_assert_str_eq(f.err.text, "query-yank: the monitor takes no out-of-band commands");
    ck_assert_int_eq(send(0, false), -(int)QF_E_INTERNAL);
    ck_assert_int_eq(qmp_client_send(&f.c, "x", list, 1, false, &f.err),
                     -(int)QF_E_INTERNAL);
    json_decref(list);
    ck_assert_str_eq(said(), "");
    for (uint64_t id = 1; id <= QMP_IN_BAND_MAX + QMP_WAITING_MAX; id++) {
        ck_assert_int_eq(send(id, false), 0);
        ck_assert_int_eq(send(id, false), -(int)QF_E_INTERNAL);
    }
    ck_assert_int_eq(send(1, false), -(int)QF_E_INTERNAL);
    ck_assert_str_eq(f.err.text, "query-status: id 1 is in use");
    ck_assert_int_eq(send(1000, false), -(int)QF_E_INTERNAL);
    ck_assert_str_eq(f.err.text, "query-status: 64 commands are waiting");
    hear("{\"return\":{},\"id\":1}");
    ck_assert_int_eq(send(1, false), 0);
}
END_TEST

START_TEST(out_of_band_commands_are_bounded)
{
    hear(GREETING CAPS_OK);
    for (uint64_t id = 1; id <= QMP_OUT_OF_BAND_MAX; id++)
        ck_assert_int_eq(send(id, true), 0);
    ck_assert_int_eq(send(2, true), -(int)QF_E_INTERNAL);
    ck_assert_int_eq(send(100, true), -(int)QF_E_INTERNAL);
    hear("{\"return\":[],\"id\":3}");
    ck_assert_int_eq(send(100, true), 0);
}
END_TEST

START_TEST(a_command_larger_than_the_room_is_refused)
{
    char *big = malloc(QMP_MESSAGE_MAX);
    ck_assert_ptr_nonnull(big);
    memset(big, 'x', QMP_MESSAGE_MAX - 1);
    big[QMP_MESSAGE_MAX - 1] = '\0';
    json_t *args = json_pack("{s:s}", "a", big);
    free(big);
    hear(GREETING CAPS_OK);
    (void)said();
    ck_assert_int_eq(qmp_client_send(&f.c, "x", args, 1, false, &f.err),
                     -(int)QF_E_INTERNAL);
    ck_assert_str_eq(f.err.text, "x: no room to write it");
    ck_assert_str_eq(said(), "");
    json_decref(args);
}
END_TEST

START_TEST(counts_strays)
{
    hear(GREETING "{\"return\":{},\"id\":5}");
    ck_assert_int_eq(f.c.state, QMP_NEGOTIATING);
    hear(CAPS_OK "{\"return\":{},\"id\":5}{\"return\":{},\"id\":{}}");
    ck_assert_str_eq(f.trace, "up oob|");
    ck_assert_uint_eq(f.c.strays, 3);
}
END_TEST

START_TEST(a_message_is_lent_until_the_next)
{
    struct qmp_msg m;
    send_three();
    hear(GREETING CAPS_OK);
    ck_assert_int_eq(
        qmp_client_feed(&f.c, "{\"id\":1,\"return\":{\"a\":\"b\"}}{}", 29, &f.err), 0);
    ck_assert_int_eq(qmp_client_next(&f.c, &m, &f.err), 1);
    ck_assert_int_eq(qmp_client_send(&f.c, "x", m.body, 4, false, &f.err), 0);
    ck_assert_ptr_nonnull(strstr(said(), "\"arguments\":{\"a\":\"b\"},\"id\":4}"));
    ck_assert_str_eq(json_string_value(json_object_get(m.body, "a")), "b");
}
END_TEST

START_TEST(fini_is_safe_on_zeroes_and_twice)
{
    struct qmp_client zero;
    memset(&zero, 0, sizeof(zero));
    qmp_client_fini(&zero);
    send_three();
    qmp_client_fini(&f.c);
    qmp_client_fini(&f.c);
}
END_TEST

/* ---- numbers ---- */

static const struct {
    const char *text;
    const char *becomes; /* NULL: refused */
} texts[] = {
    {"[9223372036854775807]", "[9223372036854775807]"},
    {"[9223372036854775808]", "[\"9223372036854775808\"]"},
    {"[18446744073709551615,1]", "[\"18446744073709551615\",1]"},
    {"[99999999999999999999999]", "[\"99999999999999999999999\"]"},
    {"[-9223372036854775808]", "[-9223372036854775808]"},
    {"[-9223372036854775809]", "[\"-9223372036854775809\"]"},
    {"{\"a\":18446744073709551615,\"b\":{\"c\":9223372036854775808}}",
     "{\"a\":\"18446744073709551615\",\"b\":{\"c\":\"9223372036854775808\"}}"},
    {"[\"18446744073709551615\"]", "[\"18446744073709551615\"]"},
    {"[\"\\\"18446744073709551615\"]", "[\"\\\"18446744073709551615\"]"},
    {"[\"\\\\\",18446744073709551615]", "[\"\\\\\",\"18446744073709551615\"]"},
    {"[18446744073709551615.0]", "[1.8446744073709552e19]"},
    {"[18446744073709551615e0]", "[1.8446744073709552e19]"},
    {"[1e2,-0,0.5]", "[100.0,0,0.5]"},
    {"18446744073709551615", "\"18446744073709551615\""},
    {"[00000000000000000000001]", NULL},
    {"[1844674407370955161-5]", NULL},
    {"[-]", NULL},
    {"[1e400]", NULL},
    {"[18446744073709551615", NULL},
    {"[\"18446744073709551615", NULL},
    {"[\"\\", NULL},
    {"", NULL},
    {"[1] 2", NULL},
};

START_TEST(no_integer_is_lost)
{
    const char *text = texts[_i].text;
    json_t *v = qmp_json_parse(text, strlen(text), &f.err);
    if (!texts[_i].becomes) {
        ck_assert_ptr_null(v);
        ck_assert_int_eq(f.err.code, QF_E_PROTO);
        return;
    }
    ck_assert_msg(v != NULL, "%s: %s", text, f.err.text);
    char *got = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    ck_assert_str_eq(got, texts[_i].becomes);
    free(got);
    json_decref(v);
}
END_TEST

static const struct {
    const char *text;
    bool is;
    uint64_t value;
} numbers[] = {
    {"0", true, 0},
    {"17", true, 17},
    {"9223372036854775807", true, INT64_MAX},
    {"9223372036854775808", true, UINT64_C(1) << 63},
    {"18446744073709551615", true, UINT64_MAX},
    {"\"9223372036854775808\"", true, UINT64_C(1) << 63},
    {"18446744073709551616", false, 0},
    {"99999999999999999999999", false, 0},
    {"-1", false, 0},
    {"-9223372036854775809", false, 0},
    {"1.5", false, 0},
    {"18446744073709551615.0", false, 0},
    {"\"17\"", false, 0},
    {"\"\"", false, 0},
    {"\"9223372036854775808 \"", false, 0},
    {"\"x9223372036854775808\"", false, 0},
    {"null", false, 0},
    {"true", false, 0},
    {"[1]", false, 0},
};

START_TEST(reads_unsigned_numbers_and_nothing_else)
{
    uint64_t got = 4711;
    json_t *v = qmp_json_parse(numbers[_i].text, strlen(numbers[_i].text), &f.err);
    ck_assert_ptr_nonnull(v);
    ck_assert_int_eq(qmp_json_u64(v, &got), numbers[_i].is);
    ck_assert_uint_eq(got, numbers[_i].is ? numbers[_i].value : 4711);
    ck_assert(!qmp_json_u64(NULL, &got));
    json_decref(v);
}
END_TEST

/* ---- memory that runs out ---- */

/* A whole conversation. True when nothing failed. A refused command says NOMEM and leaves the
 * client as good as before, and a message that was lost breaks it. */
static bool converse(unsigned allocations)
{
    static const char in[] = "{\"event\":\"E\",\"data\":{\"a\":[1]}}" GREETING CAPS_OK
                             "{\"return\":{\"u\":18446744073709551615},\"id\":1}"
                             "{\"error\":{\"class\":\"X\",\"desc\":\"y\"},\"id\":2}";
    bool refused = false;
    json_t *args = json_pack("{s:s}", "name", "value");
    ck_assert_ptr_nonnull(args);
    allocations_left = allocations;
    for (uint64_t id = 1; id <= 10; id++) {
        f.err.code = QF_E_NOMEM;
        if (qmp_client_send(&f.c, "command", args, id, false, &f.err) != 0)
            refused = true;
        ck_assert_int_eq(f.err.code, QF_E_NOMEM);
        ck_assert_int_ne(f.c.state, QMP_BROKEN);
    }
    struct qmp_msg m;
    int rc = 0;
    for (size_t i = 0; i < sizeof(in) - 1 && rc >= 0; i += 40) {
        const size_t n = sizeof(in) - 1 - i < 40 ? sizeof(in) - 1 - i : 40;
        rc = qmp_client_feed(&f.c, in + i, n, &f.err);
        while (rc >= 0 && (rc = qmp_client_next(&f.c, &m, &f.err)) == 1)
            continue;
    }
    if (rc < 0) {
        /* jansson says bad syntax when it has no memory for a string */
        ck_assert(f.err.code == QF_E_NOMEM || f.err.code == QF_E_PROTO);
        ck_assert_int_eq(f.c.state, QMP_BROKEN);
    } else if (!refused) {
        ck_assert_int_eq(f.c.state, QMP_READY);
        ck_assert_uint_eq(f.c.n_in_flight, QMP_IN_BAND_MAX);
        ck_assert_uint_eq(f.c.n_waiting, 1);
        if (qmp_client_send(&f.c, "yank", args, 11, true, &f.err) != 0)
            refused = true;
    }
    allocations_left = UINT32_MAX;
    json_decref(args);
    return rc >= 0 && !refused;
}

START_TEST(any_allocation_may_fail)
{
    unsigned n = 0;
    while (!converse(n)) {
        again();
        ck_assert_uint_lt(++n, 10000);
    }
    ck_assert_uint_gt(n, 50);
}
END_TEST

/* The same with one failure in the middle and memory again after it. */
START_TEST(one_allocation_may_fail)
{
    for (unsigned n = 0; n < 300; n++) {
        json_t *args = json_pack("{s:s}", "name", "value");
        hear(GREETING CAPS_OK);
        allocations_left = n % 30;
        const int rc = qmp_client_send(&f.c, "command", args, 1, false, &f.err);
        allocations_left = UINT32_MAX;
        if (rc != 0) {
            ck_assert_int_eq(rc, -(int)QF_E_NOMEM);
            ck_assert_int_eq(qmp_client_send(&f.c, "command", args, 1, false, &f.err), 0);
        }
        ck_assert_str_eq(
            said(), CAPS_OOB
            "{\"execute\":\"command\",\"arguments\":{\"name\":\"value\"},\"id\":1}\n");
        json_decref(args);
        again();
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("client");
    TCase *tc = tcase_create("client");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, understands_a_monitor_wherever_a_read_ends, 0, COUNT(talks));
    tcase_add_test(tc, a_broken_client_stays_broken);
    tcase_add_test(tc, says_nothing_before_the_greeting);
    tcase_add_test(tc, negotiates_what_is_offered_and_then_sends_what_waited);
    tcase_add_test(tc, writes_arguments_and_ids_as_they_are);
    tcase_add_test(tc, keeps_order_and_at_most_seven_in_flight);
    tcase_add_test(tc, out_of_band_passes_a_full_queue);
    tcase_add_test(tc, refuses_what_breaks_its_rules);
    tcase_add_test(tc, out_of_band_commands_are_bounded);
    tcase_add_test(tc, a_command_larger_than_the_room_is_refused);
    tcase_add_test(tc, counts_strays);
    tcase_add_test(tc, a_message_is_lent_until_the_next);
    tcase_add_test(tc, fini_is_safe_on_zeroes_and_twice);
    tcase_add_loop_test(tc, no_integer_is_lost, 0, COUNT(texts));
    tcase_add_loop_test(tc, reads_unsigned_numbers_and_nothing_else, 0, COUNT(numbers));
    tcase_add_test(tc, any_allocation_may_fail);
    tcase_add_test(tc, one_allocation_may_fail);
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

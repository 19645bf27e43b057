#include <check.h>
#include <stdlib.h>
#include <string.h>

/* buf.c is built into this test, so that its memory can run out. */
static unsigned allocations_left = 1000000;

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

#include "qmp/frame.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

/* What comes in, and the objects in it, each followed by '|'. */
static const struct {
    const char *in;
    const char *objects;
} streams[] = {
    {"", ""},
    {" \t\r\n", ""},
    {"{}", "{}|"},
    {"{}\r\n", "{}|"},
    {"{}{}", "{}|{}|"},
    {"{\"a\":1}\r\n{\"b\":2}\r\n\r\n{\"c\"", "{\"a\":1}|{\"b\":2}|"},
    {"{\r\n    \"a\": {\r\n    }\r\n}\r\n {}", "{\r\n    \"a\": {\r\n    }\r\n}|{}|"},
    {"{\"a\":[{},{\"b\":[[]]}]}{}", "{\"a\":[{},{\"b\":[[]]}]}|{}|"},
    {"{\"}\":\"{[\"}{}", "{\"}\":\"{[\"}|{}|"},
    {"{\"\\\"}\":\"\\\\\"}{\"\\\\\\\"{\":1}", "{\"\\\"}\":\"\\\\\"}|{\"\\\\\\\"{\":1}|"},
    {"{\"a\":\"\xc3\xa4\xff\"}", "{\"a\":\"\xc3\xa4\xff\"}|"},
    {"{]{}", "{]|{}|"}, /* for the parser to refuse */
    {"{\"never ends", ""},
    {"{\"never ends\\", ""},
};

/* What is no QMP, and what the sentence says of it when it comes in one piece. */
static const struct {
    const char *in;
    size_t len;
    const char *quote;
} strangers[] = {
    {"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\nmore", 36, "'SSH-2.0-OpenSSH_9.2p1 Debian-2'"},
    {"HTTP/1.1 400 Bad Request\r\n\r\n", 28, "'HTTP/1.1 400 Bad Request'"},
    {"\0\1\2\x80\xff", 5, "'.....'"},
    {" \r\n[1]", 6, "'[1]'"},
    {"{}x", 3, "'x'"},
    {"{}\r\n}", 5, "'}'"},
    {"220 mail.example.org ESMTP an unusually long line that never comes to its end", 77,
     "'220 mail.example.org ESMTP an unusually long lin'"},
    {"QEMU 7.2.22 monitor - type 'help' for more information", 54,
     "'QEMU 7.2.22 monitor - type 'help' for more infor'"},
};

static struct fixture {
    struct qmp_frame frame;
    struct qf_err err;
    char objects[4096];
    int last; /* what qmp_frame_next said last */
} f;

static void setup(void)
{
    allocations_left = 1000000;
    memset(&f, 0, sizeof(f));
    qmp_frame_init(&f.frame, QMP_MESSAGE_MAX);
}

static void teardown(void)
{
    qmp_frame_fini(&f.frame);
}

/* Feed, and collect the objects. */
static void feed(const char *data, size_t len)
{
    const char *text;
    size_t n;
    if (f.last < 0)
        return;
    ck_assert_int_eq(qmp_frame_feed(&f.frame, data, len, &f.err), 0);
    while ((f.last = qmp_frame_next(&f.frame, &text, &n, &f.err)) == 1) {
        strncat(f.objects, text, n);
        strcat(f.objects, "|");
    }
}

static void again(void)
{
    teardown();
    setup();
}

START_TEST(finds_objects_wherever_a_read_ends)
{
    const char *in = streams[_i].in;
    const size_t len = strlen(in);
    feed(in, len);
    ck_assert_str_eq(f.objects, streams[_i].objects);
    again();
    for (size_t i = 0; i < len; i++)
        feed(in + i, 1);
    ck_assert_str_eq(f.objects, streams[_i].objects);
    for (size_t cut = 0; cut <= len; cut++) {
        again();
        feed(in, cut);
        feed(in + cut, len - cut);
        ck_assert_str_eq(f.objects, streams[_i].objects);
        ck_assert_int_eq(f.last, 0);
    }
}
END_TEST

START_TEST(names_what_is_not_qmp)
{
    feed(strangers[_i].in, strangers[_i].len);
    ck_assert_int_eq(f.last, -(int)QF_E_PROTO);
    ck_assert_msg(strstr(f.err.text, strangers[_i].quote) != NULL, "%s", f.err.text);
}
END_TEST

START_TEST(what_is_not_qmp_stays_refused_wherever_a_read_ends)
{
    for (size_t cut = 0; cut <= strangers[_i].len; cut++) {
        const char *text;
        size_t n;
        again();
        feed(strangers[_i].in, cut);
        feed(strangers[_i].in + cut, strangers[_i].len - cut);
        ck_assert_int_eq(f.last, -(int)QF_E_PROTO);
        ck_assert_int_eq(qmp_frame_next(&f.frame, &text, &n, NULL), -(int)QF_E_PROTO);
    }
}
END_TEST

START_TEST(nests_as_deep_as_qemu_and_no_deeper)
{
    static char text[2 * QMP_DEPTH_MAX + 8];
    const size_t depth = QMP_DEPTH_MAX;
    memset(text, '[', depth);
    text[0] = '{';
    memset(text + depth, ']', depth);
    text[2 * depth - 1] = '}';
    feed(text, 2 * depth);
    ck_assert_int_eq(f.last, 0);
    ck_assert_uint_eq(qmp_frame_pending(&f.frame), 0);
    again();
    text[depth] = '[';
    feed(text, depth + 1);
    ck_assert_int_eq(f.last, -(int)QF_E_PROTO);
    ck_assert_str_eq(f.err.text, "a message is nested deeper than 1024");
}
END_TEST

/* Cap 10: ten bytes pass, eleven do not, in whatever pieces; many small ones always do. */
START_TEST(a_message_may_be_as_long_as_the_cap)
{
    static const char fits[] = "{\"a\":1234}";
    static const char too_long[] = "{\"a\":12345}";
    for (size_t cut = 0; cut <= 11; cut++) {
        again();
        f.frame.cap = 10;
        feed(fits, cut < 10 ? cut : 10);
        feed(fits + (cut < 10 ? cut : 10), cut < 10 ? 10 - cut : 0);
        ck_assert_str_eq(f.objects, "{\"a\":1234}|");
        again();
        f.frame.cap = 10;
        feed(too_long, cut);
        feed(too_long + cut, 11 - cut);
        ck_assert_int_eq(f.last, -(int)QF_E_PROTO);
        ck_assert_str_eq(f.err.text, "a message is longer than 10 bytes");
    }
    again();
    f.frame.cap = 10;
    feed("{} {} {} {} {} {} {} {}", 23);
    ck_assert_str_eq(f.objects, "{}|{}|{}|{}|{}|{}|{}|{}|");
}
END_TEST

START_TEST(what_nobody_takes_out_is_bounded)
{
    int rc = 0;
    f.frame.cap = 100;
    for (unsigned i = 0; i < 100 && rc == 0; i++)
        rc = qmp_frame_feed(&f.frame, "{}", 2, &f.err);
    ck_assert_int_eq(rc, -(int)QF_E_PROTO);
    ck_assert_uint_le(f.frame.in.len, 102);
}
END_TEST

START_TEST(counts_what_is_pending)
{
    feed("  \r\n", 4);
    ck_assert_uint_eq(qmp_frame_pending(&f.frame), 0);
    const char *text;
    size_t len;
    ck_assert_int_eq(qmp_frame_feed(&f.frame, "{}{\"abc", 7, &f.err), 0);
    ck_assert_int_eq(qmp_frame_next(&f.frame, &text, &len, &f.err), 1);
    ck_assert_uint_eq(qmp_frame_pending(&f.frame), 0);
    ck_assert_int_eq(qmp_frame_next(&f.frame, &text, &len, &f.err), 0);
    ck_assert_uint_eq(qmp_frame_pending(&f.frame), 5);
    feed("\"}\r\n", 4);
    ck_assert_uint_eq(qmp_frame_pending(&f.frame), 0);
}
END_TEST

START_TEST(large_messages_come_in_small_reads)
{
    static char text[300 * 1024];
    const char *got = NULL;
    size_t len = 0;
    memset(text, 'x', sizeof(text));
    memcpy(text, "{\"a\":\"", 6);
    memcpy(text + sizeof(text) - 2, "\"}", 2);
    for (size_t i = 0; i < sizeof(text); i += 1000) {
        const size_t n = sizeof(text) - i < 1000 ? sizeof(text) - i : 1000;
        ck_assert_int_eq(qmp_frame_feed(&f.frame, text + i, n, &f.err), 0);
        ck_assert_int_eq(qmp_frame_next(&f.frame, &got, &len, &f.err),
                         i + n == sizeof(text) ? 1 : 0);
    }
    ck_assert_uint_eq(len, sizeof(text));
    ck_assert_mem_eq(got, text, len);
    feed("{}", 2);
    ck_assert_str_eq(f.objects, "{}|");
}
END_TEST

START_TEST(without_memory_nothing_is_taken)
{
    feed("{\"a\"", 4);
    static char more[5000];
    memset(more, ' ', sizeof(more));
    more[4999] = '}';
    allocations_left = 0;
    ck_assert_int_eq(qmp_frame_feed(&f.frame, more, sizeof(more), &f.err),
                     -(int)QF_E_NOMEM);
    feed(":1}", 3);
    ck_assert_str_eq(f.objects, "{\"a\":1}|");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("frame");
    TCase *tc = tcase_create("frame");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, finds_objects_wherever_a_read_ends, 0, COUNT(streams));
    tcase_add_loop_test(tc, names_what_is_not_qmp, 0, COUNT(strangers));
    tcase_add_loop_test(tc, what_is_not_qmp_stays_refused_wherever_a_read_ends, 0,
                        COUNT(strangers));
    tcase_add_test(tc, nests_as_deep_as_qemu_and_no_deeper);
    tcase_add_test(tc, a_message_may_be_as_long_as_the_cap);
    tcase_add_test(tc, what_nobody_takes_out_is_bounded);
    tcase_add_test(tc, counts_what_is_pending);
    tcase_add_test(tc, large_messages_come_in_small_reads);
    tcase_add_test(tc, without_memory_nothing_is_taken);
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

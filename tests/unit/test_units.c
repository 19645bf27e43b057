#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"

/* clang-format off */
static const struct { const char *text; uint64_t ms; } durations[] = {
    {"300ms", 300}, {"2s", 2000}, {"2", 2000}, {"0", 0}, {"1.5s", 1500}, {"0.25", 250},
    {"5min", 300000}, {"5m", 300000}, {"1h", 3600000}, {"1.5 h", 5400000}, {"1.0009s", 1000},
    {"0.000h", 0}, {"9223372036854775807ms", INT64_MAX},
};
static const char *const not_durations[] = {
    "", "s", "-1s", "+1", "1x", "1 s ", " 1s", "1..5s", "1.", ".5s", "1e3", "0x10", "1s2",
    "9223372036854775808ms", "18446744073709551616", "99999999999999999h", "1.0000000001s", "nan",
    "0.9ms", "0.000000001h",
};
static const struct { const char *text; uint64_t bytes; } sizes[] = {
    {"0", 0}, {"17", 17}, {"17B", 17}, {"64MiB", 64 * QF_MIB}, {"1GiB", QF_GIB}, {"64Mi", 64 * QF_MIB},
    {"1.5GiB", QF_GIB + QF_GIB / 2}, {"3Ki", 3072}, {"2TiB", 2048 * QF_GIB}, {"1kB", 1000},
    {"1KB", 1000}, {"2MB", 2000000}, {"3GB", 3000000000}, {"4TB", UINT64_C(4000000000000)},
    {"9223372036854775807", INT64_MAX},
};
static const char *const not_sizes[] = {
    "", "MiB", "-1", "1mib", "1 Mib", "1M", "1G", "1K", "9223372036854775808", "8388608TiB",
    "1,5GiB", "64MiB/s",
};
static const struct { const char *text; uint64_t bytes_per_s; } rates[] = {
    {"8bit", 1}, {"100Mbit", 12500000}, {"100Mbit/s", 12500000}, {"10Gbit", 1250000000},
    {"1.5Gbit", 187500000}, {"125MiB", 125 * QF_MIB}, {"125MiB/s", 125 * QF_MIB}, {"1000", 1000},
    {"1000/s", 1000}, {"64kbit", 8000}, {"1Tbit", UINT64_C(125000000000)}, {"0", 0},
};
static const char *const not_rates[] = {"", "/s", "1Mbit/", "1Mbit/h", "fast", "1mbit", "-1Mbit", "1Mbps", "7bit"};

static const struct { uint64_t bytes; const char *text; } written_bytes[] = {
    {0, "0 B"}, {12, "12 B"}, {1023, "1023 B"}, {1024, "1.0 KiB"}, {96 * QF_MIB, "96.0 MiB"},
    {QF_GIB + QF_GIB / 2, "1.5 GiB"}, {QF_MIB - 1, "1023.9 KiB"},
    {UINT64_MAX, "16777215.9 TiB"},
};
static const struct { uint64_t ms; const char *text; } written_ms[] = {
    {0, "0 ms"}, {340, "340 ms"}, {999, "999 ms"}, {1000, "1.0 s"}, {12400, "12.4 s"},
    {119999, "119.9 s"}, {200000, "3 min 20 s"}, {7200000, "120 min 0 s"},
};
/* clang-format on */

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

START_TEST(reads_durations)
{
    uint64_t ms = 1;
    ck_assert_int_eq(qf_parse_duration(durations[_i].text, &ms, NULL), 0);
    ck_assert_msg(ms == durations[_i].ms, "%s: %llu", durations[_i].text,
                  (unsigned long long)ms);
}
END_TEST

START_TEST(reads_sizes)
{
    uint64_t bytes = 1;
    ck_assert_int_eq(qf_parse_size(sizes[_i].text, &bytes, NULL), 0);
    ck_assert_msg(bytes == sizes[_i].bytes, "%s: %llu", sizes[_i].text,
                  (unsigned long long)bytes);
}
END_TEST

START_TEST(reads_rates)
{
    uint64_t rate = 1;
    ck_assert_int_eq(qf_parse_rate(rates[_i].text, &rate, NULL), 0);
    ck_assert_msg(rate == rates[_i].bytes_per_s, "%s: %llu", rates[_i].text,
                  (unsigned long long)rate);
}
END_TEST

/* What is refused is named, and the result stays as it was. */
static void refuses(int (*parse)(const char *, uint64_t *, struct qf_err *),
                    const char *text)
{
    uint64_t v = 4711;
    struct qf_err err;
    ck_assert_msg(parse(text, &v, &err) == -(int)QF_E_USAGE, "'%s' was read as %llu", text,
                  (unsigned long long)v);
    ck_assert_uint_eq(v, 4711);
    ck_assert_ptr_nonnull(strstr(err.text, text));
}

START_TEST(refuses_what_is_no_duration)
{
    refuses(qf_parse_duration, not_durations[_i]);
}
END_TEST

START_TEST(refuses_what_is_no_size)
{
    refuses(qf_parse_size, not_sizes[_i]);
}
END_TEST

START_TEST(refuses_what_is_no_rate)
{
    refuses(qf_parse_rate, not_rates[_i]);
}
END_TEST

START_TEST(writes_bytes_as_people_do)
{
    char buf[32];
    ck_assert_str_eq(qf_format_bytes(written_bytes[_i].bytes, buf, sizeof(buf)),
                     written_bytes[_i].text);
    char rate[64];
    (void)snprintf(rate, sizeof(rate), "%s/s", written_bytes[_i].text);
    ck_assert_str_eq(qf_format_rate(written_bytes[_i].bytes, buf, sizeof(buf)), rate);
}
END_TEST

START_TEST(writes_times_as_people_do)
{
    char buf[32];
    ck_assert_str_eq(qf_format_ms(written_ms[_i].ms, buf, sizeof(buf)),
                     written_ms[_i].text);
}
END_TEST

START_TEST(arithmetic_saturates)
{
    ck_assert_uint_eq(qf_mul_div(10, 10, 3), 33);
    ck_assert_uint_eq(qf_mul_div(UINT64_MAX, UINT64_MAX, UINT64_MAX), UINT64_MAX);
    ck_assert_uint_eq(qf_mul_div(UINT64_MAX, 3, 4), UINT64_MAX / 4 * 3 + 2);
    ck_assert_uint_eq(qf_mul_div(UINT64_MAX, 2, 1), UINT64_MAX);
    ck_assert_uint_eq(qf_mul_div(1, 1, 0), UINT64_MAX);
    ck_assert_uint_eq(qf_add_sat(UINT64_MAX, 1), UINT64_MAX);
    ck_assert_uint_eq(qf_add_sat(UINT64_MAX - 1, 1), UINT64_MAX);
    ck_assert_uint_eq(qf_add_sat(2, 3), 5);
    ck_assert_uint_eq(qf_mul_sat(UINT64_C(1) << 32, UINT64_C(1) << 32), UINT64_MAX);
    ck_assert_uint_eq(qf_mul_sat(6, 7), 42);
    ck_assert_int_eq(qf_ms_to_ns(3), 3000000);
    ck_assert_int_eq(qf_ms_to_ns(UINT64_MAX), INT64_MAX);
    ck_assert_int_eq(qf_ms_to_ns(INT64_MAX / 1000000), INT64_MAX / 1000000 * 1000000);
    ck_assert_int_eq(qf_ms_to_ns(INT64_MAX / 1000000 + 1), INT64_MAX);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("units");
    TCase *tc = tcase_create("units");
    tcase_add_loop_test(tc, reads_durations, 0, COUNT(durations));
    tcase_add_loop_test(tc, reads_sizes, 0, COUNT(sizes));
    tcase_add_loop_test(tc, reads_rates, 0, COUNT(rates));
    tcase_add_loop_test(tc, refuses_what_is_no_duration, 0, COUNT(not_durations));
    tcase_add_loop_test(tc, refuses_what_is_no_size, 0, COUNT(not_sizes));
    tcase_add_loop_test(tc, refuses_what_is_no_rate, 0, COUNT(not_rates));
    tcase_add_loop_test(tc, writes_bytes_as_people_do, 0, COUNT(written_bytes));
    tcase_add_loop_test(tc, writes_times_as_people_do, 0, COUNT(written_ms));
    tcase_add_test(tc, arithmetic_saturates);
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

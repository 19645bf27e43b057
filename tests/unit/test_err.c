#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/err.h"

START_TEST(fail_sets_code_and_sentence_and_returns_the_code)
{
    struct qf_err err;
    ck_assert_int_eq(qf_fail(&err, QF_E_LOST, "%s: %d bytes", "link", 7), -(int)QF_E_LOST);
    ck_assert_int_eq(err.code, QF_E_LOST);
    ck_assert_str_eq(err.text, "link: 7 bytes");
}
END_TEST

START_TEST(wrap_puts_context_in_front_and_keeps_the_code)
{
    struct qf_err err;
    (void)qf_fail(&err, QF_E_QMP, "address already in use");
    ck_assert_int_eq(qf_wrap(&err, "migrate-incoming"), -(int)QF_E_QMP);
    ck_assert_int_eq(qf_wrap(&err, "%s", "dst"), -(int)QF_E_QMP);
    ck_assert_int_eq(err.code, QF_E_QMP);
    ck_assert_str_eq(err.text, "dst: migrate-incoming: address already in use");
}
END_TEST

START_TEST(err_may_be_null)
{
    ck_assert_int_eq(qf_fail(NULL, QF_E_IO, "x"), -(int)QF_E_IO);
    ck_assert_int_lt(qf_wrap(NULL, "x"), 0);
}
END_TEST

/* A sentence of _i ASCII letters and then characters of 1 to 4 bytes: cut at the end of the room,
 * but never inside a character, and a whole one at the very end stays. */
START_TEST(long_sentences_are_cut_between_characters)
{
    static const char *const chars[] = {"x", "\xc3\xa4", "\xe2\x82\xac",
                                        "\xf0\x9f\x98\x80"};
    for (size_t c = 0; c < 4; c++) {
        char text[2 * QF_ERR_TEXT] = "";
        const size_t width = strlen(chars[c]);
        size_t n = (size_t)_i;
        memset(text, 'a', n);
        while (n + width < sizeof(text)) {
            memcpy(text + n, chars[c], width);
            n += width;
        }
        struct qf_err err;
        (void)qf_fail(&err, QF_E_IO, "%s", text);
        const size_t fits = (QF_ERR_TEXT - 1 - (size_t)_i) / width * width + (size_t)_i;
        ck_assert_uint_eq(strlen(err.text), fits);
        ck_assert_mem_eq(err.text, text, fits);

        (void)qf_fail(&err, QF_E_IO, "%s", text + 4);
        (void)qf_wrap(&err, "ab");
        ck_assert_uint_lt(strlen(err.text), QF_ERR_TEXT);
        ck_assert_mem_eq(err.text, "ab: ", 4);
    }
}
END_TEST

START_TEST(bytes_that_are_no_utf8_are_kept)
{
    char text[2 * QF_ERR_TEXT];
    struct qf_err err;
    memset(text, 0x80, sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    (void)qf_fail(&err, QF_E_IO, "%s", text);
    ck_assert_uint_eq(strlen(err.text), QF_ERR_TEXT - 1);
}
END_TEST

START_TEST(wrapping_a_full_sentence_stays_inside)
{
    char text[QF_ERR_TEXT];
    struct qf_err err;
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    (void)qf_fail(&err, QF_E_IO, "%s", text);
    (void)qf_wrap(&err, "%s", text);
    ck_assert_str_eq(err.text, text);
}
END_TEST

/* The statuses that qferry(1) promises. */
START_TEST(every_code_has_text_and_status)
{
    static const int statuses[] = {0, 1, 1, 1, 2, 3, 4, 4, 4, 4, 5, 6, 6, 7};
    ck_assert_uint_eq(QF_E_HELD + 1, sizeof(statuses) / sizeof(statuses[0]));
    for (int c = QF_E_OK; c <= QF_E_HELD; c++) {
        ck_assert_int_eq(qf_code_status((enum qf_code)c), statuses[c]);
        ck_assert_str_ne(qf_code_text((enum qf_code)c), "unknown");
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("err");
    TCase *tc = tcase_create("err");
    tcase_add_test(tc, fail_sets_code_and_sentence_and_returns_the_code);
    tcase_add_test(tc, wrap_puts_context_in_front_and_keeps_the_code);
    tcase_add_test(tc, err_may_be_null);
    tcase_add_loop_test(tc, long_sentences_are_cut_between_characters, 0, 13);
    tcase_add_test(tc, bytes_that_are_no_utf8_are_kept);
    tcase_add_test(tc, wrapping_a_full_sentence_stays_inside);
    tcase_add_test(tc, every_code_has_text_and_status);
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

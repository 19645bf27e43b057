#include <check.h>
#include <stdlib.h>
#include <string.h>

/* buf.c is built into this test, so that its memory can run out. */
static unsigned allocations_left;

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

static struct fixture {
    struct qf_buf b;
    struct qf_err err;
} f;

static void setup(void)
{
    allocations_left = 1000;
    qf_buf_init(&f.b, 3000);
}

static void teardown(void)
{
    qf_buf_fini(&f.b);
}

START_TEST(keeps_bytes_in_order)
{
    for (unsigned i = 0; i < 3000; i++) {
        const char c = (char)('a' + i % 26);
        ck_assert_int_eq(qf_buf_append(&f.b, &c, 1, &f.err), 0);
    }
    ck_assert_uint_eq(f.b.len, 3000);
    for (unsigned i = 0; i < 3000; i++)
        ck_assert_int_eq(f.b.data[i], (char)('a' + i % 26));
}
END_TEST

START_TEST(refuses_more_than_its_cap_and_stays_as_it_was)
{
    static const char some[3001];
    ck_assert_int_eq(qf_buf_append(&f.b, some, 2000, &f.err), 0);
    ck_assert_int_eq(qf_buf_append(&f.b, some, 1001, &f.err), -(int)QF_E_PROTO);
    ck_assert_int_eq(f.err.code, QF_E_PROTO);
    ck_assert_uint_eq(f.b.len, 2000);
    ck_assert_int_eq(qf_buf_append(&f.b, some, 1000, &f.err), 0);
    ck_assert_int_eq(qf_buf_append(&f.b, some, SIZE_MAX, NULL), -(int)QF_E_PROTO);
}
END_TEST

/* The first room is not larger than the cap, and doubling does not pass it. */
START_TEST(room_never_exceeds_the_cap)
{
    static const size_t caps[] = {1, 100, 1023, 1024, 1025, 3000, 65537};
    static const char some[65537];
    qf_buf_init(&f.b, caps[_i]);
    for (size_t n = 1; f.b.len < caps[_i]; n *= 2) {
        const size_t left = caps[_i] - f.b.len;
        ck_assert_int_eq(qf_buf_append(&f.b, some, n < left ? n : left, &f.err), 0);
    }
    ck_assert_uint_eq(f.b.len, caps[_i]);
    ck_assert_uint_le(f.b.room, caps[_i]);
}
END_TEST

START_TEST(drops_from_the_front)
{
    ck_assert_int_eq(qf_buf_append(&f.b, "hello world", 11, &f.err), 0);
    qf_buf_drop(&f.b, 6);
    ck_assert_uint_eq(f.b.len, 5);
    ck_assert_mem_eq(f.b.data, "world", 5);
    qf_buf_drop(&f.b, 5);
    ck_assert_uint_eq(f.b.len, 0);
    qf_buf_drop(&f.b, 0);
}
END_TEST

START_TEST(gives_a_large_room_back_when_empty)
{
    static const char some[200 * 1024];
    qf_buf_init(&f.b, sizeof(some));
    ck_assert_int_eq(qf_buf_append(&f.b, some, sizeof(some), &f.err), 0);
    qf_buf_drop(&f.b, sizeof(some));
    ck_assert_uint_eq(f.b.room, 0);
    ck_assert_int_eq(qf_buf_append(&f.b, some, 10, &f.err), 0);
    qf_buf_drop(&f.b, 10);
    ck_assert_uint_gt(f.b.room, 0);
}
END_TEST

START_TEST(without_memory_nothing_changes)
{
    static const char some[2000];
    ck_assert_int_eq(qf_buf_append(&f.b, "abc", 3, &f.err), 0);
    allocations_left = 0;
    ck_assert_int_eq(qf_buf_append(&f.b, some, sizeof(some), &f.err), -(int)QF_E_NOMEM);
    ck_assert_uint_eq(f.b.len, 3);
    ck_assert_mem_eq(f.b.data, "abc", 3);
}
END_TEST

START_TEST(appending_nothing_needs_no_memory)
{
    allocations_left = 0;
    ck_assert_int_eq(qf_buf_append(&f.b, NULL, 0, &f.err), 0);
    ck_assert_ptr_null(f.b.data);
}
END_TEST

START_TEST(fini_is_safe_on_zeroes_and_twice)
{
    struct qf_buf zero = {0};
    qf_buf_fini(&zero);
    qf_buf_fini(&f.b);
    qf_buf_fini(&f.b);
    ck_assert_uint_eq(f.b.cap, 3000);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("buf");
    TCase *tc = tcase_create("buf");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, keeps_bytes_in_order);
    tcase_add_test(tc, refuses_more_than_its_cap_and_stays_as_it_was);
    tcase_add_loop_test(tc, room_never_exceeds_the_cap, 0, 7);
    tcase_add_test(tc, drops_from_the_front);
    tcase_add_test(tc, gives_a_large_room_back_when_empty);
    tcase_add_test(tc, without_memory_nothing_changes);
    tcase_add_test(tc, appending_nothing_needs_no_memory);
    tcase_add_test(tc, fini_is_safe_on_zeroes_and_twice);
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Marks in the source's parameters: put, found, counted as changed, taken out. */
#include <check.h>
#include <string.h>

#include "engine/configure_priv.h"

static const enum mig_mark marks[] = {MIG_MARK_STOPPED, MIG_MARK_SELF_START};
enum { N_MARKS = sizeof(marks) / sizeof(marks[0]) };

static struct mig m;

static void begin(void)
{
    const struct mig_spec spec = {.source = "/s", .destination = "/d"};
    const struct policy policy = {.name = "test"};
    memset(&m, 0, sizeof(m));
    mig_init(&m, &spec, &policy);
    m.side[MIG_SRC].params_found.has =
        1U << mig_mark_param(MIG_MARK_STOPPED) | 1U << mig_mark_param(MIG_MARK_SELF_START);
    for (unsigned i = 0; i < N_MARKS; i++)
        m.side[MIG_SRC].params_found.value[mig_mark_param(marks[i])] = 1;
}

START_TEST(a_mark_that_was_put_is_found)
{
    struct qapi_params p = {.has = 0};
    const enum mig_mark mark = marks[_i];
    mig_put_mark(&p, mark);
    ck_assert(mig_has_mark(&p, mark));
    ck_assert_uint_eq(p.has, 1U << mig_mark_param(mark));
    for (unsigned i = 0; i < N_MARKS; i++)
        ck_assert(marks[i] == mark || !mig_has_mark(&p, marks[i]));
    p.value[mig_mark_param(mark)]++;
    ck_assert(!mig_has_mark(&p, mark));
}
END_TEST

/* QEMU's own default is put back: what stood there before the mark is not known. */
START_TEST(a_mark_that_was_taken_counts_as_changed)
{
    struct mig_side *src = &m.side[MIG_SRC];
    struct qapi_cmd cmd = {.command = QAPI_COMMAND_COUNT};
    const enum qapi_param param = mig_mark_param(marks[_i]);
    const uint64_t otherwise = marks[_i] == MIG_MARK_STOPPED ? 50 : 20000;
    begin();
    ck_assert(!mig_take_mark(&m, marks[_i])); /* another value is somebody's own */
    ck_assert_uint_eq(src->params_changed, 0);
    mig_put_mark(&src->params_found, marks[_i]);
    ck_assert(mig_take_mark(&m, marks[_i]));
    ck_assert_uint_eq(src->params_changed, 1U << param);
    ck_assert(configure_undo_params(&m, MIG_SRC, &cmd));
    ck_assert_uint_eq(cmd.u.params.has, 1U << param);
    ck_assert_uint_eq(cmd.u.params.value[param], otherwise);
}
END_TEST

/* Of the two the one that misleads who takes this move up goes before memory moves. */
START_TEST(a_self_start_that_was_left_is_taken_out_before_the_move)
{
    const enum qapi_param param = mig_mark_param(MIG_MARK_SELF_START);
    struct qapi_cmd cmd = {.command = QAPI_COMMAND_COUNT};
    begin();
    mig_put_mark(&m.side[MIG_SRC].params_found, MIG_MARK_SELF_START);
    (void)mig_take_mark(&m, MIG_MARK_SELF_START);
    ck_assert(configure_ask_params(&m, MIG_SRC, &cmd));
    ck_assert_uint_eq(cmd.u.params.has & 1U << param, 1U << param);
    ck_assert_uint_eq(cmd.u.params.value[param], 20000);
}
END_TEST

START_TEST(it_is_put_where_it_is_meant_and_possible)
{
    const uint32_t bit = 1U << mig_mark_param(MIG_MARK_SELF_START);
    struct qapi_cmd cmd = {.command = QAPI_COMMAND_COUNT};
    begin();
    (void)configure_ask_params(&m, MIG_SRC, &cmd);
    ck_assert(!(cmd.u.params.has & bit));
    m.self_start = true;
    ck_assert(configure_ask_params(&m, MIG_SRC, &cmd));
    ck_assert(mig_has_mark(&cmd.u.params, MIG_MARK_SELF_START));
    m.side[MIG_SRC].params_found.has &= ~bit;
    ck_assert(!mig_can_mark(&m, MIG_MARK_SELF_START));
    (void)configure_ask_params(&m, MIG_SRC, &cmd);
    ck_assert(!(cmd.u.params.has & bit));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("marks");
    TCase *t = tcase_create("marks");
    tcase_add_loop_test(t, a_mark_that_was_put_is_found, 0, N_MARKS);
    tcase_add_loop_test(t, a_mark_that_was_taken_counts_as_changed, 0, N_MARKS);
    tcase_add_test(t, a_self_start_that_was_left_is_taken_out_before_the_move);
    tcase_add_test(t, it_is_put_where_it_is_meant_and_possible);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

/* Rows of a post-copy that is interrupted, by us or by the network. */
#include "tests/facts/owner_rows.h"

#define SRC (rows.w.src)
#define DST (rows.w.dst)

static const char part[] = "memory is split between both sides";
static const char halted[] =
    "post-copy is interrupted, the destination waits to be continued";
static const char broken[] = "post-copy is interrupted: both sides are needed to go on";

static void expect_broken(void)
{
    rows_expect(OWNER_DST, STAGE_BROKEN, MAY_MEND | MAY_YANK, broken);
}

static void expect_halted(void)
{
    rows_expect(OWNER_DST, STAGE_BROKEN, MAY_MEND | MAY_YANK | MAY_CONT_DST, halted);
}

/* ---- a connection that is broken by us ---- */

START_TEST(postcopy_may_be_paused)
{
    static const char *const text[] = {"on the source", "on the destination"};
    const bool handed = _i >= 2;
    rows_to_postcopy();
    if (handed)
        rows_hand_over();
    if (handed)
        rows_expect_split();
    else
        rows_expect_ready();
    rows_oob(_i % 2 == 0 ? SRC : DST, "migrate-pause");
    rows_wait_paused(SRC);
    rows_wait_paused(DST);
    rows_proved("migrate-pause %s: both are interrupted", text[_i % 2]);
    rows_src_stays_down();
    if (handed) {
        expect_broken();
    } else {
        expect_halted();
        rows_hand_over();
        rows_proved("cont while it is interrupted");
        expect_broken();
    }
    rows_recover();
    rows_proved("recovered: the guest runs on the destination");
}
END_TEST

/* Neither of the two that may be sent too often does harm. */
START_TEST(broken_may_be_yanked_and_paused)
{
    char why[256];
    rows_to_running_postcopy();
    rows_break(BOTH_WAYS);
    expect_broken();
    rows_send_yank();
    (void)rows_taken(SRC, "migrate-pause", why);
    expect_broken();
    rows_src_stays_down();
    rows_recover();
    rows_proved("yanked and paused once more: recovered all the same");
}
END_TEST

START_TEST(halted_is_recovered_and_continued_later)
{
    rows_to_postcopy();
    rows_break(BOTH_WAYS);
    expect_halted();
    rows_qmp(DST, "cont"); /* rows_recover() wants it to run */
    rows_recover();
    rows_proved("cont, then recovered: the guest runs on the destination");
}
END_TEST

/* Only one of them knows. */
START_TEST(only_one_side_has_noticed)
{
    const bool handed = _i % 2 == 1;
    const bool src_knows = _i >= 2;
    rows_to_postcopy();
    if (handed)
        rows_hand_over();
    rows_break(src_knows ? TO_SRC : TO_DST);
    if (src_knows && handed)
        expect_broken();
    else if (src_knows)
        expect_halted();
    else if (handed)
        rows_expect(OWNER_DST, STAGE_BROKEN, MAY_BREAK | MAY_RECOVER, broken);
    else
        rows_expect(OWNER_DST, STAGE_BROKEN, MAY_BREAK | MAY_RECOVER | MAY_CONT_DST,
                    halted);
    if (!handed)
        rows_hand_over();
    rows_oob(src_knows ? DST : SRC, "migrate-pause");
    rows_wait_paused(src_knows ? DST : SRC);
    rows_recover();
    rows_proved("paused on the other side as well, recovered");
}
END_TEST

/* ---- a side that does not answer ---- */

START_TEST(the_destination_is_silent)
{
    rows_to_running_postcopy();
    rows_freeze(DST);
    rows_expect(OWNER_DST, STAGE_POSTCOPY, MAY_BREAK, part);
    if (_i == 0) {
        rows_thaw(DST);
        rows_complete();
        rows_only_on(DST);
        rows_proved("left alone, it goes on when it is awake");
        return;
    }
    rows_oob(SRC, "migrate-pause");
    rows_wait_paused(SRC);
    rows_proved("migrate-pause on the source: interrupted, nothing is lost");
    expect_broken();
    rows_thaw(DST);
    rows_wait_paused(DST);
    rows_recover();
    rows_proved("recovered when it is awake");
}
END_TEST

START_TEST(the_source_is_silent)
{
    rows_to_running_postcopy();
    if (_i == 1)
        rows_break(BOTH_WAYS);
    rows_freeze(SRC);
    rows_expect(
        OWNER_DST, STAGE_BROKEN, 0,
        "post-copy: the source does not answer, and both sides are needed to go on");
    rows_thaw(SRC);
    if (_i == 1) {
        rows_recover();
    } else {
        rows_complete();
        rows_only_on(DST);
    }
    rows_proved("left alone until it is awake: the guest runs on the destination");
}
END_TEST

/* An interrupted source beside a QEMU that has nothing of its guest. */
START_TEST(broken_and_another)
{
    rows_to_running_postcopy();
    struct lab_vm *owner = DST;
    rows_break(BOTH_WAYS);
    rows_other_destination();
    rows.f.handed_over = false;
    rows_expect(OWNER_UNKNOWN, STAGE_CONFLICT, 0,
                "post-copy is interrupted, and this destination has no part of the guest's "
                "memory");
    DST = owner;
    rows_recover();
    rows_proved("the one that has its memory is still there: recovered with that");
}
END_TEST

void rows_add_broken(Suite *s)
{
    TCase *t = rows_begin_case(s, "interrupted");
    tcase_add_loop_test(t, postcopy_may_be_paused, 0, 4);
    tcase_add_test(t, broken_may_be_yanked_and_paused);
    tcase_add_test(t, halted_is_recovered_and_continued_later);
    tcase_add_loop_test(t, only_one_side_has_noticed, 0, 4);
    tcase_add_loop_test(t, the_destination_is_silent, 0, 2);
    tcase_add_loop_test(t, the_source_is_silent, 0, 2);
    tcase_add_test(t, broken_and_another);
}

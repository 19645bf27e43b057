/* Rows of post-copy. */
#include <string.h>

#include "tests/facts/owner_rows.h"

#define SRC (rows.w.src)
#define DST (rows.w.dst)

enum { NOTICES_MS = 1500 };

static const char lost_with_dst[] =
    "the destination died with a part of the guest's memory: the guest is lost";
static const char beginning[] =
    "post-copy is beginning, the source waits for the destination's word, nobody runs";
static const char holds[] =
    "the guest is on the source, the destination holds a stopped copy that nobody may "
    "continue";

/* ---- as it should go ---- */

START_TEST(a_good_postcopy)
{
    rows_to_postcopy();
    rows_expect_ready();
    ck_assert_int_eq(rows_running(), 0);
    rows_hand_over();
    ck_assert_int_eq(lab_wait_event(DST, "RESUME", NULL, NULL, 0), 0);
    rows_proved("cont on the destination: it runs while memory comes");
    rows_expect_split();
    rows_qmp(DST, "stop");
    rows_expect_split();
    rows_hand_over();
    rows_complete();
    rows_only_on(DST);
    rows_proved("cont once more: it runs, and completes");
    ck_assert_int_eq(lab_wait_run_state(SRC, "postmigrate", 0), 0);
    rows_expect(OWNER_DST, STAGE_MOVED, MAY_QUIT_SRC | MAY_CONT_DST,
                "the destination has the guest");
    rows_quit(SRC);
    rows_only_on(DST);
    rows_proved("quit on the source: the guest is whole without it");
}
END_TEST

/* The destination was asked first, and the source after all had been sent. */
START_TEST(done_and_not_asked_again)
{
    rows_to_postcopy();
    if (_i == 1)
        rows_hand_over();
    (void)rows_look();
    rows.dst_kept = true;
    rows_complete();
    rows.f.done_before = _i == 2;
    if (_i == 1)
        rows_expect(OWNER_DST, STAGE_POSTCOPY, MAY_CONT_DST,
                    "all memory was sent, the guest was handed over");
    else
        rows_expect(OWNER_DST, STAGE_POSTCOPY, MAY_CONT_DST,
                    "all memory was sent, the destination waits to be continued");
    rows_qmp(DST, "cont");
    rows_only_on(DST);
    rows_proved("what it said was older; cont on the destination: it runs");
}
END_TEST

/* ---- the losses ---- */

START_TEST(the_source_dies)
{
    char why[256];
    rows_to_running_postcopy();
    (void)rows_look();
    rows_kill(SRC);
    rows_wait_paused(DST);
    rows_expect(OWNER_NONE, STAGE_LOST, 0,
                "the source died with a part of the guest's memory: the guest is lost");
    ck_assert(!rows_taken(DST, "migrate_cancel", why) || true);
    rows_proved("the destination waits for pages that are nowhere");
}
END_TEST

START_TEST(the_destination_dies)
{
    char why[256] = "";
    rows_to_postcopy();
    if (_i == 1)
        rows_hand_over();
    relay_hold(TO_SRC);
    rows_kill(DST);
    rows_expect(OWNER_NONE, STAGE_LOST, 0, lost_with_dst);
    rows_proved("the source has not noticed");
    relay_let(TO_SRC);
    rows_wait_paused(SRC);
    rows_expect(OWNER_NONE, STAGE_LOST, 0, lost_with_dst);
    ck_assert(!rows_taken(SRC, "cont", why));
    rows_proved("cont on the source: %.60s", why);
}
END_TEST

static void expect_beginning(void)
{
    rows_expect(OWNER_BETWEEN, STAGE_SWITCHING, MAY_YANK, beginning);
}

/* The destination has got nothing of the device state, and the source does not know: what was sent is on its
 * way. From 10.2 on the source waits for its word in postcopy-device, and takes the guest back. */
START_TEST(the_package_is_on_its_way)
{
    char why[256] = "";
    rows.postcopy = true;
    rows_pair(ROWS_BUSY);
    rows_migrate();
    rows_to_switch();
    relay_hold(TO_DST);
    rows_continue();
    if (rows_is(10, 2)) {
        rows_wait(SRC, "postcopy-device");
        expect_beginning();
    } else {
        rows_wait(SRC, "postcopy-active");
        rows_expect(OWNER_DST, STAGE_POSTCOPY, 0,
                    "the device state is on its way to the destination");
    }
    lab_pump(rows.w.lab, 300);
    if (_i == 0) {
        relay_let(TO_DST);
        rows_wait(SRC, "postcopy-active");
        ck_assert_int_eq(lab_wait_run_state(DST, "paused", 0), 0);
        rows_proved("left alone, it arrives");
        rows_expect_ready();
        rows_hand_over();
        rows_complete();
        rows_only_on(DST);
        return;
    }
    if (rows_is(10, 2)) {
        if (_i == 1)
            relay_cut(BOTH_WAYS);
        else
            rows_send_yank();
        rows_wait(SRC, "failed");
        relay_cut(BOTH_WAYS);
        rows_wait_dst_failed();
        ck_assert_int_eq(lab_wait_run_state(SRC, "running", 0), 0);
        rows_cannot_run(DST);
        rows_only_on(SRC);
        rows_proved("%s: the source runs again by itself, the destination cannot",
                    _i == 1 ? "cut" : "yank");
        return;
    }
    rows_oob(SRC, "migrate-pause");
    rows_wait_paused(SRC);
    relay_cut(TO_DST);
    rows_wait_dst_failed();
    rows_expect(OWNER_NONE, STAGE_LOST, 0, lost_with_dst);
    ck_assert(!rows_taken(SRC, "cont", why));
    rows_cannot_run(DST);
    rows_proved("paused all the same, it is lost; cont on the source: %.50s", why);
}
END_TEST

/* From 10.2 on: the destination has the device state, the source has not heard it. */
enum beginning_way {
    LEFT_ALONE,
    LEFT_TO_START,
    CUT_THEN_QUIT,
    CUT_THEN_CONT,
    YANKED,
    YANKED_STOPPED,
    YANKED_LATE,
    SILENT,
    BEGINNING_WAYS
};

/* The source gets the word, and post-copy goes on. */
static void hear_word(void)
{
    relay_let(TO_SRC);
    rows_wait(SRC, "postcopy-active");
}

static void cut_beginning(enum beginning_way way)
{
    relay_cut(TO_SRC);
    rows_wait(SRC, "failed");
    ck_assert_int_eq(lab_wait_run_state(SRC, "running", 0), 0);
    rows_proved("cut: the source runs again by itself");
    rows_expect(OWNER_SRC, STAGE_IDLE, MAY_QUIT_DST, holds);
    if (way == CUT_THEN_QUIT) {
        rows_quit(DST);
        rows_only_on(SRC);
        rows_proved("the destination has quit");
        return;
    }
    rows_qmp(DST, "cont");
    ck_assert(rows_runs(SRC) && rows_runs(DST));
    rows_expect(OWNER_UNKNOWN, STAGE_CONFLICT, 0,
                "the destination runs or ran the guest and the source has it too");
    rows_proved("continued all the same, it runs beside the source");
}

/* The source takes its guest back, as it was before the switch. */
static void yank_beginning(enum beginning_way way)
{
    rows_send_yank();
    rows_wait(SRC, "failed");
    ck_assert_int_eq(lab_wait_run_state(SRC, way == YANKED ? "running" : "paused", 0), 0);
    rows_proved("yank: the source has its guest back");
    rows_expect(OWNER_SRC, STAGE_IDLE, MAY_QUIT_DST, holds);
    rows_quit(DST);
    rows_expect(OWNER_SRC, STAGE_IDLE, MAY_CONT_SRC | MAY_QUIT_DST,
                "the guest is on the source, the destination can never run it");
    if (way == YANKED_STOPPED)
        rows_qmp(SRC, "cont");
    rows_only_on(SRC);
    rows_proved("the destination has quit, the guest is whole on the source");
}

START_TEST(postcopy_is_beginning)
{
    const enum beginning_way way = (enum beginning_way)_i;
    char why[256] = "";
    rows.postcopy = true;
    rows.stop_first = way == YANKED_STOPPED;
    rows_pair(ROWS_BUSY);
    if (!rows_is(10, 2)) {
        rows_skip("there is no postcopy-device");
        return;
    }
    rows_migrate();
    rows_to_switch();
    relay_hold(TO_SRC);
    rows_continue();
    rows_wait(SRC, "postcopy-device");
    ck_assert_int_eq(lab_wait_run_state(DST, "paused", 0), 0);
    rows.f.self_start = way == LEFT_TO_START;
    if (way == LEFT_TO_START)
        rows_expect(OWNER_BETWEEN, STAGE_SWITCHING, 0,
                    "the destination starts the guest by itself, the source is about to be "
                    "told");
    else
        expect_beginning();
    ck_assert(!rows_taken(SRC, "migrate_cancel", why));
    ck_assert_int_eq(rows_running(), 0);
    switch (way) {
    case LEFT_ALONE:
    case LEFT_TO_START:
        hear_word();
        rows_proved("left alone, the source hears of it");
        rows.f.self_start = false;
        rows_expect_ready();
        rows_hand_over();
        rows_complete();
        rows_only_on(DST);
        return;
    case CUT_THEN_QUIT:
    case CUT_THEN_CONT:
        cut_beginning(way);
        return;
    case YANKED:
    case YANKED_STOPPED:
        yank_beginning(way);
        return;
    case YANKED_LATE: /* the word has crossed it: an interruption, as any other */
        hear_word();
        rows_send_yank();
        rows_wait_paused(SRC);
        rows_wait_paused(DST);
        rows_src_stays_down();
        rows_proved("a yank that the word crosses: interrupted");
        rows_hand_over();
        rows_recover();
        return;
    case SILENT:
        rows_freeze(DST);
        rows_expect(OWNER_BETWEEN, STAGE_SWITCHING, 0,
                    "post-copy is beginning, nobody runs; the destination does not answer");
        rows_thaw(DST);
        hear_word();
        rows_proved("left alone until it is awake, the source hears of it");
        rows_hand_over();
        rows_complete();
        rows_only_on(DST);
        return;
    case BEGINNING_WAYS:
        break;
    }
}
END_TEST

/* ---- what is forbidden ---- */

/* 7.2 takes a cancel, and then neither side has the whole guest. */
START_TEST(a_cancel_in_postcopy)
{
    char why[256] = "";
    rows_to_postcopy();
    if (_i == 1) {
        rows_hand_over();
        ck_assert_int_eq(lab_wait_event(DST, "RESUME", NULL, NULL, 0), 0);
        rows_expect_split();
    } else {
        rows_expect_ready();
    }
    if (!rows_taken(SRC, "migrate_cancel", why)) {
        rows_hand_over();
        rows_complete();
        rows_only_on(DST);
        rows_skip("cancel in post-copy is refused: %.60s", why);
        return;
    }
    ck_assert(!rows_is(10, 0));
    ck_assert_int_eq(lab_wait_run_state(SRC, "postmigrate", 0), 0);
    /* it breaks in the middle of a page and waits, or between two and ends */
    if (lab_wait_event(DST, "MIGRATION", "status", "postcopy-paused", NOTICES_MS) != 0)
        ck_assert_int_eq(lab_vm_wait_exit(DST, 0, NULL), 0);
    const bool ended = !lab_vm_alive(DST);
    if (_i == 1) {
        rows_expect(OWNER_UNKNOWN, STAGE_CONFLICT, 0,
                    ended
                        ? "the destination runs or ran the guest and the source has it too"
                        : "what is known of the two sides does not fit together");
        rows_qmp(SRC, "cont");
        ck_assert(rows_runs(SRC));
        rows_proved(
            "cancelled: the destination has lost its guest, and the source one of before");
        return;
    }
    /* it never ran, so what the source holds is the guest */
    if (!ended) {
        rows_expect(
            OWNER_SRC, STAGE_STOPPED, MAY_QUIT_DST,
            "the source has the guest back but left it stopped; the destination must be "
            "gone first");
        rows_quit(DST);
        rows_proved("cancelled before it was handed over; the destination has quit");
    }
    rows_expect(OWNER_SRC, STAGE_STOPPED, MAY_CONT_SRC | MAY_QUIT_DST,
                "the source has the guest back but left it stopped");
    rows_qmp(SRC, "cont");
    rows_only_on(SRC);
    rows_proved("cont on the source: it runs, whole");
}
END_TEST

void rows_add_postcopy(Suite *s)
{
    TCase *t = rows_begin_case(s, "postcopy");
    tcase_add_test(t, a_good_postcopy);
    tcase_add_loop_test(t, done_and_not_asked_again, 0, 3);
    tcase_add_loop_test(t, the_package_is_on_its_way, 0, 3);
    tcase_add_loop_test(t, postcopy_is_beginning, 0, BEGINNING_WAYS);
    t = rows_begin_case(s, "lost");
    tcase_add_test(t, the_source_dies);
    tcase_add_loop_test(t, the_destination_dies, 0, 2);
    tcase_add_loop_test(t, a_cancel_in_postcopy, 0, 2);
}

/* Rows of a post-copy whose memory is all at the destination, and whose source has not heard it. */
#include "tests/facts/owner_rows.h"

#define SRC (rows.w.src)
#define DST (rows.w.dst)

enum { NOTICES_MS = 1500 };

static const char has_all[] =
    "the destination has all memory, the source is about to be told";
static const char not_told_loaded[] =
    "the destination holds the whole guest and waits to be continued; the source was not told";
static const char not_told_runs[] =
    "the destination has the guest; the source was not told";

/* All memory is at the destination, which has said so, and the source does not hear it. */
static void to_lost_ack(bool handed_over)
{
    rows_to_postcopy();
    relay_hold(TO_SRC);
    if (handed_over)
        rows_hand_over();
    rows_let_loose();
    rows_wait(DST, "completed");
}

START_TEST(the_source_is_silent_and_not_needed)
{
    to_lost_ack(false);
    rows_freeze(SRC);
    rows_expect(
        OWNER_DST, STAGE_LOADED, MAY_CONT_DST,
        "the destination holds the whole guest and waits to be continued; the source "
        "does not answer");
    rows_hand_over();
    ck_assert(rows_runs(DST));
    rows_proved("cont on the destination: it runs");
    rows_expect(OWNER_DST, STAGE_MOVED, MAY_CONT_DST,
                "the destination has the guest; the source does not answer");
    rows_qmp(DST, "stop");
    rows_hand_over();
    rows_thaw(SRC);
    rows_src_stays_down();
    rows_only_on(DST);
    rows_proved("awake again, the source does not run");
}
END_TEST

/* The source, which waits for nothing but the last word, loses its connection: 7.2 waits on for ever. Later
 * ones say failed and RUN, although the guest was handed over: true. */
static bool cut_lost_ack(void)
{
    char status[LAB_STATE_MAX];
    relay_cut(TO_SRC);
    if (!rows_is(8, 0)) {
        lab_pump(rows.w.lab, NOTICES_MS);
        ck_assert_int_eq(lab_mig_status(SRC, status), 0);
        ck_assert_str_eq(status, "postcopy-active");
        return false;
    }
    rows_wait(SRC, "failed");
    ck_assert_int_eq(lab_wait_run_state(SRC, "running", 0), 0);
    return true;
}

static void expect_src_is_back(bool handed_over)
{
    if (handed_over) {
        ck_assert_int_eq(rows_running(), 2);
        rows_expect(
            OWNER_UNKNOWN, STAGE_CONFLICT, MAY_STOP_SRC,
            "the source runs again, although the guest was handed over to the destination");
        rows_qmp(SRC, "stop");
        rows_only_on(DST);
        rows_proved(
            "the last word of a post-copy was lost and the connection reset: two ran "
            "until the source was stopped");
        return;
    }
    rows_expect(
        OWNER_SRC, STAGE_IDLE, MAY_QUIT_DST,
        "the guest is on the source, the destination holds a stopped copy that nobody "
        "may continue");
    rows_quit(DST);
    rows_only_on(SRC);
    rows_proved(
        "the destination, which has never run, has quit: the guest is whole on the source");
}

START_TEST(the_destination_has_all)
{
    const bool handed = _i % 2 == 1;
    to_lost_ack(handed);
    rows_expect(OWNER_DST, STAGE_POSTCOPY, handed ? MAY_CONT_DST : 0, has_all);
    if (_i < 2) {
        if (handed)
            rows_qmp(DST, "cont");
        relay_let(TO_SRC);
        rows_wait_src_done();
        rows_proved("the source is told, and completes");
        if (!handed) {
            rows_expect(OWNER_DST, STAGE_LOADED, MAY_CONT_DST,
                        "the destination holds the whole guest and waits to be continued");
            rows_hand_over();
        }
        rows_only_on(DST);
        return;
    }
    if (_i < 4 && cut_lost_ack()) {
        expect_src_is_back(handed);
        return;
    }
    rows.f.src_left = true; /* it will never be told */
    if (!handed) {
        rows_expect(OWNER_DST, STAGE_LOADED, MAY_CONT_DST, not_told_loaded);
        rows_hand_over();
        rows_only_on(DST);
        rows_proved("cont on the destination: it runs, whole");
    }
    rows_expect(OWNER_DST, STAGE_MOVED, MAY_QUIT_SRC | MAY_CONT_DST, not_told_runs);
    rows_src_stays_down();
    rows_kill(SRC); /* what quit comes to: it has nothing left that is needed */
    rows_only_on(DST);
    rows_proved("the source is ended: the guest is whole without it");
}
END_TEST

/* Stopped before the switch, it fails as well, and stays down. */
START_TEST(the_last_word_is_lost_of_a_source_that_was_stopped)
{
    rows.stop_first = true;
    rows_to_postcopy();
    rows_hand_over();
    ck_assert_int_eq(lab_wait_event(DST, "RESUME", NULL, NULL, 0), 0);
    relay_hold(_i == 0 ? TO_SRC : BOTH_WAYS);
    rows_let_loose();
    if (_i == 0)
        rows_wait(DST, "completed");
    else
        rows_wait_quiet(); /* all of it has left the source */
    relay_cut(TO_SRC);
    if (!rows_is(8, 0)) {
        rows_skip("the source waits for the last word for ever");
        return;
    }
    rows_wait(SRC, "failed");
    ck_assert_int_eq(lab_wait_run_state(SRC, "paused", 0), 0);
    ck_assert_int_eq(rows_running(), 1);
    if (_i > 0) {
        rows_expect(OWNER_DST, STAGE_POSTCOPY, MAY_CONT_DST,
                    "the source has sent all memory, and failed at the last word; the "
                    "destination takes the rest in");
        if (_i == 2) {
            relay_cut(TO_DST);
            rows_wait_paused(DST);
            rows_expect(
                OWNER_NONE, STAGE_LOST, 0,
                "the source has failed at the last word, and the destination has not got all "
                "memory: it is lost when it needs the rest; the source holds it, stopped, as "
                "it was at the switch");
            rows_run_state(SRC, "paused");
            rows_proved("what was still on its way is gone");
            return;
        }
        relay_let(TO_DST);
        rows_wait(DST, "completed");
        rows_proved("what was still on its way arrives, without the source");
    }
    rows_expect(OWNER_DST, STAGE_MOVED, MAY_QUIT_SRC | MAY_CONT_DST,
                "the destination has the guest; the source was not told, and stands still");
    rows_qmp(DST, "cont");
    rows_only_on(DST);
    rows_quit(SRC);
    rows_only_on(DST);
    rows_proved("quit on the source: the guest is whole without it");
}
END_TEST

START_TEST(the_source_dies_and_is_not_needed)
{
    to_lost_ack(_i == 1);
    (void)rows_look();
    rows_kill(SRC);
    if (_i == 0) {
        rows_expect(OWNER_DST, STAGE_LOADED, MAY_CONT_DST,
                    "the destination holds the whole guest and waits to be continued");
        rows_hand_over();
        rows_only_on(DST);
        rows_proved("cont on the destination: it runs, whole");
    }
    rows_expect(OWNER_DST, STAGE_MOVED, MAY_QUIT_SRC | MAY_CONT_DST,
                "the destination has the guest");
    rows_only_on(DST);
    rows_proved("it is whole without the source");
}
END_TEST

void rows_add_last_word(Suite *s)
{
    TCase *t = rows_begin_case(s, "all memory");
    tcase_add_test(t, the_source_is_silent_and_not_needed);
    tcase_add_loop_test(t, the_destination_has_all, 0, 6);
    tcase_add_loop_test(t, the_last_word_is_lost_of_a_source_that_was_stopped, 0, 3);
    tcase_add_loop_test(t, the_source_dies_and_is_not_needed, 0, 2);
}

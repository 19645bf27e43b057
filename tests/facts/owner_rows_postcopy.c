/* Rows of post-copy. */
#include <string.h>

#include "tests/facts/owner_rows.h"

#define SRC (rows.w.src)
#define DST (rows.w.dst)

enum { NOTICES_MS = 1500 };

static const char ready[] =
    "the destination has the device state and waits to be continued";
static const char split[] = "memory is split between both sides, the guest was handed over";
static const char part[] = "memory is split between both sides";
static const char has_all[] =
    "the destination has all memory, the source is about to be told";
static const char lost_with_dst[] =
    "the destination died with a part of the guest's memory: the guest is lost";
static const char not_told_loaded[] =
    "the destination holds the whole guest and waits to be continued; the source was not told";
static const char not_told_runs[] =
    "the destination has the guest; the source was not told";
static const char halted[] =
    "post-copy is interrupted, the destination waits to be continued";
static const char broken[] = "post-copy is interrupted: both sides are needed to go on";
static const char beginning[] = "post-copy is beginning, nobody runs";

static void hand_over(void)
{
    rows_qmp(DST, "cont");
    rows.f.handed_over = rows.f.cont_sent = true;
}

static void to_running_postcopy(void)
{
    rows_to_postcopy();
    hand_over();
}

static void expect_ready(void)
{
    rows_expect(OWNER_DST, STAGE_POSTCOPY, MAY_CONT_DST | MAY_BREAK, ready);
}

static void expect_split(void)
{
    rows_expect(OWNER_DST, STAGE_POSTCOPY, MAY_CONT_DST | MAY_BREAK, split);
}

static void expect_broken(void)
{
    rows_expect(OWNER_DST, STAGE_BROKEN, MAY_MEND | MAY_YANK, broken);
}

static void expect_halted(void)
{
    rows_expect(OWNER_DST, STAGE_BROKEN, MAY_MEND | MAY_YANK | MAY_CONT_DST, halted);
}

static void expect_lost(const char *why)
{
    rows_expect(OWNER_NONE, STAGE_LOST, 0, why);
}

static void complete(void)
{
    rows_let_loose();
    rows_wait(SRC, "completed");
    rows_wait(DST, "completed");
}

/* All memory is at the destination, which has said so, and the source does not hear it. */
static void to_lost_ack(bool handed_over)
{
    rows_to_postcopy();
    relay_hold(TO_SRC);
    if (handed_over)
        hand_over();
    rows_let_loose();
    rows_wait(DST, "completed");
}

/* It never takes its guest back. */
static void expect_src_never_runs(void)
{
    char why[256];
    ck_assert(!rows_taken(SRC, "cont", why) || !rows_runs(SRC));
    ck_assert(!rows_runs(SRC));
}

/* ---- as it should go ---- */

START_TEST(a_good_postcopy)
{
    rows_to_postcopy();
    expect_ready();
    ck_assert_int_eq(rows_running(), 0);
    hand_over();
    ck_assert_int_eq(lab_wait_event(DST, "RESUME", NULL, NULL, 0), 0);
    rows_proved("cont on the destination: it runs while memory comes");
    expect_split();
    rows_qmp(DST, "stop");
    expect_split();
    hand_over();
    complete();
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
        hand_over();
    (void)rows_look();
    rows.dst_kept = true;
    complete();
    ck_assert_int_eq(lab_wait_run_state(SRC, "postmigrate", 0), 0);
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

/* ---- a connection that is broken by us ---- */

START_TEST(postcopy_may_be_paused)
{
    static const char *const text[] = {"on the source", "on the destination"};
    const bool handed = _i >= 2;
    rows_to_postcopy();
    if (handed)
        hand_over();
    if (handed)
        expect_split();
    else
        expect_ready();
    rows_oob(_i % 2 == 0 ? SRC : DST, "migrate-pause");
    rows_wait_paused(SRC);
    rows_wait_paused(DST);
    rows_proved("migrate-pause %s: both are interrupted", text[_i % 2]);
    expect_src_never_runs();
    if (handed) {
        expect_broken();
    } else {
        expect_halted();
        hand_over();
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
    to_running_postcopy();
    rows_break(BOTH_WAYS);
    expect_broken();
    json_t *answer =
        lab_qmp_oob(SRC, "yank", "{\"instances\": [{\"type\": \"migration\"}]}");
    json_decref(answer);
    (void)rows_taken(SRC, "migrate-pause", why);
    expect_broken();
    expect_src_never_runs();
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
        hand_over();
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
        hand_over();
    rows_oob(src_knows ? DST : SRC, "migrate-pause");
    rows_wait_paused(src_knows ? DST : SRC);
    rows_recover();
    rows_proved("paused on the other side as well, recovered");
}
END_TEST

/* ---- a side that does not answer ---- */

START_TEST(the_destination_is_silent)
{
    to_running_postcopy();
    rows_freeze(DST);
    rows_expect(OWNER_DST, STAGE_POSTCOPY, MAY_BREAK, part);
    if (_i == 0) {
        rows_thaw(DST);
        complete();
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
    to_running_postcopy();
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
        complete();
        rows_only_on(DST);
    }
    rows_proved("left alone until it is awake: the guest runs on the destination");
}
END_TEST

START_TEST(the_source_is_silent_and_not_needed)
{
    to_lost_ack(false);
    rows_freeze(SRC);
    rows_expect(
        OWNER_DST, STAGE_LOADED, MAY_CONT_DST,
        "the destination holds the whole guest and waits to be continued; the source "
        "does not answer");
    hand_over();
    ck_assert(rows_runs(DST));
    rows_proved("cont on the destination: it runs");
    rows_expect(OWNER_DST, STAGE_MOVED, MAY_CONT_DST,
                "the destination has the guest; the source does not answer");
    rows_qmp(DST, "stop");
    hand_over();
    rows_thaw(SRC);
    expect_src_never_runs();
    rows_only_on(DST);
    rows_proved("awake again, the source does not run");
}
END_TEST

/* ---- all memory is there ---- */

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
        rows_wait(SRC, "completed");
        rows_proved("the source is told, and completes");
        ck_assert_int_eq(lab_wait_run_state(SRC, "postmigrate", 0), 0);
        if (!handed) {
            rows_expect(OWNER_DST, STAGE_LOADED, MAY_CONT_DST,
                        "the destination holds the whole guest and waits to be continued");
            hand_over();
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
        hand_over();
        rows_only_on(DST);
        rows_proved("cont on the destination: it runs, whole");
    }
    rows_expect(OWNER_DST, STAGE_MOVED, MAY_QUIT_SRC | MAY_CONT_DST, not_told_runs);
    expect_src_never_runs();
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
    hand_over();
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
            expect_lost(
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
        hand_over();
        rows_only_on(DST);
        rows_proved("cont on the destination: it runs, whole");
    }
    rows_expect(OWNER_DST, STAGE_MOVED, MAY_QUIT_SRC | MAY_CONT_DST,
                "the destination has the guest");
    rows_only_on(DST);
    rows_proved("it is whole without the source");
}
END_TEST

/* ---- the losses ---- */

START_TEST(the_source_dies)
{
    char why[256];
    to_running_postcopy();
    (void)rows_look();
    rows_kill(SRC);
    rows_wait_paused(DST);
    expect_lost("the source died with a part of the guest's memory: the guest is lost");
    ck_assert(!rows_taken(DST, "migrate_cancel", why) || true);
    rows_proved("the destination waits for pages that are nowhere");
}
END_TEST

START_TEST(the_destination_dies)
{
    char why[256] = "";
    rows_to_postcopy();
    if (_i == 1)
        hand_over();
    relay_hold(TO_SRC);
    rows_kill(DST);
    expect_lost(lost_with_dst);
    rows_proved("the source has not noticed");
    relay_let(TO_SRC);
    rows_wait_paused(SRC);
    expect_lost(lost_with_dst);
    ck_assert(!rows_taken(SRC, "cont", why));
    rows_proved("cont on the source: %.60s", why);
}
END_TEST

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
        rows_expect(OWNER_BETWEEN, STAGE_SWITCHING, 0, beginning);
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
        expect_ready();
        hand_over();
        complete();
        rows_only_on(DST);
        return;
    }
    if (rows_is(10, 2)) {
        relay_cut(BOTH_WAYS);
        rows_wait(SRC, "failed");
        rows_wait_dst_failed();
        ck_assert_int_eq(lab_wait_run_state(SRC, "running", 0), 0);
        rows_cannot_run(DST);
        rows_only_on(SRC);
        rows_proved("cut: the source runs again by itself, the destination cannot");
        return;
    }
    rows_oob(SRC, "migrate-pause");
    rows_wait_paused(SRC);
    relay_cut(TO_DST);
    rows_wait_dst_failed();
    expect_lost(lost_with_dst);
    ck_assert(!rows_taken(SRC, "cont", why));
    rows_cannot_run(DST);
    rows_proved("paused all the same, it is lost; cont on the source: %.50s", why);
}
END_TEST

/* From 10.2 on: the destination has the device state, the source has not heard it. */
START_TEST(postcopy_is_beginning)
{
    char why[256] = "";
    rows.postcopy = true;
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
    rows.f.self_start = _i == 3;
    rows_expect(OWNER_BETWEEN, STAGE_SWITCHING, 0,
                _i == 3
                    ? "the destination starts the guest by itself, the source is about to "
                      "be told"
                    : beginning);
    ck_assert(!rows_taken(SRC, "migrate_cancel", why));
    ck_assert_int_eq(rows_running(), 0);
    if (_i == 0 || _i == 3) {
        relay_let(TO_SRC);
        rows_wait(SRC, "postcopy-active");
        rows_proved("left alone, the source hears of it");
        rows.f.self_start = false;
        expect_ready();
        hand_over();
        complete();
        rows_only_on(DST);
        return;
    }
    relay_cut(TO_SRC);
    rows_wait(SRC, "failed");
    ck_assert_int_eq(lab_wait_run_state(SRC, "running", 0), 0);
    rows_proved("cut: the source runs again by itself");
    rows_expect(
        OWNER_SRC, STAGE_IDLE, MAY_QUIT_DST,
        "the guest is on the source, the destination holds a stopped copy that nobody may "
        "continue");
    if (_i == 1) {
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
END_TEST

/* ---- what is forbidden ---- */

/* 7.2 takes a cancel, and then neither side has the whole guest. */
START_TEST(a_cancel_in_postcopy)
{
    char why[256] = "";
    rows_to_postcopy();
    if (_i == 1) {
        hand_over();
        ck_assert_int_eq(lab_wait_event(DST, "RESUME", NULL, NULL, 0), 0);
        expect_split();
    } else {
        expect_ready();
    }
    if (!rows_taken(SRC, "migrate_cancel", why)) {
        hand_over();
        complete();
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

/* An interrupted source beside a QEMU that has nothing of its guest. */
START_TEST(broken_and_another)
{
    to_running_postcopy();
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

static TCase *begin_case(Suite *s, const char *name)
{
    TCase *t = tcase_create(name);
    tcase_add_checked_fixture(t, rows_setup, rows_teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    suite_add_tcase(s, t);
    return t;
}

void rows_add_postcopy(Suite *s)
{
    TCase *t = begin_case(s, "postcopy");
    tcase_add_test(t, a_good_postcopy);
    tcase_add_loop_test(t, done_and_not_asked_again, 0, 3);
    tcase_add_loop_test(t, the_package_is_on_its_way, 0, 2);
    tcase_add_loop_test(t, postcopy_is_beginning, 0, 4);
    t = begin_case(s, "interrupted");
    tcase_add_loop_test(t, postcopy_may_be_paused, 0, 4);
    tcase_add_test(t, broken_may_be_yanked_and_paused);
    tcase_add_test(t, halted_is_recovered_and_continued_later);
    tcase_add_loop_test(t, only_one_side_has_noticed, 0, 4);
    tcase_add_loop_test(t, the_destination_is_silent, 0, 2);
    tcase_add_loop_test(t, the_source_is_silent, 0, 2);
    tcase_add_test(t, broken_and_another);
    t = begin_case(s, "all memory");
    tcase_add_test(t, the_source_is_silent_and_not_needed);
    tcase_add_loop_test(t, the_destination_has_all, 0, 6);
    tcase_add_loop_test(t, the_last_word_is_lost_of_a_source_that_was_stopped, 0, 3);
    tcase_add_loop_test(t, the_source_dies_and_is_not_needed, 0, 2);
    t = begin_case(s, "lost");
    tcase_add_test(t, the_source_dies);
    tcase_add_loop_test(t, the_destination_dies, 0, 2);
    tcase_add_loop_test(t, a_cancel_in_postcopy, 0, 2);
}

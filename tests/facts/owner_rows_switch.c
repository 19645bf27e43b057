/* Rows of the switch of a precopy, and of what comes after it. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/facts/owner_rows.h"

#define SRC (rows.w.src)
#define DST (rows.w.dst)

static const char both[] =
    "the destination runs or ran the guest and the source has it too";
static const char unseen[] =
    "the destination died unseen and may have run the guest before; the source holds it as "
    "it was at the switch";
static const char never[] = "the guest is on the source, the destination can never run it";
static const char holds[] =
    "the guest is on the source, the destination holds a stopped copy that nobody may continue";
static const char at_switch[] =
    "the guest is stopped on the source, which waits for migrate-continue";
static const char on_its_way[] = "device state is on its way, nobody runs";
static const char whole[] =
    "the destination holds the whole guest and waits to be continued";
static const char has_it[] = "the destination has the guest";
static const char src_holds[] =
    "the destination can never run, the source still holds the whole guest";
static const char self_starts[] =
    "the destination starts the guest by itself, the source is about to be told";

static void to_switch(void)
{
    rows_pair(ROWS_IDLE);
    rows_migrate();
    rows_to_switch();
}

/* The destination has everything and has said so, and the source does not hear it. */
static void to_lost_ack(void)
{
    to_switch();
    relay_hold(TO_SRC);
    rows_continue();
    rows_wait(DST, "completed");
    rows_wait(SRC, "device");
}

/* What that leads to when the connection breaks: the source has its guest back. */
static void break_lost_ack(void)
{
    relay_cut(TO_SRC);
    rows_wait(SRC, "failed");
    ck_assert_int_eq(lab_wait_run_state(SRC, "running", 0), 0);
}

static void to_done(void)
{
    to_switch();
    rows_continue();
    rows_wait_src_done();
    rows_wait(DST, "completed");
}

static void hand_over(void)
{
    rows_qmp(DST, "cont");
    rows.f.handed_over = true;
}

static void expect_conflict(const char *why)
{
    rows_expect(OWNER_UNKNOWN, STAGE_CONFLICT, 0, why);
}

static void expect_moved(void)
{
    rows_expect(OWNER_DST, STAGE_MOVED, MAY_QUIT_SRC | MAY_CONT_DST, has_it);
}

static void expect_loaded(void)
{
    rows_expect(OWNER_DST, STAGE_LOADED, MAY_CONT_DST, whole);
}

static uint64_t writes(struct lab_vm *vm)
{
    struct lab_guest_status s;
    ck_assert_int_eq(lab_guest_status(vm, &s), 0);
    return s.writes;
}

/* ---- a move that goes well ---- */

START_TEST(a_good_move)
{
    to_switch();
    rows_expect(OWNER_SRC, STAGE_AT_SWITCH, MAY_CANCEL | MAY_YANK | MAY_CONTINUE,
                at_switch);
    rows_continue();
    rows_wait_src_done();
    rows_proved("migrate-continue: the source completes");
    rows_wait(DST, "completed");
    rows.f.done_before = _i == 1;
    expect_loaded();
    ck_assert_int_eq(rows_running(), 0);
    hand_over();
    rows_only_on(DST);
    rows_proved("cont on the destination: it runs");
    expect_moved();
    rows_qmp(DST, "stop");
    expect_moved();
    hand_over();
    rows_quit(SRC);
    rows_only_on(DST);
    rows_proved("quit on the source, cont once more on the destination: it runs");
    expect_moved();
    rows_proved("the source is gone");
}
END_TEST

/* The source was last seen while it copied. */
START_TEST(dead_and_runs)
{
    rows_pair(ROWS_IDLE);
    rows_migrate();
    (void)rows_look();
    rows.src_kept = true;
    rows_to_switch();
    rows_continue();
    rows_wait(DST, "completed");
    rows_qmp(DST, "cont");
    rows_kill(SRC);
    rows.f.src.reach = OWNER_DEAD;
    expect_moved();
    rows_only_on(DST);
    rows_proved("the source died unseen after its part was done");
}
END_TEST

/* ---- device state is on its way ---- */

enum on_way {
    WAY_LOADING,
    WAY_LOADED,
    WAY_DEAD,
    WAY_SILENT,
    WAY_FAILED,
    WAY_WAITING,
    WAY_COUNT
};

START_TEST(device_may_be_undone)
{
    const enum on_way way = _i == WAY_COUNT ? WAY_LOADED : (enum on_way)_i; /* both ways */
    static const char *const text[] = {"loading", "loaded",  "dead",
                                       "silent",  "cut off", "still waiting"};
    rows_pair(ROWS_IDLE);
    if (way == WAY_WAITING)
        rows_migrate_to_nobody();
    else
        rows_migrate();
    rows_to_switch();
    relay_hold(way == WAY_LOADED ? TO_SRC : BOTH_WAYS);
    if (way == WAY_SILENT)
        rows_freeze(DST);
    rows_continue();
    if (way == WAY_LOADED)
        rows_wait(DST, "completed");
    rows_wait(SRC, "device");
    rows_wait_quiet();
    if (way == WAY_DEAD)
        rows_kill(DST);
    if (way == WAY_FAILED) {
        relay_cut(TO_DST);
        rows_wait_dst_failed();
    }
    rows_expect(OWNER_BETWEEN, STAGE_SWITCHING, MAY_CANCEL | MAY_YANK, on_its_way);
    ck_assert(!rows_runs(SRC));
    rows_cancel_or_yank(_i);
    if (way == WAY_SILENT) {
        rows_thaw(DST);
        relay_cut(TO_DST);
        rows_wait_dst_failed();
    }
    if (way == WAY_LOADED) {
        rows_run_state(DST, "paused");
        rows_only_on(SRC);
        rows_expect(OWNER_SRC, STAGE_IDLE, MAY_QUIT_DST, holds);
        rows_quit(DST);
    }
    rows_cannot_run(DST);
    rows_only_on(SRC);
    rows_proved("the destination is %s; %s: the source runs, and only it", text[way],
                _i % 2 ? "yank" : "cancel");
}
END_TEST

/* ---- what is forbidden there ---- */

/* No cont for the destination before the source is done, and none after that for both. */
START_TEST(a_cont_for_both_makes_two)
{
    to_lost_ack();
    rows_expect(OWNER_BETWEEN, STAGE_SWITCHING, MAY_CANCEL | MAY_YANK, on_its_way);
    if (_i == 0) {
        break_lost_ack();
        rows_expect(OWNER_SRC, STAGE_IDLE, MAY_QUIT_DST, holds);
        rows_qmp(DST, "cont");
        rows_proved("continued all the same, it runs beside the source");
    } else {
        rows_qmp(DST, "cont");
        break_lost_ack();
    }
    ck_assert_int_eq(rows_running(), 2);
    ck_assert_int_eq(lab_guest_verify(SRC), 1);
    ck_assert_int_eq(lab_guest_verify(DST), 1);
    expect_conflict(both);
    rows_proved("two guests run, each of them whole");
    rows.f.handed_over = true;
    rows_freeze(DST);
    expect_conflict(both);
    rows_proved("silent");
    rows_kill(DST);
    expect_conflict(both);
    rows_proved("dead");
}
END_TEST

START_TEST(free_and_loaded_or_silent)
{
    to_lost_ack();
    rows_freeze(DST);
    break_lost_ack();
    rows_expect(OWNER_SRC, STAGE_IDLE, 0, "the guest is on the source");
    rows_qmp(SRC, "query-status");
    rows_thaw(DST);
    rows_only_on(SRC);
    rows_proved("awake again, the destination is paused, the source runs");
    rows_expect(OWNER_SRC, STAGE_IDLE, MAY_QUIT_DST, holds);
    rows_quit(DST);
    rows_only_on(SRC);
    rows_proved("it has quit, the source runs");
    rows_expect(OWNER_SRC, STAGE_IDLE, MAY_CONT_SRC | MAY_QUIT_DST, never);
}
END_TEST

/* ---- a main loop that hangs in a write ---- */

START_TEST(hangs)
{
    rows_pair(ROWS_BUSY);
    rows_migrate();
    if (_i == 1)
        rows_freeze(DST);
    /* all that is left of the memory goes at the switch */
    ck_assert_int_eq(
        lab_qmp_ok(SRC, "migrate-set-parameters", "{\"downtime-limit\": 2000000}"), 0);
    rows_wait(SRC, "pre-switchover");
    (void)rows_look();
    relay_clog();
    rows_continue_unheard();
    rows_wait_quiet();
    rows.src_mute = true;
    rows_expect(OWNER_UNKNOWN, STAGE_CONFLICT, MAY_YANK, "the source does not answer");
    rows.src_mute = false;
    rows_yank();
    relay_cut(TO_DST);
    if (_i == 1)
        rows_thaw(DST);
    rows_wait_dst_failed();
    rows_cannot_run(DST);
    rows_only_on(SRC);
    rows_proved("yank reaches it out of band: it fails, and runs");
}
END_TEST

/* ---- completed ---- */

/* Its process is dead, or it has refused the devices and said so to nobody. */
START_TEST(done_and_never)
{
    static const char *const net_card[] = {"-device", "e1000,romfile=", NULL};
    if (_i == 0) {
        to_done();
        rows_kill(DST);
    } else {
        rows.no_return_path = true;
        rows_pair_with(ROWS_IDLE, net_card, NULL);
        rows_migrate();
        rows_to_switch();
        relay_hold(TO_SRC);
        rows_continue();
        rows_wait_dst_failed();
        rows_wait_src_done();
    }
    rows_expect(OWNER_SRC, STAGE_STOPPED, MAY_CONT_SRC | MAY_QUIT_DST, src_holds);
    rows_qmp(SRC, "cont");
    rows_cannot_run(DST);
    rows_only_on(SRC);
    rows_proved("cont on the source: it runs");
}
END_TEST

/* Somebody else has a lock on the disk, as QEMU takes them: byte 200 and what for, here that nobody else
 * may write (block/file-posix.c). */
static void lock_disk(int fd, short type)
{
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = 201, .l_len = 1};
    ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &l), 0);
}

START_TEST(done_and_refused)
{
    char path[LAB_PATH_MAX];
    char drive[LAB_PATH_MAX + 64];
    char why[256];
    lab_path(rows.w.lab, "disk.raw", path);
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, 1 << 20), 0);
    (void)snprintf(drive, sizeof(drive), "file=%s,format=raw,if=ide", path);
    const char *const disk[] = {"-drive", drive, NULL};
    rows_pair_with(ROWS_IDLE, disk, disk);
    ck_assert_int_eq(lab_qmp_ok(DST, "migrate-set-capabilities",
                                "{\"capabilities\": [{\"capability\": "
                                "\"late-block-activate\", \"state\": true}]}"),
                     0);
    rows_migrate();
    rows_to_switch();
    rows_continue();
    rows_wait_src_done();
    rows_wait(DST, "completed");
    lock_disk(fd, F_RDLCK);
    expect_loaded();
    ck_assert(!rows_taken(DST, "cont", why));
    rows_run_state(DST, "paused");
    rows.f.cont_refused = true;
    rows_expect(
        OWNER_SRC, STAGE_STOPPED, MAY_QUIT_DST,
        "the destination cannot run the guest, the source still holds the whole of it");
    lock_disk(fd, F_UNLCK);
    if (_i == 1) {
        rows_qmp(DST, "cont");
        rows_only_on(DST);
        rows_proved("what was refused once may be granted later: it runs after all");
        (void)close(fd);
        return;
    }
    rows_quit(DST);
    rows_proved("the destination has quit");
    rows_expect(OWNER_SRC, STAGE_STOPPED, MAY_CONT_SRC | MAY_QUIT_DST, src_holds);
    rows_qmp(SRC, "cont");
    rows_only_on(SRC);
    rows_proved("cont on the source: it runs");
    (void)close(fd);
}
END_TEST

START_TEST(found_done)
{
    to_done();
    struct lab_vm *owner = DST;
    hand_over();
    rows_other_destination();
    rows.f.handed_over = false;
    rows.f.done_before = true;
    rows_kill(DST);
    expect_conflict(
        "the source was found done: its guest went to another destination, or ran on "
        "this one before; what the source holds is old");
    rows_only_on(owner);
    rows_qmp(SRC, "cont");
    ck_assert_int_eq(rows_running(), 2);
    rows_proved("the guest runs elsewhere; a cont on the source made two");
}
END_TEST

START_TEST(done_and_ran)
{
    to_done();
    hand_over();
    const uint64_t then = writes(DST) + 200;
    ck_assert_int_eq(lab_guest_wait_writes(DST, then, 0), 0);
    rows_kill(DST);
    rows_expect(OWNER_NONE, STAGE_LOST, 0, "the destination died after it had taken over");
    rows_qmp(SRC, "cont");
    const uint64_t old = writes(SRC);
    ck_assert_uint_lt(old, then);
    rows_proved("a cont on the source brings back a guest of before");
}
END_TEST

/* ---- a source that dies in the switch ---- */

START_TEST(dead_done)
{
    to_switch();
    relay_hold(_i == 0 ? TO_DST : TO_SRC);
    rows_continue();
    if (_i > 0)
        rows_wait(DST, "completed");
    rows_wait(SRC, "device");
    rows_wait_quiet();
    (void)rows_look();
    rows_kill(SRC);
    if (_i == 0) {
        rows_expect(OWNER_BETWEEN, STAGE_SWITCHING, 0,
                    "the source is done, the destination is loading");
        relay_let(BOTH_WAYS);
        rows_wait(DST, "completed");
        rows_proved("what it has sent still comes: the destination loads it");
    }
    expect_loaded();
    if (_i == 2) {
        rows_kill(DST);
        rows_expect(OWNER_NONE, STAGE_LOST, 0, "both sides are gone");
        rows_proved("no process is left");
        return;
    }
    rows_qmp(DST, "cont");
    rows_only_on(DST);
    rows_proved("cont on the destination: it runs");
    rows.f.handed_over = true;
    expect_moved();
}
END_TEST

/* The other end of the same: what was on its way is lost with the source. */
START_TEST(dead_done_and_cut)
{
    to_switch();
    relay_hold(BOTH_WAYS);
    rows_continue();
    rows_wait(SRC, "device");
    (void)rows_look();
    rows_kill(SRC);
    relay_cut(TO_DST);
    rows_wait_dst_failed();
    rows_expect(OWNER_NONE, STAGE_LOST, 0, "both sides are gone");
    rows_cannot_run(DST);
    rows_proved("the destination has not the whole of it, a cont does not make it run");
}
END_TEST

/* ---- a destination that starts by itself ---- */

START_TEST(self_start)
{
    rows.self_start = true;
    to_switch();
    rows.f.self_start = true;
    rows_expect(OWNER_BETWEEN, STAGE_SWITCHING, MAY_CONTINUE,
                "the source was told to go on, the destination will start by itself");
    if (_i == 0) {
        rows_continue();
        rows_wait(SRC, "completed");
        ck_assert_int_eq(lab_wait_event(DST, "RESUME", NULL, NULL, 0), 0);
        rows_proved("migrate-continue: the destination runs by itself");
        rows_wait(DST, "completed");
        expect_moved();
        rows_quit(SRC);
        rows_only_on(DST);
        rows_proved("quit on the source");
        return;
    }
    relay_hold(TO_SRC);
    rows_continue();
    ck_assert_int_eq(lab_wait_event(DST, "RESUME", NULL, NULL, 0), 0);
    rows_wait(DST, "completed");
    rows_wait(SRC, "device");
    rows_expect(OWNER_BETWEEN, STAGE_SWITCHING, 0, self_starts);
    if (_i == 1) {
        relay_let(TO_SRC);
        rows_wait(SRC, "completed");
        rows_only_on(DST);
        rows_proved("left alone, the source hears of it");
    } else {
        rows_cancel();
        ck_assert_int_eq(rows_running(), 2);
        rows_proved("a cancel made two");
    }
}
END_TEST

START_TEST(self_start_and_silent)
{
    rows.self_start = true;
    to_switch();
    rows_freeze(DST);
    rows_continue();
    rows_wait(SRC, "device");
    rows_expect(OWNER_BETWEEN, STAGE_SWITCHING, 0, self_starts);
    rows_thaw(DST);
    rows_wait(SRC, "completed");
    ck_assert_int_eq(lab_wait_event(DST, "RESUME", NULL, NULL, 0), 0);
    rows_only_on(DST);
    rows_proved("awake again it runs by itself, and the source is told");
}
END_TEST

/* It was told in time not to start, or it is dead before it could. */
START_TEST(self_start_and_stopped)
{
    rows.self_start = true;
    to_switch();
    if (_i < 2) {
        rows_qmp(DST, "stop");
        relay_hold(TO_SRC);
        rows_continue();
        rows_wait(DST, "completed");
    } else {
        relay_hold(BOTH_WAYS);
        rows_continue();
        rows_wait_quiet();
        rows_kill(DST);
    }
    rows_wait(SRC, "device");
    rows_expect(OWNER_BETWEEN, STAGE_SWITCHING, MAY_CANCEL | MAY_YANK,
                "device state was on its way, the destination does not run");
    rows_cancel_or_yank(_i);
    rows_only_on(SRC);
    rows_proved("%s: the source runs, and only it", _i % 2 ? "yank" : "cancel");
}
END_TEST

START_TEST(self_start_and_died_unseen)
{
    rows.self_start = true;
    to_switch();
    if (_i == 0)
        relay_hold(TO_SRC);
    (void)rows_look();
    rows.dst_kept = true;
    rows_continue();
    ck_assert_int_eq(lab_wait_event(DST, "RESUME", NULL, NULL, 0), 0);
    if (_i == 1) {
        rows_wait_src_done();
    }
    const uint64_t then = writes(DST) + 200;
    ck_assert_int_eq(lab_guest_wait_writes(DST, then, 0), 0);
    rows_kill(DST);
    rows.f.dst.reach = OWNER_DEAD;
    rows.f.unwatched = true;
    if (_i == 0) {
        rows_expect(OWNER_BETWEEN, STAGE_SWITCHING, 0, self_starts);
        break_lost_ack();
        ck_assert(writes(SRC) < then);
    }
    expect_conflict(unseen);
    if (_i == 1) {
        rows_qmp(SRC, "cont");
        ck_assert(writes(SRC) < then);
    }
    rows_proved("it had run; the source holds a guest of before");
}
END_TEST

void rows_add_switch(Suite *s)
{
    TCase *t = rows_begin_case(s, "switch");
    tcase_add_loop_test(t, a_good_move, 0, 2);
    tcase_add_test(t, dead_and_runs);
    tcase_add_loop_test(t, device_may_be_undone, 0, WAY_COUNT + 1);
    tcase_add_loop_test(t, a_cont_for_both_makes_two, 0, 2);
    tcase_add_test(t, free_and_loaded_or_silent);
    tcase_add_loop_test(t, hangs, 0, 2);
    tcase_add_loop_test(t, done_and_never, 0, 2);
    tcase_add_loop_test(t, done_and_refused, 0, 2);
    tcase_add_test(t, found_done);
    tcase_add_test(t, done_and_ran);
    tcase_add_loop_test(t, dead_done, 0, 3);
    tcase_add_test(t, dead_done_and_cut);
    tcase_add_loop_test(t, self_start, 0, 3);
    tcase_add_test(t, self_start_and_silent);
    tcase_add_loop_test(t, self_start_and_stopped, 0, 3);
    tcase_add_loop_test(t, self_start_and_died_unseen, 0, 2);
}

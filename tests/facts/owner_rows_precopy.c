/* Rows of a guest that is on the source: before the move, while it is copied, and after it was undone. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/facts/owner_rows.h"

#define SRC (rows.w.src)
#define DST (rows.w.dst)

static const char waits[] = "the guest is on the source, the destination waits";
static const char never[] = "the guest is on the source, the destination can never run it";
static const char holds[] =
    "the guest is on the source, the destination holds a stopped copy that nobody may continue";
static const char copying[] = "memory is being copied, the guest is on the source";
static const char not_taken[] = "the source copies, the destination does not take it";
static const char at_switch[] =
    "the guest is stopped on the source, which waits for migrate-continue";
static const char nobody_there[] =
    "the guest is stopped on the source, the destination is not there to take it";
static const char died_early[] =
    "the source died before the destination had the whole guest";

static const char unwinds[] = "the source is taking its guest back";

/* ---- no migration ---- */

static void expect_free_beside_harmless(void)
{
    rows_expect(OWNER_SRC, STAGE_IDLE, MAY_CONT_SRC | MAY_QUIT_DST, never);
}

static void expect_copying(void)
{
    rows_expect(OWNER_SRC, STAGE_COPYING,
                MAY_CANCEL | MAY_YANK | MAY_POSTCOPY | MAY_CONT_SRC, copying);
}

/* The guest was stopped, and a cont brings it back. */
static void stop_and_continue_src(void)
{
    rows_qmp(SRC, "stop");
    rows_qmp(SRC, "cont");
    ck_assert(rows_runs(SRC));
}

START_TEST(free_and_waiting)
{
    rows_pair(ROWS_IDLE);
    rows_expect(OWNER_SRC, STAGE_IDLE, MAY_MIGRATE | MAY_CONT_SRC | MAY_QUIT_DST, waits);
    stop_and_continue_src();
    rows_only_on(SRC);
    rows_proved("cont on the source: it runs, alone");
    if (_i == 0) {
        rows_migrate();
        expect_copying();
        rows_only_on(SRC);
        return;
    }
    rows_quit(DST);
    expect_free_beside_harmless();
    stop_and_continue_src();
    rows_only_on(SRC);
    rows_proved("the destination has quit; cont on the source: it runs");
}
END_TEST

/* What has only been accepted is no migration: 7.2 says active, and the main loop of 11.1 waits for what the
 * stream begins with. */
START_TEST(free_and_only_connected)
{
    rows_pair(ROWS_IDLE);
    ck_assert_int_eq(lab_vm_listen(DST, rows.uri, sizeof(rows.uri)), 0);
    const struct sockaddr_in a = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port =
                                      htons((uint16_t)atoi(strrchr(rows.uri, ':') + 1))};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&a, sizeof(a)), 0);
    rows.f.only_connected = true;
    if (rows_is(11, 0)) {
        lab_pump(rows.w.lab, 100); /* to take it: from then on it says nothing */
        rows.dst_mute = true;
        expect_free_beside_harmless();
        rows_proved("it answers nothing before the first bytes have come");
        (void)close(fd);
        ck_assert_int_eq(lab_vm_wait_exit(DST, 0, NULL), 0);
        rows_only_on(SRC);
        return;
    }
    rows_wait(DST, "active");
    rows_expect(OWNER_SRC, STAGE_IDLE, MAY_MIGRATE | MAY_CONT_SRC | MAY_QUIT_DST, waits);
    rows_quit(DST);
    (void)close(fd);
    rows_only_on(SRC);
    rows_proved("the destination has quit, the source runs");
}
END_TEST

/* A destination that stood still before it could have the device state: whatever comes later. */
START_TEST(free_and_silent_early)
{
    rows_pair(ROWS_IDLE);
    rows_migrate();
    rows_freeze(DST);
    rows_cancel_or_yank(_i);
    expect_free_beside_harmless();
    stop_and_continue_src();
    rows_proved("cont on the source: it runs");
    rows_thaw(DST);
    rows_wait_dst_failed();
    expect_free_beside_harmless();
    rows_cannot_run(DST);
    rows_only_on(SRC);
    rows_proved("awake again it has failed: a cont does not make it run");
}
END_TEST

START_TEST(free_and_loading)
{
    rows_pair(ROWS_IDLE);
    rows_migrate();
    relay_hold(BOTH_WAYS);
    rows_cancel_or_yank(_i);
    rows_expect(OWNER_SRC, STAGE_IDLE, MAY_QUIT_DST, holds);
    rows_quit(DST);
    expect_free_beside_harmless();
    stop_and_continue_src();
    rows_only_on(SRC);
    rows_proved("it does not know that it was left; quit");
}
END_TEST

/* Somebody else's guest. */
START_TEST(free_and_other)
{
    rows_pair(ROWS_IDLE);
    rows.w.dst = world_vm(&rows.w, &(struct lab_vm_opts){.append = ROWS_IDLE});
    ck_assert_int_eq(lab_guest_ready(DST), 0);
    rows_expect(OWNER_SRC, STAGE_IDLE, 0, "the guest is on the source");
    ck_assert_int_eq(rows_running(), 2);
    rows_proved("the destination runs a guest of its own, which a quit would end");
    rows_kill(SRC);
    rows_expect(OWNER_NONE, STAGE_LOST, 0,
                "the source died, and this destination is none that waited for its guest");
    rows_only_on(DST);
    rows_proved("the source is dead, this destination runs another guest: not to be quit");
}
END_TEST

/* What cannot be a source. */
START_TEST(nothing_fits)
{
    rows_pair(ROWS_IDLE);
    struct lab_vm *guest = SRC;
    SRC = world_vm(&rows.w, &(struct lab_vm_opts){.incoming = true, .paused = true});
    rows_expect(OWNER_UNKNOWN, STAGE_CONFLICT, 0,
                "what is known of the two sides does not fit together");
    rows_proved("the source waits for a guest itself");
    SRC = guest;
    rows_only_on(SRC);
}
END_TEST

/* ---- copying ---- */

START_TEST(copying_may_be_undone)
{
    rows_pair(ROWS_IDLE);
    if (_i < 2)
        rows_migrate();
    else
        rows_migrate_to_nobody();
    expect_copying();
    rows_cancel_or_yank(_i);
    if (_i < 2)
        rows_wait_dst_failed();
    rows_cannot_run(DST);
    rows_only_on(SRC);
    rows_proved("%s: the source runs, the destination cannot", _i % 2 ? "yank" : "cancel");
}
END_TEST

START_TEST(copying_and_stopped_may_be_continued)
{
    char why[256] = "";
    rows_pair(ROWS_IDLE);
    rows_migrate();
    rows_qmp(SRC, "stop");
    expect_copying();
    rows_qmp(SRC, "cont");
    rows_only_on(SRC);
    rows_proved("stopped, and cont on the source: it runs, memory is copied on");
    rows_qmp(SRC, "stop");
    rows_to_switch();
    ck_assert(!rows_taken(SRC, "cont", why));
    ck_assert_int_eq(rows_running(), 0);
    rows_cancel_any();
    if (!rows_runs(SRC))
        rows_qmp(SRC, "cont");
    rows_only_on(SRC);
    rows_proved("cont that comes when it is at the switch is refused: %.60s", why);
}
END_TEST

START_TEST(copying_may_become_postcopy)
{
    rows.postcopy = true;
    rows_pair(ROWS_BUSY);
    rows_migrate();
    expect_copying();
    rows_to_switch();
    rows_proved("post-copy was asked for, the source is at the switch");
    rows_expect(OWNER_SRC, STAGE_AT_SWITCH, MAY_CANCEL | MAY_YANK | MAY_CONTINUE,
                at_switch);
    rows_qmp(SRC, "migrate_cancel");
    rows_wait(SRC, "cancelled");
    if (!rows_runs(SRC)) { /* 7.2 */
        rows_wait_dst_failed();
        rows_expect(OWNER_SRC, STAGE_STOPPED, MAY_CONT_SRC | MAY_QUIT_DST,
                    "the source has the guest back but left it stopped");
        rows_qmp(SRC, "cont");
        rows_only_on(SRC);
        rows_proved("cont: it runs");
    }
    rows_cannot_run(DST);
    rows_only_on(SRC);
}
END_TEST

enum gone { GONE_DEAD, GONE_FROZEN, GONE_FAILED, GONE_WAITING, GONE_COUNT };

static const char *const gone_text[] = {"dead", "frozen", "cut off", "still waiting"};

/* Of which the source hears nothing. */
static void lose_dst(enum gone how)
{
    relay_hold(TO_SRC);
    switch (how) {
    case GONE_DEAD:
        rows_kill(DST);
        break;
    case GONE_FROZEN:
        rows_freeze(DST);
        break;
    case GONE_FAILED:
        relay_cut(TO_DST);
        rows_wait_dst_failed();
        break;
    case GONE_WAITING:
    case GONE_COUNT:
        break;
    }
}

static void expect_lost_dst_cannot_run(enum gone how)
{
    if (how == GONE_FROZEN)
        rows_thaw(DST);
    if (how == GONE_FROZEN) {
        relay_cut(TO_DST);
        rows_wait_dst_failed();
    }
    rows_cannot_run(DST);
    rows_only_on(SRC);
}

START_TEST(copying_to_a_destination_that_does_not_take_it)
{
    const enum gone how = (enum gone)_i;
    rows_pair(ROWS_IDLE);
    rows_migrate();
    lose_dst(how);
    rows_expect(OWNER_SRC, STAGE_COPYING, MAY_CANCEL | MAY_YANK, not_taken);
    rows_cancel_or_yank(_i);
    expect_lost_dst_cannot_run(how);
    rows_proved("it is %s; %s: the source runs", gone_text[how],
                _i % 2 ? "yank" : "cancel");
}
END_TEST

/* ---- at the switch ---- */

/* The source, which waits, does not notice a yank: it ends the connection, and waits on. */
static void undo_at_switch(int i)
{
    if (i % 2 == 1) {
        rows_send_yank();
        lab_pump(rows.w.lab, 100);
        rows_wait(SRC, "pre-switchover");
    }
    rows_cancel();
}

START_TEST(at_the_switch_it_may_be_undone)
{
    rows_pair(ROWS_IDLE);
    rows_migrate();
    rows_to_switch();
    rows_expect(OWNER_SRC, STAGE_AT_SWITCH, MAY_CANCEL | MAY_YANK | MAY_CONTINUE,
                at_switch);
    ck_assert(!rows_taken(SRC, "cont", NULL));
    undo_at_switch(_i);
    rows_wait_dst_failed();
    rows_cannot_run(DST);
    rows_only_on(SRC);
    rows_proved("%s: the source runs by itself", _i % 2 ? "yank, cancel" : "cancel");
}
END_TEST

START_TEST(at_the_switch_and_nobody_there)
{
    const enum gone how = (enum gone)_i;
    rows_pair(ROWS_IDLE);
    if (how == GONE_WAITING)
        rows_migrate_to_nobody();
    else
        rows_migrate();
    rows_to_switch();
    lose_dst(how);
    rows_expect(OWNER_SRC, STAGE_AT_SWITCH, MAY_CANCEL | MAY_YANK, nobody_there);
    undo_at_switch(_i);
    expect_lost_dst_cannot_run(how);
    rows_proved("it is %s; %s: the source runs", gone_text[how],
                _i % 2 ? "yank, cancel" : "cancel");
}
END_TEST

/* ---- on the way back ---- */

/* A connection that is not made: 7.2 and 11.1 cancel for as long as that takes. */
START_TEST(unwinding)
{
    struct owner_view v;
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    int full[4];
    bool seen = false;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    rows_pair(ROWS_IDLE);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&a, sizeof(a)), 0);
    ck_assert_int_eq(listen(fd, 0), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    for (int i = 0; i < 4; i++) {
        full[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(full[i], (const struct sockaddr *)&a, sizeof(a));
    }
    lab_pump(rows.w.lab, 50);
    ck_assert_int_eq(lab_qmp_ok(SRC, "migrate", "{\"uri\": \"tcp:127.0.0.1:%u\"}",
                                (unsigned)ntohs(a.sin_port)),
                     0);
    lab_pump(rows.w.lab, 50);
    rows_qmp(SRC, "migrate_cancel");
    v = rows_look();
    seen = v.stage == STAGE_UNWINDING;
    if (seen) {
        rows_expect(OWNER_SRC, STAGE_UNWINDING, MAY_YANK, unwinds);
        rows_send_yank();
    }
    (void)close(fd);
    for (int i = 0; i < 4; i++)
        (void)close(full[i]);
    if (seen) {
        ck_assert_int_eq(lab_wait_mig_status(SRC, "cancelled", 0), 0);
        rows_only_on(SRC);
        rows_proved("cancelled while it connects; a yank does no harm, the source runs");
    } else {
        rows_skip("cancelled at once, also while it connects");
    }
}
END_TEST

/* Caught on its way, for as long as the clean-up takes. */
START_TEST(unwinding_is_short)
{
    bool seen = false;
    rows_pair(ROWS_IDLE);
    rows_migrate();
    rows_qmp(SRC, "migrate_cancel");
    seen = rows_look().stage == STAGE_UNWINDING;
    if (seen) {
        rows.src_kept = rows.dst_kept = true;
        rows_expect(OWNER_SRC, STAGE_UNWINDING, MAY_YANK, unwinds);
    }
    rows_wait(SRC, "cancelled");
    rows_wait_dst_failed();
    rows_cannot_run(DST);
    rows_only_on(SRC);
    if (seen)
        rows_proved("left alone: cancelled, the source runs");
    else
        rows_skip("cancelled before it could be asked");
}
END_TEST

/* ---- stopped ---- */

/* A guest that was paused before: 7.2 leaves it in postmigrate. */
START_TEST(stopped)
{
    rows_pair(ROWS_IDLE);
    rows_qmp(SRC, "stop");
    rows_migrate();
    rows_to_switch();
    relay_hold(TO_SRC);
    rows_continue();
    rows_wait(DST, "completed");
    rows_cancel_any();
    if (rows_is(8, 0)) {
        ck_assert_int_eq(lab_wait_run_state(SRC, "paused", 0), 0);
        rows_expect(OWNER_SRC, STAGE_IDLE, MAY_QUIT_DST, holds);
        rows_quit(DST);
        expect_free_beside_harmless();
        rows_qmp(SRC, "cont");
        rows_only_on(SRC);
        rows_proved("paused as before; cont: it runs");
        return;
    }
    rows_run_state(SRC, "postmigrate");
    rows_expect(
        OWNER_SRC, STAGE_STOPPED, MAY_QUIT_DST,
        "the source has the guest back but left it stopped; the destination must be "
        "gone first");
    if (_i == 1) {
        rows_qmp(SRC, "cont");
        rows_qmp(DST, "cont");
        ck_assert_int_eq(rows_running(), 2);
        rows_proved("continued all the same, both of them run");
        return;
    }
    rows_quit(DST);
    rows_proved("the destination has quit");
    rows_expect(OWNER_SRC, STAGE_STOPPED, MAY_CONT_SRC | MAY_QUIT_DST,
                "the source has the guest back but left it stopped");
    rows_qmp(SRC, "cont");
    rows_only_on(SRC);
    rows_proved("cont on the source: it runs");
}
END_TEST

/* ---- a source that dies ---- */

START_TEST(the_source_dies_early)
{
    rows_pair(ROWS_IDLE);
    if (_i > 0)
        rows_migrate();
    (void)rows_look();
    relay_hold(BOTH_WAYS);
    rows_kill(SRC);
    rows_expect(OWNER_NONE, STAGE_LOST, MAY_QUIT_DST, died_early);
    rows_cannot_run(DST);
    if (_i == 2) {
        relay_let(BOTH_WAYS);
        rows_wait_dst_failed();
        rows_expect(OWNER_NONE, STAGE_LOST, MAY_QUIT_DST, died_early);
        rows_cannot_run(DST);
    }
    if (lab_vm_alive(DST))
        rows_quit(DST);
    rows_proved("a cont does not make the destination run; quit");
}
END_TEST

void rows_add_precopy(Suite *s)
{
    TCase *t = rows_begin_case(s, "precopy");
    tcase_add_loop_test(t, free_and_waiting, 0, 2);
    tcase_add_test(t, free_and_only_connected);
    tcase_add_test(t, free_and_silent_early);
    tcase_add_test(t, free_and_loading);
    tcase_add_test(t, free_and_other);
    tcase_add_test(t, nothing_fits);
    tcase_add_loop_test(t, copying_may_be_undone, 0, 3);
    tcase_add_test(t, copying_and_stopped_may_be_continued);
    tcase_add_test(t, copying_may_become_postcopy);
    tcase_add_loop_test(t, copying_to_a_destination_that_does_not_take_it, 0, GONE_WAITING);
    tcase_add_loop_test(t, at_the_switch_it_may_be_undone, 0, 2);
    tcase_add_loop_test(t, at_the_switch_and_nobody_there, 0, GONE_COUNT);
    tcase_add_test(t, unwinding);
    tcase_add_test(t, unwinding_is_short);
    tcase_add_loop_test(t, stopped, 0, 2);
    tcase_add_loop_test(t, the_source_dies_early, 0, 3);
}

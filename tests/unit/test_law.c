/* Rules of the law (engine/README.md), each against the machine fed by hand: what no whole move shows,
 * since two rules would have to be broken for it. */
#include <check.h>
#include <string.h>

#include "engine/base/units.h"
#include "engine/configure_priv.h"
#include "engine/mig.h"
#include "engine/recover_priv.h"
#include "tests/unit/fed.h"

/* Memory moves, and both sides answer. */
static void setup(void)
{
    const struct mig_spec spec = {
        .source = "/s", .destination = "/d", .address = "192.0.2.7"};
    const struct policy policy = {.name = "test"};
    memset(&f, 0, sizeof(f));
    mig_init(&f.m, &spec, &policy);
    f.m.phase = MIG_PRECOPY;
    f.m.now_ns = f.m.phase_ns = f.m.stage_ns = QF_NS_PER_S;
    f.m.started = f.m.incoming_asked = f.m.guest_ran = true;
    for (unsigned i = 0; i < MIG_SIDES; i++) {
        f.m.side[i].link = MIG_LINK_UP;
        f.m.side[i].oob = true;
        f.m.side[i].migrate.status = QAPI_MIG_ACTIVE;
    }
    f.m.side[MIG_SRC].run = QAPI_RUN_RUNNING;
    f.m.side[MIG_DST].run = QAPI_RUN_INMIGRATE;
}

static void teardown(void)
{
}

static void unplug(enum mig_side_id side)
{
    struct mig_event ev = {.kind = MIG_EV_QMP, .side = side};
    ev.u.qmp.kind = QAPI_EVENT_DEVICE_DELETED;
    strcpy(ev.u.qmp.reason, "nic");
    step(&ev);
}

static void answer_look(enum mig_side_id side,
                        enum qapi_run_state run,
                        enum qapi_mig_status status)
{
    struct mig_event ev = {.kind = MIG_EV_REPLY, .side = side};
    ck_assert_uint_ne(f.id[side][QAPI_QUERY_STATUS], 0);
    ck_assert_uint_ne(f.id[side][QAPI_QUERY_MIGRATE], 0);
    ev.id = f.id[side][QAPI_QUERY_STATUS];
    ev.u.reply.command = QAPI_QUERY_STATUS;
    ev.u.reply.u.run = run;
    step(&ev);
    ev = (struct mig_event){.kind = MIG_EV_REPLY, .side = side};
    ev.id = f.id[side][QAPI_QUERY_MIGRATE];
    ev.u.reply.command = QAPI_QUERY_MIGRATE;
    ev.u.reply.u.migrate.status = status;
    step(&ev);
}

/* ---- devices ---- */

START_TEST(a_device_that_goes_ends_the_move)
{
    const enum mig_side_id side = _i % 2 ? MIG_DST : MIG_SRC;
    if (_i / 2) {
        f.m.phase = MIG_SWITCHOVER;
        f.m.side[MIG_SRC].run = QAPI_RUN_FINISH_MIGRATE;
        f.m.side[MIG_SRC].migrate.status = QAPI_MIG_PRE_SWITCHOVER;
    }
    unplug(side);
    ck_assert_int_eq(f.m.phase, MIG_ROLLBACK);
    ck_assert_ptr_nonnull(strstr(f.m.reason, "nic was unplugged on the"));
    ck_assert_ptr_nonnull(strstr(f.m.reason, mig_side_name(side)));
    ck_assert_uint_eq(f.id[MIG_SRC][QAPI_MIGRATE_CONTINUE], 0);
}
END_TEST

/* The source cannot have its guest back any more at a word of ours, so it is too late for that. */
START_TEST(a_device_that_goes_after_the_switch_does_not)
{
    f.m.phase = MIG_SWITCHOVER;
    f.m.continued = true;
    f.m.side[MIG_SRC].run = QAPI_RUN_FINISH_MIGRATE;
    f.m.side[MIG_SRC].migrate.status = QAPI_MIG_DEVICE;
    unplug(MIG_SRC);
    ck_assert_int_eq(f.m.phase, MIG_SWITCHOVER);
    ck_assert(!f.m.has_reason);
}
END_TEST

/* ---- who may be told what ---- */

static bool is_sent(void)
{
    for (unsigned i = 0; i < f.todo.n; i++)
        if (f.todo.item[i].kind == MIG_DO_SEND)
            return true;
    return false;
}

/* Whatever a phase thinks of it: the way out asks the table. Memory is being copied here. */
START_TEST(what_the_owner_does_not_allow_is_not_sent)
{
    static const struct {
        enum mig_side_id side;
        enum qapi_command command;
    } table[] = {
        {MIG_DST, QAPI_CONT},
        {MIG_SRC, QAPI_QUIT},
        {MIG_DST, QAPI_QUIT},
        {MIG_SRC, QAPI_MIGRATE},
        {MIG_SRC, QAPI_MIGRATE_CONTINUE},
        {MIG_SRC, QAPI_MIGRATE_PAUSE},
        {MIG_DST, QAPI_MIGRATE_PAUSE},
        {MIG_DST, QAPI_MIGRATE_RECOVER},
        {MIG_SRC, QAPI_MIGRATE_RESUME},
        {MIG_DST, QAPI_YANK},
    };
    for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        f.todo.n = 0;
        const bool is_done = mig_act(&f.m, &f.todo, table[i].side, table[i].command);
        ck_assert_msg(!is_done && !is_sent(), "%s to the %s",
                      qapi_command_name(table[i].command), mig_side_name(table[i].side));
    }
    f.todo.n = 0;
    ck_assert(mig_act(&f.m, &f.todo, MIG_SRC, QAPI_MIGRATE_CANCEL));
    ck_assert(is_sent());
    f.todo.n = 0;
    f.m.side[MIG_SRC].run = QAPI_RUN_FINISH_MIGRATE;
    f.m.side[MIG_SRC].migrate.status = QAPI_MIG_PRE_SWITCHOVER;
    ck_assert(!mig_act(&f.m, &f.todo, MIG_SRC, QAPI_CONT));
}
END_TEST

/* ---- what is known ---- */

/* The destination has said that it runs; an answer that was put together before says otherwise. */
START_TEST(an_answer_that_is_older_than_resume_does_not_take_it_back)
{
    struct mig_event ev = {.kind = MIG_EV_QMP, .side = MIG_DST};
    pass_time();
    const uint64_t id = f.id[MIG_DST][QAPI_QUERY_STATUS];
    ck_assert_uint_ne(id, 0);
    ev.u.qmp.kind = QAPI_EVENT_RESUME;
    step(&ev);
    ev = (struct mig_event){.kind = MIG_EV_REPLY, .side = MIG_DST, .id = id};
    ev.u.reply.command = QAPI_QUERY_STATUS;
    ev.u.reply.u.run = QAPI_RUN_INMIGRATE;
    step(&ev);
    ck_assert_int_eq(f.m.side[MIG_DST].run, QAPI_RUN_RUNNING);
}
END_TEST

/* ---- the end ---- */

/* Handed over in post-copy, the destination has everything; the source was not told. */
static void lose_the_last_word(void)
{
    f.m.phase = MIG_POSTCOPY;
    f.m.continued = f.m.postcopy_asked = f.m.was_postcopy = f.m.handed_over = true;
    f.m.dst_conts = 1;
    f.m.side[MIG_SRC].run = QAPI_RUN_FINISH_MIGRATE;
    f.m.side[MIG_SRC].migrate.status = QAPI_MIG_POSTCOPY_ACTIVE;
    f.m.side[MIG_DST].run = QAPI_RUN_RUNNING;
    f.m.side[MIG_DST].migrate.status = QAPI_MIG_COMPLETED;
}

/* From 10.0 on: all was sent, the last word is lost, the connection breaks; QEMU fails the migration and runs
 * the source, which is old. The destination has run since. */
START_TEST(a_source_that_runs_again_after_the_handover_is_stopped)
{
    struct mig_event ev = {.kind = MIG_EV_QMP, .side = MIG_SRC};
    lose_the_last_word();
    f.m.guest_paused = _i == 1; /* before the switch; somebody has continued it since */
    become(MIG_SRC, QAPI_MIG_FAILED);
    ev.u.qmp = (struct qapi_event){.kind = QAPI_EVENT_RESUME};
    step(&ev);
    for (unsigned i = 0; i < 5 && f.id[MIG_SRC][QAPI_STOP] == 0; i++) {
        pass_time();
        answer_look(MIG_SRC, QAPI_RUN_RUNNING, QAPI_MIG_FAILED);
        answer_look(MIG_DST, QAPI_RUN_RUNNING, QAPI_MIG_COMPLETED);
    }
    ck_assert_uint_ne(f.id[MIG_SRC][QAPI_STOP], 0);
    ck_assert_uint_eq(f.id[MIG_DST][QAPI_STOP], 0);
    ev = (struct mig_event){
        .kind = MIG_EV_REPLY, .side = MIG_SRC, .id = f.id[MIG_SRC][QAPI_STOP]};
    ev.u.reply.command = QAPI_STOP;
    step(&ev);
    for (unsigned i = 0; i < 5 && f.m.phase != MIG_HELD; i++) {
        pass_time();
        answer_look(MIG_SRC, QAPI_RUN_PAUSED, QAPI_MIG_FAILED);
    }
    ck_assert_int_eq(f.m.phase, MIG_HELD);
    ck_assert_ptr_nonnull(strstr(f.m.reason, "was told to stop: source paused/failed"));
    ck_assert_uint_eq(f.id[MIG_SRC][QAPI_CONT], 0);
}
END_TEST

/* QEMU says it before it runs: 10.0 says failed, and RESUME 0.1 ms later; 11.1 says failing, RESUME, failed
 * (measured). Who asks meanwhile hears of a source that stands still. */
START_TEST(a_source_that_is_about_to_run_again_is_waited_for)
{
    const enum qapi_mig_status said = _i & 1 ? QAPI_MIG_FAILING : QAPI_MIG_FAILED;
    const bool sleeps = _i & 2;
    lose_the_last_word();
    become(MIG_SRC, said);
    answer_look(MIG_DST, QAPI_RUN_RUNNING, QAPI_MIG_COMPLETED);
    for (unsigned i = 0; i < 20; i++) {
        answer_look(MIG_SRC, QAPI_RUN_FINISH_MIGRATE, said);
        ck_assert_int_eq(f.m.phase, MIG_RECONCILE);
        ck_assert_uint_eq(f.id[MIG_SRC][QAPI_STOP], 0);
        for (unsigned ms = 0; ms < 10; ms++)
            pass_time();
    }
    answer_look(MIG_SRC, sleeps ? QAPI_RUN_SUSPENDED : QAPI_RUN_RUNNING, said);
    ck_assert_uint_ne(f.id[MIG_SRC][QAPI_STOP], 0);
}
END_TEST

/* The package was in that connection, and nowhere else. For ever would be too long, at once too soon: what was
 * closed may still be delivered. */
START_TEST(what_never_arrived_cannot_be_recovered)
{
    const bool is_in = _i == 1;
    const enum qapi_run_state run = is_in ? QAPI_RUN_PAUSED : QAPI_RUN_INMIGRATE;
    const enum qapi_mig_status status = is_in ? QAPI_MIG_POSTCOPY_PAUSED : QAPI_MIG_ACTIVE;
    f.m.phase = MIG_RECOVER;
    f.m.continued = f.m.postcopy_asked = f.m.was_postcopy = true;
    f.m.recover.since_ns = f.m.now_ns;
    f.m.side[MIG_SRC].run = QAPI_RUN_FINISH_MIGRATE;
    f.m.side[MIG_SRC].migrate.status = QAPI_MIG_POSTCOPY_PAUSED;
    f.m.side[MIG_DST].run = run;
    f.m.side[MIG_DST].migrate.status = status;
    for (unsigned s = 0; s < 250 && f.m.phase == MIG_RECOVER; s++) {
        f.m.now_ns += QF_NS_PER_S;
        pass_time();
        answer_look(MIG_SRC, QAPI_RUN_FINISH_MIGRATE, QAPI_MIG_POSTCOPY_PAUSED);
        answer_look(MIG_DST, run, status);
        ck_assert(f.m.phase != MIG_HELD || s > 190);
    }
    ck_assert_int_eq(f.m.phase == MIG_HELD, !is_in);
    if (!is_in)
        ck_assert_ptr_nonnull(
            strstr(f.m.reason, "before the destination had the device state"));
}
END_TEST

/* What the destination has to say of it does not matter: it was told to run the guest. */
START_TEST(the_stop_of_a_source_does_not_wait_for_the_destination)
{
    lose_the_last_word();
    f.m.self_start = _i == 1;
    become(MIG_SRC, QAPI_MIG_FAILED);
    answer_look(MIG_SRC, QAPI_RUN_RUNNING, QAPI_MIG_FAILED);
    ck_assert_uint_ne(f.id[MIG_SRC][QAPI_STOP], 0);
}
END_TEST

/* One that was taken up has been handed over by another qferry: it was seen to run. Seen paused, it may wait
 * for its first cont, and the source's copy be the good one. */
START_TEST(the_source_of_a_move_taken_up_is_stopped_where_the_destination_runs)
{
    const bool runs = _i == 1;
    lose_the_last_word();
    f.m.taken_up = f.m.was_postcopy = true;
    f.m.dst_conts = 0;
    f.m.side[MIG_DST].run = runs ? QAPI_RUN_RUNNING : QAPI_RUN_PAUSED;
    become(MIG_SRC, QAPI_MIG_FAILED);
    answer_look(MIG_SRC, QAPI_RUN_RUNNING, QAPI_MIG_FAILED);
    ck_assert_int_eq(f.id[MIG_SRC][QAPI_STOP] != 0, runs);
}
END_TEST

/* Its disks, say, are the source's again: then that one has the guest, and is not left stopped. */
START_TEST(a_source_that_was_stopped_runs_on_where_the_destination_refuses)
{
    struct mig_event ev = {.kind = MIG_EV_QMP, .side = MIG_SRC};
    lose_the_last_word();
    f.m.phase = MIG_POSTCOPY;
    f.m.handed_over = false;
    f.m.dst_conts = 0;
    f.m.side[MIG_DST].run = QAPI_RUN_PAUSED;
    f.m.side[MIG_DST].migrate.status = QAPI_MIG_POSTCOPY_ACTIVE;
    pass_time();
    answer_look(MIG_DST, QAPI_RUN_PAUSED, QAPI_MIG_POSTCOPY_ACTIVE);
    ck_assert_uint_ne(f.id[MIG_DST][QAPI_CONT], 0);
    become(MIG_SRC, QAPI_MIG_FAILED);
    answer_look(MIG_SRC, QAPI_RUN_RUNNING, QAPI_MIG_FAILED);
    ck_assert_uint_ne(f.id[MIG_SRC][QAPI_STOP], 0);
    ev = (struct mig_event){
        .kind = MIG_EV_REPLY, .side = MIG_DST, .id = f.id[MIG_DST][QAPI_CONT]};
    ev.u.reply.command = QAPI_CONT;
    ev.u.reply.refused = true;
    step(&ev);
    for (unsigned i = 0; i < 9 && f.m.phase == MIG_RECONCILE; i++) {
        answer_look(MIG_SRC, QAPI_RUN_PAUSED, QAPI_MIG_FAILED);
        if (f.m.phase == MIG_RECONCILE)
            answer_look(MIG_DST, QAPI_RUN_PAUSED, QAPI_MIG_POSTCOPY_ACTIVE);
        pass_time();
    }
    ck_assert_int_eq(f.m.phase, MIG_ROLLBACK);
}
END_TEST

/* ... nor for what is tidied up after it. */
START_TEST(a_source_that_runs_again_while_it_is_tidied_up_is_stopped)
{
    lose_the_last_word();
    f.m.phase = MIG_FINISH;
    f.m.stage = 1 + (unsigned)_i; /* CONT, GATE, TIDY, LOOK, QUIT: phase_finish.c */
    f.m.src_left = true;
    become(MIG_SRC, QAPI_MIG_FAILED);
    answer_look(MIG_SRC, QAPI_RUN_RUNNING, QAPI_MIG_FAILED);
    ck_assert_uint_ne(f.id[MIG_SRC][QAPI_STOP], 0);
}
END_TEST

/* It would run when its connection breaks, and nobody would see that any more. */
START_TEST(a_source_that_might_run_again_is_not_left_behind)
{
    static const struct {
        unsigned major;
        enum qapi_mig_status status;
        bool was_stopped;
        bool quits;
    } left[] = {{10, QAPI_MIG_POSTCOPY_ACTIVE, false, true},
                {10, QAPI_MIG_POSTCOPY_ACTIVE, true, false},
                {10, QAPI_MIG_COMPLETED, false, false},
                {7, QAPI_MIG_POSTCOPY_ACTIVE, false, false}};
    lose_the_last_word();
    f.m.phase = MIG_FINISH;
    f.m.stage = 4; /* LOOK */
    f.m.src_left = true;
    f.m.side[MIG_SRC].version.major = left[_i].major;
    f.m.guest_paused = left[_i].was_stopped;
    f.m.side[MIG_SRC].migrate.status = left[_i].status;
    if (left[_i].status == QAPI_MIG_COMPLETED)
        f.m.side[MIG_SRC].run = QAPI_RUN_POSTMIGRATE;
    pass_time();
    answer_look(MIG_SRC, f.m.side[MIG_SRC].run, left[_i].status);
    answer_look(MIG_DST, QAPI_RUN_RUNNING, QAPI_MIG_COMPLETED);
    ck_assert_int_eq(f.id[MIG_SRC][QAPI_QUIT] != 0, left[_i].quits);
    ck_assert_int_eq(f.m.phase, left[_i].quits ? MIG_FINISH : MIG_DONE);
}
END_TEST

/* ... and one that was stopped before the switch fails at the last word, and stays down: the destination has the
 * guest. What was changed on the source is put back when its QEMU has cleaned up. */
START_TEST(a_source_that_stays_down_is_tidied_up_behind_the_gate)
{
    struct mig_event ev = {.kind = MIG_EV_REPLY, .side = MIG_SRC};
    const enum qapi_mig_status said = _i == 0 ? QAPI_MIG_FAILED : QAPI_MIG_FAILING;
    configure_adopt(&f.m);
    lose_the_last_word();
    f.m.guest_paused = true;
    f.m.side[MIG_SRC].params_changed = 1U << QAPI_PARAM_DOWNTIME_LIMIT;
    f.m.side[MIG_SRC].params_found.has = 1U << QAPI_PARAM_DOWNTIME_LIMIT;
    become(MIG_SRC, said);
    for (unsigned i = 0; i < 9 && f.id[MIG_SRC][QAPI_QUERY_YANK] == 0; i++) {
        if (f.m.phase == MIG_RECONCILE || f.m.phase == MIG_FINISH) {
            answer_look(MIG_SRC, QAPI_RUN_PAUSED, said);
            answer_look(MIG_DST, QAPI_RUN_RUNNING, QAPI_MIG_COMPLETED);
        }
        pass_time();
    }
    ck_assert_int_eq(f.m.phase, MIG_FINISH);
    ck_assert_uint_ne(f.id[MIG_SRC][QAPI_QUERY_YANK], 0);
    ck_assert_uint_eq(f.id[MIG_SRC][QAPI_SET_PARAMS], 0);
    ev.id = f.id[MIG_SRC][QAPI_QUERY_YANK];
    ev.u.reply.command = QAPI_QUERY_YANK;
    step(&ev);
    ck_assert_uint_ne(f.id[MIG_SRC][QAPI_SET_PARAMS], 0);
    ck_assert_uint_eq(f.id[MIG_SRC][QAPI_STOP], 0);
    ck_assert_uint_eq(f.id[MIG_SRC][QAPI_CONT], 0);
}
END_TEST

/* ... or never has: then what was changed there stays, and it is said. */
START_TEST(a_gate_that_stays_shut_does_not_hold_up_the_end)
{
    lose_the_last_word();
    configure_adopt(&f.m);
    f.m.guest_paused = true;
    f.m.phase = MIG_FINISH;
    f.m.stage = 2; /* GATE */
    f.m.side[MIG_SRC].migrate.status = QAPI_MIG_FAILED;
    f.m.side[MIG_SRC].run = QAPI_RUN_PAUSED;
    f.m.side[MIG_SRC].params_found.has = 1U << QAPI_PARAM_DOWNTIME_LIMIT;
    f.m.side[MIG_SRC].params_changed = 1U << QAPI_PARAM_DOWNTIME_LIMIT;
    for (unsigned s = 0; s < 70 && f.m.stage == 2; s++) {
        f.m.now_ns += QF_NS_PER_S;
        pass_time();
    }
    ck_assert_uint_eq(f.m.stage, 4); /* LOOK */
    ck_assert_uint_eq(f.id[MIG_SRC][QAPI_SET_PARAMS], 0);
}
END_TEST

/* What it has sent may be in the network still: it arrives, is lost, or is waited for no longer. */
START_TEST(what_a_source_that_failed_has_sent_is_waited_for)
{
    static const enum qapi_mig_status then[] = {
        QAPI_MIG_COMPLETED, QAPI_MIG_POSTCOPY_PAUSED, QAPI_MIG_POSTCOPY_ACTIVE};
    lose_the_last_word();
    f.m.guest_paused = true;
    f.m.side[MIG_DST].migrate.status = QAPI_MIG_POSTCOPY_ACTIVE;
    become(MIG_SRC, QAPI_MIG_FAILED);
    ck_assert_int_eq(f.m.phase, MIG_RECONCILE);
    answer_look(MIG_SRC, QAPI_RUN_PAUSED, QAPI_MIG_FAILED);
    answer_look(MIG_DST, QAPI_RUN_RUNNING, QAPI_MIG_POSTCOPY_ACTIVE);
    ck_assert_int_eq(f.m.phase, MIG_POSTCOPY);
    for (unsigned s = 0; s < 190; s++) {
        f.m.now_ns += QF_NS_PER_S;
        pass_time();
        answer_look(MIG_DST, QAPI_RUN_RUNNING, QAPI_MIG_POSTCOPY_ACTIVE);
        ck_assert_int_eq(f.m.phase, MIG_POSTCOPY);
    }
    become(MIG_DST, then[_i]);
    for (unsigned i = 0; i < 20 && f.m.phase == MIG_POSTCOPY; i++) {
        f.m.now_ns += QF_NS_PER_S;
        pass_time();
        if (f.m.phase == MIG_POSTCOPY)
            answer_look(MIG_DST, QAPI_RUN_RUNNING, then[_i]);
    }
    if (f.m.phase == MIG_RECONCILE) {
        answer_look(MIG_SRC, QAPI_RUN_PAUSED, QAPI_MIG_FAILED);
        answer_look(MIG_DST, QAPI_RUN_RUNNING, then[_i]);
    }
    ck_assert_int_eq(f.m.phase, _i == 0 ? MIG_FINISH : MIG_HELD);
    if (_i == 1)
        ck_assert_ptr_nonnull(strstr(f.m.reason, "has not got all memory"));
    if (_i == 2)
        ck_assert_ptr_nonnull(
            strstr(f.m.reason, "does not say that it has got everything"));
}
END_TEST

/* The link broke before QEMU had read them: the guest runs, and nothing would ever stop it again. */
START_TEST(a_stop_that_was_lost_is_said_again)
{
    f.m.side[MIG_SRC].version.major = 10;
    f.m.side[MIG_SRC].caps_changed = QAPI_CAP_BIT(POSTCOPY_RAM);
    f.m.phase = MIG_RECONCILE;
    f.m.guest_paused = f.m.postcopy_asked = true;
    policy_stopped(&f.m.policy_run, f.m.now_ns);
    f.m.policy_run.timeout_used = true;
    f.m.memory_ns = f.m.now_ns - 60 * QF_NS_PER_S;
    pass_time();
    answer_look(MIG_SRC, QAPI_RUN_RUNNING, QAPI_MIG_ACTIVE);
    answer_look(MIG_DST, QAPI_RUN_INMIGRATE, QAPI_MIG_ACTIVE);
    ck_assert_int_eq(f.m.phase, MIG_PRECOPY);
    for (unsigned i = 0; i < 30 && f.id[MIG_SRC][QAPI_STOP] == 0;
         i++) { /* a round of pages */
        f.m.now_ns += qf_ms_to_ns(10);
        pass_time();
        answer_look(MIG_SRC, QAPI_RUN_RUNNING, QAPI_MIG_ACTIVE);
    }
    ck_assert_uint_ne(f.id[MIG_SRC][QAPI_STOP], 0);
    ck_assert_uint_gt(f.id[MIG_SRC][QAPI_MIGRATE_START_POSTCOPY], f.id[MIG_SRC][QAPI_STOP]);
    ck_assert(!f.m.policy_run.paused); /* it decides again */
    ck_assert(!f.m.policy_run.timeout_used);
}
END_TEST

/* Events, and what was known before, are not enough: both sides are asked, and both have answered. */
START_TEST(cont_waits_for_the_answers_of_both_sides)
{
    const enum mig_side_id first = _i ? MIG_DST : MIG_SRC;
    const enum mig_side_id second = _i ? MIG_SRC : MIG_DST;
    static const enum qapi_run_state run[] = {QAPI_RUN_POSTMIGRATE, QAPI_RUN_PAUSED};
    f.m.phase = MIG_FINISH;
    f.m.continued = true;
    for (unsigned i = 0; i < MIG_SIDES; i++) {
        f.m.side[i].run = run[i];
        f.m.side[i].migrate.status = QAPI_MIG_COMPLETED;
    }
    pass_time();
    ck_assert_uint_eq(f.id[MIG_DST][QAPI_CONT], 0);
    answer_look(first, run[first], QAPI_MIG_COMPLETED);
    pass_time();
    ck_assert_uint_eq(f.id[MIG_DST][QAPI_CONT], 0);
    /* its answers come in any order with the timer's looks */
    answer_look(second, run[second], QAPI_MIG_COMPLETED);
    if (f.id[MIG_DST][QAPI_CONT] == 0)
        answer_look(first, run[first], QAPI_MIG_COMPLETED);
    ck_assert_uint_ne(f.id[MIG_DST][QAPI_CONT], 0);
    ck_assert_uint_eq(f.id[MIG_SRC][QAPI_CONT], 0);
}
END_TEST

/* The source is done, the destination takes the last of it in, or says nothing of the kind. */
START_TEST(a_completed_source_alone_is_no_success)
{
    static const enum qapi_mig_status status[] = {QAPI_MIG_ACTIVE, QAPI_MIG_NONE,
                                                  QAPI_MIG_FAILED};
    f.m.phase = MIG_FINISH;
    f.m.continued = true;
    f.m.side[MIG_SRC].run = QAPI_RUN_POSTMIGRATE;
    f.m.side[MIG_SRC].migrate.status = QAPI_MIG_COMPLETED;
    pass_time();
    answer_look(MIG_SRC, QAPI_RUN_POSTMIGRATE, QAPI_MIG_COMPLETED);
    answer_look(MIG_DST, QAPI_RUN_INMIGRATE, status[_i]);
    ck_assert_uint_eq(f.id[MIG_DST][QAPI_CONT], 0);
    ck_assert(!f.m.handed_over);
    ck_assert_int_ne(f.m.phase, MIG_DONE);
}
END_TEST

/* ---- a cancel and post-copy ---- */

/* A move that is given up for another reason: the destination's monitor is lost, say. */
START_TEST(no_cancel_leaves_once_post_copy_was_asked_for)
{
    const bool continued = _i == 1;
    f.m.phase = MIG_ROLLBACK;
    f.m.postcopy_asked = true;
    f.m.has_reason = true;
    pass_time();
    answer_look(MIG_DST, QAPI_RUN_INMIGRATE, QAPI_MIG_ACTIVE);
    answer_look(MIG_SRC, QAPI_RUN_RUNNING, QAPI_MIG_ACTIVE);
    ck_assert_uint_eq(f.id[MIG_SRC][QAPI_MIGRATE_CANCEL], 0);
    f.m.continued = continued;
    become(MIG_SRC, QAPI_MIG_PRE_SWITCHOVER);
    pass_time();
    answer_look(MIG_DST, QAPI_RUN_INMIGRATE, QAPI_MIG_ACTIVE);
    answer_look(MIG_SRC, QAPI_RUN_FINISH_MIGRATE, QAPI_MIG_PRE_SWITCHOVER);
    ck_assert_int_eq(f.id[MIG_SRC][QAPI_MIGRATE_CANCEL] != 0, !continued);
}
END_TEST

/* A wish to cancel is kept until the switch, and refused in it. */
START_TEST(a_cancel_towards_post_copy_waits_and_is_then_refused)
{
    f.m.postcopy_asked = true;
    step(&(struct mig_event){.kind = MIG_EV_CANCEL});
    ck_assert_int_eq(f.m.phase, MIG_PRECOPY);
    ck_assert(f.m.cancel_wanted);
    f.m.phase = MIG_SWITCHOVER;
    f.m.continued = true;
    f.m.side[MIG_SRC].run = QAPI_RUN_FINISH_MIGRATE;
    become(MIG_SRC, QAPI_MIG_DEVICE);
    ck_assert_int_eq(f.m.phase, MIG_SWITCHOVER);
    ck_assert(!f.m.cancel_wanted);
    ck_assert(!f.m.has_reason);
    ck_assert_uint_eq(f.id[MIG_SRC][QAPI_MIGRATE_CANCEL], 0);
}
END_TEST

/* ---- an earlier migration ---- */

static void answer_yank(bool is_there)
{
    struct mig_event ev = {.kind = MIG_EV_REPLY, .side = MIG_SRC};
    ck_assert_uint_ne(f.id[MIG_SRC][QAPI_QUERY_YANK], 0);
    ev.id = f.id[MIG_SRC][QAPI_QUERY_YANK];
    ev.u.reply.command = QAPI_QUERY_YANK;
    ev.u.reply.u.yank_migration = is_there;
    f.id[MIG_SRC][QAPI_QUERY_YANK] = 0;
    step(&ev);
}

/* One that somebody has begun, and that has failed a moment ago. */
START_TEST(nothing_is_set_before_an_earlier_failure_is_cleaned_up)
{
    f.m.phase = MIG_PREFLIGHT;
    f.m.started = f.m.incoming_asked = false;
    f.m.judged = true;
    f.m.side[MIG_SRC].migrate.status = _i ? QAPI_MIG_CANCELLED : QAPI_MIG_FAILED;
    f.m.side[MIG_DST].migrate.status = QAPI_MIG_NONE;
    for (unsigned i = 0; i < 3; i++) {
        for (unsigned ms = 0; ms < 20; ms++)
            pass_time();
        ck_assert_int_eq(f.m.phase, MIG_PREFLIGHT);
        answer_yank(true);
    }
    for (unsigned ms = 0; ms < 20; ms++)
        pass_time();
    ck_assert_int_eq(f.m.phase, MIG_PREFLIGHT);
    answer_yank(false);
    ck_assert_int_ne(f.m.phase, MIG_PREFLIGHT);
    ck_assert(!f.m.has_reason);
}
END_TEST

/* Cancelled while it was connecting: 10.0 says cancelled at once, and query-yank lists it until connect() has
 * ended, 135 s later (measured). The guest runs meanwhile. */
START_TEST(a_connect_that_was_cancelled_is_waited_for_behind_the_gate)
{
    enum { GATE = 1 }; /* phase_rollback.c */
    f.m.phase = MIG_ROLLBACK;
    f.m.stage = GATE;
    f.m.has_reason = true;
    f.m.channels = _i & 1 ? 4 : 0;
    f.m.memory_ns = _i & 2 ? f.m.now_ns : 0;
    f.m.side[MIG_SRC].migrate.status = QAPI_MIG_CANCELLED;
    f.m.side[MIG_DST].migrate.status = QAPI_MIG_SETUP;
    for (unsigned s = 0; s < 150 && f.m.stage == GATE && f.m.phase == MIG_ROLLBACK; s++) {
        f.m.now_ns += QF_NS_PER_S;
        pass_time();
        if (f.m.stage == GATE && f.m.phase == MIG_ROLLBACK)
            answer_yank(true);
    }
    /* once memory has moved it was connected */
    ck_assert_int_eq(f.m.phase == MIG_ROLLBACK && f.m.stage == GATE, !(_i & 2));
    if (_i & 2)
        return;
    f.m.now_ns += QF_NS_PER_S;
    pass_time();
    answer_yank(false);
    ck_assert_int_eq(f.m.phase, MIG_ROLLBACK);
    ck_assert_uint_gt(f.m.stage, GATE);
}
END_TEST

/* ---- networks ---- */

/* The first word decides, and stands in the journal; another one, of a question that was asked late,
 * changes nothing. */
START_TEST(the_network_is_decided_once)
{
    static const struct netsel_facts nothing;
    f.m.phase = MIG_CONNECT;
    f.m.started = false;
    f.m.side[MIG_SRC].link = f.m.side[MIG_DST].link = MIG_LINK_OPENING;
    f.m.spec.networks.n = 2;
    f.m.network_known = true;
    f.m.network = (struct netsel_choice){.n = 2, .chosen = 1};
    step(&(struct mig_event){.kind = MIG_EV_NETWORK, .u.network = &nothing});
    ck_assert_int_eq(f.m.phase, MIG_CONNECT);
    ck_assert_uint_eq(f.m.network.n, 2);
    ck_assert_int_eq(f.m.network.chosen, 1);
}
END_TEST

/* Not beside one that may yet run the guest: it is dead, or cannot have got the device state. */
START_TEST(a_fresh_destination_waits_for_the_death_of_the_old_one)
{
    enum { QUIT = 1 }; /* phase_again.c */
    const bool gone = _i % 2;
    const bool continued = _i / 2;
    bool is_started = false;
    f.m.phase = MIG_AGAIN;
    f.m.stage = QUIT;
    f.m.has_reason = f.m.network_known = f.m.next_known = true;
    f.m.continued = continued;
    f.m.side[MIG_SRC].migrate.status = QAPI_MIG_FAILED;
    f.m.side[MIG_DST].link = MIG_LINK_DOWN;
    f.m.side[MIG_DST].gone = gone;
    pass_time();
    for (unsigned i = 0; i < f.todo.n; i++)
        is_started = is_started || f.todo.item[i].kind == MIG_DO_RESTART;
    ck_assert_int_eq(is_started, gone || !continued);
}
END_TEST

/* ---- ports of a recovery ---- */

static void interrupt(void)
{
    f.m.phase = MIG_RECOVER;
    f.m.continued = f.m.postcopy_asked = f.m.handed_over = true;
    f.m.side[MIG_SRC].run = QAPI_RUN_FINISH_MIGRATE;
    f.m.side[MIG_DST].run = QAPI_RUN_RUNNING;
    for (unsigned i = 0; i < MIG_SIDES; i++)
        f.m.side[i].migrate.status = f.m.recover.was[i] = QAPI_MIG_POSTCOPY_PAUSED;
}

static bool listens_again(void)
{
    f.todo.n = 0;
    recover_listen(&f.m, &f.todo);
    return is_sent();
}

/* Of two ports: the other one, then none, until the kernel must have given up; one that is known to have
 * failed at once. */
START_TEST(a_port_to_which_a_connection_may_come_is_not_used_again)
{
    interrupt();
    f.m.spec.port_first = 5000;
    f.m.spec.port_last = 5001;
    ck_assert(listens_again());
    const uint16_t first = f.m.recover.port;
    recover_expect_connection(&f.m);
    ck_assert(listens_again());
    ck_assert_uint_ne(f.m.recover.port, first);
    recover_expect_connection(&f.m);
    ck_assert(!listens_again());
    f.m.now_ns += qf_ms_to_ns(RECOVER_SYN_MS) - 1;
    ck_assert(!listens_again());
    f.m.now_ns += 1;
    ck_assert(listens_again());
    recover_expect_connection(&f.m);
    ck_assert(listens_again());
    recover_expect_connection(&f.m);
    recover_free_port(&f.m);
    ck_assert(listens_again());
}
END_TEST

/* From the moment when the source is told to. */
START_TEST(a_resume_may_bring_a_connection_to_its_port)
{
    interrupt();
    f.m.spec.port_first = f.m.spec.port_last = 5000;
    f.m.stage = SETTLE;
    f.m.recover.port = 5000;
    ck_assert(listens_again());
    f.m.stage = SETTLE;
    pass_time();
    ck_assert_uint_ne(f.id[MIG_SRC][QAPI_MIGRATE_RESUME], 0);
    ck_assert(!listens_again());
}
END_TEST

/* ---- capabilities ---- */

static bool is_on(const struct qapi_cmd *cmd, uint64_t bit)
{
    return (cmd->u.caps.mask & cmd->u.caps.on & bit) != 0;
}

/* Whatever preflight has made of the wishes: CONFIGURE never turns both on in a QEMU whose word for
 * it does not count. */
START_TEST(channels_and_post_copy_are_never_turned_on_together_on_7_2)
{
    const uint64_t all = (UINT64_C(1) << QAPI_CAP_COUNT) - 1;
    const uint64_t old = all & ~QAPI_CAP_BIT(MAPPED_RAM);
    f.m.policy.postcopy_allowed = true;
    f.m.channels = 4;
    for (unsigned pair = 0; pair < 4; pair++) {
        f.m.side[MIG_SRC].caps_found.offered = pair & 1 ? all : old;
        f.m.side[MIG_DST].caps_found.offered = pair & 2 ? all : old;
        for (unsigned i = 0; i < MIG_SIDES; i++) {
            struct qapi_cmd cmd = {.command = QAPI_COMMAND_COUNT};
            ck_assert(configure_ask_caps(&f.m, (enum mig_side_id)i, &cmd));
            ck_assert(is_on(&cmd, QAPI_CAP_BIT(MULTIFD)));
            ck_assert_int_eq(is_on(&cmd, QAPI_CAP_BIT(POSTCOPY_RAM)), pair == 3);
            ck_assert(!is_on(&cmd, QAPI_CAP_BIT(POSTCOPY_PREEMPT)));
        }
    }
}
END_TEST

/* Whatever was found there, and whatever the policy. */
START_TEST(a_safe_switch_is_always_asked_for)
{
    const uint64_t needed =
        QAPI_CAP_BIT(RETURN_PATH) | QAPI_CAP_BIT(PAUSE_BEFORE_SWITCHOVER);
    f.m.policy.postcopy_allowed = _i & 1;
    f.m.channels = _i & 2 ? 4 : 0;
    f.m.self_start = _i & 4;
    f.m.side[MIG_SRC].caps_found.offered = (UINT64_C(1) << QAPI_CAP_COUNT) - 1;
    struct qapi_cmd cmd = {.command = QAPI_COMMAND_COUNT};
    ck_assert(configure_ask_caps(&f.m, MIG_SRC, &cmd));
    ck_assert_int_eq(cmd.command, QAPI_SET_CAPS);
    ck_assert((cmd.u.caps.mask & cmd.u.caps.on & needed) == needed);
}
END_TEST

/* Somebody has begun it without: then its switch is not safe, and it is not ours to end. */
START_TEST(a_move_without_a_safe_switch_is_not_taken_up)
{
    const uint64_t needed =
        QAPI_CAP_BIT(RETURN_PATH) | QAPI_CAP_BIT(PAUSE_BEFORE_SWITCHOVER);
    f.m.phase = MIG_PREFLIGHT;
    f.m.started = false;
    f.m.side[MIG_SRC].caps_found.on = (UINT64_C(1) << QAPI_CAP_COUNT) - 1;
    ck_assert(preflight_is_ours(&f.m));
    f.m.side[MIG_SRC].caps_found.on &= _i ? ~QAPI_CAP_BIT(RETURN_PATH) : ~needed;
    ck_assert(!preflight_is_ours(&f.m));
    f.m.side[MIG_SRC].caps_found.on = ~QAPI_CAP_BIT(PAUSE_BEFORE_SWITCHOVER);
    ck_assert(!preflight_is_ours(&f.m));
}
END_TEST

/* What somebody has left on would go over to the stream: with channels, on machines of 7.2, a deadlock. */
START_TEST(preempt_is_turned_off_on_both_sides)
{
    for (unsigned i = 0; i < MIG_SIDES; i++) {
        struct qapi_cmd cmd = {.command = QAPI_COMMAND_COUNT};
        f.m.side[i].caps_found.offered = (UINT64_C(1) << QAPI_CAP_COUNT) - 1;
        f.m.side[i].caps_found.on = QAPI_CAP_BIT(POSTCOPY_PREEMPT);
        ck_assert(configure_ask_caps(&f.m, (enum mig_side_id)i, &cmd));
        ck_assert(cmd.u.caps.mask & QAPI_CAP_BIT(POSTCOPY_PREEMPT));
        ck_assert(!is_on(&cmd, QAPI_CAP_BIT(POSTCOPY_PREEMPT)));
    }
}
END_TEST

/* ---- the destination after a move that came to nothing ---- */

static bool is_noted(const char *text)
{
    for (unsigned i = 0; i < f.todo.n; i++)
        if (f.todo.item[i].kind == MIG_DO_RECORD &&
            f.todo.item[i].u.record.kind == RECORD_NOTE &&
            strstr(f.todo.item[i].u.record.u.text, text))
            return true;
    return false;
}

/* Channels that are asked for must be known before it listens: the same command would be refused. */
START_TEST(the_same_command_is_offered_where_it_can_be_given_again)
{
    struct mig_event ev = {.kind = MIG_EV_REPLY, .side = MIG_SRC};
    f.m.phase = MIG_ROLLBACK;
    f.m.stage = 4; /* CHECK: phase_rollback.c */
    f.m.has_reason = true;
    f.m.channels_asked = _i == 1;
    f.m.channels = _i == 1 ? 4 : 0;
    f.m.no_again = _i == 2; /* the source's QEMU migrates still, for all that is known */
    pass_time();
    answer_look(MIG_SRC, QAPI_RUN_RUNNING, QAPI_MIG_FAILED);
    ev.side = MIG_DST;
    ev.id = f.id[MIG_DST][QAPI_QUERY_STATUS];
    ev.u.reply.command = QAPI_QUERY_STATUS;
    ev.u.reply.u.run = QAPI_RUN_INMIGRATE;
    step(&ev);
    ev = (struct mig_event){
        .kind = MIG_EV_REPLY, .side = MIG_DST, .id = f.id[MIG_DST][QAPI_QUERY_MIGRATE]};
    ev.u.reply.command = QAPI_QUERY_MIGRATE;
    ev.u.reply.u.migrate.status = QAPI_MIG_SETUP;
    strcpy(ev.u.reply.u.migrate.listen_host, "192.0.2.7");
    strcpy(ev.u.reply.u.migrate.listen_port, "4444");
    step(&ev);
    ck_assert_int_eq(f.m.phase, MIG_FAILED);
    ck_assert_int_eq(is_noted("the same command may be given again"), _i == 0);
    ck_assert_int_eq(is_noted("without channels, or start it anew"), _i == 1);
}
END_TEST

/* ---- deadlines ---- */

START_TEST(every_command_has_a_deadline)
{
    for (unsigned c = 0; c < QAPI_COMMAND_COUNT; c++) {
        const uint32_t ms = mig_ask_deadline_ms((enum qapi_command)c);
        ck_assert_msg(ms >= 1000 && ms <= 60000, "%s: %u ms",
                      qapi_command_name((enum qapi_command)c), ms);
    }
}
END_TEST

/* ---- who is dead ---- */

/* The end of a monitor alone is none; the kernel's word is, and QEMU's own. */
START_TEST(a_lost_monitor_is_no_death)
{
    static const struct {
        bool gone;
        const char *said; /* SHUTDOWN's reason before it; NULL: none */
        bool dead;
    } ends[] = {{false, NULL, false},
                {true, NULL, true},
                {false, "host-qmp-quit", true},
                {false, "host-signal", true},
                {false, "guest-shutdown", false}};
    for (unsigned i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        setup();
        struct mig_event ev = {.kind = MIG_EV_QMP, .side = MIG_DST};
        ev.u.qmp.kind = QAPI_EVENT_SHUTDOWN;
        if (ends[i].said) {
            strcpy(ev.u.qmp.reason, ends[i].said);
            step(&ev);
        }
        ev = (struct mig_event){.kind = MIG_EV_DOWN, .side = MIG_DST};
        ev.u.down.gone = ends[i].gone;
        step(&ev);
        ck_assert_msg(f.m.side[MIG_DST].gone == ends[i].dead, "%u", i);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("law");
    TCase *t = tcase_create("law");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, a_device_that_goes_ends_the_move, 0, 4);
    tcase_add_test(t, a_device_that_goes_after_the_switch_does_not);
    tcase_add_test(t, what_the_owner_does_not_allow_is_not_sent);
    tcase_add_test(t, an_answer_that_is_older_than_resume_does_not_take_it_back);
    tcase_add_loop_test(t, a_fresh_destination_waits_for_the_death_of_the_old_one, 0, 4);
    tcase_add_test(t, a_port_to_which_a_connection_may_come_is_not_used_again);
    tcase_add_test(t, a_resume_may_bring_a_connection_to_its_port);
    tcase_add_loop_test(t, a_move_without_a_safe_switch_is_not_taken_up, 0, 2);
    tcase_add_loop_test(t, cont_waits_for_the_answers_of_both_sides, 0, 2);
    tcase_add_loop_test(t, a_completed_source_alone_is_no_success, 0, 3);
    tcase_add_loop_test(t, a_safe_switch_is_always_asked_for, 0, 8);
    tcase_add_test(t, a_cancel_towards_post_copy_waits_and_is_then_refused);
    tcase_add_loop_test(t, a_source_that_runs_again_after_the_handover_is_stopped, 0, 2);
    tcase_add_loop_test(t, a_source_that_is_about_to_run_again_is_waited_for, 0, 4);
    tcase_add_loop_test(t, what_never_arrived_cannot_be_recovered, 0, 2);
    tcase_add_loop_test(t, the_stop_of_a_source_does_not_wait_for_the_destination, 0, 2);
    tcase_add_loop_test(
        t, the_source_of_a_move_taken_up_is_stopped_where_the_destination_runs, 0, 2);
    tcase_add_test(t, a_source_that_was_stopped_runs_on_where_the_destination_refuses);
    tcase_add_loop_test(t, a_source_that_runs_again_while_it_is_tidied_up_is_stopped, 0, 5);
    tcase_add_loop_test(t, a_source_that_might_run_again_is_not_left_behind, 0, 4);
    tcase_add_test(t, a_stop_that_was_lost_is_said_again);
    tcase_add_loop_test(t, a_source_that_stays_down_is_tidied_up_behind_the_gate, 0, 2);
    tcase_add_test(t, a_gate_that_stays_shut_does_not_hold_up_the_end);
    tcase_add_loop_test(t, what_a_source_that_failed_has_sent_is_waited_for, 0, 3);
    tcase_add_loop_test(t, no_cancel_leaves_once_post_copy_was_asked_for, 0, 2);
    tcase_add_loop_test(t, nothing_is_set_before_an_earlier_failure_is_cleaned_up, 0, 2);
    tcase_add_loop_test(t, a_connect_that_was_cancelled_is_waited_for_behind_the_gate, 0,
                        4);
    tcase_add_test(t, the_network_is_decided_once);
    tcase_add_test(t, channels_and_post_copy_are_never_turned_on_together_on_7_2);
    tcase_add_test(t, preempt_is_turned_off_on_both_sides);
    tcase_add_loop_test(t, the_same_command_is_offered_where_it_can_be_given_again, 0, 3);
    tcase_add_test(t, every_command_has_a_deadline);
    tcase_add_test(t, a_lost_monitor_is_no_death);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

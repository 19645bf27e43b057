/* The guest that is stopped before the switch to post-copy: what is older than the stop is not taken for newer,
 * who runs again is seen to, and nobody stands still for a switch that does not come. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "engine/mig_priv.h"
#include "policy/policy_json.h"
#include "tests/unit/fed.h"

/* PRECOPY on 10.0; the guest runs, and post-copy is possible. */
static void setup(void)
{
    const struct mig_spec spec = {.source = "/s", .destination = "/d"};
    static struct policy policy;
    memset(&f, 0, sizeof(f));
    ck_assert_int_eq(policy_preset_load("post-copy", &policy, NULL), 0);
    policy.n_steps = 0;
    mig_init(&f.m, &spec, &policy);
    f.m.phase = MIG_PRECOPY;
    f.m.now_ns = f.m.phase_ns = f.m.migrate_ns = f.m.memory_ns = QF_NS_PER_S;
    f.m.started = f.m.guest_ran = true;
    for (unsigned i = 0; i < MIG_SIDES; i++) {
        f.m.side[i].link = MIG_LINK_UP;
        f.m.side[i].migrate.status = QAPI_MIG_ACTIVE;
        f.m.side[i].caps_changed = QAPI_CAP_BIT(POSTCOPY_RAM);
    }
    f.m.side[MIG_SRC].version.major = 10;
    f.m.side[MIG_SRC].run = QAPI_RUN_RUNNING;
    f.m.side[MIG_DST].run = QAPI_RUN_INMIGRATE;
    f.m.side[MIG_SRC].migrate.has_ram = true;
    f.m.side[MIG_SRC].migrate.bandwidth_bytes_per_s = 100 * QF_MIB;
    f.m.side[MIG_SRC].params_found.has = (1U << QAPI_PARAM_COUNT) - 1;
}

static void teardown(void)
{
}

/* Nothing is waited for (mig_round.c). */
static void end_round(void)
{
    f.m.round = (struct mig_round){.since_ns = 1, .due_ns = 1};
}

static void ask_for_postcopy(void)
{
    end_round();
    struct mig_event ev = {.kind = MIG_EV_OPERATOR};
    ev.u.op.kind = MIG_OPERATOR_POSTCOPY;
    step(&ev);
    ck_assert(f.m.guest_paused);
    ck_assert_uint_ne(f.id[MIG_SRC][QAPI_STOP], 0);
    ck_assert_uint_ne(f.id[MIG_SRC][QAPI_MIGRATE_START_POSTCOPY], 0);
}

/* The answer to what was asked last; ev->u.reply has the rest. */
static void reply(struct mig_event *ev, enum mig_side_id side, enum qapi_command c)
{
    ev->kind = MIG_EV_REPLY;
    ev->side = side;
    ev->id = f.id[side][c];
    ev->u.reply.command = c;
    ck_assert_uint_ne(ev->id, 0);
    f.id[side][c] = 0;
    step(ev);
}

static void answer(enum mig_side_id side, enum qapi_command c, bool refused)
{
    struct mig_event ev = {.u.reply.refused = refused};
    reply(&ev, side, c);
}

static void answer_status(enum mig_side_id side, enum qapi_run_state run)
{
    struct mig_event ev = {.u.reply.u.run = run};
    reply(&ev, side, QAPI_QUERY_STATUS);
}

static void answer_migrate(enum mig_side_id side, enum qapi_mig_status status)
{
    struct mig_event ev = {.u.reply.u.migrate = f.m.side[side].migrate};
    ev.u.reply.u.migrate.status = status;
    reply(&ev, side, QAPI_QUERY_MIGRATE);
}

static void hear(enum mig_side_id side, enum qapi_event_kind kind)
{
    struct mig_event ev = {.kind = MIG_EV_QMP, .side = side};
    ev.u.qmp.kind = kind;
    step(&ev);
}

/* ---- what is older than the stop ---- */

/* Somebody stops the guest for a moment, for a snapshot say, just when it is stopped for the switch: his RESUME is
 * on its way when our stop leaves. The answer to stop comes behind all that was before it. */
START_TEST(a_resume_from_before_the_stop_is_none_after_it)
{
    ask_for_postcopy();
    hear(MIG_SRC, QAPI_EVENT_STOP);
    hear(MIG_SRC, QAPI_EVENT_RESUME);
    hear(MIG_SRC, QAPI_EVENT_STOP);
    ck_assert(f.m.guest_paused);
    answer(MIG_SRC, QAPI_STOP, false);
    if (f.id[MIG_SRC][QAPI_QUERY_STATUS] != 0)
        answer_status(MIG_SRC, QAPI_RUN_PAUSED);
    ck_assert(f.m.guest_ran);
    ck_assert(f.m.guest_paused);
    hear(MIG_SRC, QAPI_EVENT_RESUME);
    ck_assert(!f.m.guest_paused);
}
END_TEST

/* Stopped by another hand, or by a disk, and asked why, when the stop leaves: that answer still counts. */
START_TEST(an_answer_from_before_the_stop_tells_who_stopped_the_guest)
{
    static const enum qapi_run_state found[] = {QAPI_RUN_PAUSED, QAPI_RUN_IO_ERROR};
    hear(MIG_SRC, QAPI_EVENT_STOP);
    ck_assert_uint_ne(f.id[MIG_SRC][QAPI_QUERY_STATUS], 0);
    ask_for_postcopy();
    answer_status(MIG_SRC, found[_i]);
    ck_assert(!f.m.guest_ran);
    ck_assert(!f.m.guest_paused);
}
END_TEST

/* STOP was heard, the link broke, and then somebody has continued the guest: whom nobody stops would run again. */
START_TEST(a_guest_that_was_continued_unheard_is_stopped_again)
{
    ask_for_postcopy();
    hear(MIG_SRC, QAPI_EVENT_STOP);
    answer(MIG_SRC, QAPI_STOP, false);
    answer(MIG_SRC, QAPI_MIGRATE_START_POSTCOPY, false);
    f.m.phase = MIG_RECONCILE;
    f.m.side[MIG_SRC].fresh = f.m.side[MIG_DST].fresh = false;
    mig_forget_asks(&f.m, MIG_SRC);
    pass_time();
    f.id[MIG_SRC][QAPI_STOP] = 0;
    answer_status(MIG_SRC, QAPI_RUN_RUNNING);
    answer_migrate(MIG_SRC, QAPI_MIG_ACTIVE);
    answer_status(MIG_DST, QAPI_RUN_INMIGRATE);
    answer_migrate(MIG_DST, QAPI_MIG_ACTIVE);
    ck_assert_int_eq(f.m.phase, MIG_PRECOPY);
    ck_assert_uint_ne(f.id[MIG_SRC][QAPI_STOP], 0);
    ck_assert(f.m.guest_paused);
}
END_TEST

/* ---- the switch does not come ---- */

/* QEMU's round of pages does not end: it writes into a network that swallows everything, or a device of the guest
 * has more to send than may be left at the switch. */
START_TEST(a_guest_does_not_stand_still_for_a_switch_that_does_not_come)
{
    ask_for_postcopy();
    hear(MIG_SRC, QAPI_EVENT_STOP);
    answer(MIG_SRC, QAPI_STOP, false);
    if (_i == 0)
        answer(MIG_SRC, QAPI_MIGRATE_START_POSTCOPY, false);
    for (unsigned ms = 0; ms < 1500; ms++)
        pass_time();
    ck_assert_uint_eq(f.id[MIG_SRC][QAPI_CONT], 0);
    for (unsigned ms = 0; ms < 2000; ms++)
        pass_time();
    if (_i == 1) { /* its main loop stands still: it may not have stopped anybody yet */
        ck_assert_uint_eq(f.id[MIG_SRC][QAPI_CONT], 0);
        return;
    }
    ck_assert_uint_ne(f.id[MIG_SRC][QAPI_CONT], 0);
    answer(MIG_SRC, QAPI_CONT, false);
    hear(MIG_SRC, QAPI_EVENT_RESUME);
    ck_assert_int_eq(f.m.phase, MIG_PRECOPY);
    ck_assert(!f.m.guest_paused);
    for (unsigned ms = 0; ms < 5000; ms++)
        pass_time();
    ck_assert_uint_eq(f.id[MIG_SRC][QAPI_CONT], 0);
}
END_TEST

/* ---- the source has failed at the last word, and stands still ---- */

static void fail_at_the_last_word(void)
{
    f.m.phase = MIG_POSTCOPY;
    f.m.continued = f.m.postcopy_asked = f.m.was_postcopy = f.m.guest_paused = true;
    f.m.side[MIG_SRC].run = QAPI_RUN_PAUSED; /* as it was seen last, before the switch */
    f.m.side[MIG_SRC].migrate.status = QAPI_MIG_POSTCOPY_ACTIVE;
    f.m.side[MIG_DST].run = QAPI_RUN_PAUSED;
    f.m.side[MIG_DST].migrate.status = QAPI_MIG_POSTCOPY_ACTIVE;
}

static void answer_both(enum qapi_mig_status src,
                        enum qapi_run_state dst_run,
                        enum qapi_mig_status dst)
{
    for (unsigned i = 0; i < 2; i++) {
        if (f.id[MIG_SRC][QAPI_QUERY_STATUS] != 0)
            answer_status(MIG_SRC, QAPI_RUN_PAUSED);
        if (f.id[MIG_SRC][QAPI_QUERY_MIGRATE] != 0)
            answer_migrate(MIG_SRC, src);
        if (f.id[MIG_DST][QAPI_QUERY_STATUS] != 0)
            answer_status(MIG_DST, dst_run);
        if (f.id[MIG_DST][QAPI_QUERY_MIGRATE] != 0)
            answer_migrate(MIG_DST, dst);
        pass_time();
    }
}

/* The destination has never run it, and the source holds the whole of it. */
START_TEST(a_cont_that_is_refused_then_gives_the_guest_back)
{
    fail_at_the_last_word();
    pass_time();
    answer_both(QAPI_MIG_POSTCOPY_ACTIVE, QAPI_RUN_PAUSED, QAPI_MIG_POSTCOPY_ACTIVE);
    ck_assert_uint_ne(f.id[MIG_DST][QAPI_CONT], 0);
    become(MIG_SRC, QAPI_MIG_FAILED);
    if (_i == 1)
        answer_both(QAPI_MIG_FAILED, QAPI_RUN_PAUSED, QAPI_MIG_POSTCOPY_ACTIVE);
    answer(MIG_DST, QAPI_CONT, true);
    for (unsigned i = 0; i < 9 && f.m.phase != MIG_ROLLBACK; i++)
        answer_both(QAPI_MIG_FAILED, QAPI_RUN_PAUSED, QAPI_MIG_POSTCOPY_ACTIVE);
    ck_assert_int_eq(f.m.phase, MIG_ROLLBACK);
}
END_TEST

/* The guest was found stopped, and nobody has sent cont to the destination. Somebody has sent it to the source: what
 * runs there is no old copy that stands still. */
START_TEST(a_source_that_runs_does_not_stand_still)
{
    static const enum qapi_run_state runs[] = {QAPI_RUN_RUNNING, QAPI_RUN_SUSPENDED};
    const struct owner_facts facts = {
        .src = {.run = runs[_i], .status = QAPI_MIG_FAILED},
        .dst = {.run = QAPI_RUN_PAUSED, .status = QAPI_MIG_COMPLETED},
        .continued = true,
        .handed_over = true,
        .src_was_stopped = true,
    };
    struct owner_view v;
    owner_of(&facts, &v);
    ck_assert_int_eq(v.stage, STAGE_CONFLICT);
    ck_assert_uint_eq(v.may, 0);
}
END_TEST

/* However long post-copy has lasted: the wait for what is in the network begins now. */
START_TEST(the_rest_is_waited_for_after_a_long_post_copy)
{
    fail_at_the_last_word();
    f.m.handed_over = true;
    f.m.dst_conts = 1;
    f.m.side[MIG_DST].run = QAPI_RUN_RUNNING;
    f.m.now_ns += 1000 * QF_NS_PER_S;
    become(MIG_SRC, QAPI_MIG_FAILED);
    for (unsigned i = 0; i < 9; i++)
        answer_both(QAPI_MIG_FAILED, QAPI_RUN_RUNNING, QAPI_MIG_POSTCOPY_ACTIVE);
    ck_assert_int_eq(f.m.phase, MIG_POSTCOPY);
}
END_TEST

/* A guest that stopped by itself is not ours to continue: it waits at the gate, and that has an end. */
START_TEST(a_guest_that_stopped_by_itself_waits_for_the_gate)
{
    static const enum qapi_run_state runs[] = {QAPI_RUN_IO_ERROR, QAPI_RUN_GUEST_PANICKED};
    f.m.phase = MIG_ROLLBACK;
    f.m.side[MIG_SRC].run = runs[_i];
    f.m.side[MIG_SRC].migrate.status = QAPI_MIG_FAILED;
    for (unsigned i = 0; i < 100 && f.m.phase == MIG_ROLLBACK; i++) {
        f.m.now_ns += QF_NS_PER_S;
        pass_time();
        for (unsigned k = 0; k < 2; k++) {
            if (f.id[k][QAPI_QUERY_STATUS] != 0)
                answer_status((enum mig_side_id)k,
                              k == MIG_SRC ? runs[_i] : QAPI_RUN_INMIGRATE);
            if (f.id[k][QAPI_QUERY_MIGRATE] != 0)
                answer_migrate((enum mig_side_id)k, QAPI_MIG_FAILED);
        }
    }
    ck_assert_uint_eq(f.id[MIG_SRC][QAPI_CONT], 0);
    ck_assert_int_eq(f.m.phase, MIG_HELD);
}
END_TEST

/* Not for ever: a monitor that ends at each yank would be yanked for ever. */
START_TEST(a_yank_that_is_lost_may_be_sent_once_more)
{
    const struct qapi_cmd yank = {.command = QAPI_YANK};
    const struct mig_event down = {.kind = MIG_EV_DOWN, .side = MIG_SRC};
    for (unsigned i = 0; i < 2; i++) {
        f.todo.n = 0;
        f.m.side[MIG_SRC].link = MIG_LINK_UP;
        f.m.yank_sent = true;
        (void)mig_send(&f.m, &f.todo, MIG_SRC, &yank, -1);
        mig_take_facts(&f.m, &down);
        ck_assert(f.m.yank_sent == (i == 1));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stopped");
    TCase *t = tcase_create("stopped");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_resume_from_before_the_stop_is_none_after_it);
    tcase_add_loop_test(t, an_answer_from_before_the_stop_tells_who_stopped_the_guest, 0,
                        2);
    tcase_add_test(t, a_guest_that_was_continued_unheard_is_stopped_again);
    tcase_add_loop_test(t, a_guest_does_not_stand_still_for_a_switch_that_does_not_come, 0,
                        2);
    tcase_add_loop_test(t, a_cont_that_is_refused_then_gives_the_guest_back, 0, 2);
    tcase_add_loop_test(t, a_source_that_runs_does_not_stand_still, 0, 2);
    tcase_add_test(t, the_rest_is_waited_for_after_a_long_post_copy);
    tcase_add_loop_test(t, a_guest_that_stopped_by_itself_waits_for_the_gate, 0, 2);
    tcase_add_test(t, a_yank_that_is_lost_may_be_sent_once_more);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* The machine, fed by hand from a state in the middle of a move: what only an unlucky order of
 * answers shows. Whole moves are in tests/sim. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "engine/mig.h"

static struct fixture {
    struct mig m;
    struct mig_todo todo;
    int64_t t_ns;
    unsigned sent[MIG_SIDES][QAPI_COMMAND_COUNT]; /* commands seen so far */
    /* What the two sides answer to query-status and query-migrate. */
    enum qapi_run_state run[MIG_SIDES];
    enum qapi_mig_status status[MIG_SIDES];
    bool over;
} f;

static void step(const struct mig_event *ev);

/* Answer everything that the last list asked, one by one; nested lists are answered, too. */
static void answer(const struct mig_todo *todo)
{
    struct mig_todo *copy = malloc(sizeof(*copy));
    ck_assert_ptr_nonnull(copy);
    *copy = *todo;
    for (unsigned i = 0; i < copy->n && !f.over; i++) {
        const struct mig_do *d = &copy->item[i];
        if (d->kind == MIG_DO_END)
            f.over = true;
        if (d->kind != MIG_DO_SEND)
            continue;
        const enum qapi_command c = d->u.send.cmd.command;
        f.sent[d->side][c]++;
        struct mig_event ev = {.kind = MIG_EV_REPLY, .side = d->side, .id = d->u.send.id};
        ev.u.reply.command = c;
        if (c == QAPI_QUERY_STATUS)
            ev.u.reply.u.run = f.run[d->side];
        if (c == QAPI_QUERY_MIGRATE)
            ev.u.reply.u.migrate.status = f.status[d->side];
        if (c == QAPI_CONT) { /* "Resetting the Virtual Machine is required" */
            ev.u.reply.refused = true;
            strcpy(ev.u.reply.error_desc, "refused");
        }
        step(&ev);
    }
    free(copy);
}

static void step(const struct mig_event *ev)
{
    struct mig_event e = *ev;
    f.t_ns += QF_NS_PER_MS;
    e.t_ns = f.t_ns;
    mig_step(&f.m, &e, &f.todo);
    answer(&f.todo);
}

static void event(enum mig_side_id side, enum qapi_mig_status status)
{
    struct mig_event ev = {.kind = MIG_EV_QMP, .side = side};
    f.status[side] = status;
    ev.u.qmp.kind = QAPI_EVENT_MIGRATION;
    ev.u.qmp.status = status;
    step(&ev);
}

/* In post-copy, the destination runs. */
static void setup(void)
{
    const struct mig_spec spec = {
        .source = "/s", .destination = "/d", .address = "192.0.2.7"};
    const struct policy policy = {.name = "test", .postcopy_allowed = true};
    memset(&f, 0, sizeof(f));
    f.t_ns = QF_NS_PER_S;
    mig_init(&f.m, &spec, &policy);
    f.m.phase = MIG_POSTCOPY;
    f.m.now_ns = f.m.phase_ns = f.m.stage_ns = f.t_ns;
    f.m.started = f.m.continued = f.m.postcopy_asked = f.m.was_postcopy = true;
    f.m.guest_ran = f.m.handed_over = f.m.incoming_asked = true;
    f.m.dst_conts = 1;
    for (unsigned i = 0; i < MIG_SIDES; i++) {
        f.m.side[i].link = MIG_LINK_UP;
        f.m.side[i].oob = true;
        f.m.side[i].migrate.status = f.status[i] = QAPI_MIG_POSTCOPY_ACTIVE;
    }
    f.m.side[MIG_SRC].run = f.run[MIG_SRC] = QAPI_RUN_FINISH_MIGRATE;
    f.m.side[MIG_DST].run = f.run[MIG_DST] = QAPI_RUN_RUNNING;
}

static void teardown(void)
{
}

static void pass_time(unsigned ms)
{
    f.t_ns += qf_ms_to_ns(ms);
    step(&(struct mig_event){.kind = MIG_EV_TIMER});
}

/* The guest powered itself off on the destination, which is a moment behind with its completed. A
 * cont there would be refused, and that would prove nothing: the guest has run. */
START_TEST(a_guest_that_ended_after_the_handover_is_never_brought_back)
{
    f.run[MIG_DST] = QAPI_RUN_SHUTDOWN;
    f.run[MIG_SRC] = QAPI_RUN_POSTMIGRATE;
    event(MIG_SRC, QAPI_MIG_COMPLETED);
    ck_assert_int_eq(f.m.phase, MIG_FINISH);
    pass_time(20);
    event(MIG_DST, QAPI_MIG_COMPLETED);
    for (unsigned i = 0; i < 20 && !f.over; i++)
        pass_time(50);
    ck_assert(f.over);
    ck_assert_int_eq(f.m.phase, MIG_DONE);
    ck_assert_uint_eq(f.sent[MIG_DST][QAPI_CONT], 0);
    ck_assert_uint_eq(f.sent[MIG_DST][QAPI_QUIT], 0);
    ck_assert_uint_eq(f.sent[MIG_SRC][QAPI_CONT], 0);
}
END_TEST

/* QEMU looks, another of its threads moves on and sends the event, then the answer is written. */
START_TEST(an_answer_that_is_older_than_an_event_does_not_take_it_back)
{
    struct mig_event ev = {.kind = MIG_EV_TIMER, .t_ns = f.t_ns + qf_ms_to_ns(600)};
    uint64_t id = 0;
    f.t_ns = ev.t_ns;
    mig_step(&f.m, &ev, &f.todo);
    for (unsigned i = 0; i < f.todo.n; i++)
        if (f.todo.item[i].kind == MIG_DO_SEND &&
            f.todo.item[i].u.send.cmd.command == QAPI_QUERY_MIGRATE)
            id = f.todo.item[i].u.send.id;
    ck_assert_uint_ne(id, 0);
    ev = (struct mig_event){.kind = MIG_EV_QMP, .t_ns = ++f.t_ns, .side = MIG_SRC};
    ev.u.qmp.kind = QAPI_EVENT_MIGRATION;
    ev.u.qmp.status = QAPI_MIG_COMPLETED;
    mig_step(&f.m, &ev, &f.todo);
    ev = (struct mig_event){
        .kind = MIG_EV_REPLY, .t_ns = ++f.t_ns, .side = MIG_SRC, .id = id};
    ev.u.reply.command = QAPI_QUERY_MIGRATE;
    ev.u.reply.u.migrate.status = QAPI_MIG_POSTCOPY_ACTIVE;
    mig_step(&f.m, &ev, &f.todo);
    ck_assert_int_eq(f.m.side[MIG_SRC].migrate.status, QAPI_MIG_COMPLETED);
    ck_assert_int_eq(f.m.phase, MIG_FINISH);
}
END_TEST

/* What it said last is not followed up without its monitor: that is opened again first. */
START_TEST(a_destination_that_is_not_to_be_seen_keeps_its_recovery)
{
    f.m.phase = MIG_RECOVER;
    f.m.side[MIG_DST].link = MIG_LINK_DOWN;
    f.m.side[MIG_DST].migrate.status = QAPI_MIG_COMPLETED;
    for (unsigned i = 0; i < 20; i++)
        pass_time(100);
    ck_assert_int_eq(f.m.phase, MIG_RECOVER);
    ck_assert_int_eq(f.m.side[MIG_DST].link, MIG_LINK_OPENING);
}
END_TEST

START_TEST(the_end_needs_the_destinations_monitor)
{
    f.m.side[MIG_DST].link = MIG_LINK_DOWN;
    f.run[MIG_SRC] = QAPI_RUN_POSTMIGRATE;
    event(MIG_SRC, QAPI_MIG_COMPLETED);
    ck_assert_int_eq(f.m.phase, MIG_RECONCILE);
    ck_assert_int_eq(f.m.side[MIG_DST].link, MIG_LINK_OPENING);
}
END_TEST

/* What told of the switch was lost with a connection. */
START_TEST(an_interruption_is_seen_before_post_copy_was)
{
    f.m.phase = MIG_PRECOPY;
    f.m.continued = f.m.was_postcopy = f.m.handed_over = false;
    f.m.dst_conts = 0;
    f.m.side[MIG_SRC].migrate.status = QAPI_MIG_ACTIVE;
    event(MIG_SRC, QAPI_MIG_POSTCOPY_PAUSED);
    ck_assert_int_eq(f.m.phase, MIG_RECOVER);
    ck_assert(f.m.continued && f.m.was_postcopy);
}
END_TEST

/* QEMU breaks the connection, then tells of the cancel; the destination's end may be heard first. */
START_TEST(a_destination_that_dies_of_a_foreign_cancel_is_not_blamed)
{
    struct mig_event ev = {.kind = MIG_EV_DOWN, .side = MIG_DST};
    f.m.phase = MIG_PRECOPY;
    f.m.continued = f.m.was_postcopy = f.m.handed_over = f.m.postcopy_asked = false;
    f.m.dst_conts = 0;
    f.m.side[MIG_SRC].run = f.run[MIG_SRC] = QAPI_RUN_RUNNING;
    f.m.side[MIG_SRC].migrate.status = QAPI_MIG_ACTIVE;
    f.status[MIG_SRC] = QAPI_MIG_CANCELLING;
    f.m.side[MIG_DST].run = QAPI_RUN_INMIGRATE;
    f.m.side[MIG_DST].migrate.status = QAPI_MIG_ACTIVE;
    ev.u.down.gone = true;
    strcpy(ev.u.down.err.text, "the monitor closed the connection");
    step(&ev);
    ck_assert_int_eq(f.m.phase, MIG_ROLLBACK);
    ck_assert_str_eq(f.m.reason, "another client cancelled the migration");
}
END_TEST

/* An answer to a command that was given up must not switch off the machine's clock. */
START_TEST(a_stray_answer_leaves_a_time_to_wake)
{
    const struct mig_event ev = {
        .kind = MIG_EV_REPLY, .t_ns = f.t_ns, .side = MIG_SRC, .id = 99};
    mig_step(&f.m, &ev, &f.todo);
    ck_assert_int_lt(f.todo.wake_ns, INT64_MAX);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mig");
    TCase *t = tcase_create("mig");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_guest_that_ended_after_the_handover_is_never_brought_back);
    tcase_add_test(t, an_answer_that_is_older_than_an_event_does_not_take_it_back);
    tcase_add_test(t, a_destination_that_dies_of_a_foreign_cancel_is_not_blamed);
    tcase_add_test(t, a_stray_answer_leaves_a_time_to_wake);
    tcase_add_test(t, a_destination_that_is_not_to_be_seen_keeps_its_recovery);
    tcase_add_test(t, the_end_needs_the_destinations_monitor);
    tcase_add_test(t, an_interruption_is_seen_before_post_copy_was);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

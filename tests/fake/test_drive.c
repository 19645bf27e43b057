/* Whole migrations through drive_uv: the policies, many at once, cancelling, the journal. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/units.h"
#include "tests/fake/rig.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

static struct rig rig;

static void setup(void)
{
    rig_init(&rig);
}

static void teardown(void)
{
    rig_fini(&rig);
}

/* Writes faster than the network takes it. */
static void make_busy(struct rig_move *m)
{
    m->opts.setup.working_set_bytes = 100 * QF_MIB;
    m->opts.setup.rate[0].pages_per_s = 100000;
}

/* ---- moves that nothing disturbs ---- */

START_TEST(precopy_completes)
{
    struct rig_move *m = rig_add(&rig);
    rig_run(&rig);
    rig_completed(m);
    ck_assert_int_eq(m->result.mode, MODE_PRECOPY);
    ck_assert_uint_gt(m->lines, 100);
    ck_assert_uint_eq(m->journal_errors, 0);
    ck_assert_uint_eq(m->fake.side[MODEL_DST].refused, 1); /* exit-on-error */
    ck_assert_uint_eq(m->fake.side[MODEL_SRC].clients, 1);
}
END_TEST

static const struct {
    const char *policy;
    bool busy;
    enum record_mode mode;
} policies[] = {
    {"minimal-downtime", false, MODE_PRECOPY},
    {"suspend-if-needed", false, MODE_PRECOPY},
    {"stop-and-copy", true, MODE_STOP_AND_COPY},
    {"post-copy", true, MODE_POSTCOPY},
};

START_TEST(each_policy_completes_in_its_way)
{
    struct rig_move *m = rig_add(&rig);
    m->policy = policies[_i].policy;
    if (policies[_i].busy)
        make_busy(m);
    rig_run(&rig);
    rig_completed(m);
    ck_assert_int_eq(m->result.mode, policies[_i].mode);
}
END_TEST

/* Between any two kinds of QEMU, and with either or both not local. */
START_TEST(each_pair_of_versions_completes)
{
    static const enum model_flavour flavours[] = {MODEL_7_2, MODEL_10_0, MODEL_11_1};
    struct rig_move *m = rig_add(&rig);
    m->opts.setup.machine[MODEL_SRC].flavour = flavours[_i / 3];
    m->opts.setup.machine[MODEL_DST].flavour = flavours[_i % 3];
    m->opts.wire[MODEL_SRC].tcp = _i % 2 == 1;
    m->opts.wire[MODEL_DST].tcp = _i % 3 == 1;
    m->policy = _i % 2 == 1 ? "post-copy" : NULL;
    m->quit_source = _i % 2 == 0;
    if (_i % 2 == 1)
        make_busy(m);
    if (_i / 3 != 0 || _i % 3 != 0)
        json_array_append_new(
            schema_members(rig.schema, "migrate-incoming"),
            json_pack("{s:s,s:s,s:n}", "name", "exit-on-error", "type", "bool", "default"));
    rig_run(&rig);
    rig_completed(m);
    ck_assert(m->truth.alive[MODEL_SRC] == !m->quit_source);
}
END_TEST

/* ---- networks ---- */

/* The fakes' destination listens wherever it is told to. */
START_TEST(the_network_that_answers_is_taken)
{
    struct rig_move *m = rig_add(&rig);
    m->network[0] = "203.0.113.0/24";
    m->network[1] = "127.0.0.0/8";
    m->address = _i == 0 ? "127.0.0.1" : "localhost";
    rig_run(&rig);
    rig_completed(m);
    const struct mig *mig = &m->drive.session.mig;
    ck_assert_int_eq(mig->network.chosen, 1);
    ck_assert_str_eq(mig->network.candidate[0].why, "this host has no address in it");
    ck_assert_str_eq(mig->spec.address, "127.0.0.1");
}
END_TEST

START_TEST(without_a_usable_network_nothing_is_said_to_qemu)
{
    struct rig_move *m = rig_add(&rig);
    m->network[0] = "203.0.113.0/24";
    m->address = _i == 0 ? "203.0.113.2" : "127.0.0.1";
    rig_run(&rig);
    ck_assert_int_eq(rig_status(m), 3);
    ck_assert_str_eq(m->result.reason,
                     "no usable network: 203.0.113.0/24: this host has no address in it");
    ck_assert(m->truth.running[MODEL_SRC] && m->truth.alive[MODEL_DST]);
    ck_assert_uint_eq(m->truth.caps_on[MODEL_SRC], 0);
}
END_TEST

/* Whether the probe has begun, runs or is over. */
START_TEST(a_cancel_finds_the_probe_wherever_it_is)
{
    struct rig_move *m = rig_add(&rig);
    m->network[0] = "127.0.0.0/8";
    m->address = "localhost";
    m->cancel_first = _i == 0;
    m->cancel_at_record = (unsigned)_i;
    rig_run(&rig);
    ck_assert_int_eq(rig_status(m), 5);
}
END_TEST

START_TEST(a_source_that_does_not_exist_ends_the_probe)
{
    struct rig_move *m = rig_add(&rig);
    m->network[0] = "127.0.0.0/8";
    m->address = "localhost";
    m->addr[MIG_SRC] = "/nonexistent/qmp";
    rig_run(&rig);
    ck_assert_int_eq(rig_status(m), 6);
}
END_TEST

START_TEST(a_dry_run_changes_nothing)
{
    struct rig_move *m = rig_add(&rig);
    m->dry_run = true;
    rig_run(&rig);
    ck_assert_int_eq(rig_status(m), 0);
    ck_assert(m->truth.running[MODEL_SRC] && m->truth.alive[MODEL_DST]);
    ck_assert_uint_eq(m->truth.caps_on[MODEL_SRC], 0);
}
END_TEST

START_TEST(what_does_not_converge_is_given_up_and_put_back)
{
    struct rig_move *m = rig_add(&rig);
    make_busy(m);
    m->set[0] = "throttle.allowed=false";
    m->set[1] = "timeout=1s";
    m->quit_destination = true;
    rig_run(&rig);
    ck_assert_msg(rig_status(m) == 4, "%s", m->result.reason);
    ck_assert_int_eq(m->result.running_on, PLACE_SOURCE);
    ck_assert(m->truth.running[MODEL_SRC] && !m->truth.alive[MODEL_DST]);
    ck_assert_uint_eq(m->truth.caps_on[MODEL_SRC], 0);
}
END_TEST

START_TEST(many_migrations_share_a_loop)
{
    for (int i = 0; i < _i; i++) {
        struct rig_move *m = rig_add(&rig);
        m->policy = i % 4 == 3 ? "post-copy" : i % 4 == 2 ? "stop-and-copy" : NULL;
        if (i % 4 == 3)
            make_busy(m);
        m->opts.wire[MODEL_SRC].tcp = i % 3 == 2;
        m->opts.wire[MODEL_DST].chunk = i % 3 == 1 ? 64 : 0;
        m->cancel_at_command =
            i == 4 ? 35 : 0; /* memory moves; one does not disturb the others */
    }
    rig_run(&rig);
    for (int i = 0; i < _i; i++)
        if (i == 4)
            ck_assert_int_eq(rig_status(rig.move[i]), 5);
        else
            rig_completed(rig.move[i]);
}
END_TEST

/* ---- faults of a living QEMU ---- */

/* Slow is not dead: the machine stands still for several seconds of its own. */
START_TEST(slow_answers_are_waited_for)
{
    static const struct {
        enum model_side side;
        const char *name;
    } slow[] = {
        {MODEL_SRC, "query-migrate-capabilities"},
        {MODEL_DST, "migrate-incoming"},
        {MODEL_SRC, "migrate"},
        {MODEL_SRC, "migrate-continue"},
        {MODEL_DST, "cont"},
        {MODEL_SRC, "query-migrate"},
    };
    struct rig_move *m = rig_add(&rig);
    m->opts.setup.fault[0] = (struct model_fault){.when = MODEL_AT_COMMAND,
                                                  .what = MODEL_DELAY,
                                                  .side = slow[_i % COUNT(slow)].side,
                                                  .name = slow[_i % COUNT(slow)].name,
                                                  .for_ns = 8 * MODEL_S};
    m->opts.setup.n_faults = 1;
    rig_run(&rig);
    rig_completed(m);
    ck_assert_uint_eq(m->fake.side[MODEL_SRC].clients, 1);
    ck_assert_uint_eq(m->fake.side[MODEL_DST].clients, 1);
}
END_TEST

/* QEMU puts an answer together, its migration thread moves on and says so, and only then is the
 * answer written: it tells of a state that is no more. */
START_TEST(an_answer_may_be_older_than_an_event_before_it)
{
    struct rig_move *m = rig_add(&rig);
    m->opts.setup.machine[MODEL_SRC].reply_ns = (40 + 10 * _i) * MODEL_MS;
    m->opts.setup.machine[MODEL_DST].reply_ns = 200 * MODEL_MS;
    rig_run(&rig);
    rig_completed(m);
}
END_TEST

/* The n-th command finds a monitor whose connection breaks, for a moment. */
START_TEST(a_broken_connection_is_opened_again)
{
    struct rig_move *m = rig_add(&rig);
    m->fault_at_command = 30 + 2 * (unsigned)(_i / 2);
    m->fault = (struct model_fault){
        .what = MODEL_CUT, .side = _i % 2 ? MODEL_DST : MODEL_SRC, .for_ns = 2 * MODEL_S};
    rig_run(&rig);
    ck_assert_int_ne(rig_status(m), 7);
    ck_assert_int_ne(rig_status(m), 1);
}
END_TEST

/* ---- cancelling ---- */

static void was_cancelled_or_completed(const struct rig_move *m)
{
    if (rig_status(m) == 0) {
        rig_completed(m);
        return;
    }
    ck_assert_msg(rig_status(m) == 5, "exit %d: %s", rig_status(m), m->result.reason);
    ck_assert_int_eq(m->result.outcome, OUTCOME_CANCELLED);
    ck_assert(m->truth.running[MODEL_SRC]);
    ck_assert_uint_eq(m->truth.caps_on[MODEL_SRC], 0);
}

START_TEST(cancel_before_the_first_turn_of_the_loop)
{
    struct rig_move *m = rig_add(&rig);
    m->cancel_first = true;
    rig_run(&rig);
    ck_assert_int_eq(rig_status(m), 5);
    ck_assert_uint_eq(m->commands, 0);
    ck_assert_uint_gt(m->lines, 3);
    was_cancelled_or_completed(m);
}
END_TEST

START_TEST(cancel_at_any_command)
{
    struct rig_move *m = rig_add(&rig);
    m->cancel_at_command = 1 + 3 * (unsigned)_i;
    rig_run(&rig);
    was_cancelled_or_completed(m);
    if (_i < 10)
        ck_assert_int_eq(rig_status(m), 5);
}
END_TEST

/* From the switch on there is no way back: then it completes. */
START_TEST(cancel_a_move_that_wants_post_copy)
{
    struct rig_move *m = rig_add(&rig);
    make_busy(m);
    m->policy = "post-copy";
    m->cancel_at_command = 36 + 4 * (unsigned)_i;
    rig_run(&rig);
    was_cancelled_or_completed(m);
}
END_TEST

START_TEST(cancel_from_inside_a_record)
{
    struct rig_move *m = rig_add(&rig);
    m->cancel_at_record = 1 + 4 * (unsigned)_i;
    rig_run(&rig);
    was_cancelled_or_completed(m);
    if (_i < 5)
        ck_assert_int_eq(rig_status(m), 5);
}
END_TEST

/* ---- the operator ---- */

/* At any moment, and whatever comes of it: rig_run looks at the guest and at the replay. */
START_TEST(the_operator_says_something_at_any_command)
{
    static const char *const says[] = {"pause", "postcopy", "cancel", "bandwidth=10MiB",
                                       "downtime.max=1s"};
    struct rig_move *m = rig_add(&rig);
    m->policy = _i % 2 ? "post-copy" : NULL;
    m->operator_says = says[_i % COUNT(says)];
    m->operator_at_command = 2 + 4 * (unsigned)(_i / COUNT(says));
    rig_run(&rig);
    if (m->operator_refused)
        rig_completed(m);
    else
        was_cancelled_or_completed(m);
}
END_TEST

START_TEST(a_hand_on_what_never_converges)
{
    static const struct {
        const char *says;
        int status;
        enum record_mode mode;
    } hands[] = {
        {"postcopy", 0, MODE_POSTCOPY},        {"pause", 0, MODE_STOP_AND_COPY},
        {"downtime.max=60s", 0, MODE_PRECOPY}, {"timeout=1ms", 4, MODE_PRECOPY},
        {"cancel", 5, MODE_PRECOPY},
    };
    struct rig_move *m = rig_add(&rig);
    make_busy(m);
    m->policy = "post-copy";
    m->set[0] = "downtime.max=100ms"; /* where it starts: an operator's goes at once */
    m->set[1] = "stop.max=0";
    m->operator_says = hands[_i].says;
    m->operator_at_command = 38;
    rig_run(&rig);
    ck_assert_msg(m->operator_refused == 0, "%s", m->refusal.text);
    ck_assert_msg(rig_status(m) == hands[_i].status, "%s", m->result.reason);
    ck_assert_int_eq(m->result.mode, hands[_i].mode);
}
END_TEST

/* ---- the journal ---- */

/* Fails every write, or only the sync. */
START_TEST(a_journal_that_fails_is_said_once_and_gone_without)
{
    struct rig_move *m = rig_add(&rig);
    m->journal = RIG_JOURNAL_FD;
    m->journal_fd = open(_i == 0 ? "/dev/full" : "/dev/null",
                         (_i == 2 ? O_RDONLY : O_WRONLY) | O_CLOEXEC);
    const int fd = m->journal_fd;
    ck_assert_int_ge(fd, 0);
    rig_run(&rig);
    rig_completed(m);
    ck_assert_uint_eq(m->journal_errors, _i == 1 ? 0 : 1);
    if (_i == 0)
        ck_assert_str_eq(m->journal_error.text,
                         "journal: No space left on device; going on without it");
    ck_assert_int_eq(fcntl(fd, F_GETFD), -1); /* closed */
}
END_TEST

START_TEST(no_journal_is_no_error)
{
    struct rig_move *m = rig_add(&rig);
    m->journal = RIG_JOURNAL_NONE;
    rig_run(&rig);
    rig_completed(m);
    ck_assert_uint_eq(m->journal_errors, 0);
}
END_TEST

static Suite *drive_suite(void)
{
    Suite *suite = suite_create("drive");
    TCase *tc = tcase_create("moves");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, precopy_completes);
    tcase_add_loop_test(tc, each_policy_completes_in_its_way, 0, COUNT(policies));
    tcase_add_loop_test(tc, each_pair_of_versions_completes, 0, 9);
    tcase_add_loop_test(tc, the_network_that_answers_is_taken, 0, 2);
    tcase_add_loop_test(tc, without_a_usable_network_nothing_is_said_to_qemu, 0, 2);
    tcase_add_loop_test(tc, a_cancel_finds_the_probe_wherever_it_is, 0, 4);
    tcase_add_test(tc, a_source_that_does_not_exist_ends_the_probe);
    tcase_add_test(tc, a_dry_run_changes_nothing);
    tcase_add_test(tc, what_does_not_converge_is_given_up_and_put_back);
    tcase_add_loop_test(tc, many_migrations_share_a_loop, 2, 3);
    tcase_add_loop_test(tc, many_migrations_share_a_loop, 8, 9);
    suite_add_tcase(suite, tc);
    tc = tcase_create("faults");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, slow_answers_are_waited_for, 0, 6);
    tcase_add_loop_test(tc, an_answer_may_be_older_than_an_event_before_it, 0, 8);
    tcase_add_loop_test(tc, a_broken_connection_is_opened_again, 0, 32);
    suite_add_tcase(suite, tc);
    tc = tcase_create("cancel");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, cancel_before_the_first_turn_of_the_loop);
    tcase_add_loop_test(tc, cancel_at_any_command, 0, 20);
    tcase_add_loop_test(tc, cancel_a_move_that_wants_post_copy, 0, 7);
    tcase_add_loop_test(tc, cancel_from_inside_a_record, 0, 12);
    suite_add_tcase(suite, tc);
    tc = tcase_create("operator");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, the_operator_says_something_at_any_command, 0, 60);
    tcase_add_loop_test(tc, a_hand_on_what_never_converges, 0, 5);
    suite_add_tcase(suite, tc);
    tc = tcase_create("journal");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, a_journal_that_fails_is_said_once_and_gone_without, 0, 3);
    tcase_add_test(tc, no_journal_is_no_error);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(drive_suite());
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

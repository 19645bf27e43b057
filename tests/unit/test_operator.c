/* An operator's word: what is read from text, what may be done when, and what is then done, on a
 * machine in the middle of a move. Whole moves are in tests/sim (golden/sim-operator-*). */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "engine/mig.h"
#include "engine/operator.h"
#include "policy/policy_json.h"

static struct fixture {
    struct mig m;
    struct mig_todo todo;
    struct policy changed;
    struct mig_operator op;
    struct qf_err err;
} f;

/* PRECOPY, the guest runs; post-copy and auto-converge are on. */
static void setup(void)
{
    const struct mig_spec spec = {.source = "/s", .destination = "/d"};
    static struct policy policy;
    memset(&f, 0, sizeof(f));
    ck_assert_int_eq(policy_preset_load("post-copy", &policy, NULL), 0);
    policy.n_steps = 0;
    policy.downtime_start_ms = policy.downtime_max_ms = 100;
    policy.throttle_allowed = true;
    mig_init(&f.m, &spec, &policy);
    f.m.phase = MIG_PRECOPY;
    f.m.now_ns = f.m.phase_ns = f.m.migrate_ns = QF_NS_PER_S;
    f.m.started = f.m.guest_ran = true;
    f.m.downtime_limit_ms = 100;
    for (unsigned i = 0; i < MIG_SIDES; i++) {
        f.m.side[i].link = MIG_LINK_UP;
        f.m.side[i].migrate.status = QAPI_MIG_ACTIVE;
        f.m.side[i].caps_changed = QAPI_CAP_BIT(POSTCOPY_RAM) | QAPI_CAP_BIT(AUTO_CONVERGE);
    }
    f.m.side[MIG_SRC].run = QAPI_RUN_RUNNING;
    f.m.side[MIG_DST].run = QAPI_RUN_INMIGRATE;
    f.m.side[MIG_SRC].migrate.has_ram = true;
    f.m.side[MIG_SRC].migrate.total_bytes = QF_GIB;
    f.m.side[MIG_SRC].migrate.remaining_bytes = QF_GIB;
    f.m.side[MIG_SRC].migrate.bandwidth_bytes_per_s = 100 * QF_MIB;
    f.m.memory_ns = QF_NS_PER_S;
    f.m.side[MIG_SRC].params_found.has = (1U << QAPI_PARAM_COUNT) - 1;
    f.m.side[MIG_SRC].params_found.value[QAPI_PARAM_MAX_BANDWIDTH] = 128 * QF_MIB;
}

static void teardown(void)
{
}

static int read_set(const char *a, const char *b)
{
    const struct operator_command c = {
        .kind = MIG_OPERATOR_SET, .n = b ? 2 : 1, .set = {a, b}};
    return operator_read(&c, &f.m.policy, &f.changed, &f.op, &f.err);
}

static void say(enum mig_operator_kind kind)
{
    f.op = (struct mig_operator){.kind = kind};
}

static void step(void)
{
    struct mig_event ev = {.kind = MIG_EV_OPERATOR, .t_ns = f.m.now_ns + QF_NS_PER_MS};
    ev.u.op = f.op;
    mig_step(&f.m, &ev, &f.todo);
}

static void expect_refused(const char *why)
{
    ck_assert_int_eq(mig_operator_check(&f.m, &f.op, &f.err), -QF_E_REFUSED);
    ck_assert_msg(strstr(f.err.text, why), "no '%s' in: %s", why, f.err.text);
}

/* Accepted, and carried out. */
static void accepted(void)
{
    const int rc = mig_operator_check(&f.m, &f.op, &f.err);
    ck_assert_msg(rc == 0, "%s", f.err.text);
    step();
}

/* The n-th decision of the last step. */
static const struct policy_decision *decision(unsigned n)
{
    for (unsigned i = 0; i < f.todo.n; i++)
        if (f.todo.item[i].kind == MIG_DO_RECORD &&
            f.todo.item[i].u.record.kind == RECORD_DECISION && n-- == 0)
            return &f.todo.item[i].u.record.u.decision;
    ck_abort_msg("no such decision");
}

/* What was sent to the source; NULL: it was not. */
static const struct qapi_cmd *sent(enum qapi_command c)
{
    for (unsigned i = 0; i < f.todo.n; i++)
        if (f.todo.item[i].kind == MIG_DO_SEND && f.todo.item[i].side == MIG_SRC &&
            f.todo.item[i].u.send.cmd.command == c)
            return &f.todo.item[i].u.send.cmd;
    return NULL;
}

static uint64_t param(enum qapi_param p)
{
    const struct qapi_cmd *cmd = sent(QAPI_SET_PARAMS);
    ck_assert_ptr_nonnull(cmd);
    ck_assert(cmd->u.params.has & (1U << (unsigned)p));
    return cmd->u.params.value[p];
}

/* ---- reading ---- */

START_TEST(kinds_are_read_by_name)
{
    enum mig_operator_kind kind = MIG_OPERATOR_SET;
    ck_assert(operator_kind("pause", &kind));
    ck_assert_int_eq(kind, MIG_OPERATOR_PAUSE);
    ck_assert(!operator_kind("paused", &kind));
    ck_assert(!operator_kind("", &kind));
}
END_TEST

START_TEST(all_assignments_are_read_or_none)
{
    ck_assert_int_eq(read_set("downtime.max=2s", "timeout=1h"), 0);
    ck_assert_uint_eq(f.op.fields, MIG_FIELD_BIT(DOWNTIME_MAX) | MIG_FIELD_BIT(TIMEOUT));
    ck_assert_uint_eq(f.op.policy->downtime_max_ms, 2000);
    ck_assert_uint_eq(f.op.policy->timeout_ms, 3600000);
    f.op.fields = 0;
    ck_assert_int_eq(read_set("downtime.max=3s", "timeout=soon"), -QF_E_USAGE);
    ck_assert_uint_eq(f.op.fields, 0);
    ck_assert_uint_eq(f.m.policy.downtime_max_ms, 100);
}
END_TEST

static const struct {
    const char *text;
    const char *says;
} bad[] = {
    {"downtime.maxx=1s", "downtime.max?"},
    {"downtime.max", "not FIELD=VALUE"},
    {"downtime.max=", "downtime.max"},
    {"downtime.max=1h", "outside of what QEMU takes"},
    {"downtime=1s", "a group"},
    {"=1s", "not FIELD=VALUE"},
    {"", "not FIELD=VALUE"},
    {"nosuch=1", "nosuch"},
    {"throttle.max=100", "throttle.max"},
    {"name=x", "while a migration runs"},
    {"pacing=schedule", "while a migration runs"},
    {"channels=4", "while a migration runs"},
    {"encrypt=required", "while a migration runs"},
    {"downtime.start=1ms", "while a migration runs"},
    {"steps=[]", "while a migration runs"},
};

START_TEST(what_cannot_be_set_is_named)
{
    ck_assert_int_eq(read_set(bad[_i].text, NULL), -QF_E_USAGE);
    ck_assert_msg(strstr(f.err.text, bad[_i].says), "no '%s' in: %s", bad[_i].says,
                  f.err.text);
}
END_TEST

START_TEST(a_set_of_nothing_is_refused)
{
    const struct operator_command c = {.kind = MIG_OPERATOR_SET};
    ck_assert_int_eq(operator_read(&c, &f.m.policy, &f.changed, &f.op, &f.err),
                     -QF_E_USAGE);
}
END_TEST

/* ---- when ---- */

START_TEST(postcopy_needs_the_capability_on_both_sides)
{
    say(MIG_OPERATOR_POSTCOPY);
    f.m.side[_i].caps_changed = 0;
    expect_refused("only before the start");
    ck_assert_int_eq(read_set("postcopy.allowed=true", NULL), 0);
    expect_refused("postcopy.allowed: QEMU takes the capability only before the start");
    f.m.caps_again = true;
    say(MIG_OPERATOR_POSTCOPY);
    expect_refused("this destination cannot");
}
END_TEST

START_TEST(throttling_needs_the_capability_of_the_source)
{
    ck_assert_int_eq(read_set("throttle.allowed=true", NULL), 0);
    f.m.side[MIG_SRC].caps_changed = 0;
    expect_refused(
        "throttle.allowed: QEMU takes the capability (auto-converge) only before");
}
END_TEST

START_TEST(nothing_is_asked_for_twice)
{
    say(MIG_OPERATOR_POSTCOPY);
    accepted();
    expect_refused("already");
    say(MIG_OPERATOR_PAUSE);
    expect_refused("post-copy was asked for");
    setup();
    say(MIG_OPERATOR_PAUSE);
    accepted();
    expect_refused("stopped already");
    say(MIG_OPERATOR_POSTCOPY);
    expect_refused("the guest is stopped");
}
END_TEST

START_TEST(a_guest_that_does_not_run_cannot_be_stopped)
{
    f.m.side[MIG_SRC].run = QAPI_RUN_PAUSED;
    say(MIG_OPERATOR_PAUSE);
    expect_refused("does not run");
}
END_TEST

START_TEST(the_owner_table_is_asked)
{
    f.m.side[MIG_SRC].silent = true;
    say(MIG_OPERATOR_POSTCOPY);
    expect_refused("does not answer");
}
END_TEST

static const struct {
    enum mig_phase phase;
    bool cancel;
    bool set;
} phases[] = {
    {MIG_NEW, false, false},      {MIG_CONNECT, true, true},  {MIG_PREFLIGHT, true, true},
    {MIG_CONFIGURE, true, false}, {MIG_START, true, true},    {MIG_SWITCHOVER, true, false},
    {MIG_POSTCOPY, false, false}, {MIG_FINISH, false, false}, {MIG_ROLLBACK, true, false},
    {MIG_RECONCILE, true, false}, {MIG_DONE, false, false},   {MIG_FAILED, false, false},
    {MIG_HELD, false, false},
};

START_TEST(each_phase_allows_what_is_possible)
{
    f.m.phase = phases[_i].phase;
    f.m.handed_over = true;
    say(MIG_OPERATOR_POSTCOPY);
    ck_assert_int_ne(mig_operator_check(&f.m, &f.op, &f.err), 0);
    say(MIG_OPERATOR_PAUSE);
    ck_assert_int_ne(mig_operator_check(&f.m, &f.op, &f.err), 0);
    say(MIG_OPERATOR_CANCEL);
    ck_assert_int_eq(mig_operator_check(&f.m, &f.op, &f.err) == 0, phases[_i].cancel);
    ck_assert_int_eq(read_set("timeout=1h", NULL), 0);
    ck_assert_int_eq(mig_operator_check(&f.m, &f.op, &f.err) == 0, phases[_i].set);
    ck_assert_int_eq(read_set("bandwidth=1MiB", NULL), 0);
    ck_assert_int_eq(mig_operator_check(&f.m, &f.op, &f.err) == 0,
                     phases[_i].set || phases[_i].phase == MIG_POSTCOPY);
}
END_TEST

START_TEST(the_switch_to_postcopy_is_not_cancelled)
{
    f.m.phase = MIG_SWITCHOVER;
    f.m.postcopy_asked = true;
    say(MIG_OPERATOR_CANCEL);
    ck_assert_int_eq(mig_operator_check(&f.m, &f.op, &f.err), 0); /* pre-switchover */
    f.m.continued = true;
    expect_refused("cannot be taken back");
}
END_TEST

START_TEST(while_the_guest_is_handed_over_nothing_is_changed)
{
    f.m.phase = MIG_POSTCOPY;
    ck_assert_int_eq(read_set("bandwidth=1MiB", NULL), 0);
    expect_refused("the switch is under way");
}
END_TEST

/* A QEMU that does not answer cannot be made to run out of places by an eager operator. */
START_TEST(questions_that_are_not_answered_are_bounded)
{
    int rc = 0;
    unsigned n = 0;
    for (; rc == 0 && n < 1000; n++) {
        ck_assert_int_eq(read_set("bandwidth=1MiB", NULL), 0);
        rc = mig_operator_check(&f.m, &f.op, &f.err);
        if (rc == 0)
            step();
    }
    ck_assert_uint_lt(n, MIG_ASKS_MAX);
    expect_refused("has not answered");
}
END_TEST

/* What is refused and comes all the same (a journal, our own bug) is noted, and not done. */
START_TEST(what_is_refused_is_not_done)
{
    f.m.phase = MIG_ROLLBACK;
    say(MIG_OPERATOR_PAUSE);
    mig_operator_check(&f.m, &f.op, &f.err);
    step();
    ck_assert_ptr_null(sent(QAPI_STOP));
    ck_assert_int_eq(f.todo.item[0].u.record.kind, RECORD_NOTE);
}
END_TEST

/* ---- what is done ---- */

START_TEST(postcopy_is_sent_and_said)
{
    say(MIG_OPERATOR_POSTCOPY);
    accepted();
    ck_assert_ptr_nonnull(sent(QAPI_MIGRATE_START_POSTCOPY));
    ck_assert_int_eq(decision(0)->action, POLICY_POSTCOPY);
    ck_assert_str_eq(decision(0)->rule, "operator");
    ck_assert(f.m.postcopy_asked);
}
END_TEST

/* Something happens that makes the machine look. */
static void look_again(uint64_t in_ms)
{
    f.m.now_ns += qf_ms_to_ns(in_ms);
    ck_assert_int_eq(read_set("timeout=0", NULL), 0);
    step();
}

/* Where the guest is stopped for it, a round of pages is waited for. */
static void ask_for_postcopy(void)
{
    say(MIG_OPERATOR_POSTCOPY);
    accepted();
    for (unsigned i = 0; i < 30 && f.m.postcopy_held; i++)
        look_again(10);
}

/* Where a source might run again at the end of a post-copy (8.0 on): its guest is stopped first, and marked as
 * stopped by us. */
START_TEST(the_guest_is_stopped_before_postcopy)
{
    static const struct {
        unsigned major;
        bool self_start;
        bool found_stopped;
        bool stops;
    } guest[] = {{.major = 10, .stops = true},
                 {.major = 8, .stops = true},
                 {.major = 7},
                 {.major = 10, .self_start = true},
                 {.major = 10, .found_stopped = true}};
    uint64_t stop_id = 0;
    uint64_t postcopy_id = 0;
    f.m.side[MIG_SRC].version.major = guest[_i].major;
    f.m.self_start = guest[_i].self_start;
    if (guest[_i].found_stopped) {
        f.m.guest_ran = false;
        f.m.side[MIG_SRC].run = QAPI_RUN_PAUSED;
    }
    ask_for_postcopy();
    for (unsigned i = 0; i < f.todo.n; i++) {
        if (f.todo.item[i].kind != MIG_DO_SEND)
            continue;
        if (f.todo.item[i].u.send.cmd.command == QAPI_STOP)
            stop_id = f.todo.item[i].u.send.id;
        if (f.todo.item[i].u.send.cmd.command == QAPI_MIGRATE_START_POSTCOPY)
            postcopy_id = f.todo.item[i].u.send.id;
    }
    ck_assert_uint_ne(postcopy_id, 0);
    ck_assert_int_eq(stop_id != 0, guest[_i].stops);
    ck_assert_uint_lt(stop_id, postcopy_id);
    ck_assert_int_eq(f.m.guest_paused, guest[_i].stops);
    ck_assert_int_eq(sent(QAPI_SET_PARAMS) != NULL, guest[_i].stops);
}
END_TEST

static uint64_t id_of(enum qapi_command c)
{
    for (unsigned i = 0; i < f.todo.n; i++)
        if (f.todo.item[i].kind == MIG_DO_SEND && f.todo.item[i].u.send.cmd.command == c)
            return f.todo.item[i].u.send.id;
    return 0;
}

static void refuse_postcopy(void)
{
    struct mig_event ev = {.kind = MIG_EV_REPLY, .side = MIG_SRC};
    struct mig_event stopped = {.kind = MIG_EV_REPLY, .side = MIG_SRC};
    ev.id = id_of(QAPI_MIGRATE_START_POSTCOPY);
    stopped.id = id_of(QAPI_STOP);
    stopped.t_ns = f.m.now_ns + QF_NS_PER_MS;
    stopped.u.reply.command = QAPI_STOP;
    if (stopped.id != 0) /* 7.2 is not stopped */
        mig_step(&f.m, &stopped, &f.todo);
    ev.t_ns = f.m.now_ns + QF_NS_PER_MS;
    ev.u.reply.command = QAPI_MIGRATE_START_POSTCOPY;
    ev.u.reply.refused = true;
    mig_step(&f.m, &ev, &f.todo);
}

/* A guest that was stopped for it runs again where it is, and goes on moving. */
START_TEST(postcopy_that_is_refused_leaves_no_guest_stopped)
{
    struct mig_event ev = {.kind = MIG_EV_QMP, .side = MIG_SRC};
    f.m.side[MIG_SRC].version.major = _i == 0 ? 10 : 7;
    ask_for_postcopy();
    refuse_postcopy();
    ck_assert_int_eq(f.m.phase, MIG_PRECOPY);
    ck_assert(!f.m.postcopy_asked);
    ck_assert_int_eq(sent(QAPI_CONT) != NULL, _i == 0);
    ev.t_ns = f.m.now_ns + QF_NS_PER_MS;
    ev.u.qmp.kind = QAPI_EVENT_RESUME;
    mig_step(&f.m, &ev, &f.todo);
    ck_assert(!f.m.guest_paused);
    say(MIG_OPERATOR_PAUSE);
    accepted();
}
END_TEST

/* QEMU 11.1 loses memory that the guest writes, when told so within the first 100 ms. */
static void ask_for_postcopy_too_early(void)
{
    f.m.side[MIG_SRC].migrate.bandwidth_bytes_per_s = 0;
    say(MIG_OPERATOR_POSTCOPY);
    accepted();
    ck_assert_int_eq(decision(0)->action, POLICY_POSTCOPY);
    ck_assert_ptr_null(sent(QAPI_MIGRATE_START_POSTCOPY));
    ck_assert(f.m.postcopy_held);
    ck_assert(!f.m.postcopy_asked);
    ck_assert_int_le(f.todo.wake_ns, f.m.now_ns + qf_ms_to_ns(100));
}

START_TEST(postcopy_waits_until_the_link_has_been_measured)
{
    ask_for_postcopy_too_early();
    look_again(50);
    ck_assert_ptr_null(sent(QAPI_MIGRATE_START_POSTCOPY));
    f.m.side[MIG_SRC].migrate.bandwidth_bytes_per_s = 100 * QF_MIB;
    look_again(50);
    ck_assert_ptr_nonnull(sent(QAPI_MIGRATE_START_POSTCOPY));
    ck_assert(f.m.postcopy_asked);
    ck_assert(!f.m.postcopy_held);
}
END_TEST

START_TEST(postcopy_does_not_wait_for_ever)
{
    ask_for_postcopy_too_early();
    look_again(1000);
    ck_assert_ptr_nonnull(sent(QAPI_MIGRATE_START_POSTCOPY));
}
END_TEST

START_TEST(postcopy_that_waits_is_not_asked_for_twice)
{
    ask_for_postcopy_too_early();
    say(MIG_OPERATOR_POSTCOPY);
    expect_refused("asked for already");
    say(MIG_OPERATOR_PAUSE);
    expect_refused("post-copy was asked for");
}
END_TEST

START_TEST(postcopy_that_waits_can_be_cancelled)
{
    ask_for_postcopy_too_early();
    say(MIG_OPERATOR_CANCEL);
    accepted();
    ck_assert_int_eq(f.m.phase, MIG_ROLLBACK);
    ck_assert_ptr_null(sent(QAPI_MIGRATE_START_POSTCOPY));
}
END_TEST

/* Stopped, and then looked at when the policy's bound is long over. */
static void stop_for_long(void)
{
    f.m.policy.stop_max_ms = 2000;
    say(MIG_OPERATOR_PAUSE);
    accepted();
    ck_assert_ptr_nonnull(sent(QAPI_STOP));
    f.m.now_ns += qf_ms_to_ns(100000);
    ck_assert_int_eq(read_set("timeout=0", NULL), 0); /* the policy is asked */
}

START_TEST(a_stop_that_the_policy_allows_is_bounded)
{
    f.m.policy.stop_allowed = true;
    stop_for_long();
    ck_assert_ptr_nonnull(strstr(decision(0)->because, "at most 2.0 s (stop.max)"));
    step();
    ck_assert_int_eq(decision(1)->action, POLICY_ABORT);
    ck_assert_str_eq(decision(1)->rule, "stop.max");
}
END_TEST

START_TEST(a_stop_that_it_does_not_allow_takes_as_long_as_it_takes)
{
    f.m.policy.stop_allowed = false;
    stop_for_long();
    ck_assert_ptr_nonnull(strstr(decision(0)->because, "however long it takes"));
    step();
    ck_assert_int_eq(f.m.phase, MIG_PRECOPY);
}
END_TEST

START_TEST(a_bound_that_the_operator_has_set_holds)
{
    f.m.policy.stop_allowed = false;
    ck_assert_int_eq(read_set("stop.max=2s", NULL), 0);
    accepted();
    stop_for_long();
    step();
    ck_assert_str_eq(decision(1)->rule, "stop.max");
}
END_TEST

START_TEST(a_bound_can_be_lifted_while_it_is_stopped)
{
    f.m.policy.stop_allowed = true;
    stop_for_long();
    ck_assert_int_eq(read_set("stop.max=0", NULL), 0);
    accepted();
    ck_assert_int_eq(f.m.phase, MIG_PRECOPY);
}
END_TEST

START_TEST(cancel_is_as_a_signal)
{
    say(MIG_OPERATOR_CANCEL);
    accepted();
    ck_assert_int_eq(decision(0)->action, POLICY_ABORT);
    ck_assert_int_eq(f.m.phase, MIG_ROLLBACK);
    ck_assert_int_eq(f.m.code, QF_E_CANCELLED);
}
END_TEST

START_TEST(bandwidth_is_the_one_that_counts_now)
{
    ck_assert_int_eq(read_set("bandwidth=10MiB", NULL), 0);
    accepted();
    ck_assert_uint_eq(param(QAPI_PARAM_MAX_BANDWIDTH), 10 * QF_MIB);
    ck_assert_int_eq(decision(0)->action, POLICY_SET_BANDWIDTH);
    ck_assert_uint_eq(decision(0)->value, 10 * QF_MIB);
    ck_assert_int_eq(read_set("bandwidth=0", NULL), 0); /* what QEMU was set to */
    accepted();
    ck_assert_uint_eq(param(QAPI_PARAM_MAX_BANDWIDTH), 128 * QF_MIB);
    f.m.phase = MIG_POSTCOPY;
    f.m.handed_over = true;
    f.m.side[MIG_SRC].migrate.status = QAPI_MIG_POSTCOPY_ACTIVE;
    ck_assert_int_eq(read_set("bandwidth=20MiB", NULL), 0);
    accepted();
    ck_assert_uint_eq(param(QAPI_PARAM_MAX_POSTCOPY_BANDWIDTH), 20 * QF_MIB);
}
END_TEST

/* Before the source is set up it wins over --bandwidth, and nothing is sent. */
START_TEST(early_bandwidth_goes_into_the_request)
{
    f.m.phase = MIG_CONNECT;
    f.m.spec.bandwidth_bytes_per_s = 5 * QF_MIB;
    ck_assert_int_eq(read_set("bandwidth=10MiB", NULL), 0);
    accepted();
    ck_assert_ptr_null(sent(QAPI_SET_PARAMS));
    ck_assert_uint_eq(f.m.spec.bandwidth_bytes_per_s, 10 * QF_MIB);
}
END_TEST

static const struct {
    uint64_t limit_ms; /* in force, of at most 100 ms */
    const char *text;
    uint64_t then_ms;
} limits[] = {
    {100, "downtime.max=2s", 2000},  /* it had gone to the bound: on to the new one */
    {50, "downtime.max=2s", 50},     /* it had not: when it is time */
    {100, "downtime.max=60ms", 60},  /* above the bound */
    {50, "downtime.max=60ms", 50},   /* below */
    {100, "downtime.max=100ms", 100} /* no change */
};

START_TEST(the_limit_in_force_follows_its_bound)
{
    f.m.downtime_limit_ms = limits[_i].limit_ms;
    ck_assert_int_eq(read_set(limits[_i].text, NULL), 0);
    accepted();
    ck_assert_uint_eq(f.m.downtime_limit_ms, limits[_i].then_ms);
    if (limits[_i].then_ms == limits[_i].limit_ms) {
        ck_assert_ptr_null(sent(QAPI_SET_PARAMS));
        ck_assert_int_eq(decision(0)->action, POLICY_WAIT);
    } else {
        ck_assert_uint_eq(param(QAPI_PARAM_DOWNTIME_LIMIT), limits[_i].then_ms);
        ck_assert_int_eq(decision(0)->action, POLICY_SET_DOWNTIME);
        ck_assert_uint_eq(decision(0)->value, limits[_i].then_ms);
    }
}
END_TEST

START_TEST(a_throttle_in_force_follows_its_bound)
{
    f.m.throttling = true;
    ck_assert_int_eq(read_set("throttle.max=10", NULL), 0);
    accepted();
    ck_assert_uint_eq(param(QAPI_PARAM_MAX_CPU_THROTTLE), 10);
    ck_assert_uint_eq(param(QAPI_PARAM_CPU_THROTTLE_INITIAL), 10);
    ck_assert_int_eq(read_set("throttle.allowed=false", NULL), 0);
    accepted();
    ck_assert_uint_eq(param(QAPI_PARAM_MAX_CPU_THROTTLE), 1);
    ck_assert(!f.m.throttling);
    ck_assert_int_eq(read_set("throttle.allowed=true", NULL),
                     0); /* it was on at the start */
    accepted();
    f.m.side[MIG_SRC].caps_changed = 0;
    expect_refused("auto-converge");
}
END_TEST

START_TEST(one_command_is_one_command_to_qemu)
{
    ck_assert_int_eq(read_set("bandwidth=1MiB", "downtime.max=1s"), 0);
    accepted();
    ck_assert_uint_eq(param(QAPI_PARAM_MAX_BANDWIDTH), QF_MIB);
    ck_assert_uint_eq(param(QAPI_PARAM_DOWNTIME_LIMIT), 1000);
    ck_assert_str_eq(decision(1)->rule, "operator");
    /* put back in the end */
    ck_assert(f.m.side[MIG_SRC].params_changed & (1U << QAPI_PARAM_MAX_BANDWIDTH));
}
END_TEST

START_TEST(the_policy_is_asked_at_once)
{
    f.m.now_ns += qf_ms_to_ns(5000);
    ck_assert_int_eq(read_set("timeout=2s", "on-timeout=abort"), 0);
    accepted();
    ck_assert_str_eq(decision(2)->rule, "timeout");
    ck_assert_int_eq(f.m.phase, MIG_ROLLBACK);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("operator");
    TCase *t = tcase_create("operator");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, kinds_are_read_by_name);
    tcase_add_test(t, all_assignments_are_read_or_none);
    tcase_add_loop_test(t, what_cannot_be_set_is_named, 0,
                        (int)(sizeof(bad) / sizeof(bad[0])));
    tcase_add_test(t, a_set_of_nothing_is_refused);
    tcase_add_loop_test(t, postcopy_needs_the_capability_on_both_sides, 0, MIG_SIDES);
    tcase_add_test(t, throttling_needs_the_capability_of_the_source);
    tcase_add_test(t, nothing_is_asked_for_twice);
    tcase_add_test(t, a_guest_that_does_not_run_cannot_be_stopped);
    tcase_add_test(t, the_owner_table_is_asked);
    tcase_add_loop_test(t, each_phase_allows_what_is_possible, 0,
                        (int)(sizeof(phases) / sizeof(phases[0])));
    tcase_add_test(t, the_switch_to_postcopy_is_not_cancelled);
    tcase_add_test(t, while_the_guest_is_handed_over_nothing_is_changed);
    tcase_add_test(t, questions_that_are_not_answered_are_bounded);
    tcase_add_test(t, what_is_refused_is_not_done);
    tcase_add_test(t, postcopy_is_sent_and_said);
    tcase_add_loop_test(t, the_guest_is_stopped_before_postcopy, 0, 5);
    tcase_add_loop_test(t, postcopy_that_is_refused_leaves_no_guest_stopped, 0, 2);
    tcase_add_test(t, postcopy_waits_until_the_link_has_been_measured);
    tcase_add_test(t, postcopy_does_not_wait_for_ever);
    tcase_add_test(t, postcopy_that_waits_is_not_asked_for_twice);
    tcase_add_test(t, postcopy_that_waits_can_be_cancelled);
    tcase_add_test(t, a_stop_that_the_policy_allows_is_bounded);
    tcase_add_test(t, a_stop_that_it_does_not_allow_takes_as_long_as_it_takes);
    tcase_add_test(t, a_bound_that_the_operator_has_set_holds);
    tcase_add_test(t, a_bound_can_be_lifted_while_it_is_stopped);
    tcase_add_test(t, cancel_is_as_a_signal);
    tcase_add_test(t, bandwidth_is_the_one_that_counts_now);
    tcase_add_test(t, early_bandwidth_goes_into_the_request);
    tcase_add_loop_test(t, the_limit_in_force_follows_its_bound, 0,
                        (int)(sizeof(limits) / sizeof(limits[0])));
    tcase_add_test(t, a_throttle_in_force_follows_its_bound);
    tcase_add_test(t, one_command_is_one_command_to_qemu);
    tcase_add_test(t, the_policy_is_asked_at_once);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *r = srunner_create(suite());
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

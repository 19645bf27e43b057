/* The choice of a network in the course of a move: what is decided, journaled and replayed. The
 * rules themselves are a table in tests/unit/test_netsel.c. */
#include <check.h>
#include <string.h>

#include "engine/base/units.h"
#include "setups.h"
#include "sim.h"

static struct sim sim;
static struct sim_setup u;
static struct netsel_facts facts;
static struct netsel_facts later;

static void setup(void)
{
    u = sim_usual();
    memset(&later, 0, sizeof(later));
    sim_two_networks(&u, &facts);
    u.spec.networks.network[0].rate_bytes_per_s = 100 * 1000 * 1000;
    for (unsigned i = 0; i < facts.n_locals; i++)
        facts.local[i].speed_bytes_per_s = 50 * 1000 * 1000;
    facts.path[1].answer = NETSEL_ACCEPTED;
}

static void teardown(void)
{
    sim_free(&sim);
}

static void move(const char *name)
{
    sim_run(&sim, &u);
    if (name)
        sim_golden(name, sim_trace(&sim));
    ck_assert_str_eq(sim_complaint(&sim), "");
}

static void expect(int status, const char *network)
{
    ck_assert_int_eq(qf_code_status(sim.result.code), status);
    const struct mig *m = &sim.session->mig;
    ck_assert_str_eq(
        m->network.chosen < 0 ? "" : m->network.candidate[m->network.chosen].name, network);
}

START_TEST(the_network_for_migrations_is_taken)
{
    u.policy = "post-copy"; /* its rate holds after the switch, too */
    move("network");
    expect(0, "migration");
}
END_TEST

/* What somebody has configured QEMU may count on in the switch, where it knows how. */
START_TEST(a_configured_rate_is_a_hint)
{
    sim_use(&u, _i == 0 ? MODEL_7_2 : MODEL_10_0);
    if (_i == 2)
        u.spec.networks.network[0].rate_bytes_per_s = 0;
    move(NULL);
    expect(0, "migration");
    ck_assert_int_eq(
        strstr(sim_trace(&sim), "avail-switchover-bandwidth=100000000") != NULL, _i == 1);
    ck_assert_int_eq(strstr(sim_trace(&sim), "avail-switchover-bandwidth=0") != NULL,
                     _i == 1);
}
END_TEST

START_TEST(management_is_fallen_back_to)
{
    facts.path[0].answer = NETSEL_FAILED;
    (void)strcpy(facts.path[0].fault, "host is unreachable");
    move("network-fallback");
    expect(0, "management");
}
END_TEST

START_TEST(without_one_nothing_is_touched)
{
    facts.local[0].up = facts.local[1].carrier = false;
    move("network-none");
    expect(3, "");
    ck_assert_uint_eq(sim.n_sent, 0);
}
END_TEST

START_TEST(a_source_elsewhere_is_warned_of)
{
    (void)strcpy(u.spec.source, _i == 0 ? "tcp:hv1:4444" : "tcp:127.0.0.1:4444");
    move(NULL);
    expect(0, "migration");
    ck_assert_int_eq(strstr(sim_trace(&sim), "monitor is on another host") != NULL,
                     _i == 0);
}
END_TEST

START_TEST(a_dry_run_shows_it)
{
    u.spec.dry_run = true;
    move("network-dry-run");
    expect(0, "migration");
}
END_TEST

START_TEST(what_never_comes_is_no_network)
{
    u.network_ns = MODEL_NEVER;
    move(NULL);
    expect(3, "");
    ck_assert_str_eq(sim.result.reason,
                     "no usable network: nothing was found out about them within 10 s");
    ck_assert_uint_eq(sim.n_sent, 0);
}
END_TEST

START_TEST(it_can_be_cancelled_while_it_is_waited_for)
{
    u.network_ns = 2 * MODEL_S;
    sim_cancel_at(&u, 2 * MODEL_S);
    move(NULL);
    ck_assert_int_eq(qf_code_status(sim.result.code), 5);
    ck_assert_uint_eq(sim.n_sent, 0);
}
END_TEST

/* The limit that --bandwidth, the policy or an operator gives. */
static const struct {
    const char *set;
    uint64_t asked; /* 0: auto */
    const char *operator_says;
    const char *limit; /* as sent */
} limits[] = {
    {NULL, 0, NULL, "max-bandwidth=100000000"},
    {"bandwidth=30000000", 0, NULL, "max-bandwidth=30000000"},
    {"bandwidth=300000000", 0, NULL, "max-bandwidth=100000000"},
    {NULL, 70000000, NULL, "max-bandwidth=70000000"},
    {NULL, 0, "bandwidth=60000000", "max-bandwidth=60000000"},
};

START_TEST(the_limit_is_the_right_one)
{
    u.set[0] = limits[_i].set;
    if (limits[_i].asked) {
        u.spec.bandwidth_auto = false;
        u.spec.bandwidth_bytes_per_s = limits[_i].asked;
    }
    if (limits[_i].operator_says) {
        u.network_ns = 100 * MODEL_MS;
        sim_at_phase(&u, SIM_OPERATOR, MIG_PREFLIGHT, 0)->operator_says =
            limits[_i].operator_says;
    }
    move(NULL);
    expect(0, "migration");
    ck_assert_msg(strstr(sim_trace(&sim), limits[_i].limit), "%s in %s", limits[_i].limit,
                  sim_trace(&sim));
}
END_TEST

/* A move that is under way has its way already. */
START_TEST(a_takeover_needs_none)
{
    sim_at_phase(&u, SIM_RESTART, MIG_PRECOPY, MODEL_S / 10);
    move(NULL);
    ck_assert_int_eq(qf_code_status(sim.result.code), 0);
    ck_assert_uint_eq(sim.n_sessions, 2);
    /* ... nor was it chosen again: the new engine did not wait for it. */
    ck_assert(!strstr(sim.journal[1].data, "\"type\":\"network\""));
}
END_TEST

/* ---- one that is lost ---- */

/* The network for migrations goes, and no probe gets through it any more. */
static void lose(enum model_what what, enum mig_phase phase, int64_t after_ns)
{
    later = facts;
    later.path[0].answer = NETSEL_FAILED;
    later.path[0].took_ms = 1000;
    (void)strcpy(later.path[0].fault, "connection timed out");
    u.network_later = &later;
    u.spec.retries = 1;
    u.spec.restarts = true;
    u.restart_ns = 300 * MODEL_MS;
    sim_at_phase(&u, SIM_FAULT, phase, after_ns)->fault =
        (struct model_fault){.what = what};
}

static void expect_reason(const char *part)
{
    ck_assert_msg(strstr(sim.result.reason, part), "%s", sim.result.reason);
}

START_TEST(a_lost_one_is_followed_by_the_next)
{
    lose(_i == 0 ? MODEL_NET_RESET : MODEL_NET_SILENT, MIG_PRECOPY, MODEL_S);
    move(_i == 0 ? "network-lost" : "network-lost-silently");
    expect(0, "management");
    ck_assert_uint_eq(sim.n_replaced, 1);
    ck_assert_uint_eq(sim.session->mig.attempt, 2);
}
END_TEST

/* What a stall is called. The network that the probe sees is as `facts` say. */
static void stall_in_precopy(struct model_fault fault, struct model_fault besides)
{
    u.spec.retries = 0;
    u.n_doings = 2;
    u.doing[0] = (struct sim_doing){.when = SIM_AT_PHASE,
                                    .what = SIM_FAULT,
                                    .phase = MIG_PRECOPY,
                                    .t_ns = MODEL_S,
                                    .fault = fault};
    u.doing[1] = u.doing[0];
    u.doing[1].fault = besides;
    u.set[0] = "timeout=60s";
    sim_run(&sim, &u);
    ck_assert_str_eq(sim_complaint(&sim), "");
}

static unsigned times(const char *part)
{
    unsigned n = 0;
    for (const char *at = sim_trace(&sim); (at = strstr(at, part)); at += strlen(part))
        n++;
    return n;
}

START_TEST(a_stall_has_a_name)
{
    const struct model_fault silent = {.what = MODEL_NET_SILENT};
    const struct model_fault disk = {.what = MODEL_IO_ERROR};
    const struct model_fault nothing = {.what = MODEL_NOTHING};
    const struct model_fault src = {
        .what = MODEL_STALL, .side = MODEL_SRC, .for_ns = 31 * MODEL_S};
    const struct model_fault dst = {
        .what = MODEL_STALL, .side = MODEL_DST, .for_ns = 31 * MODEL_S};
    static const char *const names[] = {
        "the link is saturated or",       "mend it and send cont",
        "the path is dead, both",         "besides, a disk has stopped the guest",
        "main loop of the source's QEMU", "main loop of the destination's QEMU"};
    if (_i == 2 || _i == 3) {
        later = facts;
        later.path[0].answer = NETSEL_FAILED;
        u.network_later = &later;
    }
    stall_in_precopy(_i == 4   ? src
                     : _i == 5 ? dst
                               : silent,
                     _i == 1 || _i == 3 ? disk
                     : _i == 5          ? silent
                                        : nothing);
    /* At 5 s, 10 s, 20 s and 40 s of it, as far as it goes. */
    if (times(names[_i]) < 2 || times(names[_i]) > 4)
        ck_abort_msg("%s: %u times in\n%s", names[_i], times(names[_i]), sim_trace(&sim));
    for (int i = 0; i < 6; i++)
        if (i != _i && !(_i == 3 && i == 2) && !(_i == 5 && i == 0))
            ck_assert_msg(times(names[i]) == 0, "%s: in\n%s", names[i], sim_trace(&sim));
    expect(_i == 4 ? 0 : 4, "migration");
}
END_TEST

/* Also in the switch: the guest is back on the source before anything is started again. */
START_TEST(a_lost_one_in_the_switch)
{
    lose(MODEL_NET_RESET, MIG_SWITCHOVER, _i * MODEL_MS);
    move(NULL);
    expect(0, "management");
    ck_assert_uint_eq(sim.n_replaced, 1);
}
END_TEST

/* connect() hangs for two minutes, and neither cancel nor yank reaches it. */
START_TEST(a_black_hole_before_it_is_connected)
{
    lose(MODEL_NET_SILENT, MIG_CONFIGURE, 0);
    move("network-black-hole");
    expect(0, "management");
    ck_assert_uint_eq(sim.n_replaced, 1);
}
END_TEST

/* The probe gets through, the migration does not, and the destination has seen nobody. */
START_TEST(a_port_that_is_not_reached)
{
    lose(MODEL_NET_SILENT, MIG_CONFIGURE, 0);
    u.network_later = NULL;
    move(NULL);
    expect(0, "management");
    ck_assert(strstr(sim_trace(&sim), "its port for the migration is not reached"));
}
END_TEST

START_TEST(without_a_command_it_says_what_to_do)
{
    lose(MODEL_NET_RESET, MIG_PRECOPY, MODEL_S);
    u.spec.restarts = false;
    move(NULL);
    ck_assert_int_eq(qf_code_status(sim.result.code), 4);
    expect_reason(
        "migration is lost (10.1.0.2 does not answer through m0: connection timed "
        "out), management is usable, but this destination's QEMU takes no second "
        "migration: start it anew and migrate again, or let --restart-destination "
        "do that");
}
END_TEST

/* Silence is given up only when something is gained by it: a policy may wait longer. */
START_TEST(without_a_command_silence_is_warned_of)
{
    lose(MODEL_NET_SILENT, MIG_PRECOPY, MODEL_S);
    u.spec.restarts = false;
    u.set[0] = "progress-timeout=40s";
    move(NULL);
    ck_assert_int_eq(qf_code_status(sim.result.code), 4);
    ck_assert(strstr(sim_trace(&sim), "no byte has moved over migration for 10 s"));
    ck_assert_int_eq(sim.result.outcome, OUTCOME_ABORTED);
}
END_TEST

START_TEST(what_was_not_the_network_is_not_started_again)
{
    lose(_i == 0 ? MODEL_NET_RESET : MODEL_DIE, MIG_PRECOPY, MODEL_S);
    u.doing[0].fault.side = MODEL_DST;
    u.network_later = NULL;
    move(NULL);
    ck_assert_int_eq(qf_code_status(sim.result.code), 4);
    ck_assert_uint_eq(sim.n_replaced, 0);
    expect_reason("not started again: migration still answers, so it was not the network");
}
END_TEST

/* A destination that is only busy. */
START_TEST(bytes_that_stand_still_prove_nothing)
{
    lose(MODEL_NET_SILENT, MIG_PRECOPY, MODEL_S);
    u.network_later = NULL;
    u.set[0] = "progress-timeout=60s";
    move(NULL);
    ck_assert_int_eq(sim.result.outcome, OUTCOME_ABORTED);
    ck_assert_uint_eq(sim.n_replaced, 0);
}
END_TEST

START_TEST(no_other_is_usable)
{
    lose(MODEL_NET_RESET, MIG_PRECOPY, MODEL_S);
    later.local[1].up = false;
    move(NULL);
    ck_assert_int_eq(qf_code_status(sim.result.code), 4);
    ck_assert_uint_eq(sim.n_replaced, 0);
    expect_reason("no other network is usable");
}
END_TEST

/* Nothing is gained by giving it up. */
START_TEST(silence_is_waited_out_where_no_other_is_usable)
{
    lose(MODEL_NET_SILENT, MIG_PRECOPY, MODEL_S);
    later.local[1].up = false;
    u.set[0] = "progress-timeout=60s";
    move(NULL);
    ck_assert_int_eq(sim.result.outcome, OUTCOME_ABORTED);
    ck_assert_uint_eq(sim.n_replaced, 0);
}
END_TEST

START_TEST(retries_are_counted)
{
    lose(MODEL_NET_RESET, MIG_PRECOPY, MODEL_S);
    u.spec.retries = 0;
    move(NULL);
    ck_assert_int_eq(qf_code_status(sim.result.code), 4);
    ck_assert_uint_eq(sim.n_replaced, 0);
    ck_assert_uint_eq(sim.n_probes, 1);
}
END_TEST

START_TEST(a_command_that_goes_wrong)
{
    lose(MODEL_NET_RESET, MIG_PRECOPY, MODEL_S);
    if (_i == 0)
        u.restart_fails = true;
    else if (_i == 1)
        u.restart_ns = MODEL_NEVER;
    else
        u.restart_does_nothing = true;
    move(NULL);
    ck_assert_int_eq(qf_code_status(sim.result.code), 4);
    expect_reason(_i == 0   ? "--restart-destination: ended with status 1: no such host"
                  : _i == 1 ? "--restart-destination does not end"
                            : "attempt 2: destination: ");
}
END_TEST

START_TEST(a_cancel_ends_it)
{
    lose(MODEL_NET_RESET, MIG_PRECOPY, MODEL_S);
    sim_at_phase(&u, SIM_CANCEL, _i == 0 ? MIG_ROLLBACK : MIG_AGAIN,
                 _i == 2 ? 100 * MODEL_MS : 0);
    move(NULL);
    ck_assert_int_eq(qf_code_status(sim.result.code), 5);
    ck_assert_uint_eq(sim.n_replaced, 0);
}
END_TEST

/* What an operator has set holds in the next attempt, and settings are put back after it. */
START_TEST(an_operators_word_stays)
{
    lose(MODEL_NET_RESET, MIG_PRECOPY, MODEL_S);
    sim_at_phase(&u, SIM_OPERATOR, MIG_PRECOPY, 100 * MODEL_MS)->operator_says =
        "bandwidth=60000000";
    move("network-lost-operator");
    expect(0, "management");
}
END_TEST

/* ... above --bandwidth, too, which was said before it. */
START_TEST(an_operators_word_stays_above_an_option)
{
    lose(MODEL_NET_RESET, MIG_PRECOPY, MODEL_S);
    u.spec.bandwidth_auto = false;
    u.spec.bandwidth_bytes_per_s = 90000000;
    sim_at_phase(&u, SIM_OPERATOR, MIG_PRECOPY, 100 * MODEL_MS)->operator_says =
        "bandwidth=60000000";
    move(NULL);
    expect(0, "management");
    const char *again = strstr(sim_trace(&sim), "# again");
    ck_assert_ptr_nonnull(again);
    ck_assert_msg(strstr(again, "max-bandwidth=60000000"), "%s", sim_trace(&sim));
}
END_TEST

/* QEMU does not end the migration that was given up (channels): no fresh destination beside one that runs. */
START_TEST(a_source_that_migrates_still_is_not_started_again)
{
    sim_use(&u, MODEL_7_2);
    u.model.working_set_bytes = u.model.ram_bytes / 2;
    u.set[0] = "timeout=100s";
    u.spec.channels_said = true;
    u.spec.channels = 4;
    u.model.cancel_hangs = true;
    lose(MODEL_NET_SILENT, MIG_PRECOPY, MODEL_S / 2);
    if (_i == 1)
        sim_at_phase(&u, SIM_FAULT, MIG_ROLLBACK, 8 * MODEL_S)->fault =
            (struct model_fault){.what = MODEL_DIE, .side = MODEL_DST};
    move(NULL);
    ck_assert_int_eq(qf_code_status(sim.result.code), 4);
    ck_assert_uint_eq(sim.n_replaced, 0);
    ck_assert_ptr_null(strstr(sim_trace(&sim), "quit is not sent"));
    ck_assert_ptr_nonnull(
        strstr(sim_trace(&sim), "does not end the migration that was given up"));
}
END_TEST

/* QEMU leaves a stopped guest in postmigrate, and would refuse to move it again. */
START_TEST(a_paused_guest_that_fails_in_the_switch_is_not_started_again)
{
    u.model.run = QAPI_RUN_PAUSED;
    lose(MODEL_NET_RESET, MIG_SWITCHOVER, MODEL_MS);
    move(NULL);
    ck_assert_int_eq(qf_code_status(sim.result.code), 4);
    ck_assert_int_eq(sim.result.running_on, PLACE_SOURCE);
    ck_assert_uint_eq(sim.n_replaced, 0);
}
END_TEST

/* Exit status 3 says that nothing was touched: no later attempt can. */
START_TEST(a_refusal_in_another_attempt_is_a_failure)
{
    lose(MODEL_NET_RESET, MIG_PRECOPY, MODEL_S);
    u.model.n_faults = 1;
    u.model.fault[0] = (struct model_fault){.when = MODEL_AT_COMMAND,
                                            .what = MODEL_REFUSE,
                                            .side = MODEL_DST,
                                            .name = "migrate-incoming",
                                            .n = 3,
                                            .text = "Address already in use"};
    move(NULL);
    ck_assert_int_eq(qf_code_status(sim.result.code), 4);
    ck_assert_int_eq(sim.result.outcome, OUTCOME_FAILED);
    ck_assert_int_eq(sim.result.running_on, PLACE_SOURCE);
    expect_reason("attempt 2: ");
}
END_TEST

/* ---- a connection that qferry opens ---- */

static void bound(const char *where)
{
    (void)snprintf(u.spec.bind, sizeof(u.spec.bind), "%s", where);
}

START_TEST(qferry_opens_the_connection)
{
    bound(_i == 0 ? "m0" : "10.1.0.1");
    u.policy = _i == 0 ? NULL : "stop-and-copy";
    move(_i == 0 ? "bind" : NULL);
    expect(0, "migration");
}
END_TEST

START_TEST(what_does_not_fit_is_refused)
{
    static const char *const where[] = {"e0", "10.2.0.1", "fd00::1"};
    bound(where[_i]);
    move(NULL);
    ck_assert_int_eq(qf_code_status(sim.result.code), 3);
    ck_assert_uint_eq(sim.n_sent, 0);
    expect_reason(_i == 0 ? "--bind e0 does not fit the network that is chosen, migration: "
                            "the way to 10.1.0.2 is from 10.1.0.1 on m0"
                  : _i == 1
                      ? "--bind 10.2.0.1 does not fit"
                      : "--bind fd00::1 is an IPv6 address, the destination listens on "
                        "10.1.0.2");
}
END_TEST

/* Nobody has seen a byte: said at once, where QEMU would hang in connect() for two minutes. */
START_TEST(it_is_not_made)
{
    bound("m0");
    lose(MODEL_NET_SILENT, MIG_CONFIGURE, 0);
    u.spec.restarts = false;
    move(NULL);
    ck_assert_int_eq(qf_code_status(sim.result.code), 4);
    expect_reason("the connection from m0 to 10.1.0.2, port 49200: no answer within 10 s; "
                  "migration is lost (");
    ck_assert_int_lt(sim.t_ns, 20 * MODEL_S);
}
END_TEST

/* The destination has been connected to, and then QEMU does not take it. */
START_TEST(it_is_made_and_not_taken)
{
    static const char *const commands[] = {"getfd", "migrate"};
    bound("m0");
    u.model.n_faults = 1;
    u.model.fault[0] = (struct model_fault){.when = MODEL_AT_COMMAND,
                                            .what = MODEL_REFUSE,
                                            .side = MODEL_SRC,
                                            .name = commands[_i]};
    move(NULL);
    ck_assert_int_eq(qf_code_status(sim.result.code), 4);
    expect_reason(_i == 0 ? "source: getfd: refused" : "source: migrate: refused");
    ck_assert_int_eq(strstr(sim_trace(&sim), "source < closefd") != NULL, _i == 1);
}
END_TEST

/* QEMU has it under its name, perhaps, and nobody would close it. */
START_TEST(it_is_made_and_the_source_does_not_say_whether_it_has_it)
{
    bound("m0");
    u.model.n_faults = 1;
    u.model.fault[0] = (struct model_fault){
        .when = MODEL_AT_COMMAND, .what = MODEL_LOSE, .side = MODEL_SRC, .name = "getfd"};
    move(NULL);
    ck_assert_int_eq(qf_code_status(sim.result.code), 4);
    ck_assert_int_eq(sim.result.running_on, PLACE_SOURCE);
    expect_reason("the source does not answer getfd");
    ck_assert_ptr_nonnull(strstr(sim_trace(&sim), "source < closefd"));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("sim/networks");
    TCase *t = tcase_create("moves");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, the_network_for_migrations_is_taken);
    tcase_add_loop_test(t, a_configured_rate_is_a_hint, 0, 3);
    tcase_add_test(t, management_is_fallen_back_to);
    tcase_add_test(t, without_one_nothing_is_touched);
    tcase_add_loop_test(t, a_source_elsewhere_is_warned_of, 0, 2);
    tcase_add_test(t, a_dry_run_shows_it);
    tcase_add_test(t, what_never_comes_is_no_network);
    tcase_add_test(t, it_can_be_cancelled_while_it_is_waited_for);
    tcase_add_loop_test(t, the_limit_is_the_right_one, 0,
                        sizeof(limits) / sizeof(limits[0]));
    tcase_add_test(t, a_takeover_needs_none);
    tcase_add_loop_test(t, a_lost_one_is_followed_by_the_next, 0, 2);
    tcase_add_loop_test(t, a_stall_has_a_name, 0, 6);
    tcase_add_loop_test(t, a_lost_one_in_the_switch, 0, 4);
    tcase_add_test(t, a_black_hole_before_it_is_connected);
    tcase_add_test(t, a_port_that_is_not_reached);
    tcase_add_test(t, without_a_command_it_says_what_to_do);
    tcase_add_test(t, without_a_command_silence_is_warned_of);
    tcase_add_loop_test(t, what_was_not_the_network_is_not_started_again, 0, 2);
    tcase_add_test(t, bytes_that_stand_still_prove_nothing);
    tcase_add_test(t, no_other_is_usable);
    tcase_add_test(t, silence_is_waited_out_where_no_other_is_usable);
    tcase_add_test(t, retries_are_counted);
    tcase_add_loop_test(t, a_command_that_goes_wrong, 0, 3);
    tcase_add_loop_test(t, a_cancel_ends_it, 0, 3);
    tcase_add_test(t, an_operators_word_stays);
    tcase_add_test(t, an_operators_word_stays_above_an_option);
    tcase_add_loop_test(t, a_source_that_migrates_still_is_not_started_again, 0, 2);
    tcase_add_test(t, a_paused_guest_that_fails_in_the_switch_is_not_started_again);
    tcase_add_test(t, a_refusal_in_another_attempt_is_a_failure);
    tcase_add_loop_test(t, qferry_opens_the_connection, 0, 2);
    tcase_add_loop_test(t, what_does_not_fit_is_refused, 0, 3);
    tcase_add_test(t, it_is_not_made);
    tcase_add_loop_test(t, it_is_made_and_not_taken, 0, 2);
    tcase_add_test(t, it_is_made_and_the_source_does_not_say_whether_it_has_it);
    suite_add_tcase(s, t);
    return sim_main(s);
}

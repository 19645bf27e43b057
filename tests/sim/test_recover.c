/* Post-copy that is interrupted, in virtual time: who notices, which network is left, what is
 * refused, who dies, and which qferry mends it; on QEMU 7.2, 10.0 and 11.1. */
#include <check.h>
#include <string.h>

#include "engine/base/units.h"
#include "setups.h"
#include "sim.h"

static struct sim sim;
static struct sim_setup u;

static const enum model_flavour flavours[] = {MODEL_7_2, MODEL_10_0, MODEL_11_1};
enum { N_FLAVOURS = 3 };

static void setup(void)
{
    u = sim_busy();
    u.policy = "post-copy";
    u.set[0] = "postcopy.bandwidth=20MiB"; /* it lasts for five seconds */
}

static void teardown(void)
{
    sim_free(&sim);
}

static void use(enum model_flavour flavour)
{
    sim_use(&u, flavour);
}

static void at(enum mig_phase phase, int64_t after_ns, struct model_fault fault)
{
    sim_at_phase(&u, SIM_FAULT, phase, after_ns)->fault = fault;
}

static void interrupt(struct model_fault fault)
{
    at(MIG_POSTCOPY, MODEL_S, fault);
}

static const struct model_fault reset = {.what = MODEL_NET_RESET};

static void run(int status)
{
    sim_run(&sim, &u);
    const char *complaint = sim_complaint(&sim);
    ck_assert_msg(*complaint == '\0', "%s\n%s", complaint, sim_trace(&sim));
    ck_assert_msg(qf_code_status(sim.result.code) == status, "%s", sim_trace(&sim));
    if (status == 0)
        ck_assert_int_eq(sim.result.mode, MODE_POSTCOPY);
}

static bool says(const char *text)
{
    return strstr(sim_trace(&sim), text) != NULL;
}

static void expect_said(const char *text)
{
    ck_assert_msg(says(text), "%s in\n%s", text, sim_trace(&sim));
}

/* ---- the last word ---- */

static void lose_the_last_word(void)
{
    u.set[0] = "postcopy.bandwidth=40MiB";
    at(MIG_POSTCOPY, MODEL_S, (struct model_fault){.what = MODEL_ACK_LOST});
    at(MIG_POSTCOPY, 8 * MODEL_S, reset); /* the destination has everything */
}

/* 10.0 and 11.1 then fail, and give the guest the run state from before the switch: so it was stopped. 7.2 waits
 * for ever. */
START_TEST(the_last_word_is_lost)
{
    use(flavours[_i]);
    lose_the_last_word();
    run(0);
    if (flavours[_i] == MODEL_7_2) {
        ck_assert(!says("source < stop"));
        return;
    }
    expect_said("source < stop");
    expect_said("source > MIGRATION failed");
    expect_said("do not continue it");
    ck_assert(!says("source > RESUME"));
    expect_said("in truth: source paused/failed; destination running/completed");
}
END_TEST

/* ... while nobody looks: the next qferry knows from the journal that the guest was stopped and handed over. */
START_TEST(the_last_word_is_lost_and_qferry_was_killed)
{
    use(flavours[1 + _i % 2]);
    u.remembers = _i < 2;
    u.dead_ns = 20 * MODEL_S;
    u.set[0] = "postcopy.bandwidth=40MiB";
    at(MIG_POSTCOPY, MODEL_S, (struct model_fault){.what = MODEL_ACK_LOST});
    sim_at_phase(&u, SIM_RESTART, MIG_POSTCOPY, 2 * MODEL_S);
    u.model.fault[u.model.n_faults++] = (struct model_fault){
        .when = MODEL_AT_TIME, .what = MODEL_NET_RESET, .t_ns = 15 * MODEL_S};
    run(0);
    expect_said("do not continue it");
    expect_said("in truth: source paused/failed; destination running/completed");
}
END_TEST

/* --self-start is not for that: there QEMU runs both, until the source is stopped. */
START_TEST(the_last_word_is_lost_of_a_self_start)
{
    use(flavours[_i]);
    u.spec.self_start = true;
    u.model.dst_autostart = true;
    lose_the_last_word();
    sim_run(&sim, &u);
    ck_assert_msg(qf_code_status(sim.result.code) == (_i == 0 ? 0 : 7), "%s",
                  sim_trace(&sim));
    if (_i == 0)
        return;
    expect_said("source > RESUME");
    expect_said("source < stop");
    expect_said("in truth: source paused/failed; destination running/completed");
}
END_TEST

START_TEST(a_reset_at_any_moment)
{
    use(flavours[_i]);
    u.set[0] = "postcopy.bandwidth=0";
    run(0);
    const unsigned n = sim.n_fed;
    for (unsigned i = 1; i <= n; i++) {
        sim_free(&sim);
        u.n_doings = 1;
        u.doing[0] = (struct sim_doing){
            .when = SIM_AT_EVENT, .what = SIM_FAULT, .n = i, .fault = reset};
        sim_run(&sim, &u);
        const char *complaint = sim_complaint(&sim);
        ck_assert_msg(*complaint == '\0', "event %u: %s\n%s", i, complaint,
                      sim_trace(&sim));
    }
}
END_TEST

/* ---- who notices ---- */

START_TEST(both_notice)
{
    use(flavours[_i]);
    interrupt(reset);
    run(0);
    expect_said("at attempt 1");
}
END_TEST

START_TEST(only_one_notices)
{
    const bool src = _i / N_FLAVOURS == 0;
    use(flavours[_i % N_FLAVOURS]);
    interrupt((struct model_fault){.what = MODEL_NET_SILENT, .for_ns = 3 * MODEL_S});
    interrupt((struct model_fault){.what = MODEL_COMMANDED,
                                   .side = src ? MODEL_SRC : MODEL_DST,
                                   .text = "migrate-pause"});
    run(0);
    expect_said(src ? "the source has noticed" : "the destination has noticed");
}
END_TEST

START_TEST(nobody_notices)
{
    use(flavours[_i]);
    interrupt((struct model_fault){.what = MODEL_NET_SILENT, .for_ns = 10 * MODEL_S});
    run(0);
    expect_said("not one byte moves");
}
END_TEST

/* The silence ends by itself before it is taken for a cut. */
START_TEST(a_short_silence_is_none)
{
    interrupt((struct model_fault){.what = MODEL_NET_SILENT, .for_ns = MODEL_S});
    run(0);
    ck_assert(!says("# recover"));
}
END_TEST

START_TEST(a_destination_that_is_paused_before_it_runs_is_continued_meanwhile)
{
    use(flavours[_i]);
    at(MIG_POSTCOPY, 0, reset);
    run(0);
    ck_assert_uint_lt(sim.result.blackout_ms, 50);
    ck_assert(model_truth(sim.model)->running[MODEL_DST]);
}
END_TEST

/* What post-copy begins with is in the connection and nowhere else: it is left alone. */
START_TEST(a_silence_at_the_switch_is_waited_out)
{
    at(MIG_POSTCOPY, 0,
       (struct model_fault){.what = MODEL_NET_SILENT, .for_ns = 20 * MODEL_S});
    run(0);
    expect_said("the destination has not got the device state yet");
    ck_assert_msg(!says("migrate-pause"), "%s", sim_trace(&sim));
    ck_assert(model_truth(sim.model)->running[MODEL_DST]);
}
END_TEST

START_TEST(a_destination_that_hangs_until_it_is_mended)
{
    use(flavours[_i]);
    u.model.dst_hangs = true;
    interrupt(reset);
    run(0);
}
END_TEST

/* ---- networks ---- */

static struct netsel_facts before;
static struct netsel_facts after;

static void two_networks(void)
{
    sim_two_networks(&u, &before);
    after = before;
    after.path[0].answer = NETSEL_WAITING;
    after.waited_ms = NETSEL_PATIENCE_MS;
    u.later = &after;
    u.later_phase = MIG_POSTCOPY;
    u.later_ns = MODEL_S;
}

START_TEST(the_other_network_is_taken)
{
    use(flavours[_i]);
    two_networks();
    interrupt((struct model_fault){.what = MODEL_NET_SILENT, .text = "10.1."});
    run(0);
    expect_said("the network is dead");
    expect_said("over management, 10.2.0.2:");
    ck_assert_str_eq(
        sim.session->mig.network.candidate[sim.session->mig.network.chosen].name,
        "management");
    if (_i == 0)
        sim_golden("recover-network", sim_trace(&sim));
}
END_TEST

/* What answers a probe may yet not let a connection through. */
START_TEST(a_network_that_only_seems_to_work_is_left_after_two_attempts)
{
    two_networks();
    u.later = NULL;
    interrupt((struct model_fault){.what = MODEL_NET_SILENT, .text = "10.1."});
    run(0);
    expect_said("attempt 2");
    expect_said("at attempt 3, over management");
}
END_TEST

START_TEST(without_any_network_it_is_tried_for_ever)
{
    two_networks();
    after.path[1].answer = NETSEL_FAILED;
    after.path[0].answer = NETSEL_FAILED;
    interrupt((struct model_fault){.what = MODEL_NET_SILENT});
    run(7);
    expect_said("no usable network");
    expect_said("-- the user gives up --");
}
END_TEST

/* ---- refused ---- */

static const struct {
    enum model_side side;
    const char *command;
} refusals[] = {
    {MODEL_DST, "migrate-pause"},
    {MODEL_SRC, "migrate-pause"},
    {MODEL_DST, "migrate-recover"},
    {MODEL_SRC, "migrate"},
};

START_TEST(what_is_refused_or_lost_is_said_again)
{
    const unsigned k = (unsigned)_i % 4;
    const bool lost = _i >= 4;
    const bool is_resume = k == 3;
    u.model.fault[u.model.n_faults++] =
        (struct model_fault){.when = MODEL_AT_COMMAND,
                             .what = lost ? MODEL_LOSE : MODEL_REFUSE,
                             .side = refusals[k].side,
                             .name = refusals[k].command,
                             .n = is_resume ? 2 : 1,
                             .text = "no, says the test"};
    interrupt((struct model_fault){.what = MODEL_NET_SILENT, .for_ns = 3 * MODEL_S});
    run(0);
}
END_TEST

/* The source is told to resume when nobody waits for it any more. */
START_TEST(a_late_connection_finds_no_listener)
{
    use(flavours[_i]);
    u.model.fault[u.model.n_faults++] = (struct model_fault){.when = MODEL_AT_COMMAND,
                                                             .what = MODEL_DELAY,
                                                             .for_ns = 3 * MODEL_S,
                                                             .side = MODEL_SRC,
                                                             .name = "migrate",
                                                             .n = 2};
    interrupt(reset);
    run(0);
}
END_TEST

/* ---- deaths, monitors, qferry ---- */

START_TEST(a_death_is_the_loss_of_the_guest)
{
    const enum model_side side = _i / N_FLAVOURS == 0 ? MODEL_SRC : MODEL_DST;
    use(flavours[_i % N_FLAVOURS]);
    interrupt((struct model_fault){.what = MODEL_NET_SILENT, .for_ns = MODEL_NEVER});
    at(MIG_RECOVER, MODEL_S, (struct model_fault){.what = MODEL_DIE, .side = side});
    run(7);
    expect_said("the guest is lost");
    ck_assert_int_eq(sim.result.running_on, PLACE_NONE);
}
END_TEST

START_TEST(monitors_come_and_go)
{
    const enum model_side side = _i / N_FLAVOURS == 0 ? MODEL_SRC : MODEL_DST;
    use(flavours[_i % N_FLAVOURS]);
    u.model.dst_hangs = true;
    interrupt((struct model_fault){.what = MODEL_NET_SILENT, .for_ns = 10 * MODEL_S});
    at(MIG_RECOVER, 0,
       (struct model_fault){.what = MODEL_CUT, .side = side, .for_ns = 60 * MODEL_S});
    run(0);
}
END_TEST

START_TEST(the_next_qferry_takes_it_up)
{
    use(flavours[_i % N_FLAVOURS]);
    u.model.dst_hangs = _i / N_FLAVOURS & 1;
    u.then_attach = _i / N_FLAVOURS & 2;
    interrupt((struct model_fault){.what = MODEL_NET_SILENT, .for_ns = 5 * MODEL_S});
    sim_at_phase(&u, SIM_RESTART, MIG_RECOVER, MODEL_S);
    run(0);
    ck_assert_uint_eq(sim.n_sessions, 2);
    if (_i == 0)
        sim_golden("recover-restart", sim_trace(&sim));
}
END_TEST

START_TEST(the_second_signal_ends_it)
{
    interrupt((struct model_fault){.what = MODEL_NET_SILENT, .for_ns = MODEL_NEVER});
    for (unsigned i = 0; i < 2; i++)
        sim_at_phase(&u, SIM_CANCEL, MIG_RECOVER, MODEL_S + i * MODEL_S);
    run(7);
    expect_said("qferry attach");
    ck_assert(model_truth(sim.model)->alive[MODEL_SRC]);
    ck_assert(model_truth(sim.model)->split);
}
END_TEST

/* ---- encrypted ---- */

static void expect_not(const char *text)
{
    ck_assert_msg(!says(text), "%s in\n%s", text, sim_trace(&sim));
}

START_TEST(a_tunnel_is_used_again)
{
    use(flavours[_i % N_FLAVOURS]);
    if (_i >= N_FLAVOURS)
        two_networks();
    u.spec.encrypt = SPEC_ENCRYPT_SSH;
    interrupt(reset);
    run(0);
    expect_said("destination < migrate-recover unix:/run/qferry/tls-b/m");
    expect_said("source < migrate unix:/run/qferry/tls-a/s resume");
    expect_said("at attempt 1");
    expect_not("migrate-recover tcp:");
    expect_not("migrate tcp:");
}
END_TEST

/* Whoever comes to know of it first. */
START_TEST(without_its_tunnel_it_is_held)
{
    static const int64_t apart[] = {-MODEL_MS, 0, MODEL_MS, 5 * MODEL_MS};
    u.spec.encrypt = SPEC_ENCRYPT_SSH;
    interrupt((struct model_fault){.what = MODEL_NET_SILENT, .for_ns = MODEL_NEVER});
    interrupt(reset);
    sim_at_phase(&u, SIM_UNSECURED, MIG_POSTCOPY, MODEL_S + apart[_i]);
    run(7);
    expect_said("its tunnel has ended, and the guest's memory would go in the clear");
    expect_not("migrate-recover tcp:");
    expect_not("migrate tcp:");
}
END_TEST

/* The connection is not broken for nothing: it may yet flow on. */
START_TEST(what_stands_still_without_its_tunnel_is_not_broken)
{
    u.spec.encrypt = SPEC_ENCRYPT_SSH;
    interrupt((struct model_fault){.what = MODEL_NET_SILENT, .for_ns = MODEL_NEVER});
    sim_at_phase(&u, SIM_UNSECURED, MIG_POSTCOPY, MODEL_S);
    run(7);
    expect_not("< migrate-pause");
}
END_TEST

START_TEST(the_tunnel_of_another_qferry_is_not_gone_round)
{
    static const enum spec_encrypt next[] = {SPEC_ENCRYPT_OFF, SPEC_ENCRYPT_PSK,
                                             SPEC_ENCRYPT_X509, SPEC_ENCRYPT_SSH};
    u.spec.encrypt = SPEC_ENCRYPT_SSH;
    u.then_attach = _i < 4;
    u.encrypt_again = next[_i % 4];
    if (next[_i % 4] == SPEC_ENCRYPT_OFF)
        u.off_again = true;
    interrupt(reset);
    sim_at_phase(&u, SIM_RESTART, MIG_POSTCOPY, MODEL_S);
    run(7);
    ck_assert_uint_eq(sim.n_sessions, 2);
    expect_said("in the clear");
    expect_not("migrate-recover tcp:");
    expect_not("migrate tcp:");
    expect_not("< migrate-recover");
    if (next[_i % 4] == SPEC_ENCRYPT_PSK)
        expect_said("is encrypted in another way");
    ck_assert(model_truth(sim.model)->split);
}
END_TEST

/* QEMU still has the credentials: whoever resumes it, it encrypts. */
START_TEST(a_key_lasts_for_the_next_qferry)
{
    u.spec.encrypt = SPEC_ENCRYPT_PSK;
    u.model.no_clear = true;
    u.then_attach = true;
    u.off_again = _i == 0;
    interrupt(reset);
    sim_at_phase(&u, SIM_RESTART, MIG_POSTCOPY, MODEL_S);
    run(0);
    ck_assert_uint_eq(sim.n_sessions, 2);
}
END_TEST

START_TEST(a_certificate_is_good_for_another_network)
{
    static struct mig_secured plain;
    two_networks();
    u.spec.encrypt = SPEC_ENCRYPT_X509;
    u.model.no_clear = true;
    (void)strcpy(plain.id, "qferry-tls-1");
    (void)strcpy(plain.dir[MIG_SRC], "/etc/pki");
    (void)strcpy(plain.dir[MIG_DST], "/etc/pki");
    u.secured = &plain;
    interrupt((struct model_fault){.what = MODEL_NET_SILENT, .text = "10.1."});
    run(0);
    expect_said("over management, 10.2.0.2:");
    expect_said("tls-hostname='10.1.0.2'");
}
END_TEST

START_TEST(attach_never_starts_one)
{
    u.spec.attach = true;
    run(3);
    ck_assert_uint_eq(sim.n_sent, 0);
    expect_said("no move between these two is under way");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("sim/recover");
    TCase *t = tcase_create("recover");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, the_last_word_is_lost, 0, N_FLAVOURS);
    tcase_add_loop_test(t, the_last_word_is_lost_and_qferry_was_killed, 0, 4);
    tcase_add_loop_test(t, the_last_word_is_lost_of_a_self_start, 0, N_FLAVOURS);
    tcase_add_loop_test(t, a_reset_at_any_moment, 0, N_FLAVOURS);
    tcase_add_loop_test(t, both_notice, 0, N_FLAVOURS);
    tcase_add_loop_test(t, only_one_notices, 0, 2 * N_FLAVOURS);
    tcase_add_loop_test(t, nobody_notices, 0, N_FLAVOURS);
    tcase_add_test(t, a_short_silence_is_none);
    tcase_add_loop_test(t,
                        a_destination_that_is_paused_before_it_runs_is_continued_meanwhile,
                        0, N_FLAVOURS);
    tcase_add_test(t, a_silence_at_the_switch_is_waited_out);
    tcase_add_loop_test(t, a_destination_that_hangs_until_it_is_mended, 0, N_FLAVOURS);
    tcase_add_loop_test(t, the_other_network_is_taken, 0, N_FLAVOURS);
    tcase_add_test(t, a_network_that_only_seems_to_work_is_left_after_two_attempts);
    tcase_add_test(t, without_any_network_it_is_tried_for_ever);
    tcase_add_loop_test(t, what_is_refused_or_lost_is_said_again, 0, 8);
    tcase_add_loop_test(t, a_late_connection_finds_no_listener, 0, N_FLAVOURS);
    tcase_add_loop_test(t, a_death_is_the_loss_of_the_guest, 0, 2 * N_FLAVOURS);
    tcase_add_loop_test(t, monitors_come_and_go, 0, 2 * N_FLAVOURS);
    tcase_add_loop_test(t, the_next_qferry_takes_it_up, 0, 4 * N_FLAVOURS);
    tcase_add_test(t, the_second_signal_ends_it);
    tcase_add_test(t, attach_never_starts_one);
    tcase_add_loop_test(t, a_tunnel_is_used_again, 0, 2 * N_FLAVOURS);
    tcase_add_loop_test(t, without_its_tunnel_it_is_held, 0, 4);
    tcase_add_test(t, what_stands_still_without_its_tunnel_is_not_broken);
    tcase_add_loop_test(t, the_tunnel_of_another_qferry_is_not_gone_round, 0, 8);
    tcase_add_loop_test(t, a_key_lasts_for_the_next_qferry, 0, 2);
    tcase_add_test(t, a_certificate_is_good_for_another_network);
    suite_add_tcase(s, t);
    return sim_main(s);
}

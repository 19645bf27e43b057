/* Encryption in the course of a move: what is told to whom, when, and what is taken back. */
#include <check.h>
#include <string.h>

#include "setups.h"
#include "sim.h"

static struct sim sim;
static struct sim_setup u;
static struct mig_secured refused;

static void setup(void)
{
    u = sim_usual();
    sim_encrypted(&u);
    memset(&refused, 0, sizeof(refused));
    (void)qf_fail(&refused.err, QF_E_REFUSED, "no key can be put there");
}

static void teardown(void)
{
    sim_free(&sim);
}

static void move(const char *name, int status)
{
    sim_run(&sim, &u);
    if (name)
        sim_golden(name, sim_trace(&sim));
    ck_assert_str_eq(sim_complaint(&sim), "");
    ck_assert_int_eq(qf_code_status(sim.result.code), status);
}

static void expect_nothing_left(void)
{
    const struct model_truth *t = model_truth(sim.model);
    for (unsigned i = 0; i < MODEL_SIDES; i++) {
        if (!t->alive[i])
            continue;
        ck_assert_str_eq(t->params[i].text[QAPI_TEXT_PARAM_TLS_CREDS], "");
        ck_assert_str_eq(t->params[i].text[QAPI_TEXT_PARAM_TLS_HOSTNAME], "");
        for (unsigned k = 0; k < MODEL_OBJECTS_MAX; k++)
            ck_assert_str_eq(t->creds[i][k], "");
    }
}

START_TEST(a_key_for_one_move)
{
    move("encrypt-psk", 0);
    expect_nothing_left();
    ck_assert_uint_eq(sim.n_secured, 1);
}
END_TEST

START_TEST(post_copy_with_a_key)
{
    u = sim_busy();
    sim_encrypted(&u);
    u.policy = "post-copy";
    move("encrypt-psk-post-copy", 0);
    expect_nothing_left();
}
END_TEST

START_TEST(certificates_and_whose_they_are)
{
    u.spec.encrypt = SPEC_ENCRYPT_X509;
    move("encrypt-x509", 0);
    expect_nothing_left();
}
END_TEST

START_TEST(a_tunnel)
{
    u.spec.encrypt = SPEC_ENCRYPT_SSH;
    u.model.no_clear = false;
    move("encrypt-ssh", 0);
    expect_nothing_left();
}
END_TEST

START_TEST(a_cancel_takes_it_back)
{
    sim_at_phase(&u, SIM_CANCEL, MIG_PRECOPY, MODEL_S / 10);
    move("encrypt-cancel", 5);
    expect_nothing_left();
}
END_TEST

START_TEST(a_failure_takes_it_back)
{
    sim_at_phase(&u, SIM_FAULT, MIG_PRECOPY, MODEL_S / 10)->fault =
        (struct model_fault){.what = MODEL_DIE, .side = MODEL_DST};
    move("encrypt-failure", 4);
    expect_nothing_left();
}
END_TEST

/* QEMU has no use for what it is given. */
START_TEST(credentials_that_are_not_taken)
{
    u.model.n_faults = 1;
    u.model.fault[0] = (struct model_fault){.when = MODEL_AT_COMMAND,
                                            .what = MODEL_REFUSE,
                                            .side = _i == 0 ? MODEL_SRC : MODEL_DST,
                                            .name = "object-add",
                                            .text = "Permission denied"};
    move(_i == 0 ? "encrypt-not-taken" : NULL, 4);
    expect_nothing_left();
    ck_assert_ptr_nonnull(strstr(sim.result.reason, "Permission denied; may it read"));
}
END_TEST

START_TEST(what_cannot_be_made_ready_is_refused)
{
    u.secured = &refused;
    u.spec.dry_run = _i == 1;
    move(_i == 0 ? "encrypt-refused" : NULL, 3);
    ck_assert_str_eq(sim.result.reason, "encryption: no key can be put there");
    ck_assert_uint_eq(sim.n_sent, 0);
}
END_TEST

START_TEST(what_is_never_ready_is_refused)
{
    u.secured_ns = MODEL_NEVER;
    move(NULL, 3);
    ck_assert_str_eq(sim.result.reason,
                     "encryption: --encrypt psk was not ready within 30 s");
    ck_assert_uint_eq(sim.n_sent, 0);
}
END_TEST

START_TEST(it_can_be_cancelled_while_it_is_waited_for)
{
    u.secured_ns = 5 * MODEL_S;
    sim_cancel_at(&u, 2 * MODEL_S);
    move(NULL, 5);
    ck_assert_uint_eq(sim.n_sent, 0);
}
END_TEST

/* Only what nothing else speaks against is made ready. */
START_TEST(nothing_is_made_ready_for_a_move_that_is_refused)
{
    u.model.machine[MODEL_DST].ram_bytes = 4096;
    move(NULL, 3);
    ck_assert_uint_eq(sim.n_secured, 0);
}
END_TEST

START_TEST(a_dry_run_asks_and_changes_nothing)
{
    u.spec.dry_run = true;
    move(NULL, 0);
    ck_assert_uint_eq(sim.n_secured, 1);
    ck_assert_uint_eq(sim.n_sent, 2); /* calc-dirty-rate */
    expect_nothing_left();
}
END_TEST

/* The new engine finds the move by QEMU's own settings, and removes what the old one had added. */
START_TEST(a_new_engine_removes_it)
{
    if (_i == 0)
        sim_at_phase(&u, SIM_RESTART, MIG_PRECOPY, MODEL_S / 10);
    else
        sim_at_phase(&u, SIM_RESTART, MIG_SWITCHOVER, 0);
    move(_i == 0 ? "encrypt-takeover" : NULL, 0);
    ck_assert_uint_eq(sim.n_sessions, 2);
    expect_nothing_left();
}
END_TEST

/* Killed before the start: what is there names itself, whatever the next move wants. */
START_TEST(what_was_left_is_removed)
{
    static const enum spec_encrypt next[] = {SPEC_ENCRYPT_OFF, SPEC_ENCRYPT_PSK,
                                             SPEC_ENCRYPT_SSH};
    u.spec.encrypt = next[_i];
    u.model.no_clear = next[_i] == SPEC_ENCRYPT_PSK;
    u.model.machine[MODEL_SRC].tls_creds = "qferry-tls-dead";
    u.model.machine[MODEL_DST].tls_creds = "qferry-tls-dead";
    u.model.machine[MODEL_SRC].tls_hostname = "hv2.example";
    move(_i == 0 ? "encrypt-left" : NULL, 0);
    expect_nothing_left();
}
END_TEST

START_TEST(settings_of_others_stand_again)
{
    u.spec.encrypt = _i == 0   ? SPEC_ENCRYPT_OFF
                     : _i == 1 ? SPEC_ENCRYPT_X509
                               : SPEC_ENCRYPT_SSH;
    u.model.no_clear = _i < 2;
    u.model.machine[MODEL_SRC].tls_creds = "theirs";
    u.model.machine[MODEL_DST].tls_creds = "theirs";
    u.model.machine[MODEL_SRC].tls_hostname = "their.example";
    move(NULL, 0);
    const struct model_truth *t = model_truth(sim.model);
    for (unsigned i = 0; i < MODEL_SIDES; i++) {
        ck_assert_str_eq(t->params[i].text[QAPI_TEXT_PARAM_TLS_CREDS], "theirs");
        ck_assert_str_eq(t->creds[i][0], "theirs");
        ck_assert_str_eq(t->creds[i][1], "");
    }
    ck_assert_str_eq(t->params[MODEL_SRC].text[QAPI_TEXT_PARAM_TLS_HOSTNAME],
                     "their.example");
}
END_TEST

START_TEST(credentials_on_one_side_are_refused)
{
    u.spec.encrypt = SPEC_ENCRYPT_OFF;
    u.model.machine[_i].tls_creds = "theirs";
    move(NULL, 3);
    ck_assert_ptr_nonnull(strstr(sim.result.reason, "only ('theirs')"));
    ck_assert_uint_eq(sim.n_sent, 0);
}
END_TEST

/* Begun in the clear by an engine that was not asked to encrypt. */
START_TEST(a_move_in_the_clear_is_given_back)
{
    u.spec.encrypt = SPEC_ENCRYPT_OFF;
    u.model.no_clear = false;
    u.encrypt_again = SPEC_ENCRYPT_PSK;
    sim_at_phase(&u, SIM_RESTART, MIG_PRECOPY, MODEL_S / 10);
    move("encrypt-in-the-clear", 4);
    ck_assert_int_eq(sim.result.outcome, OUTCOME_ABORTED);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("sim/encrypt");
    TCase *t = tcase_create("moves");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_key_for_one_move);
    tcase_add_test(t, post_copy_with_a_key);
    tcase_add_test(t, certificates_and_whose_they_are);
    tcase_add_test(t, a_tunnel);
    tcase_add_test(t, a_cancel_takes_it_back);
    tcase_add_test(t, a_failure_takes_it_back);
    tcase_add_loop_test(t, credentials_that_are_not_taken, 0, 2);
    tcase_add_loop_test(t, what_cannot_be_made_ready_is_refused, 0, 2);
    tcase_add_test(t, what_is_never_ready_is_refused);
    tcase_add_test(t, it_can_be_cancelled_while_it_is_waited_for);
    tcase_add_test(t, nothing_is_made_ready_for_a_move_that_is_refused);
    tcase_add_test(t, a_dry_run_asks_and_changes_nothing);
    tcase_add_loop_test(t, a_new_engine_removes_it, 0, 2);
    tcase_add_loop_test(t, what_was_left_is_removed, 0, 3);
    tcase_add_loop_test(t, settings_of_others_stand_again, 0, 3);
    tcase_add_loop_test(t, credentials_on_one_side_are_refused, 0, 2);
    tcase_add_test(t, a_move_in_the_clear_is_given_back);
    suite_add_tcase(s, t);
    return sim_main(s);
}

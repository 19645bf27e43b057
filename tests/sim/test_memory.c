/* A qferry that is killed at any moment, and the same command again, with the journal of the first:
 * it ends as it would have ended, and both QEMUs get their settings back. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "setups.h"
#include "sim.h"

static struct sim sim;

static struct sim_setup small(void)
{
    struct sim_setup u = sim_small();
    u.remembers = true;
    u.quiet = !getenv("QFERRY_LOUD");
    return u;
}

static void quitting(struct sim_setup *u)
{
    u->spec.quit_source = true;
}

/* Given up by the policy, by the user, by QEMU. */
static void timed_out(struct sim_setup *u)
{
    u->set[0] = "timeout=300ms";
    u->set[1] = "downtime.max=1ms";
    u->model.rate[0].pages_per_s = 100000;
}

static void cancelled(struct sim_setup *u)
{
    (void)sim_at_phase(u, SIM_CANCEL, MIG_PRECOPY, 100 * MODEL_MS);
}

static void bereft(struct sim_setup *u)
{
    u->model.fault[u->model.n_faults++] = (struct model_fault){.when = MODEL_AT_TIME,
                                                               .t_ns = 1150 * MODEL_MS,
                                                               .what = MODEL_DIE,
                                                               .side = MODEL_DST};
}

/* Not what it would have been: a destination ends with a connection that qferry holds. */
enum { ANY = -1 };

static const struct {
    const char *name;
    sim_trait *traits[SIM_TRAITS_MAX];
    int status;
} modes[] = {
    {"precopy", {NULL}, 0},
    {"precopy on 11.1", {sim_on_11_1}, 0},
    {"post-copy", {sim_to_postcopy}, 0},
    {"post-copy, recovered", {sim_to_postcopy, sim_interrupted}, 0},
    {"stop-and-copy", {sim_stop_and_copy}, 0},
    {"quitting", {quitting}, 0},
    {"encrypted", {sim_encrypted}, 0},
    {"channels", {sim_with_channels}, 0},
    {"from an interface", {sim_from_interface}, ANY},
    {"timed out", {timed_out}, 4},
    {"cancelled", {cancelled}, 5},
    {"the destination dies", {bereft}, 4},
};
enum { N_MODES = sizeof(modes) / sizeof(modes[0]) };

static struct sim_setup setup_of(int mode)
{
    struct sim_setup u = small();
    sim_add_traits(&u, modes[mode].traits);
    return u;
}

/* Of both sides, as far as they live. */
static const char *settings(void)
{
    static char text[256];
    struct model *fresh = model_new(&sim.setup.model);
    const struct model_truth *was = model_truth(fresh);
    const struct model_truth *is = model_truth(sim.model);
    text[0] = '\0';
    for (unsigned k = 0; k < MODEL_SIDES; k++) {
        if (!is->alive[k])
            continue;
        const char *side = k == MODEL_SRC ? "source" : "destination";
        if (was->caps_on[k] != is->caps_on[k])
            (void)snprintf(text, sizeof(text), "%s: capabilities are %llx, were %llx", side,
                           (unsigned long long)is->caps_on[k],
                           (unsigned long long)was->caps_on[k]);
        for (unsigned i = 0; i < QAPI_PARAM_COUNT; i++)
            if (was->params[k].value[i] != is->params[k].value[i])
                (void)snprintf(text, sizeof(text), "%s: %s is %llu, was %llu", side,
                               qapi_param_name((enum qapi_param)i),
                               (unsigned long long)is->params[k].value[i],
                               (unsigned long long)was->params[k].value[i]);
        for (unsigned i = 0; i < QAPI_TEXT_PARAM_COUNT; i++)
            if (strcmp(was->params[k].text[i], is->params[k].text[i]) != 0)
                (void)snprintf(text, sizeof(text), "%s: %s is '%s'", side,
                               qapi_text_param_name((enum qapi_text_param)i),
                               is->params[k].text[i]);
        if (memcmp(was->creds[k], is->creds[k], sizeof(was->creds[0])) != 0)
            (void)snprintf(text, sizeof(text), "%s: credentials are left", side);
    }
    model_free(fresh);
    return text;
}

static const char *run_cut(int mode, unsigned n, unsigned again, const char **complaint)
{
    static char text[1200];
    struct sim_setup u = setup_of(mode);
    u.doing[u.n_doings++] =
        (struct sim_doing){.when = SIM_AT_EVENT, .what = SIM_RESTART, .n = n};
    if (again > 0)
        u.doing[u.n_doings++] =
            (struct sim_doing){.when = SIM_AT_EVENT, .what = SIM_RESTART, .n = n + again};
    u.no_replay = n % 3 != 0;
    sim_run(&sim, &u);
    *complaint = sim_complaint(&sim);
    if (**complaint)
        return *complaint;
    const int status = qf_code_status(sim.result.code);
    if (modes[mode].status != ANY && status != modes[mode].status)
        (void)snprintf(text, sizeof(text), "exit %d, not %d: %s", status,
                       modes[mode].status, sim.result.reason);
    else
        (void)snprintf(text, sizeof(text), "%s", settings());
    return text;
}

START_TEST(killed_at_any_moment_it_ends_as_it_would_have)
{
    struct sim_setup u = setup_of(_i);
    const char *complaint;
    sim_run(&sim, &u);
    const unsigned n = sim.n_fed;
    ck_assert_str_eq(sim_complaint(&sim), "");
    if (modes[_i].status != ANY)
        ck_assert_int_eq(qf_code_status(sim.result.code), modes[_i].status);
    ck_assert_str_eq(settings(), "");
    sim_free(&sim);
    unsigned bad = 0;
    for (unsigned i = 1; i <= n; i++) {
        /* Once; and the one after it in its preflight, or when it has taken the move up. */
        static const unsigned agains[] = {0, 11, 33};
        for (unsigned k = 0; k < 3; k++) {
            if (k > 0 && i % 4 != k && !getenv("QFERRY_CUT_ALL"))
                continue;
            const char *text = run_cut(_i, i, agains[k], &complaint);
            if (*text && ++bad <= 20)
                (void)fprintf(stderr, "QFERRY_MEMORY=\"%d %u %u\": %s\n", _i, i, agains[k],
                              text);
            sim_free(&sim);
        }
    }
    (void)printf("%s: %u runs, %u wrong\n", modes[_i].name, n, bad);
    ck_assert_uint_eq(bad, 0);
}
END_TEST

START_TEST(the_one_that_was_asked_for)
{
    int mode;
    unsigned n;
    unsigned again;
    const char *complaint;
    ck_assert_int_eq(sscanf(getenv("QFERRY_MEMORY"), "%d %u %u", &mode, &n, &again), 3);
    const char *text = run_cut(mode, n, again, &complaint);
    (void)printf("%s%s\n", sim_trace(&sim), text);
    sim_free(&sim);
}
END_TEST

/* ---- what it knows ---- */

static struct sim_setup never_done(int64_t killed_ns)
{
    struct sim_setup u = small();
    u.quiet = false;
    u.set[0] = "downtime.max=1ms";
    u.model.rate[0].pages_per_s = 100000;
    (void)sim_at_phase(&u, SIM_RESTART, MIG_PRECOPY, killed_ns);
    return u;
}

static void run(const struct sim_setup *u, int status)
{
    sim_run(&sim, u);
    ck_assert_msg(*sim_complaint(&sim) == '\0', "%s", sim_complaint(&sim));
    ck_assert_msg(qf_code_status(sim.result.code) == status, "%s", sim_trace(&sim));
    ck_assert_str_eq(settings(), "");
}

START_TEST(time_limits_count_from_the_first_start)
{
    struct sim_setup u = never_done(500 * MODEL_MS);
    u.set[1] = "timeout=2s";
    u.dead_ns = MODEL_S;
    run(&u, 4);
    ck_assert_uint_ge(sim.result.total_ms, 2000);
    ck_assert_uint_lt(sim.result.total_ms, 2300);
    sim_free(&sim);
    u.remembers = false; /* or else */
    sim_run(&sim, &u);
    ck_assert_int_ge(sim.t_ns, MODEL_S + 3500 * MODEL_MS);
    sim_free(&sim);
}
END_TEST

START_TEST(an_operators_word_is_not_forgotten)
{
    struct sim_setup u = never_done(800 * MODEL_MS);
    sim_at_phase(&u, SIM_OPERATOR, MIG_PRECOPY, 200 * MODEL_MS)->operator_says =
        "timeout=1s";
    run(&u, 4);
    ck_assert_uint_lt(sim.result.total_ms, 1300);
    sim_free(&sim);
}
END_TEST

START_TEST(another_policy_is_another_policy)
{
    struct sim_setup u = never_done(300 * MODEL_MS);
    u.set[1] = "timeout=1s";
    u.policy_again = "suspend-if-needed";
    run(&u, 0);
    ck_assert_str_eq(sim.session->mig.policy.name, "suspend-if-needed");
    sim_free(&sim);
}
END_TEST

static void other_uuid(struct mig_memory *mem)
{
    (void)strcpy(mem->side[MIG_SRC].uuid, "7c5e0b5e-0000-4000-8000-000000000001");
}

static void other_time(struct mig_memory *mem)
{
    mem->migrate_ns -= 100 * MODEL_S;
}

static void other_end(struct mig_memory *mem)
{
    mem->handed_over = true;
}

/* QEMU's word counts: the move is taken up as if there were no journal. */
START_TEST(memory_that_contradicts_qemu_is_dropped)
{
    static void (*const tampers[])(struct mig_memory *) = {other_uuid, other_time,
                                                           other_end};
    struct sim_setup u = small();
    u.quiet = false;
    u.tamper = tampers[_i];
    (void)sim_at_phase(&u, SIM_RESTART, MIG_PRECOPY, 20 * MODEL_MS);
    sim_run(&sim, &u);
    ck_assert_msg(strstr(sim_trace(&sim), "it is passed over") != NULL, "%s",
                  sim_trace(&sim));
    ck_assert_ptr_nonnull(strstr(sim_trace(&sim), "are not known and stay"));
    ck_assert_int_eq(qf_code_status(sim.result.code), 0);
    sim_free(&sim);
}
END_TEST

static void stop_never_left(struct mig_memory *mem)
{
    mem->guest_paused = true;
    mem->past.paused_t_ns = mem->migrate_ns;
}

/* A line is written before what it announces: the guest runs, so it is decided again. */
START_TEST(a_stop_that_never_left_is_not_taken_for_one)
{
    struct sim_setup u = never_done(300 * MODEL_MS);
    u.set[1] = "timeout=2s";
    u.tamper = stop_never_left;
    run(&u, 4);
    ck_assert_int_eq(sim.result.mode, MODE_PRECOPY);
    sim_free(&sim);
}
END_TEST

START_TEST(attach_puts_back_what_was_only_prepared_and_starts_nothing)
{
    struct sim_setup u = small();
    u.quiet = false;
    u.then_attach = true;
    (void)sim_at_phase(&u, SIM_RESTART, MIG_START, 0);
    u.model.fault[u.model.n_faults++] = (struct model_fault){
        .when = MODEL_AT_COMMAND, .what = MODEL_LOSE, .side = MODEL_SRC, .name = "migrate"};
    run(&u, 3);
    sim_free(&sim);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("memory");
    TCase *t = tcase_create("cut");
    tcase_set_timeout(t, 280);
    if (getenv("QFERRY_MEMORY"))
        tcase_add_test(t, the_one_that_was_asked_for);
    else
        tcase_add_loop_test(t, killed_at_any_moment_it_ends_as_it_would_have, 0, N_MODES);
    suite_add_tcase(s, t);
    t = tcase_create("knows");
    tcase_add_test(t, time_limits_count_from_the_first_start);
    tcase_add_test(t, an_operators_word_is_not_forgotten);
    tcase_add_test(t, another_policy_is_another_policy);
    tcase_add_loop_test(t, memory_that_contradicts_qemu_is_dropped, 0, 3);
    tcase_add_test(t, a_stop_that_never_left_is_not_taken_for_one);
    tcase_add_test(t, attach_puts_back_what_was_only_prepared_and_starts_nothing);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return sim_main(suite());
}

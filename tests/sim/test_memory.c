/* A qferry that is killed at any moment, and the same command again, with the journal of the first:
 * it ends as it would have ended, and both QEMUs get their settings back. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "sim.h"

static struct sim sim;

static struct sim_setup small(void)
{
    struct sim_setup u = sim_usual();
    u.model.ram_bytes = 32 * QF_MIB;
    u.model.working_set_bytes = 8 * QF_MIB;
    u.model.rate[0].pages_per_s = 3000;
    u.remembers = true;
    u.quiet = !getenv("QFERRY_LOUD");
    return u;
}

static struct sim_setup precopy(void)
{
    return small();
}

static struct sim_setup precopy_11_1(void)
{
    struct sim_setup u = small();
    u.model.machine[MODEL_SRC].flavour = u.model.machine[MODEL_DST].flavour = MODEL_11_1;
    return u;
}

static struct sim_setup postcopy(void)
{
    struct sim_setup u = small();
    u.policy = "post-copy";
    u.set[0] = "timeout=150ms";
    u.set[1] = "on-timeout=postcopy";
    u.model.rate[0].pages_per_s = 100000;
    return u;
}

static struct sim_setup recovered(void)
{
    struct sim_setup u = postcopy();
    u.set[2] = "postcopy.bandwidth=40MiB";
    u.model.fault[u.model.n_faults++] = (struct model_fault){
        .when = MODEL_AT_TIME, .t_ns = 1300 * MODEL_MS, .what = MODEL_NET_RESET};
    return u;
}

static struct sim_setup stop_and_copy(void)
{
    struct sim_setup u = small();
    u.policy = "stop-and-copy";
    return u;
}

static struct sim_setup quitting(void)
{
    struct sim_setup u = small();
    u.spec.quit_source = true;
    return u;
}

static struct sim_setup encrypted(void)
{
    struct sim_setup u = small();
    u.spec.encrypt = SPEC_ENCRYPT_PSK;
    return u;
}

static struct sim_setup channels(void)
{
    struct sim_setup u = small();
    u.spec.channels_said = true;
    u.spec.channels = 4;
    u.spec.compression = QAPI_COMPRESSION_ZLIB;
    return u;
}

/* Given up by the policy, by the user, by QEMU. */
static struct sim_setup timed_out(void)
{
    struct sim_setup u = small();
    u.set[0] = "timeout=300ms";
    u.set[1] = "downtime.max=1ms";
    u.model.rate[0].pages_per_s = 100000;
    return u;
}

static struct sim_setup cancelled(void)
{
    struct sim_setup u = small();
    u.n_doings = 1;
    u.doing[0] = (struct sim_doing){.when = SIM_AT_PHASE,
                                    .phase = MIG_PRECOPY,
                                    .t_ns = 100 * MODEL_MS,
                                    .what = SIM_CANCEL};
    return u;
}

static struct sim_setup bereft(void)
{
    struct sim_setup u = small();
    u.model.fault[u.model.n_faults++] = (struct model_fault){.when = MODEL_AT_TIME,
                                                             .t_ns = 1150 * MODEL_MS,
                                                             .what = MODEL_DIE,
                                                             .side = MODEL_DST};
    return u;
}

static const struct {
    const char *name;
    struct sim_setup (*setup)(void);
    int status;
} modes[] = {
    {"precopy", precopy, 0},
    {"precopy on 11.1", precopy_11_1, 0},
    {"post-copy", postcopy, 0},
    {"post-copy, recovered", recovered, 0},
    {"stop-and-copy", stop_and_copy, 0},
    {"quitting", quitting, 0},
    {"encrypted", encrypted, 0},
    {"channels", channels, 0},
    {"timed out", timed_out, 4},
    {"cancelled", cancelled, 5},
    {"the destination dies", bereft, 4},
};
enum { N_MODES = sizeof(modes) / sizeof(modes[0]) };

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

static const char *run_cut(int mode, unsigned n, const char **complaint)
{
    static char text[1200];
    struct sim_setup u = modes[mode].setup();
    u.doing[u.n_doings++] =
        (struct sim_doing){.when = SIM_AT_EVENT, .what = SIM_RESTART, .n = n};
    u.no_replay = n % 3 != 0;
    sim_run(&sim, &u);
    *complaint = sim_complaint(&sim);
    if (**complaint)
        return *complaint;
    const int status = qf_code_status(sim.result.code);
    if (status != modes[mode].status)
        (void)snprintf(text, sizeof(text), "exit %d, not %d: %s", status,
                       modes[mode].status, sim.result.reason);
    else
        (void)snprintf(text, sizeof(text), "%s", settings());
    return text;
}

START_TEST(killed_at_any_moment_it_ends_as_it_would_have)
{
    struct sim_setup u = modes[_i].setup();
    const char *complaint;
    sim_run(&sim, &u);
    const unsigned n = sim.n_fed;
    ck_assert_str_eq(sim_complaint(&sim), "");
    ck_assert_int_eq(qf_code_status(sim.result.code), modes[_i].status);
    ck_assert_str_eq(settings(), "");
    sim_free(&sim);
    unsigned bad = 0;
    for (unsigned i = 1; i <= n; i++) {
        const char *text = run_cut(_i, i, &complaint);
        if (*text && ++bad <= 20)
            (void)fprintf(stderr, "QFERRY_MEMORY=\"%d %u\": %s\n", _i, i, text);
        sim_free(&sim);
    }
    (void)printf("%s: %u runs, %u wrong\n", modes[_i].name, n, bad);
    ck_assert_uint_eq(bad, 0);
}
END_TEST

START_TEST(the_one_that_was_asked_for)
{
    int mode;
    unsigned n;
    const char *complaint;
    ck_assert_int_eq(sscanf(getenv("QFERRY_MEMORY"), "%d %u", &mode, &n), 2);
    const char *text = run_cut(mode, n, &complaint);
    (void)printf("%s%s\n", sim_trace(&sim), text);
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

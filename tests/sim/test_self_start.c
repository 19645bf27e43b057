/* --self-start: the destination starts the guest by itself. From migrate-continue on the source is left
 * alone until the destination has said that it does not run; QEMU alone decides, and where it lets both
 * run, that is said and nothing is made worse. */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/units.h"
#include "setups.h"
#include "sim.h"

static struct fixture {
    struct sim sim;
} f;

static void setup(void)
{
    memset(&f, 0, sizeof(f));
}

static void teardown(void)
{
    sim_free(&f.sim);
}

static const enum model_flavour flavours[] = {MODEL_7_2, MODEL_10_0, MODEL_11_1};

static struct sim_setup of_flavour(bool postcopy, int i)
{
    struct sim_setup u = postcopy ? sim_busy() : sim_usual();
    sim_use(&u, flavours[i]);
    if (postcopy)
        u.policy = "post-copy";
    u.spec.self_start = true;
    u.model.dst_autostart = true;
    u.quiet = true;
    return u;
}

static bool is_taking_back(const json_t *line, bool *continued)
{
    const char *what = json_string_value(json_object_get(line, "do"));
    const char *side = json_string_value(json_object_get(line, "side"));
    const json_t *qmp = json_object_get(line, "qmp");
    const char *command = json_string_value(json_object_get(qmp, "execute"));
    if (!command)
        command = json_string_value(json_object_get(qmp, "exec-oob"));
    if (!what || strcmp(what, "send") != 0 || !side || !command)
        return false;
    if (strcmp(command, "migrate-continue") == 0)
        *continued = true;
    return *continued && strcmp(side, "source") == 0 &&
           (strcmp(command, "yank") == 0 || strcmp(command, "migrate_cancel") == 0 ||
            strcmp(command, "cont") == 0);
}

/* The source was told to take its guest back after the switch had begun, by any of the engines. */
static bool was_taken_back(const struct sim *s)
{
    bool continued = false;
    bool found = false;
    for (unsigned i = 0; i < s->n_sessions; i++) {
        const char *at = s->journal[i].data;
        const char *end = at + s->journal[i].len;
        while (at < end) {
            const char *nl = memchr(at, '\n', (size_t)(end - at));
            ck_assert_ptr_nonnull(nl);
            json_t *line = json_loadb(at, (size_t)(nl - at), 0, NULL);
            ck_assert_ptr_nonnull(line);
            if (is_taking_back(line, &continued))
                found = true;
            json_decref(line);
            at = nl + 1;
        }
    }
    return found;
}

static unsigned count_runs(struct sim *s)
{
    const struct model_truth *t = model_truth(s->model);
    return (unsigned)t->running[MODEL_SRC] + (unsigned)t->running[MODEL_DST];
}

START_TEST(it_starts_by_itself)
{
    const struct sim_setup u = of_flavour(_i >= 3, _i % 3);
    sim_run(&f.sim, &u);
    ck_assert_str_eq(sim_complaint(&f.sim), "");
    ck_assert_int_eq(qf_code_status(f.sim.result.code), 0);
    ck_assert(model_truth(f.sim.model)->running[MODEL_DST]);
    ck_assert_ptr_null(strstr(f.sim.journal[0].data, "\"do\":\"cont\""));
    ck_assert_uint_lt(f.sim.result.blackout_ms, 2000);
}
END_TEST

/* As it was found, whatever the option says. */
START_TEST(a_stopped_guest_stays_stopped)
{
    struct sim_setup u = of_flavour(false, _i);
    u.model.run = QAPI_RUN_PAUSED;
    sim_run(&f.sim, &u);
    ck_assert_str_eq(sim_complaint(&f.sim), "");
    ck_assert_int_eq(qf_code_status(f.sim.result.code), 0);
    ck_assert_uint_eq(count_runs(&f.sim), 0);
}
END_TEST

/* One that the policy stops is continued by qferry: its state goes over as stopped. */
START_TEST(a_guest_that_is_stopped_first_is_continued)
{
    struct sim_setup u = of_flavour(false, _i);
    u.policy = "stop-and-copy";
    sim_run(&f.sim, &u);
    ck_assert_str_eq(sim_complaint(&f.sim), "");
    ck_assert_int_eq(qf_code_status(f.sim.result.code), 0);
    ck_assert(model_truth(f.sim.model)->running[MODEL_DST]);
}
END_TEST

START_TEST(a_cancel_before_the_switch_is_heeded_and_later_refused)
{
    struct sim_setup u = of_flavour(false, _i % 3);
    u.n_doings = 1;
    u.doing[0] = (struct sim_doing){.when = SIM_AT_PHASE,
                                    .what = SIM_CANCEL,
                                    .phase = _i < 3 ? MIG_PRECOPY : MIG_SWITCHOVER,
                                    .t_ns = 50 * MODEL_MS};
    sim_run(&f.sim, &u);
    ck_assert_str_eq(sim_complaint(&f.sim), "");
    ck_assert_int_eq(qf_code_status(f.sim.result.code), _i < 3 ? 5 : 0);
    ck_assert(!was_taken_back(&f.sim));
}
END_TEST

/* The source waits for it, the destination runs: so it stays, and a person is told. But QEMU lets the
 * source run on when the connection breaks then: both run, by QEMU's own doing. It is said, too, and
 * neither is touched. */
START_TEST(a_lost_acknowledgement_is_said_loudly)
{
    const bool reset = _i >= 3;
    struct sim_setup u = of_flavour(false, _i % 3);
    u.model.fault[u.model.n_faults++] =
        (struct model_fault){.when = MODEL_AT_TIME, .what = MODEL_ACK_LOST};
    if (reset)
        u.doing[u.n_doings++] = (struct sim_doing){.when = SIM_AT_PHASE,
                                                   .what = SIM_FAULT,
                                                   .phase = MIG_SWITCHOVER,
                                                   .t_ns = 10 * MODEL_S,
                                                   .fault = {.what = MODEL_NET_RESET}};
    sim_run(&f.sim, &u);
    ck_assert_int_eq(*sim_complaint(&f.sim) != '\0', reset);
    ck_assert_int_eq(qf_code_status(f.sim.result.code), 7);
    ck_assert(!was_taken_back(&f.sim));
    ck_assert_uint_eq(count_runs(&f.sim), reset ? 2 : 1);
}
END_TEST

static const struct {
    struct model_fault fault;
    bool dst_stopped; /* it ends the destination, or it says itself that it does not run */
} faults[] = {
    {{.what = MODEL_DIE, .side = MODEL_DST}, true},
    {{.what = MODEL_DIE, .side = MODEL_SRC}, false},
    {{.what = MODEL_CUT, .side = MODEL_SRC}, false},
    {{.what = MODEL_CUT, .side = MODEL_DST}, false},
    {{.what = MODEL_CUT, .side = MODEL_SRC, .for_ns = MODEL_NEVER}, false},
    {{.what = MODEL_CUT, .side = MODEL_DST, .for_ns = MODEL_NEVER}, false},
    {{.what = MODEL_STALL, .side = MODEL_DST, .for_ns = 45 * MODEL_S}, false},
    {{.what = MODEL_STALL, .side = MODEL_SRC, .for_ns = 45 * MODEL_S}, false},
    {{.what = MODEL_NET_SILENT}, false},
    {{.what = MODEL_NET_RESET}, false},
    {{.what = MODEL_LOAD_FAILS}, true},
};
enum { N_FAULTS = sizeof(faults) / sizeof(faults[0]), N_TIMES = 12 };

/* Each fault at many moments of the switch, with and without a restart of qferry by somebody who does
 * not know of the option. */
START_TEST(whatever_befalls_the_switch)
{
    static const int64_t steps_ns[] = {4 * MODEL_MS, 14 * MODEL_MS};
    for (unsigned k = 0; k < N_TIMES * 3 * 2; k++) {
        struct sim_setup u = of_flavour(false, (int)(k / N_TIMES % 3));
        const bool restarted = k >= N_TIMES * 3;
        const int64_t t_ns = steps_ns[restarted] * (int64_t)(k % N_TIMES);
        u.doing[u.n_doings++] = (struct sim_doing){.when = SIM_AT_PHASE,
                                                   .what = SIM_FAULT,
                                                   .phase = MIG_SWITCHOVER,
                                                   .t_ns = t_ns,
                                                   .fault = faults[_i].fault};
        if (restarted)
            u.doing[u.n_doings++] = (struct sim_doing){.when = SIM_AT_PHASE,
                                                       .what = SIM_RESTART,
                                                       .phase = MIG_SWITCHOVER,
                                                       .t_ns = t_ns / 2};
        u.then_attach = restarted;
        sim_run(&f.sim, &u);
        const char *complaint = sim_complaint(&f.sim);
        const int status = qf_code_status(f.sim.result.code);
        char where[96];
        (void)snprintf(where, sizeof(where), "fault %d, %lld ns, flavour %u%s", _i,
                       (long long)t_ns, k / N_TIMES % 3, restarted ? ", restarted" : "");
        if (status != 7)
            ck_assert_msg(*complaint == '\0', "%s: exit %d, %s: %s", where, status,
                          f.sim.result.reason, complaint);
        if (!faults[_i].dst_stopped)
            ck_assert_msg(!was_taken_back(&f.sim),
                          "%s: the source was told to take it back", where);
        /* 6: the second qferry finds a side dead or silent, and touches nothing */
        ck_assert_msg(status == 7 || (restarted && status == 6) || count_runs(&f.sim) == 1,
                      "%s: exit %d, %u run: %s", where, status, count_runs(&f.sim),
                      f.sim.result.reason);
        sim_free(&f.sim);
    }
}
END_TEST

static struct sim_doing in_the_switch(int64_t t_ns, struct model_fault fault)
{
    return (struct sim_doing){.when = SIM_AT_PHASE,
                              .what = SIM_FAULT,
                              .phase = MIG_SWITCHOVER,
                              .t_ns = t_ns,
                              .fault = fault};
}

/* Its monitor is away while it starts; then somebody stops it, or it dies. "Does not run" is not "has not
 * run". */
START_TEST(a_destination_that_ran_unseen_stays_the_guest)
{
    const int how = _i / 3;
    struct sim_setup u = of_flavour(false, _i % 3);
    if (how == 0)
        u.model.fault[u.model.n_faults++] =
            (struct model_fault){.when = MODEL_AT_TIME, .what = MODEL_ACK_LOST};
    u.doing[u.n_doings++] = in_the_switch(
        (how == 0   ? 3
         : how == 1 ? 90
                    : 50) *
            MODEL_MS,
        (struct model_fault){
            .what = MODEL_CUT, .side = MODEL_DST, .for_ns = (how == 1 ? 10 : 1) * MODEL_S});
    u.doing[u.n_doings++] = in_the_switch(
        (how == 1 ? 200 : 150) * MODEL_MS,
        how == 1 ? (struct model_fault){.what = MODEL_DIE, .side = MODEL_DST}
                 : (struct model_fault){
                       .what = MODEL_COMMANDED, .side = MODEL_DST, .text = "stop"});
    if (how == 2)
        u.model.fault[u.model.n_faults++] = (struct model_fault){.when = MODEL_AT_COMMAND,
                                                                 .what = MODEL_REFUSE,
                                                                 .side = MODEL_DST,
                                                                 .name = "cont",
                                                                 .text = "no disk"};
    sim_run(&f.sim, &u);
    ck_assert_str_eq(sim_complaint(&f.sim), "");
    ck_assert_int_eq(qf_code_status(f.sim.result.code), 7);
    ck_assert(!was_taken_back(&f.sim));
    ck_assert(how == 1 || model_truth(f.sim.model)->alive[MODEL_DST]);
}
END_TEST

/* migrate-continue is lost with the source's monitor, the destination's is away for longer. */
START_TEST(a_switch_that_was_not_begun_is_begun_again)
{
    struct sim_setup u = of_flavour(false, _i);
    u.model.fault[u.model.n_faults++] = (struct model_fault){.when = MODEL_AT_COMMAND,
                                                             .what = MODEL_CUT_LOSE,
                                                             .side = MODEL_SRC,
                                                             .name = "migrate-continue",
                                                             .for_ns = 300 * MODEL_MS};
    u.doing[u.n_doings++] = in_the_switch(
        MODEL_MS,
        (struct model_fault){.what = MODEL_CUT, .side = MODEL_DST, .for_ns = 5 * MODEL_S});
    sim_run(&f.sim, &u);
    ck_assert_str_eq(sim_complaint(&f.sim), "");
    ck_assert_int_eq(qf_code_status(f.sim.result.code), 0);
    ck_assert_uint_eq(count_runs(&f.sim), 1);
}
END_TEST

/* In 10.2 and later the destination runs while the source waits for its last word, which is lost here: that
 * is waited for, and no conflict at the first loss of a monitor. */
START_TEST(a_monitor_that_is_lost_at_the_start_of_post_copy_is_no_conflict)
{
    struct sim_setup u = of_flavour(true, 2);
    u.doing[u.n_doings++] =
        in_the_switch(5 * MODEL_MS, (struct model_fault){.what = MODEL_NET_SILENT,
                                                         .for_ns = 3 * MODEL_S});
    u.doing[u.n_doings++] =
        in_the_switch(500 * MODEL_MS, (struct model_fault){.what = MODEL_CUT,
                                                           .side = MODEL_DST,
                                                           .for_ns = 100 * MODEL_MS});
    sim_run(&f.sim, &u);
    ck_assert_str_eq(sim_complaint(&f.sim), "");
    ck_assert_ptr_nonnull(strstr(f.sim.result.reason, "does not get on"));
    ck_assert_uint_eq(count_runs(&f.sim), 1);
}
END_TEST

/* The mark in the source's QEMU tells the next qferry, wherever this one is killed. */
START_TEST(whoever_takes_it_up_knows)
{
    struct sim_setup u = of_flavour(_i >= 3, _i % 3);
    sim_run(&f.sim, &u);
    const unsigned n = f.sim.n_fed;
    sim_free(&f.sim);
    for (unsigned k = 1; k <= n; k++) {
        u = of_flavour(_i >= 3, _i % 3);
        u.n_doings = 1;
        u.doing[0] = (struct sim_doing){.when = SIM_AT_EVENT, .what = SIM_RESTART, .n = k};
        sim_run(&f.sim, &u);
        ck_assert_msg(*sim_complaint(&f.sim) == '\0', "restarted at %u: %s", k,
                      sim_complaint(&f.sim));
        ck_assert_msg(!was_taken_back(&f.sim), "restarted at %u", k);
        ck_assert_msg(count_runs(&f.sim) == 1, "restarted at %u: %u run", k,
                      count_runs(&f.sim));
        sim_free(&f.sim);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("self-start");
    TCase *t = tcase_create("self-start");
    tcase_set_timeout(t, 240);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, it_starts_by_itself, 0, 6);
    tcase_add_loop_test(t, a_stopped_guest_stays_stopped, 0, 3);
    tcase_add_loop_test(t, a_guest_that_is_stopped_first_is_continued, 0, 3);
    tcase_add_loop_test(t, a_cancel_before_the_switch_is_heeded_and_later_refused, 0, 6);
    tcase_add_loop_test(t, a_lost_acknowledgement_is_said_loudly, 0, 6);
    tcase_add_loop_test(t, whatever_befalls_the_switch, 0, N_FAULTS);
    tcase_add_loop_test(t, a_destination_that_ran_unseen_stays_the_guest, 0, 9);
    tcase_add_loop_test(t, a_switch_that_was_not_begun_is_begun_again, 0, 3);
    tcase_add_test(t, a_monitor_that_is_lost_at_the_start_of_post_copy_is_no_conflict);
    tcase_add_loop_test(t, whoever_takes_it_up_knows, 0, 6);
    suite_add_tcase(suite, t);
    return sim_main(suite);
}

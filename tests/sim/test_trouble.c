/* Something goes wrong, or somebody interferes, in each phase: what becomes of it, as text. The
 * golden files hold the trace from the trouble on. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "setups.h"
#include "sim.h"

static struct fixture {
    struct sim sim;
    struct qf_buf text;
    struct qf_buf complaints;
} f;

static void setup(void)
{
    qf_buf_init(&f.text, 1 << 20);
    qf_buf_init(&f.complaints, 1 << 20);
}

static void teardown(void)
{
    qf_buf_fini(&f.text);
    qf_buf_fini(&f.complaints);
    sim_free(&f.sim);
}

static void put(const char *text)
{
    ck_assert_int_eq(qf_buf_append(&f.text, text, strlen(text), NULL), 0);
}

/* Where the trouble can come. */
static const struct place {
    const char *name;
    enum mig_phase phase;
    int64_t after_ns;
    const char *policy;
    bool busy;
    bool guest; /* a place where the guest's own doings matter */
} places[] = {
    {"connect", MIG_CONNECT, 0, NULL, false, false},
    {"preflight", MIG_PREFLIGHT, 0, NULL, false, true},
    {"configure", MIG_CONFIGURE, 0, NULL, false, false},
    {"start", MIG_START, 0, NULL, false, true},
    {"start, guest being stopped", MIG_START, 0, "stop-and-copy", false, true},
    {"setup", MIG_PRECOPY, 0, NULL, false, true},
    {"precopy", MIG_PRECOPY, 500 * MODEL_MS, NULL, false, true},
    {"precopy, guest stopped", MIG_PRECOPY, 500 * MODEL_MS, "stop-and-copy", false, false},
    {"pre-switchover", MIG_SWITCHOVER, 0, NULL, false, true},
    {"device", MIG_SWITCHOVER, 50 * MODEL_MS, NULL, false, false},
    {"postcopy", MIG_POSTCOPY, 0, "post-copy", true, false},
    {"postcopy, handed over", MIG_POSTCOPY, 200 * MODEL_MS, "post-copy", true, false},
    {"finish", MIG_FINISH, 0, NULL, false, false},
};
enum { N_PLACES = sizeof(places) / sizeof(places[0]) };

static struct sim_setup setup_of(const struct place *p)
{
    struct sim_setup u = p->busy ? sim_busy() : sim_usual();
    u.policy = p->policy;
    return u;
}

/* Run, and append the trace from `from` on. */
static void run_from(const char *title, const char *from, const struct sim_setup *u)
{
    char text[1400];
    sim_run(&f.sim, u);
    const char *tail = strstr(sim_trace(&f.sim), from);
    put("== ");
    put(title);
    put(" ==\n");
    put(tail ? tail : "(it did not come to that)\n");
    put("\n");
    const char *complaint = sim_complaint(&f.sim);
    if (*complaint) {
        (void)snprintf(text, sizeof(text), "%s: %s\n", title, complaint);
        ck_assert_int_eq(qf_buf_append(&f.complaints, text, strlen(text), NULL), 0);
    }
    sim_free(&f.sim);
}

static void run(const char *title, const struct sim_setup *u)
{
    run_from(title, "-- ", u);
}

/* Every run has been fine, and all of them say what the golden file says. */
static void golden(const char *name)
{
    ck_assert_int_eq(qf_buf_append(&f.text, "", 1, NULL), 0);
    ck_assert_int_eq(qf_buf_append(&f.complaints, "", 1, NULL), 0);
    sim_golden(name, f.text.data);
    ck_assert_msg(f.complaints.len == 1, "%s:\n%s", name, f.complaints.data);
}

/* A guest that never converges, and a policy that would wait for a while. */
static const struct place busy_places[] = {
    {"busy, post-copy allowed", MIG_PRECOPY, 500 * MODEL_MS, "post-copy", true, false},
    {"busy, post-copy not allowed", MIG_PRECOPY, 500 * MODEL_MS, NULL, true, false},
};
enum { N_BUSY_PLACES = sizeof(busy_places) / sizeof(busy_places[0]) };

/* What an operator says, in each place. */
START_TEST(the_operator_has_a_hand_on_it)
{
    static const char *const says[] = {
        "cancel",      "postcopy",         "pause",        "bandwidth=10MiB",
        "timeout=1ms", "downtime.max=10s", "stop.max=1ms", "postcopy.allowed=true",
    };
    const char *const what = says[_i];
    char name[64];
    (void)snprintf(name, sizeof(name), "operator-%s", what);
    name[strcspn(name, "=")] = '\0';
    for (unsigned i = 0; i < N_PLACES + N_BUSY_PLACES; i++) {
        const struct place *p = i < N_PLACES ? &places[i] : &busy_places[i - N_PLACES];
        struct sim_setup u = setup_of(p);
        u.n_doings = 1;
        u.doing[0] = (struct sim_doing){.when = SIM_AT_PHASE,
                                        .what = SIM_OPERATOR,
                                        .phase = p->phase,
                                        .t_ns = p->after_ns,
                                        .operator_says = what};
        run(p->name, &u);
    }
    golden(name);
}
END_TEST

/* A guest that qferry stopped to finish runs in the end, also when that qferry is killed. */
START_TEST(a_stop_of_ours_is_known_to_the_next_qferry)
{
    struct sim_setup u = sim_busy();
    u.policy = _i == 1 ? "stop-and-copy" : "post-copy";
    u.set[0] = "stop.max=0";
    u.n_doings = 2;
    u.doing[0] = (struct sim_doing){.when = SIM_AT_PHASE,
                                    .what = SIM_OPERATOR,
                                    .phase = MIG_PRECOPY,
                                    .t_ns = 500 * MODEL_MS,
                                    .operator_says = "pause"};
    u.doing[1] = (struct sim_doing){.when = SIM_AT_PHASE,
                                    .what = SIM_RESTART,
                                    .phase = MIG_PRECOPY,
                                    .t_ns = 600 * MODEL_MS};
    if (_i == 1)
        u.doing[0] = u.doing[--u.n_doings];
    sim_run(&f.sim, &u);
    ck_assert_str_eq(sim_complaint(&f.sim), "");
    ck_assert_int_eq(qf_code_status(f.sim.result.code), 0);
    ck_assert_uint_eq(f.sim.n_sessions, 2);
    ck_assert(model_truth(f.sim.model)->running[MODEL_DST]);
}
END_TEST

/* Nothing had to be set at the start: QEMU has what the policy wants. */
START_TEST(what_is_changed_later_alone_is_put_back_too)
{
    static const char *const says[] = {"bandwidth=50MiB", "downtime.max=1s"};
    struct sim_setup u = sim_busy();
    u.policy = "libvirt";
    u.n_doings = 2;
    u.doing[0] = (struct sim_doing){.when = SIM_AT_PHASE,
                                    .what = SIM_OPERATOR,
                                    .phase = MIG_PRECOPY,
                                    .t_ns = 500 * MODEL_MS,
                                    .operator_says = says[_i]};
    u.doing[1] = (struct sim_doing){.when = SIM_AT_PHASE,
                                    .what = SIM_CANCEL,
                                    .phase = MIG_PRECOPY,
                                    .t_ns = 2 * MODEL_S};
    sim_run(&f.sim, &u);
    ck_assert_str_eq(sim_complaint(&f.sim), "");
    ck_assert_int_eq(qf_code_status(f.sim.result.code), 5);
}
END_TEST

static void in_each_place(const char *name, enum sim_what what, struct model_fault fault)
{
    const bool guest = fault.what >= MODEL_POWEROFF || fault.what == MODEL_COMMANDED;
    for (unsigned i = 0; i < N_PLACES; i++) {
        struct sim_setup u = setup_of(&places[i]);
        if (guest && !places[i].guest)
            continue;
        u.n_doings = 1;
        u.doing[0] = (struct sim_doing){.when = SIM_AT_PHASE,
                                        .what = what,
                                        .phase = places[i].phase,
                                        .t_ns = places[i].after_ns,
                                        .fault = fault};
        run(places[i].name, &u);
    }
    golden(name);
}

START_TEST(cancel_in_each_phase)
{
    in_each_place("cancel", SIM_CANCEL, (struct model_fault){.what = MODEL_NOTHING});
}
END_TEST

START_TEST(engine_restarted_in_each_phase)
{
    in_each_place("takeover", SIM_RESTART, (struct model_fault){.what = MODEL_NOTHING});
}
END_TEST

static const struct {
    const char *name;
    struct model_fault fault;
} faults[] = {
    {"source-killed", {.what = MODEL_DIE, .side = MODEL_SRC}},
    {"destination-killed", {.what = MODEL_DIE, .side = MODEL_DST}},
    {"source-monitor-cut", {.what = MODEL_CUT, .side = MODEL_SRC}},
    {"destination-monitor-cut", {.what = MODEL_CUT, .side = MODEL_DST}},
    {"source-monitor-cut-for-good",
     {.what = MODEL_CUT, .side = MODEL_SRC, .for_ns = MODEL_NEVER}},
    {"destination-monitor-cut-for-good",
     {.what = MODEL_CUT, .side = MODEL_DST, .for_ns = MODEL_NEVER}},
    {"source-stalls", {.what = MODEL_STALL, .side = MODEL_SRC, .for_ns = 12 * MODEL_S}},
    {"destination-stalls",
     {.what = MODEL_STALL, .side = MODEL_DST, .for_ns = 12 * MODEL_S}},
    {"destination-stalls-long",
     {.what = MODEL_STALL, .side = MODEL_DST, .for_ns = 45 * MODEL_S}},
    {"network-silent", {.what = MODEL_NET_SILENT}},
    {"network-reset", {.what = MODEL_NET_RESET}},
    {"acknowledgement-lost", {.what = MODEL_ACK_LOST}},
    {"guest-powers-off", {.what = MODEL_POWEROFF}},
    {"guest-resets", {.what = MODEL_RESET}},
    {"guest-panics", {.what = MODEL_PANIC}},
    {"guest-suspends", {.what = MODEL_SUSPEND}},
    {"disk-error", {.what = MODEL_IO_ERROR}},
    {"stopped-by-another-client", {.what = MODEL_COMMANDED, .text = "stop"}},
    {"cancelled-by-another-client", {.what = MODEL_COMMANDED, .text = "migrate_cancel"}},
    {"source-quit-by-another-client", {.what = MODEL_COMMANDED, .text = "quit"}},
};
enum { N_FAULTS = sizeof(faults) / sizeof(faults[0]) };

START_TEST(fault_in_each_phase)
{
    in_each_place(faults[_i].name, SIM_FAULT, faults[_i].fault);
}
END_TEST

/* ---- refused on the way ---- */

static void refuse(struct sim_setup *u,
                   enum model_side side,
                   const char *command,
                   unsigned n,
                   const char *text)
{
    u->model.fault[u->model.n_faults++] = (struct model_fault){.when = MODEL_AT_COMMAND,
                                                               .what = MODEL_REFUSE,
                                                               .side = side,
                                                               .name = command,
                                                               .n = n,
                                                               .text = text};
}

START_TEST(cont_refused_by_the_destination)
{
    struct sim_setup u = sim_usual();
    refuse(&u, MODEL_DST, "cont", 1, "Failed to get \"write\" lock");
    run_from("precopy", "# finish", &u);
    sim_use(&u, MODEL_11_1);
    run_from("precopy, 11.1", "# finish", &u);
    u = sim_busy();
    u.policy = "post-copy";
    refuse(&u, MODEL_DST, "cont", 1, "Failed to get \"write\" lock");
    run_from("post-copy", "# postcopy", &u);
    u = sim_usual();
    u.policy = "stop-and-copy";
    refuse(&u, MODEL_DST, "cont", 1, "Failed to get \"write\" lock");
    run_from("stop-and-copy", "# finish", &u);
    golden("cont-refused");
}
END_TEST

START_TEST(commands_refused)
{
    static const struct {
        enum model_side side;
        const char *command;
        const char *policy;
        const char *from;
    } table[] = {
        {MODEL_SRC, "query-status", NULL, "# preflight"},
        {MODEL_DST, "migrate-set-capabilities", NULL, "# configure"},
        {MODEL_SRC, "migrate-set-capabilities", NULL, "# configure"},
        {MODEL_SRC, "migrate-set-parameters", NULL, "# configure"},
        {MODEL_DST, "stop", NULL, "# configure"},
        {MODEL_DST, "migrate-incoming", NULL, "# configure"},
        {MODEL_SRC, "stop", "stop-and-copy", "# start"},
        {MODEL_SRC, "migrate", NULL, "# start"},
        {MODEL_SRC, "migrate-continue", NULL, "# switchover"},
    };
    for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct sim_setup u = sim_usual();
        u.policy = table[i].policy;
        refuse(&u, table[i].side, table[i].command, 1, "no, says the test");
        run_from(table[i].command, table[i].from, &u);
    }
    struct sim_setup u = sim_busy();
    u.policy = "post-copy";
    refuse(&u, MODEL_SRC, "migrate-start-postcopy", 1, "no, says the test");
    run_from("migrate-start-postcopy", "decision postcopy", &u);
    u = sim_busy();
    u.policy = "suspend-if-needed";
    refuse(&u, MODEL_SRC, "stop", 1, "no, says the test");
    run_from("stop in precopy", "decision pause", &u);
    golden("commands-refused");
}
END_TEST

START_TEST(destination_refuses_the_load)
{
    static const enum model_flavour flavours[] = {MODEL_7_2, MODEL_10_0, MODEL_11_1};
    for (unsigned i = 0; i < 6; i++) {
        struct sim_setup u = i < 3 ? sim_usual() : sim_busy();
        char title[64];
        u.policy = i < 3 ? NULL : "post-copy";
        sim_use(&u, flavours[i % 3]);
        u.model.fault[u.model.n_faults++] =
            (struct model_fault){.when = MODEL_AT_TIME, .what = MODEL_LOAD_FAILS};
        (void)snprintf(title, sizeof(title), "%s, %s", i < 3 ? "precopy" : "post-copy",
                       i % 3 == 0   ? "7.2"
                       : i % 3 == 1 ? "10.0"
                                    : "11.1");
        run_from(title, "# switchover", &u);
    }
    golden("load-fails");
}
END_TEST

START_TEST(policy_timeouts)
{
    static const char *const ends[] = {"on-timeout=abort", "on-timeout=postcopy",
                                       "on-timeout=stop"};
    static const char *const policies[] = {"minimal-downtime", "post-copy",
                                           "suspend-if-needed"};
    for (unsigned i = 0; i < 3; i++) {
        struct sim_setup u = sim_busy();
        u.policy = policies[i];
        u.set[0] = "timeout=1500ms";
        u.set[1] = ends[i];
        run_from(ends[i], "decision", &u);
    }
    struct sim_setup u = sim_usual();
    u.set[0] = "progress-timeout=20s";
    u.model.fault[u.model.n_faults++] = (struct model_fault){
        .when = MODEL_AT_TIME, .t_ns = 1500 * MODEL_MS, .what = MODEL_NET_SILENT};
    run_from("no progress", "decision", &u);
    u = sim_busy();
    u.policy = "stop-and-copy";
    u.set[0] = "stop.max=400ms";
    run_from("stopped for too long", "# start", &u);
    golden("timeouts");
}
END_TEST

START_TEST(paused_guest_in_trouble)
{
    for (unsigned i = 0; i < 6; i++) {
        struct sim_setup u = sim_usual();
        u.model.run = QAPI_RUN_PAUSED;
        sim_use(&u, i % 2 ? MODEL_11_1 : MODEL_7_2);
        u.n_doings = 1;
        u.doing[0].when = SIM_AT_PHASE;
        u.doing[0].what = i < 2 ? SIM_CANCEL : SIM_FAULT;
        u.doing[0].phase = i < 4 ? MIG_SWITCHOVER : MIG_PRECOPY;
        u.doing[0].t_ns = 4 * MODEL_MS;
        u.doing[0].fault = (struct model_fault){.what = MODEL_DIE, .side = MODEL_DST};
        run(i < 2   ? "cancelled in the switchover"
            : i < 4 ? "destination killed in the switchover"
                    : "destination killed in precopy",
            &u);
    }
    golden("paused-in-trouble");
}
END_TEST

/* Without `stop` to the destination both would run (fact sheet 0, rule 1). */
START_TEST(destination_without_s_and_a_lost_acknowledgement)
{
    static const enum model_flavour flavours[] = {MODEL_7_2, MODEL_10_0, MODEL_11_1};
    struct sim_setup u = sim_usual();
    u.model.dst_autostart = true;
    sim_use(&u, flavours[_i]);
    u.model.fault[u.model.n_faults++] =
        (struct model_fault){.when = MODEL_AT_TIME, .what = MODEL_ACK_LOST};
    sim_run(&f.sim, &u);
    ck_assert_str_eq(sim_complaint(&f.sim), "");
    ck_assert_int_eq(qf_code_status(f.sim.result.code), 4);
    ck_assert(!model_truth(f.sim.model)->ran_on_dst);
}
END_TEST

/* QEMU crashes when settings are touched before it has cleaned up (rule 6). */
START_TEST(source_that_cleans_up_slowly_is_waited_for)
{
    struct sim_setup u = sim_usual();
    sim_use(&u, MODEL_10_0);
    u.model.clean_ns = 20 * MODEL_S;
    u.n_doings = 1;
    u.doing[0] = (struct sim_doing){.when = SIM_AT_PHASE,
                                    .what = SIM_FAULT,
                                    .phase = MIG_PRECOPY,
                                    .t_ns = 500 * MODEL_MS,
                                    .fault = {.what = MODEL_NET_RESET}};
    sim_run(&f.sim, &u);
    ck_assert_str_eq(sim_complaint(&f.sim), "");
    ck_assert_int_eq(qf_code_status(f.sim.result.code), 4);
    ck_assert_int_gt(f.sim.t_ns, 20 * MODEL_S);
}
END_TEST

START_TEST(power_off_that_only_pauses)
{
    struct sim_setup u = sim_usual();
    u.model.no_shutdown = true;
    u.n_doings = 1;
    u.doing[0] = (struct sim_doing){.when = SIM_AT_PHASE,
                                    .what = SIM_FAULT,
                                    .phase = MIG_PRECOPY,
                                    .t_ns = 500 * MODEL_MS,
                                    .fault = {.what = MODEL_POWEROFF}};
    run("-no-shutdown", &u);
    golden("no-shutdown");
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("trouble");
    TCase *t = tcase_create("trouble");
    tcase_set_timeout(t, 280);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, cancel_in_each_phase);
    tcase_add_test(t, engine_restarted_in_each_phase);
    tcase_add_loop_test(t, the_operator_has_a_hand_on_it, 0, 8);
    tcase_add_loop_test(t, a_stop_of_ours_is_known_to_the_next_qferry, 0, 2);
    tcase_add_loop_test(t, what_is_changed_later_alone_is_put_back_too, 0, 2);
    tcase_add_loop_test(t, fault_in_each_phase, 0, N_FAULTS);
    tcase_add_test(t, cont_refused_by_the_destination);
    tcase_add_test(t, commands_refused);
    tcase_add_test(t, destination_refuses_the_load);
    tcase_add_test(t, policy_timeouts);
    tcase_add_test(t, paused_guest_in_trouble);
    tcase_add_loop_test(t, destination_without_s_and_a_lost_acknowledgement, 0, 3);
    tcase_add_test(t, source_that_cleans_up_slowly_is_waited_for);
    tcase_add_test(t, power_off_that_only_pauses);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return sim_main(suite());
}

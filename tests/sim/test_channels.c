/* Channels (multifd) between modelled QEMUs: who wants them, who can have them, and what becomes
 * of it where post-copy is wanted as well. One golden text of all: checks, warnings, settings and
 * results. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "netsel/networks_json.h"
#include "setups.h"
#include "sim.h"

static struct fixture {
    struct sim sim;
    struct qf_buf text;
    struct sim_setup u;
    struct netsel_facts facts;
} f;

static void setup(void)
{
    qf_buf_init(&f.text, 1 << 20);
}

static void teardown(void)
{
    qf_buf_fini(&f.text);
}

static struct model_machine *src(void)
{
    return &f.u.model.machine[MODEL_SRC];
}

static struct model_machine *dst(void)
{
    return &f.u.model.machine[MODEL_DST];
}

static void are(enum model_flavour s, enum model_flavour d)
{
    src()->flavour = s;
    dst()->flavour = d;
}

static void option(uint32_t n)
{
    f.u.spec.channels_said = true;
    f.u.spec.channels = n;
}

static void set(const char *field)
{
    unsigned i = 0;
    while (f.u.set[i])
        i++;
    f.u.set[i] = field;
}

/* A guest that needs post-copy. */
static void busy(void)
{
    const struct model_machine s = *src();
    const struct model_machine d = *dst();
    f.u = sim_busy();
    *src() = s;
    *dst() = d;
    f.u.policy = "post-copy";
}

static void four_on_7_2(void)
{
    option(4);
}

static void four_on_11_1(void)
{
    are(MODEL_11_1, MODEL_11_1);
    option(4);
}

static void two_is_what_qemu_has(void)
{
    option(2);
}

static void none(void)
{
    f.u.policy = "very-large-vm";
    option(0);
}

static void the_policys(void)
{
    f.u.policy = "very-large-vm";
}

static void found_on(void)
{
    option(4);
    src()->caps_on = dst()->caps_on = QAPI_CAP_BIT(MULTIFD) | QAPI_CAP_BIT(ZERO_COPY_SEND);
}

static void not_offered(void)
{
    option(4);
    dst()->caps_missing = QAPI_CAP_BIT(MULTIFD);
}

static void not_offered_to_the_policy(void)
{
    the_policys();
    src()->caps_missing = QAPI_CAP_BIT(MULTIFD);
}

/* ---- with post-copy ---- */

static void both_on_7_2(void)
{
    busy();
    option(4);
}

static void both_by_policy_on_7_2(void)
{
    busy();
    set("channels=4");
}

static void both_by_policy_on_10_0(void)
{
    are(MODEL_10_0, MODEL_10_0);
    both_by_policy_on_7_2();
}

static void both_on_10_0(void)
{
    are(MODEL_10_0, MODEL_10_0);
    both_on_7_2();
}

static void both_on_11_1(void)
{
    are(MODEL_11_1, MODEL_11_1);
    both_on_7_2();
}

static void both_from_10_0(void)
{
    are(MODEL_10_0, MODEL_11_1);
    both_by_policy_on_7_2();
}

static void both_from_10_0_by_option(void)
{
    are(MODEL_10_0, MODEL_11_1);
    both_on_7_2();
}

static void both_to_7_2(void)
{
    are(MODEL_11_1, MODEL_7_2);
    both_by_policy_on_7_2();
}

static void no_userfaultfd(void)
{
    four_on_11_1();
    f.u.policy = "post-copy";
    dst()->no_postcopy = true;
}

/* ---- compression, zero-copy ---- */

static void compressed_on_7_2(void)
{
    f.u.spec.compression = QAPI_COMPRESSION_ZLIB;
    f.u.model.compresses_to = 10;
}

static void compressed_on_11_1(void)
{
    are(MODEL_11_1, MODEL_11_1);
    compressed_on_7_2();
}

static void not_built_in(void)
{
    f.u.spec.compression = QAPI_COMPRESSION_ZSTD;
    dst()->no_zstd = true;
}

static void zero_copy(void)
{
    f.u.spec.zero_copy = true;
}

static void zero_copy_not_offered(void)
{
    f.u.spec.zero_copy = true;
    src()->caps_missing = QAPI_CAP_BIT(ZERO_COPY_SEND);
}

/* ---- by default ---- */

static void fast_network(void)
{
    static const char text[] =
        "{\"networks\": [{\"name\": \"fast\", \"cidr\": \"10.1.0.0/24\"}]}";
    struct netsel_local *l = &f.facts.local[0];
    struct netsel_destination *d = &f.facts.destination[0];
    ck_assert_int_eq(networks_load("n", text, sizeof(text) - 1, &f.u.spec.networks, NULL),
                     0);
    memset(&f.facts, 0, sizeof(f.facts));
    f.facts.n_locals = f.facts.n_destinations = 1;
    *l = (struct netsel_local){
        .interface = "m0", .up = true, .carrier = true, .speed_bytes_per_s = 1250000000};
    ck_assert(netsel_ip_parse("10.1.0.1", &l->ip));
    d->source = l->ip;
    ck_assert(netsel_ip_parse("10.1.0.2", &d->ip));
    netsel_plan(&f.u.spec.networks, &f.facts);
    f.facts.path[0].answer = NETSEL_REFUSED;
    f.u.network = &f.facts;
    f.u.spec.bandwidth_auto = true;
    f.u.spec.cores = 16;
    (void)strcpy(f.u.spec.source, "/run/src.qmp");
}

static void fast_network_on_11_1(void)
{
    are(MODEL_11_1, MODEL_7_2);
    fast_network();
}

static void fast_network_on_10_0(void)
{
    are(MODEL_10_0, MODEL_10_0);
    fast_network();
}

static void fast_network_and_postcopy(void)
{
    fast_network_on_11_1();
    f.u.policy = "post-copy";
}

static void fast_network_from_elsewhere(void)
{
    fast_network_on_11_1();
    (void)strcpy(f.u.spec.source, "tcp:src.example:4444");
}

/* ---- trouble ---- */

static void silent_and_cancelled(void)
{
    option(4);
    f.u.n_doings = 2;
    f.u.doing[0] = (struct sim_doing){.when = SIM_AT_PHASE,
                                      .what = SIM_FAULT,
                                      .phase = MIG_PRECOPY,
                                      .t_ns = MODEL_S / 10,
                                      .fault = {.what = MODEL_NET_SILENT}};
    f.u.doing[1] = (struct sim_doing){.when = SIM_AT_PHASE,
                                      .what = SIM_CANCEL,
                                      .phase = MIG_PRECOPY,
                                      .t_ns = MODEL_S / 2};
}

static void cancel_hangs(void)
{
    option(4);
    f.u.model.cancel_hangs = true;
    f.u.n_doings = 1;
    f.u.doing[0] = (struct sim_doing){.when = SIM_AT_PHASE,
                                      .what = SIM_CANCEL,
                                      .phase = MIG_PRECOPY,
                                      .t_ns = MODEL_S / 2};
}

/* In connect(): that ends, and the cancel with it. */
static void connect_hangs_and_cancelled(void)
{
    silent_and_cancelled();
    f.u.doing[0].phase = MIG_START;
    f.u.doing[0].t_ns = 0;
}

static void destination_dies_and_it_hangs(void)
{
    cancel_hangs();
    f.u.doing[0] = (struct sim_doing){.when = SIM_AT_PHASE,
                                      .what = SIM_FAULT,
                                      .phase = MIG_PRECOPY,
                                      .t_ns = MODEL_S / 2,
                                      .fault = {.what = MODEL_DIE, .side = MODEL_DST}};
    f.u.model.peer_death_hangs = true;
}

/* ... with its status ended, and a thread of it not. */
static void cleaning_up_hangs(void)
{
    cancel_hangs();
    f.u.model.cancel_hangs = false;
    f.u.model.clean_ns = 1000 * MODEL_S;
    f.u.doing[0] = (struct sim_doing){.when = SIM_AT_PHASE,
                                      .what = SIM_FAULT,
                                      .phase = MIG_PRECOPY,
                                      .t_ns = MODEL_S / 2,
                                      .fault = {.what = MODEL_NET_RESET}};
}

static void source_refuses_parameters(void)
{
    option(4);
    f.u.model.fault[f.u.model.n_faults++] =
        (struct model_fault){.when = MODEL_AT_COMMAND,
                             .what = MODEL_REFUSE,
                             .side = MODEL_SRC,
                             .name = "migrate-set-parameters",
                             .text = "no"};
}

static const struct {
    const char *name;
    void (*prepare)(void);
    int status;
    unsigned channels;
} cases[] = {
    {"--channels 4, 7.2", four_on_7_2, 0, 4},
    {"--channels 4, 11.1", four_on_11_1, 0, 4},
    {"--channels 2", two_is_what_qemu_has, 0, 2},
    {"--channels 0 over the policy's", none, 0, 0},
    {"the policy's", the_policys, 0, 8},
    {"found on, of another number", found_on, 0, 4},
    {"--channels, not offered", not_offered, 3, 4},
    {"the policy's, not offered", not_offered_to_the_policy, 0, 0},
    {"--channels and post-copy, 7.2", both_on_7_2, 3, 4},
    {"policy with both, 7.2", both_by_policy_on_7_2, 0, 0},
    {"policy with both, 10.0", both_by_policy_on_10_0, 0, 0},
    {"--channels and post-copy, 10.0", both_on_10_0, 3, 0},
    {"--channels and post-copy, 11.1", both_on_11_1, 0, 4},
    {"policy with both, 10.0 to 11.1", both_from_10_0, 0, 0},
    {"--channels and post-copy, 10.0 to 11.1", both_from_10_0_by_option, 3, 4},
    {"policy with both, 11.1 to 7.2", both_to_7_2, 0, 0},
    {"--channels and post-copy, no userfaultfd", no_userfaultfd, 0, 4},
    {"zlib, 7.2", compressed_on_7_2, 0, 2},
    {"zlib, 11.1", compressed_on_11_1, 0, 2},
    {"zstd, not built in", not_built_in, 3, 2},
    {"zero-copy", zero_copy, 0, 2},
    {"zero-copy, not offered", zero_copy_not_offered, 3, 2},
    {"a fast network, 11.1", fast_network_on_11_1, 0, 4},
    {"a fast network, 10.0", fast_network_on_10_0, 0, 0},
    {"a fast network, 7.2", fast_network, 0, 0},
    {"a fast network, post-copy allowed", fast_network_and_postcopy, 0, 0},
    {"a fast network, source elsewhere", fast_network_from_elsewhere, 0, 0},
    {"silent network, cancelled", silent_and_cancelled, 5, 4},
    {"a connect() that hangs, cancelled", connect_hangs_and_cancelled, 5, 4},
    {"a cancel that hangs", cancel_hangs, 5, 4},
    {"cleaning up that hangs", cleaning_up_hangs, 4, 4},
    {"a dead destination, and the cancel hangs", destination_dies_and_it_hangs, 4, 4},
    {"the source refuses the parameters", source_refuses_parameters, 4, 4},
};
enum { N_CASES = sizeof(cases) / sizeof(cases[0]) };

static void put(const char *text, size_t n)
{
    ck_assert_int_eq(qf_buf_append(&f.text, text, n, NULL), 0);
}

static bool matters(const char *line, size_t n)
{
    static const char *const words[] = {"check ", "= ",   "warning",        "migrate-set-",
                                        "-> ",    "yank", "migrate_cancel", "error:"};
    char text[512];
    (void)snprintf(text, sizeof(text), "%.*s", (int)n, line);
    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strstr(text, words[i]))
            return true;
    return false;
}

START_TEST(each_case)
{
    for (unsigned i = 0; i < N_CASES; i++) {
        f.u = sim_usual();
        cases[i].prepare();
        sim_run(&f.sim, &f.u);
        put("== ", 3);
        put(cases[i].name, strlen(cases[i].name));
        put(" ==\n", 4);
        const char *trace = sim_trace(&f.sim);
        for (const char *line = trace; *line != '\0'; line += strcspn(line, "\n") + 1)
            if (matters(line, strcspn(line, "\n")))
                put(line, strcspn(line, "\n") + 1);
        put("\n", 1);
        ck_assert_msg(*sim_complaint(&f.sim) == '\0', "%s: %s\n%s", cases[i].name,
                      sim_complaint(&f.sim), trace);
        ck_assert_msg(qf_code_status(f.sim.result.code) == cases[i].status,
                      "%s: exit %d\n%s", cases[i].name, qf_code_status(f.sim.result.code),
                      trace);
        ck_assert_msg(f.sim.session->mig.channels == cases[i].channels, "%s: %u channels",
                      cases[i].name, f.sim.session->mig.channels);
        sim_free(&f.sim);
    }
    put("", 1);
    sim_golden("channels", f.text.data);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("channels");
    TCase *t = tcase_create("channels");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, each_case);
    suite_add_tcase(s, t);
    return sim_main(s);
}

/* Moves that go the same way: what a network allows is shared, and is again when one comes or goes. The
 * facts are made up, the moves are modelled. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "netsel/networks_json.h"
#include "setups.h"
#include "sim.h"

static struct sim sim;
static struct sim_setup u;
static struct netsel_facts facts;
static struct mig_others one;      /* another move, the same way */
static struct mig_others three;    /* ... and two more, one of them by another network */
static struct mig_others none;     /* nobody */
static struct mig_others no_rival; /* another interface and another network */

static const char networks[] =
    "{\"networks\": [{\"name\": \"migration\", \"cidr\": \"10.1.0.0/24\", \"rate\": "
    "100000000}]}";

static void add_way(struct mig_others *o,
                    const char *interface,
                    const char *network,
                    unsigned moves)
{
    struct mig_way *w = &o->way[o->n++];
    (void)strcpy(w->use.interface, interface);
    (void)strcpy(w->use.network, network);
    w->moves = moves;
}

static void setup(void)
{
    u = sim_usual();
    memset(&facts, 0, sizeof(facts));
    memset(&one, 0, sizeof(one));
    memset(&none, 0, sizeof(none));
    memset(&three, 0, sizeof(three));
    memset(&no_rival, 0, sizeof(no_rival));
    add_way(&one, "m0", "10.1.0.0/24", 1);
    add_way(&three, "m0", "10.1.0.0/24", 2);
    add_way(&three, "m0", "10.9.0.0/24", 1);
    add_way(&no_rival, "m1", "10.9.0.0/24", 4);
    ck_assert_int_eq(
        networks_load("n", networks, sizeof(networks) - 1, &u.spec.networks, NULL), 0);
    u.spec.bandwidth_auto = true;
    u.network = &facts;
    u.network_ns = 3 * MODEL_MS;
    facts.waited_ms = 3;
    struct netsel_local *l = &facts.local[facts.n_locals++];
    struct netsel_destination *d = &facts.destination[facts.n_destinations++];
    *l = (struct netsel_local){
        .interface = "m0", .up = true, .carrier = true, .speed_bytes_per_s = 50000000};
    ck_assert(netsel_ip_parse("10.1.0.1", &l->ip));
    d->source = l->ip;
    ck_assert(netsel_ip_parse("10.1.0.2", &d->ip));
    netsel_plan(&u.spec.networks, &facts);
    facts.path[0].answer = NETSEL_REFUSED;
}

static void teardown(void)
{
    sim_free(&sim);
}

/* Others, so long after the phase was entered. */
static void others(enum mig_phase phase, int64_t ms, const struct mig_others *o)
{
    u.doing[u.n_doings++] = (struct sim_doing){.when = SIM_AT_PHASE,
                                               .what = SIM_OTHERS,
                                               .phase = phase,
                                               .t_ns = ms * MODEL_MS,
                                               .others = o};
}

static void say(enum mig_phase phase, const char *what)
{
    u.doing[u.n_doings++] = (struct sim_doing){.when = SIM_AT_PHASE,
                                               .what = SIM_OPERATOR,
                                               .phase = phase,
                                               .t_ns = 50 * MODEL_MS,
                                               .operator_says = what};
}

static void move(const char *name)
{
    sim_run(&sim, &u);
    if (name)
        sim_golden(name, sim_trace(&sim));
    ck_assert_str_eq(sim_complaint(&sim), "");
    ck_assert_int_eq(qf_code_status(sim.result.code), 0);
}

static bool has(const char *text)
{
    return strstr(sim_trace(&sim), text) != NULL;
}

#define expect(text)    ck_assert_msg(has(text), "%s in\n%s", text, sim_trace(&sim))
#define expect_no(text) ck_assert_msg(!has(text), "%s in\n%s", text, sim_trace(&sim))

START_TEST(one_comes_and_goes)
{
    others(MIG_PRECOPY, 500, &one);
    others(MIG_PRECOPY, 2000, &none);
    move("share");
    expect("2 migrations share 800 Mbit/s of migration: 400 Mbit/s each");
    expect("< migrate-set-parameters max-bandwidth=50000000\n");
    expect("no other migration uses the 800 Mbit/s of migration now");
    expect("< migrate-set-parameters max-bandwidth=100000000\n");
}
END_TEST

START_TEST(the_beginning_is_shared_too)
{
    others(MIG_CONNECT, 0, _i == 2 ? &no_rival : &three);
    if (_i == 1) /* by the speed of the link: whatever the network */
        u.spec.networks.network[0].rate_bytes_per_s = 0;
    move(NULL);
    expect(_i == 0   ? "max-bandwidth=33333333"
           : _i == 1 ? "max-bandwidth=12500000"
                     : "max-bandwidth=100000000");
    if (_i == 0)
        expect("bandwidth 33333333: the rate configured for migration, shared by 3 "
               "migrations of this host");
    if (_i == 1)
        expect(
            "the speed of m0 (that of the receiving interface is not known), shared by 4 "
            "migrations of this host");
    if (_i == 2)
        expect_no("share");
}
END_TEST

/* Both QEMUs are being set up: what is read back then must be what was set. */
START_TEST(it_waits_until_memory_moves)
{
    static const enum mig_phase phases[] = {MIG_PREFLIGHT, MIG_CONFIGURE, MIG_START};
    others(phases[_i], 0, &one);
    move(NULL);
    expect("max-bandwidth=50000000");
}
END_TEST

START_TEST(after_the_switch_to_post_copy)
{
    u.policy = "post-copy";
    others(MIG_PRECOPY, 500, &one);
    move(NULL);
    expect("< migrate-set-parameters max-bandwidth=50000000 "
           "max-postcopy-bandwidth=50000000\n");
}
END_TEST

/* What stands above the network's limit: an option, an operator, a lower rate of the policy. */
START_TEST(another_word_stands_above_it)
{
    if (_i == 0) {
        u.spec.bandwidth_auto = false;
        u.spec.bandwidth_bytes_per_s = 70000000;
    } else if (_i == 1) {
        say(MIG_PRECOPY, "bandwidth=70000000");
    } else if (_i == 2) {
        u.set[0] = "bandwidth=40000000";
    } else {
        say(MIG_CONNECT, "bandwidth=70000000");
        u.doing[0].t_ns = 0;
    }
    others(MIG_PRECOPY, 500, &one);
    move(NULL);
    expect(_i == 2 ? "max-bandwidth=40000000" : "max-bandwidth=70000000");
    expect_no("max-bandwidth=50000000");
    expect_no("migrations share");
}
END_TEST

/* The policy's own is in force while the part is greater; the part is, while it is not. */
START_TEST(the_lower_one_of_policy_and_part)
{
    u.set[0] = "bandwidth=80000000";
    others(MIG_PRECOPY, 500, &one);
    others(MIG_PRECOPY, 2000, &none);
    move(NULL);
    expect("max-bandwidth=50000000\n");
    expect("< migrate-set-parameters max-bandwidth=80000000\n");
    expect_no("max-bandwidth=100000000");
}
END_TEST

START_TEST(the_hint_for_the_switch_follows)
{
    sim_use(&u, MODEL_10_0);
    others(MIG_PRECOPY, 500, &one);
    move(NULL);
    expect("avail-switchover-bandwidth=50000000");
    expect("avail-switchover-bandwidth=0"); /* and is put back */
}
END_TEST

/* ---- the other end's speed ---- */

static struct mig_links links;

static void hear(enum mig_phase phase, int64_t ms, uint64_t speed)
{
    memset(&links, 0, sizeof(links));
    links.n = 2;
    ck_assert(netsel_ip_parse("10.7.0.2", &links.link[0].ip));
    ck_assert(netsel_ip_parse("10.1.0.2", &links.link[1].ip));
    (void)strcpy(links.link[0].interface, "e7");
    (void)strcpy(links.link[1].interface, "e9");
    links.link[0].speed_bytes_per_s = 1000;
    links.link[1].speed_bytes_per_s = speed;
    u.doing[u.n_doings++] = (struct sim_doing){.when = SIM_AT_PHASE,
                                               .what = SIM_RECEIVER,
                                               .phase = phase,
                                               .t_ns = ms * MODEL_MS,
                                               .links = &links};
}

/* In time, or late: then the limit follows. */
START_TEST(a_slower_one_is_the_limit)
{
    u.spec.networks.network[0].rate_bytes_per_s = 0;
    hear(_i == 0 ? MIG_CONNECT : MIG_PRECOPY, _i == 0 ? 0 : 300, 20000000);
    move(_i == 0 ? NULL : "share-receiver");
    expect("max-bandwidth=20000000");
    if (_i == 0) {
        expect("bandwidth 20000000: the speed of e9, which receives");
        expect_no("max-bandwidth=50000000");
    } else {
        expect("bandwidth 50000000: the speed of m0 (that of the receiving interface is "
               "not known)");
        expect("e9, which receives, is slower: 160 Mbit/s");
    }
}
END_TEST

START_TEST(what_it_says_may_be_of_no_account)
{
    static const uint64_t speeds[] = {20000000, 80000000, 0};
    if (_i > 0)
        u.spec.networks.network[0].rate_bytes_per_s = 0;
    hear(MIG_CONNECT, 0, speeds[_i]);
    others(MIG_PRECOPY, 300, &none);
    move(NULL);
    expect(_i == 0   ? "bandwidth 100000000: the rate configured for migration\n"
           : _i == 1 ? "bandwidth 50000000: the speed of m0\n"
                     : "the speed of m0 (that of the receiving interface is not known)\n");
}
END_TEST

START_TEST(a_slower_one_is_shared)
{
    u.spec.networks.network[0].rate_bytes_per_s = 0;
    others(MIG_CONNECT, 0, &one);
    hear(MIG_PRECOPY, 300, 20000000);
    move(NULL);
    expect("bandwidth 25000000: the speed of m0 (that of");
    expect("e9, which receives, is slower: 160 Mbit/s to be shared, 80 Mbit/s for this "
           "migration");
    expect("max-bandwidth=10000000");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("sim/share");
    TCase *t = tcase_create("moves");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, one_comes_and_goes);
    tcase_add_loop_test(t, the_beginning_is_shared_too, 0, 3);
    tcase_add_loop_test(t, it_waits_until_memory_moves, 0, 3);
    tcase_add_test(t, after_the_switch_to_post_copy);
    tcase_add_loop_test(t, another_word_stands_above_it, 0, 4);
    tcase_add_test(t, the_lower_one_of_policy_and_part);
    tcase_add_test(t, the_hint_for_the_switch_follows);
    tcase_add_loop_test(t, a_slower_one_is_the_limit, 0, 2);
    tcase_add_loop_test(t, what_it_says_may_be_of_no_account, 0, 3);
    tcase_add_test(t, a_slower_one_is_shared);
    suite_add_tcase(s, t);
    return sim_main(s);
}

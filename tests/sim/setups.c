#include "setups.h"

#include <stdlib.h>
#include <string.h>

#include "netsel/networks_json.h"

static void add(struct netsel_facts *f,
                const char *interface,
                const char *here,
                const char *there)
{
    struct netsel_local *l = &f->local[f->n_locals++];
    struct netsel_destination *d = &f->destination[f->n_destinations++];
    *l = (struct netsel_local){.up = true, .carrier = true};
    (void)strcpy(l->interface, interface);
    ck_assert(netsel_ip_parse(here, &l->ip));
    *d = (struct netsel_destination){.source = l->ip};
    ck_assert(netsel_ip_parse(there, &d->ip));
}

void sim_two_networks(struct sim_setup *u, struct netsel_facts *facts)
{
    static const char networks[] =
        "{\"networks\": [{\"name\": \"migration\", \"cidr\": \"10.1.0.0/24\"},"
        " {\"name\": \"management\", \"cidr\": \"10.2.0.0/24\", \"role\": \"management\"}]}";
    memset(facts, 0, sizeof(*facts));
    ck_assert_int_eq(
        networks_load("n", networks, sizeof(networks) - 1, &u->spec.networks, NULL), 0);
    u->spec.bandwidth_auto = true;
    u->network = facts;
    u->network_ns = 3 * MODEL_MS;
    facts->waited_ms = 3;
    add(facts, "m0", "10.1.0.1", "10.1.0.2");
    add(facts, "e0", "10.2.0.1", "10.2.0.2");
    netsel_plan(&u->spec.networks, facts);
    facts->path[0].answer = NETSEL_REFUSED;
    facts->path[1].answer = NETSEL_REFUSED;
}

struct sim_doing *sim_at_phase(struct sim_setup *u,
                               enum sim_what what,
                               enum mig_phase phase,
                               int64_t after_ns)
{
    ck_assert_uint_lt(u->n_doings, SIM_DOINGS_MAX);
    struct sim_doing *d = &u->doing[u->n_doings++];
    *d = (struct sim_doing){
        .when = SIM_AT_PHASE, .what = what, .phase = phase, .t_ns = after_ns};
    return d;
}

void sim_cancel_at(struct sim_setup *u, int64_t t_ns)
{
    ck_assert_uint_lt(u->n_doings, SIM_DOINGS_MAX);
    u->doing[u->n_doings++] =
        (struct sim_doing){.when = SIM_AT_TIME, .what = SIM_CANCEL, .t_ns = t_ns};
}

int sim_main(Suite *s)
{
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#include "setups.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "netsel/networks_json.h"

struct sim_setup sim_small(void)
{
    struct sim_setup u = sim_usual();
    u.model.ram_bytes = 32 * QF_MIB;
    u.model.working_set_bytes = 8 * QF_MIB;
    u.model.rate[0].pages_per_s = 3000;
    u.quiet = true;
    return u;
}

void sim_use(struct sim_setup *u, enum model_flavour flavour)
{
    u->model.machine[MODEL_SRC].flavour = u->model.machine[MODEL_DST].flavour = flavour;
}

void sim_on_11_1(struct sim_setup *u)
{
    sim_use(u, MODEL_11_1);
}

void sim_to_postcopy(struct sim_setup *u)
{
    u->policy = "post-copy";
    u->set[0] = "timeout=150ms";
    u->set[1] = "on-timeout=postcopy";
    u->model.rate[0].pages_per_s = 100000;
}

void sim_interrupted(struct sim_setup *u)
{
    ck_assert_ptr_null(u->set[2]);
    u->set[2] = "postcopy.bandwidth=40MiB";
    u->model.fault[u->model.n_faults++] = (struct model_fault){
        .when = MODEL_AT_TIME, .t_ns = 1300 * MODEL_MS, .what = MODEL_NET_RESET};
}

void sim_stop_and_copy(struct sim_setup *u)
{
    u->policy = "stop-and-copy";
}

void sim_encrypted(struct sim_setup *u)
{
    u->spec.encrypt = SPEC_ENCRYPT_PSK;
    u->model.no_clear = true;
}

void sim_with_channels(struct sim_setup *u)
{
    u->spec.channels_said = true;
    u->spec.channels = 4;
    u->spec.compression = QAPI_COMPRESSION_ZLIB;
}

void sim_from_interface(struct sim_setup *u)
{
    (void)strcpy(u->spec.bind, "eth1");
    u->model.silence_ns = 10 * MODEL_S;
}

void sim_add_traits(struct sim_setup *u, sim_trait *const traits[SIM_TRAITS_MAX])
{
    for (unsigned i = 0; i < SIM_TRAITS_MAX && traits[i]; i++)
        traits[i](u);
}

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

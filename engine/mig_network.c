/* The way across: from what the edge has found out to an address, a limit and a record. The choice
 * itself is netsel's; here is what a migration makes of it. */
#include <stdio.h>
#include <string.h>

#include "engine/mig_priv.h"
#include "engine/network.h"

enum { NETWORK_MS = 10000 /* far beyond what a probe takes: it is bounded itself */ };

void mig_write_tcp(char uri[QAPI_URI_MAX], const char *address, const char *port)
{
    const bool v6 = strchr(address, ':') != NULL;
    (void)snprintf(uri, QAPI_URI_MAX, "tcp:%s%s%s:%s", v6 ? "[" : "", address,
                   v6 ? "]" : "", port);
}

void mig_probe(struct mig *m, struct mig_todo *todo, bool to_the_end)
{
    if (m->probing)
        return;
    m->probing = true;
    mig_todo_add(todo, MIG_DO_PROBE, MIG_SRC)->u.probe.to_the_end = to_the_end;
}

/* The network that is in use does not answer, or cannot; another one does. */
static bool is_present_dead(const struct mig *m, uint32_t waited_ms)
{
    const struct netsel_choice *c = &m->recover.network;
    if (!m->network_known || m->network.chosen < 0 || c->chosen < 0)
        return false;
    const char *present = m->network.candidate[m->network.chosen].name;
    for (unsigned i = 0; i < c->n; i++)
        if (strcmp(c->candidate[i].name, present) == 0)
            return !c->candidate[i].usable &&
                   (!c->candidate[i].pending || waited_ms >= NETSEL_PATIENCE_MS);
    return false;
}

/* Interfaces and routes were those of the host that qferry is on. */
bool mig_is_source_here(const struct mig *m)
{
    static const char *const here[] = {"/", "unix:", "tcp:127.", "tcp:[::1]",
                                       "tcp:localhost:"};
    for (unsigned i = 0; i < sizeof(here) / sizeof(here[0]); i++)
        if (strncmp(m->spec.source, here[i], strlen(here[i])) == 0)
            return true;
    return false;
}

/* Without networks: does this host send to that address at all? */
static void take_route(struct mig *m, const struct netsel_facts *f)
{
    struct netsel_ip to;
    if (!netsel_ip_parse(m->spec.address, &to))
        return;
    for (unsigned i = 0; i < f->n_destinations; i++) {
        const struct netsel_destination *d = &f->destination[i];
        if (netsel_ip_equal(&d->ip, &to) && d->source.family == NETSEL_NONE)
            (void)snprintf(m->no_way, sizeof(m->no_way),
                           "no route from this host to %.64s: %s", m->spec.address,
                           d->fault);
    }
}

void mig_take_network(struct mig *m, const struct netsel_facts *f)
{
    if (m->phase == MIG_PRECOPY || m->phase == MIG_SWITCHOVER || m->phase == MIG_POSTCOPY)
        mig_stall_take_path(m, f);
    if (m->spec.networks.n == 0) {
        if (m->phase == MIG_CONNECT || m->phase == MIG_PREFLIGHT)
            take_route(m, f);
        return;
    }
    if (m->phase == MIG_PRECOPY || m->phase == MIG_ROLLBACK || m->phase == MIG_AGAIN)
        again_take_network(m, f);
    if (m->phase == MIG_POSTCOPY || m->phase == MIG_RECOVER) {
        netsel_choose(&m->spec.networks, f, &m->recover.network);
        m->recover.network_ns = m->now_ns;
        if (!is_present_dead(m, f->waited_ms))
            m->recover.dead = 0;
        else if (m->recover.dead++ == 0)
            m->recover.dead_ns = m->now_ns;
        return;
    }
    if (m->network_known || (m->phase != MIG_CONNECT && m->phase != MIG_PREFLIGHT))
        return;
    netsel_choose(&m->spec.networks, f, &m->network);
    m->network_known = true;
}

bool mig_knows_network(struct mig *m)
{
    if (m->spec.networks.n == 0 ? !m->probing : m->network_known)
        return true;
    if (!mig_is_past(m, m->phase_ns, NETWORK_MS)) {
        mig_wake_at(m, m->phase_ns + NETWORK_MS * INT64_C(1000000));
        return false;
    }
    if (m->spec.networks.n == 0)
        return true;
    m->network = (struct netsel_choice){.chosen = -1};
    (void)snprintf(m->network.reason, sizeof(m->network.reason),
                   "no usable network: nothing was found out about them within %d s",
                   NETWORK_MS / 1000);
    m->network_known = true;
    return true;
}

/* --bind says from where, the networks which way: they must agree, and so must the families. */
static void check_bind(struct mig *m)
{
    const struct netsel_choice *c = &m->network;
    struct netsel_ip ip;
    struct netsel_ip to;
    const bool is_ip = netsel_ip_parse(m->spec.bind, &ip);
    char from[NETSEL_IP_TEXT];
    if (m->spec.bind[0] == '\0')
        return;
    if (is_ip && netsel_ip_parse(m->spec.address, &to) && ip.family != to.family)
        mig_fail(m, OUTCOME_REFUSED, QF_E_REFUSED,
                 "--bind %s is an %s address, the destination listens on %s", m->spec.bind,
                 netsel_family_name(ip.family), m->spec.address);
    if (m->spec.networks.n == 0 ||
        (is_ip ? netsel_ip_equal(&ip, &c->from) : strcmp(m->spec.bind, c->interface) == 0))
        return;
    (void)netsel_ip_format(&c->from, from);
    mig_fail(m, OUTCOME_REFUSED, QF_E_REFUSED,
             "--bind %s does not fit the network that is chosen, %s: the way to %s is from "
             "%s on %s",
             m->spec.bind, c->candidate[c->chosen].name, m->spec.address, from,
             c->interface);
}

void mig_use_network(struct mig *m, struct mig_todo *todo)
{
    const bool has_networks = m->spec.networks.n > 0;
    struct record_network *r = &mig_record(todo, RECORD_NETWORK)->u.network;
    if (has_networks && m->network.chosen >= 0)
        mig_share_network(m, false);
    network_tell(&m->spec, &m->policy, has_networks ? &m->network : NULL, r);
    if (!has_networks) {
        if (m->no_way[0] != '\0')
            mig_fail(m, OUTCOME_REFUSED, QF_E_REFUSED, "%s", m->no_way);
        check_bind(m);
        return;
    }
    if (!mig_is_source_here(m))
        mig_warn(todo, "the source's monitor is on another host: the networks were judged "
                       "from this one");
    if (m->network.chosen < 0) {
        mig_fail(m, OUTCOME_REFUSED, QF_E_REFUSED, "%s", m->network.reason);
        return;
    }
    memcpy(m->spec.address, r->address, sizeof(m->spec.address));
    check_bind(m);
    if (!m->spec.bandwidth_auto || m->network.bandwidth_bytes_per_s == 0)
        return;
    m->network_bytes_per_s = m->network.bandwidth_bytes_per_s;
    m->spec.bandwidth_bytes_per_s = r->bandwidth_bytes_per_s;
}

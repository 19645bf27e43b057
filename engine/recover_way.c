/* RECOVER: over which network, at which port. What a network did until it broke says nothing of it, and
 * what was sent towards a port may come there long after it was given up. */
#include <stdio.h>
#include <string.h>

#include "engine/base/units.h"
#include "engine/network.h"
#include "engine/recover_priv.h"

enum {
    POLL_MS = 100,
    NETWORK_MS = 10000,
    TRIES = 2, /* over one network, in a row */
    PORT_FIRST = 49152
};

/* ---- WAY ---- */

const char *recover_network(const struct mig *m)
{
    return m->network_known && m->network.chosen >= 0
               ? m->network.candidate[m->network.chosen].name
               : "";
}

/* The same one first, then as they were preferred; each of them has two attempts. -1: none. */
static int pick_network(const struct mig *m)
{
    const struct netsel_choice *c = &m->recover.network;
    int usable[NETSEL_NETWORKS_MAX];
    unsigned n = 0;
    for (unsigned same = 0; same < 2; same++)
        for (unsigned i = 0; i < c->n; i++)
            if (c->candidate[i].usable &&
                (strcmp(c->candidate[i].name, recover_network(m)) == 0) == (same == 0))
                usable[n++] = (int)i;
    return n == 0 ? -1 : usable[m->recover.failed / TRIES % n];
}

/* Another network: address, limit, a record. */
static void take_network(struct mig *m, int chosen, struct mig_todo *todo)
{
    struct netsel_choice *c = &m->recover.network;
    const bool same = strcmp(c->candidate[chosen].name, recover_network(m)) == 0;
    if (chosen != c->chosen) { /* netsel's own reason is about another one */
        c->bandwidth_bytes_per_s = 0;
        c->sending_bytes_per_s = 0;
        c->interface[0] = '\0';
        (void)snprintf(c->bandwidth_reason, sizeof(c->bandwidth_reason), "as before");
        (void)snprintf(c->reason, sizeof(c->reason),
                       "%s %.200s: post-copy is recovered over %s",
                       c->candidate[chosen].name, c->candidate[chosen].why,
                       same ? "the network that it used" : "it");
        c->chosen = chosen;
    }
    m->network = *c;
    m->network_known = true;
    mig_share_network(m, same);
    (void)snprintf(m->spec.address, sizeof(m->spec.address), "%s",
                   c->candidate[chosen].address);
    if (same)
        return;
    struct record_network *r = &mig_record(todo, RECORD_NETWORK)->u.network;
    network_tell(&m->spec, &m->policy, &m->network, r);
    if (!m->spec.bandwidth_auto || c->bandwidth_bytes_per_s == 0)
        return;
    /* What the network allows, it allows in post-copy, too; but the policy's own rate stays. */
    m->network_bytes_per_s = m->network.bandwidth_bytes_per_s;
    struct qapi_cmd cmd = {.command = QAPI_SET_PARAMS};
    cmd.u.params.has =
        (1U << QAPI_PARAM_MAX_POSTCOPY_BANDWIDTH) & m->side[MIG_SRC].params_found.has;
    cmd.u.params.value[QAPI_PARAM_MAX_POSTCOPY_BANDWIDTH] = m->network_bytes_per_s;
    if (m->policy.postcopy_bandwidth_bytes_per_s != 0 || cmd.u.params.has == 0)
        return;
    m->side[MIG_SRC].params_changed |= cmd.u.params.has;
    (void)mig_ask(m, todo, MIG_SRC, &cmd);
}

/* No way at all: an attempt, too, and recorded as one. */
static void no_way(struct mig *m, int64_t until_ns, const char *why, struct mig_todo *todo)
{
    struct mig_recover *r = &m->recover;
    r->attempt++;
    recover_wait(m);
    if (r->next_ns < until_ns)
        r->next_ns = until_ns;
    recover_decide(todo, POLICY_RECOVER,
                   "attempt %u, %llu ms after the interruption: %.160s; again "
                   "in %llu ms",
                   r->attempt, (unsigned long long)recover_since_ms(m), why,
                   (unsigned long long)(r->next_ns - m->now_ns) / 1000000U);
}

void recover_find_way(struct mig *m, struct mig_todo *todo)
{
    const struct mig_recover *r = &m->recover;
    if (m->spec.networks.n == 0 || mig_secure_uri(m, MIG_DST)) {
        mig_to_stage(m, LISTEN);
        return;
    }
    /* What was found out before it broke says nothing: and an attempt over a network that is dead
     * cannot be taken back (resume, below). */
    if (r->network_ns == 0 || r->network_ns < m->stage_ns) {
        if (mig_is_past(m, m->stage_ns, NETWORK_MS)) {
            no_way(m, 0, "nothing was found out about the networks", todo);
            return;
        }
        mig_probe(m, todo, false);
        mig_wake_in(m, POLL_MS);
        return;
    }
    const int chosen = pick_network(m);
    if (chosen < 0) {
        no_way(m, 0, r->network.reason, todo);
        return;
    }
    take_network(m, chosen, todo);
    mig_to_stage(m, LISTEN);
}

/* ---- LISTEN ---- */

uint16_t recover_port(const struct mig *m, unsigned i)
{
    const uint16_t first = m->spec.port_first != 0 ? m->spec.port_first : PORT_FIRST;
    return (uint16_t)(first + i);
}

static unsigned count_ports(const struct mig *m)
{
    if (m->spec.port_first == 0)
        return MIG_RECOVER_PORTS;
    const unsigned n = (unsigned)(m->spec.port_last - m->spec.port_first) + 1;
    return n < MIG_RECOVER_PORTS ? n : MIG_RECOVER_PORTS;
}

/* Not all moves to one host begin with the same port; nor does a qferry that has taken a move up
 * begin where the one before it may have left a connection on its way. */
static unsigned first_index(const struct mig *m)
{
    uint32_t h = 2166136261U; /* FNV-1a */
    for (const char *s = m->spec.destination; *s; s++)
        h = (h ^ (unsigned char)*s) * 16777619U;
    if (m->taken_up)
        return (unsigned)((uint64_t)(m->now_ns / QF_NS_PER_MS) % count_ports(m));
    return m->spec.port_first == 0 ? h % MIG_RECOVER_PORTS : 0;
}

/* The next port to which no old connection can come any more: its index; -1: none yet. */
static int pick_port(const struct mig *m, int64_t *free_ns)
{
    const unsigned n = count_ports(m);
    const unsigned from = m->recover.port != 0
                              ? (unsigned)(m->recover.port - recover_port(m, 0)) + 1
                              : first_index(m);
    *free_ns = INT64_MAX;
    for (unsigned i = 0; i < n; i++) {
        const unsigned k = (from + i) % n;
        const int64_t t = m->recover.port_ns[k];
        if (t <= m->now_ns)
            return (int)k;
        if (t < *free_ns)
            *free_ns = t;
    }
    return -1;
}

/* ssh carries further connections, and ends with its network: none comes later than that. */
static void listen_in_tunnel(struct mig *m, const char *uri, struct mig_todo *todo)
{
    struct mig_recover *r = &m->recover;
    (void)snprintf(m->migrate_uri, sizeof(m->migrate_uri), "%s", uri);
    r->attempt++;
    recover_decide(todo, POLICY_RECOVER,
                   "attempt %u, %llu ms after the interruption: through the tunnel, %.200s",
                   r->attempt, (unsigned long long)recover_since_ms(m), uri);
    if (!mig_act(m, todo, MIG_DST, QAPI_MIGRATE_RECOVER))
        recover_wait(m);
}

void recover_listen(struct mig *m, struct mig_todo *todo)
{
    struct mig_recover *r = &m->recover;
    const char *name = recover_network(m);
    const char *tunnel = mig_secure_uri(m, MIG_DST);
    int64_t free_ns;
    char text[8];
    if (tunnel) {
        listen_in_tunnel(m, tunnel, todo);
        return;
    }
    const int port = pick_port(m, &free_ns);
    if (port < 0) {
        no_way(m, free_ns, "a connection may still come to each port of --port", todo);
        return;
    }
    r->port = recover_port(m, (unsigned)port);
    (void)snprintf(text, sizeof(text), "%u", r->port);
    mig_write_tcp(m->migrate_uri, m->spec.address, text);
    r->attempt++;
    recover_decide(todo, POLICY_RECOVER,
                   "attempt %u, %llu ms after the interruption: over %s%s%.120s",
                   r->attempt, (unsigned long long)recover_since_ms(m), name,
                   *name ? ", " : "", m->migrate_uri + 4);
    if (!mig_act(m, todo, MIG_DST, QAPI_MIGRATE_RECOVER))
        recover_wait(m);
}

void recover_expect_connection(struct mig *m)
{
    m->recover.port_ns[m->recover.port - recover_port(m, 0)] =
        m->now_ns + qf_ms_to_ns(RECOVER_SYN_MS);
}

void recover_free_port(struct mig *m)
{
    if (m->recover.port != 0)
        m->recover.port_ns[m->recover.port - recover_port(m, 0)] = 0;
}

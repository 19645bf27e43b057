/* Moves that go the same way share what it allows. The limit that a network sets (mig_network.c) is for
 * all the moves of this host that go there: each takes an equal part, and the edge says when another
 * one comes or goes (MIG_EV_RUNNING).
 *
 * A rate that is configured is the network's, a link's speed the interface's: so what counts as the
 * same way is the one or the other. Memory moves while QEMU's limits are changed (migrate-set-parameters
 * takes effect at once, migration/migration.c and options.c: migrate_params_apply); until it does, and
 * while the guest is between both sides, the new part waits. What an operator, --bandwidth or the
 * policy has set is left alone. */
#include <stdio.h>
#include <string.h>

#include "engine/base/units.h"
#include "engine/mig_priv.h"

enum { WORD = 32 };

#define RULE "share"

/* ---- who shares it ---- */

static bool is_same_way(const struct mig *m, const struct mig_use *other)
{
    const struct mig_use *own = &m->share.use;
    if (m->network.rate_is_configured)
        return strcmp(own->network, other->network) == 0;
    return own->interface[0] != '\0' && strcmp(own->interface, other->interface) == 0;
}

/* This one and the others. */
static unsigned sharers(const struct mig *m)
{
    const struct mig_others *o = &m->share.others;
    uint64_t n = 1;
    for (unsigned i = 0; i < o->n; i++)
        if (is_same_way(m, &o->way[i].use))
            n += o->way[i].moves;
    return n < UINT32_MAX ? (unsigned)n : UINT32_MAX;
}

static uint64_t part_of(uint64_t whole, unsigned n)
{
    return whole / n > 0 ? whole / n : 1; /* 0 would be no limit at all */
}

/* ---- the other end ---- */

/* A rate that is configured stands above the speeds, and where the one here is not known neither is
 * the lower one. */
static void hear_receiver(struct mig *m)
{
    struct netsel_choice *c = &m->network;
    struct netsel_ip ip;
    if (c->rate_is_configured || c->sending_bytes_per_s == 0 ||
        !netsel_ip_parse(c->candidate[c->chosen].address, &ip))
        return;
    for (unsigned i = 0; i < m->receiver.n; i++)
        if (netsel_ip_equal(&m->receiver.link[i].ip, &ip)) {
            netsel_hear_receiver(&m->spec.networks, c, m->receiver.link[i].interface,
                                 m->receiver.link[i].speed_bytes_per_s);
            return;
        }
}

/* Nobody waits for it. Where the move is set up already, the limit follows when memory moves. */
void mig_take_receiver(struct mig *m, const struct mig_links *links)
{
    struct mig_share *s = &m->share;
    m->receiver = *links;
    if (!s->in_use || s->whole_bytes_per_s == 0)
        return;
    hear_receiver(m);
    if (m->network.receiving_bytes_per_s == 0 || m->network.rate_is_configured)
        return;
    s->is_slower = m->network.bandwidth_bytes_per_s < s->whole_bytes_per_s;
    s->whole_bytes_per_s = m->network.bandwidth_bytes_per_s;
}

/* ---- a network comes into use ---- */

void mig_share_network(struct mig *m, bool is_same)
{
    struct netsel_choice *c = &m->network;
    struct mig_share *s = &m->share;
    const struct netsel_network *n =
        &m->spec.networks.network[c->candidate[c->chosen].network];
    hear_receiver(m);
    if (!is_same || c->bandwidth_bytes_per_s != 0)
        s->whole_bytes_per_s = c->bandwidth_bytes_per_s;
    s->in_use = true;
    memset(&s->use, 0, sizeof(s->use));
    (void)snprintf(s->use.interface, sizeof(s->use.interface), "%s", c->interface);
    (void)netsel_cidr_format(&n->cidr, s->use.network);
    s->n = sharers(m);
    if (c->bandwidth_bytes_per_s == 0 || s->n == 1)
        return;
    c->bandwidth_bytes_per_s = part_of(s->whole_bytes_per_s, s->n);
    const size_t at = strlen(c->bandwidth_reason);
    (void)snprintf(c->bandwidth_reason + at, sizeof(c->bandwidth_reason) - at,
                   ", shared by %u migrations of this host", s->n);
}

/* False while it is not known whether a move is begun or taken up; and of one that is taken up
 * which way it goes, an earlier qferry has said. */
bool mig_use_of(const struct mig *m, struct mig_use *use)
{
    memset(use, 0, sizeof(*use));
    switch (m->phase) {
    case MIG_NEW:
    case MIG_CONNECT:
        return m->attempt > 1;
    case MIG_PREFLIGHT:
        if (!m->judged && m->attempt == 1)
            return false;
        break;
    case MIG_MEASURE:
    case MIG_CONFIGURE:
    case MIG_START:
    case MIG_PRECOPY:
    case MIG_SWITCHOVER:
    case MIG_POSTCOPY:
    case MIG_RECOVER:
    case MIG_RECONCILE:
        break;
    case MIG_FINISH:
    case MIG_ROLLBACK:
    case MIG_AGAIN:
    case MIG_DONE:
    case MIG_FAILED:
    case MIG_HELD:
        return true;
    }
    if (!m->share.in_use)
        return !m->taken_up;
    *use = m->share.use;
    return true;
}

/* ---- others come and go ---- */

void mig_take_others(struct mig *m, const struct mig_others *others)
{
    m->share.others = *others;
}

static const char *bits(uint64_t bytes_per_s, char word[WORD])
{
    const double mbit = (double)bytes_per_s * 8 / 1e6;
    if (mbit >= 1000)
        (void)snprintf(word, WORD, "%.4g Gbit/s", mbit / 1000);
    else
        (void)snprintf(word, WORD, "%.3g Mbit/s", mbit);
    return word;
}

static void tell(const struct mig *m, uint64_t limit, struct mig_todo *todo)
{
    struct policy_decision *d = &mig_record(todo, RECORD_DECISION)->u.decision;
    const struct netsel_choice *c = &m->network;
    const char *name =
        c->rate_is_configured ? c->candidate[c->chosen].name : m->share.use.interface;
    char all[WORD];
    char part[WORD];
    (void)bits(m->share.whole_bytes_per_s, all);
    (void)bits(m->network_bytes_per_s, part);
    d->action = POLICY_SET_BANDWIDTH;
    d->value = limit;
    d->wake_ns = INT64_MAX;
    d->rule = RULE;
    if (m->share.is_slower)
        (void)snprintf(d->because, sizeof(d->because),
                       "%s, which receives, is slower: %s%s%s%s", c->receiving, all,
                       m->share.n > 1 ? " to be shared, " : "", m->share.n > 1 ? part : "",
                       m->share.n > 1 ? " for this migration" : "");
    else if (m->share.n > 1)
        (void)snprintf(d->because, sizeof(d->because),
                       "%u migrations share %s of %s: %s each", m->share.n, all, name,
                       part);
    else
        (void)snprintf(d->because, sizeof(d->because),
                       "no other migration uses the %s of %s now: all of it for this one",
                       all, name);
}

static bool is_operators(const struct mig *m, enum mig_field f)
{
    return (m->operator_fields & (UINT32_C(1) << (unsigned)f)) != 0;
}

static uint64_t with_policy(const struct mig *m, uint64_t network)
{
    const uint64_t policy = m->policy.bandwidth_bytes_per_s;
    return policy != 0 && policy <= network ? policy : network;
}

static bool want(const struct mig *m,
                 struct qapi_params *p,
                 enum qapi_param which,
                 uint64_t value)
{
    if (!(m->side[MIG_SRC].params_found.has & (1U << (unsigned)which)))
        return false;
    p->has |= 1U << (unsigned)which;
    p->value[which] = value;
    return true;
}

/* The limit in force must be the one that the network has set: a policy may have set another. */
static bool set_precopy(struct mig *m, uint64_t was, struct qapi_params *p)
{
    const uint64_t limit = with_policy(m, m->network_bytes_per_s);
    if (m->phase != MIG_PRECOPY || is_operators(m, MIG_FIELD_BANDWIDTH) ||
        m->bandwidth_limit != with_policy(m, was) || m->bandwidth_limit == limit ||
        !want(m, p, QAPI_PARAM_MAX_BANDWIDTH, limit))
        return false;
    m->bandwidth_limit = limit;
    return true;
}

static bool set_postcopy(const struct mig *m, struct qapi_params *p)
{
    const bool in_postcopy = m->phase == MIG_POSTCOPY;
    if ((!in_postcopy && !m->policy.postcopy_allowed) ||
        m->policy.postcopy_bandwidth_bytes_per_s != 0 ||
        is_operators(m, MIG_FIELD_POSTCOPY_BANDWIDTH) ||
        (in_postcopy && is_operators(m, MIG_FIELD_BANDWIDTH)))
        return false;
    return want(m, p, QAPI_PARAM_MAX_POSTCOPY_BANDWIDTH, m->network_bytes_per_s);
}

/* Once the guest is handed over, as an operator may: until then not a moment more. */
static bool can_be_set(const struct mig *m)
{
    const bool moves =
        m->phase == MIG_PRECOPY || (m->phase == MIG_POSTCOPY && m->handed_over);
    return moves && !m->going && m->side[MIG_SRC].link == MIG_LINK_UP &&
           !mig_is_asked(m, MIG_SRC, QAPI_SET_PARAMS);
}

void mig_share_step(struct mig *m, struct mig_todo *todo)
{
    struct mig_share *s = &m->share;
    struct qapi_cmd cmd = {.command = QAPI_SET_PARAMS};
    struct qapi_params *p = &cmd.u.params;
    const uint64_t was = m->network_bytes_per_s;
    if (!s->in_use || s->whole_bytes_per_s == 0 || was == 0 || !can_be_set(m))
        return;
    s->n = sharers(m);
    m->network_bytes_per_s = part_of(s->whole_bytes_per_s, s->n);
    if (m->network_bytes_per_s == was)
        return;
    const bool precopy = set_precopy(m, was, p);
    const bool postcopy = set_postcopy(m, p);
    if (precopy || (postcopy && m->phase == MIG_POSTCOPY))
        tell(m, precopy ? m->bandwidth_limit : m->network_bytes_per_s, todo);
    s->is_slower = false;
    if (m->phase == MIG_PRECOPY && m->network.rate_is_configured &&
        m->switchover_bytes_per_s == 0) /* as configure_params.c */
        (void)want(m, p, QAPI_PARAM_AVAIL_SWITCHOVER_BANDWIDTH, m->network_bytes_per_s);
    if (p->has == 0)
        return;
    m->side[MIG_SRC].params_changed |= p->has;
    (void)mig_ask(m, todo, MIG_SRC, &cmd);
}

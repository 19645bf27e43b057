#include "netsel/netsel.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/units.h"

/* ---- ports ---- */

static bool is_to_be_left_alone(const struct netsel_wish *w, uint16_t port)
{
    return (w->port_first != 0 && port >= w->port_first && port <= w->port_last) ||
           port == w->monitor_port;
}

uint16_t netsel_probe_port(const struct netsel_wish *w, const struct netsel_network *n)
{
    if (n->probe_port != 0)
        return is_to_be_left_alone(w, n->probe_port) ? 0 : n->probe_port;
    if (!is_to_be_left_alone(w, NETSEL_PROBE_PORT))
        return NETSEL_PROBE_PORT;
    for (uint16_t port = 1; port <= NETSEL_PROBE_PORT_MAX; port++)
        if (!is_to_be_left_alone(w, port))
            return port;
    return 0;
}

/* ---- text ---- */

/* Append to a text of this size; what does not fit is cut. */
static void QF_PRINTF(3, 4) say(char *text, size_t size, const char *fmt, ...)
{
    const size_t n = strlen(text);
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text + n, size - n, fmt, ap);
    va_end(ap);
}

/* ---- this host ---- */

static const struct netsel_local *find_local(const struct netsel_facts *f,
                                             const struct netsel_ip *ip)
{
    for (unsigned i = 0; i < f->n_locals; i++)
        if (netsel_ip_equal(&f->local[i].ip, ip))
            return &f->local[i];
    return NULL;
}

static const char *trouble_of(const struct netsel_local *l)
{
    return !l->up ? "is down" : !l->carrier ? "has no carrier" : NULL;
}

/* An address of this host in the network: one that works if there is one. */
static const struct netsel_local *local_in(const struct netsel_facts *f,
                                           const struct netsel_cidr *cidr)
{
    const struct netsel_local *found = NULL;
    for (unsigned i = 0; i < f->n_locals; i++) {
        const struct netsel_local *l = &f->local[i];
        if (!netsel_cidr_has(cidr, &l->ip))
            continue;
        if (!trouble_of(l))
            return l;
        if (!found)
            found = l;
    }
    return found;
}

static bool has_local_family(const struct netsel_facts *f, enum netsel_family family)
{
    for (unsigned i = 0; i < f->n_locals; i++)
        if (f->local[i].ip.family == family)
            return true;
    return false;
}

/* ---- the destination ---- */

static bool counts(const struct netsel_network *n, const struct netsel_destination *d)
{
    return !d->is_monitor || n->role == NETSEL_MANAGEMENT;
}

static bool is_in(const struct netsel_network *n, const struct netsel_destination *d)
{
    return counts(n, d) && netsel_cidr_has(&n->cidr, &d->ip);
}

static bool has_destination_family(const struct netsel_facts *f,
                                   const struct netsel_network *n)
{
    for (unsigned i = 0; i < f->n_destinations; i++)
        if (counts(n, &f->destination[i]) &&
            f->destination[i].ip.family == n->cidr.ip.family)
            return true;
    return false;
}

static bool has_destination(const struct netsel_facts *f, const struct netsel_network *n)
{
    for (unsigned i = 0; i < f->n_destinations; i++)
        if (counts(n, &f->destination[i]))
            return true;
    return false;
}

/* ---- paths ---- */

/* Would what is sent to d go through this network? What speaks against it goes to why (may be
 * NULL). */
static bool is_way(const struct netsel_network *n,
                   const struct netsel_facts *f,
                   const struct netsel_destination *d,
                   char why[NETSEL_WHY_MAX])
{
    char to[NETSEL_IP_TEXT];
    char from[NETSEL_IP_TEXT];
    char none[NETSEL_WHY_MAX] = "";
    if (!why)
        why = none;
    (void)netsel_ip_format(&d->ip, to);
    (void)netsel_ip_format(&d->source, from);
    if (d->source.family == NETSEL_NONE) {
        say(why, NETSEL_WHY_MAX, "no route to %s: %s", to, d->fault);
        return false;
    }
    if (!netsel_cidr_has(&n->cidr, &d->source)) {
        say(why, NETSEL_WHY_MAX, "the way to %s is not through it: it leaves from %s", to,
            from);
        return false;
    }
    const struct netsel_local *l = find_local(f, &d->source);
    if (l && !trouble_of(l))
        return true;
    say(why, NETSEL_WHY_MAX, "the way to %s is through %s, which %s", to,
        l ? l->interface : from, l ? trouble_of(l) : "is no address of this host");
    return false;
}

static const struct netsel_path *find_path(const struct netsel_facts *f,
                                           unsigned network,
                                           unsigned destination)
{
    for (unsigned i = 0; i < f->n_paths; i++)
        if (f->path[i].network == network && f->path[i].destination == destination)
            return &f->path[i];
    return NULL;
}

/* May it still be chosen? Networks for management that are not to be used are not probed. */
static bool is_considered(const struct netsel_wish *w, const struct netsel_network *n)
{
    return n->role == NETSEL_MIGRATION || !w->no_fallback;
}

void netsel_plan(const struct netsel_wish *w, struct netsel_facts *f)
{
    for (unsigned i = 0; i < w->n; i++)
        for (unsigned k = 0; k < f->n_destinations; k++) {
            const struct netsel_network *n = &w->network[i];
            const struct netsel_destination *d = &f->destination[k];
            const uint16_t port = netsel_probe_port(w, n);
            if (f->n_paths == NETSEL_PATHS_MAX || port == 0)
                return;
            if (!is_considered(w, n) || !is_in(n, d) || find_path(f, i, k) ||
                !is_way(n, f, d, NULL))
                continue;
            f->path[f->n_paths++] =
                (struct netsel_path){.network = i, .destination = k, .port = port};
        }
}

/* ---- one network ---- */

enum state { USABLE, UNUSABLE, PENDING };

struct view {
    enum state state;
    uint32_t until_ms;                /* PENDING: so long an answer may take */
    const struct netsel_local *local; /* USABLE: from where; else the one in it, or NULL */
};

static enum state look_at_path(const struct netsel_path *p,
                               const struct netsel_destination *d,
                               const struct netsel_local *l,
                               char why[NETSEL_WHY_MAX])
{
    char to[NETSEL_IP_TEXT];
    (void)netsel_ip_format(&d->ip, to);
    if (!p) {
        say(why, NETSEL_WHY_MAX, "%s was not probed", to);
        return UNUSABLE;
    }
    switch (p->answer) {
    case NETSEL_ACCEPTED:
    case NETSEL_REFUSED:
        (void)snprintf(why, NETSEL_WHY_MAX, "%s answers through %s after %u ms", to,
                       l->interface, p->took_ms);
        return USABLE;
    case NETSEL_FAILED:
        say(why, NETSEL_WHY_MAX, "%s does not answer through %s: %s", to, l->interface,
            p->fault);
        return UNUSABLE;
    case NETSEL_NOT_ASKED:
    case NETSEL_WAITING:
        break;
    }
    say(why, NETSEL_WHY_MAX, "%s has not answered on port %u through %s", to, p->port,
        l->interface);
    return PENDING;
}

/* The addresses of the destination in it, in their order: the first that answers. */
static void look_at_paths(const struct netsel_wish *w,
                          const struct netsel_facts *f,
                          unsigned i,
                          struct netsel_candidate *c,
                          struct view *v)
{
    const struct netsel_network *n = &w->network[i];
    v->state = UNUSABLE;
    for (unsigned k = 0; k < f->n_destinations && v->state != USABLE; k++) {
        const struct netsel_destination *d = &f->destination[k];
        char why[NETSEL_WHY_MAX] = "";
        enum state s = UNUSABLE;
        if (!is_in(n, d))
            continue;
        if (is_way(n, f, d, why)) {
            const struct netsel_local *l = find_local(f, &d->source);
            s = look_at_path(find_path(f, i, k), d, l, why);
            v->local = l;
        }
        if (s == USABLE) {
            c->why[0] = '\0';
            (void)netsel_ip_format(&d->ip, c->address);
        }
        say(c->why, sizeof(c->why), "%s%s", c->why[0] ? "; " : "", why);
        if (s == USABLE || (s == PENDING && v->state == UNUSABLE))
            v->state = s;
    }
    v->until_ms = NETSEL_ANSWER_MS;
}

static void look_at_destination(const struct netsel_wish *w,
                                const struct netsel_facts *f,
                                unsigned i,
                                struct netsel_candidate *c,
                                struct view *v)
{
    const struct netsel_network *n = &w->network[i];
    look_at_paths(w, f, i, c, v);
    if (v->state != USABLE && f->names_pending) {
        v->state = PENDING;
        v->until_ms = NETSEL_NAMES_MS;
        say(c->why, sizeof(c->why), "%sa name of the destination is not resolved",
            c->why[0] ? "; " : "");
        return;
    }
    if (c->why[0] != '\0')
        return;
    if (!has_destination(f, n))
        say(c->why, sizeof(c->why), "no address of the destination is known");
    else if (!has_destination_family(f, n))
        say(c->why, sizeof(c->why), "the destination has no %s address",
            netsel_family_name(n->cidr.ip.family));
    else
        say(c->why, sizeof(c->why), "the destination has no address in it");
    if (f->name_fault[0] != '\0')
        say(c->why, sizeof(c->why), "; %s", f->name_fault);
}

static void look(const struct netsel_wish *w,
                 const struct netsel_facts *f,
                 unsigned i,
                 struct netsel_candidate *c,
                 struct view *v)
{
    const struct netsel_network *n = &w->network[i];
    *v = (struct view){.state = UNUSABLE, .local = local_in(f, &n->cidr)};
    *c = (struct netsel_candidate){.network = i, .link_bytes_per_s = n->rate_bytes_per_s};
    memcpy(c->name, n->name, sizeof(c->name));
    for (unsigned k = f->n_destinations; k-- > 0;)
        if (is_in(n, &f->destination[k]))
            (void)netsel_ip_format(&f->destination[k].ip, c->address);
    if (!is_considered(w, n))
        say(c->why, sizeof(c->why), "falling back to management is not allowed");
    else if (f->fault[0] != '\0')
        say(c->why, sizeof(c->why), "%s", f->fault);
    else if (!v->local && !has_local_family(f, n->cidr.ip.family))
        say(c->why, sizeof(c->why), "this host has no %s address",
            netsel_family_name(n->cidr.ip.family));
    else if (!v->local)
        say(c->why, sizeof(c->why), "this host has no address in it");
    else if (trouble_of(v->local))
        say(c->why, sizeof(c->why), "%s %s", v->local->interface, trouble_of(v->local));
    else if (netsel_probe_port(w, n) == 0)
        say(c->why, sizeof(c->why), "no port is left to probe it");
    else
        look_at_destination(w, f, i, c, v);
    if (c->link_bytes_per_s == 0 && v->local)
        c->link_bytes_per_s = v->local->speed_bytes_per_s;
}

/* ---- bandwidth ---- */

/* Does what is sent from this interface share it with management? */
static bool carries_management(const struct netsel_wish *w,
                               const struct netsel_facts *f,
                               const struct netsel_network *n,
                               const struct netsel_local *l)
{
    if (n->role == NETSEL_MANAGEMENT)
        return true;
    for (unsigned i = 0; i < w->n; i++)
        for (unsigned k = 0; k < f->n_locals; k++)
            if (w->network[i].role == NETSEL_MANAGEMENT &&
                strcmp(f->local[k].interface, l->interface) == 0 &&
                netsel_cidr_has(&w->network[i].cidr, &f->local[k].ip))
                return true;
    return false;
}

/* The slower of both ends. */
static uint64_t speed_of(const struct netsel_choice *c, char why[NETSEL_WHY_MAX])
{
    const uint64_t far = c->receiving_bytes_per_s;
    if (c->sending_bytes_per_s == 0)
        return 0;
    if (far != 0 && far < c->sending_bytes_per_s) {
        say(why, NETSEL_WHY_MAX, "the speed of %s, which receives", c->receiving);
        return far;
    }
    say(why, NETSEL_WHY_MAX, "the speed of %s", c->interface);
    if (far == 0)
        say(why, NETSEL_WHY_MAX, " (that of the receiving interface is not known)");
    return c->sending_bytes_per_s;
}

static void find_bandwidth(const struct netsel_wish *w, struct netsel_choice *c)
{
    const struct netsel_network *n = &w->network[c->candidate[c->chosen].network];
    char *why = c->bandwidth_reason;
    uint64_t rate = n->rate_bytes_per_s;
    why[0] = '\0';
    c->bandwidth_bytes_per_s = 0;
    c->rate_is_configured = rate != 0;
    if (rate != 0)
        say(why, NETSEL_WHY_MAX, "the rate configured for %s", n->name);
    else
        rate = speed_of(c, why);
    if (rate == 0) {
        say(why, NETSEL_WHY_MAX,
            "no rate is configured for %s and the speed of %s is not known", n->name,
            c->interface);
        return;
    }
    if (c->has_reserve) {
        rate = qf_mul_div(rate, 100 - NETSEL_RESERVE_PERCENT, 100);
        say(why, NETSEL_WHY_MAX, ", less %d %% since management goes there, too",
            NETSEL_RESERVE_PERCENT);
    }
    c->bandwidth_bytes_per_s = rate > 0 ? rate : 1;
}

/* The far end is known where it is one of this host's, too. */
static void find_ends(const struct netsel_facts *f,
                      const struct netsel_local *l,
                      struct netsel_choice *c)
{
    struct netsel_ip ip;
    const struct netsel_local *far =
        netsel_ip_parse(c->candidate[c->chosen].address, &ip) ? find_local(f, &ip) : NULL;
    c->sending_bytes_per_s = l->speed_bytes_per_s;
    if (!far)
        return;
    c->receiving_bytes_per_s = far->speed_bytes_per_s;
    memcpy(c->receiving, far->interface, sizeof(c->receiving));
}

void netsel_hear_receiver(const struct netsel_wish *w,
                          struct netsel_choice *c,
                          const char *interface,
                          uint64_t speed_bytes_per_s)
{
    if (c->chosen < 0)
        return;
    c->receiving_bytes_per_s = speed_bytes_per_s;
    (void)snprintf(c->receiving, sizeof(c->receiving), "%s", interface);
    find_bandwidth(w, c);
}

/* ---- the choice ---- */

/* Networks in the order of the rules. */
static unsigned in_order(const struct netsel_wish *w, unsigned order[NETSEL_NETWORKS_MAX])
{
    static const enum netsel_role roles[] = {NETSEL_MIGRATION, NETSEL_MANAGEMENT};
    unsigned n = 0;
    for (unsigned last = 0; last < 2; last++)
        for (unsigned r = 0; r < 2; r++)
            for (unsigned i = 0; i < w->n; i++)
                if (w->network[i].role == roles[r] && w->network[i].is_last == (last == 1))
                    order[n++] = i;
    return n;
}

/* What is waited for, and until when: nothing when everything before the chosen one is known, or
 * has had its time. */
static void wait_for(struct netsel_choice *c, const struct view *v, uint32_t waited_ms)
{
    const unsigned end = c->chosen >= 0 ? (unsigned)c->chosen : c->n;
    c->is_decided = true;
    for (unsigned i = 0; i < end; i++) {
        const uint32_t until = v[i].state != PENDING ? 0
                               : c->chosen >= 0      ? NETSEL_PATIENCE_MS
                                                     : v[i].until_ms;
        if (until <= waited_ms)
            continue;
        if (c->is_decided || until > c->ask_again_ms)
            c->ask_again_ms = until;
        c->is_decided = false;
    }
}

/* "migration: mig0 is down; storage: ..." of the first `end` candidates. */
static void list_reasons(struct netsel_choice *c, unsigned end)
{
    for (unsigned i = 0; i < end; i++)
        say(c->reason, sizeof(c->reason), "%s%s: %s", i > 0 ? "; " : "",
            c->candidate[i].name, c->candidate[i].why);
}

static void give_reason(struct netsel_choice *c)
{
    if (c->chosen < 0) {
        say(c->reason, sizeof(c->reason), "no usable network: ");
        list_reasons(c, c->n);
        return;
    }
    const struct netsel_candidate *chosen = &c->candidate[c->chosen];
    say(c->reason, sizeof(c->reason), "%s", chosen->why);
    if (c->chosen == 0)
        return;
    say(c->reason, sizeof(c->reason), "; not ");
    list_reasons(c, (unsigned)c->chosen);
}

void netsel_choose(const struct netsel_wish *w,
                   const struct netsel_facts *f,
                   struct netsel_choice *c)
{
    struct view view[NETSEL_NETWORKS_MAX];
    unsigned order[NETSEL_NETWORKS_MAX];
    *c = (struct netsel_choice){.chosen = -1};
    c->n = in_order(w, order);
    for (unsigned i = 0; i < c->n; i++) {
        look(w, f, order[i], &c->candidate[i], &view[i]);
        c->candidate[i].usable = view[i].state == USABLE;
        c->candidate[i].pending = view[i].state == PENDING;
        if (c->candidate[i].usable && c->chosen < 0)
            c->chosen = (int)i;
    }
    wait_for(c, view, f->waited_ms);
    for (unsigned i = 0; i < c->n; i++)
        if (view[i].state == PENDING)
            say(c->candidate[i].why, sizeof(c->candidate[i].why), " within %u ms",
                f->waited_ms);
    give_reason(c);
    if (c->chosen < 0)
        return;
    const struct netsel_local *l = view[c->chosen].local;
    c->from = l->ip;
    memcpy(c->interface, l->interface, sizeof(c->interface));
    find_ends(f, l, c);
    c->has_reserve = carries_management(w, f, &w->network[order[c->chosen]], l);
    find_bandwidth(w, c);
}

const struct netsel_candidate *netsel_candidate_of(const struct netsel_choice *c,
                                                   unsigned i)
{
    for (unsigned k = 0; k < c->n; k++)
        if (c->candidate[k].network == i)
            return &c->candidate[k];
    return NULL;
}

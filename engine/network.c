#include "engine/network.h"

#include <stdio.h>
#include <string.h>

static void tell_address(const struct mig_spec *spec,
                         const struct netsel_choice *c,
                         struct record_network *r)
{
    static const char *const from[] = {
        [SPEC_ADDRESS_DEFAULT] = "the destination's monitor is on this host",
        [SPEC_ADDRESS_MONITOR] = "that is the host of the destination's monitor",
        [SPEC_ADDRESS_GIVEN] = "that is the first --destination-address",
    };
    if (!c) {
        (void)snprintf(r->address, sizeof(r->address), "%s", spec->address);
        (void)snprintf(r->reason, sizeof(r->reason), "no networks are given; %s",
                       from[spec->address_from]);
        return;
    }
    memcpy(r->reason, c->reason, sizeof(r->reason));
    if (c->chosen < 0)
        return;
    memcpy(r->name, c->candidate[c->chosen].name, sizeof(r->name));
    (void)snprintf(r->address, sizeof(r->address), "%s", c->candidate[c->chosen].address);
}

static void because(struct record_network *r, uint64_t bytes_per_s, const char *why)
{
    r->bandwidth_bytes_per_s = bytes_per_s;
    (void)snprintf(r->bandwidth_reason, sizeof(r->bandwidth_reason), "%s", why);
}

/* --bandwidth before all; then the policy's, but no more than the network has; then that. */
static void tell_bandwidth(const struct mig_spec *spec,
                           const struct policy *p,
                           const struct netsel_choice *c,
                           struct record_network *r)
{
    const uint64_t policy = p->bandwidth_bytes_per_s;
    const uint64_t network = c && c->chosen >= 0 ? c->bandwidth_bytes_per_s : 0;
    if (spec->bandwidth_bytes_per_s != SPEC_BANDWIDTH_HYPERVISOR)
        because(r, spec->bandwidth_bytes_per_s, "as asked for");
    else if (policy != 0 && (!spec->bandwidth_auto || network == 0 || policy <= network))
        because(r, policy, "the policy's");
    else if (!spec->bandwidth_auto)
        because(r, POLICY_UNKNOWN, "as QEMU is set");
    else if (network != 0)
        because(r, network, c->bandwidth_reason);
    else if (!c)
        because(r, POLICY_UNKNOWN, "no networks are given: as QEMU is set");
    else if (c->chosen < 0)
        because(r, POLICY_UNKNOWN, "no usable network");
    else {
        r->bandwidth_bytes_per_s = POLICY_UNKNOWN;
        (void)snprintf(r->bandwidth_reason, sizeof(r->bandwidth_reason),
                       "%.160s: as QEMU is set", c->bandwidth_reason);
    }
}

void network_tell(const struct mig_spec *spec,
                  const struct policy *p,
                  const struct netsel_choice *c,
                  struct record_network *r)
{
    *r = (struct record_network){.choice = c};
    tell_address(spec, c, r);
    tell_bandwidth(spec, p, c, r);
}

void network_path_wish(const struct mig_spec *spec, struct netsel_wish *w)
{
    static const struct {
        const char *name;
        enum netsel_family family;
    } all[] = {{"IPv4", NETSEL_V4}, {"IPv6", NETSEL_V6}};
    memset(w, 0, sizeof(*w));
    w->port_first = spec->networks.port_first;
    w->port_last = spec->networks.port_last;
    w->monitor_port = spec->networks.monitor_port;
    for (; w->n < sizeof(all) / sizeof(all[0]); w->n++) {
        struct netsel_network *n = &w->network[w->n];
        (void)snprintf(n->name, sizeof(n->name), "%s", all[w->n].name);
        n->cidr.ip.family = all[w->n].family;
    }
}

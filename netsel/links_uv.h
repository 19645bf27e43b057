/* This host's side of the networks: its addresses, the state and speed of the interfaces that have
 * them, and from which one the kernel would send. Sends nothing and waits for nothing. Edge.
 *
 * Flags come from the kernel by netlink (getifaddrs), so they are those of the network namespace
 * that qferry is in. uv_interface_addresses is not used: it leaves out interfaces that are down,
 * and "eth1 is down" is what a person needs to hear. */
#ifndef QF_NETSEL_LINKS_UV_H
#define QF_NETSEL_LINKS_UV_H

#include "engine/base/err.h"
#include "netsel/netsel.h"

/* Fill f->local. Link-local addresses are left out. When there are too many, those in no network of
 * w are left out first. QF_E_IO: the kernel does not tell. */
int netsel_find_locals(const struct netsel_wish *w,
                       struct netsel_facts *f,
                       struct qf_err *err);

/* From where the kernel would send to d->ip: fills d->source, or d->fault when there is no way. */
void netsel_find_source(struct netsel_destination *d);

/* The address as the kernel takes it. */
struct sockaddr_storage;
void netsel_to_sockaddr(const struct netsel_ip *ip,
                        uint16_t port,
                        struct sockaddr_storage *out);

/* The other way round; false: neither IPv4 nor IPv6. */
struct sockaddr;
bool netsel_from_sockaddr(const struct sockaddr *sa, struct netsel_ip *ip);

#endif

/* Happy path: getifaddrs -> flags of each address -> speed of its interface from /sys.
 *
 * What can fail, and what becomes of it:
 *   getifaddrs                          QF_E_IO: nothing is known of this host
 *   /sys is not there, or is that of    the speed is not known
 *   another network namespace
 *   an interface does not tell a speed  likewise: most virtual ones
 *   no route                            netsel_destination.fault says why */
#include "netsel/links_uv.h"

#include <dirent.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FLAG_LOWER_UP =
        0x10000,   /* IFF_LOWER_UP: carrier; <linux/if.h>, which clashes with <net/if.h> */
    LOWER_MAX = 4, /* a VLAN of a bond of ports in a bridge: 3 */
    BYTES_PER_S_OF_MBIT = 125000
};

/* ---- addresses ---- */

void netsel_to_sockaddr(const struct netsel_ip *ip,
                        uint16_t port,
                        struct sockaddr_storage *out)
{
    memset(out, 0, sizeof(*out));
    if (ip->family == NETSEL_V4) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)out;
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        memcpy(&v4->sin_addr, ip->byte, 4);
    } else {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        memcpy(&v6->sin6_addr, ip->byte, 16);
    }
}

bool netsel_from_sockaddr(const struct sockaddr *sa, struct netsel_ip *ip)
{
    *ip = (struct netsel_ip){.family = NETSEL_NONE};
    if (sa->sa_family == AF_INET) {
        ip->family = NETSEL_V4;
        memcpy(ip->byte, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
    } else if (sa->sa_family == AF_INET6) {
        ip->family = NETSEL_V6;
        memcpy(ip->byte, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
    }
    return ip->family != NETSEL_NONE;
}

/* ---- speed ---- */

static bool read_long(const char *interface, const char *file, long *out)
{
    char path[96];
    (void)snprintf(path, sizeof(path), "/sys/class/net/%.15s/%s", interface, file);
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    const bool read = fscanf(f, "%ld", out) == 1; /* speed: EINVAL where there is none */
    (void)fclose(f);
    return read;
}

static bool has_entry(const char *interface, const char *entry)
{
    char path[96];
    struct stat st;
    (void)snprintf(path, sizeof(path), "/sys/class/net/%.15s/%s", interface, entry);
    return stat(path, &st) == 0;
}

static uint64_t speed_of(const char *interface, unsigned depth);

/* Of what it stands on: the fastest of a bridge's ports, the one device of a VLAN. */
static uint64_t lower_speed(const char *interface, unsigned depth)
{
    char path[64];
    uint64_t best = 0;
    const struct dirent *e;
    (void)snprintf(path, sizeof(path), "/sys/class/net/%.15s", interface);
    DIR *dir = depth < LOWER_MAX ? opendir(path) : NULL;
    while (dir && (e = readdir(dir))) {
        if (strncmp(e->d_name, "lower_", 6) != 0)
            continue;
        const uint64_t speed = speed_of(e->d_name + 6, depth + 1);
        if (speed > best)
            best = speed;
    }
    if (dir)
        (void)closedir(dir);
    return best;
}

/* Only devices and bonds of them are believed: a veth says 10 Gbit/s and a tap 10 Mbit/s, whatever
 * they do (Linux: drivers/net/veth.c, tun.c). */
static uint64_t speed_of(const char *interface, unsigned depth)
{
    long mbit;
    if (!has_entry(interface, "device") && !has_entry(interface, "bonding"))
        return lower_speed(interface, depth);
    if (!read_long(interface, "speed", &mbit) || mbit <= 0 || mbit > 100L * 1000 * 1000)
        return 0;
    return (uint64_t)mbit * BYTES_PER_S_OF_MBIT;
}

/* Is /sys that of our network namespace? A process may have been moved without it. */
static bool is_ours(const char *interface)
{
    long index;
    return read_long(interface, "ifindex", &index) && index > 0 &&
           (unsigned long)index == if_nametoindex(interface);
}

/* ---- this host ---- */

static bool is_wanted(const struct netsel_wish *w, const struct netsel_ip *ip)
{
    for (unsigned i = 0; i < w->n; i++)
        if (netsel_cidr_has(&w->network[i].cidr, ip))
            return true;
    return false;
}

static void add_local(const struct ifaddrs *a, struct netsel_facts *f)
{
    struct netsel_local *l = &f->local[f->n_locals];
    *l = (struct netsel_local){.up = a->ifa_flags & IFF_UP};
    l->carrier = (a->ifa_flags & IFF_RUNNING) && (a->ifa_flags & FLAG_LOWER_UP);
    /* without the label of an alias, "eth0:1" */
    (void)snprintf(l->interface, sizeof(l->interface), "%.*s",
                   (int)strcspn(a->ifa_name, ":"), a->ifa_name);
    (void)netsel_from_sockaddr(a->ifa_addr, &l->ip);
    if (is_ours(l->interface))
        l->speed_bytes_per_s = speed_of(l->interface, 0);
    f->n_locals++;
}

static void add_locals(const struct netsel_wish *w,
                       const struct ifaddrs *all,
                       bool wanted,
                       struct netsel_facts *f)
{
    for (const struct ifaddrs *a = all; a && f->n_locals < NETSEL_LOCALS_MAX;
         a = a->ifa_next) {
        struct netsel_ip ip;
        if (a->ifa_addr && netsel_from_sockaddr(a->ifa_addr, &ip) &&
            !netsel_ip_is_link_local(&ip) && is_wanted(w, &ip) == wanted)
            add_local(a, f);
    }
}

int netsel_find_locals(const struct netsel_wish *w,
                       struct netsel_facts *f,
                       struct qf_err *err)
{
    struct ifaddrs *all;
    if (getifaddrs(&all) != 0)
        return qf_fail(err, QF_E_IO, "the interfaces of this host: %s", strerror(errno));
    f->n_locals = 0;
    add_locals(w, all, true, f);
    add_locals(w, all, false, f);
    freeifaddrs(all);
    return 0;
}

/* ---- the way ---- */

/* A datagram socket that is connected has its source chosen; nothing is sent. */
void netsel_find_source(struct netsel_destination *d)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    netsel_to_sockaddr(&d->ip, NETSEL_PROBE_PORT, &sa);
    const int fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    d->source = (struct netsel_ip){.family = NETSEL_NONE};
    d->fault[0] = '\0';
    if (fd < 0 ||
        connect(fd, (struct sockaddr *)&sa,
                d->ip.family == NETSEL_V4 ? sizeof(struct sockaddr_in)
                                          : sizeof(struct sockaddr_in6)) != 0 ||
        getsockname(fd, (struct sockaddr *)&sa, &len) != 0 ||
        !netsel_from_sockaddr((struct sockaddr *)&sa, &d->source))
        (void)snprintf(d->fault, sizeof(d->fault), "%s",
                       errno == EINVAL ? "it is routed into nowhere" : strerror(errno));
    if (fd >= 0)
        (void)close(fd);
}

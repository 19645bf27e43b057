/* Addresses and networks (CIDR) of IPv4 and IPv6: reading, writing, comparing. Names are not
 * resolved here, and an IPv6 zone ("%eth0") is not an address. Core: no libc but strings, since
 * inet_pton does not exist in strict C. */
#ifndef QF_NETSEL_IP_H
#define QF_NETSEL_IP_H

#include <stdbool.h>
#include <stdint.h>

enum {
    NETSEL_IP_TEXT = 46,  /* "ffff:...:255.255.255.255" */
    NETSEL_CIDR_TEXT = 52 /* the same and "/128" */
};

/* The numbers people say. */
enum netsel_family { NETSEL_NONE = 0, NETSEL_V4 = 4, NETSEL_V6 = 6 };

struct netsel_ip {
    enum netsel_family family; /* NETSEL_NONE: no address */
    uint8_t byte[16];          /* in network order; IPv4: the first four, the others 0 */
};

struct netsel_cidr {
    struct netsel_ip ip; /* host bits are 0 */
    unsigned bits;       /* length of the prefix */
};

/* Read "10.1.2.3" or "fd00::1". False: not an address; *ip is then untouched. */
bool netsel_ip_parse(const char *text, struct netsel_ip *ip);

/* Write it, IPv6 as RFC 5952 has it ("" for no address). Returns text. */
const char *netsel_ip_format(const struct netsel_ip *ip, char text[NETSEL_IP_TEXT]);

bool netsel_ip_equal(const struct netsel_ip *a, const struct netsel_ip *b);

/* 169.254.0.0/16 and fe80::/10: they mean something else on each link. */
bool netsel_ip_is_link_local(const struct netsel_ip *ip);

enum netsel_cidr_fault {
    NETSEL_CIDR_GOOD,
    NETSEL_CIDR_NO_ADDRESS, /* what is before the slash is none */
    NETSEL_CIDR_NO_PREFIX,  /* no slash */
    NETSEL_CIDR_BAD_PREFIX, /* not a number, or greater than 32 or 128 */
    NETSEL_CIDR_HOST_BITS   /* *cidr is the network that was probably meant */
};

/* Read "10.10.10.0/24". *cidr is filled for GOOD and HOST_BITS. */
enum netsel_cidr_fault netsel_cidr_parse(const char *text, struct netsel_cidr *cidr);

const char *netsel_cidr_format(const struct netsel_cidr *cidr, char text[NETSEL_CIDR_TEXT]);

bool netsel_cidr_equal(const struct netsel_cidr *a, const struct netsel_cidr *b);

/* Is the address in the network? */
bool netsel_cidr_has(const struct netsel_cidr *cidr, const struct netsel_ip *ip);

/* "IPv4", "IPv6"; static. */
const char *netsel_family_name(enum netsel_family f);

#endif

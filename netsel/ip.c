#include "netsel/ip.h"

#include <stdio.h>
#include <string.h>

/* ---- reading ---- */

/* Decimal without leading zeros, at most `most`. Moves *at on. */
static bool read_number(const char **at, unsigned most, unsigned *out)
{
    const char *p = *at;
    unsigned v = 0;
    for (; *p >= '0' && *p <= '9' && p - *at < 4; p++)
        v = v * 10 + (unsigned)(*p - '0');
    if (p == *at || (**at == '0' && p - *at > 1) || v > most)
        return false;
    *at = p;
    *out = v;
    return true;
}

static bool read_v4(const char *text, uint8_t byte[4])
{
    for (unsigned i = 0; i < 4; i++) {
        unsigned v;
        if (i > 0 && *text++ != '.')
            return false;
        if (!read_number(&text, 255, &v))
            return false;
        byte[i] = (uint8_t)v;
    }
    return *text == '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* One group of up to four hexadecimal digits. Moves *at on. */
static bool read_group(const char **at, uint8_t byte[2])
{
    const char *p = *at;
    unsigned v = 0;
    for (; hex_digit(*p) >= 0 && p - *at < 5; p++)
        v = v * 16 + (unsigned)hex_digit(*p);
    if (p == *at || p - *at > 4)
        return false;
    *at = p;
    byte[0] = (uint8_t)(v >> 8);
    byte[1] = (uint8_t)(v & 0xFF);
    return true;
}

static bool read_v6(const char *text, uint8_t byte[16])
{
    uint8_t head[16] = {0};
    unsigned n = 0;        /* bytes read */
    unsigned gap = 16 + 1; /* bytes before "::" */
    if (text[0] == ':' && text[1] != ':')
        return false;
    while (*text != '\0') {
        if (text[0] == ':' && text[1] == ':') {
            if (gap <= 16)
                return false;
            gap = n;
            text += 2;
            if (*text == ':')
                return false;
            continue;
        }
        if (n > 0 && *text == ':')
            text++;
        if (n <= 12 && strchr(text, '.') && !strchr(text, ':')) {
            if (!read_v4(text, head + n))
                return false;
            n += 4;
            break;
        }
        if (n >= 16 || !read_group(&text, head + n))
            return false;
        n += 2;
        if (*text != '\0' && *text != ':')
            return false;
        if (*text == ':' && text[1] == '\0')
            return false;
    }
    if (gap > 16 ? n != 16 : n > 14)
        return false;
    memset(byte, 0, 16);
    if (gap > 16)
        gap = n;
    memcpy(byte, head, gap);
    memcpy(byte + 16 - (n - gap), head + gap, n - gap);
    return true;
}

bool netsel_ip_parse(const char *text, struct netsel_ip *ip)
{
    struct netsel_ip read = {.family = NETSEL_V4};
    if (strlen(text) >= NETSEL_IP_TEXT)
        return false;
    if (strchr(text, ':')) {
        read.family = NETSEL_V6;
        if (!read_v6(text, read.byte))
            return false;
    } else if (!read_v4(text, read.byte)) {
        return false;
    }
    *ip = read;
    return true;
}

/* ---- writing ---- */

/* The longest run of two or more groups of zero, the first of equals (RFC 5952, 4.2). */
static unsigned longest_zeros(const uint8_t byte[16], unsigned *length)
{
    unsigned best = 8;
    *length = 1;
    for (unsigned i = 0; i < 8; i++) {
        unsigned n = 0;
        while (i + n < 8 && byte[2 * (i + n)] == 0 && byte[2 * (i + n) + 1] == 0)
            n++;
        if (n > *length) {
            *length = n;
            best = i;
        }
    }
    return best;
}

static void format_v6(const uint8_t byte[16], char *text)
{
    unsigned zeros;
    const unsigned first = longest_zeros(byte, &zeros);
    size_t at = 0;
    for (unsigned i = 0; i < 8;) {
        if (i == first) {
            at += (size_t)snprintf(text + at, NETSEL_IP_TEXT - at, "::");
            i += zeros;
            continue;
        }
        at += (size_t)snprintf(text + at, NETSEL_IP_TEXT - at, "%s%x",
                               i > 0 && i != first + zeros ? ":" : "",
                               (unsigned)byte[2 * i] << 8 | byte[2 * i + 1]);
        i++;
    }
}

const char *netsel_ip_format(const struct netsel_ip *ip, char text[NETSEL_IP_TEXT])
{
    text[0] = '\0';
    if (ip->family == NETSEL_V4)
        (void)snprintf(text, NETSEL_IP_TEXT, "%u.%u.%u.%u", ip->byte[0], ip->byte[1],
                       ip->byte[2], ip->byte[3]);
    else if (ip->family == NETSEL_V6)
        format_v6(ip->byte, text);
    return text;
}

/* ---- comparing ---- */

bool netsel_ip_equal(const struct netsel_ip *a, const struct netsel_ip *b)
{
    return a->family == b->family && memcmp(a->byte, b->byte, sizeof(a->byte)) == 0;
}

bool netsel_ip_is_link_local(const struct netsel_ip *ip)
{
    if (ip->family == NETSEL_V4)
        return ip->byte[0] == 169 && ip->byte[1] == 254;
    return ip->family == NETSEL_V6 && ip->byte[0] == 0xFE && (ip->byte[1] & 0xC0) == 0x80;
}

/* ---- networks ---- */

static struct netsel_ip masked(const struct netsel_ip *ip, unsigned bits)
{
    struct netsel_ip out = *ip;
    for (unsigned i = 0; i < 16; i++) {
        const unsigned keep = bits >= 8 * (i + 1) ? 8 : bits > 8 * i ? bits - 8 * i : 0;
        out.byte[i] &= (uint8_t)(0xFF00U >> keep);
    }
    return out;
}

enum netsel_cidr_fault netsel_cidr_parse(const char *text, struct netsel_cidr *cidr)
{
    char address[NETSEL_IP_TEXT];
    const char *slash = strchr(text, '/');
    const size_t n = slash ? (size_t)(slash - text) : strlen(text);
    struct netsel_cidr read = {.bits = 0};
    if (n >= sizeof(address))
        return NETSEL_CIDR_NO_ADDRESS;
    memcpy(address, text, n);
    address[n] = '\0';
    if (!netsel_ip_parse(address, &read.ip))
        return NETSEL_CIDR_NO_ADDRESS;
    if (!slash)
        return NETSEL_CIDR_NO_PREFIX;
    const char *digits = slash + 1;
    if (!read_number(&digits, read.ip.family == NETSEL_V4 ? 32 : 128, &read.bits) ||
        *digits != '\0')
        return NETSEL_CIDR_BAD_PREFIX;
    const struct netsel_ip given = read.ip;
    read.ip = masked(&given, read.bits);
    *cidr = read;
    return netsel_ip_equal(&given, &read.ip) ? NETSEL_CIDR_GOOD : NETSEL_CIDR_HOST_BITS;
}

const char *netsel_cidr_format(const struct netsel_cidr *cidr, char text[NETSEL_CIDR_TEXT])
{
    char address[NETSEL_IP_TEXT];
    (void)snprintf(text, NETSEL_CIDR_TEXT, "%s/%u", netsel_ip_format(&cidr->ip, address),
                   cidr->bits);
    return text;
}

bool netsel_cidr_equal(const struct netsel_cidr *a, const struct netsel_cidr *b)
{
    return a->bits == b->bits && netsel_ip_equal(&a->ip, &b->ip);
}

bool netsel_cidr_has(const struct netsel_cidr *cidr, const struct netsel_ip *ip)
{
    const struct netsel_ip net = masked(ip, cidr->bits);
    return netsel_ip_equal(&net, &cidr->ip);
}

const char *netsel_family_name(enum netsel_family f)
{
    return f == NETSEL_V4 ? "IPv4" : f == NETSEL_V6 ? "IPv6" : "no";
}

#include "qmp/addr.h"

#include <stdio.h>
#include <string.h>

enum {
    UNIX_PATH_BYTES = 107 /* Linux: sockaddr_un.sun_path without its final NUL, unix(7) */
};

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

static int check_path(const char *text, const char *path, struct qf_err *err)
{
    const size_t n = strlen(path);
    if (n > UNIX_PATH_BYTES || n >= sizeof(((struct qmp_addr *)0)->path))
        return qf_fail(
            err, QF_E_USAGE,
            "'%s': the path is %zu bytes long; the system allows %d for a socket", text, n,
            (int)UNIX_PATH_BYTES);
    return 0;
}

static int parse_unix(const char *text,
                      const char *path,
                      struct qmp_addr *addr,
                      struct qf_err *err)
{
    if (path[0] == '\0')
        return qf_fail(err, QF_E_USAGE, "'%s': a path is missing; write unix:/path", text);
    if (check_path(text, path, err) != 0)
        return -(int)QF_E_USAGE;
    *addr = (struct qmp_addr){.kind = QMP_ADDR_UNIX};
    memcpy(addr->path, path, strlen(path) + 1);
    return 0;
}

static bool is_port(const char *s, size_t len)
{
    unsigned port = 0;
    size_t n = 0;
    for (; n < len && s[n] >= '0' && s[n] <= '9' && n < 5; n++)
        port = port * 10 + (unsigned)(s[n] - '0');
    return n > 0 && n == len && port >= 1 && port <= 65535;
}

/* HOST:PORT or [HOST]:PORT; scheme is "tcp" or "tls" */
static int parse_tcp(const char *text,
                     const char *scheme,
                     const char *rest,
                     struct qmp_addr *addr,
                     struct qf_err *err)
{
    const bool bracket = rest[0] == '[';
    const char *const host = bracket ? rest + 1 : rest;
    const char *const end = strchr(host, bracket ? ']' : ':');
    if (bracket && !end)
        return qf_fail(err, QF_E_USAGE, "'%s': ']' is missing; write %s:[ADDRESS]:PORT",
                       text, scheme);
    const char *const colon = bracket ? end + 1 : end;
    if (!colon || *colon != ':')
        return qf_fail(err, QF_E_USAGE, "'%s': a port is missing; write %s:HOST:PORT", text,
                       scheme);
    if (!bracket && strchr(colon + 1, ':'))
        return qf_fail(err, QF_E_USAGE,
                       "'%s': an IPv6 address needs brackets; write %s:[ADDRESS]:PORT",
                       text, scheme);
    const size_t n = (size_t)(end - host);
    if (n == 0)
        return qf_fail(err, QF_E_USAGE, "'%s': a host is missing; write %s:HOST:PORT", text,
                       scheme);
    if (n >= sizeof(addr->host))
        return qf_fail(err, QF_E_USAGE, "'%s': the host's name is too long", text);
    if (!is_port(colon + 1, strlen(colon + 1)))
        return qf_fail(err, QF_E_USAGE, "'%s': '%s' is not a port; write 1 to 65535", text,
                       colon + 1);
    *addr =
        (struct qmp_addr){.kind = strcmp(scheme, "tls") == 0 ? QMP_ADDR_TLS : QMP_ADDR_TCP};
    memcpy(addr->host, host, n);
    (void)snprintf(addr->port, sizeof(addr->port), "%s", colon + 1);
    return 0;
}

/* What ssh can be given as it is: no option, no token, nothing for a shell. */
static bool is_word(const char *s, size_t n, const char *more, size_t room)
{
    if (n == 0 || n >= room || s[0] == '-')
        return false;
    for (size_t i = 0; i < n; i++)
        if (s[i] == '\0' || (!strchr(LETTERS, s[i]) && !strchr(more, s[i])))
            return false;
    return true;
}

/* ssh takes the path as a part of -L: there a colon separates (and is written with a backslash),
 * '%' and '$' begin tokens. */
static int check_ssh_path(const char *text, const char *path, struct qf_err *err)
{
    for (const char *p = path; *p; p++)
        if (strchr("%$\\\"", *p) || (unsigned char)*p < ' ' || *p == 127)
            return qf_fail(
                err, QF_E_USAGE,
                "'%s': ssh cannot forward to a path with %%, $, \\, \" or control "
                "characters in it",
                text);
    return check_path(text, path, err);
}

/* [USER@]HOST[:PORT]/PATH; an IPv6 address in brackets. */
static int parse_ssh(const char *text,
                     const char *rest,
                     struct qmp_addr *addr,
                     struct qf_err *err)
{
    static const char right[] = "write ssh:[USER@]HOST[:PORT]/PATH";
    struct qmp_addr a = {.kind = QMP_ADDR_SSH};
    const char *const path = strchr(rest, '/');
    if (!path || path[1] == '\0')
        return qf_fail(err, QF_E_USAGE, "'%s': a path is missing; %s", text, right);
    const char *host = rest;
    for (const char *p = rest; p < path; p++)
        if (*p == '@')
            host = p + 1;
    if (host != rest) {
        const size_t n = (size_t)(host - 1 - rest);
        if (!is_word(rest, n, "._-+@", sizeof(a.user)))
            return qf_fail(err, QF_E_USAGE, "'%s': '%.*s' is not a user's name; %s", text,
                           (int)n, rest, right);
        memcpy(a.user, rest, n);
    }
    const bool bracket = host[0] == '[';
    host += bracket;
    const char *end = host;
    while (end < path && *end != (bracket ? ']' : ':'))
        end++;
    if (bracket && end == path)
        return qf_fail(err, QF_E_USAGE, "'%s': ']' is missing; write ssh:[ADDRESS]/PATH",
                       text);
    const char *const port = end + bracket;
    const size_t n = (size_t)(end - host);
    if (n == 0)
        return qf_fail(err, QF_E_USAGE, "'%s': a host is missing; %s", text, right);
    if (!is_word(host, n, bracket ? "._-:%" : "._-+", sizeof(a.host)))
        return qf_fail(err, QF_E_USAGE, "'%s': '%.*s' is not a host's name; %s", text,
                       (int)n, host, right);
    memcpy(a.host, host, n);
    if (port < path) {
        const size_t digits = (size_t)(path - port) - 1;
        if (*port == ':' && memchr(port + 1, ':', digits))
            return qf_fail(err, QF_E_USAGE,
                           "'%s': an IPv6 address needs brackets; write ssh:[ADDRESS]/PATH",
                           text);
        if (*port != ':' || !is_port(port + 1, digits))
            return qf_fail(err, QF_E_USAGE, "'%s': '%.*s' is not a port; write 1 to 65535",
                           text, (int)digits, port + 1);
        memcpy(a.port, port + 1, digits);
    }
    if (check_ssh_path(text, path, err) != 0)
        return -(int)QF_E_USAGE;
    memcpy(a.path, path, strlen(path) + 1);
    *addr = a;
    return 0;
}

int qmp_addr_parse(const char *text, struct qmp_addr *addr, struct qf_err *err)
{
    static const char right[] = "write /path, unix:/path, tcp:HOST:PORT, tls:HOST:PORT or "
                                "ssh:[USER@]HOST[:PORT]/PATH";
    const char *const colon = strchr(text, ':');
    if (text[0] == '/')
        return parse_unix(text, text, addr, err);
    if (strncmp(text, "unix:", 5) == 0)
        return parse_unix(text, text + 5, addr, err);
    if (strncmp(text, "tcp:", 4) == 0)
        return parse_tcp(text, "tcp", text + 4, addr, err);
    if (strncmp(text, "tls:", 4) == 0)
        return parse_tcp(text, "tls", text + 4, addr, err);
    if (strncmp(text, "ssh:", 4) == 0)
        return parse_ssh(text, text + 4, addr, err);
    if (colon)
        return qf_fail(err, QF_E_USAGE, "unknown scheme '%.*s' in '%s'; %s",
                       (int)(colon - text + 1), text, text, right);
    return qf_fail(err, QF_E_USAGE, "'%s' is not an address; %s", text, right);
}

bool qmp_addr_is_same(const struct qmp_addr *a, const struct qmp_addr *b)
{
    return a->kind == b->kind && strcmp(a->path, b->path) == 0 &&
           strcmp(a->host, b->host) == 0 && strcmp(a->port, b->port) == 0 &&
           strcmp(a->user, b->user) == 0;
}

const char *qmp_addr_format(const struct qmp_addr *addr, char *out)
{
    const bool bracket = strchr(addr->host, ':') != NULL;
    switch (addr->kind) {
    case QMP_ADDR_UNIX:
        (void)snprintf(out, QMP_ADDR_TEXT, "%s%s",
                       addr->path[0] == '/' ? "" : "unix:", addr->path);
        break;
    case QMP_ADDR_TCP:
    case QMP_ADDR_TLS:
        (void)snprintf(out, QMP_ADDR_TEXT, bracket ? "%s:[%s]:%s" : "%s:%s:%s",
                       addr->kind == QMP_ADDR_TLS ? "tls" : "tcp", addr->host, addr->port);
        break;
    case QMP_ADDR_SSH:
        (void)snprintf(out, QMP_ADDR_TEXT,
                       bracket ? "ssh:%s%s[%s]%s%s%s" : "ssh:%s%s%s%s%s%s", addr->user,
                       addr->user[0] ? "@" : "", addr->host, addr->port[0] ? ":" : "",
                       addr->port, addr->path);
        break;
    }
    return out;
}

#include "qmp/addr.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
    UNIX_PATH_BYTES = 107 /* Linux: sockaddr_un.sun_path without its final NUL, unix(7) */
};

static int parse_unix(const char *text,
                      const char *path,
                      struct qmp_addr *addr,
                      struct qf_err *err)
{
    const size_t n = strlen(path);
    if (n == 0)
        return qf_fail(err, QF_E_USAGE, "'%s': a path is missing; write unix:/path", text);
    if (n > UNIX_PATH_BYTES || n >= sizeof(addr->path))
        return qf_fail(
            err, QF_E_USAGE,
            "'%s': the path is %zu bytes long; the system allows %d for a socket", text, n,
            (int)UNIX_PATH_BYTES);
    *addr = (struct qmp_addr){.kind = QMP_ADDR_UNIX};
    memcpy(addr->path, path, n + 1);
    return 0;
}

static bool is_port(const char *s)
{
    unsigned port = 0;
    size_t n = 0;
    for (; s[n] >= '0' && s[n] <= '9' && n < 5; n++)
        port = port * 10 + (unsigned)(s[n] - '0');
    return n > 0 && s[n] == '\0' && port >= 1 && port <= 65535;
}

/* HOST:PORT or [HOST]:PORT */
static int parse_tcp(const char *text,
                     const char *rest,
                     struct qmp_addr *addr,
                     struct qf_err *err)
{
    const bool bracket = rest[0] == '[';
    const char *const host = bracket ? rest + 1 : rest;
    const char *const end = strchr(host, bracket ? ']' : ':');
    if (bracket && !end)
        return qf_fail(err, QF_E_USAGE, "'%s': ']' is missing; write tcp:[ADDRESS]:PORT",
                       text);
    const char *const colon = bracket ? end + 1 : end;
    if (!colon || *colon != ':')
        return qf_fail(err, QF_E_USAGE, "'%s': a port is missing; write tcp:HOST:PORT",
                       text);
    if (!bracket && strchr(colon + 1, ':'))
        return qf_fail(err, QF_E_USAGE,
                       "'%s': an IPv6 address needs brackets; write tcp:[ADDRESS]:PORT",
                       text);
    const size_t n = (size_t)(end - host);
    if (n == 0)
        return qf_fail(err, QF_E_USAGE, "'%s': a host is missing; write tcp:HOST:PORT",
                       text);
    if (n >= sizeof(addr->host))
        return qf_fail(err, QF_E_USAGE, "'%s': the host's name is too long", text);
    if (!is_port(colon + 1))
        return qf_fail(err, QF_E_USAGE, "'%s': '%s' is not a port; write 1 to 65535", text,
                       colon + 1);
    *addr = (struct qmp_addr){.kind = QMP_ADDR_TCP};
    memcpy(addr->host, host, n);
    (void)snprintf(addr->port, sizeof(addr->port), "%s", colon + 1);
    return 0;
}

int qmp_addr_parse(const char *text, struct qmp_addr *addr, struct qf_err *err)
{
    static const char right[] = "write /path, unix:/path or tcp:HOST:PORT";
    const char *const colon = strchr(text, ':');
    if (text[0] == '/')
        return parse_unix(text, text, addr, err);
    if (strncmp(text, "unix:", 5) == 0)
        return parse_unix(text, text + 5, addr, err);
    if (strncmp(text, "tcp:", 4) == 0)
        return parse_tcp(text, text + 4, addr, err);
    if (colon)
        return qf_fail(err, QF_E_USAGE, "unknown scheme '%.*s' in '%s'; %s",
                       (int)(colon - text + 1), text, text, right);
    return qf_fail(err, QF_E_USAGE, "'%s' is not an address; %s", text, right);
}

const char *qmp_addr_format(const struct qmp_addr *addr, char *out)
{
    if (addr->kind == QMP_ADDR_UNIX)
        (void)snprintf(out, QMP_ADDR_TEXT, "%s%s",
                       addr->path[0] == '/' ? "" : "unix:", addr->path);
    else
        (void)snprintf(out, QMP_ADDR_TEXT,
                       strchr(addr->host, ':') ? "tcp:[%s]:%s" : "tcp:%s:%s", addr->host,
                       addr->port);
    return out;
}

#include "engine/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "netsel/networks_json.h"
#include "policy/policy_json.h"

void request_init(struct request *r)
{
    memset(r, 0, sizeof(*r));
    r->spec.bandwidth_bytes_per_s = SPEC_BANDWIDTH_HYPERVISOR;
    r->spec.bandwidth_auto = true;
    r->spec.retries = 1;
    struct qf_err err;
    if (policy_preset_load(policy_preset_name(0), &r->policy, &err) != 0)
        abort(); /* a preset that does not load is a broken build; tests/unit loads them all */
}

static int set_side(char *dst, struct qmp_addr *addr, const char *text, struct qf_err *err)
{
    if (strlen(text) >= SPEC_TEXT_MAX)
        return qf_fail(err, QF_E_USAGE, "the address is longer than %d characters",
                       SPEC_TEXT_MAX - 1);
    memcpy(dst, text, strlen(text) + 1);
    return qmp_addr_parse(text, addr, err);
}

int request_sides(struct request *r,
                  const char *source,
                  const char *destination,
                  struct qf_err *err)
{
    if (set_side(r->spec.source, &r->addr[MIG_SRC], source, err) != 0)
        return qf_wrap(err, "source");
    if (set_side(r->spec.destination, &r->addr[MIG_DST], destination, err) != 0)
        return qf_wrap(err, "destination");
    if (qmp_addr_is_same(&r->addr[MIG_SRC], &r->addr[MIG_DST]))
        return qf_fail(err, QF_E_USAGE, "source and destination are the same monitor: %s",
                       source);
    return 0;
}

/* ---- options ---- */

static int set_bandwidth(struct request *r, const char *value, struct qf_err *err)
{
    if (strcmp(value, "hypervisor") == 0 || strcmp(value, "auto") == 0) {
        r->spec.bandwidth_bytes_per_s = SPEC_BANDWIDTH_HYPERVISOR;
        r->spec.bandwidth_auto = strcmp(value, "auto") == 0;
        return 0;
    }
    uint64_t rate;
    if (qf_parse_rate(value, &rate, err) != 0)
        return qf_wrap(err, "--bandwidth");
    if (rate == 0)
        return qf_fail(err, QF_E_USAGE,
                       "--bandwidth: '%s' would move nothing; write a rate, or "
                       "hypervisor for what QEMU is set to",
                       value);
    r->spec.bandwidth_bytes_per_s = rate;
    r->spec.bandwidth_auto = false;
    return 0;
}

static int parse_port(const char *text, size_t len, uint16_t *port)
{
    unsigned long v = 0;
    if (len == 0 || len > 5)
        return -1;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        v = v * 10 + (unsigned long)(text[i] - '0');
    }
    if (v == 0 || v > 65535)
        return -1;
    *port = (uint16_t)v;
    return 0;
}

static int set_port(struct request *r, const char *value, struct qf_err *err)
{
    const char *dash = strchr(value, '-');
    const size_t n = dash ? (size_t)(dash - value) : strlen(value);
    uint16_t first;
    uint16_t last;
    if (parse_port(value, n, &first) != 0 ||
        parse_port(dash ? dash + 1 : value, dash ? strlen(dash + 1) : n, &last) != 0 ||
        last < first)
        return qf_fail(
            err, QF_E_USAGE,
            "--port: '%s' is not a port; write 49152, or 49152-49215 for a range", value);
    r->spec.port_first = first;
    r->spec.port_last = last;
    return 0;
}

static int set_unsafe(struct request *r, const char *value, struct qf_err *err)
{
    const char *at = value;
    for (;;) {
        const char *comma = strchr(at, ',');
        const size_t n = comma ? (size_t)(comma - at) : strlen(at);
        char name[64];
        (void)snprintf(name, sizeof(name), "%.*s",
                       (int)(n < sizeof(name) ? n : sizeof(name) - 1), at);
        const int check = spec_check_waivable(name);
        if (check < 0)
            return qf_fail(err, QF_E_USAGE,
                           "--unsafe: '%s' is not a check that can be waived; these are: "
                           "machine-type, memory-size, cpus, cpu-type, pci-devices, uuid",
                           name);
        r->spec.unsafe |= 1U << (unsigned)check;
        if (!comma)
            return 0;
        at = comma + 1;
    }
}

static int set_retries(struct request *r, const char *value, struct qf_err *err)
{
    unsigned long n = 0;
    const size_t len = strlen(value);
    for (size_t i = 0; i < len && len <= 3; i++)
        n = value[i] >= '0' && value[i] <= '9' ? n * 10 + (unsigned long)(value[i] - '0')
                                               : SPEC_RETRIES_MAX + 1;
    if (len == 0 || len > 3 || n > SPEC_RETRIES_MAX)
        return qf_fail(err, QF_E_USAGE, "--retries: '%s' is not a number from 0 to %d",
                       value, SPEC_RETRIES_MAX);
    r->spec.retries = (unsigned)n;
    return 0;
}

/* An address, or the name of an interface. */
static int set_bind(struct request *r, const char *value, struct qf_err *err)
{
    struct netsel_ip ip;
    const size_t len = strlen(value);
    const bool is_name = len > 0 && len < NETSEL_INTERFACE_MAX &&
                         strcspn(value, "/ \t\n") == len && strchr(value, '.') != value;
    if (len >= SPEC_TEXT_MAX || (!netsel_ip_parse(value, &ip) && !is_name))
        return qf_fail(err, QF_E_USAGE,
                       "--bind: '%s' is neither an address nor the name of an interface",
                       value);
    memcpy(r->spec.bind, value, len + 1);
    return 0;
}

static int set_restart(struct request *r, const char *value, struct qf_err *err)
{
    if (strspn(value, " \t\n") == strlen(value))
        return qf_fail(err, QF_E_USAGE, "--restart-destination: the command is empty");
    r->restart_command = value;
    r->spec.restarts = true;
    return 0;
}

/* What ends up in a URI that QEMU parses must not be able to say more than an address. */
static int set_address(struct request *r, const char *value, struct qf_err *err)
{
    static const char fine[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
        ".-_:%";
    const char *at = value;
    size_t n = strlen(value);
    if (n >= 2 && value[0] == '[' && value[n - 1] == ']') {
        at++;
        n -= 2;
    }
    if (n == 0 || n >= SPEC_TEXT_MAX || strspn(at, fine) < n)
        return qf_fail(err, QF_E_USAGE,
                       "--destination-address: '%s' is not an address or a host name",
                       value);
    if (r->spec.n_given == SPEC_ADDRESSES_MAX)
        return qf_fail(err, QF_E_USAGE, "--destination-address: more than %d of them",
                       SPEC_ADDRESSES_MAX);
    char *given = r->spec.given[r->spec.n_given++];
    memcpy(given, at, n);
    given[n] = '\0';
    return 0;
}

static int add_set(struct request *r,
                   const char *option,
                   const char *value,
                   struct qf_err *err)
{
    if (r->n_sets == REQUEST_SETS_MAX)
        return qf_fail(err, QF_E_USAGE, "--set: more than %d of them; write a policy file",
                       REQUEST_SETS_MAX);
    r->sets[r->n_sets].option = option;
    r->sets[r->n_sets++].value = value;
    return 0;
}

int request_option(struct request *r,
                   const char *name,
                   const char *value,
                   struct qf_err *err)
{
    if (strcmp(name, "policy") == 0)
        return policy_preset_load(value, &r->policy, err) == 0 ? 0
                                                               : qf_wrap(err, "--policy");
    if (strcmp(name, "set") == 0)
        return add_set(r, "set", value, err);
    if (strcmp(name, "max-downtime") == 0)
        return add_set(r, "max-downtime", value, err);
    if (strcmp(name, "timeout") == 0)
        return add_set(r, "timeout", value, err);
    if (strcmp(name, "network") == 0)
        return networks_add(value, &r->spec.networks, err) == 0 ? 0
                                                                : qf_wrap(err, "--network");
    if (strcmp(name, "destination-address") == 0)
        return set_address(r, value, err);
    if (strcmp(name, "tls-dir") == 0) {
        r->tls_dir = value;
        return 0;
    }
    if (strcmp(name, "port") == 0)
        return set_port(r, value, err);
    if (strcmp(name, "bandwidth") == 0)
        return set_bandwidth(r, value, err);
    if (strcmp(name, "retries") == 0)
        return set_retries(r, value, err);
    if (strcmp(name, "bind") == 0)
        return set_bind(r, value, err);
    if (strcmp(name, "restart-destination") == 0)
        return set_restart(r, value, err);
    if (strcmp(name, "unsafe") == 0)
        return set_unsafe(r, value, err);
    if (strcmp(name, "dry-run") == 0)
        r->spec.dry_run = true;
    else if (strcmp(name, "quit-source") == 0)
        r->spec.quit_source = true;
    else if (strcmp(name, "quit-destination") == 0)
        r->spec.quit_destination = true;
    else
        return qf_fail(err, QF_E_USAGE, "unknown option --%s", name);
    return 0;
}

int request_policy_text(
    struct request *r, const char *origin, const char *text, size_t len, struct qf_err *err)
{
    return policy_load(origin, text, len, &r->policy, err);
}

int request_networks_text(
    struct request *r, const char *origin, const char *text, size_t len, struct qf_err *err)
{
    return networks_load(origin, text, len, &r->spec.networks, err);
}

/* --max-downtime 300ms is --set downtime.max=300ms; --timeout likewise. */
static int apply_set(struct request *r,
                     const char *option,
                     const char *value,
                     struct qf_err *err)
{
    char text[SPEC_TEXT_MAX];
    const bool is_short = strcmp(option, "set") != 0;
    const char *field = strcmp(option, "timeout") == 0 ? "timeout" : "downtime.max";
    if (is_short &&
        (size_t)snprintf(text, sizeof(text), "%s=%s", field, value) >= sizeof(text))
        return qf_fail(err, QF_E_USAGE, "--%s: the value is too long", option);
    if (policy_set(&r->policy, is_short ? text : value, err) == 0)
        return 0;
    return strncmp(err->text, "--", 2) == 0 ? -(int)err->code
                                            : qf_wrap(err, "--%s", option);
}

/* Where the destination's monitor is, its memory can go, too. */
static void finish_address(struct mig_spec *s, const struct qmp_addr *dst)
{
    const char *address = "127.0.0.1";
    s->address_from = SPEC_ADDRESS_DEFAULT;
    if (dst->kind != QMP_ADDR_UNIX) {
        memcpy(s->monitor_host, dst->host, sizeof(s->monitor_host));
        address = s->monitor_host;
        s->address_from = SPEC_ADDRESS_MONITOR;
    }
    if (s->n_given > 0) {
        address = s->given[0];
        s->address_from = SPEC_ADDRESS_GIVEN;
    }
    (void)snprintf(s->address, sizeof(s->address), "%s", address);
}

/* A connection to the port where QEMU waits would kill it, so there must be another one. */
static int finish_networks(struct mig_spec *s,
                           const struct qmp_addr *dst,
                           struct qf_err *err)
{
    struct netsel_wish *w = &s->networks;
    w->port_first = s->port_first;
    w->port_last = s->port_last;
    if (dst->kind != QMP_ADDR_UNIX)
        (void)parse_port(dst->port, strlen(dst->port), &w->monitor_port);
    for (unsigned i = 0; i < w->n; i++)
        if (netsel_probe_port(w, &w->network[i]) == 0)
            return qf_fail(err, QF_E_USAGE, "network %s: %s", w->network[i].name,
                           w->network[i].probe_port != 0
                               ? "its probe-port is one of --port or that of the monitor, "
                                 "which must not be probed"
                               : "--port leaves no port below 1024 that may be probed");
    return 0;
}

/* One descriptor is handed over, and only a UNIX socket carries it (unix(7), SCM_RIGHTS). */
static int check_bind(const struct request *r, struct qf_err *err)
{
    if (r->spec.bind[0] == '\0')
        return 0;
    if (r->addr[MIG_SRC].kind != QMP_ADDR_UNIX)
        return qf_fail(
            err, QF_E_USAGE,
            "--bind: the connection is handed to the source through its monitor, "
            "which must be a UNIX socket of this host: %s is not",
            r->spec.source);
    if (r->policy.channels > 0)
        return qf_fail(err, QF_E_USAGE,
                       "--bind: one connection is handed to the source, and policy %s asks "
                       "for %u channels: --set channels=0",
                       r->policy.name, r->policy.channels);
    return 0;
}

static int apply_tls_dir(struct request *r, struct qf_err *err)
{
    if (!r->tls_dir)
        return 0;
    const size_t n = strlen(r->tls_dir);
    if (n == 0 || n >= sizeof(r->addr[0].tls_dir))
        return qf_fail(err, QF_E_USAGE, "--tls-dir: '%s' is not a folder's path",
                       r->tls_dir);
    for (unsigned i = 0; i < MIG_SIDES; i++)
        memcpy(r->addr[i].tls_dir, r->tls_dir, n + 1);
    return 0;
}

int request_finish(struct request *r, struct qf_err *err)
{
    if (apply_tls_dir(r, err) != 0)
        return -(int)err->code;
    for (unsigned i = 0; i < r->n_sets; i++)
        if (apply_set(r, r->sets[i].option, r->sets[i].value, err) != 0)
            return -(int)QF_E_USAGE;
    if (r->policy.encrypt == POLICY_ENCRYPT_REQUIRED)
        return qf_fail(err, QF_E_USAGE,
                       "policy %s: encrypt is required, and this qferry cannot encrypt the "
                       "guest's memory; choose another policy, or --set encrypt=allowed if "
                       "the network may be trusted",
                       r->policy.name);
    if (check_bind(r, err) != 0)
        return -(int)err->code;
    finish_address(&r->spec, &r->addr[MIG_DST]);
    return finish_networks(&r->spec, &r->addr[MIG_DST], err);
}

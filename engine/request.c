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

static int set_channels(struct request *r, const char *value, struct qf_err *err)
{
    uint32_t n = 0;
    const size_t len = strlen(value);
    for (size_t i = 0; i < len && len <= 3; i++)
        n = value[i] >= '0' && value[i] <= '9' ? n * 10 + (uint32_t)(value[i] - '0')
                                               : UINT32_C(100000);
    if (len == 0 || len > 3 || n > POLICY_CHANNELS_MAX)
        return qf_fail(
            err, QF_E_USAGE,
            "--channels: '%s' is not a number of channels from 1 to %d, or 0 for "
            "one stream",
            value, POLICY_CHANNELS_MAX);
    r->spec.channels_said = true;
    r->spec.channels = n;
    return 0;
}

/* Those that every QEMU can have; the others need hardware, and settings that nobody has tried. */
static int set_compression(struct request *r, const char *value, struct qf_err *err)
{
    const enum qapi_compression c = qapi_compression_of(value);
    if (c != QAPI_COMPRESSION_NONE && c != QAPI_COMPRESSION_ZLIB &&
        c != QAPI_COMPRESSION_ZSTD)
        return qf_fail(err, QF_E_USAGE,
                       "--compression: '%s' is not a method; write none, zlib or zstd",
                       value);
    r->spec.compression = c;
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

/* off|psk|x509:DIR|ssh:[USER@]HOST[:PORT] */
static int set_encrypt(struct request *r, const char *value, struct qf_err *err)
{
    enum spec_encrypt how = SPEC_ENCRYPT_OFF;
    const char *with = "";
    if (strcmp(value, "off") == 0)
        how = SPEC_ENCRYPT_OFF;
    else if (strcmp(value, "psk") == 0)
        how = SPEC_ENCRYPT_PSK;
    else if (strncmp(value, "x509:", 5) == 0) {
        how = SPEC_ENCRYPT_X509;
        with = value + 5;
        if (with[0] != '/' || strlen(with) >= QAPI_DIR_MAX)
            return qf_fail(
                err, QF_E_USAGE,
                "--encrypt: '%s' names no folder: write x509:/DIR, from the root, "
                "as each QEMU sees it",
                value);
    } else if (strncmp(value, "ssh:", 4) == 0) {
        char text[SPEC_TEXT_MAX + 8];
        struct qmp_addr addr;
        how = SPEC_ENCRYPT_SSH;
        with = value + 4;
        if (strlen(with) >= SPEC_TEXT_MAX || strchr(with, '/'))
            return qf_fail(err, QF_E_USAGE,
                           "--encrypt: '%s' names no host: write ssh:[USER@]HOST", value);
        (void)snprintf(text, sizeof(text), "ssh:%s/-", with);
        if (qmp_addr_parse(text, &addr, err) != 0)
            return qf_fail(err, QF_E_USAGE,
                           "--encrypt: '%s' names no host: write ssh:[USER@]HOST", value);
    } else
        return qf_fail(err, QF_E_USAGE,
                       "--encrypt: '%s' is not one of off, psk, x509:DIR, "
                       "ssh:[USER@]HOST",
                       value);
    r->spec.encrypt = how;
    memcpy(r->spec.encrypt_with, with, strlen(with) + 1);
    r->has_encrypt = true;
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
    if (strcmp(name, "encrypt") == 0)
        return set_encrypt(r, value, err);
    if (strcmp(name, "port") == 0)
        return set_port(r, value, err);
    if (strcmp(name, "bandwidth") == 0)
        return set_bandwidth(r, value, err);
    if (strcmp(name, "channels") == 0)
        return set_channels(r, value, err);
    if (strcmp(name, "compression") == 0)
        return set_compression(r, value, err);
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
    else if (strcmp(name, "zero-copy") == 0)
        r->spec.zero_copy = true;
    else if (strcmp(name, "self-start") == 0)
        r->spec.self_start = true;
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
static int apply_set(struct policy *p,
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
    if (policy_set(p, is_short ? text : value, err) == 0)
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
    if (r->spec.encrypt == SPEC_ENCRYPT_SSH)
        return qf_fail(
            err, QF_E_USAGE,
            "--bind and --encrypt ssh exclude each other: the memory's connection is "
            "ssh's, see BindAddress and BindInterface in ssh_config(5)");
    if (r->spec.compression != QAPI_COMPRESSION_NONE || r->spec.zero_copy)
        return qf_fail(err, QF_E_USAGE,
                       "--bind and %s exclude each other: that needs channels, and one "
                       "connection is handed to the source",
                       r->spec.zero_copy ? "--zero-copy" : "--compression");
    if (r->spec.channels > 0)
        return qf_fail(
            err, QF_E_USAGE,
            "--bind and --channels %u exclude each other: one connection is handed to "
            "the source",
            r->spec.channels);
    if (r->policy.channels > 0 && !r->spec.channels_said)
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

/* What QEMU would refuse is said here, before anything is asked of it. */
static int check_channels(const struct mig_spec *s, struct qf_err *err)
{
    const bool compresses = s->compression != QAPI_COMPRESSION_NONE;
    if (s->channels_said && s->channels == 0 && (compresses || s->zero_copy))
        return qf_fail(
            err, QF_E_USAGE,
            "--channels 0 and %s exclude each other: one stream has no such thing",
            compresses ? "--compression" : "--zero-copy");
    if (compresses && s->zero_copy)
        return qf_fail(
            err, QF_E_USAGE,
            "--compression and --zero-copy exclude each other: a compressed page is "
            "a copy");
    return 0;
}

/* What is asked for, and what the policy says of it. That QEMU sends no encrypted memory without a copy
 * is its own rule (migration/options.c). */
static int finish_encrypt(struct request *r, struct qf_err *err)
{
    struct mig_spec *s = &r->spec;
    switch (r->policy.encrypt) {
    case POLICY_ENCRYPT_ALLOWED:
        return 0;
    case POLICY_ENCRYPT_REQUIRED:
        if (s->encrypt != SPEC_ENCRYPT_OFF)
            return 0;
        if (r->has_encrypt)
            return qf_fail(err, QF_E_USAGE,
                           "--encrypt: off, but policy %s requires encryption; leave the "
                           "option out (then it is psk), choose another policy, or --set "
                           "encrypt=allowed if the network may be trusted",
                           r->policy.name);
        s->encrypt = SPEC_ENCRYPT_PSK;
        s->encrypt_by_policy = true;
        return 0;
    case POLICY_ENCRYPT_FORBIDDEN:
        if (s->encrypt == SPEC_ENCRYPT_OFF)
            return 0;
        return qf_fail(err, QF_E_USAGE,
                       "--encrypt: %s, but policy %s forbids encryption; leave the option "
                       "out, choose another policy, or --set encrypt=allowed",
                       spec_encrypt_name(s->encrypt), r->policy.name);
    }
    return 0;
}

int request_finish(struct request *r, struct qf_err *err)
{
    if (check_channels(&r->spec, err) != 0)
        return -(int)err->code;
    if (apply_tls_dir(r, err) != 0)
        return -(int)err->code;
    for (unsigned i = 0; i < r->n_sets; i++)
        if (apply_set(&r->policy, r->sets[i].option, r->sets[i].value, err) != 0)
            return -(int)QF_E_USAGE;
    if (finish_encrypt(r, err) != 0)
        return -(int)err->code;
    if (r->spec.zero_copy && r->spec.encrypt != SPEC_ENCRYPT_OFF)
        return qf_fail(
            err, QF_E_USAGE,
            "--zero-copy and encryption (%s%s) exclude each other: an encrypted page "
            "is a copy",
            r->spec.encrypt_by_policy ? "the policy's " : "",
            spec_encrypt_name(r->spec.encrypt));
    if (check_bind(r, err) != 0)
        return -(int)err->code;
    finish_address(&r->spec, &r->addr[MIG_DST]);
    return finish_networks(&r->spec, &r->addr[MIG_DST], err);
}

static bool is_same_policy(const struct policy *a, const struct policy *b)
{
    json_t *x = policy_dump(a);
    json_t *y = policy_dump(b);
    const bool same = x && y && json_equal(x, y);
    json_decref(x);
    json_decref(y);
    return same;
}

bool request_remember_policy(const struct request *r,
                             bool has_policy,
                             const struct policy *given,
                             struct policy *remembered)
{
    if (is_same_policy(&r->policy, given))
        return true;
    if (has_policy)
        return false;
    struct policy p = *remembered;
    for (unsigned i = 0; i < r->n_sets; i++)
        if (apply_set(&p, r->sets[i].option, r->sets[i].value, NULL) != 0)
            return false;
    *remembered = p;
    return true;
}

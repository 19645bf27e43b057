/* A request: option names and texts in, a checked request or a sentence out. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/request.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

#define WAIVABLE "machine-type, memory-size, cpus, cpu-type, pci-devices, uuid"

static struct fixture {
    struct request r;
    struct qf_err err;
} f;

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    request_init(&f.r);
}

static void must(int rc)
{
    ck_assert_msg(rc == 0, "%s", f.err.text);
}

static void option(const char *name, const char *value)
{
    must(request_option(&f.r, name, value, &f.err));
}

static void finish(void)
{
    must(request_sides(&f.r, "/a", "tcp:[::1]:4444", &f.err));
    must(request_finish(&f.r, &f.err));
}

/* ---- the two monitors ---- */

static const struct {
    const char *source;
    const char *destination;
    const char *says; /* NULL: fine */
} sides[] = {
    {"/a", "/b", NULL},
    {"/a", "tcp:h:1", NULL},
    {"tcp:h:1", "tcp:h:2", NULL},
    {"tcp:h:1", "tcp:g:1", NULL},
    {"/a", "/a", "source and destination are the same monitor: /a"},
    {"/a", "unix:/a", "source and destination are the same monitor: /a"},
    {"tcp:[h]:1", "tcp:h:1", "source and destination are the same monitor: tcp:[h]:1"},
    {"a", "/b",
     "source: 'a' is not an address; write /path, unix:/path, tcp:HOST:PORT, "
     "tls:HOST:PORT or ssh:[USER@]HOST[:PORT]/PATH"},
    {"tls:h:1", "tls:h:1", "source and destination are the same monitor: tls:h:1"},
    {"ssh:h/a", "ssh:h/a", "source and destination are the same monitor: ssh:h/a"},
    {"/a", "tcp:h", "destination: 'tcp:h': a port is missing; write tcp:HOST:PORT"},
};

START_TEST(both_monitors_are_addresses_and_differ)
{
    const int rc = request_sides(&f.r, sides[_i].source, sides[_i].destination, &f.err);
    if (sides[_i].says) {
        ck_assert_int_eq(rc, -(int)QF_E_USAGE);
        ck_assert_str_eq(f.err.text, sides[_i].says);
        return;
    }
    must(rc);
    ck_assert_str_eq(f.r.spec.source, sides[_i].source);
    ck_assert_str_eq(f.r.spec.destination, sides[_i].destination);
    ck_assert_int_eq(f.r.addr[MIG_SRC].kind,
                     sides[_i].source[0] == '/' ? QMP_ADDR_UNIX : QMP_ADDR_TCP);
}
END_TEST

START_TEST(an_address_without_end_is_refused)
{
    char text[SPEC_TEXT_MAX + 2];
    memset(text, 'x', sizeof(text) - 1);
    text[0] = '/';
    text[sizeof(text) - 1] = '\0';
    ck_assert_int_eq(request_sides(&f.r, text, "/b", &f.err), -(int)QF_E_USAGE);
    ck_assert_str_eq(f.err.text, "source: the address is longer than 255 characters");
    text[SPEC_TEXT_MAX - 1] = '\0'; /* fits here, but in no sockaddr_un */
    ck_assert_int_eq(request_sides(&f.r, "/a", text, &f.err), -(int)QF_E_USAGE);
    ck_assert_ptr_nonnull(strstr(f.err.text, "the path is 255 bytes long"));
}
END_TEST

/* ---- wrong values ---- */

static const struct {
    const char *name;
    const char *value;
    const char *says;
} wrong[] = {
    {"nonsense", NULL, "unknown option --nonsense"},
    {"", "x", "unknown option --"},
    {"policy", "nonsense",
     "--policy: nonsense: no such policy; there are minimal-downtime, post-copy, "
     "suspend-if-needed, "},
    {"bandwidth", "0",
     "--bandwidth: '0' would move nothing; write a rate, or hypervisor for what QEMU is set "
     "to"},
    {"bandwidth", "fast", "--bandwidth: "},
    {"bandwidth", "-1", "--bandwidth: "},
    {"bandwidth", "", "--bandwidth: "},
    {"port", "", "--port: '' is not a port; write 49152, or 49152-49215 for a range"},
    {"port", "0", "--port: '0' is not a port"},
    {"port", "65536", "--port: '65536' is not a port"},
    {"port", "4444x", "--port: '4444x' is not a port"},
    {"port", "-4444", "--port: '-4444' is not a port"},
    {"port", "4444-", "--port: '4444-' is not a port"},
    {"port", "4445-4444", "--port: '4445-4444' is not a port"},
    {"port", "1-2-3", "--port: '1-2-3' is not a port"},
    {"port", "100000000000000000000", "--port: '100000000000000000000' is not a port"},
    {"retries", "", "--retries: '' is not a number from 0 to 100"},
    {"retries", "101", "--retries: '101' is not a number"},
    {"retries", "-1", "--retries: '-1' is not a number"},
    {"retries", "1x", "--retries: '1x' is not a number"},
    {"retries", "0000", "--retries: '0000' is not a number"},
    {"bind", "", "--bind: '' is neither an address nor the name of an interface"},
    {"bind", "an-interface-too-long", "--bind: 'an-interface-too-long' is neither"},
    {"bind", "eth0 eth1", "--bind: 'eth0 eth1' is neither"},
    {"bind", "10.0.0.1/24", "--bind: '10.0.0.1/24' is neither"},
    {"restart-destination", "", "--restart-destination: the command is empty"},
    {"restart-destination", " \t", "--restart-destination: the command is empty"},
    {"channels", "",
     "--channels: '' is not a number of channels from 1 to 255, or 0 for one stream"},
    {"channels", "256", "--channels: '256' is not a number of channels"},
    {"channels", "-1", "--channels: '-1' is not a number of channels"},
    {"channels", "4x", "--channels: '4x' is not a number of channels"},
    {"channels", " 4", "--channels: ' 4' is not a number of channels"},
    {"channels", "0004", "--channels: '0004' is not a number of channels"},
    {"channels", "4294967300", "--channels: '4294967300' is not a number of channels"},
    {"compression", "", "--compression: '' is not a method; write none, zlib or zstd"},
    {"compression", "gzip", "--compression: 'gzip' is not a method"},
    {"compression", "qpl", "--compression: 'qpl' is not a method"},
    {"unsafe", "channels", "--unsafe: 'channels' is not a check"},
    {"unsafe", "", "--unsafe: '' is not a check that can be waived; these are: " WAIVABLE},
    {"unsafe", "cpus,", "--unsafe: '' is not a check"},
    {"unsafe", "cpus,nonsense", "--unsafe: 'nonsense' is not a check"},
    {"unsafe", "blocked-reasons", "--unsafe: 'blocked-reasons' is not a check"},
    {"destination-address", "",
     "--destination-address: '' is not an address or a host name"},
    {"destination-address", "[]", "--destination-address: '[]' is not an address"},
    {"destination-address", "a,b", "--destination-address: 'a,b' is not an address"},
    {"destination-address", "a b", "--destination-address: 'a b' is not an address"},
    {"destination-address", "a/b", "--destination-address: 'a/b' is not an address"},
    {"network", "10.0.0.1/24",
     "--network: '10.0.0.1/24' has host bits; the network is 10.0.0.0/24"},
    {"network", "", "--network: '' is not a network"},
    {"encrypt", "", "--encrypt: '' is not one of off, psk, x509:DIR, ssh:[USER@]HOST"},
    {"encrypt", "tls", "--encrypt: 'tls' is not one of off, psk, "},
    {"encrypt", "psk:", "--encrypt: 'psk:' is not one of off, psk, "},
    {"encrypt", "x509", "--encrypt: 'x509' is not one of off, psk, "},
    {"encrypt",
     "x509:", "--encrypt: 'x509:' names no folder: write x509:/DIR, from the root"},
    {"encrypt", "x509:etc", "--encrypt: 'x509:etc' names no folder: write x509:/DIR"},
    {"encrypt", "ssh:", "--encrypt: 'ssh:' names no host: write ssh:[USER@]HOST"},
    {"encrypt", "ssh:h/x", "--encrypt: 'ssh:h/x' names no host: write ssh:[USER@]HOST"},
    {"encrypt", "ssh:-oProxyCommand=x", "--encrypt: 'ssh:-oProxyCommand=x' names no host"},
    {"encrypt", "ssh:a b", "--encrypt: 'ssh:a b' names no host"},
    {"destination-address", "[::1", "--destination-address: '[::1' is not an address"},
};

/* The beginning of the sentence, or all of it. */
START_TEST(a_wrong_value_is_named_with_its_option)
{
    const struct mig_spec before = f.r.spec;
    const int rc = request_option(&f.r, wrong[_i].name, wrong[_i].value, &f.err);
    ck_assert_int_eq(rc, -(int)QF_E_USAGE);
    ck_assert_msg(strncmp(f.err.text, wrong[_i].says, strlen(wrong[_i].says)) == 0, "%s",
                  f.err.text);
    if (strcmp(wrong[_i].name, "unsafe") != 0) /* which takes them one by one */
        ck_assert_mem_eq(&f.r.spec, &before, sizeof(before));
}
END_TEST

/* Only the end of the request shows which policy they are for. */
static const struct {
    const char *name;
    const char *value;
    const char *says;
} late[] = {
    {"set", "nonsense", "--set: \"nonsense\" is not FIELD=VALUE; write downtime.max=300ms"},
    {"set", "downtime.maxx=1",
     "--set: downtime.maxx: unknown field; did you mean downtime.max?"},
    {"max-downtime", "soon", "--max-downtime: downtime.max: \"soon\" is not a duration"},
    {"timeout", "never", "--timeout: timeout: \"never\" is not a duration"},
};

START_TEST(a_wrong_field_is_named_at_the_end)
{
    option(late[_i].name, late[_i].value);
    must(request_sides(&f.r, "/a", "/b", &f.err));
    ck_assert_int_eq(request_finish(&f.r, &f.err), -(int)QF_E_USAGE);
    ck_assert_msg(strncmp(f.err.text, late[_i].says, strlen(late[_i].says)) == 0, "%s",
                  f.err.text);
}
END_TEST

/* ---- right values ---- */

START_TEST(nothing_given_is_the_default)
{
    finish();
    ck_assert_str_eq(f.r.policy.name, "minimal-downtime");
    ck_assert_uint_eq(f.r.spec.bandwidth_bytes_per_s, SPEC_BANDWIDTH_HYPERVISOR);
    ck_assert_uint_eq(f.r.spec.port_first, 0);
    ck_assert_uint_eq(f.r.spec.unsafe, 0);
    ck_assert_uint_eq(f.r.spec.retries, 1);
    ck_assert(!f.r.spec.restarts && !f.r.restart_command);
    ck_assert(!f.r.spec.self_start);
    ck_assert(!f.r.spec.dry_run && !f.r.spec.quit_source && !f.r.spec.quit_destination);
}
END_TEST

START_TEST(flags_are_flags)
{
    option("dry-run", NULL);
    option("self-start", NULL);
    option("quit-source", NULL);
    option("quit-destination", NULL);
    ck_assert(f.r.spec.dry_run && f.r.spec.quit_source && f.r.spec.quit_destination);
    ck_assert(f.r.spec.self_start);
}
END_TEST

/* Handing a descriptor over needs a UNIX socket, and there is one connection. */
START_TEST(where_it_cannot_be_bound_it_says_so)
{
    option("bind", "eth1");
    must(request_sides(&f.r, _i == 0 ? "tcp:h:1" : "/a", "/b", &f.err));
    if (_i == 1)
        option("set", "channels=4");
    const int rc = request_finish(&f.r, &f.err);
    ck_assert_int_eq(rc, _i == 2 ? 0 : -(int)QF_E_USAGE);
    if (_i == 0)
        ck_assert_str_eq(
            f.err.text,
            "--bind: the connection is handed to the source through its monitor, "
            "which must be a UNIX socket of this host: tcp:h:1 is not");
    else if (_i == 1)
        ck_assert_str_eq(f.err.text,
                         "--bind: one connection is handed to the source, and policy "
                         "minimal-downtime asks for 4 channels: --set channels=0");
}
END_TEST

START_TEST(starting_again)
{
    option("retries", "0");
    ck_assert_uint_eq(f.r.spec.retries, 0);
    option("retries", "100");
    ck_assert_uint_eq(f.r.spec.retries, 100);
    option("restart-destination", "systemctl restart x");
    ck_assert(f.r.spec.restarts);
    ck_assert_str_eq(f.r.restart_command, "systemctl restart x");
}
END_TEST

START_TEST(a_port_or_a_range)
{
    option("port", "4444");
    ck_assert_uint_eq(f.r.spec.port_first, 4444);
    ck_assert_uint_eq(f.r.spec.port_last, 4444);
    option("port", "1-65535");
    ck_assert_uint_eq(f.r.spec.port_first, 1);
    ck_assert_uint_eq(f.r.spec.port_last, 65535);
}
END_TEST

START_TEST(a_bandwidth_or_the_hypervisors)
{
    option("bandwidth", "1Gbit");
    ck_assert_uint_eq(f.r.spec.bandwidth_bytes_per_s, 125000000);
    option("bandwidth", "hypervisor");
    ck_assert_uint_eq(f.r.spec.bandwidth_bytes_per_s, SPEC_BANDWIDTH_HYPERVISOR);
    ck_assert(!f.r.spec.bandwidth_auto);
    option("bandwidth", "100MiB/s");
    ck_assert_uint_eq(f.r.spec.bandwidth_bytes_per_s, 100 << 20);
    ck_assert(!f.r.spec.bandwidth_auto);
    option("bandwidth", "auto");
    ck_assert(f.r.spec.bandwidth_auto);
    ck_assert_uint_eq(f.r.spec.bandwidth_bytes_per_s, SPEC_BANDWIDTH_HYPERVISOR);
}
END_TEST

START_TEST(channels_and_what_only_they_have)
{
    ck_assert(!f.r.spec.channels_said);
    option("channels", "255");
    ck_assert(f.r.spec.channels_said);
    ck_assert_uint_eq(f.r.spec.channels, 255);
    option("compression", "zstd");
    ck_assert_int_eq(f.r.spec.compression, QAPI_COMPRESSION_ZSTD);
    finish();
    option("channels", "0");
    ck_assert_int_eq(request_finish(&f.r, &f.err), -(int)QF_E_USAGE);
    ck_assert_str_eq(f.err.text, "--channels 0 and --compression exclude each other: one "
                                 "stream has no such thing");
    option("compression", "none");
    finish();
    option("zero-copy", NULL);
    ck_assert_int_eq(request_finish(&f.r, &f.err), -(int)QF_E_USAGE);
    ck_assert_str_eq(f.err.text, "--channels 0 and --zero-copy exclude each other: one "
                                 "stream has no such thing");
    option("channels", "2");
    finish();
    option("compression", "zlib");
    ck_assert_int_eq(request_finish(&f.r, &f.err), -(int)QF_E_USAGE);
    ck_assert_str_eq(f.err.text, "--compression and --zero-copy exclude each other: a "
                                 "compressed page is a copy");
}
END_TEST

START_TEST(checks_are_waived_by_name)
{
    option("unsafe", "cpus,uuid");
    option("unsafe", "machine-type");
    ck_assert_uint_eq(f.r.spec.unsafe, 1U << SPEC_CHECK_CPUS | 1U << SPEC_CHECK_UUID |
                                           1U << SPEC_CHECK_MACHINE_TYPE);
}
END_TEST

static const struct {
    const char *destination;
    const char *address; /* NULL: not given */
    const char *is;
} addresses[] = {
    {"/b", NULL, "127.0.0.1"},
    {"tls:hv:1", NULL, "hv"},
    {"tls:[::1]:1", NULL, "::1"},
    {"ssh:root@hv:22/b", NULL, "hv"},
    {"ssh:hv/b", "10.0.0.1", "10.0.0.1"},
    {"tcp:host-b:4444", NULL, "host-b"},
    {"tcp:[::1]:4444", NULL, "::1"},
    {"tcp:host-b:4444", "10.0.0.1", "10.0.0.1"},
    {"tcp:host-b:4444", "[fe80::1%eth0]", "fe80::1%eth0"},
    {"/b", "fe80::1", "fe80::1"},
};

START_TEST(memory_goes_where_the_monitor_is_or_where_it_was_told)
{
    if (addresses[_i].address)
        option("destination-address", addresses[_i].address);
    must(request_sides(&f.r, "/a", addresses[_i].destination, &f.err));
    must(request_finish(&f.r, &f.err));
    ck_assert_str_eq(f.r.spec.address, addresses[_i].is);
}
END_TEST

START_TEST(the_first_address_is_taken_and_all_are_kept)
{
    char text[16];
    for (unsigned i = 1; i <= SPEC_ADDRESSES_MAX; i++) {
        (void)snprintf(text, sizeof(text), "10.0.0.%u", i);
        option("destination-address", text);
    }
    ck_assert_int_ne(request_option(&f.r, "destination-address", "10.0.0.9", &f.err), 0);
    ck_assert_str_eq(f.err.text, "--destination-address: more than 8 of them");
    must(request_sides(&f.r, "/a", "tcp:host-b:4444", &f.err));
    must(request_finish(&f.r, &f.err));
    ck_assert_str_eq(f.r.spec.address, "10.0.0.1");
    ck_assert_int_eq(f.r.spec.address_from, SPEC_ADDRESS_GIVEN);
    ck_assert_uint_eq(f.r.spec.n_given, SPEC_ADDRESSES_MAX);
    ck_assert_str_eq(f.r.spec.given[7], "10.0.0.8");
    ck_assert_str_eq(f.r.spec.monitor_host, "host-b");
}
END_TEST

START_TEST(networks_come_from_files_and_options)
{
    static const char text[] =
        "{\"networks\": [{\"name\": \"a\", \"cidr\": \"10.0.0.0/8\"}]}";
    option("network", "fd00::/64");
    must(request_networks_text(&f.r, "n.json", text, sizeof(text) - 1, &f.err));
    option("port", "49152-49160");
    must(request_sides(&f.r, "/a", "tcp:host-b:444", &f.err));
    must(request_finish(&f.r, &f.err));
    ck_assert_uint_eq(f.r.spec.networks.n, 2);
    ck_assert_uint_eq(f.r.spec.networks.port_first, 49152);
    ck_assert_uint_eq(f.r.spec.networks.port_last, 49160);
    ck_assert_uint_eq(f.r.spec.networks.monitor_port, 444);
    ck_assert(f.r.spec.bandwidth_auto);
    ck_assert_int_ne(request_networks_text(&f.r, "n.json", "{}", 2, &f.err), 0);
    ck_assert_str_eq(f.err.text, "n.json:1: has no networks");
}
END_TEST

START_TEST(a_port_that_must_not_be_probed_is_refused)
{
    static const char text[] = "{\"networks\": [{\"name\": \"a\", \"cidr\": "
                               "\"10.0.0.0/8\", \"probe-port\": 22}]}";
    must(request_networks_text(&f.r, "n.json", text, sizeof(text) - 1, &f.err));
    option("port", "20-30");
    must(request_sides(&f.r, "/a", "/b", &f.err));
    ck_assert_int_eq(request_finish(&f.r, &f.err), -(int)QF_E_USAGE);
    ck_assert_str_eq(f.err.text,
                     "network a: its probe-port is one of --port or that of the "
                     "monitor, which must not be probed");
    option("port", "1-65535");
    f.r.spec.networks.network[0].probe_port = 0;
    ck_assert_int_eq(request_finish(&f.r, &f.err), -(int)QF_E_USAGE);
    ck_assert_str_eq(f.err.text,
                     "network a: --port leaves no port below 1024 that may be probed");
}
END_TEST

START_TEST(both_sides_have_the_folder_of_credentials)
{
    char endless[QMP_ADDR_MAX + 1];
    memset(endless, 'x', sizeof(endless) - 1);
    endless[sizeof(endless) - 1] = '\0';
    const char *const folders[] = {"", endless};
    option("tls-dir", "/etc/pki/qemu");
    must(request_sides(&f.r, "tls:a:1", "tls:b:1", &f.err));
    must(request_finish(&f.r, &f.err));
    ck_assert_str_eq(f.r.addr[MIG_SRC].tls_dir, "/etc/pki/qemu");
    ck_assert_str_eq(f.r.addr[MIG_DST].tls_dir, "/etc/pki/qemu");
    for (int i = 0; i < 2; i++) {
        option("tls-dir", folders[i]);
        ck_assert_int_eq(request_finish(&f.r, &f.err), -(int)QF_E_USAGE);
        ck_assert_ptr_nonnull(strstr(f.err.text, "--tls-dir: '"));
    }
}
END_TEST

/* ---- the policy ---- */

START_TEST(overrides_hold_whatever_the_order)
{
    option("max-downtime", "300ms");
    option("timeout", "1h");
    option("set", "throttle.allowed=false");
    option("policy", "suspend-if-needed");
    finish();
    ck_assert_str_eq(f.r.policy.name, "suspend-if-needed");
    ck_assert_uint_eq(f.r.policy.downtime_max_ms, 300);
    ck_assert_uint_eq(f.r.policy.timeout_ms, 3600 * 1000);
    ck_assert(!f.r.policy.throttle_allowed);
}
END_TEST

/* What is asked for against what the policy says; how, or the refusal. */
static const struct {
    const char *option; /* NULL: none */
    const char *policy;
    enum spec_encrypt how;
    const char *with;
    const char *refused;
} encryptions[] = {
    {NULL, "allowed", SPEC_ENCRYPT_OFF, "", NULL},
    {"off", "allowed", SPEC_ENCRYPT_OFF, "", NULL},
    {"psk", "allowed", SPEC_ENCRYPT_PSK, "", NULL},
    {"x509:/etc/pki/qemu", "allowed", SPEC_ENCRYPT_X509, "/etc/pki/qemu", NULL},
    {"ssh:hv2", "allowed", SPEC_ENCRYPT_SSH, "hv2", NULL},
    {"ssh:root@[::1]:2222", "allowed", SPEC_ENCRYPT_SSH, "root@[::1]:2222", NULL},
    {NULL, "required", SPEC_ENCRYPT_PSK, "", NULL},
    {"ssh:hv2", "required", SPEC_ENCRYPT_SSH, "hv2", NULL},
    {"off", "required", SPEC_ENCRYPT_OFF, "",
     "--encrypt: off, but policy minimal-downtime requires encryption; "},
    {NULL, "forbidden", SPEC_ENCRYPT_OFF, "", NULL},
    {"off", "forbidden", SPEC_ENCRYPT_OFF, "", NULL},
    {"psk", "forbidden", SPEC_ENCRYPT_PSK, "",
     "--encrypt: psk, but policy minimal-downtime forbids encryption; "},
    {"ssh:h", "forbidden", SPEC_ENCRYPT_SSH, "h",
     "--encrypt: ssh, but policy minimal-downtime forbids encryption; "},
};

START_TEST(encryption_is_what_option_and_policy_say)
{
    char set[64];
    (void)snprintf(set, sizeof(set), "encrypt=%s", encryptions[_i].policy);
    if (encryptions[_i].option)
        option("encrypt", encryptions[_i].option);
    option("set", set);
    must(request_sides(&f.r, "/a", "/b", &f.err));
    const int rc = request_finish(&f.r, &f.err);
    ck_assert_int_eq(rc, encryptions[_i].refused ? -(int)QF_E_USAGE : 0);
    if (encryptions[_i].refused)
        ck_assert_ptr_eq(strstr(f.err.text, encryptions[_i].refused), f.err.text);
    ck_assert_int_eq(f.r.spec.encrypt, encryptions[_i].how);
    ck_assert_str_eq(f.r.spec.encrypt_with, encryptions[_i].with);
    ck_assert_int_eq(f.r.spec.encrypt_by_policy,
                     !encryptions[_i].option &&
                         strcmp(encryptions[_i].policy, "required") == 0);
}
END_TEST

START_TEST(a_policy_that_forbids_encryption_says_so)
{
    option("policy", "very-large-vm");
    option("encrypt", "psk");
    must(request_sides(&f.r, "/a", "/b", &f.err));
    ck_assert_int_eq(request_finish(&f.r, &f.err), -(int)QF_E_USAGE);
    ck_assert_ptr_nonnull(strstr(f.err.text, "very-large-vm forbids encryption"));
}
END_TEST

START_TEST(the_last_override_wins)
{
    option("set", "downtime.max=1s");
    option("max-downtime", "300ms");
    option("set", "downtime.max=400ms");
    finish();
    ck_assert_uint_eq(f.r.policy.downtime_max_ms, 400);
}
END_TEST

START_TEST(one_override_too_many_is_refused)
{
    for (unsigned i = 0; i < REQUEST_SETS_MAX; i++)
        option("set", "downtime.max=1s");
    ck_assert_int_eq(request_option(&f.r, "set", "downtime.max=2s", &f.err),
                     -(int)QF_E_USAGE);
    ck_assert_str_eq(f.err.text, "--set: more than 32 of them; write a policy file");
    finish();
    ck_assert_uint_eq(f.r.policy.downtime_max_ms, 1000);
}
END_TEST

START_TEST(a_value_too_long_is_refused)
{
    char value[SPEC_TEXT_MAX + 1];
    memset(value, '9', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    option("timeout", value);
    must(request_sides(&f.r, "/a", "/b", &f.err));
    ck_assert_int_eq(request_finish(&f.r, &f.err), -(int)QF_E_USAGE);
    ck_assert_str_eq(f.err.text, "--timeout: the value is too long");
}
END_TEST

START_TEST(a_policy_comes_as_text_too)
{
    static const char text[] = "{\"name\": \"mine\", \"downtime\": {\"max\": \"1s\"}}";
    static const char bad[] = "{\"downtime\": 3}";
    const int rc = request_policy_text(&f.r, "bad.json", bad, sizeof(bad) - 1, &f.err);
    ck_assert_int_eq(rc, -(int)QF_E_USAGE);
    ck_assert_msg(strncmp(f.err.text, "bad.json", 8) == 0, "%s", f.err.text);
    ck_assert_str_eq(f.r.policy.name, "minimal-downtime");
    must(request_policy_text(&f.r, "mine.json", text, sizeof(text) - 1, &f.err));
    finish();
    ck_assert_str_eq(f.r.policy.name, "mine");
    ck_assert_uint_eq(f.r.policy.downtime_max_ms, 1000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("request");
    TCase *tc = tcase_create("request");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_loop_test(tc, both_monitors_are_addresses_and_differ, 0, COUNT(sides));
    tcase_add_test(tc, an_address_without_end_is_refused);
    tcase_add_loop_test(tc, a_wrong_value_is_named_with_its_option, 0, COUNT(wrong));
    tcase_add_loop_test(tc, a_wrong_field_is_named_at_the_end, 0, COUNT(late));
    tcase_add_test(tc, nothing_given_is_the_default);
    tcase_add_test(tc, flags_are_flags);
    tcase_add_loop_test(tc, where_it_cannot_be_bound_it_says_so, 0, 3);
    tcase_add_test(tc, starting_again);
    tcase_add_test(tc, a_port_or_a_range);
    tcase_add_test(tc, a_bandwidth_or_the_hypervisors);
    tcase_add_test(tc, checks_are_waived_by_name);
    tcase_add_test(tc, channels_and_what_only_they_have);
    tcase_add_loop_test(tc, memory_goes_where_the_monitor_is_or_where_it_was_told, 0,
                        COUNT(addresses));
    tcase_add_test(tc, the_first_address_is_taken_and_all_are_kept);
    tcase_add_test(tc, networks_come_from_files_and_options);
    tcase_add_test(tc, a_port_that_must_not_be_probed_is_refused);
    tcase_add_test(tc, both_sides_have_the_folder_of_credentials);
    tcase_add_test(tc, overrides_hold_whatever_the_order);
    tcase_add_loop_test(tc, encryption_is_what_option_and_policy_say, 0,
                        COUNT(encryptions));
    tcase_add_test(tc, a_policy_that_forbids_encryption_says_so);
    tcase_add_test(tc, the_last_override_wins);
    tcase_add_test(tc, one_override_too_many_is_refused);
    tcase_add_test(tc, a_value_too_long_is_refused);
    tcase_add_test(tc, a_policy_comes_as_text_too);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

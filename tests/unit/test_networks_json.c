/* Networks files: every message word for word; and the journal's form there and back. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "netsel/netsel_json.h"
#include "netsel/networks_json.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

static struct fixture {
    struct netsel_wish w;
    struct qf_err err;
} f;

static void setup(void)
{
    memset(&f, 0, sizeof(f));
}

static int load(const char *text)
{
    return networks_load("n.json", text, strlen(text), &f.w, &f.err);
}

/* The example of the interface. */
#define EXAMPLE                                                                         \
    "{\"networks\": [{\"name\": \"migration\", \"cidr\": \"10.10.10.0/24\", \"role\": " \
    "\"migration\", \"rate\": \"10Gbit\"}, {\"name\": \"management\", \"cidr\": "       \
    "\"192.168.1.0/24\", \"role\": \"management\"}], \"fallback\": true}"

START_TEST(the_example_is_read)
{
    ck_assert_int_eq(load(EXAMPLE), 0);
    ck_assert_uint_eq(f.w.n, 2);
    ck_assert(!f.w.no_fallback);
    const struct netsel_network *n = f.w.network;
    ck_assert_str_eq(n[0].name, "migration");
    ck_assert_int_eq(n[0].role, NETSEL_MIGRATION);
    ck_assert_uint_eq(n[0].rate_bytes_per_s, 1250000000);
    ck_assert_uint_eq(n[0].cidr.bits, 24);
    ck_assert_int_eq(n[1].role, NETSEL_MANAGEMENT);
    ck_assert_uint_eq(n[1].rate_bytes_per_s, 0);
}
END_TEST

START_TEST(files_and_options_add_up)
{
    ck_assert_int_eq(networks_add("fd00::/64", &f.w, &f.err), 0);
    ck_assert_int_eq(
        load("{\"fallback\": false, \"networks\": [{\"name\": \"a\", \"cidr\": "
             "\"10.0.0.0/8\", \"rate\": 1000, \"probe-port\": 22}]}"),
        0);
    ck_assert_uint_eq(f.w.n, 2);
    ck_assert_str_eq(f.w.network[0].name, "fd00::/64");
    ck_assert_uint_eq(f.w.network[1].rate_bytes_per_s, 1000);
    ck_assert_uint_eq(f.w.network[1].probe_port, 22);
    ck_assert_int_eq(f.w.network[1].role, NETSEL_MIGRATION);
    /* one file that forbids it is enough */
    ck_assert_int_eq(load("{\"fallback\": true, \"networks\": [{\"name\": \"b\", \"cidr\": "
                          "\"11.0.0.0/8\"}]}"),
                     0);
    ck_assert(f.w.no_fallback);
}
END_TEST

#define N(members) "{\"networks\": [\n{" members "}]}"
#define A          "\"name\": \"a\", \"cidr\": \"10.0.0.0/24\""

static const struct {
    const char *text;
    const char *says;
} faults[] = {
    {"", "n.json:1: nothing in it; write an object in braces"},
    {"[]", "n.json:1: a list is no networks file; write an object in braces"},
    {"{}", "n.json:1: has no networks"},
    {"{\"networks\": []}", "n.json:1: networks: nothing is not a list of networks"},
    {"{\"networks\": {}}", "n.json:1: networks: an object is not a list of networks"},
    {"{\n\"network\": []}", "n.json:2: network: unknown field; did you mean networks?"},
    {"{\"networks\": [1]}",
     "n.json:1: networks[0]: 1 is not a network; write an object in braces"},
    {"{\"networks\": [{" A "}],\n\"fallback\": 1}",
     "n.json:2: fallback: 1 is neither true nor false"},
    {N(""), "n.json:2: networks[0]: has no name"},
    {N("\"name\": \"a\""), "n.json:2: networks[0]: has no cidr"},
    {N("\"cidr\": \"10.0.0.0/24\""), "n.json:2: networks[0]: has no name"},
    {N("\"name\": \"a b\""),
     "n.json:2: networks[0].name: \"a b\" is not a name; write 1 to 63 letters, digits, '.', "
     "'_', '-', ':' and '/'"},
    {N("\"name\": 7"), "n.json:2: networks[0].name: 7 is not a text"},
    {N("\"cidr\": 7"), "n.json:2: networks[0].cidr: 7 is not a text"},
    {N("\"cidr\": \"10.0.0.1/24\""),
     "n.json:2: networks[0].cidr: \"10.0.0.1/24\" has host bits; the network is 10.0.0.0/24"},
    {N("\"cidr\": \"10.0.0.0\""),
     "n.json:2: networks[0].cidr: \"10.0.0.0\" has no prefix length; write 10.10.10.0/24"},
    {N("\"cidr\": \"10.0.0.0/40\""),
     "n.json:2: networks[0].cidr: \"10.0.0.0/40\" has no valid prefix length; write /0 to /32 "
     "for IPv4, /0 to /128 for IPv6"},
    {N("\"cidr\": \"mig0\""),
     "n.json:2: networks[0].cidr: \"mig0\" is not a network; write 10.10.10.0/24 or "
     "fd00:1::/64"},
    {N("\"cidr\": \"fe80::/64\""),
     "n.json:2: networks[0].cidr: \"fe80::/64\" is link-local: such addresses mean another "
     "host on each link"},
    {N(A ", \"role\": \"storage\""),
     "n.json:2: networks[0].role: \"storage\" is not a role; write migration or management"},
    {N(A ", \"role\": true"), "n.json:2: networks[0].role: true is not a text"},
    {N(A ", \"rate\": \"fast\""),
     "n.json:2: networks[0].rate: \"fast\" is not a rate; write \"10Gbit\", \"125MiB\" or "
     "bytes per second"},
    {N(A ", \"rate\": 0"),
     "n.json:2: networks[0].rate: 0 is not a rate; write \"10Gbit\", \"125MiB\" or bytes per "
     "second"},
    {N(A ", \"probe-port\": 49152"),
     "n.json:2: networks[0].probe-port: 49152 cannot be probed; write a port from 1 to 1023, "
     "where no migration is waited for"},
    {N(A ", \"mtu\": 9000"),
     "n.json:2: networks[0].mtu: unknown field; there are name, cidr, role, rate, probe-port"},
    {N(A "},\n{\"name\": \"b\", \"cidr\": \"10.0.0.0/24\""),
     "n.json:3: networks[1].cidr: 10.0.0.0/24 is given twice, first as a"},
    {N(A "},\n{\"name\": \"a\", \"cidr\": \"10.0.1.0/24\""),
     "n.json:3: networks[1].name: a is the name of two networks"},
    {N(A ", \"name\": \"b\""),
     "n.json:2: duplicate object key near '\"name\"'; drop one of them"},
};

START_TEST(a_fault_is_named_with_line_and_field)
{
    const struct netsel_wish before = f.w;
    ck_assert_int_eq(load(faults[_i].text), -(int)QF_E_USAGE);
    ck_assert_str_eq(f.err.text, faults[_i].says);
    ck_assert_int_eq(memcmp(&before, &f.w, sizeof(before)), 0);
}
END_TEST

static const struct {
    const char *cidr;
    const char *says;
} options[] = {
    {"10.0.0.1/24", "'10.0.0.1/24' has host bits; the network is 10.0.0.0/24"},
    {"eth0", "'eth0' is not a network; write 10.10.10.0/24 or fd00:1::/64"},
    {"10.9.0.0/16", "'10.9.0.0/16' is given twice"},
    {"a\nb", "'a?b' is not a network; write 10.10.10.0/24 or fd00:1::/64"},
};

START_TEST(a_faulty_cidr_is_named)
{
    ck_assert_int_eq(networks_add("10.9.0.0/16", &f.w, &f.err), 0);
    ck_assert_int_eq(networks_add(options[_i].cidr, &f.w, &f.err), -(int)QF_E_USAGE);
    ck_assert_str_eq(f.err.text, options[_i].says);
    ck_assert_uint_eq(f.w.n, 1);
}
END_TEST

START_TEST(there_is_an_end_to_it)
{
    char cidr[32];
    for (unsigned i = 0; i < NETSEL_NETWORKS_MAX; i++) {
        (void)snprintf(cidr, sizeof(cidr), "10.%u.0.0/16", i);
        ck_assert_int_eq(networks_add(cidr, &f.w, &f.err), 0);
    }
    ck_assert_int_ne(networks_add("11.0.0.0/8", &f.w, &f.err), 0);
    ck_assert_str_eq(f.err.text, "more than 16 networks");
    ck_assert_int_ne(load(N(A)), 0);
    ck_assert_str_eq(f.err.text,
                     "n.json:2: networks[0]: one too many; there may be 16 networks");
    ck_assert_int_ne(networks_load("n.json", "", NETSEL_FILE_MAX + 1, &f.w, &f.err), 0);
    ck_assert_str_eq(f.err.text,
                     "n.json:1: 65537 bytes; a networks file has at most 65536");
    ck_assert_int_ne(load("{\"networks\": [{\"name\": \"a\", \"cidr\": \"10.3.0.0/16\"}]}"),
                     0);
    ck_assert_str_eq(
        f.err.text,
        "n.json:1: networks[0].cidr: 10.3.0.0/16 is given twice, first as 10.3.0.0/16");
}
END_TEST

START_TEST(wish_and_facts_are_read_back)
{
    static struct netsel_facts facts;
    static struct netsel_facts again;
    struct netsel_wish w;
    ck_assert_int_eq(load(EXAMPLE), 0);
    f.w.port_first = 49152;
    f.w.port_last = 49160;
    f.w.monitor_port = 4444;
    f.w.no_fallback = true;
    json_t *o = netsel_dump_wish(&f.w);
    ck_assert(netsel_load_wish(o, &w));
    ck_assert_int_eq(memcmp(&w, &f.w, sizeof(w)), 0);
    (void)json_object_set_new(o, "port_first", json_integer(70000));
    ck_assert(!netsel_load_wish(o, &w));
    json_decref(o);

    facts = (struct netsel_facts){.n_locals = 1,
                                  .n_destinations = 2,
                                  .n_paths = 1,
                                  .names_pending = true,
                                  .name_fault = "hv2: unknown",
                                  .fault = "none",
                                  .waited_ms = 251};
    facts.local[0] = (struct netsel_local){
        .interface = "eth0", .up = true, .carrier = true, .speed_bytes_per_s = 125000000};
    ck_assert(netsel_ip_parse("10.10.10.1", &facts.local[0].ip));
    facts.destination[0].source = facts.local[0].ip;
    ck_assert(netsel_ip_parse("10.10.10.2", &facts.destination[0].ip));
    facts.destination[1] =
        (struct netsel_destination){.is_monitor = true, .fault = "no route"};
    ck_assert(netsel_ip_parse("fd00::2", &facts.destination[1].ip));
    facts.path[0] = (struct netsel_path){
        .port = 9, .answer = NETSEL_FAILED, .took_ms = 3, .fault = "unreachable"};
    o = netsel_dump_facts(&facts);
    ck_assert(netsel_load_facts(o, &again));
    ck_assert_int_eq(memcmp(&facts, &again, sizeof(facts)), 0);
    (void)json_object_set_new(json_array_get(json_object_get(o, "paths"), 0), "answer",
                              json_string("perhaps"));
    ck_assert(!netsel_load_facts(o, &again));
    json_decref(o);
    ck_assert(!netsel_load_facts(NULL, &again));
    ck_assert(!netsel_load_wish(NULL, &w));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("netsel/networks_json");
    TCase *t = tcase_create("files");
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_test(t, the_example_is_read);
    tcase_add_test(t, files_and_options_add_up);
    tcase_add_loop_test(t, a_fault_is_named_with_line_and_field, 0, COUNT(faults));
    tcase_add_loop_test(t, a_faulty_cidr_is_named, 0, COUNT(options));
    tcase_add_test(t, there_is_an_end_to_it);
    tcase_add_test(t, wish_and_facts_are_read_back);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

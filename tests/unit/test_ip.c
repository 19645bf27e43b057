/* Addresses and networks: text in, text out. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "netsel/ip.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

/* How it is written again; NULL: not an address. */
static const struct {
    const char *text;
    const char *again;
} addresses[] = {
    {"10.1.2.3", "10.1.2.3"},
    {"0.0.0.0", "0.0.0.0"},
    {"255.255.255.255", "255.255.255.255"},
    {"256.1.1.1", NULL},
    {"1.2.3", NULL},
    {"1.2.3.4.5", NULL},
    {"1.2.3.4 ", NULL},
    {"01.2.3.4", NULL},
    {"1..2.3", NULL},
    {"", NULL},
    {"a.b.c.d", NULL},
    {"::", "::"},
    {"::1", "::1"},
    {"1::", "1::"},
    {"fd00::2", "fd00::2"},
    {"FD00:0:0:1::00AB", "fd00:0:0:1::ab"},
    {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
    {"2001:db8::1:0:0:1", "2001:db8::1:0:0:1"},
    {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},
    {"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"},
    {"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"},
    {"::ffff:10.0.0.1", "::ffff:a00:1"},
    {"1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"},
    {"1:2:3:4:5:6:7:1.2.3.4", NULL},
    {"1:2:3:4:5:6:7:8:9", NULL},
    {"1:2:3:4:5:6:7", NULL},
    {"1:2:3:4:5:6:7:8::", NULL},
    {":::", NULL},
    {"1:::2", NULL},
    {"1::2::3", NULL},
    {":1::2", NULL},
    {"1:", NULL},
    {"1::2:", NULL},
    {"12345::", NULL},
    {"g::", NULL},
    {"::1.2.3", NULL},
    {"::1.2.3.4:5", NULL},
    {"fe80::1%eth0", NULL},
    {"[::1]", NULL},
    {"1111:2222:3333:4444:5555:6666:7777:8888:9999:0000", NULL},
};

START_TEST(an_address_is_read_and_written)
{
    char text[NETSEL_IP_TEXT];
    struct netsel_ip ip = {.family = NETSEL_NONE};
    const bool good = netsel_ip_parse(addresses[_i].text, &ip);
    ck_assert_msg(good == (addresses[_i].again != NULL), "'%s'", addresses[_i].text);
    if (good)
        ck_assert_str_eq(netsel_ip_format(&ip, text), addresses[_i].again);
    else
        ck_assert_int_eq(ip.family, NETSEL_NONE);
}
END_TEST

static const struct {
    const char *text;
    enum netsel_cidr_fault fault;
    const char *is; /* for GOOD and HOST_BITS */
} cidrs[] = {
    {"10.10.10.0/24", NETSEL_CIDR_GOOD, "10.10.10.0/24"},
    {"0.0.0.0/0", NETSEL_CIDR_GOOD, "0.0.0.0/0"},
    {"10.1.2.3/32", NETSEL_CIDR_GOOD, "10.1.2.3/32"},
    {"10.10.10.128/25", NETSEL_CIDR_GOOD, "10.10.10.128/25"},
    {"fd00:1::/64", NETSEL_CIDR_GOOD, "fd00:1::/64"},
    {"::/0", NETSEL_CIDR_GOOD, "::/0"},
    {"::1/128", NETSEL_CIDR_GOOD, "::1/128"},
    {"10.10.10.1/24", NETSEL_CIDR_HOST_BITS, "10.10.10.0/24"},
    {"10.10.10.128/24", NETSEL_CIDR_HOST_BITS, "10.10.10.0/24"},
    {"10.10.10.129/25", NETSEL_CIDR_HOST_BITS, "10.10.10.128/25"},
    {"fd00::1/127", NETSEL_CIDR_HOST_BITS, "fd00::/127"},
    {"10.10.10.0", NETSEL_CIDR_NO_PREFIX, NULL},
    {"10.10.10.0/33", NETSEL_CIDR_BAD_PREFIX, NULL},
    {"fd00::/129", NETSEL_CIDR_BAD_PREFIX, NULL},
    {"10.10.10.0/", NETSEL_CIDR_BAD_PREFIX, NULL},
    {"10.10.10.0/-1", NETSEL_CIDR_BAD_PREFIX, NULL},
    {"10.10.10.0/24/", NETSEL_CIDR_BAD_PREFIX, NULL},
    {"10.10.10.0/255.255.255.0", NETSEL_CIDR_BAD_PREFIX, NULL},
    {"10.10.10/24", NETSEL_CIDR_NO_ADDRESS, NULL},
    {"/24", NETSEL_CIDR_NO_ADDRESS, NULL},
    {"", NETSEL_CIDR_NO_ADDRESS, NULL},
    {"mig0", NETSEL_CIDR_NO_ADDRESS, NULL},
};

START_TEST(a_network_is_read_and_written)
{
    char text[NETSEL_CIDR_TEXT];
    struct netsel_cidr cidr;
    ck_assert_int_eq(netsel_cidr_parse(cidrs[_i].text, &cidr), cidrs[_i].fault);
    if (cidrs[_i].is)
        ck_assert_str_eq(netsel_cidr_format(&cidr, text), cidrs[_i].is);
}
END_TEST

static const struct {
    const char *cidr;
    const char *ip;
    bool has;
} members[] = {
    {"10.10.10.0/24", "10.10.10.255", true},
    {"10.10.10.0/24", "10.10.11.0", false},
    {"10.10.10.128/25", "10.10.10.127", false},
    {"0.0.0.0/0", "192.0.2.1", true},
    {"0.0.0.0/0", "::1", false},
    {"::/0", "::1", true},
    {"::/0", "10.0.0.1", false},
    {"fd00:1::/63", "fd00:1:0:1::5", true},
    {"fd00:1::/64", "fd00:1:0:1::5", false},
    {"10.0.0.1/32", "10.0.0.1", true},
};

START_TEST(an_address_is_in_a_network_or_not)
{
    struct netsel_cidr cidr;
    struct netsel_ip ip;
    ck_assert_int_eq(netsel_cidr_parse(members[_i].cidr, &cidr), NETSEL_CIDR_GOOD);
    ck_assert(netsel_ip_parse(members[_i].ip, &ip));
    ck_assert_int_eq(netsel_cidr_has(&cidr, &ip), members[_i].has);
}
END_TEST

START_TEST(link_local_addresses_are_known)
{
    static const struct {
        const char *ip;
        bool is;
    } rows[] = {{"169.254.1.1", true}, {"169.253.1.1", false}, {"fe80::1", true},
                {"febf::1", true},     {"fec0::1", false},     {"10.0.0.1", false}};
    struct netsel_ip ip;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ck_assert(netsel_ip_parse(rows[i].ip, &ip));
        ck_assert_int_eq(netsel_ip_is_link_local(&ip), rows[i].is);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("netsel/ip");
    TCase *t = tcase_create("ip");
    tcase_add_loop_test(t, an_address_is_read_and_written, 0, COUNT(addresses));
    tcase_add_loop_test(t, a_network_is_read_and_written, 0, COUNT(cidrs));
    tcase_add_loop_test(t, an_address_is_in_a_network_or_not, 0, COUNT(members));
    tcase_add_test(t, link_local_addresses_are_known);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "qmp/addr.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

#define LONG_107                                                                                \
    "/2345678901234567890123456789012345678901234567890123456789012345678901234567890123456789" \
    "012345678901234567"

static const struct {
    const char *text;
    const char *is;   /* as qmp_addr_format writes it; NULL: refused */
    const char *says; /* part of the sentence */
} addrs[] = {
    {"/run/vm.qmp", "/run/vm.qmp", NULL},
    {"unix:/run/vm.qmp", "/run/vm.qmp", NULL},
    {"unix:vm.qmp", "unix:vm.qmp", NULL},
    {"/run/a:b", "/run/a:b", NULL},
    {LONG_107, LONG_107, NULL},
    {LONG_107 "8", NULL, "the path is 108 bytes long; the system allows 107"},
    {"unix:" LONG_107 "8", NULL, "the path is 108 bytes long; the system allows 107"},
    {"tcp:host:4444", "tcp:host:4444", NULL},
    {"tcp:10.0.0.1:1", "tcp:10.0.0.1:1", NULL},
    {"tcp:[::1]:65535", "tcp:[::1]:65535", NULL},
    {"tcp:[fe80::1%eth0]:4444", "tcp:[fe80::1%eth0]:4444", NULL},
    {"tcp:[host]:4444", "tcp:host:4444", NULL},
    {"unix:", NULL, "a path is missing; write unix:/path"},
    {"", NULL,
     "'' is not an address; write /path, unix:/path, tcp:HOST:PORT, tls:HOST:PORT"},
    {"vm.qmp", NULL, "'vm.qmp' is not an address; write /path"},
    {"vsock:3:1234", NULL,
     "unknown scheme 'vsock:' in 'vsock:3:1234'; write /path, unix:/path, tcp:HOST:PORT"},
    {"host:4444", NULL, "unknown scheme 'host:'"},
    {"tcp:", NULL, "a port is missing"},
    {"tcp:host", NULL, "a port is missing; write tcp:HOST:PORT"},
    {"tcp:host:", NULL, "'' is not a port; write 1 to 65535"},
    {"tcp:host:0", NULL, "'0' is not a port"},
    {"tcp:host:65536", NULL, "'65536' is not a port"},
    {"tcp:host:99999999999999999999", NULL, "is not a port"},
    {"tcp:host:44x", NULL, "'44x' is not a port"},
    {"tcp:host:-1", NULL, "'-1' is not a port"},
    {"tcp:host:000022", NULL, "'000022' is not a port"},
    {"tcp::4444", NULL, "a host is missing"},
    {"tcp:[]:4444", NULL, "a host is missing"},
    {"tcp:::1:4444", NULL, "an IPv6 address needs brackets; write tcp:[ADDRESS]:PORT"},
    {"tcp:[::1:4444", NULL, "']' is missing"},
    {"tcp:[::1]", NULL, "a port is missing"},
    {"tcp:[::1]4444", NULL, "a port is missing"},
    {"tls:host:4444", "tls:host:4444", NULL},
    {"tls:[::1]:65535", "tls:[::1]:65535", NULL},
    {"tls:[fe80::1%eth0]:1", "tls:[fe80::1%eth0]:1", NULL},
    {"tls:", NULL, "a port is missing; write tls:HOST:PORT"},
    {"tls:host", NULL, "a port is missing; write tls:HOST:PORT"},
    {"tls::1", NULL, "a host is missing; write tls:HOST:PORT"},
    {"tls:host:0", NULL, "'0' is not a port"},
    {"tls:[::1", NULL, "']' is missing; write tls:[ADDRESS]:PORT"},
    {"tls:::1:4444", NULL, "an IPv6 address needs brackets; write tls:[ADDRESS]:PORT"},
    {"ssh:hv/run/vm.qmp", "ssh:hv/run/vm.qmp", NULL},
    {"ssh:root@hv/run/vm.qmp", "ssh:root@hv/run/vm.qmp", NULL},
    {"ssh:root@hv-1.example:2222/run/a b:c", "ssh:root@hv-1.example:2222/run/a b:c", NULL},
    {"ssh:a@b@hv/run/x@y", "ssh:a@b@hv/run/x@y", NULL},
    {"ssh:[::1]/run/x", "ssh:[::1]/run/x", NULL},
    {"ssh:root@[fe80::1%eth0]:22/run/x", "ssh:root@[fe80::1%eth0]:22/run/x", NULL},
    {"ssh:[hv]/x", "ssh:hv/x", NULL},
    {"ssh:hv" LONG_107, "ssh:hv" LONG_107, NULL},
    {"ssh:hv" LONG_107 "8", NULL, "the path is 108 bytes long; the system allows 107"},
    {"ssh:", NULL, "a path is missing; write ssh:[USER@]HOST[:PORT]/PATH"},
    {"ssh:hv", NULL, "a path is missing"},
    {"ssh:hv/", NULL, "a path is missing"},
    {"ssh:/run/x", NULL, "a host is missing"},
    {"ssh:@hv/run/x", NULL, "'' is not a user's name"},
    {"ssh:-l@hv/run/x", NULL, "'-l' is not a user's name"},
    {"ssh:a b@hv/run/x", NULL, "'a b' is not a user's name"},
    {"ssh:root@/run/x", NULL, "a host is missing"},
    {"ssh:-oProxyCommand=x/run/x", NULL, "'-oProxyCommand=x' is not a host's name"},
    {"ssh:$(reboot)/run/x", NULL, "'$(reboot)' is not a host's name"},
    {"ssh:h%h/run/x", NULL, "'h%h' is not a host's name"},
    {"ssh:::1/run/x", NULL, "a host is missing"},
    {"ssh:fe80::1/run/x", NULL, "an IPv6 address needs brackets; write ssh:[ADDRESS]/PATH"},
    {"ssh:[::1/run/x", NULL, "']' is missing"},
    {"ssh:[]/run/x", NULL, "a host is missing"},
    {"ssh:[::1]22/run/x", NULL, "'2' is not a port"},
    {"ssh:hv:/run/x", NULL, "'' is not a port"},
    {"ssh:hv:0/run/x", NULL, "'0' is not a port"},
    {"ssh:hv:65536/run/x", NULL, "'65536' is not a port"},
    {"ssh:hv:123456789/run/x", NULL, "'123456789' is not a port"},
    {"ssh:hv:ssh/run/x", NULL, "'ssh' is not a port"},
    {"ssh:hv/run/%d", NULL, "ssh cannot forward to a path with %, $"},
    {"ssh:hv/run/${HOME}", NULL, "ssh cannot forward to a path with %, $"},
    {"ssh:hv/run/\n", NULL, "control characters"},
};

START_TEST(reads_addresses)
{
    struct qf_err err;
    struct qmp_addr addr = {.kind = QMP_ADDR_TCP, .host = "untouched"};
    char text[QMP_ADDR_TEXT];
    const int rc = qmp_addr_parse(addrs[_i].text, &addr, &err);
    if (addrs[_i].is) {
        ck_assert_int_eq(rc, 0);
        ck_assert_str_eq(qmp_addr_format(&addr, text), addrs[_i].is);
    } else {
        ck_assert_int_eq(rc, -(int)QF_E_USAGE);
        ck_assert_msg(strstr(err.text, addrs[_i].says) != NULL, "%s", err.text);
        ck_assert_str_eq(addr.host, "untouched");
    }
}
END_TEST

START_TEST(reads_no_endless_host)
{
    char text[QMP_ADDR_MAX + 16] = "tcp:";
    struct qmp_addr addr;
    struct qf_err err;
    memset(text + 4, 'h', QMP_ADDR_MAX);
    memcpy(text + 4 + QMP_ADDR_MAX, ":1", 3);
    ck_assert_int_eq(qmp_addr_parse(text, &addr, &err), -(int)QF_E_USAGE);
    memcpy(text + 3 + QMP_ADDR_MAX, ":1", 3);
    ck_assert_int_eq(qmp_addr_parse(text, &addr, &err), 0);
}
END_TEST

START_TEST(knows_the_same_monitor)
{
    static const char *const texts[] = {"/a",        "/b",        "tcp:h:1",    "tls:h:1",
                                        "tcp:h:2",   "tcp:i:1",   "ssh:h/a",    "ssh:h/b",
                                        "ssh:u@h/a", "ssh:h:1/a", "ssh:u@h:1/a"};
    for (int i = 0; i < COUNT(texts); i++)
        for (int k = 0; k < COUNT(texts); k++) {
            struct qmp_addr a;
            struct qmp_addr b;
            ck_assert_int_eq(qmp_addr_parse(texts[i], &a, NULL), 0);
            ck_assert_int_eq(qmp_addr_parse(texts[k], &b, NULL), 0);
            ck_assert_int_eq(qmp_addr_is_same(&a, &b), i == k);
        }
}
END_TEST

START_TEST(the_longest_path_fits_a_socket)
{
    ck_assert_uint_eq(strlen(LONG_107) + 1, sizeof(((struct sockaddr_un *)0)->sun_path));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("addr");
    TCase *tc = tcase_create("addr");
    tcase_add_loop_test(tc, reads_addresses, 0, COUNT(addrs));
    tcase_add_test(tc, reads_no_endless_host);
    tcase_add_test(tc, knows_the_same_monitor);
    tcase_add_test(tc, the_longest_path_fits_a_socket);
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* The probe on loopback: a port where somebody listens, one where nobody does, names, addresses
 * that do not exist; and that it can be given up at any time. Links that are down, routes that
 * lead nowhere and black holes are in tests/real/test_networks.c. */
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "netsel/links_uv.h"
#include "netsel/networks_json.h"
#include "netsel/probe_uv.h"

static struct fixture {
    uv_loop_t loop;
    struct netsel_wish w;
    struct netsel_probe *probe;
    struct netsel_facts facts;
    struct netsel_choice choice;
    unsigned done;
    unsigned closed;
    bool close_inside; /* of on_done */
} f;

static void on_closed(void *arg)
{
    (void)arg;
    f.closed++;
}

static void on_done(struct netsel_probe *p, const struct netsel_facts *facts, void *arg)
{
    ck_assert_ptr_eq(arg, &f);
    ck_assert_ptr_eq(p, f.probe);
    f.facts = *facts;
    f.done++;
    netsel_choose(&f.w, facts, &f.choice);
    if (f.close_inside)
        netsel_probe_close(p, on_closed, NULL);
}

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    f.close_inside = true;
    ck_assert_int_eq(uv_loop_init(&f.loop), 0);
}

static void teardown(void)
{
    ck_assert_int_eq(uv_run(&f.loop, UV_RUN_DEFAULT), 0);
    ck_assert_int_eq(uv_loop_close(&f.loop), 0);
}

static void start(const struct netsel_target *targets, unsigned n, bool to_the_end)
{
    ck_assert_int_eq(netsel_probe_start(&f.probe, &f.loop, &f.w, targets, n, to_the_end,
                                        on_done, &f, NULL),
                     0);
    ck_assert_uint_eq(f.done, 0);
}

static void run(const char *const *hosts, bool to_the_end)
{
    struct netsel_target targets[4];
    unsigned n = 0;
    for (; hosts[n]; n++)
        targets[n] = (struct netsel_target){.host = hosts[n]};
    start(targets, n, to_the_end);
    ck_assert_int_eq(uv_run(&f.loop, UV_RUN_DEFAULT), 0);
    ck_assert_uint_eq(f.done, 1);
    ck_assert_uint_eq(f.closed, 1);
}

#define HOSTS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void network(const char *cidr)
{
    ck_assert_int_eq(networks_add(cidr, &f.w, NULL), 0);
}

/* A socket that listens on a privileged port of this address; -1: not allowed to. */
static int listen_on(const char *address, uint16_t port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(inet_pton(AF_INET, address, &sa.sin_addr), 1);
    if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && listen(fd, 1) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

START_TEST(a_refused_connection_proves_the_path)
{
    network("127.0.0.0/8");
    run(HOSTS("127.9.8.7"), false);
    ck_assert_int_eq(f.choice.chosen, 0);
    ck_assert_str_eq(f.choice.candidate[0].address, "127.9.8.7");
    ck_assert_int_eq(f.facts.path[0].answer, NETSEL_REFUSED);
    ck_assert_uint_lt(f.facts.waited_ms, 200);
}
END_TEST

START_TEST(an_accepted_connection_does_too)
{
    const int fd = listen_on("127.9.8.6", NETSEL_PROBE_PORT);
    network("127.0.0.0/8");
    run(HOSTS("127.9.8.6"), false);
    ck_assert_int_eq(f.choice.chosen, 0);
    if (fd < 0)
        return; /* without the right to listen there it is the test above */
    ck_assert_int_eq(f.facts.path[0].answer, NETSEL_ACCEPTED);
    struct sockaddr_in from;
    socklen_t len = sizeof(from);
    char byte;
    const int peer = accept(fd, (struct sockaddr *)&from, &len);
    ck_assert_int_ge(peer, 0);
    ck_assert_int_eq(read(peer, &byte, 1), 0); /* nothing was said */
    (void)close(peer);
    (void)close(fd);
}
END_TEST

START_TEST(another_port_is_probed_when_that_one_is_for_a_migration)
{
    const int fd = listen_on("127.9.8.5", NETSEL_PROBE_PORT);
    network("127.0.0.0/8");
    f.w.port_first = 5;
    f.w.port_last = 15;
    run(HOSTS("127.9.8.5"), false);
    ck_assert_int_eq(f.choice.chosen, 0);
    ck_assert_uint_eq(f.facts.path[0].port, 1);
    ck_assert_int_eq(f.facts.path[0].answer, NETSEL_REFUSED);
    if (fd < 0)
        return;
    struct pollfd came = {.fd = fd, .events = POLLIN};
    ck_assert_int_eq(poll(&came, 1, 0), 0); /* nobody came to that one */
    (void)close(fd);
}
END_TEST

START_TEST(names_are_resolved)
{
    network("127.0.0.0/8");
    network("::1/128");
    run(HOSTS("localhost"), true);
    ck_assert_int_ge(f.choice.chosen, 0);
    ck_assert(!f.facts.names_pending);
    ck_assert_str_eq(f.facts.name_fault, "");
}
END_TEST

START_TEST(a_name_that_does_not_exist_is_said_so)
{
    network("127.0.0.0/8");
    run(HOSTS("no such name"), false);
    ck_assert_int_eq(f.choice.chosen, -1);
    ck_assert_msg(strncmp(f.facts.name_fault, "no such name: ", 14) == 0, "%s",
                  f.facts.name_fault);
    ck_assert_ptr_nonnull(strstr(f.choice.reason, "no such name: "));
}
END_TEST

START_TEST(what_is_usable_does_not_wait_for_others)
{
    network("127.0.0.0/8");
    network("203.0.113.0/24");
    run(HOSTS("203.0.113.1", "127.0.0.1"), false);
    ck_assert_int_eq(f.choice.chosen, 0);
    ck_assert_str_eq(f.choice.candidate[1].why, "this host has no address in it");
}
END_TEST

START_TEST(all_is_probed_when_all_is_wanted)
{
    network("127.0.0.0/9");
    network("127.0.0.0/8");
    run(HOSTS("127.0.0.1"), true);
    ck_assert_uint_eq(f.facts.n_paths, 2);
    ck_assert(f.choice.candidate[0].usable && f.choice.candidate[1].usable);
}
END_TEST

START_TEST(it_can_be_given_up_at_any_time)
{
    static const struct netsel_target targets[] = {{.host = "localhost"},
                                                   {.host = "127.0.0.1"}};
    network("127.0.0.0/8");
    f.close_inside = false;
    start(targets, 2, true);
    for (int i = 0; i < _i; i++)
        (void)uv_run(&f.loop, UV_RUN_NOWAIT);
    const unsigned done = f.done;
    netsel_probe_close(f.probe, on_closed, NULL);
    ck_assert_uint_eq(f.closed, 0);
    ck_assert_int_eq(uv_run(&f.loop, UV_RUN_DEFAULT), 0);
    ck_assert_uint_eq(f.closed, 1);
    ck_assert_uint_eq(f.done, done);
}
END_TEST

START_TEST(the_kernel_tells_the_source)
{
    struct netsel_destination d = {.is_monitor = false};
    char text[NETSEL_IP_TEXT];
    ck_assert(netsel_ip_parse("127.1.2.3", &d.ip));
    netsel_find_source(&d);
    ck_assert_str_eq(netsel_ip_format(&d.source, text), "127.0.0.1");
    ck_assert_str_eq(d.fault, "");
}
END_TEST

START_TEST(this_host_has_loopback)
{
    const struct netsel_local *lo = NULL;
    network("127.0.0.0/8");
    ck_assert_int_eq(netsel_find_locals(&f.w, &f.facts, NULL), 0);
    for (unsigned i = 0; i < f.facts.n_locals && !lo; i++)
        if (strcmp(f.facts.local[i].interface, "lo") == 0)
            lo = &f.facts.local[i];
    ck_assert_ptr_nonnull(lo);
    ck_assert(lo->up && lo->carrier);
    ck_assert_uint_eq(lo->speed_bytes_per_s, 0);
    /* those that are in a network come first */
    ck_assert(netsel_cidr_has(&f.w.network[0].cidr, &f.facts.local[0].ip));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("netsel/probe_uv");
    TCase *t = tcase_create("loopback");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_refused_connection_proves_the_path);
    tcase_add_test(t, an_accepted_connection_does_too);
    tcase_add_test(t, another_port_is_probed_when_that_one_is_for_a_migration);
    tcase_add_test(t, names_are_resolved);
    tcase_add_test(t, a_name_that_does_not_exist_is_said_so);
    tcase_add_test(t, what_is_usable_does_not_wait_for_others);
    tcase_add_test(t, all_is_probed_when_all_is_wanted);
    tcase_add_loop_test(t, it_can_be_given_up_at_any_time, 0, 4);
    tcase_add_test(t, the_kernel_tells_the_source);
    tcase_add_test(t, this_host_has_loopback);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

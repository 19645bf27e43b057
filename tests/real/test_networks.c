/* The choice of a network between two real QEMUs that are on different hosts: two network
 * namespaces (hosts.h). QEMU 7.2, TCG; needs root and iproute2. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/real/hosts.h"

#define SLOWLY "--bandwidth", "60MiB"
#define BOTH   "--destination-address", "10.77.1.2", "--destination-address", "10.77.2.2"

static const char networks[] =
    "{\"networks\": [\n"
    "  {\"name\": \"migration\", \"cidr\": \"10.77.1.0/24\", \"rate\": \"480Mbit\"},\n"
    "  {\"name\": \"management\", \"cidr\": \"10.77.2.0/24\", \"role\": \"management\"}\n"
    "], \"fallback\": true}\n";

static struct fixture {
    struct world w;
    char file[LAB_PATH_MAX];
} f;

static const char *write_networks(const char *text)
{
    FILE *file = fopen(lab_path(f.w.lab, "networks.json", f.file), "w");

    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
    return f.file;
}

static void setup(void)
{
    world_open(&f.w);
    hosts_open(&f.w);
    write_networks(networks);
}

static void teardown(void)
{
    world_close(&f.w);
    hosts_close();
}

/* ---- helpers ---- */

static void pair(const char *append)
{
    hosts_pair(&f.w, append);
}

static const json_t *network_of(const struct move *m)
{
    size_t i;
    json_t *line;

    json_array_foreach (m->lines, i, line)
        if (strcmp(json_string_value(json_object_get(line, "type")), "network") == 0)
            return line;
    move_dump(m);
    ck_abort_msg("no network record");
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));

    return text ? text : "";
}

/* What the journal says of the time that the choice took. */
static long waited_ms(const struct move *m)
{
    char line[65536];
    long ms = -1;
    FILE *file = fopen(m->journal, "r");

    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof(line), file)) {
        const char *at = strstr(line, "\"waited_ms\":");

        if (strstr(line, "\"kind\":\"network\"") && at)
            ms = strtol(at + 12, NULL, 10);
    }
    (void)fclose(file);
    ck_assert_int_ge(ms, 0);
    return ms;
}

static void expect_moved_by(struct move *m, const char *name, const char *address)
{
    move_expect(m, 0, "completed", "destination");
    ck_assert_str_eq(move_result(m, "network"), name);
    ck_assert_str_eq(text_of(network_of(m), "chosen"), name);
    ck_assert_str_eq(text_of(network_of(m), "address"), address);
    expect_guest_on(&f.w, f.w.dst);
}

/* ---- the rules ---- */

START_TEST(the_network_for_migrations_is_taken)
{
    pair("ws=16 rate=1000");
    struct move *m = move_run(&f.w, ARGS("-n", f.file, BOTH));
    expect_moved_by(m, "migration", "10.77.1.2");
    ck_assert_int_gt(hosts_received("mig0"), 16 * 1000 * 1000);
    ck_assert_int_lt(hosts_received("mgt0"), 1000 * 1000);
    /* --bandwidth auto: what is configured, bits to bytes. */
    ck_assert_int_eq(json_integer_value(json_object_get(network_of(m), "bandwidth")),
                     60000000);
    ck_assert_str_eq(text_of(network_of(m), "bandwidth_reason"),
                     "the rate configured for migration");
}
END_TEST

static const struct trouble {
    const char *what;     /* a command for the shell; $S and $D are the namespaces */
    const char *networks; /* NULL: the usual file */
    const char *address;
    const char *why; /* of the first candidate */
} troubles[] = {
    {"ip -n $S link set mig0 down", NULL, "10.77.1.2", "mig0 is down"},
    {"ip -n $D link set mig0 down", NULL, "10.77.1.2", "mig0 has no carrier"},
    {"ip -n $S route add blackhole 10.77.1.2", NULL, "10.77.1.2",
     "no route to 10.77.1.2: it is routed into nowhere"},
    {"ip -n $S route add unreachable 10.77.1.2", NULL, "10.77.1.2",
     "no route to 10.77.1.2: No route to host"},
    {"ip -n $S route add 10.77.1.2 via 10.77.2.2", NULL, "10.77.1.2",
     "the way to 10.77.1.2 is not through it: it leaves from 10.77.2.1"},
    {"ip -n $S neigh replace 10.77.1.2 lladdr 02:00:00:00:00:77 nud permanent dev mig0",
     NULL, "10.77.1.2", "10.77.1.2 has not answered on port 9 through mig0 within 2"},
    {"ip -n $D addr del 10.77.1.2/24 dev mig0", NULL, "10.77.1.2",
     "10.77.1.2 has not answered on port 9 through mig0 within 2"},
    {NULL,
     "{\"networks\": [{\"name\": \"one\", \"cidr\": \"10.77.4.0/24\"}, {\"name\": "
     "\"management\", \"cidr\": \"10.77.2.0/24\", \"role\": \"management\"}]}",
     "10.77.1.2", "the destination has no address in it"},
    {NULL,
     "{\"networks\": [{\"name\": \"six\", \"cidr\": \"fd00:77::/64\"}, {\"name\": "
     "\"management\", \"cidr\": \"10.77.2.0/24\", \"role\": \"management\"}]}",
     "10.77.1.2", "the destination has no IPv6 address"},
};

static void make_trouble(const struct trouble *t)
{
    if (t->networks)
        write_networks(t->networks);
    if (t->what)
        hosts_sh("%s", t->what);
}

/* Two of the troubles are moved to the end, the others end where memory would move. */
START_TEST(management_is_taken_when_it_is_not_usable)
{
    const struct trouble *t = &troubles[_i];
    const bool moves = _i == 0 || _i == 5;

    pair("ws=16 rate=1000");
    make_trouble(t);
    struct move *m =
        moves ? move_run(&f.w, ARGS("-n", f.file, "--destination-address", t->address,
                                    "--destination-address", "10.77.2.2"))
              : move_begin_at(&f.w, "preflight", lab_vm_qmp_path(f.w.src),
                              lab_vm_qmp_path(f.w.dst),
                              ARGS("-n", f.file, "--destination-address", t->address,
                                   "--destination-address", "10.77.2.2"));
    if (!moves)
        move_end(m);
    const json_t *first = json_array_get(json_object_get(network_of(m), "candidates"), 0);
    ck_assert_msg(strstr(text_of(first, "why"), t->why), "%s: %s", t->why,
                  text_of(first, "why"));
    ck_assert_int_lt(waited_ms(m), 300);
    if (moves) {
        expect_moved_by(m, "management", "10.77.2.2");
        return;
    }
    move_expect(m, 0, "completed", "source");
    ck_assert_str_eq(text_of(network_of(m), "chosen"), "management");
    expect_not_begun(&f.w);
}
END_TEST

START_TEST(without_a_network_nothing_is_touched)
{
    pair("ws=16 rate=1000");
    hosts_sh("ip -n $S link set mig0 down");
    hosts_sh("ip -n $D link set mgt0 down");
    struct move *m = move_run(&f.w, ARGS("-n", f.file, BOTH));
    move_expect(m, 3, "refused", "source");
    ck_assert_str_eq(move_result(m, "reason"),
                     "no usable network: migration: mig0 is down; management: mgt0 has no "
                     "carrier");
    ck_assert_str_eq(text_of(network_of(m), "chosen"), "");
    expect_not_begun(&f.w);

    /* Nor with one that would do but is not to be used. */
    hosts_sh("ip -n $D link set mgt0 up");
    hosts_wait_for_link("mgt0");
    write_networks(
        "{\"fallback\": false, \"networks\": [{\"name\": \"migration\", \"cidr\": "
        "\"10.77.1.0/24\"}, {\"name\": \"management\", \"cidr\": "
        "\"10.77.2.0/24\", \"role\": \"management\"}]}");
    m = move_run(&f.w, ARGS("-n", f.file, BOTH));
    move_expect(m, 3, "refused", "source");
    move_expect_reason(m, "management: falling back to management is not allowed");
    expect_not_begun(&f.w);

    /* And the same two can still be used. */
    hosts_sh("ip -n $S link set mig0 up");
    hosts_wait_for_link("mig0");
    m = move_run(&f.w, ARGS("-n", f.file, BOTH));
    expect_moved_by(m, "migration", "10.77.1.2");
}
END_TEST

START_TEST(a_black_hole_never_holds_it_up)
{
    pair("ws=16 rate=1000");
    /* Behind a good one it costs nothing, before it its patience. */
    struct move *m = move_begin_at(
        &f.w, "preflight", lab_vm_qmp_path(f.w.src), lab_vm_qmp_path(f.w.dst),
        ARGS("--network", "10.77.1.0/24", "--network", "10.77.3.0/24", "--network",
             "10.77.2.0/24", BOTH, "--destination-address", "10.77.3.2"));
    move_end(m);
    move_expect(m, 0, "completed", "source");
    ck_assert_str_eq(text_of(network_of(m), "chosen"), "10.77.1.0/24");
    ck_assert_int_lt(waited_ms(m), 100);

    m = move_run(&f.w,
                 ARGS("--network", "10.77.3.0/24", "--network", "10.77.1.0/24", "--network",
                      "10.77.2.0/24", BOTH, "--destination-address", "10.77.3.2"));
    ck_assert_int_ge(waited_ms(m), 250);
    ck_assert_int_lt(waited_ms(m), 300);
    expect_moved_by(m, "10.77.1.0/24", "10.77.1.2");
}
END_TEST

START_TEST(ipv6_and_several_addresses)
{
    pair("ws=16 rate=1000");
    hosts_sh("ip -n $D addr add 10.77.1.9/24 dev mig0");
    struct move *m =
        move_begin_at(&f.w, "preflight", lab_vm_qmp_path(f.w.src), lab_vm_qmp_path(f.w.dst),
                      ARGS("-n", f.file, "--destination-address", "10.77.1.8",
                           "--destination-address", "10.77.1.9"));
    move_end(m);
    ck_assert_str_eq(text_of(network_of(m), "address"), "10.77.1.9");

    m = move_run(&f.w, ARGS("--network", "fd00:77::/64", BOTH, "--destination-address",
                            "fd00:77::2"));
    expect_moved_by(m, "fd00:77::/64", "fd00:77::2");
}
END_TEST

/* One plain connection to a QEMU that waits for a migration ends it. */
START_TEST(a_qemu_that_waits_is_not_disturbed)
{
    struct lab_proc *p;

    pair("ws=16 rate=1000");
    ck_assert_int_eq(
        lab_qmp_ok(f.w.dst, "migrate-incoming", "{\"uri\": \"tcp:10.77.1.2:9\"}"), 0);
    for (unsigned i = 0; i < 3; i++) {
        const char *argv[32];
        unsigned n = 0;

        for (const char *const *a = hosts.prefix; *a; a++)
            argv[n++] = *a;
        const char *const more[] = {QFERRY,   "networks", "-n", f.file,
                                    "--port", "1-16",     BOTH, "--json"};
        for (unsigned k = 0; k < sizeof(more) / sizeof(more[0]); k++)
            argv[n++] = more[k];
        argv[n] = NULL;
        ck_assert_int_eq(world_run(&f.w, argv, &p), 0);
        ck_assert_ptr_nonnull(strstr(lab_proc_stdout(p), "\"chosen\":\"migration\""));
    }
    ck_assert(lab_vm_alive(f.w.dst));
    ck_assert_int_eq(lab_qmp_ok(f.w.src, "migrate", "{\"uri\": \"tcp:10.77.1.2:9\"}"), 0);
    ck_assert_int_eq(lab_wait_mig_status(f.w.src, "completed", 0), 0);
}
END_TEST

START_TEST(a_move_under_way_needs_no_network)
{
    pair("ws=24 flat");
    struct move *m =
        move_begin(&f.w, ARGS("-n", f.file, BOTH, SLOWLY, "--set", "downtime.max=20ms"));
    move_wait_memory(m);
    ck_assert_int_eq(lab_proc_signal(m->proc, SIGKILL), 0);
    ck_assert_int_eq(lab_proc_wait(m->proc, 0, NULL), 0);
    m = move_run(&f.w, ARGS("--network", "10.99.0.0/16", "--set", "downtime.max=2s"));
    move_expect(m, 0, "completed", "destination");
    ck_assert_str_eq(move_result(m, "network"), "");
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

/* ---- the command ---- */

static int run_networks(const char *const *extra, struct lab_proc **p)
{
    const char *argv[32];
    unsigned n = 0;

    for (const char *const *a = hosts.prefix; *a; a++)
        argv[n++] = *a;
    argv[n++] = QFERRY;
    argv[n++] = "networks";
    for (; *extra; extra++)
        argv[n++] = *extra;
    argv[n] = NULL;
    return world_run(&f.w, argv, p);
}

START_TEST(qferry_networks_tells_every_reason)
{
    struct lab_proc *p;

    ck_assert_int_eq(
        run_networks(ARGS("-n", f.file, "--network", "10.77.3.0/24", "--network",
                          "10.77.4.0/24", BOTH, "--destination-address", "10.77.3.2"),
                     &p),
        0);
    const char *out = lab_proc_stdout(p);
    ck_assert_msg(strstr(out, "migration     10.77.1.2        chosen   480 Mbit/s "), "%s",
                  out);
    ck_assert_msg(strstr(out, "10.77.3.0/24  10.77.3.2        no       unknown "), "%s",
                  out);
    ck_assert_msg(
        strstr(out, "10.77.3.2 has not answered on port 9 through hole0 within 1"), "%s",
        out);
    ck_assert_msg(strstr(out, "the destination has no address in it"), "%s", out);
    ck_assert_msg(strstr(out, "management    10.77.2.2        yes      unknown "), "%s",
                  out);
    ck_assert_msg(strstr(out, "chosen: migration, 10.77.1.2\nbandwidth: 480 Mbit/s (the "
                              "rate configured for migration)\n"),
                  "%s", out);

    hosts_sh("ip -n $S link set mig0 down");
    ck_assert_int_eq(run_networks(ARGS("--network", "10.77.1.0/24", BOTH, "--json"), &p),
                     3);
    ck_assert_ptr_nonnull(strstr(lab_proc_stdout(p), "\"chosen\":null"));
    ck_assert_ptr_nonnull(strstr(lab_proc_stdout(p), "\"why\":\"mig0 is down\""));
    ck_assert_str_eq(lab_proc_stderr(p),
                     "qferry: no usable network: 10.77.1.0/24: mig0 is down\n");
}
END_TEST

/* ---- main ---- */

static Suite *networks_suite(void)
{
    Suite *s = suite_create("networks");
    TCase *t = tcase_create("rules");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, the_network_for_migrations_is_taken);
    tcase_add_loop_test(t, management_is_taken_when_it_is_not_usable, 0,
                        sizeof(troubles) / sizeof(troubles[0]));
    tcase_add_test(t, without_a_network_nothing_is_touched);
    tcase_add_test(t, a_black_hole_never_holds_it_up);
    tcase_add_test(t, ipv6_and_several_addresses);
    tcase_add_test(t, a_qemu_that_waits_is_not_disturbed);
    tcase_add_test(t, a_move_under_way_needs_no_network);
    suite_add_tcase(s, t);

    t = tcase_create("command");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, qferry_networks_tells_every_reason);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return hosts_main(networks_suite);
}

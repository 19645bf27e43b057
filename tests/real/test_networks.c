/* The choice of a network between two real QEMUs that are on different hosts: two network
 * namespaces, joined by veth pairs. QEMU 7.2, TCG; needs root and iproute2.
 *
 *        source (ns)                     destination (ns)
 *          mig0  10.77.1.1, fd00:77::1 --- 10.77.1.2, fd00:77::2   the network for migrations
 *          mgt0  10.77.2.1 --------------- 10.77.2.2               for management
 *          hole0 10.77.3.1 --------------- 10.77.3.2               packets go in, nothing comes out
 *          one0  10.77.4.1 ---------------                         an address on one side only
 *
 * Namespaces are named by our process and removed by a child that outlives us, however we end. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/real/move.h"

#define SLOWLY "--bandwidth", "60MiB"
#define BOTH   "--destination-address", "10.77.1.2", "--destination-address", "10.77.2.2"

static const char networks[] =
    "{\"networks\": [\n"
    "  {\"name\": \"migration\", \"cidr\": \"10.77.1.0/24\", \"rate\": \"480Mbit\"},\n"
    "  {\"name\": \"management\", \"cidr\": \"10.77.2.0/24\", \"role\": \"management\"}\n"
    "], \"fallback\": true}\n";

static struct fixture {
    struct world w;
    char src_ns[32];
    char dst_ns[32];
    const char *prefix[5]; /* of what runs on the source's host */
    char src_qemu[LAB_PATH_MAX];
    char dst_qemu[LAB_PATH_MAX];
    char file[LAB_PATH_MAX];
} f;

/* ---- the hosts ---- */

static void sh(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void sh(const char *format, ...)
{
    char command[512];
    va_list ap;

    va_start(ap, format);
    vsnprintf(command, sizeof(command), format, ap);
    va_end(ap);
    ck_assert_msg(system(command) == 0, "failed: %s", command);
}

static void remove_namespaces(void)
{
    char command[160];

    snprintf(command, sizeof(command),
             "for n in %s %s; do [ ! -e /run/netns/$n ] || ip netns del $n; done", f.src_ns,
             f.dst_ns);
    (void)!system(command);
}

/* The kernel takes its time to say that a link is up again. */
static void wait_for_link(const char *name)
{
    sh("n=0; until ip -n %s link show %s | grep -q 'state UP'; do sleep 0.05; n=$((n+1)); "
       "[ $n -lt 200 ] || exit 1; done",
       f.src_ns, name);
}

static void join(const char *name, unsigned net)
{
    sh("ip link add %s netns %s type veth peer name %s netns %s", name, f.src_ns, name,
       f.dst_ns);
    sh("ip -n %s addr add 10.77.%u.1/24 dev %s", f.src_ns, net, name);
    sh("ip -n %s addr add 10.77.%u.2/24 dev %s", f.dst_ns, net, name);
    sh("ip -n %s link set %s up", f.src_ns, name);
    sh("ip -n %s link set %s up", f.dst_ns, name);
    wait_for_link(name);
}

static void make_namespaces(void)
{
    remove_namespaces();
    sh("ip netns add %s", f.src_ns);
    sh("ip netns add %s", f.dst_ns);
    sh("ip -n %s link set lo up", f.src_ns);
    sh("ip -n %s link set lo up", f.dst_ns);
    join("mig0", 1);
    join("mgt0", 2);
    join("hole0", 3);
    join("one0", 4);
    sh("ip -n %s addr add fd00:77::1/64 dev mig0 nodad", f.src_ns);
    sh("ip -n %s addr add fd00:77::2/64 dev mig0 nodad", f.dst_ns);
    sh("ip -n %s addr del 10.77.4.2/24 dev one0", f.dst_ns);
    /* To an Ethernet address that nobody has: it is sent, and that was it. */
    sh("ip -n %s neigh replace 10.77.3.2 lladdr 02:00:00:00:00:77 nud permanent dev hole0",
       f.src_ns);
}

/* "exec ip netns exec NS qemu ...": the process is QEMU's. */
static void write_starter(const char *name,
                          const char *ns,
                          const char *qemu,
                          char path[LAB_PATH_MAX])
{
    FILE *file = fopen(lab_path(f.w.lab, name, path), "w");

    ck_assert_ptr_nonnull(file);
    fprintf(file, "#!/bin/sh\nexec ip netns exec %s %s \"$@\"\n", ns, qemu);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(chmod(path, 0700), 0);
}

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
    make_namespaces();
    write_starter("src-qemu", f.src_ns, lab_qemu(false), f.src_qemu);
    write_starter("dst-qemu", f.dst_ns, lab_qemu(true), f.dst_qemu);
    f.prefix[0] = "ip";
    f.prefix[1] = "netns";
    f.prefix[2] = "exec";
    f.prefix[3] = f.src_ns;
    f.w.prefix = f.prefix;
    write_networks(networks);
}

static void teardown(void)
{
    world_close(&f.w);
    remove_namespaces();
}

/* ---- helpers ---- */

static void new_destination(void)
{
    f.w.dst = world_vm(
        &f.w, &(struct lab_vm_opts){.qemu = f.dst_qemu, .incoming = true, .paused = true});
    json_decref(f.w.dst_settings);
    f.w.dst_settings = settings_of(f.w.dst);
}

static void pair(const char *append)
{
    f.w.src = world_vm(&f.w, &(struct lab_vm_opts){.qemu = f.src_qemu, .append = append});
    ck_assert_int_eq(lab_guest_ready(f.w.src), 0);
    json_decref(f.w.src_settings);
    f.w.src_settings = settings_of(f.w.src);
    new_destination();
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

static long long received(const char *interface)
{
    char command[160];
    long long bytes = -1;

    snprintf(command, sizeof(command),
             "ip netns exec %s cat /sys/class/net/%s/statistics/rx_bytes", f.dst_ns,
             interface);
    FILE *p = popen(command, "r");
    ck_assert_ptr_nonnull(p);
    ck_assert_int_eq(fscanf(p, "%lld", &bytes), 1);
    (void)pclose(p);
    return bytes;
}

static void expect_moved_by(struct move *m, const char *name, const char *address)
{
    move_expect(m, 0, "completed", "destination");
    ck_assert_str_eq(move_result(m, "network"), name);
    ck_assert_str_eq(text_of(network_of(m), "chosen"), name);
    ck_assert_str_eq(text_of(network_of(m), "address"), address);
    expect_guest_on(&f.w, f.w.dst);
}

static void expect_untouched(void)
{
    json_t *migrate = lab_qmp(f.w.dst, "query-migrate", NULL);

    ck_assert_ptr_null(json_object_get(migrate, "socket-address"));
    json_decref(migrate);
    expect_settings(f.w.src, f.w.src_settings);
    expect_settings(f.w.dst, f.w.dst_settings);
    expect_guest_on(&f.w, f.w.src);
}

/* ---- the rules ---- */

START_TEST(the_network_for_migrations_is_taken)
{
    pair("ws=16 rate=1000");
    struct move *m = move_run(&f.w, ARGS("-n", f.file, BOTH));
    expect_moved_by(m, "migration", "10.77.1.2");
    ck_assert_int_gt(received("mig0"), 16 * 1000 * 1000);
    ck_assert_int_lt(received("mgt0"), 1000 * 1000);
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
        sh("S=%s D=%s; %s", f.src_ns, f.dst_ns, t->what);
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
    expect_untouched();
}
END_TEST

START_TEST(without_a_network_nothing_is_touched)
{
    pair("ws=16 rate=1000");
    sh("ip -n %s link set mig0 down", f.src_ns);
    sh("ip -n %s link set mgt0 down", f.dst_ns);
    struct move *m = move_run(&f.w, ARGS("-n", f.file, BOTH));
    move_expect(m, 3, "refused", "source");
    ck_assert_str_eq(move_result(m, "reason"),
                     "no usable network: migration: mig0 is down; management: mgt0 has no "
                     "carrier");
    ck_assert_str_eq(text_of(network_of(m), "chosen"), "");
    expect_untouched();

    /* Nor with one that would do but is not to be used. */
    sh("ip -n %s link set mgt0 up", f.dst_ns);
    wait_for_link("mgt0");
    write_networks(
        "{\"fallback\": false, \"networks\": [{\"name\": \"migration\", \"cidr\": "
        "\"10.77.1.0/24\"}, {\"name\": \"management\", \"cidr\": "
        "\"10.77.2.0/24\", \"role\": \"management\"}]}");
    m = move_run(&f.w, ARGS("-n", f.file, BOTH));
    move_expect(m, 3, "refused", "source");
    move_expect_reason(m, "management: falling back to management is not allowed");
    expect_untouched();

    /* And the same two can still be used. */
    sh("ip -n %s link set mig0 up", f.src_ns);
    wait_for_link("mig0");
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
    sh("ip -n %s addr add 10.77.1.9/24 dev mig0", f.dst_ns);
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

        for (const char *const *a = f.prefix; *a; a++)
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

    for (const char *const *a = f.prefix; *a; a++)
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

    sh("ip -n %s link set mig0 down", f.src_ns);
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

/* Why there can be no namespaces, or NULL. */
static const char *no_namespaces(void)
{
    char command[512];

    if (geteuid() != 0)
        return "network namespaces need root";
    if (system("command -v ip >/dev/null 2>&1") != 0)
        return "no ip program: install iproute2";
    snprintf(
        command, sizeof(command),
        "ip netns add %s 2>/dev/null && ip link add qf-try netns %s type veth peer name "
        "qf-try2 netns %s 2>/dev/null && ip netns del %s",
        f.src_ns, f.src_ns, f.src_ns, f.src_ns);
    return system(command) == 0 ? NULL : "this system makes no network namespace with veth";
}

/* Waits for our end in a session of its own, then clears up what is left. */
static pid_t start_cleaner(int *end)
{
    int fds[2];
    char byte;

    if (pipe2(fds, O_CLOEXEC) != 0)
        return -1;
    const pid_t pid = fork();
    if (pid != 0) {
        (void)close(fds[0]);
        *end = fds[1];
        return pid;
    }
    (void)setsid();
    (void)close(fds[1]);
    while (read(fds[0], &byte, 1) < 0 && errno == EINTR)
        ;
    remove_namespaces();
    _exit(0);
}

int main(void)
{
    int end;

    snprintf(f.src_ns, sizeof(f.src_ns), "qf%d-src", (int)getpid());
    snprintf(f.dst_ns, sizeof(f.dst_ns), "qf%d-dst", (int)getpid());
    const pid_t cleaner = start_cleaner(&end);
    if (cleaner < 0)
        return 1;
    const char *missing = no_namespaces();
    int rc = REAL_SKIPPED;
    if (missing)
        printf("skipped: %s\n", missing);
    else
        rc = real_main(networks_suite());
    (void)close(end);
    (void)waitpid(cleaner, NULL, 0);
    return rc;
}

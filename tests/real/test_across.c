/* A network that is lost on the way, and the next one, between real QEMUs on two hosts (hosts.h).
 * QEMU 7.2, TCG; needs root, iproute2 and iptables. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/real/hosts.h"

#define SLOWLY "--bandwidth", "8MiB"
#define BOTH   "--destination-address", "10.77.1.2", "--destination-address", "10.77.2.2"
#define BY     "--network", "10.77.1.0/24", "--network", "10.77.2.0/24"

static struct fixture {
    struct world w;
    struct lab_vm *spare;           /* what the command puts in the old one's place */
    char monitor[LAB_PATH_MAX];     /* a link to the one or the other's */
    char command[3 * LAB_PATH_MAX]; /* --restart-destination */
    char said[LAB_PATH_MAX];        /* what the command was told */
} f;

static void setup(void)
{
    world_open(&f.w);
    hosts_open(&f.w);
    (void)lab_path(f.w.lab, "dst.qmp", f.monitor);
    (void)lab_path(f.w.lab, "said", f.said);
}

static void teardown(void)
{
    world_close(&f.w);
    hosts_close();
}

static void pair(const char *append)
{
    hosts_pair(&f.w, append);
    f.spare = hosts_destination(&f.w);
    ck_assert_int_eq(symlink(lab_vm_qmp_path(f.w.dst), f.monitor), 0);
    snprintf(f.command, sizeof(f.command),
             "echo $QFERRY_ATTEMPT $QFERRY_NETWORK $QFERRY_ADDRESS >%s; ln -sfn %s %s",
             f.said, lab_vm_qmp_path(f.spare), f.monitor);
}

static struct move *begin(const char *const *extra)
{
    return move_begin_at(&f.w, "migrate", lab_vm_qmp_path(f.w.src), f.monitor, extra);
}

static const char *told(void)
{
    static char line[128];
    FILE *file = fopen(f.said, "r");

    line[0] = '\0';
    if (file) {
        (void)!fgets(line, sizeof(line), file);
        (void)fclose(file);
    }
    return line;
}

static void expect_moved_to_spare(struct move *m)
{
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    ck_assert_str_eq(move_result(m, "network"), "10.77.2.0/24");
    ck_assert_str_eq(told(), "2 10.77.2.0/24 10.77.2.2\n");
    ck_assert(
        move_has(m, "warning", "message", "attempt 1, over 10.77.1.0/24, was lost ("));
    ck_assert_int_eq(lab_vm_wait_exit(f.w.dst, 0, NULL), 0);
    expect_guest_on(&f.w, f.spare);
    expect_settings(f.w.src, f.w.src_settings);
}

static void expect_stayed(void)
{
    expect_guest_on(&f.w, f.w.src);
    expect_settings(f.w.src, f.w.src_settings);
    ck_assert_str_eq(told(), "");
}

/* ---- it is lost while memory moves ---- */

/* How it is lost, and what is said of it. */
static const struct {
    const char *how;
    const char *why;
} losses[] = {
    {"ip -n $S link set mig0 down", "mig0 is down"},
    {"ip -n $D link set mig0 down", "mig0 has no carrier"},
    {"ip -n $S neigh replace 10.77.1.2 lladdr 02:00:00:00:00:77 nud permanent dev mig0",
     "10.77.1.2 has not answered on port 9 through mig0 within 1"},
    {"ip -n $S route add blackhole 10.77.1.2", "no route to 10.77.1.2: it is routed into "
                                               "nowhere"},
    /* ... and the connection is broken at once. */
    {"ip -n $S link set mig0 down && ip netns exec $S ss -K dst 10.77.1.2 >/dev/null", ""},
};

START_TEST(a_lost_network_is_followed_by_the_next)
{
    pair("ws=24 rate=500");
    struct move *m = begin(ARGS(BY, BOTH, SLOWLY, "--restart-destination", f.command));
    move_wait_memory(m);
    hosts_sh("%s", losses[_i].how);
    move_wait_phase(m, "cancel");
    expect_moved_to_spare(m);
    ck_assert(move_has(m, "warning", "message", losses[_i].why));
}
END_TEST

/* The guest is stopped, its last pages are on their way into nowhere. */
START_TEST(a_network_that_is_lost_in_the_switch)
{
    pair("ws=32 flat");
    /* No limit of QEMU's holds in the switch: the link itself is the slow one. */
    hosts_sh("tc -n $S qdisc add dev mig0 root tbf rate 64mbit burst 256kb latency 50ms");
    struct move *m = begin(ARGS(BY, BOTH, "--set", "downtime.max=8s", "--set",
                                "downtime.start=8s", "--restart-destination", f.command));
    move_wait_phase(m, "switchover");
    hosts_make_black_hole("mig0", 1);
    expect_moved_to_spare(m);
}
END_TEST

START_TEST(without_a_command_it_says_what_to_do)
{
    pair("ws=24 rate=500");
    struct move *m = begin(ARGS(BY, BOTH, SLOWLY));
    move_wait_memory(m);
    hosts_sh("%s", losses[4].how);
    move_end(m);
    move_expect(m, 4, "failed", "source");
    move_expect_reason(m,
                       "10.77.1.0/24 is lost (mig0 is down), 10.77.2.0/24 is usable, but "
                       "this destination's QEMU takes no second migration: start it anew "
                       "and migrate again, or let --restart-destination do that");
    expect_stayed();

    /* As was said: a fresh one, and again. */
    m = move_begin_at(&f.w, "migrate", lab_vm_qmp_path(f.w.src), lab_vm_qmp_path(f.spare),
                      ARGS(BY, BOTH));
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    ck_assert_str_eq(move_result(m, "network"), "10.77.2.0/24");
    expect_guest_on(&f.w, f.spare);
}
END_TEST

START_TEST(what_was_not_the_network_is_not_started_again)
{
    pair("ws=24 rate=500");
    struct move *m = begin(ARGS(BY, BOTH, SLOWLY, "--restart-destination", f.command));
    move_wait_memory(m);
    if (_i == 0)
        ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGKILL), 0);
    else
        hosts_sh("ip netns exec $S ss -K dst 10.77.1.2 >/dev/null");
    move_end(m);
    move_expect(m, 4, "failed", "source");
    move_expect_reason(m,
                       "not started again: 10.77.1.0/24 still answers, so it was not the "
                       "network");
    expect_stayed();
}
END_TEST

START_TEST(no_retries_are_no_retries)
{
    pair("ws=24 rate=500");
    struct move *m =
        begin(ARGS(BY, BOTH, SLOWLY, "--retries", "0", "--restart-destination", f.command));
    move_wait_memory(m);
    hosts_sh("%s", losses[4].how);
    move_end(m);
    move_expect(m, 4, "failed", "source");
    expect_stayed();
}
END_TEST

/* ---- nobody gets to the migration's port ---- */

/* A firewall that lets the probe through, and connect() gives up early or late. */
static const struct {
    const char *rule;
    int syn_retries;
} walls[] = {
    {"DROP", 1},
    {"DROP", 4},
    {"REJECT --reject-with tcp-reset", 6},
    {"REJECT --reject-with icmp-port-unreachable", 6},
};

START_TEST(a_firewall_before_the_port)
{
    pair("ws=24 rate=500");
    hosts_sh("ip netns exec $S sysctl -qw net.ipv4.tcp_syn_retries=%d",
             walls[_i].syn_retries);
    hosts_sh("ip netns exec $D iptables -A INPUT -i mig0 -p tcp --dport 1024: -j %s",
             walls[_i].rule);
    struct move *m = begin(ARGS(BY, BOTH, "--restart-destination", f.command));
    expect_moved_to_spare(m);
}
END_TEST

/* Nothing came to the destination: it goes on listening, and takes the next attempt. */
START_TEST(a_destination_that_nothing_came_to_is_of_use_still)
{
    pair("ws=24 rate=500");
    hosts_sh("ip netns exec $D iptables -A INPUT -i mig0 -p tcp --dport 1024: -j REJECT "
             "--reject-with tcp-reset");
    const char *const *args = ARGS("--destination-address", "10.77.1.2");
    struct move *m = begin(args);
    move_end(m);
    move_expect(m, 4, "failed", "source");
    expect_stayed();
    hosts_sh("ip netns exec $D iptables -F INPUT");
    m = begin(args);
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

/* ---- a connection that qferry opens ---- */

/* Addresses of the destination's host that its connections for migrations come from. */
static unsigned peers(const char *from)
{
    char command[256];
    unsigned n = 0;

    snprintf(command, sizeof(command),
             "ip netns exec %s ss -Htn state established src 10.77.1.2 dst %s | wc -l",
             hosts.dst_ns, from);
    FILE *p = popen(command, "r");
    ck_assert_ptr_nonnull(p);
    ck_assert_int_eq(fscanf(p, "%u", &n), 1);
    (void)pclose(p);
    return n;
}

/* Two addresses in the network: the kernel would take the first. An interface; and one that the routes
 * would not take. */
START_TEST(packets_come_from_where_they_were_told)
{
    pair("ws=24 rate=500");
    hosts_sh("ip -n $S addr add 10.77.1.5/24 dev mig0");
    if (_i == 2)
        hosts_sh("ip -n $S route add 10.77.1.2 via 10.77.2.2");
    struct move *m = begin(ARGS("--bind", _i == 0 ? "10.77.1.5" : "mig0",
                                "--destination-address", "10.77.1.2", SLOWLY));
    move_wait_memory(m);
    ck_assert_uint_eq(peers(_i == 0 ? "10.77.1.5" : "10.77.1.1"), 1);
    ck_assert_uint_eq(peers(_i == 0 ? "10.77.1.1" : "10.77.1.5"), 0);
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    expect_guest_on(&f.w, f.w.dst);
    expect_settings(f.w.src, f.w.src_settings);
}
END_TEST

/* Also in post-copy, with the return path through the same connection. */
START_TEST(postcopy_goes_through_it)
{
    pair("ws=24 flat");
    struct move *m = begin(ARGS("--bind", "mig0", "--destination-address", "10.77.1.2",
                                SLOWLY, "-p", "post-copy"));
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    ck_assert_str_eq(move_result(m, "mode"), "postcopy");
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

/* A silent network: QEMU's own connection would stand still for a quarter of an hour. */
START_TEST(the_user_timeout_ends_a_silent_network)
{
    pair("ws=24 rate=500");
    struct move *m =
        begin(ARGS("--bind", "mig0", "--destination-address", "10.77.1.2", SLOWLY));
    move_wait_memory(m);
    hosts_make_black_hole("mig0", 1);
    const int64_t t0 = lab_now_ns();
    move_end(m);
    ck_assert_int_lt(lab_now_ns() - t0, INT64_C(25) * 1000000000);
    move_expect(m, 4, "failed", "source");
    expect_stayed();
}
END_TEST

START_TEST(a_lost_one_is_opened_anew)
{
    pair("ws=24 rate=500");
    /* An address that goes with the network cannot be bound to in the next one. */
    struct move *m =
        begin(ARGS(BY, BOTH, SLOWLY, "--bind", "mig0", "--restart-destination", f.command));
    move_wait_memory(m);
    hosts_make_black_hole("mig0", 1);
    move_end(m);
    move_expect(m, 4, "failed", "source");
    move_expect_reason(m, "attempt 2: --bind mig0 does not fit the network that is chosen, "
                          "10.77.2.0/24");
    expect_guest_on(&f.w, f.w.src);
    expect_settings(f.w.src, f.w.src_settings);
}
END_TEST

/* A firewall before the port: known in ten seconds, where QEMU's connect() takes minutes. */
START_TEST(a_connection_that_is_not_made)
{
    pair("ws=24 rate=500");
    hosts_sh("ip netns exec $D iptables -A INPUT -i mig0 -p tcp --dport 1024: -j %s",
             walls[_i * 2].rule);
    struct move *m =
        begin(ARGS("--bind", "mig0", "--destination-address", "10.77.1.2", SLOWLY));
    move_end(m);
    move_expect(m, 4, "failed", "source");
    move_expect_reason(m, _i == 0 ? "no answer within 10 s" : "connection refused");
    expect_stayed();
    ck_assert(lab_vm_alive(f.w.dst));
}
END_TEST

static const struct {
    const char *bind;
    const char *destination;
    int exit;
    const char *reason;
} misfits[] = {
    {"nosuch0", "10.77.1.2", 2,
     "qferry: --bind: 'nosuch0' is neither an address nor an interface of this host\n"},
    {"10.77.9.9", "10.77.1.2", 2, "qferry: --bind: 10.77.9.9 is no address of this host\n"},
    {"10.77.1.1", "fd00:77::2", 3,
     "qferry: refused: --bind 10.77.1.1 is an IPv4 address, the destination listens on "
     "fd00:77::2\n"},
};

START_TEST(what_does_not_fit_is_one_line)
{
    struct lab_proc *p;
    const char *const argv[] = {"ip",
                                "netns",
                                "exec",
                                hosts.src_ns,
                                QFERRY,
                                "migrate",
                                "--json",
                                "--journal",
                                "none",
                                "--bind",
                                misfits[_i].bind,
                                "--destination-address",
                                misfits[_i].destination,
                                NULL,
                                NULL,
                                NULL};
    const char *full[20];

    pair("ws=16 rate=500");
    memcpy((void *)full, (const void *)argv, sizeof(argv));
    full[13] = lab_vm_qmp_path(f.w.src);
    full[14] = lab_vm_qmp_path(f.w.dst);
    full[15] = NULL;
    ck_assert_int_eq(world_run(&f.w, full, &p), misfits[_i].exit);
    ck_assert_str_eq(lab_proc_stderr(p), misfits[_i].reason);
    expect_settings(f.w.dst, f.w.dst_settings);
    expect_stayed();
}
END_TEST

/* ---- the command ---- */

static const struct {
    const char *command;
    const char *reason;
} commands[] = {
    {"echo no such host >&2; exit 9",
     "--restart-destination: ended with status 9: no such host"},
    {"kill -9 $$", "--restart-destination: was ended by signal 9"},
    {"/no/such/file", "--restart-destination: ended with status 127: "},
    {"true", "attempt 2: destination: "}, /* nothing is there */
};

START_TEST(a_command_that_goes_wrong)
{
    pair("ws=24 rate=500");
    struct move *m =
        begin(ARGS(BY, BOTH, SLOWLY, "--restart-destination", commands[_i].command));
    move_wait_memory(m);
    hosts_sh("%s", losses[4].how);
    move_end(m);
    move_expect(m, 4, "failed", "source");
    move_expect_reason(m, commands[_i].reason);
    expect_stayed();
}
END_TEST

/* One that hangs is ended with qferry, and so is what it has started. */
START_TEST(a_cancel_while_the_command_runs)
{
    char line[64];
    char command[2 * LAB_PATH_MAX];
    FILE *file = NULL;
    int pid = 0;

    pair("ws=24 rate=500");
    f.w.reaps = true; /* the command's own child outlives it for a moment */
    snprintf(command, sizeof(command), "echo $$ >%s; sleep 300", f.said);
    struct move *m = begin(ARGS(BY, BOTH, SLOWLY, "--restart-destination", command));
    move_wait_memory(m);
    hosts_sh("%s", losses[4].how);
    for (unsigned i = 0; i < 1000 && pid == 0; i++) {
        lab_pump(f.w.lab, 20);
        file = fopen(f.said, "r");
        if (file && fgets(line, sizeof(line), file))
            pid = atoi(line);
        if (file)
            (void)fclose(file);
    }
    ck_assert_int_gt(pid, 1);
    ck_assert_int_eq(lab_proc_signal(m->proc, SIGTERM), 0);
    move_end(m);
    move_expect(m, 5, "cancelled", "source");
    ck_assert_int_eq(kill(-pid, 0), -1);
    ck_assert_int_eq(errno, ESRCH);
    ck_assert_int_eq(unlink(f.said), 0);
    expect_stayed();
}
END_TEST

/* ---- what is not there on one of the two hosts ---- */

static const struct {
    const char *address;
    const char *port; /* NULL: any */
    const char *line; /* all that is said */
    const char *then; /* with these ports it goes */
} absent[] = {
    /* a family: here, and there */
    {"fd00:99::2", NULL,
     "qferry: refused: no route from this host to fd00:99::2: Network is unreachable\n",
     NULL},
    {"fd00:77::9", NULL,
     "qferry: refused: destination: migrate-incoming on fd00:77::9: ", NULL},
    /* a free port */
    {"10.77.1.2", "5000-5001",
     "qferry: refused: destination: migrate-incoming on 10.77.1.2, ports 5000 to 5001: ",
     "5000-5002"},
    {"10.77.1.2", "5001",
     "qferry: refused: destination: migrate-incoming on 10.77.1.2, port 5001: ", "5002"},
};

/* Bound and listening in this process, which goes into the destination's namespace for it. */
static int occupy(unsigned port)
{
    char path[64];
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    const int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

    snprintf(path, sizeof(path), "/run/netns/%s", hosts.dst_ns);
    const int there = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(setns(there, CLONE_NEWNET), 0);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(setns(home, CLONE_NEWNET), 0);
    ck_assert_int_eq(inet_pton(AF_INET, "10.77.1.2", &sa.sin_addr), 1);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    (void)close(home);
    (void)close(there);
    return fd;
}

START_TEST(what_is_not_there_is_one_line)
{
    const char *port = absent[_i].port;

    pair("ws=16 rate=500");
    const int first = occupy(5000);
    const int second = occupy(5001);
    struct move *m = move_begin(
        &f.w, port ? ARGS("--destination-address", absent[_i].address, "--port", port)
                   : ARGS("--destination-address", absent[_i].address));
    move_end(m);
    move_expect(m, 3, "refused", "source");
    const char *said = lab_proc_stderr(m->proc);
    ck_assert_msg(strncmp(said, absent[_i].line, strlen(absent[_i].line)) == 0, "%s", said);
    ck_assert_ptr_eq(strchr(said, '\n'), said + strlen(said) - 1);
    expect_settings(f.w.dst, f.w.dst_settings);
    expect_stayed();

    /* Nothing is left behind: the same two, with what there is. */
    m = move_begin(&f.w, ARGS("--destination-address", "10.77.1.2", "--port",
                              absent[_i].then ? absent[_i].then : "5000-5010"));
    move_end(m);
    (void)close(first);
    (void)close(second);
    move_expect(m, 0, "completed", "destination");
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

/* ---- there is no other network: it is told what it is, and waited for ---- */

static void mend_black_hole(void)
{
    hosts_sh("ip -n $S neigh del 10.77.1.2 dev mig0");
}

static void expect_moved_after_all(struct move *m)
{
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    expect_guest_on(&f.w, f.w.dst);
    expect_settings(f.w.src, f.w.src_settings);
}

START_TEST(a_dead_path_is_told)
{
    hosts_pair(&f.w, "ws=32 rate=500");
    struct move *m =
        move_begin(&f.w, _i == 0 ? ARGS("--destination-address", "10.77.1.2", SLOWLY)
                                 : ARGS("--destination-address", "10.77.1.2", "--network",
                                        "10.77.1.0/24", SLOWLY));
    move_wait_memory(m);
    hosts_make_black_hole("mig0", 1);
    move_wait_line(m, "the path is dead, both QEMUs answer: 10.77.1.2 ");
    mend_black_hole();
    expect_moved_after_all(m);
    ck_assert(!move_has(m, "warning", "message", "main loop"));
}
END_TEST

START_TEST(a_dead_peer_is_told)
{
    hosts_pair(&f.w, "ws=32 rate=500");
    struct move *m = move_begin(&f.w, ARGS("--destination-address", "10.77.1.2", SLOWLY));
    move_wait_memory(m);
    hosts_make_black_hole("mig0", 1);
    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGSTOP), 0);
    move_wait_line(m, "the peer is dead or cut off: the destination's monitor does not");
    mend_black_hole(); /* it was not, after all */
    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGCONT), 0);
    expect_moved_after_all(m);
}
END_TEST

START_TEST(a_saturated_link_is_told)
{
    hosts_pair(&f.w, "ws=80 rate=500");
    struct move *m =
        move_begin(&f.w, ARGS("--destination-address", "10.77.1.2", "--bandwidth", "5MiB"));
    move_wait_memory(m);
    lab_pump(f.w.lab, 6000); /* of the usual rate */
    hosts_sh("tc -n $S qdisc add dev mig0 root tbf rate 400kbit burst 4kb latency 400ms");
    move_wait_line(m, "the link is saturated: ");
    hosts_sh("tc -n $S qdisc del dev mig0 root");
    expect_moved_after_all(m);
    ck_assert(move_has(m, "warning", "message", "is known to be possible; both QEMUs"));
    ck_assert(!move_has(m, "warning", "message", "main loop"));
}
END_TEST

static Suite *across_suite(void)
{
    Suite *s = suite_create("across");
    TCase *t = tcase_create("lost");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_loop_test(t, a_lost_network_is_followed_by_the_next, 0,
                        sizeof(losses) / sizeof(losses[0]));
    tcase_add_test(t, a_network_that_is_lost_in_the_switch);
    tcase_add_test(t, without_a_command_it_says_what_to_do);
    tcase_add_loop_test(t, what_was_not_the_network_is_not_started_again, 0, 2);
    tcase_add_test(t, no_retries_are_no_retries);
    suite_add_tcase(s, t);

    t = tcase_create("port");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, a_destination_that_nothing_came_to_is_of_use_still);
    tcase_add_loop_test(t, a_firewall_before_the_port, 0, sizeof(walls) / sizeof(walls[0]));
    suite_add_tcase(s, t);

    t = tcase_create("stalls");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_loop_test(t, a_dead_path_is_told, 0, 2);
    tcase_add_test(t, a_dead_peer_is_told);
    tcase_add_test(t, a_saturated_link_is_told);
    suite_add_tcase(s, t);

    t = tcase_create("bind");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_loop_test(t, packets_come_from_where_they_were_told, 0, 3);
    tcase_add_test(t, postcopy_goes_through_it);
    tcase_add_test(t, the_user_timeout_ends_a_silent_network);
    tcase_add_test(t, a_lost_one_is_opened_anew);
    tcase_add_loop_test(t, a_connection_that_is_not_made, 0, 2);
    tcase_add_loop_test(t, what_does_not_fit_is_one_line, 0,
                        sizeof(misfits) / sizeof(misfits[0]));
    suite_add_tcase(s, t);

    t = tcase_create("absent");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_loop_test(t, what_is_not_there_is_one_line, 0,
                        sizeof(absent) / sizeof(absent[0]));
    suite_add_tcase(s, t);

    t = tcase_create("command");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_loop_test(t, a_command_that_goes_wrong, 0,
                        sizeof(commands) / sizeof(commands[0]));
    tcase_add_test(t, a_cancel_while_the_command_runs);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return hosts_main(across_suite);
}

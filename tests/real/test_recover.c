/* Post-copy that is interrupted, between two real QEMUs on two hosts with two networks (hosts.h): the
 * connection is reset, or packets are swallowed, or the cable is out; it is recovered over the same
 * network or the other one, by the same qferry or by the next. The guest checks its memory
 * afterwards. QEMU, TCG; needs root and iproute2.
 *
 * `test_recover bench N` measures instead: N cuts of a cable, and how long until bytes move. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/real/hosts.h"
#include "tests/real/postcopy.h"

static const char two[] =
    "{\"networks\": [\n"
    "  {\"name\": \"migration\", \"cidr\": \"10.77.1.0/24\"},\n"
    "  {\"name\": \"management\", \"cidr\": \"10.77.2.0/24\", \"role\": \"management\"}\n"
    "]}\n";
static const char one[] =
    "{\"networks\": [{\"name\": \"migration\", \"cidr\": \"10.77.1.0/24\"}]}\n";

#define SLOWLY                                                                      \
    POSTCOPY_SLOWLY, "--destination-address", "10.77.1.2", "--destination-address", \
        "10.77.2.2"
#define NETWORKS "-n", f.file

static struct fixture {
    struct world w;
    char file[LAB_PATH_MAX];
} f;

static void write_networks(const char *text)
{
    FILE *file = fopen(lab_path(f.w.lab, "networks.json", f.file), "w");

    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static void setup(void)
{
    world_open(&f.w);
    hosts_open(&f.w);
    write_networks(two);
}

static void teardown(void)
{
    world_close(&f.w);
    hosts_close();
}

/* ---- how a connection ends ---- */

/* Both ends are told. */
static void reset(void)
{
    hosts_sh("ip netns exec $S ss -K dst 10.77.1.2 > /dev/null");
}

static const char *interface_of(unsigned net)
{
    return net == 1 ? "mig0" : "mgt0";
}

/* Nobody is told, on neither side. */
static void swallow(unsigned net)
{
    hosts_make_black_hole(interface_of(net), net);
    hosts_sh(
        "ip -n $D neigh replace 10.77.%u.1 lladdr 02:00:00:00:00:77 nud permanent dev %s",
        net, interface_of(net));
}

static void swallow_no_more(unsigned net)
{
    hosts_sh("ip -n $S neigh del 10.77.%u.2 dev %s", net, interface_of(net));
    hosts_sh("ip -n $D neigh del 10.77.%u.1 dev %s", net, interface_of(net));
}

static void pull(const char *interface)
{
    hosts_sh("ip -n $D link set %s down", interface);
}

static void plug(const char *interface)
{
    hosts_sh("ip -n $D link set %s up", interface);
    hosts_wait_for_link(interface);
}

/* Somebody else listens on the destination's host: a socket that was made there. */
static int take_port(uint16_t port)
{
    char path[64];
    const struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(port)};
    const int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

    snprintf(path, sizeof(path), "/run/netns/%s", hosts.dst_ns);
    const int there = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert(here >= 0 && there >= 0);
    ck_assert_int_eq(setns(there, CLONE_NEWNET), 0);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(setns(here, CLONE_NEWNET), 0);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&sin, sizeof(sin)), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    (void)close(here);
    (void)close(there);
    return fd;
}

/* ---- moves ---- */

/* The guest runs on the destination, and most of its memory is on the source. */
static struct move *begin(const char *const *extra)
{
    hosts_pair(&f.w, "ws=24 flat");
    struct move *m = move_begin(&f.w, extra);
    postcopy_wait_begun(m);
    return m;
}

static void wait_for(struct lab_vm *vm, const char *status)
{
    postcopy_wait_status(&f.w, vm, status);
}

static void expect_recovered(struct move *m, const char *network)
{
    postcopy_expect_recovered(m);
    ck_assert_str_eq(move_result(m, "mode"), "postcopy");
    if (network)
        ck_assert_str_eq(move_result(m, "network"), network);
    ck_assert(move_has(m, "decision", "action", "continue"));
}

/* Everything that can be tried again fails until this is undone. */
static void interrupt(void)
{
    swallow(2);
    swallow(1);
    wait_for(f.w.src, "postcopy-paused");
    wait_for(f.w.dst, "postcopy-paused");
}

static struct move *take_up(const char *command, const char *const *extra)
{
    return move_begin_at(&f.w, command, lab_vm_qmp_path(f.w.src), lab_vm_qmp_path(f.w.dst),
                         extra);
}

/* ---- the connection ---- */

START_TEST(a_reset_is_recovered_over_the_same_network)
{
    struct move *m = begin(ARGS(SLOWLY, NETWORKS));

    reset();
    wait_for(f.w.src, "postcopy-paused");
    expect_recovered(m, "migration");
    ck_assert_uint_eq(move_count(m, "decision", "action", "recover"), 1);
}
END_TEST

/* QEMU 7.2's source crashes when it is resumed too soon after it has paused (phase_recover.c). */
START_TEST(again_and_again)
{
    struct move *m =
        begin(ARGS("-p", "post-copy", "--set", "postcopy.bandwidth=256KiB", "--bandwidth",
                   "40MiB", "--destination-address", "10.77.1.2", NETWORKS));

    for (int i = 4; i > 0; i--) {
        reset();
        wait_for(f.w.src, "postcopy-paused");
        wait_for(f.w.src, "postcopy-active");
        lab_events_mark(f.w.src);
    }
    reset();
    expect_recovered(m, "migration");
}
END_TEST

START_TEST(without_networks_it_is_the_same_address)
{
    struct move *m = begin(ARGS(SLOWLY, "--port", "50000-50009"));

    reset();
    expect_recovered(m, "");
    ck_assert(move_has(m, "decision", "because", "10.77.1.2:5000"));
}
END_TEST

START_TEST(a_black_hole_is_noticed_and_gone_around)
{
    struct move *m = begin(ARGS(SLOWLY, NETWORKS));

    swallow(1);
    expect_recovered(m, "management");
    ck_assert(move_has(m, "warning", "message", "the network is dead"));
}
END_TEST

START_TEST(a_cable_that_is_out_is_gone_around)
{
    struct move *m = begin(ARGS(SLOWLY, NETWORKS));

    pull("mig0");
    expect_recovered(m, "management");
}
END_TEST

START_TEST(only_one_side_has_noticed)
{
    struct move *m = begin(ARGS(SLOWLY, NETWORKS));
    struct lab_vm *vm = _i == 0 ? f.w.src : f.w.dst;

    swallow(1);
    json_decref(lab_qmp_oob(vm, "migrate-pause", NULL));
    expect_recovered(m, "management");
}
END_TEST

START_TEST(it_is_tried_until_the_network_is_back)
{
    write_networks(one);
    struct move *m = begin(ARGS(SLOWLY, NETWORKS));

    pull("mig0");
    wait_for(f.w.src, "postcopy-paused");
    move_wait_line(m, "attempt 3,");
    plug("mig0");
    expect_recovered(m, "migration");
}
END_TEST

START_TEST(a_port_that_is_taken_is_passed_over)
{
    const int taken = take_port(50010);
    struct move *m = begin(ARGS(SLOWLY, NETWORKS, "--port", "50010-50013"));

    reset();
    expect_recovered(m, "migration");
    ck_assert(move_has(m, "decision", "because", ":50010"));
    ck_assert(move_has(m, "decision", "because", ":50011"));
    (void)close(taken);
}
END_TEST

/* A destination that stands still is no cut: nothing is done about it. */
START_TEST(a_destination_that_stands_still_is_waited_for)
{
    struct move *m = begin(ARGS(SLOWLY, NETWORKS));

    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGSTOP), 0);
    lab_pump(f.w.lab, 5000); /* it is the time itself that is tested */
    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGCONT), 0);
    postcopy_let_loose(&f.w);
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    ck_assert(!move_has(m, "decision", "action", "recover"));
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

/* ---- qferry ---- */

START_TEST(a_qferry_that_was_killed_is_taken_over)
{
    static const char *const commands[] = {"migrate", "attach"};
    struct move *m = begin(ARGS(SLOWLY, NETWORKS));

    interrupt();
    move_kill(m);
    swallow_no_more(1);
    m = take_up(commands[_i], ARGS(SLOWLY, NETWORKS));
    move_wait_line(m, "taking it up");
    expect_recovered(m, "migration");
}
END_TEST

START_TEST(a_post_copy_that_goes_on_is_attached_to)
{
    struct move *m = begin(ARGS(SLOWLY, NETWORKS));

    move_kill(m);
    m = take_up("attach", ARGS(SLOWLY, NETWORKS));
    move_wait_line(m, "taking it up");
    reset();
    expect_recovered(m, NULL);
}
END_TEST

START_TEST(the_second_signal_ends_qferry_and_leaves_both_alone)
{
    struct move *m = begin(ARGS(SLOWLY, NETWORKS));

    interrupt();
    ck_assert_int_eq(lab_proc_signal(m->proc, SIGINT), 0);
    move_wait_line(m, "not cancelled");
    ck_assert_int_eq(lab_proc_signal(m->proc, SIGINT), 0);
    move_end(m);
    move_expect(m, 7, "lost", "destination");
    move_expect_reason(m, "qferry attach");
    ck_assert(lab_vm_alive(f.w.src) && lab_vm_alive(f.w.dst));
    swallow_no_more(1);
    m = take_up("attach", ARGS(SLOWLY, NETWORKS));
    expect_recovered(m, "migration");
}
END_TEST

START_TEST(attach_never_starts_a_move)
{
    hosts_pair(&f.w, "ws=4 flat");
    struct move *m = take_up("attach", ARGS(SLOWLY, NETWORKS));

    move_end(m);
    move_expect(m, 3, "refused", "source");
    move_expect_reason(m, "no move between these two is under way");
    expect_settings(f.w.src, f.w.src_settings);
    expect_settings(f.w.dst, f.w.dst_settings);
    expect_guest_on(&f.w, f.w.src);
}
END_TEST

/* ---- the one real loss ---- */

START_TEST(a_guest_whose_qemu_dies_is_lost)
{
    struct move *m = begin(ARGS(SLOWLY, NETWORKS));
    struct lab_vm *vm = _i == 0 ? f.w.src : f.w.dst;

    interrupt();
    ck_assert_int_eq(lab_vm_kill(vm, SIGKILL), 0);
    move_end(m);
    move_expect(m, 7, "lost", "none");
    move_expect_reason(m, _i == 0 ? "the source died with a part of the guest's memory: "
                                    "the guest is lost"
                                  : "the destination died with a part of the guest's "
                                    "memory: the guest is lost");
}
END_TEST

static Suite *recover_suite(void)
{
    Suite *s = suite_create("recover");
    TCase *t = tcase_create("connection");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, a_reset_is_recovered_over_the_same_network);
    tcase_add_test(t, a_black_hole_is_noticed_and_gone_around);
    tcase_add_test(t, a_cable_that_is_out_is_gone_around);
    tcase_add_loop_test(t, only_one_side_has_noticed, 0, 2);
    tcase_add_test(t, it_is_tried_until_the_network_is_back);
    tcase_add_test(t, a_port_that_is_taken_is_passed_over);
    tcase_add_test(t, a_destination_that_stands_still_is_waited_for);
    suite_add_tcase(s, t);

    t = tcase_create("address");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, without_networks_it_is_the_same_address);
    suite_add_tcase(s, t);

    t = tcase_create("often");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, again_and_again);
    suite_add_tcase(s, t);

    t = tcase_create("qferry");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_loop_test(t, a_qferry_that_was_killed_is_taken_over, 0, 2);
    tcase_add_test(t, a_post_copy_that_goes_on_is_attached_to);
    tcase_add_test(t, the_second_signal_ends_qferry_and_leaves_both_alone);
    tcase_add_test(t, attach_never_starts_a_move);
    tcase_add_loop_test(t, a_guest_whose_qemu_dies_is_lost, 0, 2);
    suite_add_tcase(s, t);
    return s;
}

/* ---- measured ---- */

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* From the cut to the first new byte: the source's postcopy-active. */
static double measure(bool silent)
{
    setup();
    struct move *m = begin(ARGS(SLOWLY, NETWORKS));
    const int64_t from_ns = lab_now_ns();

    if (silent)
        swallow(1);
    else
        pull("mig0");
    wait_for(f.w.src, "postcopy-active");
    const double ms =
        (double)(lab_event_find(f.w.src, "MIGRATION", "status", "postcopy-active")->t_ns -
                 from_ns) /
        1e6;
    expect_recovered(m, "management");
    teardown();
    return ms;
}

/* From the start of a qferry, the one before it killed, to its first attempt. */
static double measure_restart(void)
{
    setup();
    struct move *m = begin(ARGS(SLOWLY, NETWORKS));

    interrupt();
    move_kill(m);
    swallow_no_more(1);
    swallow_no_more(2);
    const int64_t from_ns = lab_now_ns();
    m = take_up("attach", ARGS(SLOWLY, NETWORKS));
    move_wait_line(m, "\"recover\",\"because\"");
    const double ms = (double)(lab_now_ns() - from_ns) / 1e6;
    expect_recovered(m, "migration");
    teardown();
    return ms;
}

static int runs; /* `bench N` */

START_TEST(measured)
{
    static const char *const what[] = {
        "cable out, until it goes on over the other network",
        "black hole, until it goes on over the other network",
        "qferry killed, from its restart to its first decision",
    };
    double ms[100];

    for (int k = 0; k < 3; k++) {
        for (int i = 0; i < runs; i++)
            ms[i] = k == 2 ? measure_restart() : measure(k == 1);
        qsort(ms, (size_t)runs, sizeof(ms[0]), by_value);
        printf("%s: %d runs, %.0f ms in the median (%.0f to %.0f)\n", what[k], runs,
               (ms[(runs - 1) / 2] + ms[runs / 2]) / 2, ms[0], ms[runs - 1]);
        fflush(stdout);
    }
}
END_TEST

static Suite *bench_suite(void)
{
    Suite *s = suite_create("bench");
    TCase *t = tcase_create("bench");

    tcase_set_timeout(t, 60.0 * runs);
    tcase_add_test(t, measured);
    suite_add_tcase(s, t);
    return s;
}

/* ---- main ---- */

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "bench") == 0 && (runs = atoi(argv[2])) > 0 &&
        runs <= 100)
        return hosts_main(bench_suite);
    return hosts_main(recover_suite);
}

/* Several moves over one network share what is configured for it. Two hosts: network namespaces. QEMU
 * 7.2, TCG; needs root and iproute2. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/real/hosts.h"

/* 80 Mbit/s: bytes per second. */
enum { WHOLE = 10000000, HALF = WHOLE / 2 };

#define BY "--destination-address", "10.77.1.2"

static const char networks[] =
    "{\"networks\": [{\"name\": \"migration\", \"cidr\": \"10.77.1.0/24\", \"rate\": "
    "\"80Mbit\"}, {\"name\": \"other\", \"cidr\": \"10.77.2.0/24\", \"rate\": "
    "\"80Mbit\"}]}\n";

static struct fixture {
    struct world w;
    char file[LAB_PATH_MAX];
    char run[LAB_PATH_MAX];
    char sock[LAB_PATH_MAX];
    struct lab_vm *src[2]; /* two pairs */
    struct lab_vm *dst[2];
} f;

static void setup(void)
{
    world_open(&f.w);
    hosts_open(&f.w);
    FILE *file = fopen(lab_path(f.w.lab, "networks.json", f.file), "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(networks, file), 0);
    ck_assert_int_eq(fclose(file), 0);
    lab_path(f.w.lab, "control", f.sock);
    ck_assert_int_eq(mkdir(lab_path(f.w.lab, "run", f.run), 0700), 0);
    ck_assert_int_eq(setenv("QFERRY_RUN_DIR", f.run, 1), 0);
}

static void teardown(void)
{
    (void)unsetenv("QFERRY_RUN_DIR");
    world_close(&f.w);
    hosts_close();
}

/* ---- helpers ---- */

static void pairs(const char *append)
{
    for (unsigned i = 0; i < 2; i++) {
        hosts_pair(&f.w, append);
        f.src[i] = f.w.src;
        f.dst[i] = f.w.dst;
    }
}

static struct move *begin(unsigned i, const char *const *extra)
{
    return move_begin_at(&f.w, "migrate", lab_vm_qmp_path(f.src[i]),
                         lab_vm_qmp_path(f.dst[i]), extra);
}

static long long limit_of(unsigned i, const char *which)
{
    json_t *p = lab_qmp(f.src[i], "query-migrate-parameters", NULL);
    const long long rate = json_integer_value(json_object_get(p, which));

    json_decref(p);
    return rate;
}

static void expect_limit(unsigned i, const char *which, long long rate)
{
    for (int n = 0; limit_of(i, which) != rate && n < 500; n++)
        lab_pump(f.w.lab, 20);
    ck_assert_int_eq(limit_of(i, which), rate);
}

/* What has gone over the wire while the others wait, as QEMU counts it: bytes per second. */
static double speed_of(unsigned i)
{
    int64_t t[2];
    long long sent[2];

    for (unsigned k = 0; k < 2; k++) {
        json_t *q = lab_qmp(f.src[i], "query-migrate", NULL);
        t[k] = lab_now_ns();
        sent[k] =
            json_integer_value(json_object_get(json_object_get(q, "ram"), "transferred"));
        json_decref(q);
        if (k == 0)
            lab_pump(f.w.lab, 2000);
    }
    return (double)(sent[1] - sent[0]) * 1e9 / (double)(t[1] - t[0]);
}

static void expect_done(struct move *m, unsigned i)
{
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    ck_assert_int_eq(lab_guest_verify(f.dst[i]), 1);
}

static const json_t *network_of(const struct move *m)
{
    size_t i;
    json_t *line;

    json_array_foreach (m->lines, i, line)
        if (strcmp(json_string_value(json_object_get(line, "type")), "network") == 0)
            return line;
    ck_abort_msg("no network record");
}

#define EACH  "2 migrations share 80 Mbit/s of migration: 40 Mbit/s each"
#define ALONE "no other migration uses the 80 Mbit/s of migration now"

/* ---- sharing ---- */

/* The second one ends in its own time, is cancelled, or is killed. */
START_TEST(each_gets_half_and_the_survivor_all)
{
    pairs("ws=64 rate=200");
    struct move *a = begin(0, ARGS("-n", f.file, BY));
    move_wait_memory(a);
    ck_assert_int_eq(limit_of(0, "max-bandwidth"), WHOLE);
    struct move *b = begin(1, ARGS("-n", f.file, BY));
    move_wait_line(b, "\"type\":\"network\"");
    move_wait_line(a, EACH);
    move_wait_memory(b);
    expect_limit(0, "max-bandwidth", HALF);
    expect_limit(1, "max-bandwidth", HALF);
    ck_assert_double_lt(speed_of(0), 1.25 * HALF);
    ck_assert_int_eq(lab_proc_signal(b->proc, _i == 0 ? SIGINT : SIGKILL), 0);
    move_wait_line(a, ALONE);
    expect_limit(0, "max-bandwidth", WHOLE);
    expect_done(a, 0);
    expect_settings(f.src[0], f.w.src_settings);
    if (_i == 0) {
        move_end(b);
        move_expect(b, 5, "cancelled", "source");
        ck_assert_int_eq(json_integer_value(json_object_get(network_of(b), "bandwidth")),
                         HALF);
        ck_assert_str_eq(
            json_string_value(json_object_get(network_of(b), "bandwidth_reason")),
            "the rate configured for migration, shared by 2 migrations of this host");
        ck_assert_int_eq(lab_guest_verify(f.src[1]), 1);
        return;
    }
    ck_assert_int_eq(lab_proc_wait(b->proc, 0, NULL), 0);
    b->ended = true;
}
END_TEST

START_TEST(both_arrive)
{
    pairs("ws=24 rate=200");
    struct move *a = begin(0, ARGS("-n", f.file, BY));
    struct move *b = begin(1, ARGS("-n", f.file, BY));
    expect_done(a, 0);
    expect_done(b, 1);
    ck_assert(move_has(a, "network", "bandwidth_reason", "shared by 2") ||
              move_has(b, "network", "bandwidth_reason", "shared by 2") ||
              move_has(a, "decision", "because", EACH) ||
              move_has(b, "decision", "because", EACH));
}
END_TEST

/* Another network, and a rate that somebody has said. */
START_TEST(what_is_not_shared_is_left_alone)
{
    pairs("ws=64 rate=200");
    const bool other = _i == 0;
    struct move *a = other ? begin(0, ARGS("-n", f.file, BY))
                           : begin(0, ARGS("-n", f.file, BY, "--control", f.sock));
    move_wait_memory(a);
    if (!other) {
        ck_assert_int_eq(
            world_run(&f.w, ARGS(QFERRY, "set", "--control", f.sock, "bandwidth=9000000"),
                      NULL),
            0);
        expect_limit(0, "max-bandwidth", 9000000);
    }
    struct move *b =
        begin(1, other ? ARGS("--networks", f.file, "--destination-address", "10.77.2.2")
                       : ARGS("-n", f.file, BY, "--bandwidth", "4MB"));
    move_wait_memory(b);
    lab_pump(f.w.lab, 1500); /* it looks twice a second */
    ck_assert_int_eq(limit_of(0, "max-bandwidth"), other ? WHOLE : 9000000);
    ck_assert_int_eq(limit_of(1, "max-bandwidth"), other ? WHOLE : 4000000);
    ck_assert_int_eq(lab_proc_signal(b->proc, SIGINT), 0);
    move_end(b);
    move_expect(b, 5, "cancelled", "source");
    expect_done(a, 0);
    ck_assert(!move_has(a, "decision", "because", "share"));
    ck_assert(!move_has(a, "decision", "because", "no other"));
}
END_TEST

START_TEST(a_post_copy_shares_too)
{
    pairs("ws=64 flat");
    struct move *a = begin(0, ARGS("-n", f.file, BY, "-p", "post-copy"));
    move_wait_memory(a);
    struct move *b = begin(1, ARGS("-n", f.file, BY));
    move_wait_line(a, EACH);
    expect_limit(0, "max-postcopy-bandwidth", HALF);
    move_wait_phase(a, "postcopy");
    ck_assert_int_eq(lab_wait_event(f.dst[0], "RESUME", NULL, NULL, 0), 0);
    ck_assert_int_eq(lab_proc_signal(b->proc, SIGINT), 0);
    move_end(b);
    move_expect(b, 5, "cancelled", "source");
    move_wait_line(a, ALONE);
    expect_limit(0, "max-postcopy-bandwidth", WHOLE);
    expect_done(a, 0);
    ck_assert_str_eq(move_result(a, "mode"), "postcopy");
}
END_TEST

/* ---- main ---- */

static Suite *sharing_suite(void)
{
    Suite *s = suite_create("sharing");
    TCase *t = tcase_create("network");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_loop_test(t, each_gets_half_and_the_survivor_all, 0, 2);
    tcase_add_test(t, both_arrive);
    tcase_add_loop_test(t, what_is_not_shared_is_left_alone, 0, 2);
    tcase_add_test(t, a_post_copy_shares_too);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return hosts_main(sharing_suite);
}

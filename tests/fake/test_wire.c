/* Monitors that speak oddly, late, not at all, or no more. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "tests/fake/rig.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

static struct rig rig;

static void setup(void)
{
    rig_init(&rig);
}

static void teardown(void)
{
    rig_fini(&rig);
}

static void both(struct rig_move *m, struct fake_wire wire)
{
    m->opts.wire[MODEL_SRC] = wire;
    m->opts.wire[MODEL_DST] = wire;
}

/* Refused to begin, with a sentence that begins so. */
static void is_unreachable(const struct rig_move *m, const char *says)
{
    ck_assert_msg(rig_status(m) == 6, "exit %d: %s", rig_status(m), m->result.reason);
    ck_assert_int_eq(m->result.outcome, OUTCOME_FAILED);
    ck_assert_msg(strncmp(m->result.reason, says, strlen(says)) == 0, "%s",
                  m->result.reason);
    ck_assert_uint_eq(m->truth.caps_on[MODEL_SRC], 0);
}

/* ---- odd, and right ---- */

static const struct fake_wire odd[] = {
    {.pretty = true},
    {.chunk = 1},
    {.chunk = 7, .pretty = true},
    {.hold_ms = 5},
    {.hold_ms = 5, .pretty = true, .event_first = true},
    {.event_first = true},
    {.large_numbers = true},
    {.large_bytes = 300 * 1000},
    {.large_bytes = 300 * 1000, .chunk = 1000, .tcp = true},
    {.busy_ns = 6 * MODEL_S},
    {.tcp = true, .pretty = true, .chunk = 100, .large_numbers = true, .event_first = true},
};

START_TEST(an_odd_monitor_is_understood)
{
    struct rig_move *m = rig_add(&rig);
    both(m, odd[_i]);
    rig_run(&rig);
    rig_completed(m);
}
END_TEST

static void make_busy(struct rig_move *m)
{
    m->opts.setup.working_set_bytes = 100 * QF_MIB;
    m->opts.setup.rate[0].pages_per_s = 100000;
}

/* Settings are found as they are, large or not, and put back. */
START_TEST(an_odd_monitor_is_cancelled)
{
    struct rig_move *m = rig_add(&rig);
    both(m, odd[_i]);
    make_busy(m);
    /* This destination lives on: 7.2's exits, and over TCP it takes half a minute to be sure. */
    m->opts.setup.machine[MODEL_DST].flavour = MODEL_10_0;
    m->opts.schema = NULL;
    m->cancel_at_command = 45;
    rig_run(&rig);
    ck_assert_msg(rig_status(m) == 5, "exit %d: %s", rig_status(m), m->result.reason);
    ck_assert(m->truth.running[MODEL_SRC]);
    ck_assert_uint_eq(m->truth.caps_on[MODEL_SRC], 0);
}
END_TEST

START_TEST(out_of_band_is_not_needed)
{
    struct rig_move *m = rig_add(&rig);
    make_busy(m);
    m->opts.setup.machine[MODEL_SRC].no_oob = _i % 2 == 0;
    m->opts.setup.machine[MODEL_DST].no_oob = _i / 2 == 0;
    m->cancel_at_command = 45;
    rig_run(&rig);
    ck_assert_msg(rig_status(m) == 5, "%s", m->result.reason);
}
END_TEST

START_TEST(a_second_client_waits_until_the_first_leaves)
{
    char addr[96];
    struct rig_move *first = rig_add(&rig);
    struct rig_move *second = rig_add(&rig);
    (void)snprintf(addr, sizeof(addr), "%s/%s-src", rig.dir, first->name);
    second->addr[MIG_SRC] = addr;
    for (unsigned i = 0; i < rig.n_moves; i++) {
        rig.move[i]->dry_run = true;
        rig.move[i]->journal = RIG_JOURNAL_NONE; /* their commands arrive at one monitor */
    }
    rig_run(&rig);
    ck_assert_int_eq(rig_status(first), 0);
    ck_assert_int_eq(rig_status(second), 0);
    ck_assert_uint_eq(first->fake.side[MODEL_SRC].clients, 2);
    ck_assert_uint_eq(second->fake.side[MODEL_SRC].clients, 0);
}
END_TEST

/* ---- not a monitor, or not to be had ---- */

static const struct {
    const char *says;
    const char *sentence; /* after the address */
} strangers[] = {
    {"SSH-2.0-OpenSSH_9.2p1\r\n", "this is not a QMP monitor: it says"},
    {"HTTP/1.1 400 Bad Request\r\n\r\n", "this is not a QMP monitor: it says"},
    {"{\"return\": {}}\r\n", "this is not a QMP monitor: it does not greet"},
    {"{\"error\": {\"class\": \"GenericError\", \"desc\": \"x\"}}\r\n",
     "it does not greet, but says: x"},
    {"{}", "this is not a QMP monitor: it does not greet"},
    {"{\"QMP\": 3}", "the monitor sent a strange greeting"},
    {"{\"QMP\": {}}{\"QMP\": {}}", "the monitor sent a strange greeting"},
    {"\x7f"
     "ELF",
     ""},
};

START_TEST(a_stranger_is_told_from_a_monitor)
{
    char says[256];
    struct rig_move *m = rig_add(&rig);
    const enum model_side side = _i % 2 ? MODEL_DST : MODEL_SRC;
    m->opts.wire[side].says = strangers[_i / 2].says;
    m->opts.wire[side].chunk = _i % 3 == 0 ? 1 : 0;
    m->opts.wire[side].tcp = _i % 4 == 3;
    rig_run(&rig);
    (void)snprintf(says, sizeof(says), "%s: %s: %s", _i % 2 ? "destination" : "source",
                   m->fake.side[side].addr, strangers[_i / 2].sentence);
    is_unreachable(m, says);
}
END_TEST

START_TEST(qmp_without_qemu_is_refused)
{
    struct rig_move *m = rig_add(&rig);
    m->opts.setup.machine[_i].not_qemu = true;
    rig_run(&rig);
    is_unreachable(m, _i ? "destination: " : "source: ");
    ck_assert_ptr_nonnull(strstr(m->result.reason, "speaks QMP but is not a QEMU"));
}
END_TEST

static const struct {
    const char *source; /* NULL: the fake's, dead */
    bool tcp;
    const char *says;
} nobody[] = {
    {NULL, false, "connection refused"},
    {NULL, true, "connection refused"},
    {"/tmp/qferry-fake-there-is-none/x", false, "no such file or directory"},
    {"tcp:127.0.0.1:1", true, "connection refused"},
    {"tcp:host.invalid:1", true, ""},
};

START_TEST(nobody_there_is_unreachable)
{
    struct rig_move *m = rig_add(&rig);
    m->addr[MIG_SRC] = nobody[_i].source;
    m->opts.wire[MODEL_SRC].tcp = nobody[_i].tcp;
    m->opts.setup.machine[MODEL_SRC].dead = nobody[_i].source == NULL;
    rig_run(&rig);
    is_unreachable(m, "source: ");
    ck_assert_msg(strstr(m->result.reason, nobody[_i].says) != NULL, "%s",
                  m->result.reason);
}
END_TEST

/* The deadline of phase_connect.c is ten seconds: both sides at once. */
START_TEST(a_busy_monitor_is_said_to_be_busy)
{
    for (unsigned i = 0; i < 2; i++) {
        struct rig_move *m = rig_add(&rig);
        m->opts.setup.machine[i].busy = true;
        m->opts.wire[i].tcp = true;
    }
    rig_run(&rig);
    for (unsigned i = 0; i < 2; i++) {
        char says[256];
        (void)snprintf(
            says, sizeof(says),
            "%s: %s: no QMP greeting within 10 s: another client is connected to "
            "this monitor (QEMU serves one at a time), or it is not a QMP monitor",
            i ? "destination" : "source", rig.move[i]->fake.side[i].addr);
        is_unreachable(rig.move[i], says);
        ck_assert_uint_eq(rig.move[i]->commands, 0);
    }
}
END_TEST

/* ---- dead ---- */

/* Where a process is killed, in bytes that it has said: each of the greeting, then in strides
 * that do not fall on the same place of each message. */
enum { EACH = 160, STRIDE = 131 };

static void dies_at(enum model_side side, size_t at)
{
    struct rig_move *m = rig_add(&rig);
    m->opts.speed = 50;
    m->opts.wire[side].dies = true;
    m->opts.wire[side].dies_at = at;
    rig_run(&rig);
    const int status = rig_status(m);
    ck_assert_msg(status == 4 || status == 6 || status == 7 ||
                      (status == 0 && m->truth.ran_on_dst),
                  "killed at byte %zu: exit %d: %s", at, status, m->result.reason);
    if (at < 100)
        ck_assert_int_eq(status, 6);
    if (side == MODEL_DST && !m->truth.ran_on_dst)
        ck_assert_msg(m->truth.running[MODEL_SRC] && status != 7,
                      "killed at byte %zu: exit %d: %s", at, status, m->result.reason);
    if (side == MODEL_SRC && m->truth.running[MODEL_DST])
        ck_assert_msg(status == 0, "killed at byte %zu: exit %d: %s", at, status,
                      m->result.reason);
    rig_clear(&rig);
}

START_TEST(a_qemu_may_die_at_any_byte)
{
    const enum model_side side = _i ? MODEL_DST : MODEL_SRC;
    struct rig_move *m = rig_add(&rig);
    rig_run(&rig);
    rig_completed(m);
    const size_t all = m->said[side];
    rig_clear(&rig);
    ck_assert_uint_gt(all, 3000);
    for (size_t at = 0; at < all; at += at < EACH ? 7 : STRIDE)
        dies_at(side, at);
}
END_TEST

static Suite *wire_suite(void)
{
    Suite *suite = suite_create("wire");
    TCase *tc = tcase_create("odd");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, an_odd_monitor_is_understood, 0, COUNT(odd));
    tcase_add_loop_test(tc, an_odd_monitor_is_cancelled, 0, COUNT(odd));
    tcase_add_loop_test(tc, out_of_band_is_not_needed, 0, 4);
    tcase_add_test(tc, a_second_client_waits_until_the_first_leaves);
    suite_add_tcase(suite, tc);
    tc = tcase_create("nobody");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, a_stranger_is_told_from_a_monitor, 0, 2 * COUNT(strangers));
    tcase_add_loop_test(tc, qmp_without_qemu_is_refused, 0, 2);
    tcase_add_loop_test(tc, nobody_there_is_unreachable, 0, COUNT(nobody));
    tcase_add_test(tc, a_busy_monitor_is_said_to_be_busy);
    suite_add_tcase(suite, tc);
    tc = tcase_create("dead");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, a_qemu_may_die_at_any_byte, 0, 2);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(wire_suite());
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

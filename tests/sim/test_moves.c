/* Moves in which nothing breaks: what is decided and done, as text. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "setups.h"
#include "sim.h"

static struct sim sim;

static void teardown(void)
{
    sim_free(&sim);
}

static void move(const char *name, const struct sim_setup *u)
{
    sim_run(&sim, u);
    sim_golden(name, sim_trace(&sim));
    ck_assert_str_eq(sim_complaint(&sim), "");
}

START_TEST(idle_guest_moves_in_one_pass)
{
    struct sim_setup u = sim_usual();
    u.model.rate[0].pages_per_s = 0;
    u.model.zero_bytes = 200 * QF_MIB;
    move("idle", &u);
}
END_TEST

START_TEST(converging_guest_needs_no_decision)
{
    struct sim_setup u = sim_usual();
    move("converging", &u);
}
END_TEST

static const char *const presets[] = {"minimal-downtime",
                                      "post-copy",
                                      "suspend-if-needed",
                                      "stop-and-copy",
                                      "vdsm-minimal-downtime",
                                      "vdsm-very-large-vm",
                                      "proxmox"};

START_TEST(busy_guest_under_each_preset)
{
    char name[64];
    struct sim_setup u = sim_busy();
    u.policy = presets[_i];
    (void)snprintf(name, sizeof(name), "busy-%s", presets[_i]);
    move(name, &u);
}
END_TEST

static const struct {
    const char *name;
    enum model_flavour src, dst;
} flavours[] = {
    {"7.2", MODEL_7_2, MODEL_7_2},          {"10.0", MODEL_10_0, MODEL_10_0},
    {"11.1", MODEL_11_1, MODEL_11_1},       {"7.2-to-11.1", MODEL_7_2, MODEL_11_1},
    {"11.1-to-7.2", MODEL_11_1, MODEL_7_2},
};

START_TEST(each_flavour_moves)
{
    static const char *const policies[] = {"minimal-downtime", "post-copy",
                                           "stop-and-copy"};
    const int flavour = _i / 3;
    const char *policy = policies[_i % 3];
    char name[64];
    struct sim_setup u = _i % 3 == 1 ? sim_busy() : sim_usual();
    u.policy = policy;
    u.model.machine[MODEL_SRC].flavour = flavours[flavour].src;
    u.model.machine[MODEL_DST].flavour = flavours[flavour].dst;
    (void)snprintf(name, sizeof(name), "%s-%s", flavours[flavour].name, policy);
    move(name, &u);
}
END_TEST

START_TEST(paused_guest_stays_paused)
{
    struct sim_setup u = sim_usual();
    u.model.run = QAPI_RUN_PAUSED;
    move("paused", &u);
    ck_assert_int_eq(model_truth(sim.model)->run[MODEL_DST], QAPI_RUN_PAUSED);
}
END_TEST

START_TEST(suspended_guest_is_moved_asleep)
{
    struct sim_setup u = sim_usual();
    u.model.run = QAPI_RUN_SUSPENDED;
    sim_use(&u, _i ? MODEL_11_1 : MODEL_7_2);
    move(_i ? "suspended-11.1" : "suspended-7.2", &u);
}
END_TEST

START_TEST(destination_that_would_start_by_itself_is_kept_from_it)
{
    struct sim_setup u = sim_usual();
    u.model.dst_autostart = true;
    move("autostart", &u);
}
END_TEST

START_TEST(source_quits_when_asked_to)
{
    struct sim_setup u = sim_usual();
    u.spec.quit_source = true;
    move("quit-source", &u);
    ck_assert(!model_truth(sim.model)->alive[MODEL_SRC]);
}
END_TEST

START_TEST(foreign_capabilities_are_turned_off_and_put_back)
{
    struct sim_setup u = sim_usual();
    u.model.machine[MODEL_SRC].caps_on =
        QAPI_CAP_BIT(MULTIFD) | QAPI_CAP_BIT(XBZRLE) | QAPI_CAP_BIT(VALIDATE_UUID);
    move("foreign-capabilities", &u);
    ck_assert_uint_eq(model_truth(sim.model)->caps_on[MODEL_SRC],
                      u.model.machine[MODEL_SRC].caps_on);
}
END_TEST

START_TEST(dry_run_changes_nothing)
{
    struct sim_setup u = sim_usual();
    u.spec.dry_run = true;
    move("dry-run", &u);
}
END_TEST

START_TEST(bandwidth_and_ports_as_asked)
{
    struct sim_setup u = sim_usual();
    u.spec.bandwidth_bytes_per_s = 50000000;
    u.spec.port_first = 49152;
    u.spec.port_last = 49160;
    move("bandwidth-ports", &u);
}
END_TEST

START_TEST(journal_whose_disk_hangs_does_not_hold_up_the_guest)
{
    struct sim_setup u = sim_usual();
    u.sync_ns = MODEL_NEVER;
    move("sync-hangs", &u);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("moves");
    TCase *t = tcase_create("moves");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, idle_guest_moves_in_one_pass);
    tcase_add_test(t, converging_guest_needs_no_decision);
    tcase_add_loop_test(t, busy_guest_under_each_preset, 0, 7);
    tcase_add_loop_test(t, each_flavour_moves, 0, 15);
    tcase_add_test(t, paused_guest_stays_paused);
    tcase_add_loop_test(t, suspended_guest_is_moved_asleep, 0, 2);
    tcase_add_test(t, destination_that_would_start_by_itself_is_kept_from_it);
    tcase_add_test(t, source_quits_when_asked_to);
    tcase_add_test(t, foreign_capabilities_are_turned_off_and_put_back);
    tcase_add_test(t, dry_run_changes_nothing);
    tcase_add_test(t, bandwidth_and_ports_as_asked);
    tcase_add_test(t, journal_whose_disk_hangs_does_not_hold_up_the_guest);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return sim_main(suite());
}

/* The guest is stopped before the switch to post-copy, on a QEMU that is not 7.2: whatever happens between
 * the stop and the switch, it runs in the end, and does not stand still for long. */
#include <check.h>
#include <string.h>

#include "setups.h"
#include "sim.h"

static struct sim sim;

static const enum model_flavour flavours[] = {MODEL_10_0, MODEL_11_1};
enum { N_FLAVOURS = 2 };

static struct sim_setup to_postcopy(int flavour)
{
    struct sim_setup u = sim_small();
    sim_use(&u, flavours[flavour]);
    sim_to_postcopy(&u);
    return u;
}

static bool runs_somewhere(void)
{
    const struct model_truth *t = model_truth(sim.model);
    return t->running[MODEL_SRC] || t->running[MODEL_DST];
}

/* The mark is all that the next one knows: no journal. */
START_TEST(a_qferry_that_is_killed_at_the_stop_leaves_no_guest_stopped)
{
    struct sim_setup u = to_postcopy(_i);
    sim_run(&sim, &u);
    const unsigned n = sim.n_deeds;
    sim_free(&sim);
    for (unsigned i = 1; i <= n; i++) {
        u = to_postcopy(_i);
        u.doing[u.n_doings++] =
            (struct sim_doing){.when = SIM_AT_DEED, .what = SIM_RESTART, .n = i};
        sim_run(&sim, &u);
        ck_assert_str_eq(sim_complaint(&sim), "");
        ck_assert_msg(runs_somewhere(), "killed before deed %u:\n%s", i, sim_trace(&sim));
        sim_free(&sim);
    }
}
END_TEST

/* ---- for how long it stands still ---- */

static struct {
    int64_t since_ns;
    int64_t longest_ns;
} still;

static void watch_guest(struct sim *s)
{
    if (runs_somewhere())
        still.since_ns = s->t_ns;
    if (s->t_ns - still.since_ns > still.longest_ns)
        still.longest_ns = s->t_ns - still.since_ns;
}

/* The network swallows everything when the guest was just stopped: QEMU's round of pages ends when TCP gives up, and
 * nothing can be cancelled before. Or it comes back, and the move goes on. */
START_TEST(the_network_is_silent_between_the_stop_and_the_switch)
{
    static const struct sim_watch watch = {.on_step = watch_guest};
    struct sim_setup u = to_postcopy(_i / 2);
    const bool comes_back = _i % 2;
    u.watch = &watch;
    u.quiet = false;
    u.model.silence_ns = 100 * MODEL_S;
    u.model.fault[u.model.n_faults++] =
        (struct model_fault){.when = MODEL_AT_COMMAND,
                             .what = MODEL_NET_SILENT,
                             .side = MODEL_SRC,
                             .name = "stop",
                             .for_ns = comes_back ? 20 * MODEL_S : 0};
    memset(&still, 0, sizeof(still));
    sim_run(&sim, &u);
    ck_assert_msg(*sim_complaint(&sim) == '\0', "%s\n%s", sim_complaint(&sim),
                  sim_trace(&sim));
    ck_assert_msg(runs_somewhere() && still.longest_ns < 3 * MODEL_S, "%lld ms\n%s",
                  (long long)(still.longest_ns / MODEL_MS), sim_trace(&sim));
    ck_assert_int_eq(qf_code_status(sim.result.code), comes_back ? 0 : 4);
    sim_free(&sim);
}
END_TEST

/* The migration of a guest that was stopped to be copied breaks, and QEMU cleans up after it for long, or for ever
 * for all that is known: nothing is set meanwhile (rule 6), but the guest runs. */
START_TEST(a_guest_does_not_wait_for_the_gate)
{
    static const struct sim_watch watch = {.on_step = watch_guest};
    static const enum model_flavour with_gate[] = {MODEL_7_2, MODEL_10_0};
    const bool opens = _i % 2;
    struct sim_setup u = sim_small();
    sim_use(&u, with_gate[_i / 2]);
    sim_stop_and_copy(&u);
    u.watch = &watch;
    u.quiet = false;
    u.model.clean_ns = (opens ? 20 : 400) * MODEL_S;
    u.model.n_faults = 1;
    u.model.fault[0] = (struct model_fault){
        .when = MODEL_AT_TIME, .what = MODEL_NET_RESET, .t_ns = MODEL_S + 60 * MODEL_MS};
    memset(&still, 0, sizeof(still));
    sim_run(&sim, &u);
    ck_assert_msg(*sim_complaint(&sim) == '\0', "%s\n%s", sim_complaint(&sim),
                  sim_trace(&sim));
    ck_assert_msg(model_truth(sim.model)->running[MODEL_SRC] &&
                      still.longest_ns < 3 * MODEL_S && still.longest_ns > 0,
                  "%lld ms\n%s", (long long)(still.longest_ns / MODEL_MS), sim_trace(&sim));
    ck_assert_msg(qf_code_status(sim.result.code) == (opens ? 4 : 7) &&
                      sim.result.running_on == PLACE_SOURCE,
                  "exit %d: %s\n%s", qf_code_status(sim.result.code), sim.result.reason,
                  sim_trace(&sim));
    ck_assert_int_gt(sim.t_ns, (opens ? 20 : 60) * MODEL_S);
    sim_free(&sim);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("stopped");
    TCase *t = tcase_create("stopped");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, a_qferry_that_is_killed_at_the_stop_leaves_no_guest_stopped, 0,
                        N_FLAVOURS);
    tcase_add_loop_test(t, the_network_is_silent_between_the_stop_and_the_switch, 0,
                        2 * N_FLAVOURS);
    tcase_add_loop_test(t, a_guest_does_not_wait_for_the_gate, 0, 4);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return sim_main(suite());
}

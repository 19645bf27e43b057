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

static Suite *suite(void)
{
    Suite *s = suite_create("stopped");
    TCase *t = tcase_create("stopped");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, a_qferry_that_is_killed_at_the_stop_leaves_no_guest_stopped, 0,
                        N_FLAVOURS);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return sim_main(suite());
}

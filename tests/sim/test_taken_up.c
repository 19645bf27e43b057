/* An engine that finds a move in its last moments: what it must not believe. */
#include <check.h>

#include "setups.h"
#include "sim.h"

static struct sim sim;

static struct sim_setup short_move(void)
{
    struct sim_setup u = sim_small();
    u.two_faults = true;
    return u;
}

/* The guest has been continued over there, the engine dies, the next one takes the move up, and
 * meanwhile, at any time, that destination dies. Its guest is lost. What the source still holds is
 * old: it must not run. */
START_TEST(an_old_guest_is_not_brought_back_when_the_new_one_dies)
{
    enum { STEPS = 400, STEP_US = 25, KILLED_US = 500 };
    unsigned lost = 0;
    unsigned before = 0;
    for (unsigned i = 0; i < STEPS; i++) {
        struct sim_setup u = short_move();
        (void)sim_at_phase(&u, SIM_RESTART, MIG_FINISH, KILLED_US * MODEL_MS / 1000);
        sim_run(&sim, &u);
        ck_assert_int_eq(sim.result.running_on, PLACE_DESTINATION);
        ck_assert_uint_eq(sim.n_sessions, 2);
        const int64_t end_ns = sim.t_ns - MODEL_S; /* settled for a second */
        sim_free(&sim);
        u.model.n_faults = 1;
        u.model.fault[0] =
            (struct model_fault){.when = MODEL_AT_TIME,
                                 .what = MODEL_DIE,
                                 .side = MODEL_DST,
                                 .t_ns = end_ns - (int64_t)i * STEP_US * 1000};
        sim_run(&sim, &u);
        const struct model_truth *t = model_truth(sim.model);
        ck_assert_msg(!t->ran_on_dst || !t->running[MODEL_SRC],
                      "%u us before the end: the old guest runs", i * STEP_US);
        ck_assert_str_eq(sim_complaint(&sim), "");
        lost += t->ran_on_dst && qf_code_status(sim.result.code) == 7;
        before += !t->ran_on_dst;
        sim_free(&sim);
    }
    ck_assert_uint_gt(lost, 0); /* some were after the new engine had seen it run */
    ck_assert_uint_eq(before, 0);
}
END_TEST

/* Somebody's migration has stopped the guest, and it is on its way: where it will run is not known. */
START_TEST(a_guest_on_its_way_is_not_said_to_be_on_the_source)
{
    struct sim_setup u = short_move();
    u.model.run = QAPI_RUN_FINISH_MIGRATE;
    sim_run(&sim, &u);
    ck_assert_int_eq(qf_code_status(sim.result.code), 3);
    ck_assert_int_eq(sim.result.running_on, PLACE_UNKNOWN);
    sim_free(&sim);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("taken_up");
    TCase *t = tcase_create("taken_up");
    tcase_add_test(t, an_old_guest_is_not_brought_back_when_the_new_one_dies);
    tcase_add_test(t, a_guest_on_its_way_is_not_said_to_be_on_the_source);
    suite_add_tcase(s, t);
    return sim_main(s);
}

/* The word that the destination has loaded the device state does not come, on the way to post-copy:
 * since 10.2 the source waits for it (postcopy-device), and a failure gives it its guest back. */
#include <check.h>

#include "setups.h"
#include "sim.h"

static struct sim sim;

static struct sim_setup to_postcopy(void)
{
    struct sim_setup u = sim_small();
    sim_on_11_1(&u);
    sim_to_postcopy(&u);
    u.model.n_faults = 1;
    u.model.fault[0] = (struct model_fault){
        .when = MODEL_AT_TIME, .what = MODEL_ACK_LOST, .t_ns = MODEL_S};
    return u;
}

/* The connection breaks while it waits: the destination has its part, stopped, and post-copy is
 * interrupted there; the source runs its guest. */
START_TEST(a_source_that_never_heard_of_the_load_has_its_guest_back)
{
    for (unsigned ms = 0; ms < 4000; ms += 50) {
        struct sim_setup u = to_postcopy();
        u.model.n_faults = 2;
        u.model.fault[1] =
            (struct model_fault){.when = MODEL_AT_TIME,
                                 .what = MODEL_NET_RESET,
                                 .t_ns = MODEL_S + 250 * MODEL_MS + ms * MODEL_MS};
        sim_run(&sim, &u);
        ck_assert_str_eq(sim_complaint(&sim), "");
        ck_assert_msg(
            qf_code_status(sim.result.code) == 4 && sim.result.running_on == PLACE_SOURCE,
            "%u ms: exit %d: %s", ms, qf_code_status(sim.result.code), sim.result.reason);
        ck_assert(model_truth(sim.model)->running[MODEL_SRC]);
        sim_free(&sim);
    }
}
END_TEST

/* Nor does TCP notice anything. The source is made to take its guest back; but not where the destination, which
 * holds it, stopped, does not answer: then a person must look. */
START_TEST(the_word_never_comes)
{
    enum { MONITOR_LIVES, MONITOR_IS_CUT, DESTINATION_STANDS_STILL, WAYS };
    const bool silent = _i / WAYS;
    const int way = _i % WAYS;
    struct sim_setup u = to_postcopy();
    u.quiet = false;
    if (silent)
        u.model.fault[u.model.n_faults++] = (struct model_fault){
            .when = MODEL_AT_TIME, .what = MODEL_NET_SILENT, .t_ns = 4 * MODEL_S};
    if (way != MONITOR_LIVES)
        u.model.fault[u.model.n_faults++] =
            (struct model_fault){.when = MODEL_AT_TIME,
                                 .what = way == MONITOR_IS_CUT ? MODEL_CUT : MODEL_STALL,
                                 .side = MODEL_DST,
                                 .t_ns = 5 * MODEL_S,
                                 .for_ns = MODEL_NEVER};
    sim_run(&sim, &u);
    ck_assert_msg(*sim_complaint(&sim) == '\0', "%s\n%s", sim_complaint(&sim),
                  sim_trace(&sim));
    ck_assert_msg(model_truth(sim.model)->running[MODEL_SRC] == (way == MONITOR_LIVES),
                  "%s", sim_trace(&sim));
    ck_assert(!model_truth(sim.model)->ran_on_dst);
    ck_assert_msg(qf_code_status(sim.result.code) == (way == MONITOR_LIVES ? 4 : 7) &&
                      (way != MONITOR_LIVES || sim.result.running_on == PLACE_SOURCE),
                  "exit %d: %s\n%s", qf_code_status(sim.result.code), sim.result.reason,
                  sim_trace(&sim));
    sim_free(&sim);
}
END_TEST

/* The whole guest has arrived, stopped, and neither the source nor qferry hears of it any more. The source was stopped
 * before, or it would run by itself: it is not continued beside a copy that cannot be made an end of (rule 4). */
START_TEST(beside_a_guest_that_has_arrived_unheard_the_source_stands_still)
{
    enum { STOP_AND_COPY, LAST_WORD, KINDS };
    struct sim_setup u = sim_small();
    const int kind = _i % KINDS;
    const bool cut = _i / KINDS % 2;
    sim_use(&u, _i / KINDS / 2 ? MODEL_11_1 : MODEL_10_0);
    u.quiet = false;
    if (kind == STOP_AND_COPY)
        sim_stop_and_copy(&u);
    else
        sim_to_postcopy(&u);
    u.model.fault[u.model.n_faults++] =
        (struct model_fault){.when = MODEL_AT_COMMAND,
                             .what = cut ? MODEL_CUT : MODEL_STALL,
                             .side = MODEL_SRC,
                             .other = true,
                             .name = "migrate-continue",
                             .for_ns = MODEL_NEVER};
    /* in post-copy: only the last word of all */
    u.model.fault[u.model.n_faults++] =
        (struct model_fault){.when = MODEL_AT_TIME,
                             .what = MODEL_ACK_LOST,
                             .t_ns = MODEL_S + (kind == LAST_WORD ? 210 : 0) * MODEL_MS};
    u.model.fault[u.model.n_faults++] = (struct model_fault){
        .when = MODEL_AT_TIME, .what = MODEL_NET_RESET, .t_ns = 10 * MODEL_S};
    sim_run(&sim, &u);
    ck_assert_msg(*sim_complaint(&sim) == '\0', "%s\n%s", sim_complaint(&sim),
                  sim_trace(&sim));
    const struct model_truth *t = model_truth(sim.model);
    ck_assert_msg(!t->running[MODEL_SRC] && !t->ran_on_dst &&
                      t->status[MODEL_DST] == QAPI_MIG_COMPLETED,
                  "%s", sim_trace(&sim));
    ck_assert_msg(qf_code_status(sim.result.code) == 7, "exit %d: %s\n%s",
                  qf_code_status(sim.result.code), sim.result.reason, sim_trace(&sim));
    sim_free(&sim);
}
END_TEST

/* The yank is lost with the monitor that it was sent through, with the command or with its reply. */
START_TEST(a_yank_that_is_lost_is_sent_again)
{
    struct sim_setup u = to_postcopy();
    u.quiet = false;
    u.model.fault[u.model.n_faults++] =
        (struct model_fault){.when = MODEL_AT_COMMAND,
                             .what = _i ? MODEL_CUT : MODEL_CUT_LOSE,
                             .side = MODEL_SRC,
                             .name = "yank",
                             .for_ns = MODEL_S};
    sim_run(&sim, &u);
    ck_assert_msg(*sim_complaint(&sim) == '\0', "%s\n%s", sim_complaint(&sim),
                  sim_trace(&sim));
    ck_assert_msg(model_truth(sim.model)->running[MODEL_SRC], "%s", sim_trace(&sim));
    ck_assert_msg(qf_code_status(sim.result.code) == 4, "exit %d: %s\n%s",
                  qf_code_status(sim.result.code), sim.result.reason, sim_trace(&sim));
    sim_free(&sim);
}
END_TEST

/* Somebody else continues the guest on the destination, which then does not answer any more, or dies: it was seen to
 * run, and what the source has is old. */
START_TEST(a_destination_that_was_seen_to_run_keeps_the_guest)
{
    static const enum model_what ways[] = {MODEL_STALL, MODEL_CUT, MODEL_DIE};
    struct sim_setup u = to_postcopy();
    u.quiet = false;
    u.model.fault[u.model.n_faults++] = (struct model_fault){.when = MODEL_AT_TIME,
                                                             .what = MODEL_COMMANDED,
                                                             .side = MODEL_DST,
                                                             .t_ns = 4 * MODEL_S,
                                                             .text = "cont"};
    u.model.fault[u.model.n_faults++] = (struct model_fault){.when = MODEL_AT_TIME,
                                                             .what = ways[_i],
                                                             .side = MODEL_DST,
                                                             .t_ns = 5 * MODEL_S,
                                                             .for_ns = MODEL_NEVER};
    sim_run(&sim, &u);
    ck_assert_msg(!model_truth(sim.model)->running[MODEL_SRC], "%s", sim_trace(&sim));
    ck_assert_msg(qf_code_status(sim.result.code) == 7, "exit %d: %s\n%s",
                  qf_code_status(sim.result.code), sim.result.reason, sim_trace(&sim));
    sim_free(&sim);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ack");
    TCase *t = tcase_create("ack");
    tcase_add_test(t, a_source_that_never_heard_of_the_load_has_its_guest_back);
    tcase_add_loop_test(t, the_word_never_comes, 0, 6);
    tcase_add_loop_test(t, a_destination_that_was_seen_to_run_keeps_the_guest, 0, 3);
    tcase_add_loop_test(t, a_yank_that_is_lost_is_sent_again, 0, 2);
    tcase_add_loop_test(t, beside_a_guest_that_has_arrived_unheard_the_source_stands_still,
                        0, 8);
    suite_add_tcase(s, t);
    return sim_main(s);
}

/* Rules of the law (engine/README.md) that no other run would break loudly: somebody changes what was
 * set, and migrate-continue without a word of the destination's. */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/units.h"
#include "setups.h"
#include "sim.h"

static struct sim sim;

static void teardown(void)
{
    sim_free(&sim);
}

/* ---- what was set is read back ---- */

enum kind { PLAIN, CHANNELS, KEY, SELF_START };

static const struct change {
    enum kind kind;
    enum mig_side_id side;
    enum qapi_command query;
    const char *what;
    const char *value; /* as JSON; of a capability its state */
} changes[] = {
    {PLAIN, MIG_SRC, QAPI_QUERY_CAPS, "return-path", "false"},
    {PLAIN, MIG_SRC, QAPI_QUERY_CAPS, "pause-before-switchover", "false"},
    {PLAIN, MIG_SRC, QAPI_QUERY_CAPS, "postcopy-ram", "true"},
    {PLAIN, MIG_DST, QAPI_QUERY_CAPS, "events", "false"},
    {PLAIN, MIG_SRC, QAPI_QUERY_PARAMS, "downtime-limit", "2000"},
    {CHANNELS, MIG_DST, QAPI_QUERY_CAPS, "multifd", "false"},
    {CHANNELS, MIG_SRC, QAPI_QUERY_PARAMS, "multifd-channels", "5"},
    {CHANNELS, MIG_DST, QAPI_QUERY_PARAMS, "multifd-channels", "5"},
    {CHANNELS, MIG_SRC, QAPI_QUERY_PARAMS, "multifd-compression", "\"zstd\""},
    {CHANNELS, MIG_DST, QAPI_QUERY_PARAMS, "multifd-compression", "\"zstd\""},
    {KEY, MIG_SRC, QAPI_QUERY_PARAMS, "tls-creds", "\"\""},
    {KEY, MIG_DST, QAPI_QUERY_PARAMS, "tls-creds", "\"\""},
    {SELF_START, MIG_SRC, QAPI_QUERY_PARAMS, "x-checkpoint-delay", "20000"},
};
enum { N_CHANGES = sizeof(changes) / sizeof(changes[0]) };

static const struct change *change;
static uint64_t asked; /* the question whose answer tells of the change */

static void note_question(struct sim *s,
                          enum mig_side_id side,
                          uint64_t id,
                          const struct qapi_cmd *cmd)
{
    if (s->session->mig.phase == MIG_CONFIGURE && side == change->side &&
        cmd->command == change->query)
        asked = id;
}

static void change_capability(json_t *list, json_t *value)
{
    size_t i;
    json_t *one;
    json_array_foreach (list, i, one) {
        const char *name = json_string_value(json_object_get(one, "capability"));
        if (strcmp(name, change->what) == 0)
            (void)json_object_set(one, "state", value);
    }
}

static unsigned tell_of_it(struct sim *s,
                           const struct model_msg *msg,
                           struct model_msg *out)
{
    (void)s;
    out[0] = *msg;
    out[0].json = msg->json ? json_deep_copy(msg->json) : NULL;
    const json_int_t id = json_integer_value(json_object_get(msg->json, "id"));
    if (msg->kind != MODEL_REPLY || asked == 0 || (uint64_t)id != asked)
        return 1;
    json_t *ret = json_object_get(out[0].json, "return");
    json_t *value = json_loads(change->value, JSON_DECODE_ANY, NULL);
    ck_assert_ptr_nonnull(value);
    if (change->query == QAPI_QUERY_CAPS)
        change_capability(ret, value);
    else
        (void)json_object_set(ret, change->what, value);
    json_decref(value);
    return 1;
}

START_TEST(what_was_set_and_reads_back_otherwise_ends_the_move)
{
    static const struct sim_watch watch = {.on_message = tell_of_it,
                                           .on_send = note_question};
    struct sim_setup u = sim_usual();
    char expected[96];
    change = &changes[_i];
    asked = 0;
    u.watch = &watch;
    if (change->kind == CHANNELS) {
        u.spec.channels_said = true;
        u.spec.channels = 4;
    } else if (change->kind == KEY) {
        u.spec.encrypt = SPEC_ENCRYPT_PSK;
    } else if (change->kind == SELF_START) {
        u.spec.self_start = u.model.dst_autostart = true;
    }
    sim_run(&sim, &u);
    ck_assert_uint_ne(asked, 0);
    ck_assert_msg(*sim_complaint(&sim) == '\0', "%s\n%s", sim_complaint(&sim),
                  sim_trace(&sim));
    ck_assert_msg(qf_code_status(sim.result.code) == 4, "%s", sim_trace(&sim));
    (void)snprintf(expected, sizeof(expected), "%s was set but reads back otherwise",
                   change->what);
    ck_assert_msg(strstr(sim.result.reason, expected), "%s", sim.result.reason);
    ck_assert_ptr_null(strstr(sim_trace(&sim), "source < migrate "));
}
END_TEST

/* ---- the destination is asked before migrate-continue ---- */

static bool waits;           /* the source has said pre-switchover */
static unsigned heard_since; /* answers of the destination's */
static unsigned n_continues;

static unsigned listen_to_both(struct sim *s,
                               const struct model_msg *msg,
                               struct model_msg *out)
{
    (void)s;
    out[0] = *msg;
    out[0].json = json_incref(msg->json);
    const json_t *data = json_object_get(msg->json, "data");
    const char *status = json_string_value(json_object_get(data, "status"));
    if (msg->kind == MODEL_EVENT && msg->side == MODEL_SRC && status &&
        strcmp(status, "pre-switchover") == 0)
        waits = true;
    if (msg->kind == MODEL_REPLY && msg->side == MODEL_DST)
        heard_since += waits;
    return 1;
}

static void expect_answer(struct sim *s,
                          enum mig_side_id side,
                          uint64_t id,
                          const struct qapi_cmd *cmd)
{
    (void)id;
    if (cmd->command != QAPI_MIGRATE_CONTINUE)
        return;
    n_continues++;
    ck_assert_int_eq(side, MIG_SRC);
    ck_assert_msg(waits && heard_since > 0, "%s", sim_trace(s));
}

/* Out of band, in band; on the way to post-copy, too. */
START_TEST(the_destination_has_answered_before_migrate_continue)
{
    static const struct sim_watch watch = {.on_message = listen_to_both,
                                           .on_send = expect_answer};
    static const enum model_flavour flavours[] = {MODEL_7_2, MODEL_10_0, MODEL_11_1};
    struct sim_setup u = _i / 6 ? sim_busy() : sim_usual();
    u.policy = _i / 6 ? "post-copy" : NULL;
    u.model.machine[MODEL_SRC].flavour = u.model.machine[MODEL_DST].flavour =
        flavours[_i % 3];
    u.model.machine[MODEL_DST].no_oob = _i / 3 % 2;
    waits = false;
    heard_since = n_continues = 0;
    u.watch = &watch;
    sim_run(&sim, &u);
    ck_assert_str_eq(sim_complaint(&sim), "");
    ck_assert_int_eq(qf_code_status(sim.result.code), 0);
    ck_assert_uint_eq(n_continues, 1);
}
END_TEST

/* It answers out of band, while its main loop has answered nothing for long: that is asked, too. */
START_TEST(a_destination_whose_main_loop_is_silent_is_waited_for)
{
    static const enum model_flavour flavours[] = {MODEL_7_2, MODEL_10_0, MODEL_11_1};
    struct sim_setup u = sim_usual();
    u.model.machine[MODEL_SRC].flavour = u.model.machine[MODEL_DST].flavour = flavours[_i];
    u.model.rate[0].pages_per_s = 20000; /* for it to last a little */
    sim_at_phase(&u, SIM_FAULT, MIG_PRECOPY, 0)->fault =
        (struct model_fault){.what = MODEL_STALL, .side = MODEL_DST, .for_ns = MODEL_NEVER};
    sim_run(&sim, &u);
    ck_assert_str_eq(sim_complaint(&sim), "");
    ck_assert_int_eq(qf_code_status(sim.result.code), 4);
    ck_assert_int_eq(sim.result.running_on, PLACE_SOURCE);
    ck_assert_ptr_null(strstr(sim_trace(&sim), "migrate-continue"));
}
END_TEST

/* ---- both sides are left alone after they have paused ---- */

static int64_t paused_ns;
static unsigned n_resumes;

static unsigned note_pause(struct sim *s,
                           const struct model_msg *msg,
                           struct model_msg *out)
{
    out[0] = *msg;
    out[0].json = json_incref(msg->json);
    const json_t *data = json_object_get(msg->json, "data");
    const char *status = json_string_value(json_object_get(data, "status"));
    if (msg->kind == MODEL_EVENT && status && strcmp(status, "postcopy-paused") == 0)
        paused_ns = s->t_ns;
    return 1;
}

static void expect_rest(struct sim *s,
                        enum mig_side_id side,
                        uint64_t id,
                        const struct qapi_cmd *cmd)
{
    (void)id;
    if (cmd->command != QAPI_MIGRATE_RESUME)
        return;
    n_resumes++;
    ck_assert_int_eq(side, MIG_SRC);
    ck_assert_msg(paused_ns != 0 && s->t_ns - paused_ns >= 300 * MODEL_MS, "%s",
                  sim_trace(s));
}

/* Both, or one some time before the other. */
START_TEST(a_source_is_resumed_300_ms_after_both_have_paused)
{
    static const struct sim_watch watch = {.on_message = note_pause,
                                           .on_send = expect_rest};
    static const enum model_flavour flavours[] = {MODEL_7_2, MODEL_10_0, MODEL_11_1};
    struct sim_setup u = sim_busy();
    u.policy = "post-copy";
    u.set[0] = "postcopy.bandwidth=20MiB";
    u.model.machine[MODEL_SRC].flavour = u.model.machine[MODEL_DST].flavour =
        flavours[_i % 3];
    u.watch = &watch;
    paused_ns = 0;
    n_resumes = 0;
    if (_i / 3 == 0) {
        sim_at_phase(&u, SIM_FAULT, MIG_POSTCOPY, MODEL_S)->fault =
            (struct model_fault){.what = MODEL_NET_RESET};
    } else {
        sim_at_phase(&u, SIM_FAULT, MIG_POSTCOPY, MODEL_S)->fault =
            (struct model_fault){.what = MODEL_NET_SILENT, .for_ns = 3 * MODEL_S};
        sim_at_phase(&u, SIM_FAULT, MIG_POSTCOPY, MODEL_S)->fault =
            (struct model_fault){.what = MODEL_COMMANDED,
                                 .side = _i / 3 == 1 ? MODEL_SRC : MODEL_DST,
                                 .text = "migrate-pause"};
    }
    sim_run(&sim, &u);
    ck_assert_str_eq(sim_complaint(&sim), "");
    ck_assert_int_eq(qf_code_status(sim.result.code), 0);
    ck_assert_uint_ge(n_resumes, 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("sim/law");
    TCase *t = tcase_create("law");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_loop_test(t, what_was_set_and_reads_back_otherwise_ends_the_move, 0,
                        N_CHANGES);
    tcase_add_loop_test(t, the_destination_has_answered_before_migrate_continue, 0, 12);
    tcase_add_loop_test(t, a_destination_whose_main_loop_is_silent_is_waited_for, 0, 3);
    tcase_add_loop_test(t, a_source_is_resumed_300_ms_after_both_have_paused, 0, 9);
    suite_add_tcase(s, t);
    return sim_main(s);
}

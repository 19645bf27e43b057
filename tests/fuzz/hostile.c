/* A hostile pair of QEMUs: whatever they say has the shape of their schema, and may be a lie.
 *
 *   hostile [--steps N] [--seed S] [--run R]
 *
 * Each run is a simulated move (tests/sim) of a random guest by a random request. Up to some point
 * the modelled QEMUs tell the truth, so that every phase is reached; from there on answers are
 * replaced by refusals, by random values of the type that the recorded query-qmp-schema gives, or by
 * the truth with one member changed; some are lost; events of any kind come in between. Later still
 * both die, after ten minutes at the latest. What must hold, whatever they say:
 *
 *   no assertion, and no end without an end: once nobody answers any more it comes to its end
 *   it asks to be woken, at most ten seconds ahead, until then
 *   cont never goes to the source after one for the destination that was not refused; and to neither
 *   side while the other one was last heard to run (but for a source in post-copy, which cannot)
 *   no cancel, and no yank of the source, after post-copy has begun as far as it knows
 *   the journal replays to the same decisions (of one run in sixteen)
 *
 * Deterministic: run R of a seed is the same everywhere. --run R shows it. */
#include <check.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/units.h"
#include "engine/mig_priv.h"
#include "engine/replay.h"
#include "policy/policy_json.h"
#include "tests/fuzz/fuzz.h"
#include "tests/sim/setups.h"
#include "tests/sim/sim.h"

enum {
    ASKED_MAX = 64, /* more than can be in flight */
    DEPTH_MAX = 6,
    REPLAY_EVERY = 16,
    PHASES = MIG_HELD + 1,
    WAKE_S = 10,
    DEATH_S = 600
};

/* ---- chance ---- */

static uint64_t state;

static uint64_t draw64(void)
{
    state += UINT64_C(0x9E3779B97F4A7C15); /* splitmix64 (Steele, Lea, Flood, 2014) */
    uint64_t z = state;
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static unsigned draw(unsigned n)
{
    return (unsigned)(draw64() % n);
}

static bool chance(unsigned percent)
{
    return draw(100) < percent;
}

/* ---- values by the schema ---- */

static json_t *schema; /* entities by name */

static bool load_schema(void)
{
    size_t i;
    json_t *e;
    json_t *whole =
        json_load_file(QFERRY_SOURCE_DIR "/tests/fake/schema-7.2.json", 0, NULL);
    schema = json_object();
    json_array_foreach (json_object_get(whole, "return"), i, e)
        (void)json_object_set(schema, json_string_value(json_object_get(e, "name")), e);
    json_decref(whole);
    return json_object_size(schema) > 0;
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static json_t *one_of(const json_t *array)
{
    const size_t n = json_array_size(array);
    return n > 0 ? json_array_get(array, draw((unsigned)n)) : NULL;
}

static json_t *any_int(void)
{
    static const json_int_t few[] = {0, 1, -1, 2, 4096, 300, 1 << 30, INT64_MAX, INT64_MIN};
    if (chance(70))
        return json_integer(few[draw(sizeof(few) / sizeof(few[0]))]);
    return json_integer((json_int_t)(draw64() >> draw(64)));
}

static json_t *any_string(void)
{
    static const char *const few[] = {"",
                                      "4444",
                                      "none",
                                      "running",
                                      "completed",
                                      "qferry-tls-1",
                                      "tcp:10.0.0.1:4444",
                                      "/machine",
                                      "host-qmp-quit",
                                      "pc-i440fx-7.2-machine",
                                      "18446744073709551615"};
    char longer[300];
    if (chance(90))
        return json_string(few[draw(sizeof(few) / sizeof(few[0]))]);
    memset(longer, 'x', sizeof(longer));
    longer[draw(sizeof(longer))] = '\0';
    longer[sizeof(longer) - 1] = '\0';
    return json_string(longer);
}

/* Of later versions than that of the schema. */
static json_t *any_enum(const json_t *type)
{
    static const char *const later[] = {"postcopy-device", "postcopy-recover-setup",
                                        "failing"};
    const json_t *values = json_object_get(type, "values");
    size_t i;
    const json_t *v;
    json_array_foreach (values, i, v)
        if (strcmp(json_string_value(v), "postcopy-active") == 0 && chance(15))
            return json_string(later[draw(3)]);
    return json_incref(one_of(values));
}

static json_t *any_value(const char *type_name, unsigned depth);

static void add_members(json_t *out, const json_t *type, unsigned depth)
{
    size_t i;
    const json_t *m;
    const char *tag = text_of(type, "tag");
    json_array_foreach (json_object_get(type, "members"), i, m) {
        const bool optional = json_object_get(m, "default") != NULL;
        if (!optional || (depth < DEPTH_MAX && chance(60)))
            (void)json_object_set_new(out, text_of(m, "name"),
                                      any_value(text_of(m, "type"), depth + 1));
    }
    json_array_foreach (json_object_get(type, "variants"), i, m)
        if (strcmp(text_of(m, "case"), text_of(out, tag)) == 0)
            add_members(out, json_object_get(schema, text_of(m, "type")), depth);
}

static json_t *any_value(const char *type_name, unsigned depth)
{
    const json_t *type = json_object_get(schema, type_name);
    const char *meta = text_of(type, "meta-type");
    if (strcmp(meta, "enum") == 0)
        return any_enum(type);
    if (strcmp(meta, "alternate") == 0)
        return any_value(text_of(one_of(json_object_get(type, "members")), "type"), depth);
    if (strcmp(meta, "array") == 0) {
        json_t *out = json_array();
        for (unsigned n = depth < DEPTH_MAX ? draw(5) : 0; n > 0; n--)
            (void)json_array_append_new(
                out, any_value(text_of(type, "element-type"), depth + 1));
        return out;
    }
    if (strcmp(meta, "object") == 0) {
        json_t *out = json_object();
        add_members(out, type, depth);
        return out;
    }
    const char *json = text_of(type, "json-type");
    return strcmp(json, "boolean") == 0  ? json_boolean(chance(50))
           : strcmp(json, "int") == 0    ? any_int()
           : strcmp(json, "number") == 0 ? chance(50) ? any_int() : json_real(0.5)
           : strcmp(json, "string") == 0 ? any_string()
           : strcmp(json, "null") == 0   ? json_null()
           : chance(50)                  ? any_string()
                                         : any_int(); /* any value (qom-get) */
}

/* The truth, but for one member somewhere in it. New. */
static json_t *nearly(const json_t *truth, const char *type_name)
{
    const json_t *type = json_object_get(schema, type_name);
    json_t *out = json_deep_copy(truth);
    const json_t *m = one_of(json_object_get(type, "members"));
    if (json_is_array(out) && json_array_size(out) > 0) {
        const unsigned i = draw((unsigned)json_array_size(out));
        (void)json_array_set_new(
            out, i, nearly(json_array_get(out, i), text_of(type, "element-type")));
    } else if (json_is_object(out) && m) {
        const char *name = text_of(m, "name");
        const json_t *was = json_object_get(out, name);
        if (was && json_is_object(was) && chance(60))
            (void)json_object_set_new(out, name, nearly(was, text_of(m, "type")));
        else if (was && json_object_get(m, "default") && chance(30))
            (void)json_object_del(out, name);
        else
            (void)json_object_set_new(out, name, any_value(text_of(m, "type"), 0));
    } else {
        json_decref(out);
        out = any_value(type_name, 0);
    }
    return out;
}

/* ---- what they say ---- */

static const char *const events[] = {
    "MIGRATION",      "MIGRATION",      "MIGRATION",      "STOP",         "RESUME",
    "SHUTDOWN",       "RESET",          "SUSPEND",        "SUSPEND_DISK", "WAKEUP",
    "GUEST_PANICKED", "BLOCK_IO_ERROR", "MIGRATION_PASS", "POWERDOWN"};

static struct hostile {
    struct sim sim;
    unsigned run;
    unsigned n_heard; /* messages so far */
    unsigned honest;  /* so many come first; UINT32_MAX: until `migrate` has been sent */
    unsigned until;   /* after so many lies both die */
    unsigned n_lies;
    unsigned percent; /* of what is said is a lie */
    unsigned told[PHASES];
    struct {
        uint64_t id;
        enum mig_side_id side;
        enum qapi_command command;
    } asked[ASKED_MAX];
    bool cont_sent[MIG_SIDES]; /* to this engine's knowledge it may have been carried out */
    const char *broken;        /* the first promise that was; NULL */
} h;

static json_t *any_event(void)
{
    const char *name = events[draw(sizeof(events) / sizeof(events[0]))];
    const json_t *e = json_object_get(schema, name);
    return json_pack("{s:s, s:o, s:{s:i, s:i}}", "event", name, "data",
                     any_value(text_of(e, "arg-type"), 0), "timestamp", "seconds", 1,
                     "microseconds", 2);
}

/* What was asked with this id; NULL: nothing that is known. */
static const char *command_of(enum mig_side_id side, uint64_t id)
{
    for (unsigned i = 0; i < ASKED_MAX; i++)
        if (h.asked[i].id == id && h.asked[i].side == side)
            return qapi_command_name(h.asked[i].command);
    return NULL;
}

static json_t *any_reply(const json_t *truth, enum mig_side_id side)
{
    static const char *const classes[] = {"GenericError", "CommandNotFound",
                                          "DeviceNotFound", "DeviceNotActive"};
    json_t *id = json_object_get(truth, "id");
    const char *name = command_of(side, (uint64_t)json_integer_value(id));
    const json_t *was = json_object_get(truth, "return");
    const json_t *command = name ? json_object_get(schema, name) : NULL;
    json_t *value;
    if (!command || chance(20))
        return json_pack("{s:{s:s, s:o}, s:O}", "error", "class", classes[draw(4)], "desc",
                         any_string(), "id", id);
    if (was && chance(70))
        value = nearly(was, text_of(command, "ret-type"));
    else
        value = any_value(text_of(command, "ret-type"), 0);
    return json_pack("{s:o, s:O}", "return", value, "id", id);
}

static bool is_honest(void)
{
    return h.honest == UINT32_MAX ? !h.sim.session->mig.started : h.n_heard <= h.honest;
}

/* In the place of a message: none, another one, more. */
static unsigned lie(struct sim *s, const struct model_msg *msg, struct model_msg *out)
{
    unsigned n = 0;
    (void)s;
    h.n_heard++;
    if (msg->kind != MODEL_DOWN && msg->kind != MODEL_GREETING && !is_honest() &&
        h.n_lies < h.until && chance(h.percent)) {
        h.n_lies++;
        h.told[h.sim.session->mig.phase]++;
        const unsigned how = draw(10);
        if (how < 3) { /* something is said before it */
            out[n] = *msg;
            out[n].kind = MODEL_EVENT;
            out[n++].json = any_event();
        }
        if (how < 9) {
            out[n] = *msg;
            out[n].json =
                msg->kind == MODEL_EVENT
                    ? (chance(50) ? any_event() : json_incref(msg->json))
                    : any_reply(msg->json, msg->side == MODEL_SRC ? MIG_SRC : MIG_DST);
            n++;
        } /* else it is lost */
        if (h.n_lies == h.until) {
            struct model_fault f = {.what = MODEL_DIE, .side = MODEL_SRC};
            model_inject(h.sim.model, &f, h.sim.t_ns);
            f.side = MODEL_DST;
            model_inject(h.sim.model, &f, h.sim.t_ns);
        }
        return n;
    }
    out[0] = *msg;
    out[0].json = json_incref(msg->json);
    return 1;
}

/* ---- what must hold ---- */

static void must(bool holds, const char *what)
{
    if (!holds && !h.broken)
        h.broken = what;
}

static void on_send(struct sim *s,
                    enum mig_side_id side,
                    uint64_t id,
                    const struct qapi_cmd *c)
{
    static unsigned at;
    const struct mig *m = &s->session->mig;
    const struct mig_side *other = &m->side[side == MIG_SRC ? MIG_DST : MIG_SRC];
    h.asked[at].id = id;
    h.asked[at].side = side;
    h.asked[at].command = c->command;
    at = (at + 1) % ASKED_MAX;
    if (c->command == QAPI_CONT) {
        must(side != MIG_SRC || !h.cont_sent[MIG_DST] || m->cont_refused,
             "cont to the source after one to the destination");
        /* In post-copy a source cannot run, whatever it says: its status counts. */
        must(other->gone || other->run != QAPI_RUN_RUNNING ||
                 (side == MIG_DST && mig_is_split(other->migrate.status)),
             "cont to a side while the other one runs");
        h.cont_sent[side] = true;
    }
    if (side == MIG_SRC && (c->command == QAPI_MIGRATE_CANCEL || c->command == QAPI_YANK))
        must(
            !mig_is_split(m->side[MIG_SRC].migrate.status) ||
                (c->command == QAPI_YANK && mig_is_broken(m->side[MIG_SRC].migrate.status)),
            "a cancel in post-copy");
}

static void on_step(struct sim *s)
{
    const struct mig_todo *todo = &s->session->todo;
    struct owner_view v;
    mig_view(&s->session->mig, &v);
    must((v.may & (MAY_CONT_SRC | MAY_CONT_DST)) != (MAY_CONT_SRC | MAY_CONT_DST),
         "both sides may run");
    must(s->session->mig.ended || todo->wake_ns <= s->t_ns + WAKE_S * MODEL_S,
         "it sleeps too long");
}

/* A new engine knows nothing of what the earlier one has sent. */
static void on_engine(struct sim *s)
{
    (void)s;
    memset(h.cont_sent, 0, sizeof(h.cont_sent));
    memset(h.asked, 0, sizeof(h.asked));
}

static const struct sim_watch watch = {
    .on_message = lie, .on_send = on_send, .on_step = on_step, .on_engine = on_engine};

/* ---- a run ---- */

static enum model_flavour any_flavour(void)
{
    static const enum model_flavour all[] = {MODEL_7_2, MODEL_10_0, MODEL_11_1};
    return all[draw(3)];
}

/* What may befall QEMUs that do not lie, too. */
static struct model_fault any_fault(void)
{
    static const enum model_what all[] = {MODEL_DIE,      MODEL_DIE_AFTER, MODEL_CUT,
                                          MODEL_CUT_LOSE, MODEL_STALL,     MODEL_DELAY,
                                          MODEL_LOSE,     MODEL_DUPLICATE, MODEL_ACK_LOST};
    static const char *const commands[] = {"cont", "migrate-continue", "migrate", "stop"};
    struct model_fault f = {
        .when = MODEL_AT_COMMAND, .side = MODEL_ANY, .n = 1 + draw(100)};
    f.what = all[draw(sizeof(all) / sizeof(all[0]))];
    f.other = chance(30);
    f.for_ns = (1 + draw(40)) * MODEL_S;
    if (f.what == MODEL_DUPLICATE || (f.what != MODEL_CUT_LOSE && chance(40)))
        f.when = MODEL_AT_MESSAGE;
    if (f.when == MODEL_AT_MESSAGE &&
        f.what == MODEL_DELAY) /* all behind it waits in the model */
        f.for_ns = (1 + draw(5)) * MODEL_S;
    if (f.when == MODEL_AT_COMMAND && chance(30)) {
        f.name = commands[draw(4)];
        f.n = 1;
    }
    return f;
}

static struct sim_setup any_setup(void)
{
    static const char *const postcopy[] = {"timeout=150ms", "on-timeout=postcopy",
                                           "postcopy.bandwidth=40MiB"};
    struct sim_setup u = sim_small();
    if (!chance(50))
        u.model.rate[0].pages_per_s = 100000;
    u.model.silence_ns = 20 * MODEL_S;
    u.model.machine[MODEL_SRC].flavour = any_flavour();
    u.model.machine[MODEL_DST].flavour = any_flavour();
    u.model.cancel_hangs = chance(3);
    u.model.dst_hangs = chance(10);
    u.policy = policy_preset_name(draw((unsigned)policy_preset_count()));
    if (chance(35)) {
        u.policy = "post-copy";
        memcpy(u.set, postcopy, sizeof(postcopy));
    }
    u.spec.quit_source = chance(20);
    u.spec.quit_destination = chance(20);
    u.spec.channels_said = chance(20);
    u.spec.channels = u.spec.channels_said ? draw(5) : 0;
    if (chance(20))
        u.spec.encrypt = SPEC_ENCRYPT_PSK;
    if (chance(10))
        (void)strcpy(u.spec.bind, "eth1");
    if (chance(30)) /* interrupted on its way */
        u.model.fault[u.model.n_faults++] =
            (struct model_fault){.when = MODEL_AT_TIME,
                                 .what = chance(70) ? MODEL_NET_RESET : MODEL_NET_SILENT,
                                 .t_ns = MODEL_S + (int64_t)draw(600) * MODEL_MS,
                                 .for_ns = 2 * MODEL_S};
    while (chance(40) && u.model.n_faults < 3)
        u.model.fault[u.model.n_faults++] = any_fault();
    if (chance(20))
        u.doing[u.n_doings++] = (struct sim_doing){
            .when = SIM_AT_EVENT, .what = SIM_CANCEL, .n = 1 + draw(150)};
    if (chance(15))
        u.doing[u.n_doings++] = (struct sim_doing){
            .when = SIM_AT_DEED, .what = SIM_RESTART, .n = 1 + draw(100)};
    for (unsigned i = 0; i < MIG_SIDES; i++)
        u.doing[u.n_doings++] = (struct sim_doing){
            .when = SIM_AT_TIME,
            .what = SIM_FAULT,
            .t_ns = DEATH_S * MODEL_S,
            .fault = {.what = MODEL_DIE, .side = i == 0 ? MODEL_SRC : MODEL_DST}};
    return u;
}

struct tally {
    unsigned long long steps, lies;
    unsigned runs, exits[8], replayed;
    unsigned long long told[PHASES]; /* lies, by the phase in which the engine was */
};

static bool replays(const struct sim *s)
{
    for (unsigned i = 0; i < s->n_sessions; i++) {
        struct replay_report report;
        struct qf_err err = {.text = ""};
        if (replay(s->journal[i].data, s->journal[i].len, &report, &err) != 0 ||
            report.differs != 0) {
            (void)fprintf(stderr, "replay: %s; line %llu\n  journal %s\n  replay  %s\n",
                          err.text, (unsigned long long)report.differs, report.expected,
                          report.got);
            return false;
        }
    }
    return true;
}

static bool run_one(uint64_t seed, unsigned run, bool loud, struct tally *t)
{
    state = seed * UINT64_C(0x2545F4914F6CDD1D) + run;
    memset(&h, 0, sizeof(h));
    struct sim_setup u = any_setup();
    u.quiet = !loud;
    u.watch = &watch;
    h.run = run;
    h.honest = chance(15) ? 0 : chance(50) ? UINT32_MAX : draw(200);
    h.until = 1 + draw(300);
    h.percent = 1U << draw(7);
    sim_run(&h.sim, &u);
    if (!h.sim.ended || !h.sim.has_result)
        must(false, "it does not end");
    if (!h.broken && run % REPLAY_EVERY == 0) {
        t->replayed++;
        must(replays(&h.sim), "the journal does not replay");
    }
    if (loud)
        (void)printf("%s", sim_trace(&h.sim));
    t->runs++;
    t->steps += h.sim.steps;
    t->lies += h.n_lies;
    for (unsigned i = 0; i < PHASES; i++)
        t->told[i] += h.told[i];
    if (h.sim.has_result)
        t->exits[qf_code_status(h.sim.result.code) & 7]++;
    sim_free(&h.sim);
    return h.broken == NULL;
}

/* ---- the command line ---- */

static struct wanted {
    unsigned long long steps;
    uint64_t seed;
    long only;
    unsigned bad;
} wanted = {.steps = 100000, .seed = 1, .only = -1};

static void say_tally(const struct tally *t, long long seconds)
{
    for (unsigned i = 0; i < PHASES; i++)
        if (t->told[i] > 0)
            (void)printf("%10llu lies in %s\n", t->told[i],
                         mig_phase_name((enum mig_phase)i));
    const unsigned *e = t->exits;
    (void)printf(
        "%llu steps in %u runs, %llu lies; exit 0: %u, 1: %u, 3: %u, 4: %u, 5: %u, 6: "
        "%u, 7: %u; %u replayed; wrong: %u; %lld s\n",
        t->steps, t->runs, t->lies, e[0], e[1], e[3], e[4], e[5], e[6], e[7], t->replayed,
        wanted.bad, seconds);
}

/* An assertion of the engine's: which run it was, and what came before. */
static void on_abort(int signal)
{
    (void)signal;
    (void)fprintf(stderr, "hostile --seed %llu --run %u: an assertion\n",
                  (unsigned long long)wanted.seed, h.run);
    if (wanted.only >= 0)
        (void)fprintf(stderr, "%.*s", (int)h.sim.trace.len, h.sim.trace.data);
    (void)fflush(stderr);
}

START_TEST(whatever_they_say)
{
    enum { SHOWN = 20 };
    static struct tally t;
    const time_t begin = time(NULL);
    (void)signal(SIGABRT, on_abort);
    ck_assert_msg(load_schema(), "tests/fake/schema-7.2.json cannot be read");
    for (unsigned run = wanted.only < 0 ? 0 : (unsigned)wanted.only;
         t.steps < wanted.steps && wanted.bad < SHOWN; run++) {
        if (!run_one(wanted.seed, run, wanted.only >= 0, &t)) {
            wanted.bad++;
            (void)fprintf(stderr, "hostile --seed %llu --run %u: %s\n",
                          (unsigned long long)wanted.seed, run, h.broken);
        }
        if (wanted.only >= 0)
            break;
    }
    say_tally(&t, (long long)(time(NULL) - begin));
    json_decref(schema);
    ck_assert_uint_eq(wanted.bad, 0);
}
END_TEST

static bool read_option(const char *option, const char *value)
{
    if (strcmp(option, "--steps") == 0)
        wanted.steps = strtoull(value, NULL, 10);
    else if (strcmp(option, "--seed") == 0)
        wanted.seed = strtoull(value, NULL, 10);
    else if (strcmp(option, "--run") == 0)
        wanted.only = strtol(value, NULL, 10);
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i += 2)
        if (i + 1 >= argc || !read_option(argv[i], argv[i + 1])) {
            (void)fprintf(stderr, "usage: hostile [--steps N] [--seed S] [--run R]\n");
            return 2;
        }
    /* One test, in this process: what it uses of tests/sim asserts with Check. */
    Suite *s = suite_create("hostile");
    TCase *t = tcase_create("hostile");
    tcase_set_timeout(t, 0);
    tcase_add_test(t, whatever_they_say);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed > 0;
}

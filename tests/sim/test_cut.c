/* Cut every wire: take a good run, and for each message that was delivered, each command that
 * arrived and each thing that was fed, and every fault that can befall it, run again with that
 * one changed. Whatever comes of it: nothing happens that must never happen, it ends, the exit
 * status keeps its promise, settings are put back, and the journal replays (sim_complaint).
 *
 * With the argument `two`: two of them in one run. The first is any, the second any that comes after it
 * in the run that the first has made; drawn by a seed, as there are millions of pairs. And qferry is
 * killed and started again before each thing that it does, and for each of those once more with a
 * fault after it.
 *
 * QFERRY_CUT="2 lose-message 17" prints the trace of that one, QFERRY_CUT="2 lose-message 17 cancel
 * 30" that of a pair. QFERRY_CUT_ALL=1 leaves none out of the single ones; QFERRY_CUT_PAIRS=N draws so
 * many for each good run, QFERRY_CUT_SEED=N by another seed. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "setups.h"
#include "sim.h"

/* ---- the good runs ---- */

static void quitting(struct sim_setup *u)
{
    u->spec.quit_source = true;
    u->spec.quit_destination = true;
}

/* The first network is lost in the middle, and it starts again over the second one. */
static void over_the_next(struct sim_setup *u)
{
    static struct netsel_facts first;
    static struct netsel_facts later;
    sim_two_networks(u, &first);
    later = first;
    later.path[0].answer = NETSEL_FAILED;
    u->network_later = &later;
    u->spec.retries = 1;
    u->spec.restarts = true;
    u->restart_ns = 20 * MODEL_MS;
    u->model.fault[u->model.n_faults++] = (struct model_fault){
        .when = MODEL_AT_TIME, .what = MODEL_NET_RESET, .t_ns = MODEL_S + 100 * MODEL_MS};
}

/* The longest way to one stream: the destination takes both, the source does not. */
static void channels_refused(struct sim_setup *u)
{
    u->model.machine[MODEL_SRC].no_pair = true;
    u->set[2] = "channels=4";
}

/* One of each kind there is. */
static const struct {
    const char *name;
    sim_trait *traits[SIM_TRAITS_MAX];
    enum record_mode mode;
    bool from_the_start; /* its way up to `migrate` is its own */
    bool sparse;         /* much of it is as in other modes: every other one has to do */
} modes[] = {
    {"precopy", {NULL}, MODE_PRECOPY, false, false},
    {"precopy on 11.1", {sim_on_11_1}, MODE_PRECOPY, false, false},
    {"post-copy", {sim_to_postcopy}, MODE_POSTCOPY, false, false},
    {"post-copy on 11.1", {sim_to_postcopy, sim_on_11_1}, MODE_POSTCOPY, false, false},
    {"post-copy, recovered",
     {sim_to_postcopy, sim_interrupted},
     MODE_POSTCOPY,
     false,
     false},
    {"post-copy on 11.1, recovered",
     {sim_to_postcopy, sim_interrupted, sim_on_11_1},
     MODE_POSTCOPY,
     false,
     false},
    {"stop-and-copy", {sim_stop_and_copy}, MODE_STOP_AND_COPY, false, false},
    {"quitting both", {quitting}, MODE_PRECOPY, false, false},
    {"over the next network", {over_the_next}, MODE_PRECOPY, false, true},
    {"encrypted", {sim_encrypted}, MODE_PRECOPY, true, false},
    {"from an interface", {sim_from_interface}, MODE_PRECOPY, false, false},
    {"channels", {sim_with_channels}, MODE_PRECOPY, false, true},
    {"channels that the source refuses",
     {sim_to_postcopy, sim_on_11_1, channels_refused},
     MODE_POSTCOPY,
     false,
     true},
};
enum { N_MODES = sizeof(modes) / sizeof(modes[0]) };

static struct sim_setup setup_of(int mode)
{
    struct sim_setup u = sim_small();
    u.model.silence_ns = 100 * MODEL_S;
    sim_add_traits(&u, modes[mode].traits);
    return u;
}

/* ---- the faults ---- */

/* DEED: what the engine does, among it each command that leaves. */
enum target { MESSAGE, COMMAND, FED, DEED, TARGETS };

static const struct kind {
    const char *name;
    enum target target;
    enum model_what what;
    bool other; /* it befalls the other side */
    int64_t for_ns;
    enum sim_what doing;
    bool network; /* the migration's: not before there is one */
    bool slow;    /* much is waited: but in the first mode, a third of them has to do */
} kinds[] = {
    {.name = "lose-message", .what = MODEL_LOSE, .slow = true},
    {.name = "delay-message-5s", .what = MODEL_DELAY, .for_ns = 5 * MODEL_S},
    {.name = "delay-message-40s",
     .what = MODEL_DELAY,
     .for_ns = 40 * MODEL_S,
     .slow = true},
    {.name = "duplicate-message", .what = MODEL_DUPLICATE},
    {.name = "link-down-at-message", .what = MODEL_CUT},
    {.name = "link-down-1s-at-message", .what = MODEL_CUT, .for_ns = MODEL_S},
    {.name = "other-link-down-at-message", .what = MODEL_CUT, .other = true},
    {.name = "link-down-for-good", .what = MODEL_CUT, .for_ns = MODEL_NEVER, .slow = true},
    {.name = "qemu-gone-at-message", .what = MODEL_DIE},
    {.name = "other-qemu-gone-at-message", .what = MODEL_DIE, .other = true},
    {.name = "network-silent-at-message",
     .what = MODEL_NET_SILENT,
     .network = true,
     .slow = true},
    {.name = "network-reset-at-message", .what = MODEL_NET_RESET, .network = true},
    {.name = "ack-lost-at-message", .what = MODEL_ACK_LOST, .network = true, .slow = true},
    {.name = "refuse-command", .target = COMMAND, .what = MODEL_REFUSE},
    {.name = "lose-command", .target = COMMAND, .what = MODEL_LOSE, .slow = true},
    {.name = "delay-command-5s",
     .target = COMMAND,
     .what = MODEL_DELAY,
     .for_ns = 5 * MODEL_S},
    {.name = "delay-command-40s",
     .target = COMMAND,
     .what = MODEL_DELAY,
     .for_ns = 40 * MODEL_S,
     .slow = true},
    {.name = "link-down-command-lost", .target = COMMAND, .what = MODEL_CUT_LOSE},
    {.name = "link-down-at-command", .target = COMMAND, .what = MODEL_CUT},
    {.name = "qemu-gone-before-command", .target = COMMAND, .what = MODEL_DIE},
    {.name = "qemu-gone-after-command", .target = COMMAND, .what = MODEL_DIE_AFTER},
    {.name = "cancel", .target = FED, .doing = SIM_CANCEL},
    {.name = "restart", .target = FED, .doing = SIM_RESTART},
    {.name = "restart-before-deed", .target = DEED, .doing = SIM_RESTART},
};
enum { N_KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static struct sim sim;

static void change(struct sim_setup *u, const struct kind *k, unsigned n)
{
    if (k->target == FED || k->target == DEED) {
        u->doing[u->n_doings++] =
            (struct sim_doing){.when = k->target == FED ? SIM_AT_EVENT : SIM_AT_DEED,
                               .what = k->doing,
                               .n = n};
        return;
    }
    u->model.fault[u->model.n_faults++] = (struct model_fault){
        .when = k->target == MESSAGE ? MODEL_AT_MESSAGE : MODEL_AT_COMMAND,
        .what = k->what,
        .side = MODEL_ANY,
        .other = k->other,
        .n = n,
        .for_ns = k->for_ns,
    };
}

struct cut {
    const struct kind *kind; /* NULL: none */
    unsigned n;
};

static const char *run_cuts(int mode, struct cut one, struct cut two, bool loud)
{
    struct sim_setup u = setup_of(mode);
    u.quiet = !loud;
    u.no_replay = (one.n + two.n) % 4 != 0 && !loud; /* the slowest part by far */
    change(&u, one.kind, one.n);
    if (two.kind) {
        u.two_faults = true;
        change(&u, two.kind, two.n);
    }
    sim_run(&sim, &u);
    return sim_complaint(&sim);
}

static const char *run_one(int mode, const struct kind *k, unsigned n, bool loud)
{
    return run_cuts(mode, (struct cut){k, n}, (struct cut){NULL, 0}, loud);
}

/* How many there are, and how many before `migrate`. */
struct counts {
    unsigned all[TARGETS];
    unsigned before[TARGETS];
};

static void count(unsigned of[TARGETS])
{
    of[MESSAGE] = model_messages(sim.model, MODEL_ANY);
    of[COMMAND] = model_commands(sim.model, MODEL_ANY);
    of[FED] = sim.n_fed;
    of[DEED] = sim.n_deeds;
}

static struct counts good_run(int mode)
{
    struct counts c;
    struct sim_setup u = setup_of(mode);
    sim_run(&sim, &u);
    ck_assert_str_eq(sim_complaint(&sim), "");
    ck_assert_int_eq(qf_code_status(sim.result.code), 0);
    ck_assert_int_eq(sim.result.mode, modes[mode].mode);
    count(c.all);
    sim_free(&sim);
    /* The source dies of `migrate`: what was counted came before. */
    u.model.fault[u.model.n_faults++] = (struct model_fault){
        .when = MODEL_AT_COMMAND, .what = MODEL_DIE, .side = MODEL_SRC, .name = "migrate"};
    sim_run(&sim, &u);
    count(c.before);
    sim_free(&sim);
    return c;
}

/* The way up to `migrate` is nearly the same in all modes: it is cut in the first. */
static unsigned first(int mode, const struct kind *k, const struct counts *c)
{
    const unsigned before = c->before[k->target];
    const bool all = mode == 0 || modes[mode].from_the_start;
    return all && !k->network ? 1 : before > 6 ? before - 6 : 1;
}

START_TEST(every_wire_cut)
{
    enum { SHOWN = 20 };
    const struct counts c = good_run(_i);
    unsigned runs = 0;
    unsigned bad = 0;
    unsigned exits[8] = {0};
    for (const struct kind *k = kinds; k < kinds + N_KINDS; k++) {
        for (unsigned n = first(_i, k, &c); n <= c.all[k->target]; n++) {
            if (k->slow && _i > 0 && (n + (unsigned)_i) % 3 != 0 &&
                !getenv("QFERRY_CUT_ALL"))
                continue;
            if (modes[_i].sparse && (n + (unsigned)(k - kinds)) % 2 != 0 &&
                !getenv("QFERRY_CUT_ALL"))
                continue;
            const char *complaint = run_one(_i, k, n, false);
            runs++;
            if (*complaint) {
                if (++bad <= SHOWN)
                    (void)fprintf(stderr, "QFERRY_CUT=\"%d %s %u\": %s\n", _i, k->name, n,
                                  complaint);
            } else {
                exits[qf_code_status(sim.result.code) & 7]++;
            }
            sim_free(&sim);
        }
    }
    (void)printf("%s: %u runs; exit 0: %u, 3: %u, 4: %u, 5: %u, 6: %u, 7: %u; wrong: %u\n",
                 modes[_i].name, runs, exits[0], exits[3], exits[4], exits[5], exits[6],
                 exits[7], bad);
    (void)fflush(stdout);
    ck_assert_uint_eq(bad, 0);
}
END_TEST

/* ---- two at once ---- */

static uint64_t seed;

static unsigned draw(unsigned n)
{
    seed += UINT64_C(0x9E3779B97F4A7C15); /* splitmix64 (Steele, Lea, Flood, 2014) */
    uint64_t z = seed;
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (unsigned)((z ^ (z >> 31)) % n);
}

static unsigned number_from(const char *variable, unsigned otherwise)
{
    const char *text = getenv(variable);
    return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

/* Any; of the slow ones fewer. */
static const struct kind *draw_kind(void)
{
    const struct kind *k;
    do
        k = &kinds[draw(N_KINDS)];
    while (k->slow && draw(4) != 0);
    return k;
}

/* One of those that come after the first `from`, half of the time soon; 0: there is none. */
static unsigned draw_after(unsigned from, unsigned all)
{
    if (from >= all)
        return 0;
    const unsigned left = all - from;
    return from + 1 + (draw(2) == 0 && left > 12 ? draw(12) : draw(left));
}

static struct tally {
    unsigned runs;
    unsigned bad;
    unsigned exits[8];
} tally;

static void tell(int mode, struct cut one, struct cut two, const char *complaint)
{
    enum { SHOWN = 20 };
    tally.runs++;
    if (!*complaint)
        tally.exits[qf_code_status(sim.result.code) & 7]++;
    else if (++tally.bad <= SHOWN)
        (void)fprintf(stderr, "QFERRY_CUT=\"%d %s %u %s %u\": %s\n", mode, one.kind->name,
                      one.n, two.kind->name, two.n, complaint);
}

static void tell_all(const char *name)
{
    const unsigned *e = tally.exits;
    (void)printf("%s: %u runs; exit 0: %u, 3: %u, 4: %u, 5: %u, 6: %u, 7: %u; wrong: %u\n",
                 name, tally.runs, e[0], e[3], e[4], e[5], e[6], e[7], tally.bad);
    (void)fflush(stdout);
    ck_assert_uint_eq(tally.bad, 0);
}

/* The second befalls what comes after the first, in the run as the first has made it. */
static void run_pair(int mode, struct cut one)
{
    unsigned all[TARGETS];
    unsigned at[TARGETS];
    struct cut two = {.kind = draw_kind()};
    (void)run_one(mode, one.kind, one.n, false);
    count(all);
    sim_free(&sim);
    /* How far the run was, in numbers of each: by the first one's share of its own. */
    for (unsigned i = 0; i < TARGETS; i++)
        at[i] = all[one.kind->target] == 0
                    ? 0
                    : (unsigned)((uint64_t)one.n * all[i] / all[one.kind->target]);
    two.n = draw_after(at[two.kind->target], all[two.kind->target]);
    if (two.n == 0)
        return;
    tell(mode, one, two, run_cuts(mode, one, two, false));
    sim_free(&sim);
}

START_TEST(two_wires_cut)
{
    enum { PAIRS = 400 };
    const struct counts c = good_run(_i);
    const unsigned wanted = number_from("QFERRY_CUT_PAIRS", PAIRS);
    memset(&tally, 0, sizeof(tally));
    seed = (uint64_t)number_from("QFERRY_CUT_SEED", 1) << 32 | (unsigned)_i;
    for (unsigned i = 0; i < wanted; i++) {
        const struct kind *k = draw_kind();
        const unsigned from = first(_i, k, &c);
        if (from <= c.all[k->target])
            run_pair(_i, (struct cut){k, from + draw(c.all[k->target] - from + 1)});
    }
    tell_all(modes[_i].name);
}
END_TEST

/* Every one of its deeds is the last one of an engine, and then something else happens. */
START_TEST(restarted_at_every_step)
{
    const struct counts c = good_run(_i);
    const unsigned each = number_from("QFERRY_CUT_PAIRS", 0) / 300 + 1;
    memset(&tally, 0, sizeof(tally));
    seed = (uint64_t)number_from("QFERRY_CUT_SEED", 1) << 32 | (unsigned)_i;
    for (const struct kind *k = kinds; k < kinds + N_KINDS; k++) {
        if (k->doing != SIM_RESTART || (k->target != FED && k->target != DEED))
            continue;
        for (unsigned n = first(_i, k, &c); n <= c.all[k->target]; n++)
            for (unsigned i = 0; i < each; i++)
                run_pair(_i, (struct cut){k, n});
    }
    tell_all(modes[_i].name);
}
END_TEST

static const struct kind *kind_of(const char *name)
{
    for (const struct kind *k = kinds; k < kinds + N_KINDS; k++)
        if (strcmp(k->name, name) == 0)
            return k;
    ck_abort_msg("QFERRY_CUT: there is no %s", name);
    return NULL;
}

START_TEST(the_one_that_was_asked_for)
{
    char one[64];
    char two[64];
    int mode = -1;
    struct cut a = {0};
    struct cut b = {0};
    const int n =
        sscanf(getenv("QFERRY_CUT"), "%d %63s %u %63s %u", &mode, one, &a.n, two, &b.n);
    ck_assert(n == 3 || n == 5);
    ck_assert(mode >= 0 && mode < N_MODES);
    a.kind = kind_of(one);
    if (n == 5)
        b.kind = kind_of(two);
    const char *complaint = run_cuts(mode, a, b, true);
    (void)printf("%s%s\n", sim_trace(&sim), complaint);
    if (getenv("QFERRY_CUT_JOURNAL"))
        for (unsigned i = 0; i < sim.n_sessions; i++)
            (void)printf("%.*s\n", (int)sim.journal[i].len, sim.journal[i].data);
    sim_free(&sim);
}
END_TEST

static Suite *suite(bool two)
{
    Suite *s = suite_create("cut");
    TCase *t = tcase_create("cut");
    tcase_set_timeout(t, 280);
    if (getenv("QFERRY_CUT")) {
        tcase_add_test(t, the_one_that_was_asked_for);
    } else if (two) {
        tcase_set_timeout(t, 0); /* ctest's own is enough */
        tcase_add_loop_test(t, two_wires_cut, 0, N_MODES);
        tcase_add_loop_test(t, restarted_at_every_step, 0, N_MODES);
    } else {
        tcase_add_loop_test(t, every_wire_cut, 0, N_MODES);
    }
    suite_add_tcase(s, t);
    return s;
}

int main(int argc, char **argv)
{
    return sim_main(suite(argc > 1 && strcmp(argv[1], "two") == 0));
}

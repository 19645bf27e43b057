/* Who owns the guest: every pair of what the two sides may be, as a table to be read; and what
 * must hold whatever the facts are. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/owner.h"

struct kind {
    const char *name;
    struct owner_side side;
    bool continued; /* migrate-continue was sent */
    bool handed_over;
    bool refused;
};

#define IS(run_, status_)                                                            \
    {                                                                                \
        .reach = OWNER_ANSWERS, .run = QAPI_RUN_##run_, .status = QAPI_MIG_##status_ \
    }
#define SILENT(status_)                                                              \
    {                                                                                \
        .reach = OWNER_SILENT, .run = QAPI_RUN_RUNNING, .status = QAPI_MIG_##status_ \
    }
#define DEAD(status_)                                                              \
    {                                                                              \
        .reach = OWNER_DEAD, .run = QAPI_RUN_RUNNING, .status = QAPI_MIG_##status_ \
    }

/* clang-format off */
static const struct kind sources[] = {
    {.name = "free",          .side = IS(RUNNING, NONE)},
    {.name = "free, paused",  .side = IS(PAUSED, CANCELLED)},
    {.name = "failed",        .side = IS(RUNNING, FAILED)},
    {.name = "came by it",    .side = IS(RUNNING, COMPLETED)},
    {.name = "setup",         .side = IS(RUNNING, SETUP)},
    {.name = "active",        .side = IS(RUNNING, ACTIVE)},
    {.name = "pre-switch",    .side = IS(FINISH_MIGRATE, PRE_SWITCHOVER)},
    {.name = "device",        .side = IS(FINISH_MIGRATE, DEVICE)},
    {.name = "pc-device",     .side = IS(FINISH_MIGRATE, POSTCOPY_DEVICE)},
    {.name = "completed",     .side = IS(POSTMIGRATE, COMPLETED)},
    {.name = "pc-active",     .side = IS(FINISH_MIGRATE, POSTCOPY_ACTIVE)},
    {.name = "pc-paused",     .side = IS(FINISH_MIGRATE, POSTCOPY_PAUSED)},
    {.name = "cancelling",    .side = IS(RUNNING, CANCELLING)},
    {.name = "failed, stops", .side = IS(FINISH_MIGRATE, FAILED)},
    {.name = "given back",    .side = IS(POSTMIGRATE, CANCELLED)},
    {.name = "incoming",      .side = IS(INMIGRATE, NONE)},
    {.name = "silent",        .side = SILENT(COMPLETED)},
    {.name = "hangs",         .side = SILENT(DEVICE)},
    {.name = "silent in pc",  .side = SILENT(POSTCOPY_PAUSED)},
    {.name = "dead",          .side = DEAD(ACTIVE)},
    {.name = "dead, done",    .side = DEAD(COMPLETED)},
    {.name = "dead in pc",    .side = DEAD(POSTCOPY_ACTIVE)},
};

static const struct kind destinations[] = {
    {.name = "waits",         .side = IS(INMIGRATE, SETUP)},
    {.name = "loads",         .side = IS(INMIGRATE, ACTIVE)},
    {.name = "failed",        .side = IS(INMIGRATE, FAILED)},
    {.name = "loaded",        .side = IS(PAUSED, COMPLETED)},
    {.name = "refused",       .side = IS(PAUSED, COMPLETED),       .refused = true},
    {.name = "pc-loads",      .side = IS(INMIGRATE, POSTCOPY_ACTIVE)},
    {.name = "pc-ready",      .side = IS(PAUSED, POSTCOPY_ACTIVE)},
    {.name = "pc-runs",       .side = IS(RUNNING, POSTCOPY_ACTIVE)},
    {.name = "pc-paused",     .side = IS(RUNNING, POSTCOPY_PAUSED)},
    {.name = "pc-halted",     .side = IS(PAUSED, POSTCOPY_PAUSED)},
    {.name = "runs",          .side = IS(RUNNING, COMPLETED)},
    {.name = "handed over",   .side = IS(PAUSED, COMPLETED),       .handed_over = true},
    {.name = "silent",        .side = SILENT(ACTIVE)},
    {.name = "silent, sent",  .side = SILENT(ACTIVE),              .continued = true},
    {.name = "silent, ran",   .side = SILENT(ACTIVE),              .handed_over = true},
    {.name = "dead",          .side = DEAD(ACTIVE)},
    {.name = "dead, ran",     .side = DEAD(COMPLETED),             .handed_over = true},
    {.name = "another",       .side = IS(RUNNING, NONE)},
};
/* clang-format on */

enum {
    N_SOURCES = sizeof(sources) / sizeof(sources[0]),
    N_DESTINATIONS = sizeof(destinations) / sizeof(destinations[0])
};

static void view(const struct kind *s, const struct kind *d, struct owner_view *v)
{
    const struct owner_facts f = {
        .src = s->side,
        .dst = d->side,
        .continued = d->continued || d->handed_over,
        .handed_over = d->handed_over,
        .cont_refused = d->refused,
    };
    owner_of(&f, v);
}

/* One cell: the owner (S source, D destination, b between, x no one, ? unknown), and what may be
 * sent that starts or ends a copy: C cont to the source, c cont to the destination, Q quit to
 * the source, q quit to the destination; b that a post-copy's connection may be broken, m that it
 * may be mended. */
static void cell(const struct owner_view *v, char *text)
{
    static const char owners[] = {
        [OWNER_SRC] = 'S',  [OWNER_DST] = 'D',     [OWNER_BETWEEN] = 'b',
        [OWNER_NONE] = 'x', [OWNER_UNKNOWN] = '?',
    };
    *text++ = owners[v->owner];
    if (v->may & MAY_CONT_SRC)
        *text++ = 'C';
    if (v->may & MAY_CONT_DST)
        *text++ = 'c';
    if (v->may & MAY_QUIT_SRC)
        *text++ = 'Q';
    if (v->may & MAY_QUIT_DST)
        *text++ = 'q';
    if (v->may & MAY_PAUSE_SRC)
        *text++ = 'b';
    if (v->may & MAY_RESUME)
        *text++ = 'm';
    *text = '\0';
}

/* clang-format off */
/*   waits  loads  failed loaded refusd pc-lds pc-rdy pc-run pc-psd pc-hlt runs   handed silent sl,snt sl,ran dead   d,ran  another */
static const char *const expected[N_SOURCES] = {
    /* free          */ "SCq    Sq     SCq    Sq     Sq     Sq     Sq     ?      ?      Sq     ?      ?      SCq    S      ?      SCq    ?      S      ",
    /* free, paused  */ "SCq    Sq     SCq    Sq     Sq     Sq     Sq     ?      ?      Sq     ?      ?      SCq    S      ?      SCq    ?      S      ",
    /* failed        */ "SCq    Sq     SCq    Sq     Sq     Sq     Sq     ?      ?      Sq     ?      ?      SCq    S      ?      SCq    ?      S      ",
    /* came by it    */ "SCq    Sq     SCq    Sq     Sq     Sq     Sq     ?      ?      Sq     ?      ?      SCq    S      ?      SCq    ?      S      ",
    /* setup         */ "SC     SC     S      ?      ?      ?      ?      ?      ?      ?      ?      ?      S      S      ?      S      ?      ?      ",
    /* active        */ "SC     SC     S      ?      ?      ?      ?      ?      ?      ?      ?      ?      S      S      ?      S      ?      ?      ",
    /* pre-switch    */ "S      S      S      ?      ?      ?      ?      ?      ?      ?      ?      ?      S      S      ?      S      ?      ?      ",
    /* device        */ "b      b      b      b      ?      b      b      ?      ?      b      ?      ?      b      b      ?      b      ?      ?      ",
    /* pc-device     */ "?      b      b      b      ?      b      b      ?      ?      b      ?      ?      b      b      ?      b      ?      ?      ",
    /* completed     */ "?      b      SCq    Dc     Sq     D      Dc     Dc     ?      ?      DcQ    DcQ    ?      ?      ?      SCq    x      ?      ",
    /* pc-active     */ "?      D      x      D      ?      Db     Dcb    Dcb    Db     Dcb    Dc     Dc     ?      Db     Db     x      x      ?      ",
    /* pc-paused     */ "?      Dbm    x      Dc     ?      Dbm    Dcbm   Dbm    Dbm    Dcbm   DcQ    DcQ    Dbm    Dbm    Dbm    x      x      ?      ",
    /* cancelling    */ "S      S      S      S      S      S      S      ?      S      S      ?      ?      S      S      ?      S      ?      S      ",
    /* failed, stops */ "S      S      S      S      S      S      S      ?      S      S      ?      ?      S      S      ?      S      ?      S      ",
    /* given back    */ "SCq    Sq     SCq    Sq     Sq     Sq     Sq     ?      ?      Sq     ?      ?      SCq    ?      ?      SCq    ?      ?      ",
    /* incoming      */ "?      ?      ?      ?      ?      ?      ?      ?      ?      ?      ?      ?      ?      ?      ?      ?      ?      ?      ",
    /* silent        */ "?      ?      ?      ?      ?      ?      ?      ?      ?      ?      ?      ?      ?      ?      ?      ?      ?      ?      ",
    /* hangs         */ "?      ?      ?      ?      ?      ?      ?      ?      ?      ?      ?      ?      ?      ?      ?      ?      ?      ?      ",
    /* silent in pc  */ "?      ?      ?      Dc     ?      D      D      D      D      D      Dc     Dc     ?      D      D      ?      ?      ?      ",
    /* dead          */ "xq     xq     xq     ?      ?      ?      ?      ?      ?      ?      DcQ    DcQ    ?      ?      ?      xq     ?      x      ",
    /* dead, done    */ "?      b      x      Dc     ?      ?      ?      ?      ?      ?      DcQ    DcQ    ?      ?      ?      x      x      ?      ",
    /* dead in pc    */ "x      x      x      Dc     x      x      x      x      x      x      DcQ    DcQ    x      x      x      x      x      x      ",
};
/* clang-format on */

START_TEST(every_pair_has_its_owner)
{
    char line[N_DESTINATIONS * 8 + 1] = "";
    for (unsigned d = 0; d < N_DESTINATIONS; d++) {
        struct owner_view v;
        char text[8];
        view(&sources[_i], &destinations[d], &v);
        ck_assert_ptr_nonnull(v.why);
        cell(&v, text);
        (void)snprintf(line + strlen(line), sizeof(line) - strlen(line), "%-7s", text);
    }
    if (getenv("QFERRY_SHOW_OWNERS"))
        (void)printf("    /* %-13s */ \"%s\",\n", sources[_i].name, line);
    else
        ck_assert_msg(strcmp(line, expected[_i]) == 0, "source %s:\n%s\n%s",
                      sources[_i].name, expected[_i], line);
}
END_TEST

/* ---- whatever the facts are ---- */

static const enum qapi_run_state runs[] = {QAPI_RUN_UNKNOWN,
#define RUN(id, name) QAPI_RUN_##id,
                                           QAPI_RUN_STATES(RUN)
#undef RUN
};
static const enum qapi_mig_status statuses[] = {QAPI_MIG_UNKNOWN,
#define STATUS(id, name) QAPI_MIG_##id,
                                                QAPI_MIG_STATUSES(STATUS)
#undef STATUS
};
enum {
    N_RUNS = sizeof(runs) / sizeof(runs[0]),
    N_STATUSES = sizeof(statuses) / sizeof(statuses[0])
};

static bool is_postcopy(enum qapi_mig_status s)
{
    return s == QAPI_MIG_POSTCOPY_DEVICE || s == QAPI_MIG_POSTCOPY_ACTIVE ||
           s == QAPI_MIG_POSTCOPY_PAUSED || s == QAPI_MIG_POSTCOPY_RECOVER ||
           s == QAPI_MIG_POSTCOPY_RECOVER_SETUP;
}

static bool can_run(const struct owner_facts *f)
{
    const struct owner_side *d = &f->dst;
    return d->reach != OWNER_DEAD && d->run != QAPI_RUN_INMIGRATE &&
           d->run != QAPI_RUN_UNKNOWN;
}

/* What the destination itself says, or its end, which was watched. */
static bool says_that_it_does_not_run(const struct owner_facts *f)
{
    const struct owner_side *d = &f->dst;
    if (d->reach == OWNER_DEAD)
        return !f->handed_over && (!f->unwatched || d->status == QAPI_MIG_FAILED);
    if (d->reach == OWNER_ANSWERS && d->run == QAPI_RUN_INMIGRATE)
        return d->status == QAPI_MIG_FAILED || d->status == QAPI_MIG_FAILING;
    return d->reach == OWNER_ANSWERS && !f->handed_over && d->run != QAPI_RUN_RUNNING &&
           d->status == QAPI_MIG_COMPLETED;
}

static const char *broken_law(const struct owner_facts *f, const struct owner_view *v)
{
    const unsigned may = v->may;
    const bool src_answers = f->src.reach == OWNER_ANSWERS;
    const bool dst_answers = f->dst.reach == OWNER_ANSWERS;
    if (f->self_start && (may & (MAY_CANCEL | MAY_YANK | MAY_CONT_SRC)) &&
        !says_that_it_does_not_run(f))
        return "the source gets its guest back beside a destination that may start it";
    if (f->done_before && f->src.status == QAPI_MIG_COMPLETED &&
        f->src.run == QAPI_RUN_POSTMIGRATE && (may & (MAY_CONT_SRC | MAY_QUIT_DST)))
        return "a source is begun again whose guest went away before";
    if ((may & MAY_CONT_SRC) && (may & MAY_CONT_DST))
        return "both sides may be continued";
    if ((may & MAY_QUIT_SRC) && (may & MAY_QUIT_DST))
        return "both sides may quit";
    if ((may & (MAY_CANCEL | MAY_CONTINUE | MAY_POSTCOPY)) && is_postcopy(f->src.status))
        return "post-copy is cancelled";
    if (f->postcopy_asked && (may & MAY_CANCEL) &&
        (f->continued || f->src.status != QAPI_MIG_PRE_SWITCHOVER))
        return "a cancel may cross the switch to post-copy";
    if ((may & MAY_CANCEL) && v->owner == OWNER_DST)
        return "the destination's guest is cancelled";
    if ((may & MAY_YANK) &&
        (f->src.status == QAPI_MIG_POSTCOPY_ACTIVE || f->src.status == QAPI_MIG_COMPLETED))
        return "a guest that was handed over is yanked";
    const bool ended =
        f->src.status != QAPI_MIG_NONE && f->src.status != QAPI_MIG_COMPLETED;
    if ((may & MAY_CONT_SRC) && (!src_answers || is_postcopy(f->src.status) ||
                                 (ended && f->src.run == QAPI_RUN_FINISH_MIGRATE)))
        return "a source is continued that cannot be";
    if ((may & MAY_CONT_SRC) && dst_answers && can_run(f) &&
        f->dst.status != QAPI_MIG_FAILED)
        return "the source is continued beside a destination that could run";
    if ((may & (MAY_CONT_SRC | MAY_QUIT_DST)) && !dst_answers && f->continued &&
        f->dst.reach == OWNER_SILENT)
        return "the source is continued beside a silent destination that may hold the guest";
    const bool never_again =
        is_postcopy(f->src.status) && f->src.status != QAPI_MIG_POSTCOPY_DEVICE;
    if ((may & MAY_CONT_DST) && f->src.reach == OWNER_SILENT &&
        !(never_again && dst_answers && f->dst.status == QAPI_MIG_COMPLETED))
        return "the destination is continued while the source is silent";
    /* Failed, and stopped before: it takes nothing back by itself. */
    const bool stays_down =
        f->src_was_stopped && f->handed_over &&
        (f->src.status == QAPI_MIG_FAILED || f->src.status == QAPI_MIG_FAILING ||
         f->src.status == QAPI_MIG_CANCELLED || f->src.status == QAPI_MIG_CANCELLING) &&
        f->src.run != QAPI_RUN_FINISH_MIGRATE && f->src.run != QAPI_RUN_POSTMIGRATE;
    if (stays_down && (may & MAY_CONT_SRC))
        return "an old guest is continued";
    if ((may & MAY_CONT_DST) && src_answers && f->src.status != QAPI_MIG_COMPLETED &&
        !stays_down && f->src.status != QAPI_MIG_POSTCOPY_ACTIVE &&
        f->src.status != QAPI_MIG_POSTCOPY_PAUSED &&
        f->src.status != QAPI_MIG_POSTCOPY_RECOVER_SETUP &&
        f->src.status != QAPI_MIG_POSTCOPY_RECOVER)
        return "the destination is continued while the source may take its guest back";
    if ((may & (MAY_PAUSE_SRC | MAY_PAUSE_DST | MAY_RECOVER | MAY_RESUME)) &&
        (!src_answers || v->owner != OWNER_DST || !is_postcopy(f->src.status)))
        return "a connection is broken or mended that is none of post-copy";
    if ((may & MAY_PAUSE_SRC) && dst_answers && can_run(f) &&
        f->dst.status == QAPI_MIG_COMPLETED)
        return "the source is paused although the destination has everything";
    if ((may & MAY_RESUME) && f->src.status == QAPI_MIG_POSTCOPY_ACTIVE)
        return "an unbroken post-copy is resumed";
    if ((may & MAY_QUIT_SRC) && v->owner != OWNER_DST)
        return "the source quits and is not done";
    if ((may & MAY_QUIT_DST) && v->owner == OWNER_DST)
        return "the owner quits";
    if ((may & MAY_QUIT_DST) && f->dst.run == QAPI_RUN_RUNNING && dst_answers &&
        f->dst.status == QAPI_MIG_COMPLETED)
        return "a running destination quits";
    if (v->owner == OWNER_UNKNOWN && (may & ~(unsigned)MAY_YANK))
        return "in conflict, something is touched";
    if (v->stage == STAGE_CONFLICT && v->owner != OWNER_UNKNOWN)
        return "a conflict with an owner";
    return NULL;
}

START_TEST(the_law_holds_for_all_facts)
{
    unsigned long n = 0;
    for (unsigned flags = 0; flags < 128; flags++) {
        for (unsigned i = 0; i < 3 * N_RUNS * N_STATUSES; i++) {
            for (unsigned k = 0; k < 3 * N_RUNS * N_STATUSES; k++) {
                const struct owner_facts f = {
                    .src = {.reach = (enum owner_reach)(i % 3),
                            .run = runs[i / 3 % N_RUNS],
                            .status = statuses[i / 3 / N_RUNS]},
                    .dst = {.reach = (enum owner_reach)(k % 3),
                            .run = runs[k / 3 % N_RUNS],
                            .status = statuses[k / 3 / N_RUNS]},
                    .handed_over = flags & 1,
                    .cont_refused = (flags & 2) != 0,
                    .continued = (flags & 4) != 0,
                    .self_start = (flags & 12) == 12, /* only then */
                    .unwatched = (flags & 16) != 0,
                    .postcopy_asked = (flags & 18) == 18, /* as good as any two */
                    .done_before = (flags & 32) != 0,
                    .src_was_stopped = (flags & 64) != 0,
                };
                struct owner_view v;
                owner_of(&f, &v);
                const char *broken = broken_law(&f, &v);
                if (broken)
                    ck_abort_msg("%s: source %u %s/%s, destination %u %s/%s, flags %u: %s",
                                 broken, f.src.reach, qapi_run_name(f.src.run),
                                 qapi_mig_name(f.src.status), f.dst.reach,
                                 qapi_run_name(f.dst.run), qapi_mig_name(f.dst.status),
                                 flags, v.why);
                n++;
            }
        }
    }
    ck_assert_uint_gt(n, 1000000);
}
END_TEST

/* ---- single lines of the law, from experiments ---- */

static struct owner_view of(struct owner_side s, struct owner_side d)
{
    const struct owner_facts f = {.src = s, .dst = d};
    struct owner_view v;
    owner_of(&f, &v);
    return v;
}

/* It has sent everything in post-copy, and failed at the last word; its guest was stopped before. What counts is
 * what has arrived. */
START_TEST(a_source_that_stays_down_leaves_it_to_the_destination)
{
    static const struct {
        struct owner_side src;
        struct owner_side dst;
        enum owner_of owner;
        enum owner_stage stage;
        unsigned may;
    } row[] = {
        {IS(PAUSED, FAILED), IS(RUNNING, COMPLETED), OWNER_DST, STAGE_MOVED,
         MAY_QUIT_SRC | MAY_CONT_DST},
        {IS(PAUSED, FAILING), IS(PAUSED, COMPLETED), OWNER_DST, STAGE_MOVED,
         MAY_QUIT_SRC | MAY_CONT_DST},
        {IS(PAUSED, FAILED), IS(RUNNING, POSTCOPY_ACTIVE), OWNER_DST, STAGE_POSTCOPY,
         MAY_CONT_DST},
        {IS(PAUSED, FAILED), IS(RUNNING, POSTCOPY_PAUSED), OWNER_NONE, STAGE_LOST, 0},
        {IS(PAUSED, FAILED), SILENT(POSTCOPY_ACTIVE), OWNER_UNKNOWN, STAGE_CONFLICT, 0},
        {IS(PAUSED, FAILED), DEAD(COMPLETED), OWNER_UNKNOWN, STAGE_CONFLICT, 0},
        /* about to be stopped again, or run by somebody */
        {IS(FINISH_MIGRATE, FAILED), IS(RUNNING, COMPLETED), OWNER_UNKNOWN, STAGE_CONFLICT,
         0},
        {IS(RUNNING, FAILED), IS(RUNNING, COMPLETED), OWNER_UNKNOWN, STAGE_CONFLICT,
         MAY_STOP_SRC},
    };
    const struct owner_facts f = {.src = row[_i].src,
                                  .dst = row[_i].dst,
                                  .continued = true,
                                  .handed_over = true,
                                  .cont_sent = true,
                                  .src_was_stopped = true};
    struct owner_view v;
    owner_of(&f, &v);
    ck_assert_int_eq(v.owner, row[_i].owner);
    ck_assert_int_eq(v.stage, row[_i].stage);
    ck_assert_uint_eq(v.may, row[_i].may);
}
END_TEST

START_TEST(completed_source_beside_a_dead_destination_is_the_guest)
{
    const struct owner_view v =
        of((struct owner_side)IS(POSTMIGRATE, COMPLETED), (struct owner_side)DEAD(ACTIVE));
    ck_assert_int_eq(v.owner, OWNER_SRC);
    ck_assert(v.may & MAY_CONT_SRC);
}
END_TEST

START_TEST(silent_source_keeps_a_loaded_destination_waiting)
{
    const struct owner_view v =
        of((struct owner_side)SILENT(DEVICE), (struct owner_side)IS(PAUSED, COMPLETED));
    ck_assert_int_eq(v.owner, OWNER_UNKNOWN);
    ck_assert_uint_eq(v.may, MAY_YANK);
}
END_TEST

START_TEST(dead_source_leaves_its_guest_to_a_loaded_destination)
{
    const struct owner_view v =
        of((struct owner_side)DEAD(DEVICE), (struct owner_side)IS(PAUSED, COMPLETED));
    ck_assert_int_eq(v.owner, OWNER_DST);
    ck_assert_uint_eq(v.may, MAY_CONT_DST);
}
END_TEST

START_TEST(postcopy_device_gives_no_leave_before_the_source_believes_in_it)
{
    const struct owner_view v = of((struct owner_side)IS(FINISH_MIGRATE, POSTCOPY_DEVICE),
                                   (struct owner_side)IS(PAUSED, POSTCOPY_ACTIVE));
    ck_assert_uint_eq(v.may,
                      MAY_YANK); /* which gives it back to the source, or comes too late */
}
END_TEST

/* The device state is in the connection and nowhere else: before 10.2 a source that is yanked then may be lost. */
START_TEST(device_of_a_post_copy_is_not_yanked)
{
    static const struct owner_side dst[] = {IS(INMIGRATE, POSTCOPY_ACTIVE),
                                            IS(PAUSED, POSTCOPY_ACTIVE),
                                            IS(PAUSED, POSTCOPY_PAUSED)};
    const struct owner_view v = of((struct owner_side)IS(FINISH_MIGRATE, DEVICE), dst[_i]);
    ck_assert_int_eq(v.stage, STAGE_SWITCHING);
    ck_assert_uint_eq(v.may, 0);
}
END_TEST

/* It may run another guest by now. */
START_TEST(a_destination_that_waited_for_nothing_is_not_quit)
{
    const struct owner_view v =
        of((struct owner_side)DEAD(ACTIVE), (struct owner_side)IS(RUNNING, NONE));
    ck_assert_int_eq(v.owner, OWNER_NONE);
    ck_assert_uint_eq(v.may, 0);
}
END_TEST

START_TEST(every_row_has_its_number)
{
    const struct owner_view v = of((struct owner_side)IS(RUNNING, ACTIVE),
                                   (struct owner_side)IS(INMIGRATE, ACTIVE));
    ck_assert_uint_lt(v.row, owner_rows());
    ck_assert_ptr_eq(owner_row_why(v.row), v.why);
    for (unsigned i = 0; i < owner_rows(); i++)
        ck_assert_ptr_nonnull(owner_row_why(i));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("owner");
    TCase *t = tcase_create("table");
    tcase_add_loop_test(t, every_pair_has_its_owner, 0, N_SOURCES);
    suite_add_tcase(s, t);
    t = tcase_create("law");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, the_law_holds_for_all_facts);
    tcase_add_loop_test(t, a_source_that_stays_down_leaves_it_to_the_destination, 0, 8);
    tcase_add_test(t, completed_source_beside_a_dead_destination_is_the_guest);
    tcase_add_test(t, silent_source_keeps_a_loaded_destination_waiting);
    tcase_add_test(t, dead_source_leaves_its_guest_to_a_loaded_destination);
    tcase_add_test(t, postcopy_device_gives_no_leave_before_the_source_believes_in_it);
    tcase_add_loop_test(t, device_of_a_post_copy_is_not_yanked, 0, 3);
    tcase_add_test(t, a_destination_that_waited_for_nothing_is_not_quit);
    tcase_add_test(t, every_row_has_its_number);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *r = srunner_create(suite());
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

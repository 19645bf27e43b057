/* `qferry simulate` as it is typed: no QEMU is needed for it. */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TEXT_MAX = 256 * 1024 };

static struct fixture {
    char out[TEXT_MAX]; /* stdout and stderr together */
    int status;
    char dir[64];
} f;

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    (void)snprintf(f.dir, sizeof(f.dir), "/tmp/qferry-simulate-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(f.dir));
}

static void teardown(void)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/my.json", f.dir);
    (void)unlink(path);
    (void)rmdir(f.dir);
}

/* Run `qferry simulate ARGS` in the folder of the test. */
static const char *run(const char *args)
{
    char command[1024];
    (void)snprintf(command, sizeof(command), "cd %s && %s simulate %s 2>&1", f.dir, QFERRY,
                   args);
    FILE *p = popen(command, "r");
    ck_assert_ptr_nonnull(p);
    const size_t n = fread(f.out, 1, sizeof(f.out) - 1, p);
    f.out[n] = '\0';
    f.status = WEXITSTATUS(pclose(p));
    return f.out;
}

static void write_file(const char *text)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/my.json", f.dir);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert(fputs(text, file) >= 0);
    ck_assert_int_eq(fclose(file), 0);
}

static void has(const char *part)
{
    ck_assert_msg(strstr(f.out, part) != NULL, "no \"%s\" in: %s", part, f.out);
}

static size_t lines(void)
{
    size_t n = 0;
    for (const char *p = f.out; *p; p++)
        n += *p == '\n';
    return n;
}

START_TEST(one_policy_tells_its_decisions)
{
    (void)run("video-transcoding --policy post-copy");
    ck_assert_int_eq(f.status, 0);
    has("video-transcoding: 8.0 GiB of memory over 1.1 GiB/s\n");
    has(" postcopy (forecast): pass 2 left ");
    has("\ncompleted (postcopy): total ");
    ck_assert_ptr_null(strstr(f.out, " wait "));
    (void)run("video-transcoding --policy post-copy -v");
    has(" wait (none): first pass");
}
END_TEST

START_TEST(several_policies_are_a_table)
{
    (void)run("video-transcoding -p post-copy -p stop-and-copy -p minimal-downtime");
    ck_assert_int_eq(f.status, 0);
    ck_assert_uint_eq(lines(), 5);
    has("\npolicy ");
    has("throttle-s");
    has("\npost-copy         completed  postcopy ");
    has("\nstop-and-copy     completed  stop-and-copy ");
    has("\nminimal-downtime  completed  precopy ");
}
END_TEST

START_TEST(runs_give_medians)
{
    (void)run("bursty -p post-copy --runs 20 --seed 5");
    ck_assert_int_eq(f.status, 0);
    has("20 runs: medians (smallest - largest)\n");
    ck_assert_uint_eq(lines(), 4);
}
END_TEST

START_TEST(json_is_one_line_for_each_run)
{
    char first[TEXT_MAX];
    (void)run("huge -p post-copy -p stop-and-copy --runs 3 --seed 7 --json");
    ck_assert_int_eq(f.status, 0);
    ck_assert_uint_eq(lines(), 6);
    (void)snprintf(first, sizeof(first), "%s", f.out);
    char *end = strchr(f.out, '\n');
    *end = '\0';
    json_t *o = json_loads(f.out, 0, NULL);
    ck_assert_ptr_nonnull(o);
    ck_assert_str_eq(json_string_value(json_object_get(o, "type")), "simulation");
    ck_assert_str_eq(json_string_value(json_object_get(o, "model")), "huge");
    ck_assert_str_eq(json_string_value(json_object_get(o, "policy")), "post-copy");
    ck_assert_int_eq(json_integer_value(json_object_get(o, "seed")), 7);
    ck_assert(json_integer_value(json_object_get(o, "total_ms")) > 80000);
    static const char *const members[] = {
        "outcome",     "mode",      "downtime_ms", "blackout_ms", "transferred",
        "passes",      "walks",     "first",       "throttle_s",  "postcopy_ms",
        "degraded_ms", "decisions", "reason",      "forecast"};
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        ck_assert_msg(json_object_get(o, members[i]) != NULL, "%s", members[i]);
    json_decref(o);
    (void)run("huge -p post-copy -p stop-and-copy --runs 3 --seed 7 --json");
    ck_assert_str_eq(f.out, first);
}
END_TEST

START_TEST(a_field_is_overridden_in_every_policy)
{
    (void)run("idle -p post-copy --set bandwidth=32MiB --json");
    json_t *o = json_loads(f.out, 0, NULL);
    ck_assert(json_integer_value(json_object_get(o, "total_ms")) > 40000);
    json_decref(o);
}
END_TEST

START_TEST(models_are_listed)
{
    static const char *const ways[] = {"list", "--list"};
    (void)run(ways[_i]);
    ck_assert_int_eq(f.status, 0);
    ck_assert_uint_eq(lines(), 16);
    has("\nquiet-minute ");
}
END_TEST

START_TEST(a_file_is_a_model)
{
    write_file("{\"guest\": {\"memory\": \"64MiB\"}, \"link\": {\"rate\": \"32MiB\"}}");
    (void)run("my.json");
    ck_assert_int_eq(f.status, 0);
    has("my: 64.0 MiB of memory over 32.0 MiB/s\ncompleted (precopy): total 2.");
}
END_TEST

START_TEST(a_journal_is_told_apart)
{
    static char args[512];
    (void)snprintf(args, sizeof(args), "%s/tests/fuzz/corpus/journal/%s -p %s",
                   QFERRY_SOURCE_DIR, "2-restart-60.jsonl", "minimal-downtime");
    (void)run(args);
    ck_assert_int_eq(f.status, 0);
    has("made with policy post-copy: its end is missing");
    has("as recorded, from there modelled: recorded was postcopy, this policy says wait\n");
    has("the guest: ");
}
END_TEST

START_TEST(a_cut_journal_is_used_with_a_warning)
{
    char command[512];
    (void)snprintf(
        command, sizeof(command),
        "head -c -20 %s/tests/fuzz/corpus/journal/2-restart-60.jsonl > %s/my.json",
        QFERRY_SOURCE_DIR, f.dir);
    ck_assert_int_eq(system(command), 0);
    (void)run("my.json");
    ck_assert_int_eq(f.status, 0);
    has("qferry: warning: my.json: line 141 is cut short: using what is before it\n");
}
END_TEST

START_TEST(what_is_wrong_is_said_in_one_line)
{
    static const struct {
        const char *args;
        const char *says;
    } wrong[] = {
        {"",
         "qferry: simulate takes one model or one journal; see qferry simulate --help\n"},
        {"idle huge",
         "qferry: simulate takes one model or one journal; see qferry simulate --help\n"},
        {"burst",
         "qferry: burst: no such model; did you mean bursty; there are analytics, build-job, "
         "bursty, edge, hot-spot, huge, idle-then-busy, idle, in-memory-database, log-shipper, "
         "memory-stress, quiet-minute, shared-link, slow-link, video-transcoding, web-server\n"},
        {"./none.json", "qferry: ./none.json: No such file or directory\n"},
        {"my.json",
         "qferry: my.json:2: guest.memry: unknown field; did you mean memory?\n"},
        {"idle --runs 0",
         "qferry: --runs: '0' is not a number from 1 to 100000; see qferry simulate --help\n"},
        {"idle --seed x",
         "qferry: --seed: 'x' is not a number; see qferry simulate --help\n"},
        {"idle --polcy x",
         "qferry: simulate: unknown option --polcy; see qferry simulate --help\n"},
        {"idle -p",
         "qferry: simulate: the option -p needs a value; see qferry simulate --help\n"},
        {"idle --set downtime.maxx=1",
         "qferry: downtime.maxx: unknown field; did you mean downtime.max?\n"},
    };
    write_file("{\n\"guest\": {\"memry\": 1}}");
    (void)run(wrong[_i].args);
    ck_assert_str_eq(f.out, wrong[_i].says);
    ck_assert_int_eq(f.status, 2);
}
END_TEST

START_TEST(an_unknown_policy_names_all)
{
    (void)run("idle -p nothing");
    ck_assert_int_eq(f.status, 2);
    has("qferry: nothing: no such policy; ");
    ck_assert_uint_eq(lines(), 1);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("cmd_simulate");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, one_policy_tells_its_decisions);
    tcase_add_test(tc, several_policies_are_a_table);
    tcase_add_test(tc, runs_give_medians);
    tcase_add_test(tc, json_is_one_line_for_each_run);
    tcase_add_test(tc, a_field_is_overridden_in_every_policy);
    tcase_add_loop_test(tc, models_are_listed, 0, 2);
    tcase_add_test(tc, a_file_is_a_model);
    tcase_add_test(tc, a_journal_is_told_apart);
    tcase_add_test(tc, a_cut_journal_is_used_with_a_warning);
    tcase_add_loop_test(tc, what_is_wrong_is_said_in_one_line, 0, 10);
    tcase_add_test(tc, an_unknown_policy_names_all);
    Suite *suite = suite_create("tools/cmd_simulate");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

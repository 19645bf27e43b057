/* qferry migrate and preflight with --policies: the choice is made and explained before a monitor
 * is opened, so that no QEMU is needed here. */
#include <check.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATH_SIZE = 256, TEXT_SIZE = 8192, ARGS_MAX = 24 };

static struct fixture {
    char dir[64];    /* of this test, removed afterwards */
    char p[80];      /* the folder of policies in it */
    char text[1024]; /* what in() returns */
    char out[TEXT_SIZE];
    char err[TEXT_SIZE];
} f;

static const char *in(const char *name)
{
    (void)snprintf(f.text, sizeof(f.text), "%s/%s", f.p, name);
    return f.text;
}

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    (void)snprintf(f.dir, sizeof(f.dir), "/tmp/qferry-choose-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(f.dir));
    (void)snprintf(f.p, sizeof(f.p), "%s/p", f.dir);
    ck_assert_int_eq(mkdir(f.p, 0700), 0);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static void teardown(void)
{
    (void)nftw(f.dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void write_file(const char *name, const char *text)
{
    FILE *file = fopen(in(name), "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static void read_back(const char *name, char text[TEXT_SIZE])
{
    char path[PATH_SIZE];
    (void)snprintf(path, sizeof(path), "%s/%s", f.dir, name);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    text[fread(text, 1, TEXT_SIZE - 1, file)] = '\0';
    (void)fclose(file);
}

static void redirect(const char *name, int to)
{
    char path[PATH_SIZE];
    (void)snprintf(path, sizeof(path), "%s/%s", f.dir, name);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || dup2(fd, to) < 0)
        _exit(99);
}

/* qferry COMMAND with these words, the last being NULL; a move has monitors that do not exist. The
 * exit status; output in f.out and f.err. */
static int run(const char *command, ...)
{
    const char *argv[ARGS_MAX] = {QFERRY,           command,     "/nonexistent/a",
                                  "/nonexistent/b", "--journal", "none"};
    int n = strcmp(command, "policies") == 0 ? 2 : 6;
    int status;
    va_list ap;
    va_start(ap, command);
    while ((argv[n] = va_arg(ap, const char *)) != NULL)
        ck_assert_int_lt(++n, ARGS_MAX);
    va_end(ap);
    const pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        redirect("out", STDOUT_FILENO);
        redirect("err", STDERR_FILENO);
        (void)execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(99);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status), "killed by %d", WTERMSIG(status));
    read_back("out", f.out);
    read_back("err", f.err);
    return WEXITSTATUS(status);
}

/* The policy that the records carry: of the last line of a run with --json. */
static const char *policy_of_result(void)
{
    static char name[64];
    const char *last = strstr(f.out, "\"type\":\"result\"");
    ck_assert_msg(last, "no result: %s%s", f.out, f.err);
    while (last > f.out && last[-1] != '\n')
        last--;
    json_t *line = json_loads(last, JSON_DISABLE_EOF_CHECK, NULL);
    ck_assert_ptr_nonnull(line);
    (void)snprintf(name, sizeof(name), "%s",
                   json_string_value(json_object_get(line, "policy")));
    json_decref(line);
    return name;
}

static void some_policies(void)
{
    write_file("b-large.json", "{\"name\": \"large\", \"selectors\": {\"vm\": "
                               "{\"matchLabels\": {\"size\": \"large\"}}}}");
    write_file("a-zone.json", "{\"name\": \"zone\", \"selectors\": {\"namespace\": "
                              "{\"matchLabels\": {\"zone\": \"a\", \"tier\": \"1\"}}}}");
    write_file("C.json", "{}");
}

/* --- the choice --- */

START_TEST(choice_is_explained_before_anything_is_opened)
{
    some_policies();
    ck_assert_int_eq(run(_i == 0 ? "migrate" : "preflight", "--policies", f.p, "--label",
                         "size=large", "--explain", NULL),
                     6);
    static const char explained[] =
        "labels of the VM: size=large\n"
        "labels of the namespace: none\n"
        "C.json: C does not match: it has no selectors\n"
        "a-zone.json: zone does not match: wants tier=1 of the namespace, which has no tier\n"
        "b-large.json: large matches: size=large of the VM\n"
        "policy large: the only one that matches\n";
    ck_assert_msg(strncmp(f.out, explained, strlen(explained)) == 0, "%s", f.out);
    ck_assert_ptr_nonnull(strstr(f.err, "/nonexistent/a"));
}
END_TEST

START_TEST(explanation_leaves_json_lines_alone)
{
    some_policies();
    ck_assert_int_eq(run("migrate", "--json", "--policies", f.p, "--label", "size=large",
                         "--namespace-label", "zone=a", "--namespace-label", "tier=1",
                         "--explain", NULL),
                     6);
    ck_assert_int_eq(f.out[0], '{');
    ck_assert_ptr_nonnull(strstr(f.err,
                                 "policy zone: the most labels, 2; the next is large "
                                 "with 1\n"));
    ck_assert_str_eq(policy_of_result(), "zone");
}
END_TEST

START_TEST(nothing_is_explained_unasked)
{
    some_policies();
    ck_assert_int_eq(
        run("migrate", "--json", "--policies", f.p, "--label", "size=large", NULL), 6);
    ck_assert_ptr_null(strstr(f.err, "matches"));
    ck_assert_str_eq(policy_of_result(), "large");
}
END_TEST

START_TEST(policy_is_the_fallback_wherever_it_stands)
{
    some_policies();
    ck_assert_int_eq(run("migrate", "--json", "--policies", f.p, "--policy", "post-copy",
                         "--explain", NULL),
                     6);
    ck_assert_ptr_nonnull(
        strstr(f.err, "policy post-copy: none matches, so --policy holds\n"));
    ck_assert_str_eq(policy_of_result(), "post-copy");
    ck_assert_int_eq(run("migrate", "--json", "--policies", f.p, "--label", "size=large",
                         "--policy", "post-copy", NULL),
                     6);
    ck_assert_str_eq(policy_of_result(), "large");
    ck_assert_int_eq(run("migrate", "--json", "--policy", "post-copy", "--policies", f.p,
                         "--label", "size=large", NULL),
                     6);
    ck_assert_str_eq(policy_of_result(), "large");
}
END_TEST

START_TEST(default_holds_when_none_matches)
{
    ck_assert_int_eq(run("migrate", "--json", "--policies", f.p, "--explain", NULL), 6);
    ck_assert_ptr_nonnull(
        strstr(f.err, "policy minimal-downtime: none matches, so the default holds\n"));
    ck_assert_str_eq(policy_of_result(), "minimal-downtime");
    ck_assert_int_eq(run("migrate", "--explain", NULL), 6);
    ck_assert_ptr_nonnull(strstr(f.out,
                                 "policy minimal-downtime: the default holds, as there "
                                 "are no --policies to choose from\n"));
}
END_TEST

START_TEST(single_fields_override_the_chosen_policy)
{
    write_file("a.json", "{\"downtime\": {\"max\": \"2s\"}, \"selectors\": {}}");
    ck_assert_int_eq(
        run("migrate", "--set", "downtime.start=1s", "--policies", f.p, "--json", NULL), 6);
    ck_assert_str_eq(policy_of_result(), "a");
    ck_assert_int_eq(run("migrate", "--set", "downtime.start=3s", "--policies", f.p, NULL),
                     2);
}
END_TEST

/* --- the folder --- */

START_TEST(only_visible_json_files_are_policies)
{
    some_policies();
    write_file("README", "no policy");
    write_file("a-zone.json~", "{");
    write_file(".hidden.json", "{");
    write_file(".json", "{");
    ck_assert_int_eq(mkdir(in("folder.json"), 0700), 0);
    write_file("folder.json/x.json", "{");
    ck_assert_int_eq(symlink("../elsewhere", in("link.json")), 0);
    write_file("../elsewhere", "{\"name\": \"linked\", \"selectors\": {}}");
    ck_assert_int_eq(run("migrate", "--json", "--policies", f.p, NULL), 6);
    ck_assert_str_eq(policy_of_result(), "linked");
}
END_TEST

/* Even when another would have won. */
START_TEST(a_faulty_file_is_refused_with_line_and_field)
{
    char expected[1024];
    some_policies();
    write_file("z.json", "{\n\"downtime\": {\"maxx\": 1}}");
    ck_assert_int_eq(
        run("migrate", "--policies", f.p, "--label", "size=large", "--explain", NULL), 2);
    (void)snprintf(
        expected, sizeof(expected),
        "qferry: %s:2: downtime.maxx: unknown field; did you mean downtime.max?\n",
        in("z.json"));
    ck_assert_str_eq(f.err, expected);
    ck_assert_str_eq(f.out, "");
}
END_TEST

START_TEST(what_cannot_be_read_is_refused)
{
    char expected[1024];
    ck_assert_int_eq(symlink("nowhere", in("a.json")), 0);
    ck_assert_int_eq(run("migrate", "--policies", f.p, NULL), 2);
    (void)snprintf(expected, sizeof(expected),
                   "qferry: --policies: %s: No such file or directory\n", in("a.json"));
    ck_assert_str_eq(f.err, expected);
    ck_assert_int_eq(unlink(in("a.json")), 0);
    ck_assert_int_eq(mkfifo(in("a.json"), 0600), 0);
    ck_assert_int_eq(run("migrate", "--policies", f.p, NULL), 2);
    (void)snprintf(expected, sizeof(expected), "qferry: --policies: %s: not a file\n",
                   in("a.json"));
    ck_assert_str_eq(f.err, expected);
    ck_assert_int_eq(unlink(in("a.json")), 0);
    write_file("a.json", "{}");
    ck_assert_int_eq(truncate(in("a.json"), 1LL << 40), 0); /* sparse */
    ck_assert_int_eq(run("migrate", "--policies", f.p, NULL), 2);
    ck_assert_ptr_nonnull(
        strstr(f.err, "a.json:1: more than 262144 bytes; no policy is as long\n"));
}
END_TEST

START_TEST(a_name_with_control_characters_stays_in_one_line)
{
    write_file("a\nb.json", "{\"nosuch\": 1}");
    ck_assert_int_eq(run("migrate", "--policies", f.p, NULL), 2);
    ck_assert_ptr_nonnull(strstr(f.err, "a?b.json:1: nosuch"));
}
END_TEST

static const struct {
    const char *option[4];
    const char *error;
} wrong[] = {
    {{"--policies", "/nonexistent/p"},
     "qferry: --policies: /nonexistent/p: No such file or directory\n"},
    {{"--policies", "/dev/null"}, "qferry: --policies: /dev/null: Not a directory\n"},
    {{"--policies"},
     "qferry: migrate: the option --policies needs a value; see qferry migrate --help\n"},
    {{"--policies", ""}, "qferry: --policies: '' is not a folder\n"},
    {{"--policies", "/", "--policies", "/"},
     "qferry: --policies: given twice; write one folder\n"},
    {{"--label", "a=1"},
     "qferry: --label: nothing to choose from; --policies DIR names a folder\n"},
    {{"--namespace-label", "a=1"},
     "qferry: --namespace-label: nothing to choose from; --policies DIR names a folder\n"},
    {{"--policies", "/", "--label", "a"}, "qferry: --label: 'a' is not KEY=VALUE\n"},
    {{"--policies", "/", "--namespace-label", "=1"},
     "qferry: --namespace-label: '=1' does not begin with a label's key: it is empty\n"},
};
enum { N_WRONG = sizeof(wrong) / sizeof(wrong[0]) };

START_TEST(a_wrong_option_is_named)
{
    const char *const *o = wrong[_i].option;
    ck_assert_int_eq(run("migrate", o[0], o[1], o[2], o[3], NULL), 2);
    ck_assert_str_eq(f.err, wrong[_i].error);
}
END_TEST

/* --- single files --- */

static const struct {
    const char *argv[3];
    const char *error;
} bad_paths[] = {
    {{"policies", "check", "/dev/zero"},
     "qferry: /dev/zero:1: more than 262144 bytes; no policy is as long\n"},
    {{"migrate", "--policy", "/dev/zero"},
     "qferry: --policy: /dev/zero:1: more than 262144 bytes; no policy is as long\n"},
    {{"policies", "check", ""}, "qferry: '': No such file or directory\n"},
    {{"policies", "check", "/nonexistent/a\nb"},
     "qferry: /nonexistent/a?b: No such file or directory\n"},
};
enum { N_BAD_PATHS = sizeof(bad_paths) / sizeof(bad_paths[0]) };

START_TEST(a_bad_path_is_named)
{
    const char *const *a = bad_paths[_i].argv;
    ck_assert_int_eq(run(a[0], a[1], a[2], NULL), 2);
    ck_assert_str_eq(f.err, bad_paths[_i].error);
}
END_TEST

/* However long the path is: what is wrong is not cut off. */
START_TEST(line_and_field_are_said_after_a_long_path)
{
    char name[400];
    size_t n = 0;
    for (int i = 0; i < 3; i++, n++) {
        memset(name + n, 'x', 120);
        n += 120;
        name[n] = '\0';
        ck_assert_int_eq(mkdir(in(name), 0700), 0);
        name[n] = '/';
    }
    memcpy(name + n, "p.json", 7);
    write_file(name, "{\n\"nosuch\": 1}");
    ck_assert_int_eq(run("policies", "check", in(name), NULL), 2);
    ck_assert_int_eq(strncmp(f.err, "qferry: ...xxx", 14), 0);
    ck_assert_ptr_nonnull(strstr(f.err, "x/p.json:2: nosuch: unknown field; "
                                        "qferry-policy(5) lists what there is\n"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("choose_policy");
    TCase *choice = tcase_create("choice");
    tcase_add_checked_fixture(choice, setup, teardown);
    tcase_add_loop_test(choice, choice_is_explained_before_anything_is_opened, 0, 2);
    tcase_add_test(choice, explanation_leaves_json_lines_alone);
    tcase_add_test(choice, nothing_is_explained_unasked);
    tcase_add_test(choice, policy_is_the_fallback_wherever_it_stands);
    tcase_add_test(choice, default_holds_when_none_matches);
    tcase_add_test(choice, single_fields_override_the_chosen_policy);
    suite_add_tcase(suite, choice);
    TCase *folder = tcase_create("folder");
    tcase_add_checked_fixture(folder, setup, teardown);
    tcase_add_test(folder, only_visible_json_files_are_policies);
    tcase_add_test(folder, a_faulty_file_is_refused_with_line_and_field);
    tcase_add_test(folder, what_cannot_be_read_is_refused);
    tcase_add_test(folder, a_name_with_control_characters_stays_in_one_line);
    tcase_add_loop_test(folder, a_wrong_option_is_named, 0, N_WRONG);
    suite_add_tcase(suite, folder);
    TCase *file = tcase_create("file");
    tcase_add_checked_fixture(file, setup, teardown);
    tcase_add_loop_test(file, a_bad_path_is_named, 0, N_BAD_PATHS);
    tcase_add_test(file, line_and_field_are_said_after_a_long_path);
    suite_add_tcase(suite, file);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

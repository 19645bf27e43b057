/* What is typed wrongly is named in one line, with the right exit status and before anything is
 * touched; and what the program prints. Half of it needs no QEMU. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/real/move.h"

enum { ARGS_MAX = 8, TEXT_MAX = 8192 };

static struct fixture {
    struct world w;
    int listener;
    int client;
} f;

static void setup(void)
{
    f.listener = -1;
    f.client = -1;
    world_open(&f.w);
}

static void teardown(void)
{
    if (f.listener >= 0)
        (void)close(f.listener);
    if (f.client >= 0)
        (void)close(f.client);
    world_close(&f.w);
}

/* ---- helpers ---- */

/* stderr is one line that starts with the program's name and has `part` in it. */
static void expect_sentence(const struct lab_proc *p, const char *part)
{
    const char *text = lab_proc_stderr(p);
    const char *end = strchr(text, '\n');

    ck_assert_msg(strncmp(text, "qferry: ", 8) == 0, "stderr: %s", text);
    ck_assert_msg(end && end[1] == '\0', "not one line: %s", text);
    ck_assert_msg(strstr(text, part), "no '%s' in: %s", part, text);
}

static void expect_words(const char *text, const char *const *words)
{
    for (unsigned i = 0; words[i]; i++)
        ck_assert_msg(strstr(text, words[i]), "no '%s' in: %s", words[i], text);
}

/* `qferry COMMAND ARGS`; exit status and one sentence. */
static void expect_refusal(const char *const *argv, int exit, const char *part)
{
    struct lab_proc *p;
    const int got = world_run(&f.w, argv, &p);

    if (got != exit)
        lab_proc_dump(p);
    ck_assert_int_eq(got, exit);
    expect_sentence(p, part);
}

/* stdout; nothing on stderr. */
static const char *expect_output(const char *const *argv)
{
    struct lab_proc *p;

    if (world_run(&f.w, argv, &p) != 0) {
        lab_proc_dump(p);
        ck_abort_msg("failed");
    }
    ck_assert_str_eq(lab_proc_stderr(p), "");
    return lab_proc_stdout(p);
}

static const char *write_file(const char *name, const char *text, char path[LAB_PATH_MAX])
{
    FILE *file = fopen(lab_path(f.w.lab, name, path), "w");

    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
    return path;
}

/* A socket in the lab's folder that somebody listens on. */
static const char *listen_on(const char *name, char path[LAB_PATH_MAX])
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    lab_path(f.w.lab, name, path);
    strncpy(a.sun_path, path, sizeof(a.sun_path) - 1);
    f.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(f.listener, 0);
    ck_assert_int_eq(bind(f.listener, (struct sockaddr *)&a, sizeof(a)), 0);
    ck_assert_int_eq(listen(f.listener, 4), 0);
    return path;
}

/* Say something to the first client and, when it answers with a command, that this is done. */
static void greet(const char *text)
{
    struct pollfd p = {.fd = f.listener, .events = POLLIN};
    char bytes[TEXT_MAX];

    ck_assert_int_eq(poll(&p, 1, LAB_WAIT_MS), 1);
    f.client = accept4(f.listener, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(f.client, 0);
    ck_assert_int_eq(write(f.client, text, strlen(text)), (ssize_t)strlen(text));
    p.fd = f.client;
    ck_assert_int_eq(poll(&p, 1, LAB_WAIT_MS), 1);
    const ssize_t n = read(f.client, bytes, sizeof(bytes));
    json_t *command =
        n > 0 ? json_loadb(bytes, (size_t)n, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
    json_t *id = json_object_get(command, "id");
    if (id) {
        json_t *done = json_pack("{s:{}, s:O}", "return", "id", id);
        char *line = json_dumps(done, 0);

        ck_assert_int_gt(dprintf(f.client, "%s\r\n", line), 0);
        free(line);
        json_decref(done);
    }
    json_decref(command);
}

/* ---- usage ---- */

/* qferry and these words: exit 2 and a sentence with `part`. */
static const struct wrong {
    const char *argv[ARGS_MAX];
    const char *part;
} wrong_words[] = {
    {{NULL}, "no command"},
    {{"move"}, "'move'"},
    {{"--nonsense"}, "--nonsense"},
    {{"-x"}, "-x"},
    {{"migrate"}, "two monitors"},
    {{"migrate", "/a"}, "two monitors"},
    {{"migrate", "/a", "/b", "/c"}, "two monitors"},
    {{"preflight", "/a"}, "preflight takes two monitors"},
    {{"policies", "nosuch"}, "'nosuch'"},
    {{"policies", "list", "more"}, "list takes nothing more"},
    {{"policies", "show"}, "one name"},
    {{"policies", "show", "a", "b"}, "one name"},
    {{"policies", "show", "nosuch"}, "nosuch"},
    {{"policies", "check"}, "one file"},
    {{"policies", "check", "/nonexistent/p.json"}, "/nonexistent/p.json"},
    {{"policies", "--nonsense"}, "--nonsense"},
    {{"replay"}, "one journal"},
    {{"replay", "/a", "/b"}, "one journal"},
    {{"replay", "/nonexistent/j.jsonl"}, "/nonexistent/j.jsonl"},
    {{"replay", "-x"}, "-x"},
    {{"replay", "/dev/null"}, "/dev/null"},
    {{"status"}, "--control ADDRESS is missing"},
    {{"cancel", "now"}, "takes no 'now'"},
    {{"set", "--control", "/c"}, "FIELD=VALUE"},
    {{"set", "--control", "/c", "timeout"}, "'timeout'"},
    {{"watch", "--control", "c"}, "'c' is not an address"},
    {{"pause", "--nonsense"}, "--nonsense"},
    {{"postcopy", "--uid"}, "--uid needs a value"},
    /* addresses */
    {{"migrate", "", "/b"}, "source"},
    {{"migrate", "a.qmp", "/b"}, "'a.qmp'"},
    {{"migrate", "/a", "b.qmp"}, "destination: 'b.qmp'"},
    {{"migrate", "unix:", "/b"}, "unix:/path"},
    {{"migrate", "tcp:host", "/b"}, "a port is missing"},
    {{"migrate", "tcp::4444", "/b"}, "a host is missing"},
    {{"migrate", "tcp:host:0", "/b"}, "'0' is not a port"},
    {{"migrate", "tcp:host:65536", "/b"}, "'65536' is not a port"},
    {{"migrate", "tcp:[::1:4444", "/b"}, "']' is missing"},
    {{"migrate", "tcp:::1:4444", "/b"}, "needs brackets"},
    {{"migrate", "ftp:host:4444", "/b"}, "'ftp:'"},
    {{"migrate", "/a", "unix:/a"}, "the same monitor: /a"},
    {{"migrate", "tcp:h:1", "tcp:h:1"}, "the same monitor"},
};
enum { N_WRONG_WORDS = sizeof(wrong_words) / sizeof(wrong_words[0]) };

/* The same for `migrate SOURCE DESTINATION` and these. */
static const struct wrong wrong_options[] = {
    {{"--nonsense"}, "--nonsense"},
    {{"-x"}, "-x"},
    {{"--policy"}, "--policy needs a value"},
    {{"-p"}, "-p needs a value"},
    {{"--set"}, "--set needs a value"},
    {{"--journal"}, "--journal needs a value"},
    {{"--bandwidth"}, "--bandwidth needs a value"},
    {{"--unsafe"}, "--unsafe needs a value"},
    {{"--json=yes"}, "--json"},
    {{"--policy", "nosuch"}, "nosuch"},
    {{"--policy", ""}, "policy"},
    {{"--policy", "/nonexistent/p.json"}, "/nonexistent/p.json"},
    {{"--policy", "/"}, "--policy: /"},
    {{"--set", "downtime.max"}, "--set"},
    {{"--set", "=1s"}, "--set"},
    {{"--set", "nosuch=1s"}, "nosuch"},
    {{"--set", "downtime.maximum=1s"}, "downtime.maximum"},
    {{"--set", "downtime=1s"}, "downtime"},
    {{"--set", "steps=[]"}, "steps"},
    {{"--set", "downtime.max=soon"}, "\"soon\""},
    {{"--set", "downtime.max=0"}, "downtime.max"},
    {{"--set", "downtime.start=1h"}, "downtime.start"},
    {{"--set", "throttle.max=100"}, "throttle.max"},
    {{"--set", "throttle.allowed=maybe"}, "maybe"},
    {{"--set", "bandwidth=fast"}, "fast"},
    {{"--set", "on-timeout=panic"}, "panic"},
    {{"--set", "on-timeout=postcopy"}, "postcopy.allowed"},
    {{"--max-downtime", "-1s"}, "-1s"},
    {{"--max-downtime", "1parsec"}, "1parsec"},
    {{"--timeout", "never"}, "never"},
    {{"--bandwidth", "0"}, "'0'"},
    {{"--bandwidth", "fast"}, "'fast'"},
    {{"--bandwidth", "-1"}, "'-1'"},
    {{"--bandwidth", "10Gbyte"}, "'10Gbyte'"},
    {{"--bandwidth", ""}, "--bandwidth"},
    {{"--port", "0"}, "'0'"},
    {{"--port", "65536"}, "'65536'"},
    {{"--port", "5000-4000"}, "'5000-4000'"},
    {{"--port", "4000-"}, "'4000-'"},
    {{"--port", "http"}, "'http'"},
    {{"--destination-address", "a b"}, "'a b'"},
    {{"--destination-address", ""}, "--destination-address"},
    {{"--destination-address", "1.2.3.4,to=5"}, "'1.2.3.4,to=5'"},
    {{"--unsafe", "everything"}, "'everything'"},
    {{"--unsafe", "blocked-reasons"}, "'blocked-reasons'"},
    {{"--unsafe", "uuid,"}, "--unsafe"},
    {{"--unsafe", ""}, "--unsafe"},
    {{"--journal", "/nonexistent/dir/j.jsonl"}, "/nonexistent/dir/j.jsonl"},
    {{"--journal", "/"}, "--journal: /"},
    {{"--control"}, "--control needs a value"},
    {{"--control", "control"}, "--control: 'control'"},
    {{"--control", "tcp:127.0.0.1:4444"}, "only a UNIX socket"},
    {{"--control", "/nonexistent/dir/control"}, "--control: /nonexistent/dir/control"},
    {{"--control", "/dev/null"}, "is no socket"},
    {{"--channels", "256"}, "--channels: '256'"},
    {{"--channels", "many"}, "--channels: 'many'"},
    {{"--compression", "lzma"}, "--compression: 'lzma'"},
    {{"--channels", "0", "--compression", "zlib"}, "--channels 0 and --compression"},
    {{"--zero-copy", "--compression", "zlib"}, "--compression and --zero-copy"},
};
enum { N_WRONG_OPTIONS = sizeof(wrong_options) / sizeof(wrong_options[0]) };

static void with_words(const char *const *words,
                       unsigned first,
                       const char *argv[ARGS_MAX + 8])
{
    unsigned i = 0;

    for (; i < ARGS_MAX && words[i]; i++)
        argv[first + i] = words[i];
    argv[first + i] = NULL;
}

START_TEST(wrong_words_are_named)
{
    for (unsigned i = 0; i < N_WRONG_WORDS; i++) {
        const char *argv[ARGS_MAX + 8] = {QFERRY};

        with_words(wrong_words[i].argv, 1, argv);
        expect_refusal(argv, 2, wrong_words[i].part);
    }
}
END_TEST

START_TEST(wrong_options_are_named)
{
    for (unsigned i = 0; i < N_WRONG_OPTIONS; i++) {
        const char *argv[ARGS_MAX + 8] = {
            QFERRY,      "migrate", "/nonexistent/a.qmp", "/nonexistent/b.qmp",
            "--journal", "none"};

        with_words(wrong_options[i].argv, 6, argv);
        expect_refusal(argv, 2, wrong_options[i].part);
    }
}
END_TEST

START_TEST(a_path_that_no_socket_can_have_is_named)
{
    char path[200];

    memset(path, 'x', sizeof(path));
    path[0] = '/';
    path[sizeof(path) - 1] = '\0';
    expect_refusal(ARGS(QFERRY, "migrate", path, "/b", "--journal", "none"), 2, "allows");
}
END_TEST

START_TEST(too_many_settings_are_refused)
{
    const char *argv[256] = {QFERRY, "migrate", "/a", "/b"};
    unsigned n = 4;

    while (n < 200) {
        argv[n++] = "--set";
        argv[n++] = "timeout=1h";
    }
    argv[n] = NULL;
    expect_refusal(argv, 2, "policy file");
}
END_TEST

/* ---- help ---- */

START_TEST(help_and_version_are_printed)
{
    static const char *const migrate[] = {"--policy",
                                          "--set",
                                          "--max-downtime",
                                          "--timeout",
                                          "--policies",
                                          "--label",
                                          "--namespace-label",
                                          "--explain",
                                          "--bandwidth",
                                          "--destination-address",
                                          "--port",
                                          "--unsafe",
                                          "--quit-source",
                                          "--quit-destination",
                                          "--dry-run",
                                          "--json",
                                          "--journal",
                                          "--control",
                                          "--quiet",
                                          "--verbose",
                                          NULL};

    ck_assert_int_eq(strncmp(expect_output(ARGS(QFERRY, "--version")), "qferry 0.", 9), 0);
    expect_words(expect_output(ARGS(QFERRY, "--help")),
                 ARGS("usage: qferry", "migrate", "preflight", "policies", "replay"));
    expect_words(expect_output(ARGS(QFERRY, "migrate", "--help")), migrate);
    expect_words(expect_output(ARGS(QFERRY, "preflight", "--help")),
                 ARGS("usage: qferry preflight", "changes nothing"));
    expect_words(expect_output(ARGS(QFERRY, "policies", "--help")),
                 ARGS("usage: qferry policies", "show NAME", "check FILE"));
    expect_words(expect_output(ARGS(QFERRY, "set", "--help")),
                 ARGS("usage: qferry set FIELD=VALUE", "--control", "downtime.max"));
    expect_words(expect_output(ARGS(QFERRY, "watch", "--help")),
                 ARGS("usage: qferry watch --control", "exit status"));
    expect_words(expect_output(ARGS(QFERRY, "replay", "--help")),
                 ARGS("usage: qferry replay"));
}
END_TEST

/* ---- policies ---- */

/* but for libvirt, of which `check` warns */
static const char *const presets[] = {"minimal-downtime",
                                      "post-copy",
                                      "suspend-if-needed",
                                      "very-large-vm",
                                      "stop-and-copy",
                                      "legacy",
                                      "kubevirt",
                                      "vdsm-minimal-downtime",
                                      "vdsm-post-copy",
                                      "proxmox",
                                      "vdsm-suspend-if-needed",
                                      "vdsm-very-large-vm",
                                      "nova"};
enum { N_PRESETS = sizeof(presets) / sizeof(presets[0]) };

START_TEST(the_policies_are_listed)
{
    const char *list = expect_output(ARGS(QFERRY, "policies"));
    char first[TEXT_MAX];

    for (unsigned i = 0; i < N_PRESETS; i++)
        ck_assert_ptr_nonnull(strstr(list, presets[i]));
    snprintf(first, sizeof(first), "%.*s", (int)strcspn(list, "\n"), list);
    ck_assert_ptr_nonnull(strstr(first, "(default)"));
    ck_assert_uint_lt((unsigned)snprintf(first, sizeof(first), "%s", list), sizeof(first));
    ck_assert_int_eq(strcmp(expect_output(ARGS(QFERRY, "policies", "list")), first), 0);
}
END_TEST

/* What `show` prints is a policy file. */
START_TEST(a_shown_policy_can_be_used_as_a_file)
{
    const char *name = presets[_i];
    const char *shown = expect_output(ARGS(QFERRY, "policies", "show", name));
    char path[LAB_PATH_MAX];
    json_t *doc = json_loads(shown, 0, NULL);

    ck_assert_str_eq(json_string_value(json_object_get(doc, "name")), name);
    json_decref(doc);
    write_file("p.json", shown, path);
    expect_words(expect_output(ARGS(QFERRY, "policies", "check", path)),
                 ARGS(path, "fine", name));
}
END_TEST

static const struct bad_policy {
    const char *text;
    const char *part;
} bad_policies[] = {
    {"", ":1:"},
    {"{\n \"name\": \"x\",\n", ":3:"},
    {"[]", "not a policy"},
    {"{\"name\": \"x\",\n \"nosuch\": 1}", ":2: nosuch"},
    {"{\"name\": \"x\", \"downtime\": {\"maximum\": \"1s\"}}", "downtime.maximum"},
    {"{\"name\": \"x\",\n\"downtime\": {\n\"max\": \"soon\"}}", ":3: downtime.max"},
    {"{\"name\": \"x\", \"downtime\": {\"max\": true}}", "downtime.max: true"},
    {"{\"name\": 7}", "name"},
    {"{\"name\": \"x\", \"downtime\": 7}", "downtime"},
    {"{\"name\": \"x\", \"throttle\": {\"max\": 100}}", "throttle.max"},
    {"{\"name\": \"x\", \"stop\": {\"allowed\": \"maybe\"}}", "stop.allowed"},
    {"{\"name\": \"x\", \"pacing\": \"sometimes\"}", "pacing"},
    {"{\"name\": \"x\", \"steps\": 1}", "steps"},
    {"{\"name\": \"x\", \"steps\": [{\"trigger\": {\"nosuch\": 1}, \"action\": \"pause\"}]}",
     "nosuch"},
    {"{\"name\": \"x\", \"steps\": [{\"trigger\": {\"passes\": 1}, \"action\": \"fly\"}]}",
     "fly"},
    {"{\"name\": \"x\", \"steps\": [{\"action\": \"abort\"}]}", "steps"},
    {"{\"name\": \"x\", \"timeout\": \"1s\", \"timeout\": \"2s\"}", "timeout"},
};
enum { N_BAD_POLICIES = sizeof(bad_policies) / sizeof(bad_policies[0]) };

START_TEST(faults_of_a_policy_file_are_named)
{
    char path[LAB_PATH_MAX];

    for (unsigned i = 0; i < N_BAD_POLICIES; i++) {
        write_file("p.json", bad_policies[i].text, path);
        expect_refusal(ARGS(QFERRY, "policies", "check", path), 2, path);
        expect_refusal(ARGS(QFERRY, "policies", "check", path), 2, bad_policies[i].part);
        expect_refusal(ARGS(QFERRY, "migrate", "/a", "/b", "-p", path), 2,
                       bad_policies[i].part);
    }
}
END_TEST

/* ---- monitors that are none ---- */

static struct lab_proc *migrate_between(const char *src, const char *dst, int exit)
{
    struct lab_proc *p;
    const int got =
        world_run(&f.w, ARGS(QFERRY, "migrate", src, dst, "--journal", "none"), &p);

    if (got != exit)
        lab_proc_dump(p);
    ck_assert_int_eq(got, exit);
    return p;
}

START_TEST(a_socket_that_is_missing_is_named)
{
    char path[LAB_PATH_MAX];
    char other[LAB_PATH_MAX];

    listen_on("quiet.qmp", other);
    lab_path(f.w.lab, "missing.qmp", path);
    expect_sentence(migrate_between(path, other, 6), path);
    expect_sentence(migrate_between(other, path, 6), path);
    expect_sentence(migrate_between("tcp:127.0.0.1:1", other, 6), "tcp:127.0.0.1:1");
}
END_TEST

START_TEST(a_file_that_is_no_socket_is_named)
{
    char path[LAB_PATH_MAX];
    char other[LAB_PATH_MAX];

    write_file("file.qmp", "{}", path);
    listen_on("quiet.qmp", other);
    expect_sentence(migrate_between(path, other, 6), path);
}
END_TEST

START_TEST(a_socket_that_nobody_listens_on_is_named)
{
    char path[LAB_PATH_MAX];
    char other[LAB_PATH_MAX];

    listen_on("stale.qmp", path);
    (void)close(f.listener);
    listen_on("quiet.qmp", other);
    expect_sentence(migrate_between(path, other, 6), path);
}
END_TEST

static const struct greeting {
    const char *text;
    const char *part;
} greetings[] = {
    {"HTTP/1.1 400 Bad Request\r\n\r\n", "QMP"},
    {"SSH-2.0-OpenSSH_9.2\r\n", "QMP"},
    {"{\"hello\": \"world\"}\r\n", "QMP"},
    {"{\"QMP\": {}}\r\n", "QMP"},
    {"{\"QMP\": {\"version\": {\"other\": {\"major\": 1}}, \"capabilities\": []}}\r\n",
     "not a QEMU"},
};
enum { N_GREETINGS = sizeof(greetings) / sizeof(greetings[0]) };

START_TEST(a_socket_that_is_no_monitor_is_named)
{
    const struct greeting *g = &greetings[_i];
    char path[LAB_PATH_MAX];
    char other[LAB_PATH_MAX];
    int status;

    listen_on("quiet.qmp", other);
    const int quiet = f.listener;
    listen_on("strange.qmp", path);
    struct lab_proc *p =
        lab_spawn(f.w.lab, ARGS(QFERRY, "migrate", path, other, "--journal", "none"));
    ck_assert_ptr_nonnull(p);
    greet(g->text);
    ck_assert_int_eq(lab_proc_wait(p, 0, &status), 0);
    (void)close(quiet);
    if (WEXITSTATUS(status) != 6)
        lab_proc_dump(p);
    ck_assert_int_eq(WEXITSTATUS(status), 6);
    expect_sentence(p, path);
    expect_sentence(p, g->part);
}
END_TEST

/* It speaks QMP, and is a part of QEMU, but runs no guest. */
START_TEST(a_storage_daemon_is_no_machine)
{
    char path[LAB_PATH_MAX];
    char chardev[LAB_PATH_MAX + 64];

    world_pair(&f.w, "ws=16");
    lab_path(f.w.lab, "qsd.qmp", path);
    snprintf(chardev, sizeof(chardev), "socket,id=c,path=%s,server=on,wait=off", path);
    struct lab_proc *p = lab_spawn(f.w.lab, ARGS("qemu-storage-daemon", "--chardev",
                                                 chardev, "--monitor", "chardev=c"));
    ck_assert_ptr_nonnull(p);
    while (lab_proc_alive(p) && access(path, F_OK) != 0)
        lab_pump(f.w.lab, 10);
    if (!lab_proc_alive(p)) {
        printf("not tried: no qemu-storage-daemon\n");
        return;
    }
    p = migrate_between(lab_vm_qmp_path(f.w.src), path, 6);
    expect_sentence(p, "destination");
    expect_sentence(p, "not a QEMU system emulator");
    expect_guest_on(&f.w, f.w.src);
}
END_TEST

/* ---- with machines ---- */

static const char *src_path(void)
{
    return lab_vm_qmp_path(f.w.src);
}

static const char *dst_path(void)
{
    return lab_vm_qmp_path(f.w.dst);
}

START_TEST(what_is_typed_wrongly_touches_no_machine)
{
    world_pair(&f.w, "ws=16");
    for (unsigned i = 0; i < N_WRONG_OPTIONS; i++) {
        const char *argv[ARGS_MAX + 8] = {QFERRY,     "migrate",   src_path(),
                                          dst_path(), "--journal", "none"};

        with_words(wrong_options[i].argv, 6, argv);
        expect_refusal(argv, 2, wrong_options[i].part);
    }
    expect_sentence(migrate_between(src_path(), "/nonexistent/b.qmp", 6),
                    "/nonexistent/b.qmp");
    expect_sentence(migrate_between("/nonexistent/a.qmp", dst_path(), 6),
                    "/nonexistent/a.qmp");
    expect_not_begun(&f.w);
}
END_TEST

START_TEST(text_tells_what_happens)
{
    world_pair(&f.w, "ws=16 rate=1000");
    const char *text = expect_output(ARGS(QFERRY, "migrate", src_path(), dst_path(),
                                          "--bandwidth", "40MiB", "--journal", "none"));

    expect_words(text, ARGS("connect", "precopy", "pass 1",
                            "completed: the guest runs on "
                            "the destination"));
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

START_TEST(quiet_is_one_line)
{
    world_pair(&f.w, "ws=16 rate=1000");
    const char *text =
        expect_output(ARGS(QFERRY, "migrate", src_path(), dst_path(), "--bandwidth",
                           "40MiB", "--journal", "none", "-q"));

    ck_assert_int_eq(strncmp(text, "completed: ", 11), 0);
    ck_assert_uint_eq(strcspn(text, "\n") + 1, strlen(text));
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

START_TEST(preflight_shows_every_check)
{
    world_pair(&f.w, "ws=16 rate=1000");
    expect_words(
        expect_output(
            ARGS(QFERRY, "preflight", src_path(), dst_path(), "-v", "--journal", "none")),
        ARGS("source-state: ok", "uuid: ok", "pci-devices: ok", "nothing was changed"));
    expect_not_begun(&f.w);
}
END_TEST

START_TEST(the_default_journal_is_in_the_state_directory)
{
    char path[LAB_PATH_MAX];
    struct lab_proc *p;

    world_pair(&f.w, "ws=16");
    lab_path(f.w.lab, "state", path);
    ck_assert_int_eq(setenv("STATE_DIRECTORY", path, 1), 0);
    const char *shell = "\"$0\" preflight \"$1\" \"$2\" -q && \"$0\" replay "
                        "\"$STATE_DIRECTORY\"/*.jsonl";
    const int rc =
        world_run(&f.w, ARGS("sh", "-c", shell, QFERRY, src_path(), dst_path()), &p);
    ck_assert_int_eq(unsetenv("STATE_DIRECTORY"), 0);
    if (rc != 0)
        lab_proc_dump(p);
    ck_assert_int_eq(rc, 0);
    ck_assert_ptr_nonnull(strstr(lab_proc_stdout(p), "the same"));
}
END_TEST

/* A guest matters more than a disk that is full. */
START_TEST(a_journal_that_cannot_be_written_does_not_stop_a_move)
{
    struct lab_proc *p;

    world_pair(&f.w, "ws=16 rate=1000");
    const int rc = world_run(&f.w,
                             ARGS(QFERRY, "migrate", src_path(), dst_path(), "--bandwidth",
                                  "40MiB", "--journal", "/dev/full"),
                             &p);
    if (rc != 0)
        lab_proc_dump(p);
    ck_assert_int_eq(rc, 0);
    expect_sentence(p, "warning: ");
    expect_sentence(p, "journal");
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

START_TEST(a_reader_that_goes_away_does_not_stop_a_move)
{
    struct lab_proc *p;

    world_pair(&f.w, "ws=16 rate=1000");
    const int rc = world_run(
        &f.w,
        ARGS("bash", "-c",
             "set -o pipefail; \"$0\" migrate \"$1\" \"$2\" --json --journal none "
             "--bandwidth 20MiB | head -n 1",
             QFERRY, src_path(), dst_path()),
        &p);
    if (rc != 0)
        lab_proc_dump(p);
    ck_assert_int_eq(rc, 0);
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

/* One bit of the past is changed: the replay sees it. */
START_TEST(a_journal_that_was_changed_does_not_replay)
{
    char path[LAB_PATH_MAX];
    struct lab_proc *p;

    world_pair(&f.w, "ws=16 rate=1000");
    struct move *m = move_run(&f.w, ARGS("--bandwidth", "40MiB"));
    move_expect(m, 0, "completed", "destination");
    lab_path(f.w.lab, "changed.jsonl", path);
    const char *shell =
        "sed 's/\"outcome\":\"completed\"/\"outcome\":\"failed\"/' \"$1\" > "
        "\"$2\" && \"$0\" replay \"$2\"";
    ck_assert_int_eq(world_run(&f.w, ARGS("sh", "-c", shell, QFERRY, m->journal, path), &p),
                     1);
    ck_assert_ptr_nonnull(strstr(lab_proc_stderr(p), "differs"));
}
END_TEST

static Suite *cli_suite(void)
{
    Suite *s = suite_create("cli");
    TCase *t = tcase_create("words");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, wrong_words_are_named);
    tcase_add_test(t, wrong_options_are_named);
    tcase_add_test(t, a_path_that_no_socket_can_have_is_named);
    tcase_add_test(t, too_many_settings_are_refused);
    tcase_add_test(t, help_and_version_are_printed);
    tcase_add_test(t, the_policies_are_listed);
    tcase_add_loop_test(t, a_shown_policy_can_be_used_as_a_file, 0, N_PRESETS);
    tcase_add_test(t, faults_of_a_policy_file_are_named);
    tcase_add_test(t, a_socket_that_is_missing_is_named);
    tcase_add_test(t, a_file_that_is_no_socket_is_named);
    tcase_add_test(t, a_socket_that_nobody_listens_on_is_named);
    tcase_add_loop_test(t, a_socket_that_is_no_monitor_is_named, 0, N_GREETINGS);
    suite_add_tcase(s, t);
    if (lab_missing())
        return s;

    t = tcase_create("machines");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, what_is_typed_wrongly_touches_no_machine);
    tcase_add_test(t, a_storage_daemon_is_no_machine);
    tcase_add_test(t, text_tells_what_happens);
    tcase_add_test(t, quiet_is_one_line);
    tcase_add_test(t, preflight_shows_every_check);
    tcase_add_test(t, the_default_journal_is_in_the_state_directory);
    tcase_add_test(t, a_journal_that_cannot_be_written_does_not_stop_a_move);
    tcase_add_test(t, a_reader_that_goes_away_does_not_stop_a_move);
    tcase_add_test(t, a_journal_that_was_changed_does_not_replay);
    suite_add_tcase(s, t);
    return s;
}

/* Without QEMU: what needs none, and still a skip, since half of it was not run. */
int main(void)
{
    SRunner *runner = srunner_create(cli_suite());
    int failed;

    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    if (failed == 0 && lab_missing()) {
        printf("skipped in part: %s\n", lab_missing());
        return REAL_SKIPPED;
    }
    return failed == 0 ? 0 : 1;
}

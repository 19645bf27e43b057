/* Two qferrys and one VM: the second one says so and stops, or, where the first one hangs, takes the
 * move over. QEMU 7.2, TCG; through ssh with an sshd of the test's own. */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/real/postcopy.h"

#define SSHD "/usr/sbin/sshd"

/* A command line after this one takes the files in a folder for what the kernel says of interfaces. */
#define WITH_LINKS(dir) \
    "unshare", "-m", "sh", "-c", "mount --bind \"$0\" /sys/class/net && exec \"$@\"", dir

/* Some seconds of memory. */
#define SLOWLY "--bandwidth", "6MiB"

static struct fixture {
    struct world w;
    char run[LAB_PATH_MAX];
    char sock[LAB_PATH_MAX];
    unsigned ssh_port;
    char far_links[LAB_PATH_MAX]; /* what sshd sees of its interfaces; "": what there is */
} f;

static void setup(void)
{
    f.far_links[0] = '\0';
    world_open(&f.w);
    lab_path(f.w.lab, "run", f.run);
    lab_path(f.w.lab, "control", f.sock);
    ck_assert_int_eq(mkdir(f.run, 0700), 0);
    ck_assert_int_eq(setenv("QFERRY_RUN_DIR", f.run, 1), 0);
}

static void teardown(void)
{
    (void)unsetenv("QFERRY_SSH");
    (void)unsetenv("QFERRY_RUN_DIR");
    world_close(&f.w);
}

/* ---- helpers ---- */

static void expect_nothing_left(void)
{
    ck_assert_msg(rmdir(f.run) == 0, "%s: %s", f.run, strerror(errno));
    ck_assert_int_eq(mkdir(f.run, 0700), 0);
}

static void freeze(struct move *m)
{
    ck_assert_int_eq(lab_proc_signal(m->proc, SIGSTOP), 0);
}

/* The first one, which was ended: nothing is asked of it any more. */
static void expect_killed(struct move *m)
{
    int status;

    ck_assert_int_eq(lab_proc_wait(m->proc, 0, &status), 0);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    m->ended = true;
}

static void expect_one_line(struct lab_proc *p, const char *const *parts)
{
    const char *text = lab_proc_stderr(p);

    ck_assert_str_eq(lab_proc_stdout(p), "");
    ck_assert_msg(strchr(text, '\n') == text + strlen(text) - 1, "%s", text);
    for (; *parts; parts++)
        ck_assert_msg(strstr(text, *parts), "%s: %s", *parts, text);
}

static void expect_taken_over(struct move *m, struct move *first, const char *mode)
{
    char part[64];

    move_expect(m, 0, "completed", "destination");
    ck_assert_str_eq(move_result(m, "mode"), mode);
    ck_assert(move_has(m, "warning", "message", "taking it up"));
    snprintf(part, sizeof(part), "process %ld, which moved this VM, was ended",
             (long)lab_proc_pid(first->proc));
    ck_assert_msg(strstr(lab_proc_stderr(m->proc), part), "%s", lab_proc_stderr(m->proc));
    expect_killed(first);
    expect_guest_on(&f.w, f.w.dst);
}

/* ---- the second one ---- */

START_TEST(the_second_one_says_so_and_stops)
{
    char pid[64];
    char control[LAB_PATH_MAX + 32];
    char other[LAB_PATH_MAX];
    char by_link[LAB_PATH_MAX + 128];
    struct lab_proc *p;
    struct stat before;
    struct stat after;

    world_pair(&f.w, "ws=24 rate=1000");
    struct move *first = move_begin(&f.w, ARGS(SLOWLY, "--control", f.sock));
    move_wait_memory(first);
    snprintf(pid, sizeof(pid), "process %ld,", (long)lab_proc_pid(first->proc));
    snprintf(control, sizeof(control), "qferry status --control %s", f.sock);

    const char *src = lab_vm_qmp_path(f.w.src);
    const char *dst = lab_vm_qmp_path(f.w.dst);
    const char *const parts[] = {"source: ", pid, "since 20", control, "--takeover", NULL};

    /* People get a line, and nothing is written over: neither the journal ... */
    ck_assert_int_eq(stat(first->journal, &before), 0);
    ck_assert_int_eq(world_run(&f.w,
                               ARGS(QFERRY, "migrate", src, dst, "--journal",
                                    first->journal, "--control", f.sock),
                               &p),
                     6);
    expect_one_line(p, parts);
    ck_assert_int_eq(stat(first->journal, &after), 0);
    ck_assert_int_ge(after.st_size, before.st_size);
    /* ... nor by another name of the same folder, nor by attach. */
    ck_assert_int_eq(symlink(lab_dir(f.w.lab), lab_path(f.w.lab, "link", other)), 0);
    snprintf(by_link, sizeof(by_link), "unix:%s%s", other, strrchr(src, '/'));
    ck_assert_int_eq(
        world_run(&f.w, ARGS(QFERRY, "attach", by_link, dst, "--journal", "none"), &p), 6);
    expect_one_line(p, parts);

    /* Programs get a result. */
    ck_assert_int_eq(
        world_run(&f.w, ARGS(QFERRY, "migrate", src, dst, "--json", "--journal", "none"),
                  &p),
        6);
    ck_assert_ptr_nonnull(strstr(lab_proc_stdout(p), "\"type\":\"result\""));
    ck_assert_ptr_nonnull(strstr(lab_proc_stdout(p), "\"exit\":6"));
    ck_assert_ptr_nonnull(strstr(lab_proc_stdout(p), pid));

    move_end(first);
    move_expect(first, 0, "completed", "destination");
    expect_guest_on(&f.w, f.w.dst);
    expect_nothing_left();
}
END_TEST

START_TEST(other_machines_are_no_hindrance)
{
    world_pair(&f.w, "ws=24 rate=1000");
    struct move *first = move_begin(&f.w, ARGS(SLOWLY));
    move_wait_memory(first);
    world_pair(&f.w, "ws=16 rate=1000");
    /* there is nobody whom it could end */
    struct move *m = move_run(&f.w, ARGS("--bandwidth", "40MiB", "--takeover"));
    move_expect(m, 0, "completed", "destination");
    ck_assert(!strstr(lab_proc_stderr(m->proc), "--takeover"));
    ck_assert_int_eq(lab_proc_signal(first->proc, SIGINT), 0);
    move_end(first);
    move_expect(first, 5, "cancelled", "source");
    expect_nothing_left();
}
END_TEST

/* ---- a first one that hangs ---- */

static void expect_refused_with_line(void)
{
    struct lab_proc *p;

    ck_assert_int_eq(world_run(&f.w,
                               ARGS(QFERRY, "migrate", lab_vm_qmp_path(f.w.src),
                                    lab_vm_qmp_path(f.w.dst), "--journal", "none"),
                               &p),
                     6);
    expect_one_line(p, ARGS("another qferry, process ", "--takeover"));
}

START_TEST(a_pre_copy_is_taken_over)
{
    world_pair(&f.w, "ws=24 rate=1000");
    struct move *first = move_begin(&f.w, ARGS(SLOWLY, "--control", f.sock));
    move_wait_memory(first);
    freeze(first);
    expect_refused_with_line();
    /* its control socket is free, too */
    struct move *m = move_begin_at(&f.w, _i == 0 ? "migrate" : "attach",
                                   lab_vm_qmp_path(f.w.src), lab_vm_qmp_path(f.w.dst),
                                   ARGS(SLOWLY, "--takeover", "--control", f.sock));
    move_end(m);
    expect_taken_over(m, first, "precopy");
    expect_nothing_left();
}
END_TEST

START_TEST(a_post_copy_is_taken_over)
{
    struct move *first = postcopy_begin(&f.w);

    freeze(first);
    expect_refused_with_line();
    struct move *m = move_begin(&f.w, ARGS("-p", "post-copy", "--takeover"));
    move_wait_line(m, "taking it up");
    postcopy_let_loose(&f.w);
    move_end(m);
    expect_taken_over(m, first, "postcopy");
    expect_nothing_left();
}
END_TEST

/* It hangs before it has touched anything: its destination never says a word. */
START_TEST(a_takeover_of_nothing_begins_anew)
{
    char silent[LAB_PATH_MAX];
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct stat st;

    world_pair(&f.w, "ws=16 rate=1000");
    lab_path(f.w.lab, "silent", silent);
    memcpy(at.sun_path, silent, sizeof(at.sun_path));
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    struct move *first =
        move_begin_at(&f.w, "migrate", lab_vm_qmp_path(f.w.src), silent, NO_ARGS);
    while (stat(first->journal, &st) != 0 || st.st_size == 0)
        lab_pump(f.w.lab, 10);
    freeze(first);
    struct move *m = move_run(&f.w, ARGS("--takeover", "--bandwidth", "40MiB"));
    move_expect(m, 0, "completed", "destination");
    ck_assert(!move_has(m, "warning", "message", "taking it up"));
    expect_killed(first);
    expect_guest_on(&f.w, f.w.dst);
    (void)close(fd);
    expect_nothing_left();
}
END_TEST

/* ---- through ssh ---- */

static void write_text(const char *name, const char *text)
{
    char path[LAB_PATH_MAX];
    FILE *file = fopen(lab_path(f.w.lab, name, path), "w");

    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static unsigned free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t len = sizeof(at);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    (void)close(fd);
    return ntohs(at.sin_port);
}

static void start_sshd(void)
{
    const char *const keys[] = {"host_key", "user_key"};
    const char *const dir = lab_dir(f.w.lab);
    char text[1024];
    char path[LAB_PATH_MAX];

    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(world_run(&f.w,
                                   ARGS("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f",
                                        lab_path(f.w.lab, keys[i], path)),
                                   NULL),
                         0);
    f.ssh_port = free_port();
    if (geteuid() == 0) /* where its unprivileged part lives */
        (void)mkdir("/run/sshd", 0755);
    snprintf(text, sizeof(text),
             "Port %u\nListenAddress 127.0.0.1\nHostKey %s/host_key\n"
             "AuthorizedKeysFile %s/user_key.pub\nPidFile none\nUsePAM no\nStrictModes no\n"
             "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
             "PermitRootLogin prohibit-password\n",
             f.ssh_port, dir, dir);
    write_text("sshd_config", text);
    snprintf(text, sizeof(text),
             "Host hv\n  HostName 127.0.0.1\n  Port %u\n"
             "Host *\n  IdentityFile %s/user_key\n  IdentitiesOnly yes\n"
             "  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n"
             "  GlobalKnownHostsFile /dev/null\n",
             f.ssh_port, dir);
    write_text("ssh_config", text);
    snprintf(text, sizeof(text), "ssh -F %s/ssh_config", dir);
    ck_assert_int_eq(setenv("QFERRY_SSH", text, 1), 0);
    lab_path(f.w.lab, "sshd_config", path);
    struct lab_proc *p =
        lab_spawn(f.w.lab, f.far_links[0] == '\0' ? ARGS(SSHD, "-D", "-e", "-f", path)
                                                  : ARGS(WITH_LINKS(f.far_links), SSHD,
                                                         "-D", "-e", "-f", path));
    ck_assert_ptr_nonnull(p);
    f.w.own[f.w.n_own++] = lab_proc_pid(p);
    f.w.reaps = true;
    for (int i = 0; !strstr(lab_proc_stderr(p), "Server listening") && i < 3000; i++)
        lab_pump(f.w.lab, 10);
}

static const char *far(struct lab_vm *vm, char out[LAB_PATH_MAX + 16])
{
    snprintf(out, LAB_PATH_MAX + 16, "ssh:hv%s", lab_vm_qmp_path(vm));
    return out;
}

/* Its children must let go of the monitors: QEMU serves one client at a time. */
START_TEST(a_move_through_ssh_is_taken_over)
{
    char src[LAB_PATH_MAX + 16];
    char dst[LAB_PATH_MAX + 16];

    start_sshd();
    world_pair(&f.w, "ws=24 rate=1000");
    far(f.w.src, src);
    far(f.w.dst, dst);
    struct move *first = move_begin_at(&f.w, "migrate", src, dst,
                                       ARGS("--destination-address", "127.0.0.1", SLOWLY));
    move_wait_memory(first);
    freeze(first);
    struct move *m =
        move_begin_at(&f.w, "migrate", src, dst,
                      ARGS("--destination-address", "127.0.0.1", SLOWLY, "--takeover"));
    move_end(m);
    expect_taken_over(m, first, "precopy");
    expect_nothing_left();
}
END_TEST

/* ---- the speed of the interface that receives ---- */

/* A folder that says that lo is a device of so many Mbit/s. */
static void make_links(const char *name, const char *mbit, char path[LAB_PATH_MAX])
{
    char command[4 * LAB_PATH_MAX];

    lab_path(f.w.lab, name, path);
    snprintf(command, sizeof(command),
             "mkdir -p %s/lo/device && echo %s >%s/lo/speed && echo 1 >%s/lo/ifindex", path,
             mbit, path, path);
    ck_assert_int_eq(system(command), 0);
}

START_TEST(the_destinations_host_is_asked_for_its_speed)
{
    char own[LAB_PATH_MAX];
    char dst[LAB_PATH_MAX + 16];

    make_links("own-links", "100", own); /* slow enough for an answer that is late */
    make_links("far-links", "80", f.far_links);
    start_sshd();
    world_pair(&f.w, "ws=48 rate=200");
    far(f.w.dst, dst);
    f.w.prefix = (const char *const[]){WITH_LINKS(own), NULL};
    struct move *m = move_begin_at(
        &f.w, "migrate", lab_vm_qmp_path(f.w.src), dst,
        ARGS("--network", "127.0.0.0/8", "--destination-address", "127.0.0.1"));
    f.w.prefix = NULL;
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    /* in time or late, it is the limit: 80 Mbit/s */
    ck_assert(
        move_has(m, "network", "bandwidth_reason", "the speed of lo, which receives") ||
        move_has(m, "decision", "because", "lo, which receives, is slower: 80 Mbit/s"));
    expect_guest_on(&f.w, f.w.dst);
    expect_nothing_left();
}
END_TEST

/* ---- main ---- */

static Suite *running_suite(void)
{
    Suite *s = suite_create("running");
    TCase *t = tcase_create("second");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, the_second_one_says_so_and_stops);
    tcase_add_test(t, other_machines_are_no_hindrance);
    suite_add_tcase(s, t);

    t = tcase_create("takeover");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_loop_test(t, a_pre_copy_is_taken_over, 0, 2);
    tcase_add_test(t, a_post_copy_is_taken_over);
    tcase_add_test(t, a_takeover_of_nothing_begins_anew);
    suite_add_tcase(s, t);

    if (access(SSHD, X_OK) != 0) {
        printf("skipped: no sshd: install openssh-server for the test through ssh\n");
        return s;
    }
    t = tcase_create("ssh");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, a_move_through_ssh_is_taken_over);
    if (geteuid() == 0 && system("unshare -m true 2>/dev/null") == 0)
        tcase_add_test(t, the_destinations_host_is_asked_for_its_speed);
    else
        printf("skipped: the speed of the receiving interface: needs root and unshare\n");
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return real_main(running_suite());
}

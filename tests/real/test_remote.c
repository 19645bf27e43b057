/* Monitors on another host: with TLS, and through ssh. The other host is this one: QEMU 7.2 listens
 * with TLS on 127.0.0.1, and an sshd of the test's own on a port of its own, with keys made for
 * it. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/certs.h"
#include "tests/real/move.h"

#define SSHD "/usr/sbin/sshd"

/* About two seconds of memory: 20 MB/s. */
#define SLOWLY "--bandwidth", "20MiB"

static struct fixture {
    struct world w;
    struct cert ca;
    char dir[LAB_PATH_MAX]; /* QEMU's credentials */
    char own[LAB_PATH_MAX]; /* qferry's */
    char src[64];           /* tls: addresses */
    char dst[64];
    unsigned ssh_port;
    char src_ssh[LAB_PATH_MAX + 64];
    char dst_ssh[LAB_PATH_MAX + 64];
    char run[LAB_PATH_MAX]; /* qferry's runtime directory */
} f;

/* ---- keys ---- */

/* A certificate and its key in files as QEMU names them. */
static void make(const char *dir, const char *who, const char *san, long from_s, long to_s)
{
    char name[64];
    struct cert c;

    cert_make(&c, &f.ca,
              &(struct cert_opts){.cn = who, .san = san, .from_s = from_s, .to_s = to_s});
    snprintf(name, sizeof(name), "%s-cert.pem", who);
    cert_write(dir, name, cert_pem(&c), 0644);
    snprintf(name, sizeof(name), "%s-key.pem", who);
    cert_write(dir, name, cert_key_pem(&c), 0600);
    cert_free(&c);
}

static void make_keys(const char *san)
{
    lab_path(f.w.lab, "qemu-tls", f.dir);
    lab_path(f.w.lab, "own-tls", f.own);
    ck_assert(mkdir(f.dir, 0700) == 0 || errno == EEXIST);
    ck_assert(mkdir(f.own, 0700) == 0 || errno == EEXIST);
    cert_free(&f.ca);
    cert_make(&f.ca, NULL, &(struct cert_opts){.cn = "lab", .ca = true});
    cert_write(f.dir, "ca-cert.pem", cert_pem(&f.ca), 0644);
    cert_write(f.own, "ca-cert.pem", cert_pem(&f.ca), 0644);
    make(f.dir, "server", san, 0, 0);
    make(f.own, "client", NULL, 0, 0);
}

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    world_open(&f.w);
    make_keys("DNS:localhost,IP:127.0.0.1");
    lab_path(f.w.lab, "run", f.run);
    ck_assert_int_eq(mkdir(f.run, 0700), 0);
    ck_assert_int_eq(setenv("RUNTIME_DIRECTORY", f.run, 1), 0);
}

static void teardown(void)
{
    (void)unsetenv("QFERRY_SSH");
    (void)unsetenv("QFERRY_TLS_DIR");
    (void)unsetenv("RUNTIME_DIRECTORY");
    cert_free(&f.ca);
    world_close(&f.w);
}

/* ---- machines with TLS ---- */

/* The port that QEMU has chosen for the monitor. */
static unsigned monitor_port(struct lab_vm *vm)
{
    json_t *all = lab_qmp(vm, "query-chardev", NULL);
    const char *at = NULL;
    size_t i;
    json_t *one;

    ck_assert_ptr_nonnull(all);
    json_array_foreach (all, i, one)
        if (strcmp(json_string_value(json_object_get(one, "label")), "mont") == 0)
            at = strstr(json_string_value(json_object_get(one, "filename")), "127.0.0.1:");
    ck_assert_ptr_nonnull(at);
    const unsigned port = (unsigned)strtoul(at + 10, NULL, 10);
    json_decref(all);
    ck_assert_uint_gt(port, 0);
    return port;
}

/* A pair whose other monitors are tls:. */
static void pair(const char *append)
{
    char creds[LAB_PATH_MAX + 64];
    snprintf(creds, sizeof(creds), "tls-creds-x509,id=tls0,endpoint=server,dir=%s", f.dir);
    const char *const extra[] = {
        "-object",
        creds,
        "-chardev",
        "socket,id=mont,host=127.0.0.1,port=0,server=on,wait=off,tls-creds=tls0",
        "-mon",
        "chardev=mont,mode=control",
        NULL};

    world_pair_of(&f.w, &(struct lab_vm_opts){.append = append, .extra = extra});
    snprintf(f.src, sizeof(f.src), "tls:127.0.0.1:%u", monitor_port(f.w.src));
    snprintf(f.dst, sizeof(f.dst), "tls:localhost:%u", monitor_port(f.w.dst));
}

static void expect_untouched(void)
{
    char state[LAB_STATE_MAX];

    expect_settings(f.w.src, f.w.src_settings);
    expect_settings(f.w.dst, f.w.dst_settings);
    ck_assert_int_eq(lab_run_state(f.w.dst, state), 0);
    ck_assert_str_eq(state, "inmigrate");
    expect_guest_on(&f.w, f.w.src);
}

static struct move *run(const char *src, const char *dst, const char *const *extra)
{
    struct move *m = move_begin_at(&f.w, "migrate", src, dst, extra);
    move_end(m);
    return m;
}

/* Refused before anything begins: one line, and this in it. */
static void expect_refusal(const char *part)
{
    char journal[LAB_PATH_MAX];
    struct lab_proc *p;

    lab_path(f.w.lab, "refused.jsonl", journal);
    const int rc = world_run(
        &f.w,
        ARGS(QFERRY, "migrate", f.src, f.dst, "--tls-dir", f.own, "--journal", journal),
        &p);
    const char *text = lab_proc_stderr(p);

    ck_assert_int_eq(rc, 2);
    ck_assert_int_ne(access(journal, F_OK), 0);
    ck_assert_msg(strstr(text, part) && strchr(text, '\n') == text + strlen(text) - 1, "%s",
                  text);
}

/* ---- TLS ---- */

START_TEST(a_move_over_monitors_with_tls)
{
    pair("ws=16 rate=1000");
    struct move *m = run(f.src, f.dst, ARGS("--tls-dir", f.own, SLOWLY));
    move_expect(m, 0, "completed", "destination");
    expect_guest_on(&f.w, f.w.dst);
    expect_settings(f.w.dst, f.w.dst_settings);
}
END_TEST

START_TEST(post_copy_over_monitors_with_tls)
{
    pair("ws=32 rate=20000");
    ck_assert_int_eq(setenv("QFERRY_TLS_DIR", f.own, 1), 0);
    struct move *m = run(f.src, f.dst, ARGS("-p", "post-copy", SLOWLY));
    move_expect(m, 0, "completed", "destination");
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

START_TEST(the_guest_survives_a_destination_that_dies_behind_tls)
{
    pair("ws=24 rate=1000");
    struct move *m =
        move_begin_at(&f.w, "migrate", f.src, f.dst, ARGS("--tls-dir", f.own, SLOWLY));
    move_wait_memory(m);
    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGKILL), 0);
    move_end(m);
    move_expect(m, 4, "failed", "source");
    expect_guest_on(&f.w, f.w.src);
}
END_TEST

START_TEST(what_is_wrong_with_a_monitors_certificate_is_said)
{
    pair("ws=16");
    /* not known here: another CA, then none but the system's */
    cert_free(&f.ca);
    cert_make(&f.ca, NULL, &(struct cert_opts){.cn = "lab", .ca = true});
    cert_write(f.own, "ca-cert.pem", cert_pem(&f.ca), 0644);
    struct move *m = run(f.src, f.dst, ARGS("--tls-dir", f.own));
    move_expect(m, 6, "failed", "unknown");
    move_expect_reason(m, "certificate comes from a CA that is not known here");
    m = run(f.src, f.dst, NO_ARGS);
    move_expect(m, 6, "failed", "unknown");
    move_expect_reason(m, "certificate comes from a CA that is not known here");
    expect_untouched();
}
END_TEST

START_TEST(a_certificate_of_another_host_or_time_is_refused)
{
    make_keys(_i == 0 ? "DNS:elsewhere.example" : "IP:127.0.0.1");
    if (_i == 1) /* good for a moment: QEMU looks when it starts */
        make(f.dir, "server", "IP:127.0.0.1,DNS:localhost", -3600, 4);
    pair("ws=16");
    if (_i == 1)
        lab_pump(f.w.lab, 4500);
    struct move *m = run(f.src, f.dst, ARGS("--tls-dir", f.own));
    move_expect(m, 6, "failed", "unknown");
    move_expect_reason(m, _i == 0 ? "certificate is for elsewhere.example, not for "
                                  : "certificate has expired (");
    expect_untouched();
}
END_TEST

START_TEST(a_monitor_that_wants_a_certificate_says_so)
{
    char path[LAB_PATH_MAX + 32];

    pair("ws=16");
    snprintf(path, sizeof(path), "%s/client-cert.pem", f.own);
    ck_assert_int_eq(unlink(path), 0);
    expect_refusal("client-key.pem is there, but not ");
    snprintf(path, sizeof(path), "%s/client-key.pem", f.own);
    ck_assert_int_eq(unlink(path), 0);
    struct move *m = run(f.src, f.dst, ARGS("--tls-dir", f.own));
    move_expect(m, 6, "failed", "unknown");
    move_expect_reason(m, "asked for a certificate, and there is none");
    expect_untouched();
}
END_TEST

START_TEST(bad_credentials_are_refused_before_anything_begins)
{
    char path[LAB_PATH_MAX + 32];
    struct cert c;

    pair("ws=16");
    snprintf(path, sizeof(path), "%s/client-key.pem", f.own);
    ck_assert_int_eq(chmod(path, 0644), 0);
    expect_refusal("client-key.pem: others can read or change this key (mode 0644)");
    cert_make(&c, NULL, &(struct cert_opts){.cn = "x"});
    cert_write(f.own, "client-key.pem", cert_key_pem(&c), 0600);
    cert_free(&c);
    expect_refusal("client-key.pem: the key does not fit the certificate ");
    make(f.own, "client", NULL, -7200, -3600);
    expect_refusal("client-cert.pem: the certificate has expired (");
    snprintf(path, sizeof(path), "%s/ca-cert.pem", f.own);
    ck_assert_int_eq(unlink(path), 0);
    expect_refusal("ca-cert.pem: No such file or directory");
    expect_untouched();
}
END_TEST

/* ---- ssh ---- */

static void write_text(const char *name, const char *text)
{
    cert_write(lab_dir(f.w.lab), name, strdup(text), 0600);
}

static void make_key(const char *name)
{
    char path[LAB_PATH_MAX];
    struct lab_proc *p;

    lab_path(f.w.lab, name, path);
    (void)unlink(path);
    ck_assert_int_eq(
        world_run(&f.w, ARGS("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path),
                  &p),
        0);
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

/* The host's public key, as qferry's ssh knows it. */
static void know_host(const char *key)
{
    char path[LAB_PATH_MAX];
    char type[64] = "";
    char text[512] = "";
    char line[1024];

    snprintf(line, sizeof(line), "%s.pub", key);
    FILE *file = fopen(lab_path(f.w.lab, line, path), "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fscanf(file, "%63s %511s", type, text), 2);
    (void)fclose(file);
    snprintf(line, sizeof(line), "hv %s %s\n", type, text);
    write_text("known_hosts", line);
}

static void wait_for_sshd(struct lab_proc *p)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)f.ssh_port)};

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (;;) {
        const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const int rc = connect(fd, (struct sockaddr *)&at, sizeof(at));
        (void)close(fd);
        if (rc == 0)
            return;
        if (!lab_proc_alive(p)) {
            lab_proc_dump(p);
            ck_abort_msg("sshd does not run");
        }
        lab_pump(f.w.lab, 20);
    }
}

static struct lab_proc *start_sshd(void)
{
    char text[2048];
    char config[LAB_PATH_MAX];
    const char *const dir = lab_dir(f.w.lab);

    make_key("host_key");
    make_key("user_key");
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
             "Host hv\n  HostName 127.0.0.1\n  Port %u\n  HostKeyAlias hv\n"
             "Host *\n  IdentityFile %s/user_key\n  IdentitiesOnly yes\n"
             "  UserKnownHostsFile %s/known_hosts\n  GlobalKnownHostsFile /dev/null\n",
             f.ssh_port, dir, dir);
    write_text("ssh_config", text);
    know_host("host_key");
    snprintf(text, sizeof(text), "ssh -F %s/ssh_config", dir);
    ck_assert_int_eq(setenv("QFERRY_SSH", text, 1), 0);
    lab_path(f.w.lab, "sshd_config", config);
    struct lab_proc *p = lab_spawn(f.w.lab, ARGS(SSHD, "-D", "-e", "-f", config));
    ck_assert_ptr_nonnull(p);
    f.w.own[f.w.n_own++] = lab_proc_pid(p);
    f.w.reaps = true;
    wait_for_sshd(p);
    return p;
}

static void ssh_pair(const char *append)
{
    const struct passwd *me = getpwuid(geteuid());

    world_pair(&f.w, append);
    ck_assert_ptr_nonnull(me);
    snprintf(f.src_ssh, sizeof(f.src_ssh), "ssh:hv%s", lab_vm_qmp_path(f.w.src));
    snprintf(f.dst_ssh, sizeof(f.dst_ssh), "ssh:%s@hv:%u%s", me->pw_name, f.ssh_port,
             lab_vm_qmp_path(f.w.dst));
}

/* Nothing of ssh's is left in the runtime directory. */
static void expect_clean(void)
{
    ck_assert_msg(rmdir(f.run) == 0, "%s: %s", f.run, strerror(errno));
    ck_assert_int_eq(mkdir(f.run, 0700), 0);
}

#define TO_HERE "--destination-address", "127.0.0.1"

START_TEST(a_move_over_monitors_through_ssh)
{
    start_sshd();
    ssh_pair("ws=16 rate=1000");
    struct move *m = run(f.src_ssh, f.dst_ssh, ARGS(TO_HERE, SLOWLY));
    move_expect(m, 0, "completed", "destination");
    expect_guest_on(&f.w, f.w.dst);
    expect_clean();
}
END_TEST

START_TEST(what_ssh_says_is_said)
{
    char address[LAB_PATH_MAX + 64];
    struct move *m;

    start_sshd();
    ssh_pair("ws=16");
    /* a path that nobody listens on */
    snprintf(address, sizeof(address), "%s-not", f.src_ssh);
    m = run(address, f.dst_ssh, ARGS(TO_HERE));
    move_expect(m, 6, "failed", "unknown");
    move_expect_reason(m, "ssh: that host cannot or may not connect to /");
    /* the host's key is another one than it was */
    know_host("user_key");
    m = run(f.src_ssh, lab_vm_qmp_path(f.w.dst), ARGS(TO_HERE));
    move_expect(m, 6, "failed", "unknown");
    move_expect_reason(m, "has changed");
    move_expect_reason(m, "Host key verification failed");
    /* an unknown host */
    write_text("known_hosts", "");
    m = run(f.src_ssh, lab_vm_qmp_path(f.w.dst), ARGS(TO_HERE));
    move_expect(m, 6, "failed", "unknown");
    move_expect_reason(m, "Host key verification failed");
    /* a key that is not let in */
    know_host("host_key");
    make_key("user_key2");
    char from[LAB_PATH_MAX];
    char to[LAB_PATH_MAX];
    ck_assert_int_eq(
        rename(lab_path(f.w.lab, "user_key2", from), lab_path(f.w.lab, "user_key", to)), 0);
    m = run(f.src_ssh, lab_vm_qmp_path(f.w.dst), ARGS(TO_HERE));
    move_expect(m, 6, "failed", "unknown");
    move_expect_reason(m, "Permission denied");
    /* nobody there, and no ssh */
    snprintf(address, sizeof(address), "ssh:127.0.0.1:%u/x", free_port());
    m = run(address, lab_vm_qmp_path(f.w.dst), ARGS(TO_HERE));
    move_expect(m, 6, "failed", "unknown");
    move_expect_reason(m, "Connection refused");
    ck_assert_int_eq(setenv("QFERRY_SSH", "no-such-ssh -v", 1), 0);
    m = run(f.src_ssh, lab_vm_qmp_path(f.w.dst), ARGS(TO_HERE));
    move_expect(m, 6, "failed", "unknown");
    move_expect_reason(m, "no-such-ssh: not found");
    expect_clean();
    expect_untouched();
}
END_TEST

/* What was connected is lost: not a death. The guest runs on, the monitor is found again. */
START_TEST(a_tunnel_that_breaks_is_built_again)
{
    struct lab_proc *p;

    start_sshd();
    ssh_pair("ws=24 rate=1000");
    struct move *m = move_begin_at(&f.w, "migrate", f.src_ssh, lab_vm_qmp_path(f.w.dst),
                                   ARGS(TO_HERE, SLOWLY));
    move_wait_memory(m);
    const char *shell = "kill $(pgrep -f \"^ssh -F $0/ssh_config\")";
    ck_assert_int_eq(world_run(&f.w, ARGS("sh", "-c", shell, lab_dir(f.w.lab)), &p), 0);
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    expect_guest_on(&f.w, f.w.dst);
    expect_clean();
}
END_TEST

START_TEST(a_qferry_that_is_killed_leaves_no_ssh)
{
    char pattern[LAB_PATH_MAX + 16];
    struct lab_proc *p;

    start_sshd();
    ssh_pair("ws=24 rate=1000");
    struct move *m =
        move_begin_at(&f.w, "migrate", f.src_ssh, f.dst_ssh, ARGS(TO_HERE, SLOWLY));
    move_wait_memory(m);
    ck_assert_int_eq(lab_proc_signal(m->proc, SIGKILL), 0);
    ck_assert_int_eq(lab_proc_wait(m->proc, 0, NULL), 0);
    snprintf(pattern, sizeof(pattern), "^ssh -F %s/ssh_config", lab_dir(f.w.lab));
    do
        lab_pump(f.w.lab, 20);
    while (world_run(&f.w, ARGS("pgrep", "-f", pattern), &p) == 0);
    /* the monitors are free again: the same command takes it up */
    struct move *next = run(f.src_ssh, f.dst_ssh, ARGS(TO_HERE, SLOWLY));
    move_expect(next, 0, "completed", "destination");
    expect_clean();
    expect_guest_on(&f.w, f.w.dst);
    m->ended = true;
}
END_TEST

/* As a qferry leaves it that is killed while ssh connects. */
START_TEST(a_folder_that_was_left_behind_is_removed)
{
    char path[LAB_PATH_MAX];

    start_sshd();
    ssh_pair("ws=16");
    ck_assert_int_eq(mkdir(lab_path(f.w.lab, "run/ssh-abcdef", path), 0700), 0);
    write_text("run/ssh-abcdef/s", "");
    move_expect(run(f.src_ssh, f.dst_ssh, ARGS(TO_HERE, "--dry-run")), 0, "completed",
                "source");
    expect_clean();
    expect_untouched();
}
END_TEST

static Suite *remote_suite(void)
{
    Suite *s = suite_create("remote");
    TCase *t = tcase_create("tls");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, a_move_over_monitors_with_tls);
    tcase_add_test(t, post_copy_over_monitors_with_tls);
    tcase_add_test(t, the_guest_survives_a_destination_that_dies_behind_tls);
    tcase_add_test(t, what_is_wrong_with_a_monitors_certificate_is_said);
    tcase_add_loop_test(t, a_certificate_of_another_host_or_time_is_refused, 0, 2);
    tcase_add_test(t, a_monitor_that_wants_a_certificate_says_so);
    tcase_add_test(t, bad_credentials_are_refused_before_anything_begins);
    suite_add_tcase(s, t);

    if (access(SSHD, X_OK) != 0) {
        printf("skipped in part: no " SSHD "\n");
        return s;
    }
    t = tcase_create("ssh");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, a_move_over_monitors_through_ssh);
    tcase_add_test(t, what_ssh_says_is_said);
    tcase_add_test(t, a_tunnel_that_breaks_is_built_again);
    tcase_add_test(t, a_qferry_that_is_killed_leaves_no_ssh);
    tcase_add_test(t, a_folder_that_was_left_behind_is_removed);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return real_main(remote_suite());
}

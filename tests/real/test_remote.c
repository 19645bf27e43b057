/* Monitors on another host: with TLS, and through ssh. The other host is this one: QEMU 7.2 listens
 * with TLS on 127.0.0.1, and an sshd of the test's own (sshd.h). */
#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/real/move.h"
#include "tests/real/pki.h"
#include "tests/real/sshd.h"

/* About two seconds of memory: 20 MB/s. */
#define SLOWLY "--bandwidth", "20MiB"

static struct fixture {
    struct world w;
    struct cert ca;
    char dir[LAB_PATH_MAX]; /* QEMU's credentials */
    char own[LAB_PATH_MAX]; /* qferry's */
    char src[64];           /* tls: addresses */
    char dst[64];
    char src_ssh[LAB_PATH_MAX + 64];
    char dst_ssh[LAB_PATH_MAX + 64];
    char run[LAB_PATH_MAX]; /* qferry's runtime directory */
} f;

/* ---- keys ---- */

static void make_keys(const char *san)
{
    lab_path(f.w.lab, "qemu-tls", f.dir);
    lab_path(f.w.lab, "own-tls", f.own);
    ck_assert(mkdir(f.dir, 0700) == 0 || errno == EEXIST);
    ck_assert(mkdir(f.own, 0700) == 0 || errno == EEXIST);
    pki_ca(&f.ca, f.dir);
    cert_write(f.own, "ca-cert.pem", cert_pem(&f.ca), 0644);
    pki_add(f.dir, &f.ca, "server", san, 0, 0);
    pki_add(f.own, &f.ca, "client", NULL, 0, 0);
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
    pki_ca(&f.ca, f.own);
    struct move *m = run(f.src, f.dst, ARGS("--tls-dir", f.own));
    move_expect(m, 6, "failed", "unknown");
    move_expect_reason(m, "certificate comes from a CA that is not known here");
    m = run(f.src, f.dst, NO_ARGS);
    move_expect(m, 6, "failed", "unknown");
    move_expect_reason(m, "certificate comes from a CA that is not known here");
    expect_not_begun(&f.w);
}
END_TEST

START_TEST(a_certificate_of_another_host_or_time_is_refused)
{
    make_keys(_i == 0 ? "DNS:elsewhere.example" : "IP:127.0.0.1");
    if (_i == 1) /* good for a moment: QEMU looks when it starts */
        pki_add(f.dir, &f.ca, "server", "IP:127.0.0.1,DNS:localhost", -3600, 4);
    pair("ws=16");
    if (_i == 1)
        lab_pump(f.w.lab, 4500);
    struct move *m = run(f.src, f.dst, ARGS("--tls-dir", f.own));
    move_expect(m, 6, "failed", "unknown");
    move_expect_reason(m, _i == 0 ? "certificate is for elsewhere.example, not for "
                                  : "certificate has expired (");
    expect_not_begun(&f.w);
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
    expect_not_begun(&f.w);
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
    pki_add(f.own, &f.ca, "client", NULL, -7200, -3600);
    expect_refusal("client-cert.pem: the certificate has expired (");
    snprintf(path, sizeof(path), "%s/ca-cert.pem", f.own);
    ck_assert_int_eq(unlink(path), 0);
    expect_refusal("ca-cert.pem: No such file or directory");
    expect_not_begun(&f.w);
}
END_TEST

/* ---- ssh ---- */

/* A pair whose monitors are reached through an sshd. */
static void ssh_pair(const char *append)
{
    const unsigned port = sshd_start(&f.w, "");
    const struct passwd *me = getpwuid(geteuid());

    world_pair(&f.w, append);
    ck_assert_ptr_nonnull(me);
    snprintf(f.src_ssh, sizeof(f.src_ssh), "ssh:hv%s", lab_vm_qmp_path(f.w.src));
    snprintf(f.dst_ssh, sizeof(f.dst_ssh), "ssh:%s@hv:%u%s", me->pw_name, port,
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

    ssh_pair("ws=16");
    /* a path that nobody listens on */
    snprintf(address, sizeof(address), "%s-not", f.src_ssh);
    m = run(address, f.dst_ssh, ARGS(TO_HERE));
    move_expect(m, 6, "failed", "unknown");
    move_expect_reason(m, "ssh: that host cannot or may not connect to /");
    /* the host's key is another one than it was */
    sshd_know_host(&f.w, "user_key");
    m = run(f.src_ssh, lab_vm_qmp_path(f.w.dst), ARGS(TO_HERE));
    move_expect(m, 6, "failed", "unknown");
    move_expect_reason(m, "has changed");
    move_expect_reason(m, "Host key verification failed");
    /* an unknown host */
    sshd_know_host(&f.w, NULL);
    m = run(f.src_ssh, lab_vm_qmp_path(f.w.dst), ARGS(TO_HERE));
    move_expect(m, 6, "failed", "unknown");
    move_expect_reason(m, "Host key verification failed");
    /* a key that is not let in */
    sshd_know_host(&f.w, "host_key");
    sshd_make_key(&f.w, "user_key2");
    char from[LAB_PATH_MAX];
    char to[LAB_PATH_MAX];
    ck_assert_int_eq(
        rename(lab_path(f.w.lab, "user_key2", from), lab_path(f.w.lab, "user_key", to)), 0);
    m = run(f.src_ssh, lab_vm_qmp_path(f.w.dst), ARGS(TO_HERE));
    move_expect(m, 6, "failed", "unknown");
    move_expect_reason(m, "Permission denied");
    /* nobody there, and no ssh */
    snprintf(address, sizeof(address), "ssh:127.0.0.1:%u/x", sshd_free_port());
    m = run(address, lab_vm_qmp_path(f.w.dst), ARGS(TO_HERE));
    move_expect(m, 6, "failed", "unknown");
    move_expect_reason(m, "Connection refused");
    ck_assert_int_eq(setenv("QFERRY_SSH", "no-such-ssh -v", 1), 0);
    m = run(f.src_ssh, lab_vm_qmp_path(f.w.dst), ARGS(TO_HERE));
    move_expect(m, 6, "failed", "unknown");
    move_expect_reason(m, "no-such-ssh: not found");
    expect_clean();
    expect_not_begun(&f.w);
}
END_TEST

/* What was connected is lost: not a death. The guest runs on, the monitor is found again. */
START_TEST(a_tunnel_that_breaks_is_built_again)
{
    ssh_pair("ws=24 rate=1000");
    struct move *m = move_begin_at(&f.w, "migrate", f.src_ssh, lab_vm_qmp_path(f.w.dst),
                                   ARGS(TO_HERE, SLOWLY));
    move_wait_memory(m);
    sshd_signal_ssh(&f.w, "TERM", "");
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

    ssh_pair("ws=16");
    ck_assert_int_eq(mkdir(lab_path(f.w.lab, "run/ssh-abcdef", path), 0700), 0);
    cert_write(path, "s", strdup(""), 0600);
    move_expect(run(f.src_ssh, f.dst_ssh, ARGS(TO_HERE, "--dry-run")), 0, "completed",
                "source");
    expect_clean();
    expect_not_begun(&f.w);
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

    if (!sshd_is_there())
        return s;
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

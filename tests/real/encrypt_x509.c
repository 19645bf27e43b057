/* Certificates that are there (--encrypt x509:DIR). */
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/real/encrypt.h"
#include "tests/real/pki.h"

/* The certificate has a name only, the memory goes to a number. */
START_TEST(a_name_is_given_where_the_certificate_has_no_address)
{
    make_pki("DNS:hv2.example");
    world_pair(&f.w, "ws=16 rate=500");
    struct move *m =
        move_run(&f.w, ARGS("--encrypt", f.x509, "--destination-address", "127.0.0.1",
                            "--destination-address", "hv2.example"));
    expect_moved(m);
}
END_TEST

static void expect_bad_pki(const char *part)
{
    struct move *m = move_run(&f.w, ARGS("--encrypt", f.x509));
    ck_assert_msg(m->exit == 2 || m->exit == 3, "exit %d", m->exit);
    ck_assert_str_eq(move_result(m, "outcome"), "refused");
    move_expect_reason(m, part);
    expect_untouched();
}

START_TEST(certificates_that_are_no_good_are_refused)
{
    char path[LAB_PATH_MAX + 32];
    make_pki("DNS:elsewhere.example");
    world_pair(&f.w, "ws=16");
    expect_bad_pki(
        "server-cert.pem: the certificate is for elsewhere.example, not for 127.0.0.1");
    pki_add(f.pki, &f.ca, "server", "IP:127.0.0.1", -7200, -3600);
    expect_bad_pki("server-cert.pem: the certificate has expired (");
    pki_add(f.pki, &f.ca, "server", "IP:127.0.0.1", 0, 0);
    pki_add(f.pki, &f.ca, "client", NULL, -7200, -3600);
    expect_bad_pki("client-cert.pem: the certificate has expired (");
    pki_add(f.pki, &f.ca, "client", NULL, 0, 0);
    snprintf(path, sizeof(path), "%s/server-key.pem", f.pki);
    ck_assert_int_eq(chmod(path, 0644), 0);
    expect_bad_pki(
        "server-key.pem: others can read or change this key (mode 0644); chmod 600");
    ck_assert_int_eq(unlink(path), 0);
    expect_bad_pki("server-key.pem: No such file or directory");
}
END_TEST

/* A monitor that is reached through ssh may be on any host: the files over there are QEMU's matter, as a
 * warning says, and what QEMU then says of them is the reason. */
START_TEST(certificates_of_another_host_are_left_to_qemu)
{
    char dst[LAB_PATH_MAX + 16];
    char path[LAB_PATH_MAX + 32];
    const bool good = _i == 0;
    make_pki("DNS:hv"); /* as the monitor calls that host */
    start_sshd();
    world_pair(&f.w, "ws=16 rate=500");
    snprintf(dst, sizeof(dst), "ssh:hv%s", lab_vm_qmp_path(f.w.dst));
    snprintf(path, sizeof(path), "%s/server-key.pem", f.pki);
    if (!good)
        ck_assert_int_eq(unlink(path), 0);
    struct move *m =
        move_begin_at(&f.w, "migrate", lab_vm_qmp_path(f.w.src), dst,
                      ARGS("--encrypt", f.x509, "--destination-address", "127.0.0.1"));
    move_end(m);
    ck_assert_msg(move_has(m, "warning", "message", "destination") ||
                      strcmp(move_verdict(m, "encryption"), "warning") == 0,
                  "nothing is said of the files over there");
    if (good) {
        move_expect(m, 0, "completed", "destination");
        expect_no_objects(f.w.src);
        expect_no_objects(f.w.dst);
        expect_guest_on(&f.w, f.w.dst);
    } else {
        ck_assert_msg(m->exit == 3 || m->exit == 4, "exit %d", m->exit);
        move_expect_reason(m, "server-key.pem");
        expect_guest_on(&f.w, f.w.src);
        expect_clean(f.w.src, f.w.src_settings);
    }
    expect_no_files();
}
END_TEST

void encrypt_x509(Suite *s, bool has_sshd)
{
    TCase *t = tcase_create("x509");
    tcase_add_checked_fixture(t, encrypt_setup, encrypt_teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, a_name_is_given_where_the_certificate_has_no_address);
    tcase_add_test(t, certificates_that_are_no_good_are_refused);
    if (has_sshd)
        tcase_add_loop_test(t, certificates_of_another_host_are_left_to_qemu, 0, 2);
    suite_add_tcase(s, t);
}

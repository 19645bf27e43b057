/* Certificates that QEMU is to use, judged before it does. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "qmp/cert.h"
#include "tests/lib/certs.h"

static struct fixture {
    struct cert ca, between, server, other;
    char *text[4];
    unsigned n;
    struct qf_err err;
} f;

static struct qmp_tls_pem pem(const char *name, char *text)
{
    f.text[f.n++] = text;
    return (struct qmp_tls_pem){.name = name, .text = text, .len = strlen(text)};
}

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    cert_make(&f.ca, NULL, &(struct cert_opts){.cn = "ca", .ca = true});
    cert_make(&f.between, &f.ca, &(struct cert_opts){.cn = "between", .ca = true});
    cert_make(&f.other, NULL, &(struct cert_opts){.cn = "other", .ca = true});
}

static void teardown(void)
{
    for (unsigned i = 0; i < f.n; i++)
        free(f.text[i]);
    cert_free(&f.ca);
    cert_free(&f.between);
    cert_free(&f.server);
    cert_free(&f.other);
}

static void make(const struct cert *issuer, const char *san, long from_s, long to_s)
{
    cert_make(&f.server, issuer,
              &(struct cert_opts){.cn = "hv2", .san = san, .from_s = from_s, .to_s = to_s});
}

static int check(char *ca, char *cert, char *key)
{
    const struct qmp_tls_pem a = pem("ca", ca);
    const struct qmp_tls_pem b = pem("cert", cert);
    const struct qmp_tls_pem c = pem("key", key);
    return qmp_cert_check(&a, &b, &c, QMP_CERT_SERVER, &f.err);
}

static void expect(int rc, const char *part)
{
    ck_assert_int_eq(rc, -(int)QF_E_USAGE);
    ck_assert_msg(strstr(f.err.text, part), "%s", f.err.text);
}

START_TEST(what_fits_is_fine)
{
    make(&f.ca, NULL, 0, 0);
    ck_assert_int_eq(check(cert_pem(&f.ca), cert_pem(&f.server), cert_key_pem(&f.server)),
                     0);
}
END_TEST

START_TEST(a_chain_in_the_file_is_followed)
{
    make(&f.between, NULL, 0, 0);
    char *own = cert_pem(&f.server);
    char *next = cert_pem(&f.between);
    char *both = calloc(1, strlen(own) + strlen(next) + 1);
    ck_assert_ptr_nonnull(both);
    (void)strcat(strcat(both, own), next);
    free(own);
    free(next);
    ck_assert_int_eq(check(cert_pem(&f.ca), both, cert_key_pem(&f.server)), 0);
}
END_TEST

START_TEST(a_chain_with_a_gap_is_refused)
{
    make(&f.between, NULL, 0, 0);
    expect(check(cert_pem(&f.ca), cert_pem(&f.server), cert_key_pem(&f.server)),
           "cert: the certificate is not accepted with ca: unable to get local issuer");
}
END_TEST

START_TEST(another_ca_is_refused)
{
    make(&f.ca, NULL, 0, 0);
    expect(check(cert_pem(&f.other), cert_pem(&f.server), cert_key_pem(&f.server)),
           "cert: the certificate is not accepted with ca: ");
}
END_TEST

START_TEST(a_time_that_is_not_now_is_refused)
{
    make(&f.ca, NULL, _i == 0 ? -7200 : 3600, _i == 0 ? -3600 : 7200);
    expect(check(cert_pem(&f.ca), cert_pem(&f.server), cert_key_pem(&f.server)),
           _i == 0 ? "cert: the certificate has expired (20"
                   : "cert: the certificate is not valid");
}
END_TEST

START_TEST(a_ca_that_has_expired_is_refused)
{
    cert_free(&f.ca);
    cert_make(&f.ca, NULL,
              &(struct cert_opts){.cn = "ca", .ca = true, .from_s = -7200, .to_s = -3600});
    make(&f.ca, NULL, 0, 0);
    expect(check(cert_pem(&f.ca), cert_pem(&f.server), cert_key_pem(&f.server)),
           "ca: the certificate has expired (20");
}
END_TEST

START_TEST(a_key_of_another_or_none_is_refused)
{
    make(&f.ca, NULL, 0, 0);
    char *key = _i == 0   ? cert_key_pem(&f.other)
                : _i == 1 ? cert_key_pem_locked(&f.server, "secret")
                          : strdup("nothing");
    static const char *const says[] = {"key: the key does not fit the certificate cert",
                                       "key: the key has a passphrase",
                                       "key: no private key in PEM form"};
    expect(check(cert_pem(&f.ca), cert_pem(&f.server), key), says[_i]);
}
END_TEST

START_TEST(what_is_no_certificate_is_refused)
{
    make(&f.ca, NULL, 0, 0);
    if (_i == 0)
        expect(check(strdup(""), cert_pem(&f.server), cert_key_pem(&f.server)),
               "ca: no CA certificate in PEM form");
    else
        expect(check(cert_pem(&f.ca), strdup("x"), cert_key_pem(&f.server)),
               "cert: no certificate in PEM form");
}
END_TEST

static const struct {
    const char *san;
    const char *host;
    bool fits;
    const char *names;
} hosts[] = {
    {"DNS:hv2.example,IP:192.0.2.7", "hv2.example", true, "hv2.example, 192.0.2.7"},
    {"DNS:hv2.example,IP:192.0.2.7", "HV2.example", true, "hv2.example, 192.0.2.7"},
    {"DNS:hv2.example,IP:192.0.2.7", "192.0.2.7", true, "hv2.example, 192.0.2.7"},
    {"DNS:hv2.example,IP:192.0.2.7", "192.0.2.8", false, "hv2.example, 192.0.2.7"},
    {"DNS:hv2.example", "hv2", false, "hv2.example"},
    {"DNS:*.lab.example", "hv2.lab.example", true, "*.lab.example"},
    {"IP:fe80::1", "fe80::1%eth0", true, "fe80:0:0:0:0:0:0:1"},
    {NULL, "hv2", true, "hv2"}, /* the common name, where there is nothing else */
};

START_TEST(a_certificate_is_for_whom_it_says)
{
    char names[QMP_TLS_NAME];
    make(&f.ca, hosts[_i].san, 0, 0);
    const struct qmp_tls_pem cert = pem("cert", cert_pem(&f.server));
    ck_assert_int_eq(qmp_cert_is_for(&cert, hosts[_i].host, names), hosts[_i].fits);
    ck_assert_str_eq(names, hosts[_i].names);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cert");
    TCase *tc = tcase_create("cert");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, what_fits_is_fine);
    tcase_add_test(tc, a_chain_in_the_file_is_followed);
    tcase_add_test(tc, a_chain_with_a_gap_is_refused);
    tcase_add_test(tc, another_ca_is_refused);
    tcase_add_loop_test(tc, a_time_that_is_not_now_is_refused, 0, 2);
    tcase_add_test(tc, a_ca_that_has_expired_is_refused);
    tcase_add_loop_test(tc, a_key_of_another_or_none_is_refused, 0, 3);
    tcase_add_loop_test(tc, what_is_no_certificate_is_refused, 0, 2);
    tcase_add_loop_test(tc, a_certificate_is_for_whom_it_says, 0,
                        (int)(sizeof(hosts) / sizeof(hosts[0])));
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

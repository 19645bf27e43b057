/* TLS over memory: our client's side against OpenSSL's server side, every byte by hand. */
#include <check.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qmp/tls.h"
#include "tests/lib/certs.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

enum { WIRE = 256 * 1024, HOUR = 3600 };

static struct fixture {
    struct cert ca;
    struct cert other_ca;
    struct cert server;
    struct cert client;
    struct tls_peer peer;
    struct qmp_tls_creds *creds;
    struct qmp_tls tls;
    struct qf_err err;
    char wire[WIRE]; /* from the server */
    char text[WIRE]; /* that came out of the client */
    size_t text_len;
    char heard[WIRE]; /* that came out of the server */
    size_t heard_len;
    bool peer_failed;
} f;

/* ---- credentials ---- */

static struct qmp_tls_pem pem(const char *name, char *text)
{
    return (struct qmp_tls_pem){.name = name, .text = text, .len = text ? strlen(text) : 0};
}

/* Takes the texts. */
static int load(char *ca, char *cert, char *key)
{
    const struct qmp_tls_pem ca_pem = pem("ca.pem", ca);
    const struct qmp_tls_pem cert_pem = pem("cert.pem", cert);
    const struct qmp_tls_pem key_pem = pem("key.pem", key);
    qmp_tls_creds_free(f.creds);
    f.creds = NULL;
    const int rc = qmp_tls_creds_new(&ca_pem, &cert_pem, &key_pem, &f.creds, &f.err);
    free(ca);
    free(cert);
    free(key);
    return rc;
}

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    cert_make(&f.ca, NULL, &(struct cert_opts){.cn = "ca", .ca = true});
    cert_make(&f.other_ca, NULL, &(struct cert_opts){.cn = "other ca", .ca = true});
    cert_make(&f.server, &f.ca,
              &(struct cert_opts){.cn = "hv", .san = "DNS:hv.example,IP:10.0.0.1"});
    cert_make(&f.client, &f.ca, &(struct cert_opts){.cn = "qferry"});
    ck_assert_int_eq(load(cert_pem(&f.ca), NULL, NULL), 0);
}

static void teardown(void)
{
    qmp_tls_fini(&f.tls);
    qmp_tls_creds_free(f.creds);
    tls_peer_fini(&f.peer);
    cert_free(&f.ca);
    cert_free(&f.other_ca);
    cert_free(&f.server);
    cert_free(&f.client);
}

/* ---- the wire ---- */

static void start(const char *host)
{
    f.text_len = f.heard_len = 0;
    f.peer_failed = false;
    qmp_tls_fini(&f.tls);
    ck_assert_int_eq(qmp_tls_init(&f.tls, f.creds, host, &f.err), 0);
    ck_assert_uint_gt(f.tls.out.len, 0);
    ck_assert(!qmp_tls_is_up(&f.tls));
}

/* What the client has to say, to the server. */
static void to_server(void)
{
    tls_peer_feed(&f.peer, f.tls.out.data, f.tls.out.len);
    qf_buf_drop(&f.tls.out, f.tls.out.len);
    int n;
    while ((n = tls_peer_read(&f.peer, f.heard + f.heard_len, WIRE - f.heard_len)) > 0)
        f.heard_len += (size_t)n;
    f.peer_failed = f.peer_failed || n < 0;
}

static int take(void)
{
    int n;
    while ((n = qmp_tls_read(&f.tls, f.text + f.text_len, WIRE - f.text_len, &f.err)) > 0)
        f.text_len += (size_t)n;
    return n;
}

/* What the server has to say, to the client, in pieces; 0 or the error. */
static int to_client(size_t piece)
{
    const size_t len = tls_peer_take(&f.peer, f.wire, sizeof(f.wire));
    for (size_t i = 0; i < len; i += piece) {
        const size_t n = len - i < piece ? len - i : piece;
        ck_assert_int_eq(qmp_tls_feed(&f.tls, f.wire + i, n, &f.err), 0);
        const int rc = take();
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* To and fro until nobody has anything to say. */
static int talk(size_t piece)
{
    int rc = 0;
    for (int i = 0; i < 20 && rc == 0; i++) {
        if (f.tls.out.len > 0)
            to_server();
        rc = to_client(piece);
    }
    return rc;
}

static void serve(const struct tls_peer_opts *opts)
{
    tls_peer_fini(&f.peer);
    tls_peer_init(&f.peer, opts);
}

static void up(size_t piece)
{
    ck_assert_int_eq(talk(piece), 0);
    ck_assert(qmp_tls_is_up(&f.tls));
    ck_assert(!f.peer_failed);
}

/* ---- trust ---- */

static const struct {
    const char *host;
    struct cert_opts opts; /* of the server's certificate */
    int from;              /* 0: the CA; 1: another CA; 2: signed by itself */
    const char *says;      /* NULL: fine */
} trust[] = {
    {"hv.example", {.cn = "x", .san = "DNS:hv.example"}, 0, NULL},
    {"HV.example", {.cn = "x", .san = "DNS:hv.example"}, 0, NULL},
    {"a.hv.example", {.cn = "x", .san = "DNS:*.hv.example"}, 0, NULL},
    {"10.0.0.1", {.cn = "x", .san = "DNS:hv.example,IP:10.0.0.1"}, 0, NULL},
    {"::1", {.cn = "x", .san = "IP:::1"}, 0, NULL},
    {"fe80::1%eth0", {.cn = "x", .san = "IP:fe80::1"}, 0, NULL},
    {"hv.example", {.cn = "hv.example"}, 0, NULL},
    {"hv.example",
     {.cn = "x", .san = "DNS:hv.example", .from_s = -2L * HOUR, .to_s = -HOUR},
     0,
     "TLS: the monitor's certificate has expired (20"},
    {"hv.example",
     {.cn = "x", .san = "DNS:hv.example", .from_s = HOUR, .to_s = 2L * HOUR},
     0,
     "TLS: the monitor's certificate is not valid before 20"},
    {"hv2.example",
     {.cn = "x", .san = "DNS:hv.example,IP:10.0.0.1,IP:fe80::1"},
     0,
     "TLS: the monitor's certificate is for hv.example, 10.0.0.1, fe80:0:0:0:0:0:0:1, not for "
     "hv2.example"},
    {"10.0.0.2",
     {.cn = "x", .san = "DNS:10.0.0.2,IP:10.0.0.1"},
     0,
     "TLS: the monitor's certificate is for 10.0.0.2, 10.0.0.1, not for 10.0.0.2"},
    {"hv", {.cn = "somebody\n"}, 0, "is for somebody., not for hv"},
    {"a.hv.example", {.cn = "x", .san = "DNS:*.example"}, 0, "is for *.example, not for"},
    {"hv.example",
     {.cn = "x", .san = "DNS:hv.example"},
     1,
     "TLS: the monitor's certificate comes from a CA that is not known here"},
    {"hv.example",
     {.cn = "x", .san = "DNS:hv.example"},
     2,
     "TLS: the monitor's certificate comes from a CA that is not known here"},
};

START_TEST(trusts_the_right_host_only)
{
    const struct cert *const from[] = {&f.ca, &f.other_ca, NULL};
    struct cert c;
    cert_make(&c, from[trust[_i].from], &trust[_i].opts);
    serve(&(struct tls_peer_opts){.cert = &c});
    cert_free(&c);
    start(trust[_i].host);
    const int rc = talk(SIZE_MAX);
    if (!trust[_i].says) {
        ck_assert_msg(rc == 0, "%s", f.err.text);
        ck_assert(qmp_tls_is_up(&f.tls));
        return;
    }
    ck_assert_int_eq(rc, -(int)QF_E_UNREACHABLE);
    ck_assert_msg(strstr(f.err.text, trust[_i].says) != NULL, "%s", f.err.text);
    ck_assert(!qmp_tls_is_up(&f.tls));
    ck_assert_uint_gt(f.tls.out.len, 0); /* the alert */
    to_server();
    ck_assert(f.peer_failed);
    ck_assert_int_eq(take(), -(int)QF_E_PROTO); /* no second try */
    ck_assert_int_eq(qmp_tls_write(&f.tls, "x", 1, &f.err), -(int)QF_E_LOST);
}
END_TEST

START_TEST(follows_a_chain)
{
    struct cert between;
    struct cert c;
    const bool expired = _i == 1;
    cert_make(&between, &f.ca,
              &(struct cert_opts){.cn = "between",
                                  .ca = true,
                                  .from_s = -2L * HOUR,
                                  .to_s = expired ? -HOUR : HOUR});
    cert_make(&c, &between, &(struct cert_opts){.cn = "x", .san = "DNS:hv"});
    serve(&(struct tls_peer_opts){.cert = &c, .between = &between});
    cert_free(&c);
    cert_free(&between);
    start("hv");
    ck_assert_int_eq(talk(SIZE_MAX), expired ? -(int)QF_E_UNREACHABLE : 0);
    if (expired)
        ck_assert_msg(strncmp(f.err.text,
                              "TLS: a CA of the monitor's certificate has expired (",
                              52) == 0,
                      "%s", f.err.text);
}
END_TEST

/* Without a folder of credentials: nobody there has signed the certificates of this test. */
START_TEST(the_systems_cas_do_not_know_ours)
{
    ck_assert_int_eq(load(NULL, NULL, NULL), 0);
    serve(&(struct tls_peer_opts){.cert = &f.server});
    start("hv.example");
    ck_assert_int_eq(talk(SIZE_MAX), -(int)QF_E_UNREACHABLE);
    ck_assert_ptr_nonnull(strstr(f.err.text, "comes from a CA that is not known here"));
}
END_TEST

/* ---- credentials ---- */

START_TEST(credentials_are_checked)
{
    struct cert old;
    struct cert later;
    cert_make(&old, &f.ca,
              &(struct cert_opts){.cn = "x", .from_s = -2L * HOUR, .to_s = -HOUR});
    cert_make(&later, &f.ca,
              &(struct cert_opts){.cn = "x", .from_s = HOUR, .to_s = 2L * HOUR});
    char *half = cert_pem(&f.ca);
    half[strlen(half) / 2] = '\0';
    struct {
        char *ca;
        char *cert;
        char *key;
        const char *says;
    } cases[] = {
        {strdup("rubbish"), NULL, NULL,
         "ca.pem: no CA certificate in PEM form: no start line"},
        {strdup(""), NULL, NULL, "ca.pem: no CA certificate in PEM form"},
        {half, NULL, NULL, "ca.pem: no CA certificate in PEM form"},
        {cert_pem(&f.ca), cert_pem(&f.client), NULL, "cert.pem is there, but not key.pem"},
        {cert_pem(&f.ca), NULL, cert_key_pem(&f.client),
         "key.pem is there, but not cert.pem"},
        {cert_pem(&f.ca), strdup("x"), cert_key_pem(&f.client),
         "cert.pem: no certificate in PEM form"},
        {cert_pem(&f.ca), cert_pem(&f.client), strdup("x"),
         "key.pem: no private key in PEM form"},
        {cert_pem(&f.ca), cert_pem(&f.client), cert_key_pem(&f.server),
         "key.pem: the key does not fit the certificate cert.pem"},
        {cert_pem(&f.ca), cert_pem(&f.client), cert_key_pem_locked(&f.client, "secret"),
         "key.pem: the key has a passphrase; qferry needs one without"},
        {cert_pem(&f.ca), cert_pem(&old), cert_key_pem(&old),
         "cert.pem: the certificate has expired (20"},
        {cert_pem(&f.ca), cert_pem(&later), cert_key_pem(&later),
         "cert.pem: the certificate is not valid before 20"},
    };
    for (int i = 0; i < COUNT(cases); i++) {
        ck_assert_int_eq(load(cases[i].ca, cases[i].cert, cases[i].key), -(int)QF_E_USAGE);
        ck_assert_msg(strncmp(f.err.text, cases[i].says, strlen(cases[i].says)) == 0, "%s",
                      f.err.text);
        ck_assert_ptr_null(f.creds);
    }
    cert_free(&old);
    cert_free(&later);
}
END_TEST

/* TLS 1.2 refuses in the handshake, 1.3 after it. */
START_TEST(a_monitor_may_want_our_certificate)
{
    const struct tls_peer_opts opts = {.cert = &f.server,
                                       .client_ca = _i & 1 ? &f.other_ca : &f.ca,
                                       .max_version = _i & 2 ? TLS1_2_VERSION : 0};
    serve(&opts);
    start("hv.example");
    ck_assert_int_eq(talk(SIZE_MAX), -(int)QF_E_UNREACHABLE);
    ck_assert_ptr_nonnull(strstr(f.err.text, "TLS: the monitor refused us: "));
    ck_assert_ptr_nonnull(
        strstr(f.err.text, "it asked for a certificate, and there is none"));
    ck_assert_int_eq(load(cert_pem(&f.ca), cert_pem(&f.client), cert_key_pem(&f.client)),
                     0);
    tls_peer_again(&f.peer);
    start("hv.example");
    if ((_i & 1) == 0) {
        up(SIZE_MAX);
        return;
    }
    ck_assert_int_eq(talk(SIZE_MAX), -(int)QF_E_UNREACHABLE);
    ck_assert_str_eq(f.err.text, "TLS: the monitor refused us: unknown CA");
}
END_TEST

/* ---- what is no TLS, or an old one ---- */

START_TEST(old_versions_are_refused)
{
    serve(&(struct tls_peer_opts){.cert = &f.server, .max_version = TLS1_1_VERSION});
    start("hv.example");
    ck_assert_int_lt(talk(SIZE_MAX), 0);
    ck_assert_msg(strstr(f.err.text, "protocol version") || strstr(f.err.text, "TLS 1.2"),
                  "%s", f.err.text);
    ck_assert(!qmp_tls_is_up(&f.tls));
}
END_TEST

static const char *const strangers[] = {
    "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n",
    "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
    "HTTP/1.1 400 Bad Request\r\n\r\n",
    "220 mail.example ESMTP\r\n",
    "\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8",
};

START_TEST(a_peer_without_tls_is_named)
{
    for (size_t piece = 1; piece < 40; piece++) {
        start("hv");
        const char *const s = strangers[_i];
        int rc = 0;
        for (size_t i = 0; i < strlen(s) && rc == 0; i += piece) {
            const size_t n = strlen(s) - i < piece ? strlen(s) - i : piece;
            ck_assert_int_eq(qmp_tls_feed(&f.tls, s + i, n, &f.err), 0);
            rc = take();
        }
        ck_assert_int_eq(rc, -(int)QF_E_PROTO);
        ck_assert_str_eq(f.err.text,
                         "the peer does not speak TLS (a plain monitor is tcp:HOST:PORT)");
    }
}
END_TEST

START_TEST(tells_how_far_it_got)
{
    start("hv.example");
    ck_assert_str_eq(qmp_tls_how_far(&f.tls),
                     "at the start of the TLS handshake; does it speak TLS?");
    serve(&(struct tls_peer_opts){.cert = &f.server});
    to_server();
    const size_t len = tls_peer_take(&f.peer, f.wire, sizeof(f.wire));
    for (size_t i = 0; i + 1 < len; i++) {
        ck_assert_int_eq(qmp_tls_feed(&f.tls, f.wire + i, 1, &f.err), 0);
        ck_assert_int_eq(take(), 0);
        if (!qmp_tls_is_up(&f.tls))
            ck_assert_str_eq(qmp_tls_how_far(&f.tls), "in the TLS handshake");
    }
    ck_assert_int_eq(qmp_tls_feed(&f.tls, f.wire + len - 1, 1, &f.err), 0);
    ck_assert_int_eq(take(), 0);
    ck_assert(qmp_tls_is_up(&f.tls));
    ck_assert_str_eq(qmp_tls_how_far(&f.tls),
                     "after the TLS handshake; does it accept our certificate?");
}
END_TEST

/* ---- text ---- */

START_TEST(carries_text_in_pieces_of_any_size)
{
    static const size_t sizes[] = {1, 2, 3, 100, 16383, 16384, 16385, 16386, 100000};
    serve(&(struct tls_peer_opts){.cert = &f.server,
                                  .max_version = _i % 2 ? TLS1_2_VERSION : 0});
    const size_t piece = (const size_t[]){1, 7, 1000, SIZE_MAX}[_i / 2];
    char *text = malloc(100000);
    ck_assert_ptr_nonnull(text);
    for (size_t i = 0; i < 100000; i++)
        text[i] = (char)(i * 7 % 251);
    start("hv.example");
    ck_assert_int_eq(qmp_tls_write(&f.tls, "early", 5, &f.err), -(int)QF_E_INTERNAL);
    up(piece);
    for (int i = 0; i < COUNT(sizes); i++) {
        f.heard_len = f.text_len = 0;
        ck_assert_int_eq(qmp_tls_write(&f.tls, text, sizes[i], &f.err), 0);
        to_server();
        ck_assert_uint_eq(f.heard_len, sizes[i]);
        ck_assert_int_eq(memcmp(f.heard, text, sizes[i]), 0);
        tls_peer_write(&f.peer, text, sizes[i]);
        ck_assert_int_eq(to_client(piece), 0);
        ck_assert_uint_eq(f.text_len, sizes[i]);
        ck_assert_int_eq(memcmp(f.text, text, sizes[i]), 0);
    }
    ck_assert_int_eq(qmp_tls_write(&f.tls, text, 0, &f.err), 0);
    ck_assert_uint_eq(f.tls.out.len, 0);
    free(text);
}
END_TEST

/* QEMU before 10.0 stalls otherwise; see qmp/tls.h. */
START_TEST(the_last_byte_of_a_write_is_a_record_of_its_own)
{
    static const size_t sizes[] = {1, 2, 40, 16385, 50000};
    static char text[50000];
    const size_t around = 5 + 16 + 1; /* header, tag, type: TLS 1.3 */
    serve(&(struct tls_peer_opts){.cert = &f.server});
    start("hv.example");
    up(SIZE_MAX);
    for (int i = 0; i < COUNT(sizes); i++) {
        ck_assert_int_eq(qmp_tls_write(&f.tls, text, sizes[i], &f.err), 0);
        size_t at = 0;
        size_t last = 0;
        size_t sum = 0;
        while (at < f.tls.out.len) {
            const unsigned char *const h = (const unsigned char *)f.tls.out.data + at;
            ck_assert_uint_eq(h[0], 23); /* application data */
            last = 5 + ((size_t)h[3] << 8 | h[4]);
            sum += last - around;
            at += last;
        }
        ck_assert_uint_eq(at, f.tls.out.len);
        ck_assert_uint_eq(last, around + 1);
        ck_assert_uint_eq(sum, sizes[i]);
        to_server();
    }
}
END_TEST

START_TEST(an_end_that_is_said_is_told)
{
    serve(&(struct tls_peer_opts){.cert = &f.server});
    start("hv.example");
    up(SIZE_MAX);
    tls_peer_write(&f.peer, "last", 4);
    tls_peer_end(&f.peer);
    ck_assert_int_eq(to_client(SIZE_MAX), -(int)QF_E_LOST);
    ck_assert_str_eq(f.err.text, "the monitor ended the TLS connection");
    ck_assert_uint_eq(f.text_len, 4);
    ck_assert_int_eq(memcmp(f.text, "last", 4), 0);
}
END_TEST

START_TEST(sessions_are_not_resumed)
{
    serve(
        &(struct tls_peer_opts){.cert = &f.server, .max_version = _i ? TLS1_2_VERSION : 0});
    for (int i = 0; i < 3; i++) {
        tls_peer_again(&f.peer);
        start("hv.example");
        up(SIZE_MAX);
        ck_assert(!SSL_session_reused(f.peer.ssl));
    }
}
END_TEST

/* Is that byte the second of a record's two for the version? They mean nothing (RFC 8446, 5.1). */
static bool is_version(size_t at, size_t len)
{
    for (size_t i = 0; i + 5 <= len && i <= at;
         i +=
         5 + ((size_t)(unsigned char)f.wire[i + 3] << 8 | (unsigned char)f.wire[i + 4]))
        if (at == i + 2)
            return true;
    return false;
}

/* Any byte of what the server says in the handshake is another one: no text comes of it, and the
 * connection does not stand. */
START_TEST(a_changed_byte_is_an_error)
{
    size_t len = 16;
    for (size_t at = (size_t)_i; at < len; at += 16) {
        serve(&(struct tls_peer_opts){.cert = &f.server});
        start("hv.example");
        to_server();
        len = tls_peer_take(&f.peer, f.wire, sizeof(f.wire));
        if (at >= len) /* signatures differ in length */
            break;
        const bool is_nothing = is_version(at, len);
        f.wire[at] = (char)(f.wire[at] ^ 1 << at % 8);
        ck_assert_int_eq(qmp_tls_feed(&f.tls, f.wire, len, &f.err), 0);
        const int rc = take();
        ck_assert_uint_eq(f.text_len, 0);
        ck_assert_msg(is_nothing || !qmp_tls_is_up(&f.tls), "byte %zu", at);
        if (rc < 0)
            ck_assert_uint_gt(strlen(f.err.text), 10);
    }
    ck_assert_uint_gt(len, 500);
}
END_TEST

START_TEST(an_endless_host_is_refused)
{
    char host[300];
    memset(host, 'h', sizeof(host) - 1);
    host[sizeof(host) - 1] = '\0';
    ck_assert_int_eq(qmp_tls_init(&f.tls, f.creds, host, &f.err), -(int)QF_E_USAGE);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tls");
    TCase *tc = tcase_create("tls");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, trusts_the_right_host_only, 0, COUNT(trust));
    tcase_add_loop_test(tc, follows_a_chain, 0, 2);
    tcase_add_test(tc, the_systems_cas_do_not_know_ours);
    tcase_add_test(tc, credentials_are_checked);
    tcase_add_loop_test(tc, a_monitor_may_want_our_certificate, 0, 4);
    tcase_add_test(tc, old_versions_are_refused);
    tcase_add_loop_test(tc, a_peer_without_tls_is_named, 0, COUNT(strangers));
    tcase_add_test(tc, tells_how_far_it_got);
    tcase_add_loop_test(tc, carries_text_in_pieces_of_any_size, 0, 8);
    tcase_add_test(tc, the_last_byte_of_a_write_is_a_record_of_its_own);
    tcase_add_test(tc, an_end_that_is_said_is_told);
    tcase_add_loop_test(tc, sessions_are_not_resumed, 0, 2);
    tcase_add_loop_test(tc, a_changed_byte_is_an_error, 0, 16);
    tcase_add_test(tc, an_endless_host_is_refused);
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

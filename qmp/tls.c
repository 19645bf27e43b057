#include "qmp/tls.h"

#include <limits.h>
#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qmp/cert_priv.h"

enum {
    OUT_MAX = 32 * 1024 * 1024 /* more than a link keeps of text, and its records */
};

struct qmp_tls_creds {
    SSL_CTX *ctx;
};

/* ---- credentials ---- */

static int load_ca(SSL_CTX *ctx, const struct qmp_tls_pem *ca, struct qf_err *err)
{
    char why[160];
    X509_STORE *const store = SSL_CTX_get_cert_store(ctx);
    BIO *bio = cert_bio(ca);
    int n = 0;
    X509 *cert;
    while (bio && (cert = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL)) != NULL) {
        n += X509_STORE_add_cert(store, cert);
        X509_free(cert);
    }
    BIO_free(bio);
    /* The loop ends with "no start line" where the file ends, and otherwise with a fault. */
    if (n > 0 && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE) {
        ERR_clear_error();
        return 0;
    }
    return qf_fail(err, QF_E_USAGE, "%s: no CA certificate in PEM form: %s", ca->name,
                   cert_openssl_text(why, sizeof(why)));
}

static int load_cert(SSL_CTX *ctx, const struct qmp_tls_pem *pem, struct qf_err *err)
{
    char why[160];
    STACK_OF(X509) *between = sk_X509_new_null();
    X509 *cert = between ? cert_read(pem, between, err) : NULL;
    X509 *more;
    int rc = 0;
    if (!between)
        rc = qf_fail(err, QF_E_NOMEM, "no memory for certificates");
    else if (!cert)
        rc = -(int)QF_E_USAGE;
    if (rc == 0)
        rc = cert_check_dates(cert, pem->name, err);
    if (rc == 0 && SSL_CTX_use_certificate(ctx, cert) != 1)
        rc = qf_fail(err, QF_E_USAGE, "%s: no certificate in PEM form: %s", pem->name,
                     cert_openssl_text(why, sizeof(why)));
    while (rc == 0 && (more = sk_X509_shift(between)) != NULL)
        if (SSL_CTX_add0_chain_cert(ctx, more) != 1)
            X509_free(more);
    ERR_clear_error();
    X509_free(cert);
    sk_X509_pop_free(between, X509_free);
    return rc;
}

static int load_key(SSL_CTX *ctx,
                    const struct qmp_tls_pem *cert,
                    const struct qmp_tls_pem *pem,
                    struct qf_err *err)
{
    EVP_PKEY *key = cert_read_key(pem, "; qferry needs one without", err);
    int rc = key ? 0 : -(int)QF_E_USAGE;
    /* use_PrivateKey itself refuses a key that does not fit */
    if (key &&
        (SSL_CTX_use_PrivateKey(ctx, key) != 1 || SSL_CTX_check_private_key(ctx) != 1))
        rc = qf_fail(err, QF_E_USAGE, "%s: the key does not fit the certificate %s",
                     pem->name, cert->name);
    ERR_clear_error();
    EVP_PKEY_free(key);
    return rc;
}

static int on_cert_wanted(SSL *ssl, X509 **cert, EVP_PKEY **key)
{
    struct qmp_tls *t = SSL_get_app_data(ssl);
    (void)cert;
    (void)key;
    t->wanted_cert = true;
    return 0; /* go on without */
}

int qmp_tls_creds_new(const struct qmp_tls_pem *ca,
                      const struct qmp_tls_pem *cert,
                      const struct qmp_tls_pem *key,
                      struct qmp_tls_creds **creds,
                      struct qf_err *err)
{
    if (!cert->text != !key->text)
        return qf_fail(err, QF_E_USAGE, "%s is there, but not %s",
                       cert->text ? cert->name : key->name,
                       cert->text ? key->name : cert->name);
    ERR_clear_error();
    struct qmp_tls_creds *c = malloc(sizeof(*c));
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    int rc = 0;
    if (!c || !ctx || SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1) {
        rc = qf_fail(err, QF_E_NOMEM, "no memory for TLS");
        goto out;
    }
    (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_client_cert_cb(ctx, on_cert_wanted);
    if (ca->text)
        rc = load_ca(ctx, ca, err);
    else if (SSL_CTX_set_default_verify_paths(ctx) != 1)
        rc = qf_fail(err, QF_E_USAGE, "no CA certificates of the system");
    if (rc == 0 && cert->text)
        rc = load_cert(ctx, cert, err);
    if (rc == 0 && cert->text)
        rc = load_key(ctx, cert, key, err);
    if (rc == 0) {
        c->ctx = ctx;
        *creds = c;
        return 0;
    }
out:
    SSL_CTX_free(ctx);
    free(c);
    return rc;
}

void qmp_tls_creds_free(struct qmp_tls_creds *creds)
{
    if (!creds)
        return;
    SSL_CTX_free(creds->ctx);
    free(creds);
}

/* ---- whom we talk to ---- */

/* Called for every certificate of the chain; the first one that is not accepted ends it. */
static int on_verify(int ok, X509_STORE_CTX *store)
{
    const SSL *ssl =
        X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct qmp_tls *t = ssl ? SSL_get_app_data(ssl) : NULL;
    const X509 *cert = X509_STORE_CTX_get_current_cert(store);
    char date[CERT_DATE_SIZE];
    if (ok || !t)
        return ok;
    t->verify = X509_STORE_CTX_get_error(store);
    t->verify_depth = X509_STORE_CTX_get_error_depth(store);
    t->about[0] = '\0';
    if (!cert)
        return 0;
    if (t->verify == X509_V_ERR_CERT_HAS_EXPIRED)
        cert_add_text(t->about, sizeof(t->about),
                      cert_date_text(X509_get0_notAfter(cert), date));
    else if (t->verify == X509_V_ERR_CERT_NOT_YET_VALID)
        cert_add_text(t->about, sizeof(t->about),
                      cert_date_text(X509_get0_notBefore(cert), date));
    else
        cert_names(cert, t->about, sizeof(t->about));
    return 0;
}

static int fail_trust(struct qmp_tls *t, struct qf_err *err)
{
    const char *const whose = t->verify_depth > 0 ? "a CA of the monitor's certificate"
                                                  : "the monitor's certificate";
    switch (t->verify) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return qf_fail(err, QF_E_UNREACHABLE, "TLS: %s has expired (%s)", whose, t->about);
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return qf_fail(err, QF_E_UNREACHABLE,
                       "TLS: %s is not valid before %s; is the clock right?", whose,
                       t->about);
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return qf_fail(err, QF_E_UNREACHABLE,
                       "TLS: the monitor's certificate is for %s, not for %s", t->about,
                       t->host);
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
        return qf_fail(err, QF_E_UNREACHABLE,
                       "TLS: the monitor's certificate comes from a CA that is not known "
                       "here (%s)",
                       X509_verify_cert_error_string(t->verify));
    default:
        return qf_fail(err, QF_E_UNREACHABLE, "TLS: %s is not accepted: %s", whose,
                       X509_verify_cert_error_string(t->verify));
    }
}

/* ---- one connection ---- */

/* What OpenSSL wants to send. */
static int collect(struct qmp_tls *t, struct qf_err *err)
{
    BIO *const bio = SSL_get_wbio(t->ssl);
    char *data = NULL;
    const long n = BIO_get_mem_data(bio, &data);
    if (n <= 0)
        return 0;
    const int rc = qf_buf_append(&t->out, data, (size_t)n, err);
    (void)BIO_reset(bio);
    if (rc != 0)
        t->failed = true;
    return rc;
}

static bool set_host(struct qmp_tls *t)
{
    SSL *const ssl = t->ssl;
    X509_VERIFY_PARAM *const param = SSL_get0_param(ssl);
    char ip[QMP_TLS_NAME];
    memcpy(ip, t->host, sizeof(ip));
    char *const zone = strchr(ip, '%');
    if (zone)
        *zone = '\0';
    if (X509_VERIFY_PARAM_set1_ip_asc(param, ip) == 1)
        return true;
    ERR_clear_error();
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, t->host) == 1 && SSL_set_tlsext_host_name(ssl, t->host) == 1;
}

int qmp_tls_init(struct qmp_tls *t,
                 const struct qmp_tls_creds *creds,
                 const char *host,
                 struct qf_err *err)
{
    memset(t, 0, sizeof(*t));
    qf_buf_init(&t->out, OUT_MAX);
    if (strlen(host) >= sizeof(t->host))
        return qf_fail(err, QF_E_USAGE, "TLS: no certificate has a name as long as this");
    memcpy(t->host, host, strlen(host) + 1);
    ERR_clear_error();
    SSL *ssl = SSL_new(creds->ctx);
    BIO *in = BIO_new(BIO_s_mem());
    BIO *out = BIO_new(BIO_s_mem());
    if (!ssl || !in || !out) {
        BIO_free(in);
        BIO_free(out);
        SSL_free(ssl);
        return qf_fail(err, QF_E_NOMEM, "no memory for TLS");
    }
    t->ssl = ssl;
    (void)BIO_set_mem_eof_return(in, -1); /* empty is not the end */
    (void)BIO_set_mem_eof_return(out, -1);
    SSL_set_bio(ssl, in, out); /* takes both */
    SSL_set_connect_state(ssl);
    (void)SSL_set_app_data(ssl, t);
    SSL_set_verify(ssl, SSL_VERIFY_PEER, on_verify);
    int rc = 0;
    if (!set_host(t))
        rc = qf_fail(err, QF_E_USAGE, "TLS: '%s' cannot stand in a certificate", host);
    else
        rc = qmp_tls_read(t, NULL, 0, err);
    if (rc != 0)
        qmp_tls_fini(t);
    return rc;
}

void qmp_tls_fini(struct qmp_tls *t)
{
    SSL_free(t->ssl); /* and its BIOs */
    t->ssl = NULL;
    qf_buf_fini(&t->out);
}

int qmp_tls_feed(struct qmp_tls *t, const void *data, size_t len, struct qf_err *err)
{
    const char *at = data;
    t->heard = t->heard || len > 0;
    while (len > 0) {
        const int part = len < INT_MAX ? (int)len : INT_MAX;
        const int n = BIO_write(SSL_get_rbio(t->ssl), at, part);
        if (n <= 0) {
            t->failed = true;
            ERR_clear_error();
            return qf_fail(err, QF_E_NOMEM, "no memory for TLS");
        }
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Fatal alerts of the peer, as OpenSSL numbers them: 1000 and the alert (RFC 8446, 6). */
static bool is_alert(int reason)
{
    return reason >= SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256;
}

/* What OpenSSL says to bytes that are no records. */
static bool is_no_tls(int reason)
{
    return reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST ||
           reason == SSL_R_HTTPS_PROXY_REQUEST || reason == SSL_R_PACKET_LENGTH_TOO_LONG;
}

static int fail_openssl(struct qmp_tls *t, struct qf_err *err)
{
    const unsigned long code = ERR_peek_last_error();
    const int reason = ERR_GET_REASON(code);
    char text[160];
    if (t->verify != X509_V_OK && !t->up) {
        ERR_clear_error();
        return fail_trust(t, err);
    }
    (void)cert_openssl_text(text, sizeof(text));
    if (is_alert(reason)) {
        const char *alert = SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET);
        return qf_fail(err, QF_E_UNREACHABLE, "TLS: the monitor refused us: %s%s", alert,
                       t->wanted_cert ? "; it asked for a certificate, and there is none "
                                        "here (--tls-dir)"
                                      : "");
    }
    if (!t->up && is_no_tls(reason))
        return qf_fail(err, QF_E_PROTO,
                       "the peer does not speak TLS (a plain monitor is "
                       "tcp:HOST:PORT)");
    if (!t->up && (reason == SSL_R_UNSUPPORTED_PROTOCOL))
        return qf_fail(err, QF_E_PROTO, "TLS: the monitor's version is older than TLS 1.2");
    return qf_fail(err, QF_E_PROTO, "TLS: %s%s", t->up ? "" : "handshake: ", text);
}

int qmp_tls_read(struct qmp_tls *t, char *text, size_t size, struct qf_err *err)
{
    SSL *const ssl = t->ssl;
    if (t->failed)
        return qf_fail(err, QF_E_PROTO, "TLS: the connection has failed before");
    ERR_clear_error();
    int n = 0;
    if (!t->up) {
        n = SSL_do_handshake(ssl);
        t->up = n == 1;
    }
    if (t->up)
        n = size > 0 ? SSL_read(ssl, text, size < INT_MAX ? (int)size : INT_MAX) : 0;
    const int what = n > 0 || (t->up && size == 0) ? SSL_ERROR_NONE : SSL_get_error(ssl, n);
    if (what == SSL_ERROR_NONE || what == SSL_ERROR_WANT_READ) {
        const int rc = collect(t, err);
        return rc != 0 ? rc : t->up && n > 0 && size > 0 ? n : 0;
    }
    struct qf_err spare;
    (void)collect(t, &spare); /* the alert */
    t->failed = true;
    if (what == SSL_ERROR_ZERO_RETURN)
        return qf_fail(err, QF_E_LOST, "the monitor ended the TLS connection");
    return fail_openssl(t, err);
}

int qmp_tls_write(struct qmp_tls *t, const void *text, size_t len, struct qf_err *err)
{
    const char *at = text;
    if (t->failed)
        return qf_fail(err, QF_E_LOST, "TLS: the connection has failed before");
    if (!t->up)
        return qf_fail(err, QF_E_INTERNAL, "TLS: text before the handshake is done");
    ERR_clear_error();
    while (len > 0) {
        /* the last byte by itself: see tls.h */
        const size_t all = len > 1 ? len - 1 : len;
        const int part = all < INT_MAX ? (int)all : INT_MAX;
        const int n = SSL_write(t->ssl, at, part);
        if (n <= 0) {
            t->failed = true;
            (void)fail_openssl(t, err);
            return -(int)err->code;
        }
        at += n;
        len -= (size_t)n;
    }
    return collect(t, err);
}

bool qmp_tls_is_up(const struct qmp_tls *t)
{
    return t->up;
}

const char *qmp_tls_how_far(const struct qmp_tls *t)
{
    if (!t->up)
        return t->heard ? "in the TLS handshake"
                        : "at the start of the TLS handshake; does it speak TLS?";
    if (t->wanted_cert)
        return "after the TLS handshake: it asked for a certificate, and there is none here "
               "(--tls-dir)";
    return "after the TLS handshake; does it accept our certificate?";
}

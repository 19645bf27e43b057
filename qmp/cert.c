#include "qmp/cert.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "qmp/cert_priv.h"

enum { PEM_MAX = 16 * 1024 * 1024 };

/* ---- what tls.c needs, too ---- */

/* The text of OpenSSL's last error; buf holds 160. The queue is empty afterwards. */
const char *cert_openssl_text(char *buf, size_t size)
{
    const unsigned long code = ERR_peek_last_error();
    const char *reason = ERR_reason_error_string(code);
    (void)snprintf(buf, size, "%s", reason ? reason : "no reason given");
    ERR_clear_error();
    return buf;
}

/* "2026-11-22 05:00:00 UTC" */
const char *cert_date_text(const ASN1_TIME *time, char out[CERT_DATE_SIZE])
{
    struct tm tm;
    memset(&tm, 0, sizeof(tm));
    if (!time || ASN1_TIME_to_tm(time, &tm) != 1)
        return "an unreadable date";
    (void)snprintf(out, CERT_DATE_SIZE, "%04d-%02d-%02d %02d:%02d UTC", tm.tm_year + 1900,
                   tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min);
    return out;
}

/* Append to a text of fixed size; what a stranger says may hold anything. */
static void add_clean(char *text, size_t size, const unsigned char *more, int len)
{
    size_t n = strlen(text);
    for (int i = 0; i < len && n + 1 < size; i++)
        text[n++] = (char)(more[i] >= ' ' && more[i] < 127 ? more[i] : '.');
    text[n] = '\0';
}

void cert_add_text(char *text, size_t size, const char *more)
{
    add_clean(text, size, (const unsigned char *)more, (int)strlen(more));
}

static void add_ip(char *text, size_t size, const ASN1_OCTET_STRING *ip)
{
    const unsigned char *const b = ASN1_STRING_get0_data(ip);
    char word[8];
    if (ASN1_STRING_length(ip) == 4)
        for (int i = 0; i < 4; i++) {
            (void)snprintf(word, sizeof(word), "%s%d", i ? "." : "", b[i]);
            cert_add_text(text, size, word);
        }
    else if (ASN1_STRING_length(ip) == 16)
        for (int i = 0; i < 16; i += 2) {
            (void)snprintf(word, sizeof(word), "%s%x", i ? ":" : "", b[i] << 8 | b[i + 1]);
            cert_add_text(text, size, word);
        }
}

/* For whom a certificate is: its alternative names, or else its subject's common name. */
void cert_names(const X509 *cert, char *text, size_t size)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    text[0] = '\0';
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_DNS && name->type != GEN_IPADD)
            continue;
        if (text[0] != '\0')
            cert_add_text(text, size, ", ");
        if (name->type == GEN_DNS)
            add_clean(text, size, ASN1_STRING_get0_data(name->d.dNSName),
                      ASN1_STRING_length(name->d.dNSName));
        else
            add_ip(text, size, name->d.iPAddress);
    }
    GENERAL_NAMES_free(names);
    if (text[0] != '\0')
        return;
    X509_NAME *const subject = X509_get_subject_name(cert);
    const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    const X509_NAME_ENTRY *entry = at >= 0 ? X509_NAME_get_entry(subject, at) : NULL;
    if (entry) {
        const ASN1_STRING *cn = X509_NAME_ENTRY_get_data(entry);
        add_clean(text, size, ASN1_STRING_get0_data(cn), ASN1_STRING_length(cn));
    }
    if (text[0] == '\0')
        cert_add_text(text, size, "nobody");
}

BIO *cert_bio(const struct qmp_tls_pem *pem)
{
    return pem->len < PEM_MAX ? BIO_new_mem_buf(pem->text, (int)pem->len) : NULL;
}

/* No passphrase is asked for: qferry may have no terminal. */
static int on_passphrase(char *buf, int size, int rwflag, void *asked)
{
    (void)buf;
    (void)size;
    (void)rwflag;
    *(bool *)asked = true;
    return -1;
}

int cert_check_dates(const X509 *cert, const char *name, struct qf_err *err)
{
    char date[CERT_DATE_SIZE];
    if (X509_cmp_time(X509_get0_notAfter(cert), NULL) < 0)
        return qf_fail(err, QF_E_USAGE, "%s: the certificate has expired (%s)", name,
                       cert_date_text(X509_get0_notAfter(cert), date));
    if (X509_cmp_time(X509_get0_notBefore(cert), NULL) > 0)
        return qf_fail(err, QF_E_USAGE, "%s: the certificate is not valid before %s", name,
                       cert_date_text(X509_get0_notBefore(cert), date));
    return 0;
}

X509 *cert_read(const struct qmp_tls_pem *pem, STACK_OF(X509) * between, struct qf_err *err)
{
    char why[160];
    BIO *bio = cert_bio(pem);
    X509 *cert = bio ? PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL) : NULL;
    X509 *more;
    if (!cert)
        (void)qf_fail(err, QF_E_USAGE, "%s: no certificate in PEM form: %s", pem->name,
                      cert_openssl_text(why, sizeof(why)));
    while (cert && between && (more = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL)
        if (sk_X509_push(between, more) <= 0)
            X509_free(more);
    ERR_clear_error();
    BIO_free(bio);
    return cert;
}

EVP_PKEY *cert_read_key(const struct qmp_tls_pem *pem,
                        const char *locked,
                        struct qf_err *err)
{
    char why[160];
    bool asked = false;
    BIO *bio = cert_bio(pem);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, on_passphrase, &asked) : NULL;
    if (asked)
        (void)qf_fail(err, QF_E_USAGE, "%s: the key has a passphrase%s", pem->name, locked);
    else if (!key)
        (void)qf_fail(err, QF_E_USAGE, "%s: no private key in PEM form: %s", pem->name,
                      cert_openssl_text(why, sizeof(why)));
    ERR_clear_error();
    BIO_free(bio);
    return key;
}

/* ---- a folder for QEMU ---- */

static int check_key(const X509 *cert,
                     const struct qmp_tls_pem *of,
                     const struct qmp_tls_pem *pem,
                     struct qf_err *err)
{
    EVP_PKEY *key = cert_read_key(pem, ", which QEMU would not be told", err);
    int rc = key ? 0 : -(int)QF_E_USAGE;
    if (key && X509_check_private_key(cert, key) != 1)
        rc = qf_fail(err, QF_E_USAGE, "%s: the key does not fit the certificate %s",
                     pem->name, of->name);
    ERR_clear_error();
    EVP_PKEY_free(key);
    return rc;
}

/* Every CA of the file is trusted, and one that is no good is named: QEMU refuses them, too. */
static int read_cas(const struct qmp_tls_pem *ca, X509_STORE *store, struct qf_err *err)
{
    char why[160];
    int n = 0;
    int rc = 0;
    BIO *bio = cert_bio(ca);
    X509 *cert;
    while (rc == 0 && bio &&
           (cert = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL)) != NULL) {
        rc = cert_check_dates(cert, ca->name, err);
        n += X509_STORE_add_cert(store, cert);
        X509_free(cert);
    }
    BIO_free(bio);
    if (rc == 0 && n == 0)
        rc = qf_fail(err, QF_E_USAGE, "%s: no CA certificate in PEM form: %s", ca->name,
                     cert_openssl_text(why, sizeof(why)));
    ERR_clear_error();
    return rc;
}

static int check_chain(X509 *cert,
                       const struct qmp_tls_pem *of,
                       STACK_OF(X509) * between,
                       const struct qmp_tls_pem *ca,
                       enum qmp_cert_role role,
                       struct qf_err *err)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    int rc = 0;
    if (!store || !ctx)
        rc = qf_fail(err, QF_E_NOMEM, "no memory to check certificates");
    if (rc == 0)
        rc = read_cas(ca, store, err);
    if (rc == 0 && (X509_STORE_CTX_init(ctx, store, cert, between) != 1 ||
                    X509_STORE_CTX_set_purpose(ctx, role == QMP_CERT_SERVER
                                                        ? X509_PURPOSE_SSL_SERVER
                                                        : X509_PURPOSE_SSL_CLIENT) != 1))
        rc = qf_fail(err, QF_E_NOMEM, "no memory to check certificates");
    if (rc == 0 && X509_verify_cert(ctx) != 1)
        rc = qf_fail(err, QF_E_USAGE, "%s: the certificate is not accepted with %s: %s",
                     of->name, ca->name,
                     X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
    ERR_clear_error();
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return rc;
}

int qmp_cert_check(const struct qmp_tls_pem *ca,
                   const struct qmp_tls_pem *cert,
                   const struct qmp_tls_pem *key,
                   enum qmp_cert_role role,
                   struct qf_err *err)
{
    ERR_clear_error();
    STACK_OF(X509) *between = sk_X509_new_null();
    X509 *own = between ? cert_read(cert, between, err) : NULL;
    int rc = 0;
    if (!between)
        rc = qf_fail(err, QF_E_NOMEM, "no memory to check certificates");
    else if (!own)
        rc = -(int)QF_E_USAGE;
    if (rc == 0)
        rc = cert_check_dates(own, cert->name, err);
    if (rc == 0)
        rc = check_key(own, cert, key, err);
    if (rc == 0)
        rc = check_chain(own, cert, between, ca, role, err);
    X509_free(own);
    sk_X509_pop_free(between, X509_free);
    return rc;
}

bool qmp_cert_is_for(const struct qmp_tls_pem *cert,
                     const char *host,
                     char names[QMP_TLS_NAME])
{
    ERR_clear_error();
    X509 *own = cert_read(cert, NULL, NULL);
    char ip[QMP_TLS_NAME];
    bool fits = false;
    names[0] = '\0';
    if (own) {
        cert_names(own, names, QMP_TLS_NAME);
        (void)snprintf(ip, sizeof(ip), "%s", host);
        ip[strcspn(ip, "%")] = '\0'; /* a zone is this host's affair */
        fits =
            X509_check_ip_asc(own, ip, 0) == 1 ||
            X509_check_host(own, host, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;
    }
    ERR_clear_error();
    X509_free(own);
    return fits;
}

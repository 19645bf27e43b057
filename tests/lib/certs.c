#include "tests/lib/certs.h"

#include <fcntl.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MUST(what)                                                           \
    do {                                                                     \
        if (!(what)) {                                                       \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what); \
            ERR_print_errors_fp(stderr);                                     \
            abort();                                                         \
        }                                                                    \
    } while (0)

/* ---- certificates ---- */

static void add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    MUST(ext && X509_add_ext(x, ext, -1) == 1);
    X509_EXTENSION_free(ext);
}

void cert_make(struct cert *c, const struct cert *issuer, const struct cert_opts *opts)
{
    static long serial = 1;
    c->key = EVP_EC_gen("P-256");
    c->x = X509_new();
    MUST(c->key && c->x);
    X509 *const from = issuer ? issuer->x : c->x;
    X509_NAME *const name = X509_get_subject_name(c->x);
    MUST(X509_set_version(c->x, X509_VERSION_3) == 1);
    MUST(ASN1_INTEGER_set(X509_get_serialNumber(c->x), serial++) == 1);
    MUST(X509_gmtime_adj(X509_getm_notBefore(c->x), opts->from_s ? opts->from_s : -3600));
    MUST(X509_gmtime_adj(X509_getm_notAfter(c->x), opts->to_s ? opts->to_s : 3600));
    MUST(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                    (const unsigned char *)opts->cn, -1, -1, 0) == 1);
    MUST(X509_set_issuer_name(c->x, X509_get_subject_name(from)) == 1);
    MUST(X509_set_pubkey(c->x, c->key) == 1);
    add_extension(c->x, from, NID_basic_constraints,
                  opts->ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    add_extension(c->x, from, NID_key_usage,
                  opts->ca ? "critical,keyCertSign"
                           : "critical,digitalSignature,keyEncipherment");
    if (opts->san)
        add_extension(c->x, from, NID_subject_alt_name, opts->san);
    MUST(X509_sign(c->x, issuer ? issuer->key : c->key, EVP_sha256()) > 0);
}

void cert_free(struct cert *c)
{
    X509_free(c->x);
    EVP_PKEY_free(c->key);
    memset(c, 0, sizeof(*c));
}

static char *text_of(BIO *bio)
{
    char *data = NULL;
    const long n = BIO_get_mem_data(bio, &data);
    char *text = malloc((size_t)n + 1);
    MUST(n > 0 && text);
    memcpy(text, data, (size_t)n);
    text[n] = '\0';
    BIO_free(bio);
    return text;
}

char *cert_pem(const struct cert *c)
{
    BIO *bio = BIO_new(BIO_s_mem());
    MUST(bio && PEM_write_bio_X509(bio, c->x) == 1);
    return text_of(bio);
}

char *cert_key_pem(const struct cert *c)
{
    BIO *bio = BIO_new(BIO_s_mem());
    MUST(bio && PEM_write_bio_PrivateKey(bio, c->key, NULL, NULL, 0, NULL, NULL) == 1);
    return text_of(bio);
}

char *cert_key_pem_locked(const struct cert *c, const char *passphrase)
{
    BIO *bio = BIO_new(BIO_s_mem());
    MUST(bio && PEM_write_bio_PKCS8PrivateKey(bio, c->key, EVP_aes_128_cbc(), passphrase,
                                              (int)strlen(passphrase), NULL, NULL) == 1);
    return text_of(bio);
}

void cert_write(const char *dir, const char *name, char *text, unsigned mode)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    (void)unlink(path);
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    MUST(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    MUST(fchmod(fd, mode) == 0 && close(fd) == 0);
    free(text);
}

/* ---- the server's side ---- */

void tls_peer_again(struct tls_peer *p)
{
    SSL_free(p->ssl);
    p->ssl = SSL_new(p->ctx);
    BIO *in = BIO_new(BIO_s_mem());
    BIO *out = BIO_new(BIO_s_mem());
    MUST(p->ssl && in && out);
    (void)BIO_set_mem_eof_return(in, -1);
    SSL_set_bio(p->ssl, in, out);
    SSL_set_accept_state(p->ssl);
}

void tls_peer_init(struct tls_peer *p, const struct tls_peer_opts *opts)
{
    memset(p, 0, sizeof(*p));
    p->ctx = SSL_CTX_new(TLS_server_method());
    MUST(p->ctx);
    MUST(SSL_CTX_use_certificate(p->ctx, opts->cert->x) == 1);
    MUST(SSL_CTX_use_PrivateKey(p->ctx, opts->cert->key) == 1);
    if (opts->between)
        MUST(SSL_CTX_add1_chain_cert(p->ctx, opts->between->x) == 1);
    if (opts->client_ca) {
        MUST(X509_STORE_add_cert(SSL_CTX_get_cert_store(p->ctx), opts->client_ca->x) == 1);
        SSL_CTX_set_verify(p->ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    }
    if (opts->max_version) {
        MUST(SSL_CTX_set_min_proto_version(p->ctx, TLS1_VERSION) == 1);
        MUST(SSL_CTX_set_max_proto_version(p->ctx, opts->max_version) == 1);
        SSL_CTX_set_security_level(p->ctx, 0);
    }
    tls_peer_again(p);
}

void tls_peer_fini(struct tls_peer *p)
{
    SSL_free(p->ssl);
    SSL_CTX_free(p->ctx);
    memset(p, 0, sizeof(*p));
}

void tls_peer_feed(struct tls_peer *p, const void *data, size_t len)
{
    MUST(len < INT_MAX && BIO_write(SSL_get_rbio(p->ssl), data, (int)len) == (int)len);
}

int tls_peer_read(struct tls_peer *p, char *text, size_t size)
{
    ERR_clear_error();
    const int n = SSL_read(p->ssl, text, (int)size);
    if (n > 0)
        return n;
    const int what = SSL_get_error(p->ssl, n);
    ERR_clear_error();
    return what == SSL_ERROR_WANT_READ ? 0 : -1;
}

void tls_peer_write(struct tls_peer *p, const void *text, size_t len)
{
    const int n = len > 0 ? SSL_write(p->ssl, text, (int)len) : 0;
    MUST(n == (int)len);
}

void tls_peer_end(struct tls_peer *p)
{
    (void)SSL_shutdown(p->ssl);
}

size_t tls_peer_take(struct tls_peer *p, char *out, size_t size)
{
    const int n = BIO_read(SSL_get_wbio(p->ssl), out, (int)size);
    return n > 0 ? (size_t)n : 0;
}

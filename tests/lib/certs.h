/* Certificates and the other end of a TLS connection, for tests: made with OpenSSL in memory, every
 * one with a fresh key. Not code under test. Everything aborts on a failure of its own. */
#ifndef QF_TESTS_LIB_CERTS_H
#define QF_TESTS_LIB_CERTS_H

#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>

/* ---- certificates ---- */

struct cert {
    X509 *x;
    EVP_PKEY *key;
};

struct cert_opts {
    const char *cn;  /* the subject */
    const char *san; /* "DNS:localhost,IP:127.0.0.1"; NULL: none */
    bool ca;         /* may sign others */
    long from_s;     /* valid from now and so many seconds on; 0: since an hour ago */
    long to_s;       /* until; 0: an hour */
};

/* issuer NULL: signed by itself. */
void cert_make(struct cert *c, const struct cert *issuer, const struct cert_opts *opts);
void cert_free(struct cert *c); /* safe on a zeroed struct */

/* PEM; free() it. */
char *cert_pem(const struct cert *c);
char *cert_key_pem(const struct cert *c);
char *cert_key_pem_locked(const struct cert *c, const char *passphrase);

/* A file dir/name with this text, which is freed. */
void cert_write(const char *dir, const char *name, char *text, unsigned mode);

/* ---- the server's side of a connection, over memory ---- */

struct tls_peer {
    SSL_CTX *ctx;
    SSL *ssl;
};

struct tls_peer_opts {
    const struct cert *cert;
    const struct cert *between; /* sent along with it; NULL: none */
    const struct cert
        *client_ca;  /* asks for a certificate of this one; NULL: asks for none */
    int max_version; /* TLS1_2_VERSION; 0: the newest */
};

void tls_peer_init(struct tls_peer *p, const struct tls_peer_opts *opts);
void tls_peer_fini(struct tls_peer *p); /* safe on a zeroed struct */

/* A further connection with the same keys. */
void tls_peer_again(struct tls_peer *p);

void tls_peer_feed(struct tls_peer *p, const void *data, size_t len);

/* Go on with the handshake, take text: how much of it; 0: more bytes are needed; -1: it has
 * failed, or the client has ended it. */
int tls_peer_read(struct tls_peer *p, char *text, size_t size);

/* Text for the client, as one record where it fits. */
void tls_peer_write(struct tls_peer *p, const void *text, size_t len);
void tls_peer_end(struct tls_peer *p); /* close_notify */

/* Bytes for the client: moved to out; how many. */
size_t tls_peer_take(struct tls_peer *p, char *out, size_t size);

#endif

/* TLS for the link to a monitor, the client's side: OpenSSL over memory. Bytes of the peer in,
 * bytes for the peer out, text in, text out. No socket, no file. Data.
 *
 * Not quite without the world: OpenSSL looks at the clock to tell whether a certificate is still
 * good, and opens the system's store of CAs when a handshake needs it. Its random numbers are its
 * own affair.
 *
 * What it insists on: TLS 1.2 or later, a certificate that leads to a known CA, for the host that
 * was dialled (a name or an IP address). Sessions are not resumed, connections not renegotiated.
 *
 *   credentials     qmp_tls_creds_new, shared by any number of connections
 *   connection      init -> out is to be sent -> { feed, read, send out } until is_up
 *                   -> write, feed, read; always send out
 *
 * Records. QEMU before 10.0 reads one byte from the monitor's TLS channel each time its main loop
 * finds the *socket* readable, and does not see what GnuTLS has decrypted and still holds: a
 * command that came as one record is read as far as its first byte, until something else comes
 * (seen with 7.2.22). So the last byte of every write is a record of its own: as long as that
 * record waits in the socket, QEMU goes on reading, and when it is taken nothing is held back any
 * more. It costs 22 bytes (TLS 1.3) a write; see README.md. */
#ifndef QF_QMP_TLS_H
#define QF_QMP_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"

/* ---- credentials ---- */

struct qmp_tls_creds;

/* The text of a PEM file, lent. */
struct qmp_tls_pem {
    const char *name; /* for messages: the file's path */
    const char *text; /* NULL: there is none */
    size_t len;
};

/* ca: the certificates of the CAs that are trusted; none: those of the system. cert, key: ours,
 * for a monitor that asks for them, both or none. The certificate may be followed by those
 * between it and the CA.
 *
 * QF_E_USAGE names the file: it cannot be read as PEM, the key has a passphrase, the key does not
 * fit, the certificate has expired or is not valid yet, one of the two is missing. QF_E_NOMEM. */
int qmp_tls_creds_new(const struct qmp_tls_pem *ca,
                      const struct qmp_tls_pem *cert,
                      const struct qmp_tls_pem *key,
                      struct qmp_tls_creds **creds,
                      struct qf_err *err);

/* NULL is fine. Connections that use them must be gone. */
void qmp_tls_creds_free(struct qmp_tls_creds *creds);

/* ---- one connection ---- */

enum { QMP_TLS_NAME = 160 /* of the peer's certificate, in messages */ };

struct qmp_tls {
    struct qf_buf out; /* to be sent to the peer; whoever sends drops it */
    /* Private. */
    void *ssl; /* SSL */
    bool up;
    bool failed;
    bool heard;               /* the peer has said something */
    bool wanted_cert;         /* the peer asked for a certificate, and we have none */
    int verify;               /* X509_V_ERR_...: why its certificate was not accepted */
    int verify_depth;         /* of which: 0 its own, above a CA's */
    char about[QMP_TLS_NAME]; /* what that certificate says: for whom, or until when */
    char host[QMP_TLS_NAME];
};

/* Start a handshake with `host`: a name, or an IP address without brackets (its zone is passed
 * over). creds must outlive t. The first bytes are in t->out afterwards. QF_E_NOMEM,
 * QF_E_USAGE (a name that cannot stand in a certificate). After an error t needs no fini, but
 * may have it. */
int qmp_tls_init(struct qmp_tls *t,
                 const struct qmp_tls_creds *creds,
                 const char *host,
                 struct qf_err *err);

/* Free; safe on a zeroed struct. Says nothing to the peer. */
void qmp_tls_fini(struct qmp_tls *t);

/* Bytes from the peer, any number of them. They are kept until read. QF_E_NOMEM. */
int qmp_tls_feed(struct qmp_tls *t, const void *data, size_t len, struct qf_err *err);

/* Go on with the handshake as far as the bytes go, then take text out: how many bytes of it, 0
 * when more from the peer is needed. Call it until it returns 0, then send t->out, which an error
 * may have filled, too (the alert). Negative, and from then on always:
 *   QF_E_UNREACHABLE  no trust: the sentence says what is wrong with whose certificate
 *   QF_E_PROTO        the peer does not speak TLS, or broke its rules
 *   QF_E_LOST         the peer has ended the TLS connection (close_notify)
 *   QF_E_NOMEM */
int qmp_tls_read(struct qmp_tls *t, char *text, size_t size, struct qf_err *err);

/* Encrypt text into t->out. Only when up; QF_E_INTERNAL before, QF_E_LOST after an error,
 * QF_E_NOMEM, and as qf_buf_append. */
int qmp_tls_write(struct qmp_tls *t, const void *text, size_t len, struct qf_err *err);

/* The handshake is done. With TLS 1.3 the peer may still refuse our certificate. */
bool qmp_tls_is_up(const struct qmp_tls *t);

/* The socket has ended without a word of TLS, before the first text came: what that may mean, a
 * part of a sentence ("in the TLS handshake"). */
const char *qmp_tls_how_far(const struct qmp_tls *t);

#endif

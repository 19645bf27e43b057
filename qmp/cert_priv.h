/* What cert.c and tls.c share; nobody else includes it. */
#ifndef QF_QMP_CERT_PRIV_H
#define QF_QMP_CERT_PRIV_H

#include <openssl/bio.h>
#include <openssl/x509.h>
#include <stdbool.h>

#include "engine/base/err.h"
#include "qmp/tls.h"

enum { CERT_DATE_SIZE = 40 };

/* The text of OpenSSL's last error; the queue is empty afterwards. Returns buf. */
const char *cert_openssl_text(char *buf, size_t size);

/* "2026-11-22 05:00 UTC", in out or static. */
const char *cert_date_text(const ASN1_TIME *time, char out[CERT_DATE_SIZE]);

/* Append; what a stranger says may hold anything, it is cleaned and cut. */
void cert_add_text(char *text, size_t size, const char *more);

/* For whom a certificate is: its alternative names, or else its subject's common name. */
void cert_names(const X509 *cert, char *text, size_t size);

/* Over the text, which stays the caller's. NULL: no memory, or far too long. */
BIO *cert_bio(const struct qmp_tls_pem *pem);

/* The first certificate, the caller's to free; those that follow it are added to `between` (NULL:
 * they are of no interest). NULL: QF_E_USAGE, it is none. */
X509 *cert_read(const struct qmp_tls_pem *pem,
                STACK_OF(X509) * between,
                struct qf_err *err);

/* A private key, the caller's to free. NULL: QF_E_USAGE, it is none, or it has a passphrase, for
 * which nobody is asked; `locked` ends that sentence. */
EVP_PKEY *cert_read_key(const struct qmp_tls_pem *pem,
                        const char *locked,
                        struct qf_err *err);

/* QF_E_USAGE: it has expired, or is not valid yet. */
int cert_check_dates(const X509 *cert, const char *name, struct qf_err *err);

#endif

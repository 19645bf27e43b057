/* Certificates and keys that QEMU is to use, judged before it does: OpenSSL over memory. Data, but that
 * OpenSSL looks at the clock to tell whether a certificate is still good. */
#ifndef QF_QMP_CERT_H
#define QF_QMP_CERT_H

#include <stdbool.h>

#include "engine/base/err.h"
#include "qmp/tls.h"

enum qmp_cert_role { QMP_CERT_CLIENT, QMP_CERT_SERVER };

/* One side's files. All three are there; cert may be followed by those between it and the CA.
 *
 * QF_E_USAGE names the file: it is not PEM, a certificate has expired or is not valid yet, the key has
 * a passphrase or does not fit, the chain does not lead to a CA of `ca`, or is not for that role.
 * QF_E_NOMEM. */
int qmp_cert_check(const struct qmp_tls_pem *ca,
                   const struct qmp_tls_pem *cert,
                   const struct qmp_tls_pem *key,
                   enum qmp_cert_role role,
                   struct qf_err *err);

/* Is the (first) certificate for that host, a name or an IP address without brackets? names: for whom
 * it is, for messages. */
bool qmp_cert_is_for(const struct qmp_tls_pem *cert,
                     const char *host,
                     char names[QMP_TLS_NAME]);

#endif

/* The files with the credentials for a monitor with TLS. Edge: it reads files, at once, so call it
 * before the loop turns. */
#ifndef QF_QMP_CREDS_UV_H
#define QF_QMP_CREDS_UV_H

#include "engine/base/err.h"
#include "qmp/cert.h"
#include "qmp/tls.h"

/* dir: a folder with the files that QEMU's tls-creds-x509 reads for a client: ca-cert.pem, and
 * both or none of client-cert.pem and client-key.pem. NULL or empty: the folder that the
 * environment variable QFERRY_TLS_DIR names; without that, the system's CAs and no certificate.
 *
 * QF_E_USAGE: a file is missing or not what it should be (see qmp_tls_creds_new), or the key can
 * be read or changed by more than its owner and read by its group. QF_E_NOMEM. */
int qmp_creds_load(const char *dir, struct qmp_tls_creds **creds, struct qf_err *err);

/* The files that QEMU's tls-creds-x509 reads for one role, checked as qmp_cert_check does: ca-cert.pem,
 * and client-cert.pem and client-key.pem or server-cert.pem and server-key.pem. All are needed: a
 * QEMU that waits asks for a certificate, too, unless it is told otherwise.
 *
 * hosts: n of them, for the server: whom its certificate is to be for, in order of preference. *host: the first
 * that it is for. QF_E_USAGE, QF_E_NOMEM as above; also: it is for none of them. */
int qmp_creds_check(const char *dir,
                    enum qmp_cert_role role,
                    const char *const *hosts,
                    unsigned n,
                    unsigned *host,
                    struct qf_err *err);

#endif

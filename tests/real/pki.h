/* Certificates in files, named as QEMU has them. */
#ifndef QF_TESTS_REAL_PKI_H
#define QF_TESTS_REAL_PKI_H

#include "tests/lib/certs.h"

/* A new CA (an earlier one is freed; cert_free() it); dir/ca-cert.pem is its certificate. */
void pki_ca(struct cert *ca, const char *dir);

/* WHO-cert.pem, signed by this CA, and WHO-key.pem. The rest is as in struct cert_opts. */
void pki_add(const char *dir,
             const struct cert *ca,
             const char *who,
             const char *san,
             long from_s,
             long to_s);

#endif

/* The parameters for Diffie-Hellman that go beside a server's key. Data.
 *
 * QEMU makes new ones at object-add when it finds none (crypto/tlscreds.c, 7.2), for which its
 * main loop stands still for half a second (measured). These are the group ffdhe2048 of RFC 7919: as
 * many bits as QEMU's own have, no secret, and known to be good. */
#ifndef QF_QMP_DH_H
#define QF_QMP_DH_H

/* The name that QEMU looks for. */
#define QMP_DH_FILE "dh-params.pem"

/* PEM, with newlines; static. */
const char *qmp_dh_params(void);

#endif

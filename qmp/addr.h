/* Where a QMP monitor listens, read from what people type. Data. */
#ifndef QF_QMP_ADDR_H
#define QF_QMP_ADDR_H

#include <stdbool.h>

#include "engine/base/err.h"

enum { QMP_ADDR_MAX = 256 };

enum qmp_addr_kind { QMP_ADDR_UNIX, QMP_ADDR_TCP, QMP_ADDR_TLS, QMP_ADDR_SSH };

struct qmp_tls_creds;

/* Where a monitor listens: `/run/vm.qmp`, `unix:/run/vm.qmp`, `tcp:HOST:PORT`, `tcp:[::1]:4444`,
 * `tls:HOST:PORT`, `ssh:[USER@]HOST[:PORT]/PATH`. */
struct qmp_addr {
    enum qmp_addr_kind kind;
    char path[QMP_ADDR_MAX]; /* UNIX; SSH: on that host, from its root */
    char host[QMP_ADDR_MAX]; /* TCP, TLS, SSH; without brackets */
    char port[8];            /* the same; SSH: empty when ssh is to choose */
    char user[64];           /* SSH; empty when ssh is to choose */
    /* Not part of the text: what the owner of the address adds. */
    char tls_dir[QMP_ADDR_MAX]; /* TLS: the folder of its credentials, see creds_uv.h */
    const struct qmp_tls_creds *creds; /* TLS: lent to whoever connects; see link_uv.h */
};

/* Read an address. QF_E_USAGE names the text and says what would be right (a UNIX path longer
 * than the system allows, a missing port, a port out of range, an unknown scheme). *addr is
 * written on success only.
 *
 * What goes to ssh's command line cannot be taken for an option there, nor for one of its tokens
 * or variables: such hosts, users and paths are refused. */
int qmp_addr_parse(const char *text, struct qmp_addr *addr, struct qf_err *err);

/* The same monitor, as far as the text tells. */
bool qmp_addr_is_same(const struct qmp_addr *a, const struct qmp_addr *b);

/* The address as qmp_addr_parse reads it. out holds QMP_ADDR_TEXT. Returns out. */
enum { QMP_ADDR_TEXT = 2 * QMP_ADDR_MAX + 96 };
const char *qmp_addr_format(const struct qmp_addr *addr, char *out);

#endif

/* Where a QMP monitor listens, read from what people type. Data. */
#ifndef QF_QMP_ADDR_H
#define QF_QMP_ADDR_H

#include "engine/base/err.h"

enum { QMP_ADDR_MAX = 256 };

enum qmp_addr_kind { QMP_ADDR_UNIX, QMP_ADDR_TCP };

/* Where a monitor listens: `/run/vm.qmp`, `unix:/run/vm.qmp`, `tcp:HOST:PORT`, `tcp:[::1]:4444`. */
struct qmp_addr {
    enum qmp_addr_kind kind;
    char path[QMP_ADDR_MAX]; /* UNIX */
    char host[QMP_ADDR_MAX]; /* TCP; without brackets */
    char port[8];
};

/* Read an address. QF_E_USAGE names the text and says what would be right (a UNIX path longer
 * than the system allows, a missing port, a port out of range, an unknown scheme). *addr is
 * written on success only. */
int qmp_addr_parse(const char *text, struct qmp_addr *addr, struct qf_err *err);

/* The address as qmp_addr_parse reads it. out holds QMP_ADDR_TEXT. Returns out. */
enum { QMP_ADDR_TEXT = QMP_ADDR_MAX + 16 };
const char *qmp_addr_format(const struct qmp_addr *addr, char *out);

#endif

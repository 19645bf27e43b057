/* Private folders under the runtime directory, for what must not outlive its qferry: sockets, keys.
 * Edge: it works at once, so call it for small things only.
 *
 * The runtime directory is the first of these that there is: $QFERRY_RUN_DIR, $RUNTIME_DIRECTORY
 * (systemd.exec(5)), /run/qferry for root, $XDG_RUNTIME_DIR/qferry, /tmp/qferry-UID. It is made
 * where it is missing, and must be ours alone.
 *
 * A folder is in use as long as somebody holds the lock on it: one that a killed qferry has left
 * is removed, with the files in it, by the next one. */
#ifndef QF_QMP_RUNDIR_UV_H
#define QF_QMP_RUNDIR_UV_H

#include <sys/types.h>

#include "engine/base/err.h"

enum { QMP_RUNDIR_PATH = 96 /* so that a socket's path fits */ };

struct qmp_rundir {
    char path[QMP_RUNDIR_PATH];
    int lock; /* on the folder, as long as it is ours; -1: there is none */
};

/* A fresh folder, mode 0700, named PREFIX and a random word; "ssh-" and "tls-" are the prefixes that
 * qmp_rundir_sweep knows. QF_E_UNREACHABLE: it cannot be made; d->lock is -1. */
int qmp_rundir_make(struct qmp_rundir *d, const char *prefix, struct qf_err *err);

/* Write a new file in it, mode 0600. QF_E_UNREACHABLE. */
int qmp_rundir_write(const struct qmp_rundir *d,
                     const char *name,
                     const char *text,
                     size_t len,
                     struct qf_err *err);

/* Give the folder and what is in it to another user. Only root can: QF_E_UNREACHABLE says so
 * otherwise. Nothing is done for the one that we are, and for root, who needs nothing. */
int qmp_rundir_give(const struct qmp_rundir *d, uid_t uid, gid_t gid, struct qf_err *err);

/* Remove it with the files in it. Safe to call again. */
void qmp_rundir_drop(struct qmp_rundir *d);

/* Remove what killed qferrys have left. */
void qmp_rundir_sweep(void);

#endif

/* Private folders under the runtime directory, for what must not outlive its qferry: sockets, keys.
 * Edge: it works at once, so call it for small things only.
 *
 * The runtime directory is the first of these that there is: $QFERRY_RUN_DIR, $RUNTIME_DIRECTORY
 * (systemd.exec(5)), /run/qferry for root, $XDG_RUNTIME_DIR/qferry, /tmp/qferry-UID. It is made
 * where it is missing, and must be ours alone.
 *
 * A folder is in use as long as somebody holds the lock on it: one that a killed qferry has left
 * is removed, with the files in it, by the next one. But a key may still be needed by a QEMU whose
 * qferry is gone (a post-copy that is recovered begins a new TLS session): such a folder says in a
 * file for which process it was made, and stays until that process is gone, or a move of it has
 * come to its end. */
#ifndef QF_QMP_RUNDIR_UV_H
#define QF_QMP_RUNDIR_UV_H

#include <sys/types.h>

#include "engine/base/err.h"

enum {
    QMP_RUNDIR_PATH = 96, /* so that a socket's path fits */
    QMP_RUNDIR_BASE = 64  /* so that a folder's fits */
};

struct qmp_rundir {
    char path[QMP_RUNDIR_PATH];
    int lock; /* on the folder, as long as it is ours; -1: there is none */
};

/* The runtime directory itself, made where it is missing: for files in it whose names begin with
 * neither prefix. QF_E_UNREACHABLE: there is none, or it is not ours alone. */
int qmp_rundir_base(char out[QMP_RUNDIR_BASE], struct qf_err *err);

/* A fresh folder, mode 0700, named PREFIX and a random word; "ssh-" and "tls-" are the prefixes that
 * qmp_rundir_sweep knows. QF_E_UNREACHABLE: it cannot be made; d->lock is -1. */
int qmp_rundir_make(struct qmp_rundir *d, const char *prefix, struct qf_err *err);

/* Write a new file in it, mode 0600. QF_E_UNREACHABLE. */
int qmp_rundir_write(const struct qmp_rundir *d,
                     const char *name,
                     const char *text,
                     size_t len,
                     struct qf_err *err);

/* A process that needs a folder. */
struct qmp_rundir_user {
    pid_t pid; /* 0: nobody */
    unsigned long long
        start; /* when it was started, proc_pid_stat(5): a number may be used again */
};

/* Of a process of this host. pid 0 in it: there is none, or it cannot be seen. */
struct qmp_rundir_user qmp_rundir_user_of(pid_t pid);

/* Write into the folder that this process needs it; for nobody nothing is written. */
int qmp_rundir_need(const struct qmp_rundir *d,
                    const struct qmp_rundir_user *user,
                    struct qf_err *err);

/* Give the folder and what is in it to another user. Only root can: QF_E_UNREACHABLE says so
 * otherwise. Nothing is done for the one that we are, and for root, who needs nothing. */
int qmp_rundir_give(const struct qmp_rundir *d, uid_t uid, gid_t gid, struct qf_err *err);

/* Remove it with the files in it. Safe to call again. */
void qmp_rundir_drop(struct qmp_rundir *d);

/* Let go of it, and leave it as it is: for the process that needs it. Safe to call again. */
void qmp_rundir_leave(struct qmp_rundir *d);

/* Remove what killed qferrys have left, but for what is needed by a process that lives ... */
void qmp_rundir_sweep(void);

/* ... other than these n: they need nothing of it any more. */
void qmp_rundir_sweep_of(const struct qmp_rundir_user *users, size_t n);

#endif

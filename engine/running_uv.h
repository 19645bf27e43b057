/* The moves that run now on this host, and the one of ours among them. Edge: it works at once, on
 * small files of the runtime directory (qmp/rundir_uv.h).
 *
 * Each move has a file there, "move-" and a hash of where the source's monitor is: so two moves of
 * one VM meet in one file. Who moves holds a lock on it, which the kernel takes away when the process
 * ends, however it ends; what a file says counts only while it is locked, and one that nobody
 * holds is nobody's. The lock is one of an open file description (fcntl(2), F_OFD_SETLK) and not flock, as
 * the folders there have: others can ask whether it is held without taking it for a moment, in
 * which the next qferry would find it taken.
 *
 * Only what this user runs on this host is seen. Beyond it there is QEMU's own rule, one client at
 * a monitor. */
#ifndef QF_ENGINE_RUNNING_UV_H
#define QF_ENGINE_RUNNING_UV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/base/err.h"
#include "engine/mig_event.h"
#include "engine/spec.h"
#include "qmp/addr.h"

enum { RUNNING_PATH = 128, RUNNING_KEY = 2 * QMP_ADDR_TEXT };

/* Zeroed memory: a look at the others, none of our own. */
struct running {
    /* Private. */
    bool held;
    int fd;
    char path[RUNNING_PATH];
    char source[SPEC_TEXT_MAX];
    char destination[SPEC_TEXT_MAX];
    char control[SPEC_TEXT_MAX];
    int64_t begin_ms;       /* Unix time */
    struct mig_use use;     /* as it stands in the file */
    struct mig_others last; /* as it was seen last */
};

/* What is asked for. */
struct running_wish {
    const struct qmp_addr *source; /* its monitor */
    const struct mig_spec *spec;   /* for the texts */
    const char *control;           /* --control, for who comes later; NULL: none */
    bool takeover;                 /* end the process that moves it */
};

/* Be the one that moves this VM. Waits only for the end of another process: ten seconds at most.
 *
 * QF_E_UNREACHABLE: another process moves it, and the sentence names it and what can be done; or,
 * with takeover, it could not be ended. *ended (may be NULL): the process that was ended, else 0.
 * QF_E_IO: there is no place for the file; nothing is known of others then. */
int running_take(struct running *r,
                 const struct running_wish *wish,
                 pid_t *ended,
                 struct qf_err *err);

/* Tell the others which way the memory goes; n of use 0: none. Nothing happens when it is known, or
 * when the move is not ours. What cannot be written is left out. */
void running_use(struct running *r, const struct mig_use *use);

/* What the others use now. False: as it was last time; *others is filled in any case. */
bool running_look(struct running *r, struct mig_others *others);

/* The end of it; safe to call again. */
void running_drop(struct running *r);

#endif

/* Drive one migration for real: a session, two monitors, one timer, one journal file. Edge.
 *
 * Any number of them live on one loop. Happy path and failures: drive_uv.c. */
#ifndef QF_ENGINE_DRIVE_UV_H
#define QF_ENGINE_DRIVE_UV_H

#include <stdbool.h>
#include <uv.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/journal_uv.h"
#include "engine/running_uv.h"
#include "engine/secure_uv.h"
#include "engine/session.h"
#include "netsel/probe_uv.h"
#include "qmp/link_uv.h"

struct drive;

struct drive_ops {
    /* A line for people or programs (a record that is public), lent. May be NULL. */
    void (*on_record)(struct drive *d,
                      const struct record *record,
                      const char *line,
                      void *arg);
    /* The journal cannot be written any more; said once; the migration goes on. May be NULL. */
    void (*on_journal_error)(struct drive *d, const struct qf_err *err, void *arg);
    /* Something of this move could not be removed: a sentence, lent. Just before on_end. May be
     * NULL. */
    void (*on_left_behind)(struct drive *d, const char *what, void *arg);
    /* The migration is over and nothing of the drive is in the loop any more: its memory may be
     * freed. Called from the loop, once. */
    void (*on_end)(struct drive *d, const struct record_result *result, void *arg);
};

struct drive_link; /* drive_link_uv.c */

struct drive {
    struct session session;
    struct record_result result;
    const struct drive_ops *ops;
    void *arg;
    /* Private. */
    uv_loop_t *loop;
    uv_timer_t timer;
    struct qmp_addr addr[MIG_SIDES];
    struct qmp_tls_creds *creds;        /* NULL: no monitor with TLS */
    struct drive_link *link[MIG_SIDES]; /* NULL: closed */
    unsigned handles_open;
    /* Found while a to-do list was carried out, fed afterwards; code != 0: there is one. */
    struct qf_err broken[MIG_SIDES]; /* a link */
    struct qf_err probe_err;         /* each of these could not be begun */
    struct qf_err secure_err;
    struct qf_err stream_err;
    struct qf_err restart_err;
    struct netsel_probe *probe; /* NULL: none; so are the others */
    struct secure *secure;
    bool synced_now;    /* likewise: nothing to sync */
    bool cancel_wanted; /* not told to the machine yet */
    bool over;
    bool closing;
    /* the QEMUs of this host: what is kept for them is removed at the end of the move */
    struct qmp_rundir_user qemu[MIG_SIDES];
    struct journal_file journal;
    struct stream *stream; /* --bind: being connected */
    int stream_fd;         /* connected, not handed over; -1: none; owned */
    /* --restart-destination; lent; NULL: none */
    const char *restart_command;
    struct restart *restart;
    struct receiver *receiver;
    struct running *running; /* the moves of this host; lent; NULL: not looked at */
    uv_timer_t look;         /* at them */
    bool looks;
    struct qf_err refusal;     /* code != 0: no monitor is opened, and this is why */
    struct mig_memory *memory; /* to be told at the beginning; NULL: nothing; owned */
};

/* What can be refused without touching anything or anybody: the credentials of monitors with TLS.
 * For those who have something to lose before drive_start (a file to be overwritten). QF_E_USAGE,
 * QF_E_NOMEM. */
int drive_check(const struct qmp_addr addr[MIG_SIDES], struct qf_err *err);

/* Start. spec and policy are copied, addr too; the addresses are those of spec's texts, parsed.
 * journal_fd: an open file, taken over, or -1. d is the caller's memory and stays until on_end.
 * Nothing is called back before this has returned. QF_E_... when the loop refuses a handle, or the
 * credentials of a monitor with TLS are no good (QF_E_USAGE, creds_uv.h: they are read here, at
 * once, from addr[]'s tls_dir); then nothing was started and journal_fd is the caller's still. */
int drive_start(struct drive *d,
                uv_loop_t *loop,
                const struct mig_spec *spec,
                const struct policy *policy,
                const struct qmp_addr addr[MIG_SIDES],
                int journal_fd,
                const struct drive_ops *ops,
                void *arg,
                struct qf_err *err);

/* What starts a fresh destination (restart_uv.h), where the spec's `restarts` says that there is such a
 * command. Right after drive_start; command is lent until on_end. */
void drive_use_restart(struct drive *d, const char *command);

/* The other moves of this host: they are looked at from now on, and told which way this one goes.
 * Right after drive_start; running is lent until on_end. */
void drive_use_running(struct drive *d, struct running *running);

/* No monitor is to be opened: it fails as if the source could not be reached, with this sentence, for
 * who reads lines and waits for a result. Right after drive_start. */
void drive_refuse(struct drive *d, const struct qf_err *why);
/* What a qferry that was killed knew of this move (memory_uv.h); copied. Right after drive_start. No
 * memory for it: the move goes on without. */
void drive_remember(struct drive *d, const struct mig_memory *memory);

/* The user wants it stopped. What that means is the machine's to say; it is told from the loop,
 * so this may be called at any time, also from inside the callbacks above, and before the loop
 * turns. Harmless after the end. */
void drive_cancel(struct drive *d);

/* An operator's word: carried out at once, or refused with the reason (QF_E_REFUSED, QF_E_USAGE).
 * Only from the loop, never from inside the callbacks above. */
int drive_operator(struct drive *d, const struct operator_command *c, struct qf_err *err);

#endif

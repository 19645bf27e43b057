/* Who owns the guest: one table from what is known of both sides.
 *
 * This file alone knows where the line of no return is, and which of the commands that can start
 * or end a copy of the guest may be sent: every cont, quit, migrate_cancel, yank,
 * migrate-continue, migrate-start-postcopy, migrate, migrate-pause and migrate-recover goes
 * through it (mig_act).
 *
 * The table stands in owner.c. Facts are what QEMU said of itself (query-status, query-migrate);
 * a side that does not answer is SILENT, which is not DEAD: dead means that the kernel says that
 * no process listens on its monitor any more.
 *
 * The law behind it, with the experiments: README.md. Pure, no state. */
#ifndef QF_ENGINE_OWNER_H
#define QF_ENGINE_OWNER_H

#include <stdbool.h>

#include "qmp/qapi.h"

enum owner_reach { OWNER_ANSWERS, OWNER_SILENT, OWNER_DEAD };

struct owner_side {
    enum owner_reach reach;
    enum qapi_run_state run;     /* last known; also of a side that died */
    enum qapi_mig_status status; /* likewise */
};

struct owner_facts {
    struct owner_side src;
    struct owner_side dst;
    /* Our own connection to the destination is open, and nothing was sent through it: its QEMU says
     * `active` from the moment when it was accepted (7.2, verified). */
    bool only_connected;
    /* migrate-continue was sent, or the source was seen beyond it: before that the destination
     * cannot have the device state, so it cannot run, whatever becomes of it. */
    bool continued;
    /* migrate-start-postcopy was sent. */
    bool postcopy_asked;
    /* The destination refused cont, and has not run since. */
    bool cont_refused;
    /* cont was sent to the destination (its guest may have run), or its paused guest was accepted
     * as the outcome. */
    bool handed_over;
    /* ... it was sent while the source was stopped: by this qferry, or in a post-copy that was taken up, whose
     * destination was seen to run. */
    bool cont_sent;
    /* The source's guest was stopped before it was switched to post-copy, by this qferry or before it: a
     * migration that fails leaves it stopped (from 8.0 on; 7.2 stops any). */
    bool src_was_stopped;
    /* The source was found completed: who has its guest may be another destination, or this one may have
     * run it and died since. */
    bool done_before;
    /* The destination of a post-copy has completed, and the source has not followed for long: its
     * acknowledgement was lost. */
    bool src_left;
    /* The destination starts the guest by itself when it has it, and may have it: migrate-continue was
     * sent. */
    bool self_start;
    /* ... and its monitor was lost while it lived: it may have run unseen. */
    bool unwatched;
};

enum owner_of {
    OWNER_SRC,     /* the source's copy is the guest */
    OWNER_DST,     /* the destination's copy is the guest */
    OWNER_BETWEEN, /* nobody runs it now; QEMU is handing it over */
    OWNER_NONE,    /* no complete copy exists any more */
    OWNER_UNKNOWN  /* facts conflict or are missing: touch nothing */
};

/* What may be sent. */
enum {
    MAY_MIGRATE = 1 << 0,
    MAY_CANCEL = 1 << 1,   /* migrate_cancel on the source */
    MAY_YANK = 1 << 2,     /* yank the migration's sockets on the source */
    MAY_CONTINUE = 1 << 3, /* migrate-continue */
    MAY_POSTCOPY = 1 << 4, /* migrate-start-postcopy */
    MAY_CONT_SRC = 1 << 5,
    MAY_CONT_DST = 1 << 6,
    MAY_QUIT_SRC = 1 << 7,
    MAY_QUIT_DST = 1 << 8,
    /* Of a post-copy, all of them harmless where they come too late: QEMU refuses them then. */
    MAY_PAUSE_SRC = 1 << 9, /* migrate-pause */
    MAY_PAUSE_DST = 1 << 10,
    MAY_RECOVER = 1 << 11, /* migrate-recover on the destination */
    MAY_RESUME = 1 << 12,  /* migrate with resume on the source */
    MAY_STOP_SRC =
        1 << 13 /* stop on a source that runs again although its guest was handed over */
};

/* Where the migration stands. */
enum owner_stage {
    STAGE_IDLE,      /* no migration: before it, or after it was undone */
    STAGE_COPYING,   /* precopy */
    STAGE_AT_SWITCH, /* the source waits in pre-switchover */
    STAGE_SWITCHING, /* device state is on its way */
    STAGE_LOADED,    /* the destination holds everything and waits for cont */
    STAGE_POSTCOPY,  /* memory is split */
    STAGE_BROKEN,    /* post-copy, interrupted: to be recovered, never to be undone */
    STAGE_MOVED,     /* the destination is the guest */
    STAGE_UNWINDING, /* the source is taking its guest back */
    STAGE_STOPPED,   /* undone, but the source does not run by itself */
    STAGE_LOST,      /* no copy that could run */
    STAGE_CONFLICT
};

struct owner_view {
    enum owner_of owner;
    enum owner_stage stage;
    unsigned may;
    const char *why; /* one sentence; static */
    unsigned row;    /* of the table, from 0 */
};

void owner_of(const struct owner_facts *f, struct owner_view *v);

/* How many rows the table has, and the sentence of one of them (static; row < owner_rows()): for a program
 * that shows, or proves, all of it. Two rows may say the same. */
unsigned owner_rows(void);
const char *owner_row_why(unsigned row);

#endif

#include "engine/owner.h"

#include <stddef.h>

/* Each side's facts fall into one class; the table is over pairs of classes. */

enum src_class {
    S_FREE = 1 << 0,      /* no migration; the guest is here, running or stopped */
    S_COPYING = 1 << 1,   /* setup, wait-unplug, active */
    S_AT_SWITCH = 1 << 2, /* pre-switchover */
    S_DEVICE = 1 << 3,    /* device */
    S_PC_DEVICE =
        1 << 4,      /* postcopy-device (10.2 on): a failure still gives the guest back */
    S_DONE = 1 << 5, /* completed, guest stopped for good */
    S_POSTCOPY = 1 << 6,  /* postcopy-active */
    S_BROKEN = 1 << 7,    /* postcopy-paused, postcopy-recover... */
    S_UNWINDING = 1 << 8, /* cancelling, failing; or ended and still finish-migrate */
    S_STOPPED = 1 << 9,   /* cancelled or failed, guest left in postmigrate */
    S_SILENT = 1 << 10,
    S_DEAD = 1 << 11, /* died before its part was done */
    S_DEAD_DONE =
        1 << 12, /* died when its part was done, or nearly: last seen device, completed */
    S_DEAD_PC = 1 << 13, /* died in post-copy */
    S_STRANGE = 1 << 14,
    S_HANGS = 1 << 15,     /* silent; last seen on its way to the switch, or in it */
    S_SILENT_PC = 1 << 16, /* silent; last seen in post-copy */
    /* pre-switchover and device, towards a destination that starts by itself */
    S_SELF_AT_SWITCH = 1 << 17,
    S_SELF_DEVICE = 1 << 18,
    S_SELF_PC_DEVICE = 1 << 19,
    S_FOUND_DONE = 1 << 20, /* S_DONE already when the move was taken up */
    S_RISEN =
        1 << 21, /* failed, and runs again although this qferry has handed its guest over */
    S_OLD = 1 << 22 /* ... and was stopped before: it stays so */
};

enum dst_class {
    D_WAITING = 1 << 0,    /* inmigrate, nothing received */
    D_LOADING = 1 << 1,    /* inmigrate, or loaded and not yet completed */
    D_FAILED = 1 << 2,     /* inmigrate and failed: will never run */
    D_LOADED = 1 << 3,     /* completed, stopped, never run by us */
    D_PC_LOADING = 1 << 4, /* post-copy, device state not yet loaded */
    D_PC_READY = 1 << 5,   /* post-copy, stopped, never run by us */
    D_PC_RUNS = 1 << 6,    /* post-copy, running or handed over */
    D_PC_BROKEN = 1 << 7,
    D_RUNS = 1 << 8, /* completed; running, or stopped after it was handed over */
    D_SILENT = 1 << 9,
    D_DEAD = 1 << 10,
    D_DEAD_RAN = 1 << 11,     /* died after it was handed over */
    D_REFUSED = 1 << 12,      /* completed, stopped, and refused to be continued */
    D_OTHER = 1 << 13,        /* not an incoming QEMU */
    D_SILENT_EARLY = 1 << 14, /* silent, but cannot have the device state */
    D_SILENT_RAN = 1 << 15,   /* silent after it was handed over */
    D_PC_HALTED = 1 << 16,    /* post-copy, interrupted; loaded, stopped, never run by us */
    D_RUNS_EARLY = 1 << 17,   /* runs, and has not said that it has everything */
    D_DEAD_UNSEEN = 1 << 18   /* died unseen, and may have started by itself before */
};

#define S_ANY 0x7fffffU
#define D_ANY 0x7ffffU
/* It cannot run the guest, now or later, whatever anybody sends to it: */
#define D_HARMLESS (D_FAILED | D_DEAD | D_SILENT_EARLY)
/* It has said itself that it does not run, and will not by itself: */
#define D_STOPPED (D_FAILED | D_DEAD | D_LOADED | D_REFUSED)

struct row {
    unsigned src;
    unsigned dst;
    enum owner_of owner;
    enum owner_stage stage;
    unsigned may;
    const char *why;
};

/* clang-format off */
/* The first row that matches counts. The proof of each row, against real QEMUs: tests/facts/owner_rows*.c. */
static const struct row table[] = {
/*  source                  destination              owner          stage            may be sent */

/* From 10.0 on, where the last word of a post-copy is lost and the connection breaks then (tests/facts): cont
 * was sent to the destination while the source was stopped, so what the source runs is old. */
{S_RISEN,                   D_ANY,                   OWNER_UNKNOWN, STAGE_CONFLICT,  MAY_STOP_SRC,
 "the source runs again, although the guest was handed over to the destination"},

/* ... which is why its guest is stopped before the switch to post-copy. It fails all the same, and has sent
 * everything: whether that has arrived is the destination's word. */
{S_OLD,                     D_RUNS,                  OWNER_DST,     STAGE_MOVED,     MAY_QUIT_SRC | MAY_CONT_DST,
 "the destination has the guest; the source was not told, and stands still"},
{S_OLD,                     D_PC_RUNS,               OWNER_DST,     STAGE_POSTCOPY,  MAY_CONT_DST,
 "the source has sent all memory, and failed at the last word; the destination takes the rest in"},
{S_OLD,                     D_PC_BROKEN,             OWNER_NONE,    STAGE_LOST,      0,
 "the source has failed at the last word, and the destination has not got all memory: it is lost when it needs the rest; the source holds it, stopped, as it was at the switch"},

/* Two that may run at once: touch nothing. */
{S_FREE | S_STOPPED | S_COPYING | S_AT_SWITCH | S_UNWINDING | S_OLD,
                            D_RUNS | D_RUNS_EARLY | D_PC_RUNS | D_DEAD_RAN | D_SILENT_RAN,
                                                     OWNER_UNKNOWN, STAGE_CONFLICT,  0,
 "the destination runs or ran the guest and the source has it too"},

{S_FREE | S_STOPPED | S_UNWINDING | S_DONE | S_FOUND_DONE,
                            D_DEAD_UNSEEN,           OWNER_UNKNOWN, STAGE_CONFLICT,  0,
 "the destination died unseen and may have run the guest before; the source holds it as it was at the switch"},

/* No migration, or one that was undone. A stopped source may only be continued when the
 * destination can never run: so it is quit first. */
{S_FREE,                    D_WAITING,               OWNER_SRC,     STAGE_IDLE,
 MAY_MIGRATE | MAY_CONT_SRC | MAY_QUIT_DST,
 "the guest is on the source, the destination waits"},
{S_FREE,                    D_HARMLESS,              OWNER_SRC,     STAGE_IDLE,      MAY_CONT_SRC | MAY_QUIT_DST,
 "the guest is on the source, the destination can never run it"},
{S_FREE,                    D_LOADING | D_LOADED | D_REFUSED | D_PC_LOADING | D_PC_READY |
                            D_PC_HALTED,
                                                     OWNER_SRC,     STAGE_IDLE,      MAY_QUIT_DST,
 "the guest is on the source, the destination holds a stopped copy that nobody may continue"},
{S_FREE,                    D_SILENT | D_OTHER,
                                                     OWNER_SRC,     STAGE_IDLE,      0,
 "the guest is on the source"},
{S_STOPPED,                 D_HARMLESS | D_WAITING,  OWNER_SRC,     STAGE_STOPPED,   MAY_CONT_SRC | MAY_QUIT_DST,
 "the source has the guest back but left it stopped"},
{S_STOPPED,                 D_LOADING | D_LOADED | D_REFUSED | D_PC_LOADING | D_PC_READY |
                            D_PC_HALTED,
                                                     OWNER_SRC,     STAGE_STOPPED,   MAY_QUIT_DST,
 "the source has the guest back but left it stopped; the destination must be gone first"},
{S_UNWINDING,               D_ANY,                   OWNER_SRC,     STAGE_UNWINDING, MAY_YANK,
 "the source is taking its guest back"},

/* Precopy: the source is the guest whatever becomes of the destination. Stopped, it may be continued: one that
 * reaches the switch meanwhile waits there, and QEMU refuses. */
{S_COPYING,                 D_WAITING | D_LOADING,   OWNER_SRC,     STAGE_COPYING,
 MAY_CANCEL | MAY_YANK | MAY_POSTCOPY | MAY_CONT_SRC,
 "memory is being copied, the guest is on the source"},
{S_COPYING,                 D_HARMLESS | D_SILENT,   OWNER_SRC,     STAGE_COPYING,   MAY_CANCEL | MAY_YANK,
 "the source copies, the destination does not take it"},
{S_AT_SWITCH,               D_LOADING,               OWNER_SRC,     STAGE_AT_SWITCH, MAY_CANCEL | MAY_YANK | MAY_CONTINUE,
 "the guest is stopped on the source, which waits for migrate-continue"},
{S_AT_SWITCH,               D_HARMLESS | D_SILENT | D_WAITING,
                                                     OWNER_SRC,     STAGE_AT_SWITCH, MAY_CANCEL | MAY_YANK,
 "the guest is stopped on the source, the destination is not there to take it"},

/* The switch. With a destination that does not start by itself the source may still get the
 * guest back: by cancel, by yank, or by its own failure. */
{S_DEVICE,                  D_LOADING | D_LOADED | D_FAILED | D_DEAD | D_SILENT | D_SILENT_EARLY | D_WAITING,
                                                     OWNER_BETWEEN, STAGE_SWITCHING, MAY_CANCEL | MAY_YANK,
 "device state is on its way, nobody runs"},
{S_DEVICE,                  D_PC_LOADING | D_PC_READY | D_PC_HALTED,
                                                     OWNER_BETWEEN, STAGE_SWITCHING, 0,
 "post-copy is beginning, nobody runs"},
{S_PC_DEVICE,               D_SILENT | D_SILENT_EARLY,
                                                     OWNER_BETWEEN, STAGE_SWITCHING, 0,
 "post-copy is beginning, nobody runs; the destination does not answer"},
/* Nobody is continued before the source believes in it, so its guest may be taken back; a yank that comes too
 * late is an interruption and no more. */
{S_PC_DEVICE,               D_PC_LOADING | D_PC_READY | D_PC_HALTED | D_LOADING | D_LOADED | D_FAILED | D_DEAD,
                                                     OWNER_BETWEEN, STAGE_SWITCHING, MAY_YANK,
 "post-copy is beginning, the source waits for the destination's word, nobody runs"},

/* Towards a destination that starts by itself: also where its last word, or the source's, was lost,
 * both must not run. So the source is left alone (below, owner_of), and decides. */
{S_SELF_AT_SWITCH,          D_LOADING | D_WAITING,   OWNER_BETWEEN, STAGE_SWITCHING, MAY_CONTINUE,
 "the source was told to go on, the destination will start by itself"},
{S_SELF_AT_SWITCH | S_SELF_DEVICE,
                            D_STOPPED,               OWNER_BETWEEN, STAGE_SWITCHING, MAY_CANCEL | MAY_YANK,
 "device state was on its way, the destination does not run"},
{S_SELF_AT_SWITCH | S_SELF_DEVICE | S_SELF_PC_DEVICE,
                            D_ANY,                   OWNER_BETWEEN, STAGE_SWITCHING, 0,
 "the destination starts the guest by itself, the source is about to be told"},

/* Completed. */
{S_DONE | S_FOUND_DONE | S_DEAD_DONE | S_DEAD_PC,
                            D_LOADED,                OWNER_DST,     STAGE_LOADED,    MAY_CONT_DST,
 "the destination holds the whole guest and waits to be continued"},
{S_DONE | S_FOUND_DONE | S_DEAD_DONE,
                            D_LOADING,               OWNER_BETWEEN, STAGE_SWITCHING, 0,
 "the source is done, the destination is loading"},
{S_DONE,                    D_FAILED | D_DEAD,       OWNER_SRC,     STAGE_STOPPED,   MAY_CONT_SRC | MAY_QUIT_DST,
 "the destination can never run, the source still holds the whole guest"},
{S_DONE,                    D_REFUSED,               OWNER_SRC,     STAGE_STOPPED,   MAY_QUIT_DST,
 "the destination cannot run the guest, the source still holds the whole of it"},
{S_DONE | S_FOUND_DONE | S_DEAD | S_DEAD_DONE | S_DEAD_PC,
                            D_RUNS | D_RUNS_EARLY,
                                                     OWNER_DST,     STAGE_MOVED,     MAY_QUIT_SRC | MAY_CONT_DST,
 "the destination has the guest"},
{S_FOUND_DONE,              D_DEAD | D_FAILED | D_REFUSED,
                                                     OWNER_UNKNOWN, STAGE_CONFLICT,  0,
 "the source was found done: its guest went to another destination, or ran on this one before; what the source holds is old"},
{S_DONE | S_FOUND_DONE,     D_DEAD_RAN,              OWNER_NONE,    STAGE_LOST,      0,
 "the destination died after it had taken over"},

/* Post-copy: the guest's memory is split, no way back. An interrupted source never runs again, so
 * the destination is continued also while the connection is broken. (From 10.0 on one runs that had sent
 * everything, and waited for the last word alone: it says failed, not interrupted; S_RISEN.) migrate-pause
 * only breaks the connection, migrate-recover and resume make another one (3.5); that the destination does
 * not answer is usual then, since its main loop waits for a page: out of band it does. */
#define BREAK (MAY_PAUSE_SRC | MAY_PAUSE_DST)
#define MEND  (BREAK | MAY_RECOVER | MAY_RESUME)

{S_POSTCOPY,                D_PC_READY,              OWNER_DST,     STAGE_POSTCOPY,  MAY_CONT_DST | BREAK,
 "the destination has the device state and waits to be continued"},
{S_POSTCOPY,                D_PC_RUNS | D_RUNS_EARLY,
                                                     OWNER_DST,     STAGE_POSTCOPY,  MAY_CONT_DST | BREAK,
 "memory is split between both sides, the guest was handed over"},
{S_POSTCOPY,                D_RUNS,                  OWNER_DST,     STAGE_POSTCOPY,  MAY_CONT_DST,
 "the destination has all memory, the source is about to be told"},
/* In the connection and nowhere else: who breaks it then loses the guest (no source before 10.2 takes it back). */
{S_POSTCOPY,                D_LOADING,               OWNER_DST,     STAGE_POSTCOPY,  0,
 "the device state is on its way to the destination"},
{S_POSTCOPY,                D_PC_LOADING | D_SILENT | D_SILENT_RAN,
                                                     OWNER_DST,     STAGE_POSTCOPY,  BREAK,
 "memory is split between both sides"},
{S_POSTCOPY,                D_LOADED,                OWNER_DST,     STAGE_POSTCOPY,  0,
 "the destination has all memory, the source is about to be told"},
{S_DONE | S_FOUND_DONE,     D_PC_READY,              OWNER_DST,     STAGE_POSTCOPY,  MAY_CONT_DST,
 "all memory was sent, the destination waits to be continued"},
{S_DONE | S_FOUND_DONE,     D_PC_RUNS,               OWNER_DST,     STAGE_POSTCOPY,  MAY_CONT_DST,
 "all memory was sent, the guest was handed over"},
{S_DONE | S_FOUND_DONE,     D_PC_LOADING,            OWNER_DST,     STAGE_POSTCOPY,  0,
 "all memory was sent, the destination takes the last of it in"},
{S_POSTCOPY | S_BROKEN,     D_DEAD | D_DEAD_RAN | D_DEAD_UNSEEN | D_FAILED,
                                                     OWNER_NONE,    STAGE_LOST,      0,
 "the destination died with a part of the guest's memory: the guest is lost"},
{S_BROKEN,                  D_LOADED,                OWNER_DST,     STAGE_LOADED,    MAY_CONT_DST,
 "the destination holds the whole guest and waits to be continued; the source was not told"},
{S_BROKEN,                  D_RUNS,                  OWNER_DST,     STAGE_MOVED,     MAY_QUIT_SRC | MAY_CONT_DST,
 "the destination has the guest; the source was not told"},
{S_BROKEN,                  D_PC_HALTED | D_PC_READY, OWNER_DST,    STAGE_BROKEN,    MEND | MAY_YANK | MAY_CONT_DST,
 "post-copy is interrupted, the destination waits to be continued"},
{S_BROKEN,                  D_PC_BROKEN | D_PC_RUNS | D_PC_LOADING | D_LOADING | D_RUNS_EARLY |
                            D_SILENT | D_SILENT_RAN | D_SILENT_EARLY,
                                                     OWNER_DST,     STAGE_BROKEN,    MEND | MAY_YANK,
 "post-copy is interrupted: both sides are needed to go on"},
{S_BROKEN,                  D_ANY,                   OWNER_UNKNOWN, STAGE_CONFLICT,  0,
 "post-copy is interrupted, and this destination has no part of the guest's memory"},
{S_POSTCOPY,                D_PC_HALTED,             OWNER_DST,     STAGE_BROKEN,    BREAK | MAY_RECOVER | MAY_CONT_DST,
 "post-copy is interrupted, the destination waits to be continued"},
{S_POSTCOPY,                D_PC_BROKEN,             OWNER_DST,     STAGE_BROKEN,    BREAK | MAY_RECOVER,
 "post-copy is interrupted: both sides are needed to go on"},
{S_SILENT_PC,               D_PC_LOADING | D_PC_READY | D_PC_RUNS | D_PC_BROKEN | D_PC_HALTED |
                            D_SILENT | D_SILENT_RAN,
                                                     OWNER_DST,     STAGE_BROKEN,    0,
 "post-copy: the source does not answer, and both sides are needed to go on"},
{S_SILENT_PC,               D_LOADED,                OWNER_DST,     STAGE_LOADED,    MAY_CONT_DST,
 "the destination holds the whole guest and waits to be continued; the source does not answer"},
{S_SILENT_PC,               D_RUNS,                  OWNER_DST,     STAGE_MOVED,     MAY_CONT_DST,
 "the destination has the guest; the source does not answer"},
{S_DEAD_PC,                 D_ANY,                   OWNER_NONE,    STAGE_LOST,      0,
 "the source died with a part of the guest's memory: the guest is lost"},

/* A source that died before its part was done. */
{S_DEAD,                    D_WAITING | D_LOADING | D_FAILED | D_DEAD,
                                                     OWNER_NONE,    STAGE_LOST,      MAY_QUIT_DST,
 "the source died before the destination had the whole guest"},
{S_DEAD,                    D_OTHER,                 OWNER_NONE,    STAGE_LOST,      0,
 "the source died, and this destination is none that waited for its guest"},
{S_DEAD_DONE,               D_FAILED | D_DEAD | D_DEAD_RAN | D_DEAD_UNSEEN,
                                                     OWNER_NONE,    STAGE_LOST,      0,
 "both sides are gone"},

/* The source's main loop may hang in a write to a silent network. Out of band, yank still reaches
 * it: it fails and takes its guest back. Harmless where the destination does not run; and once
 * the source has completed, QEMU has nothing to yank. */
{S_HANGS,                   D_WAITING | D_LOADING | D_FAILED | D_LOADED | D_DEAD | D_SILENT | D_SILENT_EARLY,
                                                     OWNER_UNKNOWN, STAGE_CONFLICT,  MAY_YANK,
 "the source does not answer"},

{S_ANY,                     D_ANY,                   OWNER_UNKNOWN, STAGE_CONFLICT,  0,
 "what is known of the two sides does not fit together"},
};
#undef BREAK
#undef MEND
/* clang-format on */

static bool is_stopped_for_good(enum qapi_run_state run)
{
    return run == QAPI_RUN_POSTMIGRATE || run == QAPI_RUN_FINISH_MIGRATE;
}

static enum src_class class_of_dead_src(enum qapi_mig_status last)
{
    switch (last) {
    case QAPI_MIG_DEVICE:
    case QAPI_MIG_COMPLETED:
        return S_DEAD_DONE;
    case QAPI_MIG_POSTCOPY_DEVICE:
    case QAPI_MIG_POSTCOPY_ACTIVE:
    case QAPI_MIG_POSTCOPY_PAUSED:
    case QAPI_MIG_POSTCOPY_RECOVER_SETUP:
    case QAPI_MIG_POSTCOPY_RECOVER:
        return S_DEAD_PC;
    case QAPI_MIG_UNKNOWN:
    case QAPI_MIG_NONE:
    case QAPI_MIG_SETUP:
    case QAPI_MIG_WAIT_UNPLUG:
    case QAPI_MIG_ACTIVE:
    case QAPI_MIG_PRE_SWITCHOVER:
    case QAPI_MIG_CANCELLING:
    case QAPI_MIG_CANCELLED:
    case QAPI_MIG_FAILING:
    case QAPI_MIG_FAILED:
    case QAPI_MIG_COLO:
        break;
    }
    return S_DEAD;
}

static enum src_class class_of_silent_src(enum qapi_mig_status last)
{
    switch (last) {
    case QAPI_MIG_SETUP:
    case QAPI_MIG_WAIT_UNPLUG:
    case QAPI_MIG_ACTIVE:
    case QAPI_MIG_PRE_SWITCHOVER:
    case QAPI_MIG_DEVICE:
    case QAPI_MIG_CANCELLING:
        return S_HANGS;
    case QAPI_MIG_POSTCOPY_ACTIVE:
    case QAPI_MIG_POSTCOPY_PAUSED:
    case QAPI_MIG_POSTCOPY_RECOVER_SETUP:
    case QAPI_MIG_POSTCOPY_RECOVER:
        return S_SILENT_PC;
    case QAPI_MIG_POSTCOPY_DEVICE:
    case QAPI_MIG_COMPLETED:
    case QAPI_MIG_UNKNOWN:
    case QAPI_MIG_NONE:
    case QAPI_MIG_CANCELLED:
    case QAPI_MIG_FAILING:
    case QAPI_MIG_FAILED:
    case QAPI_MIG_COLO:
        break;
    }
    return S_SILENT;
}

/* 11.1 runs it while it says failing still. */
static bool has_risen(const struct owner_facts *f)
{
    return f->cont_sent &&
           (f->src.run == QAPI_RUN_RUNNING || f->src.run == QAPI_RUN_SUSPENDED);
}

static bool is_old(const struct owner_facts *f)
{
    return f->src_was_stopped && f->handed_over && !is_stopped_for_good(f->src.run);
}

/* One that runs was continued by somebody else. */
static enum src_class class_of_old_src(const struct owner_facts *f)
{
    return f->src.run == QAPI_RUN_RUNNING || f->src.run == QAPI_RUN_SUSPENDED ? S_STRANGE
                                                                              : S_OLD;
}

static enum src_class class_of_src(const struct owner_facts *f)
{
    const struct owner_side *s = &f->src;
    if (s->reach == OWNER_DEAD)
        return class_of_dead_src(s->status);
    if (s->reach == OWNER_SILENT)
        return class_of_silent_src(s->status);
    if (s->run == QAPI_RUN_INMIGRATE || s->run == QAPI_RUN_UNKNOWN)
        return S_STRANGE;
    switch (s->status) {
    case QAPI_MIG_NONE:
        return S_FREE;
    case QAPI_MIG_SETUP:
    case QAPI_MIG_WAIT_UNPLUG:
    case QAPI_MIG_ACTIVE:
        return S_COPYING;
    case QAPI_MIG_PRE_SWITCHOVER:
        return f->self_start ? S_SELF_AT_SWITCH : S_AT_SWITCH;
    case QAPI_MIG_DEVICE:
        return f->self_start ? S_SELF_DEVICE : S_DEVICE;
    case QAPI_MIG_POSTCOPY_DEVICE:
        return f->self_start ? S_SELF_PC_DEVICE : S_PC_DEVICE;
    case QAPI_MIG_COMPLETED:
        /* Completed and running: an earlier migration, its guest long continued, or the way in
         * which this guest once came here. */
        if (!is_stopped_for_good(s->run))
            return S_FREE;
        return f->done_before ? S_FOUND_DONE : S_DONE;
    case QAPI_MIG_POSTCOPY_ACTIVE:
        return S_POSTCOPY;
    case QAPI_MIG_POSTCOPY_PAUSED:
    case QAPI_MIG_POSTCOPY_RECOVER_SETUP:
    case QAPI_MIG_POSTCOPY_RECOVER:
        return S_BROKEN;
    case QAPI_MIG_CANCELLING:
    case QAPI_MIG_FAILING:
        return has_risen(f) ? S_RISEN : is_old(f) ? class_of_old_src(f) : S_UNWINDING;
    case QAPI_MIG_CANCELLED:
    case QAPI_MIG_FAILED:
        if (has_risen(f))
            return S_RISEN;
        if (is_old(f))
            return class_of_old_src(f);
        if (s->run == QAPI_RUN_FINISH_MIGRATE)
            return S_UNWINDING;
        return s->run == QAPI_RUN_POSTMIGRATE ? S_STOPPED : S_FREE;
    case QAPI_MIG_COLO:
    case QAPI_MIG_UNKNOWN:
        break;
    }
    return S_STRANGE;
}

static enum dst_class class_of_incoming(enum qapi_mig_status status)
{
    switch (status) {
    case QAPI_MIG_NONE:
    case QAPI_MIG_SETUP:
        return D_WAITING;
    case QAPI_MIG_ACTIVE:
    case QAPI_MIG_COMPLETED:
        return D_LOADING;
    case QAPI_MIG_FAILED:
    case QAPI_MIG_FAILING:
        return D_FAILED;
    case QAPI_MIG_POSTCOPY_DEVICE:
    case QAPI_MIG_POSTCOPY_ACTIVE:
        return D_PC_LOADING;
    case QAPI_MIG_POSTCOPY_PAUSED:
    case QAPI_MIG_POSTCOPY_RECOVER_SETUP:
    case QAPI_MIG_POSTCOPY_RECOVER:
        return D_PC_BROKEN;
    case QAPI_MIG_WAIT_UNPLUG:
    case QAPI_MIG_PRE_SWITCHOVER:
    case QAPI_MIG_DEVICE:
    case QAPI_MIG_CANCELLING:
    case QAPI_MIG_CANCELLED:
    case QAPI_MIG_COLO:
    case QAPI_MIG_UNKNOWN:
        break;
    }
    return D_OTHER;
}

static enum dst_class class_of_loaded(enum qapi_mig_status status, bool runs)
{
    switch (status) {
    case QAPI_MIG_COMPLETED:
        return runs ? D_RUNS : D_LOADED;
    case QAPI_MIG_ACTIVE:
        return runs ? D_RUNS_EARLY : D_LOADING;
    case QAPI_MIG_POSTCOPY_DEVICE:
    case QAPI_MIG_POSTCOPY_ACTIVE:
        return runs ? D_PC_RUNS : D_PC_READY;
    case QAPI_MIG_POSTCOPY_PAUSED:
    case QAPI_MIG_POSTCOPY_RECOVER_SETUP:
    case QAPI_MIG_POSTCOPY_RECOVER:
        return runs ? D_PC_BROKEN : D_PC_HALTED;
    case QAPI_MIG_NONE:
    case QAPI_MIG_SETUP:
    case QAPI_MIG_WAIT_UNPLUG:
    case QAPI_MIG_PRE_SWITCHOVER:
    case QAPI_MIG_DEVICE:
    case QAPI_MIG_CANCELLING:
    case QAPI_MIG_CANCELLED:
    case QAPI_MIG_FAILING:
    case QAPI_MIG_FAILED:
    case QAPI_MIG_COLO:
    case QAPI_MIG_UNKNOWN:
        break;
    }
    return D_OTHER;
}

static enum dst_class class_of_dst(const struct owner_facts *f)
{
    const struct owner_side *d = &f->dst;
    if (d->reach == OWNER_DEAD)
        return f->handed_over ? D_DEAD_RAN
               : f->self_start && f->unwatched && d->status != QAPI_MIG_FAILED
                   ? D_DEAD_UNSEEN
                   : D_DEAD;
    if (d->reach == OWNER_SILENT || d->run == QAPI_RUN_UNKNOWN)
        return f->handed_over || f->self_start ? D_SILENT_RAN
               : f->continued                  ? D_SILENT
                                               : D_SILENT_EARLY;
    if (d->run == QAPI_RUN_INMIGRATE && d->status == QAPI_MIG_ACTIVE && f->only_connected)
        return D_WAITING;
    if (d->run == QAPI_RUN_INMIGRATE)
        return class_of_incoming(d->status);
    const enum dst_class c =
        class_of_loaded(d->status, f->handed_over || d->run == QAPI_RUN_RUNNING);
    return c == D_LOADED && f->cont_refused ? D_REFUSED : c;
}

void owner_of(const struct owner_facts *f, struct owner_view *v)
{
    unsigned src = class_of_src(f);
    const unsigned dst = class_of_dst(f);
    const struct row *r = table;
    if (f->src_left && src == S_POSTCOPY && (dst == D_RUNS || dst == D_LOADED))
        src = S_BROKEN;
    while (!(r->src & src) || !(r->dst & dst)) /* the last row matches everything */
        r++;
    *v = (struct owner_view){.owner = r->owner,
                             .stage = r->stage,
                             .may = r->may,
                             .why = r->why,
                             .row = (unsigned)(r - table)};
    /* Whatever the row: nothing may give the source its guest back while the destination may start. */
    if (f->self_start && !(dst & D_STOPPED))
        v->may &= ~(unsigned)(MAY_CANCEL | MAY_YANK | MAY_CONT_SRC);
    /* A source that copies is past that, if its destination has loaded, or it stands at the switch. */
    if (src == S_COPYING &&
        (f->dst.run != QAPI_RUN_INMIGRATE || is_stopped_for_good(f->src.run)))
        v->may &= ~(unsigned)MAY_CONT_SRC;
    /* A cancel that crosses the switch to post-copy destroys the guest (7.2; fact sheet 3.7). A source
     * that still waits in pre-switchover does not cross it. */
    if (f->postcopy_asked && (src != S_AT_SWITCH || f->continued))
        v->may &= ~(unsigned)MAY_CANCEL;
}

unsigned owner_rows(void)
{
    return sizeof(table) / sizeof(table[0]);
}

const char *owner_row_why(unsigned row)
{
    return table[row].why;
}

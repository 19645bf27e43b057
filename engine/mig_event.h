/* What comes into the migration machine. Everything in an event is lent for the call. */
#ifndef QF_ENGINE_MIG_EVENT_H
#define QF_ENGINE_MIG_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/err.h"
#include "qmp/qapi.h"

enum mig_side_id { MIG_SRC, MIG_DST };

enum { MIG_SIDES = 2 };

enum mig_event_kind {
    MIG_EV_BEGIN, /* once, first */
    MIG_EV_UP,    /* a link was opened and negotiated */
    MIG_EV_DOWN, /* a link was lost, or could not be opened. Never forged from anything else */
    MIG_EV_REPLY,  /* to the command `id` */
    MIG_EV_QMP,    /* an event of QEMU's: a hint, not a fact */
    MIG_EV_TIMER,  /* the time asked for in todo.wake_ns has come */
    MIG_EV_CANCEL, /* the user wants it stopped */
    MIG_EV_SYNCED, /* the journal is on the disk, or could not be put there (failed) */

    /* The machine's own, never fed from outside: */
    MIG_EV_ENTER, /* the phase was entered */
    MIG_EV_LATE   /* the command `id` is past its deadline */
};

struct mig_event {
    enum mig_event_kind kind;
    int64_t t_ns;          /* monotonic; never goes backwards */
    enum mig_side_id side; /* UP DOWN REPLY QMP LATE */
    uint64_t id;           /* REPLY LATE */
    union {
        struct {
            struct qapi_version version;
            bool is_qemu; /* the greeting names a QEMU version */
            bool oob;
        } up;
        struct {
            struct qf_err err;
            bool gone; /* the kernel says that no process listens there */
        } down;
        struct qapi_reply reply;
        struct qapi_event qmp;
        enum qapi_command late;
        bool sync_failed;
    } u;
};

#endif

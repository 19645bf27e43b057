/* What comes into the migration machine. Everything in an event is lent for the call. */
#ifndef QF_ENGINE_MIG_EVENT_H
#define QF_ENGINE_MIG_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/err.h"
#include "engine/spec.h"
#include "netsel/netsel.h"
#include "qmp/qapi.h"

enum mig_side_id { MIG_SRC, MIG_DST };

enum { MIG_SIDES = 2 };

enum mig_event_kind {
    MIG_EV_BEGIN, /* once, first */
    MIG_EV_UP,    /* a link was opened and negotiated */
    MIG_EV_DOWN, /* a link was lost, or could not be opened. Never forged from anything else */
    MIG_EV_REPLY,    /* to the command `id` */
    MIG_EV_QMP,      /* an event of QEMU's: a hint, not a fact */
    MIG_EV_TIMER,    /* the time asked for in todo.wake_ns has come */
    MIG_EV_CANCEL,   /* the user wants it stopped */
    MIG_EV_SYNCED,   /* the journal is on the disk, or could not be put there (failed) */
    MIG_EV_OPERATOR, /* somebody has a hand on the running move: mig_operator.c */
    MIG_EV_NETWORK,  /* what MIG_DO_PROBE has found out */
    MIG_EV_HOST,     /* what the kernel says of the source's QEMU, on this host */
    /* the connection of MIG_DO_STREAM is there, or is not to be had */
    MIG_EV_STREAM,
    /* the command of MIG_DO_RESTART has ended, well or not */
    MIG_EV_RESTARTED,
    MIG_EV_SECURED, /* what MIG_DO_SECURE has made ready; a second one: it has failed since */
    /* what the destination's host says of its interfaces; once at most, at any time */
    MIG_EV_RECEIVER,
    MIG_EV_RUNNING, /* which way the other moves of this host go, when that has changed */
    MIG_EV_MEMORY,  /* before BEGIN: what a qferry that was killed knew of this move */

    /* The machine's own, never fed from outside: */
    MIG_EV_ENTER, /* the phase was entered */
    MIG_EV_LATE   /* the command `id` is past its deadline */
};

/* What an operator can ask for, its name in the journal. */
#define MIG_OPERATOR_KINDS(X)                                                   \
    X(CANCEL, "cancel")                                                         \
    X(POSTCOPY, "postcopy") /* switch now */                                    \
    X(PAUSE, "pause")       /* stop the guest on the source, so that it ends */ \
    X(SET, "set")           /* change the policy */

enum mig_operator_kind {
#define MIG_OPERATOR_ENUM(id, name) MIG_OPERATOR_##id,
    MIG_OPERATOR_KINDS(MIG_OPERATOR_ENUM)
#undef MIG_OPERATOR_ENUM
};

/* The fields of a policy that can be changed while the move runs, by their names. */
#define MIG_FIELDS(X)                           \
    X(BANDWIDTH, "bandwidth")                   \
    X(POSTCOPY_BANDWIDTH, "postcopy.bandwidth") \
    X(DOWNTIME_MAX, "downtime.max")             \
    X(TIMEOUT, "timeout")                       \
    X(TIMEOUT_PER_GIB, "timeout-per-gib")       \
    X(PROGRESS_TIMEOUT, "progress-timeout")     \
    X(ON_TIMEOUT, "on-timeout")                 \
    X(FINISH_WITHIN, "finish-within")           \
    X(SLOWDOWN_MAX, "slowdown-max")             \
    X(THROTTLE_ALLOWED, "throttle.allowed")     \
    X(THROTTLE_MAX, "throttle.max")             \
    X(POSTCOPY_ALLOWED, "postcopy.allowed")     \
    X(STOP_ALLOWED, "stop.allowed")             \
    X(STOP_MAX, "stop.max")

enum mig_field {
#define MIG_FIELD_ENUM(id, name) MIG_FIELD_##id,
    MIG_FIELDS(MIG_FIELD_ENUM)
#undef MIG_FIELD_ENUM
        MIG_FIELD_COUNT
};

#define MIG_FIELD_BIT(id) (UINT32_C(1) << (unsigned)MIG_FIELD_##id)

struct policy;
struct mig_memory;

struct mig_operator {
    enum mig_operator_kind kind;
    uint32_t fields;             /* SET: the bits of those that were named */
    const struct policy *policy; /* SET: the policy as it is to be; lent */
};

/* Of the process behind a monitor on a UNIX socket. */
struct mig_process {
    bool known;
    uint64_t memory_bytes;   /* of virtual memory: less than the guest's is not its QEMU */
    uint64_t lockable_bytes; /* RLIMIT_MEMLOCK; UINT64_MAX: no limit, or none that counts */
    int64_t pid;
};

/* The way that the memory of a move goes, as far as others may go there, too. */
struct mig_use {
    char
        interface[NETSEL_INTERFACE_MAX]; /* that sends; "": not known, or nothing is sent */
    char network[NETSEL_CIDR_TEXT];      /* that it is in */
};

enum { MIG_OTHERS_MAX = 16 /* ways; more of them are left out */ };

/* The other moves that run on this host, by their way. */
struct mig_others {
    struct mig_way {
        struct mig_use use;
        unsigned moves;
    } way[MIG_OTHERS_MAX];
    unsigned n;
};

enum { MIG_LINKS_MAX = 32 /* addresses; more of them are left out */ };

/* The addresses of the destination's host, and the interfaces that have them. */
struct mig_links {
    struct mig_link_of {
        struct netsel_ip ip;
        char interface[NETSEL_INTERFACE_MAX];
        uint64_t speed_bytes_per_s; /* 0: it does not know, as of virtual ones */
    } link[MIG_LINKS_MAX];
    unsigned n;
};

enum { SECURED_ID_MAX = 40 };

/* What is ready on both hosts for the encryption of the memory. Nothing of it is secret: it goes
 * to the journal. Which of the members mean anything, spec.encrypt says. */
struct mig_secured {
    struct qf_err err; /* code QF_E_OK: it is ready; else why it is not */
    /* PSK, X509: the objects that QEMU is given, and the folder as each QEMU sees it */
    char id[SECURED_ID_MAX];
    char dir[MIG_SIDES][QAPI_DIR_MAX];
    char hostname[SPEC_TEXT_MAX]; /* X509: whose certificate it is to be */
    /* SSH: where the source goes to, and where the destination listens */
    char uri[MIG_SIDES][QAPI_URI_MAX];
    char says[SPEC_TEXT_MAX]; /* how, for people */
    char warns[QF_ERR_TEXT];  /* what could not be checked; "": nothing */
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
            /* it closed the connection, and all that it had said was heard before */
            bool heard;
        } down;
        struct qapi_reply reply;
        struct qapi_event qmp;
        enum qapi_command late;
        bool sync_failed;
        struct mig_operator op;
        const struct netsel_facts *network; /* lent */
        struct mig_process host;
        struct {
            bool failed;
            char text
                [QF_ERR_TEXT]; /* why: what the kernel said, or how it ended, with its last words */
        } outcome;             /* STREAM RESTARTED */
        const struct mig_secured *secured; /* lent */
        const struct mig_others *others;   /* RUNNING; lent */
        const struct mig_links *receiver;  /* lent */
        const struct mig_memory *memory;   /* lent */
    } u;
};

#endif

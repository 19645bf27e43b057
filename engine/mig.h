/* The migration machine: one live migration as one pure function.
 *
 *   NEW > CONNECT > PREFLIGHT > CONFIGURE > START > PRECOPY > SWITCHOVER > FINISH > DONE
 *             |         |  `> MEASURE > DONE (dry run)         `> POSTCOPY ---^
 *             v         v
 *           FAILED    FAILED          nothing was touched
 *
 *   failure or cancel before the line of no return:   ROLLBACK > FAILED
 *   post-copy interrupted:                            POSTCOPY <> RECOVER, as often as it takes
 *   link lost after START, any doubt:                 RECONCILE > the true phase, or HELD
 *   facts in conflict, or a side that stays silent:   HELD (touch nothing, a person must look)
 *   undone, since its network was lost:               ROLLBACK > AGAIN > CONNECT, over the next one
 *
 * Events carry their own time; what is to be done comes back as a list. The machine opens
 * nothing, waits for nothing and reads no clock, so many of them live in one process without
 * locks, and a journal of its events replays to the same decisions.
 *
 * Used by engine/session.c, which stands between it and JSON. Core: fixed size, no allocation. */
#ifndef QF_ENGINE_MIG_H
#define QF_ENGINE_MIG_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/mig_event.h"
#include "engine/mig_memory.h"
#include "engine/mig_todo.h"
#include "engine/owner.h"
#include "engine/spec.h"
#include "policy/policy.h"
#include "qmp/qapi.h"

enum {
    MIG_ASKS_MAX =
        48, /* unanswered commands, both sides; preflight needs 24. More is a bug */
    MIG_MEASURES = 2,
    MIG_RECOVER_PORTS = 64 /* of a longer --port range the first so many are used */
};

/* Phase, its name in the journal, its name for the world (INTERFACE). */
#define MIG_PHASES(X)                         \
    X(NEW, "new", "connect")                  \
    X(CONNECT, "connect", "connect")          \
    X(PREFLIGHT, "preflight", "preflight")    \
    X(MEASURE, "measure", "preflight")        \
    X(CONFIGURE, "configure", "prepare")      \
    X(START, "start", "prepare")              \
    X(PRECOPY, "precopy", "precopy")          \
    X(SWITCHOVER, "switchover", "switchover") \
    X(POSTCOPY, "postcopy", "postcopy")       \
    X(FINISH, "finish", "finish")             \
    X(ROLLBACK, "rollback", "cancel")         \
    X(AGAIN, "again", "cancel")               \
    X(RECOVER, "recover", "recover")          \
    X(RECONCILE, "reconcile", "recover")      \
    X(DONE, "done", "done")                   \
    X(FAILED, "failed", "done")               \
    X(HELD, "held", "done")

enum mig_phase {
#define MIG_PHASE_ENUM(id, name, public) MIG_##id,
    MIG_PHASES(MIG_PHASE_ENUM)
#undef MIG_PHASE_ENUM
};

enum mig_link { MIG_LINK_CLOSED, MIG_LINK_OPENING, MIG_LINK_UP, MIG_LINK_DOWN };

/* What is known of one side. */
struct mig_side {
    enum mig_link link;
    bool gone;   /* the kernel says that nobody listens on its monitor any more */
    bool silent; /* did not answer, or could not be reached again, in time */
    bool oob;
    bool is_qemu;
    struct qapi_version version;
    char down_text[QF_ERR_TEXT]; /* why the link is down */

    /* Facts, by query; events change them as hints, and a hint makes them stale. */
    enum qapi_run_state run;
    struct qapi_migrate migrate;
    /* the last command sent before an event told the status: its answer, and those before
     * it, may be older than the event */
    uint64_t status_told_id;
    uint64_t run_told_id; /* likewise of RESUME */
    unsigned looking;     /* queries of the current look that are unanswered */
    bool look_refused;    /* ... one was refused: what it would have told is not known */
    bool hinted;          /* an event told of a change since the look was begun */
    bool fresh; /* the last look was answered, and nothing has hinted at a change since */
    bool has_last_ram;
    struct qapi_migrate last_ram; /* the last migration status that had counters */

    /* Preflight. */
    char target[QAPI_NAME_MAX];
    char machine[QAPI_NAME_MAX];
    char cpu_type[QAPI_NAME_MAX];
    char uuid[QAPI_NAME_MAX];
    char cpu_path[QAPI_NAME_MAX];
    uint32_t cpus;
    uint64_t memory_bytes;
    struct qapi_pci pci;

    /* Configure: as found, and what was changed. */
    struct qapi_caps caps_found;
    uint64_t caps_changed; /* bits that qferry turned */
    struct qapi_params params_found;
    uint32_t params_changed;
    uint32_t texts_changed; /* likewise, QAPI_TEXT_PARAM_... */
    /* of both, what a killed qferry has left changed: `found` is as that one found it */
    uint64_t caps_left;
    uint32_t params_left;
    /* as qferry set it last, for good: not what holds now, of which struct mig_settings knows */
    uint64_t param_set[QAPI_PARAM_COUNT];
    char creds_id[QAPI_TEXT_MAX]; /* credentials that are to be removed in the end ... */
    char
        creds_left[QAPI_TEXT_MAX]; /* ... and those that an earlier qferry has left there */

    int64_t heard_ns;   /* its last in-band answer: its main loop lived then */
    bool shutdown_seen; /* SHUTDOWN: this QEMU is about to exit */
    bool shutdown_by_guest;
    char shutdown_reason[QAPI_NAME_MAX];
    char unplugged[QAPI_NAME_MAX]; /* DEVICE_DELETED: the last one; "": none */
    int64_t stop_t_ns;             /* last STOP; 0 after a RESUME */
    int64_t resume_t_ns;           /* last RESUME; 0 = none */
};

/* A command that was sent and not answered yet. */
struct mig_ask {
    uint64_t id; /* 0: free */
    enum mig_side_id side;
    enum qapi_command command;
    int64_t deadline_ns;
    bool late; /* the deadline has passed and was dealt with */
    bool look; /* part of a look */
    int row;   /* of the running recipe; -1: none */
};

/* A post-copy that is interrupted, or may be: phase_postcopy.c notices, phase_recover.c mends. */
struct mig_recover {
    bool dst_heard;    /* REACH: the destination has answered out of band */
    bool stalled;      /* nothing moves, and nobody but qferry has noticed */
    bool waits;        /* ... and the destination has not got the device state */
    int64_t since_ns;  /* when the interruption was noticed */
    int64_t mended_ns; /* when it went on again last; 0: never */
    enum qapi_mig_status was[MIG_SIDES]; /* their status at the last event ... */
    int64_t paused_ns;                   /* ... and when one became postcopy-paused last */
    bool told;                           /* that it is interrupted */
    bool src_paused;     /* the source was seen paused: postcopy-active is a success then */
    unsigned attempt;    /* since the interruption */
    unsigned failed;     /* attempts over the same network in a row */
    unsigned refused;    /* migrate-recover, in a row */
    uint32_t backoff_ms; /* the wait after the next failure */
    int64_t next_ns;     /* WAIT: the end of it */
    bool src_asked;      /* BREAK: migrate-pause was sent to ... */
    bool dst_asked;      /* ... and to the destination ... */
    bool dst_broke;      /* ... which did it: its own event tells when */
    bool dst_unsure;     /* it refused to listen: is it paused at all? */
    bool seen_connecting; /* RESUME: the source has left postcopy-paused */
    bool connecting;   /* ... has not, and nobody can tell what becomes of its connect() */
    bool yanked;       /* ... and hung there */
    bool fragile;      /* ... and the destination must not lose the connection there */
    bool cont_refused; /* the destination does not take cont while it is interrupted */
    uint16_t port;     /* of the attempt */
    int64_t port_ns[MIG_RECOVER_PORTS]; /* a connection to it may come until then */
    int64_t network_ns;                 /* when it came last; 0: not since the start */
    struct netsel_choice network;       /* what was chosen then */
    unsigned dead; /* so many times in a row the present network was dead, another usable */
    int64_t dead_ns;  /* when it was the first time */
    unsigned cancels; /* signals that were refused in post-copy */
    int64_t
        complete_ns; /* the destination said completed, and the source does not follow */
};

/* Nothing moves, or hardly anything: why. In mig_stall.c. */
enum mig_stall_kind {
    STALL_NONE,
    STALL_LOOP,  /* a main loop is stalled: out of band it answers */
    STALL_DEAF,  /* a QEMU answers in no way, and may live */
    STALL_PEER,  /* the destination, and the path to it with it */
    STALL_PATH,  /* both QEMUs answer, the path does not */
    STALL_DISK,  /* all answer, and the guest is stopped by its disk */
    STALL_LINK,  /* all answer: saturated, or not read */
    STALL_CRAWL, /* it moves, far more slowly than it did */
};

enum mig_stall_path { STALL_PATH_UNKNOWN, STALL_PATH_ANSWERS, STALL_PATH_DEAD };

struct mig_stall {
    uint64_t bytes;           /* the source's counters ... */
    uint64_t walked;          /* ... of bytes, and of pages gone through */
    int64_t moved_ns;         /* when they moved last; 0: not looked at yet */
    int64_t since_ns;         /* from when on patience counts: that, or a little later */
    int64_t entered_ns;       /* the phase */
    int64_t round_ns;         /* when it was asked why last; 0: not since then */
    bool oob[MIG_SIDES];      /* ... and this side has answered out of band since */
    bool judged;              /* ... and what the answers mean was told */
    enum mig_stall_path path; /* what they say of the path, and why */
    char why[NETSEL_WHY_MAX];
    enum mig_stall_kind told; /* the last warning ... */
    enum mig_side_id told_side;
    int64_t told_since_ns; /* ... of a trouble that began then */
    uint64_t tell_ms;      /* ... said again when it has lasted for so long */
    int64_t window_ns;     /* the rate is measured since then ... */
    uint64_t window_bytes; /* ... when the counters stood there */
    uint64_t window_walked;
    uint64_t rate_bytes_per_s; /* of the last window */
    uint64_t best_bytes_per_s; /* of all of them */
    int64_t crawl_ns;          /* it has been too slow since; 0: it is not */
};

/* The source's NVMe controllers. PREFLIGHT. */
struct mig_nvme {
    unsigned n; /* that can be asked for */
    char path[QAPI_NVME_MAX][QAPI_NAME_MAX];
    unsigned folders;          /* so many were told */
    unsigned asked;            /* so many were asked for their drive ... */
    unsigned heard;            /* ... and have answered */
    char empty[QAPI_NAME_MAX]; /* the first that has none; "": all have one */
};

/* The source's parameters as they hold, for all that is known: as they were read or set last, by whomever.
 * In mig_settings.c. */
struct mig_settings {
    bool known;
    int64_t asked_ns;
    uint32_t sent; /* bits of those that were set since they were asked for */
    uint64_t value[QAPI_PARAM_COUNT];
};

struct step; /* recipe.h */

struct recipe_run {
    const struct step *steps;
    unsigned n;
    unsigned next;  /* first row not started */
    uint32_t open;  /* rows asked and not answered */
    uint32_t begun; /* rows reached at any time: what an unwinding undoes */
    bool unwinding;
    bool failed;
};

struct mig {
    struct mig_spec spec;
    struct policy policy;
    struct policy_run policy_run;

    enum mig_phase phase;
    enum mig_phase go_to; /* where mig_go wants to be after this handler */
    bool going;
    int64_t now_ns;
    int64_t phase_ns; /* when the phase was entered */
    int64_t wake_ns;  /* the phase's own wish; INT64_MAX = none */
    uint64_t next_id;
    struct mig_ask ask[MIG_ASKS_MAX];
    struct mig_side side[MIG_SIDES];
    struct recipe_run recipe;
    int heard_row; /* of the recipe: whose answer (or lateness) is being handled */

    /* The way across. */
    bool network_known; /* MIG_EV_NETWORK has come */
    struct netsel_choice network;
    uint64_t network_bytes_per_s; /* the limit that the network sets; 0: none */
    char no_way[NETSEL_WHY_MAX];  /* without networks: why the address is not reached; "" */
    struct mig_links receiver;    /* of the destination's host, as far as it has said */
    /* Who else goes there (mig_share.c). */
    struct mig_share {
        struct mig_others others;
        bool in_use;                /* a network was chosen, and is used */
        struct mig_use use;         /* ... that way */
        uint64_t whole_bytes_per_s; /* what it allows all of them; 0: not known */
        unsigned n;                 /* so many share it, this one with them */
        bool is_slower;             /* the other end has told its speed since */
    } share;
    bool probing; /* MIG_DO_PROBE was asked for and is not answered */

    /* Starting again over another network (phase_again.c). */
    unsigned attempt;          /* this one; from 1 */
    bool no_again;             /* not once more, whatever spec.retries says */
    int64_t first_migrate_ns;  /* `migrate` was sent for the first time; 0: not yet */
    struct netsel_choice next; /* with the network in use after all others */
    bool next_known;
    struct mig_nvme nvme;
    struct mig_settings settings;
    bool still_told; /* that nothing moves, and that nothing can be done about it */
    struct mig_stall stall;

    /* What carries the memory: mig_channels.c. */
    unsigned channels;                 /* multifd channels; 0: one stream */
    bool channels_asked;               /* by an option: not given up without a word */
    enum qapi_compression compression; /* of the channels */
    bool zero_copy;
    /* QEMU has refused channels and post-copy together, or something else: tried without the
     * channels, of which there were so many */
    unsigned channels_doubted;
    char channels_refusal[QAPI_TEXT_MAX]; /* its words */
    struct mig_process process;           /* the source's */
    uint64_t switchover_bytes_per_s;      /* avail-switchover-bandwidth as set; 0: not */
    bool judged;                          /* PREFLIGHT has given its verdict */
    bool secure_asked;                    /* MIG_DO_SECURE was given */
    bool secure_known;                    /* MIG_EV_SECURED has come */
    int64_t secure_ns;                    /* when it was asked for */
    struct mig_secured secured;
    bool secure_lost; /* what was ready has failed since: a tunnel is gone */
    bool
        tunnel_left; /* the settings found say that memory goes through another qferry's tunnel */

    /* The course of it. */
    bool cancel_wanted;
    bool guest_ran;       /* the guest ran when it was found: it is to run in the end */
    bool guest_paused;    /* by us: `stop` was sent to the source in precopy */
    bool paused_at_start; /* ... before memory moved: stop-and-copy */
    bool started;         /* `migrate` was sent: from here on rollback, not just failing */
    bool incoming_asked;  /* migrate-incoming was sent: this destination cannot be reused */
    bool caps_again;      /* a capability was refused: once more, without */
    bool incoming_plain;  /* QEMU knows no exit-on-error */
    bool throttling;      /* the throttle was let loose */
    uint32_t throttle_first; /* the first step of a throttle, until it is seen; 0 = none */
    bool postcopy_asked;
    int64_t switch_ns; /* when the source took that; 0: it has not said so */
    /* it is to be asked for soon: the source has not measured its link yet, or is in the middle of a round of
     * pages */
    bool postcopy_held;
    /* ... which is watched then (mig_round.c) */
    struct mig_round {
        int64_t since_ns; /* 0: it is not */
        int64_t moved_ns; /* something was sent last */
        int64_t due_ns;   /* shortly before the next round; 0 = not known */
        uint64_t sent;
        bool slept;
    } round;
    bool dst_alive;      /* SWITCHOVER: the destination has answered query-yank */
    bool continued;      /* migrate-continue was sent */
    unsigned dst_conts;  /* so many cont were sent to the destination */
    bool continue_heard; /* migrate-continue was accepted */
    bool continue_again; /* ... and was sent twice: the refusal of one means nothing */
    bool dst_quit;       /* quit was sent to the destination */
    bool handed_over; /* cont was sent to the destination, or its paused guest accepted */
    /* the destination's cont was refused: the way back is the only one */
    bool cont_refused;
    bool cont_again; /* cont was sent to the destination twice: the first one got lost */
    bool was_postcopy;
    int64_t cancel_ns; /* migrate_cancel was sent last; 0: not in this rollback */
    bool yank_sent;
    bool yank_lost; /* it went with a monitor once, and may be sent again */
    bool gate_open; /* ROLLBACK: the source has cleaned up after its migration */
    bool
        src_stopped_again; /* `stop` was sent to a source that ran beside the destination */
    /* the switchover did not get on, and breaking the connection did not help */
    bool stuck;
    bool sync_asked;
    bool synced;
    bool taken_up;    /* a move found under way was taken up */
    bool done_before; /* ... whose source had completed by then */
    /* --self-start: from migrate-continue on the destination may run the guest by itself ... */
    bool self_start;
    /* ... and its monitor was not there all the time since it was seen in inmigrate last: it may have
     * run unseen */
    bool dst_unwatched;
    int64_t dst_closed_ns; /* it closed its monitor, with everything heard; 0: it did not */

    /* Of a qferry that was killed (mig_memory.c). */
    struct mig_memory memory;
    bool memory_heeded; /* judged, and of use or not */
    bool has_leftovers; /* settings of its are there still */
    bool listens;       /* the destination, when it was found */
    char migrate_uri[QAPI_URI_MAX];
    char listen_port[8]; /* the destination's, of the migration */

    /* The memory's connection, where qferry opens it (mig_stream.c). */
    bool stream_asked;
    bool stream_open;  /* made; nothing has been sent through it before `started` */
    bool stream_given; /* the source's QEMU has it */
    bool
        stream_lent; /* ... or may have it, under its name: not refused, not taken by `migrate` */
    int64_t stream_asked_ns;

    uint64_t downtime_limit_ms;
    uint64_t bandwidth_limit; /* max-bandwidth in force; POLICY_UNKNOWN: not known */
    uint32_t operator_fields; /* bits of the policy's fields that an operator has set */
    uint32_t policy_changes;  /* so many times the policy was changed */
    bool
        postcopy_denied; /* the policy allowed it, and this attempt's QEMUs do not offer it */
    int64_t migrate_ns;  /* `migrate` was sent */
    int64_t memory_ns;   /* the first sample with memory in it; 0 = none yet */
    int64_t src_stop_ns; /* the guest stopped for the switch; 0 = not seen */
    int64_t dst_resume_ns;
    struct mig_recover recover;
    /* The destination has everything, and the source will not hear of it any more. */
    bool src_left;
    bool sample_again; /* a pass event came while a sample was under way */
    /* PRECOPY: what the guest dirties in a second, measured beside the passes (mig_rhythm.c) */
    struct mig_rhythm {
        bool measuring;
        unsigned refusals;
        int64_t due_ns;    /* the next question is not due before */
        uint64_t measures; /* so many were made */
        uint64_t bytes_per_s;
    } rhythm;
    /* MEASURE: what the guest dirties in how long */
    struct policy_point measured[MIG_MEASURES];
    unsigned n_measured;
    struct policy_forecast forecast; /* kept for its outcome ... */
    uint64_t forecast_pass;          /* ... made after so many complete passes; 0 = none */
    int64_t sample_ns;               /* when the last sample was asked for */
    int64_t reopen_ns[MIG_SIDES];    /* RECONCILE: next attempt */
    unsigned stage;                  /* within ROLLBACK and FINISH */
    int64_t stage_ns;                /* when the stage was entered */

    /* The end of it: the first reason given stays. */
    bool has_reason;
    enum record_outcome outcome;
    enum qf_code code;
    char reason[RECORD_TEXT_MAX];
    bool wants_desc;     /* the reason waits for QEMU's own error text */
    bool wants_dst_desc; /* ... and for that of the destination, where it lives on (9.1) */
    bool ended;
};

/* Prepare a machine in the caller's memory. spec and policy are copied. */
void mig_init(struct mig *m, const struct mig_spec *spec, const struct policy *policy);

/* One event in, the list of what to do out (todo is emptied first). ev is lent. Cannot fail: a
 * peer's odd behaviour is an outcome, not an error. After MIG_DO_END every event is ignored. */
void mig_step(struct mig *m, const struct mig_event *ev, struct mig_todo *todo);

/* Which command the unanswered id belongs to: what a reply is decoded as. False: no such id. */
bool mig_asked(const struct mig *m,
               enum mig_side_id side,
               uint64_t id,
               enum qapi_command *out);

/* What is known of both sides, and what the table says of it. */
void mig_view(const struct mig *m, struct owner_view *v);

/* Which way the memory goes, for other moves of this host to know; an empty one: none (any more). False:
 * that is not known, what was said before stays. */
bool mig_use_of(const struct mig *m, struct mig_use *use);

/* May this be done now? 0, or QF_E_REFUSED with the reason. The same is checked when the event
 * comes: what is refused then is noted, and nothing is done. */
int mig_operator_check(const struct mig *m,
                       const struct mig_operator *op,
                       struct qf_err *err);

/* Names, static. */
const char *mig_operator_name(enum mig_operator_kind k); /* "cancel", "postcopy", ... */
const char *mig_field_name(enum mig_field f);            /* "bandwidth", ... */
const char *mig_phase_name(enum mig_phase p);
const char *mig_phase_public(enum mig_phase p);
const char *mig_side_name(enum mig_side_id s); /* "source", "destination" */

#endif

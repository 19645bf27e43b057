/* What the model's own files share. */
#ifndef QF_TESTS_MODEL_PRIV_H
#define QF_TESTS_MODEL_PRIV_H

#include "engine/base/units.h"
#include "model.h"

enum {
    PAGE_BYTES = 4096,
    AGENDA_MAX = 128,
    PENDING_MAX = 128, /* commands that wait for a main loop that stands still */
    OUT_MAX = 8192,    /* what one that stands still for a minute has to say */
    TICK_MS = 10,
    WINDOW_MS = 100, /* QEMU's: BUFFER_DELAY in migration.c */
    RESUMES_MAX = 64
};

/* Things planned. `epoch`: a migration's own are void once it has ended. */
enum plan {
    PLAN_FAULT,     /* arg: index */
    PLAN_COMMANDS,  /* arg: side; its main loop may go on */
    PLAN_EXIT,      /* arg: side; the process ends */
    PLAN_CONNECTED, /* migration: setup is over */
    PLAN_TICK,
    PLAN_SENT,       /* everything up to the device state is on the wire */
    PLAN_LOADED,     /* the destination has taken it in */
    PLAN_PC_ARRIVED, /* the destination is told of post-copy */
    PLAN_PC_ACTIVE,  /* the source believes in post-copy */
    PLAN_PC_LOADED,  /* the destination has the device state of post-copy */
    PLAN_ACK,        /* the source is told of the load */
    PLAN_LAST,       /* the source is told that post-copy is complete */
    PLAN_POSTMIGRATE,
    PLAN_RESUME, /* the source takes its guest back */
    PLAN_CANCELLED,
    PLAN_FAILED,
    PLAN_CLEAN,     /* no yank instance any more */
    PLAN_PEER_LOST, /* the source notices */
    PLAN_SILENCE,   /* TCP gives up on a silent network, if it is silent still */
    PLAN_DST_LOST,  /* the destination notices */
    PLAN_NET_BACK,
    PLAN_RESUMED,  /* arg: of resume; the source's connect() */
    PLAN_RECOVERED /* the handshake of the recovery is over */
};

struct agendum {
    int64_t t_ns;
    uint64_t seq;
    enum plan plan;
    unsigned arg;
    unsigned epoch;
};

struct pending {
    char *name; /* owned */
    json_t *args;
    json_t *id;
    unsigned connection;
};

struct out {
    struct model_msg msg;
    uint64_t seq;
};

struct one {
    struct model_machine cfg;
    enum model_side side;
    bool alive;
    bool connected;
    unsigned connection;
    int64_t no_connect_ns; /* nobody gets in before */
    int64_t stall_ns;      /* in-band commands are not carried out before */
    int64_t hold_replies_ns;
    int64_t hold_all_ns;
    struct pending pending[PENDING_MAX];
    unsigned n_pending;
    bool running_pending;
    enum qapi_run_state run;
    enum qapi_mig_status status;
    uint64_t caps_offered;
    uint64_t caps;
    struct qapi_params params;
    char creds[MODEL_OBJECTS_MAX][MODEL_TEXT_MAX]; /* "": free */
    bool creds_server[MODEL_OBJECTS_MAX];
    char error[MODEL_TEXT_MAX];
    bool yank;             /* the migration's instance is registered */
    int64_t calc_until_ns; /* calc-dirty-rate: measuring until then; 0 = never asked */
    uint64_t calc_seconds;
    bool exiting;
    bool exit_by_engine;
    unsigned commands;
    unsigned messages;
    /* Destination. */
    bool autostart;
    bool listening;
    bool incoming_used;
    bool stay_on_error;
    unsigned port;
};

/* The migration, as the source has it. */
struct flow {
    unsigned epoch;
    /* somebody connected to the destination, for the source to be handed the connection */
    bool lent;
    bool lent_fd; /* ... and it was */
    /* cancelled in connect(), which still hangs */
    bool connecting;
    bool net_silent;
    bool closed; /* by the source; in a silent network the destination hears of it later */
    bool net_reset;
    bool ack_lost;
    bool load_fails;
    bool connected;   /* the destination reads the stream */
    bool cleaning;    /* failed, and not cleaned up yet */
    bool stopped;     /* by the switch */
    bool round_hangs; /* towards post-copy, in a write into a silent network */
    bool sent;        /* everything is on the wire */
    bool loaded;      /* the destination has taken it in */
    bool postcopy_wanted;
    bool postcopy;
    enum qapi_run_state before; /* at the switch */
    bool asleep;                /* it was suspended then */
    int64_t start_ns;
    int64_t setup_ns;
    int64_t stop_ns;
    int64_t end_ns;
    uint64_t total;
    uint64_t unsent;
    uint64_t at_sync;    /* unsent, then */
    uint64_t dirtied;    /* since the last sync, distinct */
    uint64_t sent_bytes; /* as QEMU counts them: from 8.0 on after compression */
    uint64_t raw_bytes;
    uint64_t pass;
    int64_t sync_ns;
    int64_t rate_ns;
    uint64_t rate_dirty;
    uint64_t dirty_pages_per_s;
    int64_t window_ns;
    uint64_t window_sent;
    uint64_t bandwidth; /* bytes per second, of the last window; 0: not yet */
    uint64_t downtime_ms;
    unsigned throttle;
    unsigned throttle_hits;
    int64_t period_ns;
    uint64_t period_dirty;
    uint64_t period_sent;
    /* Post-copy, interrupted. */
    unsigned stream; /* counts connections */
    int64_t paused_ns;
    unsigned lost_stream; /* which one the destination is about to lose */
};

/* An attempt of the source's to connect again. */
struct resume {
    char uri[QAPI_URI_MAX];
    unsigned port;
    int64_t since_ns;
};

struct model {
    struct model_setup setup;
    struct one one[MODEL_SIDES];
    struct flow flow;
    struct model_truth truth;
    int64_t now_ns;
    uint64_t seq;
    struct agendum agenda[AGENDA_MAX];
    unsigned n_agenda;
    struct out out[OUT_MAX];
    unsigned n_out;
    unsigned fault_seen[MODEL_FAULTS_MAX];
    bool silent; /* the network, to addresses with silent_text in them */
    const char *silent_text;
    char stream_uri[QAPI_URI_MAX];
    struct resume resume[RESUMES_MAX];
    unsigned n_resumes;
};

/* An answer to a command: ret (owned) or error. */
struct answer {
    json_t *ret; /* NULL: {} */
    const char *error;
    const char *error_class; /* NULL: GenericError */
};

/* model.c */
void model_plan(struct model *m, enum plan plan, int64_t in_ns, unsigned arg);
void model_event(struct model *m, enum model_side side, const char *name, json_t *data);
void model_status(struct model *m, enum model_side side, enum qapi_mig_status status);
void model_kill(struct model *m, enum model_side side);
void model_unstall(struct model *m, enum model_side side);
void model_check(struct model *m);
void model_blame(struct model *m, const char *what);
bool model_is_cap(const struct model *m, enum model_side side, enum qapi_cap cap);

/* model_command.c: carry one out. engine: false when another client sent it. */
void model_execute(struct model *m,
                   enum model_side side,
                   const char *name,
                   json_t *args,
                   bool oob,
                   bool engine,
                   struct answer *a);
void model_offers(struct one *s); /* capabilities and parameters at the beginning */
json_t *model_greeting(const struct one *s);
const char *model_creds_fault(const struct one *s);

/* model_flow.c */
void flow_plan(struct model *m, enum plan plan, unsigned arg);
bool flow_is_of_destination(enum plan plan); /* goes on although the source has ended it */
const char *flow_migrate(struct model *m, json_t *args);
const char *flow_incoming(struct model *m, json_t *args);
const char *flow_cancel(struct model *m, bool engine);
const char *flow_continue(struct model *m, json_t *args);
const char *flow_start_postcopy(struct model *m);
const char *flow_pause(struct model *m, enum model_side side);
const char *flow_recover(struct model *m, json_t *args);
const char *flow_yank(struct model *m, enum model_side side);
const char *flow_stop(struct model *m, enum model_side side);
const char *flow_cont(struct model *m, enum model_side side, bool engine);
void flow_died(struct model *m, enum model_side side); /* a process ended */
void flow_net(struct model *m, const struct model_fault *f);
void flow_renew(struct model *m); /* another network, and nobody has connected */
void flow_guest(struct model *m, enum model_what what);
bool flow_in_progress(const struct model *m);
bool flow_runs(enum qapi_run_state run); /* do the CPUs run? */

#endif

/* The simulation: a session of the engine and a modelled pair of QEMUs (tests/lib/model.h), turned
 * by a virtual clock that jumps to the next thing to happen. No sleeping, no sockets.
 *
 * The order is total, so a run is the same every time. At one time come, in this order: messages
 * of the source, messages of the destination (each in their order), the disk's answer to a sync,
 * what is found out about the networks, the end of the command that starts a fresh destination, what
 * is ready for encryption, the test's own doings, the engine's timer. One thing is fed at a time, and
 * what the engine
 * wants done is done at once; then the order begins anew. */
#ifndef QF_TESTS_SIM_H
#define QF_TESTS_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/record.h"
#include "engine/session.h"
#include "model.h"

enum { SIM_DOINGS_MAX = 4, SIM_SESSIONS_MAX = 3 };

enum sim_when {
    SIM_AT_TIME,
    SIM_AT_PHASE, /* so long after the phase was entered first */
    SIM_AT_EVENT, /* before the n-th thing that is fed, from 1 */
    /* SIM_RESTART: before the n-th thing that the engine does, from 1, and nothing after it is done */
    SIM_AT_DEED
};

enum sim_what {
    SIM_CANCEL,
    SIM_OPERATOR, /* doing.operator_says */
    SIM_RESTART, /* the engine dies; a new one, which knows nothing, is started 50 ms later */
    SIM_OTHERS,    /* other moves of this host come or go: doing.others */
    SIM_RECEIVER,  /* the destination's host says doing.links */
    SIM_UNSECURED, /* what was made ready for encryption fails: the tunnel ends */
    SIM_FAULT
};

struct sim_doing {
    enum sim_when when;
    enum sim_what what;
    enum mig_phase phase;
    int64_t t_ns; /* AT_TIME; AT_PHASE: after it */
    unsigned n;
    struct model_fault fault;
    const struct mig_others *others;
    const struct mig_links *links;
    const char *operator_says; /* "pause", or what is to be set: "timeout=1s" */
};

struct sim;

enum { SIM_MESSAGES_MAX = 4 };

/* Somebody who looks on, and may change what QEMU says (tests/fuzz/hostile.c). Any may be NULL. */
struct sim_watch {
    /* What the engine gets in the place of this message: returns how many, at most SIM_MESSAGES_MAX. Their
     * JSON is new, that of msg is borrowed. */
    unsigned (*on_message)(struct sim *s,
                           const struct model_msg *msg,
                           struct model_msg *out);
    void (*on_send)(struct sim *s,
                    enum mig_side_id side,
                    uint64_t id,
                    const struct qapi_cmd *cmd);
    void (*on_step)(struct sim *s);   /* what it wanted has been done */
    void (*on_engine)(struct sim *s); /* an engine begins */
};

struct sim_setup {
    struct model_setup model;
    struct mig_spec spec; /* "" source, destination, address: filled */
    const char *policy;   /* NULL: minimal-downtime */
    const char *set[4];   /* policy fields: "timeout=10s" */
    struct sim_doing doing[SIM_DOINGS_MAX];
    unsigned n_doings;
    const struct netsel_facts *network; /* found out about the spec's networks ... */
    int64_t network_ns;                 /* ... after so long; MODEL_NEVER */
    /* likewise, when it is asked again (NULL: the same) */
    const struct netsel_facts *network_later;
    int64_t restart_ns; /* --restart-destination takes; MODEL_NEVER */
    bool restart_fails;
    bool restart_does_nothing; /* and says that it went well */
    const struct netsel_facts
        *later; /* ... and what is found out so long after the phase */
    enum mig_phase later_phase;
    int64_t later_ns;
    bool then_attach;      /* the engine after a SIM_RESTART: `attach` */
    bool remembers;        /* ... gets what the journals of those before it say */
    int64_t dead_ns;       /* ... after so long; 0: 50 ms */
    const char *set_again; /* ... with this set besides */
    void (*tamper)(struct mig_memory *mem); /* ... with what it remembers changed */
    const char *policy_again;               /* ... with another policy, and none of `set` */
    const struct mig_secured
        *secured;                    /* what spec.encrypt gets; NULL: a usual answer ... */
    enum spec_encrypt encrypt_again; /* of later engines, where it is not OFF */
    bool off_again;                  /* they do not say --encrypt */
    int64_t secured_ns;              /* ... after so long; 0: 1 ms; MODEL_NEVER */
    int64_t sync_ns;                 /* the disk takes; 0: 2 ms; MODEL_NEVER */
    bool sync_fails;
    bool quiet; /* no trace is wanted (the golden texts are made of it) */
    /* sim_complaint forgives what nobody could have known or done (sim.c) */
    bool two_faults;
    bool no_replay; /* of many runs it is enough to replay some */
    const struct sim_watch *watch;
};

struct sim {
    struct sim_setup setup;
    struct model *model;
    struct session *session; /* of the engine that runs */
    struct qf_buf journal[SIM_SESSIONS_MAX];
    unsigned n_sessions;
    struct qf_buf trace;
    struct record_result result;
    bool has_result;
    bool ended;
    int64_t t_ns;
    unsigned n_fed;
    unsigned n_deeds;        /* what was to be done: all but records and the end */
    unsigned n_sent;         /* commands that are no questions */
    unsigned n_sent_earlier; /* ... by engines that were killed */
    int64_t told_down_ns
        [MIG_SIDES];       /* when the engine was told that the link is down; 0: it is up */
    bool told_of_settings; /* there was a warning that they could not be put back */
    /* Private. */
    unsigned n_refused[MIG_SIDES]; /* attempts to connect that were in vain */
    int64_t sync_due_ns;
    int64_t network_due_ns;
    int64_t later_due_ns;
    int64_t replace_due_ns; /* of the destination */
    int64_t stream_due_ns;
    bool stream_works;
    unsigned n_probes;
    unsigned n_replaced;
    int64_t secured_due_ns;
    bool is_secured; /* made ready, and not removed yet */
    unsigned n_secured;
    int64_t restart_due_ns; /* of the engine */
    int64_t doing_due_ns[SIM_DOINGS_MAX];
    bool doing_done[SIM_DOINGS_MAX];
    bool link_open[MIG_SIDES];
    unsigned long long steps;
};

/* Run to the end (bounded virtual time). The sim is the caller's memory. */
void sim_run(struct sim *s, const struct sim_setup *setup);
void sim_free(struct sim *s);

/* What must hold after every run: nothing that must never happen has happened, it has come to an
 * end, the exit status has kept its promise, settings are put back, and each journal replays.
 * "" or the complaint (static storage of the sim). */
const char *sim_complaint(struct sim *s);

/* The trace as text, 0-terminated. */
const char *sim_trace(struct sim *s);

/* Compare with tests/golden/sim-<name>.txt; QFERRY_UPDATE_GOLDEN=1 writes it instead. */
void sim_golden(const char *name, const char *text);

/* A guest that converges in some passes over a link, unhurried enough for every phase to be seen:
 * 256 MiB, 32 MiB of it rewritten at 4000 pages/s, 125 MB/s. */
struct sim_setup sim_usual(void);
/* One whose working set never fits: 100 MiB at 100 000 pages/s. */
struct sim_setup sim_busy(void);

#endif

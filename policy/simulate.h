/* A policy against a modelled migration, in virtual time: the very policy_decide that `qferry
 * migrate` runs, fed with samples at the moments at which engine/phase_precopy.c would take them,
 * its decisions carried out on the model as the engine carries them out on QEMU.
 *
 * Core: fixed size, no clock; the same policy, model and seed give the same run. */
#ifndef QF_POLICY_SIMULATE_H
#define QF_POLICY_SIMULATE_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/model.h"
#include "policy/policy.h"

enum {
    SIMULATE_CAP_MS = 24 * 3600 * 1000, /* of virtual time, then it is `unfinished` */
    SIMULATE_T0_MS =
        1000 /* what the policy's clock shows at `migrate`: no clock starts at 0 */
};

/* How it ended, its name in JSON lines. */
#define SIMULATE_OUTCOMES(X)                                 \
    X(COMPLETED, "completed")                                \
    X(ABORTED, "aborted")       /* given up by the policy */ \
    X(LOST, "lost")             /* post-copy broke */        \
    X(UNFINISHED, "unfinished") /* still going at the cap */

enum simulate_outcome {
#define SIMULATE_OUTCOME_ENUM(id, name) SIMULATE_##id,
    SIMULATE_OUTCOMES(SIMULATE_OUTCOME_ENUM)
#undef SIMULATE_OUTCOME_ENUM
};

/* As in the result line of a migration: stop-and-copy is a guest that was stopped before memory
 * moved; one that was stopped on the way has a long blackout. */
#define SIMULATE_MODES(X)   \
    X(PRECOPY, "precopy")   \
    X(POSTCOPY, "postcopy") \
    X(STOP, "stop-and-copy")

enum simulate_mode {
#define SIMULATE_MODE_ENUM(id, name) SIMULATE_MODE_##id,
    SIMULATE_MODES(SIMULATE_MODE_ENUM)
#undef SIMULATE_MODE_ENUM
};

struct simulate_result {
    enum simulate_outcome outcome;
    enum simulate_mode mode;
    uint64_t total_ms;
    uint64_t downtime_ms; /* QEMU's own; 0 unless completed or switched; likewise below */
    uint64_t blackout_ms; /* from the guest's stop until it runs again */
    uint64_t transferred_bytes;
    uint64_t passes;              /* QEMU's: bitmap syncs, the last one included */
    uint64_t walks;               /* complete walks, as policy/trend.h counts them */
    uint64_t throttle_percent_ms; /* percent of the guest's CPU time, times ms */
    uint64_t postcopy_ms;         /* from the switch to the last page */
    uint64_t degraded_ms;         /* of them, guest time lost in page faults */
    uint32_t decisions;           /* other than WAIT */
    /* the first decision that costs the guest something: throttle, postcopy, pause, abort */
    bool costly;
    enum policy_action costly_action;
    uint64_t costly_ms;
    uint64_t costly_walks;        /* complete by then */
    char reason[POLICY_TEXT_MAX]; /* of the last decision other than WAIT; "" = none */
    /* what was expected at the end of the second walk; forecast.known: there was something */
    struct policy_forecast forecast;
    uint64_t forecast_ms; /* when */
};

/* What one wants to hear of a run; each may be NULL. Pointers are lent for the call. A decision
 * is told with the sample that it was made of, also WAIT. */
struct simulate_ops {
    void (*on_decision)(void *arg,
                        const struct policy_sample *s,
                        const struct policy_decision *d);
};

/* One run: in the caller's memory. */
struct simulate {
    const struct policy *policy;    /* lent */
    const struct simulate_ops *ops; /* lent; may be NULL */
    void *arg;
    struct policy_run run;
    struct policy_model model;
    int64_t t0_ns;
    uint64_t measures;   /* of what the guest dirties, beside the passes: so many, */
    int64_t measured_ns; /* the newest then, since `migrate`, */
    uint64_t measured_bytes_per_s; /* and what it was */
    bool stopped_first;            /* the policy stopped the guest before memory moved */
    bool aborted;
    struct simulate_result result;
};

/* Ask the one question before `migrate` and begin. policy and spec are lent for the run. */
void simulate_init(struct simulate *sim,
                   const struct policy *policy,
                   const struct policy_model_spec *spec,
                   uint64_t seed,
                   const struct simulate_ops *ops,
                   void *arg);

/* To the end, which sim->result then tells. */
void simulate_run(struct simulate *sim);

/* Carry a decision out on the model and count it (for engine/curve.c, whose run begins with the
 * samples of a journal). */
void simulate_carry_out(struct simulate *sim,
                        const struct policy_sample *s,
                        const struct policy_decision *d);

/* Auto-converge as engine/phase_configure.c sets it before `migrate`: at the policy's own pace from
 * the start, or held at one percent. */
void simulate_hold_throttle(struct policy_model *m, const struct policy *p);

const char *simulate_outcome_name(enum simulate_outcome o);
const char *simulate_mode_name(enum simulate_mode mode);

#endif

/* What to do about a migration that does not converge: rules as data, and the pure function
 * that applies them.
 *
 * A policy says what is allowed; its steps say when, in order. Of the steps that were not taken
 * yet, policy_decide takes the first whose triggers all hold, each step at most once, one a call.
 * So a step that waits for a condition which never comes does not keep those after it from
 * their turn, unless the policy says in-order. A step that the policy does not allow, or that
 * would change nothing, is passed over. Time limits stand above the steps.
 *
 * Core: no clock, no files, no QMP. The JSON form is policy_json.h's. */
#ifndef QF_POLICY_POLICY_H
#define QF_POLICY_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/forecast.h"
#include "policy/pace.h"
#include "policy/rhythm.h"
#include "policy/sample.h"
#include "policy/trend.h"

enum {
    POLICY_NAME_MAX = 64,
    POLICY_TEXT_MAX = 256,
    POLICY_STEPS_MAX = 32, /* a file with more is refused; a bit each in policy_run */
    POLICY_STOP_MARGIN_PERMILLE = 800,
    POLICY_CHANNELS_MAX = 255,       /* QEMU's own: multifd-channels is a byte */
    POLICY_DOWNTIME_MAX_MS = 2000000 /* QEMU's own: downtime-limit in qapi/migration.json */
};

/* Action, its name in JSON lines and in policy files. The last two are the engine's own, in a
 * post-copy that was interrupted: no policy can ask for them. */
#define POLICY_ACTIONS(X)             \
    X(WAIT, "wait")                   \
    X(SET_DOWNTIME, "set-downtime")   \
    X(SET_BANDWIDTH, "set-bandwidth") \
    X(THROTTLE, "throttle")           \
    X(POSTCOPY, "postcopy")           \
    X(PAUSE, "pause")                 \
    X(ABORT, "abort")                 \
    X(RECOVER, "recover")             \
    X(CONTINUE, "continue")

enum policy_action {
#define POLICY_ACTION_ENUM(id, name) POLICY_##id,
    POLICY_ACTIONS(POLICY_ACTION_ENUM)
#undef POLICY_ACTION_ENUM
};

/* What happens when a time limit is reached. FORCE_COMPLETE: post-copy where it is allowed and
 * QEMU takes it, else the stop where that is allowed, else give up. */
enum policy_on_timeout {
    POLICY_ON_TIMEOUT_ABORT,
    POLICY_ON_TIMEOUT_POSTCOPY,
    POLICY_ON_TIMEOUT_STOP,
    POLICY_ON_TIMEOUT_FORCE_COMPLETE
};

/* What progress-timeout takes for progress: one more byte sent, or less left than when the policy
 * looked last. */
enum policy_progress { POLICY_PROGRESS_BYTES, POLICY_PROGRESS_REMAINING };

/* How a guest's memory is counted for timeout-per-gib and elapsed-per-gib. */
enum policy_size_unit { POLICY_SIZE_GIB, POLICY_SIZE_GB };
enum policy_size_round { POLICY_SIZE_UP, POLICY_SIZE_DOWN };

/* What decides when: the steps below, one after the other, or the forecast (pace.h), which has no
 * steps and takes the cheapest thing that is allowed as soon as it is certain to be needed. */
enum policy_pacing { POLICY_PACING_SCHEDULE, POLICY_PACING_FORECAST };

enum policy_encrypt {
    POLICY_ENCRYPT_ALLOWED,
    POLICY_ENCRYPT_REQUIRED,
    POLICY_ENCRYPT_FORBIDDEN
};

/* When a step is due: every member that is not 0 must hold. */
struct policy_trigger {
    bool before_start;       /* before memory moves (`stop-and-copy`) */
    uint32_t passes;         /* so many passes are complete */
    uint32_t stalled_passes; /* so many passes did not shrink, since the start */
    /* QEMU's own pass counter has moved since the last look, and by so much since the first */
    uint32_t qemu_passes;
    /* at so many looks more was left than at the one before, or nothing; since a step that
     * repeats was taken last. Looks between which nothing moved do not count */
    uint32_t remaining_rises;
    uint64_t elapsed_ms;         /* since `migrate` */
    uint64_t elapsed_per_gib_ms; /* the same for each GiB, counted as `size` says */
    uint32_t timeouts;           /* so many times the time limit has gone by */
    /* stopping at the end of the pass would cost less */
    uint64_t implied_downtime_below_ms;
    bool implied_downtime_below_stop_max; /* the same against POLICY_STOP_MARGIN_PERMILLE of
                                             stop.max: a forecast that is somewhat off must
                                             not cost the guest a stop for nothing */
};

struct policy_step {
    struct policy_trigger trigger;
    enum policy_action action;
    uint64_t value_ms;       /* SET_DOWNTIME: the limit; 0 when given as one of the next */
    uint32_t value_permille; /* SET_DOWNTIME: of downtime.max */
    uint32_t value_times;    /* SET_DOWNTIME: of the limit in force */
    uint64_t value_bytes_per_s; /* SET_BANDWIDTH */
    bool repeat;                /* taken again and again; remaining_rises begins anew */
    bool also_stopped;          /* looked at also when the guest is stopped by us */
};

struct policy {
    char name[POLICY_NAME_MAX];
    char description[POLICY_TEXT_MAX];
    enum policy_pacing pacing;
    uint64_t downtime_start_ms;
    uint64_t downtime_max_ms;
    bool throttle_allowed;
    uint32_t throttle_initial_percent;
    uint32_t throttle_increment_percent;
    uint32_t throttle_max_percent;
    /* as soon as memory moves, by QEMU's auto-converge alone; no step has to ask for it */
    bool throttle_from_start;
    bool postcopy_allowed;
    uint64_t postcopy_bandwidth_bytes_per_s; /* 0 = unlimited, as QEMU has it */
    bool stop_allowed;
    uint64_t stop_max_ms;         /* 0 = no bound */
    uint64_t timeout_ms;          /* 0 = none; likewise below */
    uint64_t timeout_per_gib_ms;  /* of guest memory, counted as `size` says */
    uint64_t progress_timeout_ms; /* without one byte moved */
    enum policy_on_timeout on_timeout;
    uint64_t bandwidth_bytes_per_s; /* 0 = leave what QEMU is set to */
    uint32_t channels;              /* multifd channels; 0 = not said */
    enum policy_encrypt encrypt;
    /* A goal, with pacing forecast: 0 = none. slowdown_max_percent bounds the throttle too. */
    uint64_t finish_within_ms;
    uint32_t slowdown_max_percent;
    enum policy_size_unit size_unit;
    enum policy_size_round size_round;
    uint32_t size_least; /* a smaller guest counts as so many units */
    /* With pacing schedule: when the policy looks at all. every_ms 0: whenever a sample comes */
    uint64_t every_ms;
    uint64_t near_end_ms; /* the same, once the end is near; 0 = no different */
    bool in_order;        /* a step waits for those before it */
    enum policy_progress progress;
    struct policy_step steps[POLICY_STEPS_MAX];
    uint32_t n_steps;
};

/* What was seen when the policy looked. */
struct policy_look {
    uint64_t n; /* looks so far */
    /* the next one is not due before; 0 = there was none yet */
    int64_t next_ns;
    /* less was left than moves between two looks on the average; stays so */
    bool near_end;
    /* QEMU's pass counter: greater than at the look before, at the first look, at the last */
    bool passes_move;
    uint64_t first_pass;
    uint64_t pass;
    uint64_t transferred_bytes;
    uint64_t remaining_bytes;
    /* when remaining was below that of the look before */
    int64_t fell_t_ns;
    /* remaining at the last look before which bytes had moved; rises are counted against it */
    uint64_t moved_bytes;
    uint32_t rises;
};

/* One migration's policy state: changed by policy_decide alone. */
struct policy_run {
    struct policy_trend trend;
    struct policy_look look;
    uint32_t steps_done;       /* bit i: step i was taken, or would have changed nothing */
    bool timeout_used;         /* the time limit's own action was taken */
    bool paused;               /* we decided to stop the guest ... */
    int64_t paused_t_ns;       /* ... then ... */
    bool paused_seen;          /* ... and it was seen stopped */
    bool postcopy_refused;     /* QEMU would not: such steps are passed over from now on */
    bool pause_refused;        /* likewise */
    struct policy_curve curve; /* how much the guest dirties in how long (forecast.h) */
    struct policy_rhythm rhythm; /* whether it pauses (rhythm.h) */
    struct pace_run pace;        /* pacing forecast: what was decided so far (pace.h) */
};

/* What of a policy_run has to outlive the program, so that a limit counts from where it began, and a
 * step that was taken is not taken again. What else there is in it, a few samples tell anew. */
struct policy_past {
    uint32_t steps_done;
    bool timeout_used;
    bool postcopy_refused;
    bool pause_refused;
    int64_t paused_t_ns; /* 0: we did not stop the guest */
    /* when bytes moved last, and how many had by then; 0: there was no sample */
    int64_t moved_t_ns;
    uint64_t moved_bytes;
    /* when less was left than before, and how much */
    int64_t fell_t_ns;
    uint64_t least_bytes;
};

/* What to do. because lives in the decision itself; rule points into static text. */
struct policy_decision {
    enum policy_action action;
    /* SET_DOWNTIME ms, SET_BANDWIDTH bytes per second, THROTTLE greatest percent; else 0 */
    uint64_t value;
    /* THROTTLE: what the first step takes from the guest; afterwards by throttle.increment up to
     * value. Equal to value: at once */
    uint32_t throttle_first_percent;
    /* look again at this time although nothing happens; INT64_MAX = never */
    int64_t wake_ns;
    char because[POLICY_TEXT_MAX]; /* one sentence with the numbers; also for WAIT */
    const char
        *rule;       /* "step 3" (from 1), "timeout", "timeout-per-gib", "progress-timeout",
                         "stop.max", "none" */
    bool is_notable; /* a WAIT that people should read */
    bool new_pass;   /* the sample showed a new pass (policy_trend_feed) */
    /* What is expected from here, if this decision is carried out. forecast.known: there is one;
     * made at every new pass and with every decision but WAIT */
    struct policy_forecast forecast;
};

/* Begin at nothing. */
void policy_run_init(struct policy_run *run);

/* Decide what to do after one more sample.
 *
 * p    the policy; lent
 * run  this migration's policy state; changed; the caller's
 * s    lent; s->t_ns never goes backwards. s->started false: the one question before `migrate`
 * out  always filled; out->rule is static
 *
 * At most one action per call; rules in this order, the first that applies wins:
 *   1. in post-copy: WAIT (the memory is split, nothing can be given up any more)
 *   2. the guest stopped by us for longer than stop.max: ABORT
 *   3. timeout, timeout-per-gib: what on-timeout says; ABORT where that is not possible.
 *      Nothing once the guest is stopped and on-timeout would only stop or switch it, and
 *      nothing once we stopped it and stop.max guards
 *   4. not one byte moved for progress-timeout: ABORT
 *   5. by pacing: the steps or the forecast; nothing once we have stopped the guest
 *   6. WAIT
 * With schedule.every, rules 3 to 5 are looked at only so often.
 * Pure: same arguments, same answer, on any machine. Cannot fail. */
void policy_decide(const struct policy *p,
                   struct policy_run *run,
                   const struct policy_sample *s,
                   struct policy_decision *out);

/* What would be expected of a migration that has not begun, from how much the guest dirties in
 * intervals of different lengths (points: n of them, the shorter first; throttle 0), and the rate
 * of the link. out->forecast.known false: n or the rate is 0. out->because says it in words. */
void policy_foresee(const struct policy *p,
                    const struct policy_point *points,
                    unsigned n,
                    uint64_t total_bytes,
                    uint64_t bandwidth_bytes_per_s,
                    struct policy_decision *out);

/* QEMU refused an action that was decided: POSTCOPY and PAUSE are not tried again (their steps
 * are passed over, and a timeout that wanted them aborts); other actions are simply not
 * repeated. */
void policy_refused(struct policy_run *run, enum policy_action action);

/* Does QEMU's auto-converge pace the throttle by itself from the start? Otherwise it is held back
 * until a decision asks for it. */
bool policy_throttles_from_start(const struct policy *p);

/* The limit that a SET_DOWNTIME step asks for when this one is in force, never above
 * downtime.max. */
uint64_t policy_step_downtime_ms(const struct policy *p,
                                 const struct policy_step *step,
                                 uint64_t in_force_ms);

/* The guest is being stopped by us although policy_decide did not say so: from now on it is as if
 * it had decided PAUSE. */
void policy_stopped(struct policy_run *run, int64_t t_ns);

/* The guest runs: a stop that was decided never reached QEMU. It is decided again when its time has come. */
void policy_stop_lost(struct policy_run *run);

/* What is to be kept of a run, and a fresh run that goes on from there. */
void policy_past_of(const struct policy_run *run, struct policy_past *past);
void policy_resume(struct policy_run *run, const struct policy_past *past);

/* "wait", "set-downtime", ... for ever. */
const char *policy_action_name(enum policy_action action);

#endif

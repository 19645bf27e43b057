/* A modelled migration: a guest that writes memory, a link, and a QEMU that copies the one over
 * the other, in virtual time. What `qferry simulate` runs policies against.
 *
 * It is a mean-field model: of each set of pages it knows which share is pending (to be sent in
 * this pass) and which share was written since the last bitmap sync, never a single page, so a
 * guest of 1 TiB costs no more than one of 1 MiB. What QEMU does with that is followed step by
 * step: windows of 100 ms, the threshold, syncs, auto-converge, the switch (the reasoning and
 * what is left out are at the top of model.c).
 *
 * It is no QEMU: no commands, no events, no failures but those described. tests/lib/model.h is
 * the other kind, for the machine that drives QEMU.
 *
 * Core: fixed size, no allocation, no clock; floating point, but no library of it. The same
 * description, options and seed give the same run. The JSON form is model_json.h's. */
#ifndef QF_POLICY_MODEL_H
#define QF_POLICY_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/sample.h"

enum {
    POLICY_MODEL_SETS_MAX = 8,
    POLICY_MODEL_PHASES_MAX = 16,
    POLICY_MODEL_CHANGES_MAX = 16, /* of the link; as many drops */
    POLICY_MODEL_NAME_MAX = 32,
    POLICY_MODEL_TEXT_MAX = 1024,
    POLICY_MODEL_PAGE_BYTES = 4096
};

/* How the writes of a set find their pages. */
enum policy_model_pattern {
    POLICY_MODEL_RANDOM, /* any page of the set, each as likely: 1 - exp(-written / size) */
    POLICY_MODEL_SWEEP   /* one after the other, round and round: min(1, written / size) */
};

/* Pages that are written alike. */
struct policy_model_set {
    char name[POLICY_MODEL_NAME_MAX];
    uint64_t bytes;
    uint64_t writes_bytes_per_s; /* pages written a second, times their size */
    enum policy_model_pattern pattern;
};

/* How the guest behaves for a while: each set's writes times a factor. */
struct policy_model_phase {
    uint64_t for_ms;
    uint32_t factor_permille[POLICY_MODEL_SETS_MAX];
};

struct policy_model_guest {
    uint64_t memory_bytes;
    uint64_t zero_bytes; /* of it, never touched: 9 bytes each page on the wire */
    bool zero_last;      /* they lie behind the others, as memory never needed does */
    /* CPU time that it uses: a throttle that takes only idle time costs nothing */
    uint32_t busy_percent;
    uint32_t cpus;          /* a page fault in post-copy stops one of them */
    uint32_t noise_percent; /* standard deviation of the rates, drawn anew each second */
    struct policy_model_set sets[POLICY_MODEL_SETS_MAX];
    uint32_t n_sets;
    struct policy_model_phase phases[POLICY_MODEL_PHASES_MAX]; /* none: always the same */
    uint32_t n_phases;
    bool repeats;         /* the phases are a cycle; else the last one stays */
    bool starts_anywhere; /* in the cycle, by the seed */
    uint64_t start_ms;    /* else here */
};

struct policy_model_change {
    uint64_t at_ms;
    uint64_t rate_bytes_per_s;
};

struct policy_model_drop {
    uint64_t at_ms;
    uint64_t for_ms;
};

struct policy_model_link {
    uint64_t rate_bytes_per_s;
    uint64_t latency_ns; /* round trip */
    /* in sockets and queues when QEMU is faster than the link: sent, as far as QEMU knows */
    uint64_t buffer_bytes;
    uint32_t loss_ppm; /* packets lost in a million */
    uint32_t noise_percent;
    struct policy_model_change changes[POLICY_MODEL_CHANGES_MAX]; /* by time */
    uint32_t n_changes;
    struct policy_model_drop drops[POLICY_MODEL_CHANGES_MAX];
    uint32_t n_drops;
    uint64_t repeat_ms; /* changes and drops again after so long; 0 = once */
};

struct policy_model_qemu {
    uint64_t max_bandwidth_bytes_per_s; /* as the source is set; 0 = unlimited */
    uint64_t setup_ms;                  /* `migrate` to the first page */
    uint64_t switchover_ms;      /* device state sent and loaded; on top of the rest */
    uint64_t resume_ms;          /* end of QEMU's downtime until the guest runs */
    uint64_t postcopy_switch_ms; /* the same two for the switch to post-copy */
    uint64_t sync_per_tib_ms;    /* a bitmap sync: nothing is sent meanwhile */
    uint64_t scan_bytes_per_s;   /* finding that pages are zero */
    uint64_t fault_ns;           /* a page fault in post-copy, on top of the round trip */
    uint32_t throttle_trigger_percent;
    bool syncs_always; /* 11.1 with postcopy-ram on: a sync in every turn of its loop */
    bool postcopy_breaks;
    uint64_t postcopy_breaks_after_ms; /* the link, so long after the switch, for good */
};

struct policy_model_spec {
    char name[POLICY_MODEL_NAME_MAX];
    char description[POLICY_MODEL_TEXT_MAX];
    struct policy_model_guest guest;
    struct policy_model_link link;
    struct policy_model_qemu qemu;
};

/* What the client sets before `migrate`. */
struct policy_model_options {
    uint64_t downtime_limit_ms;
    uint64_t bandwidth_bytes_per_s; /* max-bandwidth; POLICY_UNKNOWN = leave QEMU's */
    uint64_t postcopy_bandwidth_bytes_per_s; /* 0 = unlimited */
    bool auto_converge; /* on, held at one percent until policy_model_throttle */
    bool postcopy;      /* the capability */
    bool guest_stopped; /* stopped before memory moves */
};

enum policy_model_stage {
    POLICY_MODEL_SETUP,
    POLICY_MODEL_ACTIVE,
    POLICY_MODEL_POSTCOPY,
    POLICY_MODEL_COMPLETED,
    POLICY_MODEL_LOST
};

/* What ended policy_model_step. */
enum policy_model_event {
    POLICY_MODEL_TIME,     /* the time that was asked for */
    POLICY_MODEL_PASS,     /* a bitmap sync: MIGRATION_PASS */
    POLICY_MODEL_SWITCHED, /* to post-copy */
    POLICY_MODEL_ENDED     /* see stage */
};

/* All state of one run. To be read by its owner; changed by the functions below alone. Times
 * are since `migrate`; shares are from 0 to 1. */
struct policy_model {
    const struct policy_model_spec *spec; /* lent */
    struct policy_model_options options;
    enum policy_model_stage stage;
    uint64_t random;
    int64_t now_ns;

    /* the guest */
    int64_t offset_ns; /* where in its phases it was at 0 */
    bool stopped;
    int64_t stopped_ns;
    double pending[POLICY_MODEL_SETS_MAX]; /* share to be sent */
    double written[POLICY_MODEL_SETS_MAX]; /* share written since the last sync */
    double cold_pending;                   /* pages of no set: of those with data ... */
    double zero_pending;                   /* ... and of those without */
    double noise_set[POLICY_MODEL_SETS_MAX];
    double noise_link;
    int64_t noise_until_ns;

    /* QEMU */
    /* setting up, in a sync, or out of budget until the window ends */
    int64_t busy_until_ns;
    double turn_wire;   /* what this turn of the loop still sends */
    bool synced;        /* nothing was sent since the last sync */
    int64_t window_ns;  /* when the window of 100 ms began ... */
    double window_wire; /* ... and what was sent in it */
    double bandwidth;   /* of the last window; 0 = not measured yet */
    double threshold;
    double wire;                /* transferred */
    double walked;              /* pages handled, in bytes */
    uint64_t limit_bytes_per_s; /* max-bandwidth; 0 = none */
    uint64_t downtime_limit_ms;
    uint64_t passes; /* dirty-sync-count */
    double synced_remaining;
    int64_t period_ns;   /* of the dirty rate and of auto-converge: when it began, */
    double period_dirty; /* what syncs found in it, */
    double period_wire;  /* and what had been sent then */
    double dirty_bytes_per_s;
    uint32_t dirty_high_count;
    uint32_t throttle_percent; /* in force */
    uint32_t throttle_first;   /* the next trigger makes at least this of it, */
    uint32_t throttle_increment;
    uint32_t throttle_max; /* and never more than this */
    bool postcopy_asked;
    int64_t postcopy_ns; /* when the switch began */

    /* what it cost, when over */
    int64_t downtime_ns;      /* QEMU's own */
    int64_t blackout_ns;      /* until the guest runs again */
    int64_t postcopy_time_ns; /* from the switch to the last page */
    double degraded_ns;       /* guest time lost in page faults */
    double throttle_percent_ns;
};

/* Distinct bytes that the guest, as it behaves now, dirties in a second: what QEMU's calc-dirty-rate
 * would measure, without its error. */
uint64_t policy_model_measure(const struct policy_model *m);

/* Begin: `migrate` was accepted at this moment. spec is lent for the model's life. */
void policy_model_init(struct policy_model *m,
                       const struct policy_model_spec *spec,
                       const struct policy_model_options *options,
                       uint64_t seed);

/* Go on to the next event, at most to until_ns (since `migrate`, after now_ns). m->now_ns tells
 * when it was. Once ENDED, nothing goes on. */
enum policy_model_event policy_model_step(struct policy_model *m, int64_t until_ns);

/* What query-migrate would show now. t0_ns: what the policy's clock showed at `migrate`. */
void policy_model_sample(const struct policy_model *m,
                         int64_t t0_ns,
                         struct policy_sample *s);

/* Bytes that are pending (ram.remaining): as of the last sync, without what was written since. */
double policy_model_remaining(const struct policy_model *m);

/* ---- what a client can do ---- */

void policy_model_set_downtime(struct policy_model *m, uint64_t limit_ms);
void policy_model_set_bandwidth(struct policy_model *m,
                                uint64_t bytes_per_s); /* 0 = none */

/* Let auto-converge loose: the next time that QEMU finds the guest too fast it takes `first`
 * percent of its CPU time, then `increment` more each time, `max` at most. */
void policy_model_throttle(struct policy_model *m,
                           uint32_t first,
                           uint32_t increment,
                           uint32_t max);

/* migrate-start-postcopy: QEMU switches at its next turn, unless what is pending fits by then. */
void policy_model_postcopy(struct policy_model *m);

/* `stop`: the guest writes no more; the passes go on. */
void policy_model_stop_guest(struct policy_model *m);

/* ---- for a model that takes over in the middle of a real migration (engine/curve.h) ---- */

struct policy_model_state {
    int64_t now_ns;
    uint64_t passes;
    uint64_t remaining_bytes;
    uint64_t transferred_bytes;
    uint64_t walked_bytes;
    uint64_t bandwidth_bytes_per_s; /* as last measured; 0 = not */
    uint64_t dirty_bytes_per_s;
    int64_t synced_ns;  /* when the last pass began */
    int64_t written_ns; /* guest time that the pages which it found were written in */
    uint32_t throttle_percent;
    bool guest_stopped;
};

/* After policy_model_init: stand where a migration stood. What is pending is shared out among
 * the sets as their writes in written_ns of guest time make likely. */
void policy_model_adopt(struct policy_model *m, const struct policy_model_state *state);

#endif

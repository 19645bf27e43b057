/* What a qferry knows of its move that QEMU does not: written to the journal while the move runs,
 * read from there by the qferry that takes it up after a kill. It holds no more than that: what
 * QEMU can be asked is asked, and where both speak QEMU's word counts.
 *
 * A `memory` line of the journal is one of these (journal_memory.h); it stands in the next journal
 * as an event, so that this replays without the old one. Core: fixed size. */
#ifndef QF_ENGINE_MIG_MEMORY_H
#define QF_ENGINE_MIG_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/err.h"
#include "engine/mig_event.h"
#include "engine/record.h"
#include "engine/spec.h"
#include "policy/policy.h"
#include "qmp/qapi.h"

enum { MIG_MEMORY_PORTS = 64 /* MIG_RECOVER_PORTS */ };

/* Of a side: what it was found as, before the first change, and what was changed since. */
struct mig_memory_side {
    char uuid[QAPI_NAME_MAX];
    enum qapi_run_state run; /* as seen last, and so is: */
    enum qapi_mig_status status;
    uint64_t caps_on;      /* as found */
    uint64_t caps_changed; /* bits that were turned */
    uint32_t params_changed;
    uint32_t texts_changed;
    uint64_t param[QAPI_PARAM_COUNT];     /* as found, of those that were changed */
    uint64_t param_set[QAPI_PARAM_COUNT]; /* as set last */
    char text[QAPI_TEXT_PARAM_COUNT][QAPI_TEXT_MAX];
};

struct mig_memory {
    bool known;

    /* What changes with every sample, or is written from elsewhere: no reason for a new line. */
    struct policy policy; /* as it is in force, with what an operator has set */
    struct netsel_wish networks;
    struct policy_past past;

    /* The rest: a change of it makes a new line. */
    /* written: it is not that of the first line any more; read: the command line says no other */
    bool has_policy;
    uint32_t policy_changes;
    uint32_t operator_fields; /* bits of the fields that an operator has set */
    uint32_t steps_done;      /* of past */
    unsigned attempt;
    char phase[16];  /* mig_phase_name, for people */
    bool recovering; /* in RECOVER: a connection may be on its way to `port` */

    bool incoming_asked;
    bool started; /* `migrate` was sent */
    bool handed_over;
    bool guest_ran;
    bool guest_paused;
    bool paused_at_start;
    bool was_postcopy;
    bool postcopy_asked;
    bool throttling;
    bool quit_source;
    bool quit_destination;
    uint32_t throttle_first;
    uint64_t downtime_limit_ms;
    uint64_t
        bandwidth_bytes_per_s; /* --bandwidth, as it came to be; SPEC_BANDWIDTH_HYPERVISOR */

    /* Of a monotonic clock; 0: not yet. */
    int64_t migrate_ns;
    int64_t first_migrate_ns;
    int64_t memory_ns;
    int64_t src_stop_ns;

    /* The way in use. network "": none was chosen. */
    char network[NETSEL_NAME_MAX];
    char address[SPEC_TEXT_MAX];
    uint64_t network_bytes_per_s;
    bool rate_is_configured;
    uint16_t port; /* of the last attempt to recover; 0: none */
    struct {
        uint16_t port;
        int64_t until_ns; /* a connection may come there until then */
    } pending[MIG_MEMORY_PORTS];
    unsigned n_pending;

    /* It was being given up. */
    bool has_reason;
    enum record_outcome outcome;
    enum qf_code code;
    char reason[RECORD_TEXT_MAX];

    struct mig_memory_side side[MIG_SIDES];
};

struct mig;

/* What this machine knows now. out is filled completely. known false: nothing was touched yet, so
 * there is nothing to remember. */
void mig_memory_of(const struct mig *m, struct mig_memory *out);

/* Is there news in b since a? Times that pass, and counters, are none. */
bool mig_memory_is_news(const struct mig_memory *a, const struct mig_memory *b);

/* Its clock was another one: add so many ns to every time in it. */
void mig_memory_shift(struct mig_memory *mem, int64_t by_ns);

#endif

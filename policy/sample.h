/* One observation of a migration, every unit spelled. Filled by the engine from query-migrate,
 * lent to policy_decide for the call. Pure data. */
#ifndef QF_POLICY_SAMPLE_H
#define QF_POLICY_SAMPLE_H

#include <stdbool.h>
#include <stdint.h>

#define POLICY_UNKNOWN UINT64_MAX /* QEMU did not say, or said INT64_MAX (11.1) */

struct policy_sample {
    int64_t t_ns;       /* monotonic; never goes backwards within one migration */
    int64_t elapsed_ns; /* since QEMU accepted `migrate`; 0 before */
    /* no new answer of QEMU's: only time has passed, the counters are those of the sample before */
    bool is_repeated;
    bool started;       /* false: asked once before `migrate`, all counters are 0 */
    bool guest_stopped; /* the guest does not run now: paused by us or before us */
    bool postcopy;      /* the switch to post-copy was asked for, or has happened */
    uint64_t pass;      /* ram.dirty-sync-count: 1 in the bulk pass */
    uint64_t total_bytes;
    uint64_t remaining_bytes;
    uint64_t transferred_bytes;
    /* (ram.normal + ram.duplicate) * page-size: guest memory handled so far, zero pages
     * included, which transferred_bytes hardly shows. 0 or POLICY_UNKNOWN: not said,
     * transferred_bytes has to do */
    uint64_t walked_bytes;
    /* distinct pages since the last sync; 0 in the first pass */
    uint64_t dirty_bytes_per_s;
    /* QEMU's own, over about 100 ms; 0 when not yet measured */
    uint64_t bandwidth_bytes_per_s;
    uint64_t expected_downtime_ms; /* POLICY_UNKNOWN when QEMU has none */
    uint64_t downtime_limit_ms;    /* in force on the source */
    /* max-bandwidth in force; 0 = unlimited, POLICY_UNKNOWN = not known */
    uint64_t bandwidth_limit_bytes_per_s;
    bool bandwidth_is_fixed;   /* somebody asked for that rate: no goal may change it */
    uint32_t throttle_percent; /* what the guest's CPUs lose now */
    /* what QEMU measured beside the passes: so often until now, and the newest, distinct bytes in
     * a second. 0 measures: nothing */
    uint64_t measures;
    uint64_t measured_bytes_per_s;
};

#endif

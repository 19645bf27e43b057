/* Pacing `forecast`: no steps and no clocks. What the policy allows is done as soon as the
 * forecast is certain that it is needed, the cheapest first. Core; for policy.c alone, but for the
 * state that lies in struct policy_run. */
#ifndef QF_POLICY_PACE_H
#define QF_POLICY_PACE_H

#include <stdbool.h>
#include <stdint.h>

/* What was decided so far. */
struct pace_run {
    /* to be set with the next sample; 0 = nothing */
    uint64_t next_downtime_ms;
    /* decided last, after so many complete passes, then; 0 = none */
    uint32_t throttle_percent;
    uint64_t throttle_pass;
    int64_t throttle_t_ns;
    /* QEMU never did what was decided */
    bool throttle_failed;
    /* stalled passes that a decision has answered */
    uint64_t stalls;
    /* said once: the goal cannot be met */
    bool goal_missed;
    /* so often max-bandwidth was raised for the goal */
    uint32_t bandwidth_raises;
    /* passes that were close to the limit and waited for */
    uint32_t close_passes;
    /* complete passes when the wait for a low point began; 0 = none */
    uint64_t patience_from;
    /* when the wait for the guest's next rest began; 0 = never */
    int64_t rest_from_ns;
};

#endif

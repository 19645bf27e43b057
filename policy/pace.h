/* Pacing `forecast`: no steps and no clocks. What the policy allows is done as soon as the forecast
 * is certain that it is needed, the cheapest first. Core; for policy.c alone, but for the state that
 * lies in struct policy_run. */
#ifndef QF_POLICY_PACE_H
#define QF_POLICY_PACE_H

#include <stdbool.h>
#include <stdint.h>

/* What was decided so far. */
struct pace_run {
    uint64_t next_downtime_ms; /* to be set with the next sample; 0 = nothing */
    uint32_t throttle_percent; /* decided last; 0 = none */
    uint64_t throttle_pass;    /* complete passes when it was */
    bool throttle_failed; /* it was decided, and QEMU never did it, or it did not help */
    uint64_t stalls;      /* stalled passes that a decision has answered */
    bool goal_missed;     /* said once: the goal cannot be met */
    uint32_t bandwidth_raises; /* so often, for the goal */
    uint64_t
        patience_from; /* complete passes when the wait for a low point began; 0 = none */
};

#endif

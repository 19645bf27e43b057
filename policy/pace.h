/* Pacing `forecast`: no steps and no clocks; what is allowed is taken as soon as the forecast is
 * certain that it is needed, the cheapest first. For policy.c alone. Core. */
#ifndef QF_POLICY_PACE_H
#define QF_POLICY_PACE_H

#include <stdbool.h>
#include <stdint.h>

/* What was decided so far. */
struct pace_run {
    uint64_t downtime_ms;      /* the limit that was decided; 0 = none yet */
    uint32_t throttle_percent; /* likewise */
};

#endif

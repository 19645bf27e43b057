/* What the files behind curve.h share: curve_read.c, curve_fit.c, curve.c. For them alone. */
#ifndef QF_ENGINE_CURVE_PRIV_H
#define QF_ENGINE_CURVE_PRIV_H

#include "engine/curve.h"

/* Time in ms that the guest had between two samples: what a throttle or a stop took does not count. */
double curve_guest_ms(const struct policy_sample *a, const struct policy_sample *b);

#endif

/* The parts of a modelled migration that know nothing of QEMU: the guest's writes and the link.
 * For model.c, and the curve
 * for engine/curve_fit.c. Core. */
#ifndef QF_POLICY_MODEL_WORLD_H
#define QF_POLICY_MODEL_WORLD_H

#include <stdint.h>

#include "policy/model.h"

/* e to the power of -x, for x >= 0; within 1e-12. The same on every machine, which libm is not. */
double policy_model_decay(double x);

/* Begin: the seed, where in its phases the guest is, the first noise. */
void policy_model_world_init(struct policy_model *m, uint64_t seed);

/* Draw the rates anew when that is due at m->now_ns. */
void policy_model_world_noise(struct policy_model *m);

/* When a rate changes next, after m->now_ns; INT64_MAX: never. */
int64_t policy_model_world_change(const struct policy_model *m);

/* Bytes a second that set i writes now, throttle and stop not counted. */
double policy_model_write_rate(const struct policy_model *m, uint32_t i);

/* Which part of its writes the guest still does under its throttle, 0 to 1. */
double policy_model_speed(const struct policy_model *m);

/* Let the guest write for so long; no rate changes meanwhile. */
void policy_model_world_run(struct policy_model *m, int64_t ns);

/* Which share of set i is written in ns of guest time, at the rates of now. */
double policy_model_coverage(const struct policy_model *m, uint32_t i, double ns);

/* What the link carries now, in bytes a second; 0 while it is down. */
double policy_model_link_rate(const struct policy_model *m);

#endif

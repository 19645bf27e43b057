/* What the files behind pacing `forecast` share: pace.c (what is done when), pace_try.c (trying things out),
 * pace_goal.c (a goal instead of knobs), foresee.c (for the record). For them alone. Core. */
#ifndef QF_POLICY_PACE_PRIV_H
#define QF_POLICY_PACE_PRIV_H

#include "policy/forecast.h"
#include "policy/policy_priv.h"

enum { THROTTLE_STEP_PERCENT = 5 };

/* ---- pace_try.c ---- */

/* To send what is left now; POLICY_UNKNOWN: no bandwidth is known. */
uint64_t pace_left_ms(const struct view *v);

/* The course with this limit and this throttle; false: nothing is known yet. */
bool pace_attempt(const struct view *v,
                  uint64_t downtime_ms,
                  uint32_t throttle_percent,
                  enum forecast_bound bound,
                  struct forecast_course *out);

/* ... over a link of so much of its bandwidth, however long it takes. */
bool pace_attempt_faster(const struct view *v,
                         uint64_t downtime_ms,
                         uint32_t throttle_percent,
                         uint64_t faster_permille,
                         struct forecast_course *out);

/* Does it end, and before long? */
bool pace_ends_soon(const struct view *v, const struct forecast_course *c);

/* Both: it is known to end so. */
bool pace_would_end(const struct view *v,
                    uint64_t downtime_ms,
                    uint32_t throttle_percent,
                    enum forecast_bound bound);

/* The most that the policy allows. */
uint32_t pace_throttle_cap(const struct policy *p);

/* The smallest throttle that gets it below so much downtime; 0: none does. */
uint32_t pace_needed_throttle(const struct view *v, uint64_t downtime_ms);

/* ---- pace.c ---- */

extern const char pace_rule_name[];

/* Into v->out->because: what the last pass left, and where it does not sink below. */
void pace_say_floor(const struct view *v);

/* Actions; what the sentence begins with is said already, or by them. False: nothing is to be done. */
bool pace_set_downtime(const struct view *v, uint64_t ms);
bool pace_throttle(const struct view *v, uint32_t percent);
bool pace_act(const struct view *v, enum policy_action action);

/* A throttle was decided, and it is too early to judge it. */
bool pace_is_throttle_pending(const struct view *v);

/* May the guest be stopped to finish, and what has to be sent in less than this for that. */
bool pace_may_stop(const struct view *v);
uint64_t pace_stop_bound_ms(const struct policy *p);

/* ---- pace_goal.c, with finish_within_ms ---- */

/* In the first pass. Returns whether it decided. */
bool pace_goal_first_pass(const struct view *v);

/* At a pass boundary: the cheapest thing that gets it through in time. False: it is in time anyhow,
 * or nothing helps (missed). */
bool pace_goal(const struct view *v, bool *missed);

/* Nothing that is allowed gets it through in time: said once, with what would, behind what was decided; else
 * WAIT. True. */
bool pace_goal_missed(const struct view *v, bool decided);

#endif

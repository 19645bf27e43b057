/* What the files behind policy_decide share: policy.c (the order of rules), schedule.c (steps),
 * pace*.c, foresee.c and forecast.c (the forecast), say.c (sentences). For them alone. Core. */
#ifndef QF_POLICY_POLICY_PRIV_H
#define QF_POLICY_POLICY_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/policy.h"

enum {
    SAY_WORD = 32 /* one formatted number */
};

/* What every rule sees. run->trend has taken the sample in already. */
struct view {
    const struct policy *p;
    const struct policy_sample *s;
    struct policy_run *run;
    struct policy_decision *out;
};

static inline int64_t add_ns(int64_t a, int64_t b)
{
    return b > 0 && a > INT64_MAX - b ? INT64_MAX : a + b;
}

/* Pull *wake_ns forward to then_ns, if that is still to come. */
static inline void sooner(int64_t *wake_ns, int64_t now_ns, int64_t then_ns)
{
    if (then_ns > now_ns && then_ns < *wake_ns)
        *wake_ns = then_ns;
}

/* --- policy.c --- */

/* Fill v->out: the action, its value, the rule that led to it (static text), and after what
 * v->out->because says already what is done. Remembers a PAUSE. Always true. */
bool view_decide(const struct view *v,
                 enum policy_action action,
                 uint64_t value,
                 const char *rule);

/* Since `migrate`. */
uint64_t view_elapsed_ms(const struct policy_sample *s);

/* From then to now; 0 when then is later. */
uint64_t view_since_ms(int64_t now_ns, int64_t then_ns);

/* So much for each unit of the guest's memory, counted as the policy's `size` says. */
uint64_t view_by_size_ms(const struct policy *p,
                         const struct policy_sample *s,
                         uint64_t per_unit_ms);

/* The sooner of the two limits on the whole move and its name; 0 = none. */
uint64_t view_time_limit_ms(const struct policy *p,
                            const struct policy_sample *s,
                            const char **rule);

/* --- schedule.c --- */

/* Is this a moment at which the policy looks? Then remembers what is to be seen. */
bool schedule_looks(const struct view *v);

/* Take the first step that is due and allowed. Returns whether there was one. */
bool schedule_rule(const struct view *v);

/* Pull *wake_ns forward to when a step may become due by time alone. */
void schedule_wake(const struct view *v, int64_t *wake_ns);

/* --- pace.c, with pacing forecast --- */

/* Take the cheapest action that is certain to be needed now; with s->started false, before memory
 * moves. Not asked in post-copy, while the guest is stopped by us, nor when a time limit has just
 * decided. Returns whether it decided, by view_decide; throttle_first_percent is set before that.
 * May set v->out->wake_ns, and where it did not decide, write why it waits into v->out->because. */
bool pace_rule(const struct view *v);

/* --- foresee.c --- */

/* Fill v->out->forecast, for the move as it goes on after v->out->action. Asked at each new pass
 * and with every decision but WAIT, whatever the pacing. */
void forecast_fill(const struct view *v);

/* --- say.c --- */

/* Append to a text of this size; what does not fit is cut. */
void say_add(char *text, size_t size, const char *more);

/* The same to v->out->because. */
void say_more(const struct view *v, const char *more);

/* "60.9 MiB", "2.5 s", into one of the caller's words, which is returned. */
const char *say_bytes(uint64_t n, char word[SAY_WORD]);
const char *say_ms(uint64_t n, char word[SAY_WORD]);

/* "pass 4 left 61.2 MiB, no less than 60.9 MiB before" */
void say_last_pass(const struct policy_trend *t, char *text, size_t size);

/* Append to v->out->because why the trigger holds. */
void say_trigger(const struct view *v, const struct policy_trigger *t);

/* Append ": downtime limit 100 ms -> 150 ms" or what else v->out->action does. */
void say_action(const struct view *v);

/* Nothing is due: write how it goes. */
void say_wait(const struct view *v);

#endif

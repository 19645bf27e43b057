/* Policies as JSON: files, built-in presets, single fields from the command line, and back.
 * Data: memory and jansson, no file is opened here. The format is policy's man page's,
 * qferry-policy(5). */
#ifndef QF_POLICY_POLICY_JSON_H
#define QF_POLICY_POLICY_JSON_H

#include <jansson.h>
#include <stddef.h>

#include "engine/base/err.h"
#include "policy/policy.h"

enum {
    POLICY_FILE_MAX = 256 * 1024 /* bytes; a longer text is refused */
};

/* Read one policy from JSON text. origin names the text in messages ("my.json"); a policy
 * without a name is called as the last part of origin, without ".json". `selectors` are checked
 * and not kept: they are select.h's.
 * *p is written on success only. QF_E_USAGE: `my.json:12: downtime.maxx: unknown field; ...`:
 * origin, line, the field's full name, what was wrong, what would be right. */
int policy_load(
    const char *origin, const char *text, size_t len, struct policy *p, struct qf_err *err);

/* What a policy that loads has in it that cannot be meant: rules that can never fire, values that
 * change nothing. Calls warn for each, `my.json:12: steps[3]: ...`, lent for the call; the number of
 * them is returned, 0 also for a text that does not load. */
size_t policy_check_warnings(const char *origin,
                             const char *text,
                             size_t len,
                             void (*warn)(void *arg, const char *warning),
                             void *arg);

/* Read back what policy_dump has written: as policy_load, but a policy whose fields were overridden
 * may have steps that it does not allow; they are passed over. */
int policy_restore(
    const char *origin, const char *text, size_t len, struct policy *p, struct qf_err *err);

/* Override one field: "downtime.max=300ms" (--set). Checks the whole afterwards; *p is changed
 * on success only. QF_E_USAGE names the field.
 *
 * Lowering a bound takes what it bounds along: downtime.max lowers downtime.start,
 * throttle.max lowers throttle.initial; steps are capped when they are taken. Forbidding
 * post-copy or the stop turns an on-timeout that wanted it into abort; such steps stay and are
 * passed over. Forbidding the throttle takes slowdown-max away. */
int policy_set(struct policy *p, const char *assignment, struct qf_err *err);

/* The policy as JSON with every field, in the order of qferry-policy(5); policy_restore
 * reads it back to the same policy. New reference; NULL only without memory. */
json_t *policy_dump(const struct policy *p);

/* The built-in policies, in the order in which `qferry policies list` prints them. */
size_t policy_preset_count(void);
const char *policy_preset_name(size_t i);
const char *policy_preset_text(size_t i); /* its JSON, for ever */

/* Load a built-in policy by name. QF_E_USAGE: unknown, with the names that exist. */
int policy_preset_load(const char *name, struct policy *p, struct qf_err *err);

#endif

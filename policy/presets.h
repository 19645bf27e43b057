/* The built-in policies and models as texts: made from the files in policy/presets and
 * policy/models when qferry is built. Used by policy_json.c and model_json.c alone. */
#ifndef QF_POLICY_PRESETS_H
#define QF_POLICY_PRESETS_H

#include <stddef.h>

struct policy_preset {
    const char *name;
    const char *text;
};

extern const struct policy_preset policy_presets[];
extern const size_t policy_presets_count;
extern const struct policy_preset policy_models[];
extern const size_t policy_models_count;

#endif

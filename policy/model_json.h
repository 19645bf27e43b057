/* MODEL files: a modelled migration (model.h) as JSON text, and the built-in ones. The format is
 * the man page's, qferry-model(5). Data: memory and jansson, no file is opened here. */
#ifndef QF_POLICY_MODEL_JSON_H
#define QF_POLICY_MODEL_JSON_H

#include <stddef.h>

#include "engine/base/err.h"
#include "policy/model.h"

enum {
    POLICY_MODEL_FILE_MAX = 256 * 1024 /* bytes; a longer text is refused */
};

/* Read one model. origin names the text in messages; a model without a name is called as the
 * last part of origin, without ".json". *spec is written on success only. QF_E_USAGE:
 * `my.json:12: guest.sets[0].sise: unknown field; did you mean size?`: origin, line, the field's
 * full name, what was wrong, what would be right. */
int policy_model_load(const char *origin,
                      const char *text,
                      size_t len,
                      struct policy_model_spec *spec,
                      struct qf_err *err);

/* A guest without memory, an ordinary host and QEMU: what a file starts from. */
void policy_model_defaults(struct policy_model_spec *spec);

/* The built-in models, by name. */
size_t policy_model_count(void);
const char *policy_model_name(size_t i); /* NULL behind the last */
const char *policy_model_text(size_t i); /* its JSON, for ever */

/* Load a built-in model. QF_E_USAGE: unknown; says which was probably meant, and all names. */
int policy_model_builtin(const char *name,
                         struct policy_model_spec *spec,
                         struct qf_err *err);

#endif

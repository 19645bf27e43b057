/* Records as lines for people: one per phase, pass, decision, check and warning, a progress line
 * on a terminal, and the result. Only tools/ includes it. */
#ifndef QF_TOOLS_RENDER_H
#define QF_TOOLS_RENDER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/record.h"

enum render_level { RENDER_QUIET, RENDER_NORMAL, RENDER_VERBOSE };

struct render {
    FILE *out;       /* phases, passes, decisions, the result */
    FILE *err;       /* warnings, failures, the progress line */
    bool progress;   /* err is a terminal and a progress line is wanted */
    bool shown;      /* a progress line stands on the terminal */
    bool all_checks; /* also those that are fine: preflight */
    enum render_level level;
    int64_t t0_ns;
    uint64_t pass; /* the last one told */
    const char *phase;
};

/* One record. t_ns: monotonic, when it was made. */
void render_record(struct render *r, const struct record *record, int64_t t_ns);

/* Wipe the progress line, before something else is printed. */
void render_clear(struct render *r);

#endif

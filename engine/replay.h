/* Replay: feed a journal's events to a fresh machine and compare what it says and does, line by
 * line, with what the journal says that it did. Data: text in memory. */
#ifndef QF_ENGINE_REPLAY_H
#define QF_ENGINE_REPLAY_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/err.h"

struct replay_report {
    uint64_t lines;     /* compared */
    uint64_t decisions; /* among them */
    uint64_t differs;   /* number of the first line that differs, from 1; 0: none */
    char expected[256]; /* its beginning in the journal ... */
    char got[256];      /* ... and in the replay */
};

/* Replay the text of a whole journal. 0: replayed, report->differs tells. QF_E_USAGE: not a
 * journal, or cut in the middle of a line (the sentence names the line). A journal that ends
 * early, at the end of a line, replays as far as it goes. */
int replay(const char *text, size_t len, struct replay_report *report, struct qf_err *err);

#endif

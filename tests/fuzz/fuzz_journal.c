/* Any bytes as a journal: replay says what it is, twice the same, and breaks nothing. */
#include "fuzz.h"

#include <string.h>

#include "engine/replay.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct replay_report a;
    struct replay_report b;
    struct qf_err err = {.code = QF_E_OK};
    const int rc = replay((const char *)data, size, &a, &err);
    MUST(rc == 0 || (rc == -(int)err.code && err.text[0]));
    MUST(replay((const char *)data, size, &b, NULL) == rc);
    MUST(a.lines == b.lines && a.differs == b.differs && a.decisions == b.decisions);
    MUST(a.differs <= a.lines && a.decisions <= a.lines);
    MUST(strcmp(a.got, b.got) == 0 && strcmp(a.expected, b.expected) == 0);
    return 0;
}

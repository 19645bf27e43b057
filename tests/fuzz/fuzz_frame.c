/* Any bytes in any pieces: the same objects, the same end. The first byte says how long the
 * pieces are. */
#include "fuzz.h"

#include <string.h>

#include "qmp/frame.h"

enum { CAP = 128, OBJECTS_MAX = 1024 };

struct seen {
    uint64_t hash;
    size_t objects;
    int last;
};

static struct seen run(const uint8_t *data, size_t size, size_t step)
{
    struct qmp_frame f;
    struct qf_err err;
    struct seen seen = {.hash = 14695981039346656037U};
    qmp_frame_init(&f, CAP);
    for (size_t i = 0; i < size && seen.last >= 0; i += step) {
        const size_t n = size - i < step ? size - i : step;
        const char *text = NULL;
        size_t len = 0;
        MUST(qmp_frame_feed(&f, data + i, n, &err) == 0);
        while ((seen.last = qmp_frame_next(&f, &text, &len, &err)) == 1) {
            MUST(len >= 2 && len <= CAP && text[0] == '{');
            MUST(text[len - 1] == '}' || text[len - 1] == ']');
            for (size_t k = 0; k < len; k++)
                seen.hash = (seen.hash ^ (uint8_t)text[k]) * 1099511628211U;
            seen.objects++;
        }
        MUST(f.in.len <= CAP + n + 1 || seen.last < 0);
        if (seen.last < 0) {
            MUST(seen.last == -(int)QF_E_PROTO && err.text[0] != '\0');
            MUST(qmp_frame_next(&f, &text, &len, &err) == seen.last);
        }
    }
    qmp_frame_fini(&f);
    return seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const struct seen whole = run(data + 1, size - 1, size);
    const struct seen pieces = run(data + 1, size - 1, (size_t)data[0] % 32 + 1);
    MUST(whole.hash == pieces.hash && whole.objects == pieces.objects);
    MUST(whole.last == pieces.last);
    return 0;
}

#include "engine/spec.h"

#include <string.h>

static const struct {
    const char *name;
    bool waivable;
} checks[] = {
#define ROW(id, name, waivable) {name, waivable},
    SPEC_CHECKS(ROW)
#undef ROW
};

const char *spec_check_name(enum spec_check c)
{
    return c < SPEC_CHECK_COUNT ? checks[c].name : "?";
}

const char *spec_encrypt_name(enum spec_encrypt e)
{
    static const char *const names[] = {
#define NAME(id, name) name,
        SPEC_ENCRYPTS(NAME)
#undef NAME
    };
    return e < SPEC_ENCRYPT_COUNT ? names[e] : "?";
}

int spec_check_waivable(const char *name)
{
    for (int i = 0; i < SPEC_CHECK_COUNT; i++)
        if (checks[i].waivable && strcmp(checks[i].name, name) == 0)
            return i;
    return -1;
}

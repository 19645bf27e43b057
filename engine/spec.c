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

int spec_check_waivable(const char *name)
{
    for (int i = 0; i < SPEC_CHECK_COUNT; i++)
        if (checks[i].waivable && strcmp(checks[i].name, name) == 0)
            return i;
    return -1;
}

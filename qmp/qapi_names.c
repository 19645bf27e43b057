/* The one place where qapi.h's enums meet QEMU's words. Strict C11, nothing allocated: the core
 * may link it. */
#include "qmp/qapi.h"

#include <string.h>

const char *qapi_run_name(enum qapi_run_state s)
{
    switch (s) {
    case QAPI_RUN_UNKNOWN:
        break;
#define RUN_NAME(id, name) \
    case QAPI_RUN_##id:    \
        return name;
        QAPI_RUN_STATES(RUN_NAME)
#undef RUN_NAME
    }
    return "?";
}

const char *qapi_mig_name(enum qapi_mig_status s)
{
    switch (s) {
    case QAPI_MIG_UNKNOWN:
        break;
#define MIG_NAME(id, name) \
    case QAPI_MIG_##id:    \
        return name;
        QAPI_MIG_STATUSES(MIG_NAME)
#undef MIG_NAME
    }
    return "?";
}

enum qapi_run_state qapi_run_of(const char *name)
{
#define RUN_OF(id, text)                 \
    if (name && strcmp(name, text) == 0) \
        return QAPI_RUN_##id;
    QAPI_RUN_STATES(RUN_OF)
#undef RUN_OF
    return QAPI_RUN_UNKNOWN;
}

enum qapi_mig_status qapi_mig_of(const char *name)
{
#define MIG_OF(id, text)                 \
    if (name && strcmp(name, text) == 0) \
        return QAPI_MIG_##id;
    QAPI_MIG_STATUSES(MIG_OF)
#undef MIG_OF
    return QAPI_MIG_UNKNOWN;
}

const char *qapi_cap_name(enum qapi_cap c)
{
    switch (c) {
#define CAP_NAME(id, name) \
    case QAPI_CAP_##id:    \
        return name;
        QAPI_CAPS(CAP_NAME)
#undef CAP_NAME
    case QAPI_CAP_COUNT:
        break;
    }
    return "?";
}

const char *qapi_param_name(enum qapi_param p)
{
    switch (p) {
#define PARAM_NAME(id, name) \
    case QAPI_PARAM_##id:    \
        return name;
        QAPI_PARAMS(PARAM_NAME)
#undef PARAM_NAME
    case QAPI_PARAM_COUNT:
        break;
    }
    return "?";
}

const char *qapi_compression_name(enum qapi_compression c)
{
    switch (c) {
#define COMPRESSION_NAME(id, name) \
    case QAPI_COMPRESSION_##id:    \
        return name;
        QAPI_COMPRESSIONS(COMPRESSION_NAME)
#undef COMPRESSION_NAME
    case QAPI_COMPRESSION_COUNT:
        break;
    }
    return "?";
}

const char *qapi_text_param_name(enum qapi_text_param p)
{
    switch (p) {
#define TEXT_PARAM_NAME(id, name) \
    case QAPI_TEXT_PARAM_##id:    \
        return name;
        QAPI_TEXT_PARAMS(TEXT_PARAM_NAME)
#undef TEXT_PARAM_NAME
    case QAPI_TEXT_PARAM_COUNT:
        break;
    }
    return "?";
}

enum qapi_compression qapi_compression_of(const char *name)
{
    unsigned c = 0;
    while (c < QAPI_COMPRESSION_COUNT &&
           strcmp(name, qapi_compression_name((enum qapi_compression)c)) != 0)
        c++;
    return (enum qapi_compression)c;
}

const char *qapi_command_name(enum qapi_command c)
{
    switch (c) {
#define COMMAND_NAME(id, name, oob) \
    case QAPI_##id:                 \
        return name;
        QAPI_COMMANDS(COMMAND_NAME)
#undef COMMAND_NAME
    case QAPI_COMMAND_COUNT:
        break;
    }
    return "?";
}

bool qapi_command_oob(enum qapi_command c)
{
    switch (c) {
#define COMMAND_OOB(id, name, oob) \
    case QAPI_##id:                \
        return oob;
        QAPI_COMMANDS(COMMAND_OOB)
#undef COMMAND_OOB
    case QAPI_COMMAND_COUNT:
        break;
    }
    return false;
}

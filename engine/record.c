#include "engine/record.h"

const char *record_outcome_name(enum record_outcome o)
{
    switch (o) {
#define OUTCOME_NAME(id, name) \
    case OUTCOME_##id:         \
        return name;
        RECORD_OUTCOMES(OUTCOME_NAME)
#undef OUTCOME_NAME
    }
    return "?";
}

const char *record_place_name(enum record_place p)
{
    switch (p) {
    case PLACE_UNKNOWN:
        return "unknown";
    case PLACE_SOURCE:
        return "source";
    case PLACE_DESTINATION:
        return "destination";
    case PLACE_NONE:
        return "none";
    }
    return "?";
}

const char *record_mode_name(enum record_mode m)
{
    switch (m) {
    case MODE_PRECOPY:
        return "precopy";
    case MODE_POSTCOPY:
        return "postcopy";
    case MODE_STOP_AND_COPY:
        return "stop-and-copy";
    }
    return "?";
}

const char *record_verdict_name(enum check_verdict v)
{
    switch (v) {
    case CHECK_OK:
        return "ok";
    case CHECK_WARNING:
        return "warning";
    case CHECK_REFUSED:
        return "refused";
    case CHECK_SKIPPED:
        return "skipped";
    }
    return "?";
}

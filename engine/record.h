/* Records: what a migration says about itself. The engine's core fills them, engine/journal.c
 * writes them as JSON lines, qferry prints them as text. Fixed size, no pointers to anything
 * that can go away, but for the list of networks, which is the machine's. Pure data. */
#ifndef QF_ENGINE_RECORD_H
#define QF_ENGINE_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/err.h"
#include "netsel/netsel.h"
#include "policy/policy.h"

enum {
    RECORD_TEXT_MAX = QF_ERR_TEXT,
    RECORD_VALUE_MAX = 128, /* a compared value in a check */
    RECORD_ADDRESS_MAX = 256
};

/* Verdict of one preflight check. */
enum check_verdict { CHECK_OK, CHECK_WARNING, CHECK_REFUSED, CHECK_SKIPPED };

/* Outcome, its name in the result line. */
#define RECORD_OUTCOMES(X)                                                               \
    X(COMPLETED, "completed")                                                            \
    X(ABORTED, "aborted") /* given up by the policy, or by the guest (it powered off) */ \
    X(CANCELLED, "cancelled")                                                            \
    X(FAILED, "failed")                                                                  \
    X(REFUSED, "refused")                                                                \
    X(LOST, "lost") /* a person must look */

enum record_outcome {
#define RECORD_OUTCOME_ENUM(id, name) OUTCOME_##id,
    RECORD_OUTCOMES(RECORD_OUTCOME_ENUM)
#undef RECORD_OUTCOME_ENUM
};

enum record_place { PLACE_UNKNOWN, PLACE_SOURCE, PLACE_DESTINATION, PLACE_NONE };

enum record_mode { MODE_PRECOPY, MODE_POSTCOPY, MODE_STOP_AND_COPY };

struct record_check {
    const char *name; /* static */
    enum check_verdict verdict;
    char message[RECORD_TEXT_MAX];
    char source[RECORD_VALUE_MAX]; /* "" when nothing was compared */
    char destination[RECORD_VALUE_MAX];
};

struct record_result {
    enum record_outcome outcome;
    enum record_place running_on;
    enum qf_code code; /* its exit status is the process's */
    char reason[RECORD_TEXT_MAX];
    enum record_mode mode;
    uint64_t total_ms;    /* POLICY_UNKNOWN where it was not seen; likewise below */
    uint64_t downtime_ms; /* QEMU's own */
    /* from the source's STOP to the destination's RESUME, as qferry saw */
    uint64_t blackout_ms;
    uint64_t transferred_bytes;
    uint64_t passes;
};

/* How good the forecast was that was made after the second pass (or the last one, when it was over
 * sooner). */
struct record_outcome_of {
    uint64_t pass; /* complete ones, when it was made */
    struct policy_forecast forecast;
    uint64_t total_ms;
    uint64_t downtime_ms;
    uint64_t transferred_bytes;
};

/* Which way the memory goes. */
struct record_network {
    char name[NETSEL_NAME_MAX];       /* "": none was given, or none is usable */
    char address[RECORD_ADDRESS_MAX]; /* where the destination listens; "": nowhere */
    char reason[NETSEL_REASON_MAX];
    uint64_t bandwidth_bytes_per_s; /* the limit; POLICY_UNKNOWN: as QEMU is set */
    char bandwidth_reason[NETSEL_WHY_MAX];
    const struct netsel_choice *choice; /* lent by the machine; NULL: none, or read back */
};

enum record_kind {
    RECORD_PHASE,
    RECORD_CHECK,
    RECORD_NETWORK,
    RECORD_SAMPLE,
    RECORD_FORECAST,
    RECORD_DECISION,
    RECORD_WARNING,
    RECORD_NOTE,    /* journal only */
    RECORD_OUTCOME, /* journal only: what was forecast against what happened */
    RECORD_RESULT
};

struct record {
    enum record_kind kind;
    union {
        struct {
            const char *name;   /* of the machine's phase; static */
            const char *public; /* as INTERFACE names it; static */
        } phase;
        struct record_check check;
        struct record_network network;
        struct policy_sample sample;
        struct policy_forecast forecast;
        struct policy_decision decision;
        char text[RECORD_TEXT_MAX]; /* WARNING, NOTE */
        struct record_result result;
        struct record_outcome_of outcome;
    } u;
};

const char *record_outcome_name(enum record_outcome o);
const char *record_place_name(enum record_place p);
const char *record_mode_name(enum record_mode m);
const char *record_verdict_name(enum check_verdict v);

#endif

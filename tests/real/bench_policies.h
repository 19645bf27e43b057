/* What tools/bench-policies measures and compares: guests (models, and real ones), contenders
 * (policies with overrides, grouped by what they are meant for), and the runs of each contender
 * with each guest.
 *
 *   bench_policies.c  options, the order of things
 *   bench_model.c     runs in virtual time (policy/simulate.h)
 *   bench_guest.c     runs of the real qferry between real QEMUs
 *   bench_judge.c     best references, ratios, the five criteria
 *   bench_table.c     all of it as text and as JSON */
#ifndef QF_TESTS_REAL_BENCH_POLICIES_H
#define QF_TESTS_REAL_BENCH_POLICIES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/model.h"
#include "policy/policy.h"

enum {
    BENCH_SETS_MAX = 4,
    BENCH_CONTENDERS_MAX = 40,
    BENCH_GUESTS_MAX = 64,
    BENCH_RUNS_MAX = 1000,
    BENCH_USES_MAX = 8,
    BENCH_FORECAST_PASS = 2, /* the forecast that is judged is made at the end of it */
    /* waiting is no way to finish when it takes longer than so many times what sending all
     * memory once takes, and one cycle of the guest */
    BENCH_WAIT_TIMES = 10
};

/* What a policy is meant for: only policies with the same intent are compared. */
#define BENCH_INTENTS(X)                    \
    X(PRECOPY, "pre-copy only")             \
    X(GENTLE, "pre-copy only, no throttle") \
    X(POSTCOPY, "post-copy")                \
    X(STOP, "stop if needed")               \
    X(LARGE, "very large")                  \
    X(OTHER, "nothing to compare with")

enum bench_intent {
#define BENCH_INTENT_ENUM(id, name) BENCH_##id,
    BENCH_INTENTS(BENCH_INTENT_ENUM)
#undef BENCH_INTENT_ENUM
        BENCH_INTENTS_COUNT
};

enum bench_role {
    BENCH_OURS,
    BENCH_REFERENCE, /* as those systems have it, with their own constants */
    BENCH_TUNED      /* a reference set by somebody who knew guest and link: shown apart */
};

struct bench_contender {
    enum bench_intent intent;
    enum bench_role role;
    const char *label;
    const char *preset;
    const char *sets[BENCH_SETS_MAX];
    bool timeout_by_memory; /* timeout = twice what sending all memory once takes */
    bool real; /* against real guests also when not all references are wanted */
};

extern const struct bench_contender bench_contenders[];
extern const size_t bench_contenders_count;

struct bench_guest {
    char name[POLICY_MODEL_NAME_MAX];
    char text[POLICY_MODEL_TEXT_MAX];
    bool is_real;
    struct policy_model_spec spec; /* of a model */
    const char *append;            /* of a real guest: its parameters ... */
    unsigned mem_mib;
    uint64_t memory_bytes;
    uint64_t link_bytes_per_s;
    double once_ms;  /* all memory, zero pages left out, over the link */
    double cycle_ms; /* of its phases; 0 = always the same */
    double
        overhead_ms; /* of a blackout, that no downtime limit counts: device state, resume */
};

enum bench_end {
    BENCH_COMPLETED,
    BENCH_GAVE_UP,
    BENCH_TOO_LONG, /* stopped by the benchmark */
    BENCH_LOST
};

/* One migration. Texts are static, or in the run. */
struct bench_run {
    enum bench_end end;
    char mode[16];
    char rule[32]; /* of the last decision that did something */
    char reason[POLICY_TEXT_MAX];
    double total_ms;
    double blackout_ms;
    double bytes;
    double throttle_s; /* percent of the guest's CPU time, over 100, times seconds */
    uint64_t passes;   /* complete ones, at the end */
    /* the first decision that costs the guest something: throttle, postcopy, pause, abort */
    bool costly;
    char costly_action[16];
    double costly_ms;
    uint64_t costly_passes;
    char last_costly[16];
    /* the total as expected at the end of the second pass */
    bool forecast;
    bool forecast_never;
    double forecast_ms;
};

/* One contender's policy with one guest, and its runs. */
struct bench_entry {
    const struct bench_contender *contender;
    struct policy policy;
    double allowed_ms; /* blackout that it allows */
    struct bench_run *runs;
    struct bench_run *waiting; /* of ours: the same guest, nothing but waiting */
    size_t n;
};

/* All that was done with one guest. */
struct bench_case {
    struct bench_guest guest;
    struct bench_entry entries[BENCH_CONTENDERS_MAX];
    size_t n;
};

struct bench_use {
    char name[POLICY_NAME_MAX];
    const char *path;
};

struct bench_options {
    bool simulated;
    bool real;
    bool json;
    bool all_references;
    size_t runs; /* 0 = default of each kind */
    double cap_ms;
    const char *guest;
    const char *policy;
    struct bench_use uses[BENCH_USES_MAX];
    size_t n_uses;
};

/* The file that stands in for a built-in policy, or NULL. */
const char *bench_use(const struct bench_options *o, const char *preset);

/* The policy that does nothing but wait, with this one's greatest downtime. */
void bench_waiting(const struct policy *p, const struct bench_guest *g, struct policy *out);

/* ---- runs ---- */

/* Cannot fail. */
void bench_model_run(const struct bench_guest *g,
                     const struct policy *p,
                     uint64_t seed,
                     struct bench_run *out);

size_t bench_guest_count(void);
void bench_guest_get(size_t i, struct bench_guest *out);

/* 0, or -1 after a sentence. c NULL: the waiting policy. */
int bench_guest_run(const struct bench_options *o,
                    const struct bench_guest *g,
                    const struct bench_contender *c,
                    const struct policy *p,
                    struct bench_run *out);

/* ---- judgement ---- */

enum bench_verdict {
    BENCH_NO_VERDICT,   /* nothing to compare with */
    BENCH_RATIO,        /* both completed */
    BENCH_ALONE,        /* no reference completed, ours did */
    BENCH_BOTH_GAVE_UP, /* the ratio is that of the times until then */
    BENCH_WORSE         /* a reference completed, ours did not */
};

struct bench_ratio {
    enum bench_verdict verdict;
    double value;
    const struct bench_entry *against; /* the best reference; NULL = none */
};

/* Run i of one of ours against the references of the same intent. tuned: also those. */
struct bench_ratio bench_ratio_of(const struct bench_case *c,
                                  const struct bench_entry *ours,
                                  size_t i,
                                  bool tuned);

/* Over all runs. */
struct bench_summary {
    struct bench_ratio ratio; /* verdict: the worst that came up; value: geometric mean */
    double worst;
    size_t completed;
    size_t representative; /* the run with the median total among those of the usual end */
};
struct bench_summary bench_summary_of(const struct bench_case *c,
                                      const struct bench_entry *e);

/* Could it have been finished by waiting? */
bool bench_converges(const struct bench_entry *ours, size_t i);

struct bench_criterion {
    const char *title;
    bool met;
    bool judged; /* false: there was nothing to judge */
    char text[8192];
};
enum { BENCH_CRITERIA = 5 };
void bench_judge(const struct bench_case *cases,
                 size_t n,
                 bool is_real,
                 struct bench_criterion out[BENCH_CRITERIA]);

/* ---- output ---- */

const char *bench_intent_name(enum bench_intent intent);
void bench_print_case(const struct bench_case *c);
void bench_print_criteria(const char *what,
                          const struct bench_criterion criteria[BENCH_CRITERIA]);
json_t *bench_case_json(const struct bench_case *c);
json_t *bench_criteria_json(const struct bench_criterion criteria[BENCH_CRITERIA]);

/* "1.23 s", "12:34 min" ...; returns out. */
const char *bench_time(double ms, char out[32]);

#endif

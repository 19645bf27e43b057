/* A journal as the beginning of a simulation: what would another policy have done in that very
 * migration?
 *
 * The samples of the journal are fed to the policy. As long as it decides what was decided then,
 * what happened next is known: it is in the journal. From its first other decision on the journal
 * no longer tells, and a model takes over (policy/model.h): its guest writes as the pass
 * boundaries of the journal show (two sets of pages, fitted), its link carries what was recorded,
 * and it begins in the state of that moment. What it says from there is an estimate.
 *
 * Data: text in memory. */
#ifndef QF_ENGINE_CURVE_H
#define QF_ENGINE_CURVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/err.h"
#include "policy/policy.h"
#include "policy/simulate.h"

/* One sample, and what was decided on it. */
struct curve_moment {
    struct policy_sample s;
    enum policy_action action;
    uint64_t value;
};

/* What the journal says of the end; known false: it has no result. */
struct curve_end {
    bool known;
    char outcome[16];
    char mode[16];
    uint64_t total_ms; /* POLICY_UNKNOWN where the journal has none; likewise below */
    uint64_t downtime_ms;
    uint64_t blackout_ms;
    uint64_t transferred_bytes;
    uint64_t passes;
    char reason[POLICY_TEXT_MAX];
};

struct curve {
    struct policy policy;         /* that it was made with */
    bool stopped_first;           /* the guest was stopped before memory moved */
    struct curve_moment *moments; /* owned */
    size_t n;
    uint64_t lines;
    bool cut; /* the last line is incomplete: qferry was killed while it wrote */
    struct curve_end end;
};

/* Is this text a journal (and no MODEL)? Its first line is an object of type `journal`. */
bool curve_is_journal(const char *text, size_t len);

/* Read a journal. QF_E_USAGE: not one, or a line that is none (the sentence names the line); a
 * journal without a single sample. To be freed by curve_fini. */
int curve_load(struct curve *c, const char *text, size_t len, struct qf_err *err);

/* Safe on a zeroed struct and after a failed curve_load. */
void curve_fini(struct curve *c);

/* What became of it. */
struct curve_outcome {
    bool as_recorded;  /* the policy decided nothing else: the journal's own end */
    uint64_t until_ms; /* since `migrate`: recorded so far, modelled from there */
    char because[2 * POLICY_TEXT_MAX]; /* which decision differed */
    char guest[POLICY_TEXT_MAX];       /* what the model took from the journal, in words, */
    struct policy_model_spec spec;     /* and in numbers */
    struct simulate_result result;
};

/* Run the policy against the journal. sim is room for the run, the caller's, and good as long as
 * out is; ops hears of all decisions, also of those on recorded samples. */
void curve_simulate(const struct curve *c,
                    const struct policy *p,
                    uint64_t seed,
                    const struct simulate_ops *ops,
                    void *arg,
                    struct simulate *sim,
                    struct curve_outcome *out);

/* The guest and the link that the journal shows, as a model; from_ns (since `migrate`): the link
 * from there on. Returns false when nothing is known of what the guest writes. */
bool curve_fit(const struct curve *c, int64_t from_ns, struct policy_model_spec *spec);

#endif

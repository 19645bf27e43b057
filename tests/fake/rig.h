/* Migrations through drive_uv against fake QEMUs, any number of them on one loop, run to their
 * end and looked over: what the tests of this folder share.
 *
 * rig_run checks of each migration, whatever its test is about:
 *   - nothing happened to the guest that must never happen; it runs where the result says
 *   - each command stood in the journal's file before it was sent
 *   - the file replays identically
 *   - the schema refused nothing but the question for exit-on-error
 *   - at on_end nothing of the drive was in the loop; at last the loop closes */
#ifndef QF_TESTS_FAKE_RIG_H
#define QF_TESTS_FAKE_RIG_H

#include <stdbool.h>
#include <uv.h>

#include "engine/drive_uv.h"
#include "engine/request.h"
#include "tests/fake/fake.h"

enum { RIG_MOVES_MAX = 8, RIG_SETS_MAX = 4 };

struct rig;

enum rig_journal { RIG_JOURNAL_FILE, RIG_JOURNAL_NONE, RIG_JOURNAL_FD };

struct rig_move {
    /* What the test wants; rig_add fills in a migration that completes. */
    struct fake_opts opts;
    const char *policy;            /* a preset; NULL: the default */
    const char *set[RIG_SETS_MAX]; /* fields of it */
    const char *addr[MIG_SIDES];   /* instead of the fake's */
    const char *network[2];        /* CIDRs to choose from */
    const char *address;           /* of the destination; NULL: not given */
    bool dry_run, quit_source, quit_destination;
    enum rig_journal journal;
    int journal_fd;
    unsigned cancel_at_command; /* when the n-th arrives at either fake */
    unsigned cancel_at_record;  /* from inside on_record of the n-th */
    bool cancel_first;          /* before the loop has turned */
    unsigned operator_at_command;
    const char *operator_says; /* "pause", or what is to be set: "timeout=1s" */
    /* When the n-th command arrives, this befalls (n 0: never). */
    unsigned fault_at_command;
    struct model_fault fault;

    /* What came of it. */
    bool ended;
    struct record_result result;
    struct model_truth truth;  /* at the end */
    size_t said[MODEL_SIDES];  /* bytes */
    unsigned operator_refused; /* ... and why, the last time: */
    struct qf_err refusal;
    unsigned commands, records, journal_errors;
    struct qf_err journal_error;
    unsigned postcopy_records; /* decisions for it */
    uint64_t lines;            /* of the journal, replayed */

    /* The rig's own. */
    struct rig *rig;
    struct fake fake;
    struct drive drive;
    struct request request;
    char name[16];
    char path[128];
    json_t *sends; /* what the journal's file says is sent */
    size_t read;   /* bytes of it that were looked at */
    const char *wrong;
    char wrong_text[512];
};

struct rig {
    uv_loop_t loop;
    char dir[64];
    struct schema *schema;
    uv_timer_t guard;
    struct rig_move *move[RIG_MOVES_MAX];
    unsigned n_moves;
    unsigned n_ended;
    unsigned inside;  /* counts while code of the tests runs */
    unsigned seconds; /* how long rig_run may take; 0: 60 */
};

void rig_init(struct rig *r);

/* One more migration, freed by rig_fini. */
struct rig_move *rig_add(struct rig *r);

/* Open the fakes, start the drives, turn the loop until everything has ended and is closed. */
void rig_run(struct rig *r);

/* Forget the migrations, so that others can be run. */
void rig_clear(struct rig *r);
void rig_fini(struct rig *r);

/* The exit status of the process that this would have been. */
int rig_status(const struct rig_move *m);

/* Completed, with the guest at the destination. */
void rig_completed(const struct rig_move *m);

#endif

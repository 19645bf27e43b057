/* What tools/faults and tools/campaign share: the cells of the table, a world for one of them, the
 * moment that is waited for, the fault, the judge.
 *
 *   table    what there is: modes, ways, moments, faults; which of them go together, and why not
 *   world    a cell's own namespaces, machines, qferry
 *   strike   waits for the moment, and breaks something
 *   judge    who runs the guest, whether its memory is whole, what was said, what was left behind
 *   rows     a cell in a process of its own, its row on stdout and in a file
 *   shrink   the simplest cell that still fails
 *
 * A cell runs in a process of its own (rows), so there is one world, a global. */
#ifndef QF_TESTS_REAL_FAULTS_H
#define QF_TESTS_REAL_FAULTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tests/real/lab.h"

/* ---- table ---- */

/* How memory is moved: the guest that shows it, the options of qferry. */
#define MODES(X)                                                      \
    X(PRECOPY, "precopy", "ws=24 rate=1500", "--bandwidth 14MiB")     \
    X(POSTCOPY, "postcopy", "ws=24 flat",                             \
      "-p post-copy --bandwidth 40MiB --set postcopy.bandwidth=6MiB") \
    X(STOP, "stop-and-copy", "ws=24 rate=1500", "-p stop-and-copy --bandwidth 14MiB")

/* What carries it. */
#define WAYS(X)                             \
    X(PLAIN, "plain", "")                   \
    X(CHANNELS, "channels", "--channels 2") \
    X(PSK, "psk", "--encrypt psk")          \
    X(CHANNELS_PSK, "channels-psk", "--channels 2 --encrypt psk")

#define MOMENTS(X)                        \
    X(SETUP, "setup")                     \
    X(FIRST_PASS, "first-pass")           \
    X(LATER_PASS, "later-pass")           \
    X(PRE_SWITCHOVER, "pre-switchover")   \
    X(DEVICE, "device")                   \
    X(ACK_LOST, "device-ack-lost")        \
    X(POSTCOPY_ACTIVE, "postcopy-active") \
    X(POSTCOPY_PAUSED, "postcopy-paused") \
    X(RECOVERING, "recovering")           \
    X(COMPLETED, "completed")

#define FAULTS(X)                                        \
    X(NONE, "none")                                      \
    X(KILL_SOURCE, "kill-source")                        \
    X(KILL_DESTINATION, "kill-destination")              \
    X(KILL_QFERRY, "kill-qferry")                        \
    X(FREEZE_SOURCE, "freeze-source")                    \
    X(FREEZE_DESTINATION, "freeze-destination")          \
    X(LINK_DOWN, "link-down")                            \
    X(LINK_BACK, "link-down-and-back")                   \
    X(HOLE, "black-hole")                                \
    X(HOLE_BACK, "black-hole-and-back")                  \
    X(RESET, "reset")                                    \
    X(MONITOR_SOURCE, "source-monitor-closed")           \
    X(MONITOR_DESTINATION, "destination-monitor-closed") \
    X(JOURNAL, "journal-full")                           \
    X(CANCEL, "cancel")                                  \
    X(WORDS, "words-lost")

/* clang-format off */
enum mode {
#define X(id, ...) MODE_##id,
    MODES(X)
#undef X
    MODE_COUNT
};
enum way {
#define X(id, ...) WAY_##id,
    WAYS(X)
#undef X
    WAY_COUNT
};
enum moment {
#define X(id, name) MOMENT_##id,
    MOMENTS(X)
#undef X
    MOMENT_COUNT
};
enum fault {
#define X(id, name) FAULT_##id,
    FAULTS(X)
#undef X
    FAULT_COUNT
};
/* clang-format on */

extern const char *const mode_names[MODE_COUNT];
extern const char *const mode_guests[MODE_COUNT];
extern const char *const mode_options[MODE_COUNT];
extern const char *const way_names[WAY_COUNT];
extern const char *const way_options[WAY_COUNT];
extern const char *const moment_names[MOMENT_COUNT];
extern const char *const fault_names[FAULT_COUNT];

enum { FAULTS_TEXT = 512, FAULTS_NAME = 160 };

struct cell {
    enum mode mode;
    enum way way;
    enum moment moment;
    enum fault fault;
    unsigned delay_ms;         /* after the moment */
    char guest[128];           /* parameters; "": the mode's */
    char options[FAULTS_TEXT]; /* of qferry; "": the mode's. The way's come on top */
};

/* major * 100 + minor; 0: it does not say. */
struct faults_versions {
    unsigned src, dst;
};

/* Of the QEMUs that the laboratory uses: asks each `--version`. */
struct faults_versions faults_ask_versions(void);

/* "7.2>10.0" */
const char *faults_versions_text(struct faults_versions v, char out[32]);

/* Why there is no such cell on these versions, or NULL. "": it is none of the table's. Static. */
const char *cell_unreachable(const struct cell *c, struct faults_versions v);

/* "precopy/device/cancel" */
const char *cell_name(const struct cell *c, char out[FAULTS_NAME]);

/* MODE/MOMENT/FAULT, each of which may be empty; "" is every one. False: there is no such name. */
bool cell_pattern_is_known(const char *pattern);
bool cell_matches(const struct cell *c, const char *pattern);

/* Also "all": -1. False: there is no such way. */
bool way_of(const char *name, int *out);

/* The i-th of all cells there could be: those of a moment stand together. False: no more. */
bool cell_at(unsigned i, struct cell *out);

/* ---- world ---- */

struct settings {
    json_t *params, *caps, *objects;
};

struct faults_world {
    struct cell cell;
    const char *with; /* more options of qferry */
    struct lab *lab;
    struct lab_vm *vm[2]; /* source, destination */
    struct lab_proc *qferry;
    struct lab_proc *relay[2]; /* monitors that can be cut */
    char monitor[2][LAB_PATH_MAX];
    char disk[LAB_PATH_MAX]; /* the journal's; "": the laboratory's folder */
    char run[LAB_PATH_MAX];  /* qferry's runtime directory ... */
    char state[LAB_PATH_MAX];
    char control[LAB_PATH_MAX];
    char journal[LAB_PATH_MAX];
    struct settings found[2];
    pid_t own[16]; /* our children before there was a qferry */
    unsigned n_own;
    int64_t struck_ns; /* 0: not yet */
    bool ack_is_lost;
    bool missed; /* the moment had passed */
    char hit[FAULTS_TEXT];
    char note[FAULTS_TEXT];
};

enum { FAULTS_SRC, FAULTS_DST };

extern struct faults_world w;

/* What the row says; the last word stays. */
void faults_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A command of the shell; what it says is not shown. */
bool faults_sh(const char *command);

bool world_begin(void);
void world_end(void);
bool world_begin_qferry(void);

/* What can be set of a QEMU, as it is now; owned by the caller. False: it does not answer. */
bool settings_read(struct lab_vm *vm, struct settings *out);
void settings_free(struct settings *s);

/* Our children now. */
unsigned world_children(pid_t out[16]);

/* From now on nothing that the destination says over the migration's connections gets through, but
 * that it has received; and what was said since does. */
bool world_lose_ack(void);
void world_find_ack(void);

/* ---- strike ---- */

bool faults_wait_for_moment(void);
void faults_strike(void);

/* Was this status told in an event? */
bool faults_was_status(struct lab_vm *vm, const char *status);

/* ---- judge ---- */

/* As it is told from process to process. */
enum verdict { GOOD, LOST, HELD, BAD };
extern const char *const verdict_names[BAD + 1];

enum verdict faults_run_cell(void);

/* ---- rows ---- */

struct row {
    enum verdict verdict;
    bool missed;
    char hit[FAULTS_TEXT];
    char note[FAULTS_TEXT];
};

struct rows {
    const char *with;
    struct faults_versions versions;
    FILE *artefact; /* NULL: none */
    unsigned n;
    unsigned missed;
    unsigned count[BAD + 1];
};

/* Open the file and say at its top what this is. Path NULL: no file. False after a sentence. */
bool rows_begin(struct rows *r, const char *title, const char *path);

/* A line on stdout and in the file. */
void rows_print(const struct rows *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Run the cell in a process of its own. Nothing is printed but by a BAD one, on stderr. */
void rows_run(const struct rows *r, const struct cell *c, struct row *out);

/* ... and print its row, and count it. */
void rows_add(struct rows *r, const struct cell *c, struct row *out);

/* The command that runs this cell again. */
const char *rows_again(const struct rows *r, const struct cell *c, char *out, size_t size);

/* The last line. Returns the exit status: 1 with anything BAD, or without any row. */
int rows_end(struct rows *r);

/* Why nothing can be run here, or NULL. */
const char *faults_missing(void);

/* ---- shrink ---- */

/* Make a cell that fails simpler, one change at a time, for as long as it fails: the mode's own
 * guest, its own options, no delay, the plain way. Returns how often `fails` was asked. Pure. */
unsigned cell_shrink(struct cell *c,
                     bool (*fails)(const struct cell *c, void *arg),
                     void *arg);

#endif

/* What the tests of the real qferry share: a world with a source and a destination, runs of the
 * program in it, and what must hold after every run.
 *
 * Functions assert with Check and return nothing when the answer is only "fine"; a failed run is
 * shown on stderr, and with QFERRY_KEEP_JOURNALS=DIR its journal is copied there. A world belongs
 * to a checked fixture: world_close() frees everything, also after a failure. */
#ifndef QF_TESTS_REAL_MOVE_H
#define QF_TESTS_REAL_MOVE_H

#include <check.h>
#include <jansson.h>
#include <stdbool.h>

#include "tests/real/lab.h"

enum {
    WORLD_VMS_MAX = 12,
    WORLD_MOVES_MAX = 12,
    WORLD_PROCS_MAX = 256,
    WORLD_CHILDREN_MAX = 64,
    REAL_TIMEOUT_S = 300, /* of one test; only one that fails takes so long */
    REAL_SKIPPED = 77     /* what ctest takes for "not run" */
};

/* Arrays of arguments; the second is empty. */
#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define NO_ARGS   ((const char *const[]){NULL})

struct world;

/* One run of `qferry migrate` or `qferry preflight` with --json and a journal. */
struct move {
    struct world *w;
    struct lab_proc *proc;
    char journal[LAB_PATH_MAX];

    /* After move_end(): */
    bool ended;
    int exit;             /* exit status; -1: killed by a signal */
    json_t *lines;        /* every line of stdout */
    const json_t *result; /* the last of them */
};

struct world {
    struct lab *lab;
    struct lab_vm *vms[WORLD_VMS_MAX];
    unsigned n_vms;
    struct lab_proc *procs[WORLD_PROCS_MAX];
    unsigned n_procs;
    struct move moves[WORLD_MOVES_MAX];
    unsigned n_moves;
    pid_t own[WORLD_CHILDREN_MAX]; /* children that are not of this world */
    unsigned n_own;
    bool
        reaps; /* orphans may come and must end by themselves: of an sshd, of a killed qferry */

    /* Put before qferry's command line (`ip netns exec NAME`); NULL: nothing. Lent. */
    const char *const *prefix;

    /* world_pair(): */
    bool dst_starts; /* its destination is to be without -S */
    struct lab_vm *src;
    struct lab_vm *dst;
    json_t *src_settings; /* as found */
    json_t *dst_settings;
};

/* ---- the world ---- */

void world_open(struct world *w);
void world_close(struct world *w);

/* A machine. It has not booted yet. */
struct lab_vm *world_vm(struct world *w, const struct lab_vm_opts *opts);

/* src: a booted guest that was started with `append`; dst: waits with -incoming defer -S. */
void world_pair(struct world *w, const char *append);

/* The same with more to say: dst gets the machine, memory, CPUs, UUID and devices of src. */
void world_pair_of(struct world *w, const struct lab_vm_opts *src);

/* Another machine as w->dst was; becomes w->dst. */
void world_new_destination(struct world *w);

/* Run a program to its end; exit status. */
int world_run(struct world *w, const char *const *argv, struct lab_proc **proc);

/* ---- a run ---- */

/* qferry COMMAND SRC DST --json --journal FILE EXTRA. */
struct move *move_begin_at(struct world *w,
                           const char *command,
                           const char *src,
                           const char *dst,
                           const char *const *extra);

/* The same between w->src and w->dst; command migrate. */
struct move *move_begin(struct world *w, const char *const *extra);

/* Wait for a JSON line; it and all before are used up. */
void move_wait_line(struct move *m, const char *part);
void move_wait_phase(struct move *m, const char *phase);

/* Wait until memory moves. */
void move_wait_memory(struct move *m);

/* Wait for the end and check what must hold after every run: the last line, and only that, is a
 * result; its exit status is the process's; every line is JSON with time and type; the
 * journal replays; no process is left. */
void move_end(struct move *m);

/* SIGKILL: it cannot say a word any more, and has ended. What it leaves behind is the test's affair. */
void move_kill(struct move *m);

/* The whole of it. */
struct move *move_run(struct world *w, const char *const *extra);

/* What the result says. */
#define move_expect(m, exit, outcome, running_on) \
    move_expect_at(m, exit, outcome, running_on, __FILE__, __LINE__)
void move_expect_at(const struct move *m,
                    int exit,
                    const char *outcome,
                    const char *running_on,
                    const char *file,
                    int line);

/* A string of the result line. */
const char *move_result(const struct move *m, const char *key);

/* The reason has this in it. */
#define move_expect_reason(m, part) move_expect_reason_at(m, part, __FILE__, __LINE__)
void move_expect_reason_at(const struct move *m,
                           const char *part,
                           const char *file,
                           int line);

/* Lines of that type whose member `key` has `part` in it; is there one? */
unsigned move_count(const struct move *m,
                    const char *type,
                    const char *key,
                    const char *part);
bool move_has(const struct move *m, const char *type, const char *key, const char *part);

/* The verdict of a check; "" when it was not made. */
const char *move_verdict(const struct move *m, const char *check);

/* Show it all on stderr. */
void move_dump(const struct move *m);

/* ---- what must be true ---- */

/* `vm` runs, no other machine does, and the guest finds all its memory as it must be. */
#define expect_guest_on(w, vm) expect_guest_on_at(w, vm, 1, __FILE__, __LINE__)
void expect_guest_on_at(
    struct world *w, struct lab_vm *vm, int running, const char *file, int line);

/* Nobody runs. */
void expect_nobody_runs(struct world *w);

/* Settings (migration parameters and capabilities); new. */
json_t *settings_of(struct lab_vm *vm);
void expect_settings(struct lab_vm *vm, const json_t *settings);

/* As if qferry had not been here: both have their settings, w->dst listens nowhere. */
void expect_as_found(struct world *w);

/* ... and w->dst waits as it was started, the guest is on w->src. */
void expect_not_begun(struct world *w);

/* A destination whose incoming migration broke off: its process ends with status 1, or, from 9.1 on
 * where it can be told to stay, it says `failed` and is good for nothing but `quit`. */
void expect_used_up(struct lab_vm *vm);

/* The process has ended, with this status. */
void expect_exit(struct lab_vm *vm, int status);

/* ---- main ---- */

/* Run the suite; skip with a reason where QEMU is missing. */
int real_main(Suite *suite);

#endif

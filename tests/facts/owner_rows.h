/* The proof of the ownership table (engine/owner.c), row by row: two real QEMUs are driven by their monitors
 * alone into a pair of states; what they say goes through the engine's own decoder and its own table; then
 * what the row allows is done, and what comes of it is seen. Where a row forbids what a person might try,
 * that is tried too, to show what it forbids.
 *
 * What all of it shares. Functions assert with Check. */
#ifndef QF_TESTS_FACTS_OWNER_ROWS_H
#define QF_TESTS_FACTS_OWNER_ROWS_H

#include <check.h>
#include <signal.h>

#include "engine/owner.h"
#include "tests/facts/relay.h"
#include "tests/real/move.h"

/* As engine/owner.c names them. */
#define MAY_BREAK (MAY_PAUSE_SRC | MAY_PAUSE_DST)
#define MAY_MEND  (MAY_BREAK | MAY_RECOVER | MAY_RESUME)

enum { ROWS_SILENT_MS = 400 };

struct rows {
    struct world w; /* w.src, w.dst: the pair */
    /* The flags are what a program would know that has done what the test did; the sides are read by
     * rows_expect(). A side that does not answer, or is dead, keeps what it said last. */
    struct owner_facts f;
    /* It may not answer: it is not waited for. */
    bool src_mute;
    bool dst_mute;
    /* What it said last stays: it was read before the other side went on. */
    bool src_kept;
    bool dst_kept;
    bool no_return_path; /* before rows_pair() */
    bool self_start;     /* likewise: the destination without -S */
    bool postcopy;       /* likewise */
    bool stop_first;     /* before rows_to_switch(): the source, as qferry does it */
    char uri[64];        /* of the destination, through the relay */
    unsigned row;        /* the last that was expected */
};

extern struct rows rows;

/* ---- of a test ---- */

void rows_setup(void);
void rows_teardown(void);

/* What was said and seen of the states that rows_expect() looked at last: this row is proved. */
void rows_proved(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* This version does not show that state: said, no failure. True. */
bool rows_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Both sides are read; owner.c must find this, in all four columns. */
void rows_expect(enum owner_of owner,
                 enum owner_stage stage,
                 unsigned may,
                 const char *why);

/* Both sides are read, nothing is expected; the view. */
struct owner_view rows_look(void);

/* The source's version is this, or a later one. */
bool rows_is(int major, int minor);

/* ---- machines ---- */

#define ROWS_IDLE "ws=8 rate=100"
#define ROWS_BUSY "ws=24 flat"

/* src: a booted guest; dst: waits with -S, and does not listen. Capabilities are set. */
void rows_pair(const char *append);
void rows_pair_with(const char *append,
                    const char *const *src_extra,
                    const char *const *dst_extra);

/* Another machine that waits; becomes w.dst. */
void rows_other_destination(void);

void rows_freeze(struct lab_vm *vm);
void rows_thaw(struct lab_vm *vm);

/* SIGKILL, and its end. Its connections are not ended where the relay holds them. */
void rows_kill(struct lab_vm *vm);
void rows_quit(struct lab_vm *vm);

/* What happened to it that ends the incoming migration of dst: from 9.1 on it stays, and says failed. */
void rows_wait_dst_failed(void);

/* ---- commands ---- */

void rows_qmp(struct lab_vm *vm, const char *command);
void rows_oob(struct lab_vm *vm, const char *command);

/* Is it taken? why (may be NULL) gets the refusal. */
bool rows_taken(struct lab_vm *vm, const char *command, char why[256]);

/* dst listens, a relay stands before it, src migrates: to `active`. */
void rows_migrate(void);

/* The same towards nobody: what src sends is swallowed, and dst listens. */
void rows_migrate_to_nobody(void);

/* ... and on to pre-switchover; with post-copy it is the switch to post-copy. */
void rows_to_switch(void);

/* migrate-continue. */
void rows_continue(void);
/* ... to a source that may hang before it answers that. */
void rows_continue_unheard(void);
void rows_wait(struct lab_vm *vm, const char *status);

/* src is completed, and its guest stopped for good: that comes a moment later, and only then it takes cont. */
void rows_wait_src_done(void);

/* src has said all that it has to say for now: nothing comes any more. */
void rows_wait_quiet(void);

/* migrate_cancel, and its end; and the source runs again. */
void rows_cancel_any(void);
void rows_cancel(void);
/* yank on the source, out of band. */
void rows_send_yank(void);
/* ... and the source runs again. */
void rows_yank(void);
/* Alternately. */
void rows_cancel_or_yank(int i);

/* ---- what must be true ---- */

/* It runs, no other does, its memory is whole. */
void rows_only_on(struct lab_vm *vm);

/* It is dead, or a cont does not make it run. */
void rows_cannot_run(struct lab_vm *vm);

/* Machines that run, of those that are alive. */
int rows_running(void);

void rows_run_state(struct lab_vm *vm, const char *want);
bool rows_runs(struct lab_vm *vm);

/* ---- post-copy ---- */

/* src is in post-copy, dst has the device state and waits for cont. */
void rows_to_postcopy(void);

/* cont on dst, while the source is stopped. */
void rows_hand_over(void);
void rows_to_running_postcopy(void);

/* What rows_to_postcopy(), and rows_to_running_postcopy(), have led to. */
void rows_expect_ready(void);
void rows_expect_split(void);

/* Let the memory go at full speed. */
void rows_let_loose(void);

/* ... to the end, on both sides. */
void rows_complete(void);

/* A cont does not make src run. */
void rows_src_stays_down(void);

/* Both connections are cut, or one; and it was noticed there. */
void rows_break(unsigned ends);
void rows_wait_paused(struct lab_vm *vm);

/* Interrupted on both sides: recovered, let loose, completed; the guest is on dst alone, and whole. */
void rows_recover(void);

/* ---- the cases ---- */

/* A case of that name, in the suite. */
TCase *rows_begin_case(Suite *s, const char *name);

void rows_add_precopy(Suite *s);
void rows_add_switch(Suite *s);
void rows_add_postcopy(Suite *s);
void rows_add_broken(Suite *s);
void rows_add_last_word(Suite *s);

#endif

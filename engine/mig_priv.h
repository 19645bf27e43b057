/* What the machine's own files share: mig.c, recipe.c, phase_*.c. Nobody else includes it. */
#ifndef QF_ENGINE_MIG_PRIV_H
#define QF_ENGINE_MIG_PRIV_H

#include "engine/mig.h"
#include "engine/recipe.h"

/* The handlers. Each is called with MIG_EV_ENTER first. */
typedef void mig_handler(struct mig *m, const struct mig_event *ev, struct mig_todo *todo);
mig_handler phase_connect, phase_preflight, phase_measure, phase_configure, phase_start,
    phase_precopy, phase_switchover, phase_postcopy, phase_recover, phase_finish,
    phase_rollback, phase_reconcile, phase_again;

/* ---- commands in flight (mig_ask.c) ---- */

/* What the absence of an answer means. */
enum ask_late {
    LATE_GIVE_UP, /* before anything has started: end, or roll back */
    LATE_DOUBT,   /* it may or may not have happened: reconcile */
    LATE_SILENT,  /* a look: this side counts as silent until it answers */
    LATE_PHASE    /* the phase knows: it gets MIG_EV_LATE */
};

/* Send any command; row of the running recipe, or -1. The others below stand in front of it. */
uint64_t mig_send(struct mig *m,
                  struct mig_todo *todo,
                  enum mig_side_id side,
                  const struct qapi_cmd *cmd,
                  int row);

struct mig_ask *mig_find_ask(struct mig *m, uint64_t id);

/* The answer has come: its place is free while it is handled, so that it can be asked again. */
void mig_release_ask(struct mig *m, const struct mig_event *ev);

/* A late question hinders the next one no longer; should its answer still come, it is passed over.
 * late_one is a copy: its place in m->ask is cleared. */
void mig_give_up_asking(struct mig *m, const struct mig_ask *late_one);

enum ask_late mig_ask_late(enum qapi_command c);
uint32_t mig_ask_deadline_ms(enum qapi_command c);

/* ---- facts (mig_facts.c) ---- */

void mig_take_facts(struct mig *m, const struct mig_event *ev);

/* The destination waits for a migration (inmigrate; none or setup), nothing has come to it; ... and it was
 * told to listen, on a TCP port. By its last answer. */
bool mig_is_waiting(const struct mig *m);
bool mig_is_listening(const struct mig *m);

/* A link that went down, or is given up, takes its unanswered commands with it. */
void mig_forget_asks(struct mig *m, enum mig_side_id side);

/* The code for a side that cannot be reached before memory moves. In a later attempt a destination
 * is one that did not come back: the connection was lost, and the source runs on. */
enum qf_code mig_unreachable(const struct mig *m, enum mig_side_id side, enum qf_code code);

/* ---- the source's QEMU cleans up after a migration (mig_gate.c) ---- */

/* Does this event say that it has? */
bool mig_gate_opens(const struct mig_event *ev);

/* It has been shut since then, for longer than cleaning up takes: it will not open. */
bool mig_gate_stays_shut(const struct mig *m, int64_t since_ns);

/* Ask, and wake the phase to ask again. */
void mig_gate_ask(struct mig *m, const struct mig_event *ev, struct mig_todo *todo);

/* ---- the way across (mig_network.c) ---- */

/* Choose by what was found out. Too late, or twice: passed over. */
void mig_take_network(struct mig *m, const struct netsel_facts *f);

/* Is it known which network to take? Otherwise MIG_EV_NETWORK is to be waited for. After 10 s of
 * the phase it is known that there is none. */
bool mig_knows_network(struct mig *m);

/* Where a QEMU listens or goes to, as QEMU reads it: an address of IPv6 in brackets. port may say more
 * than a number: "4444,to=4460". */
void mig_write_tcp(char uri[QAPI_URI_MAX], const char *address, const char *port);

/* Find out about the networks (again): of every one, or until one is chosen. MIG_EV_NETWORK follows.
 * Nothing when it is under way. */
void mig_probe(struct mig *m, struct mig_todo *todo, bool to_the_end);

/* The choice takes effect: address, bandwidth, a record; mig_fail when there is none. */
void mig_use_network(struct mig *m, struct mig_todo *todo);

/* ---- moves that go the same way (mig_share.c) ---- */

/* m->network, of which one is chosen, is in use from now on: what it allows becomes this move's part of
 * it. is_same: it is the one that was in use, and what is not known of it any more stays. */
void mig_share_network(struct mig *m, bool is_same);

/* MIG_EV_RECEIVER. */
void mig_take_receiver(struct mig *m, const struct mig_links *links);

/* MIG_EV_RUNNING. */
void mig_take_others(struct mig *m, const struct mig_others *others);

/* After each event: QEMU's limits follow, as soon as they can. */
void mig_share_step(struct mig *m, struct mig_todo *todo);

/* ---- what carries the memory (mig_channels.c) ---- */

/* Decide on channels, by option, policy or default; *why is for people. Which policy allows what
 * must be known. */
void mig_choose_channels(struct mig *m, char *why, size_t size);

/* Channels unasked only where QEMU is not known to hang with them when the destination dies or the move is
 * cancelled: 7.2 does now and then (phase_rollback.c). So does 10.0 when the destination dies in `device`, and
 * then it holds the lock of its main loop, with the guest stopped: nothing reaches it any more (3 of 41 times,
 * multifd_send_sync_main). 11.1 did not in 160. */
bool mig_may_choose_channels(const struct mig *m);

/* Is QEMU's word to be taken for it that it can do multifd and post-copy together? */
bool mig_is_pair_answered(const struct mig *m);

/* The same, without channels. */
void mig_one_stream(struct mig *m);

/* With compression a sample counts wire bytes from 8.0 on, but what is left is counted raw: make
 * them comparable. */
void mig_uncompress(const struct mig *m, struct policy_sample *s);

/* What the destination can be sent in the switch, by what was seen: avail-switchover-bandwidth.
 * 0: leave it. */
uint64_t mig_switchover_rate(const struct mig *m);

/* Is the source's monitor on this host? Interfaces, routes and cores are those of it. */
bool mig_is_source_here(const struct mig *m);
/* ---- parameters that others change (mig_settings.c) ---- */

/* PRECOPY, for every event. */
void mig_settings_watch(struct mig *m, const struct mig_event *ev, struct mig_todo *todo);

/* These go to the source. */
void mig_settings_sent(struct mig *m, const struct qapi_params *p);

/* A device is gone on one side since PREFLIGHT has compared them: mig_fail, true. */
bool mig_is_unplugged(struct mig *m);

/* ---- nothing moves (mig_stall.c) ---- */

/* PRECOPY, SWITCHOVER, POSTCOPY: count what moves, and tell why nothing does. For every event. In
 * POSTCOPY who asks is the phase. */
void mig_stall_watch(struct mig *m, const struct mig_event *ev, struct mig_todo *todo);

/* Ask both sides and the path; stall.oob and MIG_EV_NETWORK tell what comes of it. */
void mig_stall_ask(struct mig *m, struct mig_todo *todo);

/* From now on it may stand still: what was asked is forgotten. */
void mig_stall_restart(struct mig *m);

/* MIG_EV_NETWORK: what it says of the path in use. */
void mig_stall_take_path(struct mig *m, const struct netsel_facts *f);

/* ---- marks for the next qferry in the source's parameters (mig_marks.c) ---- */

enum mig_mark {
    MIG_MARK_STOPPED,   /* qferry has stopped the guest: it is to run in the end */
    MIG_MARK_SELF_START /* --self-start: the destination starts the guest by itself */
};

/* The parameter that carries it. */
enum qapi_param mig_mark_param(enum mig_mark mark);

/* Is it in these, that are the source's? */
bool mig_has_mark(const struct qapi_params *p, enum mig_mark mark);

/* Does the source's QEMU have that parameter? */
bool mig_can_mark(const struct mig *m, enum mig_mark mark);

/* Put it among what is to be set on the source. */
void mig_put_mark(struct qapi_params *p, enum mig_mark mark);

/* Was it found in the source, left there by another qferry? Then it counts as changed from here on, by
 * what was QEMU's default, and is put back so in the end. */
bool mig_take_mark(struct mig *m, enum mig_mark mark);

/* One that was taken is to be taken out now, with what is set on the source. */
void mig_clear_taken_mark(const struct mig *m, struct qapi_params *p, enum mig_mark mark);

/* ---- what a killed qferry knew (mig_memory.c) ---- */

/* MIG_EV_MEMORY. */
void mig_take_memory(struct mig *m, const struct mig_memory *mem);

/* CONNECT: this side cannot be reached. Is there something to be done all the same, for what is
 * known from the journal? Then PREFLIGHT asks the other one alone. */
bool mig_memory_does_without(struct mig *m, const struct mig_event *ev);

/* PREFLIGHT, with all answers: memory that contradicts them is dropped, with a note. */
void mig_memory_judge(struct mig *m, struct mig_todo *todo);

/* ... is what is found the move that is remembered, although it does not look like one that can be
 * taken up (undone, or without its destination)? */
bool mig_memory_is_ours(const struct mig *m);

/* ... the move is taken up: policy, times, network, reason; and the settings as they were found
 * before it. */
void mig_memory_apply(struct mig *m);
void mig_memory_apply_settings(struct mig *m);

/* ... no move is under way, but it had been prepared: what was changed for that counts as changed,
 * a destination that it told to listen as told. */
void mig_memory_adopt_leftovers(struct mig *m, struct mig_todo *todo);

/* ... did that qferry stop the guest, as far as can be told? */
bool mig_memory_stopped_it(const struct mig *m);

/* This attempt does without post-copy; the policy's wish is kept for the next. */
void mig_deny_postcopy(struct mig *m);

/* ---- starting again over another network (phase_again.c) ---- */

/* May the migration that was undone be started again, if it was the network? */
bool again_is_possible(const struct mig *m);

/* PRECOPY: does the stream stand still, and is it for the network? To be asked with each answer of
 * the source and when MIG_EV_NETWORK has come. True: the migration is given up, to be started again
 * over another one. */
bool again_watch(struct mig *m, struct mig_todo *todo);

/* MIG_EV_NETWORK in the course of a migration: what it says of the network in use, and of others. */
void again_take_network(struct mig *m, const struct netsel_facts *f);

/* ---- encryption (mig_secure.c) ---- */

/* Before CONFIGURE: what QEMU's own settings found there mean, and whether what is asked for can
 * be set at all. A sentence why not, or NULL; warn: one to be said in any case, or "". */
const char *mig_secure_refuses(const struct mig *m, char text[RECORD_TEXT_MAX], char *warn);

/* Is what spec.encrypt asks for ready? Otherwise it has been asked for, and MIG_EV_SECURED is to
 * be waited for. Once it is known: a record of it, and mig_fail when it is not to be had. */
bool mig_is_secured(struct mig *m, struct mig_todo *todo);

/* MIG_EV_SECURED: the first one is kept, later ones are told. */
void mig_take_secured(struct mig *m, const struct mig_secured *s, struct mig_todo *todo);

/* What a side's tls-creds and tls-hostname are to be: the bits and texts that shall be set. */
void mig_secure_texts(const struct mig *m, enum mig_side_id side, struct qapi_params *p);

/* Settings that an earlier qferry has left count as not set from here on, and are to be removed. */
void mig_secure_adopt(struct mig *m);

/* A move is taken up that runs: is its memory encrypted as this request wants it? */
bool mig_secure_is_kept(const struct mig *m);

/* ... where it is not: is it encrypted in another way? */
bool mig_secure_is_other(const struct mig *m);

/* Where memory goes through a tunnel of ours: the URI of that side; NULL: there is none. */
const char *mig_secure_uri(const struct mig *m, enum mig_side_id side);

/* Why an interrupted post-copy must not get a new connection: its memory went through a tunnel that
 * is not there any more, and would go in the clear. NULL: it may; by mig_secure_uri, if there is
 * one. */
const char *mig_secure_blocks(const struct mig *m);

/* Rows of the recipe (recipe.h): credentials that were left, and those of this move. */
bool mig_ask_left_creds(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd);
int mig_hear_left_creds(struct mig *m,
                        enum mig_side_id side,
                        const struct qapi_reply *r,
                        struct mig_todo *todo);
bool mig_ask_creds(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd);
int mig_hear_creds(struct mig *m,
                   enum mig_side_id side,
                   const struct qapi_reply *r,
                   struct mig_todo *todo);
bool mig_undo_creds(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd);

/* ---- the memory's connection, where qferry opens it (mig_stream.c) ---- */

/* Does it? */
bool mig_has_stream(const struct mig *m);

/* Ask for a connection to spec.address, listen_port. */
void mig_open_stream(struct mig *m, struct mig_todo *todo);

/* Until the source's QEMU has it: RECIPE_DONE; RECIPE_FAILED after mig_fail. */
enum recipe_state mig_follow_stream(struct mig *m,
                                    const struct mig_event *ev,
                                    struct mig_todo *todo);

/* On the way back: take it from the source's QEMU if that has not used it. */
void mig_drop_stream(struct mig *m, struct mig_todo *todo);

/* ---- the operator (mig_operator.c) ---- */

/* Do what was asked for, or note why not; the phase is called afterwards. */
void mig_operate(struct mig *m, const struct mig_operator *op, struct mig_todo *todo);

/* ---- moving, asking, telling ---- */

/* Move to another phase when the current handler returns. Legality is asserted. */
void mig_go(struct mig *m, enum mig_phase to);

/* Move to another stage within the phase, at once; what the stages are is the phase's. */
void mig_to_stage(struct mig *m, unsigned stage);

/* Send a harmless command: queries, settings, stop of a destination in inmigrate. */
uint64_t mig_ask(struct mig *m,
                 struct mig_todo *todo,
                 enum mig_side_id side,
                 const struct qapi_cmd *cmd);
uint64_t mig_ask0(struct mig *m,
                  struct mig_todo *todo,
                  enum mig_side_id side,
                  enum qapi_command c);

/* Send a command that can start or end a copy of the guest, if the owner table allows it now.
 * False: it does not (or the link is down); a note with the reason is in todo. */
bool mig_act(struct mig *m,
             struct mig_todo *todo,
             enum mig_side_id side,
             enum qapi_command c);

/* Is such a command of that kind unanswered on that side? */
bool mig_is_asked(const struct mig *m, enum mig_side_id side, enum qapi_command c);

/* Look at a side: query-status and query-migrate. side->fresh when both were answered. Does
 * nothing while a look is under way or the link is not up. */
void mig_look(struct mig *m, struct mig_todo *todo, enum mig_side_id side);

/* Look at the sides that are not fresh. */
void mig_look_stale(struct mig *m, struct mig_todo *todo);

/* The phase wants MIG_EV_TIMER at t (or sooner). */
void mig_wake_at(struct mig *m, int64_t t_ns);
void mig_wake_in(struct mig *m, uint64_t ms);
bool mig_is_past(const struct mig *m, int64_t since_ns, uint64_t ms);

/* Records. */
struct record *mig_record(struct mig_todo *todo, enum record_kind kind);
void mig_note(struct mig_todo *todo, const char *fmt, ...) QF_PRINTF(2, 3);
void mig_warn(struct mig_todo *todo, const char *fmt, ...) QF_PRINTF(2, 3);
struct mig_do *mig_todo_add(struct mig_todo *todo,
                            enum mig_do_kind kind,
                            enum mig_side_id side);

/* Why it ends; the first reason stays. In a later attempt a refusal is a failure, QF_E_GAVE_UP: the
 * first one has touched both sides. */
void mig_fail(struct mig *m,
              enum record_outcome outcome,
              enum qf_code code,
              const char *fmt,
              ...) QF_PRINTF(4, 5);

/* A person must look: to HELD, with this sentence behind what was said before. Its exit status
 * is 7 whatever the reason was until now. */
void mig_hold(struct mig *m, const char *fmt, ...) QF_PRINTF(2, 3);

/* Send migrate-start-postcopy; not before the source has measured its link, though: phase_precopy.c
 * says why. False: it may not be sent. */
bool mig_start_postcopy(struct mig *m, struct mig_todo *todo);

/* The reason is QEMU's error-desc, to be read at the next look; until then this text. The
 * destination's own is added where it can be had: with exit-on-error off it stays to be asked (9.1),
 * and often it alone knows what was wrong. */
void mig_fail_desc(struct mig *m, const char *what);

/* The source's migration was cancelled, and not by qferry: whose doing that was. */
void mig_fail_cancelled(struct mig *m);

/* ev is the reply to (or the lateness of) command c on side? */
bool mig_heard(const struct mig_event *ev, enum mig_side_id side, enum qapi_command c);
bool mig_late(const struct mig_event *ev, enum mig_side_id side, enum qapi_command c);

/* Put the journal on the disk, once. */
void mig_sync(struct mig *m, struct mig_todo *todo);

/* It is there, as far as the guest can wait for it: a disk that hangs holds up the destination's
 * cont for two seconds of a phase, not longer. */
bool mig_is_written(const struct mig *m);

/* Stop the guest on the source, to finish (or before memory moves), and mark that, the mark first. */
void mig_stop_guest(struct mig *m, struct mig_todo *todo);

/* PRECOPY, before the guest is stopped for post-copy: is the source in the middle of a round of pages, after which
 * only it would switch? Then it is asked again soon (mig_round.c). */
bool mig_waits_for_round(struct mig *m);

/* Is the guest on the source stopped for the outside world? */
bool mig_src_stopped(const struct mig *m);

/* PRECOPY: measure what the guest dirties, beside the passes (mig_rhythm.c). For every event. */
void mig_rhythm_step(struct mig *m, const struct mig_event *ev, struct mig_todo *todo);

/* A guest that runs, or sleeps: that wakes by itself, or by a key. */
bool mig_guest_runs(enum qapi_run_state run);

/* Failed or cancelled, or about to be. */
bool mig_is_undone(enum qapi_mig_status s);

/* Does a refused cont prove that the destination has not run? Only the first one ever does. */
bool mig_refusal_is_proof(const struct mig *m);

/* ev: the destination has refused cont. mig_fail; where that is proof, nothing was handed over. False: it is
 * none. */
bool mig_take_refused_cont(struct mig *m, const struct mig_event *ev);

/* The source's migration has failed although its guest was handed over: it runs, or is about to
 * (from 10.0 on; QEMU says failed, or failing, before it runs it). */
bool mig_has_source_risen(const struct mig *m);

/* Would it, where post-copy has sent everything and the last word is lost? One whose guest was stopped before
 * the switch stays stopped. */
bool mig_may_source_rise(const struct mig *m);

/* The memory is split between both sides: postcopy-active, -paused, -recover... */
bool mig_is_split(enum qapi_mig_status s);

/* ... and the connection between them is broken, as far as this side says. */
bool mig_is_broken(enum qapi_mig_status s);

/* RECONCILE, RECOVER: open a monitor again that was lost, at most each 50 ms, after two
 * seconds of RECOVER each second. */
void mig_reopen(struct mig *m, struct mig_todo *todo, enum mig_side_id side);

/* POSTCOPY, RECOVER: continue the destination, once it is known to be loaded and stopped. */
void mig_hand_over(struct mig *m, struct mig_todo *todo);

/* A signal in post-copy: refused. The second one ends qferry: true, and the phase is HELD. */
bool mig_refuse_cancel(struct mig *m, struct mig_todo *todo);

/* Are both sides the same machine, by everything that the checks compare? */
bool preflight_is_same_machine(const struct mig *m);

/* ---- a move that is under way already (preflight_take_up.c) ---- */

/* The destination answers out of band only: it waits for a page. Then what is not answered is given up. */
enum {
    PREFLIGHT_DEAF_MS =
        500 /* a main loop that has not answered one of twenty questions by then */
};
bool preflight_is_deaf(const struct mig *m);
void preflight_forget_questions(struct mig *m, struct mig_todo *todo);

/* Has the source failed at the last word of a post-copy, while no qferry looked? A qferry had stopped its guest
 * before the switch, as its journal or its mark says: so it stands still, and the destination runs. */
bool preflight_knows_old_source(const struct mig *m);

/* By all that QEMU shows, one between these two that can be taken up? */
bool preflight_is_ours(const struct mig *m);
void preflight_take_up(struct mig *m, struct mig_todo *todo);

/* Whosever it was, it is being undone: to be looked at again in a moment. */
bool preflight_is_unwinding(const struct mig *m);

/* `attach`, and there is nothing: mig_fail. */
void preflight_refuse_attach(struct mig *m);

/* A move was taken up: what this run changes from here on is put back in the end. */
void configure_adopt(struct mig *m);

/* Undo what configure did, on both sides as far as they can be reached. */
void configure_unwind(struct mig *m);

/* Without these the promise cannot be kept: a switch that qferry decides, and an acknowledgement
 * of the destination's load (fact sheet 0, rules 2 and 3). */
#define PREFLIGHT_NEEDED                                                 \
    (QAPI_CAP_BIT(RETURN_PATH) | QAPI_CAP_BIT(PAUSE_BEFORE_SWITCHOVER) | \
     QAPI_CAP_BIT(EVENTS))

/* Judge what PREFLIGHT has learnt: a record for each check, and mig_fail when one refuses. */
void preflight_judge(struct mig *m, struct mig_todo *todo);

/* ... and, once the address is chosen, a destination that listens already: mig_fail where it does not
 * listen there, or not for what is wanted. */
void preflight_check_listening(struct mig *m);

/* ... was it told so when channels, or preempt, were on, by another than a killed qferry? And, left so by that
 * one: for as many channels as are wanted now? */
bool preflight_listens_for_channels(const struct mig *m);
bool preflight_listens_for_these(const struct mig *m);

#endif

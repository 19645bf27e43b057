/* One migration between JSON and the machine: messages in, journal lines and things to do out.
 *
 *   message or time -> journal line "event" -> typed -> mig_step -> lines of its records and
 *   of what it wants done -> session.todo, for whoever drives it
 *
 * Three drivers turn it: engine/drive_uv.c (real), the tests' simulation, and engine/replay.c.
 * Since all of them come through here, a line that a replay writes differs from the journal's only
 * if the machine decided otherwise. Data: no I/O, no clock. */
#ifndef QF_ENGINE_SESSION_H
#define QF_ENGINE_SESSION_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/journal.h"
#include "engine/mig.h"
#include "engine/operator.h"

struct session;

struct session_ops {
    /* One line, with its newline; in order; lent. record: what it shows, or NULL (events, things
     * to do, the header). Called from inside the feeding functions, before they return: what is
     * in the todo list has not been done yet, so a journal written here is written ahead. */
    void (*on_line)(struct session *s,
                    const char *line,
                    const struct record *record,
                    void *arg);
};

struct session {
    struct mig mig;
    struct mig_todo todo; /* what the last step wants done; carry it out in order */
    struct journal_clock clock;
    const struct session_ops *ops;
    void *arg;
    bool out_of_memory; /* a line could not be made: the journal has a hole */
    /* Private: the last `memory` line, and what was written since. */
    struct mig_memory remembered;
    size_t since_bytes;
};

/* Prepare; spec and policy are copied. wall_ms: Unix time at t_ns. */
void session_init(struct session *s,
                  const struct mig_spec *spec,
                  const struct policy *policy,
                  int64_t t_ns,
                  int64_t wall_ms,
                  const struct session_ops *ops,
                  void *arg);

/* The events; each steps the machine once. JSON is borrowed. */
void session_begin(struct session *s, int64_t t_ns);
/* What a killed qferry knew of this move; before session_begin. Lent. */
void session_remember(struct session *s, int64_t t_ns, const struct mig_memory *mem);
void session_up(
    struct session *s, int64_t t_ns, enum mig_side_id side, json_t *greeting, bool oob);
void session_down(struct session *s,
                  int64_t t_ns,
                  enum mig_side_id side,
                  const struct qf_err *why,
                  bool gone,
                  bool heard);
void session_reply(
    struct session *s, int64_t t_ns, enum mig_side_id side, uint64_t id, json_t *whole);
void session_event(struct session *s, int64_t t_ns, enum mig_side_id side, json_t *whole);
void session_timer(struct session *s, int64_t t_ns);
void session_cancel(struct session *s, int64_t t_ns);
/* What the kernel says of the source's process; before session_up of the source. */
void session_host(struct session *s, int64_t t_ns, const struct mig_process *p);
void session_network(struct session *s, int64_t t_ns, const struct netsel_facts *facts);
/* why: NULL when the connection stands. */
void session_stream(struct session *s, int64_t t_ns, const char *why);
/* why: NULL when the command ended well. */
void session_restarted(struct session *s, int64_t t_ns, const char *why);
void session_secured(struct session *s, int64_t t_ns, const struct mig_secured *secured);
/* What the destination's host says of its interfaces. */
void session_receiver(struct session *s, int64_t t_ns, const struct mig_links *links);
/* Which way the other moves of this host go. */
void session_running(struct session *s, int64_t t_ns, const struct mig_others *others);

/* An operator's word. 0: it was carried out, as far as the todo list says. QF_E_USAGE,
 * QF_E_REFUSED: it was not, and nothing was journaled; todo is empty and its wake_ns stands. */
int session_operator(struct session *s,
                     int64_t t_ns,
                     const struct operator_command *c,
                     struct qf_err *err);
void session_synced(struct session *s, int64_t t_ns, bool failed);

/* Feed an `event` line of a journal. QF_E_USAGE: not one. */
int session_feed_line(struct session *s, const json_t *line, struct qf_err *err);

/* Has MIG_DO_END been given? */
bool session_is_over(const struct session *s);

#endif

/* The client's side of one QMP monitor: bytes in, messages out; commands in, bytes out.
 *
 *   GREETING --greeting--> NEGOTIATING --reply to qmp_capabilities--> READY --error--> BROKEN
 *
 * - Events may come before the greeting (seen about once in 60 starts of 11.1).
 * - Out-of-band is enabled where the greeting offers it: migrate-pause, migrate-recover, yank and
 *   query-yank then work although QEMU's main loop hangs.
 * - At most QMP_IN_BAND_MAX in-band commands are unanswered at a time; see there. Further
 *   commands wait here, in order. Out-of-band commands never wait.
 * - Replies are matched by id, in either order relative to events.
 * - A reply whose id nobody waits for is passed over and counted (strays). QEMU writes a reply to
 *   whoever is connected when the command ends: after a reconnect the new client gets the answer
 *   to what the old one asked, even between greeting and negotiation (seen from 7.2). So let ids
 *   be unique over the life of their owner, not of the connection.
 * - A reply without an id is never an answer to what was sent here, where every command has one.
 *   As an error it means that QEMU could not parse what it got: the monitor's state is unknown
 *   and the client is BROKEN.
 * - Integers outside of signed 64-bit (QEMU sends unsigned 64-bit; jansson refuses the text)
 *   arrive as JSON strings of the same digits: nothing is lost. Read them with qmp_json_u64.
 *
 * Data: no socket, no clock. Deadlines belong to the caller. Sources: QEMU
 * docs/interop/qmp-spec, monitor/qmp.c. */
#ifndef QF_QMP_CLIENT_H
#define QF_QMP_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "qmp/frame.h"

enum {
    /* Unanswered in-band commands. QEMU's queue holds 8 (QMP_REQ_QUEUE_LEN_MAX) and QEMU stops
     * reading when the eighth enters. The specification's "at most eight" counts the one that is
     * being carried out; but a main loop may hang before it takes the first one out, and then
     * eight keep an out-of-band command unread (seen from 7.2, with seven it is answered).
     * qmp_capabilities takes no place: nothing else is sent before it is answered. */
    QMP_IN_BAND_MAX = 7,
    QMP_OUT_OF_BAND_MAX =
        8,               /* unanswered out-of-band; one more is refused (QF_E_INTERNAL) */
    QMP_WAITING_MAX = 64 /* waiting for a place; one more is refused (QF_E_INTERNAL) */
};

enum qmp_client_state { QMP_GREETING, QMP_NEGOTIATING, QMP_READY, QMP_BROKEN };

enum qmp_msg_kind {
    QMP_MSG_UP,    /* negotiated: commands may be sent. body: the greeting's "QMP" object */
    QMP_MSG_REPLY, /* id; body: the "return" value, or is_error and the two texts */
    QMP_MSG_EVENT  /* name, body: "data" (may be NULL); also before UP */
};

struct qmp_msg {
    enum qmp_msg_kind kind;
    uint64_t id;             /* REPLY: as given to qmp_client_send */
    bool is_error;           /* REPLY: QEMU refused; body is NULL */
    const char *error_class; /* "GenericError", "CommandNotFound", ... */
    const char *error_desc;
    const char *name; /* EVENT */
    json_t *body;     /* borrowed */
    json_t
        *whole; /* borrowed: the message as received (for the journal); UP: the greeting */
    /* All pointers are lent until the next qmp_client_next or qmp_client_fini. */
};

struct qmp_client {
    enum qmp_client_state state;
    bool oob; /* out-of-band commands may be sent; set when UP comes */
    struct qmp_frame frame;
    struct qf_buf out; /* bytes to write; drained by the link */
    json_t *greeting;  /* owned: the whole message */
    json_t *current;   /* owned: the message lent last */
    struct {
        uint64_t id;
        char *text; /* owned: the encoded command */
        size_t len;
    } waiting[QMP_WAITING_MAX];
    unsigned n_waiting;
    uint64_t in_flight[QMP_IN_BAND_MAX]; /* ids of unanswered in-band commands */
    unsigned n_in_flight;
    uint64_t oob_flight[QMP_OUT_OF_BAND_MAX]; /* ids of unanswered out-of-band commands */
    unsigned n_oob_flight;
    unsigned strays; /* replies that nobody waited for */
};

void qmp_client_init(struct qmp_client *c);
void qmp_client_fini(struct qmp_client *c); /* safe on a zeroed struct */

/* Bytes from the socket. Errors as qmp_frame_feed, and the client is BROKEN from then on: bytes
 * are missing. Call qmp_client_next until it returns 0 before the next feed. */
int qmp_client_feed(struct qmp_client *c, const void *data, size_t len, struct qf_err *err);

/* The next message: 1 and *msg; 0 when more bytes are needed; negative when the peer does not
 * speak QMP or broke its rules (QF_E_PROTO) or memory ran out (QF_E_NOMEM); the client is BROKEN
 * from then on and every later call is QF_E_PROTO. Negotiates by itself: call until 0, then
 * drain c->out. */
int qmp_client_next(struct qmp_client *c, struct qmp_msg *msg, struct qf_err *err);

/* Queue one command. args: borrowed, an object, may be NULL. id: the caller's, not 0, unique
 * among unanswered ones. oob: out of band (only where c->oob). The bytes appear in c->out, at once
 * or when a place in flight becomes free or the client becomes READY.
 * QF_E_INTERNAL: a rule above broken, or no room left; QF_E_LOST: BROKEN; QF_E_NOMEM. After an
 * error nothing was queued, and the client is as good as before. */
int qmp_client_send(struct qmp_client *c,
                    const char *command,
                    const json_t *args,
                    uint64_t id,
                    bool oob,
                    struct qf_err *err);

/* A JSON value as unsigned 64-bit: an integer >= 0, or a string of digits that stands for one
 * above 2^63-1. False (and *out unchanged) for anything else, also for "17". */
bool qmp_json_u64(const json_t *v, uint64_t *out);

/* Parse one JSON text although it holds integers that jansson refuses: those become strings of
 * the same digits. New reference, or NULL with err: QF_E_PROTO; QF_E_NOMEM, though jansson calls
 * it bad syntax (QF_E_PROTO) when it has no memory for a string. */
json_t *qmp_json_parse(const char *text, size_t len, struct qf_err *err);

/* jansson's dump of v (any value, flags as json_dumpf) at the end of b. QF_E_NOMEM, or as
 * qf_buf_append; b may have grown by a part of the text then. */
int qmp_json_append(struct qf_buf *b, const json_t *v, size_t flags, struct qf_err *err);

#endif

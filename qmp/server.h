/* The other end of the wire: the server's side of one QMP connection. Bytes in, commands out;
 * greeting, replies, errors and events in, bytes out.
 *
 *   NEGOTIATING --qmp_capabilities--> SERVING        either --text that is no object--> CLOSED
 *
 * It knows QMP's rules of conversation and answers what breaks them itself, in QEMU's words (seen
 * from 7.2); which commands exist and what they do is its owner's. For the control socket and for
 * the fake QEMU of the tests. Other than QEMU, which goes on after text outside of an object, it
 * ends the connection there. There is no queue: commands may be answered in any order, and the
 * owner bounds how many it takes.
 *
 * Data: no socket, no clock. */
#ifndef QF_QMP_SERVER_H
#define QF_QMP_SERVER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "qmp/frame.h"

enum { QMP_COMMAND_MAX = 1024 * 1024 }; /* the longest command accepted */

enum qmp_server_state { QMP_SERVER_NEGOTIATING, QMP_SERVER_SERVING, QMP_SERVER_CLOSED };

struct qmp_server {
    enum qmp_server_state state;
    bool offers_oob;
    bool oob; /* the client enabled it */
    /* the owner may set it: spread messages over lines, as -mon pretty=on does */
    bool pretty;
    struct qmp_frame frame;
    struct qf_buf out; /* bytes to write; drained by the owner */
    json_t *current;   /* owned: the command lent last */
    json_t *current_id;
};

struct qmp_command {
    const char *name;
    /* borrowed; an object, or NULL. Integers outside of signed 64-bit are strings */
    json_t *args;
    json_t *id; /* borrowed, opaque, or NULL: keep a reference, give it to reply or error */
    bool oob;   /* came by exec-oob */
    /* All pointers are lent until the next qmp_server_next or qmp_server_fini. */
};

void qmp_server_init(struct qmp_server *s, bool offers_oob);
void qmp_server_fini(struct qmp_server *s); /* safe on a zeroed struct */

/* Say hello. version: borrowed, the greeting's "version". When is the owner's choice: a real QEMU
 * has been seen to send an event before, and a busy one sends nothing.
 * This and the other functions that say something: QF_E_NOMEM; QF_E_LOST when the client does not
 * read and out is full. Nothing was said then. */
int qmp_server_greet(struct qmp_server *s, const json_t *version, struct qf_err *err);

/* Bytes from the socket; errors as qmp_frame_feed. */
int qmp_server_feed(struct qmp_server *s, const void *data, size_t len, struct qf_err *err);

/* The next command for the owner: 1 and *cmd; 0 when more bytes are needed; negative when this
 * cannot go on (QF_E_PROTO: not QMP; QF_E_NOMEM, QF_E_LOST): drain out, then close. Answers
 * qmp_capabilities and broken rules by itself. */
int qmp_server_next(struct qmp_server *s, struct qmp_command *cmd, struct qf_err *err);

/* The answer to one command. id: cmd.id, written as the client wrote it, to the byte; may be
 * NULL. value: borrowed; NULL is {}. */
int qmp_server_reply(struct qmp_server *s,
                     json_t *id,
                     const json_t *value,
                     struct qf_err *err);
int qmp_server_error(struct qmp_server *s,
                     json_t *id,
                     const char *error_class,
                     const char *desc,
                     struct qf_err *err);

/* An event. data: borrowed, may be NULL. wall_us: the host's wall clock in microseconds since
 * 1970. QEMU sends none before negotiation; here that is the owner's choice. */
int qmp_server_event(struct qmp_server *s,
                     const char *name,
                     const json_t *data,
                     int64_t wall_us,
                     struct qf_err *err);

#endif

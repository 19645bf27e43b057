/* qapi.h's structs to and from JSON. Data; for those who hold messages (the engine's session,
 * the tests' modelled QEMU). */
#ifndef QF_QMP_QAPI_JSON_H
#define QF_QMP_QAPI_JSON_H

#include <jansson.h>

#include "qmp/qapi.h"

/* The "arguments" of a command: new reference; *args NULL when it has none. Returns 0, or -1
 * without memory. */
int qapi_encode(const struct qapi_cmd *cmd, json_t **args);

/* A reply to `command`. whole: the message, with "return" or "error". What is missing or of
 * another type stays unknown; cannot fail: a peer's odd answer is an unknown, not a crash. */
void qapi_decode_reply(enum qapi_command command,
                       const json_t *whole,
                       struct qapi_reply *out);

/* An event message, whole. */
void qapi_decode_event(const json_t *whole, struct qapi_event *out);

/* The greeting's "QMP" object. False when it names no QEMU version. */
bool qapi_decode_greeting(const json_t *qmp, struct qapi_version *out);

#endif

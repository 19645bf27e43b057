/* One question to a control socket, and what follows from it: for qferry's status, watch, cancel,
 * postcopy, pause and set. It blocks, on a loop of its own. Edge. */
#ifndef QF_ENGINE_CONTROL_CLIENT_UV_H
#define QF_ENGINE_CONTROL_CLIENT_UV_H

#include <jansson.h>
#include <stdbool.h>

#include "engine/base/err.h"

struct control_call {
    const char *address; /* as a monitor's */
    const char *command;
    const json_t *args; /* borrowed; may be NULL */
    /* The answer; lent. True: go on, events are of interest. NULL: the answer is all. */
    bool (*on_reply)(const json_t *value, void *arg);
    /* An event, also before the answer; lent. False: enough. May be NULL. */
    bool (*on_event)(const char *name, const json_t *data, void *arg);
    void *arg;
};

/* 0: answered, and a callback has said that it is enough. Otherwise:
 *   QF_E_USAGE        not an address; the other side calls the arguments wrong
 *   QF_E_REFUSED      refused as things are now, or no such migration
 *   QF_E_UNREACHABLE  nobody listens, or no answer for 10 s, or gone before the answer
 *   QF_E_PROTO        not a qferry
 *   QF_E_LOST         gone after the answer, before it was enough */
int control_call(const struct control_call *call, struct qf_err *err);

#endif

/* A control socket: any QMP client may look on and take a hand. Edge; what is said there is
 * engine/control.h's.
 *
 * A client that does not read never holds anything up: what is to be said to it waits in a
 * bounded queue, and when that is full events are dropped; one event (EVENTS_DROPPED) then says
 * how many. Replies and MIGRATION_RESULT are never dropped. Who leaves more than
 * CONTROL_REPLIES_MAX of them unread is disconnected.
 *
 * Nothing is parsed, made or written while a migration's step is carried out: lines are kept, and
 * what is to become of them is done in the loop's next turn. */
#ifndef QF_ENGINE_CONTROL_UV_H
#define QF_ENGINE_CONTROL_UV_H

#include <stdbool.h>
#include <sys/types.h>
#include <uv.h>

#include "engine/base/buf.h"
#include "engine/control.h"
#include "qmp/addr.h"

enum {
    CONTROL_CLIENTS_MAX = 16,       /* one more is told so and disconnected */
    CONTROL_QUEUE_MAX = 256 * 1024, /* unread bytes of a client; then events are dropped */
    CONTROL_REPLIES_MAX = 1024 * 1024 /* ... then it is disconnected */
};

struct control_client; /* control_uv.c */

struct control_server {
    struct control control;
    /* Private. */
    uv_loop_t *loop;
    uv_pipe_t listener;
    uv_idle_t later;     /* there is something to be done in the next turn */
    uv_timer_t hurry;    /* closing: no longer than this */
    struct qf_buf lines; /* "UID line\n": not yet made into events */
    unsigned long lost;  /* lines for which there was no memory */
    struct control_client *clients;
    unsigned n_clients;
    unsigned handles_open;
    bool open;
    bool closing;
    char path[QMP_ADDR_MAX];
    dev_t device; /* of the socket's file: what is removed in the end is ours */
    ino_t inode;
    void (*on_close)(struct control_server *s, void *arg);
    void *close_arg;
};

/* Listen on address ("/path" or "unix:/path"; a socket file of mode 0600, from its first moment).
 * A socket file that nobody listens on any more is replaced. QF_E_USAGE: not such an address, in
 * use, no socket, no such folder, no permission; QF_E_NOMEM. After a failure nothing is open.
 * s is the caller's memory until on_close. */
int control_open(struct control_server *s,
                 uv_loop_t *loop,
                 const char *address,
                 const char *version,
                 const struct control_ops *ops,
                 void *arg,
                 struct qf_err *err);

/* The line of a public record of the migration uid (control_add has made it known): cheap, and may
 * be called while a step is carried out. Nothing happens on a server that is not open. */
void control_publish(struct control_server *s, const char *uid, const char *line);

/* Say what is left to be said, remove the socket, close; on_close once, from the loop, or at once
 * on a server that is not open (zeroed memory). What a client does not take for 200 ms it does
 * not get: only one that has left some 200 KB unread needs any time at all, since what the kernel
 * has taken is read after the end, too. */
void control_close(struct control_server *s,
                   void (*on_close)(struct control_server *s, void *arg),
                   void *arg);

#endif

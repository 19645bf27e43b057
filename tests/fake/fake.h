/* Two fake QEMUs on real sockets, source and destination of one migration: qmp/server speaks, the
 * model of tests/lib answers, a recorded schema refuses. It lives on the loop of the test.
 *
 *   client --socket--> qmp_server --> schema --> model --> qmp_server --socket--> client
 *
 * The model's time is the real clock's, `speed` times as fast; a loop that stands still for a
 * while (a busy machine) does not move it on. A monitor serves one client; others wait in the
 * order in which they came. */
#ifndef QF_TESTS_FAKE_FAKE_H
#define QF_TESTS_FAKE_FAKE_H

#include <jansson.h>
#include <stdbool.h>
#include <uv.h>

#include "qmp/addr.h"
#include "tests/fake/schema.h"
#include "tests/lib/model.h"

enum { FAKE_SPEED = 20 };

struct fake;
struct fake_conn; /* fake.c */

/* How one of the two behaves on the wire. All zero: a well-behaved one. */
struct fake_wire {
    bool tcp;           /* listens on 127.0.0.1; otherwise on a UNIX socket */
    bool pretty;        /* as -mon pretty=on */
    bool event_first;   /* an event before the greeting */
    bool large_numbers; /* unsigned 64-bit integers above 2^63-1 in replies */
    size_t large_bytes; /* the reply to query-pci is longer by this */
    size_t chunk;       /* at most so many bytes in one turn of the loop; 0: any number */
    unsigned hold_ms;   /* what is to be said is collected for so long, then said at once */
    int64_t busy_ns;    /* of the model: somebody else holds the monitor until then */
    const char *says;   /* no QMP at all, but this */
    bool dies; /* killed as soon as dies_at bytes were said, to all clients together */
    size_t dies_at;
};

struct fake_ops {
    /* A command has arrived; nothing has become of it yet. May be NULL. */
    void (*on_command)(struct fake *f, enum model_side side, const char *name, void *arg);
};

struct fake_opts {
    struct model_setup setup;
    struct fake_wire wire[MODEL_SIDES];
    unsigned speed; /* 0: FAKE_SPEED */
    const struct schema
        *schema; /* lent for as long as the fake lives; NULL: nothing is refused */
    const struct fake_ops *ops; /* may be NULL */
    void *arg;
    unsigned *inside; /* counts while code of the fake runs; may be NULL */
};

struct fake_side {
    struct fake *fake;
    enum model_side side;
    char addr[QMP_ADDR_TEXT]; /* where it listens */
    struct fake_conn *conns;  /* the first is served, the others wait */
    bool listens;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_pipe_t pipe;
        uv_tcp_t tcp;
    } listener;
    size_t said; /* bytes */
    /* For the test. */
    unsigned clients;  /* that were accepted */
    unsigned commands; /* that arrived */
    unsigned refused;  /* by the schema */
    char refusal[320]; /* the last: "command: why" */
    bool broken;       /* a client broke the protocol */
};

struct fake {
    struct fake_opts opts;
    uv_loop_t *loop;
    struct model *model; /* NULL: closed */
    struct fake_side side[MODEL_SIDES];
    uv_timer_t timer;  /* wakes later than in the next turn */
    uv_idle_t idle;    /* in the next turn: a timer of 0 ms would starve the loop */
    uint64_t clock_ns; /* real, when it was read last */
    int64_t now_ns;    /* the model's */
    int64_t sleep_ns;  /* the model's: what the timer waits for */
    unsigned handles_open;
    bool closing;
};

/* Start to listen. dir: where UNIX sockets go; name: of this pair there. 0, or libuv's status;
 * then the test is over. */
int fake_open(struct fake *f,
              uv_loop_t *loop,
              const struct fake_opts *opts,
              const char *dir,
              const char *name);

/* Close everything; asynchronous: f may go once the loop has run and handles_open is 0. */
void fake_close(struct fake *f);

/* Now, as a fault; see model.h. */
void fake_inject(struct fake *f, const struct model_fault *fault);

#endif

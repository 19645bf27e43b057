/* What the migration machine wants done: a short list, to be carried out in order after the step
 * has returned. Records stand before the action that they explain, so that a journal written in
 * this order is written ahead. */
#ifndef QF_ENGINE_MIG_TODO_H
#define QF_ENGINE_MIG_TODO_H

#include <stdint.h>

#include "engine/mig_event.h"
#include "engine/record.h"
#include "engine/spec.h"
#include "qmp/qapi.h"

enum {
    /* A step that asks for more is a bug (asserted): the longest, preflight's verdict followed by
     * the first commands of configure, needs fewer than half of these. */
    MIG_TODO_MAX = 64,
    MIG_RESTART_MS = 60 * 1000
};

enum mig_do_kind {
    /* open the memory's connection from spec.bind; MIG_EV_STREAM follows. Its descriptor goes with
     * the getfd that is sent then, or is closed with the next MIG_DO_STREAM or at the end */
    MIG_DO_STREAM,
    /* run the command that starts a fresh destination; MIG_EV_RESTARTED follows, at most
     * MIG_RESTART_MS later */
    MIG_DO_RESTART,
    MIG_DO_OPEN,   /* open the link to side; MIG_EV_UP or MIG_EV_DOWN follows */
    MIG_DO_SEND,   /* send cmd to side under id; MIG_EV_REPLY or MIG_EV_DOWN follows */
    MIG_DO_CLOSE,  /* close the link to side; nothing follows */
    MIG_DO_PROBE,  /* find out about the networks of the spec; MIG_EV_NETWORK follows */
    MIG_DO_SECURE, /* make ready what spec.encrypt asks for, for spec.address as it is now;
                    * MIG_EV_SECURED follows */
    /* remove it again: at the end, and before another attempt, for which it is made ready anew
     * (phase_again.c); nothing follows. In MIG_HELD a tunnel is left to end with the
     * connection that it carries, and keys stay while their QEMUs live */
    MIG_DO_UNSECURE,
    MIG_DO_SYNC,   /* put the journal on the disk; MIG_EV_SYNCED follows */
    MIG_DO_RECORD, /* write it down */
    MIG_DO_END     /* the migration is over; the result record came before */
};

struct mig_do {
    enum mig_do_kind kind;
    enum mig_side_id side;
    union {
        struct {
            uint64_t id;
            struct qapi_cmd cmd;
        } send;
        struct {
            bool to_the_end; /* of every network, not only until one is chosen */
        } probe;
        struct {
            unsigned attempt;              /* that is to come; the first was 1 */
            char network[NETSEL_NAME_MAX]; /* that it is to take, as far as is known now */
            char address[NETSEL_IP_TEXT];  /* the destination's in it */
            char reason[RECORD_TEXT_MAX];  /* why the last one failed */
        } restart;
        struct {
            char host[SPEC_TEXT_MAX]; /* address or name */
            char port[8];
        } stream;
        struct record record;
    } u;
};

struct mig_todo {
    struct mig_do item[MIG_TODO_MAX];
    unsigned n;
    int64_t wake_ns; /* feed MIG_EV_TIMER at this time; INT64_MAX only after MIG_DO_END */
};

#endif

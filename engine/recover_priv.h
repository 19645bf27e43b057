/* What the two files of RECOVER share: phase_recover.c (its stages) and recover_way.c (networks and
 * ports). Nobody else includes it. */
#ifndef QF_ENGINE_RECOVER_PRIV_H
#define QF_ENGINE_RECOVER_PRIV_H

#include "engine/mig_priv.h"

/* m->stage; phase_recover.c says what they are. */
enum recover_stage { REACH, BREAK, WAY, LISTEN, SETTLE, RESUME, WAIT };

enum {
    /* Linux, tcp_syn_retries 6: connect() gives up after 127 s */
    RECOVER_SYN_MS = 135000
};

/* ---- phase_recover.c ---- */

/* WAIT, for twice as long as the last time. */
void recover_wait(struct mig *m);

/* A decision record; the action's reason is fmt. */
void recover_decide(struct mig_todo *todo, enum policy_action action, const char *fmt, ...)
    QF_PRINTF(3, 4);

/* Since the interruption. */
uint64_t recover_since_ms(const struct mig *m);

/* ---- recover_way.c ---- */

/* The name of the network in use; "": none was chosen. Lent. */
const char *recover_network(const struct mig *m);

/* The i-th port that may be listened on. */
uint16_t recover_port(const struct mig *m, unsigned i);

/* WAY: to LISTEN once a network is chosen by what was found out since the stage began; to WAIT where
 * there is none. */
void recover_find_way(struct mig *m, struct mig_todo *todo);

/* LISTEN: send migrate-recover with the next port, or the tunnel's. */
void recover_listen(struct mig *m, struct mig_todo *todo);

/* The source was told to connect to the port: until its kernel has given up a connection may come
 * to it. */
void recover_expect_connection(struct mig *m);

/* It is known that no further connection will come to the port. */
void recover_free_port(struct mig *m);

#endif

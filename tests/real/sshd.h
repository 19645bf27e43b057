/* An sshd of the test's own, on 127.0.0.1 and a port of its own, with keys made for it. For the ssh
 * that qferry starts (QFERRY_SSH) it is the host `hv`. Its files are in the lab's folder: host_key,
 * user_key, sshd_config, ssh_config, known_hosts. Functions assert with Check. */
#ifndef QF_TESTS_REAL_SSHD_H
#define QF_TESTS_REAL_SSHD_H

#include <stdbool.h>

#include "tests/real/move.h"

/* May it be started here? Says so on stdout where it may not. */
bool sshd_is_there(void);

/* Start it and wait until it listens; returns the port. It ends with the world. `more` ("": nothing)
 * are further lines of its configuration. QFERRY_SSH is set: the fixture unsets it. */
unsigned sshd_start(struct world *w, const char *more);

/* From now on ssh takes the public half of this key for the host's; NULL: it knows no host. */
void sshd_know_host(struct world *w, const char *key);

/* A new pair of keys in the lab's folder. */
void sshd_make_key(struct world *w, const char *name);

/* A port on 127.0.0.1 that nobody listens on. */
unsigned sshd_free_port(void);

/* Signal ("TERM") every ssh of this world whose command line has `part` in it ("": all). */
void sshd_signal_ssh(struct world *w, const char *signal, const char *part);

#endif

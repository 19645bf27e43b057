/* Runs the user's command that starts a fresh destination (--restart-destination). Edge.
 *
 * /bin/sh -c COMMAND in a session of its own, stdin empty, with these variables added:
 * QFERRY_SOURCE and QFERRY_DESTINATION (the monitors as they were given), QFERRY_ATTEMPT (the one
 * that is to come; from 2), QFERRY_NETWORK and QFERRY_ADDRESS (which network it is to take, and the
 * destination's address there), QFERRY_REASON (why the last one failed).
 *
 * What it writes to stdout and stderr is kept, the last line of it for messages. It may leave
 * processes behind: only its own end is waited for. */
#ifndef QF_ENGINE_RESTART_UV_H
#define QF_ENGINE_RESTART_UV_H

#include <stdint.h>
#include <uv.h>

#include "engine/base/err.h"
#include "engine/mig_todo.h"
#include "engine/spec.h"

struct restart;

/* Called once, from the loop. why: NULL when it ended with status 0; else one sentence, lent. The
 * restart is still the owner's, who gives it back by restart_close. */
typedef void restart_cb(struct restart *r, const char *why, void *arg);

/* Begin. Everything is copied. After limit_ms its session's processes are ended (SIGTERM, a second
 * later SIGKILL), and why says so. QF_E_NOMEM, QF_E_INTERNAL (no pipe): nothing was begun. A process
 * that cannot be made, or not be listened to, is told by on_done like every other failure. */
int restart_start(struct restart **out,
                  uv_loop_t *loop,
                  const char *command,
                  const struct mig_spec *spec,
                  const struct mig_do *what,
                  uint64_t limit_ms,
                  restart_cb *on_done,
                  void *arg,
                  struct qf_err *err);

/* Give it back, also from inside of on_done; a command that still runs is ended. on_closed is called
 * from the loop once nothing of it is left there. NULL is fine: on_closed is then not called. */
void restart_close(struct restart *r, void (*on_closed)(void *arg), void *arg);

#endif

/* The gate behind a migration that has failed or was cancelled: its status has ended, and its QEMU still
 * cleans up after it. To set anything there meanwhile, or to migrate again, can crash that QEMU with the
 * guest in it (fact sheet 0, rule 6; before 11.0). Open it is when query-yank lists no migration.
 *
 * Who waits at it: ROLLBACK, before it puts back what was changed, and PREFLIGHT, before CONFIGURE, where
 * somebody else's migration has ended so. What becomes of a gate that stays shut they decide. */
#include "engine/mig_priv.h"

enum { SHUT_MS = 60 * 1000, POLL_MS = 10 };

bool mig_gate_opens(const struct mig_event *ev)
{
    /* A QEMU without query-yank (before 6.0) has no such instances. */
    return mig_heard(ev, MIG_SRC, QAPI_QUERY_YANK) &&
           (ev->u.reply.refused || !ev->u.reply.u.yank_migration);
}

bool mig_gate_stays_shut(const struct mig *m, int64_t since_ns)
{
    return mig_is_past(m, since_ns, SHUT_MS);
}

void mig_gate_ask(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    mig_wake_in(m, POLL_MS);
    if (!mig_heard(ev, MIG_SRC, QAPI_QUERY_YANK) &&
        !mig_is_asked(m, MIG_SRC, QAPI_QUERY_YANK))
        (void)mig_ask0(m, todo, MIG_SRC, QAPI_QUERY_YANK);
}

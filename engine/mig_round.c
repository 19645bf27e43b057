/* When does the source begin its next round of pages?
 *
 * One that is limited by max-bandwidth sends what it may send in 100 ms, sleeps until these are over (BUFFER_DELAY,
 * migration_rate_limit() in migration.c), and only then sees that post-copy was asked for. A guest that was stopped for
 * the switch stands still until then. So the source is watched for a round or two: what it has sent (query-migrate)
 * stands still while it sleeps, and moves on when it wakes; 100 ms later it wakes again, and shortly before that the
 * switch is asked for.
 *
 * One that does not sleep, since the link itself is its limit, looks every 50 ms at the latest (MAX_WAIT, ram.c): then
 * nothing is waited for. Where nothing can be made out it is asked for after a while all the same: nothing but
 * blackout depends on this. */
#include "engine/base/units.h"
#include "engine/mig_priv.h"

enum {
    ROUND_MS = 100,
    LEAD_MS =
        15, /* the stop and the word itself take some, and by a poll it was seen late */
    POLL_MS = 4,
    STILL_MS = 12,   /* nothing was sent for so long: it sleeps */
    AWAKE_MS = 40,   /* it has not slept for so long: it does not */
    GIVE_UP_MS = 250 /* it was not seen to wake */
};

bool mig_waits_for_round(struct mig *m)
{
    struct mig_round *r = &m->round;
    const uint64_t sent = m->side[MIG_SRC].migrate.transferred_bytes;
    if (r->since_ns == 0)
        *r = (struct mig_round){.since_ns = m->now_ns, .moved_ns = m->now_ns, .sent = sent};
    if (sent != r->sent) {
        if (r->slept && r->due_ns == 0)
            r->due_ns = m->now_ns + qf_ms_to_ns(ROUND_MS - LEAD_MS);
        r->sent = sent;
        r->moved_ns = m->now_ns;
    } else if (mig_is_past(m, r->moved_ns, STILL_MS)) {
        r->slept = true;
    }
    if (r->due_ns != 0 ? m->now_ns >= r->due_ns
                       : mig_is_past(m, r->since_ns, r->slept ? GIVE_UP_MS : AWAKE_MS))
        return false;
    if (r->due_ns != 0)
        mig_wake_at(m, r->due_ns);
    else
        mig_wake_in(m, POLL_MS);
    return true;
}

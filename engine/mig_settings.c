/* PRECOPY: has another client changed the source's migration parameters? QEMU sends no event for
 * that, so they are asked for every two seconds and compared with what was read and set last.
 *
 * What another client has set is left, and reckoned with: QEMU has one set of parameters, and who
 * turns them on a running migration means it. The policy's next decision may set it again; in the
 * end what qferry itself has changed is put back as it was found, anything else stays. Capabilities
 * cannot be changed while a migration runs, QEMU refuses. */
#include <inttypes.h>

#include "engine/base/units.h"
#include "engine/mig_priv.h"

enum { ASK_MS = 2000 };

/* As it goes to QEMU, and comes back (qmp/qapi_encode.c). */
static uint64_t as_said(uint64_t value)
{
    return value > (uint64_t)INT64_MAX ? (uint64_t)INT64_MAX : value;
}

void mig_settings_sent(struct mig *m, const struct qapi_params *p)
{
    struct mig_settings *s = &m->settings;
    for (unsigned i = 0; i < QAPI_PARAM_COUNT; i++)
        if (p->has & (1U << i))
            s->value[i] = as_said(p->value[i]);
    s->sent |= p->has;
}

static void adopt(struct mig *m, enum qapi_param which, uint64_t value)
{
    if (which == QAPI_PARAM_DOWNTIME_LIMIT)
        m->downtime_limit_ms = value;
    else if (which == QAPI_PARAM_MAX_BANDWIDTH)
        m->bandwidth_limit = value;
}

static void compare(struct mig *m, const struct qapi_params *now, struct mig_todo *todo)
{
    struct mig_settings *s = &m->settings;
    for (unsigned i = 0; i < QAPI_PARAM_COUNT; i++) {
        const uint64_t value = as_said(now->value[i]);
        if (!(now->has & (1U << i)) ||
            (s->sent & (1U << i))) /* ours may cross the answer */
            continue;
        if (s->known && value != s->value[i]) {
            mig_warn(todo,
                     "another client has set the source's %s to %" PRIu64
                     " (it was %" PRIu64 "): it is left so, and reckoned with",
                     qapi_param_name((enum qapi_param)i), value, s->value[i]);
            adopt(m, (enum qapi_param)i, value);
        }
        s->value[i] = value;
    }
    s->known = true;
}

void mig_settings_watch(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    struct mig_settings *s = &m->settings;
    if (ev->kind == MIG_EV_ENTER)
        s->asked_ns = m->now_ns;
    if (mig_heard(ev, MIG_SRC, QAPI_SET_PARAMS) && ev->u.reply.refused)
        s->known = false; /* what holds now is to be read first */
    if (mig_heard(ev, MIG_SRC, QAPI_QUERY_PARAMS) && !ev->u.reply.refused)
        compare(m, &ev->u.reply.u.params, todo);
    if (ev->kind != MIG_EV_TIMER || m->side[MIG_SRC].link != MIG_LINK_UP ||
        mig_is_asked(m, MIG_SRC, QAPI_QUERY_PARAMS) ||
        (s->known && !mig_is_past(m, s->asked_ns, ASK_MS)))
        return;
    s->asked_ns = m->now_ns;
    s->sent = 0;
    (void)mig_ask0(m, todo, MIG_SRC, QAPI_QUERY_PARAMS);
}

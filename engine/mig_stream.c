/* The connection that the memory takes, where qferry opens it itself (--bind): asked for, handed to
 * the source's QEMU by getfd, used by `migrate fd:...`.
 *
 *   mig_open_stream > MIG_DO_STREAM > MIG_EV_STREAM > getfd > its answer > migrate
 *
 * What can go wrong: it is not made (a black hole costs seconds here, where QEMU's own connect()
 * would hang for minutes and could not be cancelled); or something fails afterwards: the
 * destination's QEMU takes one connection only, and ends when this one is closed. */
#include <stdio.h>
#include <string.h>

#include "engine/mig_priv.h"

enum { ANSWER_MS = 15 * 1000 /* the edge gives up before that */ };

bool mig_has_stream(const struct mig *m)
{
    return m->spec.bind[0] != '\0';
}

void mig_open_stream(struct mig *m, struct mig_todo *todo)
{
    struct mig_do *d = mig_todo_add(todo, MIG_DO_STREAM, MIG_SRC);
    memcpy(d->u.stream.host, m->spec.address, sizeof(d->u.stream.host));
    memcpy(d->u.stream.port, m->listen_port, sizeof(d->u.stream.port));
    m->stream_asked_ns = m->now_ns;
    m->stream_asked = true;
    m->stream_open = m->stream_given = m->stream_lent = false;
    mig_wake_in(m, ANSWER_MS);
}

static void lost(struct mig *m, const char *why)
{
    mig_fail(m, OUTCOME_FAILED, QF_E_LOST, "the connection from %s to %s, port %s: %s",
             m->spec.bind, m->spec.address, m->listen_port, why);
}

enum recipe_state mig_follow_stream(struct mig *m,
                                    const struct mig_event *ev,
                                    struct mig_todo *todo)
{
    if (ev->kind == MIG_EV_STREAM && !m->stream_open) {
        if (ev->u.outcome.failed) {
            lost(m, ev->u.outcome.text);
            return RECIPE_FAILED;
        }
        m->stream_open = m->stream_lent = true;
        (void)mig_ask0(m, todo, MIG_SRC, QAPI_GETFD);
    } else if (mig_heard(ev, MIG_SRC, QAPI_GETFD)) {
        if (ev->u.reply.refused) {
            m->stream_lent = false;
            mig_fail(m, OUTCOME_FAILED, QF_E_QMP, "source: getfd: %s",
                     ev->u.reply.error_desc);
            return RECIPE_FAILED;
        }
        m->stream_given = true;
        return RECIPE_DONE;
    } else if (mig_late(ev, MIG_SRC, QAPI_GETFD)) {
        lost(m, "the source does not answer getfd");
        return RECIPE_FAILED;
    } else if (!m->stream_open && mig_is_past(m, m->stream_asked_ns, ANSWER_MS)) {
        lost(m, "was not made in time");
        return RECIPE_FAILED;
    }
    mig_wake_in(m, ANSWER_MS);
    return RECIPE_RUNNING;
}

void mig_drop_stream(struct mig *m, struct mig_todo *todo)
{
    if (m->stream_open && (!m->started || m->stream_lent))
        mig_warn(todo, "the destination had been connected to: its QEMU ends with that "
                       "connection, start it anew");
    m->stream_given = false;
    /* A name that QEMU has not, or has no more, it refuses: no harm is done. */
    if (!m->stream_lent || m->side[MIG_SRC].link != MIG_LINK_UP)
        return;
    m->stream_lent = false;
    (void)mig_ask0(m, todo, MIG_SRC, QAPI_CLOSEFD);
}

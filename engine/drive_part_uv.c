/* What runs beside the monitors of a migration: finding out about networks, encryption, the memory's
 * connection, the command for a fresh destination, the destination's interfaces, the other moves of this
 * host. Each is begun by the machine's list or with the move, feeds one event, and is closed; what cannot be
 * begun is an event as well. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/drive_priv_uv.h"
#include "engine/network_uv.h"
#include "engine/receiver_uv.h"
#include "engine/restart_uv.h"
#include "engine/stream_uv.h"

/* It is out of the loop. */
static void on_part_closed(void *arg)
{
    struct drive *d = arg;
    d->handles_open--;
    drive_finish_if_closed(d);
}

/* ---- networks ---- */

static void close_probe(struct drive *d)
{
    netsel_probe_close(d->probe, on_part_closed, d);
    d->probe = NULL;
}

static void on_probed(struct netsel_probe *p, const struct netsel_facts *facts, void *arg)
{
    struct drive *d = arg;
    (void)p;
    session_network(&d->session, drive_now(), facts);
    close_probe(d);
    drive_carry_out(d);
}

static void feed_broken_probe(struct drive *d, const struct qf_err *why)
{
    struct netsel_facts facts = {.n_locals = 0};
    (void)snprintf(facts.fault, sizeof(facts.fault), "%.90s", why->text);
    session_network(&d->session, drive_now(), &facts);
}

void drive_probe_start(struct drive *d, const struct mig_do *item)
{
    if (d->refusal.code != QF_E_OK)
        return; /* it ends with the first monitor */
    if (network_probe(&d->probe, d->loop, &d->session.mig.spec, item->u.probe.to_the_end,
                      on_probed, d, &d->probe_err) == 0)
        d->handles_open++;
}

/* ---- encryption ---- */

static void on_secured(struct secure *s, const struct mig_secured *out, void *arg)
{
    struct drive *d = arg;
    (void)s;
    session_secured(&d->session, drive_now(), out);
    drive_carry_out(d);
}

static void feed_broken_secure(struct drive *d, const struct qf_err *why)
{
    struct mig_secured out;
    memset(&out, 0, sizeof(out));
    out.err = *why;
    session_secured(&d->session, drive_now(), &out);
}

void drive_secure_start(struct drive *d)
{
    struct secure_peer peer[MIG_SIDES];
    for (unsigned i = 0; i < MIG_SIDES; i++) {
        peer[i].known = drive_link_peer(d, (enum mig_side_id)i, &peer[i].uid, &peer[i].gid);
        peer[i].qemu = d->qemu[i];
    }
    if (secure_start(&d->secure, d->loop, &d->session.mig.spec, d->addr, peer, on_secured,
                     d, &d->secure_err) == 0)
        d->handles_open++;
}

static void on_secure_closed(const char *left, void *arg)
{
    struct drive *d = arg;
    if (left && d->ops->on_left_behind)
        d->ops->on_left_behind(d, left, d->arg);
    on_part_closed(d);
}

/* While a person has to look, what may still flow flows on. */
void drive_secure_close(struct drive *d)
{
    if (d->secure)
        secure_close(d->secure, d->session.mig.phase == MIG_HELD, on_secure_closed);
    d->secure = NULL;
}

/* ---- the memory's connection ---- */

void drive_stream_drop(struct drive *d)
{
    if (d->stream_fd >= 0)
        (void)close(d->stream_fd);
    d->stream_fd = -1;
}

static void close_stream(struct drive *d)
{
    stream_close(d->stream, on_part_closed, d);
    d->stream = NULL;
}

static void on_stream(struct stream *s, int fd, const char *why, void *arg)
{
    struct drive *d = arg;
    (void)s;
    d->stream_fd = fd;
    session_stream(&d->session, drive_now(), why);
    close_stream(d);
    drive_carry_out(d);
}

void drive_stream_start(struct drive *d, const struct mig_do *item)
{
    close_stream(d);
    drive_stream_drop(d);
    if (stream_start(&d->stream, d->loop, item, d->session.mig.spec.bind, on_stream, d,
                     &d->stream_err) == 0)
        d->handles_open++;
}

/* ---- a fresh destination ---- */

static void close_restart(struct drive *d)
{
    restart_close(d->restart, on_part_closed, d);
    d->restart = NULL;
}

static void on_restarted(struct restart *r, const char *why, void *arg)
{
    struct drive *d = arg;
    (void)r;
    session_restarted(&d->session, drive_now(), why);
    close_restart(d);
    drive_carry_out(d);
}

void drive_restart_start(struct drive *d, const struct mig_do *item)
{
    if (restart_start(&d->restart, d->loop, d->restart_command, &d->session.mig.spec, item,
                      MIG_RESTART_MS, on_restarted, d, &d->restart_err) == 0)
        d->handles_open++;
}

/* ---- the destination's interfaces ---- */

static void close_receiver(struct drive *d)
{
    receiver_close(d->receiver, on_part_closed, d);
    d->receiver = NULL;
}

static void on_links(struct receiver *r, const struct mig_links *links, void *arg)
{
    struct drive *d = arg;
    (void)r;
    session_receiver(&d->session, drive_now(), links);
    close_receiver(d);
    drive_carry_out(d);
}

/* Together with the monitors, so that it is known when the limit is wanted. */
static void start_receiver(struct drive *d)
{
    const struct mig_spec *spec = &d->session.mig.spec;
    if (!d->closing && receiver_counts(spec, &d->addr[MIG_DST]) &&
        receiver_start(&d->receiver, d->loop, &d->addr[MIG_DST], on_links, d, NULL) == 0)
        d->handles_open++;
}

/* ---- the other moves of this host ---- */

enum { LOOK_MS = 500 };

/* First before anything is chosen: then it is chosen with the others in mind. */
static void look_at_others(struct drive *d)
{
    struct mig_others others;
    if (!d->running || d->closing || !running_look(d->running, &others))
        return;
    session_running(&d->session, drive_now(), &others);
    drive_carry_out(d);
}

static void on_look(uv_timer_t *timer)
{
    look_at_others(timer->data);
}

static void start_looking(struct drive *d)
{
    if (!d->running || d->closing || uv_timer_init(d->loop, &d->look) != 0)
        return;
    d->look.data = d;
    d->looks = true;
    d->handles_open++;
    (void)uv_timer_start(&d->look, on_look, LOOK_MS, LOOK_MS);
}

static void stop_looking(struct drive *d)
{
    if (d->looks)
        uv_close((uv_handle_t *)&d->look, drive_on_handle_closed);
    d->looks = false;
}

void drive_tell_others(struct drive *d)
{
    struct mig_use use;
    if (d->running && mig_use_of(&d->session.mig, &use))
        running_use(d->running, &use);
}

/* ---- all of them ---- */

void drive_parts_begin(struct drive *d)
{
    look_at_others(d);
    start_looking(d);
    start_receiver(d);
}

bool drive_part_feed_fault(struct drive *d)
{
    struct qf_err why;
    if (drive_take_fault(&d->probe_err, &why))
        feed_broken_probe(d, &why);
    else if (drive_take_fault(&d->stream_err, &why))
        session_stream(&d->session, drive_now(), why.text);
    else if (drive_take_fault(&d->restart_err, &why))
        session_restarted(&d->session, drive_now(), why.text);
    else if (drive_take_fault(&d->secure_err, &why))
        feed_broken_secure(d, &why);
    else
        return false;
    return true;
}

void drive_parts_close(struct drive *d)
{
    close_probe(d);
    close_restart(d);
    drive_secure_close(d);
    close_stream(d);
    drive_stream_drop(d);
    stop_looking(d);
    close_receiver(d);
}

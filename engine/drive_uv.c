/* Happy path: start -> BEGIN -> open both links -> messages, timer -> ... -> END -> everything
 * closed -> on_end.
 *
 * What can fail, and what becomes of it:
 *   credentials for TLS are no good        drive_start refuses
 *   a link does not open, or is lost       MIG_EV_DOWN, the machine decides; the link is freed
 *   a command cannot be sent               the link is closed, MIG_EV_DOWN after the list
 *   no memory for a link or a message      the same: a lost link
 *   the source's process cannot be seen    MIG_EV_HOST says so
 *   the networks cannot be probed          MIG_EV_NETWORK with the reason
 *   the other moves cannot be looked at    there are none
 *   the destination's host says nothing    its interfaces are not known
 *   the memory's connection is not made    MIG_EV_STREAM with the reason
 *   a fresh destination cannot be started  MIG_EV_RESTARTED with the reason
 *   encryption cannot be made ready        MIG_EV_SECURED with the reason
 *   the journal cannot be written          on_journal_error once, on without it
 *   the journal's disk hangs               the machine waits for SYNCED, but not for ever
 *   the caller cancels at any time         MIG_EV_CANCEL
 *   an operator says something             MIG_EV_OPERATOR, or refused and nothing happens
 *
 * Order within one turn of the loop: the event is fed; its lines are written to the journal, before
 * those of them that are public are shown; only then its actions leave. What an action finds out at once (a link that cannot be
 * opened) is fed after the list is through: steps never nest. */
#include "engine/drive_uv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/host_uv.h"
#include "engine/memory_uv.h"
#include "engine/network_uv.h"
#include "engine/receiver_uv.h"
#include "engine/restart_uv.h"
#include "engine/stream_uv.h"
#include "qmp/creds_uv.h"
#include "qmp/qapi_json.h"
#include "qmp/rundir_uv.h"

struct drive_link {
    struct qmp_link link;
    struct drive *drive;
    enum mig_side_id side;
};

static void carry_out(struct drive *d);

static int64_t now(void)
{
    return (int64_t)uv_hrtime();
}

/* ---- journal ---- */

static void on_line(struct session *s,
                    const char *line,
                    const struct record *record,
                    void *arg)
{
    struct drive *d = arg;
    (void)s;
    journal_file_append(&d->journal, line);
    if (!record || !journal_is_public(record->kind) || !d->ops->on_record)
        return;
    journal_file_write(&d->journal); /* what is shown is known to who comes after a kill */
    d->ops->on_record(d, record, line, d->arg);
}

static void finish_if_closed(struct drive *d);

static void on_journal_lost(struct journal_file *j, const struct qf_err *err, void *arg)
{
    struct drive *d = arg;
    (void)j;
    if (d->ops->on_journal_error)
        d->ops->on_journal_error(d, err, d->arg);
}

static void on_journal_done(struct journal_file *j, bool synced, bool failed, void *arg)
{
    struct drive *d = arg;
    (void)j;
    d->handles_open--;
    if (d->closing) {
        finish_if_closed(d);
    } else if (synced) {
        session_synced(&d->session, now(), failed);
        carry_out(d);
    }
}

static const struct journal_file_ops journal_ops = {.on_lost = on_journal_lost,
                                                    .on_done = on_journal_done};

static void start_sync(struct drive *d)
{
    bool again;
    if (!journal_file_sync(&d->journal, &again))
        d->synced_now = true;
    else if (!again)
        d->handles_open++;
}

/* ---- links ---- */

static void on_link_closed(struct qmp_link *link, void *arg)
{
    struct drive_link *dl = arg;
    struct drive *d = dl->drive;
    (void)link;
    free(dl);
    d->handles_open--;
    finish_if_closed(d);
}

static void close_link(struct drive *d, enum mig_side_id side)
{
    struct drive_link *dl = d->link[side];
    if (!dl)
        return;
    d->link[side] = NULL;
    qmp_link_close(&dl->link, on_link_closed);
}

/* Who listens there. Only zero-copy asks for more of the source's; before the greeting is fed, since
 * preflight follows that at once. */
static void note_process(struct drive *d, const struct drive_link *dl)
{
    struct mig_process p = {.known = false};
    pid_t pid;
    uid_t uid;
    gid_t gid;
    const bool known = qmp_link_peer(&dl->link, &pid, &uid, &gid);
    if (known)
        d->qemu[dl->side] = qmp_rundir_user_of(pid);
    if (dl->side != MIG_SRC || !d->session.mig.spec.zero_copy)
        return;
    if (known)
        host_process(pid, &p);
    session_host(&d->session, now(), &p);
    carry_out(d);
}

static void on_msg(struct qmp_link *link, const struct qmp_msg *msg, void *arg)
{
    struct drive_link *dl = arg;
    struct drive *d = dl->drive;
    switch (msg->kind) {
    case QMP_MSG_UP:
        note_process(d, dl);
        session_up(&d->session, now(), dl->side, msg->body, link->client.oob);
        break;
    case QMP_MSG_REPLY:
        session_reply(&d->session, now(), dl->side, msg->id, msg->whole);
        break;
    case QMP_MSG_EVENT:
        session_event(&d->session, now(), dl->side, msg->whole);
        break;
    }
    carry_out(d);
}

/* Only a UNIX socket's word counts as a death certificate: a TCP port may be refused by
 * something in between, and ssh ends for many reasons. Nor is anything lost in one: its other end has closed
 * it, and what that wrote before is read first (unix(7), net/unix/af_unix.c). */
static void on_down(struct qmp_link *link, const struct qf_err *err, bool gone, void *arg)
{
    struct drive_link *dl = arg;
    struct drive *d = dl->drive;
    const enum mig_side_id side = dl->side;
    const struct qf_err why = *err;
    const bool here = link->addr.kind == QMP_ADDR_UNIX;
    const bool heard = here && link->ended;
    close_link(d, side);
    session_down(&d->session, now(), side, &why, here && gone, heard);
    carry_out(d);
}

static const struct qmp_link_ops link_ops = {.on_msg = on_msg, .on_down = on_down};

static void open_link(struct drive *d, enum mig_side_id side)
{
    if (d->refusal.code != QF_E_OK) {
        d->broken[side] = d->refusal;
        return;
    }
    struct drive_link *dl = calloc(1, sizeof(*dl));
    if (!dl) {
        (void)qf_fail(&d->broken[side], QF_E_NOMEM, "no memory for a connection");
        return;
    }
    dl->drive = d;
    dl->side = side;
    if (qmp_link_open(&dl->link, d->loop, &d->addr[side], &link_ops, dl,
                      &d->broken[side]) != 0) {
        free(dl);
        return;
    }
    d->link[side] = dl;
    d->handles_open++;
}

static void drop_stream_fd(struct drive *d)
{
    if (d->stream_fd >= 0)
        (void)close(d->stream_fd);
    d->stream_fd = -1;
}

/* 0, or its MIG_EV_DOWN is to come. QEMU has its own copy then. */
static int pass_stream(struct drive *d, struct drive_link *dl, struct qf_err *err)
{
    const int rc = qmp_link_pass(&dl->link, d->stream_fd, err);
    drop_stream_fd(d);
    return rc;
}

static void send_command(struct drive *d, const struct mig_do *item)
{
    const struct qapi_cmd *cmd = &item->u.send.cmd;
    struct drive_link *dl = d->link[item->side];
    if (!dl)
        return; /* its MIG_EV_DOWN is on the way */
    const bool oob = qapi_command_oob(cmd->command) && dl->link.client.oob;
    json_t *args = NULL;
    struct qf_err err = {.code = QF_E_NOMEM, .text = "no memory for a command"};
    int rc = qapi_encode(cmd, &args);
    if (rc == 0 && cmd->command == QAPI_GETFD)
        rc = pass_stream(d, dl, &err);
    if (rc == 0)
        rc = qmp_link_send(&dl->link, qapi_command_name(cmd->command), args,
                           item->u.send.id, oob, &err);
    json_decref(args);
    if (rc != 0) {
        d->broken[item->side] = err;
        close_link(d, item->side);
    }
}

/* ---- networks ---- */

static void on_part_closed(void *arg)
{
    struct drive *d = arg;
    d->handles_open--;
    finish_if_closed(d);
}

static void close_probe(struct drive *d)
{
    netsel_probe_close(d->probe, on_part_closed, d);
    d->probe = NULL;
}

static void on_probed(struct netsel_probe *p, const struct netsel_facts *facts, void *arg)
{
    struct drive *d = arg;
    (void)p;
    session_network(&d->session, now(), facts);
    close_probe(d);
    carry_out(d);
}

static void feed_broken_probe(struct drive *d, const struct qf_err *why)
{
    struct netsel_facts facts = {.n_locals = 0};
    (void)snprintf(facts.fault, sizeof(facts.fault), "%.90s", why->text);
    session_network(&d->session, now(), &facts);
}

static void start_probe(struct drive *d, const struct mig_do *item)
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
    session_secured(&d->session, now(), out);
    carry_out(d);
}

static void feed_broken_secure(struct drive *d, const struct qf_err *why)
{
    struct mig_secured out;
    memset(&out, 0, sizeof(out));
    out.err = *why;
    session_secured(&d->session, now(), &out);
}

static void start_secure(struct drive *d)
{
    struct secure_peer peer[MIG_SIDES];
    for (unsigned i = 0; i < MIG_SIDES; i++) {
        pid_t pid;
        peer[i].known = d->link[i] &&
                        qmp_link_peer(&d->link[i]->link, &pid, &peer[i].uid, &peer[i].gid);
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
static void close_secure(struct drive *d)
{
    if (d->secure)
        secure_close(d->secure, d->session.mig.phase == MIG_HELD, on_secure_closed);
    d->secure = NULL;
}

/* ---- the memory's connection ---- */

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
    session_stream(&d->session, now(), why);
    close_stream(d);
    carry_out(d);
}

static void start_stream(struct drive *d, const struct mig_do *item)
{
    close_stream(d);
    drop_stream_fd(d);
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
    session_restarted(&d->session, now(), why);
    close_restart(d);
    carry_out(d);
}

static void start_restart(struct drive *d, const struct mig_do *item)
{
    if (restart_start(&d->restart, d->loop, d->restart_command, &d->session.mig.spec, item,
                      MIG_RESTART_MS, on_restarted, d, &d->restart_err) == 0)
        d->handles_open++;
}

void drive_remember(struct drive *d, const struct mig_memory *memory)
{
    d->memory = malloc(sizeof(*memory));
    if (d->memory)
        *d->memory = *memory;
}

void drive_use_restart(struct drive *d, const char *command)
{
    d->restart_command = command;
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
    session_receiver(&d->session, now(), links);
    close_receiver(d);
    carry_out(d);
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
    session_running(&d->session, now(), &others);
    carry_out(d);
}

static void on_look(uv_timer_t *timer)
{
    look_at_others(timer->data);
}

static void on_look_closed(uv_handle_t *handle)
{
    on_part_closed(handle->data);
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
        uv_close((uv_handle_t *)&d->look, on_look_closed);
    d->looks = false;
}

static void tell_others(struct drive *d)
{
    struct mig_use use;
    if (d->running && mig_use_of(&d->session.mig, &use))
        running_use(d->running, &use);
}

void drive_use_running(struct drive *d, struct running *running)
{
    d->running = running;
}

void drive_refuse(struct drive *d, const struct qf_err *why)
{
    d->refusal = *why;
}

/* ---- the list ---- */

static void feed_cancel(struct drive *d)
{
    d->cancel_wanted = false;
    session_cancel(&d->session, now());
}

static void on_timer(uv_timer_t *timer)
{
    struct drive *d = timer->data;
    if (d->cancel_wanted)
        feed_cancel(d);
    else
        session_timer(&d->session, now());
    carry_out(d);
}

/* To the millisecond above: a timer that fires early would only be armed again. */
static void arm_timer(struct drive *d)
{
    const int64_t wake = d->session.todo.wake_ns;
    if (wake == INT64_MAX) {
        (void)uv_timer_stop(&d->timer);
        return;
    }
    const int64_t left = wake - now();
    const uint64_t ms = left > 0 ? (uint64_t)(left + 999999) / 1000000 : 0;
    uv_update_time(d->loop);
    (void)uv_timer_start(&d->timer, on_timer, ms, 0);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct drive *d = handle->data;
    d->handles_open--;
    finish_if_closed(d);
}

static void close_all(struct drive *d)
{
    d->closing = true;
    for (unsigned i = 0; i < MIG_SIDES; i++)
        close_link(d, (enum mig_side_id)i);
    close_probe(d);
    close_restart(d);
    close_secure(d);
    close_stream(d);
    drop_stream_fd(d);
    stop_looking(d);
    close_receiver(d);
    uv_close((uv_handle_t *)&d->timer, on_timer_closed);
    start_sync(d); /* the result, too, is put on the disk */
}

/* A move of these QEMUs is over: no key of an earlier one is needed either. Held, it is not over,
 * nor was it one that was only looked at. */
static void forget_keys(struct drive *d)
{
    const struct mig *m = &d->session.mig;
    if (d->over && (m->started || m->taken_up) && m->phase != MIG_HELD)
        qmp_rundir_sweep_of(d->qemu, MIG_SIDES);
}

static void finish_if_closed(struct drive *d)
{
    if (!d->closing || d->handles_open > 0)
        return;
    forget_keys(d);
    journal_file_close(&d->journal);
    qmp_tls_creds_free(d->creds);
    d->creds = NULL;
    d->ops->on_end(d, &d->result, d->arg);
}

static void carry_out_list(struct drive *d)
{
    bool sync = false;
    if (d->session.out_of_memory)
        journal_file_lose(&d->journal, ENOMEM);
    journal_file_write(&d->journal);
    for (unsigned i = 0; i < d->session.todo.n; i++) {
        const struct mig_do *item = &d->session.todo.item[i];
        switch (item->kind) {
        case MIG_DO_OPEN:
            open_link(d, item->side);
            break;
        case MIG_DO_SEND:
            send_command(d, item);
            break;
        case MIG_DO_CLOSE:
            close_link(d, item->side);
            break;
        case MIG_DO_PROBE:
            start_probe(d, item);
            break;
        case MIG_DO_STREAM:
            start_stream(d, item);
            break;
        case MIG_DO_RESTART:
            start_restart(d, item);
            break;
        case MIG_DO_SECURE:
            start_secure(d);
            break;
        case MIG_DO_UNSECURE:
            close_secure(d);
            break;
        case MIG_DO_SYNC: /* last: it need not hold up what goes to QEMU */
            sync = true;
            break;
        case MIG_DO_RECORD: /* here, not with its line: there may be no memory for that */
            if (item->u.record.kind == RECORD_RESULT)
                d->result = item->u.record.u.result;
            break;
        case MIG_DO_END:
            d->over = true;
            break;
        }
    }
    if (sync)
        start_sync(d);
}

/* Was there such a fault? It is taken away, to be fed now. */
static bool take_fault(struct qf_err *fault, struct qf_err *why)
{
    *why = *fault;
    fault->code = QF_E_OK;
    return why->code != QF_E_OK;
}

static void carry_out(struct drive *d)
{
    struct qf_err why;
    if (d->closing)
        return;
    for (;;) {
        carry_out_list(d);
        if (d->over)
            break;
        if (take_fault(&d->broken[MIG_SRC], &why)) {
            session_down(&d->session, now(), MIG_SRC, &why, false, false);
        } else if (take_fault(&d->broken[MIG_DST], &why)) {
            session_down(&d->session, now(), MIG_DST, &why, false, false);
        } else if (take_fault(&d->probe_err, &why)) {
            feed_broken_probe(d, &why);
        } else if (take_fault(&d->stream_err, &why)) {
            session_stream(&d->session, now(), why.text);
        } else if (take_fault(&d->restart_err, &why)) {
            session_restarted(&d->session, now(), why.text);
        } else if (take_fault(&d->secure_err, &why)) {
            feed_broken_secure(d, &why);
        } else if (d->synced_now) {
            d->synced_now = false;
            session_synced(&d->session, now(), false);
        } else if (d->cancel_wanted) {
            feed_cancel(d);
        } else {
            tell_others(d);
            arm_timer(d);
            return;
        }
    }
    tell_others(d);
    close_all(d);
}

/* ---- outside ---- */

static int64_t wall_ms(void)
{
    uv_timeval64_t tv;
    return uv_gettimeofday(&tv) == 0 ? tv.tv_sec * 1000 + tv.tv_usec / 1000 : 0;
}

static void on_begin(uv_timer_t *timer)
{
    struct drive *d = timer->data;
    if (d->memory)
        session_remember(&d->session, now(), d->memory);
    free(d->memory);
    d->memory = NULL;
    session_begin(&d->session, now());
    carry_out(d);
    look_at_others(d);
    start_looking(d);
    start_receiver(d);
    if (journal_file_warm(&d->journal))
        d->handles_open++;
}

/* Both sides have the same folder, if any. *creds stays NULL where no monitor has TLS. */
static int load_creds(const struct qmp_addr addr[MIG_SIDES],
                      struct qmp_tls_creds **creds,
                      struct qf_err *err)
{
    for (unsigned i = 0; i < MIG_SIDES; i++)
        if (addr[i].kind == QMP_ADDR_TLS && !*creds &&
            qmp_creds_load(addr[i].tls_dir, creds, err) != 0)
            return -(int)err->code;
    return 0;
}

int drive_check(const struct qmp_addr addr[MIG_SIDES], struct qf_err *err)
{
    struct qmp_tls_creds *creds = NULL;
    const int rc = load_creds(addr, &creds, err);
    qmp_tls_creds_free(creds);
    return rc;
}

int drive_start(struct drive *d,
                uv_loop_t *loop,
                const struct mig_spec *spec,
                const struct policy *policy,
                const struct qmp_addr addr[MIG_SIDES],
                int journal_fd,
                const struct drive_ops *ops,
                void *arg,
                struct qf_err *err)
{
    static const struct session_ops session_ops = {.on_line = on_line};
    memset(d, 0, sizeof(*d));
    qmp_rundir_sweep();
    d->ops = ops;
    d->arg = arg;
    d->loop = loop;
    d->stream_fd = -1;
    d->result.outcome =
        OUTCOME_FAILED; /* until the machine gives another: no bug is a success */
    d->result.code = QF_E_INTERNAL;
    memcpy(d->addr, addr, sizeof(d->addr));
    if (load_creds(addr, &d->creds, err) != 0)
        return -(int)err->code;
    for (unsigned i = 0; i < MIG_SIDES; i++)
        d->addr[i].creds = d->creds;
    journal_file_init(&d->journal, loop, journal_fd, &journal_ops, d);
    session_init(&d->session, spec, policy, now(), wall_ms(), &session_ops, d);
    d->session.mig.spec.cores = host_cores();
    memory_boot(d->session.clock.boot);
    int rc = uv_timer_init(loop, &d->timer);
    if (rc == 0)
        rc = uv_timer_start(&d->timer, on_begin, 0, 0);
    if (rc != 0) {
        qmp_tls_creds_free(d->creds);
        return qf_fail(err, QF_E_INTERNAL, "timer: %s", uv_strerror(rc));
    }
    d->timer.data = d;
    d->handles_open = 1;
    return 0;
}

void drive_cancel(struct drive *d)
{
    if (d->closing)
        return;
    d->cancel_wanted = true;
    if (d->session.mig.phase != MIG_NEW) /* or on_begin is to come */
        (void)uv_timer_start(&d->timer, on_timer, 0, 0);
}

int drive_operator(struct drive *d, const struct operator_command *c, struct qf_err *err)
{
    if (d->closing || d->over)
        return qf_fail(err, QF_E_REFUSED, "it is over");
    const int rc = session_operator(&d->session, now(), c, err);
    if (rc == 0)
        carry_out(d);
    return rc;
}

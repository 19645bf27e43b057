/* The list and what ends it; the monitors are in drive_link_uv.c, what runs beside them in drive_part_uv.c.
 *
 * Happy path: start -> BEGIN -> open both links -> messages, timer -> ... -> END -> everything
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
#include <stdlib.h>
#include <string.h>

#include "engine/drive_priv_uv.h"
#include "engine/host_uv.h"
#include "engine/memory_uv.h"
#include "qmp/creds_uv.h"
#include "qmp/rundir_uv.h"

int64_t drive_now(void)
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
        drive_finish_if_closed(d);
    } else if (synced) {
        session_synced(&d->session, drive_now(), failed);
        drive_carry_out(d);
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

/* ---- the list ---- */

static void feed_cancel(struct drive *d)
{
    d->cancel_wanted = false;
    session_cancel(&d->session, drive_now());
}

static void on_timer(uv_timer_t *timer)
{
    struct drive *d = timer->data;
    if (d->cancel_wanted)
        feed_cancel(d);
    else
        session_timer(&d->session, drive_now());
    drive_carry_out(d);
}

/* To the millisecond above: a timer that fires early would only be armed again. */
static void arm_timer(struct drive *d)
{
    const int64_t wake = d->session.todo.wake_ns;
    if (wake == INT64_MAX) {
        (void)uv_timer_stop(&d->timer);
        return;
    }
    const int64_t left = wake - drive_now();
    const uint64_t ms = left > 0 ? (uint64_t)(left + 999999) / 1000000 : 0;
    uv_update_time(d->loop);
    (void)uv_timer_start(&d->timer, on_timer, ms, 0);
}

static void close_all(struct drive *d)
{
    d->closing = true;
    for (unsigned i = 0; i < MIG_SIDES; i++)
        drive_link_close(d, (enum mig_side_id)i);
    drive_parts_close(d);
    uv_close((uv_handle_t *)&d->timer, drive_on_handle_closed);
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

void drive_on_handle_closed(uv_handle_t *handle)
{
    struct drive *d = handle->data;
    d->handles_open--;
    drive_finish_if_closed(d);
}

void drive_finish_if_closed(struct drive *d)
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
            drive_link_open(d, item->side);
            break;
        case MIG_DO_SEND:
            drive_link_send(d, item);
            break;
        case MIG_DO_CLOSE:
            drive_link_close(d, item->side);
            break;
        case MIG_DO_PROBE:
            drive_probe_start(d, item);
            break;
        case MIG_DO_STREAM:
            drive_stream_start(d, item);
            break;
        case MIG_DO_RESTART:
            drive_restart_start(d, item);
            break;
        case MIG_DO_SECURE:
            drive_secure_start(d);
            break;
        case MIG_DO_UNSECURE:
            drive_secure_close(d);
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
bool drive_take_fault(struct qf_err *fault, struct qf_err *why)
{
    *why = *fault;
    fault->code = QF_E_OK;
    return why->code != QF_E_OK;
}

void drive_carry_out(struct drive *d)
{
    if (d->closing)
        return;
    for (;;) {
        carry_out_list(d);
        if (d->over)
            break;
        if (drive_link_feed_fault(d) || drive_part_feed_fault(d))
            continue;
        if (d->synced_now) {
            d->synced_now = false;
            session_synced(&d->session, drive_now(), false);
        } else if (d->cancel_wanted) {
            feed_cancel(d);
        } else {
            drive_tell_others(d);
            arm_timer(d);
            return;
        }
    }
    drive_tell_others(d);
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
        session_remember(&d->session, drive_now(), d->memory);
    free(d->memory);
    d->memory = NULL;
    session_begin(&d->session, drive_now());
    drive_carry_out(d);
    drive_parts_begin(d);
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
    session_init(&d->session, spec, policy, drive_now(), wall_ms(), &session_ops, d);
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

void drive_use_running(struct drive *d, struct running *running)
{
    d->running = running;
}

void drive_refuse(struct drive *d, const struct qf_err *why)
{
    d->refusal = *why;
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
    const int rc = session_operator(&d->session, drive_now(), c, err);
    if (rc == 0)
        drive_carry_out(d);
    return rc;
}

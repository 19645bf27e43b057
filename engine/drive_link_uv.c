/* A migration's two monitors: opened, heard, told. */
#include <stdlib.h>

#include "engine/drive_priv_uv.h"
#include "engine/host_uv.h"
#include "qmp/qapi_json.h"
#include "qmp/rundir_uv.h"

struct drive_link {
    struct qmp_link link;
    struct drive *drive;
    enum mig_side_id side;
};

static void on_link_closed(struct qmp_link *link, void *arg)
{
    struct drive_link *dl = arg;
    struct drive *d = dl->drive;
    (void)link;
    free(dl);
    d->handles_open--;
    drive_finish_if_closed(d);
}

void drive_link_close(struct drive *d, enum mig_side_id side)
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
    session_host(&d->session, drive_now(), &p);
    drive_carry_out(d);
}

static void on_msg(struct qmp_link *link, const struct qmp_msg *msg, void *arg)
{
    struct drive_link *dl = arg;
    struct drive *d = dl->drive;
    switch (msg->kind) {
    case QMP_MSG_UP:
        note_process(d, dl);
        session_up(&d->session, drive_now(), dl->side, msg->body, link->client.oob);
        break;
    case QMP_MSG_REPLY:
        session_reply(&d->session, drive_now(), dl->side, msg->id, msg->whole);
        break;
    case QMP_MSG_EVENT:
        session_event(&d->session, drive_now(), dl->side, msg->whole);
        break;
    }
    drive_carry_out(d);
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
    drive_link_close(d, side);
    session_down(&d->session, drive_now(), side, &why, here && gone, heard);
    drive_carry_out(d);
}

static const struct qmp_link_ops link_ops = {.on_msg = on_msg, .on_down = on_down};

void drive_link_open(struct drive *d, enum mig_side_id side)
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

/* 0, or its MIG_EV_DOWN is to come. QEMU has its own copy then. */
static int pass_stream(struct drive *d, struct drive_link *dl, struct qf_err *err)
{
    const int rc = qmp_link_pass(&dl->link, d->stream_fd, err);
    drive_stream_drop(d);
    return rc;
}

void drive_link_send(struct drive *d, const struct mig_do *item)
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
        drive_link_close(d, item->side);
    }
}

bool drive_link_peer(const struct drive *d, enum mig_side_id side, uid_t *uid, gid_t *gid)
{
    pid_t pid;
    return d->link[side] && qmp_link_peer(&d->link[side]->link, &pid, uid, gid);
}

bool drive_link_feed_fault(struct drive *d)
{
    struct qf_err why;
    for (unsigned i = 0; i < MIG_SIDES; i++)
        if (drive_take_fault(&d->broken[i], &why)) {
            session_down(&d->session, drive_now(), (enum mig_side_id)i, &why, false, false);
            return true;
        }
    return false;
}

/* Happy path: connect -> negotiated -> command -> answer -> (events ->) close.
 * What can fail: everything that qmp/link_uv.h lists, a refusal, and nobody answering. */
#include "engine/control_client_uv.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "qmp/link_uv.h"

enum { ANSWER_MS = 10 * 1000, ID = 1 };

struct asking {
    const struct control_call *call;
    struct qmp_link link;
    uv_timer_t timer;
    bool answered;
    bool over;
    int rc;
    struct qf_err err;
};

static void end(struct asking *a, int rc)
{
    if (a->over)
        return;
    a->over = true;
    a->rc = rc;
    qmp_link_close(&a->link, NULL);
    uv_close((uv_handle_t *)&a->timer, NULL);
}

static int refusal(struct asking *a, const struct qmp_msg *msg)
{
    enum qf_code code = QF_E_USAGE;
    if (strcmp(msg->error_class, "DeviceNotActive") == 0 ||
        strcmp(msg->error_class, "DeviceNotFound") == 0)
        code = QF_E_REFUSED;
    if (strcmp(msg->error_class, "CommandNotFound") == 0)
        return qf_fail(&a->err, QF_E_PROTO, "%s: not a qferry: %s", a->call->address,
                       msg->error_desc);
    return qf_fail(&a->err, code, "%s", msg->error_desc);
}

static void on_msg(struct qmp_link *link, const struct qmp_msg *msg, void *arg)
{
    struct asking *a = arg;
    const struct control_call *call = a->call;
    switch (msg->kind) {
    case QMP_MSG_UP: {
        const int rc = qmp_link_send(link, call->command, call->args, ID, false, &a->err);
        if (rc != 0)
            end(a, rc);
        break;
    }
    case QMP_MSG_REPLY:
        a->answered = true;
        (void)uv_timer_stop(&a->timer);
        if (msg->is_error)
            end(a, refusal(a, msg));
        else if (!call->on_reply || !call->on_reply(msg->body, call->arg))
            end(a, 0);
        break;
    case QMP_MSG_EVENT:
        if (call->on_event && !call->on_event(msg->name, msg->body, call->arg))
            end(a, 0);
        break;
    }
}

static void on_down(struct qmp_link *link, const struct qf_err *err, bool gone, void *arg)
{
    struct asking *a = arg;
    (void)link;
    (void)gone;
    a->err = *err;
    if (!a->answered && a->err.code == QF_E_LOST)
        a->err.code = QF_E_UNREACHABLE;
    end(a, -(int)a->err.code);
}

static void on_late(uv_timer_t *timer)
{
    struct asking *a = timer->data;
    end(a, qf_fail(&a->err, QF_E_UNREACHABLE, "%s: no answer for %d s", a->call->address,
                   ANSWER_MS / 1000));
}

static int run(struct asking *a, uv_loop_t *loop, struct qf_err *err)
{
    static const struct qmp_link_ops ops = {.on_msg = on_msg, .on_down = on_down};
    struct qmp_addr addr;
    int rc = qmp_addr_parse(a->call->address, &addr, err);
    if (rc == 0 && addr.kind == QMP_ADDR_TLS)
        return qf_fail(err, QF_E_USAGE, "%s: a control socket speaks no TLS",
                       a->call->address);
    if (rc == 0)
        rc = qmp_link_open(&a->link, loop, &addr, &ops, a, err);
    if (rc != 0)
        return rc;
    (void)uv_timer_init(loop, &a->timer);
    a->timer.data = a;
    (void)uv_timer_start(&a->timer, on_late, ANSWER_MS, 0);
    (void)uv_run(loop, UV_RUN_DEFAULT);
    if (a->rc != 0)
        return qf_fail(err, a->err.code, "%s", a->err.text);
    return 0;
}

int control_call(const struct control_call *call, struct qf_err *err)
{
    uv_loop_t loop;
    struct asking *a = calloc(1, sizeof(*a));
    if (!a)
        return qf_fail(err, QF_E_NOMEM, "no memory for a connection");
    a->call = call;
    int rc = uv_loop_init(&loop);
    if (rc != 0) {
        free(a);
        return qf_fail(err, QF_E_INTERNAL, "event loop: %s", uv_strerror(rc));
    }
    rc = run(a, &loop, err);
    (void)uv_loop_close(&loop);
    free(a);
    return rc;
}

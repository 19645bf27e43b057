#include "tests/fake/fake.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "qmp/server.h"

enum {
    LAG_MS = 50, /* the model's: time that a slow machine may lose in one turn */
    BACKLOG = 16
};

struct fake_conn {
    struct fake_side *side;
    struct fake_conn *next;
    struct qmp_server server; /* its out is what waits to be said */
    uint64_t hold_until_ms;   /* of the loop's time; 0: nothing waits */
    bool served;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_pipe_t pipe;
        uv_tcp_t tcp;
    } h;
    char in[4096];
};

static void arm(struct fake *f);
static void serve_next(struct fake_side *s);
static void hang_up(struct fake_conn *c);

static void enter(struct fake *f)
{
    if (f->opts.inside)
        (*f->opts.inside)++;
}

static void leave(struct fake *f)
{
    if (f->opts.inside)
        (*f->opts.inside)--;
}

static struct fake_wire *wire(const struct fake_side *s)
{
    return &s->fake->opts.wire[s->side];
}

/* ---- time ---- */

static int64_t now(struct fake *f)
{
    const uint64_t clock_ns = uv_hrtime();
    const int64_t most =
        f->sleep_ns == MODEL_NEVER ? MODEL_NEVER : f->sleep_ns + LAG_MS * MODEL_MS;
    const int64_t passed = (int64_t)(clock_ns - f->clock_ns) * (int64_t)f->opts.speed;
    f->clock_ns = clock_ns;
    f->now_ns += passed < most ? passed : most;
    return f->now_ns;
}

/* ---- ends ---- */

static void on_closed(uv_handle_t *handle)
{
    struct fake *f = handle->data;
    f->handles_open--;
}

static void on_conn_closed(uv_handle_t *handle)
{
    struct fake_conn *c = handle->data;
    struct fake *f = c->side->fake;
    enter(f);
    qmp_server_fini(&c->server);
    free(c);
    f->handles_open--;
    leave(f);
}

static void close_conn(struct fake_conn *c)
{
    uv_close(&c->h.handle, on_conn_closed);
}

/* Nobody listens any more. After a kill the socket's file stays, and refuses. */
static void close_listener(struct fake_side *s, bool killed)
{
    char spare[sizeof(s->addr) + 2];
    const bool keep = killed && !wire(s)->tcp;
    if (!s->listens)
        return;
    s->listens = false;
    (void)snprintf(spare, sizeof(spare), "%s~", s->addr);
    if (keep)
        (void)link(s->addr, spare);
    s->listener.handle.data = s->fake;
    uv_close(&s->listener.handle, on_closed); /* unlinks the file */
    if (keep)
        (void)rename(spare, s->addr);
}

/* The process has ended. */
static void end_side(struct fake_side *s, bool killed)
{
    while (s->conns) {
        struct fake_conn *c = s->conns;
        s->conns = c->next;
        close_conn(c);
    }
    close_listener(s, killed);
}

/* One client leaves, or is left; the next one's turn. */
static void hang_up(struct fake_conn *c)
{
    struct fake_side *s = c->side;
    struct fake_conn **p = &s->conns;
    while (*p != c)
        p = &(*p)->next;
    *p = c->next;
    if (c->served && !wire(s)->says)
        model_close(s->fake->model, s->side, now(s->fake));
    close_conn(c);
    serve_next(s);
}

static void kill_side(struct fake_side *s)
{
    const struct model_fault die = {.what = MODEL_DIE, .side = s->side};
    model_inject(s->fake->model, &die, now(s->fake));
    end_side(s, true);
}

/* ---- saying ---- */

/* Say what may be said in this turn. False: the connection is gone. */
static bool say(struct fake_conn *c)
{
    struct fake_side *s = c->side;
    const struct fake_wire *w = wire(s);
    struct qf_buf *out = &c->server.out;
    size_t n = out->len;
    if (n > 0 && c->hold_until_ms == 0)
        c->hold_until_ms = uv_now(s->fake->loop) + w->hold_ms;
    if (w->hold_ms > 0 && uv_now(s->fake->loop) < c->hold_until_ms)
        return true;
    if (w->chunk > 0 && n > w->chunk)
        n = w->chunk;
    if (w->dies && n > w->dies_at - s->said)
        n = w->dies_at - s->said;
    if (n > 0) {
        const uv_buf_t b = uv_buf_init(out->data, (unsigned)n);
        const int rc = uv_try_write(&c->h.stream, &b, 1);
        if (rc < 0 && rc != UV_EAGAIN) {
            hang_up(c);
            return false;
        }
        if (rc > 0) {
            s->said += (size_t)rc;
            qf_buf_drop(out, (size_t)rc);
        }
    }
    if (out->len == 0)
        c->hold_until_ms = 0;
    if (w->dies && s->said >= w->dies_at) {
        kill_side(s);
        return false;
    }
    return true;
}

/* Integers that jansson cannot hold are written as "@digits@" and lose that dress here. */
static void undress(struct qf_buf *out)
{
    size_t to = 0;
    bool inside = false;
    for (size_t i = 0; i < out->len; i++) {
        const bool opens =
            out->data[i] == '"' && i + 1 < out->len && out->data[i + 1] == '@';
        const bool closes =
            out->data[i] == '@' && i + 1 < out->len && out->data[i + 1] == '"';
        if ((!inside && opens) || (inside && closes)) {
            inside = !inside;
            i++;
        } else {
            out->data[to++] = out->data[i];
        }
    }
    out->len = to;
}

static void add_large_numbers(json_t *value)
{
    if (!json_is_object(value))
        return;
    (void)json_object_set_new(value, "x-large", json_string("@18446744073709551615@"));
    if (json_object_get(value, "max-bandwidth"))
        (void)json_object_set_new(value, "max-bandwidth",
                                  json_string("@9223372036854775808@"));
}

/* Only query-pci answers with a list of buses. */
static void add_bytes(json_t *value, size_t n)
{
    json_t *bus = json_array_get(value, 0);
    if (n == 0 || !json_object_get(bus, "devices"))
        return;
    char *text = malloc(n + 1);
    assert(text);
    memset(text, 'x', n);
    text[n] = '\0';
    (void)json_object_set_new(bus, "x-pad", json_string(text));
    free(text);
}

static void greet(struct fake_conn *c, const json_t *whole)
{
    const json_t *qmp = json_object_get(whole, "QMP");
    if (wire(c->side)->event_first)
        (void)qmp_server_event(&c->server, "RTC_CHANGE", NULL, 0, NULL);
    c->server.offers_oob = json_array_size(json_object_get(qmp, "capabilities")) > 0;
    (void)qmp_server_greet(&c->server, json_object_get(qmp, "version"), NULL);
}

static void reply(struct fake_conn *c, const json_t *whole)
{
    json_t *id = json_object_get(whole, "id");
    json_t *value = json_object_get(whole, "return");
    const json_t *error = json_object_get(whole, "error");
    if (error) {
        (void)qmp_server_error(&c->server, id,
                               json_string_value(json_object_get(error, "class")),
                               json_string_value(json_object_get(error, "desc")), NULL);
        return;
    }
    if (wire(c->side)->large_numbers)
        add_large_numbers(value);
    add_bytes(value, wire(c->side)->large_bytes);
    (void)qmp_server_reply(&c->server, id, value, NULL);
    if (wire(c->side)->large_numbers)
        undress(&c->server.out);
}

static void event(struct fake_conn *c, const json_t *whole)
{
    const json_t *t = json_object_get(whole, "timestamp");
    const json_int_t s = json_integer_value(json_object_get(t, "seconds"));
    const json_int_t us = json_integer_value(json_object_get(t, "microseconds"));
    (void)qmp_server_event(&c->server, json_string_value(json_object_get(whole, "event")),
                           json_object_get(whole, "data"), s * 1000000 + us, NULL);
}

static void deliver(struct fake_side *s, const struct model_msg *msg)
{
    struct fake_conn *c = s->conns;
    if (!c || !c->served)
        return;
    switch (msg->kind) {
    case MODEL_GREETING:
        greet(c, msg->json);
        break;
    case MODEL_REPLY:
        reply(c, msg->json);
        break;
    case MODEL_EVENT:
        event(c, msg->json);
        break;
    case MODEL_DOWN:
        if (c->server.out.len > 0) /* what was said before arrives */
            (void)say(c);
        if (s->conns == c)
            hang_up(c);
        break;
    }
}

/* ---- the model's turn ---- */

static void pump(struct fake *f)
{
    struct model_msg msg;
    const int64_t t_ns = now(f);
    model_advance(f->model, t_ns);
    while (model_pop(f->model, t_ns, &msg)) {
        deliver(&f->side[msg.side], &msg);
        json_decref(msg.json);
    }
    for (unsigned i = 0; i < MODEL_SIDES; i++) {
        struct fake_side *s = &f->side[i];
        serve_next(s);
        if (s->conns && s->conns->served)
            (void)say(s->conns);
        if (!model_truth(f->model)->alive[i])
            end_side(s, false);
    }
    arm(f);
}

static void turn(struct fake *f)
{
    if (f->closing)
        return;
    enter(f);
    pump(f);
    leave(f);
}

static void on_timer(uv_timer_t *timer)
{
    turn(timer->data);
}

static void on_idle(uv_idle_t *idle)
{
    turn(idle->data);
}

/* When is something to do? Less than a millisecond ahead: in the next turn. */
static void arm(struct fake *f)
{
    int64_t next_ns = model_next_ns(f->model);
    uint64_t ms = UINT64_MAX;
    for (unsigned i = 0; i < MODEL_SIDES; i++)
        if (f->side[i].conns && !f->side[i].conns->served &&
            wire(&f->side[i])->busy_ns < next_ns)
            next_ns = wire(&f->side[i])->busy_ns;
    f->sleep_ns = MODEL_NEVER;
    if (next_ns != MODEL_NEVER) {
        f->sleep_ns = next_ns > f->now_ns ? next_ns - f->now_ns : 0;
        ms = (uint64_t)(f->sleep_ns / (MODEL_MS * (int64_t)f->opts.speed));
    }
    for (unsigned i = 0; i < MODEL_SIDES; i++) {
        const struct fake_conn *c = f->side[i].conns;
        if (!c || c->server.out.len == 0)
            continue;
        const uint64_t at = uv_now(f->loop);
        const uint64_t left = c->hold_until_ms > at ? c->hold_until_ms - at : 0;
        ms = left < ms ? left : ms;
    }
    (void)uv_timer_stop(&f->timer);
    (void)uv_idle_stop(&f->idle);
    if (ms == 0)
        (void)uv_idle_start(&f->idle, on_idle);
    else if (ms != UINT64_MAX)
        (void)uv_timer_start(&f->timer, on_timer, ms, 0);
}

/* ---- hearing ---- */

static void take(struct fake_conn *c, const struct qmp_command *cmd)
{
    struct fake_side *s = c->side;
    struct fake *f = s->fake;
    struct schema_fault fault;
    s->commands++;
    if (f->opts.ops && f->opts.ops->on_command)
        f->opts.ops->on_command(f, s->side, cmd->name, f->opts.arg);
    if (f->opts.schema &&
        !schema_check(f->opts.schema, cmd->name, cmd->args, cmd->oob, &fault)) {
        s->refused++;
        (void)snprintf(s->refusal, sizeof(s->refusal), "%s: %s", cmd->name, fault.desc);
        (void)qmp_server_error(&c->server, cmd->id, fault.error_class, fault.desc, NULL);
        return;
    }
    model_command(f->model, s->side, cmd->name, cmd->args, cmd->id, cmd->oob, now(f));
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct fake_conn *c = handle->data;
    (void)suggested;
    *buf = uv_buf_init(c->in, sizeof(c->in));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct fake_conn *c = stream->data;
    struct fake_side *s = c->side;
    struct qmp_command cmd;
    int rc = 0;
    if (uv_is_closing(&c->h.handle) || n == 0 || (n > 0 && wire(s)->says))
        return;
    enter(s->fake);
    if (n > 0) {
        rc = qmp_server_feed(&c->server, buf->base, (size_t)n, NULL);
        while (rc >= 0 && (rc = qmp_server_next(&c->server, &cmd, NULL)) > 0)
            take(c, &cmd);
        s->broken = s->broken || rc < 0;
    }
    if (n < 0 || rc < 0)
        hang_up(c);
    if (!s->fake->closing)
        pump(s->fake);
    leave(s->fake);
}

/* ---- clients ---- */

static void serve_next(struct fake_side *s)
{
    struct fake_conn *c = s->conns;
    if (!c || c->served || s->fake->now_ns < wire(s)->busy_ns)
        return;
    c->served = true;
    (void)uv_read_start(&c->h.stream, on_alloc, on_read);
    if (wire(s)->says)
        (void)qf_buf_append(&c->server.out, wire(s)->says, strlen(wire(s)->says), NULL);
    else
        model_open(s->fake->model, s->side, now(s->fake));
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct fake_side *s = listener->data;
    struct fake *f = s->fake;
    if (status != 0 || !s->listens)
        return;
    enter(f);
    struct fake_conn *c = calloc(1, sizeof(*c));
    assert(c);
    c->side = s;
    qmp_server_init(&c->server, true);
    c->server.pretty = wire(s)->pretty;
    if (wire(s)->tcp)
        (void)uv_tcp_init(f->loop, &c->h.tcp);
    else
        (void)uv_pipe_init(f->loop, &c->h.pipe, 0);
    c->h.handle.data = c;
    f->handles_open++;
    (void)uv_accept(listener, &c->h.stream);
    if (wire(s)->tcp)
        (void)uv_tcp_nodelay(&c->h.tcp, 1);
    s->clients++;
    struct fake_conn **p = &s->conns;
    while (*p)
        p = &(*p)->next;
    *p = c;
    serve_next(s);
    pump(f);
    leave(f);
}

/* ---- outside ---- */

static int listen_unix(struct fake_side *s, const char *dir, const char *name)
{
    (void)snprintf(s->addr, sizeof(s->addr), "%s/%s-%s", dir, name,
                   s->side == MODEL_SRC ? "src" : "dst");
    int rc = uv_pipe_init(s->fake->loop, &s->listener.pipe, 0);
    if (rc == 0) {
        s->fake->handles_open++;
        (void)unlink(s->addr);
        rc = uv_pipe_bind(&s->listener.pipe, s->addr);
    }
    return rc;
}

static int listen_tcp(struct fake_side *s)
{
    struct sockaddr_in at;
    int len = sizeof(at);
    int rc = uv_tcp_init(s->fake->loop, &s->listener.tcp);
    if (rc == 0) {
        s->fake->handles_open++;
        (void)uv_ip4_addr("127.0.0.1", 0, &at);
        rc = uv_tcp_bind(&s->listener.tcp, (struct sockaddr *)&at, 0);
    }
    if (rc == 0)
        rc = uv_tcp_getsockname(&s->listener.tcp, (struct sockaddr *)&at, &len);
    if (rc == 0)
        (void)snprintf(s->addr, sizeof(s->addr), "tcp:127.0.0.1:%u", ntohs(at.sin_port));
    return rc;
}

int fake_open(struct fake *f,
              uv_loop_t *loop,
              const struct fake_opts *opts,
              const char *dir,
              const char *name)
{
    memset(f, 0, sizeof(*f));
    f->opts = *opts;
    f->opts.speed = opts->speed ? opts->speed : FAKE_SPEED;
    f->loop = loop;
    f->model = model_new(&opts->setup);
    f->clock_ns = uv_hrtime();
    int rc = f->model ? uv_timer_init(loop, &f->timer) : UV_ENOMEM;
    (void)uv_idle_init(loop, &f->idle);
    f->timer.data = f;
    f->idle.data = f;
    f->handles_open = 2;
    for (unsigned i = 0; i < MODEL_SIDES && rc == 0; i++) {
        struct fake_side *s = &f->side[i];
        s->fake = f;
        s->side = (enum model_side)i;
        rc = wire(s)->tcp ? listen_tcp(s) : listen_unix(s, dir, name);
        s->listener.handle.data = s;
        s->listens = true;
        if (rc == 0)
            rc = uv_listen(&s->listener.stream, BACKLOG, on_connection);
        if (rc == 0 && !model_truth(f->model)->alive[i])
            end_side(s, true);
    }
    return rc;
}

void fake_close(struct fake *f)
{
    if (f->closing)
        return;
    f->closing = true;
    for (unsigned i = 0; i < MODEL_SIDES; i++)
        end_side(&f->side[i], false);
    uv_close((uv_handle_t *)&f->timer, on_closed);
    uv_close((uv_handle_t *)&f->idle, on_closed);
    model_free(f->model);
    f->model = NULL;
}

void fake_inject(struct fake *f, const struct model_fault *fault)
{
    model_inject(f->model, fault, now(f));
    pump(f);
}

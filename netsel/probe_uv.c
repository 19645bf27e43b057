/* Happy path: start -> timer of 0 -> addresses of this host -> names -> a connection for each path
 * -> answers -> netsel_choose says that it is decided -> on_done -> close.
 *
 * What can fail, and what becomes of it:
 *   the host's interfaces cannot be listed   facts.fault: no network is usable
 *   a name cannot be resolved                facts.name_fault; the others go on
 *   a name is not resolved in time           names_pending stays; the choice is made without
 *   no socket, no memory for a connection    its path has failed, and says why
 *   a path does not answer                   it is NETSEL_WAITING when the time is over */
#include "netsel/probe_uv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "netsel/links_uv.h"

struct target {
    char host[256];
    bool is_monitor;
};

struct netsel_probe {
    struct netsel_wish wish;
    struct netsel_facts facts;
    struct target target[NETSEL_TARGETS_MAX];
    unsigned n_targets;
    bool to_the_end;
    netsel_probe_cb *on_done;
    void *arg;
    void (*on_closed)(void *arg);
    void *closed_arg;
    uv_loop_t *loop;
    uv_timer_t timer;
    uint64_t t0_ns;
    unsigned names_open;
    struct attempt *attempt[NETSEL_PATHS_MAX]; /* by path; NULL: none, or over */
    unsigned refs; /* the owner's, the timer's, each attempt's, each name's: freed at 0 */
    bool begun;
    bool closing;
};

/* One connection. */
struct attempt {
    uv_tcp_t tcp;
    uv_connect_t connect;
    struct netsel_probe *probe;
    unsigned path;
    uint64_t t0_ns;
};

struct name {
    uv_getaddrinfo_t req;
    struct netsel_probe *probe;
    bool is_monitor;
    char host[256];
};

static void advance(struct netsel_probe *p);

static void unref(struct netsel_probe *p)
{
    if (--p->refs > 0)
        return;
    void (*on_closed)(void *arg) = p->on_closed;
    void *arg = p->closed_arg;
    free(p);
    if (on_closed)
        on_closed(arg);
}

static uint32_t ms_since(uint64_t t0_ns)
{
    return (uint32_t)((uv_hrtime() - t0_ns) / 1000000U);
}

/* ---- connections ---- */

static void on_attempt_closed(uv_handle_t *handle)
{
    struct attempt *a = handle->data;
    struct netsel_probe *p = a->probe;
    free(a);
    unref(p);
}

static void close_attempt(struct netsel_probe *p, unsigned path)
{
    struct attempt *a = p->attempt[path];
    if (!a)
        return;
    p->attempt[path] = NULL;
    uv_close((uv_handle_t *)&a->tcp, on_attempt_closed);
}

static void fail_path(struct netsel_path *path, const char *why)
{
    path->answer = NETSEL_FAILED;
    (void)snprintf(path->fault, sizeof(path->fault), "%s", why);
}

static void on_connect(uv_connect_t *req, int status)
{
    struct attempt *a = req->data;
    struct netsel_probe *p = a->probe;
    if (p->attempt[a->path] != a)
        return; /* it is being closed */
    struct netsel_path *path = &p->facts.path[a->path];
    path->took_ms = ms_since(a->t0_ns);
    if (status == 0)
        path->answer = NETSEL_ACCEPTED;
    else if (status == UV_ECONNREFUSED)
        path->answer = NETSEL_REFUSED;
    else
        fail_path(path, uv_strerror(status));
    close_attempt(p, a->path);
    advance(p);
}

/* An error that is found at once is the path's answer. */
static void probe_path(struct netsel_probe *p, unsigned i)
{
    struct netsel_path *path = &p->facts.path[i];
    const struct netsel_destination *d = &p->facts.destination[path->destination];
    struct sockaddr_storage from;
    struct sockaddr_storage to;
    struct attempt *a = calloc(1, sizeof(*a));
    if (!a) {
        fail_path(path, "no memory");
        return;
    }
    netsel_to_sockaddr(&d->source, 0, &from);
    netsel_to_sockaddr(&d->ip, path->port, &to);
    int rc = uv_tcp_init_ex(p->loop, &a->tcp, from.ss_family);
    if (rc != 0) {
        free(a);
        fail_path(path, uv_strerror(rc));
        return;
    }
    a->probe = p;
    a->path = i;
    a->t0_ns = uv_hrtime();
    a->tcp.data = a;
    a->connect.data = a;
    p->attempt[i] = a;
    p->refs++;
    path->answer = NETSEL_WAITING;
    rc = uv_tcp_bind(&a->tcp, (const struct sockaddr *)&from, 0);
    if (rc == 0)
        rc = uv_tcp_connect(&a->connect, &a->tcp, (const struct sockaddr *)&to, on_connect);
    if (rc != 0) {
        fail_path(path, uv_strerror(rc));
        close_attempt(p, i);
    }
}

/* ---- destinations ---- */

static void add_destination(struct netsel_probe *p,
                            const struct netsel_ip *ip,
                            bool is_monitor)
{
    struct netsel_facts *f = &p->facts;
    for (unsigned i = 0; i < f->n_destinations; i++)
        if (f->destination[i].is_monitor == is_monitor &&
            netsel_ip_equal(&f->destination[i].ip, ip))
            return;
    if (f->n_destinations == NETSEL_DESTINATIONS_MAX || netsel_ip_is_link_local(ip))
        return;
    struct netsel_destination *d = &f->destination[f->n_destinations++];
    *d = (struct netsel_destination){.ip = *ip, .is_monitor = is_monitor};
    netsel_find_source(d);
}

static void fail_name(struct netsel_probe *p, const char *host, int rc)
{
    if (p->facts.name_fault[0] == '\0')
        (void)snprintf(p->facts.name_fault, sizeof(p->facts.name_fault), "%.48s: %s", host,
                       uv_strerror(rc));
}

static void on_name(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    struct name *n = req->data;
    struct netsel_probe *p = n->probe;
    struct netsel_ip ip;
    p->names_open--;
    p->facts.names_pending = p->names_open > 0;
    if (!p->closing) {
        if (status != 0)
            fail_name(p, n->host, status);
        for (const struct addrinfo *a = found; a; a = a->ai_next)
            if (netsel_from_sockaddr(a->ai_addr, &ip))
                add_destination(p, &ip, n->is_monitor);
        advance(p);
    }
    uv_freeaddrinfo(found);
    free(n);
    unref(p);
}

static void resolve(struct netsel_probe *p, const struct target *t)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct name *n = calloc(1, sizeof(*n));
    if (!n) {
        fail_name(p, t->host, UV_ENOMEM);
        return;
    }
    n->req.data = n;
    n->probe = p;
    n->is_monitor = t->is_monitor;
    memcpy(n->host, t->host, sizeof(n->host));
    const int rc = uv_getaddrinfo(p->loop, &n->req, on_name, n->host, NULL, &hints);
    if (rc != 0) {
        fail_name(p, t->host, rc);
        free(n);
        return;
    }
    p->refs++;
    p->names_open++;
    p->facts.names_pending = true;
}

/* ---- the course of it ---- */

static void begin(struct netsel_probe *p)
{
    struct qf_err err;
    struct netsel_ip ip;
    p->begun = true;
    p->t0_ns = uv_hrtime();
    if (netsel_find_locals(&p->wish, &p->facts, &err) != 0)
        (void)snprintf(p->facts.fault, sizeof(p->facts.fault), "%.90s", err.text);
    for (unsigned i = 0; i < p->n_targets; i++)
        if (netsel_ip_parse(p->target[i].host, &ip))
            add_destination(p, &ip, p->target[i].is_monitor);
        else
            resolve(p, &p->target[i]);
}

/* Until when it goes on although nothing more comes; 0: it is over. */
static uint32_t next_look(const struct netsel_probe *p)
{
    const struct netsel_facts *f = &p->facts;
    struct netsel_choice choice;
    uint32_t until = 0;
    if (!p->to_the_end) {
        netsel_choose(&p->wish, f, &choice);
        return choice.is_decided ? 0 : choice.ask_again_ms;
    }
    for (unsigned i = 0; i < f->n_paths; i++)
        if (f->path[i].answer == NETSEL_WAITING)
            until = NETSEL_ANSWER_MS;
    if (f->names_pending)
        until = NETSEL_NAMES_MS;
    return until > f->waited_ms ? until : 0;
}

static void stop(struct netsel_probe *p);

static void on_timer(uv_timer_t *timer)
{
    advance(timer->data);
}

static void advance(struct netsel_probe *p)
{
    if (p->closing)
        return;
    if (!p->begun)
        begin(p);
    p->facts.waited_ms = ms_since(p->t0_ns);
    netsel_plan(&p->wish, &p->facts);
    for (unsigned i = 0; i < p->facts.n_paths; i++)
        if (p->facts.path[i].answer == NETSEL_NOT_ASKED)
            probe_path(p, i);
    const uint32_t until = next_look(p);
    if (until == 0) {
        stop(p);
        p->on_done(p, &p->facts,
                   p->arg); /* the owner's reference keeps it until it closes */
        return;
    }
    /* A millisecond more: a timer that fires early would only be armed again. */
    uv_update_time(p->loop);
    (void)uv_timer_start(&p->timer, on_timer, until - p->facts.waited_ms + 1, 0);
}

static void on_timer_closed(uv_handle_t *handle)
{
    unref(handle->data);
}

/* The timer stays until the owner closes the probe, so that on_closed comes from the loop. */
static void stop(struct netsel_probe *p)
{
    p->closing = true;
    for (unsigned i = 0; i < NETSEL_PATHS_MAX; i++)
        close_attempt(p, i);
    (void)uv_timer_stop(&p->timer);
}

int netsel_probe_start(struct netsel_probe **out,
                       uv_loop_t *loop,
                       const struct netsel_wish *w,
                       const struct netsel_target *targets,
                       unsigned n_targets,
                       bool to_the_end,
                       netsel_probe_cb *on_done,
                       void *arg,
                       struct qf_err *err)
{
    struct netsel_probe *p = calloc(1, sizeof(*p));
    if (!p)
        return qf_fail(err, QF_E_NOMEM, "no memory to probe the networks");
    p->wish = *w;
    for (unsigned i = 0; i < n_targets && i < NETSEL_TARGETS_MAX; i++) {
        struct target *t = &p->target[p->n_targets++];
        t->is_monitor = targets[i].is_monitor;
        (void)snprintf(t->host, sizeof(t->host), "%s", targets[i].host);
    }
    p->to_the_end = to_the_end;
    p->on_done = on_done;
    p->arg = arg;
    p->loop = loop;
    int rc = uv_timer_init(loop, &p->timer);
    if (rc == 0)
        rc = uv_timer_start(&p->timer, on_timer, 0, 0);
    if (rc != 0) {
        free(p);
        return qf_fail(err, QF_E_INTERNAL, "timer: %s", uv_strerror(rc));
    }
    p->timer.data = p;
    p->refs = 2;
    *out = p;
    return 0;
}

void netsel_probe_close(struct netsel_probe *p, void (*on_closed)(void *arg), void *arg)
{
    if (!p)
        return;
    p->on_closed = on_closed;
    p->closed_arg = arg;
    stop(p);
    uv_close((uv_handle_t *)&p->timer, on_timer_closed);
    unref(p);
}

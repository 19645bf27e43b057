/* Happy path: ssh runs a small program over there -> lines "qferry-link ADDRESS INTERFACE MBIT" ->
 * "qferry-links" -> on_links -> closed by the owner.
 *
 * What can fail, and what becomes of it: no ssh, no such host, no ip(8) over there, another answer, none
 * within ten seconds: nothing is told. */
#include "engine/receiver_uv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qmp/remote_uv.h"

enum { ANSWER_MS = 10000, MBIT = 1000 * 1000 / 8 };

/* As netsel/links_uv.c judges the interfaces of this host: only devices and bonds are believed, a
 * bridge or VLAN has the speed of the fastest that it stands on. No single quote in it. */
static const char asks[] =
    "exec sh -c '"
    "v() { p=/sys/class/net/$1; if [ -e $p/device ] || [ -e $p/bonding ]; "
    "then cat $p/speed 2>/dev/null; "
    "else for l in $p/lower_*; do [ -e $l ] && v ${l##*/lower_}; done; fi; }; "
    "ip -o addr show 2>/dev/null | while read -r n i f a r; do "
    "case $f in inet|inet6) ;; *) continue;; esac; "
    "s=$(v ${i%%@*} | sort -n | tail -n 1); "
    "echo qferry-link ${a%%/*} ${i%%@*} ${s:-0}; done; echo qferry-links' </dev/null";

struct receiver {
    struct qmp_remote remote;
    uv_timer_t timer;
    struct mig_links links;
    receiver_cb *on_links;
    void *arg;
    void (*on_closed)(void *arg);
    void *closed_arg;
    unsigned handles_open;
    bool told;
    bool ended; /* the remote is closed, or being so */
};

bool receiver_counts(const struct mig_spec *spec, const struct qmp_addr *destination)
{
    if (destination->kind != QMP_ADDR_SSH || !spec->bandwidth_auto)
        return false;
    for (unsigned i = 0; i < spec->networks.n; i++)
        if (spec->networks.network[i].rate_bytes_per_s == 0)
            return true;
    return false;
}

static void closed(struct receiver *r)
{
    if (--r->handles_open > 0)
        return;
    void (*on_closed)(void *arg) = r->on_closed;
    void *arg = r->closed_arg;
    free(r);
    if (on_closed)
        on_closed(arg);
}

static void on_timer_closed(uv_handle_t *handle)
{
    closed(handle->data);
}

static void on_remote_closed(struct qmp_remote *remote, bool tidy, void *arg)
{
    (void)remote;
    (void)tidy;
    closed(arg);
}

static void end_remote(struct receiver *r)
{
    if (!r->ended)
        qmp_remote_close(&r->remote, false, on_remote_closed);
    r->ended = true;
}

/* What another host says: an address and a number, or it is left out. */
static void take_link(struct receiver *r, const char *line)
{
    char ip[NETSEL_IP_TEXT];
    char interface[NETSEL_INTERFACE_MAX];
    long mbit;
    if (r->links.n == MIG_LINKS_MAX)
        return;
    struct mig_link_of *l = &r->links.link[r->links.n];
    if (sscanf(line, "qferry-link %45s %15s %ld", ip, interface, &mbit) != 3 ||
        !netsel_ip_parse(ip, &l->ip))
        return;
    for (char *c = interface; *c; c++)
        if (*c <= ' ' || *c > '~')
            return;
    memset(l->interface, 0, sizeof(l->interface));
    memcpy(l->interface, interface, strlen(interface));
    l->speed_bytes_per_s =
        mbit > 0 && mbit <= 100L * 1000 * 1000 ? (uint64_t)mbit * MBIT : 0;
    r->links.n++;
}

static void on_line(struct qmp_remote *remote, const char *line, void *arg)
{
    struct receiver *r = arg;
    (void)remote;
    if (r->told)
        return;
    if (strcmp(line, "qferry-links") != 0) {
        take_link(r, line);
        return;
    }
    r->told = true;
    r->on_links(r, &r->links, r->arg);
}

static void on_end(struct qmp_remote *remote, const struct qf_err *err, void *arg)
{
    struct receiver *r = arg;
    (void)remote;
    (void)err; /* a help, no more */
    (void)uv_timer_stop(&r->timer);
}

static void on_timer(uv_timer_t *timer)
{
    struct receiver *r = timer->data;
    r->told = true;
    end_remote(r);
}

int receiver_start(struct receiver **out,
                   uv_loop_t *loop,
                   const struct qmp_addr *destination,
                   receiver_cb *on_links,
                   void *arg,
                   struct qf_err *err)
{
    static const struct qmp_remote_ops ops = {.on_line = on_line, .on_end = on_end};
    const struct qmp_remote_opts opts = {.addr = destination, .command = asks};
    struct receiver *r = calloc(1, sizeof(*r));
    if (!r)
        return qf_fail(err, QF_E_NOMEM, "no memory to ask the destination's host");
    r->on_links = on_links;
    r->arg = arg;
    const int rc = qmp_remote_open(&r->remote, loop, &opts, &ops, r, err);
    if (rc != 0) {
        free(r);
        return rc;
    }
    (void)uv_timer_init(loop, &r->timer); /* cannot fail */
    r->timer.data = r;
    r->handles_open = 2;
    (void)uv_timer_start(&r->timer, on_timer, ANSWER_MS, 0);
    *out = r;
    return 0;
}

void receiver_close(struct receiver *r, void (*on_closed)(void *arg), void *arg)
{
    if (!r)
        return;
    r->on_closed = on_closed;
    r->closed_arg = arg;
    r->told = true;
    end_remote(r);
    uv_close((uv_handle_t *)&r->timer, on_timer_closed);
}

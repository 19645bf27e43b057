#include "tests/facts/relay.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LINKS_MAX = 16, CHUNK = 64 * 1024, KEPT_MAX = 256 * 1024 * 1024, LOOK_MS = 200 };

/* One way of one connection. */
struct pipe {
    char *kept;
    size_t n;
    bool ended; /* nothing more will come */
    bool told;  /* ... and the other end knows */
};

struct link {
    int fd[2];           /* the source's end, the destination's; -1: none */
    struct pipe pipe[2]; /* to the destination, to the source */
};

static struct relay {
    bool open;
    bool stop;
    int listener;
    int wake[2];
    uint16_t target;
    unsigned held;
    bool clogged;
    uint64_t sent;
    struct link link[LINKS_MAX];
    unsigned n_links;
    pthread_mutex_t mutex;
    pthread_t thread;
} relay = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                .sin_port = htons(port)};
}

static int stream(void)
{
    const int one = 1;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_in a;
    socklen_t n = sizeof(a);
    return getsockname(fd, (struct sockaddr *)&a, &n) == 0 ? ntohs(a.sin_port) : 0;
}

/* ---- under the mutex ---- */

static void reset(int *fd)
{
    const struct linger now = {.l_onoff = 1};
    if (*fd < 0)
        return;
    (void)setsockopt(*fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    (void)close(*fd);
    *fd = -1;
}

static void take_connection(void)
{
    const int fd = accept4(relay.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    const struct sockaddr_in to = loopback(relay.target);
    if (fd < 0)
        return;
    if (relay.n_links == LINKS_MAX) {
        (void)close(fd);
        return;
    }
    struct link *l = &relay.link[relay.n_links++];
    *l = (struct link){.fd = {fd, -1}};
    if (relay.target == 0)
        return;
    l->fd[1] = stream();
    if (connect(l->fd[1], (const struct sockaddr *)&to, sizeof(to)) != 0 &&
        errno != EINPROGRESS) {
        reset(&l->fd[0]);
        reset(&l->fd[1]);
    }
}

static void take_in(struct link *l, unsigned way)
{
    struct pipe *p = &l->pipe[way];
    char *more = realloc(p->kept, p->n + CHUNK);
    if (!more)
        abort();
    p->kept = more;
    const ssize_t n = read(l->fd[way], p->kept + p->n, CHUNK);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        p->ended = true;
        return;
    }
    if (way == 0)
        relay.sent += (uint64_t)n;
    if (l->fd[1 - way] >= 0) /* else nobody is there: swallowed */
        p->n += (size_t)n;
}

static void give_out(struct link *l, unsigned way)
{
    struct pipe *p = &l->pipe[way];
    const ssize_t n = send(l->fd[1 - way], p->kept, p->n, MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    const size_t gone = n < 0 ? p->n : (size_t)n; /* to a dead end: swallowed */
    if (n < 0 && way == 0 && !(relay.held & TO_SRC))
        reset(&l->fd[0]); /* as the destination's own host would tell it */
    memmove(p->kept, p->kept + gone, p->n - gone);
    p->n -= gone;
}

static short wanted(const struct link *l, unsigned end)
{
    const struct pipe *in = &l->pipe[end];
    const struct pipe *out = &l->pipe[1 - end];
    short events = 0;
    if (!in->ended && in->n < KEPT_MAX && !(end == 0 && relay.clogged))
        events |= POLLIN;
    if (out->n > 0 && !(relay.held & (1U << (1 - end))))
        events |= POLLOUT;
    return events;
}

static void tell_ends(struct link *l)
{
    for (unsigned way = 0; way < 2; way++) {
        struct pipe *p = &l->pipe[way];
        if (!p->ended || p->told || p->n > 0 || (relay.held & (1U << way)))
            continue;
        p->told = true;
        if (l->fd[1 - way] >= 0)
            (void)shutdown(l->fd[1 - way], SHUT_WR);
    }
}

static void serve(const struct pollfd *polled, struct link *l, unsigned end)
{
    if (polled->fd < 0 || polled->fd != l->fd[end])
        return; /* cut meanwhile */
    const short want = wanted(l, end);
    if ((want & POLLOUT) && (polled->revents & (POLLOUT | POLLERR | POLLHUP)))
        give_out(l, 1 - end);
    if ((want & POLLIN) && (polled->revents & (POLLIN | POLLERR | POLLHUP)))
        take_in(l, end);
}

/* ---- the thread ---- */

static void *run(void *arg)
{
    struct pollfd fds[2 + 2 * LINKS_MAX];
    (void)arg;
    (void)pthread_mutex_lock(&relay.mutex);
    while (!relay.stop) {
        const unsigned n = relay.n_links;
        fds[0] = (struct pollfd){.fd = relay.wake[0], .events = POLLIN};
        fds[1] = (struct pollfd){.fd = relay.listener, .events = POLLIN};
        for (unsigned i = 0; i < 2 * n; i++) {
            const struct link *l = &relay.link[i / 2];
            const short events = l->fd[i % 2] >= 0 ? wanted(l, i % 2) : 0;
            /* an end that nothing is wanted of is not asked: it may have hung up */
            fds[2 + i] =
                (struct pollfd){.fd = events ? l->fd[i % 2] : -1, .events = events};
        }
        (void)pthread_mutex_unlock(&relay.mutex);
        (void)poll(fds, 2 + 2 * n, LOOK_MS);
        (void)pthread_mutex_lock(&relay.mutex);
        char bytes[64];
        if (fds[0].revents)
            (void)!read(relay.wake[0], bytes, sizeof(bytes));
        if (fds[1].revents)
            take_connection();
        for (unsigned i = 0; i < 2 * n; i++)
            serve(&fds[2 + i], &relay.link[i / 2], i % 2);
        for (unsigned i = 0; i < n; i++)
            tell_ends(&relay.link[i]);
    }
    (void)pthread_mutex_unlock(&relay.mutex);
    return NULL;
}

static void begin_change(void)
{
    (void)pthread_mutex_lock(&relay.mutex);
}

static void end_change(void)
{
    (void)pthread_mutex_unlock(&relay.mutex);
    (void)!write(relay.wake[1], "", 1);
}

/* ---- from the test ---- */

uint16_t relay_open(uint16_t target)
{
    const struct sockaddr_in any = loopback(0);
    const int small = CHUNK;
    relay_close();
    relay.target = target;
    relay.listener = stream();
    ck_assert_int_ge(relay.listener, 0);
    (void)setsockopt(relay.listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    ck_assert_int_eq(bind(relay.listener, (const struct sockaddr *)&any, sizeof(any)), 0);
    ck_assert_int_eq(listen(relay.listener, LINKS_MAX), 0);
    ck_assert_int_eq(pipe2(relay.wake, O_CLOEXEC), 0);
    ck_assert_int_eq(pthread_create(&relay.thread, NULL, run, NULL), 0);
    relay.open = true;
    return port_of(relay.listener);
}

void relay_close(void)
{
    if (!relay.open)
        return;
    begin_change();
    relay.stop = true;
    end_change();
    (void)pthread_join(relay.thread, NULL);
    for (unsigned i = 0; i < relay.n_links; i++)
        for (unsigned k = 0; k < 2; k++) {
            reset(&relay.link[i].fd[k]);
            free(relay.link[i].pipe[k].kept);
        }
    (void)close(relay.listener);
    (void)close(relay.wake[0]);
    (void)close(relay.wake[1]);
    memset(relay.link, 0, sizeof(relay.link));
    relay.n_links = 0;
    relay.held = 0;
    relay.sent = 0;
    relay.clogged = relay.stop = relay.open = false;
}

void relay_aim(uint16_t target)
{
    begin_change();
    relay.target = target;
    end_change();
}

void relay_hold(unsigned ways)
{
    begin_change();
    relay.held |= ways;
    end_change();
}

void relay_let(unsigned ways)
{
    begin_change();
    relay.held &= ~ways;
    relay.clogged = false;
    end_change();
}

void relay_clog(void)
{
    begin_change();
    relay.clogged = true;
    end_change();
}

void relay_cut(unsigned ends)
{
    begin_change();
    for (unsigned i = 0; i < relay.n_links; i++) {
        if (ends & TO_SRC)
            reset(&relay.link[i].fd[0]);
        if (ends & TO_DST)
            reset(&relay.link[i].fd[1]);
        for (unsigned k = 0; k < 2; k++)
            if (relay.link[i].fd[1 - k] < 0)
                relay.link[i].pipe[k].n = 0;
    }
    end_change();
}

uint64_t relay_sent(void)
{
    begin_change();
    const uint64_t sent = relay.sent;
    end_change();
    return sent;
}

uint16_t relay_free_port(void)
{
    const struct sockaddr_in any = loopback(0);
    const int fd = stream();
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&any, sizeof(any)), 0);
    const uint16_t port = port_of(fd);
    (void)close(fd);
    return port;
}

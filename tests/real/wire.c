#include "tests/real/wire.h"

#include <check.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { WIRE_BYTES = 256 * 1024 };

struct wire wire;

static struct watcher {
    bool watches;
    int fd;
    pthread_t thread;
    atomic_bool stop;
    unsigned char buf[WIRE_BYTES];
} watcher;

static uint32_t word_at(const unsigned char *p)
{
    uint32_t w;
    memcpy(&w, p, sizeof(w));
    return w;
}

/* The body of a page is a run of xorshift (guest/pages.c): each word tells the next. Eight in a row
 * do not come by chance. */
static uint64_t pieces_of_memory(const unsigned char *p, size_t n)
{
    enum { ROW = 8 };
    uint64_t pieces = 0;
    for (size_t i = 0; i + 4 * ROW <= n;) {
        uint32_t x = word_at(p + i);
        unsigned k = 0;
        while (x != 0 && ++k < ROW) {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            if (x != word_at(p + i + 4 * k))
                break;
        }
        pieces += k == ROW;
        i += k == ROW ? 4 * ROW : 1;
    }
    return pieces;
}

static void *watch(void *arg)
{
    (void)arg;
    while (!atomic_load(&watcher.stop)) {
        struct sockaddr_ll from;
        socklen_t len = sizeof(from);
        const ssize_t n = recvfrom(watcher.fd, watcher.buf, sizeof(watcher.buf), 0,
                                   (struct sockaddr *)&from, &len);
        if (n <= 0 || from.sll_pkttype == PACKET_OUTGOING)
            continue; /* each is seen twice */
        wire.bytes += (uint64_t)n;
        wire.pieces += pieces_of_memory(watcher.buf, (size_t)n);
    }
    return NULL;
}

void wire_alone(void)
{
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(ioctl(fd, SIOCSIFFLAGS, &lo), 0);
    (void)close(fd);
}

void wire_open(void)
{
    struct watcher *w = &watcher;
    const int size = 256 * 1024 * 1024;
    const struct timeval soon = {.tv_usec = 50000};
    const struct sockaddr_ll lo = {.sll_family = AF_PACKET,
                                   .sll_protocol = htons(ETH_P_ALL),
                                   .sll_ifindex = (int)if_nametoindex("lo")};
    memset(&wire, 0, sizeof(wire));
    atomic_store(&w->stop, false);
    w->fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_ALL));
    ck_assert_int_ge(w->fd, 0);
    ck_assert_int_eq(setsockopt(w->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)), 0);
    ck_assert_int_eq(setsockopt(w->fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon)), 0);
    ck_assert_int_eq(bind(w->fd, (const struct sockaddr *)&lo, sizeof(lo)), 0);
    ck_assert_int_eq(pthread_create(&w->thread, NULL, watch, NULL), 0);
    w->watches = true;
}

void wire_close(void)
{
    struct watcher *w = &watcher;
    struct tpacket_stats stats = {0};
    socklen_t len = sizeof(stats);
    if (!w->watches)
        return;
    w->watches = false;
    atomic_store(&w->stop, true);
    (void)pthread_join(w->thread, NULL);
    if (getsockopt(w->fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len) == 0)
        wire.lost = stats.tp_drops;
    (void)close(w->fd);
}

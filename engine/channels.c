#include "engine/channels.h"

#include <inttypes.h>
#include <stdio.h>

static unsigned least(uint64_t a, uint64_t b)
{
    return (unsigned)(a < b ? a : b);
}

static uint64_t mbit(uint64_t bytes_per_s)
{
    return bytes_per_s / 125000;
}

unsigned channels_choose(const struct channels_facts *f, char *why, size_t size)
{
    const uint64_t rate =
        f->limit_bytes_per_s > 0 && f->limit_bytes_per_s < f->link_bytes_per_s
            ? f->limit_bytes_per_s
            : f->link_bytes_per_s;
    const uint64_t streams =
        rate / CHANNELS_STREAM_BYTES_PER_S + (rate % CHANNELS_STREAM_BYTES_PER_S != 0);
    if (rate == 0) {
        (void)snprintf(why, size, "the speed of the link is not known");
        return 0;
    }
    if (streams < 2) {
        (void)snprintf(why, size, "one stream fills %" PRIu64 " Mbit/s", mbit(rate));
        return 0;
    }
    if (f->cores == 0) {
        (void)snprintf(why, size, "the cores of the source's host are not known");
        return 0;
    }
    const unsigned n = least(least(streams, f->cores / 2), CHANNELS_DEFAULT_MAX);
    if (n < 2) {
        (void)snprintf(why, size,
                       "the source's host has %u core%s only, and the guest needs %s",
                       f->cores, f->cores == 1 ? "" : "s", f->cores == 1 ? "it" : "them");
        return 0;
    }
    (void)snprintf(why, size, "for %" PRIu64 " Mbit/s, on a host with %u cores", mbit(rate),
                   f->cores);
    return n;
}

/* The simplest cell that still fails. */
#include <string.h>

#include "tests/real/faults.h"

static bool drop_guest(struct cell *c)
{
    const bool changes = c->guest[0] != '\0';
    c->guest[0] = '\0';
    return changes;
}

static bool drop_options(struct cell *c)
{
    const bool changes = c->options[0] != '\0';
    c->options[0] = '\0';
    return changes;
}

static bool drop_delay(struct cell *c)
{
    const bool changes = c->delay_ms != 0;
    c->delay_ms = 0;
    return changes;
}

static bool go_plain(struct cell *c)
{
    const bool changes = c->way != WAY_PLAIN;
    c->way = WAY_PLAIN;
    return changes;
}

static bool drop_channels(struct cell *c)
{
    const bool changes = c->way == WAY_CHANNELS_PSK;
    c->way = WAY_PSK;
    return changes;
}

static bool drop_key(struct cell *c)
{
    const bool changes = c->way == WAY_CHANNELS_PSK;
    c->way = WAY_CHANNELS;
    return changes;
}

/* Each says whether it changes anything. */
static bool (*const changes[])(struct cell *) = {go_plain,   drop_channels, drop_key,
                                                 drop_guest, drop_options,  drop_delay};

unsigned cell_shrink(struct cell *c,
                     bool (*fails)(const struct cell *c, void *arg),
                     void *arg)
{
    unsigned asked = 0;
    bool again = true;
    /* What did not matter before may do after another change, and the other way round. */
    while (again) {
        again = false;
        for (unsigned i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
            struct cell simpler = *c;
            if (!changes[i](&simpler))
                continue;
            asked++;
            if (!fails(&simpler, arg))
                continue;
            *c = simpler;
            again = true;
        }
    }
    return asked;
}

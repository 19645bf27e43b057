/* What carries the memory: one stream or several channels (multifd), and how. Who wants which is
 * decided here, before anything is touched; CONFIGURE sets it on both sides alike. */
#include <stdio.h>

#include "engine/channels.h"
#include "engine/mig_priv.h"

static uint64_t limit_of(const struct mig *m)
{
    if (m->spec.bandwidth_bytes_per_s != SPEC_BANDWIDTH_HYPERVISOR)
        return m->spec.bandwidth_bytes_per_s;
    if (m->policy.bandwidth_bytes_per_s != 0)
        return m->policy.bandwidth_bytes_per_s;
    return m->spec.bandwidth_auto ? m->network.bandwidth_bytes_per_s : 0;
}

bool mig_may_choose_channels(const struct mig *m)
{
    enum { FIRST_MAJOR = 11 };
    return m->side[MIG_SRC].version.major >= FIRST_MAJOR;
}

static unsigned by_default(const struct mig *m, char *why, size_t size)
{
    if (mig_has_stream(m)) {
        (void)snprintf(why, size, "with --bind the source is handed one connection");
        return 0;
    }
    struct channels_facts f = {.limit_bytes_per_s = limit_of(m)};
    if (m->network_known && m->network.chosen >= 0)
        f.link_bytes_per_s = m->network.candidate[m->network.chosen].link_bytes_per_s;
    if (mig_is_source_here(m))
        f.cores = m->spec.cores;
    const unsigned n = channels_choose(&f, why, size);
    if (n == 0 || mig_may_choose_channels(m))
        return n;
    (void)snprintf(
        why, size,
        "the source's QEMU is older than 11, and might hang with channels when the "
        "destination dies or the move is cancelled; --channels %u asks for them",
        n);
    return 0;
}

void mig_choose_channels(struct mig *m, char *why, size_t size)
{
    const bool by_method =
        m->spec.compression != QAPI_COMPRESSION_NONE || m->spec.zero_copy;
    m->channels_asked = by_method || (m->spec.channels_said && m->spec.channels > 0);
    m->compression = m->spec.compression;
    m->zero_copy = m->spec.zero_copy;
    if (m->spec.channels_said) {
        m->channels = m->spec.channels;
        (void)snprintf(why, size, "as asked for");
    } else if (m->policy.channels > 0) {
        m->channels = m->policy.channels;
        (void)snprintf(why, size, "the policy's");
    } else {
        m->channels = by_default(m, why, size);
    }
    if (m->channels == 0 && by_method) {
        m->channels = CHANNELS_OF_A_METHOD;
        (void)snprintf(why, size, "%s needs them",
                       m->zero_copy ? "zero-copy" : "compression");
    }
}

/* multifd with postcopy-ram: 7.2 takes the pair, and its destination aborts after the switch, with
 * the guest; 8.0 to 10.0 refuse it when the capabilities are set ("Postcopy is not yet compatible
 * with multifd", migration/options.c), from 10.1 on it works (verified 7.2, 10.0, 11.1; fact sheet
 * 1.4). So QEMU's word can be taken for it from 8.0 on, and that is learnt from what it offers:
 * mapped-ram came with 9.0 (qapi/migration.json). Without it the pair is not even tried. */
bool mig_is_pair_answered(const struct mig *m)
{
    return (m->side[MIG_SRC].caps_found.offered & m->side[MIG_DST].caps_found.offered &
            QAPI_CAP_BIT(MAPPED_RAM)) != 0;
}

void mig_one_stream(struct mig *m)
{
    m->channels = 0;
    m->compression = QAPI_COMPRESSION_NONE;
    m->zero_copy = false;
}

/* Normal pages are counted before they are compressed, by every version; 7.2 counts all bytes so. */
void mig_uncompress(const struct mig *m, struct policy_sample *s)
{
    const uint64_t raw = m->side[MIG_SRC].migrate.normal_bytes;
    if (m->compression != QAPI_COMPRESSION_NONE && raw > s->transferred_bytes)
        s->transferred_bytes = raw;
}

/* QEMU from 8.0 on measures what is on the wire, and holds it against what is left before it is
 * compressed: with 30:1 it believes to be 30 times as slow as it is, and never switches (verified
 * 10.0, 11.1; fact sheet 4.6). From 8.2 on it takes a rate from outside instead. */
uint64_t mig_switchover_rate(const struct mig *m)
{
    const uint64_t rate = m->policy_run.trend.bandwidth_bytes_per_s;
    const uint64_t now = m->switchover_bytes_per_s;
    if (m->compression == QAPI_COMPRESSION_NONE || rate == 0 ||
        !(m->side[MIG_SRC].params_found.has & 1U << QAPI_PARAM_AVAIL_SWITCHOVER_BANDWIDTH))
        return 0;
    /* A fifth up or down is no news. */
    return rate > now + now / 5 || rate < now - now / 5 ? rate : 0;
}

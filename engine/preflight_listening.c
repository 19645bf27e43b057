/* PREFLIGHT, a destination that listens already.
 *
 * One that was told to listen, by its command line or by a move that came to nothing before
 * it was connected to, is of use: it cannot be told again ("already been started", every version;
 * fact sheet 3.1). What carries the memory is fixed from then on: 10.0 and 11.1 refuse multifd and
 * preempt ("must be set before incoming starts"), 7.2 takes them too late (1.1). As a killed qferry has
 * left them, they may stay. */
#include <stdio.h>
#include <string.h>

#include "engine/mig_priv.h"

bool preflight_listens_for_channels(const struct mig *m)
{
    return (m->side[MIG_DST].caps_found.on &
            (QAPI_CAP_BIT(MULTIFD) | QAPI_CAP_BIT(POSTCOPY_PREEMPT))) != 0;
}

static bool has_channels_left(const struct mig *m)
{
    return (m->side[MIG_DST].caps_left & QAPI_CAP_BIT(MULTIFD)) != 0;
}

static uint64_t channels_now(const struct mig *m)
{
    const struct mig_side *dst = &m->side[MIG_DST];
    return dst->params_left & 1U << QAPI_PARAM_MULTIFD_CHANNELS
               ? dst->param_set[QAPI_PARAM_MULTIFD_CHANNELS]
               : dst->params_found.value[QAPI_PARAM_MULTIFD_CHANNELS];
}

bool preflight_listens_for_these(const struct mig *m)
{
    return has_channels_left(m) && channels_now(m) == m->channels;
}

/* Names are the source's QEMU to resolve; on 0.0.0.0 and :: it listens everywhere. */
static bool is_reached_at(const struct mig *m, const char *host)
{
    struct netsel_ip listens;
    struct netsel_ip asked;
    if (strcmp(host, m->spec.address) == 0 || strcmp(host, "::") == 0 ||
        !netsel_ip_parse(m->spec.address, &asked) || !netsel_ip_parse(host, &listens))
        return true;
    return listens.family == asked.family &&
           (strcmp(host, "0.0.0.0") == 0 || netsel_ip_equal(&listens, &asked));
}

static unsigned number_of(const char *port)
{
    unsigned n = 0;
    for (; *port >= '0' && *port <= '9' && n <= UINT16_MAX; port++)
        n = n * 10 + (unsigned)(*port - '0');
    return n;
}

void preflight_check_listening(struct mig *m)
{
    const struct qapi_migrate *q = &m->side[MIG_DST].migrate;
    const struct mig_spec *spec = &m->spec;
    if (!m->listens)
        return;
    const unsigned port = number_of(q->listen_port);
    if (spec->encrypt == SPEC_ENCRYPT_SSH)
        mig_fail(
            m, OUTCOME_REFUSED, QF_E_REFUSED,
            "the destination listens already, on %s and not in the tunnel; start it anew "
            "with -incoming defer",
            q->listen_host);
    else if (m->channels == 0 && has_channels_left(m))
        mig_fail(
            m, OUTCOME_REFUSED, QF_E_REFUSED,
            "the destination listens already, for several channels; start it anew with "
            "-incoming defer");
    else if (!is_reached_at(m, q->listen_host))
        mig_fail(m, OUTCOME_REFUSED, QF_E_REFUSED,
                 "the destination listens already, on %s and not on %s; start it anew with "
                 "-incoming defer",
                 q->listen_host, spec->address);
    else if (spec->port_first != 0 && (port < spec->port_first || port > spec->port_last))
        mig_fail(
            m, OUTCOME_REFUSED, QF_E_REFUSED,
            "the destination listens already, on port %u and not as --port says; start "
            "it anew with -incoming defer",
            port);
}

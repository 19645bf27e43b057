/* A guest, a link and a QEMU in whole numbers, as far as a policy can see them: for
 * test_trend.c and test_policy.c. Time goes in ticks of 10 ms; nothing is random.
 *
 * The guest touches `dirty_rate` bytes a second, spread over its working set, so that what it
 * has dirtied since a sync saturates there. QEMU sends what is unsent; a sync makes what was
 * dirtied unsent again. The two kinds of QEMU differ in when they sync (see trend.c). */
#ifndef QF_TESTS_UNIT_POLICY_MODEL_H
#define QF_TESTS_UNIT_POLICY_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/units.h"
#include "policy/sample.h"

enum {
    MODEL_TICK_MS = 10,
    MODEL_SYNC_MS = 100 /* of a QEMU that syncs all the time */
};

struct model {
    uint64_t total;
    uint64_t working_set;
    uint64_t dirty_rate; /* bytes a second */
    uint64_t link;       /* bytes a second */
    bool syncs_always;   /* as 11.1 with postcopy-ram; else as 7.2 */
    uint64_t downtime_ms;
    uint32_t throttle_percent;
    bool stopped;
    bool postcopy;
    /* what happens */
    uint64_t t_ms;
    uint64_t unsent;
    uint64_t dirtied;
    uint64_t sent;
    uint64_t pass;
    bool done;
};

static inline void model_start(struct model *m)
{
    m->unsent = m->total;
    m->pass = 1;
    m->t_ms = 1000; /* no clock starts at 0 */
    if (m->downtime_ms == 0)
        m->downtime_ms = 100;
}

static inline uint64_t model_threshold(const struct model *m)
{
    return qf_mul_div(m->link, m->downtime_ms, 1000);
}

static inline void model_sync(struct model *m)
{
    const uint64_t walk_left = m->total > m->sent ? m->total - m->sent : 0;
    const uint64_t most = walk_left > m->working_set ? walk_left : m->working_set;
    m->unsent += m->dirtied;
    if (m->unsent > most)
        m->unsent = most;
    m->dirtied = 0;
    m->pass++;
    if (m->unsent <= model_threshold(m))
        m->done = true;
}

static inline void model_tick(struct model *m)
{
    const uint64_t run_permille =
        m->stopped ? 0 : 1000 - 10 * (uint64_t)m->throttle_percent;
    const uint64_t touched =
        qf_mul_div(qf_mul_div(m->dirty_rate, MODEL_TICK_MS, 1000), run_permille, 1000);
    uint64_t out = qf_mul_div(m->link, MODEL_TICK_MS, 1000);
    if (out > m->unsent)
        out = m->unsent;
    m->t_ms += MODEL_TICK_MS;
    m->unsent -= out;
    m->sent += out;
    if (m->postcopy) {
        m->done = m->unsent == 0;
        return;
    }
    if (m->working_set > 0)
        m->dirtied += qf_mul_div(touched, m->working_set - m->dirtied, m->working_set);
    if (m->dirtied > m->working_set)
        m->dirtied = m->working_set;
    if (m->syncs_always ? m->t_ms % MODEL_SYNC_MS == 0 : m->unsent <= model_threshold(m))
        model_sync(m);
}

static inline void model_run(struct model *m, uint64_t ms)
{
    for (uint64_t t = 0; t < ms && !m->done; t += MODEL_TICK_MS)
        model_tick(m);
}

static inline struct policy_sample model_sample(const struct model *m)
{
    return (struct policy_sample){
        .t_ns = qf_ms_to_ns(m->t_ms),
        .elapsed_ns = qf_ms_to_ns(m->t_ms - 1000),
        .started = true,
        .guest_stopped = m->stopped,
        .postcopy = m->postcopy,
        .pass = m->pass,
        .total_bytes = m->total,
        .remaining_bytes = m->unsent,
        .transferred_bytes = m->sent,
        .walked_bytes = m->sent,
        .expected_downtime_ms = POLICY_UNKNOWN,
        .downtime_limit_ms = m->downtime_ms,
        .throttle_percent = m->throttle_percent,
    };
}

#endif

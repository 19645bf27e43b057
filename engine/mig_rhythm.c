/* Beside the passes of PRECOPY: what does the guest dirty in a second? For policy/rhythm.h, which
 * makes out of it whether the guest pauses.
 *
 *   calc-dirty-rate --reply--> one second --> query-dirty-rate --measured--> the gap --> again
 *
 * QEMU hashes some of the guest's pages twice, in a thread of its own, and touches neither the
 * bitmap nor the migration (calc-dirty-rate by page sampling, since 5.2; verified while a migration
 * was active on 7.2 under TCG). The number of pages is bounded, and the gap is so long that the
 * hashing takes a few percent of one CPU. What is asked goes out with the samples: nothing is woken
 * for it.
 *
 * It is a help, no more: what is refused is asked again later and then no more, an answer that does
 * not come ends it, and neither is said. */
#include "engine/base/units.h"
#include "engine/mig_priv.h"

enum {
    MEASURE_S = 1,
    GAP_MS = 1000,
    GAP_MS_PER_MIB = 20,     /* hashed: about 1 ms each */
    PAGES = 8192,            /* in all, */
    PAGES_PER_GIB_MIN = 128, /* but no fewer than QEMU takes */
    PAGE_KIB = 4,
    REFUSED_MS = 30000,
    REFUSALS = 3
};

static uint64_t pages_per_gib(const struct mig *m)
{
    const uint64_t gib = m->side[MIG_SRC].memory_bytes / QF_GIB;
    const uint64_t n = PAGES / (gib > 0 ? gib : 1);
    return n > QAPI_SAMPLE_PAGES_MAX ? QAPI_SAMPLE_PAGES_MAX
           : n < PAGES_PER_GIB_MIN   ? PAGES_PER_GIB_MIN
                                     : n;
}

static uint64_t gap_ms(const struct mig *m)
{
    const uint64_t pages =
        qf_mul_div(m->side[MIG_SRC].memory_bytes, pages_per_gib(m), QF_GIB);
    const uint64_t hashed_mib = 2 * pages * PAGE_KIB / 1024;
    const uint64_t ms = qf_mul_sat(hashed_mib, GAP_MS_PER_MIB);
    return ms > GAP_MS ? ms : GAP_MS;
}

/* Of use to whom decides by forecast, while there is something to be decided. */
static bool is_wanted(const struct mig *m)
{
    return m->policy.pacing == POLICY_PACING_FORECAST && m->rhythm.refusals < REFUSALS &&
           !m->throttling && !m->postcopy_asked && !m->postcopy_held &&
           !mig_src_stopped(m) && m->side[MIG_SRC].link == MIG_LINK_UP &&
           m->side[MIG_SRC].migrate.status == QAPI_MIG_ACTIVE;
}

static void hear(struct mig *m, const struct qapi_reply *r)
{
    struct mig_rhythm *b = &m->rhythm;
    if (r->refused) {
        b->refusals++;
        b->measuring = false;
        b->due_ns = m->now_ns + REFUSED_MS * QF_NS_PER_MS;
    } else if (r->command == QAPI_CALC_DIRTY_RATE) {
        b->measuring = true;
        b->due_ns = m->now_ns + MEASURE_S * QF_NS_PER_S;
    } else if (r->u.dirty.measured && b->measuring) {
        b->measuring = false;
        b->measures++;
        b->bytes_per_s = r->u.dirty.bytes_per_s;
        b->due_ns = m->now_ns + qf_ms_to_ns(gap_ms(m));
    }
}

void mig_rhythm_step(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    struct mig_rhythm *b = &m->rhythm;
    if (ev->kind == MIG_EV_ENTER) {
        b->measuring = false; /* what was asked before is not known to have been heard */
        b->due_ns =
            m->now_ns + GAP_MS * QF_NS_PER_MS; /* not in a move that is over at once */
    }
    if (mig_heard(ev, MIG_SRC, QAPI_CALC_DIRTY_RATE) ||
        mig_heard(ev, MIG_SRC, QAPI_QUERY_DIRTY_RATE))
        hear(m, &ev->u.reply);
    if (mig_late(ev, MIG_SRC, QAPI_CALC_DIRTY_RATE) ||
        mig_late(ev, MIG_SRC, QAPI_QUERY_DIRTY_RATE))
        b->refusals = REFUSALS;
    if (ev->kind != MIG_EV_TIMER || m->now_ns < b->due_ns || !is_wanted(m) ||
        mig_is_asked(m, MIG_SRC, QAPI_CALC_DIRTY_RATE) ||
        mig_is_asked(m, MIG_SRC, QAPI_QUERY_DIRTY_RATE))
        return;
    struct qapi_cmd cmd = {.command = QAPI_QUERY_DIRTY_RATE};
    if (!b->measuring) {
        cmd.command = QAPI_CALC_DIRTY_RATE;
        cmd.u.calc.seconds = MEASURE_S;
        cmd.u.calc.pages_per_gib = (uint32_t)pages_per_gib(m);
    }
    (void)mig_ask(m, todo, MIG_SRC, &cmd);
}

/* What is a pass?
 *
 * A policy asks whether passes still shrink. QEMU's counter (ram.dirty-sync-count) does not say
 * that on every version, because it counts bitmap syncs:
 *
 *   - to 7.2, and later in a plain precopy, one sync ends one walk over what was dirty;
 *   - from 9.2 with auto-converge, one more sync comes every 5 s inside a long walk;
 *   - 11.1 with postcopy-ram enabled syncs in every turn of its loop, about ten times a second,
 *     and `remaining` hovers at the working set from the first second to the last;
 *   - a tiny guest on a fast link makes a hundred passes before QEMU has measured anything.
 *
 * So a sync counts as the end of a pass only when a walk has ended too: since the last counted
 * boundary QEMU handled about as many bytes (WALK_PERMILLE) as that boundary had left over, and
 * POLICY_PASS_MIN_MS went by. "Handled" is the page counters where the engine has them, because
 * a zero page costs nine bytes on the wire: by bytes sent alone, the first pass over an idle
 * guest would never end. For the same reason (zero pages without counters, compression) a
 * `remaining` that was seen close to zero also proves a walk.
 *
 * Steady guest with a working set of 100 MiB, 40 MiB/s, samples every 100 ms; | = counted:
 *
 *   7.2    remaining  100 \  50 \   0 | 100 \  50 \   0 | 100      a sync every 2.5 s, all count
 *   11.1   remaining  100  100  100  100 | 100  100  100 | 100     a sync every 0.1 s, one in 25
 *
 * Both give one stall every 2.5 s. What the new boundary leaves over is comparable as well: in
 * either case it is what the guest dirtied while QEMU sent one walk's worth of bytes.
 *
 * QEMU syncs as soon as the rest would fit into the downtime limit, so a pass is shorter than what
 * it began with, by what fits. A walk is measured without that part, but never as less than
 * WALK_LEAST_PERMILLE: a guest that nearly fits makes very short passes, and a policy must not
 * use up all its patience with them within a second.
 *
 * A sample comes a little after the sync. What was sent meanwhile is added back, as far as the
 * sample before tells: bytes handled beyond what was still left in the old pass. Where a sync comes in
 * every turn, that tells nothing: a turn under a bandwidth limit begins with the sync, sends a slice
 * (the limit's share of 100 ms) in one burst, and sleeps, so every sample is short of one slice. Seen
 * on 11.1: 20 MiB of a working set of 24 MiB at 40 MiB/s, 509 ms instead of 610 ms; the policy then
 * waited for 500 ms to be enough. */
#include "policy/trend.h"

#include "engine/base/units.h"

enum {
    WALK_PERMILLE = 900,       /* handled this much of what had to be: walked */
    WALK_LEAST_PERMILLE = 500, /* ... and this much of what was left */
    DIP_PERMILLE = 100,        /* remaining seen below this much of it: walked */
    SYNCS_ALWAYS = 5,          /* so many syncs within a walk, and within as many seconds */
    SMOOTH_MS = 2000,          /* how long the measure of bandwidth remembers */
    RATE_WINDOW_MIN_MS =
        100 /* QEMU sends in slices of 100 ms: shorter measures are noise */
};

static uint64_t handled(const struct policy_sample *s)
{
    const uint64_t walked = s->walked_bytes == POLICY_UNKNOWN ? 0 : s->walked_bytes;
    return walked > s->transferred_bytes ? walked : s->transferred_bytes;
}

static struct policy_pass *newest(struct policy_trend *t)
{
    return &t->passes[(t->n_passes - 1) % POLICY_PASSES_KEPT];
}

const struct policy_pass *policy_trend_boundary(const struct policy_trend *t, uint64_t back)
{
    return &t->passes[(t->n_passes - 1 - back) % POLICY_PASSES_KEPT];
}

void policy_trend_init(struct policy_trend *t)
{
    *t = (struct policy_trend){.n_passes = 0};
}

/* Bandwidth: the mean of what was seen at first, then a mean that forgets with SMOOTH_MS.
 * Weighted by time, so that it does not matter how often somebody asks. Time before the first
 * byte (connecting, set-up) does not count; a link that stands still later does. */
static void measure(struct policy_trend *t, const struct policy_sample *s)
{
    if (s->transferred_bytes < t->rate_transferred_bytes ||
        (t->rate_seen_ns == 0 && s->transferred_bytes == t->rate_transferred_bytes)) {
        t->rate_t_ns = s->t_ns;
        t->rate_transferred_bytes = s->transferred_bytes;
        return;
    }
    const int64_t window_ns = s->t_ns - t->rate_t_ns;
    if (window_ns < RATE_WINDOW_MIN_MS * QF_NS_PER_MS)
        return;
    const uint64_t rate = qf_mul_div(s->transferred_bytes - t->rate_transferred_bytes,
                                     (uint64_t)QF_NS_PER_S, (uint64_t)window_ns);
    const uint64_t old = t->bandwidth_bytes_per_s;
    const uint64_t all = (uint64_t)window_ns + (uint64_t)t->rate_seen_ns;
    t->bandwidth_bytes_per_s = rate >= old
                                   ? old + qf_mul_div(rate - old, (uint64_t)window_ns, all)
                                   : old - qf_mul_div(old - rate, (uint64_t)window_ns, all);
    t->rate_seen_ns = all > (uint64_t)(SMOOTH_MS * QF_NS_PER_MS) ? SMOOTH_MS * QF_NS_PER_MS
                                                                 : (int64_t)all;
    t->rate_t_ns = s->t_ns;
    t->rate_transferred_bytes = s->transferred_bytes;
}

static void push(struct policy_trend *t, const struct policy_pass *pass)
{
    t->n_passes++;
    *newest(t) = *pass;
    t->dip_bytes = t->last.remaining_bytes;
    t->least_before_bytes = t->least_remaining_bytes;
    if (t->n_passes == 1 || pass->remaining_bytes < t->least_remaining_bytes)
        t->least_remaining_bytes = pass->remaining_bytes;
}

/* Was everything that the last boundary left over handled since? */
static bool is_walked(struct policy_trend *t, const struct policy_sample *s)
{
    const struct policy_pass *began = newest(t);
    if (s->t_ns - began->t_ns < POLICY_PASS_MIN_MS * QF_NS_PER_MS)
        return false;
    const uint64_t left = began->remaining_bytes;
    const uint64_t fits = qf_mul_div(t->bandwidth_bytes_per_s, s->downtime_limit_ms, 1000);
    const uint64_t least = qf_mul_div(left, WALK_LEAST_PERMILLE, 1000);
    const uint64_t most = left > fits ? qf_mul_div(left - fits, WALK_PERMILLE, 1000) : 0;
    const uint64_t now = handled(s);
    const uint64_t done = now > began->handled_bytes ? now - began->handled_bytes : 0;
    return done >= (most > least ? most : least) ||
           t->dip_bytes <= qf_mul_div(left, DIP_PERMILLE, 1000);
}

static void begin(struct policy_trend *t, const struct policy_sample *s)
{
    struct policy_pass first = {
        .number = s->pass,
        .t_ns = s->t_ns,
        .remaining_bytes = s->remaining_bytes,
        .handled_bytes = handled(s),
    };
    if (s->pass == 1) { /* the bulk pass began with all there is */
        first.handled_bytes = 0;
        if (s->total_bytes > first.remaining_bytes)
            first.remaining_bytes = s->total_bytes;
    }
    push(t, &first);
}

/* Is it the limit that holds QEMU up, not the link or the processor? */
static bool is_limited(const struct policy_trend *t, const struct policy_sample *s)
{
    return s->bandwidth_limit_bytes_per_s != 0 &&
           s->bandwidth_limit_bytes_per_s != POLICY_UNKNOWN &&
           t->bandwidth_bytes_per_s >= s->bandwidth_limit_bytes_per_s / 2;
}

static void end_pass(struct policy_trend *t,
                     const struct policy_sample *before,
                     const struct policy_sample *s)
{
    const int64_t took_ns = s->t_ns - newest(t)->t_ns;
    const uint64_t now = handled(s);
    const uint64_t moved = now > handled(before) ? now - handled(before) : 0;
    uint64_t since = 0; /* sent after the sync, before this sample */
    if (s->pass == before->pass + 1 && moved > before->remaining_bytes)
        since = moved - before->remaining_bytes;
    else if (t->syncs_always && is_limited(t, s)) {
        const uint64_t slice =
            qf_mul_div(s->bandwidth_limit_bytes_per_s, RATE_WINDOW_MIN_MS, 1000);
        since = moved < slice ? moved : slice;
    }
    struct policy_pass pass = {
        .number = s->pass,
        .t_ns = s->t_ns,
        .remaining_bytes = qf_add_sat(s->remaining_bytes, since),
        .handled_bytes = now - since,
    };
    if (s->total_bytes >= s->remaining_bytes && pass.remaining_bytes > s->total_bytes)
        pass.remaining_bytes = s->total_bytes;
    push(t, &pass);
    t->walk_extra_syncs = 0;
    if (pass.remaining_bytes > 0 &&
        pass.remaining_bytes >=
            qf_mul_div(t->least_before_bytes, POLICY_SHRINK_PERMILLE, 1000))
        t->stalled_passes++;
    t->dirty_bytes_per_s =
        qf_mul_div(pass.remaining_bytes, (uint64_t)QF_NS_PER_S, (uint64_t)took_ns);
}

/* A sync that ended no walk. It may still have ended a real pass, only that this one was over before it
 * could be counted: then about all was sent that the sample before saw left, or so much that the rest
 * would fit into the downtime limit. A QEMU that syncs in every turn is known by the first walk. */
static void count_extra_syncs(struct policy_trend *t,
                              const struct policy_sample *before,
                              const struct policy_sample *s)
{
    const uint64_t left = before->remaining_bytes;
    const uint64_t now = handled(s);
    const uint64_t moved = now > handled(before) ? now - handled(before) : 0;
    const uint64_t fits = qf_mul_div(t->bandwidth_bytes_per_s, s->downtime_limit_ms, 1000);
    if (s->pass <= before->pass || moved >= qf_mul_div(left, WALK_LEAST_PERMILLE, 1000) ||
        (!t->syncs_always && left - moved <= qf_add_sat(fits, fits / 4)))
        return;
    t->extra_syncs += s->pass - before->pass;
    t->walk_extra_syncs += s->pass - before->pass;
    if (t->walk_extra_syncs >= SYNCS_ALWAYS &&
        s->t_ns - newest(t)->t_ns < (int64_t)(SYNCS_ALWAYS * QF_NS_PER_S))
        t->syncs_always = true;
}

bool policy_trend_feed(struct policy_trend *t, const struct policy_sample *s)
{
    const struct policy_sample before = t->last;
    if (s->is_repeated && before.started) {
        t->last.guest_stopped = s->guest_stopped;
        return false;
    }
    t->last = *s;
    if (!s->started)
        return false;
    if (!before.started) {
        t->rate_t_ns = s->t_ns;
        t->rate_transferred_bytes = s->transferred_bytes;
    }
    if (!before.started || s->transferred_bytes != before.transferred_bytes)
        t->moved_t_ns = s->t_ns;
    measure(t, s);
    if (s->pass == 0 || s->postcopy)
        return false;
    if (t->n_passes == 0) {
        begin(t, s);
        return true;
    }
    if (s->pass > before.pass && is_walked(t, s)) {
        end_pass(t, &before, s);
        return true;
    }
    count_extra_syncs(t, &before, s);
    if (s->remaining_bytes < t->dip_bytes)
        t->dip_bytes = s->remaining_bytes;
    return false;
}

static uint64_t time_for_ms(const struct policy_trend *t, uint64_t bytes)
{
    if (t->bandwidth_bytes_per_s == 0)
        return POLICY_UNKNOWN;
    return qf_mul_div(bytes, 1000, t->bandwidth_bytes_per_s);
}

uint64_t policy_trend_time_left_ms(const struct policy_trend *t)
{
    return time_for_ms(t, t->last.remaining_bytes);
}

uint64_t policy_trend_implied_downtime_ms(const struct policy_trend *t)
{
    if (t->n_passes < 2)
        return POLICY_UNKNOWN;
    const uint64_t a = policy_trend_boundary(t, 0)->remaining_bytes;
    const uint64_t b = policy_trend_boundary(t, 1)->remaining_bytes;
    return time_for_ms(t, a < b ? a : b);
}

uint64_t policy_trend_complete(const struct policy_trend *t)
{
    return t->n_passes > 0 ? t->n_passes - 1 : 0;
}

uint64_t policy_trend_left_over(const struct policy_trend *t)
{
    return t->n_passes > 0 ? policy_trend_boundary(t, 0)->remaining_bytes : 0;
}

/* QEMU in the model. What it does is that of 7.2 (migration/migration.c, ram.c), in turns:
 *
 *        .-----------------------------------------------------------------.
 *        v                                                                 |
 *   pending < threshold? --no--> post-copy asked? --no--> send until the window's budget,
 *        | yes                        | yes               TURN_MS or what is pending is used up;
 *        v                            v                   out of budget: wait for the window's
 *      sync  (a pass begins)      switch                  end
 *        |
 *   still pending < threshold? --no--> (send)
 *        | yes
 *        v
 *   stop the guest, sync, send the rest without limit, device state: completed
 *
 *   - A window lasts 100 ms. At its end: bandwidth = sent / time, threshold = bandwidth x
 *     downtime-limit. Before the first one there is no threshold.
 *   - max-bandwidth is a budget for each window, sent as fast as the link goes.
 *   - auto-converge is looked at in a sync that comes more than a second after it was last.
 *   - A model whose rates do not change sends many windows in one stretch.
 *
 * Pages of all kinds are taken to lie mixed in memory, so a walk takes the same share of each.
 * What a sync finds is independent of what was pending: pending' = 1 - (1 - p)(1 - q).
 *
 * What waits in sockets counts as sent for QEMU; the link needs time for it when the guest has
 * stopped.
 *
 * Left out: XBZRLE and other compression, block migration, the page sizes of memory backends,
 * several channels, and what the migration itself takes from the guest's CPU time. */
#include "policy/model.h"

#include "engine/base/units.h"
#include "policy/model_world.h"

enum {
    WINDOW_MS = 100,
    TURN_MS = 50,     /* MAX_WAIT of ram.c */
    PERIOD_MS = 1000, /* of auto-converge and of the dirty rate */
    ZERO_WIRE = 9,    /* bytes of a zero page on the wire: header and fill byte */
    PAGE_HEADER = 8,
    STRETCH_MIN = 2, /* windows; fewer are done one by one */
    POSTCOPY_STEP_MAX_MS = 100,
    POSTCOPY_STEP_MIN_MS = 2
};

static const int64_t window_ns = WINDOW_MS * QF_NS_PER_MS;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static double smaller(double a, double b)
{
    return a < b ? a : b;
}

/* ---- memory ---- */

/* What is pending. */
struct mix {
    double data; /* bytes of pages with something in them */
    double zero; /* bytes of zero pages */
    double wire; /* what both are on the wire */
};

static double cold_bytes(const struct policy_model_guest *g)
{
    uint64_t used = g->zero_bytes;
    for (uint32_t i = 0; i < g->n_sets; i++)
        used = qf_add_sat(used, g->sets[i].bytes);
    return used < g->memory_bytes ? (double)(g->memory_bytes - used) : 0;
}

static struct mix weigh(double data, double zero)
{
    return (struct mix){.data = data,
                        .zero = zero,
                        .wire = data * (POLICY_MODEL_PAGE_BYTES + PAGE_HEADER) /
                                    POLICY_MODEL_PAGE_BYTES +
                                zero * ZERO_WIRE / POLICY_MODEL_PAGE_BYTES};
}

static struct mix pending(const struct policy_model *m)
{
    const struct policy_model_guest *g = &m->spec->guest;
    double data = m->cold_pending * cold_bytes(g);
    for (uint32_t i = 0; i < g->n_sets; i++)
        data += m->pending[i] * (double)g->sets[i].bytes;
    return weigh(data, m->zero_pending * (double)g->zero_bytes);
}

/* Of it, what comes next: zero pages that lie behind the others have to wait for them. */
static struct mix next_up(const struct policy_model *m)
{
    const struct mix all = pending(m);
    const bool waits =
        m->spec->guest.zero_last && m->passes <= 1 && all.data >= POLICY_MODEL_PAGE_BYTES;
    return waits ? weigh(all.data, 0) : all;
}

double policy_model_remaining(const struct policy_model *m)
{
    const struct mix mix = pending(m);
    return mix.data + mix.zero;
}

/* A share of what is next goes out. */
static void send_share(struct policy_model *m, double share)
{
    const struct mix mix = next_up(m);
    const double keep = share < 1 ? 1 - share : 0;
    for (uint32_t i = 0; i < m->spec->guest.n_sets; i++)
        m->pending[i] *= keep;
    m->cold_pending *= keep;
    if (mix.zero > 0)
        m->zero_pending *= keep;
    m->wire += mix.wire * (1 - keep);
    m->window_wire += mix.wire * (1 - keep);
    m->walked += (mix.data + mix.zero) * (1 - keep);
}

/* ---- time ---- */

/* Let time go by; no rate changes meanwhile. */
static void elapse(struct policy_model *m, int64_t ns)
{
    if (m->stage == POLICY_MODEL_ACTIVE || m->stage == POLICY_MODEL_SETUP) {
        policy_model_world_run(m, ns);
        if (!m->stopped)
            m->throttle_percent_ns += (double)ns * m->throttle_percent;
    }
    m->now_ns += ns;
}

/* To then_ns, over all changes on the way. */
static void elapse_to(struct policy_model *m, int64_t then_ns)
{
    while (m->now_ns < then_ns) {
        elapse(m, least(then_ns, policy_model_world_change(m)) - m->now_ns);
        policy_model_world_noise(m);
    }
}

/* Time for so much at this rate, zero pages looked through on the way. */
static double time_for_ns(const struct policy_model *m, const struct mix *mix, double rate)
{
    const uint64_t scan = m->spec->qemu.scan_bytes_per_s;
    return mix->wire / rate * 1e9 + (scan > 0 ? mix->zero / (double)scan * 1e9 : 0);
}

/* Everything pending, without limit, with the guest stopped. */
static void drain(struct policy_model *m)
{
    for (;;) {
        const struct mix mix = next_up(m);
        const double rate = policy_model_link_rate(m);
        const int64_t change_ns = policy_model_world_change(m);
        if (mix.wire <= 0 || (rate <= 0 && change_ns == INT64_MAX))
            return;
        const double ns = rate > 0 ? time_for_ns(m, &mix, rate) : 9e18;
        const double most_ns = (double)(change_ns - m->now_ns);
        send_share(m, ns <= most_ns ? 1 : most_ns / ns);
        elapse(m, ns <= most_ns ? (int64_t)ns : change_ns - m->now_ns);
        policy_model_world_noise(m);
    }
}

/* ---- windows and syncs ---- */

static void measure(struct policy_model *m, double bytes, int64_t ns)
{
    m->bandwidth = bytes * 1e9 / (double)ns;
    m->threshold = m->bandwidth * (double)m->downtime_limit_ms / 1000;
    m->window_ns = m->now_ns;
    m->window_wire = 0;
}

static void close_window(struct policy_model *m)
{
    if (m->now_ns - m->window_ns >= window_ns)
        measure(m, m->window_wire, m->now_ns - m->window_ns);
}

/* The guest is too fast for the second time: take more from it. */
static void throttle_down(struct policy_model *m)
{
    uint32_t percent = m->throttle_percent + m->throttle_increment;
    if (m->throttle_percent < m->throttle_first)
        percent = m->throttle_first;
    if (percent > m->throttle_max)
        percent = m->throttle_max;
    if (percent > m->throttle_percent)
        m->throttle_percent = percent;
}

static void end_period(struct policy_model *m)
{
    const int64_t ns = m->now_ns - m->period_ns;
    if (ns <= PERIOD_MS * QF_NS_PER_MS)
        return;
    const double sent = m->wire - m->period_wire;
    if (m->options.auto_converge &&
        m->period_dirty > sent * m->spec->qemu.throttle_trigger_percent / 100 &&
        ++m->dirty_high_count >= 2) {
        m->dirty_high_count = 0;
        throttle_down(m);
    }
    m->dirty_bytes_per_s = m->period_dirty * 1e9 / (double)ns;
    m->period_ns = m->now_ns;
    m->period_dirty = 0;
    m->period_wire = m->wire;
}

/* What was written becomes pending. */
static void collect(struct policy_model *m)
{
    for (uint32_t i = 0; i < m->spec->guest.n_sets; i++) {
        const double found = (1 - m->pending[i]) * m->written[i];
        m->period_dirty += found * (double)m->spec->guest.sets[i].bytes;
        m->pending[i] += found;
        m->written[i] = 0;
    }
    m->passes++;
    m->synced_remaining = policy_model_remaining(m);
}

static int64_t sync_cost_ns(const struct policy_model *m)
{
    return (int64_t)((double)m->spec->qemu.sync_per_tib_ms * 1e6 *
                     (double)m->spec->guest.memory_bytes / (double)(QF_GIB * 1024));
}

static void sync(struct policy_model *m)
{
    collect(m);
    end_period(m);
    m->synced = true;
    m->busy_until_ns = m->now_ns + sync_cost_ns(m);
}

/* ---- the end ---- */

/* What QEMU has sent and the link has not: nothing while max-bandwidth is what holds QEMU back. */
static int64_t queue_ns(const struct policy_model *m)
{
    const double rate = policy_model_link_rate(m);
    const double queued = smaller((double)m->spec->link.buffer_bytes, m->wire);
    const bool limited = m->limit_bytes_per_s > 0 && (double)m->limit_bytes_per_s < rate;
    return rate > 0 && !limited ? (int64_t)(queued / rate * 1e9) : 0;
}

static void finish(struct policy_model *m)
{
    const struct policy_model_qemu *q = &m->spec->qemu;
    const int64_t stop_ns = m->now_ns;
    collect(m);
    m->now_ns += sync_cost_ns(m);
    m->stage = POLICY_MODEL_COMPLETED; /* the guest writes no more */
    m->now_ns += queue_ns(m);
    drain(m);
    m->now_ns += qf_ms_to_ns(q->switchover_ms) + (int64_t)m->spec->link.latency_ns;
    m->downtime_ns = m->now_ns - stop_ns;
    m->blackout_ns =
        m->now_ns - (m->stopped ? m->stopped_ns : stop_ns) + qf_ms_to_ns(q->resume_ms);
}

static void switch_to_postcopy(struct policy_model *m)
{
    const struct policy_model_qemu *q = &m->spec->qemu;
    const int64_t stop_ns = m->now_ns;
    collect(m);
    m->stage = POLICY_MODEL_POSTCOPY;
    m->now_ns += sync_cost_ns(m) + queue_ns(m) + qf_ms_to_ns(q->postcopy_switch_ms) +
                 (int64_t)m->spec->link.latency_ns;
    m->downtime_ns = m->now_ns - stop_ns;
    m->blackout_ns =
        m->now_ns - (m->stopped ? m->stopped_ns : stop_ns) + qf_ms_to_ns(q->resume_ms);
    m->postcopy_ns = stop_ns;
    m->stopped = false;
    m->throttle_percent = 0;
}

/* ---- pre-copy ---- */

static bool syncs_always(const struct policy_model *m)
{
    return m->spec->qemu.syncs_always && m->options.postcopy;
}

static double budget(const struct policy_model *m)
{
    return (double)m->limit_bytes_per_s * WINDOW_MS / 1000;
}

/* Many windows in one stretch: where each is like the last, and none ends the pass. */
static bool send_stretch(struct policy_model *m, int64_t horizon_ns, double rate)
{
    const struct mix mix = next_up(m);
    if (m->now_ns != m->window_ns || m->window_wire > 0 || syncs_always(m))
        return false;
    double per_window = mix.wire * (double)window_ns / time_for_ns(m, &mix, rate);
    if (m->limit_bytes_per_s > 0)
        per_window = smaller(per_window, budget(m));
    const double walk = per_window * (mix.data + mix.zero) / mix.wire; /* pages, in bytes */
    const double left = policy_model_remaining(m);
    const double next = per_window * 10 * (double)m->downtime_limit_ms / 1000;
    const double threshold = next > m->threshold ? next : m->threshold;
    double n = (double)((horizon_ns - m->now_ns) / window_ns);
    n = smaller(n, (left - threshold) / walk - 1);
    n = smaller(n, mix.wire / per_window);
    if (n < STRETCH_MIN)
        return false;
    const int64_t windows = (int64_t)n;
    send_share(m, (double)windows * per_window / mix.wire);
    elapse(m, windows * window_ns);
    measure(m, per_window, window_ns);
    return true;
}

static void begin_turn(struct policy_model *m, double rate)
{
    const struct mix mix = next_up(m);
    m->turn_wire = mix.wire * smaller(1, TURN_MS * 1e6 / time_for_ns(m, &mix, rate));
    if (m->limit_bytes_per_s > 0)
        m->turn_wire = smaller(m->turn_wire, budget(m) - m->window_wire);
    if (m->turn_wire <= 0) {
        m->turn_wire = 0;
        m->busy_until_ns = m->window_ns + window_ns;
    }
}

static void go_on_turn(struct policy_model *m, int64_t horizon_ns, double rate)
{
    const struct mix mix = next_up(m);
    const double share = smaller(1, m->turn_wire / mix.wire);
    const double ns = time_for_ns(m, &mix, rate) * share;
    const double most_ns = (double)(horizon_ns - m->now_ns);
    const double part = ns <= most_ns ? 1 : most_ns / ns;
    send_share(m, share * part);
    elapse(m, ns <= most_ns ? (int64_t)ns : horizon_ns - m->now_ns);
    m->turn_wire = ns <= most_ns ? 0 : m->turn_wire * (1 - part);
    if (m->turn_wire == 0 && m->limit_bytes_per_s > 0 &&
        m->window_wire >= budget(m) * 0.999999)
        m->busy_until_ns = m->window_ns + window_ns;
}

/* Until something happens. */
static enum policy_model_event step_active(struct policy_model *m, int64_t until_ns)
{
    while (m->now_ns < until_ns) {
        policy_model_world_noise(m);
        if (m->now_ns < m->busy_until_ns) {
            elapse_to(m, least(m->busy_until_ns, until_ns));
            continue;
        }
        const int64_t horizon_ns = least(until_ns, policy_model_world_change(m));
        const double rate = policy_model_link_rate(m);
        if (m->turn_wire <= 0) {
            if (!m->synced) /* the sync is part of the turn that found too little pending */
                close_window(m);
            const double left = policy_model_remaining(m);
            const bool low = left < POLICY_MODEL_PAGE_BYTES || left < m->threshold;
            if (!m->synced && (low || syncs_always(m))) {
                sync(m);
                return POLICY_MODEL_PASS;
            }
            if (low) {
                finish(m);
                return POLICY_MODEL_ENDED;
            }
            if (m->postcopy_asked) {
                switch_to_postcopy(m);
                return POLICY_MODEL_SWITCHED;
            }
        }
        if (rate <= 0) {
            elapse(m, horizon_ns - m->now_ns);
            continue;
        }
        m->synced = false;
        if (m->turn_wire <= 0 && send_stretch(m, horizon_ns, rate))
            continue;
        if (m->turn_wire <= 0)
            begin_turn(m, rate);
        if (m->turn_wire > 0)
            go_on_turn(m, horizon_ns, rate);
    }
    return POLICY_MODEL_TIME;
}

static enum policy_model_event step_setup(struct policy_model *m, int64_t until_ns)
{
    elapse_to(m, least(m->busy_until_ns, until_ns));
    if (m->now_ns < m->busy_until_ns)
        return POLICY_MODEL_TIME;
    m->stage = POLICY_MODEL_ACTIVE;
    for (uint32_t i = 0; i < m->spec->guest.n_sets; i++)
        m->written[i] = 0; /* all is pending, and counted nowhere */
    m->passes = 1;
    m->synced_remaining = policy_model_remaining(m);
    m->period_ns = m->now_ns;
    m->window_ns = m->now_ns;
    return POLICY_MODEL_PASS;
}

/* ---- post-copy ---- */

/* The guest touches pages as it writes them; each that is missing stops one CPU until it came.
 * Pages are pushed meanwhile, in the order of memory. */
static void postcopy_for(struct policy_model *m, int64_t ns)
{
    const struct policy_model_spec *spec = m->spec;
    const double link = policy_model_link_rate(m);
    const double limit = (double)m->options.postcopy_bandwidth_bytes_per_s;
    const double s = (double)ns / 1e9;
    const uint32_t cpus = spec->guest.cpus > 0 ? spec->guest.cpus : 1;
    double touched[POLICY_MODEL_SETS_MAX];
    double all = 0; /* missing bytes touched a second, at full speed */
    if (link <= 0) {
        m->degraded_ns += (double)ns;
        m->now_ns += ns;
        return;
    }
    for (uint32_t i = 0; i < spec->guest.n_sets; i++) {
        touched[i] = policy_model_write_rate(m, i) * m->pending[i];
        all += touched[i];
    }
    const double fault_s = (double)(spec->link.latency_ns + spec->qemu.fault_ns) / 1e9 +
                           POLICY_MODEL_PAGE_BYTES / link;
    double speed = 1 / (1 + all / POLICY_MODEL_PAGE_BYTES * fault_s / cpus);
    if (all * speed > link)
        speed = link / all;
    double fetched = 0;
    for (uint32_t i = 0; i < spec->guest.n_sets; i++) {
        const double have = m->pending[i] * (double)spec->guest.sets[i].bytes;
        const double bytes = smaller(have, touched[i] * speed * s);
        fetched += bytes;
        if (have > 0)
            m->pending[i] *= 1 - bytes / have;
    }
    const struct mix mix = pending(m);
    double push = link * s - fetched;
    if (limit > 0)
        push = smaller(push, limit * s);
    m->wire += fetched;
    m->walked += fetched;
    if (mix.wire > 0 && push > 0)
        send_share(m, smaller(1, push / mix.wire));
    m->degraded_ns += (double)ns * (1 - speed);
    m->now_ns += ns;
}

static enum policy_model_event step_postcopy(struct policy_model *m, int64_t until_ns)
{
    const struct policy_model_qemu *q = &m->spec->qemu;
    const int64_t breaks_ns =
        m->postcopy_ns + m->downtime_ns + qf_ms_to_ns(q->postcopy_breaks_after_ms);
    while (m->now_ns < until_ns) {
        policy_model_world_noise(m);
        const struct mix mix = pending(m);
        m->postcopy_time_ns = m->now_ns - m->postcopy_ns - m->downtime_ns;
        if (mix.data + mix.zero < POLICY_MODEL_PAGE_BYTES) {
            m->now_ns += (int64_t)m->spec->link.latency_ns;
            m->stage = POLICY_MODEL_COMPLETED;
            return POLICY_MODEL_ENDED;
        }
        if (q->postcopy_breaks && m->now_ns >= breaks_ns) {
            m->stage = POLICY_MODEL_LOST;
            return POLICY_MODEL_ENDED;
        }
        const double link = policy_model_link_rate(m);
        const double limit = (double)m->options.postcopy_bandwidth_bytes_per_s;
        const double rate = limit > 0 ? smaller(link, limit) : link;
        double ns = rate > 0 ? time_for_ns(m, &mix, rate) / 20 : 9e18;
        ns = smaller(ns, POSTCOPY_STEP_MAX_MS * 1e6);
        if (ns < POSTCOPY_STEP_MIN_MS * 1e6)
            ns = smaller(POSTCOPY_STEP_MIN_MS * 1e6, time_for_ns(m, &mix, rate) + 1);
        int64_t then_ns = least(until_ns, m->now_ns + (int64_t)ns);
        then_ns = least(then_ns, policy_model_world_change(m));
        if (q->postcopy_breaks)
            then_ns = least(then_ns, breaks_ns);
        postcopy_for(m, then_ns - m->now_ns);
    }
    return POLICY_MODEL_TIME;
}

/* ---- from outside ---- */

void policy_model_init(struct policy_model *m,
                       const struct policy_model_spec *spec,
                       const struct policy_model_options *options,
                       uint64_t seed)
{
    *m = (struct policy_model){
        .spec = spec,
        .options = *options,
        .stage = POLICY_MODEL_SETUP,
        .stopped = options->guest_stopped,
        .cold_pending = 1,
        .zero_pending = 1,
        .downtime_limit_ms = options->downtime_limit_ms,
        .limit_bytes_per_s = options->bandwidth_bytes_per_s == POLICY_UNKNOWN
                                 ? spec->qemu.max_bandwidth_bytes_per_s
                                 : options->bandwidth_bytes_per_s,
        .throttle_first = 1,
        .throttle_max = 1,
    };
    for (uint32_t i = 0; i < spec->guest.n_sets; i++)
        m->pending[i] = 1;
    m->busy_until_ns = qf_ms_to_ns(spec->qemu.setup_ms) + (int64_t)spec->link.latency_ns;
    policy_model_world_init(m, seed);
}

enum policy_model_event policy_model_step(struct policy_model *m, int64_t until_ns)
{
    switch (m->stage) {
    case POLICY_MODEL_SETUP:
        return step_setup(m, until_ns);
    case POLICY_MODEL_ACTIVE:
        return step_active(m, until_ns);
    case POLICY_MODEL_POSTCOPY:
        return step_postcopy(m, until_ns);
    case POLICY_MODEL_COMPLETED:
    case POLICY_MODEL_LOST:
        break;
    }
    return POLICY_MODEL_ENDED;
}

static uint64_t whole(double x)
{
    return x > 0 ? (uint64_t)(x + 0.5) : 0;
}

uint64_t policy_model_measure(const struct policy_model *m)
{
    const double guest_ns = 1e9 * policy_model_speed(m);
    double bytes = 0;
    for (uint32_t i = 0; i < m->spec->guest.n_sets; i++)
        bytes +=
            (double)m->spec->guest.sets[i].bytes * policy_model_coverage(m, i, guest_ns);
    return whole(bytes);
}

void policy_model_sample(const struct policy_model *m,
                         int64_t t0_ns,
                         struct policy_sample *s)
{
    *s = (struct policy_sample){
        .t_ns = t0_ns + m->now_ns,
        .elapsed_ns = m->now_ns,
        .started = true,
        .guest_stopped = m->stopped,
        .postcopy = m->postcopy_asked,
        .pass = m->passes,
        .total_bytes = m->spec->guest.memory_bytes,
        .remaining_bytes = whole(policy_model_remaining(m)),
        .transferred_bytes = whole(m->wire),
        .walked_bytes = whole(m->walked),
        .dirty_bytes_per_s = whole(m->dirty_bytes_per_s),
        .bandwidth_bytes_per_s = whole(m->bandwidth),
        .expected_downtime_ms = m->dirty_bytes_per_s > 0 && m->bandwidth > 0
                                    ? whole(m->synced_remaining * 1000 / m->bandwidth)
                                    : m->downtime_limit_ms,
        .downtime_limit_ms = m->downtime_limit_ms,
        .bandwidth_limit_bytes_per_s = m->limit_bytes_per_s,
        .bandwidth_is_fixed = false,
        .throttle_percent = m->throttle_percent,
    };
}

void policy_model_set_downtime(struct policy_model *m, uint64_t limit_ms)
{
    m->downtime_limit_ms = limit_ms;
}

void policy_model_set_bandwidth(struct policy_model *m, uint64_t bytes_per_s)
{
    m->limit_bytes_per_s = bytes_per_s;
}

void policy_model_throttle(struct policy_model *m,
                           uint32_t first,
                           uint32_t increment,
                           uint32_t max)
{
    m->throttle_first = first;
    m->throttle_increment = increment;
    m->throttle_max = max;
}

void policy_model_postcopy(struct policy_model *m)
{
    m->postcopy_asked = m->options.postcopy;
}

void policy_model_stop_guest(struct policy_model *m)
{
    if (!m->stopped)
        m->stopped_ns = m->now_ns;
    m->stopped = true;
}

void policy_model_adopt(struct policy_model *m, const struct policy_model_state *state)
{
    const struct policy_model_guest *g = &m->spec->guest;
    const double left = (double)state->remaining_bytes;
    double found = 0; /* bytes that the last sync is likely to have found */
    double likely[POLICY_MODEL_SETS_MAX] = {0};
    m->stage = POLICY_MODEL_ACTIVE;
    m->now_ns = state->now_ns;
    m->passes = state->passes;
    m->wire = (double)state->transferred_bytes;
    m->walked = (double)state->walked_bytes;
    m->throttle_percent = state->throttle_percent;
    m->stopped = state->guest_stopped;
    m->stopped_ns = state->now_ns;
    m->busy_until_ns = state->now_ns;
    m->period_ns = state->synced_ns;
    m->period_wire = m->wire;
    m->dirty_bytes_per_s = (double)state->dirty_bytes_per_s;
    policy_model_world_noise(m);
    for (uint32_t i = 0; i < g->n_sets; i++) {
        likely[i] = policy_model_coverage(m, i, (double)state->written_ns);
        found += likely[i] * (double)g->sets[i].bytes;
    }
    const bool first = state->passes <= 1;
    const double share = g->memory_bytes > 0 ? left / (double)g->memory_bytes : 0;
    for (uint32_t i = 0; i < g->n_sets; i++) {
        m->pending[i] = smaller(1, first       ? share
                                   : found > 0 ? likely[i] * left / found
                                               : 0);
        m->written[i] = policy_model_coverage(
            m, i, (double)(state->now_ns - state->synced_ns) * policy_model_speed(m));
    }
    m->cold_pending = first ? smaller(1, share) : 0;
    m->zero_pending = m->cold_pending;
    if (state->bandwidth_bytes_per_s > 0)
        measure(m, (double)state->bandwidth_bytes_per_s, QF_NS_PER_S);
    m->window_ns = state->now_ns;
    m->synced_remaining = policy_model_remaining(m);
}

/* How much does a guest dirty in an interval?
 *
 *   dirty |                         ___---*   T1: the first pass took long, the guest came round
 *   bytes |              ___---*---'          T2: so little shorter that nothing changed
 *         |        _*--''                     T3
 *         |     .'/
 *         |   .' /          * what passes left over      . and / the bounds below T3
 *         | .'  /
 *         +------------------------------- time that a pass took
 *
 * Every complete pass shows one point: it took T, and left dirty(T). Whatever a steady guest does,
 * the curve through them is concave: the longer the interval, the more of what it writes was dirty
 * already. So between two points the curve lies above their chord; left of the shortest it lies
 * above the straight line to the origin (a guest that sweeps through its memory, no page twice:
 * FORECAST_LOW) and below the chord that continues to the left (a hot set that is dirty again at
 * once, and a cold rest: FORECAST_HIGH). Where between both? With three points the third tells:
 * it is predicted from the two others and the place where it really lies is kept. With two, an even
 * spread of writes lies at about PRIOR_PERMILLE of the way (computed for rates of 0.5 to 0.95 of
 * the link's).
 *
 * The series of passes then is R -> dirty(R / bandwidth). It ends when R fits into the downtime
 * limit, or sinks to the floor where the curve cuts the line bandwidth * T. On the line or above
 * it a guest is certain not to converge, whatever it does below: concave curves cut a line through
 * the origin once. That is why a pass that leaves as much as it sent is proof, while QEMU's
 * dirty-pages-rate against the bandwidth is none: both then are what the link carries.
 *
 * A throttle stretches time: the curve of a guest that runs for a part of the time is the same
 * curve, drawn longer. That is only a guess (a guest that slept half of the time anyway may not
 * feel it), so points seen under a throttle replace it as soon as there are any.
 *
 * A point that no concave curve through its elders allows shows another behaviour: the elders are
 * forgotten. Sources: qemu migration/ram.c and migration.c (passes, threshold); the curve is that of
 * the working set literature. */
#include "policy/forecast.h"

#include "engine/base/units.h"

enum {
    PRIOR_PERMILLE = 300,
    /* What the measured place may be off. */
    SPREAD_PERMILLE = 250,
    /* Two passes this near in length are one point. */
    SAME_TIME_PERMILLE = 80,
    /* Beyond the bounds by this much it is another behaviour, unless it is less than this much of
     * all memory. */
    CHANGE_PERMILLE = 150,
    CHANGE_LEAST_PERMILLE = 5,
    /* Likewise the link, over passes that are not too short to tell. */
    RATE_CHANGE_PERMILLE = 250,
    RATE_LEAST_MS = 1000,
    /* A pass that leaves this much of what it sent gets nowhere. */
    STUCK_PERMILLE = 990,
    COURSE_PASSES = 400,
    RAW_MAX_PERMILLE = 64000,
    SAME_THROTTLE_PERCENT = 2
};

/* The points that count, shortest first. */
struct curve {
    uint64_t us[POLICY_POINTS_KEPT];
    uint64_t bytes[POLICY_POINTS_KEPT];
    unsigned n;
    uint64_t total;
    uint64_t place; /* permille between the low bound and the high */
};

void policy_curve_init(struct policy_curve *c)
{
    *c = (struct policy_curve){.raw_permille = 1000};
}

const char *policy_verdict_name(enum policy_verdict v)
{
    switch (v) {
#define POLICY_VERDICT_NAME(id, name) \
    case POLICY_VERDICT_##id:         \
        return name;
        POLICY_VERDICTS(POLICY_VERDICT_NAME)
#undef POLICY_VERDICT_NAME
    }
    return "?";
}

static const struct policy_point *nth_point(const struct policy_curve *c, uint64_t i)
{
    return &c->point[i % POLICY_POINTS_KEPT];
}

static uint64_t oldest(const struct policy_curve *c)
{
    const uint64_t kept = c->n > POLICY_POINTS_KEPT ? c->n - POLICY_POINTS_KEPT : 0;
    return c->from > kept ? c->from : kept;
}

static bool is_same_throttle(uint32_t a, uint32_t b)
{
    return a > b ? a - b <= SAME_THROTTLE_PERCENT : b - a <= SAME_THROTTLE_PERCENT;
}

/* ---- the curve ---- */

/* Time that a guest needs under the throttle `to` for what took it us under `from`. */
static uint64_t stretch(uint64_t us, uint32_t from, uint32_t to)
{
    if (is_same_throttle(from, to))
        return us;
    return qf_mul_div(us, 100 - (from < 99 ? from : 99), 100 - (to < 99 ? to : 99));
}

static void insert(struct curve *k, uint64_t us, uint64_t bytes)
{
    for (unsigned i = 0; i < k->n;
         i++) { /* newest first: the elder of two twins is dropped */
        const uint64_t gap = us > k->us[i] ? us - k->us[i] : k->us[i] - us;
        if (gap <= qf_mul_div(k->us[i], SAME_TIME_PERMILLE, 1000))
            return;
    }
    unsigned at = k->n++;
    for (; at > 0 && k->us[at - 1] > us; at--) {
        k->us[at] = k->us[at - 1];
        k->bytes[at] = k->bytes[at - 1];
    }
    k->us[at] = us;
    k->bytes[at] = bytes;
}

/* What the points a and b say of the time us, left of a. */
static void left_of(
    const struct curve *k, unsigned a, uint64_t us, uint64_t *low, uint64_t *high)
{
    *low = qf_mul_div(k->bytes[a], us, k->us[a]);
    *high = k->bytes[a];
    if (a + 1 >= k->n)
        return;
    const uint64_t rise = k->bytes[a + 1] > k->bytes[a] ? k->bytes[a + 1] - k->bytes[a] : 0;
    const uint64_t fall = qf_mul_div(rise, k->us[a] - us, k->us[a + 1] - k->us[a]);
    *high = k->bytes[a] > fall ? k->bytes[a] - fall : 0;
    if (*high < *low)
        *high = *low;
}

/* ... and between a and the next: above their chord, below the line that leads up to a. */
static void within(
    const struct curve *k, unsigned a, uint64_t us, uint64_t *low, uint64_t *high)
{
    const uint64_t gap_us = k->us[a + 1] - k->us[a];
    *low = k->bytes[a] + qf_mul_div(k->bytes[a + 1] - k->bytes[a], us - k->us[a], gap_us);
    *high = qf_mul_div(k->bytes[a], us, k->us[a]);
    if (a > 0)
        *high = k->bytes[a] + qf_mul_div(k->bytes[a] - k->bytes[a - 1], us - k->us[a],
                                         k->us[a] - k->us[a - 1]);
    if (*high > k->bytes[a + 1])
        *high = k->bytes[a + 1];
    if (*high < *low)
        *high = *low;
}

static void find_place(struct curve *k)
{
    uint64_t low;
    uint64_t high;
    k->place = PRIOR_PERMILLE;
    if (k->n < 3)
        return;
    left_of(k, 1, k->us[0], &low, &high);
    if (high - low <= k->bytes[0] / 20) /* both say the same: nothing is learnt */
        return;
    k->place = k->bytes[0] <= low    ? 0
               : k->bytes[0] >= high ? 1000
                                     : qf_mul_div(k->bytes[0] - low, 1000, high - low);
}

static void draw(const struct policy_curve *c,
                 const struct policy_trend *t,
                 uint32_t throttle_percent,
                 struct curve *k)
{
    uint32_t from = c->n > 0 ? nth_point(c, c->n - 1)->throttle_percent : 0;
    for (uint64_t i = c->n; i > oldest(c); i--)
        if (is_same_throttle(nth_point(c, i - 1)->throttle_percent, throttle_percent))
            from = throttle_percent;
    *k = (struct curve){.total = t->last.total_bytes};
    for (uint64_t i = c->n; i > oldest(c); i--) {
        const struct policy_point *p = nth_point(c, i - 1);
        if (is_same_throttle(p->throttle_percent, from))
            insert(k, stretch(p->took_us, p->throttle_percent, throttle_percent),
                   p->left_bytes);
    }
    /* A longer interval never dirties less; noise is smoothed upwards. */
    for (unsigned i = 1; i < k->n; i++)
        if (k->bytes[i] < k->bytes[i - 1])
            k->bytes[i] = k->bytes[i - 1];
    find_place(k);
}

static uint64_t between(uint64_t low, uint64_t high, uint64_t permille)
{
    return low + qf_mul_div(high - low, permille, 1000);
}

static uint64_t read_curve(const struct curve *k, uint64_t us, enum forecast_bound bound)
{
    uint64_t place = k->place;
    uint64_t low;
    uint64_t high;
    const unsigned last = k->n - 1;
    if (bound == FORECAST_LOW)
        place = k->n < 3 || place < SPREAD_PERMILLE ? 0 : place - SPREAD_PERMILLE;
    if (bound == FORECAST_HIGH)
        place = k->n < 3 || place > 1000 - SPREAD_PERMILLE ? 1000 : place + SPREAD_PERMILLE;
    /* A hot set and a cold rest lie on the chord, a sweep bends as late as it can. */
    const uint64_t place_within = bound == FORECAST_LOW    ? 0
                                  : bound == FORECAST_HIGH ? 1000
                                                           : 1000 - place;
    if (us < k->us[0]) {
        /* What was measured holds nearby. Far to the left an even spread of writes comes down to
         * the straight line, a hot set does not; nobody knows which it is. */
        const uint64_t near = qf_mul_div(us, 1000, k->us[0]);
        left_of(k, 0, us, &low, &high);
        if (bound == FORECAST_LOW)
            place = place * near / 1000;
        if (bound == FORECAST_BEST)
            place = place * (1000 + near) / 2000;
        return between(low, high, place);
    }
    for (unsigned i = 0; i < last; i++)
        if (us < k->us[i + 1]) {
            within(k, i, us, &low, &high);
            return between(low, high, place_within);
        }
    low = k->bytes[last];
    high = qf_mul_div(k->bytes[last], us, k->us[last]);
    if (last > 0)
        high = low + qf_mul_div(low - k->bytes[last - 1], us - k->us[last],
                                k->us[last] - k->us[last - 1]);
    if (high > k->total)
        high = k->total > low ? k->total : low;
    return between(low, high, place);
}

uint64_t forecast_dirty(const struct policy_curve *c,
                        const struct policy_trend *t,
                        uint64_t took_us,
                        uint32_t throttle_percent,
                        enum forecast_bound bound)
{
    struct curve k;
    draw(c, t, throttle_percent, &k);
    return k.n > 0 ? read_curve(&k, took_us, bound) : POLICY_UNKNOWN;
}

uint64_t forecast_points(const struct policy_curve *c)
{
    uint64_t n = 0;
    for (uint64_t i = c->n; i > oldest(c); i--)
        if (is_same_throttle(nth_point(c, i - 1)->throttle_percent, c->throttle_percent))
            n++;
    return n;
}

/* ---- feeding ---- */

/* Could the steady guest of the points so far have left this? */
static bool is_expected(const struct policy_curve *c,
                        const struct policy_trend *t,
                        const struct policy_point *p)
{
    struct curve k;
    draw(c, t, p->throttle_percent, &k);
    if (k.n == 0)
        return true;
    uint64_t low = read_curve(&k, p->took_us, FORECAST_LOW);
    uint64_t high = read_curve(&k, p->took_us, FORECAST_HIGH);
    const uint64_t least = qf_mul_div(t->last.total_bytes, CHANGE_LEAST_PERMILLE, 1000);
    const uint64_t below = qf_mul_div(low, CHANGE_PERMILLE, 1000);
    const uint64_t above = qf_mul_div(high, CHANGE_PERMILLE, 1000);
    low -= below > least ? below : (low < least ? low : least);
    high += above > least ? above : least;
    return p->left_bytes >= low && p->left_bytes <= high;
}

/* What one byte on the wire was worth in the pass that has ended. Not in the first pass: there it
 * is the pages that were never used, which do not come back. */
static void measure_raw(struct policy_curve *c, const struct policy_trend *t)
{
    const struct policy_pass *now = policy_trend_boundary(t, 0);
    const uint64_t sent = t->last.transferred_bytes;
    if (t->n_passes >= 3 && sent > c->sent_bytes && now->handled_bytes > c->handled_bytes) {
        const uint64_t permille =
            qf_mul_div(now->handled_bytes - c->handled_bytes, 1000, sent - c->sent_bytes);
        c->raw_permille = permille < 1000               ? 1000
                          : permille > RAW_MAX_PERMILLE ? RAW_MAX_PERMILLE
                                                        : permille;
        if (c->raw_permille < 1100) /* headers, and the moment of the sample */
            c->raw_permille = 1000;
    }
    c->sent_bytes = sent;
    c->handled_bytes = now->handled_bytes;
}

/* Did the link carry less, or more, than in the pass before? By what went over the wire. */
static void watch_rate(struct policy_curve *c, const struct policy_trend *t)
{
    const int64_t took_ns =
        policy_trend_boundary(t, 0)->t_ns - policy_trend_boundary(t, 1)->t_ns;
    const uint64_t sent = t->last.transferred_bytes - c->sent_bytes;
    if (t->last.transferred_bytes < c->sent_bytes ||
        took_ns < RATE_LEAST_MS * QF_NS_PER_MS) /* too short to tell */
        return;
    const uint64_t rate = qf_mul_div(sent, (uint64_t)QF_NS_PER_S, (uint64_t)took_ns);
    const uint64_t old = c->rate_bytes_per_s;
    const uint64_t gap = rate > old ? rate - old : old - rate;
    c->rate_bytes_per_s = rate;
    if (old == 0 || gap <= qf_mul_div(old, RATE_CHANGE_PERMILLE, 1000))
        return;
    c->rate_changes++;
    c->rate_changed_t_ns = t->last.t_ns;
}

static void take_point(struct policy_curve *c, const struct policy_trend *t)
{
    const struct policy_pass *began = policy_trend_boundary(t, 1);
    const struct policy_pass *ended = policy_trend_boundary(t, 0);
    struct policy_point p = {
        .took_us = (uint64_t)(ended->t_ns - began->t_ns) / 1000,
        .left_bytes = ended->remaining_bytes,
        .throttle_percent = c->throttle_percent,
    };
    /* QEMU syncs before the last bytes are gone: a pass counts as if it had been walked to its
     * end, since what is left over counts in full. The first pass has pages that cost nothing. */
    const uint64_t rate = forecast_bandwidth(c, t);
    if (t->n_passes > 2 && rate > 0) {
        const uint64_t whole_us = qf_mul_div(began->remaining_bytes, 1000000, rate);
        const uint64_t most_us = qf_mul_div(p.took_us, 3, 1);
        if (whole_us > p.took_us)
            p.took_us = whole_us < most_us ? whole_us : most_us;
    }
    if (p.took_us == 0)
        p.took_us = 1;
    if (!is_expected(c, t, &p)) {
        c->from = c->n;
        c->changes++;
        c->changed_t_ns = t->last.t_ns;
    }
    c->point[c->n % POLICY_POINTS_KEPT] = p;
    c->n++;
}

void policy_curve_feed(struct policy_curve *c, const struct policy_trend *t, bool new_pass)
{
    if (new_pass && t->n_passes >= 2) {
        watch_rate(c, t);
        measure_raw(c, t);
        take_point(c, t); /* under the throttle of the sample before: it changes at syncs */
    }
    c->throttle_percent = t->last.throttle_percent;
}

/* ---- the course ---- */

uint64_t forecast_bandwidth(const struct policy_curve *c, const struct policy_trend *t)
{
    return qf_mul_div(t->bandwidth_bytes_per_s, c->raw_permille, 1000);
}

uint64_t forecast_time_ms(const struct policy_curve *c,
                          const struct policy_trend *t,
                          uint64_t bytes)
{
    const uint64_t rate = forecast_bandwidth(c, t);
    return rate > 0 ? qf_mul_div(bytes, 1000, rate) : POLICY_UNKNOWN;
}

bool forecast_try(const struct policy_curve *c,
                  const struct policy_trend *t,
                  const struct forecast_plan *plan,
                  struct forecast_course *out)
{
    const uint64_t rate = forecast_bandwidth(c, t);
    struct curve slow;
    struct curve now;
    draw(c, t, plan->throttle_percent, &slow);
    draw(c, t, c->throttle_percent, &now);
    if (rate == 0 || now.n == 0 || slow.n == 0)
        return false;
    /* QEMU compares guest memory left with what the wire carries (migration_iteration_run) */
    const uint64_t fits = qf_mul_div(t->bandwidth_bytes_per_s, plan->downtime_ms, 1000);
    const int64_t in_pass_ns = t->last.t_ns - policy_trend_boundary(t, 0)->t_ns;
    uint64_t gone_us = (uint64_t)in_pass_ns / 1000; /* of the pass under way */
    uint64_t left = t->last.remaining_bytes;
    uint64_t us = 0;
    *out = (struct forecast_course){.left_bytes = left};
    if (gone_us == 0)
        left = policy_trend_left_over(t);
    while (out->passes < COURSE_PASSES) {
        if (left <= fits && (out->passes > 0 || gone_us == 0)) {
            out->ends = true;
            break;
        }
        const uint64_t took_us = qf_mul_div(left, 1000000, rate);
        const bool is_slowed = out->passes >= plan->throttle_delay;
        const uint64_t next =
            read_curve(is_slowed ? &slow : &now, took_us + gone_us, plan->bound);
        const uint64_t rest = fits / 2 < left ? fits / 2 : left; /* not walked to its end */
        us += qf_mul_div(left - rest, 1000000, rate);
        out->bytes += left - rest;
        out->passes++;
        const bool is_stuck = gone_us == 0 && is_slowed && next > fits &&
                              next >= qf_mul_div(left, STUCK_PERMILLE, 1000);
        left = next;
        gone_us = 0;
        if (is_stuck || (plan->most_ms > 0 && us / 1000 > plan->most_ms))
            break;
    }
    out->left_bytes = left;
    if (out->ends) {
        us += qf_mul_div(left, 1000000, rate);
        out->bytes += left;
    }
    out->ms = us / 1000;
    out->bytes = qf_mul_div(out->bytes, 1000, c->raw_permille);
    return true;
}

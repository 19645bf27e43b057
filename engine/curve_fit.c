/* The guest and the link that a journal shows, as a model.
 *
 * The fit: each pass boundary says how many distinct bytes the guest dirtied in how much time of
 * its own. A set of pages that is written at random contributes A (1 - exp(-t / T)). Of all
 * pairs of T on a grid, the amounts A that come nearest to the points (least squares of relative
 * errors, none negative) follow at once; the best pair is taken: a hot set and a cold one. */
#include <stdio.h>

#include "engine/base/units.h"
#include "engine/curve_priv.h"
#include "policy/model_json.h"
#include "policy/model_world.h"

enum {
    POINTS_MAX = 256,
    GRID_FIRST_MS = 20,
    GRID_N = 40,    /* times 1.5 each: to some 40 hours */
    DOWN_MS = 1000, /* not one byte for so long: the link was down */
    RECENT_MS = 3000
};

/* ---- the guest's curve ---- */

struct point {
    double ms; /* of guest time */
    double bytes;
};

double curve_guest_ms(const struct policy_sample *a, const struct policy_sample *b)
{
    const double ms = (double)(b->t_ns - a->t_ns) / 1e6;
    const uint32_t percent = a->throttle_percent < 100 ? a->throttle_percent : 100;
    return a->guest_stopped ? 0 : ms * (100 - percent) / 100;
}

static size_t points_of(const struct curve *c, struct point points[POINTS_MAX])
{
    struct policy_trend trend;
    size_t n = 0;
    double ms = 0;
    policy_trend_init(&trend);
    for (size_t i = 0; i < c->n && n < POINTS_MAX; i++) {
        const struct policy_sample *s = &c->moments[i].s;
        if (i > 0)
            ms += curve_guest_ms(&c->moments[i - 1].s, s);
        else
            ms += c->stopped_first ? 0 : (double)s->elapsed_ns / 1e6;
        const bool first = trend.n_passes == 0;
        if (!policy_trend_feed(&trend, s) || first)
            continue;
        const double bytes = (double)policy_trend_left_over(&trend);
        if (ms > 0 && bytes > 0)
            points[n++] = (struct point){ms, bytes};
        ms = 0;
    }
    return n;
}

static double grown(double ms, double t_ms)
{
    return 1 - policy_model_decay(ms / t_ms);
}

struct pair {
    double t[2]; /* ms */
    double a[2]; /* bytes */
    double error;
};

/* The best amounts for two times. */
static void solve(const struct point *points, size_t n, struct pair *p)
{
    double uu = 0;
    double uv = 0;
    double vv = 0;
    double u1 = 0;
    double v1 = 0;
    for (size_t i = 0; i < n; i++) {
        const double u = grown(points[i].ms, p->t[0]) / points[i].bytes;
        const double v = grown(points[i].ms, p->t[1]) / points[i].bytes;
        uu += u * u;
        uv += u * v;
        vv += v * v;
        u1 += u;
        v1 += v;
    }
    const double d = uu * vv - uv * uv;
    p->a[0] = d > uu * vv * 1e-9 ? (u1 * vv - v1 * uv) / d : u1 / uu;
    p->a[1] = d > uu * vv * 1e-9 ? (v1 * uu - u1 * uv) / d : 0;
    if (p->a[0] < 0) {
        p->a[0] = 0;
        p->a[1] = v1 / vv;
    } else if (p->a[1] < 0) {
        p->a[1] = 0;
        p->a[0] = u1 / uu;
    }
    p->error = 0;
    for (size_t i = 0; i < n; i++) {
        const double guess =
            p->a[0] * grown(points[i].ms, p->t[0]) + p->a[1] * grown(points[i].ms, p->t[1]);
        const double off = guess / points[i].bytes - 1;
        p->error += off * off;
    }
}

/* At most so many bytes in all. */
static struct pair fit(const struct point *points, size_t n, double most)
{
    struct pair best = {.error = -1};
    double grid[GRID_N];
    if (n == 1) { /* a curve through one point: neither a line nor a step */
        best = (struct pair){.t = {points[0].ms, points[0].ms}};
        best.a[0] = points[0].bytes / grown(1, 1);
        if (best.a[0] > most)
            best.a[0] = most;
        return best;
    }
    grid[0] = GRID_FIRST_MS;
    for (size_t i = 1; i < GRID_N; i++)
        grid[i] = grid[i - 1] * 1.5;
    for (size_t i = 0; i < GRID_N; i++)
        for (size_t k = i; k < GRID_N; k++) {
            struct pair p = {.t = {grid[i], grid[k]}};
            solve(points, n, &p);
            if (p.a[0] + p.a[1] <= most && (best.error < 0 || p.error < best.error))
                best = p;
        }
    return best;
}

/* ---- the link ---- */

/* Was the link down after this sample, until the next? */
static bool is_down(const struct curve *c, size_t i)
{
    const struct policy_sample *a = &c->moments[i].s;
    const struct policy_sample *b = &c->moments[i + 1].s;
    return b->transferred_bytes == a->transferred_bytes && a->remaining_bytes > 0 &&
           b->t_ns - a->t_ns >= DOWN_MS * QF_NS_PER_MS;
}

/* Mean of what QEMU measured in a stretch of time (since `migrate`); 0: nothing. */
static uint64_t mean_rate(const struct curve *c, int64_t from_ns, int64_t to_ns)
{
    double sum = 0;
    uint64_t n = 0;
    for (size_t i = 0; i < c->n; i++) {
        const struct policy_sample *s = &c->moments[i].s;
        if (s->elapsed_ns < from_ns || s->elapsed_ns > to_ns ||
            s->bandwidth_bytes_per_s == 0)
            continue;
        sum += (double)s->bandwidth_bytes_per_s;
        n++;
    }
    return n > 0 ? (uint64_t)(sum / (double)n) : 0;
}

static void link_from(const struct curve *c, int64_t from_ns, struct policy_model_link *l)
{
    const int64_t end_ns = c->moments[c->n - 1].s.elapsed_ns;
    const int64_t recent_ns = RECENT_MS * QF_NS_PER_MS;
    const int64_t step_ns = (end_ns - from_ns) / POLICY_MODEL_CHANGES_MAX;
    l->rate_bytes_per_s = mean_rate(c, from_ns - recent_ns, from_ns);
    if (l->rate_bytes_per_s == 0)
        l->rate_bytes_per_s = mean_rate(c, 0, INT64_MAX);
    if (l->rate_bytes_per_s == 0) { /* it was over before QEMU had measured anything */
        const struct policy_sample *s = &c->moments[c->n - 1].s;
        l->rate_bytes_per_s = qf_mul_div(s->transferred_bytes, 1000000000,
                                         s->elapsed_ns > 0 ? (uint64_t)s->elapsed_ns : 1);
    }
    if (l->rate_bytes_per_s == 0)
        l->rate_bytes_per_s = 1;
    for (int64_t i = 0; step_ns > 0 && i < POLICY_MODEL_CHANGES_MAX; i++) {
        const int64_t at_ns = from_ns + i * step_ns;
        const uint64_t rate = mean_rate(c, at_ns, at_ns + step_ns);
        const uint64_t at_ms = (uint64_t)(at_ns / QF_NS_PER_MS);
        if (rate > 0)
            l->changes[l->n_changes++] = (struct policy_model_change){at_ms, rate};
    }
    for (size_t i = 0; i + 1 < c->n && l->n_drops < POLICY_MODEL_CHANGES_MAX; i++) {
        const struct policy_sample *a = &c->moments[i].s;
        if (a->elapsed_ns >= from_ns && is_down(c, i))
            l->drops[l->n_drops++] = (struct policy_model_drop){
                (uint64_t)(a->elapsed_ns / QF_NS_PER_MS),
                (uint64_t)((c->moments[i + 1].s.t_ns - a->t_ns) / QF_NS_PER_MS)};
    }
}

/* ---- the model ---- */

/* What the first pass handled without sending it was zero. */
static uint64_t zero_bytes(const struct curve *c, uint64_t total)
{
    uint64_t zero = 0;
    for (size_t i = 0; i < c->n && c->moments[i].s.pass <= 1; i++) {
        const struct policy_sample *s = &c->moments[i].s;
        if (s->walked_bytes != POLICY_UNKNOWN && s->walked_bytes > s->transferred_bytes)
            zero =
                qf_mul_div(total, s->walked_bytes - s->transferred_bytes, s->walked_bytes);
    }
    return zero;
}

/* A journal may say anything: what is no number of bytes becomes one. */
static uint64_t whole(double x)
{
    return x >= 1e18 ? UINT64_C(1000000000000000000) : x > 0 ? (uint64_t)x : 0;
}

bool curve_fit(const struct curve *c, int64_t from_ns, struct policy_model_spec *spec)
{
    static const char *const names[] = {"hot", "cold"};
    struct point points[POINTS_MAX];
    const uint64_t total = c->moments[c->n - 1].s.total_bytes;
    const size_t n = points_of(c, points);
    policy_model_defaults(spec);
    (void)snprintf(spec->name, sizeof(spec->name), "journal");
    struct policy_model_guest *g = &spec->guest;
    g->memory_bytes = total > 0 ? total : 1;
    g->zero_bytes = zero_bytes(c, total);
    link_from(c, from_ns, &spec->link);
    if (n == 0)
        return false;
    const double most = (double)(total - g->zero_bytes);
    const struct pair p = fit(points, n, most);
    for (size_t i = 0; i < 2; i++) {
        if (p.a[i] < POLICY_MODEL_PAGE_BYTES)
            continue;
        struct policy_model_set *set = &g->sets[g->n_sets++];
        (void)snprintf(set->name, sizeof(set->name), "%s", names[i]);
        set->bytes = whole(p.a[i]);
        set->writes_bytes_per_s = whole(p.a[i] * 1000 / p.t[i]);
    }
    return true;
}

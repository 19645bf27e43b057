/* Reading, fitting, and handing over to the model.
 *
 * The fit: each pass boundary says how many distinct bytes the guest dirtied in how much time of
 * its own. A set of pages that is written at random contributes A (1 - exp(-t / T)). Of all
 * pairs of T on a grid, the amounts A that come nearest to the points (least squares of relative
 * errors, none negative) follow at once; the best pair is taken: a hot set and a cold one. */
#include "engine/curve.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "engine/journal.h"
#include "policy/model_json.h"
#include "policy/model_world.h"
#include "qmp/client.h"

enum {
    POINTS_MAX = 256,
    GRID_FIRST_MS = 20,
    GRID_N = 40,    /* times 1.5 each: to some 40 hours */
    DOWN_MS = 1000, /* not one byte for so long: the link was down */
    RECENT_MS = 3000
};

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

static bool is_type(const json_t *line, const char *type)
{
    return strcmp(text_of(line, "type"), type) == 0;
}

static uint64_t number(const json_t *o, const char *key, uint64_t otherwise)
{
    uint64_t v = otherwise;
    (void)qmp_json_u64(json_object_get(o, key), &v);
    return v;
}

/* ---- reading ---- */

/* What lines before a sample say of it. */
struct reader {
    struct curve *c;
    size_t room;
    int64_t migrate_ns; /* POLICY's clock at `migrate`; 0 = not yet */
    uint64_t downtime_limit_ms;
    uint64_t walked_bytes; /* of the last query-migrate */
};

static void read_do(struct reader *r, const json_t *line)
{
    const json_t *qmp = json_object_get(line, "qmp");
    if (strcmp(text_of(qmp, "execute"), "migrate") == 0)
        r->migrate_ns = (int64_t)number(line, "t_ns", 0);
}

/* The answer to a query-migrate: pages are not in the sample's own line. */
static void read_event(struct reader *r, const json_t *line)
{
    const json_t *ret = json_object_get(json_object_get(line, "qmp"), "return");
    const json_t *ram = json_object_get(ret, "ram");
    if (strcmp(text_of(line, "side"), "source") == 0 && json_is_object(ram))
        r->walked_bytes =
            qf_mul_sat(qf_add_sat(number(ram, "normal", 0), number(ram, "duplicate", 0)),
                       number(ram, "page-size", POLICY_MODEL_PAGE_BYTES));
}

static int read_sample(struct reader *r, const json_t *line, struct qf_err *err)
{
    struct curve *c = r->c;
    if (c->n == r->room) {
        const size_t room = r->room ? r->room * 2 : 256;
        struct curve_moment *grown = realloc(c->moments, room * sizeof(*grown));
        if (!grown)
            return qf_fail(err, QF_E_NOMEM, "no memory for its samples");
        c->moments = grown;
        r->room = room;
    }
    const char *mode = text_of(line, "mode");
    const uint64_t t_ns = number(line, "t_ns", 0);
    const int64_t last_ns = c->n > 0 ? c->moments[c->n - 1].s.t_ns : r->migrate_ns;
    if (t_ns > (uint64_t)JOURNAL_T_MAX_NS || (int64_t)t_ns < last_ns)
        return qf_fail(err, QF_E_USAGE, "time goes backwards");
    c->moments[c->n++] = (struct curve_moment){
        .action = POLICY_WAIT,
        .s = {
            .t_ns = (int64_t)t_ns,
            .elapsed_ns = (int64_t)t_ns - r->migrate_ns,
            .started = true,
            .guest_stopped = strcmp(mode, "stop-and-copy") == 0,
            .postcopy = strcmp(mode, "postcopy") == 0,
            .pass = number(line, "pass", 0),
            .total_bytes = number(line, "total", 0),
            .remaining_bytes = number(line, "remaining", 0),
            .transferred_bytes = number(line, "transferred", 0),
            .walked_bytes = number(line, "walked", r->walked_bytes),
            .dirty_bytes_per_s = number(line, "dirty_rate", 0),
            .bandwidth_bytes_per_s = number(line, "bandwidth", 0),
            .expected_downtime_ms = number(line, "expected_downtime_ms", POLICY_UNKNOWN),
            .downtime_limit_ms = number(line, "downtime_limit_ms", r->downtime_limit_ms),
            .bandwidth_limit_bytes_per_s = number(line, "bandwidth_limit", POLICY_UNKNOWN),
            .throttle_percent = (uint32_t)number(line, "throttle", 0),
            .measures = number(line, "measures", 0),
            .measured_bytes_per_s = number(line, "measured_dirty_rate", 0),
        }};
    return 0;
}

static void read_decision(struct reader *r, const json_t *line)
{
    struct curve *c = r->c;
    const char *name = text_of(line, "action");
    const uint64_t value = number(line, "value", 0);
    enum policy_action action = POLICY_WAIT;
    for (int i = 0; i <= (int)POLICY_ABORT; i++)
        if (strcmp(name, policy_action_name((enum policy_action)i)) == 0)
            action = (enum policy_action)i;
    if (action == POLICY_SET_DOWNTIME)
        r->downtime_limit_ms = value;
    if (c->n == 0) {
        c->stopped_first = c->stopped_first || action == POLICY_PAUSE;
        return;
    }
    if (action ==
        POLICY_WAIT) /* it may stand beside an operator's, or follow one: that one counts */
        return;
    c->moments[c->n - 1].action = action;
    c->moments[c->n - 1].value = value;
}

static void read_result(struct reader *r, const json_t *line)
{
    struct curve_end *e = &r->c->end;
    e->known = true;
    (void)snprintf(e->outcome, sizeof(e->outcome), "%s", text_of(line, "outcome"));
    (void)snprintf(e->mode, sizeof(e->mode), "%s", text_of(line, "mode"));
    (void)snprintf(e->reason, sizeof(e->reason), "%s", text_of(line, "reason"));
    e->total_ms = number(line, "total_ms", POLICY_UNKNOWN);
    e->downtime_ms = number(line, "downtime_ms", POLICY_UNKNOWN);
    e->blackout_ms = number(line, "blackout_ms", POLICY_UNKNOWN);
    e->transferred_bytes = number(line, "transferred", POLICY_UNKNOWN);
    e->passes = number(line, "passes", POLICY_UNKNOWN);
}

static int read_line(struct reader *r, const json_t *line, struct qf_err *err)
{
    struct curve *c = r->c;
    if (c->lines == 1) {
        struct journal_clock clock;
        struct mig_spec spec;
        const int rc = journal_read_header(line, &clock, &spec, &c->policy, err);
        r->downtime_limit_ms = rc == 0 ? c->policy.downtime_start_ms : 0;
        return rc;
    }
    if (!json_is_object(line) || !json_object_get(line, "type"))
        return qf_fail(err, QF_E_USAGE, "not a line of a journal: it has no type");
    if (is_type(line, "do"))
        read_do(r, line);
    else if (is_type(line, "event"))
        read_event(r, line);
    else if (is_type(line, "decision"))
        read_decision(r, line);
    else if (is_type(line, "result"))
        read_result(r, line);
    else if (is_type(line, "sample"))
        return read_sample(r, line, err);
    return 0;
}

static int read_all(struct reader *r, const char *text, size_t len, struct qf_err *err)
{
    struct curve *c = r->c;
    for (size_t at = 0; at < len;) {
        const char *line = text + at;
        const char *end = memchr(line, '\n', len - at);
        const size_t n = end ? (size_t)(end - line) : len - at;
        json_t *json = qmp_json_parse(line, n, NULL);
        c->lines++;
        if (!json && !end && c->lines > 1) {
            c->cut = true;
            break;
        }
        int rc =
            json ? read_line(r, json, err)
                 : qf_fail(err, QF_E_USAGE, "not JSON: no journal of qferry's, or damaged");
        json_decref(json);
        if (rc != 0) {
            (void)qf_wrap(err, "line %llu", (unsigned long long)c->lines);
            return rc;
        }
        at += n + 1;
    }
    if (c->lines == 0)
        return qf_fail(err, QF_E_USAGE, "not a journal: it is empty");
    if (c->n == 0)
        return qf_fail(err, QF_E_USAGE,
                       "line %llu: the journal ends before memory moved: nothing to go by",
                       (unsigned long long)c->lines);
    return 0;
}

bool curve_is_journal(const char *text, size_t len)
{
    const char *end = len > 0 ? memchr(text, '\n', len) : NULL;
    json_t *json = qmp_json_parse(text, end ? (size_t)(end - text) : len, NULL);
    const bool is = json && is_type(json, "journal");
    json_decref(json);
    return is;
}

int curve_load(struct curve *c, const char *text, size_t len, struct qf_err *err)
{
    struct reader r = {.c = c};
    *c = (struct curve){.n = 0};
    const int rc = read_all(&r, text, len, err);
    if (rc != 0)
        curve_fini(c);
    return rc;
}

void curve_fini(struct curve *c)
{
    free(c->moments);
    c->moments = NULL;
    c->n = 0;
}

/* ---- the guest's curve ---- */

struct point {
    double ms; /* of guest time */
    double bytes;
};

/* Time that the guest had between two samples: what a throttle or a stop took does not count. */
static double guest_ms(const struct policy_sample *a, const struct policy_sample *b)
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
            ms += guest_ms(&c->moments[i - 1].s, s);
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

static void describe(const struct policy_model_spec *spec,
                     bool known,
                     char *text,
                     size_t size)
{
    char a[32];
    char b[32];
    size_t n =
        (size_t)snprintf(text, size, "%s",
                         known ? "fitted to its pass boundaries:"
                               : "no pass ended, so nothing is known of what it writes");
    for (uint32_t i = 0; i < spec->guest.n_sets && n < size; i++) {
        const struct policy_model_set *set = &spec->guest.sets[i];
        n += (size_t)snprintf(text + n, size - n, "%s %s at %s/s", i > 0 ? " and" : "",
                              qf_format_bytes(set->bytes, a, sizeof(a)),
                              qf_format_bytes(set->writes_bytes_per_s, b, sizeof(b)));
    }
    if (n < size)
        (void)snprintf(text + n, size - n, "; link %s/s",
                       qf_format_bytes(spec->link.rate_bytes_per_s, a, sizeof(a)));
}

/* Where the migration stood at moment i. */
static struct policy_model_state state_at(const struct curve *c, size_t i)
{
    const struct policy_sample *s = &c->moments[i].s;
    struct policy_model_state state = {
        .now_ns = s->elapsed_ns,
        .passes = s->pass,
        .remaining_bytes = s->remaining_bytes,
        .transferred_bytes = s->transferred_bytes,
        .walked_bytes = s->walked_bytes == POLICY_UNKNOWN ? 0 : s->walked_bytes,
        .bandwidth_bytes_per_s = s->bandwidth_bytes_per_s,
        .dirty_bytes_per_s = s->dirty_bytes_per_s,
        .throttle_percent = s->throttle_percent,
        .guest_stopped = s->guest_stopped,
    };
    double before_ms = 0; /* guest time of the pass before this one */
    double ms = 0;
    for (size_t k = 1; k <= i; k++) {
        ms += guest_ms(&c->moments[k - 1].s, &c->moments[k].s);
        if (c->moments[k].s.pass == c->moments[k - 1].s.pass)
            continue;
        before_ms = ms;
        ms = 0;
        state.synced_ns = c->moments[k].s.elapsed_ns;
    }
    state.written_ns = (int64_t)(before_ms * 1e6);
    return state;
}

/* "wait", "set-downtime 300" */
static const char *action_text(enum policy_action action, uint64_t value, char word[48])
{
    if (value == 0)
        return policy_action_name(action);
    (void)snprintf(word, 48, "%s %llu", policy_action_name(action),
                   (unsigned long long)value);
    return word;
}

static void differs(struct curve_outcome *out,
                    const struct curve_moment *m,
                    const struct policy_decision *d)
{
    char a[48];
    char b[48];
    (void)snprintf(
        out->because, sizeof(out->because), "recorded was %s, this policy says %s",
        action_text(m->action, m->value, a), action_text(d->action, d->value, b));
}

/* What this policy sets before `migrate` and the journal's did not, as far as the course of
 * moment i would not have been the same. A downtime limit matters from the end of the first pass
 * on. */
static bool began_otherwise(const struct curve *c,
                            const struct policy *p,
                            size_t i,
                            struct curve_outcome *out)
{
    char a[32];
    char b[32];
    if (p->bandwidth_bytes_per_s != c->policy.bandwidth_bytes_per_s) {
        (void)snprintf(out->because, sizeof(out->because),
                       "another bandwidth from the start");
        return true;
    }
    if (c->moments[i].s.pass > 1 && p->downtime_start_ms != c->policy.downtime_start_ms) {
        (void)snprintf(out->because, sizeof(out->because),
                       "recorded began with a downtime limit of %s, this policy with %s",
                       qf_format_ms(c->policy.downtime_start_ms, a, sizeof(a)),
                       qf_format_ms(p->downtime_start_ms, b, sizeof(b)));
        return true;
    }
    return false;
}

/* The model takes over at moment i, on which the policy decided d; its downtime limit was limit_ms. */
static void take_over(const struct curve *c,
                      const struct policy *p,
                      size_t i,
                      uint64_t limit_ms,
                      const struct policy_decision *d,
                      struct simulate *sim,
                      struct curve_outcome *out)
{
    const struct policy_sample *s = &c->moments[i].s;
    struct policy_model_spec *spec = &out->spec;
    const struct policy_model_state state = state_at(c, i);
    const struct policy_model_options options = {
        .downtime_limit_ms = limit_ms,
        .bandwidth_bytes_per_s = 0, /* the recorded rate has it in it */
        .postcopy_bandwidth_bytes_per_s = p->postcopy_bandwidth_bytes_per_s,
        .auto_converge = p->throttle_allowed,
        .postcopy = p->postcopy_allowed,
        .guest_stopped = s->guest_stopped,
    };
    const bool known = curve_fit(c, s->elapsed_ns, spec);
    describe(spec, known, out->guest, sizeof(out->guest));
    policy_model_init(&sim->model, spec, &options, sim->model.random);
    simulate_hold_throttle(&sim->model, p);
    if (s->throttle_percent > 1)
        policy_model_throttle(&sim->model, s->throttle_percent,
                              p->throttle_increment_percent, p->throttle_max_percent);
    policy_model_adopt(&sim->model, &state);
    sim->t0_ns = s->t_ns - s->elapsed_ns;
    simulate_carry_out(sim, s, d);
    simulate_run(sim);
    out->until_ms = (uint64_t)(s->elapsed_ns / QF_NS_PER_MS);
    out->result = sim->result;
}

static enum simulate_outcome outcome_of(const char *name)
{
    if (strcmp(name, "completed") == 0)
        return SIMULATE_COMPLETED;
    if (strcmp(name, "lost") == 0)
        return SIMULATE_LOST;
    return strcmp(name, "") == 0 ? SIMULATE_UNFINISHED : SIMULATE_ABORTED;
}

static uint64_t known(uint64_t n)
{
    return n == POLICY_UNKNOWN ? 0 : n;
}

/* The journal's own end. */
static void as_recorded(const struct curve *c,
                        struct simulate *sim,
                        struct curve_outcome *out)
{
    const struct policy_sample *last = &c->moments[c->n - 1].s;
    struct simulate_result *r = &sim->result;
    const uint64_t last_ms = (uint64_t)(last->elapsed_ns / QF_NS_PER_MS);
    r->outcome = outcome_of(c->end.outcome);
    r->mode = strcmp(c->end.mode, "postcopy") == 0        ? SIMULATE_MODE_POSTCOPY
              : strcmp(c->end.mode, "stop-and-copy") == 0 ? SIMULATE_MODE_STOP
                                                          : SIMULATE_MODE_PRECOPY;
    r->total_ms =
        c->end.known && c->end.total_ms != POLICY_UNKNOWN ? c->end.total_ms : last_ms;
    r->downtime_ms = c->end.known ? known(c->end.downtime_ms) : 0;
    r->blackout_ms = c->end.known ? known(c->end.blackout_ms) : 0;
    r->transferred_bytes = c->end.known && c->end.transferred_bytes != POLICY_UNKNOWN
                               ? c->end.transferred_bytes
                               : last->transferred_bytes;
    r->passes =
        c->end.known && c->end.passes != POLICY_UNKNOWN ? c->end.passes : last->pass;
    r->walks = policy_trend_complete(&sim->run.trend);
    for (size_t i = 1; i < c->n; i++)
        r->throttle_percent_ms +=
            (uint64_t)((c->moments[i].s.t_ns - c->moments[i - 1].s.t_ns) / QF_NS_PER_MS) *
            c->moments[i - 1].s.throttle_percent;
    if (r->reason[0] == '\0')
        (void)snprintf(r->reason, sizeof(r->reason), "%s", c->end.reason);
    out->as_recorded = true;
    out->until_ms = last_ms;
    out->result = *r;
}

/* The one question before `migrate`; true: answered otherwise than then, and the whole is
 * modelled. */
static bool start_differs(const struct curve *c,
                          const struct policy *p,
                          uint64_t seed,
                          const struct simulate_ops *ops,
                          void *arg,
                          struct simulate *sim,
                          struct curve_outcome *out)
{
    const bool known = curve_fit(c, 0, &out->spec);
    simulate_init(sim, p, &out->spec, seed, ops, arg);
    if (sim->stopped_first == c->stopped_first)
        return false;
    describe(&out->spec, known, out->guest, sizeof(out->guest));
    (void)snprintf(out->because, sizeof(out->because), "%s",
                   sim->stopped_first
                       ? "this policy stops the guest before memory moves"
                       : "recorded was a guest stopped before memory moved, this policy "
                         "lets it run");
    simulate_run(sim);
    out->result = sim->result;
    return true;
}

void curve_simulate(const struct curve *c,
                    const struct policy *p,
                    uint64_t seed,
                    const struct simulate_ops *ops,
                    void *arg,
                    struct simulate *sim,
                    struct curve_outcome *out)
{
    uint64_t limit_ms = p->downtime_start_ms;
    memset(out, 0, sizeof(*out));
    if (start_differs(c, p, seed, ops, arg, sim, out))
        return;
    for (size_t i = 0; i < c->n; i++) {
        const struct curve_moment *m = &c->moments[i];
        struct policy_sample s = m->s;
        struct policy_decision d;
        s.downtime_limit_ms = limit_ms;
        policy_decide(p, &sim->run, &s, &d);
        if (ops && ops->on_decision)
            ops->on_decision(arg, &s, &d);
        const bool other = d.action != m->action || d.value != m->value;
        if (other)
            differs(out, m, &d);
        if (other || began_otherwise(c, p, i, out)) {
            sim->model.random = seed;
            take_over(c, p, i, limit_ms, &d, sim, out);
            return;
        }
        if (d.action == POLICY_SET_DOWNTIME)
            limit_ms = d.value;
        simulate_carry_out(sim, &s, &d);
    }
    as_recorded(c, sim, out);
}

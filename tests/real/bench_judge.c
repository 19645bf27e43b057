/* Best references, ratios, and the five criteria of the issue. What exactly is compared:
 *
 * The best reference of a run is the quickest of the same intent that completed, with a blackout
 * no longer than our policy allows: the greatest of downtime.max and, where it may stop the guest,
 * stop.max; and a tenth, since QEMU's estimate is off by as much; and what no limit counts (device
 * state, the guest's resume). Where no reference did, and ours gave up too, the quickest to give up
 * is the best.
 *
 * A guest converges, for a policy, if doing nothing completes: its downtime.max as the limit from
 * the start, every action forbidden; within BENCH_WAIT_TIMES times what sending all memory once
 * takes, and one cycle of the guest. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_policies.h"

enum { LIST_MAX = 24, ERRORS_MAX = 20000 };

#define WORSE_RATIO    1.05
#define CANNOT_RATIO   0.5
#define FORECAST_ERROR 0.2
#define FORECAST_SHARE 0.9
#define RIGHT_BY_PASS  2
#define SURE_BY_PASS   2
#define FORECAST_RULE  "forecast"

/* ---- one run ---- */

static bool is_fine(const struct bench_run *r, double allowed_ms)
{
    return r->end == BENCH_COMPLETED && r->blackout_ms <= allowed_ms;
}

struct bench_ratio bench_ratio_of(const struct bench_case *c,
                                  const struct bench_entry *ours,
                                  size_t i,
                                  bool tuned)
{
    const struct bench_run *own = &ours->runs[i];
    const struct bench_entry *best = NULL;
    const struct bench_entry *quitter = NULL;

    for (size_t k = 0; k < c->n; k++) {
        const struct bench_entry *e = &c->entries[k];
        const struct bench_run *r = &e->runs[i];

        if (e->contender->intent != ours->contender->intent ||
            e->contender->role == BENCH_OURS ||
            (e->contender->role == BENCH_TUNED && !tuned))
            continue;
        if (is_fine(r, ours->allowed_ms) && (!best || r->total_ms < best->runs[i].total_ms))
            best = e;
        if (r->end == BENCH_GAVE_UP &&
            (!quitter || r->total_ms < quitter->runs[i].total_ms))
            quitter = e;
    }
    if (own->end == BENCH_COMPLETED && best)
        return (struct bench_ratio){BENCH_RATIO, own->total_ms / best->runs[i].total_ms,
                                    best};
    if (own->end == BENCH_COMPLETED)
        return (struct bench_ratio){.verdict = BENCH_ALONE};
    if (best)
        return (struct bench_ratio){.verdict = BENCH_WORSE, .against = best};
    if (own->end == BENCH_GAVE_UP && quitter)
        return (struct bench_ratio){BENCH_BOTH_GAVE_UP,
                                    own->total_ms / quitter->runs[i].total_ms, quitter};
    return (struct bench_ratio){.verdict = BENCH_NO_VERDICT};
}

bool bench_converges(const struct bench_entry *ours, size_t i)
{
    return ours->waiting && is_fine(&ours->waiting[i], ours->allowed_ms);
}

/* ---- all runs of one ---- */

static const struct bench_run *sorted_by;

static int by_total(const void *a, const void *b)
{
    const double x = sorted_by[*(const size_t *)a].total_ms;
    const double y = sorted_by[*(const size_t *)b].total_ms;

    return (x > y) - (x < y);
}

static size_t representative(const struct bench_entry *e)
{
    size_t count[BENCH_LOST + 1] = {0};
    size_t index[BENCH_RUNS_MAX];
    size_t usual = 0;
    size_t n = 0;

    for (size_t i = 0; i < e->n; i++)
        count[e->runs[i].end]++;
    for (size_t k = 0; k <= BENCH_LOST; k++)
        if (count[k] > count[usual])
            usual = k;
    for (size_t i = 0; i < e->n; i++)
        if ((size_t)e->runs[i].end == usual)
            index[n++] = i;
    sorted_by = e->runs;
    qsort(index, n, sizeof(*index), by_total);
    return index[n / 2];
}

struct bench_summary bench_summary_of(const struct bench_case *c,
                                      const struct bench_entry *e)
{
    /* the worst verdict wins */
    static const enum bench_verdict order[] = {BENCH_WORSE, BENCH_RATIO, BENCH_BOTH_GAVE_UP,
                                               BENCH_ALONE, BENCH_NO_VERDICT};
    struct bench_summary s = {.representative = representative(e)};
    double logs[BENCH_WORSE + 1] = {0};
    size_t n[BENCH_WORSE + 1] = {0};
    const struct bench_entry *against[BENCH_WORSE + 1] = {0};

    for (size_t i = 0; i < e->n; i++) {
        const struct bench_ratio r = bench_ratio_of(c, e, i, false);

        s.completed += e->runs[i].end == BENCH_COMPLETED;
        n[r.verdict]++;
        if (!against[r.verdict] || i == s.representative)
            against[r.verdict] = r.against;
        if (r.value > 0)
            logs[r.verdict] += log(r.value);
        if (r.verdict == BENCH_RATIO && r.value > s.worst)
            s.worst = r.value;
    }
    for (size_t k = 0; k < sizeof(order) / sizeof(order[0]); k++) {
        const enum bench_verdict v = order[k];

        if (n[v] == 0)
            continue;
        s.ratio = (struct bench_ratio){v, exp(logs[v] / (double)n[v]), against[v]};
        break;
    }
    return s;
}

/* ---- what is judged ---- */

struct walk {
    const struct bench_case *cases;
    size_t n;
};

static bool is_judged(const struct bench_entry *e)
{
    return e->contender->role == BENCH_OURS && e->waiting;
}

static void say(struct bench_criterion *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void say(struct bench_criterion *c, const char *format, ...)
{
    const size_t at = strlen(c->text);
    va_list args;

    va_start(args, format);
    (void)vsnprintf(c->text + at, sizeof(c->text) - at, format, args);
    va_end(args);
}

/* "   name, policy: ", at most LIST_MAX of them. */
static bool begin_item(struct bench_criterion *c,
                       size_t *listed,
                       const struct bench_case *k,
                       const struct bench_entry *e)
{
    if (++*listed > LIST_MAX) {
        if (*listed == LIST_MAX + 1)
            say(c, "   - and more\n");
        return false;
    }
    say(c, "   - %s, %s: ", k->guest.name, e->contender->label);
    return true;
}

/* ---- 1: no guest worse ---- */

static void judge_worse(const struct walk *w, struct bench_criterion *c)
{
    size_t counts[BENCH_WORSE + 1] = {0};
    size_t slower = 0;
    size_t listed = 0;
    size_t over_all = 0;

    for (size_t k = 0; k < w->n; k++) {
        for (size_t m = 0; m < w->cases[k].n; m++) {
            const struct bench_entry *e = &w->cases[k].entries[m];
            struct bench_summary s;
            const struct bench_run *sample = NULL;
            size_t over = 0;
            size_t failed = 0;

            if (!is_judged(e))
                continue;
            s = bench_summary_of(&w->cases[k], e);
            counts[s.ratio.verdict]++;
            for (size_t i = 0; i < e->n; i++) {
                over += e->runs[i].blackout_ms > e->allowed_ms;
                if (bench_ratio_of(&w->cases[k], e, i, false).verdict != BENCH_WORSE)
                    continue;
                failed++;
                sample = &e->runs[i];
            }
            over_all += over > 0;
            if (sample && begin_item(c, &listed, &w->cases[k], e))
                say(c, "not completed in %zu of %zu runs where %s completes: %s\n", failed,
                    e->n, s.ratio.against->contender->label,
                    sample->end == BENCH_TOO_LONG ? "too long" : sample->reason);
            if (s.ratio.verdict == BENCH_RATIO && s.ratio.value > WORSE_RATIO) {
                slower++;
                if (begin_item(c, &listed, &w->cases[k], e))
                    say(c, "%.2f times the total of %s\n", s.ratio.value,
                        s.ratio.against->contender->label);
            }
            if (over > 0 && begin_item(c, &listed, &w->cases[k], e))
                say(c,
                    "blackout beyond what the policy allows (%.0f ms) in %zu of %zu runs\n",
                    e->allowed_ms, over, e->n);
        }
    }
    c->title = "no guest worse than the best reference of the same intent";
    c->judged = counts[BENCH_RATIO] + counts[BENCH_WORSE] + counts[BENCH_ALONE] > 0;
    c->met = counts[BENCH_WORSE] == 0 && slower == 0 && over_all == 0;
    say(c,
        "   both completed: %zu pairs of guest and policy, %zu of them more than 5 %% slower; "
        "only ours completed: %zu; only a reference: %zu; neither: %zu\n",
        counts[BENCH_RATIO], slower, counts[BENCH_ALONE], counts[BENCH_WORSE],
        counts[BENCH_BOTH_GAVE_UP] + counts[BENCH_NO_VERDICT]);
}

/* ---- 2: guests that cannot converge ---- */

/* The first costly decision is the one that ends it; or none was needed: it was enough to raise the
 * limit, or to wait for the right moment. */
static bool is_right(const struct bench_run *r, const struct bench_ratio *ratio)
{
    if (r->end != BENCH_COMPLETED && r->end != BENCH_GAVE_UP)
        return false;
    return strcmp(r->costly_action, r->last_costly) == 0 && ratio->verdict != BENCH_WORSE;
}

struct mean {
    double logs;
    size_t n;
};

static void add(struct mean *m, const struct bench_ratio *r)
{
    if (r->verdict != BENCH_RATIO)
        return;
    m->logs += log(r->value);
    m->n++;
}

static double mean(const struct mean *m)
{
    return m->n > 0 ? exp(m->logs / (double)m->n) : 0;
}

static void judge_cannot(const struct walk *w, struct bench_criterion *c)
{
    struct mean best = {0};
    struct mean tuned = {0};
    struct mean floor = {0}; /* what no policy can beat: all memory once, without a break */
    struct mean by_intent[BENCH_INTENTS_COUNT] = {{0}};
    size_t runs = 0;
    size_t right = 0;
    size_t listed = 0;

    for (size_t k = 0; k < w->n; k++) {
        for (size_t m = 0; m < w->cases[k].n; m++) {
            const struct bench_entry *e = &w->cases[k].entries[m];
            const struct bench_run *sample = NULL;
            size_t wrong = 0;
            size_t late = 0;

            for (size_t i = 0; is_judged(e) && i < e->n; i++) {
                const struct bench_run *r = &e->runs[i];
                const struct bench_ratio b = bench_ratio_of(&w->cases[k], e, i, false);
                const struct bench_ratio t = bench_ratio_of(&w->cases[k], e, i, true);

                if (bench_converges(e, i))
                    continue;
                runs++;
                add(&best, &b);
                add(&by_intent[e->contender->intent], &b);
                add(&tuned, &t);
                if (b.verdict == BENCH_RATIO) {
                    const struct bench_ratio least = {
                        BENCH_RATIO,
                        w->cases[k].guest.once_ms / b.against->runs[i].total_ms, NULL};

                    add(&floor, &least);
                }
                if (!is_right(r, &b)) {
                    wrong++;
                    sample = r;
                } else if (r->costly && r->costly_passes > RIGHT_BY_PASS) {
                    late++;
                    sample = r;
                } else {
                    right++;
                }
            }
            if (sample && begin_item(c, &listed, &w->cases[k], e))
                say(c,
                    "%zu wrong, %zu late of %zu runs; such as %s after %llu passes, %s\n",
                    wrong, late, e->n, sample->costly_action,
                    (unsigned long long)sample->costly_passes,
                    sample->end == BENCH_COMPLETED ? "completed" : sample->reason);
        }
    }
    c->title =
        "guests that cannot converge: right by the end of pass 2, at most half the time";
    c->judged = runs > 0;
    c->met = right == runs && best.n > 0 && mean(&best) <= CANNOT_RATIO;
    say(c, "   right by the end of pass 2 in %zu of %zu runs\n", right, runs);
    if (best.n > 0)
        say(c,
            "   total to the best reference's, geometric mean: %.2f over %zu runs in which "
            "both completed (at most %.1f)",
            mean(&best), best.n, CANNOT_RATIO);
    else
        say(c, "   no run in which both completed");
    for (int i = 0; i < BENCH_OTHER; i++)
        if (by_intent[i].n > 0)
            say(c, "; %s %.2f (%zu)", bench_intent_name((enum bench_intent)i),
                mean(&by_intent[i]), by_intent[i].n);
    say(c, "\n");
    if (floor.n > 0)
        say(c, "   no policy could be below %.2f: all memory has to be sent once\n",
            mean(&floor));
    if (tuned.n > 0 && fabs(mean(&tuned) - mean(&best)) > 0.005)
        say(c,
            "   %.2f where libvirt's timeout is set by hand for this guest and link, too\n",
            mean(&tuned));
}

/* ---- 3: guests that do converge ---- */

static void judge_converging(const struct walk *w, struct bench_criterion *c)
{
    size_t runs = 0;
    size_t needless = 0;
    size_t quicker = 0;
    size_t listed = 0;

    for (size_t k = 0; k < w->n; k++) {
        for (size_t m = 0; m < w->cases[k].n; m++) {
            const struct bench_entry *e = &w->cases[k].entries[m];
            const struct bench_run *sample = NULL;
            double wait_ms = 0;
            size_t n = 0;
            char a[32];
            char b[32];
            char d[32];

            for (size_t i = 0; is_judged(e) && i < e->n; i++) {
                if (!bench_converges(e, i))
                    continue;
                runs++;
                if (!e->runs[i].costly && e->runs[i].end == BENCH_COMPLETED)
                    continue;
                n++;
                sample = &e->runs[i];
                wait_ms = e->waiting[i].total_ms;
                quicker += sample->end == BENCH_COMPLETED && sample->total_ms < wait_ms;
            }
            needless += n;
            if (sample && begin_item(c, &listed, &w->cases[k], e))
                say(c,
                    "%s in %zu of %zu runs; such as at %s of %s, waiting alone takes %s\n",
                    sample->costly ? sample->costly_action : "not completed", n, e->n,
                    bench_time(sample->costly_ms, a), bench_time(sample->total_ms, b),
                    bench_time(wait_ms, d));
        }
    }
    c->title = "guests that converge: no needless post-copy, throttle, stop, abort";
    c->judged = runs > 0;
    c->met = needless == 0;
    say(c, "   needless in %zu of %zu runs; %zu of them were quicker than waiting\n",
        needless, runs, quicker);
}

/* ---- 4: given up as soon as that is certain ---- */

static void judge_giving_up(const struct walk *w, struct bench_criterion *c)
{
    size_t runs = 0;
    size_t at_once = 0;
    size_t by_limit = 0;
    size_t after_cycle = 0;
    size_t wrong = 0;
    size_t listed = 0;
    double logs = 0;
    size_t n_ratios = 0;

    for (size_t k = 0; k < w->n; k++) {
        for (size_t m = 0; m < w->cases[k].n; m++) {
            const struct bench_entry *e = &w->cases[k].entries[m];
            const struct bench_run *sample = NULL;
            size_t n = 0;

            for (size_t i = 0; is_judged(e) && i < e->n; i++) {
                const struct bench_run *r = &e->runs[i];
                const struct bench_ratio b = bench_ratio_of(&w->cases[k], e, i, false);

                if (r->end != BENCH_GAVE_UP)
                    continue;
                if (b.verdict == BENCH_WORSE || bench_converges(e, i)) {
                    wrong++;
                    continue;
                }
                runs++;
                if (b.verdict == BENCH_BOTH_GAVE_UP) {
                    logs += log(b.value);
                    n_ratios++;
                }
                if (strcmp(r->rule, FORECAST_RULE) != 0)
                    by_limit++;
                else if (r->passes <= SURE_BY_PASS) {
                    at_once++;
                    continue;
                } else if (w->cases[k].guest.cycle_ms > 0 &&
                           r->total_ms <=
                               w->cases[k].guest.cycle_ms + 3 * w->cases[k].guest.once_ms) {
                    after_cycle++;
                    continue;
                }
                n++;
                sample = r;
            }
            if (sample && begin_item(c, &listed, &w->cases[k], e)) {
                char t[32];

                say(c, "%zu of %zu runs; such as after %llu passes, %s, by %s: %s\n", n,
                    e->n, (unsigned long long)sample->passes,
                    bench_time(sample->total_ms, t), sample->rule, sample->reason);
            }
        }
    }
    c->title = "what a policy cannot finish is given up at once";
    c->judged = runs > 0;
    c->met = at_once + after_cycle == runs;
    say(c,
        "   of %zu runs that gave up: by the end of pass 2 %zu; a guest of several moods, "
        "within one cycle %zu; later %zu; by a time limit or another rule %zu\n",
        runs, at_once, after_cycle, runs - at_once - after_cycle - by_limit, by_limit);
    if (n_ratios > 0)
        say(c,
            "   time until then, to the quickest reference's, geometric mean: %.3f (%zu)\n",
            exp(logs / (double)n_ratios), n_ratios);
}

/* ---- 5: the forecast ---- */

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *v, size_t n)
{
    qsort(v, n, sizeof(*v), compare);
    return n > 0 ? (v[(n - 1) / 2] + v[n / 2]) / 2 : 0;
}

static void judge_forecast(const struct walk *w, bool is_real, struct bench_criterion *c)
{
    static double all[ERRORS_MAX];
    static double one[ERRORS_MAX];
    size_t n_all = 0;
    size_t good_runs = 0;
    size_t models = 0;
    size_t good_models = 0;
    size_t never = 0;
    size_t said_never = 0;
    size_t listed = 0;

    for (size_t k = 0; k < w->n; k++) {
        size_t n_guest = 0;

        for (size_t m = 0; m < w->cases[k].n; m++) {
            const struct bench_entry *e = &w->cases[k].entries[m];
            size_t n = 0;
            double mid;
            double errors[BENCH_RUNS_MAX];

            for (size_t i = 0; is_judged(e) && i < e->n; i++) {
                const struct bench_run *r = &e->runs[i];
                double error;

                if (!r->forecast)
                    continue;
                if (r->end != BENCH_COMPLETED) {
                    never++;
                    said_never += r->forecast_never;
                    continue;
                }
                error = r->forecast_never
                            ? INFINITY
                            : fabs(r->forecast_ms - r->total_ms) / r->total_ms;
                errors[n++] = error;
                if (n_all < ERRORS_MAX)
                    all[n_all++] = error;
                if (n_guest < ERRORS_MAX)
                    one[n_guest++] = error;
                good_runs += error <= FORECAST_ERROR;
            }
            mid = median(errors, n);
            if (n > 0 && mid > FORECAST_ERROR && begin_item(c, &listed, &w->cases[k], e)) {
                if (isinf(mid))
                    say(c, "never was expected, it completed\n");
                else
                    say(c, "off by %.0f %%\n", mid * 100);
            }
        }
        if (n_guest == 0)
            continue;
        models++;
        good_models += median(one, n_guest) <= FORECAST_ERROR;
    }
    c->title = "the forecast of the total after pass 2 within 20 %";
    c->judged = n_all > 0;
    c->met = is_real ? median(all, n_all) <= FORECAST_ERROR
                     : (double)good_models >= FORECAST_SHARE * (double)models;
    say(c,
        "   median over our policies and runs: within 20 %% for %zu of %zu guests that were "
        "not through before; single runs %zu of %zu, median error %.0f %%\n",
        good_models, models, good_runs, n_all, median(all, n_all) * 100);
    if (never > 0)
        say(c, "   of %zu runs that gave up, the forecast said so in %zu\n", never,
            said_never);
}

void bench_judge(const struct bench_case *cases,
                 size_t n,
                 bool is_real,
                 struct bench_criterion out[BENCH_CRITERIA])
{
    const struct walk w = {cases, n};

    memset(out, 0, BENCH_CRITERIA * sizeof(*out));
    judge_worse(&w, &out[0]);
    judge_cannot(&w, &out[1]);
    judge_converging(&w, &out[2]);
    judge_giving_up(&w, &out[3]);
    judge_forecast(&w, is_real, &out[4]);
}

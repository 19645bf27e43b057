#include "tools/render.h"

#include <string.h>

#include "engine/base/units.h"

void render_clear(struct render *r)
{
    if (r->shown)
        (void)fputs("\r\033[K", r->err);
    r->shown = false;
}

static void begin(struct render *r, FILE *f, int64_t t_ns)
{
    const int64_t ms = (t_ns - r->t0_ns) / QF_NS_PER_MS;
    render_clear(r);
    (void)fprintf(f, "[%3lld.%03lld] %-10s ", (long long)(ms / 1000),
                  (long long)(ms % 1000), r->phase ? r->phase : "");
}

static void show_sample(struct render *r, const struct policy_sample *s, int64_t t_ns)
{
    char left[32];
    char speed[32];
    char dirty[32];
    (void)qf_format_bytes(s->remaining_bytes, left, sizeof(left));
    (void)qf_format_rate(s->bandwidth_bytes_per_s, speed, sizeof(speed));
    (void)qf_format_rate(s->dirty_bytes_per_s, dirty, sizeof(dirty));
    const bool new_pass = s->pass != r->pass;
    if (r->level >= (new_pass ? RENDER_NORMAL : RENDER_VERBOSE)) {
        begin(r, r->out, t_ns);
        (void)fprintf(r->out, "pass %llu: %s left, link %s, dirtied %s",
                      (unsigned long long)s->pass, left, speed, dirty);
        if (s->throttle_percent > 0)
            (void)fprintf(r->out, ", throttled %u %%", s->throttle_percent);
        (void)fputc('\n', r->out);
    }
    r->pass = s->pass;
    if (r->progress && r->level == RENDER_NORMAL) {
        const uint64_t total = s->total_bytes ? s->total_bytes : 1;
        const uint64_t done = s->remaining_bytes < total ? total - s->remaining_bytes : 0;
        (void)fprintf(r->err, "\r\033[K%s: %3llu %%, %s left, %s%s",
                      s->postcopy ? "post-copy" : "pre-copy",
                      (unsigned long long)qf_mul_div(done, 100, total), left, speed,
                      s->guest_stopped ? ", guest stopped" : "");
        (void)fflush(r->err);
        r->shown = true;
    }
}

static void show_range(FILE *f, const char *what, const struct policy_range *r)
{
    char best[32];
    char low[32];
    char high[32];
    if (r->best == POLICY_UNKNOWN)
        return;
    (void)fprintf(f, ", %s %s", what, qf_format_ms(r->best, best, sizeof(best)));
    if (r->low != r->best || r->high != r->best)
        (void)fprintf(f, " (%s to %s)", qf_format_ms(r->low, low, sizeof(low)),
                      r->high == POLICY_UNKNOWN
                          ? "no end"
                          : qf_format_ms(r->high, high, sizeof(high)));
}

static void show_forecast(struct render *r, const struct policy_forecast *f, int64_t t_ns)
{
    begin(r, r->out, t_ns);
    (void)fprintf(r->out, "forecast: %s", policy_verdict_name(f->verdict));
    show_range(r->out, "in all", &f->total_ms);
    show_range(r->out, "downtime", &f->downtime_ms);
    (void)fputc('\n', r->out);
}

static void show_check(struct render *r, const struct record_check *c, int64_t t_ns)
{
    const bool bad = c->verdict == CHECK_REFUSED || c->verdict == CHECK_WARNING;
    if (r->level < (bad || r->all_checks ? RENDER_NORMAL : RENDER_VERBOSE))
        return;
    begin(r, r->out, t_ns);
    (void)fprintf(r->out, "%s: %s: %s\n", c->name, record_verdict_name(c->verdict),
                  c->message);
}

static void show_candidates(struct render *r, const struct netsel_choice *c, int64_t t_ns)
{
    for (unsigned i = 0; i < c->n; i++) {
        const struct netsel_candidate *k = &c->candidate[i];
        begin(r, r->out, t_ns);
        (void)fprintf(r->out, "network %s: %s: %s\n", k->name,
                      k->usable ? "usable" : "not usable", k->why);
    }
}

static void show_network(struct render *r, const struct record_network *n, int64_t t_ns)
{
    char speed[32];
    if (n->choice && r->level >= (r->all_checks ? RENDER_NORMAL : RENDER_VERBOSE))
        show_candidates(r, n->choice, t_ns);
    if (r->level < (n->choice || n->name[0] ? RENDER_NORMAL : RENDER_VERBOSE))
        return;
    begin(r, r->out, t_ns);
    (void)fprintf(r->out, "network: %s%s%s: %s", n->name[0] ? n->name : n->address,
                  n->name[0] ? ", " : "", n->name[0] ? n->address : "", n->reason);
    if (n->bandwidth_bytes_per_s != POLICY_UNKNOWN)
        (void)fprintf(r->out, "; at most %s (%s)",
                      qf_format_rate(n->bandwidth_bytes_per_s, speed, sizeof(speed)),
                      n->bandwidth_reason);
    (void)fputc('\n', r->out);
}

static void show_ms(FILE *f, const char *what, uint64_t ms)
{
    char text[32];
    if (ms != POLICY_UNKNOWN)
        (void)fprintf(f, ", %s %s", what, qf_format_ms(ms, text, sizeof(text)));
}

static void show_result(struct render *r, const struct record_result *res, int64_t t_ns)
{
    char bytes[32];
    render_clear(r);
    if (qf_code_status(res->code) != 0) {
        (void)fflush(r->out);
        (void)fprintf(r->err, "qferry: %s: %s; the VM is on: %s\n",
                      record_outcome_name(res->outcome), res->reason,
                      record_place_name(res->running_on));
        return;
    }
    if (r->level > RENDER_QUIET)
        begin(r, r->out, t_ns);
    (void)fprintf(r->out, "%s: %s", record_outcome_name(res->outcome), res->reason);
    if (res->total_ms != POLICY_UNKNOWN) {
        (void)fprintf(r->out, " (%s, %llu passes, %s", record_mode_name(res->mode),
                      (unsigned long long)res->passes,
                      qf_format_bytes(res->transferred_bytes, bytes, sizeof(bytes)));
        show_ms(r->out, "total", res->total_ms);
        show_ms(r->out, "blackout", res->blackout_ms);
        show_ms(r->out, "QEMU's downtime", res->downtime_ms);
        (void)fputc(')', r->out);
    }
    (void)fputc('\n', r->out);
}

void render_record(struct render *r, const struct record *record, int64_t t_ns)
{
    switch (record->kind) {
    case RECORD_PHASE:
        if (r->phase && strcmp(r->phase, record->u.phase.public) == 0)
            break;
        r->phase = record->u.phase.public;
        if (r->level >= RENDER_NORMAL && strcmp(r->phase, "done") != 0) {
            begin(r, r->out, t_ns);
            (void)fputs(">\n", r->out);
        }
        break;
    case RECORD_CHECK:
        show_check(r, &record->u.check, t_ns);
        break;
    case RECORD_NETWORK:
        show_network(r, &record->u.network, t_ns);
        break;
    case RECORD_SAMPLE:
        show_sample(r, &record->u.sample, t_ns);
        break;
    case RECORD_FORECAST:
        if (r->level >= RENDER_NORMAL)
            show_forecast(r, &record->u.forecast, t_ns);
        break;
    case RECORD_OUTCOME:
        break;
    case RECORD_DECISION:
        if (r->level >= (record->u.decision.action == POLICY_WAIT &&
                                 strcmp(record->u.decision.rule, "operator") != 0
                             ? RENDER_VERBOSE
                             : RENDER_NORMAL)) {
            begin(r, r->out, t_ns);
            (void)fprintf(r->out, "-> %s (%s): %s\n",
                          policy_action_name(record->u.decision.action),
                          record->u.decision.rule, record->u.decision.because);
        }
        break;
    case RECORD_WARNING:
        if (r->level >= RENDER_NORMAL) {
            render_clear(r);
            (void)fflush(r->out);
            (void)fprintf(r->err, "qferry: warning: %s\n", record->u.text);
        }
        break;
    case RECORD_NOTE:
        if (r->level >= RENDER_VERBOSE) {
            begin(r, r->out, t_ns);
            (void)fprintf(r->out, "%s\n", record->u.text);
        }
        break;
    case RECORD_RESULT:
        show_result(r, &record->u.result, t_ns);
        break;
    }
    (void)fflush(r->out);
    (void)fflush(r->err);
}

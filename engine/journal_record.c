/* Records as lines, and lines as records. */
#include <stdio.h>
#include <string.h>

#include "engine/base/units.h"
#include "engine/journal.h"
#include "netsel/netsel_json.h"
#include "qmp/client.h"

/* ---- records ---- */

static void put_check(json_t *o, const struct record_check *c)
{
    journal_put_text(o, "name", c->name);
    journal_put_text(o, "verdict", record_verdict_name(c->verdict));
    journal_put_text(o, "message", c->message);
    if (c->source[0] != '\0')
        journal_put_text(o, "source", c->source);
    if (c->destination[0] != '\0')
        journal_put_text(o, "destination", c->destination);
}

/* null when it is empty */
static void put_name(json_t *o, const char *key, const char *text)
{
    if (text[0] != '\0')
        journal_put_text(o, key, text);
    else
        journal_put(o, key, json_null());
}

static void put_network(json_t *o, const struct record_network *n)
{
    put_name(o, "chosen", n->name);
    put_name(o, "address", n->address);
    journal_put_text(o, "reason", n->reason);
    journal_put(o, "candidates",
                n->choice ? netsel_dump_candidates(n->choice) : json_array());
    journal_put_u64(o, "bandwidth", n->bandwidth_bytes_per_s);
    journal_put_text(o, "bandwidth_reason", n->bandwidth_reason);
}

static void put_sample(json_t *o, const struct policy_sample *s)
{
    journal_put_u64(o, "pass", s->pass);
    journal_put_u64(o, "remaining", s->remaining_bytes);
    journal_put_u64(o, "transferred", s->transferred_bytes);
    journal_put_u64(o, "total", s->total_bytes);
    journal_put_u64(o, "dirty_rate", s->dirty_bytes_per_s);
    journal_put_u64(o, "bandwidth", s->bandwidth_bytes_per_s);
    journal_put_u64(o, "expected_downtime_ms", s->expected_downtime_ms);
    journal_put(o, "throttle", json_integer(s->throttle_percent));
    if (s->measures > 0) {
        journal_put_u64(o, "measures", s->measures);
        journal_put_u64(o, "measured_dirty_rate", s->measured_bytes_per_s);
    }
    journal_put_text(o, "mode",
                     s->postcopy        ? "postcopy"
                     : s->guest_stopped ? "stop-and-copy"
                                        : "precopy");
}

static void put_result(json_t *o, const struct record_result *r, const struct mig *m)
{
    journal_put_text(o, "outcome", record_outcome_name(r->outcome));
    journal_put_text(o, "running_on", record_place_name(r->running_on));
    journal_put(o, "exit", json_integer(qf_code_status(r->code)));
    journal_put_text(o, "reason", r->reason);
    journal_put_text(o, "mode", record_mode_name(r->mode));
    journal_put_u64(o, "total_ms", r->total_ms);
    journal_put_u64(o, "downtime_ms", r->downtime_ms);
    journal_put_u64(o, "blackout_ms", r->blackout_ms);
    journal_put_u64(o, "transferred", r->transferred_bytes);
    journal_put_u64(o, "passes", r->passes);
    journal_put_text(o, "policy", m->policy.name);
    put_name(o, "network",
             m->network_known && m->network.chosen >= 0
                 ? m->network.candidate[m->network.chosen].name
                 : "");
}

static void put_range(json_t *o, const char *key, const struct policy_range *r)
{
    char name[40];
    journal_put_u64(o, key, r->best);
    (void)snprintf(name, sizeof(name), "%s_low", key);
    journal_put_u64(o, name, r->low);
    (void)snprintf(name, sizeof(name), "%s_high", key);
    journal_put_u64(o, name, r->high);
}

static void put_forecast(json_t *o, const struct policy_forecast *f)
{
    journal_put_text(o, "verdict", policy_verdict_name(f->verdict));
    put_range(o, "total_ms", &f->total_ms);
    put_range(o, "downtime_ms", &f->downtime_ms);
    put_range(o, "transferred", &f->transferred_bytes);
}

/* How far off, in permille of what happened; null where one of both is not known. */
static void put_error(json_t *o, const char *key, uint64_t forecast, uint64_t actual)
{
    if (forecast == POLICY_UNKNOWN || actual == POLICY_UNKNOWN || actual == 0)
        journal_put(o, key, json_null());
    else
        journal_put_u64(
            o, key,
            qf_mul_div(forecast > actual ? forecast - actual : actual - forecast, 1000,
                       actual));
}

static void put_outcome(json_t *o, const struct record_outcome_of *r)
{
    journal_put_u64(o, "pass", r->pass);
    put_forecast(o, &r->forecast);
    journal_put_u64(o, "actual_total_ms", r->total_ms);
    journal_put_u64(o, "actual_downtime_ms", r->downtime_ms);
    journal_put_u64(o, "actual_transferred", r->transferred_bytes);
    put_error(o, "total_error_permille", r->forecast.total_ms.best, r->total_ms);
    put_error(o, "transferred_error_permille", r->forecast.transferred_bytes.best,
              r->transferred_bytes);
}

static void put_decision(json_t *o, const struct policy_decision *d, const struct mig *m)
{
    journal_put_text(o, "action", policy_action_name(d->action));
    journal_put_text(o, "because", d->because);
    journal_put_text(o, "policy", m->policy.name);
    journal_put_u64(o, "value", d->value);
    journal_put_text(o, "rule", d->rule);
}

static const char *type_of(enum record_kind kind)
{
    switch (kind) {
    case RECORD_PHASE:
        return "phase";
    case RECORD_CHECK:
        return "check";
    case RECORD_NETWORK:
        return "network";
    case RECORD_SAMPLE:
        return "sample";
    case RECORD_FORECAST:
        return "forecast";
    case RECORD_DECISION:
        return "decision";
    case RECORD_WARNING:
        return "warning";
    case RECORD_NOTE:
        return "note";
    case RECORD_OUTCOME:
        return "forecast-outcome";
    case RECORD_RESULT:
        return "result";
    }
    return "?";
}

json_t *journal_record(struct journal_clock *clock,
                       int64_t t_ns,
                       const struct record *r,
                       const struct mig *m)
{
    json_t *o = journal_line(clock, type_of(r->kind), t_ns);
    switch (r->kind) {
    case RECORD_PHASE:
        journal_put_text(o, "phase", r->u.phase.public);
        journal_put_text(o, "step", r->u.phase.name);
        break;
    case RECORD_CHECK:
        put_check(o, &r->u.check);
        break;
    case RECORD_NETWORK:
        put_network(o, &r->u.network);
        break;
    case RECORD_SAMPLE:
        put_sample(o, &r->u.sample);
        break;
    case RECORD_FORECAST:
        put_forecast(o, &r->u.forecast);
        break;
    case RECORD_OUTCOME:
        put_outcome(o, &r->u.outcome);
        break;
    case RECORD_DECISION:
        put_decision(o, &r->u.decision, m);
        break;
    case RECORD_WARNING:
    case RECORD_NOTE:
        journal_put_text(o, "message", r->u.text);
        break;
    case RECORD_RESULT:
        put_result(o, &r->u.result, m);
        break;
    }
    return o;
}

/* ---- records, read back ---- */

/* The entry of names whose text this is; -1: none. */
static int find_name(const json_t *line, const char *key, const char *const *names, int n)
{
    const char *text = json_string_value(json_object_get(line, key));
    for (int i = 0; text && i < n; i++)
        if (strcmp(names[i], text) == 0)
            return i;
    return -1;
}

static const char *lent_text(const json_t *line, const char *key)
{
    const char *text = json_string_value(json_object_get(line, key));
    return text ? text : "";
}

static void read_phase(const json_t *o, struct record *r)
{
    static const char *const names[] = {
#define PHASE_PUBLIC(id, name, public) public,
        MIG_PHASES(PHASE_PUBLIC)
#undef PHASE_PUBLIC
    };
    const int i = find_name(o, "phase", names, (int)(sizeof(names) / sizeof(names[0])));
    r->kind = RECORD_PHASE;
    r->u.phase.public = i < 0 ? "" : names[i];
    r->u.phase.name = r->u.phase.public;
}

static void read_check(const json_t *o, struct record *r)
{
    static const char *const names[] = {"ok", "warning", "refused", "skipped"};
    struct record_check *c = &r->u.check;
    const int i = find_name(o, "verdict", names, 4);
    r->kind = RECORD_CHECK;
    c->name = lent_text(o, "name");
    c->verdict = i < 0 ? CHECK_WARNING : (enum check_verdict)i;
    journal_get_text(o, "message", c->message, sizeof(c->message));
    journal_get_text(o, "source", c->source, sizeof(c->source));
    journal_get_text(o, "destination", c->destination, sizeof(c->destination));
}

static void read_network(const json_t *o, struct record *r)
{
    struct record_network *n = &r->u.network;
    r->kind = RECORD_NETWORK;
    journal_get_text(o, "chosen", n->name, sizeof(n->name));
    journal_get_text(o, "address", n->address, sizeof(n->address));
    journal_get_text(o, "reason", n->reason, sizeof(n->reason));
    n->bandwidth_bytes_per_s = journal_get_u64(o, "bandwidth");
    journal_get_text(o, "bandwidth_reason", n->bandwidth_reason,
                     sizeof(n->bandwidth_reason));
}

static void read_sample(const json_t *o, struct record *r)
{
    struct policy_sample *s = &r->u.sample;
    const char *mode = lent_text(o, "mode");
    r->kind = RECORD_SAMPLE;
    s->started = true;
    s->pass = journal_get_u64(o, "pass");
    s->remaining_bytes = journal_get_u64(o, "remaining");
    s->transferred_bytes = journal_get_u64(o, "transferred");
    s->total_bytes = journal_get_u64(o, "total");
    s->dirty_bytes_per_s = journal_get_u64(o, "dirty_rate");
    s->bandwidth_bytes_per_s = journal_get_u64(o, "bandwidth");
    s->expected_downtime_ms = journal_get_u64(o, "expected_downtime_ms");
    s->throttle_percent = (uint32_t)journal_get_u64(o, "throttle");
    s->postcopy = strcmp(mode, "postcopy") == 0;
    s->guest_stopped = strcmp(mode, "stop-and-copy") == 0;
}

static void read_range(const json_t *o, const char *key, struct policy_range *r)
{
    char name[40];
    r->best = journal_get_u64(o, key);
    (void)snprintf(name, sizeof(name), "%s_low", key);
    r->low = journal_get_u64(o, name);
    (void)snprintf(name, sizeof(name), "%s_high", key);
    r->high = journal_get_u64(o, name);
}

static void read_forecast(const json_t *o, struct record *r)
{
    static const char *const names[] = {
#define VERDICT_NAME(id, name) name,
        POLICY_VERDICTS(VERDICT_NAME)
#undef VERDICT_NAME
    };
    struct policy_forecast *f = &r->u.forecast;
    const int i = find_name(o, "verdict", names, (int)(sizeof(names) / sizeof(names[0])));
    r->kind = RECORD_FORECAST;
    f->known = true;
    f->verdict = i < 0 ? POLICY_VERDICT_NEVER : (enum policy_verdict)i;
    read_range(o, "total_ms", &f->total_ms);
    read_range(o, "downtime_ms", &f->downtime_ms);
    read_range(o, "transferred", &f->transferred_bytes);
}

static void read_decision(const json_t *o, struct record *r)
{
    static const char *const names[] = {
#define ACTION_NAME(id, name) name,
        POLICY_ACTIONS(ACTION_NAME)
#undef ACTION_NAME
    };
    struct policy_decision *d = &r->u.decision;
    const int i = find_name(o, "action", names, (int)(sizeof(names) / sizeof(names[0])));
    r->kind = RECORD_DECISION;
    d->action = i < 0 ? POLICY_WAIT : (enum policy_action)i;
    d->value = journal_get_u64(o, "value");
    d->rule = lent_text(o, "rule");
    journal_get_text(o, "because", d->because, sizeof(d->because));
}

/* The code is one with the same exit status: its own is not in the line. */
static enum qf_code code_of_status(json_int_t status)
{
    static const struct {
        enum qf_code code;
        int status;
    } codes[] = {
#define CODE_STATUS(name, status, text) {QF_E_##name, status},
        QF_CODES(CODE_STATUS)
#undef CODE_STATUS
    };
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (codes[i].status == status)
            return codes[i].code;
    return QF_E_INTERNAL;
}

static void read_result(const json_t *o, struct record *r)
{
    static const char *const outcomes[] = {
#define OUTCOME_NAME(id, name) name,
        RECORD_OUTCOMES(OUTCOME_NAME)
#undef OUTCOME_NAME
    };
    static const char *const places[] = {"unknown", "source", "destination", "none"};
    static const char *const modes[] = {"precopy", "postcopy", "stop-and-copy"};
    struct record_result *res = &r->u.result;
    const int outcome =
        find_name(o, "outcome", outcomes, (int)(sizeof(outcomes) / sizeof(outcomes[0])));
    const int place = find_name(o, "running_on", places, 4);
    const int mode = find_name(o, "mode", modes, 3);
    r->kind = RECORD_RESULT;
    res->outcome = outcome < 0 ? OUTCOME_LOST : (enum record_outcome)outcome;
    res->running_on = place < 0 ? PLACE_UNKNOWN : (enum record_place)place;
    res->mode = mode < 0 ? MODE_PRECOPY : (enum record_mode)mode;
    res->code = code_of_status(json_integer_value(json_object_get(o, "exit")));
    journal_get_text(o, "reason", res->reason, sizeof(res->reason));
    res->total_ms = journal_get_u64(o, "total_ms");
    res->downtime_ms = journal_get_u64(o, "downtime_ms");
    res->blackout_ms = journal_get_u64(o, "blackout_ms");
    res->transferred_bytes = journal_get_u64(o, "transferred");
    res->passes = journal_get_u64(o, "passes");
}

bool journal_read_record(const json_t *line, struct record *r)
{
    const char *type = lent_text(line, "type");
    memset(r, 0, sizeof(*r));
    if (strcmp(type, "phase") == 0)
        read_phase(line, r);
    else if (strcmp(type, "check") == 0)
        read_check(line, r);
    else if (strcmp(type, "network") == 0)
        read_network(line, r);
    else if (strcmp(type, "sample") == 0)
        read_sample(line, r);
    else if (strcmp(type, "forecast") == 0)
        read_forecast(line, r);
    else if (strcmp(type, "decision") == 0)
        read_decision(line, r);
    else if (strcmp(type, "result") == 0)
        read_result(line, r);
    else if (strcmp(type, "warning") == 0) {
        r->kind = RECORD_WARNING;
        journal_get_text(line, "message", r->u.text, sizeof(r->u.text));
    } else {
        return false;
    }
    return true;
}

bool journal_is_public(enum record_kind kind)
{
    return kind != RECORD_NOTE && kind != RECORD_OUTCOME;
}

#include "engine/journal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/units.h"
#include "netsel/netsel_json.h"
#include "policy/policy_json.h"
#include "qmp/client.h"

enum { LINE_MAX_BYTES = 64 * 1024 * 1024 }; /* several of the longest messages */

/* ---- time ---- */

#define WALL_MAX_MS INT64_C(100000000000000) /* the year 5138 */

/* Days since 1970-01-01 to a date in the proleptic Gregorian calendar, by 400-year eras that
 * begin on 1 March (so that the leap day is the last of its year). */
static void civil(int64_t days, int64_t *year, int *month, int *day)
{
    const int64_t z = days + 719468;
    const int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    const int64_t doe = z - era * 146097;
    const int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    const int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    const int64_t mp = (5 * doy + 2) / 153;
    *day = (int)(doy - (153 * mp + 2) / 5 + 1);
    *month = (int)(mp < 10 ? mp + 3 : mp - 9);
    *year = yoe + era * 400 + (*month <= 2);
}

static void format_time(int64_t unix_ms, char *buf, size_t size)
{
    const int64_t day_ms = INT64_C(86400000);
    int64_t days = unix_ms / day_ms;
    int64_t rest = unix_ms % day_ms;
    if (rest < 0) {
        rest += day_ms;
        days--;
    }
    int64_t year;
    int month;
    int day;
    civil(days, &year, &month, &day);
    (void)snprintf(buf, size, "%04lld-%02d-%02dT%02d:%02d:%02d.%03dZ", (long long)year,
                   month, day, (int)(rest / 3600000), (int)(rest / 60000 % 60),
                   (int)(rest / 1000 % 60), (int)(rest % 1000));
}

json_t *journal_line(struct journal_clock *clock, const char *type, int64_t t_ns)
{
    char time[64];
    format_time(clock->wall_ms + (t_ns - clock->t0_ns) / QF_NS_PER_MS, time, sizeof(time));
    return json_pack("{s:s, s:s, s:I, s:I}", "time", time, "type", type, "seq",
                     (json_int_t)clock->seq++, "t_ns", (json_int_t)t_ns);
}

/* ---- putting things in ---- */

void journal_put(json_t *line, const char *key, json_t *value)
{
    if (json_object_set_new(line, key, value) != 0)
        (void)json_object_clear(line);
}

/* As json_string would check it; but that fails without memory, too. RFC 3629. */
static bool is_utf8(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    while (*s) {
        const unsigned char c = *s++;
        const unsigned more = c < 0x80 ? 0 : c < 0xE0 ? 1 : c < 0xF0 ? 2 : 3;
        const unsigned char low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
        const unsigned char high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
        if ((c >= 0x80 && c < 0xC2) || c > 0xF4 || (more > 0 && (*s < low || *s > high)))
            return false;
        for (unsigned i = 0; i < more; i++)
            if ((*s++ & 0xC0) != 0x80)
                return false;
    }
    return true;
}

/* QEMU's texts are UTF-8 by its own JSON; a cut one may not be. */
void journal_put_text(json_t *line, const char *key, const char *text)
{
    journal_put(line, key, json_string_nocheck(is_utf8(text) ? text : "(not UTF-8)"));
}

static void put_u64(json_t *o, const char *key, uint64_t v)
{
    const uint64_t most = (uint64_t)INT64_MAX;
    journal_put(o, key,
                v == POLICY_UNKNOWN ? json_null()
                                    : json_integer((json_int_t)(v > most ? most : v)));
}

/* ---- spec ---- */

static json_t *dump_given(const struct mig_spec *s)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < s->n_given; i++)
        if (json_array_append_new(list, json_string(s->given[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

/* Only what was asked for: a journal of before has none of it. */
static void put_channels(json_t *o, const struct mig_spec *s)
{
    if (s->channels_said)
        journal_put(o, "channels", json_integer(s->channels));
    if (s->compression != QAPI_COMPRESSION_NONE)
        journal_put(o, "compression", json_string(qapi_compression_name(s->compression)));
    if (s->zero_copy)
        journal_put(o, "zero_copy", json_true());
    if (s->cores > 0)
        journal_put(o, "cores", json_integer(s->cores));
}

static json_t *dump_spec(const struct mig_spec *s)
{
    json_t *o = json_object();
    journal_put_text(o, "source", s->source);
    journal_put_text(o, "destination", s->destination);
    journal_put_text(o, "address", s->address);
    journal_put(o, "address_from", json_integer((json_int_t)s->address_from));
    journal_put(o, "given", dump_given(s));
    journal_put_text(o, "monitor_host", s->monitor_host);
    journal_put_text(o, "bind", s->bind);
    if (s->networks.n > 0)
        journal_put(o, "networks", netsel_dump_wish(&s->networks));
    journal_put(o, "port_first", json_integer(s->port_first));
    journal_put(o, "port_last", json_integer(s->port_last));
    put_u64(o, "bandwidth", s->bandwidth_bytes_per_s); /* null: hypervisor's */
    journal_put(o, "bandwidth_auto", json_boolean(s->bandwidth_auto));
    put_channels(o, s);
    journal_put(o, "retries", json_integer((json_int_t)s->retries));
    journal_put(o, "restarts", json_boolean(s->restarts));
    if (s->encrypt != SPEC_ENCRYPT_OFF) {
        journal_put_text(o, "encrypt", spec_encrypt_name(s->encrypt));
        journal_put_text(o, "encrypt_with", s->encrypt_with);
        journal_put(o, "encrypt_by_policy", json_boolean(s->encrypt_by_policy));
    }
    journal_put(o, "unsafe", json_integer(s->unsafe));
    journal_put(o, "dry_run", json_boolean(s->dry_run));
    if (s->attach)
        journal_put(o, "attach", json_true());
    journal_put(o, "quit_source", json_boolean(s->quit_source));
    journal_put(o, "quit_destination", json_boolean(s->quit_destination));
    if (json_object_get(o, "source"))
        return o;
    json_decref(o);
    return NULL;
}

static void get_text(const json_t *o, const char *key, char *dst, size_t size)
{
    const char *s = json_string_value(json_object_get(o, key));
    (void)snprintf(dst, size, "%s", s ? s : "");
}

static uint64_t get_u64(const json_t *o, const char *key)
{
    uint64_t v = 0;
    if (json_is_null(json_object_get(o, key)))
        return POLICY_UNKNOWN;
    (void)qmp_json_u64(json_object_get(o, key), &v);
    return v;
}

static bool get_channels(const json_t *o, struct mig_spec *s)
{
    const char *method = json_string_value(json_object_get(o, "compression"));
    const uint64_t n = json_object_get(o, "channels") ? get_u64(o, "channels") : 0;
    const uint64_t cores = json_object_get(o, "cores") ? get_u64(o, "cores") : 0;
    s->channels_said = json_object_get(o, "channels") != NULL;
    s->compression = method ? qapi_compression_of(method) : QAPI_COMPRESSION_NONE;
    s->zero_copy = json_is_true(json_object_get(o, "zero_copy"));
    if (n > POLICY_CHANNELS_MAX || cores > UINT32_MAX ||
        s->compression == QAPI_COMPRESSION_COUNT)
        return false;
    s->channels = (uint32_t)n;
    s->cores = (unsigned)cores;
    return true;
}

void journal_put_process(json_t *line, const struct mig_process *p)
{
    if (!p->known)
        return;
    journal_put(line, "pid", json_integer((json_int_t)p->pid));
    put_u64(line, "memory", p->memory_bytes);
    put_u64(line, "lockable", p->lockable_bytes); /* null: no limit */
}

void journal_get_process(const json_t *line, struct mig_process *p)
{
    *p = (struct mig_process){.known = json_object_get(line, "pid") != NULL};
    if (!p->known)
        return;
    p->pid = json_integer_value(json_object_get(line, "pid"));
    p->memory_bytes = get_u64(line, "memory");
    p->lockable_bytes = get_u64(line, "lockable");
}

static bool load_spec(const json_t *o, struct mig_spec *s)
{
    if (!json_is_object(o))
        return false;
    memset(s, 0, sizeof(*s));
    get_text(o, "source", s->source, sizeof(s->source));
    get_text(o, "destination", s->destination, sizeof(s->destination));
    get_text(o, "address", s->address, sizeof(s->address));
    get_text(o, "monitor_host", s->monitor_host, sizeof(s->monitor_host));
    get_text(o, "bind", s->bind, sizeof(s->bind));
    const json_t *given = json_object_get(o, "given");
    const json_t *networks = json_object_get(o, "networks");
    const uint64_t from = get_u64(o, "address_from");
    const char *encrypt = json_string_value(json_object_get(o, "encrypt"));
    if (!encrypt) /* off, or a journal from before there was anything else */
        encrypt = spec_encrypt_name(SPEC_ENCRYPT_OFF);
    if (json_array_size(given) > SPEC_ADDRESSES_MAX || from > SPEC_ADDRESS_GIVEN ||
        (networks && !netsel_load_wish(networks, &s->networks)))
        return false;
    s->address_from = (enum spec_address_from)from;
    for (size_t i = 0; i < json_array_size(given); i++) {
        const char *text = json_string_value(json_array_get(given, i));
        (void)snprintf(s->given[s->n_given++], SPEC_TEXT_MAX, "%s", text ? text : "");
    }
    while (s->encrypt < SPEC_ENCRYPT_COUNT &&
           strcmp(spec_encrypt_name(s->encrypt), encrypt) != 0)
        s->encrypt++;
    if (s->encrypt == SPEC_ENCRYPT_COUNT)
        return false;
    get_text(o, "encrypt_with", s->encrypt_with, sizeof(s->encrypt_with));
    s->encrypt_by_policy = json_is_true(json_object_get(o, "encrypt_by_policy"));
    s->bandwidth_auto = json_is_true(json_object_get(o, "bandwidth_auto"));
    s->port_first = (uint16_t)get_u64(o, "port_first");
    s->port_last = (uint16_t)get_u64(o, "port_last");
    s->bandwidth_bytes_per_s = get_u64(o, "bandwidth");
    if (!get_channels(o, s))
        return false;
    const uint64_t retries = get_u64(o, "retries");
    s->retries = retries > SPEC_RETRIES_MAX ? SPEC_RETRIES_MAX : (unsigned)retries;
    s->restarts = json_is_true(json_object_get(o, "restarts"));
    s->unsafe = (uint32_t)get_u64(o, "unsafe");
    s->dry_run = json_is_true(json_object_get(o, "dry_run"));
    s->attach = json_is_true(json_object_get(o, "attach"));
    s->quit_source = json_is_true(json_object_get(o, "quit_source"));
    s->quit_destination = json_is_true(json_object_get(o, "quit_destination"));
    return true;
}

/* ---- header ---- */

json_t *journal_header(struct journal_clock *clock,
                       const struct mig_spec *spec,
                       const struct policy *policy)
{
    json_t *o = journal_line(clock, "journal", clock->t0_ns);
    journal_put(o, "format", json_integer(JOURNAL_FORMAT));
    journal_put(o, "wall_ms", json_integer((json_int_t)clock->wall_ms));
    journal_put(o, "spec", dump_spec(spec));
    journal_put(o, "policy", policy_dump(policy));
    return o;
}

int journal_read_header(const json_t *line,
                        struct journal_clock *clock,
                        struct mig_spec *spec,
                        struct policy *policy,
                        struct qf_err *err)
{
    const char *type = json_string_value(json_object_get(line, "type"));
    if (!type || strcmp(type, "journal") != 0)
        return qf_fail(err, QF_E_USAGE,
                       "not a journal: its first line is not of type journal");
    const json_int_t format = json_integer_value(json_object_get(line, "format"));
    if (format != JOURNAL_FORMAT)
        return qf_fail(err, QF_E_USAGE,
                       "a journal of format %lld, this qferry reads format %d",
                       (long long)format, JOURNAL_FORMAT);
    struct mig_spec s;
    if (!load_spec(json_object_get(line, "spec"), &s))
        return qf_fail(err, QF_E_USAGE, "not a journal: no spec in its first line");
    char *text = json_dumps(json_object_get(line, "policy"), JSON_COMPACT);
    if (!text)
        return qf_fail(err, QF_E_USAGE, "not a journal: no policy in its first line");
    const int rc = policy_restore("policy of the journal", text, strlen(text), policy, err);
    free(text);
    if (rc != 0)
        return rc;
    const json_int_t t0_ns = json_integer_value(json_object_get(line, "t_ns"));
    const json_int_t wall_ms = json_integer_value(json_object_get(line, "wall_ms"));
    if (t0_ns < 0 || t0_ns > JOURNAL_T_MAX_NS || wall_ms < -WALL_MAX_MS ||
        wall_ms > WALL_MAX_MS)
        return qf_fail(err, QF_E_USAGE, "not a journal: its first line has no time");
    *spec = s;
    clock->t0_ns = t0_ns;
    clock->wall_ms = wall_ms;
    clock->seq = 1;
    return 0;
}

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
    put_u64(o, "bandwidth", n->bandwidth_bytes_per_s);
    journal_put_text(o, "bandwidth_reason", n->bandwidth_reason);
}

static void put_sample(json_t *o, const struct policy_sample *s)
{
    put_u64(o, "pass", s->pass);
    put_u64(o, "remaining", s->remaining_bytes);
    put_u64(o, "transferred", s->transferred_bytes);
    put_u64(o, "total", s->total_bytes);
    put_u64(o, "dirty_rate", s->dirty_bytes_per_s);
    put_u64(o, "bandwidth", s->bandwidth_bytes_per_s);
    put_u64(o, "expected_downtime_ms", s->expected_downtime_ms);
    journal_put(o, "throttle", json_integer(s->throttle_percent));
    if (s->measures > 0) {
        put_u64(o, "measures", s->measures);
        put_u64(o, "measured_dirty_rate", s->measured_bytes_per_s);
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
    put_u64(o, "total_ms", r->total_ms);
    put_u64(o, "downtime_ms", r->downtime_ms);
    put_u64(o, "blackout_ms", r->blackout_ms);
    put_u64(o, "transferred", r->transferred_bytes);
    put_u64(o, "passes", r->passes);
    journal_put_text(o, "policy", m->policy.name);
    put_name(o, "network",
             m->network_known && m->network.chosen >= 0
                 ? m->network.candidate[m->network.chosen].name
                 : "");
}

static void put_range(json_t *o, const char *key, const struct policy_range *r)
{
    char name[40];
    put_u64(o, key, r->best);
    (void)snprintf(name, sizeof(name), "%s_low", key);
    put_u64(o, name, r->low);
    (void)snprintf(name, sizeof(name), "%s_high", key);
    put_u64(o, name, r->high);
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
        put_u64(o, key,
                qf_mul_div(forecast > actual ? forecast - actual : actual - forecast, 1000,
                           actual));
}

static void put_outcome(json_t *o, const struct record_outcome_of *r)
{
    put_u64(o, "pass", r->pass);
    put_forecast(o, &r->forecast);
    put_u64(o, "actual_total_ms", r->total_ms);
    put_u64(o, "actual_downtime_ms", r->downtime_ms);
    put_u64(o, "actual_transferred", r->transferred_bytes);
    put_error(o, "total_error_permille", r->forecast.total_ms.best, r->total_ms);
    put_error(o, "transferred_error_permille", r->forecast.transferred_bytes.best,
              r->transferred_bytes);
}

static void put_decision(json_t *o, const struct policy_decision *d, const struct mig *m)
{
    journal_put_text(o, "action", policy_action_name(d->action));
    journal_put_text(o, "because", d->because);
    journal_put_text(o, "policy", m->policy.name);
    put_u64(o, "value", d->value);
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
    get_text(o, "message", c->message, sizeof(c->message));
    get_text(o, "source", c->source, sizeof(c->source));
    get_text(o, "destination", c->destination, sizeof(c->destination));
}

static void read_network(const json_t *o, struct record *r)
{
    struct record_network *n = &r->u.network;
    r->kind = RECORD_NETWORK;
    get_text(o, "chosen", n->name, sizeof(n->name));
    get_text(o, "address", n->address, sizeof(n->address));
    get_text(o, "reason", n->reason, sizeof(n->reason));
    n->bandwidth_bytes_per_s = get_u64(o, "bandwidth");
    get_text(o, "bandwidth_reason", n->bandwidth_reason, sizeof(n->bandwidth_reason));
}

static void read_sample(const json_t *o, struct record *r)
{
    struct policy_sample *s = &r->u.sample;
    const char *mode = lent_text(o, "mode");
    r->kind = RECORD_SAMPLE;
    s->started = true;
    s->pass = get_u64(o, "pass");
    s->remaining_bytes = get_u64(o, "remaining");
    s->transferred_bytes = get_u64(o, "transferred");
    s->total_bytes = get_u64(o, "total");
    s->dirty_bytes_per_s = get_u64(o, "dirty_rate");
    s->bandwidth_bytes_per_s = get_u64(o, "bandwidth");
    s->expected_downtime_ms = get_u64(o, "expected_downtime_ms");
    s->throttle_percent = (uint32_t)get_u64(o, "throttle");
    s->postcopy = strcmp(mode, "postcopy") == 0;
    s->guest_stopped = strcmp(mode, "stop-and-copy") == 0;
}

static void read_range(const json_t *o, const char *key, struct policy_range *r)
{
    char name[40];
    r->best = get_u64(o, key);
    (void)snprintf(name, sizeof(name), "%s_low", key);
    r->low = get_u64(o, name);
    (void)snprintf(name, sizeof(name), "%s_high", key);
    r->high = get_u64(o, name);
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
    d->value = get_u64(o, "value");
    d->rule = lent_text(o, "rule");
    get_text(o, "because", d->because, sizeof(d->because));
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
    get_text(o, "reason", res->reason, sizeof(res->reason));
    res->total_ms = get_u64(o, "total_ms");
    res->downtime_ms = get_u64(o, "downtime_ms");
    res->blackout_ms = get_u64(o, "blackout_ms");
    res->transferred_bytes = get_u64(o, "transferred");
    res->passes = get_u64(o, "passes");
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
        get_text(line, "message", r->u.text, sizeof(r->u.text));
    } else {
        return false;
    }
    return true;
}

bool journal_is_public(enum record_kind kind)
{
    return kind != RECORD_NOTE && kind != RECORD_OUTCOME;
}

/* Not json_dumps: without memory for a key it leaves that out and goes on (jansson 2.14). */
char *journal_dump(const json_t *line)
{
    struct qf_buf b;
    qf_buf_init(&b, LINE_MAX_BYTES);
    if (json_object_get(line, "time") &&
        qmp_json_append(&b, line, JSON_COMPACT, NULL) == 0 &&
        qf_buf_append(&b, "\n", 2, NULL) == 0)
        return b.data;
    qf_buf_fini(&b);
    return NULL;
}

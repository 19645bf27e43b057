/* A journal's lines as what a simulation begins with: its samples, what was decided on each, its end. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "engine/curve.h"
#include "engine/journal.h"
#include "qmp/client.h"

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

static uint64_t number(const json_t *o, const char *key, uint64_t otherwise)
{
    uint64_t v = otherwise;
    (void)qmp_json_u64(json_object_get(o, key), &v);
    return v;
}

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
    if (journal_is_type(line, "do"))
        read_do(r, line);
    else if (journal_is_type(line, "event"))
        read_event(r, line);
    else if (journal_is_type(line, "decision"))
        read_decision(r, line);
    else if (journal_is_type(line, "result"))
        read_result(r, line);
    else if (journal_is_type(line, "sample"))
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
    const bool is = json && journal_is_type(json, "journal");
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

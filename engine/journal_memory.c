#include "engine/journal_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "netsel/netsel_json.h"
#include "policy/policy_json.h"
#include "qmp/client.h"

/* ---- the members that are numbers and texts, in one table for both ways ---- */

enum kind { FLAG, U16, U32, UINT, U64, NS, TEXT, OUTCOME_ID, CODE_ID };

struct member {
    const char *name;
    enum kind kind;
    size_t at;
    size_t size;
};

#define M(name_, kind_)                                    \
    {                                                      \
#name_, kind_, offsetof(struct mig_memory, name_), \
            sizeof(((struct mig_memory *)0)->name_)        \
    }
#define P(name_, kind_)                                                 \
    {                                                                   \
        "past_" #name_, kind_, offsetof(struct mig_memory, past.name_), \
            sizeof(((struct mig_memory *)0)->past.name_)                \
    }

static const struct member members[] = {
    M(phase, TEXT),
    M(policy_changes, U32),
    M(operator_fields, U32),
    M(attempt, UINT),
    M(recovering, FLAG),
    M(incoming_asked, FLAG),
    M(started, FLAG),
    M(handed_over, FLAG),
    M(guest_ran, FLAG),
    M(guest_paused, FLAG),
    M(paused_at_start, FLAG),
    M(was_postcopy, FLAG),
    M(postcopy_asked, FLAG),
    M(throttling, FLAG),
    M(quit_source, FLAG),
    M(quit_destination, FLAG),
    M(throttle_first, U32),
    M(downtime_limit_ms, U64),
    M(bandwidth_bytes_per_s, U64),
    M(migrate_ns, NS),
    M(first_migrate_ns, NS),
    M(memory_ns, NS),
    M(src_stop_ns, NS),
    M(network, TEXT),
    M(address, TEXT),
    M(network_bytes_per_s, U64),
    M(rate_is_configured, FLAG),
    M(port, U16),
    M(has_reason, FLAG),
    M(outcome, OUTCOME_ID),
    M(code, CODE_ID),
    M(reason, TEXT),
    P(steps_done, U32),
    P(timeout_used, FLAG),
    P(postcopy_refused, FLAG),
    P(pause_refused, FLAG),
    P(paused_t_ns, NS),
    P(moved_t_ns, NS),
    P(moved_bytes, U64),
    P(fell_t_ns, NS),
    P(least_bytes, U64),
};
#undef M
#undef P
enum { N_MEMBERS = sizeof(members) / sizeof(members[0]) };

/* Most of them are 0 most of the time, and are left out. */
static void put_member(json_t *o, const struct mig_memory *mem, const struct member *m)
{
    const char *at = (const char *)mem + m->at;
    uint16_t u16;
    uint32_t u32;
    unsigned u;
    uint64_t u64;
    int64_t ns;
    bool flag;
    enum record_outcome outcome;
    enum qf_code code;
    switch (m->kind) {
    case FLAG:
        memcpy(&flag, at, sizeof(flag));
        if (flag)
            journal_put(o, m->name, json_true());
        break;
    case U16:
        memcpy(&u16, at, sizeof(u16));
        if (u16 != 0)
            journal_put(o, m->name, json_integer(u16));
        break;
    case U32:
        memcpy(&u32, at, sizeof(u32));
        if (u32 != 0)
            journal_put(o, m->name, json_integer(u32));
        break;
    case UINT:
        memcpy(&u, at, sizeof(u));
        if (u != 0)
            journal_put(o, m->name, json_integer((json_int_t)u));
        break;
    case U64:
        memcpy(&u64, at, sizeof(u64));
        if (u64 != 0)
            journal_put_u64(o, m->name, u64);
        break;
    case NS:
        memcpy(&ns, at, sizeof(ns));
        if (ns != 0)
            journal_put(o, m->name, json_integer((json_int_t)ns));
        break;
    case TEXT:
        if (*at != '\0')
            journal_put_text(o, m->name, at);
        break;
    case OUTCOME_ID:
        memcpy(&outcome, at, sizeof(outcome));
        if (outcome != 0)
            journal_put(o, m->name, json_integer((json_int_t)outcome));
        break;
    case CODE_ID:
        memcpy(&code, at, sizeof(code));
        if (code != 0)
            journal_put(o, m->name, json_integer((json_int_t)code));
        break;
    }
}

static bool get_member(const json_t *o, struct mig_memory *mem, const struct member *m)
{
    char *at = (char *)mem + m->at;
    const json_t *v = json_object_get(o, m->name);
    const json_int_t n = json_integer_value(v);
    const uint16_t u16 = (uint16_t)n;
    const uint32_t u32 = (uint32_t)n;
    const unsigned u = (unsigned)n;
    const uint64_t u64 = journal_get_u64(o, m->name);
    const int64_t ns = (int64_t)n;
    const bool flag = json_is_true(v);
    const enum record_outcome outcome = (enum record_outcome)n;
    const enum qf_code code = (enum qf_code)n;
    switch (m->kind) {
    case FLAG:
        memcpy(at, &flag, sizeof(flag));
        return true;
    case U16:
        memcpy(at, &u16, sizeof(u16));
        return n >= 0 && n <= UINT16_MAX;
    case U32:
        memcpy(at, &u32, sizeof(u32));
        return n >= 0 && n <= UINT32_MAX;
    case UINT:
        memcpy(at, &u, sizeof(u));
        return n >= 0 && n <= INT32_MAX;
    case U64:
        memcpy(at, &u64, sizeof(u64));
        return true;
    case NS:
        memcpy(at, &ns, sizeof(ns));
        return n >= -JOURNAL_T_MAX_NS && n <= JOURNAL_T_MAX_NS;
    case TEXT:
        journal_get_text(o, m->name, at, m->size);
        return true;
    case OUTCOME_ID:
        memcpy(at, &outcome, sizeof(outcome));
        return n >= 0 && n <= OUTCOME_LOST;
    case CODE_ID:
        memcpy(at, &code, sizeof(code));
        return n >= 0 && n <= QF_E_HELD;
    }
    return false;
}

/* ---- a side ---- */

/* o as it is to be, with so many members; what ran out of memory has fewer, and is none. Steals o. */
static json_t *whole(json_t *o, size_t n)
{
    if (o && json_object_size(o) == n)
        return o;
    json_decref(o);
    return NULL;
}

static json_t *dump_caps(const struct mig_memory_side *s)
{
    json_t *o = json_object();
    size_t n = 0;
    for (unsigned i = 0; o && i < QAPI_CAP_COUNT; i++)
        if (s->caps_changed & (UINT64_C(1) << i)) {
            journal_put(o, qapi_cap_name((enum qapi_cap)i),
                        json_boolean(s->caps_on & (UINT64_C(1) << i)));
            n++;
        }
    return whole(o, n);
}

static json_t *dump_params(const struct mig_memory_side *s, const uint64_t *value)
{
    json_t *o = json_object();
    size_t n = 0;
    for (unsigned i = 0; o && i < QAPI_PARAM_COUNT; i++)
        if (s->params_changed & (1U << i)) {
            journal_put_u64(o, qapi_param_name((enum qapi_param)i), value[i]);
            n++;
        }
    return whole(o, n);
}

static json_t *dump_texts(const struct mig_memory_side *s)
{
    json_t *o = json_object();
    size_t n = 0;
    for (unsigned i = 0; o && i < QAPI_TEXT_PARAM_COUNT; i++)
        if (s->texts_changed & (1U << i)) {
            journal_put_text(o, qapi_text_param_name((enum qapi_text_param)i), s->text[i]);
            n++;
        }
    return whole(o, n);
}

/* "uuid" is always there, and comes first: where it is lost, there was no memory. */
static json_t *dump_side(const struct mig_memory_side *s)
{
    json_t *o = json_object();
    journal_put_text(o, "uuid", s->uuid);
    journal_put_text(o, "run", qapi_run_name(s->run));
    journal_put_text(o, "migration", qapi_mig_name(s->status));
    journal_put(o, "capabilities", dump_caps(s));
    journal_put(o, "parameters", dump_params(s, s->param));
    journal_put(o, "parameters_set", dump_params(s, s->param_set));
    journal_put(o, "texts", dump_texts(s));
    if (json_object_get(o, "uuid"))
        return o;
    json_decref(o);
    return NULL;
}

static bool load_side(const json_t *o, struct mig_memory_side *s)
{
    char name[QAPI_NAME_MAX];
    if (!json_is_object(o))
        return false;
    journal_get_text(o, "uuid", s->uuid, sizeof(s->uuid));
    journal_get_text(o, "run", name, sizeof(name));
    s->run = qapi_run_of(name);
    journal_get_text(o, "migration", name, sizeof(name));
    s->status = qapi_mig_of(name);
    const json_t *caps = json_object_get(o, "capabilities");
    const json_t *params = json_object_get(o, "parameters");
    const json_t *set = json_object_get(o, "parameters_set");
    const json_t *texts = json_object_get(o, "texts");
    for (unsigned i = 0; i < QAPI_CAP_COUNT; i++) {
        const json_t *v = json_object_get(caps, qapi_cap_name((enum qapi_cap)i));
        s->caps_changed |= v ? UINT64_C(1) << i : 0;
        s->caps_on |= json_is_true(v) ? UINT64_C(1) << i : 0;
    }
    for (unsigned i = 0; i < QAPI_PARAM_COUNT; i++) {
        const char *key = qapi_param_name((enum qapi_param)i);
        if (!json_object_get(params, key))
            continue;
        s->params_changed |= 1U << i;
        s->param[i] = journal_get_u64(params, key);
        s->param_set[i] = journal_get_u64(set, key);
    }
    for (unsigned i = 0; i < QAPI_TEXT_PARAM_COUNT; i++) {
        const char *key = qapi_text_param_name((enum qapi_text_param)i);
        if (!json_object_get(texts, key))
            continue;
        s->texts_changed |= 1U << i;
        journal_get_text(texts, key, s->text[i], sizeof(s->text[i]));
    }
    return true;
}

/* ---- all of it ---- */

static json_t *dump_pending(const struct mig_memory *mem)
{
    json_t *list = json_array();
    for (unsigned i = 0; list && i < mem->n_pending; i++) {
        json_t *o = json_object();
        journal_put(o, "port", json_integer(mem->pending[i].port));
        journal_put(o, "until_ns", json_integer((json_int_t)mem->pending[i].until_ns));
        if (json_array_append_new(list, whole(o, 2)) == 0)
            continue;
        json_decref(list);
        return NULL;
    }
    return list;
}

json_t *journal_dump_memory(const struct mig_memory *mem)
{
    json_t *o = json_object();
    for (unsigned i = 0; i < N_MEMBERS; i++)
        put_member(o, mem, &members[i]);
    if (mem->n_pending > 0)
        journal_put(o, "pending", dump_pending(mem));
    if (mem->networks.n > 0)
        journal_put(o, "networks", netsel_dump_wish(&mem->networks));
    journal_put(o, "source", dump_side(&mem->side[MIG_SRC]));
    journal_put(o, "destination", dump_side(&mem->side[MIG_DST]));
    if (mem->has_policy)
        journal_put(o, "policy", policy_dump(&mem->policy));
    if (json_object_get(o, "phase"))
        return o;
    json_decref(o);
    return NULL;
}

static bool load_pending(const json_t *list, struct mig_memory *mem)
{
    const size_t n = json_array_size(list);
    if (n > MIG_MEMORY_PORTS)
        return false;
    for (size_t i = 0; i < n; i++) {
        const json_t *o = json_array_get(list, i);
        const json_int_t port = json_integer_value(json_object_get(o, "port"));
        const json_int_t until = json_integer_value(json_object_get(o, "until_ns"));
        if (port <= 0 || port > UINT16_MAX || until < -JOURNAL_T_MAX_NS ||
            until > JOURNAL_T_MAX_NS)
            return false;
        mem->pending[mem->n_pending].port = (uint16_t)port;
        mem->pending[mem->n_pending++].until_ns = until;
    }
    return true;
}

static bool load_policy(const json_t *json, struct policy *p)
{
    char *text = json_dumps(json, JSON_COMPACT);
    const bool ok =
        text && policy_restore("policy of the journal", text, strlen(text), p, NULL) == 0;
    free(text);
    return ok;
}

static bool load(const json_t *json, struct mig_memory *mem)
{
    const json_t *policy = json_object_get(json, "policy");
    const json_t *networks = json_object_get(json, "networks");
    memset(mem, 0, sizeof(*mem));
    if (!json_is_object(json))
        return false;
    for (unsigned i = 0; i < N_MEMBERS; i++)
        if (!get_member(json, mem, &members[i]))
            return false;
    mem->known = true;
    mem->steps_done = mem->past.steps_done;
    mem->has_policy = policy != NULL;
    return load_pending(json_object_get(json, "pending"), mem) &&
           (!policy || load_policy(policy, &mem->policy)) &&
           (!networks || netsel_load_wish(networks, &mem->networks)) &&
           load_side(json_object_get(json, "source"), &mem->side[MIG_SRC]) &&
           load_side(json_object_get(json, "destination"), &mem->side[MIG_DST]);
}

bool journal_load_memory(const json_t *json, struct mig_memory *mem)
{
    struct mig_memory *m = malloc(sizeof(*m)); /* large */
    const bool ok = m && load(json, m);
    if (ok)
        *mem = *m;
    free(m);
    return ok;
}

/* ---- found again ---- */

/* The lines of the tail from behind: the next one whose text may be of this kind, parsed; NULL: there
 * is none. *end moves before it. */
static json_t *line_before(const char *text, size_t *end, const char *const *parts)
{
    size_t at = *end;
    while (at > 0 && text[at - 1] != '\n') /* cut by the kill */
        at--;
    while (at > 0) {
        const size_t stop = at - 1;
        size_t start = stop;
        while (start > 0 && text[start - 1] != '\n')
            start--;
        at = start;
        /* What kind of line it is stands at its beginning. */
        char begin[192];
        (void)snprintf(
            begin, sizeof(begin), "%.*s",
            (int)(stop - start < sizeof(begin) ? stop - start : sizeof(begin) - 1),
            text + start);
        for (unsigned i = 0; parts[i]; i++) {
            if (!strstr(begin, parts[i]))
                continue;
            json_t *line = qmp_json_parse(text + start, stop - start, NULL);
            if (line) {
                *end = start;
                return line;
            }
        }
    }
    *end = 0;
    return NULL;
}

/* Is the end of it the end of the move? Held it is not, refused it never was. */
static enum journal_remains judge_result(const json_t *result)
{
    const json_int_t status = json_integer_value(json_object_get(result, "exit"));
    if (status == qf_code_status(QF_E_HELD))
        return JOURNAL_MEMORY;
    return status == qf_code_status(QF_E_REFUSED) ||
                   status == qf_code_status(QF_E_UNREACHABLE) ||
                   status == qf_code_status(QF_E_USAGE)
               ? JOURNAL_NOTHING
               : JOURNAL_OVER;
}

/* Times of that qferry's clock in ours. After a reboot of this host only the wall clock has gone on;
 * the QEMUs may be on others. */
static int64_t shift_of(const struct journal_clock *then, const struct journal_clock *now)
{
    if (then->boot[0] != '\0' && strcmp(then->boot, now->boot) == 0)
        return 0;
    const int64_t wall_ms = now->wall_ms - then->wall_ms;
    return (now->t0_ns - then->t0_ns) - wall_ms * QF_NS_PER_MS;
}

static enum journal_remains recall(const struct journal_ends *ends,
                                   const struct journal_clock *then,
                                   const struct journal_clock *now,
                                   const struct policy *given,
                                   struct mig_memory *mem)
{
    static const char *const kinds[] = {"\"type\":\"result\"", "\"type\":\"memory\"",
                                        "\"kind\":\"memory\"", NULL};
    size_t end = ends->tail_len;
    enum journal_remains remains = JOURNAL_NOTHING;
    for (bool first = true;; first = false) {
        json_t *line = line_before(ends->tail, &end, kinds);
        if (!line)
            return remains == JOURNAL_MEMORY ? JOURNAL_OVER : remains;
        if (journal_is_type(line, "result")) {
            remains = first ? judge_result(line) : JOURNAL_OVER;
            json_decref(line);
            if (remains != JOURNAL_MEMORY)
                return remains;
            continue;
        }
        const bool ok = journal_load_memory(json_object_get(line, "memory"), mem);
        json_decref(line);
        if (!ok)
            continue;
        mig_memory_shift(mem, shift_of(then, now));
        if (!mem->has_policy)
            mem->policy = *given;
        mem->has_policy = true;
        return JOURNAL_MEMORY;
    }
}

bool journal_is_of_another(const char *head, size_t len, const char *source)
{
    const char *end = len > 0 ? memchr(head, '\n', len) : NULL;
    json_t *line = end ? qmp_json_parse(head, (size_t)(end - head), NULL) : NULL;
    const char *of =
        json_string_value(json_object_get(json_object_get(line, "spec"), "source"));
    const bool another =
        journal_is_type(line, "journal") &&
        json_integer_value(json_object_get(line, "format")) == JOURNAL_FORMAT &&
        of != NULL && strcmp(of, source) != 0;
    json_decref(line);
    return another;
}

enum journal_remains journal_recall(const struct journal_ends *ends,
                                    const char *source,
                                    const char *destination,
                                    const struct journal_clock *now,
                                    struct mig_memory *mem,
                                    struct policy *given,
                                    struct qf_err *err)
{
    const char *end = ends->head_len > 0 ? memchr(ends->head, '\n', ends->head_len) : NULL;
    struct mig_spec *spec = malloc(sizeof(*spec)); /* large */
    struct journal_clock then;
    enum journal_remains remains = JOURNAL_FOREIGN;
    json_t *line =
        end ? qmp_json_parse(ends->head, (size_t)(end - ends->head), NULL) : NULL;
    if (!line || !spec)
        (void)qf_fail(err, QF_E_USAGE, "not a journal: no first line");
    else if (journal_read_header(line, &then, spec, given, err) != 0)
        remains = JOURNAL_FOREIGN;
    else if (strcmp(spec->source, source) != 0 || spec->dry_run)
        remains = JOURNAL_NOTHING;
    else
        remains = recall(ends, &then, now, given, mem);
    /* The guest went, or was to go, elsewhere since: what is older is not true any more. */
    if ((remains == JOURNAL_OVER || remains == JOURNAL_MEMORY) &&
        strcmp(spec->destination, destination) != 0)
        remains = JOURNAL_OVER;
    json_decref(line);
    free(spec);
    return remains;
}

/* The journal's first line: what was asked for, and by which policy. */
#include <stdio.h>
#include <string.h>

#include "engine/journal.h"
#include "netsel/netsel_json.h"
#include "policy/policy_json.h"
#include "qmp/client.h"

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
    journal_put_u64(o, "bandwidth", s->bandwidth_bytes_per_s); /* null: hypervisor's */
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
    journal_put(o, "self_start", json_boolean(s->self_start));
    journal_put(o, "quit_source", json_boolean(s->quit_source));
    journal_put(o, "quit_destination", json_boolean(s->quit_destination));
    if (json_object_get(o, "source"))
        return o;
    json_decref(o);
    return NULL;
}

static bool get_channels(const json_t *o, struct mig_spec *s)
{
    const char *method = json_string_value(json_object_get(o, "compression"));
    const uint64_t n = json_object_get(o, "channels") ? journal_get_u64(o, "channels") : 0;
    const uint64_t cores = json_object_get(o, "cores") ? journal_get_u64(o, "cores") : 0;
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

static bool load_spec(const json_t *o, struct mig_spec *s)
{
    if (!json_is_object(o))
        return false;
    memset(s, 0, sizeof(*s));
    journal_get_text(o, "source", s->source, sizeof(s->source));
    journal_get_text(o, "destination", s->destination, sizeof(s->destination));
    journal_get_text(o, "address", s->address, sizeof(s->address));
    journal_get_text(o, "monitor_host", s->monitor_host, sizeof(s->monitor_host));
    journal_get_text(o, "bind", s->bind, sizeof(s->bind));
    const json_t *given = json_object_get(o, "given");
    const json_t *networks = json_object_get(o, "networks");
    const uint64_t from = journal_get_u64(o, "address_from");
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
    journal_get_text(o, "encrypt_with", s->encrypt_with, sizeof(s->encrypt_with));
    s->encrypt_by_policy = json_is_true(json_object_get(o, "encrypt_by_policy"));
    s->bandwidth_auto = json_is_true(json_object_get(o, "bandwidth_auto"));
    s->port_first = (uint16_t)journal_get_u64(o, "port_first");
    s->port_last = (uint16_t)journal_get_u64(o, "port_last");
    s->bandwidth_bytes_per_s = journal_get_u64(o, "bandwidth");
    if (!get_channels(o, s))
        return false;
    const uint64_t retries = journal_get_u64(o, "retries");
    s->retries = retries > SPEC_RETRIES_MAX ? SPEC_RETRIES_MAX : (unsigned)retries;
    s->restarts = json_is_true(json_object_get(o, "restarts"));
    s->unsafe = (uint32_t)journal_get_u64(o, "unsafe");
    s->dry_run = json_is_true(json_object_get(o, "dry_run"));
    s->attach = json_is_true(json_object_get(o, "attach"));
    s->self_start = json_is_true(json_object_get(o, "self_start"));
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
    if (clock->boot[0] != '\0')
        journal_put_text(o, "boot", clock->boot);
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
    if (t0_ns < 0 || t0_ns > JOURNAL_T_MAX_NS || wall_ms < -JOURNAL_WALL_MAX_MS ||
        wall_ms > JOURNAL_WALL_MAX_MS)
        return qf_fail(err, QF_E_USAGE, "not a journal: its first line has no time");
    *spec = s;
    clock->t0_ns = t0_ns;
    clock->wall_ms = wall_ms;
    clock->seq = 1;
    journal_get_text(line, "boot", clock->boot, sizeof(clock->boot));
    return 0;
}

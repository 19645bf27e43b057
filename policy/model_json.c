/* Reading goes by tables: the members of each object of the file, their kinds, and where they
 * belong in struct policy_model_spec. What a member alone cannot show is checked at the end. */
#include "policy/model_json.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/fault.h"
#include "engine/base/units.h"
#include "policy/fields.h"
#include "policy/presets.h"

#define MEMORY_MAX_BYTES (QF_GIB * 1024 * 64)
#define LATENCY_MAX_NS   UINT64_C(10000000000)
#define FACTOR_MAX       1000
#define LOSS_MAX_PERCENT 50

enum kind {
    KIND_NAME,
    KIND_TEXT, /* or a list of lines */
    KIND_SIZE,
    KIND_SHARE, /* of guest.memory in percent, or a size; read when the memory is known */
    KIND_RATE,
    KIND_DURATION,
    KIND_LATENCY, /* from microseconds on */
    KIND_PERCENT,
    KIND_LOSS, /* percent with a fraction */
    KIND_COUNT,
    KIND_BOOLEAN,
    KIND_PATTERN,
    KIND_START,  /* a duration or "random" */
    KIND_BREAKS, /* a duration or false */
    KIND_FACTORS,
    KIND_LIST, /* of objects, by a table of their own */
    KIND_GROUP
};

struct member {
    const char *name;
    enum kind kind;
    size_t offset; /* from the object's own place */
};

#define SPEC(m)   offsetof(struct policy_model_spec, m)
#define SET(m)    offsetof(struct policy_model_set, m)
#define PHASE(m)  offsetof(struct policy_model_phase, m)
#define CHANGE(m) offsetof(struct policy_model_change, m)
#define DROP(m)   offsetof(struct policy_model_drop, m)

/* clang-format off */
static const struct member root_members[] = {
    {"name",        KIND_NAME,  SPEC(name)},
    {"description", KIND_TEXT,  SPEC(description)},
    {"guest",       KIND_GROUP, 0},
    {"link",        KIND_GROUP, 0},
    {"qemu",        KIND_GROUP, 0},
    {0},
};
static const struct member guest_members[] = {
    {"memory",  KIND_SIZE,    SPEC(guest.memory_bytes)},
    {"zero",    KIND_SHARE,   SPEC(guest.zero_bytes)},
    {"zero-last", KIND_BOOLEAN, SPEC(guest.zero_last)},
    {"busy",    KIND_PERCENT, SPEC(guest.busy_percent)},
    {"cpus",    KIND_COUNT,   SPEC(guest.cpus)},
    {"noise",   KIND_PERCENT, SPEC(guest.noise_percent)},
    {"sets",    KIND_LIST,    0},
    {"phases",  KIND_LIST,    0},
    {"repeat",  KIND_BOOLEAN, SPEC(guest.repeats)},
    {"start",   KIND_START,   0},
    {0},
};
static const struct member set_members[] = {
    {"name",    KIND_NAME,    SET(name)},
    {"size",    KIND_SIZE,    SET(bytes)},
    {"writes",  KIND_RATE,    SET(writes_bytes_per_s)},
    {"pattern", KIND_PATTERN, SET(pattern)},
    {0},
};
static const struct member phase_members[] = {
    {"for",    KIND_DURATION, PHASE(for_ms)},
    {"writes", KIND_FACTORS,  0},
    {0},
};
static const struct member link_members[] = {
    {"rate",    KIND_RATE,     SPEC(link.rate_bytes_per_s)},
    {"latency", KIND_LATENCY,  SPEC(link.latency_ns)},
    {"loss",    KIND_LOSS,     SPEC(link.loss_ppm)},
    {"buffer",  KIND_SIZE,     SPEC(link.buffer_bytes)},
    {"noise",   KIND_PERCENT,  SPEC(link.noise_percent)},
    {"changes", KIND_LIST,     0},
    {"drops",   KIND_LIST,     0},
    {"repeat",  KIND_DURATION, SPEC(link.repeat_ms)},
    {0},
};
static const struct member change_members[] = {
    {"at",   KIND_DURATION, CHANGE(at_ms)},
    {"rate", KIND_RATE,     CHANGE(rate_bytes_per_s)},
    {0},
};
static const struct member drop_members[] = {
    {"at",  KIND_DURATION, DROP(at_ms)},
    {"for", KIND_DURATION, DROP(for_ms)},
    {0},
};
static const struct member qemu_members[] = {
    {"max-bandwidth",          KIND_RATE,     SPEC(qemu.max_bandwidth_bytes_per_s)},
    {"setup",                  KIND_DURATION, SPEC(qemu.setup_ms)},
    {"switchover",             KIND_DURATION, SPEC(qemu.switchover_ms)},
    {"resume",                 KIND_DURATION, SPEC(qemu.resume_ms)},
    {"postcopy-switch",        KIND_DURATION, SPEC(qemu.postcopy_switch_ms)},
    {"sync-per-tib",           KIND_DURATION, SPEC(qemu.sync_per_tib_ms)},
    {"scan",                   KIND_RATE,     SPEC(qemu.scan_bytes_per_s)},
    {"fault",                  KIND_LATENCY,  SPEC(qemu.fault_ns)},
    {"throttle-trigger",       KIND_PERCENT,  SPEC(qemu.throttle_trigger_percent)},
    {"syncs-always",           KIND_BOOLEAN,  SPEC(qemu.syncs_always)},
    {"postcopy-breaks-after",  KIND_BREAKS,   0},
    {0},
};
/* clang-format on */

/* What QEMU 7.2 and ordinary hosts do; qferry-model(5) gives the reasons. */
static const struct policy_model_spec defaults = {
    .guest = {.busy_percent = 100, .cpus = 1, .noise_percent = 3, .repeats = true},
    .link = {.latency_ns = 200000},
    .qemu = {.setup_ms = 20,
             .switchover_ms = 20,
             .resume_ms = 5,
             .postcopy_switch_ms = 40,
             .sync_per_tib_ms = 100,
             .scan_bytes_per_s = QF_GIB * 4,
             .fault_ns = 150000,
             .throttle_trigger_percent = 50},
};

void policy_model_defaults(struct policy_model_spec *spec)
{
    *spec = defaults;
}

struct reader {
    struct fault_source src;
    struct policy_model_spec *spec;
};

/* ---- single values ---- */

static int size(const struct reader *r,
                const char *name,
                const json_t *value,
                uint64_t *out)
{
    char word[FAULT_WORD_SIZE];
    uint64_t bytes = 0;
    if (json_is_integer(value) && json_integer_value(value) >= 0)
        bytes = (uint64_t)json_integer_value(value);
    else if (!json_is_string(value) ||
             qf_parse_size(json_string_value(value), &bytes, NULL) != 0)
        return fault_report(&r->src, name,
                            "%s is not a size; write \"64MiB\", \"1GiB\", or bytes",
                            fault_show(value, word));
    if (bytes > MEMORY_MAX_BYTES)
        return fault_report(&r->src, name, "%s is more than 64 TiB",
                            fault_show(value, word));
    *out = bytes;
    return 0;
}

/* 80, "80" or "80%"; 0 to 100. */
static bool parse_percent(const json_t *value, uint32_t *out)
{
    const char *text = json_string_value(value);
    const json_int_t n = json_integer_value(value);
    if (json_is_integer(value) && n >= 0 && n <= 100) {
        *out = (uint32_t)n;
        return true;
    }
    size_t len = text ? strlen(text) : 0;
    if (len > 0 && text[len - 1] == '%')
        len--;
    uint32_t parsed = 0;
    if (!text || !field_parse_count(text, len, &parsed) || parsed > 100)
        return false;
    *out = parsed;
    return true;
}

static int percent(const struct reader *r,
                   const char *name,
                   const json_t *value,
                   uint32_t *out)
{
    char word[FAULT_WORD_SIZE];
    if (parse_percent(value, out))
        return 0;
    return fault_report(&r->src, name, "%s is not a percentage from 0 to 100",
                        fault_show(value, word));
}

static int share(const struct reader *r,
                 const char *name,
                 const json_t *value,
                 uint64_t *out)
{
    char word[FAULT_WORD_SIZE];
    const char *text = json_string_value(value);
    uint32_t of = 0;
    if (text && strchr(text, '%')) {
        if (!parse_percent(value, &of))
            return fault_report(&r->src, name, "%s is not a percentage from 0 to 100",
                                fault_show(value, word));
        *out = qf_mul_div(r->spec->guest.memory_bytes, of, 100);
        return 0;
    }
    if (json_is_integer(value) && json_integer_value(value) != 0)
        return fault_report(&r->src, name, "%s of what? write \"40%%\" or \"2GiB\"",
                            fault_show(value, word));
    return size(r, name, value, out);
}

/* A number with at most three decimals, in thousandths; false when it is none or out of range. */
static bool thousandths(const json_t *value, double most, uint32_t *out)
{
    const double x = json_number_value(value);
    if (!json_is_number(value) || !(x >= 0 && x <= most))
        return false;
    *out = (uint32_t)(x * 1000 + 0.5);
    return true;
}

static int loss(const struct reader *r,
                const char *name,
                const json_t *value,
                uint32_t *out)
{
    char word[FAULT_WORD_SIZE];
    uint32_t permille_of_percent = 0;
    if (!thousandths(value, LOSS_MAX_PERCENT, &permille_of_percent))
        return fault_report(&r->src, name,
                            "%s is not a loss; write percent of the packets, 0 to %d",
                            fault_show(value, word), LOSS_MAX_PERCENT);
    *out = permille_of_percent * 10;
    return 0;
}

static int count(const struct reader *r,
                 const char *name,
                 const json_t *value,
                 uint32_t *out)
{
    char word[FAULT_WORD_SIZE];
    const json_int_t n = json_integer_value(value);
    if (!json_is_integer(value) || n < 1 || n > 4096)
        return fault_report(&r->src, name, "%s is not a number from 1 to 4096",
                            fault_show(value, word));
    *out = (uint32_t)n;
    return 0;
}

/* "200us"; else as a duration, which begins at one millisecond, but with its fraction. */
static bool parse_latency(const char *text, uint64_t *ns)
{
    static const struct {
        const char *unit;
        uint64_t in_ns;
    } units[] = {{"us", 1000}, {"ms", 1000000}, {"s", 1000000000}};
    uint64_t whole = 0;
    uint64_t part = 0;
    uint64_t scale = 1;
    const char *p = text;
    for (; *p >= '0' && *p <= '9' && whole < 100000000; p++)
        whole = whole * 10 + (uint64_t)(*p - '0');
    if (p == text)
        return false;
    if (*p == '.')
        for (p++; *p >= '0' && *p <= '9' && scale < 1000000; p++) {
            part = part * 10 + (uint64_t)(*p - '0');
            scale *= 10;
        }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (strcmp(p, units[i].unit) == 0) {
            *ns = whole * units[i].in_ns + part * units[i].in_ns / scale;
            return true;
        }
    return false;
}

static int latency(const struct reader *r,
                   const char *name,
                   const json_t *value,
                   uint64_t *out)
{
    char word[FAULT_WORD_SIZE];
    const char *text = json_string_value(value);
    uint64_t ns = 0;
    const bool zero = json_is_integer(value) && json_integer_value(value) == 0;
    if (!zero && !(text && parse_latency(text, &ns)))
        return fault_report(&r->src, name, "%s is not a time; write \"200us\" or \"1.5ms\"",
                            fault_show(value, word));
    if (ns > LATENCY_MAX_NS)
        return fault_report(&r->src, name, "%s is more than 10s", fault_show(value, word));
    *out = ns;
    return 0;
}

static int name_of(const struct reader *r, const char *name, const json_t *value, char *out)
{
    char word[FAULT_WORD_SIZE];
    const char *text = json_string_value(value);
    if (!text || text[0] == '\0')
        return fault_report(&r->src, name, "%s is not a name in quotes",
                            fault_show(value, word));
    if (strlen(text) >= POLICY_MODEL_NAME_MAX)
        return fault_report(&r->src, name, "%zu bytes long; at most %d are kept",
                            strlen(text), POLICY_MODEL_NAME_MAX - 1);
    (void)snprintf(out, POLICY_MODEL_NAME_MAX, "%s", text);
    fault_one_line(out);
    return 0;
}

/* One text, or lines of it. */
static int text_of(const struct reader *r, const char *name, const json_t *value, char *out)
{
    char word[FAULT_WORD_SIZE];
    size_t n = 0;
    const size_t lines = json_is_array(value) ? json_array_size(value) : 1;
    out[0] = '\0';
    for (size_t i = 0; i < lines; i++) {
        const json_t *line = json_is_array(value) ? json_array_get(value, i) : value;
        const char *text = json_string_value(line);
        if (!text)
            return fault_report(&r->src, name, "%s is not a text, or a list of its lines",
                                fault_show(line, word));
        n += (size_t)snprintf(out + n, POLICY_MODEL_TEXT_MAX - n, "%s%s", i > 0 ? " " : "",
                              text);
        if (n >= POLICY_MODEL_TEXT_MAX)
            return fault_report(&r->src, name, "more than %d bytes long",
                                POLICY_MODEL_TEXT_MAX - 1);
    }
    fault_one_line(out);
    return 0;
}

static int pattern(const struct reader *r,
                   const char *name,
                   const json_t *value,
                   enum policy_model_pattern *out)
{
    char word[FAULT_WORD_SIZE];
    const char *text = json_string_value(value);
    if (text && strcmp(text, "random") == 0)
        *out = POLICY_MODEL_RANDOM;
    else if (text && strcmp(text, "sweep") == 0)
        *out = POLICY_MODEL_SWEEP;
    else
        return fault_report(&r->src, name, "%s is not \"random\" or \"sweep\"",
                            fault_show(value, word));
    return 0;
}

static int start(const struct reader *r, const char *name, const json_t *value)
{
    const char *text = json_string_value(value);
    r->spec->guest.starts_anywhere = text && strcmp(text, "random") == 0;
    if (r->spec->guest.starts_anywhere)
        return 0;
    return field_duration(&r->src, name, value, &r->spec->guest.start_ms);
}

static int breaks(const struct reader *r, const char *name, const json_t *value)
{
    r->spec->qemu.postcopy_breaks = !json_is_false(value);
    if (json_is_false(value))
        return 0;
    return field_duration(&r->src, name, value, &r->spec->qemu.postcopy_breaks_after_ms);
}

/* One number for all sets, or an object of their names. */
static int factors(const struct reader *r,
                   const char *name,
                   const json_t *value,
                   struct policy_model_phase *phase)
{
    const struct policy_model_guest *g = &r->spec->guest;
    char word[FAULT_WORD_SIZE];
    char full[FAULT_NAME_SIZE];
    const char *key;
    json_t *item;
    uint32_t all = 0;
    if (thousandths(value, FACTOR_MAX, &all)) {
        for (uint32_t i = 0; i < POLICY_MODEL_SETS_MAX; i++)
            phase->factor_permille[i] = all;
        return 0;
    }
    if (!json_is_object(value))
        return fault_report(&r->src, name,
                            "%s is not a factor from 0 to %d, or {\"SET\": FACTOR}",
                            fault_show(value, word), FACTOR_MAX);
    json_object_foreach ((json_t *)value, key, item) {
        const char *names[POLICY_MODEL_SETS_MAX + 1] = {NULL};
        uint32_t i = 0;
        for (uint32_t k = 0; k < g->n_sets; k++)
            names[k] = g->sets[k].name;
        while (i < g->n_sets && strcmp(g->sets[i].name, key) != 0)
            i++;
        (void)fault_join(name, key, full);
        if (i == g->n_sets) {
            char list[FAULT_LIST_SIZE];
            return fault_report(&r->src, full, "no such set; there are %s",
                                fault_list(names, list));
        }
        if (!thousandths(item, FACTOR_MAX, &phase->factor_permille[i]))
            return fault_report(&r->src, full, "%s is not a factor from 0 to %d",
                                fault_show(item, word), FACTOR_MAX);
    }
    return 0;
}

/* ---- objects and lists ---- */

static int load_object(const struct reader *r,
                       const char *base,
                       const json_t *value,
                       const struct member members[],
                       void *at);

static int load_lists(const struct reader *r, const char *name, const json_t *value);

static const struct member *members_of(const char *group)
{
    if (strcmp(group, "guest") == 0)
        return guest_members;
    return strcmp(group, "link") == 0 ? link_members : qemu_members;
}

static int load_member(const struct reader *r,
                       const char *name,
                       const json_t *value,
                       const struct member *m,
                       void *object)
{
    void *at = (char *)object + m->offset;
    switch (m->kind) {
    case KIND_NAME:
        return name_of(r, name, value, at);
    case KIND_TEXT:
        return text_of(r, name, value, at);
    case KIND_SIZE:
        return size(r, name, value, at);
    case KIND_SHARE:
        return share(r, name, value, at);
    case KIND_RATE:
        return field_rate(&r->src, name, value, at);
    case KIND_DURATION:
        return field_duration(&r->src, name, value, at);
    case KIND_LATENCY:
        return latency(r, name, value, at);
    case KIND_PERCENT:
        return percent(r, name, value, at);
    case KIND_LOSS:
        return loss(r, name, value, at);
    case KIND_COUNT:
        return count(r, name, value, at);
    case KIND_BOOLEAN:
        return field_boolean(&r->src, name, value, at);
    case KIND_PATTERN:
        return pattern(r, name, value, at);
    case KIND_START:
        return start(r, name, value);
    case KIND_BREAKS:
        return breaks(r, name, value);
    case KIND_FACTORS:
        return factors(r, name, value, object);
    case KIND_LIST:
        return load_lists(r, name, value);
    case KIND_GROUP:
        return load_object(r, name, value, members_of(name), object);
    }
    return -(int)QF_E_INTERNAL;
}

/* The members in the order of the table, not of the file: later ones may lean on earlier ones. */
static int load_object(const struct reader *r,
                       const char *base,
                       const json_t *value,
                       const struct member members[],
                       void *at)
{
    enum { MEMBERS_MAX = 16 };
    const char *names[MEMBERS_MAX + 1] = {NULL};
    char name[FAULT_NAME_SIZE];
    char word[FAULT_WORD_SIZE];
    const char *key;
    json_t *item;
    size_t n = 0;
    for (; members[n].name; n++)
        names[n] = members[n].name;
    if (!json_is_object(value))
        return fault_report(&r->src, base, "%s is not an object; write {\"%s\": ...}",
                            fault_show(value, word), members[0].name);
    json_object_foreach ((json_t *)value, key, item) {
        size_t i = 0;
        while (i < n && strcmp(names[i], key) != 0)
            i++;
        if (i == n)
            return fault_unknown(&r->src, fault_join(base, key, name), key, names);
    }
    for (size_t i = 0; i < n; i++) {
        item = json_object_get(value, members[i].name);
        if (!item)
            continue;
        const int rc =
            load_member(r, fault_join(base, members[i].name, name), item, &members[i], at);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* A list that may stand in a file, and its place. */
struct list {
    const struct member *members;
    void *first;
    size_t stride;
    uint32_t *n;
    size_t most;
};

static struct list list_of(const struct reader *r, const char *name)
{
    struct policy_model_guest *g = &r->spec->guest;
    struct policy_model_link *l = &r->spec->link;
    if (strcmp(name, "guest.sets") == 0)
        return (struct list){set_members, g->sets, sizeof(g->sets[0]), &g->n_sets,
                             POLICY_MODEL_SETS_MAX};
    if (strcmp(name, "guest.phases") == 0)
        return (struct list){phase_members, g->phases, sizeof(g->phases[0]), &g->n_phases,
                             POLICY_MODEL_PHASES_MAX};
    if (strcmp(name, "link.changes") == 0)
        return (struct list){change_members, l->changes, sizeof(l->changes[0]),
                             &l->n_changes, POLICY_MODEL_CHANGES_MAX};
    return (struct list){drop_members, l->drops, sizeof(l->drops[0]), &l->n_drops,
                         POLICY_MODEL_CHANGES_MAX};
}

static int load_lists(const struct reader *r, const char *name, const json_t *value)
{
    const struct list list = list_of(r, name);
    char word[FAULT_WORD_SIZE];
    char element[FAULT_NAME_SIZE];
    if (!json_is_array(value))
        return fault_report(&r->src, name, "%s is not a list; write [{\"%s\": ...}]",
                            fault_show(value, word), list.members[0].name);
    if (json_array_size(value) > list.most)
        return fault_report(&r->src, name, "%zu elements; at most %zu are allowed",
                            json_array_size(value), list.most);
    for (size_t i = 0; i < json_array_size(value); i++) {
        void *at = (char *)list.first + i * list.stride;
        if (list.members == phase_members)
            for (size_t k = 0; k < POLICY_MODEL_SETS_MAX; k++)
                ((struct policy_model_phase *)at)->factor_permille[k] = 1000;
        if (list.members == set_members)
            (void)snprintf(((struct policy_model_set *)at)->name, POLICY_MODEL_NAME_MAX,
                           "set %zu", i + 1);
        (void)snprintf(element, sizeof(element), "%s[%zu]", name, i);
        const int rc = load_object(r, element, json_array_get(value, i), list.members, at);
        if (rc != 0)
            return rc;
    }
    *list.n = (uint32_t)json_array_size(value);
    return 0;
}

/* ---- contradictions ---- */

static int check_sets(const struct reader *r)
{
    const struct policy_model_guest *g = &r->spec->guest;
    char name[FAULT_NAME_SIZE];
    char a[FAULT_WORD_SIZE];
    char b[FAULT_WORD_SIZE];
    uint64_t used = g->zero_bytes;
    for (uint32_t i = 0; i < g->n_sets; i++) {
        (void)snprintf(name, sizeof(name), "guest.sets[%u].size", i);
        if (g->sets[i].bytes < POLICY_MODEL_PAGE_BYTES)
            return fault_report(&r->src, name, "missing, or less than a page of 4 KiB");
        (void)snprintf(name, sizeof(name), "guest.sets[%u].name", i);
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(g->sets[i].name, g->sets[k].name) == 0)
                return fault_report(&r->src, name, "two sets are called \"%s\"",
                                    g->sets[i].name);
        used = qf_add_sat(used, g->sets[i].bytes);
    }
    if (used > g->memory_bytes)
        return fault_report(&r->src, "guest.memory",
                            "%s, but its sets and its zero pages take %s",
                            qf_format_bytes(g->memory_bytes, a, sizeof(a)),
                            qf_format_bytes(used, b, sizeof(b)));
    return 0;
}

static int check_guest(const struct reader *r)
{
    const struct policy_model_guest *g = &r->spec->guest;
    char name[FAULT_NAME_SIZE];
    if (g->memory_bytes < QF_MIB)
        return fault_report(&r->src, "guest.memory",
                            "missing, or less than 1MiB; write how much RAM it has");
    if (g->busy_percent == 0)
        return fault_report(&r->src, "guest.busy", "0; write 1 to 100");
    for (uint32_t i = 0; i < g->n_phases; i++) {
        (void)snprintf(name, sizeof(name), "guest.phases[%u].for", i);
        if (g->phases[i].for_ms == 0)
            return fault_report(&r->src, name, "missing, or 0; write how long it lasts");
    }
    if ((g->starts_anywhere || g->start_ms > 0) && g->n_phases == 0)
        return fault_report(&r->src, "guest.start", "without phases it means nothing");
    return check_sets(r);
}

static int check_link(const struct reader *r)
{
    const struct policy_model_link *l = &r->spec->link;
    char name[FAULT_NAME_SIZE];
    if (l->rate_bytes_per_s == 0)
        return fault_report(&r->src, "link.rate", "missing, or 0; write \"10Gbit\"");
    if (l->loss_ppm > 0 && l->latency_ns == 0)
        return fault_report(&r->src, "link.loss",
                            "without a latency loss costs nothing; write link.latency");
    if (l->repeat_ms > 0 && l->n_changes + l->n_drops == 0)
        return fault_report(&r->src, "link.repeat",
                            "without changes or drops nothing repeats");
    for (uint32_t i = 0; i < l->n_changes; i++) {
        (void)snprintf(name, sizeof(name), "link.changes[%u].rate", i);
        if (l->changes[i].rate_bytes_per_s == 0)
            return fault_report(&r->src, name,
                                "missing, or 0; a link that is down is a drop");
        (void)snprintf(name, sizeof(name), "link.changes[%u].at", i);
        if (i > 0 && l->changes[i].at_ms <= l->changes[i - 1].at_ms)
            return fault_report(&r->src, name, "not after the change before it");
        if (l->repeat_ms > 0 && l->changes[i].at_ms >= l->repeat_ms)
            return fault_report(&r->src, name, "not before link.repeat: it never comes");
    }
    for (uint32_t i = 0; i < l->n_drops; i++) {
        (void)snprintf(name, sizeof(name), "link.drops[%u].for", i);
        if (l->drops[i].for_ms == 0)
            return fault_report(&r->src, name, "missing, or 0; write how long it lasts");
        (void)snprintf(name, sizeof(name), "link.drops[%u].at", i);
        if (l->repeat_ms > 0 && l->drops[i].at_ms >= l->repeat_ms)
            return fault_report(&r->src, name, "not before link.repeat: it never comes");
        (void)snprintf(name, sizeof(name), "link.drops[%u].for", i);
        if (l->repeat_ms > 0 && l->drops[i].for_ms >= l->repeat_ms)
            return fault_report(&r->src, name,
                                "not less than link.repeat: the link is always down");
    }
    return 0;
}

/* "my" for "/etc/qferry/my.json" */
static void name_after(const char *origin, char name[POLICY_MODEL_NAME_MAX])
{
    const char *slash = strrchr(origin, '/');
    const char *base = slash ? slash + 1 : origin;
    size_t n = strlen(base);
    if (n > 5 && strcmp(base + n - 5, ".json") == 0)
        n -= 5;
    if (n >= POLICY_MODEL_NAME_MAX)
        n = POLICY_MODEL_NAME_MAX - 1;
    memcpy(name, base, n);
    name[n] = '\0';
    fault_one_line(name);
}

static int load_root(const struct reader *r, const json_t *root)
{
    char word[FAULT_WORD_SIZE];
    if (!json_is_object(root))
        return fault_report(&r->src, "", "%s is not a model; write an object in braces",
                            fault_show(root, word));
    int rc = load_object(r, "", root, root_members, r->spec);
    if (rc == 0)
        rc = check_guest(r);
    return rc == 0 ? check_link(r) : rc;
}

static bool is_blank(const char *text, size_t len)
{
    size_t i = 0;
    while (i < len && text[i] && strchr(" \t\r\n", text[i]))
        i++;
    return i == len;
}

int policy_model_load(const char *origin,
                      const char *text,
                      size_t len,
                      struct policy_model_spec *spec,
                      struct qf_err *err)
{
    struct policy_model_spec loaded = defaults;
    const struct reader r = {
        .src = {.origin = origin, .text = text, .len = len, .err = err}, .spec = &loaded};
    json_error_t error;
    if (len > POLICY_MODEL_FILE_MAX)
        return qf_fail(err, QF_E_USAGE, "%s:1: %zu bytes; a model has at most %d", origin,
                       len, POLICY_MODEL_FILE_MAX);
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!root && is_blank(text, len))
        return qf_fail(err, QF_E_USAGE, "%s:1: nothing in it; write an object in braces",
                       origin);
    if (!root) {
        /* jansson says nothing at all when its buffers cannot grow */
        if (json_error_code(&error) == json_error_out_of_memory || error.text[0] == '\0')
            return qf_fail(err, QF_E_NOMEM, "%s: no memory", origin);
        fault_one_line(error.text);
        return qf_fail(err, QF_E_USAGE, "%s:%d: %s", origin,
                       error.line > 0 ? error.line : 1, error.text);
    }
    name_after(origin, loaded.name);
    const int rc = load_root(&r, root);
    json_decref(root);
    if (rc == 0)
        *spec = loaded;
    return rc;
}

/* ---- built-in models ---- */

size_t policy_model_count(void)
{
    return policy_models_count;
}

const char *policy_model_name(size_t i)
{
    return i < policy_models_count ? policy_models[i].name : NULL;
}

const char *policy_model_text(size_t i)
{
    return i < policy_models_count ? policy_models[i].text : NULL;
}

int policy_model_builtin(const char *name,
                         struct policy_model_spec *spec,
                         struct qf_err *err)
{
    enum { MODELS_MAX = 64 };
    const char *names[MODELS_MAX + 1] = {NULL};
    char all[QF_ERR_TEXT / 2] = "";
    char shown[FAULT_NAME_SIZE];
    size_t n = 0;
    for (size_t i = 0; i < policy_models_count && i < MODELS_MAX; i++) {
        const struct policy_preset *model = &policy_models[i];
        if (strcmp(model->name, name) == 0)
            return policy_model_load(name, model->text, strlen(model->text), spec, err);
        names[i] = model->name;
        if (n < sizeof(all))
            n += (size_t)snprintf(all + n, sizeof(all) - n, "%s%s", i ? ", " : "",
                                  model->name);
    }
    (void)snprintf(shown, sizeof(shown), "%.80s", name);
    fault_one_line(shown);
    const char *hint = fault_nearest(shown, names);
    return qf_fail(err, QF_E_USAGE, "%s: no such model%s%s; there are %s", shown,
                   hint ? "; did you mean " : "", hint ? hint : "", all);
}

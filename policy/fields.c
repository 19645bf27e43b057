#include "policy/fields.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/units.h"

/* Far beyond any use, and so small that no sum or product of theirs comes near a limit. */
#define DURATION_MAX_MS      (UINT64_C(366) * 24 * 3600 * 1000)
#define RATE_MAX_BYTES_PER_S (QF_GIB * 1024 * 1024)

/* clang-format off */
const struct field fields[] = {
    {"name",                FIELD_NAME,       offsetof(struct policy, name)},
    {"description",         FIELD_TEXT,       offsetof(struct policy, description)},
    {"pacing",              FIELD_PACING,     offsetof(struct policy, pacing)},
    {"downtime.start",      FIELD_DURATION,   offsetof(struct policy, downtime_start_ms)},
    {"downtime.max",        FIELD_DURATION,   offsetof(struct policy, downtime_max_ms)},
    {"throttle.allowed",    FIELD_BOOLEAN,    offsetof(struct policy, throttle_allowed)},
    {"throttle.initial",    FIELD_PERCENT,    offsetof(struct policy, throttle_initial_percent)},
    {"throttle.increment",  FIELD_PERCENT,    offsetof(struct policy, throttle_increment_percent)},
    {"throttle.max",        FIELD_PERCENT,    offsetof(struct policy, throttle_max_percent)},
    {"throttle.from-start", FIELD_BOOLEAN,    offsetof(struct policy, throttle_from_start)},
    {"postcopy.allowed",    FIELD_BOOLEAN,    offsetof(struct policy, postcopy_allowed)},
    {"postcopy.bandwidth",  FIELD_RATE,       offsetof(struct policy, postcopy_bandwidth_bytes_per_s)},
    {"stop.allowed",        FIELD_BOOLEAN,    offsetof(struct policy, stop_allowed)},
    {"stop.max",            FIELD_DURATION,   offsetof(struct policy, stop_max_ms)},
    {"timeout",             FIELD_DURATION,   offsetof(struct policy, timeout_ms)},
    {"timeout-per-gib",     FIELD_DURATION,   offsetof(struct policy, timeout_per_gib_ms)},
    {"progress-timeout",    FIELD_DURATION,   offsetof(struct policy, progress_timeout_ms)},
    {"on-timeout",          FIELD_ON_TIMEOUT, offsetof(struct policy, on_timeout)},
    {"channels",            FIELD_CHANNELS,   offsetof(struct policy, channels)},
    {"bandwidth",           FIELD_RATE,       offsetof(struct policy, bandwidth_bytes_per_s)},
    {"encrypt",             FIELD_ENCRYPT,    offsetof(struct policy, encrypt)},
    {"size.unit",           FIELD_SIZE_UNIT,  offsetof(struct policy, size_unit)},
    {"size.round",          FIELD_SIZE_ROUND, offsetof(struct policy, size_round)},
    {"size.least",          FIELD_UNITS,      offsetof(struct policy, size_least)},
    {"schedule.every",      FIELD_DURATION,   offsetof(struct policy, every_ms)},
    {"schedule.near-end",   FIELD_DURATION,   offsetof(struct policy, near_end_ms)},
    {"schedule.in-order",   FIELD_BOOLEAN,    offsetof(struct policy, in_order)},
    {"schedule.progress",   FIELD_PROGRESS,   offsetof(struct policy, progress)},
    {"finish-within",       FIELD_DURATION,   offsetof(struct policy, finish_within_ms)},
    {"slowdown-max",        FIELD_GOAL_PERCENT, offsetof(struct policy, slowdown_max_percent)},
};
/* clang-format on */
const size_t fields_count = sizeof(fields) / sizeof(fields[0]);
_Static_assert(sizeof(fields) / sizeof(fields[0]) <= FIELDS_MAX, "a bit for each field");

static const char *const others[] = {"steps",    "selectors", "downtime", "throttle",
                                     "postcopy", "stop",      "size",     "schedule"};
enum { N_OTHERS = sizeof(others) / sizeof(others[0]) };

static const char *const on_timeout_names[] = {"abort", "postcopy", "stop",
                                               "force-complete", NULL};
static const char *const pacing_names[] = {"schedule", "forecast", NULL};
static const char *const encrypt_names[] = {"allowed", "required", "forbidden", NULL};
static const char *const size_unit_names[] = {"GiB", "GB", NULL};
static const char *const size_round_names[] = {"up", "down", NULL};
static const char *const progress_names[] = {"bytes", "remaining", NULL};

const struct field *field_find(const char *name)
{
    for (size_t i = 0; i < fields_count; i++)
        if (strcmp(fields[i].name, name) == 0)
            return &fields[i];
    return NULL;
}

const char *field_of_group(const char *name)
{
    const size_t n = strlen(name);
    for (size_t i = 0; i < fields_count; i++)
        if (strncmp(fields[i].name, name, n) == 0 && fields[i].name[n] == '.')
            return fields[i].name + n + 1;
    return NULL;
}

int field_unknown(const struct fault_source *src, const char *name)
{
    const char *list[FIELDS_MAX + N_OTHERS + 1] = {NULL};
    const char *dot = strchr(name, '.');
    size_t n = 0;
    for (size_t i = 0; i < fields_count; i++)
        list[n++] = fields[i].name;
    for (size_t i = 0; i < N_OTHERS; i++)
        list[n++] = others[i];
    list[n] = NULL;
    const char *hint = fault_nearest(name, list);
    if (hint)
        return fault_report(src, name, "unknown field; did you mean %s?", hint);
    n = 0;
    for (size_t i = 0; dot && i < fields_count; i++)
        if (strncmp(fields[i].name, name, (size_t)(dot - name) + 1) == 0)
            list[n++] = fields[i].name;
    list[n] = NULL;
    if (n > 0)
        return fault_unknown(src, name, name, list);
    return fault_report(src, name, "unknown field; qferry-policy(5) lists what there is");
}

/* --- from JSON --- */

/* A JSON number as the text that qf_parse_... reads; false when it cannot be one. */
static bool number_text(const json_t *value, char *word, size_t size)
{
    if (json_is_integer(value)) {
        (void)snprintf(word, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return json_integer_value(value) >= 0;
    }
    const double real = json_real_value(value);
    if (real != 0 && !(real >= 0.0005 && real < 1e12))
        return false; /* what would round to 0 is not 0, which often means none */
    /* No "%f": its decimal point depends on the locale. */
    uint64_t whole = (uint64_t)real;
    uint64_t thousandths = (uint64_t)((real - (double)whole) * 1000.0 + 0.5);
    if (thousandths == 1000) {
        whole++;
        thousandths = 0;
    }
    (void)snprintf(word, size, "%llu.%03llu", (unsigned long long)whole,
                   (unsigned long long)thousandths);
    return true;
}

/* A quantity with a unit, or a number; false when the value is neither. */
static bool quantity(const json_t *value,
                     int (*parse)(const char *, uint64_t *, struct qf_err *),
                     uint64_t *out)
{
    char word[FAULT_WORD_SIZE];
    if (json_is_string(value))
        return parse(json_string_value(value), out, NULL) == 0;
    return json_is_number(value) && number_text(value, word, sizeof(word)) &&
           parse(word, out, NULL) == 0;
}

int field_duration(const struct fault_source *src,
                   const char *name,
                   const json_t *value,
                   uint64_t *out)
{
    char word[FAULT_WORD_SIZE];
    uint64_t ms = 0;
    if (!quantity(value, qf_parse_duration, &ms))
        return fault_report(src, name,
                            "%s is not a duration; write \"300ms\", \"2s\", \"5min\", "
                            "\"1h\", or seconds",
                            fault_show(value, word));
    if (ms > DURATION_MAX_MS)
        return fault_report(src, name, "%s is more than a year; write less, or 0 for none",
                            fault_show(value, word));
    *out = ms;
    return 0;
}

int field_rate(const struct fault_source *src,
               const char *name,
               const json_t *value,
               uint64_t *out)
{
    char word[FAULT_WORD_SIZE];
    uint64_t bytes_per_s = 0;
    if (!quantity(value, qf_parse_rate, &bytes_per_s))
        return fault_report(src, name,
                            "%s is not a rate; write \"10Gbit\" (bits), \"125MiB\" "
                            "(bytes), or bytes per second",
                            fault_show(value, word));
    if (bytes_per_s > RATE_MAX_BYTES_PER_S)
        return fault_report(src, name, "%s is more than any link; write less, or 0",
                            fault_show(value, word));
    *out = bytes_per_s;
    return 0;
}

/* Digits and nothing else, without a sign, at most nine of them. */
bool field_parse_count(const char *text, size_t n, uint32_t *out)
{
    uint32_t sum = 0;
    if (n == 0 || n > 9)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        sum = sum * 10 + (uint32_t)(text[i] - '0');
    }
    *out = sum;
    return true;
}

/* A whole number in bounds: 80, "80" and, of percentages, "80%". */
static bool whole(
    const json_t *value, bool percents, uint32_t least, uint32_t most, uint32_t *out)
{
    uint32_t n = 0;
    if (json_is_integer(value)) {
        const json_int_t i = json_integer_value(value);
        if (i < 0 || i > (json_int_t)most)
            return false;
        n = (uint32_t)i;
    } else {
        const char *text = json_string_value(value);
        size_t len = text ? strlen(text) : 0;
        if (percents && len > 0 && text[len - 1] == '%')
            len--;
        if (!text || !field_parse_count(text, len, &n))
            return false;
    }
    if (n < least || n > most)
        return false;
    *out = n;
    return true;
}

static int percent(const struct fault_source *src,
                   const char *name,
                   const json_t *value,
                   uint32_t least,
                   uint32_t *out)
{
    char word[FAULT_WORD_SIZE];
    if (!whole(value, true, least, 99, out))
        return fault_report(src, name, "%s is not a percentage from 1 to 99%s",
                            fault_show(value, word), least == 0 ? ", or 0 for none" : "");
    return 0;
}

static int units(const struct fault_source *src,
                 const char *name,
                 const json_t *value,
                 uint32_t *out)
{
    char word[FAULT_WORD_SIZE];
    if (!whole(value, false, 0, 1000000, out))
        return fault_report(src, name, "%s is not a number of GiB or GB, or 0",
                            fault_show(value, word));
    return 0;
}

static int channels(const struct fault_source *src,
                    const char *name,
                    const json_t *value,
                    uint32_t *out)
{
    char word[FAULT_WORD_SIZE];
    if (!whole(value, false, 0, POLICY_CHANNELS_MAX, out))
        return fault_report(src, name,
                            "%s is not a number of channels from 1 to %d, or 0 for one "
                            "stream",
                            fault_show(value, word), POLICY_CHANNELS_MAX);
    return 0;
}

int field_boolean(const struct fault_source *src,
                  const char *name,
                  const json_t *value,
                  bool *out)
{
    char word[FAULT_WORD_SIZE];
    const char *text = json_string_value(value);
    const bool typed = !src->text && text; /* --set has nothing but text */
    if (json_is_true(value) || (typed && strcmp(text, "true") == 0))
        *out = true;
    else if (json_is_false(value) || (typed && strcmp(text, "false") == 0))
        *out = false;
    else
        return fault_report(src, name, "%s is not true or false", fault_show(value, word));
    return 0;
}

static int copy_text(const struct fault_source *src,
                     const char *name,
                     const json_t *value,
                     char *out,
                     size_t size)
{
    char word[FAULT_WORD_SIZE];
    if (!json_is_string(value))
        return fault_report(src, name, "%s is not a text in quotes",
                            fault_show(value, word));
    if (json_string_length(value) == 0 && size == POLICY_NAME_MAX)
        return fault_report(src, name, "empty; write a name or leave it out");
    if (json_string_length(value) >= size)
        return fault_report(src, name, "%zu bytes long; at most %zu are kept",
                            json_string_length(value), size - 1);
    (void)snprintf(out, size, "%s", json_string_value(value));
    fault_one_line(out);
    return 0;
}

/* One of the words in a list that ends with NULL; says which there are. */
static int word_of(const struct fault_source *src,
                   const char *name,
                   const json_t *value,
                   const char *const words[],
                   uint32_t *out)
{
    char shown[FAULT_WORD_SIZE];
    char all[FAULT_LIST_SIZE] = "";
    const char *text = json_string_value(value);
    size_t n = 0;
    for (uint32_t i = 0; words[i]; i++) {
        if (text && strcmp(text, words[i]) == 0) {
            *out = i;
            return 0;
        }
        const char *before = i == 0 ? "" : words[i + 1] ? ", " : " or ";
        n += (size_t)snprintf(all + n, sizeof(all) - n, "%s\"%s\"", before, words[i]);
    }
    return fault_report(src, name, "%s is not %s", fault_show(value, shown), all);
}

int field_put(const struct fault_source *src,
              const struct field *f,
              const json_t *value,
              struct policy *p)
{
    void *at = (char *)p + f->offset;
    uint32_t word = 0;
    int rc = 0;
    switch (f->kind) {
    case FIELD_NAME:
        return copy_text(src, f->name, value, at, POLICY_NAME_MAX);
    case FIELD_TEXT:
        return copy_text(src, f->name, value, at, POLICY_TEXT_MAX);
    case FIELD_PACING:
        rc = word_of(src, f->name, value, pacing_names, &word);
        if (rc == 0)
            p->pacing = (enum policy_pacing)word;
        return rc;
    case FIELD_DURATION:
        return field_duration(src, f->name, value, at);
    case FIELD_PERCENT:
        return percent(src, f->name, value, 1, at);
    case FIELD_BOOLEAN:
        return field_boolean(src, f->name, value, at);
    case FIELD_RATE:
        return field_rate(src, f->name, value, at);
    case FIELD_ON_TIMEOUT:
        rc = word_of(src, f->name, value, on_timeout_names, &word);
        if (rc == 0)
            p->on_timeout = (enum policy_on_timeout)word;
        return rc;
    case FIELD_CHANNELS:
        return channels(src, f->name, value, at);
    case FIELD_ENCRYPT:
        rc = word_of(src, f->name, value, encrypt_names, &word);
        if (rc == 0)
            p->encrypt = (enum policy_encrypt)word;
        return rc;
    case FIELD_SIZE_UNIT:
        rc = word_of(src, f->name, value, size_unit_names, &word);
        if (rc == 0)
            p->size_unit = (enum policy_size_unit)word;
        return rc;
    case FIELD_SIZE_ROUND:
        rc = word_of(src, f->name, value, size_round_names, &word);
        if (rc == 0)
            p->size_round = (enum policy_size_round)word;
        return rc;
    case FIELD_PROGRESS:
        rc = word_of(src, f->name, value, progress_names, &word);
        if (rc == 0)
            p->progress = (enum policy_progress)word;
        return rc;
    case FIELD_UNITS:
        return units(src, f->name, value, at);
    case FIELD_GOAL_PERCENT:
        return percent(src, f->name, value, 0, at);
    }
    return -(int)QF_E_INTERNAL;
}

/* --- to JSON --- */

json_t *field_dump_duration(uint64_t n)
{
    char word[FAULT_WORD_SIZE];
    static const struct {
        uint64_t in_ms;
        const char *name;
    } units[] = {{3600000, "h"}, {60000, "min"}, {1000, "s"}, {1, "ms"}};
    size_t i = 0;
    if (n == 0)
        return json_integer(0);
    while (n % units[i].in_ms != 0)
        i++;
    (void)snprintf(word, sizeof(word), "%llu%s", (unsigned long long)(n / units[i].in_ms),
                   units[i].name);
    return json_string(word);
}

json_t *field_dump_rate(uint64_t n)
{
    char word[FAULT_WORD_SIZE];
    if (n == 0 || n % QF_MIB != 0)
        return json_integer((json_int_t)n); /* at most RATE_MAX_BYTES_PER_S */
    (void)snprintf(word, sizeof(word), "%lluMiB", (unsigned long long)(n / QF_MIB));
    return json_string(word);
}

json_t *field_dump(const struct field *f, const struct policy *p)
{
    const void *at = (const char *)p + f->offset;
    switch (f->kind) {
    case FIELD_NAME:
    case FIELD_TEXT:
        return json_string(at);
    case FIELD_PACING:
        return json_string(pacing_names[p->pacing]);
    case FIELD_DURATION:
        return field_dump_duration(*(const uint64_t *)at);
    case FIELD_PERCENT:
    case FIELD_CHANNELS:
    case FIELD_UNITS:
    case FIELD_GOAL_PERCENT:
        return json_integer(*(const uint32_t *)at);
    case FIELD_BOOLEAN:
        return json_boolean(*(const bool *)at);
    case FIELD_RATE:
        return field_dump_rate(*(const uint64_t *)at);
    case FIELD_ON_TIMEOUT:
        return json_string(on_timeout_names[p->on_timeout]);
    case FIELD_ENCRYPT:
        return json_string(encrypt_names[p->encrypt]);
    case FIELD_PROGRESS:
        return json_string(progress_names[p->progress]);
    case FIELD_SIZE_ROUND:
        return json_string(size_round_names[p->size_round]);
    case FIELD_SIZE_UNIT:
        return json_string(size_unit_names[p->size_unit]);
    }
    return NULL;
}

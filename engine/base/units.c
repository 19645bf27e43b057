#include "engine/base/units.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

uint64_t qf_mul_div(uint64_t a, uint64_t b, uint64_t c)
{
    if (c == 0)
        return UINT64_MAX;
    __extension__ typedef unsigned __int128 wide;
    const wide r = (wide)a * b / c;
    return r > UINT64_MAX ? UINT64_MAX : (uint64_t)r;
}

uint64_t qf_add_sat(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

uint64_t qf_mul_sat(uint64_t a, uint64_t b)
{
    return qf_mul_div(a, b, 1);
}

int64_t qf_ms_to_ns(uint64_t ms)
{
    return ms > (uint64_t)(INT64_MAX / QF_NS_PER_MS) ? INT64_MAX
                                                     : (int64_t)ms * QF_NS_PER_MS;
}

/* One unit: how many of the result's unit it is, as a fraction (bits are an eighth). */
struct unit {
    const char *name;
    uint64_t mul;
    uint64_t div;
};

static const struct unit durations[] = {
    {"", 1000, 1},   {"s", 1000, 1},    {"ms", 1, 1},      {"sec", 1000, 1},
    {"m", 60000, 1}, {"min", 60000, 1}, {"h", 3600000, 1}, {NULL, 0, 0},
};

#define QF_KB UINT64_C(1000)
#define QF_TI (QF_GIB * 1024)

static const struct unit sizes[] = {
    {"", 1, 1},
    {"B", 1, 1},
    {"KiB", QF_KIB, 1},
    {"MiB", QF_MIB, 1},
    {"GiB", QF_GIB, 1},
    {"TiB", QF_TI, 1},
    {"Ki", QF_KIB, 1},
    {"Mi", QF_MIB, 1},
    {"Gi", QF_GIB, 1},
    {"Ti", QF_TI, 1},
    {"kB", QF_KB, 1},
    {"KB", QF_KB, 1},
    {"MB", QF_KB *QF_KB, 1},
    {"GB", QF_KB *QF_KB *QF_KB, 1},
    {"TB", QF_KB *QF_KB *QF_KB *QF_KB, 1},
    {NULL, 0, 0},
};

static const struct unit bit_rates[] = {
    {"bit", 1, 8},
    {"kbit", QF_KB, 8},
    {"Kbit", QF_KB, 8},
    {"Mbit", QF_KB *QF_KB, 8},
    {"Gbit", QF_KB *QF_KB *QF_KB, 8},
    {"Tbit", QF_KB *QF_KB *QF_KB *QF_KB, 8},
    {NULL, 0, 0},
};

static const struct unit *find_unit(const struct unit *table, const char *name, size_t n)
{
    for (const struct unit *u = table; u->name; u++)
        if (strlen(u->name) == n && memcmp(u->name, name, n) == 0)
            return u;
    return NULL;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits, at most nine of them after a point, then the unit. Integers all the way: what a
 * person typed must not depend on how a CPU rounds. */
static int parse_quantity(const char *text,
                          size_t len,
                          const struct unit *const tables[],
                          uint64_t *out)
{
    size_t i = 0;
    uint64_t whole = 0;
    uint64_t frac = 0;
    uint64_t scale = 1;
    if (i >= len || !is_digit(text[i]))
        return -1;
    for (; i < len && is_digit(text[i]); i++) {
        const uint64_t digit = (uint64_t)(text[i] - '0');
        if (whole > (UINT64_MAX - digit) / 10)
            return -1;
        whole = whole * 10 + digit;
    }
    if (i < len && text[i] == '.') {
        const size_t dot = i++;
        for (; i < len && is_digit(text[i]) && scale < UINT64_C(1000000000); i++) {
            frac = frac * 10 + (uint64_t)(text[i] - '0');
            scale *= 10;
        }
        if (i == dot + 1)
            return -1;
    }
    if (i < len && text[i] == ' ')
        i++;
    const struct unit *u = NULL;
    for (size_t t = 0; tables[t] && !u; t++)
        u = find_unit(tables[t], text + i, len - i);
    if (!u)
        return -1;
    const uint64_t big = qf_mul_div(whole, u->mul, u->div);
    const uint64_t small = qf_mul_div(frac, u->mul, qf_mul_sat(scale, u->div));
    if (big == UINT64_MAX || big > (uint64_t)INT64_MAX)
        return -1;
    const uint64_t sum = qf_add_sat(big, small);
    if (sum == 0 && (whole > 0 || frac > 0))
        return -1; /* not so little that it would be taken for 0, which often means none */
    *out = sum;
    return 0;
}

int qf_parse_duration(const char *text, uint64_t *ms, struct qf_err *err)
{
    static const struct unit *const tables[] = {durations, NULL};
    if (parse_quantity(text, strlen(text), tables, ms) != 0)
        return qf_fail(err, QF_E_USAGE,
                       "'%s' is not a duration; write 300ms, 2s, 5min or 1h", text);
    return 0;
}

int qf_parse_size(const char *text, uint64_t *bytes, struct qf_err *err)
{
    static const struct unit *const tables[] = {sizes, NULL};
    if (parse_quantity(text, strlen(text), tables, bytes) != 0)
        return qf_fail(err, QF_E_USAGE, "'%s' is not a size; write 64MiB or 1GiB", text);
    return 0;
}

int qf_parse_rate(const char *text, uint64_t *bytes_per_s, struct qf_err *err)
{
    static const struct unit *const tables[] = {bit_rates, sizes, NULL};
    size_t n = strlen(text);
    if (n > 2 && strcmp(text + n - 2, "/s") == 0)
        n -= 2;
    if (parse_quantity(text, n, tables, bytes_per_s) != 0)
        return qf_fail(err, QF_E_USAGE,
                       "'%s' is not a rate; write 100Mbit, 10Gbit (bits) or 125MiB (bytes)",
                       text);
    return 0;
}

const char *qf_format_bytes(uint64_t bytes, char *buf, size_t size)
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t i = 0;
    uint64_t unit = 1;
    while (i + 1 < sizeof(names) / sizeof(names[0]) && bytes / unit >= 1024) {
        unit *= 1024;
        i++;
    }
    if (i == 0)
        (void)snprintf(buf, size, "%llu B", (unsigned long long)bytes);
    else
        (void)snprintf(buf, size, "%llu.%llu %s", (unsigned long long)(bytes / unit),
                       (unsigned long long)(bytes % unit * 10 / unit), names[i]);
    return buf;
}

const char *qf_format_rate(uint64_t bytes_per_s, char *buf, size_t size)
{
    const size_t n = strlen(qf_format_bytes(bytes_per_s, buf, size));
    (void)snprintf(buf + n, size - n, "/s");
    return buf;
}

const char *qf_format_ms(uint64_t ms, char *buf, size_t size)
{
    if (ms < 1000)
        (void)snprintf(buf, size, "%llu ms", (unsigned long long)ms);
    else if (ms < 120000)
        (void)snprintf(buf, size, "%llu.%llu s", (unsigned long long)(ms / 1000),
                       (unsigned long long)(ms % 1000 / 100));
    else
        (void)snprintf(buf, size, "%llu min %llu s", (unsigned long long)(ms / 60000),
                       (unsigned long long)(ms % 60000 / 1000));
    return buf;
}

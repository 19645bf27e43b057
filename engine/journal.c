#include "engine/journal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/units.h"
#include "qmp/client.h"

enum { LINE_MAX_BYTES = 64 * 1024 * 1024 }; /* several of the longest messages */

/* ---- time ---- */

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

void journal_put_u64(json_t *o, const char *key, uint64_t v)
{
    const uint64_t most = (uint64_t)INT64_MAX;
    journal_put(o, key,
                v == POLICY_UNKNOWN ? json_null()
                                    : json_integer((json_int_t)(v > most ? most : v)));
}

bool journal_is_type(const json_t *line, const char *type)
{
    const char *t = json_string_value(json_object_get(line, "type"));
    return t && strcmp(t, type) == 0;
}

void journal_get_text(const json_t *o, const char *key, char *dst, size_t size)
{
    const char *s = json_string_value(json_object_get(o, key));
    (void)snprintf(dst, size, "%s", s ? s : "");
}

uint64_t journal_get_u64(const json_t *o, const char *key)
{
    uint64_t v = 0;
    if (json_is_null(json_object_get(o, key)))
        return POLICY_UNKNOWN;
    (void)qmp_json_u64(json_object_get(o, key), &v);
    return v;
}

void journal_put_process(json_t *line, const struct mig_process *p)
{
    if (!p->known)
        return;
    journal_put(line, "pid", json_integer((json_int_t)p->pid));
    journal_put_u64(line, "memory", p->memory_bytes);
    journal_put_u64(line, "lockable", p->lockable_bytes); /* null: no limit */
}

void journal_get_process(const json_t *line, struct mig_process *p)
{
    *p = (struct mig_process){.known = json_object_get(line, "pid") != NULL};
    if (!p->known)
        return;
    p->pid = json_integer_value(json_object_get(line, "pid"));
    p->memory_bytes = journal_get_u64(line, "memory");
    p->lockable_bytes = journal_get_u64(line, "lockable");
}

void journal_put_others(json_t *line, const struct mig_others *others)
{
    json_t *list = json_array();
    for (unsigned i = 0; list && i < others->n; i++) {
        const struct mig_way *w = &others->way[i];
        json_t *o = json_object();
        journal_put_text(o, "interface", w->use.interface);
        journal_put_text(o, "network", w->use.network);
        journal_put(o, "moves", json_integer((json_int_t)w->moves));
        if (json_object_size(o) != 3) { /* no memory for one of them */
            json_decref(o);
            o = NULL;
        }
        if (json_array_append_new(list, o) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    journal_put(line, "others", list);
}

void journal_get_others(const json_t *line, struct mig_others *others)
{
    const json_t *list = json_object_get(line, "others");
    memset(others, 0, sizeof(*others));
    for (size_t i = 0; i < json_array_size(list) && others->n < MIG_OTHERS_MAX; i++) {
        const json_t *o = json_array_get(list, i);
        struct mig_way *w = &others->way[others->n];
        const json_int_t moves = json_integer_value(json_object_get(o, "moves"));
        journal_get_text(o, "interface", w->use.interface, sizeof(w->use.interface));
        journal_get_text(o, "network", w->use.network, sizeof(w->use.network));
        w->moves = moves > 0 && moves < INT32_MAX ? (unsigned)moves : 0;
        others->n++;
    }
}

void journal_put_links(json_t *line, const struct mig_links *links)
{
    json_t *list = json_array();
    char ip[NETSEL_IP_TEXT];
    for (unsigned i = 0; list && i < links->n; i++) {
        const struct mig_link_of *l = &links->link[i];
        json_t *o =
            json_pack("{s:s, s:s, s:I}", "address", netsel_ip_format(&l->ip, ip),
                      "interface", l->interface, "speed", (json_int_t)l->speed_bytes_per_s);
        if (json_array_append_new(list, o) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    journal_put(line, "links", list);
}

void journal_get_links(const json_t *line, struct mig_links *links)
{
    const json_t *list = json_object_get(line, "links");
    memset(links, 0, sizeof(*links));
    for (size_t i = 0; i < json_array_size(list) && links->n < MIG_LINKS_MAX; i++) {
        const json_t *o = json_array_get(list, i);
        struct mig_link_of *l = &links->link[links->n];
        const char *ip = json_string_value(json_object_get(o, "address"));
        const json_int_t speed = json_integer_value(json_object_get(o, "speed"));
        if (!ip || !netsel_ip_parse(ip, &l->ip))
            continue;
        journal_get_text(o, "interface", l->interface, sizeof(l->interface));
        l->speed_bytes_per_s = speed > 0 ? (uint64_t)speed : 0;
        links->n++;
    }
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

#include "engine/base/fault.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { HINT_DISTANCE = 3 };

/* --- where in the text --- */

/* A position in text that jansson has found to be JSON. All helpers stop at the end whatever
 * they meet. */
struct cursor {
    const char *at;
    const char *end;
    size_t line;
};

static void skip_space(struct cursor *c)
{
    for (; c->at < c->end && strchr(" \t\r\n,:", *c->at) && *c->at; c->at++)
        if (*c->at == '\n')
            c->line++;
}

static void skip_string(struct cursor *c)
{
    for (c->at++; c->at < c->end && *c->at != '"'; c->at++)
        if (*c->at == '\\' && c->at + 1 < c->end)
            c->at++;
    if (c->at < c->end)
        c->at++;
}

/* Over one value of any kind, however deep. */
static void skip_value(struct cursor *c)
{
    size_t depth = 0;
    skip_space(c);
    do {
        if (c->at >= c->end)
            return;
        const char ch = *c->at;
        if (ch == '"') {
            skip_string(c);
        } else {
            if (ch == '{' || ch == '[')
                depth++;
            else if ((ch == '}' || ch == ']') && depth > 0)
                depth--;
            else if (depth == 0)
                while (c->at + 1 < c->end && !strchr(" \t\r\n,]}", c->at[1]))
                    c->at++;
            c->at++;
        }
        if (depth > 0)
            skip_space(c);
    } while (depth > 0);
}

/* Does the rest of a name begin with this key? The length of the key, or 0. */
static size_t key_matches(const char *name, const char *key, size_t n)
{
    if (n == 0 || strncmp(name, key, n) != 0)
        return 0;
    return name[n] == '\0' || name[n] == '.' || name[n] == '[' ? n : 0;
}

/* To the member that name begins with, the longest if there are several: the keys of labels have
 * dots. False when there is none. *name moves on. */
static bool enter_member(struct cursor *c, const char **name)
{
    struct cursor found = *c;
    size_t longest = 0;
    for (c->at++;;) {
        skip_space(c);
        if (c->at >= c->end || *c->at != '"')
            break;
        const struct cursor here = *c;
        skip_string(c);
        if (c->at - here.at < 2)
            break; /* a quote and then the end */
        const size_t n = key_matches(*name, here.at + 1, (size_t)(c->at - here.at) - 2);
        if (n > longest) {
            longest = n;
            found = *c;
        }
        skip_value(c);
    }
    *c = found;
    *name += longest;
    return longest > 0;
}

/* To element "[n]" that name begins with. */
static bool enter_element(struct cursor *c, const char **name)
{
    size_t index = 0;
    const char *p = *name + 1;
    for (; *p >= '0' && *p <= '9' && index < 100000; p++)
        index = index * 10 + (size_t)(*p - '0');
    if (*p != ']')
        return false;
    for (c->at++; index > 0; index--)
        skip_value(c);
    *name = p + 1;
    skip_space(c);
    return c->at < c->end;
}

size_t fault_line(const char *text, size_t len, const char *name)
{
    struct cursor c = {.at = text, .end = text + len, .line = 1};
    skip_space(&c);
    size_t line = c.line;
    while (*name && c.at < c.end) {
        if (*name == '.')
            name++;
        const bool found = *name == '[' ? *c.at == '[' && enter_element(&c, &name)
                                        : *c.at == '{' && enter_member(&c, &name);
        if (!found)
            break;
        line = c.line;
        skip_space(&c);
    }
    return line;
}

/* --- the text as JSON --- */

static bool is_blank(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r' && text[i] != '\n')
            return false;
    return true;
}

int fault_parse(const struct fault_source *src, json_t **root)
{
    json_error_t error;
    if (src->len >= 3 && memcmp(src->text, "\xEF\xBB\xBF", 3) == 0)
        return qf_fail(src->err, QF_E_USAGE,
                       "%s:1: begins with a byte order mark; save it as UTF-8 without one",
                       src->origin);
    json_t *parsed =
        json_loadb(src->text, src->len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (parsed) {
        *root = parsed;
        return 0;
    }
    if (is_blank(src->text, src->len))
        return qf_fail(src->err, QF_E_USAGE,
                       "%s:1: nothing in it; write an object in braces", src->origin);
    /* jansson says nothing at all when its buffers cannot grow */
    if (json_error_code(&error) == json_error_out_of_memory || error.text[0] == '\0')
        return qf_fail(src->err, QF_E_NOMEM, "%s: no memory", src->origin);
    if (json_error_code(&error) == json_error_null_character)
        (void)snprintf(error.text, sizeof(error.text), "a text cannot have \\u0000 in it");
    fault_one_line(error.text);
    const bool twice = json_error_code(&error) == json_error_duplicate_key;
    return qf_fail(src->err, QF_E_USAGE, "%s:%d: %s%s", src->origin,
                   error.line > 0 ? error.line : 1, error.text,
                   twice ? "; drop one of them" : "");
}

/* --- what is said --- */

/* How many bytes the UTF-8 character at p has; 0 when it is none. */
static size_t utf8_length(const unsigned char *p)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const size_t n = p[0] < 0x80   ? 1
                     : p[0] < 0xC0 ? 0
                     : p[0] < 0xE0 ? 2
                     : p[0] < 0xF0 ? 3
                     : p[0] < 0xF8 ? 4
                                   : 0;
    if (n <= 1)
        return n;
    uint32_t code = p[0] & (0x7FU >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80) /* also at the end of the text */
            return 0;
        code = code << 6 | (p[i] & 0x3F);
    }
    const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
    return code < least[n] || code > 0x10FFFF || surrogate ? 0 : n;
}

void fault_one_line(char *text)
{
    while (*text) {
        const size_t n = utf8_length((const unsigned char *)text);
        if (n == 0 || (unsigned char)*text < ' ' || *text == 0x7F)
            *text = '?';
        text += n > 0 ? n : 1;
    }
}

const char *fault_join(const char *base, const char *key, char name[FAULT_NAME_SIZE])
{
    size_t n = 0;
    for (; *base && n < FAULT_NAME_SIZE - 1; base++)
        name[n++] = *base;
    if (n > 0 && n < FAULT_NAME_SIZE - 1)
        name[n++] = '.';
    for (; *key && n < FAULT_NAME_SIZE - 1; key++)
        name[n++] = *key;
    name[n] = '\0';
    return name;
}

int fault_report(const struct fault_source *src, const char *name, const char *fmt, ...)
{
    char what[QF_ERR_TEXT];
    char shown[FAULT_NAME_SIZE];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    (void)snprintf(shown, sizeof(shown), "%s", name);
    fault_one_line(what);
    fault_one_line(shown);
    if (!src->text)
        return qf_fail(src->err, QF_E_USAGE, "%s: %s", shown, what);
    return qf_fail(src->err, QF_E_USAGE, "%s:%zu: %s%s%s", src->origin,
                   fault_line(src->text, src->len, name), shown, *shown ? ": " : "", what);
}

/* How many letters apart two names are (Levenshtein). */
static size_t distance(const char *a, const char *b)
{
    size_t row[FAULT_NAME_SIZE];
    const size_t na = strlen(a);
    const size_t nb = strlen(b);
    if (na >= FAULT_NAME_SIZE || nb >= FAULT_NAME_SIZE)
        return FAULT_NAME_SIZE;
    for (size_t j = 0; j <= nb; j++)
        row[j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            const size_t above = row[j];
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            if (above + 1 < best)
                best = above + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = above;
            row[j] = best;
        }
    }
    return row[nb];
}

const char *fault_nearest(const char *name, const char *const list[])
{
    const char *best = NULL;
    size_t best_distance = HINT_DISTANCE + 1;
    for (size_t i = 0; list[i]; i++) {
        const size_t d = distance(name, list[i]);
        if (d < best_distance && d * 3 <= strlen(list[i])) {
            best = list[i];
            best_distance = d;
        }
    }
    return best;
}

const char *fault_list(const char *const list[], char text[FAULT_LIST_SIZE])
{
    const size_t size = FAULT_LIST_SIZE;
    size_t n = 0;
    text[0] = '\0';
    for (size_t i = 0; list[i] && n < size; i++)
        n += (size_t)snprintf(text + n, size - n, "%s%s", i ? ", " : "", list[i]);
    return text;
}

const char *fault_show(const json_t *value, char word[FAULT_WORD_SIZE])
{
    const size_t size = FAULT_WORD_SIZE;
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        (void)snprintf(word, size, "\"%.40s%s\"", json_string_value(value),
                       json_string_length(value) > 40 ? "..." : "");
        return word;
    case JSON_INTEGER:
        (void)snprintf(word, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return word;
    case JSON_REAL:
        (void)snprintf(word, size, "%g", json_real_value(value));
        if (strspn(word, "-0123456789") == strlen(word))
            (void)strncat(word, ".0", size - strlen(word) - 1);
        return word;
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        return "null";
    }
    return "?";
}

int fault_unknown(const struct fault_source *src,
                  const char *name,
                  const char *key,
                  const char *const list[])
{
    char all[FAULT_LIST_SIZE];
    const char *hint = fault_nearest(key, list);
    if (hint)
        return fault_report(src, name, "unknown field; did you mean %s?", hint);
    return fault_report(src, name, "unknown field; there are %s", fault_list(list, all));
}

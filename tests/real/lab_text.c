/* Memory and text of the laboratory: everything here aborts when memory is out. */
#include "tests/real/lab_priv.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *grow(void *p, size_t bytes)
{
    p = realloc(p, bytes);
    if (!p) {
        abort();
    }
    return p;
}

char *copy_text(const char *s)
{
    char *c = strdup(s);

    if (!c) {
        abort();
    }
    return c;
}

void *grow_for_one(void *array, size_t used, size_t *room, size_t each)
{
    if (used < *room) {
        return array;
    }
    *room = *room ? 2 * *room : 64;
    return grow(array, *room * each);
}

void text_append(struct text *t, const char *bytes, size_t n)
{
    if (t->len + n + 1 > t->room) {
        t->room = 2 * (t->len + n + 1);
        t->data = grow(t->data, t->room);
    }
    memcpy(t->data + t->len, bytes, n);
    t->len += n;
    t->data[t->len] = '\0';
}

const char *text_or_empty(const struct text *t)
{
    return t->data ? t->data : "";
}

char *format_text(const char *format, ...)
{
    char *out = NULL;
    va_list ap;

    va_start(ap, format);
    if (vasprintf(&out, format, ap) < 0) {
        abort();
    }
    va_end(ap);
    return out;
}

void args_add(struct args *a, const char *text)
{
    a->v = grow_for_one(a->v, a->n, &a->room, sizeof(*a->v));
    a->v[a->n++] = text ? copy_text(text) : NULL;
}

void args_pair(struct args *a, const char *option, const char *value)
{
    if (value) {
        args_add(a, option);
        args_add(a, value);
    }
}

void args_pair_f(struct args *a, const char *option, const char *format, ...)
{
    char *value = NULL;
    va_list ap;

    va_start(ap, format);
    if (vasprintf(&value, format, ap) < 0) {
        abort();
    }
    va_end(ap);
    args_pair(a, option, value);
    free(value);
}

void args_free(struct args *a)
{
    for (size_t i = 0; i < a->n; i++) {
        free(a->v[i]);
    }
    free(a->v);
}

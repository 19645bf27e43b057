/* Bytes, numbers and lines of text. No formatting language: a line is put together word by word. */
#ifndef QF_TESTS_REAL_GUEST_TEXT_H
#define QF_TESTS_REAL_GUEST_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The compiler may call these on its own. */
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);

/* A line under construction. What does not fit is dropped. */
struct line {
    char text[160];
    uint32_t len;
};

void line_init(struct line *l);
void line_text(struct line *l, const char *text);
void line_number(struct line *l, uint64_t number);
void line_hex(struct line *l, uint32_t number);

/* " name=number", the way every line of the protocol carries its figures */
void line_field(struct line *l, const char *name, uint64_t number);

bool text_equal(const char *a, const char *b);

/* Decimal digits and nothing else, at most `max`. Returns false and leaves *out alone otherwise. */
bool text_number(const char *text, uint32_t max, uint32_t *out);

#endif

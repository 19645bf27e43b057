#include "text.h"

/* Written with string instructions: a loop in C could be turned into a call of itself. */
void *memcpy(void *to, const void *from, size_t n)
{
    void *d = to;

    __asm__ volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(n) : : "memory");
    return to;
}

void *memset(void *to, int byte, size_t n)
{
    void *d = to;

    __asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(byte) : "memory");
    return to;
}

void line_init(struct line *l)
{
    l->len = 0;
    l->text[0] = '\0';
}

void line_text(struct line *l, const char *text)
{
    while (*text != '\0' && l->len < sizeof(l->text) - 1) {
        l->text[l->len++] = *text++;
    }
    l->text[l->len] = '\0';
}

/* Divides by ten in two steps of 32 bits: 64-bit division would need the compiler's library. */
static uint32_t divide_by_ten(uint64_t *number)
{
    uint32_t high = (uint32_t)(*number >> 32);
    uint32_t low = (uint32_t)*number;
    uint32_t quotient;
    uint32_t rest;

    __asm__("divl %4"
            : "=a"(quotient), "=d"(rest)
            : "0"(low), "1"(high % 10), "r"(UINT32_C(10))
            : "cc");
    *number = ((uint64_t)(high / 10) << 32) | quotient;
    return rest;
}

void line_number(struct line *l, uint64_t number)
{
    char digits[21];
    uint32_t at = sizeof(digits) - 1;

    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + divide_by_ten(&number));
    } while (number != 0);
    line_text(l, &digits[at]);
}

void line_hex(struct line *l, uint32_t number)
{
    char digits[9];

    for (uint32_t i = 0; i < 8; i++) {
        digits[i] = "0123456789abcdef"[(number >> (28 - 4 * i)) & 15];
    }
    digits[8] = '\0';
    line_text(l, digits);
}

void line_field(struct line *l, const char *name, uint64_t number)
{
    line_text(l, " ");
    line_text(l, name);
    line_text(l, "=");
    line_number(l, number);
}

bool text_equal(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

bool text_number(const char *text, uint32_t max, uint32_t *out)
{
    uint32_t number = 0;

    if (*text == '\0') {
        return false;
    }
    for (; *text != '\0'; text++) {
        uint32_t digit = (uint32_t)(*text - '0');

        if (digit > 9 || number > (max - digit) / 10) {
            return false;
        }
        number = number * 10 + digit;
    }
    *out = number;
    return true;
}

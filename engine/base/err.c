#include "engine/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A sentence that did not fit ends before the character that was cut in two. */
static void trim_utf8(char *text, size_t size)
{
    const size_t n = strlen(text);
    size_t tail = 0; /* bytes since the last one that begins a character, that one too */
    if (n + 1 < size)
        return;
    while (tail < 4 && tail < n &&
           (tail == 0 || ((unsigned char)text[n - tail] & 0xC0) == 0x80))
        tail++;
    const unsigned char first = (unsigned char)text[n - tail];
    const size_t whole = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC0 ? 2 : 1;
    if (whole > tail)
        text[n - tail] = '\0';
}

int qf_fail(struct qf_err *err, enum qf_code code, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        (void)vsnprintf(err->text, sizeof(err->text), fmt, ap);
        va_end(ap);
        trim_utf8(err->text, sizeof(err->text));
        err->code = code;
    }
    return -(int)code;
}

int qf_wrap(struct qf_err *err, const char *fmt, ...)
{
    if (!err)
        return -(int)QF_E_INTERNAL;
    char was[QF_ERR_TEXT];
    memcpy(was, err->text, sizeof(was));
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    const size_t n = strlen(err->text);
    (void)snprintf(err->text + n, sizeof(err->text) - n, ": %s", was);
    trim_utf8(err->text, sizeof(err->text));
    return -(int)err->code;
}

const char *qf_code_text(enum qf_code code)
{
    switch (code) {
#define QF_CODE_TEXT(name, status, text) \
    case QF_E_##name:                    \
        return text;
        QF_CODES(QF_CODE_TEXT)
#undef QF_CODE_TEXT
    }
    return "unknown";
}

int qf_code_status(enum qf_code code)
{
    switch (code) {
#define QF_CODE_STATUS(name, status, text) \
    case QF_E_##name:                      \
        return status;
        QF_CODES(QF_CODE_STATUS)
#undef QF_CODE_STATUS
    }
    return 1;
}

#include "qmp/frame.h"

#include <stdint.h>

void qmp_frame_init(struct qmp_frame *f, size_t cap)
{
    *f = (struct qmp_frame){.cap = cap};
    /* Never more than one unfinished message and one feed; qmp_frame_feed sees to that. */
    qf_buf_init(&f->in, SIZE_MAX);
}

void qmp_frame_fini(struct qmp_frame *f)
{
    qf_buf_fini(&f->in);
    qmp_frame_init(f, f->cap);
}

/* Pass over the object that was lent. The bytes stay until the next feed. */
static void pass_given(struct qmp_frame *f)
{
    f->start += f->given;
    f->given = 0;
}

int qmp_frame_feed(struct qmp_frame *f, const void *data, size_t len, struct qf_err *err)
{
    pass_given(f);
    /* Once a feed, not once a message: many small messages in one read stay linear. */
    if (f->start > 0) {
        qf_buf_drop(&f->in, f->start);
        f->scanned -= f->start;
        f->start = 0;
    }
    if (f->in.len > f->cap)
        return qf_fail(err, QF_E_PROTO, "more than %zu bytes of a message without an end",
                       f->cap);
    return qf_buf_append(&f->in, data, len, err);
}

const char *qmp_quote(const char *text, size_t len, char *out)
{
    size_t n = 0;
    while (n < len && n < QMP_QUOTE_MAX && text[n] != '\r' && text[n] != '\n') {
        const char c = text[n];
        out[n++] = c >= ' ' && c <= '~' ? c : '.';
    }
    out[n] = '\0';
    return out;
}

static int not_qmp(const struct qmp_frame *f, struct qf_err *err)
{
    char quote[QMP_QUOTE_MAX + 1];
    return qf_fail(err, QF_E_PROTO, "this is not a QMP monitor: it says '%s'",
                   qmp_quote(f->in.data + f->start, f->in.len - f->start, quote));
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Inside a string: only its end matters, and what a backslash hides. */
static void scan_string(struct qmp_frame *f, char c)
{
    if (f->escaped)
        f->escaped = false;
    else if (c == '\\')
        f->escaped = true;
    else if (c == '"')
        f->in_string = false;
}

int qmp_frame_next(struct qmp_frame *f, const char **text, size_t *len, struct qf_err *err)
{
    pass_given(f);
    for (; f->scanned < f->in.len; f->scanned++) {
        const char c = f->in.data[f->scanned];
        if (f->depth == 0) {
            f->start = f->scanned;
            if (is_space(c))
                continue;
            if (c != '{')
                return not_qmp(f, err);
        }
        if (f->scanned - f->start >= f->cap)
            return qf_fail(err, QF_E_PROTO, "a message is longer than %zu bytes", f->cap);
        if (f->in_string) {
            scan_string(f, c);
        } else if (c == '"') {
            f->in_string = true;
        } else if (c == '{' || c == '[') {
            if (f->depth == QMP_DEPTH_MAX)
                return qf_fail(err, QF_E_PROTO, "a message is nested deeper than %d",
                               QMP_DEPTH_MAX);
            f->depth++;
        } else if ((c == '}' || c == ']') && --f->depth == 0) {
            f->scanned++;
            f->given = f->scanned - f->start;
            *text = f->in.data + f->start;
            *len = f->given;
            return 1;
        }
    }
    if (f->depth == 0)
        f->start = f->scanned;
    return 0;
}

size_t qmp_frame_pending(const struct qmp_frame *f)
{
    return f->depth > 0 ? f->in.len - f->start : 0;
}

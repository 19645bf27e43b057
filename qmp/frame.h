/* Bytes from a QMP monitor -> the texts of single JSON objects.
 *
 * QMP is a stream of JSON objects, not of lines: a monitor with pretty=on spreads one object
 * over many lines, several may share a line, a read may end anywhere. So objects are found by
 * their braces, outside of strings. Nothing is parsed here beyond that: `{]` is an object to
 * the frame, and the JSON parser's to refuse.
 * (QEMU docs/interop/qmp-spec; both forms seen from 7.2 and 11.1.)
 *
 * Data. Used by qmp/client.c and by qmp/server.c, the other end of the same wire. */
#ifndef QF_QMP_FRAME_H
#define QF_QMP_FRAME_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"

enum {
    /* The largest message accepted. query-qmp-schema is 207 KB in 7.2, query-rx-filter with all
     * VLANs larger still; a monitor that sends more than this is not one. */
    QMP_MESSAGE_MAX = 16 * 1024 * 1024,
    QMP_DEPTH_MAX = 1024, /* QEMU's own nesting limit: the 1025th is refused */
    QMP_QUOTE_MAX = 48    /* characters of a strange peer's text that a sentence quotes */
};

struct qmp_frame {
    struct qf_buf in;
    size_t cap;     /* the longest message */
    size_t start;   /* where the current object begins, or will begin */
    size_t scanned; /* bytes of in that were looked at; start <= scanned <= in.len */
    size_t given;   /* bytes of the object returned last, passed over at the next call */
    unsigned depth;
    bool in_string;
    bool escaped;
};

/* cap in bytes: the longest message; QMP_MESSAGE_MAX outside of tests. */
void qmp_frame_init(struct qmp_frame *f, size_t cap);
void qmp_frame_fini(struct qmp_frame *f); /* safe on a zeroed struct */

/* Take bytes in; they are copied. Any number of messages may come at once, but call
 * qmp_frame_next until it has no more before the next feed: bytes are refused (QF_E_PROTO) while
 * more than a cap of earlier ones is unread. QF_E_NOMEM: nothing was taken. */
int qmp_frame_feed(struct qmp_frame *f, const void *data, size_t len, struct qf_err *err);

/* The next whole object: 1 and *text, *len, lent until the next call on f; 0 when more bytes are
 * needed; QF_E_PROTO (negative) when what came cannot be QMP: text outside of an object (the
 * sentence quotes its beginning, printable characters only), nesting beyond QMP_DEPTH_MAX, a
 * message longer than the cap. The same again at every later call. White space between objects
 * is passed over. */
int qmp_frame_next(struct qmp_frame *f, const char **text, size_t *len, struct qf_err *err);

/* Bytes of an object that began and did not end. White space does not count. */
size_t qmp_frame_pending(const struct qmp_frame *f);

/* The beginning of what a peer said, for a sentence: printable ASCII only ('.' for the rest), up
 * to the end of its line and QMP_QUOTE_MAX characters. out holds QMP_QUOTE_MAX + 1. Returns out. */
const char *qmp_quote(const char *text, size_t len, char *out);

#endif

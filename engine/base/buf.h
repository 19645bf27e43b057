/* Bytes that grow up to a cap. What the frame parser and the outgoing queue of a link are made
 * of. Data, not core: it allocates. */
#ifndef QF_ENGINE_BASE_BUF_H
#define QF_ENGINE_BASE_BUF_H

#include <stddef.h>

#include "engine/base/err.h"

struct qf_buf {
    char *data;  /* owned; not NUL-terminated */
    size_t len;  /* bytes that count */
    size_t room; /* bytes allocated */
    size_t cap;  /* room never exceeds this */
};

/* An empty buffer; allocates nothing. cap in bytes. */
void qf_buf_init(struct qf_buf *b, size_t cap);

/* Free; b is empty again and may be used or left. Safe on a zeroed struct. */
void qf_buf_fini(struct qf_buf *b);

/* Append len bytes. QF_E_NOMEM, or QF_E_PROTO when it would exceed the cap (b is unchanged). */
int qf_buf_append(struct qf_buf *b, const void *data, size_t len, struct qf_err *err);

/* Drop the first len bytes (len <= b->len). Gives memory back when a large buffer ran empty. */
void qf_buf_drop(struct qf_buf *b, size_t len);

#endif

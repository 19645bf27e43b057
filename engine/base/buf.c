#include "engine/base/buf.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROOM_FIRST = 1024,
    ROOM_KEPT = 64 * 1024 /* an empty buffer larger than this is freed */
};

void qf_buf_init(struct qf_buf *b, size_t cap)
{
    *b = (struct qf_buf){.cap = cap};
}

void qf_buf_fini(struct qf_buf *b)
{
    free(b->data);
    qf_buf_init(b, b->cap);
}

int qf_buf_append(struct qf_buf *b, const void *data, size_t len, struct qf_err *err)
{
    if (len == 0)
        return 0;
    if (len > b->cap - b->len)
        return qf_fail(err, QF_E_PROTO, "more than %zu bytes without an end", b->cap);
    if (len > b->room - b->len) {
        size_t room = b->room ? b->room : ROOM_FIRST;
        while (room < b->len + len)
            room = room > b->cap / 2 ? b->cap : room * 2;
        if (room > b->cap)
            room = b->cap;
        char *grown = realloc(b->data, room);
        if (!grown)
            return qf_fail(err, QF_E_NOMEM, "no memory for %zu bytes", room);
        b->data = grown;
        b->room = room;
    }
    memcpy(b->data + b->len, data, len);
    b->len += len;
    return 0;
}

void qf_buf_drop(struct qf_buf *b, size_t len)
{
    assert(len <= b->len);
    b->len -= len;
    if (b->len > 0)
        memmove(b->data, b->data + len, b->len);
    else if (b->room > ROOM_KEPT)
        qf_buf_fini(b);
}

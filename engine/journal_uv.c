#include "engine/journal_uv.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { LINES_CAP = 64 * 1024 * 1024 };

void journal_file_init(struct journal_file *j,
                       uv_loop_t *loop,
                       int fd,
                       const struct journal_file_ops *ops,
                       void *arg)
{
    memset(j, 0, sizeof(*j));
    j->ops = ops;
    j->arg = arg;
    j->loop = loop;
    j->fd = fd;
    qf_buf_init(&j->lines, LINES_CAP);
}

void journal_file_lose(struct journal_file *j, int error)
{
    struct qf_err err;
    if (j->fd < 0)
        return;
    (void)qf_fail(&err, QF_E_IO, "journal: %s; going on without it", strerror(error));
    if (!j->syncing) /* or the thread still holds the descriptor: it is closed afterwards */
        (void)close(j->fd);
    j->fd = -1;
    j->ops->on_lost(j, &err, j->arg);
}

void journal_file_append(struct journal_file *j, const char *line)
{
    if (j->fd >= 0 && qf_buf_append(&j->lines, line, strlen(line), NULL) != 0)
        journal_file_lose(j, ENOMEM);
}

void journal_file_write(struct journal_file *j)
{
    size_t at = 0;
    while (j->fd >= 0 && at < j->lines.len) {
        const ssize_t n = write(j->fd, j->lines.data + at, j->lines.len - at);
        if (n > 0)
            at += (size_t)n;
        else if (n < 0 && errno != EINTR)
            journal_file_lose(j, errno);
    }
    qf_buf_drop(&j->lines, j->lines.len);
}

static void on_synced(uv_fs_t *req)
{
    struct journal_file *j = req->data;
    const bool failed = req->result < 0;
    uv_fs_req_cleanup(req);
    j->syncing = false;
    if (j->fd < 0)
        (void)close(j->sync_fd); /* lost meanwhile */
    j->ops->on_done(j, true, failed, j->arg);
}

bool journal_file_sync(struct journal_file *j, bool *again)
{
    *again = j->syncing;
    if (j->syncing)
        return true;
    j->sync.data = j;
    j->sync_fd = j->fd;
    if (j->fd < 0 || uv_fs_fdatasync(j->loop, &j->sync, j->fd, on_synced) != 0)
        return false;
    j->syncing = true;
    return true;
}

static void no_work(uv_work_t *req)
{
    (void)req;
}

static void on_warm(uv_work_t *req, int status)
{
    struct journal_file *j = req->data;
    j->ops->on_done(j, false, status != 0, j->arg);
}

bool journal_file_warm(struct journal_file *j)
{
    j->warm.data = j;
    return j->fd >= 0 && uv_queue_work(j->loop, &j->warm, no_work, on_warm) == 0;
}

void journal_file_close(struct journal_file *j)
{
    if (j->fd >= 0)
        (void)close(j->fd);
    j->fd = -1;
    qf_buf_fini(&j->lines);
}

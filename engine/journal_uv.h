/* The journal's file: lines are collected, written with one write before what they announce is done, and
 * put on the disk by libuv's thread. Edge.
 *
 * Once it cannot be written it is given up, and everything here does nothing any more. write(2) is
 * not asynchronous: a journal on a file system that hangs holds up the loop. */
#ifndef QF_ENGINE_JOURNAL_UV_H
#define QF_ENGINE_JOURNAL_UV_H

#include <stdbool.h>
#include <uv.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"

struct journal_file;

struct journal_file_ops {
    /* It cannot be written any more. Called by whichever function finds out. */
    void (*on_lost)(struct journal_file *j, const struct qf_err *err, void *arg);
    /* What was begun has ended (journal_file_sync, journal_file_warm); synced: it was a sync. From the
     * loop. */
    void (*on_done)(struct journal_file *j, bool synced, bool failed, void *arg);
};

struct journal_file {
    /* Private. */
    const struct journal_file_ops *ops;
    void *arg;
    uv_loop_t *loop;
    int fd; /* -1: none, or given up */
    struct qf_buf lines;
    uv_work_t warm;
    uv_fs_t sync;
    int sync_fd; /* what the sync under way works on */
    bool syncing;
};

/* fd: an open file, taken over by journal_file_close; -1: none. */
void journal_file_init(struct journal_file *j,
                       uv_loop_t *loop,
                       int fd,
                       const struct journal_file_ops *ops,
                       void *arg);

/* Another line, with its newline; lent. */
void journal_file_append(struct journal_file *j, const char *line);

/* Write what was appended. */
void journal_file_write(struct journal_file *j);

/* Give it up: errno's error. */
void journal_file_lose(struct journal_file *j, int error);

/* Put it on the disk. True: on_done comes, unless a sync was under way already (then *again is true,
 * and the one on_done is for both). False: there is nothing to be synced. */
bool journal_file_sync(struct journal_file *j, bool *again);

/* libuv starts its threads with the first work that it gets, and waits for them: better now than when
 * the guest is stopped. True: on_done comes. */
bool journal_file_warm(struct journal_file *j);

/* Close it; nothing that was begun may be open still. Safe to call again. */
void journal_file_close(struct journal_file *j);

#endif

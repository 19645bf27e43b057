#include "engine/memory_uv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "engine/base/units.h"
#include "engine/journal_memory.h"

static const char aside[] = ".killed";

void memory_boot(char boot[40])
{
    const int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, boot, 39) : 0;
    if (fd >= 0)
        (void)close(fd);
    while (n > 0 && boot[n - 1] == '\n')
        n--;
    boot[n > 0 ? n : 0] = '\0';
}

bool memory_lock(int fd)
{
    return flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

static struct journal_clock clock_now(void)
{
    struct journal_clock c;
    uv_timeval64_t tv;
    memset(&c, 0, sizeof(c));
    c.t0_ns = (int64_t)uv_hrtime();
    c.wall_ms = uv_gettimeofday(&tv) == 0 ? tv.tv_sec * 1000 + tv.tv_usec / 1000 : 0;
    memory_boot(c.boot);
    return c;
}

/* At most size bytes from there; how many there were. */
static size_t read_at(int fd, char *buf, size_t size, off_t at)
{
    size_t n = 0;
    while (n < size) {
        const ssize_t k = pread(fd, buf + n, size - n, at + (off_t)n);
        if (k > 0)
            n += (size_t)k;
        else if (k == 0 || errno != EINTR)
            break;
    }
    return n;
}

/* Its qferry lives: it is no memory, and its monitors are not free either. */
static bool is_alive(int fd)
{
    if (flock(fd, LOCK_SH | LOCK_NB) != 0)
        return errno == EWOULDBLOCK;
    (void)flock(fd, LOCK_UN);
    return false;
}

static enum journal_remains recall(int fd,
                                   const struct mig_spec *spec,
                                   struct memory_found *out,
                                   struct qf_err *err)
{
    const struct journal_clock now = clock_now();
    struct stat st;
    enum journal_remains remains = JOURNAL_FOREIGN;
    char *head = malloc(JOURNAL_HEAD_BYTES + JOURNAL_TAIL_BYTES);
    (void)qf_fail(err, QF_E_IO, "it cannot be read");
    const size_t head_len = head ? read_at(fd, head, JOURNAL_HEAD_BYTES, 0) : 0;
    if (journal_is_of_another(head, head_len, spec->source)) {
        remains = JOURNAL_NOTHING;
    } else if (head && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        char *tail = head + JOURNAL_HEAD_BYTES;
        const off_t from =
            st.st_size > JOURNAL_TAIL_BYTES ? st.st_size - JOURNAL_TAIL_BYTES : 0;
        const struct journal_ends ends = {
            .head = head,
            .head_len = head_len,
            .tail = tail,
            .tail_len = read_at(fd, tail, JOURNAL_TAIL_BYTES, from),
        };
        remains = is_alive(fd) ? JOURNAL_NOTHING
                               : journal_recall(&ends, spec->source, spec->destination,
                                                &now, &out->memory, &out->given, err);
    }
    free(head);
    return remains;
}

/* A pipe or a device has no memory, and would be waited for. */
static int open_file(int dir, const char *name)
{
    return openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

static enum journal_remains look_into(int dir,
                                      const char *name,
                                      const struct mig_spec *spec,
                                      struct memory_found *out,
                                      struct qf_err *err)
{
    const int fd = open_file(dir, name);
    if (fd < 0)
        return JOURNAL_NOTHING;
    const enum journal_remains remains = recall(fd, spec, out, err);
    (void)close(fd);
    out->found = remains == JOURNAL_MEMORY;
    return remains;
}

void memory_of_file(const char *path, const struct mig_spec *spec, struct memory_found *out)
{
    struct qf_err err;
    struct stat st;
    char other[MEMORY_PATH_MAX];
    memset(out, 0, sizeof(*out));
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return;
    (void)snprintf(out->path, sizeof(out->path), "%s", path);
    enum journal_remains remains = JOURNAL_NOTHING;
    if (stat(path, &st) == 0 && st.st_size > 0)
        remains = look_into(AT_FDCWD, path, spec, out, &err);
    out->over = remains == JOURNAL_OVER;
    if (remains == JOURNAL_FOREIGN)
        (void)snprintf(out->note, sizeof(out->note), "%.200s: %.200s", path, err.text);
    if (remains != JOURNAL_NOTHING ||
        (size_t)snprintf(other, sizeof(other), "%s%s", path, aside) >= sizeof(other))
        return;
    if (look_into(AT_FDCWD, other, spec, out, &err) == JOURNAL_MEMORY)
        memcpy(out->path, other, sizeof(other));
}

int memory_put_aside(const char *path, struct qf_err *err)
{
    char other[MEMORY_PATH_MAX];
    if ((size_t)snprintf(other, sizeof(other), "%s%s", path, aside) < sizeof(other) &&
        rename(path, other) == 0)
        return 0;
    return qf_fail(err, QF_E_USAGE,
                   "--journal: %s holds what is known of a move that is to be "
                   "taken up, and cannot be renamed: %s",
                   path, strerror(errno));
}

void memory_forget_aside(const char *path)
{
    char other[MEMORY_PATH_MAX];
    if ((size_t)snprintf(other, sizeof(other), "%s%s", path, aside) < sizeof(other))
        (void)unlink(other);
}

/* ---- a folder ---- */

static int is_journal(const struct dirent *e)
{
    const size_t n = strlen(e->d_name);
    return n > 6 && strcmp(e->d_name + n - 6, ".jsonl") == 0;
}

/* Names begin with the time at which they were begun: the newest first. */
static int by_age(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*b)->d_name, (*a)->d_name);
}

void memory_of_folder(const char *dir,
                      const struct mig_spec *spec,
                      struct memory_found *out)
{
    struct dirent **list;
    struct qf_err err;
    bool done = false;
    memset(out, 0, sizeof(*out));
    const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    const int n = scandir(dir, &list, is_journal, by_age);
    for (int i = 0; i < n; i++) {
        if (!done && i < MEMORY_FILES_MAX) {
            const enum journal_remains r = look_into(fd, list[i]->d_name, spec, out, &err);
            done = r == JOURNAL_MEMORY || r == JOURNAL_OVER;
            if (out->found)
                (void)snprintf(out->path, sizeof(out->path), "%s/%s", dir, list[i]->d_name);
        }
        free(list[i]);
    }
    if (n >= 0)
        free(list);
    (void)close(fd);
}

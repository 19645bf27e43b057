/* What can fail: there is no place for it, or it is not ours alone; said to the caller. Whatever
 * cannot be removed stays for the next one. */
#include "qmp/rundir_uv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BASE_SIZE = QMP_RUNDIR_BASE };

static const char *const prefixes[] = {"ssh-", "tls-"};

/* Where the folders are. False: that is no place for a socket. */
static bool name_base(char base[BASE_SIZE])
{
    const char *own = getenv("QFERRY_RUN_DIR");
    const char *run = getenv("RUNTIME_DIRECTORY"); /* systemd.exec(5) */
    const char *xdg = getenv("XDG_RUNTIME_DIR");
    int n;
    if (own && own[0] == '/')
        n = snprintf(base, BASE_SIZE, "%s", own);
    else if (run && run[0] == '/' && !strchr(run, ':'))
        n = snprintf(base, BASE_SIZE, "%s", run);
    else if (geteuid() == 0)
        n = snprintf(base, BASE_SIZE, "/run/qferry");
    else if (xdg && xdg[0] == '/')
        n = snprintf(base, BASE_SIZE, "%s/qferry", xdg);
    else
        n = snprintf(base, BASE_SIZE, "/tmp/qferry-%lu", (unsigned long)geteuid());
    return n < BASE_SIZE && !strpbrk(base, ":%$\\\"");
}

static int make_base(char base[BASE_SIZE], struct qf_err *err)
{
    struct stat st;
    if (!name_base(base))
        return qf_fail(err, QF_E_UNREACHABLE,
                       "the runtime directory is no place for a socket: %s", base);
    if (mkdir(base, 0700) != 0 && errno != EEXIST)
        return qf_fail(err, QF_E_UNREACHABLE, "%s: %s", base, strerror(errno));
    if (lstat(base, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_mode & S_IWOTH) != 0)
        return qf_fail(err, QF_E_UNREACHABLE,
                       "%s: not a folder that is ours alone, as a socket needs it", base);
    return 0;
}

int qmp_rundir_base(char out[QMP_RUNDIR_BASE], struct qf_err *err)
{
    return make_base(out, err);
}

static void remove_folder(const char *path, int fd)
{
    const int other = dup(fd); /* fdopendir keeps what it is given */
    DIR *all = other >= 0 ? fdopendir(other) : NULL;
    const struct dirent *entry;
    if (all) /* the place in it is shared with fd */
        rewinddir(all);
    while (all && (entry = readdir(all)) != NULL)
        (void)unlinkat(fd, entry->d_name, 0); /* "." and ".." refuse */
    if (all)
        (void)closedir(all);
    (void)rmdir(path);
}

static bool is_ours(const char *name)
{
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

/* ---- who needs it ---- */

static const char need_file[] = "for";

struct qmp_rundir_user qmp_rundir_user_of(pid_t pid)
{
    struct qmp_rundir_user u = {.pid = 0};
    char path[64];
    char line[1024];
    char state;
    (void)snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
    FILE *file = pid > 0 ? fopen(path, "re") : NULL;
    if (!file)
        return u;
    const char *end = fgets(line, sizeof(line), file) ? strrchr(line, ')') : NULL;
    if (end &&
        sscanf(
            end + 1,
            " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d "
            "%llu",
            &state, &u.start) == 2 &&
        state != 'Z' && state != 'X')
        u.pid = pid;
    (void)fclose(file);
    return u;
}

static bool is_same(const struct qmp_rundir_user *a, const struct qmp_rundir_user *b)
{
    return a->pid != 0 && a->pid == b->pid && a->start == b->start;
}

static bool read_need(int fd, struct qmp_rundir_user *u)
{
    char text[64];
    long pid;
    const int file = openat(fd, need_file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    const ssize_t n = file >= 0 ? read(file, text, sizeof(text) - 1) : -1;
    if (file >= 0)
        (void)close(file);
    if (n <= 0)
        return false;
    text[n] = '\0';
    if (sscanf(text, "%ld %llu", &pid, &u->start) != 2 || pid <= 0)
        return false;
    u->pid = (pid_t)pid;
    return true;
}

/* By another one than those that need nothing any more. */
static bool is_needed(int fd, const struct qmp_rundir_user *users, size_t n)
{
    struct qmp_rundir_user u;
    if (!read_need(fd, &u))
        return false;
    for (size_t i = 0; i < n; i++)
        if (is_same(&u, &users[i]))
            return false;
    const struct qmp_rundir_user now = qmp_rundir_user_of(u.pid);
    return is_same(&u, &now);
}

int qmp_rundir_need(const struct qmp_rundir *d,
                    const struct qmp_rundir_user *user,
                    struct qf_err *err)
{
    char text[64];
    if (user->pid == 0)
        return 0;
    const int n = snprintf(text, sizeof(text), "%ld %llu\n", (long)user->pid, user->start);
    return qmp_rundir_write(d, need_file, text, (size_t)n, err);
}

static void sweep(const char *base, const struct qmp_rundir_user *users, size_t n)
{
    DIR *all = opendir(base);
    const struct dirent *entry;
    char dir[BASE_SIZE + 256];
    while (all && (entry = readdir(all)) != NULL) {
        if (!is_ours(entry->d_name) ||
            (size_t)snprintf(dir, sizeof(dir), "%s/%s", base, entry->d_name) >= sizeof(dir))
            continue;
        const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
            continue;
        if (flock(fd, LOCK_EX | LOCK_NB) == 0 && !is_needed(fd, users, n))
            remove_folder(dir, fd);
        (void)close(fd);
    }
    if (all)
        (void)closedir(all);
}

void qmp_rundir_sweep_of(const struct qmp_rundir_user *users, size_t n)
{
    char base[BASE_SIZE];
    struct stat st;
    if (name_base(base) && lstat(base, &st) == 0 && S_ISDIR(st.st_mode) &&
        st.st_uid == geteuid() && (st.st_mode & S_IWOTH) == 0)
        sweep(base, users, n);
}

void qmp_rundir_sweep(void)
{
    qmp_rundir_sweep_of(NULL, 0);
}

/* Another qferry may take the folder for a left one before it has its lock: then again. */
int qmp_rundir_make(struct qmp_rundir *d, const char *prefix, struct qf_err *err)
{
    char base[BASE_SIZE];
    struct stat st;
    d->lock = -1;
    if (make_base(base, err) != 0)
        return -(int)err->code;
    sweep(base, NULL, 0);
    for (int tries = 0; tries < 10; tries++) {
        (void)snprintf(d->path, sizeof(d->path), "%s/%sXXXXXX", base, prefix);
        if (!mkdtemp(d->path))
            return qf_fail(err, QF_E_UNREACHABLE, "%s: %s", base, strerror(errno));
        d->lock = open(d->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (d->lock >= 0 && flock(d->lock, LOCK_EX | LOCK_NB) == 0 &&
            lstat(d->path, &st) == 0)
            return 0;
        if (d->lock >= 0)
            (void)close(d->lock);
        d->lock = -1;
        (void)rmdir(d->path);
    }
    return qf_fail(err, QF_E_UNREACHABLE, "%s: cannot make a folder that stays", base);
}

int qmp_rundir_write(const struct qmp_rundir *d,
                     const char *name,
                     const char *text,
                     size_t len,
                     struct qf_err *err)
{
    size_t at = 0;
    const int fd = openat(d->lock, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    while (fd >= 0 && at < len) {
        const ssize_t n = write(fd, text + at, len - at);
        if (n > 0)
            at += (size_t)n;
        else if (n < 0 && errno != EINTR)
            break;
    }
    const int error = errno;
    if (fd >= 0 && close(fd) == 0 && at == len)
        return 0;
    return qf_fail(err, QF_E_UNREACHABLE, "%s/%s: %s", d->path, name, strerror(error));
}

/* Who is given a folder must be able to come to it. */
static int open_way(const char *path)
{
    char base[QMP_RUNDIR_PATH];
    struct stat st;
    (void)snprintf(base, sizeof(base), "%s", path);
    char *const last = strrchr(base, '/');
    if (last)
        *last = '\0';
    if (lstat(base, &st) != 0)
        return -1;
    return (st.st_mode & S_IXOTH) ? 0 : chmod(base, (st.st_mode & 07777) | 0111);
}

int qmp_rundir_give(const struct qmp_rundir *d, uid_t uid, gid_t gid, struct qf_err *err)
{
    if (uid == geteuid() || uid == 0)
        return 0;
    if (geteuid() != 0)
        return qf_fail(
            err, QF_E_UNREACHABLE,
            "user %lu cannot be given a file: run qferry as root or as that user",
            (unsigned long)uid);
    const int other = dup(d->lock);
    DIR *all = other >= 0 ? fdopendir(other) : NULL;
    const struct dirent *entry;
    int rc = all ? open_way(d->path) : -1;
    if (all)
        rewinddir(all);
    while (rc == 0 && (entry = readdir(all)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            rc = fchownat(d->lock, entry->d_name, uid, gid, AT_SYMLINK_NOFOLLOW);
    if (rc == 0) /* last: until here nobody else could put anything in it */
        rc = fchown(d->lock, uid, gid);
    const int error = errno;
    if (all)
        (void)closedir(all);
    return rc == 0 ? 0 : qf_fail(err, QF_E_UNREACHABLE, "%s: %s", d->path, strerror(error));
}

void qmp_rundir_drop(struct qmp_rundir *d)
{
    if (d->lock < 0)
        return;
    remove_folder(d->path, d->lock);
    (void)close(d->lock);
    d->lock = -1;
}

void qmp_rundir_leave(struct qmp_rundir *d)
{
    if (d->lock >= 0)
        (void)close(d->lock);
    d->lock = -1;
}

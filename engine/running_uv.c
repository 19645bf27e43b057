/* Happy path:
 *   running_take   the file is opened, locked, found to be the one that has the name, and written
 *   running_use    written again
 *   running_look   every file that is locked and not ours is read
 *   running_drop   its name goes, then the lock
 *
 * What can fail, and what becomes of it:
 *   no runtime directory, no file         QF_E_IO
 *   another process holds the lock        QF_E_UNREACHABLE, with what its file says
 *   ... and has not written its file yet  looked at again for a second
 *   the file lost its name meanwhile      the next one of that name is tried
 *   takeover: no right to end it          QF_E_UNREACHABLE
 *   takeover: it does not end             the same, after ten seconds
 *   a file cannot be written or read      it says nothing; the lock counts all the same
 *   qferry is killed                      the lock is gone; the file goes with the next qferry */
#include "engine/running_uv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/sha.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "engine/journal.h"
#include "qmp/rundir_uv.h"

enum {
    FILE_BYTES = 4096, /* always the same, so that one write takes the place of another */
    HASH_BYTES = 16,
    ENDS_MS = 10000, /* the other process must have ended */
    SAYS_MS = 1000,  /* ... must have said who it is */
    LOOK_MS = 10
};

static const char prefix[] = "move-";

/* What a file says. */
struct holder {
    struct qmp_rundir_user user; /* pid 0: not known, or not a process that can be seen */
    int64_t begin_ms;
    char net[32]; /* its network namespace */
    char source[SPEC_TEXT_MAX];
    char control[SPEC_TEXT_MAX];
    struct mig_use use;
};

static int64_t now_ms(void)
{
    return (int64_t)(uv_hrtime() / 1000000U);
}

static void nap(void)
{
    const struct timespec t = {.tv_nsec = LOOK_MS * 1000000L};
    (void)nanosleep(&t, NULL);
}

/* ---- names ---- */

/* A path as it is for everybody: what is last in it may not be there, or is a socket by whatever
 * name it is called. */
static void put_path(char *out, size_t size, const char *path)
{
    char folder[QMP_ADDR_MAX];
    const char *last = strrchr(path, '/');
    (void)snprintf(folder, sizeof(folder), "%.*s", last ? (int)(last - path) + 1 : 1,
                   last ? path : ".");
    char *real = realpath(folder, NULL);
    (void)snprintf(out, size, "%s/%s", real && strcmp(real, "/") != 0 ? real : "",
                   last ? last + 1 : path);
    free(real);
}

static void name_file(const struct qmp_addr *source,
                      const char *base,
                      char path[RUNNING_PATH])
{
    char key[RUNNING_KEY];
    unsigned char hash[SHA256_DIGEST_LENGTH];
    int n = 0;
    if (source->kind == QMP_ADDR_UNIX)
        put_path(key, sizeof(key), source->path);
    else
        (void)qmp_addr_format(source, key);
    (void)SHA256((const unsigned char *)key, strlen(key), hash);
    n = snprintf(path, RUNNING_PATH, "%s/%s", base, prefix);
    for (unsigned i = 0; i < HASH_BYTES; i++)
        n += snprintf(path + n, RUNNING_PATH - (size_t)n, "%02x", hash[i]);
}

static void name_net(char out[32])
{
    struct stat st;
    out[0] = '\0';
    if (stat("/proc/self/ns/net", &st) == 0)
        (void)snprintf(out, 32, "%llu", (unsigned long long)st.st_ino);
}

/* ---- locks ---- */

static bool lock(int fd)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_SETLK, &l) == 0;
}

static bool is_locked(int fd)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

/* Is this the file of that name still? */
static bool has_name(int fd, const char *path)
{
    struct stat a;
    struct stat b;
    return fstat(fd, &a) == 0 && lstat(path, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

/* ---- what is in a file ---- */

static void write_file(const struct running *r)
{
    const struct qmp_rundir_user me = qmp_rundir_user_of(getpid());
    char text[FILE_BYTES + 1];
    char net[32];
    name_net(net);
    json_t *o = json_object();
    journal_put(o, "pid", json_integer((json_int_t)me.pid));
    journal_put(o, "start", json_integer((json_int_t)me.start));
    journal_put(o, "begin", json_integer((json_int_t)r->begin_ms));
    journal_put_text(o, "source", r->source);
    journal_put_text(o, "destination", r->destination);
    journal_put_text(o, "control", r->control);
    journal_put_text(o, "net", net);
    journal_put_text(o, "interface", r->use.interface);
    journal_put_text(o, "network", r->use.network);
    const size_t n = o ? json_dumpb(o, text, FILE_BYTES, JSON_COMPACT) : 0;
    json_decref(o);
    if (n == 0 || n >= FILE_BYTES)
        return;
    memset(text + n, ' ', FILE_BYTES - n);
    text[FILE_BYTES - 1] = '\n';
    (void)!pwrite(r->fd, text, FILE_BYTES, 0);
}

static void get(const json_t *o, const char *key, char *out, size_t size)
{
    const char *text = json_string_value(json_object_get(o, key));
    (void)snprintf(out, size, "%s", text ? text : "");
}

static void read_file(int fd, struct holder *h)
{
    char text[FILE_BYTES];
    memset(h, 0, sizeof(*h));
    const ssize_t n = pread(fd, text, sizeof(text), 0);
    json_t *o = n > 0 ? json_loadb(text, (size_t)n, 0, NULL) : NULL;
    const json_int_t pid = json_integer_value(json_object_get(o, "pid"));
    if (pid > 0 && pid <= INT32_MAX) {
        h->user = qmp_rundir_user_of((pid_t)pid);
        if (h->user.start !=
            (unsigned long long)json_integer_value(json_object_get(o, "start")))
            h->user.pid = 0;
    }
    h->begin_ms = json_integer_value(json_object_get(o, "begin"));
    get(o, "net", h->net, sizeof(h->net));
    get(o, "source", h->source, sizeof(h->source));
    get(o, "control", h->control, sizeof(h->control));
    get(o, "interface", h->use.interface, sizeof(h->use.interface));
    get(o, "network", h->use.network, sizeof(h->use.network));
    json_decref(o);
}

/* ---- the other process ---- */

static void say_since(int64_t unix_ms, char out[32])
{
    const time_t t = (time_t)(unix_ms / 1000);
    struct tm tm;
    if (unix_ms <= 0 || !gmtime_r(&t, &tm) ||
        strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        (void)snprintf(out, 32, "an unknown time");
}

static int refuse(const struct running_wish *wish,
                  const struct holder *h,
                  struct qf_err *err)
{
    char since[32];
    say_since(h->begin_ms, since);
    if (h->user.pid == 0)
        return qf_fail(err, QF_E_UNREACHABLE,
                       "source: %s: another qferry moves this VM, and its process cannot "
                       "be seen from here (another container?): nothing was touched",
                       wish->spec->source);
    if (h->user.pid == getpid())
        return qf_fail(err, QF_E_UNREACHABLE,
                       "source: %s: this process moves this VM already, since %s",
                       wish->spec->source, since);
    if (h->control[0] != '\0')
        return qf_fail(
            err, QF_E_UNREACHABLE,
            "source: %s: another qferry, process %ld, has been moving this VM "
            "since %s; qferry status --control %.100s tells how far it is; if it "
            "hangs, --takeover ends it and takes the move over",
            wish->spec->source, (long)h->user.pid, since, h->control);
    return qf_fail(
        err, QF_E_UNREACHABLE,
        "source: %s: another qferry, process %ld, has been moving this VM since "
        "%s; wait for it, or, if it hangs, --takeover ends it and takes the move "
        "over",
        wish->spec->source, (long)h->user.pid, since);
}

static int open_process(pid_t pid)
{
#ifdef SYS_pidfd_open
    return (int)syscall(SYS_pidfd_open, pid, 0U); /* since Linux 5.3 */
#else
    (void)pid;
    return -1;
#endif
}

static int signal_process(pid_t pid, int process)
{
#ifdef SYS_pidfd_send_signal
    if (process >= 0)
        return (int)syscall(SYS_pidfd_send_signal, process, SIGKILL, NULL, 0U);
#else
    (void)process;
#endif
    return kill(pid, SIGKILL);
}

/* Whoever crashes leaves a move that can be taken up, so SIGKILL does no harm; a SIGTERM would be a
 * cancel, and a stopped process does not hear it. The descriptor is had before the process is
 * looked at again: a number may go to another one in between. */
static int kill_holder(const struct running_wish *wish,
                       const struct holder *h,
                       struct qf_err *err)
{
    const int process = open_process(h->user.pid);
    const struct qmp_rundir_user now = qmp_rundir_user_of(h->user.pid);
    int rc = 0;
    if (now.pid != 0 && now.start == h->user.start &&
        signal_process(h->user.pid, process) != 0 && errno != ESRCH)
        rc = qf_fail(err, QF_E_UNREACHABLE,
                     "source: %s: --takeover: process %ld, which moves this VM, cannot be "
                     "ended: %s",
                     wish->spec->source, (long)h->user.pid, strerror(errno));
    if (process >= 0)
        (void)close(process);
    return rc;
}

/* ---- taking it ---- */

enum found { MINE, TAKEN, AGAIN, FAILED };

/* One attempt. TAKEN: *h says by whom. */
static enum found try_once(struct running *r, struct holder *h)
{
    r->fd = open(r->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (r->fd < 0)
        return FAILED;
    if (lock(r->fd)) {
        if (has_name(r->fd, r->path))
            return MINE;
        (void)close(r->fd);
        return AGAIN;
    }
    const bool held = errno == EAGAIN || errno == EACCES;
    const int error = errno;
    read_file(r->fd, h);
    (void)close(r->fd);
    errno = error;
    return held ? TAKEN : FAILED;
}

static int take(struct running *r,
                const struct running_wish *wish,
                pid_t *ended,
                struct qf_err *err)
{
    const int64_t t0 = now_ms();
    int64_t killed = 0;
    for (;; nap()) {
        struct holder h;
        switch (try_once(r, &h)) {
        case MINE:
            return 0;
        case FAILED:
            return qf_fail(err, QF_E_IO, "%s: %s", r->path, strerror(errno));
        case AGAIN:
            break;
        case TAKEN:
            if (killed != 0 && now_ms() - killed > ENDS_MS)
                return qf_fail(
                    err, QF_E_UNREACHABLE,
                    "source: %s: --takeover: process %ld was killed and does not "
                    "end within %d s: it hangs in the kernel, see ps(1), or "
                    "another one has taken its place",
                    wish->spec->source, (long)*ended, ENDS_MS / 1000);
            /* who holds it is about to say so, or has just ended */
            if (h.user.pid == 0 && now_ms() - t0 < SAYS_MS)
                break;
            if (killed != 0)
                break;
            if (!wish->takeover || h.user.pid == 0 || h.user.pid == getpid())
                return refuse(wish, &h, err);
            if (kill_holder(wish, &h, err) != 0)
                return -(int)err->code;
            killed = now_ms();
            *ended = h.user.pid;
            break;
        }
    }
}

/* What killed qferrys have left. */
static void sweep(const char *base)
{
    DIR *all = opendir(base);
    const struct dirent *e;
    char path[RUNNING_PATH];
    while (all && (e = readdir(all)) != NULL) {
        if (strncmp(e->d_name, prefix, sizeof(prefix) - 1) != 0 ||
            (size_t)snprintf(path, sizeof(path), "%s/%s", base, e->d_name) >= sizeof(path))
            continue;
        const int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd >= 0 && lock(fd) && has_name(fd, path))
            (void)unlink(path);
        if (fd >= 0)
            (void)close(fd);
    }
    if (all)
        (void)closedir(all);
}

int running_take(struct running *r,
                 const struct running_wish *wish,
                 pid_t *ended,
                 struct qf_err *err)
{
    char base[QMP_RUNDIR_BASE];
    struct qf_err why;
    struct holder was;
    pid_t none;
    if (!ended)
        ended = &none;
    *ended = 0;
    memset(r, 0, sizeof(*r));
    if (qmp_rundir_base(base, &why) != 0)
        return qf_fail(err, QF_E_IO, "%s", why.text);
    name_file(wish->source, base, r->path);
    if (take(r, wish, ended, err) != 0)
        return -(int)(err ? err->code : QF_E_UNREACHABLE);
    r->held = true;
    /* A move that goes on without a qferry, and is taken up now, still uses its network. */
    read_file(r->fd, &was);
    r->use = was.use;
    memcpy(r->source, wish->spec->source, sizeof(r->source));
    memcpy(r->destination, wish->spec->destination, sizeof(r->destination));
    if (wish->control && strncmp(wish->control, "unix:", 5) == 0)
        put_path(r->control, sizeof(r->control), wish->control + 5);
    else if (wish->control)
        put_path(r->control, sizeof(r->control), wish->control);
    uv_timeval64_t tv;
    r->begin_ms = uv_gettimeofday(&tv) == 0 ? tv.tv_sec * 1000 + tv.tv_usec / 1000 : 0;
    write_file(r);
    sweep(base);
    return 0;
}

void running_use(struct running *r, const struct mig_use *use)
{
    if (!r->held || (strcmp(r->use.interface, use->interface) == 0 &&
                     strcmp(r->use.network, use->network) == 0))
        return;
    r->use = *use;
    write_file(r);
}

void running_drop(struct running *r)
{
    if (!r->held)
        return;
    r->held = false;
    (void)unlink(r->path);
    (void)close(r->fd);
}

/* ---- the others ---- */

static int compare(const void *a, const void *b)
{
    const struct mig_way *x = a;
    const struct mig_way *y = b;
    const int c = strcmp(x->use.interface, y->use.interface);
    return c != 0 ? c : strcmp(x->use.network, y->use.network);
}

static void add(struct mig_others *o, const struct mig_use *use)
{
    for (unsigned i = 0; i < o->n; i++)
        if (strcmp(o->way[i].use.interface, use->interface) == 0 &&
            strcmp(o->way[i].use.network, use->network) == 0) {
            o->way[i].moves++;
            return;
        }
    if (o->n == MIG_OTHERS_MAX)
        return;
    o->way[o->n].use = *use;
    o->way[o->n++].moves = 1;
}

/* Of another network namespace the same names mean something else. */
static void look_at(const char *path, const char *net, struct mig_others *o)
{
    struct holder h;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return;
    if (is_locked(fd)) {
        read_file(fd, &h);
        if (h.use.network[0] != '\0' && strcmp(h.net, net) == 0)
            add(o, &h.use);
    }
    (void)close(fd);
}

bool running_look(struct running *r, struct mig_others *others)
{
    char base[QMP_RUNDIR_BASE];
    char path[RUNNING_PATH];
    char net[32];
    const struct dirent *e;
    memset(others, 0, sizeof(*others));
    name_net(net);
    DIR *all = qmp_rundir_base(base, NULL) == 0 ? opendir(base) : NULL;
    while (all && (e = readdir(all)) != NULL)
        if (strncmp(e->d_name, prefix, sizeof(prefix) - 1) == 0 &&
            (size_t)snprintf(path, sizeof(path), "%s/%s", base, e->d_name) < sizeof(path) &&
            !(r->held && strcmp(path, r->path) == 0))
            look_at(path, net, others);
    if (all)
        (void)closedir(all);
    qsort(others->way, others->n, sizeof(others->way[0]), compare);
    const bool changed = memcmp(others, &r->last, sizeof(*others)) != 0;
    r->last = *others;
    return changed;
}

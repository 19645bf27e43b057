/* How it works: everything that can say something is a file descriptor (monitors, serial lines,
 * pipes, and a pidfd per process). pump_round() polls them all and hands each to its reader, which
 * only stores. Every waiting function is a loop of "do I have it? else another round". */
#include "tests/real/lab_priv.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- time ---- */

int64_t lab_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 * NS_PER_MS + ts.tv_nsec;
}

int64_t deadline_in(int ms)
{
    return lab_now_ns() + (ms > 0 ? ms : LAB_WAIT_MS) * NS_PER_MS;
}

static int ms_until(int64_t deadline_ns)
{
    int64_t left_ms = (deadline_ns - lab_now_ns() + NS_PER_MS - 1) / NS_PER_MS;

    return left_ms < 0 ? 0 : left_ms > INT_MAX ? INT_MAX : (int)left_ms;
}

/* ---- what is watched ---- */

bool hushed;

int fail(const char *who, const char *format, ...)
{
    va_list ap;

    if (hushed) {
        return -1;
    }
    fprintf(stderr, "lab: %s: ", who);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
    return -1;
}

void close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

void watch(struct lab *lab, int fd, void (*ready)(void *, int64_t), void *owner)
{
    if (fd < 0) {
        return;
    }
    lab->polls =
        grow_for_one(lab->polls, lab->n_watches, &lab->room_polls, sizeof(*lab->polls));
    lab->watches = grow_for_one(lab->watches, lab->n_watches, &lab->room_watches,
                                sizeof(*lab->watches));
    lab->polls[lab->n_watches] = (struct pollfd){.fd = fd, .events = POLLIN};
    lab->watches[lab->n_watches] = (struct watch){ready, owner};
    lab->n_watches++;
}

size_t read_some(int *fd, struct text *into)
{
    char bytes[65536];
    ssize_t n;

    if (*fd < 0) {
        return 0;
    }
    n = read(*fd, bytes, sizeof(bytes));
    if (n > 0) {
        text_append(into, bytes, (size_t)n);
        return (size_t)n;
    }
    if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        close_fd(fd);
    }
    return 0;
}

/* ---- signals ---- */

static void read_signal(void *owner, int64_t now_ns)
{
    struct lab *lab = owner;
    struct signalfd_siginfo info;

    (void)now_ns;
    if (read(lab->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        lab->signal = (int)info.ssi_signo;
        lab->signal_from_terminal = info.ssi_code == SI_KERNEL;
        hushed = true;
    }
}

int lab_catch_signals(struct lab *lab)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    lab->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return lab->signal_fd < 0 ? fail("signalfd", "%s", strerror(errno)) : 0;
}

int lab_take_signal(struct lab *lab, bool *from_terminal)
{
    int signal = lab->signal;

    if (from_terminal) {
        *from_terminal = lab->signal_from_terminal;
    }
    lab->signal = 0;
    hushed = false;
    return signal;
}

/* ---- the pump ---- */

void pump_round(struct lab *lab, int timeout_ms)
{
    int64_t now_ns;
    size_t n;

    lab->n_watches = 0;
    watch(lab, lab->signal_fd, read_signal, lab);
    for (struct lab_vm *vm = lab->vms; vm; vm = vm->next) {
        watch(lab, vm->ser_fd, read_serial, vm);
        watch(lab, vm->wit_fd, read_witness, vm);
        watch(lab, vm->child.pidfd, vm_ended, vm);
    }
    for (struct lab_proc *p = lab->procs; p; p = p->next) {
        watch(lab, p->out_fd, read_stdout, p);
        watch(lab, p->err_fd, read_stderr, p);
        watch(lab, p->child.pidfd, proc_ended, p);
    }
    if (poll(lab->polls, lab->n_watches, timeout_ms) <= 0) {
        return;
    }
    /* One stamp for the round: nobody looks later than another only for being read later. */
    now_ns = lab_now_ns();
    n = lab->n_watches;
    for (size_t i = 0; i < n; i++) {
        if (lab->polls[i].revents) {
            lab->watches[i].ready(lab->watches[i].owner, now_ns);
        }
    }
}

bool pump_until(struct lab *lab, int64_t deadline_ns)
{
    if (lab->signal != 0 || lab_now_ns() >= deadline_ns) {
        return false;
    }
    pump_round(lab, ms_until(deadline_ns));
    return true;
}

void lab_pump(struct lab *lab, int ms)
{
    int64_t deadline_ns = lab_now_ns() + ms * NS_PER_MS;

    pump_round(lab, 0);
    while (pump_until(lab, deadline_ns)) {
    }
}

/* ---- the lab ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    (void)remove(path);
    return 0;
}

/* The processes that it was told of; one that has ended is not hurt by a signal to its pidfd. */
static void follow_orders(void)
{
    enum { CHILDREN_MAX = 256 };
    int pidfds[CHILDREN_MAX];
    unsigned n = 0;
    pid_t pid;
    ssize_t got;

    while ((got = read(0, &pid, sizeof(pid))) == (ssize_t)sizeof(pid) ||
           (got < 0 && errno == EINTR)) {
        if (got > 0 && n < CHILDREN_MAX && (pidfds[n] = pidfd_open(pid, 0)) >= 0) {
            n++;
        }
    }
    while (n > 0) {
        (void)pidfd_send_signal(pidfds[--n], SIGKILL, NULL, 0);
    }
}

void tell_janitor(struct lab *lab, pid_t pid)
{
    (void)!write(lab->janitor_fd, &pid, sizeof(pid));
}

/* A process that does nothing but wait for ours to end, and then kills what a change of user keeps
 * from dying with us (prctl(2), PR_SET_PDEATHSIG) and removes the folder: nobody else can after a
 * SIGKILL. In a session of its own, so that Ctrl-C does not reach it. */
static int start_janitor(struct lab *lab)
{
    int pipe_fds[2];
    sigset_t all;
    sigset_t before;

    if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
        return fail("janitor", "pipe: %s", strerror(errno));
    }
    sigfillset(&all); /* it shall not hear a Ctrl-C before it has a session either */
    sigprocmask(SIG_BLOCK, &all, &before);
    lab->janitor = fork();
    if (lab->janitor != 0) {
        sigprocmask(SIG_SETMASK, &before, NULL);
    }
    if (lab->janitor < 0) {
        close(pipe_fds[0]);
        close(pipe_fds[1]);
        return fail("janitor", "fork: %s", strerror(errno));
    }
    if (lab->janitor == 0) {
        setsid();
        dup2(pipe_fds[0], 0);
        close_range(1, UINT_MAX, 0);
        follow_orders();
        nftw(lab->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
        _exit(0);
    }
    close(pipe_fds[0]);
    lab->janitor_fd = pipe_fds[1];
    return 0;
}

struct lab *lab_open(void)
{
    struct lab *lab = grow(NULL, sizeof(*lab));
    const char *tmp = getenv("TMPDIR");

    *lab = (struct lab){.janitor_fd = -1, .signal_fd = -1};
    snprintf(lab->dir, sizeof(lab->dir), "%s/qf-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (strlen(lab->dir) + 32 > sizeof(lab->dir)) {
        fail(lab->dir, "too long for the paths of sockets; set TMPDIR to something short");
        goto err;
    }
    if (!mkdtemp(lab->dir)) {
        fail(lab->dir, "mkdtemp: %s", strerror(errno));
        goto err;
    }
    if (start_janitor(lab) < 0) {
        rmdir(lab->dir);
        goto err;
    }
    return lab;
err:
    free(lab);
    return NULL;
}

void lab_close(struct lab *lab)
{
    if (!lab) {
        return;
    }
    while (lab->procs) {
        struct lab_proc *p = lab->procs;

        lab->procs = p->next;
        free_proc(p);
    }
    while (lab->vms) {
        struct lab_vm *vm = lab->vms;

        lab->vms = vm->next;
        free_vm(vm);
    }
    close_fd(&lab->signal_fd);
    close_fd(&lab->janitor_fd);
    while (waitpid(lab->janitor, NULL, 0) < 0 && errno == EINTR) {
    }
    free(lab->polls);
    free(lab->watches);
    free(lab);
}

const char *lab_dir(const struct lab *lab)
{
    return lab->dir;
}

const char *lab_path(const struct lab *lab, const char *name, char out[LAB_PATH_MAX])
{
    int n = snprintf(out, LAB_PATH_MAX, "%s/%s", lab->dir, name);

    assert(n > 0 && n < LAB_PATH_MAX); /* lab_open() leaves 25 letters for a name */
    (void)n;
    return out;
}

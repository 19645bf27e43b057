/* How it works: everything that can say something is a file descriptor (monitors, serial lines,
 * pipes, and a pidfd per process). pump_round() polls them all and hands each to its reader, which
 * only stores. Every waiting function is a loop of "do I have it? else another round". */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "lab.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef LAB_GUEST_ELF
#define LAB_GUEST_ELF "guest.elf"
#endif

#define NS_PER_MS INT64_C(1000000)

enum {
    ASK_AGAIN_MS = 20,  /* between two queries while waiting for a state */
    DUMP_EVENTS = 20,   /* newest events in lab_vm_dump() */
    RAM_EXTRA_KIB = 8,  /* keeps QEMU 7.2 on the path that loses no writes under TCG */
    EXIT_NOT_RUN = 127, /* as shells say it */
    WITNESS_ERROR_MAX = 512,
};

/* ---- memory and text ---- */

/* Always NUL-terminated once something is in it. */
struct text {
    char *data;
    size_t len;
    size_t room;
};

static void *grow(void *p, size_t bytes)
{
    p = realloc(p, bytes);
    if (!p) {
        abort();
    }
    return p;
}

static char *copy_text(const char *s)
{
    char *c = strdup(s);

    if (!c) {
        abort();
    }
    return c;
}

/* Room for one more in an array; returns the array. */
static void *grow_for_one(void *array, size_t used, size_t *room, size_t each)
{
    if (used < *room) {
        return array;
    }
    *room = *room ? 2 * *room : 64;
    return grow(array, *room * each);
}

static void text_append(struct text *t, const char *bytes, size_t n)
{
    if (t->len + n + 1 > t->room) {
        t->room = 2 * (t->len + n + 1);
        t->data = grow(t->data, t->room);
    }
    memcpy(t->data + t->len, bytes, n);
    t->len += n;
    t->data[t->len] = '\0';
}

static const char *text_or_empty(const struct text *t)
{
    return t->data ? t->data : "";
}

__attribute__((format(printf, 1, 2))) static char *format_text(const char *format, ...)
{
    char *out = NULL;
    va_list ap;

    va_start(ap, format);
    if (vasprintf(&out, format, ap) < 0) {
        abort();
    }
    va_end(ap);
    return out;
}

/* Ctrl-C makes every wait fail; that is no news. */
static bool hushed;

/* One sentence on stderr; returns -1 for the caller to return. */
__attribute__((format(printf, 2, 3))) static int fail(const char *who,
                                                      const char *format,
                                                      ...)
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

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

/* ---- time ---- */

int64_t lab_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 * NS_PER_MS + ts.tv_nsec;
}

static int64_t deadline_in(int ms)
{
    return lab_now_ns() + (ms > 0 ? ms : LAB_WAIT_MS) * NS_PER_MS;
}

static int ms_until(int64_t deadline_ns)
{
    int64_t left_ms = (deadline_ns - lab_now_ns() + NS_PER_MS - 1) / NS_PER_MS;

    return left_ms < 0 ? 0 : left_ms > INT_MAX ? INT_MAX : (int)left_ms;
}

/* ---- what is watched ---- */

struct child {
    pid_t pid;
    int pidfd; /* -1 once it has been reaped */
    bool ended;
    int status;
    struct rusage usage;
};

struct event_slot {
    struct lab_event event;
    json_t *doc; /* owns what event points to */
};

struct lab_vm {
    struct lab *lab;
    struct lab_vm *next;
    char *name;
    char qmp_path[LAB_PATH_MAX];
    char err_path[LAB_PATH_MAX];
    struct child child;

    int wit_fd; /* -1 when QEMU has closed it */
    struct text wit_in;
    bool greeted;
    json_int_t wanted_id; /* the answer that is waited for */
    json_t *answer;
    struct event_slot *events;
    size_t n_events, room_events, events_mark;

    int ser_fd;
    struct text ser_line; /* not yet complete */
    char **lines;
    size_t n_lines, room_lines, lines_next;
    int64_t *ticks; /* when each came, ns */
    size_t n_ticks, room_ticks;
    unsigned bad_lines;
};

struct lab_proc {
    struct lab *lab;
    struct lab_proc *next;
    char *command;
    struct child child;
    int out_fd, err_fd;
    struct text out, err;
    size_t out_next; /* start of the first line that lab_proc_line() has not used up */
};

struct watch {
    void (*ready)(void *owner, int64_t now_ns);
    void *owner;
};

struct lab {
    char dir[LAB_PATH_MAX];
    pid_t janitor;
    int janitor_fd; /* closing it makes the janitor work */
    struct lab_vm *vms;
    struct lab_proc *procs;
    unsigned n_vms;
    int signal_fd; /* -1: signals are not caught */
    int signal;    /* the one that came, 0: none */
    bool signal_from_terminal;
    struct pollfd *polls;
    struct watch *watches; /* one per poll */
    size_t n_watches, room_polls, room_watches;
};

static void watch(struct lab *lab, int fd, void (*ready)(void *, int64_t), void *owner)
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

/* Append what is there, at most one buffer full. Returns the number of bytes; closes *fd at its
 * end. */
static size_t read_some(int *fd, struct text *into)
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

/* ---- reading monitors ---- */

/* A copy of the document in which integers too large for jansson are strings; free() it. */
static char *quote_large_integers(const char *s)
{
    struct text out = {0};
    bool in_string = false;

    while (*s != '\0') {
        size_t n = in_string ? 0 : strspn(s, "+-.0123456789eE");
        bool large = false;

        if (n > 0 && n == strspn(s, "-0123456789")) {
            errno = 0;
            (void)strtoll(s, NULL, 10);
            large = errno == ERANGE;
        }
        if (n == 0) {
            n = in_string && s[0] == '\\' && s[1] != '\0' ? 2 : 1;
            in_string ^= s[0] == '"';
        }
        text_append(&out, "\"", large);
        text_append(&out, s, n);
        text_append(&out, "\"", large);
        s += n;
    }
    return out.data ? out.data : copy_text("");
}

/* New, or NULL. */
static json_t *parse(const char *line)
{
    json_error_t e;
    json_t *doc = json_loads(line, 0, &e);

    if (!doc && json_error_code(&e) == json_error_numeric_overflow) {
        char *quoted = quote_large_integers(line);

        doc = json_loads(quoted, 0, &e);
        free(quoted);
    }
    return doc;
}

/* Steals doc. */
static void take_event(struct lab_vm *vm, json_t *doc, int64_t now_ns)
{
    struct event_slot *slot;

    vm->events =
        grow_for_one(vm->events, vm->n_events, &vm->room_events, sizeof(*vm->events));
    slot = &vm->events[vm->n_events++];
    slot->doc = doc;
    slot->event.t_ns = now_ns;
    slot->event.name = json_string_value(json_object_get(doc, "event"));
    slot->event.data = json_object_get(doc, "data");
}

static void take_message(struct lab_vm *vm, const char *line, int64_t now_ns)
{
    json_t *doc = parse(line);
    const json_t *id = json_object_get(doc, "id");

    if (!doc) {
        fail(vm->name, "the monitor sent what is not JSON: %s", line);
    } else if (json_is_string(json_object_get(doc, "event"))) {
        take_event(vm, doc, now_ns);
        return;
    } else if (json_object_get(doc, "QMP")) {
        vm->greeted = true;
    } else if (json_is_integer(id) && json_integer_value(id) == vm->wanted_id &&
               !vm->answer) {
        vm->answer = doc;
        return;
    }
    json_decref(doc); /* else: late answer to a command that was given up */
}

static void read_witness(void *owner, int64_t now_ns)
{
    struct lab_vm *vm = owner;
    size_t start = 0;
    const char *end;

    if (read_some(&vm->wit_fd, &vm->wit_in) == 0) {
        return;
    }
    while ((end = memchr(vm->wit_in.data + start, '\n', vm->wit_in.len - start))) {
        size_t at = (size_t)(end - vm->wit_in.data);

        vm->wit_in.data[at] = '\0';
        take_message(vm, vm->wit_in.data + start, now_ns);
        start = at + 1;
    }
    vm->wit_in.len -= start;
    memmove(vm->wit_in.data, vm->wit_in.data + start, vm->wit_in.len + 1);
}

/* ---- reading serial lines ---- */

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static void take_line(struct lab_vm *vm)
{
    const char *line = text_or_empty(&vm->ser_line);

    vm->lines = grow_for_one(vm->lines, vm->n_lines, &vm->room_lines, sizeof(*vm->lines));
    vm->lines[vm->n_lines++] = copy_text(line);
    vm->bad_lines += starts_with(line, "BAD");
    vm->ser_line.len = 0;
}

/* A '.' where a line would begin is a tick. */
static void read_serial(void *owner, int64_t now_ns)
{
    struct lab_vm *vm = owner;
    struct text in = {0};

    read_some(&vm->ser_fd, &in);
    for (size_t i = 0; i < in.len; i++) {
        char c = in.data[i];

        if (c == '.' && vm->ser_line.len == 0) {
            vm->ticks =
                grow_for_one(vm->ticks, vm->n_ticks, &vm->room_ticks, sizeof(*vm->ticks));
            vm->ticks[vm->n_ticks++] = now_ns;
        } else if (c != '\n') {
            text_append(&vm->ser_line, &c, 1);
        } else if (vm->ser_line.len > 0) {
            take_line(vm);
        }
    }
    free(in.data);
}

/* ---- processes ---- */

static void reap(struct child *c)
{
    if (!c->ended && wait4(c->pid, &c->status, WNOHANG, &c->usage) == c->pid) {
        c->ended = true;
        close_fd(&c->pidfd);
    }
}

static void kill_and_reap(struct child *c)
{
    if (!c->ended && c->pid > 0) {
        kill(c->pid, SIGKILL);
        wait4(c->pid, &c->status, 0, &c->usage);
        c->ended = true;
    }
    close_fd(&c->pidfd);
}

/* What the dead have left unread is read first. */
static void vm_ended(void *owner, int64_t now_ns)
{
    struct lab_vm *vm = owner;
    size_t before;

    do {
        before = vm->wit_in.len + vm->n_events;
        read_witness(vm, now_ns);
    } while (vm->wit_fd >= 0 && vm->wit_in.len + vm->n_events != before);
    read_serial(vm, now_ns);
    reap(&vm->child);
}

static void read_stdout(void *owner, int64_t now_ns)
{
    struct lab_proc *p = owner;

    (void)now_ns;
    read_some(&p->out_fd, &p->out);
}

static void read_stderr(void *owner, int64_t now_ns)
{
    struct lab_proc *p = owner;

    (void)now_ns;
    read_some(&p->err_fd, &p->err);
}

static void proc_ended(void *owner, int64_t now_ns)
{
    struct lab_proc *p = owner;

    (void)now_ns;
    while (read_some(&p->out_fd, &p->out) > 0) {
    }
    while (read_some(&p->err_fd, &p->err) > 0) {
    }
    reap(&p->child);
}

static const char *status_text(const struct child *c, char out[LAB_STATE_MAX])
{
    if (!c->ended) {
        snprintf(out, LAB_STATE_MAX, "runs");
    } else if (WIFSIGNALED(c->status)) {
        snprintf(out, LAB_STATE_MAX, "killed by signal %d", WTERMSIG(c->status));
    } else {
        snprintf(out, LAB_STATE_MAX, "exit status %d", WEXITSTATUS(c->status));
    }
    return out;
}

/* Start argv with the three standard files given; the descriptors in `keep` are handed on, all
 * others close by themselves. In the background, the terminal's Ctrl-C does not reach it. Returns
 * 0 or -1. */
static int start_child(struct child *c,
                       char *const *argv,
                       const int std[3],
                       const int keep[3],
                       bool background)
{
    pid_t parent = getpid();

    c->pidfd = -1;
    c->pid = fork();
    if (c->pid < 0) {
        return fail(argv[0], "fork: %s", strerror(errno));
    }
    if (c->pid == 0) {
        sigset_t none;

        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        if (background) {
            setpgid(0, 0);
        }
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) {
            _exit(EXIT_NOT_RUN); /* died before the signal was armed */
        }
        for (int i = 0; i < 3; i++) {
            dup2(std[i], i);
            if (keep[i] >= 0) {
                fcntl(keep[i], F_SETFD, 0);
            }
        }
        execvp(argv[0], argv);
        dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
        _exit(EXIT_NOT_RUN);
    }
    c->pidfd = pidfd_open(c->pid, 0);
    if (c->pidfd < 0) {
        fail(argv[0], "pidfd_open: %s", strerror(errno));
        kill_and_reap(c);
        return -1;
    }
    fcntl(c->pidfd, F_SETFD, FD_CLOEXEC);
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

static void pump_round(struct lab *lab, int timeout_ms)
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

/* Wait for something to happen. False, with nothing done, once the deadline has passed or a signal
 * has come. */
static bool pump_until(struct lab *lab, int64_t deadline_ns)
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

static const char *qemu_program(void)
{
    const char *qemu = getenv("QFERRY_QEMU");

    return qemu && *qemu ? qemu : "qemu-system-x86_64";
}

static const char *guest_path(void)
{
    const char *guest = getenv("QFERRY_GUEST");

    return guest && *guest ? guest : LAB_GUEST_ELF;
}

static bool can_run(const char *program)
{
    const char *path = getenv("PATH");
    bool found = false;
    char *copy;
    char *rest;

    if (strchr(program, '/')) {
        return access(program, X_OK) == 0;
    }
    copy = copy_text(path ? path : "/usr/bin:/bin");
    rest = copy;
    for (char *dir; !found && (dir = strsep(&rest, ":"));) {
        char *file = format_text("%s/%s", dir, program);

        found = access(file, X_OK) == 0;
        free(file);
    }
    free(copy);
    return found;
}

const char *lab_missing(void)
{
    if (!can_run(qemu_program())) {
        return "no QEMU: qemu-system-x86_64 (or QFERRY_QEMU) cannot be run";
    }
    if (access(guest_path(), R_OK) != 0) {
        return "no guest: guest.elf (or QFERRY_GUEST) cannot be read";
    }
    return NULL;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    (void)remove(path);
    return 0;
}

/* A process that does nothing but wait for ours to end, and then removes the folder: nobody else
 * can after a SIGKILL. In a session of its own, so that Ctrl-C does not reach it. */
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
        char byte;

        setsid();
        dup2(pipe_fds[0], 0);
        close_range(1, UINT_MAX, 0);
        while (read(0, &byte, 1) < 0 && errno == EINTR) {
        }
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

static void free_vm(struct lab_vm *vm)
{
    kill_and_reap(&vm->child);
    close_fd(&vm->wit_fd);
    close_fd(&vm->ser_fd);
    for (size_t i = 0; i < vm->n_events; i++) {
        json_decref(vm->events[i].doc);
    }
    for (size_t i = 0; i < vm->n_lines; i++) {
        free(vm->lines[i]);
    }
    json_decref(vm->answer);
    free(vm->events);
    free(vm->lines);
    free(vm->ticks);
    free(vm->wit_in.data);
    free(vm->ser_line.data);
    free(vm->name);
    free(vm);
}

static void free_proc(struct lab_proc *p)
{
    kill_and_reap(&p->child);
    close_fd(&p->out_fd);
    close_fd(&p->err_fd);
    free(p->out.data);
    free(p->err.data);
    free(p->command);
    free(p);
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

/* ---- starting a machine ---- */

/* Arguments under construction; owns its strings. */
struct args {
    char **v;
    size_t n, room;
};

/* NULL is the end of the list. */
static void args_add(struct args *a, const char *text)
{
    a->v = grow_for_one(a->v, a->n, &a->room, sizeof(*a->v));
    a->v[a->n++] = text ? copy_text(text) : NULL;
}

static void args_pair(struct args *a, const char *option, const char *value)
{
    if (value) {
        args_add(a, option);
        args_add(a, value);
    }
}

__attribute__((format(printf, 3, 4))) static void args_pair_f(struct args *a,
                                                              const char *option,
                                                              const char *format,
                                                              ...)
{
    char *value = NULL;
    va_list ap;

    va_start(ap, format);
    if (vasprintf(&value, format, ap) < 0) {
        abort();
    }
    va_end(ap);
    args_pair(a, option, value);
    free(value);
}

static void args_free(struct args *a)
{
    for (size_t i = 0; i < a->n; i++) {
        free(a->v[i]);
    }
    free(a->v);
}

/* The ends of the machine's wires that QEMU gets. The monitor for the program under test is a
 * socket that listens already, so that a client may come at any time; the other two are connected
 * already, so that nothing is lost. */
struct wires {
    int qmp, wit, ser;
};

static int listen_at(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 8) < 0) {
        fail(path, "cannot listen: %s", strerror(errno));
        close_fd(&fd);
    }
    return fd;
}

/* Returns QEMU's end; ours goes to *mine and does not block. */
static int connect_pair(int *mine)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
        return fail("socketpair", "%s", strerror(errno));
    }
    *mine = fds[0];
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    return fds[1];
}

static struct args qemu_args(const struct lab_vm *vm,
                             const struct lab_vm_opts *o,
                             const struct wires *w)
{
    struct args a = {0};

    args_add(&a, o->qemu ? o->qemu : qemu_program());
    args_pair(&a, "-name", vm->name);
    args_add(&a, "-nodefaults");
    args_add(&a, "-no-user-config");
    args_pair(&a, "-display", "none");
    args_pair(&a, "-accel", "tcg");
    args_pair(&a, "-machine", o->machine ? o->machine : "pc-i440fx-7.2");
    args_pair_f(&a, "-m", "%uK", (o->mem_mib ? o->mem_mib : 96) * 1024 + RAM_EXTRA_KIB);
    args_pair_f(&a, "-smp", "%u", o->smp ? o->smp : 1);
    args_pair(&a, "-cpu", o->cpu);
    args_pair(&a, "-uuid", o->uuid);
    args_pair_f(&a, "-chardev", "socket,id=qmp,fd=%d,server=on,wait=off", w->qmp);
    args_pair(&a, "-mon", "chardev=qmp,mode=control");
    args_pair_f(&a, "-chardev", "socket,id=wit,fd=%d", w->wit);
    args_pair(&a, "-mon", "chardev=wit,mode=control");
    args_pair_f(&a, "-chardev", "socket,id=ser,fd=%d", w->ser);
    args_pair(&a, "-serial", "chardev:ser");
    args_pair(&a, "-kernel", guest_path());
    args_pair(&a, "-append", o->append);
    args_pair(&a, "-incoming", o->incoming ? "defer" : NULL);
    if (o->paused) {
        args_add(&a, "-S");
    }
    if (o->no_shutdown) {
        args_add(&a, "-no-shutdown");
    }
    for (size_t i = 0; o->extra && o->extra[i]; i++) {
        args_add(&a, o->extra[i]);
    }
    args_add(&a, NULL);
    return a;
}

static int start_qemu(struct lab_vm *vm, const struct lab_vm_opts *o)
{
    struct wires w = {-1, -1, -1};
    struct args a = {0};
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    int err_fd = open(vm->err_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int rc = -1;

    if (null_fd < 0 || err_fd < 0) {
        fail(vm->err_path, "open: %s", strerror(errno));
        goto out;
    }
    w.qmp = listen_at(vm->qmp_path);
    w.wit = connect_pair(&vm->wit_fd);
    w.ser = connect_pair(&vm->ser_fd);
    if (w.qmp < 0 || w.wit < 0 || w.ser < 0) {
        goto out;
    }
    a = qemu_args(vm, o, &w);
    rc = start_child(&vm->child, a.v, (const int[]){null_fd, err_fd, err_fd},
                     (const int[]){w.qmp, w.wit, w.ser}, true);
out:
    args_free(&a);
    close_fd(&w.qmp);
    close_fd(&w.wit);
    close_fd(&w.ser);
    close_fd(&null_fd);
    close_fd(&err_fd);
    return rc;
}

static int negotiate(struct lab_vm *vm)
{
    int64_t deadline_ns = deadline_in(0);

    while (!vm->greeted) {
        if (vm->wit_fd < 0 || !pump_until(vm->lab, deadline_ns)) {
            return fail(vm->name, "no greeting from the monitor");
        }
    }
    return lab_qmp_ok(vm, "qmp_capabilities", "{\"enable\": [\"oob\"]}");
}

static void unlink_vm(struct lab_vm *vm)
{
    struct lab_vm **at = &vm->lab->vms;

    while (*at != vm) {
        at = &(*at)->next;
    }
    *at = vm->next;
}

struct lab_vm *lab_vm_start(struct lab *lab, const struct lab_vm_opts *opts)
{
    struct lab_vm *vm = grow(NULL, sizeof(*vm));
    char file[32];

    *vm = (struct lab_vm){.lab = lab, .wit_fd = -1, .ser_fd = -1, .child.pidfd = -1};
    vm->name = opts->name ? copy_text(opts->name) : format_text("vm%u", lab->n_vms + 1);
    lab->n_vms++;
    snprintf(file, sizeof(file), "%.16s.qmp", vm->name);
    lab_path(lab, file, vm->qmp_path);
    snprintf(file, sizeof(file), "%.16s.err", vm->name);
    lab_path(lab, file, vm->err_path);

    vm->next = lab->vms;
    lab->vms = vm;
    if (start_qemu(vm, opts) < 0 || negotiate(vm) < 0) {
        kill_and_reap(&vm->child);
        if (!hushed) {
            lab_vm_dump(vm);
        }
        unlink_vm(vm);
        free_vm(vm);
        return NULL;
    }
    return vm;
}

const char *lab_vm_name(const struct lab_vm *vm)
{
    return vm->name;
}

const char *lab_vm_qmp_path(const struct lab_vm *vm)
{
    return vm->qmp_path;
}

pid_t lab_vm_pid(const struct lab_vm *vm)
{
    return vm->child.pid;
}

bool lab_vm_alive(struct lab_vm *vm)
{
    pump_round(vm->lab, 0);
    return !vm->child.ended;
}

int lab_vm_kill(struct lab_vm *vm, int sig)
{
    if (vm->child.ended) {
        return fail(vm->name, "cannot be killed: has ended");
    }
    return kill(vm->child.pid, sig);
}

static int wait_child(
    struct lab *lab, struct child *c, const char *name, int ms, int *status)
{
    int64_t deadline_ns = deadline_in(ms);

    while (!c->ended) {
        if (!pump_until(lab, deadline_ns)) {
            return fail(name, "still runs");
        }
    }
    if (status) {
        *status = c->status;
    }
    return 0;
}

int lab_vm_wait_exit(struct lab_vm *vm, int ms, int *status)
{
    return wait_child(vm->lab, &vm->child, vm->name, ms, status);
}

char *lab_vm_stderr(const struct lab_vm *vm)
{
    int fd = open(vm->err_path, O_RDONLY | O_CLOEXEC);
    struct text t = {0};

    while (read_some(&fd, &t) > 0) {
    }
    return t.data ? t.data : copy_text("");
}

void lab_vm_dump(struct lab_vm *vm)
{
    char *text = lab_vm_stderr(vm);
    size_t first = vm->n_events > DUMP_EVENTS ? vm->n_events - DUMP_EVENTS : 0;
    char status[LAB_STATE_MAX];

    fprintf(stderr, "lab: %s: %s\n%s", vm->name, status_text(&vm->child, status), text);
    for (size_t i = first; i < vm->n_events; i++) {
        const struct lab_event *e = &vm->events[i].event;
        char *data = e->data ? json_dumps(e->data, JSON_COMPACT) : NULL;

        fprintf(stderr, "lab: %s: %" PRId64 " ms: %s %s\n", vm->name, e->t_ns / NS_PER_MS,
                e->name, data ? data : "");
        free(data);
    }
    free(text);
}

int lab_running_count(struct lab *lab)
{
    int running = 0;

    pump_round(lab, 0);
    for (struct lab_vm *vm = lab->vms; vm; vm = vm->next) {
        char state[LAB_STATE_MAX];

        if (vm->child.ended) {
            continue;
        }
        if (lab_run_state(vm, state) < 0) {
            return -1;
        }
        running += strcmp(state, "running") == 0;
    }
    return running;
}

/* ---- the witness ---- */

/* Small messages: a socket's buffer takes them, unless the other side has stopped reading. */
static int send_all(
    struct lab *lab, const int *fd, const char *bytes, size_t n, int64_t deadline_ns)
{
    while (n > 0) {
        ssize_t sent;

        if (*fd < 0) {
            return -1;
        }
        sent = send(*fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            bytes += sent;
            n -= (size_t)sent;
        } else if (errno != EAGAIN || lab_now_ns() >= deadline_ns) {
            return -1;
        } else {
            struct pollfd writable = {.fd = *fd, .events = POLLOUT};

            pump_round(lab, 0);
            poll(&writable, 1, ASK_AGAIN_MS);
        }
    }
    return 0;
}

/* The command as text, new; NULL when the arguments are not JSON. They go out as they came, so
 * that integers of any size arrive. */
static char *command_text(const char *verb,
                          const char *command,
                          const char *arguments,
                          json_int_t id)
{
    json_t *check = arguments ? parse(arguments) : json_object();

    if (!json_is_object(check)) {
        json_decref(check);
        fail(command, "arguments are not a JSON object: %s", arguments);
        return NULL;
    }
    json_decref(check);
    return format_text("{\"%s\": \"%s\", \"arguments\": %s, \"id\": %" JSON_INTEGER_FORMAT
                       "}\n",
                       verb, command, arguments ? arguments : "{}", id);
}

/* Takes vm->answer apart: `return`, new, or NULL with the error in why. */
static json_t *take_answer(struct lab_vm *vm, char *why, size_t why_size)
{
    json_t *answer = vm->answer;
    json_t *result = json_incref(json_object_get(answer, "return"));

    vm->answer = NULL;
    if (!result) {
        const json_t *error = json_object_get(answer, "error");
        const char *class = json_string_value(json_object_get(error, "class"));
        const char *desc = json_string_value(json_object_get(error, "desc"));

        snprintf(why, why_size, "%s: %s", class ? class : "?", desc ? desc : "?");
    }
    json_decref(answer);
    return result;
}

static json_t *ask(struct lab_vm *vm,
                   const char *verb,
                   const char *command,
                   const char *arguments,
                   int ms,
                   char *why,
                   size_t why_size)
{
    int64_t deadline_ns = deadline_in(ms);
    char *text = command_text(verb, command, arguments, ++vm->wanted_id);
    int rc;

    if (!text) {
        snprintf(why, why_size, "not sent");
        return NULL;
    }
    json_decref(vm->answer);
    vm->answer = NULL;
    rc = send_all(vm->lab, &vm->wit_fd, text, strlen(text), deadline_ns);
    free(text);
    while (rc == 0 && !vm->answer && vm->wit_fd >= 0) {
        if (!pump_until(vm->lab, deadline_ns)) {
            snprintf(why, why_size, "no answer");
            return NULL;
        }
    }
    if (!vm->answer) {
        snprintf(why, why_size, "%s", vm->wit_fd < 0 ? "monitor closed" : "no answer");
        return NULL;
    }
    return take_answer(vm, why, why_size);
}

static json_t *ask_aloud(struct lab_vm *vm,
                         const char *verb,
                         const char *command,
                         const char *arguments)
{
    char why[WITNESS_ERROR_MAX];
    json_t *result = ask(vm, verb, command, arguments, 0, why, sizeof(why));

    if (!result) {
        fail(vm->name, "%s: %s", command, why);
    }
    return result;
}

json_t *lab_qmp(struct lab_vm *vm, const char *command, const char *arguments)
{
    return ask_aloud(vm, "execute", command, arguments);
}

json_t *lab_qmp_oob(struct lab_vm *vm, const char *command, const char *arguments)
{
    return ask_aloud(vm, "exec-oob", command, arguments);
}

static json_t *ask_format(struct lab_vm *vm,
                          const char *command,
                          const char *format,
                          va_list ap) __attribute__((format(printf, 3, 0)));

static json_t *ask_format(struct lab_vm *vm,
                          const char *command,
                          const char *format,
                          va_list ap)
{
    char *arguments = NULL;
    json_t *result;

    if (vasprintf(&arguments, format, ap) < 0) {
        abort();
    }
    result = lab_qmp(vm, command, arguments);
    free(arguments);
    return result;
}

json_t *lab_qmp_f(struct lab_vm *vm, const char *command, const char *format, ...)
{
    json_t *result;
    va_list ap;

    va_start(ap, format);
    result = ask_format(vm, command, format, ap);
    va_end(ap);
    return result;
}

int lab_qmp_ok(struct lab_vm *vm, const char *command, const char *format, ...)
{
    json_t *result;
    va_list ap;

    va_start(ap, format);
    result = ask_format(vm, command, format, ap);
    va_end(ap);
    json_decref(result);
    return result ? 0 : -1;
}

json_t *lab_qmp_try(struct lab_vm *vm,
                    const char *command,
                    const char *arguments,
                    int ms,
                    char *why,
                    size_t why_size)
{
    return ask(vm, "execute", command, arguments, ms, why, why_size);
}

size_t lab_event_count(const struct lab_vm *vm)
{
    return vm->n_events;
}

const struct lab_event *lab_event_at(const struct lab_vm *vm, size_t i)
{
    assert(i < vm->n_events);
    return &vm->events[i].event;
}

void lab_events_mark(struct lab_vm *vm)
{
    pump_round(vm->lab, 0);
    vm->events_mark = vm->n_events;
}

const struct lab_event *lab_event_find(const struct lab_vm *vm,
                                       const char *name,
                                       const char *key,
                                       const char *value)
{
    for (size_t i = vm->events_mark; i < vm->n_events; i++) {
        const struct lab_event *e = &vm->events[i].event;
        const char *is = key ? json_string_value(json_object_get(e->data, key)) : NULL;

        if (strcmp(e->name, name) == 0 && (!key || (is && strcmp(is, value) == 0))) {
            return e;
        }
    }
    return NULL;
}

int lab_wait_event(
    struct lab_vm *vm, const char *name, const char *key, const char *value, int ms)
{
    int64_t deadline_ns = deadline_in(ms);

    while (!lab_event_find(vm, name, key, value)) {
        if (vm->wit_fd < 0 || !pump_until(vm->lab, deadline_ns)) {
            return fail(vm->name, "no event %s %s%s", name, key ? value : "",
                        vm->wit_fd < 0 ? ": the monitor is closed" : "");
        }
    }
    return 0;
}

static int ask_state(struct lab_vm *vm, const char *command, char out[LAB_STATE_MAX])
{
    json_t *result = lab_qmp(vm, command, NULL);
    const char *status = json_string_value(json_object_get(result, "status"));

    if (!result) {
        return -1;
    }
    snprintf(out, LAB_STATE_MAX, "%s", status ? status : "none");
    json_decref(result);
    return 0;
}

int lab_run_state(struct lab_vm *vm, char out[LAB_STATE_MAX])
{
    return ask_state(vm, "query-status", out);
}

int lab_mig_status(struct lab_vm *vm, char out[LAB_STATE_MAX])
{
    return ask_state(vm, "query-migrate", out);
}

static bool is_end_of_migration(const char *status)
{
    return strcmp(status, "completed") == 0 || strcmp(status, "failed") == 0 ||
           strcmp(status, "cancelled") == 0;
}

static int wait_state(
    struct lab_vm *vm, const char *command, const char *want, bool ends, int ms)
{
    int64_t deadline_ns = deadline_in(ms);
    char state[LAB_STATE_MAX];

    for (;;) {
        if (ask_state(vm, command, state) < 0) {
            return -1;
        }
        if (strcmp(state, want) == 0) {
            return 0;
        }
        if (lab_now_ns() >= deadline_ns || (ends && is_end_of_migration(state))) {
            return fail(vm->name, "%s says %s, not %s", command, state, want);
        }
        lab_pump(vm->lab, ASK_AGAIN_MS);
    }
}

int lab_wait_run_state(struct lab_vm *vm, const char *want, int ms)
{
    return wait_state(vm, "query-status", want, false, ms);
}

int lab_wait_mig_status(struct lab_vm *vm, const char *want, int ms)
{
    return wait_state(vm, "query-migrate", want, true, ms);
}

int lab_vm_listen(struct lab_vm *vm, char *uri, size_t uri_size)
{
    const char *host;
    const char *port;
    json_t *result;
    int rc = -1;

    if (lab_qmp_ok(vm, "migrate-incoming", "{\"uri\": \"tcp:127.0.0.1:0\"}") < 0) {
        return -1;
    }
    result = lab_qmp(vm, "query-migrate", NULL);
    if (json_unpack(result, "{s:[{s:s, s:s}]}", "socket-address", "host", &host, "port",
                    &port) == 0) {
        snprintf(uri, uri_size, "tcp:%s:%s", host, port);
        rc = 0;
    } else {
        fail(vm->name, "query-migrate does not tell the port");
    }
    json_decref(result);
    return rc;
}

/* ---- the guest ---- */

int lab_guest_cmd(struct lab_vm *vm, const char *text)
{
    if (send_all(vm->lab, &vm->ser_fd, text, strlen(text), deadline_in(0)) < 0) {
        return fail(vm->name, "the guest does not take a command");
    }
    return 0;
}

int lab_guest_line(
    struct lab_vm *vm, const char *prefix, char *out, size_t out_size, int ms)
{
    int64_t deadline_ns = deadline_in(ms);

    for (;;) {
        while (vm->lines_next < vm->n_lines) {
            const char *line = vm->lines[vm->lines_next++];

            if (starts_with(line, prefix)) {
                snprintf(out, out_size, "%s", line);
                return 0;
            }
            if (starts_with(line, "ERROR")) {
                return fail(vm->name, "the guest said %s instead of %s", line, prefix);
            }
        }
        if (vm->ser_fd < 0 || !pump_until(vm->lab, deadline_ns)) {
            return fail(vm->name, "the guest did not say %s", prefix);
        }
    }
}

int lab_guest_ready(struct lab_vm *vm)
{
    char line[LAB_LINE_MAX];

    return lab_guest_line(vm, "READY", line, sizeof(line), 0);
}

int lab_guest_ask(
    struct lab_vm *vm, const char *text, const char *prefix, char *out, size_t out_size)
{
    pump_round(vm->lab, 0);
    vm->lines_next = vm->n_lines;
    if (lab_guest_cmd(vm, text) < 0) {
        return -1;
    }
    return lab_guest_line(vm, prefix, out, out_size, 0);
}

int lab_guest_verify(struct lab_vm *vm)
{
    char line[LAB_LINE_MAX];

    if (lab_guest_ask(vm, "v", "VERIFY", line, sizeof(line)) < 0) {
        return -1;
    }
    if (!starts_with(line, "VERIFY ok")) {
        fail(vm->name, "the guest says: %s", line);
        return 0;
    }
    if (vm->bad_lines > 0) {
        fail(vm->name, "clean now, but the guest has found %u bad pages before",
             vm->bad_lines);
        return 0;
    }
    return 1;
}

int lab_guest_status(struct lab_vm *vm, struct lab_guest_status *out)
{
    struct lab_guest_status s;
    char line[LAB_LINE_MAX];

    if (lab_guest_ask(vm, "s", "STATUS", line, sizeof(line)) < 0) {
        return -1;
    }
    if (sscanf(line,
               "STATUS ticks=%" SCNu64 " writes=%" SCNu64 " bad=%" SCNu64 " ms=%" SCNu64,
               &s.ticks, &s.writes, &s.bad, &s.ms) != 4) {
        return fail(vm->name, "not a status: %s", line);
    }
    *out = s;
    return 0;
}

int lab_guest_wait_writes(struct lab_vm *vm, uint64_t pages, int ms)
{
    int64_t deadline_ns = deadline_in(ms);
    struct lab_guest_status s;

    for (;;) {
        if (lab_guest_status(vm, &s) < 0) {
            return -1;
        }
        if (s.writes >= pages) {
            return 0;
        }
        if (lab_now_ns() >= deadline_ns) {
            return fail(vm->name, "%" PRIu64 " of %" PRIu64 " pages written", s.writes,
                        pages);
        }
        lab_pump(vm->lab, ASK_AGAIN_MS);
    }
}

unsigned lab_guest_bad_lines(const struct lab_vm *vm)
{
    return vm->bad_lines;
}

int lab_ticks_start(struct lab_vm *src, struct lab_vm *dst)
{
    char line[LAB_LINE_MAX];

    src->n_ticks = 0;
    if (dst) {
        dst->n_ticks = 0;
    }
    return lab_guest_ask(src, "t", "TICKING on", line, sizeof(line));
}

int lab_ticks_stop(struct lab_vm *vm)
{
    char line[LAB_LINE_MAX];

    return lab_guest_ask(vm, "T", "TICKING off", line, sizeof(line));
}

size_t lab_ticks_count(const struct lab_vm *vm)
{
    return vm->n_ticks;
}

int lab_ticks_wait(struct lab_vm *vm, size_t more, int ms)
{
    int64_t deadline_ns = deadline_in(ms);
    size_t want = vm->n_ticks + more;

    while (vm->n_ticks < want) {
        if (vm->ser_fd < 0 || !pump_until(vm->lab, deadline_ns)) {
            return fail(vm->name, "the guest has stopped ticking");
        }
    }
    return 0;
}

void lab_blackout(const struct lab_vm *src,
                  const struct lab_vm *dst,
                  struct lab_blackout *out)
{
    size_t n_dst = dst ? dst->n_ticks : 0;
    int64_t largest_ns = 0;
    int64_t last_ns = -1;
    size_t s = 0;
    size_t d = 0;

    *out = (struct lab_blackout){.src_ticks = src->n_ticks, .dst_ticks = n_dst};
    while (s < src->n_ticks || d < n_dst) {
        bool from_src = d == n_dst || (s < src->n_ticks && src->ticks[s] <= dst->ticks[d]);
        int64_t t_ns = from_src ? src->ticks[s++] : dst->ticks[d++];

        if (last_ns >= 0 && t_ns - last_ns > largest_ns) {
            largest_ns = t_ns - last_ns;
            out->largest_ns = last_ns;
        }
        last_ns = t_ns;
        out->overlap += from_src && d > 0;
    }
    out->largest_ms = (double)largest_ns / NS_PER_MS;
    if (src->n_ticks > 0 && n_dst > 0) {
        out->handover_ms =
            (double)(dst->ticks[0] - src->ticks[src->n_ticks - 1]) / NS_PER_MS;
    }
}

double lab_blackout_ms(const struct lab_vm *src, const struct lab_vm *dst)
{
    struct lab_blackout b;

    lab_blackout(src, dst, &b);
    return b.largest_ms;
}

/* ---- programs ---- */

static char *join(const char *const *argv)
{
    struct text t = {0};

    for (size_t i = 0; argv[i]; i++) {
        text_append(&t, " ", i > 0);
        text_append(&t, argv[i], strlen(argv[i]));
    }
    return t.data ? t.data : copy_text("");
}

static struct lab_proc *spawn(struct lab *lab, const char *const *argv, bool shown)
{
    struct lab_proc *p = grow(NULL, sizeof(*p));
    int out[2] = {-1, -1};
    int err[2] = {-1, -1};
    int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct args a = {0};

    *p = (struct lab_proc){.lab = lab, .out_fd = -1, .err_fd = -1, .child.pidfd = -1};
    p->command = join(argv);
    if (null_fd < 0 ||
        (!shown && (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0))) {
        fail(p->command, "no pipes: %s", strerror(errno));
        goto err;
    }
    for (size_t i = 0; argv[i]; i++) {
        args_add(&a, argv[i]);
    }
    args_add(&a, NULL);
    if (start_child(&p->child, a.v,
                    (const int[]){null_fd, shown ? STDOUT_FILENO : out[1],
                                  shown ? STDERR_FILENO : err[1]},
                    (const int[]){-1, -1, -1}, false) < 0) {
        goto err;
    }
    if (!shown) {
        fcntl(out[0], F_SETFL, O_NONBLOCK);
        fcntl(err[0], F_SETFL, O_NONBLOCK);
        p->out_fd = out[0];
        p->err_fd = err[0];
    }
    p->next = lab->procs;
    lab->procs = p;
    out[0] = -1;
    err[0] = -1;
    goto out;
err:
    free_proc(p);
    p = NULL;
out:
    args_free(&a);
    close_fd(&null_fd);
    for (int i = 0; i < 2; i++) {
        close_fd(&out[i]);
        close_fd(&err[i]);
    }
    return p;
}

struct lab_proc *lab_spawn(struct lab *lab, const char *const *argv)
{
    return spawn(lab, argv, false);
}

struct lab_proc *lab_spawn_shown(struct lab *lab, const char *const *argv)
{
    return spawn(lab, argv, true);
}

pid_t lab_proc_pid(const struct lab_proc *p)
{
    return p->child.pid;
}

bool lab_proc_alive(struct lab_proc *p)
{
    pump_round(p->lab, 0);
    return !p->child.ended;
}

int lab_proc_signal(struct lab_proc *p, int sig)
{
    if (p->child.ended) {
        return fail(p->command, "no signal: has ended");
    }
    return kill(p->child.pid, sig);
}

int lab_proc_wait(struct lab_proc *p, int ms, int *status)
{
    return wait_child(p->lab, &p->child, p->command, ms, status);
}

/* The next complete line of stdout, or the incomplete last one of a program that has ended. */
static const char *next_line(struct lab_proc *p, size_t *len)
{
    const char *start = text_or_empty(&p->out) + p->out_next;
    const char *end = strchr(start, '\n');

    if (!end && (!p->child.ended || *start == '\0')) {
        return NULL;
    }
    *len = end ? (size_t)(end - start) : strlen(start);
    p->out_next += *len + (end ? 1 : 0);
    return start;
}

int lab_proc_line(struct lab_proc *p, const char *part, char *out, size_t out_size, int ms)
{
    int64_t deadline_ns = deadline_in(ms);

    for (;;) {
        const char *line;
        size_t len;

        while ((line = next_line(p, &len))) {
            if (memmem(line, len, part, strlen(part))) {
                if (out) {
                    snprintf(out, out_size, "%.*s", (int)len, line);
                }
                return 0;
            }
        }
        if (p->child.ended || !pump_until(p->lab, deadline_ns)) {
            return fail(p->command, "no line with \"%s\" on stdout", part);
        }
    }
}

const char *lab_proc_stdout(const struct lab_proc *p)
{
    return text_or_empty(&p->out);
}

const char *lab_proc_stderr(const struct lab_proc *p)
{
    return text_or_empty(&p->err);
}

const struct rusage *lab_proc_rusage(const struct lab_proc *p)
{
    return &p->child.usage;
}

void lab_proc_dump(struct lab_proc *p)
{
    char status[LAB_STATE_MAX];

    fprintf(stderr, "lab: %s: %s\n--- stdout\n%s--- stderr\n%s---\n", p->command,
            status_text(&p->child, status), text_or_empty(&p->out), text_or_empty(&p->err));
}

/* Processes: machines and programs alike are started and reaped here. */
#include "tests/real/lab_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_NOT_RUN = 127 /* as shells say it */ };

/* ---- processes ---- */

void reap(struct child *c)
{
    if (!c->ended && wait4(c->pid, &c->status, WNOHANG, &c->usage) == c->pid) {
        c->ended = true;
        close_fd(&c->pidfd);
    }
}

void kill_and_reap(struct child *c)
{
    if (!c->ended && c->pid > 0) {
        kill(c->pid, SIGKILL);
        wait4(c->pid, &c->status, 0, &c->usage);
        c->ended = true;
    }
    close_fd(&c->pidfd);
}

const char *status_text(const struct child *c, char out[LAB_STATE_MAX])
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

int start_child(struct child *c,
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

int wait_child(struct lab *lab, struct child *c, const char *name, int ms, int *status)
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

/* ---- programs ---- */

void read_stdout(void *owner, int64_t now_ns)
{
    struct lab_proc *p = owner;

    (void)now_ns;
    read_some(&p->out_fd, &p->out);
}

void read_stderr(void *owner, int64_t now_ns)
{
    struct lab_proc *p = owner;

    (void)now_ns;
    read_some(&p->err_fd, &p->err);
}

void proc_ended(void *owner, int64_t now_ns)
{
    struct lab_proc *p = owner;

    (void)now_ns;
    while (read_some(&p->out_fd, &p->out) > 0) {
    }
    while (read_some(&p->err_fd, &p->err) > 0) {
    }
    reap(&p->child);
}

void free_proc(struct lab_proc *p)
{
    kill_and_reap(&p->child);
    close_fd(&p->out_fd);
    close_fd(&p->err_fd);
    free(p->out.data);
    free(p->err.data);
    free(p->command);
    free(p);
}

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

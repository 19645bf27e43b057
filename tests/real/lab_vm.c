/* Machines: which QEMU, with which arguments, and how it ends. */
#include "tests/real/lab_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef LAB_GUEST_ELF
#define LAB_GUEST_ELF "guest.elf"
#endif

enum {
    DUMP_EVENTS = 20,  /* newest events in lab_vm_dump() */
    RAM_EXTRA_KIB = 8, /* keeps QEMU 7.2 on the path that loses no writes under TCG */
};

/* ---- which QEMU, which guest ---- */

const char *lab_qemu(bool incoming)
{
    const char *qemu = getenv(incoming ? "QFERRY_QEMU_DST" : "QFERRY_QEMU_SRC");

    if (!qemu || !*qemu) {
        qemu = getenv("QFERRY_QEMU");
    }
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
    const char *why = getenv("QFERRY_QEMU_MISSING");

    if (why && *why) {
        return why;
    }
    if (!can_run(lab_qemu(false)) || !can_run(lab_qemu(true))) {
        return "no QEMU: qemu-system-x86_64 (or QFERRY_QEMU, QFERRY_QEMU_SRC, "
               "QFERRY_QEMU_DST) cannot be run";
    }
    if (access(guest_path(), R_OK) != 0) {
        return "no guest: guest.elf (or QFERRY_GUEST) cannot be read";
    }
    return NULL;
}

/* ---- starting a machine ---- */

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

    args_add(&a, o->qemu ? o->qemu : lab_qemu(o->incoming));
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
    if (rc == 0) {
        tell_janitor(vm->lab, vm->child.pid);
    }
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

/* ---- a machine ---- */

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

bool lab_vm_is(const struct lab_vm *vm, int major, int minor)
{
    return vm->major > major || (vm->major == major && vm->minor >= minor);
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

    fprintf(stderr, "lab: %s: QEMU %d.%d %s\n%s", vm->name, vm->major, vm->minor,
            status_text(&vm->child, status), text);
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
    enum { ENDING_MS = 2000 };
    int running = 0;

    pump_round(lab, 0);
    for (struct lab_vm *vm = lab->vms; vm; vm = vm->next) {
        char state[LAB_STATE_MAX];

        if (vm->child.ended) {
            continue;
        }
        if (lab_run_state(vm, state) < 0) {
            if (lab_vm_wait_exit(vm, ENDING_MS, NULL) == 0) {
                continue; /* it was about to end */
            }
            return -1;
        }
        running += strcmp(state, "running") == 0;
    }
    return running;
}

/* ---- its end ---- */

void vm_ended(void *owner, int64_t now_ns)
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

void free_vm(struct lab_vm *vm)
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

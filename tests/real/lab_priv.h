/* What the parts of the laboratory know of each other; tests include lab.h only. */
#ifndef QF_TESTS_REAL_LAB_PRIV_H
#define QF_TESTS_REAL_LAB_PRIV_H

#include "tests/real/lab.h"

#define NS_PER_MS INT64_C(1000000)

enum { ASK_AGAIN_MS = 20 /* between two queries while waiting for a state */ };

/* ---- lab_text.c: memory and text ---- */

/* Always NUL-terminated once something is in it. */
struct text {
    char *data;
    size_t len;
    size_t room;
};

/* Arguments under construction; owns its strings. */
struct args {
    char **v;
    size_t n, room;
};

void *grow(void *p, size_t bytes);

char *copy_text(const char *s);

/* Room for one more in an array; returns the array. */
void *grow_for_one(void *array, size_t used, size_t *room, size_t each);

void text_append(struct text *t, const char *bytes, size_t n);

const char *text_or_empty(const struct text *t);

char *format_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* NULL is the end of the list. */
void args_add(struct args *a, const char *text);

void args_pair(struct args *a, const char *option, const char *value);

void args_pair_f(struct args *a, const char *option, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

void args_free(struct args *a);

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
    int major, minor;     /* QEMU's version, from the greeting */
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

/* ---- lab.c ---- */

/* Ctrl-C makes every wait fail; that is no news. */
extern bool hushed;

int64_t deadline_in(int ms);

/* One sentence on stderr; returns -1 for the caller to return. */
int fail(const char *who, const char *format, ...) __attribute__((format(printf, 2, 3)));

void close_fd(int *fd);

void watch(struct lab *lab, int fd, void (*ready)(void *, int64_t), void *owner);

/* Append what is there, at most one buffer full. Returns the number of bytes; closes *fd at its
 * end. */
size_t read_some(int *fd, struct text *into);

void pump_round(struct lab *lab, int timeout_ms);

/* Wait for something to happen. False, with nothing done, once the deadline has passed or a signal
 * has come. */
bool pump_until(struct lab *lab, int64_t deadline_ns);

/* ---- lab_vm.c ---- */

/* What the dead have left unread is read first. */
void vm_ended(void *owner, int64_t now_ns);

void free_vm(struct lab_vm *vm);

/* ---- lab_qmp.c ---- */

void read_witness(void *owner, int64_t now_ns);

/* Small messages: a socket's buffer takes them, unless the other side has stopped reading. */
int send_all(
    struct lab *lab, const int *fd, const char *bytes, size_t n, int64_t deadline_ns);

/* ---- lab_guest.c ---- */

/* A '.' where a line would begin is a tick. */
void read_serial(void *owner, int64_t now_ns);

/* ---- lab_proc.c ---- */

void reap(struct child *c);

void kill_and_reap(struct child *c);

const char *status_text(const struct child *c, char out[LAB_STATE_MAX]);

/* Start argv with the three standard files given; the descriptors in `keep` are handed on, all
 * others close by themselves. In the background, the terminal's Ctrl-C does not reach it. Returns
 * 0 or -1. */
/* This one is to be killed with us, whatever user it becomes. */
void tell_janitor(struct lab *lab, pid_t pid);

int start_child(struct child *c,
                char *const *argv,
                const int std[3],
                const int keep[3],
                bool background);

int wait_child(struct lab *lab, struct child *c, const char *name, int ms, int *status);

void read_stdout(void *owner, int64_t now_ns);

void read_stderr(void *owner, int64_t now_ns);

void proc_ended(void *owner, int64_t now_ns);

void free_proc(struct lab_proc *p);

#endif

/* The lab of the real tests: starts QEMUs and programs, watches them, and leaves nothing behind.
 *
 * It is an independent witness: it speaks QMP with code of its own, over a monitor of its own, so
 * that what a test asserts does not rest on the code under test. It is not fast, not asynchronous
 * and not for anything but tests.
 *
 * Every call blocks. Every wait has a deadline, and while one thing is waited for everything is
 * read: monitors, serial lines and output of all machines and programs, each stamped with the
 * time it came. So time stamps are good as long as the test spends its time in the lab.
 *
 * Conventions: int functions return 0, or -1 after one sentence to stderr; `ms` of 0 or less means
 * LAB_WAIT_MS; arguments of commands are JSON text; everything is freed by lab_close() unless
 * said otherwise; out of memory aborts. Use from one thread, the one that called lab_open():
 * what the lab starts is killed when that thread ends, however it ends. */
#ifndef QF_TESTS_REAL_LAB_H
#define QF_TESTS_REAL_LAB_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

enum {
    LAB_WAIT_MS =
        60000, /* machines are slow and shared; only a failing test waits this long */
    LAB_PATH_MAX = 108, /* what a unix socket address holds */
    LAB_STATE_MAX = 32, /* run states and migration statuses */
    LAB_LINE_MAX = 256, /* lines of the guest */
};

struct lab;
struct lab_vm;
struct lab_proc;

/* ---- the lab ---- */

/* Why real tests cannot run here, or NULL. QFERRY_QEMU names the QEMU program (a name or a path,
 * also of a script that becomes one), QFERRY_QEMU_SRC and QFERRY_QEMU_DST another one for a side,
 * QFERRY_GUEST the guest; defaults are qemu-system-x86_64 and what was built. With
 * QFERRY_QEMU_MISSING=TEXT they cannot, and that is why (tools/test knows). */
const char *lab_missing(void);

/* The QEMU of machines that wait for a migration, or of all others. Constant. */
const char *lab_qemu(bool incoming);

/* A lab with an empty folder under ${TMPDIR:-/tmp}, or NULL. The folder goes with the lab, also
 * when the test is killed. */
struct lab *lab_open(void);

/* Kill and reap what still runs, remove the folder, free everything. NULL is fine. */
void lab_close(struct lab *lab);

const char *lab_dir(const struct lab *lab);

/* The path of `name` in the lab's folder; returns out. */
const char *lab_path(const struct lab *lab, const char *name, char out[LAB_PATH_MAX]);

/* CLOCK_MONOTONIC, the clock of all time stamps here. */
int64_t lab_now_ns(void);

/* Watch for `ms` milliseconds. Prefer to wait for something. */
void lab_pump(struct lab *lab, int ms);

/* Catch SIGINT, SIGTERM and SIGHUP instead of dying of them, for programs that people run by
 * hand. Once one has come every wait fails at once and nothing more is said, until
 * lab_take_signal() has returned it. A machine does not hear the Ctrl-C of the terminal; a program
 * of lab_spawn_shown() does. */
int lab_catch_signals(struct lab *lab);

/* The signal that came last, or 0; forgets it. from_terminal (may be NULL): everything in the
 * foreground got it as well. */
int lab_take_signal(struct lab *lab, bool *from_terminal);

/* ---- virtual machines ---- */

struct lab_vm_opts {
    const char
        *name; /* for messages and paths; short, unique in the lab; default vm1, vm2 ... */
    const char *qemu;    /* program; default lab_qemu(incoming) */
    const char *machine; /* default pc-i440fx-7.2; always a versioned type */
    unsigned mem_mib;    /* default 96; the machine gets 8 KiB more, see guest/README.md */
    unsigned smp;        /* default 1 */
    const char *append;  /* parameters of the guest */
    bool incoming;       /* -incoming defer */
    bool paused;         /* -S */
    bool no_shutdown;
    const char *uuid;
    const char *cpu;
    const char *const *extra; /* more arguments, NULL at the end */
};

/* Start QEMU with two monitors: a unix socket for the program under test (lab_vm_qmp_path) and one
 * for the lab, on which the capability `oob` is taken. Returns when the lab's monitor answers; the
 * guest may not have booted yet. NULL on failure, QEMU's stderr shown. */
struct lab_vm *lab_vm_start(struct lab *lab, const struct lab_vm_opts *opts);

const char *lab_vm_name(const struct lab_vm *vm);
const char *lab_vm_qmp_path(const struct lab_vm *vm);
pid_t lab_vm_pid(const struct lab_vm *vm);

/* Is its QEMU of this version, or a later one? */
bool lab_vm_is(const struct lab_vm *vm, int major, int minor);

bool lab_vm_alive(struct lab_vm *vm);
int lab_vm_kill(struct lab_vm *vm, int sig);

/* Wait for the process to end; status (may be NULL) as waitpid() gives it. */
int lab_vm_wait_exit(struct lab_vm *vm, int ms, int *status);

/* What QEMU wrote to stderr, new; free() it. */
char *lab_vm_stderr(const struct lab_vm *vm);

/* Show name, exit status, stderr and the last events on stderr, for a test that fails. */
void lab_vm_dump(struct lab_vm *vm);

/* How many machines are alive and running (query-status). -1 when one did not answer. */
int lab_running_count(struct lab *lab);

/* ---- the witness ---- */

/* Run a command; returns `return`, new. NULL after a sentence when it is refused or unanswered.
 * Integers that do not fit into 64 bits with sign come as strings. */
json_t *lab_qmp(struct lab_vm *vm, const char *command, const char *arguments);

/* The same with arguments from a format, and outside the queue (exec-oob). */
json_t *lab_qmp_f(struct lab_vm *vm, const char *command, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
json_t *lab_qmp_oob(struct lab_vm *vm, const char *command, const char *arguments);

/* For commands whose answer is of no interest. */
int lab_qmp_ok(struct lab_vm *vm, const char *command, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* For commands that may fail: silent; on failure `why` is "Class: description", "no answer" or
 * "monitor closed". */
json_t *lab_qmp_try(struct lab_vm *vm,
                    const char *command,
                    const char *arguments,
                    int ms,
                    char *why,
                    size_t why_size);

/* All events since the start, oldest first. Pointers are good until the next call that waits. */
struct lab_event {
    int64_t t_ns; /* when it was read */
    const char *name;
    const json_t *data; /* NULL when the event has none */
};
size_t lab_event_count(const struct lab_vm *vm);
const struct lab_event *lab_event_at(const struct lab_vm *vm, size_t i);

/* lab_event_find() and lab_wait_event() look from the mark on; it stands at the start, and this
 * puts it behind the newest event. Looking does not move it. */
void lab_events_mark(struct lab_vm *vm);

/* The first event `name` whose data has the string `value` under `key` (NULL: any), or NULL. */
const struct lab_event *lab_event_find(const struct lab_vm *vm,
                                       const char *name,
                                       const char *key,
                                       const char *value);
int lab_wait_event(
    struct lab_vm *vm, const char *name, const char *key, const char *value, int ms);

/* query-status and query-migrate; "none" when the latter has no status. The lab_wait_ forms ask
 * until they hear `want`; waiting for a migration status ends early with an error when the
 * migration has ended otherwise. */
int lab_run_state(struct lab_vm *vm, char out[LAB_STATE_MAX]);
int lab_mig_status(struct lab_vm *vm, char out[LAB_STATE_MAX]);
int lab_wait_run_state(struct lab_vm *vm, const char *want, int ms);
int lab_wait_mig_status(struct lab_vm *vm, const char *want, int ms);

/* Let an incoming machine listen on a port of its choice; `uri` is what the source needs. */
int lab_vm_listen(struct lab_vm *vm, char *uri, size_t uri_size);

/* ---- the guest, over its serial line; guest/README.md has the protocol ---- */

int lab_guest_ready(struct lab_vm *vm);

/* Send text as it is: "v", "r500\n". */
int lab_guest_cmd(struct lab_vm *vm, const char *text);

/* The next line that starts with `prefix`. It and all lines before it are used up. */
int lab_guest_line(
    struct lab_vm *vm, const char *prefix, char *out, size_t out_size, int ms);

/* Send a command and take the line that answers it; older lines are passed over. */
int lab_guest_ask(
    struct lab_vm *vm, const char *text, const char *prefix, char *out, size_t out_size);

/* Have the guest check all its memory: 1 clean; 0 damaged, or damage reported earlier, verdict
 * shown; -1 no answer. */
int lab_guest_verify(struct lab_vm *vm);

struct lab_guest_status {
    uint64_t ticks;
    uint64_t writes;
    uint64_t bad;
    uint64_t ms; /* run time */
};
int lab_guest_status(struct lab_vm *vm, struct lab_guest_status *out);

/* Wait until the guest has written `pages` pages since boot. */
int lab_guest_wait_writes(struct lab_vm *vm, uint64_t pages, int ms);

/* BAD lines so far: damage found before a write. */
unsigned lab_guest_bad_lines(const struct lab_vm *vm);

/* Forget the ticks of both so far and make the guest in src send one every millisecond. dst is
 * the machine it will move to, or NULL. */
int lab_ticks_start(struct lab_vm *src, struct lab_vm *dst);
int lab_ticks_stop(struct lab_vm *vm);
size_t lab_ticks_count(const struct lab_vm *vm);

/* Wait for `more` ticks: a wait in guest run time. */
int lab_ticks_wait(struct lab_vm *vm, size_t more, int ms);

struct lab_blackout {
    double largest_ms; /* largest gap between neighbouring ticks, wherever they came from */
    int64_t largest_ns; /* when it began */
    double handover_ms; /* from src's last to dst's first tick; 0 while dst has none */
    size_t src_ticks;
    size_t dst_ticks;
    size_t overlap; /* ticks of src after dst's first: two running guests when not zero */
};
void lab_blackout(const struct lab_vm *src,
                  const struct lab_vm *dst,
                  struct lab_blackout *out);

/* largest_ms alone. */
double lab_blackout_ms(const struct lab_vm *src, const struct lab_vm *dst);

/* ---- programs ---- */

/* Run a program with stdout and stderr captured, stdin empty. argv[0] is looked up in PATH. A
 * program that cannot be run ends with 127. */
struct lab_proc *lab_spawn(struct lab *lab, const char *const *argv);

/* The same with our own stdout and stderr, so that a person sees what it says. */
struct lab_proc *lab_spawn_shown(struct lab *lab, const char *const *argv);

pid_t lab_proc_pid(const struct lab_proc *p);
bool lab_proc_alive(struct lab_proc *p);
int lab_proc_signal(struct lab_proc *p, int sig);

/* Wait for the end; status (may be NULL) as waitpid() gives it. */
int lab_proc_wait(struct lab_proc *p, int ms, int *status);

/* The next line of stdout with `part` in it. It and all lines before it are used up. out may be
 * NULL. Fails early when the program has ended without it. */
int lab_proc_line(struct lab_proc *p, const char *part, char *out, size_t out_size, int ms);

/* All output so far; good until the next call that waits. */
const char *lab_proc_stdout(const struct lab_proc *p);
const char *lab_proc_stderr(const struct lab_proc *p);

/* Resources used, once it has ended. */
const struct rusage *lab_proc_rusage(const struct lab_proc *p);

/* Show command, exit status and output on stderr, for a test that fails. */
void lab_proc_dump(struct lab_proc *p);

#endif

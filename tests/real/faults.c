/* Everything that can break, at every moment of a move, on real QEMUs: what becomes of the guest?
 *
 *   faults [options]          the matrix: each mode x moment x fault, a row each
 *   faults --runs N           so many random ones instead: guest, mode, moment, fault, delay by a seed
 *
 *   --only MODE/MOMENT/FAULT  those cells; a part may be left empty ("/first-pass/")
 *   --seed N                  of the random ones
 *   --with "OPTIONS"          for qferry migrate, such as "--channels 2"
 *   --list                    the cells, nothing is run
 *
 * Each cell has its own process, its own network namespace (both QEMUs and qferry are in it; the
 * memory goes over its loopback, the monitors are UNIX sockets) and its own laboratory. After each:
 *
 *   exactly one side runs the guest, its memory is what it was, and qferry said that side; or the
 *   guest is lost, qferry says so, and that loss is one of those that are documented
 *
 * A qferry that holds (exit 7 though the guest can be saved) is run again: that must finish it.
 * The row says in which states both sides were when the fault struck, since no moment can be held
 * still: a cell whose moment had passed is marked so, and proves what it hit.
 *
 * Needs root (namespaces) and iproute2. Exit 1 if anything is BAD. */
#include <errno.h>
#include <jansson.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/real/lab.h"

#define MODES(X)                                                      \
    X(PRECOPY, "precopy", "ws=24 rate=1500", "--bandwidth 14MiB")     \
    X(POSTCOPY, "postcopy", "ws=24 flat",                             \
      "-p post-copy --bandwidth 40MiB --set postcopy.bandwidth=6MiB") \
    X(STOP, "stop-and-copy", "ws=24 rate=1500", "-p stop-and-copy --bandwidth 14MiB")

/* Moment; where it is waited for. */
#define MOMENTS(X)                        \
    X(SETUP, "setup")                     \
    X(FIRST_PASS, "first-pass")           \
    X(LATER_PASS, "later-pass")           \
    X(PRE_SWITCHOVER, "pre-switchover")   \
    X(DEVICE, "device")                   \
    X(POSTCOPY_ACTIVE, "postcopy-active") \
    X(POSTCOPY_PAUSED, "postcopy-paused") \
    X(RECOVERING, "recovering")           \
    X(COMPLETED, "completed")

#define FAULTS(X)                                        \
    X(NONE, "none")                                      \
    X(KILL_SOURCE, "kill-source")                        \
    X(KILL_DESTINATION, "kill-destination")              \
    X(KILL_QFERRY, "kill-qferry")                        \
    X(FREEZE_SOURCE, "freeze-source")                    \
    X(FREEZE_DESTINATION, "freeze-destination")          \
    X(LINK_DOWN, "link-down")                            \
    X(LINK_BACK, "link-down-and-back")                   \
    X(HOLE, "black-hole")                                \
    X(HOLE_BACK, "black-hole-and-back")                  \
    X(RESET, "reset")                                    \
    X(MONITOR_SOURCE, "source-monitor-closed")           \
    X(MONITOR_DESTINATION, "destination-monitor-closed") \
    X(JOURNAL, "journal-full")                           \
    X(CANCEL, "cancel")

enum mode {
#define X(id, ...) MODE_##id,
    MODES(X)
#undef X
        MODE_COUNT
};
enum moment {
#define X(id, name) MOMENT_##id,
    MOMENTS(X)
#undef X
        MOMENT_COUNT
};
enum fault {
#define X(id, name) FAULT_##id,
    FAULTS(X)
#undef X
        FAULT_COUNT
};

static const char *const mode_names[] = {
#define X(id, name, guest, options) name,
    MODES(X)
#undef X
};
static const char *const mode_guests[] = {
#define X(id, name, guest, options) guest,
    MODES(X)
#undef X
};
static const char *const mode_options[] = {
#define X(id, name, guest, options) options,
    MODES(X)
#undef X
};
static const char *const moment_names[] = {
#define X(id, name) name,
    MOMENTS(X)
#undef X
};
static const char *const fault_names[] = {
#define X(id, name) name,
    FAULTS(X)
#undef X
};

enum {
    TEXT_MAX = 512,
    ARGS_MAX = 48,
    CELL_MS = 240 * 1000, /* qferry's own end, at the latest */
    FREEZE_MS = 5000,
    AWAY_MS = 3000,   /* a link that comes back */
    BROKEN_MS = 40000 /* one that does not, unless qferry waits for it (post-copy) */
};

struct cell {
    enum mode mode;
    enum moment moment;
    enum fault fault;
    unsigned delay_ms; /* after the moment */
    char guest[128];   /* "": the mode's */
};

/* How a cell ended, as its process tells by its exit status. */
enum verdict { GOOD, LOST, HELD, BAD };

static const char *const verdict_names[] = {"ok", "lost, as documented", "held, then ok",
                                            "BAD"};

static struct world {
    struct cell cell;
    const char *with;
    struct lab *lab;
    struct lab_vm *src;
    struct lab_vm *dst;
    struct lab_proc *qferry;
    struct lab_proc *relay[2]; /* monitors that can be cut */
    char monitor[2][LAB_PATH_MAX];
    char journal[LAB_PATH_MAX];
    json_t *settings; /* the source's, as found */
    bool missed;      /* the moment had passed */
    char hit[TEXT_MAX];
    char note[TEXT_MAX];
} w;

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(w.note, sizeof(w.note), format, ap);
    va_end(ap);
}

static bool sh(const char *command)
{
    return system(command) == 0;
}

/* ---- the world of a cell ---- */

static bool is_monitor_fault(enum fault f)
{
    return f == FAULT_MONITOR_SOURCE || f == FAULT_MONITOR_DESTINATION;
}

/* Between qferry and a monitor, so that the connection can be cut: socat, a child a connection. */
static bool begin_relay(unsigned side, struct lab_vm *vm)
{
    char listen[LAB_PATH_MAX + 32];
    char connect[LAB_PATH_MAX + 32];
    (void)lab_path(w.lab, side == 0 ? "s.relay" : "d.relay", w.monitor[side]);
    (void)snprintf(listen, sizeof(listen), "UNIX-LISTEN:%s,fork", w.monitor[side]);
    (void)snprintf(connect, sizeof(connect), "UNIX-CONNECT:%s", lab_vm_qmp_path(vm));
    const char *const argv[] = {"setsid", "socat", listen, connect, NULL};
    w.relay[side] = lab_spawn(w.lab, argv);
    for (int i = 0; w.relay[side] && i < 500 && access(w.monitor[side], F_OK) != 0; i++)
        lab_pump(w.lab, 10);
    return w.relay[side] != NULL;
}

/* The child that serves the connection. */
static bool cut_relay(unsigned side)
{
    char command[64];
    (void)snprintf(command, sizeof(command), "pkill -KILL -P %d",
                   (int)lab_proc_pid(w.relay[side]));
    return sh(command);
}

static bool begin_world(void)
{
    struct lab_vm_opts o = {.name = "src",
                            .append = w.cell.guest[0] != '\0' ? w.cell.guest
                                                              : mode_guests[w.cell.mode]};
    if (unshare(CLONE_NEWNET) != 0 || !sh("ip link set lo up") ||
        !sh("tc qdisc add dev lo root tbf rate 400mbit burst 256kb latency 50ms")) {
        say("no namespace of its own: %s", strerror(errno));
        return false;
    }
    w.lab = lab_open();
    w.src = w.lab ? lab_vm_start(w.lab, &o) : NULL;
    o.name = "dst";
    o.incoming = true;
    o.paused = true;
    w.dst = w.src ? lab_vm_start(w.lab, &o) : NULL;
    if (!w.dst || lab_guest_ready(w.src) != 0) {
        say("the machines do not start");
        return false;
    }
    (void)lab_path(w.lab, "journal", w.journal);
    (void)snprintf(w.monitor[0], LAB_PATH_MAX, "%s", lab_vm_qmp_path(w.src));
    (void)snprintf(w.monitor[1], LAB_PATH_MAX, "%s", lab_vm_qmp_path(w.dst));
    if (is_monitor_fault(w.cell.fault) &&
        (!begin_relay(0, w.src) || !begin_relay(1, w.dst)))
        return false;
    w.settings = lab_qmp(w.src, "query-migrate-parameters", NULL);
    return w.settings != NULL;
}

static unsigned split(char *text, const char **argv, unsigned n)
{
    for (char *word = strtok(text, " "); word && n + 1 < ARGS_MAX; word = strtok(NULL, " "))
        argv[n++] = word;
    return n;
}

static bool begin_qferry(void)
{
    static char options[TEXT_MAX];
    const char *argv[ARGS_MAX] = {FAULTS_QFERRY,
                                  "migrate",
                                  w.monitor[0],
                                  w.monitor[1],
                                  "--json",
                                  "--journal",
                                  w.cell.fault == FAULT_JOURNAL ? "/dev/full" : w.journal};
    (void)snprintf(options, sizeof(options), "%s %s", mode_options[w.cell.mode], w.with);
    argv[split(options, argv, 7)] = NULL;
    w.qferry = lab_spawn(w.lab, argv);
    return w.qferry != NULL;
}

/* ---- moments ---- */

static bool was_status(struct lab_vm *vm, const char *status)
{
    for (size_t i = 0; i < lab_event_count(vm); i++) {
        const struct lab_event *e = lab_event_at(vm, i);
        const char *text = json_string_value(json_object_get(e->data, "status"));
        if (strcmp(e->name, "MIGRATION") == 0 && text && strcmp(text, status) == 0)
            return true;
    }
    return false;
}

static bool was_pass(unsigned n)
{
    for (size_t i = 0; i < lab_event_count(w.src); i++) {
        const struct lab_event *e = lab_event_at(w.src, i);
        if (strcmp(e->name, "MIGRATION_PASS") == 0 &&
            json_integer_value(json_object_get(e->data, "pass")) >= (json_int_t)n)
            return true;
    }
    return false;
}

static bool has_come(enum moment moment)
{
    switch (moment) {
    case MOMENT_SETUP:
        return strstr(lab_proc_stdout(w.qferry), "\"phase\":\"prepare\"") != NULL;
    case MOMENT_FIRST_PASS:
        return was_status(w.src, "active");
    case MOMENT_LATER_PASS:
        return was_pass(3);
    case MOMENT_PRE_SWITCHOVER:
        return was_status(w.src, "pre-switchover");
    case MOMENT_DEVICE:
        return was_status(w.src, "device");
    case MOMENT_POSTCOPY_ACTIVE:
        return was_status(w.src, "postcopy-active");
    case MOMENT_POSTCOPY_PAUSED:
        return was_status(w.src, "postcopy-paused");
    case MOMENT_RECOVERING:
        return was_status(w.src, "postcopy-recover") ||
               was_status(w.src, "postcopy-recover-setup");
    case MOMENT_COMPLETED:
        return was_status(w.src, "completed");
    case MOMENT_COUNT:
        break;
    }
    return false;
}

static bool await(enum moment moment)
{
    for (int64_t end = lab_now_ns() + CELL_MS * INT64_C(1000000); lab_now_ns() < end;) {
        if (has_come(moment))
            return true;
        if (!lab_proc_alive(w.qferry))
            return false;
        lab_pump(w.lab, 1);
    }
    return false;
}

static bool wait_for_moment(void)
{
    const enum moment moment = w.cell.moment;
    if (moment == MOMENT_POSTCOPY_PAUSED || moment == MOMENT_RECOVERING) {
        if (!await(MOMENT_POSTCOPY_ACTIVE))
            return false;
        lab_pump(w.lab, 200);
        (void)sh("ss -K state established >/dev/null 2>&1");
    }
    if (!await(moment))
        return false;
    if (w.cell.delay_ms > 0)
        lab_pump(w.lab, (int)w.cell.delay_ms);
    return true;
}

/* ---- faults ---- */

static const char *last_status(struct lab_vm *vm)
{
    const char *status = "none";
    for (size_t i = 0; i < lab_event_count(vm); i++) {
        const struct lab_event *e = lab_event_at(vm, i);
        if (strcmp(e->name, "MIGRATION") == 0)
            status = json_string_value(json_object_get(e->data, "status"));
    }
    return status ? status : "none";
}

static void freeze(struct lab_vm *vm)
{
    (void)lab_vm_kill(vm, SIGSTOP);
    lab_pump(w.lab, FREEZE_MS);
    (void)lab_vm_kill(vm, SIGCONT);
}

static void until_qferry_ends(int ms)
{
    for (int64_t end = lab_now_ns() + ms * INT64_C(1000000);
         lab_now_ns() < end && lab_proc_alive(w.qferry);)
        lab_pump(w.lab, 20);
}

static void strike(void)
{
    (void)snprintf(w.hit, sizeof(w.hit), "%s || %s", last_status(w.src),
                   last_status(w.dst));
    switch (w.cell.fault) {
    case FAULT_NONE:
    case FAULT_JOURNAL:
    case FAULT_COUNT:
        break;
    case FAULT_KILL_SOURCE:
        (void)lab_vm_kill(w.src, SIGKILL);
        break;
    case FAULT_KILL_DESTINATION:
        (void)lab_vm_kill(w.dst, SIGKILL);
        break;
    case FAULT_KILL_QFERRY:
        (void)lab_proc_signal(w.qferry, SIGKILL);
        (void)lab_proc_wait(w.qferry, 0, NULL);
        (void)begin_qferry();
        break;
    case FAULT_FREEZE_SOURCE:
        freeze(w.src);
        break;
    case FAULT_FREEZE_DESTINATION:
        freeze(w.dst);
        break;
    case FAULT_LINK_DOWN:
    case FAULT_LINK_BACK:
        (void)sh("ip link set lo down");
        until_qferry_ends(w.cell.fault == FAULT_LINK_BACK ? AWAY_MS : BROKEN_MS);
        (void)sh("ip link set lo up");
        break;
    case FAULT_HOLE:
    case FAULT_HOLE_BACK:
        (void)sh("tc qdisc replace dev lo root pfifo limit 0");
        until_qferry_ends(w.cell.fault == FAULT_HOLE_BACK ? AWAY_MS : BROKEN_MS);
        (void)sh("tc qdisc del dev lo root");
        break;
    case FAULT_RESET:
        (void)sh("ss -K state established >/dev/null 2>&1");
        break;
    case FAULT_MONITOR_SOURCE:
        (void)cut_relay(0);
        break;
    case FAULT_MONITOR_DESTINATION:
        (void)cut_relay(1);
        break;
    case FAULT_CANCEL:
        (void)lab_proc_signal(w.qferry, SIGINT);
        break;
    }
}

/* ---- what must hold ---- */

struct said {
    int exit;
    char outcome[32];
    char place[32];
    char reason[TEXT_MAX];
};

static bool read_result(struct said *said)
{
    int status;
    *said = (struct said){.exit = -1};
    if (lab_proc_wait(w.qferry, CELL_MS, &status) != 0) {
        say("qferry does not end");
        return false;
    }
    if (!WIFEXITED(status)) {
        say("qferry died of signal %d", WTERMSIG(status));
        return false;
    }
    said->exit = WEXITSTATUS(status);
    const char *out = lab_proc_stdout(w.qferry);
    const char *last = out;
    for (const char *p = out; (p = strchr(p, '\n')) && p[1] != '\0'; p++)
        last = p + 1;
    json_t *line = json_loads(last, JSON_DISABLE_EOF_CHECK, NULL);
    const char *type = json_string_value(json_object_get(line, "type"));
    const bool fine = type && strcmp(type, "result") == 0;
    if (fine) {
        const char *text = json_string_value(json_object_get(line, "outcome"));
        (void)snprintf(said->outcome, sizeof(said->outcome), "%s", text ? text : "");
        text = json_string_value(json_object_get(line, "running_on"));
        (void)snprintf(said->place, sizeof(said->place), "%s", text ? text : "");
        text = json_string_value(json_object_get(line, "reason"));
        (void)snprintf(said->reason, sizeof(said->reason), "%s", text ? text : "");
    } else {
        say("exit %d without a result", said->exit);
    }
    json_decref(line);
    return fine;
}

static bool runs(struct lab_vm *vm)
{
    char state[LAB_STATE_MAX];
    return lab_vm_alive(vm) && lab_run_state(vm, state) == 0 &&
           strcmp(state, "running") == 0;
}

/* The guest cannot be had back: a side died that had a part of it, or all. */
static bool may_be_lost(void)
{
    return (w.cell.fault == FAULT_KILL_SOURCE && !was_status(w.dst, "completed")) ||
           (w.cell.fault == FAULT_KILL_DESTINATION &&
            (was_status(w.src, "postcopy-active") || was_status(w.src, "completed")));
}

static enum verdict judge_place(const struct said *said, bool again);

static enum verdict held(const struct said *said)
{
    struct said now;
    char first[160];
    (void)snprintf(first, sizeof(first), "%.150s", said->reason);
    if (!begin_qferry() || !read_result(&now))
        return BAD;
    const enum verdict v = judge_place(&now, true);
    if (v == GOOD)
        say("held: %s", first);
    return v == GOOD ? HELD : v;
}

static enum verdict judge_place(const struct said *said, bool again)
{
    const bool on_src = runs(w.src);
    const bool on_dst = runs(w.dst);
    if (on_src && on_dst) {
        say("TWO RUN: exit %d, %s, on %s", said->exit, said->outcome, said->place);
        return BAD;
    }
    /* a destination without its source runs on until it needs a page */
    if (!on_src && (!on_dst || w.cell.fault == FAULT_KILL_SOURCE) && may_be_lost()) {
        if (said->exit == 7 || (said->exit == 0 && w.cell.fault == FAULT_KILL_DESTINATION))
            return LOST;
        say("lost, but exit %d, %s, on %s", said->exit, said->outcome, said->place);
        return BAD;
    }
    if (said->exit == 7 && !again)
        return held(said);
    if (!on_src && !on_dst) {
        say("NOBODY RUNS: exit %d, %s, on %s: %.200s", said->exit, said->outcome,
            said->place, said->reason);
        return BAD;
    }
    const char *place = on_src ? "source" : "destination";
    const bool right =
        strcmp(said->place, place) == 0 &&
        (on_src ? said->exit == 4 || said->exit == 5 || said->exit == 6 : said->exit == 0);
    if (!right) {
        say("it runs on the %s: exit %d, %s, on %s: %.200s", place, said->exit,
            said->outcome, said->place, said->reason);
        return BAD;
    }
    if (lab_guest_verify(on_src ? w.src : w.dst) != 1) {
        say("the guest's memory on the %s is not what it was", place);
        return BAD;
    }
    return GOOD;
}

static bool is_put_back(void)
{
    if (!lab_vm_alive(w.src))
        return true;
    json_t *now = lab_qmp(w.src, "query-migrate-parameters", NULL);
    const bool same = now && json_equal(now, w.settings);
    json_decref(now);
    return same;
}

static enum verdict run_cell(void)
{
    struct said said;
    if (!begin_world() || !begin_qferry())
        return BAD;
    w.missed = !wait_for_moment();
    if (w.missed)
        (void)snprintf(w.hit, sizeof(w.hit), "the moment did not come");
    else
        strike();
    if (!read_result(&said))
        return BAD;
    enum verdict v = judge_place(&said, false);
    if (v == GOOD && !is_put_back() && w.cell.fault != FAULT_KILL_QFERRY) {
        say("the source's parameters were not put back");
        v = BAD;
    }
    if (v == GOOD && w.note[0] == '\0')
        say("exit %d, %s, on %s", said.exit, said.outcome, said.place);
    if (v == LOST && w.note[0] == '\0')
        say("exit %d: %.160s", said.exit, said.reason);
    if (v == BAD) {
        lab_proc_dump(w.qferry);
        lab_vm_dump(w.src);
        lab_vm_dump(w.dst);
    }
    return v;
}

/* ---- rows ---- */

static bool is_possible(const struct cell *c)
{
    const bool in_postcopy = c->moment == MOMENT_POSTCOPY_ACTIVE ||
                             c->moment == MOMENT_POSTCOPY_PAUSED ||
                             c->moment == MOMENT_RECOVERING;
    if (in_postcopy && c->mode != MODE_POSTCOPY)
        return false;
    if (c->moment == MOMENT_LATER_PASS && c->mode != MODE_PRECOPY)
        return false; /* post-copy is switched to after the second pass; stopped, there is one */
    if (c->fault == FAULT_JOURNAL || c->fault == FAULT_NONE)
        return c->moment == MOMENT_SETUP; /* it is so from the beginning */
    return true;
}

static unsigned count[BAD + 1];
static unsigned missed;
static unsigned n_cells;

/* In a process of its own: exit status is the verdict, 16 more: the moment did not come. */
static void row(const struct cell *c, const char *with)
{
    char name[160];
    int status;
    const int64_t begin_ns = lab_now_ns();
    (void)snprintf(name, sizeof(name), "%s/%s/%s", mode_names[c->mode],
                   moment_names[c->moment], fault_names[c->fault]);
    (void)fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) {
        w.cell = *c;
        w.with = with;
        const enum verdict v = run_cell();
        (void)printf("%-52s %-20s %-42s %s\n", name, verdict_names[v], w.hit, w.note);
        (void)fflush(stdout);
        lab_close(w.lab);
        _exit((int)v + (w.missed ? 16 : 0));
    }
    enum verdict v = BAD;
    if (pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status)) {
        v = (enum verdict)(WEXITSTATUS(status) & 15);
        missed += WEXITSTATUS(status) >= 16;
    }
    n_cells++;
    count[v > BAD ? BAD : v]++;
    if (v == BAD)
        (void)printf(
            "    again: faults --only %s --delay %u --guest '%s' --with '%s'  (%.1f s)\n",
            name, c->delay_ms, c->guest, with, (double)(lab_now_ns() - begin_ns) / 1e9);
}

static bool is_part(const char *wanted, size_t n, const char *name)
{
    return n == 0 || (strlen(name) == n && strncmp(wanted, name, n) == 0);
}

static bool is_wanted(const struct cell *c, const char *only)
{
    const char *a = strchr(only, '/');
    const char *b = a ? strchr(a + 1, '/') : NULL;
    if (only[0] == '\0')
        return true;
    if (!b)
        return false;
    return is_part(only, (size_t)(a - only), mode_names[c->mode]) &&
           is_part(a + 1, (size_t)(b - a - 1), moment_names[c->moment]) &&
           is_part(b + 1, strlen(b + 1), fault_names[c->fault]);
}

static uint64_t seed;

static unsigned draw(unsigned n)
{
    seed += UINT64_C(0x9E3779B97F4A7C15); /* splitmix64 (Steele, Lea, Flood, 2014) */
    uint64_t z = seed;
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (unsigned)((z ^ (z >> 31)) % n);
}

static struct cell draw_cell(const char *only)
{
    struct cell c;
    do {
        c = (struct cell){.mode = (enum mode)draw(MODE_COUNT),
                          .moment = (enum moment)draw(MOMENT_COUNT),
                          .fault = (enum fault)draw(FAULT_COUNT)};
    } while (!is_possible(&c) || !is_wanted(&c, only));
    c.delay_ms = draw(3) == 0 ? 0 : draw(400);
    if (c.mode == MODE_POSTCOPY)
        (void)snprintf(c.guest, sizeof(c.guest), "ws=%u cold=%u flat", 12 + draw(20),
                       draw(24));
    else
        (void)snprintf(c.guest, sizeof(c.guest), "ws=%u cold=%u rate=%u", 8 + draw(24),
                       draw(24), draw(2500));
    return c;
}

static int usage(void)
{
    (void)fprintf(stderr, "usage: faults [--only MODE/MOMENT/FAULT] [--runs N] [--seed N] "
                          "[--delay MS] [--guest PARAMETERS] [--with OPTIONS] [--list]\n");
    return 2;
}

int main(int argc, char **argv)
{
    const char *only = "";
    const char *with = "";
    const char *guest = "";
    unsigned runs_wanted = 0;
    unsigned delay_ms = 0;
    bool list = false;
    seed = 1;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--list") == 0) {
            list = true;
            continue;
        }
        if (!value)
            return usage();
        if (strcmp(argv[i], "--only") == 0)
            only = value;
        else if (strcmp(argv[i], "--with") == 0)
            with = value;
        else if (strcmp(argv[i], "--guest") == 0)
            guest = value;
        else if (strcmp(argv[i], "--runs") == 0)
            runs_wanted = (unsigned)strtoul(value, NULL, 10);
        else if (strcmp(argv[i], "--delay") == 0)
            delay_ms = (unsigned)strtoul(value, NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(value, NULL, 10);
        else
            return usage();
        i++;
    }
    if (lab_missing() && !list) {
        (void)printf("skipped: %s\n", lab_missing());
        return 77;
    }
    if (geteuid() != 0 && !list) {
        (void)printf("skipped: needs root for network namespaces\n");
        return 77;
    }
    if (runs_wanted > 0) {
        (void)printf("seed %llu, %u runs\n", (unsigned long long)seed, runs_wanted);
        for (unsigned i = 0; i < runs_wanted; i++) {
            const struct cell c = draw_cell(only);
            row(&c, with);
        }
    } else {
        for (unsigned i = 0; i < MODE_COUNT * MOMENT_COUNT * FAULT_COUNT; i++) {
            struct cell c = {.mode = (enum mode)(i / FAULT_COUNT / MOMENT_COUNT),
                             .moment = (enum moment)(i / FAULT_COUNT % MOMENT_COUNT),
                             .fault = (enum fault)(i % FAULT_COUNT),
                             .delay_ms = delay_ms};
            (void)snprintf(c.guest, sizeof(c.guest), "%s", guest);
            if (!is_possible(&c) || !is_wanted(&c, only))
                continue;
            if (list)
                (void)printf("%s/%s/%s\n", mode_names[c.mode], moment_names[c.moment],
                             fault_names[c.fault]);
            else
                row(&c, with);
        }
    }
    if (list)
        return 0;
    (void)printf(
        "%u cells: %u ok, %u lost as documented, %u held and then ok, %u BAD; in %u the "
        "moment did not come\n",
        n_cells, count[GOOD], count[LOST], count[HELD], count[BAD], missed);
    return n_cells == 0 || count[BAD] > 0;
}

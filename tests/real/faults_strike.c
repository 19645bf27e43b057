/* The moment, and the fault. No moment can be held still: the row says what was hit. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/real/faults.h"

enum {
    MOMENT_MS = 240 * 1000,
    FREEZE_MS = 5000,
    AWAY_MS = 3000,    /* a link that comes back */
    BROKEN_MS = 40000, /* one that does not, unless qferry waits for it (post-copy) */
    SETTLED_MS = 100,  /* after `active`: what opens a connection has been said */
    PAGES_MS = 200     /* of post-copy, before it is interrupted */
};

/* ---- moments ---- */

bool faults_was_status(struct lab_vm *vm, const char *status)
{
    for (size_t i = 0; i < lab_event_count(vm); i++) {
        const struct lab_event *e = lab_event_at(vm, i);
        const char *text = json_string_value(json_object_get(e->data, "status"));
        if (strcmp(e->name, "MIGRATION") == 0 && text && strcmp(text, status) == 0)
            return true;
    }
    return false;
}

static bool source_was(const char *status)
{
    return faults_was_status(w.vm[FAULTS_SRC], status);
}

static bool was_pass(unsigned n)
{
    for (size_t i = 0; i < lab_event_count(w.vm[FAULTS_SRC]); i++) {
        const struct lab_event *e = lab_event_at(w.vm[FAULTS_SRC], i);
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
        return source_was("active");
    case MOMENT_LATER_PASS:
        return was_pass(3);
    case MOMENT_PRE_SWITCHOVER:
        return source_was("pre-switchover");
    case MOMENT_DEVICE:
        return source_was("device");
    case MOMENT_ACK_LOST: /* all has been loaded; in post-copy it is the package */
        return w.cell.mode == MODE_POSTCOPY
                   ? source_was("postcopy-device")
                   : source_was("device") &&
                         faults_was_status(w.vm[FAULTS_DST], "completed");
    case MOMENT_POSTCOPY_ACTIVE:
        return source_was("postcopy-active");
    case MOMENT_POSTCOPY_PAUSED:
        return source_was("postcopy-paused");
    case MOMENT_RECOVERING:
        return source_was("postcopy-recover") || source_was("postcopy-recover-setup");
    case MOMENT_COMPLETED:
        return source_was("completed");
    case MOMENT_COUNT:
        break;
    }
    return false;
}

static bool await(enum moment moment)
{
    for (int64_t end = lab_now_ns() + MOMENT_MS * INT64_C(1000000); lab_now_ns() < end;) {
        if (has_come(moment))
            return true;
        if (!lab_proc_alive(w.qferry))
            return false;
        lab_pump(w.lab, 1);
    }
    return false;
}

static bool reset(void)
{
    return faults_sh("ss -K state established");
}

bool faults_wait_for_moment(void)
{
    const enum moment moment = w.cell.moment;
    if (moment == MOMENT_POSTCOPY_PAUSED || moment == MOMENT_RECOVERING) {
        if (!await(MOMENT_POSTCOPY_ACTIVE))
            return false;
        lab_pump(w.lab, PAGES_MS);
        (void)reset();
    }
    if (moment == MOMENT_ACK_LOST) {
        if (!await(MOMENT_FIRST_PASS))
            return false;
        lab_pump(w.lab, SETTLED_MS);
        if (!world_lose_ack())
            return false;
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

static void kill_machine(unsigned side)
{
    if (lab_vm_alive(w.vm[side]))
        (void)lab_vm_kill(w.vm[side], SIGKILL);
}

static void freeze(unsigned side)
{
    if (!lab_vm_alive(w.vm[side]))
        return;
    (void)lab_vm_kill(w.vm[side], SIGSTOP);
    lab_pump(w.lab, FREEZE_MS);
    (void)lab_vm_kill(w.vm[side], SIGCONT);
}

static void until_qferry_ends(int ms)
{
    for (int64_t end = lab_now_ns() + ms * INT64_C(1000000);
         lab_now_ns() < end && lab_proc_alive(w.qferry);)
        lab_pump(w.lab, 20);
}

static void kill_qferry(void)
{
    if (lab_proc_alive(w.qferry))
        (void)lab_proc_signal(w.qferry, SIGKILL);
    (void)lab_proc_wait(w.qferry, 0, NULL);
    (void)world_begin_qferry();
}

/* The child of socat that serves the connection. */
static void cut_monitor(unsigned side)
{
    char command[64];
    (void)snprintf(command, sizeof(command), "pkill -KILL -P %d",
                   (int)lab_proc_pid(w.relay[side]));
    (void)faults_sh(command);
}

/* To the last byte. */
static void fill_disk(void)
{
    static const char zeros[65536];
    char path[LAB_PATH_MAX + 16];
    (void)snprintf(path, sizeof(path), "%s/filler", w.disk);
    const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    for (size_t n = sizeof(zeros); fd >= 0 && n > 0;)
        if (write(fd, zeros, n) <= 0)
            n /= 16;
    if (fd >= 0)
        (void)close(fd);
}

void faults_strike(void)
{
    w.struck_ns = lab_now_ns();
    (void)snprintf(w.hit, sizeof(w.hit), "%s || %s", last_status(w.vm[FAULTS_SRC]),
                   last_status(w.vm[FAULTS_DST]));
    switch (w.cell.fault) {
    case FAULT_NONE:
    case FAULT_COUNT:
        break;
    case FAULT_JOURNAL:
        fill_disk();
        break;
    case FAULT_KILL_SOURCE:
        kill_machine(FAULTS_SRC);
        break;
    case FAULT_KILL_DESTINATION:
        kill_machine(FAULTS_DST);
        break;
    case FAULT_KILL_QFERRY:
        kill_qferry();
        break;
    case FAULT_FREEZE_SOURCE:
        freeze(FAULTS_SRC);
        break;
    case FAULT_FREEZE_DESTINATION:
        freeze(FAULTS_DST);
        break;
    case FAULT_LINK_DOWN:
    case FAULT_LINK_BACK:
        (void)faults_sh("ip link set lo down");
        until_qferry_ends(w.cell.fault == FAULT_LINK_BACK ? AWAY_MS : BROKEN_MS);
        (void)faults_sh("ip link set lo up");
        break;
    case FAULT_HOLE:
    case FAULT_HOLE_BACK:
        w.ack_is_lost = false; /* it is found again with all the rest */
        (void)faults_sh("tc qdisc replace dev lo root pfifo limit 0");
        until_qferry_ends(w.cell.fault == FAULT_HOLE_BACK ? AWAY_MS : BROKEN_MS);
        (void)faults_sh("tc qdisc del dev lo root");
        break;
    case FAULT_RESET:
        (void)reset();
        break;
    case FAULT_MONITOR_SOURCE:
        cut_monitor(FAULTS_SRC);
        break;
    case FAULT_MONITOR_DESTINATION:
        cut_monitor(FAULTS_DST);
        break;
    case FAULT_WORDS: /* the requests for pages, and the last one */
        (void)world_lose_ack();
        until_qferry_ends(BROKEN_MS);
        world_find_ack();
        break;
    case FAULT_CANCEL:
        if (lab_proc_alive(w.qferry))
            (void)lab_proc_signal(w.qferry, SIGINT);
        break;
    }
}

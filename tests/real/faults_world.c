/* A cell's own world: namespaces (network, mounts), a laboratory, two machines, qferry.
 *
 * Both QEMUs and qferry are in the network namespace; memory goes over its loopback, monitors are
 * UNIX sockets. The journal is on a disk of its own where that is to become full. */
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/real/faults.h"

enum { ARGS_MAX = 64 };

/* Where the destination listens when its words are to be lost: a mask is all that u32 can match. */
#define ACK_PORTS     "49152-49167"
#define ACK_MATCH     "match ip protocol 6 0xff match ip sport 0xc000 0xfff0"
#define LINK_OF_A_BOX "rate 400mbit burst 256kb latency 50ms"

struct faults_world w;

void faults_say(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(w.note, sizeof(w.note), format, ap);
    va_end(ap);
}

bool faults_sh(const char *command)
{
    char quiet[1024];
    (void)snprintf(quiet, sizeof(quiet), "{ %s; } >/dev/null 2>&1", command);
    return system(quiet) == 0;
}

/* ---- settings ---- */

static bool ask(struct lab_vm *vm, const char *command, const char *arguments, json_t **out)
{
    enum { ANSWER_MS = 10000 };
    char why[256];
    *out = lab_qmp_try(vm, command, arguments, ANSWER_MS, why, sizeof(why));
    return *out != NULL;
}

void settings_free(struct settings *s)
{
    json_decref(s->params);
    json_decref(s->caps);
    json_decref(s->objects);
    memset(s, 0, sizeof(*s));
}

bool settings_read(struct lab_vm *vm, struct settings *out)
{
    memset(out, 0, sizeof(*out));
    if (ask(vm, "query-migrate-parameters", NULL, &out->params) &&
        ask(vm, "query-migrate-capabilities", NULL, &out->caps) &&
        ask(vm, "qom-list", "{\"path\": \"/objects\"}", &out->objects))
        return true;
    settings_free(out);
    return false;
}

/* ---- processes ---- */

unsigned world_children(pid_t out[16])
{
    char path[64];
    unsigned n = 0;
    int pid;
    (void)snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    FILE *f = fopen(path, "r");
    if (!f)
        return 0;
    while (n < 16 && fscanf(f, "%d", &pid) == 1)
        out[n++] = pid;
    (void)fclose(f);
    return n;
}

/* ---- the network ---- */

static bool begin_network(void)
{
    return unshare(CLONE_NEWNET) == 0 && faults_sh("ip link set lo up") &&
           faults_sh("echo 50000 60999 >/proc/sys/net/ipv4/ip_local_port_range") &&
           faults_sh("tc qdisc add dev lo root tbf " LINK_OF_A_BOX);
}

/* By length: 40, 52 and 64 bytes are TCP without a word in it. The band of the others has no room. */
bool world_lose_ack(void)
{
    w.ack_is_lost = true;
    return faults_sh(
        "set -e; tc qdisc replace dev lo root handle 1: htb default 1;"
        "tc class add dev lo parent 1: classid 1:1 htb rate 400mbit;"
        "tc class add dev lo parent 1: classid 1:3 htb rate 400mbit;"
        "tc qdisc add dev lo parent 1:3 pfifo limit 0;"
        "for n in 40 52 64; do tc filter add dev lo parent 1: protocol ip prio 1 "
        "u32 " ACK_MATCH " match u16 $n 0xffff at 2 flowid 1:1; done;"
        "tc filter add dev lo parent 1: protocol ip prio 2 u32 " ACK_MATCH " flowid 1:3");
}

void world_find_ack(void)
{
    if (w.ack_is_lost)
        (void)faults_sh("tc qdisc replace dev lo root tbf " LINK_OF_A_BOX);
    w.ack_is_lost = false;
}

/* ---- files ---- */

/* In the mounts of this process and its children only. */
static bool begin_disk(void)
{
    lab_path(w.lab, "disk", w.disk);
    if (mkdir(w.disk, 0700) == 0 && unshare(CLONE_NEWNS) == 0 &&
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
        mount("disk", w.disk, "tmpfs", 0, "size=16m") == 0) {
        (void)snprintf(w.journal, sizeof(w.journal), "%.90s/journal", w.disk);
        return true;
    }
    w.disk[0] = '\0';
    faults_say("no disk of its own: %s", strerror(errno));
    return false;
}

static bool begin_files(void)
{
    lab_path(w.lab, "journal", w.journal);
    lab_path(w.lab, "run", w.run);
    lab_path(w.lab, "state", w.state);
    lab_path(w.lab, "control", w.control);
    if (mkdir(w.run, 0700) != 0 || mkdir(w.state, 0700) != 0 ||
        setenv("QFERRY_RUN_DIR", w.run, 1) != 0 ||
        setenv("STATE_DIRECTORY", w.state, 1) != 0)
        return false;
    return w.cell.fault != FAULT_JOURNAL || begin_disk();
}

/* ---- monitors that can be cut ---- */

/* Is there a socket of that name on which somebody listens? The file is there before that. */
static bool is_listened_on(const char *path)
{
    enum { ACCEPTS = 0x10000 /* __SO_ACCEPTCON, linux/net.h */ };
    char line[256];
    bool is = false;
    FILE *f = fopen("/proc/net/unix", "r");
    while (f && !is && fgets(line, sizeof(line), f)) {
        unsigned flags = 0;
        line[strcspn(line, "\n")] = '\0';
        const char *name = strchr(line, '/');
        is = name && strcmp(name, path) == 0 &&
             sscanf(line, "%*s %*s %*s %x", &flags) == 1 && (flags & ACCEPTS);
    }
    if (f)
        (void)fclose(f);
    return is;
}

/* Between qferry and a monitor, so that the connection can be cut: socat, a child a connection. */
static bool begin_relay(unsigned side)
{
    char from[LAB_PATH_MAX + 32];
    char to[LAB_PATH_MAX + 32];
    (void)lab_path(w.lab, side == FAULTS_SRC ? "s.relay" : "d.relay", w.monitor[side]);
    (void)snprintf(from, sizeof(from), "UNIX-LISTEN:%s,fork", w.monitor[side]);
    (void)snprintf(to, sizeof(to), "UNIX-CONNECT:%s", lab_vm_qmp_path(w.vm[side]));
    const char *const argv[] = {"setsid", "socat", from, to, NULL};
    w.relay[side] = lab_spawn(w.lab, argv);
    for (int i = 0; w.relay[side] && i < 500 && !is_listened_on(w.monitor[side]); i++)
        lab_pump(w.lab, 10);
    return w.relay[side] != NULL;
}

/* ---- all of it ---- */

static bool begin_machines(void)
{
    struct lab_vm_opts o = {.name = "src",
                            .append = w.cell.guest[0] != '\0' ? w.cell.guest
                                                              : mode_guests[w.cell.mode]};
    w.vm[FAULTS_SRC] = lab_vm_start(w.lab, &o);
    o.name = "dst";
    o.incoming = true;
    o.paused = true;
    w.vm[FAULTS_DST] = w.vm[FAULTS_SRC] ? lab_vm_start(w.lab, &o) : NULL;
    if (!w.vm[FAULTS_DST] || lab_guest_ready(w.vm[FAULTS_SRC]) != 0) {
        faults_say("the machines do not start");
        return false;
    }
    for (unsigned i = 0; i < 2; i++)
        (void)snprintf(w.monitor[i], LAB_PATH_MAX, "%s", lab_vm_qmp_path(w.vm[i]));
    return settings_read(w.vm[FAULTS_SRC], &w.found[FAULTS_SRC]) &&
           settings_read(w.vm[FAULTS_DST], &w.found[FAULTS_DST]);
}

bool world_begin(void)
{
    const bool cuts =
        w.cell.fault == FAULT_MONITOR_SOURCE || w.cell.fault == FAULT_MONITOR_DESTINATION;
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (!begin_network()) {
        faults_say("no network of its own: %s", strerror(errno));
        return false;
    }
    w.lab = lab_open();
    if (!w.lab || !begin_files() || !begin_machines() ||
        (cuts && (!begin_relay(FAULTS_SRC) || !begin_relay(FAULTS_DST))))
        return false;
    w.n_own = world_children(w.own);
    return true;
}

void world_end(void)
{
    settings_free(&w.found[FAULTS_SRC]);
    settings_free(&w.found[FAULTS_DST]);
    if (w.disk[0] != '\0')
        (void)umount2(w.disk, MNT_DETACH);
    lab_close(w.lab);
}

static unsigned split(char *text, const char **argv, unsigned n)
{
    for (char *word = strtok(text, " "); word && n + 1 < ARGS_MAX; word = strtok(NULL, " "))
        argv[n++] = word;
    return n;
}

bool world_begin_qferry(void)
{
    static char options[4 * FAULTS_TEXT];
    const char *argv[ARGS_MAX] = {FAULTS_QFERRY,
                                  "migrate",
                                  w.monitor[FAULTS_SRC],
                                  w.monitor[FAULTS_DST],
                                  "--json",
                                  "--journal",
                                  w.journal,
                                  "--control",
                                  w.control};
    (void)snprintf(options, sizeof(options), "%s %s %s %s",
                   w.cell.options[0] ? w.cell.options : mode_options[w.cell.mode],
                   way_options[w.cell.way],
                   w.cell.moment == MOMENT_ACK_LOST || w.cell.fault == FAULT_WORDS
                       ? "--port " ACK_PORTS
                       : "",
                   w.with);
    argv[split(options, argv, 9)] = NULL;
    w.qferry = lab_spawn(w.lab, argv);
    return w.qferry != NULL;
}

#include "tests/real/hosts.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct hosts hosts;

void hosts_sh(const char *format, ...)
{
    char command[512];
    va_list ap;

    va_start(ap, format);
    int n = snprintf(command, sizeof(command), "S=%s D=%s; ", hosts.src_ns, hosts.dst_ns);
    n += vsnprintf(command + n, sizeof(command) - (size_t)n, format, ap);
    va_end(ap);
    ck_assert_int_lt(n, (int)sizeof(command));
    ck_assert_msg(system(command) == 0, "failed: %s", command);
}

static void remove_namespaces(void)
{
    char command[160];

    snprintf(command, sizeof(command),
             "for n in %s %s; do [ ! -e /run/netns/$n ] || ip netns del $n; done",
             hosts.src_ns, hosts.dst_ns);
    (void)!system(command);
}

/* The kernel takes its time to say that a link is up again. */
void hosts_wait_for_link(const char *name)
{
    hosts_sh(
        "n=0; until ip -n %s link show %s | grep -q 'state UP'; do sleep 0.05; n=$((n+1)); "
        "[ $n -lt 200 ] || exit 1; done",
        hosts.src_ns, name);
}

static void join(const char *name, unsigned net)
{
    hosts_sh("ip link add %s netns %s type veth peer name %s netns %s", name, hosts.src_ns,
             name, hosts.dst_ns);
    hosts_sh("ip -n %s addr add 10.77.%u.1/24 dev %s", hosts.src_ns, net, name);
    hosts_sh("ip -n %s addr add 10.77.%u.2/24 dev %s", hosts.dst_ns, net, name);
    hosts_sh("ip -n %s link set %s up", hosts.src_ns, name);
    hosts_sh("ip -n %s link set %s up", hosts.dst_ns, name);
    hosts_wait_for_link(name);
}

void hosts_make_black_hole(const char *interface, unsigned net)
{
    hosts_sh(
        "ip -n $S neigh replace 10.77.%u.2 lladdr 02:00:00:00:00:77 nud permanent dev %s",
        net, interface);
}

static void make_namespaces(void)
{
    remove_namespaces();
    hosts_sh("ip netns add %s", hosts.src_ns);
    hosts_sh("ip netns add %s", hosts.dst_ns);
    hosts_sh("ip -n %s link set lo up", hosts.src_ns);
    hosts_sh("ip -n %s link set lo up", hosts.dst_ns);
    join("mig0", 1);
    join("mgt0", 2);
    join("hole0", 3);
    join("one0", 4);
    hosts_sh("ip -n %s addr add fd00:77::1/64 dev mig0 nodad", hosts.src_ns);
    hosts_sh("ip -n %s addr add fd00:77::2/64 dev mig0 nodad", hosts.dst_ns);
    hosts_sh("ip -n %s addr del 10.77.4.2/24 dev one0", hosts.dst_ns);
    hosts_make_black_hole("hole0", 3);
}

/* "exec ip netns exec NS qemu ...": the process is QEMU's. */
static void write_starter(struct world *w,
                          const char *name,
                          const char *ns,
                          const char *qemu,
                          char path[LAB_PATH_MAX])
{
    FILE *file = fopen(lab_path(w->lab, name, path), "w");

    ck_assert_ptr_nonnull(file);
    fprintf(file, "#!/bin/sh\nexec ip netns exec %s %s \"$@\"\n", ns, qemu);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(chmod(path, 0700), 0);
}

void hosts_open(struct world *w)
{
    make_namespaces();
    write_starter(w, "src-qemu", hosts.src_ns, lab_qemu(false), hosts.src_qemu);
    write_starter(w, "dst-qemu", hosts.dst_ns, lab_qemu(true), hosts.dst_qemu);
    hosts.prefix[0] = "ip";
    hosts.prefix[1] = "netns";
    hosts.prefix[2] = "exec";
    hosts.prefix[3] = hosts.src_ns;
    w->prefix = hosts.prefix;
}

void hosts_close(void)
{
    remove_namespaces();
}

struct lab_vm *hosts_destination(struct world *w)
{
    return world_vm(
        w, &(struct lab_vm_opts){.qemu = hosts.dst_qemu, .incoming = true, .paused = true});
}

void hosts_pair(struct world *w, const char *append)
{
    w->src = world_vm(w, &(struct lab_vm_opts){.qemu = hosts.src_qemu, .append = append});
    ck_assert_int_eq(lab_guest_ready(w->src), 0);
    json_decref(w->src_settings);
    w->src_settings = settings_of(w->src);
    w->dst = hosts_destination(w);
    json_decref(w->dst_settings);
    w->dst_settings = settings_of(w->dst);
}

long long hosts_received(const char *interface)
{
    char command[160];
    long long bytes = -1;

    snprintf(command, sizeof(command),
             "ip netns exec %s cat /sys/class/net/%s/statistics/rx_bytes", hosts.dst_ns,
             interface);
    FILE *p = popen(command, "r");
    ck_assert_ptr_nonnull(p);
    ck_assert_int_eq(fscanf(p, "%lld", &bytes), 1);
    (void)pclose(p);
    return bytes;
}

const char *hosts_missing(void)
{
    char command[512];

    if (geteuid() != 0)
        return "network namespaces need root";
    if (system("command -v ip >/dev/null && command -v ss >/dev/null") != 0)
        return "no ip or ss program: install iproute2";
    if (system("command -v iptables >/dev/null") != 0)
        return "no iptables program: install iptables";
    snprintf(
        command, sizeof(command),
        "ip netns add %s 2>/dev/null && ip link add qf-try netns %s type veth peer name "
        "qf-try2 netns %s 2>/dev/null && ip netns del %s",
        hosts.src_ns, hosts.src_ns, hosts.src_ns, hosts.src_ns);
    return system(command) == 0 ? NULL : "this system makes no network namespace with veth";
}

/* Waits for our end in a session of its own, then clears up what is left. */
static pid_t start_cleaner(int *end)
{
    int fds[2];
    char byte;

    if (pipe2(fds, O_CLOEXEC) != 0)
        return -1;
    const pid_t pid = fork();
    if (pid != 0) {
        (void)close(fds[0]);
        *end = fds[1];
        return pid;
    }
    (void)setsid();
    (void)close(fds[1]);
    while (read(fds[0], &byte, 1) < 0 && errno == EINTR)
        ;
    remove_namespaces();
    _exit(0);
}

static int main_of(Suite *(*suite)(void), bool partly)
{
    int end;

    snprintf(hosts.src_ns, sizeof(hosts.src_ns), "qf%d-src", (int)getpid());
    snprintf(hosts.dst_ns, sizeof(hosts.dst_ns), "qf%d-dst", (int)getpid());
    const pid_t cleaner = start_cleaner(&end);
    if (cleaner < 0)
        return 1;
    const char *missing = partly ? NULL : hosts_missing();
    int rc = REAL_SKIPPED;
    if (missing)
        printf("skipped: %s\n", missing);
    else
        rc = real_main(suite());
    (void)close(end);
    (void)waitpid(cleaner, NULL, 0);
    return rc;
}

int hosts_main(Suite *(*suite)(void))
{
    return main_of(suite, false);
}

int hosts_main_partly(Suite *(*suite)(void))
{
    return main_of(suite, true);
}

#include "tests/real/sshd.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SSHD "/usr/sbin/sshd"

bool sshd_is_there(void)
{
    if (access(SSHD, X_OK) == 0)
        return true;
    printf("skipped in part: no " SSHD "\n");
    return false;
}

/* ---- files ---- */

static void write_text(struct world *w, const char *name, const char *text)
{
    char path[LAB_PATH_MAX];
    FILE *file = fopen(lab_path(w->lab, name, path), "w");

    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(chmod(path, 0600), 0);
}

void sshd_make_key(struct world *w, const char *name)
{
    char path[LAB_PATH_MAX];

    lab_path(w->lab, name, path);
    (void)unlink(path);
    ck_assert_int_eq(
        world_run(w, ARGS("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path), NULL),
        0);
}

void sshd_know_host(struct world *w, const char *key)
{
    char path[LAB_PATH_MAX];
    char type[64] = "";
    char text[512] = "";
    char line[1024] = "";

    if (key) {
        snprintf(line, sizeof(line), "%s.pub", key);
        FILE *file = fopen(lab_path(w->lab, line, path), "r");
        ck_assert_ptr_nonnull(file);
        ck_assert_int_eq(fscanf(file, "%63s %511s", type, text), 2);
        (void)fclose(file);
        snprintf(line, sizeof(line), "hv %s %s\n", type, text);
    }
    write_text(w, "known_hosts", line);
}

static void write_config(struct world *w, unsigned port, const char *more)
{
    char text[2048];
    const char *const dir = lab_dir(w->lab);

    snprintf(text, sizeof(text),
             "Port %u\nListenAddress 127.0.0.1\nHostKey %s/host_key\n"
             "AuthorizedKeysFile %s/user_key.pub\nPidFile none\nUsePAM no\nStrictModes no\n"
             "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
             "PermitRootLogin prohibit-password\n%s",
             port, dir, dir, more);
    write_text(w, "sshd_config", text);
    snprintf(text, sizeof(text),
             "Host hv\n  HostName 127.0.0.1\n  Port %u\n  HostKeyAlias hv\n"
             "Host *\n  IdentityFile %s/user_key\n  IdentitiesOnly yes\n"
             "  UserKnownHostsFile %s/known_hosts\n  GlobalKnownHostsFile /dev/null\n",
             port, dir, dir);
    write_text(w, "ssh_config", text);
    snprintf(text, sizeof(text), "ssh -F %s/ssh_config", dir);
    ck_assert_int_eq(setenv("QFERRY_SSH", text, 1), 0);
}

/* ---- its port ---- */

static struct sockaddr_in on_loopback(unsigned port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

unsigned sshd_free_port(void)
{
    struct sockaddr_in at = on_loopback(0);
    socklen_t len = sizeof(at);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    (void)close(fd);
    return ntohs(at.sin_port);
}

static bool is_open(unsigned port)
{
    const struct sockaddr_in at = on_loopback(port);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int rc = connect(fd, (const struct sockaddr *)&at, sizeof(at));

    (void)close(fd);
    return rc == 0;
}

/* ---- programs ---- */

unsigned sshd_start(struct world *w, const char *more)
{
    char config[LAB_PATH_MAX];
    const unsigned port = sshd_free_port();

    sshd_make_key(w, "host_key");
    sshd_make_key(w, "user_key");
    sshd_know_host(w, "host_key");
    write_config(w, port, more);
    if (geteuid() == 0) /* where its unprivileged part lives */
        (void)mkdir("/run/sshd", 0755);
    lab_path(w->lab, "sshd_config", config);
    struct lab_proc *p = lab_spawn(w->lab, ARGS(SSHD, "-D", "-e", "-f", config));
    ck_assert_ptr_nonnull(p);
    w->own[w->n_own++] = lab_proc_pid(p);
    w->reaps = true;
    while (!is_open(port)) {
        if (!lab_proc_alive(p)) {
            lab_proc_dump(p);
            ck_abort_msg("sshd does not run");
        }
        lab_pump(w->lab, 20);
    }
    return port;
}

void sshd_signal_ssh(struct world *w, const char *signal, const char *part)
{
    const char *shell = "kill -$1 $(pgrep -f \"^ssh -F $0/ssh_config.*$2\")";

    ck_assert_int_eq(
        world_run(w, ARGS("sh", "-c", shell, lab_dir(w->lab), signal, part), NULL), 0);
}

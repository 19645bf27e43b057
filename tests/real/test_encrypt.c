/* Encryption of the guest's memory on its way, QEMU 7.2, TCG. What goes over the wire is looked at:
 * the test has a network namespace of its own, captures everything on its loopback, and knows the
 * guest's memory when it sees it. And whatever happens, no object, no setting and no file is left. */
#include <dirent.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/real/move.h"
#include "tests/real/pki.h"
#include "tests/real/sshd.h"

/* About two seconds of memory: 16 MiB of it are not zero. */
#define SLOWLY "--bandwidth", "10MiB"

enum { WIRE_BYTES = 256 * 1024, MEMORY_BYTES = 16 * 1024 * 1024 };

/* What goes over the loopback of this namespace. */
struct wire {
    int fd;
    pthread_t thread;
    atomic_bool stop;
    uint64_t bytes;
    uint64_t lost;
    uint64_t seen; /* pieces of the guest's memory */
    unsigned char buf[WIRE_BYTES];
};

static struct fixture {
    struct world w;
    char run[LAB_PATH_MAX]; /* qferry's runtime directory */
    struct cert ca;
    char pki[LAB_PATH_MAX];      /* QEMU's certificates ... */
    char x509[LAB_PATH_MAX + 8]; /* ... as the option has them */
    struct wire wire;
    bool watched;
} f;

/* ---- the wire ---- */

static uint32_t word_at(const unsigned char *p)
{
    uint32_t w;
    memcpy(&w, p, sizeof(w));
    return w;
}

/* The body of a page is a run of xorshift (guest/pages.c): each word tells the next. Eight in a row
 * do not come by chance. */
static uint64_t pieces_of_memory(const unsigned char *p, size_t n)
{
    enum { ROW = 8 };
    uint64_t pieces = 0;
    for (size_t i = 0; i + 4 * ROW <= n;) {
        uint32_t x = word_at(p + i);
        unsigned k = 0;
        while (x != 0 && ++k < ROW) {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            if (x != word_at(p + i + 4 * k))
                break;
        }
        pieces += k == ROW;
        i += k == ROW ? 4 * ROW : 1;
    }
    return pieces;
}

static void *watch(void *arg)
{
    struct wire *w = arg;
    while (!atomic_load(&w->stop)) {
        struct sockaddr_ll from;
        socklen_t len = sizeof(from);
        const ssize_t n =
            recvfrom(w->fd, w->buf, sizeof(w->buf), 0, (struct sockaddr *)&from, &len);
        if (n <= 0 || from.sll_pkttype == PACKET_OUTGOING)
            continue; /* each is seen twice */
        w->bytes += (uint64_t)n;
        w->seen += pieces_of_memory(w->buf, (size_t)n);
    }
    return NULL;
}

static bool own_network(void)
{
    struct ifreq lo = {.ifr_flags = IFF_UP};
    if (unshare(CLONE_NEWNET) != 0)
        return false;
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    (void)strcpy(lo.ifr_name, "lo");
    const bool up = ioctl(fd, SIOCSIFFLAGS, &lo) == 0;
    (void)close(fd);
    return up;
}

static void wire_open(void)
{
    struct wire *w = &f.wire;
    const int size = 256 * 1024 * 1024;
    const struct timeval soon = {.tv_usec = 50000};
    const struct sockaddr_ll lo = {.sll_family = AF_PACKET,
                                   .sll_protocol = htons(ETH_P_ALL),
                                   .sll_ifindex = (int)if_nametoindex("lo")};
    w->fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_ALL));
    ck_assert_int_ge(w->fd, 0);
    ck_assert_int_eq(setsockopt(w->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)), 0);
    ck_assert_int_eq(setsockopt(w->fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon)), 0);
    ck_assert_int_eq(bind(w->fd, (const struct sockaddr *)&lo, sizeof(lo)), 0);
    ck_assert_int_eq(pthread_create(&w->thread, NULL, watch, w), 0);
    f.watched = true;
}

static void wire_close(void)
{
    struct wire *w = &f.wire;
    struct tpacket_stats stats = {0};
    socklen_t len = sizeof(stats);
    if (!f.watched)
        return;
    f.watched = false;
    atomic_store(&w->stop, true);
    (void)pthread_join(w->thread, NULL);
    if (getsockopt(w->fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len) == 0)
        w->lost = stats.tp_drops;
    (void)close(w->fd);
}

/* ---- the world ---- */

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    world_open(&f.w);
    lab_path(f.w.lab, "run", f.run);
    ck_assert_int_eq(mkdir(f.run, 0700), 0);
    ck_assert_int_eq(setenv("QFERRY_RUN_DIR", f.run, 1), 0);
}

static void setup_watched(void)
{
    ck_assert(own_network());
    setup();
}

static void teardown(void)
{
    wire_close();
    (void)unsetenv("QFERRY_RUN_DIR");
    (void)unsetenv("QFERRY_SSH");
    cert_free(&f.ca);
    world_close(&f.w);
}

/* ---- what must not be left ---- */

static void expect_no_objects(struct lab_vm *vm)
{
    json_t *list = lab_qmp(vm, "qom-list", "{\"path\": \"/objects\"}");
    size_t i;
    json_t *one;
    ck_assert_ptr_nonnull(list);
    json_array_foreach (list, i, one) {
        const char *name = json_string_value(json_object_get(one, "name"));
        ck_assert_msg(strncmp(name, "qferry", 6) != 0, "%s has %s", lab_vm_name(vm), name);
    }
    json_decref(list);
}

static void expect_no_files(void)
{
    ck_assert_msg(rmdir(f.run) == 0, "%s: %s", f.run, strerror(errno));
    ck_assert_int_eq(mkdir(f.run, 0700), 0);
}

static void expect_clean(struct lab_vm *vm, const json_t *settings)
{
    expect_no_objects(vm);
    expect_settings(vm, settings);
}

static void expect_untouched(void)
{
    char state[LAB_STATE_MAX];
    expect_clean(f.w.src, f.w.src_settings);
    expect_clean(f.w.dst, f.w.dst_settings);
    expect_no_files();
    ck_assert_int_eq(lab_run_state(f.w.dst, state), 0);
    ck_assert_str_eq(state, "inmigrate");
    expect_guest_on(&f.w, f.w.src);
}

/* The move is over, the guest is there: nothing is left on either side. */
static void expect_moved(struct move *m)
{
    move_expect(m, 0, "completed", "destination");
    expect_clean(f.w.src, f.w.src_settings);
    expect_clean(f.w.dst, f.w.dst_settings);
    expect_no_files();
    expect_guest_on(&f.w, f.w.dst);
}

/* No key in the journal: what looks like 32 bytes in hex. */
static void expect_no_secret(const struct move *m)
{
    FILE *file = fopen(m->journal, "r");
    int c;
    unsigned row = 0;
    ck_assert_ptr_nonnull(file);
    while ((c = fgetc(file)) != EOF) {
        row = strchr("0123456789abcdef", c) ? row + 1 : 0;
        ck_assert_uint_lt(row, 64);
    }
    (void)fclose(file);
}

/* ---- the traffic ---- */

static void look(bool is_clear, const char *const *options)
{
    world_pair(&f.w, "ws=16 rate=500");
    wire_open();
    struct move *m = move_run(&f.w, options);
    wire_close();
    expect_moved(m);
    (void)printf("%s: %llu bytes on the wire, %llu pieces of memory, %llu packets lost\n",
                 options[0] ? options[1] : "-", (unsigned long long)f.wire.bytes,
                 (unsigned long long)f.wire.seen, (unsigned long long)f.wire.lost);
    ck_assert_uint_eq(f.wire.lost, 0);
    ck_assert_uint_gt(f.wire.bytes, MEMORY_BYTES);
    if (is_clear)
        ck_assert_uint_gt(f.wire.seen, MEMORY_BYTES / 64);
    else
        ck_assert_uint_eq(f.wire.seen, 0);
}

START_TEST(memory_is_seen_where_nothing_is_encrypted)
{
    look(true, ARGS("--encrypt", "off"));
}
END_TEST

START_TEST(memory_is_not_seen_with_a_key)
{
    look(false, ARGS("--encrypt", "psk"));
}
END_TEST

START_TEST(memory_is_not_seen_where_the_policy_requires_encryption)
{
    look(false, ARGS("--set", "encrypt=required"));
}
END_TEST

START_TEST(memory_is_not_seen_in_post_copy)
{
    world_pair(&f.w, "ws=24 flat");
    wire_open();
    struct move *m = move_run(&f.w, ARGS("--encrypt", "psk", "-p", "post-copy", SLOWLY));
    wire_close();
    expect_moved(m);
    ck_assert_str_eq(move_result(m, "mode"), "postcopy");
    ck_assert_uint_gt(f.wire.bytes, MEMORY_BYTES);
    ck_assert_uint_eq(f.wire.seen, 0);
}
END_TEST

/* ---- psk: whatever happens ---- */

START_TEST(a_key_is_private_while_it_is_there)
{
    char path[512];
    struct stat st;
    unsigned keys = 0;
    world_pair(&f.w, "ws=16 rate=500");
    struct move *m = move_begin(&f.w, ARGS("--encrypt", "psk", SLOWLY));
    move_wait_memory(m);
    DIR *all = opendir(f.run);
    const struct dirent *entry;
    ck_assert_ptr_nonnull(all);
    while ((entry = readdir(all)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", f.run, entry->d_name);
        ck_assert_int_eq(stat(path, &st), 0);
        ck_assert_uint_eq(st.st_mode & 07777, 0700);
        snprintf(path, sizeof(path), "%s/%s/keys.psk", f.run, entry->d_name);
        ck_assert_int_eq(stat(path, &st), 0);
        ck_assert_uint_eq(st.st_mode & 07777, 0600);
        keys++;
    }
    (void)closedir(all);
    ck_assert_uint_eq(keys, 2);
    move_end(m);
    expect_moved(m);
    expect_no_secret(m);
    ck_assert_str_eq(move_verdict(m, "encryption"), "ok");
}
END_TEST

START_TEST(nothing_is_left_after_a_cancel)
{
    world_pair(&f.w, "ws=24 rate=500");
    struct move *m = move_begin(&f.w, ARGS("--encrypt", "psk", SLOWLY));
    move_wait_memory(m);
    ck_assert_int_eq(lab_proc_signal(m->proc, SIGINT), 0);
    move_end(m);
    move_expect(m, 5, "cancelled", "source");
    expect_clean(f.w.src, f.w.src_settings);
    expect_no_files();
    expect_guest_on(&f.w, f.w.src);
}
END_TEST

START_TEST(nothing_is_left_after_a_failure)
{
    world_pair(&f.w, "ws=24 rate=500");
    struct move *m = move_begin(&f.w, ARGS("--encrypt", "psk", SLOWLY));
    move_wait_memory(m);
    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGKILL), 0);
    move_end(m);
    move_expect(m, 4, "failed", "source");
    expect_clean(f.w.src, f.w.src_settings);
    expect_no_files();
    expect_guest_on(&f.w, f.w.src);
    /* and it can be done again */
    world_new_destination(&f.w);
    json_decref(f.w.dst_settings);
    f.w.dst_settings = settings_of(f.w.dst);
    expect_moved(move_run(&f.w, ARGS("--encrypt", "psk")));
}
END_TEST

static void kill_qferry(struct move *m)
{
    ck_assert_int_eq(lab_proc_signal(m->proc, SIGKILL), 0);
    ck_assert_int_eq(lab_proc_wait(m->proc, 0, NULL), 0);
    m->ended = true;
}

START_TEST(nothing_is_left_after_a_crash_and_the_same_command_again)
{
    world_pair(&f.w, "ws=24 rate=500");
    struct move *m = move_begin(&f.w, ARGS("--encrypt", "psk", SLOWLY));
    move_wait_memory(m);
    kill_qferry(m);
    ck_assert_int_ne(rmdir(f.run), 0); /* the keys are still there */
    m = move_run(&f.w, ARGS("--encrypt", "psk", SLOWLY));
    ck_assert(move_has(m, "warning", "message", "taking it up"));
    move_expect(m, 0, "completed", "destination");
    expect_no_objects(f.w.src);
    expect_no_objects(f.w.dst);
    expect_no_files();
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

/* Before memory moves: the settings and objects stand, and a new move begins. */
START_TEST(what_a_crash_has_left_before_the_start_is_removed)
{
    static const char object[] =
        "{\"qom-type\": \"tls-creds-anon\", \"id\": \"qferry-tls-dead\", "
        "\"endpoint\": \"%s\"}";
    char path[LAB_PATH_MAX];
    world_pair(&f.w, "ws=16 rate=500");
    ck_assert_int_eq(lab_qmp_ok(f.w.src, "migrate-set-parameters",
                                "{\"tls-creds\": \"%s\"}", "qferry-tls-dead"),
                     0);
    ck_assert_int_eq(lab_qmp_ok(f.w.dst, "migrate-set-parameters",
                                "{\"tls-creds\": \"%s\"}", "qferry-tls-dead"),
                     0);
    ck_assert_int_eq(lab_qmp_ok(f.w.dst, "object-add", object, "server"), 0);
    if (_i > 0) /* it was killed later */
        ck_assert_int_eq(lab_qmp_ok(f.w.src, "object-add", object, "client"), 0);
    ck_assert_int_eq(mkdir(lab_path(f.w.lab, "run/tls-abcdef", path), 0700), 0);
    struct move *m = move_run(&f.w, _i == 2 ? ARGS("--encrypt", "psk") : NO_ARGS);
    expect_moved(m);
}
END_TEST

/* A move in the clear is no such move: it is given up, not gone on with. */
START_TEST(a_move_in_the_clear_is_not_taken_up_as_an_encrypted_one)
{
    world_pair(&f.w, "ws=24 rate=500");
    struct move *m = move_begin(&f.w, ARGS(SLOWLY));
    move_wait_memory(m);
    kill_qferry(m);
    m = move_run(&f.w, ARGS("--encrypt", "psk"));
    move_expect(m, 4, "aborted", "source");
    move_expect_reason(m, "is not encrypted");
    expect_guest_on(&f.w, f.w.src);
    expect_no_objects(f.w.src);
}
END_TEST

/* ---- psk: who cannot have a key ---- */

START_TEST(a_monitor_that_no_key_goes_through_is_refused)
{
    const char *const extra[] = {"-chardev",
                                 "socket,id=mont,host=127.0.0.1,port=0,server=on,wait=off",
                                 "-mon", "chardev=mont,mode=control", NULL};
    char address[64];
    world_pair_of(&f.w, &(struct lab_vm_opts){.append = "ws=16", .extra = extra});
    json_t *all = lab_qmp(f.w.dst, "query-chardev", NULL);
    char *text = json_dumps(all, 0);
    const char *at = strstr(text, "127.0.0.1:");
    ck_assert_ptr_nonnull(at);
    snprintf(address, sizeof(address), "tcp:127.0.0.1:%u",
             (unsigned)strtoul(at + 10, NULL, 10));
    free(text);
    json_decref(all);
    struct move *m =
        move_begin_at(&f.w, _i == 0 ? "migrate" : "preflight", lab_vm_qmp_path(f.w.src),
                      address, ARGS("--encrypt", "psk"));
    move_end(m);
    move_expect(m, 3, "refused", "source");
    move_expect_reason(
        m, "destination's host through a tcp: monitor: name the monitor as ssh:");
    move_expect_reason(m, "or use --encrypt x509:DIR");
    expect_untouched();
}
END_TEST

START_TEST(a_dry_run_leaves_nothing)
{
    world_pair(&f.w, "ws=16");
    struct move *m = move_run(&f.w, ARGS("--encrypt", "psk", "--dry-run"));
    move_expect(m, 0, "completed", "source");
    ck_assert_str_eq(move_verdict(m, "encryption"), "ok");
    expect_untouched();
}
END_TEST

/* QEMU gives up being root when it is up. */
static void pair_of_another_user(void)
{
    const char *const extra[] = {"-runas", "nobody", NULL};
    world_pair_of(&f.w, &(struct lab_vm_opts){.append = "ws=16 rate=500", .extra = extra});
}

START_TEST(a_qemu_of_another_user_is_given_its_key)
{
    pair_of_another_user();
    ck_assert_int_eq(chmod(lab_dir(f.w.lab), 0711), 0);
    expect_moved(move_run(&f.w, ARGS("--encrypt", "psk")));
}
END_TEST

START_TEST(a_qemu_that_cannot_read_its_key_says_so)
{
    pair_of_another_user();
    ck_assert_int_eq(chmod(lab_dir(f.w.lab), 0700), 0);
    struct move *m = move_run(&f.w, ARGS("--encrypt", "psk"));
    move_expect(m, 4, "failed", "source");
    move_expect_reason(m, "QEMU does not take the credentials in ");
    move_expect_reason(m, "may it read that folder");
    expect_clean(f.w.src, f.w.src_settings);
    expect_clean(f.w.dst, f.w.dst_settings);
    expect_no_files();
    expect_guest_on(&f.w, f.w.src);
}
END_TEST

/* ---- what others have set ---- */

static void set_foreign(struct lab_vm *vm, const char *endpoint)
{
    ck_assert_int_eq(lab_qmp_ok(vm, "object-add",
                                "{\"qom-type\": \"tls-creds-psk\", \"id\": \"theirs\", "
                                "\"endpoint\": \"%s\", \"dir\": \"%s\"}",
                                endpoint, lab_dir(f.w.lab)),
                     0);
    ck_assert_int_eq(
        lab_qmp_ok(vm, "migrate-set-parameters", "{\"tls-creds\": \"%s\"}", "theirs"), 0);
}

START_TEST(credentials_of_others_are_left_alone)
{
    char path[LAB_PATH_MAX];
    world_pair(&f.w, "ws=16 rate=500");
    FILE *file = fopen(lab_path(f.w.lab, "keys.psk", path), "w");
    ck_assert_ptr_nonnull(file);
    (void)fputs("qemu:00112233445566778899aabbccddeeff\n", file);
    (void)fclose(file);
    set_foreign(f.w.src, "client");
    json_decref(f.w.src_settings);
    f.w.src_settings = settings_of(f.w.src);
    /* on one side only it cannot work */
    struct move *m = move_run(&f.w, NO_ARGS);
    move_expect(m, 3, "refused", "source");
    move_expect_reason(m, "tls-creds is set on the source only ('theirs')");
    set_foreign(f.w.dst, "server");
    json_decref(f.w.dst_settings);
    f.w.dst_settings = settings_of(f.w.dst);
    /* ... nor may it where encryption is forbidden */
    m = move_run(&f.w, ARGS("--set", "encrypt=forbidden"));
    move_expect(m, 3, "refused", "source");
    move_expect_reason(m, "forbids encryption");
    expect_untouched();
    /* otherwise they are used, or stand again afterwards */
    m = move_run(&f.w, _i == 0 ? NO_ARGS : ARGS("--encrypt", "psk"));
    expect_moved(m);
    ck_assert_str_eq(move_verdict(m, "encryption"), _i == 0 ? "warning" : "ok");
}
END_TEST

/* ---- x509 ---- */

static void make_pki(const char *san)
{
    lab_path(f.w.lab, "pki", f.pki);
    snprintf(f.x509, sizeof(f.x509), "x509:%s", f.pki);
    ck_assert_int_eq(mkdir(f.pki, 0700), 0);
    pki_ca(&f.ca, f.pki);
    pki_add(f.pki, &f.ca, "server", san, 0, 0);
    pki_add(f.pki, &f.ca, "client", NULL, 0, 0);
}

START_TEST(memory_is_not_seen_with_certificates)
{
    make_pki("IP:127.0.0.1");
    look(false, ARGS("--encrypt", f.x509));
}
END_TEST

/* The certificate has a name only, the memory goes to a number. */
START_TEST(a_name_is_given_where_the_certificate_has_no_address)
{
    make_pki("DNS:hv2.example");
    world_pair(&f.w, "ws=16 rate=500");
    struct move *m =
        move_run(&f.w, ARGS("--encrypt", f.x509, "--destination-address", "127.0.0.1",
                            "--destination-address", "hv2.example"));
    expect_moved(m);
}
END_TEST

static void expect_bad_pki(const char *part)
{
    struct move *m = move_run(&f.w, ARGS("--encrypt", f.x509));
    ck_assert_msg(m->exit == 2 || m->exit == 3, "exit %d", m->exit);
    ck_assert_str_eq(move_result(m, "outcome"), "refused");
    move_expect_reason(m, part);
    expect_untouched();
}

START_TEST(certificates_that_are_no_good_are_refused)
{
    char path[LAB_PATH_MAX + 32];
    make_pki("DNS:elsewhere.example");
    world_pair(&f.w, "ws=16");
    expect_bad_pki(
        "server-cert.pem: the certificate is for elsewhere.example, not for 127.0.0.1");
    pki_add(f.pki, &f.ca, "server", "IP:127.0.0.1", -7200, -3600);
    expect_bad_pki("server-cert.pem: the certificate has expired (");
    pki_add(f.pki, &f.ca, "server", "IP:127.0.0.1", 0, 0);
    pki_add(f.pki, &f.ca, "client", NULL, -7200, -3600);
    expect_bad_pki("client-cert.pem: the certificate has expired (");
    pki_add(f.pki, &f.ca, "client", NULL, 0, 0);
    snprintf(path, sizeof(path), "%s/server-key.pem", f.pki);
    ck_assert_int_eq(chmod(path, 0644), 0);
    expect_bad_pki(
        "server-key.pem: others can read or change this key (mode 0644); chmod 600");
    ck_assert_int_eq(unlink(path), 0);
    expect_bad_pki("server-key.pem: No such file or directory");
}
END_TEST

/* ---- ssh ---- */

/* The other host is this one; what qferry leaves over there is where the test looks. */
static void start_sshd(void)
{
    char more[LAB_PATH_MAX + 32];
    snprintf(more, sizeof(more), "SetEnv QFERRY_RUN_DIR=%s\n", f.run);
    (void)sshd_start(&f.w, more);
}

/* The ssh that the tunnel for the memory is. */
static void kill_tunnel(void)
{
    sshd_signal_ssh(&f.w, "KILL", "-L");
}

START_TEST(memory_is_not_seen_in_a_tunnel)
{
    start_sshd();
    look(false, ARGS("--encrypt", "ssh:hv"));
}
END_TEST

START_TEST(post_copy_goes_through_a_tunnel)
{
    start_sshd();
    world_pair(&f.w, "ws=24 flat");
    struct move *m = move_run(&f.w, ARGS("--encrypt", "ssh:hv", "-p", "post-copy", SLOWLY));
    expect_moved(m);
    ck_assert_str_eq(move_result(m, "mode"), "postcopy");
}
END_TEST

START_TEST(a_tunnel_goes_with_a_cancel)
{
    start_sshd();
    world_pair(&f.w, "ws=24 rate=500");
    struct move *m = move_begin(&f.w, ARGS("--encrypt", "ssh:hv", SLOWLY));
    move_wait_memory(m);
    ck_assert_int_eq(lab_proc_signal(m->proc, SIGINT), 0);
    move_end(m);
    move_expect(m, 5, "cancelled", "source");
    expect_clean(f.w.src, f.w.src_settings);
    expect_no_files();
    expect_guest_on(&f.w, f.w.src);
}
END_TEST

/* What is in the tunnel does not end with qferry. */
START_TEST(a_tunnel_outlives_its_qferry)
{
    start_sshd();
    world_pair(&f.w, "ws=24 rate=500");
    struct move *m = move_begin(&f.w, ARGS("--encrypt", "ssh:hv", SLOWLY));
    move_wait_memory(m);
    kill_qferry(m);
    m = move_run(&f.w, ARGS("--encrypt", "ssh:hv", SLOWLY));
    ck_assert(move_has(m, "warning", "message", "taking it up"));
    move_expect(m, 0, "completed", "destination");
    expect_guest_on(&f.w, f.w.dst);
    expect_no_files();
}
END_TEST

/* It breaks: a lost network, and ssh's words are told. */
START_TEST(a_tunnel_that_breaks_gives_the_guest_back)
{
    start_sshd();
    world_pair(&f.w, "ws=24 rate=500");
    struct move *m = move_begin(&f.w, ARGS("--encrypt", "ssh:hv", SLOWLY));
    move_wait_memory(m);
    kill_tunnel();
    move_end(m);
    move_expect(m, 4, "failed", "source");
    ck_assert(move_has(m, "warning", "message", "the tunnel for the memory has ended"));
    expect_clean(f.w.src, f.w.src_settings);
    expect_no_files();
    expect_guest_on(&f.w, f.w.src);
}
END_TEST

START_TEST(what_ssh_says_is_said_before_anything_is_touched)
{
    start_sshd();
    world_pair(&f.w, "ws=16");
    sshd_know_host(&f.w, "user_key"); /* the host's key is another one than it was */
    struct move *m = move_run(&f.w, ARGS("--encrypt", "ssh:hv"));
    move_expect(m, 3, "refused", "source");
    move_expect_reason(m, "has changed");
    move_expect_reason(m, "Host key verification failed");
    expect_untouched();
    sshd_know_host(&f.w, NULL);
    m = move_run(&f.w, ARGS("--encrypt", "ssh:hv"));
    move_expect(m, 3, "refused", "source");
    move_expect_reason(m, "Host key verification failed");
    expect_untouched();
    ck_assert_int_eq(setenv("QFERRY_SSH", "no-such-ssh", 1), 0);
    m = move_run(&f.w, ARGS("--encrypt", "ssh:hv"));
    move_expect(m, 3, "refused", "source");
    move_expect_reason(m, "cannot start ssh");
    expect_untouched();
}
END_TEST

/* A key goes where the monitor is reached through ssh; qferry killed: it goes all the same. */
START_TEST(a_key_is_placed_through_ssh)
{
    char src[LAB_PATH_MAX + 16];
    char dst[LAB_PATH_MAX + 16];
    start_sshd();
    world_pair(&f.w, "ws=24 rate=500");
    snprintf(src, sizeof(src), "ssh:hv%s", lab_vm_qmp_path(f.w.src));
    snprintf(dst, sizeof(dst), "ssh:hv%s", lab_vm_qmp_path(f.w.dst));
    const char *const options[] = {"--encrypt", "psk",  "--destination-address",
                                   "127.0.0.1", SLOWLY, NULL};
    struct move *m = move_begin_at(&f.w, "migrate",
                                   _i == 0 ? lab_vm_qmp_path(f.w.src) : src, dst, options);
    if (_i == 2) {
        move_wait_memory(m);
        kill_qferry(m);
        /* those of the other side clean up by themselves */
        char path[LAB_PATH_MAX];
        struct lab_proc *p;
        const char *shell = "ls -d \"$0\"/far-*";
        lab_path(f.w.lab, "run", path);
        while (world_run(&f.w, ARGS("sh", "-c", shell, path), &p) == 0)
            lab_pump(f.w.lab, 20);
        m = move_begin_at(&f.w, "migrate", src, dst, options);
    }
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    expect_no_objects(f.w.src);
    expect_no_objects(f.w.dst);
    expect_no_files();
    expect_no_secret(m);
    expect_guest_on(&f.w, f.w.dst);
}
END_TEST

/* ---- post-copy that is interrupted ---- */

#define POSTCOPY                                                                   \
    "-p", "post-copy", "--set", "postcopy.bandwidth=2MiB", "--bandwidth", "40MiB", \
        "--destination-address", "127.0.0.1"

static struct move *begin_post_copy(const char *how, bool by_ssh)
{
    char dst[LAB_PATH_MAX + 16];
    world_pair(&f.w, "ws=24 flat");
    snprintf(dst, sizeof(dst), "%s%s", by_ssh ? "ssh:hv" : "", lab_vm_qmp_path(f.w.dst));
    struct move *m = move_begin_at(&f.w, "migrate", lab_vm_qmp_path(f.w.src), dst,
                                   ARGS("--encrypt", how, POSTCOPY));
    move_wait_phase(m, "postcopy");
    ck_assert_int_eq(lab_wait_event(f.w.dst, "RESUME", NULL, NULL, 0), 0);
    lab_events_mark(f.w.src);
    lab_events_mark(f.w.dst);
    return m;
}

static void wait_for(struct lab_vm *vm, const char *status)
{
    ck_assert_int_eq(lab_wait_event(vm, "MIGRATION", "status", status, 0), 0);
}

static void interrupt(void)
{
    json_decref(lab_qmp_oob(f.w.src, "migrate-pause", NULL));
    wait_for(f.w.src, "postcopy-paused");
}

static void expect_recovered(struct move *m)
{
    wait_for(f.w.src, "postcopy-active");
    ck_assert_int_eq(
        lab_qmp_ok(f.w.src, "migrate-set-parameters", "{\"max-postcopy-bandwidth\": 0}"),
        0);
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    ck_assert(move_has(m, "decision", "action", "recover"));
    expect_guest_on(&f.w, f.w.dst);
    expect_no_objects(f.w.src);
    expect_no_objects(f.w.dst);
}

START_TEST(a_post_copy_is_recovered_through_its_tunnel)
{
    start_sshd();
    wire_open();
    struct move *m = begin_post_copy("ssh:hv", false);
    interrupt();
    expect_recovered(m);
    wire_close();
    expect_no_files();
    ck_assert(move_has(m, "decision", "because", "through the tunnel"));
    ck_assert_uint_gt(f.wire.bytes, MEMORY_BYTES / 2);
    ck_assert_uint_eq(f.wire.seen, 0);
}
END_TEST

START_TEST(a_post_copy_without_its_tunnel_is_held)
{
    start_sshd();
    struct move *m = begin_post_copy("ssh:hv", false);
    kill_tunnel();
    move_end(m);
    ck_assert_int_eq(m->exit, 7);
    move_expect_reason(m, "its tunnel has ended");
    ck_assert(lab_vm_alive(f.w.src) && lab_vm_alive(f.w.dst));
    m = move_begin_at(&f.w, "attach", lab_vm_qmp_path(f.w.src), lab_vm_qmp_path(f.w.dst),
                      NO_ARGS);
    move_end(m);
    ck_assert_int_eq(m->exit, 7);
    move_expect_reason(m, "in the clear");
}
END_TEST

/* What keeps the folder over there; it is no stray. */
static void know_keeper(void)
{
    char command[96];
    int pid = 0;
    snprintf(command, sizeof(command), "pgrep -P %d -f far-XXXXX[X]", (int)getpid());
    for (unsigned i = 0; i < 500 && pid == 0; i++) {
        FILE *file = popen(command, "r");
        ck_assert_ptr_nonnull(file);
        if (fscanf(file, "%d", &pid) != 1)
            lab_pump(f.w.lab, 20);
        (void)pclose(file);
    }
    ck_assert_int_ne(pid, 0);
    f.w.own[f.w.n_own++] = pid;
}

static void end_by_signals(struct move *m, bool far)
{
    ck_assert_int_eq(lab_proc_signal(m->proc, SIGINT), 0);
    move_wait_line(m, "not cancelled");
    ck_assert_int_eq(lab_proc_signal(m->proc, SIGINT), 0);
    if (far)
        know_keeper();
    move_end(m);
    ck_assert_int_eq(m->exit, 7);
}

/* Killed, or told to end; and on another host: a new connection takes the key again. */
START_TEST(a_key_stays_for_the_next_qferry)
{
    enum { KILLED, TOLD, FAR };
    struct lab_proc *p;
    if (_i == FAR)
        start_sshd();
    struct move *m = begin_post_copy("psk", _i == FAR);
    if (_i == KILLED)
        kill_qferry(m);
    else
        end_by_signals(m, _i == FAR);
    /* whoever comes by, tidies up */
    m = move_begin_at(&f.w, "preflight", lab_vm_qmp_path(f.w.src), lab_vm_qmp_path(f.w.dst),
                      NO_ARGS);
    move_end(m);
    ck_assert_int_ne(m->exit, 0);
    interrupt();
    m = move_begin_at(&f.w, "attach", lab_vm_qmp_path(f.w.src), lab_vm_qmp_path(f.w.dst),
                      ARGS(POSTCOPY));
    expect_recovered(m);
    if (_i != FAR) {
        expect_no_files();
        return;
    }
    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGKILL), 0);
    while (world_run(&f.w, ARGS("sh", "-c", "ls -d \"$0\"/far-*", f.run), &p) == 0)
        lab_pump(f.w.lab, 50);
    expect_no_files();
}
END_TEST

static Suite *encrypt_suite(void)
{
    const bool has_sshd = sshd_is_there();
    Suite *s = suite_create("encrypt");
    TCase *t;
    if (geteuid() == 0) {
        t = tcase_create("traffic");
        tcase_add_checked_fixture(t, setup_watched, teardown);
        tcase_set_timeout(t, REAL_TIMEOUT_S);
        tcase_add_test(t, memory_is_seen_where_nothing_is_encrypted);
        tcase_add_test(t, memory_is_not_seen_with_a_key);
        tcase_add_test(t, memory_is_not_seen_where_the_policy_requires_encryption);
        tcase_add_test(t, memory_is_not_seen_in_post_copy);
        tcase_add_test(t, memory_is_not_seen_with_certificates);
        if (has_sshd) {
            tcase_add_test(t, memory_is_not_seen_in_a_tunnel);
            tcase_add_test(t, a_post_copy_is_recovered_through_its_tunnel);
        }
        suite_add_tcase(s, t);
    } else {
        (void)printf("skipped in part: only root can look at the traffic\n");
    }
    t = tcase_create("psk");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, a_key_is_private_while_it_is_there);
    tcase_add_test(t, nothing_is_left_after_a_cancel);
    tcase_add_test(t, nothing_is_left_after_a_failure);
    tcase_add_test(t, nothing_is_left_after_a_crash_and_the_same_command_again);
    tcase_add_loop_test(t, what_a_crash_has_left_before_the_start_is_removed, 0, 3);
    tcase_add_test(t, a_move_in_the_clear_is_not_taken_up_as_an_encrypted_one);
    tcase_add_loop_test(t, a_monitor_that_no_key_goes_through_is_refused, 0, 2);
    tcase_add_test(t, a_dry_run_leaves_nothing);
    tcase_add_loop_test(t, credentials_of_others_are_left_alone, 0, 2);
    tcase_add_loop_test(t, a_key_stays_for_the_next_qferry, 0, 2);
    if (geteuid() == 0) {
        tcase_add_test(t, a_qemu_of_another_user_is_given_its_key);
        tcase_add_test(t, a_qemu_that_cannot_read_its_key_says_so);
    }
    suite_add_tcase(s, t);
    t = tcase_create("x509");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, a_name_is_given_where_the_certificate_has_no_address);
    tcase_add_test(t, certificates_that_are_no_good_are_refused);
    suite_add_tcase(s, t);
    if (!has_sshd)
        return s;
    t = tcase_create("ssh");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, post_copy_goes_through_a_tunnel);
    tcase_add_test(t, a_tunnel_goes_with_a_cancel);
    tcase_add_test(t, a_tunnel_outlives_its_qferry);
    tcase_add_test(t, a_tunnel_that_breaks_gives_the_guest_back);
    tcase_add_test(t, what_ssh_says_is_said_before_anything_is_touched);
    tcase_add_loop_test(t, a_key_is_placed_through_ssh, 0, 3);
    tcase_add_test(t, a_post_copy_without_its_tunnel_is_held);
    tcase_add_loop_test(t, a_key_stays_for_the_next_qferry, 2, 3);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return real_main(encrypt_suite());
}

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

static Suite *encrypt_suite(void)
{
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
    if (geteuid() == 0) {
        tcase_add_test(t, a_qemu_of_another_user_is_given_its_key);
        tcase_add_test(t, a_qemu_that_cannot_read_its_key_says_so);
    }
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return real_main(encrypt_suite());
}

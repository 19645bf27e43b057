/* Keys that are made for one move (--encrypt psk), and credentials of others. */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/real/encrypt.h"

/* ---- whatever happens ---- */

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
        if (entry->d_name[0] == '.' || strncmp(entry->d_name, "move-", 5) == 0)
            continue; /* that one says that the VM is being moved */
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
    cancelled_leaves_nothing("psk");
}
END_TEST

START_TEST(nothing_is_left_after_a_failure)
{
    struct move *m = begin_encrypted("psk");
    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGKILL), 0);
    move_end(m);
    expect_given_back(m, 4, "failed");
    /* and it can be done again */
    world_new_destination(&f.w);
    json_decref(f.w.dst_settings);
    f.w.dst_settings = settings_of(f.w.dst);
    expect_moved(move_run(&f.w, ARGS("--encrypt", "psk")));
}
END_TEST

START_TEST(nothing_is_left_after_a_crash_and_the_same_command_again)
{
    struct move *m = begin_encrypted("psk");
    move_kill(m);
    ck_assert_int_ne(rmdir(f.run), 0); /* the keys are still there */
    expect_taken_up("psk");
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
    move_kill(m);
    m = move_run(&f.w, ARGS("--encrypt", "psk"));
    move_expect(m, 4, "aborted", "source");
    move_expect_reason(m, "is not encrypted");
    expect_guest_on(&f.w, f.w.src);
    expect_no_objects(f.w.src);
}
END_TEST

/* ---- who cannot have a key ---- */

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

/* ---- through ssh, and for another qferry ---- */

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
        move_kill(m);
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
        move_kill(m);
    else
        end_by_signals(m, _i == FAR);
    /* whoever comes by, tidies up */
    m = move_begin_at(&f.w, "preflight", lab_vm_qmp_path(f.w.src), lab_vm_qmp_path(f.w.dst),
                      NO_ARGS);
    move_end(m);
    ck_assert_int_ne(m->exit, 0);
    interrupt();
    m = move_begin_at(&f.w, "attach", lab_vm_qmp_path(f.w.src), lab_vm_qmp_path(f.w.dst),
                      ARGS(POSTCOPY_HERE));
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

void encrypt_psk(Suite *s, bool has_sshd)
{
    TCase *t = tcase_create("psk");
    tcase_add_checked_fixture(t, encrypt_setup, encrypt_teardown);
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
    if (!has_sshd)
        return;
    t = tcase_create("psk-ssh");
    tcase_add_checked_fixture(t, encrypt_setup, encrypt_teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_loop_test(t, a_key_is_placed_through_ssh, 0, 3);
    tcase_add_loop_test(t, a_key_stays_for_the_next_qferry, 2, 3);
    suite_add_tcase(s, t);
}

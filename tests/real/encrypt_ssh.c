/* A tunnel for the memory (--encrypt ssh:HOST). */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/real/encrypt.h"
#include "tests/real/sshd.h"

/* The ssh that the tunnel for the memory is. */
static void kill_tunnel(void)
{
    sshd_signal_ssh(&f.w, "KILL", "-L");
}

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
    cancelled_leaves_nothing("ssh:hv");
}
END_TEST

/* What is in the tunnel does not end with qferry. */
START_TEST(a_tunnel_outlives_its_qferry)
{
    start_sshd();
    struct move *m = begin_encrypted("ssh:hv");
    move_kill(m);
    expect_taken_up("ssh:hv");
}
END_TEST

/* It breaks: a lost network, and ssh's words are told. */
START_TEST(a_tunnel_that_breaks_gives_the_guest_back)
{
    start_sshd();
    struct move *m = begin_encrypted("ssh:hv");
    kill_tunnel();
    move_end(m);
    expect_given_back(m, 4, "failed");
    ck_assert(move_has(m, "warning", "message", "the tunnel for the memory has ended"));
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

void encrypt_ssh(Suite *s)
{
    TCase *t = tcase_create("ssh");
    tcase_add_checked_fixture(t, encrypt_setup, encrypt_teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, post_copy_goes_through_a_tunnel);
    tcase_add_test(t, a_tunnel_goes_with_a_cancel);
    tcase_add_test(t, a_tunnel_outlives_its_qferry);
    tcase_add_test(t, a_tunnel_that_breaks_gives_the_guest_back);
    tcase_add_test(t, what_ssh_says_is_said_before_anything_is_touched);
    tcase_add_test(t, a_post_copy_without_its_tunnel_is_held);
    suite_add_tcase(s, t);
}

/* Encryption of the guest's memory on its way, QEMU 7.2, TCG. What goes over the wire is looked at
 * (wire.h), and whatever happens, no object, no setting and no file is left. The traffic is here; each
 * way to encrypt has a file of its own. */
#include <stdio.h>
#include <unistd.h>

#include "tests/real/encrypt.h"
#include "tests/real/sshd.h"
#include "tests/real/wire.h"

static void look(bool is_clear, const char *const *options)
{
    world_pair(&f.w, "ws=16 rate=500");
    wire_open();
    struct move *m = move_run(&f.w, options);
    wire_close();
    expect_moved(m);
    (void)printf("%s: %llu bytes on the wire, %llu pieces of memory, %llu packets lost\n",
                 options[0] ? options[1] : "-", (unsigned long long)wire.bytes,
                 (unsigned long long)wire.pieces, (unsigned long long)wire.lost);
    ck_assert_uint_eq(wire.lost, 0);
    ck_assert_uint_gt(wire.bytes, MEMORY_BYTES);
    if (is_clear)
        ck_assert_uint_gt(wire.pieces, MEMORY_BYTES / 64);
    else
        ck_assert_uint_eq(wire.pieces, 0);
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
    ck_assert_uint_gt(wire.bytes, MEMORY_BYTES);
    ck_assert_uint_eq(wire.pieces, 0);
}
END_TEST

START_TEST(memory_is_not_seen_with_certificates)
{
    make_pki("IP:127.0.0.1");
    look(false, ARGS("--encrypt", f.x509));
}
END_TEST

START_TEST(memory_is_not_seen_in_a_tunnel)
{
    start_sshd();
    look(false, ARGS("--encrypt", "ssh:hv"));
}
END_TEST

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
    ck_assert_uint_gt(wire.bytes, MEMORY_BYTES / 2);
    ck_assert_uint_eq(wire.pieces, 0);
}
END_TEST

static void traffic(Suite *s, bool has_sshd)
{
    if (geteuid() != 0) {
        (void)printf("skipped in part: only root can look at the traffic\n");
        return;
    }
    TCase *t = tcase_create("traffic");
    tcase_add_checked_fixture(t, encrypt_setup_watched, encrypt_teardown);
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
}

static Suite *encrypt_suite(void)
{
    const bool has_sshd = sshd_is_there();
    Suite *s = suite_create("encrypt");

    traffic(s, has_sshd);
    encrypt_psk(s, has_sshd);
    encrypt_x509(s, has_sshd);
    if (has_sshd)
        encrypt_ssh(s);
    return s;
}

int main(void)
{
    return real_main(encrypt_suite());
}

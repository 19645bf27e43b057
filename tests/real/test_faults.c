/* What the fault table and the campaign do without any QEMU: which cells there are, how they are
 * chosen, how a cell that fails is made simpler. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/real/faults.h"

static const struct faults_versions on_7_2 = {702, 702};
static const struct faults_versions on_11_1 = {1101, 1101};

/* ---- the table ---- */

static unsigned count_cells(struct faults_versions v, enum way way)
{
    struct cell c;
    unsigned n = 0;
    for (unsigned i = 0; cell_at(i, &c); i++)
        n += c.way == way && !cell_unreachable(&c, v);
    return n;
}

START_TEST(every_cell_is_there_or_has_a_reason)
{
    struct cell c;
    unsigned n = 0;
    for (unsigned i = 0; cell_at(i, &c); i++) {
        const char *why = cell_unreachable(&c, on_7_2);
        n++;
        ck_assert(!why || *why || c.fault == FAULT_NONE || c.fault == FAULT_WORDS);
    }
    ck_assert_uint_eq(n, WAY_COUNT * MODE_COUNT * MOMENT_COUNT * FAULT_COUNT);
}
END_TEST

START_TEST(channels_have_post_copy_where_qemu_has)
{
    ck_assert_uint_lt(count_cells(on_7_2, WAY_CHANNELS), count_cells(on_7_2, WAY_PLAIN));
    ck_assert_uint_eq(count_cells(on_11_1, WAY_CHANNELS), count_cells(on_11_1, WAY_PLAIN));
    ck_assert_uint_eq(count_cells((struct faults_versions){702, 1101}, WAY_CHANNELS),
                      count_cells(on_7_2, WAY_CHANNELS));
}
END_TEST

START_TEST(cells_are_chosen_by_their_parts)
{
    const struct cell c = {
        .mode = MODE_STOP, .moment = MOMENT_DEVICE, .fault = FAULT_CANCEL};
    static const char *const yes[] = {
        "", "//", "stop-and-copy//", "/device/", "//cancel", "stop-and-copy/device/cancel"};
    static const char *const no[] = {"precopy//", "/setup/", "//reset",
                                     "stop-and-copy/device-ack-lost/cancel"};
    for (unsigned i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        ck_assert_msg(cell_pattern_is_known(yes[i]), "%s", yes[i]);
        ck_assert_msg(cell_matches(&c, yes[i]), "%s", yes[i]);
    }
    for (unsigned i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
        ck_assert_msg(cell_pattern_is_known(no[i]), "%s", no[i]);
        ck_assert_msg(!cell_matches(&c, no[i]), "%s", no[i]);
    }
    ck_assert(!cell_pattern_is_known("device"));
    ck_assert(!cell_pattern_is_known("precopy/devic/cancel"));
    ck_assert(!cell_pattern_is_known("precopy/device/cancel/"));
}
END_TEST

/* ---- shrinking ---- */

static struct cell busy(void)
{
    struct cell c = {.way = WAY_CHANNELS_PSK, .delay_ms = 7};
    (void)strcpy(c.guest, "ws=9");
    (void)strcpy(c.options, "-p nova");
    return c;
}

static bool always(const struct cell *c, void *arg)
{
    (void)c;
    (void)arg;
    return true;
}

static bool with_a_key_and_a_delay(const struct cell *c, void *arg)
{
    (*(unsigned *)arg)++;
    return (c->way == WAY_PSK || c->way == WAY_CHANNELS_PSK) && c->delay_ms > 0;
}

/* The policy matters as long as the guest is not its own. */
static bool one_or_the_other(const struct cell *c, void *arg)
{
    (void)arg;
    return c->options[0] != '\0' || c->guest[0] == '\0';
}

static bool never(const struct cell *c, void *arg)
{
    (void)c;
    (void)arg;
    return false;
}

START_TEST(all_that_does_not_matter_goes)
{
    struct cell c = busy();
    (void)cell_shrink(&c, always, NULL);
    ck_assert_int_eq(c.way, WAY_PLAIN);
    ck_assert_uint_eq(c.delay_ms, 0);
    ck_assert_str_eq(c.guest, "");
    ck_assert_str_eq(c.options, "");
}
END_TEST

START_TEST(what_matters_stays)
{
    struct cell c = busy();
    unsigned asked = 0;
    ck_assert_uint_eq(cell_shrink(&c, with_a_key_and_a_delay, &asked), asked);
    ck_assert_int_eq(c.way, WAY_PSK);
    ck_assert_uint_eq(c.delay_ms, 7);
    ck_assert_str_eq(c.guest, "");
    ck_assert_str_eq(c.options, "");
    c = busy();
    (void)cell_shrink(&c, never, NULL);
    const struct cell was = busy();
    ck_assert_mem_eq(&c, &was, sizeof(c));
}
END_TEST

START_TEST(what_matters_no_more_goes_too)
{
    struct cell c = busy();
    (void)cell_shrink(&c, one_or_the_other, NULL);
    ck_assert_str_eq(c.guest, "");
    ck_assert_str_eq(c.options, "");
}
END_TEST

/* ---- the command ---- */

START_TEST(the_command_repeats_the_cell)
{
    const struct rows r = {.with = "--retries 0"};
    char out[1024];
    const struct cell c = busy();
    const struct cell plain = {.mode = MODE_POSTCOPY, .moment = MOMENT_RECOVERING};
    ck_assert_int_eq(unsetenv("QFERRY_QEMU_SRC"), 0);
    ck_assert_int_eq(setenv("QFERRY_QEMU_DST", "qemu-new", 1), 0);
    ck_assert_str_eq(
        rows_again(&r, &c, out, sizeof(out)),
        "QFERRY_QEMU_DST=qemu-new tools/faults --only precopy/setup/none --way "
        "channels-psk --delay 7 --guest 'ws=9' --options '-p nova' --with "
        "'--retries 0'");
    ck_assert_int_eq(unsetenv("QFERRY_QEMU_DST"), 0);
    ck_assert_str_eq(rows_again(&(struct rows){.with = ""}, &plain, out, sizeof(out)),
                     "tools/faults --only postcopy/recovering/none --way plain");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("faults");
    TCase *t = tcase_create("faults");
    tcase_add_test(t, every_cell_is_there_or_has_a_reason);
    tcase_add_test(t, channels_have_post_copy_where_qemu_has);
    tcase_add_test(t, cells_are_chosen_by_their_parts);
    tcase_add_test(t, all_that_does_not_matter_goes);
    tcase_add_test(t, what_matters_stays);
    tcase_add_test(t, what_matters_no_more_goes_too);
    tcase_add_test(t, the_command_repeats_the_cell);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

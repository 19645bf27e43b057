/* How many channels, where nobody has said it: the table of the choice, and its reasons. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/channels.h"

#define GBIT UINT64_C(125000000)

static const struct {
    struct channels_facts f;
    unsigned n;
    const char *why;
} table[] = {
    {{0, 0, 64}, 0, "the speed of the link is not known"},
    {{0, 10 * GBIT, 64}, 0, "the speed of the link is not known"},
    {{GBIT, 0, 64}, 0, "one stream fills 1000 Mbit/s"},
    {{GBIT, 0, 0}, 0, "one stream fills 1000 Mbit/s"},
    {{5 * GBIT / 2, 0, 64}, 0, "one stream fills 2500 Mbit/s"},
    {{3 * GBIT, 0, 64}, 0, "one stream fills 3000 Mbit/s"},
    {{5 * GBIT, 0, 64}, 2, "for 5000 Mbit/s, on a host with 64 cores"},
    {{10 * GBIT, 0, 64}, 4, "for 10000 Mbit/s, on a host with 64 cores"},
    {{25 * GBIT, 0, 64}, 8, "for 25000 Mbit/s, on a host with 64 cores"},
    {{100 * GBIT, 0, 64}, 8, "for 100000 Mbit/s, on a host with 64 cores"},
    {{UINT64_MAX, 0, 64}, 8, NULL},
    /* what a migration may take counts, not what there is */
    {{100 * GBIT, 10 * GBIT, 64}, 4, "for 10000 Mbit/s, on a host with 64 cores"},
    {{100 * GBIT, GBIT, 64}, 0, "one stream fills 1000 Mbit/s"},
    {{10 * GBIT, 100 * GBIT, 64}, 4, NULL},
    /* the guest needs cores, too */
    {{10 * GBIT, 0, 0}, 0, "the cores of the source's host are not known"},
    {{10 * GBIT, 0, 1}, 0, "the source's host has 1 core only, and the guest needs it"},
    {{10 * GBIT, 0, 2}, 0, "the source's host has 2 cores only, and the guest needs them"},
    {{10 * GBIT, 0, 3}, 0, "the source's host has 3 cores only, and the guest needs them"},
    {{10 * GBIT, 0, 4}, 2, "for 10000 Mbit/s, on a host with 4 cores"},
    {{10 * GBIT, 0, 7}, 3, NULL},
    {{100 * GBIT, 0, UINT32_MAX}, 8, NULL},
};

START_TEST(as_many_as_link_and_cores_call_for)
{
    char why[128];
    ck_assert_uint_eq(channels_choose(&table[_i].f, why, sizeof(why)), table[_i].n);
    if (table[_i].why)
        ck_assert_str_eq(why, table[_i].why);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("channels");
    TCase *t = tcase_create("channels");
    tcase_add_loop_test(t, as_many_as_link_and_cores_call_for, 0,
                        (int)(sizeof(table) / sizeof(table[0])));
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

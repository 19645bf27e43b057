/* When a source is about to begin its next round of pages, as what it has sent shows. */
#include <check.h>
#include <string.h>

#include "engine/base/units.h"
#include "engine/mig_priv.h"

static struct mig m;
static uint64_t sent; /* so much for each round */

static void setup(void)
{
    const struct mig_spec spec = {.source = "/s", .destination = "/d"};
    const struct policy policy = {.name = "test"};
    mig_init(&m, &spec, &policy);
    m.now_ns = QF_NS_PER_S;
    sent = 1000;
}

static void teardown(void)
{
}

enum { NEVER = 100000 };

/* Asked every 4 ms, of a source that sends for busy_ms at the beginning of each 100 ms, the first of which began
 * so many ms ago. Returns when it is time, in ms; NEVER: it does not come. */
static unsigned asked(unsigned began_ms, unsigned busy_ms)
{
    for (unsigned ms = 0; ms < 1000; ms += 4) {
        const unsigned at = (began_ms + ms) % 100;
        const unsigned rounds = (began_ms + ms) / 100;
        m.side[MIG_SRC].migrate.transferred_bytes =
            rounds * sent * 100 + sent * (at < busy_ms ? at : busy_ms);
        m.now_ns = QF_NS_PER_S + qf_ms_to_ns(ms);
        if (!mig_waits_for_round(&m))
            return ms;
    }
    return NEVER;
}

/* Wherever in its round it is met, the guest would stand still for 20 ms at most. */
START_TEST(one_that_sleeps_is_told_before_it_wakes)
{
    const unsigned began_ms = (unsigned)_i * 7;
    const unsigned ms = asked(began_ms, 10);
    ck_assert_uint_lt(ms, 250);
    const unsigned left_ms = 100 - (began_ms + ms) % 100;
    ck_assert_msg(left_ms >= 8 && left_ms <= 20, "%u ms after the beginning, %u left", ms,
                  left_ms);
}
END_TEST

START_TEST(one_that_never_sleeps_is_told_at_once)
{
    ck_assert_uint_le(asked(0, 100), 44);
}
END_TEST

/* Nothing is left to send, or it does not answer. */
START_TEST(one_that_sends_nothing_is_told_after_a_while)
{
    sent = 0;
    const unsigned ms = asked(0, 10);
    ck_assert_uint_ge(ms, 240);
    ck_assert_uint_le(ms, 260);
}
END_TEST

/* The machine is woken for it. */
START_TEST(it_is_looked_at_again_soon)
{
    ck_assert(mig_waits_for_round(&m));
    ck_assert_int_le(m.wake_ns, m.now_ns + qf_ms_to_ns(5));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("round");
    TCase *t = tcase_create("round");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, one_that_sleeps_is_told_before_it_wakes, 0, 15);
    tcase_add_test(t, one_that_never_sleeps_is_told_at_once);
    tcase_add_test(t, one_that_sends_nothing_is_told_after_a_while);
    tcase_add_test(t, it_is_looked_at_again_soon);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

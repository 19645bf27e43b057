/* Who is dead: the live driver between a monitor that ends and what the machine is told of it. */
#include <check.h>
#include <string.h>

#include "tests/fake/rig.h"

static struct rig rig;

static void setup(void)
{
    rig_init(&rig);
}

static void teardown(void)
{
    rig_fini(&rig);
}

/* The destination is killed in the switch. On a UNIX socket the kernel says so, and the source's guest is
 * the only one. A TCP port that refuses proves nothing, so the outcome says that a person must look. */
START_TEST(a_port_that_refuses_is_no_dead_process)
{
    struct rig_move *m = rig_add(&rig);
    m->opts.wire[MODEL_DST].tcp = _i == 1;
    m->opts.setup.fault[0] = (struct model_fault){.when = MODEL_AT_COMMAND,
                                                  .what = MODEL_DIE,
                                                  .side = MODEL_SRC,
                                                  .other = true,
                                                  .name = "migrate-continue"};
    m->opts.setup.n_faults = 1;
    rig_run(&rig);
    ck_assert_msg(rig_status(m) == (_i == 1 ? 7 : 4), "exit %d: %s", rig_status(m),
                  m->result.reason);
    ck_assert_int_eq(m->result.running_on, PLACE_SOURCE);
    ck_assert(m->truth.running[MODEL_SRC]);
    if (_i == 1)
        ck_assert_msg(strstr(m->result.reason, "make sure that its QEMU is gone"), "%s",
                      m->result.reason);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("fake/dead");
    TCase *t = tcase_create("dead");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, a_port_that_refuses_is_no_dead_process, 0, 2);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}

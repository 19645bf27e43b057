/* Memory that is not there: the n-th allocation of the engine, of qmp and of jansson fails, once
 * or a few times in a row, and whatever comes of it is an outcome.
 *
 * The linker sends malloc, calloc and realloc of everything that is linked in through here, and
 * jansson is told to come, too. What the tests themselves do is spared (rig.inside). libuv is
 * not asked: without memory it aborts by itself.
 *
 * One thing of jansson's is spared as well. When the buffer in which its parser collects a string
 * or a number cannot grow, it drops the character and goes on (2.14, lex_save in load.c): a wrong
 * number, or, without its closing quote, a string that is read and written beyond its end. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "tests/fake/rig.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
json_t *__real_json_loadb(const char *text, size_t len, size_t flags, json_error_t *error);
json_t *__wrap_json_loadb(const char *text, size_t len, size_t flags, json_error_t *error);

static struct rig rig;

static struct {
    bool armed;
    unsigned long asked; /* so far */
    unsigned long first; /* fails, from 1; 0: none */
    unsigned long row;   /* how many in a row fail */
    unsigned long failed;
    unsigned parsing;
} scarce;

static bool fails(void)
{
    if (!scarce.armed || rig.inside > 0)
        return false;
    scarce.asked++;
    if (scarce.first == 0 || scarce.asked < scarce.first ||
        scarce.asked >= scarce.first + scarce.row)
        return false;
    scarce.failed++;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return fails() ? NULL : __real_realloc(p, size);
}

json_t *__wrap_json_loadb(const char *text, size_t len, size_t flags, json_error_t *error)
{
    scarce.parsing++;
    json_t *v = __real_json_loadb(text, len, flags, error);
    scarce.parsing--;
    return v;
}

/* The sizes of that buffer are powers of two. */
static void *json_malloc(size_t size)
{
    const bool is_power = (size & (size - 1)) == 0;
    return scarce.parsing > 0 && size >= 32 && is_power ? __real_malloc(size)
                                                        : __wrap_malloc(size);
}

static void setup(void)
{
    json_set_alloc_funcs(json_malloc, free);
    rig_init(&rig);
}

static void teardown(void)
{
    scarce.armed = false;
    rig_fini(&rig);
}

/* One migration, in which that fails. Returns how many allocations it has asked for. */
static unsigned long run(unsigned long first,
                         unsigned long row,
                         bool dry_run,
                         const char *policy)
{
    struct rig_move *m = rig_add(&rig);
    m->dry_run = dry_run;
    m->policy = policy;
    m->opts.speed = 50;
    if (dry_run) /* nothing to measure: that takes seconds */
        m->opts.setup.run = QAPI_RUN_PAUSED;
    memset(&scarce, 0, sizeof(scarce));
    scarce.first = first;
    scarce.row = row;
    scarce.armed = true;
    rig_run(&rig);
    scarce.armed = false;
    const int status = rig_status(m);
    ck_assert_msg(status == 0 || status == 1 || status == 4 || status == 6 || status == 7,
                  "allocation %lu: exit %d: %s", first, status, m->result.reason);
    ck_assert_msg((status == 0) == (m->result.outcome == OUTCOME_COMPLETED),
                  "allocation %lu: exit %d: %s", first, status, m->result.reason);
    ck_assert_msg(status == 0 || m->result.reason[0] != '\0', "no reason");
    if (dry_run)
        ck_assert(m->truth.whole[MODEL_SRC]);
    else
        ck_assert(m->truth.running[MODEL_SRC] || m->truth.running[MODEL_DST] ||
                  status == 7);
    ck_assert_uint_le(m->journal_errors, 1);
    rig_clear(&rig);
    return scarce.asked;
}

/* The checks only: nothing is lost but the checks. */
START_TEST(a_preflight_survives_each_allocation)
{
    const unsigned long all = run(0, 0, true, NULL);
    ck_assert_uint_gt(all, 1000);
    for (unsigned long n = 1; n <= all; n += n < 60 ? 1 : 17)
        (void)run(n, _i ? 5 : 1, true, NULL);
}
END_TEST

START_TEST(a_migration_survives_each_allocation)
{
    const unsigned long before = run(0, 0, true, NULL);
    const unsigned long all = run(0, 0, false, NULL);
    ck_assert_uint_gt(all, before);
    for (unsigned long n = before; n <= all; n += (all - before) / 60 + (unsigned long)_i)
        (void)run(n, _i ? 3 : 1, false, NULL);
}
END_TEST

/* jansson passes over a key for which there was no room (2.14). */
START_TEST(a_text_is_whole_or_there_is_none)
{
    char key[5000];
    memset(key, 'k', sizeof(key) - 1);
    key[sizeof(key) - 1] = '\0';
    json_t *v = json_pack("{s:i,s:i}", "time", 1, key, 2);
    memset(&scarce, 0, sizeof(scarce));
    scarce.row = 1;
    do {
        char *text;
        scarce.asked = 0;
        scarce.failed = 0;
        scarce.first++;
        scarce.armed = true;
        text = journal_dump(v);
        scarce.armed = false;
        ck_assert((text == NULL) == (scarce.failed > 0));
        ck_assert(!text || strlen(text) == strlen("{'time':1,'':2}.") + strlen(key));
        free(text);
    } while (scarce.failed > 0);
    ck_assert_uint_gt(scarce.first, 2);
    json_decref(v);
}
END_TEST

static Suite *scarce_suite(void)
{
    Suite *suite = suite_create("scarce");
    TCase *tc = tcase_create("preflight");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_text_is_whole_or_there_is_none);
    tcase_add_loop_test(tc, a_preflight_survives_each_allocation, 0, 2);
    suite_add_tcase(suite, tc);
    tc = tcase_create("migration");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, a_migration_survives_each_allocation, 0, 2);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(scarce_suite());
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* A whole journal with one line changed: replay names that line, whatever kind of line it is; a
 * changed number in what QEMU said leads to other decisions. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/replay.h"
#include "setups.h"
#include "sim.h"

static struct sim sim;

static void setup(void)
{
    struct sim_setup u = sim_busy();
    u.policy = "suspend-if-needed";
    u.quiet = true;
    sim_run(&sim, &u);
    ck_assert_str_eq(sim_complaint(&sim), "");
}

static void teardown(void)
{
    sim_free(&sim);
}

static void play(struct replay_report *report)
{
    struct qf_err err = {.text = ""};
    ck_assert_msg(replay(sim.journal[0].data, sim.journal[0].len, report, &err) == 0, "%s",
                  err.text);
}

START_TEST(unchanged_it_replays_with_its_decisions)
{
    struct replay_report report;
    play(&report);
    ck_assert_uint_eq(report.differs, 0);
    ck_assert_uint_ge(report.decisions, 5);
}
END_TEST

/* One line of each kind. */
static const struct {
    const char *find;
    unsigned nth;
} spots[] = {
    {"\"type\":\"phase\",", 4},    {"\"type\":\"check\",", 3},  {"\"type\":\"sample\",", 7},
    {"\"type\":\"decision\",", 5}, {"\"type\":\"note\",", 1},   {"\"type\":\"do\",", 30},
    {"\"type\":\"result\",", 1},   {"\"type\":\"memory\",", 4},
};

START_TEST(changed_line_is_named)
{
    struct replay_report report;
    char *at = sim.journal[0].data;
    for (unsigned i = 0; i < spots[_i].nth; i++) {
        at = strstr(at + 1, spots[_i].find);
        ck_assert_ptr_nonnull(at);
    }
    uint64_t line = 1;
    for (const char *p = sim.journal[0].data; p < at; p++)
        line += *p == '\n';
    char *end = strchr(at, '\n'); /* the last digit of the line */
    while (*end < '0' || *end > '9')
        end--;
    *end = *end == '1' ? '2' : '1';
    play(&report);
    ck_assert_uint_eq(report.differs, line);
}
END_TEST

START_TEST(other_memory_left_means_other_decisions)
{
    struct replay_report report;
    unsigned changed = 0;
    for (char *at = sim.journal[0].data; (at = strstr(at, "\"remaining\":")); at++) {
        char *line = at;
        while (line > sim.journal[0].data && line[-1] != '\n')
            line--;
        char *end = strchr(at, '\n');
        *end = '\0';
        if (strstr(line, "\"type\":\"event\"") && at[12] > '1' && at[12] <= '9') {
            at[12] = '1';
            changed++;
        }
        *end = '\n';
    }
    ck_assert_uint_gt(changed, 10);
    play(&report);
    ck_assert_uint_gt(report.differs, 0);
    ck_assert(
        strstr(report.expected, "\"type\":\"sample\"") ||
        strstr(report.expected, "\"type\":\"memory\"")); /* counts what is left, too */
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("tamper");
    TCase *t = tcase_create("tamper");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, unchanged_it_replays_with_its_decisions);
    tcase_add_loop_test(t, changed_line_is_named, 0,
                        (int)(sizeof(spots) / sizeof(spots[0])));
    tcase_add_test(t, other_memory_left_means_other_decisions);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return sim_main(suite());
}

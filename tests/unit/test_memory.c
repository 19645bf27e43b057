/* What is remembered of a killed qferry: as JSON, found in journals, and in folders of them. */
#include "engine/journal_memory.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include <uv.h>

#include "engine/base/buf.h"
#include "engine/base/units.h"
#include "engine/memory_uv.h"
#include "engine/request.h"
#include "engine/session.h"
#include "policy/policy_json.h"

static struct fixture {
    struct mig_memory mem;
    struct mig_memory got;
    struct policy policy;
    struct policy given;
    struct mig_spec spec;
    struct journal_clock clock;
    struct qf_buf text;
    struct memory_found found;
    char dir[64];
} f;

static void remember_much(struct mig_memory *mem)
{
    memset(mem, 0, sizeof(*mem));
    mem->known = mem->has_policy = true;
    ck_assert_int_eq(policy_preset_load("post-copy", &mem->policy, NULL), 0);
    mem->attempt = 2;
    mem->operator_fields = 5;
    mem->started = mem->guest_ran = mem->has_reason = mem->recovering = true;
    mem->migrate_ns = 7 * QF_NS_PER_S;
    mem->bandwidth_bytes_per_s = SPEC_BANDWIDTH_HYPERVISOR;
    mem->outcome = OUTCOME_CANCELLED;
    mem->code = QF_E_CANCELLED;
    mem->port = 49160;
    mem->pending[0].port = 49153;
    mem->pending[0].until_ns = 9 * QF_NS_PER_S;
    mem->n_pending = 1;
    mem->past.steps_done = mem->steps_done = 3;
    mem->past.moved_t_ns = 8 * QF_NS_PER_S;
    (void)strcpy(mem->phase, "rollback");
    (void)strcpy(mem->reason, "cancelled by the user");
    (void)strcpy(mem->network, "migration");
    (void)strcpy(mem->address, "10.1.0.7");
    struct mig_memory_side *s = &mem->side[MIG_SRC];
    (void)strcpy(s->uuid, "u");
    s->run = QAPI_RUN_RUNNING;
    s->status = QAPI_MIG_ACTIVE;
    s->caps_changed = QAPI_CAP_BIT(EVENTS) | QAPI_CAP_BIT(RETURN_PATH);
    s->caps_on = QAPI_CAP_BIT(RETURN_PATH);
    s->params_changed = 1U << QAPI_PARAM_DOWNTIME_LIMIT;
    s->param[QAPI_PARAM_DOWNTIME_LIMIT] = 300;
    s->param_set[QAPI_PARAM_DOWNTIME_LIMIT] = 50;
    s->texts_changed = 1U << QAPI_TEXT_PARAM_TLS_CREDS;
    (void)strcpy(s->text[QAPI_TEXT_PARAM_TLS_CREDS], "mine");
    mem->side[MIG_DST].run = QAPI_RUN_INMIGRATE;
}

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    remember_much(&f.mem);
    ck_assert_int_eq(policy_preset_load("minimal-downtime", &f.policy, NULL), 0);
    (void)strcpy(f.spec.source, "/run/a");
    (void)strcpy(f.spec.destination, "/run/b");
    f.clock = (struct journal_clock){
        .t0_ns = 5 * QF_NS_PER_S, .wall_ms = 1000000, .seq = 1, .boot = "one"};
    qf_buf_init(&f.text, 16 * 1024 * 1024);
    (void)strcpy(f.dir, "/tmp/qferry-memory-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(f.dir));
}

static void teardown(void)
{
    char command[128];
    qf_buf_fini(&f.text);
    (void)snprintf(command, sizeof(command), "rm -r %s", f.dir);
    ck_assert_int_eq(system(command), 0);
}

static void add_line(json_t *line)
{
    char *text = journal_dump(line);
    ck_assert_ptr_nonnull(text);
    ck_assert_int_eq(qf_buf_append(&f.text, text, strlen(text), NULL), 0);
    free(text);
    json_decref(line);
}

static void add_header(void)
{
    add_line(journal_header(&f.clock, &f.spec, &f.policy));
}

static void add_memory(void)
{
    json_t *line = journal_line(&f.clock, "memory", 6 * QF_NS_PER_S);
    journal_put(line, "memory", journal_dump_memory(&f.mem));
    add_line(line);
}

static void add_result(int status)
{
    json_t *line = journal_line(&f.clock, "result", 6 * QF_NS_PER_S);
    journal_put(line, "exit", json_integer(status));
    add_line(line);
    add_line(journal_line(&f.clock, "end", 6 * QF_NS_PER_S));
}

static void add_text(const char *text)
{
    ck_assert_int_eq(qf_buf_append(&f.text, text, strlen(text), NULL), 0);
}

static enum journal_remains recall_at(const struct journal_clock *now)
{
    const size_t n = f.text.len < JOURNAL_TAIL_BYTES ? f.text.len : JOURNAL_TAIL_BYTES;
    const struct journal_ends ends = {f.text.data, f.text.len, f.text.data + f.text.len - n,
                                      n};
    struct qf_err err;
    return journal_recall(&ends, "/run/a", "/run/b", now, &f.got, &f.given, &err);
}

static enum journal_remains recall(void)
{
    const struct journal_clock now = {
        .t0_ns = 20 * QF_NS_PER_S, .wall_ms = 1015000, .boot = "one"};
    return recall_at(&now);
}

START_TEST(it_reads_back_what_was_written)
{
    json_t *a = journal_dump_memory(&f.mem);
    ck_assert(journal_load_memory(a, &f.got));
    json_t *b = journal_dump_memory(&f.got);
    ck_assert(json_equal(a, b));
    ck_assert(!mig_memory_is_news(&f.mem, &f.got));
    ck_assert_str_eq(f.got.side[MIG_SRC].text[QAPI_TEXT_PARAM_TLS_CREDS], "mine");
    ck_assert_int_eq(f.got.code, QF_E_CANCELLED);
    json_decref(a);
    json_decref(b);
}
END_TEST

START_TEST(what_is_damaged_is_no_memory)
{
    static const struct {
        const char *key;
        const char *value;
    } bad[] = {{"attempt", "-1"},
               {"code", "99"},
               {"outcome", "77"},
               {"migrate_ns", "9223372036854775807"},
               {"port", "70000"},
               {"source", "3"},
               {"destination", "[]"},
               {"policy", "{\"name\": 3}"},
               {"pending", "[{\"port\": 0}]"},
               {"networks", "3"}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        json_t *a = journal_dump_memory(&f.mem);
        json_object_set_new(a, bad[i].key, json_loads(bad[i].value, JSON_DECODE_ANY, NULL));
        ck_assert_msg(!journal_load_memory(a, &f.got), "%s", bad[i].key);
        json_decref(a);
    }
    ck_assert(!journal_load_memory(NULL, &f.got));
}
END_TEST

START_TEST(the_last_whole_memory_of_a_journal_counts)
{
    add_header();
    f.mem.attempt = 1;
    add_memory();
    f.mem.attempt = 2;
    add_memory();
    add_line(journal_line(&f.clock, "note", 6 * QF_NS_PER_S));
    add_text("{\"time\":\"x\",\"type\":\"memory\",\"seq\":9,\"mem"); /* cut by the kill */
    ck_assert_int_eq(recall(), JOURNAL_MEMORY);
    ck_assert_uint_eq(f.got.attempt, 2);
    ck_assert_str_eq(f.given.name, "minimal-downtime");
    ck_assert_int_eq(f.got.migrate_ns, 7 * QF_NS_PER_S);
}
END_TEST

START_TEST(an_end_is_an_end_but_for_one_that_is_held_or_was_refused)
{
    static const struct {
        int status;
        enum journal_remains remains;
    } rows[] = {{0, JOURNAL_OVER},    {4, JOURNAL_OVER},    {5, JOURNAL_OVER},
                {3, JOURNAL_NOTHING}, {6, JOURNAL_NOTHING}, {7, JOURNAL_MEMORY}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        qf_buf_drop(&f.text, f.text.len);
        add_header();
        add_memory();
        add_result(rows[i].status);
        ck_assert_msg(recall() == rows[i].remains, "exit %d", rows[i].status);
    }
}
END_TEST

START_TEST(foreign_files_are_said_to_be_foreign)
{
    add_text("hello\nworld\n");
    ck_assert_int_eq(recall(), JOURNAL_FOREIGN);
    qf_buf_drop(&f.text, f.text.len);
    ck_assert_int_eq(recall(), JOURNAL_FOREIGN);
    add_text("{\"type\":\"journal\",\"format\":99}\n");
    ck_assert_int_eq(recall(), JOURNAL_FOREIGN);
    qf_buf_drop(&f.text, f.text.len);
    (void)strcpy(f.spec.destination, "/run/c");
    add_header();
    add_memory();
    ck_assert_int_eq(recall(), JOURNAL_OVER); /* the source has gone elsewhere since */
    qf_buf_drop(&f.text, f.text.len);
    add_header();
    add_memory();
    add_result(3); /* or has not: that was refused */
    ck_assert_int_eq(recall(), JOURNAL_NOTHING);
}
END_TEST

/* The monotonic clock began anew: 15 s went by on the wall. */
START_TEST(after_a_reboot_the_wall_clock_counts)
{
    const struct journal_clock now = {
        .t0_ns = 3 * QF_NS_PER_S, .wall_ms = 1015000, .boot = "two"};
    add_header();
    add_memory();
    ck_assert_int_eq(recall_at(&now), JOURNAL_MEMORY);
    /* it was sent at 7 s, 2 s after the first line: 13 s before now */
    ck_assert_int_eq(f.got.migrate_ns, -10 * QF_NS_PER_S);
}
END_TEST

static void write_file(const char *name, char path[128])
{
    (void)snprintf(path, 128, "%s/%s", f.dir, name);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(f.text.data, 1, f.text.len, file), f.text.len);
    ck_assert_int_eq(fclose(file), 0);
    qf_buf_drop(&f.text, f.text.len);
}

static void write_killed(const char *name, char path[128])
{
    add_header();
    add_memory();
    write_file(name, path);
}

START_TEST(of_a_folder_the_newest_of_the_pair_counts)
{
    char path[128];
    char other[128];
    write_killed("20260101T000000Z-1.jsonl", path);
    memory_of_folder(f.dir, &f.spec, &f.found);
    ck_assert(f.found.found);
    ck_assert_str_eq(f.found.path, path);
    add_header(); /* it touched nothing; nor has this a line */
    write_file("20260102T000000Z-1.jsonl", other);
    add_text("");
    write_file("20260103T000000Z-1.jsonl", other);
    add_text("garbage");
    write_file("20260104T000000Z-1.jsonl", other);
    memory_of_folder(f.dir, &f.spec, &f.found);
    ck_assert(f.found.found);
    add_header();
    add_memory();
    add_result(0);
    write_file("20260105T000000Z-1.jsonl", other);
    memory_of_folder(f.dir, &f.spec, &f.found);
    ck_assert(!f.found.found);
    memory_of_folder("/nonexistent", &f.spec, &f.found);
    ck_assert(!f.found.found);
}
END_TEST

START_TEST(a_journal_whose_qferry_lives_is_no_memory)
{
    char path[128];
    write_killed("20260101T000000Z-1.jsonl", path);
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    const int again = open(path, O_WRONLY | O_CLOEXEC);
    ck_assert(memory_lock(fd));
    ck_assert(!memory_lock(again));
    memory_of_folder(f.dir, &f.spec, &f.found);
    ck_assert(!f.found.found);
    (void)close(fd);
    (void)close(again);
    memory_of_folder(f.dir, &f.spec, &f.found);
    ck_assert(f.found.found);
}
END_TEST

START_TEST(a_file_that_is_to_be_replaced_is_put_aside)
{
    char path[128];
    write_killed("j", path);
    memory_of_file(path, &f.spec, &f.found);
    ck_assert(f.found.found);
    ck_assert_int_eq(memory_put_aside(path, NULL), 0);
    ck_assert_int_ne(access(path, F_OK), 0);
    memory_of_file(path, &f.spec, &f.found); /* killed before the new one had a line */
    ck_assert(f.found.found);
    ck_assert_str_eq(f.found.path + strlen(path), ".killed");
    add_text("no journal\n");
    write_file("j", path);
    memory_of_file(path, &f.spec, &f.found);
    ck_assert(!f.found.found);
    ck_assert_ptr_nonnull(strstr(f.found.note, "not a journal"));
}
END_TEST

/* 40 MB: no more than the two ends is read. The time is that of one start. */
START_TEST(a_long_journal_costs_no_more_than_a_short_one)
{
    char path[128];
    char line[4096];
    memset(line, ' ', sizeof(line));
    (void)memcpy(line, "{\"time\":\"\",\"type\":\"event\"", 24);
    line[sizeof(line) - 2] = '\n';
    line[sizeof(line) - 1] = '\0';
    add_header();
    write_file("20260101T000000Z-1.jsonl", path);
    FILE *file = fopen(path, "a");
    for (unsigned i = 0; i < 10000; i++)
        ck_assert_int_ge(fputs(line, file), 0);
    add_memory();
    ck_assert_uint_eq(fwrite(f.text.data, 1, f.text.len, file), f.text.len);
    for (unsigned i = 0; i < JOURNAL_MEMORY_BYTES / sizeof(line); i++)
        ck_assert_int_ge(fputs(line, file), 0);
    ck_assert_int_eq(fclose(file), 0);
    const uint64_t t = uv_hrtime();
    memory_of_folder(f.dir, &f.spec, &f.found);
    const uint64_t took_us = (uv_hrtime() - t) / 1000;
    ck_assert(f.found.found);
    (void)printf("found at the end of 40 MB in %llu us\n", (unsigned long long)took_us);
}
END_TEST

START_TEST(the_same_request_keeps_what_an_operator_said)
{
    static struct request r; /* large */
    struct policy remembered = f.policy;
    ck_assert_int_eq(policy_set(&remembered, "timeout=77s", NULL), 0);
    request_init(&r);
    r.policy = f.policy;
    ck_assert(request_remember_policy(&r, true, &f.policy, &remembered));
    ck_assert_uint_eq(remembered.timeout_ms, 77000);
    /* another one that says nothing of a policy but one field */
    r.n_sets = 1;
    r.sets[0].option = "max-downtime";
    r.sets[0].value = "123ms";
    ck_assert_int_eq(policy_set(&r.policy, "downtime.max=123ms", NULL), 0);
    ck_assert(request_remember_policy(&r, false, &f.policy, &remembered));
    ck_assert_uint_eq(remembered.timeout_ms, 77000);
    ck_assert_uint_eq(remembered.downtime_max_ms, 123);
    ck_assert(!request_remember_policy(&r, true, &f.policy, &remembered));
}
END_TEST

static Suite *memory_suite(void)
{
    Suite *s = suite_create("memory");
    TCase *t = tcase_create("memory");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, it_reads_back_what_was_written);
    tcase_add_test(t, what_is_damaged_is_no_memory);
    tcase_add_test(t, the_last_whole_memory_of_a_journal_counts);
    tcase_add_test(t, an_end_is_an_end_but_for_one_that_is_held_or_was_refused);
    tcase_add_test(t, foreign_files_are_said_to_be_foreign);
    tcase_add_test(t, after_a_reboot_the_wall_clock_counts);
    tcase_add_test(t, of_a_folder_the_newest_of_the_pair_counts);
    tcase_add_test(t, a_journal_whose_qferry_lives_is_no_memory);
    tcase_add_test(t, a_file_that_is_to_be_replaced_is_put_aside);
    tcase_add_test(t, a_long_journal_costs_no_more_than_a_short_one);
    tcase_add_test(t, the_same_request_keeps_what_an_operator_said);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *r = srunner_create(memory_suite());
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* MODEL files: what is taken, what is refused and how that is said. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "policy/model_json.h"

static struct fixture {
    struct policy_model_spec s;
    struct qf_err err;
} f;

static void setup(void)
{
    memset(&f, 0, sizeof(f));
}

static int load(const char *text)
{
    return policy_model_load("my.json", text, strlen(text), &f.s, &f.err);
}

static void must(int rc)
{
    ck_assert_msg(rc == 0, "%s", f.err.text);
}

/* What every model needs, and more. */
#define MODEL(guest, link, rest)                                                          \
    "{\n\"guest\": {\"memory\": \"1GiB\"" guest "},\n\"link\": {\"rate\": \"1Gbit\"" link \
    "}" rest "\n}"
#define SET "\"sets\": [{\"name\": \"a\", \"size\": \"64MiB\", \"writes\": \"8MiB\"}]"

START_TEST(little_is_enough)
{
    must(load(MODEL("", "", "")));
    ck_assert_str_eq(f.s.name, "my");
    ck_assert_uint_eq(f.s.guest.memory_bytes, QF_GIB);
    ck_assert_uint_eq(f.s.guest.busy_percent, 100);
    ck_assert_uint_eq(f.s.guest.noise_percent, 3);
    ck_assert(f.s.guest.repeats);
    ck_assert_uint_eq(f.s.link.rate_bytes_per_s, 125000000);
    ck_assert_uint_eq(f.s.link.latency_ns, 200000);
    ck_assert_uint_eq(f.s.qemu.max_bandwidth_bytes_per_s, 0);
    ck_assert_uint_eq(f.s.qemu.throttle_trigger_percent, 50);
    ck_assert(!f.s.qemu.postcopy_breaks);
}
END_TEST

START_TEST(every_field_is_read)
{
    must(load(
        "{\"name\": \"n\", \"description\": [\"one\", \"two\"],"
        " \"guest\": {\"zero\": \"25%\", \"memory\": \"2GiB\", \"zero-last\": true, \"busy\": 40, \"cpus\": 3,"
        "   \"noise\": \"7%\", \"repeat\": false, \"start\": \"1500ms\","
        "   \"phases\": [{\"for\": \"2s\", \"writes\": 0.5},"
        "                {\"writes\": {\"b\": 2.125}, \"for\": 1}],"
        "   \"sets\": [{\"name\": \"a\", \"size\": 8192, \"writes\": \"80Mbit\","
        "               \"pattern\": \"sweep\"}, {\"name\": \"b\", \"size\": \"1MiB\"}]},"
        " \"link\": {\"rate\": \"10Gbit\", \"latency\": \"1.5ms\", \"loss\": 0.25,"
        "   \"noise\": 2, \"buffer\": \"3KiB\", \"changes\": [{\"at\": 3, \"rate\": \"1MiB\"}],"
        "   \"drops\": [{\"at\": \"4s\", \"for\": \"500ms\"}], \"repeat\": \"1min\"},"
        " \"qemu\": {\"max-bandwidth\": \"32MiB\", \"setup\": \"1ms\","
        "   \"switchover\": \"2ms\", \"resume\": \"3ms\", \"postcopy-switch\": \"4ms\","
        "   \"sync-per-tib\": \"5ms\", \"scan\": \"6MiB\", \"fault\": \"7us\","
        "   \"throttle-trigger\": 20, \"syncs-always\": true,"
        "   \"postcopy-breaks-after\": \"8s\"}}"));
    const struct policy_model_guest *g = &f.s.guest;
    const struct policy_model_link *l = &f.s.link;
    const struct policy_model_qemu *q = &f.s.qemu;
    ck_assert_str_eq(f.s.name, "n");
    ck_assert_str_eq(f.s.description, "one two");
    ck_assert_uint_eq(g->memory_bytes, 2 * QF_GIB);
    ck_assert_uint_eq(g->zero_bytes, QF_GIB / 2);
    ck_assert(g->zero_last && g->busy_percent == 40 && g->cpus == 3 &&
              g->noise_percent == 7);
    ck_assert(!g->repeats && g->start_ms == 1500 && !g->starts_anywhere);
    ck_assert_uint_eq(g->n_phases, 2);
    ck_assert(g->phases[0].for_ms == 2000 && g->phases[0].factor_permille[0] == 500);
    ck_assert(g->phases[0].factor_permille[1] == 500 && g->phases[1].for_ms == 1000);
    ck_assert(g->phases[1].factor_permille[0] == 1000);
    ck_assert(g->phases[1].factor_permille[1] == 2125);
    ck_assert_uint_eq(g->n_sets, 2);
    ck_assert(g->sets[0].bytes == 8192 && g->sets[0].writes_bytes_per_s == 10000000);
    ck_assert(g->sets[0].pattern == POLICY_MODEL_SWEEP);
    ck_assert(g->sets[1].pattern == POLICY_MODEL_RANDOM &&
              g->sets[1].writes_bytes_per_s == 0);
    ck_assert(l->rate_bytes_per_s == 1250000000 && l->latency_ns == 1500000);
    ck_assert(l->buffer_bytes == 3072 && l->loss_ppm == 2500 && l->noise_percent == 2 &&
              l->repeat_ms == 60000);
    ck_assert(l->n_changes == 1 && l->changes[0].at_ms == 3000);
    ck_assert(l->changes[0].rate_bytes_per_s == 1048576);
    ck_assert(l->n_drops == 1 && l->drops[0].at_ms == 4000 && l->drops[0].for_ms == 500);
    ck_assert(q->max_bandwidth_bytes_per_s == 32 * QF_MIB && q->setup_ms == 1);
    ck_assert(q->switchover_ms == 2 && q->resume_ms == 3 && q->postcopy_switch_ms == 4);
    ck_assert(q->sync_per_tib_ms == 5 && q->scan_bytes_per_s == 6 * QF_MIB);
    ck_assert(q->fault_ns == 7000 && q->throttle_trigger_percent == 20 && q->syncs_always);
    ck_assert(q->postcopy_breaks && q->postcopy_breaks_after_ms == 8000);
}
END_TEST

START_TEST(a_start_may_be_random_and_a_break_may_be_off)
{
    must(load(MODEL(", \"start\": \"random\", \"phases\": [{\"for\": 1}]", "",
                    ", \"qemu\": {\"postcopy-breaks-after\": false}")));
    ck_assert(f.s.guest.starts_anywhere && !f.s.qemu.postcopy_breaks);
    ck_assert_uint_eq(f.s.guest.phases[0].factor_permille[0], 1000);
}
END_TEST

/* --- what is refused --- */

static const struct {
    const char *text;
    const char *says;
} refused[] = {
    {"", "my.json:1: nothing in it; write an object in braces"},
    {"{", "my.json:1: string or '}' expected near end of file"},
    {"[]", "my.json:1: a list is not a model; write an object in braces"},
    {"{}",
     "my.json:1: guest.memory: missing, or less than 1MiB; write how much RAM it has"},
    {"{\"gest\": 1}", "my.json:1: gest: unknown field; did you mean guest?"},
    {"{\"guest\": 1}", "my.json:1: guest: 1 is not an object; write {\"memory\": ...}"},
    {"{\"x\": 1, \"x\": 2}", "my.json:1: duplicate object key near '\"x\"'"},
    {MODEL(", \"ze\": 0", "", ""),
     "my.json:2: guest.ze: unknown field; there are memory, "
     "zero, zero-last, busy, cpus, noise, sets, phases, repeat, start"},
    {MODEL(",\n\"sets\": [\n{\"sise\": 1}]", "", ""),
     "my.json:4: guest.sets[0].sise: unknown field; did you mean size?"},
    {MODEL("", ", \"rat\": 1", ""),
     "my.json:3: link.rat: unknown field; did you mean rate?"},
    {"{\"guest\": {\"memory\": \"1 Gbit\"}}",
     "my.json:1: guest.memory: \"1 Gbit\" is not a size; write \"64MiB\", \"1GiB\", or bytes"},
    {"{\"guest\": {\"memory\": -1}}",
     "my.json:1: guest.memory: -1 is not a size; write \"64MiB\", \"1GiB\", or bytes"},
    {"{\"guest\": {\"memory\": \"65TiB\"}}",
     "my.json:1: guest.memory: \"65TiB\" is more than 64 TiB"},
    {MODEL(", \"zero\": 40", "", ""),
     "my.json:2: guest.zero: 40 of what? write \"40%\" or \"2GiB\""},
    {MODEL(", \"zero\": \"101%\"", "", ""),
     "my.json:2: guest.zero: \"101%\" is not a percentage from 0 to 100"},
    {MODEL(", \"busy\": \"many\"", "", ""),
     "my.json:2: guest.busy: \"many\" is not a percentage from 0 to 100"},
    {MODEL(", \"busy\": 0", "", ""), "my.json:2: guest.busy: 0; write 1 to 100"},
    {MODEL(", \"cpus\": 0", "", ""),
     "my.json:2: guest.cpus: 0 is not a number from 1 to 4096"},
    {MODEL(", \"sets\": {}", "", ""),
     "my.json:2: guest.sets: an object is not a list; write [{\"name\": ...}]"},
    {MODEL(", \"sets\": [{}]", "", ""),
     "my.json:2: guest.sets[0].size: missing, or less than a page of 4 KiB"},
    {MODEL(", \"sets\": [{\"size\": 8192, \"writes\": \"2s\"}]", "", ""),
     "my.json:2: guest.sets[0].writes: \"2s\" is not a rate; write \"10Gbit\" (bits), "
     "\"125MiB\" (bytes), or bytes per second"},
    {MODEL(", \"sets\": [{\"size\": 8192, \"pattern\": \"mixed\"}]", "", ""),
     "my.json:2: guest.sets[0].pattern: \"mixed\" is not \"random\" or \"sweep\""},
    {MODEL(
         ", \"sets\": [{\"name\": \"a\", \"size\": 8192},\n{\"name\": \"a\", \"size\": 8192}]",
         "",
         ""),
     "my.json:3: guest.sets[1].name: two sets are called \"a\""},
    {MODEL(", \"sets\": [{\"name\": \"\"}]", "", ""),
     "my.json:2: guest.sets[0].name: \"\" is not a name in quotes"},
    {MODEL(", \"sets\": [{\"name\": \"abcdefghijklmnopqrstuvwxyzabcdef\"}]", "", ""),
     "my.json:2: guest.sets[0].name: 32 bytes long; at most 31 are kept"},
    {MODEL(", \"sets\": [{},{},{},{},{},{},{},{},{}]", "", ""),
     "my.json:2: guest.sets: 9 elements; at most 8 are allowed"},
    {MODEL(", \"zero\": \"90%\", \"sets\": [{\"size\": \"512MiB\"}]", "", ""),
     "my.json:2: guest.memory: 1.0 GiB, but its sets and its zero pages take 1.3 GiB"},
    {MODEL(", \"phases\": [{}]", "", ""),
     "my.json:2: guest.phases[0].for: missing, or 0; write how long it lasts"},
    {MODEL(", \"phases\": [{\"for\": \"2 days\"}]", "", ""),
     "my.json:2: guest.phases[0].for: \"2 days\" is not a duration; write \"300ms\", \"2s\", "
     "\"5min\", \"1h\", or seconds"},
    {MODEL(", " SET ", \"phases\": [{\"for\": 1, \"writes\": {\"b\": 1}}]", "", ""),
     "my.json:2: guest.phases[0].writes.b: no such set; there are a"},
    {MODEL(", " SET ", \"phases\": [{\"for\": 1, \"writes\": {\"a\": -1}}]", "", ""),
     "my.json:2: guest.phases[0].writes.a: -1 is not a factor from 0 to 1000"},
    {MODEL(", " SET ", \"phases\": [{\"for\": 1, \"writes\": \"2\"}]", "", ""),
     "my.json:2: guest.phases[0].writes: \"2\" is not a factor from 0 to 1000, or {\"SET\": "
     "FACTOR}"},
    {MODEL(", \"start\": \"random\"", "", ""),
     "my.json:2: guest.start: without phases it means nothing"},
    {MODEL(", \"repeat\": 1", "", ""), "my.json:2: guest.repeat: 1 is not true or false"},
    {"{\"guest\": {\"memory\": \"1GiB\"}}",
     "my.json:1: link.rate: missing, or 0; write \"10Gbit\""},
    {MODEL("", ", \"latency\": 5", ""),
     "my.json:3: link.latency: 5 is not a time; write \"200us\" or \"1.5ms\""},
    {MODEL("", ", \"latency\": \"11s\"", ""),
     "my.json:3: link.latency: \"11s\" is more than 10s"},
    {MODEL("", ", \"loss\": 51", ""),
     "my.json:3: link.loss: 51 is not a loss; write percent of the packets, 0 to 50"},
    {MODEL("", ", \"loss\": 1, \"latency\": 0", ""),
     "my.json:3: link.loss: without a latency loss costs nothing; write link.latency"},
    {MODEL("", ", \"repeat\": 1", ""),
     "my.json:3: link.repeat: without changes or drops nothing repeats"},
    {MODEL("", ", \"changes\": [{\"at\": 1, \"rate\": 0}]", ""),
     "my.json:3: link.changes[0].rate: missing, or 0; a link that is down is a drop"},
    {MODEL("", ", \"changes\": [{\"at\": 2, \"rate\": 1},\n{\"at\": 1, \"rate\": 1}]", ""),
     "my.json:4: link.changes[1].at: not after the change before it"},
    {MODEL("", ", \"repeat\": 2, \"changes\": [{\"at\": 2, \"rate\": 1}]", ""),
     "my.json:3: link.changes[0].at: not before link.repeat: it never comes"},
    {MODEL("", ", \"drops\": [{\"at\": 2}]", ""),
     "my.json:3: link.drops[0].for: missing, or 0; write how long it lasts"},
    {MODEL("", ", \"repeat\": 2, \"drops\": [{\"at\": 2, \"for\": 1}]", ""),
     "my.json:3: link.drops[0].at: not before link.repeat: it never comes"},
    {MODEL("", ", \"repeat\": 2, \"drops\": [{\"at\": 1, \"for\": 2}]", ""),
     "my.json:3: link.drops[0].for: not less than link.repeat: the link is always down"},
    {MODEL("", "", ", \"qemu\": {\"version\": \"7.2\"}"),
     "my.json:3: qemu.version: unknown field; there are max-bandwidth, setup, switchover, resume, "
     "postcopy-switch, sync-per-tib, scan, fault, throttle-trigger, syncs-always, "
     "postcopy-breaks-after"},
    {MODEL("", "", ", \"qemu\": {\"scan\": true}"),
     "my.json:3: qemu.scan: true is not a rate; write \"10Gbit\" (bits), \"125MiB\" (bytes), or "
     "bytes per second"},
    {MODEL("", "", ", \"description\": [1]"),
     "my.json:3: description: 1 is not a text, or a list of its lines"},
    {MODEL("", "", ", \"name\": 7"), "my.json:3: name: 7 is not a name in quotes"},
};

START_TEST(what_is_refused_is_named)
{
    memset(&f.s, 0x5A, sizeof(f.s));
    const struct policy_model_spec before = f.s;
    ck_assert_int_eq(load(refused[_i].text), -(int)QF_E_USAGE);
    ck_assert_str_eq(f.err.text, refused[_i].says);
    ck_assert(memcmp(&f.s, &before, sizeof(before)) == 0); /* untouched */
}
END_TEST

START_TEST(a_long_text_is_refused)
{
    char *text = malloc(POLICY_MODEL_FILE_MAX + 1);
    ck_assert_ptr_nonnull(text);
    memset(text, ' ', POLICY_MODEL_FILE_MAX + 1);
    ck_assert(policy_model_load("my.json", text, POLICY_MODEL_FILE_MAX + 1, &f.s, &f.err) !=
              0);
    ck_assert_str_eq(f.err.text, "my.json:1: 262145 bytes; a model has at most 262144");
    free(text);
}
END_TEST

START_TEST(a_long_description_is_refused)
{
    char text[POLICY_MODEL_TEXT_MAX + 200];
    (void)snprintf(text, sizeof(text), "{\"description\": \"%0*d\"}", POLICY_MODEL_TEXT_MAX,
                   0);
    ck_assert(load(text) != 0);
    ck_assert_str_eq(f.err.text, "my.json:1: description: more than 1023 bytes long");
}
END_TEST

/* --- built-in models --- */

START_TEST(every_built_in_model_is_sound)
{
    const char *name = policy_model_name((size_t)_i);
    ck_assert_msg(policy_model_builtin(name, &f.s, &f.err) == 0, "%s", f.err.text);
    ck_assert_str_eq(f.s.name, name);
    ck_assert_uint_gt(strlen(f.s.description), 100); /* the reasons for its numbers */
    ck_assert(f.s.guest.n_sets > 0);
    ck_assert_ptr_nonnull(policy_model_text((size_t)_i));
}
END_TEST

START_TEST(those_that_are_promised_exist)
{
    static const char *const names[] = {"idle",
                                        "web-server",
                                        "in-memory-database",
                                        "build-job",
                                        "video-transcoding",
                                        "analytics",
                                        "bursty",
                                        "hot-spot",
                                        "slow-link",
                                        "shared-link",
                                        "huge",
                                        "edge",
                                        "quiet-minute",
                                        "idle-then-busy",
                                        "memory-stress",
                                        "log-shipper"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        ck_assert_msg(policy_model_builtin(names[i], &f.s, &f.err) == 0, "%s", f.err.text);
    ck_assert_uint_eq(policy_model_count(), sizeof(names) / sizeof(names[0]));
    ck_assert_ptr_null(policy_model_name(policy_model_count()));
    ck_assert_ptr_null(policy_model_text(policy_model_count()));
}
END_TEST

START_TEST(an_unknown_model_is_told_apart)
{
    ck_assert_int_eq(policy_model_builtin("burst", &f.s, &f.err), -(int)QF_E_USAGE);
    ck_assert_str_eq(
        f.err.text,
        "burst: no such model; did you mean bursty; there are analytics, build-job, "
        "bursty, edge, hot-spot, huge, idle-then-busy, idle, in-memory-database, "
        "log-shipper, memory-stress, quiet-minute, shared-link, slow-link, video-transcoding, web-server");
    ck_assert_int_eq(policy_model_builtin("x\ny", &f.s, &f.err), -(int)QF_E_USAGE);
    ck_assert(strncmp(f.err.text, "x?y: no such model; there are ", 30) == 0);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("model_json");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, little_is_enough);
    tcase_add_test(tc, every_field_is_read);
    tcase_add_test(tc, a_start_may_be_random_and_a_break_may_be_off);
    tcase_add_loop_test(tc, what_is_refused_is_named, 0,
                        (int)(sizeof(refused) / sizeof(refused[0])));
    tcase_add_test(tc, a_long_text_is_refused);
    tcase_add_test(tc, a_long_description_is_refused);
    tcase_add_loop_test(tc, every_built_in_model_is_sound, 0, (int)policy_model_count());
    tcase_add_test(tc, those_that_are_promised_exist);
    tcase_add_test(tc, an_unknown_model_is_told_apart);
    Suite *suite = suite_create("policy/model_json");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

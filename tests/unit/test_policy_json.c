/* Policies as text: what is taken, what is refused and how that is said, and back. */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/fault.h"
#include "policy/policy_json.h"

static struct fixture {
    struct policy p;
    struct qf_err err;
    long allocations_left; /* below 0: plenty */
} f;

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    f.allocations_left = -1;
}

static int load(const char *text)
{
    return policy_load("my.json", text, strlen(text), &f.p, &f.err);
}

static void must(int rc)
{
    ck_assert_msg(rc == 0, "%s", f.err.text);
}

#define STEP(trigger, action) \
    "{\"steps\": [{\"trigger\": {" trigger "}, \"action\": " action "}]}"

/* --- what is taken --- */

START_TEST(empty_object_is_all_defaults)
{
    must(load("{}"));
    ck_assert_str_eq(f.p.name, "my");
    ck_assert_uint_eq(f.p.downtime_start_ms, 100);
    ck_assert_uint_eq(f.p.downtime_max_ms, 500);
    ck_assert(!f.p.throttle_allowed && !f.p.postcopy_allowed && !f.p.stop_allowed);
    ck_assert_uint_eq(f.p.throttle_initial_percent, 20);
    ck_assert_uint_eq(f.p.throttle_increment_percent, 10);
    ck_assert_uint_eq(f.p.throttle_max_percent, 80);
    ck_assert_uint_eq(f.p.stop_max_ms, 5000);
    ck_assert_uint_eq(f.p.timeout_ms, 0);
    ck_assert_uint_eq(f.p.timeout_per_gib_ms, 0);
    ck_assert_uint_eq(f.p.progress_timeout_ms, 150000);
    ck_assert_int_eq(f.p.on_timeout, POLICY_ON_TIMEOUT_ABORT);
    ck_assert_uint_eq(f.p.bandwidth_bytes_per_s, 0);
    ck_assert_uint_eq(f.p.channels, 0);
    ck_assert_int_eq(f.p.encrypt, POLICY_ENCRYPT_ALLOWED);
    ck_assert_uint_eq(f.p.finish_within_ms, 0);
    ck_assert_uint_eq(f.p.slowdown_max_percent, 0);
    ck_assert_uint_eq(f.p.n_steps, 0);
}
END_TEST

START_TEST(every_field_is_read)
{
    must(load("{\"name\": \"n\", \"description\": \"d\", \"pacing\": \"schedule\","
              " \"downtime\": {\"start\": \"20ms\", \"max\": 2},"
              " \"throttle\": {\"allowed\": true, \"initial\": \"30%\", \"increment\": 5,"
              "                \"max\": \"70\"},"
              " \"postcopy\": {\"allowed\": true, \"bandwidth\": \"1Gbit\"},"
              " \"stop\": {\"allowed\": true, \"max\": 1.5},"
              " \"timeout\": \"1h\", \"timeout-per-gib\": \"10s\","
              " \"progress-timeout\": \"5min\", \"on-timeout\": \"stop\","
              " \"bandwidth\": \"100MiB/s\", \"channels\": 8, \"encrypt\": \"required\"}"));
    ck_assert_str_eq(f.p.name, "n");
    ck_assert_str_eq(f.p.description, "d");
    ck_assert_uint_eq(f.p.downtime_start_ms, 20);
    ck_assert_uint_eq(f.p.downtime_max_ms, 2000);
    ck_assert(f.p.throttle_allowed && f.p.postcopy_allowed && f.p.stop_allowed);
    ck_assert_uint_eq(f.p.throttle_initial_percent, 30);
    ck_assert_uint_eq(f.p.throttle_increment_percent, 5);
    ck_assert_uint_eq(f.p.throttle_max_percent, 70);
    ck_assert_uint_eq(f.p.postcopy_bandwidth_bytes_per_s, 125000000);
    ck_assert_uint_eq(f.p.stop_max_ms, 1500);
    ck_assert_uint_eq(f.p.timeout_ms, 3600000);
    ck_assert_uint_eq(f.p.timeout_per_gib_ms, 10000);
    ck_assert_uint_eq(f.p.progress_timeout_ms, 300000);
    ck_assert_int_eq(f.p.on_timeout, POLICY_ON_TIMEOUT_STOP);
    ck_assert_uint_eq(f.p.bandwidth_bytes_per_s, 100 * 1024 * 1024);
    ck_assert_int_eq(f.p.pacing, POLICY_PACING_SCHEDULE);
    ck_assert_uint_eq(f.p.channels, 8);
    ck_assert_int_eq(f.p.encrypt, POLICY_ENCRYPT_REQUIRED);
    must(load("{\"pacing\": \"forecast\", \"finish-within\": \"90s\", \"slowdown-max\": "
              "\"30%\", \"throttle.allowed\": true, \"channels\": \"255\","
              " \"encrypt\": \"forbidden\", \"steps\": []}"));
    ck_assert_int_eq(f.p.pacing, POLICY_PACING_FORECAST);
    ck_assert_uint_eq(f.p.finish_within_ms, 90000);
    ck_assert_uint_eq(f.p.slowdown_max_percent, 30);
    ck_assert_uint_eq(f.p.channels, 255);
    ck_assert_int_eq(f.p.encrypt, POLICY_ENCRYPT_FORBIDDEN);
}
END_TEST

START_TEST(fields_of_other_systems_are_read)
{
    must(
        load("{\"size\": {\"unit\": \"GB\", \"round\": \"down\", \"least\": 2},"
             " \"schedule\": {\"every\": \"10s\", \"near-end\": \"100ms\", \"in-order\": "
             "true, \"progress\": \"remaining\"}, \"pacing\": \"schedule\","
             " \"throttle\": {\"from-start\": true}, \"on-timeout\": \"force-complete\"}"));
    ck_assert_int_eq(f.p.size_unit, POLICY_SIZE_GB);
    ck_assert_int_eq(f.p.size_round, POLICY_SIZE_DOWN);
    ck_assert_uint_eq(f.p.size_least, 2);
    ck_assert_uint_eq(f.p.every_ms, 10000);
    ck_assert_uint_eq(f.p.near_end_ms, 100);
    ck_assert(f.p.in_order && f.p.throttle_from_start);
    ck_assert_int_eq(f.p.progress, POLICY_PROGRESS_REMAINING);
    ck_assert_int_eq(f.p.on_timeout, POLICY_ON_TIMEOUT_FORCE_COMPLETE);
}
END_TEST

START_TEST(pacing_follows_from_the_steps_unless_it_is_said)
{
    static const struct {
        const char *text;
        enum policy_pacing pacing;
    } table[] = {
        {"{}", POLICY_PACING_FORECAST},
        {"{\"steps\": []}", POLICY_PACING_FORECAST},
        {"{\"pacing\": \"schedule\"}", POLICY_PACING_SCHEDULE},
        {"{\"steps\": [{\"trigger\": {\"passes\": 1}, \"action\": \"abort\"}]}",
         POLICY_PACING_SCHEDULE},
    };
    must(load(table[_i].text));
    ck_assert_int_eq(f.p.pacing, table[_i].pacing);
}
END_TEST

START_TEST(dotted_names_mean_the_same)
{
    must(load("{\"downtime.start\": \"20ms\", \"downtime.max\": \"30ms\"}"));
    ck_assert_uint_eq(f.p.downtime_start_ms, 20);
    ck_assert_uint_eq(f.p.downtime_max_ms, 30);
}
END_TEST

START_TEST(steps_are_read)
{
    must(load(
        "{\"postcopy\": {\"allowed\": true}, \"stop\": {\"allowed\": true},"
        " \"throttle\": {\"allowed\": true}, \"steps\": ["
        "{\"trigger\": {\"before-start\": true}, \"action\": \"pause\"},"
        "{\"trigger\": {\"passes\": 2, \"elapsed\": \"1min\"},"
        " \"action\": {\"set-downtime\": \"300ms\"}},"
        "{\"action\": {\"set-downtime\": \"12.5%\"},"
        " \"trigger\": {\"stalled-passes\": 3}},"
        "{\"trigger\": {\"implied-downtime-below\": \"stop.max\"},"
        " \"action\": {\"set-bandwidth\": \"8Mbit\"}},"
        "{\"trigger\": {\"implied-downtime-below\": \"4s\"}, \"action\": \"throttle\"},"
        "{\"trigger\": {\"elapsed\": 0.5}, \"action\": \"postcopy\"},"
        "{\"trigger\": {\"passes\": 9}, \"action\": \"abort\"},"
        "{\"trigger\": {\"remaining-rises\": 6}, \"action\": {\"set-downtime\": \"x2\"},"
        " \"repeat\": true},"
        "{\"trigger\": {\"qemu-passes\": 4, \"elapsed-per-gib\": \"75s\", \"timeouts\": 2},"
        " \"action\": \"abort\", \"also-stopped\": true}]}"));
    const struct policy_step *s = f.p.steps;
    ck_assert_uint_eq(f.p.n_steps, 9);
    ck_assert(s[0].trigger.before_start && s[0].action == POLICY_PAUSE);
    ck_assert(s[1].trigger.passes == 2 && s[1].trigger.elapsed_ms == 60000);
    ck_assert(s[1].action == POLICY_SET_DOWNTIME && s[1].value_ms == 300);
    ck_assert(s[2].trigger.stalled_passes == 3 && s[2].value_permille == 125);
    ck_assert(s[3].trigger.implied_downtime_below_stop_max);
    ck_assert(s[3].action == POLICY_SET_BANDWIDTH && s[3].value_bytes_per_s == 1000000);
    ck_assert(s[4].trigger.implied_downtime_below_ms == 4000);
    ck_assert(s[4].action == POLICY_THROTTLE && s[5].action == POLICY_POSTCOPY);
    ck_assert(s[5].trigger.elapsed_ms == 500 && s[6].action == POLICY_ABORT);
    ck_assert(s[7].trigger.remaining_rises == 6 && s[7].value_times == 2 && s[7].repeat);
    ck_assert(s[8].trigger.qemu_passes == 4 && s[8].trigger.elapsed_per_gib_ms == 75000);
    ck_assert(s[8].trigger.timeouts == 2 && s[8].also_stopped && !s[7].also_stopped);
}
END_TEST

START_TEST(name_is_that_of_the_file_unless_it_says_one)
{
    static const char *const table[][2] = {{"/a/b.json", "b"},
                                           {"c", "c"},
                                           {"d.txt", "d.txt"},
                                           {".json", ".json"},
                                           {"bad\xff.json", "bad?"}};
    must(policy_load(table[_i][0], "{}", 2, &f.p, &f.err));
    ck_assert_str_eq(f.p.name, table[_i][1]);
}
END_TEST

/* --- what is refused, word for word --- */

static const struct {
    const char *text;
    const char *error;
} faults[] = {
    /* unknown fields */
    {"{\n\"downtime\": {\n\"max\": 1,\n\"maxx\": 1}}",
     "my.json:4: downtime.maxx: unknown field; did you mean downtime.max?"},
    {"{\"downtime.maxx\": 1}",
     "my.json:1: downtime.maxx: unknown field; did you mean downtime.max?"},
    {"{\n\"tiemout\": 1}", "my.json:2: tiemout: unknown field; did you mean timeout?"},
    {"{\"dowtime\": {}}", "my.json:1: dowtime: unknown field; did you mean downtime?"},
    {"\n\n{\n\n\"streams\": 2}",
     "my.json:5: streams: unknown field; qferry-policy(5) lists what there is"},
    {"{\"postcopy\": {\"preempt\": true}}",
     "my.json:1: postcopy.preempt: unknown field; there are postcopy.allowed, "
     "postcopy.bandwidth"},
    {"{\"steps\": [\n{\"trigger\": {\"passes\": 1}, \"action\": \"abort\"},\n"
     "{\"trigger\": {\n\"stalled-pases\": 1}, \"action\": \"abort\"}]}",
     "my.json:4: steps[1].trigger.stalled-pases: unknown field; did you mean "
     "stalled-passes?"},
    {"{\"steps\": [{\"when\": 1}]}",
     "my.json:1: steps[0].when: unknown field; there are trigger, action, repeat, "
     "also-stopped"},
    {STEP("\"passes\": 1", "{\"set-downtim\": 1}"),
     "my.json:1: steps[0].action.set-downtim: unknown field; did you mean set-downtime?"},
    {"{\n\"two\\nlines\": 1}",
     "my.json:1: two?lines: unknown field; qferry-policy(5) lists what there is"},
    /* wrong types and values */
    {"{\"downtime\": {\n\"max\": true}}",
     "my.json:2: downtime.max: true is not a duration; write \"300ms\", \"2s\", \"5min\", "
     "\"1h\", or seconds"},
    {"{\"timeout\": \"soon\"}",
     "my.json:1: timeout: \"soon\" is not a duration; write \"300ms\", \"2s\", \"5min\", "
     "\"1h\", or seconds"},
    {"{\"timeout\": -1}",
     "my.json:1: timeout: -1 is not a duration; write \"300ms\", \"2s\", \"5min\", "
     "\"1h\", or seconds"},
    {"{\"timeout\": 1e300}",
     "my.json:1: timeout: 1e+300 is not a duration; write \"300ms\", \"2s\", \"5min\", "
     "\"1h\", or seconds"},
    {"{\"timeout\": 0.0004}", /* not 0, which is none */
     "my.json:1: timeout: 0.0004 is not a duration; write \"300ms\", \"2s\", \"5min\", "
     "\"1h\", or seconds"},
    {"{\"timeout\": \"0.9ms\"}",
     "my.json:1: timeout: \"0.9ms\" is not a duration; write \"300ms\", \"2s\", "
     "\"5min\", \"1h\", or seconds"},
    {"{\"timeout\": \"9000h\"}",
     "my.json:1: timeout: \"9000h\" is more than a year; write less, or 0 for none"},
    {"{\"bandwidth\": []}", "my.json:1: bandwidth: a list is not a rate; write \"10Gbit\" "
                            "(bits), \"125MiB\" (bytes), or bytes per second"},
    {"{\"bandwidth\": \"9999TiB\"}",
     "my.json:1: bandwidth: \"9999TiB\" is more than any link; write less, or 0"},
    {"{\"throttle\": {\"max\": 100}}",
     "my.json:1: throttle.max: 100 is not a percentage from 1 to 99"},
    {"{\"throttle\": {\"max\": 80.0}}",
     "my.json:1: throttle.max: 80.0 is not a percentage from 1 to 99"},
    {"{\"throttle\": {\"initial\": \"0%\"}}",
     "my.json:1: throttle.initial: \"0%\" is not a percentage from 1 to 99"},
    {"{\"throttle\": {\"allowed\": \"true\"}}",
     "my.json:1: throttle.allowed: \"true\" is not true or false"},
    {"{\"name\": 3}", "my.json:1: name: 3 is not a text in quotes"},
    {"{\"name\": \"\"}", "my.json:1: name: empty; write a name or leave it out"},
    {"{\"pacing\": \"slow\"}",
     "my.json:1: pacing: \"slow\" is not \"schedule\" or \"forecast\""},
    {"{\"channels\": 256}",
     "my.json:1: channels: 256 is not a number of channels from 1 to "
     "255, or 0 for one stream"},
    {"{\"channels\": -1}", "my.json:1: channels: -1 is not a number of channels from 1 to "
                           "255, or 0 for one stream"},
    {"{\"channels\": \"8%\"}",
     "my.json:1: channels: \"8%\" is not a number of channels from "
     "1 to 255, or 0 for one stream"},
    {"{\n\"encrypt\": true}",
     "my.json:2: encrypt: true is not \"allowed\", \"required\" or \"forbidden\""},
    {"{\"slowdown-max\": 100}",
     "my.json:1: slowdown-max: 100 is not a percentage from 1 to 99, or 0 for none"},
    {"{\"finish-within\": \"soon\"}",
     "my.json:1: finish-within: \"soon\" is not a duration; write \"300ms\", \"2s\", "
     "\"5min\", \"1h\", or seconds"},
    {"{\"on-timeout\": \"pause\"}",
     "my.json:1: on-timeout: \"pause\" is not \"abort\", \"postcopy\", \"stop\" or "
     "\"force-complete\""},
    {"{\"downtime\": 3}",
     "my.json:1: downtime: 3 is not a group of fields; write {\"start\": ...}"},
    {"{\"steps\": {}}", "my.json:1: steps: an object is not a list; write [{\"trigger\": "
                        "..., \"action\": ...}]"},
    {"{\"steps\": [7]}", "my.json:1: steps[0]: 7 is not a step; write {\"trigger\": ..., "
                         "\"action\": ...}"},
    {"{\"steps\": [\n\n{\"action\": \"abort\"}]}",
     "my.json:3: steps[0]: has no trigger; write {\"trigger\": ..., \"action\": ...}"},
    {STEP("\n\"passes\": 1.5", "\"abort\""),
     "my.json:2: steps[0].trigger.passes: 1.5 is not a number of passes, 1 or more"},
    {STEP("\"passes\": 0", "\"abort\""),
     "my.json:1: steps[0].trigger.passes: 0 is not a number of passes, 1 or more"},
    {STEP("\"elapsed\": 0", "\"abort\""),
     "my.json:1: steps[0].trigger.elapsed: 0 is no time at all; write 1ms or more"},
    {STEP("", "\"abort\""),
     "my.json:1: steps[0].trigger: says nothing; write {\"stalled-passes\": 3} or another"},
    {STEP("\"passes\": 1", "\"abbort\""),
     "my.json:1: steps[0].action: \"abbort\" is not an action; did you mean \"abort\"?"},
    {STEP("\"passes\": 1", "\"set-downtime\""),
     "my.json:1: steps[0].action: set-downtime needs a value; write {\"set-downtime\": "
     "...}"},
    {STEP("\"passes\": 1", "{\"abort\": 1}"),
     "my.json:1: steps[0].action.abort: takes no value; write \"abort\" alone"},
    {STEP("\"passes\": 1", "{}"),
     "my.json:1: steps[0].action: an object without exactly one member is not one action; "
     "write \"postcopy\" or {\"set-downtime\": \"60%\"}"},
    {STEP("\"passes\": 1", "{\"set-downtime\": \"101%\"}"),
     "my.json:1: steps[0].action.set-downtime: \"101%\" is not a part of downtime.max; "
     "write at most \"100%\""},
    {STEP("\"passes\": 1", "{\"set-downtime\": \"x1\"}"),
     "my.json:1: steps[0].action.set-downtime: \"x1\" is not a multiple of the limit in force; "
     "write \"x2\""},
    {STEP("\"remaining-rises\": 0", "\"abort\""),
     "my.json:1: steps[0].trigger.remaining-rises: 0 is not a number of rises, 1 or more"},
    {STEP("\"timeouts\": \"2\"", "\"abort\""),
     "my.json:1: steps[0].trigger.timeouts: \"2\" is not a number of times, 1 or more"},
    {"{\"steps\": [{\"trigger\": {\"passes\": 1}, \"action\": \"abort\",\n\"repeat\": true}]}",
     "my.json:2: steps[0].repeat: needs the trigger remaining-rises, which then begins anew"},
    {"{\"size\": {\"unit\": \"GIB\"}}",
     "my.json:1: size.unit: \"GIB\" is not \"GiB\" or \"GB\""},
    {"{\"size\": {\"least\": -2}}",
     "my.json:1: size.least: -2 is not a number of GiB or GB, or 0"},
    {"{\"schedule\": {\"progress\": 1}}",
     "my.json:1: schedule.progress: 1 is not \"bytes\" or \"remaining\""},
    {STEP("\"passes\": 1", "{\"set-bandwidth\": 0}"),
     "my.json:1: steps[0].action.set-bandwidth: 0 is no bandwidth at all; write 1 or more"},
    /* contradictions */
    {"{\"steps\": [{\"trigger\": {\"passes\": 1}, \"action\": \"abort\"}],\n"
     "\"pacing\": \"forecast\"}",
     "my.json:2: pacing: forecast decides by itself, but there are steps; drop them or write "
     "\"schedule\""},
    {"{\"steps\": [{\"trigger\": {\"passes\": 1}, \"action\": \"abort\"}],\n"
     "\"finish-within\": 60}",
     "my.json:2: finish-within: a goal, but pacing is schedule, whose steps do not look at it; "
     "drop the steps and write pacing \"forecast\", or drop the goal"},
    {"{\"pacing\": \"schedule\",\n\"slowdown-max\": 60}",
     "my.json:2: slowdown-max: a goal, but pacing is schedule, whose steps do not look at it; "
     "drop the steps and write pacing \"forecast\", or drop the goal"},
    {"{\n\"throttle.from-start\": true}",
     "my.json:2: throttle.from-start: true, but pacing is forecast, which decides itself when to "
     "throttle; drop it or write pacing \"schedule\""},
    {"{\n\"slowdown-max\": 60}",
     "my.json:2: slowdown-max: 60, but throttle.allowed is false, so the guest is never slowed "
     "down; set that to true first or drop the goal"},
    {"{\"downtime\": {\n\"start\": \"2s\",\n\"max\": \"1s\"}}",
     "my.json:2: downtime.start: 2.0 s is above downtime.max, which is 1.0 s; lower it or "
     "raise downtime.max"},
    {"{\"downtime\": {\"max\": \"2001s\"}}",
     "my.json:1: downtime.max: 33 min 21 s is outside of what QEMU takes; write 1ms to "
     "2000s"},
    {"{\"downtime\": {\"start\": 0}}",
     "my.json:1: downtime.start: 0 never finishes; write 1ms or more"},
    {"{\"throttle\": {\"initial\": 50, \"max\": 40}}",
     "my.json:1: throttle.initial: 50 is above throttle.max, which is 40; lower it or raise "
     "throttle.max"},
    {"{\"timeout\": 5,\n\"on-timeout\": \"postcopy\"}",
     "my.json:2: on-timeout: postcopy, but postcopy.allowed is false; set that to true "
     "first"},
    {"{\"timeout\": 5,\n\"on-timeout\": \"stop\"}",
     "my.json:2: on-timeout: stop, but stop.allowed is false; set that to true first"},
    {STEP("\"passes\": 1", "\"postcopy\""),
     "my.json:1: steps[0].action: postcopy, but postcopy.allowed is false; set it to true or "
     "drop the step"},
    {STEP("\"passes\": 1", "\"throttle\""),
     "my.json:1: steps[0].action: throttle, but throttle.allowed is false; set it to true or "
     "drop the step"},
    {STEP("\"passes\": 1", "\n\"pause\""),
     "my.json:1: steps[0].action: pause, but stop.allowed is false; set it to true or drop "
     "the step"},
    {STEP("\"passes\": 1", "{\"set-downtime\": \"2s\"}"),
     "my.json:1: steps[0].action: 2.0 s is above downtime.max, which is 500 ms; raise that "
     "or write a percentage"},
    {STEP("\"before-start\": true, \"passes\": 1", "\"abort\""),
     "my.json:1: steps[0].trigger: before-start never holds together with the others; write "
     "it alone"},
    {STEP("\"before-start\": true", "\"abort\""),
     "my.json:1: steps[0].action: before-start knows no action but \"pause\""},
    {"{\"downtime\": {\"max\": 1},\n\"downtime.max\": 1}",
     "my.json:2: downtime.max: given twice; drop one of them"},
    /* no JSON, or another */
    {"", "my.json:1: nothing in it; write an object in braces"},
    {" \n\n ", "my.json:1: nothing in it; write an object in braces"},
    {"{\n\"name\": \"a\",\n}", "my.json:3: string or '}' expected near '}'"},
    {"{\n\"name\": \"a\",\n\"name\": \"b\"}",
     "my.json:3: duplicate object key near '\"name\"'; drop one of them"},
    {"\xEF\xBB\xBF{}",
     "my.json:1: begins with a byte order mark; save it as UTF-8 without one"},
    {"{\n\"name\": \"a\\u0000b\"}", "my.json:2: a text cannot have \\u0000 in it"},
    {"{} {}", "my.json:1: end of file expected near '{'"},
    {"[1]", "my.json:1: a list is not a policy; write an object in braces"},
    {"\n\"x\"", "my.json:2: \"x\" is not a policy; write an object in braces"},
};
enum { N_FAULTS = sizeof(faults) / sizeof(faults[0]) };

START_TEST(fault_names_file_line_and_field)
{
    f.p.timeout_ms = 77;
    ck_assert_int_eq(load(faults[_i].text), -(int)QF_E_USAGE);
    ck_assert_str_eq(f.err.text, faults[_i].error);
    ck_assert_uint_eq(f.p.timeout_ms, 77); /* untouched */
}
END_TEST

START_TEST(thirty_three_steps_are_refused)
{
    static char text[8192] = "{\"steps\": [";
    const char *step = "{\"trigger\": {\"passes\": 1}, \"action\": \"abort\"}";
    for (int i = 0; i <= _i; i++)
        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s",
                       i ? "," : "", step);
    (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "]}");
    if (_i < POLICY_STEPS_MAX) {
        must(load(text));
        ck_assert_uint_eq(f.p.n_steps, POLICY_STEPS_MAX);
    } else {
        ck_assert_int_ne(load(text), 0);
        ck_assert_str_eq(f.err.text, "my.json:1: steps: 33 steps; write at most 32");
    }
    text[11] = '\0';
}
END_TEST

START_TEST(long_texts_are_refused_or_cut)
{
    static char text[POLICY_FILE_MAX + 8];
    memset(text, ' ', sizeof(text));
    ck_assert_int_ne(policy_load("my.json", text, sizeof(text), &f.p, &f.err), 0);
    ck_assert_ptr_nonnull(strstr(f.err.text, "my.json:1: "));
    memset(text, 'x', 2000); /* an unknown field of 2000 letters, on line 2 */
    memcpy(text, "{\n\"", 3);
    memcpy(text + 2000, "\": 1}", 6);
    ck_assert_int_ne(load(text), 0);
    ck_assert_ptr_nonnull(strstr(f.err.text, "xxx: unknown field"));
    memset(text, 'x', 400);
    memcpy(text, "{\"description\": \"", 17);
    memcpy(text + 400, "\"}", 3);
    ck_assert_int_ne(load(text), 0);
    ck_assert_str_eq(f.err.text,
                     "my.json:1: description: 383 bytes long; at most 255 are kept");
}
END_TEST

START_TEST(quoted_value_is_cut_between_characters)
{
    must(load("{}"));
    ck_assert_int_ne(
        load("{\"timeout\": \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\xc3\xa4yyy\"}"), 0);
    json_t *as_json = json_string(f.err.text); /* NULL if it were not UTF-8 */
    ck_assert_ptr_nonnull(as_json);
    json_decref(as_json);
}
END_TEST

START_TEST(line_is_found)
{
    static const char text[] = "\n{ \"a\\\"b\": \"}]\",\n"
                               "  \"l\": [1, [2,\n {\"x\": 3}], {\"y\":\n\n [true, \"z\",\n"
                               " -1.5e3]}],\n"
                               "  \"d.e\": 1,\n"
                               "  \"d\": {\"e\": 2, \"f\":\n 3}}";
    static const struct {
        const char *name;
        size_t line;
    } table[] = {{"", 2},          {"l", 3},         {"l[0]", 3},   {"l[1]", 3},
                 {"l[1][1]", 4},   {"l[1][1].x", 4}, {"l[2].y", 4}, {"l[2].y[0]", 6},
                 {"l[2].y[2]", 7}, {"d.e", 8},       {"d.f", 9},    {"d.missing", 9},
                 {"missing", 2},   {"l[99]", 3},     {"l[x]", 3},   {"l.x", 3}};
    ck_assert_uint_eq(fault_line(text, strlen(text), table[_i].name), table[_i].line);
    for (size_t n = 1; n < strlen(text); n++) { /* a text cut anywhere does no harm */
        char *cut = malloc(n);                  /* ends where the text does */
        ck_assert_ptr_nonnull(cut);
        memcpy(cut, text, n);
        ck_assert_uint_le(fault_line(cut, n, table[_i].name), 10);
        free(cut);
    }
}
END_TEST

/* --- what is warned of, word for word --- */

/* A step each on lines 2, 3, ... */
#define STEP_LIST(head, all) "{" head "\"steps\": [\n" all "]}"
#define DO(trigger, action)  "{\"trigger\": {" trigger "}, \"action\": " action "}"
#define NEXT                 ",\n"

static const struct {
    const char *text;
    const char *warnings; /* each ends its line */
} doubts[] = {
    {"{}", ""},
    {STEP_LIST("",
               DO("\"passes\": 9", "\"abort\"") NEXT DO("\"passes\": 9, \"elapsed\": 60",
                                                        "{\"set-downtime\": \"90%\"}")),
     "my.json:3: steps[1]: never taken: steps[0] gives up first\n"},
    {STEP_LIST("",
               DO("\"passes\": 12", "{\"set-downtime\": \"90%\"}")
                   NEXT DO("\"passes\": 9", "\"abort\"")),
     "my.json:2: steps[0]: never taken: steps[1] gives up first\n"},
    {STEP_LIST("",
               DO("\"passes\": 9", "{\"set-downtime\": \"90%\"}")
                   NEXT DO("\"passes\": 9", "\"abort\"")),
     ""}, /* the first has its turn before */
    {STEP_LIST("",
               DO("\"passes\": 9", "\"abort\"")
                   NEXT DO("\"stalled-passes\": 12", "{\"set-downtime\": \"90%\"}")),
     ""},
    {STEP_LIST("\"schedule\": {\"in-order\": true},",
               DO("\"passes\": 9", "\"abort\"")
                   NEXT DO("\"passes\": 1", "{\"set-downtime\": \"90%\"}")),
     "my.json:3: steps[1]: never taken: steps[0] gives up first\n"},
    {STEP_LIST("\"stop.allowed\": true,",
               DO("\"before-start\": true", "\"pause\"")
                   NEXT DO("\"passes\": 1", "\"abort\"")),
     "my.json:3: steps[1]: never taken: steps[0] stops the guest first\n"},
    {STEP_LIST("\"timeout\": \"1min\",",
               DO("\"elapsed\": \"1min\"", "{\"set-downtime\": 0.4}")),
     "my.json:2: steps[0]: never taken: the move is given up at the time limit first\n"},
    {STEP_LIST("\"timeout\": 60, \"stop.allowed\": true, \"on-timeout\": \"stop\",",
               DO("\"elapsed\": \"1min\"", "{\"set-downtime\": 0.4}")),
     ""},
    {STEP_LIST("\"timeout-per-gib\": 60,", DO("\"elapsed-per-gib\": 75", "\"abort\"")),
     "my.json:2: steps[0]: never taken: the move is given up at the time limit first\n"},
    {STEP_LIST("", DO("\"timeouts\": 2", "\"abort\"")),
     "my.json:2: steps[0]: never taken: there is neither timeout nor timeout-per-gib\n"},
    {STEP_LIST("", DO("\"passes\": 1", "{\"set-downtime\": \"100ms\"}")),
     "my.json:2: steps[0]: changes nothing: 100 ms is not above downtime.start, which is 100 "
     "ms\n"},
    {STEP_LIST("",
               DO("\"passes\": 1", "{\"set-downtime\": \"80%\"}")
                   NEXT DO("\"passes\": 2", "{\"set-downtime\": \"300ms\"}")
                       NEXT DO("\"stalled-passes\": 2", "{\"set-downtime\": \"200ms\"}")),
     "my.json:3: steps[1]: changes nothing: 300 ms is not above the 400 ms that steps[0] sets "
     "before\n"},
    {STEP_LIST("\"downtime.start\": \"500ms\",",
               DO("\"remaining-rises\": 6", "{\"set-downtime\": \"x2\"}")),
     "my.json:2: steps[0]: changes nothing: 500 ms is not above downtime.start, which is 500 "
     "ms\n"},
    {STEP_LIST("\"postcopy.allowed\": true,",
               DO("\"passes\": 3", "\"postcopy\"")
                   NEXT DO("\"passes\": 3", "\"postcopy\"")),
     "my.json:3: steps[1]: the same as steps[0], which is taken before\n"},
    {STEP_LIST("\"stop.allowed\": true,",
               DO("\"implied-downtime-below\": \"8s\"", "\"pause\"")),
     "my.json:2: steps[0]: may stop the guest for nothing: for what takes 8.0 s, and stop.max "
     "gives up after 5.0 s\n"},
    {STEP_LIST("\"stop.allowed\": true,",
               DO("\"implied-downtime-below\": \"80ms\"", "\"pause\"")),
     "my.json:2: steps[0]: never needed: what takes less than 80 ms fits into downtime.start, "
     "100 ms\n"},
    {STEP_LIST("\"bandwidth\": \"100MiB\",",
               DO("\"passes\": 1", "{\"set-bandwidth\": \"1GiB\"}")),
     "my.json:2: steps[0]: allows more than bandwidth, which is 100.0 MiB/s\n"},
    {STEP_LIST("\"throttle\": {\"allowed\": true, \"from-start\": true},",
               DO("\"passes\": 1", "\"throttle\"")),
     "my.json:2: steps[0]: changes nothing: throttle.from-start is true\n"},
    {"{\"pacing\": \"schedule\",\n\"throttle\": {\"allowed\": true}}",
     "my.json:2: throttle.allowed: true, but no step throttles; add one, or set "
     "throttle.from-start\n"},
    {"{\"throttle\": {\"allowed\": true}}", ""},
    {"{\"stop\": {\"allowed\": true,\n\"max\": \"300ms\"}}",
     "my.json:2: stop.max: 300 ms is less than downtime.max, 500 ms, which the guest may be "
     "stopped for anyway\n"},
    {"{\"on-timeout\": \"force-complete\"}",
     "my.json:1: on-timeout: never happens: there is neither timeout nor timeout-per-gib; set "
     "one of them\n"},
    {"{\"timeout\": \"1min\",\n\"finish-within\": \"90s\"}",
     "my.json:2: finish-within: 90.0 s, but the move is given up at timeout, 60.0 s\n"},
    {"{\"schedule\": {\"every\": \"1s\",\n\"near-end\": \"2s\", \"in-order\": true}}",
     "my.json:1: schedule.every: has no effect: pacing is forecast\n"
     "my.json:2: schedule.in-order: has no effect: pacing is forecast\n"
     "my.json:2: schedule.near-end: has no effect: it is not below schedule.every\n"},
    {"{\"postcopy\": {\"allowed\": true},\n\"channels\": 4}",
     "my.json:2: channels: 4, but postcopy.allowed is true: QEMU before 10.1 cannot do both; "
     "set one of them to 0 or false\n"},
    {"{\"timeout\": \"soon\"}", ""}, /* a fault is no warning */
};
enum { N_DOUBTS = sizeof(doubts) / sizeof(doubts[0]) };

static void collect(void *arg, const char *warning)
{
    char *all = arg;
    const size_t n = strlen(all);
    (void)snprintf(all + n, 1024 - n, "%s\n", warning);
}

START_TEST(doubtful_policy_is_warned_of)
{
    char all[1024] = "";
    const char *text = doubts[_i].text;
    size_t lines = 0;
    const size_t n = policy_check_warnings("my.json", text, strlen(text), collect, all);
    ck_assert_str_eq(all, doubts[_i].warnings);
    for (const char *p = all; *p; p++)
        lines += *p == '\n';
    ck_assert_uint_eq(n, lines);
}
END_TEST

/* libvirt's timeout is for its user to give. */
START_TEST(built_in_policy_is_not_doubtful)
{
    char all[1024] = "";
    const char *name = policy_preset_name((size_t)_i);
    const char *text = policy_preset_text((size_t)_i);
    (void)policy_check_warnings(name, text, strlen(text), collect, all);
    ck_assert_str_eq(all, strcmp(name, "libvirt") == 0
                              ? "libvirt:11: on-timeout: never happens: there is neither "
                                "timeout nor timeout-per-gib; set one of them\n"
                              : "");
}
END_TEST

/* --- single fields --- */

static const struct {
    const char *policy;
    const char *assignment;
    const char *error; /* NULL = taken */
} sets[] = {
    {"minimal-downtime", "downtime.max=300ms", NULL},
    {"minimal-downtime", "throttle.allowed=false", NULL},
    {"minimal-downtime", "timeout=0", NULL},
    {"minimal-downtime", "timeout=1.5", NULL},
    {"minimal-downtime", "description=a = b", NULL},
    {"minimal-downtime", "pacing=schedule", NULL},
    {"minimal-downtime", "channels=4", NULL},
    {"minimal-downtime", "encrypt=forbidden", NULL},
    {"minimal-downtime", "finish-within=90s", NULL},
    {"minimal-downtime", "slowdown-max=30", NULL},
    {"stop-and-copy", "finish-within=0", NULL},
    {"stop-and-copy", "slowdown-max=0", NULL},
    {"post-copy", "slowdown-max=30",
     "slowdown-max: 30, but throttle.allowed is false, so the guest is never slowed down; set "
     "that to true first or drop the goal"},
    {"stop-and-copy", "pacing=forecast",
     "pacing: forecast decides by itself, but there are steps; drop them or write "
     "\"schedule\""},
    {"stop-and-copy", "finish-within=90s",
     "finish-within: a goal, but pacing is schedule, whose steps do not look at it; drop the "
     "steps and write pacing \"forecast\", or drop the goal"},
    {"minimal-downtime", "downtime.maxx=1",
     "downtime.maxx: unknown field; did you mean downtime.max?"},
    {"minimal-downtime", "downtime=1",
     "downtime: a group; set one of its fields, such as downtime.start"},
    {"minimal-downtime", "downtime.start=2s",
     "downtime.start: 2.0 s is above downtime.max, which is 500 ms; lower it or raise "
     "downtime.max"},
    {"minimal-downtime", "on-timeout=postcopy",
     "on-timeout: postcopy, but postcopy.allowed is false; set that to true first"},
    {"minimal-downtime", "throttle.allowed=yes",
     "throttle.allowed: \"yes\" is not true or false"},
    {"minimal-downtime", "name=x",
     "name: cannot be set: it says which policy this was; write a policy file"},
    {"minimal-downtime", "steps=[]",
     "steps: cannot be set one by one; write a policy file"},
    {"minimal-downtime", "steps[0].action=abort",
     "steps[0].action: cannot be set one by one; write a policy file"},
    {"minimal-downtime", "downtime.max",
     "--set: \"downtime.max\" is not FIELD=VALUE; write downtime.max=300ms"},
    {"minimal-downtime", "=3",
     "--set: \"=3\" is not FIELD=VALUE; write downtime.max=300ms"},
    {"minimal-downtime", "timeout=\xff", "timeout: not UTF-8"},
    {"minimal-downtime", "timeout=",
     "timeout: \"\" is not a duration; write \"300ms\", \"2s\", \"5min\", \"1h\", or "
     "seconds"},
};
enum { N_SETS = sizeof(sets) / sizeof(sets[0]) };

START_TEST(set_takes_one_field_or_names_it)
{
    must(policy_preset_load(sets[_i].policy, &f.p, &f.err));
    const struct policy before = f.p;
    const int rc = policy_set(&f.p, sets[_i].assignment, &f.err);
    if (!sets[_i].error) {
        must(rc);
        return;
    }
    ck_assert_int_eq(rc, -(int)QF_E_USAGE);
    ck_assert_str_eq(f.err.text, sets[_i].error);
    ck_assert_mem_eq(&f.p, &before, sizeof(before));
}
END_TEST

START_TEST(lower_maximum_takes_the_start_along)
{
    must(policy_preset_load("minimal-downtime", &f.p, &f.err));
    must(policy_set(&f.p, "downtime.max=50ms", &f.err));
    ck_assert_uint_eq(f.p.downtime_start_ms, 50);
    must(policy_set(&f.p, "downtime.max=1s", &f.err));
    ck_assert_uint_eq(f.p.downtime_start_ms, 50);
    must(policy_set(&f.p, "throttle.max=15", &f.err));
    ck_assert_uint_eq(f.p.throttle_initial_percent, 15);
}
END_TEST

START_TEST(forbidding_works_on_a_policy_that_needs_it)
{
    must(policy_preset_load("post-copy", &f.p, &f.err));
    must(policy_set(&f.p, "on-timeout=postcopy", &f.err));
    must(policy_set(&f.p, "postcopy.allowed=false", &f.err));
    ck_assert(!f.p.postcopy_allowed);
    ck_assert_int_eq(f.p.on_timeout, POLICY_ON_TIMEOUT_ABORT);
    must(load("{\"throttle.allowed\": true, \"slowdown-max\": 30}"));
    must(policy_set(&f.p, "throttle.allowed=false", &f.err));
    ck_assert_uint_eq(f.p.slowdown_max_percent, 0);
    must(policy_preset_load("suspend-if-needed", &f.p, &f.err));
    must(policy_set(&f.p, "on-timeout=stop", &f.err));
    must(policy_set(&f.p, "stop.allowed=false", &f.err));
    ck_assert_int_eq(f.p.on_timeout, POLICY_ON_TIMEOUT_ABORT);
}
END_TEST

/* --- back to text, built-in policies --- */

static char *dump(const struct policy *p)
{
    json_t *json = policy_dump(p);
    ck_assert_ptr_nonnull(json);
    char *text = json_dumps(json, JSON_INDENT(2));
    json_decref(json);
    ck_assert_ptr_nonnull(text);
    return text;
}

START_TEST(dump_loads_back_to_the_same)
{
    struct policy again;
    if (_i < (int)policy_preset_count())
        must(policy_preset_load(policy_preset_name((size_t)_i), &f.p, &f.err));
    else
        must(load("{\"postcopy\": {\"allowed\": true, \"bandwidth\": 12345},"
                  "\"channels\": 8, \"encrypt\": \"forbidden\", "
                  "\"timeout\": 0.001, \"timeout-per-gib\": 90, \"bandwidth\": \"3MiB\","
                  "\"steps\": [{\"trigger\": {\"passes\": 1, \"elapsed\": 1,"
                  "\"implied-downtime-below\": \"3s\"}, \"action\": {\"set-downtime\": "
                  "\"7.5%\"}}, {\"trigger\": {\"stalled-passes\": 1}, \"action\": "
                  "{\"set-downtime\": \"70ms\"}}, {\"trigger\": {\"stalled-passes\": 2}, "
                  "\"action\": {\"set-bandwidth\": 77}}]}"));
    char *first = dump(&f.p);
    must(policy_load("again", first, strlen(first), &again, &f.err));
    char *second = dump(&again);
    ck_assert_str_eq(first, second);
    ck_assert_mem_eq(again.steps, f.p.steps, sizeof(f.p.steps));
    free(first);
    free(second);
}
END_TEST

START_TEST(built_in_policy_is_complete)
{
    const char *name = policy_preset_name((size_t)_i);
    must(policy_preset_load(name, &f.p, &f.err));
    ck_assert_str_eq(f.p.name, name);
    ck_assert_uint_gt(strlen(f.p.description), 40);
    ck_assert_uint_eq(f.p.timeout_ms, 0);
    if (f.p.every_ms == 0 && strcmp(name, "libvirt") != 0) /* qferry's own */
        ck_assert_uint_eq(f.p.progress_timeout_ms, 150000);
}
END_TEST

START_TEST(example_of_the_man_page_is_a_policy)
{
    static char page[64 * 1024];
    FILE *file = fopen(QFERRY_SOURCE_DIR "/tools/man/qferry-policy.5", "r");
    ck_assert_ptr_nonnull(file);
    page[fread(page, 1, sizeof(page) - 1, file)] = '\0';
    ck_assert_int_eq(fclose(file), 0);
    const char *example = strstr(page, ".SH EXAMPLE");
    ck_assert_ptr_nonnull(example);
    const char *begin = strstr(example, "\n{");
    ck_assert_ptr_nonnull(begin);
    const char *end = strstr(begin, ".fi");
    ck_assert_ptr_nonnull(end);
    must(policy_load("man", begin, (size_t)(end - begin), &f.p, &f.err));
    ck_assert_uint_gt(f.p.n_steps, 3);
    for (size_t i = 0; i < policy_preset_count(); i++)
        ck_assert_ptr_nonnull(strstr(page, policy_preset_name(i)));
}
END_TEST

START_TEST(default_policy_comes_first)
{
    ck_assert_str_eq(policy_preset_name(0), "minimal-downtime");
    ck_assert_ptr_null(policy_preset_name(policy_preset_count()));
    ck_assert_ptr_null(policy_preset_text(policy_preset_count()));
}
END_TEST

START_TEST(unknown_policy_lists_what_there_is)
{
    ck_assert_int_eq(policy_preset_load("fast", &f.p, &f.err), -(int)QF_E_USAGE);
    ck_assert_str_eq(f.err.text,
                     "fast: no such policy; there are minimal-downtime, post-copy, "
                     "suspend-if-needed, very-large-vm, stop-and-copy, legacy, kubevirt, "
                     "vdsm-minimal-downtime, vdsm-post-copy, vdsm-suspend-if-needed, "
                     "vdsm-very-large-vm, proxmox, nova, libvirt");
}
END_TEST

/* --- without memory --- */

static void *scarce_malloc(size_t n)
{
    return f.allocations_left-- == 0 ? NULL : malloc(n);
}

START_TEST(no_memory_is_an_error_and_leaks_nothing)
{
    struct policy got;
    struct qf_err err;
    const char *text = policy_preset_text(policy_preset_count() - 2); /* nova: ten steps */
    must(policy_preset_load(policy_preset_name(policy_preset_count() - 2), &f.p, &f.err));
    json_set_alloc_funcs(scarce_malloc, free);
    long n = 0;
    long failures = 0;
    do {
        f.allocations_left = n++;
        const int rc = policy_load(f.p.name, text, strlen(text), &got, &err);
        /* jansson takes some of these for errors of syntax */
        ck_assert(rc == 0 || rc == -(int)QF_E_NOMEM || rc == -(int)QF_E_USAGE);
        failures += rc != 0;
        if (rc == 0) /* then nothing was lost either */
            ck_assert_mem_eq(got.steps, f.p.steps, sizeof(got.steps));
    } while (f.allocations_left < 0);
    ck_assert_int_gt(failures, 50);
    n = 0;
    json_t *json = NULL;
    do {
        json_decref(json);
        f.allocations_left = n++;
        json = policy_dump(&f.p);
        ck_assert(json || f.allocations_left < 0);
    } while (f.allocations_left < 0);
    json_decref(json);
    json_set_alloc_funcs(malloc, free);
    ck_assert_int_gt(n, 50);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("policy_json");
    TCase *taken = tcase_create("taken");
    tcase_add_checked_fixture(taken, setup, NULL);
    tcase_add_test(taken, empty_object_is_all_defaults);
    tcase_add_test(taken, every_field_is_read);
    tcase_add_test(taken, fields_of_other_systems_are_read);
    tcase_add_loop_test(taken, pacing_follows_from_the_steps_unless_it_is_said, 0, 4);
    tcase_add_test(taken, dotted_names_mean_the_same);
    tcase_add_test(taken, steps_are_read);
    tcase_add_loop_test(taken, name_is_that_of_the_file_unless_it_says_one, 0, 5);
    suite_add_tcase(suite, taken);
    TCase *refused = tcase_create("refused");
    tcase_add_checked_fixture(refused, setup, NULL);
    tcase_add_loop_test(refused, fault_names_file_line_and_field, 0, N_FAULTS);
    tcase_add_loop_test(refused, thirty_three_steps_are_refused, 31, 33);
    tcase_add_test(refused, long_texts_are_refused_or_cut);
    tcase_add_test(refused, quoted_value_is_cut_between_characters);
    tcase_add_loop_test(refused, line_is_found, 0, 16);
    suite_add_tcase(suite, refused);
    TCase *warned = tcase_create("warned");
    tcase_add_loop_test(warned, doubtful_policy_is_warned_of, 0, N_DOUBTS);
    tcase_add_loop_test(warned, built_in_policy_is_not_doubtful, 0,
                        (int)policy_preset_count());
    suite_add_tcase(suite, warned);
    TCase *set = tcase_create("set");
    tcase_add_checked_fixture(set, setup, NULL);
    tcase_add_loop_test(set, set_takes_one_field_or_names_it, 0, N_SETS);
    tcase_add_test(set, lower_maximum_takes_the_start_along);
    tcase_add_test(set, forbidding_works_on_a_policy_that_needs_it);
    suite_add_tcase(suite, set);
    TCase *back = tcase_create("back");
    tcase_add_checked_fixture(back, setup, NULL);
    tcase_add_loop_test(back, dump_loads_back_to_the_same, 0,
                        (int)policy_preset_count() + 1);
    tcase_add_loop_test(back, built_in_policy_is_complete, 0, (int)policy_preset_count());
    tcase_add_test(back, example_of_the_man_page_is_a_policy);
    tcase_add_test(back, default_policy_comes_first);
    tcase_add_test(back, unknown_policy_lists_what_there_is);
    tcase_add_test(back, no_memory_is_an_error_and_leaks_nothing);
    suite_add_tcase(suite, back);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

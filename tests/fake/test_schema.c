/* The recorded schema refuses what the QEMU that it was recorded from refuses. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qmp/qapi_json.h"
#include "tests/fake/schema.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

static struct fixture {
    struct schema *schema;
    struct schema_fault fault;
} f;

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    f.schema = schema_load(QFERRY_SOURCE_DIR "/tests/fake/schema-7.2.json");
    ck_assert_ptr_nonnull(f.schema);
}

static void teardown(void)
{
    schema_free(f.schema);
}

/* Sent to QEMU 7.2.22, and how it answered; "" where it was not the arguments that it minded. */
static const struct {
    const char *command;
    const char *args;
    const char *desc;
} asked[] = {
    {"no-such-command", NULL, "The command no-such-command has not been found"},
    {"query-status", "{}", ""},
    {"query-status", "{'x': 1}", "Parameter 'x' is unexpected"},
    {"!query-status", NULL, "The command query-status does not support OOB"},
    {"!query-yank", NULL, ""},
    {"migrate", NULL, "Parameter 'uri' is missing"},
    {"migrate", "{}", "Parameter 'uri' is missing"},
    {"migrate", "{'uri': 17}", "Invalid parameter type for 'uri', expected: string"},
    {"migrate", "{'uri': 'x', 'detach': 'yes'}",
     "Invalid parameter type for 'detach', expected: boolean"},
    {"migrate", "{'uri': 'x', 'bar': 1, 'foo': true}", "Parameter 'bar' is unexpected"},
    {"migrate-incoming", "{'uri': 'x', 'exit-on-error': false}",
     "Parameter 'exit-on-error' is unexpected"},
    {"migrate-set-capabilities", "{'capabilities': []}", ""},
    {"migrate-set-capabilities",
     "{'capabilities': [{'capability': 'nonsense', 'state': true}]}",
     "Parameter 'capability' does not accept value 'nonsense'"},
    {"migrate-set-capabilities", "{'capabilities': [{'capability': 'events'}]}",
     "Parameter 'capabilities[0].state' is missing"},
    {"migrate-set-capabilities",
     "{'capabilities': [{'capability': 'events', 'state': true, 'x': 1}]}",
     "Parameter 'capabilities[0].x' is unexpected"},
    {"migrate-set-capabilities",
     "{'capabilities': [{'capability': 'events', 'state': true},"
     " {'capability': 'events', 'state': 'on'}]}",
     "Invalid parameter type for 'capabilities[1].state', expected: boolean"},
    {"migrate-set-capabilities", "{'capabilities': {'capability': 'x', 'state': true}}",
     "Invalid parameter type for 'capabilities', expected: array"},
    {"migrate-set-capabilities", "{'capabilities': [17]}",
     "Invalid parameter type for 'capabilities[0]', expected: object"},
    {"migrate-set-capabilities", "{'capabilities': [{'capability': 17, 'state': true}]}",
     "Invalid parameter type for 'capabilities[0].capability', expected: string"},
    {"migrate-set-parameters", "{'tls-creds': 'x'}", ""},
    {"migrate-set-parameters", "{'tls-creds': null}", ""},
    {"migrate-set-parameters", "{'max-bandwidth': '9223372036854775808'}",
     ""}, /* a number */
    {"migrate-set-parameters", "{'multifd-compression': 'lzma'}",
     "Parameter 'multifd-compression' does not accept value 'lzma'"},
    {"migrate-set-parameters",
     "{'block-bitmap-mapping': [{'node-name': 'a', 'alias': 'b',"
     " 'bitmaps': [{'name': 'x'}]}]}",
     "Parameter 'block-bitmap-mapping[0].bitmaps[0].alias' is missing"},
    {"migrate-continue", "{'state': 'pre-switchover'}", ""},
    {"migrate-continue", "{'state': 'nowhere'}",
     "Parameter 'state' does not accept value 'nowhere'"},
    {"qom-get", "{'path': '/machine'}", "Parameter 'property' is missing"},
    {"qom-set", "{'path': '/machine', 'property': 'type', 'value': [1, {'a': null}]}", ""},
    {"yank", "{'instances': [{'type': 'migration'}]}", ""},
    {"yank", "{'instances': [{'type': 'block-node', 'node-name': 'x'}]}", ""},
    {"yank", "{'instances': [{'type': 'block-node', 'id': 'x'}]}",
     "Parameter 'instances[0].node-name' is missing"},
    {"yank", "{'instances': [{'type': 'chardev', 'id': 17}]}",
     "Invalid parameter type for 'instances[0].id', expected: string"},
    {"yank", "{'instances': [{'type': 'nonsense'}]}",
     "Parameter 'type' does not accept value 'nonsense'"},
    {"yank", "{'instances': [{}]}", "Parameter 'instances[0].type' is missing"},
    {"yank", "{'instances': [{'type': 'migration', 'id': 'x'}]}",
     "Parameter 'instances[0].id' is unexpected"},
    {"blockdev-add", "{'driver': 'raw', 'file': {'driver': 'null-co', 'size': 'x'}}",
     "Invalid parameter type for 'file.size', expected: integer"},
    {"blockdev-add", "{'driver': 'raw', 'file': {'driver': 'null-co', 'sise': 1}}",
     "Parameter 'file.sise' is unexpected"},
    {"blockdev-add", "{'driver': 'raw', 'file': 'node'}", ""},
    {"blockdev-add", "{'driver': 'raw'}", "Parameter 'file' is missing"},
    {"netdev_add", "{'type': 'user', 'id': 'n1', 'hostfwd': [{'str': 3}]}",
     "Invalid parameter type for 'hostfwd[0].str', expected: string"},
    {"query-cpu-model-expansion", "{'type': 'static', 'model': {'props': {'a': 1}}}",
     "Parameter 'model.name' is missing"},
    {"query-cpu-model-expansion", "{'type': 7, 'model': {'name': 'x'}}",
     "Invalid parameter type for 'type', expected: string"},
    /* Here QEMU says more than its schema does: "Parameter 'downtime-limit' expects uint64"
     * twice, "expected: StrOrNull", "expected: BlockdevRef". */
    {"migrate-set-parameters", "{'downtime-limit': '300'}",
     "Invalid parameter type for 'downtime-limit', expected: integer"},
    {"migrate-set-parameters", "{'downtime-limit': 3.5}",
     "Invalid parameter type for 'downtime-limit', expected: integer"},
    {"migrate-set-parameters", "{'tls-creds': 17}",
     "Invalid parameter type for 'tls-creds', expected: alternate"},
    {"blockdev-add", "{'driver': 'raw', 'file': 17}",
     "Invalid parameter type for 'file', expected: alternate"},
};

/* ' for ", so that the table can be read. */
static json_t *parse(const char *text)
{
    char buf[512];
    (void)snprintf(buf, sizeof(buf), "%s", text);
    for (char *p = buf; *p; p++)
        if (*p == '\'')
            *p = '"';
    json_t *v = json_loads(buf, 0, NULL);
    ck_assert_msg(v != NULL, "%s", text);
    return v;
}

START_TEST(arguments_are_judged_as_qemu_judges_them)
{
    const bool oob = asked[_i].command[0] == '!';
    json_t *args = asked[_i].args ? parse(asked[_i].args) : NULL;
    const bool fine =
        schema_check(f.schema, asked[_i].command + (oob ? 1 : 0), args, oob, &f.fault);
    json_decref(args);
    ck_assert_str_eq(fine ? "" : f.fault.desc, asked[_i].desc);
    if (!fine)
        ck_assert_str_eq(f.fault.error_class, strstr(asked[_i].desc, "found")
                                                  ? "CommandNotFound"
                                                  : "GenericError");
}
END_TEST

/* ---- what qferry sends ---- */

static void is_valid(const struct qapi_cmd *cmd)
{
    const char *name = qapi_command_name(cmd->command);
    const bool oob = qapi_command_oob(cmd->command);
    json_t *args = NULL;
    ck_assert_int_eq(qapi_encode(cmd, &args), 0);
    const bool fine = schema_check(f.schema, name, args, oob, &f.fault);
    json_decref(args);
    ck_assert_msg(fine, "%s: %s", name, f.fault.desc);
}

/* Every command with all that it can say. What a newer QEMU knows and 7.2 does not is found by
 * asking: capabilities that are not offered are not set, and exit-on-error is refused once. */
START_TEST(every_command_is_valid)
{
    static const uint64_t newer =
        QAPI_CAP_BIT(MAPPED_RAM) | QAPI_CAP_BIT(DIRTY_LIMIT) | QAPI_CAP_BIT(SWITCHOVER_ACK);
    struct qapi_cmd cmd = {.command = (enum qapi_command)_i};
    switch (cmd.command) {
    case QAPI_SET_CAPS:
        cmd.u.caps.mask = ((UINT64_C(1) << QAPI_CAP_COUNT) - 1) & ~newer;
        cmd.u.caps.on = 0x5555;
        break;
    case QAPI_SET_PARAMS:
        cmd.u.params.has =
            ((1U << QAPI_PARAM_COUNT) - 1) & ~(1U << QAPI_PARAM_AVAIL_SWITCHOVER_BANDWIDTH);
        cmd.u.params.value[QAPI_PARAM_MAX_BANDWIDTH] = UINT64_MAX;
        cmd.u.params.has_text = (1U << QAPI_TEXT_PARAM_COUNT) - 1;
        break;
    case QAPI_OBJECT_ADD:
    case QAPI_OBJECT_DEL:
        (void)snprintf(cmd.u.object.id, sizeof(cmd.u.object.id), "qferry-tls-1");
        (void)snprintf(cmd.u.object.dir, sizeof(cmd.u.object.dir), "/run/qferry");
        break;
    case QAPI_MIGRATE:
    case QAPI_MIGRATE_INCOMING:
    case QAPI_MIGRATE_RECOVER:
    case QAPI_MIGRATE_RESUME:
        (void)snprintf(cmd.u.migrate.uri, sizeof(cmd.u.migrate.uri), "tcp:[::1]:0");
        break;
    case QAPI_QUERY_CPU_TYPE:
        (void)snprintf(cmd.u.path, sizeof(cmd.u.path), "/machine/unattached/device[0]");
        break;
    case QAPI_CALC_DIRTY_RATE:
        cmd.u.calc.seconds = 1;
        cmd.u.calc.pages_per_gib = 128;
        break;
    case QAPI_QUERY_NVME:
    case QAPI_QUERY_DRIVE:
        (void)snprintf(cmd.u.path, sizeof(cmd.u.path), "/machine/peripheral");
        break;
    case QAPI_QUERY_DIRTY_RATE:
    case QAPI_QUERY_STATUS:
    case QAPI_QUERY_MIGRATE:
    case QAPI_QUERY_TARGET:
    case QAPI_QUERY_MACHINE:
    case QAPI_QUERY_MEMORY:
    case QAPI_QUERY_CPUS:
    case QAPI_QUERY_UUID:
    case QAPI_QUERY_PCI:
    case QAPI_QUERY_CAPS:
    case QAPI_QUERY_PARAMS:
    case QAPI_QUERY_YANK:
    case QAPI_STOP:
    case QAPI_CONT:
    case QAPI_QUIT:
    case QAPI_MIGRATE_CANCEL:
    case QAPI_MIGRATE_PAUSE:
    case QAPI_MIGRATE_CONTINUE:
    case QAPI_MIGRATE_START_POSTCOPY:
    case QAPI_GETFD:
    case QAPI_CLOSEFD:
    case QAPI_YANK:
    case QAPI_COMMAND_COUNT:
        break;
    }
    is_valid(&cmd);
}
END_TEST

START_TEST(a_newer_argument_is_refused_until_it_is_added)
{
    struct qapi_cmd cmd = {.command = QAPI_MIGRATE_INCOMING,
                           .u.migrate = {.uri = "tcp:x:0", .stay_on_error = true}};
    json_t *args = NULL;
    ck_assert_int_eq(qapi_encode(&cmd, &args), 0);
    ck_assert(!schema_check(f.schema, "migrate-incoming", args, false, &f.fault));
    json_decref(args);
    ck_assert_int_eq(
        json_array_append_new(
            schema_members(f.schema, "migrate-incoming"),
            json_pack("{s:s,s:s,s:n}", "name", "exit-on-error", "type", "bool", "default")),
        0);
    is_valid(&cmd);
}
END_TEST

START_TEST(what_is_no_schema_is_not_taken_for_one)
{
    json_t *list = json_pack("[{s:s}, {s:i}]", "name", "x", "name", 17);
    ck_assert_ptr_null(schema_load(QFERRY_SOURCE_DIR "/tests/fake/no-such-file"));
    ck_assert_ptr_null(schema_load(QFERRY_SOURCE_DIR "/.clang-format"));
    ck_assert_ptr_null(schema_new(list));
    ck_assert_ptr_null(schema_members(f.schema, "int"));
    json_decref(list);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("schema");
    TCase *tc = tcase_create("schema");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, arguments_are_judged_as_qemu_judges_them, 0, COUNT(asked));
    tcase_add_loop_test(tc, every_command_is_valid, 0, QAPI_COMMAND_COUNT);
    tcase_add_test(tc, a_newer_argument_is_refused_until_it_is_added);
    tcase_add_test(tc, what_is_no_schema_is_not_taken_for_one);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

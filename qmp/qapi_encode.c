#include "qmp/qapi_json.h"

static json_t *encode_caps(const struct qapi_cmd *cmd)
{
    json_t *list = json_array();
    for (unsigned i = 0; list && i < QAPI_CAP_COUNT; i++) {
        const uint64_t bit = UINT64_C(1) << i;
        if (!(cmd->u.caps.mask & bit))
            continue;
        json_t *one = json_pack("{s:s, s:b}", "capability", qapi_cap_name((enum qapi_cap)i),
                                "state", (cmd->u.caps.on & bit) != 0);
        if (json_array_append_new(list, one) != 0) { /* also when one is NULL */
            json_decref(list);
            return NULL;
        }
    }
    return json_pack("{s:o}", "capabilities", list);
}

static json_t *encode_param(enum qapi_param which, uint64_t value)
{
    if (which == QAPI_PARAM_MULTIFD_COMPRESSION)
        return json_string(qapi_compression_name(value < QAPI_COMPRESSION_COUNT
                                                     ? (enum qapi_compression)value
                                                     : QAPI_COMPRESSION_COUNT));
    /* QEMU's sizes are unsigned; a value above 2^63-1 has no place in jansson, and none in
     * a migration: it means "no limit" as well as 2^63-1 does. */
    return json_integer(
        (json_int_t)(value > (uint64_t)INT64_MAX ? (uint64_t)INT64_MAX : value));
}

static json_t *encode_params(const struct qapi_params *p)
{
    json_t *args = json_object();
    for (unsigned i = 0; args && i < QAPI_PARAM_COUNT; i++) {
        if (!(p->has & (1U << i)))
            continue;
        if (json_object_set_new(args, qapi_param_name((enum qapi_param)i),
                                encode_param((enum qapi_param)i, p->value[i])) != 0) {
            json_decref(args);
            return NULL;
        }
    }
    for (unsigned i = 0; args && i < QAPI_TEXT_PARAM_COUNT; i++) {
        if (!(p->has_text & (1U << i)))
            continue;
        if (json_object_set_new(args, qapi_text_param_name((enum qapi_text_param)i),
                                json_string(p->text[i])) != 0) {
            json_decref(args);
            return NULL;
        }
    }
    return args;
}

static json_t *encode_object(const struct qapi_cmd *cmd)
{
    const bool psk = cmd->u.object.kind == QAPI_CREDS_PSK;
    const bool server = cmd->u.object.server;
    return json_pack("{s:s, s:s, s:s, s:s, s:s*}", "qom-type",
                     psk ? "tls-creds-psk" : "tls-creds-x509", "id", cmd->u.object.id,
                     "endpoint", server ? "server" : "client", "dir", cmd->u.object.dir,
                     "username", psk && !server ? QAPI_CREDS_USER : NULL);
}

int qapi_encode(const struct qapi_cmd *cmd, json_t **args)
{
    json_t *a = NULL;
    switch (cmd->command) {
    case QAPI_SET_CAPS:
        a = encode_caps(cmd);
        break;
    case QAPI_SET_PARAMS:
        a = encode_params(&cmd->u.params);
        break;
    case QAPI_QUERY_MACHINE:
        a = json_pack("{s:s, s:s}", "path", "/machine", "property", "type");
        break;
    case QAPI_OBJECT_ADD:
        a = encode_object(cmd);
        break;
    case QAPI_OBJECT_DEL:
        a = json_pack("{s:s}", "id", cmd->u.object.id);
        break;
    case QAPI_CALC_DIRTY_RATE:
        a = json_pack("{s:I, s:I}", "calc-time", (json_int_t)cmd->u.calc.seconds,
                      "sample-pages", (json_int_t)cmd->u.calc.pages_per_gib);
        break;
    case QAPI_QUERY_NVME:
        a = json_pack("{s:s}", "path", cmd->u.path);
        break;
    case QAPI_QUERY_DRIVE:
        a = json_pack("{s:s, s:s}", "path", cmd->u.path, "property", "drive");
        break;
    case QAPI_QUERY_CPU_TYPE:
        a = json_pack("{s:s, s:s}", "path", cmd->u.path, "property", "type");
        break;
    case QAPI_MIGRATE:
    case QAPI_MIGRATE_RECOVER:
        a = json_pack("{s:s}", "uri", cmd->u.migrate.uri);
        break;
    case QAPI_MIGRATE_RESUME:
        a = json_pack("{s:s, s:b}", "uri", cmd->u.migrate.uri, "resume", 1);
        break;
    case QAPI_MIGRATE_INCOMING:
        a = cmd->u.migrate.stay_on_error
                ? json_pack("{s:s, s:b}", "uri", cmd->u.migrate.uri, "exit-on-error", 0)
                : json_pack("{s:s}", "uri", cmd->u.migrate.uri);
        break;
    case QAPI_MIGRATE_CONTINUE:
        a = json_pack("{s:s}", "state", "pre-switchover");
        break;
    case QAPI_GETFD:
    case QAPI_CLOSEFD:
        a = json_pack("{s:s}", "fdname", QAPI_STREAM_NAME);
        break;
    case QAPI_YANK:
        a = json_pack("{s:[{s:s}]}", "instances", "type", "migration");
        break;
    case QAPI_QUERY_STATUS:
    case QAPI_QUERY_MIGRATE:
    case QAPI_QUERY_TARGET:
    case QAPI_QUERY_MEMORY:
    case QAPI_QUERY_CPUS:
    case QAPI_QUERY_UUID:
    case QAPI_QUERY_PCI:
    case QAPI_QUERY_CAPS:
    case QAPI_QUERY_PARAMS:
    case QAPI_QUERY_YANK:
    case QAPI_QUERY_DIRTY_RATE:
    case QAPI_STOP:
    case QAPI_CONT:
    case QAPI_QUIT:
    case QAPI_MIGRATE_CANCEL:
    case QAPI_MIGRATE_START_POSTCOPY:
    case QAPI_MIGRATE_PAUSE:
    case QAPI_COMMAND_COUNT:
        *args = NULL;
        return 0;
    }
    if (!a)
        return -1;
    *args = a;
    return 0;
}

#include "qmp/qapi_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "qmp/client.h"

static void copy_text(char *dst, size_t size, const json_t *v)
{
    const char *s = json_string_value(v);
    if (s)
        (void)snprintf(dst, size, "%s", s);
}

#define COPY_TEXT(dst, v) copy_text((dst), sizeof(dst), (v))

static uint64_t u64_or(const json_t *obj, const char *key, uint64_t otherwise)
{
    uint64_t v = otherwise;
    (void)qmp_json_u64(json_object_get(obj, key), &v);
    return v;
}

static uint32_t u32_of(const json_t *obj, const char *key)
{
    const uint64_t v = u64_or(obj, key, 0);
    return v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
}

static void decode_socket(const json_t *list, struct qapi_migrate *m)
{
    const json_t *first = json_array_get(list, 0);
    COPY_TEXT(m->listen_host, json_object_get(first, "host"));
    COPY_TEXT(m->listen_port, json_object_get(first, "port"));
}

static void decode_ram(const json_t *ram, struct qapi_migrate *m)
{
    m->has_ram = true;
    m->total_bytes = u64_or(ram, "total", 0);
    m->remaining_bytes = u64_or(ram, "remaining", 0);
    m->transferred_bytes = u64_or(ram, "transferred", 0);
    m->dirty_pages_per_s = u64_or(ram, "dirty-pages-rate", 0);
    m->page_bytes = u64_or(ram, "page-size", 4096);
    m->walked_bytes = qf_mul_sat(
        qf_add_sat(u64_or(ram, "normal", 0), u64_or(ram, "duplicate", 0)), m->page_bytes);
    m->normal_bytes = qf_mul_sat(u64_or(ram, "normal", 0), m->page_bytes);
    m->dirty_sync_count = u64_or(ram, "dirty-sync-count", 0);
    m->postcopy_requests = u64_or(ram, "postcopy-requests", 0);
    const double mbps = json_number_value(json_object_get(ram, "mbps"));
    /* -1 or 0 before the first window (qapi/migration.json, MigrationStats) */
    if (mbps > 0 && mbps < 1e9)
        m->bandwidth_bytes_per_s = (uint64_t)(mbps * 125000.0);
}

static void decode_migrate(const json_t *ret, struct qapi_migrate *m)
{
    const char *status = json_string_value(json_object_get(ret, "status"));
    m->status = status ? qapi_mig_of(status) : QAPI_MIG_NONE;
    m->expected_downtime_ms = u64_or(ret, "expected-downtime", QAPI_UNKNOWN_U64);
    if (m->expected_downtime_ms >= (uint64_t)INT64_MAX)
        m->expected_downtime_ms = QAPI_UNKNOWN_U64;
    m->downtime_ms = u64_or(ret, "downtime", QAPI_UNKNOWN_U64);
    m->total_ms = u64_or(ret, "total-time", QAPI_UNKNOWN_U64);
    m->setup_ms = u64_or(ret, "setup-time", QAPI_UNKNOWN_U64);
    m->throttle_percent = u32_of(ret, "cpu-throttle-percentage");
    const json_t *reasons = json_object_get(ret, "blocked-reasons");
    m->blocked = json_array_size(reasons) > 0;
    COPY_TEXT(m->blocked_reason, json_array_get(reasons, 0));
    COPY_TEXT(m->error_desc, json_object_get(ret, "error-desc"));
    decode_socket(json_object_get(ret, "socket-address"), m);
    const json_t *ram = json_object_get(ret, "ram");
    if (json_is_object(ram))
        decode_ram(ram, m);
}

static void decode_caps(const json_t *ret, struct qapi_caps *c)
{
    size_t i;
    const json_t *one;
    json_array_foreach (ret, i, one) {
        const char *name = json_string_value(json_object_get(one, "capability"));
        for (unsigned k = 0; name && k < QAPI_CAP_COUNT; k++) {
            if (strcmp(name, qapi_cap_name((enum qapi_cap)k)) != 0)
                continue;
            c->offered |= UINT64_C(1) << k;
            if (json_is_true(json_object_get(one, "state")))
                c->on |= UINT64_C(1) << k;
        }
    }
}

/* A method that this file does not know could not be put back: as if it were not offered. */
static bool decode_compression(const json_t *v, uint64_t *out)
{
    const char *name = json_string_value(v);
    const enum qapi_compression c =
        name ? qapi_compression_of(name) : QAPI_COMPRESSION_COUNT;
    if (c == QAPI_COMPRESSION_COUNT)
        return false;
    *out = (uint64_t)c;
    return true;
}

static void decode_params(const json_t *ret, struct qapi_params *p)
{
    for (unsigned i = 0; i < QAPI_PARAM_COUNT; i++) {
        const json_t *v = json_object_get(ret, qapi_param_name((enum qapi_param)i));
        if (i == QAPI_PARAM_MULTIFD_COMPRESSION ? decode_compression(v, &p->value[i])
                                                : qmp_json_u64(v, &p->value[i]))
            p->has |= 1U << i;
    }
    for (unsigned i = 0; i < QAPI_TEXT_PARAM_COUNT; i++) {
        const char *text = json_string_value(
            json_object_get(ret, qapi_text_param_name((enum qapi_text_param)i)));
        if (!text || strlen(text) >= sizeof(p->text[i]))
            continue;
        memcpy(p->text[i], text, strlen(text) + 1);
        p->has_text |= 1U << i;
    }
}

static int by_address(const void *a, const void *b)
{
    const struct qapi_pci_dev *x = a;
    const struct qapi_pci_dev *y = b;
    if (x->bus != y->bus)
        return x->bus < y->bus ? -1 : 1;
    if (x->slot != y->slot)
        return x->slot < y->slot ? -1 : 1;
    if (x->function != y->function)
        return x->function < y->function ? -1 : 1;
    return 0;
}

enum { PCI_CLASS_NVME = 0x0108 };

/* Bridges nest their devices; depth is bounded because a peer's JSON is. */
static void decode_pci_list(const json_t *devices, struct qapi_pci *pci, unsigned depth)
{
    size_t i;
    const json_t *d;
    if (depth > 16)
        return;
    json_array_foreach (devices, i, d) {
        if (pci->count < QAPI_PCI_MAX) {
            const json_t *id = json_object_get(d, "id");
            pci->dev[pci->count] = (struct qapi_pci_dev){
                .bus = u32_of(d, "bus"),
                .slot = u32_of(d, "slot"),
                .function = u32_of(d, "function"),
                .vendor = u32_of(id, "vendor"),
                .device = u32_of(id, "device"),
                .subsystem = u32_of(id, "subsystem"),
            };
        }
        pci->count++;
        if (u32_of(json_object_get(d, "class_info"), "class") == PCI_CLASS_NVME)
            pci->nvme++;
        decode_pci_list(json_object_get(json_object_get(d, "pci_bridge"), "devices"), pci,
                        depth + 1);
    }
}

static void decode_pci(const json_t *ret, struct qapi_pci *pci)
{
    size_t i;
    const json_t *bus;
    json_array_foreach (ret, i, bus)
        decode_pci_list(json_object_get(bus, "devices"), pci, 0);
    const size_t n = pci->count < QAPI_PCI_MAX ? pci->count : QAPI_PCI_MAX;
    qsort(pci->dev, n, sizeof(pci->dev[0]), by_address);
}

static void decode_machine(const json_t *ret, char *text, size_t size)
{
    static const char suffix[] = "-machine";
    copy_text(text, size, ret);
    const size_t n = strlen(text);
    const size_t s = sizeof(suffix) - 1;
    if (n > s && strcmp(text + n - s, suffix) == 0)
        text[n - s] = '\0';
}

static bool has_migration(const json_t *list)
{
    size_t i;
    const json_t *one;
    json_array_foreach (list, i, one) {
        const char *type = json_string_value(json_object_get(one, "type"));
        if (type && strcmp(type, "migration") == 0)
            return true;
    }
    return false;
}

static bool is_text(const json_t *value, const char *text)
{
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

/* A name that is too long is counted, and not there: it could not be asked for. */
static void decode_nvme(const json_t *list, struct qapi_reply *out)
{
    size_t i;
    const json_t *one;
    json_array_foreach (list, i, one) {
        const char *name = json_string_value(json_object_get(one, "name"));
        if (!is_text(json_object_get(one, "type"), "child<nvme>"))
            continue;
        if (name && strlen(name) < QAPI_NAME_MAX && out->u.nvme.count < QAPI_NVME_MAX)
            memcpy(out->u.nvme.name[out->u.nvme.count], name, strlen(name) + 1);
        out->u.nvme.count++;
    }
}

void qapi_decode_reply(enum qapi_command command,
                       const json_t *whole,
                       struct qapi_reply *out)
{
    memset(out, 0, sizeof(*out));
    out->command = command;
    const json_t *error = json_object_get(whole, "error");
    if (error) {
        out->refused = true;
        COPY_TEXT(out->error_class, json_object_get(error, "class"));
        COPY_TEXT(out->error_desc, json_object_get(error, "desc"));
        return;
    }
    const json_t *ret = json_object_get(whole, "return");
    switch (command) {
    case QAPI_QUERY_STATUS:
        out->u.run = qapi_run_of(json_string_value(json_object_get(ret, "status")));
        break;
    case QAPI_QUERY_MIGRATE:
        decode_migrate(ret, &out->u.migrate);
        break;
    case QAPI_QUERY_TARGET:
        COPY_TEXT(out->u.text, json_object_get(ret, "arch"));
        break;
    case QAPI_QUERY_MACHINE:
        decode_machine(ret, out->u.text, sizeof(out->u.text));
        break;
    case QAPI_QUERY_CPU_TYPE:
        COPY_TEXT(out->u.text, ret);
        break;
    case QAPI_QUERY_UUID:
        COPY_TEXT(out->u.text, json_object_get(ret, "UUID"));
        break;
    case QAPI_QUERY_MEMORY:
        out->u.memory_bytes =
            qf_add_sat(u64_or(ret, "base-memory", 0), u64_or(ret, "plugged-memory", 0));
        break;
    case QAPI_QUERY_CPUS:
        out->u.cpus.count = (uint32_t)json_array_size(ret);
        COPY_TEXT(out->u.cpus.path, json_object_get(json_array_get(ret, 0), "qom-path"));
        break;
    case QAPI_QUERY_PCI:
        decode_pci(ret, &out->u.pci);
        break;
    case QAPI_QUERY_NVME:
        decode_nvme(ret, out);
        break;
    case QAPI_QUERY_DRIVE:
        COPY_TEXT(out->u.text, ret);
        break;
    case QAPI_QUERY_CAPS:
        decode_caps(ret, &out->u.caps);
        break;
    case QAPI_QUERY_PARAMS:
        decode_params(ret, &out->u.params);
        break;
    case QAPI_QUERY_YANK:
        out->u.yank_migration = has_migration(ret);
        break;
    case QAPI_QUERY_DIRTY_RATE: /* in MiB/s; a member only once it is measured */
        out->u.dirty.measured = is_text(json_object_get(ret, "status"), "measured");
        out->u.dirty.bytes_per_s = qf_mul_sat(u64_or(ret, "dirty-rate", 0), QF_MIB);
        break;
    case QAPI_CALC_DIRTY_RATE:
    case QAPI_OBJECT_ADD:
    case QAPI_OBJECT_DEL:
    case QAPI_SET_CAPS:
    case QAPI_SET_PARAMS:
    case QAPI_STOP:
    case QAPI_CONT:
    case QAPI_QUIT:
    case QAPI_MIGRATE_INCOMING:
    case QAPI_MIGRATE:
    case QAPI_MIGRATE_CANCEL:
    case QAPI_MIGRATE_CONTINUE:
    case QAPI_MIGRATE_START_POSTCOPY:
    case QAPI_MIGRATE_PAUSE:
    case QAPI_MIGRATE_RECOVER:
    case QAPI_MIGRATE_RESUME:
    case QAPI_GETFD:
    case QAPI_CLOSEFD:
    case QAPI_YANK:
    case QAPI_COMMAND_COUNT:
        break;
    }
}

/* A part of a device goes first, and has no id: it is named by that of the device, if it has one. */
static void decode_deleted(const json_t *data, char *text, size_t size)
{
    static const char with_id[] = "/machine/peripheral/";
    const size_t n = sizeof(with_id) - 1;
    copy_text(text, size, json_object_get(data, "path"));
    if (strncmp(text, with_id, n) == 0) {
        memmove(text, text + n, strlen(text + n) + 1);
        text[strcspn(text, "/")] = '\0';
    }
    copy_text(text, size, json_object_get(data, "device"));
}

void qapi_decode_event(const json_t *whole, struct qapi_event *out)
{
    static const struct {
        const char *name;
        enum qapi_event_kind kind;
    } table[] = {
#define ROW(id, text) {text, QAPI_EVENT_##id},
        QAPI_EVENTS(ROW)
#undef ROW
    };
    memset(out, 0, sizeof(*out));
    const char *name = json_string_value(json_object_get(whole, "event"));
    for (size_t i = 0; name && i < sizeof(table) / sizeof(table[0]); i++)
        if (strcmp(table[i].name, name) == 0)
            out->kind = table[i].kind;
    const json_t *data = json_object_get(whole, "data");
    out->status = qapi_mig_of(json_string_value(json_object_get(data, "status")));
    out->pass = u64_or(data, "pass", 0);
    out->guest = json_is_true(json_object_get(data, "guest"));
    COPY_TEXT(out->reason, json_object_get(data, "reason"));
    if (out->kind == QAPI_EVENT_DEVICE_DELETED)
        decode_deleted(data, out->reason, sizeof(out->reason));
}

bool qapi_decode_greeting(const json_t *qmp, struct qapi_version *out)
{
    memset(out, 0, sizeof(*out));
    const json_t *version = json_object_get(qmp, "version");
    const json_t *qemu = json_object_get(version, "qemu");
    if (!json_is_object(qemu))
        return false;
    out->major = u32_of(qemu, "major");
    out->minor = u32_of(qemu, "minor");
    out->micro = u32_of(qemu, "micro");
    COPY_TEXT(out->package, json_object_get(version, "package"));
    return true;
}

/* The commands of a modelled QEMU: queries, settings, and the way to model_flow.c. */
#include <stdio.h>
#include <string.h>

#include "model_priv.h"
#include "qmp/client.h"

#define BIT(id) QAPI_CAP_BIT(id)

/* ---- what a QEMU of this flavour offers ---- */

static uint64_t caps_of(enum model_flavour flavour)
{
    const uint64_t all = (UINT64_C(1) << QAPI_CAP_COUNT) - 1;
    switch (flavour) {
    case MODEL_7_2:
        return all & ~(BIT(MAPPED_RAM) | BIT(DIRTY_LIMIT) | BIT(SWITCHOVER_ACK));
    case MODEL_10_0:
    case MODEL_11_1:
        return all & ~(BIT(COMPRESS) | BIT(BLOCK));
    }
    return all;
}

void model_offers(struct one *s)
{
    static const uint64_t defaults[QAPI_PARAM_COUNT] = {
        [QAPI_PARAM_DOWNTIME_LIMIT] = 300,
        [QAPI_PARAM_MAX_BANDWIDTH] = 134217728,
        [QAPI_PARAM_MAX_POSTCOPY_BANDWIDTH] = 0,
        [QAPI_PARAM_CPU_THROTTLE_INITIAL] = 20,
        [QAPI_PARAM_CPU_THROTTLE_INCREMENT] = 10,
        [QAPI_PARAM_MAX_CPU_THROTTLE] = 99,
        [QAPI_PARAM_THROTTLE_TRIGGER_THRESHOLD] = 50,
        [QAPI_PARAM_MULTIFD_CHANNELS] = 2,
        [QAPI_PARAM_MULTIFD_COMPRESSION] = QAPI_COMPRESSION_NONE,
        [QAPI_PARAM_AVAIL_SWITCHOVER_BANDWIDTH] = 0,
        [QAPI_PARAM_X_CHECKPOINT_DELAY] = 20000,
    };
    s->caps_offered = caps_of(s->cfg.flavour) & ~s->cfg.caps_missing;
    s->caps = s->cfg.caps_on & s->caps_offered;
    s->params.has = (1U << QAPI_PARAM_COUNT) - 1;
    if (s->cfg.flavour == MODEL_7_2)
        s->params.has &= ~(1U << QAPI_PARAM_AVAIL_SWITCHOVER_BANDWIDTH);
    memcpy(s->params.value, defaults, sizeof(defaults));
    s->params.has_text = (1U << QAPI_TEXT_PARAM_COUNT) - 1;
    if (s->cfg.tls_hostname)
        (void)snprintf(s->params.text[QAPI_TEXT_PARAM_TLS_HOSTNAME], QAPI_TEXT_MAX, "%s",
                       s->cfg.tls_hostname);
    if (!s->cfg.tls_creds)
        return;
    (void)snprintf(s->params.text[QAPI_TEXT_PARAM_TLS_CREDS], QAPI_TEXT_MAX, "%s",
                   s->cfg.tls_creds);
    (void)snprintf(s->creds[0], MODEL_TEXT_MAX, "%s", s->cfg.tls_creds);
    s->creds_server[0] = s->side == MODEL_DST;
}

/* ---- objects: credentials for TLS ---- */

static int find_creds(const struct one *s, const char *id)
{
    for (int i = 0; id && i < MODEL_OBJECTS_MAX; i++)
        if (strcmp(s->creds[i], id) == 0)
            return i;
    return -1;
}

static void object_add(struct model *m, struct one *s, json_t *args, struct answer *a)
{
    const char *id = json_string_value(json_object_get(args, "id"));
    const char *type = json_string_value(json_object_get(args, "qom-type"));
    const char *dir = json_string_value(json_object_get(args, "dir"));
    const char *endpoint = json_string_value(json_object_get(args, "endpoint"));
    const int at = find_creds(s, "");
    (void)m;
    if (!id || !type || !dir || !endpoint || strncmp(type, "tls-creds-", 10) != 0)
        a->error = "Parameter is missing";
    else if (id[0] == '\0' || at < 0 || find_creds(s, id) >= 0)
        a->error = "attempt to add duplicate property to object (type 'container')";
    else {
        (void)snprintf(s->creds[at], MODEL_TEXT_MAX, "%s", id);
        s->creds_server[at] = strcmp(endpoint, "server") == 0;
    }
}

static void object_del(struct model *m, struct one *s, json_t *args, struct answer *a)
{
    const int at = find_creds(s, json_string_value(json_object_get(args, "id")));
    (void)m;
    if (at < 0 || s->creds[at][0] == '\0')
        a->error = "object not found";
    else
        memset(s->creds[at], 0, sizeof(s->creds[at]));
}

/* As migrate looks them up; NULL: it can be begun so. */
const char *model_creds_fault(const struct one *s)
{
    const char *id = s->params.text[QAPI_TEXT_PARAM_TLS_CREDS];
    if (id[0] == '\0')
        return NULL;
    const int at = find_creds(s, id);
    if (at < 0)
        return "No TLS credentials with id";
    return s->creds_server[at] == (s->side == MODEL_DST)
               ? NULL
               : "Expected TLS credentials for another endpoint";
}

json_t *model_greeting(const struct one *s)
{
    static const int versions[][3] = {
        [MODEL_7_2] = {7, 2, 22}, [MODEL_10_0] = {10, 0, 13}, [MODEL_11_1] = {11, 1, 3}};
    const int *v = versions[s->cfg.flavour];
    json_t *caps = s->cfg.no_oob ? json_array() : json_pack("[s]", "oob");
    if (s->cfg.not_qemu)
        return json_pack("{s:{s:{s:s}, s:o}}", "QMP", "version", "name", "something else",
                         "capabilities", caps);
    return json_pack("{s:{s:{s:{s:i, s:i, s:i}, s:s}, s:o}}", "QMP", "version", "qemu",
                     "major", v[0], "minor", v[1], "micro", v[2], "package", "model",
                     "capabilities", caps);
}

/* ---- queries ---- */

static void query_status(struct model *m, struct one *s, json_t *args, struct answer *a)
{
    (void)m;
    (void)args;
    a->ret = json_pack("{s:b, s:s}", "running", s->run == QAPI_RUN_RUNNING, "status",
                       qapi_run_name(s->run));
    if (s->cfg.flavour == MODEL_7_2)
        (void)json_object_set_new(a->ret, "singlestep", json_false());
}

static bool has_ram(enum qapi_mig_status s)
{
    return s == QAPI_MIG_ACTIVE || s == QAPI_MIG_PRE_SWITCHOVER || s == QAPI_MIG_DEVICE ||
           s == QAPI_MIG_CANCELLING || s == QAPI_MIG_COMPLETED ||
           s == QAPI_MIG_POSTCOPY_ACTIVE || s == QAPI_MIG_POSTCOPY_DEVICE ||
           s == QAPI_MIG_POSTCOPY_PAUSED || s == QAPI_MIG_POSTCOPY_RECOVER ||
           s == QAPI_MIG_POSTCOPY_RECOVER_SETUP;
}

static void put(json_t *o, const char *key, uint64_t v)
{
    (void)json_object_set_new(o, key, json_integer((json_int_t)v));
}

static uint64_t expected_downtime(const struct model *m)
{
    const struct flow *f = &m->flow;
    const uint64_t limit = m->one[MODEL_SRC].params.value[QAPI_PARAM_DOWNTIME_LIMIT];
    if (m->one[MODEL_SRC].cfg.flavour == MODEL_11_1 && f->pass > 1 && f->bandwidth == 0)
        return (uint64_t)INT64_MAX;
    if (f->pass <= 1 || f->bandwidth == 0 || f->dirty_pages_per_s == 0)
        return limit;
    return qf_mul_div(f->at_sync, 1000, f->bandwidth);
}

static json_t *ram(const struct model *m, bool completed)
{
    const struct flow *f = &m->flow;
    json_t *r = json_object();
    const uint64_t left = completed ? 0 : f->unsent;
    const uint64_t zero = f->pass > 0 ? m->setup.zero_bytes / PAGE_BYTES : 0;
    put(r, "total", f->total);
    put(r, "transferred", f->sent_bytes);
    put(r, "remaining", left);
    put(r, "duplicate", zero);
    put(r, "normal", f->raw_bytes / PAGE_BYTES);
    put(r, "normal-bytes", f->raw_bytes / PAGE_BYTES * PAGE_BYTES);
    put(r, "page-size", PAGE_BYTES);
    put(r, "dirty-pages-rate", completed ? 0 : f->dirty_pages_per_s);
    put(r, "dirty-sync-count", f->pass);
    put(r, "postcopy-requests", 0);
    (void)json_object_set_new(r, "mbps", json_real((double)f->bandwidth * 8.0 / 1e6));
    return r;
}

static void query_migrate_src(struct model *m, struct one *s, json_t *o)
{
    const struct flow *f = &m->flow;
    const bool done = s->status == QAPI_MIG_COMPLETED;
    if (s->cfg.blocked)
        (void)json_object_set_new(o, "blocked-reasons", json_pack("[s]", s->cfg.blocked));
    if (s->status != QAPI_MIG_NONE)
        (void)json_object_set_new(o, "status", json_string(qapi_mig_name(s->status)));
    if (s->error[0] != '\0' &&
        (s->status == QAPI_MIG_FAILED || s->cfg.flavour != MODEL_7_2))
        (void)json_object_set_new(o, "error-desc", json_string(s->error));
    if (!has_ram(s->status))
        return;
    (void)json_object_set_new(o, "ram", ram(m, done));
    put(o, "setup-time", (uint64_t)(f->setup_ns - f->start_ns) / 1000000);
    /* 7.2 may lack these right after the end (seen 2 of 20) */
    const bool late = done && m->setup.late_downtime && m->now_ns <= f->end_ns + MODEL_MS;
    if (!late)
        put(o, "total-time",
            (uint64_t)((done ? f->end_ns : m->now_ns) - f->start_ns) / 1000000);
    if (done && !late)
        put(o, "downtime", f->downtime_ms);
    else if (!done && !f->postcopy)
        put(o, "expected-downtime", expected_downtime(m));
    if (s->cfg.flavour == MODEL_11_1)
        put(o, "remaining", done ? 0 : f->unsent);
    if (f->throttle > 0 && !done)
        put(o, "cpu-throttle-percentage", f->throttle);
}

static void query_migrate_dst(struct one *s, json_t *o)
{
    const bool mute = s->status == QAPI_MIG_NONE ||
                      (s->status == QAPI_MIG_SETUP && s->cfg.flavour == MODEL_7_2);
    char port[8];
    if (!mute)
        (void)json_object_set_new(o, "status", json_string(qapi_mig_name(s->status)));
    if (s->error[0] != '\0' && s->status == QAPI_MIG_FAILED)
        (void)json_object_set_new(o, "error-desc", json_string(s->error));
    if (!s->listening)
        return;
    (void)snprintf(port, sizeof(port), "%u", s->port % 100000);
    (void)json_object_set_new(
        o, "socket-address",
        json_pack("[{s:s, s:s, s:s}]", "host", "192.0.2.7", "port", port, "type", "inet"));
}

static void query_migrate(struct model *m, struct one *s, json_t *args, struct answer *a)
{
    (void)args;
    a->ret = json_object();
    if (s->side == MODEL_SRC)
        query_migrate_src(m, s, a->ret);
    else
        query_migrate_dst(s, a->ret);
}

static void query_target(struct model *m, struct one *s, json_t *args, struct answer *a)
{
    (void)m;
    (void)args;
    a->ret = json_pack("{s:s}", "arch", s->cfg.arch);
}

static void qom_get(struct model *m, struct one *s, json_t *args, struct answer *a)
{
    const char *path = json_string_value(json_object_get(args, "path"));
    const char *property = json_string_value(json_object_get(args, "property"));
    (void)m;
    if (path && property && strcmp(property, "type") == 0) {
        char type[MODEL_TEXT_MAX];
        (void)snprintf(type, sizeof(type), "%s-machine", s->cfg.type);
        if (strcmp(path, "/machine") == 0)
            a->ret = json_string(type);
        else if (strncmp(path, "/machine/unattached/device", 26) == 0)
            a->ret = json_string(s->cfg.cpu_type);
    }
    if (a->ret)
        return;
    a->error_class = "DeviceNotFound";
    a->error = "Device not found";
}

static void query_memory(struct model *m, struct one *s, json_t *args, struct answer *a)
{
    (void)m;
    (void)args;
    a->ret = json_pack("{s:I, s:i}", "base-memory", (json_int_t)s->cfg.ram_bytes,
                       "plugged-memory", 0);
}

static void query_cpus(struct model *m, struct one *s, json_t *args, struct answer *a)
{
    (void)m;
    (void)args;
    a->ret = json_array();
    for (unsigned i = 0; i < s->cfg.cpus; i++) {
        char path[64];
        (void)snprintf(path, sizeof(path), "/machine/unattached/device[%u]", i);
        (void)json_array_append_new(
            a->ret, json_pack("{s:i, s:s, s:i, s:s}", "cpu-index", (int)i, "qom-path", path,
                              "thread-id", 1000 + (int)i, "target", s->cfg.arch));
    }
}

static void query_uuid(struct model *m, struct one *s, json_t *args, struct answer *a)
{
    (void)m;
    (void)args;
    a->ret = json_pack("{s:s}", "UUID", s->cfg.uuid);
}

static void query_pci(struct model *m, struct one *s, json_t *args, struct answer *a)
{
    (void)m;
    (void)args;
    json_t *devices = json_array();
    for (unsigned i = 0; i < s->cfg.n_pci; i++) {
        const struct qapi_pci_dev *d = &s->cfg.pci[i];
        (void)json_array_append_new(
            devices,
            json_pack("{s:I, s:I, s:I, s:{s:I, s:I, s:I}}", "bus", (json_int_t)d->bus,
                      "slot", (json_int_t)d->slot, "function", (json_int_t)d->function,
                      "id", "vendor", (json_int_t)d->vendor, "device",
                      (json_int_t)d->device, "subsystem", (json_int_t)d->subsystem));
    }
    a->ret = json_pack("[{s:i, s:o}]", "bus", 0, "devices", devices);
}

static void query_caps(struct model *m, struct one *s, json_t *args, struct answer *a)
{
    (void)m;
    (void)args;
    a->ret = json_array();
    for (unsigned i = 0; i < QAPI_CAP_COUNT; i++) {
        const uint64_t bit = UINT64_C(1) << i;
        if (s->caps_offered & bit)
            (void)json_array_append_new(a->ret, json_pack("{s:s, s:b}", "capability",
                                                          qapi_cap_name((enum qapi_cap)i),
                                                          "state", (s->caps & bit) != 0));
    }
}

static void query_params(struct model *m, struct one *s, json_t *args, struct answer *a)
{
    (void)m;
    (void)args;
    a->ret = json_object();
    for (unsigned i = 0; i < QAPI_TEXT_PARAM_COUNT; i++)
        (void)json_object_set_new(a->ret, qapi_text_param_name((enum qapi_text_param)i),
                                  json_string(s->params.text[i]));
    for (unsigned i = 0; i < QAPI_PARAM_COUNT; i++) {
        const char *name = qapi_param_name((enum qapi_param)i);
        const uint64_t v = s->params.value[i];
        if (i == QAPI_PARAM_MULTIFD_COMPRESSION)
            (void)json_object_set_new(
                a->ret, name, json_string(qapi_compression_name((enum qapi_compression)v)));
        else if (s->params.has & (1U << i))
            put(a->ret, name, v);
    }
}

static void query_yank(struct model *m, struct one *s, json_t *args, struct answer *a)
{
    (void)m;
    (void)args;
    a->ret = json_pack("[{s:s, s:s}]", "type", "chardev", "id", "compat_monitor0");
    if (s->yank)
        (void)json_array_append_new(a->ret, json_pack("{s:s}", "type", "migration"));
}

/* Different pages in that time: a guest that writes in turn. */
static void calc_dirty_rate(struct model *m, struct one *s, json_t *args, struct answer *a)
{
    const json_int_t seconds = json_integer_value(json_object_get(args, "calc-time"));
    if (seconds < 1 || seconds > 60) {
        a->error = "calc-time is out of range[1, 60].";
        return;
    }
    s->calc_seconds = (uint64_t)seconds;
    s->calc_until_ns = m->now_ns + seconds * MODEL_S;
}

static void query_dirty_rate(struct model *m, struct one *s, json_t *args, struct answer *a)
{
    (void)args;
    const bool measured = s->calc_until_ns > 0 && m->now_ns >= s->calc_until_ns;
    const uint64_t written =
        qf_mul_sat(m->setup.rate[0].pages_per_s * s->calc_seconds, PAGE_BYTES);
    const uint64_t most = m->setup.working_set_bytes;
    a->ret = json_pack("{s:s, s:i, s:I, s:I, s:s}", "status",
                       measured ? "measured" : "measuring", "sample-pages", 4096,
                       "start-time", (json_int_t)0, "calc-time",
                       (json_int_t)s->calc_seconds, "mode", "page-sampling");
    if (measured)
        put(a->ret, "dirty-rate",
            (written < most ? written : most) / s->calc_seconds / QF_MIB);
}

/* ---- settings ---- */

static bool read_caps(json_t *args, uint64_t offered, uint64_t *mask, uint64_t *on)
{
    size_t i;
    json_t *one;
    json_array_foreach (json_object_get(args, "capabilities"), i, one) {
        const char *name = json_string_value(json_object_get(one, "capability"));
        unsigned k = 0;
        while (k < QAPI_CAP_COUNT &&
               (!name || strcmp(name, qapi_cap_name((enum qapi_cap)k)) != 0))
            k++;
        if (k == QAPI_CAP_COUNT || !(offered & (UINT64_C(1) << k)))
            return false;
        *mask |= UINT64_C(1) << k;
        if (json_is_true(json_object_get(one, "state")))
            *on |= UINT64_C(1) << k;
    }
    return true;
}

static void set_caps(struct model *m, struct one *s, json_t *args, struct answer *a)
{
    uint64_t mask = 0;
    uint64_t on = 0;
    if (!read_caps(args, s->caps_offered, &mask, &on)) {
        a->error = "Parameter 'capability' does not accept value";
        return;
    }
    if (s->side == MODEL_SRC && flow_in_progress(m)) {
        a->error = "There's a migration process in progress";
        return;
    }
    const uint64_t next = (s->caps & ~mask) | on;
    const uint64_t late = BIT(MULTIFD) | BIT(POSTCOPY_PREEMPT);
    const uint64_t pair = BIT(MULTIFD) | BIT(POSTCOPY_RAM);
    if ((s->cfg.flavour == MODEL_10_0 || s->cfg.no_pair) && (next & pair) == pair)
        a->error = "Postcopy is not yet compatible with multifd";
    else if (s->cfg.no_postcopy && (next & BIT(POSTCOPY_RAM)))
        a->error = "Postcopy is not supported: Userfaultfd not available";
    else if ((next & BIT(POSTCOPY_PREEMPT)) && !(next & BIT(POSTCOPY_RAM)))
        a->error = "Postcopy preempt requires postcopy-ram";
    else if (s->side == MODEL_DST && s->incoming_used && s->cfg.flavour != MODEL_7_2 &&
             (next & ~s->caps & late))
        a->error = "must be set before incoming starts";
    else if (s->side == MODEL_SRC && m->flow.cleaning) {
        model_blame(m,
                    "capabilities were touched before the clean-up of a failed migration");
        model_kill(m, MODEL_SRC); /* rule 6 */
    } else
        s->caps = next;
}

static void set_params(struct model *m, struct one *s, json_t *args, struct answer *a)
{
    struct qapi_params p = s->params;
    const char *key;
    json_t *v;
    (void)m;
    json_object_foreach (args, key, v) {
        unsigned i = 0;
        unsigned t = 0;
        while (t < QAPI_TEXT_PARAM_COUNT &&
               strcmp(key, qapi_text_param_name((enum qapi_text_param)t)) != 0)
            t++;
        if (t < QAPI_TEXT_PARAM_COUNT && json_is_string(v)) {
            (void)snprintf(p.text[t], sizeof(p.text[t]), "%s", json_string_value(v));
            continue;
        }
        while (i < QAPI_PARAM_COUNT &&
               strcmp(key, qapi_param_name((enum qapi_param)i)) != 0)
            i++;
        const bool known = i < QAPI_PARAM_COUNT && (s->params.has & (1U << i));
        const char *method = json_string_value(v);
        if (known && i == QAPI_PARAM_MULTIFD_COMPRESSION && method) {
            p.value[i] = qapi_compression_of(method);
            if (p.value[i] > QAPI_COMPRESSION_ZSTD ||
                (s->cfg.no_zstd && p.value[i] == QAPI_COMPRESSION_ZSTD)) {
                a->error = "Parameter 'multifd-compression' does not accept value 'zstd'";
                return;
            }
        } else if (!known || !qmp_json_u64(v, &p.value[i])) {
            a->error = "Parameter is unexpected";
            return;
        }
    }
    const uint64_t initial = p.value[QAPI_PARAM_CPU_THROTTLE_INITIAL];
    const uint64_t most = p.value[QAPI_PARAM_MAX_CPU_THROTTLE];
    if (p.value[QAPI_PARAM_DOWNTIME_LIMIT] > 2000000)
        a->error = "Parameter 'downtime_limit' expects an integer in the range of 0 to "
                   "2000000 milliseconds";
    else if (initial < 1 || initial > 99 || most < initial || most > 99)
        a->error = "Parameter 'max_cpu_throttle' expects an integer in the range of "
                   "cpu_throttle_initial to 99";
    else
        s->params = p;
}

/* ---- the guest and the migration ---- */

static void do_stop(struct model *m, struct one *s, json_t *args, struct answer *a)
{
    (void)args;
    a->error = flow_stop(m, s->side);
}

static void do_migrate(struct model *m, struct one *s, json_t *args, struct answer *a)
{
    a->error = s->side == MODEL_SRC ? flow_migrate(m, args)
                                    : "Guest is waiting for an incoming migration";
}

static void do_incoming(struct model *m, struct one *s, json_t *args, struct answer *a)
{
    a->error = s->side == MODEL_DST ? flow_incoming(m, args)
                                    : "'-incoming' was not specified on the command line";
}

static void do_continue(struct model *m, struct one *s, json_t *args, struct answer *a)
{
    a->error = s->side == MODEL_SRC ? flow_continue(m, args)
                                    : "Migration not in expected state: none";
}

static void do_postcopy(struct model *m, struct one *s, json_t *args, struct answer *a)
{
    (void)args;
    a->error = s->side == MODEL_SRC ? flow_start_postcopy(m) : "Start a migration first";
}

static void do_pause(struct model *m, struct one *s, json_t *args, struct answer *a)
{
    (void)args;
    a->error = flow_pause(m, s->side);
}

static void do_recover(struct model *m, struct one *s, json_t *args, struct answer *a)
{
    a->error = s->side == MODEL_DST
                   ? flow_recover(m, args)
                   : "Migrate recover can only be run when postcopy is paused.";
}

static void do_yank(struct model *m, struct one *s, json_t *args, struct answer *a)
{
    (void)args;
    a->error = flow_yank(m, s->side);
    if (a->error)
        a->error_class = "DeviceNotFound";
}

/* The descriptor has come with it, if somebody has connected. */
static void do_getfd(struct model *m, struct one *s, json_t *args, struct answer *a)
{
    (void)args;
    if (s->side == MODEL_SRC && m->flow.lent)
        m->flow.lent_fd = true;
    else
        a->error = "No file descriptor supplied via SCM_RIGHTS";
}

static void do_closefd(struct model *m, struct one *s, json_t *args, struct answer *a)
{
    (void)args;
    if (s->side != MODEL_SRC || !m->flow.lent_fd) {
        a->error = "File descriptor named 'qferry-stream' not found";
        return;
    }
    m->flow.lent_fd = false;
    model_hang_up(m, m->now_ns);
}

/* clang-format off */
static const struct {
    const char *name;
    bool oob;
    void (*run)(struct model *m, struct one *s, json_t *args, struct answer *a);
} commands[] = {
    {"query-status",                false, query_status },
    {"query-migrate",               false, query_migrate},
    {"query-target",                false, query_target },
    {"qom-get",                     false, qom_get      },
    {"query-memory-size-summary",   false, query_memory },
    {"query-cpus-fast",             false, query_cpus   },
    {"query-uuid",                  false, query_uuid   },
    {"query-pci",                   false, query_pci    },
    {"query-migrate-capabilities",  false, query_caps   },
    {"query-migrate-parameters",    false, query_params },
    {"query-yank",                  true,  query_yank   },
    {"calc-dirty-rate",             false, calc_dirty_rate},
    {"query-dirty-rate",            false, query_dirty_rate},
    {"migrate-set-capabilities",    false, set_caps     },
    {"migrate-set-parameters",      false, set_params   },
    {"object-add",                  false, object_add   },
    {"object-del",                  false, object_del   },
    {"stop",                        false, do_stop      },
    {"migrate",                     false, do_migrate   },
    {"migrate-incoming",            false, do_incoming  },
    {"migrate-continue",            false, do_continue  },
    {"migrate-start-postcopy",      false, do_postcopy  },
    {"migrate-pause",               true,  do_pause     },
    {"migrate-recover",             true,  do_recover   },
    {"yank",                        true,  do_yank      },
    {"getfd",                       false, do_getfd     },
    {"closefd",                     false, do_closefd   },
};
/* clang-format on */

static void quit(struct model *m, struct one *s, bool engine)
{
    if (s->exiting)
        return;
    s->exiting = true;
    s->exit_by_engine = engine;
    model_event(m, s->side, "SHUTDOWN",
                json_pack("{s:b, s:s}", "guest", 0, "reason", "host-qmp-quit"));
    if (s->side == MODEL_SRC && flow_in_progress(m))
        (void)flow_cancel(m, engine);
}

void model_execute(struct model *m,
                   enum model_side side,
                   const char *name,
                   json_t *args,
                   bool oob,
                   bool engine,
                   struct answer *a)
{
    struct one *s = &m->one[side];
    const bool known = !s->cfg.no_command || strcmp(name, s->cfg.no_command) != 0;
    if (known && strcmp(name, "quit") == 0) {
        quit(m, s, engine);
        return;
    }
    if (known && strcmp(name, "cont") == 0) {
        a->error = flow_cont(m, side, engine);
        return;
    }
    if (known && strcmp(name, "migrate_cancel") == 0) {
        a->error = side == MODEL_SRC ? flow_cancel(m, engine) : NULL;
        return;
    }
    for (size_t i = 0; known && i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(name, commands[i].name) != 0)
            continue;
        if (oob && !commands[i].oob)
            a->error = "The command does not support OOB";
        else
            commands[i].run(m, s, args, a);
        return;
    }
    a->error_class = "CommandNotFound";
    a->error = "The command has not been found";
}

/* QMP made typed, in both directions: tables of commands with their arguments, and of answers and
 * events as QEMU 7.2, 10.0 and 11.1 write them. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "qmp/client.h"
#include "qmp/qapi_json.h"

static struct fixture {
    json_t *json;
    struct qapi_reply r;
    struct qapi_event e;
} f;

static void teardown(void)
{
    json_decref(f.json);
    f.json = NULL;
}

/* Single quotes for double ones, so that the tables can be read. */
static json_t *parse(const char *text)
{
    char buf[4096];
    size_t n = strlen(text);
    ck_assert_uint_lt(n, sizeof(buf));
    for (size_t i = 0; i <= n; i++)
        buf[i] = text[i] == '\'' ? '"' : text[i];
    json_t *json = qmp_json_parse(buf, n, NULL);
    ck_assert_msg(json != NULL, "not JSON: %s", text);
    return json;
}

static const struct qapi_reply *reply(enum qapi_command c, const char *text)
{
    json_decref(f.json);
    f.json = parse(text);
    qapi_decode_reply(c, f.json, &f.r);
    return &f.r;
}

/* ---- commands ---- */

static const struct {
    struct qapi_cmd cmd;
    const char *name;
    const char *args; /* NULL: none */
} commands[] = {
    {{.command = QAPI_QUERY_STATUS}, "query-status", NULL},
    {{.command = QAPI_QUERY_MIGRATE}, "query-migrate", NULL},
    {{.command = QAPI_QUERY_TARGET}, "query-target", NULL},
    {{.command = QAPI_QUERY_MACHINE}, "qom-get", "{'path':'/machine','property':'type'}"},
    {{.command = QAPI_QUERY_MEMORY}, "query-memory-size-summary", NULL},
    {{.command = QAPI_QUERY_CPUS}, "query-cpus-fast", NULL},
    {{.command = QAPI_QUERY_CPU_TYPE, .u.path = "/machine/unattached/device[0]"},
     "qom-get",
     "{'path':'/machine/unattached/device[0]','property':'type'}"},
    {{.command = QAPI_QUERY_UUID}, "query-uuid", NULL},
    {{.command = QAPI_QUERY_PCI}, "query-pci", NULL},
    {{.command = QAPI_QUERY_NVME, .u.path = "/machine/peripheral"},
     "qom-list",
     "{'path':'/machine/peripheral'}"},
    {{.command = QAPI_QUERY_DRIVE, .u.path = "/machine/peripheral/n"},
     "qom-get",
     "{'path':'/machine/peripheral/n','property':'drive'}"},
    {{.command = QAPI_QUERY_CAPS}, "query-migrate-capabilities", NULL},
    {{.command = QAPI_QUERY_PARAMS}, "query-migrate-parameters", NULL},
    {{.command = QAPI_QUERY_YANK}, "query-yank", NULL},
    {{.command = QAPI_CALC_DIRTY_RATE, .u.calc = {3, 4096}},
     "calc-dirty-rate",
     "{'calc-time':3,'sample-pages':4096}"},
    {{.command = QAPI_QUERY_DIRTY_RATE}, "query-dirty-rate", NULL},
    {{.command = QAPI_SET_CAPS,
      .u.caps = {.mask = QAPI_CAP_BIT(EVENTS) | QAPI_CAP_BIT(MULTIFD),
                 .on = QAPI_CAP_BIT(EVENTS) | QAPI_CAP_BIT(XBZRLE)}},
     "migrate-set-capabilities",
     "{'capabilities':[{'capability':'events','state':true},"
     "{'capability':'multifd','state':false}]}"},
    {{.command = QAPI_SET_PARAMS,
      .u.params = {.has = 1U << QAPI_PARAM_DOWNTIME_LIMIT | 1U << QAPI_PARAM_MAX_BANDWIDTH,
                   .value = {[QAPI_PARAM_DOWNTIME_LIMIT] = 100,
                             [QAPI_PARAM_MAX_BANDWIDTH] = 0,
                             [QAPI_PARAM_CPU_THROTTLE_INITIAL] = 7}}},
     "migrate-set-parameters",
     "{'downtime-limit':100,'max-bandwidth':0}"},
    {{.command = QAPI_SET_PARAMS,
      .u.params = {.has = 1U << QAPI_PARAM_MAX_BANDWIDTH,
                   .value = {[QAPI_PARAM_MAX_BANDWIDTH] = UINT64_MAX}}},
     "migrate-set-parameters",
     "{'max-bandwidth':9223372036854775807}"},
    {{.command = QAPI_SET_PARAMS,
      .u.params = {.has = 1U << QAPI_PARAM_MULTIFD_CHANNELS |
                          1U << QAPI_PARAM_MULTIFD_COMPRESSION,
                   .value = {[QAPI_PARAM_MULTIFD_CHANNELS] = 4,
                             [QAPI_PARAM_MULTIFD_COMPRESSION] = QAPI_COMPRESSION_ZSTD}}},
     "migrate-set-parameters",
     "{'multifd-channels':4,'multifd-compression':'zstd'}"},
    {{.command = QAPI_SET_PARAMS,
      .u.params = {.has_text =
                       1U << QAPI_TEXT_PARAM_TLS_CREDS | 1U << QAPI_TEXT_PARAM_TLS_HOSTNAME,
                   .text = {"qferry-tls-1", ""}}},
     "migrate-set-parameters",
     "{'tls-creds':'qferry-tls-1','tls-hostname':''}"},
    {{.command = QAPI_OBJECT_ADD,
      .u.object = {.id = "a", .kind = QAPI_CREDS_PSK, .server = true, .dir = "/d"}},
     "object-add",
     "{'qom-type':'tls-creds-psk','id':'a','endpoint':'server','dir':'/d'}"},
    {{.command = QAPI_OBJECT_ADD,
      .u.object = {.id = "a", .kind = QAPI_CREDS_PSK, .dir = "/d"}},
     "object-add",
     "{'qom-type':'tls-creds-psk','id':'a','endpoint':'client','dir':'/d',"
     "'username':'qferry'}"},
    {{.command = QAPI_OBJECT_ADD,
      .u.object = {.id = "a", .kind = QAPI_CREDS_X509, .dir = "/d"}},
     "object-add",
     "{'qom-type':'tls-creds-x509','id':'a','endpoint':'client','dir':'/d'}"},
    {{.command = QAPI_OBJECT_DEL, .u.object = {.id = "a"}}, "object-del", "{'id':'a'}"},
    {{.command = QAPI_STOP}, "stop", NULL},
    {{.command = QAPI_CONT}, "cont", NULL},
    {{.command = QAPI_QUIT}, "quit", NULL},
    {{.command = QAPI_MIGRATE_INCOMING,
      .u.migrate = {.uri = "tcp:[2001:db8::7]:0", .stay_on_error = true}},
     "migrate-incoming",
     "{'uri':'tcp:[2001:db8::7]:0','exit-on-error':false}"},
    {{.command = QAPI_MIGRATE_INCOMING, .u.migrate = {.uri = "tcp:h:1,to=9"}},
     "migrate-incoming",
     "{'uri':'tcp:h:1,to=9'}"},
    {{.command = QAPI_MIGRATE, .u.migrate = {.uri = "tcp:h:1"}},
     "migrate",
     "{'uri':'tcp:h:1'}"},
    {{.command = QAPI_MIGRATE_CANCEL}, "migrate_cancel", NULL},
    {{.command = QAPI_MIGRATE_CONTINUE}, "migrate-continue", "{'state':'pre-switchover'}"},
    {{.command = QAPI_MIGRATE_START_POSTCOPY}, "migrate-start-postcopy", NULL},
    {{.command = QAPI_MIGRATE_PAUSE}, "migrate-pause", NULL},
    {{.command = QAPI_MIGRATE_RECOVER, .u.migrate.uri = "tcp:h:49152"},
     "migrate-recover",
     "{'uri':'tcp:h:49152'}"},
    {{.command = QAPI_MIGRATE_RESUME, .u.migrate.uri = "tcp:h:49152"},
     "migrate",
     "{'uri':'tcp:h:49152','resume':true}"},
    {{.command = QAPI_YANK}, "yank", "{'instances':[{'type':'migration'}]}"},
};
enum { N_COMMANDS = sizeof(commands) / sizeof(commands[0]) };

START_TEST(command_is_written_as_qemu_reads_it)
{
    json_t *args = NULL;
    ck_assert_int_eq(qapi_encode(&commands[_i].cmd, &args), 0);
    ck_assert_str_eq(qapi_command_name(commands[_i].cmd.command), commands[_i].name);
    if (!commands[_i].args) {
        ck_assert_ptr_null(args);
        return;
    }
    f.json = parse(commands[_i].args);
    char *text = json_dumps(args, JSON_COMPACT);
    ck_assert_msg(json_equal(args, f.json), "%s", text);
    free(text);
    json_decref(args);
}
END_TEST

START_TEST(what_frees_a_hanging_qemu_goes_out_of_band)
{
    for (unsigned c = 0; c < QAPI_COMMAND_COUNT; c++)
        ck_assert_int_eq(qapi_command_oob((enum qapi_command)c),
                         c == QAPI_YANK || c == QAPI_QUERY_YANK ||
                             c == QAPI_MIGRATE_PAUSE || c == QAPI_MIGRATE_RECOVER);
}
END_TEST

/* ---- names there and back ---- */

static const char *const run_names[] = {
#define NAME(id, name) name,
    QAPI_RUN_STATES(NAME)
#undef NAME
};
static const char *const status_names[] = {
#define NAME(id, name) name,
    QAPI_MIG_STATUSES(NAME)
#undef NAME
};

START_TEST(every_run_state_is_read)
{
    f.json = json_pack("{s:{s:s}}", "return", "status", run_names[_i]);
    qapi_decode_reply(QAPI_QUERY_STATUS, f.json, &f.r);
    ck_assert_int_eq(f.r.u.run, _i + 1);
    ck_assert_str_eq(qapi_run_name(f.r.u.run), run_names[_i]);
}
END_TEST

START_TEST(every_migration_status_is_read_in_reply_and_event)
{
    f.json = json_pack("{s:{s:s}}", "return", "status", status_names[_i]);
    qapi_decode_reply(QAPI_QUERY_MIGRATE, f.json, &f.r);
    ck_assert_int_eq(f.r.u.migrate.status, _i + 1);
    ck_assert_str_eq(qapi_mig_name(f.r.u.migrate.status), status_names[_i]);
    json_decref(f.json);
    f.json = json_pack("{s:s, s:{s:s}}", "event", "MIGRATION", "data", "status",
                       status_names[_i]);
    qapi_decode_event(f.json, &f.e);
    ck_assert_int_eq(f.e.kind, QAPI_EVENT_MIGRATION);
    ck_assert_int_eq(f.e.status, _i + 1);
}
END_TEST

START_TEST(unknown_words_are_unknown_and_never_an_error)
{
    ck_assert_int_eq(reply(QAPI_QUERY_STATUS, "{'return':{'status':'dreaming'}}")->u.run,
                     QAPI_RUN_UNKNOWN);
    ck_assert_int_eq(reply(QAPI_QUERY_STATUS, "{'return':{}}")->u.run, QAPI_RUN_UNKNOWN);
    ck_assert_int_eq(
        reply(QAPI_QUERY_MIGRATE, "{'return':{'status':'melting'}}")->u.migrate.status,
        QAPI_MIG_UNKNOWN);
    ck_assert_int_eq(reply(QAPI_QUERY_MIGRATE, "{'return':{}}")->u.migrate.status,
                     QAPI_MIG_NONE);
    ck_assert_str_eq(qapi_run_name(QAPI_RUN_UNKNOWN), "?");
    ck_assert_str_eq(qapi_mig_name(QAPI_MIG_UNKNOWN), "?");
}
END_TEST

START_TEST(answers_of_another_shape_are_survived)
{
    static const char *const shapes[] = {"{}",
                                         "[]",
                                         "{'return':null}",
                                         "{'return':[]}",
                                         "{'return':7}",
                                         "{'return':'x'}",
                                         "{'return':[[[]]]}",
                                         "{'return':[{'devices':[7,{'pci_bridge':1}]}]}",
                                         "{'error':7}",
                                         "{'error':{}}",
                                         "{'event':7}",
                                         "{'event':'STOP','data':[]}"};
    for (unsigned c = 0; c < QAPI_COMMAND_COUNT; c++)
        (void)reply((enum qapi_command)c, shapes[_i]);
    qapi_decode_event(f.json, &f.e);
}
END_TEST

/* ---- replies ---- */

START_TEST(refusal_keeps_class_and_text)
{
    const struct qapi_reply *r =
        reply(QAPI_MIGRATE, "{'error':{'class':'GenericError','desc':'no way'},'id':7}");
    ck_assert(r->refused);
    ck_assert_int_eq(r->command, QAPI_MIGRATE);
    ck_assert_str_eq(r->error_class, "GenericError");
    ck_assert_str_eq(r->error_desc, "no way");
}
END_TEST

START_TEST(migration_of_7_2_in_full)
{
    const struct qapi_migrate *m =
        &reply(QAPI_QUERY_MIGRATE,
               "{'return':{'status':'active','total-time':1234,'setup-time':5,"
               "'expected-downtime':300,'cpu-throttle-percentage':20,'ram':{'total':1000,"
               "'transferred':600,'remaining':400,'duplicate':1,'skipped':0,'normal':2,"
               "'normal-bytes':8192,'dirty-pages-rate':77,'mbps':80.0,'dirty-sync-count':3,"
               "'page-size':4096,'postcopy-requests':9}}}")
             ->u.migrate;
    ck_assert_int_eq(m->status, QAPI_MIG_ACTIVE);
    ck_assert(m->has_ram);
    ck_assert_uint_eq(m->total_bytes, 1000);
    ck_assert_uint_eq(m->transferred_bytes, 600);
    ck_assert_uint_eq(m->remaining_bytes, 400);
    ck_assert_uint_eq(m->dirty_pages_per_s, 77);
    ck_assert_uint_eq(m->bandwidth_bytes_per_s, 10000000);
    ck_assert_uint_eq(m->dirty_sync_count, 3);
    ck_assert_uint_eq(m->page_bytes, 4096);
    ck_assert_uint_eq(m->postcopy_requests, 9);
    ck_assert_uint_eq(m->expected_downtime_ms, 300);
    ck_assert_uint_eq(m->total_ms, 1234);
    ck_assert_uint_eq(m->setup_ms, 5);
    ck_assert_uint_eq(m->throttle_percent, 20);
    ck_assert_uint_eq(m->downtime_ms, QAPI_UNKNOWN_U64);
}
END_TEST

START_TEST(expected_downtime_of_11_1_that_means_unknown)
{
    ck_assert_uint_eq(
        reply(QAPI_QUERY_MIGRATE, "{'return':{'expected-downtime':9223372036854775807}}")
            ->u.migrate.expected_downtime_ms,
        QAPI_UNKNOWN_U64);
}
END_TEST

START_TEST(blocked_and_broken_and_listening)
{
    const struct qapi_migrate *m =
        &reply(QAPI_QUERY_MIGRATE,
               "{'return':{'status':'failed','blocked-reasons':['nvme','other'],"
               "'error-desc':'Broken pipe','socket-address':[{'host':'::','port':'49200',"
               "'type':'inet'},{'host':'0.0.0.0','port':'1','type':'inet'}]}}")
             ->u.migrate;
    ck_assert(m->blocked);
    ck_assert_str_eq(m->blocked_reason, "nvme");
    ck_assert_str_eq(m->error_desc, "Broken pipe");
    ck_assert_str_eq(m->listen_host, "::");
    ck_assert_str_eq(m->listen_port, "49200");
    ck_assert(!m->has_ram);
    ck_assert(
        !reply(QAPI_QUERY_MIGRATE, "{'return':{'blocked-reasons':[]}}")->u.migrate.blocked);
}
END_TEST

START_TEST(bandwidth_before_the_first_window_is_unknown)
{
    static const char *const words[] = {"-1", "0", "0.0", "-1.0"};
    char text[128];
    (void)snprintf(text, sizeof(text), "{'return':{'ram':{'mbps':%s}}}", words[_i]);
    ck_assert_uint_eq(reply(QAPI_QUERY_MIGRATE, text)->u.migrate.bandwidth_bytes_per_s, 0);
}
END_TEST

START_TEST(unsigned_parameters_above_the_signed_range_are_whole)
{
    const struct qapi_params *p =
        &reply(QAPI_QUERY_PARAMS,
               "{'return':{'max-bandwidth':9223372036854775808,'downtime-limit':300,"
               "'tls-creds':''}}")
             ->u.params;
    ck_assert_uint_eq(p->value[QAPI_PARAM_MAX_BANDWIDTH], UINT64_C(1) << 63);
    ck_assert_uint_eq(p->value[QAPI_PARAM_DOWNTIME_LIMIT], 300);
    ck_assert_uint_eq(p->has,
                      1U << QAPI_PARAM_MAX_BANDWIDTH | 1U << QAPI_PARAM_DOWNTIME_LIMIT);
}
END_TEST

/* One that cannot be put back is as if it were not offered. */
START_TEST(a_method_of_compression_is_a_word)
{
    static const struct {
        const char *text;
        bool has;
        uint64_t is;
    } methods[] = {
        {"'none'", true, QAPI_COMPRESSION_NONE},
        {"'zlib'", true, QAPI_COMPRESSION_ZLIB},
        {"'zstd'", true, QAPI_COMPRESSION_ZSTD},
        {"'uadk'", true, QAPI_COMPRESSION_UADK},
        {"'lzma'", false, 0},
        {"2", false, 0},
        {"null", false, 0},
    };
    for (unsigned i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        char text[128];
        (void)snprintf(text, sizeof(text),
                       "{'return':{'multifd-compression':%s,'multifd-channels':2}}",
                       methods[i].text);
        const struct qapi_params *p = &reply(QAPI_QUERY_PARAMS, text)->u.params;
        ck_assert_uint_eq(p->value[QAPI_PARAM_MULTIFD_CHANNELS], 2);
        ck_assert_int_eq((p->has & 1U << QAPI_PARAM_MULTIFD_COMPRESSION) != 0,
                         methods[i].has);
        ck_assert_uint_eq(p->value[QAPI_PARAM_MULTIFD_COMPRESSION], methods[i].is);
    }
}
END_TEST

START_TEST(capabilities_offered_and_on)
{
    const struct qapi_caps *c =
        &reply(QAPI_QUERY_CAPS,
               "{'return':[{'capability':'events','state':true},"
               "{'capability':'multifd','state':false},{'capability':'new','state':true}]}")
             ->u.caps;
    ck_assert_uint_eq(c->offered, QAPI_CAP_BIT(EVENTS) | QAPI_CAP_BIT(MULTIFD));
    ck_assert_uint_eq(c->on, QAPI_CAP_BIT(EVENTS));
}
END_TEST

START_TEST(plain_facts)
{
    ck_assert_str_eq(reply(QAPI_QUERY_TARGET, "{'return':{'arch':'x86_64'}}")->u.text,
                     "x86_64");
    ck_assert_str_eq(reply(QAPI_QUERY_MACHINE, "{'return':'pc-q35-7.2-machine'}")->u.text,
                     "pc-q35-7.2");
    ck_assert_str_eq(reply(QAPI_QUERY_MACHINE, "{'return':'-machine'}")->u.text,
                     "-machine");
    ck_assert_str_eq(reply(QAPI_QUERY_CPU_TYPE, "{'return':'qemu64-x86_64-cpu'}")->u.text,
                     "qemu64-x86_64-cpu");
    ck_assert_str_eq(reply(QAPI_QUERY_UUID, "{'return':{'UUID':'1-2'}}")->u.text, "1-2");
    ck_assert_uint_eq(
        reply(QAPI_QUERY_MEMORY, "{'return':{'base-memory':128,'plugged-memory':64}}")
            ->u.memory_bytes,
        192);
    ck_assert_uint_eq(
        reply(QAPI_QUERY_MEMORY, "{'return':{'base-memory':128}}")->u.memory_bytes, 128);
    const struct qapi_reply *r =
        reply(QAPI_QUERY_CPUS, "{'return':[{'qom-path':'/a','cpu-index':0},"
                               "{'qom-path':'/b','cpu-index':1}]}");
    ck_assert_uint_eq(r->u.cpus.count, 2);
    ck_assert_str_eq(r->u.cpus.path, "/a");
}
END_TEST

START_TEST(pci_devices_behind_bridges_are_sorted_by_address)
{
    const struct qapi_pci *p =
        &reply(QAPI_QUERY_PCI,
               "{'return':[{'bus':0,'devices':["
               "{'bus':0,'slot':3,'function':0,'id':{'vendor':6900,'device':4096}},"
               "{'bus':0,'slot':1,'function':0,'id':{'vendor':1,'device':2,'subsystem':3},"
               "'pci_bridge':{'devices':[{'bus':1,'slot':0,'function':0,"
               "'id':{'vendor':5,'device':6}}]}},"
               "{'bus':0,'slot':1,'function':1,'id':{'vendor':7,'device':8}}]}]}")
             ->u.pci;
    ck_assert_uint_eq(p->count, 4);
    ck_assert_uint_eq(p->dev[0].vendor, 1);
    ck_assert_uint_eq(p->dev[0].subsystem, 3);
    ck_assert_uint_eq(p->dev[1].vendor, 7);
    ck_assert_uint_eq(p->dev[2].slot, 3);
    ck_assert_uint_eq(p->dev[3].bus, 1);
}
END_TEST

START_TEST(nvme_controllers_are_counted_and_found)
{
    ck_assert_uint_eq(reply(QAPI_QUERY_PCI,
                            "{'return':[{'bus':0,'devices':["
                            "{'bus':0,'slot':3,'function':0,'class_info':"
                            "{'class':264},'id':{'vendor':6966,'device':16}},"
                            "{'bus':0,'slot':4,'function':0,'class_info':"
                            "{'class':512},'id':{'vendor':1,'device':2}}]}]}")
                          ->u.pci.nvme,
                      1);
    const struct qapi_reply *r =
        reply(QAPI_QUERY_NVME, "{'return':[{'name':'type','type':'string'},"
                               "{'name':'n1','type':'child<nvme>'},"
                               "{'name':'rng','type':'child<virtio-rng-pci>'},"
                               "{'name':'device[0]','type':'child<nvme>'}]}");
    ck_assert_uint_eq(r->u.nvme.count, 2);
    ck_assert_str_eq(r->u.nvme.name[0], "n1");
    ck_assert_str_eq(r->u.nvme.name[1], "device[0]");
    ck_assert_str_eq(reply(QAPI_QUERY_DRIVE, "{'return':''}")->u.text, "");
    ck_assert_str_eq(reply(QAPI_QUERY_DRIVE, "{'return':'d0'}")->u.text, "d0");
}
END_TEST

START_TEST(more_pci_devices_than_fit_are_counted)
{
    f.json = json_pack("{s:[{s:[]}]}", "return", "devices");
    json_t *devices =
        json_object_get(json_array_get(json_object_get(f.json, "return"), 0), "devices");
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(json_array_append_new(devices, json_pack("{s:i}", "slot", i)), 0);
    qapi_decode_reply(QAPI_QUERY_PCI, f.json, &f.r);
    ck_assert_uint_eq(f.r.u.pci.count, 100);
    ck_assert_uint_eq(f.r.u.pci.dev[QAPI_PCI_MAX - 1].slot, QAPI_PCI_MAX - 1);
}
END_TEST

START_TEST(dirty_rate_only_once_it_is_measured)
{
    const struct qapi_reply *r =
        reply(QAPI_QUERY_DIRTY_RATE,
              "{'return':{'status':'measuring','sample-pages':4096,'mode':'page-sampling',"
              "'start-time':1,'calc-time':1}}");
    ck_assert(!r->u.dirty.measured);
    r = reply(QAPI_QUERY_DIRTY_RATE,
              "{'return':{'status':'measured','sample-pages':4096,'dirty-rate':65,"
              "'mode':'page-sampling','start-time':13515,'calc-time':1}}");
    ck_assert(r->u.dirty.measured);
    ck_assert_uint_eq(r->u.dirty.bytes_per_s, 65 * QF_MIB);
}
END_TEST

START_TEST(yank_instance_of_the_migration)
{
    ck_assert(!reply(QAPI_QUERY_YANK, "{'return':[{'type':'chardev','id':'m'}]}")
                   ->u.yank_migration);
    ck_assert(reply(QAPI_QUERY_YANK,
                    "{'return':[{'type':'chardev','id':'m'},{'type':'migration'}]}")
                  ->u.yank_migration);
}
END_TEST

/* ---- greeting and events ---- */

START_TEST(greeting_names_the_version)
{
    struct qapi_version v;
    f.json = parse("{'version':{'qemu':{'micro':22,'minor':2,'major':7},"
                   "'package':'Debian'},'capabilities':['oob']}");
    ck_assert(qapi_decode_greeting(f.json, &v));
    ck_assert_uint_eq(v.major, 7);
    ck_assert_uint_eq(v.minor, 2);
    ck_assert_uint_eq(v.micro, 22);
    ck_assert_str_eq(v.package, "Debian");
    json_decref(f.json);
    f.json = parse("{'version':{'name':'qferryd'},'capabilities':[]}");
    ck_assert(!qapi_decode_greeting(f.json, &v));
}
END_TEST

static const struct {
    const char *text;
    struct qapi_event event;
} events[] = {
    {"{'event':'STOP'}", {.kind = QAPI_EVENT_STOP}},
    {"{'event':'RESUME'}", {.kind = QAPI_EVENT_RESUME}},
    {"{'event':'MIGRATION_PASS','data':{'pass':3}}",
     {.kind = QAPI_EVENT_MIGRATION_PASS, .pass = 3}},
    {"{'event':'SHUTDOWN','data':{'guest':true,'reason':'guest-shutdown'}}",
     {.kind = QAPI_EVENT_SHUTDOWN, .guest = true, .reason = "guest-shutdown"}},
    {"{'event':'RESET','data':{'guest':false,'reason':'host-qmp-system-reset'}}",
     {.kind = QAPI_EVENT_RESET, .reason = "host-qmp-system-reset"}},
    {"{'event':'SUSPEND'}", {.kind = QAPI_EVENT_SUSPEND}},
    {"{'event':'SUSPEND_DISK'}", {.kind = QAPI_EVENT_SUSPEND_DISK}},
    {"{'event':'WAKEUP'}", {.kind = QAPI_EVENT_WAKEUP}},
    {"{'event':'DEVICE_DELETED','data':{'path':'/machine/peripheral/nic/virtio-backend'}}",
     {.kind = QAPI_EVENT_DEVICE_DELETED, .reason = "nic"}},
    {"{'event':'DEVICE_DELETED','data':{'device':'nic','path':'/machine/peripheral/nic'}}",
     {.kind = QAPI_EVENT_DEVICE_DELETED, .reason = "nic"}},
    {"{'event':'DEVICE_DELETED','data':{'path':'/machine/peripheral-anon/device[1]'}}",
     {.kind = QAPI_EVENT_DEVICE_DELETED, .reason = "/machine/peripheral-anon/device[1]"}},
    {"{'event':'GUEST_PANICKED','data':{'action':'pause'}}",
     {.kind = QAPI_EVENT_GUEST_PANICKED}},
    {"{'event':'BLOCK_IO_ERROR','data':{}}", {.kind = QAPI_EVENT_BLOCK_IO_ERROR}},
    {"{'event':'RTC_CHANGE','data':{'offset':1}}", {.kind = QAPI_EVENT_OTHER}},
};
enum { N_EVENTS = sizeof(events) / sizeof(events[0]) };

START_TEST(event_is_read)
{
    f.json = parse(events[_i].text);
    qapi_decode_event(f.json, &f.e);
    ck_assert_int_eq(f.e.kind, events[_i].event.kind);
    ck_assert_uint_eq(f.e.pass, events[_i].event.pass);
    ck_assert_int_eq(f.e.guest, events[_i].event.guest);
    ck_assert_str_eq(f.e.reason, events[_i].event.reason);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("qapi");
    TCase *t = tcase_create("qapi");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_loop_test(t, command_is_written_as_qemu_reads_it, 0, N_COMMANDS);
    tcase_add_test(t, what_frees_a_hanging_qemu_goes_out_of_band);
    tcase_add_loop_test(t, every_run_state_is_read, 0,
                        (int)(sizeof(run_names) / sizeof(run_names[0])));
    tcase_add_loop_test(t, every_migration_status_is_read_in_reply_and_event, 0,
                        (int)(sizeof(status_names) / sizeof(status_names[0])));
    tcase_add_test(t, unknown_words_are_unknown_and_never_an_error);
    tcase_add_loop_test(t, answers_of_another_shape_are_survived, 0, 12);
    tcase_add_test(t, refusal_keeps_class_and_text);
    tcase_add_test(t, migration_of_7_2_in_full);
    tcase_add_test(t, expected_downtime_of_11_1_that_means_unknown);
    tcase_add_test(t, blocked_and_broken_and_listening);
    tcase_add_loop_test(t, bandwidth_before_the_first_window_is_unknown, 0, 4);
    tcase_add_test(t, unsigned_parameters_above_the_signed_range_are_whole);
    tcase_add_test(t, a_method_of_compression_is_a_word);
    tcase_add_test(t, capabilities_offered_and_on);
    tcase_add_test(t, plain_facts);
    tcase_add_test(t, pci_devices_behind_bridges_are_sorted_by_address);
    tcase_add_test(t, nvme_controllers_are_counted_and_found);
    tcase_add_test(t, more_pci_devices_than_fit_are_counted);
    tcase_add_test(t, dirty_rate_only_once_it_is_measured);
    tcase_add_test(t, yank_instance_of_the_migration);
    tcase_add_test(t, greeting_names_the_version);
    tcase_add_loop_test(t, event_is_read, 0, N_EVENTS);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *r = srunner_create(suite());
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* What preflight refuses, and what it lets pass: one line of check and result each. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "setups.h"
#include "sim.h"

static struct fixture {
    struct sim sim;
    struct qf_buf text;
    struct sim_setup u;
} f;

static void setup(void)
{
    qf_buf_init(&f.text, 1 << 20);
}

static void teardown(void)
{
    qf_buf_fini(&f.text);
}

static struct model_machine *src(void)
{
    return &f.u.model.machine[MODEL_SRC];
}

static struct model_machine *dst(void)
{
    return &f.u.model.machine[MODEL_DST];
}

static void waive(const char *check)
{
    const int c = spec_check_waivable(check);
    ck_assert_int_ge(c, 0);
    f.u.spec.unsafe |= 1U << (unsigned)c;
}

static void state_paused_by_io(void)
{
    f.u.model.run = QAPI_RUN_IO_ERROR;
}

static void state_internal_error(void)
{
    f.u.model.run = QAPI_RUN_INTERNAL_ERROR;
}

static void state_postmigrate(void)
{
    f.u.model.run = QAPI_RUN_POSTMIGRATE;
}

static void exchanged(void)
{
    f.u.model.run = QAPI_RUN_INMIGRATE;
}

static void destination_runs(void)
{
    f.u.model.dst_run = QAPI_RUN_RUNNING;
}

static void destination_listens(void)
{
    f.u.model.dst_listens = true;
}

static void destination_listens_elsewhere(void)
{
    destination_listens();
    (void)snprintf(f.u.spec.address, sizeof(f.u.spec.address), "192.0.2.8");
}

static void destination_listens_on_another_port(void)
{
    destination_listens();
    f.u.spec.port_first = f.u.spec.port_last = 49300;
}

static void destination_listens_channels_asked(void)
{
    destination_listens();
    f.u.spec.channels_said = true;
    f.u.spec.channels = 2;
}

static void destination_listens_channels_preferred(void)
{
    destination_listens();
    f.u.set[0] = "channels=2";
}

static void destination_listens_for_channels(void)
{
    destination_listens();
    dst()->caps_on = QAPI_CAP_BIT(MULTIFD);
}

static void blocked(void)
{
    src()->blocked = "State blocked by non-migratable device '0000:00:02.0/nvme'";
}

static void no_return_path(void)
{
    src()->caps_missing = QAPI_CAP_BIT(RETURN_PATH);
}

static void no_events(void)
{
    dst()->caps_missing = QAPI_CAP_BIT(EVENTS);
}

static void architecture(void)
{
    dst()->arch = "aarch64";
}

static void machine_type(void)
{
    dst()->type = "pc-i440fx-10.0";
}

static void memory(void)
{
    dst()->ram_bytes = 512 * QF_MIB;
}

static void cpus(void)
{
    dst()->cpus = 4;
}

static void cpu_type(void)
{
    dst()->cpu_type = "max-x86_64-cpu";
}

static void uuid(void)
{
    dst()->uuid = "99999999-2222-3333-4444-555555555555";
}

static void pci_missing(void)
{
    const struct qapi_pci_dev d[] = {{0, 0, 0, 0x8086, 0x1237, 0x1af41100},
                                     {0, 1, 0, 0x8086, 0x7000, 0x1af41100}};
    dst()->n_pci = 2;
    memcpy(dst()->pci, d, sizeof(d));
}

static void pci_extra(void)
{
    const struct qapi_pci_dev d[] = {{0, 0, 0, 0x8086, 0x1237, 0x1af41100},
                                     {0, 1, 0, 0x8086, 0x7000, 0x1af41100},
                                     {0, 3, 0, 0x1af4, 0x1000, 0x1af40001},
                                     {0, 4, 0, 0x1af4, 0x1001, 0x1af40002}};
    dst()->n_pci = 4;
    memcpy(dst()->pci, d, sizeof(d));
}

static void pci_other(void)
{
    const struct qapi_pci_dev d[] = {{0, 0, 0, 0x8086, 0x1237, 0x1af41100},
                                     {0, 1, 0, 0x8086, 0x7000, 0x1af41100},
                                     {0, 3, 0, 0x8086, 0x100e, 0x1af41100}};
    dst()->n_pci = 3;
    memcpy(dst()->pci, d, sizeof(d));
}

static void several(void)
{
    cpus();
    uuid();
    blocked();
}

static void waived_cpu_type(void)
{
    cpu_type();
    waive("cpu-type");
}

static void waived_uuid(void)
{
    uuid();
    waive("uuid");
}

static void waived_machine_type(void)
{
    machine_type();
    waive("machine-type");
}

static void no_postcopy(void)
{
    f.u.policy = "post-copy";
    dst()->caps_missing = QAPI_CAP_BIT(POSTCOPY_RAM);
}

static void no_memory_query(void)
{
    dst()->no_command = "query-memory-size-summary";
}

static void not_qemu(void)
{
    src()->not_qemu = true;
}

static void monitor_busy(void)
{
    dst()->busy = true;
}

static void source_absent(void)
{
    src()->dead = true;
}

static void destination_absent(void)
{
    dst()->dead = true;
}

static void storage_daemon(void)
{
    dst()->no_command = "query-status";
}

static void destination_hangs(void)
{
    f.u.model.fault[f.u.model.n_faults++] = (struct model_fault){.when = MODEL_AT_COMMAND,
                                                                 .what = MODEL_DELAY,
                                                                 .side = MODEL_DST,
                                                                 .for_ns = 100 * MODEL_S};
}

static const struct {
    const char *name;
    void (*prepare)(void);
    int status;
} cases[] = {
    {"stopped by an I/O error", state_paused_by_io, 0},
    {"internal error", state_internal_error, 3},
    {"postmigrate", state_postmigrate, 3},
    {"source and destination exchanged", exchanged, 3},
    {"destination runs", destination_runs, 3},
    {"destination listens", destination_listens, 0},
    {"destination listens elsewhere", destination_listens_elsewhere, 3},
    {"destination listens on another port", destination_listens_on_another_port, 3},
    {"destination listens, channels asked for", destination_listens_channels_asked, 3},
    {"destination listens, channels preferred", destination_listens_channels_preferred, 0},
    {"destination listens for channels", destination_listens_for_channels, 3},
    {"blocked", blocked, 3},
    {"no return-path", no_return_path, 3},
    {"no events", no_events, 3},
    {"architecture", architecture, 3},
    {"machine type", machine_type, 3},
    {"memory", memory, 3},
    {"cpus", cpus, 3},
    {"cpu type", cpu_type, 3},
    {"uuid", uuid, 3},
    {"pci: one missing", pci_missing, 3},
    {"pci: one more", pci_extra, 3},
    {"pci: another card", pci_other, 3},
    {"several at once", several, 3},
    {"cpu type, waived", waived_cpu_type, 0},
    {"uuid, waived", waived_uuid, 0},
    {"machine type, waived: QEMU refuses", waived_machine_type, 4},
    {"no post-copy on the destination", no_postcopy, 0},
    {"memory not told", no_memory_query, 3},
    {"not a QEMU", not_qemu, 6},
    {"another client on the monitor", monitor_busy, 6},
    {"no source", source_absent, 6},
    {"no destination", destination_absent, 6},
    {"a storage daemon", storage_daemon, 6},
    {"destination hangs", destination_hangs, 6},
};
enum { N_CASES = sizeof(cases) / sizeof(cases[0]) };

/* Lines of the trace that matter here. */
static void put_lines(const char *trace)
{
    for (const char *line = trace; *line != '\0'; line = strchr(line, '\n') + 1) {
        const size_t n = strcspn(line, "\n") + 1;
        if (n > 12 &&
            (memcmp(line + 10, "check", 5) == 0 || memcmp(line + 10, "= ", 2) == 0 ||
             memcmp(line + 10, "warning", 7) == 0))
            ck_assert_int_eq(qf_buf_append(&f.text, line, n, NULL), 0);
    }
}

static void put(const char *text)
{
    ck_assert_int_eq(qf_buf_append(&f.text, text, strlen(text), NULL), 0);
}

START_TEST(each_check)
{
    for (unsigned i = 0; i < N_CASES; i++) {
        f.u = sim_usual();
        cases[i].prepare();
        sim_run(&f.sim, &f.u);
        put("== ");
        put(cases[i].name);
        put(" ==\n");
        put_lines(sim_trace(&f.sim));
        put("\n");
        ck_assert_msg(*sim_complaint(&f.sim) == '\0', "%s: %s\n%s", cases[i].name,
                      sim_complaint(&f.sim), sim_trace(&f.sim));
        ck_assert_msg(qf_code_status(f.sim.result.code) == cases[i].status, "%s: exit %d",
                      cases[i].name, qf_code_status(f.sim.result.code));
        /* Refused means untouched. */
        if (cases[i].status == 3 || cases[i].status == 6)
            ck_assert_msg(f.sim.n_sent == 0, "%s: a command was sent", cases[i].name);
        sim_free(&f.sim);
    }
    ck_assert_int_eq(qf_buf_append(&f.text, "", 1, NULL), 0);
    sim_golden("refusals", f.text.data);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("refusals");
    TCase *t = tcase_create("refusals");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, each_check);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return sim_main(suite());
}

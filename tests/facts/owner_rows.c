#include "tests/facts/owner_rows.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "qmp/qapi_json.h"

enum {
    ROWS_MAX = 96,
    PROOFS_MAX = 12,
    PROOF_TEXT = 160,
    DST_HANGS_MS = 3000,
    PAUSED_MS = 20000
};

struct rows rows;

/* Of all tests, each of which may be a process of its own. */
static struct proofs {
    int version; /* major * 100 + minor, of the source */
    struct {
        unsigned n_expected;
        unsigned n_proofs;
        char proof[PROOFS_MAX][PROOF_TEXT];
    } row[ROWS_MAX];
} * proofs;

/* Rows that no test makes on these versions: from one, to before another. */
static const struct {
    const char *why; /* as in the table */
    int from;
    int before;
    const char *reason;
} unmade[] = {
    {"the source runs again, although the guest was handed over to the destination", 0, 800,
     "7.2 waits for the last word for ever"},
    {"the destination has the guest; the source was not told, and stands still", 0, 800,
     "7.2 waits for the last word for ever"},
    {"the source has sent all memory, and failed at the last word; the destination takes the "
     "rest in",
     0, 800, "7.2 waits for the last word for ever"},
    {"the source has failed at the last word, and the destination has not got all memory: "
     "it is lost when it needs the rest; the source holds it, stopped, as it was at the switch",
     0, 800, "7.2 waits for the last word for ever"},
    {"the source has the guest back but left it stopped", 800, 9999,
     "from 8.x on a source restores the run state from before the move"},
    {"the source has the guest back but left it stopped; the destination must be gone "
     "first",
     800, 9999, "from 8.x on a source restores the run state from before the move"},
    {"the source is taking its guest back", 1000, 1002,
     "10.0 is back before it can be asked, also from a connection that is not made"},
    {"post-copy is beginning, nobody runs", 0, 1000,
     "7.2 goes from pre-switchover to postcopy-active at once"},
    {"post-copy is beginning, the source waits for the destination's word, nobody runs", 0,
     1002, "there is no postcopy-device"},
    {"post-copy is beginning, nobody runs; the destination does not answer", 0, 1002,
     "there is no postcopy-device"},
    {"post-copy is beginning, nobody runs", 1000, 9999,
     "10.0 says `device` only until the package is written; the destination has it after that"},
    {"the device state is on its way to the destination", 1002, 9999,
     "from 10.2 on the source says postcopy-active when the destination has it"},
    {"all memory was sent, the destination takes the last of it in", 0, 9999,
     "a destination answers nothing while it loads the package: it says post-copy and "
     "inmigrate for no time that a monitor could hit"},
};

/* ---- of a test ---- */

void rows_setup(void)
{
    memset(&rows, 0, sizeof(rows));
    world_open(&rows.w);
}

void rows_teardown(void)
{
    relay_close();
    world_close(&rows.w);
}

static int version_of(const struct lab_vm *vm)
{
    static const int known[][2] = {{11, 2}, {11, 1}, {11, 0}, {10, 2}, {10, 1},
                                   {10, 0}, {9, 0},  {8, 2},  {8, 0},  {7, 2}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (lab_vm_is(vm, known[i][0], known[i][1]))
            return known[i][0] * 100 + known[i][1];
    return 0;
}

bool rows_is(int major, int minor)
{
    return lab_vm_is(rows.w.src, major, minor);
}

static const char *reach_text(const struct owner_side *s, char text[64])
{
    static const char *const reach[] = {[OWNER_ANSWERS] = "",
                                        [OWNER_SILENT] = "silent, last ",
                                        [OWNER_DEAD] = "dead, last "};
    (void)snprintf(text, 64, "%s%s/%s", reach[s->reach], qapi_run_name(s->run),
                   qapi_mig_name(s->status));
    return text;
}

static void say(const char *text)
{
    const int v = version_of(rows.w.src);
    printf("%d.%d: %s\n", v / 100, v % 100, text);
    (void)fflush(stdout);
}

bool rows_skip(const char *format, ...)
{
    char text[PROOF_TEXT] = "not here: ";
    const size_t n = strlen(text);
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(text + n, sizeof(text) - n, format, ap);
    va_end(ap);
    say(text);
    return true;
}

void rows_proved(const char *format, ...)
{
    char src[64];
    char dst[64];
    char text[PROOF_TEXT];
    char line[2 * PROOF_TEXT + 64];
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    (void)snprintf(line, sizeof(line), "row %u: %s || %s: %s", rows.row,
                   reach_text(&rows.f.src, src), reach_text(&rows.f.dst, dst), text);
    say(line);
    unsigned *n = &proofs->row[rows.row].n_proofs;
    if (*n < PROOFS_MAX)
        (void)snprintf(proofs->row[rows.row].proof[*n], PROOF_TEXT, "%.60s || %.60s", src,
                       dst);
    *n += *n < PROOFS_MAX;
}

/* ---- both sides, as the engine reads them ---- */

static bool read_one(struct lab_vm *vm,
                     enum qapi_command command,
                     int ms,
                     struct qapi_reply *reply)
{
    char why[256];
    json_t *answer =
        lab_qmp_try(vm, qapi_command_name(command), NULL, ms, why, sizeof(why));
    if (!answer)
        return false;
    json_t *whole = json_pack("{s:o}", "return", answer);
    ck_assert_ptr_nonnull(whole);
    qapi_decode_reply(command, whole, reply);
    json_decref(whole);
    return true;
}

static void read_side(struct lab_vm *vm, bool mute, int ms, struct owner_side *s)
{
    struct qapi_reply status;
    struct qapi_reply migrate;
    s->reach = OWNER_DEAD;
    if (!lab_vm_alive(vm))
        return;
    s->reach = OWNER_SILENT;
    if (!read_one(vm, QAPI_QUERY_STATUS, mute ? ROWS_SILENT_MS : ms, &status) ||
        !read_one(vm, QAPI_QUERY_MIGRATE, mute ? ROWS_SILENT_MS : ms, &migrate)) {
        if (!lab_vm_alive(vm))
            s->reach = OWNER_DEAD;
        return;
    }
    *s = (struct owner_side){
        .reach = OWNER_ANSWERS, .run = status.u.run, .status = migrate.u.migrate.status};
}

struct owner_view rows_look(void)
{
    struct owner_view v;
    if (!rows.src_kept)
        read_side(rows.w.src, rows.src_mute, 0, &rows.f.src);
    if (!rows.dst_kept)
        read_side(rows.w.dst, rows.dst_mute, rows.postcopy ? DST_HANGS_MS : 0, &rows.f.dst);
    owner_of(&rows.f, &v);
    return v;
}

void rows_expect(enum owner_of owner, enum owner_stage stage, unsigned may, const char *why)
{
    char src[64];
    char dst[64];
    const struct owner_view v = rows_look();
    if (v.owner != owner || v.stage != stage || v.may != may || strcmp(v.why, why) != 0) {
        lab_vm_dump(rows.w.src);
        lab_vm_dump(rows.w.dst);
        ck_abort_msg("%s || %s: row %u: owner %d stage %d may %x: %s\nexpected owner %d "
                     "stage %d may %x: %s",
                     reach_text(&rows.f.src, src), reach_text(&rows.f.dst, dst), v.row,
                     (int)v.owner, (int)v.stage, v.may, v.why, (int)owner, (int)stage, may,
                     why);
    }
    ck_assert_uint_lt(v.row, ROWS_MAX);
    rows.row = v.row;
    proofs->row[v.row].n_expected++;
    proofs->version = version_of(rows.w.src);
}

/* ---- machines ---- */

static void take(struct lab_vm *vm, const char *capability)
{
    ck_assert_int_eq(
        lab_qmp_ok(vm, "migrate-set-capabilities",
                   "{\"capabilities\": [{\"capability\": \"%s\", \"state\": true}]}",
                   capability),
        0);
}

static void configure_dst(void)
{
    take(rows.w.dst, "events");
    if (rows.postcopy)
        take(rows.w.dst, "postcopy-ram");
}

void rows_pair_with(const char *append,
                    const char *const *src_extra,
                    const char *const *dst_extra)
{
    struct world *w = &rows.w;
    w->src = world_vm(w, &(struct lab_vm_opts){.append = append, .extra = src_extra});
    w->dst = world_vm(w, &(struct lab_vm_opts){.append = append,
                                               .incoming = true,
                                               .paused = !rows.self_start,
                                               .extra = dst_extra});
    ck_assert_int_eq(lab_guest_ready(w->src), 0);
    take(w->src, "events");
    take(w->src, "pause-before-switchover");
    if (!rows.no_return_path)
        take(w->src, "return-path");
    if (rows.postcopy)
        take(w->src, "postcopy-ram");
    configure_dst();
}

void rows_pair(const char *append)
{
    rows_pair_with(append, NULL, NULL);
}

void rows_other_destination(void)
{
    rows.w.dst = world_vm(&rows.w, &(struct lab_vm_opts){.incoming = true, .paused = true});
    rows.dst_mute = false;
    memset(&rows.f.dst, 0, sizeof(rows.f.dst));
    configure_dst();
}

static bool *mute_of(const struct lab_vm *vm)
{
    return vm == rows.w.src ? &rows.src_mute : &rows.dst_mute;
}

void rows_freeze(struct lab_vm *vm)
{
    (void)rows_look(); /* what it said last */
    ck_assert_int_eq(lab_vm_kill(vm, SIGSTOP), 0);
    *mute_of(vm) = true;
}

void rows_thaw(struct lab_vm *vm)
{
    ck_assert_int_eq(lab_vm_kill(vm, SIGCONT), 0);
    *mute_of(vm) = false;
}

void rows_kill(struct lab_vm *vm)
{
    ck_assert_int_eq(lab_vm_kill(vm, SIGKILL), 0);
    ck_assert_int_eq(lab_vm_wait_exit(vm, 0, NULL), 0);
    *mute_of(vm) = false;
}

void rows_quit(struct lab_vm *vm)
{
    rows_qmp(vm, "quit");
    ck_assert_int_eq(lab_vm_wait_exit(vm, 0, NULL), 0);
}

void rows_wait_dst_failed(void)
{
    if (lab_vm_is(rows.w.dst, 9, 1))
        rows_wait(rows.w.dst, "failed");
    else
        ck_assert_int_eq(lab_vm_wait_exit(rows.w.dst, 0, NULL), 0);
}

/* ---- commands ---- */

void rows_qmp(struct lab_vm *vm, const char *command)
{
    json_t *answer = lab_qmp(vm, command, NULL);
    ck_assert_msg(answer, "%s: %s was refused", lab_vm_name(vm), command);
    json_decref(answer);
}

void rows_oob(struct lab_vm *vm, const char *command)
{
    json_t *answer = lab_qmp_oob(vm, command, NULL);
    ck_assert_msg(answer, "%s: %s was refused", lab_vm_name(vm), command);
    json_decref(answer);
}

bool rows_taken(struct lab_vm *vm, const char *command, char why[256])
{
    char text[256] = "";
    json_t *answer = lab_qmp_try(vm, command, NULL, 0, text, sizeof(text));
    const bool taken = answer != NULL;
    json_decref(answer);
    if (why)
        memcpy(why, text, sizeof(text));
    return taken;
}

void rows_wait(struct lab_vm *vm, const char *status)
{
    if (lab_wait_mig_status(vm, status, 0) == 0)
        return;
    lab_vm_dump(rows.w.src);
    lab_vm_dump(rows.w.dst);
    ck_abort_msg("%s does not say %s", lab_vm_name(vm), status);
}

static uint16_t listen_at_dst(void)
{
    const char *port = NULL;
    ck_assert_int_eq(lab_qmp_ok(rows.w.dst, "migrate-incoming",
                                lab_vm_is(rows.w.dst, 9, 1)
                                    ? "{\"uri\": \"tcp:127.0.0.1:0\", "
                                      "\"exit-on-error\": false}"
                                    : "{\"uri\": \"tcp:127.0.0.1:0\"}"),
                     0);
    json_t *q = lab_qmp(rows.w.dst, "query-migrate", NULL);
    ck_assert_int_eq(json_unpack(q, "{s:[{s:s}]}", "socket-address", "port", &port), 0);
    const uint16_t number = (uint16_t)atoi(port);
    json_decref(q);
    return number;
}

static void migrate_through_relay(uint16_t target)
{
    (void)snprintf(rows.uri, sizeof(rows.uri), "tcp:127.0.0.1:%u",
                   (unsigned)relay_open(target));
    ck_assert_int_eq(lab_qmp_ok(rows.w.src, "migrate-set-parameters",
                                "{\"max-bandwidth\": %u, \"downtime-limit\": 300, "
                                "\"max-postcopy-bandwidth\": %u}",
                                rows.postcopy ? 40U << 20 : 4U << 20, 1U << 20),
                     0);
    ck_assert_int_eq(lab_qmp_ok(rows.w.src, "migrate", "{\"uri\": \"%s\"}", rows.uri), 0);
    rows_wait(rows.w.src, "active");
}

void rows_migrate(void)
{
    migrate_through_relay(listen_at_dst());
    rows_wait(rows.w.dst, "active");
}

void rows_migrate_to_nobody(void)
{
    (void)listen_at_dst();
    migrate_through_relay(0);
}

void rows_to_switch(void)
{
    if (rows.postcopy) {
        /* 11.1 loses writes of a guest that goes earlier (facts.c) */
        while (relay_sent() < 12U << 20)
            lab_pump(rows.w.lab, 20);
        rows.f.src_was_stopped = rows.stop_first;
        if (rows.stop_first)
            rows_qmp(rows.w.src, "stop");
        rows_qmp(rows.w.src, "migrate-start-postcopy");
    } else {
        ck_assert_int_eq(lab_qmp_ok(rows.w.src, "migrate-set-parameters",
                                    "{\"max-bandwidth\": 0, \"downtime-limit\": 1000000}"),
                         0);
    }
    rows_wait(rows.w.src, "pre-switchover");
}

/* False: no answer. */
static bool is_continued(int ms)
{
    char why[256];
    json_t *answer = lab_qmp_try(rows.w.src, "migrate-continue",
                                 "{\"state\": \"pre-switchover\"}", ms, why, sizeof(why));
    const bool is = answer != NULL;
    json_decref(answer);
    rows.f.continued = true;
    rows.f.self_start = rows.self_start;
    return is;
}

void rows_continue(void)
{
    ck_assert(is_continued(LAB_WAIT_MS));
}

void rows_continue_unheard(void)
{
    enum { ANSWER_MS = 2000 };
    (void)is_continued(ANSWER_MS);
}

void rows_wait_quiet(void)
{
    uint64_t before;
    do {
        before = relay_sent();
        lab_pump(rows.w.lab, 250);
    } while (relay_sent() != before);
}

/* In `device` 10.0 may call a cancel failed: it notices first that its connection is gone. */
void rows_cancel_any(void)
{
    char status[LAB_STATE_MAX];
    const int64_t until_ns = lab_now_ns() + LAB_WAIT_MS * INT64_C(1000000);
    rows_qmp(rows.w.src, "migrate_cancel");
    do {
        lab_pump(rows.w.lab, 10);
        ck_assert_int_eq(lab_mig_status(rows.w.src, status), 0);
        ck_assert_msg(lab_now_ns() < until_ns, "not cancelled: %s", status);
    } while (strcmp(status, "cancelled") != 0 && strcmp(status, "failed") != 0);
}

void rows_cancel(void)
{
    rows_cancel_any();
    ck_assert_int_eq(lab_wait_run_state(rows.w.src, "running", 0), 0);
}

void rows_send_yank(void)
{
    json_t *answer =
        lab_qmp_oob(rows.w.src, "yank", "{\"instances\": [{\"type\": \"migration\"}]}");
    ck_assert_ptr_nonnull(answer);
    json_decref(answer);
}

void rows_yank(void)
{
    rows_send_yank();
    rows_wait(rows.w.src, "failed");
    ck_assert_int_eq(lab_wait_run_state(rows.w.src, "running", 0), 0);
}

void rows_cancel_or_yank(int i)
{
    if (i % 2 == 0)
        rows_cancel();
    else
        rows_yank();
}

/* ---- what must be true ---- */

void rows_only_on(struct lab_vm *vm)
{
    expect_guest_on(&rows.w, vm);
}

int rows_running(void)
{
    return lab_running_count(rows.w.lab);
}

void rows_run_state(struct lab_vm *vm, const char *want)
{
    char state[LAB_STATE_MAX];
    ck_assert_int_eq(lab_run_state(vm, state), 0);
    ck_assert_str_eq(state, want);
}

bool rows_runs(struct lab_vm *vm)
{
    char state[LAB_STATE_MAX];
    ck_assert_int_eq(lab_run_state(vm, state), 0);
    return strcmp(state, "running") == 0;
}

void rows_cannot_run(struct lab_vm *vm)
{
    if (!lab_vm_alive(vm))
        return;
    (void)rows_taken(vm, "cont", NULL);
    lab_pump(rows.w.lab, 100);
    ck_assert(!lab_vm_alive(vm) || !rows_runs(vm));
}

/* ---- post-copy ---- */

void rows_to_postcopy(void)
{
    rows.postcopy = true;
    rows_pair(ROWS_BUSY);
    rows_migrate();
    rows_to_switch();
    rows_continue();
    rows_wait(rows.w.src, "postcopy-active");
    ck_assert_int_eq(lab_wait_run_state(rows.w.dst, "paused", 0), 0);
}

void rows_let_loose(void)
{
    ck_assert_int_eq(
        lab_qmp_ok(rows.w.src, "migrate-set-parameters", "{\"max-postcopy-bandwidth\": 0}"),
        0);
}

void rows_wait_src_done(void)
{
    rows_wait(rows.w.src, "completed");
    ck_assert_int_eq(lab_wait_run_state(rows.w.src, "postmigrate", 0), 0);
}

void rows_hand_over(void)
{
    rows_qmp(rows.w.dst, "cont");
    rows.f.handed_over = rows.f.cont_sent = true;
}

void rows_to_running_postcopy(void)
{
    rows_to_postcopy();
    rows_hand_over();
}

void rows_expect_ready(void)
{
    rows_expect(OWNER_DST, STAGE_POSTCOPY, MAY_CONT_DST | MAY_BREAK,
                "the destination has the device state and waits to be continued");
}

void rows_expect_split(void)
{
    rows_expect(OWNER_DST, STAGE_POSTCOPY, MAY_CONT_DST | MAY_BREAK,
                "memory is split between both sides, the guest was handed over");
}

void rows_complete(void)
{
    rows_let_loose();
    rows_wait_src_done();
    rows_wait(rows.w.dst, "completed");
}

void rows_src_stays_down(void)
{
    char why[256];
    ck_assert(!rows_taken(rows.w.src, "cont", why) || !rows_runs(rows.w.src));
    ck_assert(!rows_runs(rows.w.src));
}

void rows_wait_paused(struct lab_vm *vm)
{
    if (lab_wait_event(vm, "MIGRATION", "status", "postcopy-paused", PAUSED_MS) == 0)
        return;
    lab_vm_dump(rows.w.src);
    lab_vm_dump(rows.w.dst);
    ck_abort_msg("%s is not interrupted", lab_vm_name(vm));
}

void rows_break(unsigned ends)
{
    relay_cut(ends);
    if (ends & TO_SRC)
        rows_wait_paused(rows.w.src);
    if (ends & TO_DST)
        rows_wait_paused(rows.w.dst);
}

void rows_recover(void)
{
    enum { SETTLE_MS = 300 }; /* phase_recover.c: before 8.2 a source can crash otherwise */
    char args[96];
    const uint16_t port = relay_free_port();
    lab_pump(rows.w.lab, SETTLE_MS);
    (void)snprintf(args, sizeof(args), "{\"uri\": \"tcp:127.0.0.1:%u\"}", (unsigned)port);
    json_t *answer = lab_qmp_oob(rows.w.dst, "migrate-recover", args);
    ck_assert_ptr_nonnull(answer);
    json_decref(answer);
    relay_cut(BOTH_WAYS);
    relay_let(BOTH_WAYS);
    relay_aim(port);
    lab_events_mark(rows.w.src);
    ck_assert_int_eq(
        lab_qmp_ok(rows.w.src, "migrate", "{\"uri\": \"%s\", \"resume\": true}", rows.uri),
        0);
    ck_assert_int_eq(
        lab_wait_event(rows.w.src, "MIGRATION", "status", "postcopy-active", 0), 0);
    rows_let_loose();
    rows_wait_src_done();
    rows_wait(rows.w.dst, "completed");
    rows_only_on(rows.w.dst);
}

TCase *rows_begin_case(Suite *s, const char *name)
{
    TCase *t = tcase_create(name);
    tcase_add_checked_fixture(t, rows_setup, rows_teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    suite_add_tcase(s, t);
    return t;
}

/* ---- main ---- */

static const char *reason_of(unsigned row)
{
    for (size_t i = 0; i < sizeof(unmade) / sizeof(unmade[0]); i++)
        if (strcmp(owner_row_why(row), unmade[i].why) == 0 &&
            proofs->version >= unmade[i].from && proofs->version < unmade[i].before)
            return unmade[i].reason;
    return NULL;
}

/* Rows without a proof, and without a reason why they have none. */
static unsigned report(void)
{
    unsigned missing = 0;
    printf("\nThe table of engine/owner.c on %d.%d, row by row:\n", proofs->version / 100,
           proofs->version % 100);
    for (unsigned i = 0; i < owner_rows(); i++) {
        const char *reason = reason_of(i);
        printf("%2u %s\n", i, owner_row_why(i));
        for (unsigned k = 0; k < proofs->row[i].n_proofs; k++)
            printf("     proved: %s\n", proofs->row[i].proof[k]);
        if (proofs->row[i].n_proofs > 0)
            continue;
        printf("     %s: %s\n", reason ? "not made" : "NOT PROVED",
               reason ? reason : "no test has made it");
        missing += !reason;
    }
    (void)fflush(stdout);
    return missing;
}

int main(void)
{
    Suite *s = suite_create("owner rows");
    proofs = mmap(NULL, sizeof(*proofs), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                  -1, 0);
    if (proofs == MAP_FAILED || owner_rows() > ROWS_MAX)
        return EXIT_FAILURE;
    rows_add_precopy(s);
    rows_add_switch(s);
    rows_add_postcopy(s);
    rows_add_broken(s);
    rows_add_last_word(s);
    const int rc = real_main(s);
    if (rc == REAL_SKIPPED || getenv("CK_RUN_CASE"))
        return rc;
    return report() > 0 ? EXIT_FAILURE : rc;
}

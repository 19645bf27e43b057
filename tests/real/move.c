#include "tests/real/move.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOVE_WAIT_MS = 120 * 1000, DUMP_TAIL = 6000 };

/* ---- the world ---- */

/* Our children, also those that qferry left behind: this process is their reaper. */
static unsigned children(pid_t out[WORLD_CHILDREN_MAX])
{
    char path[64];
    unsigned n = 0;
    int pid;

    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    FILE *f = fopen(path, "r");
    if (!f)
        return 0;
    while (n < WORLD_CHILDREN_MAX && fscanf(f, "%d", &pid) == 1)
        out[n++] = pid;
    (void)fclose(f);
    return n;
}

void world_open(struct world *w)
{
    memset(w, 0, sizeof(*w));
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    w->lab = lab_open();
    ck_assert_ptr_nonnull(w->lab);
    w->n_own = children(w->own);
}

static void keep_journal(const struct move *m)
{
    const char *dir = getenv("QFERRY_KEEP_JOURNALS");
    char path[512];
    char bytes[65536];
    size_t n;
    FILE *from;
    FILE *to;

    if (!dir)
        return;
    snprintf(path, sizeof(path), "%s/%d-%u.jsonl", dir, (int)getpid(),
             (unsigned)(m - m->w->moves));
    from = fopen(m->journal, "r");
    to = fopen(path, "w");
    while (from && to && (n = fread(bytes, 1, sizeof(bytes), from)) > 0)
        (void)fwrite(bytes, 1, n, to);
    if (from)
        (void)fclose(from);
    if (to)
        (void)fclose(to);
    (void)fprintf(stderr, "journal kept: %s\n", path);
}

void world_close(struct world *w)
{
    for (unsigned i = 0; i < w->n_moves; i++) {
        if (!w->moves[i].ended)
            keep_journal(&w->moves[i]);
        json_decref(w->moves[i].lines);
    }
    json_decref(w->src_settings);
    json_decref(w->dst_settings);
    lab_close(w->lab);
    memset(w, 0, sizeof(*w));
}

static bool is_known(const struct world *w, pid_t pid)
{
    for (unsigned i = 0; i < w->n_own; i++)
        if (w->own[i] == pid)
            return true;
    for (unsigned i = 0; i < w->n_vms; i++)
        if (lab_vm_pid(w->vms[i]) == pid)
            return true;
    for (unsigned i = 0; i < w->n_procs; i++)
        if (lab_proc_pid(w->procs[i]) == pid)
            return true;
    return false;
}

static bool ends_soon(struct world *w, pid_t pid)
{
    for (int i = 0; w->reaps && i < 100; i++) {
        if (waitpid(pid, NULL, WNOHANG) == pid)
            return true;
        lab_pump(w->lab, 20);
    }
    return false;
}

static void expect_no_strays(struct world *w)
{
    pid_t now[WORLD_CHILDREN_MAX];
    const unsigned n = children(now);

    for (unsigned i = 0; i < n; i++)
        ck_assert_msg(is_known(w, now[i]) || ends_soon(w, now[i]),
                      "process %d was left behind", (int)now[i]);
}

struct lab_vm *world_vm(struct world *w, const struct lab_vm_opts *opts)
{
    struct lab_vm *vm = lab_vm_start(w->lab, opts);

    ck_assert_ptr_nonnull(vm);
    ck_assert_uint_lt(w->n_vms, WORLD_VMS_MAX);
    w->vms[w->n_vms++] = vm;
    return vm;
}

static struct lab_vm_opts as_destination(const struct world *w,
                                         const struct lab_vm_opts *src)
{
    struct lab_vm_opts o = *src;

    o.name = NULL;
    o.incoming = true;
    o.paused = !w->dst_starts;
    return o;
}

void world_pair_of(struct world *w, const struct lab_vm_opts *src)
{
    const struct lab_vm_opts dst = as_destination(w, src);

    w->src = world_vm(w, src);
    w->dst = world_vm(w, &dst);
    ck_assert_int_eq(lab_guest_ready(w->src), 0);
    json_decref(w->src_settings);
    json_decref(w->dst_settings);
    w->src_settings = settings_of(w->src);
    w->dst_settings = settings_of(w->dst);
}

void world_pair(struct world *w, const char *append)
{
    world_pair_of(w, &(struct lab_vm_opts){.append = append});
}

void world_new_destination(struct world *w)
{
    w->dst = world_vm(w, &(struct lab_vm_opts){.incoming = true, .paused = !w->dst_starts});
}

static struct lab_proc *spawn(struct world *w, const char *const *argv)
{
    struct lab_proc *p = lab_spawn(w->lab, argv);

    ck_assert_ptr_nonnull(p);
    ck_assert_uint_lt(w->n_procs, WORLD_PROCS_MAX);
    w->procs[w->n_procs++] = p;
    return p;
}

static int exit_of(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int world_run(struct world *w, const char *const *argv, struct lab_proc **proc)
{
    struct lab_proc *p = spawn(w, argv);
    int status;

    ck_assert_int_eq(lab_proc_wait(p, MOVE_WAIT_MS, &status), 0);
    if (proc)
        *proc = p;
    return exit_of(status);
}

/* ---- a run ---- */

struct move *move_begin_at(struct world *w,
                           const char *command,
                           const char *src,
                           const char *dst,
                           const char *const *extra)
{
    const char *const own[] = {QFERRY, command, src, dst, "--json", "--journal"};
    const char *argv[40];
    unsigned n = 0;
    char name[24];

    for (const char *const *p = w->prefix; p && *p; p++)
        argv[n++] = *p;
    for (unsigned i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        argv[n++] = own[i];

    ck_assert_uint_lt(w->n_moves, WORLD_MOVES_MAX);
    struct move *m = &w->moves[w->n_moves++];
    *m = (struct move){.w = w};
    snprintf(name, sizeof(name), "%u.jsonl", w->n_moves);
    argv[n++] = lab_path(w->lab, name, m->journal);
    for (unsigned i = 0; extra[i]; i++) {
        ck_assert_uint_lt(n, 39);
        argv[n++] = extra[i];
    }
    argv[n] = NULL;
    m->proc = spawn(w, argv);
    return m;
}

struct move *move_begin(struct world *w, const char *const *extra)
{
    return move_begin_at(w, "migrate", lab_vm_qmp_path(w->src), lab_vm_qmp_path(w->dst),
                         extra);
}

void move_wait_line(struct move *m, const char *part)
{
    if (lab_proc_line(m->proc, part, NULL, 0, MOVE_WAIT_MS) == 0)
        return;
    move_dump(m);
    ck_abort_msg("no line with %s", part);
}

void move_wait_phase(struct move *m, const char *phase)
{
    char part[64];

    snprintf(part, sizeof(part), "\"phase\":\"%s\"", phase);
    move_wait_line(m, part);
}

void move_wait_memory(struct move *m)
{
    char line[4096];
    json_t *doc;
    json_int_t moved;

    do {
        if (lab_proc_line(m->proc, "\"type\":\"sample\"", line, sizeof(line),
                          MOVE_WAIT_MS) != 0) {
            move_dump(m);
            ck_abort_msg("no sample");
        }
        doc = json_loads(line, 0, NULL);
        moved = json_integer_value(json_object_get(doc, "transferred"));
        json_decref(doc);
    } while (moved < 1000 * 1000);
}

void move_dump(const struct move *m)
{
    const char *text = lab_proc_stdout(m->proc);
    const size_t n = strlen(text);

    (void)fprintf(stderr, "--- qferry's output, its end\n%s--- stderr\n%s---\n",
                  n > DUMP_TAIL ? text + n - DUMP_TAIL : text, lab_proc_stderr(m->proc));
    for (unsigned i = 0; i < m->w->n_vms; i++)
        lab_vm_dump(m->w->vms[i]);
    keep_journal(m);
}

static void read_lines(struct move *m)
{
    const char *at = lab_proc_stdout(m->proc);

    m->lines = json_array();
    while (*at != '\0') {
        const char *end = strchr(at, '\n');
        json_error_t e;

        ck_assert_msg(end, "the last line is not complete: %s", at);
        json_t *doc = json_loadb(at, (size_t)(end - at), 0, &e);
        ck_assert_msg(doc, "not JSON (%s): %.*s", e.text, (int)(end - at), at);
        ck_assert_ptr_nonnull(json_string_value(json_object_get(doc, "time")));
        ck_assert_ptr_nonnull(json_string_value(json_object_get(doc, "type")));
        json_array_append_new(m->lines, doc);
        at = end + 1;
    }
}

static bool is_result(const json_t *line)
{
    return strcmp(json_string_value(json_object_get(line, "type")), "result") == 0;
}

static void check_result(struct move *m)
{
    const size_t n = json_array_size(m->lines);

    if (n == 0) {
        move_dump(m);
        ck_abort_msg("exit %d without a result", m->exit);
    }
    for (size_t i = 0; i + 1 < n; i++)
        ck_assert(!is_result(json_array_get(m->lines, i)));
    m->result = json_array_get(m->lines, n - 1);
    ck_assert(is_result(m->result));
    ck_assert_int_eq(json_integer_value(json_object_get(m->result, "exit")), m->exit);
}

static void check_replay(struct move *m)
{
    struct lab_proc *p;

    if (world_run(m->w, ARGS(QFERRY, "replay", m->journal), &p) == 0)
        return;
    lab_proc_dump(p);
    move_dump(m);
    ck_abort_msg("the journal does not replay");
}

void move_end(struct move *m)
{
    int status;

    if (lab_proc_wait(m->proc, MOVE_WAIT_MS, &status) != 0) {
        move_dump(m);
        ck_abort_msg("qferry does not end");
    }
    m->exit = exit_of(status);
    if (m->exit < 0) {
        move_dump(m);
        ck_abort_msg("qferry died of a signal");
    }
    read_lines(m);
    check_result(m);
    m->ended = true;
    if (getenv("QFERRY_KEEP_ALL"))
        keep_journal(m);
    check_replay(m);
    expect_no_strays(m->w);
}

void move_kill(struct move *m)
{
    ck_assert_int_eq(lab_proc_signal(m->proc, SIGKILL), 0);
    ck_assert_int_eq(lab_proc_wait(m->proc, 0, NULL), 0);
}

struct move *move_run(struct world *w, const char *const *extra)
{
    struct move *m = move_begin(w, extra);

    move_end(m);
    return m;
}

const char *move_result(const struct move *m, const char *key)
{
    const char *text = json_string_value(json_object_get(m->result, key));

    return text ? text : "";
}

void move_expect_at(const struct move *m,
                    int exit,
                    const char *outcome,
                    const char *running_on,
                    const char *file,
                    int line)
{
    if (m->exit == exit && strcmp(move_result(m, "outcome"), outcome) == 0 &&
        strcmp(move_result(m, "running_on"), running_on) == 0)
        return;
    move_dump(m);
    ck_abort_msg("%s:%d: exit %d, %s, on %s (%s); wanted: exit %d, %s, on %s", file, line,
                 m->exit, move_result(m, "outcome"), move_result(m, "running_on"),
                 move_result(m, "reason"), exit, outcome, running_on);
}

void move_expect_reason_at(const struct move *m,
                           const char *part,
                           const char *file,
                           int line)
{
    if (strstr(move_result(m, "reason"), part))
        return;
    move_dump(m);
    ck_abort_msg("%s:%d: reason '%s' has no '%s'", file, line, move_result(m, "reason"),
                 part);
}

unsigned move_count(const struct move *m,
                    const char *type,
                    const char *key,
                    const char *part)
{
    unsigned n = 0;
    size_t i;
    json_t *line;

    json_array_foreach (m->lines, i, line) {
        const char *text = json_string_value(json_object_get(line, key));

        if (strcmp(json_string_value(json_object_get(line, "type")), type) == 0 && text &&
            strstr(text, part))
            n++;
    }
    return n;
}

bool move_has(const struct move *m, const char *type, const char *key, const char *part)
{
    return move_count(m, type, key, part) > 0;
}

const char *move_verdict(const struct move *m, const char *check)
{
    size_t i;
    json_t *line;

    json_array_foreach (m->lines, i, line) {
        const char *name = json_string_value(json_object_get(line, "name"));

        if (name && strcmp(name, check) == 0)
            return json_string_value(json_object_get(line, "verdict"));
    }
    return "";
}

/* ---- what must be true ---- */

static void show_all(struct world *w)
{
    for (unsigned i = 0; i < w->n_vms; i++)
        lab_vm_dump(w->vms[i]);
    for (unsigned i = 0; i < w->n_moves; i++)
        keep_journal(&w->moves[i]);
}

void expect_guest_on_at(
    struct world *w, struct lab_vm *vm, int running, const char *file, int line)
{
    char state[LAB_STATE_MAX] = "unknown";
    const int count = lab_running_count(w->lab);

    ck_assert_int_eq(lab_run_state(vm, state), 0);
    if (count != running || strcmp(state, "running") != 0) {
        show_all(w);
        ck_abort_msg("%s:%d: %d machines run, %s is %s", file, line, count, lab_vm_name(vm),
                     state);
    }
    if (lab_guest_verify(vm) != 1) {
        show_all(w);
        ck_abort_msg("%s:%d: the guest's memory on %s is not what it was", file, line,
                     lab_vm_name(vm));
    }
}

void expect_nobody_runs(struct world *w)
{
    ck_assert_int_eq(lab_running_count(w->lab), 0);
}

json_t *settings_of(struct lab_vm *vm)
{
    json_t *parameters = lab_qmp(vm, "query-migrate-parameters", NULL);
    json_t *capabilities = lab_qmp(vm, "query-migrate-capabilities", NULL);

    ck_assert_ptr_nonnull(parameters);
    ck_assert_ptr_nonnull(capabilities);
    return json_pack("{s:o, s:o}", "parameters", parameters, "capabilities", capabilities);
}

void expect_settings(struct lab_vm *vm, const json_t *settings)
{
    json_t *now = settings_of(vm);
    const bool same = json_equal(now, settings);

    if (!same) {
        char *was = json_dumps(settings, JSON_SORT_KEYS);
        char *is = json_dumps(now, JSON_SORT_KEYS);

        (void)fprintf(stderr, "settings of %s\n  were %s\n  are  %s\n", lab_vm_name(vm),
                      was, is);
        free(was);
        free(is);
    }
    json_decref(now);
    ck_assert_msg(same, "the settings of %s were not put back", lab_vm_name(vm));
}

void expect_as_found(struct world *w)
{
    json_t *migrate = lab_qmp(w->dst, "query-migrate", NULL);

    ck_assert_ptr_null(json_object_get(migrate, "socket-address"));
    json_decref(migrate);
    expect_settings(w->src, w->src_settings);
    expect_settings(w->dst, w->dst_settings);
}

void expect_not_begun(struct world *w)
{
    char state[LAB_STATE_MAX];

    expect_as_found(w);
    ck_assert_int_eq(lab_run_state(w->dst, state), 0);
    ck_assert_str_eq(state, "inmigrate");
    expect_guest_on(w, w->src);
}

void expect_used_up(struct lab_vm *vm)
{
    char state[LAB_STATE_MAX];

    if (!lab_vm_is(vm, 9, 1)) {
        expect_exit(vm, 1);
        return;
    }
    ck_assert_int_eq(lab_wait_mig_status(vm, "failed", 0), 0);
    ck_assert_int_eq(lab_run_state(vm, state), 0);
    ck_assert_str_eq(state, "inmigrate");
}

void expect_exit(struct lab_vm *vm, int status)
{
    int got;

    ck_assert_int_eq(lab_vm_wait_exit(vm, 0, &got), 0);
    ck_assert_int_eq(exit_of(got), status);
}

/* ---- main ---- */

int real_main(Suite *suite)
{
    const char *missing = lab_missing();
    SRunner *runner = srunner_create(suite);
    int failed = 0;

    if (missing) {
        printf("skipped: %s\n", missing);
    } else {
        printf("source %s, destination %s\n", lab_qemu(false), lab_qemu(true));
        (void)fflush(stdout);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
    }
    srunner_free(runner);
    return missing ? REAL_SKIPPED : failed == 0 ? 0 : 1;
}

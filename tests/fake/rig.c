#include "tests/fake/rig.h"

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/units.h"
#include "engine/replay.h"

int __real_qmp_link_send(struct qmp_link *link,
                         const char *command,
                         const json_t *args,
                         uint64_t id,
                         bool oob,
                         struct qf_err *err);
int __wrap_qmp_link_send(struct qmp_link *link,
                         const char *command,
                         const json_t *args,
                         uint64_t id,
                         bool oob,
                         struct qf_err *err);

static struct rig *the_rig; /* the one that runs */

/* ---- complaints: kept until the loop is closed, so that a failing test leaks nothing ---- */

static void complain(struct rig_move *m, const char *fmt, ...) QF_PRINTF(2, 3);

static void complain(struct rig_move *m, const char *fmt, ...)
{
    va_list ap;
    if (m->wrong)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(m->wrong_text, sizeof(m->wrong_text), fmt, ap);
    va_end(ap);
    m->wrong = m->wrong_text;
}

/* ---- files ---- */

static char *slurp(const char *path, size_t from, size_t *len)
{
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &st), 0);
    const size_t n = (size_t)st.st_size - from;
    char *text = malloc(n + 1);
    ck_assert_ptr_nonnull(text);
    ck_assert_int_eq(pread(fd, text, n, (off_t)from), (ssize_t)n);
    (void)close(fd);
    text[n] = '\0';
    *len = n;
    return text;
}

/* ---- written ahead ---- */

static void read_sends(struct rig_move *m)
{
    size_t len;
    char *text = slurp(m->path, m->read, &len);
    char *at = text;
    char *end;
    while ((end = memchr(at, '\n', len - (size_t)(at - text))) != NULL) {
        json_t *line = json_loadb(at, (size_t)(end - at), 0, NULL);
        const char *what = json_string_value(json_object_get(line, "do"));
        if (what && strcmp(what, "send") == 0)
            (void)json_array_append(m->sends, line);
        json_decref(line);
        at = end + 1;
    }
    m->read += (size_t)(at - text);
    free(text);
}

static bool is_same_command(const json_t *qmp,
                            const char *name,
                            const json_t *args,
                            bool oob)
{
    const char *written =
        json_string_value(json_object_get(qmp, oob ? "exec-oob" : "execute"));
    const json_t *written_args = json_object_get(qmp, "arguments");
    return written && strcmp(written, name) == 0 &&
           (args ? json_equal(written_args, args) : written_args == NULL);
}

static bool is_written(struct rig_move *m,
                       enum mig_side_id side,
                       const char *name,
                       const json_t *args,
                       uint64_t id,
                       bool oob)
{
    read_sends(m);
    for (size_t i = json_array_size(m->sends); i > 0; i--) {
        const json_t *line = json_array_get(m->sends, i - 1);
        const char *at = json_string_value(json_object_get(line, "side"));
        if (json_integer_value(json_object_get(line, "id")) == (json_int_t)id && at &&
            strcmp(at, mig_side_name(side)) == 0)
            return is_same_command(json_object_get(line, "qmp"), name, args, oob);
    }
    return false;
}

static void look_ahead(struct rig_move *m,
                       enum mig_side_id side,
                       const char *name,
                       const json_t *args,
                       uint64_t id,
                       bool oob)
{
    m->rig->inside++;
    if (m->journal == RIG_JOURNAL_FILE && m->journal_errors == 0 &&
        !is_written(m, side, name, args, id, oob))
        complain(m, "%s (id %llu) is sent and not in the journal", name,
                 (unsigned long long)id);
    m->rig->inside--;
}

/* The linker sends the drive's calls through here: the fake, on the same loop, would not see in
 * which order a line was written and a command sent. */
int __wrap_qmp_link_send(struct qmp_link *link,
                         const char *command,
                         const json_t *args,
                         uint64_t id,
                         bool oob,
                         struct qf_err *err)
{
    struct rig *r = the_rig;
    for (unsigned i = 0; r && i < r->n_moves; i++)
        for (unsigned side = 0; side < MIG_SIDES; side++)
            if ((void *)r->move[i]->drive.link[side] == (void *)link)
                look_ahead(r->move[i], (enum mig_side_id)side, command, args, id, oob);
    return __real_qmp_link_send(link, command, args, id, oob, err);
}

static void operate(struct rig_move *m)
{
    struct operator_command c = {.kind = MIG_OPERATOR_SET, .n = 1};
    c.set[0] = m->operator_says;
    if (operator_kind(m->operator_says, &c.kind))
        c.n = 0;
    if (drive_operator(&m->drive, &c, &m->refusal) != 0)
        m->operator_refused++;
}

static void on_command(struct fake *f, enum model_side side, const char *name, void *arg)
{
    struct rig_move *m = arg;
    (void)side;
    (void)name;
    m->commands++;
    if (m->commands == m->fault_at_command)
        model_inject(f->model, &m->fault, f->now_ns);
    if (m->commands == m->cancel_at_command)
        drive_cancel(&m->drive);
    if (m->commands == m->operator_at_command)
        operate(m);
}

static const struct fake_ops fake_ops = {.on_command = on_command};

/* ---- the drive's voice ---- */

static void on_record(struct drive *d,
                      const struct record *record,
                      const char *line,
                      void *arg)
{
    struct rig_move *m = arg;
    m->rig->inside++;
    m->records++;
    if (line[strlen(line) - 1] != '\n')
        complain(m, "a line without end: %s", line);
    if (record->kind == RECORD_DECISION && record->u.decision.action == POLICY_POSTCOPY)
        m->postcopy_records++;
    if (m->records == m->cancel_at_record)
        drive_cancel(d);
    m->rig->inside--;
}

static void on_journal_error(struct drive *d, const struct qf_err *err, void *arg)
{
    struct rig_move *m = arg;
    (void)d;
    m->journal_errors++;
    m->journal_error = *err;
}

static void count_handle(uv_handle_t *handle, void *arg)
{
    unsigned *n = arg;
    (void)handle;
    (*n)++;
}

static void on_end(struct drive *d, const struct record_result *result, void *arg)
{
    struct rig_move *m = arg;
    struct rig *r = m->rig;
    unsigned n = 0;
    r->inside++;
    if (m->ended)
        complain(m, "on_end twice");
    m->ended = true;
    m->result = *result;
    m->truth = *model_truth(m->fake.model);
    m->said[MODEL_SRC] = m->fake.side[MODEL_SRC].said;
    m->said[MODEL_DST] = m->fake.side[MODEL_DST].said;
    uv_walk(&r->loop, count_handle, &n);
    if (r->n_moves == 1 && n != m->fake.handles_open + 1)
        complain(m, "%u handles of the drive are in the loop after on_end",
                 n - m->fake.handles_open - 1);
    drive_cancel(d); /* harmless now */
    if (++r->n_ended == r->n_moves) {
        uv_close((uv_handle_t *)&r->guard, NULL);
        for (unsigned i = 0; i < r->n_moves; i++)
            fake_close(&r->move[i]->fake);
    }
    r->inside--;
}

static const struct drive_ops drive_ops = {
    .on_record = on_record,
    .on_journal_error = on_journal_error,
    .on_end = on_end,
};

/* ---- a run ---- */

void rig_init(struct rig *r)
{
    memset(r, 0, sizeof(*r));
    (void)signal(SIGPIPE, SIG_IGN);
    (void)snprintf(r->dir, sizeof(r->dir), "/tmp/qferry-fake-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(r->dir));
    r->schema = schema_load(QFERRY_SOURCE_DIR "/tests/fake/schema-7.2.json");
    ck_assert_ptr_nonnull(r->schema);
}

struct rig_move *rig_add(struct rig *r)
{
    struct rig_move *m = calloc(1, sizeof(*m));
    ck_assert_ptr_nonnull(m);
    ck_assert_uint_lt(r->n_moves, RIG_MOVES_MAX);
    m->rig = r;
    (void)snprintf(m->name, sizeof(m->name), "%u", r->n_moves);
    r->move[r->n_moves++] = m;
    m->opts.schema = r->schema;
    m->opts.ops = &fake_ops;
    m->opts.arg = m;
    m->opts.inside = &r->inside;
    m->opts.setup.ram_bytes = 128 * QF_MIB;
    m->opts.setup.working_set_bytes = 8 * QF_MIB;
    m->opts.setup.rate[0].pages_per_s = 2000;
    m->opts.setup.link_bytes_per_s = 125000000;
    return m;
}

static void make_request(struct rig_move *m)
{
    struct qf_err err = {.text = ""};
    struct request *q = &m->request;
    int rc = 0;
    request_init(q);
    if (m->policy)
        rc = request_option(q, "policy", m->policy, &err);
    for (unsigned i = 0; rc == 0 && i < RIG_SETS_MAX && m->set[i]; i++)
        rc = request_option(q, "set", m->set[i], &err);
    for (unsigned i = 0; rc == 0 && i < 2 && m->network[i]; i++)
        rc = request_option(q, "network", m->network[i], &err);
    if (rc == 0 && m->address)
        rc = request_option(q, "destination-address", m->address, &err);
    q->spec.dry_run = m->dry_run;
    q->spec.quit_source = m->quit_source;
    q->spec.quit_destination = m->quit_destination;
    if (rc == 0)
        rc = request_sides(
            q, m->addr[MIG_SRC] ? m->addr[MIG_SRC] : m->fake.side[MODEL_SRC].addr,
            m->addr[MIG_DST] ? m->addr[MIG_DST] : m->fake.side[MODEL_DST].addr, &err);
    if (rc == 0)
        rc = request_finish(q, &err);
    ck_assert_msg(rc == 0, "%s", err.text);
}

static void start(struct rig *r, struct rig_move *m)
{
    struct qf_err err = {.text = ""};
    int fd = m->journal == RIG_JOURNAL_FD ? m->journal_fd : -1;
    ck_assert_int_eq(fake_open(&m->fake, &r->loop, &m->opts, r->dir, m->name), 0);
    make_request(m);
    if (m->journal == RIG_JOURNAL_FILE) {
        (void)snprintf(m->path, sizeof(m->path), "%s/%s.jsonl", r->dir, m->name);
        fd = open(m->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        ck_assert_int_ge(fd, 0);
        m->sends = json_array();
    }
    const int rc = drive_start(&m->drive, &r->loop, &m->request.spec, &m->request.policy,
                               m->request.addr, fd, &drive_ops, m, &err);
    ck_assert_msg(rc == 0, "%s", err.text);
    ck_assert(!m->ended);
    ck_assert_uint_eq(m->records, 0);
    if (m->cancel_first)
        drive_cancel(&m->drive);
}

static void on_guard(uv_timer_t *guard)
{
    struct rig *r = guard->data;
    r->inside++;
    for (unsigned i = 0; i < r->n_moves; i++)
        if (!r->move[i]->ended)
            ck_abort_msg("migration %u does not end: it is in %s after %u commands", i,
                         mig_phase_name(r->move[i]->drive.session.mig.phase),
                         r->move[i]->commands);
}

/* ---- what must be true ---- */

static void look_at_journal(struct rig_move *m)
{
    struct replay_report report;
    struct qf_err err = {.text = ""};
    size_t len;
    if (m->journal != RIG_JOURNAL_FILE)
        return;
    char *text = slurp(m->path, 0, &len);
    const int rc = replay(text, len, &report, &err);
    free(text);
    if (rc != 0)
        complain(m, "the journal does not replay: %s", err.text);
    else if (report.differs != 0)
        complain(m, "the replay differs in line %llu: %.180s, not %.180s",
                 (unsigned long long)report.differs, report.got, report.expected);
    m->lines = report.lines;
}

static void look_at_guest(struct rig_move *m)
{
    const struct model_truth *t = &m->truth;
    if (t->violation[0])
        complain(m, "%s", t->violation);
    if (m->result.running_on == PLACE_SOURCE && t->running[MODEL_DST])
        complain(m, "running_on is the source, the destination runs");
    if (m->result.running_on == PLACE_DESTINATION && t->running[MODEL_SRC])
        complain(m, "running_on is the destination, the source runs");
    if (rig_status(m) == 0 && !m->dry_run &&
        ((!t->alive[MODEL_DST] && !t->ran_on_dst) || t->running[MODEL_SRC]))
        complain(m, "exit 0, and the guest is not at the destination");
    if (m->result.outcome == OUTCOME_COMPLETED && rig_status(m) != 0)
        complain(m, "completed with exit status %d", rig_status(m));
}

static void look_at_refusals(struct rig_move *m)
{
    for (unsigned i = 0; i < MODEL_SIDES; i++) {
        const struct fake_side *s = &m->fake.side[i];
        if (s->broken)
            complain(m, "the drive broke the protocol");
        if (s->refused > 0 &&
            (s->refused > 1 ||
             strcmp(s->refusal,
                    "migrate-incoming: Parameter 'exit-on-error' is unexpected") != 0))
            complain(m, "refused by the schema: %s", s->refusal);
    }
}

void rig_run(struct rig *r)
{
    r->inside++;
    the_rig = r;
    ck_assert_int_eq(uv_loop_init(&r->loop), 0);
    (void)uv_timer_init(&r->loop, &r->guard);
    r->guard.data = r;
    (void)uv_timer_start(&r->guard, on_guard, (r->seconds ? r->seconds : 60) * 1000, 0);
    for (unsigned i = 0; i < r->n_moves; i++)
        start(r, r->move[i]);
    r->inside--;
    (void)uv_run(&r->loop, UV_RUN_DEFAULT);
    r->inside++;
    ck_assert_int_eq(uv_loop_close(&r->loop), 0);
    for (unsigned i = 0; i < r->n_moves; i++) {
        struct rig_move *m = r->move[i];
        ck_assert_uint_eq(m->fake.handles_open, 0);
        look_at_guest(m);
        look_at_refusals(m);
        if (m->journal_errors == 0)
            look_at_journal(m);
        ck_assert_msg(!m->wrong, "migration %u: %s (%s)", i, m->wrong, m->result.reason);
    }
    r->inside--;
}

int rig_status(const struct rig_move *m)
{
    return qf_code_status(m->result.code);
}

void rig_completed(const struct rig_move *m)
{
    ck_assert_msg(rig_status(m) == 0 && m->result.outcome == OUTCOME_COMPLETED,
                  "exit %d: %s", rig_status(m), m->result.reason);
    ck_assert_int_eq(m->result.running_on, PLACE_DESTINATION);
    ck_assert(m->truth.ran_on_dst);
    ck_assert(!m->truth.running[MODEL_SRC]);
}

void rig_clear(struct rig *r)
{
    for (unsigned i = 0; i < r->n_moves; i++) {
        json_decref(r->move[i]->sends);
        free(r->move[i]);
    }
    r->n_moves = 0;
    r->n_ended = 0;
}

void rig_fini(struct rig *r)
{
    rig_clear(r);
    schema_free(r->schema);
    DIR *dir = opendir(r->dir);
    const struct dirent *e;
    while (dir && (e = readdir(dir)) != NULL) {
        char path[sizeof(r->dir) + sizeof(e->d_name) + 1];
        (void)snprintf(path, sizeof(path), "%s/%s", r->dir, e->d_name);
        (void)unlink(path); /* "." and ".." refuse */
    }
    if (dir)
        (void)closedir(dir);
    (void)rmdir(r->dir);
}

#include "engine/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/journal_memory.h"
#include "netsel/netsel_json.h"
#include "qmp/client.h"
#include "qmp/qapi_json.h"

/* ---- lines ---- */

/* Steals line. */
static void emit(struct session *s, json_t *line, const struct record *record)
{
    char *text = line ? journal_dump(line) : NULL;
    if (text) {
        s->since_bytes += strlen(text);
        s->ops->on_line(s, text, record, s->arg);
    } else {
        s->out_of_memory = true;
    }
    free(text);
    json_decref(line);
}

static json_t *event_line(struct session *s, int64_t t_ns, const char *kind)
{
    json_t *o = journal_line(&s->clock, "event", t_ns);
    journal_put(o, "kind", json_string(kind));
    return o;
}

static json_t *side_line(
    struct session *s, int64_t t_ns, const char *kind, enum mig_side_id side, json_t *qmp)
{
    json_t *o = event_line(s, t_ns, kind);
    journal_put(o, "side", json_string(mig_side_name(side)));
    if (qmp)
        journal_put(o, "qmp", json_incref(qmp));
    return o;
}

/* The command as it goes out, and with what secrets it had left out: none so far. */
static json_t *command_json(const struct qapi_cmd *cmd, bool oob)
{
    json_t *args = NULL;
    if (qapi_encode(cmd, &args) != 0)
        return NULL;
    json_t *o =
        json_pack("{s:s}", oob ? "exec-oob" : "execute", qapi_command_name(cmd->command));
    if (!args || json_object_set_new(o, "arguments", args) == 0)
        return o;
    json_decref(o);
    return NULL;
}

static void emit_do(struct session *s, const struct mig_do *d, int64_t t_ns)
{
    static const char *const names[] = {
        [MIG_DO_OPEN] = "open",     [MIG_DO_SEND] = "send",
        [MIG_DO_CLOSE] = "close",   [MIG_DO_SYNC] = "sync",
        [MIG_DO_RECORD] = "record", [MIG_DO_END] = "end",
        [MIG_DO_PROBE] = "probe",   [MIG_DO_RESTART] = "restart",
        [MIG_DO_SECURE] = "secure", [MIG_DO_UNSECURE] = "unsecure",
        [MIG_DO_STREAM] = "stream",
    };
    json_t *o = journal_line(&s->clock, d->kind == MIG_DO_END ? "end" : "do", t_ns);
    if (d->kind != MIG_DO_END)
        journal_put(o, "do", json_string(names[d->kind]));
    if (d->kind == MIG_DO_OPEN || d->kind == MIG_DO_CLOSE || d->kind == MIG_DO_SEND)
        journal_put(o, "side", json_string(mig_side_name(d->side)));
    if (d->kind == MIG_DO_STREAM) {
        journal_put_text(o, "host", d->u.stream.host);
        journal_put_text(o, "port", d->u.stream.port);
    }
    if (d->kind == MIG_DO_RESTART)
        journal_put(o, "attempt", json_integer((json_int_t)d->u.restart.attempt));
    if (d->kind == MIG_DO_SEND) {
        journal_put(o, "id", json_integer((json_int_t)d->u.send.id));
        const struct qapi_cmd *cmd = &d->u.send.cmd;
        const bool oob = qapi_command_oob(cmd->command) && s->mig.side[d->side].oob;
        journal_put(o, "qmp", command_json(cmd, oob));
    }
    emit(s, o, NULL);
}

/* Written ahead of all that the step wants said and done. */
static void note_memory(struct session *s, int64_t t_ns)
{
    struct mig_memory mem;
    mig_memory_of(&s->mig, &mem);
    if (!mig_memory_is_news(&s->remembered, &mem) &&
        (!mem.known || s->since_bytes < JOURNAL_MEMORY_BYTES))
        return;
    s->remembered = mem;
    json_t *o = journal_line(&s->clock, "memory", t_ns);
    journal_put(o, "memory", journal_dump_memory(&mem));
    emit(s, o, NULL);
    s->since_bytes = 0;
}

static void step(struct session *s, const struct mig_event *ev)
{
    mig_step(&s->mig, ev, &s->todo);
    note_memory(s, ev->t_ns);
    for (unsigned i = 0; i < s->todo.n; i++) {
        const struct mig_do *d = &s->todo.item[i];
        if (d->kind == MIG_DO_RECORD)
            emit(s, journal_record(&s->clock, ev->t_ns, &d->u.record, &s->mig),
                 &d->u.record);
        else
            emit_do(s, d, ev->t_ns);
    }
}

/* ---- events ---- */

void session_init(struct session *s,
                  const struct mig_spec *spec,
                  const struct policy *policy,
                  int64_t t_ns,
                  int64_t wall_ms,
                  const struct session_ops *ops,
                  void *arg)
{
    mig_init(&s->mig, spec, policy);
    s->todo.n = 0;
    s->todo.wake_ns = INT64_MAX;
    memset(&s->clock, 0, sizeof(s->clock));
    s->clock.t0_ns = t_ns;
    s->clock.wall_ms = wall_ms;
    s->clock.seq = 1;
    s->ops = ops;
    s->arg = arg;
    s->out_of_memory = false;
    memset(&s->remembered, 0, sizeof(s->remembered));
    s->since_bytes = 0;
}

static void emit_header(struct session *s)
{
    if (s->clock.seq == 1)
        emit(s, journal_header(&s->clock, &s->mig.spec, &s->mig.policy), NULL);
}

void session_remember(struct session *s, int64_t t_ns, const struct mig_memory *mem)
{
    emit_header(s);
    json_t *o = event_line(s, t_ns, "memory");
    journal_put(o, "memory", journal_dump_memory(mem));
    emit(s, o, NULL);
    struct mig_event ev = {.kind = MIG_EV_MEMORY, .t_ns = t_ns};
    ev.u.memory = mem;
    step(s, &ev);
}

void session_begin(struct session *s, int64_t t_ns)
{
    emit_header(s);
    emit(s, event_line(s, t_ns, "begin"), NULL);
    step(s, &(struct mig_event){.kind = MIG_EV_BEGIN, .t_ns = t_ns});
}

void session_up(
    struct session *s, int64_t t_ns, enum mig_side_id side, json_t *greeting, bool oob)
{
    json_t *o = side_line(s, t_ns, "up", side, greeting);
    journal_put(o, "oob", json_boolean(oob));
    emit(s, o, NULL);
    struct mig_event ev = {.kind = MIG_EV_UP, .t_ns = t_ns, .side = side};
    ev.u.up.oob = oob;
    ev.u.up.is_qemu = qapi_decode_greeting(greeting, &ev.u.up.version);
    step(s, &ev);
}

void session_down(struct session *s,
                  int64_t t_ns,
                  enum mig_side_id side,
                  const struct qf_err *why,
                  bool gone,
                  bool heard)
{
    json_t *o = side_line(s, t_ns, "down", side, NULL);
    journal_put(o, "code", json_integer((json_int_t)why->code));
    journal_put_text(o, "text", why->text);
    journal_put(o, "gone", json_boolean(gone));
    journal_put(o, "heard", json_boolean(heard));
    emit(s, o, NULL);
    struct mig_event ev = {.kind = MIG_EV_DOWN, .t_ns = t_ns, .side = side};
    ev.u.down.err = *why;
    ev.u.down.gone = gone;
    ev.u.down.heard = heard;
    step(s, &ev);
}

void session_reply(
    struct session *s, int64_t t_ns, enum mig_side_id side, uint64_t id, json_t *whole)
{
    json_t *o = side_line(s, t_ns, "reply", side, whole);
    journal_put(o, "id", json_integer((json_int_t)id));
    emit(s, o, NULL);
    struct mig_event ev = {.kind = MIG_EV_REPLY, .t_ns = t_ns, .side = side, .id = id};
    enum qapi_command command;
    if (mig_asked(&s->mig, side, id, &command))
        qapi_decode_reply(command, whole, &ev.u.reply);
    step(s, &ev);
}

void session_event(struct session *s, int64_t t_ns, enum mig_side_id side, json_t *whole)
{
    emit(s, side_line(s, t_ns, "qmp", side, whole), NULL);
    struct mig_event ev = {.kind = MIG_EV_QMP, .t_ns = t_ns, .side = side};
    qapi_decode_event(whole, &ev.u.qmp);
    step(s, &ev);
}

void session_timer(struct session *s, int64_t t_ns)
{
    emit(s, event_line(s, t_ns, "timer"), NULL);
    step(s, &(struct mig_event){.kind = MIG_EV_TIMER, .t_ns = t_ns});
}

void session_cancel(struct session *s, int64_t t_ns)
{
    emit(s, event_line(s, t_ns, "cancel"), NULL);
    step(s, &(struct mig_event){.kind = MIG_EV_CANCEL, .t_ns = t_ns});
}

void session_network(struct session *s, int64_t t_ns, const struct netsel_facts *facts)
{
    json_t *o = event_line(s, t_ns, "network");
    journal_put(o, "facts", netsel_dump_facts(facts));
    emit(s, o, NULL);
    struct mig_event ev = {.kind = MIG_EV_NETWORK, .t_ns = t_ns};
    ev.u.network = facts;
    step(s, &ev);
}

void session_host(struct session *s, int64_t t_ns, const struct mig_process *p)
{
    json_t *o = event_line(s, t_ns, "host");
    journal_put_process(o, p);
    emit(s, o, NULL);
    struct mig_event ev = {.kind = MIG_EV_HOST, .t_ns = t_ns};
    ev.u.host = *p;
    step(s, &ev);
}

/* Of something that the driver was asked to do; why: NULL when it went well. */
static void outcome(struct session *s,
                    int64_t t_ns,
                    const char *name,
                    enum mig_event_kind kind,
                    const char *why)
{
    json_t *o = event_line(s, t_ns, name);
    journal_put(o, "failed", json_boolean(why != NULL));
    if (why)
        journal_put_text(o, "text", why);
    emit(s, o, NULL);
    struct mig_event ev = {.kind = kind, .t_ns = t_ns};
    ev.u.outcome.failed = why != NULL;
    (void)snprintf(ev.u.outcome.text, sizeof(ev.u.outcome.text), "%s", why ? why : "");
    step(s, &ev);
}

void session_stream(struct session *s, int64_t t_ns, const char *why)
{
    outcome(s, t_ns, "stream", MIG_EV_STREAM, why);
}

void session_restarted(struct session *s, int64_t t_ns, const char *why)
{
    outcome(s, t_ns, "restarted", MIG_EV_RESTARTED, why);
}

/* Each member of an object line that stands for a side, by its name. */
static json_t *sides_json(const char *src, const char *dst)
{
    json_t *o = json_object();
    journal_put_text(o, mig_side_name(MIG_SRC), src);
    journal_put_text(o, mig_side_name(MIG_DST), dst);
    if (json_object_size(o) == MIG_SIDES)
        return o;
    json_decref(o);
    return NULL;
}

void session_secured(struct session *s, int64_t t_ns, const struct mig_secured *secured)
{
    json_t *o = event_line(s, t_ns, "secured");
    journal_put(o, "code", json_integer((json_int_t)secured->err.code));
    if (secured->err.code != QF_E_OK)
        journal_put_text(o, "text", secured->err.text);
    journal_put_text(o, "credentials", secured->id);
    journal_put(o, "dir", sides_json(secured->dir[MIG_SRC], secured->dir[MIG_DST]));
    journal_put_text(o, "hostname", secured->hostname);
    journal_put(o, "uri", sides_json(secured->uri[MIG_SRC], secured->uri[MIG_DST]));
    journal_put_text(o, "says", secured->says);
    journal_put_text(o, "warns", secured->warns);
    emit(s, o, NULL);
    struct mig_event ev = {.kind = MIG_EV_SECURED, .t_ns = t_ns};
    ev.u.secured = secured;
    step(s, &ev);
}

void session_receiver(struct session *s, int64_t t_ns, const struct mig_links *links)
{
    json_t *o = event_line(s, t_ns, "receiver");
    journal_put_links(o, links);
    emit(s, o, NULL);
    struct mig_event ev = {.kind = MIG_EV_RECEIVER, .t_ns = t_ns};
    ev.u.receiver = links;
    step(s, &ev);
}

void session_running(struct session *s, int64_t t_ns, const struct mig_others *others)
{
    json_t *o = event_line(s, t_ns, "running");
    journal_put_others(o, others);
    emit(s, o, NULL);
    struct mig_event ev = {.kind = MIG_EV_RUNNING, .t_ns = t_ns};
    ev.u.others = others;
    step(s, &ev);
}

/* Journaled as it was said: a replay reads it again. */
static void feed_operator(struct session *s,
                          int64_t t_ns,
                          const struct operator_command *c,
                          const struct mig_operator *op)
{
    json_t *o = event_line(s, t_ns, "operator");
    journal_put(o, "command", json_string(mig_operator_name(c->kind)));
    if (c->kind == MIG_OPERATOR_SET) {
        json_t *set = json_array();
        int rc = set ? 0 : -1;
        for (unsigned i = 0; i < c->n && rc == 0; i++)
            rc = json_array_append_new(set, json_string(c->set[i]));
        if (rc != 0) {
            json_decref(set);
            set = NULL;
        }
        journal_put(o, "set", set);
    }
    emit(s, o, NULL);
    struct mig_event ev = {.kind = MIG_EV_OPERATOR, .t_ns = t_ns};
    ev.u.op = *op;
    step(s, &ev);
}

int session_operator(struct session *s,
                     int64_t t_ns,
                     const struct operator_command *c,
                     struct qf_err *err)
{
    struct policy changed;
    struct mig_operator op;
    int rc = operator_read(c, &s->mig.policy, &changed, &op, err);
    if (rc == 0)
        rc = mig_operator_check(&s->mig, &op, err);
    s->todo.n = 0;
    if (rc == 0)
        feed_operator(s, t_ns, c, &op);
    return rc;
}

void session_synced(struct session *s, int64_t t_ns, bool failed)
{
    json_t *o = event_line(s, t_ns, "synced");
    journal_put(o, "failed", json_boolean(failed));
    emit(s, o, NULL);
    struct mig_event ev = {.kind = MIG_EV_SYNCED, .t_ns = t_ns};
    ev.u.sync_failed = failed;
    step(s, &ev);
}

bool session_is_over(const struct session *s)
{
    return s->mig.ended;
}

/* ---- from a journal ---- */

static bool read_side(const json_t *line, enum mig_side_id *side)
{
    const char *name = json_string_value(json_object_get(line, "side"));
    if (!name)
        return false;
    *side = strcmp(name, "source") == 0 ? MIG_SRC : MIG_DST;
    return true;
}

/* The code of a line; otherwise when it names none. */
static enum qf_code read_code(const json_t *line, enum qf_code otherwise)
{
    const json_int_t code = json_integer_value(json_object_get(line, "code"));
    return code > 0 && code <= QF_E_HELD ? (enum qf_code)code : otherwise;
}

static void feed_secured(struct session *s, int64_t t_ns, const json_t *line)
{
    struct mig_secured c;
    const json_t *dir = json_object_get(line, "dir");
    const json_t *uri = json_object_get(line, "uri");
    memset(&c, 0, sizeof(c));
    c.err.code = read_code(line, QF_E_OK);
    journal_get_text(line, "text", c.err.text, sizeof(c.err.text));
    journal_get_text(line, "credentials", c.id, sizeof(c.id));
    for (unsigned i = 0; i < MIG_SIDES; i++) {
        journal_get_text(dir, mig_side_name((enum mig_side_id)i), c.dir[i],
                         sizeof(c.dir[i]));
        journal_get_text(uri, mig_side_name((enum mig_side_id)i), c.uri[i],
                         sizeof(c.uri[i]));
    }
    journal_get_text(line, "hostname", c.hostname, sizeof(c.hostname));
    journal_get_text(line, "says", c.says, sizeof(c.says));
    journal_get_text(line, "warns", c.warns, sizeof(c.warns));
    session_secured(s, t_ns, &c);
}

static void feed_down(struct session *s,
                      int64_t t_ns,
                      enum mig_side_id side,
                      const json_t *line)
{
    struct qf_err why = {.code = read_code(line, QF_E_LOST)};
    journal_get_text(line, "text", why.text, sizeof(why.text));
    session_down(s, t_ns, side, &why, json_is_true(json_object_get(line, "gone")),
                 json_is_true(json_object_get(line, "heard")));
}

/* Without asking whether it may be done: what the journal's machine did, this one does. */
static int feed_operator_line(struct session *s,
                              int64_t t_ns,
                              const json_t *line,
                              struct qf_err *err)
{
    const char *name = json_string_value(json_object_get(line, "command"));
    const json_t *set = json_object_get(line, "set");
    struct operator_command c = {.n = 0};
    struct policy changed;
    struct mig_operator op;
    if (!name || !operator_kind(name, &c.kind) || json_array_size(set) > OPERATOR_SETS_MAX)
        return qf_fail(err, QF_E_USAGE, "not an operator's command");
    for (size_t i = 0; i < json_array_size(set); i++) {
        c.set[c.n] = json_string_value(json_array_get(set, i));
        if (!c.set[c.n++])
            return qf_fail(err, QF_E_USAGE, "not an operator's command");
    }
    const int rc = operator_read(&c, &s->mig.policy, &changed, &op, err);
    if (rc == 0)
        feed_operator(s, t_ns, &c, &op);
    return rc;
}

static int feed_network(struct session *s,
                        int64_t t_ns,
                        const json_t *line,
                        struct qf_err *err)
{
    struct netsel_facts facts;
    if (!netsel_load_facts(json_object_get(line, "facts"), &facts))
        return qf_fail(err, QF_E_USAGE, "not what is found out about networks");
    session_network(s, t_ns, &facts);
    return 0;
}

static int feed_memory(struct session *s,
                       int64_t t_ns,
                       const json_t *line,
                       struct qf_err *err)
{
    struct mig_memory mem;
    if (!journal_load_memory(json_object_get(line, "memory"), &mem))
        return qf_fail(err, QF_E_USAGE, "not what an earlier qferry remembered");
    session_remember(s, t_ns, &mem);
    return 0;
}

/* Why it failed; NULL: it did not. */
static const char *failure(const json_t *line)
{
    const char *text = json_string_value(json_object_get(line, "text"));
    const bool failed = json_is_true(json_object_get(line, "failed"));
    return !failed ? NULL : text ? text : "";
}

int session_feed_line(struct session *s, const json_t *line, struct qf_err *err)
{
    const char *kind = json_string_value(json_object_get(line, "kind"));
    const int64_t t_ns = json_integer_value(json_object_get(line, "t_ns"));
    json_t *qmp = json_object_get(line, "qmp");
    enum mig_side_id side = MIG_SRC;
    const bool has_side = read_side(line, &side);
    if (!kind || t_ns < s->mig.now_ns || t_ns > JOURNAL_T_MAX_NS)
        return qf_fail(err, QF_E_USAGE, "not an event of a journal");
    if (strcmp(kind, "memory") == 0 && s->mig.phase == MIG_NEW)
        return feed_memory(s, t_ns, line, err);
    if (strcmp(kind, "begin") == 0 && s->mig.phase == MIG_NEW)
        session_begin(s, t_ns);
    else if (s->mig.phase == MIG_NEW)
        return qf_fail(err, QF_E_USAGE, "an event before the beginning");
    else if (strcmp(kind, "timer") == 0)
        session_timer(s, t_ns);
    else if (strcmp(kind, "cancel") == 0)
        session_cancel(s, t_ns);
    else if (strcmp(kind, "operator") == 0)
        return feed_operator_line(s, t_ns, line, err);
    else if (strcmp(kind, "network") == 0)
        return feed_network(s, t_ns, line, err);
    else if (strcmp(kind, "receiver") == 0) {
        struct mig_links links;
        journal_get_links(line, &links);
        session_receiver(s, t_ns, &links);
    } else if (strcmp(kind, "running") == 0) {
        struct mig_others others;
        journal_get_others(line, &others);
        session_running(s, t_ns, &others);
    } else if (strcmp(kind, "host") == 0) {
        struct mig_process p;
        journal_get_process(line, &p);
        session_host(s, t_ns, &p);
    } else if (strcmp(kind, "restarted") == 0)
        session_restarted(s, t_ns, failure(line));
    else if (strcmp(kind, "secured") == 0)
        feed_secured(s, t_ns, line);
    else if (strcmp(kind, "stream") == 0)
        session_stream(s, t_ns, failure(line));
    else if (strcmp(kind, "synced") == 0)
        session_synced(s, t_ns, json_is_true(json_object_get(line, "failed")));
    else if (strcmp(kind, "down") == 0 && has_side)
        feed_down(s, t_ns, side, line);
    else if (strcmp(kind, "up") == 0 && has_side && qmp)
        session_up(s, t_ns, side, qmp, json_is_true(json_object_get(line, "oob")));
    else if (strcmp(kind, "qmp") == 0 && has_side && qmp)
        session_event(s, t_ns, side, qmp);
    else if (strcmp(kind, "reply") == 0 && has_side && qmp)
        session_reply(s, t_ns, side,
                      (uint64_t)json_integer_value(json_object_get(line, "id")), qmp);
    else
        return qf_fail(err, QF_E_USAGE, "an event of unknown kind '%s'", kind);
    return 0;
}

#include "sim.h"

#include <assert.h>
#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/units.h"
#include "engine/journal_memory.h"
#include "engine/replay.h"
#include "policy/policy_json.h"
#include "qmp/qapi_json.h"

enum {
    TEXT_CAP = 64 * 1024 * 1024,
    /* A post-copy that cannot be recovered has no end, but for the person who gives up. */
    PATIENCE_S = 300,
    LIMIT_S = 3600, /* virtual; the longest of what the engine waits for is far less */
    STEPS_MAX = 200000,
    SYNC_MS = 2,
    RESTART_MS = 50,
    UNDER_WAY_MS = 10
};

/* ck_assert writes a line to a file each time: not for what is done a thousand times a run. */
static void append(struct qf_buf *b, const char *text)
{
    if (qf_buf_append(b, text, strlen(text), NULL) != 0)
        ck_abort_msg("out of memory");
}

/* ---- trace ---- */

static void say(struct sim *s, const char *fmt, ...) QF_PRINTF(2, 3);

static void say(struct sim *s, const char *fmt, ...)
{
    char line[2048];
    va_list ap;
    if (s->setup.quiet)
        return;
    int n = snprintf(line, sizeof(line), "%8.2f  ", (double)(s->t_ns - MODEL_S) / 1e9);
    va_start(ap, fmt);
    (void)vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
    va_end(ap);
    (void)strcat(line, "\n");
    append(&s->trace, line);
}

static void say_check(struct sim *s, const struct record_check *c)
{
    if (c->verdict != CHECK_OK)
        say(s, "check %s %s: %s", c->name, record_verdict_name(c->verdict), c->message);
}

static const char *number(uint64_t v, char buf[24])
{
    if (v == POLICY_UNKNOWN)
        (void)snprintf(buf, 24, "?");
    else
        (void)snprintf(buf, 24, "%llu", (unsigned long long)v);
    return buf;
}

static void say_result(struct sim *s, const struct record_result *r)
{
    char total[24];
    char down[24];
    char black[24];
    say(s,
        "= %s, exit %d, runs on: %s, %s; total %s downtime %s blackout %s ms, %llu passes",
        record_outcome_name(r->outcome), qf_code_status(r->code),
        record_place_name(r->running_on), record_mode_name(r->mode),
        number(r->total_ms, total), number(r->downtime_ms, down),
        number(r->blackout_ms, black), (unsigned long long)r->passes);
    say(s, "= %s", r->reason);
}

static void say_network(struct sim *s, const struct record_network *n)
{
    char rate[24];
    say(s, "network %s %s: %s", n->name[0] ? n->name : "none", n->address, n->reason);
    say(s, "bandwidth %s: %s", number(n->bandwidth_bytes_per_s, rate), n->bandwidth_reason);
}

static void say_record(struct sim *s, const struct record *r)
{
    switch (r->kind) {
    case RECORD_PHASE:
        say(s, "# %s", r->u.phase.name);
        break;
    case RECORD_CHECK:
        say_check(s, &r->u.check);
        break;
    case RECORD_DECISION:
        if (r->u.decision.action != POLICY_WAIT ||
            strcmp(r->u.decision.rule, "operator") == 0)
            say(s, "decision %s: %s", policy_action_name(r->u.decision.action),
                r->u.decision.because);
        break;
    case RECORD_WARNING:
        say(s, "warning: %s", r->u.text);
        break;
    case RECORD_NOTE:
        say(s, "note: %s", r->u.text);
        break;
    case RECORD_RESULT:
        say_result(s, &r->u.result);
        break;
    case RECORD_FORECAST:
        say(s, "forecast %s", policy_verdict_name(r->u.forecast.verdict));
        break;
    case RECORD_NETWORK: /* without networks it says nothing new */
        if (r->u.network.choice)
            say_network(s, &r->u.network);
        break;
    case RECORD_SAMPLE:
    case RECORD_OUTCOME:
        break;
    }
}

static void on_line(struct session *session,
                    const char *line,
                    const struct record *record,
                    void *arg)
{
    struct sim *s = arg;
    (void)session;
    append(&s->journal[s->n_sessions - 1], line);
    if (!record)
        return;
    if (record->kind == RECORD_WARNING &&
        strstr(record->u.text, "could not be put back") != NULL)
        s->told_of_settings = true;
    if (record->kind == RECORD_RESULT) {
        s->result = record->u.result;
        s->has_result = true;
    }
    say_record(s, record);
    if (record->kind != RECORD_PHASE)
        return;
    if (s->setup.later && s->later_due_ns == MODEL_NEVER &&
        strcmp(mig_phase_name(s->setup.later_phase), record->u.phase.name) == 0)
        s->later_due_ns = s->t_ns + s->setup.later_ns;
    for (unsigned i = 0; i < s->setup.n_doings; i++) {
        const struct sim_doing *d = &s->setup.doing[i];
        if (d->when == SIM_AT_PHASE && !s->doing_done[i] &&
            s->doing_due_ns[i] == MODEL_NEVER &&
            strcmp(mig_phase_name(d->phase), record->u.phase.name) == 0)
            s->doing_due_ns[i] = s->t_ns + d->t_ns;
    }
}

static const char *mark(enum mig_side_id side)
{
    return side == MIG_SRC ? "source" : "destination";
}

static bool is_query(enum qapi_command c)
{
    return strncmp(qapi_command_name(c), "query-", 6) == 0 || c == QAPI_QUERY_MACHINE ||
           c == QAPI_QUERY_CPU_TYPE;
}

static void add(char *text, size_t size, const char *fmt, ...) QF_PRINTF(3, 4);

static void add(char *text, size_t size, const char *fmt, ...)
{
    const size_t n = strlen(text);
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text + n, size - n, fmt, ap);
    va_end(ap);
}

static void say_send(struct sim *s, const struct mig_do *d)
{
    char text[1024] = "";
    const struct qapi_cmd *c = &d->u.send.cmd;
    if (s->setup.quiet || is_query(c->command))
        return;
    for (unsigned i = 0; c->command == QAPI_SET_CAPS && i < QAPI_CAP_COUNT; i++)
        if (c->u.caps.mask & (UINT64_C(1) << i))
            add(text, sizeof(text), " %s%s", c->u.caps.on & (UINT64_C(1) << i) ? "+" : "-",
                qapi_cap_name((enum qapi_cap)i));
    for (unsigned i = 0; c->command == QAPI_SET_PARAMS && i < QAPI_PARAM_COUNT; i++)
        if (c->u.params.has & (1U << i))
            add(text, sizeof(text), " %s=%llu", qapi_param_name((enum qapi_param)i),
                (unsigned long long)c->u.params.value[i]);
    for (unsigned i = 0; c->command == QAPI_SET_PARAMS && i < QAPI_TEXT_PARAM_COUNT; i++)
        if (c->u.params.has_text & (1U << i))
            add(text, sizeof(text), " %s='%s'",
                qapi_text_param_name((enum qapi_text_param)i), c->u.params.text[i]);
    if (c->command == QAPI_OBJECT_ADD || c->command == QAPI_OBJECT_DEL)
        add(text, sizeof(text), " %s %s", c->u.object.id, c->u.object.dir);
    if (c->command == QAPI_MIGRATE || c->command == QAPI_MIGRATE_INCOMING ||
        c->command == QAPI_MIGRATE_RECOVER || c->command == QAPI_MIGRATE_RESUME)
        add(text, sizeof(text), " %s%s", c->u.migrate.uri,
            c->command == QAPI_MIGRATE_RESUME ? " resume"
            : c->u.migrate.stay_on_error      ? " exit-on-error=false"
                                              : "");
    say(s, "%s < %s%s", mark(d->side), qapi_command_name(c->command), text);
}

static void say_event(struct sim *s, enum mig_side_id side, const json_t *whole)
{
    const char *name = json_string_value(json_object_get(whole, "event"));
    const json_t *data = json_object_get(whole, "data");
    const char *status = json_string_value(json_object_get(data, "status"));
    const char *reason = json_string_value(json_object_get(data, "reason"));
    if (s->setup.quiet || strcmp(name, "MIGRATION_PASS") == 0)
        return;
    say(s, "%s > %s%s%s", mark(side), name, status || reason ? " " : "",
        status   ? status
        : reason ? reason
                 : "");
}

static void say_reply(struct sim *s, enum mig_side_id side, const json_t *whole)
{
    const json_t *error = json_object_get(whole, "error");
    if (!s->setup.quiet && error)
        say(s, "%s > error: %s", mark(side),
            json_string_value(json_object_get(error, "desc")));
}

/* Attempts in vain come by the hundred: the first is told. */
static void say_down(struct sim *s, enum mig_side_id side, const char *text)
{
    if (strcmp(text, "no route to host") != 0 || s->n_refused[side]++ == 0)
        say(s, "%s > (%s)", mark(side), text);
}

/* ---- what the engine wants ---- */

static void send_command(struct sim *s, const struct mig_do *d)
{
    const struct qapi_cmd *c = &d->u.send.cmd;
    const enum model_side side = (enum model_side)d->side;
    json_t *args = NULL;
    if (qapi_encode(c, &args) != 0)
        ck_abort_msg("out of memory");
    json_t *id = json_integer((json_int_t)d->u.send.id);
    if (!is_query(c->command))
        s->n_sent++;
    if (s->setup.watch && s->setup.watch->on_send)
        s->setup.watch->on_send(s, d->side, d->u.send.id, c);
    say_send(s, d);
    model_command(s->model, side, qapi_command_name(c->command), args, id,
                  qapi_command_oob(c->command) && s->session->mig.side[d->side].oob,
                  s->t_ns);
    json_decref(args);
    json_decref(id);
}

static void kill_session(struct sim *s);

/* Is it killed before this? */
static bool ends_before(struct sim *s, const struct mig_do *d)
{
    if (d->kind == MIG_DO_RECORD || d->kind == MIG_DO_END)
        return false;
    s->n_deeds++;
    for (unsigned i = 0; i < s->setup.n_doings; i++) {
        const struct sim_doing *doing = &s->setup.doing[i];
        if (doing->when != SIM_AT_DEED || s->doing_done[i] || doing->n != s->n_deeds)
            continue;
        s->doing_done[i] = true;
        kill_session(s);
        return true;
    }
    return false;
}

static void carry_out(struct sim *s)
{
    const struct mig_todo *todo = &s->session->todo;
    for (unsigned i = 0; i < todo->n; i++) {
        const struct mig_do *d = &todo->item[i];
        if (ends_before(s, d))
            return;
        switch (d->kind) {
        case MIG_DO_OPEN:
            s->link_open[d->side] = true;
            model_open(s->model, (enum model_side)d->side, s->t_ns);
            break;
        case MIG_DO_SEND:
            if (s->link_open[d->side])
                send_command(s, d);
            break;
        case MIG_DO_CLOSE:
            s->link_open[d->side] = false;
            model_close(s->model, (enum model_side)d->side, s->t_ns);
            break;
        case MIG_DO_SYNC:
            if (s->setup.sync_ns != MODEL_NEVER)
                s->sync_due_ns =
                    s->t_ns + (s->setup.sync_ns ? s->setup.sync_ns : SYNC_MS * MODEL_MS);
            break;
        case MIG_DO_STREAM:
            say(s, "-- %s port %s is connected to, from %s --", d->u.stream.host,
                d->u.stream.port, s->session->mig.spec.bind);
            s->stream_works = model_connect(s->model, s->t_ns);
            s->stream_due_ns = s->t_ns + (s->stream_works ? 1 : 10000) * MODEL_MS;
            break;
        case MIG_DO_RESTART:
            say(s, "-- a fresh destination is started for attempt %u, over %s --",
                d->u.restart.attempt, d->u.restart.network);
            if (s->setup.restart_ns != MODEL_NEVER)
                s->replace_due_ns = s->t_ns + s->setup.restart_ns;
            break;
        case MIG_DO_SECURE:
            s->is_secured = true;
            s->n_secured++;
            if (s->setup.secured_ns != MODEL_NEVER)
                s->secured_due_ns =
                    s->t_ns + (s->setup.secured_ns ? s->setup.secured_ns : MODEL_MS);
            break;
        case MIG_DO_UNSECURE:
            ck_assert(s->is_secured);
            s->is_secured = false;
            s->secured_due_ns = MODEL_NEVER;
            break;
        case MIG_DO_PROBE:
            s->n_probes++;
            if (s->setup.network_ns != MODEL_NEVER)
                s->network_due_ns =
                    s->t_ns + (s->setup.network ? s->setup.network_ns : MODEL_MS);
            break;
        case MIG_DO_RECORD:
            break;
        case MIG_DO_END:
            model_hang_up(s->model, s->t_ns);
            s->ended = true;
            break;
        }
    }
}

/* ---- sessions ---- */

/* As engine/memory_uv.c does it with files: the newest journal first. */
static void remember(struct sim *s, const struct policy *p)
{
    struct mig_memory mem;
    struct policy given;
    struct qf_err err;
    const struct journal_clock now = s->session->clock;
    for (unsigned i = s->n_sessions - 1; i-- > 0;) {
        const struct qf_buf *b = &s->journal[i];
        const size_t tail = b->len < JOURNAL_TAIL_BYTES ? b->len : JOURNAL_TAIL_BYTES;
        const struct journal_ends ends = {b->data, b->len, b->data + b->len - tail, tail};
        switch (journal_recall(&ends, s->setup.spec.source, s->setup.spec.destination, &now,
                               &mem, &given, &err)) {
        case JOURNAL_FOREIGN:
            ck_abort_msg("%s", err.text);
        case JOURNAL_NOTHING:
            continue;
        case JOURNAL_OVER:
            return;
        case JOURNAL_MEMORY:
            break;
        }
        json_t *a = policy_dump(p);
        json_t *c = policy_dump(&given);
        mem.has_policy = mem.has_policy && json_equal(a, c);
        json_decref(a);
        json_decref(c);
        say(s, "-- it remembers --");
        if (s->setup.tamper)
            s->setup.tamper(&mem);
        session_remember(s->session, s->t_ns, &mem);
        return;
    }
}

static void start_session(struct sim *s)
{
    static const struct session_ops ops = {.on_line = on_line};
    struct qf_err err = {.text = ""};
    struct policy p;
    ck_assert_uint_lt(s->n_sessions, SIM_SESSIONS_MAX);
    ck_assert_msg(policy_preset_load(s->setup.policy ? s->setup.policy : "minimal-downtime",
                                     &p, &err) == 0,
                  "%s", err.text);
    const bool other = s->n_sessions > 0 && s->setup.policy_again;
    if (other)
        ck_assert_int_eq(policy_preset_load(s->setup.policy_again, &p, NULL), 0);
    for (unsigned i = 0; i < 4 && s->setup.set[i] && !other; i++)
        ck_assert_msg(policy_set(&p, s->setup.set[i], &err) == 0, "%s", err.text);
    if (s->n_sessions > 0 && s->setup.set_again)
        ck_assert_int_eq(policy_set(&p, s->setup.set_again, NULL), 0);
    qf_buf_init(&s->journal[s->n_sessions], TEXT_CAP);
    s->n_sessions++;
    s->n_sent_earlier = s->n_sent;
    s->sync_due_ns = MODEL_NEVER;
    s->secured_due_ns = MODEL_NEVER;
    s->network_due_ns = MODEL_NEVER;
    s->replace_due_ns = s->stream_due_ns = MODEL_NEVER;
    s->n_probes = 0;
    s->setup.spec.attach =
        s->setup.spec.attach || (s->setup.then_attach && s->n_sessions > 1);
    if (s->n_sessions > 1 && s->setup.encrypt_again != SPEC_ENCRYPT_OFF)
        s->setup.spec.encrypt = s->setup.encrypt_again;
    if (s->n_sessions > 1 && s->setup.off_again)
        s->setup.spec.encrypt = SPEC_ENCRYPT_OFF;
    if (s->setup.watch && s->setup.watch->on_engine)
        s->setup.watch->on_engine(s);
    session_init(s->session, &s->setup.spec, &p, s->t_ns,
                 INT64_C(1700000000000) + s->t_ns / MODEL_MS, &ops, s);
    if (s->setup.remembers && s->n_sessions > 1)
        remember(s, &p);
    session_begin(s->session, s->t_ns);
    carry_out(s);
}

static void kill_session(struct sim *s)
{
    say(s, "-- the engine is killed --");
    for (unsigned i = 0; i < MIG_SIDES; i++) {
        model_close(s->model, (enum model_side)i, s->t_ns);
        s->link_open[i] = false;
    }
    s->sync_due_ns = MODEL_NEVER;
    s->network_due_ns = MODEL_NEVER;
    s->secured_due_ns = MODEL_NEVER;
    s->is_secured = false; /* the next one sweeps; that is tested with files */
    s->replace_due_ns = s->stream_due_ns = MODEL_NEVER;
    model_hang_up(s->model, s->t_ns);
    s->restart_due_ns =
        s->t_ns + (s->setup.dead_ns ? s->setup.dead_ns : RESTART_MS * MODEL_MS);
}

/* ---- one thing at a time ---- */

/* Without networks the way to the address itself is probed. */
static void feed_path(struct sim *s)
{
    struct netsel_facts facts;
    memset(&facts, 0, sizeof(facts));
    facts.local[0] =
        (struct netsel_local){.interface = "eth0", .up = true, .carrier = true};
    ck_assert(netsel_ip_parse("192.0.2.6", &facts.local[0].ip));
    ck_assert(netsel_ip_parse("192.0.2.7", &facts.destination[0].ip));
    facts.destination[0].source = facts.local[0].ip;
    facts.path[0].port = NETSEL_PROBE_PORT;
    facts.path[0].answer = model_is_silent(s->model) ? NETSEL_FAILED : NETSEL_REFUSED;
    (void)snprintf(facts.path[0].fault, sizeof(facts.path[0].fault), "no answer");
    facts.n_locals = facts.n_destinations = facts.n_paths = 1;
    facts.waited_ms = 1;
    session_network(s->session, s->t_ns, &facts);
}

static void feed_message(struct sim *s, struct model_msg *msg)
{
    const enum mig_side_id side = msg->side == MODEL_SRC ? MIG_SRC : MIG_DST;
    struct qf_err why = {.code = QF_E_LOST};
    json_t *qmp = json_object_get(msg->json, "QMP");
    json_t *caps = json_object_get(qmp, "capabilities");
    if (msg->kind != MODEL_DOWN)
        s->told_down_ns[side] = 0;
    else if (s->told_down_ns[side] == 0)
        s->told_down_ns[side] = s->t_ns;
    switch (msg->kind) {
    case MODEL_GREETING:
        s->n_refused[side] = 0;
        session_up(s->session, s->t_ns, side, qmp, json_array_size(caps) > 0);
        break;
    case MODEL_REPLY:
        say_reply(s, side, msg->json);
        session_reply(s->session, s->t_ns, side,
                      (uint64_t)json_integer_value(json_object_get(msg->json, "id")),
                      msg->json);
        break;
    case MODEL_EVENT:
        say_event(s, side, msg->json);
        session_event(s->session, s->t_ns, side, msg->json);
        break;
    case MODEL_DOWN:
        say_down(s, side, msg->text);
        s->link_open[side] = false;
        (void)snprintf(why.text, sizeof(why.text), "%s", msg->text);
        session_down(s->session, s->t_ns, side, &why, msg->gone, msg->heard);
        break;
    }
    json_decref(msg->json);
    carry_out(s);
}

/* What the watch makes of it. One that is meant for a link that was closed meanwhile, or for an engine
 * that is gone, does not come. */
static void feed_watched(struct sim *s, struct model_msg *msg)
{
    struct model_msg out[SIM_MESSAGES_MAX];
    const enum mig_side_id side = msg->side == MODEL_SRC ? MIG_SRC : MIG_DST;
    const unsigned n = s->setup.watch->on_message(s, msg, out);
    json_decref(msg->json);
    for (unsigned i = 0; i < n; i++) {
        if (!s->ended && s->restart_due_ns == MODEL_NEVER && s->link_open[side])
            feed_message(s, &out[i]);
        else
            json_decref(out[i].json);
    }
}

/* A name of its own for each time, as the edge makes them. */
static void feed_secured(struct sim *s)
{
    struct mig_secured usual;
    const struct mig_secured *out = s->setup.secured;
    memset(&usual, 0, sizeof(usual));
    (void)snprintf(usual.id, sizeof(usual.id), "qferry-tls-%u", s->n_secured);
    (void)strcpy(usual.dir[MIG_SRC], "/run/qferry/tls-a");
    (void)strcpy(usual.dir[MIG_DST], "/run/qferry/tls-b");
    (void)strcpy(usual.uri[MIG_SRC], "unix:/run/qferry/tls-a/s");
    (void)strcpy(usual.uri[MIG_DST], "unix:/run/qferry/tls-b/m");
    (void)strcpy(usual.hostname, "hv2.example");
    (void)strcpy(usual.says, "as is usual");
    s->secured_due_ns = MODEL_NEVER;
    session_secured(s->session, s->t_ns, out ? out : &usual);
    carry_out(s);
}

static void tell_tunnel_gone(struct sim *s)
{
    struct mig_secured later;
    memset(&later, 0, sizeof(later));
    (void)qf_fail(&later.err, QF_E_REFUSED, "the tunnel for the memory has ended");
    session_secured(s->session, s->t_ns, &later);
    carry_out(s);
}

static void say_operator(struct sim *s, const char *text)
{
    struct operator_command c = {.kind = MIG_OPERATOR_SET, .n = 1, .set = {text}};
    struct qf_err err;
    if (operator_kind(text, &c.kind))
        c.n = 0;
    say(s, "-- the operator: %s --", text);
    if (session_operator(s->session, s->t_ns, &c, &err) == 0)
        carry_out(s);
    else
        say(s, "-- refused: %s --", err.text);
}

static void do_doing(struct sim *s, unsigned i)
{
    const struct sim_doing *d = &s->setup.doing[i];
    s->doing_done[i] = true;
    s->doing_due_ns[i] = MODEL_NEVER;
    switch (d->what) {
    case SIM_CANCEL:
        say(s, "-- the user cancels --");
        session_cancel(s->session, s->t_ns);
        carry_out(s);
        break;
    case SIM_OPERATOR:
        say_operator(s, d->operator_says);
        break;
    case SIM_RESTART:
        kill_session(s);
        break;
    case SIM_OTHERS:
        say(s, "-- others come or go --");
        session_running(s->session, s->t_ns, d->others);
        carry_out(s);
        break;
    case SIM_RECEIVER:
        say(s, "-- the destination's host says --");
        session_receiver(s->session, s->t_ns, d->links);
        carry_out(s);
        break;
    case SIM_UNSECURED:
        say(s, "-- the tunnel ends --");
        tell_tunnel_gone(s);
        break;
    case SIM_FAULT:
        say(s, "-- fault --");
        model_inject(s->model, &d->fault, s->t_ns);
        break;
    }
}

static void replace_destination(struct sim *s)
{
    if (!s->setup.restart_fails && !s->setup.restart_does_nothing) {
        model_replace_destination(s->model, s->t_ns);
        s->n_replaced++;
    }
    session_restarted(s->session, s->t_ns,
                      s->setup.restart_fails ? "ended with status 1: no such host" : NULL);
    carry_out(s);
}

static int doing_of_event(const struct sim *s)
{
    for (unsigned i = 0; i < s->setup.n_doings; i++)
        if (s->setup.doing[i].when == SIM_AT_EVENT && !s->doing_done[i] &&
            s->setup.doing[i].n <= s->n_fed + 1)
            return (int)i;
    return -1;
}

static int doing_due(const struct sim *s)
{
    int best = -1;
    for (unsigned i = 0; i < s->setup.n_doings; i++)
        if (!s->doing_done[i] && s->doing_due_ns[i] != MODEL_NEVER &&
            (best < 0 || s->doing_due_ns[i] < s->doing_due_ns[best]))
            best = (int)i;
    return best;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* While no engine runs, the world goes on and nobody listens. */
static bool step_without_engine(struct sim *s)
{
    struct model_msg msg;
    s->t_ns = s->restart_due_ns;
    model_advance(s->model, s->t_ns);
    while (model_pop(s->model, s->t_ns, &msg))
        json_decref(msg.json);
    s->restart_due_ns = MODEL_NEVER;
    say(s, "-- a new engine --");
    start_session(s);
    return true;
}

static bool is_hopeless(const struct sim *s)
{
    const struct mig *m = &s->session->mig;
    return (m->phase == MIG_RECOVER || (m->phase == MIG_POSTCOPY && m->recover.waits)) &&
           s->t_ns - m->phase_ns > PATIENCE_S * MODEL_S;
}

static void give_up(struct sim *s)
{
    say(s, "-- the user gives up --");
    for (unsigned i = 0; i < 2 && !s->ended; i++) {
        session_cancel(s->session, s->t_ns);
        carry_out(s);
    }
}

static bool step(struct sim *s)
{
    struct model_msg msg;
    if (is_hopeless(s)) {
        give_up(s);
        return true;
    }
    if (s->restart_due_ns != MODEL_NEVER)
        return step_without_engine(s);
    const int due = doing_due(s);
    const int64_t due_ns = due < 0 ? MODEL_NEVER : s->doing_due_ns[due];
    int64_t t = earlier(model_next_ns(s->model), s->sync_due_ns);
    t = earlier(earlier(t, due_ns), s->session->todo.wake_ns);
    t = earlier(earlier(t, s->network_due_ns),
                earlier(s->replace_due_ns, s->secured_due_ns));
    t = earlier(t, s->stream_due_ns);
    if (t == MODEL_NEVER || t > LIMIT_S * MODEL_S || ++s->steps > STEPS_MAX)
        return false;
    if (t > s->t_ns)
        s->t_ns = t;
    model_advance(s->model, s->t_ns);
    const int early = doing_of_event(s);
    if (early >= 0) {
        do_doing(s, (unsigned)early);
    } else if (model_pop(s->model, s->t_ns, &msg)) {
        s->n_fed++;
        if (s->setup.watch && s->setup.watch->on_message)
            feed_watched(s, &msg);
        else
            feed_message(s, &msg);
    } else if (s->sync_due_ns <= s->t_ns) {
        s->sync_due_ns = MODEL_NEVER;
        s->n_fed++;
        session_synced(s->session, s->t_ns, s->setup.sync_fails);
        carry_out(s);
    } else if (s->network_due_ns <= s->t_ns) {
        s->network_due_ns = MODEL_NEVER;
        s->n_fed++;
        if (!s->setup.network)
            feed_path(s);
        else
            session_network(s->session, s->t_ns,
                            s->later_due_ns <= s->t_ns ? s->setup.later
                            : s->n_probes > 1 && s->setup.network_later
                                ? s->setup.network_later
                                : s->setup.network);
        carry_out(s);
    } else if (s->stream_due_ns <= s->t_ns) {
        s->stream_due_ns = MODEL_NEVER;
        s->n_fed++;
        session_stream(s->session, s->t_ns,
                       s->stream_works ? NULL : "no answer within 10 s");
        carry_out(s);
    } else if (s->replace_due_ns <= s->t_ns) {
        s->replace_due_ns = MODEL_NEVER;
        s->n_fed++;
        replace_destination(s);
    } else if (s->secured_due_ns <= s->t_ns) {
        s->n_fed++;
        feed_secured(s);
    } else if (due_ns <= s->t_ns) {
        do_doing(s, (unsigned)due);
    } else if (s->session->todo.wake_ns <= s->t_ns) {
        session_timer(s->session, s->t_ns);
        carry_out(s);
    }
    return true;
}

/* After the engine's end: what was planned still happens (a destination that quits). */
static void settle(struct sim *s)
{
    struct model_msg msg;
    s->t_ns += MODEL_S;
    model_advance(s->model, s->t_ns);
    while (model_pop(s->model, s->t_ns, &msg))
        json_decref(msg.json);
}

static void say_truth(struct sim *s)
{
    const struct model_truth *t = model_truth(s->model);
    static const enum model_side sides[] = {MODEL_SRC, MODEL_DST};
    char text[256] = "";
    for (unsigned i = 0; i < MODEL_SIDES; i++) {
        const enum model_side k = sides[i];
        add(text, sizeof(text), "%s%s %s%s%s", i ? "; " : "", mark((enum mig_side_id)i),
            t->alive[k] ? qapi_run_name(t->run[k]) : "dead", t->alive[k] ? "/" : "",
            t->alive[k] ? qapi_mig_name(t->status[k]) : "");
    }
    say(s, "= in truth: %s%s%s", text, t->lost ? "; the guest is lost" : "",
        t->violation[0] ? t->violation : "");
}

static void fill(struct sim_setup *u)
{
    struct mig_spec *spec = &u->spec;
    if (spec->source[0] == '\0')
        (void)snprintf(spec->source, sizeof(spec->source), "/run/src.qmp");
    if (spec->destination[0] == '\0')
        (void)snprintf(spec->destination, sizeof(spec->destination), "/run/dst.qmp");
    if (spec->address[0] == '\0')
        (void)snprintf(spec->address, sizeof(spec->address), "192.0.2.7");
    if (spec->bandwidth_bytes_per_s == 0)
        spec->bandwidth_bytes_per_s = SPEC_BANDWIDTH_HYPERVISOR;
}

void sim_run(struct sim *s, const struct sim_setup *setup)
{
    memset(s, 0, sizeof(*s));
    s->setup = *setup;
    fill(&s->setup);
    qf_buf_init(&s->trace, TEXT_CAP);
    s->model = model_new(&s->setup.model);
    s->session = calloc(1, sizeof(*s->session));
    ck_assert_ptr_nonnull(s->model);
    ck_assert_ptr_nonnull(s->session);
    s->restart_due_ns = MODEL_NEVER;
    s->later_due_ns = MODEL_NEVER;
    for (unsigned i = 0; i < SIM_DOINGS_MAX; i++)
        s->doing_due_ns[i] = s->setup.doing[i].when == SIM_AT_TIME && i < s->setup.n_doings
                                 ? s->setup.doing[i].t_ns
                                 : MODEL_NEVER;
    s->t_ns = MODEL_S; /* a clock that is not zero at the beginning */
    start_session(s);
    while (!s->ended && step(s))
        if (s->setup.watch && s->setup.watch->on_step)
            s->setup.watch->on_step(s);
    settle(s);
    say_truth(s);
}

void sim_free(struct sim *s)
{
    for (unsigned i = 0; i < s->n_sessions; i++)
        qf_buf_fini(&s->journal[i]);
    qf_buf_fini(&s->trace);
    model_free(s->model);
    free(s->session);
    memset(s, 0, sizeof(*s));
}

const char *sim_trace(struct sim *s)
{
    ck_assert_int_eq(qf_buf_append(&s->trace, "", 1, NULL), 0);
    s->trace.len--;
    return s->trace.data;
}

/* ---- promises ---- */

static char complaint[1024];

static const char *complain(const char *fmt, ...) QF_PRINTF(1, 2);

static const char *complain(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(complaint, sizeof(complaint), fmt, ap);
    va_end(ap);
    return complaint;
}

static const char *replays(const struct sim *s)
{
    if (s->setup.no_replay)
        return "";
    for (unsigned i = 0; i < s->n_sessions; i++) {
        struct replay_report report;
        struct qf_err err = {.text = ""};
        if (replay(s->journal[i].data, s->journal[i].len, &report, &err) != 0)
            return complain("the journal does not replay: %s", err.text);
        if (report.differs != 0)
            return complain("replay differs in line %llu:\n  journal %s\n  replay  %s",
                            (unsigned long long)report.differs, report.expected,
                            report.got);
    }
    return "";
}

static bool runs_as_found(const struct sim *s, const struct model_truth *t)
{
    const enum qapi_run_state found =
        s->setup.model.run == QAPI_RUN_UNKNOWN ? QAPI_RUN_RUNNING : s->setup.model.run;
    return found == QAPI_RUN_RUNNING ? t->running[MODEL_SRC]
                                     : !t->running[MODEL_SRC] && t->alive[MODEL_SRC];
}

static const char *settings_put_back(struct sim *s)
{
    struct model *fresh = model_new(&s->setup.model);
    const struct model_truth *was = model_truth(fresh);
    const struct model_truth *is = model_truth(s->model);
    const char *text = "";
    /* nothing can be set while it lasts */
    if (s->setup.model.cancel_hangs || s->setup.model.clean_ns > 100 * MODEL_S) {
        model_free(fresh);
        return "";
    }
    if (was->caps_on[MODEL_SRC] != is->caps_on[MODEL_SRC])
        text = "capabilities of the source were not put back";
    for (unsigned i = 0; i < QAPI_TEXT_PARAM_COUNT; i++)
        if (strcmp(was->params[MODEL_SRC].text[i], is->params[MODEL_SRC].text[i]) != 0)
            text = complain("%s of the source was not put back",
                            qapi_text_param_name((enum qapi_text_param)i));
    if (memcmp(was->creds[MODEL_SRC], is->creds[MODEL_SRC], sizeof(was->creds[0])) != 0)
        text = "credentials are left in the source";
    for (unsigned i = 0; i < QAPI_PARAM_COUNT; i++)
        if (was->params[MODEL_SRC].value[i] != is->params[MODEL_SRC].value[i])
            text = complain("%s of the source was not put back",
                            qapi_param_name((enum qapi_param)i));
    model_free(fresh);
    return text;
}

static bool guest_acts(const struct sim *s)
{
    for (unsigned i = 0; i < s->setup.n_doings; i++)
        if (s->setup.doing[i].what == SIM_FAULT &&
            s->setup.doing[i].fault.what >= MODEL_POWEROFF)
            return true;
    for (unsigned i = 0; i < s->setup.n_doings; i++)
        if (s->setup.doing[i].what == SIM_FAULT &&
            s->setup.doing[i].fault.what == MODEL_COMMANDED)
            return true;
    return false;
}

static const char *promise(struct sim *s)
{
    const struct model_truth *t = model_truth(s->model);
    const int status = qf_code_status(s->result.code);
    const bool taken_up = s->n_sessions > 1;
    const bool forgot = taken_up && !s->setup.remembers;
    const bool could_run_there =
        t->running[MODEL_DST] || (t->alive[MODEL_DST] && t->whole[MODEL_DST]);
    switch (status) {
    case 0:
        if (s->setup.spec.dry_run)
            return runs_as_found(s, t) && !could_run_there ? ""
                                                           : "the dry run did something";
        if (!t->alive[MODEL_DST] && t->ran_on_dst)
            return ""; /* it died after it had taken over, in the last moment */
        if (!t->alive[MODEL_DST] || (!t->whole[MODEL_DST] && !t->ran_on_dst && !t->split))
            return "exit 0 and the destination does not have the guest";
        if (t->running[MODEL_SRC])
            return "exit 0 and the source runs";
        if (!taken_up && !guest_acts(s) &&
            t->running[MODEL_DST] != (s->setup.model.run == QAPI_RUN_UNKNOWN ||
                                      s->setup.model.run == QAPI_RUN_RUNNING ||
                                      s->setup.model.run == QAPI_RUN_SUSPENDED))
            return "exit 0 and the guest does not stand as it was found";
        return s->result.running_on == PLACE_DESTINATION ? "" : "exit 0, not running_on";
    case 3:
    case 4:
    case 5:
        if (could_run_there)
            return "the destination could run the guest";
        if (!taken_up && !guest_acts(s) && !runs_as_found(s, t))
            return "the source does not run as it was found";
        if (s->result.running_on != PLACE_SOURCE &&
            !(s->result.running_on == PLACE_UNKNOWN && s->n_sent == 0)) /* never seen it */
            return "running_on is not the source";
        return forgot ? "" : settings_put_back(s);
    case 6:
        if (could_run_there && !taken_up)
            return "the destination could run the guest";
        return t->alive[MODEL_SRC] && !forgot ? settings_put_back(s) : "";
    case 7:
        return "";
    default:
        return "an exit status that must not be";
    }
}

/* With two faults it can come to what one fault never leads to, and what no engine can help:
 *
 *   the source has died, and nobody has said so yet
 *   a destination in post-copy is continued, or one that cannot run the guest is told to quit, and that
 *   the source is dead comes later; it is said then
 *   a destination says that it quits, its monitor ends, and for a moment it is there yet
 *   settings cannot be put back since QEMU refuses that; there is a warning
 *   an engine is stopped before it has asked anything, while the move of an earlier one is under way:
 *   it has touched nothing, and says that it does not know where the guest is */
static bool is_forgiven(const struct sim *s, const char *what)
{
    const struct model_truth *t = model_truth(s->model);
    const bool knows_nothing =
        s->result.running_on == PLACE_UNKNOWN && s->n_sent == s->n_sent_earlier;
    if (!s->setup.two_faults)
        return false;
    const int64_t told_ns = s->told_down_ns[MIG_SRC];
    /* QEMU takes some time from the command to what it does, more where that is the fault */
    int64_t under_way_ns = UNDER_WAY_MS * MODEL_MS;
    for (unsigned i = 0; i < s->setup.model.n_faults; i++)
        if (s->setup.model.fault[i].what == MODEL_DELAY)
            under_way_ns += s->setup.model.fault[i].for_ns;
    const bool died_unheard =
        !t->alive[MODEL_SRC] && (told_ns == 0 || told_ns > t->violation_ns - under_way_ns);
    if (strcmp(what, "the source is continued while the destination could be") == 0)
        return !t->alive[MODEL_DST] && !t->ran_on_dst;
    if (strcmp(what, t->violation) == 0)
        return (strcmp(what, "the destination runs an incomplete copy") == 0 ||
                strcmp(what, "the last good copy was told to quit") == 0) &&
               died_unheard && s->result.code == QF_E_HELD;
    if (strstr(what, "put back") || strstr(what, "are left in the source"))
        return s->told_of_settings;
    if (strcmp(what, "the source does not run as it was found") == 0)
        return !t->alive[MODEL_SRC] && told_ns == 0;
    return knows_nothing;
}

const char *sim_complaint(struct sim *s)
{
    const struct model_truth *t = model_truth(s->model);
    if (t->violation[0] != '\0' && !is_forgiven(s, t->violation))
        return complain("%.3f s: %s", (double)t->violation_ns / 1e9, t->violation);
    if (!s->ended || !s->has_result)
        return complain("no end after %.0f s, %llu steps, in %s", (double)s->t_ns / 1e9,
                        s->steps, mig_phase_name(s->session->mig.phase));
    if (t->running[MODEL_SRC] && s->result.running_on == PLACE_DESTINATION)
        return "the result says destination, the source runs";
    if (s->is_secured)
        return "what was made ready for encryption was not removed";
    const char *p = promise(s);
    return *p && !is_forgiven(s, p) ? p : replays(s);
}

/* ---- golden texts ---- */

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f)
        return NULL;
    char *text = calloc(1, 4 * 1024 * 1024);
    ck_assert_ptr_nonnull(text);
    (void)!fread(text, 1, 4 * 1024 * 1024 - 1, f);
    (void)fclose(f);
    return text;
}

static void show_difference(const char *name, const char *want, const char *got)
{
    unsigned line = 1;
    size_t start = 0;
    size_t i = 0;
    while (want[i] != '\0' && want[i] == got[i]) {
        if (want[i] == '\n') {
            line++;
            start = i + 1;
        }
        i++;
    }
    ck_abort_msg(
        "tests/golden/sim-%s.txt, line %u differs:\n  golden: %.*s\n  now:    %.*s\n"
        "(QFERRY_UPDATE_GOLDEN=1 rewrites it)",
        name, line, (int)strcspn(want + start, "\n"), want + start,
        (int)strcspn(got + start, "\n"), got + start);
}

void sim_golden(const char *name, const char *text)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/tests/golden/sim-%s.txt", QFERRY_SOURCE_DIR,
                   name);
    if (getenv("QFERRY_UPDATE_GOLDEN")) {
        FILE *f = fopen(path, "w");
        ck_assert_msg(f != NULL, "%s cannot be written", path);
        (void)fputs(text, f);
        (void)fclose(f);
        return;
    }
    char *want = read_file(path);
    ck_assert_msg(want != NULL, "%s is missing: run with QFERRY_UPDATE_GOLDEN=1", path);
    if (strcmp(want, text) != 0)
        show_difference(name, want, text);
    free(want);
}

/* ---- guests ---- */

struct sim_setup sim_usual(void)
{
    struct sim_setup u;
    memset(&u, 0, sizeof(u));
    u.model.ram_bytes = 256 * QF_MIB;
    u.model.working_set_bytes = 32 * QF_MIB;
    u.model.rate[0].pages_per_s = 4000;
    u.model.link_bytes_per_s = 125000000;
    return u;
}

struct sim_setup sim_busy(void)
{
    struct sim_setup u = sim_usual();
    u.model.working_set_bytes = 100 * QF_MIB;
    u.model.rate[0].pages_per_s = 100000;
    return u;
}

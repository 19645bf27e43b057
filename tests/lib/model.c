/* The frame of the model: time, processes, monitors, faults, the truth. What a command does is in
 * model_command.c, what a migration does in model_flow.c. */
#include "model_priv.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GREETING_US = 1000, REFUSED_US = 500, REPLY_US = 200, EVENT_US = 100, EXIT_MS = 3 };

#define US INT64_C(1000)

static void befall(struct model *m,
                   const struct model_fault *f,
                   enum model_side side,
                   struct out *out);

/* ---- plans ---- */

static void plan_at(
    struct model *m, enum plan plan, int64_t t_ns, unsigned arg, unsigned epoch)
{
    assert(m->n_agenda < AGENDA_MAX);
    m->agenda[m->n_agenda++] = (struct agendum){
        .t_ns = t_ns, .seq = m->seq++, .plan = plan, .arg = arg, .epoch = epoch};
}

void model_plan(struct model *m, enum plan plan, int64_t in_ns, unsigned arg)
{
    plan_at(m, plan, m->now_ns + in_ns, arg, m->flow.epoch);
}

static int earliest(const struct model *m)
{
    int best = -1;
    for (unsigned i = 0; i < m->n_agenda; i++) {
        const struct agendum *a = &m->agenda[i];
        const struct agendum *b = best < 0 ? NULL : &m->agenda[best];
        if (!b || a->t_ns < b->t_ns || (a->t_ns == b->t_ns && a->seq < b->seq))
            best = (int)i;
    }
    return best;
}

/* ---- messages ---- */

static struct out *add_out(
    struct model *m, enum model_side side, enum model_kind kind, json_t *json, int64_t t_ns)
{
    assert(m->n_out < OUT_MAX);
    struct out *o = &m->out[m->n_out++];
    *o = (struct out){.seq = m->seq++};
    o->msg.kind = kind;
    o->msg.side = side;
    o->msg.t_ns = t_ns;
    o->msg.json = json;
    return o;
}

static bool matches(const struct model_fault *f,
                    enum model_when when,
                    enum model_side side,
                    const char *name)
{
    return f->when == when && (f->side == MODEL_ANY || f->side == side) &&
           (!f->name || (name && strcmp(f->name, name) == 0));
}

static bool is_its_turn(struct model *m, unsigned i)
{
    const unsigned n = m->setup.fault[i].n;
    return ++m->fault_seen[i] == (n ? n : 1);
}

/* Put out one message; json is taken over. */
static void put_out(struct model *m,
                    enum model_side side,
                    enum model_kind kind,
                    const char *name,
                    json_t *json,
                    int64_t in_ns,
                    bool oob)
{
    struct one *s = &m->one[side];
    if (!s->connected) {
        json_decref(json);
        return;
    }
    int64_t t_ns = m->now_ns + in_ns;
    if (t_ns < s->hold_all_ns)
        t_ns = s->hold_all_ns;
    if (kind == MODEL_REPLY && !oob && t_ns < s->hold_replies_ns)
        t_ns = s->hold_replies_ns;
    const unsigned at = m->n_out;
    (void)add_out(m, side, kind, json, t_ns);
    s->messages++;
    for (unsigned i = 0; i < m->setup.n_faults; i++)
        if (matches(&m->setup.fault[i], MODEL_AT_MESSAGE, side, name) && is_its_turn(m, i))
            befall(m, &m->setup.fault[i], side, &m->out[at]);
    for (unsigned i = at; i < m->n_out; i++) {
        struct out *o = &m->out[i];
        if (o->msg.t_ns == MODEL_NEVER) { /* lost */
            json_decref(o->msg.json);
            *o = m->out[--m->n_out];
            i--;
        }
    }
}

void model_event(struct model *m, enum model_side side, const char *name, json_t *data)
{
    json_t *e = json_pack("{s:s, s:{s:I, s:I}}", "event", name, "timestamp", "seconds",
                          (json_int_t)(1700000000 + m->now_ns / MODEL_S), "microseconds",
                          (json_int_t)(m->now_ns % MODEL_S / US));
    if (data)
        (void)json_object_set_new(e, "data", data);
    put_out(m, side, MODEL_EVENT, name, e, EVENT_US * US, false);
}

void model_status(struct model *m, enum model_side side, enum qapi_mig_status status)
{
    struct one *s = &m->one[side];
    s->status = status;
    const bool always = side == MODEL_DST && status == QAPI_MIG_SETUP &&
                        s->cfg.flavour == MODEL_7_2; /* fact sheet 1.1, events */
    if (always || (s->caps & QAPI_CAP_BIT(EVENTS)))
        model_event(m, side, "MIGRATION",
                    json_pack("{s:s}", "status", qapi_mig_name(status)));
}

/* ---- links ---- */

static void drop_pending_output(struct model *m, enum model_side side)
{
    unsigned n = 0;
    for (unsigned i = 0; i < m->n_out; i++) {
        if (m->out[i].msg.side == side)
            json_decref(m->out[i].msg.json);
        else
            m->out[n++] = m->out[i];
    }
    m->n_out = n;
}

static void put_down(struct model *m, enum model_side side, const char *text, bool gone)
{
    int64_t t_ns = m->now_ns + EVENT_US * US;
    for (unsigned i = 0; i < m->n_out; i++)
        if (m->out[i].msg.side == side && m->out[i].msg.t_ns > t_ns)
            t_ns = m->out[i].msg.t_ns;
    struct out *o = add_out(m, side, MODEL_DOWN, NULL, t_ns);
    o->msg.gone = gone;
    o->msg.heard = !m->one[side].alive;
    (void)snprintf(o->msg.text, sizeof(o->msg.text), "%s", text);
    m->one[side].connected = false;
}

void model_open(struct model *m, enum model_side side, int64_t t_ns)
{
    struct one *s = &m->one[side];
    model_advance(m, t_ns);
    drop_pending_output(m, side);
    s->connection++;
    s->connected = false;
    if (!s->alive) {
        struct out *o = add_out(m, side, MODEL_DOWN, NULL, t_ns + REFUSED_US * US);
        o->msg.gone = true;
        (void)snprintf(o->msg.text, sizeof(o->msg.text), "connection refused");
        return;
    }
    if (t_ns < s->no_connect_ns) {
        struct out *o = add_out(m, side, MODEL_DOWN, NULL, t_ns + REFUSED_US * US);
        (void)snprintf(o->msg.text, sizeof(o->msg.text), "no route to host");
        return;
    }
    if (s->cfg.busy)
        return;
    s->connected = true;
    put_out(m, side, MODEL_GREETING, "greeting", model_greeting(s), GREETING_US * US, true);
}

void model_close(struct model *m, enum model_side side, int64_t t_ns)
{
    model_advance(m, t_ns);
    drop_pending_output(m, side);
    m->one[side].connected = false;
    m->one[side].connection++;
}

static void cut(struct model *m, enum model_side side, int64_t for_ns)
{
    struct one *s = &m->one[side];
    s->no_connect_ns = for_ns == MODEL_NEVER ? MODEL_NEVER : m->now_ns + for_ns;
    if (!s->connected)
        return;
    drop_pending_output(m, side);
    put_down(m, side, "connection reset", false);
    s->connection++;
}

/* ---- processes ---- */

static void forget_pending(struct one *s)
{
    for (unsigned i = 0; i < s->n_pending; i++) {
        free(s->pending[i].name);
        json_decref(s->pending[i].args);
        json_decref(s->pending[i].id);
    }
    s->n_pending = 0;
}

void model_kill(struct model *m, enum model_side side)
{
    struct one *s = &m->one[side];
    if (!s->alive)
        return;
    s->alive = false;
    m->truth.alive[side] = false;
    m->truth.running[side] = false;
    m->truth.whole[side] = false;
    forget_pending(s);
    if (s->connected)
        put_down(m, side, "connection closed by QEMU", false);
    flow_died(m, side);
    const bool anywhere = m->truth.whole[MODEL_SRC] || m->truth.whole[MODEL_DST];
    if (!anywhere) { /* of a split guest each side is needed */
        if (!m->truth.lost && s->exit_by_engine)
            model_blame(m, "the last good copy was told to quit");
        m->truth.lost = true;
    }
}

/* ---- the truth ---- */

void model_blame(struct model *m, const char *what)
{
    if (m->truth.violation[0] != '\0')
        return;
    (void)snprintf(m->truth.violation, sizeof(m->truth.violation), "%s", what);
    m->truth.violation_ns = m->now_ns;
}

void model_check(struct model *m)
{
    struct model_truth *t = &m->truth;
    for (unsigned i = 0; i < MODEL_SIDES; i++) {
        const struct one *s = &m->one[i];
        /* A destination that was no incoming one runs some other guest. */
        const bool other = i == MODEL_DST && m->setup.dst_run != QAPI_RUN_INMIGRATE;
        const bool runs = s->alive && flow_runs(s->run) && !other;
        if (runs && !t->running[i] && !t->whole[i] && !(i == MODEL_DST && t->split))
            model_blame(m, i == MODEL_SRC ? "the source runs a copy that is not current"
                                          : "the destination runs an incomplete copy");
        t->running[i] = runs;
        t->alive[i] = s->alive;
        t->run[i] = s->run;
        t->status[i] = s->status;
        t->caps_on[i] = s->caps;
        t->params[i] = s->params;
        memcpy(t->creds[i], s->creds, sizeof(t->creds[i]));
    }
    if (t->running[MODEL_SRC] && t->running[MODEL_DST])
        model_blame(m, "the guest runs on both sides");
    /* Who runs makes the other's copy stale. */
    if (t->running[MODEL_SRC])
        t->whole[MODEL_DST] = false;
    if (t->running[MODEL_DST]) {
        t->whole[MODEL_SRC] = false;
        t->ran_on_dst = true;
    }
}

const struct model_truth *model_truth(struct model *m)
{
    model_check(m);
    return &m->truth;
}

bool model_is_cap(const struct model *m, enum model_side side, enum qapi_cap cap)
{
    return (m->one[side].caps & (UINT64_C(1) << (unsigned)cap)) != 0;
}

/* ---- commands ---- */

static json_t *make_reply(const struct answer *a, json_t *id)
{
    json_t *r = a->error ? json_pack("{s:{s:s, s:s}}", "error", "class",
                                     a->error_class ? a->error_class : "GenericError",
                                     "desc", a->error)
                         : json_pack("{s:o}", "return", a->ret ? a->ret : json_object());
    if (id)
        (void)json_object_set(r, "id", id);
    return r;
}

static void carry_out(struct model *m,
                      enum model_side side,
                      const char *name,
                      json_t *args,
                      json_t *id,
                      bool oob,
                      unsigned connection)
{
    struct one *s = &m->one[side];
    struct answer a = {.ret = NULL};
    model_execute(m, side, name, args, oob, true, &a);
    if (s->alive && s->connection == connection)
        put_out(m, side, MODEL_REPLY, name, make_reply(&a, id),
                s->cfg.reply_ns ? s->cfg.reply_ns : REPLY_US * US, oob);
    else
        json_decref(a.ret);
    if (s->exiting)
        model_plan(m, PLAN_EXIT, EXIT_MS * MODEL_MS, side);
    model_check(m);
}

static void stall(struct model *m, enum model_side side, int64_t for_ns)
{
    struct one *s = &m->one[side];
    const int64_t until = for_ns == MODEL_NEVER ? MODEL_NEVER : m->now_ns + for_ns;
    if (until > s->stall_ns)
        s->stall_ns = until;
    if (until != MODEL_NEVER)
        plan_at(m, PLAN_COMMANDS, until, side, 0);
}

void model_unstall(struct model *m, enum model_side side)
{
    m->one[side].stall_ns = m->now_ns;
    model_plan(m, PLAN_COMMANDS, 0, side);
}

static void run_pending(struct model *m, enum model_side side)
{
    struct one *s = &m->one[side];
    while (s->alive && s->n_pending > 0 && s->stall_ns <= m->now_ns) {
        const struct pending p = s->pending[0];
        s->n_pending--;
        memmove(s->pending, s->pending + 1, s->n_pending * sizeof(s->pending[0]));
        carry_out(m, side, p.name, p.args, p.id, false, p.connection);
        free(p.name);
        json_decref(p.args);
        json_decref(p.id);
    }
}

static void enqueue(
    struct model *m, enum model_side side, const char *name, json_t *args, json_t *id)
{
    struct one *s = &m->one[side];
    assert(s->n_pending < PENDING_MAX);
    struct pending *p = &s->pending[s->n_pending++];
    *p = (struct pending){.connection = s->connection};
    p->name = strdup(name);
    p->args = json_incref(args);
    p->id = json_incref(id);
}

/* The first fault whose turn it is with this command. */
static const struct model_fault *fault_of_command(struct model *m,
                                                  enum model_side side,
                                                  const char *name)
{
    const struct model_fault *found = NULL;
    for (unsigned i = 0; i < m->setup.n_faults; i++)
        if (matches(&m->setup.fault[i], MODEL_AT_COMMAND, side, name) && is_its_turn(m, i))
            found = &m->setup.fault[i];
    return found;
}

static enum model_side victim_of(const struct model_fault *f, enum model_side side)
{
    if (!f->other)
        return side;
    return side == MODEL_SRC ? MODEL_DST : MODEL_SRC;
}

void model_command(struct model *m,
                   enum model_side side,
                   const char *name,
                   json_t *args,
                   json_t *id,
                   bool oob,
                   int64_t t_ns)
{
    struct one *s = &m->one[side];
    model_advance(m, t_ns);
    if (!s->alive || !s->connected)
        return;
    s->commands++;
    const struct model_fault *f = fault_of_command(m, side, name);
    if (f && f->what == MODEL_LOSE)
        return;
    if (f && f->what == MODEL_REFUSE) {
        const struct answer a = {.error = f->text ? f->text : "refused by the test"};
        put_out(m, side, MODEL_REPLY, name, make_reply(&a, id), REPLY_US * US, oob);
        return;
    }
    if (f && f->what == MODEL_DELAY)
        stall(m, side, f->for_ns);
    else if (f && f->what != MODEL_DIE_AFTER)
        befall(m, f, side, NULL);
    if (f && f->what == MODEL_CUT_LOSE)
        return;
    if (s->alive) { /* also when the link was cut: it had arrived */
        if (!oob && (s->n_pending > 0 || s->stall_ns > m->now_ns))
            enqueue(m, side, name, args, id);
        else
            carry_out(m, side, name, args, id, oob, s->connection);
    }
    if (f && f->what == MODEL_DIE_AFTER) {
        if (m->one[victim_of(f, side)]
                .connected) /* else it is to be told that the link is down */
            drop_pending_output(m, victim_of(f, side));
        model_kill(m, victim_of(f, side));
    }
    model_check(m);
}

/* ---- faults ---- */

static void delay_message(struct model *m, struct out *o, int64_t for_ns)
{
    struct one *s = &m->one[o->msg.side];
    o->msg.t_ns += for_ns;
    if (o->msg.kind == MODEL_REPLY)
        s->hold_replies_ns = o->msg.t_ns;
    else
        s->hold_all_ns = o->msg.t_ns;
}

static void command_of_others(struct model *m, enum model_side side, const char *name)
{
    struct answer a = {.ret = NULL};
    model_execute(m, side, name, NULL, false, false, &a);
    json_decref(a.ret);
    if (m->one[side].exiting)
        model_plan(m, PLAN_EXIT, EXIT_MS * MODEL_MS, side);
}

static void befall(struct model *m,
                   const struct model_fault *f,
                   enum model_side side,
                   struct out *out)
{
    const enum model_side victim = victim_of(f, side);
    switch (f->what) {
    case MODEL_NOTHING:
    case MODEL_REFUSE:
        break;
    case MODEL_LOSE:
        if (out)
            out->msg.t_ns = MODEL_NEVER;
        break;
    case MODEL_DELAY:
        if (out)
            delay_message(m, out, f->for_ns);
        break;
    case MODEL_DUPLICATE:
        if (out)
            (void)add_out(m, side, out->msg.kind, json_incref(out->msg.json),
                          out->msg.t_ns);
        break;
    case MODEL_DIE:
    case MODEL_DIE_AFTER:
        model_kill(m, victim);
        break;
    case MODEL_CUT:
    case MODEL_CUT_LOSE:
        cut(m, victim, f->for_ns);
        break;
    case MODEL_STALL:
        stall(m, victim, f->for_ns);
        break;
    case MODEL_COMMANDED:
        command_of_others(m, victim, f->text);
        break;
    case MODEL_NET_SILENT:
    case MODEL_NET_RESET:
        flow_net(m, f);
        break;
    case MODEL_ACK_LOST:
        m->flow.ack_lost = true;
        break;
    case MODEL_LOAD_FAILS:
        m->flow.load_fails = true;
        break;
    case MODEL_POWEROFF:
    case MODEL_RESET:
    case MODEL_PANIC:
    case MODEL_IO_ERROR:
    case MODEL_SUSPEND:
        flow_guest(m, f->what);
        break;
    }
    model_check(m);
}

void model_inject(struct model *m, const struct model_fault *fault, int64_t t_ns)
{
    model_advance(m, t_ns);
    befall(m, fault, fault->side, NULL);
}

/* ---- time ---- */

static void happen(struct model *m, const struct agendum *a)
{
    const enum model_side side = a->arg == MODEL_DST ? MODEL_DST : MODEL_SRC;
    switch (a->plan) {
    case PLAN_FAULT:
        befall(m, &m->setup.fault[a->arg], m->setup.fault[a->arg].side, NULL);
        break;
    case PLAN_COMMANDS:
        run_pending(m, side);
        break;
    case PLAN_EXIT:
        model_kill(m, side);
        break;
    case PLAN_CONNECTED:
    case PLAN_TICK:
    case PLAN_SENT:
    case PLAN_LOADED:
    case PLAN_PC_ARRIVED:
    case PLAN_PC_ACTIVE:
    case PLAN_PC_LOADED:
    case PLAN_ACK:
    case PLAN_LAST:
    case PLAN_POSTMIGRATE:
    case PLAN_RESUME:
    case PLAN_CANCELLED:
    case PLAN_FAILED:
    case PLAN_CLEAN:
    case PLAN_PEER_LOST:
    case PLAN_SILENCE:
    case PLAN_DST_LOST:
    case PLAN_NET_BACK:
    case PLAN_RESUMED:
    case PLAN_RECOVERED:
        if (a->epoch == m->flow.epoch || flow_is_of_destination(a->plan))
            flow_plan(m, a->plan, a->arg);
        break;
    }
    model_check(m);
}

void model_advance(struct model *m, int64_t t_ns)
{
    assert(t_ns >= m->now_ns);
    for (;;) {
        const int i = earliest(m);
        if (i < 0 || m->agenda[i].t_ns > t_ns)
            break;
        const struct agendum a = m->agenda[i];
        m->agenda[i] = m->agenda[--m->n_agenda];
        if (a.t_ns > m->now_ns)
            m->now_ns = a.t_ns;
        happen(m, &a);
    }
    m->now_ns = t_ns;
}

static int first_out(const struct model *m)
{
    int best = -1;
    for (unsigned i = 0; i < m->n_out; i++) {
        const struct out *a = &m->out[i];
        const struct out *b = best < 0 ? NULL : &m->out[best];
        if (!b || a->msg.t_ns < b->msg.t_ns ||
            (a->msg.t_ns == b->msg.t_ns &&
             (a->msg.side < b->msg.side ||
              (a->msg.side == b->msg.side && a->seq < b->seq))))
            best = (int)i;
    }
    return best;
}

int64_t model_next_ns(const struct model *m)
{
    const int i = earliest(m);
    const int o = first_out(m);
    const int64_t a = i < 0 ? MODEL_NEVER : m->agenda[i].t_ns;
    const int64_t b = o < 0 ? MODEL_NEVER : m->out[o].msg.t_ns;
    return a < b ? a : b;
}

bool model_pop(struct model *m, int64_t t_ns, struct model_msg *out)
{
    const int i = first_out(m);
    if (i < 0 || m->out[i].msg.t_ns > t_ns)
        return false;
    *out = m->out[i].msg;
    m->out[i] = m->out[--m->n_out];
    return true;
}

unsigned model_commands(const struct model *m, enum model_side side)
{
    if (side == MODEL_ANY)
        return m->one[MODEL_SRC].commands + m->one[MODEL_DST].commands;
    return m->one[side].commands;
}

unsigned model_messages(const struct model *m, enum model_side side)
{
    if (side == MODEL_ANY)
        return m->one[MODEL_SRC].messages + m->one[MODEL_DST].messages;
    return m->one[side].messages;
}

/* ---- birth and end ---- */

static void fill_machine(struct model_machine *c, uint64_t ram_bytes)
{
    static const struct qapi_pci_dev usual[] = {
        {0, 0, 0, 0x8086, 0x1237, 0x1af41100},
        {0, 1, 0, 0x8086, 0x7000, 0x1af41100},
        {0, 3, 0, 0x1af4, 0x1000, 0x1af40001},
    };
    if (!c->arch)
        c->arch = "x86_64";
    if (!c->type)
        c->type = "pc-i440fx-7.2";
    if (!c->cpu_type)
        c->cpu_type = "qemu64-x86_64-cpu";
    if (!c->uuid)
        c->uuid = "11111111-2222-3333-4444-555555555555";
    if (c->cpus == 0)
        c->cpus = 2;
    if (c->ram_bytes == 0)
        c->ram_bytes = ram_bytes;
    if (c->n_pci == 0) {
        c->n_pci = 3;
        memcpy(c->pci, usual, sizeof(usual));
    }
}

static void fill_setup(struct model_setup *s)
{
    if (s->ram_bytes == 0)
        s->ram_bytes = QF_GIB;
    if (s->link_bytes_per_s == 0)
        s->link_bytes_per_s = 1000000000;
    if (s->device_ns == 0)
        s->device_ns = 8 * MODEL_MS;
    if (s->connect_ns == 0)
        s->connect_ns = 3 * MODEL_MS;
    if (s->clean_ns == 0)
        s->clean_ns = 30 * MODEL_MS;
    if (s->silence_ns == 0)
        s->silence_ns = 924 * MODEL_S;
    if (s->run == QAPI_RUN_UNKNOWN)
        s->run = QAPI_RUN_RUNNING;
    if (s->dst_run == QAPI_RUN_UNKNOWN)
        s->dst_run = QAPI_RUN_INMIGRATE;
    fill_machine(&s->machine[MODEL_SRC], s->ram_bytes);
    fill_machine(&s->machine[MODEL_DST], s->ram_bytes);
}

static void begin_destination(struct model *m)
{
    struct one *d = &m->one[MODEL_DST];
    d->run = m->setup.dst_run;
    d->autostart = m->setup.dst_autostart;
    if (m->setup.dst_listens) {
        d->incoming_used = d->listening = true;
        d->status = QAPI_MIG_SETUP;
        d->port = 49200;
    }
}

static void forget_destination_plans(struct model *m)
{
    unsigned n = 0;
    for (unsigned i = 0; i < m->n_agenda; i++) {
        const struct agendum *a = &m->agenda[i];
        const bool its =
            (a->plan == PLAN_COMMANDS || a->plan == PLAN_EXIT) && a->arg == MODEL_DST;
        if (!its && !flow_is_of_destination(a->plan))
            m->agenda[n++] = *a;
    }
    m->n_agenda = n;
}

void model_replace_destination(struct model *m, int64_t t_ns)
{
    struct one *d = &m->one[MODEL_DST];
    model_advance(m, t_ns);
    if (flow_in_progress(m))
        model_blame(m, "the destination was replaced while the source migrates");
    if (m->truth.split || m->truth.ran_on_dst || (d->alive && m->truth.whole[MODEL_DST]))
        model_blame(m, "a destination that had the guest was replaced");
    model_kill(m, MODEL_DST);
    forget_pending(d);
    forget_destination_plans(m);
    const struct one was = *d;
    *d = (struct one){.cfg = was.cfg,
                      .side = MODEL_DST,
                      .alive = true,
                      .status = QAPI_MIG_NONE,
                      .connection = was.connection + 1,
                      .commands = was.commands,
                      .messages = was.messages};
    model_offers(d);
    begin_destination(m);
    flow_renew(m);
    model_check(m);
}

struct model *model_new(const struct model_setup *setup)
{
    struct model *m = calloc(1, sizeof(*m));
    if (!m)
        return NULL;
    m->setup = *setup;
    fill_setup(&m->setup);
    for (unsigned i = 0; i < MODEL_SIDES; i++) {
        struct one *s = &m->one[i];
        s->cfg = m->setup.machine[i];
        s->side = i == 0 ? MODEL_SRC : MODEL_DST;
        s->alive = !s->cfg.dead;
        s->status = QAPI_MIG_NONE;
        model_offers(s);
    }
    m->one[MODEL_SRC].run = m->setup.run;
    begin_destination(m);
    m->truth.whole[MODEL_SRC] = m->one[MODEL_SRC].alive;
    for (unsigned i = 0; i < m->setup.n_faults; i++)
        if (m->setup.fault[i].when == MODEL_AT_TIME)
            plan_at(m, PLAN_FAULT, m->setup.fault[i].t_ns, i, 0);
    model_check(m);
    return m;
}

void model_free(struct model *m)
{
    if (!m)
        return;
    for (unsigned i = 0; i < MODEL_SIDES; i++)
        forget_pending(&m->one[i]);
    for (unsigned i = 0; i < m->n_out; i++)
        json_decref(m->out[i].msg.json);
    free(m);
}

bool model_is_silent(const struct model *m)
{
    return m->flow.net_silent || (m->silent && !m->silent_text);
}

/* A world that answers anything: the machine takes it without a broken assertion, asks within its
 * bounds, never sleeps without a deadline, and starts no second copy of the guest. The first byte
 * chooses policy and request; every further one is something that happens. */
#include "fuzz.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/units.h"
#include "engine/mig.h"
#include "engine/operator.h"
#include "netsel/networks_json.h"
#include "policy/policy_json.h"

struct world {
    struct mig mig;
    struct mig_todo todo;
    const uint8_t *data;
    size_t left;
    int64_t t_ns;
    bool opening[MIG_SIDES];
    bool open[MIG_SIDES];
    bool syncing;
    bool probing;
    bool probing_ours; /* asked for, and not answered once */
    bool restarting;
    bool securing;
    bool secured; /* asked for, and not removed */
    bool streaming;
    uint64_t caps[MIG_SIDES];
    struct qapi_params params;
    struct ask {
        uint64_t id; /* 0: free */
        enum mig_side_id side;
        struct qapi_cmd cmd;
    } ask[MIG_ASKS_MAX];
    bool cont_dst; /* and it did not refuse */
};

static uint8_t byte(struct world *w)
{
    if (w->left == 0)
        return 0;
    w->left--;
    return *w->data++;
}

static void forget(struct world *w, enum mig_side_id side)
{
    for (struct ask *a = w->ask; a < w->ask + MIG_ASKS_MAX; a++)
        if (a->side == side)
            a->id = 0;
}

static void take_send(struct world *w, const struct mig_do *d)
{
    struct ask *a = w->ask;
    MUST(w->open[d->side] && d->u.send.id != 0);
    MUST(d->u.send.cmd.command < QAPI_COMMAND_COUNT);
    /* Two that run: cont to the source after the destination took it. */
    MUST(!(d->u.send.cmd.command == QAPI_CONT && d->side == MIG_SRC && w->cont_dst));
    if (d->u.send.cmd.command == QAPI_CONT && d->side == MIG_DST)
        w->cont_dst = true;
    while (a < w->ask + MIG_ASKS_MAX && a->id != 0)
        a++;
    if (a == w->ask + MIG_ASKS_MAX) /* the machine gave some up: so do we */
        a = w->ask;
    *a = (struct ask){.id = d->u.send.id, .side = d->side, .cmd = d->u.send.cmd};
}

static void step(struct world *w, const struct mig_event *ev)
{
    mig_step(&w->mig, ev, &w->todo);
    MUST(w->todo.n <= MIG_TODO_MAX);
    MUST(w->mig.ended ? w->todo.wake_ns == INT64_MAX : w->todo.wake_ns < INT64_MAX);
    for (unsigned i = 0; i < w->todo.n; i++) {
        const struct mig_do *d = &w->todo.item[i];
        switch (d->kind) {
        case MIG_DO_OPEN:
            MUST(!w->open[d->side] && !w->opening[d->side]);
            w->opening[d->side] = true;
            break;
        case MIG_DO_SEND:
            take_send(w, d);
            break;
        case MIG_DO_CLOSE:
            w->open[d->side] = w->opening[d->side] = false;
            forget(w, d->side);
            break;
        case MIG_DO_SYNC:
            w->syncing = true;
            break;
        case MIG_DO_PROBE:
            MUST(!w->probing_ours);
            w->probing = w->probing_ours = true;
            break;
        case MIG_DO_STREAM:
            w->streaming = true;
            break;
        case MIG_DO_RESTART: /* never of one that was given the guest */
            MUST(!w->cont_dst && !w->open[MIG_DST] && !w->opening[MIG_DST]);
            w->restarting = true;
            break;
        case MIG_DO_SECURE:
            MUST(!w->secured);
            w->securing = w->secured = true;
            break;
        case MIG_DO_UNSECURE:
            MUST(w->secured);
            w->secured = false;
            break;
        case MIG_DO_END:
            MUST(!w->secured);
            break;
        case MIG_DO_RECORD:
            break;
        }
    }
}

/* ---- what comes ---- */

static void link_comes_or_goes(struct world *w, enum mig_side_id side, uint8_t how)
{
    struct mig_event ev = {.kind = MIG_EV_DOWN, .t_ns = w->t_ns, .side = side};
    if (w->opening[side] && how & 3) {
        ev.kind = MIG_EV_UP;
        ev.u.up.is_qemu = how != 0xff;
        ev.u.up.oob = how & 4;
        w->open[side] = true;
    } else if (w->opening[side] || (w->open[side] && (how & 0x30) == 0x30)) {
        ev.u.down.err.code = how & 8 ? QF_E_LOST : QF_E_PROTO;
        (void)snprintf(ev.u.down.err.text, sizeof(ev.u.down.err.text), "down");
        ev.u.down.heard = how & 8;
        ev.u.down.gone = w->opening[side] && how & 4;
        w->open[side] = false;
        forget(w, side);
    } else {
        return;
    }
    w->opening[side] = false;
    step(w, &ev);
}

static const enum qapi_mig_status statuses[] = {QAPI_MIG_UNKNOWN,
#define STATUS(id, name) QAPI_MIG_##id,
                                                QAPI_MIG_STATUSES(STATUS)
#undef STATUS
};
static const enum qapi_run_state runs[] = {QAPI_RUN_UNKNOWN,
#define RUN(id, name) QAPI_RUN_##id,
                                           QAPI_RUN_STATES(RUN)
#undef RUN
};

static enum qapi_mig_status any_status(uint8_t b)
{
    return statuses[b % (sizeof(statuses) / sizeof(statuses[0]))];
}

static enum qapi_run_state any_run(uint8_t b)
{
    return runs[b % (sizeof(runs) / sizeof(runs[0]))];
}

static void fill_migrate(struct world *w, struct qapi_migrate *q, enum mig_side_id side)
{
    const uint8_t b = byte(w);
    q->status = any_status(b);
    q->downtime_ms = q->expected_downtime_ms = QAPI_UNKNOWN_U64;
    q->has_ram = b & 0x40;
    q->page_bytes = 4096;
    q->total_bytes = QF_GIB;
    q->remaining_bytes = (uint64_t)byte(w) << 22;
    q->transferred_bytes = (uint64_t)(w->t_ns / 1000) + byte(w);
    q->dirty_sync_count = (uint64_t)(w->t_ns / 1000000000);
    q->blocked = b == 0xfe;
    if (side == MIG_DST && (b & 0x80))
        (void)strcpy(q->listen_port, "49200");
}

/* An answer that lets things go on, unless the bytes say otherwise. */
static void fill_reply(struct world *w, const struct ask *a, struct qapi_reply *r)
{
    const uint8_t how = byte(w);
    memset(r, 0, sizeof(*r));
    r->command = a->cmd.command;
    if (how >= 0xe0) {
        r->refused = true;
        (void)strcpy(r->error_desc, how & 1 ? "no exit-on-error" : "no");
        return;
    }
    switch (a->cmd.command) {
    case QAPI_QUERY_STATUS:
        r->u.run = how & 1        ? any_run(byte(w))
                   : a->side == 0 ? QAPI_RUN_RUNNING
                                  : QAPI_RUN_INMIGRATE;
        break;
    case QAPI_QUERY_MIGRATE:
        if (how & 1) {
            fill_migrate(w, &r->u.migrate, a->side);
            break;
        }
        r->u.migrate.status = QAPI_MIG_NONE;
        if (a->side == MIG_DST && w->mig.incoming_asked)
            (void)strcpy(r->u.migrate.listen_port, "49200");
        break;
    case QAPI_QUERY_TARGET:
    case QAPI_QUERY_MACHINE:
    case QAPI_QUERY_CPU_TYPE:
    case QAPI_QUERY_UUID:
        (void)strcpy(r->u.text, how == 0x7f ? "other" : "same");
        break;
    case QAPI_QUERY_MEMORY:
        r->u.memory_bytes = QF_GIB;
        break;
    case QAPI_QUERY_CPUS:
        r->u.cpus.count = 2;
        (void)strcpy(r->u.cpus.path, "/cpu");
        break;
    case QAPI_QUERY_CAPS:
        r->u.caps.offered = how == 0x7f ? byte(w) : (UINT64_C(1) << QAPI_CAP_COUNT) - 1;
        r->u.caps.on = w->caps[a->side];
        break;
    case QAPI_SET_CAPS:
        w->caps[a->side] = (w->caps[a->side] & ~a->cmd.u.caps.mask) |
                           (a->cmd.u.caps.on & a->cmd.u.caps.mask);
        break;
    case QAPI_QUERY_PARAMS:
        r->u.params = w->params;
        break;
    case QAPI_SET_PARAMS:
        for (unsigned i = 0; i < QAPI_PARAM_COUNT; i++)
            if (a->cmd.u.params.has & (1U << i))
                w->params.value[i] = a->cmd.u.params.value[i];
        for (unsigned i = 0; i < QAPI_TEXT_PARAM_COUNT; i++)
            if (a->cmd.u.params.has_text & (1U << i))
                memcpy(w->params.text[i], a->cmd.u.params.text[i],
                       sizeof(w->params.text[i]));
        break;
    case QAPI_QUERY_YANK:
        r->u.yank_migration = how & 1;
        break;
    case QAPI_QUERY_DIRTY_RATE:
        r->u.dirty.measured = how & 1;
        r->u.dirty.bytes_per_s = byte(w) * QF_MIB;
        break;
    case QAPI_OBJECT_ADD:
    case QAPI_OBJECT_DEL:
    case QAPI_CALC_DIRTY_RATE:
    case QAPI_QUERY_PCI:
        r->u.pci.nvme = how & 1;
        break;
    case QAPI_QUERY_NVME:
        r->u.nvme.count = how & 7U;
        for (unsigned i = 0; i < QAPI_NVME_MAX; i++)
            r->u.nvme.name[i][0] = 'n';
        break;
    case QAPI_QUERY_DRIVE:
        r->u.text[0] = how & 1 ? 'd' : '\0';
        break;
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
    case QAPI_YANK:
    case QAPI_GETFD:
    case QAPI_CLOSEFD:
    case QAPI_COMMAND_COUNT:
        break;
    }
}

static void reply(struct world *w, unsigned which)
{
    for (unsigned i = 0; i < MIG_ASKS_MAX; i++) {
        struct ask *a = &w->ask[(which + i) % MIG_ASKS_MAX];
        enum qapi_command c;
        if (a->id == 0 || !mig_asked(&w->mig, a->side, a->id, &c))
            continue;
        struct mig_event ev = {
            .kind = MIG_EV_REPLY, .t_ns = w->t_ns, .side = a->side, .id = a->id};
        MUST(c == a->cmd.command);
        fill_reply(w, a, &ev.u.reply);
        if (c == QAPI_CONT && a->side == MIG_DST && ev.u.reply.refused)
            w->cont_dst = false;
        a->id = 0;
        step(w, &ev);
        return;
    }
}

static void event(struct world *w, enum mig_side_id side)
{
    struct mig_event ev = {.kind = MIG_EV_QMP, .t_ns = w->t_ns, .side = side};
    const uint8_t b = byte(w);
    if (!w->open[side])
        return;
    ev.u.qmp.kind = b & 1 ? QAPI_EVENT_MIGRATION
                          : (enum qapi_event_kind)(b / 2 % (QAPI_EVENT_BLOCK_IO_ERROR + 1));
    ev.u.qmp.status = any_status(byte(w));
    ev.u.qmp.guest = b & 2;
    (void)strcpy(ev.u.qmp.reason, b & 4 ? "host-qmp-quit" : "guest-shutdown");
    step(w, &ev);
}

/* An operator's word, whether it may be done or not. */
static void operate(struct world *w)
{
    static const char *const sets[] = {
        "bandwidth=1MiB",
        "postcopy.bandwidth=2MiB",
        "downtime.max=2s",
        "timeout=1s",
        "on-timeout=stop",
        "throttle.max=10",
        "throttle.allowed=true",
        "throttle.allowed=false",
        "postcopy.allowed=false",
        "stop.allowed=true",
        "stop.max=0",
        "progress-timeout=1s",
    };
    const uint8_t b = byte(w);
    struct operator_command c = {.kind = (enum mig_operator_kind)(b & 3)};
    struct policy changed;
    struct mig_event ev = {.kind = MIG_EV_OPERATOR, .t_ns = w->t_ns};
    for (unsigned i = 0; i <= (b >> 6) && c.kind == MIG_OPERATOR_SET; i++)
        c.set[c.n++] = sets[((unsigned)(b >> 2) + i) % (sizeof(sets) / sizeof(sets[0]))];
    if (operator_read(&c, &w->mig.policy, &changed, &ev.u.op, NULL) == 0)
        step(w, &ev);
}

/* Two networks, and answers of any kind there. */
static void find_networks(struct world *w)
{
    const uint8_t b = byte(w);
    struct netsel_facts f = {.n_locals = 2, .n_destinations = 2, .waited_ms = b};
    struct mig_event ev = {.kind = MIG_EV_NETWORK, .t_ns = w->t_ns};
    f.local[0] = (struct netsel_local){.up = b & 8, .carrier = true};
    MUST(netsel_ip_parse("10.0.0.1", &f.local[0].ip));
    MUST(netsel_ip_parse("10.0.0.2", &f.destination[0].ip));
    f.destination[0].source = f.local[0].ip;
    f.local[1] = (struct netsel_local){.up = b & 32, .carrier = true};
    MUST(netsel_ip_parse("10.0.1.1", &f.local[1].ip));
    MUST(netsel_ip_parse("10.0.1.2", &f.destination[1].ip));
    f.destination[1].source = f.local[1].ip;
    netsel_plan(&w->mig.spec.networks, &f);
    if (f.n_paths > 0)
        f.path[0].answer = (enum netsel_answer)(b % (NETSEL_FAILED + 1));
    if (f.n_paths > 1)
        f.path[1].answer = NETSEL_REFUSED;
    ev.u.network = &f;
    w->probing = b & 16; /* an answer that comes twice */
    w->probing_ours = false;
    step(w, &ev);
}

static void restarted(struct world *w)
{
    struct mig_event ev = {.kind = MIG_EV_RESTARTED, .t_ns = w->t_ns};
    ev.u.outcome.failed = (byte(w) & 7) == 7;
    w->restarting = false;
    w->caps[MIG_DST] = 0;
    step(w, &ev);
}

/* Ready or not; and again, since it can fail later. */
static void secure(struct world *w)
{
    const uint8_t b = byte(w);
    struct mig_secured s;
    struct mig_event ev = {.kind = MIG_EV_SECURED, .t_ns = w->t_ns};
    memset(&s, 0, sizeof(s));
    if (b & 1)
        (void)qf_fail(&s.err, QF_E_REFUSED, "no");
    (void)strcpy(s.id, b & 2 ? "qferry-tls-1" : "");
    (void)strcpy(s.uri[MIG_DST], "unix:/m");
    ev.u.secured = &s;
    step(w, &ev);
}

static void connected(struct world *w)
{
    struct mig_event ev = {.kind = MIG_EV_STREAM, .t_ns = w->t_ns};
    ev.u.outcome.failed = (byte(w) & 7) == 7;
    w->streaming = false;
    step(w, &ev);
}

/* Other moves of this host: on these networks, or elsewhere. */
static void others(struct world *w)
{
    const uint8_t b = byte(w);
    struct mig_others o;
    struct mig_event ev = {.kind = MIG_EV_RUNNING, .t_ns = w->t_ns};
    memset(&o, 0, sizeof(o));
    o.n = b & 3;
    for (unsigned i = 0; i < o.n; i++) {
        o.way[i].moves = b;
        (void)strcpy(o.way[i].use.network, i == 0 ? "10.0.0.0/24" : "10.0.1.0/24");
    }
    ev.u.others = &o;
    step(w, &ev);
}

static void something(struct world *w)
{
    const uint8_t b = byte(w);
    const enum mig_side_id side = b & 1 ? MIG_DST : MIG_SRC;
    switch (b >> 5) {
    case 0:
    case 1:
    case 2:
        reply(w, b & 31);
        break;
    case 3:
        event(w, side);
        break;
    case 4:
        w->t_ns = w->todo.wake_ns > w->t_ns ? w->todo.wake_ns : w->t_ns;
        step(w, &(struct mig_event){.kind = MIG_EV_TIMER, .t_ns = w->t_ns});
        break;
    case 5:
        link_comes_or_goes(w, side, byte(w));
        break;
    case 6:
        w->t_ns += (int64_t)(b & 31) * 100 * QF_NS_PER_MS;
        break;
    case 7:
        if (b == 0xfe)
            operate(w);
        else if (b == 0xff)
            step(w, &(struct mig_event){.kind = MIG_EV_CANCEL, .t_ns = w->t_ns});
        else if (b == 0xfd && w->probing)
            find_networks(w);
        else if (b == 0xfc && w->restarting)
            restarted(w);
        else if (b == 0xfc && w->securing)
            secure(w);
        else if (b == 0xfb && w->streaming)
            connected(w);
        else if (b == 0xfa)
            others(w);
        else if (w->syncing)
            step(w, &(struct mig_event){.kind = MIG_EV_SYNCED, .t_ns = w->t_ns});
        w->syncing = w->syncing && b >= 0xfe;
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w;
    struct mig_spec spec;
    struct policy policy;
    memset(&w, 0, sizeof(w));
    memset(&spec, 0, sizeof(spec));
    w.data = data;
    w.left = size;
    w.t_ns = QF_NS_PER_S;
    const uint8_t b = byte(&w);
    MUST(policy_preset_load(policy_preset_name(b % policy_preset_count()), &policy, NULL) ==
         0);
    spec.bandwidth_bytes_per_s = SPEC_BANDWIDTH_HYPERVISOR;
    (void)strcpy(spec.address, b & 128 ? "::1" : "h");
    spec.quit_source = b & 64;
    spec.quit_destination = b & 32;
    spec.dry_run = (b & 31) == 31;
    if ((b & 31) == 30) {
        MUST(networks_add("10.0.0.0/24", &spec.networks, NULL) == 0);
        MUST(networks_add("10.0.1.0/24", &spec.networks, NULL) == 0);
        spec.networks.network[0].rate_bytes_per_s = QF_MIB;
        spec.retries = 2;
        spec.restarts = b & 64;
        if (b & 128)
            (void)strcpy(spec.bind, "10.0.0.1");
        spec.bandwidth_auto = b & 32;
    }
    if ((b & 31) >= 26 && (b & 31) <= 29)
        spec.encrypt = (enum spec_encrypt)((b & 31) - 26);
    if (b & 32) /* what a killed qferry leaves */
        (void)strcpy(w.params.text[QAPI_TEXT_PARAM_TLS_CREDS], "qferry-tls-0");
    w.params.has_text = (1U << QAPI_TEXT_PARAM_COUNT) - 1;
    w.params.has = (1U << QAPI_PARAM_COUNT) - 1;
    mig_init(&w.mig, &spec, &policy);
    step(&w, &(struct mig_event){.kind = MIG_EV_BEGIN, .t_ns = w.t_ns});
    while (w.left > 0 && !w.mig.ended)
        something(&w);
    return 0;
}

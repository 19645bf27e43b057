/* A migration of the modelled QEMUs: memory, states, the switch, failures. What is modelled after
 * what: fact sheet 2.3 event orders, 3.7 cancel, 3.8 failure, 3.4 post-copy, B0 memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_priv.h"

enum {
    NOTICE_MS = 5, /* one end has closed: the other sees it */
    NOTICE_POSTCOPY_MS = 100,
    CONNECT_MS = 130 * 1000, /* Linux: tcp_syn_retries 6 */
    CANCEL_MS = 20,
    RESUME_MS = 2,
    FAILING_MS = 20,
    ACK_MS = 1,
    RECOVER_MS = 4,
    THREAD_MS = 200, /* a thread that is slow to wake */
    POSTMIGRATE_MS = 1
};

static struct one *src(struct model *m)
{
    return &m->one[MODEL_SRC];
}

static struct one *dst(struct model *m)
{
    return &m->one[MODEL_DST];
}

bool flow_runs(enum qapi_run_state run)
{
    return run == QAPI_RUN_RUNNING || run == QAPI_RUN_SUSPENDED;
}

static bool is_postcopy(enum qapi_mig_status s)
{
    return s == QAPI_MIG_POSTCOPY_ACTIVE || s == QAPI_MIG_POSTCOPY_PAUSED ||
           s == QAPI_MIG_POSTCOPY_RECOVER || s == QAPI_MIG_POSTCOPY_RECOVER_SETUP;
}

bool flow_in_progress(const struct model *m)
{
    const enum qapi_mig_status s = m->one[MODEL_SRC].status;
    return s != QAPI_MIG_NONE && s != QAPI_MIG_COMPLETED && s != QAPI_MIG_CANCELLED &&
           s != QAPI_MIG_FAILED;
}

bool flow_is_of_destination(enum plan plan)
{
    return plan == PLAN_LOADED || plan == PLAN_PC_ARRIVED || plan == PLAN_PC_LOADED ||
           plan == PLAN_DST_LOST || plan == PLAN_NET_BACK || plan == PLAN_RESUMED;
}

/* ---- ends ---- */

static void dst_fails(struct model *m, const char *why)
{
    struct one *d = dst(m);
    if (!d->alive || d->status == QAPI_MIG_FAILED || d->exiting)
        return;
    (void)snprintf(d->error, sizeof(d->error), "%s", why);
    d->listening = false;
    d->yank = false;
    if (d->stay_on_error) {
        model_status(m, MODEL_DST, QAPI_MIG_FAILED);
    } else {
        d->exiting = true; /* prints to stderr and exits with 1 */
        model_plan(m, PLAN_EXIT, MODEL_MS, MODEL_DST);
    }
}

static void lose_at_dst(struct model *m, int64_t in_ns)
{
    m->flow.lost_stream = m->flow.stream;
    model_plan(m, PLAN_DST_LOST, in_ns, 0);
}

/* The source's end of the connection is closed. */
static void close_stream(struct model *m)
{
    m->flow.closed = m->flow.net_silent; /* otherwise what was sent before still arrives */
    if (m->flow.connected && !m->flow.net_silent)
        lose_at_dst(m, NOTICE_MS * MODEL_MS);
}

/* Does nothing get through to that address? */
static bool is_silent_way(const struct model *m, const char *uri)
{
    return m->silent && (!m->silent_text || strstr(uri, m->silent_text));
}

static void take_back(struct model *m)
{
    struct flow *f = &m->flow;
    struct one *s = src(m);
    if (!f->stopped || !s->alive)
        return;
    f->stopped = false;
    const bool old = s->cfg.flavour == MODEL_7_2;
    if (old && (!flow_runs(f->before) || f->postcopy)) {
        s->run = QAPI_RUN_POSTMIGRATE; /* fact sheet 3.7, 9: 7.2 leaves it stopped */
        return;
    }
    s->run = f->before;
    if (flow_runs(s->run))
        model_event(m, MODEL_SRC, "RESUME", NULL);
}

static void fail(struct model *m, const char *why)
{
    struct flow *f = &m->flow;
    struct one *s = src(m);
    if (!s->alive || !flow_in_progress(m))
        return;
    (void)snprintf(s->error, sizeof(s->error), "%s", why);
    f->epoch++;
    f->throttle = 0;
    close_stream(m);
    if (s->stall_ns == MODEL_NEVER)
        model_unstall(m, MODEL_SRC);
    if (s->cfg.flavour == MODEL_11_1) {
        model_status(m, MODEL_SRC, QAPI_MIG_FAILING);
        model_plan(m, PLAN_RESUME, RESUME_MS * MODEL_MS, 0);
        model_plan(m, PLAN_FAILED, FAILING_MS * MODEL_MS, 0);
        return;
    }
    model_status(m, MODEL_SRC, QAPI_MIG_FAILED);
    f->cleaning = true;
    model_plan(m, PLAN_RESUME, RESUME_MS * MODEL_MS, 0);
    model_plan(m, PLAN_CLEAN, m->setup.clean_ns, 0);
}

static void complete(struct model *m)
{
    struct flow *f = &m->flow;
    f->end_ns = m->now_ns;
    f->downtime_ms = (uint64_t)(m->now_ns - f->stop_ns) / 1000000;
    f->throttle = 0;
    f->epoch++;
    src(m)->yank = false;
    model_status(m, MODEL_SRC, QAPI_MIG_COMPLETED);
    model_plan(m, PLAN_POSTMIGRATE, POSTMIGRATE_MS * MODEL_MS, 0);
}

/* ---- memory ---- */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t pages_per_s(const struct model *m)
{
    uint64_t rate = 0;
    for (unsigned i = 0; i < MODEL_RATES_MAX; i++)
        if (m->setup.rate[i].from_ns <= m->now_ns &&
            (i == 0 || m->setup.rate[i].from_ns > 0))
            rate = m->setup.rate[i].pages_per_s;
    return rate;
}

static void dirty(struct model *m)
{
    struct flow *f = &m->flow;
    const uint64_t set = m->setup.working_set_bytes;
    if (src(m)->run != QAPI_RUN_RUNNING || set == 0)
        return;
    const uint64_t written =
        qf_mul_div(pages_per_s(m) * PAGE_BYTES, TICK_MS * (100U - f->throttle), 100000);
    const uint64_t fresh = qf_mul_div(least(written, set), set - f->dirtied, set);
    f->period_dirty += fresh;
    f->dirtied = least(f->dirtied + fresh, set);
}

/* Auto-converge, at a sync (ram.c, migration_trigger_throttle). */
static void throttle(struct model *m)
{
    struct flow *f = &m->flow;
    const struct qapi_params *p = &src(m)->params;
    if (m->now_ns - f->period_ns < MODEL_S)
        return;
    const uint64_t bound = qf_mul_div(f->sent_bytes - f->period_sent,
                                      p->value[QAPI_PARAM_THROTTLE_TRIGGER_THRESHOLD], 100);
    const bool hit = f->period_dirty > bound;
    f->period_ns = m->now_ns;
    f->period_dirty = 0;
    f->period_sent = f->sent_bytes;
    if (!hit || !model_is_cap(m, MODEL_SRC, QAPI_CAP_AUTO_CONVERGE) ||
        ++f->throttle_hits < 2)
        return;
    f->throttle_hits = 0;
    const uint64_t next = f->throttle == 0
                              ? p->value[QAPI_PARAM_CPU_THROTTLE_INITIAL]
                              : f->throttle + p->value[QAPI_PARAM_CPU_THROTTLE_INCREMENT];
    f->throttle = (unsigned)least(next, p->value[QAPI_PARAM_MAX_CPU_THROTTLE]);
}

static void count_pass(struct model *m, bool tell)
{
    m->flow.pass++;
    if (tell && model_is_cap(m, MODEL_SRC, QAPI_CAP_EVENTS))
        model_event(m, MODEL_SRC, "MIGRATION_PASS",
                    json_pack("{s:I}", "pass", (json_int_t)m->flow.pass));
}

/* What was dirtied joins what is unsent; some of it was unsent still. After the first walk all of
 * that lies in the working set. */
static void join_dirty(struct model *m)
{
    struct flow *f = &m->flow;
    const uint64_t set = m->setup.working_set_bytes;
    const uint64_t among = f->pass > 1 && set >= f->unsent ? set : f->total;
    const uint64_t both = qf_mul_div(f->unsent, least(f->dirtied, among), among);
    f->unsent = least(f->unsent + f->dirtied - both, f->total);
    f->dirtied = 0;
    f->at_sync = f->unsent;
}

static void sync_bitmap(struct model *m)
{
    struct flow *f = &m->flow;
    f->rate_dirty += f->dirtied;
    join_dirty(m);
    if (m->now_ns - f->rate_ns >= MODEL_S) {
        f->dirty_pages_per_s = qf_mul_div(f->rate_dirty / PAGE_BYTES, (uint64_t)MODEL_S,
                                          (uint64_t)(m->now_ns - f->rate_ns));
        f->rate_dirty = 0;
        f->rate_ns = m->now_ns;
    }
    f->sync_ns = m->now_ns;
    throttle(m);
    count_pass(m, true);
}

static uint64_t rate_limit(const struct model *m, enum qapi_param param)
{
    const uint64_t limit = m->one[MODEL_SRC].params.value[param];
    return limit == 0 ? m->setup.link_bytes_per_s : least(limit, m->setup.link_bytes_per_s);
}

/* To so many percent; only channels can. */
static unsigned compresses_to(const struct model *m)
{
    const struct one *s = &m->one[MODEL_SRC];
    return m->setup.compresses_to > 0 && model_is_cap(m, MODEL_SRC, QAPI_CAP_MULTIFD) &&
                   s->params.value[QAPI_PARAM_MULTIFD_COMPRESSION] != QAPI_COMPRESSION_NONE
               ? m->setup.compresses_to
               : 100;
}

static void push(struct model *m, uint64_t rate)
{
    struct flow *f = &m->flow;
    const unsigned percent = compresses_to(m);
    const uint64_t raw = qf_mul_div(rate, 100, percent);
    const uint64_t n = f->net_silent ? 0 : least(f->unsent, qf_mul_div(raw, TICK_MS, 1000));
    f->unsent -= n;
    f->raw_bytes += n;
    /* 7.2 counts pages, not what becomes of them (fact sheet 2.5) */
    f->sent_bytes += src(m)->cfg.flavour == MODEL_7_2 ? n : qf_mul_div(n, percent, 100);
    if (m->now_ns - f->window_ns < WINDOW_MS * MODEL_MS)
        return;
    f->bandwidth = qf_mul_div(f->sent_bytes - f->window_sent, (uint64_t)MODEL_S,
                              (uint64_t)(m->now_ns - f->window_ns));
    f->window_ns = m->now_ns;
    f->window_sent = f->sent_bytes;
}

/* ---- the switch ---- */

static void go_on(struct model *m)
{
    struct flow *f = &m->flow;
    const enum model_flavour flavour = src(m)->cfg.flavour;
    const bool paused = src(m)->status == QAPI_MIG_PRE_SWITCHOVER;
    const int64_t device_ns = m->setup.device_ns;
    join_dirty(m);
    if (flavour != MODEL_7_2 || (paused && !f->postcopy))
        model_status(m, MODEL_SRC, QAPI_MIG_DEVICE);
    if (f->postcopy && flavour == MODEL_7_2)
        flow_plan(m, PLAN_PC_ACTIVE, 0);
    count_pass(m, flavour != MODEL_11_1);
    if (!dst(m)->alive || f->net_reset) {
        model_plan(m, PLAN_PEER_LOST, RESUME_MS * MODEL_MS, 0);
        return;
    }
    if (f->net_silent) { /* the main loop hangs in a write */
        src(m)->stall_ns = MODEL_NEVER;
        model_plan(m, PLAN_SILENCE, m->setup.silence_ns, 0);
        return;
    }
    if (!f->postcopy) {
        const uint64_t wire = qf_mul_div(f->unsent, compresses_to(m), 100);
        const uint64_t ns = qf_mul_div(wire, (uint64_t)MODEL_S, m->setup.link_bytes_per_s);
        model_plan(m, PLAN_SENT, (int64_t)ns + device_ns / 2, 0);
        return;
    }
    if (flavour == MODEL_11_1)
        model_status(m, MODEL_SRC, QAPI_MIG_POSTCOPY_DEVICE);
    if (flavour == MODEL_10_0)
        model_plan(m, PLAN_PC_ACTIVE, device_ns / 2, 0);
    model_plan(m, PLAN_PC_ARRIVED, device_ns / 4, 0);
    model_plan(m, PLAN_PC_LOADED, device_ns, 0);
}

static void stop_for_switch(struct model *m)
{
    struct flow *f = &m->flow;
    struct one *s = src(m);
    f->postcopy = f->postcopy_wanted;
    f->before = s->run;
    if (s->run == QAPI_RUN_SUSPENDED && s->cfg.flavour == MODEL_7_2) {
        model_event(m, MODEL_SRC, "WAKEUP", NULL); /* fact sheet 3.10 */
        f->before = QAPI_RUN_RUNNING;
    }
    f->asleep = f->before == QAPI_RUN_SUSPENDED;
    f->stopped = true;
    f->stop_ns = m->now_ns;
    s->run = QAPI_RUN_FINISH_MIGRATE;
    if (flow_runs(f->before))
        model_event(m, MODEL_SRC, "STOP", NULL);
    if (model_is_cap(m, MODEL_SRC, QAPI_CAP_PAUSE_BEFORE_SWITCHOVER))
        model_status(m, MODEL_SRC, QAPI_MIG_PRE_SWITCHOVER);
    else
        go_on(m);
}

/* Over a silent network nothing moves until TCP gives up. */
static void tick_again(struct model *m)
{
    model_plan(m, PLAN_TICK, (m->flow.net_silent ? WINDOW_MS : TICK_MS) * MODEL_MS, 0);
}

static void tick_precopy(struct model *m)
{
    struct flow *f = &m->flow;
    dirty(m);
    push(m, rate_limit(m, QAPI_PARAM_MAX_BANDWIDTH));
    if (f->postcopy_wanted && f->net_silent) {
        /* the round of pages does not end: it is written, and nobody reads, until TCP gives up */
        if (!f->round_hangs)
            model_plan(m, PLAN_SILENCE, m->setup.silence_ns, 0);
        f->round_hangs = true;
        tick_again(m);
        return;
    }
    f->round_hangs = false;
    if (f->postcopy_wanted) {
        stop_for_switch(m);
        return;
    }
    const uint64_t said = src(m)->params.value[QAPI_PARAM_AVAIL_SWITCHOVER_BANDWIDTH];
    const uint64_t threshold =
        qf_mul_div(said > 0 ? said : f->bandwidth,
                   src(m)->params.value[QAPI_PARAM_DOWNTIME_LIMIT], 1000);
    const bool always = src(m)->cfg.flavour == MODEL_11_1 &&
                        model_is_cap(m, MODEL_SRC, QAPI_CAP_POSTCOPY_RAM) &&
                        m->now_ns - f->sync_ns >= WINDOW_MS * MODEL_MS;
    if (f->unsent <= threshold || always) {
        sync_bitmap(m);
        if (f->unsent <= threshold && !f->net_silent) {
            stop_for_switch(m);
            return;
        }
    }
    tick_again(m);
}

static void tick_postcopy(struct model *m)
{
    struct flow *f = &m->flow;
    struct one *d = dst(m);
    push(m, rate_limit(m, QAPI_PARAM_MAX_POSTCOPY_BANDWIDTH));
    if (f->unsent > 0 || !f->loaded || f->net_silent) {
        tick_again(m);
        return;
    }
    f->sent = true;
    d->listening = false;
    d->yank = false;
    m->truth.whole[MODEL_DST] = true;
    m->truth.split = false;
    model_status(m, MODEL_DST, QAPI_MIG_COMPLETED);
    if (!f->ack_lost)
        model_plan(m, PLAN_LAST, ACK_MS * MODEL_MS, 0);
}

/* ---- plans ---- */

static const char *why_unfit(const struct model *m)
{
    const struct one *s = &m->one[MODEL_SRC];
    const struct one *d = &m->one[MODEL_DST];
    if (strcmp(s->cfg.type, d->cfg.type) != 0)
        return "Machine type received does not match local";
    if (s->cfg.ram_bytes != d->cfg.ram_bytes)
        return "Size mismatch: pc.ram";
    if (model_is_cap(m, MODEL_SRC, QAPI_CAP_VALIDATE_UUID) &&
        strcmp(s->cfg.uuid, d->cfg.uuid) != 0)
        return "UUID received does not match local";
    if (model_is_cap(m, MODEL_SRC, QAPI_CAP_POSTCOPY_RAM) &&
        !model_is_cap(m, MODEL_DST, QAPI_CAP_POSTCOPY_RAM))
        return "Postcopy is not enabled on the destination";
    return NULL;
}

static bool agree_about_channels(struct model *m)
{
    const uint64_t *s = src(m)->params.value;
    const uint64_t *d = dst(m)->params.value;
    const bool on = model_is_cap(m, MODEL_SRC, QAPI_CAP_MULTIFD);
    if (on != model_is_cap(m, MODEL_DST, QAPI_CAP_MULTIFD))
        return false;
    return !on || (s[QAPI_PARAM_MULTIFD_CHANNELS] == d[QAPI_PARAM_MULTIFD_CHANNELS] &&
                   s[QAPI_PARAM_MULTIFD_COMPRESSION] == d[QAPI_PARAM_MULTIFD_COMPRESSION]);
}

static void connected(struct model *m)
{
    struct flow *f = &m->flow;
    struct one *s = src(m);
    struct one *d = dst(m);
    const bool lent = f->lent;
    f->lent = false;
    if (!lent && f->net_silent && m->now_ns - f->start_ns < CONNECT_MS * MODEL_MS) {
        model_plan(m, PLAN_CONNECTED, CONNECT_MS * MODEL_MS, 0); /* connect() hangs */
        return;
    }
    if (!lent && f->net_silent) {
        fail(m, "Failed to connect to '192.0.2.7': Connection timed out");
        return;
    }
    if (!d->alive || !d->listening || (f->connected && !lent)) {
        fail(m, "Failed to connect to '192.0.2.7': Connection refused");
        return;
    }
    if (!agree_about_channels(m))
        model_blame(m, "the sides do not agree about channels"); /* rule 8 */
    const bool tls = s->params.text[QAPI_TEXT_PARAM_TLS_CREDS][0] != '\0';
    const bool dst_tls = d->params.text[QAPI_TEXT_PARAM_TLS_CREDS][0] != '\0';
    if (m->setup.no_clear && !tls)
        model_blame(m, "memory goes over unencrypted");
    if (tls != dst_tls) { /* fact sheet 5.2 */
        if (tls)
            dst_fails(m, "Not a migration stream");
        fail(m, "TLS handshake failed");
        return;
    }
    f->connected = true;
    f->setup_ns = f->sync_ns = f->rate_ns = f->window_ns = f->period_ns = m->now_ns;
    f->sent_bytes = m->setup.zero_bytes / PAGE_BYTES * 9;
    f->unsent = f->total - least(m->setup.zero_bytes, f->total);
    f->at_sync = f->unsent;
    f->window_sent = f->period_sent = f->sent_bytes;
    count_pass(m, s->cfg.flavour != MODEL_11_1);
    model_status(m, MODEL_SRC, QAPI_MIG_ACTIVE);
    if (!lent)
        model_status(m, MODEL_DST, QAPI_MIG_ACTIVE);
    const char *unfit = why_unfit(m);
    if (unfit) {
        dst_fails(m, unfit);
        model_plan(m, PLAN_PEER_LOST, NOTICE_MS * MODEL_MS, 0);
    }
    model_plan(m, PLAN_TICK, TICK_MS * MODEL_MS, 0);
}

/* How a destination's guest stands after the load. */
static enum qapi_run_state loaded_run(struct model *m)
{
    const struct flow *f = &m->flow;
    if (f->before == QAPI_RUN_SHUTDOWN)
        return QAPI_RUN_SHUTDOWN;
    return dst(m)->autostart && flow_runs(f->before) ? f->before : QAPI_RUN_PAUSED;
}

static void loaded(struct model *m)
{
    struct flow *f = &m->flow;
    struct one *d = dst(m);
    if (!d->alive)
        return;
    if (f->load_fails) {
        dst_fails(m, "error while loading state for instance 0x0 of device 'model'");
        if (!f->net_silent)
            model_plan(m, PLAN_PEER_LOST, ACK_MS * MODEL_MS, 0);
        return;
    }
    f->loaded = true;
    d->run = loaded_run(m);
    m->truth.whole[MODEL_DST] = m->truth.whole[MODEL_SRC] && !m->truth.running[MODEL_SRC];
    if (!src(m)->alive)
        m->truth.whole[MODEL_DST] = true;
    if (m->truth.whole[MODEL_DST])
        m->truth.lost = false;
    if (flow_runs(d->run))
        model_event(m, MODEL_DST, "RESUME", NULL);
    d->listening = false;
    d->yank = false;
    model_status(m, MODEL_DST, QAPI_MIG_COMPLETED);
    if (!f->ack_lost && !f->net_silent)
        model_plan(m, PLAN_ACK, ACK_MS * MODEL_MS, 0);
}

static void postcopy_loaded(struct model *m)
{
    struct flow *f = &m->flow;
    struct one *d = dst(m);
    if (!d->alive || d->exiting || d->status == QAPI_MIG_FAILED)
        return;
    if (f->load_fails) {
        dst_fails(m, "error while loading state for instance 0x0 of device 'model'");
        model_plan(m, PLAN_PEER_LOST, ACK_MS * MODEL_MS, 0);
        return;
    }
    if (d->cfg.flavour == MODEL_7_2 && model_is_cap(m, MODEL_DST, QAPI_CAP_MULTIFD)) {
        model_blame(m, "post-copy with channels: 7.2 aborts"); /* rule 7 */
        model_kill(m, MODEL_DST);
        return;
    }
    f->loaded = true;
    if (src(m)->cfg.flavour == MODEL_11_1) {
        model_status(m, MODEL_DST, QAPI_MIG_POSTCOPY_ACTIVE);
        if (!f->net_silent && !f->ack_lost)
            model_plan(m, PLAN_PC_ACTIVE, ACK_MS * MODEL_MS, 0);
    }
    d->run = loaded_run(m);
    if (!flow_runs(d->run))
        return;
    m->truth.split = true; /* it does not wait for the source to hear of it */
    model_event(m, MODEL_DST, "RESUME", NULL);
}

static void postcopy_active(struct model *m)
{
    m->truth.split = true;
    model_status(m, MODEL_SRC, QAPI_MIG_POSTCOPY_ACTIVE);
    model_plan(m, PLAN_TICK, TICK_MS * MODEL_MS, 0);
}

static void peer_lost(struct model *m)
{
    struct one *s = src(m);
    if (!s->alive || s->status == QAPI_MIG_PRE_SWITCHOVER) /* is not told */
        return;
    if (m->setup.peer_death_hangs && s->status == QAPI_MIG_ACTIVE)
        return;
    if (s->status == QAPI_MIG_CANCELLING || s->status == QAPI_MIG_FAILING)
        return;
    if (!is_postcopy(s->status)) {
        fail(m, "Unable to write to socket: Broken pipe");
        return;
    }
    if (s->status != QAPI_MIG_POSTCOPY_ACTIVE && s->status != QAPI_MIG_POSTCOPY_RECOVER)
        return;
    if (m->flow
            .sent) { /* it waits for the last word alone: 7.2 for ever, later ones fail (tests/facts) */
        if (s->cfg.flavour != MODEL_7_2)
            fail(m, "Channel error: Input/output error");
        return;
    }
    m->flow.epoch++;
    m->flow.paused_ns = m->now_ns;
    (void)snprintf(s->error, sizeof(s->error), "Channel error: Input/output error");
    model_status(m, MODEL_SRC, QAPI_MIG_POSTCOPY_PAUSED);
}

static void dst_lost(struct model *m)
{
    struct one *d = dst(m);
    if (!d->alive)
        return;
    if (is_postcopy(d->status)) {
        /* 7.2 does not come back from postcopy-recover (postcopy_pause_incoming) */
        const bool stuck =
            d->status == QAPI_MIG_POSTCOPY_RECOVER && d->cfg.flavour == MODEL_7_2;
        if (m->flow.lost_stream != m->flow.stream || stuck ||
            d->status == QAPI_MIG_POSTCOPY_PAUSED)
            return;
        model_status(m, MODEL_DST, QAPI_MIG_POSTCOPY_PAUSED);
        if (m->setup.dst_hangs)
            d->stall_ns = MODEL_NEVER;
    } else if (!m->flow.sent &&
               (d->status == QAPI_MIG_ACTIVE || d->status == QAPI_MIG_POSTCOPY_DEVICE)) {
        dst_fails(m, "load of migration failed: Input/output error");
    }
}

/* ---- post-copy, interrupted (fact sheet 3.5) ---- */

const char *flow_pause(struct model *m, enum model_side side)
{
    const struct one *s = &m->one[side];
    if (s->status != QAPI_MIG_POSTCOPY_ACTIVE &&
        (s->status != QAPI_MIG_POSTCOPY_RECOVER || s->cfg.flavour == MODEL_7_2))
        return "migrate-pause is currently only supported during postcopy-active state";
    if (side == MODEL_SRC) {
        model_plan(m, PLAN_PEER_LOST, MODEL_MS, 0);
        close_stream(m);
    } else {
        lose_at_dst(m, MODEL_MS);
        if (!m->flow.net_silent)
            model_plan(m, PLAN_PEER_LOST, NOTICE_MS * MODEL_MS, 0);
    }
    return NULL;
}

static unsigned port_of(json_t *args)
{
    const char *uri = json_string_value(json_object_get(args, "uri"));
    const char *colon = uri ? strrchr(uri, ':') : NULL;
    if (uri && strncmp(uri, "unix:", 5) == 0)
        return 1; /* of a tunnel: one name is as good as another */
    return colon ? (unsigned)strtoul(colon + 1, NULL, 10) : 0;
}

const char *flow_recover(struct model *m, json_t *args)
{
    struct one *d = dst(m);
    if (d->status != QAPI_MIG_POSTCOPY_PAUSED)
        return "Migrate recover can only be run when postcopy is paused.";
    d->port = port_of(args);
    d->listening = true;
    d->yank = true;
    if (d->cfg.flavour == MODEL_7_2)
        model_event(m, MODEL_DST, "MIGRATION", json_pack("{s:s}", "status", "setup"));
    return NULL;
}

static const char *resume(struct model *m, json_t *args)
{
    if (src(m)->status != QAPI_MIG_POSTCOPY_PAUSED)
        return "Cannot resume if there is no paused migration";
    struct resume *r = &m->resume[m->n_resumes++ % RESUMES_MAX];
    (void)snprintf(r->uri, sizeof(r->uri), "%s",
                   json_string_value(json_object_get(args, "uri")));
    r->port = port_of(args);
    r->since_ns = m->now_ns;
    if (src(m)->cfg.flavour != MODEL_7_2)
        model_status(m, MODEL_SRC, QAPI_MIG_POSTCOPY_RECOVER_SETUP);
    model_plan(m, PLAN_RESUMED, m->setup.connect_ns, (unsigned)(r - m->resume));
    return NULL;
}

static void resume_failed(struct model *m, const char *why)
{
    struct one *s = src(m);
    if (s->status != QAPI_MIG_POSTCOPY_RECOVER_SETUP) /* 7.2 says nothing */
        return;
    (void)snprintf(s->error, sizeof(s->error), "%s", why);
    model_status(m, MODEL_SRC, QAPI_MIG_POSTCOPY_PAUSED);
}

static void resumed(struct model *m, unsigned i)
{
    const struct resume *r = &m->resume[i];
    struct flow *f = &m->flow;
    struct one *s = src(m);
    struct one *d = dst(m);
    if (!s->alive || !is_postcopy(s->status))
        return;
    if (is_silent_way(m, r->uri)) {
        if (m->now_ns - r->since_ns < CONNECT_MS * MODEL_MS)
            model_plan(m, PLAN_RESUMED, MODEL_S, i); /* SYN once more */
        else
            resume_failed(m, "Failed to connect: Connection timed out");
        return;
    }
    if (!d->alive || !d->listening || d->port != r->port) {
        resume_failed(m, "Failed to connect: Connection refused");
        return;
    }
    d->listening = false;
    if (s->cfg.flavour == MODEL_7_2 && m->now_ns - f->paused_ns < THREAD_MS * MODEL_MS) {
        model_kill(
            m, MODEL_SRC); /* its return path closes the new connection (fixed in 8.2) */
        return;
    }
    if (s->status != QAPI_MIG_POSTCOPY_PAUSED &&
        s->status != QAPI_MIG_POSTCOPY_RECOVER_SETUP) {
        model_blame(m, "a second connection for a post-copy that goes on");
        return;
    }
    f->epoch++;
    f->stream++;
    f->net_silent = f->net_reset = false;
    (void)snprintf(m->stream_uri, sizeof(m->stream_uri), "%s", r->uri);
    model_status(m, MODEL_SRC, QAPI_MIG_POSTCOPY_RECOVER);
    model_status(m, MODEL_DST, QAPI_MIG_POSTCOPY_RECOVER);
    model_plan(m, PLAN_RECOVERED, RECOVER_MS * MODEL_MS, 0);
}

static void recovered(struct model *m)
{
    struct one *d = dst(m);
    if (m->flow.net_silent) {
        model_plan(m, PLAN_RECOVERED, WINDOW_MS * MODEL_MS, 0);
        return;
    }
    if (!d->alive || d->status != QAPI_MIG_POSTCOPY_RECOVER) {
        model_plan(m, PLAN_PEER_LOST, NOTICE_MS * MODEL_MS, 0);
        return;
    }
    if (m->setup.dst_hangs)
        model_unstall(m, MODEL_DST);
    model_status(m, MODEL_DST, QAPI_MIG_POSTCOPY_ACTIVE);
    model_status(m, MODEL_SRC, QAPI_MIG_POSTCOPY_ACTIVE);
    model_plan(m, PLAN_TICK, TICK_MS * MODEL_MS, 0);
}

void flow_plan(struct model *m, enum plan plan, unsigned arg)
{
    struct flow *f = &m->flow;
    struct one *s = src(m);
    struct one *d = dst(m);
    switch (plan) {
    case PLAN_CONNECTED:
        connected(m);
        break;
    case PLAN_TICK:
        if (f->postcopy)
            tick_postcopy(m);
        else
            tick_precopy(m);
        break;
    case PLAN_SENT:
        if (f->net_silent) {
            s->stall_ns = MODEL_NEVER;
            model_plan(m, PLAN_SILENCE, m->setup.silence_ns, 0);
            break;
        }
        f->sent_bytes += f->unsent;
        f->unsent = 0;
        f->sent = true;
        model_plan(m, PLAN_LOADED, m->setup.device_ns / 2, 0);
        if (!model_is_cap(m, MODEL_SRC, QAPI_CAP_RETURN_PATH))
            complete(m);
        break;
    case PLAN_LOADED:
        loaded(m);
        break;
    case PLAN_PC_ARRIVED:
        if (f->net_silent) /* TCP sends it again and again */
            model_plan(m, PLAN_PC_ARRIVED, TICK_MS * MODEL_MS, 0);
        else if (f->closed)
            lose_at_dst(m, NOTICE_MS * MODEL_MS);
        else if (d->alive && d->status == QAPI_MIG_ACTIVE)
            model_status(m, MODEL_DST,
                         s->cfg.flavour == MODEL_11_1 ? QAPI_MIG_POSTCOPY_DEVICE
                                                      : QAPI_MIG_POSTCOPY_ACTIVE);
        break;
    case PLAN_PC_ACTIVE:
        postcopy_active(m);
        break;
    case PLAN_PC_LOADED:
        if (d->alive && d->status == QAPI_MIG_ACTIVE) /* it has not arrived */
            model_plan(m, PLAN_PC_LOADED, TICK_MS * MODEL_MS, 0);
        else
            postcopy_loaded(m);
        break;
    case PLAN_LAST:
        if (f->net_silent) { /* TCP sends it again and again */
            model_plan(m, PLAN_LAST, TICK_MS * MODEL_MS, 0);
            break;
        }
        complete(m);
        break;
    case PLAN_ACK:
        complete(m);
        break;
    case PLAN_POSTMIGRATE:
        if (s->alive && s->run == QAPI_RUN_FINISH_MIGRATE)
            s->run = QAPI_RUN_POSTMIGRATE;
        break;
    case PLAN_RESUME:
        take_back(m);
        break;
    case PLAN_CANCELLED:
        take_back(m);
        s->yank = false;
        model_status(m, MODEL_SRC, QAPI_MIG_CANCELLED);
        break;
    case PLAN_FAILED: /* 11.0 on: everything is cleaned up by then */
        s->yank = false;
        model_status(m, MODEL_SRC, QAPI_MIG_FAILED);
        break;
    case PLAN_CLEAN:
        s->yank = false;
        f->cleaning = false;
        break;
    case PLAN_PEER_LOST:
        peer_lost(m);
        break;
    case PLAN_SILENCE:
        if (f->net_silent)
            peer_lost(m);
        break;
    case PLAN_DST_LOST:
        dst_lost(m);
        break;
    case PLAN_NET_BACK:
        m->silent = f->net_silent = false;
        break;
    case PLAN_RESUMED:
        resumed(m, arg);
        break;
    case PLAN_RECOVERED:
        recovered(m);
        break;
    case PLAN_FAULT:
    case PLAN_COMMANDS:
    case PLAN_EXIT:
        break;
    }
}

/* ---- commands ---- */

const char *flow_incoming(struct model *m, json_t *args)
{
    struct one *d = dst(m);
    json_t *stay = json_object_get(args, "exit-on-error");
    if (stay && d->cfg.flavour == MODEL_7_2)
        return "Parameter 'exit-on-error' is unexpected";
    if (d->run != QAPI_RUN_INMIGRATE)
        return "'-incoming' was not specified on the command line";
    if (d->incoming_used)
        return "The incoming migration has already been started";
    if (model_creds_fault(d))
        return model_creds_fault(d);
    d->port = port_of(args);
    if (d->port == 0)
        d->port = 49200;
    d->stay_on_error = json_is_false(stay);
    d->incoming_used = true;
    d->listening = true;
    d->yank = true;
    model_status(m, MODEL_DST, QAPI_MIG_SETUP);
    return NULL;
}

const char *flow_migrate(struct model *m, json_t *args)
{
    struct flow *f = &m->flow;
    struct one *s = src(m);
    if (json_is_true(json_object_get(args, "resume")))
        return resume(m, args);
    if (flow_in_progress(m))
        return "There's a migration process in progress";
    if (s->run == QAPI_RUN_INMIGRATE)
        return "Guest is waiting for an incoming migration";
    if (s->run == QAPI_RUN_POSTMIGRATE)
        return "Can't migrate the vm that was paused due to previous migration";
    if (s->cfg.blocked)
        return s->cfg.blocked;
    if (f->cleaning) {
        model_blame(m, "migrate before the clean-up of a failed migration");
        model_kill(m, MODEL_SRC);
        return NULL;
    }
    const char *fault = model_creds_fault(s);
    if (fault)
        return fault;
    const char *uri = json_string_value(json_object_get(args, "uri"));
    const bool by_fd = uri && strncmp(uri, "fd:", 3) == 0;
    if (by_fd && !f->lent_fd)
        return "File descriptor named 'qferry-stream' has not been found";
    if (!by_fd && dst(m)->alive && dst(m)->listening && port_of(args) != dst(m)->port)
        model_blame(m, "migrate to another port than the destination's");
    const struct flow was = *f;
    (void)snprintf(m->stream_uri, sizeof(m->stream_uri), "%s",
                   json_string_value(json_object_get(args, "uri")));
    *f = (struct flow){.epoch = was.epoch + 1,
                       .net_silent = is_silent_way(m, m->stream_uri),
                       .ack_lost = was.ack_lost,
                       .load_fails = was.load_fails,
                       .connected = was.connected,
                       .lent = by_fd,
                       .start_ns = m->now_ns,
                       .setup_ns = m->now_ns,
                       .before = QAPI_RUN_RUNNING,
                       .total = s->cfg.ram_bytes};
    s->error[0] = '\0';
    s->yank = true;
    model_status(m, MODEL_SRC, QAPI_MIG_SETUP);
    model_plan(m, PLAN_CONNECTED, m->setup.connect_ns, 0);
    return NULL;
}

static const char *cancel_postcopy(struct model *m, bool engine)
{
    if (src(m)->cfg.flavour != MODEL_7_2)
        return "Postcopy migration in progress, cannot cancel.";
    /* 7.2 accepts it: both copies are partial afterwards (rule 5). */
    if (engine)
        model_blame(m, "migrate_cancel in post-copy");
    m->flow.epoch++;
    m->flow.stopped = false;
    src(m)->run = QAPI_RUN_POSTMIGRATE;
    model_status(m, MODEL_SRC, QAPI_MIG_CANCELLING);
    model_plan(m, PLAN_CANCELLED, CANCEL_MS * MODEL_MS, 0);
    dst(m)->stay_on_error = false;
    dst_fails(m, "cancelled");
    return NULL;
}

const char *flow_cancel(struct model *m, bool engine)
{
    struct flow *f = &m->flow;
    const struct one *s = src(m);
    const enum qapi_mig_status was = s->status;
    if (!flow_in_progress(m) || was == QAPI_MIG_CANCELLING || was == QAPI_MIG_FAILING)
        return NULL;
    if (was == QAPI_MIG_POSTCOPY_DEVICE)
        return "Postcopy migration in progress, cannot cancel.";
    if (is_postcopy(was))
        return cancel_postcopy(m, engine);
    f->epoch++;
    f->throttle = 0;
    model_status(m, MODEL_SRC, QAPI_MIG_CANCELLING);
    close_stream(m);
    /* Until connect() ends: 7.2, measured, nor does yank reach it. With channels for good: yank does. */
    f->connecting = was == QAPI_MIG_SETUP && f->net_silent && s->cfg.flavour != MODEL_10_0;
    const bool hangs = model_is_cap(m, MODEL_SRC, QAPI_CAP_MULTIFD) &&
                       (m->setup.cancel_hangs || (f->net_silent && was != QAPI_MIG_SETUP));
    if (!hangs)
        model_plan(m, PLAN_CANCELLED, (f->connecting ? CONNECT_MS : CANCEL_MS) * MODEL_MS,
                   0);
    return NULL;
}

const char *flow_continue(struct model *m, json_t *args)
{
    const char *state = json_string_value(json_object_get(args, "state"));
    if (src(m)->status != QAPI_MIG_PRE_SWITCHOVER || !state ||
        strcmp(state, "pre-switchover") != 0)
        return "Migration not in expected state";
    go_on(m);
    return NULL;
}

const char *flow_start_postcopy(struct model *m)
{
    if (!model_is_cap(m, MODEL_SRC, QAPI_CAP_POSTCOPY_RAM))
        return "Enable postcopy with migrate_set_capability before the start of migration";
    if (src(m)->status == QAPI_MIG_NONE)
        return "Start a migration first";
    m->flow.postcopy_wanted = true;
    return NULL;
}

const char *flow_yank(struct model *m, enum model_side side)
{
    struct one *s = &m->one[side];
    if (!s->yank)
        return "Instance not found: migration";
    if (side == MODEL_DST) {
        lose_at_dst(m, MODEL_MS);
        if (!m->flow.net_silent)
            model_plan(m, PLAN_PEER_LOST, NOTICE_MS * MODEL_MS, 0);
    } else if (s->status == QAPI_MIG_CANCELLING && m->flow.connecting) {
        return NULL;
    } else if (s->status == QAPI_MIG_CANCELLING) {
        if (!m->setup.cancel_hangs)
            model_plan(m, PLAN_CANCELLED, MODEL_MS, 0);
    } else if (s->status == QAPI_MIG_PRE_SWITCHOVER) {
        m->flow.net_reset = true;
        close_stream(m);
    } else {
        peer_lost(m);
        close_stream(m);
    }
    return NULL;
}

const char *flow_stop(struct model *m, enum model_side side)
{
    struct one *s = &m->one[side];
    if (s->run == QAPI_RUN_INMIGRATE)
        s->autostart = false;
    if (s->run == QAPI_RUN_RUNNING ||
        (s->run == QAPI_RUN_SUSPENDED && s->cfg.flavour != MODEL_7_2)) {
        s->run = QAPI_RUN_PAUSED;
        model_event(m, side, "STOP", NULL);
    }
    return NULL;
}

static const char *cont_src(struct model *m, bool engine)
{
    struct one *s = src(m);
    if (s->run == QAPI_RUN_FINISH_MIGRATE)
        return "Migration is not finalized yet";
    if (s->run == QAPI_RUN_SHUTDOWN || s->run == QAPI_RUN_GUEST_PANICKED)
        return "Resetting the Virtual Machine is required";
    if (flow_runs(s->run))
        return NULL;
    if (engine && dst(m)->alive && m->truth.whole[MODEL_DST])
        model_blame(m, "the source is continued while the destination could be");
    s->run = QAPI_RUN_RUNNING;
    model_check(m);
    model_event(m, MODEL_SRC, "RESUME", NULL);
    return NULL;
}

static const char *cont_dst(struct model *m, bool engine)
{
    struct one *d = dst(m);
    const struct one *s = src(m);
    if (d->run == QAPI_RUN_INMIGRATE) {
        d->autostart = true;
        return NULL;
    }
    if (d->run == QAPI_RUN_SHUTDOWN)
        return "Resetting the Virtual Machine is required";
    if (flow_runs(d->run))
        return NULL;
    const bool done = s->status == QAPI_MIG_COMPLETED || is_postcopy(s->status);
    if (engine && s->alive && !done && !m->truth.ran_on_dst)
        model_blame(m, "the destination is continued while the source may take it back");
    d->run = m->flow.asleep ? QAPI_RUN_SUSPENDED : QAPI_RUN_RUNNING;
    model_check(m);
    model_event(m, MODEL_DST, "RESUME", NULL);
    return NULL;
}

const char *flow_cont(struct model *m, enum model_side side, bool engine)
{
    return side == MODEL_SRC ? cont_src(m, engine) : cont_dst(m, engine);
}

/* ---- the world ---- */

void flow_died(struct model *m, enum model_side side)
{
    struct flow *f = &m->flow;
    const bool postcopy = is_postcopy(src(m)->status);
    if (side == MODEL_SRC) {
        f->epoch++;
        close_stream(m);
        if (m->truth.split)
            m->truth.split = false;
        return;
    }
    m->truth.split = false;
    if (f->connected && !f->net_silent && flow_in_progress(m))
        model_plan(m, PLAN_PEER_LOST,
                   (postcopy ? NOTICE_POSTCOPY_MS : NOTICE_MS) * MODEL_MS, 0);
}

void flow_net(struct model *m, const struct model_fault *f)
{
    if (f->what == MODEL_NET_SILENT) {
        m->silent = true;
        m->silent_text = f->text;
        if (f->for_ns > 0 && f->for_ns != MODEL_NEVER)
            model_plan(m, PLAN_NET_BACK, f->for_ns, 0);
        /* before there is a connection, too: that will be silent */
        m->flow.net_silent = is_silent_way(m, m->stream_uri);
        if (m->flow.net_silent &&
            (src(m)->status == QAPI_MIG_ACTIVE || is_postcopy(src(m)->status) ||
             src(m)->status == QAPI_MIG_POSTCOPY_DEVICE))
            model_plan(m, PLAN_SILENCE, m->setup.silence_ns, 0);
        return;
    }
    m->flow.net_reset = true;
    model_plan(m, PLAN_PEER_LOST, NOTICE_MS * MODEL_MS, 0);
    lose_at_dst(m, NOTICE_MS * MODEL_MS);
}

static void stop_by_itself(struct model *m, enum qapi_run_state run)
{
    src(m)->run = run;
    model_event(m, MODEL_SRC, "STOP", NULL);
}

static void power_off(struct model *m)
{
    struct one *s = src(m);
    model_event(m, MODEL_SRC, "SHUTDOWN",
                json_pack("{s:b, s:s}", "guest", 1, "reason", "guest-shutdown"));
    if (m->setup.no_shutdown) {
        stop_by_itself(m, QAPI_RUN_SHUTDOWN);
        return;
    }
    s->exiting = true;
    if (flow_in_progress(m))
        (void)flow_cancel(m, false);
    model_plan(m, PLAN_EXIT, NOTICE_MS * MODEL_MS, MODEL_SRC);
}

void flow_guest(struct model *m, enum model_what what)
{
    if (!src(m)->alive || src(m)->run != QAPI_RUN_RUNNING)
        return;
    switch (what) {
    case MODEL_POWEROFF:
        power_off(m);
        break;
    case MODEL_RESET:
        model_event(m, MODEL_SRC, "RESET",
                    json_pack("{s:b, s:s}", "guest", 1, "reason", "guest-reset"));
        break;
    case MODEL_PANIC:
        model_event(m, MODEL_SRC, "GUEST_PANICKED", json_pack("{s:s}", "action", "pause"));
        stop_by_itself(m, QAPI_RUN_GUEST_PANICKED);
        break;
    case MODEL_IO_ERROR:
        model_event(m, MODEL_SRC, "BLOCK_IO_ERROR",
                    json_pack("{s:s, s:s, s:s}", "device", "disk0", "operation", "write",
                              "action", "stop"));
        stop_by_itself(m, QAPI_RUN_IO_ERROR);
        break;
    case MODEL_SUSPEND:
        model_event(m, MODEL_SRC, "SUSPEND", NULL);
        src(m)->run = QAPI_RUN_SUSPENDED;
        break;
    case MODEL_NOTHING:
    case MODEL_REFUSE:
    case MODEL_LOSE:
    case MODEL_DELAY:
    case MODEL_DUPLICATE:
    case MODEL_DIE:
    case MODEL_DIE_AFTER:
    case MODEL_CUT:
    case MODEL_CUT_LOSE:
    case MODEL_STALL:
    case MODEL_COMMANDED:
    case MODEL_NET_SILENT:
    case MODEL_NET_RESET:
    case MODEL_ACK_LOST:
    case MODEL_LOAD_FAILS:
        break;
    }
}

void flow_renew(struct model *m)
{
    struct flow *f = &m->flow;
    m->silent = f->net_silent = f->net_reset = f->ack_lost = false;
    f->connected = f->sent = f->loaded = f->lent = f->lent_fd = false;
}

bool model_connect(struct model *m, int64_t t_ns)
{
    struct flow *f = &m->flow;
    model_advance(m, t_ns);
    if (f->net_silent || !dst(m)->alive || !dst(m)->listening || f->connected)
        return false;
    f->connected = f->lent = true; /* and 7.2 calls that active */
    model_status(m, MODEL_DST, QAPI_MIG_ACTIVE);
    return true;
}

void model_hang_up(struct model *m, int64_t t_ns)
{
    model_advance(m, t_ns);
    if (!m->flow.lent || m->flow.lent_fd)
        return;
    m->flow.lent = m->flow.connected = false;
    if (!m->flow.net_silent)
        dst_fails(m, "Channel error: Input/output error");
    model_check(m);
}

/* MEASURE: how much memory does the guest dirty, before anything is moved? For `preflight`, which
 * then says what would become of a migration. Changes nothing: QEMU hashes some of the guest's
 * pages twice (calc-dirty-rate by page sampling, since 5.2; verified 7.2 under TCG), from a thread
 * of its own.
 *
 *   for each interval:  calc-dirty-rate --> wait so long --> query-dirty-rate until `measured`
 *
 * Two intervals, since one rate says little: 60 MiB in one second are 60 MiB in a minute if they are
 * always the same. What cannot be measured is no failure: then there is no forecast, and a note. */
#include <stdio.h>

#include "engine/base/units.h"
#include "engine/mig_priv.h"

enum {
    POLL_MS = 200,
    TAKES_TOO_LONG_MS = 30000 /* beyond the interval itself */
};

static const uint32_t interval_s[MIG_MEASURES] = {1, 3};

static void done(struct mig *m)
{
    m->outcome = OUTCOME_COMPLETED;
    (void)snprintf(m->reason, sizeof(m->reason), "every check passed; nothing was changed");
    mig_go(m, MIG_DONE);
}

static void no_forecast(struct mig *m, struct mig_todo *todo, const char *why)
{
    mig_note(todo, "no forecast: %s", why);
    done(m);
}

static void measure_next(struct mig *m, struct mig_todo *todo)
{
    struct qapi_cmd cmd = {.command = QAPI_CALC_DIRTY_RATE};
    cmd.u.calc.seconds = interval_s[m->n_measured];
    cmd.u.calc.pages_per_gib = QAPI_SAMPLE_PAGES_MAX;
    m->stage_ns = m->now_ns;
    (void)mig_ask(m, todo, MIG_SRC, &cmd);
}

static uint64_t bandwidth(const struct mig *m)
{
    if (m->spec.bandwidth_bytes_per_s != SPEC_BANDWIDTH_HYPERVISOR)
        return m->spec.bandwidth_bytes_per_s;
    if (m->policy.bandwidth_bytes_per_s != 0)
        return m->policy.bandwidth_bytes_per_s;
    return m->side[MIG_SRC].params_found.value[QAPI_PARAM_MAX_BANDWIDTH];
}

static void foresee(struct mig *m, struct mig_todo *todo)
{
    struct policy_decision d;
    if (bandwidth(m) == 0) {
        no_forecast(m, todo, "the bandwidth is not known; --bandwidth RATE tells it");
        return;
    }
    policy_foresee(&m->policy, m->measured, m->n_measured, m->side[MIG_SRC].memory_bytes,
                   bandwidth(m), &d);
    mig_note(todo, "%s", d.because);
    if (d.forecast.known)
        mig_record(todo, RECORD_FORECAST)->u.forecast = d.forecast;
    done(m);
}

static void take(struct mig *m, uint64_t bytes_per_s, struct mig_todo *todo)
{
    const uint32_t seconds = interval_s[m->n_measured];
    struct policy_point *p = &m->measured[m->n_measured++];
    p->took_us = seconds * UINT64_C(1000000);
    p->left_bytes = qf_mul_sat(bytes_per_s, seconds);
    if (p->left_bytes > m->side[MIG_SRC].memory_bytes)
        p->left_bytes = m->side[MIG_SRC].memory_bytes;
    if (m->n_measured < MIG_MEASURES)
        measure_next(m, todo);
    else
        foresee(m, todo);
}

static void hear(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    const struct qapi_reply *r = &ev->u.reply;
    const uint64_t wait_ms = interval_s[m->n_measured] * UINT64_C(1000);
    if (r->refused)
        no_forecast(m, todo, r->error_desc);
    else if (r->command == QAPI_CALC_DIRTY_RATE)
        mig_wake_in(m, wait_ms);
    else if (r->u.dirty.measured)
        take(m, r->u.dirty.bytes_per_s, todo);
    else if (mig_is_past(m, m->stage_ns, wait_ms + TAKES_TOO_LONG_MS))
        no_forecast(m, todo, "QEMU does not come to an end with measuring the dirty rate");
    else
        mig_wake_in(m, POLL_MS);
}

void phase_measure(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    if (m->cancel_wanted) {
        mig_fail(m, OUTCOME_CANCELLED, QF_E_CANCELLED,
                 "cancelled before anything was touched");
        mig_go(m, MIG_FAILED);
    } else if (ev->kind == MIG_EV_DOWN && ev->side == MIG_SRC) {
        no_forecast(m, todo, ev->u.down.err.text);
    } else if (ev->kind == MIG_EV_ENTER && !m->guest_ran) {
        no_forecast(m, todo, "the guest does not run, nothing becomes old");
    } else if (ev->kind == MIG_EV_ENTER) {
        measure_next(m, todo);
    } else if (mig_late(ev, MIG_SRC, QAPI_CALC_DIRTY_RATE) ||
               mig_late(ev, MIG_SRC, QAPI_QUERY_DIRTY_RATE)) {
        no_forecast(m, todo, "the source does not answer");
    } else if (mig_heard(ev, MIG_SRC, QAPI_CALC_DIRTY_RATE) ||
               mig_heard(ev, MIG_SRC, QAPI_QUERY_DIRTY_RATE)) {
        hear(m, ev, todo);
    } else if (ev->kind == MIG_EV_TIMER &&
               !mig_is_asked(m, MIG_SRC, QAPI_QUERY_DIRTY_RATE) &&
               !mig_is_asked(m, MIG_SRC, QAPI_CALC_DIRTY_RATE) &&
               mig_is_past(m, m->stage_ns, interval_s[m->n_measured] * UINT64_C(1000))) {
        (void)mig_ask0(m, todo, MIG_SRC, QAPI_QUERY_DIRTY_RATE);
    } else if (ev->kind == MIG_EV_TIMER) {
        mig_wake_in(m, POLL_MS);
    }
}

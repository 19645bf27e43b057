/* A hand on the running move: cancel, post-copy now, stop the guest now, another policy.
 *
 *                 connect, preflight  configure  start  precopy  switchover  postcopy  finish
 *   cancel        yes                 yes        yes    yes      until post-copy  no   no
 *   postcopy      no                  no         no     yes      no          no        no
 *   pause         no                  no         no     yes      no          no        no
 *   set           yes                 no         yes    yes      no          rates     no
 *
 * RECOVER is as POSTCOPY without the rates. In ROLLBACK, AGAIN and RECONCILE a cancel is taken and
 * nothing else: ROLLBACK undoes the move as it is, but is not followed by another attempt then; AGAIN
 * ends; RECONCILE leaves it to the phase that follows, which may have to refuse it.
 *
 * Post-copy and auto-converge are capabilities of QEMU's, which takes them only before the start
 * (fact sheet 1.1): where they are off, no operator can turn them on any more.
 *
 * The operator's word stands above stop.allowed. Where the policy allows a stop, its stop.max holds
 * for an operator's, too; where it does not, stop.max says nothing, unless the operator has set
 * it, and the guest is stopped for as long as it takes. */
#include <stdio.h>
#include <string.h>

#include "engine/base/units.h"
#include "engine/mig_priv.h"

enum {
    ASKS_FREE = 24, /* QEMU has to answer before it is asked more on an operator's word */
    WORD = 32       /* one formatted number */
};

#define RULE "operator"

const char *mig_operator_name(enum mig_operator_kind k)
{
    switch (k) {
#define OPERATOR_NAME(id, name) \
    case MIG_OPERATOR_##id:     \
        return name;
        MIG_OPERATOR_KINDS(OPERATOR_NAME)
#undef OPERATOR_NAME
    }
    return "?";
}

const char *mig_field_name(enum mig_field f)
{
    switch (f) {
#define FIELD_NAME(id, name) \
    case MIG_FIELD_##id:     \
        return name;
        MIG_FIELDS(FIELD_NAME)
#undef FIELD_NAME
    case MIG_FIELD_COUNT:
        break;
    }
    return "?";
}

/* ---- may it be done now? ---- */

static bool is_on(const struct mig *m, enum mig_side_id side, uint64_t cap)
{
    const struct mig_side *s = &m->side[side];
    return ((s->caps_found.on ^ s->caps_changed) & cap) != 0;
}

static bool can_postcopy(const struct mig *m)
{
    return is_on(m, MIG_SRC, QAPI_CAP_BIT(POSTCOPY_RAM)) &&
           is_on(m, MIG_DST, QAPI_CAP_BIT(POSTCOPY_RAM));
}

/* Neither QEMU is set up yet, and nothing was concluded from the policy: a change of it is all that it
 * takes. Once preflight has judged, which waits for credentials for up to half a minute, it has. */
static bool is_early(const struct mig *m)
{
    return m->phase == MIG_CONNECT || (m->phase == MIG_PREFLIGHT && !m->judged);
}

/* Why nothing at all can be changed in this phase; NULL: PRECOPY, or something can. */
static const char *phase_refusal(const struct mig *m)
{
    switch (m->phase) {
    case MIG_NEW:
        return "it has not begun yet";
    case MIG_CONNECT:
    case MIG_PREFLIGHT:
    case MIG_MEASURE:
    case MIG_CONFIGURE:
    case MIG_START:
        return "memory does not move yet; say it again when it does";
    case MIG_PRECOPY:
        return NULL;
    case MIG_SWITCHOVER:
        return "the switch is under way";
    case MIG_POSTCOPY:
        return "it is in post-copy already: the guest's memory is split between both sides, "
               "and the only way is forward";
    case MIG_RECOVER:
        return "post-copy is interrupted and is being mended; say it again when it goes on";
    case MIG_FINISH:
        return "the destination has the whole guest";
    case MIG_ROLLBACK:
        return "the move is being taken back";
    case MIG_AGAIN:
        return "the move was taken back, and is about to be started again";
    case MIG_RECONCILE:
        return "a connection was lost, and where the move stands is being found out; say it "
               "again in a moment";
    case MIG_DONE:
    case MIG_FAILED:
    case MIG_HELD:
        return "it is over";
    }
    return "it is over";
}

static int refuse(struct qf_err *err, const char *why)
{
    return qf_fail(err, QF_E_REFUSED, "%s", why);
}

static int check_cancel(const struct mig *m, struct qf_err *err)
{
    switch (m->phase) {
    case MIG_CONNECT:
    case MIG_PREFLIGHT:
    case MIG_MEASURE:
    case MIG_CONFIGURE:
    case MIG_START:
    case MIG_PRECOPY: /* after migrate-start-postcopy: in pre-switchover, if that comes */
    case MIG_ROLLBACK: /* nothing is left to be done for it, but that it is not started again */
    case MIG_AGAIN:
    case MIG_RECONCILE: /* if it turns out to be possible */
        return 0;
    case MIG_SWITCHOVER:
        if (!m->continued || !m->postcopy_asked)
            return 0;
        return refuse(err, "the guest is being handed over to the destination (post-copy); "
                           "this cannot be taken back");
    case MIG_NEW:
    case MIG_POSTCOPY:
    case MIG_RECOVER:
    case MIG_FINISH:
    case MIG_DONE:
    case MIG_FAILED:
    case MIG_HELD:
        break;
    }
    return refuse(err, phase_refusal(m));
}

static int check_postcopy(const struct mig *m, struct qf_err *err)
{
    struct owner_view v;
    const char *why = phase_refusal(m);
    if (why)
        return refuse(err, why);
    if (m->postcopy_asked || m->postcopy_held)
        return refuse(err, "post-copy was asked for already");
    if (m->guest_paused)
        return refuse(err,
                      "the guest is stopped so that the move ends: post-copy would gain "
                      "nothing");
    if (!can_postcopy(m))
        return refuse(err,
                      m->caps_again
                          ? "this destination cannot do post-copy"
                          : "the policy does not allow post-copy (postcopy.allowed), and "
                            "QEMU takes the capability only before the start");
    mig_view(m, &v);
    if (!(v.may & MAY_POSTCOPY))
        return refuse(err, v.why);
    return 0;
}

static int check_pause(const struct mig *m, struct qf_err *err)
{
    const char *why = phase_refusal(m);
    if (why)
        return refuse(err, why);
    if (m->postcopy_asked || m->postcopy_held)
        return refuse(err, "post-copy was asked for: the guest moves at once");
    if (m->guest_paused)
        return refuse(err, "the guest is stopped already");
    if (mig_src_stopped(m))
        return refuse(err, "the guest does not run: there is nothing to stop");
    return 0;
}

static unsigned free_asks(const struct mig *m)
{
    unsigned n = 0;
    for (const struct mig_ask *a = m->ask; a < m->ask + MIG_ASKS_MAX; a++)
        n += a->id == 0;
    return n;
}

static bool is_offered(const struct mig *m, enum qapi_param which)
{
    return (m->side[MIG_SRC].params_found.has & (1U << (unsigned)which)) != 0;
}

static int refuse_field(struct qf_err *err, enum mig_field f, const char *why)
{
    return qf_fail(err, QF_E_REFUSED, "%s: %s", mig_field_name(f), why);
}

/* What QEMU would have had to know before the start. */
static int check_field(const struct mig *m,
                       const struct policy *p,
                       enum mig_field f,
                       struct qf_err *err)
{
    const bool in_postcopy = m->phase == MIG_POSTCOPY;
    if (in_postcopy && f != MIG_FIELD_BANDWIDTH && f != MIG_FIELD_POSTCOPY_BANDWIDTH)
        return refuse_field(
            err, f, "has no meaning any more in post-copy; bandwidth can be changed");
    if (is_early(m))
        return 0;
    if (f == MIG_FIELD_BANDWIDTH && !in_postcopy &&
        !is_offered(m, QAPI_PARAM_MAX_BANDWIDTH))
        return refuse_field(err, f, "the source's QEMU cannot limit it");
    if ((f == MIG_FIELD_POSTCOPY_BANDWIDTH || (f == MIG_FIELD_BANDWIDTH && in_postcopy)) &&
        !is_offered(m, QAPI_PARAM_MAX_POSTCOPY_BANDWIDTH))
        return refuse_field(err, f, "the source's QEMU cannot limit it in post-copy");
    if (f == MIG_FIELD_POSTCOPY_ALLOWED && p->postcopy_allowed && !can_postcopy(m))
        return refuse_field(err, f, "QEMU takes the capability only before the start");
    if (f == MIG_FIELD_THROTTLE_ALLOWED && p->throttle_allowed &&
        !is_on(m, MIG_SRC, QAPI_CAP_BIT(AUTO_CONVERGE)))
        return refuse_field(
            err, f, "QEMU takes the capability (auto-converge) only before the start");
    return 0;
}

static int check_set(const struct mig *m, const struct mig_operator *op, struct qf_err *err)
{
    const bool can = is_early(m) || m->phase == MIG_START || m->phase == MIG_PRECOPY ||
                     m->phase == MIG_POSTCOPY;
    if (!can)
        return refuse(err, m->phase == MIG_CONFIGURE || m->phase == MIG_PREFLIGHT
                               ? "both QEMUs are being set up; say it again in a moment"
                               : phase_refusal(m));
    if (m->phase == MIG_POSTCOPY &&
        !m->handed_over) /* the guest is stopped: not a moment more */
        return refuse(err, "the switch is under way");
    if (op->fields == 0 || !op->policy)
        return refuse(err, "nothing is to be changed");
    if (!is_early(m) && free_asks(m) < ASKS_FREE)
        return refuse(err, "QEMU has not answered yet to what was asked before");
    for (unsigned i = 0; i < MIG_FIELD_COUNT; i++) {
        const int rc = op->fields & (UINT32_C(1) << i)
                           ? check_field(m, op->policy, (enum mig_field)i, err)
                           : 0;
        if (rc != 0)
            return rc;
    }
    return 0;
}

int mig_operator_check(const struct mig *m,
                       const struct mig_operator *op,
                       struct qf_err *err)
{
    switch (op->kind) {
    case MIG_OPERATOR_CANCEL:
        return check_cancel(m, err);
    case MIG_OPERATOR_POSTCOPY:
        return check_postcopy(m, err);
    case MIG_OPERATOR_PAUSE:
        return check_pause(m, err);
    case MIG_OPERATOR_SET:
        return check_set(m, op, err);
    }
    return refuse(err, "unknown");
}

/* ---- saying it ---- */

static void decide(struct mig_todo *todo,
                   enum policy_action action,
                   uint64_t value,
                   const char *what)
{
    struct policy_decision *d = &mig_record(todo, RECORD_DECISION)->u.decision;
    d->action = action;
    d->value = value;
    d->wake_ns = INT64_MAX;
    d->rule = RULE;
    (void)snprintf(d->because, sizeof(d->because), "asked for by the operator: %s", what);
}

static const char *rate(uint64_t bytes_per_s, const char *none, char word[WORD])
{
    if (bytes_per_s == 0)
        return none;
    return qf_format_rate(bytes_per_s, word, WORD);
}

static const char *span(uint64_t ms, char word[WORD])
{
    return ms == 0 ? "none" : qf_format_ms(ms, word, WORD);
}

static const char *yes(bool on)
{
    return on ? "true" : "false";
}

static const char *on_timeout_name(enum policy_on_timeout t)
{
    switch (t) {
    case POLICY_ON_TIMEOUT_ABORT:
        return "abort";
    case POLICY_ON_TIMEOUT_POSTCOPY:
        return "postcopy";
    case POLICY_ON_TIMEOUT_STOP:
        return "stop";
    case POLICY_ON_TIMEOUT_FORCE_COMPLETE:
        return "force-complete";
    }
    return "?";
}

/* "was" and "is" of a field, into one of the caller's words each where it needs one. */
static void values(const struct policy *p,
                   enum mig_field f,
                   const char **text,
                   char w[WORD])
{
    switch (f) {
    case MIG_FIELD_BANDWIDTH:
        *text = rate(p->bandwidth_bytes_per_s, "as QEMU was set", w);
        return;
    case MIG_FIELD_POSTCOPY_BANDWIDTH:
        *text = rate(p->postcopy_bandwidth_bytes_per_s, "unlimited", w);
        return;
    case MIG_FIELD_DOWNTIME_MAX:
        *text = span(p->downtime_max_ms, w);
        return;
    case MIG_FIELD_TIMEOUT:
        *text = span(p->timeout_ms, w);
        return;
    case MIG_FIELD_TIMEOUT_PER_GIB:
        *text = span(p->timeout_per_gib_ms, w);
        return;
    case MIG_FIELD_PROGRESS_TIMEOUT:
        *text = span(p->progress_timeout_ms, w);
        return;
    case MIG_FIELD_ON_TIMEOUT:
        *text = on_timeout_name(p->on_timeout);
        return;
    case MIG_FIELD_FINISH_WITHIN:
        *text = span(p->finish_within_ms, w);
        return;
    case MIG_FIELD_SLOWDOWN_MAX:
        (void)snprintf(w, WORD, "%u %%", p->slowdown_max_percent);
        *text = w;
        return;
    case MIG_FIELD_THROTTLE_ALLOWED:
        *text = yes(p->throttle_allowed);
        return;
    case MIG_FIELD_THROTTLE_MAX:
        (void)snprintf(w, WORD, "%u %%", p->throttle_max_percent);
        *text = w;
        return;
    case MIG_FIELD_POSTCOPY_ALLOWED:
        *text = yes(p->postcopy_allowed);
        return;
    case MIG_FIELD_STOP_ALLOWED:
        *text = yes(p->stop_allowed);
        return;
    case MIG_FIELD_STOP_MAX:
        *text = p->stop_max_ms == 0 ? "no bound" : span(p->stop_max_ms, w);
        return;
    case MIG_FIELD_COUNT:
        break;
    }
    *text = "?";
}

/* ---- doing it ---- */

static void want(const struct mig *m,
                 struct qapi_params *p,
                 enum qapi_param which,
                 uint64_t value)
{
    if (!is_offered(m, which))
        return;
    p->has |= 1U << (unsigned)which;
    p->value[which] = value;
}

/* A rate of 0 is "what QEMU was set to". The limit before the switch and the one after it are two
 * parameters of QEMU's: the one that counts now is changed. */
static uint64_t set_bandwidth(struct mig *m, struct qapi_params *p)
{
    const uint64_t rate_wanted = m->policy.bandwidth_bytes_per_s;
    const enum qapi_param which = m->phase == MIG_POSTCOPY
                                      ? QAPI_PARAM_MAX_POSTCOPY_BANDWIDTH
                                      : QAPI_PARAM_MAX_BANDWIDTH;
    if (is_early(m)) { /* --bandwidth would win over the policy's */
        m->spec.bandwidth_auto = false;
        m->spec.bandwidth_bytes_per_s =
            rate_wanted ? rate_wanted : SPEC_BANDWIDTH_HYPERVISOR;
        return rate_wanted;
    }
    const uint64_t value =
        rate_wanted ? rate_wanted : m->side[MIG_SRC].params_found.value[which];
    want(m, p, which, value);
    if (which == QAPI_PARAM_MAX_BANDWIDTH)
        m->bandwidth_limit = value;
    return value;
}

/* The limit in force follows a bound that is lowered below it; and one that is raised, if the
 * policy had gone to the bound. Otherwise the policy goes there when it is time. True: it moves. */
static bool set_downtime(struct mig *m, uint64_t was_ms, struct qapi_params *p)
{
    const uint64_t is_ms = m->policy.downtime_max_ms;
    if (is_early(m) || !(m->downtime_limit_ms > is_ms ||
                         (m->downtime_limit_ms == was_ms && was_ms < is_ms)))
        return false;
    m->downtime_limit_ms = is_ms;
    want(m, p, QAPI_PARAM_DOWNTIME_LIMIT, is_ms);
    return true;
}

/* QEMU takes a lower maximum over with its next step, a forbidden throttle likewise (one percent
 * is the least that it knows). */
static void set_throttle(struct mig *m, struct qapi_params *p)
{
    const struct policy *policy = &m->policy;
    const uint32_t most = policy->throttle_allowed ? policy->throttle_max_percent : 1;
    const uint32_t first =
        policy->throttle_initial_percent < most ? policy->throttle_initial_percent : most;
    if (!m->throttling)
        return;
    want(m, p, QAPI_PARAM_CPU_THROTTLE_INITIAL, first);
    want(m, p, QAPI_PARAM_MAX_CPU_THROTTLE, most);
    m->throttling = policy->throttle_allowed;
}

static void apply(struct mig *m,
                  const struct policy *was,
                  enum mig_field f,
                  struct qapi_params *p,
                  struct mig_todo *todo)
{
    char a[WORD];
    char b[WORD];
    char what[160];
    const char *from;
    const char *to;
    enum policy_action action = POLICY_WAIT;
    uint64_t value = 0;
    values(was, f, &from, a);
    values(&m->policy, f, &to, b);
    /* what the limit was may be --bandwidth's, or QEMU's own */
    if (f == MIG_FIELD_BANDWIDTH)
        (void)snprintf(what, sizeof(what), "%s %s", mig_field_name(f), to);
    else
        (void)snprintf(what, sizeof(what), "%s %s -> %s", mig_field_name(f), from, to);
    if (f == MIG_FIELD_BANDWIDTH) {
        action = POLICY_SET_BANDWIDTH;
        value = set_bandwidth(m, p);
    } else if (f == MIG_FIELD_POSTCOPY_BANDWIDTH) {
        if (!is_early(m))
            want(m, p, QAPI_PARAM_MAX_POSTCOPY_BANDWIDTH,
                 m->policy.postcopy_bandwidth_bytes_per_s);
        action = POLICY_SET_BANDWIDTH;
        value = m->policy.postcopy_bandwidth_bytes_per_s;
    } else if (f == MIG_FIELD_DOWNTIME_MAX && set_downtime(m, was->downtime_max_ms, p)) {
        const size_t n = strlen(what);
        (void)snprintf(what + n, sizeof(what) - n, ", and the limit with it");
        action = POLICY_SET_DOWNTIME;
        value = m->downtime_limit_ms;
    } else if (f == MIG_FIELD_THROTTLE_ALLOWED || f == MIG_FIELD_THROTTLE_MAX) {
        set_throttle(m, p);
    }
    decide(todo, action, value, what);
}

static void set(struct mig *m, const struct mig_operator *op, struct mig_todo *todo)
{
    struct qapi_cmd cmd = {.command = QAPI_SET_PARAMS};
    const struct policy was = m->policy;
    m->policy = *op->policy;
    m->operator_fields |= op->fields;
    m->policy_changes++;
    for (unsigned i = 0; i < MIG_FIELD_COUNT; i++)
        if (op->fields & (UINT32_C(1) << i))
            apply(m, &was, (enum mig_field)i, &cmd.u.params, todo);
    if (cmd.u.params.has == 0)
        return;
    m->side[MIG_SRC].params_changed |= cmd.u.params.has;
    (void)mig_ask(m, todo, MIG_SRC, &cmd);
}

static void stop_guest(struct mig *m, struct mig_todo *todo)
{
    char word[WORD];
    char what[96];
    if (!m->policy.stop_allowed && !(m->operator_fields & MIG_FIELD_BIT(STOP_MAX)))
        m->policy.stop_max_ms = 0;
    if (m->policy.stop_max_ms > 0)
        (void)snprintf(what, sizeof(what),
                       "stop the guest, so that the move ends, for at most %s (stop.max)",
                       qf_format_ms(m->policy.stop_max_ms, word, sizeof(word)));
    else
        (void)snprintf(what, sizeof(what),
                       "stop the guest, so that the move ends, however long it takes");
    decide(todo, POLICY_PAUSE, 0, what);
    policy_stopped(&m->policy_run, m->now_ns);
    mig_stop_guest(m, todo);
}

void mig_operate(struct mig *m, const struct mig_operator *op, struct mig_todo *todo)
{
    struct qf_err why;
    if (mig_operator_check(m, op, &why) != 0) {
        mig_note(todo, "%s, asked for by the operator, is refused: %s",
                 mig_operator_name(op->kind), why.text);
        return;
    }
    switch (op->kind) {
    case MIG_OPERATOR_CANCEL:
        decide(todo, POLICY_ABORT, 0, "cancel");
        m->cancel_wanted = true;
        break;
    case MIG_OPERATOR_POSTCOPY:
        decide(todo, POLICY_POSTCOPY, 0, "switch to post-copy now");
        (void)mig_start_postcopy(m, todo);
        break;
    case MIG_OPERATOR_PAUSE:
        stop_guest(m, todo);
        break;
    case MIG_OPERATOR_SET:
        set(m, op, todo);
        break;
    }
}

/* Nothing moves: why? For PRECOPY and SWITCHOVER; POSTCOPY, which cannot wait so long, asks and hears
 * through here and draws its own conclusions.
 *
 *   the counter stands --5 s--> a round: both sides in band and out of band, and the path
 *        |                        |
 *        |                        `--1.5 s at most--> a verdict, told as a warning; again every 5 s,
 *        v                                            told when it is another one, or twice as old
 *   it moves: a note, how long it took
 *
 * What moves is the source's count of bytes, or of the pages that it has gone through: zero pages and
 * bitmaps take time and no bytes. A destination whose main loop is silent for as long is asked about,
 * too, though the sockets' buffers may still take bytes; and so is a link that has become ten times
 * slower than it was.
 *
 *   in band  out of band  path      verdict
 *   -        yes          any       a stalled main loop: no death
 *   -        -            answers   QEMU stands still (stopped, swapped out): not known to be dead
 *   -        -            dead      a dead peer, or its host
 *   yes      yes          dead      a dead path
 *   yes      yes          answers   a stopped disk, where the guest is in io-error; else a saturated link
 *
 * That a process is gone its monitor's end tells (RECONCILE). Nothing is decided here, whatever the
 * verdict: who wants to act on it (phase_again.c, phase_postcopy.c) has conditions of its own. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/units.h"
#include "engine/mig_priv.h"
#include "engine/network.h"

enum {
    STILL_MS = 5000, /* nothing moves: ask why, and again after as long */
    ANSWER_MS =
        1500, /* so long an answer may take; a probe of the path takes up to a second */
    WINDOW_MS = 5000, /* over which a rate is measured */
    CRAWL = 10,       /* so many times slower than it was */
    LEFT_S = 2,       /* with less than so much left to do nothing is slow */
    WHY_MAX = 128
};

/* ---- what is counted ---- */

static void begin_window(struct mig *m)
{
    struct mig_stall *s = &m->stall;
    const struct qapi_migrate *q = &m->side[MIG_SRC].migrate;
    s->window_ns = m->now_ns;
    s->window_bytes = q->transferred_bytes;
    s->window_walked = q->walked_bytes;
}

static uint64_t per_s(uint64_t from, uint64_t to, uint64_t ms)
{
    return to > from && ms > 0 ? qf_mul_div(to - from, 1000, ms) : 0;
}

/* What the link is known to do: the best that was seen, or what its network is to give; no more
 * than it is allowed to. */
static uint64_t usual_rate(const struct mig *m)
{
    uint64_t rate = m->stall.best_bytes_per_s;
    if (m->network_bytes_per_s > rate)
        rate = m->network_bytes_per_s;
    if (m->bandwidth_limit != 0 && m->bandwidth_limit != POLICY_UNKNOWN &&
        m->bandwidth_limit < rate)
        rate = m->bandwidth_limit;
    return rate;
}

static void measure(struct mig *m)
{
    struct mig_stall *s = &m->stall;
    const struct qapi_migrate *q = &m->side[MIG_SRC].migrate;
    const uint64_t ms = (uint64_t)(m->now_ns - s->window_ns) / (uint64_t)QF_NS_PER_MS;
    if (s->window_ns == 0 || q->status != QAPI_MIG_ACTIVE) {
        s->crawl_ns = 0;
        begin_window(m);
        return;
    }
    if (ms < WINDOW_MS)
        return;
    const uint64_t rate = per_s(s->window_bytes, q->transferred_bytes, ms);
    const uint64_t walked = per_s(s->window_walked, q->walked_bytes, ms);
    const uint64_t usual = usual_rate(m) / CRAWL;
    if (rate >= usual || walked >= usual || q->remaining_bytes < rate * LEFT_S)
        s->crawl_ns = 0;
    else if (s->crawl_ns == 0)
        s->crawl_ns = s->window_ns;
    s->rate_bytes_per_s = rate;
    if (rate > s->best_bytes_per_s)
        s->best_bytes_per_s = rate;
    begin_window(m);
}

static void count(struct mig *m)
{
    struct mig_stall *s = &m->stall;
    const struct qapi_migrate *q = &m->side[MIG_SRC].migrate;
    if (s->moved_ns == 0 || q->transferred_bytes != s->bytes ||
        q->walked_bytes != s->walked) {
        s->bytes = q->transferred_bytes;
        s->walked = q->walked_bytes;
        s->moved_ns = m->now_ns;
        mig_stall_restart(m);
    }
    measure(m);
}

/* ---- asking ---- */

void mig_stall_restart(struct mig *m)
{
    m->stall.since_ns = m->now_ns;
    m->stall.round_ns = 0;
    memset(m->stall.oob, 0, sizeof(m->stall.oob));
}

void mig_stall_ask(struct mig *m, struct mig_todo *todo)
{
    struct mig_stall *s = &m->stall;
    const bool split = m->phase == MIG_POSTCOPY;
    s->round_ns = m->now_ns;
    s->judged = false;
    s->path = STALL_PATH_UNKNOWN;
    memset(s->oob, 0, sizeof(s->oob));
    for (unsigned i = 0; i < MIG_SIDES; i++) {
        const enum mig_side_id side = (enum mig_side_id)i;
        if (m->side[i].link != MIG_LINK_UP)
            continue;
        if (!mig_is_asked(m, side, QAPI_QUERY_YANK))
            (void)mig_ask0(m, todo, side, QAPI_QUERY_YANK);
        /* In post-copy a main loop may well wait for a page. */
        if (!split && !mig_is_asked(m, side, QAPI_QUERY_STATUS))
            (void)mig_ask0(m, todo, side, QAPI_QUERY_STATUS);
    }
    mig_probe(m, todo, !split || m->spec.networks.n == 0);
}

void mig_stall_take_path(struct mig *m, const struct netsel_facts *f)
{
    struct mig_stall *s = &m->stall;
    struct netsel_wish path;
    struct netsel_choice c;
    const bool has_networks =
        m->spec.networks.n > 0 && m->network_known && m->network.chosen >= 0;
    if (s->round_ns == 0)
        return;
    if (!has_networks)
        network_path_wish(&m->spec, &path);
    netsel_choose(has_networks ? &m->spec.networks : &path, f, &c);
    const struct netsel_candidate *of =
        has_networks
            ? netsel_candidate_of(&c, m->network.candidate[m->network.chosen].network)
        : c.chosen >= 0 ? &c.candidate[c.chosen]
        : c.n > 0       ? &c.candidate[0]
                        : NULL;
    if (!of || (of->pending && f->waited_ms < NETSEL_PATIENCE_MS))
        return;
    s->path = of->usable ? STALL_PATH_ANSWERS : STALL_PATH_DEAD;
    (void)snprintf(s->why, sizeof(s->why), "%.*s", WHY_MAX - 1, of->why);
}

/* ---- the verdict ---- */

/* So long a question in band is unanswered; 0: none is. */
static uint64_t deaf_ms(const struct mig *m, enum mig_side_id side)
{
    const struct mig_side *s = &m->side[side];
    const int64_t from =
        s->heard_ns > m->stall.entered_ns ? s->heard_ns : m->stall.entered_ns;
    if (s->link != MIG_LINK_UP || m->phase == MIG_POSTCOPY ||
        (!mig_is_asked(m, side, QAPI_QUERY_STATUS) &&
         !mig_is_asked(m, side, QAPI_QUERY_MIGRATE)))
        return 0;
    return (uint64_t)(m->now_ns - from) / (uint64_t)QF_NS_PER_MS;
}

static bool hears_in_band(const struct mig *m, enum mig_side_id side)
{
    return m->phase == MIG_POSTCOPY ? m->stall.oob[side]
                                    : m->side[side].heard_ns >= m->stall.round_ns;
}

static bool is_still(const struct mig *m)
{
    return mig_is_past(m, m->stall.moved_ns, STILL_MS);
}

static bool is_suspicious(const struct mig *m)
{
    return is_still(m) || m->stall.crawl_ns != 0 || deaf_ms(m, MIG_SRC) >= STILL_MS ||
           deaf_ms(m, MIG_DST) >= STILL_MS;
}

static bool is_answered(const struct mig *m)
{
    bool all = !m->probing;
    for (unsigned i = 0; i < MIG_SIDES; i++)
        all = all && m->stall.oob[i] && hears_in_band(m, (enum mig_side_id)i);
    return all || mig_is_past(m, m->stall.round_ns, ANSWER_MS);
}

static enum mig_stall_kind judge(const struct mig *m, enum mig_side_id *side)
{
    const struct mig_stall *s = &m->stall;
    /* The destination first: a source may hang in a write because of it. */
    for (unsigned i = MIG_SIDES; i-- > 0;) {
        *side = (enum mig_side_id)i;
        if (m->side[i].link != MIG_LINK_UP || hears_in_band(m, *side))
            continue;
        if (m->side[i].oob && s->oob[i])
            return STALL_LOOP;
        return i == MIG_DST && s->path == STALL_PATH_DEAD ? STALL_PEER : STALL_DEAF;
    }
    if (!is_still(m))
        return s->crawl_ns != 0 ? STALL_CRAWL : STALL_NONE;
    if (s->path == STALL_PATH_DEAD)
        return STALL_PATH;
    return m->side[MIG_SRC].run == QAPI_RUN_IO_ERROR ? STALL_DISK : STALL_LINK;
}

/* ---- telling ---- */

static uint64_t quiet_ms(const struct mig *m,
                         enum mig_stall_kind kind,
                         enum mig_side_id side)
{
    const struct mig_stall *s = &m->stall;
    const int64_t from = kind == STALL_CRAWL ? s->crawl_ns : s->moved_ns;
    const uint64_t ms = (uint64_t)(m->now_ns - from) / (uint64_t)QF_NS_PER_MS;
    const uint64_t deaf = deaf_ms(m, side);
    return (kind == STALL_LOOP || kind == STALL_DEAF) && deaf > ms ? deaf : ms;
}

static const char *path_says(const struct mig *m)
{
    return m->stall.path == STALL_PATH_UNKNOWN ? "the path could not be asked"
                                               : m->stall.why;
}

static void tell(struct mig *m,
                 enum mig_stall_kind kind,
                 enum mig_side_id side,
                 struct mig_todo *todo)
{
    const struct mig_stall *s = &m->stall;
    const char *who = mig_side_name(side);
    const char *disk = kind != STALL_DISK && m->side[MIG_SRC].run == QAPI_RUN_IO_ERROR
                           ? "; besides, a disk has stopped the guest (io-error)"
                           : "";
    char still[80];
    const char *path = path_says(m);
    char now[32];
    char usual[32];
    char quiet[32];
    (void)qf_format_ms(quiet_ms(m, kind, side), quiet, sizeof(quiet));
    (void)snprintf(still, sizeof(still), "%s%s (source: %s)",
                   is_still(m) ? "no byte has moved for " : "trouble for ", quiet,
                   qapi_mig_name(m->side[MIG_SRC].migrate.status));
    switch (kind) {
    case STALL_NONE:
        return;
    case STALL_LOOP:
        mig_warn(
            todo,
            "%s: the main loop of the %s's QEMU is stalled: it answers out of band, and "
            "has answered nothing in band for %" PRIu64
            " ms; that is no death, and is waited for%s%s%s",
            still, who, deaf_ms(m, side),
            s->path == STALL_PATH_DEAD ? "; besides, the path is dead: " : "",
            s->path == STALL_PATH_DEAD ? path : "", disk);
        return;
    case STALL_DEAF:
        mig_warn(
            todo,
            "%s: the %s's QEMU answers neither in band nor out of band: it, or its host, "
            "stands still; it is not known to be dead, and is waited for; %s%s",
            still, who, path, disk);
        return;
    case STALL_PEER:
        mig_warn(
            todo,
            "%s: the peer is dead or cut off: the %s's monitor does not answer in any way, and %s%s",
            still, who, path, disk);
        return;
    case STALL_PATH:
        mig_warn(todo, "%s: the path is dead, both QEMUs answer: %s%s", still, path, disk);
        return;
    case STALL_DISK:
        mig_warn(
            todo,
            "%s: a disk has stopped the guest (io-error): mend it and send cont to the "
            "source; both QEMUs answer; %s",
            still, path);
        return;
    case STALL_LINK:
        mig_warn(
            todo,
            "%s: the link is saturated or recovers from a loss, or what was sent is not "
            "read: both QEMUs answer, and %s%s",
            still, path, disk);
        return;
    case STALL_CRAWL:
        (void)qf_format_bytes(s->rate_bytes_per_s, now, sizeof(now));
        (void)qf_format_bytes(usual_rate(m), usual, sizeof(usual));
        mig_warn(todo,
                 "the link is saturated: %s/s for %s, where %s/s is known to be possible; "
                 "both QEMUs answer%s",
                 now, quiet, usual, disk);
        return;
    }
}

/* It is over: said once, with how long it took. */
static void forget_told(struct mig *m, struct mig_todo *todo)
{
    struct mig_stall *s = &m->stall;
    char took[32];
    if (s->told == STALL_NONE)
        return;
    (void)qf_format_ms((uint64_t)(m->now_ns - s->told_since_ns) / (uint64_t)QF_NS_PER_MS,
                       took, sizeof(took));
    mig_note(todo, "it moves again, after %s", took);
    s->told = STALL_NONE;
    s->tell_ms = 0;
}

static void conclude(struct mig *m, struct mig_todo *todo)
{
    struct mig_stall *s = &m->stall;
    enum mig_side_id side;
    const enum mig_stall_kind kind = judge(m, &side);
    const uint64_t ms = quiet_ms(m, kind, side);
    s->judged = true;
    if (kind == STALL_NONE || (kind == s->told && side == s->told_side && ms < s->tell_ms))
        return;
    if (s->told == STALL_NONE)
        s->told_since_ns = m->now_ns - qf_ms_to_ns(ms);
    s->told = kind;
    s->told_side = side;
    s->tell_ms = 2 * ms;
    tell(m, kind, side, todo);
}

void mig_stall_watch(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    struct mig_stall *s = &m->stall;
    if (ev->kind == MIG_EV_ENTER) { /* another phase: that is a movement */
        s->moved_ns = s->entered_ns = m->now_ns;
        s->window_ns = s->crawl_ns = 0;
        mig_stall_restart(m);
    }
    if (ev->kind == MIG_EV_REPLY && ev->u.reply.command == QAPI_QUERY_YANK)
        s->oob[ev->side] = s->round_ns != 0;
    if (mig_heard(ev, MIG_SRC, QAPI_QUERY_MIGRATE) && m->side[MIG_SRC].migrate.has_ram)
        count(m);
    if (!is_suspicious(m)) {
        forget_told(m, todo);
        return;
    }
    const bool due = s->round_ns == 0 || mig_is_past(m, s->round_ns, STILL_MS);
    if (m->phase != MIG_POSTCOPY && ev->kind != MIG_EV_ENTER && due)
        mig_stall_ask(m, todo);
    if (s->round_ns == 0)
        return;
    /* Post-copy asks once; what was answered since may make it another verdict. */
    if (m->phase == MIG_POSTCOPY && mig_is_past(m, s->moved_ns, s->tell_ms))
        s->judged = false;
    if (!s->judged && is_answered(m))
        conclude(m, todo);
}

#include "engine/replay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/session.h"
#include "qmp/client.h"

enum { PENDING_CAP = 64 * 1024 * 1024 };

/* What the fresh machine has written and the journal has not yet confirmed. */
struct player {
    struct session session;
    struct qf_buf pending;
    bool failed; /* out of memory */
};

static void keep_line(struct session *s,
                      const char *line,
                      const struct record *record,
                      void *arg)
{
    struct player *p = arg;
    (void)s;
    (void)record;
    if (qf_buf_append(&p->pending, line, strlen(line), NULL) != 0)
        p->failed = true;
}

static void cut(char *dst, size_t size, const char *text, size_t len)
{
    (void)snprintf(dst, size, "%.*s", (int)(len < size ? len : size - 1), text);
}

/* The next pending line must be this one. */
static bool compare(struct player *p,
                    const char *line,
                    size_t len,
                    struct replay_report *report)
{
    const char *end =
        p->pending.len > 0 ? memchr(p->pending.data, '\n', p->pending.len) : NULL;
    const size_t n = end ? (size_t)(end - p->pending.data) : 0;
    if (end && n == len && memcmp(p->pending.data, line, len) == 0) {
        qf_buf_drop(&p->pending, n + 1);
        return true;
    }
    report->differs = report->lines;
    cut(report->expected, sizeof(report->expected), line, len);
    cut(report->got, sizeof(report->got), end ? p->pending.data : "(nothing)", end ? n : 9);
    return false;
}

static int play_line(struct player *p,
                     const json_t *json,
                     uint64_t number,
                     struct qf_err *err)
{
    if (number == 1) {
        struct mig_spec spec;
        struct policy policy;
        struct journal_clock clock;
        static const struct session_ops ops = {.on_line = keep_line};
        const int rc = journal_read_header(json, &clock, &spec, &policy, err);
        if (rc != 0)
            return rc;
        session_init(&p->session, &spec, &policy, clock.t0_ns, clock.wall_ms, &ops, p);
        p->session.clock = clock;
        return 0;
    }
    return journal_is_type(json, "event") ? session_feed_line(&p->session, json, err) : 0;
}

/* The header comes out of session_begin, with the first event: it is compared then. */
static int play(struct player *p,
                const char *text,
                size_t len,
                struct replay_report *report,
                struct qf_err *err)
{
    size_t at = 0;
    size_t header_len = 0;
    while (at < len) {
        const char *line = text + at;
        const char *end = memchr(line, '\n', len - at);
        report->lines++;
        if (!end)
            return qf_fail(err, QF_E_USAGE, "line %llu: cut short",
                           (unsigned long long)report->lines);
        const size_t n = (size_t)(end - line);
        json_t *json = qmp_json_parse(line, n, NULL);
        if (!json)
            return qf_fail(err, QF_E_USAGE, "line %llu: not JSON",
                           (unsigned long long)report->lines);
        if (journal_is_type(json, "decision"))
            report->decisions++;
        const int rc = play_line(p, json, report->lines, err);
        json_decref(json);
        if (rc != 0) {
            (void)qf_wrap(err, "line %llu", (unsigned long long)report->lines);
            return rc; /* err may be NULL */
        }
        if (p->failed || p->session.out_of_memory)
            return qf_fail(err, QF_E_NOMEM, "no memory to replay it");
        if (report->lines == 1)
            header_len = n;
        else if ((report->lines == 2 && !compare(p, text, header_len, report)) ||
                 !compare(p, line, n, report))
            return 0;
        at += n + 1;
    }
    return report->lines > 0 ? 0 : qf_fail(err, QF_E_USAGE, "not a journal: it is empty");
}

int replay(const char *text, size_t len, struct replay_report *report, struct qf_err *err)
{
    memset(report, 0, sizeof(*report));
    struct player *p = calloc(1, sizeof(*p));
    if (!p)
        return qf_fail(err, QF_E_NOMEM, "no memory to replay it");
    qf_buf_init(&p->pending, PENDING_CAP);
    const int rc = play(p, text, len, report, err);
    qf_buf_fini(&p->pending);
    free(p);
    return rc;
}

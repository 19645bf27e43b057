/* A monitor that says anything, in any pieces: the client stays inside its bounds and makes the
 * same of it. The first byte says how long the pieces are (low bits) and whether the monitor has
 * behaved up to the end of the negotiation (128). */
#include "fuzz.h"

#include <string.h>

#include "qmp/client.h"

struct seen {
    uint64_t hash;
    enum qmp_client_state state;
    unsigned strays;
    size_t out;
};

static void mix(struct seen *s, uint64_t v)
{
    s->hash = (s->hash ^ v) * 1099511628211U;
}

static void mix_text(struct seen *s, const char *text)
{
    for (; text && *text; text++)
        mix(s, (uint8_t)*text);
}

static void check(const struct qmp_client *c)
{
    MUST(c->n_in_flight <= QMP_IN_BAND_MAX && c->n_oob_flight <= QMP_OUT_OF_BAND_MAX);
    MUST(c->n_waiting <= QMP_WAITING_MAX);
    MUST(c->state == QMP_READY || c->n_in_flight == 0 || c->state == QMP_BROKEN);
    MUST(c->n_waiting == 0 || c->n_in_flight == QMP_IN_BAND_MAX || c->state != QMP_READY);
}

/* What a caller reads from a message; the sanitizer watches. */
static void take(struct seen *s,
                 struct qmp_client *c,
                 const struct qmp_msg *m,
                 uint64_t *next)
{
    char *text = json_dumps(m->whole, JSON_COMPACT);
    uint64_t number = 0;
    MUST(text);
    mix(s, m->kind);
    mix_text(s, text);
    free(text);
    switch (m->kind) {
    case QMP_MSG_UP:
        MUST(c->state == QMP_READY && json_is_object(m->body));
        break;
    case QMP_MSG_REPLY:
        MUST(m->id != 0 &&
             (m->is_error ? m->error_class && m->error_desc : m->body != NULL));
        mix(s, m->id);
        mix(s, qmp_json_u64(m->body, &number) ? number : 0);
        mix_text(s, m->error_class);
        mix_text(s, m->error_desc);
        if (*next < 100) {
            MUST(qmp_client_send(c, "more", m->whole, *next, false, NULL) == 0);
            ++*next;
        }
        break;
    case QMP_MSG_EVENT:
        MUST(m->name);
        mix_text(s, m->name);
        break;
    }
}

static void feed(
    struct seen *s, struct qmp_client *c, const void *data, size_t n, uint64_t *next)
{
    struct qf_err err = {.code = QF_E_OK};
    struct qmp_msg m;
    int rc = qmp_client_feed(c, data, n, &err);
    while (rc >= 0 && (rc = qmp_client_next(c, &m, &err)) == 1) {
        take(s, c, &m, next);
        check(c);
    }
    MUST(rc == 0 || (c->state == QMP_BROKEN && err.code == QF_E_PROTO && err.text[0]));
}

static struct seen run(const uint8_t *data, size_t size, size_t step, bool behaves)
{
    static const char up[] =
        "{\"QMP\":{\"capabilities\":[\"oob\"]}}{\"return\":{},\"id\":0}";
    struct qmp_client c;
    struct seen s = {.hash = 14695981039346656037U};
    uint64_t next = 1;
    qmp_client_init(&c);
    for (; next <= 10; next++)
        MUST(qmp_client_send(&c, "x", NULL, next, false, NULL) == 0);
    if (behaves) {
        feed(&s, &c, up, sizeof(up) - 1, &next);
        MUST(qmp_client_send(&c, "yank", NULL, 1000, true, NULL) == 0);
    }
    for (size_t i = 0; i < size && c.state != QMP_BROKEN; i += step)
        feed(&s, &c, data + i, size - i < step ? size - i : step, &next);
    s.state = c.state;
    s.strays = c.strays;
    s.out = c.out.len;
    for (size_t i = 0; i < c.out.len; i++)
        mix(&s, (uint8_t)c.out.data[i]);
    qmp_client_fini(&c);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const bool behaves = data[0] & 128;
    const struct seen whole = run(data + 1, size - 1, size, behaves);
    const struct seen pieces = run(data + 1, size - 1, (size_t)data[0] % 32 + 1, behaves);
    MUST(whole.hash == pieces.hash && whole.state == pieces.state);
    MUST(whole.strays == pieces.strays && whole.out == pieces.out);
    return 0;
}

#include "qmp/client.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The id of qmp_capabilities; callers may not use it. */
enum { NEGOTIATION_ID = 0 };

/* ---- JSON ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* How long the number at text is, and whether it is an integer that jansson refuses. Not every
 * token found here is valid JSON; what is not is left to jansson to refuse. */
static size_t number_len(const char *text, size_t len, bool *too_big)
{
    const size_t sign = text[0] == '-' ? 1 : 0;
    size_t n = sign;
    while (n < len && is_digit(text[n]))
        n++;
    const size_t digits = n - sign;
    size_t end = n;
    while (end < len && (is_digit(text[end]) || strchr(".eE+-", text[end])) && text[end])
        end++;
    const char *const limit = sign ? "9223372036854775808" : "9223372036854775807";
    *too_big = end == n && digits >= 19 && text[sign] != '0' &&
               (digits > 19 || memcmp(text + sign, limit, 19) > 0);
    return end;
}

/* Copy text with quotes around every integer that jansson refuses. Without one, *out stays empty
 * and nothing is allocated. */
static int quote_big_integers(const char *text,
                              size_t len,
                              struct qf_buf *out,
                              struct qf_err *err)
{
    size_t copied = 0;
    bool in_string = false;
    for (size_t i = 0; i < len;) {
        bool too_big = false;
        size_t n = 1;
        if (in_string && text[i] == '\\')
            n = 2;
        else if (text[i] == '"')
            in_string = !in_string;
        else if (!in_string && (is_digit(text[i]) || text[i] == '-'))
            n = number_len(text + i, len - i, &too_big);
        if (too_big) {
            int rc = qf_buf_append(out, text + copied, i - copied, err);
            rc = rc ? rc : qf_buf_append(out, "\"", 1, err);
            rc = rc ? rc : qf_buf_append(out, text + i, n, err);
            rc = rc ? rc : qf_buf_append(out, "\"", 1, err);
            if (rc)
                return rc;
            copied = i + n;
        }
        i += n;
    }
    return copied ? qf_buf_append(out, text + copied, len - copied, err) : 0;
}

json_t *qmp_json_parse(const char *text, size_t len, struct qf_err *err)
{
    struct qf_buf fixed;
    qf_buf_init(&fixed, SIZE_MAX);
    json_t *v = NULL;
    json_error_t why;
    char quote[QMP_QUOTE_MAX + 1];
    if (quote_big_integers(text, len, &fixed, err) != 0)
        goto out;
    v = json_loadb(fixed.len ? fixed.data : text, fixed.len ? fixed.len : len,
                   JSON_DECODE_ANY, &why);
    /* jansson leaves the sentence empty in some of the places where it has no memory. */
    if (!v && (json_error_code(&why) == json_error_out_of_memory || why.text[0] == '\0'))
        (void)qf_fail(err, QF_E_NOMEM, "no memory for a message of %zu bytes", len);
    else if (!v)
        (void)qf_fail(err, QF_E_PROTO, "a message is not JSON: %s",
                      qmp_quote(why.text, strlen(why.text), quote));
out:
    qf_buf_fini(&fixed);
    return v;
}

bool qmp_json_u64(const json_t *v, uint64_t *out)
{
    if (json_is_integer(v)) {
        if (json_integer_value(v) < 0)
            return false;
        *out = (uint64_t)json_integer_value(v);
        return true;
    }
    if (!json_is_string(v))
        return false;
    const char *s = json_string_value(v);
    const size_t len = json_string_length(v);
    bool too_big = false;
    if (len == 0 || !is_digit(s[0]) || number_len(s, len, &too_big) != len || !too_big)
        return false;
    uint64_t u = 0;
    for (; *s; s++) {
        const uint64_t digit = (uint64_t)(*s - '0');
        if (u > (UINT64_MAX - digit) / 10)
            return false;
        u = u * 10 + digit;
    }
    *out = u;
    return true;
}

struct sink {
    struct qf_buf *to;
    struct qf_err *err;
    int rc;
};

static int on_dump(const char *text, size_t len, void *arg)
{
    struct sink *s = arg;
    if (s->rc == 0)
        s->rc = qf_buf_append(s->to, text, len, s->err);
    return s->rc ? -1 : 0;
}

int qmp_json_append(struct qf_buf *b, const json_t *v, size_t flags, struct qf_err *err)
{
    struct sink s = {b, err, 0};
    const int rc = json_dump_callback(v, on_dump, &s, flags | JSON_ENCODE_ANY);
    if (s.rc) /* also when rc is 0: jansson goes on when a key could not be written (2.14) */
        return s.rc;
    return rc == 0 ? 0 : qf_fail(err, QF_E_NOMEM, "no memory to write a message");
}

/* ---- life ---- */

void qmp_client_init(struct qmp_client *c)
{
    *c = (struct qmp_client){.state = QMP_GREETING};
    qmp_frame_init(&c->frame, QMP_MESSAGE_MAX);
    qf_buf_init(&c->out, QMP_MESSAGE_MAX);
}

void qmp_client_fini(struct qmp_client *c)
{
    for (unsigned i = 0; i < c->n_waiting; i++)
        free(c->waiting[i].text);
    json_decref(c->current);
    json_decref(c->greeting);
    qf_buf_fini(&c->out);
    qmp_frame_fini(&c->frame);
    qmp_client_init(c);
    c->state = QMP_BROKEN;
}

/* ---- commands out ---- */

/* `{"execute":"...","arguments":{...},"id":N}` and a line feed, which QEMU does not need but a
 * person who reads along does. The id is written here: jansson has no unsigned 64-bit. */
static int encode(struct qf_buf *b,
                  const char *command,
                  const json_t *args,
                  uint64_t id,
                  bool oob,
                  struct qf_err *err)
{
    char tail[40];
    json_t *name = json_string(command);
    int rc = 0;
    if (!name)
        return qf_fail(err, QF_E_NOMEM, "no memory to write a message");
    const char *const head = oob ? "{\"exec-oob\":" : "{\"execute\":";
    (void)snprintf(tail, sizeof(tail), ",\"id\":%" PRIu64 "}\n", id);
    rc = qf_buf_append(b, head, strlen(head), err);
    rc = rc ? rc : qmp_json_append(b, name, 0, err);
    if (args) {
        rc = rc ? rc : qf_buf_append(b, ",\"arguments\":", 13, err);
        rc = rc ? rc : qmp_json_append(b, args, JSON_COMPACT, err);
    }
    rc = rc ? rc : qf_buf_append(b, tail, strlen(tail), err);
    json_decref(name);
    return rc;
}

static bool has_id(const uint64_t *ids, unsigned n, uint64_t id)
{
    for (unsigned i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

/* Take id out of the list, whose order does not matter. False: it was not there. */
static bool take_id(uint64_t *ids, unsigned *n, uint64_t id)
{
    for (unsigned i = 0; i < *n; i++)
        if (ids[i] == id) {
            ids[i] = ids[--*n];
            return true;
        }
    return false;
}

static bool id_in_use(const struct qmp_client *c, uint64_t id)
{
    for (unsigned i = 0; i < c->n_waiting; i++)
        if (c->waiting[i].id == id)
            return true;
    return has_id(c->in_flight, c->n_in_flight, id) ||
           has_id(c->oob_flight, c->n_oob_flight, id);
}

static bool may_go_now(const struct qmp_client *c)
{
    return c->state == QMP_READY && c->n_in_flight < QMP_IN_BAND_MAX;
}

/* May this command be queued? The caller's mistakes, and what is full. */
static int check_send(const struct qmp_client *c,
                      const json_t *args,
                      uint64_t id,
                      bool oob,
                      struct qf_err *err)
{
    if (c->state == QMP_BROKEN)
        return qf_fail(err, QF_E_LOST, "the connection to the monitor is broken");
    if (id == NEGOTIATION_ID || id_in_use(c, id))
        return qf_fail(err, QF_E_INTERNAL, "id %" PRIu64 " is in use", id);
    if (args && !json_is_object(args))
        return qf_fail(err, QF_E_INTERNAL, "arguments are not an object");
    if (oob && !c->oob)
        return qf_fail(err, QF_E_INTERNAL, "the monitor takes no out-of-band commands");
    if (oob && c->n_oob_flight == QMP_OUT_OF_BAND_MAX)
        return qf_fail(err, QF_E_INTERNAL, "%d out-of-band commands are unanswered",
                       QMP_OUT_OF_BAND_MAX);
    if (!oob && c->n_waiting == QMP_WAITING_MAX)
        return qf_fail(err, QF_E_INTERNAL, "%d commands are waiting", QMP_WAITING_MAX);
    return 0;
}

int qmp_client_send(struct qmp_client *c,
                    const char *command,
                    const json_t *args,
                    uint64_t id,
                    bool oob,
                    struct qf_err *err)
{
    struct qf_buf b;
    struct qf_err why;
    int rc = check_send(c, args, id, oob, &why);
    if (rc) {
        (void)qf_fail(err, why.code, "%s: %s", command, why.text);
        return rc;
    }
    qf_buf_init(&b, QMP_MESSAGE_MAX);
    rc = encode(&b, command, args, id, oob, &why);
    if (rc == 0 && (oob || may_go_now(c)))
        rc = qf_buf_append(&c->out, b.data, b.len, &why);
    else if (rc == 0) {
        c->waiting[c->n_waiting].id = id;
        c->waiting[c->n_waiting].text = b.data; /* moves */
        c->waiting[c->n_waiting].len = b.len;
        c->n_waiting++;
        return 0;
    }
    qf_buf_fini(&b);
    if (rc ==
        -(int)QF_E_PROTO) /* the cap: what waits to be written or this one is too much */
        return qf_fail(err, QF_E_INTERNAL, "%s: no room to write it", command);
    if (rc)
        return qf_fail(err, why.code, "%s: %s", command, why.text);
    if (oob)
        c->oob_flight[c->n_oob_flight++] = id;
    else
        c->in_flight[c->n_in_flight++] = id;
    return 0;
}

/* Let waiting commands go while there is a place. */
static int pump(struct qmp_client *c, struct qf_err *err)
{
    unsigned gone = 0;
    int rc = 0;
    while (gone < c->n_waiting && may_go_now(c)) {
        rc = qf_buf_append(&c->out, c->waiting[gone].text, c->waiting[gone].len, err);
        if (rc)
            break;
        c->in_flight[c->n_in_flight++] = c->waiting[gone].id;
        free(c->waiting[gone].text);
        gone++;
    }
    c->n_waiting -= gone;
    memmove(c->waiting, c->waiting + gone, c->n_waiting * sizeof(c->waiting[0]));
    return rc;
}

/* ---- messages in ---- */

static bool offers_oob(const json_t *greeting)
{
    size_t i;
    const json_t *v;
    json_array_foreach (json_object_get(json_object_get(greeting, "QMP"), "capabilities"),
                        i, v)
        if (json_is_string(v) && strcmp(json_string_value(v), "oob") == 0)
            return true;
    return false;
}

static int greet(struct qmp_client *c, json_t *whole, struct qf_err *err)
{
    if (c->state != QMP_GREETING || !json_is_object(json_object_get(whole, "QMP")))
        return qf_fail(err, QF_E_PROTO, "the monitor sent a strange greeting");
    const bool oob = offers_oob(whole);
    json_t *args = oob ? json_pack("{s:[s]}", "enable", "oob") : NULL;
    if (oob && !args)
        return qf_fail(err, QF_E_NOMEM, "no memory to write a message");
    const int rc = encode(&c->out, "qmp_capabilities", args, NEGOTIATION_ID, false, err);
    json_decref(args);
    if (rc)
        return rc;
    c->greeting = json_incref(whole);
    c->state = QMP_NEGOTIATING;
    return 0;
}

static void read_error(const json_t *error, struct qmp_msg *msg)
{
    const char *class = json_string_value(json_object_get(error, "class"));
    const char *desc = json_string_value(json_object_get(error, "desc"));
    msg->is_error = true;
    msg->error_class = class ? class : "GenericError";
    msg->error_desc = desc ? desc : "no description";
}

static int reply(struct qmp_client *c,
                 json_t *whole,
                 struct qmp_msg *msg,
                 struct qf_err *err)
{
    const json_t *error = json_object_get(whole, "error");
    *msg = (struct qmp_msg){.kind = QMP_MSG_REPLY, .whole = whole};
    if (error)
        read_error(error, msg);
    else
        msg->body = json_object_get(whole, "return");
    const json_t *id = json_object_get(whole, "id");
    if (c->state == QMP_GREETING && error)
        return qf_fail(err, QF_E_PROTO, "it does not greet, but says: %s", msg->error_desc);
    if (c->state == QMP_GREETING)
        return qf_fail(err, QF_E_PROTO, "this is not a QMP monitor: it does not greet");
    if (!id)
        return error ? qf_fail(err, QF_E_PROTO, "the monitor could not read a command: %s",
                               msg->error_desc)
                     : qf_fail(err, QF_E_PROTO, "the monitor sent a reply without an id");
    if (!qmp_json_u64(id, &msg->id))
        goto stray;
    if (c->state == QMP_NEGOTIATING) {
        if (msg->id != NEGOTIATION_ID)
            goto stray;
        if (error)
            return qf_fail(err, QF_E_PROTO, "the monitor refused qmp_capabilities: %s",
                           msg->error_desc);
        c->state = QMP_READY;
        c->oob = offers_oob(c->greeting);
        *msg = (struct qmp_msg){.kind = QMP_MSG_UP,
                                .body = json_object_get(c->greeting, "QMP"),
                                .whole = c->greeting};
    } else if (!take_id(c->in_flight, &c->n_in_flight, msg->id) &&
               !take_id(c->oob_flight, &c->n_oob_flight, msg->id)) {
        goto stray;
    }
    const int rc = pump(c, err);
    return rc ? rc : 1;
stray:
    c->strays++;
    return 0;
}

static int event(json_t *whole, const json_t *name, struct qmp_msg *msg, struct qf_err *err)
{
    if (!json_is_string(name))
        return qf_fail(err, QF_E_PROTO, "the monitor sent an event without a name");
    *msg = (struct qmp_msg){.kind = QMP_MSG_EVENT,
                            .name = json_string_value(name),
                            .body = json_object_get(whole, "data"),
                            .whole = whole};
    return 1;
}

/* One message: 1 when it is for the caller, 0 when it was for us. */
static int take(struct qmp_client *c,
                json_t *whole,
                struct qmp_msg *msg,
                struct qf_err *err)
{
    const json_t *name = json_object_get(whole, "event");
    if (name)
        return event(whole, name, msg, err);
    if (json_object_get(whole, "QMP"))
        return greet(c, whole, err);
    if (json_object_get(whole, "return") || json_object_get(whole, "error"))
        return reply(c, whole, msg, err);
    return qf_fail(err, QF_E_PROTO,
                   c->state == QMP_GREETING
                       ? "this is not a QMP monitor: it does not greet"
                       : "the monitor sent neither a reply nor an event");
}

int qmp_client_feed(struct qmp_client *c, const void *data, size_t len, struct qf_err *err)
{
    if (c->state == QMP_BROKEN)
        return qf_fail(err, QF_E_PROTO, "the connection to the monitor is broken");
    const int rc = qmp_frame_feed(&c->frame, data, len, err);
    if (rc)
        c->state = QMP_BROKEN;
    return rc;
}

int qmp_client_next(struct qmp_client *c, struct qmp_msg *msg, struct qf_err *err)
{
    struct qf_err why;
    if (c->state == QMP_BROKEN)
        return qf_fail(err, QF_E_PROTO, "the connection to the monitor is broken");
    for (;;) {
        const char *text;
        size_t len;
        struct qmp_msg m;
        int rc = qmp_frame_next(&c->frame, &text, &len, &why);
        if (rc == 0)
            return 0;
        if (rc > 0) {
            json_decref(c->current);
            c->current = qmp_json_parse(text, len, &why);
            rc = c->current ? take(c, c->current, &m, &why) : -(int)why.code;
        }
        if (rc < 0) {
            c->state = QMP_BROKEN;
            return qf_fail(err, why.code, "%s", why.text);
        }
        if (rc > 0) {
            *msg = m;
            return 1;
        }
    }
}

#include "qmp/server.h"

#include <string.h>

#include "qmp/client.h"

void qmp_server_init(struct qmp_server *s, bool offers_oob)
{
    *s = (struct qmp_server){.state = QMP_SERVER_NEGOTIATING, .offers_oob = offers_oob};
    qmp_frame_init(&s->frame, QMP_COMMAND_MAX);
    qf_buf_init(&s->out, QMP_MESSAGE_MAX);
}

void qmp_server_fini(struct qmp_server *s)
{
    json_decref(s->current);
    json_decref(s->current_id);
    qf_buf_fini(&s->out);
    qmp_frame_fini(&s->frame);
    qmp_server_init(s, false);
    s->state = QMP_SERVER_CLOSED;
}

/* ---- saying something ---- */

/* As QEMU does, every line ends in CRLF. A line feed in a string is written \n, so each one here
 * ends a line. */
static int append_lines(struct qf_buf *out,
                        const char *text,
                        size_t len,
                        struct qf_err *err)
{
    int rc = 0;
    while (len > 0 && rc == 0) {
        const char *end = memchr(text, '\n', len);
        const size_t n = end ? (size_t)(end - text) : len;
        rc = qf_buf_append(out, text, n, err);
        if (end && rc == 0)
            rc = qf_buf_append(out, "\r\n", 2, err);
        text += n + (end ? 1 : 0);
        len -= n + (end ? 1 : 0);
    }
    return rc;
}

/* Say whole (stolen; NULL: there was no memory for it), with id as its last member. All of it or
 * nothing. */
static int say(struct qmp_server *s, json_t *whole, const json_t *id, struct qf_err *err)
{
    static const char member[] = ", \"id\": ";
    const size_t before = s->out.len;
    struct qf_err why;
    struct qf_buf b;
    qf_buf_init(&b, QMP_MESSAGE_MAX);
    int rc = whole ? qmp_json_append(&b, whole, s->pretty ? JSON_INDENT(4) : 0, &why)
                   : qf_fail(&why, QF_E_NOMEM, "no memory to write a message");
    if (rc == 0 && id) {
        b.len--; /* the last brace */
        rc = qf_buf_append(&b, member, sizeof(member) - 1, &why);
        rc = rc ? rc
                : qf_buf_append(&b, json_string_value(id), json_string_length(id), &why);
        rc = rc ? rc : qf_buf_append(&b, "}", 1, &why);
    }
    rc = rc ? rc : qf_buf_append(&b, "\n", 1, &why);
    rc = rc ? rc : append_lines(&s->out, b.data, b.len, &why);
    qf_buf_fini(&b);
    json_decref(whole);
    if (rc == 0)
        return 0;
    s->out.len = before;
    if (why.code == QF_E_PROTO)
        return qf_fail(err, QF_E_LOST, "the client does not read: %zu bytes wait for it",
                       before);
    return qf_fail(err, why.code, "%s", why.text);
}

int qmp_server_greet(struct qmp_server *s, const json_t *version, struct qf_err *err)
{
    json_t *oob = s->offers_oob ? json_pack("[s]", "oob") : json_array();
    return say(s,
               json_pack("{s:{s:O,s:o}}", "QMP", "version", version, "capabilities", oob),
               NULL, err);
}

int qmp_server_reply(struct qmp_server *s,
                     json_t *id,
                     const json_t *value,
                     struct qf_err *err)
{
    return say(s,
               value ? json_pack("{s:O}", "return", value) : json_pack("{s:{}}", "return"),
               id, err);
}

int qmp_server_error(struct qmp_server *s,
                     json_t *id,
                     const char *error_class,
                     const char *desc,
                     struct qf_err *err)
{
    return say(s, json_pack("{s:{s:s,s:s}}", "error", "class", error_class, "desc", desc),
               id, err);
}

int qmp_server_event(struct qmp_server *s,
                     const char *name,
                     const json_t *data,
                     int64_t wall_us,
                     struct qf_err *err)
{
    return say(s,
               json_pack("{s:{s:I,s:I},s:s,s:O*}", "timestamp", "seconds",
                         (json_int_t)(wall_us / 1000000), "microseconds",
                         (json_int_t)(wall_us % 1000000), "event", name, "data", data),
               NULL, err);
}

/* ---- hearing something ---- */

/* The text of the member "id" of the object in text (which is valid JSON), so that it can be
 * written back to the byte: numbers too that no C type holds. The last one counts, as for
 * jansson. Only a name written "id" is found, not "\u0069d". */
static bool find_id(const char *text, size_t len, const char **id, size_t *id_len)
{
    unsigned depth = 0;
    bool is_key = false; /* the next string of depth 1 is a name */
    bool is_id = false;
    bool found = false;
    size_t value = 0;
    for (size_t i = 0; i < len; i++) {
        const char c = text[i];
        if (c == '"') {
            const size_t open = i++;
            while (text[i] != '"')
                i += text[i] == '\\' ? 2 : 1;
            if (depth == 1 && is_key)
                is_id = i - open == 3 && memcmp(text + open, "\"id", 3) == 0;
            is_key = false;
        } else if (c == '{' || c == '[') {
            is_key = ++depth == 1;
        } else if (depth == 1 && c == ':') {
            value = i + 1;
        } else if (depth == 1 && (c == ',' || c == '}')) {
            if (is_id) {
                found = true;
                *id = text + value;
                *id_len = i - value;
            }
            is_id = false;
            is_key = true;
        }
        if (c == '}' || c == ']')
            depth--;
    }
    while (found && *id_len > 0 && strchr(" \t\r\n", **id)) {
        (*id)++;
        (*id_len)--;
    }
    return found;
}

static int refuse(struct qmp_server *s, const char *desc, struct qf_err *err)
{
    return qmp_server_error(s, s->current_id, "GenericError", desc, err);
}

/* The shape of a command. 1 and *cmd, or 0 when it was refused. */
static int check(struct qmp_server *s, struct qmp_command *cmd, struct qf_err *err)
{
    const char *key;
    json_t *v;
    json_t *name = NULL;
    *cmd = (struct qmp_command){.id = s->current_id};
    json_object_foreach (s->current, key, v) {
        const bool is_oob = s->oob && strcmp(key, "exec-oob") == 0;
        if (is_oob || strcmp(key, "execute") == 0) {
            if (name)
                return refuse(s, "QMP input member 'execute' clashes with 'exec-oob'", err);
            if (!json_is_string(v))
                return refuse(s,
                              is_oob ? "QMP input member 'exec-oob' must be a string"
                                     : "QMP input member 'execute' must be a string",
                              err);
            name = v;
            cmd->oob = is_oob;
        } else if (strcmp(key, "arguments") == 0) {
            if (!json_is_object(v))
                return refuse(s, "QMP input member 'arguments' must be an object", err);
            cmd->args = v;
        } else if (strcmp(key, "id") != 0) {
            struct qf_err text;
            (void)qf_fail(&text, QF_E_PROTO, "QMP input member '%s' is unexpected", key);
            return refuse(s, text.text, err);
        }
    }
    if (!name)
        return refuse(s, "QMP input lacks member 'execute'", err);
    cmd->name = json_string_value(name);
    return 1;
}

/* qmp_capabilities, the only command before it was carried out and none after. */
static int negotiate(struct qmp_server *s,
                     const struct qmp_command *cmd,
                     struct qf_err *err)
{
    const json_t *enable = json_object_get(cmd->args, "enable");
    size_t i;
    const json_t *v;
    bool oob = false;
    if (json_object_size(cmd->args) != (enable ? 1 : 0))
        return refuse(s, "qmp_capabilities takes no argument but 'enable'", err);
    if (enable && !json_is_array(enable))
        return refuse(s, "Invalid parameter type for 'enable', expected: array", err);
    json_array_foreach (enable, i, v) {
        if (!json_is_string(v) || strcmp(json_string_value(v), "oob") != 0)
            return refuse(s, "Parameter 'enable' does not accept this value", err);
        if (!s->offers_oob)
            return refuse(s, "Capability 'oob' is not available", err);
        oob = true;
    }
    s->oob = oob;
    s->state = QMP_SERVER_SERVING;
    return qmp_server_reply(s, cmd->id, NULL, err);
}

/* One object: 1 when it is a command for the owner, 0 when it was answered here. */
static int take(struct qmp_server *s,
                const char *text,
                size_t len,
                struct qmp_command *cmd,
                struct qf_err *err)
{
    struct qf_err why;
    const char *id;
    size_t id_len;
    s->current = qmp_json_parse(text, len, &why);
    if (!s->current && why.code == QF_E_PROTO)
        return qmp_server_error(s, NULL, "GenericError", "JSON parse error", err);
    if (!s->current)
        return qf_fail(err, why.code, "%s", why.text);
    if (find_id(text, len, &id, &id_len)) {
        s->current_id = json_stringn(id, id_len);
        if (!s->current_id)
            return qf_fail(err, QF_E_NOMEM, "no memory for a command");
    }
    const int rc = check(s, cmd, err);
    if (rc <= 0)
        return rc;
    const bool caps = strcmp(cmd->name, "qmp_capabilities") == 0;
    if (s->state == QMP_SERVER_NEGOTIATING && caps)
        return negotiate(s, cmd, err);
    if (s->state == QMP_SERVER_NEGOTIATING)
        return qmp_server_error(
            s, cmd->id, "CommandNotFound",
            "Expecting capabilities negotiation with 'qmp_capabilities'", err);
    if (caps)
        return qmp_server_error(
            s, cmd->id, "CommandNotFound",
            "Capabilities negotiation is already complete, command ignored", err);
    return 1;
}

int qmp_server_feed(struct qmp_server *s, const void *data, size_t len, struct qf_err *err)
{
    return qmp_frame_feed(&s->frame, data, len, err);
}

int qmp_server_next(struct qmp_server *s, struct qmp_command *cmd, struct qf_err *err)
{
    struct qf_err why;
    if (s->state == QMP_SERVER_CLOSED)
        return qf_fail(err, QF_E_PROTO, "the client's connection is broken");
    for (;;) {
        const char *text;
        size_t len;
        struct qmp_command c;
        int rc = qmp_frame_next(&s->frame, &text, &len, &why);
        if (rc == 0)
            return 0;
        json_decref(s->current);
        json_decref(s->current_id);
        s->current = NULL;
        s->current_id = NULL;
        if (rc < 0) /* the client may want to know; it need not get through */
            (void)qmp_server_error(s, NULL, "GenericError", "JSON parse error", NULL);
        else
            rc = take(s, text, len, &c, &why);
        if (rc < 0) {
            s->state = QMP_SERVER_CLOSED;
            return qf_fail(err, why.code, "%s", why.text);
        }
        if (rc > 0) {
            *cmd = c;
            return 1;
        }
    }
}

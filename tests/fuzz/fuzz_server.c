/* A client that says anything, in any pieces: the server answers the same, every line that it
 * says is one message, and an id comes back as it was. The first byte says how long the pieces
 * are (low bits), and whether out-of-band is offered (128). */
#include "fuzz.h"

#include <string.h>

#include "qmp/client.h"
#include "qmp/server.h"

/* The line that was added to out since before is one message, with the command's id. */
static void check_answer(const struct qmp_server *s, size_t before)
{
    const char *line = s->out.data + before;
    const size_t len = s->out.len - before;
    MUST(len > 2 && memcmp(line + len - 2, "\r\n", 2) == 0);
    MUST(!memchr(line, '\n', len - 1) ||
         memchr(json_string_value(s->current_id), '\n', json_string_length(s->current_id)));
    json_t *answer = qmp_json_parse(line, len, NULL);
    MUST(answer);
    const json_t *asked = json_object_get(s->current, "id");
    if (s->current_id)
        MUST(asked && json_equal(json_object_get(answer, "id"), asked));
    json_decref(answer);
}

/* Everything that the server said, as new memory. */
static char *run(const uint8_t *data, size_t size, size_t step, bool oob, size_t *len)
{
    struct qmp_server s;
    struct qf_err err = {.code = QF_E_OK};
    struct qmp_command cmd;
    int rc = 0;
    qmp_server_init(&s, oob);
    for (size_t i = 0; i < size && rc >= 0; i += step) {
        rc = qmp_server_feed(&s, data + i, size - i < step ? size - i : step, &err);
        while (rc >= 0 && (rc = qmp_server_next(&s, &cmd, &err)) == 1) {
            const size_t before = s.out.len;
            MUST(s.state == QMP_SERVER_SERVING && cmd.name && (!cmd.oob || s.oob));
            MUST(qmp_server_reply(&s, cmd.id, cmd.args, &err) == 0);
            check_answer(&s, before);
        }
    }
    MUST(rc == 0 || (s.state == QMP_SERVER_CLOSED && err.text[0]));
    *len = s.out.len;
    char *said = malloc(s.out.len + 1);
    MUST(said);
    if (s.out.len)
        memcpy(said, s.out.data, s.out.len);
    qmp_server_fini(&s);
    return said;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t whole_len;
    size_t pieces_len;
    if (size < 1 || (size > 5 && memmem(data, size, "\\u00", 4))) /* names in disguise */
        return 0;
    const bool oob = data[0] & 128;
    char *whole = run(data + 1, size - 1, size, oob, &whole_len);
    char *pieces = run(data + 1, size - 1, (size_t)data[0] % 32 + 1, oob, &pieces_len);
    MUST(whole_len == pieces_len && memcmp(whole, pieces, whole_len) == 0);
    free(whole);
    free(pieces);
    return 0;
}

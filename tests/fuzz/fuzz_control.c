/* A client of the control socket that says anything: every command is answered with one message,
 * and whatever is handed on to the machine is read without harm. */
#include "fuzz.h"

#include <string.h>

#include "engine/control.h"
#include "engine/session.h"
#include "policy/policy_json.h"

struct world {
    struct session session;
    unsigned calls;
};

static void on_line(struct session *s,
                    const char *line,
                    const struct record *record,
                    void *arg)
{
    (void)s;
    (void)line;
    (void)record;
    (void)arg;
}

static int on_operator(const char *uid,
                       const struct operator_command *c,
                       void *arg,
                       struct qf_err *err)
{
    struct world *w = arg;
    MUST(strcmp(uid, "a") == 0 && c->n <= OPERATOR_SETS_MAX);
    for (unsigned i = 0; i < c->n; i++)
        MUST(strlen(c->set[i]) < CONTROL_SET_MAX && strchr(c->set[i], '='));
    w->calls++;
    return session_operator(&w->session, 2, c, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct session_ops session_ops = {.on_line = on_line};
    static const struct control_ops ops = {.on_operator = on_operator};
    static const char caps[] = "{\"execute\": \"qmp_capabilities\"}";
    static struct world w;
    const struct mig_spec spec = {.source = "/s", .destination = "/d"};
    struct policy policy;
    struct control control;
    struct qmp_server server;
    struct qmp_command cmd;
    char name[CONTROL_NAME_MAX];
    MUST(policy_preset_load(policy_preset_name(0), &policy, NULL) == 0);
    memset(&w, 0, sizeof(w));
    session_init(&w.session, &spec, &policy, 1, 0, &session_ops, &w);
    session_begin(&w.session, 1);
    MUST(control_init(&control, "0.1.0", &ops, &w, NULL) == 0);
    MUST(control_add(&control, "a", &spec, policy.name, NULL) == 0);
    json_decref(control_feed(&control, "a", (const char *)data, size, name));
    qmp_server_init(&server, false);
    MUST(qmp_server_feed(&server, caps, sizeof(caps) - 1, NULL) == 0);
    MUST(qmp_server_next(&server, &cmd, NULL) == 0);
    int rc = qmp_server_feed(&server, data, size, NULL);
    while (rc >= 0 && (rc = qmp_server_next(&server, &cmd, NULL)) == 1) {
        struct qf_err err = {.text = ""};
        const char *error_class = NULL;
        json_t *value = NULL;
        if (control_execute(&control, &cmd, &value, &error_class, &err) == 0) {
            MUST(qmp_server_reply(&server, cmd.id, value, NULL) == 0);
        } else {
            MUST(!value && error_class && err.text[0]);
            MUST(qmp_server_error(&server, cmd.id, error_class, err.text, NULL) == 0);
        }
        json_decref(value);
    }
    qmp_server_fini(&server);
    control_fini(&control);
    return 0;
}

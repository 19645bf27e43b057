/* The witness: the laboratory's own monitor of every machine. */
#include "tests/real/lab_priv.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { WITNESS_ERROR_MAX = 512 };

/* ---- reading monitors ---- */

/* A copy of the document in which integers too large for jansson are strings; free() it. */
static char *quote_large_integers(const char *s)
{
    struct text out = {0};
    bool in_string = false;

    while (*s != '\0') {
        size_t n = in_string ? 0 : strspn(s, "+-.0123456789eE");
        bool large = false;

        if (n > 0 && n == strspn(s, "-0123456789")) {
            errno = 0;
            (void)strtoll(s, NULL, 10);
            large = errno == ERANGE;
        }
        if (n == 0) {
            n = in_string && s[0] == '\\' && s[1] != '\0' ? 2 : 1;
            in_string ^= s[0] == '"';
        }
        text_append(&out, "\"", large);
        text_append(&out, s, n);
        text_append(&out, "\"", large);
        s += n;
    }
    return out.data ? out.data : copy_text("");
}

/* New, or NULL. */
static json_t *parse(const char *line)
{
    json_error_t e;
    json_t *doc = json_loads(line, 0, &e);

    if (!doc && json_error_code(&e) == json_error_numeric_overflow) {
        char *quoted = quote_large_integers(line);

        doc = json_loads(quoted, 0, &e);
        free(quoted);
    }
    return doc;
}

/* Steals doc. */
static void take_event(struct lab_vm *vm, json_t *doc, int64_t now_ns)
{
    struct event_slot *slot;

    vm->events =
        grow_for_one(vm->events, vm->n_events, &vm->room_events, sizeof(*vm->events));
    slot = &vm->events[vm->n_events++];
    slot->doc = doc;
    slot->event.t_ns = now_ns;
    slot->event.name = json_string_value(json_object_get(doc, "event"));
    slot->event.data = json_object_get(doc, "data");
}

static void take_message(struct lab_vm *vm, const char *line, int64_t now_ns)
{
    json_t *doc = parse(line);
    const json_t *id = json_object_get(doc, "id");

    if (!doc) {
        fail(vm->name, "the monitor sent what is not JSON: %s", line);
    } else if (json_is_string(json_object_get(doc, "event"))) {
        take_event(vm, doc, now_ns);
        return;
    } else if (json_object_get(doc, "QMP")) {
        vm->greeted = true;
        (void)json_unpack(doc, "{s:{s:{s:{s:i, s:i}}}}", "QMP", "version", "qemu", "major",
                          &vm->major, "minor", &vm->minor);
    } else if (json_is_integer(id) && json_integer_value(id) == vm->wanted_id &&
               !vm->answer) {
        vm->answer = doc;
        return;
    }
    json_decref(doc); /* else: late answer to a command that was given up */
}

void read_witness(void *owner, int64_t now_ns)
{
    struct lab_vm *vm = owner;
    size_t start = 0;
    const char *end;

    if (read_some(&vm->wit_fd, &vm->wit_in) == 0) {
        return;
    }
    while ((end = memchr(vm->wit_in.data + start, '\n', vm->wit_in.len - start))) {
        size_t at = (size_t)(end - vm->wit_in.data);

        vm->wit_in.data[at] = '\0';
        take_message(vm, vm->wit_in.data + start, now_ns);
        start = at + 1;
    }
    vm->wit_in.len -= start;
    memmove(vm->wit_in.data, vm->wit_in.data + start, vm->wit_in.len + 1);
}

/* ---- asking ---- */

int send_all(
    struct lab *lab, const int *fd, const char *bytes, size_t n, int64_t deadline_ns)
{
    while (n > 0) {
        ssize_t sent;

        if (*fd < 0) {
            return -1;
        }
        sent = send(*fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            bytes += sent;
            n -= (size_t)sent;
        } else if (errno != EAGAIN || lab_now_ns() >= deadline_ns) {
            return -1;
        } else {
            struct pollfd writable = {.fd = *fd, .events = POLLOUT};

            pump_round(lab, 0);
            poll(&writable, 1, ASK_AGAIN_MS);
        }
    }
    return 0;
}

/* The command as text, new; NULL when the arguments are not JSON. They go out as they came, so
 * that integers of any size arrive. */
static char *command_text(const char *verb,
                          const char *command,
                          const char *arguments,
                          json_int_t id)
{
    json_t *check = arguments ? parse(arguments) : json_object();

    if (!json_is_object(check)) {
        json_decref(check);
        fail(command, "arguments are not a JSON object: %s", arguments);
        return NULL;
    }
    json_decref(check);
    return format_text("{\"%s\": \"%s\", \"arguments\": %s, \"id\": %" JSON_INTEGER_FORMAT
                       "}\n",
                       verb, command, arguments ? arguments : "{}", id);
}

/* Takes vm->answer apart: `return`, new, or NULL with the error in why. */
static json_t *take_answer(struct lab_vm *vm, char *why, size_t why_size)
{
    json_t *answer = vm->answer;
    json_t *result = json_incref(json_object_get(answer, "return"));

    vm->answer = NULL;
    if (!result) {
        const json_t *error = json_object_get(answer, "error");
        const char *class = json_string_value(json_object_get(error, "class"));
        const char *desc = json_string_value(json_object_get(error, "desc"));

        snprintf(why, why_size, "%s: %s", class ? class : "?", desc ? desc : "?");
    }
    json_decref(answer);
    return result;
}

static json_t *ask(struct lab_vm *vm,
                   const char *verb,
                   const char *command,
                   const char *arguments,
                   int ms,
                   char *why,
                   size_t why_size)
{
    int64_t deadline_ns = deadline_in(ms);
    char *text = command_text(verb, command, arguments, ++vm->wanted_id);
    int rc;

    if (!text) {
        snprintf(why, why_size, "not sent");
        return NULL;
    }
    json_decref(vm->answer);
    vm->answer = NULL;
    rc = send_all(vm->lab, &vm->wit_fd, text, strlen(text), deadline_ns);
    free(text);
    while (rc == 0 && !vm->answer && vm->wit_fd >= 0) {
        if (!pump_until(vm->lab, deadline_ns)) {
            snprintf(why, why_size, "no answer");
            return NULL;
        }
    }
    if (!vm->answer) {
        snprintf(why, why_size, "%s", vm->wit_fd < 0 ? "monitor closed" : "no answer");
        return NULL;
    }
    return take_answer(vm, why, why_size);
}

static json_t *ask_aloud(struct lab_vm *vm,
                         const char *verb,
                         const char *command,
                         const char *arguments)
{
    char why[WITNESS_ERROR_MAX];
    json_t *result = ask(vm, verb, command, arguments, 0, why, sizeof(why));

    if (!result) {
        fail(vm->name, "%s: %s", command, why);
    }
    return result;
}

json_t *lab_qmp(struct lab_vm *vm, const char *command, const char *arguments)
{
    return ask_aloud(vm, "execute", command, arguments);
}

json_t *lab_qmp_oob(struct lab_vm *vm, const char *command, const char *arguments)
{
    return ask_aloud(vm, "exec-oob", command, arguments);
}

static json_t *ask_format(struct lab_vm *vm,
                          const char *command,
                          const char *format,
                          va_list ap) __attribute__((format(printf, 3, 0)));

static json_t *ask_format(struct lab_vm *vm,
                          const char *command,
                          const char *format,
                          va_list ap)
{
    char *arguments = NULL;
    json_t *result;

    if (vasprintf(&arguments, format, ap) < 0) {
        abort();
    }
    result = lab_qmp(vm, command, arguments);
    free(arguments);
    return result;
}

json_t *lab_qmp_f(struct lab_vm *vm, const char *command, const char *format, ...)
{
    json_t *result;
    va_list ap;

    va_start(ap, format);
    result = ask_format(vm, command, format, ap);
    va_end(ap);
    return result;
}

int lab_qmp_ok(struct lab_vm *vm, const char *command, const char *format, ...)
{
    json_t *result;
    va_list ap;

    va_start(ap, format);
    result = ask_format(vm, command, format, ap);
    va_end(ap);
    json_decref(result);
    return result ? 0 : -1;
}

json_t *lab_qmp_try(struct lab_vm *vm,
                    const char *command,
                    const char *arguments,
                    int ms,
                    char *why,
                    size_t why_size)
{
    return ask(vm, "execute", command, arguments, ms, why, why_size);
}

/* ---- events ---- */

size_t lab_event_count(const struct lab_vm *vm)
{
    return vm->n_events;
}

const struct lab_event *lab_event_at(const struct lab_vm *vm, size_t i)
{
    assert(i < vm->n_events);
    return &vm->events[i].event;
}

void lab_events_mark(struct lab_vm *vm)
{
    pump_round(vm->lab, 0);
    vm->events_mark = vm->n_events;
}

const struct lab_event *lab_event_find(const struct lab_vm *vm,
                                       const char *name,
                                       const char *key,
                                       const char *value)
{
    for (size_t i = vm->events_mark; i < vm->n_events; i++) {
        const struct lab_event *e = &vm->events[i].event;
        const char *is = key ? json_string_value(json_object_get(e->data, key)) : NULL;

        if (strcmp(e->name, name) == 0 && (!key || (is && strcmp(is, value) == 0))) {
            return e;
        }
    }
    return NULL;
}

int lab_wait_event(
    struct lab_vm *vm, const char *name, const char *key, const char *value, int ms)
{
    int64_t deadline_ns = deadline_in(ms);

    while (!lab_event_find(vm, name, key, value)) {
        if (vm->wit_fd < 0 || !pump_until(vm->lab, deadline_ns)) {
            return fail(vm->name, "no event %s %s%s", name, key ? value : "",
                        vm->wit_fd < 0 ? ": the monitor is closed" : "");
        }
    }
    return 0;
}

/* ---- states ---- */

static int ask_state(struct lab_vm *vm, const char *command, char out[LAB_STATE_MAX])
{
    json_t *result = lab_qmp(vm, command, NULL);
    const char *status = json_string_value(json_object_get(result, "status"));

    if (!result) {
        return -1;
    }
    snprintf(out, LAB_STATE_MAX, "%s", status ? status : "none");
    json_decref(result);
    return 0;
}

int lab_run_state(struct lab_vm *vm, char out[LAB_STATE_MAX])
{
    return ask_state(vm, "query-status", out);
}

int lab_mig_status(struct lab_vm *vm, char out[LAB_STATE_MAX])
{
    return ask_state(vm, "query-migrate", out);
}

static bool is_end_of_migration(const char *status)
{
    return strcmp(status, "completed") == 0 || strcmp(status, "failed") == 0 ||
           strcmp(status, "cancelled") == 0;
}

static int wait_state(
    struct lab_vm *vm, const char *command, const char *want, bool ends, int ms)
{
    int64_t deadline_ns = deadline_in(ms);
    char state[LAB_STATE_MAX];

    for (;;) {
        if (ask_state(vm, command, state) < 0) {
            return -1;
        }
        if (strcmp(state, want) == 0) {
            return 0;
        }
        if (lab_now_ns() >= deadline_ns || (ends && is_end_of_migration(state))) {
            return fail(vm->name, "%s says %s, not %s", command, state, want);
        }
        lab_pump(vm->lab, ASK_AGAIN_MS);
    }
}

int lab_wait_run_state(struct lab_vm *vm, const char *want, int ms)
{
    return wait_state(vm, "query-status", want, false, ms);
}

int lab_wait_mig_status(struct lab_vm *vm, const char *want, int ms)
{
    return wait_state(vm, "query-migrate", want, true, ms);
}

int lab_vm_listen(struct lab_vm *vm, char *uri, size_t uri_size)
{
    const char *host;
    const char *port;
    json_t *result;
    int rc = -1;

    if (lab_qmp_ok(vm, "migrate-incoming", "{\"uri\": \"tcp:127.0.0.1:0\"}") < 0) {
        return -1;
    }
    result = lab_qmp(vm, "query-migrate", NULL);
    if (json_unpack(result, "{s:[{s:s, s:s}]}", "socket-address", "host", &host, "port",
                    &port) == 0) {
        snprintf(uri, uri_size, "tcp:%s:%s", host, port);
        rc = 0;
    } else {
        fail(vm->name, "query-migrate does not tell the port");
    }
    json_decref(result);
    return rc;
}

/* qferry status, watch, cancel, postcopy, pause, set: thin clients of a running qferry's control
 * socket. What may be done when is the other side's to say. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/units.h"
#include "engine/control_client_uv.h"
#include "engine/journal.h"
#include "tools/render.h"
#include "tools/tool.h"

static const struct command {
    const char *name;
    const char *qmp;
    const char *what;
    const char *args;
} commands[] = {
    {"status", "query-migrations", "What the migration is doing, as a table.\n", ""},
    {"watch", "query-migrations",
     "Follow the migration to its end, with the lines of qferry migrate. The exit status is the\n"
     "migration's own; 7 when the connection is lost before its end.\n",
     ""},
    {"cancel", "migration-cancel",
     "Cancel: the guest runs on at the source. Refused once it is being handed over.\n",
     ""},
    {"postcopy", "migration-postcopy",
     "Switch to post-copy now. Needs a policy that allows it (postcopy.allowed) from the start.\n",
     ""},
    {"pause", "migration-pause",
     "Stop the guest on the source, so that the move ends. Where the policy allows a stop, its\n"
     "stop.max holds (set stop.max=0 lifts it).\n",
     ""},
    {"set", "migration-set",
     "Change the policy of the running migration: bandwidth, downtime.max, timeout,\n"
     "timeout-per-gib, progress-timeout, on-timeout, finish-within, slowdown-max,\n"
     "throttle.allowed, throttle.max, postcopy.allowed, postcopy.bandwidth, stop.allowed,\n"
     "stop.max. All of them, or, when one is refused, none.\n",
     " FIELD=VALUE ..."},
};
enum { N_COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static const char usage[] =
    "usage: qferry %s%s --control ADDRESS [options]\n"
    "\n"
    "%s"
    "\n"
    "      --control ADDRESS   the control socket: /path or unix:/path\n"
    "      --uid UID           which migration, where there are several\n"
    "      --json              JSON instead of text\n"
    "\n"
    "exit status: 0 accepted, 2 usage or a bad value, 3 refused as things are now, 6 no qferry\n"
    "can be reached there; see qferry(1).\n";

struct job {
    const struct command *command;
    const char *control;
    const char *uid;
    bool json;
    int status;
    /* watch */
    struct render render;
    char watched[128]; /* its uid; "": not known yet */
};

/* ---- reading JSON ---- */

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

static void print_json(const json_t *value)
{
    char *line = json_dumps(value, JSON_COMPACT);
    if (line)
        (void)puts(line);
    free(line);
    (void)fflush(stdout);
}

static int64_t integer_of(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

/* ---- status ---- */

static void print_row(const json_t *m)
{
    const json_t *sample = json_object_get(m, "sample");
    char pass[24] = "-";
    char left[32] = "-";
    char rate[40] = "-";
    if (json_is_object(sample)) {
        (void)snprintf(pass, sizeof(pass), "%lld", (long long)integer_of(sample, "pass"));
        (void)qf_format_bytes((uint64_t)integer_of(sample, "remaining"), left,
                              sizeof(left));
        (void)qf_format_rate((uint64_t)integer_of(sample, "bandwidth"), rate, sizeof(rate));
    }
    (void)printf("%-18s %-10s %-11s %4s %10s %12s  %s -> %s\n", text_of(m, "uid"),
                 text_of(m, "state"), text_of(m, "phase"), pass, left, rate,
                 text_of(m, "source"), text_of(m, "destination"));
    if (text_of(m, "reason")[0])
        (void)printf("  %s\n", text_of(m, "reason"));
}

static void print_table(const json_t *list)
{
    size_t i;
    json_t *m;
    (void)printf("%-18s %-10s %-11s %4s %10s %12s  %s\n", "UID", "STATE", "PHASE", "PASS",
                 "LEFT", "RATE", "SOURCE -> DESTINATION");
    json_array_foreach (list, i, m)
        print_row(m);
}

/* ---- watch ---- */

/* The exit status of one that was over when it was looked at. */
static int status_of(const char *state)
{
    static const struct {
        const char *state;
        enum qf_code code;
    } states[] = {
        {"completed", QF_E_OK},    {"refused", QF_E_REFUSED}, {"cancelled", QF_E_CANCELLED},
        {"aborted", QF_E_GAVE_UP}, {"failed", QF_E_GAVE_UP},
    };
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
        if (strcmp(states[i].state, state) == 0)
            return qf_code_status(states[i].code);
    return qf_code_status(QF_E_HELD);
}

static void show(struct job *job, const json_t *line)
{
    struct record r;
    if (job->json)
        print_json(line);
    else if (journal_read_record(line, &r))
        render_record(&job->render, &r, integer_of(line, "t_ns"));
}

/* Where it stands, before what happens next. */
static bool begin_watch(struct job *job, const json_t *list)
{
    const json_t *m = json_array_get(list, 0);
    const char *state = text_of(m, "state");
    if (json_array_size(list) != 1) {
        job->status =
            tool_usage("watch", json_array_size(list) == 0
                                    ? "watch: there is no migration"
                                    : "watch: there are several; --uid says which");
        return false;
    }
    (void)snprintf(job->watched, sizeof(job->watched), "%s", text_of(m, "uid"));
    if (strcmp(state, "running") != 0 && strcmp(state, "waiting") != 0 &&
        strcmp(state, "queued") != 0) {
        if (job->json)
            print_json(m);
        else
            (void)printf("%s: %s\n", state, text_of(m, "reason"));
        job->status = status_of(state);
        return false;
    }
    const json_t *sample = json_object_get(m, "sample");
    job->render.t0_ns = integer_of(m, "start_ns");
    if (!job->json) {
        json_t *phase =
            json_pack("{s:s,s:s}", "type", "phase", "phase", text_of(m, "phase"));
        struct record r;
        if (phase && journal_read_record(phase, &r))
            job->render.phase = r.u.phase.public;
        json_decref(phase);
    }
    if (json_is_object(sample))
        show(job, sample);
    return true;
}

static bool on_event(const char *name, const json_t *data, void *arg)
{
    struct job *job = arg;
    if (strcmp(name, "EVENTS_DROPPED") == 0) {
        render_clear(&job->render);
        (void)fprintf(stderr,
                      "qferry: warning: %lld events were dropped: they were not read "
                      "in time\n",
                      (long long)integer_of(data, "dropped"));
        return true;
    }
    /* Before the answer it is not known whose this is; what counts of it is in the answer. */
    if (!job->watched[0] || strcmp(text_of(data, "uid"), job->watched) != 0)
        return true;
    show(job, data);
    if (strcmp(name, "MIGRATION_RESULT") != 0)
        return true;
    job->status = (int)integer_of(data, "exit");
    return false;
}

/* ---- all of them ---- */

static bool on_reply(const json_t *value, void *arg)
{
    struct job *job = arg;
    if (strcmp(job->command->name, "watch") == 0)
        return begin_watch(job, value);
    if (job->json)
        print_json(value);
    else if (strcmp(job->command->name, "status") == 0)
        print_table(value);
    else
        (void)printf("%s: accepted\n", job->command->name);
    return false;
}

/* {"uid": ..., "fields": {...}}; new. NULL with *status. */
static json_t *make_args(struct job *job, int argc, char **argv, int *status)
{
    const bool is_set = strcmp(job->command->name, "set") == 0;
    json_t *args = json_object();
    json_t *fields = is_set ? json_object() : NULL;
    bool fine = args && (fields || !is_set);
    if (fine && job->uid)
        fine = json_object_set_new(args, "uid", json_string(job->uid)) == 0;
    for (int i = optind; is_set && fine && i < argc; i++) {
        char *equals = strchr(argv[i], '=');
        if (!equals || equals == argv[i]) {
            *status = tool_usage("set", "set: '%s' is not FIELD=VALUE", argv[i]);
            json_decref(fields);
            json_decref(args);
            return NULL;
        }
        *equals = '\0';
        fine = json_object_set_new(fields, argv[i], json_string(equals + 1)) == 0;
        *equals = '=';
    }
    if (fine && is_set)
        fine = json_object_set(args, "fields", fields) == 0;
    json_decref(fields);
    if (fine)
        return args;
    json_decref(args);
    *status =
        tool_usage(job->command->name, "%s: an argument is not UTF-8", job->command->name);
    return NULL;
}

static int run(struct job *job, const json_t *args)
{
    struct qf_err err;
    const bool is_watch = strcmp(job->command->name, "watch") == 0;
    const struct control_call call = {
        .address = job->control,
        .command = job->command->qmp,
        .args = args,
        .on_reply = on_reply,
        .on_event = is_watch ? on_event : NULL,
        .arg = job,
    };
    job->render = (struct render){
        .out = stdout,
        .err = stderr,
        .level = RENDER_NORMAL,
        .progress = is_watch && !job->json && isatty(STDERR_FILENO),
    };
    if (control_call(&call, &err) == 0)
        return job->status;
    render_clear(&job->render);
    if (err.code == QF_E_LOST) {
        (void)fprintf(
            stderr,
            "qferry: %s; how the migration ends is not known from here: its journal, "
            "both QEMUs, or the same migrate command tell\n",
            err.text);
        return qf_code_status(QF_E_HELD);
    }
    (void)qf_wrap(&err, "%s", job->command->name);
    return tool_fail(&err);
}

int cmd_control(int argc, char **argv)
{
    enum { OPT_CONTROL = 256, OPT_UID, OPT_JSON };
    static const struct option options[] = {
        {"control", required_argument, NULL, OPT_CONTROL},
        {"uid", required_argument, NULL, OPT_UID},
        {"json", no_argument, NULL, OPT_JSON},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    struct job job = {.command = commands};
    int c;
    int status = EXIT_USAGE;
    while (job.command < commands + N_COMMANDS - 1 &&
           strcmp(job.command->name, argv[0]) != 0)
        job.command++;
    const char *name = job.command->name;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        switch (c) {
        case OPT_CONTROL:
            job.control = optarg;
            break;
        case OPT_UID:
            job.uid = optarg;
            break;
        case OPT_JSON:
            job.json = true;
            break;
        case 'h':
            (void)printf(usage, name, job.command->args, job.command->what);
            return 0;
        default:
            return tool_bad_option(name, c, argv);
        }
    }
    const bool is_set = strcmp(name, "set") == 0;
    if (!is_set && argc > optind)
        return tool_usage(name, "%s takes no '%s'", name, argv[optind]);
    if (is_set && argc == optind)
        return tool_usage(name, "set takes FIELD=VALUE, such as downtime.max=300ms");
    if (!job.control)
        return tool_usage(name, "%s: --control ADDRESS is missing", name);
    json_t *args = make_args(&job, argc, argv, &status);
    if (!args)
        return status;
    status = run(&job, args);
    json_decref(args);
    return status;
}

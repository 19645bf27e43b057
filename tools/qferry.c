/* qferry: the command line. Finds the command; everything else is in cmd_*.c. */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/fault.h"
#include "engine/request.h"
#include "policy/policy_json.h"
#include "tools/tool.h"

static const char usage[] =
    "usage: qferry COMMAND ...\n"
    "\n"
    "Move a running VM between two plain QEMU processes, over their QMP monitors.\n"
    "\n"
    "commands:\n"
    "  migrate SOURCE DESTINATION [options]    move the VM\n"
    "  preflight SOURCE DESTINATION [options]  every check; changes nothing\n"
    "  attach SOURCE DESTINATION [options]     take up a move under way; never starts one\n"
    "  status|watch|cancel|postcopy|pause|set --control ADDRESS\n"
    "                                          talk to a running qferry\n"
    "  networks [options]                      which network would be chosen, and why\n"
    "  policies [list|show NAME|check FILE]    the built-in policies\n"
    "  simulate (MODEL|JOURNAL) [options]      what would a policy do; no QEMU\n"
    "  replay JOURNAL                          decide again from a journal, and compare\n"
    "\n"
    "  --help, --version; each command has its own --help.\n"
    "\n"
    "exit status: 0 completed, 1 internal error, 2 usage, 3 refused by a check, 4 given up,\n"
    "5 cancelled, 6 a side cannot be reached, 7 a person must look\n";

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"attach", cmd_migrate},    {"migrate", cmd_migrate},   {"preflight", cmd_migrate},
    {"status", cmd_control},    {"watch", cmd_control},     {"cancel", cmd_control},
    {"postcopy", cmd_control},  {"pause", cmd_control},     {"set", cmd_control},
    {"networks", cmd_networks}, {"policies", cmd_policies}, {"simulate", cmd_simulate},
    {"replay", cmd_replay},
};

int tool_fail(const struct qf_err *err)
{
    (void)fprintf(stderr, "qferry: %s\n", err->text);
    return qf_code_status(err->code);
}

int tool_usage(const char *command, const char *fmt, ...)
{
    va_list ap;
    (void)fputs("qferry: ", stderr);
    va_start(ap, fmt);
    (void)vfprintf(stderr, fmt, ap);
    va_end(ap);
    (void)fprintf(stderr, "; see qferry%s%s --help\n", command ? " " : "",
                  command ? command : "");
    return EXIT_USAGE;
}

int tool_bad_option(const char *command, int what, char **argv)
{
    const char *word = argv[optind - 1];
    if (what == ':')
        return tool_usage(command, "%s: the option %s needs a value", command, word);
    if (optopt != 0 && strncmp(word, "--", 2) != 0)
        return tool_usage(command, "%s: unknown option -%c", command, optopt);
    return tool_usage(command, "%s: unknown option %s", command, word);
}

bool tool_is_file_name(const char *arg)
{
    return strchr(arg, '/') || strchr(arg, '.');
}

/* A file that has more than `most` bytes is not read to its end: *len is above `most` then.
 * Messages call it origin. */
static char *read_some(
    const char *path, const char *origin, size_t most, size_t *len, struct qf_err *err)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        (void)qf_fail(err, QF_E_USAGE, "%s: %s", origin, strerror(errno));
        return NULL;
    }
    char *text = NULL;
    size_t n = 0;
    size_t room = 0;
    for (;;) {
        if (room - n < 65536) {
            room = room ? room * 2 : 131072;
            char *grown = realloc(text, room);
            if (!grown) {
                (void)qf_fail(err, QF_E_NOMEM, "%s: no memory to read it", origin);
                break;
            }
            text = grown;
        }
        const size_t got = fread(text + n, 1, room - n - 1, f);
        n += got;
        if (got > 0 && n <= most)
            continue;
        if (ferror(f)) {
            (void)qf_fail(err, QF_E_USAGE, "%s: %s", origin, strerror(errno));
            break;
        }
        (void)fclose(f);
        text[n] = '\0';
        *len = n;
        return text;
    }
    (void)fclose(f);
    free(text);
    return NULL;
}

char *tool_read_file(const char *path, size_t *len, struct qf_err *err)
{
    return read_some(path, path, SIZE_MAX, len, err);
}

/* A file that people write; what is longer than `most` is no such `what`. */
static char *read_written(const char *path,
                          char origin[TOOL_ORIGIN_SIZE],
                          size_t most,
                          const char *what,
                          size_t *len,
                          struct qf_err *err)
{
    const size_t n = strlen(path);
    if (n < TOOL_ORIGIN_SIZE)
        (void)snprintf(origin, TOOL_ORIGIN_SIZE, "%s", n > 0 ? path : "''");
    else
        (void)snprintf(origin, TOOL_ORIGIN_SIZE, "...%s",
                       path + n - (TOOL_ORIGIN_SIZE - 4));
    fault_one_line(origin);
    char *text = read_some(path, origin, most, len, err);
    if (!text || *len <= most)
        return text;
    (void)qf_fail(err, QF_E_USAGE, "%s:1: more than %zu bytes; no %s is as long", origin,
                  most, what);
    free(text);
    return NULL;
}

char *tool_read_policy(const char *path,
                       char origin[TOOL_ORIGIN_SIZE],
                       size_t *len,
                       struct qf_err *err)
{
    return read_written(path, origin, POLICY_FILE_MAX, "policy", len, err);
}

int tool_read_networks(struct request *r, const char *path, struct qf_err *err)
{
    char origin[TOOL_ORIGIN_SIZE];
    size_t len;
    char *text =
        read_written(path, origin, REQUEST_NETWORKS_FILE_MAX, "networks file", &len, err);
    const int rc =
        text ? request_networks_text(r, origin, text, len, err) : -(int)err->code;
    free(text);
    return rc == 0 ? 0 : qf_wrap(err, "--networks");
}

int main(int argc, char **argv)
{
    (void)signal(SIGPIPE,
                 SIG_IGN); /* a reader that went away is an error of write, no death */
    if (argc < 2)
        return tool_usage(NULL, "no command given");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        (void)fputs(usage, stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        (void)puts("qferry " QFERRY_VERSION);
        return 0;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    if (argv[1][0] == '-')
        return tool_usage(NULL, "unknown option %s", argv[1]);
    return tool_usage(NULL, "unknown command '%s'", argv[1]);
}

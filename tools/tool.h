/* What qferry's commands share: options, messages, output. Only tools/ includes it. */
#ifndef QF_TOOLS_TOOL_H
#define QF_TOOLS_TOOL_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>

#include "engine/base/err.h"
#include "engine/spec.h"
#include "policy/policy.h"

enum {
    EXIT_USAGE = 2,
    /* a path in messages: the last part whole, and room left in struct qf_err for what is said */
    TOOL_ORIGIN_SIZE = 264
};

/* The commands; argv[0] is the command's name. Return the exit status. */
int cmd_migrate(int argc, char **argv); /* also preflight: argv[0] tells */
int cmd_networks(int argc, char **argv);
int cmd_policies(int argc, char **argv);
int cmd_replay(int argc, char **argv);
int cmd_simulate(int argc, char **argv);
int cmd_control(int argc, char **argv); /* status, watch, ...: argv[0] tells */

/* Print "qferry: sentence" on stderr. Returns the exit status of code. */
int tool_fail(const struct qf_err *err);

/* Usage error: the sentence, and where to look. Returns EXIT_USAGE. */
int tool_usage(const char *command, const char *fmt, ...) QF_PRINTF(2, 3);

/* What getopt_long said '?' or ':' to, in one line that names it. Returns EXIT_USAGE. */
int tool_bad_option(const char *command, int what, char **argv);

/* Names of what is built in have neither a slash nor a dot: is this a file's? */
bool tool_is_file_name(const char *arg);

/* A whole file in memory, NUL-terminated; to be freed. NULL with err. */
char *tool_read_file(const char *path, size_t *len, struct qf_err *err);

/* The same for a policy file: what is longer than a policy may be is refused, and read no
 * further. origin is filled in any case: the path, fit for one line, a long one cut in front. */
char *tool_read_policy(const char *path,
                       char origin[TOOL_ORIGIN_SIZE],
                       size_t *len,
                       struct qf_err *err);

/* The same for a networks file: add what is in it to the request. */
struct request;
int tool_read_networks(struct request *r, const char *path, struct qf_err *err);

#endif

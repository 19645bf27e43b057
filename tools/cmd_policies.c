/* qferry policies [list|show NAME|check FILE] */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy_json.h"
#include "tools/tool.h"

static const char usage[] =
    "usage: qferry policies [list]\n"
    "       qferry policies show NAME      one built-in policy as JSON\n"
    "       qferry policies check FILE     the faults of a policy file, exit status 2 if any;\n"
    "                                      warns of what can never happen or has no effect\n"
    "\n"
    "The fields are described in qferry-policy(5).\n";

static int list(void)
{
    for (size_t i = 0; i < policy_preset_count(); i++) {
        struct policy p;
        struct qf_err err;
        if (policy_preset_load(policy_preset_name(i), &p, &err) != 0)
            return tool_fail(&err);
        (void)printf("%-25s %s%s\n", p.name, p.description, i == 0 ? " (default)" : "");
    }
    return 0;
}

static int show(const char *name)
{
    struct policy p;
    struct qf_err err;
    if (policy_preset_load(name, &p, &err) != 0)
        return tool_fail(&err);
    json_t *json = policy_dump(&p);
    char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
    json_decref(json);
    if (!text) {
        (void)qf_fail(&err, QF_E_NOMEM, "no memory");
        return tool_fail(&err);
    }
    (void)puts(text);
    free(text);
    return 0;
}

static void warn(void *arg, const char *warning)
{
    (void)arg;
    (void)fprintf(stderr, "warning: %s\n", warning);
}

static int check(const char *path)
{
    struct policy p;
    struct qf_err err;
    size_t len;
    char origin[TOOL_ORIGIN_SIZE];
    char *text = tool_read_policy(path, origin, &len, &err);
    if (!text)
        return tool_fail(&err);
    const int rc = policy_load(origin, text, len, &p, &err);
    if (rc == 0)
        (void)policy_check_warnings(origin, text, len, warn, NULL);
    free(text);
    if (rc != 0)
        return tool_fail(&err);
    (void)printf("%s: fine: policy %s\n", origin, p.name);
    return 0;
}

int cmd_policies(int argc, char **argv)
{
    static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {0}};
    int c;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (c != 'h')
            return tool_bad_option("policies", c, argv);
        (void)fputs(usage, stdout);
        return 0;
    }
    const int n = argc - optind;
    const char *verb = n > 0 ? argv[optind] : "list";
    if (strcmp(verb, "list") == 0 && n <= 1)
        return list();
    if (strcmp(verb, "show") == 0 && n == 2)
        return show(argv[optind + 1]);
    if (strcmp(verb, "check") == 0 && n == 2)
        return check(argv[optind + 1]);
    if (strcmp(verb, "show") == 0)
        return tool_usage("policies", "policies show takes one name");
    if (strcmp(verb, "check") == 0)
        return tool_usage("policies", "policies check takes one file");
    if (strcmp(verb, "list") == 0)
        return tool_usage("policies", "policies list takes nothing more");
    return tool_usage("policies", "policies: unknown verb '%s'; list, show or check", verb);
}

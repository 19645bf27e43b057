/* qferry replay JOURNAL: feed the journal's events to a fresh machine, compare line by line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/replay.h"
#include "tools/tool.h"

static const char usage[] =
    "usage: qferry replay JOURNAL\n"
    "\n"
    "Decide again, from the events of a journal, and compare every line with what was decided\n"
    "then. Exit status 0: the same; 1: it differs (the first difference is shown); 2: not a\n"
    "journal.\n";

int cmd_replay(int argc, char **argv)
{
    static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {0}};
    int c;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (c != 'h')
            return tool_bad_option("replay", c, argv);
        (void)fputs(usage, stdout);
        return 0;
    }
    if (argc - optind != 1)
        return tool_usage("replay", "replay takes one journal");
    struct qf_err err;
    size_t len;
    char *text = tool_read_file(argv[optind], &len, &err);
    if (!text)
        return tool_fail(&err);
    struct replay_report report;
    const int rc = replay(text, len, &report, &err);
    free(text);
    if (rc != 0) {
        (void)qf_wrap(&err, "%s", argv[optind]);
        return tool_fail(&err);
    }
    if (report.differs != 0) {
        (void)fprintf(
            stderr, "qferry: %s: line %llu differs\n  journal: %s\n  replay:  %s\n",
            argv[optind], (unsigned long long)report.differs, report.expected, report.got);
        return 1;
    }
    (void)printf("%llu lines, %llu decisions: the same\n", (unsigned long long)report.lines,
                 (unsigned long long)report.decisions);
    return 0;
}

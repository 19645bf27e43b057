/* qferry networks: which network a migration would take now, and why. Touches no QEMU. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/units.h"
#include "engine/journal.h"
#include "engine/network_uv.h"
#include "engine/request.h"
#include "tools/tool.h"

static const char usage[] =
    "usage: qferry networks [options]\n"
    "\n"
    "Which network would be chosen, and why: every network, whether it is usable, and the reason.\n"
    "Probes them, and touches no QEMU.\n"
    "\n"
    "  -n, --networks FILE         networks to choose from; repeatable\n"
    "      --network CIDR          a network for migrations, in order of preference; repeatable\n"
    "      --destination-address A an address of the destination's host, or its name; repeatable\n"
    "      --port PORT[-PORT]      where the destination would listen: never probed\n"
    "      --bandwidth RATE        as for migrate\n"
    "      --json                  the network record as a JSON line\n"
    "\n"
    "Exit status: 0 one is usable, 3 none is. See qferry-networks(5).\n";

enum { OPT_JSON = 256, OPT_ENGINE };

static const struct option options[] = {
    {"networks", required_argument, NULL, 'n'},
    {"network", required_argument, NULL, OPT_ENGINE},
    {"destination-address", required_argument, NULL, OPT_ENGINE},
    {"port", required_argument, NULL, OPT_ENGINE},
    {"bandwidth", required_argument, NULL, OPT_ENGINE},
    {"json", no_argument, NULL, OPT_JSON},
    {"help", no_argument, NULL, 'h'},
    {0},
};

/* ---- output ---- */

/* Of people's kind: bits, as networks are sold. */
static const char *bits(uint64_t bytes_per_s, char *text, size_t size)
{
    const uint64_t mbit = bytes_per_s / 125000U;
    if (bytes_per_s == 0)
        (void)snprintf(text, size, "unknown");
    else if (mbit >= 1000 && mbit % 100 == 0)
        (void)snprintf(text, size, "%llu.%llu Gbit/s", (unsigned long long)(mbit / 1000),
                       (unsigned long long)(mbit % 1000 / 100));
    else if (mbit > 0)
        (void)snprintf(text, size, "%llu Mbit/s", (unsigned long long)mbit);
    else
        (void)snprintf(text, size, "%llu bit/s", (unsigned long long)bytes_per_s * 8);
    return text;
}

static int width_of(const struct netsel_choice *c)
{
    size_t width = strlen("NETWORK");
    for (unsigned i = 0; i < c->n; i++)
        if (strlen(c->candidate[i].name) > width)
            width = strlen(c->candidate[i].name);
    return (int)width;
}

static void print_table(const struct record_network *n)
{
    const struct netsel_choice *c = n->choice;
    const int width = width_of(c);
    char rate[32];
    (void)printf("%-*s  %-15s  %-7s  %-11s  %s\n", width, "NETWORK", "DESTINATION",
                 "USABLE", "RATE", "WHY");
    for (unsigned i = 0; i < c->n; i++) {
        const struct netsel_candidate *k = &c->candidate[i];
        (void)printf("%-*s  %-15s  %-7s  %-11s  %s\n", width, k->name,
                     k->address[0] ? k->address : "-",
                     (int)i == c->chosen ? "chosen"
                     : k->usable         ? "yes"
                                         : "no",
                     bits(k->link_bytes_per_s, rate, sizeof(rate)), k->why);
    }
    if (c->chosen < 0)
        return;
    (void)printf("\nchosen: %s, %s\nbandwidth: ", n->name, n->address);
    if (n->bandwidth_bytes_per_s != POLICY_UNKNOWN)
        (void)printf("%s (%s)\n", bits(n->bandwidth_bytes_per_s, rate, sizeof(rate)),
                     n->bandwidth_reason);
    else
        (void)printf("%s\n", n->bandwidth_reason);
}

static int print_line(const struct record *r, struct qf_err *err)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    struct journal_clock clock = {
        .wall_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / QF_NS_PER_MS, .seq = 1};
    json_t *line = journal_record(&clock, 0, r, NULL);
    char *text = line ? journal_dump(line) : NULL;
    json_decref(line);
    if (!text)
        return qf_fail(err, QF_E_NOMEM, "no memory for the output");
    (void)fputs(text, stdout);
    free(text);
    return 0;
}

int cmd_networks(int argc, char **argv)
{
    static struct request request; /* large; one per process */
    static struct netsel_choice choice;
    static struct record record;
    struct qf_err err;
    bool json = false;
    int rc = 0;
    int index = 0;
    int c;
    request_init(&request);
    opterr = 0;
    while (rc == 0 && (c = getopt_long(argc, argv, ":n:h", options, &index)) != -1) {
        switch (c) {
        case 'n':
            rc = tool_read_networks(&request, optarg, &err);
            break;
        case OPT_ENGINE:
            rc = request_option(&request, options[index].name, optarg, &err);
            break;
        case OPT_JSON:
            json = true;
            break;
        case 'h':
            (void)fputs(usage, stdout);
            return 0;
        default:
            return tool_bad_option("networks", c, argv);
        }
    }
    if (rc != 0)
        return tool_fail(&err);
    if (optind < argc)
        return tool_usage("networks", "networks: '%s' is no option", argv[optind]);
    if (request.spec.networks.n == 0)
        return tool_usage("networks",
                          "networks: nothing to choose from: give --networks FILE "
                          "or --network CIDR");
    if (request_finish(&request, &err) != 0)
        return tool_fail(&err);
    rc = network_survey(&request.spec, &request.policy, &choice, &record, &err);
    if (rc != 0 && err.code != QF_E_REFUSED)
        return tool_fail(&err);
    struct qf_err output;
    if (!json)
        print_table(&record.u.network);
    else if (print_line(&record, &output) != 0)
        return tool_fail(&output);
    (void)fflush(stdout);
    return rc == 0 ? 0 : tool_fail(&err);
}

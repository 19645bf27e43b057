/* Random moves that something happens to: guest, policy, way, moment, fault and a delay, all drawn by
 * a seed. One that fails is tried again, made simpler for as long as it fails, and printed as the
 * command that repeats it.
 *
 *   campaign [--runs N] [--seed S] [--only MODE/MOMENT/FAULT] [--way WAY] [--with OPTIONS]
 *            [--artefact FILE]
 *
 * What holds of each run: faults_judge.c. Run i of a seed is the same cell on the same versions of
 * QEMU; what a real machine makes of it is not. Exit 1 if anything is BAD. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/real/faults.h"

enum { RETRIES = 3 /* of a cell that has failed, and of each that is simpler */ };

static struct wanted {
    const char *only;
    int way; /* -1: all */
    unsigned runs;
    uint64_t seed;
    const char *artefact;
} wanted = {.only = "", .way = -1, .runs = 100, .seed = 1};

static struct rows rows = {.with = ""};

/* ---- drawing ---- */

static uint64_t state;

static unsigned draw(unsigned n)
{
    state += UINT64_C(0x9E3779B97F4A7C15); /* splitmix64 (Steele, Lea, Flood, 2014) */
    uint64_t z = state;
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (unsigned)((z ^ (z >> 31)) % n);
}

/* With a timeout of some seconds each comes to an end, whatever the guest writes. */
static const struct policy_choice {
    enum mode mode;
    bool no_key; /* it is never encrypted */
    const char *options;
} policies[] = {
    {MODE_PRECOPY, false, "-p minimal-downtime"},
    {MODE_PRECOPY, false, "-p minimal-downtime --max-downtime 2s"},
    {MODE_PRECOPY, false, "-p suspend-if-needed"},
    {MODE_PRECOPY, true, "-p very-large-vm"},
    {MODE_PRECOPY, false, "-p legacy"},
    {MODE_PRECOPY, false, "-p kubevirt --set stop.allowed=true"},
    {MODE_PRECOPY, false, "-p vdsm-minimal-downtime"},
    {MODE_PRECOPY, false, "-p vdsm-suspend-if-needed"},
    {MODE_PRECOPY, false, "-p proxmox"},
    {MODE_PRECOPY, false, "-p nova"},
    {MODE_PRECOPY, false, "-p libvirt"},
    {MODE_POSTCOPY, false, "-p post-copy --set on-timeout=postcopy"},
    {MODE_POSTCOPY, false, "-p vdsm-post-copy --set on-timeout=postcopy"},
    {MODE_POSTCOPY, false,
     "-p libvirt --set postcopy.allowed=true --set on-timeout=postcopy"},
    {MODE_POSTCOPY, false, "-p kubevirt --set postcopy.allowed=true"},
    {MODE_STOP, false, "-p stop-and-copy"},
};
enum { N_POLICIES = sizeof(policies) / sizeof(policies[0]) };

static bool has_key(enum way way)
{
    return way == WAY_PSK || way == WAY_CHANNELS_PSK;
}

static void draw_policy(struct cell *c)
{
    const struct policy_choice *p;
    do
        p = &policies[draw(N_POLICIES)];
    while (p->mode != c->mode || (p->no_key && has_key(c->way)));
    const bool postcopy = c->mode == MODE_POSTCOPY;
    const unsigned timeout_s = postcopy ? 2 + draw(4) : 4 + draw(16);
    const unsigned rate_mib = postcopy ? 15 + draw(30) : 8 + draw(40);
    const int n =
        snprintf(c->options, sizeof(c->options), "%s --timeout %us --bandwidth %uMiB",
                 p->options, timeout_s, rate_mib);
    if (postcopy)
        (void)snprintf(c->options + n, sizeof(c->options) - (size_t)n,
                       " --set postcopy.bandwidth=%uMiB", 2 + draw(10));
}

static void draw_guest(struct cell *c)
{
    const bool postcopy = c->mode == MODE_POSTCOPY;
    const unsigned ws_mib = postcopy ? 16 + draw(20) : 8 + draw(24);
    const unsigned cold_mib = draw(24);
    const unsigned rate = draw(2500);
    const bool random = draw(4) == 0;
    if (postcopy)
        (void)snprintf(c->guest, sizeof(c->guest), "ws=%u cold=%u flat", ws_mib, cold_mib);
    else
        (void)snprintf(c->guest, sizeof(c->guest), "ws=%u cold=%u rate=%u%s", ws_mib,
                       cold_mib, rate, random ? " order=random" : "");
}

/* The i-th of a seed, whatever was drawn before it. One draw a statement: their order is part of it. */
static struct cell draw_cell(unsigned i)
{
    struct cell c;
    state = wanted.seed * UINT64_C(0x2545F4914F6CDD1D) + i;
    do {
        memset(&c, 0, sizeof(c));
        c.mode = (enum mode)draw(MODE_COUNT);
        c.way = (enum way)draw(WAY_COUNT);
        c.moment = (enum moment)draw(MOMENT_COUNT);
        c.fault = (enum fault)draw(FAULT_COUNT);
    } while (cell_unreachable(&c, rows.versions) || !cell_matches(&c, wanted.only) ||
             (wanted.way >= 0 && wanted.way != (int)c.way));
    if (draw(3) != 0)
        c.delay_ms = draw(400);
    draw_guest(&c);
    draw_policy(&c);
    return c;
}

/* Is there any at all? */
static bool can_draw(void)
{
    struct cell c;
    for (unsigned i = 0; cell_at(i, &c); i++)
        if (!cell_unreachable(&c, rows.versions) && cell_matches(&c, wanted.only) &&
            (wanted.way < 0 || wanted.way == (int)c.way))
            return true;
    return false;
}

/* ---- what fails ---- */

/* Real machines are not the same twice: one failure of some tries is one. */
static bool fails(const struct cell *c, void *arg)
{
    struct row row;
    char command[4 * FAULTS_TEXT];
    (void)arg;
    if (cell_unreachable(c, rows.versions))
        return false;
    for (unsigned i = 0; i < RETRIES; i++) {
        rows_run(&rows, c, &row);
        if (row.verdict == BAD) {
            rows_print(&rows, "    fails, try %u: %s\n        %s\n", i + 1,
                       rows_again(&rows, c, command, sizeof(command)), row.note);
            return true;
        }
    }
    return false;
}

static void look_into(struct cell c)
{
    char command[4 * FAULTS_TEXT];
    if (!fails(&c, NULL)) {
        rows_print(&rows, "    did not fail again in %d tries\n", RETRIES);
        return;
    }
    const unsigned asked = cell_shrink(&c, fails, NULL);
    rows_print(&rows, "    the simplest that fails (%u others were tried): %s\n", asked,
               rows_again(&rows, &c, command, sizeof(command)));
}

/* ---- the command line ---- */

static int usage(void)
{
    (void)fprintf(stderr,
                  "usage: campaign [--runs N] [--seed S] [--only MODE/MOMENT/FAULT] "
                  "[--way WAY] [--with OPTIONS] [--artefact FILE]\n");
    return 2;
}

static bool read_option(const char *option, const char *value)
{
    if (strcmp(option, "--runs") == 0)
        wanted.runs = (unsigned)strtoul(value, NULL, 10);
    else if (strcmp(option, "--seed") == 0)
        wanted.seed = strtoull(value, NULL, 10);
    else if (strcmp(option, "--only") == 0)
        wanted.only = value;
    else if (strcmp(option, "--with") == 0)
        rows.with = value;
    else if (strcmp(option, "--artefact") == 0)
        wanted.artefact = value;
    else if (strcmp(option, "--way") == 0)
        return way_of(value, &wanted.way);
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    char title[128];
    for (int i = 1; i < argc; i += 2)
        if (i + 1 >= argc || !read_option(argv[i], argv[i + 1]))
            return usage();
    if (wanted.runs == 0)
        return usage();
    if (faults_missing()) {
        (void)printf("skipped: %s\n", faults_missing());
        return 77;
    }
    rows.versions = faults_ask_versions();
    if (!cell_pattern_is_known(wanted.only) || !can_draw()) {
        (void)fprintf(stderr,
                      "campaign: --only %s: there is no such cell (faults --list)\n",
                      wanted.only);
        return 2;
    }
    (void)snprintf(title, sizeof(title), "campaign; seed %llu, %u runs",
                   (unsigned long long)wanted.seed, wanted.runs);
    if (!rows_begin(&rows, title, wanted.artefact))
        return 2;
    for (unsigned i = 0; i < wanted.runs; i++) {
        const struct cell c = draw_cell(i);
        struct row row;
        rows_add(&rows, &c, &row);
        if (row.verdict == BAD)
            look_into(c);
    }
    return rows_end(&rows);
}

/* Everything that can break, at every moment of a move, on real QEMUs: what becomes of the guest?
 *
 *   faults [options]          the table: each way x mode x moment x fault, a row each
 *
 *   --only MODE/MOMENT/FAULT  those cells; a part may be left empty ("/first-pass/")
 *   --way WAY                 plain, channels, psk, channels-psk; all is the default
 *   --delay MS --guest PARAMETERS --options OPTIONS
 *                             of each cell: after the moment, and instead of the mode's own
 *   --with "OPTIONS"          more options of qferry migrate
 *   --artefact FILE           all that is printed, there too
 *   --list                    the cells, nothing is run
 *
 * Cells that cannot be are named at the end, with the reason. What holds of each: faults_judge.c.
 * The versions of QEMU are those of QFERRY_QEMU_SRC and QFERRY_QEMU_DST. Needs root (namespaces) and
 * iproute2. Exit 1 if anything is BAD, 2 if something was typed wrongly. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/real/faults.h"

static struct wanted {
    const char *only;
    int way; /* -1: all */
    unsigned delay_ms;
    const char *guest;
    const char *options;
    const char *artefact;
    bool list;
} wanted = {.only = "", .way = -1, .guest = "", .options = ""};

static struct rows rows = {.with = ""};

static int usage(void)
{
    (void)fprintf(stderr,
                  "usage: faults [--only MODE/MOMENT/FAULT] [--way WAY] [--delay MS] "
                  "[--guest PARAMETERS] [--options OPTIONS] [--with OPTIONS] "
                  "[--artefact FILE] [--list]\n");
    return 2;
}

static bool read_option(const char *option, const char *value)
{
    if (strcmp(option, "--only") == 0)
        wanted.only = value;
    else if (strcmp(option, "--with") == 0)
        rows.with = value;
    else if (strcmp(option, "--guest") == 0)
        wanted.guest = value;
    else if (strcmp(option, "--options") == 0)
        wanted.options = value;
    else if (strcmp(option, "--artefact") == 0)
        wanted.artefact = value;
    else if (strcmp(option, "--delay") == 0)
        wanted.delay_ms = (unsigned)strtoul(value, NULL, 10);
    else if (strcmp(option, "--way") == 0)
        return way_of(value, &wanted.way);
    else
        return false;
    return true;
}

static bool is_wanted(const struct cell *c)
{
    return cell_matches(c, wanted.only) && (wanted.way < 0 || wanted.way == (int)c->way);
}

/* One line for each way, mode and moment: what is unreachable is so with every fault. */
static void name_the_unreachable(void)
{
    struct cell c;
    unsigned last = 0;
    for (unsigned i = 0; cell_at(i, &c); i++) {
        const char *why = is_wanted(&c) ? cell_unreachable(&c, rows.versions) : NULL;
        const unsigned group = i / FAULT_COUNT + 1;
        if (!why || !*why || group == last)
            continue;
        if (last == 0)
            rows_print(&rows, "unreachable:\n");
        last = group;
        rows_print(&rows, "  %s/%s/* %s: %s\n", mode_names[c.mode], moment_names[c.moment],
                   way_names[c.way], why);
    }
}

static int list_cells(void)
{
    struct cell c;
    char name[FAULTS_NAME];
    unsigned n = 0;
    for (unsigned i = 0; cell_at(i, &c); i++)
        if (is_wanted(&c) && !cell_unreachable(&c, rows.versions)) {
            (void)printf("%s %s\n", cell_name(&c, name), way_names[c.way]);
            n++;
        }
    (void)printf("%u cells\n", n);
    name_the_unreachable();
    return 0;
}

static void run_cells(void)
{
    struct cell c;
    struct row row;
    for (unsigned i = 0; cell_at(i, &c); i++) {
        if (!is_wanted(&c) || cell_unreachable(&c, rows.versions))
            continue;
        c.delay_ms = wanted.delay_ms;
        (void)snprintf(c.guest, sizeof(c.guest), "%s", wanted.guest);
        (void)snprintf(c.options, sizeof(c.options), "%s", wanted.options);
        rows_add(&rows, &c, &row);
    }
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--list") == 0) {
            wanted.list = true;
            continue;
        }
        if (i + 1 >= argc || !read_option(argv[i], argv[i + 1]))
            return usage();
        i++;
    }
    if (!cell_pattern_is_known(wanted.only)) {
        (void)fprintf(
            stderr,
            "faults: --only %s: it is MODE/MOMENT/FAULT, each a name of --list or "
            "empty\n",
            wanted.only);
        return 2;
    }
    const char *missing = wanted.list ? lab_missing() : faults_missing();
    if (missing) {
        (void)printf("skipped: %s\n", missing);
        return 77;
    }
    rows.versions = faults_ask_versions();
    if (wanted.list)
        return list_cells();
    if (!rows_begin(&rows, "faults", wanted.artefact))
        return 2;
    run_cells();
    name_the_unreachable();
    return rows_end(&rows);
}

/* Each cell in a process of its own, which tells through a pipe what came of it. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/real/faults.h"

enum { CELL_S = 900 /* all waits of a cell end long before */ };

const char *faults_missing(void)
{
    if (lab_missing())
        return lab_missing();
    return geteuid() != 0 ? "needs root for namespaces" : NULL;
}

static void print_both(FILE *artefact, const char *format, va_list ap)
    __attribute__((format(printf, 2, 0)));

static void print_both(FILE *artefact, const char *format, va_list ap)
{
    va_list copy;
    va_copy(copy, ap);
    (void)vprintf(format, ap);
    (void)fflush(stdout);
    if (artefact) {
        (void)vfprintf(artefact, format, copy);
        (void)fflush(artefact);
    }
    va_end(copy);
}

void rows_print(const struct rows *r, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    print_both(r->artefact, format, ap);
    va_end(ap);
}

bool rows_begin(struct rows *r, const char *title, const char *path)
{
    char versions[32];
    r->artefact = path ? fopen(path, "w") : NULL;
    if (path && !r->artefact) {
        (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return false;
    }
    rows_print(r, "%s; QEMU %s%s%s\n", title, faults_versions_text(r->versions, versions),
               r->with[0] ? "; with " : "", r->with);
    return true;
}

static void in_the_child(const struct rows *r, const struct cell *c, int out)
{
    struct row row;
    memset(&row, 0, sizeof(row));
    (void)alarm(CELL_S);
    w.cell = *c;
    w.with = r->with;
    row.verdict = faults_run_cell();
    row.missed = w.missed;
    (void)snprintf(row.hit, sizeof(row.hit), "%s", w.hit);
    (void)snprintf(row.note, sizeof(row.note), "%s", w.note);
    (void)!write(out, &row, sizeof(row));
    world_end();
    _exit(0);
}

void rows_run(const struct rows *r, const struct cell *c, struct row *out)
{
    int fd[2];
    size_t got = 0;
    memset(out, 0, sizeof(*out));
    out->verdict = BAD;
    (void)snprintf(out->note, sizeof(out->note), "the cell's process died");
    (void)fflush(NULL);
    if (pipe(fd) != 0)
        return;
    const pid_t pid = fork();
    if (pid == 0) {
        (void)close(fd[0]);
        in_the_child(r, c, fd[1]);
    }
    (void)close(fd[1]);
    if (pid > 0) {
        struct row row;
        for (ssize_t n = 1; got < sizeof(row) && n > 0; got += n > 0 ? (size_t)n : 0)
            n = read(fd[0], (char *)&row + got, sizeof(row) - got);
        if (got == sizeof(row))
            *out = row;
        (void)waitpid(pid, NULL, 0);
    }
    (void)close(fd[0]);
}

static void add_option(
    char *out, size_t size, const char *option, const char *value, const char *quote)
{
    const size_t n = strlen(out);
    if (value[0] != '\0')
        (void)snprintf(out + n, size - n, " %s %s%s%s", option, quote, value, quote);
}

const char *rows_again(const struct rows *r, const struct cell *c, char *out, size_t size)
{
    static const char *const vars[] = {"QFERRY_QEMU_SRC", "QFERRY_QEMU_DST"};
    char name[FAULTS_NAME];
    char delay[16] = "";
    out[0] = '\0';
    for (unsigned i = 0; i < 2; i++) {
        const char *value = getenv(vars[i]);
        const size_t n = strlen(out);
        if (value && *value)
            (void)snprintf(out + n, size - n, "%s=%s ", vars[i], value);
    }
    const size_t n = strlen(out);
    (void)snprintf(out + n, size - n, "tools/faults --only %s --way %s", cell_name(c, name),
                   way_names[c->way]);
    if (c->delay_ms > 0)
        (void)snprintf(delay, sizeof(delay), "%u", c->delay_ms);
    add_option(out, size, "--delay", delay, "");
    add_option(out, size, "--guest", c->guest, "'");
    add_option(out, size, "--options", c->options, "'");
    add_option(out, size, "--with", r->with, "'");
    return out;
}

void rows_add(struct rows *r, const struct cell *c, struct row *out)
{
    char name[FAULTS_NAME];
    char command[4 * FAULTS_TEXT];
    char versions[32];
    const int64_t begin_ns = lab_now_ns();
    rows_run(r, c, out);
    r->n++;
    r->missed += out->missed;
    r->count[out->verdict]++;
    rows_print(r, "%-50s %-12s %-10s %-19s %-36s %s (%.0f s%s%s)\n", cell_name(c, name),
               way_names[c->way], faults_versions_text(r->versions, versions),
               verdict_names[out->verdict], out->hit, out->note,
               (double)(lab_now_ns() - begin_ns) / 1e9, c->options[0] ? ", " : "",
               c->options);
    if (out->verdict == BAD)
        rows_print(r, "    again: %s\n", rows_again(r, c, command, sizeof(command)));
}

int rows_end(struct rows *r)
{
    rows_print(r,
               "%u cells: %u ok, %u lost as documented, %u held and then ok, %u BAD; in %u "
               "the moment did not come\n",
               r->n, r->count[GOOD], r->count[LOST], r->count[HELD], r->count[BAD],
               r->missed);
    if (r->artefact)
        (void)fclose(r->artefact);
    r->artefact = NULL;
    return r->n == 0 || r->count[BAD] > 0;
}

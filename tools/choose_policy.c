#include "tools/choose_policy.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "policy/select.h"
#include "tools/tool.h"

enum { PATH_SIZE = 4096 };

static int add_label(struct choose *c,
                     enum label_of of,
                     const char *name,
                     const char *value,
                     struct qf_err *err)
{
    if (c->n_label == LABEL_OWNERS * LABELS_MAX)
        return qf_fail(err, QF_E_USAGE, "--%s: more than %d labels", name, LABELS_MAX);
    c->label[c->n_label].of = of;
    c->label[c->n_label++].text = value;
    return 0;
}

int choose_option(struct choose *c, const char *name, const char *value, struct qf_err *err)
{
    if (strcmp(name, "label") == 0)
        return add_label(c, LABEL_VM, name, value, err);
    if (strcmp(name, "namespace-label") == 0)
        return add_label(c, LABEL_NAMESPACE, name, value, err);
    if (strcmp(name, "explain") == 0) {
        c->explain = true;
        return 0;
    }
    if (strcmp(name, "policies") != 0)
        return qf_fail(err, QF_E_USAGE, "unknown option --%s", name);
    if (c->dir)
        return qf_fail(err, QF_E_USAGE, "--policies: given twice; write one folder");
    if (!*value)
        return qf_fail(err, QF_E_USAGE, "--policies: '' is not a folder");
    c->dir = value;
    return 0;
}

/* ---- the folder ---- */

static int is_policy_name(const struct dirent *e)
{
    const size_t n = strlen(e->d_name);
    return n > 5 && e->d_name[0] != '.' && strcmp(e->d_name + n - 5, ".json") == 0;
}

/* Byte by byte, whatever the locale. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int read_policy(struct select *s, const char *path, struct qf_err *err)
{
    char origin[TOOL_ORIGIN_SIZE];
    struct stat st;
    size_t len;
    const bool is_found = stat(path, &st) == 0;
    if (is_found && S_ISDIR(st.st_mode))
        return 0;
    if (is_found && !S_ISREG(st.st_mode)) /* a pipe might never end */
        return qf_fail(err, QF_E_USAGE, "--policies: %s: not a file", path);
    char *text = tool_read_policy(path, origin, &len, err);
    if (!text)
        return qf_wrap(err, "--policies");
    const int rc = select_policy(s, origin, text, len, err);
    free(text);
    return rc;
}

static int read_folder(struct select *s, const char *dir, struct qf_err *err)
{
    char path[PATH_SIZE];
    struct dirent **entries;
    const char *slash = dir[strlen(dir) - 1] == '/' ? "" : "/";
    const int n = scandir(dir, &entries, is_policy_name, by_name);
    int rc = 0;
    if (n < 0)
        return qf_fail(err, QF_E_USAGE, "--policies: %s: %s", dir, strerror(errno));
    for (int i = 0; i < n; i++) {
        const int len =
            snprintf(path, sizeof(path), "%s%s%s", dir, slash, entries[i]->d_name);
        if (rc == 0 && (len < 0 || (size_t)len >= sizeof(path)))
            rc =
                qf_fail(err, QF_E_USAGE, "--policies: %.80s...: the path is too long", dir);
        if (rc == 0)
            rc = read_policy(s, path, err);
        free(entries[i]);
    }
    free(entries);
    return rc;
}

/* ---- the choice ---- */

static void on_text(const char *text, void *arg)
{
    (void)fputs(text, arg);
}

static int choose_with(const struct choose *c,
                       struct select *s,
                       struct policy *p,
                       FILE *out,
                       struct qf_err *err)
{
    for (unsigned i = 0; i < c->n_label; i++)
        if (select_label(s, c->label[i].of, c->label[i].text, err) != 0)
            return qf_wrap(err,
                           c->label[i].of == LABEL_VM ? "--label" : "--namespace-label");
    const int rc = read_folder(s, c->dir, err);
    if (rc != 0)
        return rc;
    const struct policy *chosen = select_choose(s);
    if (c->explain)
        select_explain(s, p, c->has_policy ? "--policy holds" : "the default holds",
                       on_text, out);
    if (chosen)
        *p = *chosen;
    return 0;
}

int choose_policy(const struct choose *c, struct policy *p, FILE *out, struct qf_err *err)
{
    if (!c->dir && c->n_label > 0)
        return qf_fail(err, QF_E_USAGE,
                       "--%s: nothing to choose from; --policies DIR names a folder",
                       c->label[0].of == LABEL_VM ? "label" : "namespace-label");
    int rc = 0;
    if (c->dir) {
        struct select *s = select_new();
        rc = s ? choose_with(c, s, p, out, err) : qf_fail(err, QF_E_NOMEM, "no memory");
        select_free(s);
    } else if (c->explain) {
        (void)fprintf(out, "policy %s: %s, as there are no --policies to choose from\n",
                      p->name, c->has_policy ? "--policy holds" : "the default holds");
    }
    if (rc == 0)
        (void)fflush(out);
    return rc;
}

/* Labels and policy files in any shape: refused in one line, or a choice that does not depend on
 * the order of the files and that the explanation names. The input is cut at "%%"; a piece
 * beginning with v is a label of the VM, with n one of the namespace, with anything else a policy
 * file. */
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "fuzz.h"
#include "policy/policy_json.h"
#include "policy/select.h"

enum { PIECES_MAX = 32 };

struct piece {
    const char *text;
    size_t len;
};

static size_t cut(const char *text, size_t size, struct piece pieces[PIECES_MAX])
{
    size_t n = 0;
    size_t start = 0;
    for (size_t i = 0; i <= size && n < PIECES_MAX; i++) {
        const bool ends =
            i == size || (i + 1 < size && text[i] == '%' && text[i + 1] == '%');
        if (!ends)
            continue;
        pieces[n++] = (struct piece){.text = text + start, .len = i - start};
        start = i + 2;
        i++;
    }
    return n;
}

static void check_sentence(const char *text)
{
    json_t *utf8 = json_string(text); /* NULL for what is not UTF-8 */
    MUST(utf8 && *text && !strchr(text, '\n'));
    json_decref(utf8);
}

/* Of the exact size, so that the sanitizer sees a read past the end. */
static char *copy(const char *text, size_t len, size_t more)
{
    char *own = malloc(len + more > 0 ? len + more : 1);
    MUST(own);
    if (len > 0)
        memcpy(own, text, len);
    if (more > 0)
        own[len] = '\0';
    return own;
}

/* Is it a label? */
static bool add(struct select *s, const struct piece *p, size_t i)
{
    struct qf_err err = {.text = ""};
    char origin[32];
    const bool of_vm = p->len > 0 && p->text[0] == 'v';
    const bool label = of_vm || (p->len > 0 && p->text[0] == 'n');
    char *own = copy(p->text + label, p->len - label, label);
    (void)snprintf(origin, sizeof(origin), "dir/%zu.json", i);
    const int rc = label ? select_label(s, of_vm ? LABEL_VM : LABEL_NAMESPACE, own, &err)
                         : select_policy(s, origin, own, p->len, &err);
    free(own);
    if (rc != 0)
        check_sentence(err.text);
    return rc == 0;
}

struct told {
    size_t len;
    char tail[2048]; /* the last line */
};

static void on_text(const char *text, void *arg)
{
    struct told *t = arg;
    const size_t n = strlen(text);
    if (t->len > 0 && t->tail[t->len - 1] == '\n')
        t->len = 0;
    if (t->len + n < sizeof(t->tail)) {
        memcpy(t->tail + t->len, text, n + 1);
        t->len += n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct policy fallback = {.name = "fallback"};
    struct piece pieces[PIECES_MAX];
    bool good[PIECES_MAX];
    struct told told = {.len = 0};
    json_object_seed(1); /* the same run for the same input */
    const size_t n = cut((const char *)data, size, pieces);
    struct select *s = select_new();
    struct select *back = select_new();
    MUST(s && back);
    for (size_t i = 0; i < n; i++)
        good[i] = add(s, &pieces[i], i);
    for (size_t i = n; i-- > 0;) /* what was good is good in any order */
        if (good[i])
            MUST(add(back, &pieces[i], i));
    const struct policy *one = select_choose(s);
    const struct policy *other = select_choose(back);
    MUST(!one == !other && (!one || strcmp(one->name, other->name) == 0));
    select_explain(s, &fallback, "it holds", on_text, &told);
    const char *name = one ? one->name : fallback.name;
    MUST(strncmp(told.tail, "policy ", 7) == 0);
    MUST(strncmp(told.tail + 7, name, strlen(name)) == 0);
    MUST(told.tail[told.len - 1] == '\n');
    select_free(s);
    select_free(back);
    return 0;
}

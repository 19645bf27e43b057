#include "policy/select.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy_json.h"

/* One policy that might be chosen. */
struct candidate {
    struct policy policy;
    char file[FAULT_NAME_SIZE]; /* the last part of its origin, fit for a line */
    json_t *root;               /* what the selectors point into */
    struct selectors selectors;
};

struct select {
    json_t *labels[LABEL_OWNERS]; /* objects of texts */
    struct candidate *policy[SELECT_POLICIES_MAX];
    size_t n;
};

struct select *select_new(void)
{
    struct select *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    for (int of = 0; of < LABEL_OWNERS; of++)
        s->labels[of] = json_object();
    if (s->labels[LABEL_VM] && s->labels[LABEL_NAMESPACE])
        return s;
    select_free(s);
    return NULL;
}

static void candidate_free(struct candidate *c)
{
    if (!c)
        return;
    json_decref(c->root);
    free(c);
}

void select_free(struct select *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++)
        candidate_free(s->policy[i]);
    for (int of = 0; of < LABEL_OWNERS; of++)
        json_decref(s->labels[of]);
    free(s);
}

/* --- what there is --- */

/* A text of the command line as a message quotes it. */
static const char *quote(const char *text, char shown[FAULT_NAME_SIZE])
{
    const int cut = FAULT_NAME_SIZE - 4;
    (void)snprintf(shown, FAULT_NAME_SIZE, "%.*s%s", cut, text,
                   strlen(text) > (size_t)cut ? "..." : "");
    fault_one_line(shown);
    return shown;
}

int select_label(struct select *s, enum label_of of, const char *text, struct qf_err *err)
{
    char shown[FAULT_NAME_SIZE];
    char key[LABEL_KEY_MAX + 1];
    const char *equals = strchr(text, '=');
    if (!equals)
        return qf_fail(err, QF_E_USAGE, "'%s' is not KEY=VALUE", quote(text, shown));
    const size_t n = (size_t)(equals - text);
    const char *fault = label_key_fault(text, n);
    if (fault)
        return qf_fail(err, QF_E_USAGE, "'%s' does not begin with a label's key: %s",
                       quote(text, shown), fault);
    fault = label_value_fault(equals + 1, strlen(equals + 1));
    if (fault)
        return qf_fail(err, QF_E_USAGE, "'%s' does not end with a label's value: %s",
                       quote(text, shown), fault);
    memcpy(key, text, n); /* label_key_fault lets no longer one pass */
    key[n] = '\0';
    const char *before = json_string_value(json_object_get(s->labels[of], key));
    if (before && strcmp(before, equals + 1) != 0)
        return qf_fail(err, QF_E_USAGE, "'%s', but %s=%s was given before",
                       quote(text, shown), key, before);
    if (!before && json_object_size(s->labels[of]) == LABELS_MAX)
        return qf_fail(err, QF_E_USAGE, "more than %d labels", LABELS_MAX);
    if (json_object_set_new(s->labels[of], key, json_string(equals + 1)) != 0)
        return qf_fail(err, QF_E_NOMEM, "no memory for labels");
    return 0;
}

/* *c is empty, and filled as far as it goes. */
static int load(struct candidate *c,
                const char *origin,
                const char *text,
                size_t len,
                struct qf_err *err)
{
    const struct fault_source src = {
        .origin = origin, .text = text, .len = len, .err = err};
    const char *slash = strrchr(origin, '/');
    const int rc = policy_load(origin, text, len, &c->policy, err);
    if (rc != 0)
        return rc;
    (void)quote(slash ? slash + 1 : origin, c->file);
    /* It is JSON, and its selectors are good: policy_load has seen to that. */
    c->root = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    if (!c->root)
        return qf_fail(err, QF_E_NOMEM, "%s: no memory", origin);
    const json_t *selectors = json_object_get(c->root, "selectors");
    return selectors ? selectors_load(&src, selectors, &c->selectors) : 0;
}

static const struct candidate *find_name(const struct select *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->policy[i]->policy.name, name) == 0)
            return s->policy[i];
    return NULL;
}

int select_policy(
    struct select *s, const char *origin, const char *text, size_t len, struct qf_err *err)
{
    const struct fault_source src = {
        .origin = origin, .text = text, .len = len, .err = err};
    if (s->n == SELECT_POLICIES_MAX)
        return qf_fail(err, QF_E_USAGE, "%s: more than %d policies", origin,
                       SELECT_POLICIES_MAX);
    struct candidate *c = calloc(1, sizeof(*c));
    if (!c)
        return qf_fail(err, QF_E_NOMEM, "%s: no memory", origin);
    int rc = load(c, origin, text, len, err);
    const struct candidate *other = rc == 0 ? find_name(s, c->policy.name) : NULL;
    if (other)
        rc = fault_report(&src, "name",
                          "%s is the name of %s, too; records would not tell which it was",
                          c->policy.name, other->file);
    if (rc == 0)
        s->policy[s->n++] = c;
    else
        candidate_free(c);
    return rc;
}

/* --- the choice --- */

static const char *given(const struct select *s, const struct label *wanted)
{
    return json_string_value(json_object_get(s->labels[wanted->of], wanted->key));
}

/* The first label, by key, that is not there with this value; NULL when all are. */
static const struct label *first_missing(const struct select *s, const struct candidate *c)
{
    for (size_t i = 0; i < c->selectors.n; i++) {
        const struct label *wanted = &c->selectors.label[i];
        const char *value = given(s, wanted);
        if (!value || strcmp(value, wanted->value) != 0)
            return wanted;
    }
    return NULL;
}

static bool is_match(const struct select *s, const struct candidate *c)
{
    return c->selectors.given && !first_missing(s, c);
}

/* Where the keys of two that have as many labels differ first; their number when nowhere. */
static size_t first_difference(const struct candidate *a, const struct candidate *b)
{
    size_t i = 0;
    while (i < a->selectors.n &&
           strcmp(a->selectors.label[i].key, b->selectors.label[i].key) == 0)
        i++;
    return i;
}

static bool is_before(const struct candidate *a, const struct candidate *b)
{
    if (a->selectors.n != b->selectors.n)
        return a->selectors.n > b->selectors.n;
    const size_t i = first_difference(a, b);
    if (i < a->selectors.n)
        return strcmp(a->selectors.label[i].key, b->selectors.label[i].key) < 0;
    return strcmp(a->policy.name, b->policy.name) < 0;
}

/* The best that matches, but for one; NULL when there is none. */
static const struct candidate *best(const struct select *s, const struct candidate *but)
{
    const struct candidate *found = NULL;
    for (size_t i = 0; i < s->n; i++) {
        const struct candidate *c = s->policy[i];
        if (c != but && is_match(s, c) && (!found || is_before(c, found)))
            found = c;
    }
    return found;
}

const struct policy *select_choose(const struct select *s)
{
    const struct candidate *c = best(s, NULL);
    return c ? &c->policy : NULL;
}

/* --- why --- */

/* Where the explanation goes. */
struct listener {
    void (*on_text)(const char *text, void *arg);
    void *arg;
};

static void say(const struct listener *to, const char *fmt, ...) QF_PRINTF(2, 3);

static void say(const struct listener *to, const char *fmt, ...)
{
    char piece[1024]; /* no piece has more than two labels or names and a few words */
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(piece, sizeof(piece), fmt, ap);
    va_end(ap);
    to->on_text(piece, to->arg);
}

static void say_given(const struct select *s, enum label_of of, const struct listener *to)
{
    const char *before = "";
    const char *key;
    json_t *value;
    say(to, "labels of the %s: %s", label_of_name(of),
        json_object_size(s->labels[of]) == 0 ? "none" : "");
    json_object_foreach (s->labels[of], key, value) {
        say(to, "%s%s=%s", before, key, json_string_value(value));
        before = ", ";
    }
    say(to, "\n");
}

static void say_mismatch(const struct select *s,
                         const struct candidate *c,
                         const struct listener *to)
{
    const struct label *missing = first_missing(s, c);
    if (!missing) {
        say(to, "does not match: it has no selectors\n");
        return;
    }
    const char *owner = label_of_name(missing->of);
    const char *value = given(s, missing);
    say(to, "does not match: wants %s=%s of the %s, ", missing->key, missing->value, owner);
    if (value)
        say(to, "which has %s=%s\n", missing->key, value);
    else
        say(to, "which has no %s\n", missing->key);
}

static void say_candidate(const struct select *s,
                          const struct candidate *c,
                          const struct listener *to)
{
    say(to, "%s: %s ", c->file, c->policy.name);
    if (!is_match(s, c)) {
        say_mismatch(s, c, to);
        return;
    }
    say(to, "matches: %s", c->selectors.n == 0 ? "wants no label" : "");
    for (size_t i = 0; i < c->selectors.n; i++) {
        const struct label *l = &c->selectors.label[i];
        say(to, "%s%s=%s of the %s", i > 0 ? ", " : "", l->key, l->value,
            label_of_name(l->of));
    }
    say(to, "\n");
}

static void say_winner(const struct candidate *winner,
                       const struct candidate *next,
                       const struct listener *to)
{
    const size_t n = winner->selectors.n;
    const char *labels = n == 1 ? "label" : "labels";
    say(to, "policy %s: ", winner->policy.name);
    if (!next) {
        say(to, "the only one that matches\n");
        return;
    }
    if (next->selectors.n < n) {
        say(to, "the most labels, %zu; the next is %s with %zu\n", n, next->policy.name,
            next->selectors.n);
        return;
    }
    const size_t i = first_difference(winner, next);
    if (i < n)
        say(to, "%zu %s as %s has, but %s sorts before %s\n", n, labels, next->policy.name,
            winner->selectors.label[i].key, next->selectors.label[i].key);
    else
        say(to, "%zu %s with the same keys as %s has, but its name sorts before\n", n,
            labels, next->policy.name);
}

void select_explain(const struct select *s,
                    const struct policy *fallback,
                    const char *why,
                    void (*on_text)(const char *text, void *arg),
                    void *arg)
{
    const struct listener to = {.on_text = on_text, .arg = arg};
    const struct candidate *winner = best(s, NULL);
    say_given(s, LABEL_VM, &to);
    say_given(s, LABEL_NAMESPACE, &to);
    for (size_t i = 0; i < s->n; i++)
        say_candidate(s, s->policy[i], &to);
    if (winner)
        say_winner(winner, best(s, winner), &to);
    else
        say(&to, "policy %s: none matches, so %s\n", fallback->name, why);
}

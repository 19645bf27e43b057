#include "policy/labels.h"

#include <stdlib.h>
#include <string.h>

enum { PREFIX_MAX = 253, NAME_MAX_BYTES = 63 };

/* clang-format off */
static const struct {
    const char *name;
    enum label_of of;
} spellings[] = {
    {"vm",                             LABEL_VM},
    {"namespace",                      LABEL_NAMESPACE},
    {"virtualMachineInstanceSelector", LABEL_VM}, /* as in KubeVirt; so is the next */
    {"namespaceSelector",              LABEL_NAMESPACE},
};
/* clang-format on */
enum { N_SPELLINGS = sizeof(spellings) / sizeof(spellings[0]) };

static const char *const spelling_names[] = {
    "vm", "namespace", "virtualMachineInstanceSelector", "namespaceSelector", NULL};

const char *label_of_name(enum label_of of)
{
    return of == LABEL_VM ? "VM" : "namespace";
}

/* --- the words --- */

static bool is_alphanumeric(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Letters, digits and, between them, - _ and dots. */
static const char *word_fault(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!is_alphanumeric(text[i]) &&
            (text[i] == '\0' || !strchr("-_.", text[i]) || i == 0 || i == n - 1))
            return "write letters, digits and, between them, - _ or dots";
    return NULL;
}

const char *label_key_fault(const char *key, size_t n)
{
    const char *slash = memchr(key, '/', n);
    const size_t prefix = slash ? (size_t)(slash - key) : 0;
    const char *name = slash ? slash + 1 : key;
    const size_t rest = n - (size_t)(name - key);
    if (n == 0)
        return "it is empty";
    if ((slash && prefix == 0) || rest == 0)
        return "nothing stands on one side of the slash";
    if (prefix > PREFIX_MAX)
        return "at most 253 bytes before the slash";
    if (rest > NAME_MAX_BYTES)
        return slash ? "at most 63 bytes after the slash" : "at most 63 bytes";
    const char *fault = word_fault(key, prefix);
    return fault ? fault : word_fault(name, rest);
}

const char *label_value_fault(const char *value, size_t n)
{
    return n > LABEL_VALUE_MAX ? "at most 63 bytes" : word_fault(value, n);
}

/* --- from JSON --- */

static int put_label(const struct fault_source *src,
                     const char *name,
                     const struct label *label,
                     const json_t *value,
                     struct selectors *out)
{
    char word[FAULT_WORD_SIZE];
    const char *fault = label_key_fault(label->key, strlen(label->key));
    if (fault)
        return fault_report(src, name, "not a label's key: %s", fault);
    if (!json_is_string(value))
        return fault_report(src, name, "%s is not a text in quotes",
                            fault_show(value, word));
    fault = label_value_fault(json_string_value(value), json_string_length(value));
    if (fault)
        return fault_report(src, name, "%s is not a label's value: %s",
                            fault_show(value, word), fault);
    out->label[out->n] = *label;
    out->label[out->n++].value = json_string_value(value);
    return 0;
}

static int load_labels(const struct fault_source *src,
                       const char *name,
                       enum label_of of,
                       const json_t *value,
                       struct selectors *out)
{
    char word[FAULT_WORD_SIZE];
    char member[FAULT_NAME_SIZE];
    const char *key;
    json_t *item;
    if (!json_is_object(value))
        return fault_report(src, name,
                            "%s is not a set of labels; write {\"KEY\": \"VALUE\"}",
                            fault_show(value, word));
    if (json_object_size(value) > LABELS_MAX)
        return fault_report(src, name, "%zu labels; write at most %d",
                            json_object_size(value), LABELS_MAX);
    json_object_foreach ((json_t *)value, key, item) {
        const struct label label = {.of = of, .key = key};
        const int rc = put_label(src, fault_join(name, key, member), &label, item, out);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* One selector: labels, or an object whose matchLabels has them. A label may be called matchLabels,
 * too: its value is a text then. */
static int load_selector(const struct fault_source *src,
                         const char *name,
                         enum label_of of,
                         const json_t *value,
                         struct selectors *out)
{
    char member[FAULT_NAME_SIZE];
    const char *key;
    json_t *item;
    const json_t *inner = json_object_get(value, "matchLabels");
    if (json_is_array(json_object_get(value, "matchExpressions")))
        return fault_report(src, fault_join(name, "matchExpressions", member),
                            "only matchLabels is known; write the labels there");
    if (!inner || json_is_string(inner))
        return load_labels(src, name, of, value, out);
    json_object_foreach ((json_t *)value, key, item)
        if (strcmp(key, "matchLabels") != 0)
            return fault_report(src, fault_join(name, key, member),
                                "stands beside matchLabels; write it inside");
    return load_labels(src, fault_join(name, "matchLabels", member), of, inner, out);
}

static int by_key(const void *a, const void *b)
{
    const struct label *one = a;
    const struct label *other = b;
    const int order = strcmp(one->key, other->key);
    return order != 0 ? order : (int)one->of - (int)other->of;
}

int selectors_load(const struct fault_source *src,
                   const json_t *value,
                   struct selectors *out)
{
    char word[FAULT_WORD_SIZE];
    char name[FAULT_NAME_SIZE];
    const char *key;
    json_t *item;
    struct selectors loaded = {.given = true};
    bool seen[LABEL_OWNERS] = {false, false};
    if (!json_is_object(value))
        return fault_report(src, "selectors",
                            "%s is not a group of selectors; write {\"vm\": "
                            "{\"matchLabels\": {\"KEY\": \"VALUE\"}}}",
                            fault_show(value, word));
    json_object_foreach ((json_t *)value, key, item) {
        size_t i = 0;
        (void)fault_join("selectors", key, name);
        while (i < N_SPELLINGS && strcmp(spellings[i].name, key) != 0)
            i++;
        if (i == N_SPELLINGS)
            return fault_unknown(src, name, key, spelling_names);
        if (seen[spellings[i].of])
            return fault_report(src, name, "the same selector under two names; drop one");
        seen[spellings[i].of] = true;
        const int rc = load_selector(src, name, spellings[i].of, item, &loaded);
        if (rc != 0)
            return rc;
    }
    qsort(loaded.label, loaded.n, sizeof(loaded.label[0]), by_key);
    if (out)
        *out = loaded;
    return 0;
}

#include "netsel/networks_json.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/fault.h"
#include "engine/base/units.h"

static const char *const root_names[] = {"networks", "fallback", NULL};
static const char *const network_names[] = {"name", "cidr",       "role",
                                            "rate", "probe-port", NULL};
static const char *const role_names[] = {"migration", "management", NULL};

/* ---- one CIDR ---- */

/* What is wrong with a CIDR, as the end of a sentence that has quoted it; NULL: nothing. */
static const char *cidr_fault(const char *text, struct netsel_cidr *cidr, char what[96])
{
    char right[NETSEL_CIDR_TEXT];
    switch (netsel_cidr_parse(text, cidr)) {
    case NETSEL_CIDR_GOOD:
        break;
    case NETSEL_CIDR_NO_ADDRESS:
        return "is not a network; write 10.10.10.0/24 or fd00:1::/64";
    case NETSEL_CIDR_NO_PREFIX:
        return "has no prefix length; write 10.10.10.0/24";
    case NETSEL_CIDR_BAD_PREFIX:
        return "has no valid prefix length; write /0 to /32 for IPv4, /0 to /128 for IPv6";
    case NETSEL_CIDR_HOST_BITS:
        (void)snprintf(what, 96, "has host bits; the network is %s",
                       netsel_cidr_format(cidr, right));
        return what;
    }
    if (netsel_ip_is_link_local(&cidr->ip))
        return "is link-local: such addresses mean another host on each link";
    return NULL;
}

static const struct netsel_network *find_cidr(const struct netsel_wish *w,
                                              const struct netsel_cidr *cidr)
{
    for (unsigned i = 0; i < w->n; i++)
        if (netsel_cidr_equal(&w->network[i].cidr, cidr))
            return &w->network[i];
    return NULL;
}

static const struct netsel_network *find_name(const struct netsel_wish *w, const char *name)
{
    for (unsigned i = 0; i < w->n; i++)
        if (strcmp(w->network[i].name, name) == 0)
            return &w->network[i];
    return NULL;
}

int networks_add(const char *cidr, struct netsel_wish *w, struct qf_err *err)
{
    struct netsel_network n = {.role = NETSEL_MIGRATION};
    char what[96];
    char shown[NETSEL_CIDR_TEXT + 16];
    (void)snprintf(shown, sizeof(shown), "%s", cidr);
    fault_one_line(shown);
    const char *fault = cidr_fault(cidr, &n.cidr, what);
    if (fault)
        return qf_fail(err, QF_E_USAGE, "'%s' %s", shown, fault);
    const struct netsel_network *other = find_cidr(w, &n.cidr);
    (void)netsel_cidr_format(&n.cidr, n.name);
    if (other)
        return qf_fail(err, QF_E_USAGE, "'%s' is given twice%s%s", shown,
                       strcmp(other->name, n.name) == 0 ? "" : ", first as ",
                       strcmp(other->name, n.name) == 0 ? "" : other->name);
    if (w->n == NETSEL_NETWORKS_MAX)
        return qf_fail(err, QF_E_USAGE, "more than %d networks", NETSEL_NETWORKS_MAX);
    w->network[w->n++] = n;
    return 0;
}

/* ---- members of a network ---- */

static int not_text(const struct fault_source *src, const char *name, const json_t *value)
{
    char word[FAULT_WORD_SIZE];
    return fault_report(src, name, "%s is not a text", fault_show(value, word));
}

static int load_name(const struct fault_source *src,
                     const char *name,
                     const json_t *value,
                     struct netsel_network *n)
{
    static const char fine[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:/";
    char word[FAULT_WORD_SIZE];
    const char *text = json_string_value(value);
    if (!text)
        return not_text(src, name, value);
    const size_t len = strlen(text);
    if (len == 0 || len >= NETSEL_NAME_MAX || strspn(text, fine) != len)
        return fault_report(
            src, name,
            "%s is not a name; write 1 to %d letters, digits, '.', '_', '-', ':' and '/'",
            fault_show(value, word), NETSEL_NAME_MAX - 1);
    memcpy(n->name, text, len + 1);
    return 0;
}

static int load_cidr(const struct fault_source *src,
                     const char *name,
                     const json_t *value,
                     struct netsel_network *n)
{
    char word[FAULT_WORD_SIZE];
    char what[96];
    const char *text = json_string_value(value);
    if (!text)
        return not_text(src, name, value);
    const char *fault = cidr_fault(text, &n->cidr, what);
    return fault ? fault_report(src, name, "%s %s", fault_show(value, word), fault) : 0;
}

static int load_role(const struct fault_source *src,
                     const char *name,
                     const json_t *value,
                     struct netsel_network *n)
{
    char word[FAULT_WORD_SIZE];
    const char *text = json_string_value(value);
    if (!text)
        return not_text(src, name, value);
    for (unsigned i = 0; role_names[i]; i++)
        if (strcmp(role_names[i], text) == 0) {
            n->role = (enum netsel_role)i;
            return 0;
        }
    return fault_report(src, name, "%s is not a role; write migration or management",
                        fault_show(value, word));
}

static int load_rate(const struct fault_source *src,
                     const char *name,
                     const json_t *value,
                     struct netsel_network *n)
{
    char word[FAULT_WORD_SIZE];
    uint64_t rate = 0;
    if (json_is_integer(value) && json_integer_value(value) > 0)
        rate = (uint64_t)json_integer_value(value);
    else if (!json_is_string(value) ||
             qf_parse_rate(json_string_value(value), &rate, NULL) != 0 || rate == 0)
        return fault_report(src, name,
                            "%s is not a rate; write \"10Gbit\", \"125MiB\" or bytes per "
                            "second",
                            fault_show(value, word));
    n->rate_bytes_per_s = rate;
    return 0;
}

static int load_port(const struct fault_source *src,
                     const char *name,
                     const json_t *value,
                     struct netsel_network *n)
{
    char word[FAULT_WORD_SIZE];
    const json_int_t port = json_is_integer(value) ? json_integer_value(value) : 0;
    if (port < 1 || port > NETSEL_PROBE_PORT_MAX)
        return fault_report(src, name,
                            "%s cannot be probed; write a port from 1 to %d, where no "
                            "migration is waited for",
                            fault_show(value, word), NETSEL_PROBE_PORT_MAX);
    n->probe_port = (uint16_t)port;
    return 0;
}

static int load_member(const struct fault_source *src,
                       const char *name,
                       const char *key,
                       const json_t *value,
                       struct netsel_network *n)
{
    if (strcmp(key, "name") == 0)
        return load_name(src, name, value, n);
    if (strcmp(key, "cidr") == 0)
        return load_cidr(src, name, value, n);
    if (strcmp(key, "role") == 0)
        return load_role(src, name, value, n);
    if (strcmp(key, "rate") == 0)
        return load_rate(src, name, value, n);
    if (strcmp(key, "probe-port") == 0)
        return load_port(src, name, value, n);
    return fault_unknown(src, name, key, network_names);
}

/* ---- the file ---- */

static int load_network(const struct fault_source *src,
                        const char *base,
                        const json_t *value,
                        struct netsel_wish *w)
{
    struct netsel_network n = {.role = NETSEL_MIGRATION};
    char name[FAULT_NAME_SIZE];
    char word[FAULT_WORD_SIZE];
    char text[NETSEL_CIDR_TEXT];
    const char *key;
    json_t *item;
    if (!json_is_object(value))
        return fault_report(src, base, "%s is not a network; write an object in braces",
                            fault_show(value, word));
    json_object_foreach ((json_t *)value, key, item) {
        const int rc = load_member(src, fault_join(base, key, name), key, item, &n);
        if (rc != 0)
            return rc;
    }
    if (!json_object_get(value, "name") || !json_object_get(value, "cidr"))
        return fault_report(src, base, "has no %s",
                            json_object_get(value, "name") ? "cidr" : "name");
    const struct netsel_network *other = find_cidr(w, &n.cidr);
    if (other)
        return fault_report(src, fault_join(base, "cidr", name),
                            "%s is given twice, first as %s",
                            netsel_cidr_format(&n.cidr, text), other->name);
    if (find_name(w, n.name))
        return fault_report(src, fault_join(base, "name", name),
                            "%s is the name of two networks", n.name);
    if (w->n == NETSEL_NETWORKS_MAX)
        return fault_report(src, base, "one too many; there may be %d networks",
                            NETSEL_NETWORKS_MAX);
    w->network[w->n++] = n;
    return 0;
}

static int load_networks(const struct fault_source *src,
                         const json_t *list,
                         struct netsel_wish *w)
{
    char base[FAULT_NAME_SIZE];
    char word[FAULT_WORD_SIZE];
    if (!json_is_array(list) || json_array_size(list) == 0)
        return fault_report(src, "networks", "%s is not a list of networks",
                            json_is_array(list) ? "nothing" : fault_show(list, word));
    for (size_t i = 0; i < json_array_size(list); i++) {
        (void)snprintf(base, sizeof(base), "networks[%zu]", i);
        const int rc = load_network(src, base, json_array_get(list, i), w);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int load_root(const struct fault_source *src,
                     const json_t *root,
                     struct netsel_wish *w)
{
    char word[FAULT_WORD_SIZE];
    const char *key;
    json_t *item;
    const json_t *fallback = json_object_get(root, "fallback");
    if (!json_is_object(root))
        return fault_report(src, "", "%s is no networks file; write an object in braces",
                            fault_show(root, word));
    json_object_foreach ((json_t *)root, key, item)
        if (strcmp(key, "networks") != 0 && strcmp(key, "fallback") != 0)
            return fault_unknown(src, key, key, root_names);
    if (fallback && !json_is_boolean(fallback))
        return fault_report(src, "fallback", "%s is neither true nor false",
                            fault_show(fallback, word));
    if (json_is_false(fallback))
        w->no_fallback = true;
    if (!json_object_get(root, "networks"))
        return fault_report(src, "", "has no networks");
    return load_networks(src, json_object_get(root, "networks"), w);
}

int networks_load(const char *origin,
                  const char *text,
                  size_t len,
                  struct netsel_wish *w,
                  struct qf_err *err)
{
    const struct fault_source src = {
        .origin = origin, .text = text, .len = len, .err = err};
    struct netsel_wish loaded = *w;
    json_t *root;
    if (len > NETSEL_FILE_MAX)
        return qf_fail(err, QF_E_USAGE, "%s:1: %zu bytes; a networks file has at most %d",
                       origin, len, NETSEL_FILE_MAX);
    int rc = fault_parse(&src, &root);
    if (rc != 0)
        return rc;
    rc = load_root(&src, root, &loaded);
    json_decref(root);
    if (rc == 0)
        *w = loaded;
    return rc;
}

#include "netsel/netsel_json.h"

#include <stdio.h>
#include <string.h>

static const char *const answer_names[] = {"not-asked", "waiting", "accepted", "refused",
                                           "failed"};

/* ---- out ---- */

/* Steals value; NULL means that there was no memory for it. *o is then dropped and NULL. */
static void put(json_t **o, const char *key, json_t *value)
{
    if (*o && json_object_set_new(*o, key, value) != 0) {
        json_decref(*o);
        *o = NULL;
    } else if (!*o) {
        json_decref(value);
    }
}

static void put_text(json_t **o, const char *key, const char *text)
{
    json_t *v = json_string(text); /* NULL for what is not UTF-8, too */
    put(o, key, v ? v : json_string("(not UTF-8)"));
}

static void put_number(json_t **o, const char *key, uint64_t v)
{
    const uint64_t most = (uint64_t)INT64_MAX;
    put(o, key, json_integer((json_int_t)(v < most ? v : most)));
}

static void put_ip(json_t **o, const char *key, const struct netsel_ip *ip)
{
    char text[NETSEL_IP_TEXT];
    put_text(o, key, netsel_ip_format(ip, text));
}

static void append(json_t **list, json_t *item)
{
    if (*list && json_array_append_new(*list, item) == 0)
        return;
    if (!*list)
        json_decref(item);
    json_decref(*list);
    *list = NULL;
}

json_t *netsel_dump_wish(const struct netsel_wish *w)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < w->n; i++) {
        const struct netsel_network *n = &w->network[i];
        char text[NETSEL_CIDR_TEXT];
        json_t *o = json_object();
        put_text(&o, "name", n->name);
        put_text(&o, "cidr", netsel_cidr_format(&n->cidr, text));
        put_text(&o, "role", n->role == NETSEL_MIGRATION ? "migration" : "management");
        put_number(&o, "rate", n->rate_bytes_per_s);
        put_number(&o, "probe_port", n->probe_port);
        append(&list, o);
    }
    json_t *root = json_object();
    put(&root, "networks", list);
    put(&root, "fallback", json_boolean(!w->no_fallback));
    put_number(&root, "port_first", w->port_first);
    put_number(&root, "port_last", w->port_last);
    put_number(&root, "monitor_port", w->monitor_port);
    return root;
}

static json_t *dump_locals(const struct netsel_facts *f)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < f->n_locals; i++) {
        const struct netsel_local *l = &f->local[i];
        json_t *o = json_object();
        put_text(&o, "interface", l->interface);
        put_ip(&o, "address", &l->ip);
        put(&o, "up", json_boolean(l->up));
        put(&o, "carrier", json_boolean(l->carrier));
        put_number(&o, "speed", l->speed_bytes_per_s);
        append(&list, o);
    }
    return list;
}

static json_t *dump_destinations(const struct netsel_facts *f)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < f->n_destinations; i++) {
        const struct netsel_destination *d = &f->destination[i];
        json_t *o = json_object();
        put_ip(&o, "address", &d->ip);
        put(&o, "monitor", json_boolean(d->is_monitor));
        put_ip(&o, "source", &d->source);
        put_text(&o, "fault", d->fault);
        append(&list, o);
    }
    return list;
}

static json_t *dump_paths(const struct netsel_facts *f)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < f->n_paths; i++) {
        const struct netsel_path *p = &f->path[i];
        json_t *o = json_object();
        put_number(&o, "network", p->network);
        put_number(&o, "destination", p->destination);
        put_number(&o, "port", p->port);
        put_text(&o, "answer", answer_names[p->answer]);
        put_number(&o, "took_ms", p->took_ms);
        put_text(&o, "fault", p->fault);
        append(&list, o);
    }
    return list;
}

json_t *netsel_dump_facts(const struct netsel_facts *f)
{
    json_t *root = json_object();
    put(&root, "locals", dump_locals(f));
    put(&root, "destinations", dump_destinations(f));
    put(&root, "paths", dump_paths(f));
    put(&root, "names_pending", json_boolean(f->names_pending));
    put_text(&root, "name_fault", f->name_fault);
    put_text(&root, "fault", f->fault);
    put_number(&root, "waited_ms", f->waited_ms);
    return root;
}

json_t *netsel_dump_candidates(const struct netsel_choice *c)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < c->n; i++) {
        const struct netsel_candidate *k = &c->candidate[i];
        json_t *o = json_object();
        put_text(&o, "name", k->name);
        if (k->address[0] != '\0')
            put_text(&o, "address", k->address);
        else
            put(&o, "address", json_null());
        put(&o, "usable", json_boolean(k->usable));
        put_text(&o, "why", k->why);
        if (k->link_bytes_per_s != 0)
            put_number(&o, "link_rate", k->link_bytes_per_s);
        else
            put(&o, "link_rate", json_null());
        append(&list, o);
    }
    return list;
}

/* ---- in ---- */

static const char *get_text(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

static bool get_number(const json_t *o, const char *key, uint64_t most, uint64_t *out)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_integer(v) || json_integer_value(v) < 0 ||
        (uint64_t)json_integer_value(v) > most)
        return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

static bool get_port(const json_t *o, const char *key, uint16_t *out)
{
    uint64_t v;
    if (!get_number(o, key, UINT16_MAX, &v))
        return false;
    *out = (uint16_t)v;
    return true;
}

static void copy(char *dst, size_t size, const char *text)
{
    (void)snprintf(dst, size, "%s", text);
}

static bool load_network(const json_t *o, struct netsel_network *n)
{
    *n = (struct netsel_network){.role = NETSEL_MIGRATION};
    copy(n->name, sizeof(n->name), get_text(o, "name"));
    if (strcmp(get_text(o, "role"), "management") == 0)
        n->role = NETSEL_MANAGEMENT;
    return netsel_cidr_parse(get_text(o, "cidr"), &n->cidr) == NETSEL_CIDR_GOOD &&
           get_number(o, "rate", INT64_MAX, &n->rate_bytes_per_s) &&
           get_port(o, "probe_port", &n->probe_port);
}

bool netsel_load_wish(const json_t *json, struct netsel_wish *w)
{
    struct netsel_wish read = {.no_fallback =
                                   json_is_false(json_object_get(json, "fallback"))};
    const json_t *list = json_object_get(json, "networks");
    if (!json_is_array(list) || json_array_size(list) > NETSEL_NETWORKS_MAX)
        return false;
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!load_network(json_array_get(list, i), &read.network[read.n++]))
            return false;
    if (!get_port(json, "port_first", &read.port_first) ||
        !get_port(json, "port_last", &read.port_last) ||
        !get_port(json, "monitor_port", &read.monitor_port))
        return false;
    *w = read;
    return true;
}

static bool load_local(const json_t *o, struct netsel_local *l)
{
    *l = (struct netsel_local){.up = json_is_true(json_object_get(o, "up"))};
    l->carrier = json_is_true(json_object_get(o, "carrier"));
    copy(l->interface, sizeof(l->interface), get_text(o, "interface"));
    return netsel_ip_parse(get_text(o, "address"), &l->ip) &&
           get_number(o, "speed", INT64_MAX, &l->speed_bytes_per_s);
}

static bool load_destination(const json_t *o, struct netsel_destination *d)
{
    const char *source = get_text(o, "source");
    *d = (struct netsel_destination){.is_monitor =
                                         json_is_true(json_object_get(o, "monitor"))};
    copy(d->fault, sizeof(d->fault), get_text(o, "fault"));
    return netsel_ip_parse(get_text(o, "address"), &d->ip) &&
           (*source == '\0' || netsel_ip_parse(source, &d->source));
}

static bool load_path(const json_t *o, struct netsel_path *p)
{
    uint64_t network;
    uint64_t destination;
    uint64_t took_ms;
    const char *answer = get_text(o, "answer");
    *p = (struct netsel_path){.answer = NETSEL_NOT_ASKED};
    if (!get_number(o, "network", NETSEL_NETWORKS_MAX - 1, &network) ||
        !get_number(o, "destination", NETSEL_DESTINATIONS_MAX - 1, &destination) ||
        !get_number(o, "took_ms", UINT32_MAX, &took_ms) || !get_port(o, "port", &p->port))
        return false;
    p->network = (unsigned)network;
    p->destination = (unsigned)destination;
    p->took_ms = (uint32_t)took_ms;
    copy(p->fault, sizeof(p->fault), get_text(o, "fault"));
    for (unsigned i = 0; i < sizeof(answer_names) / sizeof(answer_names[0]); i++)
        if (strcmp(answer_names[i], answer) == 0) {
            p->answer = (enum netsel_answer)i;
            return true;
        }
    return false;
}

bool netsel_load_facts(const json_t *json, struct netsel_facts *f)
{
    struct netsel_facts read = {.n_locals = 0};
    const json_t *locals = json_object_get(json, "locals");
    const json_t *destinations = json_object_get(json, "destinations");
    const json_t *paths = json_object_get(json, "paths");
    uint64_t waited_ms;
    if (json_array_size(locals) > NETSEL_LOCALS_MAX ||
        json_array_size(destinations) > NETSEL_DESTINATIONS_MAX ||
        json_array_size(paths) > NETSEL_PATHS_MAX ||
        !get_number(json, "waited_ms", UINT32_MAX, &waited_ms))
        return false;
    for (size_t i = 0; i < json_array_size(locals); i++)
        if (!load_local(json_array_get(locals, i), &read.local[read.n_locals++]))
            return false;
    for (size_t i = 0; i < json_array_size(destinations); i++)
        if (!load_destination(json_array_get(destinations, i),
                              &read.destination[read.n_destinations++]))
            return false;
    for (size_t i = 0; i < json_array_size(paths); i++)
        if (!load_path(json_array_get(paths, i), &read.path[read.n_paths++]))
            return false;
    read.waited_ms = (uint32_t)waited_ms;
    read.names_pending = json_is_true(json_object_get(json, "names_pending"));
    copy(read.name_fault, sizeof(read.name_fault), get_text(json, "name_fault"));
    copy(read.fault, sizeof(read.fault), get_text(json, "fault"));
    *f = read;
    return true;
}

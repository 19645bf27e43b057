/* The choice of a network: every rule as a row. Facts are written as text:
 *
 *   networks   "NAME CIDR [management] [rate=N] [port=N]" separated by ';'
 *   locals     "INTERFACE ADDRESS [down|dead] [speed=N]"; dead: no carrier
 *   dsts       "ADDRESS [monitor] [from=ADDRESS|noroute]"; from: the local address in the first
 *              network that has both, unless said
 *   answers    one word a path, in the order of netsel_plan: "ok", "refused", "failed", "wait" */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "netsel/netsel.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

enum { WORDS_MAX = 8 };

static struct fixture {
    struct netsel_wish w;
    struct netsel_facts facts;
    struct netsel_choice c;
} f;

static void setup(void)
{
    memset(&f, 0, sizeof(f));
}

/* ---- facts from text ---- */

/* The next ';' separated part, its words in place; 0 at the end. */
static unsigned next(char **at, char *word[WORDS_MAX])
{
    unsigned n = 0;
    char *part = strsep(at, ";");
    char *save = NULL;
    for (char *w = part ? strtok_r(part, " ", &save) : NULL; w && n < WORDS_MAX;
         w = strtok_r(NULL, " ", &save))
        word[n++] = w;
    return n;
}

static void read_networks(const char *text)
{
    char copy[512];
    char *at = copy;
    char *word[WORDS_MAX];
    (void)snprintf(copy, sizeof(copy), "%s", text);
    for (unsigned n; (n = next(&at, word)) > 0;) {
        struct netsel_network *k = &f.w.network[f.w.n++];
        (void)snprintf(k->name, sizeof(k->name), "%s", word[0]);
        ck_assert_int_eq(netsel_cidr_parse(word[1], &k->cidr), NETSEL_CIDR_GOOD);
        for (unsigned i = 2; i < n; i++)
            if (strcmp(word[i], "management") == 0)
                k->role = NETSEL_MANAGEMENT;
            else if (strncmp(word[i], "rate=", 5) == 0)
                k->rate_bytes_per_s = strtoull(word[i] + 5, NULL, 10);
            else
                k->probe_port = (uint16_t)strtoul(word[i] + 5, NULL, 10);
    }
}

static void read_locals(const char *text)
{
    char copy[512];
    char *at = copy;
    char *word[WORDS_MAX];
    (void)snprintf(copy, sizeof(copy), "%s", text);
    for (unsigned n; (n = next(&at, word)) > 0;) {
        struct netsel_local *l = &f.facts.local[f.facts.n_locals++];
        (void)snprintf(l->interface, sizeof(l->interface), "%s", word[0]);
        ck_assert(netsel_ip_parse(word[1], &l->ip));
        l->up = l->carrier = true;
        for (unsigned i = 2; i < n; i++)
            if (strcmp(word[i], "down") == 0)
                l->up = l->carrier = false;
            else if (strcmp(word[i], "dead") == 0)
                l->carrier = false;
            else
                l->speed_bytes_per_s = strtoull(word[i] + 6, NULL, 10);
    }
}

static struct netsel_ip source_of(const struct netsel_ip *ip)
{
    for (unsigned i = 0; i < f.w.n; i++)
        for (unsigned k = 0; k < f.facts.n_locals; k++)
            if (netsel_cidr_has(&f.w.network[i].cidr, ip) &&
                netsel_cidr_has(&f.w.network[i].cidr, &f.facts.local[k].ip))
                return f.facts.local[k].ip;
    return (struct netsel_ip){.family = NETSEL_NONE};
}

static void read_destinations(const char *text)
{
    char copy[512];
    char *at = copy;
    char *word[WORDS_MAX];
    (void)snprintf(copy, sizeof(copy), "%s", text);
    for (unsigned n; (n = next(&at, word)) > 0;) {
        struct netsel_destination *d = &f.facts.destination[f.facts.n_destinations++];
        ck_assert(netsel_ip_parse(word[0], &d->ip));
        d->source = source_of(&d->ip);
        for (unsigned i = 1; i < n; i++)
            if (strcmp(word[i], "monitor") == 0) {
                d->is_monitor = true;
            } else if (strcmp(word[i], "noroute") == 0) {
                d->source.family = NETSEL_NONE;
                (void)strcpy(d->fault, "Network is unreachable");
            } else {
                ck_assert(netsel_ip_parse(word[i] + 5, &d->source));
            }
    }
}

static void read_answers(const char *text)
{
    netsel_plan(&f.w, &f.facts);
    for (unsigned i = 0; i < f.facts.n_paths; i++) {
        struct netsel_path *p = &f.facts.path[i];
        text += strspn(text, " ");
        ck_assert_msg(*text != '\0', "%u paths", f.facts.n_paths);
        p->answer = *text == 'o'   ? NETSEL_ACCEPTED
                    : *text == 'r' ? NETSEL_REFUSED
                    : *text == 'f' ? NETSEL_FAILED
                                   : NETSEL_WAITING;
        p->took_ms = 1;
        if (*text == 'f')
            (void)strcpy(p->fault, "host is unreachable");
        text += strcspn(text, " ");
    }
    ck_assert_msg(*text == '\0', "there are %u paths only", f.facts.n_paths);
}

/* ---- the rules ---- */

#define TWO   "mig 10.1.0.0/24; mgt 10.2.0.0/24 management"
#define HERE  "m0 10.1.0.1; e0 10.2.0.1"
#define THERE "10.1.0.2; 10.2.0.2"
#define LATE  60000

/* clang-format off */
static const struct rule {
    const char *networks, *locals, *dsts, *answers;
    uint32_t waited_ms;
    const char *chosen;  /* "NAME ADDRESS"; "none"; "wait MS" */
    const char *reason;  /* NULL: of no interest */
    bool no_fallback;
} rules[] = {
    /* the network for migrations, whether refused or accepted */
    {TWO, HERE, THERE, "ok ok", 1, "mig 10.1.0.2", "10.1.0.2 answers through m0 after 1 ms", false},
    {TWO, HERE, THERE, "refused wait", 1, "mig 10.1.0.2", NULL, false},
    {TWO, HERE, THERE, "ok", 1, "mig 10.1.0.2", NULL, true},
    /* its order is that of the rules, not of the list */
    {"mgt 10.2.0.0/24 management; mig 10.1.0.0/24", HERE, THERE, "ok ok", 1, "mig 10.1.0.2", NULL, false},
    {"a 10.1.0.0/24; b 10.2.0.0/24", HERE, THERE, "ok ok", 1, "a 10.1.0.2", NULL, false},
    {"a 10.1.0.0/24; b 10.2.0.0/24", HERE, THERE, "failed ok", 1, "b 10.2.0.2",
     "10.2.0.2 answers through e0 after 1 ms; not a: 10.1.0.2 does not answer through m0: host is "
     "unreachable", false},
    /* this host */
    {TWO, "m0 10.1.0.1 down; e0 10.2.0.1", THERE, "ok", 1, "mgt 10.2.0.2",
     "10.2.0.2 answers through e0 after 1 ms; not mig: m0 is down", false},
    {TWO, "m0 10.1.0.1 dead; e0 10.2.0.1", THERE, "ok", 1, "mgt 10.2.0.2",
     "10.2.0.2 answers through e0 after 1 ms; not mig: m0 has no carrier", false},
    {TWO, "e0 10.2.0.1", THERE, "ok", 1, "mgt 10.2.0.2",
     "10.2.0.2 answers through e0 after 1 ms; not mig: this host has no address in it", false},
    {"six fd00::/64; mgt 10.2.0.0/24 management", "e0 10.2.0.1", THERE, "ok", 1, "mgt 10.2.0.2",
     "10.2.0.2 answers through e0 after 1 ms; not six: this host has no IPv6 address", false},
    /* the destination */
    {TWO, HERE, "10.2.0.2", "ok", 1, "mgt 10.2.0.2",
     "10.2.0.2 answers through e0 after 1 ms; not mig: the destination has no address in it", false},
    {"six fd00::/64", "e0 fd00::1", "10.2.0.2", "", 1, "none",
     "no usable network: six: the destination has no IPv6 address", false},
    {"six fd00::/64", "e0 fd00::1", "fd00::2", "ok", 1, "six fd00::2", NULL, false},
    {TWO, HERE, "", "", 1, "none",
     "no usable network: mig: no address of the destination is known; mgt: no address of the "
     "destination is known", false},
    /* its monitor's host counts for management alone */
    {TWO, HERE, "10.1.0.2 monitor; 10.2.0.2 monitor", "ok", 1, "mgt 10.2.0.2",
     "10.2.0.2 answers through e0 after 1 ms; not mig: no address of the destination is known",
     false},
    /* the way */
    {TWO, HERE, "10.1.0.2 noroute; 10.2.0.2", "ok", 1, "mgt 10.2.0.2",
     "10.2.0.2 answers through e0 after 1 ms; not mig: no route to 10.1.0.2: Network is "
     "unreachable", false},
    {TWO, HERE, "10.1.0.2 from=10.2.0.1; 10.2.0.2", "ok", 1, "mgt 10.2.0.2",
     "10.2.0.2 answers through e0 after 1 ms; not mig: the way to 10.1.0.2 is not through it: it "
     "leaves from 10.2.0.1", false},
    {"a 10.1.0.0/24", "m0 10.1.0.1; m1 10.1.0.9 dead", "10.1.0.2 from=10.1.0.9", "", 1, "none",
     "no usable network: a: the way to 10.1.0.2 is through m1, which has no carrier", false},
    {"a 10.1.0.0/24", "m0 10.1.0.1", "10.1.0.2 from=10.1.0.7", "", 1, "none",
     "no usable network: a: the way to 10.1.0.2 is through 10.1.0.7, which is no address of this "
     "host", false},
    /* several addresses in one network: the first that answers, nobody waits for the others */
    {"a 10.1.0.0/24", "m0 10.1.0.1", "10.1.0.2; 10.1.0.3", "ok ok", 1, "a 10.1.0.2", NULL, false},
    {"a 10.1.0.0/24", "m0 10.1.0.1", "10.1.0.2; 10.1.0.3", "wait ok", 1, "a 10.1.0.3", NULL, false},
    {"a 10.1.0.0/24", "m0 10.1.0.1", "10.1.0.2; 10.1.0.3", "failed failed", 1, "none",
     "no usable network: a: 10.1.0.2 does not answer through m0: host is unreachable; 10.1.0.3 does "
     "not answer through m0: host is unreachable", false},
    {"a 10.1.0.0/24", "m0 10.1.0.1 down; m1 10.1.0.9", "10.1.0.2 from=10.1.0.9", "ok", 1,
     "a 10.1.0.2", "10.1.0.2 answers through m1 after 1 ms", false},
    /* overlapping ones: an address may be in both */
    {"wide 10.0.0.0/8; mgt 10.2.0.0/24 management", HERE, "10.2.0.2 from=10.2.0.1", "ok ok", 1,
     "wide 10.2.0.2", "10.2.0.2 answers through e0 after 1 ms", false},
    {"in 10.1.0.0/24; out 10.0.0.0/8", HERE, "10.1.0.2; 10.2.0.2 from=10.2.0.1", "failed wait ok", 1,
     "out 10.2.0.2", NULL, false},
    /* falling back */
    {TWO, HERE, THERE, "failed", 1, "none",
     "no usable network: mig: 10.1.0.2 does not answer through m0: host is unreachable; mgt: falling "
     "back to management is not allowed", true},
    {TWO, HERE, THERE, "failed failed", 1, "none", NULL, false},
    {"mgt 10.2.0.0/24 management", HERE, THERE, "ok", 1, "mgt 10.2.0.2", NULL, false},
    {"mgt 10.2.0.0/24 management", HERE, THERE, "", 1, "none", NULL, true},
    /* time: a good one is not held up by what comes after, nor for long by what comes before */
    {TWO, HERE, THERE, "wait wait", 1, "wait 1000", NULL, false},
    {TWO, HERE, THERE, "wait ok", 1, "wait 250", NULL, false},
    {TWO, HERE, THERE, "wait ok", 249, "wait 250", NULL, false},
    {TWO, HERE, THERE, "wait ok", 250, "mgt 10.2.0.2",
     "10.2.0.2 answers through e0 after 1 ms; not mig: 10.1.0.2 has not answered on port 9 through "
     "m0 within 250 ms", false},
    {TWO, HERE, THERE, "wait failed", 250, "wait 1000", NULL, false},
    {TWO, HERE, THERE, "wait failed", 1000, "none", NULL, false},
    {TWO, HERE, THERE, "ok wait", 999, "mig 10.1.0.2", NULL, false},
    {"a 10.1.0.0/24; b 10.2.0.0/24; c 10.3.0.0/24", HERE "; x0 10.3.0.1", THERE "; 10.3.0.2",
     "failed wait ok", 2, "wait 250", NULL, false},
    {"a 10.1.0.0/24; b 10.2.0.0/24; c 10.3.0.0/24", HERE "; x0 10.3.0.1", THERE "; 10.3.0.2",
     "failed ok wait", 2, "b 10.2.0.2", NULL, false},
    {"a 10.1.0.0/24", HERE, THERE, "wait", LATE, "none",
     "no usable network: a: 10.1.0.2 has not answered on port 9 through m0 within 60000 ms", false},
    /* another port */
    {"a 10.1.0.0/24 port=22", HERE, THERE, "wait", LATE, "none",
     "no usable network: a: 10.1.0.2 has not answered on port 22 through m0 within 60000 ms", false},
};
/* clang-format on */

static const char *answer(void)
{
    static char text[NETSEL_NAME_MAX + NETSEL_IP_TEXT + 2];
    const struct netsel_candidate *k = &f.c.candidate[f.c.chosen < 0 ? 0 : f.c.chosen];
    if (!f.c.is_decided)
        (void)snprintf(text, sizeof(text), "wait %u", f.c.ask_again_ms);
    else if (f.c.chosen < 0)
        (void)snprintf(text, sizeof(text), "none");
    else
        (void)snprintf(text, sizeof(text), "%s %s", k->name, k->address);
    return text;
}

START_TEST(the_rules)
{
    const struct rule *r = &rules[_i];
    read_networks(r->networks);
    read_locals(r->locals);
    read_destinations(r->dsts);
    f.w.no_fallback = r->no_fallback;
    read_answers(r->answers);
    f.facts.waited_ms = r->waited_ms;
    netsel_choose(&f.w, &f.facts, &f.c);
    ck_assert_msg(strcmp(answer(), r->chosen) == 0, "%d: %s (%s), not %s", _i, answer(),
                  f.c.reason, r->chosen);
    if (r->reason)
        ck_assert_str_eq(f.c.reason, r->reason);
    for (unsigned i = 0; i < f.c.n; i++)
        ck_assert(f.c.candidate[i].why[0] != '\0');
    if (f.c.chosen >= 0)
        ck_assert(f.c.candidate[f.c.chosen].usable);
}
END_TEST

START_TEST(a_name_that_is_not_resolved_is_waited_for)
{
    read_networks(TWO);
    read_locals(HERE);
    f.facts.names_pending = true;
    netsel_choose(&f.w, &f.facts, &f.c);
    ck_assert_str_eq(answer(), "wait 3000");
    f.facts.waited_ms = 3000;
    netsel_choose(&f.w, &f.facts, &f.c);
    ck_assert_str_eq(answer(), "none");
    ck_assert_ptr_nonnull(strstr(
        f.c.reason, "mig: a name of the destination is not resolved within 3000 ms"));
    /* ... but not when another one will do. */
    f.facts.waited_ms = 5;
    read_destinations("10.2.0.2");
    read_answers("ok");
    netsel_choose(&f.w, &f.facts, &f.c);
    ck_assert_str_eq(answer(), "wait 250");
    f.facts.names_pending = false;
    (void)strcpy(f.facts.name_fault, "hv2: unknown node or service");
    netsel_choose(&f.w, &f.facts, &f.c);
    ck_assert_str_eq(answer(), "mgt 10.2.0.2");
    ck_assert_str_eq(f.c.candidate[0].why, "the destination has no address in it; hv2: "
                                           "unknown node or service");
}
END_TEST

START_TEST(without_knowledge_of_the_host_nothing_is_usable)
{
    read_networks(TWO);
    (void)strcpy(f.facts.fault, "the interfaces of this host: too many open files");
    netsel_choose(&f.w, &f.facts, &f.c);
    ck_assert_str_eq(answer(), "none");
    ck_assert_str_eq(f.c.candidate[1].why,
                     "the interfaces of this host: too many open files");
}
END_TEST

/* ---- bandwidth ---- */

#define UNKNOWN " (that of the receiving interface is not known)"

static const struct {
    const char *networks, *locals;
    uint64_t bandwidth;
    const char *why;
    uint64_t link;
} bandwidths[] = {
    {"mig 10.1.0.0/24 rate=1250000000", "m0 10.1.0.1 speed=125000000", 1250000000,
     "the rate configured for mig", 1250000000},
    {"mig 10.1.0.0/24", "m0 10.1.0.1 speed=125000000", 125000000, "the speed of m0" UNKNOWN,
     125000000},
    {"mig 10.1.0.0/24", "m0 10.1.0.1", 0,
     "no rate is configured for mig and the speed of m0 is not known", 0},
    /* a reserve where management goes, too */
    {"mgt 10.1.0.0/24 management", "m0 10.1.0.1 speed=125000000", 100000000,
     "the speed of m0" UNKNOWN ", less 20 % since management goes there, too", 125000000},
    {"mgt 10.1.0.0/24 management rate=1000", "m0 10.1.0.1", 800,
     "the rate configured for mgt, less 20 % since management goes there, too", 1000},
    {"mig 10.1.0.0/24; mgt 10.2.0.0/24 management", "m0 10.1.0.1 speed=1000; m0 10.2.0.1",
     800, "the speed of m0" UNKNOWN ", less 20 % since management goes there, too", 1000},
    {"mig 10.1.0.0/24; mgt 10.2.0.0/24 management", "m0 10.1.0.1 speed=1000; e0 10.2.0.1",
     1000, "the speed of m0" UNKNOWN, 1000},
    {"mig 10.1.0.0/24 rate=1; mgt 10.2.0.0/24 management", "m0 10.1.0.1; m0 10.2.0.1", 1,
     "the rate configured for mig, less 20 % since management goes there, too", 1},
    /* both ends are this host's: the slower one */
    {"mig 10.1.0.0/24", "m0 10.1.0.1 speed=1000; m1 10.1.0.2 speed=100", 100,
     "the speed of m1, which receives", 1000},
    {"mig 10.1.0.0/24", "m0 10.1.0.1 speed=100; m1 10.1.0.2 speed=1000", 100,
     "the speed of m0", 100},
    {"mig 10.1.0.0/24", "m0 10.1.0.1 speed=100; m1 10.1.0.2", 100,
     "the speed of m0" UNKNOWN, 100},
};

START_TEST(the_bandwidth)
{
    read_networks(bandwidths[_i].networks);
    read_locals(bandwidths[_i].locals);
    read_destinations("10.1.0.2");
    read_answers("ok");
    netsel_choose(&f.w, &f.facts, &f.c);
    ck_assert_int_eq(f.c.chosen, 0);
    ck_assert_uint_eq(f.c.bandwidth_bytes_per_s, bandwidths[_i].bandwidth);
    ck_assert_str_eq(f.c.bandwidth_reason, bandwidths[_i].why);
    ck_assert_uint_eq(f.c.candidate[0].link_bytes_per_s, bandwidths[_i].link);
}
END_TEST

/* What another host says of its end: e9, so fast. */
static const struct {
    const char *networks, *locals;
    uint64_t speed;
    uint64_t bandwidth;
    const char *why;
} receivers[] = {
    {"mig 10.1.0.0/24 rate=1000", "m0 10.1.0.1 speed=100", 10, 1000,
     "the rate configured for mig"},
    {"mig 10.1.0.0/24", "m0 10.1.0.1 speed=1000", 100, 100,
     "the speed of e9, which receives"},
    {"mig 10.1.0.0/24", "m0 10.1.0.1 speed=100", 1000, 100, "the speed of m0"},
    {"mig 10.1.0.0/24", "m0 10.1.0.1 speed=100", 0, 100, "the speed of m0" UNKNOWN},
    {"mig 10.1.0.0/24", "m0 10.1.0.1", 100, 0,
     "no rate is configured for mig and the speed of m0 is not known"},
    {"mgt 10.1.0.0/24 management", "m0 10.1.0.1 speed=1000", 100, 80,
     "the speed of e9, which receives, less 20 % since management goes there, too"},
};

START_TEST(the_other_end_has_a_say)
{
    read_networks(receivers[_i].networks);
    read_locals(receivers[_i].locals);
    read_destinations("10.1.0.2");
    read_answers("ok");
    netsel_choose(&f.w, &f.facts, &f.c);
    netsel_hear_receiver(&f.w, &f.c, "e9", receivers[_i].speed);
    netsel_hear_receiver(&f.w, &f.c, "e9", receivers[_i].speed); /* twice is once */
    ck_assert_uint_eq(f.c.bandwidth_bytes_per_s, receivers[_i].bandwidth);
    ck_assert_str_eq(f.c.bandwidth_reason, receivers[_i].why);
}
END_TEST

/* ---- ports, paths ---- */

START_TEST(the_port_of_a_migration_is_never_probed)
{
    struct netsel_network n = {.probe_port = 0};
    struct netsel_wish w = {.port_first = 49152, .port_last = 49160};
    ck_assert_uint_eq(netsel_probe_port(&w, &n), 9);
    w = (struct netsel_wish){.port_first = 1, .port_last = 16};
    ck_assert_uint_eq(netsel_probe_port(&w, &n), 17);
    w = (struct netsel_wish){.port_first = 9, .port_last = 9};
    ck_assert_uint_eq(netsel_probe_port(&w, &n), 1);
    w.monitor_port = 1;
    ck_assert_uint_eq(netsel_probe_port(&w, &n), 2);
    n.probe_port = 22;
    ck_assert_uint_eq(netsel_probe_port(&w, &n), 22);
    w.monitor_port = 22;
    ck_assert_uint_eq(netsel_probe_port(&w, &n), 0);
    w = (struct netsel_wish){.port_first = 1, .port_last = 65535};
    n.probe_port = 0;
    ck_assert_uint_eq(netsel_probe_port(&w, &n), 0);
}
END_TEST

START_TEST(no_port_left_is_no_usable_network)
{
    read_networks("a 10.1.0.0/24");
    read_locals(HERE);
    read_destinations(THERE);
    f.w.port_first = 1;
    f.w.port_last = 65535;
    read_answers("");
    netsel_choose(&f.w, &f.facts, &f.c);
    ck_assert_str_eq(f.c.reason, "no usable network: a: no port is left to probe it");
}
END_TEST

START_TEST(a_path_is_planned_once)
{
    read_networks(TWO);
    read_locals(HERE);
    read_destinations("10.1.0.2");
    read_answers("ok");
    read_destinations("10.2.0.2");
    netsel_plan(&f.w, &f.facts);
    netsel_plan(&f.w, &f.facts);
    ck_assert_uint_eq(f.facts.n_paths, 2);
    ck_assert_int_eq(f.facts.path[0].answer, NETSEL_ACCEPTED);
    ck_assert_int_eq(f.facts.path[1].answer, NETSEL_NOT_ASKED);
    ck_assert_uint_eq(f.facts.path[1].network, 1);
    ck_assert_uint_eq(f.facts.path[1].destination, 1);
}
END_TEST

/* More than fits is cut, and said so. */
/* One that was lost comes after all others, and what is said of it stays its own. */
START_TEST(the_lost_one_comes_last)
{
    const char *const answers[] = {"ok ok", "ok failed"};
    read_networks(TWO);
    f.w.network[0].is_last = true;
    read_locals(HERE);
    read_destinations(THERE);
    read_answers(answers[_i]);
    netsel_choose(&f.w, &f.facts, &f.c);
    ck_assert(f.c.is_decided);
    ck_assert_uint_eq(f.c.n, 2);
    ck_assert_str_eq(f.c.candidate[0].name, "mgt");
    ck_assert_int_eq(f.c.chosen, _i);
    ck_assert_ptr_eq(netsel_candidate_of(&f.c, 0), &f.c.candidate[1]);
    ck_assert_ptr_eq(netsel_candidate_of(&f.c, 1), &f.c.candidate[0]);
    ck_assert_ptr_null(netsel_candidate_of(&f.c, 2));
}
END_TEST

START_TEST(everything_has_an_end)
{
    char text[64];
    for (unsigned i = 0; i < NETSEL_NETWORKS_MAX; i++) {
        (void)snprintf(text, sizeof(text), "network-with-a-long-name-number-%u 10.0.0.0/%u",
                       i, 8 + i % 4);
        read_networks(text);
    }
    read_locals("m0 10.0.0.1");
    for (unsigned i = 0; i < NETSEL_DESTINATIONS_MAX; i++) {
        (void)snprintf(text, sizeof(text), "10.0.0.%u", i + 2);
        read_destinations(text);
    }
    netsel_plan(&f.w, &f.facts);
    ck_assert_uint_eq(f.facts.n_paths, NETSEL_PATHS_MAX);
    for (unsigned i = 0; i < f.facts.n_paths; i++)
        f.facts.path[i].answer = NETSEL_FAILED;
    netsel_choose(&f.w, &f.facts, &f.c);
    ck_assert_int_eq(f.c.chosen, -1);
    ck_assert_uint_eq(strlen(f.c.reason), NETSEL_REASON_MAX - 1);
    ck_assert_ptr_nonnull(strstr(f.c.candidate[15].why, "10.0.0.2 was not probed"));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("netsel/netsel");
    TCase *t = tcase_create("choice");
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_loop_test(t, the_rules, 0, COUNT(rules));
    tcase_add_test(t, a_name_that_is_not_resolved_is_waited_for);
    tcase_add_test(t, without_knowledge_of_the_host_nothing_is_usable);
    tcase_add_loop_test(t, the_bandwidth, 0, COUNT(bandwidths));
    tcase_add_loop_test(t, the_other_end_has_a_say, 0, COUNT(receivers));
    tcase_add_test(t, the_port_of_a_migration_is_never_probed);
    tcase_add_test(t, no_port_left_is_no_usable_network);
    tcase_add_test(t, a_path_is_planned_once);
    tcase_add_loop_test(t, the_lost_one_comes_last, 0, 2);
    tcase_add_test(t, everything_has_an_end);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Which network a migration takes, and why: networks in order of preference and what was found
 * out about them in, a choice with the reason of each candidate out.
 *
 * A network is usable when this host has an interface with an address in it that is up with
 * carrier, the destination has an address in it, the kernel would send there from such an address,
 * and the path answers. Networks for migrations come first, in their order; then, unless that is
 * forbidden, those for management.
 *
 * It opens nothing and waits for nothing: netsel/links_uv.h and netsel/probe_uv.h find the facts
 * out, and the same facts give the same choice on any machine, now or from a journal. Core. */
#ifndef QF_NETSEL_NETSEL_H
#define QF_NETSEL_NETSEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "netsel/ip.h"

enum {
    NETSEL_NETWORKS_MAX = 16, /* one more is refused */
    NETSEL_NAME_MAX = 64,
    NETSEL_INTERFACE_MAX = 16, /* Linux: IFNAMSIZ */
    NETSEL_LOCALS_MAX = 64, /* one more is left out, those outside of all networks first */
    NETSEL_DESTINATIONS_MAX = 16, /* one more is left out */
    NETSEL_PATHS_MAX = 64,        /* one more is not probed: it does not answer */
    NETSEL_WHY_MAX = 200,
    NETSEL_REASON_MAX = 400,
    NETSEL_FAULT_MAX = 96,

    NETSEL_PATIENCE_MS = 250, /* so long a silent network holds up a usable one after it */
    NETSEL_ANSWER_MS = 1000,  /* so long an answer may take when there is no other */
    NETSEL_NAMES_MS = 3000,   /* the same for the resolution of names */
    NETSEL_RESERVE_PERCENT = 20 /* of a link that carries management: kept free */
};

/* ---- what is wanted ---- */

enum netsel_role { NETSEL_MIGRATION, NETSEL_MANAGEMENT };

struct netsel_network {
    char name[NETSEL_NAME_MAX];
    struct netsel_cidr cidr;
    enum netsel_role role;
    uint64_t rate_bytes_per_s; /* what a migration may take; 0: not said */
    uint16_t probe_port;       /* 0: the default */
    /* a migration was lost on it: after all others, whatever their role */
    bool is_last;
};

/* All zero: no networks. */
struct netsel_wish {
    struct netsel_network network[NETSEL_NETWORKS_MAX]; /* in order of preference */
    unsigned n;
    bool no_fallback; /* never by a network for management */
    /* Never probed: a plain connection to the port where a QEMU waits for a migration kills it
     * (verified 7.2, 10.0, 11.1). 0: not known, above all privileged ports. */
    uint16_t port_first;
    uint16_t port_last;
    uint16_t
        monitor_port; /* nor this one: a monitor serves one client at a time; 0: none */
};

/* The privileged ports only: where QEMU picks a port itself, it is none of them. */
enum { NETSEL_PROBE_PORT = 9 /* discard, RFC 863 */, NETSEL_PROBE_PORT_MAX = 1023 };

/* The port to probe in this network; 0: each one is among those that are never probed. */
uint16_t netsel_probe_port(const struct netsel_wish *w, const struct netsel_network *n);

/* ---- what was found out ---- */

/* An address of this host. */
struct netsel_local {
    char interface[NETSEL_INTERFACE_MAX];
    struct netsel_ip ip;
    bool up;                    /* set up by the administrator */
    bool carrier;               /* and something is at the other end */
    uint64_t speed_bytes_per_s; /* 0: not known, as of virtual interfaces */
};

/* An address of the destination. */
struct netsel_destination {
    struct netsel_ip ip;
    bool is_monitor; /* its monitor's: counts for networks for management only */
    struct netsel_ip
        source; /* from where this host would send to it; no family: no route */
    char fault[NETSEL_FAULT_MAX]; /* why there is no route */
};

enum netsel_answer {
    NETSEL_NOT_ASKED,
    NETSEL_WAITING,
    NETSEL_ACCEPTED, /* somebody listens there */
    NETSEL_REFUSED,  /* nobody does, and its host has said so: that proves the path, too */
    NETSEL_FAILED    /* fault says what the kernel was told, or that nothing came */
};

/* The way to an address of the destination within a network. */
struct netsel_path {
    unsigned network;     /* of the wish */
    unsigned destination; /* of the facts */
    uint16_t port;
    enum netsel_answer answer;
    uint32_t took_ms;
    char fault[NETSEL_FAULT_MAX];
};

struct netsel_facts {
    struct netsel_local local[NETSEL_LOCALS_MAX];
    unsigned n_locals;
    struct netsel_destination
        destination[NETSEL_DESTINATIONS_MAX]; /* as given, names resolved */
    unsigned n_destinations;
    struct netsel_path path[NETSEL_PATHS_MAX];
    unsigned n_paths;
    bool names_pending;                /* more destinations may come */
    char name_fault[NETSEL_FAULT_MAX]; /* a name that could not be resolved; "": none */
    char fault[NETSEL_FAULT_MAX];      /* why nothing could be found out at all; "" */
    uint32_t waited_ms;                /* since it was begun */
};

/* Add the paths that are worth a probe now and are not there yet, as NETSEL_NOT_ASKED. Which ones
 * that are depends on local, destination and path alone. */
void netsel_plan(const struct netsel_wish *w, struct netsel_facts *f);

/* ---- the choice ---- */

struct netsel_candidate {
    unsigned network; /* of the wish */
    char name[NETSEL_NAME_MAX];
    char address[NETSEL_IP_TEXT]; /* the destination's in it; "": it has none */
    bool usable;
    bool pending; /* not usable because it has not answered yet */
    char why[NETSEL_WHY_MAX];
    uint64_t link_bytes_per_s; /* the configured rate, else the interface's; 0: not known */
};

struct netsel_choice {
    /* More facts may change the answer below, which is that of who must know now. Then ask again
     * when there are more, or at this waited_ms at the latest. */
    bool is_decided;
    uint32_t ask_again_ms;
    int chosen; /* of candidate; -1: none */
    char reason
        [NETSEL_REASON_MAX]; /* a sentence; of every candidate when there is no choice */
    struct netsel_ip from;   /* chosen >= 0: this host's address ... */
    char interface[NETSEL_INTERFACE_MAX]; /* ... from which it is reached */
    uint64_t sending_bytes_per_s;   /* the speed of that interface; 0: not known ... */
    uint64_t receiving_bytes_per_s; /* ... and of the one at the other end ... */
    char receiving[NETSEL_INTERFACE_MAX]; /* ... which is this one; "": not known */
    bool has_reserve;                     /* the way carries management, too */
    uint64_t bandwidth_bytes_per_s; /* what a migration may take of it; 0: not known */
    bool rate_is_configured;        /* by the networks file: somebody vouches for it */
    char bandwidth_reason[NETSEL_WHY_MAX];
    struct netsel_candidate candidate[NETSEL_NETWORKS_MAX]; /* in the order of the rules */
    unsigned n;
};

/* The candidate that is network i of the wish; NULL: none was looked at. */
const struct netsel_candidate *netsel_candidate_of(const struct netsel_choice *c,
                                                   unsigned i);

/* The destination's host has said which interface has the address that was chosen, and how fast it is
 * (0: it does not know): the limit and its reason are made anew. Nothing when there is no choice. */
void netsel_hear_receiver(const struct netsel_wish *w,
                          struct netsel_choice *c,
                          const char *interface,
                          uint64_t speed_bytes_per_s);

/* Choose. Pure, cannot fail; *c is always filled. */
void netsel_choose(const struct netsel_wish *w,
                   const struct netsel_facts *f,
                   struct netsel_choice *c);

#endif

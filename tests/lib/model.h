/* A modelled pair of QEMUs, source and destination, with a guest, a network between them and a
 * virtual clock. It speaks QMP as whole JSON messages, after the greeting; who drives it gives it
 * the time. It behaves as the fact sheet of QEMU 7.2, 10.0 and 11.1 says, as far as a migration
 * engine can see it.
 *
 *   client --model_command--> model --model_pop--> greeting, replies, events, the link's end
 *
 * One model answers in the simulation (tests/sim) and in the fake QEMU on real sockets
 * (tests/fake). The order of everything that happens is total and the same in each run: by time,
 * then by the order in which it was planned. Messages: by time of delivery, then source before
 * destination, then by sequence.
 *
 * It also keeps the truth that no engine sees: where the guest runs, whose copy of it is whole,
 * and the first violation of what must never happen (struct model_truth). */
#ifndef QF_TESTS_MODEL_H
#define QF_TESTS_MODEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "qmp/qapi.h"

enum model_side { MODEL_SRC, MODEL_DST, MODEL_ANY };

enum {
    MODEL_SIDES = 2,
    MODEL_RATES_MAX = 4,
    MODEL_PCI_MAX = 8,
    MODEL_FAULTS_MAX = 8,
    MODEL_OBJECTS_MAX = 3,
    MODEL_TEXT_MAX = 128
};

#define MODEL_NEVER INT64_MAX
#define MODEL_MS    INT64_C(1000000)
#define MODEL_S     INT64_C(1000000000)

enum model_flavour { MODEL_7_2, MODEL_10_0, MODEL_11_1 };

/* ---- what goes wrong, and when ---- */

enum model_when {
    MODEL_AT_TIME,    /* at t_ns */
    MODEL_AT_COMMAND, /* when the n-th command arrives (of that side, of that name) */
    MODEL_AT_MESSAGE  /* when the n-th message (greeting, reply, event) is put out */
};

enum model_what {
    MODEL_NOTHING,
    /* To the command or message itself. */
    MODEL_REFUSE,    /* COMMAND: not carried out, answered with `text` */
    MODEL_LOSE,      /* COMMAND: never arrives; MESSAGE: is never delivered */
    MODEL_DELAY,     /* by for_ns. COMMAND: the main loop stands still, so all later in-band
                        commands wait too. MESSAGE: a reply holds up later in-band replies,
                        an event everything behind it */
    MODEL_DUPLICATE, /* MESSAGE: delivered twice */
    /* To a side. */
    MODEL_DIE,       /* killed; COMMAND: before it is carried out */
    MODEL_DIE_AFTER, /* COMMAND: after it was carried out, its reply lost */
    MODEL_CUT,       /* the monitor's link breaks; what was on its way is lost, commands
                        that arrived are carried out. No new one for for_ns (MODEL_NEVER) */
    MODEL_CUT_LOSE,  /* COMMAND: the same, and the command had not arrived */
    MODEL_STALL,     /* in-band commands are not carried out for for_ns */
    MODEL_COMMANDED, /* a client on another monitor sends the command `text` */
    /* To the network of the migration. */
    MODEL_NET_SILENT, /* nothing gets through for for_ns (0: any more), nobody is told; with
                         `text`: to addresses that have it in them */
    MODEL_NET_RESET,  /* both ends are told at once; other connections are fine */
    MODEL_ACK_LOST,   /* the destination's acknowledgement of the load never arrives */
    MODEL_LOAD_FAILS, /* the destination will refuse the device state */
    /* To the guest on the source. */
    MODEL_POWEROFF,
    MODEL_RESET,
    MODEL_PANIC,
    MODEL_IO_ERROR,
    MODEL_SUSPEND
};

struct model_fault {
    enum model_when when;
    enum model_what what;
    enum model_side side; /* whose command or message is counted, and whom it befalls.
                             MODEL_ANY: both are counted, it befalls the one that it was */
    bool other;           /* it befalls the other side instead */
    const char
        *name;  /* of the command, or of the event; a reply has its command's. NULL: any */
    unsigned n; /* the n-th that matches, from 1; 0 is 1 */
    int64_t t_ns; /* AT_TIME */
    int64_t for_ns;
    const char *text;
};

/* ---- the setup ---- */

struct model_machine {
    enum model_flavour flavour;
    const char *arch;     /* NULL: x86_64; likewise a default below */
    const char *type;     /* pc-i440fx-7.2 */
    const char *cpu_type; /* qemu64-x86_64-cpu */
    const char *uuid;
    unsigned cpus;      /* 0: 2 */
    uint64_t ram_bytes; /* 0: the guest's */
    unsigned n_pci;     /* 0: a small usual set */
    struct qapi_pci_dev pci[MODEL_PCI_MAX];
    uint64_t caps_missing; /* QAPI_CAP_BIT: not offered although this flavour has it */
    uint64_t caps_on;      /* found on: left over from somebody else */
    const char *tls_creds; /* found set, and the object is there; NULL: none */
    const char *tls_hostname;
    const char *blocked;    /* a blocked reason, source */
    const char *no_command; /* this command is not known (CommandNotFound) */
    bool not_qemu;          /* the greeting names no QEMU version */
    bool busy;              /* another client holds the monitor: no greeting */
    bool dead;              /* there is no such process */
    bool no_oob;            /* out-of-band is not offered */
    bool no_postcopy;       /* offered, and refused when it is turned on: userfaultfd */
    bool no_pair;           /* refuses channels with post-copy, as 10.0 does */
    bool no_zstd;           /* built without it */
    int64_t reply_ns;       /* a reply comes so long after the command; 0: 200 us */
};

struct model_setup {
    struct model_machine machine[MODEL_SIDES];
    /* The guest. */
    uint64_t ram_bytes;         /* 0: 1 GiB */
    uint64_t zero_bytes;        /* of it, untouched: costs nothing on the wire */
    uint64_t working_set_bytes; /* what it writes to */
    struct {
        int64_t from_ns;
        uint64_t pages_per_s;
    } rate[MODEL_RATES_MAX]; /* by time, first from 0; pages written, not distinct */
    enum qapi_run_state run; /* source at the beginning; UNKNOWN: running */
    bool no_shutdown;        /* QEMU's -no-shutdown: a power-off pauses */
    /* The destination's start. */
    bool dst_autostart;          /* without -S */
    bool dst_listens;            /* -incoming tcp:...: not deferred */
    enum qapi_run_state dst_run; /* UNKNOWN: inmigrate */
    /* The network. */
    uint64_t link_bytes_per_s; /* 0: 1 GB/s */
    int64_t device_ns;         /* the device state's way and load; 0: 8 ms */
    unsigned compresses_to;    /* percent, by channels with compression; 0: 100 */
    int64_t connect_ns;        /* setup takes; 0: 3 ms */
    int64_t clean_ns;   /* QEMU before 11: from `failed` to the end of clean-up; 0: 30 ms */
    bool dst_hangs;     /* the destination's main loop, while post-copy is interrupted */
    int64_t silence_ns; /* TCP gives up on a silent network; 0: 924 s, as Linux does */
    bool
        cancel_hangs; /* 7.2 with channels: `cancelling` for ever, also when it is yanked */
    bool peer_death_hangs; /* 7.2 with channels: `active` for ever */
    bool no_clear;         /* memory must not move but through TLS */
    bool late_downtime; /* 7.2: total-time and downtime are not told right after the end */
    struct model_fault fault[MODEL_FAULTS_MAX];
    unsigned n_faults;
};

/* ---- the truth ---- */

struct model_truth {
    bool alive[MODEL_SIDES];
    bool running[MODEL_SIDES]; /* the guest's CPUs run there (also when it sleeps) */
    bool whole[MODEL_SIDES];   /* a complete and current copy is there */
    bool split;                /* post-copy: both sides together are the guest */
    bool lost; /* no copy is left; nobody's fault unless violation says so */
    bool ran_on_dst;
    enum qapi_run_state run[MODEL_SIDES];
    enum qapi_mig_status status[MODEL_SIDES];
    uint64_t caps_on[MODEL_SIDES];
    struct qapi_params params[MODEL_SIDES];
    char creds[MODEL_SIDES][MODEL_OBJECTS_MAX]
              [MODEL_TEXT_MAX];     /* ids of objects; "" none */
    char violation[MODEL_TEXT_MAX]; /* the first; "" none */
    int64_t violation_ns;
};

/* ---- messages ---- */

enum model_kind {
    MODEL_GREETING, /* json: {"QMP": ...}; the link is up */
    MODEL_REPLY,    /* json: with "return" or "error", and the id */
    MODEL_EVENT,
    MODEL_DOWN /* the link ended, or could not be opened. json NULL */
};

struct model_msg {
    enum model_kind kind;
    enum model_side side;
    int64_t t_ns;
    json_t *json; /* taken over by who pops it */
    bool heard;   /* DOWN: it is dead, and this came behind all that it said */
    bool
        gone; /* DOWN: nobody listens there any more (on opening only, as a kernel says it) */
    char text[MODEL_TEXT_MAX]; /* DOWN: why */
};

struct model;

/* A model at time 0; setup is copied (its texts are not). NULL without memory. */
struct model *model_new(const struct model_setup *setup);
void model_free(struct model *m);

/* A client connects to a side's monitor, or leaves it. After opening, a MODEL_GREETING or
 * MODEL_DOWN follows (nothing at all when another client holds it). */
void model_open(struct model *m, enum model_side side, int64_t t_ns);
void model_close(struct model *m, enum model_side side, int64_t t_ns);

/* One command. args and id are borrowed, may be NULL. */
void model_command(struct model *m,
                   enum model_side side,
                   const char *name,
                   json_t *args,
                   json_t *id,
                   bool oob,
                   int64_t t_ns);

/* The time of the next thing to happen or to be delivered; MODEL_NEVER. */
int64_t model_next_ns(const struct model *m);

/* Let everything up to and including t happen. Time never goes backwards. */
void model_advance(struct model *m, int64_t t_ns);

/* Take the next message that is due by t_ns (model_advance was called). False: none. */
bool model_pop(struct model *m, int64_t t_ns, struct model_msg *out);

/* Does the network of the migration swallow everything at present? */
bool model_is_silent(const struct model *m);

/* A client connects to the port where the destination waits for a migration (false: it does not listen,
 * or the network is silent), and hangs up before it has used the connection. */
bool model_connect(struct model *m, int64_t t_ns);
void model_hang_up(struct model *m, int64_t t_ns);

/* The destination's process is ended, if it still is there, and a fresh one is started as the first one
 * was; another network takes the place of the one that was lost. Blamed: when the source is still
 * migrating, or the old one had, or may yet get, the guest. */
void model_replace_destination(struct model *m, int64_t t_ns);

/* From outside, now: the same as a fault at this time. */
void model_inject(struct model *m, const struct model_fault *fault, int64_t t_ns);

const struct model_truth *model_truth(struct model *m);

/* How many commands arrived, messages were put out so far (what MODEL_AT_... counts). */
unsigned model_commands(const struct model *m, enum model_side side);
unsigned model_messages(const struct model *m, enum model_side side);

#endif

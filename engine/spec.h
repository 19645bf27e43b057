/* One migration request: what to move, how to reach it, what to do afterwards. The policy is a
 * thing of its own (policy/policy.h). Fixed size, so that the core can hold it. */
#ifndef QF_ENGINE_SPEC_H
#define QF_ENGINE_SPEC_H

#include <stdbool.h>
#include <stdint.h>

#include "netsel/netsel.h"
#include "qmp/qapi.h"

enum {
    SPEC_TEXT_MAX = 256,
    SPEC_ADDRESSES_MAX = 8, /* of the destination; one more is refused */
    SPEC_RETRIES_MAX = 100
};

/* Why `address` is what it is. */
enum spec_address_from {
    SPEC_ADDRESS_DEFAULT, /* the monitor is a UNIX socket: the same host */
    SPEC_ADDRESS_MONITOR, /* where the destination's monitor is */
    SPEC_ADDRESS_GIVEN    /* --destination-address, the first */
};

/* How the guest's memory is encrypted on its way; id, name. */
#define SPEC_ENCRYPTS(X)                                                  \
    X(OFF, "off")   /* by us; QEMU's own settings are left as they are */ \
    X(PSK, "psk")   /* TLS, with a key made for this one move */          \
    X(X509, "x509") /* TLS, with certificates that are there */           \
    X(SSH, "ssh")   /* through a tunnel */

enum spec_encrypt {
#define SPEC_ENCRYPT_ENUM(id, name) SPEC_ENCRYPT_##id,
    SPEC_ENCRYPTS(SPEC_ENCRYPT_ENUM)
#undef SPEC_ENCRYPT_ENUM
        SPEC_ENCRYPT_COUNT
};

/* The preflight checks that `--unsafe` may turn into warnings, and those that it may not: a
 * migration that QEMU cannot do at all, or that would be no migration, stays refused.
 * id, name in records and options, may be waived. */
#define SPEC_CHECKS(X)                               \
    X(SOURCE_STATE, "source-state", false)           \
    X(DESTINATION_STATE, "destination-state", false) \
    X(UNDER_WAY, "under-way", false)                 \
    X(BLOCKED, "blocked-reasons", false)             \
    X(CAPABILITIES, "capabilities", false)           \
    X(ARCHITECTURE, "architecture", false)           \
    X(MACHINE_TYPE, "machine-type", true)            \
    X(MEMORY, "memory-size", true)                   \
    X(CPUS, "cpus", true)                            \
    X(CPU_TYPE, "cpu-type", true)                    \
    X(PCI_DEVICES, "pci-devices", true)              \
    X(NVME_DRIVE, "nvme-drive", true)                \
    X(UUID, "uuid", true)                            \
    X(POSTCOPY, "postcopy", false)                   \
    X(CHANNELS, "channels", false)                   \
    X(ZERO_COPY, "zero-copy", false)                 \
    X(ENCRYPTION, "encryption", false)               \
    X(SELF_START, "self-start", false)

enum spec_check {
#define SPEC_CHECK_ENUM(id, name, waivable) SPEC_CHECK_##id,
    SPEC_CHECKS(SPEC_CHECK_ENUM)
#undef SPEC_CHECK_ENUM
        SPEC_CHECK_COUNT
};

struct mig_spec {
    char source
        [SPEC_TEXT_MAX]; /* the monitors' addresses as given; for messages and the journal */
    char destination[SPEC_TEXT_MAX];
    /* where the destination listens: host name or address. With networks it is that of the one
     * that is chosen, and this is of no account */
    char address[SPEC_TEXT_MAX];
    enum spec_address_from address_from;
    char given[SPEC_ADDRESSES_MAX][SPEC_TEXT_MAX]; /* --destination-address, in order */
    unsigned n_given;
    char monitor_host[SPEC_TEXT_MAX]; /* the destination's; "": a UNIX socket */
    /* --bind: from this address or interface qferry opens the memory's connection; "": QEMU does */
    char bind[SPEC_TEXT_MAX];
    struct netsel_wish networks; /* to choose from; none: address is taken */
    uint16_t port_first;         /* 0: QEMU picks a free one */
    uint16_t port_last;
    /* UINT64_MAX: leave what QEMU is set to; 0: unlimited */
    uint64_t bandwidth_bytes_per_s;
    bool bandwidth_auto;               /* it is UINT64_MAX until the network is chosen */
    bool channels_said;                /* --channels; otherwise the policy's, or chosen */
    uint32_t channels;                 /* 0: one stream */
    enum qapi_compression compression; /* of the channels */
    bool zero_copy;
    unsigned cores;   /* of the host that qferry is on; 0: not known */
    unsigned retries; /* --retries: over another network, when one is lost */
    bool restarts;    /* --restart-destination was given; the command is the driver's */
    uint32_t unsafe;  /* bit 1 << SPEC_CHECK_...: a refusal is a warning */
    bool dry_run;     /* preflight only: changes nothing */
    bool attach;      /* take a move up that is under way; never start one */
    enum spec_encrypt encrypt;
    bool encrypt_by_policy;           /* nobody asked for it but the policy */
    char encrypt_with[SPEC_TEXT_MAX]; /* X509: the folder; SSH: [USER@]HOST[:PORT] */
    bool self_start; /* leave the guest's start on the destination to QEMU */
    bool quit_source;
    bool quit_destination;
};

#define SPEC_BANDWIDTH_HYPERVISOR UINT64_MAX

/* "machine-type", ...; static. */
const char *spec_check_name(enum spec_check c);

/* "off", "psk", ...; static. */
const char *spec_encrypt_name(enum spec_encrypt e);

/* The check of that name that may be waived, or -1: unknown or not to be waived. */
int spec_check_waivable(const char *name);

#endif

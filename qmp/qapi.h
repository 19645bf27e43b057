/* QMP made typed: the commands that qferry sends, the replies and events that it reads.
 *
 * Only what qferry uses is here. What QEMU does not say stays at "unknown"; an enum value that
 * this file does not know decodes to ..._UNKNOWN and never fails: newer QEMUs add states.
 * Encoding and decoding are in qapi_*.c (data: jansson, no I/O); these structs hold no JSON, so
 * that the engine's core can use them.
 *
 * Source of every name: QEMU's qapi/migration.json, run-state.json, machine.json, misc.json,
 * pci.json, yank.json, as in 7.2, 10.0 and 11.1. */
#ifndef QF_QMP_QAPI_H
#define QF_QMP_QAPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    QAPI_TEXT_MAX = 256, /* error texts and reasons; longer ones are cut */
    /* calc-dirty-rate: sample-pages, per GiB (the greatest that QEMU takes is no less:
     * migration/dirtyrate.h) */
    QAPI_SAMPLE_PAGES_MAX = 4096,
    QAPI_NAME_MAX = 96, /* machine types, CPU types, versions */
    QAPI_URI_MAX = 288, /* an address of 255 characters, tcp:[]: and a range of ports */
    QAPI_NVME_MAX = 4,  /* NVMe controllers that are looked at; more are counted only */
    QAPI_PCI_MAX = 64   /* devices that are compared one by one; more are counted only */
};

#define QAPI_UNKNOWN_U64 UINT64_MAX

/* ---- run state (query-status) ---- */

#define QAPI_RUN_STATES(X)              \
    X(DEBUG, "debug")                   \
    X(INMIGRATE, "inmigrate")           \
    X(INTERNAL_ERROR, "internal-error") \
    X(IO_ERROR, "io-error")             \
    X(PAUSED, "paused")                 \
    X(POSTMIGRATE, "postmigrate")       \
    X(PRELAUNCH, "prelaunch")           \
    X(FINISH_MIGRATE, "finish-migrate") \
    X(RESTORE_VM, "restore-vm")         \
    X(RUNNING, "running")               \
    X(SAVE_VM, "save-vm")               \
    X(SHUTDOWN, "shutdown")             \
    X(SUSPENDED, "suspended")           \
    X(WATCHDOG, "watchdog")             \
    X(GUEST_PANICKED, "guest-panicked") \
    X(COLO, "colo")

enum qapi_run_state {
    QAPI_RUN_UNKNOWN, /* not asked yet, or a state that this file does not know */
#define QAPI_RUN_ENUM(id, name) QAPI_RUN_##id,
    QAPI_RUN_STATES(QAPI_RUN_ENUM)
#undef QAPI_RUN_ENUM
};

/* ---- migration status (query-migrate, MIGRATION) ---- */

#define QAPI_MIG_STATUSES(X)                                                           \
    X(NONE,                                                                            \
      "none") /* also when query-migrate names no status: never migrated, or 7.2's   \
                       destination while it listens */ \
    X(SETUP, "setup")                                                                  \
    X(WAIT_UNPLUG, "wait-unplug")                                                      \
    X(ACTIVE, "active")                                                                \
    X(PRE_SWITCHOVER, "pre-switchover")                                                \
    X(DEVICE, "device")                                                                \
    X(POSTCOPY_DEVICE, "postcopy-device")                                              \
    X(POSTCOPY_ACTIVE, "postcopy-active")                                              \
    X(POSTCOPY_PAUSED, "postcopy-paused")                                              \
    X(POSTCOPY_RECOVER_SETUP, "postcopy-recover-setup")                                \
    X(POSTCOPY_RECOVER, "postcopy-recover")                                            \
    X(COMPLETED, "completed")                                                          \
    X(CANCELLING, "cancelling")                                                        \
    X(CANCELLED, "cancelled")                                                          \
    X(FAILING, "failing")                                                              \
    X(FAILED, "failed")                                                                \
    X(COLO, "colo")

enum qapi_mig_status {
    QAPI_MIG_UNKNOWN,
#define QAPI_MIG_ENUM(id, name) QAPI_MIG_##id,
    QAPI_MIG_STATUSES(QAPI_MIG_ENUM)
#undef QAPI_MIG_ENUM
};

/* ---- capabilities ---- */

#define QAPI_CAPS(X)                                      \
    X(EVENTS, "events")                                   \
    X(RETURN_PATH, "return-path")                         \
    X(PAUSE_BEFORE_SWITCHOVER, "pause-before-switchover") \
    X(LATE_BLOCK_ACTIVATE, "late-block-activate")         \
    X(VALIDATE_UUID, "validate-uuid")                     \
    X(AUTO_CONVERGE, "auto-converge")                     \
    X(POSTCOPY_RAM, "postcopy-ram")                       \
    X(POSTCOPY_PREEMPT, "postcopy-preempt")               \
    X(MULTIFD, "multifd")                                 \
    X(XBZRLE, "xbzrle")                                   \
    X(X_COLO, "x-colo")                                   \
    X(BACKGROUND_SNAPSHOT, "background-snapshot")         \
    X(RELEASE_RAM, "release-ram")                         \
    X(RDMA_PIN_ALL, "rdma-pin-all")                       \
    X(ZERO_COPY_SEND, "zero-copy-send")                   \
    X(MAPPED_RAM, "mapped-ram")                           \
    X(COMPRESS, "compress")                               \
    X(BLOCK, "block")                                     \
    X(X_IGNORE_SHARED, "x-ignore-shared")                 \
    X(DIRTY_LIMIT, "dirty-limit")                         \
    X(SWITCHOVER_ACK, "switchover-ack")

enum qapi_cap {
#define QAPI_CAP_ENUM(id, name) QAPI_CAP_##id,
    QAPI_CAPS(QAPI_CAP_ENUM)
#undef QAPI_CAP_ENUM
        QAPI_CAP_COUNT
};

#define QAPI_CAP_BIT(id) (UINT64_C(1) << (unsigned)QAPI_CAP_##id)

struct qapi_caps {
    uint64_t offered; /* QAPI_CAP_BIT of each that this QEMU knows */
    uint64_t on;
};

/* ---- parameters; units of numbers are QEMU's (ms, bytes per second, percent) ---- */

#define QAPI_PARAMS(X)                                                          \
    X(DOWNTIME_LIMIT, "downtime-limit")                                         \
    X(MAX_BANDWIDTH, "max-bandwidth")                                           \
    X(MAX_POSTCOPY_BANDWIDTH, "max-postcopy-bandwidth")                         \
    X(CPU_THROTTLE_INITIAL, "cpu-throttle-initial")                             \
    X(CPU_THROTTLE_INCREMENT, "cpu-throttle-increment")                         \
    X(MAX_CPU_THROTTLE, "max-cpu-throttle")                                     \
    X(THROTTLE_TRIGGER_THRESHOLD, "throttle-trigger-threshold")                 \
    X(MULTIFD_CHANNELS, "multifd-channels")                                     \
    /* a word in QMP, an enum qapi_compression here */                          \
    X(MULTIFD_COMPRESSION, "multifd-compression")                               \
    X(AVAIL_SWITCHOVER_BANDWIDTH, "avail-switchover-bandwidth") /* since 8.2 */ \
    X(X_CHECKPOINT_DELAY, "x-checkpoint-delay")                 /* COLO's, in ms */

enum qapi_param {
#define QAPI_PARAM_ENUM(id, name) QAPI_PARAM_##id,
    QAPI_PARAMS(QAPI_PARAM_ENUM)
#undef QAPI_PARAM_ENUM
        QAPI_PARAM_COUNT
};

/* multifd-compression. The last three need hardware, and a QEMU that was built for it; they are
 * here so that what is found can be put back. */
#define QAPI_COMPRESSIONS(X) \
    X(NONE, "none")          \
    X(ZLIB, "zlib")          \
    X(ZSTD, "zstd")          \
    X(QATZIP, "qatzip")      \
    X(QPL, "qpl")            \
    X(UADK, "uadk")

enum qapi_compression {
#define QAPI_COMPRESSION_ENUM(id, name) QAPI_COMPRESSION_##id,
    QAPI_COMPRESSIONS(QAPI_COMPRESSION_ENUM)
#undef QAPI_COMPRESSION_ENUM
        QAPI_COMPRESSION_COUNT
};

/* Those that are texts; "" is not set (qapi/migration.json, since 2.7). */
#define QAPI_TEXT_PARAMS(X)   \
    X(TLS_CREDS, "tls-creds") \
    X(TLS_HOSTNAME, "tls-hostname")

enum qapi_text_param {
#define QAPI_TEXT_PARAM_ENUM(id, name) QAPI_TEXT_PARAM_##id,
    QAPI_TEXT_PARAMS(QAPI_TEXT_PARAM_ENUM)
#undef QAPI_TEXT_PARAM_ENUM
        QAPI_TEXT_PARAM_COUNT
};

struct qapi_params {
    /* bit 1 << QAPI_PARAM_... : value is given (command) or offered (reply) */
    uint32_t has;
    uint64_t value[QAPI_PARAM_COUNT];
    /* likewise, bit 1 << QAPI_TEXT_PARAM_... ; a text that is too long for this counts as not
     * offered, since it could not be put back */
    uint32_t has_text;
    char text[QAPI_TEXT_PARAM_COUNT][QAPI_TEXT_MAX];
};

/* ---- TLS credentials: objects that can be added to a running QEMU (qapi/crypto.json) ---- */

enum qapi_creds { QAPI_CREDS_PSK, QAPI_CREDS_X509 };

enum { QAPI_DIR_MAX = 256 };

/* The user in keys.psk, and what a client says that it is. */
#define QAPI_CREDS_USER "qferry"

/* ---- commands ---- */

/* id, QMP name, may go out of band */
#define QAPI_COMMANDS(X)                                                    \
    X(QUERY_STATUS, "query-status", false)                                  \
    X(QUERY_MIGRATE, "query-migrate", false)                                \
    X(QUERY_TARGET, "query-target", false)                                  \
    X(QUERY_MACHINE, "qom-get", false) /* /machine, type */                 \
    X(QUERY_MEMORY, "query-memory-size-summary", false)                     \
    X(QUERY_CPUS, "query-cpus-fast", false)                                 \
    X(QUERY_CPU_TYPE, "qom-get", false) /* the first CPU, type */           \
    X(QUERY_UUID, "query-uuid", false)                                      \
    X(QUERY_PCI, "query-pci", false)                                        \
    X(QUERY_NVME, "qom-list", false) /* a folder of devices */              \
    X(QUERY_DRIVE, "qom-get", false) /* a device, drive */                  \
    X(QUERY_CAPS, "query-migrate-capabilities", false)                      \
    X(QUERY_PARAMS, "query-migrate-parameters", false)                      \
    X(QUERY_YANK, "query-yank", true)                                       \
    X(CALC_DIRTY_RATE, "calc-dirty-rate", false)                            \
    X(QUERY_DIRTY_RATE, "query-dirty-rate", false)                          \
    X(SET_CAPS, "migrate-set-capabilities", false)                          \
    X(SET_PARAMS, "migrate-set-parameters", false)                          \
    X(OBJECT_ADD, "object-add", false)                                      \
    X(OBJECT_DEL, "object-del", false)                                      \
    X(STOP, "stop", false)                                                  \
    X(CONT, "cont", false)                                                  \
    X(QUIT, "quit", false)                                                  \
    X(MIGRATE_INCOMING, "migrate-incoming", false)                          \
    X(MIGRATE, "migrate", false)                                            \
    X(MIGRATE_CANCEL, "migrate_cancel", false)                              \
    X(MIGRATE_CONTINUE, "migrate-continue", false)                          \
    X(MIGRATE_START_POSTCOPY, "migrate-start-postcopy", false)              \
    X(MIGRATE_PAUSE, "migrate-pause", true)                                 \
    X(MIGRATE_RECOVER, "migrate-recover", true)                             \
    X(MIGRATE_RESUME, "migrate", false) /* resume: true */                  \
    X(GETFD, "getfd", false)            /* the descriptor went before it */ \
    X(CLOSEFD, "closefd", false)                                            \
    X(YANK, "yank", true) /* the instance of type migration */

/* GETFD, CLOSEFD: the name of the descriptor, as in `migrate fd:NAME`. */
#define QAPI_STREAM_NAME "qferry-stream"

enum qapi_command {
#define QAPI_COMMAND_ENUM(id, name, oob) QAPI_##id,
    QAPI_COMMANDS(QAPI_COMMAND_ENUM)
#undef QAPI_COMMAND_ENUM
        QAPI_COMMAND_COUNT
};

/* One command with its arguments. */
struct qapi_cmd {
    enum qapi_command command;
    union {
        struct { /* SET_CAPS: those in mask are set to their bit in on */
            uint64_t mask;
            uint64_t on;
        } caps;
        struct qapi_params params; /* SET_PARAMS */
        struct { /* MIGRATE, MIGRATE_INCOMING, MIGRATE_RECOVER, MIGRATE_RESUME */
            char uri[QAPI_URI_MAX];
            /* INCOMING: exit-on-error false (since 9.1): the destination can then be asked
             * why it failed */
            bool stay_on_error;
        } migrate;
        struct { /* OBJECT_ADD; OBJECT_DEL: the id alone */
            char id[QAPI_TEXT_MAX];
            enum qapi_creds kind;
            bool server;            /* the side that listens */
            char dir[QAPI_DIR_MAX]; /* as that QEMU sees it */
        } object;
        char path[QAPI_NAME_MAX]; /* QUERY_CPU_TYPE, QUERY_NVME, QUERY_DRIVE: QOM path */
        /* CALC_DIRTY_RATE: for so long. By sampling pages: the other modes crash 7.2 under TCG
         * (fact sheet 0, rule 9) */
        struct {
            uint32_t seconds;
            uint32_t pages_per_gib; /* 128 to QAPI_SAMPLE_PAGES_MAX */
        } calc;
    } u;
};

/* ---- replies ---- */

struct qapi_migrate {
    enum qapi_mig_status status;
    bool has_ram;
    uint64_t total_bytes;
    uint64_t remaining_bytes;
    uint64_t transferred_bytes;
    uint64_t walked_bytes; /* (normal + duplicate) pages x page size: what was handled */
    uint64_t normal_bytes; /* normal pages x page size: before any compression */
    uint64_t dirty_pages_per_s;
    uint64_t page_bytes;
    uint64_t dirty_sync_count;
    uint64_t bandwidth_bytes_per_s; /* from mbps (10^6 bits per second) */
    uint64_t postcopy_requests;
    uint64_t expected_downtime_ms; /* QAPI_UNKNOWN_U64: absent, or 11.1's INT64_MAX */
    uint64_t downtime_ms; /* QAPI_UNKNOWN_U64 when absent (7.2: also just after the end) */
    uint64_t total_ms;    /* likewise */
    uint64_t setup_ms;
    uint32_t throttle_percent;
    bool blocked; /* blocked-reasons is there: the first of them below */
    char blocked_reason[QAPI_TEXT_MAX];
    char error_desc
        [QAPI_TEXT_MAX]; /* "" when absent. Its presence is not a failure (10.0 on) */
    char listen_host[QAPI_NAME_MAX]; /* destination while it listens; "" otherwise */
    char listen_port[8];
};

struct qapi_pci_dev {
    uint32_t bus, slot, function;
    uint32_t vendor, device, subsystem;
};

struct qapi_pci {
    uint32_t count;                        /* all devices, also those that did not fit */
    uint32_t nvme;                         /* of these, NVMe controllers */
    struct qapi_pci_dev dev[QAPI_PCI_MAX]; /* sorted by address */
};

struct qapi_reply {
    enum qapi_command command; /* whose reply this is: selects the member */
    bool refused; /* QEMU answered with an error: the texts below, nothing else */
    char error_class[QAPI_NAME_MAX];
    char error_desc[QAPI_TEXT_MAX];
    union {
        enum qapi_run_state run; /* QUERY_STATUS */
        struct qapi_migrate migrate;
        struct qapi_caps caps;
        struct qapi_params params;
        char text
            [QAPI_NAME_MAX]; /* QUERY_TARGET, _MACHINE (without "-machine"), _CPU_TYPE, _UUID,
                              * _DRIVE ("": none) */
        uint64_t memory_bytes; /* QUERY_MEMORY: base + plugged */
        struct {
            uint32_t count;
            char path[QAPI_NAME_MAX]; /* QOM path of the first */
        } cpus;
        struct qapi_pci pci;
        struct { /* QUERY_NVME: those in that folder, by name */
            uint32_t count;
            char name[QAPI_NVME_MAX][QAPI_NAME_MAX];
        } nvme;
        struct { /* QUERY_DIRTY_RATE */
            bool measured;
            uint64_t bytes_per_s; /* different pages, by the whole of the time */
        } dirty;
        bool yank_migration; /* QUERY_YANK: an instance of type migration is there */
    } u;
};

/* ---- greeting ---- */

struct qapi_version {
    uint32_t major, minor, micro;
    char package[QAPI_NAME_MAX];
};

/* ---- events ---- */

#define QAPI_EVENTS(X)                  \
    X(MIGRATION, "MIGRATION")           \
    X(MIGRATION_PASS, "MIGRATION_PASS") \
    X(STOP, "STOP")                     \
    X(RESUME, "RESUME")                 \
    X(SHUTDOWN, "SHUTDOWN")             \
    X(RESET, "RESET")                   \
    X(SUSPEND, "SUSPEND")               \
    X(SUSPEND_DISK, "SUSPEND_DISK")     \
    X(WAKEUP, "WAKEUP")                 \
    X(GUEST_PANICKED, "GUEST_PANICKED") \
    X(BLOCK_IO_ERROR, "BLOCK_IO_ERROR") \
    X(DEVICE_DELETED, "DEVICE_DELETED")

enum qapi_event_kind {
    QAPI_EVENT_OTHER, /* journaled, of no consequence */
#define QAPI_EVENT_ENUM(id, name) QAPI_EVENT_##id,
    QAPI_EVENTS(QAPI_EVENT_ENUM)
#undef QAPI_EVENT_ENUM
};

struct qapi_event {
    enum qapi_event_kind kind;
    enum qapi_mig_status status; /* MIGRATION */
    uint64_t pass;               /* MIGRATION_PASS */
    bool guest;                  /* SHUTDOWN, RESET: the guest's own doing */
    /* SHUTDOWN, RESET; DEVICE_DELETED: its id, or its path when it has none */
    char reason[QAPI_NAME_MAX];
};

/* ---- names; all live for ever ---- */
const char *qapi_run_name(enum qapi_run_state s);  /* "?" for UNKNOWN */
const char *qapi_mig_name(enum qapi_mig_status s); /* "?" for UNKNOWN */
/* And back. UNKNOWN: NULL, or a word that is none of them. */
enum qapi_run_state qapi_run_of(const char *name);
enum qapi_mig_status qapi_mig_of(const char *name);
const char *qapi_cap_name(enum qapi_cap c);
const char *qapi_param_name(enum qapi_param p);
const char *qapi_compression_name(enum qapi_compression c);
/* The method of that name, or QAPI_COMPRESSION_COUNT. */
enum qapi_compression qapi_compression_of(const char *name);
const char *qapi_text_param_name(enum qapi_text_param p);
const char *qapi_command_name(enum qapi_command c);
bool qapi_command_oob(enum qapi_command c);

#endif

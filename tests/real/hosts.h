/* Two hosts for real QEMUs: network namespaces, joined by veth pairs. Needs root and iproute2.
 *
 *        source (ns)                     destination (ns)
 *          mig0  10.77.1.1, fd00:77::1 --- 10.77.1.2, fd00:77::2   the network for migrations
 *          mgt0  10.77.2.1 --------------- 10.77.2.2               for management
 *          hole0 10.77.3.1 --------------- 10.77.3.2               packets go in, nothing comes out
 *          one0  10.77.4.1 ---------------                         an address on one side only
 *
 * Namespaces are named by our process and removed by a child that outlives us, however we end. */
#ifndef QF_TESTS_REAL_HOSTS_H
#define QF_TESTS_REAL_HOSTS_H

#include "tests/real/move.h"

struct hosts {
    char src_ns[32];
    char dst_ns[32];
    const char *prefix[5]; /* of what runs on the source's host */
    char src_qemu[LAB_PATH_MAX];
    char dst_qemu[LAB_PATH_MAX];
};

extern struct hosts hosts;

/* In a checked fixture: after world_open, and after world_close. Sets w->prefix. */
void hosts_open(struct world *w);
void hosts_close(void);

/* Run a shell command; it must succeed. $S and $D are the namespaces. */
void hosts_sh(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The kernel takes its time to say that a link is up again. */
void hosts_wait_for_link(const char *name);

/* From now on what the source's host sends to 10.77.NET.2 is sent to an Ethernet address that nobody
 * has, and that was it: no carrier is lost and nobody is told. */
void hosts_make_black_hole(const char *interface, unsigned net);

/* A machine that waits on the destination's host. */
struct lab_vm *hosts_destination(struct world *w);

/* A booted guest on the source's host, and a destination. */
void hosts_pair(struct world *w, const char *append);

/* Bytes that an interface of the destination's host has received. */
long long hosts_received(const char *interface);

/* Why there can be no hosts here, or NULL. Only under one of the main functions below. */
const char *hosts_missing(void);

/* main(): skip with a reason where there can be no namespaces. */
int hosts_main(Suite *(*suite)(void));

/* main() where only some of the tests need hosts: `suite` asks hosts_missing(), and leaves them out. */
int hosts_main_partly(Suite *(*suite)(void));

#endif

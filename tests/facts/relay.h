/* What stands between a source and a destination on this machine: a relay of TCP connections that can hold
 * back the bytes of either way, stop reading them, and cut either end alone. So a state that QEMU shows for
 * milliseconds stays for as long as a test looks at it, without root. One relay at a time; a thread of its
 * own. Functions assert with Check. */
#ifndef QF_TESTS_FACTS_RELAY_H
#define QF_TESTS_FACTS_RELAY_H

#include <stdint.h>

enum relay_way { TO_DST = 1, TO_SRC = 2, BOTH_WAYS = 3 };

/* Listen; returns the port. Who comes is connected to port `target` of the loopback; 0: what comes is
 * swallowed, and nothing is ever said. */
uint16_t relay_open(uint16_t target);
void relay_close(void); /* also when none is open */

/* For the connections that are still to come. */
void relay_aim(uint16_t target);

/* Keep the bytes of these ways, and that their connection has ended, until they are let go. The sender sees
 * them taken. */
void relay_hold(unsigned ways);
void relay_let(unsigned ways);

/* Read no more from the source, so that its writes block; relay_let() undoes it. */
void relay_clog(void);

/* Reset the connections' ends at the destination (TO_DST), at the source (TO_SRC) or both. An end that is
 * left hears nothing more, and is not told. */
void relay_cut(unsigned ends);

/* Bytes that the source has sent. */
uint64_t relay_sent(void);

/* A port of the loopback that was free a moment ago. */
uint16_t relay_free_port(void);

#endif

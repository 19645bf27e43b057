/* What goes over the loopback of a network namespace of the test's own, looked at: is the guest's
 * memory in it? Needs root. Functions assert with Check. */
#ifndef QF_TESTS_REAL_WIRE_H
#define QF_TESTS_REAL_WIRE_H

#include <stdint.h>

/* What was seen between the two. */
struct wire {
    uint64_t bytes;
    uint64_t lost;   /* packets that nobody has looked at */
    uint64_t pieces; /* of the guest's memory */
};

/* This process, and what it starts from now on, has a network of its own: a loopback that is up. */
void wire_alone(void);

/* From here ... */
void wire_open(void);

/* ... to here; again, or without wire_open(): nothing happens. */
void wire_close(void);

extern struct wire wire;

#endif

/* COM1. Two kinds of output share it: lines of text and ticks (one '.' each).
 *
 * A line is sent as one piece with interrupts off, so no tick can fall into it, and it starts with
 * a line end of its own when the byte before it was a tick. Hence on the wire every text stands
 * alone on its line, and a line that starts with '.' holds ticks only. */
#ifndef QF_TESTS_REAL_GUEST_SERIAL_H
#define QF_TESTS_REAL_GUEST_SERIAL_H

#include <stdbool.h>

#include "text.h"

void serial_init(void);

/* Send a line; the line end is added. From the main program only. */
void serial_line(const struct line *l);

/* Send one tick; dropped when the line is busy, never waits. From the interrupt handler only. */
void serial_tick(void);

/* Take in what has arrived. From the interrupt handler only. */
void serial_receive(void);

/* The next byte that has arrived, or -1. */
int serial_next(void);
bool serial_has_next(void);

#endif

/* Output that never holds up a migration: what is printed goes into a bounded queue, and a thread
 * of its own writes it to stdout and stderr. A reader that stops reading (a full pipe, Ctrl-S on a
 * terminal) then costs lines, never blackout: when the queue is full, further lines are dropped
 * and counted, and one line says so once there is room again. Only tools/ includes it. */
#ifndef QF_TOOLS_OUTPUT_H
#define QF_TOOLS_OUTPUT_H

#include <stdio.h>

struct output;

/* Start the thread. NULL without memory. */
struct output *output_open(void);

/* Streams that write into the queue; fflush passes on what was written since the last one, whole.
 * Owned by the output. */
FILE *output_stdout(struct output *o);
FILE *output_stderr(struct output *o);

/* Write what is queued to the end (this does wait for the reader), stop, free. */
void output_close(struct output *o);

#endif

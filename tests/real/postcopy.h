/* Post-copy that lasts, and is interrupted: what the tests of it share. Functions assert with Check. */
#ifndef QF_TESTS_REAL_POSTCOPY_H
#define QF_TESTS_REAL_POSTCOPY_H

#include "tests/real/move.h"

/* Options of a post-copy that takes a quarter of a minute with "ws=24 flat", until it is let loose. */
#define POSTCOPY_SLOWLY \
    "-p", "post-copy", "--set", "postcopy.bandwidth=2MiB", "--bandwidth", "40MiB"

/* A pair of machines, and a move between them that is in such a post-copy. */
struct move *postcopy_begin(struct world *w);

/* Wait until the guest runs on w->dst and most of its memory is on w->src. Both machines' events up
 * to then are passed over. */
void postcopy_wait_begun(struct move *m);

/* Wait for a MIGRATION event with this status. When it does not come, everything is shown. */
void postcopy_wait_status(struct world *w, struct lab_vm *vm, const char *status);

/* What is left goes as fast as it can. */
void postcopy_let_loose(struct world *w);

/* It is interrupted, or has been: wait until it goes on, let it loose, and wait for the end: the
 * guest is whole on the destination, and this move has recovered it. */
void postcopy_expect_recovered(struct move *m);

#endif

/* A straight phase as a table: what to ask, of which side, what the answer means, how to undo it.
 *
 * Rows start in order, as many at a time as their barriers allow: a row with `after` waits until
 * all rows above it were answered. Unwinding is the same table read upwards: every row that was
 * begun and has an undo, without waiting (QEMU keeps the order); a refusal there is told, and
 * the unwinding goes on.
 *
 * Core. Used by the phase_*.c files. */
#ifndef QF_ENGINE_RECIPE_H
#define QF_ENGINE_RECIPE_H

#include "engine/mig.h"

struct step {
    const char *name;
    enum mig_side_id side;
    bool after; /* waits for all rows above */
    /* Applies at all? NULL: always. */
    bool (*when)(const struct mig *m, enum mig_side_id side);
    /* Fill the command. Returns false when there is nothing to ask after all. */
    bool (*ask)(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd);
    /* Take the answer. Returns 0, or -1 after mig_fail: the recipe fails. NULL: a refusal fails
     * the recipe with QEMU's text, everything else is fine. */
    int (*heard)(struct mig *m,
                 enum mig_side_id side,
                 const struct qapi_reply *r,
                 struct mig_todo *todo);
    /* Fill the command that takes it back; false: nothing to take back. NULL: no undo. */
    bool (*undo)(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd);
};

enum recipe_state { RECIPE_RUNNING, RECIPE_DONE, RECIPE_FAILED };

/* Begin a table. At most 32 rows (asserted). */
void recipe_begin(struct mig *m, const struct step *steps, unsigned n);

/* Start what may start; take ev (a reply to one of its rows) in. */
enum recipe_state recipe_run(struct mig *m,
                             const struct mig_event *ev,
                             struct mig_todo *todo);

/* Turn round: from now on recipe_run takes back, until RECIPE_DONE. Fine without a recipe. */
void recipe_unwind(struct mig *m);

#endif

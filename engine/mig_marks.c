/* Marks: what the next qferry has to know of a move that it takes up, and QEMU has no word for. qferry
 * leaves it in the source's QEMU as an odd value of a parameter that means nothing there meanwhile: its
 * journal may be gone, the guest's QEMU is not. A mark is put back in the end like any parameter that was
 * changed; one that is found was left by another qferry, and what was there before it is not known: QEMU's
 * own default is put back then. */
#include "engine/mig_priv.h"

static const struct mark {
    enum qapi_param param;
    uint64_t value;
    uint64_t otherwise; /* QEMU's own default (migration/options.c) */
} marks[] = {
    /* Since QEMU 5.0. Says from how much dirt on auto-converge throttles a guest: one that is stopped
     * has none. */
    [MIG_MARK_STOPPED] = {QAPI_PARAM_THROTTLE_TRIGGER_THRESHOLD, 97, 50},
    /* Since 2.8, 11.1 takes it still. The delay between COLO's checkpoints in ms: means nothing to a
     * migration without COLO (qapi/migration.json). */
    [MIG_MARK_SELF_START] = {QAPI_PARAM_X_CHECKPOINT_DELAY, 19937, 20000},
};

enum qapi_param mig_mark_param(enum mig_mark mark)
{
    return marks[mark].param;
}

static uint32_t bit_of(enum mig_mark mark)
{
    return 1U << (unsigned)marks[mark].param;
}

bool mig_has_mark(const struct qapi_params *p, enum mig_mark mark)
{
    return (p->has & bit_of(mark)) && p->value[marks[mark].param] == marks[mark].value;
}

bool mig_can_mark(const struct mig *m, enum mig_mark mark)
{
    return (m->side[MIG_SRC].params_found.has & bit_of(mark)) != 0;
}

void mig_put_mark(struct qapi_params *p, enum mig_mark mark)
{
    p->has |= bit_of(mark);
    p->value[marks[mark].param] = marks[mark].value;
}

bool mig_take_mark(struct mig *m, enum mig_mark mark)
{
    struct mig_side *src = &m->side[MIG_SRC];
    if (!mig_has_mark(&src->params_found, mark))
        return false;
    src->params_found.value[marks[mark].param] = marks[mark].otherwise;
    src->params_changed |= bit_of(mark);
    return true;
}

void mig_clear_taken_mark(const struct mig *m, struct qapi_params *p, enum mig_mark mark)
{
    if (!(m->side[MIG_SRC].params_changed & bit_of(mark)))
        return;
    p->has |= bit_of(mark);
    p->value[marks[mark].param] = marks[mark].otherwise;
}

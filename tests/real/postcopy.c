#include "tests/real/postcopy.h"

struct move *postcopy_begin(struct world *w)
{
    world_pair(w, "ws=24 flat");
    struct move *m = move_begin(w, ARGS(POSTCOPY_SLOWLY));
    postcopy_wait_begun(m);
    return m;
}

void postcopy_wait_begun(struct move *m)
{
    move_wait_phase(m, "postcopy");
    ck_assert_int_eq(lab_wait_event(m->w->dst, "RESUME", NULL, NULL, 0), 0);
    lab_events_mark(m->w->src);
    lab_events_mark(m->w->dst);
}

void postcopy_wait_status(struct world *w, struct lab_vm *vm, const char *status)
{
    if (lab_wait_event(vm, "MIGRATION", "status", status, 0) == 0)
        return;
    lab_vm_dump(w->src);
    lab_vm_dump(w->dst);
    for (unsigned i = 0; i < w->n_moves; i++)
        lab_proc_dump(w->moves[i].proc);
    ck_abort_msg("no %s", status);
}

void postcopy_let_loose(struct world *w)
{
    ck_assert_int_eq(
        lab_qmp_ok(w->src, "migrate-set-parameters", "{\"max-postcopy-bandwidth\": 0}"), 0);
}

void postcopy_expect_recovered(struct move *m)
{
    struct world *w = m->w;

    postcopy_wait_status(w, w->src, "postcopy-active");
    postcopy_let_loose(w);
    move_end(m);
    move_expect(m, 0, "completed", "destination");
    ck_assert(move_has(m, "decision", "action", "recover"));
    expect_guest_on(w, w->dst);
}

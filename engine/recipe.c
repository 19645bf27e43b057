/* Recipes: tables run forwards, and unwound backwards. See recipe.h. */
#include "engine/recipe.h"

#include <assert.h>

#include "engine/mig_priv.h"

#define BIT(i) (UINT32_C(1) << (i))

void recipe_begin(struct mig *m, const struct step *steps, unsigned n)
{
    assert(n <= 32);
    m->recipe = (struct recipe_run){.steps = steps, .n = n};
    for (struct mig_ask *a = m->ask; a < m->ask + MIG_ASKS_MAX; a++)
        a->row = -1;
}

void recipe_unwind(struct mig *m)
{
    m->recipe.unwinding = true;
    m->recipe.next = m->recipe.n;
    m->recipe.open = 0; /* answers to what was asked before are of no interest any more */
    for (struct mig_ask *a = m->ask; a < m->ask + MIG_ASKS_MAX; a++)
        a->row = -1;
}

static int row_of(const struct mig *m, const struct mig_event *ev)
{
    return ev->kind == MIG_EV_REPLY || ev->kind == MIG_EV_LATE ? m->heard_row : -1;
}

static int hear(struct mig *m,
                const struct step *s,
                const struct mig_event *ev,
                struct mig_todo *todo)
{
    if (s->heard)
        return s->heard(m, s->side, &ev->u.reply, todo);
    if (!ev->u.reply.refused)
        return 0;
    mig_fail(m, OUTCOME_FAILED, QF_E_QMP, "%s: %s: %s", mig_side_name(s->side),
             qapi_command_name(ev->u.reply.command), ev->u.reply.error_desc);
    return -1;
}

static void run_forwards(struct mig *m, struct mig_todo *todo)
{
    struct recipe_run *r = &m->recipe;
    while (r->next < r->n) {
        const struct step *s = &r->steps[r->next];
        if (s->after && r->open != 0)
            return;
        struct qapi_cmd cmd = {.command = QAPI_COMMAND_COUNT};
        /* Begun although there is nothing to ask now: what is changed later is undone here, too. */
        r->begun |= BIT(r->next);
        /* PREFLIGHT may have one side only (mig_memory.c); elsewhere a lost one ends the recipe. */
        if (m->side[s->side].link == MIG_LINK_UP && (!s->when || s->when(m, s->side)) &&
            s->ask(m, s->side, &cmd)) {
            r->open |= BIT(r->next);
            (void)mig_send(m, todo, s->side, &cmd, (int)r->next);
        }
        r->next++;
    }
}

static void run_backwards(struct mig *m, struct mig_todo *todo)
{
    struct recipe_run *r = &m->recipe;
    bool told[MIG_SIDES] = {false};
    while (r->next > 0) {
        const struct step *s = &r->steps[--r->next];
        struct qapi_cmd cmd = {.command = QAPI_COMMAND_COUNT};
        const struct mig_side *side = &m->side[s->side];
        if (!(r->begun & BIT(r->next)) || !s->undo || side->gone ||
            !s->undo(m, s->side, &cmd))
            continue;
        if (side->link != MIG_LINK_UP || side->silent) { /* it would be waited for again */
            /* of a destination that came to nothing nobody wants to know */
            if (!told[s->side] && (s->side == MIG_SRC || m->handed_over))
                mig_warn(
                    todo,
                    "the %s does not answer: what was set there for the move is not put "
                    "back",
                    mig_side_name(s->side));
            told[s->side] = true;
            continue;
        }
        r->open |= BIT(r->next);
        (void)mig_send(m, todo, s->side, &cmd, (int)r->next);
    }
}

/* A source that goes on with settings that are not its own is worth a warning. A destination
 * that was listened on is of no use any more: a note. */
static void tell_not_undone(const struct step *s,
                            const struct mig_event *ev,
                            struct mig_todo *todo)
{
    const char *why = ev->kind == MIG_EV_LATE ? "no answer" : ev->u.reply.error_desc;
    if (s->side == MIG_SRC)
        mig_warn(todo, "source: %s could not be put back: %s", s->name, why);
    else
        mig_note(todo, "destination: %s could not be put back: %s", s->name, why);
}

enum recipe_state recipe_run(struct mig *m,
                             const struct mig_event *ev,
                             struct mig_todo *todo)
{
    struct recipe_run *r = &m->recipe;
    const int row = row_of(m, ev);
    if (row >= 0 && (r->open & BIT((unsigned)row))) {
        const struct step *s = &r->steps[row];
        r->open &= ~BIT((unsigned)row);
        if (r->unwinding) {
            if (ev->kind == MIG_EV_LATE || ev->u.reply.refused)
                tell_not_undone(s, ev, todo);
        } else if (ev->kind == MIG_EV_REPLY && hear(m, s, ev, todo) != 0) {
            r->failed = true;
        }
    }
    if (r->failed && !r->unwinding)
        return RECIPE_FAILED;
    /* A side whose link went down answers nothing more. */
    for (unsigned i = 0; i < r->n && r->unwinding; i++)
        if ((r->open & BIT(i)) && m->side[r->steps[i].side].link != MIG_LINK_UP)
            r->open &= ~BIT(i);
    if (r->unwinding)
        run_backwards(m, todo);
    else
        run_forwards(m, todo);
    const bool at_end = r->unwinding ? r->next == 0 : r->next == r->n;
    return at_end && r->open == 0 ? RECIPE_DONE : RECIPE_RUNNING;
}

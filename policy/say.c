/* The sentences of decisions: what was seen, in numbers, and what is done about it. */
#include <stdio.h>
#include <string.h>

#include "engine/base/units.h"
#include "policy/policy_priv.h"

void say_add(char *text, size_t size, const char *more)
{
    const size_t n = strlen(text);
    if (n + 1 < size)
        (void)snprintf(text + n, size - n, "%s", more);
}

void say_more(const struct view *v, const char *more)
{
    say_add(v->out->because, sizeof(v->out->because), more);
}

const char *say_bytes(uint64_t n, char word[SAY_WORD])
{
    return qf_format_bytes(n, word, SAY_WORD);
}

const char *say_ms(uint64_t n, char word[SAY_WORD])
{
    return qf_format_ms(n, word, SAY_WORD);
}

void say_last_pass(const struct policy_trend *t, char *text, size_t size)
{
    char a[SAY_WORD];
    char b[SAY_WORD];
    const uint64_t left = policy_trend_left_over(t);
    const uint64_t before = t->least_before_bytes;
    const char *how = "less than";
    if (left >= before)
        how = "no less than";
    else if (left >= qf_mul_div(before, POLICY_SHRINK_PERMILLE, 1000))
        how = "hardly less than";
    (void)snprintf(text, size, "pass %llu left %s, %s %s before",
                   (unsigned long long)policy_trend_complete(t), say_bytes(left, a), how,
                   say_bytes(before, b));
}

void say_trigger(const struct view *v, const struct policy_trigger *t)
{
    char *out = v->out->because;
    const size_t size = sizeof(v->out->because);
    const struct policy_trend *trend = &v->run->trend;
    char part[160];
    char word[SAY_WORD];
    char other[SAY_WORD];
    if (t->before_start)
        say_add(out, size, "before memory moves");
    if (t->stalled_passes > 0) {
        say_last_pass(trend, part, sizeof(part));
        say_add(out, size, part);
        (void)snprintf(part, sizeof(part), " (stalled %llu time%s)",
                       (unsigned long long)trend->stalled_passes,
                       trend->stalled_passes == 1 ? "" : "s");
        say_add(out, size, part);
    }
    if (t->passes > 0) {
        const uint64_t n = policy_trend_complete(trend);
        (void)snprintf(part, sizeof(part), "%s%llu pass%s complete", *out ? ", " : "",
                       (unsigned long long)n, n == 1 ? " is" : "es are");
        say_add(out, size, part);
    }
    if (t->elapsed_ms > 0) {
        (void)snprintf(part, sizeof(part), "%s%s after the start", *out ? ", " : "",
                       say_ms(view_elapsed_ms(v->s), word));
        say_add(out, size, part);
    }
    if (t->elapsed_per_gib_ms > 0 && t->elapsed_ms == 0) {
        (void)snprintf(part, sizeof(part), "%s%s after the start (%s for each %s)",
                       *out ? ", " : "", say_ms(view_elapsed_ms(v->s), word),
                       say_ms(t->elapsed_per_gib_ms, other),
                       v->p->size_unit == POLICY_SIZE_GB ? "GB" : "GiB");
        say_add(out, size, part);
    }
    if (t->timeouts > 0) {
        (void)snprintf(part, sizeof(part), "%s%s after the start, %u times the time limit",
                       *out ? ", " : "", say_ms(view_elapsed_ms(v->s), word), t->timeouts);
        say_add(out, size, part);
    }
    if (t->qemu_passes > 0) {
        const uint64_t n = v->run->look.pass - v->run->look.first_pass;
        (void)snprintf(part, sizeof(part),
                       "%sQEMU's pass counter is %llu above the first look's",
                       *out ? ", " : "", (unsigned long long)n);
        say_add(out, size, part);
    }
    if (t->remaining_rises > 0) {
        (void)snprintf(part, sizeof(part), "%s%u looks saw what is left grow, now %s",
                       *out ? ", " : "", v->run->look.rises,
                       say_bytes(v->s->remaining_bytes, word));
        say_add(out, size, part);
    }
    if (t->implied_downtime_below_ms > 0 || t->implied_downtime_below_stop_max) {
        (void)snprintf(part, sizeof(part), "%sa stop would cost about %s", *out ? ", " : "",
                       say_ms(policy_trend_implied_downtime_ms(trend), word));
        say_add(out, size, part);
    }
}

void say_action(const struct view *v)
{
    char *out = v->out->because;
    const size_t size = sizeof(v->out->because);
    char part[96] = "";
    char a[SAY_WORD];
    char b[SAY_WORD];
    switch (v->out->action) {
    case POLICY_WAIT:
        break;
    case POLICY_SET_DOWNTIME:
        (void)snprintf(part, sizeof(part), ": downtime limit %s -> %s",
                       say_ms(v->s->downtime_limit_ms, a), say_ms(v->out->value, b));
        break;
    case POLICY_SET_BANDWIDTH:
        (void)snprintf(part, sizeof(part), ": bandwidth limit %s/s",
                       say_bytes(v->out->value, a));
        break;
    case POLICY_THROTTLE:
        (void)snprintf(part, sizeof(part), ": slow the guest down, by at most %llu %%",
                       (unsigned long long)v->out->value);
        break;
    case POLICY_POSTCOPY:
        say_add(out, size, ": switch to post-copy");
        break;
    case POLICY_PAUSE:
        if (v->p->stop_max_ms > 0)
            (void)snprintf(part, sizeof(part), ": stop the guest, for at most %s",
                           say_ms(v->p->stop_max_ms, a));
        else
            say_add(out, size, ": stop the guest");
        break;
    case POLICY_ABORT:
        say_add(out, size, ": give up");
        break;
    case POLICY_RECOVER:
    case POLICY_CONTINUE:
        break;
    }
    say_add(out, size, part);
}

/* Nothing is due: say how it goes. */
void say_wait(const struct view *v)
{
    char *out = v->out->because;
    const size_t size = sizeof(v->out->because);
    const struct policy_trend *t = &v->run->trend;
    char a[SAY_WORD];
    char b[SAY_WORD];
    char c[SAY_WORD];
    if (!v->s->started) {
        (void)snprintf(out, size, "nothing to do before memory moves");
    } else if (v->s->postcopy) {
        (void)snprintf(out, size, "post-copy: %s left, no way back",
                       say_bytes(v->s->remaining_bytes, a));
    } else if (v->run->paused) {
        (void)snprintf(out, size, "the guest is stopped for %s, %s left",
                       say_ms(view_since_ms(v->s->t_ns, v->run->paused_t_ns), a),
                       say_bytes(v->s->remaining_bytes, b));
    } else {
        if (t->n_passes == 0)
            (void)snprintf(out, size, "no memory moved yet");
        else if (t->n_passes == 1)
            (void)snprintf(out, size, "first pass: %s of %s left",
                           say_bytes(v->s->remaining_bytes, a),
                           say_bytes(v->s->total_bytes, b));
        else
            say_last_pass(t, out, size);
        if (t->bandwidth_bytes_per_s > 0) {
            char part[96];
            (void)snprintf(part, sizeof(part), "; at %s/s a downtime of %s takes %s",
                           say_bytes(t->bandwidth_bytes_per_s, a),
                           say_ms(v->s->downtime_limit_ms, b),
                           say_bytes(qf_mul_div(t->bandwidth_bytes_per_s,
                                                v->s->downtime_limit_ms, 1000),
                                     c));
            say_add(out, size, part);
        }
    }
}

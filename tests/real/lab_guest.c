/* The guest, over its serial line. */
#include "tests/real/lab_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading serial lines ---- */

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static void take_line(struct lab_vm *vm)
{
    const char *line = text_or_empty(&vm->ser_line);

    vm->lines = grow_for_one(vm->lines, vm->n_lines, &vm->room_lines, sizeof(*vm->lines));
    vm->lines[vm->n_lines++] = copy_text(line);
    vm->bad_lines += starts_with(line, "BAD");
    vm->ser_line.len = 0;
}

void read_serial(void *owner, int64_t now_ns)
{
    struct lab_vm *vm = owner;
    struct text in = {0};

    read_some(&vm->ser_fd, &in);
    for (size_t i = 0; i < in.len; i++) {
        char c = in.data[i];

        if (c == '.' && vm->ser_line.len == 0) {
            vm->ticks =
                grow_for_one(vm->ticks, vm->n_ticks, &vm->room_ticks, sizeof(*vm->ticks));
            vm->ticks[vm->n_ticks++] = now_ns;
        } else if (c != '\n') {
            text_append(&vm->ser_line, &c, 1);
        } else if (vm->ser_line.len > 0) {
            take_line(vm);
        }
    }
    free(in.data);
}

/* ---- the guest ---- */

int lab_guest_cmd(struct lab_vm *vm, const char *text)
{
    if (send_all(vm->lab, &vm->ser_fd, text, strlen(text), deadline_in(0)) < 0) {
        return fail(vm->name, "the guest does not take a command");
    }
    return 0;
}

int lab_guest_line(
    struct lab_vm *vm, const char *prefix, char *out, size_t out_size, int ms)
{
    int64_t deadline_ns = deadline_in(ms);

    for (;;) {
        while (vm->lines_next < vm->n_lines) {
            const char *line = vm->lines[vm->lines_next++];

            if (starts_with(line, prefix)) {
                snprintf(out, out_size, "%s", line);
                return 0;
            }
            if (starts_with(line, "ERROR")) {
                return fail(vm->name, "the guest said %s instead of %s", line, prefix);
            }
        }
        if (vm->ser_fd < 0 || !pump_until(vm->lab, deadline_ns)) {
            return fail(vm->name, "the guest did not say %s", prefix);
        }
    }
}

int lab_guest_ready(struct lab_vm *vm)
{
    char line[LAB_LINE_MAX];

    return lab_guest_line(vm, "READY", line, sizeof(line), 0);
}

int lab_guest_ask(
    struct lab_vm *vm, const char *text, const char *prefix, char *out, size_t out_size)
{
    pump_round(vm->lab, 0);
    vm->lines_next = vm->n_lines;
    if (lab_guest_cmd(vm, text) < 0) {
        return -1;
    }
    return lab_guest_line(vm, prefix, out, out_size, 0);
}

int lab_guest_verify(struct lab_vm *vm)
{
    char line[LAB_LINE_MAX];

    if (lab_guest_ask(vm, "v", "VERIFY", line, sizeof(line)) < 0) {
        return -1;
    }
    if (!starts_with(line, "VERIFY ok")) {
        fail(vm->name, "the guest says: %s", line);
        return 0;
    }
    if (vm->bad_lines > 0) {
        fail(vm->name, "clean now, but the guest has found %u bad pages before",
             vm->bad_lines);
        return 0;
    }
    return 1;
}

int lab_guest_status(struct lab_vm *vm, struct lab_guest_status *out)
{
    struct lab_guest_status s;
    char line[LAB_LINE_MAX];

    if (lab_guest_ask(vm, "s", "STATUS", line, sizeof(line)) < 0) {
        return -1;
    }
    if (sscanf(line,
               "STATUS ticks=%" SCNu64 " writes=%" SCNu64 " bad=%" SCNu64 " ms=%" SCNu64,
               &s.ticks, &s.writes, &s.bad, &s.ms) != 4) {
        return fail(vm->name, "not a status: %s", line);
    }
    *out = s;
    return 0;
}

int lab_guest_wait_writes(struct lab_vm *vm, uint64_t pages, int ms)
{
    int64_t deadline_ns = deadline_in(ms);
    struct lab_guest_status s;

    for (;;) {
        if (lab_guest_status(vm, &s) < 0) {
            return -1;
        }
        if (s.writes >= pages) {
            return 0;
        }
        if (lab_now_ns() >= deadline_ns) {
            return fail(vm->name, "%" PRIu64 " of %" PRIu64 " pages written", s.writes,
                        pages);
        }
        lab_pump(vm->lab, ASK_AGAIN_MS);
    }
}

unsigned lab_guest_bad_lines(const struct lab_vm *vm)
{
    return vm->bad_lines;
}

int lab_ticks_start(struct lab_vm *src, struct lab_vm *dst)
{
    char line[LAB_LINE_MAX];

    src->n_ticks = 0;
    if (dst) {
        dst->n_ticks = 0;
    }
    return lab_guest_ask(src, "t", "TICKING on", line, sizeof(line));
}

int lab_ticks_stop(struct lab_vm *vm)
{
    char line[LAB_LINE_MAX];

    return lab_guest_ask(vm, "T", "TICKING off", line, sizeof(line));
}

size_t lab_ticks_count(const struct lab_vm *vm)
{
    return vm->n_ticks;
}

int lab_ticks_wait(struct lab_vm *vm, size_t more, int ms)
{
    int64_t deadline_ns = deadline_in(ms);
    size_t want = vm->n_ticks + more;

    while (vm->n_ticks < want) {
        if (vm->ser_fd < 0 || !pump_until(vm->lab, deadline_ns)) {
            return fail(vm->name, "the guest has stopped ticking");
        }
    }
    return 0;
}

void lab_blackout(const struct lab_vm *src,
                  const struct lab_vm *dst,
                  struct lab_blackout *out)
{
    size_t n_dst = dst ? dst->n_ticks : 0;
    int64_t largest_ns = 0;
    int64_t last_ns = -1;
    size_t s = 0;
    size_t d = 0;

    *out = (struct lab_blackout){.src_ticks = src->n_ticks, .dst_ticks = n_dst};
    while (s < src->n_ticks || d < n_dst) {
        bool from_src = d == n_dst || (s < src->n_ticks && src->ticks[s] <= dst->ticks[d]);
        int64_t t_ns = from_src ? src->ticks[s++] : dst->ticks[d++];

        if (last_ns >= 0 && t_ns - last_ns > largest_ns) {
            largest_ns = t_ns - last_ns;
            out->largest_ns = last_ns;
        }
        last_ns = t_ns;
        out->overlap += from_src && d > 0;
    }
    out->largest_ms = (double)largest_ns / NS_PER_MS;
    if (src->n_ticks > 0 && n_dst > 0) {
        out->handover_ms =
            (double)(dst->ticks[0] - src->ticks[src->n_ticks - 1]) / NS_PER_MS;
    }
}

double lab_blackout_ms(const struct lab_vm *src, const struct lab_vm *dst)
{
    struct lab_blackout b;

    lab_blackout(src, dst, &b);
    return b.largest_ms;
}

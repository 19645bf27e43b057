/* The guest's main program: fill memory, say READY, then write pages and obey one-letter commands
 * for ever. README.md has the protocol. */
#include <stddef.h>

#include "args.h"
#include "io.h"
#include "irq.h"
#include "pace.h"
#include "pages.h"
#include "power.h"
#include "ram.h"
#include "serial.h"
#include "text.h"

enum {
    LOADED_BY_MULTIBOOT = 0x2BADB002,
    BAD_LINES_MAX = 16, /* further damage is counted, not told */
};

static struct {
    char text[1024]; /* the command line */
    struct args args;
    uint32_t bad;           /* pages found damaged before a write */
    uint32_t first_bad;     /* the first of them */
    char command[16];       /* a command that takes an argument, until its line end */
    uint32_t command_bytes; /* 0: none begun */
} guest;

void guest_main(uint32_t magic, const struct multiboot *info);

static void say(const char *text)
{
    struct line l;

    line_init(&l);
    line_text(&l, text);
    serial_line(&l);
}

/* The last words of a guest that cannot go on. */
static _Noreturn void give_up(const char *why, const char *what)
{
    struct line l;

    line_init(&l);
    line_text(&l, "ERROR ");
    line_text(&l, why);
    if (what[0] != '\0') {
        line_text(&l, ": ");
        line_text(&l, what);
    }
    serial_line(&l);
    for (;;) {
        cpu_irq_off();
        __asm__ volatile("hlt");
    }
}

static void rate_field(struct line *l)
{
    if (pace_rate() == ARGS_RATE_FLAT) {
        line_text(l, " rate=flat");
    } else {
        line_field(l, "rate", pace_rate());
    }
}

static void say_ready(void)
{
    const struct args *a = &guest.args;
    struct line l;

    line_init(&l);
    line_text(&l, "READY");
    line_field(&l, "ws", a->ws_mib);
    line_field(&l, "hot", a->hot_mib);
    line_field(&l, "cold", a->cold_mib);
    rate_field(&l);
    line_text(&l, a->fill_page ? " fill=page" : " fill=word");
    line_text(&l, a->order_random ? " order=random" : " order=turn");
    line_field(&l, "pages", pages_count());
    serial_line(&l);
}

static void say_status(void)
{
    struct line l;

    line_init(&l);
    line_text(&l, "STATUS");
    line_field(&l, "ticks", irq_ticks());
    line_field(&l, "writes", pages_writes());
    line_field(&l, "bad", guest.bad);
    line_field(&l, "ms", irq_ms());
    rate_field(&l);
    serial_line(&l);
}

/* Damage seen before a write was overwritten since, so it counts until the next boot. */
static void say_verdict(void)
{
    struct pages_verdict v;
    struct line l;

    pages_verify(&v);
    if (v.first == PAGES_NONE) {
        v.first = guest.first_bad;
    }
    line_init(&l);
    if (v.stale == 0 && v.lost == 0 && v.torn == 0 && v.table == 0 && guest.bad == 0) {
        line_text(&l, "VERIFY ok");
        line_field(&l, "pages", pages_count());
        line_field(&l, "writes", pages_writes());
    } else {
        line_text(&l, "VERIFY BAD");
        line_field(&l, "stale", v.stale);
        line_field(&l, "lost", v.lost);
        line_field(&l, "torn", v.torn);
        line_field(&l, "table", v.table);
        line_field(&l, "seen", guest.bad);
        if (v.first == PAGES_NONE) {
            line_text(&l, " first=none");
        } else {
            line_field(&l, "first", v.first);
        }
    }
    serial_line(&l);
}

static void say_bad(uint32_t index, const struct page_report *r)
{
    struct line l;

    if (guest.bad++ == 0) {
        guest.first_bad = index;
    }
    if (guest.bad > BAD_LINES_MAX) {
        return;
    }
    line_init(&l);
    line_text(&l, "BAD ");
    line_text(&l, pages_state_name(r->state));
    line_field(&l, "page", index);
    line_field(&l, "want", r->want);
    line_field(&l, "head", r->head);
    line_field(&l, "tail", r->tail);
    serial_line(&l);
}

static void set_rate(const char *value)
{
    uint32_t rate = ARGS_RATE_FLAT;
    struct line l;

    if (!text_equal(value, "f") && !text_number(value, ARGS_RATE_MAX, &rate)) {
        say("ERROR not a rate");
        return;
    }
    if (guest.args.ws_mib == 0 && rate != 0) {
        say("ERROR a rate needs a working set");
        return;
    }
    pace_set_rate(rate);
    line_init(&l);
    line_text(&l, "RATE");
    rate_field(&l);
    serial_line(&l);
}

static void damage(const char *what)
{
    static const struct {
        char letter;
        void (*act)(uint32_t index);
    } kinds[] = {
        {'s', pages_damage_stale}, {'l', pages_damage_lost},  {'t', pages_damage_torn},
        {'f', pages_damage_flip},  {'e', pages_damage_entry},
    };
    uint32_t index;

    if (what[0] == '\0' || !text_number(what + 1, pages_count() - 1, &index)) {
        say("ERROR not a page");
        return;
    }
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (what[0] == kinds[i].letter) {
            kinds[i].act(index);
            say("DAMAGED");
            return;
        }
    }
    say("ERROR unknown damage");
}

/* A command with an argument is complete at its line end. */
static void command_byte(char byte)
{
    if (byte != '\n' && byte != '\r') {
        if (guest.command_bytes < sizeof(guest.command) - 1) {
            guest.command[guest.command_bytes++] = byte;
        }
        return;
    }
    guest.command[guest.command_bytes] = '\0';
    guest.command_bytes = 0;
    if (guest.command[0] == 'r') {
        set_rate(guest.command + 1);
    } else {
        damage(guest.command + 1);
    }
}

static void command(char letter)
{
    switch (letter) {
    case '\n':
    case '\r':
        return;
    case 'v':
        say_verdict();
        return;
    case 's':
        say_status();
        return;
    case 't':
        say("TICKING on");
        irq_ticking(true);
        return;
    case 'T':
        irq_ticking(false);
        say("TICKING off");
        return;
    case 'p':
        set_rate("0");
        return;
    case 'r':
    case 'c':
        command_byte(letter);
        return;
    case 'h':
        power_off();
        say("ERROR still on");
        return;
    case 'd':
        power_disk();
        return;
    case 'z':
        power_suspend();
        say("ERROR not suspended");
        return;
    case 'b':
        power_reset();
        say("ERROR not reset");
        return;
    case 'x':
        say(power_panic() ? "PANICKED" : "ERROR no pvpanic device");
        return;
    default:
        say("ERROR unknown command");
        return;
    }
}

static void obey(void)
{
    int byte;

    while ((byte = serial_next()) >= 0) {
        if (guest.command_bytes > 0) {
            command_byte((char)byte);
        } else {
            command((char)byte);
        }
    }
}

static void start(uint32_t magic, const struct multiboot *info)
{
    struct args *a = &guest.args;
    const char *why;
    char bad[64];
    uint32_t ram_start;
    uint32_t ram_bytes;

    if (magic != LOADED_BY_MULTIBOOT) {
        give_up("not started by a multiboot loader", "");
    }
    ram_command_line(info, guest.text, sizeof(guest.text));
    why = args_parse(guest.text, a, bad, sizeof(bad));
    if (why) {
        give_up(why, bad);
    }
    if (!ram_find(info, &ram_start, &ram_bytes)) {
        give_up("the loader gave no memory map", "");
    }
    if (a->ws_mib + a->cold_mib == 0 ||
        !pages_init(ram_start, ram_bytes, (a->ws_mib + a->cold_mib) * PAGES_PER_MIB,
                    a->fill_page)) {
        struct line l;

        line_init(&l);
        line_field(&l, "free-kib", ram_bytes / 1024);
        give_up("ws and cold are zero together or do not fit into memory", l.text + 1);
    }
}

void guest_main(uint32_t magic, const struct multiboot *info)
{
    guest.first_bad = PAGES_NONE;
    serial_init();
    start(magic, info);
    irq_init(guest.args.tick_ms);
    pace_init(&guest.args, irq_ms());
    say_ready();
    for (;;) {
        uint32_t now_ms;
        uint32_t due;

        obey();
        now_ms = irq_ms();
        due = pace_due(now_ms);
        if (due == 0) {
            irq_wait(now_ms);
        }
        for (; due > 0; due--) {
            struct page_report report;
            uint32_t index = pace_next_page();

            pages_write(index, &report);
            if (report.state != PAGE_GOOD) {
                say_bad(index, &report);
            }
        }
    }
}

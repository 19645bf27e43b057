#include "args.h"

#include "irq.h"
#include "text.h"

enum {
    MIB_MAX = 3072, /* memory below the PCI hole */
    BURST_MS_MAX = 3600000,
};

struct number {
    const char *name;
    uint32_t *out;
    uint32_t max;
};

static const char *set_rate(const char *value, struct args *a)
{
    if (text_equal(value, "flat")) {
        a->rate_pages_per_s = ARGS_RATE_FLAT;
        return 0;
    }
    return text_number(value, ARGS_RATE_MAX, &a->rate_pages_per_s) ? 0 : "not a rate";
}

static const char *set_choice(const char *value, const char *no, const char *yes, bool *out)
{
    if (!text_equal(value, no) && !text_equal(value, yes)) {
        return "not one of the choices";
    }
    *out = text_equal(value, yes);
    return 0;
}

static const char *set(const char *name, const char *value, struct args *a)
{
    const struct number numbers[] = {
        {"ws", &a->ws_mib, MIB_MAX},
        {"hot", &a->hot_mib, MIB_MAX},
        {"hot-share", &a->hot_share_percent, 100},
        {"cold", &a->cold_mib, MIB_MAX},
        {"burst-on", &a->burst_on_ms, BURST_MS_MAX},
        {"burst-off", &a->burst_off_ms, BURST_MS_MAX},
        {"tick", &a->tick_ms, IRQ_TICK_MS_MAX},
    };

    for (uint32_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (text_equal(name, numbers[i].name)) {
            return text_number(value, numbers[i].max, numbers[i].out)
                       ? 0
                       : "not a number in range";
        }
    }
    if (text_equal(name, "rate")) {
        return set_rate(value, a);
    }
    if (text_equal(name, "fill")) {
        return set_choice(value, "word", "page", &a->fill_page);
    }
    if (text_equal(name, "order")) {
        return set_choice(value, "turn", "random", &a->order_random);
    }
    return "unknown parameter";
}

/* One word of the command line: name=value, or `flat`. The word is cut in two at the '='. */
static const char *set_word(char *word, struct args *a)
{
    if (text_equal(word, "flat")) {
        return set_rate(word, a);
    }
    for (char *c = word; *c != '\0'; c++) {
        if (*c == '=') {
            const char *why;

            *c = '\0';
            why = set(word, c + 1, a);
            *c = '=';
            return why;
        }
    }
    return "not name=value";
}

static const char *check_together(const struct args *a)
{
    if (a->hot_mib > a->ws_mib) {
        return "hot is larger than ws";
    }
    if ((a->burst_on_ms == 0) != (a->burst_off_ms == 0)) {
        return "burst-on and burst-off go together";
    }
    if (a->ws_mib == 0 && a->rate_pages_per_s != 0) {
        return "a rate needs a working set";
    }
    if (a->tick_ms == 0) {
        return "tick is zero";
    }
    return 0;
}

const char *args_parse(const char *text, struct args *a, char *bad, uint32_t bad_size)
{
    bool first = true;

    *a = (struct args){.ws_mib = 16, .hot_share_percent = 90, .tick_ms = 10};
    bad[0] = '\0';
    while (*text != '\0') {
        const char *why;
        uint32_t len = 0;

        while (*text == ' ') {
            text++;
        }
        for (; *text != '\0' && *text != ' '; text++) {
            if (len < bad_size - 1) {
                bad[len++] = *text;
            }
        }
        bad[len] = '\0';
        why = first || len == 0 ? 0 : set_word(bad, a);
        if (why) {
            return why;
        }
        first = false;
    }
    bad[0] = '\0';
    return check_together(a);
}

#include "pace.h"

#include "pages.h"

/* Work that could not be done is not piled up beyond this: a guest that was throttled goes on at
 * its rate, it does not catch up. */
enum { BACKLOG_MS_MAX = 100 };

/* Pages first..first+count-1, taken in turn. */
struct range {
    uint32_t first;
    uint32_t count;
    uint32_t next;
};

static struct {
    struct range hot;
    struct range rest;
    uint32_t hot_share_percent;
    uint32_t share; /* remainder of sharing out, in percent */
    bool order_random;
    uint32_t random;
    uint32_t rate; /* pages per second */
    uint32_t on_ms;
    uint32_t off_ms;
    uint32_t window_ms; /* start of the present on+off window */
    uint32_t last_ms;
    uint32_t remainder; /* thousandths of a page */
    uint32_t due;
} pace;

void pace_init(const struct args *a, uint32_t now_ms)
{
    uint32_t hot = a->hot_mib * PAGES_PER_MIB;

    pace.hot = (struct range){0, hot, 0};
    pace.rest = (struct range){hot, a->ws_mib * PAGES_PER_MIB - hot, 0};
    pace.hot_share_percent = a->hot_share_percent;
    if (pace.rest.count == 0) {
        pace.hot_share_percent = 100;
    }
    if (pace.hot.count == 0) {
        pace.hot_share_percent = 0;
    }
    pace.order_random = a->order_random;
    pace.random = 1;
    pace.on_ms = a->burst_on_ms;
    pace.off_ms = a->burst_off_ms;
    pace.window_ms = now_ms;
    pace.last_ms = now_ms;
    pace.rate = a->rate_pages_per_s;
}

void pace_set_rate(uint32_t pages_per_s)
{
    pace.rate = pages_per_s;
    pace.remainder = 0;
    pace.due = 0;
}

uint32_t pace_rate(void)
{
    return pace.rate;
}

static bool in_window(uint32_t now_ms)
{
    if (pace.on_ms == 0) {
        return true;
    }
    while (now_ms - pace.window_ms >= pace.on_ms + pace.off_ms) {
        pace.window_ms += pace.on_ms + pace.off_ms;
    }
    return now_ms - pace.window_ms < pace.on_ms;
}

uint32_t pace_due(uint32_t now_ms)
{
    uint32_t passed_ms = now_ms - pace.last_ms;
    uint32_t batch;

    pace.last_ms = now_ms;
    if (pace.rate == 0 || !in_window(now_ms)) {
        pace.due = 0;
        return 0;
    }
    if (pace.rate == ARGS_RATE_FLAT) {
        return PACE_BATCH;
    }
    if (passed_ms > BACKLOG_MS_MAX) {
        passed_ms = BACKLOG_MS_MAX;
    }
    pace.remainder += passed_ms * pace.rate; /* 100 * 10 million and a bit: fits */
    pace.due += pace.remainder / 1000;
    pace.remainder %= 1000;
    if (pace.due > pace.rate / (1000 / BACKLOG_MS_MAX) + 1) {
        pace.due = pace.rate / (1000 / BACKLOG_MS_MAX) + 1;
    }
    batch = pace.due < PACE_BATCH ? pace.due : PACE_BATCH;
    pace.due -= batch;
    return batch;
}

static uint32_t next_in(struct range *r)
{
    uint32_t at = r->next;

    if (pace.order_random) {
        pace.random = pace.random * 1664525u + 1013904223u; /* Numerical Recipes */
        return r->first + (uint32_t)(((uint64_t)pace.random * r->count) >> 32);
    }
    r->next = at + 1 == r->count ? 0 : at + 1;
    return r->first + at;
}

uint32_t pace_next_page(void)
{
    pace.share += pace.hot_share_percent;
    if (pace.share >= 100) {
        pace.share -= 100;
        return next_in(&pace.hot);
    }
    return next_in(&pace.rest);
}

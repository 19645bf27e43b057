#include "pages.h"

#include <stddef.h>

#include "text.h"

enum {
    WORDS = PAGES_BYTES / 4,
    STAMP_WORDS = 3,
    BODY_FIRST = STAMP_WORDS,
    BODY_END = WORDS - STAMP_WORDS,
    ENTRIES_PER_SUM = PAGES_BYTES / 8, /* as many as lie in one page of the table */
    PAGES_MAX = 3072 * PAGES_PER_MIB,
};

struct stamp {
    uint32_t index;
    uint32_t gen;
    uint32_t seal;
};

struct page {
    struct stamp head;
    uint32_t body[BODY_END - BODY_FIRST];
    struct stamp tail;
};

struct entry {
    uint32_t gen;
    uint32_t seal;
};

_Static_assert(sizeof(struct page) == PAGES_BYTES, "a page is a page");
_Static_assert(sizeof(struct entry) * ENTRIES_PER_SUM == PAGES_BYTES,
               "one sum per table page");

static struct {
    struct entry *table;
    struct page *pages;
    uint32_t count;
    bool fill_page;
    uint64_t writes;
    uint32_t sums[PAGES_MAX / ENTRIES_PER_SUM];
} store;

/* Spreads two words over 32 bits; no two neighbours look alike. */
static uint32_t hash(uint32_t a, uint32_t b)
{
    uint32_t h = a * 0x9e3779b1u ^ b;

    h ^= h >> 15;
    h *= 0x85ebca77u;
    h ^= h >> 13;
    h *= 0xc2b2ae3du;
    return h ^ h >> 16;
}

static uint32_t seal_of(uint32_t index, uint32_t gen)
{
    return hash(index + 1, gen + 0x5eed);
}

/* The body is a run of Marsaglia's xorshift, whose state is never zero. */
static uint32_t body_seed(uint32_t index, uint32_t gen)
{
    return hash(gen + 0xb0d1, index) | 1;
}

static uint32_t body_next(uint32_t x)
{
    x ^= x << 13;
    x ^= x >> 17;
    return x ^ x << 5;
}

static void write_body(struct page *p, uint32_t index, uint32_t gen)
{
    uint32_t x = body_seed(index, gen);

    for (uint32_t i = 0; i < BODY_END - BODY_FIRST; i++) {
        p->body[i] = x;
        x = body_next(x);
    }
}

static bool body_is(const struct page *p, uint32_t index, uint32_t gen)
{
    uint32_t x = body_seed(index, gen);

    for (uint32_t i = 0; i < BODY_END - BODY_FIRST; i++) {
        if (p->body[i] != x) {
            return false;
        }
        x = body_next(x);
    }
    return true;
}

static bool stamp_is(const struct stamp *s, uint32_t index, uint32_t gen, uint32_t seal)
{
    return s->index == index && s->gen == gen && s->seal == seal;
}

static bool is_zero(const struct page *p)
{
    const uint32_t *words = (const uint32_t *)p;

    for (uint32_t i = 0; i < WORDS; i++) {
        if (words[i] != 0) {
            return false;
        }
    }
    return true;
}

static uint32_t body_gen(uint32_t gen)
{
    return store.fill_page ? gen : 0;
}

/* The slow answer to "what is wrong with it"; also right when nothing is. */
static enum page_state examine(uint32_t index)
{
    const struct page *p = &store.pages[index];
    const struct entry *e = &store.table[index];
    uint32_t gen = p->head.gen;
    uint32_t seal = seal_of(index, gen);

    if (e->seal != seal_of(index, e->gen)) {
        return PAGE_TABLE;
    }
    if (is_zero(p)) {
        return PAGE_LOST;
    }
    if (!stamp_is(&p->head, index, gen, seal) || !stamp_is(&p->tail, index, gen, seal) ||
        !body_is(p, index, body_gen(gen))) {
        return PAGE_TORN;
    }
    if (gen == e->gen) {
        return PAGE_GOOD;
    }
    return gen < e->gen ? PAGE_STALE : PAGE_TABLE;
}

bool pages_init(uint32_t start, uint32_t bytes, uint32_t count, bool fill_page)
{
    uint32_t sums = (count + ENTRIES_PER_SUM - 1) / ENTRIES_PER_SUM;

    if (count > PAGES_MAX || bytes / PAGES_BYTES < count + sums) {
        return false;
    }
    store.table = (struct entry *)start;
    store.pages = (struct page *)(start + sums * PAGES_BYTES);
    store.count = count;
    store.fill_page = fill_page;
    for (uint32_t i = 0; i < count; i++) {
        const struct stamp stamp = {i, 0, seal_of(i, 0)};

        store.pages[i].head = stamp;
        write_body(&store.pages[i], i, 0);
        store.pages[i].tail = stamp;
        store.table[i] = (struct entry){0, stamp.seal};
        store.sums[i / ENTRIES_PER_SUM] += stamp.seal;
    }
    return true;
}

/* Raise the generation in table, sum and count; the page is left to the caller. */
static struct stamp advance(uint32_t index)
{
    struct entry *e = &store.table[index];
    struct stamp next = {index, e->gen + 1, seal_of(index, e->gen + 1)};

    store.sums[index / ENTRIES_PER_SUM] += next.seal - seal_of(index, e->gen);
    store.writes++;
    e->gen = next.gen;
    e->seal = next.seal;
    return next;
}

void pages_write(uint32_t index, struct page_report *out)
{
    struct page *p = &store.pages[index];
    const struct entry *e = &store.table[index];
    struct stamp next;

    out->state = PAGE_GOOD;
    if (!stamp_is(&p->head, index, e->gen, e->seal) ||
        !stamp_is(&p->tail, index, e->gen, e->seal) || e->seal != seal_of(index, e->gen) ||
        (store.fill_page && !body_is(p, index, e->gen))) {
        *out = (struct page_report){examine(index), e->gen, p->head.gen, p->tail.gen};
    }
    next = advance(index);
    p->head = next;
    if (store.fill_page) {
        write_body(p, index, next.gen);
    }
    p->tail = next;
}

static void count_state(struct pages_verdict *v, enum page_state state, uint32_t index)
{
    if (state == PAGE_GOOD) {
        return;
    }
    v->stale += state == PAGE_STALE;
    v->lost += state == PAGE_LOST;
    v->torn += state == PAGE_TORN;
    v->table += state == PAGE_TABLE;
    if (v->first == PAGES_NONE) {
        v->first = index;
    }
}

void pages_verify(struct pages_verdict *out)
{
    uint64_t writes = 0;
    uint32_t sum = 0;

    *out = (struct pages_verdict){.first = PAGES_NONE};
    for (uint32_t i = 0; i < store.count; i++) {
        count_state(out, examine(i), i);
        writes += store.table[i].gen;
        sum += store.table[i].seal;
        if (i % ENTRIES_PER_SUM == ENTRIES_PER_SUM - 1 || i == store.count - 1) {
            out->table += sum != store.sums[i / ENTRIES_PER_SUM];
            sum = 0;
        }
    }
    out->table += writes != store.writes;
}

uint32_t pages_count(void)
{
    return store.count;
}

uint64_t pages_writes(void)
{
    return store.writes;
}

const char *pages_state_name(enum page_state state)
{
    switch (state) {
    case PAGE_GOOD:
        return "good";
    case PAGE_STALE:
        return "stale";
    case PAGE_LOST:
        return "lost";
    case PAGE_TORN:
        return "torn";
    case PAGE_TABLE:
        return "table";
    }
    return "?";
}

void pages_damage_stale(uint32_t index)
{
    advance(index);
}

void pages_damage_lost(uint32_t index)
{
    memset(&store.pages[index], 0, sizeof(store.pages[index]));
}

void pages_damage_torn(uint32_t index)
{
    store.pages[index].head = advance(index);
}

void pages_damage_flip(uint32_t index)
{
    store.pages[index].body[WORDS / 2] ^= 1;
}

/* An entry as it was one write ago is sound in itself; only the sums and the page know better. */
void pages_damage_entry(uint32_t index)
{
    struct entry *e = &store.table[index];

    e->gen--;
    e->seal = seal_of(index, e->gen);
}

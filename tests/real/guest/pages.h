/* The memory the guest writes and can vouch for.
 *
 *     page     | stamp | body: 1018 pseudo-random words | stamp |      stamp: index, generation, seal
 *     table    one entry per page: generation, seal                    seal: a hash of both
 *     sums     one sum of seals per 512 entries, and the number of writes in all
 *
 * A write raises the generation of a page by one in all three places. The two stamps stand at the
 * two ends of the page, so a page that arrived in part shows; page and table lie apart, so one of
 * them arriving without the other shows; the sums catch a part of the table that is old as a
 * whole. Nothing here runs in an interrupt, so the guest's own interrupts never show.
 *
 * The body belongs to generation 0 unless writes fill whole pages. */
#ifndef QF_TESTS_REAL_GUEST_PAGES_H
#define QF_TESTS_REAL_GUEST_PAGES_H

#include <stdbool.h>
#include <stdint.h>

enum {
    PAGES_BYTES = 4096,
    PAGES_PER_MIB = 256,
    PAGES_NONE = UINT32_MAX,
};

enum page_state {
    PAGE_GOOD,
    PAGE_STALE, /* whole, but older than its entry: a write was lost */
    PAGE_LOST,  /* all zero: it never arrived */
    PAGE_TORN,  /* neither whole nor zero: parts of different writes, or damage */
    PAGE_TABLE, /* the entry is damaged, or older than the page */
};

/* What a check found before a write. */
struct page_report {
    enum page_state state;
    uint32_t want; /* generation in the table */
    uint32_t head; /* generation in the first stamp */
    uint32_t tail; /* generation in the last stamp */
};

struct pages_verdict {
    uint32_t stale, lost, torn;
    uint32_t table; /* bad entries and bad sums */
    uint32_t first; /* lowest bad page, or PAGES_NONE */
};

/* Take `bytes` of memory from `start` for `count` pages and their table, and fill every page.
 * Returns false, with nothing touched, when they do not fit. */
bool pages_init(uint32_t start, uint32_t bytes, uint32_t count, bool fill_page);

/* Check the page, then write its next generation. In the default mode only the stamps are checked
 * here; with fill_page the body too. A damaged page is written all the same. */
void pages_write(uint32_t index, struct page_report *out);

/* Check every page, entry and sum. */
void pages_verify(struct pages_verdict *out);

uint32_t pages_count(void);
uint64_t pages_writes(void);
const char *pages_state_name(enum page_state state);

/* Damage one page without a word, to prove that the checks can fail. */
void pages_damage_stale(uint32_t index); /* the table goes on, the page does not */
void pages_damage_lost(uint32_t index);  /* the page becomes zero */
void pages_damage_torn(uint32_t index);  /* the first stamp is written, the last is not */
void pages_damage_flip(uint32_t index);  /* one bit in the middle of the body */
void pages_damage_entry(
    uint32_t index); /* the table's entry falls back by one write, seal and all */

#endif

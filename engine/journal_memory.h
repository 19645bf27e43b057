/* What of a move has to outlive its qferry (mig_memory.h) as JSON, and found in a journal again.
 *
 * It is written as a line of type `memory` whenever there is news, and at the latest after
 * JOURNAL_MEMORY_BYTES of other lines, so that a reader needs the first line and so much of the
 * end, however long the journal is. Data: text in memory. */
#ifndef QF_ENGINE_JOURNAL_MEMORY_H
#define QF_ENGINE_JOURNAL_MEMORY_H

#include <jansson.h>
#include <stddef.h>

#include "engine/journal.h"

enum {
    /* Between two lines; one event may be long. */
    JOURNAL_MEMORY_BYTES = 128 * 1024,
    JOURNAL_TAIL_BYTES = 1024 * 1024,
    JOURNAL_HEAD_BYTES = 64 * 1024 /* a first line that is longer is none of ours */
};

/* A new object; NULL without memory. */
json_t *journal_dump_memory(const struct mig_memory *mem);

/* False: not one; mem is not written. */
bool journal_load_memory(const json_t *json, struct mig_memory *mem);

/* Of a journal as a file: its first line and the end of it. */
struct journal_ends {
    const char *head; /* at least the first line, with its newline */
    size_t head_len;
    const char
        *tail; /* the end of the file; may begin in the midst of a line; may be all of it */
    size_t tail_len;
};

enum journal_remains {
    JOURNAL_FOREIGN, /* not a journal, or of another format: err says so */
    JOURNAL_NOTHING, /* of others, or it touched nothing: an older one may tell more */
    JOURNAL_OVER,    /* the move came to an end, or the source was moved elsewhere since */
    JOURNAL_MEMORY   /* *mem is what is remembered */
};

/* Is this, the beginning of a journal, plainly one of another source? Then its end need not be read. Of what
 * is no journal it is not plain. */
bool journal_is_of_another(const char *head, size_t len, const char *source);

/* What does this journal say of a move between these two monitors? A last line that was cut by a kill
 * is passed over. now: of the reader; times in *mem are those of its clock.
 *
 * given: the policy of that qferry's command line, written with JOURNAL_MEMORY. */
enum journal_remains journal_recall(const struct journal_ends *ends,
                                    const char *source,
                                    const char *destination,
                                    const struct journal_clock *now,
                                    struct mig_memory *mem,
                                    struct policy *given,
                                    struct qf_err *err);

#endif

/* Records and events as JSON lines: the journal's format, and that of `--json`, which is the part
 * of it that people and programs follow. The format is described in qferry-journal(5).
 *
 * Every line is one object: "time", "type", "seq", "t_ns", then the type's own fields. Data: text
 * in memory; who writes it to a file is engine/drive_uv.c. */
#ifndef QF_ENGINE_JOURNAL_H
#define QF_ENGINE_JOURNAL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/base/err.h"
#include "engine/mig.h"

enum { JOURNAL_FORMAT = 1 };

#define JOURNAL_T_MAX_NS (INT64_MAX / 4) /* 73 years of uptime: sums stay in range */

#define JOURNAL_WALL_MAX_MS INT64_C(100000000000000) /* the year 5138 */

/* Where a line stands in time: "time" is wall clock, computed from the monotonic t_ns, so that a
 * replay writes the same text. */
struct journal_clock {
    int64_t t0_ns;   /* monotonic, of the first line */
    int64_t wall_ms; /* Unix time of the first line */
    uint64_t seq;    /* of the next line; from 1 */
    /* which boot of this host t0_ns counts from; "": not known. In the first line only */
    char boot[40];
};

/* A new object with "time", "type", "seq" and "t_ns"; seq is counted. NULL without memory. */
json_t *journal_line(struct journal_clock *clock, const char *type, int64_t t_ns);

/* The first line: format, spec, policy. */
json_t *journal_header(struct journal_clock *clock,
                       const struct mig_spec *spec,
                       const struct policy *policy);

/* Read a first line. QF_E_USAGE: not a journal of qferry's, or of another format. */
int journal_read_header(const json_t *line,
                        struct journal_clock *clock,
                        struct mig_spec *spec,
                        struct policy *policy,
                        struct qf_err *err);

/* A record as its line. m: for decision and result; NULL for other records. */
json_t *journal_record(struct journal_clock *clock,
                       int64_t t_ns,
                       const struct record *r,
                       const struct mig *m);

/* The other way round, for who looks on from another process: a public line as the record that it
 * shows. Texts that the record only points to are lent with the line, or static. False: not such
 * a line. */
bool journal_read_record(const json_t *line, struct record *r);

/* Shown by --json (and not only written to the journal)? */
bool journal_is_public(enum record_kind kind);

/* Add to a line. value: stolen; NULL means that there was no memory for it. A line that could not
 * be completed is emptied: journal_dump makes no text of it, so that one check there is enough. */
void journal_put(json_t *line, const char *key, json_t *value);
void journal_put_text(json_t *line,
                      const char *key,
                      const char *text);                         /* maybe not UTF-8 */
void journal_put_u64(json_t *line, const char *key, uint64_t v); /* POLICY_UNKNOWN: null */

/* Is it a line of this type? NULL is none. */
bool journal_is_type(const json_t *line, const char *type);

/* Take out of a line. A text that is not there is "", and what is too long is cut; a number that is not
 * there is 0, null is POLICY_UNKNOWN. */
void journal_get_text(const json_t *line, const char *key, char *dst, size_t size);
uint64_t journal_get_u64(const json_t *line, const char *key);

/* What the kernel says of the source's process, in the line of its event and out of it. */
void journal_put_process(json_t *line, const struct mig_process *p);
void journal_get_process(const json_t *line, struct mig_process *p);

/* Likewise the way of the other moves of this host. Ways beyond MIG_OTHERS_MAX are left out. */
void journal_put_others(json_t *line, const struct mig_others *others);
void journal_get_others(const json_t *line, struct mig_others *others);

/* Likewise the interfaces of the destination's host. What is no address is left out. */
void journal_put_links(json_t *line, const struct mig_links *links);
void journal_get_links(const json_t *line, struct mig_links *links);

/* One line of text with a newline; allocated, to be freed. NULL without memory, also when there
 * was none while the line was made. */
char *journal_dump(const json_t *line);

#endif

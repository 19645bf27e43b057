/* What is wrong with a file that people write, said in one line that can be acted on: where it
 * stands, which field it is, what is wrong, what would be right. For every room that reads JSON
 * files.
 *
 *     my.json:4: downtime.maxx: unknown field; did you mean downtime.max?
 *
 * Data: no file is opened here. */
#ifndef QF_ENGINE_BASE_FAULT_H
#define QF_ENGINE_BASE_FAULT_H

#include <jansson.h>
#include <stddef.h>

#include "engine/base/err.h"

enum {
    FAULT_NAME_SIZE =
        128,              /* a full dotted name; longer ones are cut, and their line is that
                              of what is around them */
    FAULT_WORD_SIZE = 64, /* a value quoted in a message */
    FAULT_LIST_SIZE = 200 /* the names that there are */
};

/* What complaints are about and where they go. text is NULL for a single field from the command
 * line: there is no line to name. All lent. */
struct fault_source {
    const char *origin;
    const char *text;
    size_t len;
    struct qf_err *err;
};

/* The text as JSON of any kind, new; members that stand twice are refused. *root is written on
 * success only. QF_E_USAGE: `ORIGIN:LINE: what is wrong with it`; QF_E_NOMEM. */
int fault_parse(const struct fault_source *src, json_t **root);

/* Fill src->err with `ORIGIN:LINE: NAME: ...` (without a text: `NAME: ...`; an empty name is
 * left out). Returns -(int)QF_E_USAGE. */
int fault_report(const struct fault_source *src, const char *name, const char *fmt, ...)
    QF_PRINTF(3, 4);

/* A member that does not exist, `key` being the last part of name: says which of the names in
 * list (ended by NULL) was probably meant, or what there is. */
int fault_unknown(const struct fault_source *src,
                  const char *name,
                  const char *key,
                  const char *const list[]);

/* The line (from 1) on which the field of this full name ("steps[2].trigger.passes") stands in
 * a text that jansson accepted; of what is around it when the text does not have it. Never reads
 * beyond len, whatever the text is. */
size_t fault_line(const char *text, size_t len, const char *name);

/* base, a dot unless base is empty, key; cut to FAULT_NAME_SIZE. Returns name. */
const char *fault_join(const char *base, const char *key, char name[FAULT_NAME_SIZE]);

/* A value as a message quotes it: `"2 sec"`, `a list`, `true`. Returns word or static text. */
const char *fault_show(const json_t *value, char word[FAULT_WORD_SIZE]);

/* The name in the list that was probably meant; NULL when none is near. */
const char *fault_nearest(const char *name, const char *const list[]);

/* "trigger, action"; cut to FAULT_LIST_SIZE. Returns text. */
const char *fault_list(const char *const list[], char text[FAULT_LIST_SIZE]);

/* Make text fit for one line of a message and for JSON: control characters and what is not
 * UTF-8 become question marks. */
void fault_one_line(char *text);

#endif

/* The journals of earlier runs: which of them is the memory of a qferry that was killed in the midst
 * of a move between these two monitors? Edge: it reads files, at once, before the loop turns; of
 * each no more than its two ends (journal_memory.h), however long it is.
 *
 * A qferry that lives holds a lock on its journal (flock(2)), which its death takes away. */
#ifndef QF_ENGINE_MEMORY_UV_H
#define QF_ENGINE_MEMORY_UV_H

#include <stdbool.h>

#include "engine/base/err.h"
#include "engine/mig_memory.h"
#include "engine/spec.h"

enum {
    MEMORY_PATH_MAX = 4096,
    MEMORY_FILES_MAX = 256 /* of a folder the newest so many are looked at */
};

struct memory_found {
    bool found;
    bool
        over; /* of a file: that move came to an end; what was put aside of it before is not needed */
    char path[MEMORY_PATH_MAX];
    struct mig_memory memory;
    struct policy given;    /* by the command line of the qferry that was killed */
    char note[QF_ERR_TEXT]; /* what could not be read of a file that was named; "" */
};

/* Look into one file, or if that says nothing of the move into the one that was put aside for it
 * (memory_put_aside). A file that is not there is nothing found; what is no journal, or one of
 * another format, is, and out->note says so. */
void memory_of_file(const char *path,
                    const struct mig_spec *spec,
                    struct memory_found *out);

/* Look into the journals of a folder, *.jsonl, the newest by name first. */
void memory_of_folder(const char *dir,
                      const struct mig_spec *spec,
                      struct memory_found *out);

/* A journal that a new one is to replace, and that holds the memory still, is renamed: FILE.killed.
 * It is needed until the new one holds it. */
int memory_put_aside(const char *path, struct qf_err *err);

/* What was put aside of a FILE whose move came to an end since: it goes, as FILE itself is written over. */
void memory_forget_aside(const char *path);

/* Say by a lock that this file has a qferry that lives. False: another one holds it. Where the file
 * system knows no locks it is true. */
bool memory_lock(int fd);

/* Which boot of this host it is; "": not known. */
void memory_boot(char boot[40]);

#endif

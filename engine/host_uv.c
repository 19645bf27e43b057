/* Happy path: /proc/PID/limits, /proc/PID/status -> known.
 *
 * What can fail: every step; then it is not known, and the check that asks for it is skipped. */
#include "engine/host_uv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { CAP_IPC_LOCK_BIT = 14 /* linux/capability.h: the limit does not count */ };

/* The value of the line that begins with `key`, in the base; false: no such line. */
static bool read_number(
    pid_t pid, const char *file, const char *key, int base, uint64_t *out)
{
    char path[64];
    char line[256];
    bool found = false;
    (void)snprintf(path, sizeof(path), "/proc/%ld/%s", (long)pid, file);
    FILE *f = fopen(path, "re");
    while (f && !found && fgets(line, sizeof(line), f)) {
        char *end;
        if (strncmp(line, key, strlen(key)) != 0)
            continue;
        const char *at = line + strlen(key);
        at += strspn(at, " \t");
        if (strncmp(at, "unlimited", 9) == 0) {
            *out = UINT64_MAX;
            found = true;
            continue;
        }
        *out = strtoull(at, &end, base);
        found = end != at;
    }
    if (f)
        (void)fclose(f);
    return found;
}

void host_process(pid_t pid, struct mig_process *p)
{
    uint64_t kib;
    uint64_t powers;
    *p = (struct mig_process){.known = false};
    if (!read_number(pid, "limits", "Max locked memory", 10, &p->lockable_bytes) ||
        !read_number(pid, "status", "VmSize:", 10, &kib) ||
        !read_number(pid, "status", "CapEff:", 16, &powers))
        return;
    if (powers & UINT64_C(1) << CAP_IPC_LOCK_BIT)
        p->lockable_bytes = UINT64_MAX;
    p->memory_bytes = kib * 1024;
    p->pid = pid;
    p->known = true;
}

unsigned host_cores(void)
{
    return uv_available_parallelism();
}

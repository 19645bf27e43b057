/* What the kernel of this host says of the process behind a monitor: for the limit on locked
 * memory, which QEMU cannot be asked for. Edge; for engine/drive*_uv.c. */
#ifndef QF_ENGINE_HOST_UV_H
#define QF_ENGINE_HOST_UV_H

#include <sys/types.h>

#include "engine/mig_event.h"

/* The process of that number (qmp_link_peer tells a monitor's). p->known is false where nothing can
 * be learnt of it: it is gone, of another namespace, may not be looked at. Blocks no longer than two
 * files of /proc take. Cannot fail. */
void host_process(pid_t pid, struct mig_process *p);

/* How many cores the processes of this host can use; 0: not known. */
unsigned host_cores(void);

#endif

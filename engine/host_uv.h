/* What the kernel of this host says of the process behind a monitor: for the limit on locked
 * memory, which QEMU cannot be asked for. Edge; for engine/drive_uv.c. */
#ifndef QF_ENGINE_HOST_UV_H
#define QF_ENGINE_HOST_UV_H

#include <uv.h>

#include "engine/mig_event.h"

/* The process that listens at the other end of a connected UNIX socket. p->known is false where
 * that cannot be learnt: another kind of socket, another namespace, a process that may not be
 * looked at. Blocks no longer than two files of /proc take. Cannot fail. */
void host_process(const uv_handle_t *socket, struct mig_process *p);

/* How many cores the processes of this host can use; 0: not known. */
unsigned host_cores(void);

#endif

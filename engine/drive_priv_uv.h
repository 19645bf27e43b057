/* What the files of a drive share: drive_uv.c (the list, the timer, the end), drive_link_uv.c (the two
 * monitors), drive_part_uv.c (what runs beside them). For them alone. */
#ifndef QF_ENGINE_DRIVE_PRIV_UV_H
#define QF_ENGINE_DRIVE_PRIV_UV_H

#include <sys/types.h>

#include "engine/drive_uv.h"

/* ---- drive_uv.c ---- */

int64_t drive_now(void);

/* After an event was fed: do what the machine wants done. */
void drive_carry_out(struct drive *d);

/* Something of the drive has been closed, and handles_open counted down. */
void drive_finish_if_closed(struct drive *d);

/* The same for a handle of the drive's own, whose data is the drive: counts down, too. */
void drive_on_handle_closed(uv_handle_t *handle);

/* Was there such a fault? It is taken away, to be fed now. */
bool drive_take_fault(struct qf_err *fault, struct qf_err *why);

/* ---- drive_link_uv.c ---- */

void drive_link_open(struct drive *d, enum mig_side_id side);
void drive_link_close(struct drive *d, enum mig_side_id side);
void drive_link_send(struct drive *d, const struct mig_do *item);

/* Who listens there, where the kernel can tell. */
bool drive_link_peer(const struct drive *d, enum mig_side_id side, uid_t *uid, gid_t *gid);

/* One monitor that was lost, or could not be opened, while a list was carried out: fed. */
bool drive_link_feed_fault(struct drive *d);

/* ---- drive_part_uv.c ---- */

/* With the move begin those that the machine does not ask for. */
void drive_parts_begin(struct drive *d);
void drive_parts_close(struct drive *d);

void drive_probe_start(struct drive *d, const struct mig_do *item);
void drive_secure_start(struct drive *d);
void drive_secure_close(struct drive *d);
void drive_stream_start(struct drive *d, const struct mig_do *item);
void drive_restart_start(struct drive *d, const struct mig_do *item);

/* The memory's connection is not needed here any more: it was passed on, or is given up. */
void drive_stream_drop(struct drive *d);

/* Which way this move goes, for the others to know. */
void drive_tell_others(struct drive *d);

/* One of those that could not be begun: fed. */
bool drive_part_feed_fault(struct drive *d);

#endif

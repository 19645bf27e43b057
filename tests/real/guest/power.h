/* Power off, suspend, reset, panic, and a disk: the ports that QEMU's pc and q35 machines listen on. */
#ifndef QF_TESTS_REAL_GUEST_POWER_H
#define QF_TESTS_REAL_GUEST_POWER_H

#include <stdbool.h>

/* Have the first IDE disk read its first sector; what becomes of it is of no interest here. */
void power_disk(void);

/* Each returns only if the machine did not react. */
void power_off(void);
void power_suspend(void);
void power_reset(void);

/* Report a guest panic through pvpanic. Returns false when there is no such device. */
bool power_panic(void);

#endif

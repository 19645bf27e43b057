/* Power off, reset, panic: the ports that QEMU's pc and q35 machines listen on. */
#ifndef QF_TESTS_REAL_GUEST_POWER_H
#define QF_TESTS_REAL_GUEST_POWER_H

#include <stdbool.h>

/* Each returns only if the machine did not react. */
void power_off(void);
void power_reset(void);

/* Report a guest panic through pvpanic. Returns false when there is no such device. */
bool power_panic(void);

#endif

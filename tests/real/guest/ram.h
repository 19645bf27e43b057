/* What the boot loader tells: command line and free memory. */
#ifndef QF_TESTS_REAL_GUEST_RAM_H
#define QF_TESTS_REAL_GUEST_RAM_H

#include <stdbool.h>
#include <stdint.h>

struct multiboot;

/* Copy the command line. Must come before anything is written past the kernel: the loader keeps
 * the text there. */
void ram_command_line(const struct multiboot *info, char *out, uint32_t size);

/* The free memory from the end of the kernel up, page aligned; what the firmware keeps for itself
 * at the top is left out. Returns false when the loader gave no memory map. */
bool ram_find(const struct multiboot *info, uint32_t *start, uint32_t *bytes);

#endif

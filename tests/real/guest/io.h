/* Port access and the few CPU instructions C has no words for. */
#ifndef QF_TESTS_REAL_GUEST_IO_H
#define QF_TESTS_REAL_GUEST_IO_H

#include <stdint.h>

static inline void io_out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void io_out16(uint16_t port, uint16_t value)
{
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint8_t io_in8(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline void cpu_irq_off(void)
{
    __asm__ volatile("cli" : : : "memory");
}

/* Interrupts off; returns what cpu_irq_restore() needs to put them back as they were. */
static inline uint32_t cpu_irq_save(void)
{
    uint32_t flags;

    __asm__ volatile("pushfl; popl %0; cli" : "=r"(flags) : : "memory");
    return flags;
}

static inline void cpu_irq_restore(uint32_t flags)
{
    __asm__ volatile("pushl %0; popfl" : : "r"(flags) : "memory", "cc");
}

static inline void cpu_irq_on(void)
{
    __asm__ volatile("sti" : : : "memory");
}

/* Interrupts on, then wait for one. `sti` takes effect after the next instruction: an interrupt
 * that is already pending ends the `hlt` instead of slipping in before it. */
static inline void cpu_irq_wait(void)
{
    __asm__ volatile("sti; hlt" : : : "memory");
}

#endif

/* Interrupts and the clock they drive: the timer (IRQ 0) and COM1 (IRQ 4).
 *
 * The clock counts guest run time: ticks missed while the guest does not run are not made up. */
#ifndef QF_TESTS_REAL_GUEST_IRQ_H
#define QF_TESTS_REAL_GUEST_IRQ_H

#include <stdbool.h>
#include <stdint.h>

enum {
    IRQ_TICK_MS_MAX = 50, /* the timer's 16-bit divisor ends at 54 ms */
    IRQ_TICKING_MS = 1,   /* period while ticks are sent to the serial line */
};

/* Everything off -> timer and COM1 on, one tick every tick_ms. */
void irq_init(uint32_t tick_ms);

/* Start or stop sending one serial tick every millisecond. */
void irq_ticking(bool on);

uint32_t irq_ticks(void);

/* Milliseconds of run time; wraps after 49 days. */
uint32_t irq_ms(void);

/* Sleep until an interrupt, unless the clock has left `seen_ms` or serial input waits. */
void irq_wait(uint32_t seen_ms);

#endif

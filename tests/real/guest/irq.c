#include "irq.h"

#include "io.h"
#include "serial.h"
#include "text.h"

enum {
    PIC1 = 0x20,
    PIC1_DATA = 0x21,
    PIC2 = 0xa0,
    PIC2_DATA = 0xa1,
    PIC_END = 0x20,
    PIT_CHANNEL0 = 0x40,
    PIT_CONTROL = 0x43,
    PIT_HZ = 1193182,
    VECTORS = 48,
    VECTOR_TIMER = 32,
    VECTOR_COM1 = 36,
    VECTOR_SPURIOUS1 = 39, /* IRQ 7 and 15 without a cause: no end-of-interrupt for these */
    VECTOR_SPURIOUS2 = 47,
    GATE_INTERRUPT = 0x8e,
    CODE_SEGMENT = 0x08,
};

/* What boot.S leaves on the stack, lowest address first. */
struct irq_frame {
    uint32_t edi, esi, ebp, esp, ebx, edx, ecx, eax;
    uint32_t vector, code;
    uint32_t eip, cs, eflags;
};

struct gate {
    uint16_t offset_low;
    uint16_t segment;
    uint8_t zero;
    uint8_t type;
    uint16_t offset_high;
};

extern const uint32_t irq_stubs[VECTORS];
void irq_dispatch(const struct irq_frame *frame);

static struct gate idt[VECTORS];

static struct {
    volatile uint32_t ticks;
    volatile uint32_t ms;
    volatile bool ticking;
    volatile uint32_t period_ms;
    uint32_t quiet_period_ms;
} timer;

static void set_period(uint32_t ms)
{
    uint32_t divisor = PIT_HZ / 1000 * ms + PIT_HZ % 1000 * ms / 1000;

    timer.period_ms = ms;
    io_out8(PIT_CONTROL, 0x34); /* channel 0, low byte then high byte, rate generator */
    io_out8(PIT_CHANNEL0, (uint8_t)divisor);
    io_out8(PIT_CHANNEL0, (uint8_t)(divisor >> 8));
}

static void load_idt(void)
{
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) pointer = {sizeof(idt) - 1, (uint32_t)idt};

    for (uint32_t i = 0; i < VECTORS; i++) {
        idt[i].offset_low = (uint16_t)irq_stubs[i];
        idt[i].offset_high = (uint16_t)(irq_stubs[i] >> 16);
        idt[i].segment = CODE_SEGMENT;
        idt[i].type = GATE_INTERRUPT;
    }
    __asm__ volatile("lidt %0" : : "m"(pointer), "m"(idt));
}

/* Both controllers, vectors from 32 up, all lines masked but the timer and COM1. */
static void init_pic(void)
{
    io_out8(PIC1, 0x11);
    io_out8(PIC2, 0x11);
    io_out8(PIC1_DATA, VECTOR_TIMER);
    io_out8(PIC2_DATA, VECTOR_TIMER + 8);
    io_out8(PIC1_DATA, 4);
    io_out8(PIC2_DATA, 2);
    io_out8(PIC1_DATA, 1);
    io_out8(PIC2_DATA, 1);
    io_out8(PIC1_DATA, (uint8_t)~0x11);
    io_out8(PIC2_DATA, 0xff);
}

void irq_init(uint32_t tick_ms)
{
    timer.quiet_period_ms = tick_ms;
    load_idt();
    init_pic();
    set_period(tick_ms);
    serial_receive(); /* what came earlier has had its interrupt, and lost it */
    cpu_irq_on();
}

void irq_ticking(bool on)
{
    cpu_irq_off();
    timer.ticking = on;
    set_period(on ? IRQ_TICKING_MS : timer.quiet_period_ms);
    cpu_irq_on();
}

uint32_t irq_ticks(void)
{
    return timer.ticks;
}

uint32_t irq_ms(void)
{
    return timer.ms;
}

void irq_wait(uint32_t seen_ms)
{
    cpu_irq_off();
    if (timer.ms != seen_ms || serial_has_next()) {
        cpu_irq_on();
        return;
    }
    cpu_irq_wait();
}

static void exception(const struct irq_frame *frame)
{
    struct line l;

    line_init(&l);
    line_text(&l, "ERROR exception");
    line_field(&l, "vector", frame->vector);
    line_text(&l, " eip=");
    line_hex(&l, frame->eip);
    line_text(&l, " code=");
    line_hex(&l, frame->code);
    serial_line(&l);
    for (;;) {
        cpu_irq_off();
        __asm__ volatile("hlt");
    }
}

void irq_dispatch(const struct irq_frame *frame)
{
    switch (frame->vector) {
    case VECTOR_TIMER:
        timer.ticks++;
        timer.ms += timer.period_ms;
        if (timer.ticking) {
            serial_tick();
        }
        break;
    case VECTOR_COM1:
        serial_receive();
        break;
    case VECTOR_SPURIOUS1:
    case VECTOR_SPURIOUS2:
        return;
    default:
        if (frame->vector < VECTOR_TIMER) {
            exception(frame);
        }
        break;
    }
    io_out8(PIC1, PIC_END);
}

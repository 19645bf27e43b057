#include "serial.h"

#include "io.h"

enum {
    COM1 = 0x3f8,
    REG_DATA = 0,
    REG_IRQ_ENABLE = 1,
    REG_FIFO = 2,
    REG_LINE = 3,
    REG_MODEM = 4,
    REG_STATUS = 5,
    STATUS_RECEIVED = 0x01,
    STATUS_CAN_SEND = 0x20,
    RING = 256, /* a power of two; when it is full, further bytes are dropped */
};

static struct {
    uint8_t bytes[RING];
    volatile uint32_t in; /* counts up for ever, the place is in % RING */
    volatile uint32_t out;
    bool last_was_tick;
} serial;

static uint8_t status(void)
{
    return io_in8(COM1 + REG_STATUS);
}

void serial_init(void)
{
    io_out8(COM1 + REG_IRQ_ENABLE, 0);
    io_out8(COM1 + REG_LINE, 0x80); /* divisor instead of data for the next two writes */
    io_out8(COM1 + REG_DATA, 1);    /* 115200 baud */
    io_out8(COM1 + REG_IRQ_ENABLE, 0);
    io_out8(COM1 + REG_LINE, 0x03);  /* 8 bits, no parity, 1 stop */
    io_out8(COM1 + REG_FIFO, 0x07);  /* on and empty, interrupt at the first byte */
    io_out8(COM1 + REG_MODEM, 0x0b); /* ready, interrupt line connected */
    io_out8(COM1 + REG_IRQ_ENABLE, 0x01);
}

static void send(char byte)
{
    while (!(status() & STATUS_CAN_SEND)) {
    }
    io_out8(COM1 + REG_DATA, (uint8_t)byte);
}

void serial_line(const struct line *l)
{
    uint32_t flags = cpu_irq_save(); /* a guest that gives up early has no handlers yet */

    if (serial.last_was_tick) {
        send('\n');
    }
    for (uint32_t i = 0; i < l->len; i++) {
        send(l->text[i]);
    }
    send('\n');
    serial.last_was_tick = false;
    cpu_irq_restore(flags);
}

void serial_tick(void)
{
    if (status() & STATUS_CAN_SEND) {
        io_out8(COM1 + REG_DATA, '.');
        serial.last_was_tick = true;
    }
}

void serial_receive(void)
{
    while (status() & STATUS_RECEIVED) {
        uint8_t byte = io_in8(COM1 + REG_DATA);

        if (serial.in - serial.out < RING) {
            serial.bytes[serial.in % RING] = byte;
            serial.in++;
        }
    }
}

bool serial_has_next(void)
{
    return serial.in != serial.out;
}

int serial_next(void)
{
    uint8_t byte;

    if (!serial_has_next()) {
        return -1;
    }
    byte = serial.bytes[serial.out % RING];
    serial.out++;
    return byte;
}

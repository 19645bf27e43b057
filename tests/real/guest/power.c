#include "power.h"

#include "io.h"

enum {
    PM1A_CONTROL = 0x604,            /* PIIX4 and ICH9 as SeaBIOS places them */
    PM1A_CONTROL_OLD = 0xb004,       /* PIIX4 with old firmware */
    PM1A_CONTROL_ELSE = 0x4004,      /* other hypervisors */
    SUSPEND_NOW = 1 << 13 | 1 << 10, /* sleep type 1: to memory */
    SLEEP_NOW = 1 << 13, /* with sleep type 0, which is "soft off" on both chips */
    RESET_CONTROL = 0xcf9,
    KEYBOARD_CONTROL = 0x64,
    KEYBOARD_PULSE_RESET = 0xfe,
    IDE_COUNT = 0x1f2,
    IDE_BLOCK = 0x1f3,
    IDE_DRIVE = 0x1f6,
    IDE_COMMAND = 0x1f7,
    IDE_READ = 0x20,
    PVPANIC = 0x505,
    PVPANIC_PANICKED = 1 << 0,
    NOTHING_THERE = 0xff,
};

/* An order to the chipset stops the machine "soon": give it a moment before the next way is tried.
 * Port reads leave the emulator's inner loop, so that it can act. */
static void moment(void)
{
    for (uint32_t i = 0; i < 1000000; i++) {
        io_in8(0x80);
    }
}

void power_disk(void)
{
    io_out8(IDE_DRIVE, 0xe0); /* the first one, by block numbers */
    io_out8(IDE_COUNT, 1);
    io_out8(IDE_BLOCK, 0);
    io_out8(IDE_BLOCK + 1, 0);
    io_out8(IDE_BLOCK + 2, 0);
    io_out8(IDE_COMMAND, IDE_READ);
}

void power_off(void)
{
    static const uint16_t ports[] = {PM1A_CONTROL, PM1A_CONTROL_OLD, PM1A_CONTROL_ELSE};

    for (uint32_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
        io_out16(ports[i], SLEEP_NOW);
        moment();
    }
}

void power_suspend(void)
{
    io_out16(PM1A_CONTROL, SUSPEND_NOW);
    moment();
}

void power_reset(void)
{
    io_out8(RESET_CONTROL, 0x02);
    io_out8(RESET_CONTROL, 0x06);
    moment();
    io_out8(KEYBOARD_CONTROL, KEYBOARD_PULSE_RESET);
    moment();
}

bool power_panic(void)
{
    uint8_t can = io_in8(PVPANIC);

    if (can == NOTHING_THERE || !(can & PVPANIC_PANICKED)) {
        return false;
    }
    io_out8(PVPANIC, PVPANIC_PANICKED);
    return true;
}

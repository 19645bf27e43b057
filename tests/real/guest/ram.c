#include "ram.h"

enum {
    HAS_COMMAND_LINE = 1 << 2,
    HAS_MAP = 1 << 6,
    MAP_FREE = 1,
    PAGE = 4096,
};

/* Multiboot Specification 0.6.96, section 3.3, up to the last field used here. */
struct multiboot {
    uint32_t flags;
    uint32_t mem_lower, mem_upper;
    uint32_t boot_device;
    uint32_t command_line;
    uint32_t modules_count, modules;
    uint32_t symbols[4];
    uint32_t map_bytes, map;
};

/* `size` does not count itself. */
struct map_entry {
    uint32_t size;
    uint64_t base;
    uint64_t bytes;
    uint32_t type;
} __attribute__((packed));

extern char guest_end[];

void ram_command_line(const struct multiboot *info, char *out, uint32_t size)
{
    const char *text = (const char *)info->command_line;
    uint32_t len = 0;

    if (info->flags & HAS_COMMAND_LINE) {
        while (text[len] != '\0' && len < size - 1) {
            out[len] = text[len];
            len++;
        }
    }
    out[len] = '\0';
}

bool ram_find(const struct multiboot *info, uint32_t *start, uint32_t *bytes)
{
    uint32_t first = ((uint32_t)guest_end + PAGE - 1) & ~(uint32_t)(PAGE - 1);
    uint32_t at = info->map;

    if (!(info->flags & HAS_MAP)) {
        return false;
    }
    while (at < info->map + info->map_bytes) {
        const struct map_entry *e = (const struct map_entry *)at;
        uint64_t end = e->base + e->bytes;

        if (e->type == MAP_FREE && e->base <= first && end > first) {
            *start = first;
            *bytes = end > UINT32_MAX ? UINT32_MAX - first : (uint32_t)end - first;
            return true;
        }
        at += e->size + (uint32_t)sizeof(e->size);
    }
    return false;
}

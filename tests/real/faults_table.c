/* What there is to break, and what cannot be. */
#include <stdlib.h>
#include <string.h>

#include "tests/real/faults.h"

/* clang-format off */
const char *const mode_names[MODE_COUNT] = {
#define X(id, name, guest, options) name,
    MODES(X)
#undef X
};
const char *const mode_guests[MODE_COUNT] = {
#define X(id, name, guest, options) guest,
    MODES(X)
#undef X
};
const char *const mode_options[MODE_COUNT] = {
#define X(id, name, guest, options) options,
    MODES(X)
#undef X
};
const char *const way_names[WAY_COUNT] = {
#define X(id, name, options) name,
    WAYS(X)
#undef X
};
const char *const way_options[WAY_COUNT] = {
#define X(id, name, options) options,
    WAYS(X)
#undef X
};
const char *const moment_names[MOMENT_COUNT] = {
#define X(id, name) name,
    MOMENTS(X)
#undef X
};
const char *const fault_names[FAULT_COUNT] = {
#define X(id, name) name,
    FAULTS(X)
#undef X
};
/* clang-format on */

/* ---- versions ---- */

static unsigned ask_version(const char *qemu)
{
    char command[LAB_PATH_MAX + 64];
    char line[128] = "";
    unsigned major = 0;
    unsigned minor = 0;
    (void)snprintf(command, sizeof(command), "'%s' --version 2>/dev/null", qemu);
    FILE *f = popen(command, "r");
    if (!f)
        return 0;
    (void)!fgets(line, sizeof(line), f);
    while (fgetc(f) != EOF) {
    }
    (void)pclose(f);
    const char *at = strstr(line, "version ");
    return at && sscanf(at, "version %u.%u", &major, &minor) == 2 ? major * 100 + minor : 0;
}

struct faults_versions faults_ask_versions(void)
{
    return (struct faults_versions){.src = ask_version(lab_qemu(false)),
                                    .dst = ask_version(lab_qemu(true))};
}

const char *faults_versions_text(struct faults_versions v, char out[32])
{
    (void)snprintf(out, 32, "%u.%u>%u.%u", v.src / 100, v.src % 100, v.dst / 100,
                   v.dst % 100);
    return out;
}

/* ---- what goes together ---- */

const char *cell_unreachable(const struct cell *c, struct faults_versions v)
{
    const bool in_postcopy = c->moment == MOMENT_POSTCOPY_ACTIVE ||
                             c->moment == MOMENT_POSTCOPY_PAUSED ||
                             c->moment == MOMENT_RECOVERING;
    const bool has_channels = c->way == WAY_CHANNELS || c->way == WAY_CHANNELS_PSK;
    if (c->fault == FAULT_NONE && c->moment != MOMENT_SETUP && c->moment != MOMENT_ACK_LOST)
        return ""; /* nothing happens then */
    if (c->fault == FAULT_WORDS && c->moment != MOMENT_POSTCOPY_ACTIVE)
        return ""; /* the last word of all else is the acknowledgement: a moment of its own */
    if (in_postcopy && c->mode != MODE_POSTCOPY)
        return "this mode has no post-copy";
    if (c->moment == MOMENT_LATER_PASS && c->mode == MODE_POSTCOPY)
        return "the switch to post-copy follows the second pass";
    if (c->moment == MOMENT_LATER_PASS && c->mode == MODE_STOP)
        return "a guest that is stopped has one pass";
    if (has_channels && c->mode == MODE_POSTCOPY && (v.src < 1001 || v.dst < 1001))
        return "QEMU before 10.1 has no channels with post-copy: it is refused, or loses the "
               "guest";
    if (c->moment == MOMENT_DEVICE && c->mode == MODE_POSTCOPY && v.src < 800)
        return "QEMU 7.2 has no such state on the way to post-copy";
    if (c->moment == MOMENT_ACK_LOST && c->mode == MODE_POSTCOPY && v.src < 1002)
        return "QEMU before 10.2 awaits no acknowledgement at the switch to post-copy";
    return NULL;
}

const char *cell_name(const struct cell *c, char out[FAULTS_NAME])
{
    (void)snprintf(out, FAULTS_NAME, "%s/%s/%s", mode_names[c->mode],
                   moment_names[c->moment], fault_names[c->fault]);
    return out;
}

/* ---- choosing ---- */

static bool is_one(const char *part, size_t n, const char *const *names, unsigned n_names)
{
    for (unsigned i = 0; i < n_names; i++)
        if (strlen(names[i]) == n && strncmp(part, names[i], n) == 0)
            return true;
    return n == 0;
}

/* Where the three parts begin and how long they are. */
static bool take_apart(const char *pattern, const char *part[3], size_t n[3])
{
    for (unsigned i = 0; i < 3; i++) {
        part[i] = pattern;
        n[i] = strcspn(pattern, "/");
        pattern += n[i];
        if (i < 2 && *pattern++ != '/')
            return false;
    }
    return *pattern == '\0';
}

bool cell_pattern_is_known(const char *pattern)
{
    const char *part[3];
    size_t n[3];
    return pattern[0] == '\0' ||
           (take_apart(pattern, part, n) && is_one(part[0], n[0], mode_names, MODE_COUNT) &&
            is_one(part[1], n[1], moment_names, MOMENT_COUNT) &&
            is_one(part[2], n[2], fault_names, FAULT_COUNT));
}

bool cell_matches(const struct cell *c, const char *pattern)
{
    const char *part[3];
    size_t n[3];
    return pattern[0] == '\0' || (take_apart(pattern, part, n) &&
                                  is_one(part[0], n[0], &mode_names[c->mode], 1) &&
                                  is_one(part[1], n[1], &moment_names[c->moment], 1) &&
                                  is_one(part[2], n[2], &fault_names[c->fault], 1));
}

bool way_of(const char *name, int *out)
{
    *out = -1;
    for (unsigned i = 0; i < WAY_COUNT; i++)
        if (strcmp(name, way_names[i]) == 0)
            *out = (int)i;
    return *out >= 0 || strcmp(name, "all") == 0;
}

bool cell_at(unsigned i, struct cell *out)
{
    *out = (struct cell){.fault = (enum fault)(i % FAULT_COUNT)};
    i /= FAULT_COUNT;
    out->moment = (enum moment)(i % MOMENT_COUNT);
    i /= MOMENT_COUNT;
    out->mode = (enum mode)(i % MODE_COUNT);
    i /= MODE_COUNT;
    out->way = (enum way)i;
    return i < WAY_COUNT;
}

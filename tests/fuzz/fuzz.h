/* What every fuzz target is, for libFuzzer and for replay_main.c. */
#ifndef QF_TESTS_FUZZ_FUZZ_H
#define QF_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* Not assert: a target must notice in every profile. */
#define MUST(what)   \
    do {             \
        if (!(what)) \
            abort(); \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif

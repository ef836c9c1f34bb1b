/* What the fuzzers share. A fuzzer is one LLVMFuzzerTestOneInput (libFuzzer's entry); what must
 * hold is checked with REQUIRE. */
#ifndef MIDASHI_TESTS_FUZZ_FUZZ_H
#define MIDASHI_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include "host/base/status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

/* The path of a file in memory with these bytes, until the next call. It ends in name; a fuzzer has
 * at most four names. */
const char *fuzz_file(const char *name, const uint8_t *data, size_t size);

/* An error's status, and a text that is one line of UTF-8 and names path. */
void fuzz_check_error(enum status status, const struct err *err, const char *path);

#endif

/* See operations.h. */
#include "bench/operations.h"

#define BENCH_ADDRESS(name) &bench_##name,
const struct bench_operation *const bench_operations[] = {BENCH_OPERATIONS(BENCH_ADDRESS) NULL};

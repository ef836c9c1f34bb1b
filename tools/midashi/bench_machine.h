/* The machine that a benchmark ran on, and its measured limits. */
#ifndef MIDASHI_TOOLS_BENCH_MACHINE_H
#define MIDASHI_TOOLS_BENCH_MACHINE_H

#include <jansson.h>
#include "bench/limits.h"

/* NULL: no memory. */
json_t *machine_json(const struct device *device);
json_t *limits_json(const struct device *device, const struct cpu_limits *limits);

/* The same as two lines. */
void print_machine(const struct device *device, const struct cpu_limits *limits);

#endif

/* The machine that a benchmark ran on, and the measured limits of its devices. */
#ifndef MIDASHI_TOOLS_BENCH_MACHINE_H
#define MIDASHI_TOOLS_BENCH_MACHINE_H

#include <jansson.h>
#include "bench/run.h"

/* NULL: no memory. */
json_t *machine_json(void);
json_t *limits_json(const struct bench_place *place);

/* The same as a line each, the second with an empty one above. */
void print_machine(void);
void print_limits(const struct bench_place *place);

#endif

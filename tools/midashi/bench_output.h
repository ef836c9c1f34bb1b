/* How `midashi bench` shows rows: a table, CSV, or JSON (docs/formats.md). */
#ifndef MIDASHI_TOOLS_BENCH_OUTPUT_H
#define MIDASHI_TOOLS_BENCH_OUTPUT_H

#include <jansson.h>
#include "bench/limits.h"
#include "bench/run.h"
#include "tools/midashi/options.h"

enum bench_format { BENCH_TABLE, BENCH_CSV, BENCH_JSON };

struct bench_output {
    enum bench_format format;
    json_t *rows; /* of JSON */
    const char *last_operation;
};

/* Prints what stands above the rows: the machine and its limits, the heads of the columns. */
enum status bench_output_begin(struct bench_output *output, const struct options *options,
                               const struct device *device, const struct cpu_limits *limits,
                               struct err *err);
/* A row's result, at once but for JSON. */
enum status bench_output_row(struct bench_output *output, const struct bench_row *row,
                             const struct device *device, const struct bench_result *result,
                             struct err *err);
/* JSON: all of it. */
enum status bench_output_end(struct bench_output *output, const struct device *device,
                             const struct cpu_limits *limits, struct err *err);
void bench_output_close(struct bench_output *output); /* a zeroed one is allowed */

#endif

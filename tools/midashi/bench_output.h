/* How `midashi bench` shows rows: a table, CSV, or JSON (docs/formats.md). */
#ifndef MIDASHI_TOOLS_BENCH_OUTPUT_H
#define MIDASHI_TOOLS_BENCH_OUTPUT_H

#include <jansson.h>
#include "bench/pipeline.h"
#include "bench/run.h"
#include "tools/midashi/options.h"

enum bench_format { BENCH_TABLE, BENCH_CSV, BENCH_JSON };

struct bench_output {
    enum bench_format format;
    json_t *rows, *limits;                        /* of JSON */
    const struct bench_operation *last_operation; /* of the table: under whose name rows come */
};

/* Close it also when it fails. */
enum status bench_output_open(struct bench_output *output, const struct options *options,
                              struct err *err);
void bench_output_close(struct bench_output *output); /* a zeroed one is allowed */

/* Before the rows of a place: what it can do at best, and the heads of columns. */
enum status bench_output_place(struct bench_output *output, const struct bench_place *place,
                               struct err *err);
/* A row's result, at once but for JSON. */
enum status bench_output_row(struct bench_output *output, const struct bench_row *row,
                             const struct bench_place *place, const struct bench_result *result,
                             struct err *err);
/* The pipeline's steps there, of --model MODEL. */
enum status bench_output_stages(struct bench_output *output, const char *model,
                                const struct bench_place *place, const struct stage *stages,
                                int n_stages, struct err *err);
/* JSON: all of it. */
enum status bench_output_end(struct bench_output *output, struct err *err);

#endif

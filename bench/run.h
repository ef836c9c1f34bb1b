/* Which rows there are, and running them. */
#ifndef MIDASHI_BENCH_RUN_H
#define MIDASHI_BENCH_RUN_H

#include "bench/measure.h"

/* What to run. */
struct bench_choice {
    const char *pattern;             /* part of a row's title; "" for all */
    const char *set;                 /* a model's shapes, or "all" */
    const struct named_shape *shape; /* by hand instead; NULL */
    bool full;                       /* all shapes of a set */
};

/* A row before it is run. */
struct bench_row {
    const struct bench_operation *operation;
    int64_t size[SHAPE_DIMENSIONS];
    char shape[96];  /* "m=256 n=1536 k=576" */
    char title[160]; /* "nf4_matmul_fwd nf4 m=256 n=1536 k=576": what patterns are held against, and
                        unique among the rows of a device */
};

/* The rows of a choice, in the order of the operations; rows (NULL: none) live in the arena.
 * STATUS_USAGE: there is no such set, no operation has such dimensions, an operation refuses the
 * sizes, or nothing matches the pattern; the text says what there is. */
enum status bench_rows(struct bench_row **rows, int *n_rows,
                       const struct bench_operation *const *operations,
                       const struct bench_choice *choice, struct arena *arena, struct err *err);

/* A row after it was run on the CPU. */
struct bench_result {
    bool verified;      /* held against the reference and right; else it was not timed */
    double worst_error; /* in units of what is allowed */
    double operations, bytes;
    struct measurement measurement;
};

/* Verifies, then times for about `seconds`. */
enum status bench_run_row(struct bench_result *result, const struct bench_row *row,
                          struct device *device, double seconds, struct err *err);

#endif

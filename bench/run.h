/* Which rows there are, and running them. */
#ifndef MIDASHI_BENCH_RUN_H
#define MIDASHI_BENCH_RUN_H

#include "bench/cuda_rows.h"
#include "bench/limits.h"

/* What to run. */
struct bench_choice {
    const char *pattern;             /* part of a row's title; "" for all */
    const char *set;                 /* a model's shapes, or "all" */
    const struct named_shape *shape; /* by hand instead; NULL */
    bool may_be_empty;               /* the pattern is of other rows, perhaps of them alone */
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
 * sizes, or nothing matches the pattern and that is not allowed; the text says what there is. */
enum status bench_rows(struct bench_row **rows, int *n_rows,
                       const struct bench_operation *const *operations,
                       const struct bench_choice *choice, struct arena *arena, struct err *err);

/* Where rows run, and what it can do at best. */
struct bench_place {
    struct device device;
    char name[16];           /* "cpu", "cuda:0" */
    bool software;           /* softcuda: rows are counted, not timed */
    struct cpu_limits cpu;   /* of a CPU */
    struct cuda_limits cuda; /* of a GPU that is none of software */
};

/* Opens a device (device_open's names). Close it also when it fails. */
enum status bench_place_open(struct bench_place *place, const char *name, int threads,
                             struct err *err);
/* Measures its limits; before rows are run on it. */
enum status bench_place_measure(struct bench_place *place, struct err *err);
void bench_place_close(struct bench_place *place); /* a zeroed one is allowed */

/* Whether the operation runs there. */
bool bench_place_has(const struct bench_place *place, const struct bench_operation *operation);
/* The type of the weights, or of the activations where there are none, there: "nf4", "bf16". */
const char *bench_dtype(const struct bench_place *place, const struct bench_operation *operation);

/* A row after it was run. */
struct bench_result {
    bool verified;      /* held against the reference and right; else it was not timed */
    double worst_error; /* in units of what is allowed */
    double operations, bytes;
    struct measurement measurement; /* but on softcuda, where there is: */
    json_t *report;                 /* its report of one run; owned */
};

/* Verifies, then times for about `seconds`, or counts. The caller releases result->report. */
enum status bench_run_row(struct bench_result *result, const struct bench_row *row,
                          struct bench_place *place, double seconds, struct err *err);

#endif

/* Rows on a GPU: timed by events, or, on softcuda, counted. */
#ifndef MIDASHI_BENCH_CUDA_ROWS_H
#define MIDASHI_BENCH_CUDA_ROWS_H

#include <jansson.h>
#include "bench/measure.h"

/* What the GPU can do at best, measured. */
struct cuda_limits {
    double tensor;         /* operations a second: mma.sync of bfloat16 with float32 sums */
    double copy;           /* bytes a second of its memory; a copied byte counts twice */
    double launch_seconds; /* from one launch of an empty kernel to the next */
    int clock_mhz;         /* of the multiprocessors at most, as the driver says */
};

/* STATUS_RESOURCE: what the driver says. On softcuda the numbers mean nothing. */
enum status cuda_measure_limits(struct cuda_limits *limits, struct device *device, struct err *err);

/* Times runs by events, each with the L2 cache flushed and the operands of the other turn, for
 * about `seconds`, at least 9 and at most 1000 times. bound_seconds: what the limits allow. */
enum status cuda_measure_trial(struct measurement *measurement, struct trial *trial,
                               const struct cuda_limits *limits, double seconds, struct err *err);

/* On softcuda: one run, counted. *report: its report as docs/formats.md describes softcuda's, for
 * the caller to release. STATUS_USAGE: SOFTCUDA_REPORT is set. STATUS_FAILED: no softcuda. */
enum status cuda_count_trial(json_t **report, struct trial *trial, struct err *err);

#endif

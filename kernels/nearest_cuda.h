/* The nearest centre on a GPU: kernels/nearest.h's labels, bit for bit those of the CPU with AVX2.
 *
 *     label[i] = arg min_c sum_j (x[i,j] - centres[c,j])^2   in float64, ties to the lowest index
 *
 * With X = x - shift, C = c - shift the largest score X.C - |C|^2 / 2 wins. Scores are products of
 * tensor cores in bfloat16 with a proven bound of what they err by (docs/numerics.md, "The nearest
 * centre on a GPU"); rows that the bound leaves undecided are compared in float64 with the centres
 * that it leaves. Two kinds:
 *
 *     one product   hi.hi                  errs by about 2^-8 of |X| |C|
 *     split         hi.hi + hi.lo + lo.hi  by about 2^-15.5: three times the work
 *
 * where hi is X in bfloat16 and lo what is left of it, in bfloat16. The split pays where one
 * product would leave many rows undecided: nearest_cuda_splits says so from the count.
 *
 * Several runs, each with centres of its own, may go over the same rows at once: blocks of the same
 * rows stand side by side and read them from memory once. What a run gets, it gets alone too.
 *
 * All pointers are the device's, multiples of 16 bytes, unless said. Everything is queued on the
 * device's stream, and nothing waits for it. */
#ifndef MIDASHI_KERNELS_NEAREST_CUDA_H
#define MIDASHI_KERNELS_NEAREST_CUDA_H

#include <stdbool.h>
#include <stdint.h>
#include "host/base/device.h"
#include "kernels/run_list.h"

enum nearest_rows_type {
    NEAREST_ROWS_F32,
    NEAREST_ROWS_F16,
};

/* Rows as the tensor cores read them, for any number of calls. Columns behind d are zeros up to
 * `stride`, a multiple of 64. */
struct nearest_rows_cuda {
    int n, d, stride;
    enum nearest_rows_type type;
    const void *x;           /* (n, d), borrowed: float64 reads them */
    const float *shift;      /* (d) or NULL, borrowed */
    const void *hi, *lo;     /* (n, stride) bfloat16; lo NULL: it cannot be split */
    const float *norm;       /* (n) not below |X| */
    const float *lost;       /* (n) not below |X - hi| */
    const float *lost_split; /* (n) not below |X - hi - lo| */
};

/* 0 <= n <= 2^30, d >= 1. split: with lo. */
size_t nearest_rows_cuda_bytes(int n, int d, bool split);
/* memory: 256-byte aligned, of nearest_rows_cuda_bytes. Rows whose type is float16 are widened,
 * exactly, whenever they are read. shift: finite, or NULL for zeros. x, shift and memory must stay
 * as they are for as long as *rows is used. Queues the work on them. */
enum status nearest_rows_cuda_prepare(struct device *device, struct nearest_rows_cuda *rows,
                                      void *memory, const void *x, enum nearest_rows_type type,
                                      const float *shift, int n, int d, bool split,
                                      struct err *err);

/* Centres of all runs, packed once an iteration. */
struct nearest_centres_cuda {
    int n_runs, k, d, stride;
    int k_padded; /* centres of a run here: a multiple of the tile's */
    int shape;    /* of the tile */
    bool split;
    const float *centres;                      /* (n_runs, k, d), borrowed */
    const void *hi, *lo;                       /* (n_runs, k_padded, stride); lo NULL: not split */
    const float *half, *lost, *length, *slack; /* (n_runs, k_padded); see nearest_job.h */
};

/* 1 <= n_runs <= RUNS_LARGEST, k >= 1, d >= 1. */
size_t nearest_centres_cuda_bytes(int n_runs, int k, int d, bool split);
/* centres (n_runs, k, d) float32, finite (of runs that are not listed later, anything); shift: that
 * of the rows. memory: 256-byte aligned. */
enum status nearest_centres_cuda_pack(struct device *device, struct nearest_centres_cuda *packed,
                                      void *memory, const float *centres, const float *shift,
                                      int n_runs, int k, int d, bool split, struct err *err);

/* Bytes of scratch memory that n rows want. */
size_t nearest_cuda_scratch_bytes(int n, int n_runs);

/* label       (n_runs, label_stride) int32, of which n a run; -1 for a row with NaN or an infinity
 * rows        with lo, where the centres are split
 * runs        of the centres' n_runs; labels and counts of others are not touched
 * scratch     256-byte aligned, of nearest_cuda_scratch_bytes(n, n_runs)
 * n_rechecked (n_runs) int64; the number of rows that float64 decided is added. Or NULL
 * What a row gets of a run depends on the row and the run's centres only. Distances to the centres
 * found: kernels/own_distance.h. */
enum status nearest_fwd_cuda(struct device *device, int32_t *label, int64_t label_stride,
                             const struct nearest_rows_cuda *rows,
                             const struct nearest_centres_cuda *centres,
                             const struct run_list *runs, void *scratch, int64_t *n_rechecked,
                             struct err *err);

/* Whether the next call should be split, when the last one rechecked so many of n rows: more than
 * 10 % by one product. Below, rechecks cost less than twice the bytes of the rows, or three times
 * the products (docs/speed.md). first: the centres were rows; as means they leave far fewer rows
 * undecided, so that only more than half count. Once split, it stays so, since nothing tells how
 * many one product would leave: `split` is what the last one was. */
bool nearest_cuda_splits(bool split, bool first, int64_t n_rechecked, int64_t n);

#endif

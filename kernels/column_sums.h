/* Sums over the rows of a matrix: total[j] += sum_i x[i,j], in float64. The mean that k-means'
 * scores are shifted by comes from them, and that of embeddings that are centred.
 *
 * In blocks of 512 rows each column is a chain from 0 in the order of the rows, and the blocks'
 * sums are added to the total in order. On a GPU one call does all of it; on the CPU
 * row_chunks_mean (host/row_chunks.h) shares the blocks out, whose chains are here. The bits are
 * the same. */
#ifndef MIDASHI_KERNELS_COLUMN_SUMS_H
#define MIDASHI_KERNELS_COLUMN_SUMS_H

#include "host/base/device.h"

/* Bytes of scratch memory that n rows want: a float64 a column for each 512 rows. */
size_t column_sums_cuda_scratch_bytes(int n, int d);

/* total   (d)     float64, added to
 * x       (n, d)  float32
 * scratch of column_sums_cuda_scratch_bytes(n, d)
 * n >= 0, d >= 1; no overlap. Rows may come in several calls, of a multiple of 512 rows each but
 * the last: the same bits. NaN and infinities stay in their column. Queued on the device's stream.
 */
enum status column_sums_add_cuda(struct device *device, double *total, const float *x, int n, int d,
                                 void *scratch, struct err *err);

/* partial[j] += sum_i x[i,j], one chain, on the calling thread: a block of the CPU's.
 *
 * partial (d)     float64, added to
 * x       (n, d)  float32
 * n >= 0, d >= 1; no overlap. The same bits for any instruction set, but for which NaN it is. */
void column_sums_rows_cpu(enum cpu_isa isa, double *partial, const float *x, int n, int d);

/* The same in float64, naive, and what it is summed up of: size[j] += sum_i |x[i,j]|. Tests and
 * bench only (tests/reference). */
void column_sums_add_ref(double *total, double *size, const double *x, int n, int d);
/* What float64 in another order may differ by, as a share of |total| before and `size`. */
double column_sums_tolerance(int n);

#endif

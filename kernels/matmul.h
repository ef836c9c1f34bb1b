/* Matrix product with a dense weight: y[i,j] = sum_k x[i,k] * w[j,k], or += with add.
 *
 * As torch.nn.functional.linear without bias. BF16 weights are widened, which is exact; products
 * and sums are float32. */
#ifndef MIDASHI_KERNELS_MATMUL_H
#define MIDASHI_KERNELS_MATMUL_H

#include <stdbool.h>
#include "host/base/device.h"
#include "kernels/dense_matrix.h"

/* y (m, w->rows)     output activations; must not overlap x. Without add it is not read.
 * x (m, w->columns)  activations
 * w                  PRECISION_F32 or PRECISION_BF16 (another type asserts); rows, columns >= 1
 * m >= 0. A row of y is the same bits alone and in any batch, for any number of threads. NaN and
 * infinities go where IEEE arithmetic takes them: into the rows of y whose x holds them. */
enum status matmul_fwd(struct device *device, void *y, const void *x, const struct dense_matrix *w,
                       int m, bool add, struct err *err);

/* On a GPU: y[i,j] = sum_k x[i,k] w[j,k] + bias[j] + (add ? y[i,j] : 0), in float32, rounded once.
 * w is PRECISION_BF16 (F32 is an error, STATUS_RESOURCE), its data on the device; bias (w->rows)
 * float32 or NULL. x, y, bias and data lie at multiples of 16 bytes. Fast where the columns are a
 * multiple of 8; the epilogue moves vectors where the rows are. Sums are one chain over k, 16 at a
 * time (docs/numerics.md). Queued on the device's stream. */
enum status matmul_fwd_cuda(struct device *device, void *y, const void *x,
                            const struct dense_matrix *w, const float *bias, int m, bool add,
                            struct err *err);

/* The same with tiles of one shape, 0 to MATMUL_SHAPES - 1: the same bytes. For tests; columns that
 * are no multiple of 8 have one shape, whatever is asked for. */
#define MATMUL_SHAPES 6
enum status matmul_shape_fwd_cuda(struct device *device, int shape, void *y, const void *x,
                                  const struct dense_matrix *w, const float *bias, int m, bool add,
                                  struct err *err);

void matmul_fwd_cpu(struct device *device, float *y, const float *x, const struct dense_matrix *w,
                    int m, bool add);

/* The same in float64, naive. magnitude (m, w->rows) gets sum_k |x[i,k] * w[j,k]|, to which the
 * rounding error is proportional; NULL leaves it out. Tests and bench only (tests/reference). */
void matmul_fwd_ref(double *y, double *magnitude, const double *x, const double *w, int m, int rows,
                    int columns, bool add);
/* What float32 may differ by, as a share of the magnitude. */
double matmul_fwd_tolerance(int columns);
/* The same of tensor cores, before the sum is rounded to bfloat16. */
double matmul_fwd_cuda_tolerance(int columns);

#endif

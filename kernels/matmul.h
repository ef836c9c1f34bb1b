/* Matrix product with a dense weight: y[i,j] = sum_k x[i,k] * w[j,k], or += with add; and its
 * gradient by the input: dx[i,k] = sum_j dy[i,j] * w[j,k].
 *
 * As torch.nn.functional.linear without bias. BF16 weights are widened, which is exact; products
 * and sums are float32. The weight's own gradient: weight_gradient.h. */
#ifndef MIDASHI_KERNELS_MATMUL_H
#define MIDASHI_KERNELS_MATMUL_H

#include <stdbool.h>
#include "host/base/device.h"
#include "kernels/dense_matrix.h"
#include "kernels/dropout_mask.h"
#include "kernels/lora_parts.h"

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

/* The same with adapters; see nf4_matmul_lora_fwd_cuda. */
enum status matmul_lora_fwd_cuda(struct device *device, void *y, const void *x,
                                 const struct dense_matrix *w, const float *bias, int m, bool add,
                                 const struct lora_parts *parts, const void *s, struct err *err);

/* The same with tiles of one shape, 0 to MATMUL_SHAPES - 1: the same bytes. For tests; columns that
 * are no multiple of 8 have one shape, whatever is asked for. */
#define MATMUL_SHAPES 6
enum status matmul_shape_fwd_cuda(struct device *device, int shape, void *y, const void *x,
                                  const struct dense_matrix *w, const float *bias, int m, bool add,
                                  const struct lora_parts *parts, const void *s, struct err *err);

void matmul_fwd_cpu(struct device *device, float *y, const float *x, const struct dense_matrix *w,
                    int m, bool add);

/* dx (m, w->columns)  gradient of the input; must not overlap dy. Without add it is not read.
 * dy (m, w->rows)     gradient of the output
 * w, m, bytes, NaN    as above. It is, bit for bit, matmul_fwd of dy with the transposed matrix. */
enum status matmul_bwd_input(struct device *device, void *dx, const void *dy,
                             const struct dense_matrix *w, int m, bool add, struct err *err);

/* On a GPU, with the adapters' share:
 *
 *   dx[i,k] = sum_j dy[i,j] w[j,k] + sum_p mask_p[i,k] (ds_p · a_p)[i,k] scale
 *             + (add ? dx[i,k] : 0)
 *
 * in float32, in this order, rounded once. w, addresses as for matmul_fwd_cuda.
 * parts    the adapters of the joined matrix (lora_parts.h): w's columns and rows. NULL: none, and
 *          the two below are not read. Of a part a_transposed is read, ranks and streams
 * ds       (m, parts->padded) bfloat16 (lora_ds_cuda)
 * dropout  seed, step, first_row and threshold; NULL: no dropout
 * Fast where rows and columns are multiples of 8. Queued on the device's stream. */
enum status matmul_bwd_input_cuda(struct device *device, void *dx, const void *dy,
                                  const struct dense_matrix *w, int m, bool add,
                                  const struct lora_parts *parts, const void *ds,
                                  const struct dropout *dropout, struct err *err);

/* The same with tiles of one shape, 0 to MATMUL_BWD_SHAPES - 1: the same bytes. For tests. */
#define MATMUL_BWD_SHAPES 4
enum status matmul_shape_bwd_input_cuda(struct device *device, int shape, void *dx, const void *dy,
                                        const struct dense_matrix *w, int m, bool add,
                                        const struct lora_parts *parts, const void *ds,
                                        const struct dropout *dropout, struct err *err);

void matmul_bwd_input_cpu(struct device *device, float *dx, const float *dy,
                          const struct dense_matrix *w, int m, bool add);

/* The same in float64, naive. magnitude (m, w->rows) gets sum_k |x[i,k] * w[j,k]|, to which the
 * rounding error is proportional; NULL leaves it out. Tests and bench only (tests/reference). */
void matmul_fwd_ref(double *y, double *magnitude, const double *x, const double *w, int m, int rows,
                    int columns, bool add);
/* The same of dx, magnitude (m, columns). */
void matmul_bwd_input_ref(double *dx, double *magnitude, const double *dy, const double *w, int m,
                          int rows, int columns, bool add);
/* What float32 may differ by, as a share of the magnitude; of dx it is that of w's rows. */
double matmul_fwd_tolerance(int columns);
/* The same of tensor cores, before the sum is rounded to bfloat16. */
double matmul_fwd_cuda_tolerance(int columns);

#endif

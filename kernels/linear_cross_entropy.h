/* A language model's head and its loss: logits = x · Wᵀ, their cross-entropy, and the gradient of
 * x, a chunk of rows at a time. A vocabulary's logits are a hundred times the size of x: of 704
 * tokens and 49,152 words 138 MB. Here no more than chunk_rows rows of them are there at once. */
#ifndef MIDASHI_KERNELS_LINEAR_CROSS_ENTROPY_H
#define MIDASHI_KERNELS_LINEAR_CROSS_ENTROPY_H

#include <stdint.h>
#include "host/base/device.h"
#include "kernels/dense_matrix.h"

/* losses (n)                    float32: written, as cross_entropy's
 * dx     (n, w->columns)        written: the gradient of weight * (the sum of losses); NULL for the
 *                               losses alone. Must not overlap x
 * x      (n, w->columns)
 * w                             PRECISION_F32 or PRECISION_BF16; frozen: it gets no gradient
 * labels (n)                    0 .. w->rows-1, or -1 for a row without one: loss 0, dx 0
 * weight                        1 / (number of labels of the step) for the gradient of a mean
 * logits (chunk_rows, w->rows)  scratch of the caller's
 * n >= 0, chunk_rows >= 1. A row of the results is the same bits alone and in any batch, for any
 * chunk_rows and number of threads. Chunks of 64 rows and more have W read seldom enough for the
 * products to be as fast as whole ones, on a GPU of 256 and more. NaN and infinities stay in their
 * rows, as in matmul_fwd and cross_entropy. */
enum status linear_cross_entropy(struct device *device, float *losses, void *dx, const void *x,
                                 const struct dense_matrix *w, const int32_t *labels, int n,
                                 float weight, void *logits, int chunk_rows, struct err *err);

/* The same on a GPU, where linear_cross_entropy calls it: x, dx, w and logits bfloat16, all in
 * device memory, at multiples of 16 bytes. Rows of logits are rounded to bfloat16 before their
 * cross-entropy, and their gradient before it meets w. Fast where w's rows and columns are
 * multiples of 8. Queued on the device's stream. */
enum status linear_cross_entropy_cuda(struct device *device, float *losses, void *dx, const void *x,
                                      const struct dense_matrix *w, const int32_t *labels, int n,
                                      float weight, void *logits, int chunk_rows, struct err *err);

/* The same in float64, naive. w (rows, columns); dx may be NULL; scratch (2, rows). allowed (n, 2),
 * if not NULL, gets what may be off: a row's loss, and each element of its dx, with activations of
 * the type: PRECISION_F32 on the CPU, PRECISION_BF16 on a GPU. Tests and bench only
 * (tests/reference). */
void linear_cross_entropy_ref(double *losses, double *dx, double *allowed, const double *x,
                              const double *w, const int32_t *labels, int n, int rows, int columns,
                              double weight, double *scratch, enum precision type);

#endif

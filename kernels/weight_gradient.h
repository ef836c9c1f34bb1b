/* The gradient of a linear layer by its weight: dw[i,j] += sum over t of dy[t,i] * x[t,j], where
 * the layer is y = x · wᵀ (matmul.h). An adapter's two matrices and a classifier's are trained so.
 *
 * Rows t come in units, the micro-batches of a training step, and a unit is what sums are cut at:
 * its products are summed from 0 in ascending order of t, and that sum is added to dw, unit after
 * unit. So it is the same bits whether a step's units come in one call or in several. */
#ifndef MIDASHI_KERNELS_WEIGHT_GRADIENT_H
#define MIDASHI_KERNELS_WEIGHT_GRADIENT_H

#include <stdint.h>
#include "host/base/device.h"

/* dw (rows, columns)    float32, added to
 * dy (m, rows)          gradient of the layer's output
 * x  (m, columns)       the layer's input
 * units (n_units + 1)   unit u is rows units[u] .. units[u+1]-1; units[0] is 0, the last one m.
 *                       In the device's memory, like all arrays. An empty unit adds nothing.
 * n_units >= 0; rows, columns >= 1; dw overlaps neither dy nor x. The same bits for any number of
 * threads. A NaN or infinity in dy[t,i] or x[t,j] reaches row i or column j of dw. */
enum status weight_gradient(struct device *device, float *dw, const void *dy, const void *x,
                            const int32_t *units, int n_units, int rows, int columns,
                            struct err *err);

void weight_gradient_cpu(struct device *device, float *dw, const float *dy, const float *x,
                         const int32_t *units, int n_units, int rows, int columns);

/* dy, x: bfloat16. A row of dy begins dy_stride elements behind the one before it, so that dy may
 * be some columns of a joined matrix, and so with x. Queued on the device's stream; the host reads
 * no units. Fast where both lie in whole pieces of 16 bytes. */
enum status weight_gradient_cuda(struct device *device, float *dw, const void *dy, int dy_stride,
                                 const void *x, int x_stride, const int32_t *units, int n_units,
                                 int rows, int columns, struct err *err);

/* The same in float64, naive. magnitude (rows, columns) gets sum_t |dy[t,i] x[t,j]|; NULL leaves it
 * out. Tests and bench only (tests/reference). */
void weight_gradient_ref(double *dw, double *magnitude, const double *dy, const double *x,
                         const int32_t *units, int n_units, int rows, int columns);
/* What float32 may differ by, as a share of the magnitude and what dw held; on a GPU, of operands
 * that are bfloat16. units: on the host. */
double weight_gradient_tolerance(const int32_t *units, int n_units);
double weight_gradient_cuda_tolerance(const int32_t *units, int n_units);

#endif

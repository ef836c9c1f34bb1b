/* Matrix product with an NF4 weight: y[i,j] = sum_k x[i,k] * w'[j,k], or += with add.
 *
 * w' is the weight as nf4.h dequantises it, in float32; it is decoded on the fly, panel by panel,
 * and never stored whole. The result is, bit for bit, that of matmul_fwd with w' as a dense F32
 * matrix. Peer: bitsandbytes' matmul_4bit (there in the activations' type). */
#ifndef MIDASHI_KERNELS_NF4_MATMUL_H
#define MIDASHI_KERNELS_NF4_MATMUL_H

#include <stdbool.h>
#include "host/base/device.h"
#include "kernels/nf4.h"

/* y (m, w->rows)     output activations; must not overlap x. Without add it is not read.
 * x (m, w->columns)  activations
 * m >= 0. A row of y is the same bits alone and in any batch, for any number of threads. Columns
 * that are no multiple of 64 work, more slowly. */
enum status nf4_matmul_fwd(struct device *device, void *y, const void *x,
                           const struct nf4_matrix *w, int m, bool add, struct err *err);

void nf4_matmul_fwd_cpu(struct device *device, float *y, const float *x, const struct nf4_matrix *w,
                        int m, bool add);

/* Its float64 reference is matmul_fwd_ref over nf4_dequantize_ref. */

#endif

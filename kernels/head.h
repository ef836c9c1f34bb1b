/* A classification head on a GPU: the products of a small float32 matrix with few rows, one a text,
 * and their gradients.
 *
 *   y[i,j]     = sum_k x[i,k] * head[j,k]
 *   dx[i,k]    = sum_j dy[i,j] * head[j,k]
 *   dhead[j,k] += sum over t of dy[t,j] * x[t,k]
 *
 * Float32 throughout, since the head is trained and its logits are compared with each other; tensor
 * cores have no float32, and 16 texts of 150 labels are 10 million multiply-adds. On the CPU these
 * are matmul_fwd and matmul_bwd_input with a PRECISION_F32 weight, and weight_gradient; their
 * float64 references serve here too. */
#ifndef MIDASHI_KERNELS_HEAD_H
#define MIDASHI_KERNELS_HEAD_H

#include <stdint.h>
#include "host/base/device.h"

/* y    (n, n_labels)  written; overlaps neither x nor head
 * x    (n, d)
 * head (n_labels, d)
 * n >= 0; 1 <= n_labels <= 65,535; d >= 1. All in device memory, at any multiple of 4 bytes; where
 * those that have d columns lie at multiples of 16 and d is a multiple of 4, it is faster. The
 * order of a sum goes with d alone: a row of y is the same bits alone and in any batch, wherever it
 * lies. NaN and infinities stay in the rows of y whose x holds them. Queued on the device's stream,
 * as is all below. */
enum status head_fwd_cuda(struct device *device, float *y, const float *x, const float *head, int n,
                          int n_labels, int d, struct err *err);

/* dx (n, d)         written; must not overlap dy
 * dy (n, n_labels)
 * One chain over the labels, in ascending order; the rest as above. */
enum status head_bwd_input_cuda(struct device *device, float *dx, const float *dy,
                                const float *head, int n, int n_labels, int d, struct err *err);

/* dhead (n_labels, d)  added to; overlaps neither dy nor x
 * units (n_units + 1)  in device memory: unit u is rows units[u] .. units[u+1]-1, units[0] is 0.
 *                      Summed as weight_gradient.h says: in a unit one chain from 0 over its rows,
 *                      the units' sums added in order to what was there. An empty one adds nothing.
 * n_units >= 0. A NaN or infinity in dy[t,j] or x[t,k] reaches row j or column k of dhead. */
enum status head_gradient_cuda(struct device *device, float *dhead, const float *dy, const float *x,
                               const int32_t *units, int n_units, int n_labels, int d,
                               struct err *err);

/* What float32 may differ by, as a share of sum |x head|; of dx, sum |dy head|. Of dhead it is
 * weight_gradient_tolerance. Tests and bench only (tests/reference). */
double head_fwd_tolerance(int d);
double head_bwd_input_tolerance(int n_labels);

#endif

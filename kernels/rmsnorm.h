/* RMSNorm: y[i,j] = x[i,j] / sqrt(mean_j(x[i,j]^2) + eps) * weight[j]
 *
 * Zhang and Sennrich 2019 (arXiv:1910.07467), as LlamaRMSNorm in transformers computes it. */
#ifndef MIDASHI_KERNELS_RMSNORM_H
#define MIDASHI_KERNELS_RMSNORM_H

#include <stdbool.h>
#include "host/base/device.h"
#include "host/base/precision.h"

/* y      (n, d)  output activations; may be x itself, must not overlap it otherwise
 * x      (n, d)  activations
 * weight (d)     float32
 * eps            added to the mean square, > 0
 * n >= 0, d >= 1. On a GPU all three lie at multiples of 16 bytes. The sum of squares of a row has
 * one fixed order, whatever n and the threads. A row with NaN or an infinity gives NaN or zeros in
 * that row only; so does one whose sum of squares overflows float32: zeros, as the peer in float32
 * gives. */
enum status rmsnorm_fwd(struct device *device, void *y, const void *x, const float *weight, int n,
                        int d, float eps, struct err *err);

void rmsnorm_fwd_cpu(struct device *device, float *y, const float *x, const float *weight, int n,
                     int d, float eps);

/* type: of the activations, PRECISION_BF16 (what rmsnorm_fwd takes) or PRECISION_F32; sums are
 * float32. Queued on the device's stream. */
enum status rmsnorm_fwd_cuda(struct device *device, enum precision type, void *y, const void *x,
                             const float *weight, int n, int d, float eps, struct err *err);

/* The gradient of a number by x, where dy is its gradient by y. With r = 1 / sqrt(mean_k(x[i,k]^2)
 * + eps):
 *
 *     dx[i,j] = r weight[j] dy[i,j] - x[i,j] r^3 / d * sum_k dy[i,k] weight[k] x[i,k]
 *
 * or += with add. (The weight is not trained.)
 * dx (n, d)  without add it is not read, and may be dy itself; must not overlap x
 * dy (n, d)
 * the rest   as above; what it says of places, of orders and of rows that are not finite holds here
 *            too. */
enum status rmsnorm_bwd(struct device *device, void *dx, const void *dy, const void *x,
                        const float *weight, int n, int d, float eps, bool add, struct err *err);

void rmsnorm_bwd_cpu(struct device *device, float *dx, const float *dy, const float *x,
                     const float *weight, int n, int d, float eps, bool add);

/* type: of dx, dy and x, PRECISION_BF16 (what rmsnorm_bwd takes) or PRECISION_F32; all in float32,
 * rounded once. Queued on the device's stream. */
enum status rmsnorm_bwd_cuda(struct device *device, enum precision type, void *dx, const void *dy,
                             const void *x, const float *weight, int n, int d, float eps, bool add,
                             struct err *err);

/* The same in float64, naive. Tests and bench only (tests/reference). */
void rmsnorm_fwd_ref(double *y, const double *x, const double *weight, int n, int d, double eps);
/* What float32 on the CPU may differ by, relative to the reference, before y is rounded further. */
double rmsnorm_fwd_tolerance(int d);

/* magnitude (n, d): the terms of dx by their absolute values, to which the rounding error is
 * proportional; NULL leaves it out. */
void rmsnorm_bwd_ref(double *dx, double *magnitude, const double *dy, const double *x,
                     const double *weight, int n, int d, double eps, bool add);
/* What float32 may differ by, as a share of the magnitude; on a GPU before dx is rounded further.
 */
double rmsnorm_bwd_tolerance(int d);
double rmsnorm_bwd_cuda_tolerance(int d);

#endif

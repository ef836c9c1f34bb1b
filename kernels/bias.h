/* The bias of a linear layer: y[i,j] += bias[j] */
#ifndef MIDASHI_KERNELS_BIAS_H
#define MIDASHI_KERNELS_BIAS_H

#include "host/base/device.h"

/* y    (n, d)  activations, added to in place
 * bias (d)     float32; must not overlap y
 * n >= 0, d >= 1. One addition an element: the same bytes on every CPU. NaN stays in its element,
 * or, from bias, in its column. */
enum status bias_fwd(struct device *device, void *y, const float *bias, int n, int d,
                     struct err *err);

void bias_fwd_cpu(struct device *device, float *y, const float *bias, int n, int d);

/* y is bfloat16; both lie at multiples of 16 bytes. Queued on the device's stream. A model's own
 * biases need no launch: they are part of its products. */
enum status bias_fwd_cuda(struct device *device, void *y, const float *bias, int n, int d,
                          struct err *err);

/* The same in float64. Tests and bench only (tests/reference). */
void bias_fwd_ref(double *y, const double *bias, int n, int d);

#endif

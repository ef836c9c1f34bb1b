/* The residual connection of a block: y[i,j] += x[i,j] */
#ifndef MIDASHI_KERNELS_RESIDUAL_ADD_H
#define MIDASHI_KERNELS_RESIDUAL_ADD_H

#include "host/base/device.h"
#include "host/base/precision.h"

/* y (n, d)  activations, added to in place
 * x (n, d)  activations; must not overlap y
 * n >= 0, d >= 1. On a GPU both lie at multiples of 16 bytes. One addition an element, in float32
 * and rounded once: the same bytes on every device of the same type. NaN stays in its element. */
enum status residual_add_fwd(struct device *device, void *y, const void *x, int n, int d,
                             struct err *err);

void residual_add_fwd_cpu(struct device *device, float *y, const float *x, int n, int d);

/* type: of the elements, PRECISION_BF16 (what residual_add_fwd takes) or PRECISION_F32. Queued on
 * the device's stream. */
enum status residual_add_fwd_cuda(struct device *device, enum precision type, void *y,
                                  const void *x, int n, int d, struct err *err);

/* The same in float64. Tests and bench only (tests/reference). */
void residual_add_fwd_ref(double *y, const double *x, int n, int d);

#endif

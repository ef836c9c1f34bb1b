/* SwiGLU's element-wise part: y = silu(gate) * up with silu(x) = x / (1 + exp(-x))
 *
 * Shazeer 2020 (arXiv:2002.05202); LlamaMLP's act_fn(gate_proj(x)) * up_proj(x) in transformers. */
#ifndef MIDASHI_KERNELS_SWIGLU_H
#define MIDASHI_KERNELS_SWIGLU_H

#include "host/base/device.h"

/* y    (n, d)  may be gate or up itself, must not overlap them otherwise
 * gate (n, d)
 * up   (n, d)
 * n >= 0, d >= 1. NaN stays in its element. gate = -inf gives NaN, as x * sigmoid(x) does. */
enum status swiglu_fwd(struct device *device, void *y, const void *gate, const void *up, int n,
                       int d, struct err *err);

void swiglu_fwd_cpu(struct device *device, float *y, const float *gate, const float *up, int n,
                    int d);

/* bfloat16. gate and up: rows `stride` elements apart (2 d where they are halves of one product),
 * y's d apart; y may be gate or up only where stride is d. Where d and stride are multiples of 8,
 * all three lie at multiples of 16 bytes, else of 2. An element's bytes depend on its two inputs
 * and on d % 8 alone. Gates below -87.3 give 0. Queued on the device's stream. */
enum status swiglu_fwd_cuda(struct device *device, void *y, const void *gate, const void *up,
                            size_t stride, int n, int d, struct err *err);

/* The same in float64. Tests and bench only (tests/reference). */
void swiglu_fwd_ref(double *y, const double *gate, const double *up, int n, int d);

#endif

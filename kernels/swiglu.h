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

/* The gradient by gate and up, where dy is the gradient by y. With s = 1 / (1 + exp(-gate)):
 *
 *     dup = dy * gate * s
 *     dgate = dy * up * s * (1 + gate * (1 - s))
 *
 * dgate (n, d)  may be gate or dy itself
 * dup   (n, d)  may be up itself; neither may overlap anything otherwise
 * dy    (n, d)
 * gate, up      as above
 * NaN stays in its element; an infinite gate gives NaN. Where exp(-|gate|) is subnormal it is taken
 * as 0. */
enum status swiglu_bwd(struct device *device, void *dgate, void *dup, const void *dy,
                       const void *gate, const void *up, int n, int d, struct err *err);

void swiglu_bwd_cpu(struct device *device, float *dgate, float *dup, const float *dy,
                    const float *gate, const float *up, int n, int d);

/* bfloat16. gate and up: rows `stride` elements apart (2 d where they are halves of one product),
 * y's d apart; y may be gate or up only where stride is d. Where d and stride are multiples of 8,
 * all three lie at multiples of 16 bytes, else of 2. An element's bytes depend on its two inputs
 * and on d % 8 alone. Gates below -87.3 give 0. Queued on the device's stream. */
enum status swiglu_fwd_cuda(struct device *device, void *y, const void *gate, const void *up,
                            size_t stride, int n, int d, struct err *err);

/* The gradient. bfloat16; dgate and dup: rows dstride elements apart, gate and up: stride; dy's d
 * apart. dgate may be gate and dup may be up where dstride is stride, dgate may be dy where dstride
 * is d. Where d and both strides are multiples of 8, all five lie at multiples of 16 bytes, else
 * of 2. All in float32, rounded once; an element's bytes depend on its three inputs alone. Queued
 * on the device's stream. */
enum status swiglu_bwd_cuda(struct device *device, void *dgate, void *dup, size_t dstride,
                            const void *dy, const void *gate, const void *up, size_t stride, int n,
                            int d, struct err *err);

/* The same in float64. Tests and bench only (tests/reference). */
void swiglu_fwd_ref(double *y, const double *gate, const double *up, int n, int d);
/* magnitude (n, d): the two terms of dgate by their absolute values, to which its rounding error is
 * proportional; NULL leaves it out. */
void swiglu_bwd_ref(double *dgate, double *dup, double *magnitude, const double *dy,
                    const double *gate, const double *up, int n, int d);
/* What float32 on the CPU may differ by: of dgate as a share of the magnitude, of dup of itself. */
#define SWIGLU_BWD_TOLERANCE (16 * 0x1p-24)
/* The same on a GPU, before both are rounded further: its exponential errs by the size of the gate
 * (docs/numerics.md). */
#define SWIGLU_BWD_CUDA_TOLERANCE(gate) ((1.22 * fabs(gate) + 20) * 0x1p-24)

#endif

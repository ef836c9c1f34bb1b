/* Dropout: y[i,j] = mask[i,j] * x[i,j] * scale, or += with add. Srivastava et al. 2014 (Journal of
 * Machine Learning Research 15), inverted as torch.nn.functional.dropout has it: what is kept is
 * scaled by 1 / (1 - p). The gradient by x is the same operation on dy.
 *
 * The mask is a function of seed, step, stream and the element's place in the step, by Philox
 * (host/base/philox.h), so that the backward pass makes it again instead of keeping it:
 *   element = (first_row + i) * d + j                      64 bits
 *   half    = the (element mod 8)-th 16 bits of the 128 of philox_words(seed, step, stream,
 *             element / 8): word (element mod 8) / 2, its low half first
 *   kept where half >= threshold; threshold = round(p * 65536)
 *   scale   = 65536 / (65536 - threshold), in float32
 * It does not depend on how a step's rows are shared out among passes, on threads or the
 * instruction set. */
#ifndef MIDASHI_KERNELS_DROPOUT_H
#define MIDASHI_KERNELS_DROPOUT_H

#include <stdbool.h>
#include <stdint.h>
#include "host/base/device.h"
#include "kernels/dropout_mask.h"

/* 0 <= p < 1. At most 65535, so that something may be kept. */
uint32_t dropout_threshold(double p);
float dropout_scale(uint32_t threshold);

/* y (n, d)  may be x itself where !add, must not overlap it otherwise
 * x (n, d)
 * n >= 0, d >= 1. Each product is rounded once, and with add the sum once: the same bytes on every
 * instruction set. What is dropped is 0 (with add: adds 0), also where x is NaN or infinite. */
enum status dropout_fwd(struct device *device, void *y, const void *x,
                        const struct dropout *dropout, int n, int d, bool add, struct err *err);

void dropout_fwd_cpu(struct device *device, float *y, const float *x, const struct dropout *dropout,
                     int n, int d, bool add);

/* bfloat16: of what is kept bf16(x * scale), with add bf16(y + x * scale), where product and sum
 * are float32. The mask is the CPU's bit for bit. Queued on the device's stream. Kernels that drop
 * where they read, without an array of what is left, take the same values from dropout.cuh. */
enum status dropout_fwd_cuda(struct device *device, void *y, const void *x,
                             const struct dropout *dropout, int n, int d, bool add,
                             struct err *err);

/* factor (n, d): 0 where an element is dropped, else dropout_scale. In float64, naive. Tests and
 * bench only (tests/reference). */
void dropout_factors_ref(double *factor, const struct dropout *dropout, int n, int d);

#endif

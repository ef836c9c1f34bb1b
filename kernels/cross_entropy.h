/* Softmax of rows, and cross-entropy over it with its gradient:
 *
 *   softmax[i,j] = exp(x[i,j] - max_k x[i,k]) / sum_k exp(x[i,k] - max_k x[i,k])
 *   loss[i]      = -log softmax[i,labels[i]]
 *
 * As torch.nn.functional.softmax and cross_entropy(reduction="none", ignore_index=-1). */
#ifndef MIDASHI_KERNELS_CROSS_ENTROPY_H
#define MIDASHI_KERNELS_CROSS_ENTROPY_H

#include <stdint.h>
#include "host/base/device.h"

/* y (n, d)  may be x itself, must not overlap it otherwise
 * x (n, d)
 * n >= 0, d >= 1, of any size: a vocabulary's too. The largest value of a row is taken off before
 * exp, so no finite row overflows. A row of the result is the same bits alone and in any batch, for
 * any number of threads. -inf gives 0; a row with NaN, with +inf, or of nothing but -inf gives NaN
 * in that row only. */
enum status softmax_fwd(struct device *device, void *y, const void *x, int n, int d,
                        struct err *err);

/* Losses and the gradient of weight * (their sum), in one.
 * losses  (n)     float32: written
 * dlogits (n, d)  written: weight * (softmax[i,j] - (j == labels[i])). May be logits itself, must
 *                 not overlap them otherwise; NULL for the losses alone
 * logits  (n, d)
 * labels  (n)     0 .. d-1, or -1 for a row without one: loss 0 and gradient 0, whatever the row
 *                 holds. Others assert
 * weight          1 / (number of labels of the step) for the gradient of a mean
 * n >= 0, d >= 1. Rows as in softmax_fwd; one with a NaN has a loss of NaN. The label's own element
 * does not lose to cancellation where its probability is near 1: it is minus the sum of the
 * others', however small. */
enum status cross_entropy(struct device *device, float *losses, void *dlogits, const void *logits,
                          const int32_t *labels, int n, int d, float weight, struct err *err);

void softmax_fwd_cpu(struct device *device, float *y, const float *x, int n, int d);
void cross_entropy_cpu(struct device *device, float *losses, float *dlogits, const float *logits,
                       const int32_t *labels, int n, int d, float weight);

/* The same in float64, naive. Tests and bench only (tests/reference). */
void softmax_fwd_ref(double *y, const double *x, int n, int d);
/* dlogits may be NULL, and must not be logits. */
void cross_entropy_ref(double *losses, double *dlogits, const double *logits, const int32_t *labels,
                       int n, int d, double weight);
/* What float32 may differ by: each element of softmax and of dlogits relative to itself, for rows
 * whose largest and smallest value are `range` apart, beside an absolute 2^-126 (of dlogits: times
 * weight). */
double softmax_fwd_tolerance(int d, double range);
/* The same of a loss, absolute, beside a relative 2^-24. */
double cross_entropy_tolerance(int d);

#endif

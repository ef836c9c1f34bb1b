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
#include "host/base/precision.h"
#include "kernels/step_record.h"

/* y (n, d)  may be x itself, must not overlap it otherwise
 * x (n, d)
 * n >= 0, d >= 1, of any size: a vocabulary's too. The largest value of a row is taken off before
 * exp, so no finite row overflows. A row of the result is the same bits alone and in any batch, for
 * any number of threads. -inf gives 0; a row with NaN, with +inf, or of nothing but -inf gives NaN
 * in that row only. On a GPU x and y are float32 too, as a head's logits are there, and lie at
 * multiples of 16 bytes. */
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
 * others', however small. On a GPU activations are bfloat16, and their rows are fast where d is a
 * multiple of 8. */
enum status cross_entropy(struct device *device, float *losses, void *dlogits, const void *logits,
                          const int32_t *labels, int n, int d, float weight, struct err *err);

/* Queued on the device's stream, as is all below. y may be x. */
enum status softmax_fwd_cuda(struct device *device, float *y, const float *x, int n, int d,
                             struct err *err);

/* type: of logits and dlogits, PRECISION_BF16 (what cross_entropy takes) or PRECISION_F32; computed
 * in float32, rounded once; both lie at multiples of 16 bytes. All in device memory, labels too,
 * which are not checked there.
 * correct (n)  1 where the largest logit, the lowest of equal ones, is the label's, else 0; so too
 *              of a row without a label or with a NaN. NULL leaves it out */
enum status cross_entropy_cuda(struct device *device, enum precision type, float *losses,
                               void *dlogits, const void *logits, const int32_t *labels,
                               int32_t *correct, int n, int d, float weight, struct err *err);

/* record->loss += the sum of losses (n), one chain in float64 from what it holds: a step's is the
 * same in any number of calls. record->correct += the sum of correct (n); NULL: it stays as it is.
 * All in device memory. */
enum status losses_total_cuda(struct device *device, struct step_record *record,
                              const float *losses, const int32_t *correct, int n, struct err *err);

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
/* The same two on a GPU with x or logits of the type, before anything is rounded to bfloat16. */
double softmax_fwd_cuda_tolerance(enum precision type, int d, double range);
double cross_entropy_cuda_tolerance(enum precision type, int d);

#endif

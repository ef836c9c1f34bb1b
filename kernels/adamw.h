/* AdamW over one flat array of parameters, and what gradient clipping needs.
 *
 *   g = gradient_scale * gradient
 *   m = beta1 m + (1 - beta1) g
 *   v = beta2 v + (1 - beta2) g^2
 *   p = (1 - learning_rate weight_decay) p
 *       - learning_rate / (1 - beta1^step) * m / (sqrt(v / (1 - beta2^step)) + eps)
 *
 * Loshchilov and Hutter 2019 (arXiv:1711.05101), as torch.optim.AdamW computes it in float32. */
#ifndef MIDASHI_KERNELS_ADAMW_H
#define MIDASHI_KERNELS_ADAMW_H

#include <stdint.h>
#include "host/base/device.h"
#include "kernels/step_record.h"

/* ---- the norm ------------------------------------------------------------------------------- */

/* In float64, where no finite x overflows, and a NaN or an infinity anywhere gives NaN or +inf, so
 * that one look at the norm, the root of the sum of squares, says whether every gradient is finite.
 * Summed over fixed blocks.
 *
 * The CPU has a function that returns it: the caller looks at it, and steps or stops. On a GPU that
 * would wait for the GPU in the midst of a step. So there the norm, what clipping makes of it and
 * whether to stop go to a record on the device, which adamw_step_cuda obeys and the host reads
 * later. */

/* The CPU's: the sum of squares of x (n), 0 <= n <= 4.29e9. The same bits for any number of
 * threads. device: a CPU; of a GPU device_cpu(), with x on the host. */
double sum_of_squares(struct device *device, const float *x, int64_t n);

/* torch.nn.utils.clip_grad_norm_'s factor: min(1, largest / (norm + 1e-6)). largest = INFINITY
 * clips nothing. A norm of NaN gives NaN. */
double clip_scale(double norm, double largest);

/* A GPU's: norm, gradient_scale and stopped of the step's record, whose loss is there already.
 *
 * gradients (n)  at a multiple of 16 bytes; n >= 0
 * clip           the largest norm, for clip_scale; 0: gradient_scale is 1
 * stopped        one for the whole of training, 0 at first: where it is 0 and the loss or the norm
 *                is not finite it becomes `step`, and stays so
 * step           from 1
 * scratch        gradient_norm_scratch(n) float64
 *
 * Pointers are to the device. Two launches, queued on its stream. The same bits on every card. */
enum status gradient_norm_cuda(struct device *device, struct step_record *record, int32_t *stopped,
                               int32_t step, const float *gradients, int64_t n, double clip,
                               double *scratch, struct err *err);
int64_t gradient_norm_scratch(int64_t n);

/* ---- the step ------------------------------------------------------------------------------- */

struct adamw {
    double learning_rate;  /* of this step */
    double beta1, beta2;   /* 0 <= beta < 1; torch's defaults are 0.9 and 0.999 */
    double eps;            /* > 0; 1e-8 */
    double weight_decay;   /* decoupled: times the learning rate; 0.01 in torch */
    int64_t step;          /* from 1 */
    double gradient_scale; /* clipping's, times whatever the gradients are to be divided by */
};

/* One step.
 * parameters, gradients, m, v (n)  updated; gradients are 0 afterwards. m and v are 0 before the
 *                                  first step. No overlap
 * n >= 0. Coefficients are made in float64 and rounded once; the elements' arithmetic is float32,
 * each its own. As in torch, a gradient beyond some 5e20 overflows v: it is +inf from then on, and
 * its parameter stands still. A gradient that is not finite spoils its element for good: look at
 * the norm first. */
enum status adamw_step(struct device *device, float *parameters, float *gradients, float *m,
                       float *v, int64_t n, const struct adamw *adamw, struct err *err);

void adamw_step_cpu(struct device *device, float *parameters, float *gradients, float *m, float *v,
                    int64_t n, const struct adamw *adamw);

/* The same bytes as AVX2's. record: on the device, its gradient_scale stands for adamw's own; where
 * it has stopped, parameters, m and v stay as they are, and the gradients are 0 all the same. NULL:
 * as on the CPU. All arrays at multiples of 16 bytes; one launch, queued on the device's stream. */
enum status adamw_step_cuda(struct device *device, float *parameters, float *gradients, float *m,
                            float *v, int64_t n, const struct adamw *adamw,
                            const struct step_record *record, struct err *err);

/* The same in float64, naive; gradients are only read. allowed (3, n), if not NULL, gets what one
 * step in float32, from values that are float32, may differ by: of the parameters, of m and of v.
 * Tests and bench only (tests/reference). */
double sum_of_squares_ref(const double *x, int64_t n);
void adamw_step_ref(double *parameters, const double *gradients, double *m, double *v,
                    double *allowed, int64_t n, const struct adamw *adamw);
/* What sum_of_squares may differ by, relative to the reference. */
double sum_of_squares_tolerance(int64_t n);

#endif

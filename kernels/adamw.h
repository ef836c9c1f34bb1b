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

/* The sum of squares of x (n), 0 <= n <= 4.29e9, on the CPU (another device asserts). In float64:
 * no finite x overflows, and a NaN or an infinity anywhere gives NaN or +inf, so that one look at
 * the norm, sqrt(sum_of_squares), says whether every gradient is finite. Summed over fixed blocks:
 * the same bits for any number of threads. */
double sum_of_squares(struct device *device, const float *x, int64_t n);

/* torch.nn.utils.clip_grad_norm_'s factor: min(1, largest / (norm + 1e-6)). largest = INFINITY
 * clips nothing. A norm of NaN gives NaN. */
double clip_scale(double norm, double largest);

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
 * the norm first (sum_of_squares). */
enum status adamw_step(struct device *device, float *parameters, float *gradients, float *m,
                       float *v, int64_t n, const struct adamw *adamw, struct err *err);

void adamw_step_cpu(struct device *device, float *parameters, float *gradients, float *m, float *v,
                    int64_t n, const struct adamw *adamw);

/* The same in float64, naive; gradients are only read. allowed (3, n), if not NULL, gets what one
 * step in float32, from values that are float32, may differ by: of the parameters, of m and of v.
 * Tests and bench only (tests/reference). */
double sum_of_squares_ref(const double *x, int64_t n);
void adamw_step_ref(double *parameters, const double *gradients, double *m, double *v,
                    double *allowed, int64_t n, const struct adamw *adamw);
/* What sum_of_squares may differ by, relative to the reference. */
double sum_of_squares_tolerance(int64_t n);

#endif

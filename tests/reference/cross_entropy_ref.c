/* Softmax and cross-entropy in float64. */
#include "kernels/cross_entropy.h"

#include <math.h>

/* log sum_j exp(x[j] - largest), where *largest is the largest x[j]. */
static double log_sum(double *largest, const double *x, int d)
{
    double sum = 0;
    *largest = -INFINITY;
    for (int j = 0; j < d; j++)
        *largest = fmax(*largest, x[j]);
    for (int j = 0; j < d; j++)
        sum += exp(x[j] - *largest);
    return log(sum);
}

void softmax_fwd_ref(double *y, const double *x, int n, int d)
{
    for (int i = 0; i < n; i++) {
        const double *row = x + (size_t)i * (size_t)d;
        double largest, normaliser = log_sum(&largest, row, d);
        for (int j = 0; j < d; j++)
            y[(size_t)i * (size_t)d + (size_t)j] = exp((row[j] - largest) - normaliser);
    }
}

/* softmax - 1 of the label is minus the sum of the others. */
void cross_entropy_ref(double *losses, double *dlogits, const double *logits, const int32_t *labels,
                       int n, int d, double weight)
{
    for (int i = 0; i < n; i++) {
        const double *row = logits + (size_t)i * (size_t)d;
        double largest, normaliser = log_sum(&largest, row, d), others = 0;
        int label = labels[i];
        losses[i] = label < 0 ? 0 : normaliser + (largest - row[label]);
        if (!dlogits)
            continue;
        double *gradient = dlogits + (size_t)i * (size_t)d;
        for (int j = 0; j < d; j++) {
            gradient[j] = label < 0 ? 0 : weight * exp((row[j] - largest) - normaliser);
            others += j == label ? 0 : gradient[j];
        }
        if (label >= 0)
            gradient[label] = -others;
    }
}

/* x - max is rounded, u |x - max| of its exponential, which errs by 1.01 ulp more, 2.02 u. The sum
 * is float64's: it errs by the mean of those, weighted by the probabilities, whose |x - max| is at
 * most log d (entropy plus log of the sum, that is). The factor and the product round once each, of
 * the label's own element the result; u for what a rounding of log_sum leaves here. */
double softmax_fwd_tolerance(int d, double range)
{
    return 0x1p-24 * (fmin(range, 88) + log(d) + 8);
}

/* The sum as above; its relative error is the logarithm's absolute one. */
double cross_entropy_tolerance(int d)
{
    return 0x1p-24 * (log(d) + 3);
}

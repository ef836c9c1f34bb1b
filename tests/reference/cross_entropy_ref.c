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

/* What a GPU's sum of exponentials errs by, beside the differences to the largest. An exponential
 * errs by 2 ulp, 4 u. A thread has d / (512 width) pieces, and each of them may bring a larger
 * value, for which what there was is scaled by an exponential (5 u) and a sum is rounded: 6 u a
 * piece, and 5 for the largest of the block. A piece is a tree of at most 3 steps, a warp and the
 * block are two of 5, and the label's own comes last. (A difference is rounded piece by piece: from
 * a value to the piece's largest, from there to the next. They go one way, so it is u |x - max| as
 * on the CPU.) */
static double cuda_sum_error(enum precision type, int d)
{
    int width = type == PRECISION_BF16 ? 8 : 4;
    double pieces = ceil(d / (512.0 * (d % width == 0 ? width : 1)));
    return 6 * pieces + 4 + 5 + 3 + 10 + 1;
}

/* Two of them, the others' and the whole, of the label's own element; a quotient and a product. */
double softmax_fwd_cuda_tolerance(enum precision type, int d, double range)
{
    return 0x1p-24 * (fmin(range, 88) + log(d) + 2 * cuda_sum_error(type, d) + 3);
}

double cross_entropy_cuda_tolerance(enum precision type, int d)
{
    return 0x1p-24 * (log(d) + cuda_sum_error(type, d));
}

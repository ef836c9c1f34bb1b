/* AdamW in float64, written as Kingma and Ba 2015 (arXiv:1412.6980, algorithm 1) have it: with
 * bias-corrected moments. */
#include "kernels/adamw.h"

#include <math.h>

double sum_of_squares_ref(const double *x, int64_t n)
{
    long double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (long double)x[i] * (long double)x[i];
    return (double)sum;
}

#define U 0x1p-24

/* Coefficients and every operation round once. v: both terms are positive; its second is passed by
 * nine (g has two, and counts twice). m: six of its terms' magnitudes, which may cancel. The change
 * of a parameter: those six of m's magnitudes; of the divisor half of v's nine and six more; five
 * in all for rate, division and what is left; the parameter itself three. Subnormal m and v lose
 * 2^-149 a rounding, which a root makes 2^-73: little beside eps. */
static void allow(double *allowed, int64_t n, double parameter, double m_terms, double v,
                  double rate, double root, const struct adamw *adamw)
{
    double divisor = root + adamw->eps;
    double correction2 = 1 - pow(adamw->beta2, (double)adamw->step);
    allowed[0] = 3 * U * fabs(parameter) + 0x1p-140 / adamw->eps +
                 (22 * U + sqrt(0x1p-146 / correction2) / divisor) * rate * m_terms / divisor;
    allowed[n] = 6 * U * m_terms + 0x1p-147;
    allowed[2 * n] = 9 * U * v + 0x1p-147;
}

void adamw_step_ref(double *parameters, const double *gradients, double *m, double *v,
                    double *allowed, int64_t n, const struct adamw *adamw)
{
    double t = (double)adamw->step, b1 = adamw->beta1, b2 = adamw->beta2;
    for (int64_t i = 0; i < n; i++) {
        double g = gradients[i] * adamw->gradient_scale, before = parameters[i];
        double m_terms = b1 * fabs(m[i]) + (1 - b1) * fabs(g);
        m[i] = b1 * m[i] + (1 - b1) * g;
        v[i] = b2 * v[i] + (1 - b2) * g * g;
        double corrected_m = m[i] / (1 - pow(b1, t)), corrected_v = v[i] / (1 - pow(b2, t));
        parameters[i] -= adamw->learning_rate * adamw->weight_decay * parameters[i];
        parameters[i] -= adamw->learning_rate * corrected_m / (sqrt(corrected_v) + adamw->eps);
        if (allowed)
            allow(allowed + i, n, before, m_terms, v[i], adamw->learning_rate / (1 - pow(b1, t)),
                  sqrt(corrected_v), adamw);
    }
}

/* float64, all terms positive: within a block of 16,384 eight chains, then the blocks. */
double sum_of_squares_tolerance(int64_t n)
{
    double block = n < 16384 ? (double)n : 16384;
    return 0x1p-53 * (block / 8 + (double)n / 16384 + 10);
}

/* RMSNorm in float64. */
#include "kernels/rmsnorm.h"

#include <math.h>

void rmsnorm_fwd_ref(double *y, const double *x, const double *weight, int n, int d, double eps)
{
    for (int i = 0; i < n; i++) {
        const double *row = x + (size_t)i * (size_t)d;
        double sum = 0;
        for (int j = 0; j < d; j++)
            sum += row[j] * row[j];
        double root = sqrt(sum / d + eps);
        for (int j = 0; j < d; j++)
            y[(size_t)i * (size_t)d + (size_t)j] = row[j] / root * weight[j];
    }
}

/* float32 rounding of a sum of d squares in 8 chains, a root and two products: eps * (d/8 + 16). */
double rmsnorm_fwd_tolerance(int d)
{
    return 0x1p-24 * (d / 8.0 + 16);
}

/* By the chain rule through y = x / root * weight: root by its own derivative. */
void rmsnorm_bwd_ref(double *dx, double *magnitude, const double *dy, const double *x,
                     const double *weight, int n, int d, double eps, bool add)
{
    for (int i = 0; i < n; i++) {
        size_t row = (size_t)i * (size_t)d;
        double sum = 0, by_root = 0, by_root_magnitude = 0;
        for (int j = 0; j < d; j++)
            sum += x[row + (size_t)j] * x[row + (size_t)j];
        double root = sqrt(sum / d + eps);
        for (int j = 0; j < d; j++) {
            double term = dy[row + (size_t)j] * weight[j] * x[row + (size_t)j] / (root * root);
            by_root -= term;
            by_root_magnitude += fabs(term);
        }
        for (int j = 0; j < d; j++) {
            size_t at = row + (size_t)j;
            double direct = dy[at] * weight[j] / root, slope = x[at] / (d * root);
            double before = add ? dx[at] : 0;
            dx[at] = before + direct + by_root * slope;
            if (magnitude)
                magnitude[at] = fabs(before) + fabs(direct) + by_root_magnitude * fabs(slope);
        }
    }
}

/* Sums of d terms in 8 chains: each passes d / 8 + 8 additions. The root's enters with its power,
 * 3/2, the other sum's once; products, divisions and the last sums are a dozen roundings. */
double rmsnorm_bwd_tolerance(int d)
{
    return 0x1p-24 * (2.5 * (d / 8.0 + 8) + 12);
}

/* The same where sums are a thread's chain and two butterflies of 5 steps: 256 threads with pieces
 * of at most 8 make chains of d / 256 + 8 terms. */
double rmsnorm_bwd_cuda_tolerance(int d)
{
    return 0x1p-24 * (2.5 * (d / 256.0 + 8 + 10) + 12);
}

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

/* A bias added in float64. */
#include "kernels/bias.h"

void bias_fwd_ref(double *y, const double *bias, int n, int d)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < d; j++)
            y[(size_t)i * (size_t)d + (size_t)j] += bias[j];
}

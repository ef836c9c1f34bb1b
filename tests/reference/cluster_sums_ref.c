/* Sums of clusters, row after row. */
#include "kernels/cluster_sums.h"

#include <math.h>

void cluster_sums_add_ref(double *sums, double *magnitude, const double *x, const int32_t *from,
                          const int32_t *to, int n, int d)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < d && from[i] != to[i]; j++) {
            double value = x[(size_t)i * (size_t)d + (size_t)j];
            if (from[i] >= 0) {
                sums[(size_t)from[i] * (size_t)d + (size_t)j] -= value;
                magnitude[(size_t)from[i] * (size_t)d + (size_t)j] += fabs(value);
            }
            if (to[i] >= 0) {
                sums[(size_t)to[i] * (size_t)d + (size_t)j] += value;
                magnitude[(size_t)to[i] * (size_t)d + (size_t)j] += fabs(value);
            }
        }
}

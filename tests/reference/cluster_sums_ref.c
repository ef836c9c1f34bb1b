/* Sums of clusters, row by row. */
#include "kernels/cluster_sums.h"

void cluster_sums_add_ref(double *sums, int64_t *counts, const double *x, const int32_t *from,
                          const int32_t *to, int n, int d)
{
    for (int i = 0; i < n; i++) {
        int old = from ? from[i] : -1;
        if (old == to[i])
            continue;
        if (old >= 0)
            counts[old]--;
        if (to[i] >= 0)
            counts[to[i]]++;
        for (int j = 0; j < d; j++) {
            if (old >= 0)
                sums[(int64_t)old * d + j] -= x[(int64_t)i * d + j];
            if (to[i] >= 0)
                sums[(int64_t)to[i] * d + j] += x[(int64_t)i * d + j];
        }
    }
}

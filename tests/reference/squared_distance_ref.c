/* Squared distances in float64. */
#include "kernels/squared_distance.h"

void squared_distance_fwd_ref(double *out, const double *x, const double *centres, int n, int k,
                              int d)
{
    for (int i = 0; i < n; i++)
        for (int c = 0; c < k; c++) {
            double sum = 0;
            for (int j = 0; j < d; j++) {
                double difference = x[(size_t)i * (size_t)d + (size_t)j] -
                                    centres[(size_t)c * (size_t)d + (size_t)j];
                sum += difference * difference;
            }
            out[(size_t)i * (size_t)k + (size_t)c] = sum;
        }
}

/* float64 rounding of d squares in sums of d/4 + 4 additions, all of one sign. */
double squared_distance_fwd_tolerance(int d)
{
    return 0x1p-52 * (d / 4.0 + 6);
}

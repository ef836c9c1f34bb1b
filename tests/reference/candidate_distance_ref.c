/* Squared distances to candidates in float64, and what float32 may differ by. */
#include "kernels/candidate_distance.h"

void candidate_distance_fwd_ref(double *out, const double *x, const double *c, int n, int t, int d)
{
    for (int i = 0; i < n; i++)
        for (int trial = 0; trial < t; trial++) {
            double sum = 0;
            for (int j = 0; j < d; j++) {
                double difference =
                    x[(size_t)i * (size_t)d + (size_t)j] - c[(size_t)trial * (size_t)d + (size_t)j];
                sum += difference * difference;
            }
            out[(size_t)i * (size_t)t + (size_t)trial] = sum;
        }
}

/* A square has a difference's rounding twice, then passes at most d / 8 + 1 fused multiply-adds and
 * three additions, all of one sign: d / 8 + 6; what the product of so many roundings is more than
 * their sum is below one up to d = 40,000. */
double candidate_distance_fwd_tolerance(int d)
{
    return 0x1p-24 * (d / 8.0 + 7);
}

/* Where a fused multiply-add ends below 2^-126 it errs by up to 2^-150. Additions and differences
 * are exact there. */
double candidate_distance_fwd_least(int d)
{
    return 0x1p-150 * d;
}

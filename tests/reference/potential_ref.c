/* What trials leave of the distances in float64, and what the order of a sum may make of it. */
#include "kernels/potential.h"

#include <math.h>

void potential_fwd_ref(double *sums, const double *distance, const double *trial, int n, int runs,
                       int trials)
{
    for (int block = 0; block * POTENTIAL_ROWS < n; block++)
        for (int run = 0; run < runs; run++)
            for (int t = 0; t < trials; t++) {
                int column = run * trials + t;
                double sum = 0;
                for (int i = block * POTENTIAL_ROWS; i < n && i / POTENTIAL_ROWS == block; i++)
                    sum += fmin(distance[(size_t)run * (size_t)n + (size_t)i],
                                trial[(size_t)i * (size_t)(runs * trials) + (size_t)column]);
                sums[(size_t)block * (size_t)(runs * trials) + (size_t)column] = sum;
            }
}

/* The terms are exact, and of one sign: a rounding for each addition on either side. */
double potential_fwd_tolerance(void)
{
    return 2 * POTENTIAL_ROWS * 0x1p-53;
}

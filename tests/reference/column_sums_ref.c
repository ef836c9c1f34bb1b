/* Sums over rows, in float64, one row after another. */
#include "kernels/column_sums.h"

#include <math.h>

void column_sums_add_ref(double *total, double *size, const double *x, int n, int d)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < d; j++) {
            total[j] += x[(size_t)i * (size_t)d + (size_t)j];
            size[j] += fabs(x[(size_t)i * (size_t)d + (size_t)j]);
        }
}

/* Either sum's terms pass through at most n + 1 additions (fewer in blocks), each of which is off
 * by 2^-53 of what it gives: no more than `size` and what was there. */
double column_sums_tolerance(int n)
{
    return 2 * ((double)n + 1) * 0x1p-53;
}

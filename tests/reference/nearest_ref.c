/* The nearest centre in float64: each centre is compared with all others. */
#include "kernels/nearest.h"

#include <math.h>

static double squared_distance(const double *x, const double *centre, int d)
{
    double sum = 0;
    for (int j = 0; j < d; j++)
        sum += (x[j] - centre[j]) * (x[j] - centre[j]);
    return sum;
}

void nearest_fwd_ref(int32_t *label, double *distance, double *second, const double *x,
                     const double *centres, int n, int k, int d)
{
    for (int i = 0; i < n; i++) {
        const double *row = x + (size_t)i * (size_t)d;
        label[i] = -1;
        distance[i] = second[i] = INFINITY;
        for (int c = k - 1; c >= 0; c--) { /* from the last, so `<=` leaves the lowest */
            double value = squared_distance(row, centres + (size_t)c * (size_t)d, d);
            if (value <= distance[i] && value < INFINITY)
                label[i] = c, distance[i] = value;
        }
        for (int c = 0; c < k; c++) {
            double value = squared_distance(row, centres + (size_t)c * (size_t)d, d);
            if (c != label[i])
                second[i] = fmin(second[i], value);
        }
    }
}

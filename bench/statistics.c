/* See statistics.h. */
#include "bench/statistics.h"

#include <math.h>
#include <stdlib.h>
#include "host/base/philox.h"

#define STREAM_BOOTSTRAP 0xB0075u
#define RESAMPLES        1000

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double middle(const double *sorted, int n)
{
    return (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
}

double median_of(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, by_value);
    return middle(values, n);
}

void median_interval(double interval[2], const double *values, int n, double *scratch)
{
    double medians[RESAMPLES];
    for (int s = 0; s < RESAMPLES; s++) {
        for (int i = 0; i < n; i++) {
            uint64_t index = (uint64_t)s * (uint64_t)n + (uint64_t)i;
            int drawn = (int)(philox_uniform(0, 0, STREAM_BOOTSTRAP, index) * n);
            scratch[i] = values[drawn];
        }
        medians[s] = median_of(scratch, n);
    }
    qsort(medians, RESAMPLES, sizeof *medians, by_value);
    interval[0] = medians[RESAMPLES / 40 - 1];
    interval[1] = medians[RESAMPLES - RESAMPLES / 40];
}

double fitted_exponent(const double *x, const double *y, int n)
{
    double mean_x = 0, mean_y = 0, products = 0, squares = 0;
    for (int i = 0; i < n; i++)
        mean_x += log(x[i]) / n, mean_y += log(y[i]) / n;
    for (int i = 0; i < n; i++) {
        products += (log(x[i]) - mean_x) * (log(y[i]) - mean_y);
        squares += (log(x[i]) - mean_x) * (log(x[i]) - mean_x);
    }
    return products / squares;
}

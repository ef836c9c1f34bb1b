/* What a sample of times tells. */
#ifndef MIDASHI_BENCH_STATISTICS_H
#define MIDASHI_BENCH_STATISTICS_H

/* The median of n >= 1 values, which it sorts; of an even number the mean of the two in the middle.
 */
double median_of(double *values, int n);

/* The 95 % interval of the median by the percentile bootstrap (Efron 1979): 1000 samples drawn with
 * replacement by Philox from a fixed seed, so that the same values give the same interval. values:
 * sorted, n >= 1. scratch: room for n. */
void median_interval(double interval[2], const double *values, int n, double *scratch);

/* The least-squares exponent b of y = a x^b over n >= 2 points with x, y > 0. */
double fitted_exponent(const double *x, const double *y, int n);

#endif

/* Centres from sums, in float64. */
#include "kernels/centre_update.h"

#include <math.h>

void centre_update_ref(double *updated, const double *sums, const int64_t *counts,
                       const double *centres, int k, int d, bool spherical)
{
    for (int c = 0; c < k; c++) {
        const double *sum = sums + (int64_t)c * d;
        double divisor = (double)counts[c];
        if (spherical && counts[c] > 0) {
            divisor = 0;
            for (int j = 0; j < d; j++)
                divisor += sum[j] * sum[j];
            divisor = sqrt(divisor);
        }
        for (int j = 0; j < d; j++)
            updated[(int64_t)c * d + j] =
                divisor > 0 ? sum[j] / divisor : centres[(int64_t)c * d + j];
    }
}

void centre_moved_ref(double *moved, const double *updated, const double *centres, int k, int d)
{
    for (int c = 0; c < k; c++) {
        moved[c] = 0;
        for (int j = 0; j < d; j++) {
            double difference = updated[(int64_t)c * d + j] - centres[(int64_t)c * d + j];
            moved[c] += difference * difference;
        }
    }
}

/* n |c - m|^2 - 2 (c - m) . (S - n m) */
void centre_gain_ref(double *gain, double *magnitude, const double *sums, const int64_t *counts,
                     const double *centres, const double *mean, int k, int d)
{
    for (int c = 0; c < k; c++) {
        double count = (double)counts[c], square = 0, product = 0;
        magnitude[c] = 0;
        for (int j = 0; j < d; j++) {
            double m = mean[j], sum = sums[(int64_t)c * d + j];
            double offset = centres[(int64_t)c * d + j] - m;
            square += offset * offset;
            product += offset * (sum - count * m);
            magnitude[c] +=
                fabs(offset) * (count * fabs(offset) + 2 * (fabs(sum) + count * fabs(m)));
        }
        gain[c] = count * square - 2 * product;
    }
}

/* The rounding to float32; float64's, of a root's sum in both (halved by the root), a division. */
double centre_update_tolerance(int d)
{
    return 0x1p-24 + 0x1p-53 * (d + 10);
}

/* Chains of d / 32 and five additions, one chain of d; a difference, squared, and a product in
 * each. */
double centre_moved_tolerance(int d)
{
    return 1.001 * 0x1p-53 * (d / 32.0 + d + 14);
}

/* The same chains; five roundings of a term. */
double centre_gain_tolerance(int d)
{
    return 1.001 * 0x1p-53 * (d / 32.0 + d + 20);
}

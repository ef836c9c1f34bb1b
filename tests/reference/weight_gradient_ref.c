/* The gradient by a weight in float64: the order of units and rows is not kept, on purpose. */
#include "kernels/weight_gradient.h"

#include <math.h>

void weight_gradient_ref(double *dw, double *magnitude, const double *dy, const double *x,
                         const int32_t *units, int n_units, int rows, int columns)
{
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) {
            double sum = 0, absolute = 0;
            for (int t = 0; t < units[n_units]; t++) {
                double product = dy[(size_t)t * (size_t)rows + (size_t)i] *
                                 x[(size_t)t * (size_t)columns + (size_t)j];
                sum += product;
                absolute += fabs(product);
            }
            dw[(size_t)i * (size_t)columns + (size_t)j] += sum;
            if (magnitude)
                magnitude[(size_t)i * (size_t)columns + (size_t)j] = absolute;
        }
}

static int longest_unit(const int32_t *units, int n_units)
{
    int longest = 0;
    for (int u = 0; u < n_units; u++)
        if (units[u + 1] - units[u] > longest)
            longest = units[u + 1] - units[u];
    return longest;
}

/* A product passes as many roundings as its unit has rows (each step one by FMA; without, the
 * product's own is one more), and one for each unit from its own on; each is at most 2^-24 of the
 * magnitudes and of what dw held. */
double weight_gradient_tolerance(const int32_t *units, int n_units)
{
    return 0x1p-24 * (longest_unit(units, n_units) + 1 + n_units);
}

/* As products on a GPU (matmul_fwd_cuda_tolerance): tensor cores add 8 products and the sum so far
 * with each term cut 24 bits below the largest, 20 u for 8 rows, of which the unit's last 16 may be
 * few; and one sum for each unit. */
double weight_gradient_cuda_tolerance(const int32_t *units, int n_units)
{
    return 0x1p-24 * (2.5 * (longest_unit(units, n_units) + 16) + 1 + n_units);
}

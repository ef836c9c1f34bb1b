/* Matrix product in float64. */
#include "kernels/matmul.h"

#include <math.h>

void matmul_fwd_ref(double *y, double *magnitude, const double *x, const double *w, int m, int rows,
                    int columns, bool add)
{
    for (int i = 0; i < m; i++)
        for (int j = 0; j < rows; j++) {
            double sum = 0, absolute = 0;
            for (int k = 0; k < columns; k++) {
                double product = x[(size_t)i * (size_t)columns + (size_t)k] *
                                 w[(size_t)j * (size_t)columns + (size_t)k];
                sum += product;
                absolute += fabs(product);
            }
            size_t at = (size_t)i * (size_t)rows + (size_t)j;
            y[at] = add ? y[at] + sum : sum;
            if (magnitude)
                magnitude[at] = absolute;
        }
}

void matmul_bwd_input_ref(double *dx, double *magnitude, const double *dy, const double *w, int m,
                          int rows, int columns, bool add)
{
    for (size_t i = 0; i < (size_t)m * (size_t)columns; i++) {
        dx[i] = add ? dx[i] : 0;
        if (magnitude)
            magnitude[i] = 0;
    }
    for (size_t i = 0; i < (size_t)m; i++)
        for (size_t j = 0; j < (size_t)rows; j++)
            for (size_t k = 0; k < (size_t)columns; k++) {
                double product = dy[i * (size_t)rows + j] * w[j * (size_t)columns + k];
                dx[i * (size_t)columns + k] += product;
                if (magnitude)
                    magnitude[i * (size_t)columns + k] += fabs(product);
            }
}

/* Sums are cut at every 256 columns. A product passes at most 256 roundings within its piece (each
 * step one by FMA; two without, of which the product's own is one more), one for each piece after
 * it, one of what y held; each is at most 2^-24 of the sum of magnitudes. Cancellation is why the
 * error is held against the magnitudes, not against the result. */
double matmul_fwd_tolerance(int columns)
{
    int piece = columns < 256 ? columns : 256;
    return 0x1p-24 * (piece + columns / 256 + 3);
}

/* mma.m16n8k16 adds 16 products to an accumulator, K / 16 times. What it rounds is not documented;
 * measured (Fasi et al. 2021, "Numerical behavior of NVIDIA tensor cores", and later cards) are
 * sums of 8 or 16 exact products with the accumulator, cut off 24 bits below the leading one of the
 * largest, and a result cut to 24 bits. A term's loss is below 2^-23 of the largest, so below 2^-23
 * of the magnitudes; so is the result's. 9 terms and a result for 8 products are 20 units of 2^-24,
 * 2.5 a product; 17 terms and a result for 16 are less, and so is one rounding a product. One more
 * step of 16 for columns that fill up the last one. 4: bias, the old y, and their sums. */
double matmul_fwd_cuda_tolerance(int columns)
{
    return 0x1p-24 * (2.5 * (columns + 16) + 4);
}

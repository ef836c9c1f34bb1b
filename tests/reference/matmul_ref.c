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

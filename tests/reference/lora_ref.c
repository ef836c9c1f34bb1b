/* A low-rank adapter in float64, each sum by its formula. */
#include "kernels/lora.h"

#include <stddef.h>
#include "kernels/matmul.h"
#include "kernels/weight_gradient.h"

static double factor_at(const struct lora_ref *lora, size_t i)
{
    return lora->factor ? lora->factor[i] : 1;
}

void lora_fwd_ref(double *y, double *s, const double *x, const struct lora_ref *lora, int m)
{
    size_t rows = (size_t)lora->rows, columns = (size_t)lora->columns, rank = (size_t)lora->rank;
    for (size_t t = 0; t < (size_t)m; t++) {
        for (size_t r = 0; r < rank; r++) {
            double sum = 0;
            for (size_t j = 0; j < columns; j++)
                sum += factor_at(lora, t * columns + j) * x[t * columns + j] *
                       lora->a[r * columns + j];
            s[t * rank + r] = lora->scale * sum;
        }
        for (size_t i = 0; i < rows; i++)
            for (size_t r = 0; r < rank; r++)
                y[t * rows + i] += s[t * rank + r] * lora->b[i * rank + r];
    }
}

void lora_bwd_ref(double *dx, double *da, double *db, const double *dy, const double *x,
                  const double *s, const struct lora_ref *lora, int m)
{
    size_t rows = (size_t)lora->rows, columns = (size_t)lora->columns, rank = (size_t)lora->rank;
    for (size_t t = 0; t < (size_t)m; t++)
        for (size_t r = 0; r < rank; r++) {
            double ds = 0;
            for (size_t i = 0; i < rows; i++) {
                ds += lora->scale * dy[t * rows + i] * lora->b[i * rank + r];
                db[i * rank + r] += dy[t * rows + i] * s[t * rank + r];
            }
            for (size_t j = 0; j < columns; j++) {
                double factor = factor_at(lora, t * columns + j);
                da[r * columns + j] += ds * factor * x[t * columns + j];
                if (dx)
                    dx[t * columns + j] += factor * ds * lora->a[r * columns + j];
            }
        }
}

#define UNIT 0x1p-24

/* The product over the columns; dropout's scale is a rounded number (1), its product is rounded
 * (1), and so is that with lora's (1). */
double lora_s_tolerance(const struct lora *lora)
{
    return matmul_fwd_tolerance(lora->columns) + 3 * UNIT;
}

/* A warp's chain, the sum over 16 warps, the product with lora's scale. */
double lora_s_cuda_tolerance(int columns)
{
    return matmul_fwd_cuda_tolerance(columns) + 17 * UNIT;
}

double lora_y_tolerance(const struct lora *lora)
{
    return lora_s_tolerance(lora) + matmul_fwd_tolerance(lora->rank);
}

static double ds_tolerance(const struct lora *lora)
{
    return matmul_fwd_tolerance(lora->rows) + UNIT;
}

/* The product over the rank, dropout's scale and two roundings by it. */
double lora_dx_tolerance(const struct lora *lora)
{
    return ds_tolerance(lora) + matmul_fwd_tolerance(lora->rank) + 3 * UNIT;
}

double lora_da_tolerance(const struct lora *lora, const int32_t *units, int n_units)
{
    return ds_tolerance(lora) + 2 * UNIT + weight_gradient_tolerance(units, n_units);
}

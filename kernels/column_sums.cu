/* Sums over rows on a GPU: see column_sums.h.
 *
 *   column_sums_of_blocks   512 rows of 64 columns a CUDA block, a thread a column
 *   column_sums_total       the blocks of rows in order, a thread a column
 *
 * A chain of float64 additions waits some 40 cycles for each on a GeForce card, and there are as
 * many chains as there are columns and blocks of rows: 12 a multiprocessor's warps for 5,894 x
 * 4,096. What binds is reading x, as long as an addition is the only step of float64 that a value
 * takes: see squared_distance.cuh for how it is widened. */
#include "kernels/column_sums_job.h"
#include "kernels/squared_distance.cuh"

#define ROWS_AHEAD     16

extern "C" __global__ void __launch_bounds__(COLUMN_SUMS_COLUMNS)
    column_sums_of_blocks(const __grid_constant__ column_sums_job p)
{
    int block = blockIdx.x / p.n_groups;
    int j = blockIdx.x % p.n_groups * COLUMN_SUMS_COLUMNS + threadIdx.x;
    if (j >= p.d)
        return;
    int first = block * COLUMN_SUMS_ROWS, n = min(COLUMN_SUMS_ROWS, p.n - first), i = 0;
    const float *x = p.x + (size_t)first * p.d + j;
    double sum = 0;
    for (; i + ROWS_AHEAD <= n; i += ROWS_AHEAD, x += (size_t)ROWS_AHEAD * p.d) {
        float value[ROWS_AHEAD];
        bool finite = true;
#pragma unroll
        for (int r = 0; r < ROWS_AHEAD; r++)
            value[r] = x[(size_t)r * p.d];
#pragma unroll
        for (int r = 0; r < ROWS_AHEAD; r++)
            finite = finite && is_finite(value[r]);
        if (finite)
#pragma unroll
            for (int r = 0; r < ROWS_AHEAD; r++)
                sum = fma(shrunk(value[r]), SHRUNK_BY, sum); /* the product is exact */
        else
#pragma unroll
            for (int r = 0; r < ROWS_AHEAD; r++)
                sum += widened(value[r]);
    }
    for (; i < n; i++, x += p.d)
        sum += (double)*x;
    p.partials[(size_t)block * p.d + j] = sum;
}

extern "C" __global__ void __launch_bounds__(COLUMN_SUMS_COLUMNS)
    column_sums_total(const __grid_constant__ column_sums_job p)
{
    int j = blockIdx.x * COLUMN_SUMS_COLUMNS + threadIdx.x;
    if (j >= p.d)
        return;
    const double *partial = p.partials + j;
    double sum = p.total[j];
#pragma unroll 8 /* their loads do not wait for one another */
    for (int block = 0; block < p.n_blocks; block++)
        sum += partial[(size_t)block * p.d];
    p.total[j] = sum;
}

/* Sums over rows on a GPU: see column_sums.h.
 *
 *   column_sums_of_blocks   512 rows of 64 columns a CUDA block, a thread a column
 *   column_sums_total       the blocks of rows in order, a thread a column
 *
 * An addition in a chain of float64 waits for some 40 cycles on a GeForce card, and 512 of them are
 * 8 microseconds: 5,894 x 4,096 is 1,536 warps of chains, more than enough to hide it. What binds is
 * reading x, as long as the addition is all that a value takes of the two float64 units: see
 * widen.cuh for how it is widened. The rows of the next step are fetched before those at
 * hand are added. */
#include "kernels/column_sums_job.h"
#include "kernels/widen.cuh"

#define ROWS_AHEAD 16

static __device__ __forceinline__ void load_rows(float *value, const float *x, int d)
{
#pragma unroll
    for (int r = 0; r < ROWS_AHEAD; r++)
        value[r] = x[(size_t)r * d];
}

static __device__ __forceinline__ double add_rows(double sum, const float *value)
{
    bool finite = true;
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
    return sum;
}

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
    float value[ROWS_AHEAD], next[ROWS_AHEAD] = {};
    if (n >= ROWS_AHEAD)
        load_rows(value, x, p.d);
    for (; i + ROWS_AHEAD <= n; i += ROWS_AHEAD) {
        x += (size_t)ROWS_AHEAD * p.d;
        if (i + 2 * ROWS_AHEAD <= n)
            load_rows(next, x, p.d);
        sum = add_rows(sum, value);
#pragma unroll
        for (int r = 0; r < ROWS_AHEAD; r++)
            value[r] = next[r];
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

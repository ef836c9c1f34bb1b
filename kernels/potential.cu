/* Potentials of k-means++ on a GPU: see potential.h.
 *
 * Sums. A chain of 512 float64 additions, each of which waits for the one before, is what a block
 * of rows takes at least: some 20,000 cycles. So a warp has up to 32 such chains, a column (a run's
 * trial) each, and lies in a block of its own, since GeForce cards have float64 for one warp a
 * multiprocessor. The block's other warps bring the next 128 rows to shared memory meanwhile, as
 * what is nearer of distance and trial: the chains read nothing else. */
#include <float.h>
#include "kernels/potential_job.h"

static __device__ __forceinline__ float nearer(float distance, float candidate)
{
    return candidate < distance ? candidate : distance;
}

extern "C" __global__ void __launch_bounds__(POTENTIAL_THREADS)
    potential_begin(const __grid_constant__ potential_keep_job p)
{
    int i = blockIdx.x / p.runs * POTENTIAL_THREADS + threadIdx.x, run = blockIdx.x % p.runs;
    if (i < p.n)
        p.distance[(size_t)run * p.n + i] = FLT_MAX;
}

extern "C" __global__ void __launch_bounds__(POTENTIAL_THREADS)
    potential_keep(const __grid_constant__ potential_keep_job p)
{
    int i = blockIdx.x / p.runs * POTENTIAL_THREADS + threadIdx.x, run = blockIdx.x % p.runs;
    if (i >= p.n)
        return;
    float *distance = p.distance + (size_t)run * p.n + i;
    size_t row = (size_t)i * (p.runs * p.trials);
    *distance = nearer(*distance, p.trial[row + run * p.trials + p.best[run]]);
}

/* ---- sums ------------------------------------------------------------------------------------ */

#define TILE_ROWS 128
#define TILE_SIZE (TILE_ROWS * POTENTIAL_COLUMNS)

/* `rows` rows of `width` columns, by `threads` threads, element by element as they lie. */
static __device__ __forceinline__ void fetch(float *tile, const potential_fwd_job &p, int first_row,
                                             int rows, int first_column, int width, int thread,
                                             int threads)
{
    int row = thread / width, column = thread % width;
    int row_step = threads / width, column_step = threads % width, columns = p.runs * p.trials;
#pragma unroll 8
    for (int i = thread; i < rows * width; i += threads) {
        size_t at = first_row + row;
        int of = first_column + column;
        tile[i] = nearer(p.distance[(size_t)(of / p.trials) * p.n + at], p.trial[at * columns + of]);
        row += row_step, column += column_step;
        if (column >= width)
            column -= width, row++;
    }
}

extern "C" __global__ void __launch_bounds__(POTENTIAL_THREADS)
    potential_sums(const __grid_constant__ potential_fwd_job p)
{
    __shared__ float tiles[2 * TILE_SIZE];
    int columns = p.runs * p.trials, block = blockIdx.x / p.n_groups;
    int first_column = blockIdx.x % p.n_groups * p.width;
    int width = min(p.width, columns - first_column), thread = threadIdx.x;
    int first = block * POTENTIAL_ROWS, rows = min(p.n - first, POTENTIAL_ROWS);
    float *now = tiles, *ahead = tiles + TILE_SIZE;
    double sum = 0;
    fetch(now, p, first, min(rows, TILE_ROWS), first_column, width, thread, POTENTIAL_THREADS);
    for (int tile = 0; tile * TILE_ROWS < rows; tile++) {
        int before = tile * TILE_ROWS, next = before + TILE_ROWS;
        __syncthreads();
        if (thread >= 32) {
            if (next < rows)
                fetch(ahead, p, first + next, min(rows - next, TILE_ROWS),
                      first_column, width, thread - 32, POTENTIAL_THREADS - 32);
        } else if (thread < width) {
            const float *of = now + thread;
            int n = min(rows - before, TILE_ROWS);
#pragma unroll 16
            for (int i = 0; i < n; i++)
                sum += (double)of[i * width];
        }
        float *read = now;
        now = ahead, ahead = read;
    }
    if (thread < width)
        p.sums[(size_t)block * columns + first_column + thread] = sum;
}

/* ---- draws ----------------------------------------------------------------------------------- */

/* By a warp, 32 rows at a time: all lanes add the same chain, and each keeps what it came to with
 * its own row. So a step has one decision, which costs as much as an addition. */
static __device__ int drawn_row(const float *distance, int n, int block, double before,
                                double place)
{
    int lane = threadIdx.x % 32, row = block * POTENTIAL_ROWS;
    int last = min(n, row + POTENTIAL_ROWS), drawn = row;
    float own = row + lane < last ? distance[row + lane] : 0;
    for (; row < last; row += 32) {
        float next = row + 32 + lane < last ? distance[row + 32 + lane] : 0;
        double after = 0;
#pragma unroll
        for (int i = 0; i < 32; i++) {
            before += (double)__shfl_sync(0xFFFFFFFF, own, i);
            if (lane == i)
                after = before;
        }
        unsigned beyond = __ballot_sync(0xFFFFFFFF, after > place);
        unsigned shares = __ballot_sync(0xFFFFFFFF, own > 0);
        if (beyond)
            shares &= beyond ^ (beyond - 1); /* up to the first */
        if (shares)
            drawn = row + 31 - __clz(shares);
        if (beyond)
            break;
        own = next;
    }
    return drawn;
}

extern "C" __global__ void __launch_bounds__(POTENTIAL_THREADS)
    potential_draw(const __grid_constant__ potential_draw_job p)
{
    __shared__ int drawn;
    int c = p.first + blockIdx.x;
    if (threadIdx.x < 32) {
        int row = drawn_row(p.distance + (size_t)(c / p.trials) * p.n, p.n, p.block[blockIdx.x],
                            p.before[blockIdx.x], p.place[blockIdx.x]);
        if (threadIdx.x == 0)
            drawn = row;
    }
    __syncthreads();
    const float *x = p.x + (size_t)drawn * p.d;
    float *to = p.candidates + (size_t)c * p.d;
    if (p.d % 4 == 0)
        for (int j = 4 * threadIdx.x; j < p.d; j += 4 * POTENTIAL_THREADS)
            *(float4 *)(to + j) = *(const float4 *)(x + j);
    else
        for (int j = threadIdx.x; j < p.d; j += POTENTIAL_THREADS)
            to[j] = x[j];
}

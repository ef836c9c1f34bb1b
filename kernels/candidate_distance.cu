/* Distances to a few candidates on a GPU: see candidate_distance.h. x comes from memory once, if
 * there are no more than 64 candidates.
 *
 * A block has 32 rows and a chunk of candidates, and goes through the columns in steps of 64, which
 * cp.async brings to shared memory two steps ahead. Two warps have the same candidates, T of them,
 * and 16 rows each; further pairs of warps have others:
 *
 *            lane 0 .. 7            8 .. 15        16 .. 23       24 .. 31
 *     row    0, 4, 8, 12 (+ 16)     1, 5, ...      2, 6, ...      3, 7, ...
 *     column lane % 8 of each eight: the partial sum p[lane % 8] of the contract
 *
 * So a thread has 4 x T sums, each a chain by itself, and for eight columns reads 4 + T numbers for
 * 4 x T differences and fused multiply-adds. Rows lie 72 floats apart: the 32 numbers of x that a
 * warp reads lie in 32 banks; of the candidates it reads eight, side by side, by four lanes each.
 * Zeros less zeros, behind the last column, change no sum. */
#include "kernels/candidate_distance_job.h"
#include "kernels/tensor.cuh"

#define ROWS_A_THREAD 4
#define X_SIZE        (CANDIDATE_ROWS * CANDIDATE_STRIDE)

static __device__ __forceinline__ void copy4(void *to, const void *from, bool there)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)),
                 "l"(from), "r"(there ? 4 : 0)
                 : "memory");
}

/* 64 columns of `size` rows, zeros where there is no column or from row n on. Where rows are whole
 * vectors, 16 threads a row, else 64. */
static __device__ __forceinline__ void fetch(float *to, int stride, const float *from, int size,
                                             int n, int column, int d)
{
    bool vectors = d % 4 == 0;
    int width = vectors ? 4 : 1, a_row = CANDIDATE_COLUMNS / width;
    int j = threadIdx.x % a_row * width;
    bool inside = column + j < d;
    for (int row = threadIdx.x / a_row; row < size; row += blockDim.x / a_row) {
        bool there = inside && row < n;
        const float *at = there ? from + (size_t)row * d + column + j : from;
        if (vectors)
            copy16(to + row * stride + j, at, there);
        else
            copy4(to + row * stride + j, at, there);
    }
}

template <int T>
static __device__ __forceinline__ void add_step(float sum[T][ROWS_A_THREAD], const float *x,
                                                const float *c)
{
#pragma unroll
    for (int j = 0; j < CANDIDATE_COLUMNS; j += 8) {
        float row[ROWS_A_THREAD];
#pragma unroll
        for (int r = 0; r < ROWS_A_THREAD; r++)
            row[r] = x[4 * r * CANDIDATE_STRIDE + j];
#pragma unroll
        for (int t = 0; t < T; t++) {
            float of = c[t * CANDIDATE_COLUMNS + j];
#pragma unroll
            for (int r = 0; r < ROWS_A_THREAD; r++) {
                float difference = row[r] - of;
                sum[t][r] = fmaf(difference, difference, sum[t][r]);
            }
        }
    }
}

/* Of four rows' partial sums, by eight lanes: lanes l and l ^ 1 have that of row l / 2 then. Which
 * halves are sent decides who has which row; who adds to whom changes no sum. */
static __device__ __forceinline__ float finish(const float *sum)
{
    bool low = threadIdx.x & 4, last = threadIdx.x & 2;
    float a = low ? sum[2] : sum[0], b = low ? sum[3] : sum[1];
    a += __shfl_xor_sync(0xFFFFFFFF, low ? sum[0] : sum[2], 4);
    b += __shfl_xor_sync(0xFFFFFFFF, low ? sum[1] : sum[3], 4);
    float one = last ? b : a;
    one += __shfl_xor_sync(0xFFFFFFFF, last ? a : b, 2);
    return one + __shfl_xor_sync(0xFFFFFFFF, one, 1);
}

template <int T> static __device__ __forceinline__ void distances(const candidate_distance_job &p)
{
    extern __shared__ float4 memory[];
    float *ring = (float *)memory, sum[T][ROWS_A_THREAD] = {};
    int pairs = blockDim.x / 64, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int stage = X_SIZE + pairs * T * CANDIDATE_COLUMNS;
    int first = blockIdx.x / p.n_chunks * CANDIDATE_ROWS;
    int first_candidate = blockIdx.x % p.n_chunks * p.per_chunk;
    int rows = min(p.n - first, CANDIDATE_ROWS);
    int n_candidates = min(p.t - first_candidate, p.per_chunk);
    int row = warp / pairs * (CANDIDATE_ROWS / 2) + lane / 8, candidate = warp % pairs * T;
    const float *x = p.x + (size_t)first * p.d, *c = p.c + (size_t)first_candidate * p.d;
    int n_steps = (p.d + CANDIDATE_COLUMNS - 1) / CANDIDATE_COLUMNS;
    auto fetch_step = [&](int step) {
        if (step < n_steps) {
            float *to = ring + step % CANDIDATE_STAGES * stage;
            int column = step * CANDIDATE_COLUMNS;
            fetch(to, CANDIDATE_STRIDE, x, CANDIDATE_ROWS, rows, column, p.d);
            fetch(to + X_SIZE, CANDIDATE_COLUMNS, c, pairs * T, n_candidates, column, p.d);
        }
        commit();
    };
    for (int step = 0; step < CANDIDATE_STAGES - 1; step++)
        fetch_step(step);
    for (int step = 0; step < n_steps; step++) {
        wait<CANDIDATE_STAGES - 2>();
        __syncthreads(); /* all have copied this step, and read the one before */
        fetch_step(step + CANDIDATE_STAGES - 1);
        const float *from = ring + step % CANDIDATE_STAGES * stage;
        add_step<T>(sum, from + row * CANDIDATE_STRIDE + lane % 8,
                    from + X_SIZE + candidate * CANDIDATE_COLUMNS + lane % 8);
    }
    wait<0>();
    __syncthreads();
    /* By shared memory, so that what is written lies side by side. */
#pragma unroll
    for (int t = 0; t < T; t++) {
        float distance = finish(sum[t]);
        if (lane % 2 == 0 && candidate + t < n_candidates)
            ring[(row + lane % 8 / 2 * 4) * n_candidates + candidate + t] = distance;
    }
    __syncthreads();
    float *out = p.out + (size_t)first * p.t + first_candidate;
    for (int i = threadIdx.x; i < rows * n_candidates; i += blockDim.x)
        out[(size_t)(i / n_candidates) * p.t + i % n_candidates] = ring[i];
}

#define CANDIDATE_DISTANCE(T)                                                                      \
    extern "C" __global__ void __launch_bounds__(64 * CANDIDATE_PAIRS)                             \
        candidate_distance_##T(const __grid_constant__ candidate_distance_job p)                   \
    {                                                                                              \
        distances<T>(p);                                                                           \
    }
CANDIDATE_DISTANCE(1)
CANDIDATE_DISTANCE(2)
CANDIDATE_DISTANCE(3)
CANDIDATE_DISTANCE(4)
CANDIDATE_DISTANCE(5)
CANDIDATE_DISTANCE(6)
CANDIDATE_DISTANCE(7)
CANDIDATE_DISTANCE(8)

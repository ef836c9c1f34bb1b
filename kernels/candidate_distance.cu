/* Distances to a few candidates on a GPU: see candidate_distance.h. x comes from memory once, if
 * there are no more than 80 candidates.
 *
 * A block has 32 rows and a chunk of candidates, and goes through the columns in steps of 64, which
 * cp.async brings to shared memory two steps ahead. A warp has T of the candidates and all rows, R
 * being 2, or 16 of them, R being 1, which is for so few candidates that a block would be a single
 * warp:
 *
 *     lane       0        1        2        3        ...  30       31
 *     rows       0, 16    0, 16    1, 17    1, 17         15, 31   15, 31
 *     p[0 .. 3]  of all            of all                 of all
 *     p[4 .. 7]           of all            of all                 of all
 *
 * So a thread has 4 R T partial sums, each a chain by itself, and for eight columns it reads R + T
 * vectors for 8 R T operations: what issues loads has half the work of what issues operations, or
 * little more. Rows lie 72 floats apart, so that the vectors of 4 rows lie in 32 banks; of the
 * candidates a warp reads two vectors, all lanes the one or the other. Zeros less zeros, behind the
 * last column, change no sum. */
#include "kernels/candidate_distance_job.h"
#include "kernels/cuda.cuh"
#include "kernels/tensor.cuh"

#define X_SIZE        (CANDIDATE_ROWS * CANDIDATE_STRIDE)

static __device__ __forceinline__ void copy4(void *to, const void *from, bool there)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)),
                 "l"(from), "r"(there ? 4 : 0)
                 : "memory");
}

/* 64 columns of `size` rows, zeros where there is no column or from row n on. Where rows are whole
 * vectors, 16 threads a row, else 32. */
static __device__ __forceinline__ void fetch(float *to, int stride, const float *from, int size,
                                             int n, int column, int d)
{
    bool vectors = d % 4 == 0;
    int width = vectors ? 4 : 1, a_row = vectors ? 16 : 32, step = blockDim.x / a_row;
#pragma unroll 1
    for (int j = threadIdx.x % a_row * width; j < CANDIDATE_COLUMNS; j += a_row * width) {
        int row = threadIdx.x / a_row, end = column + j < d ? n : 0;
        const float *at = from + (size_t)row * d + column + j;
#pragma unroll 1
        for (; row < size; row += step, at += (size_t)step * d)
            if (vectors)
                copy16(to + row * stride + j, row < end ? at : from, row < end);
            else
                copy4(to + row * stride + j, row < end ? at : from, row < end);
    }
}

template <int T, int R>
static __device__ __forceinline__ void add_step(float sum[T][R][4], const float *x, const float *c)
{
#pragma unroll
    for (int j = 0; j < CANDIDATE_COLUMNS; j += 8) {
        floats<4> row[R];
#pragma unroll
        for (int r = 0; r < R; r++)
            row[r] = load_floats<4>(x + 16 * r * CANDIDATE_STRIDE + j);
#pragma unroll
        for (int t = 0; t < T; t++) {
            floats<4> of = load_floats<4>(c + t * CANDIDATE_COLUMNS + j);
#pragma unroll
            for (int r = 0; r < R; r++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    float difference = row[r].of[i] - of.of[i];
                    sum[t][r][i] = fmaf(difference, difference, sum[t][r][i]);
                }
        }
    }
}

/* Of a row's four partial sums here and four in the lane beside, the same in both. */
static __device__ __forceinline__ float finish(const float *sum)
{
    float p[4];
#pragma unroll
    for (int i = 0; i < 4; i++)
        p[i] = sum[i] + __shfl_xor_sync(0xFFFFFFFF, sum[i], 1);
    return (p[0] + p[2]) + (p[1] + p[3]);
}

template <int T, int R>
static __device__ __forceinline__ void distances(const candidate_distance_job &p)
{
    extern __shared__ float4 memory[];
    float *ring = (float *)memory, sum[T][R][4] = {};
    int groups = blockDim.x / 32 * R / 2, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int stage = X_SIZE + groups * T * CANDIDATE_COLUMNS;
    int first = blockIdx.x / p.n_chunks * CANDIDATE_ROWS;
    int first_candidate = blockIdx.x % p.n_chunks * p.per_chunk;
    int rows = min(p.n - first, CANDIDATE_ROWS);
    int n_candidates = min(p.t - first_candidate, p.per_chunk);
    int row = warp / groups * 16 + lane / 2, candidate = warp % groups * T;
    const float *x = p.x + (size_t)first * p.d, *c = p.c + (size_t)first_candidate * p.d;
    int n_steps = (p.d + CANDIDATE_COLUMNS - 1) / CANDIDATE_COLUMNS;
    auto fetch_step = [&](int step) {
        if (step < n_steps) {
            float *to = ring + step % CANDIDATE_STAGES * stage;
            int column = step * CANDIDATE_COLUMNS;
            fetch(to, CANDIDATE_STRIDE, x, CANDIDATE_ROWS, rows, column, p.d);
            fetch(to + X_SIZE, CANDIDATE_COLUMNS, c, groups * T, n_candidates, column, p.d);
        }
        commit();
    };
    for (int step = 0; step < CANDIDATE_STAGES - 1; step++)
        fetch_step(step);
    for (int step = 0; step < n_steps; step++) {
        wait<CANDIDATE_STAGES - 2>();
        __syncthreads(); /* all have copied this step, and read the one before */
        fetch_step(step + CANDIDATE_STAGES - 1);
        const float *from = ring + step % CANDIDATE_STAGES * stage + lane % 2 * 4;
        add_step<T, R>(sum, from + row * CANDIDATE_STRIDE,
                       from + X_SIZE + candidate * CANDIDATE_COLUMNS);
    }
    wait<0>();
    __syncthreads();
    /* By shared memory, so that what is written lies side by side. */
#pragma unroll
    for (int t = 0; t < T; t++)
#pragma unroll
        for (int r = 0; r < R; r++) {
            float distance = finish(sum[t][r]);
            if (lane % 2 == 0 && candidate + t < n_candidates)
                ring[(row + 16 * r) * n_candidates + candidate + t] = distance;
        }
    __syncthreads();
    float *out = p.out + (size_t)first * p.t + first_candidate;
    for (int i = threadIdx.x; i < rows * n_candidates; i += blockDim.x)
        out[(size_t)(i / n_candidates) * p.t + i % n_candidates] = ring[i];
}

#define CANDIDATE_DISTANCE(name, T, R, THREADS)                                                    \
    extern "C" __global__ void __launch_bounds__(THREADS)                                          \
        candidate_distance_##name(const __grid_constant__ candidate_distance_job p)                \
    {                                                                                              \
        distances<T, R>(p);                                                                        \
    }
CANDIDATE_DISTANCE(few_1, 1, 1, 64)
CANDIDATE_DISTANCE(few_2, 2, 1, 64)
CANDIDATE_DISTANCE(few_3, 3, 1, 64)
CANDIDATE_DISTANCE(few_4, 4, 1, 64)
CANDIDATE_DISTANCE(few_5, 5, 1, 64)
CANDIDATE_DISTANCE(few_6, 6, 1, 64)
CANDIDATE_DISTANCE(few_7, 7, 1, 64)
CANDIDATE_DISTANCE(few_8, 8, 1, 64)
CANDIDATE_DISTANCE(5, 5, 2, 32 * CANDIDATE_GROUPS)
CANDIDATE_DISTANCE(6, 6, 2, 32 * CANDIDATE_GROUPS)
CANDIDATE_DISTANCE(7, 7, 2, 32 * CANDIDATE_GROUPS)
CANDIDATE_DISTANCE(8, 8, 2, 32 * CANDIDATE_GROUPS)

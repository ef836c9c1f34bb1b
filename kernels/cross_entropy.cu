/* Softmax and cross-entropy on a GPU: a block a row, of at most 512 threads, by the row's width
 * alone. See cross_entropy.h.
 *
 *   once over the row     each thread has the largest of its elements and the sum of exp(x - it),
 *                         rescaled where a piece brings a larger one. The block's largest is exact,
 *                         so each thread's sum is rescaled to it once more and added: a butterfly
 *                         over the warp, one over the warps
 *   over it again         exp(x - largest) * factor, by the same threads: so y may be x
 *
 * A row of a vocabulary is read twice and written once: 6 bytes a logit in bfloat16, for which a
 * multiprocessor of an RTX 4090 has the time of 245 instructions of a lane; two exponentials are
 * 30. So expf is the exact one, and sums are float32 in many short chains, pieces added as trees.
 *
 * The label's own element is left out of the sum, as on the CPU: softmax - 1 is minus the others'
 * part. In its place stands -inf, whose exponential is 0.
 *
 * -FLT_MAX is where the search for the largest begins: it makes exp(-inf - largest) 0 instead of
 * NaN, also in a thread that has met nothing else. A row of nothing but -inf has the sum 0, and
 * 0 / 0 is the NaN that it shall have; of +inf exp(inf - inf) is. fmaxf looks past a NaN, which the
 * exponentials then bring out. */
#include <float.h>
#include <math.h>
#include "kernels/cuda.cuh"
#include "kernels/step_record.h"

#define THREADS_LARGEST 512

/* What a thread has seen of its row, then the block. */
struct row_sum {
    float largest, sum; /* sum of exp(x - largest) */
    int beaten; /* the label is not the answer: an element is larger, or an equal one before it */
};

/* This thread's elements but the label's; own is that one's value. label -1: there is none. */
template <int W, typename T>
static __device__ row_sum sum_of_thread(const T *x, int d, int label, float own)
{
    row_sum row = {-FLT_MAX, 0, 0};
    for (int j = threadIdx.x * W; j < d; j += blockDim.x * W) {
        floats<W> v = load_floats<W>(x + j);
        float larger = row.largest;
#pragma unroll
        for (int i = 0; i < W; i++) {
            v.of[i] = j + i == label ? -INFINITY : v.of[i];
            row.beaten |= j + i < label ? v.of[i] >= own : v.of[i] > own;
            larger = fmaxf(larger, v.of[i]);
        }
        if (larger > row.largest)
            row.sum *= expf(row.largest - larger);
        row.largest = larger;
#pragma unroll
        for (int i = 0; i < W; i++)
            v.of[i] = expf(v.of[i] - larger);
#pragma unroll
        for (int step = W / 2; step > 0; step /= 2)
            for (int i = 0; i < step; i++)
                v.of[i] += v.of[i + step];
        row.sum += v.of[0];
    }
    return row;
}

/* The same over the block, in each thread; its largest is at least `least`. */
static __device__ row_sum sum_of_block(row_sum row, float least)
{
    __shared__ float largest[THREADS_LARGEST / 32], sum[THREADS_LARGEST / 32];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, n_warps = blockDim.x / 32;
    float of_warp = warp_largest(row.largest);
    if (lane == 0)
        largest[warp] = of_warp;
    row.beaten = __syncthreads_or(row.beaten);
    float of_block = fmaxf(warp_largest(lane < n_warps ? largest[lane] : -FLT_MAX), least);
    of_warp = warp_sum(row.sum * expf(row.largest - of_block));
    if (lane == 0)
        sum[warp] = of_warp;
    __syncthreads();
    row.sum = warp_sum(lane < n_warps ? sum[lane] : 0.0f);
    row.largest = of_block;
    return row;
}

/* y = exp(x - largest) * factor, of this thread's elements; the label's is `own`. */
template <int W, typename T>
static __device__ void store_row(T *y, const T *x, int d, float largest, float factor, int label,
                                 float own)
{
    for (int j = threadIdx.x * W; j < d; j += blockDim.x * W) {
        floats<W> v = load_floats<W>(x + j);
#pragma unroll
        for (int i = 0; i < W; i++)
            v.of[i] = j + i == label ? own : expf(v.of[i] - largest) * factor;
        store_floats(y + j, v);
    }
}

template <int W> static __device__ void softmax_row(float *y, const float *x, int d)
{
    row_sum row = sum_of_block(sum_of_thread<W>(x, d, -1, 0), -FLT_MAX);
    store_row<W>(y, x, d, row.largest, 1.0f / row.sum, -1, 0);
}

extern "C" __global__ void __launch_bounds__(THREADS_LARGEST)
    softmax_by_fours(float *y, const float *x, int d)
{
    softmax_row<4>(y + (size_t)blockIdx.x * d, x + (size_t)blockIdx.x * d, d);
}

extern "C" __global__ void __launch_bounds__(THREADS_LARGEST)
    softmax_by_elements(float *y, const float *x, int d)
{
    softmax_row<1>(y + (size_t)blockIdx.x * d, x + (size_t)blockIdx.x * d, d);
}

struct cross_entropy_parameters { /* cross_entropy.c's */
    float *losses;
    void *dlogits;
    const void *logits;
    const int *labels;
    int *correct;
    int d;
    float weight;
};

template <int W, typename T>
static __device__ void cross_entropy_row(const cross_entropy_parameters &p)
{
    int d = p.d, label = p.labels[blockIdx.x];
    const T *logits = (const T *)p.logits + (size_t)blockIdx.x * d;
    T *dlogits = p.dlogits ? (T *)p.dlogits + (size_t)blockIdx.x * d : NULL;
    if (label < 0) {
        if (threadIdx.x == 0) {
            p.losses[blockIdx.x] = 0;
            if (p.correct)
                p.correct[blockIdx.x] = 0;
        }
        for (int j = threadIdx.x * W; dlogits && j < d; j += blockDim.x * W)
            store_floats(dlogits + j, floats<W>{});
        return;
    }
    /* All threads have read it before the block's barrier, behind which dlogits may take its place.
     */
    float own = to_float(logits[label]);
    row_sum row = sum_of_block(sum_of_thread<W>(logits, d, label, own), own);
    float of_label = expf(own - row.largest), sum = row.sum + of_label;
    if (threadIdx.x == 0) {
        /* In float64, where the sum keeps what others have beside a label of nearly all. */
        double normaliser = log((double)row.sum + (double)of_label);
        p.losses[blockIdx.x] = (float)(normaliser + ((double)row.largest - (double)own));
        if (p.correct)
            p.correct[blockIdx.x] = !row.beaten && sum == sum;
    }
    if (dlogits)
        store_row<W>(dlogits, logits, d, row.largest, p.weight / sum, label,
                     -p.weight * (row.sum / sum));
}

extern "C" __global__ void __launch_bounds__(THREADS_LARGEST)
    cross_entropy_f32_by_vectors(cross_entropy_parameters parameters)
{
    cross_entropy_row<4, float>(parameters);
}

extern "C" __global__ void __launch_bounds__(THREADS_LARGEST)
    cross_entropy_f32_by_elements(cross_entropy_parameters parameters)
{
    cross_entropy_row<1, float>(parameters);
}

extern "C" __global__ void __launch_bounds__(THREADS_LARGEST)
    cross_entropy_bf16_by_vectors(cross_entropy_parameters parameters)
{
    cross_entropy_row<8, __nv_bfloat16>(parameters);
}

extern "C" __global__ void __launch_bounds__(THREADS_LARGEST)
    cross_entropy_bf16_by_elements(cross_entropy_parameters parameters)
{
    cross_entropy_row<1, __nv_bfloat16>(parameters);
}

/* ---- a step's losses ------------------------------------------------------------------------ */

#define TOTAL_THREADS 256

/* One chain from what the record holds, loss after loss, so that a step is the same sum in one pass
 * and in several. One block: the next losses are on their way to shared memory while one thread
 * adds. A sum in float64 takes some 50 clocks, 3,000 losses 60 microseconds. */
extern "C" __global__ void __launch_bounds__(TOTAL_THREADS)
    losses_total(step_record *record, const float *losses, const int *correct, int n)
{
    __shared__ float piece[2][TOTAL_THREADS];
    __shared__ unsigned long long count;
    double sum = 0;
    if (threadIdx.x == 0) {
        sum = record->loss;
        count = 0;
    }
    unsigned long long of_thread = 0;
    for (int first = 0, turn = 0; first < n; first += TOTAL_THREADS, turn ^= 1) {
        int i = first + threadIdx.x;
        if (i < n) {
            piece[turn][threadIdx.x] = losses[i];
            of_thread += correct ? correct[i] : 0;
        }
        __syncthreads();
        for (int k = 0; threadIdx.x == 0 && k < min(TOTAL_THREADS, n - first); k++)
            sum += (double)piece[turn][k];
    }
    __syncthreads();
    if (of_thread)
        atomicAdd(&count, of_thread); /* integers: in any order */
    __syncthreads();
    if (threadIdx.x == 0) {
        record->loss = sum;
        record->correct += count;
    }
}

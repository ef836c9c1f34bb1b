/* Contrastive loss on a GPU. See contrastive.h for the formulas, contrastive.c for the steps:
 *
 *   contrastive_lengths    |a_i|, |p_j|              a warp a vector
 *   contrastive_dots       a_i . p_j                 a warp 4 anchors and 4 positives
 *   contrastive_losses     g[i,j] and losses         a warp an anchor
 *   contrastive_gradients  sum_j g[i,j] p_j / |p_j|, less what lies along a_i, by |a_i|
 *                                                    a block 4 vectors and 256 columns
 *
 * All in float64, as on the CPU and for its reasons. A GeForce card has 2 units of it a
 * multiprocessor, and widening a float takes one of them too: a warp's step of 4 anchors and 4
 * positives is 16 multiply-adds and 8 conversions. 256 pairs of width 4096 take a 4090 some 2 ms,
 * 16 pairs 20 us; the model's step over those 512 texts takes seconds.
 *
 * What lies along a vector is not taken from its gradient, which no block has whole, but from the
 * dot products: sum_k v[k] a_i[k] = sum_j g[i,j] / |p_j| * (a_i . p_j). */
#include <math.h>
#include "kernels/cuda.cuh"

#define SHORTEST   1e-8 /* torch's eps */
#define TILE       4    /* anchors and positives of a warp; vectors of a block */
#define THREADS    256
#define PAIR_STEPS (THREADS / TILE) /* pairs of a vector at a time */

struct contrastive_parameters { /* contrastive.c's */
    float *losses;
    float *gradients[2];     /* of the anchors and of the positives */
    const float *vectors[2]; /* anchors, positives */
    const unsigned char *excluded;
    int n, d;
    double temperature, weight;
    double *lengths[2]; /* (n) each */
    double *dots, *g;   /* (n, n) each */
};

/* By a choice, since an index would have the parameters copied to local memory. */
template <typename T> static __device__ T *of_side(T *const (&of)[2], int side)
{
    return side ? of[1] : of[0];
}

/* What a vector is divided by: NaN stays NaN. */
static __device__ double divisor(double length)
{
    return length < SHORTEST ? SHORTEST : length;
}

static __device__ bool meets(const contrastive_parameters &p, int i, int j)
{
    return i == j || !p.excluded || !p.excluded[(size_t)i * p.n + j];
}

template <int W> static __device__ void length_of(const contrastive_parameters &p)
{
    int side = blockIdx.y, i = blockIdx.x, lane = threadIdx.x;
    const float *x = of_side(p.vectors, side) + (size_t)i * p.d;
    double sum = 0;
    for (int k = lane * W; k < p.d; k += 32 * W) {
        floats<W> v = load_floats<W>(x + k);
        for (int e = 0; e < W; e++)
            sum = fma((double)v.of[e], (double)v.of[e], sum);
    }
    sum = warp_sum(sum);
    if (lane == 0)
        of_side(p.lengths, side)[i] = sqrt(sum);
}

extern "C" __global__ void __launch_bounds__(32)
    contrastive_lengths_by_fours(contrastive_parameters parameters)
{
    length_of<4>(parameters);
}

extern "C" __global__ void __launch_bounds__(32)
    contrastive_lengths_by_elements(contrastive_parameters parameters)
{
    length_of<1>(parameters);
}

/* Rows behind the last are the last again, and not stored. */
template <int W> static __device__ void dots_of_tile(const contrastive_parameters &p)
{
    int lane = threadIdx.x, i0 = blockIdx.x * TILE, j0 = blockIdx.y * TILE;
    double sum[TILE][TILE] = {};
    for (int k = lane * W; k < p.d; k += 32 * W) {
        floats<W> a[TILE], b[TILE];
#pragma unroll
        for (int r = 0; r < TILE; r++) {
            a[r] = load_floats<W>(p.vectors[0] + (size_t)min(i0 + r, p.n - 1) * p.d + k);
            b[r] = load_floats<W>(p.vectors[1] + (size_t)min(j0 + r, p.n - 1) * p.d + k);
        }
#pragma unroll
        for (int e = 0; e < W; e++) {
            double wide[TILE];
#pragma unroll
            for (int c = 0; c < TILE; c++)
                wide[c] = (double)b[c].of[e];
#pragma unroll
            for (int r = 0; r < TILE; r++) {
                double value = (double)a[r].of[e];
#pragma unroll
                for (int c = 0; c < TILE; c++)
                    sum[r][c] = fma(value, wide[c], sum[r][c]);
            }
        }
    }
#pragma unroll
    for (int r = 0; r < TILE; r++)
#pragma unroll
        for (int c = 0; c < TILE; c++) {
            double dot = warp_sum(sum[r][c]);
            if (lane == 0 && i0 + r < p.n && j0 + c < p.n)
                p.dots[(size_t)(i0 + r) * p.n + j0 + c] = dot;
        }
}

extern "C" __global__ void __launch_bounds__(32)
    contrastive_dots_by_fours(contrastive_parameters parameters)
{
    dots_of_tile<4>(parameters);
}

extern "C" __global__ void __launch_bounds__(32)
    contrastive_dots_by_elements(contrastive_parameters parameters)
{
    dots_of_tile<1>(parameters);
}

/* A lane writes and reads again its own pairs only. */
extern "C" __global__ void __launch_bounds__(32) contrastive_losses(contrastive_parameters p)
{
    int i = blockIdx.x, lane = threadIdx.x, n = p.n;
    const double *dots = p.dots + (size_t)i * n;
    double *g = p.g + (size_t)i * n, largest = -INFINITY, own = 0, of_own = 0, others = 0;
    double length = divisor(p.lengths[0][i]);
    for (int j = lane; j < n; j += 32) {
        double value = -INFINITY;
        if (meets(p, i, j))
            value = dots[j] / length / divisor(p.lengths[1][j]) / p.temperature;
        g[j] = value;
        largest = value > largest ? value : largest;
        own = j == i ? value : own;
    }
    largest = warp_largest(largest);
    for (int j = lane; j < n; j += 32) {
        double value = exp(g[j] - largest);
        g[j] = value;
        others += j == i ? 0 : value;
        of_own = j == i ? value : of_own;
    }
    others = warp_sum(others);
    double sum = others + __shfl_sync(0xFFFFFFFF, of_own, i % 32);
    double factor = p.weight / p.temperature;
    if (lane == i % 32)
        p.losses[i] = (float)(log(sum) + (largest - own));
    for (int j = lane; j < n; j += 32) /* softmax - 1 as minus the others' part, which stays */
        g[j] = j == i ? -others / sum * factor : g[j] * (factor / sum);
}

/* A vector's weights of those that it meets come to shared memory PAIR_STEPS at a time, with a byte
 * for whether it meets them: a weight of 0 instead would meet a NaN. (That the weight is not 0
 * would be a comparison in float64.) */
extern "C" __global__ void __launch_bounds__(THREADS)
    contrastive_gradients(contrastive_parameters p)
{
    __shared__ double weight[TILE][PAIR_STEPS], along[TILE][PAIR_STEPS / 32];
    __shared__ alignas(TILE) unsigned char met[PAIR_STEPS][TILE];
    int side = blockIdx.z, i0 = blockIdx.x * TILE, n = p.n;
    int column = blockIdx.y * THREADS + threadIdx.x;
    int mine = min(i0 + (int)threadIdx.x / PAIR_STEPS, n - 1); /* whose weights this thread makes */
    double sum[TILE] = {}, of_thread = 0;
    for (int first = 0; first < n; first += PAIR_STEPS) {
        int other = first + threadIdx.x % PAIR_STEPS, n_others = min(PAIR_STEPS, n - first);
        int i = side ? other : mine, j = side ? mine : other;
        bool is_met = other < n && meets(p, i, j);
        double value = 0;
        if (is_met) {
            value = p.g[(size_t)i * n + j] / divisor(of_side(p.lengths, !side)[other]);
            of_thread = fma(value, p.dots[(size_t)i * n + j], of_thread);
        }
        weight[threadIdx.x / PAIR_STEPS][threadIdx.x % PAIR_STEPS] = value;
        met[threadIdx.x % PAIR_STEPS][threadIdx.x / PAIR_STEPS] = is_met;
        __syncthreads();
        for (int k = 0; column < p.d && k < n_others; k++) {
            double x = (double)of_side(p.vectors, !side)[(size_t)(first + k) * p.d + column];
            unsigned of_tile = *(const unsigned *)met[k];
#pragma unroll
            for (int r = 0; r < TILE; r++)
                if (of_tile >> 8 * r & 1)
                    sum[r] = fma(weight[r][k], x, sum[r]);
        }
        __syncthreads();
    }
    of_thread = warp_sum(of_thread);
    if (threadIdx.x % 32 == 0)
        along[threadIdx.x / PAIR_STEPS][threadIdx.x / 32 % (PAIR_STEPS / 32)] = of_thread;
    __syncthreads();
    if (column >= p.d)
        return;
#pragma unroll
    for (int r = 0; r < TILE; r++) {
        if (i0 + r >= n)
            return;
        size_t at = (size_t)(i0 + r) * p.d + column;
        double length = of_side(p.lengths, side)[i0 + r];
        double part = (along[r][0] + along[r][1]) / (length * length);
        double gradient = (sum[r] - part * (double)of_side(p.vectors, side)[at]) / length;
        of_side(p.gradients, side)[at] = length < SHORTEST ? 0.0f : (float)gradient;
    }
}

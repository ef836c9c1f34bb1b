/* The gradient's norm and AdamW's step on a GPU: see adamw.h. All bound by memory; nothing waits
 * for the host, which reads the step's record later. */
#include "kernels/adamw_coefficients.h"
#include "kernels/cuda.cuh"
#include "kernels/step_record.h"

#define THREADS     256
#define BLOCK       16384 /* values of a CTA; adamw.c's NORM_BLOCK */
#define BLOCK_LOADS (BLOCK / (4 * THREADS))

/* ---- the norm ------------------------------------------------------------------------------- */

/* Over all threads of the block, in thread 0: butterflies over the warps, then their sums in order.
 */
static __device__ double block_sum(double value)
{
    __shared__ double of_warp[THREADS / 32];
    value = warp_sum(value);
    if (threadIdx.x % 32 == 0)
        of_warp[threadIdx.x / 32] = value;
    __syncthreads();
    double sum = 0;
    if (threadIdx.x == 0)
        for (int warp = 0; warp < THREADS / 32; warp++)
            sum += of_warp[warp];
    return sum;
}

/* The squares of each block of 16,384 values: a thread has every 256th piece of four, and four
 * chains, one for each place in a piece. A square of a float32 is exact in float64. */
extern "C" __global__ void __launch_bounds__(THREADS)
    gradient_squares(double *sums, const float *x, long long n)
{
    double chains[4] = {};
    long long first = (long long)blockIdx.x * BLOCK + 4 * threadIdx.x;
#pragma unroll 4
    for (int i = 0; i < BLOCK_LOADS; i++) {
        long long at = first + i * 4 * THREADS;
        floats<4> v = {};
        if (at + 4 <= n)
            v = load_floats<4>(x + at);
        else
            for (int e = 0; e < 4 && at + e < n; e++)
                v.of[e] = x[at + e];
        for (int e = 0; e < 4; e++)
            chains[e] = fma((double)v.of[e], (double)v.of[e], chains[e]);
    }
    double sum = block_sum(chains[0] + chains[1] + (chains[2] + chains[3]));
    if (threadIdx.x == 0)
        sums[blockIdx.x] = sum;
}

/* One block: the blocks' sums, every 256th a thread; then what the step is to know. */
extern "C" __global__ void __launch_bounds__(THREADS)
    gradient_norm(step_record *record, int *stopped, int step, const double *sums, int n_sums,
                  double clip)
{
    double sum = 0;
    for (int i = threadIdx.x; i < n_sums; i += THREADS)
        sum += sums[i];
    sum = block_sum(sum);
    if (threadIdx.x > 0)
        return;
    double norm = sqrt(sum), scale = clip > 0 ? clip / (norm + 1e-6) : 1;
    if (*stopped == 0 && !(isfinite(record->loss) && isfinite(norm)))
        *stopped = step;
    record->norm = norm;
    record->gradient_scale = (float)(scale > 1 ? 1 : scale);
    record->stopped = *stopped;
}

/* ---- the step ------------------------------------------------------------------------------- */

struct adamw_arrays { /* adamw.c's */
    float *parameters, *gradients, *m, *v;
};

/* W elements from i on. The operations and their order are the AVX2 code's, by name, and so are the
 * bytes. (rest2 g) g: g^2 alone would overflow a gradient of 2e19. */
template <int W>
static __device__ __forceinline__ void step_elements(const adamw_arrays &at, long long i,
                                                     const adamw_coefficients &c, float scale,
                                                     bool stopped)
{
    if (!stopped) {
        floats<W> p = load_floats<W>(at.parameters + i), g = load_floats<W>(at.gradients + i);
        floats<W> m = load_floats<W>(at.m + i), v = load_floats<W>(at.v + i);
#pragma unroll
        for (int e = 0; e < W; e++) {
            float gradient = __fmul_rn(g.of[e], scale);
            m.of[e] = __fmaf_rn(c.rest1, gradient, __fmul_rn(m.of[e], c.beta1));
            v.of[e] =
                __fmaf_rn(__fmul_rn(c.rest2, gradient), gradient, __fmul_rn(v.of[e], c.beta2));
            float root = __fmaf_rn(__fsqrt_rn(v.of[e]), c.root_scale, c.eps);
            float change = __fdiv_rn(__fmul_rn(c.rate, m.of[e]), root);
            p.of[e] = __fmaf_rn(p.of[e], c.decay, -change);
        }
        store_floats(at.parameters + i, p);
        store_floats(at.m + i, m);
        store_floats(at.v + i, v);
    }
    store_floats(at.gradients + i, floats<W>{});
}

/* record: NULL, or where the scale is and whether training has stopped. */
extern "C" __global__ void __launch_bounds__(THREADS)
    adamw_step(const adamw_arrays arrays, long long n, const adamw_coefficients coefficients,
               const step_record *record)
{
    long long i = 4 * ((long long)blockIdx.x * THREADS + threadIdx.x);
    float scale = record ? record->gradient_scale : coefficients.gradient_scale;
    bool stopped = record && record->stopped != 0;
    if (i + 4 <= n)
        step_elements<4>(arrays, i, coefficients, scale, stopped);
    else
        for (; i < n; i++)
            step_elements<1>(arrays, i, coefficients, scale, stopped);
}

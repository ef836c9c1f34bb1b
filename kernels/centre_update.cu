/* The update of centres on a GPU. See centre_update.h. A block a centre.
 *
 * A sum's 32 chains are a warp's lanes, and they take d / 32 additions, one after another: 6,000
 * clocks for 4,096 columns. Divisions, of which each takes as long as ten additions, are shared out
 * to all warps: these leave their terms in shared memory, PIECE columns at a time, and the first
 * warp adds them. */
#include "kernels/centre_update_job.h"
#include "kernels/cuda.cuh"

#define PIECE   2048 /* columns, a multiple of the chains */
#define AT_ONCE 4    /* a thread's, which are read together */

struct column_sum {
    double terms[PIECE], whole;
};

/* What a term is made of. */
struct column {
    double sum;
    float centre, mean;
};

/* The sum of term(j, fetch(j)) over the columns, the same in all threads. Terms must be rounded
 * products and sums: what __dadd_rn and __dmul_rn give. Others ptxas would fuse with the chain, on
 * cards only. */
template <typename F, typename G>
static __device__ double over_columns(column_sum &sum, int d, F fetch, G term)
{
    double chain = 0;
    for (int first = 0; first < d; first += PIECE) {
        int n = min(d - first, PIECE), threads = blockDim.x;
        for (int i = threadIdx.x; i < n; i += AT_ONCE * threads) {
            column of[AT_ONCE];
#pragma unroll
            for (int a = 0; a < AT_ONCE; a++)
                of[a] = fetch(first + min(i + a * threads, n - 1));
#pragma unroll
            for (int a = 0; a < AT_ONCE; a++)
                if (i + a * threads < n)
                    sum.terms[i + a * threads] = term(first + i + a * threads, of[a]);
        }
        __syncthreads();
        if (threadIdx.x < CENTRE_CHAINS)
            for (int j = threadIdx.x; j < n; j += CENTRE_CHAINS)
                chain += sum.terms[j];
        __syncthreads();
    }
    if (threadIdx.x < CENTRE_CHAINS) {
        chain = warp_sum(chain);
        if (threadIdx.x == 0)
            sum.whole = chain;
    }
    __syncthreads();
    return sum.whole; /* it is written again behind other barriers only */
}

/* The block's run and centre; its first column. */
struct centre_of_launch {
    size_t index, at;
    double count;

    __device__ centre_of_launch(const centre_job &p, int block)
        : index((size_t)p.runs.of[block % p.runs.n] * p.k + block / p.runs.n), at(index * p.d),
          count((double)p.counts[index])
    {
    }
};

static __device__ void update(const centre_job &p, column_sum &shared, const centre_of_launch &c)
{
    const double *sum = p.sums + c.at;
    const float *centre = p.centres + c.at;
    float *updated = p.updated + c.at;
    double divisor = c.count;
    if (p.spherical && divisor > 0)
        divisor = sqrt(over_columns(
            shared, p.d, [&](int j) { return column{sum[j]}; },
            [&](int, const column &v) { return __dmul_rn(v.sum, v.sum); }));
    bool kept = !(divisor > 0);
    double moved = over_columns(
        shared, p.d, [&](int j) { return column{sum[j], centre[j]}; },
        [&](int j, const column &v) {
            float to = kept ? v.centre : (float)(v.sum / divisor);
            double difference = (double)to - (double)v.centre;
            updated[j] = to;
            return kept ? 0.0 : __dmul_rn(difference, difference);
        });
    if (threadIdx.x == 0)
        p.moved[c.index] = moved;
}

static __device__ void gain(const centre_job &p, column_sum &shared, const centre_of_launch &c)
{
    const double *sum = p.sums + c.at;
    const float *centre = p.centres + c.at;
    double gain = over_columns(
        shared, p.d, [&](int j) { return column{sum[j], centre[j], p.mean[j]}; },
        [&](int, const column &v) {
            double mean = (double)v.mean, offset = (double)v.centre - mean;
            double rest = __dadd_rn(v.sum, -__dmul_rn(c.count, mean));
            return __dmul_rn(offset, __dadd_rn(__dmul_rn(c.count, offset), -2 * rest));
        });
    if (threadIdx.x == 0)
        p.gain[c.index] = gain;
}

extern "C" __global__ void __launch_bounds__(CENTRE_THREADS)
    centre_update(const __grid_constant__ centre_job p)
{
    __shared__ column_sum shared;
    update(p, shared, centre_of_launch(p, blockIdx.x));
}

extern "C" __global__ void __launch_bounds__(CENTRE_THREADS)
    centre_gain(const __grid_constant__ centre_job p)
{
    __shared__ column_sum shared;
    gain(p, shared, centre_of_launch(p, blockIdx.x));
}

/* Both at once, a block each: few centres leave most of a card idle. Gains take longer, and come
 * first. */
extern "C" __global__ void __launch_bounds__(CENTRE_THREADS)
    centre_gain_and_update(const __grid_constant__ centre_job p)
{
    __shared__ column_sum shared;
    unsigned n = p.k * p.runs.n;
    if (blockIdx.x < n)
        gain(p, shared, centre_of_launch(p, blockIdx.x));
    else
        update(p, shared, centre_of_launch(p, blockIdx.x - n));
}

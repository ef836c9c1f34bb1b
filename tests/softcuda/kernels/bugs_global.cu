/* Mistakes with global, constant and local memory. See bugs.cuh. */
#include "tests/softcuda/kernels/bugs.cuh"

template <bool BUG> __global__ void blocks_write_the_same(PARAMETERS)
{
    int t = threadIdx.x, b = blockIdx.x;
    out[BUG ? t : 128 * b + t] = in[128 * b + t]; /* BUG: blocks_write_the_same */
}
TWINS(blocks_write_the_same)

/* In place, with a neighbour that another block owns at a tile's edge. */
template <bool BUG> __global__ void neighbour_of_another_block(PARAMETERS)
{
    int t = threadIdx.x, i = 128 * blockIdx.x + t;
    unsigned right = BUG || t < 127 ? zeros[(i + 1) % 256] : 0; /* BUG: neighbour_of_another_block */
    __syncthreads();
    zeros[i] = right + 1; /* BUG: neighbour_of_another_block */
}
TWINS(neighbour_of_another_block)

template <bool BUG> __global__ void warps_without_barrier(PARAMETERS)
{
    int t = threadIdx.x;
    out[t] = in[t];
    if (!BUG)
        __syncthreads();
    out[128 + t] = out[127 - t]; /* BUG: warps_without_barrier */
}
TWINS(warps_without_barrier)

template <bool BUG> __global__ void counter_read_plainly(PARAMETERS)
{
    if (threadIdx.x == 0) {
        unsigned mine = atomicAdd(&zeros[0], 1); /* BUG: counter_read_plainly */
        out[blockIdx.x] = (float)(BUG ? zeros[0] : mine); /* BUG: counter_read_plainly */
    }
}
TWINS(counter_read_plainly)

/* The last block to come sums what all have left. */
static __device__ __forceinline__ bool is_last(unsigned *counter, bool *last)
{
    if (threadIdx.x == 0)
        *last = atomicInc(counter, gridDim.x - 1) == gridDim.x - 1;
    __syncthreads();
    return *last;
}
static __device__ __forceinline__ float warp_sum(float sum)
{
    for (int d = 16; d > 0; d >>= 1)
        sum += __shfl_xor_sync(0xFFFFFFFFu, sum, d);
    return sum;
}

template <bool BUG> __global__ void last_block_without_fence(PARAMETERS)
{
    __shared__ bool last;
    int t = threadIdx.x;
    float sum = warp_sum(in[32 * blockIdx.x + t]);
    if (t == 0) {
        out[1 + blockIdx.x] = sum; /* BUG: last_block_without_fence */
        if (!BUG)
            __threadfence();
    }
    if (is_last(zeros, &last)) {
        sum = warp_sum(t < gridDim.x ? out[1 + t] : 0.0f); /* BUG: last_block_without_fence */
        if (t == 0)
            out[0] = sum;
    }
}
TWINS(last_block_without_fence)

template <bool BUG> __global__ void fence_before_the_data(PARAMETERS)
{
    __shared__ bool last;
    int t = threadIdx.x;
    float sum = warp_sum(in[32 * blockIdx.x + t]);
    if (BUG)
        __threadfence();
    if (t == 0)
        out[1 + blockIdx.x] = sum; /* BUG: fence_before_the_data */
    if (!BUG)
        __threadfence();
    if (is_last(zeros, &last)) {
        sum = warp_sum(t < gridDim.x ? out[1 + t] : 0.0f); /* BUG: fence_before_the_data */
        if (t == 0)
            out[0] = sum;
    }
}
TWINS(fence_before_the_data)

template <bool BUG> __global__ void fence_of_the_block_only(PARAMETERS)
{
    __shared__ bool last;
    int t = threadIdx.x;
    out[256 + 32 * blockIdx.x + t] = in[32 * blockIdx.x + t]; /* BUG: fence_of_the_block_only */
    if (BUG)
        __threadfence_block();
    else
        __threadfence();
    __syncthreads();
    if (is_last(zeros, &last)) {
        float sum = 0;
        for (int b = 0; b < gridDim.x; b++)
            sum += out[256 + 32 * b + t]; /* BUG: fence_of_the_block_only */
        out[t] = sum;
    }
}
TWINS(fence_of_the_block_only)

/* Thread 0 fences and counts, but for whom it does so has not come to a barrier yet. */
template <bool BUG> __global__ void count_before_barrier(PARAMETERS)
{
    __shared__ bool last;
    int t = threadIdx.x;
    out[256 + 64 * blockIdx.x + t] = in[64 * blockIdx.x + t]; /* BUG: count_before_barrier */
    if (!BUG)
        __syncthreads();
    if (t == 0) {
        __threadfence();
        last = atomicInc(zeros, gridDim.x - 1) == gridDim.x - 1;
        __threadfence();
    }
    __syncthreads();
    if (last) {
        float sum = 0;
        for (int b = 0; b < gridDim.x; b++)
            sum += out[256 + 64 * b + t]; /* BUG: count_before_barrier */
        out[t] = sum;
    }
}
TWINS(count_before_barrier)

/* Stream-K's fix-up: a block waits for the partial tile of the next one. */
template <bool BUG> __global__ void fix_up_without_fence(PARAMETERS)
{
    int t = threadIdx.x, b = blockIdx.x;
    volatile unsigned *flags = zeros;
    float sum = in[64 * b + t];
    if (b % 2 == 1) {
        out[1024 + 64 * b + t] = sum; /* BUG: fix_up_without_fence */
        __syncthreads();
        if (t == 0) {
            if (!BUG)
                __threadfence();
            flags[b] = 1;
        }
    } else {
        if (t == 0)
            while (flags[b + 1] == 0)
                ;
        __syncthreads();
        out[64 * b + t] = sum + out[1024 + 64 * (b + 1) + t]; /* BUG: fix_up_without_fence */
    }
}
TWINS(fix_up_without_fence)

template <bool BUG> __global__ void unwritten_global(PARAMETERS)
{
    int t = threadIdx.x;
    float before = BUG ? out[t] : 0.0f; /* BUG: unwritten_global */
    out[t] = before + in[t];
}
TWINS(unwritten_global)

template <bool BUG> __global__ void vector_written_in_part(PARAMETERS)
{
    int t = threadIdx.x;
    for (int i = 0; i < (BUG ? 3 : 4); i++)
        out[4 * t + i] = in[4 * t + i];
    float4 v = ((const float4 *)out)[t]; /* BUG: vector_written_in_part */
    out[256 + t] = v.x + v.y + v.z + v.w;
}
TWINS(vector_written_in_part)

template <bool BUG> __global__ void one_behind_the_tile(PARAMETERS)
{
    int i = 128 * blockIdx.x + threadIdx.x;
    if (BUG ? i <= n : i < n)
        out[i] = 1.0f; /* BUG: one_behind_the_tile */
}
TWINS(one_behind_the_tile)

template <bool BUG> __global__ void one_before_the_tile(PARAMETERS)
{
    int i = threadIdx.x;
    out[i] = in[BUG || i > 0 ? i - 1 : 0]; /* BUG: one_before_the_tile */
}
TWINS(one_before_the_tile)

template <bool BUG> __global__ void misaligned_global(PARAMETERS)
{
    int t = threadIdx.x;
    float4 v = *(const float4 *)(in + 4 * t + (BUG ? 1 : 0)); /* BUG: misaligned_global */
    out[t] = v.x + v.y + v.z + v.w;
}
TWINS(misaligned_global)

template <bool BUG> __global__ void after_free(PARAMETERS)
{
    zeros[threadIdx.x] += 1; /* BUG: after_free */
}
TWINS(after_free)

template <bool BUG> __global__ void null_pointer(PARAMETERS)
{
    const float *from = BUG ? (const float *)(size_t)n : in;
    out[threadIdx.x] = from[threadIdx.x]; /* BUG: null_pointer */
}
TWINS(null_pointer)

__constant__ float table[16] = {1, 2, 3, 4};

template <bool BUG> __global__ void beyond_constant(PARAMETERS)
{
    int t = threadIdx.x;
    out[t] = table[BUG ? t : t % 16]; /* BUG: beyond_constant */
}
TWINS(beyond_constant)

template <bool BUG> __global__ void local_overflow(PARAMETERS)
{
    volatile float own[8];
    int t = threadIdx.x;
    for (int i = 0; i < n + BUG; i++)
        own[i] = in[t + i]; /* BUG: local_overflow */
    out[t] = own[t % 8];
}
TWINS(local_overflow)

template <bool BUG> __global__ void unwritten_local(PARAMETERS)
{
    volatile float own[8];
    int t = threadIdx.x;
    for (int i = 0; i < n - BUG; i++)
        own[i] = in[t + i];
    out[t] = own[t % 8]; /* BUG: unwritten_local */
}
TWINS(unwritten_local)

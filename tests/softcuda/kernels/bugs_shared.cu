/* Mistakes with shared memory. See bugs.cuh. */
#include "tests/softcuda/kernels/bugs.cuh"

template <bool BUG> __global__ void no_barrier_after_store(PARAMETERS)
{
    __shared__ float s[128];
    int t = threadIdx.x;
    s[t] = in[t];
    if (!BUG)
        __syncthreads();
    out[t] = s[127 - t]; /* BUG: no_barrier_after_store */
}
TWINS(no_barrier_after_store)

template <bool BUG> __global__ void no_barrier_before_overwrite(PARAMETERS)
{
    __shared__ float s[128];
    int t = threadIdx.x;
    float sum = 0;
    for (int i = 0; i < n; i++) {
        s[t] = in[128 * i + t]; /* BUG: no_barrier_before_overwrite */
        __syncthreads();
        sum += s[127 - t];
        if (!BUG)
            __syncthreads();
    }
    out[t] = sum;
}
TWINS(no_barrier_before_overwrite)

template <bool BUG> __global__ void no_syncwarp(PARAMETERS)
{
    __shared__ float s[32];
    int t = threadIdx.x;
    s[t] = in[t];
    if (!BUG)
        __syncwarp();
    out[t] = s[t ^ 1]; /* BUG: no_syncwarp */
}
TWINS(no_syncwarp)

template <bool BUG> __global__ void short_syncwarp_mask(PARAMETERS)
{
    __shared__ float s[32];
    int t = threadIdx.x;
    s[t] = in[t];
    __syncwarp(!BUG ? 0xFFFFFFFFu : t < 16 ? 0x0000FFFFu : 0xFFFF0000u);
    out[t] = s[31 - t]; /* BUG: short_syncwarp_mask */
}
TWINS(short_syncwarp_mask)

/* A tree that believes a warp to be in step. */
template <bool BUG> __global__ void warp_synchronous_tree(PARAMETERS)
{
    __shared__ float s[256];
    int t = threadIdx.x;
    s[t] = in[t];
    __syncthreads();
    for (int half = 128; half > 0; half >>= 1) {
        if (t < half)
            s[t] += s[t + half]; /* BUG: warp_synchronous_tree */
        if (half > 32)
            __syncthreads();
        else if (!BUG)
            __syncwarp();
    }
    if (t == 0)
        out[0] = s[0];
}
TWINS(warp_synchronous_tree)

/* One warp reads what another has just summed. */
template <bool BUG> __global__ void race_across_warps(PARAMETERS)
{
    __shared__ float sums[4];
    int t = threadIdx.x;
    float sum = in[t];
    for (int d = 16; d > 0; d >>= 1)
        sum += __shfl_xor_sync(0xFFFFFFFFu, sum, d);
    if (t % 32 == 0)
        sums[t / 32] = sum;
    if (!BUG)
        __syncthreads();
    out[t] = sums[0] + sums[1] + sums[2] + sums[3]; /* BUG: race_across_warps */
}
TWINS(race_across_warps)

template <bool BUG> __global__ void atomic_and_plain_read(PARAMETERS)
{
    __shared__ unsigned count;
    int t = threadIdx.x;
    if (t == 0)
        count = 0;
    __syncthreads();
    if (in[t] > 0)
        atomicAdd(&count, 1); /* BUG: atomic_and_plain_read */
    if (!BUG)
        __syncthreads();
    out[t] = (float)count; /* BUG: atomic_and_plain_read */
}
TWINS(atomic_and_plain_read)

template <bool BUG> __global__ void lanes_write_different_values(PARAMETERS)
{
    __shared__ float last;
    int t = threadIdx.x;
    if (BUG || t == 31)
        last = in[t]; /* BUG: lanes_write_different_values */
    __syncwarp();
    out[t] = last;
}
TWINS(lanes_write_different_values)

template <bool BUG> __global__ void neighbours_in_one_word(PARAMETERS)
{
    __shared__ unsigned short s[64];
    int t = threadIdx.x;
    s[t] = (unsigned short)in[t];
    if (BUG)
        s[t ^ 1] = (unsigned short)t; /* BUG: neighbours_in_one_word */
    __syncthreads();
    out[t] = s[t];
}
TWINS(neighbours_in_one_word)

template <bool BUG> __global__ void unwritten_shared(PARAMETERS)
{
    __shared__ float s[128];
    int t = threadIdx.x;
    if (t < (BUG ? n - 1 : n))
        s[t] = in[t];
    __syncthreads();
    out[t] = s[t]; /* BUG: unwritten_shared */
}
TWINS(unwritten_shared)

template <bool BUG> __global__ void loop_bound_off_by_one(PARAMETERS)
{
    __shared__ float s[128];
    int t = threadIdx.x;
    float sum = 0;
    s[t] = in[t];
    __syncthreads();
    for (int i = 0; BUG ? i <= n : i < n; i++)
        sum += s[i]; /* BUG: loop_bound_off_by_one */
    out[t] = sum;
}
TWINS(loop_bound_off_by_one)

template <bool BUG> __global__ void beyond_dynamic_shared(PARAMETERS)
{
    extern __shared__ float dynamic[];
    int t = threadIdx.x;
    dynamic[t + BUG] = in[t]; /* BUG: beyond_dynamic_shared */
    __syncthreads();
    out[t] = dynamic[BUG + (t + 1) % 128];
}
TWINS(beyond_dynamic_shared)

template <bool BUG> __global__ void wrong_stage(PARAMETERS)
{
    __shared__ float stages[2][128];
    int t = threadIdx.x;
    float sum = 0;
    stages[0][t] = in[t];
    __syncthreads();
    for (int i = 0; i < n; i++) {
        if (i + 1 < n)
            stages[BUG ? i & 1 : (i + 1) & 1][t] = in[128 * (i + 1) + t]; /* BUG: wrong_stage */
        sum += stages[i & 1][127 - t]; /* BUG: wrong_stage */
        __syncthreads();
    }
    out[t] = sum;
}
TWINS(wrong_stage)

/* Pairs of warps have a barrier of their own. */
template <bool BUG> __global__ void wrong_barrier_count(PARAMETERS)
{
    __shared__ float s[128];
    int t = threadIdx.x, pair = t / 64;
    s[t] = in[t];
    asm volatile("bar.sync %0, %1;" ::"r"(1 + pair), "r"(BUG ? 32 : 64) : "memory");
    out[t] = s[t ^ 63]; /* BUG: wrong_barrier_count */
}
TWINS(wrong_barrier_count)

/* Producers arrive, consumers wait; then the other way round before the next piece. Producers that
 * go ahead complete the barrier by themselves. */
template <bool BUG> __global__ void consumers_do_not_arrive(PARAMETERS)
{
    __shared__ float s[32];
    int t = threadIdx.x, lane = t % 32;
    float sum = 0;
    for (int i = 0; i < n; i++)
        if (t < 32) {
            if (i > 0 && !BUG)
                asm volatile("bar.sync 2, 64;" ::: "memory");
            s[lane] = in[32 * i + lane]; /* BUG: consumers_do_not_arrive */
            asm volatile("bar.arrive 1, 64;" ::: "memory");
        } else {
            asm volatile("bar.sync 1, 64;" ::: "memory"); /* BUG: consumers_do_not_arrive */
            sum += s[31 - lane]; /* BUG: consumers_do_not_arrive */
            if (i + 1 < n && !BUG)
                asm volatile("bar.arrive 2, 64;" ::: "memory");
        }
    if (t >= 32)
        out[lane] = sum;
}
TWINS(consumers_do_not_arrive)

static __device__ __forceinline__ unsigned ldmatrix_sum(const void *row)
{
    unsigned x, y, z, w;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x), "=r"(y), "=r"(z), "=r"(w)
                 : "r"((unsigned)__cvta_generic_to_shared(row))
                 : "memory");
    return x + y + z + w;
}

template <bool BUG> __global__ void rows_of_ldmatrix_outside(PARAMETERS)
{
    __shared__ __align__(16) unsigned short tile[16][8];
    int t = threadIdx.x;
    for (int i = t; i < 128; i += 32)
        tile[i / 8][i % 8] = (unsigned short)i;
    __syncwarp();
    out[t] = (float)ldmatrix_sum(&tile[BUG ? t : t % 16][0]); /* BUG: rows_of_ldmatrix_outside */
}
TWINS(rows_of_ldmatrix_outside)

template <bool BUG> __global__ void misaligned_vector(PARAMETERS)
{
    __shared__ __align__(16) float s[132];
    int t = threadIdx.x;
    for (int i = t; i < 132; i += 32)
        s[i] = in[i];
    __syncwarp();
    float4 v = *(const float4 *)&s[4 * t + (BUG ? 2 : 0)]; /* BUG: misaligned_vector */
    out[t] = v.x + v.y + v.z + v.w;
}
TWINS(misaligned_vector)

/* A flag between warps; volatile alone does not order what it announces. */
template <bool BUG> __global__ void flag_without_block_fence(PARAMETERS)
{
    __shared__ float s[32];
    __shared__ volatile unsigned ready;
    int t = threadIdx.x, lane = t % 32;
    if (t == 0)
        ready = 0;
    __syncthreads();
    if (t < 32) {
        s[lane] = in[lane];
        if (!BUG)
            __threadfence_block();
        __syncwarp();
        if (lane == 0)
            ready = 1;
    } else {
        while (ready == 0)
            ;
        __threadfence_block();
        out[lane] = s[31 - lane]; /* BUG: flag_without_block_fence */
    }
}
TWINS(flag_without_block_fence)

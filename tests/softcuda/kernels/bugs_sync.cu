/* Mistakes with barriers, masks and waits. See bugs.cuh. */
#include "tests/softcuda/kernels/bugs.cuh"

template <bool BUG> __global__ void divergent_barrier(PARAMETERS)
{
    __shared__ float s[64];
    int t = threadIdx.x;
    s[t] = in[t];
    if (t < (BUG ? 48 : 64)) {
        s[t] += 1.0f;
        __syncthreads(); /* BUG: divergent_barrier */
        out[t] = s[(t + 1) % 48];
    } else {
        out[t] = 0.0f;
        asm volatile("bar.sync 3, 32;"); /* BUG: divergent_barrier */
    }
}
TWINS(divergent_barrier)

template <bool BUG> __global__ void return_before_barrier(PARAMETERS)
{
    int t = threadIdx.x;
    if (BUG && t >= 64)
        return;
    out[t] = in[t];
    __syncthreads(); /* BUG: return_before_barrier */
    out[128 + t] = out[t ^ 32];
}
TWINS(return_before_barrier)

template <bool BUG> __global__ void return_before_named_barrier(PARAMETERS)
{
    int t = threadIdx.x;
    if (BUG && t >= 96)
        return;
    out[t] = in[t];
    asm volatile("bar.sync 1, 128;" ::: "memory"); /* BUG: return_before_named_barrier */
    out[128 + t] = out[t ^ 32];
}
TWINS(return_before_named_barrier)

template <bool BUG> __global__ void counts_differ(PARAMETERS)
{
    int t = threadIdx.x;
    out[t] = in[t];
    asm volatile("bar.sync 1, %0;" ::"r"(BUG && t < 32 ? 64 : 128) : "memory"); /* BUG: counts_differ */
    out[128 + t] = out[t ^ 32];
}
TWINS(counts_differ)

template <bool BUG> __global__ void barriers_crossed(PARAMETERS)
{
    int t = threadIdx.x;
    if (t < 32 || !BUG) {
        asm volatile("bar.sync 1, 64;" ::: "memory"); /* BUG: barriers_crossed */
        asm volatile("bar.sync 2, 64;" ::: "memory");
    } else {
        asm volatile("bar.sync 2, 64;" ::: "memory"); /* BUG: barriers_crossed */
        asm volatile("bar.sync 1, 64;" ::: "memory");
    }
    out[t] = in[t];
}
TWINS(barriers_crossed)

template <bool BUG> __global__ void half_a_warp_shuffles(PARAMETERS)
{
    int t = threadIdx.x;
    float v = in[t];
    if (!BUG || t < 16)
        v += __shfl_xor_sync(0xFFFFFFFFu, v, 8); /* BUG: half_a_warp_shuffles */
    out[t] = v;
}
TWINS(half_a_warp_shuffles)

template <bool BUG> __global__ void both_halves_shuffle_apart(PARAMETERS)
{
    int t = threadIdx.x;
    float v = in[t];
    if (t < 16 && BUG) {
        v += __shfl_xor_sync(0xFFFFFFFFu, v, 8); /* BUG: both_halves_shuffle_apart */
    } else {
        v *= 2;
        v -= __shfl_xor_sync(0xFFFFFFFFu, v, 8); /* BUG: both_halves_shuffle_apart */
    }
    out[t] = v;
}
TWINS(both_halves_shuffle_apart)

template <bool BUG> __global__ void from_a_lane_that_is_not_there(PARAMETERS)
{
    int t = threadIdx.x;
    float v = in[t];
    if (t < 16)
        v += __shfl_xor_sync(0x0000FFFFu, v, BUG ? 16 : 8); /* BUG: from_a_lane_that_is_not_there */
    out[t] = v;
}
TWINS(from_a_lane_that_is_not_there)

template <bool BUG> __global__ void lane_outside_its_mask(PARAMETERS)
{
    __shared__ float s[32];
    int t = threadIdx.x;
    s[t] = in[t];
    __syncwarp(BUG ? 0x7FFFFFFFu : 0xFFFFFFFFu); /* BUG: lane_outside_its_mask */
    out[t] = s[t ^ 1];
}
TWINS(lane_outside_its_mask)

template <bool BUG> __global__ void vote_with_a_stale_mask(PARAMETERS)
{
    int t = threadIdx.x;
    unsigned mask = __activemask();
    if (t % 2 == 0) {
        unsigned even = __ballot_sync(BUG ? mask : 0x55555555u, in[t] > 0); /* BUG: vote_with_a_stale_mask */
        out[t] = (float)__popc(even);
    } else {
        out[t] = 0;
    }
    __syncwarp(); /* BUG: vote_with_a_stale_mask */
}
TWINS(vote_with_a_stale_mask)

/* Groups of 8 lanes, each with its own mask, in one instruction: nothing is wrong with that. */
template <bool BUG> __global__ void mask_of_another_group(PARAMETERS)
{
    int t = threadIdx.x;
    unsigned group = 0xFFu << (t & 24);
    float v = in[t];
    if (BUG && t == 9)
        group <<= 8;
    v += __shfl_xor_sync(group, v, 4); /* BUG: mask_of_another_group */
    out[t] = v;
}
TWINS(mask_of_another_group)

template <bool BUG> __global__ void waits_for_a_block_without_room(PARAMETERS)
{
    volatile unsigned *flags = zeros;
    int b = blockIdx.x;
    if (BUG)
        while (flags[(b + gridDim.x / 2) % gridDim.x] == 0) /* BUG: waits_for_a_block_without_room */
            ;
    __threadfence();
    out[b] = in[b];
    flags[b] = 1;
}
TWINS(waits_for_a_block_without_room)

template <bool BUG> __global__ void spins_on_shared(PARAMETERS)
{
    __shared__ volatile unsigned flag;
    int t = threadIdx.x;
    if (t == 0)
        flag = 0;
    __syncthreads();
    if (t == 40 && !BUG)
        flag = 1;
    if (t == 0)
        while (flag == 0) /* BUG: spins_on_shared */
            ;
    out[t] = in[t];
}
TWINS(spins_on_shared)

/* A lock of a warp's own lanes: they must get their turns. */
template <bool BUG> __global__ void lock_not_given_back(PARAMETERS)
{
    int t = threadIdx.x;
    while (atomicCAS(&zeros[0], 0, 1) != 0) /* BUG: lock_not_given_back */
        ;
    __threadfence();
    zeros[1] += 1;
    __threadfence();
    if (!BUG || t != 5)
        atomicExch(&zeros[0], 0);
    out[t] = in[t];
}
TWINS(lock_not_given_back)

/* Takes and gives back a lock while it waits for what never comes: memory changes all the time. */
template <bool BUG> __global__ void waits_under_a_lock(PARAMETERS)
{
    if (threadIdx.x != 0)
        return;
    if (blockIdx.x == 1 && !BUG) {
        while (atomicCAS(&zeros[0], 0, 1) != 0)
            ;
        atomicExch(&zeros[1], 1);
        atomicExch(&zeros[0], 0);
    }
    if (blockIdx.x == 0)
        for (unsigned ready = 0; ready == 0;) { /* BUG: waits_under_a_lock */
            while (atomicCAS(&zeros[0], 0, 1) != 0) /* BUG: waits_under_a_lock */
                ; /* BUG: waits_under_a_lock */
            ready = atomicAdd(&zeros[1], 0); /* BUG: waits_under_a_lock */
            atomicExch(&zeros[0], 0); /* BUG: waits_under_a_lock */
        }
    out[blockIdx.x] = 1;
}
TWINS(waits_under_a_lock)

template <bool BUG> __global__ void endless_loop(PARAMETERS)
{
    int t = threadIdx.x;
    unsigned x = (unsigned)n;
    while (BUG ? x != 0 : x > 1) /* BUG: endless_loop */
        x = x & 1 && BUG ? 3 * x + 1 : x >> 1; /* BUG: endless_loop */
    out[t] = (float)x;
}
TWINS(endless_loop)

/* Mistakes with cp.async. See bugs.cuh. */
#include "tests/softcuda/kernels/bugs.cuh"

static __device__ __forceinline__ void copy16(float *to, const float *from)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
                     (unsigned)__cvta_generic_to_shared(to)),
                 "l"(from)
                 : "memory");
}

static __device__ __forceinline__ void commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

template <int N> static __device__ __forceinline__ void wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

template <bool BUG> __global__ void no_wait(PARAMETERS)
{
    __shared__ __align__(16) float s[128];
    int t = threadIdx.x;
    copy16(&s[4 * t], &in[4 * t]);
    commit();
    if (!BUG)
        wait<0>();
    __syncthreads();
    for (int i = 0; i < 4; i++)
        out[32 * i + t] = s[32 * i + t]; /* BUG: no_wait */
}
TWINS(no_wait)

template <bool BUG> __global__ void no_commit(PARAMETERS)
{
    __shared__ __align__(16) float s[128];
    int t = threadIdx.x;
    copy16(&s[4 * t], &in[4 * t]);
    if (!BUG)
        commit();
    wait<0>();
    __syncthreads();
    out[t] = s[4 * t]; /* BUG: no_commit */
}
TWINS(no_commit)

template <bool BUG> __global__ void no_barrier_after_wait(PARAMETERS)
{
    __shared__ __align__(16) float s[512];
    int t = threadIdx.x;
    copy16(&s[4 * t], &in[4 * t]);
    commit();
    wait<0>();
    if (!BUG)
        __syncthreads();
    out[t] = s[4 * (127 - t)]; /* BUG: no_barrier_after_wait */
}
TWINS(no_barrier_after_wait)

/* The barrier must come after the wait, not before it. */
template <bool BUG> __global__ void wait_behind_barrier(PARAMETERS)
{
    __shared__ __align__(16) float s[512];
    int t = threadIdx.x;
    copy16(&s[4 * t], &in[4 * t]);
    commit();
    if (BUG)
        __syncthreads();
    wait<0>();
    if (!BUG)
        __syncthreads();
    out[t] = s[4 * (127 - t)]; /* BUG: wait_behind_barrier */
}
TWINS(wait_behind_barrier)

template <bool BUG, int STAGES>
static __device__ __forceinline__ float pipeline(float (*s)[512], const float *in, int n)
{
    int t = threadIdx.x;
    float sum = 0;
    copy16(&s[0][4 * t], &in[4 * t]);
    commit();
    for (int i = 0; i < n; i++) {
        if (i + 1 < n)
            copy16(&s[(i + 1) % STAGES][4 * t], &in[512 * (i + 1) + 4 * t]);
        commit();
        wait<BUG ? 2 : 1>();
        __syncthreads();
        sum += s[i % STAGES][4 * (127 - t)]; /* BUG: wait_for_too_few */
        __syncthreads();
    }
    return sum;
}

template <bool BUG> __global__ void wait_for_too_few(PARAMETERS)
{
    __shared__ __align__(16) float s[2][512];
    out[threadIdx.x] = pipeline<BUG, 2>(s, in, n);
}
TWINS(wait_for_too_few)

/* The next copy into a stage must wait until everybody has read it. */
template <bool BUG> __global__ void copy_over_what_is_read(PARAMETERS)
{
    __shared__ __align__(16) float s[512];
    int t = threadIdx.x;
    float sum = 0;
    for (int i = 0; i < n; i++) {
        copy16(&s[4 * t], &in[512 * i + 4 * t]); /* BUG: copy_over_what_is_read */
        commit();
        wait<0>();
        __syncthreads();
        sum += s[4 * (127 - t)]; /* BUG: copy_over_what_is_read */
        if (!BUG)
            __syncthreads();
    }
    out[t] = sum;
}
TWINS(copy_over_what_is_read)

template <bool BUG> __global__ void copy_into_wrong_stage(PARAMETERS)
{
    __shared__ __align__(16) float s[2][512];
    int t = threadIdx.x;
    float sum = 0;
    copy16(&s[0][4 * t], &in[4 * t]);
    commit();
    for (int i = 0; i < n; i++) {
        if (i + 1 < n)
            copy16(&s[BUG ? 0 : (i + 1) & 1][4 * t], /* BUG: copy_into_wrong_stage */
                   &in[512 * (i + 1) + 4 * t]);
        commit();
        wait<1>();
        __syncthreads();
        sum += s[i & 1][4 * (127 - t)]; /* BUG: copy_into_wrong_stage */
        __syncthreads();
    }
    out[t] = sum;
}
TWINS(copy_into_wrong_stage)

template <bool BUG> __global__ void store_into_a_copy(PARAMETERS)
{
    __shared__ __align__(16) float s[128];
    int t = threadIdx.x;
    copy16(&s[4 * t], &in[4 * t]);
    commit();
    if (!BUG)
        wait<0>();
    s[4 * t] = 1.0f; /* BUG: store_into_a_copy */
    wait<0>();
    out[t] = s[4 * t];
}
TWINS(store_into_a_copy)

/* Rows behind the end are filled with zeros by a source size of 0, not left out. */
template <bool BUG> __global__ void tail_left_out(PARAMETERS)
{
    __shared__ __align__(16) float s[512];
    int t = threadIdx.x;
    unsigned to = (unsigned)__cvta_generic_to_shared(&s[4 * t]);
    int size = t < n / 4 ? 16 : t == n / 4 ? 4 * (n % 4) : 0;
    if (!BUG || size > 0)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(in + 4 * t),
                     "r"(size)
                     : "memory");
    commit();
    wait<0>();
    __syncthreads();
    out[t] = s[4 * (127 - t)]; /* BUG: tail_left_out */
}
TWINS(tail_left_out)

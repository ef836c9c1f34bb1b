/* What the GPU kernels share: elements as float, vectors of 16 bytes, sums over a warp. */
#ifndef MIDASHI_KERNELS_CUDA_CUH
#define MIDASHI_KERNELS_CUDA_CUH

#include <cuda_bf16.h>

static __device__ float to_float(float x)
{
    return x;
}

static __device__ float to_float(__nv_bfloat16 x)
{
    return __bfloat162float(x);
}

/* To nearest, ties to even. */
template <typename T> static __device__ T from_float(float x);
template <> __device__ float from_float<float>(float x)
{
    return x;
}
template <> __device__ __nv_bfloat16 from_float<__nv_bfloat16>(float x)
{
    return __float2bfloat16_rn(x);
}

/* 16 bytes: the widest load and store of a thread. */
template <typename T> struct alignas(16) vector_of {
    static const int width = 16 / sizeof(T);
    T of[width];
};

/* The address must be a multiple of 16. */
template <typename T> static __device__ vector_of<T> vector_load(const T *from)
{
    vector_of<T> v;
    *(uint4 *)&v = *(const uint4 *)from;
    return v;
}

template <typename T> static __device__ void vector_store(T *to, const vector_of<T> &v)
{
    *(uint4 *)to = *(const uint4 *)&v;
}

/* Over all 32 lanes, the same in each: a butterfly, so that the order is one. */
static __device__ float warp_sum(float value)
{
    for (int step = 16; step > 0; step /= 2)
        value += __shfl_xor_sync(0xFFFFFFFF, value, step);
    return value;
}

#endif

/* What the GPU kernels share: elements as float, vectors of 16 bytes, what a warp has together. */
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

/* W elements as floats: 1, or as many as make one access of 8 or 16 bytes, whose address is a
 * multiple of that. Where float32 goes with bfloat16, W is 4: 16 bytes a lane of the one and 8 of
 * the other, so that what a warp touches lies side by side in both. Where a vector of float32 that
 * stays in L1 goes with bfloat16 from memory, W is 8: 8 floats are two accesses, the second of
 * which finds the sectors of the first. */
template <int W> struct floats {
    float of[W];
};
template <int BYTES> struct bits_of;
template <> struct bits_of<2> { typedef unsigned short type; };
template <> struct bits_of<4> { typedef unsigned type; };
template <> struct bits_of<8> { typedef uint2 type; };
template <> struct bits_of<16> { typedef uint4 type; };
template <typename T, int W> struct alignas(W * sizeof(T)) piece_of {
    T of[W];
};

template <int W, typename T> static __device__ floats<W> load_floats(const T *from)
{
    floats<W> v;
    if constexpr (W * sizeof(T) > 16) {
        floats<W / 2> low = load_floats<W / 2>(from), high = load_floats<W / 2>(from + W / 2);
        for (int i = 0; i < W / 2; i++)
            v.of[i] = low.of[i], v.of[W / 2 + i] = high.of[i];
    } else {
        typedef typename bits_of<W * sizeof(T)>::type bits;
        piece_of<T, W> piece;
        *(bits *)&piece = *(const bits *)from;
        for (int i = 0; i < W; i++)
            v.of[i] = to_float(piece.of[i]);
    }
    return v;
}

template <int W, typename T> static __device__ void store_floats(T *to, const floats<W> &v)
{
    typedef typename bits_of<W * sizeof(T)>::type bits;
    piece_of<T, W> piece;
    for (int i = 0; i < W; i++)
        piece.of[i] = from_float<T>(v.of[i]);
    *(bits *)to = *(const bits *)&piece;
}

/* Over all 32 lanes, the same in each: a butterfly, so that the order is one. float or double. */
template <typename T> static __device__ T warp_sum(T value)
{
    for (int step = 16; step > 0; step /= 2)
        value += __shfl_xor_sync(0xFFFFFFFF, value, step);
    return value;
}

/* The largest of all 32 lanes' likewise; one that is NaN is passed over. */
template <typename T> static __device__ T warp_largest(T value)
{
    for (int step = 16; step > 0; step /= 2)
        value = max(value, __shfl_xor_sync(0xFFFFFFFF, value, step));
    return value;
}

#endif

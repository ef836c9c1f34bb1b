/* Squared distances in float64 on a GPU, in the order of kernels/squared_distance.c's AVX2 code, bit
 * for bit. A quad of lanes has a pair: lane m the partial sum of the columns j = m modulo 4.
 *
 * Of the float64 units of GeForce cards, 2 a multiprocessor, a column takes two steps, the
 * difference and the multiply-add: values are widened by integers (widen.cuh). */
#ifndef MIDASHI_KERNELS_SQUARED_DISTANCE_CUH
#define MIDASHI_KERNELS_SQUARED_DISTANCE_CUH

#include <cuda_fp16.h>
#include "kernels/cuda.cuh"
#include "kernels/tensor.cuh"
#include "kernels/widen.cuh"

static __device__ float to_float(__half x)
{
    return __half2float(x);
}

/* Four columns of a lane's, as bits. */
static __device__ __forceinline__ double add_squares(double sum, const unsigned *x_bits,
                                                     const unsigned *centre_bits)
{
    double difference[4];
    float x[4], centre[4];
#pragma unroll
    for (int i = 0; i < 4; i++)
        x[i] = __uint_as_float(x_bits[i]), centre[i] = __uint_as_float(centre_bits[i]);
    bool simple = true;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        simple = simple && is_finite(x[i]) && is_normal(centre[i]);
        /* The centre less x, whose square is the same. */
        difference[i] = fma(shrunk(x[i]), -SHRUNK_BY, shrunk(centre[i], 896));
    }
    if (!simple)
#pragma unroll
        for (int i = 0; i < 4; i++)
            difference[i] = widened(x[i]) - widened(centre[i]);
#pragma unroll
    for (int i = 0; i < 4; i++)
        sum = fma(difference[i], difference[i], sum);
    return sum;
}

/* A lane's four of 16 columns. */
template <int W, typename T>
static __device__ __forceinline__ void load_columns(unsigned *bits, const T *from)
{
    int m = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < 4; i += W) {
        floats<W> v = load_floats<W>(from + (W == 4 ? 4 * m : 4 * i + m));
#pragma unroll
        for (int e = 0; e < W; e++)
            bits[i + e] = __float_as_uint(v.of[e]);
    }
}

/* N times 16 columns, of which this lane has every fourth. W: 4 where rows are whole vectors of
 * four, which a quad loads side by side and shares out; else 1. */
template <int W, int N, typename T>
static __device__ __forceinline__ double add_columns(double sum, const T *x, const float *centre)
{
    unsigned a[N][4], b[N][4];
#pragma unroll
    for (int i = 0; i < N; i++) {
        load_columns<W>(a[i], x + 16 * i);
        load_columns<W>(b[i], centre + 16 * i);
    }
#pragma unroll
    for (int i = 0; i < N; i++) {
        if (W == 4) {
            transpose_quad(a[i]);
            transpose_quad(b[i]);
        }
        sum = add_squares(sum, a[i], b[i]);
    }
    return sum;
}

template <int W, typename T>
static __device__ __forceinline__ double quad_distance_by(const T *x, const float *centre, int d)
{
    int m = threadIdx.x % 4, first = threadIdx.x % 32 - m, whole = d / 4 * 4, j = 0;
    double partial = 0;
    for (; j + 64 <= d; j += 64)
        partial = add_columns<W, 4>(partial, x + j, centre + j);
    for (; j + 16 <= d; j += 16)
        partial = add_columns<W, 1>(partial, x + j, centre + j);
    for (; j < whole; j += 4) {
        double difference = (double)to_float(x[j + m]) - (double)centre[j + m];
        partial = fma(difference, difference, partial);
    }
    double sum = __shfl_sync(0xFFFFFFFF, partial, first);
#pragma unroll
    for (int i = 1; i < 4; i++)
        sum += __shfl_sync(0xFFFFFFFF, partial, first + i);
    for (; j < d; j++) {
        double difference = (double)to_float(x[j]) - (double)centre[j];
        sum = __dadd_rn(sum, __dmul_rn(difference, difference));
    }
    return sum;
}

/* By the four lanes of a quad, the same in each; the whole warp must come. x and centre at multiples
 * of four elements where d is one. */
template <typename T>
static __device__ __forceinline__ double quad_distance(const T *x, const float *centre, int d)
{
    return d % 4 == 0 ? quad_distance_by<4>(x, centre, d) : quad_distance_by<1>(x, centre, d);
}

#endif

/* Dropout's mask on a GPU: the same bits as the CPU's (dropout.h has the formula), made where they
 * are used instead of being kept. 8 elements in a row share a counter of Philox (host/base/philox.h
 * has the bijection and its source). */
#ifndef MIDASHI_KERNELS_DROPOUT_CUH
#define MIDASHI_KERNELS_DROPOUT_CUH

#include <cuda_bf16.h>
#include "kernels/dropout_mask.h"

#define DROPOUT_GROUP 8 /* elements of a counter */

/* The 16-bit halves of a group's elements. */
struct dropout_halves {
    unsigned word[4];

    __device__ __forceinline__ dropout_halves(const dropout &of, uint64_t group)
    {
        unsigned c0 = (unsigned)group, c1 = (unsigned)(group >> 32), c2 = of.step, c3 = of.stream;
        unsigned k0 = (unsigned)of.seed, k1 = (unsigned)(of.seed >> 32);
#pragma unroll
        for (int round = 0; round < 10; round++) {
            unsigned high0 = __umulhi(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
            unsigned high1 = __umulhi(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
            c0 = high1 ^ c1 ^ k0;
            c2 = high0 ^ c3 ^ k1;
            c1 = low1;
            c3 = low0;
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        word[0] = c0, word[1] = c1, word[2] = c2, word[3] = c3;
    }

    /* e: of the group, a constant where loops are unrolled, so that words stay in registers. */
    __device__ __forceinline__ bool keep(int e, unsigned threshold) const
    {
        return (word[e / 2] >> 16 * (e % 2) & 0xFFFF) >= threshold;
    }
};

static __device__ __forceinline__ float dropout_scale_of(unsigned threshold)
{
    return 65536.0f / (float)(65536 - threshold);
}

/* The halves of 8 elements in a row that may lie in two groups, from any element of the step on: at
 * the price of two counters. */
static __device__ __forceinline__ dropout_halves dropout_halves_from(const dropout &of,
                                                                     uint64_t element)
{
    dropout_halves first(of, element / DROPOUT_GROUP), second(of, element / DROPOUT_GROUP + 1);
    unsigned words[8], skip = element % DROPOUT_GROUP;
#pragma unroll
    for (int i = 0; i < 4; i++)
        words[i] = first.word[i], words[4 + i] = second.word[i];
#pragma unroll
    for (int i = 0; i < 6; i++)
        words[i] = skip & 4 ? words[i + 2] : words[i];
#pragma unroll
    for (int i = 0; i < 5; i++)
        words[i] = skip & 2 ? words[i + 1] : words[i];
#pragma unroll
    for (int i = 0; i < 4; i++)
        first.word[i] = skip & 1 ? __funnelshift_r(words[i], words[i + 1], 16) : words[i];
    return first;
}

/* What is left of 8 bfloat16: of what is kept the product with the scale, rounded; else 0. By a
 * mask, without branches. */
static __device__ __forceinline__ uint4 dropout_eight(uint4 x, const dropout_halves &halves,
                                                      unsigned threshold, float scale)
{
    unsigned pairs[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        unsigned kept = (halves.keep(2 * i, threshold) ? 0xFFFFu : 0) |
                        (halves.keep(2 * i + 1, threshold) ? 0xFFFF0000u : 0);
        __nv_bfloat162 scaled = __floats2bfloat162_rn(__uint_as_float(pairs[i] << 16) * scale,
                                                      __uint_as_float(pairs[i] & 0xFFFF0000u) *
                                                          scale);
        pairs[i] = *(unsigned *)&scaled & kept;
    }
    return make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

/* The group of element (row, column) of rows of d; (row, column) is its first where d and column
 * are multiples of 8. */
static __device__ __forceinline__ uint64_t dropout_group(const dropout &of, int64_t row, int column,
                                                         int d)
{
    return (uint64_t)((of.first_row + row) * d + column) / DROPOUT_GROUP;
}

#endif

/* What the CPU code of the operations shares: how a function asks for AVX2, and small vector
 * pieces. Files are compiled for the baseline of the architecture; a function marked TARGET_AVX2
 * alone may use AVX2, FMA and F16C, and is called only where device->isa says so. */
#ifndef MIDASHI_KERNELS_CPU_H
#define MIDASHI_KERNELS_CPU_H

/* Four floats for the portable code: gcc and clang map them to what the machine has (SSE2, NEON).
 * The second type is the same anywhere in an array of float. */
typedef float float4 __attribute__((vector_size(16)));
typedef float float4_at_any_float __attribute__((vector_size(16), aligned(4), may_alias));

/* Before a short loop over vectors in an array: unrolls it (up to 16 turns), so that the array
 * becomes registers. gcc's -O2 leaves such loops and their arrays in memory. */
#define UNROLL _Pragma("GCC unroll 16")

#if defined(__x86_64__)
#define CPU_X86     1
#define TARGET_AVX2 __attribute__((target("avx2,fma,f16c")))
#include <immintrin.h>

/* The sum of eight lanes, from lane 0 to lane 7, as the portable code adds them. */
TARGET_AVX2
static inline float avx2_sum(__m256 v)
{
    float lane[8];
    _mm256_storeu_ps(lane, v);
    float sum = 0;
    for (int i = 0; i < 8; i++)
        sum += lane[i];
    return sum;
}

/* out[c] row r = in[r] column c. */
TARGET_AVX2
static inline void avx2_transpose(__m256 out[8], const __m256 in[8])
{
    __m256 pair[8], quad[8];
    UNROLL
    for (int i = 0; i < 4; i++) {
        pair[2 * i] = _mm256_unpacklo_ps(in[2 * i], in[2 * i + 1]);
        pair[2 * i + 1] = _mm256_unpackhi_ps(in[2 * i], in[2 * i + 1]);
    }
    UNROLL
    for (int i = 0; i < 8; i += 4) {
        UNROLL
        for (int j = 0; j < 2; j++) {
            quad[i + 2 * j] = _mm256_shuffle_ps(pair[i + j], pair[i + 2 + j], 0x44);
            quad[i + 2 * j + 1] = _mm256_shuffle_ps(pair[i + j], pair[i + 2 + j], 0xEE);
        }
    }
    UNROLL
    for (int i = 0; i < 4; i++) {
        out[i] = _mm256_permute2f128_ps(quad[i], quad[i + 4], 0x20);
        out[i + 4] = _mm256_permute2f128_ps(quad[i], quad[i + 4], 0x31);
    }
}
#else
#define CPU_X86 0
#endif

#endif

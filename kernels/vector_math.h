/* The exponential function on eight float32 lanes, for attention's softmax and SwiGLU's sigmoid.
 *
 * exp(x) = 2^n * exp(r) with n = round(x / ln 2) and |r| <= ln(2)/2. r is taken in two steps with
 * a two-part ln 2 (Cody and Waite 1980), exp(r) = 1 + r + r^2 * q(r) with q of degree 4: the
 * minimax polynomial for the relative error, 3.1e-9 before rounding, found by Remez' algorithm.
 *
 * Error: at most 1.01 ulp for -87.33654 <= x < 88.37626 (tests/test_vector_math.c). Below, where
 * the result would be subnormal, it is 0: such results cost a processor a hundred cycles each, and
 * both users add 1 or more to them. Above it is +inf (from 88.72284 on that is the right answer;
 * the gap is the price of making 2^n in one step). exp(0) is exactly 1, exp(-inf) is 0, NaN stays
 * NaN. The portable code calls expf instead. */
#ifndef MIDASHI_KERNELS_VECTOR_MATH_H
#define MIDASHI_KERNELS_VECTOR_MATH_H

#include "kernels/cpu.h"

#if CPU_X86
TARGET_AVX2
static inline __m256 avx2_exp(__m256 x)
{
    const __m256 lowest = _mm256_set1_ps(-0x1.5d589ep+6f); /* ln(2^-126) */
    const __m256 rounder = _mm256_set1_ps(0x1.8p+23f);     /* its ulp is 1 */
    /* min returns its second operand where one is NaN, so that NaN comes through. */
    x = _mm256_min_ps(_mm256_set1_ps(89.0f), x);
    /* The sum's low bits hold the integer n, in two's complement. */
    __m256 sum = _mm256_fmadd_ps(x, _mm256_set1_ps(0x1.715476p+0f), rounder);
    __m256 n = _mm256_sub_ps(sum, rounder);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.62e43p-1f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-0x1.05c61p-29f), r);
    __m256 q = _mm256_set1_ps(0x1.6a23dp-10f);
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(0x1.123a2p-7f));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(0x1.5558f2p-5f));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(0x1.555492p-3f));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(0x1.fffffcp-2f));
    __m256 p = _mm256_fmadd_ps(q, _mm256_mul_ps(r, r), r);
    p = _mm256_add_ps(p, _mm256_set1_ps(1.0f));
    __m256i biased = _mm256_add_epi32(_mm256_castps_si256(sum), _mm256_set1_epi32(127));
    p = _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23)));
    return _mm256_andnot_ps(_mm256_cmp_ps(x, lowest, _CMP_LT_OQ), p);
}
#endif

#endif

/* The exponential function on eight float32 lanes, for attention's softmax and SwiGLU's sigmoid.
 *
 * exp(x) = 2^n * exp(r) with n = round(x / ln 2) and |r| <= ln(2)/2. r is taken in two steps with
 * a two-part ln 2 (Cody and Waite 1980), exp(r) = 1 + r + r^2 * q(r) with q of degree 4: the
 * minimax polynomial for the relative error, 3.1e-9 before rounding, found by Remez' algorithm.
 *
 * Error: at most 1.1 ulp where the result is normal, at most 1 unit of 2^-149 where it is
 * subnormal (tests/test_vector_math.c goes through a tenth of all floats in range).
 * exp(0) is exactly 1, exp(-inf) is 0, above 88.72284 it is +inf, NaN stays NaN. The portable code
 * calls expf instead: the two differ in the last bit at most. */
#ifndef MIDASHI_KERNELS_VECTOR_MATH_H
#define MIDASHI_KERNELS_VECTOR_MATH_H

#include "kernels/cpu.h"

#if CPU_X86
TARGET_AVX2
static inline __m256 avx2_exp(__m256 x)
{
    /* Beyond these bounds the result is 0 or infinite anyway. max and min return their second
     * operand where one is NaN, so that NaN comes through. */
    x = _mm256_max_ps(_mm256_set1_ps(-104.0f), x);
    x = _mm256_min_ps(_mm256_set1_ps(89.0f), x);
    __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(0x1.715476p+0f)),
                               _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.62e43p-1f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-0x1.05c61p-29f), r);
    __m256 q = _mm256_set1_ps(0x1.6a23dp-10f);
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(0x1.123a2p-7f));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(0x1.5558f2p-5f));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(0x1.555492p-3f));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(0x1.fffffcp-2f));
    __m256 p = _mm256_fmadd_ps(q, _mm256_mul_ps(r, r), r);
    p = _mm256_add_ps(p, _mm256_set1_ps(1.0f));
    /* 2^n in two factors: n goes from -150 to 128, an exponent field from -126 to 127. The first
     * product is exact, the second rounds once where the result is subnormal. */
    __m256i exponent = _mm256_cvtps_epi32(n);
    __m256i half = _mm256_srai_epi32(exponent, 1);
    __m256i rest = _mm256_sub_epi32(exponent, half);
    __m256i bias = _mm256_set1_epi32(127);
    __m256i scale0 = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    __m256i scale1 = _mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23);
    p = _mm256_mul_ps(p, _mm256_castsi256_ps(scale0));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(scale1));
}
#endif

#endif

/* mma.sync by AVX2: a register of the processor holds eight rows of one column of A, C or D, and
 * elements of B are spread over it. Each sum is the chain of the portable code (ops_matrix.c).
 *
 * A register of a fragment, read as an array, is eight groups (rows of A, C, D; columns of B) of
 * four words. Transposed it gives four columns of words, groups in the order 0 2 4 6 1 3 5 7: rows
 * are in that order everywhere here, which nothing but the way back must know. */
#ifndef SOFTCUDA_MMA_VECTORS_H
#define SOFTCUDA_MMA_VECTORS_H

#include <immintrin.h>
#include "tools/softcuda/ops.h"

/* Four by four words within each half. */
ALWAYS_INLINE void transpose_halves(__m256 *to, __m256 a, __m256 b, __m256 c, __m256 d)
{
    __m256d ab_low = _mm256_castps_pd(_mm256_unpacklo_ps(a, b));
    __m256d ab_high = _mm256_castps_pd(_mm256_unpackhi_ps(a, b));
    __m256d cd_low = _mm256_castps_pd(_mm256_unpacklo_ps(c, d));
    __m256d cd_high = _mm256_castps_pd(_mm256_unpackhi_ps(c, d));
    to[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab_low, cd_low));
    to[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab_low, cd_low));
    to[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab_high, cd_high));
    to[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab_high, cd_high));
}

ALWAYS_INLINE void read_words(__m256 words[4], const void *place)
{
    const float *from = place;
    transpose_halves(words, _mm256_loadu_ps(from), _mm256_loadu_ps(from + 8),
                     _mm256_loadu_ps(from + 16), _mm256_loadu_ps(from + 24));
}

ALWAYS_INLINE void write_words(void *place, const __m256 words[4])
{
    __m256 groups[4];
    transpose_halves(groups, words[0], words[1], words[2], words[3]);
    for (int i = 0; i < 4; i++)
        _mm256_storeu_ps((float *)place + 8 * i, groups[i]);
}

/* Of each word the halves as floats. */
ALWAYS_INLINE void split_words(__m256 *low, __m256 *high, __m256 words, bool bf16)
{
    __m256i bits = _mm256_castps_si256(words);
    if (bf16) {
        *low = _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
        *high =
            _mm256_castsi256_ps(_mm256_and_si256(bits, _mm256_set1_epi32((int32_t)0xFFFF0000u)));
        return;
    }
    const __m256i apart = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15, //
                                           0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    bits = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(bits, apart), 0xD8);
    *low = _mm256_cvtph_ps(_mm256_castsi256_si128(bits));
    *high = _mm256_cvtph_ps(_mm256_extracti128_si256(bits, 1));
}

ALWAYS_INLINE __m256 tf32_of_words(__m256 words)
{
    return _mm256_and_ps(words, _mm256_castsi256_ps(_mm256_set1_epi32((int32_t)0xFFFFE000u)));
}

/* The columns of a register: four of words, or eight of halves. */
ALWAYS_INLINE void read_columns(__m256 *columns, int stride, const void *place, enum ptx_type type)
{
    __m256 words[4];
    read_words(words, place);
    for (int t = 0; t < 4; t++)
        if (type == PTX_TF32)
            columns[t * stride] = tf32_of_words(words[t]);
        else
            split_words(&columns[2 * t * stride], &columns[(2 * t + 1) * stride], words[t],
                        type == PTX_BF16);
}

/* b[column][i]: register `r` holds eight halves or four words of each column. */
ALWAYS_INLINE void read_b_register(float *b, int k, const void *place, int r, enum ptx_type type)
{
    for (int column = 0; column < 8; column++) {
        const void *from = (const char *)place + 16 * column;
        __m128i run = _mm_loadu_si128(from);
        float *to = b + column * k;
        if (type == PTX_TF32)
            _mm_storeu_ps(to + 4 * r,
                          _mm_and_ps(_mm_castsi128_ps(run),
                                     _mm_castsi128_ps(_mm_set1_epi32((int32_t)0xFFFFE000u))));
        else if (type == PTX_BF16)
            _mm256_storeu_ps(
                to + 8 * r, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(run), 16)));
        else
            _mm256_storeu_ps(to + 8 * r, _mm256_cvtph_ps(run));
    }
}

ALWAYS_INLINE __m256 canonical_vector(__m256 x)
{
    return _mm256_blendv_ps(x, _mm256_castsi256_ps(_mm256_set1_epi32(0x7FFFFFFF)),
                            _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

/* To f16, to nearest even, a number in the lower half of each word. */
ALWAYS_INLINE __m256i f16_words(__m256 x)
{
    __m256i halves =
        _mm256_cvtepu16_epi32(_mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    return _mm256_blendv_epi8(halves, _mm256_set1_epi32(0x7FFF),
                              _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
}

/* c[column][which eight rows]; registers as in read_c and write_d of the portable code. */
ALWAYS_INLINE void read_sums(__m256 c[8][2], const struct warp *warp,
                             const struct instruction *instruction, int first, bool halves)
{
    for (int rows = 0; rows < 2; rows++) {
        if (halves) {
            read_columns(&c[0][rows], 2, SOURCE(warp, instruction, first + rows), PTX_F16);
            continue;
        }
        for (int odd = 0; odd < 2; odd++) {
            __m256 words[4];
            read_words(words, SOURCE(warp, instruction, first + 2 * rows + odd));
            for (int t = 0; t < 4; t++)
                c[2 * t + odd][rows] = words[t];
        }
    }
}

ALWAYS_INLINE void write_sums(struct warp *warp, const struct instruction *instruction,
                              __m256 c[8][2], bool halves)
{
    for (int r = 0; r < (halves ? 2 : 4); r++) {
        __m256 words[4];
        if (instruction->destinations[r] < 0)
            continue;
        for (int t = 0; t < 4; t++)
            if (halves)
                words[t] = _mm256_castsi256_ps(_mm256_or_si256(
                    f16_words(c[2 * t][r]), _mm256_slli_epi32(f16_words(c[2 * t + 1][r]), 16)));
            else
                words[t] = canonical_vector(c[2 * t + r % 2][r / 2]);
        write_words(DESTINATION(warp, instruction, r), words);
    }
}

/* The whole instruction; k of 4, 8 or 16. */
ALWAYS_INLINE void mma_by_vectors(struct warp *warp, const struct instruction *instruction,
                                  enum ptx_type type, int k, bool halves)
{
    __m256 a[16][2], c[8][2];
    float b[8 * 16];
    int run = type == PTX_TF32 ? 4 : 8;
    for (int i = 0; i < k; i += run)
        for (int rows = 0; rows < 2; rows++)
            read_columns(&a[i][rows], 2, SOURCE(warp, instruction, 2 * (i / run) + rows), type);
    for (int r = 0; r < k / run; r++)
        read_b_register(b, k, SOURCE(warp, instruction, 2 * (k / run) + r), r, type);
    read_sums(c, warp, instruction, 3 * (k / run), halves);
    /* Four columns at a time: their sums fit the registers, and hide one another's latency. */
#pragma GCC unroll 2
    for (int odd = 0; odd < 2; odd++) {
        __m256 sums[4][2];
        for (int t = 0; t < 4; t++)
            sums[t][0] = c[2 * t + odd][0], sums[t][1] = c[2 * t + odd][1];
#pragma GCC unroll 1 /* or gcc loads all factors first, and spills them */
        for (int i = 0; i < k; i++)
            for (int t = 0; t < 4; t++) {
                __m256 factor = _mm256_broadcast_ss(b + (2 * t + odd) * k + i);
                sums[t][0] = _mm256_fmadd_ps(a[i][0], factor, sums[t][0]);
                sums[t][1] = _mm256_fmadd_ps(a[i][1], factor, sums[t][1]);
            }
        for (int t = 0; t < 4; t++)
            c[2 * t + odd][0] = sums[t][0], c[2 * t + odd][1] = sums[t][1];
    }
    write_sums(warp, instruction, c, halves);
}

#endif

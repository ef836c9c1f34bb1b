/* NF4: the tables, quantising, dequantising. See nf4.h.
 *
 * Quantising is a binary search over 15 midpoints a value: about 14 vector operations for 8 values,
 * where comparing with each midpoint would take 30. The search asks !(midpoint >= v), which is
 * bitsandbytes' v > midpoint for numbers, and sends NaN to code 15 in both instruction sets. */
#include "kernels/nf4.h"

#include "host/base/float16.h"
#include "kernels/cpu.h"

/* clang-format off */
const float nf4_map[16] = {
    -1.0f, -0.6961928f, -0.52507305f, -0.3949175f,
    -0.28444138f, -0.18477343f, -0.091050036f, 0.0f,
    0.0795803f, 0.1609302f, 0.2461123f, 0.33791524f,
    0.44070983f, 0.562617f, 0.72295684f, 1.0f,
};

const float nf4_nested_map[256] = {
    -0.99296874f, -0.9789063f, -0.96484375f, -0.9507812f, -0.93671876f, -0.92265624f, -0.9085938f,
    -0.89453125f, -0.8804687f, -0.86640626f, -0.85234374f, -0.8382813f, -0.82421875f, -0.8101562f,
    -0.79609376f, -0.78203124f, -0.7679688f, -0.75390625f, -0.7398437f, -0.72578126f, -0.7117188f,
    -0.6976563f, -0.68359375f, -0.6695312f, -0.65546876f, -0.6414063f, -0.6273438f, -0.61328125f,
    -0.5992187f, -0.58515626f, -0.5710938f, -0.5570313f, -0.54296875f, -0.5289062f, -0.5148437f,
    -0.50078124f, -0.4867187f, -0.47265625f, -0.45859373f, -0.44453126f, -0.43046874f, -0.41640624f,
    -0.40234375f, -0.38828123f, -0.37421876f, -0.36015624f, -0.34609374f, -0.33203125f,
    -0.31796873f, -0.30390626f, -0.28984374f, -0.27578127f, -0.26171875f, -0.24765624f,
    -0.23359375f, -0.21953125f, -0.20546874f, -0.19140625f, -0.17734376f, -0.16328125f,
    -0.14921875f, -0.13515624f, -0.12109375f, -0.107031256f, -0.09859375f, -0.09578126f,
    -0.092968754f, -0.09015625f, -0.08734375f, -0.08453125f, -0.08171876f, -0.07890625f,
    -0.07609375f, -0.07328125f, -0.070468746f, -0.067656256f, -0.06484375f, -0.06203125f,
    -0.059218753f, -0.05640625f, -0.05359375f, -0.05078125f, -0.04796875f, -0.04515625f,
    -0.042343747f, -0.03953125f, -0.036718752f, -0.03390625f, -0.03109375f, -0.028281251f,
    -0.02546875f, -0.02265625f, -0.019843752f, -0.01703125f, -0.01421875f, -0.01140625f,
    -0.00971875f, -0.009156249f, -0.00859375f, -0.00803125f, -0.00746875f, -0.00690625f,
    -0.00634375f, -0.00578125f, -0.0052187503f, -0.0046562497f, -0.00409375f, -0.0035312497f,
    -0.00296875f, -0.00240625f, -0.00184375f, -0.0012812499f, -9.437501e-4f, -8.3125e-4f,
    -7.1875006e-4f, -6.062501e-4f, -4.9375003e-4f, -3.8125002e-4f, -2.6875004e-4f, -1.5625001e-4f,
    -8.875e-5f, -6.625e-5f, -4.375e-5f, -2.1249998e-5f, -7.75e-6f, -3.2500002e-6f, -5.5000004e-7f,
    0.0f, 5.5000004e-7f, 3.2500002e-6f, 7.75e-6f, 2.1249998e-5f, 4.375e-5f, 6.625e-5f, 8.875e-5f,
    1.5625001e-4f, 2.6875004e-4f, 3.8125002e-4f, 4.9375003e-4f, 6.062501e-4f, 7.1875006e-4f,
    8.3125e-4f, 9.437501e-4f, 0.0012812499f, 0.00184375f, 0.00240625f, 0.00296875f, 0.0035312497f,
    0.00409375f, 0.0046562497f, 0.0052187503f, 0.00578125f, 0.00634375f, 0.00690625f, 0.00746875f,
    0.00803125f, 0.00859375f, 0.009156249f, 0.00971875f, 0.01140625f, 0.01421875f, 0.01703125f,
    0.019843752f, 0.02265625f, 0.02546875f, 0.028281251f, 0.03109375f, 0.03390625f, 0.036718752f,
    0.03953125f, 0.042343747f, 0.04515625f, 0.04796875f, 0.05078125f, 0.05359375f, 0.05640625f,
    0.059218753f, 0.06203125f, 0.06484375f, 0.067656256f, 0.070468746f, 0.07328125f, 0.07609375f,
    0.07890625f, 0.08171876f, 0.08453125f, 0.08734375f, 0.09015625f, 0.092968754f, 0.09578126f,
    0.09859375f, 0.107031256f, 0.12109375f, 0.13515624f, 0.14921875f, 0.16328125f, 0.17734376f,
    0.19140625f, 0.20546874f, 0.21953125f, 0.23359375f, 0.24765624f, 0.26171875f, 0.27578127f,
    0.28984374f, 0.30390626f, 0.31796873f, 0.33203125f, 0.34609374f, 0.36015624f, 0.37421876f,
    0.38828123f, 0.40234375f, 0.41640624f, 0.43046874f, 0.44453126f, 0.45859373f, 0.47265625f,
    0.4867187f, 0.50078124f, 0.5148437f, 0.5289062f, 0.54296875f, 0.5570313f, 0.5710938f,
    0.58515626f, 0.5992187f, 0.61328125f, 0.6273438f, 0.6414063f, 0.65546876f, 0.6695312f,
    0.68359375f, 0.6976563f, 0.7117188f, 0.72578126f, 0.7398437f, 0.75390625f, 0.7679688f,
    0.78203124f, 0.79609376f, 0.8101562f, 0.82421875f, 0.8382813f, 0.85234374f, 0.86640626f,
    0.8804687f, 0.89453125f, 0.9085938f, 0.92265624f, 0.93671876f, 0.9507812f, 0.96484375f,
    0.9789063f, 0.99296874f, 1.0f,
};
/* clang-format on */

/* The midpoints of nf4_map, rounded to float32: midpoint[i] lies between codes i and i + 1. */
static void find_midpoints(float midpoint[15])
{
    for (int i = 0; i < 15; i++)
        midpoint[i] = (nf4_map[i] + nf4_map[i + 1]) / 2;
}

/* What the values of a block are multiplied with. */
static inline float block_scale(float absmax)
{
    return 1.0f / (absmax < 1e-38f ? 1e-38f : absmax);
}

/* ---- quantising ----------------------------------------------------------------------------- */

static inline int nearest_code(const float midpoint[15], float v)
{
    int code = 0;
    for (int step = 8; step; step /= 2)
        if (!(midpoint[code + step - 1] >= v))
            code += step;
    return code;
}

/* The larger absolute value, as bits: among bits of floats without sign, integers order as the
 * numbers do, and NaN is the largest. */
static float largest_magnitude(const float *x, int n)
{
    uint32_t largest = 0;
    for (int i = 0; i < n; i++) {
        uint32_t bits = bits_from_float(x[i]) & 0x7FFFFFFF;
        largest = bits > largest ? bits : largest;
    }
    return float_from_bits(largest);
}

/* One block of n <= 64 values. */
static void quantize_block_portable(uint8_t *codes, float *absmax, const float *x, int n,
                                    const float midpoint[15])
{
    *absmax = largest_magnitude(x, n);
    float scale = block_scale(*absmax);
    for (int i = 0; i < n; i += 2) {
        int high = nearest_code(midpoint, x[i] * scale);
        int low = i + 1 < n ? nearest_code(midpoint, x[i + 1] * scale) : 7;
        codes[i / 2] = (uint8_t)(high << 4 | low);
    }
}

#if CPU_X86
/* Eight codes. A comparison that holds is -1 in each lane: index - holds - holds ... counts up. */
TARGET_AVX2
static inline __m256i nearest_codes_avx2(__m256 v, __m256 root, __m256 level2, __m256 level3,
                                         __m256 level4)
{
    __m256i above = _mm256_castps_si256(_mm256_cmp_ps(root, v, _CMP_NGE_UQ));
    __m256i index = _mm256_sub_epi32(_mm256_setzero_si256(), above);
    __m256 midpoint = _mm256_permutevar8x32_ps(level2, index);
    above = _mm256_castps_si256(_mm256_cmp_ps(midpoint, v, _CMP_NGE_UQ));
    index = _mm256_sub_epi32(_mm256_add_epi32(index, index), above);
    midpoint = _mm256_permutevar8x32_ps(level3, index);
    above = _mm256_castps_si256(_mm256_cmp_ps(midpoint, v, _CMP_NGE_UQ));
    index = _mm256_sub_epi32(_mm256_add_epi32(index, index), above);
    midpoint = _mm256_permutevar8x32_ps(level4, index);
    above = _mm256_castps_si256(_mm256_cmp_ps(midpoint, v, _CMP_NGE_UQ));
    return _mm256_sub_epi32(_mm256_add_epi32(index, index), above);
}

/* Full blocks only. The midpoints lie level by level of the search tree: level4[i] decides between
 * codes 2i and 2i + 1, level3[i] between pairs, and so on. */
TARGET_AVX2
static void quantize_blocks_avx2(uint8_t *codes, float *absmax, const float *x, int64_t n_blocks,
                                 const float midpoint[15])
{
    const float *m = midpoint;
    __m256 root = _mm256_set1_ps(m[7]);
    __m256 level2 = _mm256_setr_ps(m[3], m[11], 0, 0, 0, 0, 0, 0);
    __m256 level3 = _mm256_setr_ps(m[1], m[5], m[9], m[13], 0, 0, 0, 0);
    __m256 level4 = _mm256_setr_ps(m[0], m[2], m[4], m[6], m[8], m[10], m[12], m[14]);
    __m256i magnitude_bits = _mm256_set1_epi32(0x7FFFFFFF);
    for (int64_t block = 0; block < n_blocks; block++, x += NF4_BLOCK, codes += NF4_BLOCK / 2) {
        __m256i largest = _mm256_setzero_si256();
        for (int i = 0; i < NF4_BLOCK; i += 8) {
            __m256i bits = _mm256_loadu_si256((const __m256i *)(x + i));
            largest = _mm256_max_epu32(largest, _mm256_and_si256(bits, magnitude_bits));
        }
        __m128i half =
            _mm_max_epu32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
        half = _mm_max_epu32(half, _mm_shuffle_epi32(half, _MM_SHUFFLE(1, 0, 3, 2)));
        half = _mm_max_epu32(half, _mm_shuffle_epi32(half, _MM_SHUFFLE(2, 3, 0, 1)));
        absmax[block] = float_from_bits((uint32_t)_mm_cvtsi128_si32(half));
        __m256 scale = _mm256_set1_ps(block_scale(absmax[block]));

        __m256i pairs[2]; /* 16 bytes of packed codes each, as 16-bit lanes */
        for (int i = 0; i < 2; i++) {
            __m256i code[4];
            for (int j = 0; j < 4; j++) {
                __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + 32 * i + 8 * j), scale);
                code[j] = nearest_codes_avx2(v, root, level2, level3, level4);
            }
            /* The packs work within 128-bit halves, which leaves groups of four codes in the order
             * 0 2 4 6 1 3 5 7; the permutation undoes it. */
            __m256i bytes = _mm256_packus_epi16(_mm256_packs_epi32(code[0], code[1]),
                                                _mm256_packs_epi32(code[2], code[3]));
            bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
            pairs[i] =
                _mm256_maddubs_epi16(bytes, _mm256_set1_epi16(0x0110)); /* first*16 + second */
        }
        __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi16(pairs[0], pairs[1]),
                                                  _MM_SHUFFLE(3, 1, 2, 0));
        _mm256_storeu_si256((__m256i *)codes, packed);
    }
}
#endif

#define BLOCKS_PER_TASK 512 /* 128 KiB of float32 */

struct quantize_job {
    uint8_t *codes;
    float *absmax;
    const float *x;
    int64_t n;
    enum cpu_isa isa;
};

static void quantize_task(void *context, int task, int worker)
{
    (void)worker;
    const struct quantize_job *job = context;
    int64_t first = (int64_t)task * BLOCKS_PER_TASK * NF4_BLOCK;
    int64_t n = job->n - first;
    if (n > (int64_t)BLOCKS_PER_TASK * NF4_BLOCK)
        n = (int64_t)BLOCKS_PER_TASK * NF4_BLOCK;
    uint8_t *codes = job->codes + first / 2;
    float *absmax = job->absmax + first / NF4_BLOCK;
    const float *x = job->x + first;
    float midpoint[15];
    find_midpoints(midpoint);
    int64_t i = 0;
#if CPU_X86
    if (job->isa == CPU_AVX2) {
        quantize_blocks_avx2(codes, absmax, x, n / NF4_BLOCK, midpoint);
        i = n / NF4_BLOCK * NF4_BLOCK;
    }
#endif
    for (; i < n; i += NF4_BLOCK) {
        int block_n = n - i < NF4_BLOCK ? (int)(n - i) : NF4_BLOCK;
        quantize_block_portable(codes + i / 2, absmax + i / NF4_BLOCK, x + i, block_n, midpoint);
    }
}

void nf4_quantize(struct device *device, uint8_t *codes, float *absmax, const float *x, int64_t n)
{
    struct quantize_job job = {codes, absmax, x, n, device->isa};
    int64_t task_n = (int64_t)BLOCKS_PER_TASK * NF4_BLOCK;
    threads_run(device->threads, (int)((n + task_n - 1) / task_n), quantize_task, &job);
}

/* ---- double quantisation -------------------------------------------------------------------- */

#define GRID 65535 /* steps between -1 and 1 */

/* Rounds v to the grid, then takes the entry whose midpoints enclose that point. bitsandbytes
 * tabulates this for all grid points, in 64 KiB; a search is as good for one value in 64. */
static uint8_t nested_code(float v)
{
    v = !(v >= -1.0f) ? -1.0f : v > 1.0f ? 1.0f : v;
    /* Fused or not, this gives the same integer for each float32 v (tried for all). */
    int index = (int)((v + 1.0f) * 0.5f * GRID + 0.5f);
    float point = -1.0f + 2.0f * (float)index / GRID;
    int code = 0;
    for (int step = 128; step; step /= 2)
        if (0.5f * (nf4_nested_map[code + step - 1] + nf4_nested_map[code + step]) < point)
            code += step;
    return (uint8_t)code;
}

void nf4_nest_absmax(uint8_t *absmax_codes, float *nested_absmax, const float *absmax,
                     int64_t n_blocks, float offset)
{
    for (int64_t first = 0; first < n_blocks; first += NF4_NESTED_BLOCK) {
        int n = n_blocks - first < NF4_NESTED_BLOCK ? (int)(n_blocks - first) : NF4_NESTED_BLOCK;
        float centred[NF4_NESTED_BLOCK];
        for (int i = 0; i < n; i++)
            centred[i] = absmax[first + i] - offset;
        float largest = largest_magnitude(centred, n);
        nested_absmax[first / NF4_NESTED_BLOCK] = largest;
        float scale = 1.0f / largest;
        for (int i = 0; i < n; i++)
            absmax_codes[first + i] = largest == 0 ? 0 : nested_code(centred[i] * scale);
    }
}

void nf4_quantize_absmax(uint8_t *absmax_codes, float *nested_absmax, float *offset,
                         const float *absmax, int64_t n_blocks)
{
    double sum = 0;
    for (int64_t i = 0; i < n_blocks; i++)
        sum += (double)absmax[i];
    *offset = n_blocks ? (float)(sum / (double)n_blocks) : 0;
    nf4_nest_absmax(absmax_codes, nested_absmax, absmax, n_blocks, *offset);
}

/* ---- dequantising --------------------------------------------------------------------------- */

void nf4_decode(float *out, size_t stride, const struct nf4_matrix *w, int64_t first, int64_t n)
{
    int64_t i = first, end = first + n;
    while (i < end) {
        int64_t block = i / NF4_BLOCK, block_end = (block + 1) * NF4_BLOCK;
        float absmax = nf4_block_absmax(w, block);
        for (; i < block_end && i < end; i++, out += stride)
            *out = nf4_map[i % 2 ? w->codes[i / 2] & 15 : w->codes[i / 2] >> 4] * absmax;
    }
}

struct dequantize_job {
    float *out;
    const struct nf4_matrix *w;
    int first_row;
};

static void dequantize_task(void *context, int task, int worker)
{
    (void)worker;
    const struct dequantize_job *job = context;
    int64_t columns = job->w->columns;
    nf4_decode(job->out + task * columns, 1, job->w, (job->first_row + task) * columns, columns);
}

void nf4_dequantize(struct device *device, float *out, const struct nf4_matrix *w, int first_row,
                    int n_rows)
{
    struct dequantize_job job = {out, w, first_row};
    threads_run(device->threads, n_rows, dequantize_task, &job);
}

/* NF4: the tables, quantising, dequantising. See nf4.h.
 *
 * Quantising is a binary search over 15 midpoints a value: about 14 vector operations for 8 values,
 * where comparing with each midpoint would take 30. The search asks !(midpoint >= v), which is
 * bitsandbytes' v > midpoint for numbers, and sends NaN to code 15 in both instruction sets. */
#include "kernels/nf4.h"

#include <assert.h>
#include "host/base/cuda_device.h"
#include "host/base/divide_up.h"
#include "host/base/float16.h"
#include "kernels/cpu.h"
#include "kernels/nf4_tables.h"

const float nf4_map[16] = {NF4_MAP_VALUES};
const float nf4_nested_map[256] = {NF4_NESTED_MAP_VALUES};

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

/* The order of the offset's sum, which a GPU's warps can follow: chains by index modulo 32, joined
 * half by half. First the 256 absmax of each nested block, then the sums of the nested blocks. */
#define CHAINS 32

static double join_chains(double chain[CHAINS])
{
    for (int step = CHAINS / 2; step > 0; step /= 2)
        for (int i = 0; i < step; i++)
            chain[i] += chain[i + step];
    return chain[0];
}

static double sum_of_nested_block(const float *absmax, int n)
{
    double chain[CHAINS] = {0};
    for (int i = 0; i < n; i++)
        chain[i % CHAINS] += (double)absmax[i];
    return join_chains(chain);
}

void nf4_quantize_absmax(uint8_t *absmax_codes, float *nested_absmax, float *offset,
                         const float *absmax, int64_t n_blocks)
{
    double chain[CHAINS] = {0};
    for (int64_t first = 0; first < n_blocks; first += NF4_NESTED_BLOCK) {
        int n = n_blocks - first < NF4_NESTED_BLOCK ? (int)(n_blocks - first) : NF4_NESTED_BLOCK;
        chain[first / NF4_NESTED_BLOCK % CHAINS] += sum_of_nested_block(absmax + first, n);
    }
    double sum = join_chains(chain);
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

/* ---- CUDA ----------------------------------------------------------------------------------- */

#define THREADS 256

static enum status launch(struct device *device, const char *name, int64_t n_threads, void **values,
                          struct err *err)
{
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "nf4",
                           .name = name,
                           .grid = {(unsigned)divide_up(n_threads, THREADS), 1, 1},
                           .block = {THREADS, 1, 1},
                           .values = values,
                       },
                       err);
}

/* A thread takes 16 bytes of the values. */
static int64_t threads_for(int64_t n, int bytes_of_value)
{
    return divide_up(n, 16 / bytes_of_value);
}

enum status nf4_quantize_cuda(struct device *device, uint8_t *codes, float *absmax, const void *x,
                              enum nf4_source type, int64_t n, struct err *err)
{
    static const char *const names[] = {
        [NF4_FROM_F32] = "nf4_quantize_f32",
        [NF4_FROM_BF16] = "nf4_quantize_bf16",
        [NF4_FROM_F16] = "nf4_quantize_f16",
    };
    void *values[] = {&codes, &absmax, &x, &n};
    if (n == 0)
        return STATUS_OK;
    return launch(device, names[type], threads_for(n, type == NF4_FROM_F32 ? 4 : 2), values, err);
}

enum status nf4_quantize_absmax_cuda(struct device *device, uint8_t *absmax_codes,
                                     float *nested_absmax, float *offset, double *sums,
                                     const float *absmax, int64_t n_blocks, struct err *err)
{
    int64_t n_nested = (int64_t)nf4_nested_block_count(n_blocks);
    void *of_sums[] = {&sums, &absmax, &n_blocks};
    void *of_mean[] = {&offset, &sums, &n_nested, &n_blocks};
    void *of_nesting[] = {&absmax_codes, &nested_absmax, &absmax, &offset, &n_blocks};
    if (n_nested > 0)
        TRY(launch(device, "nf4_sum_absmax", n_nested * 32, of_sums, err));
    struct cuda_launch mean = {
        .image = "nf4",
        .name = "nf4_mean_absmax",
        .grid = {1, 1, 1},
        .block = {32, 1, 1},
        .values = of_mean,
    };
    TRY(cuda_launch(device->cuda, &mean, err));
    return n_nested == 0
               ? STATUS_OK
               : launch(device, "nf4_nest_absmax", n_nested * NF4_NESTED_BLOCK, of_nesting, err);
}

enum status nf4_dequantize_cuda(struct device *device, enum precision type, void *out,
                                const struct nf4_cuda_values *w, int64_t n, struct err *err)
{
    assert(type == PRECISION_BF16 || type == PRECISION_F32);
    struct nf4_cuda_values v = *w;
    void *values[] = {&out, &v.codes, &v.absmax, &v.absmax_codes, &v.nested_absmax, &v.offset, &n};
    if (n == 0)
        return STATUS_OK;
    return launch(device, type == PRECISION_BF16 ? "nf4_dequantize_bf16" : "nf4_dequantize_f32",
                  threads_for(n, type == PRECISION_BF16 ? 2 : 4), values, err);
}

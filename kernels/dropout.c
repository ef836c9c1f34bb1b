/* Dropout: CPU code, dispatch.
 *
 * Ten rounds of Philox for 8 elements would take longer than moving them. AVX2 makes eight counters
 * at once: 64-bit lanes, four counters in a vector, where each product of 32 bits has its own lane
 * and the upper halves of words are left as garbage that the next multiplication does not read.
 * That is about 3 instructions an element, and 12 bytes move for it. */
#include "kernels/dropout.h"

#include <assert.h>
#include <math.h>
#include <string.h>
#include "host/base/philox.h"
#include "kernels/cpu.h"

uint32_t dropout_threshold(double p)
{
    assert(p >= 0 && p < 1);
    double threshold = round(p * 65536);
    return threshold > 65535 ? 65535 : (uint32_t)threshold;
}

float dropout_scale(uint32_t threshold)
{
    return 65536.0f / (float)(65536 - threshold);
}

/* ---- CPU ------------------------------------------------------------------------------------ */

#define GROUP 8 /* elements of a counter */

/* Elements of one group, from its `begin`-th on. */
static void group_portable(float *y, const float *x, const struct dropout *dropout, uint64_t group,
                           int begin, int n, float scale, bool add)
{
    uint32_t word[4];
    philox_words(word, dropout->seed, dropout->step, dropout->stream, group);
    for (int i = 0; i < n; i++) {
        int e = begin + i;
        uint32_t half = word[e / 2] >> 16 * (e % 2) & 0xFFFF;
        float kept = half >= dropout->threshold ? x[i] * scale : 0.0f;
        y[i] = add ? y[i] + kept : kept;
    }
}

#if CPU_X86
/* Philox' four words of four counters, each in the low half of its lane. */
struct words_avx2 {
    __m256i c0, c1, c2, c3;
};

/* The words of counters group .. group + 3. */
TARGET_AVX2
static inline struct words_avx2 philox_avx2(const struct dropout *dropout, uint64_t group)
{
    const __m256i m0 = _mm256_set1_epi64x(0xD2511F53), m1 = _mm256_set1_epi64x(0xCD9E8D57);
    struct words_avx2 w;
    w.c0 = _mm256_add_epi64(_mm256_set1_epi64x((int64_t)group), _mm256_setr_epi64x(0, 1, 2, 3));
    w.c1 = _mm256_srli_epi64(w.c0, 32);
    w.c2 = _mm256_set1_epi64x(dropout->step);
    w.c3 = _mm256_set1_epi64x(dropout->stream);
    uint32_t k0 = (uint32_t)dropout->seed, k1 = (uint32_t)(dropout->seed >> 32);
    UNROLL
    for (int round = 0; round < 10; round++) {
        __m256i p0 = _mm256_mul_epu32(m0, w.c0), p1 = _mm256_mul_epu32(m1, w.c2);
        __m256i key0 = _mm256_set1_epi64x(k0), key1 = _mm256_set1_epi64x(k1);
        w.c0 = _mm256_xor_si256(_mm256_srli_epi64(p1, 32), _mm256_xor_si256(w.c1, key0));
        w.c2 = _mm256_xor_si256(_mm256_srli_epi64(p0, 32), _mm256_xor_si256(w.c3, key1));
        w.c1 = p1;
        w.c3 = p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return w;
}

/* Eight elements; keep: a lane of 16 bits for each, all ones or zeros. */
TARGET_AVX2
static inline void store_kept(float *y, const float *x, __m128i keep, __m256 scale, bool add)
{
    __m256 mask = _mm256_castsi256_ps(_mm256_cvtepi16_epi32(keep));
    __m256 kept = _mm256_and_ps(mask, _mm256_mul_ps(_mm256_loadu_ps(x), scale));
    _mm256_storeu_ps(y, add ? _mm256_add_ps(_mm256_loadu_ps(y), kept) : kept);
}

/* Whole groups, in fours; returns how many that were. */
TARGET_AVX2
static size_t groups_avx2(float *y, const float *x, const struct dropout *dropout, uint64_t group,
                          size_t n_groups, float scale, bool add)
{
    __m256 scales = _mm256_set1_ps(scale);
    __m256i threshold = _mm256_set1_epi16((int16_t)dropout->threshold);
    size_t i = 0;
    for (; i + 4 <= n_groups; i += 4, y += 4 * GROUP, x += 4 * GROUP) {
        struct words_avx2 w = philox_avx2(dropout, group + i);
        /* Words 0 and 1 of a counter side by side, and 2 and 3; then all four. */
        __m256i low = _mm256_blend_epi32(w.c0, _mm256_slli_epi64(w.c1, 32), 0xAA);
        __m256i high = _mm256_blend_epi32(w.c2, _mm256_slli_epi64(w.c3, 32), 0xAA);
        __m256i even = _mm256_unpacklo_epi64(low, high); /* counters 0 and 2 */
        __m256i odd = _mm256_unpackhi_epi64(low, high);
        /* Unsigned half >= threshold. */
        even = _mm256_cmpeq_epi16(_mm256_max_epu16(even, threshold), even);
        odd = _mm256_cmpeq_epi16(_mm256_max_epu16(odd, threshold), odd);
        store_kept(y, x, _mm256_castsi256_si128(even), scales, add);
        store_kept(y + GROUP, x + GROUP, _mm256_castsi256_si128(odd), scales, add);
        store_kept(y + 2 * GROUP, x + 2 * GROUP, _mm256_extracti128_si256(even, 1), scales, add);
        store_kept(y + 3 * GROUP, x + 3 * GROUP, _mm256_extracti128_si256(odd, 1), scales, add);
    }
    return i;
}
#endif

#define ELEMENTS_PER_TASK 8192 /* 96 KiB moved */

struct dropout_job {
    float *y;
    const float *x;
    const struct dropout *dropout;
    uint64_t first; /* element */
    size_t n;
    float scale;
    bool add;
    enum cpu_isa isa;
};

static void dropout_task(void *context, int task, int worker)
{
    (void)worker;
    const struct dropout_job *job = context;
    size_t begin = (size_t)task * ELEMENTS_PER_TASK;
    size_t n = job->n - begin < ELEMENTS_PER_TASK ? job->n - begin : ELEMENTS_PER_TASK;
    float *y = job->y + begin;
    const float *x = job->x + begin;
    if (job->dropout->threshold == 0) {
        for (size_t i = 0; i < n; i++)
            y[i] = job->add ? y[i] + x[i] : x[i];
        return;
    }
    uint64_t element = job->first + begin;
    for (size_t i = 0; i < n;) {
        uint64_t at = element + i, group = at / GROUP;
        int in_group = (int)(at % GROUP);
#if CPU_X86
        if (job->isa == CPU_AVX2 && in_group == 0 && n - i >= 4 * GROUP) {
            i += GROUP * groups_avx2(y + i, x + i, job->dropout, group, (n - i) / GROUP, job->scale,
                                     job->add);
            continue;
        }
#endif
        int count = n - i < (size_t)(GROUP - in_group) ? (int)(n - i) : GROUP - in_group;
        group_portable(y + i, x + i, job->dropout, group, in_group, count, job->scale, job->add);
        i += (size_t)count;
    }
}

void dropout_fwd_cpu(struct device *device, float *y, const float *x, const struct dropout *dropout,
                     int n, int d, bool add)
{
    struct dropout_job job = {.y = y, .x = x, .dropout = dropout, .n = (size_t)n * (size_t)d};
    job.first = (uint64_t)dropout->first_row * (uint64_t)d;
    job.scale = dropout_scale(dropout->threshold);
    job.add = add;
    job.isa = device->isa;
    size_t n_tasks = (job.n + ELEMENTS_PER_TASK - 1) / ELEMENTS_PER_TASK;
    threads_run(device->threads, (int)n_tasks, dropout_task, &job);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status dropout_fwd(struct device *device, void *y, const void *x,
                        const struct dropout *dropout, int n, int d, bool add, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        dropout_fwd_cpu(device, y, x, dropout, n, d, add);
        return STATUS_OK;
    case DEVICE_CUDA:
        break;
    }
    return device_lacks("dropout", err);
}

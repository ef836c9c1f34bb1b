/* Dropout: CPU code, CUDA launch, dispatch.
 *
 * Ten rounds of Philox for 8 elements take longer than moving them. AVX2 makes eight counters at
 * once, four in a vector of 64-bit lanes: each product of 32 bits has a lane of its own, and the
 * upper halves of words are left as garbage that the next multiplication does not read. That is
 * about 3 instructions an element, and they are what bounds it. */
#include "kernels/dropout.h"

#include <assert.h>
#include <math.h>
#include "host/base/cuda_device.h"
#include "host/base/divide_up.h"
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
#define ROUNDS 10

/* The keys of the rounds, in every lane. */
TARGET_AVX2
static inline void round_keys(__m256i key[ROUNDS][2], uint64_t seed)
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < ROUNDS; round++) {
        key[round][0] = _mm256_set1_epi64x(k0);
        key[round][1] = _mm256_set1_epi64x(k1);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

/* Counters group .. group + 7, of two vectors whose rounds do not wait for one another:
 * halves[v][0] gets the 8 halves of counters 4v and 4v + 2, halves[v][1] of 4v + 1 and 4v + 3. */
TARGET_AVX2
static inline void philox_avx2(__m256i halves[2][2], const struct dropout *dropout, uint64_t group,
                               __m256i key[ROUNDS][2])
{
    const __m256i m0 = _mm256_set1_epi64x(0xD2511F53), m1 = _mm256_set1_epi64x(0xCD9E8D57);
    __m256i c0[2], c1[2], c2[2], c3[2];
    UNROLL
    for (int v = 0; v < 2; v++) {
        __m256i first = _mm256_set1_epi64x((int64_t)(group + 4 * (uint64_t)v));
        c0[v] = _mm256_add_epi64(first, _mm256_setr_epi64x(0, 1, 2, 3));
        c1[v] = _mm256_srli_epi64(c0[v], 32);
        c2[v] = _mm256_set1_epi64x(dropout->step);
        c3[v] = _mm256_set1_epi64x(dropout->stream);
    }
    UNROLL
    for (int round = 0; round < ROUNDS; round++) {
        UNROLL
        for (int v = 0; v < 2; v++) {
            __m256i p0 = _mm256_mul_epu32(m0, c0[v]), p1 = _mm256_mul_epu32(m1, c2[v]);
            c0[v] =
                _mm256_xor_si256(_mm256_srli_epi64(p1, 32), _mm256_xor_si256(c1[v], key[round][0]));
            c2[v] =
                _mm256_xor_si256(_mm256_srli_epi64(p0, 32), _mm256_xor_si256(c3[v], key[round][1]));
            c1[v] = p1;
            c3[v] = p0;
        }
    }
    UNROLL
    for (int v = 0; v < 2; v++) {
        /* Words 0 and 1 of a counter side by side, and 2 and 3; then all four. */
        __m256i low = _mm256_blend_epi32(c0[v], _mm256_slli_epi64(c1[v], 32), 0xAA);
        __m256i high = _mm256_blend_epi32(c2[v], _mm256_slli_epi64(c3[v], 32), 0xAA);
        halves[v][0] = _mm256_unpacklo_epi64(low, high);
        halves[v][1] = _mm256_unpackhi_epi64(low, high);
    }
}

/* Eight elements; keep: a lane of 16 bits for each, all ones or zeros. */
TARGET_AVX2
static inline void store_kept(float *y, const float *x, __m128i keep, __m256 scale, bool add)
{
    __m256 mask = _mm256_castsi256_ps(_mm256_cvtepi16_epi32(keep));
    __m256 kept = _mm256_and_ps(mask, _mm256_mul_ps(_mm256_loadu_ps(x), scale));
    _mm256_storeu_ps(y, add ? _mm256_add_ps(_mm256_loadu_ps(y), kept) : kept);
}

#define GROUPS_AT_ONCE 8

/* Whole groups, in eights; returns how many that were. */
TARGET_AVX2
static size_t groups_avx2(float *y, const float *x, const struct dropout *dropout, uint64_t group,
                          size_t n_groups, float scale, bool add)
{
    __m256 scales = _mm256_set1_ps(scale);
    __m256i key[ROUNDS][2], threshold = _mm256_set1_epi16((int16_t)dropout->threshold);
    round_keys(key, dropout->seed);
    size_t i = 0;
    for (; i + GROUPS_AT_ONCE <= n_groups; i += GROUPS_AT_ONCE) {
        __m256i halves[2][2];
        philox_avx2(halves, dropout, group + i, key);
        UNROLL
        for (int v = 0; v < 2; v++, y += 4 * GROUP, x += 4 * GROUP) {
            /* Unsigned half >= threshold. */
            __m256i even =
                _mm256_cmpeq_epi16(_mm256_max_epu16(halves[v][0], threshold), halves[v][0]);
            __m256i odd =
                _mm256_cmpeq_epi16(_mm256_max_epu16(halves[v][1], threshold), halves[v][1]);
            store_kept(y, x, _mm256_castsi256_si128(even), scales, add);
            store_kept(y + GROUP, x + GROUP, _mm256_castsi256_si128(odd), scales, add);
            store_kept(y + 2 * GROUP, x + 2 * GROUP, _mm256_extracti128_si256(even, 1), scales,
                       add);
            store_kept(y + 3 * GROUP, x + 3 * GROUP, _mm256_extracti128_si256(odd, 1), scales, add);
        }
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
        if (job->isa == CPU_AVX2 && in_group == 0 && n - i >= GROUPS_AT_ONCE * GROUP) {
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

/* ---- CUDA ----------------------------------------------------------------------------------- */

#define THREADS 256

enum status dropout_fwd_cuda(struct device *device, void *y, const void *x,
                             const struct dropout *dropout, int n, int d, bool add, struct err *err)
{
    struct { /* dropout.cu's dropout_rows */
        void *y;
        const void *x;
        size_t n;
        uint64_t first;
        int add;
    } rows = {y, x, (size_t)n * (size_t)d, (uint64_t)dropout->first_row * (uint64_t)d, add};
    struct dropout of = {.threshold = 0};
    if (dropout->threshold)
        of = *dropout;
    else
        rows.first = 0;
    int64_t n_groups = divide_up((int64_t)(rows.first % GROUP + rows.n), GROUP);
    if (rows.n == 0)
        return STATUS_OK;
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "dropout",
                           .name = "dropout_bf16",
                           .grid = {(unsigned)divide_up(n_groups, THREADS), 1, 1},
                           .block = {THREADS, 1, 1},
                           .values = (void *[]){&rows, &of},
                       },
                       err);
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
        return dropout_fwd_cuda(device, y, x, dropout, n, d, add, err);
    }
    return err_set(err, STATUS_RESOURCE, "dropout: no kernel for this device");
}

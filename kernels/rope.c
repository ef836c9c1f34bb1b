/* Rotary position embedding: the tables, CPU code, CUDA launch, dispatch. The work is bound by
 * memory: 4 bytes read and 4 written a value; a row of the tables serves all heads of a token. */
#include "kernels/rope.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include "host/base/cuda_device.h"
#include "kernels/cpu.h"

/* ---- tables (host) -------------------------------------------------------------------------- */

static double llama3_frequency(double f, const struct rope_config *config)
{
    double low = config->low_frequency_factor, high = config->high_frequency_factor;
    /* How often a pair turns within the original context. */
    double turns = config->original_max_positions * f / (2 * M_PI);
    if (turns > high)
        return f;
    if (turns < low)
        return f / config->factor;
    double smooth = (turns - low) / (high - low);
    return (1 - smooth) * f / config->factor + smooth * f;
}

void rope_frequencies(double *inv_freq, int head_dim, const struct rope_config *config)
{
    assert(head_dim >= 2 && head_dim % 2 == 0);
    assert(config->scaling != ROPE_DIVIDED || head_dim / 2 <= ROPE_DIVISORS_LARGEST);
    for (int i = 0; i < head_dim / 2; i++) {
        double f = pow(config->theta, -2.0 * i / head_dim);
        switch (config->scaling) {
        case ROPE_DEFAULT:
            break;
        case ROPE_LINEAR:
            f /= config->factor;
            break;
        case ROPE_LLAMA3:
            f = llama3_frequency(f, config);
            break;
        case ROPE_DIVIDED:
            f /= (double)config->divisors[i];
            break;
        }
        inv_freq[i] = f;
    }
}

void rope_table(float *cos_table, float *sin_table, const double *inv_freq, int n_positions,
                int head_dim)
{
    size_t half = (size_t)head_dim / 2;
    for (size_t p = 0; p < (size_t)n_positions; p++)
        for (size_t i = 0; i < half; i++) {
            double angle = (double)p * inv_freq[i];
            cos_table[p * half + i] = (float)cos(angle);
            sin_table[p * half + i] = (float)sin(angle);
        }
}

/* ---- CPU ------------------------------------------------------------------------------------ */

/* Pairs first .. half-1 of one head. Turned back, angles and sines are negative. */
static void rope_head_portable(float *x, const float *c, const float *s, bool back, int half,
                               int first)
{
    for (int i = first; i < half; i++) {
        float a = x[i], b = x[half + i], sine = back ? -s[i] : s[i];
        x[i] = a * c[i] - b * sine;
        x[half + i] = b * c[i] + a * sine;
    }
}

#if CPU_X86
TARGET_AVX2
static void rope_head_avx2(float *x, const float *c, const float *s, bool back, int half)
{
    __m256 sign = _mm256_set1_ps(back ? -0.0f : 0.0f);
    int i = 0;
    for (; i + 8 <= half; i += 8) {
        __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + half + i);
        __m256 cosine = _mm256_loadu_ps(c + i);
        __m256 sine = _mm256_xor_ps(sign, _mm256_loadu_ps(s + i));
        _mm256_storeu_ps(x + i, _mm256_fmsub_ps(a, cosine, _mm256_mul_ps(b, sine)));
        _mm256_storeu_ps(x + half + i, _mm256_fmadd_ps(b, cosine, _mm256_mul_ps(a, sine)));
    }
    /* gcc leaves it out where a call is the last thing; a multiplication in SSE then took 18 times
     * as long as the whole of this. */
    _mm256_zeroupper();
    rope_head_portable(x, c, s, back, half, i);
}
#endif

#define TOKENS_PER_TASK 16

struct rope_job {
    float *x;
    const int32_t *positions;
    const float *cos_table, *sin_table;
    bool back;
    int n, n_heads, head_dim;
    enum cpu_isa isa;
};

static void rope_task(void *context, int task, int worker)
{
    (void)worker;
    const struct rope_job *job = context;
    int half = job->head_dim / 2;
    int first = task * TOKENS_PER_TASK;
    int last = first + TOKENS_PER_TASK < job->n ? first + TOKENS_PER_TASK : job->n;
    for (int token = first; token < last; token++) {
        size_t row = (size_t)job->positions[token] * (size_t)half;
        const float *c = job->cos_table + row, *s = job->sin_table + row;
        for (int head = 0; head < job->n_heads; head++) {
            float *x = job->x + ((size_t)token * (size_t)job->n_heads + (size_t)head) *
                                    (size_t)job->head_dim;
#if CPU_X86
            if (job->isa == CPU_AVX2) {
                rope_head_avx2(x, c, s, job->back, half);
                continue;
            }
#endif
            rope_head_portable(x, c, s, job->back, half, 0);
        }
    }
}

static void turn(struct device *device, float *x, const int32_t *positions, const float *cos_table,
                 const float *sin_table, bool back, int n, int n_heads, int head_dim)
{
    assert(head_dim >= 2 && head_dim % 2 == 0);
    struct rope_job job = {x, positions, cos_table, sin_table,  back,
                           n, n_heads,   head_dim,  device->isa};
    threads_run(device->threads, (n + TOKENS_PER_TASK - 1) / TOKENS_PER_TASK, rope_task, &job);
}

void rope_fwd_cpu(struct device *device, float *x, const int32_t *positions, const float *cos_table,
                  const float *sin_table, int n, int n_heads, int head_dim)
{
    turn(device, x, positions, cos_table, sin_table, false, n, n_heads, head_dim);
}

void rope_bwd_cpu(struct device *device, float *dx, const int32_t *positions,
                  const float *cos_table, const float *sin_table, int n, int n_heads, int head_dim)
{
    turn(device, dx, positions, cos_table, sin_table, true, n, n_heads, head_dim);
}

/* ---- CUDA ----------------------------------------------------------------------------------- */

#define BLOCK_LARGEST 512

/* Lanes that share a head: a power of two, one for each `width` pairs as far as a warp goes. */
static int lanes_of_head(int half, int width)
{
    int n_lanes = 1;
    while (n_lanes < 32 && n_lanes * width < half)
        n_lanes *= 2;
    return n_lanes;
}

/* width: pairs of a lane at a time. */
static enum status launch(struct device *device, const struct rope_cuda *rope, const char *name,
                          int width, int n, struct err *err)
{
    struct { /* rope.cu's rope_parameters */
        void *x;
        size_t stride;
        const int32_t *positions;
        const float *cos_table, *sin_table;
        int n_heads, n_kv_heads, head_dim, n_lanes;
        const float *q_norm, *k_norm;
        float eps;
        void *raw;
        size_t raw_stride;
    } parameters = {rope->x,
                    rope->stride,
                    rope->positions,
                    rope->cos_table,
                    rope->sin_table,
                    rope->n_heads,
                    rope->n_kv_heads,
                    rope->head_dim,
                    lanes_of_head(rope->head_dim / 2, width),
                    rope->q_norm,
                    rope->k_norm,
                    rope->eps,
                    rope->q_norm ? rope->raw : NULL,
                    rope->raw_stride};
    int n_threads = (rope->n_heads + rope->n_kv_heads) * parameters.n_lanes;
    n_threads = n_threads > BLOCK_LARGEST ? BLOCK_LARGEST : (n_threads + 31) / 32 * 32;
    assert(rope->head_dim >= 2 && rope->head_dim % 2 == 0);
    assert(!rope->q_norm == !rope->k_norm || rope->n_kv_heads == 0);
    if (n == 0)
        return STATUS_OK;
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "rope",
                           .name = name,
                           .grid = {(unsigned)n, 1, 1},
                           .block = {(unsigned)n_threads, 1, 1},
                           .values = (void *[]){&parameters},
                       },
                       err);
}

/* All that a lane touches lies in pieces of `width` elements. */
static bool has_pieces(const struct rope_cuda *rope, int width)
{
    size_t raw_stride = rope->q_norm && rope->raw ? rope->raw_stride : 0, size = (size_t)width;
    return rope->head_dim / 2 % width == 0 && rope->stride % size == 0 && raw_stride % size == 0;
}

enum status rope_fwd_cuda(struct device *device, const struct rope_cuda *rope, int n,
                          struct err *err)
{
    bool fours = has_pieces(rope, 4);
    return launch(device, rope, fours ? "rope_by_fours" : "rope_by_elements", fours ? 4 : 1, n,
                  err);
}

enum status rope_bwd_cuda(struct device *device, const struct rope_cuda *rope, int n,
                          struct err *err)
{
    bool vectors = has_pieces(rope, 8);
    assert(rope->raw || !rope->q_norm);
    return launch(device, rope, vectors ? "rope_back_by_vectors" : "rope_back_by_elements",
                  vectors ? 8 : 1, n, err);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

/* Heads of one kind, with nothing behind them. */
static struct rope_cuda apart(void *x, const int32_t *positions, const float *cos_table,
                              const float *sin_table, int n_heads, int head_dim)
{
    return (struct rope_cuda){
        .x = x,
        .stride = (size_t)n_heads * (size_t)head_dim,
        .positions = positions,
        .cos_table = cos_table,
        .sin_table = sin_table,
        .n_heads = n_heads,
        .head_dim = head_dim,
    };
}

enum status rope_fwd(struct device *device, void *x, const int32_t *positions,
                     const float *cos_table, const float *sin_table, int n, int n_heads,
                     int head_dim, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        rope_fwd_cpu(device, x, positions, cos_table, sin_table, n, n_heads, head_dim);
        return STATUS_OK;
    case DEVICE_CUDA: {
        struct rope_cuda rope = apart(x, positions, cos_table, sin_table, n_heads, head_dim);
        return rope_fwd_cuda(device, &rope, n, err);
    }
    }
    return err_set(err, STATUS_RESOURCE, "rope: no kernel for this device");
}

enum status rope_bwd(struct device *device, void *dx, const int32_t *positions,
                     const float *cos_table, const float *sin_table, int n, int n_heads,
                     int head_dim, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        rope_bwd_cpu(device, dx, positions, cos_table, sin_table, n, n_heads, head_dim);
        return STATUS_OK;
    case DEVICE_CUDA: {
        struct rope_cuda rope = apart(dx, positions, cos_table, sin_table, n_heads, head_dim);
        return rope_bwd_cuda(device, &rope, n, err);
    }
    }
    return err_set(err, STATUS_RESOURCE, "rope_bwd: no kernel for this device");
}

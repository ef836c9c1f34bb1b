/* AdamW and the sum of squares: CPU code, CUDA launches, dispatch. A step reads and writes 16 bytes
 * a parameter for one division and one root: it is bound by memory. */
#include "kernels/adamw.h"

#include <assert.h>
#include <math.h>
#include "host/base/cuda_device.h"
#include "host/base/divide_up.h"
#include "kernels/adamw_coefficients.h"
#include "kernels/cpu.h"

/* ---- sum of squares ------------------------------------------------------------------------- */

/* A task; 64 KB. The blocks' sums lie in a worker's scratch. */
#define BLOCK       16384
#define MOST_BLOCKS ((int64_t)(DEVICE_SCRATCH_BYTES / sizeof(double)))

/* Eight chains, by element modulo 8, added from the first to the eighth. A square of a float32 is
 * exact in float64, so fused or not is the same: both instruction sets give the same bits. */
static double squares_portable(const float *x, int n)
{
    double chains[8] = {0}, sum = 0;
    for (int i = 0; i < n; i++)
        chains[i % 8] += (double)x[i] * (double)x[i];
    for (int lane = 0; lane < 8; lane++)
        sum += chains[lane];
    return sum;
}

#if CPU_X86
TARGET_AVX2
static double squares_avx2(const float *x, int n)
{
    __m256d low = _mm256_setzero_pd(), high = low;
    double chains[8], sum = 0;
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256d first = _mm256_cvtps_pd(_mm_loadu_ps(x + i));
        __m256d second = _mm256_cvtps_pd(_mm_loadu_ps(x + i + 4));
        low = _mm256_fmadd_pd(first, first, low);
        high = _mm256_fmadd_pd(second, second, high);
    }
    _mm256_storeu_pd(chains, low);
    _mm256_storeu_pd(chains + 4, high);
    for (; i < n; i++)
        chains[i % 8] += (double)x[i] * (double)x[i];
    for (int lane = 0; lane < 8; lane++)
        sum += chains[lane];
    return sum;
}
#endif

struct squares_job {
    double *sums;
    const float *x;
    int64_t n;
    enum cpu_isa isa;
};

static void squares_task(void *context, int task, int worker)
{
    (void)worker;
    const struct squares_job *job = context;
    int64_t first = (int64_t)task * BLOCK, left = job->n - first;
    int n = left < BLOCK ? (int)left : BLOCK;
#if CPU_X86
    if (job->isa == CPU_AVX2) {
        job->sums[task] = squares_avx2(job->x + first, n);
        return;
    }
#endif
    job->sums[task] = squares_portable(job->x + first, n);
}

double sum_of_squares(struct device *device, const float *x, int64_t n)
{
    int64_t n_blocks = n / BLOCK + (n % BLOCK != 0);
    assert(device->kind == DEVICE_CPU && n_blocks <= MOST_BLOCKS);
    struct squares_job job = {device_scratch(device, 0), x, n, device->isa};
    threads_run(device->threads, (int)n_blocks, squares_task, &job);
    double sum = 0;
    for (int64_t i = 0; i < n_blocks; i++)
        sum += job.sums[i];
    return sum;
}

double clip_scale(double norm, double largest)
{
    double scale = largest / (norm + 1e-6);
    return scale > 1 ? 1 : scale;
}

/* ---- step ----------------------------------------------------------------------------------- */

static struct adamw_coefficients coefficients_of(const struct adamw *adamw)
{
    double correction1 = 1 - pow(adamw->beta1, (double)adamw->step);
    double correction2 = 1 - pow(adamw->beta2, (double)adamw->step);
    return (struct adamw_coefficients){
        .gradient_scale = (float)adamw->gradient_scale,
        .beta1 = (float)adamw->beta1,
        .rest1 = (float)(1 - adamw->beta1),
        .beta2 = (float)adamw->beta2,
        .rest2 = (float)(1 - adamw->beta2),
        .root_scale = (float)(1 / sqrt(correction2)),
        .eps = (float)adamw->eps,
        .decay = (float)(1 - adamw->learning_rate * adamw->weight_decay),
        .rate = (float)(adamw->learning_rate / correction1),
    };
}

struct adamw_arrays {
    float *parameters, *gradients, *m, *v;
};

/* (rest2 g) g: g^2 alone would overflow a gradient of 2e19. */
static void step_portable(const struct adamw_arrays *at, int n, const struct adamw_coefficients *c)
{
    for (int i = 0; i < n; i++) {
        float g = at->gradients[i] * c->gradient_scale;
        float m = c->beta1 * at->m[i] + c->rest1 * g;
        float v = c->beta2 * at->v[i] + c->rest2 * g * g;
        at->parameters[i] =
            c->decay * at->parameters[i] - c->rate * m / (sqrtf(v) * c->root_scale + c->eps);
        at->m[i] = m;
        at->v[i] = v;
        at->gradients[i] = 0;
    }
}

#if CPU_X86
TARGET_AVX2
static inline void step_8(float *parameters, float *gradients, float *m_at, float *v_at,
                          const struct adamw_coefficients *c)
{
    __m256 g = _mm256_mul_ps(_mm256_loadu_ps(gradients), _mm256_set1_ps(c->gradient_scale));
    __m256 m = _mm256_mul_ps(_mm256_loadu_ps(m_at), _mm256_set1_ps(c->beta1));
    __m256 v = _mm256_mul_ps(_mm256_loadu_ps(v_at), _mm256_set1_ps(c->beta2));
    m = _mm256_fmadd_ps(_mm256_set1_ps(c->rest1), g, m);
    v = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_set1_ps(c->rest2), g), g, v);
    __m256 root =
        _mm256_fmadd_ps(_mm256_sqrt_ps(v), _mm256_set1_ps(c->root_scale), _mm256_set1_ps(c->eps));
    __m256 change = _mm256_div_ps(_mm256_mul_ps(_mm256_set1_ps(c->rate), m), root);
    __m256 p = _mm256_fmsub_ps(_mm256_loadu_ps(parameters), _mm256_set1_ps(c->decay), change);
    _mm256_storeu_ps(parameters, p);
    _mm256_storeu_ps(m_at, m);
    _mm256_storeu_ps(v_at, v);
    _mm256_storeu_ps(gradients, _mm256_setzero_ps());
}

/* The tail goes through the same lanes: equal elements stay equal wherever they lie. */
TARGET_AVX2
static void step_avx2(const struct adamw_arrays *at, int n, const struct adamw_coefficients *c)
{
    int i = 0;
    for (; i + 8 <= n; i += 8)
        step_8(at->parameters + i, at->gradients + i, at->m + i, at->v + i, c);
    float *arrays[4] = {at->parameters, at->gradients, at->m, at->v}, tail[4][8] = {{0}};
    if (i == n)
        return;
    for (int a = 0; a < 4; a++)
        for (int j = i; j < n; j++)
            tail[a][j - i] = arrays[a][j];
    step_8(tail[0], tail[1], tail[2], tail[3], c);
    for (int a = 0; a < 4; a++)
        for (int j = i; j < n; j++)
            arrays[a][j] = tail[a][j - i];
}
#endif

#define VALUES_PER_TASK 8192 /* 256 KB moved */

struct adamw_job {
    struct adamw_arrays arrays;
    int64_t n;
    struct adamw_coefficients coefficients;
    enum cpu_isa isa;
};

static void adamw_task(void *context, int task, int worker)
{
    (void)worker;
    const struct adamw_job *job = context;
    int64_t first = (int64_t)task * VALUES_PER_TASK, left = job->n - first;
    int n = left < VALUES_PER_TASK ? (int)left : VALUES_PER_TASK;
    struct adamw_arrays at = {job->arrays.parameters + first, job->arrays.gradients + first,
                              job->arrays.m + first, job->arrays.v + first};
#if CPU_X86
    if (job->isa == CPU_AVX2) {
        step_avx2(&at, n, &job->coefficients);
        return;
    }
#endif
    step_portable(&at, n, &job->coefficients);
}

void adamw_step_cpu(struct device *device, float *parameters, float *gradients, float *m, float *v,
                    int64_t n, const struct adamw *adamw)
{
    struct adamw_job job = {{parameters, gradients, m, v}, n, coefficients_of(adamw), device->isa};
    int64_t n_tasks = n / VALUES_PER_TASK + (n % VALUES_PER_TASK != 0);
    threads_run(device->threads, (int)n_tasks, adamw_task, &job);
}

/* ---- CUDA ----------------------------------------------------------------------------------- */

/* adamw.cu's */
#define NORM_BLOCK   16384
#define CUDA_THREADS 256

int64_t gradient_norm_scratch(int64_t n)
{
    return divide_up(n, NORM_BLOCK);
}

enum status gradient_norm_cuda(struct device *device, struct step_record *record, int32_t *stopped,
                               int32_t step, const float *gradients, int64_t n, double clip,
                               double *scratch, struct err *err)
{
    int64_t n_blocks = gradient_norm_scratch(n);
    int n_sums = (int)n_blocks;
    long long length = n;
    assert(step >= 1 && n_blocks <= INT32_MAX);
    if (n > 0)
        TRY(cuda_launch(device->cuda,
                        &(struct cuda_launch){
                            .image = "adamw",
                            .name = "gradient_squares",
                            .grid = {(unsigned)n_blocks, 1, 1},
                            .block = {CUDA_THREADS, 1, 1},
                            .values = (void *[]){&scratch, &gradients, &length},
                        },
                        err));
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "adamw",
                           .name = "gradient_norm",
                           .grid = {1, 1, 1},
                           .block = {CUDA_THREADS, 1, 1},
                           .values = (void *[]){&record, &stopped, &step, &scratch, &n_sums, &clip},
                       },
                       err);
}

enum status adamw_step_cuda(struct device *device, float *parameters, float *gradients, float *m,
                            float *v, int64_t n, const struct adamw *adamw,
                            const struct step_record *record, struct err *err)
{
    struct adamw_arrays arrays = {parameters, gradients, m, v};
    struct adamw_coefficients coefficients = coefficients_of(adamw);
    long long length = n;
    int64_t n_blocks = divide_up(n, 4 * CUDA_THREADS);
    assert(adamw->step >= 1 && n_blocks <= INT32_MAX);
    if (n == 0)
        return STATUS_OK;
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "adamw",
                           .name = "adamw_step",
                           .grid = {(unsigned)n_blocks, 1, 1},
                           .block = {CUDA_THREADS, 1, 1},
                           .values = (void *[]){&arrays, &length, &coefficients, &record},
                       },
                       err);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status adamw_step(struct device *device, float *parameters, float *gradients, float *m,
                       float *v, int64_t n, const struct adamw *adamw, struct err *err)
{
    assert(adamw->step >= 1);
    switch (device->kind) {
    case DEVICE_CPU:
        adamw_step_cpu(device, parameters, gradients, m, v, n, adamw);
        return STATUS_OK;
    case DEVICE_CUDA:
        return adamw_step_cuda(device, parameters, gradients, m, v, n, adamw, NULL, err);
    }
    return err_set(err, STATUS_RESOURCE, "adamw: no kernel for this device");
}

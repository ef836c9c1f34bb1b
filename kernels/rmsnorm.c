/* RMSNorm: CPU code, CUDA launch, dispatch. The work is bound by memory: 4 bytes read and 4 written
 * a value, and a row stays in the L1 cache between the two passes over it. */
#include "kernels/rmsnorm.h"

#include <math.h>
#include "host/base/cuda_device.h"
#include "kernels/cpu.h"
#include "kernels/cuda_rows.h"

/* ---- CPU ------------------------------------------------------------------------------------ */

/* Eight partial sums, in the order that the AVX2 code has too. */
static void rmsnorm_row_portable(float *y, const float *x, const float *weight, int d, float eps)
{
    float partial[8] = {0};
    int j = 0;
    for (; j + 8 <= d; j += 8)
        for (int lane = 0; lane < 8; lane++)
            partial[lane] += x[j + lane] * x[j + lane];
    float sum = 0;
    for (int lane = 0; lane < 8; lane++)
        sum += partial[lane];
    for (; j < d; j++)
        sum += x[j] * x[j];
    float scale = 1.0f / sqrtf(sum / (float)d + eps);
    for (j = 0; j < d; j++)
        y[j] = x[j] * scale * weight[j];
}

#if CPU_X86
TARGET_AVX2
static void rmsnorm_row_avx2(float *y, const float *x, const float *weight, int d, float eps)
{
    __m256 partial = _mm256_setzero_ps();
    int j = 0;
    for (; j + 8 <= d; j += 8) {
        __m256 v = _mm256_loadu_ps(x + j);
        partial = _mm256_fmadd_ps(v, v, partial);
    }
    float sum = avx2_sum(partial);
    for (; j < d; j++)
        sum += x[j] * x[j];
    float scale = 1.0f / sqrtf(sum / (float)d + eps);
    __m256 scales = _mm256_set1_ps(scale);
    for (j = 0; j + 8 <= d; j += 8) {
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + j), scales);
        _mm256_storeu_ps(y + j, _mm256_mul_ps(v, _mm256_loadu_ps(weight + j)));
    }
    for (; j < d; j++)
        y[j] = x[j] * scale * weight[j];
}
#endif

#define ROWS_PER_TASK 16 /* 16 rows of 576 are 37 KB read: enough to be worth a task */

struct rmsnorm_job {
    float *y;
    const float *x, *weight;
    int n, d;
    float eps;
    enum cpu_isa isa;
};

static void rmsnorm_task(void *context, int task, int worker)
{
    (void)worker;
    const struct rmsnorm_job *job = context;
    int first = task * ROWS_PER_TASK;
    int last = first + ROWS_PER_TASK < job->n ? first + ROWS_PER_TASK : job->n;
    for (int i = first; i < last; i++) {
        float *y = job->y + (size_t)i * (size_t)job->d;
        const float *x = job->x + (size_t)i * (size_t)job->d;
#if CPU_X86
        if (job->isa == CPU_AVX2) {
            rmsnorm_row_avx2(y, x, job->weight, job->d, job->eps);
            continue;
        }
#endif
        rmsnorm_row_portable(y, x, job->weight, job->d, job->eps);
    }
}

void rmsnorm_fwd_cpu(struct device *device, float *y, const float *x, const float *weight, int n,
                     int d, float eps)
{
    struct rmsnorm_job job = {y, x, weight, n, d, eps, device->isa};
    threads_run(device->threads, (n + ROWS_PER_TASK - 1) / ROWS_PER_TASK, rmsnorm_task, &job);
}

/* ---- CPU: the gradient ---------------------------------------------------------------------- */

/* The two factors that a row's values share: dx = scale * weight * dy - pull * x. */
struct rmsnorm_slope {
    float scale, pull;
};

static struct rmsnorm_slope slope_of(float squares, float product, int d, float eps)
{
    float scale = 1.0f / sqrtf(squares / (float)d + eps);
    return (struct rmsnorm_slope){scale, scale * (scale * scale * (product / (float)d))};
}

/* The order of both sums is that of the forward code. */
static void rmsnorm_bwd_row_portable(float *dx, const float *dy, const float *x,
                                     const float *weight, int d, float eps, bool add)
{
    float squares[8] = {0}, products[8] = {0}, square = 0, product = 0;
    int j = 0;
    for (; j + 8 <= d; j += 8)
        for (int lane = 0; lane < 8; lane++) {
            squares[lane] += x[j + lane] * x[j + lane];
            products[lane] += dy[j + lane] * weight[j + lane] * x[j + lane];
        }
    for (int lane = 0; lane < 8; lane++) {
        square += squares[lane];
        product += products[lane];
    }
    for (; j < d; j++) {
        square += x[j] * x[j];
        product += dy[j] * weight[j] * x[j];
    }
    struct rmsnorm_slope slope = slope_of(square, product, d, eps);
    for (j = 0; j < d; j++) {
        float value = dy[j] * weight[j] * slope.scale - x[j] * slope.pull;
        dx[j] = add ? dx[j] + value : value;
    }
}

#if CPU_X86
TARGET_AVX2
static void rmsnorm_bwd_row_avx2(float *dx, const float *dy, const float *x, const float *weight,
                                 int d, float eps, bool add)
{
    __m256 squares = _mm256_setzero_ps(), products = _mm256_setzero_ps();
    int j = 0;
    for (; j + 8 <= d; j += 8) {
        __m256 v = _mm256_loadu_ps(x + j);
        __m256 g = _mm256_mul_ps(_mm256_loadu_ps(dy + j), _mm256_loadu_ps(weight + j));
        squares = _mm256_fmadd_ps(v, v, squares);
        products = _mm256_fmadd_ps(g, v, products);
    }
    float square = avx2_sum(squares), product = avx2_sum(products);
    for (; j < d; j++) {
        square += x[j] * x[j];
        product += dy[j] * weight[j] * x[j];
    }
    struct rmsnorm_slope slope = slope_of(square, product, d, eps);
    __m256 scale = _mm256_set1_ps(slope.scale), pull = _mm256_set1_ps(slope.pull);
    for (j = 0; j + 8 <= d; j += 8) {
        __m256 g = _mm256_mul_ps(_mm256_loadu_ps(dy + j), _mm256_loadu_ps(weight + j));
        __m256 value = _mm256_fnmadd_ps(_mm256_loadu_ps(x + j), pull, _mm256_mul_ps(g, scale));
        _mm256_storeu_ps(dx + j, add ? _mm256_add_ps(_mm256_loadu_ps(dx + j), value) : value);
    }
    for (; j < d; j++) {
        float value = dy[j] * weight[j] * slope.scale - x[j] * slope.pull;
        dx[j] = add ? dx[j] + value : value;
    }
}
#endif

struct rmsnorm_bwd_job {
    float *dx;
    const float *dy, *x, *weight;
    int n, d;
    float eps;
    bool add;
    enum cpu_isa isa;
};

static void rmsnorm_bwd_task(void *context, int task, int worker)
{
    (void)worker;
    const struct rmsnorm_bwd_job *job = context;
    int first = task * ROWS_PER_TASK;
    int last = first + ROWS_PER_TASK < job->n ? first + ROWS_PER_TASK : job->n;
    for (int i = first; i < last; i++) {
        size_t row = (size_t)i * (size_t)job->d;
#if CPU_X86
        if (job->isa == CPU_AVX2) {
            rmsnorm_bwd_row_avx2(job->dx + row, job->dy + row, job->x + row, job->weight, job->d,
                                 job->eps, job->add);
            continue;
        }
#endif
        rmsnorm_bwd_row_portable(job->dx + row, job->dy + row, job->x + row, job->weight, job->d,
                                 job->eps, job->add);
    }
}

void rmsnorm_bwd_cpu(struct device *device, float *dx, const float *dy, const float *x,
                     const float *weight, int n, int d, float eps, bool add)
{
    struct rmsnorm_bwd_job job = {dx, dy, x, weight, n, d, eps, add, device->isa};
    threads_run(device->threads, (n + ROWS_PER_TASK - 1) / ROWS_PER_TASK, rmsnorm_bwd_task, &job);
}

/* ---- CUDA ----------------------------------------------------------------------------------- */

enum status rmsnorm_fwd_cuda(struct device *device, enum precision type, void *y, const void *x,
                             const float *weight, int n, int d, float eps, struct err *err)
{
    void *values[] = {&y, &x, &weight, &d, &eps};
    /* One block a row, of at most rmsnorm.cu's 16 warps. */
    struct cuda_row_blocks blocks = cuda_row_blocks(d, d % 4 == 0 ? 4 : 1, 512);
    if (n == 0)
        return STATUS_OK;
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "rmsnorm",
                           .name = type == PRECISION_BF16 ? "rmsnorm_bf16" : "rmsnorm_f32",
                           .grid = {(unsigned)n, 1, 1},
                           .block = {blocks.threads, 1, 1},
                           .values = values,
                       },
                       err);
}

enum status rmsnorm_bwd_cuda(struct device *device, enum precision type, void *dx, const void *dy,
                             const void *x, const float *weight, int n, int d, float eps, bool add,
                             struct err *err)
{
    int adds = add, width = type == PRECISION_BF16 ? 8 : 4; /* 16 bytes */
    void *values[] = {&dx, &dy, &x, &weight, &d, &eps, &adds};
    /* One block a row, of at most rmsnorm.cu's 8 warps. */
    struct cuda_row_blocks blocks = cuda_row_blocks(d, d % width == 0 ? width : 1, 256);
    if (n == 0)
        return STATUS_OK;
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "rmsnorm",
                           .name = type == PRECISION_BF16 ? "rmsnorm_bwd_bf16" : "rmsnorm_bwd_f32",
                           .grid = {(unsigned)n, 1, 1},
                           .block = {blocks.threads, 1, 1},
                           .values = values,
                       },
                       err);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status rmsnorm_fwd(struct device *device, void *y, const void *x, const float *weight, int n,
                        int d, float eps, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        rmsnorm_fwd_cpu(device, y, x, weight, n, d, eps);
        return STATUS_OK;
    case DEVICE_CUDA:
        return rmsnorm_fwd_cuda(device, PRECISION_BF16, y, x, weight, n, d, eps, err);
    }
    return err_set(err, STATUS_RESOURCE, "rmsnorm: no kernel for this device");
}

enum status rmsnorm_bwd(struct device *device, void *dx, const void *dy, const void *x,
                        const float *weight, int n, int d, float eps, bool add, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        rmsnorm_bwd_cpu(device, dx, dy, x, weight, n, d, eps, add);
        return STATUS_OK;
    case DEVICE_CUDA:
        return rmsnorm_bwd_cuda(device, PRECISION_BF16, dx, dy, x, weight, n, d, eps, add, err);
    }
    return err_set(err, STATUS_RESOURCE, "rmsnorm_bwd: no kernel for this device");
}

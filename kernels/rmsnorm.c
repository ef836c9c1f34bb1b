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

/* The residual add: CPU code, CUDA launch, dispatch. 8 bytes read and 4 written an element for one
 * addition, so that vectors of four, which every processor has, are enough. */
#include "kernels/residual_add.h"

#include "host/base/cuda_device.h"
#include "host/base/divide_up.h"
#include "kernels/vector_math.h"

/* ---- CPU ------------------------------------------------------------------------------------ */

#define ELEMENTS_PER_TASK 16384 /* 128 KB read: enough to be worth a task */

struct residual_add_job {
    float *y;
    const float *x;
    size_t n;
};

static void residual_add_task(void *context, int task, int worker)
{
    (void)worker;
    const struct residual_add_job *job = context;
    size_t i = (size_t)task * ELEMENTS_PER_TASK;
    size_t end = job->n - i < ELEMENTS_PER_TASK ? job->n : i + ELEMENTS_PER_TASK;
    for (; i + 4 <= end; i += 4)
        *(float4_at_any_float *)(job->y + i) += *(const float4_at_any_float *)(job->x + i);
    for (; i < end; i++)
        job->y[i] += job->x[i];
}

void residual_add_fwd_cpu(struct device *device, float *y, const float *x, int n, int d)
{
    struct residual_add_job job = {y, x, (size_t)n * (size_t)d};
    size_t n_tasks = (job.n + ELEMENTS_PER_TASK - 1) / ELEMENTS_PER_TASK;
    threads_run(device->threads, (int)n_tasks, residual_add_task, &job);
}

/* ---- CUDA ----------------------------------------------------------------------------------- */

#define THREADS 256

enum status residual_add_fwd_cuda(struct device *device, enum precision type, void *y,
                                  const void *x, int n, int d, struct err *err)
{
    size_t size = (size_t)n * (size_t)d, width = type == PRECISION_BF16 ? 8 : 4;
    size_t n_threads = size / width + size % width;
    void *values[] = {&y, &x, &size};
    if (size == 0)
        return STATUS_OK;
    return cuda_launch(
        device->cuda,
        &(struct cuda_launch){
            .image = "residual_add",
            .name = type == PRECISION_BF16 ? "residual_add_bf16" : "residual_add_f32",
            .grid = {(unsigned)divide_up((int64_t)n_threads, THREADS), 1, 1},
            .block = {THREADS, 1, 1},
            .values = values,
        },
        err);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status residual_add_fwd(struct device *device, void *y, const void *x, int n, int d,
                             struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        residual_add_fwd_cpu(device, y, x, n, d);
        return STATUS_OK;
    case DEVICE_CUDA:
        return residual_add_fwd_cuda(device, PRECISION_BF16, y, x, n, d, err);
    }
    return err_set(err, STATUS_RESOURCE, "residual_add: no kernel for this device");
}

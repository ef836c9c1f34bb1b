/* Adding a bias: CPU code, CUDA launch, dispatch. 4 bytes read and 4 written an element for one
 * addition, so that vectors of four, which every processor has, are enough. */
#include "kernels/bias.h"

#include "host/base/cuda_device.h"
#include "kernels/cuda_rows.h"
#include "kernels/vector_math.h"

/* ---- CPU ------------------------------------------------------------------------------------ */

static void bias_row(float *y, const float *bias, int d)
{
    int j = 0;
    for (; j + 4 <= d; j += 4)
        *(float4_at_any_float *)(y + j) += *(const float4_at_any_float *)(bias + j);
    for (; j < d; j++)
        y[j] += bias[j];
}

#define ROWS_PER_TASK 16 /* 16 rows of 512 are 32 KB: enough to be worth a task */

struct bias_job {
    float *y;
    const float *bias;
    int n, d;
};

static void bias_task(void *context, int task, int worker)
{
    (void)worker;
    const struct bias_job *job = context;
    int first = task * ROWS_PER_TASK;
    int last = first + ROWS_PER_TASK < job->n ? first + ROWS_PER_TASK : job->n;
    for (int i = first; i < last; i++)
        bias_row(job->y + (size_t)i * (size_t)job->d, job->bias, job->d);
}

void bias_fwd_cpu(struct device *device, float *y, const float *bias, int n, int d)
{
    struct bias_job job = {y, bias, n, d};
    threads_run(device->threads, (n + ROWS_PER_TASK - 1) / ROWS_PER_TASK, bias_task, &job);
}

/* ---- CUDA ----------------------------------------------------------------------------------- */

enum status bias_fwd_cuda(struct device *device, void *y, const float *bias, int n, int d,
                          struct err *err)
{
    int width = d % 4 == 0 ? 4 : 1;
    struct cuda_row_blocks blocks = cuda_row_blocks(d, width, 256);
    void *values[] = {&y, &bias, &d};
    if (n == 0)
        return STATUS_OK;
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "bias",
                           .name = width == 4 ? "bias_by_fours" : "bias_by_elements",
                           .grid = {(unsigned)n, blocks.n, 1},
                           .block = {blocks.threads, 1, 1},
                           .values = values,
                       },
                       err);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status bias_fwd(struct device *device, void *y, const float *bias, int n, int d,
                     struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        bias_fwd_cpu(device, y, bias, n, d);
        return STATUS_OK;
    case DEVICE_CUDA:
        return bias_fwd_cuda(device, y, bias, n, d, err);
    }
    return err_set(err, STATUS_RESOURCE, "bias: no kernel for this device");
}

/* See own_distance.h. A row is read once and its centre is near: what binds is memory. */
#include "kernels/own_distance.h"

#include "kernels/squared_distance.h"

#define ROWS_PER_TASK 64

struct own_distance_job {
    double *distance;
    const float *x, *centres;
    const int32_t *label;
    int n, d;
    enum cpu_isa isa;
};

static void own_distance_task(void *context, int task, int worker)
{
    (void)worker;
    const struct own_distance_job *job = context;
    size_t d = (size_t)job->d, first = (size_t)task * ROWS_PER_TASK;
    size_t left = (size_t)job->n - first;
    int n = left < ROWS_PER_TASK ? (int)left : ROWS_PER_TASK;
    const float *x[ROWS_PER_TASK], *centres[ROWS_PER_TASK];
    for (int i = 0; i < n; i++) {
        x[i] = job->x + (first + (size_t)i) * d;
        centres[i] = job->centres + (size_t)job->label[first + (size_t)i] * d;
    }
    squared_distance_pairs_cpu(job->isa, job->distance + first, x, centres, n, job->d);
}

void own_distance_fwd_cpu(struct device *device, double *distance, const float *x,
                          const float *centres, const int32_t *label, int n, int d)
{
    struct own_distance_job job = {distance, x, centres, label, n, d, device->isa};
    threads_run(device->threads, n / ROWS_PER_TASK + (n % ROWS_PER_TASK != 0), own_distance_task,
                &job);
}

enum status own_distance_fwd(struct device *device, double *distance, const float *x,
                             const float *centres, const int32_t *label, int n, int d,
                             struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        own_distance_fwd_cpu(device, distance, x, centres, label, n, d);
        return STATUS_OK;
    case DEVICE_CUDA:
        break;
    }
    return device_lacks("own_distance", err);
}

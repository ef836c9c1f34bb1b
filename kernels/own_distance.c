/* See own_distance.h. A row is read once and its centre is near: what binds is memory. */
#include "kernels/own_distance.h"

#include "host/base/cuda_device.h"
#include "host/base/divide_up.h"
#include "kernels/own_distance_job.h"
#include "kernels/squared_distance.h"

#define ROWS_PER_TASK 64

void own_distance_rows_cpu(enum cpu_isa isa, double *distance, const float *x, const float *centres,
                           const int32_t *label, const int32_t *index, int n, int d)
{
    const float *row[ROWS_PER_TASK], *centre[ROWS_PER_TASK];
    for (int first = 0, size; first < n; first += size) {
        size = n - first < ROWS_PER_TASK ? n - first : ROWS_PER_TASK;
        for (int i = 0; i < size; i++) {
            size_t at = (size_t)index[first + i];
            row[i] = x + at * (size_t)d;
            centre[i] = centres + (size_t)label[at] * (size_t)d;
        }
        squared_distance_pairs_cpu(isa, distance + first, row, centre, size, d);
    }
}

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
    int32_t index[ROWS_PER_TASK];
    int first = task * ROWS_PER_TASK, n = 0;
    for (; n < ROWS_PER_TASK && n < job->n - first; n++)
        index[n] = first + n;
    own_distance_rows_cpu(job->isa, job->distance + first, job->x, job->centres, job->label, index,
                          n, job->d);
}

void own_distance_fwd_cpu(struct device *device, double *distance, const float *x,
                          const float *centres, const int32_t *label, int n, int d)
{
    struct own_distance_job job = {distance, x, centres, label, n, d, device->isa};
    threads_run(device->threads, (int)divide_up(n, ROWS_PER_TASK), own_distance_task, &job);
}

/* ---- CUDA ----------------------------------------------------------------------------------- */

static enum status own_distance_fwd_cuda(struct device *device, double *distance, const float *x,
                                         const float *centres, const int32_t *label, int n, int d,
                                         struct err *err)
{
    struct own_distance_cuda_job job = {distance, x, centres, label, n, d};
    if (n == 0)
        return STATUS_OK;
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "own_distance",
                           .name = "own_distance",
                           .grid = {(unsigned)divide_up(n, OWN_DISTANCE_ROWS), 1, 1},
                           .block = {4 * OWN_DISTANCE_ROWS, 1, 1},
                           .values = (void *[]){&job},
                       },
                       err);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status own_distance_fwd(struct device *device, double *distance, const float *x,
                             const float *centres, const int32_t *label, int n, int d,
                             struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        own_distance_fwd_cpu(device, distance, x, centres, label, n, d);
        return STATUS_OK;
    case DEVICE_CUDA:
        return own_distance_fwd_cuda(device, distance, x, centres, label, n, d, err);
    }
    return device_lacks("own_distance", err);
}

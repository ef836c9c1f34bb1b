/* The two nearest centres: CPU code and dispatch. A task takes a few rows through the centres a
 * chunk at a time: the chunk's distances stay in the L1 cache, and a centre is read once for all
 * rows of the task while it is near. */
#include "kernels/nearest_two.h"

#include <math.h>
#include "kernels/cpu.h"
#include "kernels/squared_distance.h"

/* ---- CPU ------------------------------------------------------------------------------------ */

#define ROWS_PER_TASK     32
#define CENTRES_PER_CHUNK 64 /* 32 x 64 distances are 16 KB */

struct nearest_two_job {
    int32_t *label;
    double *distance, *second;
    const float *x, *centres;
    int n, k, d;
    enum cpu_isa isa;
};

static void nearest_two_task(void *context, int task, int worker)
{
    (void)worker;
    const struct nearest_two_job *job = context;
    size_t first = (size_t)task * ROWS_PER_TASK, d = (size_t)job->d;
    size_t left = (size_t)job->n - first;
    int n = left < ROWS_PER_TASK ? (int)left : ROWS_PER_TASK;
    int32_t label[ROWS_PER_TASK];
    double best[ROWS_PER_TASK], second[ROWS_PER_TASK];
    for (int i = 0; i < n; i++)
        label[i] = -1, best[i] = second[i] = INFINITY;
    for (int c = 0; c < job->k; c += CENTRES_PER_CHUNK) {
        double out[ROWS_PER_TASK * CENTRES_PER_CHUNK];
        int chunk = job->k - c < CENTRES_PER_CHUNK ? job->k - c : CENTRES_PER_CHUNK;
        squared_distance_rows_cpu(job->isa, out, CENTRES_PER_CHUNK, job->x + first * d,
                                  job->centres + (size_t)c * d, n, chunk, job->d);
        for (int i = 0; i < n; i++)
            for (int t = 0; t < chunk; t++) {
                /* `<` keeps the lowest index in a tie, and lets NaN and infinities pass by. */
                double value = out[i * CENTRES_PER_CHUNK + t];
                if (value < best[i])
                    second[i] = best[i], best[i] = value, label[i] = c + t;
                else if (value < second[i])
                    second[i] = value;
            }
    }
    for (int i = 0; i < n; i++) {
        job->label[first + (size_t)i] = label[i];
        if (job->distance)
            job->distance[first + (size_t)i] = best[i];
        if (job->second)
            job->second[first + (size_t)i] = second[i];
    }
}

void nearest_two_fwd_cpu(struct device *device, int32_t *label, double *distance, double *second,
                         const float *x, const float *centres, int n, int k, int d)
{
    struct nearest_two_job job = {label, distance, second, x, centres, n, k, d, device->isa};
    int n_tasks = n / ROWS_PER_TASK + (n % ROWS_PER_TASK != 0);
    threads_run(device->threads, n_tasks, nearest_two_task, &job);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status nearest_two_fwd(struct device *device, int32_t *label, double *distance, double *second,
                            const float *x, const float *centres, int n, int k, int d,
                            struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        nearest_two_fwd_cpu(device, label, distance, second, x, centres, n, k, d);
        return STATUS_OK;
    case DEVICE_CUDA:
        break;
    }
    return device_lacks("nearest_two", err);
}

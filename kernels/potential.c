/* Potentials of k-means++: CPU code and dispatch. See potential.h. */
#include "kernels/potential.h"

#include <float.h>
#include <string.h>

/* ---- CPU ------------------------------------------------------------------------------------- */

static float nearer(float distance, float candidate)
{
    float least = candidate < distance ? candidate : distance;
    return least < FLT_MAX ? least : FLT_MAX;
}

static int last_of_block(int block, int n)
{
    int first = block * POTENTIAL_ROWS;
    return n - first < POTENTIAL_ROWS ? n : first + POTENTIAL_ROWS;
}

struct potential_job {
    double *sums;
    float *kept; /* potential_keep's distance */
    const float *distance, *trial;
    const int *best;
    int n, runs, trials;
};

static void sums_task(void *context, int block, int worker)
{
    (void)worker;
    const struct potential_job *job = context;
    size_t trials = (size_t)job->trials, columns = (size_t)job->runs * trials;
    double *sums = job->sums + (size_t)block * columns;
    memset(sums, 0, columns * sizeof *sums);
    for (int i = block * POTENTIAL_ROWS; i < last_of_block(block, job->n); i++) {
        const float *trial = job->trial + (size_t)i * columns;
        for (int run = 0; run < job->runs; run++) {
            float distance = job->distance[(size_t)run * (size_t)job->n + (size_t)i];
            double *of_run = sums + (size_t)run * trials;
            for (size_t t = 0; t < trials; t++)
                of_run[t] += (double)nearer(distance, *trial++);
        }
    }
}

void potential_fwd_cpu(struct device *device, double *sums, const float *distance,
                       const float *trial, int n, int runs, int trials)
{
    threads_run(device->threads, potential_blocks(n), sums_task,
                &(struct potential_job){.sums = sums,
                                        .distance = distance,
                                        .trial = trial,
                                        .n = n,
                                        .runs = runs,
                                        .trials = trials});
}

static void keep_task(void *context, int block, int worker)
{
    (void)worker;
    const struct potential_job *job = context;
    size_t n = (size_t)job->n, columns = (size_t)job->runs * (size_t)job->trials;
    for (int run = 0; run < job->runs; run++) {
        float *distance = job->kept + (size_t)run * n;
        const float *trial = job->trial + (size_t)(run * job->trials + job->best[run]);
        for (int i = block * POTENTIAL_ROWS; i < last_of_block(block, job->n); i++)
            distance[i] = nearer(distance[i], trial[(size_t)i * columns]);
    }
}

void potential_keep_cpu(struct device *device, float *distance, const float *trial, const int *best,
                        int n, int runs, int trials)
{
    threads_run(device->threads, potential_blocks(n), keep_task,
                &(struct potential_job){.kept = distance,
                                        .trial = trial,
                                        .best = best,
                                        .n = n,
                                        .runs = runs,
                                        .trials = trials});
}

static int drawn_row(const float *distance, const struct potential_draw *draw, int n)
{
    double before = draw->before;
    int drawn = -1;
    for (int i = draw->block * POTENTIAL_ROWS; i < last_of_block(draw->block, n); i++) {
        if (distance[i] > 0 || drawn < 0)
            drawn = i;
        before += (double)distance[i];
        if (before > draw->place)
            break;
    }
    return drawn;
}

void potential_draw_cpu(float *candidates, const float *x, const float *distance,
                        const struct potential_draw *draws, int n, int runs, int trials, int d)
{
    for (int c = 0; c < runs * trials; c++) {
        int row = drawn_row(distance + (size_t)(c / trials) * (size_t)n, &draws[c], n);
        memcpy(candidates + (size_t)c * (size_t)d, x + (size_t)row * (size_t)d,
               (size_t)d * sizeof *x);
    }
}

/* ---- dispatch -------------------------------------------------------------------------------- */

enum status potential_begin(struct device *device, float *distance, int n, int runs,
                            struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        for (size_t i = 0; i < (size_t)n * (size_t)runs; i++)
            distance[i] = FLT_MAX;
        return STATUS_OK;
    case DEVICE_CUDA:
        break;
    }
    return device_lacks("potential", err);
}

enum status potential_fwd(struct device *device, double *sums, const float *distance,
                          const float *trial, int n, int runs, int trials, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        potential_fwd_cpu(device, sums, distance, trial, n, runs, trials);
        return STATUS_OK;
    case DEVICE_CUDA:
        break;
    }
    return device_lacks("potential", err);
}

enum status potential_keep(struct device *device, float *distance, const float *trial,
                           const int *best, int n, int runs, int trials, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        potential_keep_cpu(device, distance, trial, best, n, runs, trials);
        return STATUS_OK;
    case DEVICE_CUDA:
        break;
    }
    return device_lacks("potential", err);
}

enum status potential_draw(struct device *device, float *candidates, const float *x,
                           const float *distance, const struct potential_draw *draws, int n,
                           int runs, int trials, int d, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        potential_draw_cpu(candidates, x, distance, draws, n, runs, trials, d);
        return STATUS_OK;
    case DEVICE_CUDA:
        break;
    }
    return device_lacks("potential", err);
}

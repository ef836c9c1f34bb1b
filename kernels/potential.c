/* Potentials of k-means++: CPU code, CUDA launches and dispatch. See potential.h. */
#include "kernels/potential.h"

#include <float.h>
#include <string.h>
#include "host/base/cuda_device.h"

/* ---- CPU ------------------------------------------------------------------------------------- */

static float nearer(float distance, float candidate)
{
    return candidate < distance ? candidate : distance;
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

/* ---- CUDA ------------------------------------------------------------------------------------ */

static enum status launch(struct device *device, const char *name, int64_t blocks, void *job,
                          struct err *err)
{
    if (blocks == 0)
        return STATUS_OK;
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "potential",
                           .name = name,
                           .grid = {(unsigned)blocks, 1, 1},
                           .block = {POTENTIAL_THREADS, 1, 1},
                           .values = (void *[]){job},
                       },
                       err);
}

enum status potential_begin_cuda(struct device *device, float *distance, int n, int runs,
                                 struct err *err)
{
    struct potential_keep_job job = {.distance = distance, .n = n, .runs = runs};
    return launch(device, "potential_begin", divide_up(n, POTENTIAL_THREADS) * runs, &job, err);
}

enum status potential_fwd_cuda(struct device *device, double *sums, const float *distance,
                               const float *trial, int n, int runs, int trials, struct err *err)
{
    int columns = runs * trials;
    int width = (int)divide_up(columns, divide_up(columns, POTENTIAL_COLUMNS));
    int n_groups = (int)divide_up(columns, width);
    struct potential_fwd_job job = {
        .sums = sums,
        .distance = distance,
        .trial = trial,
        .n = n,
        .runs = runs,
        .trials = trials,
        .n_groups = n_groups,
        .width = width,
    };
    return launch(device, "potential_sums", (int64_t)potential_blocks(n) * n_groups, &job, err);
}

enum status potential_keep_cuda(struct device *device, float *distance, const float *trial,
                                const int *best, int n, int runs, int trials, struct err *err)
{
    struct potential_keep_job job = {
        .distance = distance, .trial = trial, .n = n, .runs = runs, .trials = trials};
    memcpy(job.best, best, (size_t)runs * sizeof *best);
    return launch(device, "potential_keep", divide_up(n, POTENTIAL_THREADS) * runs, &job, err);
}

enum status potential_draw_cuda(struct device *device, float *candidates, const float *x,
                                const float *distance, const struct potential_draw *draws, int n,
                                int runs, int trials, int d, struct err *err)
{
    struct potential_draw_job job = {
        .candidates = candidates, .x = x, .distance = distance, .n = n, .trials = trials, .d = d};
    for (; job.first < runs * trials; job.first += POTENTIAL_DRAWS) {
        int left = runs * trials - job.first;
        int size = left < POTENTIAL_DRAWS ? left : POTENTIAL_DRAWS;
        for (int i = 0; i < size; i++) {
            const struct potential_draw *draw = &draws[job.first + i];
            job.block[i] = draw->block, job.before[i] = draw->before, job.place[i] = draw->place;
        }
        TRY(launch(device, "potential_draw", size, &job, err));
    }
    return STATUS_OK;
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
        return potential_begin_cuda(device, distance, n, runs, err);
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
        return potential_fwd_cuda(device, sums, distance, trial, n, runs, trials, err);
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
        return potential_keep_cuda(device, distance, trial, best, n, runs, trials, err);
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
        return potential_draw_cuda(device, candidates, x, distance, draws, n, runs, trials, d, err);
    }
    return device_lacks("potential", err);
}

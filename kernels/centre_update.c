/* The update of centres: CPU code, CUDA launches, dispatch. See centre_update.h.
 *
 * A division a column is what counts, and the loops are simple enough for the compiler: they are
 * written once and compiled twice, for the baseline and for AVX2. Neither may change an order of
 * additions, nor fuse, so that the bits are the same. */
#include "kernels/centre_update.h"

#include <assert.h>
#include <math.h>
#include <string.h>
#include "host/base/cuda_device.h"
#include "host/base/divide_up.h"
#include "kernels/centre_update_job.h"
#include "kernels/cpu.h"

#define CHAINS CENTRE_CHAINS
#define INLINE static inline __attribute__((always_inline))

/* ---- sums over columns ---------------------------------------------------------------------- */

INLINE double joined(double chain[CHAINS])
{
    for (int step = CHAINS / 2; step > 0; step /= 2)
        for (int l = 0; l < step; l++)
            chain[l] += chain[l + step];
    return chain[0];
}

/* The next n columns, a constant but at a row's end: chain l takes the l-th. */
INLINE void add_squares(double *restrict chain, const double *restrict sum, int n)
{
    for (int l = 0; l < n; l++)
        chain[l] += sum[l] * sum[l];
}

INLINE void add_moved(double *restrict chain, float *restrict updated, const double *restrict sum,
                      const float *restrict centre, double divisor, int n)
{
    for (int l = 0; l < n; l++) {
        float to = (float)(sum[l] / divisor);
        double difference = (double)to - (double)centre[l];
        updated[l] = to;
        chain[l] += difference * difference;
    }
}

INLINE void add_gain(double *restrict chain, const double *restrict sum,
                     const float *restrict centre, const float *restrict mean, double count, int n)
{
    for (int l = 0; l < n; l++) {
        double m = (double)mean[l], offset = (double)centre[l] - m;
        chain[l] += offset * (count * offset - 2 * (sum[l] - count * m));
    }
}

/* ---- a centre ------------------------------------------------------------------------------- */

struct centre_of_job {
    float *updated;
    const double *sum;
    const float *centre, *mean;
    double count;
    int d;
    bool spherical;
};

/* Returns how far it moves. */
INLINE double update_one(const struct centre_of_job *one)
{
    double chain[CHAINS] = {0}, divisor = one->count;
    int d = one->d, whole = d / CHAINS * CHAINS;
    if (one->spherical && divisor > 0) {
        for (int j = 0; j < whole; j += CHAINS)
            add_squares(chain, one->sum + j, CHAINS);
        add_squares(chain, one->sum + whole, d - whole);
        divisor = sqrt(joined(chain));
        memset(chain, 0, sizeof chain);
    }
    if (!(divisor > 0)) {
        memcpy(one->updated, one->centre, (size_t)d * sizeof *one->updated);
        return 0;
    }
    for (int j = 0; j < whole; j += CHAINS)
        add_moved(chain, one->updated + j, one->sum + j, one->centre + j, divisor, CHAINS);
    add_moved(chain, one->updated + whole, one->sum + whole, one->centre + whole, divisor,
              d - whole);
    return joined(chain);
}

INLINE double gain_of_one(const struct centre_of_job *one)
{
    double chain[CHAINS] = {0};
    int d = one->d, whole = d / CHAINS * CHAINS;
    for (int j = 0; j < whole; j += CHAINS)
        add_gain(chain, one->sum + j, one->centre + j, one->mean + j, one->count, CHAINS);
    add_gain(chain, one->sum + whole, one->centre + whole, one->mean + whole, one->count,
             d - whole);
    return joined(chain);
}

#if CPU_X86
TARGET_AVX2
static double update_avx2(const struct centre_of_job *one)
{
    return update_one(one);
}

TARGET_AVX2
static double gain_avx2(const struct centre_of_job *one)
{
    return gain_of_one(one);
}
#endif

static double update_portable(const struct centre_of_job *one)
{
    return update_one(one);
}

static double gain_portable(const struct centre_of_job *one)
{
    return gain_of_one(one);
}

/* ---- CPU ------------------------------------------------------------------------------------ */

#define COLUMNS_PER_TASK 8192

struct task_job {
    struct centre_job arrays;
    double *result; /* (k) */
    double (*of_one)(const struct centre_of_job *one);
    int centres_per_task;
};

static void centres_task(void *context, int task, int worker)
{
    (void)worker;
    const struct task_job *job = context;
    const struct centre_job *arrays = &job->arrays;
    int first = task * job->centres_per_task, left = arrays->k - first;
    int n = left < job->centres_per_task ? left : job->centres_per_task;
    for (int c = first; c < first + n; c++) {
        size_t at = (size_t)c * (size_t)arrays->d;
        struct centre_of_job one = {
            .updated = arrays->updated ? arrays->updated + at : NULL,
            .sum = arrays->sums + at,
            .centre = arrays->centres + at,
            .mean = arrays->mean,
            .count = (double)arrays->counts[c],
            .d = arrays->d,
            .spherical = arrays->spherical,
        };
        job->result[c] = job->of_one(&one);
    }
}

static void run_tasks(struct device *device, struct task_job *job)
{
    int d = job->arrays.d;
    job->centres_per_task = d < COLUMNS_PER_TASK ? COLUMNS_PER_TASK / d : 1;
    threads_run(device->threads, (int)divide_up(job->arrays.k, job->centres_per_task), centres_task,
                job);
}

void centre_update_cpu(struct device *device, float *updated, double *moved, const double *sums,
                       const int64_t *counts, const float *centres, int k, int d, bool spherical)
{
    struct task_job job = {
        .arrays = {.updated = updated, .sums = sums, .counts = counts, .centres = centres},
        .result = moved,
        .of_one = update_portable,
    };
    job.arrays.k = k, job.arrays.d = d, job.arrays.spherical = spherical;
#if CPU_X86
    if (device->isa == CPU_AVX2)
        job.of_one = update_avx2;
#endif
    run_tasks(device, &job);
}

void centre_gain_cpu(struct device *device, double *gain, const double *sums, const int64_t *counts,
                     const float *centres, const float *mean, int k, int d)
{
    struct task_job job = {
        .arrays = {.sums = sums, .counts = counts, .centres = centres, .mean = mean},
        .result = gain,
        .of_one = gain_portable,
    };
    job.arrays.k = k, job.arrays.d = d;
#if CPU_X86
    if (device->isa == CPU_AVX2)
        job.of_one = gain_avx2;
#endif
    run_tasks(device, &job);
}

/* ---- CUDA ----------------------------------------------------------------------------------- */

/* each: blocks of a centre. */
static enum status launch(struct device *device, const char *name, int each, struct centre_job *job,
                          struct err *err)
{
    int64_t threads = divide_up(job->d, CENTRE_CHAINS) * CENTRE_CHAINS;
    int64_t blocks = (int64_t)each * job->k * job->runs.n;
    assert(blocks <= INT32_MAX);
    if (blocks == 0)
        return STATUS_OK;
    return cuda_launch(
        device->cuda,
        &(struct cuda_launch){
            .image = "centre_update",
            .name = name,
            .grid = {(unsigned)blocks, 1, 1},
            .block = {(unsigned)(threads < CENTRE_THREADS ? threads : CENTRE_THREADS), 1, 1},
            .values = (void *[]){job},
        },
        err);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status centre_update(struct device *device, float *updated, double *moved, const double *sums,
                          const int64_t *counts, const float *centres, int k, int d, bool spherical,
                          const struct run_list *runs, struct err *err)
{
    struct centre_job job = {.updated = updated, .moved = moved, .sums = sums, .counts = counts};
    switch (device->kind) {
    case DEVICE_CPU:
        assert(!runs);
        centre_update_cpu(device, updated, moved, sums, counts, centres, k, d, spherical);
        return STATUS_OK;
    case DEVICE_CUDA:
        job.centres = centres, job.runs = *runs;
        job.k = k, job.d = d, job.spherical = spherical;
        return launch(device, "centre_update", 1, &job, err);
    }
    return device_lacks("centre_update", err);
}

enum status centre_gain(struct device *device, double *gain, const double *sums,
                        const int64_t *counts, const float *centres, const float *mean, int k,
                        int d, const struct run_list *runs, struct err *err)
{
    struct centre_job job = {.gain = gain, .sums = sums, .counts = counts, .centres = centres};
    switch (device->kind) {
    case DEVICE_CPU:
        assert(!runs);
        centre_gain_cpu(device, gain, sums, counts, centres, mean, k, d);
        return STATUS_OK;
    case DEVICE_CUDA:
        job.mean = mean, job.runs = *runs;
        job.k = k, job.d = d;
        return launch(device, "centre_gain", 1, &job, err);
    }
    return device_lacks("centre_gain", err);
}

enum status centre_gain_and_update(struct device *device, double *gain, float *updated,
                                   double *moved, const double *sums, const int64_t *counts,
                                   const float *centres, const float *mean, int k, int d,
                                   bool spherical, const struct run_list *runs, struct err *err)
{
    struct centre_job job = {
        .updated = updated, .moved = moved, .gain = gain, .sums = sums, .counts = counts};
    switch (device->kind) {
    case DEVICE_CPU:
        assert(!runs);
        centre_gain_cpu(device, gain, sums, counts, centres, mean, k, d);
        centre_update_cpu(device, updated, moved, sums, counts, centres, k, d, spherical);
        return STATUS_OK;
    case DEVICE_CUDA:
        job.centres = centres, job.mean = mean, job.runs = *runs;
        job.k = k, job.d = d, job.spherical = spherical;
        return launch(device, "centre_gain_and_update", 2, &job, err);
    }
    return device_lacks("centre_gain_and_update", err);
}

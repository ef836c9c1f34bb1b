/* Sums of clusters: CPU code and dispatch.
 *
 * Each task walks over all rows in order and adds what is its own: a piece of the columns, of a run
 * of the clusters. So nothing is sorted, an element has one writer, and rows are read as they lie.
 * A piece is at least a few cache lines wide; where there are more threads than such pieces, the
 * clusters are divided too, which costs a look at all labels a run. What binds is memory: at two
 * loads, a conversion, an addition and a store for four numbers, a core adds 30 GB/s of rows whose
 * sums lie in L1 or L2. */
#include "kernels/cluster_sums.h"

#include "kernels/cpu.h"

#define LEAST_COLUMNS 64
#define PREFETCH_ROWS 4

struct sums_job {
    double *sums;
    const float *x;
    const int32_t *from, *to;
    int n, k, d;
    int n_pieces, n_runs; /* tasks are pieces of columns times runs of clusters */
    enum cpu_isa isa;
};

static void add_portable(double *sum, const float *x, int n)
{
    for (int j = 0; j < n; j++)
        sum[j] += (double)x[j];
}

static void subtract_portable(double *sum, const float *x, int n)
{
    for (int j = 0; j < n; j++)
        sum[j] -= (double)x[j];
}

#if CPU_X86
TARGET_AVX2
static void add_avx2(double *sum, const float *x, int n)
{
    int j = 0;
    for (; j + 4 <= n; j += 4)
        _mm256_storeu_pd(
            sum + j, _mm256_add_pd(_mm256_loadu_pd(sum + j), _mm256_cvtps_pd(_mm_loadu_ps(x + j))));
    add_portable(sum + j, x + j, n - j);
}

TARGET_AVX2
static void subtract_avx2(double *sum, const float *x, int n)
{
    int j = 0;
    for (; j + 4 <= n; j += 4)
        _mm256_storeu_pd(
            sum + j, _mm256_sub_pd(_mm256_loadu_pd(sum + j), _mm256_cvtps_pd(_mm_loadu_ps(x + j))));
    subtract_portable(sum + j, x + j, n - j);
}
#endif

static void add(const struct sums_job *job, double *sum, const float *x, int n)
{
#if CPU_X86
    if (job->isa == CPU_AVX2) {
        add_avx2(sum, x, n);
        return;
    }
#endif
    add_portable(sum, x, n);
}

static void subtract(const struct sums_job *job, double *sum, const float *x, int n)
{
#if CPU_X86
    if (job->isa == CPU_AVX2) {
        subtract_avx2(sum, x, n);
        return;
    }
#endif
    subtract_portable(sum, x, n);
}

/* The i-th of n nearly equal parts of a length begins here. */
static int part_begin(int length, int n, int i)
{
    return (int)((int64_t)length * i / n);
}

static void sums_task(void *context, int task, int worker)
{
    (void)worker;
    const struct sums_job *job = context;
    int piece = task % job->n_pieces, run = task / job->n_pieces;
    int column = part_begin(job->d, job->n_pieces, piece);
    int columns = part_begin(job->d, job->n_pieces, piece + 1) - column;
    int first = part_begin(job->k, job->n_runs, run);
    int last = part_begin(job->k, job->n_runs, run + 1);
    size_t d = (size_t)job->d;
    double *sums = job->sums + column;
    const float *x = job->x + column;
    for (int i = 0; i < job->n; i++, x += d) {
        int from = job->from ? job->from[i] : -1, to = job->to[i];
        if (from == to)
            continue;
        __builtin_prefetch(x + PREFETCH_ROWS * d);
        if (from >= first && from < last)
            subtract(job, sums + (size_t)from * d, x, columns);
        if (to >= first && to < last)
            add(job, sums + (size_t)to * d, x, columns);
    }
}

void cluster_sums_add_cpu(struct device *device, double *sums, const float *x, const int32_t *from,
                          const int32_t *to, int n, int k, int d)
{
    struct sums_job job = {sums, x, from, to, n, k, d, 1, 1, device->isa};
    int workers = threads_size(device->threads),
        most_pieces = (d + LEAST_COLUMNS - 1) / LEAST_COLUMNS;
    job.n_pieces = workers < most_pieces ? workers : most_pieces;
    job.n_runs = (workers + job.n_pieces - 1) / job.n_pieces;
    job.n_runs = job.n_runs < k ? job.n_runs : k;
    threads_run(device->threads, job.n_pieces * job.n_runs, sums_task, &job);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status cluster_sums_add(struct device *device, double *sums, const float *x,
                             const int32_t *from, const int32_t *to, int n, int k, int d,
                             struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        cluster_sums_add_cpu(device, sums, x, from, to, n, k, d);
        return STATUS_OK;
    case DEVICE_CUDA:
        break;
    }
    return device_lacks("cluster_sums", err);
}

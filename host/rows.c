/* Sums over row blocks, and the check of rows. See rows.h. The blocks come in waves of n_partials:
 * memory is bounded by the number of threads, the order of addition is not touched by it. */
#include "host/rows.h"

#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include "host/base/memory.h"

/* ---- sums ----------------------------------------------------------------------------------- */

enum status row_sum_open(struct row_sum *sum, struct device *device, size_t width, int n_rows,
                         struct err *err)
{
    int n_blocks = row_blocks(n_rows), wave = 2 * threads_size(device->threads);
    if (n_blocks < 1)
        n_blocks = 1;
    *sum = (struct row_sum){
        .device = device, .width = width, .n_partials = n_blocks < wave ? n_blocks : wave};
    size_t count;
    if (__builtin_mul_overflow((size_t)sum->n_partials, width, &count))
        return err_no_memory(err, "sums over rows", SIZE_MAX);
    sum->partials = mem_alloc(count, sizeof *sum->partials);
    if (!sum->partials)
        return err_no_memory(err, "sums over rows", count * sizeof *sum->partials);
    return STATUS_OK;
}

void row_sum_close(struct row_sum *sum)
{
    mem_free(sum->partials);
    *sum = (struct row_sum){0};
}

struct row_sum_job {
    const struct row_sum *sum;
    double *total;
    row_block_add *add;
    void *context;
    int n, first_block, n_blocks; /* of this wave */
};

static void block_task(void *context, int task, int worker)
{
    (void)worker;
    const struct row_sum_job *job = context;
    double *partial = job->sum->partials + (size_t)task * job->sum->width;
    memset(partial, 0, job->sum->width * sizeof *partial);
    int first = (job->first_block + task) * ROWS_PER_BLOCK;
    int last = job->n - first < ROWS_PER_BLOCK ? job->n : first + ROWS_PER_BLOCK;
    job->add(job->context, first, last, partial);
}

#define VALUES_PER_TASK 4096

static void total_task(void *context, int task, int worker)
{
    (void)worker;
    const struct row_sum_job *job = context;
    size_t width = job->sum->width, first = (size_t)task * VALUES_PER_TASK;
    size_t last = width - first < VALUES_PER_TASK ? width : first + VALUES_PER_TASK;
    for (int block = 0; block < job->n_blocks; block++) {
        const double *partial = job->sum->partials + (size_t)block * width;
        for (size_t j = first; j < last; j++)
            job->total[j] += partial[j];
    }
}

void row_sum_add(struct row_sum *sum, double *total, int n, row_block_add *add, void *context)
{
    struct threads *threads = sum->device->threads;
    int n_blocks = row_blocks(n);
    int n_total_tasks = (int)((sum->width + VALUES_PER_TASK - 1) / VALUES_PER_TASK);
    for (int block = 0; block < n_blocks; block += sum->n_partials) {
        struct row_sum_job job = {.sum = sum, .total = total, .add = add, .context = context};
        job.n = n;
        job.first_block = block;
        job.n_blocks = n_blocks - block < sum->n_partials ? n_blocks - block : sum->n_partials;
        threads_run(threads, job.n_blocks, block_task, &job);
        threads_run(threads, n_total_tasks, total_task, &job);
    }
}

/* ---- single rows ---------------------------------------------------------------------------- */

double row_dot(const float *a, const float *b, int d)
{
    double partial[4] = {0};
    int j = 0;
    for (; j + 4 <= d; j += 4)
        for (int lane = 0; lane < 4; lane++)
            partial[lane] += (double)a[j + lane] * (double)b[j + lane];
    double sum = ((partial[0] + partial[1]) + partial[2]) + partial[3];
    for (; j < d; j++)
        sum += (double)a[j] * (double)b[j];
    return sum;
}

void row_normalise(float *row, int d)
{
    double norm = sqrt(row_dot(row, row, d));
    if (norm == 0)
        return;
    for (int j = 0; j < d; j++)
        row[j] = (float)((double)row[j] / norm);
}

/* ---- the check ------------------------------------------------------------------------------ */

struct finite_job {
    const float *x;
    int n, d;
    atomic_int first_bad; /* the lowest so far */
};

static bool row_is_finite(const float *row, int d)
{
    uint32_t bad = 0;
    for (int j = 0; j < d; j++) {
        uint32_t bits;
        memcpy(&bits, &row[j], sizeof bits);
        bad |= (bits & 0x7F800000u) == 0x7F800000u; /* exponent of NaN and the infinities */
    }
    return !bad;
}

static void finite_task(void *context, int task, int worker)
{
    (void)worker;
    struct finite_job *job = context;
    int first = task * ROWS_PER_BLOCK;
    int last = job->n - first < ROWS_PER_BLOCK ? job->n : first + ROWS_PER_BLOCK;
    for (int i = first; i < last; i++) {
        if (row_is_finite(job->x + (size_t)i * (size_t)job->d, job->d))
            continue;
        int lowest = atomic_load(&job->first_bad);
        while (i < lowest && !atomic_compare_exchange_weak(&job->first_bad, &lowest, i))
            ;
        return;
    }
}

enum status rows_check_finite(struct device *device, const float *x, int n, int d, struct err *err)
{
    struct finite_job job = {.x = x, .n = n, .d = d};
    atomic_init(&job.first_bad, n);
    threads_run(device->threads, row_blocks(n), finite_task, &job);
    int row = atomic_load(&job.first_bad);
    if (row == n)
        return STATUS_OK;
    const float *values = x + (size_t)row * (size_t)d;
    int column = 0;
    while (row_is_finite(values + column, 1))
        column++;
    return err_set(err, STATUS_BAD_DATA,
                   "row %d: column %d is %g, not a finite number; make the embeddings again",
                   row + 1, column + 1, (double)values[column]);
}

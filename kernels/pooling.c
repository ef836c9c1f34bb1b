/* Pooling: CPU code, CUDA launch, dispatch. The mean is bound by memory: each value is read once.
 */
#include "kernels/pooling.h"

#include <assert.h>
#include <string.h>
#include "host/base/cuda_device.h"
#include "host/base/divide_up.h"
#include "kernels/cpu.h"
#include "kernels/cuda_rows.h"

/* ---- CPU ------------------------------------------------------------------------------------ */

/* Summed side by side: a cache line of each row, 4 AVX2 registers of float64. */
#define COLUMNS 16

/* Columns 0 .. n_columns-1 (at most COLUMNS) of the mean of n_rows rows, d values apart. */
static void mean_portable(float *out, const float *hidden, int n_rows, size_t d, int n_columns)
{
    double sum[COLUMNS] = {0};
    for (int i = 0; i < n_rows; i++)
        for (int j = 0; j < n_columns; j++)
            sum[j] += (double)hidden[(size_t)i * d + (size_t)j];
    for (int j = 0; j < n_columns; j++)
        out[j] = (float)(sum[j] / n_rows);
}

#if CPU_X86
/* COLUMNS columns of it. */
TARGET_AVX2
static void mean_avx2(float *out, const float *hidden, int n_rows, size_t d)
{
    __m256d a = _mm256_setzero_pd(), b = a, c = a, e = a;
    for (int i = 0; i < n_rows; i++) {
        const float *row = hidden + (size_t)i * d;
        a = _mm256_add_pd(a, _mm256_cvtps_pd(_mm_loadu_ps(row)));
        b = _mm256_add_pd(b, _mm256_cvtps_pd(_mm_loadu_ps(row + 4)));
        c = _mm256_add_pd(c, _mm256_cvtps_pd(_mm_loadu_ps(row + 8)));
        e = _mm256_add_pd(e, _mm256_cvtps_pd(_mm_loadu_ps(row + 12)));
    }
    __m256d n = _mm256_set1_pd(n_rows);
    _mm_storeu_ps(out, _mm256_cvtpd_ps(_mm256_div_pd(a, n)));
    _mm_storeu_ps(out + 4, _mm256_cvtpd_ps(_mm256_div_pd(b, n)));
    _mm_storeu_ps(out + 8, _mm256_cvtpd_ps(_mm256_div_pd(c, n)));
    _mm_storeu_ps(out + 12, _mm256_cvtpd_ps(_mm256_div_pd(e, n)));
}
#endif

struct pooling_job {
    float *out;
    const float *hidden;
    const int32_t *begin, *end;
    int d;
    enum pooling pooling;
    enum cpu_isa isa;
};

static void pooling_task(void *context, int text, int worker)
{
    (void)worker;
    const struct pooling_job *job = context;
    size_t d = (size_t)job->d;
    float *out = job->out + (size_t)text * d;
    int begin = job->begin[text], end = job->end[text];
    if (end <= begin) {
        memset(out, 0, d * sizeof *out);
        return;
    }
    if (job->pooling == POOL_LAST) {
        memcpy(out, job->hidden + (size_t)(end - 1) * d, d * sizeof *out);
        return;
    }
    const float *hidden = job->hidden + (size_t)begin * d;
    for (int j = 0; j < job->d; j += COLUMNS) {
        int n_columns = job->d - j < COLUMNS ? job->d - j : COLUMNS;
#if CPU_X86
        if (job->isa == CPU_AVX2 && n_columns == COLUMNS) {
            mean_avx2(out + j, hidden + j, end - begin, d);
            continue;
        }
#endif
        mean_portable(out + j, hidden + j, end - begin, d, n_columns);
    }
}

void pooling_fwd_cpu(struct device *device, float *out, const float *hidden, const int32_t *begin,
                     const int32_t *end, int n_texts, int d, enum pooling pooling)
{
    struct pooling_job job = {out, hidden, begin, end, d, pooling, device->isa};
    threads_run(device->threads, n_texts, pooling_task, &job);
}

/* ---- CPU: the gradient ---------------------------------------------------------------------- */

/* A task has some columns of all rows: texts may share rows, and then add to them in order. 64
 * columns are 256 bytes in a run. */
#define COLUMNS_PER_TASK 64

/* dhidden (n_rows) += row, rows d values apart. */
static void add_portable(float *dhidden, const float *row, int n_rows, size_t d, int n_columns)
{
    for (int i = 0; i < n_rows; i++)
        for (int j = 0; j < n_columns; j++)
            dhidden[(size_t)i * d + (size_t)j] += row[j];
}

#if CPU_X86
/* COLUMNS_PER_TASK columns of it. */
TARGET_AVX2
static void add_avx2(float *dhidden, const float *row, int n_rows, size_t d)
{
    for (int i = 0; i < n_rows; i++)
        for (int j = 0; j < COLUMNS_PER_TASK; j += 8) {
            float *at = dhidden + (size_t)i * d + j;
            _mm256_storeu_ps(at, _mm256_add_ps(_mm256_loadu_ps(at), _mm256_loadu_ps(row + j)));
        }
}
#endif

struct pooling_bwd_job {
    float *dhidden;
    const float *dout;
    const int32_t *begin, *end;
    int n_texts, n, d;
    enum pooling pooling;
    enum cpu_isa isa;
};

static void pooling_bwd_task(void *context, int task, int worker)
{
    (void)worker;
    const struct pooling_bwd_job *job = context;
    int first = task * COLUMNS_PER_TASK;
    int n_columns = job->d - first < COLUMNS_PER_TASK ? job->d - first : COLUMNS_PER_TASK;
    size_t d = (size_t)job->d;
    for (int t = 0; t < job->n_texts; t++) {
        int end = job->end[t], begin = job->pooling == POOL_LAST ? end - 1 : job->begin[t];
        if (end <= job->begin[t])
            continue;
        assert(job->begin[t] >= 0 && end <= job->n);
        float row[COLUMNS_PER_TASK], *dhidden = job->dhidden + (size_t)begin * d + first;
        for (int j = 0; j < n_columns; j++)
            row[j] = job->dout[(size_t)t * d + (size_t)(first + j)] / (float)(end - begin);
#if CPU_X86
        if (job->isa == CPU_AVX2 && n_columns == COLUMNS_PER_TASK) {
            add_avx2(dhidden, row, end - begin, d);
            continue;
        }
#endif
        add_portable(dhidden, row, end - begin, d, n_columns);
    }
}

void pooling_bwd_cpu(struct device *device, float *dhidden, const float *dout, const int32_t *begin,
                     const int32_t *end, int n_texts, int n, int d, enum pooling pooling)
{
    struct pooling_bwd_job job = {dhidden, dout, begin, end, n_texts, n, d, pooling, device->isa};
    int n_tasks = (d + COLUMNS_PER_TASK - 1) / COLUMNS_PER_TASK;
    threads_run(device->threads, n_tasks, pooling_bwd_task, &job);
}

/* ---- CUDA ----------------------------------------------------------------------------------- */

enum status pooling_fwd_cuda(struct device *device, float *out, const void *hidden,
                             const int32_t *begin, const int32_t *end, int n_texts, int d,
                             enum pooling pooling, const float *norm, float eps, struct err *err)
{
    struct { /* pooling.cu's pooling_parameters */
        float *out;
        const void *hidden;
        const int32_t *begin, *end;
        int d, is_last;
        const float *norm;
        float eps;
    } parameters = {out, hidden, begin, end, d, pooling == POOL_LAST, norm, eps};
    int width = d % 4 == 0 ? 4 : 1;
    /* With the norm one block for all of a text, and many warps for the scales of its rows. */
    struct cuda_row_blocks blocks = cuda_row_blocks(d, width, norm ? 512 : 128);
    if (n_texts == 0)
        return STATUS_OK;
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "pooling",
                           .name = width == 4 ? "pooling_by_fours" : "pooling_by_elements",
                           .grid = {(unsigned)n_texts, norm ? 1 : blocks.n, 1},
                           .block = {blocks.threads, 1, 1},
                           .values = (void *[]){&parameters},
                       },
                       err);
}

#define ROWS_OF_BLOCK 4 /* pooling.cu's */

enum status pooling_bwd_cuda(struct device *device, void *dhidden, const float *dout,
                             const int32_t *begin, const int32_t *end, int n_texts, int n, int d,
                             enum pooling pooling, bool add, struct err *err)
{
    struct { /* pooling.cu's pooling_bwd_parameters */
        void *dhidden;
        const float *dout;
        const int32_t *begin, *end;
        int n_texts, n, d, is_last, add;
    } parameters = {dhidden, dout, begin, end, n_texts, n, d, pooling == POOL_LAST, add};
    int width = d % 8 == 0 ? 8 : 1;
    struct cuda_row_blocks blocks = cuda_row_blocks(d, width, 256);
    if (n == 0)
        return STATUS_OK;
    return cuda_launch(
        device->cuda,
        &(struct cuda_launch){
            .image = "pooling",
            .name = width == 8 ? "pooling_bwd_by_vectors" : "pooling_bwd_by_elements",
            .grid = {(unsigned)divide_up(n, ROWS_OF_BLOCK), blocks.n, 1},
            .block = {blocks.threads, 1, 1},
            .values = (void *[]){&parameters},
        },
        err);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status pooling_fwd(struct device *device, float *out, const void *hidden, const int32_t *begin,
                        const int32_t *end, int n_texts, int d, enum pooling pooling,
                        struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        pooling_fwd_cpu(device, out, hidden, begin, end, n_texts, d, pooling);
        return STATUS_OK;
    case DEVICE_CUDA:
        return pooling_fwd_cuda(device, out, hidden, begin, end, n_texts, d, pooling, NULL, 0, err);
    }
    return err_set(err, STATUS_RESOURCE, "pooling: no kernel for this device");
}

enum status pooling_bwd(struct device *device, void *dhidden, const void *dout,
                        const int32_t *begin, const int32_t *end, int n_texts, int n, int d,
                        enum pooling pooling, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        pooling_bwd_cpu(device, dhidden, dout, begin, end, n_texts, n, d, pooling);
        return STATUS_OK;
    case DEVICE_CUDA:
        return pooling_bwd_cuda(device, dhidden, dout, begin, end, n_texts, n, d, pooling, true,
                                err);
    }
    return err_set(err, STATUS_RESOURCE, "pooling_bwd: no kernel for this device");
}

/* See column_sums.h. */
#include "kernels/column_sums.h"

#include "host/base/cuda_device.h"
#include "host/base/divide_up.h"
#include "kernels/column_sums_job.h"
#include "kernels/cpu.h"

/* ---- CPU ------------------------------------------------------------------------------------ */

/* So that partial sums are loaded and stored a quarter as often as rows are read. */
#define ROWS_AT_ONCE 4

#if CPU_X86
/* n is a constant wherever this is inlined, so that the array is registers. */
TARGET_AVX2
static inline __attribute__((always_inline)) void rows_avx2(double *partial, const float *x, int d,
                                                            int n)
{
    int j = 0;
    for (; j + 16 <= d; j += 16) {
        __m256d sum[4];
        UNROLL
        for (int q = 0; q < 4; q++)
            sum[q] = _mm256_loadu_pd(partial + j + 4 * q);
        UNROLL
        for (int r = 0; r < n; r++) {
            UNROLL
            for (int q = 0; q < 4; q++) {
                __m128 four = _mm_loadu_ps(x + (size_t)r * (size_t)d + j + 4 * q);
                sum[q] = _mm256_add_pd(sum[q], _mm256_cvtps_pd(four));
            }
        }
        UNROLL
        for (int q = 0; q < 4; q++)
            _mm256_storeu_pd(partial + j + 4 * q, sum[q]);
    }
    for (; j < d; j++)
        for (int r = 0; r < n; r++)
            partial[j] += (double)x[(size_t)r * (size_t)d + (size_t)j];
}

TARGET_AVX2
static void sums_avx2(double *partial, const float *x, int n, int d)
{
    int i = 0;
    for (; i + ROWS_AT_ONCE <= n; i += ROWS_AT_ONCE)
        rows_avx2(partial, x + (size_t)i * (size_t)d, d, ROWS_AT_ONCE);
    for (; i < n; i++)
        rows_avx2(partial, x + (size_t)i * (size_t)d, d, 1);
}
#endif

void column_sums_rows_cpu(enum cpu_isa isa, double *partial, const float *x, int n, int d)
{
#if CPU_X86
    if (isa == CPU_AVX2) {
        sums_avx2(partial, x, n, d);
        return;
    }
#endif
    (void)isa;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < d; j++)
            partial[j] += (double)x[(size_t)i * (size_t)d + (size_t)j];
}

/* ---- GPU ------------------------------------------------------------------------------------ */

size_t column_sums_cuda_scratch_bytes(int n, int d)
{
    return (size_t)divide_up(n, COLUMN_SUMS_ROWS) * (size_t)d * sizeof(double);
}

static enum status launch(struct device *device, const char *name, int64_t blocks,
                          struct column_sums_job *job, struct err *err)
{
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "column_sums",
                           .name = name,
                           .grid = {(unsigned)blocks, 1, 1},
                           .block = {COLUMN_SUMS_COLUMNS, 1, 1},
                           .values = (void *[]){job},
                       },
                       err);
}

enum status column_sums_add_cuda(struct device *device, double *total, const float *x, int n, int d,
                                 void *scratch, struct err *err)
{
    struct column_sums_job job = {.total = total, .partials = scratch, .x = x, .n = n, .d = d};
    job.n_blocks = (int)divide_up(n, COLUMN_SUMS_ROWS);
    job.n_groups = (int)divide_up(d, COLUMN_SUMS_COLUMNS);
    if (n == 0)
        return STATUS_OK;
    TRY(launch(device, "column_sums_of_blocks", (int64_t)job.n_blocks * job.n_groups, &job, err));
    return launch(device, "column_sums_total", job.n_groups, &job, err);
}

/* Squared distances: CPU code and dispatch. Each value costs a difference and a square, so a tile
 * of 2 rows by 4 centres keeps both FMA units busy from eight independent sums, and a pass over the
 * columns loads six vectors for eight. */
#include "kernels/squared_distance.h"

#include "kernels/cpu.h"

/* ---- CPU ------------------------------------------------------------------------------------ */

/* A sum has four partial sums, of the columns j = 0, 1, 2, 3 mod 4; they are added from the first
 * to the last, then the columns behind the last whole four. The AVX2 code has the same order. */
static double distance_portable(const float *x, const float *c, int d)
{
    double partial[4] = {0};
    int j = 0;
    for (; j + 4 <= d; j += 4)
        for (int lane = 0; lane < 4; lane++) {
            double difference = (double)x[j + lane] - (double)c[j + lane];
            partial[lane] += difference * difference;
        }
    double sum = ((partial[0] + partial[1]) + partial[2]) + partial[3];
    for (; j < d; j++) {
        double difference = (double)x[j] - (double)c[j];
        sum += difference * difference;
    }
    return sum;
}

static void rows_portable(double *out, size_t out_stride, const float *x, const float *centres,
                          int n, int k, int d)
{
    for (int i = 0; i < n; i++)
        for (int c = 0; c < k; c++)
            out[(size_t)i * out_stride + (size_t)c] =
                distance_portable(x + (size_t)i * (size_t)d, centres + (size_t)c * (size_t)d, d);
}

#if CPU_X86
#define TILE_ROWS    2
#define TILE_CENTRES 4
#define TILE_PAIRS   4

TARGET_AVX2
static inline __m256d load4(const float *x)
{
    return _mm256_cvtps_pd(_mm_loadu_ps(x));
}

TARGET_AVX2
static inline __m256d add_square(__m256d sum, __m256d x, __m256d c)
{
    __m256d difference = _mm256_sub_pd(x, c);
    return _mm256_fmadd_pd(difference, difference, sum);
}

TARGET_AVX2
static inline double finish(__m256d partial, const float *x, const float *c, int j, int d)
{
    double lane[4];
    _mm256_storeu_pd(lane, partial);
    double sum = ((lane[0] + lane[1]) + lane[2]) + lane[3];
    for (; j < d; j++) {
        double difference = (double)x[j] - (double)c[j];
        sum += difference * difference;
    }
    return sum;
}

TARGET_AVX2
static void tile_avx2(double tile[TILE_ROWS][TILE_CENTRES], const float *const x[TILE_ROWS],
                      const float *const c[TILE_CENTRES], int d)
{
    __m256d s00 = _mm256_setzero_pd(), s01 = s00, s02 = s00, s03 = s00;
    __m256d s10 = s00, s11 = s00, s12 = s00, s13 = s00;
    int j = 0;
    for (; j + 4 <= d; j += 4) {
        __m256d x0 = load4(x[0] + j), x1 = load4(x[1] + j), centre;
        centre = load4(c[0] + j);
        s00 = add_square(s00, x0, centre), s10 = add_square(s10, x1, centre);
        centre = load4(c[1] + j);
        s01 = add_square(s01, x0, centre), s11 = add_square(s11, x1, centre);
        centre = load4(c[2] + j);
        s02 = add_square(s02, x0, centre), s12 = add_square(s12, x1, centre);
        centre = load4(c[3] + j);
        s03 = add_square(s03, x0, centre), s13 = add_square(s13, x1, centre);
    }
    tile[0][0] = finish(s00, x[0], c[0], j, d), tile[1][0] = finish(s10, x[1], c[0], j, d);
    tile[0][1] = finish(s01, x[0], c[1], j, d), tile[1][1] = finish(s11, x[1], c[1], j, d);
    tile[0][2] = finish(s02, x[0], c[2], j, d), tile[1][2] = finish(s12, x[1], c[2], j, d);
    tile[0][3] = finish(s03, x[0], c[3], j, d), tile[1][3] = finish(s13, x[1], c[3], j, d);
}

/* At the edges the last row or centre stands in for those that are not there, and what comes of it
 * is not stored: an element is computed in one way only, wherever it lies in a tile. */
TARGET_AVX2
static void rows_avx2(double *out, size_t out_stride, const float *x, const float *centres, int n,
                      int k, int d)
{
    for (int i = 0; i < n; i += TILE_ROWS) {
        const float *rows[TILE_ROWS];
        for (int r = 0; r < TILE_ROWS; r++)
            rows[r] = x + (size_t)(i + r < n ? i + r : n - 1) * (size_t)d;
        for (int c = 0; c < k; c += TILE_CENTRES) {
            const float *tile_centres[TILE_CENTRES];
            for (int t = 0; t < TILE_CENTRES; t++)
                tile_centres[t] = centres + (size_t)(c + t < k ? c + t : k - 1) * (size_t)d;
            double tile[TILE_ROWS][TILE_CENTRES];
            tile_avx2(tile, rows, tile_centres, d);
            for (int r = 0; r < TILE_ROWS && i + r < n; r++)
                for (int t = 0; t < TILE_CENTRES && c + t < k; t++)
                    out[(size_t)(i + r) * out_stride + (size_t)(c + t)] = tile[r][t];
        }
    }
}

/* Four pairs side by side: their sums are chains that do not wait for one another. Rows may lie
 * anywhere, so while four are summed their followers are fetched. */
TARGET_AVX2
static void pairs_avx2(double *out, const float *const *x, const float *const *centres, int n,
                       int d)
{
    for (int i = 0; i < n; i += TILE_PAIRS) {
        const float *a[TILE_PAIRS], *b[TILE_PAIRS], *next[TILE_PAIRS];
        for (int p = 0; p < TILE_PAIRS; p++) {
            int follower = i + p + TILE_PAIRS;
            a[p] = x[i + p < n ? i + p : n - 1];
            next[p] = x[follower < n ? follower : n - 1];
            b[p] = centres[i + p < n ? i + p : n - 1];
        }
        __m256d s0 = _mm256_setzero_pd(), s1 = s0, s2 = s0, s3 = s0;
        int j = 0;
        for (; j + 4 <= d; j += 4) {
            /* A line is 16 columns: with every 4, that of one row. */
            __builtin_prefetch(next[j / 4 % TILE_PAIRS] + j);
            s0 = add_square(s0, load4(a[0] + j), load4(b[0] + j));
            s1 = add_square(s1, load4(a[1] + j), load4(b[1] + j));
            s2 = add_square(s2, load4(a[2] + j), load4(b[2] + j));
            s3 = add_square(s3, load4(a[3] + j), load4(b[3] + j));
        }
        double distance[TILE_PAIRS] = {finish(s0, a[0], b[0], j, d), finish(s1, a[1], b[1], j, d),
                                       finish(s2, a[2], b[2], j, d), finish(s3, a[3], b[3], j, d)};
        for (int p = 0; p < TILE_PAIRS && i + p < n; p++)
            out[i + p] = distance[p];
    }
}
#endif

void squared_distance_pairs_cpu(enum cpu_isa isa, double *out, const float *const *x,
                                const float *const *centres, int n, int d)
{
#if CPU_X86
    if (isa == CPU_AVX2) {
        pairs_avx2(out, x, centres, n, d);
        return;
    }
#endif
    (void)isa;
    for (int i = 0; i < n; i++)
        out[i] = distance_portable(x[i], centres[i], d);
}

void squared_distance_rows_cpu(enum cpu_isa isa, double *out, size_t out_stride, const float *x,
                               const float *centres, int n, int k, int d)
{
#if CPU_X86
    if (isa == CPU_AVX2) {
        rows_avx2(out, out_stride, x, centres, n, k, d);
        return;
    }
#endif
    (void)isa;
    rows_portable(out, out_stride, x, centres, n, k, d);
}

#define ROWS_PER_TASK 32 /* with one centre of 64 columns still 10 microseconds a task */

struct squared_distance_job {
    double *out;
    const float *x, *centres;
    int n, k, d;
    enum cpu_isa isa;
};

static void squared_distance_task(void *context, int task, int worker)
{
    (void)worker;
    const struct squared_distance_job *job = context;
    size_t first = (size_t)task * ROWS_PER_TASK;
    size_t left = (size_t)job->n - first;
    squared_distance_rows_cpu(job->isa, job->out + first * (size_t)job->k, (size_t)job->k,
                              job->x + first * (size_t)job->d, job->centres,
                              left < ROWS_PER_TASK ? (int)left : ROWS_PER_TASK, job->k, job->d);
}

void squared_distance_fwd_cpu(struct device *device, double *out, const float *x,
                              const float *centres, int n, int k, int d)
{
    struct squared_distance_job job = {out, x, centres, n, k, d, device->isa};
    int n_tasks = n / ROWS_PER_TASK + (n % ROWS_PER_TASK != 0);
    threads_run(device->threads, n_tasks, squared_distance_task, &job);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status squared_distance_fwd(struct device *device, double *out, const float *x,
                                 const float *centres, int n, int k, int d, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        squared_distance_fwd_cpu(device, out, x, centres, n, k, d);
        return STATUS_OK;
    case DEVICE_CUDA:
        break;
    }
    return device_lacks("squared_distance", err);
}

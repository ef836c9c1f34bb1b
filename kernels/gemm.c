/* The core of the CPU's matrix products. See gemm.h.
 *
 *   task: a block of rows of X (at most ROW_BLOCK) times a run of panels of W
 *     for each piece of GEMM_DEPTH columns                    its part of X: 408 KiB, stays in L2
 *       for each panel: decode it to scratch, [k][16]         16 KiB, stays in L1
 *         for each six rows: a tile of 6 x 16 sums in registers, added to Y
 *
 * A tile of 6 x 16 takes 12 of AVX2's 16 registers, 2 for the panel and 1 for X: 12 fused
 * multiply-adds for 8 loads, so that the loads hide behind the arithmetic. Decoding is spread over
 * up to 384 rows of X.
 *
 * The rows of a piece of X lie a row of X apart. Where that is 16 KiB they fall on the same few
 * sets of L1 and L2 and drive each other out, so a piece is copied to rows that lie close, if
 * enough panels use it (docs/speed.md). */
#include "kernels/gemm.h"

#include <string.h>
#include "kernels/cpu.h"

#define ROW_BLOCK 384
/* Of a piece's copy; the 16 keep its rows apart in L1. */
#define COPY_STRIDE (GEMM_DEPTH + 16)
/* Addresses so far apart share a set of L1, on every processor of today. */
#define L1_WAY_BYTES 4096
/* Of a run, where each worker has several. */
#define LEAST_PANELS 4
/* Rows of X whose product with a panel takes as long as decoding it. */
#define DECODING_ROWS 24
/* A copy takes about as long as half a panel. */
#define LEAST_PANELS_FOR_COPY 32

/* A tile's function for each number of rows. */
#define ROWS_1(row) row(0)
#define ROWS_2(row) ROWS_1(row) row(1)
#define ROWS_3(row) ROWS_2(row) row(2)
#define ROWS_4(row) ROWS_3(row) row(3)
#define ROWS_5(row) ROWS_4(row) row(4)
#define ROWS_6(row) ROWS_5(row) row(5)

/* ---- AVX2 ----------------------------------------------------------------------------------- */
/* The rows are spelled out by macros, so that every sum is a register whatever the compiler's
 * unrolling does. Four steps in one turn of the loop share the computing of row addresses, which
 * would cost 3 %. The prefetches fetch Y's lines while the sums are made: rows of Y are a page or
 * more apart. */

#if CPU_X86
#define AVX2_START(i)                                                                              \
    __m256 left##i = _mm256_setzero_ps(), right##i = _mm256_setzero_ps();                          \
    __builtin_prefetch(y + (i)*ldy, 1);
#define AVX2_STEP(i)                                                                               \
    {                                                                                              \
        __m256 value = _mm256_broadcast_ss(x + (i)*ldx + k);                                       \
        left##i = _mm256_fmadd_ps(value, w_left, left##i);                                         \
        right##i = _mm256_fmadd_ps(value, w_right, right##i);                                      \
    }
#define AVX2_END(i)                                                                                \
    {                                                                                              \
        float *out = y + (i)*ldy;                                                                  \
        if (add) {                                                                                 \
            left##i = _mm256_add_ps(_mm256_loadu_ps(out), left##i);                                \
            right##i = _mm256_add_ps(_mm256_loadu_ps(out + 8), right##i);                          \
        }                                                                                          \
        _mm256_storeu_ps(out, left##i);                                                            \
        _mm256_storeu_ps(out + 8, right##i);                                                       \
    }
#define AVX2_COLUMN(rows)                                                                          \
    {                                                                                              \
        __m256 w_left = _mm256_load_ps(panel + k * GEMM_PANEL);                                    \
        __m256 w_right = _mm256_load_ps(panel + k * GEMM_PANEL + 8);                               \
        ROWS_##rows(AVX2_STEP)                                                                     \
    }
#define AVX2_TILE(rows)                                                                            \
    TARGET_AVX2                                                                                    \
    static void tile_avx2_##rows(float *y, size_t ldy, const float *x, size_t ldx,                 \
                                 const float *panel, int depth, bool add)                          \
    {                                                                                              \
        ROWS_##rows(AVX2_START);                                                                   \
        _Pragma("GCC unroll 4") for (int k = 0; k < depth; k++) AVX2_COLUMN(rows)                  \
            ROWS_##rows(AVX2_END)                                                                  \
    }
AVX2_TILE(1)
AVX2_TILE(2)
AVX2_TILE(3)
AVX2_TILE(4)
AVX2_TILE(5)
AVX2_TILE(6)

TARGET_AVX2
static inline void fetch_line(struct gemm_ahead *ahead)
{
    if (ahead->row == ahead->end)
        return;
    __builtin_prefetch(*ahead->row + ahead->column, 0, 2); /* to L2: L1 holds the panel */
    ahead->column += 16;
    if (ahead->column >= ahead->n_columns)
        ahead->column = 0, ahead->row++;
}

#define AVX2_TILE_AHEAD(rows)                                                                      \
    TARGET_AVX2                                                                                    \
    static void tile_ahead_avx2_##rows(float *y, size_t ldy, const float *x, size_t ldx,           \
                                       const float *panel, int depth, bool add,                    \
                                       struct gemm_ahead *ahead)                                   \
    {                                                                                              \
        ROWS_##rows(AVX2_START);                                                                   \
        int k = 0;                                                                                 \
        while (k + 4 <= depth) {                                                                   \
            fetch_line(ahead);                                                                     \
            AVX2_COLUMN(rows) k++;                                                                 \
            AVX2_COLUMN(rows) k++;                                                                 \
            AVX2_COLUMN(rows) k++;                                                                 \
            AVX2_COLUMN(rows) k++;                                                                 \
        }                                                                                          \
        for (; k < depth; k++)                                                                     \
            AVX2_COLUMN(rows)                                                                      \
        ROWS_##rows(AVX2_END)                                                                      \
    }
AVX2_TILE_AHEAD(1)
AVX2_TILE_AHEAD(2)
AVX2_TILE_AHEAD(3)
AVX2_TILE_AHEAD(4)
AVX2_TILE_AHEAD(5)
AVX2_TILE_AHEAD(6)
#endif

/* ---- portable ------------------------------------------------------------------------------- */
/* The same with vectors of four floats, which gcc and clang map to what the machine has (SSE2,
 * NEON). Three rows fill its 16 registers. Product and sum are rounded apart. */

#define PORTABLE_START(i) float4 a##i = {0}, b##i = {0}, c##i = {0}, d##i = {0};
#define PORTABLE_STEP(i)                                                                           \
    {                                                                                              \
        float value = x[(i)*ldx + k];                                                              \
        a##i += value * w[0];                                                                      \
        b##i += value * w[1];                                                                      \
        c##i += value * w[2];                                                                      \
        d##i += value * w[3];                                                                      \
    }
#define PORTABLE_END(i)                                                                            \
    {                                                                                              \
        float4_at_any_float *out = (float4_at_any_float *)(y + (i)*ldy);                           \
        if (add)                                                                                   \
            a##i += out[0], b##i += out[1], c##i += out[2], d##i += out[3];                        \
        out[0] = a##i, out[1] = b##i, out[2] = c##i, out[3] = d##i;                                \
    }
#define PORTABLE_TILE(rows)                                                                        \
    static void tile_portable_##rows(float *y, size_t ldy, const float *x, size_t ldx,             \
                                     const float *panel, int depth, bool add)                      \
    {                                                                                              \
        ROWS_##rows(PORTABLE_START);                                                               \
        for (int k = 0; k < depth; k++) {                                                          \
            const float4_at_any_float *w = (const float4_at_any_float *)(panel + k * GEMM_PANEL);  \
            ROWS_##rows(PORTABLE_STEP)                                                             \
        }                                                                                          \
        ROWS_##rows(PORTABLE_END)                                                                  \
    }
PORTABLE_TILE(1)
PORTABLE_TILE(2)
PORTABLE_TILE(3)

/* ---- blocks --------------------------------------------------------------------------------- */

static const struct gemm_tiles portable_tiles = {
    3, {tile_portable_1, tile_portable_2, tile_portable_3}, {NULL}};
#if CPU_X86
static const struct gemm_tiles avx2_tiles = {
    6,
    {tile_avx2_1, tile_avx2_2, tile_avx2_3, tile_avx2_4, tile_avx2_5, tile_avx2_6},
    {tile_ahead_avx2_1, tile_ahead_avx2_2, tile_ahead_avx2_3, tile_ahead_avx2_4, tile_ahead_avx2_5,
     tile_ahead_avx2_6}};
#endif

const struct gemm_tiles *gemm_tiles(enum cpu_isa isa)
{
#if CPU_X86
    if (isa == CPU_AVX2)
        return &avx2_tiles;
#endif
    (void)isa;
    return &portable_tiles;
}

struct gemm_job {
    const struct device *device;
    const struct gemm_tiles *tiles;
    const struct gemm_weight *w;
    float *y;
    const float *x;
    int m;
    bool add;
    int rows_per_block;
    int panels_per_run, n_runs;
    bool copies_x; /* pieces of X */
};

/* y (m, n) += or = x (m, depth) times one panel, n <= 16 columns of it. */
static void multiply_panel(const struct gemm_job *job, float *y, const float *x, size_t ldx, int m,
                           int n, const float *panel, int depth, bool add)
{
    size_t ldy = (size_t)job->w->rows;
    for (int i = 0; i < m; i += job->tiles->largest) {
        int rows = m - i < job->tiles->largest ? m - i : job->tiles->largest;
        float *out = y + (size_t)i * ldy;
        gemm_tile *tile = job->tiles->by_rows[rows - 1];
        if (n == GEMM_PANEL) {
            tile(out, ldy, x + (size_t)i * ldx, ldx, panel, depth, add);
            continue;
        }
        float edge[GEMM_TILE_ROWS * GEMM_PANEL]; /* the last panel of W: not all 16 columns exist */
        tile(edge, GEMM_PANEL, x + (size_t)i * ldx, ldx, panel, depth, false);
        for (int r = 0; r < rows; r++)
            for (int j = 0; j < n; j++) {
                float sum = edge[r * GEMM_PANEL + j];
                out[(size_t)r * ldy + (size_t)j] =
                    add ? out[(size_t)r * ldy + (size_t)j] + sum : sum;
            }
    }
}

static void gemm_task(void *context, int task, int worker)
{
    const struct gemm_job *job = context;
    const struct gemm_weight *w = job->w;
    float *panel = device_scratch(job->device, worker);
    float *copy = panel + GEMM_DEPTH * GEMM_PANEL;
    int first_row = task / job->n_runs * job->rows_per_block;
    int m = job->m - first_row < job->rows_per_block ? job->m - first_row : job->rows_per_block;
    int first_column = task % job->n_runs * job->panels_per_run * GEMM_PANEL;
    int run = job->panels_per_run * GEMM_PANEL;
    int end_column = w->rows - first_column < run ? w->rows : first_column + run;
    const float *x = job->x + (size_t)first_row * (size_t)w->columns;
    float *y = job->y + (size_t)first_row * (size_t)w->rows;

    for (int k = 0; k < w->columns; k += GEMM_DEPTH) {
        int depth = w->columns - k < GEMM_DEPTH ? w->columns - k : GEMM_DEPTH;
        const float *piece = x + k;
        size_t ldx = (size_t)w->columns;
        if (job->copies_x) {
            for (int i = 0; i < m; i++)
                memcpy(copy + (size_t)i * COPY_STRIDE, piece + (size_t)i * ldx,
                       (size_t)depth * sizeof *copy);
            piece = copy;
            ldx = COPY_STRIDE;
        }
        for (int column = first_column; column < end_column; column += GEMM_PANEL) {
            int n = end_column - column < GEMM_PANEL ? end_column - column : GEMM_PANEL;
            w->decode(panel, w->matrix, column, n, k, depth);
            multiply_panel(job, y + column, piece, ldx, m, n, panel, depth, job->add || k > 0);
        }
    }
}

_Static_assert((GEMM_DEPTH * GEMM_PANEL + ROW_BLOCK * COPY_STRIDE) * sizeof(float) <=
                   DEVICE_SCRATCH_BYTES,
               "a worker's scratch holds a panel and a piece of X");

/* n / size, rounded up. */
static int pieces(int n, int size)
{
    return n / size + (n % size != 0);
}

/* Panels of a run of W where each worker takes `each` runs with one of the blocks of rows of X. */
static int run_length(int n_panels, int n_blocks, int n_workers, int each)
{
    return pieces(n_panels, pieces(each * n_workers, n_blocks));
}

/* Row blocks of equal size, in whole tiles. Returns how many they are, at most n_blocks. */
static int cut_rows(struct gemm_job *job, int n_blocks)
{
    job->rows_per_block = pieces(pieces(job->m, n_blocks), GEMM_TILE_ROWS) * GEMM_TILE_ROWS;
    return pieces(job->m, job->rows_per_block);
}

/* What the busiest worker has to do, in panels times rows. */
static int64_t longest_work(int m, int n_panels, int n_blocks, int panels_per_run, int n_workers)
{
    int64_t n_tasks = (int64_t)n_blocks * pieces(n_panels, panels_per_run);
    int64_t each = n_tasks / n_workers + (n_tasks % n_workers != 0);
    return each * panels_per_run * (pieces(m, n_blocks) + DECODING_ROWS);
}

/* A weight of so few panels (an adapter's) that their runs would not give each worker one: single
 * panels, or more and smaller blocks of rows. Returns the number of blocks. */
static int share_few_panels(struct gemm_job *job, int n_panels, int n_blocks, int n_workers)
{
    int64_t best = INT64_MAX;
    int blocks = n_blocks;
    for (int b = n_blocks; b <= n_blocks + n_workers && b <= job->m; b++)
        for (int run = n_panels; run >= 1; run = run > 1 ? 1 : 0) {
            int64_t work = longest_work(job->m, n_panels, b, run, n_workers);
            if (work < best)
                best = work, blocks = b, job->panels_per_run = run;
        }
    return blocks;
}

void gemm_cpu(struct device *device, float *y, const float *x, const struct gemm_weight *w, int m,
              bool add)
{
    if (m <= 0)
        return;
    struct gemm_job job = {.device = device, .w = w, .y = y, .x = x, .m = m, .add = add};
    job.tiles = gemm_tiles(device->isa);
    int n_blocks = pieces(m, ROW_BLOCK), n_panels = pieces(w->rows, GEMM_PANEL);
    int n_workers = threads_size(device->threads);
    if (n_workers > 1 && n_panels < LEAST_PANELS * n_workers) {
        n_blocks = cut_rows(&job, share_few_panels(&job, n_panels, n_blocks, n_workers));
    } else {
        n_blocks = cut_rows(&job, n_blocks);
        /* Several runs for each worker, so that one that is held up does not hold up all; but runs
         * long enough that X's part is not fetched, or copied where that helps, for little, unless
         * each worker has no more than one. */
        bool same_sets = (size_t)w->columns * sizeof(float) % L1_WAY_BYTES == 0;
        bool may_copy = run_length(n_panels, n_blocks, n_workers, 1) >= LEAST_PANELS_FOR_COPY;
        int least = same_sets && may_copy ? LEAST_PANELS_FOR_COPY : LEAST_PANELS;
        for (int each = n_workers == 1 ? 1 : 3; each >= 1; each--) {
            job.panels_per_run = run_length(n_panels, n_blocks, n_workers, each);
            if (job.panels_per_run >= least)
                break;
        }
    }
    job.copies_x = job.panels_per_run >= LEAST_PANELS_FOR_COPY;
    job.n_runs = pieces(n_panels, job.panels_per_run);
    threads_run(device->threads, n_blocks * job.n_runs, gemm_task, &job);
}

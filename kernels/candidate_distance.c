/* Distances to a few candidates: CPU code, CUDA launch and dispatch.
 *
 *   task: some rows
 *     for each chunk of at most 48 candidates
 *       for each block of rows, for each piece of columns
 *         pack the candidates' piece: [tile][8 columns][candidate][8]                    in L1
 *         for each tile of at most 12 candidates, for each row
 *           eight sums a candidate, in registers
 *       eight sums to one, for eight elements at a time
 *
 * Where rows are wider than a piece, what is packed serves a block of 64 of them, and their sums
 * wait in scratch from piece to piece. Else it serves the whole task, and blocks are of 16 rows,
 * whose sums stay in L1.
 *
 * x is meant to come from memory as fast as it can, beside two operations (a difference, a fused
 * multiply-add) for each of its values and candidates. What the processor looks ahead by itself is
 * then a few hundred bytes, and it does not cross pages, whose translation may take longer than the
 * memory. Hence lines are fetched NEAR bytes ahead of their use, and one of each page FAR ahead. */
#include "kernels/candidate_distance.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "host/base/cuda_device.h"
#include "host/base/at_most.h"
#include "host/base/divide_up.h"
#include "kernels/candidate_distance_job.h"
#include "kernels/cpu.h"
#ifdef __FP_FAST_FMAF
#include <math.h>
#endif

#define LANES 8

/* ---- portable ------------------------------------------------------------------------------- */

/* fma(a, a, sum), sum >= 0. Where that is no instruction, fmaf is a call, and a slow one on
 * processors without it. The square is exact in float64. Its sum with `sum` is rounded to odd:
 * where it is not exact, to that one of the two float64 around it which ends in 1. Then rounding
 * once more to float32 gives what the exact sum would have (Boldo and Melquiond 2008). */
static inline float add_square(float a, float sum)
{
#ifdef __FP_FAST_FMAF
    return fmaf(a, a, sum);
#else
    double square = (double)a * (double)a, wide = square + (double)sum;
    double part = wide - square, error = (square - (wide - part)) + ((double)sum - part);
    int64_t bits;
    memcpy(&bits, &wide, sizeof bits);
    if (!(bits & 1))
        bits += (error > 0) - (error < 0); /* neither for NaN and infinities */
    memcpy(&wide, &bits, sizeof wide);
    return (float)wide;
#endif
}

static float distance_portable(const float *x, const float *c, int d)
{
    float p[LANES] = {0};
    int j = 0;
    for (; j + LANES <= d; j += LANES)
        for (int lane = 0; lane < LANES; lane++)
            p[lane] = add_square(x[j + lane] - c[j + lane], p[lane]);
    for (int lane = 0; j + lane < d; lane++)
        p[lane] = add_square(x[j + lane] - c[j + lane], p[lane]);
    return ((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7]));
}

/* ---- AVX2 ----------------------------------------------------------------------------------- */

#if CPU_X86
#define MOST_TRIALS  12   /* of a tile: with their differences and a piece of x all 16 registers */
#define PAIRED       6    /* up to so many, two rows at once: else a sum would wait for itself */
#define MOST_CHUNK   48   /* candidates */
#define PACKED       5120 /* floats of a tile's packed candidates: 20 KB */
#define BLOCK        16   /* rows */
#define BLOCK_PIECES 64   /* rows, where a row has several pieces */
#define NEAR         6144
#define FAR          16384
#define PAGE         4096

/* A worker's scratch. */
struct block {
    float partial[BLOCK_PIECES * MOST_CHUNK + LANES][LANES]; /* (rows, candidates), some behind */
    float sums[BLOCK_PIECES * MOST_CHUNK + LANES];
    float packed[MOST_CHUNK / MOST_TRIALS][PACKED];
};

_Static_assert(sizeof(struct block) <= DEVICE_SCRATCH_BYTES, "scratch holds a block");

/* Some columns of some rows, and of a tile's candidates. */
struct tile {
    float (*partial)[LANES]; /* of the first row's first candidate */
    size_t partial_stride;   /* from row to row */
    const float *x;
    size_t d, near, far; /* a row; how many elements ahead lines are fetched: whole rows */
    const float *packed; /* behind the last column zeros */
    int rows, columns;
    bool first; /* these are a row's first columns: sums begin at 0 */
};

typedef void tile_function(const struct tile *tile);

/* Eight columns. Which way round the difference is taken changes no square. A candidate serves one
 * row from memory, two from a register. */
TARGET_AVX2
static inline __attribute__((always_inline)) void
add_columns(__m256 *a, __m256 *b, __m256 x, __m256 y, const float *packed, int trials, bool paired)
{
    UNROLL
    for (int t = 0; t < trials; t++) {
        __m256 c = _mm256_load_ps(packed + t * LANES);
        __m256 difference = paired ? _mm256_sub_ps(c, x) : _mm256_sub_ps(x, c);
        a[t] = _mm256_fmadd_ps(difference, difference, a[t]);
        if (paired) {
            difference = _mm256_sub_ps(c, y);
            b[t] = _mm256_fmadd_ps(difference, difference, b[t]);
        }
    }
}

/* A macro: gcc drops the call of a function that does nothing else. What lies ahead may be beyond
 * the array, where no pointer may point. */
#define FETCH(x, ahead)                                                                            \
    _mm_prefetch((const char *)((uintptr_t)(x) + (ahead) * sizeof *(x)), _MM_HINT_T0)

/* A row, or two; trials and paired are constants wherever this is inlined, so that the arrays are
 * registers. A last row without a second is its own. */
TARGET_AVX2
static inline __attribute__((always_inline)) void rows_avx2(const struct tile *tile, int row,
                                                            int trials, bool paired)
{
    bool both = paired && row + 1 < tile->rows;
    size_t to_second = both ? tile->d : 0;
    const float *x = tile->x + (size_t)row * tile->d, *packed = tile->packed;
    const float *whole = x + tile->columns / (2 * LANES) * (2 * LANES);
    float(*p)[LANES] = tile->partial + (size_t)row * tile->partial_stride;
    float(*q)[LANES] = p + (both ? tile->partial_stride : 0);
    __m256 a[MOST_TRIALS], b[MOST_TRIALS];
    UNROLL
    for (int t = 0; t < trials; t++) {
        a[t] = tile->first ? _mm256_setzero_ps() : _mm256_load_ps(p[t]);
        if (paired)
            b[t] = tile->first ? _mm256_setzero_ps() : _mm256_load_ps(q[t]);
    }
    for (int j = 0; j < tile->columns; j += PAGE / (int)sizeof *x) {
        FETCH(x, tile->far + (size_t)j);
        if (paired)
            FETCH(x, to_second + tile->far + (size_t)j);
    }
    for (; x < whole; x += 2 * LANES, packed += 2 * LANES * trials) {
        FETCH(x, tile->near);
        if (paired)
            FETCH(x, to_second + tile->near);
        add_columns(a, b, _mm256_loadu_ps(x), _mm256_loadu_ps(x + to_second), packed, trials,
                    paired);
        add_columns(a, b, _mm256_loadu_ps(x + LANES), _mm256_loadu_ps(x + to_second + LANES),
                    packed + LANES * trials, trials, paired);
    }
    /* Zeros less zeros, where there is no column: they change no sum. */
    for (int left = tile->columns % (2 * LANES); left > 0; left -= LANES) {
        __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        __m256i there = _mm256_cmpgt_epi32(_mm256_set1_epi32(left), lane);
        add_columns(a, b, _mm256_maskload_ps(x, there), _mm256_maskload_ps(x + to_second, there),
                    packed, trials, paired);
        x += LANES, packed += LANES * trials;
    }
    UNROLL
    for (int t = 0; t < trials; t++) {
        _mm256_store_ps(p[t], a[t]);
        if (paired)
            _mm256_store_ps(q[t], b[t]);
    }
}

#define AVX2_TILE(trials)                                                                          \
    TARGET_AVX2                                                                                    \
    static void tile_avx2_##trials(const struct tile *tile)                                        \
    {                                                                                              \
        for (int row = 0; row < tile->rows; row += trials <= PAIRED ? 2 : 1)                       \
            rows_avx2(tile, row, trials, trials <= PAIRED);                                        \
    }
AVX2_TILE(1)
AVX2_TILE(2)
AVX2_TILE(3)
AVX2_TILE(4)
AVX2_TILE(5)
AVX2_TILE(6)
AVX2_TILE(7)
AVX2_TILE(8)
AVX2_TILE(9)
AVX2_TILE(10)
AVX2_TILE(11)
AVX2_TILE(12)

static tile_function *const avx2_tiles[MOST_TRIALS] = {
    tile_avx2_1, tile_avx2_2, tile_avx2_3, tile_avx2_4,  tile_avx2_5,  tile_avx2_6,
    tile_avx2_7, tile_avx2_8, tile_avx2_9, tile_avx2_10, tile_avx2_11, tile_avx2_12};

/* n elements' sums of their eight, n rounded up to a multiple of eight: the halves of eight vectors
 * are added, then quarters, then pairs. */
TARGET_AVX2
static void finish_avx2(float *sums, float (*partial)[LANES], int n)
{
    for (int i = 0; i < n; i += LANES) {
        __m256 four[4], two[2];
        UNROLL
        for (int e = 0; e < 4; e++) { /* elements e and e + 4: p[l] + p[l + 4] */
            __m256 a = _mm256_load_ps(partial[i + e]), b = _mm256_load_ps(partial[i + e + 4]);
            four[e] = _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20),
                                    _mm256_permute2f128_ps(a, b, 0x31));
        }
        UNROLL
        for (int e = 0; e < 2; e++) { /* 2 e and 2 e + 1, and these + 4 */
            __m256d a = _mm256_castps_pd(four[2 * e]), b = _mm256_castps_pd(four[2 * e + 1]);
            two[e] = _mm256_add_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(a, b)),
                                   _mm256_castpd_ps(_mm256_unpackhi_pd(a, b)));
        }
        _mm256_store_ps(sums + i, _mm256_add_ps(_mm256_shuffle_ps(two[0], two[1], 0x88),
                                                _mm256_shuffle_ps(two[0], two[1], 0xDD)));
    }
}

/* Columns of candidates a row of d apart, eight of each in turn. */
static void pack(float *packed, const float *c, size_t d, int trials, int columns)
{
    int whole = columns / LANES * LANES;
    for (int t = 0; t < trials; t++) {
        const float *from = c + (size_t)t * d;
        float *to = packed + t * LANES;
        for (int j = 0; j < whole; j += LANES, to += trials * LANES)
            memcpy(to, from + j, LANES * sizeof *to);
        if (whole < columns) {
            memset(to, 0, LANES * sizeof *to);
            memcpy(to, from + whole, (size_t)(columns - whole) * sizeof *to);
        }
    }
}
#endif

/* ---- tasks ---------------------------------------------------------------------------------- */

/* Rows of a task: so many, and so many bytes, at least. */
#define TASK_ROWS  64
#define TASK_BYTES (128 << 10)

struct candidate_job {
    const struct device *device;
    float *out;
    const float *x, *c;
    int n, t, d, rows_per_task;
};

#if CPU_X86
/* Some columns of a chunk of candidates. */
struct piece {
    int trial, n_trials, column, n_columns;
    bool packed; /* for the block before */
};

static void piece_avx2(struct block *block, const struct candidate_job *job,
                       const struct piece *piece, int row, int rows)
{
    size_t d = (size_t)job->d;
    int n_tiles = (int)divide_up(piece->n_trials, MOST_TRIALS);
    size_t row_bytes = (size_t)piece->n_columns * sizeof(float);
    struct tile tile = {
        .partial_stride = (size_t)piece->n_trials,
        .x = job->x + (size_t)row * d + (size_t)piece->column,
        .d = d,
        .near = (NEAR + row_bytes - 1) / row_bytes * d,
        .far = (FAR + row_bytes - 1) / row_bytes * d,
        .rows = rows,
        .columns = piece->n_columns,
        .first = piece->column == 0,
    };
    for (int i = 0, at = 0; i < n_tiles; i++) {
        int trials = piece->n_trials / n_tiles + (i < piece->n_trials % n_tiles);
        const float *c = job->c + (size_t)(piece->trial + at) * d + (size_t)piece->column;
        if (!piece->packed)
            pack(block->packed[i], c, d, trials, piece->n_columns);
        tile.packed = block->packed[i];
        tile.partial = block->partial + at;
        avx2_tiles[trials - 1](&tile);
        at += trials;
    }
}

static void candidates_avx2(struct block *block, const struct candidate_job *job, int first,
                            int last)
{
    int n_chunks = (int)divide_up(job->t, MOST_CHUNK);
    struct piece piece = {.trial = 0};
    for (int i = 0; i < n_chunks; i++, piece.trial += piece.n_trials) {
        piece.n_trials = job->t / n_chunks + (i < job->t % n_chunks);
        int widest = (int)divide_up(piece.n_trials, divide_up(piece.n_trials, MOST_TRIALS));
        int most = PACKED / widest / (2 * LANES) * (2 * LANES);
        int n_pieces = (int)divide_up(job->d, most);
        int width = (int)divide_up(divide_up(job->d, n_pieces), 2 * LANES) * 2 * LANES;
        int step = n_pieces == 1 ? BLOCK : BLOCK_PIECES;
        for (int row = first; row < last; row += step) {
            int rows = at_most(last - row, step), n = rows * piece.n_trials;
            for (piece.column = 0; piece.column < job->d; piece.column += width) {
                piece.n_columns = at_most(job->d - piece.column, width);
                piece.packed = n_pieces == 1 && row > first;
                piece_avx2(block, job, &piece, row, rows);
            }
            finish_avx2(block->sums, block->partial, n);
            float *out = job->out + (size_t)row * (size_t)job->t + (size_t)piece.trial;
            if (n_chunks == 1) {
                memcpy(out, block->sums, (size_t)n * sizeof *out);
                continue;
            }
            for (int r = 0; r < rows; r++)
                memcpy(out + (size_t)r * (size_t)job->t, block->sums + r * piece.n_trials,
                       (size_t)piece.n_trials * sizeof *out);
        }
    }
}
#endif

static void candidate_task(void *context, int task, int worker)
{
    const struct candidate_job *job = context;
    int first = task * job->rows_per_task,
        last = first + at_most(job->n - first, job->rows_per_task);
#if CPU_X86
    if (job->device->isa == CPU_AVX2) {
        candidates_avx2(device_scratch(job->device, worker), job, first, last);
        return;
    }
#endif
    (void)worker;
    for (int i = first; i < last; i++)
        for (int t = 0; t < job->t; t++)
            job->out[(size_t)i * (size_t)job->t + (size_t)t] = distance_portable(
                job->x + (size_t)i * (size_t)job->d, job->c + (size_t)t * (size_t)job->d, job->d);
}

void candidate_distance_fwd_cpu(struct device *device, float *out, const float *x, const float *c,
                                int n, int t, int d)
{
    struct candidate_job job = {device, out, x, c, n, t, d, TASK_ROWS};
    int rows = TASK_BYTES / (int)sizeof *x / d;
    if (rows > TASK_ROWS)
        job.rows_per_task = rows / TASK_ROWS * TASK_ROWS;
    if (t > 0)
        threads_run(device->threads, (int)divide_up(n, job.rows_per_task), candidate_task, &job);
}

/* ---- CUDA ----------------------------------------------------------------------------------- */

/* Groups of t candidates, equal but for the last: those that take a multiprocessor least, a warp
 * with T candidates having 2 T operations for one that it has besides. */
static int groups_of(int t)
{
    int best = 0, least = 0;
    for (int groups = (int)divide_up(t, CANDIDATE_MOST); groups <= CANDIDATE_GROUPS; groups++) {
        int of_warp = (int)divide_up(t, groups), work = groups * (2 * of_warp + 1);
        if (best == 0 || (of_warp >= CANDIDATE_LEAST && work < least))
            best = groups, least = work;
    }
    return best;
}

enum status candidate_distance_fwd_cuda(struct device *device, float *out, const float *x,
                                        const float *c, int n, int t, int d, struct err *err)
{
    static const char *const names[2][CANDIDATE_MOST] = {
        {[CANDIDATE_LEAST - 1] = "candidate_distance_5",
         "candidate_distance_6",
         "candidate_distance_7",
         "candidate_distance_8"},
        {"candidate_distance_few_1", "candidate_distance_few_2", "candidate_distance_few_3",
         "candidate_distance_few_4", "candidate_distance_few_5", "candidate_distance_few_6",
         "candidate_distance_few_7", "candidate_distance_few_8"}};
    if (n == 0 || t == 0)
        return STATUS_OK;
    int per_chunk = (int)divide_up(t, divide_up(t, CANDIDATE_MOST * CANDIDATE_GROUPS));
    int n_chunks = (int)divide_up(t, per_chunk), groups = groups_of(per_chunk);
    int of_warp = (int)divide_up(per_chunk, groups);
    bool few = groups == 1; /* two warps have 16 rows each */
    int stage = CANDIDATE_ROWS * CANDIDATE_STRIDE + groups * of_warp * CANDIDATE_COLUMNS;
    struct candidate_distance_job job = {out, x, c, n, t, d, n_chunks, per_chunk};
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "candidate_distance",
                           .name = names[few][of_warp - 1],
                           .grid = {(unsigned)(divide_up(n, CANDIDATE_ROWS) * n_chunks), 1, 1},
                           .block = {(unsigned)(few ? 64 : 32 * groups), 1, 1},
                           .shared = (unsigned)(CANDIDATE_STAGES * stage) * (unsigned)sizeof(float),
                           .values = (void *[]){&job},
                       },
                       err);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status candidate_distance_fwd(struct device *device, float *out, const float *x,
                                   const float *c, int n, int t, int d, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        candidate_distance_fwd_cpu(device, out, x, c, n, t, d);
        return STATUS_OK;
    case DEVICE_CUDA:
        return candidate_distance_fwd_cuda(device, out, x, c, n, t, d, err);
    }
    return device_lacks("candidate_distance", err);
}

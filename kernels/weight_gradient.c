/* The gradient by a weight: CPU code, dispatch; weight_gradient_cuda.c has the launches.
 *
 *   task: a block of dw, at most 96 rows x 128 columns
 *     for each unit, for each piece of it of at most 256 rows t
 *       pack the block's columns of dy: [tile][t][6] and of x: [panel][t][16]     in L2
 *       for each panel: for each tile: 6 x 16 sums in registers, over t
 *
 * Both operands are read down their columns, whose elements lie a row apart: packed once for a
 * block, they are read in a line, and rows a power of two apart do not drive each other out of the
 * caches. A packed element of dy serves 128 columns, one of x 96 rows.
 *
 * A tile's 12 fused multiply-adds take 2 loads of x and 6 broadcasts of dy, as in gemm.c. Rows are
 * shared out evenly among a block's tiles: 32 are 2 tiles of 6 and 4 of 5, since a tile of 2 rows
 * would wait for its own sums. At the end of a unit a tile is added to dw; between the pieces of a
 * long unit its sums wait in scratch, which changes no bit. Threads share out dw, never t. */
#include "kernels/weight_gradient.h"

#include <stdbool.h>
#include <string.h>
#include "host/base/at_most.h"
#include "kernels/cpu.h"

#define TILE_ROWS    6
#define PANEL        16
#define BLOCK_TILES  16
#define BLOCK_PANELS 8
#define DEPTH        256
/* Where blocks are cut smaller, so that every thread has some: packing still pays. */
#define LEAST_PANELS 4
#define LEAST_TILES  4

/* A worker's scratch. */
struct packed {
    float x[BLOCK_PANELS][DEPTH * PANEL];
    float dy[BLOCK_TILES][DEPTH * TILE_ROWS];
    float sums[BLOCK_PANELS][BLOCK_TILES][TILE_ROWS * PANEL];
};

_Static_assert(sizeof(struct packed) <= DEVICE_SCRATCH_BYTES, "scratch holds a packed block");

/* Of a unit, which piece this is: the first begins its sums from 0, the last adds them to dw. */
struct piece {
    int depth;
    bool first, last;
};

/* sums (rows, 16) go on by sum_t dy[t][i] * x[t][r] for t in 0 .. depth-1; at the end of the unit
 * they are added to dw (rows, 16), whose rows lie ldw apart. A function for each number of rows. */
typedef void tile_function(float *dw, size_t ldw, float *sums, const float *dy, const float *x,
                           const struct piece *piece);

/* ---- AVX2 ----------------------------------------------------------------------------------- */

#if CPU_X86
/* rows is a constant wherever this is inlined, so that the arrays are registers. */
TARGET_AVX2
static inline __attribute__((always_inline)) void tile_avx2(float *dw, size_t ldw, float *sums,
                                                            const float *dy, const float *x,
                                                            const struct piece *piece, int rows)
{
    __m256 left[TILE_ROWS], right[TILE_ROWS];
    int depth = piece->depth;
    UNROLL
    for (int i = 0; i < rows; i++) {
        left[i] = piece->first ? _mm256_setzero_ps() : _mm256_load_ps(sums + i * PANEL);
        right[i] = piece->first ? _mm256_setzero_ps() : _mm256_load_ps(sums + i * PANEL + 8);
        __builtin_prefetch(dw + (size_t)i * ldw, 1);
    }
    for (int t = 0; t < depth; t++) {
        __m256 x_left = _mm256_load_ps(x + t * PANEL), x_right = _mm256_load_ps(x + t * PANEL + 8);
        UNROLL
        for (int i = 0; i < rows; i++) {
            __m256 value = _mm256_broadcast_ss(dy + t * TILE_ROWS + i);
            left[i] = _mm256_fmadd_ps(value, x_left, left[i]);
            right[i] = _mm256_fmadd_ps(value, x_right, right[i]);
        }
    }
    if (piece->last) {
        UNROLL
        for (int i = 0; i < rows; i++) {
            float *out = dw + (size_t)i * ldw;
            _mm256_storeu_ps(out, _mm256_add_ps(_mm256_loadu_ps(out), left[i]));
            _mm256_storeu_ps(out + 8, _mm256_add_ps(_mm256_loadu_ps(out + 8), right[i]));
        }
        return;
    }
    UNROLL
    for (int i = 0; i < rows; i++) {
        _mm256_store_ps(sums + i * PANEL, left[i]);
        _mm256_store_ps(sums + i * PANEL + 8, right[i]);
    }
}

#define AVX2_TILE(rows)                                                                            \
    TARGET_AVX2                                                                                    \
    static void tile_avx2_##rows(float *dw, size_t ldw, float *sums, const float *dy,              \
                                 const float *x, const struct piece *piece)                        \
    {                                                                                              \
        tile_avx2(dw, ldw, sums, dy, x, piece, rows);                                              \
    }
AVX2_TILE(1)
AVX2_TILE(2)
AVX2_TILE(3)
AVX2_TILE(4)
AVX2_TILE(5)
AVX2_TILE(6)

static tile_function *const avx2_tiles[] = {tile_avx2_1, tile_avx2_2, tile_avx2_3,
                                            tile_avx2_4, tile_avx2_5, tile_avx2_6};
#endif

/* ---- portable ------------------------------------------------------------------------------- */

/* At most three rows, a constant wherever this is inlined: 12 of SSE2's or NEON's 16 registers.
 * Product and sum are rounded apart. */
static inline __attribute__((always_inline)) void rows_portable(float *dw, size_t ldw, float *sums,
                                                                const float *dy, const float *x,
                                                                const struct piece *piece, int rows)
{
    float4 sum[3][4] = {{{0}}};
    if (!piece->first) {
        UNROLL
        for (int i = 0; i < 4 * rows; i++)
            sum[i / 4][i % 4] = ((const float4_at_any_float *)sums)[i];
    }
    for (int t = 0; t < piece->depth; t++) {
        const float4_at_any_float *in = (const float4_at_any_float *)(x + t * PANEL);
        UNROLL
        for (int i = 0; i < rows; i++) {
            float value = dy[t * TILE_ROWS + i];
            sum[i][0] += value * in[0];
            sum[i][1] += value * in[1];
            sum[i][2] += value * in[2];
            sum[i][3] += value * in[3];
        }
    }
    UNROLL
    for (int i = 0; i < 4 * rows; i++)
        if (piece->last)
            ((float4_at_any_float *)(dw + (size_t)(i / 4) * ldw))[i % 4] += sum[i / 4][i % 4];
        else
            ((float4_at_any_float *)sums)[i] = sum[i / 4][i % 4];
}

#define PORTABLE_TILE(rows)                                                                        \
    static void tile_portable_##rows(float *dw, size_t ldw, float *sums, const float *dy,          \
                                     const float *x, const struct piece *piece)                    \
    {                                                                                              \
        rows_portable(dw, ldw, sums, dy, x, piece, rows < 3 ? rows : 3);                           \
        if (rows > 3)                                                                              \
            rows_portable(dw + 3 * ldw, ldw, sums + 3 * PANEL, dy + 3, x, piece, rows - 3);        \
    }
PORTABLE_TILE(1)
PORTABLE_TILE(2)
PORTABLE_TILE(3)
PORTABLE_TILE(4)
PORTABLE_TILE(5)
PORTABLE_TILE(6)

static tile_function *const portable_tiles[] = {tile_portable_1, tile_portable_2, tile_portable_3,
                                                tile_portable_4, tile_portable_5, tile_portable_6};

/* ---- blocks --------------------------------------------------------------------------------- */

struct gradient_job {
    const struct device *device;
    tile_function *const *tiles; /* [r - 1] takes r rows */
    float *dw;
    const float *dy, *x;
    const int32_t *units;
    int n_units, rows, columns;
    int tiles_per_block, panels_per_block, blocks_across;
};

/* A block of dw; tile a has its rows begin[a] .. begin[a + 1] - 1. */
struct block {
    int row, n_tiles, begin[BLOCK_TILES + 1];
    int column, n_columns, n_panels;
};

/* n / size, rounded up. */
static int pieces(int n, int size)
{
    return n / size + (n % size != 0);
}

/* A few rows of one tile or panel after another: enough to be a loop of copies, and so few that
 * they stay in L1 where rows share a set. */
#define ROWS_AT_ONCE 4
/* How far ahead lines are fetched: pieces of rows, rows apart, are nothing that the hardware
 * guesses. */
#define ROWS_AHEAD 8

/* Of a matrix whose rows lie `stride` apart. */
struct source {
    const float *at;
    size_t stride, ahead;
    int n_rows;
};

/* From row t of a piece on, whose first is row `first` of `from`. */
static struct source source_of(const float *from, int columns, int first, int t, int depth)
{
    struct source source = {.stride = (size_t)columns};
    source.at = from + (size_t)(first + t) * source.stride;
    source.n_rows = at_most(depth - t, ROWS_AT_ONCE);
    source.ahead = t + ROWS_AHEAD + ROWS_AT_ONCE <= depth ? ROWS_AHEAD * source.stride : 0;
    return source;
}

/* n columns from `column` on to rows of `width`. n is a constant wherever that counts. */
static inline __attribute__((always_inline)) void
copy_rows(float *out, int width, const struct source *source, int column, int n)
{
    const float *in = source->at + column;
    for (int t = 0; t < source->n_rows; t++, out += width, in += source->stride) {
        __builtin_prefetch(in + source->ahead);
        memcpy(out, in, (size_t)n * sizeof *out);
    }
}

static void pack_dy(struct packed *packed, const struct gradient_job *job,
                    const struct block *block, int first, int depth)
{
    for (int t = 0; t < depth; t += ROWS_AT_ONCE) {
        struct source source = source_of(job->dy + block->row, job->rows, first, t, depth);
        for (int tile = 0; tile < block->n_tiles; tile++) {
            int begin = block->begin[tile], n = block->begin[tile + 1] - begin;
            float *out = packed->dy[tile] + t * TILE_ROWS;
            if (n == TILE_ROWS)
                copy_rows(out, TILE_ROWS, &source, begin, TILE_ROWS);
            else if (n == TILE_ROWS - 1)
                copy_rows(out, TILE_ROWS, &source, begin, TILE_ROWS - 1);
            else
                copy_rows(out, TILE_ROWS, &source, begin, n);
        }
    }
}

/* Lanes beyond the last column are not used, but what scratch holds may be subnormal, and slow: 0.
 */
static void pack_x(struct packed *packed, const struct gradient_job *job, const struct block *block,
                   int first, int depth)
{
    for (int t = 0; t < depth; t += ROWS_AT_ONCE) {
        struct source source = source_of(job->x + block->column, job->columns, first, t, depth);
        for (int panel = 0; panel < block->n_panels; panel++) {
            int begin = panel * PANEL, n = at_most(block->n_columns - begin, PANEL);
            float *out = packed->x[panel] + t * PANEL;
            if (n == PANEL) {
                copy_rows(out, PANEL, &source, begin, PANEL);
            } else {
                memset(out, 0, ROWS_AT_ONCE * PANEL * sizeof *out);
                copy_rows(out, PANEL, &source, begin, n);
            }
        }
    }
}

static void add_tile(const struct gradient_job *job, const struct block *block,
                     struct packed *packed, int panel, int tile, const struct piece *piece)
{
    int begin = block->begin[tile], n_rows = block->begin[tile + 1] - begin;
    int n = at_most(block->n_columns - panel * PANEL, PANEL);
    float *dw = job->dw + (size_t)(block->row + begin) * (size_t)job->columns + block->column +
                panel * PANEL;
    float *sums = packed->sums[panel][tile];
    tile_function *add = job->tiles[n_rows - 1];
    if (n == PANEL || !piece->last) {
        add(dw, (size_t)job->columns, sums, packed->dy[tile], packed->x[panel], piece);
        return;
    }
    float edge[TILE_ROWS * PANEL] = {0}; /* the last panel: not all 16 columns exist */
    add(edge, PANEL, sums, packed->dy[tile], packed->x[panel], piece);
    for (int i = 0; i < n_rows; i++)
        for (int j = 0; j < n; j++)
            dw[(size_t)i * (size_t)job->columns + (size_t)j] += edge[i * PANEL + j];
}

static void gradient_task(void *context, int task, int worker)
{
    const struct gradient_job *job = context;
    struct packed *packed = device_scratch(job->device, worker);
    struct block block = {
        .row = task / job->blocks_across * job->tiles_per_block * TILE_ROWS,
        .column = task % job->blocks_across * job->panels_per_block * PANEL,
    };
    int n_rows = at_most(job->rows - block.row, job->tiles_per_block * TILE_ROWS);
    block.n_columns = at_most(job->columns - block.column, job->panels_per_block * PANEL);
    block.n_panels = pieces(block.n_columns, PANEL);
    block.n_tiles = pieces(n_rows, TILE_ROWS);
    for (int tile = 0; tile <= block.n_tiles; tile++)
        block.begin[tile] = tile * n_rows / block.n_tiles;
    for (int u = 0; u < job->n_units; u++)
        for (int t = job->units[u]; t < job->units[u + 1]; t += DEPTH) {
            struct piece piece = {.depth = at_most(job->units[u + 1] - t, DEPTH)};
            piece.first = t == job->units[u];
            piece.last = t + piece.depth == job->units[u + 1];
            pack_dy(packed, job, &block, t, piece.depth);
            pack_x(packed, job, &block, t, piece.depth);
            for (int panel = 0; panel < block.n_panels; panel++)
                for (int tile = 0; tile < block.n_tiles; tile++)
                    add_tile(job, &block, packed, panel, tile, &piece);
        }
}

/* Cuts n into so many parts of equal size that there are `wanted`, or parts of `least`, but none of
 * more than `most`: returns the size. */
static int part_size(int n, int most, int least, int wanted)
{
    int parts = at_most(wanted, n / least);
    return pieces(n, parts > pieces(n, most) ? parts : pieces(n, most));
}

void weight_gradient_cpu(struct device *device, float *dw, const float *dy, const float *x,
                         const int32_t *units, int n_units, int rows, int columns)
{
    struct gradient_job job = {.device = device,
                               .tiles = portable_tiles,
                               .dw = dw,
                               .dy = dy,
                               .x = x,
                               .units = units,
                               .n_units = n_units,
                               .rows = rows,
                               .columns = columns};
#if CPU_X86
    if (device->isa == CPU_AVX2)
        job.tiles = avx2_tiles;
#endif
    /* Several blocks for each worker, so that one that is held up does not hold up all. */
    int n_workers = threads_size(device->threads), wanted = n_workers == 1 ? 1 : 3 * n_workers;
    int n_tiles = pieces(rows, TILE_ROWS), n_panels = pieces(columns, PANEL);
    int blocks_down = pieces(n_tiles, BLOCK_TILES);
    job.panels_per_block =
        part_size(n_panels, BLOCK_PANELS, LEAST_PANELS, pieces(wanted, blocks_down));
    job.blocks_across = pieces(n_panels, job.panels_per_block);
    job.tiles_per_block =
        part_size(n_tiles, BLOCK_TILES, LEAST_TILES, pieces(wanted, job.blocks_across));
    blocks_down = pieces(n_tiles, job.tiles_per_block);
    threads_run(device->threads, blocks_down * job.blocks_across, gradient_task, &job);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status weight_gradient(struct device *device, float *dw, const void *dy, const void *x,
                            const int32_t *units, int n_units, int rows, int columns,
                            struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        weight_gradient_cpu(device, dw, dy, x, units, n_units, rows, columns);
        return STATUS_OK;
    case DEVICE_CUDA:
        return weight_gradient_cuda(device, dw, dy, rows, x, columns, units, n_units, rows, columns,
                                    err);
    }
    return err_set(err, STATUS_RESOURCE, "weight_gradient: no kernel for this device");
}

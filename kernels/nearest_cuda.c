/* The nearest centre on a GPU: launches, and the constants of the bound. See nearest_cuda.h. */
#include "kernels/nearest_cuda.h"

#include <assert.h>
#include <math.h>
#include "host/base/cuda_memory.h"
#include "host/base/divide_up.h"
#include "kernels/nearest_bound.h"
#include "kernels/nearest_job.h"

#define U 0x1p-24

static int rounded_to(int n, int step)
{
    return (int)divide_up(n, step) * step;
}

static int stride_of(int d)
{
    return rounded_to(d, NEAREST_COLUMNS);
}

static enum status launch(struct device *device, const char *image, const char *name,
                          unsigned blocks, unsigned threads, unsigned shared, void *job,
                          struct err *err)
{
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = image,
                           .name = name,
                           .grid = {blocks, 1, 1},
                           .block = {threads, 1, 1},
                           .shared = shared,
                           .values = (void *[]){job},
                       },
                       err);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void carve_rows(struct nearest_rows_cuda *rows, struct cuda_arena *arena, bool split)
{
    size_t n = (size_t)rows->n, size = n * (size_t)rows->stride;
    rows->hi = cuda_arena_take(arena, size, 2);
    rows->lo = split ? cuda_arena_take(arena, size, 2) : NULL;
    rows->norm = cuda_arena_take(arena, n, sizeof(float));
    rows->lost = cuda_arena_take(arena, n, sizeof(float));
    rows->lost_split = cuda_arena_take(arena, n, sizeof(float));
}

size_t nearest_rows_cuda_bytes(int n, int d, bool split)
{
    struct nearest_rows_cuda rows = {.n = n, .d = d, .stride = stride_of(d)};
    struct cuda_arena arena = {0};
    carve_rows(&rows, &arena, split);
    return arena.used;
}

enum status nearest_rows_cuda_prepare(struct device *device, struct nearest_rows_cuda *rows,
                                      void *memory, const void *x, enum nearest_rows_type type,
                                      const float *shift, int n, int d, bool split, struct err *err)
{
    static const char *const names[2][2] = {
        {"nearest_rows_f32_by_elements", "nearest_rows_f32_by_fours"},
        {"nearest_rows_f16_by_elements", "nearest_rows_f16_by_fours"},
    };
    struct cuda_arena arena = {.base = (CUdeviceptr)(uintptr_t)memory};
    *rows = (struct nearest_rows_cuda){
        .n = n, .d = d, .stride = stride_of(d), .type = type, .x = x, .shift = shift};
    carve_rows(rows, &arena, split);
    if (n == 0)
        return STATUS_OK;
    /* A lane's chain of squares, filled up to whole vectors, and a butterfly. */
    double roundings = (d / 32.0 + 4 + 6) * U;
    struct nearest_rows_job job = {
        .hi = (void *)rows->hi,
        .lo = (void *)rows->lo,
        .norm = (float *)rows->norm,
        .lost = (float *)rows->lost,
        .lost_split = (float *)rows->lost_split,
        .x = x,
        .shift = shift,
        .n = n,
        .d = d,
        .stride = rows->stride,
        .growth = nearest_rounded_up(1 / (1 - roundings)),
        .smallest = nearest_rounded_up(d * 0x1p-149),
    };
    return launch(device, "nearest_rows", names[type][d % 4 == 0],
                  (unsigned)divide_up(n, NEAREST_WARP_ROWS), 32 * NEAREST_WARP_ROWS, 0, &job, err);
}

/* ---- centres --------------------------------------------------------------------------------- */

/* Those of nearest.cu. */
#define NEAREST_SHAPES 4
static const struct shape {
    const char *kernel, *split;
    int rows, centres, threads, warps_wide, stages;
} shapes[NEAREST_SHAPES] = {
    {"nearest_64x32", "nearest_split_64x32", 64, 32, 128, 1, 3},
    {"nearest_64x64", "nearest_split_64x64", 64, 64, 128, 2, 2},
    {"nearest_128x128", "nearest_split_128x128", 128, 128, 256, 4, 2},
    {"nearest_64x256", "nearest_split_64x256", 64, 256, 256, 8, 2},
};
static const struct shape of_candidates = {
    "nearest_candidates", "nearest_split_candidates", 64, 64, 128, 2, 2};

/* Centres that fill up the last tile are in vain, but a tile of 256 reads the rows half as often as
 * one of 128: it is taken unless it would do a tenth more. */
static int shape_of(int k)
{
    if (k <= 128)
        return k <= 32 ? 0 : k <= 64 ? 1 : 2;
    return rounded_to(k, 256) <= rounded_to(k, 128) * 1.1 ? 3 : 2;
}

static void carve_centres(struct nearest_centres_cuda *packed, struct cuda_arena *arena, int n_runs,
                          int k, int d, bool split)
{
    *packed = (struct nearest_centres_cuda){.n_runs = n_runs, .k = k, .d = d, .split = split};
    packed->stride = stride_of(d);
    packed->shape = shape_of(k);
    int tile = shapes[packed->shape].centres;
    packed->k_padded = rounded_to(k, tile < of_candidates.centres ? of_candidates.centres : tile);
    size_t n = (size_t)n_runs * (size_t)packed->k_padded, size = n * (size_t)packed->stride;
    packed->hi = cuda_arena_take(arena, size, 2);
    packed->lo = split ? cuda_arena_take(arena, size, 2) : NULL;
    packed->half = cuda_arena_take(arena, n, sizeof(float));
    packed->lost = cuda_arena_take(arena, n, sizeof(float));
    packed->length = cuda_arena_take(arena, n, sizeof(float));
    packed->slack = cuda_arena_take(arena, n, sizeof(float));
}

size_t nearest_centres_cuda_bytes(int n_runs, int k, int d, bool split)
{
    struct nearest_centres_cuda packed;
    struct cuda_arena arena = {0};
    carve_centres(&packed, &arena, n_runs, k, d, split);
    return arena.used;
}

enum status nearest_centres_cuda_pack(struct device *device, struct nearest_centres_cuda *packed,
                                      void *memory, const float *centres, const float *shift,
                                      int n_runs, int k, int d, bool split, struct err *err)
{
    struct cuda_arena arena = {.base = (CUdeviceptr)(uintptr_t)memory};
    assert(n_runs >= 1 && n_runs <= RUNS_LARGEST);
    carve_centres(packed, &arena, n_runs, k, d, split);
    packed->centres = centres;
    struct nearest_centres_job job = {
        .hi = (void *)packed->hi,
        .lo = (void *)packed->lo,
        .half = (float *)packed->half,
        .lost = (float *)packed->lost,
        .length = (float *)packed->length,
        .slack = (float *)packed->slack,
        .centres = centres,
        .shift = shift,
        .k = k,
        .k_padded = packed->k_padded,
        .d = d,
        .stride = packed->stride,
        .rounding = ((double)d + 16) * 0x1p-53,
        /* A card may take a product or a sum below the least normal float for 0. */
        .underflow = 2 * ((double)packed->stride * (split ? 3 : 1)) * 0x1p-126,
        .distance = nearest_distance_error(d),
    };
    return launch(device, "nearest_rows", "nearest_centres",
                  (unsigned)n_runs * (unsigned)packed->k_padded, 256, 0, &job, err);
}

/* ---- labels ---------------------------------------------------------------------------------- */

static void carve_list(struct nearest_list *list, struct cuda_arena *arena, int n, int n_runs)
{
    size_t rows = (size_t)n_runs * (size_t)n;
    list->n = cuda_arena_take(arena, (size_t)n_runs, sizeof(int32_t));
    list->row = cuda_arena_take(arena, rows, sizeof(int32_t));
    list->least = cuda_arena_take(arena, rows, sizeof(float));
    list->n_candidates = cuda_arena_take(arena, rows, sizeof(int32_t));
    list->candidates = cuda_arena_take(arena, rows, NEAREST_CANDIDATES * sizeof(int32_t));
}

size_t nearest_cuda_scratch_bytes(int n, int n_runs)
{
    struct nearest_list list;
    struct cuda_arena arena = {0};
    carve_list(&list, &arena, n, n_runs);
    return arena.used;
}

/* What a sum errs by, of |X| |C| as the bound has it: 160 u in each step of 64 columns (10 cuts of
 * 2^-23 for 8 products, tests/reference/matmul_ref.c), one u for each step's sum and each before
 * it; 1.02 for halves that are longer than what they halve. */
static float chain_error(int stride, bool split)
{
    double steps = (double)(stride / NEAREST_COLUMNS) * (split ? 3 : 1);
    double error = (160 + steps + 2) * U;
    return error < 0.125 ? nearest_rounded_up(1.02 * error / (1 - error)) : INFINITY;
}

static unsigned shared_bytes(const struct shape *shape, bool candidates)
{
    int ring = shape->stages * (shape->rows + shape->centres) * 2 * NEAREST_COLUMNS;
    int of_row = candidates ? 12 : 8 + 12 * shape->warps_wide;
    return (unsigned)(ring + shape->rows * of_row);
}

static enum status score(struct device *device, const struct shape *shape,
                         const struct nearest_centres_cuda *centres, struct nearest_job *job,
                         bool candidates, struct err *err)
{
    job->n_tiles = (int)divide_up(centres->k, shape->centres);
    return launch(device, "nearest", centres->split ? shape->split : shape->kernel,
                  (unsigned)divide_up(job->n, shape->rows) * (unsigned)job->runs.n,
                  (unsigned)shape->threads, shared_bytes(shape, candidates), job, err);
}

static int64_t elements_between(const void *from, const void *to)
{
    return ((const char *)to - (const char *)from) / 2;
}

enum status nearest_fwd_cuda(struct device *device, int32_t *label, int64_t label_stride,
                             const struct nearest_rows_cuda *rows,
                             const struct nearest_centres_cuda *centres,
                             const struct run_list *runs, void *scratch, int64_t *n_rechecked,
                             struct err *err)
{
    static const char *const decide[] = {"nearest_decide_f32", "nearest_decide_f16"};
    struct cuda_arena arena = {.base = (CUdeviceptr)(uintptr_t)scratch};
    struct nearest_list list;
    bool split = centres->split;
    assert(rows->d == centres->d && (!split || rows->lo) && label_stride >= rows->n);
    assert(runs->n <= centres->n_runs);
    if (rows->n == 0 || runs->n == 0)
        return STATUS_OK;
    carve_list(&list, &arena, rows->n, centres->n_runs);
    struct nearest_job job = {
        .x = rows->hi,
        .centres = centres->hi,
        .x_low = split ? elements_between(rows->hi, rows->lo) : 0,
        .centres_low = split ? elements_between(centres->hi, centres->lo) : 0,
        .norm = rows->norm,
        .lost = split ? rows->lost_split : rows->lost,
        .terms = {centres->half, centres->lost, centres->length, centres->slack},
        .n = rows->n,
        .k = centres->k,
        .k_padded = centres->k_padded,
        .stride = rows->stride,
        .chain = chain_error(rows->stride, split),
        .distance = nearest_rounded_up(nearest_distance_error(rows->d)),
        .label = label,
        .label_stride = label_stride,
        .list = list,
        .runs = *runs,
    };
    struct nearest_decide_job of_list = {
        .x = rows->x,
        .centres = centres->centres,
        .n = rows->n,
        .k = centres->k,
        .d = rows->d,
        .label = label,
        .label_stride = label_stride,
        .n_rechecked = n_rechecked,
        .list = list,
        .runs = *runs,
    };
    unsigned quads = (unsigned)divide_up(rows->n, NEAREST_QUAD_ROWS) * (unsigned)runs->n;
    TRY(cuda_clear(device->cuda, list.n, (size_t)centres->n_runs * sizeof *list.n, err));
    TRY(score(device, &shapes[centres->shape], centres, &job, false, err));
    TRY(score(device, &of_candidates, centres, &job, true, err));
    return launch(device, "nearest_rows", decide[rows->type], quads, 4 * NEAREST_QUAD_ROWS, 0,
                  &of_list, err);
}

bool nearest_cuda_splits(bool split, bool first, int64_t n_rechecked, int64_t n)
{
    return split || n_rechecked * (first ? 2 : 10) > n;
}

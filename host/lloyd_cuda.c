/* Lloyd's steps on a GPU: several runs at once. See lloyd.h.
 *
 * All rows are on the GPU where its memory holds them, else they come from the host a chunk at a
 * time for every pass. A step is one row of launches; the host waits once, for a few numbers a
 * cluster, which it decides by.
 *
 *   rows -> ring of page-locked memory -> x (chunk, d) -> bfloat16 for the tensor cores
 *   step: pack centres; for each chunk: labels, sums of clusters; then the centres that follow */
#include "host/base/amount.h"
#include "host/base/at_most.h"
#include "host/base/cuda_memory.h"
#include "host/base/divide_up.h"
#include "host/base/interrupt.h"
#include "host/base/memory.h"
#include "host/lloyd.h"
#include "host/lloyd_cuda_rows.h"
#include "kernels/centre_update.h"
#include "kernels/cluster_sums_cuda.h"
#include "kernels/column_sums.h"
#include "kernels/column_sums_job.h"
#include "kernels/nearest_cuda.h"
#include "kernels/own_distance.h"

/* What a step tells the host, side by side on the GPU and in page-locked memory. */
struct tidings {
    int64_t *counts;      /* (n_runs, k) */
    double *moved, *gain; /* (n_runs, k) */
    /* Totals of a step, cleared together: */
    int64_t *n_moved;     /* (n_runs) rows whose label changed */
    int64_t *n_rechecked; /* (n_runs) */
};

struct lloyd_cuda {
    struct lloyd lloyd; /* first: they are one another's */
    struct cuda_arena arena;
    struct lloyd_cuda_rows rows;
    bool can_split, split;    /* nearest_cuda.h: there is room for it; it is done */
    int at;                   /* which of `centres` the steps are at, */
    int run_at[RUNS_LARGEST]; /* and where each run has ended or is */
    int n_begun;

    /* On the GPU: */
    float *mean;            /* (d) */
    double *total;          /* (d) */
    float *centres[2];      /* (n_runs, k, d) */
    int32_t *labels, *next; /* (n_runs, n) */
    double *sums;           /* (n_runs, k, d) */
    struct tidings tidings;
    char *tidings_begin;
    size_t tidings_bytes, totals_bytes; /* all; from n_moved to the end */
    void *packed_memory;
    void *scratch;
    double *distance; /* (chunk) */
    /* On the host: */
    struct tidings told;
    void *told_memory;
    double *host_distance; /* (chunk) */
    struct arena host;
    double *host_sums; /* (2, d) */
    float *host_mean;  /* (d) */
};

_Static_assert(ROWS_PER_BLOCK == COLUMN_SUMS_ROWS, "both devices cut the mean at the same rows");

static struct lloyd_cuda *cuda_of(struct lloyd *lloyd)
{
    return (struct lloyd_cuda *)(void *)lloyd;
}

/* Of what is free, however much may be taken. */
#define MEMORY_SHARE 0.95
/* With RUNS_LARGEST a grid's blocks, one a centre. */
#define MOST_CLUSTERS (1 << 24)

static size_t of_run(const struct lloyd *lloyd, int run)
{
    return (size_t)run * (size_t)lloyd->k * (size_t)lloyd->d;
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* What labels a chunk: the centres are packed, for `split` or not. */
static enum status label_chunk(struct lloyd_cuda *of, const struct lloyd_cuda_chunk *chunk,
                               const struct nearest_centres_cuda *packed, int32_t *labels,
                               const struct run_list *runs, struct err *err)
{
    struct nearest_rows_cuda prepared;
    TRY(lloyd_cuda_rows_prepared(&of->rows, chunk, of->mean, of->split, &prepared, err));
    return nearest_fwd_cuda(of->lloyd.device, labels + chunk->first, of->lloyd.n, &prepared, packed,
                            runs, of->scratch, of->tidings.n_rechecked, err);
}

static enum status pack(struct lloyd_cuda *of, struct nearest_centres_cuda *packed, struct err *err)
{
    return nearest_centres_cuda_pack(of->lloyd.device, packed, of->packed_memory,
                                     of->centres[of->at], of->mean, of->n_begun, of->lloyd.k,
                                     of->lloyd.d, of->split, err);
}

/* Brings the tidings to the host, and waits for them. */
static enum status hear(struct lloyd_cuda *of, struct err *err)
{
    struct cuda_device *cuda = of->lloyd.device->cuda;
    TRY(cuda_copy_from(cuda, of->told_memory, of->tidings_begin, of->tidings_bytes, err));
    return cuda_synchronise(cuda, err);
}

static void count_rechecks(struct lloyd_cuda *of, const struct run_list *runs, bool is_first)
{
    struct lloyd *lloyd = &of->lloyd;
    int64_t n_rechecked = 0, n = (int64_t)lloyd->n * runs->n;
    for (int i = 0; i < runs->n; i++)
        n_rechecked += of->told.n_rechecked[runs->of[i]];
    lloyd->n_assigned += (double)n;
    lloyd->n_compared += (double)n;
    lloyd->n_rechecked += (double)n_rechecked;
    of->split = of->can_split && nearest_cuda_splits(of->split, is_first, n_rechecked, n);
}

static void tell_moved(struct lloyd_cuda *of, int run)
{
    int k = of->lloyd.k;
    of->lloyd.run[run].moved = lloyd_sum(of->told.moved + (size_t)run * (size_t)k, k);
}

/* STATUS_BAD_DATA where a row is in no cluster. */
static enum status look_at_labels(struct lloyd_cuda *of, int run, struct err *err)
{
    struct lloyd *lloyd = &of->lloyd;
    struct cuda_device *cuda = lloyd->device->cuda;
    const int32_t *labels = of->labels + (size_t)run * (size_t)lloyd->n;
    size_t bytes = (size_t)lloyd->n * sizeof *labels;
    int32_t *host = mem_alloc(bytes, 1);
    int row = 0;
    if (!host)
        return err_no_memory(err, "the labels", bytes);
    enum status status = cuda_copy_from(cuda, host, labels, bytes, err);
    if (status == STATUS_OK)
        status = cuda_synchronise(cuda, err);
    while (status == STATUS_OK && row < lloyd->n && host[row] >= 0)
        row++;
    mem_free(host);
    TRY(status);
    return row < lloyd->n ? lloyd_not_finite(row, err) : STATUS_OK;
}

/* The same by the clusters' numbers of rows, after a step. */
static enum status check_labels(struct lloyd_cuda *of, int run, struct err *err)
{
    const struct lloyd *lloyd = &of->lloyd;
    int64_t n = 0;
    for (int c = 0; c < lloyd->k; c++)
        n += lloyd->run[run].counts[c];
    return n == lloyd->n ? STATUS_OK : look_at_labels(of, run, err);
}

static enum status step(struct lloyd *lloyd, const struct run_list *runs, int iteration,
                        struct err *err)
{
    struct lloyd_cuda *of = cuda_of(lloyd);
    struct cuda_device *cuda = lloyd->device->cuda;
    struct nearest_centres_cuda packed;
    size_t n_runs = (size_t)of->n_begun;
    bool is_first = iteration == 1;
    TRY(interrupt_check(err));
    if (is_first) {
        size_t size = of_run(lloyd, of->n_begun);
        TRY(cuda_clear(cuda, of->sums, size * sizeof *of->sums, err));
        TRY(cuda_clear(cuda, of->tidings.counts, n_runs * (size_t)lloyd->k * sizeof(int64_t), err));
    }
    TRY(cuda_clear(cuda, of->tidings.n_moved, of->totals_bytes, err));
    TRY(pack(of, &packed, err));
    for (int i = 0; i < of->rows.n_chunks; i++) {
        struct lloyd_cuda_chunk chunk;
        TRY(lloyd_cuda_rows_chunk(&of->rows, i, &chunk, err));
        TRY(label_chunk(of, &chunk, &packed, of->next, runs, err));
        TRY(cluster_sums_add_cuda(lloyd->device, of->sums, of->tidings.counts, of->tidings.n_moved,
                                  chunk.x, of->labels + chunk.first, of->next + chunk.first,
                                  lloyd->n, is_first, chunk.n, lloyd->k, lloyd->d, runs,
                                  of->scratch, err));
    }
    TRY(centre_gain_and_update(lloyd->device, of->tidings.gain, of->centres[!of->at],
                               of->tidings.moved, of->sums, of->tidings.counts, of->centres[of->at],
                               of->mean, lloyd->k, lloyd->d, lloyd->spherical, runs, err));
    TRY(hear(of, err));
    for (int i = 0; i < runs->n; i++) {
        int run = runs->of[i], k = lloyd->k;
        TRY(check_labels(of, run, err));
        of->run_at[run] = of->at;
        lloyd->run[run].changed = of->told.n_moved[run] > 0;
        lloyd->run[run].gain = lloyd_sum(of->told.gain + (size_t)run * (size_t)k, k);
        tell_moved(of, run);
    }
    count_rechecks(of, runs, is_first);
    return STATUS_OK;
}

static void advance(struct lloyd *lloyd, const struct run_list *runs)
{
    struct lloyd_cuda *of = cuda_of(lloyd);
    of->at = !of->at;
    for (int i = 0; i < runs->n; i++)
        of->run_at[runs->of[i]] = of->at;
}

static enum status label(struct lloyd *lloyd, const struct run_list *runs, struct err *err)
{
    struct lloyd_cuda *of = cuda_of(lloyd);
    struct cuda_device *cuda = lloyd->device->cuda;
    struct nearest_centres_cuda packed;
    TRY(cuda_clear(cuda, of->tidings.n_rechecked, (size_t)of->n_begun * sizeof(int64_t), err));
    TRY(pack(of, &packed, err));
    for (int i = 0; i < of->rows.n_chunks; i++) {
        struct lloyd_cuda_chunk chunk;
        TRY(lloyd_cuda_rows_chunk(&of->rows, i, &chunk, err));
        TRY(label_chunk(of, &chunk, &packed, of->labels, runs, err));
    }
    TRY(hear(of, err));
    for (int i = 0; i < runs->n && lloyd->streamed; i++) /* others are as the first step saw them */
        TRY(look_at_labels(of, runs->of[i], err));
    count_rechecks(of, runs, false);
    return STATUS_OK;
}

/* ---- distances ------------------------------------------------------------------------------- */

/* Of all rows to the centre of their label. */
static enum status measure(struct lloyd_cuda *of, const float *centres, const int32_t *labels,
                           lloyd_visit *visit, void *context, struct err *err)
{
    struct lloyd *lloyd = &of->lloyd;
    struct cuda_device *cuda = lloyd->device->cuda;
    for (int i = 0; i < of->rows.n_chunks; i++) {
        struct lloyd_cuda_chunk chunk;
        TRY(lloyd_cuda_rows_chunk(&of->rows, i, &chunk, err));
        TRY(own_distance_fwd(lloyd->device, of->distance, chunk.x, centres, labels + chunk.first,
                             chunk.n, lloyd->d, err));
        TRY(cuda_copy_from(cuda, of->host_distance, of->distance,
                           (size_t)chunk.n * sizeof *of->distance, err));
        TRY(cuda_synchronise(cuda, err));
        visit(context, of->host_distance, chunk.first, chunk.n);
    }
    return STATUS_OK;
}

static enum status distances(struct lloyd *lloyd, int run, lloyd_visit *visit, void *context,
                             struct err *err)
{
    struct lloyd_cuda *of = cuda_of(lloyd);
    return measure(of, of->centres[of->run_at[run]] + of_run(lloyd, run),
                   of->labels + (size_t)run * (size_t)lloyd->n, visit, context, err);
}

/* The mean, and how far rows scatter around it, as if it were everybody's centre. */
static enum status measure_rows(struct lloyd_cuda *of, struct err *err)
{
    struct lloyd *lloyd = &of->lloyd;
    struct cuda_device *cuda = lloyd->device->cuda;
    struct compensated total = {0};
    size_t d = (size_t)lloyd->d;
    TRY(cuda_clear(cuda, of->total, d * sizeof *of->total, err));
    for (int i = 0; i < of->rows.n_chunks; i++) {
        struct lloyd_cuda_chunk chunk;
        TRY(lloyd_cuda_rows_chunk(&of->rows, i, &chunk, err));
        TRY(column_sums_add_cuda(lloyd->device, of->total, chunk.x, chunk.n, lloyd->d, of->scratch,
                                 err));
    }
    TRY(cuda_copy_from(cuda, of->host_sums, of->total, d * sizeof *of->total, err));
    TRY(cuda_synchronise(cuda, err));
    for (size_t j = 0; j < d; j++)
        of->host_mean[j] = (float)(of->host_sums[j] / lloyd->n);
    TRY(cuda_copy_to(cuda, of->mean, of->host_mean, d * sizeof *of->mean, err));
    TRY(cuda_clear(cuda, of->labels, (size_t)lloyd->n * sizeof *of->labels, err));
    TRY(measure(of, of->mean, of->labels, compensated_visit, &total, err));
    lloyd->scatter = total.sum + total.lost;
    return lloyd_cuda_rows_prepare_all(&of->rows, of->mean, err);
}

/* ---- empty clusters -------------------------------------------------------------------------- */

/* The two clusters' sums come to the host and go back: it is seldom that one is empty. */
static enum status give(struct lloyd *lloyd, int run, int row, int c, struct err *err)
{
    struct lloyd_cuda *of = cuda_of(lloyd);
    struct cuda_device *cuda = lloyd->device->cuda;
    size_t d = (size_t)lloyd->d, k = (size_t)lloyd->k;
    int32_t *label = of->labels + (size_t)run * (size_t)lloyd->n + row, old, new = c;
    double *sums = of->sums + of_run(lloyd, run), *from = of->host_sums, *to = from + d;
    int64_t *counts = lloyd->run[run].counts;
    const float *x;
    TRY(cuda_copy_from(cuda, &old, label, sizeof old, err));
    TRY(cuda_synchronise(cuda, err));
    TRY(cuda_copy_from(cuda, from, sums + (size_t)old * d, d * sizeof *from, err));
    TRY(cuda_synchronise(cuda, err));
    TRY(row_chunks_read(lloyd->rows, row, 1, &x, err));
    for (size_t j = 0; j < d; j++) {
        from[j] -= (double)x[j];
        to[j] = (double)x[j];
    }
    counts[old] -= 1, counts[c] = 1;
    TRY(cuda_copy_to(cuda, sums + (size_t)old * d, from, d * sizeof *from, err));
    TRY(cuda_copy_to(cuda, sums + (size_t)c * d, to, d * sizeof *to, err));
    TRY(cuda_copy_to(cuda, of->tidings.counts + (size_t)run * k, counts, k * sizeof *counts, err));
    TRY(cuda_copy_to(cuda, label, &new, sizeof new, err));
    return cuda_synchronise(cuda, err);
}

static enum status follow(struct lloyd *lloyd, int run, struct err *err)
{
    struct lloyd_cuda *of = cuda_of(lloyd);
    struct run_list one = {.n = 1, .of = {run}};
    TRY(centre_update(lloyd->device, of->centres[!of->at], of->tidings.moved, of->sums,
                      of->tidings.counts, of->centres[of->at], lloyd->k, lloyd->d, lloyd->spherical,
                      &one, err));
    TRY(hear(of, err));
    tell_moved(of, run);
    return STATUS_OK;
}

/* ---- between host and GPU -------------------------------------------------------------------- */

static const float *rows_of(const struct lloyd *lloyd)
{
    const struct lloyd_cuda *of = (const struct lloyd_cuda *)(const void *)lloyd;
    return of->rows.resident ? of->rows.x : NULL;
}

static float *begin(struct lloyd *lloyd, int n_runs)
{
    struct lloyd_cuda *of = cuda_of(lloyd);
    of->at = 0;
    of->n_begun = n_runs;
    return of->centres[0];
}

static enum status start(struct lloyd *lloyd, const float *centres, struct err *err)
{
    struct cuda_device *cuda = lloyd->device->cuda;
    size_t bytes = of_run(lloyd, 1) * sizeof *centres;
    TRY(cuda_copy_to(cuda, begin(lloyd, 1), centres, bytes, err));
    return cuda_synchronise(cuda, err);
}

static enum status fetch(struct lloyd *lloyd, int run, float *centres, int32_t *labels,
                         struct err *err)
{
    struct lloyd_cuda *of = cuda_of(lloyd);
    struct cuda_device *cuda = lloyd->device->cuda;
    size_t n = (size_t)lloyd->n;
    if (centres)
        TRY(cuda_copy_from(cuda, centres, of->centres[of->run_at[run]] + of_run(lloyd, run),
                           of_run(lloyd, 1) * sizeof *centres, err));
    if (labels)
        TRY(cuda_copy_from(cuda, labels, of->labels + (size_t)run * n, n * sizeof *labels, err));
    return cuda_synchronise(cuda, err);
}

/* ---- opening --------------------------------------------------------------------------------- */

static void carve_tidings(struct tidings *tidings, struct cuda_arena *arena, size_t n_runs,
                          size_t k)
{
    tidings->counts = cuda_arena_take(arena, n_runs * k, sizeof *tidings->counts);
    tidings->moved = cuda_arena_take(arena, n_runs * k, sizeof *tidings->moved);
    tidings->gain = cuda_arena_take(arena, n_runs * k, sizeof *tidings->gain);
    tidings->n_moved = cuda_arena_take(arena, n_runs, sizeof *tidings->n_moved);
    tidings->n_rechecked = cuda_arena_take(arena, n_runs, sizeof *tidings->n_rechecked);
}

/* Scratch of operations that follow one another. */
static void carve_scratch(struct lloyd_cuda *of, struct cuda_arena *arena)
{
    const struct lloyd *lloyd = &of->lloyd;
    int chunk = of->rows.chunk_rows, runs = lloyd->n_runs;
    size_t bytes[] = {nearest_cuda_scratch_bytes(chunk, runs),
                      cluster_sums_cuda_bytes(chunk, lloyd->k, lloyd->d, runs),
                      column_sums_cuda_scratch_bytes(chunk, lloyd->d)};
    size_t most = bytes[0];
    for (int i = 1; i < 3; i++)
        most = bytes[i] > most ? bytes[i] : most;
    of->scratch = cuda_arena_take(arena, most, 1);
}

static void carve(struct lloyd_cuda *of, struct cuda_arena *arena, const struct lloyd_cuda_way *way)
{
    struct lloyd *lloyd = &of->lloyd;
    lloyd->n_runs = way->n_runs;
    size_t runs = (size_t)lloyd->n_runs, n = (size_t)lloyd->n, d = (size_t)lloyd->d;
    size_t k = (size_t)lloyd->k, size = runs * k * d;
    of->can_split = way->split;
    of->mean = cuda_arena_take(arena, d, sizeof *of->mean);
    of->total = cuda_arena_take(arena, d, sizeof *of->total);
    for (int i = 0; i < 2; i++)
        of->centres[i] = cuda_arena_take(arena, size, sizeof *of->centres[i]);
    of->labels = cuda_arena_take(arena, runs * n, sizeof *of->labels);
    of->next = cuda_arena_take(arena, runs * n, sizeof *of->next);
    of->sums = cuda_arena_take(arena, size, sizeof *of->sums);
    carve_tidings(&of->tidings, arena, runs, k);
    of->tidings_begin = (char *)of->tidings.counts;
    of->tidings_bytes = (size_t)((char *)(of->tidings.n_rechecked + runs) - of->tidings_begin);
    of->totals_bytes =
        of->tidings_bytes - (size_t)((char *)of->tidings.n_moved - of->tidings_begin);
    of->packed_memory = cuda_arena_take(
        arena, nearest_centres_cuda_bytes(lloyd->n_runs, lloyd->k, lloyd->d, way->split), 1);
    lloyd_cuda_rows_plan(&of->rows, arena, lloyd->rows, way);
    of->distance = cuda_arena_take(arena, (size_t)of->rows.chunk_rows, sizeof *of->distance);
    carve_scratch(of, arena);
}

/* What it takes, and what is to be left beside. */
static size_t bytes_of(struct lloyd_cuda *of, const struct lloyd_cuda_way *way,
                       const struct lloyd_reserve *reserve)
{
    struct cuda_arena arena = {0};
    carve(of, &arena, way);
    of->arena.most = arena.most;
    return arena.most + (way->resident ? reserve->resident : reserve->streamed);
}

/* The fastest way that fits in `memory`: rows that stay on the GPU before all else, with room for
 * their low halves; runs that go side by side; large chunks. Else the last one that was tried,
 * which takes least. */
static struct lloyd_cuda_way choose(struct lloyd_cuda *of, size_t memory, int most_runs,
                                    const struct lloyd_reserve *reserve)
{
    struct lloyd_cuda_way way = {.n_runs = 1, .chunk_blocks = 1};
    for (int kind = 3; kind >= 0; kind--)
        for (int n_runs = most_runs; n_runs > 0; n_runs /= 2)
            for (int blocks = LLOYD_CUDA_MOST_BLOCKS; blocks > 0; blocks /= 2) {
                way = (struct lloyd_cuda_way){kind & 2, kind & 1, blocks, n_runs};
                if (bytes_of(of, &way, reserve) <= memory)
                    return way;
            }
    return way;
}

/* What kernels count with 32 bits. */
static enum status check_size(const struct lloyd *lloyd, struct err *err)
{
    if (lloyd->k <= MOST_CLUSTERS && (int64_t)lloyd->k * lloyd->d <= INT32_MAX)
        return STATUS_OK;
    return err_set(err, STATUS_RESOURCE,
                   "k-means on a GPU: %d clusters of %d numbers are more than it can count; use "
                   "--device cpu",
                   lloyd->k, lloyd->d);
}

static enum status open_memory(struct lloyd_cuda *of, const struct kmeans_settings *settings,
                               int restarts, const struct lloyd_reserve *reserve, struct err *err)
{
    struct lloyd *lloyd = &of->lloyd;
    struct cuda_device *cuda = lloyd->device->cuda;
    size_t memory, available;
    TRY(cuda_memory_free(cuda, &available, err));
    memory = (size_t)(MEMORY_SHARE * (double)available);
    bool limited = settings->gpu_memory > 0 && settings->gpu_memory < memory;
    memory = limited ? settings->gpu_memory : memory;
    struct lloyd_cuda_way way = choose(of, memory, at_most(restarts, RUNS_LARGEST), reserve);
    size_t bytes = bytes_of(of, &way, reserve);
    if (bytes > memory && limited) /* it is told so that what is read is enough */
        return err_set(err, STATUS_RESOURCE,
                       "k-means of %d rows of %d numbers in %d clusters needs %s of the GPU, more "
                       "than --memory allows; raise it, or use --device cpu",
                       lloyd->n, lloyd->d, lloyd->k, amount_of(bytes + bytes / 50).text);
    TRY(cuda_arena_open(&of->arena, cuda, "k-means", "use --device cpu", err));
    carve(of, &of->arena, &way);
    lloyd->streamed = !way.resident;
    lloyd->memory_left = memory > of->arena.bytes ? memory - of->arena.bytes : 0;
    TRY(cuda_clear(cuda, of->tidings_begin, of->tidings_bytes, err));
    TRY(cuda_pinned_alloc(cuda, &of->told_memory, of->tidings_bytes, err));
    struct cuda_arena host = {.base = (CUdeviceptr)(uintptr_t)of->told_memory};
    carve_tidings(&of->told, &host, (size_t)lloyd->n_runs, (size_t)lloyd->k);
    for (int run = 0; run < lloyd->n_runs; run++)
        lloyd->run[run].counts = of->told.counts + (size_t)run * (size_t)lloyd->k;
    void *distance;
    TRY(cuda_pinned_alloc(cuda, &distance, (size_t)of->rows.chunk_rows * sizeof *of->host_distance,
                          err));
    of->host_distance = distance;
    return lloyd_cuda_rows_open(&of->rows, err);
}

static void close_cuda(struct lloyd *lloyd)
{
    struct lloyd_cuda *of = cuda_of(lloyd);
    struct cuda_device *cuda = lloyd->device->cuda;
    struct err ignored;
    cuda_synchronise(cuda, &ignored); /* what is queued uses the memory */
    lloyd_cuda_rows_close(&of->rows);
    cuda_pinned_free(cuda, of->told_memory);
    cuda_pinned_free(cuda, of->host_distance);
    cuda_arena_close(&of->arena, cuda);
    arena_free(&of->host);
    mem_free(of);
}

static const struct lloyd_operations operations = {
    .close = close_cuda,
    .rows = rows_of,
    .begin = begin,
    .start = start,
    .step = step,
    .advance = advance,
    .label = label,
    .distances = distances,
    .give = give,
    .follow = follow,
    .fetch = fetch,
};

enum status lloyd_cuda_open(struct lloyd **out, struct row_chunks *rows,
                            const struct kmeans_settings *settings, int restarts,
                            const struct lloyd_reserve *reserve, struct err *err)
{
    static const char *const images[] = {"nearest",       "nearest_rows", "cluster_sums",
                                         "centre_update", "own_distance", "column_sums"};
    struct lloyd_cuda *of = mem_alloc_zero(1, sizeof *of);
    if (!of)
        return err_no_memory(err, "k-means", sizeof *of);
    of->lloyd = (struct lloyd){.operations = &operations,
                               .device = rows->device,
                               .rows = rows,
                               .spherical = settings->spherical,
                               .n = rows->n,
                               .d = rows->d,
                               .k = settings->k};
    *out = &of->lloyd;
    TRY(check_size(&of->lloyd, err));
    of->host_sums = arena_alloc(&of->host, 2 * (size_t)rows->d, sizeof *of->host_sums);
    of->host_mean = arena_alloc(&of->host, (size_t)rows->d, sizeof *of->host_mean);
    if (!of->host_sums || !of->host_mean)
        return err_no_memory(err, "k-means", (size_t)rows->d * 20);
    for (size_t i = 0; i < sizeof images / sizeof *images; i++)
        TRY(cuda_load(rows->device->cuda, images[i], err));
    TRY(open_memory(of, settings, restarts, reserve, err));
    return measure_rows(of, err);
}

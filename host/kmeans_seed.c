/* See kmeans_seed.h. What is heavy are operations, the same ones on both devices; of a centre the
 * host sees a sum for each block of rows and each trial, and decides by them. */
#include "host/kmeans_seed.h"

#include <math.h>
#include <string.h>
#include "host/base/at_most.h"
#include "host/base/memory.h"
#include "host/base/philox.h"
#include "kernels/candidate_distance.h"
#include "kernels/potential.h"
#include "kernels/squared_distance.h"

#define KMEANS_STREAM 0x6B6D6E73u /* "kmns": draws that no tensor shares */
#define SAMPLE_VALUES ((int64_t)1 << 26)
#define ROWS_A_CENTRE 8
#define WIDE_ROWS     4096
#define MOST_TRIALS   32 /* 2 + log(k), and k is an int */
/* Mean squared distances outside are as if they were 1: float32 holds their squares then. */
#define VARIANCE_LEAST   0x1p-60
#define VARIANCE_LARGEST 0x1p60

static const float *row_of(const struct kmeans_seeder *s, int i)
{
    return s->x + (size_t)i * (size_t)s->d;
}

/* A row, on the device. */
static enum status copy_row(const struct kmeans_seeder *s, float *to, const float *from,
                            struct err *err)
{
    size_t bytes = (size_t)s->d * sizeof *to;
    if (s->device->kind == DEVICE_CUDA)
        return cuda_copy_within(s->device->cuda, to, from, bytes, err);
    memcpy(to, from, bytes);
    return STATUS_OK;
}

/* ---- distances ------------------------------------------------------------------------------- */

/* s->trial (n, t), in the units of the scale. */
static enum status measure(struct kmeans_seeder *s, int t, struct err *err)
{
    if (!s->wide)
        return candidate_distance_fwd(s->device, s->trial, s->x, s->candidates, s->n, t, s->d, err);
    for (int first = 0; first < s->n; first += WIDE_ROWS) {
        int n = at_most(s->n - first, WIDE_ROWS);
        size_t values = (size_t)n * (size_t)t;
        float *out = s->trial + (size_t)first * (size_t)t;
        TRY(squared_distance_fwd(s->device, s->wide, row_of(s, first), s->candidates, n, t, s->d,
                                 err));
        for (size_t i = 0; i < values; i++)
            out[i] = (float)(s->wide[i] * s->scale);
    }
    return STATUS_OK;
}

/* ---- draws ----------------------------------------------------------------------------------- */

static double *block_sum_of(const struct kmeans_seeder *s, int run)
{
    return s->block_sum + (size_t)run * (size_t)potential_blocks(s->n);
}

/* Where a draw in [0, 1) falls, when rows have shares of the total in proportion to their distance.
 * A row on a centre has no share, so it is not drawn while another is left. */
static struct potential_draw draw_of(const struct kmeans_seeder *s, const double *block_sum,
                                     double total, double draw)
{
    struct potential_draw of = {.place = draw * total};
    while (of.block < potential_blocks(s->n) - 1 && of.before + block_sum[of.block] <= of.place)
        of.before += block_sum[of.block++];
    return of;
}

/* Draws of all trials for centre c of each run, whose rows become candidates. */
static enum status draw(struct kmeans_seeder *s, int restart, int n_runs, int c, struct err *err)
{
    struct potential_draw draws[RUNS_LARGEST * MOST_TRIALS];
    int trials = s->n_trials;
    for (int run = 0; run < n_runs; run++) {
        const double *block_sum = block_sum_of(s, run);
        double total = lloyd_sum(block_sum, potential_blocks(s->n));
        for (int t = 0; t < trials; t++) {
            uint64_t index = (uint64_t)c * (uint64_t)trials + (uint64_t)t;
            draws[run * trials + t] = draw_of(
                s, block_sum, total,
                philox_uniform(s->settings->seed, (uint32_t)(restart + run), KMEANS_STREAM, index));
        }
    }
    return potential_draw(s->device, s->candidates, s->x, s->distance, draws, s->n, n_runs, trials,
                          s->d, err);
}

/* The sums, where the host can read them. */
static enum status fetch_sums(struct kmeans_seeder *s, int n_candidates, const double **sums,
                              struct err *err)
{
    size_t bytes = (size_t)potential_blocks(s->n) * (size_t)n_candidates * sizeof **sums;
    *sums = s->sums;
    if (s->device->kind == DEVICE_CPU)
        return STATUS_OK;
    *sums = s->told_sums;
    TRY(cuda_copy_from(s->device->cuda, s->told_sums, s->sums, bytes, err));
    return cuda_synchronise(s->device->cuda, err);
}

/* Of a run's candidates the one that leaves the lowest sum, which is *left. */
static int best_of(const struct kmeans_seeder *s, const double *sums, int n_candidates, int first,
                   int trials, double *left)
{
    int n_blocks = potential_blocks(s->n), best = 0;
    for (int t = 0; t < trials; t++) {
        double sum = 0;
        for (int block = 0; block < n_blocks; block++)
            sum += sums[(size_t)block * (size_t)n_candidates + (size_t)(first + t)];
        if (t == 0 || sum < *left)
            best = t, *left = sum;
    }
    return best;
}

/* ---- the centres ----------------------------------------------------------------------------- */

/* Of the candidates, `trials` a run, the best of each becomes its centre c. */
static enum status keep_best(struct kmeans_seeder *s, float *centres, int n_runs, int trials, int c,
                             double *left, struct err *err)
{
    int n_candidates = n_runs * trials, n_blocks = potential_blocks(s->n), best[RUNS_LARGEST];
    size_t d = (size_t)s->d, k = (size_t)s->settings->k;
    const double *sums;
    TRY(measure(s, n_candidates, err));
    TRY(potential_fwd(s->device, s->sums, s->distance, s->trial, s->n, n_runs, trials, err));
    TRY(fetch_sums(s, n_candidates, &sums, err));
    for (int run = 0; run < n_runs; run++) {
        double *block_sum = block_sum_of(s, run);
        best[run] = best_of(s, sums, n_candidates, run * trials, trials, &left[run]);
        size_t of_best = (size_t)(run * trials + best[run]);
        for (int block = 0; block < n_blocks; block++)
            block_sum[block] = sums[(size_t)block * (size_t)n_candidates + of_best];
        TRY(copy_row(s, centres + ((size_t)run * k + (size_t)c) * d, s->candidates + of_best * d,
                     err));
    }
    return potential_keep(s->device, s->distance, s->trial, best, s->n, n_runs, trials, err);
}

/* After `centre` of the centres. */
static enum status report(const struct kmeans_seeder *s, int restart, int n_runs, int centre,
                          const double *left, struct err *err)
{
    const struct kmeans_settings *settings = s->settings;
    double scale = (double)s->lloyd->n / s->n / s->scale;
    for (int run = 0; run < n_runs && settings->progress; run++) {
        struct kmeans_state state = {.restart = restart + run,
                                     .over = s->over,
                                     .centre = centre,
                                     .k = settings->k,
                                     .inertia = left[run] * scale};
        TRY(settings->progress(settings->progress_context, &state, err));
    }
    return STATUS_OK;
}

static enum status seed_runs(struct kmeans_seeder *s, float *centres, int restart, int n_runs,
                             struct err *err)
{
    double left[RUNS_LARGEST];
    for (int run = 0; run < n_runs; run++) {
        double at = philox_uniform(s->settings->seed, (uint32_t)(restart + run), KMEANS_STREAM, 0);
        TRY(copy_row(s, s->candidates + (size_t)run * (size_t)s->d, row_of(s, (int)(at * s->n)),
                     err));
    }
    TRY(potential_begin(s->device, s->distance, s->n, n_runs, err));
    TRY(keep_best(s, centres, n_runs, 1, 0, left, err));
    for (int c = 1; c < s->settings->k; c++) {
        TRY(draw(s, restart, n_runs, c, err));
        TRY(keep_best(s, centres, n_runs, s->n_trials, c, left, err));
        TRY(report(s, restart, n_runs, c + 1, left, err));
    }
    return STATUS_OK;
}

/* The CPU's centres, for a GPU. */
static enum status seed_for_gpu(struct kmeans_seeder *s, float *centres, int restart, int n_runs,
                                struct err *err)
{
    struct cuda_device *cuda = s->lloyd->device->cuda;
    size_t size = (size_t)n_runs * (size_t)s->settings->k * (size_t)s->d;
    float *host = mem_alloc(size, sizeof *host);
    if (!host)
        return err_no_memory(err, "centres to start from", size * sizeof *host);
    enum status status = seed_runs(s, host, restart, n_runs, err);
    if (status == STATUS_OK)
        status = cuda_copy_to(cuda, centres, host, size * sizeof *host, err);
    if (status == STATUS_OK)
        status = cuda_synchronise(cuda, err);
    mem_free(host);
    return status;
}

enum status kmeans_seed(struct kmeans_seeder *s, float *centres, int restart, int n_runs,
                        struct err *err)
{
    bool for_gpu = s->device->kind != s->lloyd->device->kind;
    size_t size = (size_t)s->settings->k * (size_t)s->d;
    s->over = restart;
    for (int run = 0, n; run < n_runs; run += n) {
        float *of_run = centres + (size_t)run * size;
        n = at_most(n_runs - run, s->n_runs);
        TRY(for_gpu ? seed_for_gpu(s, of_run, restart + run, n, err)
                    : seed_runs(s, of_run, restart + run, n, err));
    }
    return STATUS_OK;
}

/* ---- opening --------------------------------------------------------------------------------- */

static int n_trials(int k)
{
    return 2 + (int)log(k);
}

static int sample_size(int n, int d, int k)
{
    int64_t size = SAMPLE_VALUES / d, least = (int64_t)ROWS_A_CENTRE * k;
    size = size > least ? size : least;
    return size < n ? (int)size : n;
}

static void carve(struct kmeans_seeder *s, struct cuda_arena *arena, bool sample)
{
    size_t n = (size_t)s->n, runs = (size_t)s->n_runs, candidates = runs * (size_t)s->n_trials;
    size_t d = (size_t)s->d, blocks = (size_t)potential_blocks(s->n);
    s->sample = sample ? cuda_arena_take(arena, n * d, sizeof *s->sample) : NULL;
    s->distance = cuda_arena_take(arena, runs * n, sizeof *s->distance);
    s->candidates = cuda_arena_take(arena, candidates * d, sizeof *s->candidates);
    s->trial = cuda_arena_take(arena, n * candidates, sizeof *s->trial);
    s->sums = cuda_arena_take(arena, blocks * candidates, sizeof *s->sums);
}

static size_t measure_memory(struct kmeans_seeder *s, bool sample)
{
    struct cuda_arena arena = {0};
    carve(s, &arena, sample);
    return arena.most;
}

size_t kmeans_seeder_bytes(int n, int d, int k, bool there)
{
    struct kmeans_seeder s = {
        .n = sample_size(n, d, k), .d = d, .n_trials = n_trials(k), .n_runs = 1};
    size_t blocks = (size_t)potential_blocks(s.n);
    return measure_memory(&s, !there || s.n < n) + CUDA_ARENA_ALIGNMENT +
           (blocks + WIDE_ROWS * (size_t)s.n_trials) * sizeof(double);
}

static enum status open_cpu(struct kmeans_seeder *s, bool sample, struct err *err)
{
    size_t bytes = measure_memory(s, sample);
    s->memory = mem_alloc(bytes + CUDA_ARENA_ALIGNMENT, 1);
    if (!s->memory)
        return err_no_memory(err, "centres to start from", bytes);
    size_t beyond = (uintptr_t)s->memory % CUDA_ARENA_ALIGNMENT;
    s->arena.base = (CUdeviceptr)((uintptr_t)s->memory + (CUDA_ARENA_ALIGNMENT - beyond));
    carve(s, &s->arena, sample);
    return STATUS_OK;
}

static enum status open_cuda(struct kmeans_seeder *s, bool sample, struct err *err)
{
    struct cuda_device *cuda = s->device->cuda;
    TRY(cuda_load(cuda, "candidate_distance", err));
    TRY(cuda_load(cuda, "potential", err));
    while (s->n_runs > 1 && measure_memory(s, sample) > s->lloyd->memory_left)
        s->n_runs /= 2;
    s->arena.most = measure_memory(s, sample);
    TRY(cuda_arena_open(&s->arena, cuda, "k-means' start", "use --device cpu", err));
    carve(s, &s->arena, sample);
    size_t bytes =
        (size_t)potential_blocks(s->n) * (size_t)(s->n_runs * s->n_trials) * sizeof *s->told_sums;
    void *sums;
    TRY(cuda_pinned_alloc(cuda, &sums, bytes, err));
    s->told_sums = sums;
    return STATUS_OK;
}

static enum status take_sample(struct kmeans_seeder *s, struct err *err)
{
    struct row_chunks *rows = s->lloyd->rows;
    size_t values = (size_t)s->n * (size_t)s->d;
    if (s->device->kind == DEVICE_CPU)
        return row_chunks_sample(rows, s->sample, s->n, s->settings->seed, err);
    float *sample = mem_alloc(values, sizeof *sample);
    if (!sample)
        return err_no_memory(err, "rows to start from", values * sizeof *sample);
    enum status status = row_chunks_sample(rows, sample, s->n, s->settings->seed, err);
    if (status == STATUS_OK)
        status = cuda_copy_to(s->device->cuda, s->sample, sample, values * sizeof *sample, err);
    if (status == STATUS_OK)
        status = cuda_synchronise(s->device->cuda, err);
    mem_free(sample);
    return status;
}

enum status kmeans_seeder_open(struct kmeans_seeder *s, struct lloyd *lloyd, double variance,
                               const struct kmeans_settings *settings, struct err *err)
{
    bool wide = variance > 0 && (variance < VARIANCE_LEAST || variance > VARIANCE_LARGEST);
    *s = (struct kmeans_seeder){.settings = settings, .lloyd = lloyd, .scale = 1};
    s->cpu = device_cpu(lloyd->device);
    s->device = wide ? &s->cpu : lloyd->device;
    s->n = sample_size(lloyd->n, lloyd->d, lloyd->k);
    s->d = lloyd->d;
    s->n_trials = n_trials(lloyd->k);
    s->n_runs = s->device->kind == DEVICE_CPU ? 1 : lloyd->n_runs; /* it gains nothing by more */
    if (s->n == lloyd->n && s->device->kind == lloyd->device->kind)
        s->x = lloyd_rows(lloyd);
    bool sample = !s->x;
    TRY(s->device->kind == DEVICE_CPU ? open_cpu(s, sample, err) : open_cuda(s, sample, err));
    size_t blocks = (size_t)potential_blocks(s->n), runs = (size_t)s->n_runs;
    s->block_sum = mem_alloc(runs * blocks, sizeof *s->block_sum);
    if (wide) {
        s->scale = 1 / variance;
        s->wide = mem_alloc(WIDE_ROWS * runs * (size_t)s->n_trials, sizeof *s->wide);
    }
    if (!s->block_sum || (wide && !s->wide))
        return err_no_memory(err, "centres to start from", runs * blocks * sizeof *s->block_sum);
    if (!sample)
        return STATUS_OK;
    s->x = s->sample;
    return take_sample(s, err);
}

void kmeans_seeder_close(struct kmeans_seeder *s)
{
    if (s->device && s->device->kind == DEVICE_CUDA) {
        struct cuda_device *cuda = s->device->cuda;
        struct err ignored;
        cuda_synchronise(cuda, &ignored); /* what is queued uses the memory */
        cuda_pinned_free(cuda, s->told_sums);
        cuda_arena_close(&s->arena, cuda);
    }
    mem_free(s->memory);
    mem_free(s->block_sum);
    mem_free(s->wide);
    *s = (struct kmeans_seeder){0};
}

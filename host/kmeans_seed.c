/* See kmeans_seed.h. */
#include "host/kmeans_seed.h"

#include <math.h>
#include <string.h>
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

/* ---- the sample ------------------------------------------------------------------------------ */

static int sample_size(int n, int d, int k)
{
    int64_t size = SAMPLE_VALUES / d, least = (int64_t)ROWS_A_CENTRE * k;
    size = size > least ? size : least;
    return size < n ? (int)size : n;
}

static enum status take_sample(struct kmeans_seeder *s, struct row_chunks *rows, struct err *err)
{
    size_t values = (size_t)s->n * (size_t)s->d;
    s->sample = mem_alloc(values, sizeof *s->sample);
    if (!s->sample)
        return err_no_memory(err, "rows to start from", values * sizeof *s->sample);
    s->x = s->sample;
    return row_chunks_sample(rows, s->sample, s->n, s->settings->seed, err);
}

/* ---- distances ------------------------------------------------------------------------------- */

/* out (n, t), in the units of the scale. */
static enum status measure(struct kmeans_seeder *s, float *out, const float *candidates, int t,
                           struct err *err)
{
    if (!s->wide)
        return candidate_distance_fwd(s->device, out, s->x, candidates, s->n, t, s->d, err);
    for (int first = 0; first < s->n; first += WIDE_ROWS) {
        int n = s->n - first < WIDE_ROWS ? s->n - first : WIDE_ROWS;
        size_t values = (size_t)n * (size_t)t;
        TRY(squared_distance_fwd(s->device, s->wide, row_of(s, first), candidates, n, t, s->d,
                                 err));
        for (size_t i = 0; i < values; i++)
            out[(size_t)first * (size_t)t + i] = (float)(s->wide[i] * s->scale);
    }
    return STATUS_OK;
}

/* ---- draws ----------------------------------------------------------------------------------- */

/* Where a draw in [0, 1) falls, when rows have shares of the total in proportion to their distance.
 * A row on a centre has no share, so it is not drawn while another is left. */
static struct potential_draw draw_of(const struct kmeans_seeder *s, double total, double draw)
{
    struct potential_draw of = {.place = draw * total};
    while (of.block < potential_blocks(s->n) - 1 && of.before + s->block_sum[of.block] <= of.place)
        of.before += s->block_sum[of.block++];
    return of;
}

/* Of n_trials in s->trial the one that leaves the lowest sum becomes part of the distances. */
static enum status keep_best(struct kmeans_seeder *s, int n_trials, int *best, double *left,
                             struct err *err)
{
    int n_blocks = potential_blocks(s->n);
    size_t trials = (size_t)n_trials;
    TRY(potential_fwd(s->device, s->sums, s->distance, s->trial, s->n, 1, n_trials, err));
    for (int t = 0; t < n_trials; t++) {
        double sum = 0;
        for (int block = 0; block < n_blocks; block++)
            sum += s->sums[(size_t)block * trials + (size_t)t];
        if (t == 0 || sum < *left)
            *best = t, *left = sum;
    }
    for (int block = 0; block < n_blocks; block++)
        s->block_sum[block] = s->sums[(size_t)block * trials + (size_t)*best];
    return potential_keep(s->device, s->distance, s->trial, best, s->n, 1, n_trials, err);
}

/* ---- the centres ----------------------------------------------------------------------------- */

/* Draws n_trials rows and makes the one that leaves the lowest sum of distances a centre. */
static enum status choose_centre(struct kmeans_seeder *s, float *centre, int restart, int c,
                                 double *left, struct err *err)
{
    struct potential_draw draws[MOST_TRIALS];
    size_t d = (size_t)s->d;
    int trials = s->n_trials, best;
    double total = 0;
    for (int block = 0; block < potential_blocks(s->n); block++)
        total += s->block_sum[block];
    for (int t = 0; t < trials; t++) {
        uint64_t index = (uint64_t)c * (uint64_t)trials + (uint64_t)t;
        draws[t] = draw_of(
            s, total, philox_uniform(s->settings->seed, (uint32_t)restart, KMEANS_STREAM, index));
    }
    TRY(potential_draw(s->device, s->candidates, s->x, s->distance, draws, s->n, 1, trials, s->d,
                       err));
    TRY(measure(s, s->trial, s->candidates, trials, err));
    TRY(keep_best(s, trials, &best, left, err));
    memcpy(centre, s->candidates + (size_t)best * d, d * sizeof *centre);
    return STATUS_OK;
}

enum status kmeans_seed(struct kmeans_seeder *s, float *centres, int restart, struct err *err)
{
    const struct kmeans_settings *settings = s->settings;
    size_t d = (size_t)s->d;
    double draw = philox_uniform(settings->seed, (uint32_t)restart, KMEANS_STREAM, 0), left;
    int best;
    memcpy(centres, row_of(s, (int)(draw * s->n)), d * sizeof *centres);
    TRY(potential_begin(s->device, s->distance, s->n, 1, err));
    TRY(measure(s, s->trial, centres, 1, err));
    TRY(keep_best(s, 1, &best, &left, err));
    for (int c = 1; c < settings->k; c++) {
        struct kmeans_state state = {.restart = restart};
        TRY(choose_centre(s, centres + (size_t)c * d, restart, c, &state.inertia, err));
        state.inertia /= s->scale;
        if (settings->progress)
            TRY(settings->progress(settings->progress_context, &state, err));
    }
    return STATUS_OK;
}

/* ---- opening --------------------------------------------------------------------------------- */

static int n_trials(int k)
{
    return 2 + (int)log(k);
}

size_t kmeans_seeder_bytes(int n, int d, int k)
{
    size_t size = (size_t)sample_size(n, d, k), trials = (size_t)n_trials(k);
    return (size * (size_t)d + size * (trials + 1) + trials * (size_t)d) * sizeof(float) +
           ((size_t)potential_blocks((int)size) * (trials + 1) + WIDE_ROWS * trials) *
               sizeof(double);
}

enum status kmeans_seeder_open(struct kmeans_seeder *s, struct row_chunks *rows, double variance,
                               const struct kmeans_settings *settings, struct err *err)
{
    *s = (struct kmeans_seeder){.settings = settings, .device = rows->device, .scale = 1};
    s->n = sample_size(rows->n, rows->d, settings->k);
    s->d = rows->d;
    s->n_trials = n_trials(settings->k);
    size_t n = (size_t)s->n, trials = (size_t)s->n_trials, blocks = (size_t)potential_blocks(s->n);
    bool wide = variance > 0 && (variance < VARIANCE_LEAST || variance > VARIANCE_LARGEST);
    if (rows->x && !rows->spherical && s->n == rows->n)
        s->x = rows->x;
    else
        TRY(take_sample(s, rows, err));
    s->distance = mem_alloc(n, sizeof *s->distance);
    s->candidates = mem_alloc(trials * (size_t)s->d, sizeof *s->candidates);
    s->trial = mem_alloc(n * trials, sizeof *s->trial);
    s->sums = mem_alloc(blocks * trials, sizeof *s->sums);
    s->block_sum = mem_alloc(blocks, sizeof *s->block_sum);
    if (wide) {
        s->scale = 1 / variance;
        s->wide = mem_alloc(WIDE_ROWS * trials, sizeof *s->wide);
    }
    if (!s->distance || !s->candidates || !s->trial || !s->sums || !s->block_sum ||
        (wide && !s->wide))
        return err_no_memory(err, "centres to start from",
                             (n * (trials + 1) + trials * (size_t)s->d) * sizeof(float) +
                                 blocks * (trials + 1) * sizeof(double));
    return STATUS_OK;
}

void kmeans_seeder_close(struct kmeans_seeder *s)
{
    mem_free(s->sample);
    mem_free(s->distance);
    mem_free(s->candidates);
    mem_free(s->trial);
    mem_free(s->wide);
    mem_free(s->sums);
    mem_free(s->block_sum);
    *s = (struct kmeans_seeder){0};
}
